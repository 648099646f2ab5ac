//! Orders: what a channel's holder tells the gateway, signed by the key that signs its vouchers. An order counts once:
//! its time must be later than that of the last one. The gateway never sees that key, nor an API key before it is used.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use axum::body::Bytes as Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use earnest_chain::voucher::{Channel, taken};
use earnest_core::account::{Account, Budget, OnChain, Refused, State as Life};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::books::{ApiKey, Line, key_id};
use super::journal::{ChannelRow, Coin, Entry, KeyRow, Limits};
use super::receipt::text as number;
use super::refusal::Refusal;
use super::{Gateway, amount, now_ms};

/// How far an order's clock may be from the gateway's, in milliseconds.
const CLOCKS: u64 = 300_000;
/// Most keys of a channel.
const KEYS: usize = 1_000;
/// Most bytes of a key's name.
const NAME: usize = 100;

/// An order as it comes in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed<'a> {
    /// Whose channel.
    pub channel: Channel,
    /// What to do: these bytes are signed.
    #[serde(borrow)]
    pub order: &'a RawValue,
    /// Milliseconds since 1970.
    pub time: u64,
    /// By the channel's payerAuthorizer.
    pub signature: Bytes,
}

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// A new API key, of which the gateway gets the hash. The first one opens the channel, with a voucher.
    CreateKey {
        /// SHA-256 of the secret.
        hash: B256,
        /// What the holder calls it.
        name: String,
        /// What it may do.
        #[serde(flatten)]
        limits: Wanted,
        /// A voucher, if there is none yet or more is to be spent.
        #[serde(default)]
        voucher: Option<Voucher>,
    },
    /// Other limits for a key.
    LimitKey {
        /// Its public name.
        key: String,
        /// What it may do from now on.
        #[serde(flatten)]
        limits: Wanted,
    },
    /// Takes a key back. Its voucher stays good: to take that back, withdraw.
    RevokeKey {
        /// Its public name.
        key: String,
    },
    /// A higher ceiling.
    Renew {
        /// The voucher.
        voucher: Voucher,
    },
    /// Only tells how things stand.
    Look,
    /// Claims what was used and sends the rest back to the payer. The channel is never used again.
    Withdraw,
}

/// Limits as they are ordered. Amounts are in base units of the channel's coin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Only these models; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Most in a day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe")]
    pub per_day: Option<u128>,
    /// Most in all.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe")]
    pub total: Option<u128>,
}

/// A voucher without its channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voucher {
    /// What may be claimed in all.
    #[serde(with = "number")]
    pub ceiling: u128,
    /// 65 bytes.
    pub signature: Bytes,
}

