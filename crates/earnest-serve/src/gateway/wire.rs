//! What of OpenAI's wire format the gateway reads: the few fields of a request that decide its price, and the usage and
//! text of an answer. Everything else passes as it came; what is added is spliced into the bytes.

use std::borrow::Cow;
use std::ops::Range;

use earnest_core::charge::{Service, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
}

impl Endpoint {
    /// All.
    pub const ALL: [Endpoint; 4] =
        [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Responses];

    /// Below `/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/chat/completions",
            Endpoint::Completions => "/completions",
            Endpoint::Embeddings => "/embeddings",
            Endpoint::Responses => "/responses",
        }
    }

    /// What it is sold as.
    pub fn service(self) -> Service {
        match self {
            Endpoint::Embeddings => Service::Embedding,
            _ => Service::Text,
        }
    }
}

/// What a request says that matters here. A field that stands twice is refused: the provider might read the other one.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    stream: Option<bool>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    best_of: Option<u64>,
    background: Option<bool>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
}

/// The names of those fields, and whether a body writes one of them in another way that some providers take for the same:
/// Go's parser (Ollama's) does not tell `Model` from `model`, nor `ſtream` from `stream`, and the last one counts.
struct Names(Option<String>);

impl Names {
    const READ: [&str; 9] = [
        "model",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "best_of",
        "background",
        "stream_options",
    ];

    fn is_another_way(name: &str) -> bool {
        let folded = name.chars().map(|letter| match letter {
            'ſ' => 's',
            '\u{212a}' => 'k', // the sign of the Kelvin
            letter => letter.to_ascii_lowercase(),
        });
        !Self::READ.contains(&name) && Self::READ.iter().any(|read| folded.clone().eq(read.chars()))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Names;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut found = None;
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    map.next_value::<serde::de::IgnoredAny>()?;
                    if Names::is_another_way(&name) {
                        found = Some(name.into_owned());
                    }
                }
                Ok(Names(found))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// Where fields stand that may be there and say nothing: a second one of the same name must not be added.
#[derive(Deserialize)]
struct Places<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    max_output_tokens: Option<&'a RawValue>,
}

/// A field that is there, `null` included.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A request as it goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The model, as the price list names it.
    pub model: String,
    /// The answer comes in pieces.
    pub stream: bool,
    /// The client wants to see the usage of a stream.
    pub shows_usage: bool,
    /// The most that it can use.
    pub most: Usage,
    /// The body.
    pub body: Vec<u8>,
    /// Where the model's name stands in it, quotes included.
    pub model_at: Range<usize>,
}

/// Most answers to one request.
const CHOICES: u64 = 128;
/// Model tokens that a chat template may add to what is sent.
const TEMPLATE: u64 = 64;

impl Asked {
    /// Reads a body. `most_written` is what is written at most where the request does not say.
    pub fn read(endpoint: Endpoint, body: &[u8], most_written: u64) -> Result<Self, Refusal> {
        let bad = |why: String| Refusal::Bad(why, None);
        // An array would be taken for the fields in their order.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(bad("the body is not a JSON object".into()));
        }
        // What is skipped is not looked at closely by the parser.
        if std::str::from_utf8(body).is_err() {
            return Err(bad("the body is not UTF-8".into()));
        }
        let fields: Fields<'_> =
            serde_json::from_slice(body).map_err(|error| bad(format!("the body cannot be read: {error}")))?;
        if let Ok(Names(Some(name))) = serde_json::from_slice(body) {
            return Err(bad(format!(
                "the field {name:?} is refused: some providers take it for {:?}",
                name.to_ascii_lowercase()
            )));
        }
        let model = fields.model.filter(|model| !model.is_empty());
        let model = model.ok_or(Refusal::Bad("you must provide a model parameter".into(), Some("model")))?;
        if fields.background == Some(true) {
            return Err(Refusal::Bad("answers in the background are not offered".into(), Some("background")));
        }
        let choices = fields.n.unwrap_or(1).max(fields.best_of.unwrap_or(1)).max(1);
        if choices > CHOICES {
            return Err(Refusal::Bad(format!("n is {choices}, and the most is {CHOICES}"), Some("n")));
        }
        let stream = fields.stream.unwrap_or(false);
        // Which of them a provider goes by is its own affair.
        let given = fields.max_output_tokens.max(fields.max_completion_tokens).max(fields.max_tokens);
        let writes = endpoint.service() == Service::Text;
        let output = if writes { given.unwrap_or(most_written).saturating_mul(choices) } else { 0 };
        let input = (body.len() as u64).saturating_add(TEMPLATE);
        let most = Usage { input, cached: 0, output };

