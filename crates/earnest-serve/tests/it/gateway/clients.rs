//! What clients do that is neither wrong nor what most SDKs do: older HTTP, long bodies that wait to be asked for, chunks,
//! packed bodies, paths a slash off, readers of streams that take an empty line for an event. However it is sent, the same
//! question costs the same.

use std::io::Write;
use std::process::{Command, Output};
use std::time::Duration;

use alloy_primitives::B256;
use base64::Engine;
use earnest_chain::voucher::SignedReceipt;
use earnest_serve::gateway::receipt::Receipt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lab::*;

/// What came back on a connection until it was closed.
#[derive(Debug)]
struct Told {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Told {
    fn of(bytes: &[u8]) -> Self {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let at = at.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut told = Told { status, head, body: bytes[at + 4..].to_vec() };
        if told.header("transfer-encoding") == Some("chunked") {
            told.body = unchunked(&told.body);
        }
        told
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What the receipt of an answer says that it cost; it is of this request's body, as it was sent, and of this answer's.
    fn charge(&self, lab: &Lab, asked: &[u8]) -> u128 {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-encoding"), None);
        let (receipt, answer) = match self.header("x-earnest-receipt") {
            Some(receipt) => {
                (base64::engine::general_purpose::STANDARD.decode(receipt).unwrap(), self.body.clone())
            }
            None => {
                let text = self.text();
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
                let (receipt, answer) = without_receipt(&text);
                (receipt.into(), answer.into())
            }
        };
        let receipt: SignedReceipt = serde_json::from_slice(&receipt).unwrap();
        let receipt = Receipt::verify(&receipt, lab.gateway.house, key("gateway").address()).unwrap();
        assert_eq!(receipt.request_sha256, sha256(asked), "of what was asked");
        assert_eq!(receipt.response_sha256, Some(sha256(&answer)), "of what was answered");
        receipt.charge
    }

    /// The code of a refusal in OpenAI's shape.
    fn code(&self) -> String {
        let error = &self.json()["error"];
        assert!(error["message"].is_string() && error["type"].is_string(), "{self:?}");
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn sha256(bytes: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(bytes))
}

/// The receipt of a stream, and the stream without its line.
fn without_receipt(text: &str) -> (String, String) {
    let line = text.lines().find(|line| line.starts_with(": earnest-receipt ")).expect("a receipt");
    (line.replace(": earnest-receipt ", ""), text.replace(&format!("{line}\n"), ""))
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let at = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&bytes[at + 2..at + 2 + size]);
        bytes = &bytes[at + 2 + size + 2..];
    }
}

async fn connect(lab: &Lab) -> TcpStream {
    TcpStream::connect(lab.base.trim_start_matches("http://")).await.unwrap()
}

/// Reads until the other side closes.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    read.unwrap_or_else(|_| panic!("it stays open: {:?}", String::from_utf8_lossy(&all))).unwrap();
    all
}

