//! docs/openapi.json held against the server, both ways: every answer of every test of the gateway is as it is described,
//! every route is described, and everything described can be had.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use earnest_serve::gateway::order::{Order, Wanted};
use earnest_serve::gateway::prices::{Line, PriceBook};
use earnest_serve::openai::events::{Events, data_of};
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::lab::*;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../../docs/openapi.json")).expect("it is JSON")
});

/// Of a schema in the document, with all that it refers to.
fn validator(schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<BTreeMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap();
    let make = || {
        let mut root = schema.clone();
        root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        root["components"] = DOCUMENT["components"].clone();
        Arc::new(jsonschema::validator_for(&root).unwrap_or_else(|error| panic!("{schema}: {error}")))
    };
    made.entry(schema.to_string()).or_insert_with(make).clone()
}

fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let errors: Vec<String> = validator(schema)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(path) => DOCUMENT.pointer(path.trim_start_matches('#')).expect("what is referred to"),
        None => value,
    }
}

/// The path as it is described.
fn template(path: &str) -> Option<&'static str> {
    let described = DOCUMENT["paths"].as_object().expect("paths").keys();
    let fits = |template: &&String| {
        if template.as_str() == "/v1/models/{id}" {
            return path.starts_with("/v1/models/") && path.len() > "/v1/models/".len();
        }
        let (said, is) = (template.split('/'), path.split('/'));
        said.clone().count() == is.clone().count()
            && said.zip(is).all(|(said, is)| said == is || (said.starts_with('{') && !is.is_empty()))
    };
    described.map(|path| path as &String).find(fits).map(String::as_str)
}

/// What was seen so far, and what of it is not as it is described.
#[derive(Default)]
pub(super) struct Description {
    differences: Mutex<Vec<String>>,
    /// Of bodies that a provider made: a test may let it lie.
    providers: Mutex<Vec<String>>,
    seen: Mutex<BTreeSet<(String, String, String)>>,
}

impl Description {
    pub(super) fn differences(&self) -> Vec<String> {
        self.differences.lock().unwrap().clone()
    }

