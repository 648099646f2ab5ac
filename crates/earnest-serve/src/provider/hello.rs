//! What a provider says of itself when it dials in, and the signature under it. The signature is over a nonce that the
//! gateway issued, the name under which it was dialled, and what both agree with on the link's key: nobody can use it
//! again, pass it on to a gateway that has another name, or put a key between the two.

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

use super::link_key::{Agreement, LinkKey, Point};
use super::name::Names;

/// Who it is: the operator key's address.
pub const PROVIDER: &str = "earnest-provider";
/// The offer, canonical JSON.
pub const OFFER: &str = "earnest-offer";
/// The gateway's challenge.
pub const NONCE: &str = "earnest-nonce";
/// What the provider agrees with on the link's key: 33 bytes in hex.
pub const AGREES: &str = "earnest-agrees";
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
    /// What the gateway agrees with on the link's key.
    pub agrees: Point,
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
    agrees: Point,
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
        bytes gatewayAgrees;
        bytes providerAgrees;
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

impl Hello {
    /// Signs an offer for a challenge; with it comes the link's key. None: what the challenge agrees with is no public key.
    pub fn sign(key: &Key, challenge: &Challenge, offer: Offer) -> Option<(Self, LinkKey)> {
        let (provider, nonce, agreement) = (key.address(), challenge.nonce, Agreement::default());
        let agrees = agreement.public();
        let mut hello = Hello { provider, offer, nonce, agrees, signature: Vec::new() };
        let digest = hello.digest(&challenge.realm, &challenge.agrees);
        hello.signature = key.sign(digest).to_vec();
        Some((hello, agreement.with(&challenge.agrees, digest.as_slice())?))
    }

    /// What is signed: all that either side said.
    fn digest(&self, realm: &Realm, gateway_agrees: &Point) -> B256 {
        let Hello { provider, offer, nonce, agrees, signature: _ } = self;
        let said = ProviderHello {
            provider: *provider,
            nonce: *nonce,
            offer: keccak256(offer.canonical()),
            gatewayAgrees: gateway_agrees.to_vec().into(),
            providerAgrees: agrees.to_vec().into(),
        };
        said.eip712_signing_hash(&realm.domain())
    }

    /// As headers.
    pub fn headers(&self) -> HeaderMap {
        let values = [
            (PROVIDER, self.provider.to_string()),
            (OFFER, self.offer.canonical()),
            (NONCE, self.nonce.to_string()),
            (AGREES, self.agrees.to_string()),
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
            agrees: text(AGREES)?.parse().map_err(|_| HelloError::Header(AGREES))?,
            signature: hex::decode(text(SIGNATURE)?).map_err(|_| HelloError::Header(SIGNATURE))?,
            offer: Offer::read(text(OFFER)?)?,
        })
    }

    /// Signed by whom it names, for this challenge, a gateway of these names, and what it agrees with: the link's key.
    pub fn check(&self, realm: &Realm, names: &Names, ours: &Agreement) -> Result<LinkKey, HelloError> {
        if !names.has(&self.offer.gateway) {
            let (offered, names) = (self.offer.gateway.clone(), names.to_string());
            return Err(HelloError::OtherGateway { offered, names });
        }
        let digest = self.digest(realm, &ours.public());
        match signer_of(digest, &self.signature) {
            Some(signer) if signer == self.provider => {}
            _ => return Err(HelloError::Signature(self.provider)),
        }
        ours.with(&self.agrees, digest.as_slice()).ok_or(HelloError::Header(AGREES))
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

    /// A hello to a gateway that agrees with this, and the link's key as its provider has it.
    fn hello(nonce: B256, gateway: &Agreement) -> (Hello, LinkKey) {
        let challenge = Challenge { nonce, agrees: gateway.public(), realm: REALM };
        Hello::sign(&Key::from_words("a provider"), &challenge, offer()).unwrap()
    }

    #[test]
    fn a_hello_survives_its_headers_and_is_good_in_one_realm_at_one_host() {
        let (gateway, relay) = (Agreement::default(), Agreement::default());
        let (sent, theirs) = hello(B256::repeat_byte(1), &gateway);
        let came = Hello::read(&sent.headers()).unwrap();
        assert_eq!((came.provider, &came.offer), (sent.provider, &sent.offer));
        let ours = came.check(&REALM, &named("Gateway.Example:8443"), &gateway).unwrap();
        assert!(ours.sealed(b"answer", &theirs.seal(b"answer")));
        let refused = |hello: &Hello, realm: &Realm, names: &str, ours: &Agreement| {
            hello.check(realm, &named(names), ours).unwrap_err()
        };
        let unsigned = HelloError::Signature(came.provider);
        let elsewhere = Realm { chain_id: 1, ..REALM };
        assert_eq!(refused(&came, &elsewhere, "gateway.example:8443", &gateway), unsigned);
        let found = refused(&came, &REALM, "evil.example", &gateway);
        assert!(matches!(found, HelloError::OtherGateway { .. }));
        // Who stands between shows the provider a key of its own, or shows the gateway one.
        assert_eq!(refused(&came, &REALM, "gateway.example:8443", &relay), unsigned);
        let (fooled, _) = hello(B256::repeat_byte(1), &relay);
        assert_eq!(refused(&fooled, &REALM, "gateway.example:8443", &gateway), unsigned);
        let changes: [fn(&mut Hello); 4] = [
            |hello| hello.offer.ask = 9_000,
            |hello| hello.provider = Address::repeat_byte(3),
            |hello| hello.nonce = B256::repeat_byte(2),
            |hello| hello.agrees = Agreement::default().public(),
        ];
        for change in changes {
            let mut changed = came.clone();
            change(&mut changed);
            let found = refused(&changed, &REALM, "gateway.example:8443", &gateway);
            assert_eq!(found, HelloError::Signature(changed.provider));
        }
    }

    #[test]
    fn what_is_no_public_key_is_agreed_with_by_nobody() {
        let challenge = Challenge { nonce: B256::ZERO, agrees: Point::ZERO, realm: REALM };
        assert!(Hello::sign(&Key::from_words("a provider"), &challenge, offer()).is_none());
        let (key, gateway) = (Key::from_words("a provider"), Agreement::default());
        let (mut none, _) = hello(B256::ZERO, &gateway);
        none.agrees = Point::ZERO;
        none.signature = key.sign(none.digest(&REALM, &gateway.public())).to_vec();
        let found = none.check(&REALM, &named("gateway.example:8443"), &gateway).unwrap_err();
        assert_eq!(found, HelloError::Header(AGREES));
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
        let (gateway, names) = (Agreement::default(), named("gateway.example:8443"));
        let sent = hello(B256::repeat_byte(1), &gateway).0.headers();
        for round in 0..20_000 {
            let mut headers = sent.clone();
            let name = [PROVIDER, OFFER, NONCE, AGREES, SIGNATURE][random.random_range(0..5)];
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
            if changed && came.check(&REALM, &names, &gateway).is_ok() {
                let same = Hello::read(&sent).unwrap();
                assert_eq!(
                    (came.provider, came.offer, came.nonce, came.agrees),
                    (same.provider, same.offer, same.nonce, same.agrees),
                    "round {round}"
                );
            }
        }
    }
}