/// Sends bytes and reads until the other side closes.
async fn send(lab: &Lab, bytes: &[u8]) -> Told {
    let mut stream = connect(lab).await;
    stream.write_all(bytes).await.unwrap();
    Told::of(&rest(stream).await)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn in_chunks(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in bytes.chunks(11) {
        out.extend_from_slice(format!("{:x};some=extension\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_costs_the_same_however_it_is_sent() {
    let lab = Lab::open("sent").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let mut spent = 0;
    for question in [hello(), streamed()] {
        let plain = serde_json::to_vec(&question).unwrap();
        let (packed, chunks) = (gzipped(&plain), in_chunks(&plain));
        let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
        let one_one = format!(
            "HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n",
            holder.secret
        );
        let path = "POST /v1/chat/completions";
        for (what, head, body) in [
            ("as most do", format!("{path} {one_one}{}", length(&plain)), &plain),
            (
                "HTTP/1.0",
                format!("{path} HTTP/1.0\r\nAuthorization: Bearer {}\r\n{}", holder.secret, length(&plain)),
                &plain,
            ),
            (
                "HTTP/1.0 that would go on",
                format!(
                    "{path} HTTP/1.0\r\nAuthorization: bearer  {}\r\nConnection: Keep-Alive, close\r\n{}",
                    holder.secret,
                    length(&plain)
                ),
                &plain,
            ),
            ("in chunks", format!("{path} {one_one}Transfer-Encoding: chunked\r\n"), &chunks),
            ("packed", format!("{path} {one_one}Content-Encoding: gzip\r\n{}", length(&packed)), &packed),
            (
                "for whom answers may be packed",
                format!("{path} {one_one}Accept-Encoding: deflate, gzip, br, zstd\r\n{}", length(&plain)),
                &plain,
            ),
            (
                "as to a proxy",
                format!("POST http://x/v1/chat/completions {one_one}{}", length(&plain)),
                &plain,
            ),
            ("with a query", format!("{path}?api-version=2024-10-21 {one_one}{}", length(&plain)), &plain),
            (
                "as a form, which curl -d says it is",
                format!(
                    "{path} {one_one}Content-Type: application/x-www-form-urlencoded\r\n{}",
                    length(&plain)
                ),
                &plain,
            ),
        ] {
            let told = send(&lab, &[head.as_bytes(), b"\r\n", body].concat()).await;
            // Chunks are how it came, and no part of it.
            let asked = if *body == chunks { &plain } else { body };
            assert_eq!(told.charge(&lab, asked), cost(7, 3), "{what}: {told:?}");
            if head.contains("HTTP/1.0\r\n") {
                assert_eq!(told.header("transfer-encoding"), None, "{what}: {told:?}");
            }
            spent += cost(7, 3);
            assert_eq!(lab.charged_at_rest(&holder.secret).await, spent, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_is_asked_for_and_one_that_is_refused_is_not() {
    let lab = Lab::open("expects").await;
    let holder = lab.holder("alice", 100_000_000).await;
    let mut question = hello();
    question["messages"][0]["content"] = "long ".repeat(400_000).into();
    let body = serde_json::to_vec(&question).unwrap();
    let head = |secret: &str, path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        )
    };
    let mut stream = connect(&lab).await;
    stream.write_all(head(&holder.secret, "/v1/chat/completions").as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    timeout(Duration::from_secs(5), stream.read_exact(&mut go_on)).await.expect("it is asked for").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).await.unwrap();
    let told = Told::of(&rest(stream).await);
    assert_eq!(told.charge(&lab, &body), cost(7, 3));
    // What is refused for its head is not asked for, and the refusal is heard.
    for (secret, path, status) in [
        ("sk-earnest-nobody", "/v1/chat/completions", 401),
        (&*holder.secret, "/v1/chat/completions/", 404),
        (&*holder.secret, "/v1/models", 405),
    ] {
        let mut stream = connect(&lab).await;
        stream.write_all(head(secret, path).as_bytes()).await.unwrap();
        let told = Told::of(&rest(stream).await);
        assert_eq!(told.status, status, "{path}: {told:?}");
        told.code();
    }
    // So it is where the body comes unasked, and is longer than what lies between the two: who is still sending hears why.
    let long = vec![b' '; 24 << 20];
    for (secret, path, status) in [
        ("sk-earnest-nobody", "/v1/chat/completions", 401),
        (&*holder.secret, "/v1/chat/completions/", 404),
        (&*holder.secret, "/v1/models", 405),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: {}\r\n\r\n",
            long.len()
        );
        let mut stream = connect(&lab).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // As simple clients do: everything first, the answer afterwards.
        let sent = stream.write_all(&long).await;
        let mut told = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut told)).await;
        assert!(!told.is_empty(), "{status} at {path} is not heard: sent {sent:?}, read {read:?}");
        assert_eq!(Told::of(&told).status, status, "{path}");
    }
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_a_little_wrong_is_told_so_in_json() {
    let lab = Lab::open("paths").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let body = hello().to_string();
    let ask = |method: &str, path: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            holder.secret,
            body.len()
        )
    };
    for (path, of_the_base) in [
        ("/v1/chat/completions/", true),
        ("//v1/chat/completions", true),
        ("/v1//chat/completions", true),
        ("/v1/v1/chat/completions", true),
        ("/chat/completions", true),
        ("/v1/chat/completions/chat/completions", true),
        ("/v1/responses/chat/completions?a=b", true),
        ("/v1/Chat/Completions", false),
        ("/v1/chat/completions/../completions", true),
        ("/v1/chat%2Fcompletions", false),
        ("/v1/nothing", false),
        ("/v1/", false),
        ("/", false),
    ] {
        let told = send(&lab, ask("POST", path).as_bytes()).await;
        assert_eq!((told.status, told.code().as_str()), (404, "unknown_url"), "{path}: {told:?}");
        assert_eq!(told.header("content-type"), Some("application/json"), "{path}");
        let hinted = String::from_utf8_lossy(&told.body)
            .contains(": the base URL ends in /v1, and the path follows it");
        assert_eq!(hinted, of_the_base, "{path}: {told:?}");
    }
    for (method, path, status) in [
        ("GET", "/v1/chat/completions", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("BREW", "/v1/chat/completions", 405),
        ("BREW", "/v1/nothing", 404),
    ] {
        let told = send(&lab, ask(method, path).as_bytes()).await;
        assert_eq!(told.status, status, "{method} {path}: {told:?}");
        told.code();
        assert_eq!(told.header("allow").is_some(), status == 405, "{method} {path}: {told:?}");
    }
    // To HEAD the same head as to GET, and no body; to OPTIONS what a browser asks for.
    for (path, status) in
        [("/v1/models", 200), ("/healthz", 200), ("/v1/chat/completions", 405), ("/v1/no", 404)]
    {
        let told = send(&lab, ask("HEAD", path).as_bytes()).await;
        assert_eq!((told.status, told.body.len()), (status, 0), "{path}: {told:?}");
        let told = send(&lab, ask("OPTIONS", path).as_bytes()).await;
        assert_eq!((told.status, told.body.len()), (204, 0), "{path}: {told:?}");
        assert!(told.header("access-control-allow-headers").is_some(), "{path}: {told:?}");
    }
    assert_eq!((lab.oracle.count(), lab.charged(&holder.secret).await), (0, 0));
}

/// curl as it is installed, where `cargo xtask test` says where.
async fn curl(arguments: &[&str]) -> Option<Output> {
    let Ok(curl) = std::env::var("EARNEST_CURL") else {
        println!("skipped: EARNEST_CURL does not name curl; cargo xtask test does");
        return None;
    };
    let mut command = Command::new(curl);
    // Its user's own settings are not looked at, nor a proxy.
    command.args(["-q", "--noproxy", "*", "-sS", "--max-time", "20", "-i"]).args(arguments);
    Some(tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("curl starts"))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_answered_whatever_it_is_told_and_charged_the_same() {
    let lab = Lab::open("curl").await;
    let holder = lab.holder("alice", 100_000_000).await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("curl");
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        format!("@{}", path.display())
    };
    let mut long = hello();
    long["messages"][0]["content"] = "long ".repeat(400_000).into();
    let (plain, stream) = (hello().to_string(), streamed().to_string());
    let packed = file("packed.gz", &gzipped(plain.as_bytes()));
    let long = file("long.json", long.to_string().as_bytes());
    let url = format!("{}/v1/chat/completions", lab.base);
    let key = format!("Authorization: Bearer {}", holder.secret);
    let mut spent = 0;
    for more in [
        &["-d", &plain][..],
        &["--compressed", "-d", &plain],
        &["--compressed", "-N", "-d", &stream],
        &["--http1.0", "-d", &plain],
        &["--http1.0", "-N", "-d", &stream],
        // It asks for 100-continue by itself from a mebibyte on.
        &["-H", "Content-Type: application/json", "--data-binary", &long],
        &["-H", "Expect: 100-continue", "-d", &plain],
        &["-H", "Expect:", "--data-binary", &long],
        &["-H", "Transfer-Encoding: chunked", "-d", &plain],
        &["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-N", "-d", &stream],
        &["-H", "Content-Encoding: gzip", "--data-binary", &packed],
        // It would go on by HTTP/2, and goes on by HTTP/1.1 as it is not offered.
        &["--http2", "-d", &plain],
        &["--path-as-is", "-d", &plain],
        &["--tcp-fastopen", "--no-keepalive", "-d", &plain],
    ] {
        let Some(output) = curl(&[&["-H", &key], more, &[&url]].concat()).await else { return };
        let mut said = &output.stdout[..];
        while said.starts_with(b"HTTP/1.1 100") {
            said = &said[said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4..];
        }
        assert!(output.status.success(), "{more:.80?}: {}", String::from_utf8_lossy(&output.stderr));
        let sent = match more.last().unwrap().strip_prefix('@') {
            Some(file) => std::fs::read(file).unwrap(),
            None => more.last().unwrap().as_bytes().to_vec(),
        };
        // It takes chunks apart and leaves the header that spoke of them.
        let said = String::from_utf8_lossy(said).replace("transfer-encoding: chunked\r\n", "");
        let told = Told::of(said.as_bytes());
        assert_eq!(told.charge(&lab, &sent), cost(7, 3), "{more:.80?}: {told:?}");
        spent += cost(7, 3);
        assert_eq!(lab.charged_at_rest(&holder.secret).await, spent, "{more:.80?}");
    }
    // What is not offered ends at once, and is not charged.
    let prior = curl(&["-H", &key, "--http2-prior-knowledge", "-d", &plain, &url]).await.unwrap();
    assert!(!prior.status.success() && prior.status.code() != Some(28), "{prior:?}");
    for (more, status) in [
        (&["-d", &plain, &format!("{url}/")][..], 404),
        (&["--path-as-is", "-d", &plain, &format!("{}//v1/chat/completions", lab.base)], 404),
        (&["--data-binary", &long, &format!("{}/chat/completions", lab.base)], 404),
        (&["-H", "Expect:", "--data-binary", &long, &format!("{}/chat/completions", lab.base)], 404),
        (&["-G", &url], 405),
    ] {
        let output = curl(&[&["-H", &key], more].concat()).await.unwrap();
        let told = Told::of(&output.stdout);
        assert_eq!(told.status, status, "{more:.80?}: {told:?}");
        told.code();
    }
    for more in [&["-I"][..], &["-X", "OPTIONS"]] {
        let output = curl(&[&["-H", &key], more, &[&url]].concat()).await.unwrap();
        let told = Told::of(&output.stdout);
        assert!(output.status.success() && told.body.is_empty(), "{more:?}: {told:?}");
    }
    assert_eq!(lab.charged_at_rest(&holder.secret).await, spent);
}

/// How openai-go up to 3.42 reads a stream (its `ssestream`): each empty line is an event, whatever came before it, and what
/// is no JSON ends the answer; so does an event with a field `error`. The readers of openai-python do the same once an event
/// has had an id. Gives the events, and the error.
fn as_openai_go_reads(text: &str) -> (Vec<Value>, Option<String>) {
    let (mut events, mut data, mut done) = (Vec::new(), String::new(), false);
    let Some(lines) = text.strip_suffix('\n') else { return (events, Some("it ends in mid-line".into())) };
    for line in lines.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !line.is_empty() {
            if let Some(value) = line.strip_prefix("data:") {
                data += value.strip_prefix(' ').unwrap_or(value);
                data.push('\n');
            }
            continue;
        }
        let event = std::mem::take(&mut data);
        if done {
            continue;
        }
        if event.starts_with("[DONE]") {
            done = true;
            continue;
        }
        match serde_json::from_str::<Value>(&event) {
            Ok(event) if event.get("error").is_some() => return (events, Some(event["error"].to_string())),
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(format!("{error}: {event:?}"))),
        }
    }
    (events, None)
}

/// Events of an answer of two words at each endpoint, and their words as a client finds them.
fn two_words(path: &str) -> Vec<Value> {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9});
    match path {
        "/chat/completions" => {
            let chunk = |choices: Value| json!({"id": "c", "object": "chat.completion.chunk", "model": "tiny", "choices": choices});
            let mut last = chunk(json!([]));
            last["usage"] = usage;
            vec![
                chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": "one "}}])),
                chunk(json!([{"index": 0, "delta": {"content": "two"}}])),
                chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])),
                last,
            ]
        }
        "/completions" => {
            let chunk = |choices: Value| json!({"id": "c", "object": "text_completion", "model": "tiny", "choices": choices});
            let mut last = chunk(json!([]));
            last["usage"] = usage;
            vec![
                chunk(json!([{"index": 0, "text": "one "}])),
                chunk(json!([{"index": 0, "text": "two"}])),
                chunk(json!([{"index": 0, "text": "", "finish_reason": "stop"}])),
                last,
            ]
        }
        _ => {
            let response = |status: &str| json!({"id": "r", "object": "response", "model": "tiny", "status": status, "output": []});
            let delta = |number: u64, text: &str| {
                json!({"type": "response.output_text.delta", "sequence_number": number, "item_id": "m",
                       "output_index": 0, "content_index": 0, "delta": text})
            };
            let mut whole = response("completed");
            whole["output"] = json!([{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "one two", "annotations": []}]}]);
            whole["usage"] = json!({"input_tokens": 7, "output_tokens": 2, "total_tokens": 9});
            vec![
                json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress")}),
                delta(1, "one "),
                delta(2, "two"),
                json!({"type": "response.completed", "sequence_number": 3, "response": whole}),
            ]
        }
    }
}

