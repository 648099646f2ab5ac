//! Sign-In with Ethereum (ERC-4361): a wallet shows that it is one before it learns anything. A challenge carries its
//! own proof of origin, so that asking for many costs this service nothing; only those that were used are remembered,
//! until they expire.

use std::collections::HashMap;
use std::sync::Mutex;

use alloy_primitives::{Address, B256, hex, keccak256};
use earnest_core::plan::{Time, instant};

use super::refusal::Refusal;

/// How long a challenge is good, in seconds of the chain's time.
pub const LIFETIME_SECS: u64 = 600;
/// Most used challenges that are remembered at once.
const MOST_USED: usize = 65_536;
/// Bytes of a nonce: when it was issued, chance, and a seal over both, the wallet and the page.
const NONCE_BYTES: usize = 8 + 8 + 16;

/// A page that may ask, such as `https://sale.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Scheme, host and port, as browsers send it: nothing after it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        let expected = || format!("{text:?} is not an origin such as https://sale.example.com");
        let host =
            text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(expected)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(expected());
        }
        Ok(Origin(text.to_string()))
    }

    /// As browsers send it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port.
    fn domain(&self) -> &str {
        self.0.split_once("://").map_or(&self.0, |(_, host)| host)
    }
}

/// Issues challenges and takes them back.
pub struct SignIn {
    secret: [u8; 32],
    chain_id: u64,
    /// What a wallet shows above the signature.
    statement: String,
    origins: Vec<Origin>,
    used: Mutex<HashMap<[u8; NONCE_BYTES], Time>>,
}

/// A message that this service issued to this wallet, and that is still good.
#[derive(Clone, Copy, Debug)]
pub struct Challenge {
    nonce: [u8; NONCE_BYTES],
    /// What `personal_sign` signs.
    pub digest: B256,
}

impl SignIn {
    /// With a secret of its own: what another process issued is not known here.
    pub fn new(chain_id: u64, offering: &str, origins: Vec<Origin>) -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the system has randomness");
        let statement = format!(
            "Ask the attester of {offering} for a purchase permit. This moves no money and promises nothing."
        );
        SignIn { secret, chain_id, statement, origins, used: Mutex::default() }
    }

    /// The page of that origin; without one, the first.
    pub fn origin(&self, named: Option<&str>) -> Result<&Origin, Refusal> {
        let found = match named {
            None => self.origins.first(),
            Some(named) => self.origins.iter().find(|origin| origin.0 == named),
        };
        found.ok_or_else(|| Refusal::ForeignOrigin(named.unwrap_or("nowhere").chars().take(100).collect()))
    }

    /// What the wallet is to sign.
    pub fn challenge(&self, wallet: Address, origin: &Origin, now: Time) -> String {
        let mut chance = [0; 8];
        getrandom::fill(&mut chance).expect("the system has randomness");
        self.text(wallet, origin, &self.seal(wallet, origin, now, chance))
    }

    fn seal(&self, wallet: Address, origin: &Origin, issued: Time, chance: [u8; 8]) -> [u8; NONCE_BYTES] {
        // Keccak is no hash that can be extended: the secret in front makes it a seal.
        let head = [issued.to_be_bytes(), chance].concat();
        let seal = keccak256([&self.secret[..], wallet.as_slice(), &head, origin.0.as_bytes()].concat());
        let mut nonce = [0; NONCE_BYTES];
        nonce[..16].copy_from_slice(&head);
        nonce[16..].copy_from_slice(&seal[..16]);
        nonce
    }

    fn text(&self, wallet: Address, origin: &Origin, nonce: &[u8; NONCE_BYTES]) -> String {
        let issued = issued_at(nonce);
        format!(
            "{} wants you to sign in with your Ethereum account:\n{wallet}\n\n{}\n\nURI: {}\nVersion: 1\nChain ID: {}\nNonce: {}\nIssued At: {}\nExpiration Time: {}",
            origin.domain(),
            self.statement,
            origin.0,
            self.chain_id,
            hex::encode(nonce),
            instant::show(issued),
            instant::show(issued.saturating_add(LIFETIME_SECS)),
        )
    }

    /// A message as it came back: issued here, to this wallet, to a page that may ask, and not long ago. Everything in
    /// it follows from its nonce, so that it is made again and compared, not parsed.
    pub fn check(&self, wallet: Address, message: &str, now: Time) -> Result<Challenge, Refusal> {
        let mut lines = message.lines();
        let domain = lines
            .next()
            .and_then(|line| line.strip_suffix(" wants you to sign in with your Ethereum account:"));
        let domain = domain.ok_or(Refusal::ForeignMessage("it does not begin as a sign-in does"))?;
        let origin = |domain: &str| self.origins.iter().find(|origin| origin.domain() == domain);
        if origin(domain).is_none() {
            return Err(Refusal::ForeignMessage("it names another domain"));
        }
        let account = lines.next().unwrap_or_default();
        if account != wallet.to_string() {
            let message = account.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(Refusal::ForeignWallet { message, wallet });
        }
        let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
        if field("Chain ID: ") != Some(&self.chain_id.to_string()) {
            return Err(Refusal::ForeignMessage("it names another chain"));
        }
        let nonce = field("Nonce: ").and_then(|text| hex::decode_to_array::<_, NONCE_BYTES>(text).ok());
        let nonce = nonce.ok_or(Refusal::ForeignMessage("its nonce was not issued here"))?;
        let (issued, chance) = (issued_at(&nonce), nonce[8..16].try_into().expect("eight bytes"));
        // Two pages may have one domain, by http and https.
        let pages = self.origins.iter().filter(|origin| origin.domain() == domain);
        let mut sealed = pages.filter(|origin| self.seal(wallet, origin, issued, chance) == nonce);
        let origin = sealed.next().ok_or(Refusal::ForeignMessage("its nonce was not issued here"))?;
        if message != self.text(wallet, origin, &nonce) {
            return Err(Refusal::ForeignMessage("it was changed after it was issued"));
        }
        if now >= issued.saturating_add(LIFETIME_SECS) {
            return Err(Refusal::Expired);
        }
        Ok(Challenge { nonce, digest: alloy_primitives::eip191_hash_message(message) })
    }

    /// Once only. Called when the signature is known to be good, so that nobody uses up another's.
    pub fn spend(&self, challenge: Challenge, now: Time) -> Result<(), Refusal> {
        let mut used = self.used.lock().expect("no panic holds it");
        if used.len() >= MOST_USED {
            used.retain(|_, expires| *expires > now);
        }
        if used.len() >= MOST_USED {
            return Err(Refusal::TooOften { wait_secs: 60 });
        }
        match used.insert(challenge.nonce, issued_at(&challenge.nonce) + LIFETIME_SECS) {
            None => Ok(()),
            Some(_) => Err(Refusal::Replayed),
        }
    }
}

