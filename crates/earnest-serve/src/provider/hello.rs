//! What a provider says of itself when it dials in, and the signature under it. The signature is over a nonce that the
//! gateway issued and the name under which it was dialled: nobody can use it again, or pass it on to a gateway that has
//! another name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, hex, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};
use axum::http::{HeaderMap, HeaderValue, header};
use earnest_chain::key::{Key, signer_of};
use earnest_chain::voucher::House;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::name::Names;

/// Who it is: the operator key's address.
pub const PROVIDER: &str = "earnest-provider";
/// The offer, canonical JSON.
pub const OFFER: &str = "earnest-offer";
/// The gateway's challenge.
pub const NONCE: &str = "earnest-nonce";
/// 65 bytes in hex.
pub const SIGNATURE: &str = "earnest-signature";

/// Most requests a provider may offer to take at once.
pub const MOST_CONCURRENT: u16 = 1_024;
/// Most bytes of an offer.
const LONGEST_OFFER: usize = 12 << 10;
/// Most bytes of a model's name.
const LONGEST_NAME: usize = 128;
/// How long a challenge is good.
const LIFETIME: Duration = Duration::from_secs(60);
/// Most used challenges that are remembered at once.
const MOST_USED: usize = 65_536;

/// Where signatures of providers are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realm {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The contract that pays.
    pub revenue: Address,
}

/// What the gateway answers who wants to dial in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// To be signed, once and soon.
    pub nonce: B256,
    /// For where.
    #[serde(flatten)]
    pub realm: Realm,
}

/// What a provider offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Host, and port where it is not the usual one, that it dialled.
    pub gateway: String,
    /// Names of models as the gateway's clients know them; sorted.
    pub models: Vec<String>,
    /// What its upstream calls those that have another name there: answers carry it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub called: BTreeMap<String, String>,
    /// Other names that answers of a model may carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, Vec<String>>,
    /// Basis points of the listed charge it wants to be paid.
    pub ask: u16,
    /// Requests it takes at once.
    pub concurrency: u16,
    /// A number of this process's own: when it dials in again, its earlier link is dead.
    pub instance: u64,
}

/// Who dials in, as its headers say; whether it is so the signature tells.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Operator key.
    pub provider: Address,
    /// What it offers.
    pub offer: Offer,
    nonce: B256,
    signature: Vec<u8>,
}

/// Why a hello is not taken.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the message says it")]
pub enum HelloError {
    #[error("the header {0} is missing or cannot be read")]
    Header(&'static str),
    #[error("the offer is refused: {0}")]
    Offer(String),
    #[error("this challenge was not issued here\n  hint: GET {path} issues one", path = super::CHALLENGE)]
    ForeignNonce,
    #[error("this challenge is older than {secs} seconds", secs = LIFETIME.as_secs())]
    Expired,
    #[error("this challenge was used before")]
    Replayed,
    #[error("too many providers dial in at once\n  hint: try again in a minute")]
    TooMany,
    #[error("this is not {0}'s signature under its offer")]
    Signature(Address),
    #[error(
        "the offer is made to {offered:?}, and this gateway is {names}\n  hint: dial one of those, or let the gateway be started with --name for the one that you dial"
    )]
    OtherGateway { offered: String, names: String },
}

sol! {
    struct ProviderHello {
        address provider;
        bytes32 nonce;
        bytes32 offer;
    }
}

impl Realm {
    /// The same, for many signatures.
    pub fn house(&self) -> House {
        House::new(self.chain_id, self.revenue)
    }

    /// The EIP-712 domain of what gateways and providers sign for each other.
    pub fn domain(&self) -> Eip712Domain {
        eip712_domain! {
            name: "Earnest Gateway",
            version: "1",
            chain_id: self.chain_id,
            verifying_contract: self.revenue,
        }
    }
}

/// Whether it can name a model: it goes into headers, logs and metrics as it is.
pub fn is_model_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain)
}

