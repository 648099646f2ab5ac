//! The built-in model over HTTP: the forms of OpenAI's interface, whole and streamed, and counts that agree.

use std::time::{Duration, Instant};

use alloy_primitives::hex;
use earnest_serve::echo::Echo;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::provider::upstream;

struct Model {
    base: String,
    client: reqwest::Client,
}

impl Model {
    async fn start(echo: Echo) -> Self {
        Model { base: upstream(echo.router()).await, client: reqwest::Client::new() }
    }

    async fn sent(&self, path: &str, body: &Value) -> reqwest::Response {
        let url = format!("{}{path}", self.base);
        self.client.post(url).body(body.to_string()).send().await.expect("an answer")
    }

    async fn asked(&self, path: &str, body: &Value) -> Value {
        let answer = self.sent(path, body).await;
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Status, parameter and code of an error in OpenAI's shape.
    async fn refused(&self, path: &str, body: &str) -> (u16, String, String) {
        let url = format!("{}{path}", self.base);
        let answer = self.client.post(url).body(body.to_string()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("JSON");
        let error = body["error"].as_object().expect("an error");
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "message", "param", "type"]);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert_eq!(error["type"], "invalid_request_error");
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_string();
        (status, text("param"), text("code"))
    }

    /// The events of a stream, and whether it was ended as chats and completions are.
    async fn streamed(&self, path: &str, mut body: Value) -> (Vec<Value>, bool) {
        body["stream"] = true.into();
        let answer = self.sent(path, &body).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"text/event-stream".parse().expect("a value"))
        );
        let text = answer.text().await.expect("text");
        let mut events = Vec::new();
        let mut done = false;
        for event in text.split_terminator("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
            assert!(!done, "nothing comes after the end");
            if data == "[DONE]" {
                done = true;
                continue;
            }
            let value: Value = serde_json::from_str(data).expect("JSON");
            if let Some(kind) = event.strip_prefix("event: ") {
                assert_eq!(kind.lines().next(), value["type"].as_str());
            }
            events.push(value);
        }
        (events, done)
    }
}

fn chat(text: &str) -> Value {
    json!({"model": "echo", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]})
}

fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("fields") };
    body.as_object_mut().expect("fields").extend(more);
    body
}

