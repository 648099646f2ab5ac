//! Everything that a wallet can do about its keys, step by step: what a browser is asked to sign or to send comes back
//! with its next question, and nothing is kept here between two of them.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::State;
use earnest_chain::bindings::Channels;
use earnest_chain::chain::Chain;
use earnest_chain::voucher::{Channel, CoinDomain, Deposit, House, signed_by};
use earnest_core::money::{Cash, Credits};
use earnest_core::plan::date::{duration, utc};
use earnest_core::price_list::{Entry, Unit};
use earnest_report::figure::{grouped, plain};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bid::domain;
use super::channel::{DAY, DELAYS, Found, MOST, Name, Source, balance, id_of, seen, settlement, was_opened};
use super::keeper::View;
use super::prices::Prices;
use super::providers::amount;
use super::signing::{deposit_data, order_data, voucher_data};
use super::transaction::{Answer, Check, Step, read, tried};
use super::words::{Refusal, short};
use super::{At, Problem, Shared, positions, prices};
use crate::gateway::journal::Coin;
use crate::gateway::now_ms;
use crate::gateway::order::{Order, Voucher, Wanted};

/// How long a signature over a deposit is good, in seconds.
const DEPOSIT_SECS: u64 = 3_600;
/// Most bytes of a key's name, as the gateway has it, and most models of a limit.
const MOST_NAME: usize = 100;
const MOST_MODELS: usize = 50;

/// What can be asked about keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    wallet: Address,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    amount: Option<String>,
    #[serde(default)]
    ceiling: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    per_day: Option<String>,
    #[serde(default)]
    total: Option<String>,
    #[serde(default)]
    models: Option<String>,
    /// A key's public name.
    #[serde(default)]
    key: Option<String>,
    /// SHA-256 of a secret that never comes here.
    #[serde(default)]
    hash: Option<B256>,
    /// What the gateway says of itself, as it came.
    #[serde(default)]
    terms: Option<String>,
    #[serde(default)]
    deposit_salt: Option<B256>,
    #[serde(default)]
    deposit_until: Option<u64>,
    #[serde(default)]
    deposit_signature: Option<Bytes>,
    #[serde(default)]
    deposited: bool,
    #[serde(default)]
    voucher_signature: Option<Bytes>,
}

/// What a gateway says of itself, as far as it must be this deployment's.
#[derive(Deserialize)]
struct Terms {
    chain_id: u64,
    settlement: Address,
    collector: Address,
    revenue: Address,
    withdraw_delay: u64,
}

/// Everything at hand while one question is answered.
struct Desk<'a> {
    shared: &'a Shared,
    view: &'a View,
    chain: &'a mut Chain,
    ask: Ask,
}

/// Makes what was asked for, step by step: what was signed comes back with the next question.
pub(super) fn answer(shared: &Shared, chain: &mut Chain, action: &str, ask: Ask) -> Result<Answer, Problem> {
    let view = shared.view();
    let mut desk = Desk { shared, view: &view, chain, ask };
    match action {
        "key-create" => desk.create(),
        "key-another" => desk.another(),
        "key-renew" => desk.renew(),
        "key-top-up" => desk.top_up(),
        "key-look" => desk.manage(
            "Ask the gateway",
            Order::Look,
            &["The gateway says how the channel and its keys stand."],
        ),
        "key-revoke" => {
            let key = desk.ask.key.clone().unwrap_or_default().trim().to_owned();
            if !key.starts_with("key_") || key.len() > 40 {
                return Err(Problem::bad(
                    "This is not the name of a key.",
                    "It reads key_ and 16 digits; the secret is not asked for.",
                ));
            }
            let words = [
                "The gateway answers 401 to this key from then on. It cannot be taken up again.",
                "What was signed for the channel stays good: to take that back too, withdraw.",
            ];
            desk.manage("Revoke a key", Order::RevokeKey { key }, &words)
        }
        "key-withdraw" => {
            let words = [
                "The gateway claims what was used and sends the rest back to where it came from, at once.",
                "It is final: neither this channel nor its keys are used again.",
            ];
            desk.manage("Withdraw", Order::Withdraw, &words)
        }
        "key-leave" => desk.leave(),
        "key-end" => desk.end(),
        _ => Err(Problem::missing("There is no such action.")),
    }
}

