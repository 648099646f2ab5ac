//! A request: the few fields that decide its price, how much text it has, and what of it goes upstream. Whatever names
//! bound or multiply the work counts for the bound, or is refused by its name; everything else passes as it came.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use earnest_core::charge::{Service, Usage};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::Endpoint;
use super::count::Text;
use super::dialect::{Bound, Dialect};
use super::fault::Fault;
use super::mend::mended;

mod content;
mod names;
#[cfg(test)]
mod tests;

use content::{Content, Part, hosted};
use names::{What, counts};

/// Most answers to one prompt.
const CHOICES: u64 = 128;
/// Most prompts of one request.
const PROMPTS: u64 = 2_048;
/// Most fields of its own that a request has.
const FIELDS: usize = 256;
/// Model tokens that a chat template may add to what is sent.
const TEMPLATE: u64 = 64;
/// OpenAI takes no lower bound for `/v1/responses`, and proxies raise a lower one to it.
const LEAST_RESPONSE: u64 = 16;

/// Why a request is refused, and the field that is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct BadRequest {
    /// In words.
    pub why: String,
    /// The field.
    pub field: Option<String>,
}

fn bad(why: impl Into<String>, field: Option<&str>) -> BadRequest {
    BadRequest { why: why.into(), field: field.map(str::to_owned) }
}

/// The most that a request can use, and what is known of it beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// What is sold.
    pub service: Service,
    /// Model tokens at most.
    pub usage: Usage,
    /// Model tokens of one choice at most.
    pub each: u64,
    /// Choices, over all prompts.
    pub choices: u64,
    /// Prompts.
    pub prompts: u64,
    /// The text that is read.
    pub read: Text,
    /// What is read is told again in what is written.
    pub echo: bool,
    /// Whether reasoning that is stated and not shown is charged, where the model's settings say.
    pub hidden: Option<bool>,
}

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is asked for.
    pub endpoint: Endpoint,
    /// The model, as the price list names it.
    pub model: String,
    /// The answer comes in pieces.
    pub stream: bool,
    /// The client wants to see the usage of a stream.
    pub shows_usage: bool,
    /// The most that it can use.
    pub most: Most,
    body: Bytes,
    open: usize,
    keys: Vec<Key>,
    model_at: Range<usize>,
    options_at: Option<Range<usize>>,
    says_stream: bool,
    bound: Option<u64>,
}

/// A field at the top: what it is, and where its name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    what: What,
    at: Range<usize>,
    null: bool,
}

/// What of a request the gateway adds, as far as it was not refused before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Added {
    /// How often the bound was refused: then it goes by another name, then not at all.
    pub bound: u8,
    /// Usage is not asked for.
    pub no_usage: bool,
    /// `stream: false` is not said.
    pub no_stream: bool,
}

/// No bound is added.
const UNBOUNDED: u8 = u8::MAX;

impl Added {
    /// What a server is known to take from now on.
    pub fn is_kept(self) -> bool {
        self.bound != UNBOUNDED
    }
}

/// What is gathered while a body is read.
struct Reading<'d> {
    body: &'d [u8],
    dialect: &'d Dialect,
    endpoint: Endpoint,
    keys: Vec<Key>,
    model: Option<(String, Range<usize>)>,
    stream: Option<bool>,
    options: Option<(Range<usize>, bool)>,
    bound: Option<u64>,
    times: u64,
    prompts: u64,
    /// Model tokens of pictures, films, sounds and documents at most, and bytes of those that are sent along.
    media: u64,
    sent: u64,
    /// It goes on with what the server keeps.
    keeps: bool,
    echo: bool,
    read: Text,
    refusal: Option<BadRequest>,
}

