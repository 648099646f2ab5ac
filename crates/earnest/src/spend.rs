//! What a demo's holders buy: keys for a crowd of them, some with locked credits, requests in parallel over real HTTP, as
//! JSON and as streams, then claims, a statement, a provider's pay and the burn. The chain is the demo's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result, bail};
use earnest_chain::bindings::{Channels, Revenue};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Deployment;
use earnest_chain::key::Key;
use earnest_chain::voucher::{Channel, CoinDomain, Deposit, House, Settlement};
use earnest_core::plan::Plan;
use earnest_core::raise::Holder;
use earnest_serve::chain::ChainThread;
use earnest_serve::echo::Echo;
use earnest_serve::gateway::journal::Coin;
use earnest_serve::gateway::order::{Order, Voucher, Wanted};
use earnest_serve::gateway::statement::Document;
use earnest_serve::gateway::till::Till;
use earnest_serve::gateway::{self, Gateway, Place, Settings, books};
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::provider::dial::{Model, Provider};
use earnest_serve::provider::doors::Admission;
use earnest_serve::server::{Limits, serve_unguarded};
use futures_util::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;

/// Who buys: the owner's key, and whose credits they are.
#[derive(Clone)]
pub struct Buyer {
    /// Signs the deposit.
    pub owner: Key,
    /// Wallet or vault.
    pub payer: Holder,
    /// Its address.
    pub at: Address,
    /// What it deposits, in base units.
    pub deposit: u128,
}

/// What came of it. Amounts are in base units of the credit.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// Requests that were answered, streams among them.
    pub served: u64,
    /// Streams.
    pub streamed: u64,
    /// What they cost.
    pub charged: u128,
    /// Of that, claimed on the chain.
    pub claimed: u128,
    /// Burned.
    pub burned: u128,
    /// Paid to providers.
    pub paid: u128,
    /// Gas of claims and statement.
    pub gas: u64,
    /// Which model.
    pub model: String,
    /// By channel's payer: deposited and claimed.
    pub channels: Vec<(Holder, u128, u128)>,
    /// By provider.
    pub providers: BTreeMap<Address, u128>,
}

/// Requests of each buyer, and how many of them are streams.
const REQUESTS: u64 = 100;
const STREAMS: u64 = 20;
/// Requests of one buyer at once.
const AT_ONCE: usize = 8;

/// Everything that the buyers' thread needs.
pub struct Story {
    /// The plan.
    pub plan: Plan,
    /// Where the contracts are.
    pub at: Deployment,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Who buys.
    pub buyers: Vec<Buyer>,
    /// Has Revenue's roles.
    pub gateway: Key,
    /// Serves.
    pub provider: Key,
}

