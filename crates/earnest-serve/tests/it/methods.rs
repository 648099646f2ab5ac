//! Every method that wallets and libraries call, and the errors they look for.

use alloy_primitives::{TxKind, U256};
use serde_json::{Value, json};

use crate::{NOBODY, START, Server, fresh_key, shouter, signed};

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_s_day() {
    let server = Server::start("day").await;
    assert_eq!(server.call("eth_chainId", json!([])).await, "0x7a69");
    assert_eq!(server.call("net_version", json!([])).await, "31337");
    assert!(
        server.call("web3_clientVersion", json!([])).await.as_str().expect("text").starts_with("earnest/")
    );
    assert_eq!(server.call("eth_syncing", json!([])).await, false);
    assert_eq!(server.call("eth_accounts", json!([])).await, json!([]));
    assert_eq!(server.call("eth_gasPrice", json!([])).await, "0x3b9aca00");

    let key = fresh_key();
    let from = key.address();
    assert_eq!(server.call("eth_getBalance", json!([from, "latest"])).await, "0x21e19e0c9bab2400000");
    let filter = server.call("eth_newFilter", json!([{"topics": [null]}])).await;
    let blocks = server.call("eth_newBlockFilter", json!([])).await;

    // A contract, what it costs, and what it says.
    let create = json!({"from": from, "data": shouter()});
    let gas = server.call("eth_estimateGas", json!([create])).await;
    let gas = u64::from_str_radix(&gas.as_str().expect("hex")[2..], 16).expect("a number");
    assert!((53_000..70_000).contains(&gas), "{gas}");
    let hash =
        server.call("eth_sendRawTransaction", json!([signed(&key, 0, TxKind::Create, shouter())])).await;
    let receipt = server.call("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x1")));
    let at = receipt["contractAddress"].clone();
    assert!(
        server.call("eth_getCode", json!([at, "latest"])).await.as_str().expect("code").starts_with("0x3660")
    );
    let word = |number: u64| json!(format!("0x{number:064x}"));
    for tag in [
        json!("latest"),
        json!("pending"),
        json!("safe"),
        json!("0x1"),
        json!({"blockNumber": "0x1"}),
        json!({"blockHash": receipt["blockHash"]}),
        Value::Null,
    ] {
        assert_eq!(server.call("eth_call", json!([{"to": at, "from": from}, tag])).await, word(42));
    }
    let reverted = server.answer("eth_call", json!([{"to": at, "input": "0x12345678"}, "latest"])).await;
    assert_eq!((&reverted["error"]["code"], &reverted["error"]["data"]), (&json!(3), &json!("0x12345678")));
    let reverted = server.answer("eth_estimateGas", json!([{"to": at, "data": "0x12"}])).await;
    assert_eq!((&reverted["error"]["code"], &reverted["error"]["data"]), (&json!(3), &json!("0x12")));
    let on = json!({at.as_str().expect("an address"): {"code": "0x60075f5260205ff3"}});
    assert_eq!(server.call("eth_call", json!([{"to": at}, "latest", on])).await, word(7));

    let to = TxKind::Call(at.as_str().expect("an address").parse().expect("one"));
    let hash = server.call("eth_sendRawTransaction", json!([signed(&key, 1, to, Default::default())])).await;
    assert_eq!(server.call("eth_getTransactionCount", json!([from, "pending"])).await, "0x2");
    let transaction = server.call("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(
        (&transaction["from"].as_str().map(str::to_lowercase), &transaction["nonce"]),
        (&Some(format!("{from:#x}")), &json!("0x1"))
    );
    assert_eq!(
        server.call("eth_getTransactionByBlockNumberAndIndex", json!(["0x2", "0x0"])).await,
        transaction
    );
    assert_eq!(
        server.call("eth_getTransactionByBlockNumberAndIndex", json!(["0x2", "0x1"])).await,
        Value::Null
    );
    let block = server.call("eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!(block["transactions"], json!([transaction]));
    assert_eq!(
        server.call("eth_getBlockByHash", json!([block["hash"], false])).await["transactions"],
        json!([hash])
    );
    assert_eq!(server.call("eth_getBlockTransactionCountByNumber", json!(["0x2"])).await, "0x1");
    assert_eq!(server.call("eth_getBlockReceipts", json!(["0x2"])).await[0]["transactionHash"], hash);
    assert_eq!(server.call("eth_getBlockByNumber", json!(["0x99", false])).await, Value::Null);
    assert_eq!(server.call("eth_getBlockByNumber", json!(["earliest", false])).await["number"], "0x0");
    assert_eq!(server.call("eth_getBlockByNumber", json!(["pending", false])).await["number"], "0x3");
    assert_eq!(server.call("eth_getTransactionReceipt", json!([word(5)])).await, Value::Null);
    let fees = server.call("eth_feeHistory", json!(["0x5", "latest", [10, 50]])).await;
    assert_eq!(
        (&fees["oldestBlock"], fees["baseFeePerGas"].as_array().map(Vec::len)),
        (&json!("0x0"), Some(4))
    );

    // Logs, by range, hash, topic and address; polled once.
    let all = server.call("eth_getLogs", json!([{"fromBlock": "earliest"}])).await;
    assert_eq!(all.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&all[0]["transactionHash"], &all[0]["logIndex"], &all[0]["blockTimestamp"]),
        (&hash, &json!("0x0"), &block["timestamp"])
    );
    for (filter, found) in [
        (json!({"blockHash": block["hash"]}), 1),
        (json!({"fromBlock": "0x0", "toBlock": "0x1"}), 0),
        (json!({"fromBlock": "0x0", "address": [at, NOBODY]}), 1),
        (json!({"fromBlock": "0x0", "address": NOBODY}), 0),
        (json!({"fromBlock": "0x0", "topics": [[word(7), word(8)]]}), 1),
        (json!({"fromBlock": "0x0", "topics": [word(8)]}), 0),
        (json!({"fromBlock": "0x50", "toBlock": "0x60"}), 0),
    ] {
        let logs = server.call("eth_getLogs", json!([filter])).await;
        assert_eq!(logs.as_array().map(Vec::len), Some(found), "{filter}");
    }
    assert_eq!(server.call("eth_getFilterChanges", json!([filter])).await, all);
    assert_eq!(server.call("eth_getFilterChanges", json!([filter])).await, json!([]));
    assert_eq!(server.call("eth_getFilterChanges", json!([blocks])).await.as_array().map(Vec::len), Some(2));
    assert_eq!(server.call("eth_uninstallFilter", json!([blocks])).await, true);
    assert!(server.refusal("eth_getFilterChanges", json!([blocks])).await.1.contains("filter not found"));

    // Storage and the clock.
    assert_eq!(server.call("eth_getStorageAt", json!([at, "0x0", "latest"])).await, word(0));
    server.call("evm_setNextBlockTimestamp", json!([START + 1_000_000])).await;
    server.call("evm_mine", json!([])).await;
    let time = server.call("eth_getBlockByNumber", json!(["latest", false])).await["timestamp"].clone();
    assert_eq!(time, json!(format!("{:#x}", START + 1_000_000)));
    server.call("evm_increaseTime", json!(["0x64"])).await;
    server.call("anvil_mine", json!(["0x3", 10])).await;
    assert_eq!(server.call("eth_blockNumber", json!([])).await, "0x6");
    assert!(server.node.time() >= START + 1_000_120);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_the_codes_and_words_that_libraries_know() {
    let server = Server::start("mistakes").await;
    for (body, code) in [
        ("{", -32_700),
        ("", -32_700),
        ("[]", -32_600),
        ("1", -32_600),
        ("{}", -32_600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":"x"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{"a":1}}"#, -32_602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_nothing","params":[]}"#, -32_601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[]}"#, -32_602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x12"]}"#, -32_602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#, -32_601),
    ] {
        assert_eq!(server.asks(body).await["error"]["code"], code, "{body}");
    }
    // Notifications are not answered, in a batch neither.
    let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
    assert_eq!(server.post("", notification.as_bytes()).await, (204, String::new()));
    assert_eq!(server.post("", format!("[{notification}]").as_bytes()).await, (204, String::new()));
    let batch = format!(
        r#"[{{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}},{notification},3,{{"jsonrpc":"2.0","id":null,"method":"net_version"}}]"#
    );
    let answers = server.asks(&batch).await;
    assert_eq!(
        (
            answers.as_array().map(Vec::len),
            &answers[0]["result"],
            &answers[1]["error"]["code"],
            &answers[2]["id"]
        ),
        (Some(3), &json!("0x7a69"), &json!(-32_600), &Value::Null)
    );

    let key = fresh_key();
    server.call("evm_mine", json!([])).await;
    for (method, params, words) in [
        ("eth_getBalance", json!([key.address(), "0x0"]), "the state of block 0 is not kept"),
        ("eth_call", json!([{"to": NOBODY}, "earliest"]), "the state of block 0 is not kept"),
        ("eth_getBalance", json!([key.address(), "0x77"]), "header not found"),
        ("eth_sendTransaction", json!([{"to": NOBODY}]), "this node holds no keys"),
        ("eth_sign", json!([NOBODY, "0x"]), "this node holds no keys"),
        ("eth_sendRawTransaction", json!(["0x"]), "cannot be decoded"),
        (
            "eth_sendRawTransaction",
            json!([signed(&key, 9, TxKind::Call(NOBODY), Default::default())]),
            "nonce too high",
        ),
        ("eth_call", json!([{"to": NOBODY, "value": U256::MAX, "from": NOBODY}]), "insufficient funds"),
        ("eth_getLogs", json!([{"fromBlock": "0x5", "toBlock": "0x1"}]), "invalid block range"),
        ("eth_getLogs", json!([{"blockHash": alloy_primitives::B256::ZERO}]), "unknown block"),
        ("evm_setNextBlockTimestamp", json!([START - 5]), "is before the chain's time"),
        ("evm_increaseTime", json!(["-5"]), "is not a number"),
        ("anvil_mine", json!([1_000_000]), "at most"),
    ] {
        let (_, message) = server.refusal(method, params).await;
        assert!(message.contains(words), "{method}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_with_many_transactions_out_of_order_goes_through() {
    let server = Server::start("batch").await;
    let key = fresh_key();
    let requests = (0..50u64).rev().map(|nonce| {
        json!({"jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": [signed(&key, nonce, TxKind::Call(NOBODY), Default::default())]})
    });
    let answers = server.asks(&json!(requests.collect::<Vec<_>>()).to_string()).await;
    let answers = answers.as_array().expect("an answer each");
    assert!(answers.len() == 50 && answers.iter().all(|answer| answer["result"].is_string()), "{answers:?}");
    assert_eq!(server.node.nonce(key.address()), 50);
}
