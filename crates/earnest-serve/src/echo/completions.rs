//! `/v1/completions`, the older interface: a prompt, and what comes after it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::{Answer, Form};
use super::ask::{Ask, Fault};
use super::words::{End, Written, count, limit};
use super::{Event, Received, Shared, id, now};

/// Most prompts of one request.
const MOST_PROMPTS: usize = 2_048;

struct Completions {
    /// One of each prompt.
    written: Vec<Written>,
    prompt: u64,
    choices: usize,
    logprobs: Option<u64>,
    id: String,
    created: u64,
    model: String,
}

pub(super) async fn answer(State(echo): Shared, body: Received) -> Result<Response, Fault> {
    let ask = Ask::read(&echo, body)?;
    ask.check_decimals()?;
    let prompts = inputs(ask.wanted("prompt")?, "prompt")?;
    let (stop, most) = (ask.stop()?, ask.number("max_tokens", 0, u64::MAX)?);
    let choices = ask.number("n", 1, 128)?.unwrap_or(1);
    let choices = usize::try_from(choices).expect("at most 128");
    let most = limit(most, prompts.len() * choices);
    let write = |prompt: &String| Answer::to(prompt, &Form::Text, None, &stop, most).written;
    let completions = Completions {
        written: prompts.iter().map(write).collect(),
        prompt: prompts.iter().map(|prompt| count(prompt)).sum(),
        choices,
        logprobs: ask.number("logprobs", 0, 5)?,
        id: id("cmpl-"),
        created: now(),
        model: ask.model.clone(),
    };
    let usage = ask.include_usage()?;
    if ask.flag("stream")? {
        return Ok(echo.stream(Arc::new(completions).events(usage)));
    }
    echo.write(completions.written.iter().map(Written::tokens).max().unwrap_or(0)).await;
    Ok(Json(completions.whole()).into_response())
}

/// A string, several, the numbers of model tokens, or several lists of them; such numbers mean nothing to it, and it
/// repeats them as they are.
pub(super) fn inputs(input: &Value, name: &str) -> Result<Vec<String>, Fault> {
    let wanted = format!("a string, or an array of 1 to {MOST_PROMPTS} strings or model tokens is expected");
    let bad = || Fault::field(name, &wanted);
    let numbers = |list: &[Value]| -> Option<String> {
        let texts: Option<Vec<String>> =
            list.iter().map(|number| number.as_u64().map(|number| number.to_string())).collect();
        texts.map(|texts| texts.join(" "))
    };
    let list = match input {
        Value::String(text) => return Ok(vec![text.clone()]),
        Value::Array(list) if !list.is_empty() => list,
        _ => return Err(bad()),
    };
    if let Some(text) = numbers(list) {
        return Ok(vec![text]);
    }
    if list.len() > MOST_PROMPTS {
        return Err(bad());
    }
    let each = |one: &Value| match one {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) if !list.is_empty() => numbers(list),
        _ => None,
    };
    list.iter().map(each).collect::<Option<Vec<_>>>().ok_or_else(bad)
}

impl Completions {
    fn usage(&self) -> Value {
        let written: usize = self.written.iter().map(Written::tokens).sum();
        let completion = (written * self.choices) as u64;
        let total = self.prompt + completion;
        json!({"prompt_tokens": self.prompt, "completion_tokens": completion, "total_tokens": total})
    }

    /// What of a prompt's answer goes into one choice.
    fn choice(&self, index: usize, tokens: std::ops::Range<usize>, finish: bool) -> Value {
        let written = &self.written[index / self.choices];
        let texts: Vec<&str> = tokens.clone().map(|token| written.token(token)).collect();
        let logprobs = self.logprobs.map(|alternatives| {
            let top = |text: &&str| (alternatives > 0).then(|| json!({*text: 0.0}));
            json!({
                "tokens": texts,
                "token_logprobs": vec![0.0; texts.len()],
                "top_logprobs": texts.iter().map(top).collect::<Vec<_>>(),
                "text_offset": tokens.map(|token| written.offset(token)).collect::<Vec<_>>(),
            })
        });
        let reason = match written.end {
            End::Stop => "stop",
            End::Length => "length",
        };
        json!({
            "index": index,
            "text": texts.concat(),
            "logprobs": logprobs,
            "finish_reason": finish.then_some(reason),
        })
    }

    fn object(&self, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut object = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_echo",
            "choices": choices,
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    }

    fn whole(&self) -> Value {
        let all = self.written.len() * self.choices;
        let whole = |index: usize| self.choice(index, 0..self.written[index / self.choices].tokens(), true);
        self.object((0..all).map(whole).collect(), Some(self.usage()))
    }

    fn events(self: Arc<Self>, usage: bool) -> impl Iterator<Item = Event> + Send {
        let all = self.written.len() * self.choices;
        let longest = self.written.iter().map(Written::tokens).max().unwrap_or(0);
        let null = usage.then_some(Value::Null);
        let (writing, ending, ended, no) = (self.clone(), self.clone(), self, null.clone());
        let write = (0..longest).flat_map(move |token| {
            let (writing, no) = (writing.clone(), no.clone());
            let has = writing.clone();
            let due = (0..all).filter(move |index| token < has.written[index / has.choices].tokens());
            due.enumerate().map(move |(turn, index)| {
                let choice = writing.choice(index, token..token + 1, false);
                Event::data(turn == 0, &writing.object(vec![choice], no.clone()))
            })
        });
        let end = (0..all).map(move |index| {
            Event::data(false, &ending.object(vec![ending.choice(index, 0..0, true)], null.clone()))
        });
        let sum = usage.then(move || Event::data(false, &ended.object(Vec::new(), Some(ended.usage()))));
        write.chain(end).chain(sum).chain([Event::done()])
    }
}