mod maybe {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(number: &Option<u128>, to: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => to.collect_str(number),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u128>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

impl Wanted {
    fn limits(self) -> Limits {
        Limits { models: self.models, per_day: self.per_day, total: self.total }
    }
}

/// `POST /earnest/orders`
pub async fn post(State(gateway): State<Arc<Gateway>>, body: axum::body::Body) -> Result<Response, Refusal> {
    let body = super::serve::read_small(body, gateway.settings.body_time).await?;
    let state = gateway.follow(&body).await?;
    Ok(axum::Json(state).into_response())
}

fn exists() -> Refusal {
    Refusal::Conflict("this key exists, or was revoked: make another secret".into())
}

fn bad(why: impl std::fmt::Display) -> Refusal {
    Refusal::Bad(why.to_string(), None)
}

impl Gateway {
    /// Follows an order and says how its channel stands then.
    pub async fn follow(self: &Arc<Self>, body: &Body) -> Result<Value, Refusal> {
        let signed: Signed<'_> = serde_json::from_slice(body)
            .map_err(|error| bad(format!("the order cannot be read: {error}")))?;
        let Signed { channel, order: raw, time, signature } = signed;
        let id = self.place.settlement.channel_id(&channel);
        let id = id.ok_or_else(|| bad("the channel's withdrawDelay does not fit 40 bits"))?;
        if channel.payer_authorizer.is_zero() {
            return Err(bad(
                "the channel has no payerAuthorizer: what its payer would take for a signature, only its contract knows; open one with a signing key",
            ));
        }
        // In either form of the last byte: an order never goes to the chain.
        let digest = self.house.order(id, raw.get().as_bytes(), time);
        if taken(channel.payer_authorizer, digest, &signature).is_none() {
            return Err(Refusal::Forbidden(
                "the order is not signed by the channel's payerAuthorizer".into(),
            ));
        }
        if time.abs_diff(now_ms()) > CLOCKS {
            return Err(bad("the order's time is more than five minutes off: set the clock"));
        }
        let order: Order = serde_json::from_str(raw.get())
            .map_err(|error| bad(format!("the order cannot be read: {error}")))?;
        let line = match self.books.line(id) {
            Some(line) => line,
            None => self.open_line(id, channel, &order).await?,
        };
        // Looking again changes nothing, and needs no order among orders.
        if !matches!(order, Order::Look) {
            let mut held = line.account.lock().expect("no panic holds it");
            if time <= held.ordered {
                return Err(Refusal::Conflict(
                    "an order of this time or a later one was followed already".into(),
                ));
            }
            held.ordered = time;
            self.journal.write(Entry::Ordered(id, time));
        }
        match order {
            Order::CreateKey { hash, name, limits, voucher } => {
                if let Some(voucher) = voucher {
                    self.renew(&line, &voucher).await?;
                }
                self.create_key(&line, hash, name, limits)?;
            }
            Order::LimitKey { key, limits } => {
                let key = self.key_of(&line, &key)?;
                self.check_limits(&limits)?;
                key.limit(&self.journal, limits.limits());
            }
            Order::RevokeKey { key } => {
                let key = self.key_of(&line, &key)?;
                key.revoke(&self.journal);
            }
            Order::Renew { voucher } => self.renew(&line, &voucher).await?,
            Order::Look => self.look(&line).await?,
            Order::Withdraw => self.withdraw(&line).await?,
        }
        let last = self.journal.write(Entry::Flush);
        if !self.journal.durable(last).await {
            return Err(Refusal::Internal("the gateway's disk failed".into()));
        }
        Ok(self.stands(&line))
    }

    /// A channel that was not used here before: it must pay this house, and only its first key opens it.
    async fn open_line(
        self: &Arc<Self>,
        id: B256,
        channel: Channel,
        order: &Order,
    ) -> Result<Arc<Line>, Refusal> {
        if !matches!(order, Order::CreateKey { voucher: Some(_), .. }) {
            return Err(Refusal::Missing(format!("the channel {id} is not known here"), "unknown_channel"));
        }
        let revenue = self.house.revenue;
        if channel.receiver != revenue || channel.receiver_authorizer != revenue {
            return Err(bad(format!("receiver and receiverAuthorizer of the channel must be {revenue}")));
        }
        let coin =
            [Coin::Credits, Coin::Cash].into_iter().find(|coin| self.place.coin(*coin) == channel.token);
        let coin = coin
            .ok_or_else(|| bad("the channel's token is neither the credit nor the cash of this offering"))?;
        let least = self.settings.withdraw_delay;
        if channel.withdraw_delay < least {
            return Err(bad(format!(
                "the channel's withdrawDelay is under the {least} s that this gateway asks for"
            )));
        }
        // The chain is asked before anything is kept: channels without a deposit cost nothing here.
        let seen = self.look_at_stranger(id).await?;
        let seen = seen.unwrap_or(OnChain { deposited: 0, claimed: 0, withdrawing: false });
        if seen.deposited == 0 {
            return Err(Refusal::Quota(format!(
                "the channel {id} has no deposit, or not under enough blocks yet"
            )));
        }
        if seen.claimed > 0 || seen.withdrawing {
            return Err(bad("the channel was used before, or a withdrawal from it has begun: open another"));
        }
        let (account, signature) = (Account::default(), Bytes::new());
        let row = ChannelRow { id, channel, coin, account, signature, ordered: 0 };
        let line = self.books.add_line(row, |line| {
            self.journal.write(Entry::Open(line.id, line.channel, line.coin));
        });
        // Again, now that it has a place: with its number, so that what comes late changes nothing.
        self.look(&line).await?;
        Ok(line)
    }

    async fn renew(self: &Arc<Self>, line: &Arc<Line>, voucher: &Voucher) -> Result<(), Refusal> {
        let digest = self.place.settlement.voucher(line.id, voucher.ceiling);
        // What is kept is what the contract takes, to the byte.
        let signature = taken(line.channel.payer_authorizer, digest, &voucher.signature);
        let signature = signature.ok_or_else(|| {
            Refusal::Forbidden("the voucher is not signed by the channel's payerAuthorizer".into())
        })?;
        // It may be for a deposit that has just been made.
        if voucher.ceiling > line.account.lock().expect("no panic holds it").deposited {
            self.look(line).await?;
        }
        let mut held = line.account.lock().expect("no panic holds it");
        let before = held.ceiling;
        held.renew(voucher.ceiling).map_err(|why| match why {
            Refused::Stopped => Refusal::Quota(why.to_string()),
            why => bad(why),
        })?;
        // The same ceiling again changes nothing: its voucher is kept already.
        if held.ceiling > before {
            held.signature = signature.clone();
            self.journal.write(Entry::Voucher(line.id, voucher.ceiling, signature));
        }
        Ok(())
    }

    fn check_limits(&self, limits: &Wanted) -> Result<(), Refusal> {
        let prices = self.prices();
        for model in limits.models.iter().flatten() {
            if !prices.models().any(|listed| listed == model) {
                return Err(bad(format!("the price list has no model {model:?}")));
            }
        }
        Ok(())
    }

    fn create_key(&self, line: &Arc<Line>, hash: B256, name: String, limits: Wanted) -> Result<(), Refusal> {
        if line.account.lock().expect("no panic holds it").state != Life::Open {
            return Err(Refusal::Quota(Refused::Stopped.to_string()));
        }
        if name.len() > NAME || name.chars().any(char::is_control) {
            return Err(bad(format!("a key's name has at most {NAME} bytes and no control characters")));
        }
        self.check_limits(&limits)?;
        if self.books.keys_of(line.id).len() >= KEYS {
            return Err(bad(format!("the channel has {KEYS} keys, as many as it may")));
        }
        if self.books.key(hash).is_some() {
            return Err(exists());
        }
        let limits = limits.limits();
        let budget = Budget { total: limits.total, per_day: limits.per_day, ..Budget::default() };
        let created = now_ms() / 1_000;
        let row = KeyRow { id: key_id(hash), hash, channel: line.id, name, limits, created, revoked: false };
        let write = |row: &KeyRow| {
            self.journal.write(Entry::Key(row.clone()));
        };
        let added = self.books.add_key(line.clone(), row, budget, write);
        added.then_some(()).ok_or_else(exists)
    }

    fn key_of(&self, line: &Line, id: &str) -> Result<Arc<ApiKey>, Refusal> {
        let mut found = self.books.keys_of(line.id).into_iter();
        let found = found.rfind(|key| key.row.read().expect("no panic holds it").id == id);
        found.ok_or_else(|| Refusal::Missing(format!("the channel has no key {id:?}"), "unknown_key"))
    }

    /// How a channel stands, as its holder is told.
    pub fn stands(&self, line: &Line) -> Value {
        let account = line.account.lock().expect("no panic holds it").clone();
        let shown = |units: u128| amount(line.coin, units);
        let keys: Vec<Value> =
            self.books.keys_of(line.id).iter().map(|key| key_stands(key, line.coin)).collect();
        json!({
            "channel": line.id,
            "config": line.channel,
            "coin": line.coin,
            "state": match account.state { Life::Open => "open", Life::Closing => "closing", Life::Closed => "closed" },
            "deposited": shown(account.deposited),
            "signed": shown(account.ceiling),
            "charged": shown(account.charged),
            "reserved": shown(account.reserved),
            "claimed": shown(account.claimed),
            "left": shown(account.left()),
            "units": {
                "deposited": account.deposited.to_string(),
                "signed": account.ceiling.to_string(),
                "charged": account.charged.to_string(),
                "reserved": account.reserved.to_string(),
                "claimed": account.claimed.to_string(),
                "left": account.left().to_string(),
            },
            "keys": keys,
        })
    }
}

/// How a key stands.
pub fn key_stands(key: &ApiKey, coin: Coin) -> Value {
    let row = key.row.read().expect("no panic holds it").clone();
    let budget = key.budget.lock().expect("no panic holds it").clone();
    json!({
        "id": row.id,
        "name": row.name,
        "created": row.created,
        "revoked": row.revoked,
        "models": row.limits.models,
        "per_day": row.limits.per_day.map(|units| amount(coin, units)),
        "total": row.limits.total.map(|units| amount(coin, units)),
        "spent": amount(coin, budget.spent),
    })
}