    /// Looks at everything that goes through.
    pub(super) fn over(self: &Arc<Self>, app: Router) -> Router {
        let description = self.clone();
        app.layer(from_fn(move |request: Request, next: Next| {
            let description = description.clone();
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let response = next.run(request).await;
                description.look(&method, &path, response)
            }
        }))
    }

    fn look(self: &Arc<Self>, method: &Method, path: &str, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16().to_string();
        let kind = content_type(&parts.headers);
        let mut place = format!("{method} {path} {status} {kind}");
        let differs = |why: String| self.differences.lock().unwrap().push(format!("{place}: {why}"));
        if *method == Method::OPTIONS || *method == Method::HEAD {
            return Response::from_parts(parts, body);
        }
        let described = template(path);
        let word = method.as_str().to_ascii_lowercase();
        let operation = described.map(|path| &DOCUMENT["paths"][path][&word]);
        // What is not described is answered by what stands in its description as a whole.
        let error = json!({"$ref": "#/components/schemas/Error"});
        let mut provider = false;
        let schema = match operation {
            None => {
                if status != "404" {
                    differs("the path is not described".into());
                }
                error
            }
            Some(Value::Null) => {
                if status != "405" {
                    differs("the method is not described".into());
                }
                error
            }
            Some(operation) => {
                let answers = &operation["responses"];
                let range = format!("{}XX", &status[..1]);
                let answer = answers.get(&status).or(answers.get(&range)).map(resolved);
                let Some(answer) = answer else {
                    differs("the status is not described".into());
                    return Response::from_parts(parts, body);
                };
                self.seen.lock().unwrap().insert((
                    format!("{method} {}", described.unwrap_or_default()),
                    if answers.get(&status).is_some() { status.clone() } else { range },
                    kind.clone(),
                ));
                if let Err(why) = headers(answer, &parts.headers) {
                    differs(why);
                }
                provider = path.starts_with("/v1/") && *method == Method::POST && status == "200";
                let content = &answer["content"];
                if content.is_null() {
                    return Response::from_parts(parts, body);
                }
                if content[&kind].is_null() {
                    differs("the content type is not described".into());
                    return Response::from_parts(parts, body);
                }
                let named = if kind == "text/event-stream" { "x-event" } else { "schema" };
                content[&kind][named].clone()
            }
        };
        if operation.is_none_or(Value::is_null) {
            place += " (as any)";
        }
        let watched =
            Watched { body, kind, seen: Vec::new(), schema, provider, place, description: self.clone() };
        Response::from_parts(parts, Body::new(watched))
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// A receipt: what is signed is a text of its own.
fn receipt(signed: &Value) -> Result<(), String> {
    check(&json!({"$ref": "#/components/schemas/SignedReceipt"}), signed)?;
    let text = signed["receipt"].as_str().expect("checked");
    let value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    check(&json!({"$ref": "#/components/schemas/Receipt"}), &value)
}

fn headers(answer: &Value, headers: &HeaderMap) -> Result<(), String> {
    for (name, described) in answer["headers"].as_object().into_iter().flatten() {
        match headers.get(name).map(|value| value.to_str().map(str::to_owned)) {
            Some(Ok(value)) => {
                check(&described["schema"], &json!(value)).map_err(|why| format!("{name}: {why}"))?;
                if name == "x-earnest-receipt" {
                    let decoded = base64::engine::general_purpose::STANDARD.decode(value);
                    let signed = serde_json::from_slice(&decoded.map_err(|error| error.to_string())?);
                    receipt(&signed.map_err(|error| error.to_string())?)?;
                }
            }
            Some(Err(_)) => return Err(format!("{name} is not text")),
            None if described["required"] == true => return Err(format!("{name} is missing")),
            None => {}
        }
    }
    let undescribed = headers.keys().find(|name| {
        name.as_str().starts_with("x-earnest") && answer["headers"].get(name.as_str()).is_none()
    });
    undescribed.map_or(Ok(()), |name| Err(format!("{name} is not described")))
}

/// A body on its way, read along.
struct Watched {
    body: Body,
    kind: String,
    seen: Vec<u8>,
    schema: Value,
    provider: bool,
    place: String,
    description: Arc<Description>,
}

impl Watched {
    fn check(&self) -> Result<(), String> {
        match self.kind.as_str() {
            "application/json" => {
                let value = serde_json::from_slice(&self.seen).map_err(|error| error.to_string())?;
                check(&self.schema, &value)?;
                for signed in value["data"].as_array().into_iter().flatten().chain([&value]) {
                    if signed.get("receipt").is_some() {
                        receipt(signed)?;
                    }
                }
                Ok(())
            }
            "text/event-stream" => {
                let mut events = Events::default();
                events.push(&self.seen);
                while let Some(event) = events.take().map_err(|_| "an event is too long")? {
                    let mut lines = event.split(|&byte| byte == b'\n');
                    if let Some(text) = lines.find_map(|line| line.strip_prefix(b": earnest-receipt ")) {
                        receipt(&serde_json::from_slice(text).map_err(|error| error.to_string())?)?;
                    }
                    let Some(data) = data_of(&event) else { continue };
                    let value = match data.as_ref() {
                        b"[DONE]" => json!("[DONE]"),
                        data => serde_json::from_slice(data).map_err(|error| error.to_string())?,
                    };
                    check(&self.schema, &value)?;
                }
                Ok(())
            }
            _ => check(&self.schema, &json!(String::from_utf8_lossy(&self.seen))),
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.seen.extend_from_slice(data);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Of a stream that was left in the middle, what came of it.
        if self.kind != "text/event-stream" && !self.body.is_end_stream() {
            return;
        }
        if let Err(why) = self.check() {
            let list =
                if self.provider { &self.description.providers } else { &self.description.differences };
            list.lock().unwrap().push(format!("{}: {why}", self.place));
        }
    }
}

/// All that is routed, out of the source: axum does not tell.
fn routed() -> BTreeSet<(String, String)> {
    let source = include_str!("../../../src/gateway/mod.rs");
    let mut all = BTreeSet::new();
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, rest) = line.split_once("\", ").expect("a path and its handler");
        let method = rest.split('(').next().expect("a method");
        all.insert((method.to_owned(), path.replace("{*id}", "{id}")));
    }
    let doors = include_str!("../../../src/provider/doors.rs");
    assert_eq!(doors.matches(".route(").count(), 2, "the doors have other routes");
    assert_eq!(source.matches(".route(").count(), all.len() + 1, "a route is written in another way");
    for path in [earnest_serve::provider::CHALLENGE, earnest_serve::provider::DOOR] {
        all.insert(("get".into(), path.into()));
    }
    for endpoint in earnest_serve::openai::Endpoint::ALL {
        all.insert(("post".into(), format!("/v1{}", endpoint.path())));
    }
    all
}

