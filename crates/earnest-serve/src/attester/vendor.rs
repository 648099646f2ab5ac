//! The issuer's identity vendor, asked over HTTP whether a wallet is approved. It hears the wallet and the round and
//! nothing else, knows by a signature who asks, and has a bounded time and a bounded length to answer. Whatever goes
//! wrong, the answer is not yes.

use std::time::Duration;

use alloy_primitives::{Address, hex};
use earnest_core::money::Cash;
use earnest_core::plan::Time;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::refusal::Refusal;
use super::rules::{Admission, cash};

/// Longest answer.
const LONGEST_BYTES: usize = 16 * 1024;
/// Longest reason that is passed on.
const LONGEST_REASON: usize = 200;

/// The vendor's door.
pub struct Vendor {
    url: reqwest::Url,
    secret: Vec<u8>,
    client: reqwest::Client,
}

/// What it is asked.
#[derive(Clone, Debug, serde::Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Question<'q> {
    pub wallet: Address,
    pub round: &'q str,
    pub chain_id: u64,
    pub offering: Address,
    pub time: Time,
}

/// What it says. A key that is not known here is refused: it may be a limit that was misspelt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    approved: bool,
    entity: Option<u64>,
    regime: Option<String>,
    jurisdiction: Option<String>,
    affiliate: Option<bool>,
    max_cash: Option<String>,
    max_total: Option<String>,
    reason: Option<String>,
}

/// HMAC-SHA256 (RFC 2104).
pub fn hmac(secret: &[u8], message: &[u8]) -> [u8; 32] {
    let keyed = Hmac::<Sha256>::new_from_slice(secret).expect("it takes keys of any length");
    keyed.chain_update(message).finalize().into_bytes().into()
}

impl Vendor {
    /// Asks nothing yet.
    pub fn new(url: reqwest::Url, timeout: Duration, secret: Vec<u8>) -> Result<Self, reqwest::Error> {
        // A redirect would hand the question, and the choice of the answer, to someone else.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .no_proxy()
            .build()?;
        Ok(Vendor { url, secret, client })
    }

    /// Whether it approves, and as what.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Admission, Refusal> {
        let body = serde_json::to_vec(question).expect("words and numbers");
        let signature = format!("sha256={}", hex::encode(hmac(&self.secret, &body)));
        let request = self.client.post(self.url.clone()).body(body);
        let request =
            request.header("content-type", "application/json").header("earnest-signature", signature);
        let mut response = request.send().await.map_err(|error| {
            Refusal::VendorDown(if error.is_timeout() {
                "it took too long"
            } else {
                "there is no connection"
            })
        })?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(Refusal::VendorDown("its status is not 200"));
        }
        let mut answer = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|_| Refusal::VendorDown("the answer broke off"))?
        {
            answer.extend_from_slice(&chunk);
            if answer.len() > LONGEST_BYTES {
                return Err(Refusal::VendorDown("the answer is too long"));
            }
        }
        read(&answer)
    }
}

/// What an answer means.
fn read(answer: &[u8]) -> Result<Admission, Refusal> {
    let unread = |_| Refusal::VendorDown("the answer cannot be read");
    let answer: Answer = serde_json::from_slice(answer).map_err(unread)?;
    if !answer.approved {
        let reason = answer.reason.unwrap_or_default();
        let clean: String = reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
        return Err(Refusal::Declined(if clean.is_empty() { "it gives no reason".into() } else { clean }));
    }
    let (Some(entity), Some(regime), Some(affiliate)) = (answer.entity, answer.regime, answer.affiliate)
    else {
        return Err(Refusal::VendorDown("the answer leaves out entity, regime or affiliate"));
    };
    let amount = |text: Option<String>| -> Result<Option<Cash>, Refusal> {
        text.map(|text| cash(&text)).transpose().map_err(|_| Refusal::VendorDown("the answer cannot be read"))
    };
    Ok(Admission {
        entity: Some(entity),
        regime: Some(regime),
        jurisdiction: answer.jurisdiction,
        affiliate,
        max_cash: amount(answer.max_cash)?,
        max_total: amount(answer.max_total)?,
        rounds: None,
        several_wallets: false,
        expires: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_is_that_of_rfc_4231() {
        let found = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(found), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let found = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(found), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn what_is_not_a_clear_yes_is_a_no() {
        for answer in [
            "",
            "yes",
            "{}",
            "[]",
            r#"{"approved":true}"#,
            r#"{"approved":"true"}"#,
            r#"{"approved":1}"#,
            r#"{"approved":true,"entity":1,"regime":"us"}"#,
            r#"{"approved":true,"entity":1,"regime":"us","affiliate":false,"maxcash":"1 cash"}"#,
            r#"{"approved":true,"entity":1,"regime":"us","affiliate":false,"max_cash":"1"}"#,
            r#"{"approved":true,"entity":-1,"regime":"us","affiliate":false}"#,
        ] {
            assert!(matches!(read(answer.as_bytes()), Err(Refusal::VendorDown(_))), "{answer}");
        }
        let no = read(br#"{"approved":false,"reason":"try\nagain"}"#);
        assert!(matches!(no, Err(Refusal::Declined(reason)) if reason == "tryagain"));
    }
}
