//! A searching adversary at the gateway's doors: orders and vouchers with bytes changed, leavers at any byte, replays, slow
//! readers, upstreams in trouble, a relay before a provider that alters what it passes and hangs up, a chain that goes away
//! and a gateway that is started again meanwhile. Beside it an honest holder asks, and is served every time, but where the
//! chain was not seen for too long. `EARNEST_RUNS` says how many runs (100, where it does not): `cargo xtask campaign
//! gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use earnest_serve::gateway::order::{Order, Voucher};
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::provider::dial::{Model, Provider};
use earnest_serve::provider::doors::Admission;
use earnest_serve::server::Limits;
use futures_util::FutureExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::audit::{nowhere, prices};
use super::lab::*;
use super::mixes;

/// A model that only a provider behind the relay has, and what of a charge that one asks.
const FAR: &str = "example-far";
const ASK: u16 = 8_000;

/// Stands between a provider and the gateway. It may read and alter what it passes on, and hangs up now and then.
struct Relay {
    address: SocketAddr,
    to: Arc<Mutex<String>>,
    passing: Arc<Mutex<Vec<AbortHandle>>>,
    altered: Arc<AtomicUsize>,
}

/// One piece in so many is altered, and after one in so many it hangs up.
#[derive(Clone, Copy)]
struct Malice {
    alters: u32,
    hangs_up: u32,
}

impl Relay {
    async fn start(malice: Malice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay {
            address: listener.local_addr().unwrap(),
            to: Arc::default(),
            passing: Arc::default(),
            altered: Arc::default(),
        };
        let (to, passing, altered) = (relay.to.clone(), relay.passing.clone(), relay.altered.clone());
        tokio::spawn(async move {
            for seed in 0.. {
                let (provider, _) = listener.accept().await.unwrap();
                let to = to.lock().unwrap().clone();
                let one = tokio::spawn(pass_on(provider, to, altered.clone(), malice, seed));
                passing.lock().unwrap().push(one.abort_handle());
            }
        });
        relay
    }

    /// To the gateway that is there now; what led to another is over.
    fn leads_to(&self, lab: &Lab) {
        self.passing.lock().unwrap().drain(..).for_each(|one| one.abort());
        *self.to.lock().unwrap() = lab.base.trim_start_matches("http://").to_owned();
    }
}

