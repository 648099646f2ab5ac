//! Parameters by position.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;

/// What a call is given, taken one after the other.
pub(crate) struct Params {
    values: std::vec::IntoIter<Value>,
    taken: usize,
}

impl Params {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Params { values: values.into_iter(), taken: 0 }
    }

    /// The next one, which has to be there.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let missing = format!("missing value for required argument {}", self.taken);
        self.optional()?.ok_or_else(|| Failure::params(missing))
    }

    /// The next one, if it is there and not null.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let at = self.taken;
        self.taken += 1;
        match self.values.next() {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Failure::params(format!("invalid argument {at}: {error}"))),
        }
    }

    /// The next one as a whole number, in hex, decimal or JSON's own.
    pub(crate) fn number(&mut self) -> Result<Option<u64>, Failure> {
        self.optional::<Value>()?.map(|value| number(&value)).transpose()
    }
}

pub(crate) fn number(value: &Value) -> Result<u64, Failure> {
    let read = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    };
    // Beyond this nothing is a time, a count or an index.
    read.filter(|&number| number < 1 << 40)
        .ok_or_else(|| Failure::params(format!("invalid argument: {value} is not a number")))
}
