//! The attester over HTTP, on a real embedded chain: what it gives, what it refuses, and what it remembers.

use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, TxKind, U256, hex};
use earnest_chain::bindings::Offering;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Coins, Record, approve_cash, deploy, mint_cash};
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::key::Key;
use earnest_chain::permit::SignedPermit;
use earnest_chain::story::{pack, sol_permit};
use earnest_core::bid::{Bid, BidId};
use earnest_core::plan::{Plan, Time};
use earnest_core::setup::{Parties, ServiceSetup, setup};
use earnest_core::terms::terms_hash;
use earnest_serve::attester::rules::Rules;
use earnest_serve::attester::sign_in::{LIFETIME_SECS, Origin};
use earnest_serve::attester::{Attester, Settings, log, router};
use earnest_serve::chain::ChainThread;
use serde_json::{Value, json};

pub(crate) const PAGE: &str = "https://sale.example";
pub(crate) const SECRET: &str = "sixteen bytes or more";
const DAY: Time = 86_400;

pub(crate) fn plan_text() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/plans/quickstart.toml");
    std::fs::read_to_string(file).expect("the plan")
}

pub(crate) fn key(name: &str) -> Key {
    Key::from_words(name)
}

pub(crate) fn who(name: &str) -> Address {
    key(name).address()
}

/// A deployment on an embedded chain, a day before the first round opens.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) record: Record,
    pub(crate) chain: ChainThread,
    pub(crate) folder: PathBuf,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        let (plan, _) = Plan::read("quickstart.toml", &plan_text()).expect("a good plan");
        let parties = Parties {
            issuer: who("issuer"),
            certifier: who("certifier"),
            guardian: who("guardian"),
            attesters: vec![who("attester")],
            gateway: who("gateway"),
        };
        let (offering, treasury) = setup(&plan, &parties).expect("a good plan");
        let service = ServiceSetup::from_plan(&plan, &parties);
        let coins = Coins::of(&plan, true);
        let start = plan.rounds[0].open - DAY;
        let (tell, told) = std::sync::mpsc::channel();
        let chain = ChainThread::start(move || {
            let mut chain = Chain::Embedded(Embedded::new(start));
            let contracts = deploy(&mut chain, &key("deployer"), &offering, &treasury, &service, &coins)?;
            tell.send(contracts)?;
            Ok(chain)
        });
        let record = Record {
            chain_id: DEV_CHAIN_ID,
            block: 0,
            deployer: who("deployer"),
            salt: 0,
            issuer: parties.issuer,
            certifier: parties.certifier,
            guardian: parties.guardian,
            attesters: parties.attesters,
            gateway: parties.gateway,
            terms_hash: terms_hash(&plan),
            contracts: told.recv().expect("it was deployed"),
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        World { plan, record, chain: chain.expect("a chain"), folder }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("attester.jsonl")
    }

    pub(crate) fn open(&self, rules: &str, keys: &[&str]) -> anyhow::Result<Attester> {
        let secret = |_: &str| Some(SECRET.to_string());
        let rules = Rules::read("rules.toml", rules, &self.plan, DEV_CHAIN_ID, secret)?;
        let settings = Settings {
            plan: self.plan.clone(),
            record: self.record.clone(),
            keys: keys.iter().map(|name| key(name)).collect(),
            rules,
            origins: vec![
                Origin::parse(PAGE).expect("an origin"),
                Origin::parse("http://127.0.0.1:1").expect("one"),
            ],
        };
        Attester::open(settings, self.chain.clone(), &self.log())
    }

    pub(crate) async fn serve(&self, rules: &str) -> Service {
        Service::of(self.open(rules, &["attester"]).expect("a service")).await
    }

    pub(crate) fn now(&self) -> Time {
        self.chain.ask(|chain| chain.time()).expect("a time")
    }

    fn advance(&self, secs: Time) {
        let to = self.now() + secs;
        self.chain.ask(move |chain| chain.advance_to(to)).expect("later");
    }

    fn set_attester(&self, name: &str, generation: u32) {
        let (offering, attester) = (self.record.contracts.offering, who(name));
        let call = Offering::setAttesterCall { attester, generation };
        self.chain.ask(move |chain| chain.send(&key("issuer"), offering, &call)).expect("the issuer may");
    }

    /// Lines of the log, the started ones left out.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log()).expect("a log");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["event"] != "started").collect()
    }
}

