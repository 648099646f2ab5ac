use super::*;
use serde_json::{Value, json};

fn read(endpoint: Endpoint, body: &str) -> Result<Asked, BadRequest> {
    Asked::read(endpoint, body.to_owned().into_bytes().into(), &Dialect::default(), 100)
}

fn sent(asked: &Asked, dialect: &Dialect, added: Added) -> String {
    String::from_utf8(asked.body(dialect, added).to_vec()).unwrap()
}

fn plainly(endpoint: Endpoint, body: &str) -> String {
    sent(
        &read(endpoint, body).unwrap_or_else(|why| panic!("{body}: {why}")),
        &Dialect::default(),
        Added::default(),
    )
}

#[test]
fn what_is_not_ours_passes_as_it_came() {
    let body = r#" {"messages":[{"role":"user","content":"h\u00e9 \ud83d"}], "max_tokens": 5,"model":"a","zzz":1.00}"#;
    assert_eq!(plainly(Endpoint::Chat, body), body);
    let most = read(Endpoint::Chat, body).unwrap().most;
    assert_eq!(most.usage, Usage { input: body.len() as u64 + 64, cached: 0, output: 5 });
    let called = Dialect { upstream: "b/\"c\"".into(), ..Dialect::default() };
    let asked = read(Endpoint::Chat, body).unwrap();
    assert_eq!(sent(&asked, &called, Added::default()), body.replace("\"a\"", r#""b/\"c\"""#));
}

#[test]
fn a_bound_and_the_usage_are_asked_for_where_the_request_does_not() {
    for (endpoint, body, goes) in [
        (
            Endpoint::Chat,
            r#"{"model":"a","stream":true,"n":3}"#,
            r#"{"max_tokens":100,"stream_options":{"include_usage":true},"model":"a","stream":true,"n":3}"#,
        ),
        (
            Endpoint::Chat,
            r#"{"model":"a","stream":true,"max_tokens":9,"stream_options":{"x":1,"include_usage":true}}"#,
            r#"{"model":"a","stream":true,"max_tokens":9,"stream_options":{"x":1,"include_usage":true}}"#,
        ),
        (
            Endpoint::Chat,
            r#"{"model":"a","stream":true,"max_tokens":9,"stream_options":{"x":1},"y":2}"#,
            r#"{"model":"a","stream":true,"max_tokens":9,"stream_options":{"include_usage":true,"x":1},"y":2}"#,
        ),
        (
            Endpoint::Chat,
            r#"{"stream_options":null,"model":"a","stream":true,"max_tokens":9}"#,
            r#"{"stream_options":{"include_usage":true},"model":"a","stream":true,"max_tokens":9}"#,
        ),
        (
            Endpoint::Chat,
            r#"{"max_tokens":null,"model":"a","stream":true , "stream_options":null }"#,
            r#"{"max_tokens":100,"stream_options":{"include_usage":true},"model":"a","stream":true }"#,
        ),
        // Not every server knows both names.
        (
            Endpoint::Chat,
            r#"{"model":"a","max_completion_tokens":7}"#,
            r#"{"max_tokens":7,"model":"a","max_completion_tokens":7}"#,
        ),
        (
            Endpoint::Responses,
            r#"{"model":"a","stream":null}"#,
            r#"{"max_output_tokens":100,"stream":false,"model":"a"}"#,
        ),
        (Endpoint::Embeddings, r#"{"model":"a","input":"b"}"#, r#"{"model":"a","input":"b"}"#),
    ] {
        assert_eq!(plainly(endpoint, body), goes);
    }
    assert_eq!(read(Endpoint::Chat, r#"{"model":"a","n":3}"#).unwrap().most.usage.output, 300);
    assert_eq!(read(Endpoint::Responses, r#"{"model":"a","max_output_tokens":4}"#).unwrap().most.each, 16);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for body in [
        "",
        "[]",
        r#"["a",true]"#,
        "null",
        "{",
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","\u006dodel":"b"}"#,
        r#"{"model":"a","max_tokens":1,"max_tokens":100000}"#,
        r#"{"model":"a","n":1000}"#,
        r#"{"model":"a","max_tokens":-1}"#,
        r#"{"model":"a","max_tokens":0}"#,
        r#"{"model":"a","max_tokens":"9"}"#,
        r#"{"model":"a","max_tokens":1e400}"#,
        r#"{"model":"a","stream":"yes"}"#,
        r#"{"model":"a","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
        r#"{"model":"a","background":true}"#,
        r#"{"model":"a","Model":"b"}"#,
        r#"{"model":"a","\u017ftream":true}"#,
        r#"{"model":"a","Max_Tokens":9}"#,
        r#"{"model":"a","maxTokens":9}"#,
        r#"{"model":"a","N":9}"#,
        r#"{"model":""}"#,
        r#"{"model":7}"#,
        "{}",
        "{\"model\":\"a\"}x",
    ] {
        assert!(read(Endpoint::Chat, body).is_err(), "{body}");
    }
}

#[test]
fn what_changes_the_cost_counts_or_is_refused_by_its_name() {
    for (field, value) in [
        ("extra_body", json!({"n_predict": 2000})),
        ("options", json!({"num_predict": -1})),
        ("generation_config", json!("{\"max_new_tokens\":24}")),
        ("fallbacks", json!(["b"])),
        ("models", json!(["b"])),
        ("api_base", json!("http://elsewhere")),
        ("previous_response_id", json!("r")),
        ("conversation", json!("c")),
        ("max_response_tokens", json!(9)),
        ("num_samples", json!(9)),
        ("thinking_budget", json!(9)),
        ("fallback_models", json!(["b"])),
        ("enable_web_search", json!(true)),
        ("timeout", json!(0.001)),
        ("service_tier", json!("priority")),
        ("tools", json!([{"type": "web_search"}])),
        ("tools", json!([{"google_search": {}}])),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}, {"type": "mcp"}])),
        ("prompt", json!([{"prompt_string": "a"}, {"prompt_string": "b"}])),
        ("prompt", json!({"id": "p"})),
    ] {
        let mut body = json!({"model": "a"});
        body[field] = value;
        let refused = read(Endpoint::Completions, &body.to_string()).expect_err(field);
        assert_eq!(refused.field.as_deref(), Some(field), "{body}: {refused}");
        // Null is nothing, and the operator may allow it.
        let allow = Dialect { allow: vec![field.into()], ..Dialect::default() };
        let asked = Asked::read(Endpoint::Chat, body.to_string().into_bytes().into(), &allow, 9);
        assert!(asked.is_ok() || field == "prompt", "{field}");
    }
    for (field, value, output) in [
        ("n_predict", json!(2000), 2000),
        ("min_tokens", json!(300), 300),
        ("max_tokens", json!(5.0), 5),
        ("n", json!(7), 700),
        ("num_return_sequences", json!(3), 300),
        ("prompt", json!(["a", "b", "c"]), 300),
        ("prompt", json!([[1, 2], [3]]), 200),
        ("prompt", json!([1, 2, 3]), 100),
        ("min_p", json!(0.1), 100),
        ("skip_special_tokens", json!(true), 100),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}]), 100),
    ] {
        let mut body = json!({"model": "a"});
        body[field] = value;
        let asked =
            read(Endpoint::Completions, &body.to_string()).unwrap_or_else(|why| panic!("{body}: {why}"));
        assert_eq!(asked.most.usage.output, output, "{body}");
    }
}

