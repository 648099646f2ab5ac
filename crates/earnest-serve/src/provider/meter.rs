//! Reads usage out of an answer while it passes: the `usage` object of a JSON answer, the last one of a stream, and how
//! many pieces of a stream carried something written. It holds one line at most, however long the answer, and takes
//! whatever it does not understand for nothing said.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Usage;

/// Longest line of a stream that is looked into; the last event of `/v1/responses` repeats the whole answer.
const LONGEST_LINE: usize = 4 << 20;
/// Longest `usage` of a JSON answer.
const LONGEST_USAGE: usize = 4 << 10;

/// Counts one answer.
#[derive(Default)]
pub struct Meter {
    kind: Kind,
    usage: Option<Usage>,
    chunks: u64,
}

#[derive(Default)]
enum Kind {
    #[default]
    Other,
    Json(UsageField),
    Stream(Lines),
}

impl Meter {
    /// For an answer of this content type.
    pub fn of(content_type: Option<&str>) -> Self {
        let kind = match content_type.map(|text| text.split(';').next().unwrap_or_default().trim()) {
            Some(kind) if kind.eq_ignore_ascii_case("text/event-stream") => Kind::Stream(Lines::default()),
            Some(kind) if kind.eq_ignore_ascii_case("application/json") => Kind::Json(UsageField::default()),
            _ => Kind::Other,
        };
        Meter { kind, ..Meter::default() }
    }

    /// The next bytes of the answer.
    pub fn read(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Other => {}
            Kind::Json(field) => {
                for &byte in bytes {
                    field.read(byte);
                }
            }
            Kind::Stream(lines) => lines.read(bytes, |line| {
                let (usage, wrote) = event(line);
                self.usage = usage.or(self.usage);
                self.chunks += u64::from(wrote);
            }),
        }
    }

    /// What the upstream counted, as far as it said.
    pub fn usage(&self) -> Option<Usage> {
        match &self.kind {
            Kind::Json(field) => field.value(),
            _ => self.usage,
        }
    }

    /// Pieces of a stream that carried something written.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }
}

/// `usage` as OpenAI's interfaces write it: the one of responses has its own names.
#[derive(Deserialize)]
struct Reported {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

fn reported(text: &[u8]) -> Option<Usage> {
    let said: Reported = serde_json::from_slice(text).ok()?;
    let prompt = said.prompt_tokens.or(said.input_tokens)?;
    let details = said.prompt_tokens_details.or(said.input_tokens_details);
    let cached = details.and_then(|details| details.cached_tokens).unwrap_or(0).min(prompt);
    Some(Usage { prompt, cached, completion: said.completion_tokens.or(said.output_tokens).unwrap_or(0) })
}

#[derive(Deserialize)]
struct Event<'e> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    usage: Option<&'e RawValue>,
    #[serde(borrow)]
    response: Option<Response<'e>>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'e>>>,
}

#[derive(Deserialize)]
struct Response<'e> {
    #[serde(borrow)]
    usage: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Choice<'e> {
    #[serde(borrow)]
    delta: Option<BTreeMap<String, &'e RawValue>>,
    #[serde(borrow)]
    text: Option<&'e RawValue>,
}

/// What a line of a stream says of usage, and whether it carries something written.
fn event(line: &[u8]) -> (Option<Usage>, bool) {
    let Some(data) = line.strip_prefix(b"data:") else { return (None, false) };
    let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return (None, false) };
    let usage = event.usage.or(event.response.and_then(|response| response.usage));
    let says = |value: &&RawValue| !["null", "\"\"", "[]", "{}"].contains(&value.get());
    let choices = event.choices.unwrap_or_default();
    let wrote = choices.iter().any(|choice| {
        let delta = choice.delta.iter().flatten().filter(|(name, _)| *name != "role");
        delta.map(|(_, value)| value).chain(&choice.text).any(says)
    });
    let delta = event.kind.is_some_and(|kind| kind.ends_with(".delta"));
    (usage.and_then(|usage| reported(usage.get().as_bytes())), wrote || delta)
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    /// The line is too long and is passed over.
    over: bool,
}

