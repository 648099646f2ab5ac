//! What it answers, whichever interface asked: the last thing it was told, as text, as JSON of the wanted form, or as
//! the arguments of a tool that it must call.

use serde_json::{Value, json};

use super::ask::Fault;
use super::instance::instance;
use super::words::Written;

/// The form an answer must have.
pub(super) enum Form {
    Text,
    Object,
    Schema(Value),
}

impl Form {
    /// Of `response_format`, or of `text.format`, which keeps name and schema one level higher.
    pub(super) fn read(format: Option<&Value>, name: &str) -> Result<Self, Fault> {
        let Some(format) = format else { return Ok(Form::Text) };
        match format.get("type").and_then(Value::as_str) {
            Some("text") => Ok(Form::Text),
            Some("json_object") => Ok(Form::Object),
            Some("json_schema") => {
                let place = format.get("json_schema").unwrap_or(format);
                if !place.get("name").is_some_and(Value::is_string) {
                    return Err(Fault::field(name, "a json_schema with a name is expected"));
                }
                match place.get("schema") {
                    Some(schema) if schema.is_object() => Ok(Form::Schema(schema.clone())),
                    None | Some(Value::Null) => Ok(Form::Object),
                    Some(_) => Err(Fault::field(name, "a schema that is an object is expected")),
                }
            }
            _ => Err(Fault::field(name, "a type of text, json_object or json_schema is expected")),
        }
    }
}

/// A tool that has to be called.
pub(super) struct Tool {
    pub(super) name: String,
    parameters: Value,
}

impl Tool {
    /// The one that `tool_choice` forces, if it does. A tool's function is an object of its own, or is the tool.
    pub(super) fn forced(tools: &[Value], choice: Option<&Value>) -> Result<Option<Self>, Fault> {
        let mut known = Vec::new();
        for (index, tool) in tools.iter().enumerate() {
            if tool.get("type").and_then(Value::as_str) != Some("function") {
                continue;
            }
            let function = tool.get("function").unwrap_or(tool);
            let Some(Value::String(name)) = function.get("name") else {
                return Err(Fault::field(&format!("tools[{index}]"), "a function with a name is expected"));
            };
            let parameters = function.get("parameters").cloned().unwrap_or(json!({"type": "object"}));
            known.push(Tool { name: name.clone(), parameters });
        }
        let mut known = known.into_iter();
        let found = match choice {
            None => return Ok(None),
            Some(Value::String(word)) => match word.as_str() {
                "none" | "auto" => return Ok(None),
                "required" => known.next(),
                _ => None,
            },
            Some(named) => {
                let name = named.get("function").unwrap_or(named).get("name").and_then(Value::as_str);
                known.find(|tool| Some(tool.name.as_str()) == name)
            }
        };
        let wanted = "none, auto, required or one of 'tools' is expected";
        found.map(Some).ok_or_else(|| Fault::field("tool_choice", wanted))
    }
}

/// What is written.
pub(super) struct Answer {
    pub(super) written: Written,
    /// It is the arguments of this tool.
    pub(super) tool: Option<String>,
}

impl Answer {
    /// To the last thing it was told.
    pub(super) fn to(told: &str, form: &Form, tool: Option<Tool>, stop: &[String], most: u64) -> Self {
        let said = format!("echo: {told}");
        if let Some(tool) = tool {
            // Where an interface wants an object, a schema of something else would break its clients.
            let arguments = Some(instance(&tool.parameters, told)).filter(Value::is_object);
            let text = arguments.unwrap_or(json!({})).to_string();
            return Answer { written: Written::write(text, &[], most), tool: Some(tool.name) };
        }
        let text = match form {
            Form::Text => said,
            Form::Object => json!({ "echo": told }).to_string(),
            Form::Schema(schema) => instance(schema, &said).to_string(),
        };
        Answer { written: Written::write(text, stop, most), tool: None }
    }
}
