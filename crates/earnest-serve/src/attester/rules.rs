//! The rules file: who may buy what. It is read whole and against the plan before anything is served; every mistake
//! names its line and its remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_core::money::Cash;
use earnest_core::plan::{Plan, Time, instant};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::value::Datetime;

use super::vendor::Vendor;

/// A rules file longer than this is refused unread.
const LONGEST_BYTES: usize = 16 << 20;

/// What somebody is approved as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The buyer's number; none: a number that was never used.
    pub entity: Option<u64>,
    /// None: the round's first.
    pub regime: Option<String>,
    /// ISO 3166-1 alpha-2; none: the regime's first.
    pub jurisdiction: Option<String>,
    /// Of the issuer.
    pub affiliate: bool,
    /// Most cash in a round.
    pub max_cash: Option<Cash>,
    /// Most cash over all rounds.
    pub max_total: Option<Cash>,
    /// Which rounds; none: all.
    pub rounds: Option<BTreeSet<u8>>,
    /// More than one wallet may have permits of one round. The contract lets only one of them bid.
    pub several_wallets: bool,
    /// Until when it holds.
    pub expires: Option<Time>,
}

/// The rules, fit for a plan.
pub struct Rules {
    wallets: BTreeMap<Address, Admission>,
    numbers: BTreeSet<u64>,
    /// Whoever is named nowhere, on development chains.
    pub anyone: Option<Admission>,
    /// First number of those.
    pub first_number: u64,
    /// Whom to ask about the rest.
    pub vendor: Option<Vendor>,
    /// For how long a permit is good.
    pub permit_valid_secs: u64,
    /// Requests of one wallet in a minute.
    pub per_wallet: u32,
    /// Requests of all in a minute.
    pub overall: u32,
    /// SHA-256 of the file.
    pub hash: B256,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
}

