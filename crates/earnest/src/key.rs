//! `earnest key`: credits or cash become an API key. The holder's wallet deposits into a channel of its own; a session key
//! that never leaves this machine signs vouchers, with small ceilings, and orders; the gateway gets the hash of a secret.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, hex};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::bindings::{Channels, Credit};
use earnest_chain::key::Key;
use earnest_chain::voucher::{Channel, CoinDomain, Deposit, House, Settlement};
use earnest_core::bid::BidId;
use earnest_core::money::{Cash, Credits};
use earnest_serve::gateway::order::{Order, Voucher, Wanted};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::output::{bid_id, seconds};
use crate::session::{Session, Where, Who};

/// API keys for the gateway, paid from channels.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Deposit credits or cash and get an API key for it; or, with --channel, another key for a channel that is there.
    Create(Create),
    /// What there is, and how it stands at the gateway.
    List(List),
    /// Give a key other limits.
    Limit(Limit),
    /// Take a key back. Its voucher stays good: to take that back too, withdraw.
    Revoke(Revoke),
    /// Sign for more, up to what is deposited.
    Renew(Renew),
    /// Deposit more.
    TopUp(TopUp),
    /// Have what was not used sent back. The channel is never used again.
    Withdraw(Withdraw),
}

#[derive(Args)]
struct At {
    #[command(flatten)]
    place: Where,
    /// The gateway; without it, the one that was started beside this deployment.
    #[arg(long, value_name = "URL", env = "EARNEST_GATEWAY")]
    gateway: Option<String>,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Limits {
    /// Only these models, with commas.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Most in a day (UTC), such as "2 credits".
    #[arg(long, value_parser = coins)]
    per_day: Option<Coins>,
    /// Most in all.
    #[arg(long, value_parser = coins)]
    total: Option<Coins>,
}

#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    who: Who,
    /// What to call it.
    #[arg(long, default_value = "default")]
    name: String,
    /// What goes into the channel, such as "10 credits" or "5 cash".
    #[arg(long, value_parser = coins, required_unless_present = "channel")]
    deposit: Option<Coins>,
    /// Pay from the vault of this position: its locked credits. round/entity, or round/window/entity.
    #[arg(long, value_parser = bid_id)]
    locked: Option<BidId>,
    /// What the gateway may claim at most for now: what you risk. Without it, a tenth of the deposit.
    #[arg(long, value_parser = coins)]
    ceiling: Option<Coins>,
    /// Another key for this channel, by the start of its id.
    #[arg(long, conflicts_with_all = ["deposit", "locked"])]
    channel: Option<String>,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct Limit {
    /// The key, by id or name.
    key: String,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Args)]
pub struct Revoke {
    /// The key, by id or name.
    key: String,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct Renew {
    #[command(flatten)]
    at: At,
    /// Channel, by the start of its id; not needed where there is one.
    #[arg(long)]
    channel: Option<String>,
    /// The new ceiling. Without it, what was charged and a tenth of the deposit more.
    #[arg(long, value_parser = coins)]
    ceiling: Option<Coins>,
    /// Keep running, and sign for more whenever less than half of a tenth of the deposit is left.
    #[arg(long, conflicts_with = "ceiling")]
    watch: bool,
    /// How often --watch looks, such as "30 seconds".
    #[arg(long, value_parser = seconds, default_value = "30 seconds")]
    every: u64,
}

#[derive(Args)]
pub struct TopUp {
    /// How much more, such as "10 credits".
    #[arg(value_parser = coins)]
    amount: Coins,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    who: Who,
    /// Channel, by the start of its id; not needed where there is one.
    #[arg(long)]
    channel: Option<String>,
}

#[derive(Args)]
pub struct Withdraw {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    who: Who,
    /// Channel, by the start of its id; not needed where there is one.
    #[arg(long)]
    channel: Option<String>,
    /// Without the gateway: begin a withdrawal on the chain, or end one whose time is over.
    #[arg(long)]
    alone: bool,
}

/// An amount of either coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coins {
    credits: bool,
    units: u128,
}