impl Offer {
    /// The one way to write it: fields in their order, no spaces.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("words and numbers")
    }

    /// Reads it; anything but the one way to write it is refused.
    pub fn read(text: &str) -> Result<Self, HelloError> {
        let refused = |why: String| HelloError::Offer(why);
        if text.len() > LONGEST_OFFER {
            return Err(refused(format!("it has {} bytes, and {LONGEST_OFFER} is most", text.len())));
        }
        let offer: Offer = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
        offer.check()?;
        if offer.canonical() != text {
            return Err(refused("its JSON is not canonical".into()));
        }
        Ok(offer)
    }

    /// Names that answers of a model may carry: its server's, and others.
    pub fn names_of<'n>(&'n self, model: &'n str) -> impl Iterator<Item = &'n str> {
        let called = self.called.get(model).map_or(model, String::as_str);
        let others = self.answers.get(model).into_iter().flatten();
        std::iter::once(called).chain(others.map(String::as_str))
    }

    /// Whether a gateway can take it.
    pub fn check(&self) -> Result<(), HelloError> {
        let refused = |why: String| Err(HelloError::Offer(why));
        let Offer { models, called, answers, ask, concurrency, .. } = self;
        if models.is_empty() {
            return refused("it has no model".into());
        }
        if let Some(name) = models.iter().find(|name| !is_model_name(name)) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
            return refused(format!("{shown:?} is no name of a model: letters, digits and ._:/@+- are"));
        }
        if models.windows(2).any(|pair| pair[0] >= pair[1]) {
            return refused("its models are not sorted, or one is there twice".into());
        }
        // Upstreams name theirs as they like, within what a header holds.
        let fits = |name: &String| {
            (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if let Some(name) = called.values().chain(answers.values().flatten()).find(|name| !fits(name)) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
            return refused(format!("{shown:?} is not 1 to {LONGEST_NAME} letters of plain ASCII"));
        }
        if let Some(name) = called.keys().chain(answers.keys()).find(|name| !models.contains(name)) {
            return refused(format!("it says how {name:?} is called, and does not offer it"));
        }
        if *ask > 10_000 {
            return refused(format!(
                "it asks {ask} basis points of the charge, and at most 10,000 can be paid"
            ));
        }
        if !(1..=MOST_CONCURRENT).contains(concurrency) {
            return refused(format!(
                "it takes {concurrency} requests at once, and 1 to {MOST_CONCURRENT} can be"
            ));
        }
        if self.canonical().len() > LONGEST_OFFER {
            return refused(format!("its names have more than {LONGEST_OFFER} bytes together"));
        }
        Ok(())
    }
}

fn digest(realm: &Realm, provider: Address, nonce: B256, offer: &Offer) -> B256 {
    let offer = keccak256(offer.canonical());
    ProviderHello { provider, nonce, offer }.eip712_signing_hash(&realm.domain())
}

impl Hello {
    /// Signs an offer for a challenge.
    pub fn sign(key: &Key, challenge: &Challenge, offer: Offer) -> Self {
        let (provider, nonce) = (key.address(), challenge.nonce);
        let signature = key.sign(digest(&challenge.realm, provider, nonce, &offer)).to_vec();
        Hello { provider, offer, nonce, signature }
    }

    /// As headers.
    pub fn headers(&self) -> HeaderMap {
        let values = [
            (PROVIDER, self.provider.to_string()),
            (OFFER, self.offer.canonical()),
            (NONCE, self.nonce.to_string()),
            (SIGNATURE, hex::encode_prefixed(&self.signature)),
        ];
        // A host of a URL and names of models are plain ASCII.
        let value = |text: String| HeaderValue::from_str(&text).expect("plain text");
        values.into_iter().map(|(name, text)| (header::HeaderName::from_static(name), value(text))).collect()
    }

    /// From headers.
    pub fn read(headers: &HeaderMap) -> Result<Self, HelloError> {
        let text = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok());
            value.filter(|_| values.next().is_none()).ok_or(HelloError::Header(name))
        };
        Ok(Hello {
            provider: text(PROVIDER)?.parse().map_err(|_| HelloError::Header(PROVIDER))?,
            nonce: text(NONCE)?.parse().map_err(|_| HelloError::Header(NONCE))?,
            signature: hex::decode(text(SIGNATURE)?).map_err(|_| HelloError::Header(SIGNATURE))?,
            offer: Offer::read(text(OFFER)?)?,
        })
    }

    /// Signed by whom it names, for this challenge and a gateway of these names.
    pub fn check(&self, realm: &Realm, names: &Names) -> Result<(), HelloError> {
        if !names.has(&self.offer.gateway) {
            let (offered, names) = (self.offer.gateway.clone(), names.to_string());
            return Err(HelloError::OtherGateway { offered, names });
        }
        let digest = digest(realm, self.provider, self.nonce, &self.offer);
        match signer_of(digest, &self.signature) {
            Some(signer) if signer == self.provider => Ok(()),
            _ => Err(HelloError::Signature(self.provider)),
        }
    }

    /// The challenge it answers.
    pub fn nonce(&self) -> B256 {
        self.nonce
    }
}