impl Asked {
    /// Reads a body. `most_written` is what is written at most where neither the request nor the model's settings say.
    pub fn read(
        endpoint: Endpoint,
        body: Bytes,
        dialect: &Dialect,
        most_written: u64,
    ) -> Result<Self, BadRequest> {
        // An array would be taken for the fields in their order.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(bad("the body is not a JSON object", None));
        }
        let Ok(text) = std::str::from_utf8(&body) else { return Err(bad("the body is not UTF-8", None)) };
        let mut reading = Reading::new(text.as_bytes(), dialect, endpoint);
        if let Err(error) = reading.walk(text) {
            // Half an emoji is passed on: only the reader cannot have it.
            let copy = mended(text.as_bytes());
            let copy = std::str::from_utf8(&copy).unwrap_or_default();
            let mut again = Reading::new(copy.as_bytes(), dialect, endpoint);
            let same = copy.len() == text.len() && again.walk(copy).is_ok();
            if !same {
                return Err(match reading.refusal {
                    Some(refusal) => refusal,
                    None => bad(format!("the body cannot be read: {error}"), None),
                });
            }
            again.body = text.as_bytes();
            return again.asked(&body, most_written);
        }
        reading.asked(&body, most_written)
    }

    /// The body as one server takes it: with its name of the model, and what the gateway adds, less what that server has
    /// refused.
    pub fn body(&self, dialect: &Dialect, added: Added) -> Bytes {
        let name = dialect.upstream(&self.model);
        let renamed = name != self.model;
        let mut front = String::new();
        let mut gone: Vec<&str> = dialect.drop.iter().map(String::as_str).collect();
        if let Some((field, count)) = self.bound_for(dialect, added, &mut gone) {
            front += &format!("\"{field}\":{count},");
        }
        let mut options = None;
        if self.wants_usage(dialect) && !added.no_usage {
            let given = self.options_at.clone().map(|at| &self.body[at]).filter(|raw| *raw != b"null");
            let map: Option<serde_json::Map<String, serde_json::Value>> =
                given.and_then(|raw| serde_json::from_slice(raw).ok());
            match map {
                Some(mut map) => {
                    map.insert("include_usage".into(), true.into());
                    options = Some(serde_json::Value::Object(map).to_string());
                }
                None => {
                    gone.push("stream_options");
                    front += "\"stream_options\":{\"include_usage\":true},";
                }
            }
        }
        if !dialect.usage && !self.keys.is_empty() {
            gone.push("stream_options");
        }
        // Some servers stream unless they are told not to.
        if self.endpoint == Endpoint::Responses && !self.says_stream && !added.no_stream {
            gone.push("stream");
            front += "\"stream\":false,";
        }
        let removes = self.keys.iter().any(|key| gone.contains(&self.name_of(key)));
        if front.is_empty() && !renamed && !removes && options.is_none() {
            return self.body.clone();
        }
        let mut out = Vec::with_capacity(self.body.len() + front.len() + name.len() + 32);
        out.extend_from_slice(&self.body[..self.open + 1]);
        // What is added comes first: a server that reads a later field of the same name is told what the client said.
        out.extend_from_slice(front.as_bytes());
        let mut at = self.open + 1;
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        if renamed {
            edits.push((self.model_at.clone(), serde_json::to_string(name).expect("a string")));
        }
        if let (Some(options), Some(place)) = (options, &self.options_at) {
            edits.push((place.clone(), options));
        }
        edits.sort_by_key(|(place, _)| place.start);
        if !removes {
            for (place, text) in edits {
                out.extend_from_slice(&self.body[at..place.start]);
                out.extend_from_slice(text.as_bytes());
                at = place.end;
            }
            out.extend_from_slice(&self.body[at..]);
            return out.into();
        }
        // Field by field, for a comma less.
        let close = self.body.iter().rposition(|&byte| byte == b'}').unwrap_or(self.body.len());
        let mut first = true;
        for (index, key) in self.keys.iter().enumerate() {
            if gone.contains(&self.name_of(key)) {
                continue;
            }
            let from = key.at.start - 1;
            let to = self.keys.get(index + 1).map_or(close, |next| next.at.start - 1);
            let field = self.body[from..to].trim_ascii_end();
            let field = field.strip_suffix(b",").unwrap_or(field);
            if !first {
                out.push(b',');
            }
            first = false;
            let mut at = from;
            for (place, text) in
                edits.iter().filter(|(place, _)| (from..from + field.len()).contains(&place.start))
            {
                out.extend_from_slice(&self.body[at..place.start]);
                out.extend_from_slice(text.as_bytes());
                at = place.end;
            }
            out.extend_from_slice(&self.body[at..from + field.len()]);
        }
        out.extend_from_slice(&self.body[close..]);
        out.into()
    }

    fn name_of(&self, key: &Key) -> &str {
        std::str::from_utf8(&self.body[key.at.clone()]).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| !key.null && self.name_of(key) == name)
    }

    /// The bound that is added, if one is; what must not stand beside it goes to `gone`.
    fn bound_for<'n>(
        &self,
        dialect: &Dialect,
        added: Added,
        gone: &mut Vec<&'n str>,
    ) -> Option<(&'n str, u64)> {
        if self.endpoint.service() != Service::Text || added.bound > 1 {
            return None;
        }
        let count = self.bound.unwrap_or(self.most.each);
        let [tokens, completion, output] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let add = |gone: &mut Vec<&'n str>, field: &'n str| {
            if self.keys.iter().any(|key| key.null && self.name_of(key) == field) {
                gone.push(field);
            }
            Some((field, count))
        };
        if self.endpoint == Endpoint::Responses {
            return if self.has(output) || added.bound > 0 || dialect.bound == Bound::None {
                None
            } else {
                add(gone, output)
            };
        }
        match dialect.bound {
            Bound::None => None,
            Bound::MaxTokens | Bound::MaxCompletionTokens => {
                let (right, wrong) = if dialect.bound == Bound::MaxTokens {
                    (tokens, completion)
                } else {
                    (completion, tokens)
                };
                gone.push(wrong);
                if self.has(right) { None } else { add(gone, right) }
            }
            Bound::AsAsked if self.has(tokens) => None,
            Bound::AsAsked if added.bound == 0 => add(gone, tokens),
            // `max_tokens` was refused: reasoning models know the other name.
            Bound::AsAsked if self.endpoint == Endpoint::Chat && !self.has(completion) => {
                add(gone, completion)
            }
            Bound::AsAsked => None,
        }
    }

    fn wants_usage(&self, dialect: &Dialect) -> bool {
        self.stream
            && !self.shows_usage
            && dialect.usage
            && matches!(self.endpoint, Endpoint::Chat | Endpoint::Completions)
    }

    /// What to leave out, where a refusal names a field that the gateway added. A word that the request has itself may be
    /// an echo of it, and says nothing.
    pub fn without(&self, dialect: &Dialect, added: Added, fault: &Fault) -> Option<Added> {
        let own = |field: &str| {
            let has = |text: &[u8]| memchr::memmem::find(&self.body, text).is_some();
            has(field.as_bytes()) || has(b"\\u00")
        };
        let blames = |field: &str| fault.names(field) && !own(field);
        if let Some((field, _)) = self.bound_for(dialect, added, &mut Vec::new())
            && blames(field)
        {
            // What does not fit the context is bounded by it: this once it goes without.
            if fault.is_too_much() {
                return Some(Added { bound: UNBOUNDED, ..added });
            }
            let other =
                self.endpoint == Endpoint::Chat && dialect.bound == Bound::AsAsked && added.bound == 0;
            return other.then_some(Added { bound: 1, ..added });
        }
        if self.wants_usage(dialect)
            && !added.no_usage
            && (blames("stream_options") || blames("include_usage"))
        {
            return Some(Added { no_usage: true, ..added });
        }
        let says = self.endpoint == Endpoint::Responses && !self.says_stream && !added.no_stream;
        (says && blames("stream")).then_some(Added { no_stream: true, ..added })
    }

    /// The request itself says how much may be written.
    pub fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }
}

