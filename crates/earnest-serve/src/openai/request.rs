//! A request: the few fields that decide its price, how much text it has, and what of it goes upstream. Whatever names
//! bound or multiply the work counts for the bound, or is refused by its name; everything else passes as it came.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use earnest_core::charge::{Service, Usage};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::Endpoint;
use super::answer::is_binary;
use super::count::Text;
use super::dialect::{Bound, Dialect};
use super::fault::Fault;
use super::mend::mended;

/// Most answers to one prompt.
const CHOICES: u64 = 128;
/// Most prompts of one request.
const PROMPTS: u64 = 2_048;
/// Model tokens that a chat template may add to what is sent.
const TEMPLATE: u64 = 64;
/// Model tokens that a picture, a sound or a file may have that is named and not sent along.
const MEDIUM: u64 = 4_096;
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

/// Fields that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Model,
    Stream,
    Echo,
    StreamOptions,
    Bound(&'static str),
    Times(&'static str),
    Prompt,
    Read,
    Tools,
    State(&'static str),
    Refused(&'static str),
    Tier,
    /// Nobody knows it, and it sounds costly.
    Unknown,
    Other,
}

impl What {
    /// By the name as loose parsers take it: some do not tell `Model` from `model` (Go's), `maxTokens` from `max_tokens`.
    /// With it the one way to write it.
    fn named(folded: &str) -> (Self, &'static str) {
        let bound = |name| (What::Bound(name), name);
        let times = |name| (What::Times(name), name);
        let state = |name| (What::State(name), name);
        let refused = |name| (What::Refused(name), name);
        match folded {
            "model" => (What::Model, "model"),
            "stream" => (What::Stream, "stream"),
            "echo" => (What::Echo, "echo"),
            "streamoptions" => (What::StreamOptions, "stream_options"),
            "maxtokens" => bound("max_tokens"),
            "maxcompletiontokens" => bound("max_completion_tokens"),
            "maxoutputtokens" => bound("max_output_tokens"),
            "maxnewtokens" => bound("max_new_tokens"),
            "maxlength" => bound("max_length"),
            "maxgenlen" => bound("max_gen_len"),
            "maxtokenstosample" => bound("max_tokens_to_sample"),
            "npredict" => bound("n_predict"),
            "numpredict" => bound("num_predict"),
            "mintokens" => bound("min_tokens"),
            "minnewtokens" => bound("min_new_tokens"),
            "minlength" => bound("min_length"),
            "n" => times("n"),
            "bestof" => times("best_of"),
            "ncmpl" => times("n_cmpl"),
            "numreturnsequences" => times("num_return_sequences"),
            "numgenerations" => times("num_generations"),
            "candidatecount" => times("candidate_count"),
            "numbeams" => times("num_beams"),
            "beamwidth" => times("beam_width"),
            "prompt" => (What::Prompt, "prompt"),
            "messages" => (What::Read, "messages"),
            "input" => (What::Prompt, "input"),
            "instructions" => (What::Read, "instructions"),
            "system" => (What::Read, "system"),
            "suffix" => (What::Read, "suffix"),
            "functions" => (What::Read, "functions"),
            "responseformat" => (What::Read, "response_format"),
            "text" => (What::Read, "text"),
            "tools" => (What::Tools, "tools"),
            "servicetier" => (What::Tier, "service_tier"),
            "background" => state("background"),
            "conversation" => state("conversation"),
            "previousresponseid" => state("previous_response_id"),
            // Bounds of other names within, other models, other keys, and work of the server's own.
            "extrabody" => refused("extra_body"),
            "options" => refused("options"),
            "parameters" => refused("parameters"),
            "generationconfig" => refused("generation_config"),
            "models" => refused("models"),
            "fallbacks" => refused("fallbacks"),
            "contextwindowfallbackdict" => refused("context_window_fallback_dict"),
            "route" => refused("route"),
            "provider" => refused("provider"),
            "plugins" => refused("plugins"),
            "apibase" => refused("api_base"),
            "apikey" => refused("api_key"),
            "baseurl" => refused("base_url"),
            "customllmprovider" => refused("custom_llm_provider"),
            "usebeamsearch" => refused("use_beam_search"),
            "websearchoptions" => refused("web_search_options"),
            "searchparameters" => refused("search_parameters"),
            "enablesearch" => refused("enable_search"),
            "samplingparams" => refused("sampling_params"),
            "nvext" => refused("nvext"),
            "inferenceconfig" => refused("inference_config"),
            "modelkwargs" => refused("model_kwargs"),
            "generationkwargs" => refused("generation_kwargs"),
            "userconfig" => refused("user_config"),
            "modellist" => refused("model_list"),
            "modelid" => refused("model_id"),
            "deploymentid" => refused("deployment_id"),
            "lorapath" => refused("lora_path"),
            "cachedcontent" => state("cached_content"),
            "contextid" => state("context_id"),
            "datasources" => refused("data_sources"),
            "vectorstoreids" => refused("vector_store_ids"),
            "mockresponse" => refused("mock_response"),
            "timeout" => refused("timeout"),
            "priority" => refused("priority"),
            "kvtransferparams" => refused("kv_transfer_params"),
            "bootstraphost" => refused("bootstrap_host"),
            "extraheaders" => refused("extra_headers"),
            "extraquery" => refused("extra_query"),
            _ => (What::Other, ""),
        }
    }

    /// Whether a name that nobody has looked at yet sounds as if it bounded or multiplied the work.
    fn sounds_costly(folded: &str) -> bool {
        let has = |words: &[&str]| words.iter().any(|word| folded.contains(word));
        let counts = has(&["max", "min", "num"])
            && has(&[
                "tokens",
                "length",
                "output",
                "completion",
                "sample",
                "candidate",
                "result",
                "sequence",
                "response",
            ]);
        counts || has(&["fallback", "budget", "search", "retries"]) || (folded.starts_with("tokensto"))
    }

    fn of(name: &str) -> Result<Self, BadRequest> {
        if name.len() > 64 {
            return Ok(What::Other);
        }
        let folded: String = name
            .chars()
            .filter(|letter| !['_', '-'].contains(letter))
            .map(|letter| match letter {
                'ſ' => 's',
                '\u{212a}' => 'k', // the sign of the Kelvin
                letter => letter.to_ascii_lowercase(),
            })
            .collect();
        let (what, right) = What::named(&folded);
        if what != What::Other && name != right {
            let why = format!("the field {name:?} is refused: some providers take it for {right:?}");
            return Err(bad(why, Some(name)));
        }
        if what == What::Other && What::sounds_costly(&folded) {
            return Ok(What::Unknown);
        }
        Ok(what)
    }
}

/// A number that counts: 5.0 is 5; none where it is `null`.
fn counts(name: &str, raw: &RawValue) -> Result<Option<u64>, BadRequest> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    let digits = text.strip_suffix(".0").unwrap_or(text);
    match digits.parse::<u64>() {
        Ok(0) => Err(bad(
            format!("{name} is 0: some providers take that for no bound; leave it out or ask for 1"),
            Some(name),
        )),
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(bad(format!("{name} is no count of at least 1"), Some(name))),
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
    media: u64,
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
        let input = (body.len() as u64 + TEMPLATE * prompts).saturating_add(MEDIUM * media);
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
                let unset = null || text == "false";
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
            What::Prompt | What::Read | What::Tools | What::Unknown | What::Other => {}
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
                What::Prompt | What::Read => {
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

/// Whether a text is the address of something that is to be fetched.
fn is_address(text: &str) -> bool {
    text.trim_start().split_once("://").is_some_and(|(scheme, _)| {
        (1..12).contains(&scheme.len()) && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What a key stands for below a message or a tool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Type,
    FileId,
    Medium,
    Url,
    Binary,
    /// What people write, addresses within it too.
    Words,
    Other,
}

/// Text that a model reads.
struct Content<'r, 'd> {
    reading: &'r mut Reading<'d>,
    depth: u32,
    /// Numbers are model tokens.
    numbers: bool,
    kind: What,
    key: Part,
}

/// Tools that the client runs. Others the server runs by itself, and reads what they find.
const RUN_BY_CLIENTS: [&str; 6] =
    ["function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"];

/// What a tool is.
#[derive(Deserialize)]
struct Tool<'d> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'d, str>>,
    #[serde(default)]
    function: Option<serde::de::IgnoredAny>,
}

/// Why a list of tools has no price here, if it has none.
fn hosted(raw: &str) -> Option<BadRequest> {
    let tools: Vec<Tool<'_>> = match serde_json::from_str::<Option<Vec<Tool<'_>>>>(raw) {
        Ok(tools) => tools.unwrap_or_default(),
        Err(_) => return Some(bad("tools is no list of tools", Some("tools"))),
    };
    let hosted = tools.iter().find(|tool| match &tool.kind {
        Some(kind) => !RUN_BY_CLIENTS.contains(&kind.as_ref()),
        None => tool.function.is_none(),
    })?;
    let kind = hosted.kind.as_deref().unwrap_or("without a type");
    let why = format!("the tool {kind:?} is refused: what the provider reads by itself has no price here");
    Some(bad(why, Some("tools")))
}

impl<'d> Content<'_, 'd> {
    fn medium(&mut self, text: &str) {
        self.reading.media += 1;
        self.reading.read.binary(text.len());
    }

    fn below(&mut self, key: Part) -> Content<'_, 'd> {
        Content { reading: self.reading, depth: self.depth + 1, numbers: self.numbers, kind: self.kind, key }
    }

    fn string(&mut self, text: &str) {
        match self.key {
            Part::Type => {
                self.reading.keeps |= text == "item_reference";
                if text == "item_reference" && self.reading.dialect.state.is_none() {
                    let why = "an item_reference is refused: send the whole item";
                    self.reading.refusal.get_or_insert(bad(why, Some("input")));
                }
            }
            Part::FileId if self.reading.dialect.state.is_some() => self.reading.keeps = true,
            Part::FileId if self.kind != What::Tools => {
                let why =
                    "a file_id is refused: what is kept at the provider has no price here; send the file";
                self.reading.refusal.get_or_insert(bad(why, Some("file_id")));
            }
            // Whatever it is, a model may make some thousand model tokens of it.
            Part::Binary => self.medium(text),
            _ if is_binary(text) => self.medium(text),
            Part::Url => self.medium(text),
            Part::Other if self.kind != What::Tools && is_address(text) => self.medium(text),
            _ => self.reading.read.add(text),
        }
    }
}

impl<'d> DeserializeSeed<'d> for Content<'_, 'd> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Content<'_, 'd> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("text")
    }

    fn visit_map<A: MapAccess<'d>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.numbers = false;
        let stored = self.kind == What::Prompt && self.depth == 0;
        self.reading.keeps |= stored;
        if stored && self.reading.dialect.state.is_none() {
            let why = "a prompt that is kept at the provider is refused: it has no price here";
            self.reading.refusal.get_or_insert(bad(why, Some("prompt")));
        }
        let medium = self.key == Part::Medium;
        while let Some(name) = map.next_key_seed(Name)? {
            let part = match name.as_ref() {
                "type" => Part::Type,
                "file_id" => Part::FileId,
                "image_url" | "video_url" | "audio_url" | "input_audio" | "file" => Part::Medium,
                "file_url" => Part::Url,
                "url" if medium => Part::Url,
                "data" if medium => Part::Binary,
                "file_data" | "encrypted_content" => Part::Binary,
                "text" | "content" | "arguments" | "output" | "input" | "instructions" | "description" => {
                    Part::Words
                }
                _ => Part::Other,
            };
            // An address may stand where the object with it does.
            map.next_value_seed(self.below(part))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'d>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut count = 0;
        let mut prompts = true;
        let key = if self.depth == 0 { Part::Words } else { self.key };
        while seq.next_element_seed(Element(self.below(key), &mut prompts))?.is_some() {
            count += 1;
        }
        if self.kind == What::Prompt && self.depth == 0 && prompts {
            self.reading.prompts = count;
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(mut self, text: &'d str) -> Result<(), E> {
        self.visit_text(text);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.visit_text(text);
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        if self.numbers {
            self.reading.read.tokens(1);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl Content<'_, '_> {
    fn visit_text(&mut self, text: &str) {
        // `"image_url": "https://…"`, as /v1/responses has it.
        if self.key == Part::Medium && !is_binary(text) {
            self.key = Part::Url;
        }
        self.string(text);
    }
}

/// One of a list: a list of texts or of lists is one of prompts, a list of numbers is a prompt.
struct Element<'r, 'd, 'p>(Content<'r, 'd>, &'p mut bool);

impl<'d> DeserializeSeed<'d> for Element<'_, 'd, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Element<'_, 'd, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("text")
    }

    fn visit_map<A: MapAccess<'d>>(self, map: A) -> Result<(), A::Error> {
        *self.1 = false;
        let mut content = self.0;
        if content.reading.endpoint == Endpoint::Completions && content.kind == What::Prompt {
            let why = "a prompt is text, or a list of texts or of model tokens";
            content.reading.refusal.get_or_insert(bad(why, Some("prompt")));
        }
        // It is no prompt that is kept elsewhere, but an item.
        content.depth += 1;
        content.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'d>>(self, seq: A) -> Result<(), A::Error> {
        self.0.visit_seq(seq)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'d str) -> Result<(), E> {
        self.0.visit_borrowed_str(text)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.0.visit_str(text)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        *self.1 = false;
        self.0.visit_u64(number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            read(Endpoint::Responses, r#"{"model":"a","max_output_tokens":4}"#).unwrap().most.each,
            16
        );
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

    #[test]
    fn pictures_and_what_is_kept_have_room_in_the_reserve() {
        let asks = |content: Value| {
            let body = json!({"model": "a", "messages": [{"role": "user", "content": content}]}).to_string();
            let most = read(Endpoint::Chat, &body).unwrap().most;
            most.usage.input - body.len() as u64 - 64
        };
        assert_eq!(asks(json!("see https://example.org/x and data: y")), 0);
        assert_eq!(asks(json!([{"type": "text", "text": "https://example.org"}])), 0);
        for url in
            ["https://example.org/x.png", "HTTPS://example.org", "gs://b/x", "data:image/png;base64,AA=="]
        {
            assert_eq!(asks(json!([{"type": "image_url", "image_url": {"url": url}}])), 4_096, "{url}");
        }
        assert_eq!(asks(json!([{"type": "input_image", "image_url": "https://x"}])), 4_096);
        assert_eq!(asks(json!([{"type": "video", "video": ["https://a", "https://b"]}])), 2 * 4_096);
        assert_eq!(asks(json!([{"type": "file", "file": {"file_data": "JVBERi0="}}])), 4_096);
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
        let asked = read(Endpoint::Chat, r#"{"seed":1,"model":"a","max_tokens":5,"stream":true,"user":"u"}"#)
            .unwrap();
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
        let less =
            asked.without(&plain, none, &says("'max_tokens' is not supported with this model")).unwrap();
        assert!(sent(&asked, &plain, less).starts_with(r#"{"max_completion_tokens":100,"#) && less.is_kept());
        assert_eq!(
            asked.without(&plain, less, &says("max_completion_tokens is unknown")),
            None,
            "a bound there is"
        );
        let usage =
            asked.without(&plain, none, &says("stream_options: extra inputs are not permitted")).unwrap();
        assert_eq!(sent(&asked, &plain, usage), r#"{"max_tokens":100,"model":"a","stream":true}"#);
        // What does not fit the context is bounded by it, this once.
        let once = asked
            .without(&plain, none, &says("max_tokens is too large: 100, the context has 90 left"))
            .unwrap();
        assert!(!once.is_kept() && !sent(&asked, &plain, once).contains("max_tokens"));
        assert_eq!(asked.without(&plain, none, &says("temperature is wrong")), None);
        // An echo of what the holder said says nothing.
        for body in [
            r#"{"model":"a","tool_choice":"max_tokens"}"#,
            r#"{"model":"a","tool_choice":"max\u005ftokens"}"#,
        ] {
            let asked = read(Endpoint::Chat, body).unwrap();
            assert_eq!(asked.without(&plain, none, &says("tool_choice is 'max_tokens'")), None);
        }
        // The client's own bound is the client's.
        let own = read(Endpoint::Chat, r#"{"model":"a","max_tokens":5}"#).unwrap();
        assert_eq!(own.without(&plain, none, &says("max_tokens is not supported")), None);
    }
}
