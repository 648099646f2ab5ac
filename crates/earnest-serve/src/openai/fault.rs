//! What a server says went wrong, in whatever shape it says so: OpenAI's own, FastAPI's, Gemini's, Azure's, plain text or
//! a page. The reason is kept, and whose trouble it is decided.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Bytes of a reason at most.
const LONGEST: usize = 2_000;

/// A server's refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// In words.
    pub message: Option<String>,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.code`, where it is a word.
    pub code: Option<String>,
    /// The status that the body names.
    pub status: Option<u16>,
    /// The wait that the body names.
    pub wait: Option<Duration>,
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The request's, by what the server says.
    Request,
    /// The server's, for now: it has too much to do.
    Busy,
    /// The server's own.
    Server,
}

/// The same in what they write for people.
const OWN_WORDS: [&str; 7] = [
    "credit balance",
    "api key",
    "billing",
    "insufficient balance",
    "insufficient credit",
    "your quota",
    "your plan",
];
/// Words by which servers name trouble of their own in a 400.
const OWN: [&str; 21] = [
    "invalid_model",
    "model_decommissioned",
    "organization_restricted",
    "api_key_invalid",
    "invalid_api_key",
    "insufficient_quota",
    "insufficient_balance",
    "billing_not_active",
    "billing_hard_limit_reached",
    "arrearage",
    "account_deactivated",
    "access_terminated",
    "model_not_found",
    "model_not_found_error",
    "deploymentnotfound",
    "operationnotsupported",
    "failed_precondition",
    "permission_denied",
    "unauthenticated",
    "not_found_error",
    "unsupported_country_region_territory",
];

/// Of those, what says that a model is not there.
const MODEL_MISSING: [&str; 4] =
    ["invalid_model", "model_not_found", "model_not_found_error", "deploymentnotfound"];
/// The same in what they write for people, which begins with it: further on, a client's own words may stand.
const MODEL_MISSING_WORDS: [&str; 5] =
    ["invalid model name", "not a valid model id", "unknown model", "model not found", "no such model"];
/// Letters that are looked at for it.
const BEGINNING: usize = 200;

impl Fault {
    /// Reads a body, or the data of an event that says it is an error.
    pub fn read(body: &[u8]) -> Fault {
        let mut fault = match serde_json::from_slice::<Value>(body) {
            Ok(value) => Fault::of(&value),
            Err(_) => Fault { message: one_line(&String::from_utf8_lossy(body)), ..Fault::default() },
        };
        fault.wait = fault.wait.or_else(|| wait_in_words(fault.message.as_deref()?));
        fault
    }

    fn of(value: &Value) -> Fault {
        let mut fault = Fault::default();
        fault.take(value, 0);
        fault
    }

    fn take(&mut self, value: &Value, depth: u32) {
        if depth > 8 {
            return;
        }
        match value {
            Value::String(text) => {
                // Some put a whole refusal, as text, into another.
                match serde_json::from_str::<Value>(text) {
                    Ok(within @ (Value::Object(_) | Value::Array(_))) => self.take(&within, depth + 1),
                    _ => {
                        self.message.get_or_insert_with(|| one_line(text).unwrap_or_default());
                    }
                }
            }
            Value::Array(all) => {
                if let Some(told) = details(all) {
                    self.message.get_or_insert(told);
                    if self.param.is_none() {
                        self.param = all.iter().find_map(|one| place(&one["loc"]));
                    }
                }
                for one in all.iter().take(4) {
                    self.take(one, depth + 1);
                }
            }
            Value::Object(fields) => {
                for name in ["error", "errors", "detail", "base_resp", "choices"] {
                    if let Some(within @ (Value::Object(_) | Value::Array(_) | Value::String(_))) =
                        fields.get(name)
                    {
                        self.take(within, depth + 1);
                    }
                }
                for name in
                    ["message", "msg", "status_msg", "reason", "error_description", "title", "details"]
                {
                    if self.message.is_none()
                        && let Some(within @ (Value::String(_) | Value::Object(_))) = fields.get(name)
                    {
                        self.take(within, depth + 1);
                    }
                }
                let word =
                    |name: &str| fields.get(name).and_then(Value::as_str).map(|word| clipped(word, 200));
                for (place, name) in [(&mut self.param, "param"), (&mut self.code, "code")] {
                    if place.is_none() {
                        *place = word(name);
                    }
                }
                if self.kind.is_none() {
                    self.kind = word("type").or_else(|| word("error_type")).or_else(|| word("status"));
                }
                if self.status.is_none() {
                    let number = |name: &str| {
                        let value = fields.get(name)?;
                        let status = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
                        u16::try_from(status).ok().filter(|status| (400..600).contains(status))
                    };
                    self.status = number("code")
                        .or_else(|| number("status"))
                        .or_else(|| number("statusCode"))
                        .or_else(|| number("status_code"));
                }
                for inner in ["innererror", "metadata", "details"] {
                    if let Some(Value::Object(within)) = fields.get(inner)
                        && self.code.is_none()
                    {
                        self.code = within.get("code").and_then(Value::as_str).map(|word| clipped(word, 200));
                    }
                }
                if let (Some(Value::Array(all)), None) = (fields.get("details"), &self.code) {
                    self.code =
                        all.iter().find_map(|one| one["reason"].as_str()).map(|word| clipped(word, 200));
                }
                if let Some(Value::Array(all)) = fields.get("details") {
                    self.wait =
                        self.wait.or_else(|| all.iter().find_map(|one| span(one["retryDelay"].as_str()?)));
                }
                for name in ["retry_after", "estimated_time"] {
                    if let Some(wait) = fields.get(name).and_then(Value::as_f64) {
                        self.wait = self.wait.or_else(|| Duration::try_from_secs_f64(wait).ok());
                    }
                }
                // MiniMax counts its own way, in a 200.
                self.status = self.status.or(match fields.get("status_code").and_then(Value::as_u64) {
                    Some(1002 | 1039 | 1041) => Some(429),
                    Some(1026 | 2013) => Some(400),
                    _ => None,
                });
                let kind = self.kind.as_deref();
                if self.status.is_none() && matches!(kind, Some("BadRequestError" | "invalid_request_error"))
                {
                    self.status = Some(400);
                }
            }
            _ => {}
        }
    }

    /// Whether it blames a field.
    pub fn names(&self, field: &str) -> bool {
        let whole = |text: &str| {
            text.match_indices(field).any(|(at, _)| {
                let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let before = text[..at].chars().next_back().is_some_and(letter);
                let behind = text[at + field.len()..].chars().next().is_some_and(letter);
                !before && !behind
            })
        };
        match &self.param {
            Some(param) => whole(param) || (param == "stream_options" && field == "include_usage"),
            None => self.message.as_deref().is_some_and(whole),
        }
    }

    /// Whether it says that something is more than there is room for.
    pub fn is_too_much(&self) -> bool {
        let words = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        ["context", "too large", "too long", "too many", "exceed", "greater than"]
            .iter()
            .any(|word| words.contains(word))
    }

    /// Whether it speaks of the server's own money, keys or models.
    pub fn is_own(&self) -> bool {
        self.is_of_its_account() || self.lacks_the_model()
    }

    /// Whether it says that the model is not there. The gateway chose the name that the server was asked for.
    fn lacks_the_model(&self) -> bool {
        let words = self.message.as_deref().unwrap_or_default();
        let beginning: String = words.chars().take(BEGINNING).collect();
        let beginning = beginning.to_ascii_lowercase();
        self.param.as_deref() == Some("model")
            || MODEL_MISSING_WORDS.iter().any(|words| beginning.contains(words))
    }

    fn is_of_its_account(&self) -> bool {
        let said = [&self.code, &self.kind].into_iter().flatten();
        let own = said.map(|word| word.to_ascii_lowercase()).any(|word| OWN.contains(&word.as_str()));
        let words = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        own || OWN_WORDS.iter().any(|word| words.contains(word))
    }

    /// Whether it says that the server does not have what was sent to: the path, not the model that was asked for there.
    pub fn is_of_the_path(&self, status: StatusCode) -> bool {
        let mut said = [&self.code, &self.kind].into_iter().flatten().map(|word| word.to_ascii_lowercase());
        let words = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        let missing = ["not exist", "not found"].iter().any(|missing| words.contains(missing));
        let named = ["model", "account", "deployment"].iter().any(|name| words.contains(name));
        let of_the_model = said.any(|word| MODEL_MISSING.contains(&word.as_str())) || missing && named;
        matches!(status.as_u16(), 404 | 405 | 501) && !of_the_model && !self.is_of_a_field()
    }

    /// Whether it names a field of the request other than the model, such as the `input` with an item that is not kept there.
    fn is_of_a_field(&self) -> bool {
        self.param.as_deref().is_some_and(|param| !param.is_empty() && param != "model")
    }

    /// Whose trouble a status, with this body, is.
    pub fn whose(&self, status: StatusCode) -> Whose {
        let own = self.is_own();
        let words = self.message.as_deref().unwrap_or_default();
        match status.as_u16() {
            // One proxy's way to say that a minute has too many model tokens.
            413 if self.code.as_deref() == Some("rate_limit_exceeded") => Whose::Busy,
            // Nothing says that the request is at fault.
            400 | 422 if *self == Fault::default() => Whose::Server,
            // Another server's moderation may be milder, and is not the client's to find out.
            403 if words.contains("moderation") || words.contains("flagged") => Whose::Request,
            400 | 413 | 414 | 415 | 416 | 422 | 431 if !own => Whose::Request,
            404 if !own && self.is_of_a_field() => Whose::Request,
            429 | 503 | 529 if !self.is_of_its_account() => Whose::Busy,
            _ => Whose::Server,
        }
    }
}

/// What FastAPI says: where, and what is wrong there.
fn details(all: &[Value]) -> Option<String> {
    let told: Vec<String> = all
        .iter()
        .filter_map(|one| {
            let what = one["msg"].as_str()?;
            Some(match place(&one["loc"]) {
                Some(place) => format!("{place}: {what}"),
                None => what.to_owned(),
            })
        })
        .take(4)
        .collect();
    (!told.is_empty()).then(|| told.join("; ")).and_then(|told| one_line(&told))
}

fn place(loc: &Value) -> Option<String> {
    let parts: Vec<String> = loc
        .as_array()?
        .iter()
        .filter(|part| *part != "body")
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

fn clipped(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// A text in one line, or what of a page is text.
fn one_line(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut tag = false;
    let is_page = text.trim_start().starts_with('<');
    let text = match text.find("<body") {
        Some(body) if is_page => &text[body..],
        _ => text,
    };
    for letter in text.chars() {
        match letter {
            '<' if is_page => tag = true,
            '>' if tag => {
                tag = false;
                plain.push(' ');
            }
            _ if tag => {}
            letter if letter.is_control() => plain.push(' '),
            letter => plain.push(letter),
        }
        if plain.len() > 4 * LONGEST {
            break;
        }
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = clipped(&words.join(" "), if is_page { 200 } else { LONGEST });
    (!line.is_empty()).then_some(line)
}

/// `1.5s`, `6ms`, `2m59.5s`, `44.2`: a span of time as headers and bodies write it.
fn span(text: &str) -> Option<Duration> {
    let mut all = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let letters = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let times = match &unit[..letters] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        all = all.checked_add(Duration::try_from_secs_f64(number * times).ok()?)?;
        rest = &unit[letters..];
    }
    Some(all)
}

/// "Try again in 27 seconds", "after 20s".
fn wait_in_words(message: &str) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    let at = [" again in ", " retry after ", " try again after ", " after ", " retry in "]
        .iter()
        .find_map(|words| Some(lower.find(words)? + words.len()))?;
    let mut words = lower[at..].split_whitespace();
    let number = words.next()?.trim_end_matches(['.', ',', ';', '!']);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let unit = words.next().unwrap_or_default().trim_end_matches(['.', ',', ';', '!']);
    let unit = match unit {
        "ms" | "milliseconds" => "ms",
        "minute" | "minutes" => "m",
        _ => "",
    };
    span(number)
        .filter(|_| number.ends_with(|c: char| !c.is_ascii_digit()))
        .or_else(|| span(&format!("{number}{unit}")))
}

/// How long a server asks to wait, in any form it may say so; whole seconds, rounded up.
pub fn wait(headers: &HeaderMap, fault: Option<&Fault>, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    // LiteLLM passes its upstream's headers on under names of its own.
    let text = |name: &str| text(name).or_else(|| text(&format!("llm_provider-{name}")));
    let exact = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok());
    let exact = exact.and_then(|millis| Duration::try_from_secs_f64(millis / 1_000.0).ok());
    let said = exact.or_else(|| {
        let said = text("retry-after")?;
        span(said).or_else(|| {
            let until = httpdate::parse_http_date(said).ok()?;
            Some(until.duration_since(now).unwrap_or_default())
        })
    });
    let said = said.or_else(|| fault.and_then(|fault| fault.wait));
    let said = said.or_else(|| {
        // Of several limits, the longest; what is no span of a day or less is a time of the clock.
        let resets = headers.iter().filter(|(name, _)| {
            let name = name.as_str();
            name.contains("ratelimit") && name.contains("reset")
        });
        let spans = resets.filter_map(|(_, value)| span(value.to_str().ok()?.trim()));
        spans.filter(|span| *span <= Duration::from_secs(86_400)).max()
    });
    said.map(|said| said.as_secs() + u64::from(said.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_kept_in_whatever_shape_it_comes() {
        for (body, message, status) in [
            (
                r#"{"error":{"message":"too long","type":"x","param":"messages","code":"y"}}"#,
                "too long",
                None,
            ),
            (r#"{"error":"no such thing","error_type":"validation"}"#, "no such thing", None),
            (r#"{"detail":"not here"}"#, "not here", None),
            (
                r#"{"detail":[{"loc":["body","top_k"],"msg":"should be an integer","type":"int_parsing"}]}"#,
                "top_k: should be an integer",
                None,
            ),
            (
                r#"[{"error":{"code":400,"message":"Unknown name \"seed\"","status":"INVALID_ARGUMENT"}}]"#,
                "Unknown name \"seed\"",
                Some(400),
            ),
            (r#"{"statusCode":429,"message":"slow down"}"#, "slow down", Some(429)),
            (r#"{"object":"error","message":"bad","code":400}"#, "bad", Some(400)),
            (r#"{"base_resp":{"status_code":1004,"status_msg":"login fail"}}"#, "login fail", None),
            (
                r#"{"error":{"message":"{\"error\":{\"message\":\"within\",\"code\":\"404\"}}"}}"#,
                "within",
                Some(404),
            ),
            (r#"{"type":"error","message":"boom","code":"server_error"}"#, "boom", None),
            (r#"{"errors":[{"message":"first"},{"message":"second"}]}"#, "first", None),
            ("Bad Request: image too large", "Bad Request: image too large", None),
            (
                "<html><head><title>t</title></head><body><h1>429 Too\nMany</h1></body></html>",
                "429 Too Many",
                None,
            ),
        ] {
            let fault = Fault::read(body.as_bytes());
            assert_eq!((fault.message.as_deref(), fault.status), (Some(message), status), "{body}");
        }
        assert_eq!(Fault::read(b"").message, None);
        assert_eq!(Fault::read(b"{}").message, None);
    }

    #[test]
    fn a_field_is_named_whole() {
        let says = |message: &str| Fault { message: Some(message.into()), ..Fault::default() };
        assert!(says("Unsupported parameter: 'max_tokens' is not supported").names("max_tokens"));
        assert!(!says("'max_tokens_x' is too much").names("max_tokens"));
        assert!(!says("streaming is off").names("stream"));
        let by_param =
            Fault { param: Some("messages".into()), message: Some("max_tokens".into()), ..Fault::default() };
        assert!(!by_param.names("max_tokens"));
    }

    #[test]
    fn whose_trouble_it_is() {
        let plain = Fault { message: Some("no".into()), ..Fault::default() };
        assert_eq!(Fault::default().whose(StatusCode::BAD_REQUEST), Whose::Server, "nothing says whose");
        let own = Fault { code: Some("API_KEY_INVALID".into()), ..Fault::default() };
        for status in [400, 413, 422] {
            assert_eq!(plain.whose(StatusCode::from_u16(status).unwrap()), Whose::Request);
            assert_eq!(own.whose(StatusCode::from_u16(status).unwrap()), Whose::Server);
        }
        for status in [401, 402, 403, 404, 408, 409, 424, 425, 451, 498, 499, 500, 502, 504] {
            assert_eq!(plain.whose(StatusCode::from_u16(status).unwrap()), Whose::Server, "{status}");
        }
        let of_a_field = Fault { param: Some("input".into()), ..plain.clone() };
        assert_eq!(of_a_field.whose(StatusCode::NOT_FOUND), Whose::Request);
        for status in [429, 503, 529] {
            assert_eq!(plain.whose(StatusCode::from_u16(status).unwrap()), Whose::Busy);
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_the_servers_own_trouble() {
        let late = format!(r#"{{"error":{{"message":"bad input: {} no such model"}}}}"#, "x".repeat(200));
        for (status, body, whose) in [
            (
                400,
                r#"{"error":{"message":"/chat/completions: Invalid model name passed in model=example-small. Call `/v1/models` to view available models for your key.","type":null,"param":null,"code":"400"}}"#,
                Whose::Server,
            ),
            (400, r#"{"error":{"message":"xyz is not a valid model ID","code":400}}"#, Whose::Server),
            (400, r#"{"error":"Unknown model: m"}"#, Whose::Server),
            (422, r#"{"error":{"message":"no","param":"model"}}"#, Whose::Server),
            (
                400,
                r#"{"error":{"message":"no","param":"response_format.json_schema.model"}}"#,
                Whose::Request,
            ),
            (400, r#"{"error":{"message":"this model takes no pictures","param":null}}"#, Whose::Request),
            (
                400,
                r#"{"error":{"message":"the model's context is 4096","param":"messages"}}"#,
                Whose::Request,
            ),
            (400, &late, Whose::Request),
            (429, r#"{"error":{"message":"too fast","param":"model"}}"#, Whose::Busy),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Fault::read(body.as_bytes()).whose(status), whose, "{status} {body}");
        }
    }

    #[test]
    fn a_path_is_missing_and_a_model_is() {
        for (status, body, of_the_path) in [
            (404, r#"{"detail":"Not Found"}"#, true),
            (404, "", true),
            (404, r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#, true),
            (405, r#"{"detail":"Method Not Allowed"}"#, true),
            (
                501,
                r#"{"error":{"code":501,"message":"This server does not support embeddings. Start it with `--embeddings`","type":"not_supported_error"}}"#,
                true,
            ),
            (
                404,
                r#"{"error":{"message":"This is a chat model and not supported in the v1/completions endpoint.","type":"invalid_request_error","param":"model"}}"#,
                true,
            ),
            (
                404,
                r#"{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","code":404}}"#,
                false,
            ),
            (
                404,
                r#"{"error":{"message":"model 'm' not found, try pulling it first","type":"not_found_error"}}"#,
                false,
            ),
            (404, r#"{"error":{"message":"no","code":"model_not_found"}}"#, false),
            (404, r#"{"error":{"code":"DeploymentNotFound","message":"no such resource"}}"#, false),
            (
                404,
                r#"{"status":404,"title":"Not Found","detail":"Function '0': Not found for account 'a'"}"#,
                false,
            ),
            (400, r#"{"detail":"Not Found"}"#, false),
            (
                404,
                r#"{"error":{"message":"Item with id 'rs_1' not found. Items are not persisted when `store` is false.","type":"invalid_request_error","param":"input","code":null}}"#,
                false,
            ),
            (500, "", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Fault::read(body.as_bytes()).is_of_the_path(status), of_the_path, "{status} {body}");
        }
    }

    #[test]
    fn a_wait_in_all_its_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let header = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            wait(&headers, None, now)
        };
        assert_eq!(header("retry-after", "45"), Some(45));
        assert_eq!(header("retry-after", "44.2"), Some(45));
        assert_eq!(header("retry-after-ms", "1200"), Some(2));
        assert_eq!(header("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT"), Some(60));
        assert_eq!(header("retry-after", "Sat, 09 Sep 2000 01:47:40 GMT"), Some(0));
        assert_eq!(header("x-ratelimit-reset-tokens", "2m59.5s"), Some(180));
        assert_eq!(header("x-ratelimit-reset-requests", "6ms"), Some(1));
        assert_eq!(header("retry-after", "soon"), None);
        let told = Fault::read(br#"{"error":{"details":[{"retryDelay":"44s"}]}}"#);
        assert_eq!(wait(&HeaderMap::new(), Some(&told), now), Some(44));
    }
}