fn described() -> BTreeSet<(String, String)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, operations)| {
        operations.as_object().expect("operations").keys().map(|method| (method.clone(), path.clone()))
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_every_description_has_its_route() {
    assert_eq!(routed(), described());
    let lab = Lab::open("routes").await;
    let holder = lab.holder("alice", 1_000_000).await;
    for (_, path) in described() {
        let url = format!("{}{}", lab.base, path.replace("{number}", "1").replace("{coin}", "cash"));
        for method in ["get", "post", "put", "delete", "patch"] {
            let sent = lab.client.request(method.to_ascii_uppercase().parse().unwrap(), &url);
            let answer = sent.bearer_auth(&holder.secret).body("{}").send().await.unwrap();
            let is_there = described().contains(&(method.into(), path.clone()));
            assert_eq!(answer.status() != 405, is_there, "{method} {path}");
            assert_eq!(answer.headers()["access-control-allow-origin"], "*", "{method} {path}");
            let text = answer.text().await.unwrap();
            assert!(!text.contains("\"code\":\"unknown_url\""), "{method} {path}: {text}");
        }
        // A browser asks whether a page may, and sends no key with that.
        let answer = lab.client.request(Method::OPTIONS, &url).send().await.unwrap();
        assert_eq!(answer.status(), 204, "{path}");
        for (name, value) in [("origin", "*"), ("methods", "GET, POST"), ("headers", "*, authorization")] {
            assert_eq!(answer.headers()[format!("access-control-allow-{name}")], value, "{path}");
        }
    }
    let nowhere = lab.client.get(format!("{}/nowhere", lab.base)).send().await.unwrap();
    assert_eq!(
        (nowhere.status().as_u16(), &nowhere.headers()["access-control-allow-origin"]),
        (404, &"*".parse().unwrap())
    );
    assert_eq!(lab.get("", "/openapi.json").await, (200, DOCUMENT.clone()));
}

/// Every answer that is described, of every path, but for what only a broken disk or chain brings.
#[tokio::test(flavor = "multi_thread")]
async fn everything_described_can_be_had() {
    let lab = Lab::with("described", |settings| {
        settings.patience.head = Duration::from_millis(400);
        settings.patience.piece = Duration::from_millis(400);
        settings.body_time = Duration::from_millis(300);
    })
    .await;
    let sold = |model: &str, unit| Line { model: model.into(), unit, credits: 1_000, cash: 500_000 };
    let lines = [0, 2, 3].into_iter().flat_map(|unit| [sold(MODEL, unit), sold("another/model", unit)]);
    lab.gateway.set_prices(PriceBook::new(1, None, lines));
    let holder = lab.holder("alice", 10_000_000).await;
    let only = Wanted { models: Some(vec!["another/model".into()]), ..Wanted::default() };
    let limited = lab.holder_with("limited", 1_000_000, 1_000_000, only).await;
    let poor = lab.holder("poor", 1).await;
    let endpoints = [
        ("/chat/completions", json!({"messages": [{"role": "user", "content": "hello"}]})),
        ("/completions", json!({"prompt": "hello"})),
        ("/embeddings", json!({"input": "hello"})),
        ("/responses", json!({"input": "hello"})),
    ];
    for (path, mut body) in endpoints {
        body["model"] = MODEL.into();
        let streams = path != "/embeddings";
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        let ask = async |secret: &str, body: &Value| {
            let answer = lab.post(secret, path, body).header("idempotency-key", body.to_string()).send();
            let answer = answer.await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let expect = async |expected: u16, secret: &str, body: &Value| {
            let (status, answer) = ask(secret, body).await;
            assert_eq!(status, expected, "{path} {body}: {answer}");
        };
        let means_it = || {
            let honest = body.clone();
            lab.oracle.answers(move |asked| {
                let honest = honest.clone();
                async move { honestly(&honest, &asked) }.boxed()
            });
        };
        means_it();
        expect(200, &holder.secret, &body).await;
        expect(200, &holder.secret, &body).await; // told again
        if streams {
            expect(200, &holder.secret, &streamed).await;
        }
        let used = lab.post(&holder.secret, path, &json!({"model": MODEL, "user": "x"}));
        let used = used.header("idempotency-key", body.to_string()).send().await.unwrap();
        assert_eq!(used.status(), 409);
        expect(400, &holder.secret, &json!({"model": 7})).await;
        expect(401, "sk-earnest-nobody", &body).await;
        expect(403, &limited.secret, &body).await;
        expect(404, &holder.secret, &json!({"model": "nothing"})).await;
        expect(429, &poor.secret, &body).await;
        let large = lab.post(&holder.secret, path, &json!("x".repeat(17 << 20)));
        assert_eq!(large.send().await.unwrap().status(), 413);
        let endless =
            reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let slow =
            lab.client.post(format!("{}/v1{path}", lab.base)).bearer_auth(&holder.secret).body(endless);
        assert_eq!(slow.send().await.unwrap().status(), 408);
        // Who has no chats is ill; who does not have another path is not.
        let missing = if path == "/chat/completions" { 503 } else { 404 };
        for (answer, text, status) in [
            (422, r#"{"error":{"message":"not this","code":"its_own"}}"#, 422),
            (404, r#"{"error":{"message":"not here","code":"its_own"}}"#, missing),
            (413, r#"{"error":{"message":"too much","code":"its_own"}}"#, 413),
            (200, "nonsense", 502),
            (500, "", 503),
            (0, "late", 504),
        ] {
            // 0 stands for an answer that never comes.
            match answer {
                0 => lab.oracle.answers(|_| std::future::pending().boxed()),
                answer => lab.oracle.says(answer, "application/json", text),
            }
            let mut other = body.clone();
            other["user"] = text.into();
            expect(status, &holder.secret, &other).await;
            // One good answer between the bad ones, or the upstream would be let rest.
            means_it();
            other["user"] = format!("{text} again").into();
            expect(200, &holder.secret, &other).await;
        }
    }

    let secret = holder.secret.as_str();
    let receipts = lab.get(secret, "/earnest/receipts").await.1;
    let id: Value = serde_json::from_str(receipts["data"][0]["receipt"].as_str().unwrap()).unwrap();
    lab.round().await.unwrap();
    for (path, status) in [
        ("/v1/models".to_owned(), 200),
        (format!("/v1/models/{MODEL}"), 200),
        ("/v1/models/no/such".into(), 404),
        ("/v1/models/%ff".into(), 400),
        ("/earnest/terms".into(), 200),
        ("/earnest/balance".into(), 200),
        ("/earnest/usage".into(), 200),
        ("/earnest/usage?by=model&days=18446744073709551615".into(), 200),
        ("/earnest/usage?by=key".into(), 200),
        ("/earnest/usage?days=-1".into(), 400),
        ("/earnest/receipts".into(), 200),
        (format!("/earnest/receipts/{}", id["id"].as_str().unwrap()), 200),
        ("/earnest/receipts/none".into(), 404),
        ("/earnest/receipts/%ff".into(), 400),
        ("/earnest/statements/cash".into(), 200),
        ("/earnest/statements/gold".into(), 404),
        ("/earnest/statements/%ff".into(), 400),
        ("/earnest/statements/cash/1".into(), 200),
        ("/earnest/statements/cash/9".into(), 404),
        ("/earnest/statements/cash/-9".into(), 400),
        ("/earnest/providers".into(), 200),
        ("/earnest/provider/challenge".into(), 200),
        ("/earnest/provider".into(), 426),
        ("/metrics".into(), 200),
        ("/healthz".into(), 200),
        ("/readyz".into(), 200),
        ("/openapi.json".into(), 200),
        ("/nothing".into(), 404),
    ] {
        let (answered, answer) = lab.get(secret, &path).await;
        assert_eq!(answered, status, "{path}: {answer}");
    }
    for path in [
        "/v1/models",
        "/v1/models/x",
        "/earnest/balance",
        "/earnest/usage",
        "/earnest/receipts",
        "/earnest/receipts/x",
    ] {
        assert_eq!(lab.get("nobody", path).await.0, 401);
    }
    orders(&lab, &holder).await;
    lab.gateway.drain(Duration::ZERO).await;
    assert_eq!(lab.get("", "/readyz").await.0, 503);

    let providers = lab.description.providers.lock().unwrap().clone();
    assert!(providers.is_empty(), "{providers:#?}");
    let mut missing = Vec::new();
    let seen = lab.description.seen.lock().unwrap().clone();
    for (method, path) in described() {
        for (status, answer) in DOCUMENT["paths"][&path][&method]["responses"].as_object().unwrap() {
            let kinds = resolved(answer)["content"].as_object();
            for kind in kinds.into_iter().flatten().map(|(kind, _)| kind.clone()) {
                let of = format!("{} {path}", method.to_ascii_uppercase());
                // A broken disk is another test's, and so are a chain that cannot be asked and a provider that dials in.
                let elsewhere = status == "500"
                    || (path == "/earnest/orders" && status == "503")
                    || (path == "/earnest/provider" && status != "426");
                if !elsewhere && !seen.contains(&(of.clone(), status.clone(), kind.clone())) {
                    missing.push(format!("{of} {status} {kind}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "described, and never seen: {missing:#?}");
}

/// As a provider answers that means it.
fn honestly(plain: &Value, asked: &Value) -> Response {
    let model = "tiny";
    let usage = json!({"input_tokens": 7, "output_tokens": 1, "total_tokens": 8});
    let streams = asked["stream"] == true;
    if plain.get("prompt").is_some() {
        let choice = json!({"index": 0, "text": "word", "finish_reason": "stop"});
        let whole = json!({"object": "text_completion", "model": model, "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 1}});
        return match streams {
            true => stream(vec![format!("data: {whole}\n\n"), ending(model, 1)], Duration::ZERO),
            false => axum::Json(whole).into_response(),
        };
    }
    if plain.get("messages").is_some() {
        return match streams {
            true => stream(vec![event(model, "word"), ending(model, 1)], Duration::ZERO),
            false => axum::Json(completion(model, "word")).into_response(),
        };
    }
    if asked.get("max_output_tokens").is_none() {
        let vector = json!({"object": "embedding", "index": 0, "embedding": [0.5]});
        return axum::Json(json!({"object": "list", "model": model, "data": [vector], "usage": {"prompt_tokens": 7, "total_tokens": 7}})).into_response();
    }
    let item = json!({"type": "message", "content": [{"type": "output_text", "text": "word"}]});
    let whole = json!({"object": "response", "model": model, "output": [item], "usage": usage});
    match streams {
        true => {
            let piece = json!({"type": "response.output_text.delta", "delta": "word"});
            let last = json!({"type": "response.completed", "response": whole});
            stream(vec![format!("data: {piece}\n\n"), format!("data: {last}\n\n")], Duration::ZERO)
        }
        false => axum::Json(whole).into_response(),
    }
}

async fn orders(lab: &Lab, holder: &Holder) {
    let at = |time: u64, order: &str| {
        let digest = lab.place_of_orders(holder, order, time);
        (holder.session.sign(digest), order.to_owned(), time)
    };
    let send = async |(signature, text, time): (alloy_primitives::Bytes, String, u64)| {
        lab.order_as(&holder.channel, &text, time, &signature).await.0
    };
    let now = earnest_serve::gateway::now_ms() + 10_000;
    assert_eq!(lab.order(holder, &Order::Look).await.0, 200);
    assert_eq!(send(at(now, r#"{"do":"revoke_key","key":"none"}"#)).await, 404);
    assert_eq!(send(at(now, r#"{"do":"revoke_key","key":"none"}"#)).await, 409);
    assert_eq!(send(at(now + 1, r#"{"do":"dance"}"#)).await, 400);
    let (signature, text, time) = at(now + 2, r#"{"do":"look"}"#);
    assert_eq!(send((signature, text.replace("look", "look "), time)).await, 403);
    let url = format!("{}/earnest/orders", lab.base);
    let large = lab.client.post(&url).body("x".repeat(65 << 10)).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let endless =
        reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(lab.client.post(&url).body(endless).send().await.unwrap().status(), 408);
    // A channel without a deposit cannot have keys.
    let penniless = lab.channel("penniless", 0);
    let voucher = Some(lab.voucher(&penniless, 1));
    let order =
        Order::CreateKey { hash: Default::default(), name: "x".into(), limits: Wanted::default(), voucher };
    assert_eq!(lab.order(&penniless, &order).await.0, 429);
}