/// `10 credits`, `0.5 cash`
fn coins(text: &str) -> Result<Coins, String> {
    let expected = "an amount such as \"10 credits\" or \"0.5 cash\" is expected";
    let (amount, coin) = text.trim().rsplit_once(' ').ok_or(expected)?;
    match coin {
        "credits" | "credit" => {
            let units = Credits::parse(amount.trim()).ok_or(expected)?.units();
            Ok(Coins { credits: true, units })
        }
        "cash" => {
            Ok(Coins { credits: false, units: Cash::parse(amount.trim()).ok_or(expected)?.units().into() })
        }
        _ => Err(expected.into()),
    }
}

/// What a gateway says of itself.
#[derive(Deserialize)]
pub struct Terms {
    chain_id: u64,
    settlement: Address,
    collector: Address,
    revenue: Address,
    withdraw_delay: u64,
    coins: Vec<Coin>,
    price_list: PriceList,
}

#[derive(Deserialize)]
struct PriceList {
    models: Vec<Priced>,
}

#[derive(Deserialize)]
struct Priced {
    model: String,
}

#[derive(Deserialize)]
struct Coin {
    coin: String,
    token: Address,
    name: String,
    version: String,
}

/// A channel as it is kept here: whoever has this file can spend up to the ceilings it signs.
#[derive(Clone, Serialize, Deserialize)]
struct Held {
    gateway: String,
    chain_id: u64,
    settlement: Address,
    revenue: Address,
    channel: Channel,
    session_key: B256,
    /// Named to the gateway, by their secrets.
    keys: Vec<Secret>,
    #[serde(default)]
    withdrawn: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Secret {
    id: String,
    name: String,
    secret: String,
}

/// Where channels are kept.
const FILE: &str = "keys.json";
/// Where `earnest gateway` says under which address it is.
pub const GATEWAY_FILE: &str = "gateway.url";

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

fn now_ms() -> u64 {
    earnest_serve::gateway::now_ms()
}

impl Held {
    fn id(&self) -> B256 {
        let settlement = Settlement { chain_id: self.chain_id, at: self.settlement };
        settlement.channel_id(&self.channel).expect("it was checked when it was read")
    }

    fn key(&self) -> Key {
        Key::parse(&hex::encode(self.session_key)).expect("it was checked when it was read")
    }

    fn voucher(&self, ceiling: u128) -> Voucher {
        let settlement = Settlement { chain_id: self.chain_id, at: self.settlement };
        Voucher { ceiling, signature: self.key().sign(settlement.voucher(self.id(), ceiling)) }
    }

    fn coin(&self, session: &Session) -> &'static str {
        if self.channel.token == session.record.contracts.credit { "credits" } else { "cash" }
    }
}

/// The channels of a folder.
struct Purse {
    file: PathBuf,
    held: Vec<Held>,
}