/// A service that listens, as long as this lives.
pub(crate) struct Service {
    pub(crate) url: String,
    client: reqwest::Client,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves on any free port.
pub(crate) async fn listen(router: axum::Router) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (url, tokio::spawn(async { axum::serve(listener, router).await.expect("it serves") }))
}

impl Service {
    pub(crate) async fn of(attester: Attester) -> Self {
        let (url, serving) = listen(router(attester)).await;
        Service { url, client: reqwest::Client::new(), serving }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let sent =
            self.client.post(format!("{}/{path}", self.url)).json(&body).send().await.expect("an answer");
        let status = sent.status().as_u16();
        (status, sent.json().await.unwrap_or_default())
    }

    pub(crate) async fn challenge(&self, wallet: Address) -> String {
        let (status, answer) = self.post("challenge", json!({ "wallet": wallet })).await;
        assert_eq!(status, 200, "{answer}");
        answer["message"].as_str().expect("a message").to_string()
    }

    /// What a permit is asked for with, signed by `signer`.
    pub(crate) async fn question(&self, wallet: Address, signer: &str, round: Value) -> Value {
        let message = self.challenge(wallet).await;
        let signature = key(signer).sign(alloy_primitives::eip191_hash_message(&message));
        json!({ "wallet": wallet, "round": round, "message": message, "signature": signature })
    }

    pub(crate) async fn ask(&self, name: &str, round: &str) -> (u16, Value) {
        self.post("permit", self.question(who(name), name, round.into()).await).await
    }

    pub(crate) async fn granted(&self, name: &str, round: &str) -> SignedPermit {
        let (status, answer) = self.ask(name, round).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_value(answer).expect("a permit")
    }

    pub(crate) async fn refused(&self, name: &str, round: &str) -> (u16, String) {
        code(self.ask(name, round).await)
    }
}

/// Status and code of a refusal, which has an error and a hint in words.
pub(crate) fn code((status, answer): (u16, Value)) -> (u16, String) {
    for word in ["error", "hint", "code"] {
        assert!(answer[word].as_str().is_some_and(|text| !text.is_empty()), "{status}: {answer}");
    }
    (status, answer["code"].as_str().expect("a word").to_string())
}

pub(crate) fn entity(number: u64, names: &[&str], more: &str) -> String {
    let wallets: Vec<String> = names.iter().map(|name| format!("\"{}\"", who(name))).collect();
    let regime = if more.contains("regime") { "" } else { "regime = \"us\"\n" };
    format!("[[entity]]\nnumber = {number}\nwallets = [{}]\n{regime}{more}\n", wallets.join(", "))
}