async fn pass_on(provider: TcpStream, to: String, altered: Arc<AtomicUsize>, malice: Malice, seed: u64) {
    let Ok(gateway) = TcpStream::connect(to).await else { return };
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let (mut from_provider, mut to_provider) = provider.into_split();
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let altering = async {
        let mut some = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_provider.read(&mut some).await {
            let bytes = &mut some[..count];
            if dice.random_ratio(1, malice.alters)
                && let Some(at) = bytes.windows(4).position(|four| four == b"word")
            {
                bytes[at + 1] = b'0';
                altered.fetch_add(1, Ordering::Relaxed);
            }
            if dice.random_ratio(1, malice.hangs_up) || to_gateway.write_all(bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = altering => {}
        _ = tokio::io::copy(&mut from_gateway, &mut to_provider) => {}
    }
}

fn runs() -> usize {
    std::env::var("EARNEST_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100)
}

/// The upstream answers what the question's `user` says: so many words, in so many pieces, well or not.
fn answers(lab: &Lab) {
    lab.oracle.answers(|asked| {
        let wish: Value = serde_json::from_str(asked["user"].as_str().unwrap_or("{}")).unwrap_or_default();
        let words = wish["words"].as_u64().unwrap_or(3);
        let text = vec!["word"; usize::try_from(words).unwrap()].join(" ");
        let streams = asked["stream"] == true;
        async move {
            match (wish["ill"].as_u64().unwrap_or(0), streams) {
                (1, _) => (axum::http::StatusCode::PAYMENT_REQUIRED, "no money").into_response(),
                (2, _) => ([("content-type", "application/json")], "nonsense").into_response(),
                (3, true) => stream(vec![event("tiny", &text)], Duration::ZERO),
                (_, true) => {
                    let mut pieces: Vec<String> = (0..words).map(|_| event("tiny", "word ")).collect();
                    pieces.push(ending("tiny", words));
                    stream(pieces, Duration::ZERO)
                }
                (_, false) => axum::Json(completion("tiny", &text)).into_response(),
            }
        }
        .boxed()
    });
}

fn question(dice: &mut ChaCha8Rng) -> Value {
    let words = [1, 3, 50, 3_000][dice.random_range(0..4)];
    let wish = json!({
        "words": words,
        "ill": if dice.random_ratio(1, 6) { dice.random_range(1..4) } else { 0 },
        "turn": dice.random_range(0..40),
    });
    let model = if dice.random_ratio(1, 3) { FAR } else { MODEL };
    let mut body = json!({"model": model, "stream": dice.random_ratio(1, 2), "max_tokens": 4_000, "user": wish.to_string(),
        "messages": [{"role": "user", "content": "hello"}]});
    if dice.random_ratio(1, 4) {
        let (name, value) = [
            ("n", json!(2)),
            ("max_tokens", json!(0)),
            ("n_predict", json!(9_000)),
            ("options", json!({"num_predict": -1})),
            ("max_tokens", json!(u64::MAX)),
            ("Max_Tokens", json!(1)),
            ("previous_response_id", json!("r")),
            ("stream_options", json!({"include_usage": true})),
        ][dice.random_range(0..8)]
        .clone();
        body[name] = value;
    }
    body
}

/// Asks over a socket, reads so many bytes, perhaps slowly, and leaves.
async fn leaves(lab: &Lab, holder: &Holder, body: &Value, dice: &mut ChaCha8Rng) {
    let mut stream = TcpStream::connect(lab.base.trim_start_matches("http://")).await.unwrap();
    let body = body.to_string();
    let key = if dice.random_ratio(1, 3) {
        format!("Idempotency-Key: k{}\r\n", dice.random_range(0..20))
    } else {
        String::new()
    };
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{key}Content-Length: {}\r\n\r\n{body}",
        holder.secret,
        body.len()
    )
    .into_bytes();
    if dice.random_ratio(1, 8) {
        request.truncate(dice.random_range(0..request.len()));
    }
    let _ = stream.write_all(&request).await;
    let most = [0, 1, dice.random_range(0..3_000), 2_000, 100_000][dice.random_range(0..5)];
    let mut read = 0;
    let mut some = vec![0; if dice.random_ratio(1, 4) { 7 } else { 4_096 }];
    while read < most {
        match tokio::time::timeout(Duration::from_millis(150), stream.read(&mut some)).await {
            Ok(Ok(count @ 1..)) => read += count,
            _ => break,
        }
    }
}

/// A voucher with a byte of its signature changed, or of another ceiling.
async fn forges(lab: &Lab, holder: &Holder, dice: &mut ChaCha8Rng) {
    let mut voucher = lab.voucher(holder, 1_000_000_000);
    let mut signature = voucher.signature.to_vec();
    match dice.random_range(0..4) {
        0 => signature[64] = dice.random(),
        1 => {
            let at = dice.random_range(0..65);
            signature[at] = dice.random();
        }
        2 => signature.truncate(dice.random_range(0..65)),
        _ => voucher.ceiling = dice.random_range(0..2_000_000_000),
    }
    voucher = Voucher { signature: signature.into(), ..voucher };
    let _ = lab.order(holder, &Order::Renew { voucher }).await;
}

/// A gateway with its own upstream, and a provider behind a relay.
async fn lab_with(relay: &Relay) -> Lab {
    let plan = include_str!("../../../../../examples/plans/quickstart.toml");
    let far = r#"
[[price_list.models]]
name = "example-far"
input = "0.5 credits per million"
output = "2 credits per million"

[providers]
share = "80%"
held_back = "20%"
min_stake = "10_000 credits"
thawing = "21 days"
cold_start = "100_000 credits"
epoch = "1 day"
"#;
    let mut upstream = None;
    let lab = Lab::on(&format!("{plan}{far}"), "campaign", Limits::for_gateway(), |settings| {
        settings.names = vec![relay.address.to_string()];
        settings.providers = Admission::Anyone;
        settings.share_bps = ASK;
        upstream = Some(settings.upstreams[0].url.parse().unwrap());
    })
    .await;
    relay.leads_to(&lab);
    let dialect = Dialect { upstream: "tiny".into(), ..Dialect::default() };
    let provider = Provider {
        gateway: format!("http://{}", relay.address).parse().unwrap(),
        key: key("provider"),
        upstream: upstream.unwrap(),
        upstream_key: None,
        headers: Default::default(),
        models: vec![Model { name: FAR.into(), dialect, elsewhere: None }],
        ask: ASK,
        concurrency: 1_000,
        links: 1,
        folder: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("relayed-{}", relay.address.port())),
        patience: Duration::from_secs(60),
    };
    tokio::spawn(provider.run(std::future::pending(), |_| {}));
    lab
}

/// The chain cannot be seen from now on; it was seen so many seconds ago.
fn seen(lab: &Lab, holders: &[&Holder], secs: u64) {
    for holder in holders {
        lab.change(holder, |held| held.seen = Instant::now().checked_sub(Duration::from_secs(secs)));
    }
}

/// It was altered, and does not end in an error.
fn passes_for_whole(answer: &str) -> bool {
    answer.contains("w0rd") && !answer.contains("\"error\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_altered_does_not_pass_for_the_providers() {
    let relay = Relay::start(Malice { alters: 1, hangs_up: u32::MAX }).await;
    let lab = lab_with(&relay).await;
    answers(&lab);
    let holder = lab.holder("alice", 1_000_000).await;
    let mut changes = lab.gateway.roster.changes();
    while lab.gateway.roster.links().is_empty() {
        changes.changed().await.unwrap();
    }
    let ask = |stream: bool| {
        let wish = json!({"words": 3}).to_string();
        json!({"model": FAR, "stream": stream, "user": wish, "messages": [{"role": "user", "content": "hello"}]})
    };
    // In one piece: nothing of it goes out, and nothing is charged.
    let (status, answer) = lab.chat(&holder.secret, &ask(false)).await;
    assert!(status >= 500 && !answer.to_string().contains("w0rd"), "{status} {answer}");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, 0);
    // In pieces some has gone out already: it ends in an error, and what was written of it is charged.
    lab.gateway.routes.forget();
    let answer = lab.post(&holder.secret, "/chat/completions", &ask(true)).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("w0rd") && text.contains("is not the one that it sealed"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    let charged = lab.charged_at_rest(&holder.secret).await;
    assert!((1..=cost(7, 3)).contains(&charged), "{charged}");
    assert!(relay.altered.load(Ordering::Relaxed) >= 2);
}

/// Bytes that this process holds; 0 where the system does not say.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_tried_what_was_served_can_be_claimed() {
    let relay = Relay::start(Malice { alters: 3, hangs_up: 60 }).await;
    let mut lab = lab_with(&relay).await;
    answers(&lab);
    let honest = lab.holder("honest", 1_000_000_000).await;
    let mut thieves = Vec::new();
    for number in 0..4 {
        thieves.push(lab.holder(&format!("thief {number}"), 1_000_000_000).await);
    }
    let everyone: Vec<&Holder> = thieves.iter().chain([&honest]).collect();
    let mut dice = ChaCha8Rng::seed_from_u64(20_261_127);
    let (runs, began) = (runs(), Instant::now());
    let (mut paid, mut away, mut outages) = (0, false, 0);
    for run in 0..runs {
        let thief = &thieves[dice.random_range(0..thieves.len())];
        let body = question(&mut dice);
        match dice.random_range(0..8) {
            0 => forges(&lab, thief, &mut dice).await,
            1 => {
                let answer = lab.post(&thief.secret, "/chat/completions", &body).send().await.unwrap();
                let altered = answer.text().await.is_ok_and(|text| passes_for_whole(&text));
                assert!(!altered, "run {run}: {body}");
            }
            _ => leaves(&lab, thief, &body, &mut dice).await,
        }
        if run % 10 == 0 {
            let mut asks = hello();
            asks["user"] = json!(format!("{{\"words\":3,\"turn\":\"honest {run}\"}}"));
            let (status, answer) = lab.chat(&honest.secret, &asks).await;
            assert_eq!(status, 200, "run {run}: the honest holder is refused: {answer}");
            paid += cost(7, 3);
        }
        if run % 100 == 74 {
            // The gateway is started again, and the chain is gone: credit goes on for as long as it was seen lately.
            (away, outages) = (true, outages + 1);
            for holder in &everyone {
                lab.charged_at_rest(&holder.secret).await;
            }
            let prices = prices(&lab);
            lab.restart_by([nowhere(), nowhere()], |_| {}).await;
            lab.gateway.set_prices(prices);
            relay.leads_to(&lab);
            seen(&lab, &everyone, 0);
        }
        if run % 50 < 49 && run + 1 < runs {
            continue;
        }
        for holder in &everyone {
            lab.charged_at_rest(&holder.secret).await;
        }
        if std::mem::take(&mut away) {
            assert!(lab.round().await.is_err(), "run {run}: nothing can be claimed");
            seen(&lab, &everyone, 301);
            let asked = lab.oracle.count();
            for holder in &everyone {
                assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 503, "run {run}: a third of 900 s");
            }
            assert_eq!(lab.oracle.count(), asked);
            lab.restart().await;
            relay.leads_to(&lab);
        }
        lab.round().await.unwrap_or_else(|error| panic!("run {run}: {error:#}"));
        let mut claimed = 0;
        for holder in &everyone {
            let charged = lab.charged(&holder.secret).await;
            let (_, on_chain) = lab.on_chain(holder);
            assert_eq!(on_chain, charged, "run {run}: what was charged is not what the chain gave");
            claimed += on_chain;
        }
        let (_, settled, pay) = lab.statement();
        assert_eq!(settled, claimed, "run {run}: not all is stated");
        assert!(pay * 10_000 <= settled * u128::from(ASK), "run {run}: {pay} of {settled} is paid");
        assert_eq!(lab.charged(&honest.secret).await, paid, "run {run}");
        assert_eq!(lab.gateway.metrics.in_flight.get(), 0);
    }
    let (altered, disk, memory) = (relay.altered.load(Ordering::Relaxed), lab.disk(), memory());
    eprintln!(
        "{runs} runs in {:.1} s, {} questions went upstream, {altered} pieces were altered on their way, the chain went away {outages} times; {} KiB on the disk, {} MiB of memory",
        began.elapsed().as_secs_f64(),
        lab.oracle.count(),
        disk >> 10,
        memory >> 20,
    );
    // A charge with its receipt, what is kept for 80 Idempotency-Keys of at most 400 kB, and the log.
    assert!(disk < 2_048 * runs as u64 + (32 << 20) + (64 << 20), "{disk} bytes on the disk");
    // Beside other tests the memory is theirs, too.
    let alone = std::env::var_os("EARNEST_RUNS").is_some();
    assert!(!alone || memory < 512 << 20, "{memory} bytes of memory");
    assert!(runs < 100 || (altered > 0 && outages > 0), "nothing of that was tried");
}

#[test]
fn mixes_of_all_fixtures() {
    mixes::mix(2, runs());
}
