//! `/v1/chat/completions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::{Answer, Form, Tool};
use super::ask::{Ask, Fault, text_of};
use super::words::{End, Written, count, limit};
use super::{Event, Received, Shared, id, now};

/// What there is to know of every choice.
struct Chat {
    answer: Answer,
    prompt: u64,
    choices: u64,
    /// How many alternatives are told of each model token; none: nothing is.
    logprobs: Option<u64>,
    id: String,
    call: String,
    created: u64,
    model: String,
}

pub(super) async fn answer(State(echo): Shared, body: Received) -> Result<Response, Fault> {
    let ask = Ask::read(&echo, body)?;
    ask.check_decimals()?;
    let (told, prompt) = told(&ask)?;
    let form = Form::read(ask.get("response_format"), "response_format")?;
    let tool = Tool::forced(ask.list("tools")?, ask.get("tool_choice"))?;
    let most = ask.number("max_completion_tokens", 1, u64::MAX)?;
    let most = most.or(ask.number("max_tokens", 1, u64::MAX)?);
    let choices = ask.number("n", 1, 128)?.unwrap_or(1);
    let most = limit(most, usize::try_from(choices).expect("at most 128"));
    let logprobs = ask.flag("logprobs")?;
    let alternatives = ask.number("top_logprobs", 0, 20)?;
    if alternatives.is_some() && !logprobs {
        return Err(Fault::field("top_logprobs", "'logprobs' has to be true"));
    }
    let chat = Chat {
        answer: Answer::to(&told, &form, tool, &ask.stop()?, most),
        prompt,
        choices,
        logprobs: logprobs.then_some(alternatives.unwrap_or(0)),
        id: id("chatcmpl-"),
        call: id("call_"),
        created: now(),
        model: ask.model.clone(),
    };
    let usage = ask.include_usage()?;
    if ask.flag("stream")? {
        return Ok(echo.stream(Arc::new(chat).events(usage)));
    }
    echo.write(chat.answer.written.tokens()).await;
    Ok(Json(chat.whole()).into_response())
}

/// The last thing the model was told, and how much it has to read.
fn told(ask: &Ask) -> Result<(String, u64), Fault> {
    ask.wanted("messages")?;
    let messages = ask.list("messages")?;
    if messages.is_empty() {
        return Err(Fault::field("messages", "at least one message is expected"));
    }
    let (mut last, mut read) = (String::new(), 0);
    for (index, message) in messages.iter().enumerate() {
        let name = format!("messages[{index}]");
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        if !["developer", "system", "user", "assistant", "tool", "function"].contains(&role) {
            let wanted = "system, developer, user, assistant or tool is expected";
            return Err(Fault::field(&format!("{name}.role"), wanted));
        }
        let content = message.get("content").unwrap_or(&Value::Null);
        let text = text_of(content, &format!("{name}.content"))?;
        read += count(&text);
        if ["user", "tool", "function"].contains(&role) {
            last = text;
        }
    }
    Ok((last, read))
}

impl Chat {
    fn finish(&self) -> &'static str {
        match (self.answer.written.end, &self.answer.tool) {
            (End::Length, _) => "length",
            (End::Stop, Some(_)) => "tool_calls",
            (End::Stop, None) => "stop",
        }
    }

    fn usage(&self) -> Value {
        let completion = self.answer.written.tokens() as u64 * self.choices;
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": completion,
            "total_tokens": self.prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        })
    }

    fn logprobs(&self, tokens: std::ops::Range<usize>) -> Value {
        let (Some(alternatives), None) = (self.logprobs, &self.answer.tool) else { return Value::Null };
        let written = &self.answer.written;
        let content: Vec<Value> = tokens.map(|index| logprob(written, index, alternatives)).collect();
        json!({"content": content, "refusal": null})
    }

    fn whole(&self) -> Value {
        let written = &self.answer.written;
        let message = match &self.answer.tool {
            Some(tool) => {
                let function = json!({"name": tool, "arguments": written.text()});
                json!({
                    "role": "assistant",
                    "content": null,
                    "refusal": null,
                    "tool_calls": [{"id": self.call, "type": "function", "function": function}],
                })
            }
            None => json!({"role": "assistant", "content": written.text(), "refusal": null}),
        };
        let choice = |index| {
            json!({
                "index": index,
                "message": message,
                "logprobs": self.logprobs(0..written.tokens()),
                "finish_reason": self.finish(),
            })
        };
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": (0..self.choices).map(choice).collect::<Vec<_>>(),
            "usage": self.usage(),
            "service_tier": "default",
            "system_fingerprint": "fp_echo",
        })
    }

    fn chunk(&self, choices: Value, usage: Option<Value>) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_echo",
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        chunk
    }

    fn events(self: Arc<Self>, usage: bool) -> impl Iterator<Item = Event> + Send {
        let (choices, tokens) = (self.choices, self.answer.written.tokens());
        let chat = self.clone();
        let piece = move |token: bool, index: u64, delta: Value, logprobs: Value, finish: Option<&str>| {
            let choice =
                json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
            Event::data(token, &chat.chunk(json!([choice]), usage.then_some(Value::Null)))
        };
        let (first, next, last) = (piece.clone(), piece.clone(), piece);
        let (begun, written, ended) = (self.clone(), self.clone(), self.clone());
        let begin = (0..choices).map(move |index| {
            let delta = match &begun.answer.tool {
                Some(tool) => {
                    let function = json!({"name": tool, "arguments": ""});
                    let call =
                        json!({"index": 0, "id": begun.call, "type": "function", "function": function});
                    json!({"role": "assistant", "content": null, "tool_calls": [call]})
                }
                None => json!({"role": "assistant", "content": "", "refusal": null}),
            };
            first(false, index, delta, Value::Null, None)
        });
        let write = (0..tokens).flat_map(move |token| {
            let text = written.answer.written.token(token);
            let delta = match written.answer.tool {
                Some(_) => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
                None => json!({"content": text}),
            };
            let logprobs = written.logprobs(token..token + 1);
            let next = next.clone();
            // The choices are written side by side.
            (0..choices).map(move |index| next(index == 0, index, delta.clone(), logprobs.clone(), None))
        });
        let finish = self.finish();
        let end = (0..choices).map(move |index| last(false, index, json!({}), Value::Null, Some(finish)));
        let sum = usage.then(move || Event::data(false, &ended.chunk(json!([]), Some(ended.usage()))));
        begin.chain(write).chain(end).chain(sum).chain([Event::done()])
    }
}

/// It is always quite sure of what it says.
fn logprob(written: &Written, index: usize, alternatives: u64) -> Value {
    let token = written.token(index);
    let mut entry = json!({"token": token, "logprob": 0.0, "bytes": token.as_bytes()});
    let top = if alternatives == 0 { json!([]) } else { json!([entry]) };
    entry["top_logprobs"] = top;
    entry
}
