//! The `model` of a request, found and replaced in its bytes: all others go on as they came, so that nothing a client
//! says is lost or reworded on its way.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Just the field; a second one of the name is an error, so that nobody downstream can read another.
#[derive(Deserialize)]
struct Request<'b> {
    #[serde(borrow)]
    model: &'b RawValue,
}

/// A body that names one model.
pub(super) struct Named {
    body: Bytes,
    /// Where the name stands, with its quotes.
    from: usize,
    to: usize,
    /// The model.
    pub(super) model: String,
}

impl Named {
    /// Reads a body; the error says why it is no request.
    pub(super) fn read(body: Bytes) -> Result<Self, String> {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err("the body is not a JSON object".into());
        }
        let request: Request<'_> = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let text = request.model.get();
        let model = serde_json::from_str(text).map_err(|_| "`model` is not a string".to_string())?;
        // It is borrowed from the body, so it stands that far behind its beginning.
        let from = text.as_ptr() as usize - body.as_ptr() as usize;
        let to = from + text.len();
        Ok(Named { body, from, to, model })
    }

    /// The body with another model's name.
    pub(super) fn renamed(self, model: &str) -> Bytes {
        if self.model == model {
            return self.body;
        }
        let name = serde_json::to_string(model).expect("a string");
        [&self.body[..self.from], name.as_bytes(), &self.body[self.to..]].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use serde_json::{Value, json};

    use super::*;

    fn renamed(body: &str, model: &str) -> Result<String, String> {
        let named = Named::read(Bytes::copy_from_slice(body.as_bytes()))?;
        Ok(String::from_utf8(named.renamed(model).to_vec()).expect("text"))
    }

    #[test]
    fn only_the_name_changes() {
        for (body, expected) in [
            (r#"{"model":"a","x":1.0}"#, r#"{"model":"b\"c","x":1.0}"#),
            (
                " {\n\"x\" : [ 1e2, {\"model\":\"a\"} ] ,\t\"mod\\u0065l\" : \"\\u0061\" , \"x\":2} ",
                " {\n\"x\" : [ 1e2, {\"model\":\"a\"} ] ,\t\"mod\\u0065l\" : \"b\\\"c\" , \"x\":2} ",
            ),
        ] {
            assert_eq!(renamed(body, "b\"c"), Ok(expected.into()));
            assert_eq!(renamed(body, "a"), Ok(body.into()), "the same name leaves every byte");
        }
        for bad in [
            "",
            "[\"a\"]",
            "\"a\"",
            "{}",
            "{\"model\":7}",
            "{\"model\":null}",
            "{\"model\":\"a\"",
            "{\"model\":\"a\"}}",
            "{\"model\":\"a\",\"model\":\"b\"}",
            "{\"model\":\"a\",\"mod\\u0065l\":\"b\"}",
            "{\"model\":\"\\ud800\"}",
            "\u{feff}{\"model\":\"a\"}",
        ] {
            assert!(renamed(bad, "b").is_err(), "{bad}");
        }
        let deep = format!("{{\"model\":\"a\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(renamed(&deep, "b").is_ok_and(|text| text.len() == deep.len()));
    }

    #[test]
    fn whatever_is_taken_means_the_same_but_for_the_name() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let body = r#"{"messages":[{"role":"user","content":"é \"model\":\"x\" \\"}],"model":"echo","n":1.50,"t":{"model":null}}"#;
        let mut taken = 0;
        for _ in 0..50_000 {
            let mut bytes = body.as_bytes().to_vec();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..3) {
                    0 => bytes[at] = random.random(),
                    1 => bytes.insert(at, b"{}[]\",:\\ model0"[random.random_range(0..15)]),
                    _ => drop(bytes.remove(at)),
                }
            }
            let Ok(named) = Named::read(bytes.clone().into()) else { continue };
            taken += 1;
            let Ok(mut before) = serde_json::from_slice::<Value>(&bytes) else { continue };
            assert_eq!(before["model"], json!(named.model));
            let after: Value = serde_json::from_slice(&named.renamed("other")).expect("still JSON");
            before["model"] = json!("other");
            assert_eq!(before, after);
        }
        assert!(taken > 1_000, "{taken}");
    }
}