const ANYONE: &str =
    "[anyone]\nmax_total = \"900 cash\"\n[limits]\nper_wallet_a_minute = 1000\noverall_a_minute = 9000\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_wallet_bids_with_its_permit() {
    let world = World::new("bids");
    let service = world.serve(&entity(7, &["alice"], "max_cash = \"500 cash\"\njurisdiction = \"US\"")).await;
    let permit = service.granted("alice", "early").await;
    assert_eq!((permit.entity, permit.max_cash, permit.generation), (7, 500_000_000, 1));
    assert_eq!(permit.expiry - permit.not_before, 7 * DAY);
    world.advance(DAY);
    let contracts = world.record.contracts.clone();
    let bid = world.chain.ask(move |chain| {
        mint_cash(chain, &key("deployer"), contracts.cash, who("alice"), 500_000_000)?;
        approve_cash(chain, &key("alice"), contracts.cash, contracts.offering)?;
        let call = Offering::bidCall {
            permit: sol_permit(&permit.permit()),
            signature: permit.signature.clone(),
            cash_: U256::from(500_000_000),
            tick: U256::ZERO,
            schedule: U256::ZERO,
        };
        chain.send(&key("alice"), contracts.offering, &call)?;
        let id = pack(BidId { round: 0, window: 0, entity: 7 });
        chain.call(contracts.offering, &Offering::getBidCall { id })
    });
    assert_eq!(Bid::unpack(bid.expect("the contract takes it")).cash, 500_000_000);
    let about: Value = reqwest::get(&service.url).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(about["attester"], json!(who("attester")));
    let rounds: Value =
        reqwest::get(format!("{}/rounds", service.url)).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(
        (&rounds["rounds"][1]["name"], &rounds["rounds"][1]["regimes"][1]["name"]),
        (&json!("auction"), &json!("offshore"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_no_says_what_to_do() {
    let world = World::new("refusals");
    let rules = [
        entity(1, &["alice", "alice again"], ""),
        entity(2, &["bob"], "rounds = [\"auction\"]"),
        entity(3, &["carol"], "expires = 2026-08-31T00:00:00Z"),
        entity(4, &["dora"], "max_cash = \"99 cash\""),
        entity(5, &["emil", "emil again"], "several_wallets = true"),
    ];
    let service = world.serve(&rules.concat()).await;
    assert_eq!(service.refused("mallory", "early").await, (403, "not_approved".into()));
    assert_eq!(service.refused("bob", "early").await, (403, "other_rounds".into()));
    assert_eq!(service.refused("carol", "early").await, (403, "ended".into()));
    assert_eq!(service.refused("dora", "early").await, (403, "too_little".into()));
    assert_eq!(service.refused("alice", "seed").await, (404, "no_such_round".into()));
    service.granted("alice", "early").await;
    assert_eq!(service.refused("alice again", "0").await, (403, "other_wallet".into()));
    service.granted("alice again", "auction").await;
    service.granted("emil", "early").await;
    service.granted("emil again", "early").await;
    world.advance(30 * DAY);
    assert_eq!(service.refused("alice", "early").await, (403, "closed".into()));
    let reasons: Vec<String> =
        world.decisions().iter().filter_map(|line| line["reason"].as_str().map(str::to_owned)).collect();
    assert_eq!(reasons, ["not_approved", "other_rounds", "ended", "too_little", "other_wallet", "closed"]);

    // What a stranger may do without the wallet tells nothing about it.
    for name in ["alice", "mallory"] {
        let forged = service.post("permit", service.question(who(name), "eve", 0.into()).await).await;
        assert_eq!(code(forged), (401, "bad_signature".into()));
    }
    for body in
        [json!({}), json!([]), json!({ "wallet": "0x12" }), json!({ "wallet": who("alice"), "more": 1 })]
    {
        for path in ["challenge", "permit"] {
            assert_eq!(code(service.post(path, body.clone()).await), (400, "malformed".into()));
        }
    }
    let long = json!({ "wallet": who("alice"), "round": "x".repeat(20_000) });
    assert_eq!(service.post("permit", long).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_that_may_ask_are_answered() {
    let world = World::new("origins");
    let service = world.serve(ANYONE).await;
    let client = reqwest::Client::new();
    let challenge = format!("{}/challenge", service.url);
    let body = json!({ "wallet": who("alice") }).to_string();
    let from =
        |origin: &'static str| client.post(&challenge).header("origin", origin).body(body.clone()).send();
    let answer = from("https://evil.example").await.expect("an answer");
    assert_eq!(answer.status(), 403);
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    let answer = from("http://127.0.0.1:1").await.expect("an answer");
    assert_eq!(answer.headers()["access-control-allow-origin"], "http://127.0.0.1:1");
    let answer: Value = answer.json().await.expect("JSON");
    assert!(answer["message"].as_str().expect("text").starts_with("127.0.0.1:1 wants you to sign in"));
    let asked = client.request(reqwest::Method::OPTIONS, &challenge).header("origin", PAGE);
    let answer = asked.header("access-control-request-method", "POST").send().await.expect("an answer");
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_good_once_for_its_wallet_page_and_time() {
    let world = World::new("sign-in");
    let service = world.serve(ANYONE).await;
    let question = service.question(who("alice"), "alice", 0.into()).await;
    assert_eq!(service.post("permit", question.clone()).await.0, 200);
    assert_eq!(code(service.post("permit", question).await), (401, "replayed".into()));

    let mut question = service.question(who("alice"), "alice", 0.into()).await;
    question["wallet"] = json!(who("bob"));
    assert_eq!(code(service.post("permit", question).await), (401, "foreign_wallet".into()));

    let sign = |message: String| {
        let signature = key("alice").sign(alloy_primitives::eip191_hash_message(&message));
        json!({ "wallet": who("alice"), "round": 0, "message": message, "signature": signature })
    };
    let message = service.challenge(who("alice")).await;
    for (from, to) in [
        ("sale.example wants", "evil.example wants"),
        ("Chain ID: 31337", "Chain ID: 1"),
        ("Nonce: 0", "Nonce: 1"),
        ("moves no", "moves your"),
    ] {
        assert!(message.contains(from), "{message}");
        let answer = service.post("permit", sign(message.replace(from, to))).await;
        assert_eq!(code(answer), (401, "foreign_message".into()), "{from}");
    }
    let question = sign(message);
    world.advance(LIFETIME_SECS);
    assert_eq!(code(service.post("permit", question).await), (401, "expired".into()));
    assert_eq!(world.decisions().len(), 1, "nobody else has signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_served_under_a_path() {
    let world = World::new("nested");
    let inner = router(world.open(ANYONE, &["attester"]).expect("a service"));
    let (url, serving) = listen(axum::Router::new().nest("/attester", inner)).await;
    for path in ["attester", "attester/rounds"] {
        assert_eq!(reqwest::get(format!("{url}/{path}")).await.expect("an answer").status(), 200, "{path}");
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_is_a_contract_says_itself_what_it_signed() {
    let world = World::new("contracts");
    let service = world.serve(ANYONE).await;
    // It returns the same word whatever it is asked: ERC-1271's yes, or another.
    let deployed = |word: &str| {
        let runtime =
            [&[0x7f][..], &hex::decode(format!("{word:0<64}")).expect("hex"), &hex!("5f5260205ff3")].concat();
        let init = [&hex!("6027600c60003960276000f3")[..], &runtime].concat();
        let made = world.chain.ask(move |chain| match chain {
            Chain::Embedded(chain) => chain.send(who("alice"), TxKind::Create, init.into()),
            _ => unreachable!("it is embedded"),
        });
        made.expect("a contract").created.expect("an address")
    };
    for (word, expected) in [("1626ba7e", 200), ("ffffffff", 401)] {
        let wallet = deployed(word);
        let question = service.question(wallet, "its owner", 0.into()).await;
        assert_eq!(service.post("permit", question).await.0, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_in_the_name_of_wallets_have_a_pace_of_their_own() {
    let world = World::new("questions");
    let service = world.serve(&entity(1, &["alice"], "")).await;
    let forged = async |name: &str| {
        let question = service.question(who(name), "mallory", 0.into()).await;
        service.post("permit", question).await.0
    };
    let mut statuses = Vec::new();
    for _ in 0..80 {
        statuses.push(forged("a stranger").await);
    }
    let asked = statuses.iter().filter(|status| **status == 401).count();
    assert!((60..80).contains(&asked), "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    // About a wallet that it knows, the chain is still asked; and its owner needs no such question.
    assert_eq!(forged("alice").await, 401);
    service.granted("alice", "early").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_without_a_pause_and_without_a_key_nothing_is_signed() {
    let world = World::new("rotation");
    let rules = entity(1, &["alice"], "[limits]\nper_wallet_a_minute = 100");
    let service = Service::of(world.open(&rules, &["attester", "next"]).expect("a service")).await;
    let signed_by = |permit: SignedPermit| {
        earnest_chain::key::signer_of(permit.digest(&world.record), &permit.signature).expect("a signature")
    };
    assert_eq!(signed_by(service.granted("alice", "early").await), who("attester"));
    world.set_attester("next", 1);
    assert_eq!(signed_by(service.granted("alice", "early").await), who("next"));
    world.set_attester("attester", 0);
    assert_eq!(signed_by(service.granted("alice", "early").await), who("next"));
    world.set_attester("next", 0);
    let (status, answer) = service.ask("alice", "early").await;
    assert_eq!((status, &answer["code"]), (503, &json!("no_key")));
    let remedy = format!("earnest offering attester {}", who("next"));
    assert!(answer["hint"].as_str().expect("a hint").contains(&remedy), "{answer}");
    assert_eq!(reqwest::get(&service.url).await.expect("an answer").status(), 503);
    world.set_attester("next", 2);
    assert_eq!(service.granted("alice", "early").await.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_of_a_wallet_are_told_to_wait() {
    let world = World::new("pace");
    let service = world.serve(&entity(1, &["alice", "bob"], "[limits]\nper_wallet_a_minute = 2")).await;
    service.granted("alice", "early").await;
    service.granted("alice", "early").await;
    let question = service.question(who("alice"), "alice", 0.into()).await;
    let answer = reqwest::Client::new().post(format!("{}/permit", service.url)).json(&question).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    service.granted("bob", "auction").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_wallets_of_a_buyer_that_ask_at_once_one_gets_the_seat() {
    let world = World::new("seats");
    let service = world.serve(&entity(1, &["alice", "bob"], "")).await;
    let (a, b) = tokio::join!(service.ask("alice", "early"), service.ask("bob", "early"));
    let mut statuses = [a.0, b.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_is_remembered_and_no_line_can_be_changed() {
    let world = World::new("memory");
    let both = format!("{}{ANYONE}", entity(1, &["alice", "alice again"], ""));
    let service = world.serve(&both).await;
    let bob = service.granted("bob", "early").await.entity;
    let carol = service.granted("carol", "early").await.entity;
    assert_eq!((bob, carol), (1_000_000, 1_000_001));
    service.granted("alice", "early").await;
    let busy = world.open(&both, &["attester"]);
    assert!(busy.is_err(), "a log has one writer");

    drop(service);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;

    // It stops after dave's line and before his answer, and again in the middle of a line.
    let text = std::fs::read_to_string(world.log()).expect("a log");
    let mut lines = text.lines().map(|line| serde_json::from_str::<log::Line>(line).expect("a line"));
    let started = lines.next().expect("a start").entry;
    let Some(log::Line { time, entry: log::Entry::Granted(grant), .. }) = lines.next() else {
        panic!("bob's")
    };
    let dave = carol + 1;
    let unheard = log::Grant { wallet: who("dave"), entity: dave, ..grant };
    let mut open = log::Log::open(&world.log(), &started, |_| {}).expect("a whole log");
    open.write(time, log::Entry::Granted(unheard)).expect("it is written");
    drop(open);
    let whole = std::fs::read(world.log()).expect("a log");
    std::fs::write(world.log(), [&whole[..], b"{\"number\":6,\"prev"].concat()).expect("torn");
    assert_eq!(log::verify(&world.log()).expect("a whole log").torn, 17);
    let service = world.serve(&both).await;
    assert_eq!(service.granted("dave", "early").await.entity, dave);
    assert_eq!(service.granted("bob", "auction").await.entity, bob);
    assert_eq!(service.granted("erin", "early").await.entity, dave + 1);
    assert_eq!(service.refused("alice again", "early").await, (403, "other_wallet".into()));
    drop(service);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;

    // The rules now give a number of [anyone] to somebody else: neither gets the other's.
    let moved = entity(bob, &["frank"], "");
    let service = Service::of(world.open(&moved, &["attester"]).expect("a service")).await;
    assert_eq!(service.refused("bob", "early").await, (403, "not_approved".into()));
    drop(service);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;

    let text = std::fs::read_to_string(world.log()).expect("a log");
    let lines: Vec<&str> = text.lines().collect();
    let found = log::verify(&world.log()).expect("a whole log");
    assert_eq!((found.lines, found.granted), (lines.len() as u64, 7));
    for line in 0..lines.len() - 1 {
        let mut changed: Vec<String> = lines.iter().map(ToString::to_string).collect();
        changed[line] = changed[line].replacen("\"time\":1", "\"time\":2", 1);
        let mut missing = lines.clone();
        missing.remove(line);
        for text in [changed.join("\n"), missing.join("\n")] {
            std::fs::write(world.log(), text + "\n").expect("a log");
            let error = log::verify(&world.log()).expect_err("it was changed").to_string();
            assert!(error.contains("hint: the log was changed"), "{error}");
            assert!(world.open(&both, &["attester"]).is_err());
        }
    }
    std::fs::write(world.log(), text).expect("a log");
    let mut elsewhere = World::new("memory-elsewhere");
    elsewhere.folder.clone_from(&world.folder);
    elsewhere.record.contracts.offering = Address::repeat_byte(9);
    let error = elsewhere.open(&both, &["attester"]).err().expect("not its log").to_string();
    assert!(error.contains("another offering"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_time_runs_from_the_first_approval() {
    let mut world = World::new("waiting");
    world.plan.regimes[1].wait_hours = 24;
    let rules = entity(1, &["alice"], "regime = \"offshore\"");
    let service = world.serve(&rules).await;
    let first = service.granted("alice", "early").await;
    world.advance(DAY / 2);
    let second = service.granted("alice", "early").await;
    assert_eq!(first.not_before, second.not_before);
    assert_eq!(second.expiry, first.expiry + DAY / 2);
    let signer = earnest_chain::key::signer_of(second.digest(&world.record), &second.signature);
    assert_eq!(signer, Some(who("attester")));
    drop(service);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let service = world.serve(&rules).await;
    assert_eq!(service.granted("alice", "auction").await.not_before, first.not_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regime_has_no_more_buyers_than_the_plan_says() {
    let mut world = World::new("full");
    world.plan.regimes[0].max_buyers = Some(2);
    let service = world.serve(ANYONE).await;
    service.granted("alice", "early").await;
    service.granted("bob", "early").await;
    service.granted("alice", "auction").await;
    assert_eq!(service.refused("carol", "early").await, (403, "full".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_body_brings_it_down() {
    use rand::{RngExt, SeedableRng};
    let world = World::new("bodies");
    let service = world.serve(ANYONE).await;
    let seed = 20_261_122;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let good = service.question(who("alice"), "alice", 0.into()).await.to_string().into_bytes();
    let client = reqwest::Client::new();
    for case in 0..400 {
        let mut body = good.clone();
        for _ in 0..random.random_range(1..6) {
            if body.is_empty() {
                break;
            }
            let at = random.random_range(0..body.len());
            match random.random_range(0..4) {
                0 => body[at] = random.random(),
                1 => drop(body.remove(at)),
                2 => body.insert(at, b"{}[]\",:0\\"[random.random_range(0..9)]),
                _ => body.truncate(at.max(1)),
            }
        }
        let path = ["permit", "challenge"][case % 2];
        let answer = client.post(format!("{}/{path}", service.url)).body(body.clone()).send().await;
        let status = answer.expect("an answer").status().as_u16();
        let shown = String::from_utf8_lossy(&body);
        assert!(
            (400..500).contains(&status) || status == 200,
            "seed {seed}, case {case}: {status} to {shown}"
        );
    }
    service.granted("alice", "early").await;
    assert_eq!(
        B256::ZERO,
        serde_json::from_str::<log::Line>(
            std::fs::read_to_string(world.log()).expect("a log").lines().next().expect("a line"),
        )
        .expect("a line")
        .previous
    );
}