        // What is added comes first: a provider that read a later field of the same name would be told twice.
        let mut added = String::new();
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        if writes && given.is_none() {
            let places: Places<'_> = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
            let (name, place) = match endpoint {
                Endpoint::Responses => ("max_output_tokens", places.max_output_tokens),
                _ => ("max_tokens", places.max_tokens),
            };
            match place {
                Some(null) => edits.push((within(body, null.get()), most_written.to_string())),
                None => added += &format!("\"{name}\":{most_written},"),
            }
        }
        let mut shows_usage = true;
        if stream && matches!(endpoint, Endpoint::Chat | Endpoint::Completions) {
            let options = fields.stream_options.filter(|options| options.get() != "null");
            let shown = match options {
                Some(options) => serde_json::from_str::<StreamOptions>(options.get())
                    .map_err(|error| Refusal::Bad(error.to_string(), Some("stream_options")))?
                    .include_usage
                    .unwrap_or(false),
                None => false,
            };
            if !shown {
                shows_usage = false;
                match fields.stream_options {
                    None => added += "\"stream_options\":{\"include_usage\":true},",
                    Some(raw) => {
                        let mut map: serde_json::Map<String, serde_json::Value> =
                            serde_json::from_str::<Option<_>>(raw.get())
                                .map_err(|error| Refusal::Bad(error.to_string(), Some("stream_options")))?
                                .unwrap_or_default();
                        map.insert("include_usage".into(), true.into());
                        edits.push((within(body, raw.get()), serde_json::Value::Object(map).to_string()));
                    }
                }
            }
        }
        let model = model.into_owned();
        let mut out = Vec::with_capacity(body.len() + added.len() + 32);
        let open = body.iter().position(|&byte| byte == b'{').expect("it starts with one") + 1;
        out.extend_from_slice(&body[..open]);
        out.extend_from_slice(added.as_bytes());
        let mut at = open;
        edits.sort_by_key(|(range, _)| range.start);
        for (range, text) in edits {
            out.extend_from_slice(&body[at..range.start]);
            out.extend_from_slice(text.as_bytes());
            at = range.end;
        }
        out.extend_from_slice(&body[at..]);
        let model_at = place_of_model(&out).ok_or_else(|| bad("the body cannot be read".into()))?;
        Ok(Asked { model, stream, shows_usage, most, body: out, model_at })
    }

    /// The body with another name for the model.
    pub fn body_for(&self, model: &str) -> Vec<u8> {
        if model == self.model {
            return self.body.clone();
        }
        let name = serde_json::to_string(model).expect("a string");
        [&self.body[..self.model_at.start], name.as_bytes(), &self.body[self.model_at.end..]].concat()
    }
}

/// Where a piece of a body stands in it.
fn within(body: &[u8], piece: &str) -> Range<usize> {
    let start = piece.as_ptr() as usize - body.as_ptr() as usize;
    start..start + piece.len()
}

fn place_of_model(body: &[u8]) -> Option<Range<usize>> {
    let places: Places<'_> = serde_json::from_slice(body).ok()?;
    Some(within(body, places.model?.get()))
}

/// The usage that a provider states, in the words of each endpoint.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Stated {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Stated {
    fn usage(self) -> Usage {
        let details = self.prompt_tokens_details.or(self.input_tokens_details).unwrap_or_default();
        Usage {
            input: self.prompt_tokens.or(self.input_tokens).unwrap_or(0),
            cached: details.cached_tokens.unwrap_or(0),
            output: self.completion_tokens.or(self.output_tokens).unwrap_or(0),
        }
    }
}