impl Purse {
    fn open(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        let held = match std::fs::read(&file) {
            Ok(bytes) => Self::read(&bytes).with_context(|| format!("{} cannot be read", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        Ok(Purse { file, held })
    }

    /// What somebody wrote into the file must not end in a panic later.
    fn read(bytes: &[u8]) -> Result<Vec<Held>> {
        let all: Vec<Held> = serde_json::from_slice(bytes)?;
        for (number, held) in all.iter().enumerate() {
            let settlement = Settlement { chain_id: held.chain_id, at: held.settlement };
            let bad = |what: &str| format!("channel {number} in it has a {what} that cannot be");
            settlement.channel_id(&held.channel).with_context(|| bad("withdrawDelay"))?;
            Key::parse(&hex::encode(held.session_key)).with_context(|| bad("session_key"))?;
        }
        Ok(all)
    }

    /// Whole or not at all, and for nobody else to read.
    fn save(&self) -> Result<()> {
        let new = self.file.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut to = options.open(&new).with_context(|| format!("cannot write {}", new.display()))?;
        to.write_all(&serde_json::to_vec_pretty(&self.held)?)?;
        to.sync_all()?;
        std::fs::rename(&new, &self.file)?;
        Ok(())
    }

    /// The channel whose id begins so; the only one, where nothing is said.
    fn find(&self, start: Option<&str>) -> Result<usize> {
        let fits = |held: &Held| {
            !held.withdrawn && start.is_none_or(|start| held.id().to_string().starts_with(start))
        };
        let found: Vec<usize> = (0..self.held.len()).filter(|&index| fits(&self.held[index])).collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => bail!("no such channel in {}\n  hint: earnest key create opens one", self.file.display()),
            many => {
                let ids: Vec<String> = many.iter().map(|&index| self.held[index].id().to_string()).collect();
                bail!("there are several channels\n  hint: --channel with one of {}", ids.join(", "))
            }
        }
    }

    /// A key by id or name, and its channel.
    fn find_key(&self, name: &str) -> Result<(usize, String)> {
        let all =
            self.held.iter().enumerate().flat_map(|(at, held)| held.keys.iter().map(move |key| (at, key)));
        let found: Vec<_> = all.filter(|(_, key)| key.id == name || key.name == name).collect();
        match found.as_slice() {
            [(at, key)] => Ok((*at, key.id.clone())),
            [] => bail!("no key {name:?}\n  hint: earnest key list shows all"),
            _ => bail!("several keys are called {name:?}\n  hint: name one by its id"),
        }
    }
}

/// The gateway over HTTP.
struct Gateway {
    url: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    fn of(at: &At, known: Option<&str>) -> Result<Self> {
        let beside = std::fs::read_to_string(at.place.folder().join(GATEWAY_FILE)).ok();
        let url = at.gateway.clone().or(known.map(str::to_owned)).or(beside);
        let url = url.context("no gateway is known\n  hint: --gateway URL, or start one: earnest gateway")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
        Ok(Gateway {
            url: url.trim().trim_end_matches('/').trim_end_matches("/v1").to_owned(),
            client,
            runtime,
        })
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        self.runtime.block_on(async {
            let response = request.send().await.with_context(|| format!("the gateway at {}", self.url))?;
            let status = response.status();
            let value: Value =
                response.json().await.with_context(|| format!("the gateway answered {status}"))?;
            if !status.is_success() {
                let why = value["error"]["message"].as_str().unwrap_or("it did not say why");
                bail!("the gateway refused: {why}");
            }
            Ok(value)
        })
    }

    fn terms(&self) -> Result<Terms> {
        let value = self.answer(self.client.get(format!("{}/earnest/terms", self.url)))?;
        serde_json::from_value(value).context("the gateway's terms cannot be read")
    }

    fn order(&self, held: &Held, order: &Order) -> Result<Value> {
        let text = serde_json::to_string(order)?;
        let time = now_ms();
        let house = House::new(held.chain_id, held.revenue);
        let signature = held.key().sign(house.order(held.id(), text.as_bytes(), time));
        // The bytes of the order are signed: they are put in as they are.
        let body = format!(
            "{{\"channel\":{},\"order\":{text},\"time\":{time},\"signature\":\"{signature}\"}}",
            serde_json::to_string(&held.channel)?
        );
        let request = self.client.post(format!("{}/earnest/orders", self.url));
        self.answer(request.header("content-type", "application/json").body(body))
    }
}

impl Limits {
    fn wanted(&self, coin: &str) -> Result<Wanted> {
        let in_coin = |amount: Option<Coins>| match amount {
            Some(amount) if amount.credits != (coin == "credits") => {
                bail!("limits of this key are in {coin}")
            }
            amount => Ok(amount.map(|amount| amount.units)),
        };
        Ok(Wanted {
            models: self.models.clone(),
            per_day: in_coin(self.per_day)?,
            total: in_coin(self.total)?,
        })
    }
}

/// How a deposit is paid.
struct Funding<'a> {
    session: &'a mut Session,
    owner: &'a Key,
    terms: &'a Terms,
}

impl Funding<'_> {
    /// Moves coins of the payer (the owner's wallet, or a vault of the owner's) into the channel.
    fn deposit(&mut self, channel: &Channel, coin: &Coin, amount: u128) -> Result<()> {
        let settlement = Settlement { chain_id: self.terms.chain_id, at: self.terms.settlement };
        let id =
            settlement.channel_id(channel).context("the gateway's withdraw delay does not fit 40 bits")?;
        let domain = CoinDomain {
            name: coin.name.clone(),
            version: coin.version.clone(),
            chain_id: self.terms.chain_id,
            at: coin.token,
        };
        // By the chain's clock: a development chain's may be years away.
        let now = self.session.chain.time()?;
        let deposit = Deposit {
            value: amount,
            valid_after: 0,
            valid_before: now + 3_600,
            salt: U256::from_be_bytes(random::<32>()),
        };
        let digest = deposit.digest(&domain, channel.payer, self.terms.collector, id);
        let owner = self.owner.sign(digest);
        let signature = if channel.payer == self.owner.address() {
            owner
        } else {
            deposit.vault_signature(channel, &owner).context("the withdraw delay does not fit 40 bits")?
        };
        let call = Channels::depositCall {
            config: channel.config(),
            amount,
            collector: self.terms.collector,
            collectorData: deposit.collector_data(&signature),
        };
        self.session.chain.send(self.owner, self.terms.settlement, &call)?;
        Ok(())
    }