/// Issues challenges. They carry their own proof of origin, so that asking for many costs the gateway nothing; only
/// those that were used are remembered, until they expire.
pub struct Nonces {
    secret: [u8; 32],
    begun: Instant,
    used: Mutex<HashMap<B256, u64>>,
}

impl Default for Nonces {
    fn default() -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the system has randomness");
        Nonces { secret, begun: Instant::now(), used: Mutex::default() }
    }
}

impl Nonces {
    /// A new one.
    pub fn issue(&self) -> B256 {
        let mut chance = [0; 8];
        getrandom::fill(&mut chance).expect("the system has randomness");
        self.seal(self.begun.elapsed().as_secs(), chance)
    }

    fn seal(&self, issued: u64, chance: [u8; 8]) -> B256 {
        // Keccak is no hash that can be extended: the secret in front makes it a seal.
        let head = [issued.to_be_bytes(), chance].concat();
        let seal = keccak256([&self.secret[..], &head].concat());
        let mut nonce = B256::ZERO;
        nonce[..16].copy_from_slice(&head);
        nonce[16..].copy_from_slice(&seal[..16]);
        nonce
    }

    /// Issued here, and not long ago. Cheap, so that it is asked before any signature is looked at.
    pub fn check(&self, nonce: B256) -> Result<(), HelloError> {
        let chance = nonce[8..16].try_into().expect("eight bytes");
        if self.seal(issued(nonce), chance) != nonce {
            return Err(HelloError::ForeignNonce);
        }
        if self.begun.elapsed().as_secs() > expires(nonce) {
            return Err(HelloError::Expired);
        }
        Ok(())
    }

    /// Once only. Called when the signature is known to be good, so that nobody uses up another's.
    pub fn spend(&self, nonce: B256) -> Result<(), HelloError> {
        let now = self.begun.elapsed().as_secs();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MOST_USED {
            used.retain(|_, expires| *expires >= now);
        }
        if used.len() >= MOST_USED {
            return Err(HelloError::TooMany);
        }
        match used.insert(nonce, expires(nonce)) {
            None => Ok(()),
            Some(_) => Err(HelloError::Replayed),
        }
    }
}

fn issued(nonce: B256) -> u64 {
    u64::from_be_bytes(nonce[..8].try_into().expect("eight bytes"))
}

