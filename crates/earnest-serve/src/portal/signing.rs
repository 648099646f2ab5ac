//! What a wallet is asked to sign about a channel, as `eth_signTypedData_v4` takes it: deposit, ceiling and orders, to
//! the digest as contracts and gateway check them.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolValue};
use earnest_chain::voucher::{Deposit, House, Settlement};
use serde_json::Value;

use super::bid::typed_data;

fn eip712(name: &'static str, chain_id: u64, at: Address) -> Eip712Domain {
    Eip712Domain::new(Some(name.into()), Some("1".into()), Some(U256::from(chain_id)), Some(at), None)
}

/// What a wallet signs for a ceiling.
pub(super) fn voucher_data(settlement: Settlement, id: B256, ceiling: u128) -> Value {
    let fields =
        [("channelId", "bytes32", id.to_string()), ("maxClaimableAmount", "uint128", ceiling.to_string())];
    typed_data(&eip712("x402 Batch Settlement", settlement.chain_id, settlement.at), "Voucher", &fields)
}

/// What a wallet signs for an order.
pub(super) fn order_data(house: House, id: B256, text: &str, time: u64) -> Value {
    let fields = [
        ("channelId", "bytes32", id.to_string()),
        ("body", "bytes32", keccak256(text.as_bytes()).to_string()),
        ("time", "uint64", time.to_string()),
    ];
    typed_data(&eip712("Earnest Gateway", house.chain_id, house.revenue), "Order", &fields)
}

/// What a wallet signs for a deposit.
pub(super) fn deposit_data(
    domain: &Eip712Domain,
    deposit: &Deposit,
    payer: Address,
    collector: Address,
    id: B256,
) -> Value {
    let nonce = keccak256((id, deposit.salt).abi_encode());
    let fields = [
        ("from", "address", payer.to_string()),
        ("to", "address", collector.to_string()),
        ("value", "uint256", deposit.value.to_string()),
        ("validAfter", "uint256", deposit.valid_after.to_string()),
        ("validBefore", "uint256", deposit.valid_before.to_string()),
        ("nonce", "bytes32", nonce.to_string()),
    ];
    typed_data(domain, "ReceiveWithAuthorization", &fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_chain::voucher::CoinDomain;

    /// Hash of typed data by EIP-712, as a wallet computes it from the JSON.
    fn digest(data: &Value) -> B256 {
        fn hash(data: &Value, kind: &str, of: &Value) -> B256 {
            let fields = data["types"][kind].as_array().expect("fields");
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let names: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", text(&field["type"]), text(&field["name"])))
                .collect();
            let mut words = keccak256(format!("{kind}({})", names.join(","))).to_vec();
            for field in fields {
                let value = text(&of[text(&field["name"])]);
                let word: B256 = match text(&field["type"]).as_str() {
                    "string" => keccak256(value),
                    "address" => value.parse::<Address>().expect("an address").into_word(),
                    "bytes32" => value.parse().expect("a word"),
                    number if number.starts_with("uint") => value.parse::<U256>().expect("a number").into(),
                    other => panic!("{other}"),
                };
                words.extend(word);
            }
            keccak256(words)
        }
        let kind = data["primaryType"].as_str().expect("a type");
        let parts = [hash(data, "EIP712Domain", &data["domain"]), hash(data, kind, &data["message"])];
        keccak256([&[0x19, 0x01][..], parts[0].as_slice(), parts[1].as_slice()].concat())
    }

    #[test]
    fn what_a_wallet_is_shown_has_the_digests_that_the_contracts_and_the_gateway_check() {
        let (settlement, house) = (
            Settlement { chain_id: 31_337, at: Address::repeat_byte(4) },
            House::new(31_337, Address::repeat_byte(5)),
        );
        let id = B256::repeat_byte(9);
        for ceiling in [1, 1_000_000, u128::MAX] {
            assert_eq!(digest(&voucher_data(settlement, id, ceiling)), settlement.voucher(id, ceiling));
        }
        let text = r#"{"do":"look"}"#;
        let time = 1_790_000_000_123;
        assert_eq!(digest(&order_data(house, id, text, time)), house.order(id, text.as_bytes(), time));
        let coin = CoinDomain {
            name: "USD \u{201c}Coin\u{201d}".into(),
            version: "2".into(),
            chain_id: 31_337,
            at: Address::repeat_byte(6),
        };
        let domain = Eip712Domain::new(
            Some(coin.name.clone().into()),
            Some(coin.version.clone().into()),
            Some(U256::from(coin.chain_id)),
            Some(coin.at),
            None,
        );
        let (payer, collector) = (Address::repeat_byte(7), Address::repeat_byte(8));
        for salt in [U256::ZERO, U256::MAX] {
            let deposit = Deposit { value: u128::MAX, valid_after: 0, valid_before: 1 << 40, salt };
            let data = deposit_data(&domain, &deposit, payer, collector, id);
            assert_eq!(digest(&data), deposit.digest(&coin, payer, collector, id));
        }
    }
}