    fn balance(&mut self, coin: Address, of: Address) -> Result<u128> {
        let balance = self.session.chain.call(coin, &Credit::balanceOfCall { account: of })?;
        Ok(balance.saturating_to())
    }
}

/// The gateway must be of this deployment: what it says of contracts is not believed.
fn check(terms: &Terms, session: &Session) -> Result<()> {
    let at = &session.record.contracts;
    let same = (terms.chain_id, terms.settlement, terms.collector, terms.revenue)
        == (session.record.chain_id, at.channels, at.collector, at.revenue);
    let coins = terms.coins.iter().all(|coin| match coin.coin.as_str() {
        "credits" => coin.token == at.credit,
        "cash" => coin.token == at.cash,
        _ => false,
    });
    if !same || !coins {
        bail!("the gateway is of another deployment than {}\n  hint: --state names its folder", at.offering);
    }
    Ok(())
}

fn shown(credits: bool, units: u128) -> String {
    let coin = if credits {
        earnest_serve::gateway::journal::Coin::Credits
    } else {
        earnest_serve::gateway::journal::Coin::Cash
    };
    earnest_serve::gateway::amount(coin, units)
}

impl KeyCommand {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            KeyCommand::Create(create) => create.run(),
            KeyCommand::List(list) => list.run(),
            KeyCommand::Limit(limit) => {
                let purse = Purse::open(limit.at.place.folder())?;
                let (at, key) = purse.find_key(&limit.key)?;
                let held = &purse.held[at];
                let session = limit.at.place.open()?;
                let limits = limit.limits.wanted(held.coin(&session))?;
                let gateway = Gateway::of(&limit.at, Some(&held.gateway))?;
                tell(&gateway.order(held, &Order::LimitKey { key, limits })?, limit.at.json)
            }
            KeyCommand::Revoke(revoke) => {
                let purse = Purse::open(revoke.at.place.folder())?;
                let (at, key) = purse.find_key(&revoke.key)?;
                let held = &purse.held[at];
                let gateway = Gateway::of(&revoke.at, Some(&held.gateway))?;
                tell(&gateway.order(held, &Order::RevokeKey { key })?, revoke.at.json)
            }
            KeyCommand::Renew(renew) => renew.run(),
            KeyCommand::TopUp(top_up) => top_up.run(),
            KeyCommand::Withdraw(withdraw) => withdraw.run(),
        }
    }
}

/// How a channel stands, in words or as JSON.
fn tell(state: &Value, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(state)?);
        return Ok(());
    }
    let text = |name: &str| state[name].as_str().unwrap_or("?").to_owned();
    println!("channel {} ({})", text("channel"), text("state"));
    println!(
        "  deposited {}, signed for {}, charged {}, left {}",
        text("deposited"),
        text("signed"),
        text("charged"),
        text("left")
    );
    for key in state["keys"].as_array().into_iter().flatten() {
        let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
        let revoked = if key["revoked"] == json!(true) { ", revoked" } else { "" };
        println!(
            "  {} {:?}: spent {}, a day {}, in all {}{revoked}",
            text("id"),
            text("name"),
            text("spent"),
            text("per_day"),
            text("total")
        );
    }
    Ok(())
}

/// The secret of a key that is kept, and not withdrawn.
pub fn kept(folder: &Path, name: &str) -> Result<Option<String>> {
    let purse = Purse::open(folder)?;
    let mut keys = purse.held.iter().filter(|held| !held.withdrawn).flat_map(|held| &held.keys);
    Ok(keys.find(|key| key.name == name).map(|key| key.secret.clone()))
}

/// Makes a key and prints it, whoever asks: `earnest key create`, or `earnest up` for trying out.
pub struct Wish<'a> {
    /// Whose deployment.
    pub place: &'a Where,
    /// Base URL.
    pub gateway: String,
    /// Whose coins.
    pub owner: Key,
    /// What to call it.
    pub name: String,
    /// What goes into the channel.
    pub deposit: Coins,
}

impl Coins {
    /// Cash.
    pub fn cash(cash: Cash) -> Self {
        Coins { credits: false, units: cash.units().into() }
    }
}