impl<'d> Reading<'d> {
    fn new(body: &'d [u8], dialect: &'d Dialect, endpoint: Endpoint) -> Self {
        Reading {
            body,
            dialect,
            endpoint,
            keys: Vec::with_capacity(8),
            model: None,
            stream: None,
            options: None,
            bound: None,
            times: 1,
            prompts: 1,
            media: 0,
            sent: 0,
            keeps: false,
            echo: false,
            read: Text::default(),
            refusal: None,
        }
    }

    fn walk(&mut self, text: &'d str) -> Result<(), serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(text);
        parser.deserialize_map(Top(self))?;
        parser.end()
    }

    fn place(&self, piece: &str) -> Range<usize> {
        let start = piece.as_ptr() as usize - self.body.as_ptr() as usize;
        start..start + piece.len()
    }

    fn allowed(&self, name: &str) -> bool {
        self.dialect.allow.iter().any(|allowed| allowed == name)
    }

    fn asked(self, body: &Bytes, most_written: u64) -> Result<Asked, BadRequest> {
        let Reading {
            endpoint,
            dialect,
            keys,
            model,
            stream,
            options,
            bound,
            times,
            prompts,
            media,
            sent,
            keeps,
            echo,
            read,
            ..
        } = self;
        let (model, model_at) =
            model.ok_or_else(|| bad("you must provide a model parameter", Some("model")))?;
        if times > CHOICES {
            return Err(bad(format!("n is {times}, and the most is {CHOICES}"), Some("n")));
        }
        let prompts = if endpoint == Endpoint::Completions { prompts.max(1) } else { 1 };
        if prompts > PROMPTS {
            return Err(bad(
                format!("there are {prompts} prompts, and the most is {PROMPTS}"),
                Some("prompt"),
            ));
        }
        let writes = endpoint.service() == Service::Text;
        let mut each = bound.unwrap_or(dialect.most_written.unwrap_or(most_written));
        if endpoint == Endpoint::Responses {
            each = each.max(LEAST_RESPONSE);
        }
        let choices = times * prompts;
        let output = if writes { each.saturating_mul(choices) } else { 0 };
        let text = (body.len() as u64).saturating_sub(sent);
        let input = (text + TEMPLATE * prompts).saturating_add(media);
        let input = input.saturating_add(dialect.state.filter(|_| keeps).unwrap_or(0));
        let most = Most {
            service: endpoint.service(),
            usage: Usage { input, cached: 0, output },
            each,
            choices,
            prompts,
            read,
            echo,
            hidden: dialect.hidden,
        };
        let streamed = stream == Some(true);
        let shown = options.as_ref().is_some_and(|(_, shown)| *shown);
        let fits = matches!(endpoint, Endpoint::Chat | Endpoint::Completions);
        Ok(Asked {
            endpoint,
            model,
            stream: streamed,
            shows_usage: shown || !fits || !streamed,
            most,
            open: body.iter().position(|&byte| byte == b'{').unwrap_or(0),
            body: body.clone(),
            keys,
            model_at,
            options_at: options.map(|(place, _)| place),
            says_stream: stream.is_some(),
            bound,
        })
    }

