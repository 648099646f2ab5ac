//! A whole lab in one test: the contracts on the embedded chain, a gateway over real TCP, an upstream that does as it is
//! told and keeps its own log, and a holder with a channel.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use earnest_chain::bindings::{Channels, Revenue};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Coins, Deployment, deploy, mint_cash};
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::key::Key;
use earnest_chain::voucher::{Channel, CoinDomain, Deposit, House, Settlement};
use earnest_core::plan::Plan;
use earnest_core::setup::{Parties, ServiceSetup, setup};
use earnest_serve::chain::ChainThread;
use earnest_serve::gateway::books::Held;
use earnest_serve::gateway::order::{Order, Voucher, Wanted};
use earnest_serve::gateway::route::Upstream;
use earnest_serve::gateway::till::Till;
use earnest_serve::gateway::{self, Gateway, Place, Settings};
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::server::{Limits, serve_unguarded};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::described::Description;

pub(super) const MODEL: &str = "example-small";
/// Base units of cash per million model tokens, as the plan below sells them.
pub(super) const INPUT: u128 = 500_000;
pub(super) const OUTPUT: u128 = 2_000_000;

pub(super) fn key(name: &str) -> Key {
    Key::from_words(&format!("gateway test {name}"))
}

/// What the upstream was asked, whoever asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) body: Value,
}

type Answerer = Box<dyn Fn(Value) -> BoxFuture<'static, Response> + Send + Sync>;

/// The upstream.
pub(super) struct Oracle {
    pub(super) asked: Mutex<Vec<Asked>>,
    answer: Mutex<Answerer>,
}