/// How servers set their events apart, and what else they send between them: before an event, its lines, behind it.
const MANNERS: &[(&str, &str, &str, &str)] = &[
    ("as most do", "", "data: {}\n\n", ""),
    ("with ids", "", "id: 1\ndata: {}\n\n", ""),
    ("keeping alive", ": keep-alive\n\n", "data: {}\n\n", ""),
    ("keeping alive twice", ": keep-alive\n\n: keep-alive\n\n", "id: 1\ndata: {}\n\n", ""),
    ("comments without an empty line", ": keep-alive\n", "data: {}\n\n", ""),
    ("carriage returns", ": keep-alive\r\n\r\n", "id: 1\r\ndata: {}\r\n\r\n", ""),
    ("carriage returns alone", ": keep-alive\r\r", "data: {}\r\r", ""),
    ("one empty line too many", "", "data: {}\n\n", "\n"),
    ("two empty lines too many", "", "data: {}\n\n", "\n\n"),
    ("empty lines first", "\n", "id: 1\ndata: {}\n\n", ""),
    ("a retry of its own", "retry: 3000\n\n", "data: {}\n\n", ""),
    ("an event without data", "event: ping\n\n", "data: {}\n\n", ""),
    ("data that is empty", "data:\n\n", "data: {}\n\n", "data: \n\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn readers_for_whom_an_empty_line_is_an_event_read_every_stream_to_its_end() {
    let lab = Lab::open("go").await;
    let holder = lab.holder("alice", 100_000_000).await;
    for path in ["/chat/completions", "/completions", "/responses"] {
        let (ask, of_chat) = match path {
            "/completions" => (json!({"model": MODEL, "stream": true, "prompt": "hello"}), true),
            "/responses" => (json!({"model": MODEL, "stream": true, "input": "hello"}), false),
            _ => (streamed(), true),
        };
        for (manner, before, lines, behind) in MANNERS {
            // Whole, whole but for the last empty line, broken off in the middle.
            for end in ["", "cut", "broken"] {
                let events = two_words(path);
                let keep = if end == "broken" { 2 } else { events.len() };
                let mut said: String = events[..keep]
                    .iter()
                    .map(|event| {
                        let named = event["type"].as_str().map(|name| format!("event: {name}\n"));
                        let lines = lines.replace("{}", &event.to_string());
                        format!("{before}{}{lines}{behind}", named.unwrap_or_default())
                    })
                    .collect();
                match end {
                    "cut" => said.truncate(said.trim_end_matches(['\n', '\r']).len()),
                    "broken" => said += before,
                    _ if of_chat => said += &format!("{before}data: [DONE]\n\n"),
                    _ => {}
                }
                if end == "cut" {
                    said += "\n";
                }
                lab.oracle.says(200, "text/event-stream", said.clone());
                let answer = lab.post(&holder.secret, path, &ask).send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                let what = format!("{path}, {manner}, {end}: {said:?} gave {text:?}");
                assert_eq!(status, 200, "{what}");
                let (found, error) = as_openai_go_reads(&text);
                // The usage event is kept from who did not ask for it.
                let shown = if of_chat && end != "broken" { keep - 1 } else { keep };
                assert_eq!(found.len(), shown, "{error:?}: {what}");
                for (found, event) in found.iter().zip(&events) {
                    let (mut found, mut event) = (found.clone(), event.clone());
                    for one in [&mut found, &mut event] {
                        one["model"] = Value::Null;
                        one["response"]["model"] = Value::Null;
                    }
                    assert_eq!(found, event, "{what}");
                }
                match end {
                    "broken" => assert!(
                        error.as_ref().is_some_and(|error| error.contains("message")),
                        "{error:?}: {what}"
                    ),
                    _ => assert_eq!(error, None, "{what}"),
                }
                if error.is_none() {
                    let (receipt, answer) = without_receipt(&text);
                    let receipt: SignedReceipt = serde_json::from_str(&receipt).unwrap();
                    let receipt =
                        Receipt::verify(&receipt, lab.gateway.house, key("gateway").address()).unwrap();
                    assert_eq!(receipt.response_sha256, Some(sha256(answer.as_bytes())), "{what}");
                    assert_eq!(receipt.charge, cost(7, 2), "{what}");
                }
                // The receipt stands where those readers find no event, and once.
                assert_eq!(text.matches(": earnest-receipt {").count(), 1, "{what}");
                assert!(
                    !text.contains("\n\n\n") && !text.starts_with('\n') && text.ends_with("\n\n"),
                    "{what}"
                );
                let kept_alive = before.contains("keep-alive");
                assert_eq!(text.contains("\n: keep-alive\n"), kept_alive, "comments pass: {what}");
            }
        }
    }
    lab.charged_at_rest(&holder.secret).await;
}
