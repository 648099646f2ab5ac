//! Requests as OpenAI's interface has them, read field by field: what is not known is let be, what is known and wrong
//! is refused in OpenAI's words.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Echo, Received};

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    param: Option<String>,
    code: Option<&'static str>,
    message: String,
}

impl Fault {
    /// A field that is not as it should be.
    pub(super) fn field(name: &str, wanted: &str) -> Self {
        let message = format!("Invalid value for '{name}': {wanted}.");
        let (status, code) = (StatusCode::BAD_REQUEST, Some("invalid_value"));
        Fault { status, param: Some(name.into()), code, message }
    }

    fn missing(name: &str) -> Self {
        let message = format!("Missing required parameter: '{name}'.");
        let (status, code) = (StatusCode::BAD_REQUEST, Some("missing_required_parameter"));
        Fault { status, param: Some(name.into()), code, message }
    }

    pub(super) fn no_model(name: &str) -> Self {
        let name: String = name.chars().take(128).collect();
        let (status, code) = (StatusCode::NOT_FOUND, Some("model_not_found"));
        let message = format!("The model `{name}` does not exist or you do not have access to it.");
        Fault { status, param: Some("model".into()), code, message }
    }

    pub(super) fn unknown(status: StatusCode, message: String) -> Self {
        Fault { status, param: None, code: None, message }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Fault { status, param, code, message } = self;
        let error =
            json!({"message": message, "type": "invalid_request_error", "param": param, "code": code});
        (status, Json(json!({"error": error}))).into_response()
    }
}

/// The fields of a request, or of an object in it.
pub(super) struct Ask {
    /// The model that is asked.
    pub(super) model: String,
    fields: Map<String, Value>,
    /// What its fields are called by, such as `stream_options.`.
    within: String,
}

impl Ask {
    /// Reads a request to this model.
    pub(super) fn read(echo: &Echo, body: Received) -> Result<Self, Fault> {
        let body = body.map_err(|rejected| Fault::unknown(rejected.status(), rejected.body_text()))?;
        let Ok(Value::Object(fields)) = serde_json::from_slice(&body) else {
            let message = "We could not parse the JSON body of your request: a JSON object is expected.";
            return Err(Fault::unknown(StatusCode::BAD_REQUEST, message.into()));
        };
        let mut ask = Ask { model: String::new(), fields, within: String::new() };
        ask.model = ask.text("model")?.ok_or_else(|| Fault::missing("model"))?.to_string();
        if echo.knows(&ask.model) { Ok(ask) } else { Err(Fault::no_model(&ask.model)) }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }

    /// A field that is there; null is not.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn wanted(&self, name: &str) -> Result<&Value, Fault> {
        self.get(name).ok_or_else(|| Fault::missing(&self.name(name)))
    }

    fn read_as<'v, T>(
        &'v self,
        name: &str,
        wanted: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Fault::field(&self.name(name), wanted))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        self.read_as(name, "a string is expected", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.read_as(name, "a boolean is expected", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn list(&self, name: &str) -> Result<&[Value], Fault> {
        let list = self.read_as(name, "an array is expected", Value::as_array)?;
        Ok(list.map_or(&[], Vec::as_slice))
    }

    /// An object in it; empty where there is none.
    pub(super) fn object(&self, name: &str) -> Result<Ask, Fault> {
        let found = self.read_as(name, "an object is expected", Value::as_object)?;
        let within = format!("{}.", self.name(name));
        Ok(Ask { model: self.model.clone(), fields: found.cloned().unwrap_or_default(), within })
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
        let wanted = format!("a whole number from {least} to {most} is expected");
        self.read_as(name, &wanted, |value| value.as_u64().filter(|number| (least..=most).contains(number)))
    }

    /// Decimals that change nothing here, but are refused where OpenAI would.
    pub(super) fn check_decimals(&self) -> Result<(), Fault> {
        let bounds = [
            ("temperature", 0.0, 2.0),
            ("top_p", 0.0, 1.0),
            ("presence_penalty", -2.0, 2.0),
            ("frequency_penalty", -2.0, 2.0),
        ];
        for (name, least, most) in bounds {
            let wanted = format!("a decimal from {least} to {most} is expected");
            self.read_as(name, &wanted, |value| {
                value.as_f64().filter(|number| (least..=most).contains(number))
            })?;
        }
        let seed = |value: &Value| (value.is_i64() || value.is_u64()).then_some(());
        self.read_as("seed", "a whole number is expected", seed)?;
        Ok(())
    }

    /// `stop`: one or several.
    pub(super) fn stop(&self) -> Result<Vec<String>, Fault> {
        let read = |value: &Value| match value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(several) if several.len() <= 4 => {
                several.iter().map(|one| one.as_str().map(str::to_string)).collect()
            }
            _ => None,
        };
        let stop = self.read_as("stop", "a string or up to four of them are expected", read)?;
        Ok(stop.unwrap_or_default())
    }

    /// Whether a stream ends with its usage.
    pub(super) fn include_usage(&self) -> Result<bool, Fault> {
        if self.get("stream_options").is_some() && !self.flag("stream")? {
            return Err(Fault::field("stream_options", "it is only allowed when 'stream' is true"));
        }
        self.object("stream_options")?.flag("include_usage")
    }
}

/// The text of a message's content: a string, or the parts of a list that are text.
pub(super) fn text_of(content: &Value, name: &str) -> Result<String, Fault> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                let part = part.as_object().filter(|part| part.get("type").is_some_and(Value::is_string));
                let wanted = "an object with a 'type' is expected";
                let part = part.ok_or_else(|| Fault::field(&format!("{name}[{index}]"), wanted))?;
                if let Some(Value::String(words)) = part.get("text") {
                    text += words;
                }
            }
            Ok(text)
        }
        _ => Err(Fault::field(name, "a string or an array of parts is expected")),
    }
}