/// All mistakes of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    file: String,
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, message, hint }) in self.mistakes.iter().enumerate() {
            let end = if index > 0 { "\n" } else { "" };
            write!(f, "{end}{}:{line}: {message}\n  hint: {hint}", self.file)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    entity: Vec<Spanned<Entity>>,
    anyone: Option<Spanned<Anyone>>,
    hook: Option<Spanned<Hook>>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entity {
    number: Spanned<u64>,
    /// For people who read the file; it goes nowhere.
    #[serde(rename = "name")]
    _name: Option<String>,
    wallets: Spanned<Vec<Spanned<String>>>,
    rounds: Option<Vec<Spanned<String>>>,
    regime: Spanned<String>,
    jurisdiction: Option<Spanned<String>>,
    #[serde(default)]
    affiliate: bool,
    max_cash: Option<Spanned<String>>,
    max_total: Option<Spanned<String>>,
    expires: Option<Spanned<Datetime>>,
    #[serde(default)]
    several_wallets: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Anyone {
    first_number: Option<u64>,
    rounds: Option<Vec<Spanned<String>>>,
    regime: Option<Spanned<String>>,
    jurisdiction: Option<Spanned<String>>,
    max_cash: Option<Spanned<String>>,
    max_total: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hook {
    url: Spanned<String>,
    timeout_ms: Option<Spanned<u64>>,
    secret_env: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Limits {
    permit_valid: Option<Spanned<String>>,
    per_wallet_a_minute: Option<Spanned<u32>>,
    overall_a_minute: Option<Spanned<u32>>,
}

/// `500 cash`
pub(super) fn cash(text: &str) -> Result<Cash, String> {
    let number = text.strip_suffix("cash").map(str::trim_end);
    number.and_then(Cash::parse).ok_or_else(|| format!("{text:?} is no amount"))
}

/// `7 days`
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let unit = match unit.trim_end_matches('s') {
        "day" => 86_400,
        "hour" => 3_600,
        "minute" => 60,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|secs| (1..1 << 32).contains(secs))
}

/// A plan, a text and what is wrong with it.
struct Reader<'r> {
    plan: &'r Plan,
    text: &'r str,
    mistakes: Vec<Mistake>,
}

impl Rules {
    /// Reads a file for a plan on a chain. `secret` finds what an environment variable holds.
    pub fn read(
        name: &str,
        text: &str,
        plan: &Plan,
        chain_id: u64,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<Rules, Mistakes> {
        let mut reader = Reader { plan, text, mistakes: Vec::new() };
        let rules = reader.rules(chain_id, secret);
        reader.mistakes.sort_by_key(|mistake| mistake.line);
        match rules {
            Some(rules) if reader.mistakes.is_empty() => Ok(rules),
            _ => Err(Mistakes { file: name.to_string(), mistakes: reader.mistakes }),
        }
    }

    /// What is known of a wallet by its address.
    pub fn of(&self, wallet: Address) -> Option<&Admission> {
        self.wallets.get(&wallet)
    }

    /// Whether a number belongs to an entity of the file.
    pub fn names(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }
}

impl Reader<'_> {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        self.mistakes.push(Mistake { line, message: message.into(), hint: hint.into() });
    }

    fn rules(&mut self, chain_id: u64, secret: impl Fn(&str) -> Option<String>) -> Option<Rules> {
        if self.text.len() > LONGEST_BYTES {
            self.wrong(
                0..0,
                "the file is too long",
                "at most 16 MiB; [hook] asks a service about many buyers",
            );
            return None;
        }
        let file: File = match toml::from_str(self.text) {
            Ok(file) => file,
            Err(error) => {
                let hint = "the file is made of [[entity]], [anyone], [hook] and [limits]; examples/attester has samples";
                self.wrong(error.span().unwrap_or(0..0), error.message().to_string(), hint);
                return None;
            }
        };
        let (mut wallets, mut numbers) = (BTreeMap::new(), BTreeSet::new());
        for entity in &file.entity {
            self.entity(entity, &mut wallets, &mut numbers);
        }
        let first_number =
            file.anyone.as_ref().and_then(|anyone| anyone.get_ref().first_number).unwrap_or(1_000_000);
        let anyone = file.anyone.as_ref().map(|anyone| {
            if chain_id != DEV_CHAIN_ID {
                let message =
                    format!("[anyone] approves everybody, and chain {chain_id} is not a development chain");
                self.wrong(
                    anyone.span(),
                    message,
                    "name each buyer under [[entity]], or ask a service with [hook]",
                );
            }
            if let Some(taken) = numbers.range(first_number..).next() {
                let message =
                    format!("[[entity]] number {taken} is one that [anyone] may give, from {first_number}");
                self.wrong(anyone.span(), message, "raise first_number above every entity's");
            }
            let Anyone { rounds, regime, jurisdiction, max_cash, max_total, .. } = anyone.get_ref();
            let regime = regime.as_ref().map(|regime| self.regime(regime));
            self.jurisdiction(regime.as_deref(), jurisdiction.as_ref());
            Admission {
                regime,
                jurisdiction: jurisdiction.as_ref().map(|code| code.get_ref().clone()),
                max_cash: self.amount(max_cash.as_ref()),
                max_total: self.amount(max_total.as_ref()),
                rounds: self.rounds(rounds.as_deref()),
                ..Admission::default()
            }
        });
        let vendor = file.hook.as_ref().and_then(|hook| self.hook(hook.get_ref(), secret));
        if file.entity.is_empty() && file.anyone.is_none() && file.hook.is_none() {
            self.wrong(0..0, "nobody can be approved by these rules", "add [[entity]] or [hook]");
        }
        let hash = B256::from_slice(&Sha256::digest(self.text));
        let limits = self.limits(&file.limits);
        let (permit_valid_secs, per_wallet, overall) = limits;
        Some(Rules {
            wallets,
            numbers,
            anyone,
            first_number,
            vendor,
            permit_valid_secs,
            per_wallet,
            overall,
            hash,
        })
    }

    fn entity(
        &mut self,
        entity: &Spanned<Entity>,
        wallets: &mut BTreeMap<Address, Admission>,
        numbers: &mut BTreeSet<u64>,
    ) {
        let Entity { number, wallets: named, rounds, regime, jurisdiction, .. } = entity.get_ref();
        let entity = entity.get_ref();
        if !numbers.insert(*number.get_ref()) {
            self.wrong(
                number.span(),
                format!("number {} is used twice", number.get_ref()),
                "a number for each buyer",
            );
        }
        let regime = self.regime(regime);
        self.jurisdiction(Some(&regime), jurisdiction.as_ref());
        let expires = entity.expires.as_ref().and_then(|expires| {
            let parsed = instant::parse(&expires.get_ref().to_string());
            parsed.map_err(|error| self.wrong(expires.span(), error, "write 2026-12-01T00:00:00Z")).ok()
        });
        let admission = Admission {
            entity: Some(*number.get_ref()),
            regime: Some(regime),
            jurisdiction: jurisdiction.as_ref().map(|code| code.get_ref().clone()),
            affiliate: entity.affiliate,
            max_cash: self.amount(entity.max_cash.as_ref()),
            max_total: self.amount(entity.max_total.as_ref()),
            rounds: self.rounds(rounds.as_deref()),
            several_wallets: entity.several_wallets,
            expires,
        };
        if named.get_ref().is_empty() {
            self.wrong(named.span(), "no wallets", "write wallets = [\"0x…\"], or remove the entity");
        }
        for wallet in named.get_ref() {
            // A mixed-case address carries a checksum, and a typing error shows in it.
            let text = wallet.get_ref();
            let mixed = text.bytes().any(|b| (b'A'..=b'F').contains(&b))
                && text.bytes().any(|b| (b'a'..=b'f').contains(&b));
            let parsed = if mixed { Address::parse_checksummed(text, None).ok() } else { text.parse().ok() };
            match parsed.filter(|_| text.starts_with("0x")) {
                None => {
                    let hint = "0x and 40 hex digits; in mixed case its checksum must be right";
                    self.wrong(wallet.span(), format!("{text:?} is not an address"), hint);
                }
                Some(address) => {
                    if wallets.insert(address, admission.clone()).is_some() {
                        let hint = "a wallet belongs to one entity, and is named once";
                        self.wrong(wallet.span(), format!("{address} is named twice"), hint);
                    }
                }
            }
        }
    }

    fn regime(&mut self, regime: &Spanned<String>) -> String {
        let name = regime.get_ref().clone();
        if self.plan.regime(&name).is_none() {
            let names: Vec<&str> = self.plan.regimes.iter().map(|regime| regime.name.as_str()).collect();
            self.wrong(
                regime.span(),
                format!("the plan has no regime {name:?}"),
                format!("one of {}", names.join(", ")),
            );
        }
        name
    }

    fn jurisdiction(&mut self, regime: Option<&str>, code: Option<&Spanned<String>>) {
        let Some(code) = code else { return };
        if code.get_ref().len() != 2 || !code.get_ref().bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.wrong(
                code.span(),
                format!("{:?} is not a country", code.get_ref()),
                "two capitals, such as \"US\"",
            );
        } else if let Some(why) = regime.and_then(|regime| misfit(self.plan, regime, code.get_ref())) {
            self.wrong(code.span(), why, "name the regime for where the buyer lives");
        }
    }

    fn amount(&mut self, amount: Option<&Spanned<String>>) -> Option<Cash> {
        let amount = amount?;
        match cash(amount.get_ref()) {
            Ok(cash) if cash > Cash::ZERO => return Some(cash),
            Ok(_) => self.wrong(amount.span(), "nothing may be bought for it", "leave the buyer out instead"),
            Err(message) => {
                self.wrong(amount.span(), message, "write \"10_000 cash\", with at most six places")
            }
        }
        None
    }

    fn rounds(&mut self, names: Option<&[Spanned<String>]>) -> Option<BTreeSet<u8>> {
        let plan = self.plan;
        let find = |name: &Spanned<String>| {
            let found = plan.rounds.iter().position(|round| round.name == *name.get_ref());
            if found.is_none() {
                let all: Vec<&str> = plan.rounds.iter().map(|round| round.name.as_str()).collect();
                let message = format!("the plan has no round {:?}", name.get_ref());
                self.wrong(
                    name.span(),
                    message,
                    format!("one of {}, or leave rounds out for all", all.join(", ")),
                );
            }
            found.and_then(|index| u8::try_from(index).ok())
        };
        names.map(|names| names.iter().filter_map(find).collect())
    }

    fn hook(&mut self, hook: &Hook, secret: impl Fn(&str) -> Option<String>) -> Option<Vendor> {
        let url: Option<reqwest::Url> = hook.url.get_ref().parse().ok();
        let is_loopback =
            |url: &reqwest::Url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let url = url.filter(|url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(url));
        if url.is_none() {
            let hint = "https://…; http is for this machine only, for whoever can change an answer can approve buyers";
            self.wrong(hook.url.span(), format!("{:?} cannot be asked", hook.url.get_ref()), hint);
        }
        let timeout = hook.timeout_ms.as_ref().map_or(5_000, |timeout| *timeout.get_ref());
        if let Some(span) =
            hook.timeout_ms.as_ref().filter(|_| !(100..=30_000).contains(&timeout)).map(Spanned::span)
        {
            self.wrong(span, format!("timeout_ms is {timeout}"), "100 to 30000");
        }
        let name = hook.secret_env.get_ref();
        let secret = secret(name).filter(|secret| secret.len() >= 16);
        if secret.is_none() {
            let hint = "set it to the secret that you share with the service, of at least 16 bytes";
            self.wrong(
                hook.secret_env.span(),
                format!("the environment variable {name} holds no secret"),
                hint,
            );
        }
        let (url, secret) = (url?, secret?);
        match Vendor::new(url, Duration::from_millis(timeout), secret.into_bytes()) {
            Ok(vendor) => Some(vendor),
            Err(error) => {
                self.wrong(hook.url.span(), error.to_string(), "the system's certificates must be readable");
                None
            }
        }
    }

    fn limits(&mut self, limits: &Limits) -> (u64, u32, u32) {
        let mut valid = 7 * 86_400;
        if let Some(text) = &limits.permit_valid {
            match seconds(text.get_ref()) {
                Some(secs) => valid = secs,
                None => {
                    self.wrong(text.span(), format!("{:?} is no length", text.get_ref()), "write \"7 days\"")
                }
            }
        }
        let wait =
            self.plan.regimes.iter().map(|regime| u64::from(regime.wait_hours) * 3_600).max().unwrap_or(0);
        if valid <= wait {
            let span = limits.permit_valid.as_ref().map_or(0..0, Spanned::span);
            let message =
                format!("permits are over before a regime's waiting time of {} hours is", wait / 3_600);
            self.wrong(span, message, "raise permit_valid under [limits]");
        }
        let mut count = |limit: &Option<Spanned<u32>>, default: u32| {
            let limit = limit.as_ref()?;
            if *limit.get_ref() == 0 {
                self.wrong(limit.span(), "nobody could ask", format!("such as {default}"));
            }
            Some(*limit.get_ref())
        };
        let per_wallet = count(&limits.per_wallet_a_minute, 10).unwrap_or(10);
        let overall = count(&limits.overall_a_minute, 600).unwrap_or(600);
        (valid, per_wallet, overall)
    }
}

/// Why a regime is not for buyers who live there, as the plan says it: a regime without a list takes whoever no other
/// regime names.
pub(super) fn misfit(plan: &Plan, regime: &str, code: &str) -> Option<String> {
    let (_, own) = plan.regime(regime)?;
    let lists =
        |regime: &earnest_core::plan::RegimePlan| regime.jurisdictions.iter().any(|listed| listed == code);
    if !own.jurisdictions.is_empty() && !lists(own) {
        return Some(format!("regime {regime} is for {}, and not for {code}", own.jurisdictions.join(", ")));
    }
    let other = plan.regimes.iter().find(|other| own.jurisdictions.is_empty() && lists(other));
    other.map(|other| format!("{code} comes under regime {}, and not under {regime}", other.name))
}