impl Oracle {
    /// Serves, and answers three words; where.
    pub(super) async fn start() -> (Arc<Self>, String) {
        let answer: Answerer = Box::new(|body: Value| {
            async move {
                let model = body["model"].as_str().unwrap_or_default().to_owned();
                if body["stream"] == json!(true) {
                    let pieces = vec![
                        event(&model, "one "),
                        event(&model, "two "),
                        event(&model, "three"),
                        ending(&model, 3),
                    ];
                    return stream(pieces, Duration::ZERO);
                }
                axum::Json(completion(&model, "one two three")).into_response()
            }
            .boxed()
        });
        let oracle = Arc::new(Oracle { asked: Mutex::default(), answer: Mutex::new(answer) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = Router::new().fallback(ask).with_state(oracle.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (oracle, url)
    }

    /// From now on answers so.
    pub(super) fn answers(
        &self,
        answer: impl Fn(Value) -> BoxFuture<'static, Response> + Send + Sync + 'static,
    ) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// From now on answers with this status and body.
    pub(super) fn says(&self, status: u16, content_type: &'static str, body: impl Into<String>) {
        let body = body.into();
        self.answers(move |_| {
            let body = body.clone();
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            async move { (status, [("content-type", content_type)], body).into_response() }.boxed()
        });
    }

    pub(super) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// `three word answer`: a model token a word; usage stated as 7 in.
pub(super) fn completion(model: &str, text: &str) -> Value {
    let words = text.split(' ').count();
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words},
    })
}

/// One event of a stream.
pub(super) fn event(model: &str, text: &str) -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "model": model, "choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

/// The last events of a stream.
pub(super) fn ending(model: &str, written: u64) -> String {
    let usage = json!({"id": "c", "model": model, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": written, "total_tokens": 7 + written}});
    format!("data: {usage}\n\ndata: [DONE]\n\n")
}

/// A stream of these pieces, so far apart.
pub(super) fn stream(pieces: Vec<String>, apart: Duration) -> Response {
    let body =
        futures_util::stream::unfold((pieces.into_iter(), false), move |(mut pieces, begun)| async move {
            let next = pieces.next()?;
            if begun {
                tokio::time::sleep(apart).await;
            }
            Some((Ok::<_, std::io::Error>(next), (pieces, true)))
        });
    ([("content-type", "text/event-stream")], axum::body::Body::from_stream(body)).into_response()
}

async fn ask(State(oracle): State<Arc<Oracle>>, request: Request) -> Response {
    let id =
        request.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    oracle.asked.lock().unwrap().push(Asked { id, body: body.clone() });
    let answer = (oracle.answer.lock().unwrap())(body);
    answer.await
}

pub(super) struct Lab {
    pub(super) gateway: Arc<Gateway>,
    pub(super) oracle: Arc<Oracle>,
    pub(super) base: String,
    pub(super) client: reqwest::Client,
    pub(super) chain: ChainThread,
    pub(super) at: Deployment,
    /// Holds every answer against docs/openapi.json.
    pub(super) description: Arc<Description>,
    pub(super) settings: Settings,
    limits: Limits,
    place: Place,
}

/// A holder's side of a channel.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) wallet: Key,
    pub(super) session: Key,
    pub(super) channel: Channel,
    pub(super) secret: String,
}

static LABS: AtomicU64 = AtomicU64::new(0);
static TIMES: AtomicU64 = AtomicU64::new(0);

impl Lab {
    pub(super) async fn open(name: &str) -> Self {
        Self::with(name, |_| {}).await
    }

    pub(super) async fn with(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::within(name, Limits::for_gateway(), change).await
    }

    pub(super) async fn within(name: &str, limits: Limits, change: impl FnOnce(&mut Settings)) -> Self {
        let plan = include_str!("../../../../../examples/plans/quickstart.toml");
        Self::on(plan, name, limits, change).await
    }

    /// With a plan of its own.
    pub(super) async fn on(
        text: &str,
        name: &str,
        limits: Limits,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{name}-{number}"));
        let _ = std::fs::remove_dir_all(&folder);
        let (plan, _) = Plan::read("quickstart.toml", text).expect("a valid plan");
        let who = |name: &str| key(name).address();
        let parties = Parties {
            issuer: who("issuer"),
            certifier: who("certifier"),
            guardian: who("guardian"),
            attesters: vec![who("attester")],
            gateway: who("gateway"),
        };
        let (offering, treasury) = setup(&plan, &parties).unwrap();
        let service = ServiceSetup::from_plan(&plan, &parties);
        let coins = Coins::of(&plan, true);
        let (told, hear) = std::sync::mpsc::channel();
        let chain = ChainThread::start(move || {
            let mut chain = Chain::Embedded(Embedded::new(1_800_000_000));
            let at = deploy(&mut chain, &key("deployer"), &offering, &treasury, &service, &coins)?;
            told.send(at)?;
            Ok(chain)
        })
        .unwrap();
        let at = hear.recv().unwrap();

        let (oracle, url) = Oracle::start().await;

        let mut settings = Settings::new(folder);
        settings.upstreams = vec![Upstream {
            url,
            key: Some("upstream's own".into()),
            headers: Default::default(),
            models: vec![(MODEL.into(), Dialect { upstream: "tiny".into(), ..Dialect::default() })],
            concurrency: 10_000,
            provider: who("gateway"),
        }];
        settings.claim_every = Duration::from_secs(3_600);
        settings.withdraw_delay = 900;
        change(&mut settings);
        let place = Place {
            house: House::new(DEV_CHAIN_ID, at.revenue),
            settlement: Settlement { chain_id: DEV_CHAIN_ID, at: at.channels },
            collector: at.collector,
            coins: [
                (at.credit, plan.credits.name.clone(), "1".into()),
                (at.cash, plan.cash.name.clone(), "1".into()),
            ],
        };
        let gateway = Self::gateway(&settings, &place, &chain, &at);
        let description = Arc::new(Description::default());
        let base = Self::serve(limits, gateway.clone(), description.clone()).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Lab { gateway, oracle, base, client, chain, at, description, settings, limits, place }
    }

    fn gateway(settings: &Settings, place: &Place, chain: &ChainThread, at: &Deployment) -> Arc<Gateway> {
        Self::gateway_by(settings, place, [chain, chain].map(Clone::clone), at)
    }

    /// With one chain to ask and another to send to.
    fn gateway_by(
        settings: &Settings,
        place: &Place,
        [chain, sender]: [ChainThread; 2],
        at: &Deployment,
    ) -> Arc<Gateway> {
        let till = Till { chain, sender, key: key("gateway"), at: at.clone(), confirmations: 0 };
        let prices = till.prices(0).ok().flatten().unwrap_or_default();
        Gateway::open(settings.clone(), place.clone(), key("gateway"), prices, Some(till)).unwrap()
    }

    async fn serve(limits: Limits, gateway: Arc<Gateway>, description: Arc<Description>) -> String {
        gateway.background();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        gateway.names.listens_at(address);
        let base = format!("http://{address}");
        let app = description.over(gateway::router(gateway));
        tokio::spawn(serve_unguarded(limits, listener, app, std::future::pending()));
        base
    }

    /// Closes the journal and opens it again, as after a stop.
    pub(super) async fn restart(&mut self) {
        self.gateway.close();
        // The old one's tasks hold it for a moment, and with it the lock.
        let (settings, place, chain, at) = (&self.settings, &self.place, &self.chain, &self.at);
        self.gateway = Self::gateway(settings, place, chain, at);
        self.base = Self::serve(self.limits, self.gateway.clone(), self.description.clone()).await;
    }

    /// The same with other ways to the chain, and with the journal as something is done to it in between.
    pub(super) async fn restart_by(&mut self, ways: [ChainThread; 2], between: impl FnOnce(&Path)) {
        self.gateway.close();
        between(&self.settings.folder);
        self.gateway = Self::gateway_by(&self.settings, &self.place, ways, &self.at);
        self.base = Self::serve(self.limits, self.gateway.clone(), self.description.clone()).await;
    }

    /// What the gateway has of a holder's channel.
    pub(super) fn held(&self, holder: &Holder) -> Held {
        let line = self.gateway.books.line(self.id(holder)).expect("a channel that is known");
        line.account.lock().unwrap().clone()
    }

    /// Changes what the gateway has of it.
    pub(super) fn change(&self, holder: &Holder, change: impl FnOnce(&mut Held)) {
        let line = self.gateway.books.line(self.id(holder)).expect("a channel that is known");
        change(&mut line.account.lock().unwrap());
    }

    /// A holder with so much cash in a channel, all of it signed for, and a key.
    pub(super) async fn holder(&self, name: &str, cash: u128) -> Holder {
        self.holder_with(name, cash, cash, Wanted::default()).await
    }

    pub(super) async fn holder_with(&self, name: &str, cash: u128, ceiling: u128, limits: Wanted) -> Holder {
        let holder = self.channel(name, cash);
        let voucher = Some(self.voucher(&holder, ceiling));
        let hash = gateway::books::hash_of(&holder.secret);
        let order = Order::CreateKey { hash, name: name.into(), limits, voucher };
        let (status, answer) = self.order(&holder, &order).await;
        assert_eq!(status, 200, "{answer}");
        holder
    }

    /// A channel that the gateway does not know yet.
    pub(super) fn channel(&self, name: &str, cash: u128) -> Holder {
        let (wallet, session) = (key(name), key(&format!("{name} session")));
        let channel = Channel {
            payer: wallet.address(),
            payer_authorizer: session.address(),
            receiver: self.at.revenue,
            receiver_authorizer: self.at.revenue,
            token: self.at.cash,
            withdraw_delay: 900,
            salt: B256::with_last_byte(7),
        };
        let holder = Holder { wallet, session, channel, secret: format!("sk-earnest-{name}") };
        if cash > 0 {
            self.deposit(&holder, cash);
        }
        holder
    }

    pub(super) fn deposit(&self, holder: &Holder, cash: u128) {
        let (holder, at, id) = (holder.clone(), self.at.clone(), self.id(holder));
        let name = self.place.coins[1].1.clone();
        let salt = U256::from(TIMES.fetch_add(1, Ordering::Relaxed));
        self.chain
            .ask(move |chain| {
                mint_cash(
                    chain,
                    &key("deployer"),
                    at.cash,
                    holder.wallet.address(),
                    u64::try_from(cash).unwrap(),
                )?;
                let coin = CoinDomain { name, version: "1".into(), chain_id: DEV_CHAIN_ID, at: at.cash };
                let deposit = Deposit { value: cash, valid_after: 0, valid_before: u64::MAX, salt };
                let signature =
                    holder.wallet.sign(deposit.digest(&coin, holder.wallet.address(), at.collector, id));
                let call = Channels::depositCall {
                    config: holder.channel.config(),
                    amount: cash,
                    collector: at.collector,
                    collectorData: deposit.collector_data(&signature),
                };
                chain.send(&holder.wallet, at.channels, &call)
            })
            .unwrap();
    }

    pub(super) fn id(&self, holder: &Holder) -> B256 {
        self.place.settlement.channel_id(&holder.channel).unwrap()
    }

    pub(super) fn voucher(&self, holder: &Holder, ceiling: u128) -> Voucher {
        let digest = self.place.settlement.voucher(self.id(holder), ceiling);
        Voucher { ceiling, signature: holder.session.sign(digest) }
    }

    pub(super) async fn order(&self, holder: &Holder, order: &Order) -> (u16, Value) {
        let text = serde_json::to_string(order).unwrap();
        // Two orders of one millisecond would be one.
        let time = gateway::now_ms() + TIMES.fetch_add(1, Ordering::Relaxed) % 1_000;
        let signature = holder.session.sign(self.place_of_orders(holder, &text, time));
        self.order_as(&holder.channel, &text, time, &signature).await
    }

    /// What is signed of an order.
    pub(super) fn place_of_orders(&self, holder: &Holder, text: &str, time: u64) -> B256 {
        self.place.house.order(self.id(holder), text.as_bytes(), time)
    }

    pub(super) async fn order_as(
        &self,
        channel: &Channel,
        text: &str,
        time: u64,
        signature: &Bytes,
    ) -> (u16, Value) {
        let channel = serde_json::to_string(channel).unwrap();
        let body = format!(
            "{{\"channel\":{channel},\"order\":{text},\"time\":{time},\"signature\":\"{signature}\"}}"
        );
        let answer =
            self.client.post(format!("{}/earnest/orders", self.base)).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(super) fn post(&self, secret: &str, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(format!("{}/v1{path}", self.base)).bearer_auth(secret).json(body)
    }

    pub(super) async fn get(&self, secret: &str, path: &str) -> (u16, Value) {
        let answer =
            self.client.get(format!("{}{path}", self.base)).bearer_auth(secret).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(super) async fn chat(&self, secret: &str, body: &Value) -> (u16, Value) {
        let answer = self.post(secret, "/chat/completions", body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Charged so far, as the holder is told.
    pub(super) async fn charged(&self, secret: &str) -> u128 {
        let (status, balance) = self.get(secret, "/earnest/balance").await;
        assert_eq!(status, 200, "{balance}");
        assert_eq!(balance["units"]["reserved"], "0", "{balance}");
        balance["units"]["charged"].as_str().unwrap().parse().unwrap()
    }

    /// The same, once nothing is in flight.
    pub(super) async fn charged_at_rest(&self, secret: &str) -> u128 {
        for _ in 0..500 {
            let (_, balance) = self.get(secret, "/earnest/balance").await;
            if balance["units"]["reserved"] == "0" {
                return balance["units"]["charged"].as_str().unwrap().parse().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("something stays reserved");
    }

    /// Looks at the chain, claims and states.
    pub(super) async fn round(&self) -> anyhow::Result<()> {
        let gateway = self.gateway.clone();
        tokio::task::spawn_blocking(move || gateway.round(true)).await.unwrap()
    }

    /// Balance and claimed of a channel, on the chain.
    pub(super) fn on_chain(&self, holder: &Holder) -> (u128, u128) {
        let (at, id) = (self.at.channels, self.id(holder));
        let state =
            self.chain.ask(move |chain| chain.call(at, &Channels::channelsCall { channelId: id })).unwrap();
        (state.balance, state.totalClaimed)
    }

    /// Number, settled and pay of the last statement in cash, on the chain.
    pub(super) fn statement(&self) -> (u32, u128, u128) {
        let (at, coin) = (self.at.revenue, self.at.cash);
        let said = self.chain.ask(move |chain| chain.call(at, &Revenue::statementCall { coin })).unwrap();
        (said.number, said.settled, said.pay)
    }

    /// Bytes of the gateway's folder.
    pub(super) fn disk(&self) -> u64 {
        let files = std::fs::read_dir(&self.settings.folder).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    pub(super) fn cash_of(&self, who: Address) -> u128 {
        let at = self.at.cash;
        let call = earnest_chain::bindings::Credit::balanceOfCall { account: who };
        self.chain.ask(move |chain| chain.call(at, &call)).unwrap().to()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let differences = self.description.differences();
            assert!(differences.is_empty(), "not as docs/openapi.json says:\n{}", differences.join("\n"));
        }
    }
}

/// `ceil(Σ model tokens × price ÷ 10⁶)`
pub(super) fn cost(input: u128, output: u128) -> u128 {
    (input * INPUT + output * OUTPUT).div_ceil(1_000_000).max(1)
}

pub(super) fn hello() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]})
}

pub(super) fn streamed() -> Value {
    json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hello"}]})
}