impl Story {
    /// Plays it on a chain that stays in this thread.
    pub fn play(self, chain: &mut Chain) -> Result<Spent> {
        let (thread, desk) = ChainThread::elsewhere();
        let buyers = std::thread::Builder::new().name("buyers".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let spent = runtime.block_on(self.buy(thread));
            // The chain's questions end with the last task that could ask.
            runtime.shutdown_timeout(Duration::from_secs(5));
            spent
        })?;
        desk.answer(chain);
        buyers.join().map_err(|_| anyhow::anyhow!("the buyers' thread panicked"))?
    }

    async fn buy(self, chain: ChainThread) -> Result<Spent> {
        let folder = Folder::new()?;
        let model =
            self.plan.price_list.iter().flat_map(|list| &list.models).find(|model| model.output.is_some());
        let model = model.context("the plan sells no text")?.name.clone();
        let mut settings = Settings::new(folder.0.clone());
        settings.providers = Admission::Anyone;
        settings.share_bps = self.plan.providers.as_ref().map_or(0, |providers| providers.share.get());
        settings.claim_every = Duration::from_secs(3_600);
        let ask = settings.share_bps;
        let place = Place {
            house: House::new(self.chain_id, self.at.revenue),
            settlement: Settlement { chain_id: self.chain_id, at: self.at.channels },
            collector: self.at.collector,
            coins: [
                (self.at.credit, self.plan.credits.name.clone(), "1".into()),
                (self.at.cash, self.plan.cash.name.clone(), "1".into()),
            ],
        };
        let till = Till {
            chain: chain.clone(),
            sender: chain.clone(),
            key: self.gateway.clone(),
            at: self.at.clone(),
            confirmations: 0,
        };
        let opening = (till.clone(), place.clone(), self.gateway.clone());
        let gateway = tokio::task::spawn_blocking(move || {
            let (till, place, key) = opening;
            let prices = till.prices(0)?.unwrap_or_default();
            Gateway::open(settings, place, key, prices, Some(till))
        });
        let gateway = gateway.await??;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        gateway.names.listens_at(listener.local_addr()?);
        let app = gateway::router(gateway.clone());
        let serving =
            tokio::spawn(serve_unguarded(Limits::for_gateway(), listener, app, std::future::pending()));
        let lab = self.provider(&url, &model, ask, &folder).await?;
        let mut changes = gateway.roster.changes();
        while gateway.roster.links().is_empty() {
            changes.changed().await?;
        }

        let holders = futures_util::future::try_join_all(
            self.buyers
                .iter()
                .enumerate()
                .map(|(index, buyer)| self.open(&gateway, &chain, &place, index, buyer)),
        )
        .await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let asking = holders.iter().map(|secret| ask_many(&client, &url, secret, &model));
        let (mut served, mut streamed) = (0, 0);
        for answered in futures_util::future::join_all(asking).await {
            let (all, streams) = answered?;
            served += all;
            streamed += streams;
        }

        // A client has its answer a moment before it is charged.
        gateway.drain(Duration::from_secs(10)).await;
        let round = gateway.clone();
        tokio::task::spawn_blocking(move || round.round(true)).await??;
        let pays = self.collect(&gateway, &chain, &till).await?;
        let spent = self.count(&gateway, &place, served, streamed, model, pays)?;
        lab.abort();
        serving.abort();
        let closing = gateway.clone();
        tokio::task::spawn_blocking(move || closing.close()).await?;
        Ok(spent)
    }

    /// An independent provider that dials in, before the built-in echo.
    async fn provider(
        &self,
        url: &str,
        model: &str,
        ask: u16,
        folder: &Folder,
    ) -> Result<tokio::task::JoinHandle<()>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = format!("http://{}/v1", listener.local_addr()?);
        let echo = tokio::spawn(serve_unguarded(
            Limits::for_gateway(),
            listener,
            Echo::default().router(),
            std::future::pending(),
        ));
        let dialect = Dialect { upstream: "echo".into(), ..Dialect::default() };
        let provider = Provider {
            gateway: url.parse()?,
            key: self.provider.clone(),
            upstream: upstream.parse()?,
            upstream_key: None,
            headers: Default::default(),
            models: vec![Model { name: model.into(), dialect, elsewhere: None }],
            ask,
            concurrency: 1_024,
            links: 1,
            folder: folder.0.join("provider"),
            patience: Duration::from_secs(30),
        };
        Ok(tokio::spawn(async move {
            let _ = provider.run(std::future::pending(), |_| {}).await;
            echo.abort();
        }))
    }

    fn channel(&self, index: usize, buyer: &Buyer) -> (Key, Channel) {
        let session = Key::from_words(&format!("earnest demo session {index}"));
        let channel = Channel {
            payer: buyer.at,
            payer_authorizer: session.address(),
            receiver: self.at.revenue,
            receiver_authorizer: self.at.revenue,
            token: self.at.credit,
            withdraw_delay: 86_400,
            salt: B256::with_last_byte(1),
        };
        (session, channel)
    }

    /// A deposit and a key.
    async fn open(
        &self,
        gateway: &Arc<Gateway>,
        chain: &ChainThread,
        place: &Place,
        index: usize,
        buyer: &Buyer,
    ) -> Result<String> {
        let (session, channel) = self.channel(index, buyer);
        let id = place.settlement.channel_id(&channel).context("a day fits")?;
        let coin = CoinDomain {
            name: place.coins[0].1.clone(),
            version: "1".into(),
            chain_id: self.chain_id,
            at: self.at.credit,
        };
        let deposit =
            Deposit { value: buyer.deposit, valid_after: 0, valid_before: u64::MAX, salt: U256::from(index) };
        let signed = buyer.owner.sign(deposit.digest(&coin, buyer.at, self.at.collector, id));
        let signature = match buyer.payer {
            Holder::Vault(_) => deposit.vault_signature(&channel, &signed).context("a day fits")?,
            _ => signed,
        };
        let (owner, settlement) = (buyer.owner.clone(), self.at.channels);
        let call = Channels::depositCall {
            config: channel.config(),
            amount: buyer.deposit,
            collector: self.at.collector,
            collectorData: deposit.collector_data(&signature),
        };
        let chain = chain.clone();
        tokio::task::spawn_blocking(move || chain.ask(move |chain| chain.send(&owner, settlement, &call)))
            .await??;
        let secret = format!("sk-earnest-demo-{index}");
        let ceiling = buyer.deposit;
        let voucher = Voucher { ceiling, signature: session.sign(place.settlement.voucher(id, ceiling)) };
        let order = Order::CreateKey {
            hash: books::hash_of(&secret),
            name: "demo".into(),
            limits: Wanted::default(),
            voucher: Some(voucher),
        };
        let (text, time) = (serde_json::to_string(&order)?, gateway::now_ms());
        let signature = session.sign(place.house.order(id, text.as_bytes(), time));
        let config = serde_json::to_string(&channel)?;
        let body = format!(
            "{{\"channel\":{config},\"order\":{text},\"time\":{time},\"signature\":\"{signature}\"}}"
        );
        if let Err(refusal) = gateway.follow(&body.into()).await {
            bail!("a key was refused: {}", refusal.body());
        }
        Ok(secret)
    }

    /// Providers take what the last statement says is theirs.
    async fn collect(
        &self,
        gateway: &Gateway,
        chain: &ChainThread,
        till: &Till,
    ) -> Result<BTreeMap<Address, u128>> {
        let Some(row) = gateway.journal.statement(Coin::Credits, None)? else { return Ok(BTreeMap::new()) };
        let document: Document = serde_json::from_str(&row.document)?;
        let tree = document.tree();
        let mut pays = BTreeMap::new();
        for earned in &document.providers {
            let call = Revenue::claimPayCall {
                coin: self.at.credit,
                provider: earned.provider,
                cumulative: earned.cumulative,
                proof: tree.proof(earned.leaf()).unwrap_or_default(),
            };
            let (key, at, chain) = (self.provider.clone(), till.at.revenue, chain.clone());
            tokio::task::spawn_blocking(move || chain.ask(move |chain| chain.send(&key, at, &call)))
                .await??;
            pays.insert(earned.provider, earned.cumulative);
        }
        Ok(pays)
    }

    /// Out of the journal, so that the chain can be held against it.
    fn count(
        &self,
        gateway: &Gateway,
        place: &Place,
        served: u64,
        streamed: u64,
        model: String,
        providers: BTreeMap<Address, u128>,
    ) -> Result<Spent> {
        let claimed: BTreeMap<B256, u128> = gateway.journal.claimed(Coin::Credits)?.into_iter().collect();
        let mut spent = Spent { served, streamed, model, gas: gateway.metrics.gas.get(), ..Spent::default() };
        for (index, buyer) in self.buyers.iter().enumerate() {
            let (_, channel) = self.channel(index, buyer);
            let id = place.settlement.channel_id(&channel).context("a day fits")?;
            let line = gateway.books.line(id).context("it was opened")?;
            spent.charged += line.account.lock().expect("no panic holds it").charged;
            let claimed = claimed.get(&id).copied().unwrap_or(0);
            spent.claimed += claimed;
            spent.channels.push((buyer.payer, buyer.deposit, claimed));
        }
        spent.paid = providers.values().sum();
        spent.burned = spent.claimed - spent.paid;
        spent.providers = providers;
        Ok(spent)
    }
}

/// Requests of one buyer: how many were answered, and how many of those were streams.
async fn ask_many(client: &reqwest::Client, url: &str, secret: &str, model: &str) -> Result<(u64, u64)> {
    let ask = |number: u64| async move {
        let stream = number < STREAMS;
        let words = format!("what is {number} and {number}");
        let body = json!({"model": model, "stream": stream, "max_tokens": 64, "messages": [{"role": "user", "content": words}]});
        let answer =
            client.post(format!("{url}/v1/chat/completions")).bearer_auth(secret).json(&body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() || (stream && !text.ends_with("data: [DONE]\n\n")) {
            bail!("a request was answered {status}: {text}");
        }
        Ok(stream)
    };
    let mut answers = futures_util::stream::iter(0..REQUESTS).map(ask).buffer_unordered(AT_ONCE);
    let (mut served, mut streamed) = (0, 0);
    while let Some(stream) = answers.next().await {
        served += 1;
        streamed += u64::from(stream?);
    }
    Ok((served, streamed))
}

/// The gateway's journal, for as long as the demo lasts.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).context("the system has random bytes")?;
        let folder = std::env::temp_dir().join(format!("earnest-demo-{:016x}", u64::from_be_bytes(random)));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
