//! Settings of a model: what its server calls it, which field bounds an answer there, what may be asked of it. One file
//! (TOML) that `earnest gateway` and `earnest provider` both read; what has an option has the same name there.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

/// How a server takes a model's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dialect {
    /// What the server calls the model; empty: as the price list does.
    #[serde(deserialize_with = "name")]
    pub upstream: String,
    /// Other names that its answers may carry.
    #[serde(deserialize_with = "names")]
    pub answers: Vec<String>,
    /// Which field bounds an answer.
    pub bound: Bound,
    /// Model tokens that are written at most where a request does not say.
    #[serde(deserialize_with = "some")]
    pub most_written: Option<u64>,
    /// The usage of a stream is asked for.
    pub usage: bool,
    /// Fields that pass, though they are refused otherwise.
    pub allow: Vec<String>,
    /// Fields that are taken out of requests.
    pub drop: Vec<String>,
    /// Model tokens that a conversation kept on the server may have; none: requests that go on with one are refused.
    #[serde(deserialize_with = "some")]
    pub state: Option<u64>,
    /// Model tokens of reasoning that are stated and not shown are charged; not said: those of the gateway's own upstreams
    /// are, and those of providers who dialled in are not, for nobody can see whether it is true.
    pub hidden: Option<bool>,
    /// Another server than the rest have: base URL, perhaps with a query.
    pub url: Option<String>,
    /// Variable of the environment with its API key.
    pub key_env: Option<String>,
    /// Headers that it wants; a value `env:NAME` is read from the environment.
    pub headers: BTreeMap<String, String>,
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if name.is_empty() { Err(de::Error::custom("a name is missing")) } else { Ok(name) }
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.iter().any(String::is_empty) { Err(de::Error::custom("a name is missing")) } else { Ok(names) }
}

fn some<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let count = u64::deserialize(from)?;
    if count == 0 { Err(de::Error::custom("it is a count of at least 1")) } else { Ok(Some(count)) }
}

/// Which field bounds an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Those that the request has, and `max_tokens` beside `max_completion_tokens`, which not every server knows.
    #[default]
    AsAsked,
    /// `max_tokens` alone.
    MaxTokens,
    /// `max_completion_tokens` alone: reasoning models of OpenAI and Azure refuse the other.
    MaxCompletionTokens,
    /// Nothing is added.
    None,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect {
            upstream: String::new(),
            answers: Vec::new(),
            bound: Bound::AsAsked,
            most_written: None,
            usage: true,
            allow: Vec::new(),
            drop: Vec::new(),
            state: None,
            hidden: None,
            url: None,
            key_env: None,
            headers: BTreeMap::new(),
        }
    }
}

impl Dialect {
    /// `NAME`, `NAME=UPSTREAM` or `NAME=UPSTREAM,ANSWERS…`, as the option `--model` has it: the name, and the rest.
    pub fn option(text: &str) -> (String, Self) {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        let mut names = rest.split(',').map(str::to_owned);
        let upstream = names.next().unwrap_or_default();
        (name.into(), Dialect { upstream, answers: names.collect(), ..Dialect::default() })
    }

    /// What the server calls the model.
    pub fn upstream<'n>(&'n self, name: &'n str) -> &'n str {
        if self.upstream.is_empty() { name } else { &self.upstream }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: BTreeMap<String, Dialect>,
}

/// Reads a file of settings; the error names line and column.
pub fn read(text: &str) -> Result<BTreeMap<String, Dialect>, toml::de::Error> {
    Ok(toml::from_str::<File>(text)?.models)
}

/// The first model of a file whose name has dots and no quotes, so that its table is another's.
pub fn unquoted(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let name = line.trim().strip_prefix("[models.")?.split_once(']')?.0;
        let name = name.strip_suffix(".headers").unwrap_or(name);
        (name.contains('.') && !name.contains(['"', '\''])).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_differs() {
        let models = read(
            "[models.chat]\nupstream = \"m\"\nanswers = [\"gpt-4.1-2025-04-14\"]\nbound = \"max_completion_tokens\"\nstate = 128_000\n[models.\"vendor/model:free\"]\n",
        )
        .unwrap();
        assert_eq!(models["chat"].upstream("chat"), "m");
        assert_eq!((models["chat"].bound, models["chat"].state), (Bound::MaxCompletionTokens, Some(128_000)));
        assert_eq!(models["vendor/model:free"], Dialect::default());
        for wrong in
            ["[models.a]\nbond = 1", "[models.a]\nmost_written = 0", "[models.a]\nbound = \"n\"", "x = 1"]
        {
            assert!(read(wrong).unwrap_err().to_string().contains("line"), "{wrong}");
        }
    }

    #[test]
    fn a_name_with_dots_and_no_quotes_is_found() {
        for (text, found) in [
            ("[models.a]\n[models.gpt-4.1]\n", Some("gpt-4.1")),
            ("[models.gpt-4.1.headers]", Some("gpt-4.1")),
            ("[models.\"gpt-4.1\"]\n[models.a.headers]\n# [models.b.c]", None),
        ] {
            assert_eq!(unquoted(text), found, "{text}");
        }
    }

    #[test]
    fn an_option_names_the_model_its_server_and_its_answers() {
        assert_eq!(Dialect::option("chat"), ("chat".into(), Dialect::default()));
        let (name, dialect) = Dialect::option("vendor/chat:free=m,gpt-4.1");
        assert_eq!((name.as_str(), dialect.upstream.as_str()), ("vendor/chat:free", "m"));
        assert_eq!(dialect.answers, ["gpt-4.1"]);
    }
}
