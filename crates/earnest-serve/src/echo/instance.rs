//! A small value that a JSON Schema allows, with the given text in its strings. What schemas of structured output and
//! of tools use is understood; `pattern` and the like are not.

use serde_json::{Map, Number, Value, json};

/// Levels after which only what must be is there.
const DEEP: usize = 8;
/// Levels and values after which there is nothing.
const DEEPEST: usize = 64;
const MOST: usize = 4_096;
/// Letters of a string.
const LONGEST: usize = 1_000;

/// The value.
pub(super) fn instance(schema: &Value, text: &str) -> Value {
    Maker { root: schema, text, left: MOST }.make(schema, 0)
}

struct Maker<'s> {
    root: &'s Value,
    text: &'s str,
    left: usize,
}

impl<'s> Maker<'s> {
    fn make(&mut self, schema: &'s Value, depth: usize) -> Value {
        if depth > DEEPEST || self.left == 0 {
            return Value::Null;
        }
        self.left -= 1;
        if let Some(Value::String(path)) = schema.get("$ref") {
            let found = path.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |found| self.make(found, depth + 1));
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
            return first.clone();
        }
        for name in ["anyOf", "oneOf"] {
            if let Some(Value::Array(options)) = schema.get(name) {
                let null = |option: &&Value| option.get("type").is_some_and(|kind| kind == "null");
                let plain = options.iter().find(null).filter(|_| depth > DEEP);
                let chosen = plain.or_else(|| options.iter().find(|option| !null(option)));
                return chosen.or(options.first()).map_or(Value::Null, |option| self.make(option, depth + 1));
            }
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            let mut whole = Map::new();
            for part in all {
                match self.make(part, depth + 1) {
                    Value::Object(fields) => whole.extend(fields),
                    other if all.len() == 1 => return other,
                    _ => {}
                }
            }
            return whole.into();
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                let null = kinds.contains(&"null") && depth > DEEP;
                let first = kinds.iter().find(|kind| **kind != "null").copied().unwrap_or("null");
                if null { "null" } else { first }
            }
            _ if schema.get("properties").is_some() => "object",
            _ => "string",
        };
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" | "number" => number(schema, kind == "integer"),
            "boolean" => json!(false),
            "null" => Value::Null,
            _ => self.string(schema),
        }
    }

    fn object(&mut self, schema: &'s Value, depth: usize) -> Value {
        let required: Vec<&str> = match schema.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mut fields = Map::new();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                if depth <= DEEP || required.contains(&name.as_str()) {
                    fields.insert(name.clone(), self.make(property, depth + 1));
                }
            }
        }
        for name in required {
            fields.entry(name).or_insert_with(|| self.string(&Value::Null));
        }
        fields.into()
    }

    fn array(&mut self, schema: &'s Value, depth: usize) -> Value {
        if let Some(Value::Array(items)) = schema.get("prefixItems") {
            return items.iter().map(|item| self.make(item, depth + 1)).collect();
        }
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let items = schema.get("items").unwrap_or(&Value::Null);
        (0..least.min(MOST as u64)).map(|_| self.make(items, depth + 1)).collect()
    }

    fn string(&self, schema: &Value) -> Value {
        let known = match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => Some("2026-01-01T00:00:00Z"),
            Some("date") => Some("2026-01-01"),
            Some("time") => Some("00:00:00Z"),
            Some("duration") => Some("PT0S"),
            Some("email") => Some("echo@example.com"),
            Some("hostname") => Some("example.com"),
            Some("ipv4") => Some("127.0.0.1"),
            Some("ipv6") => Some("::1"),
            Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
            Some("uri") => Some("https://example.com/"),
            _ => None,
        };
        if let Some(known) = known {
            return known.into();
        }
        let bound =
            |name| schema.get(name).and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
        let mut text: String =
            self.text.chars().take(bound("maxLength").unwrap_or(LONGEST).min(LONGEST)).collect();
        let short = bound("minLength").unwrap_or(0).min(LONGEST).saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('.', short));
        text.into()
    }
}

fn number(schema: &Value, whole: bool) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = bound("exclusiveMinimum").map(|bound| bound + 1.0).or(bound("minimum"));
    let most = bound("exclusiveMaximum").map(|bound| bound - 1.0).or(bound("maximum"));
    // Nothing, or what comes nearest to it.
    let mut number = 0.0_f64.max(least.unwrap_or(0.0)).min(most.unwrap_or(f64::INFINITY));
    if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
        number = (number / step).ceil() * step;
    }
    if whole || number.fract() == 0.0 {
        // Whole numbers beyond this are no longer exact, and no schema's business.
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        return json!(number.ceil() as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_one_that_the_schema_allows() {
        let schema = json!({
            "type": "object",
            "$defs": {
                "step": {"type": "object", "required": ["say", "next"], "properties": {
                    "say": {"type": "string", "maxLength": 4},
                    "next": {"anyOf": [{"$ref": "#/$defs/step"}, {"type": "null"}]},
                }},
            },
            "required": ["name", "age", "tags", "kind", "step", "more"],
            "properties": {
                "name": {"type": "string"},
                "age": {"type": "integer", "minimum": 18},
                "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "below": {"type": "number", "maximum": -2.5},
                "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "kind": {"enum": ["a", "b"]},
                "maybe": {"type": ["null", "boolean"]},
                "only": {"const": 7},
                "when": {"type": "string", "format": "date"},
                "step": {"$ref": "#/$defs/step"},
                "both": {"allOf": [{"properties": {"x": {"type": "null"}}}, {"properties": {"y": {"type": "null"}}}]},
            },
        });
        let found = instance(&schema, "hello");
        for (name, expected) in [
            ("name", json!("hello")),
            ("age", json!(18)),
            ("share", json!(1)),
            ("below", json!(-2.5)),
            ("tags", json!(["hello", "hello"])),
            ("kind", json!("a")),
            ("maybe", json!(false)),
            ("only", json!(7)),
            ("when", json!("2026-01-01")),
            ("both", json!({"x": null, "y": null})),
            ("more", json!("hello")),
        ] {
            assert_eq!(found[name], expected, "{name}");
        }
        let (mut step, mut depth) = (&found["step"], 0);
        while !step.is_null() {
            assert_eq!(step["say"], "hell");
            (step, depth) = (&step["next"], depth + 1);
        }
        assert!((2..DEEPEST).contains(&depth), "{depth}");
    }

    #[test]
    fn no_schema_is_too_much() {
        let wide = json!({
            "$defs": {"x": {"type": "object", "properties": (0..50).map(|n| (n.to_string(), json!({"$ref": "#/$defs/x"}))).collect::<Map<_, _>>()}},
            "$ref": "#/$defs/x",
        });
        let many = json!({"type": "array", "minItems": u64::MAX, "items": {"type": "array", "minItems": 1_000_000_000}});
        let round = json!({"$ref": "#"});
        let own =
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"});
        for schema in
            [wide, many, round, own, json!({"$ref": "https://example.com"}), json!(7), json!({"type": 7})]
        {
            assert!(instance(&schema, "x").to_string().len() < 1 << 20);
        }
    }
}
