//! What a channel pays, and never pays.

use std::time::Duration;

use earnest_chain::bindings::Channels;
use earnest_core::charge::pay;
use earnest_serve::gateway::journal::Coin;
use earnest_serve::gateway::order::{Order, Voucher, Wanted};
use earnest_serve::gateway::statement::Document;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::lab::*;
use super::upstreams::last_receipt;

/// What one `hello()` reserves: a model token for each byte and the chat template, and so many written.
fn bounded(most_written: u128) -> (Value, u128) {
    let mut body = hello();
    body["max_tokens"] = json!(u64::try_from(most_written).unwrap());
    let length = serde_json::to_vec(&body).unwrap().len() as u128;
    (body, cost(length + 64, most_written))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_on_a_budget_for_a_hundred_spend_no_more() {
    let lab = Lab::open("overspend").await;
    let (body, reserve) = bounded(3);
    let each = cost(7, 3);
    // For a hundred answers, and the reserve of the last one.
    let budget = 99 * each + reserve;
    let holder = lab.holder("alice", budget).await;
    let answers = join_all((0..1_000).map(|_| lab.chat(&holder.secret, &body))).await;
    let served = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!(answers.iter().all(|(status, _)| [200, 429].contains(status)));
    assert!(served <= 100, "{served} were served");
    assert_eq!(lab.oracle.count(), served, "what is not covered does not go upstream");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, served as u128 * each);
    // One after the other they all fit: a client has its answer a moment before it is charged.
    for _ in served..100 {
        lab.charged_at_rest(&holder.secret).await;
        assert_eq!(lab.chat(&holder.secret, &body).await.0, 200);
    }
    lab.charged_at_rest(&holder.secret).await;
    let (status, refused) = lab.chat(&holder.secret, &body).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (429, Some("insufficient_quota")));
    lab.round().await.unwrap();
    assert_eq!(lab.on_chain(&holder), (budget, 100 * each));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_have_limits_of_their_own_and_can_be_taken_back() {
    let lab = Lab::open("limits").await;
    let (body, reserve) = bounded(3);
    let each = cost(7, 3);
    let limits = Wanted { per_day: Some(each + reserve), ..Wanted::default() };
    let holder = lab.holder_with("alice", 1_000_000, 1_000_000, limits).await;
    for expected in [200, 200, 429] {
        lab.charged_at_rest(&holder.secret).await;
        let (status, answer) = lab.chat(&holder.secret, &body).await;
        assert_eq!(status, expected, "{answer}");
    }
    let (_, balance) = lab.get(&holder.secret, "/earnest/balance").await;
    let key_id = balance["key"]["id"].as_str().unwrap().to_owned();
    // A second key of the same channel has its own.
    let second = Holder { secret: "sk-earnest-second".into(), ..holder.clone() };
    let hash = earnest_serve::gateway::books::hash_of(&second.secret);
    let limits = Wanted { models: Some(vec!["no-such-model".into()]), ..Wanted::default() };
    let order = Order::CreateKey { hash, name: "second".into(), limits, voucher: None };
    assert_eq!(lab.order(&holder, &order).await.0, 400, "a model that is not on the list");
    let order = Order::CreateKey { hash, name: "second".into(), limits: Wanted::default(), voucher: None };
    assert_eq!(lab.order(&holder, &order).await.0, 200);
    assert_eq!(lab.chat(&second.secret, &body).await.0, 200);
    let order =
        Order::LimitKey { key: key_id.clone(), limits: Wanted { total: Some(10_000), ..Wanted::default() } };
    assert_eq!(lab.order(&holder, &order).await.0, 200);
    assert_eq!(lab.chat(&holder.secret, &body).await.0, 200, "other limits, the same key");
    assert_eq!(lab.order(&holder, &Order::RevokeKey { key: key_id }).await.0, 200);
    let (status, answer) = lab.chat(&holder.secret, &body).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    assert_eq!(lab.chat(&second.secret, &body).await.0, 200);
    // The same secret cannot be brought back.
    let hash = earnest_serve::gateway::books::hash_of(&holder.secret);
    let order = Order::CreateKey { hash, name: "again".into(), limits: Wanted::default(), voucher: None };
    assert_eq!(lab.order(&holder, &order).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_signed_by_the_channels_key_and_count_once() {
    let lab = Lab::open("orders").await;
    let holder = lab.holder("alice", 1_000).await;
    let mallory = Holder { session: key("mallory"), ..holder.clone() };
    assert_eq!(lab.order(&mallory, &Order::Withdraw).await.0, 403);
    let text = serde_json::to_string(&Order::Look).unwrap();
    let now = earnest_serve::gateway::now_ms();
    let sign = |text: &str, time: u64| {
        holder.session.sign(lab.gateway.house.order(lab.id(&holder), text.as_bytes(), time))
    };
    // Another order under the same signature.
    let other = serde_json::to_string(&Order::Withdraw).unwrap();
    assert_eq!(lab.order_as(&holder.channel, &other, now, &sign(&text, now)).await.0, 403);
    assert_eq!(lab.order_as(&holder.channel, &text, now - 400_000, &sign(&text, now - 400_000)).await.0, 400);
    // A voucher is replayed, and one that is lower, one beyond the deposit, one of nobody's.
    let renew = |ceiling| Order::Renew { voucher: lab.voucher(&holder, ceiling) };
    assert_eq!(lab.order(&holder, &renew(999)).await.0, 400);
    assert_eq!(lab.order(&holder, &renew(1_001)).await.0, 400);
    let forged = Voucher { ceiling: 1_000, signature: lab.voucher(&mallory, 1_000).signature };
    assert_eq!(lab.order(&holder, &Order::Renew { voucher: forged }).await.0, 403);
    let again = serde_json::to_string(&renew(1_000)).unwrap();
    let later = earnest_serve::gateway::now_ms() + 20_000;
    assert_eq!(lab.order_as(&holder.channel, &again, later, &sign(&again, later)).await.0, 200);
    assert_eq!(lab.order_as(&holder.channel, &again, later, &sign(&again, later)).await.0, 409, "once");
    // Channels that pay someone else, that have nothing, that could be emptied too fast.
    for change in [0, 1, 2, 3] {
        let mut stranger = lab.channel(&format!("stranger {change}"), 0);
        match change {
            0 => stranger.channel.receiver = stranger.wallet.address(),
            1 => stranger.channel.receiver_authorizer = stranger.wallet.address(),
            2 => stranger.channel.withdraw_delay = 899,
            _ => {}
        }
        let voucher = Some(lab.voucher(&stranger, 1));
        let hash = earnest_serve::gateway::books::hash_of(&stranger.secret);
        let order = Order::CreateKey { hash, name: String::new(), limits: Wanted::default(), voucher };
        let expected = if change == 3 { 429 } else { 400 };
        assert_eq!(lab.order(&stranger, &order).await.0, expected, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_brings_back_what_was_not_used_and_ends_the_channel() {
    let lab = Lab::open("withdraw").await;
    let holder = lab.holder("alice", 10_000).await;
    assert_eq!(lab.chat(&holder.secret, &bounded(3).0).await.0, 200);
    let (status, state) = lab.order(&holder, &Order::Withdraw).await;
    assert_eq!((status, state["state"].as_str()), (200, Some("closed")), "{state}");
    assert_eq!(lab.cash_of(holder.wallet.address()), 10_000 - cost(7, 3));
    assert_eq!(lab.on_chain(&holder), (cost(7, 3), cost(7, 3)));
    assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 429);
    // A later deposit does not wake the old voucher.
    lab.deposit(&holder, 50_000);
    lab.round().await.unwrap();
    assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 429);
    assert_eq!(lab.order(&holder, &Order::Renew { voucher: lab.voucher(&holder, 40_000) }).await.0, 429);
    assert_eq!(lab.on_chain(&holder).1, cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_on_the_chain_stops_credit_and_is_claimed_against_at_once() {
    let lab = Lab::open("timed").await;
    let holder = lab.holder("alice", 10_000).await;
    assert_eq!(lab.chat(&holder.secret, &bounded(3).0).await.0, 200);
    let (at, wallet, channel) = (lab.at.channels, holder.wallet.clone(), holder.channel.config());
    let call = Channels::initiateWithdrawCall { config: channel.clone(), amount: 10_000 };
    lab.chain.ask(move |chain| chain.send(&wallet, at, &call)).unwrap();
    // Not due, and done all the same.
    let gateway = lab.gateway.clone();
    tokio::task::spawn_blocking(move || gateway.round(false)).await.unwrap().unwrap();
    assert_eq!(lab.on_chain(&holder).1, cost(7, 3));
    assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 429);
    let wallet = holder.wallet.clone();
    lab.chain
        .ask(move |chain| {
            chain.advance_to(chain.time()? + 901)?;
            chain.send(&wallet, at, &Channels::finalizeWithdrawCall { config: channel })
        })
        .unwrap();
    assert_eq!(lab.cash_of(holder.wallet.address()), 10_000 - cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_statements_add_up_and_survive_a_stop() {
    let mut lab = Lab::open("claims").await;
    let holders = [lab.holder("alice", 1_000_000).await, lab.holder("bob", 1_000_000).await];
    for (holder, count) in holders.iter().zip([3, 5]) {
        for _ in 0..count {
            assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 200);
        }
    }
    let each = cost(7, 3);
    lab.round().await.unwrap();
    assert_eq!(holders.each_ref().map(|holder| lab.on_chain(holder).1), [3 * each, 5 * each]);
    assert_eq!(lab.statement(), (1, 8 * each, pay(8 * each, 0)));
    let (status, document) = lab.get("", "/earnest/statements/cash").await;
    let document: Document = serde_json::from_value(document).unwrap();
    assert_eq!((status, document.settled, document.coin), (200, 8 * each, Coin::Cash));
    assert_eq!(document.channels.iter().map(|paid| paid.claimed).sum::<u128>(), 8 * each);
    assert_eq!(document.tree().root(), document.root);
    // Nothing new: nothing is sent.
    lab.round().await.unwrap();
    assert_eq!(lab.statement().0, 1);
    assert_eq!(lab.chat(&holders[0].secret, &hello()).await.0, 200);
    let before = lab.charged_at_rest(&holders[0].secret).await;
    lab.restart().await;
    assert_eq!(lab.charged(&holders[0].secret).await, before, "charges are kept");
    lab.round().await.unwrap();
    assert_eq!(lab.statement(), (2, 9 * each, 0));
    // The rest is the issuer's.
    assert_eq!(lab.cash_of(key("issuer").address()), 9 * each);
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// An upstream of the issuer's own, asked alone, by two.
async fn alone(name: &str) -> (Lab, [Holder; 2]) {
    let lab = Lab::open(name).await;
    let holders = [lab.holder("alice", 100_000_000).await, lab.holder("bob", 100_000_000).await];
    (lab, holders)
}

fn choices(count: usize, written: u64) -> Value {
    let choices: Vec<Value> = (0..count)
        .map(|index| json!({"index": index, "message": {"role": "assistant", "content": "one two three"}, "finish_reason": "stop"}))
        .collect();
    json!({"id": "c", "object": "chat.completion", "model": "tiny", "choices": choices,
        "usage": {"prompt_tokens": 7, "completion_tokens": written, "total_tokens": 7 + written}})
}

/// Whether it was left alone.
fn is_well(lab: &Lab) -> bool {
    lab.gateway.routes.providers().iter().all(|provider| provider["well"] == true)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_knows_no_choices_is_charged_as_it_wrote_and_is_well() {
    let (lab, holders) = alone("one-choice").await;
    let mut ask = hello();
    (ask["n"], ask["max_tokens"]) = (json!(3), json!(10));
    lab.oracle.says(200, "application/json", choices(1, 3).to_string());
    for turn in 1..=3 {
        for holder in &holders {
            let (status, answer) = lab.chat(&holder.secret, &ask).await;
            assert_eq!((status, answer["choices"].as_array().unwrap().len()), (200, 1), "{answer}");
            assert_eq!(lab.charged_at_rest(&holder.secret).await, turn * cost(7, 3));
        }
    }
    let (_, receipt) = last_receipt(&lab, &holders[0].secret).await;
    assert_eq!((receipt["estimated"] == true, &receipt["usage"]["output"]), (false, &json!(3)));
    assert!(is_well(&lab));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_gives_more_than_was_asked_for_is_charged_as_asked_and_left_alone() {
    let (lab, holders) = alone("many-choices").await;
    let holder = &holders[0];
    let mut ask = hello();
    ask["max_tokens"] = json!(4);
    lab.oracle.says(200, "application/json", choices(5, 15).to_string());
    for turn in 1..=2 {
        for holder in &holders {
            assert_eq!(lab.chat(&holder.secret, &ask).await.0, 200);
            assert_eq!(lab.charged_at_rest(&holder.secret).await, turn * cost(7, 4));
        }
    }
    assert!(!is_well(&lab));
    // What is charged is not what was stated, and that is told: in the receipt and in the answer.
    let (_, answer) = lab.chat(&holder.secret, &ask).await;
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["usage"]["estimated"]),
        (&json!(4), &json!(true))
    );
    let (_, receipt) = last_receipt(&lab, &holder.secret).await;
    assert_eq!((&receipt["estimated"], &receipt["usage"]["output"]), (&json!(true), &json!(4)));
}