impl Lines {
    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(end);
            if self.begun.is_empty() && !self.over {
                each(line);
            } else {
                self.add(line);
                if !self.over {
                    each(&self.begun);
                }
                (self.begun, self.over) = (Vec::new(), false);
            }
            bytes = &rest[1..];
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        self.over |= self.begun.len() + bytes.len() > LONGEST_LINE;
        if self.over {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

/// The value of the key `usage` at the top of an object, found without holding the object: answers with thousands of
/// embeddings have many megabytes.
#[derive(Default)]
struct UsageField {
    depth: u64,
    /// The outermost bracket is one of an object.
    object: bool,
    string: bool,
    escaped: bool,
    /// At the top, what comes before a colon.
    key: Vec<u8>,
    place: Place,
    value: Vec<u8>,
}

#[derive(Default, PartialEq)]
enum Place {
    #[default]
    Key,
    Value,
    Usage,
}

impl UsageField {
    fn read(&mut self, byte: u8) {
        let top = self.depth == 1 && self.object;
        if self.string {
            self.keep(byte, top);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.object = byte == b'{';
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.place = Place::Value;
                    return;
                }
            }
            b'"' => self.string = true,
            b':' if top && self.place == Place::Key => {
                let usage = self.key.trim_ascii() == b"\"usage\"";
                self.place = if usage { Place::Usage } else { Place::Value };
                if usage {
                    self.value.clear();
                }
                return;
            }
            b',' if top => {
                self.place = Place::Key;
                self.key.clear();
                return;
            }
            _ => {}
        }
        self.keep(byte, top);
    }

    fn keep(&mut self, byte: u8, top: bool) {
        match self.place {
            // One byte too many shows that it is not this one.
            Place::Key if top && self.key.len() < 64 => self.key.push(byte),
            Place::Usage if self.value.len() <= LONGEST_USAGE => self.value.push(byte),
            _ => {}
        }
    }