fn house(shared: &Shared) -> House {
    House::new(shared.record.chain_id, shared.record.contracts.revenue)
}

fn check(ok: bool, words: impl Into<String>) -> Check {
    Check { ok, words: words.into() }
}

fn refused(what: impl Into<String>, remedy: impl Into<String>) -> Step {
    Step::Refused { refused: Refusal { what: what.into(), remedy: remedy.into() } }
}

/// 65 bytes; some wallets count the recovery bit from 0.
fn normal(signature: &Bytes) -> Bytes {
    let mut bytes = signature.to_vec();
    if let (65, Some(last)) = (bytes.len(), bytes.last_mut())
        && *last < 27
    {
        *last += 27;
    }
    bytes.into()
}

/// Units of a coin as people type them.
fn units(coin: Coin, text: &str, what: &str) -> Result<u128, Problem> {
    let text = text.trim();
    let (found, places) = match coin {
        Coin::Credits => (Credits::parse(text).map(Credits::units), 18),
        Coin::Cash => (Cash::parse(text).map(|cash| cash.units().into()), 6),
    };
    found.ok_or_else(|| {
        Problem::bad(
            format!("The {what} is not a plain decimal."),
            format!("Write it like 12.5: digits and a point, no commas, at most {places} places."),
        )
    })
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// What the gateway may claim at most, of what there is at most; without a word a tenth of it.
fn ceiling(shared: &Shared, coin: Coin, text: Option<&str>, most: u128) -> Result<u128, Problem> {
    let ceiling = match text {
        None => (most / 10).max(1),
        Some(text) => units(coin, text, "ceiling")?,
    };
    if ceiling == 0 || ceiling > most {
        return Err(Problem::bad(
            format!("The ceiling is not between the least amount and {}.", amount(shared, coin, most)),
            "It can be what is in the channel at most; a tenth of that is a good start.",
        ));
    }
    Ok(ceiling)
}

/// What a sum buys, at the prices in force.
fn buys(shared: &Shared, view: &View, prices: Option<&Prices>, coin: Coin, units: u128) -> Option<String> {
    let turn = prices?.in_force(view.now)?;
    let price = |entry: &Entry| match coin {
        Coin::Credits => entry.credits,
        Coin::Cash => entry.cash.into(),
    };
    let entry = turn.entries.iter().find(|entry| entry.unit == Unit::Output && price(entry) > 0)?;
    // Down: so many at least.
    let tokens = U256::from(units) * U256::from(1_000_000) / U256::from(price(entry));
    Some(format!(
        "At today\u{2019}s prices {} pays for {} model tokens written by {}.",
        amount(shared, coin, units),
        grouped(&tokens.to_string()),
        plain(&entry.model)
    ))
}

/// What a deposit and its ceiling come to.
fn outline(
    shared: &Shared,
    view: &View,
    prices: Option<&Prices>,
    source: Source,
    (value, ceiling): (u128, u128),
) -> Vec<String> {
    let coin = source.coin();
    let from = match source {
        Source::Locked(id) => format!("the vault of position {}", positions::show(id)),
        _ => "your wallet".to_owned(),
    };
    let mut words = vec![
        format!(
            "Moves {} from {from} into a channel of yours. It stays yours: what is not used goes back there.",
            amount(shared, coin, value)
        ),
        format!(
            "The gateway may claim at most {} for now: that is what you risk. You can sign for more later.",
            amount(shared, coin, ceiling)
        ),
    ];
    words.extend(buys(shared, view, prices, coin, ceiling));
    words
}

/// A key that is being typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    source: String,
    amount: String,
    #[serde(default)]
    ceiling: Option<String>,
}

/// What a key comes to, while it is typed.
pub(super) async fn preview(State(shared): At, body: Body) -> Result<Json<Value>, Problem> {
    let draft: Draft = read(&body)?;
    let source = read_source(Some(&draft.source))?;
    let value = units(source.coin(), &draft.amount, "amount")?;
    let ceiling = ceiling(&shared, source.coin(), given(&draft.ceiling), value)?;
    let prices = prices::read(&shared).await.ok().flatten();
    let words = outline(&shared, &shared.view(), prices.as_deref(), source, (value, ceiling));
    Ok(Json(json!({ "words": words })))
}