fn expires(nonce: B256) -> u64 {
    issued(nonce).saturating_add(LIFETIME.as_secs())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn offer() -> Offer {
        Offer {
            gateway: "gateway.example:8443".into(),
            models: vec!["echo".into(), "meta/llama-3.1:8b".into()],
            called: BTreeMap::new(),
            answers: BTreeMap::new(),
            ask: 8_000,
            concurrency: 4,
            instance: 7,
        }
    }

    const REALM: Realm = Realm { chain_id: 31_337, revenue: Address::repeat_byte(9) };

    fn named(name: &str) -> Names {
        Names::of(&[name.into()]).unwrap()
    }

    fn hello(nonce: B256) -> Hello {
        Hello::sign(&Key::from_words("a provider"), &Challenge { nonce, realm: REALM }, offer())
    }

    #[test]
    fn a_hello_survives_its_headers_and_is_good_in_one_realm_at_one_host() {
        let sent = hello(B256::repeat_byte(1));
        let came = Hello::read(&sent.headers()).unwrap();
        assert_eq!((came.provider, &came.offer), (sent.provider, &sent.offer));
        assert_eq!(came.check(&REALM, &named("Gateway.Example:8443")), Ok(()));
        let elsewhere = Realm { chain_id: 1, ..REALM };
        assert_eq!(
            came.check(&elsewhere, &named("gateway.example:8443")),
            Err(HelloError::Signature(came.provider))
        );
        assert!(matches!(came.check(&REALM, &named("evil.example")), Err(HelloError::OtherGateway { .. })));
        let mut dearer = came.clone();
        dearer.offer.ask = 9_000;
        let mut other = came.clone();
        other.provider = Address::repeat_byte(3);
        let mut later = came;
        later.nonce = B256::repeat_byte(2);
        for changed in [dearer, other, later] {
            let refused = Err(HelloError::Signature(changed.provider));
            assert_eq!(changed.check(&REALM, &named("gateway.example:8443")), refused);
        }
    }

    #[test]
    fn an_offer_is_written_in_one_way() {
        let text = offer().canonical();
        assert_eq!(
            text,
            r#"{"gateway":"gateway.example:8443","models":["echo","meta/llama-3.1:8b"],"ask":8000,"concurrency":4,"instance":7}"#
        );
        assert_eq!(Offer::read(&text), Ok(offer()));
        let called = text.replace("\"ask\":8000", "\"called\":{\"echo\":\"x \\\"y\\\"\"},\"ask\":0");
        let found = Offer::read(&called).expect("it may ask for nothing, and call its models as it likes");
        assert_eq!((found.called["echo"].as_str(), found.ask), ("x \"y\"", 0));
        for (from, to) in [
            ("8000", "10001"),
            ("8000", "8e3"),
            ("8000", "70000"),
            ("\"concurrency\":4", "\"concurrency\":0"),
            ("\"concurrency\":4", "\"concurrency\":1025"),
            ("echo", "zebra"),
            ("echo", "meta/llama-3.1:8b"),
            ("echo", "e c h o"),
            ("echo", "\u{e9}cho"),
            ("echo", ""),
            ("[\"echo\",\"meta/llama-3.1:8b\"]", "[]"),
            (",\"instance\":7", ""),
            ("7}", "7,\"more\":1}"),
            ("\"ask\"", "\"called\":{},\"ask\""),
            ("\"ask\"", "\"called\":{\"other\":\"x\"},\"ask\""),
            ("\"ask\"", "\"called\":{\"echo\":\"\"},\"ask\""),
            ("\"ask\"", "\"called\":{\"echo\":\"\u{e9}\"},\"ask\""),
            ("7}", "7} "),
            ("{\"gateway\"", "{ \"gateway\""),
            ("echo", "\\u0065cho"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert!(matches!(Offer::read(&changed), Err(HelloError::Offer(_))), "{changed}");
        }
    }

    #[test]
    fn a_challenge_is_good_here_soon_and_once() {
        let nonces = Nonces::default();
        let nonce = nonces.issue();
        assert_eq!(nonces.check(nonce), Ok(()));
        assert_eq!((nonces.spend(nonce), nonces.spend(nonce)), (Ok(()), Err(HelloError::Replayed)));
        assert_eq!(Nonces::default().check(nonce), Err(HelloError::ForeignNonce));
        for bit in 0..256 {
            let mut changed = nonce;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(nonces.check(changed), Err(HelloError::ForeignNonce));
        }
        let long_ago = Instant::now().checked_sub(LIFETIME * 3).expect("the machine ran for longer");
        let nonces = Nonces { begun: long_ago, ..Nonces::default() };
        assert_eq!(nonces.check(nonces.seal(0, [0; 8])), Err(HelloError::Expired));
    }

    #[test]
    fn mutated_headers_are_refused_or_another_hello() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (sent, names) = (hello(B256::repeat_byte(1)).headers(), named("gateway.example:8443"));
        for round in 0..20_000 {
            let mut headers = sent.clone();
            let name = [PROVIDER, OFFER, NONCE, SIGNATURE][random.random_range(0..4)];
            let mut bytes = headers[name].as_bytes().to_vec();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..3) {
                    0 => bytes[at] = random.random(),
                    1 => bytes.insert(at, random.random()),
                    _ => drop(bytes.remove(at)),
                }
            }
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { continue };
            let changed = headers.insert(name, value.clone()) != Some(value);
            let Ok(came) = Hello::read(&headers) else { continue };
            // Case of hex does not count, nor does a signature's other form of the same.
            if changed && came.check(&REALM, &names).is_ok() {
                let same = Hello::read(&sent).unwrap();
                assert_eq!(
                    (came.provider, came.offer, came.nonce),
                    (same.provider, same.offer, same.nonce),
                    "round {round}"
                );
            }
        }
    }
}