    fn value(&self) -> Option<Usage> {
        reported(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const JSON: &str = "application/json; charset=utf-8";
    const STREAM: &str = "text/event-stream";

    /// In pieces of at most so many bytes: the answer may come in any.
    fn metered(kind: &str, body: &[u8], piece: usize) -> (Option<Usage>, u64) {
        let mut meter = Meter::of(Some(kind));
        for piece in body.chunks(piece) {
            meter.read(piece);
        }
        (meter.usage(), meter.chunks())
    }

    fn usage(prompt: u64, cached: u64, completion: u64) -> Option<Usage> {
        Some(Usage { prompt, cached, completion })
    }

    #[test]
    fn usage_is_read_from_json_wherever_it_stands_at_the_top() {
        for (body, expected) in [
            (
                r#"{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7},"choices":[]}"#,
                usage(3, 0, 4),
            ),
            (
                r#"{"a":"\"usage\":{","b":[{"usage":{"prompt_tokens":9}}],"usage" : {"prompt_tokens":3}}"#,
                usage(3, 0, 0),
            ),
            (
                r#" { "x" : 1 , "usage" : {"input_tokens":5,"output_tokens":6,"input_tokens_details":{"cached_tokens":2}} , "y":null } "#,
                usage(5, 2, 6),
            ),
            (
                r#"{"usage":{"prompt_tokens":3,"input_tokens":8,"prompt_tokens_details":{"cached_tokens":99},"prompt_tokens_details2":{}}}"#,
                usage(3, 3, 0),
            ),
            (r#"{"usage":null}"#, None),
            (r#"{"usage":{"prompt_tokens":-3}}"#, None),
            (r#"{"usage":{"prompt_tokens":"3"}}"#, None),
            (r#"{"usage":{"prompt_tokens":1e400}}"#, None),
            (r#"{"usage":{"prompt_tokens":99999999999999999999}}"#, None),
            (r#"{"other":{"usage":{"prompt_tokens":3}}}"#, None),
            (r#"[{"usage":{"prompt_tokens":3}}]"#, None),
            (r#"["usage",{"prompt_tokens":3}]"#, None),
            (r#"{"usage":{"prompt_tokens":3}"#, usage(3, 0, 0)),
            ("", None),
            ("}}}]]],,,:::\"", None),
        ] {
            for piece in [1, 7, 4_096] {
                assert_eq!(metered(JSON, body.as_bytes(), piece), (expected, 0), "{body}");
            }
            assert_eq!(metered("text/html", body.as_bytes(), 64), (None, 0));
        }
    }

    #[test]
    fn a_stream_counts_what_was_written_and_keeps_the_last_usage() {
        let chat = concat!(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
            ": a comment\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\n",
            "data:{\"choices\":[{\"delta\":{\"content\":\"llo\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\r\n\r\n",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"content\":null}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: not json\n\ndata: 7\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\n",
            "data: [DONE]\n\n",
        );
        let completion =
            "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"\"}]}\n\n";
        let responses = concat!(
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
            "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":2,\"output_tokens\":1}}}\n\n",
        );
        for piece in [1, 5, 1 << 20] {
            assert_eq!(metered(STREAM, chat.as_bytes(), piece), (usage(7, 5, 4), 4));
            assert_eq!(metered(STREAM, completion.as_bytes(), piece), (None, 1));
            assert_eq!(metered(STREAM, responses.as_bytes(), piece), (usage(2, 0, 1), 1));
        }
    }

    #[test]
    fn a_line_without_end_is_passed_over_and_not_held() {
        let mut meter = Meter::of(Some(STREAM));
        for _ in 0..64 {
            meter.read(&[b'x'; 1 << 20]);
            let Kind::Stream(lines) = &meter.kind else { unreachable!() };
            assert!(lines.begun.capacity() <= 2 * LONGEST_LINE);
        }
        meter.read(b"\ndata: {\"usage\":{\"prompt_tokens\":1}}\n");
        assert_eq!(meter.usage(), usage(1, 0, 0));
        let mut meter = Meter::of(Some(JSON));
        meter.read(b"{\"usage\":\"");
        for _ in 0..64 {
            meter.read(&[b'x'; 1 << 16]);
        }
        let Kind::Json(field) = &meter.kind else { unreachable!() };
        assert!(field.value.len() <= LONGEST_USAGE + 1 && meter.usage().is_none());
    }

    #[test]
    fn pieces_and_noise_never_change_what_is_read() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let bodies = [
            (
                JSON,
                r#"{"id":"a\\\"","choices":[{"message":{"content":"usage: {\"usage\":{}}"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            ),
            (
                STREAM,
                "data: {\"choices\":[{\"delta\":{\"content\":\"\\u00e9\"}}]}\n\ndata: {\"usage\":{\"prompt_tokens\":3}}\n\n",
            ),
        ];
        for _ in 0..20_000 {
            let (kind, body) = bodies[random.random_range(0..2)];
            let mut bytes = body.as_bytes().to_vec();
            for _ in 0..random.random_range(0..6) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..4) {
                    0 => bytes[at] = random.random(),
                    1 => bytes.insert(at, b"{}[]\",:\\\n"[random.random_range(0..9)]),
                    2 => bytes.truncate(at.max(1)),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    bytes.push(b'{');
                }
            }
            let whole = metered(kind, &bytes, bytes.len());
            assert_eq!(whole, metered(kind, &bytes, random.random_range(1..9)));
            // What a parser of JSON makes of it, where it makes anything.
            if kind == JSON
                && let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(&bytes)
            {
                let expected = object.get("usage").and_then(|usage| reported(usage.to_string().as_bytes()));
                assert_eq!(whole.0, expected, "{}", String::from_utf8_lossy(&bytes));
            }
        }
        let mut noise = [0; 4_096];
        for _ in 0..2_000 {
            random.fill_bytes(&mut noise);
            metered(JSON, &noise, 64);
            metered(STREAM, &noise, 64);
        }
    }
}