/// What of an answer, or of one event of it, matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The model that says it answered.
    pub model: Option<String>,
    /// The usage it states.
    pub usage: Option<Usage>,
    /// Bytes of text in it: every model token that was written left at least one of them, but for a few at the ends.
    pub text: u64,
    /// Pieces of text in it.
    pub pieces: u64,
    /// Nothing but usage: the event that a client gets only if it asked.
    pub only_usage: bool,
    /// The answer says that it is an error.
    pub failed: bool,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    usage: Option<Stated>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    output: Option<Vec<Item<'a>>>,
    /// An event of `/v1/responses`: a piece of text, or all that there is so far.
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    delta: Option<Message<'a>>,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow, default)]
    summary: Option<Vec<Part<'a>>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
}

/// Model tokens an answer, and a tool call, may have beside its text: their ends and their markup.
const MARKUP: u64 = 16;

impl Told {
    /// Reads a JSON answer or the data of one event.
    pub fn read(data: &[u8]) -> Result<Self, serde_json::Error> {
        let answer: Answer<'_> = serde_json::from_slice(data)?;
        let mut told = Told {
            model: answer.model.map(Cow::into_owned),
            usage: answer.usage.map(Stated::usage),
            failed: answer.error.is_some(),
            ..Told::default()
        };
        let empty = answer.choices.as_ref().is_some_and(Vec::is_empty);
        told.only_usage = empty && told.usage.is_some();
        for choice in answer.choices.iter().flatten() {
            told.text(choice.text.as_deref());
            for message in choice.message.iter().chain(&choice.delta) {
                told.text(message.content.as_deref());
                told.text(message.reasoning_content.as_deref());
                told.text(message.reasoning.map(RawValue::get).filter(|raw| *raw != "null"));
                told.text(message.refusal.as_deref());
                for function in message.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref())
                {
                    told.text(function.name.as_deref());
                    told.text(function.arguments.as_deref());
                    told.text += if function.name.is_some() { MARKUP } else { 0 };
                }
            }
            told.text += if choice.message.is_some() || choice.text.is_some() { MARKUP } else { 0 };
        }
        for item in answer.output.iter().flatten() {
            for part in item.content.iter().chain(&item.summary).flatten() {
                told.text(part.text.as_deref());
                told.text(part.refusal.as_deref());
            }
            told.text(item.name.as_deref());
            told.text(item.arguments.as_deref());
            told.text += MARKUP;
        }
        told.text(answer.delta.map(RawValue::get).filter(|raw| raw.starts_with('"')));
        if let Some(raw) = answer.response {
            #[derive(Deserialize)]
            struct Whole<'a> {
                #[serde(borrow)]
                model: Option<Cow<'a, str>>,
                usage: Option<Stated>,
            }
            if let Ok(whole) = serde_json::from_str::<Whole<'_>>(raw.get()) {
                told.model = told.model.or(whole.model.map(Cow::into_owned));
                told.usage = told.usage.or(whole.usage.map(Stated::usage));
            }
        }
        Ok(told)
    }

    fn text(&mut self, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.text += text.len() as u64;
            self.pieces += 1;
        }
    }
}

/// Model tokens that may be at the ends of a stream's answer without any text.
pub const ENDS: u64 = MARKUP;