fn issued_at(nonce: &[u8; NONCE_BYTES]) -> Time {
    u64::from_be_bytes(nonce[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> SignIn {
        let origins =
            ["http://127.0.0.1:8080", "https://sale.example"].map(|text| Origin::parse(text).unwrap());
        SignIn::new(31_337, "Quickstart", origins.to_vec())
    }

    #[test]
    fn a_challenge_is_good_for_its_wallet_its_time_and_once() {
        let (desk, wallet, now) = (desk(), Address::repeat_byte(7), 1_788_000_000);
        let message = desk.challenge(wallet, &desk.origins[1], now);
        let challenge = desk.check(wallet, &message, now + LIFETIME_SECS - 1).unwrap();
        assert_eq!(desk.spend(challenge, now), Ok(()));
        assert_eq!(desk.spend(challenge, now), Err(Refusal::Replayed));
        assert!(matches!(desk.check(wallet, &message, now + LIFETIME_SECS), Err(Refusal::Expired)));
        let other = Address::repeat_byte(8);
        assert!(matches!(desk.check(other, &message, now), Err(Refusal::ForeignWallet { .. })));
        let moved = message.replace(&wallet.to_string(), &other.to_string());
        assert!(matches!(desk.check(other, &moved, now), Err(Refusal::ForeignMessage(_))));
    }

    #[test]
    fn any_change_of_a_message_is_noticed() {
        let (desk, wallet, now) = (desk(), Address::repeat_byte(7), 1_788_000_000);
        let message = desk.challenge(wallet, &desk.origins[0], now);
        for at in 0..message.len() {
            let mut bytes = message.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(desk.check(wallet, &changed, now).is_err(), "{changed}");
            }
            assert!(desk.check(wallet, &message[..at], now).is_err());
        }
        assert!(super::tests::desk().check(wallet, &message, now).is_err(), "another process's");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for bad in ["sale.example", "ftp://x", "https://", "https://a/b", "https://a b", "https://EXAMPLE"] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Origin::parse("https://a.example:8443/").unwrap().domain(), "a.example:8443");
    }
}