fn read_source(text: Option<&str>) -> Result<Source, Problem> {
    text.and_then(Source::read).ok_or_else(|| {
        Problem::bad("It is not said what the key is paid from.", "Choose cash, credits or locked credits.")
    })
}

impl Desk<'_> {
    fn amount(&self, coin: Coin, units: u128) -> String {
        amount(self.shared, coin, units)
    }

    fn name(&self) -> Result<Name, Problem> {
        self.ask.channel.as_deref().and_then(Name::read).ok_or_else(|| {
            Problem::bad("This is not the name of a channel.", "Reload the page and use its forms.")
        })
    }

    fn channel(&self, name: Name) -> Result<(Channel, B256), Problem> {
        let channel = name.channel(self.shared, self.view, self.ask.wallet).ok_or_else(|| {
            Problem::bad("This position is not of the connected wallet.", "Connect the wallet that bid.")
        })?;
        Ok((channel, id_of(self.shared, &channel)?))
    }

    fn found(&mut self) -> Result<Found, Problem> {
        let name = self.name()?;
        let (channel, id) = self.channel(name)?;
        let silent = |_| Problem::silent();
        if !was_opened(self.chain, &channel, id).map_err(silent)? {
            return Err(Problem::bad(
                "There is no such channel yet.",
                "Its deposit may still wait for a block: reload the page in a moment.",
            ));
        }
        seen(self.shared, self.chain, name, channel, id).map_err(silent)
    }

    /// What the new key is called, and what it may do.
    fn new_key(&self, coin: Coin, voucher: Option<Voucher>) -> Result<Order, Problem> {
        let hash = self.ask.hash.ok_or_else(|| {
            Problem::bad(
                "No secret was made.",
                "Reload the page: its script makes the secret in your browser.",
            )
        })?;
        let name = given(&self.ask.name).unwrap_or("browser").to_owned();
        if name.len() > MOST_NAME || name.chars().any(char::is_control) {
            return Err(Problem::bad(
                "The name of the key is too long, or not one line.",
                format!("It has {MOST_NAME} bytes at most."),
            ));
        }
        let limit = |text, what| given(text).map(|text| units(coin, text, what)).transpose();
        let models: Option<Vec<String>> = given(&self.ask.models)
            .map(|text| text.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect());
        if models.as_ref().is_some_and(|models| models.len() > MOST_MODELS) {
            return Err(Problem::bad(
                "Too many models are named.",
                format!("{MOST_MODELS} are most; none means all."),
            ));
        }
        let limits = Wanted {
            models,
            per_day: limit(&self.ask.per_day, "limit for a day")?,
            total: limit(&self.ask.total, "limit in all")?,
        };
        Ok(Order::CreateKey { hash, name, limits, voucher })
    }

    /// A limit to a model that is not for sale is found out before anything moves.
    fn known_models(&self, order: &Order, prices: Option<&Prices>) -> Result<(), Problem> {
        let Order::CreateKey { limits: Wanted { models: Some(models), .. }, .. } = order else {
            return Ok(());
        };
        let entries =
            prices.and_then(|prices| prices.in_force(self.view.now)).map_or(&[][..], |turn| &turn.entries);
        match models.iter().find(|model| entries.iter().all(|entry| entry.model != **model)) {
            None => Ok(()),
            Some(model) => Err(Problem::bad(
                format!("The price list has no model \u{201c}{}\u{201d}.", plain(model)),
                "Name models as the prices page does, with commas between, or none for all.",
            )),
        }
    }

    /// Limits in words, for the dialog.
    fn limit_words(&self, coin: Coin, order: &Order) -> Vec<String> {
        let Order::CreateKey { name, limits, .. } = order else { return Vec::new() };
        let mut words = vec![format!("The key is called \u{201c}{}\u{201d}.", plain(name))];
        if let Some(units) = limits.per_day {
            words.push(format!("It spends at most {} a day (UTC).", self.amount(coin, units)));
        }
        if let Some(units) = limits.total {
            words.push(format!("It spends at most {} in all.", self.amount(coin, units)));
        }
        if let Some(models) = &limits.models {
            words.push(format!("It is good for {} only.", plain(&models.join(", "))));
        }
        words
    }

    /// The order as it is signed and sent.
    fn order(&self, channel: &Channel, id: B256, order: &Order) -> Result<Step, Problem> {
        let odd = |_| Problem::bad("The order cannot be written.", "Reload the page.");
        let text = serde_json::to_string(order).map_err(odd)?;
        let time = now_ms();
        Ok(Step::Order {
            typed_data: order_data(house(self.shared), id, &text, time),
            channel: serde_json::to_string(channel).map_err(odd)?,
            order: text,
            time,
        })
    }

    /// The voucher, or the step that gets it.
    fn voucher(&self, id: B256, ceiling: u128) -> Result<Voucher, Step> {
        let settlement = settlement(self.shared);
        let Some(signature) = &self.ask.voucher_signature else {
            return Err(Step::SignOn {
                typed_data: voucher_data(settlement, id, ceiling),
                field: "voucher_signature",
                waiting: "Waiting for your wallet to sign the ceiling.",
                keep: json!({}),
            });
        };
        let signature = normal(signature);
        if !signed_by(self.ask.wallet, settlement.voucher(id, ceiling), &signature) {
            return Err(not_plain());
        }
        Ok(Voucher { ceiling, signature })
    }

    /// Signature, then transaction. `keep` goes along; none: nothing comes after the transaction.
    fn deposit(
        &mut self,
        channel: &Channel,
        id: B256,
        value: u128,
        salt: B256,
        keep: Option<Value>,
    ) -> Result<Step, Problem> {
        let Some(domain) = domain(self.shared, self.chain, channel.token) else {
            let remedy =
                "Use another coin; deposits are signed for, by ERC-3009, and this one does not know that.";
            return Ok(refused("The coin does not say how it is signed for.", remedy));
        };
        let collector = self.shared.record.contracts.collector;
        let valid_before = self.ask.deposit_until.unwrap_or(self.view.now + DEPOSIT_SECS);
        let deposit = Deposit { value, valid_after: 0, valid_before, salt: salt.into() };
        let Some(signature) = &self.ask.deposit_signature else {
            let mut all = keep.unwrap_or_else(|| json!({}));
            all["deposit_salt"] = json!(salt);
            all["deposit_until"] = json!(valid_before);
            return Ok(Step::SignOn {
                typed_data: deposit_data(&domain, &deposit, channel.payer, collector, id),
                field: "deposit_signature",
                waiting: "Waiting for your wallet to sign the deposit.",
                keep: all,
            });
        };
        let coin = CoinDomain {
            name: domain.name.clone().unwrap_or_default().into_owned(),
            version: domain.version.clone().unwrap_or_default().into_owned(),
            chain_id: self.shared.record.chain_id,
            at: channel.token,
        };
        let signature = normal(signature);
        let digest = deposit.digest(&coin, channel.payer, collector, id);
        if !signed_by(self.ask.wallet, digest, &signature) {
            return Ok(not_plain());
        }
        let signature = match channel.payer == self.ask.wallet {
            true => Some(signature),
            false => deposit.vault_signature(channel, &signature),
        };
        let signature = signature
            .ok_or_else(|| Problem::bad("The channel\u{2019}s delay does not fit.", "Reload the page."))?;
        let call = Channels::depositCall {
            config: channel.config(),
            amount: value,
            collector,
            collectorData: deposit.collector_data(&signature),
        };
        let step = tried(
            self.shared,
            self.chain,
            self.ask.wallet,
            settlement(self.shared).at,
            call.abi_encode().into(),
        );
        Ok(match (step, keep) {
            (Step::Send { to, data }, Some(keep)) => Step::SendOn { to, data, keep },
            (step, _) => step,
        })
    }

    /// Deployment, delay: what the gateway says of itself must be so.
    fn terms(&self) -> Result<Terms, Problem> {
        if self.shared.gateway.is_none() {
            return Err(Problem::bad(
                "This portal knows of no gateway.",
                "Ask the issuer for its address; earnest key create --gateway URL makes a key on your own machine.",
            ));
        }
        let text = self.ask.terms.as_deref().unwrap_or_default();
        let terms: Terms = serde_json::from_str(text).map_err(|_| {
            Problem::bad("The gateway does not say its terms as it should.", "Wait a moment and try again.")
        })?;
        let at = &self.shared.record.contracts;
        let same = (terms.chain_id, terms.settlement, terms.collector, terms.revenue)
            == (self.shared.record.chain_id, at.channels, at.collector, at.revenue);
        match same {
            true => Ok(terms),
            false => Err(Problem::bad(
                "The gateway is of another deployment than this portal.",
                "Nothing was sent. Tell the issuer.",
            )),
        }
    }

    /// Whether the wallet signs as the gateway and the contracts need it.
    fn is_plain(&self) -> Result<bool, Problem> {
        let code = self.chain.code(self.ask.wallet).map_err(|_| Problem::silent())?;
        // EIP-7702: a plain key that has lent itself code still signs for itself.
        Ok(code.is_empty() || code.starts_with(&[0xef, 0x01, 0x00]))
    }

    fn prices(&mut self) -> Option<Prices> {
        let at = self.shared.record.contracts.price_list?;
        Prices::read(self.chain, at).ok()
    }

    fn create(&mut self) -> Result<Answer, Problem> {
        let source = read_source(self.ask.source.as_deref())?;
        let coin = source.coin();
        let value = units(coin, self.ask.amount.as_deref().unwrap_or_default(), "amount")?;
        if value == 0 {
            return Err(Problem::bad("The amount is zero.", "Give what goes into the channel."));
        }
        let ceiling = ceiling(self.shared, coin, given(&self.ask.ceiling), value)?;
        let terms = self.terms()?;
        let days = DELAYS.into_iter().find(|days| days * DAY >= terms.withdraw_delay).ok_or_else(|| {
            Problem::bad(
                "The gateway asks for a longer delay than 30 days.",
                "No channel can have that; tell the issuer.",
            )
        })?;
        let name = match self.ask.channel {
            Some(_) => self.name()?,
            None => self.next(source, days)?,
        };
        if (name.source, name.days) != (source, days) {
            return Err(Problem::bad(
                "The channel is not the one that was begun.",
                "Reload the page and begin again.",
            ));
        }
        let (channel, id) = self.channel(name)?;
        let opened = was_opened(self.chain, &channel, id).map_err(|_| Problem::silent())?;
        let order = self.new_key(coin, None)?;
        let prices = self.prices();
        self.known_models(&order, prices.as_ref())?;
        let mut words = outline(self.shared, self.view, prices.as_ref(), source, (value, ceiling));
        words.extend(self.limit_words(coin, &order));
        words.push(format!(
            "Even without the gateway you get back what is not used, {} after asking the chain for it.",
            duration(days * DAY)
        ));
        words.push(
            "Your wallet asks four times: for the deposit\u{2019}s signature, its transaction, the ceiling, and the order that \
             registers the key. The key itself is made in this browser."
                .to_owned(),
        );
        let title = "Make a key".to_owned();
        if self.ask.deposited {
            if !opened {
                return Err(Problem::bad(
                    "The deposit is not on the chain yet.",
                    "Wait for its block, then make a key for the channel below.",
                ));
            }
            let step = match self.voucher(id, ceiling) {
                Ok(voucher) => {
                    let order = self.new_key(coin, Some(voucher))?;
                    self.order(&channel, id, &order)?
                }
                Err(step) => step,
            };
            return Ok(Answer { title, words, checks: Vec::new(), step });
        }
        if opened {
            return Err(Problem::bad(
                "This channel was opened already.",
                "Make another key for it below, or reload the page to open a new one.",
            ));
        }
        let has = balance(self.chain, channel.token, channel.payer).map_err(|_| Problem::silent())?;
        let sold = prices.as_ref().and_then(|prices| prices.in_force(self.view.now)).is_some_and(|turn| {
            turn.entries
                .iter()
                .any(|entry| if coin == Coin::Cash { entry.cash > 0 } else { entry.credits > 0 })
        });
        let plain = self.is_plain()?;
        let who = if channel.payer == self.ask.wallet { "The wallet" } else { "The vault" };
        let checks = vec![
            check(has >= value, format!("{who} has {}.", self.amount(coin, has))),
            check(sold, format!("The price list sells service for {}.", coin.word())),
            check(plain, "The wallet signs with a plain key."),
            check(true, "The gateway is of this deployment."),
        ];
        let step = if has < value {
            refused(
                format!("{who} has {} and {} is needed.", self.amount(coin, has), self.amount(coin, value)),
                match source {
                    Source::Cash => "Bring more cash to the wallet, or deposit less.",
                    Source::Credits => {
                        "Have credits delivered on \u{201c}Your positions\u{201d} first, or deposit less."
                    }
                    Source::Locked(_) => {
                        "Have more credits delivered to the position first, or deposit less."
                    }
                },
            )
        } else if !sold {
            refused(
                format!("Nothing on the price list is sold for {}.", coin.word()),
                "Pay with the other coin; the prices page says which is taken.",
            )
        } else if !plain {
            not_plain()
        } else {
            let keep = json!({ "channel": name.to_string(), "deposited": true });
            let first = json!({ "channel": name.to_string() });
            let keep = if self.ask.deposit_signature.is_some() { keep } else { first };
            self.deposit(&channel, id, value, B256::ZERO, Some(keep))?
        };
        Ok(Answer { title, words, checks, step })
    }

    /// The first number that was never used.
    fn next(&mut self, source: Source, days: u64) -> Result<Name, Problem> {
        for number in 1..=MOST {
            let name = Name { source, days, number };
            let (channel, id) = self.channel(name)?;
            if !was_opened(self.chain, &channel, id).map_err(|_| Problem::silent())? {
                return Ok(name);
            }
        }
        Err(Problem::bad(
            format!("This wallet has opened {MOST} channels of this kind already."),
            "Use one of those that stand, another wallet, or the command line.",
        ))
    }

    /// Another key for a channel that is there; or the first, where only the deposit came through.
    fn another(&mut self) -> Result<Answer, Problem> {
        let found = self.found()?;
        let coin = found.name.source.coin();
        let ceiling = match given(&self.ask.ceiling) {
            Some(_) => Some(ceiling(self.shared, coin, given(&self.ask.ceiling), found.balance)?),
            None => None,
        };
        let order = self.new_key(coin, None)?;
        let prices = self.prices();
        self.known_models(&order, prices.as_ref())?;
        let mut words = vec![format!("Registers a key that pays from {}.", found.name.words())];
        words.extend(self.limit_words(coin, &order));
        match ceiling {
            Some(ceiling) => words.push(format!(
                "The gateway may claim at most {} from the channel in all.",
                self.amount(coin, ceiling)
            )),
            None => words.push("The channel\u{2019}s ceiling stays as it was signed.".to_owned()),
        }
        let title = "Make another key".to_owned();
        let voucher = match ceiling.map(|ceiling| self.voucher(found.id, ceiling)).transpose() {
            Ok(voucher) => voucher,
            Err(step) => return Ok(Answer { title, words, checks: Vec::new(), step }),
        };
        let order = self.new_key(coin, voucher)?;
        let step = self.order(&found.channel, found.id, &order)?;
        Ok(Answer { title, words, checks: Vec::new(), step })
    }

    fn renew(&mut self) -> Result<Answer, Problem> {
        let found = self.found()?;
        let coin = found.name.source.coin();
        if given(&self.ask.ceiling).is_none() {
            return Err(Problem::bad("No ceiling is given.", "Say up to what the gateway may claim in all."));
        }
        let ceiling = ceiling(self.shared, coin, given(&self.ask.ceiling), found.balance)?;
        let mut words = vec![
            format!(
                "The gateway may claim at most {} from {} in all; {} was claimed so far.",
                self.amount(coin, ceiling),
                found.name.words(),
                self.amount(coin, found.claimed)
            ),
            "A signature cannot be taken back; withdrawing ends what it is good for.".to_owned(),
        ];
        let prices = self.prices();
        let more = ceiling.saturating_sub(found.claimed);
        words.extend(buys(self.shared, self.view, prices.as_ref(), coin, more));
        let title = "Sign for more".to_owned();
        let step = match self.voucher(found.id, ceiling) {
            Ok(voucher) => self.order(&found.channel, found.id, &Order::Renew { voucher })?,
            Err(step) => step,
        };
        Ok(Answer { title, words, checks: Vec::new(), step })
    }

    fn top_up(&mut self) -> Result<Answer, Problem> {
        let found = self.found()?;
        let coin = found.name.source.coin();
        let value = units(coin, self.ask.amount.as_deref().unwrap_or_default(), "amount")?;
        let words = vec![
            format!("Moves {} more into {}.", self.amount(coin, value), found.name.words()),
            "What the gateway may claim stays as it was signed: sign for more when you need it.".to_owned(),
            "Your wallet asks twice: for a signature, then for the transaction.".to_owned(),
        ];
        let title = "Deposit more".to_owned();
        let has =
            balance(self.chain, found.channel.token, found.channel.payer).map_err(|_| Problem::silent())?;
        // A channel that was ended must not be filled again: its old vouchers would be good for what comes.
        let open = found.rest() > 0 && found.pending.is_none();
        let checks = vec![
            check(has >= value && value > 0, format!("There is {} to deposit from.", self.amount(coin, has))),
            check(open, "The channel is open."),
        ];
        let step = if !open {
            refused(
                "The channel has ended, or is about to: a deposit would be exposed to what was signed before.",
                "Open a new channel with a new key.",
            )
        } else if value == 0 || has < value {
            refused(
                format!("There is {} to deposit from.", self.amount(coin, has)),
                "Give an amount above zero that is there.",
            )
        } else {
            let salt = match self.ask.deposit_salt {
                Some(salt) => salt,
                None => random()?,
            };
            self.deposit(&found.channel, found.id, value, salt, None)?
        };
        Ok(Answer { title, words, checks, step })
    }

    fn manage(&mut self, title: &str, order: Order, words: &[&str]) -> Result<Answer, Problem> {
        let found = self.found()?;
        let words = std::iter::once(format!("Of {}.", found.name.words()))
            .chain(words.iter().map(|text| (*text).to_owned()))
            .chain(["Your wallet signs the order; nothing is sent to the chain by you.".to_owned()]);
        let step = self.order(&found.channel, found.id, &order)?;
        Ok(Answer { title: title.to_owned(), words: words.collect(), checks: Vec::new(), step })
    }

    /// Without the gateway: asks the chain.
    fn leave(&mut self) -> Result<Answer, Problem> {
        let found = self.found()?;
        let coin = found.name.source.coin();
        let end = self.view.now + found.channel.withdraw_delay;
        let words = vec![
            format!("Asks the chain for {} of {} back.", self.amount(coin, found.rest()), found.name.words()),
            format!("It can be had from about {}. Come back then and end the withdrawal.", utc(end)),
            "Until then the gateway may still claim what was used, up to what you signed for.".to_owned(),
            "It is final: the gateway stops the channel\u{2019}s keys at once.".to_owned(),
        ];
        let call = Channels::initiateWithdrawCall { config: found.channel.config(), amount: found.rest() };
        let step = match found.rest() {
            0 => refused("Nothing is left in the channel.", "Nothing needs to be done."),
            _ => self.tried(call.abi_encode().into()),
        };
        Ok(Answer { title: "Withdraw without the gateway".to_owned(), words, checks: Vec::new(), step })
    }

    fn end(&mut self) -> Result<Answer, Problem> {
        let found = self.found()?;
        let coin = found.name.source.coin();
        let back = found.pending.map_or(0, |(amount, _)| amount.min(found.rest()));
        let words = vec![format!(
            "Pays {} of {} back to {}.",
            self.amount(coin, back),
            found.name.words(),
            short(found.channel.payer)
        )];
        let call = Channels::finalizeWithdrawCall { config: found.channel.config() };
        let step = self.tried(call.abi_encode().into());
        Ok(Answer { title: "End the withdrawal".to_owned(), words, checks: Vec::new(), step })
    }

    fn tried(&mut self, data: Bytes) -> Step {
        tried(self.shared, self.chain, self.ask.wallet, self.shared.record.contracts.channels, data)
    }
}

fn random() -> Result<B256, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|_| Problem::bad("The server has no random bytes.", "Try again in a moment."))?;
    Ok(bytes.into())
}

fn not_plain() -> Step {
    refused(
        "The signature is not by the connected wallet\u{2019}s own key, as channels need it.",
        "A contract wallet cannot sign vouchers: earnest key create makes a key of its own for that.",
    )
}