/// Addresses stand in many places that no model looks behind.
#[test]
fn an_address_is_text_where_nothing_is_fetched() {
    let most = |more: Value| {
        let mut body = json!({"model": "a", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = body.to_string();
        let most = read(Endpoint::Chat, &text).unwrap().most;
        (most.usage.input - text.len() as u64, most.read.estimate())
    };
    let schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "enum": vec!["https://example.org/a"; 500]});
    for more in [
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}),
        json!({"functions": [{"name": "f", "parameters": schema}]}),
        json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}),
        json!({"messages": [{"role": "assistant", "content": "see", "annotations":
            vec![json!({"type": "url_citation", "url_citation": {"url": "https://example.org/a.pdf", "title": "t"}}); 500]}]}),
    ] {
        let (room, estimate) = most(more.clone());
        assert_eq!(room, 64, "{more}");
        assert!((500..12_000).contains(&estimate), "{estimate}");
    }
    // Text that begins like an address, or like data, is text.
    for begin in ["http://a ", "data:;base64,"] {
        let (_, estimate) = most(
            json!({"messages": [{"role": "user", "content": begin.to_owned() + &"some words ".repeat(1_000)}]}),
        );
        assert!(estimate > 1_500, "{begin}: {estimate}");
    }
}

#[test]
fn what_makes_more_of_a_request_than_can_be_read_is_refused() {
    let chat = |more: Value| {
        let mut body = json!({"model": "a", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(Endpoint::Chat, &body.to_string())
    };
    for field in ["chat_template", "prompt_template", "prompt_id", "mm_processor_kwargs", "media_io_kwargs"] {
        let why = chat(json!({field: "{% for i in range(100000) %}hi {% endfor %}"})).unwrap_err();
        assert_eq!(why.field.as_deref(), Some(field));
    }
    assert!(chat(json!({"chat_template_kwargs": {"chat_template": "x"}})).is_err());
    assert!(chat(json!({"chat_template_kwargs": {"enable_thinking": false}})).is_ok());
    let responses =
        |input: Value| read(Endpoint::Responses, &json!({"model": "a", "input": input}).to_string());
    for kept in [
        json!([{"id": "rs_1"}]),
        json!([{"type": "reasoning", "id": "rs_1"}]),
        json!(["hi", {"id": "m", "role": "user"}]),
    ] {
        assert_eq!(responses(kept.clone()).unwrap_err().field.as_deref(), Some("input"), "{kept}");
    }
    for whole in [
        json!([{"id": "m", "role": "user", "content": "hi"}]),
        json!([{"type": "reasoning", "id": "rs_1", "summary": []}]),
        json!([{"type": "function_call", "id": "f", "call_id": "c", "name": "n", "arguments": "{}"}]),
    ] {
        assert!(responses(whole.clone()).is_ok(), "{whole}");
    }
    let unset = json!({"model": "a", "input": "hi", "previous_response_id": ""});
    assert!(read(Endpoint::Responses, &unset.to_string()).is_ok());
}

#[test]
fn a_request_has_only_so_many_fields() {
    let body = |fields: usize, value: &str| {
        let more: String = (0..fields).map(|number| format!(",\"max_tokens_of_{number}\":{value}")).collect();
        format!("{{\"model\":\"a\"{more}}}")
    };
    assert!(read(Endpoint::Chat, &body(255, "null")).is_ok());
    let why = read(Endpoint::Chat, &body(1_000_000, "null")).unwrap_err().why;
    assert!(why.contains("more than 256 fields"), "{why}");
}

#[test]
fn pictures_and_what_is_kept_have_room_in_the_reserve() {
    let asks = |content: Value| {
        let body = json!({"model": "a", "messages": [{"role": "user", "content": content}]}).to_string();
        let most = read(Endpoint::Chat, &body).unwrap().most;
        most.usage.input - body.len() as u64 - 64
    };
    assert_eq!(asks(json!("see https://example.org/x and data: y")), 0);
    assert_eq!(asks(json!([{"type": "text", "text": "https://example.org"}])), 0);
    const PICTURE: u64 = 16_384;
    for url in ["https://example.org/x.png", "HTTPS://example.org", "gs://b/x"] {
        assert_eq!(asks(json!([{"type": "image_url", "image_url": {"url": url}}])), PICTURE, "{url}");
        assert_eq!(asks(json!([{"type": "video_url", "video_url": {"url": url}}])), 16 * PICTURE, "{url}");
    }
    assert_eq!(asks(json!([{"type": "input_image", "image_url": "https://x"}])), PICTURE);
    assert_eq!(asks(json!([{"type": "input_file", "file_url": "https://x"}])), 16 * PICTURE);
    assert_eq!(asks(json!([{"type": "video", "video": ["https://a", "https://b"]}])), 32 * PICTURE);
    assert_eq!(asks(json!([{"type": "image", "source": {"type": "url", "url": "https://a"}}])), PICTURE);
    // What is no picture says so itself.
    for url in ["https://x/doc.PDF?a=b", "gs://b/film.mp4"] {
        assert_eq!(asks(json!([{"type": "image_url", "image_url": {"url": url}}])), 16 * PICTURE, "{url}");
    }
    let pdf = json!([{"type": "image_url", "image_url": {"url": format!("data:application/pdf;base64,{}", "A".repeat(1 << 20))}}]);
    let pdf = json!({"model": "a", "messages": [{"role": "user", "content": pdf}]});
    assert!(read(Endpoint::Chat, &pdf.to_string()).unwrap().most.usage.input > 16 * PICTURE);
    assert_eq!(asks(json!([{"type": "file", "file": {"file_data": "JVBERi0="}}])), PICTURE);
    // What is sent along is not read byte by byte, however long; text that looks like it may be.
    let url = format!("data:image/png;base64,{}", "A".repeat(1 << 20));
    let picture = json!({"model": "a", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
    let most = read(Endpoint::Chat, &picture.to_string()).unwrap().most;
    assert!((PICTURE..PICTURE + 300).contains(&most.usage.input), "{most:?}");
    assert_eq!(asks(json!([{"type": "text", "text": url}])), PICTURE);
    let sound =
        json!([{"type": "input_audio", "input_audio": {"data": "A".repeat(1 << 20), "format": "wav"}}]);
    let sound = json!({"model": "a", "messages": [{"role": "user", "content": sound}]});
    let most = read(Endpoint::Chat, &sound.to_string()).unwrap().most;
    assert!((16 * PICTURE..16 * PICTURE + 300).contains(&most.usage.input), "{most:?}");
    let kept = Dialect { state: Some(50_000), ..Dialect::default() };
    let most = |body: &str| {
        Asked::read(Endpoint::Responses, body.to_owned().into_bytes().into(), &kept, 9)
            .unwrap()
            .most
            .usage
            .input
    };
    assert!(most(r#"{"model":"a","input":"hi"}"#) < 200);
    assert!(most(r#"{"model":"a","input":"hi","previous_response_id":"r"}"#) > 50_000);
}

#[test]
fn settings_decide_which_name_bounds_and_what_is_left_out() {
    let asked =
        read(Endpoint::Chat, r#"{"seed":1,"model":"a","max_tokens":5,"stream":true,"user":"u"}"#).unwrap();
    let reasons = Dialect {
        bound: Bound::MaxCompletionTokens,
        usage: false,
        drop: vec!["seed".into(), "user".into()],
        ..Dialect::default()
    };
    assert_eq!(
        sent(&asked, &reasons, Added::default()),
        r#"{"max_completion_tokens":5,"model":"a","stream":true}"#
    );
    let asked = read(Endpoint::Chat, r#"{"model":"a"}"#).unwrap();
    assert_eq!(
        sent(&asked, &Dialect { bound: Bound::None, ..reasons }, Added::default()),
        r#"{"model":"a"}"#
    );
}

#[test]
fn a_refusal_takes_away_only_what_was_added_and_named() {
    let says = |message: &str| Fault { message: Some(message.into()), ..Fault::default() };
    let (plain, none) = (Dialect::default(), Added::default());
    let asked = read(Endpoint::Chat, r#"{"model":"a","stream":true}"#).unwrap();
    let less = asked.without(&plain, none, &says("'max_tokens' is not supported with this model")).unwrap();
    assert!(sent(&asked, &plain, less).starts_with(r#"{"max_completion_tokens":100,"#) && less.is_kept());
    assert_eq!(
        asked.without(&plain, less, &says("max_completion_tokens is unknown")),
        None,
        "a bound there is"
    );
    let usage = asked.without(&plain, none, &says("stream_options: extra inputs are not permitted")).unwrap();
    assert_eq!(sent(&asked, &plain, usage), r#"{"max_tokens":100,"model":"a","stream":true}"#);
    // What does not fit the context is bounded by it, this once.
    let once =
        asked.without(&plain, none, &says("max_tokens is too large: 100, the context has 90 left")).unwrap();
    assert!(!once.is_kept() && !sent(&asked, &plain, once).contains("max_tokens"));
    assert_eq!(asked.without(&plain, none, &says("temperature is wrong")), None);
    // An echo of what the holder said says nothing.
    for body in
        [r#"{"model":"a","tool_choice":"max_tokens"}"#, r#"{"model":"a","tool_choice":"max\u005ftokens"}"#]
    {
        let asked = read(Endpoint::Chat, body).unwrap();
        assert_eq!(asked.without(&plain, none, &says("tool_choice is 'max_tokens'")), None);
    }
    // The client's own bound is the client's.
    let own = read(Endpoint::Chat, r#"{"model":"a","max_tokens":5}"#).unwrap();
    assert_eq!(own.without(&plain, none, &says("max_tokens is not supported")), None);
}