/// Whether an answer may come from a model: names carry dates and sizes behind them.
pub fn is_the_model(said: &str, names: [&str; 2]) -> bool {
    names.iter().any(|name| {
        said == *name || said.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', ':', '@']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(endpoint: Endpoint, body: &str) -> Asked {
        Asked::read(endpoint, body.as_bytes(), 100).unwrap_or_else(|refusal| panic!("{}", refusal.body()))
    }

    #[test]
    fn what_is_not_ours_passes_as_it_came() {
        let body =
            r#" {"messages":[{"role":"user","content":"h\u00e9"}], "max_tokens": 5,"model":"a","zzz":1.00}"#;
        let plain = asked(Endpoint::Chat, body);
        assert_eq!(String::from_utf8(plain.body.clone()).unwrap(), body);
        assert_eq!(plain.most, Usage { input: body.len() as u64 + 64, cached: 0, output: 5 });
        assert_eq!(
            String::from_utf8(plain.body_for("b/\"c\"")).unwrap(),
            body.replace("\"a\"", r#""b/\"c\"""#)
        );
    }

    #[test]
    fn a_bound_and_the_usage_are_asked_for_where_the_request_does_not() {
        let streamed = asked(Endpoint::Chat, r#"{"model":"a","stream":true,"n":3}"#);
        assert_eq!(
            String::from_utf8(streamed.body).unwrap(),
            r#"{"max_tokens":100,"stream_options":{"include_usage":true},"model":"a","stream":true,"n":3}"#
        );
        assert_eq!((streamed.most.output, streamed.shows_usage), (300, false));
        let kept = r#"{"model":"a","stream":true,"max_completion_tokens":9,"stream_options":{"x":1,"include_usage":true}}"#;
        assert_eq!(asked(Endpoint::Chat, kept).body, kept.as_bytes());
        let changed = r#"{"model":"a","stream":true,"max_tokens":9,"stream_options":{"x":1},"y":2}"#;
        assert_eq!(
            String::from_utf8(asked(Endpoint::Chat, changed).body).unwrap(),
            r#"{"model":"a","stream":true,"max_tokens":9,"stream_options":{"include_usage":true,"x":1},"y":2}"#
        );
        let null = r#"{"stream_options":null,"model":"a","stream":true,"max_tokens":9}"#;
        assert_eq!(
            String::from_utf8(asked(Endpoint::Chat, null).body).unwrap(),
            r#"{"stream_options":{"include_usage":true},"model":"a","stream":true,"max_tokens":9}"#
        );
        let both = r#"{"max_tokens":null,"model":"a","stream_options":null,"stream":true}"#;
        assert_eq!(
            String::from_utf8(asked(Endpoint::Chat, both).body).unwrap(),
            r#"{"max_tokens":100,"model":"a","stream_options":{"include_usage":true},"stream":true}"#
        );
        assert_eq!(asked(Endpoint::Embeddings, r#"{"model":"a","input":"b"}"#).most.output, 0);
        assert!(
            asked(Endpoint::Responses, r#"{"model":"a"}"#).body.starts_with(b"{\"max_output_tokens\":100,")
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
            r#"{"model":"a","stream":"yes"}"#,
            r#"{"model":"a","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
            r#"{"model":"a","background":true}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"model":"a","\u017ftream":true}"#,
            r#"{"model":"a","Max_Tokens":9}"#,
            r#"{"model":"a","N":9}"#,
            r#"{"model":""}"#,
            r#"{"model":7}"#,
            "{}",
            "{\"model\":\"a\"}x",
        ] {
            assert!(Asked::read(Endpoint::Chat, body.as_bytes(), 1).is_err(), "{body}");
        }
    }

    #[test]
    fn the_text_of_an_answer_is_counted_whatever_the_endpoint() {
        let told = |data: &str| Told::read(data.as_bytes()).unwrap();
        let chat = told(
            r#"{"model":"m","choices":[{"message":{"content":"four","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}],
            "usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}"#,
        );
        assert_eq!(chat.usage, Some(Usage { input: 7, cached: 2, output: 3 }));
        assert_eq!(chat.text, 4 + 1 + 2 + 2 * MARKUP);
        let last = told(r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#);
        assert!(last.only_usage);
        assert_eq!(told(r#"{"choices":[{"delta":{"content":"é"}}]}"#).text, 2);
        assert_eq!(told(r#"{"type":"response.output_text.delta","delta":"abc"}"#).pieces, 1);
        let whole = r#"{"type":"response.completed","response":{"model":"m","usage":{"input_tokens":1,"output_tokens":2}}}"#;
        assert_eq!(told(whole).usage, Some(Usage { input: 1, cached: 0, output: 2 }));
        assert!(told(r#"{"error":{"message":"no"}}"#).failed);
        assert!(!told(r#"{"id":"x","error":null,"output":[{"content":[{"text":"hi"}]}]}"#).failed);
    }

    #[test]
    fn another_models_name_is_noticed() {
        assert!(is_the_model("gpt-4o-2024-08-06", ["text-large", "gpt-4o"]));
        assert!(is_the_model("text-large", ["text-large", "gpt-4o"]));
        assert!(!is_the_model("gpt-4omini", ["text-large", "gpt-4o"]));
        assert!(!is_the_model("tiny", ["text-large", "gpt-4o"]));
    }
}