impl Create {
    /// As `earnest up` wishes.
    pub fn of(wish: &Wish<'_>) -> Result<String> {
        let session = wish.place.open()?;
        let at = At { place: wish.place.clone(), gateway: Some(wish.gateway.clone()), json: false };
        let limits = Limits { models: None, per_day: None, total: None };
        let asked = (Some(wish.deposit), None, Some(wish.deposit));
        Ok(create(&at, session, &wish.owner, &wish.name, asked, &limits)?.0)
    }

    fn run(self) -> Result<()> {
        let Create { at, who, name, deposit, locked, ceiling, channel, limits } = self;
        let session = at.place.open()?;
        let (secret, state) = match channel {
            Some(start) => another(&at, &session, &start, &name, ceiling, &limits)?,
            None => {
                let owner = who.key(&session.chain)?;
                create(&at, session, &owner, &name, (deposit, locked, ceiling), &limits)?
            }
        };
        let gateway = Gateway::of(&at, None)?;
        let base = format!("{}/v1", gateway.url);
        if at.json {
            println!(
                "{}",
                serde_json::to_string_pretty(
                    &json!({"base_url": base, "api_key": secret, "channel": state})
                )?
            );
        } else {
            println!("{secret}");
            eprintln!("base URL {base}");
            eprintln!(
                "{} signed for of {} deposited; more: earnest key renew",
                state["signed"].as_str().unwrap_or("?"),
                state["deposited"].as_str().unwrap_or("?")
            );
            eprintln!(
                "the key is also kept in {}, with the key that signs for it",
                at.place.folder().join(FILE).display()
            );
        }
        Ok(())
    }
}