const CHAT: &str = "/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_echoed_and_counted_whole_and_streamed() {
    let model = Model::start(Echo::default()).await;
    let whole = model.asked(CHAT, &chat("Hello, you!")).await;
    let choice = &whole["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("echo: Hello, you!"), &json!("stop"))
    );
    let usage = &whole["usage"];
    // Be brief . | Hello , you ! | echo : Hello , you !
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(7), &json!(6), &json!(13))
    );
    assert!(choice["logprobs"].is_null() && choice["message"].get("tool_calls").is_none());

    for (n, limit, stop) in [(1, 100, "zzz"), (3, 4, "zzz"), (2, 100, "you")] {
        let more = json!({"n": n, "max_tokens": limit, "stop": stop, "logprobs": true, "top_logprobs": 1, "seed": 7});
        let body = with(chat("Hello, you!"), more);
        let whole = model.asked(CHAT, &body).await;
        let body = with(body, json!({"stream_options": {"include_usage": true}}));
        let (chunks, done) = model.streamed(CHAT, body).await;
        assert!(done && chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
        let (sum, chunks) = chunks.split_last().expect("chunks");
        assert_eq!((&sum["choices"], &sum["usage"]), (&json!([]), &whole["usage"]));
        assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == sum["id"]));
        let choices = whole["choices"].as_array().expect("choices");
        assert_eq!(choices.len(), n);
        for (index, choice) in choices.iter().enumerate() {
            let own: Vec<&Value> = chunks
                .iter()
                .map(|chunk| &chunk["choices"][0])
                .filter(|choice| choice["index"] == index)
                .collect();
            let text: String = own.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
            assert_eq!(text, choice["message"]["content"].as_str().expect("text"));
            assert_eq!(own.last().expect("chunks")["finish_reason"], choice["finish_reason"]);
            let logprobs: Vec<&Value> =
                own.iter().filter_map(|choice| choice["logprobs"]["content"].get(0)).collect();
            assert_eq!(json!(logprobs), choice["logprobs"]["content"]);
            let tokens: String = logprobs.iter().filter_map(|entry| entry["token"].as_str()).collect();
            assert_eq!(tokens, text);
        }
        let finish = if limit == 4 { "length" } else { "stop" };
        assert_eq!(choices[0]["finish_reason"], finish);
        assert!(!choices[0]["message"]["content"].as_str().expect("text").contains(stop));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_when_they_must_be_and_forms_are_kept() {
    let model = Model::start(Echo::default()).await;
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    let tools = json!({"tools": [tool("first"), tool("second")]});
    let body = with(chat("Bern"), tools.clone());
    assert_eq!(model.asked(CHAT, &body).await["choices"][0]["message"]["content"], "echo: Bern");
    for (choice, name) in [
        (json!("required"), "first"),
        (json!({"type": "function", "function": {"name": "second"}}), "second"),
    ] {
        let body = with(body.clone(), json!({"tool_choice": choice}));
        let whole = model.asked(CHAT, &body).await;
        let found = &whole["choices"][0];
        assert_eq!(
            (&found["finish_reason"], &found["message"]["content"]),
            (&json!("tool_calls"), &Value::Null)
        );
        let call = &found["message"]["tool_calls"][0];
        assert_eq!(call["function"], json!({"name": name, "arguments": "{\"city\":\"Bern\"}"}));
        let (chunks, _) = model.streamed(CHAT, body).await;
        let calls: Vec<&Value> =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0)).collect();
        assert_eq!(calls[0]["function"]["name"], name);
        let arguments: String =
            calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(arguments, "{\"city\":\"Bern\"}");
        assert_eq!(chunks.last().expect("chunks")["choices"][0]["finish_reason"], "tool_calls");
    }
    // Its answer to a tool's answer.
    let mut body = chat("Bern");
    body["messages"].as_array_mut().expect("messages").extend([
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "first", "arguments": "{}"}}]}),
        json!({"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]}),
    ]);
    assert_eq!(model.asked(CHAT, &body).await["choices"][0]["message"]["content"], "echo: sunny");

    let text = |whole: &Value| whole["choices"][0]["message"]["content"].as_str().expect("text").to_string();
    let body = with(chat("Bern"), json!({"response_format": {"type": "json_object"}}));
    assert_eq!(text(&model.asked(CHAT, &body).await), "{\"echo\":\"Bern\"}");
    let schema = json!({"name": "place", "strict": true, "schema": parameters});
    let body = with(chat("Bern"), json!({"response_format": {"type": "json_schema", "json_schema": schema}}));
    assert_eq!(text(&model.asked(CHAT, &body).await), "{\"city\":\"echo: Bern\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_embeddings_follow_from_their_texts() {
    let model = Model::start(Echo::default()).await;
    let body = json!({"model": "echo", "prompt": ["one", [1, 2], "two three"], "n": 2, "logprobs": 1, "max_tokens": 3});
    let whole = model.asked("/completions", &body).await;
    let texts: Vec<&str> = whole["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .map(|choice| choice["text"].as_str().expect("text"))
        .collect();
    assert_eq!(texts, ["echo: one", "echo: one", "echo: 1", "echo: 1", "echo: two", "echo: two"]);
    assert_eq!(whole["choices"][2]["finish_reason"], "length");
    assert_eq!(whole["choices"][0]["logprobs"]["text_offset"], json!([0, 4, 5]));
    assert_eq!(whole["usage"], json!({"prompt_tokens": 5, "completion_tokens": 18, "total_tokens": 23}));
    let (chunks, done) =
        model.streamed("/completions", with(body, json!({"stream_options": {"include_usage": true}}))).await;
    assert!(done);
    assert_eq!(chunks.last().expect("chunks")["usage"], whole["usage"]);
    for (index, text) in texts.iter().enumerate() {
        let own = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        assert_eq!(own.filter_map(|choice| choice["text"].as_str()).collect::<String>(), **text);
    }

    let body = json!({"model": "echo", "input": ["a cat", "a dog", "a cat"], "dimensions": 40});
    let whole = model.asked("/embeddings", &body).await;
    let vector = |index: usize| -> Vec<f64> {
        serde_json::from_value(whole["data"][index]["embedding"].clone()).expect("numbers")
    };
    assert_eq!((vector(0).len(), vector(0) == vector(2), vector(0) == vector(1)), (40, true, false));
    let length: f64 = vector(1).iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    assert_eq!(whole["usage"], json!({"prompt_tokens": 6, "total_tokens": 6}));
    let packed = model.asked("/embeddings", &with(body, json!({"encoding_format": "base64"}))).await;
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed["data"][0]["embedding"].as_str().expect("text"))
        .expect("base64");
    let numbers: Vec<f64> =
        bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four))).collect();
    assert!(numbers.iter().zip(vector(0)).all(|(a, b)| (a - b).abs() < 1e-6), "{}", hex::encode(bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_the_same_whole_and_streamed() {
    let model = Model::start(Echo::default()).await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = json!({"type": "function", "name": "look", "parameters": parameters});
    let format = json!({"format": {"type": "json_schema", "name": "place", "schema": parameters}});
    let long =
        json!([{"role": "user", "content": [{"type": "input_text", "text": "Bern"}]}, {"type": "reasoning"}]);
    for (more, status, text) in [
        (json!({"input": "Bern"}), "completed", "echo: Bern"),
        (json!({"input": long, "instructions": "Be brief."}), "completed", "echo: Bern"),
        (json!({"input": "Bern is a city", "max_output_tokens": 3}), "incomplete", "echo: Bern"),
        (json!({"input": "Bern", "text": format}), "completed", "{\"city\":\"echo: Bern\"}"),
        (
            json!({"input": "Bern", "tools": [tool], "tool_choice": "required"}),
            "completed",
            "{\"city\":\"Bern\"}",
        ),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "Bern"}]}),
            "completed",
            "echo: Bern",
        ),
    ] {
        let body = with(json!({"model": "echo"}), more);
        let whole = model.asked("/responses", &body).await;
        assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!(status)), "{body}");
        let item = &whole["output"][0];
        let found = if item["type"] == "message" { &item["content"][0]["text"] } else { &item["arguments"] };
        assert_eq!(found, text);
        let usage = &whole["usage"];
        let (read, written) = (usage["input_tokens"].as_u64(), usage["output_tokens"].as_u64());
        assert_eq!(usage["total_tokens"].as_u64(), read.zip(written).map(|(read, written)| read + written));
        let (events, done) = model.streamed("/responses", body).await;
        assert!(!done, "the last event is the end");
        let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
        assert!(numbers.iter().copied().eq(0..events.len() as u64));
        let deltas =
            events.iter().filter(|event| event["type"].as_str().is_some_and(|kind| kind.ends_with(".delta")));
        assert_eq!(deltas.clone().filter_map(|event| event["delta"].as_str()).collect::<String>(), text);
        assert_eq!(Some(deltas.count() as u64), written);
        let last = events.last().expect("events");
        assert_eq!(
            (&last["type"], &last["response"]["usage"]),
            (&json!(format!("response.{status}")), usage)
        );
        assert_eq!(events[0]["response"]["status"], "in_progress");
    }
    let refused =
        model.refused("/responses", r#"{"model":"echo","input":"x","previous_response_id":"resp_1"}"#).await;
    assert_eq!(refused, (400, "previous_response_id".into(), "invalid_value".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_in_the_shape_that_clients_know() {
    let model = Model::start(Echo::default()).await;
    for (path, body, expected) in [
        (CHAT, "", (400, "", "")),
        (CHAT, "[]", (400, "", "")),
        (CHAT, "{\"model\":\"echo\"", (400, "", "")),
        (CHAT, "{}", (400, "model", "missing_required_parameter")),
        (CHAT, r#"{"model":"echo"}"#, (400, "messages", "missing_required_parameter")),
        (CHAT, r#"{"model":"gpt","messages":[]}"#, (404, "model", "model_not_found")),
        (CHAT, r#"{"model":7}"#, (400, "model", "invalid_value")),
        (CHAT, r#"{"model":"echo","messages":[]}"#, (400, "messages", "invalid_value")),
        (CHAT, r#"{"model":"echo","messages":"hi"}"#, (400, "messages", "invalid_value")),
        (CHAT, r#"{"model":"echo","messages":[7]}"#, (400, "messages[0].role", "invalid_value")),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user","content":7}]}"#,
            (400, "messages[0].content", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user","content":[7]}]}"#,
            (400, "messages[0].content[0]", "invalid_value"),
        ),
        (CHAT, r#"{"model":"echo","messages":[{"role":"user"}],"n":0}"#, (400, "n", "invalid_value")),
        (CHAT, r#"{"model":"echo","messages":[{"role":"user"}],"n":1.5}"#, (400, "n", "invalid_value")),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"max_tokens":0}"#,
            (400, "max_tokens", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"temperature":3}"#,
            (400, "temperature", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"stream":"yes"}"#,
            (400, "stream", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"stream_options":{}}"#,
            (400, "stream_options", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"top_logprobs":2}"#,
            (400, "top_logprobs", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"tool_choice":"required"}"#,
            (400, "tool_choice", "invalid_value"),
        ),
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user"}],"response_format":{"type":"xml"}}"#,
            (400, "response_format", "invalid_value"),
        ),
        ("/completions", r#"{"model":"echo","prompt":[]}"#, (400, "prompt", "invalid_value")),
        ("/embeddings", r#"{"model":"echo","input":""}"#, (400, "input", "invalid_value")),
        ("/embeddings", r#"{"model":"echo","input":["a",""]}"#, (400, "input", "invalid_value")),
        (
            "/embeddings",
            r#"{"model":"echo","input":"a","dimensions":0}"#,
            (400, "dimensions", "invalid_value"),
        ),
        (
            "/embeddings",
            r#"{"model":"echo","input":"a","encoding_format":"hex"}"#,
            (400, "encoding_format", "invalid_value"),
        ),
        ("/responses", r#"{"model":"echo","input":[]}"#, (400, "input", "invalid_value")),
        ("/nowhere", "{}", (404, "", "")),
        ("/models", "{}", (404, "", "")),
    ] {
        let (status, param, code) = model.refused(path, body).await;
        assert_eq!((status, param.as_str(), code.as_str()), expected, "{path} {body}");
    }
    let get = |path: &str| model.client.get(format!("{}{path}", model.base)).send();
    let list: Value = get("/models").await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&list["data"][0]["id"], list["data"].as_array().map(Vec::len)), (&json!("echo"), Some(1)));
    assert!(list["data"][0]["description"].as_str().is_some_and(|words| words.contains("no language model")));
    assert_eq!(get("/models/echo").await.expect("an answer").status(), 200);
    assert_eq!(get("/models/other").await.expect("an answer").status(), 404);
    assert_eq!(get("/chat/completions").await.expect("an answer").status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_body_has_an_answer_or_a_refusal() {
    let model = Model::start(Echo::default()).await;
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let bodies = [
        (
            CHAT,
            r#"{"model":"echo","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],"n":2,"stop":["x"],"stream":false,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":3}}}}}],"tool_choice":"required","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"anyOf":[{"type":"null"}]}}}}"#,
        ),
        ("/completions", r#"{"model":"echo","prompt":["a",[1,2]],"logprobs":3,"max_tokens":4,"n":2}"#),
        ("/embeddings", r#"{"model":"echo","input":["a","b"],"dimensions":8,"encoding_format":"base64"}"#),
        (
            "/responses",
            r#"{"model":"echo","input":[{"role":"user","content":"Hi"}],"text":{"format":{"type":"json_object"}},"max_output_tokens":9,"stream":true}"#,
        ),
    ];
    let mut answered = 0;
    for _ in 0..4_000 {
        let (path, body) = bodies[random.random_range(0..4)];
        let mut bytes = body.as_bytes().to_vec();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random_range(32..127),
                1 => bytes.insert(at, b"{}[]\",:0-9ntf"[random.random_range(0..13)]),
                2 => bytes[at] = random.random(),
                _ => drop(bytes.remove(at)),
            }
        }
        let url = format!("{}{path}", model.base);
        let answer = model.client.post(url).body(bytes.clone()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        assert!([200, 400, 404].contains(&status), "{status}: {}", String::from_utf8_lossy(&bytes));
        answered += usize::from(status == 200);
        answer.bytes().await.expect("all of it");
    }
    assert!(answered > 200, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_at_the_pace_it_is_given() {
    let pace = Echo {
        delay_first: Duration::from_millis(100),
        delay_token: Duration::from_millis(20),
        ..Echo::default()
    };
    let model = Model::start(pace).await;
    let begun = Instant::now();
    let mut answer = model.sent(CHAT, &with(chat("one two three four"), json!({"stream": true}))).await;
    let mut times = Vec::new();
    while let Some(chunk) = answer.chunk().await.expect("no break") {
        if String::from_utf8_lossy(&chunk).contains("\"content\":\"") {
            times.push(begun.elapsed());
        }
    }
    // The role, then six model tokens; the last of them 100 + 5 × 20 ms after the request.
    assert!(times.len() >= 6 && times[0] < Duration::from_millis(90), "{times:?}");
    assert!(*times.last().expect("times") >= Duration::from_millis(200), "{times:?}");
    let begun = Instant::now();
    model.asked(CHAT, &chat("one two three four")).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(600), "{took:?}");
}