    fn field(&mut self, what: What, raw: &'d RawValue) -> Result<(), BadRequest> {
        let text = raw.get();
        let null = text == "null";
        match what {
            What::Model => {
                let name: Option<Cow<'_, str>> =
                    serde_json::from_str(text).map_err(|_| bad("model is no text", Some("model")))?;
                let name = name.filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| bad("you must provide a model parameter", Some("model")))?;
                self.model = Some((name.into_owned(), self.place(text)));
            }
            What::Stream => {
                self.stream =
                    serde_json::from_str(text).map_err(|_| bad("stream is true or false", Some("stream")))?;
            }
            What::Echo => self.echo = text == "true",
            What::StreamOptions => {
                #[derive(Deserialize)]
                struct Options {
                    include_usage: Option<bool>,
                }
                let options: Option<Options> = serde_json::from_str(text)
                    .map_err(|error| bad(error.to_string(), Some("stream_options")))?;
                let shown = options.is_some_and(|options| options.include_usage == Some(true));
                self.options = Some((self.place(text), shown));
            }
            What::Bound(name) => self.bound = self.bound.max(counts(name, raw)?),
            What::Times(name) => self.times = self.times.max(counts(name, raw)?.unwrap_or(1)),
            What::Tier => {
                let usual = ["null", "\"auto\"", "\"default\"", "\"flex\""].contains(&text);
                if !usual && !self.allowed("service_tier") {
                    return Err(bad(
                        format!("the service tier {text} is not sold here"),
                        Some("service_tier"),
                    ));
                }
            }
            What::State(name) => {
                let unset = null || text == "false" || text == "\"\"";
                self.keeps |= !unset;
                if !unset && (name == "background" || self.dialect.state.is_none()) && !self.allowed(name) {
                    return Err(bad(
                        format!(
                            "{name} is refused: what the provider keeps and reads again has no price here; send the whole conversation"
                        ),
                        Some(name),
                    ));
                }
            }
            What::Refused(name) => {
                let empty = null || ["[]", "{}", "\"\"", "false"].contains(&text);
                if !empty && !self.allowed(name) {
                    return Err(bad(
                        format!(
                            "the field {name:?} is refused: what stands in it can change what a request costs; the operator can allow it for a model"
                        ),
                        Some(name),
                    ));
                }
            }
            What::Template => {
                // What it says is read, as often as it says.
                let template = text.contains("template") || text.contains('\\');
                if template && !self.allowed("chat_template_kwargs") {
                    let why = "a chat_template within chat_template_kwargs is refused: it can change what a request costs; the operator can allow it for a model";
                    return Err(bad(why, Some("chat_template_kwargs")));
                }
            }
            What::Prompt | What::Read | What::Messages | What::Tools | What::Unknown | What::Other => {}
        }
        Ok(())
    }
}