fn secret() -> String {
    use base64::Engine;
    format!("sk-earnest-{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random::<32>()))
}

fn another(
    at: &At,
    session: &Session,
    start: &str,
    name: &str,
    ceiling: Option<Coins>,
    limits: &Limits,
) -> Result<(String, Value)> {
    let mut purse = Purse::open(at.place.folder())?;
    let found = purse.find(Some(start))?;
    let held = purse.held[found].clone();
    let gateway = Gateway::of(at, Some(&held.gateway))?;
    let limits = limits.wanted(held.coin(session))?;
    let voucher = ceiling.map(|ceiling| held.voucher(ceiling.units));
    let secret = secret();
    let hash = earnest_serve::gateway::books::hash_of(&secret);
    // Kept before it is ordered: a key that nobody has cannot be taken back.
    let id = earnest_serve::gateway::books::key_id(hash);
    purse.held[found].keys.push(Secret { id, name: name.to_owned(), secret: secret.clone() });
    purse.save()?;
    let state = gateway.order(&held, &Order::CreateKey { hash, name: name.to_owned(), limits, voucher })?;
    Ok((secret, state))
}

fn create(
    at: &At,
    mut session: Session,
    owner: &Key,
    name: &str,
    (deposit, locked, ceiling): (Option<Coins>, Option<BidId>, Option<Coins>),
    limits: &Limits,
) -> Result<(String, Value)> {
    let deposit = deposit.context("--deposit is needed for a new channel")?;
    if deposit.units == 0 {
        bail!("nothing is deposited\n  hint: --deposit \"10 credits\"");
    }
    let ceiling = ceiling.unwrap_or(Coins { units: (deposit.units / 10).max(1), ..deposit });
    if ceiling.credits != deposit.credits || ceiling.units > deposit.units {
        bail!("the ceiling is more than the deposit, or of another coin");
    }
    let gateway = Gateway::of(at, None)?;
    let terms = gateway.terms()?;
    check(&terms, &session)?;
    let word = if deposit.credits { "credits" } else { "cash" };
    let coin =
        terms.coins.iter().find(|coin| coin.coin == word).context("the gateway does not take this coin")?;
    let limits = limits.wanted(word)?;
    // Before any coin moves: the gateway would refuse it afterwards.
    let sold: Vec<&str> = terms.price_list.models.iter().map(|priced| priced.model.as_str()).collect();
    if let Some(name) = limits.models.iter().flatten().find(|name| !sold.contains(&name.as_str())) {
        bail!("the price list has no model {name:?}\n  hint: it has {}", sold.join(", "));
    }
    let payer = match locked {
        None => owner.address(),
        Some(id) => {
            if !deposit.credits {
                bail!("vaults hold credits, not cash");
            }
            let raise = session.read()?;
            if raise.offering.bid(id).wallet != owner.address() {
                bail!("position {} is not this wallet's", crate::offering::show(id));
            }
            session.record.contracts.vault_of(&raise.offering, id)
        }
    };
    let mut funding = Funding { session: &mut session, owner, terms: &terms };
    let has = funding.balance(coin.token, payer)?;
    if has < deposit.units {
        bail!(
            "{payer} has {}, and {} is to be deposited",
            shown(deposit.credits, has),
            shown(deposit.credits, deposit.units)
        );
    }
    let session_key = B256::from(random::<32>());
    let held = Held {
        gateway: gateway.url.clone(),
        chain_id: terms.chain_id,
        settlement: terms.settlement,
        revenue: terms.revenue,
        channel: Channel {
            payer,
            payer_authorizer: Key::parse(&hex::encode(session_key))?.address(),
            receiver: terms.revenue,
            receiver_authorizer: terms.revenue,
            token: coin.token,
            withdraw_delay: terms.withdraw_delay,
            salt: B256::from(random::<32>()),
        },
        session_key,
        keys: Vec::new(),
        withdrawn: false,
    };
    let secret = secret();
    let hash = earnest_serve::gateway::books::hash_of(&secret);
    let id = earnest_serve::gateway::books::key_id(hash);
    // Before any coin moves: without the session key a deposit could not be used, nor withdrawn from a vault's channel.
    let mut purse = Purse::open(at.place.folder())?;
    purse.held.push(Held {
        keys: vec![Secret { id, name: name.to_owned(), secret: secret.clone() }],
        ..held.clone()
    });
    purse.save()?;
    funding.deposit(&held.channel, coin, deposit.units)?;
    let voucher = Some(held.voucher(ceiling.units));
    let order = Order::CreateKey { hash, name: name.to_owned(), limits, voucher };
    let state = gateway.order(&held, &order).with_context(|| {
        format!("the deposit stands in channel {}; earnest key withdraw --alone brings it back", held.id())
    })?;
    Ok((secret, state))
}

impl List {
    fn run(self) -> Result<()> {
        let purse = Purse::open(self.at.place.folder())?;
        let mut all = Vec::new();
        for held in &purse.held {
            let gateway = Gateway::of(&self.at, Some(&held.gateway))?;
            match gateway.order(held, &Order::Look) {
                Ok(state) if self.at.json => all.push(state),
                Ok(state) => tell(&state, false)?,
                Err(error) => eprintln!("channel {}: {error:#}", held.id()),
            }
        }
        if self.at.json {
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Ok(())
    }
}

fn units(state: &Value, name: &str) -> Result<u128> {
    let text = state["units"][name].as_str().context("the gateway's answer has no amounts")?;
    Ok(text.parse()?)
}

impl Renew {
    fn run(self) -> Result<()> {
        let purse = Purse::open(self.at.place.folder())?;
        let held = &purse.held[purse.find(self.channel.as_deref())?];
        let gateway = Gateway::of(&self.at, Some(&held.gateway))?;
        loop {
            let state = gateway.order(held, &Order::Look)?;
            let (deposited, charged, signed) =
                (units(&state, "deposited")?, units(&state, "charged")?, units(&state, "signed")?);
            let step = deposited / 10;
            let wanted = match self.ceiling {
                Some(ceiling) => ceiling.units,
                None => charged.saturating_add(step).min(deposited).max(signed),
            };
            let low = units(&state, "left")? < step / 2;
            if wanted > signed && (low || !self.watch) {
                let state = gateway.order(held, &Order::Renew { voucher: held.voucher(wanted) })?;
                tell(&state, self.at.json)?;
            } else if !self.watch {
                eprintln!("nothing to sign: all that is deposited is signed for\n  hint: earnest key top-up");
                return tell(&state, self.at.json);
            }
            if !self.watch {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(self.every.max(1)));
        }
    }
}

impl TopUp {
    fn run(self) -> Result<()> {
        let purse = Purse::open(self.at.place.folder())?;
        let held = &purse.held[purse.find(self.channel.as_deref())?];
        let mut session = self.at.place.open()?;
        let owner = self.who.key(&session.chain)?;
        let gateway = Gateway::of(&self.at, Some(&held.gateway))?;
        let terms = gateway.terms()?;
        check(&terms, &session)?;
        let word = held.coin(&session);
        if self.amount.credits != (word == "credits") {
            bail!("this channel is in {word}");
        }
        let state = gateway.order(held, &Order::Look)?;
        if state["state"] != json!("open") {
            bail!(
                "the channel is closed: a deposit would be exposed to its old vouchers\n  hint: earnest key create opens another"
            );
        }
        let coin = terms
            .coins
            .iter()
            .find(|coin| coin.coin == word)
            .context("the gateway does not take this coin")?;
        Funding { session: &mut session, owner: &owner, terms: &terms }.deposit(
            &held.channel,
            coin,
            self.amount.units,
        )?;
        tell(&gateway.order(held, &Order::Look)?, self.at.json)
    }
}

impl Withdraw {
    fn run(self) -> Result<()> {
        let mut purse = Purse::open(self.at.place.folder())?;
        let at = purse.find(self.channel.as_deref())?;
        let held = purse.held[at].clone();
        if self.alone {
            return self.alone(&held);
        }
        let gateway = Gateway::of(&self.at, Some(&held.gateway))?;
        let state = gateway.order(&held, &Order::Withdraw)?;
        purse.held[at].withdrawn = true;
        purse.save()?;
        tell(&state, self.at.json)
    }

    /// On the chain alone: begin, and after the delay end. Sent by the payer, or by the session key's holder where a vault
    /// pays.
    fn alone(&self, held: &Held) -> Result<()> {
        let mut session = self.at.place.open()?;
        let (id, at) = (held.id(), held.settlement);
        let config = held.channel.config();
        let owner = self.who.key(&session.chain)?;
        // A vault cannot send: the session key may.
        let key = if owner.address() == held.channel.payer { owner } else { held.key() };
        let pending = session.chain.call(at, &Channels::pendingWithdrawalsCall { channelId: id })?;
        let now = session.chain.time()?;
        if pending.initiatedAt.is_zero() {
            let state = session.chain.call(at, &Channels::channelsCall { channelId: id })?;
            let rest = state.balance - state.totalClaimed;
            if rest == 0 {
                bail!("nothing is left in channel {id}");
            }
            session.chain.send(&key, at, &Channels::initiateWithdrawCall { config, amount: rest })?;
            let end = now + held.channel.withdraw_delay;
            println!(
                "the withdrawal has begun; after {} the same command ends it",
                earnest_core::plan::date::utc(end)
            );
            return Ok(());
        }
        let end = pending.initiatedAt.to::<u64>() + held.channel.withdraw_delay;
        if now < end {
            bail!("the withdrawal can be ended after {}", earnest_core::plan::date::utc(end));
        }
        session.chain.send(&key, at, &Channels::finalizeWithdrawCall { config })?;
        println!("withdrawn to {}", held.channel.payer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn a_damaged_key_file_is_refused_or_can_be_used() {
        let one = "0x1111111111111111111111111111111111111111";
        let held = format!(
            r#"[{{"gateway":"http://x","chain_id":1,"settlement":"{one}","revenue":"{one}","channel":{{"payer":"{one}",
            "payerAuthorizer":"{one}","receiver":"{one}","receiverAuthorizer":"{one}","token":"{one}","withdrawDelay":900,
            "salt":"{salt}"}},"session_key":"{salt}","keys":[{{"id":"k","name":"n","secret":"s"}}]}}]"#,
            salt = B256::repeat_byte(7)
        );
        assert_eq!(Purse::read(held.as_bytes()).expect("as it is written").len(), 1);
        let (zero, long) = (B256::ZERO.to_string(), "1099511627776");
        for bad in [held.replace(&B256::repeat_byte(7).to_string(), &zero), held.replace("900", long)] {
            assert!(Purse::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..5_000 {
            let mut bytes = held.clone().into_bytes();
            for _ in 0..dice.random_range(1..4) {
                let at = dice.random_range(0..bytes.len());
                match dice.random_range(0..3) {
                    0 => bytes[at] = dice.random(),
                    1 => drop(bytes.remove(at)),
                    _ => bytes[at] = b"0123456789abcdef\"{}[],:"[dice.random_range(0..23)],
                }
            }
            for held in Purse::read(&bytes).unwrap_or_default() {
                held.voucher(1);
            }
            let _ = serde_json::from_slice::<Terms>(&bytes);
        }
    }
}
