//! `/v1/responses`: what the official clients' `create`, `stream` and `parse` need. Nothing is kept, so no response can
//! be asked for again or be gone on from.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::{Answer, Form, Tool};
use super::ask::{Ask, Fault, text_of};
use super::words::{End, count, limit};
use super::{Event, Received, Shared, id, now};

struct Responses {
    answer: Answer,
    read: u64,
    /// Everything but status, output and usage.
    frame: Value,
    item: String,
    call: String,
}

/// Fields that a response repeats, and what they are where the request leaves them out.
fn repeated(ask: &Ask) -> Value {
    let defaults = json!({
        "instructions": null,
        "max_output_tokens": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "user": null,
    });
    let mut frame = defaults;
    for (name, value) in frame.as_object_mut().into_iter().flatten() {
        if let Some(asked) = ask.get(name) {
            *value = asked.clone();
        }
    }
    frame
}

pub(super) async fn answer(State(echo): Shared, body: Received) -> Result<Response, Fault> {
    let ask = Ask::read(&echo, body)?;
    ask.check_decimals()?;
    for name in ["previous_response_id", "conversation", "prompt"] {
        if ask.get(name).is_some() {
            return Err(Fault::field(name, "nothing is kept here; send the whole input"));
        }
    }
    if ask.flag("background")? {
        return Err(Fault::field("background", "nothing is kept here; ask and wait"));
    }
    let (told, read) = told(&ask)?;
    let form = Form::read(ask.object("text")?.get("format"), "text.format")?;
    let tool = Tool::forced(ask.list("tools")?, ask.get("tool_choice"))?;
    let most = limit(ask.number("max_output_tokens", 1, u64::MAX)?, 1);
    let mut frame = repeated(&ask);
    frame["id"] = id("resp_").into();
    frame["object"] = "response".into();
    frame["created_at"] = now().into();
    frame["model"] = ask.model.clone().into();
    frame["error"] = Value::Null;
    frame["previous_response_id"] = Value::Null;
    frame["reasoning"] = json!({"effort": null, "summary": null});
    frame["store"] = false.into();
    let (item, call) = (id(if tool.is_some() { "fc_" } else { "msg_" }), id("call_"));
    let answer = Answer::to(&told, &form, tool, &[], most);
    let responses = Responses { answer, read, frame, item, call };
    if ask.flag("stream")? {
        return Ok(echo.stream(Arc::new(responses).events()));
    }
    echo.write(responses.answer.written.tokens()).await;
    Ok(Json(responses.ended()).into_response())
}

/// The last thing the model was told, and how much it has to read.
fn told(ask: &Ask) -> Result<(String, u64), Fault> {
    let mut read = count(ask.text("instructions")?.unwrap_or_default());
    let items = match ask.wanted("input")? {
        Value::String(text) => return Ok((text.clone(), read + count(text))),
        Value::Array(items) if !items.is_empty() => items,
        _ => return Err(Fault::field("input", "a string or an array of items is expected")),
    };
    let mut last = String::new();
    for (index, item) in items.iter().enumerate() {
        let name = format!("input[{index}]");
        if !item.is_object() {
            return Err(Fault::field(&name, "an object is expected"));
        }
        let kind = item.get("type").and_then(Value::as_str).unwrap_or("message");
        let role = item.get("role").and_then(Value::as_str).unwrap_or_default();
        let (field, tells) = match kind {
            "message" if ["user", "assistant", "system", "developer"].contains(&role) => {
                ("content", role == "user")
            }
            "message" => {
                let wanted = "user, assistant, system or developer is expected";
                return Err(Fault::field(&format!("{name}.role"), wanted));
            }
            "function_call_output" => ("output", true),
            "function_call" => ("arguments", false),
            _ => continue,
        };
        let text = text_of(item.get(field).unwrap_or(&Value::Null), &format!("{name}.{field}"))?;
        read += count(&text);
        if tells {
            last = text;
        }
    }
    Ok((last, read))
}

impl Responses {
    fn part(&self, text: &str) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }

    /// What is written, as far as it is.
    fn output(&self, status: &str, text: Option<&str>) -> Value {
        match &self.answer.tool {
            Some(tool) => json!({
                "id": self.item,
                "type": "function_call",
                "status": status,
                "call_id": self.call,
                "name": tool,
                "arguments": text.unwrap_or_default(),
            }),
            None => json!({
                "id": self.item,
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": text.map(|text| self.part(text)).into_iter().collect::<Vec<_>>(),
            }),
        }
    }

    fn status(&self) -> &'static str {
        match self.answer.written.end {
            End::Stop => "completed",
            End::Length => "incomplete",
        }
    }

    fn response(&self, status: &str, output: Vec<Value>, usage: Value) -> Value {
        let mut response = self.frame.clone();
        response["status"] = status.into();
        response["output"] = output.into();
        response["usage"] = usage;
        let cut = status == "incomplete";
        response["incomplete_details"] =
            if cut { json!({"reason": "max_output_tokens"}) } else { Value::Null };
        response
    }

    fn begun(&self) -> Value {
        self.response("in_progress", Vec::new(), Value::Null)
    }

    fn ended(&self) -> Value {
        let (status, written) = (self.status(), self.answer.written.tokens() as u64);
        let usage = json!({
            "input_tokens": self.read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.read + written,
        });
        self.response(status, vec![self.output(status, Some(self.answer.written.text()))], usage)
    }

    /// The events in their order: what they are, and whether they carry a model token.
    fn events(self: Arc<Self>) -> impl Iterator<Item = Event> + Send {
        let (item, text) = (self.item.clone(), self.answer.written.text().to_string());
        let delta = match self.answer.tool {
            Some(_) => "response.function_call_arguments.delta",
            None => "response.output_text.delta",
        };
        let mut head = vec![
            json!({"type": "response.created", "response": self.begun()}),
            json!({"type": "response.in_progress", "response": self.begun()}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": self.output("in_progress", None)}),
        ];
        let mut tail = Vec::new();
        if let Some(tool) = &self.answer.tool {
            tail.push(json!({"type": "response.function_call_arguments.done", "item_id": item, "output_index": 0, "name": tool, "arguments": text}));
        } else {
            head.push(json!({"type": "response.content_part.added", "item_id": item, "output_index": 0, "content_index": 0, "part": self.part("")}));
            tail.push(json!({"type": "response.output_text.done", "item_id": item, "output_index": 0, "content_index": 0, "text": text, "logprobs": []}));
            tail.push(json!({"type": "response.content_part.done", "item_id": item, "output_index": 0, "content_index": 0, "part": self.part(&text)}));
        }
        let whole = self.output(self.status(), Some(&text));
        tail.push(json!({"type": "response.output_item.done", "output_index": 0, "item": whole}));
        let ended = format!("response.{}", self.status());
        tail.push(json!({"type": ended, "response": self.ended()}));
        let tokens = self.answer.written.tokens();
        let pieces = (0..tokens).map(move |token| {
            let piece = self.answer.written.token(token);
            let mut event = json!({"type": delta, "item_id": item, "output_index": 0, "delta": piece});
            if self.answer.tool.is_none() {
                event["content_index"] = 0.into();
                event["logprobs"] = json!([]);
            }
            (true, event)
        });
        let still = |event| (false, event);
        let all = head.into_iter().map(still).chain(pieces).chain(tail.into_iter().map(still));
        all.enumerate().map(|(number, (token, mut event))| {
            event["sequence_number"] = number.into();
            let kind = event["type"].as_str().unwrap_or_default();
            Event { text: format!("event: {kind}\ndata: {event}\n\n"), token }
        })
    }
}