/// The body's own object.
struct Top<'r, 'd>(&'r mut Reading<'d>);

impl<'d> Visitor<'d> for Top<'_, 'd> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        let refuse = |reading: &mut Reading<'d>, refusal: BadRequest| {
            let error = serde::de::Error::custom(&refusal.why);
            reading.refusal.get_or_insert(refusal);
            error
        };
        while let Some(name) = map.next_key_seed(Name)? {
            let what = match What::of(&name) {
                Ok(what) => what,
                Err(refusal) => return Err(refuse(reading, refusal)),
            };
            // Each is held against those before it.
            if reading.keys.len() >= FIELDS {
                let why = format!("the request has more than {FIELDS} fields");
                return Err(refuse(reading, bad(why, None)));
            }
            if let Cow::Borrowed(text) = name {
                let at = reading.place(text);
                // A second one might be the one that counts for the provider.
                let twice = what != What::Other
                    && reading
                        .keys
                        .iter()
                        .any(|key| reading.body[key.at.clone()] == reading.body[at.clone()]);
                if twice {
                    let refusal = bad(format!("the field {text:?} stands twice"), Some(text));
                    return Err(refuse(reading, refusal));
                }
                reading.keys.push(Key { what, at, null: false });
            } else if what != What::Other {
                let refusal = bad(format!("the field {name:?} is written with escapes"), Some(&name));
                return Err(refuse(reading, refusal));
            }
            match what {
                What::Tools => {
                    let raw: &'d RawValue = map.next_value()?;
                    if let Some(refusal) = hosted(raw.get()).filter(|_| !reading.allowed("tools")) {
                        return Err(refuse(reading, refusal));
                    }
                    let content = Content { reading, depth: 0, numbers: false, kind: what, key: Part::Other };
                    let mut parser = serde_json::Deserializer::from_str(raw.get());
                    content.deserialize(&mut parser).map_err(serde::de::Error::custom)?;
                }
                What::Prompt | What::Read | What::Messages => {
                    let top = matches!(what, What::Prompt);
                    map.next_value_seed(Content {
                        reading,
                        depth: 0,
                        numbers: top,
                        kind: what,
                        key: Part::Other,
                    })?;
                }
                What::Other => drop(map.next_value::<serde::de::IgnoredAny>()?),
                What::Unknown => {
                    let raw: &RawValue = map.next_value()?;
                    if raw.get() != "null" && !reading.allowed(&name) {
                        let why = format!(
                            "the field {name:?} is refused: it is not known here, and sounds as if it changed what a request costs; the operator can allow it for a model"
                        );
                        return Err(refuse(reading, bad(why, Some(&name))));
                    }
                }
                what => {
                    let raw: &RawValue = map.next_value()?;
                    if let Some(key) = reading.keys.last_mut() {
                        key.null = raw.get() == "null";
                    }
                    if let Err(refusal) = reading.field(what, raw) {
                        return Err(refuse(reading, refusal));
                    }
                }
            }
        }
        match reading.refusal.clone() {
            Some(refusal) => Err(refuse(reading, refusal)),
            None => Ok(()),
        }
    }
}

/// A field's name; borrowed where it is written without escapes.
struct Name;

impl<'d> DeserializeSeed<'d> for Name {
    type Value = Cow<'d, str>;

    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<Cow<'d, str>, D::Error> {
        struct Text;
        impl<'d> Visitor<'d> for Text {
            type Value = Cow<'d, str>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'d str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        from.deserialize_str(Text)
    }
}
