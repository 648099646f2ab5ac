//! The walk through an answer: what stands where, told by the names above it.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{CHOICES, Choice, Event, Seen};
use crate::openai::count::Text;
use crate::openai::usage::Field;

/// Reads an answer, or one event of it; `base` is where its bytes begin, for whoever wants to know where the model's name
/// stands.
pub(super) fn walk(
    seen: &mut Seen,
    data: &[u8],
    event: &mut Event,
    base: Option<usize>,
) -> Result<(), serde_json::Error> {
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let mut parser = serde_json::Deserializer::from_slice(data);
    // What stands behind the first value is not looked at.
    Node { seen, event, base, place: Place::Root, odd: false }.deserialize(&mut parser)
}

/// Where in an answer one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Skip,
    Root,
    Response,
    Choices,
    Choice,
    /// Below a message or an output item.
    Text,
    /// The same, as a choice's `text`, an item, or told whole.
    Plain,
    Item,
    Again,
    /// One of several names of one thing.
    Twin(usize),
    Binary,
    Call,
    Usage,
    Count(Field),
    Model,
    Kind,
    Status,
    Finish,
    Error,
    ChoiceError,
    /// MiniMax's way to say that a 200 is none.
    BaseStatus,
    StatusCode,
    Index,
    Role,
    Output,
    Data,
}

impl Place {
    /// What stands under a key.
    fn under(self, key: &str) -> Place {
        match self {
            Place::Root => match key {
                "model" => Place::Model,
                "usage"
                | "usageMetadata"
                | "usage_metadata"
                | "x_groq"
                | "timings"
                | "amazon-bedrock-invocationMetrics" => Place::Usage,
                "choices" => Place::Choices,
                "output" => Place::Output,
                "data" => Place::Data,
                "delta" => Place::Text,
                "item" => Place::Item,
                "response" => Place::Response,
                "type" => Place::Kind,
                "status" => Place::Status,
                "error" => Place::Error,
                "object" => Place::Kind,
                "base_resp" => Place::BaseStatus,
                _ => Place::Skip,
            },
            Place::Response => match key {
                "model" => Place::Model,
                "usage" => Place::Usage,
                "output" => Place::Again,
                "status" => Place::Status,
                _ => Place::Skip,
            },
            Place::Choice => match key {
                "text" => Place::Plain,
                "message" => Place::Again,
                "delta" => Place::Text,
                "finish_reason" => Place::Finish,
                "usage" => Place::Usage,
                "index" => Place::Index,
                "error" => Place::ChoiceError,
                _ => Place::Skip,
            },
            Place::Text | Place::Again if key == "reasoning_content" => Place::Twin(0),
            Place::Text | Place::Again if key == "reasoning" => Place::Twin(1),
            Place::Text | Place::Again if key == "reasoning_details" => Place::Twin(2),
            Place::Text | Place::Again if key == "tool_calls" => Place::Twin(3),
            Place::Text | Place::Again if key == "function_call" => Place::Twin(4),
            Place::Text | Place::Plain | Place::Item | Place::Again | Place::Twin(_) => match key {
                "role" => Place::Role,
                "id"
                | "type"
                | "object"
                | "index"
                | "call_id"
                | "tool_call_id"
                | "item_id"
                | "status"
                | "created"
                | "model"
                | "logprobs"
                | "annotations"
                | "finish_reason"
                | "recipient"
                | "channel"
                | "format"
                | "phase"
                | "mime_type"
                | "citations"
                | "search_results"
                | "context"
                | "provider_specific_fields"
                | "tools"
                | "obfuscation" => Place::Skip,
                "name" => Place::Call,
                // What a call was given may be an object: its names and numbers were written, too.
                "arguments" | "input" => self,
                "b64_json" | "data" | "encrypted_content" | "file_data" | "partial_image_b64"
                | "signature" | "thought_signature" => Place::Binary,
                _ => self,
            },
            Place::Usage => match Field::named(key) {
                Some(field) => Place::Count(field),
                None => self,
            },
            Place::BaseStatus if key == "status_code" => Place::StatusCode,
            _ => Place::Skip,
        }
    }
}

struct Node<'s> {
    seen: &'s mut Seen,
    event: &'s mut Event,
    base: Option<usize>,
    place: Place,
    odd: bool,
}

impl<'s> Node<'s> {
    fn at(&mut self, place: Place) -> Node<'_> {
        Node { seen: self.seen, event: self.event, base: self.base, place, odd: self.odd }
    }

    /// What stands under a key.
    fn under(&mut self, place: Place, shown: bool) -> Node<'_> {
        let odd = self.odd || !shown;
        Node { odd, ..self.at(place) }
    }

    /// Where text of this place counts.
    fn to(&mut self) -> &mut Text {
        match self.place {
            Place::Plain => &mut self.seen.plain,
            Place::Item => &mut self.seen.items,
            Place::Again => &mut self.event.again,
            Place::Twin(index) => &mut self.event.twins[index],
            _ => &mut self.seen.text,
        }
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if is_binary(text) {
            self.to().binary(text.len());
        } else {
            self.to().add(text);
            if self.odd {
                self.seen.odd += text.len() as u64;
            }
        }
        self.event.wrote = true;
    }

    fn string(&mut self, text: &str, borrowed: bool) {
        match self.place {
            Place::Text | Place::Plain | Place::Item | Place::Again | Place::Twin(_) => self.text(text),
            Place::Role => self.event.begins |= !text.is_empty(),
            Place::Binary if !text.is_empty() => {
                // A short one under such a name is text that one could not know.
                let to = &mut self.seen.text;
                if text.len() > 64 {
                    to.binary(text.len())
                } else {
                    to.add(text)
                }
                self.event.wrote = true;
            }
            Place::Call if !text.is_empty() => {
                self.seen.text.call();
                self.event.wrote = true;
            }
            Place::Model if !text.is_empty() => {
                if let Some(base) = self.base
                    && borrowed
                {
                    let start = text.as_ptr() as usize - base;
                    self.event.model_at.push(start - 1..start + text.len() + 1);
                }
                self.event.model.get_or_insert_with(|| text.to_owned());
            }
            Place::Kind => match text {
                "response.completed" | "response.incomplete" => self.seen.over = true,
                "response.failed" | "response.cancelled" => (self.seen.over, self.seen.failed) = (true, true),
                "error" => self.event.error = true,
                _ => {}
            },
            Place::Status if ["failed", "cancelled"].contains(&text) => self.seen.failed = true,
            Place::Error if !text.is_empty() => self.event.error = true,
            Place::Count(field) => {
                if let Ok(count) = text.parse() {
                    self.number(field, count);
                }
            }
            _ => {}
        }
    }

    fn number(&mut self, field: Field, count: u64) {
        self.event.usage.get_or_insert_default().set(field, count);
    }

    fn count(&mut self, count: Option<u64>) {
        match (self.place, count) {
            (Place::Count(field), Some(count)) => self.number(field, count),
            // A number among what a call was given.
            (Place::Text | Place::Item | Place::Again | Place::Twin(_), _) => self.text("0"),
            (Place::StatusCode, Some(1..)) => self.event.error = true,
            _ => {}
        }
    }

    fn choice<'de, A: MapAccess<'de>>(mut self, mut map: A, position: usize) -> Result<(), A::Error> {
        let wrote = std::mem::take(&mut self.event.wrote);
        if position > 0 {
            for text in [&mut self.seen.text, &mut self.seen.plain, &mut self.event.again] {
                text.part();
            }
        }
        let (mut index, mut choice, mut message) = (None, Choice::default(), false);
        while let Some((place, _)) = map.next_key_seed(Key(Place::Choice))? {
            match place {
                Place::Index => index = map.next_value::<Lenient>()?.0,
                Place::Finish => {
                    if let Some(reason) = map.next_value::<Reason>()?.0 {
                        choice.finished = true;
                        choice.bounded = reason == "length" || reason == "max_tokens";
                        self.event.choice_error |= reason == "error";
                        self.event.ended = true;
                    }
                }
                place => {
                    message |= place == Place::Again;
                    map.next_value_seed(self.at(place))?;
                }
            }
        }
        for group in [&[0, 1, 2][..], &[3, 4]] {
            let longest = group.iter().map(|&twin| self.event.twins[twin]).max_by_key(|text| text.bytes);
            let to = if message { &mut self.event.again } else { &mut self.seen.text };
            *to = to.plus(longest.unwrap_or_default());
        }
        self.event.twins = Default::default();
        choice.wrote = self.event.wrote;
        self.event.wrote |= wrote;
        // A number far beyond the others is made up.
        let last = (self.seen.choices.len() + 128).min(CHOICES - 1);
        let index = index.and_then(|index| usize::try_from(index).ok()).unwrap_or(position).min(last);
        if self.seen.choices.len() <= index {
            if self.seen.choices.is_empty() {
                self.seen.choices.reserve_exact(index + 1); // most answers have one, and a vector begins with four
            }
            self.seen.choices.resize(index + 1, Choice::default());
        }
        let kept = &mut self.seen.choices[index];
        kept.went_on |= kept.finished && choice.wrote && !message;
        kept.wrote |= choice.wrote;
        kept.finished |= choice.finished;
        kept.bounded |= choice.bounded;
        (self.event.choices, self.event.index) = (self.event.choices + 1, index);
        Ok(())
    }
}

/// Data that stands in a text as base64.
pub(in crate::openai) fn is_binary(text: &str) -> bool {
    text.starts_with("data:") && text.split(',').next().is_some_and(|head| head.ends_with(";base64"))
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.place {
            Place::Skip => serde::de::IgnoredAny::deserialize(from).map(drop),
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an answer")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let place = self.place;
        if place == Place::Choice {
            return self.choice(map, 0);
        }
        let mut filled = false;
        while let Some((under, shown)) = map.next_key_seed(Key(place))? {
            filled = true;
            map.next_value_seed(self.under(under, shown))?;
        }
        self.event.error |= place == Place::Error && filled;
        self.event.choice_error |= place == Place::ChoiceError && filled;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let place = self.place;
        let mut position = 0;
        match place {
            Place::Choices => {
                while seq.next_element_seed(Numbered(self.at(Place::Choice), position))?.is_some() {
                    position += 1;
                }
                self.event.empty_choices = position == 0;
                self.seen.is_answer = true;
            }
            Place::Output => {
                self.seen.is_answer = true;
                while seq.next_element_seed(self.at(Place::Again))?.is_some() {}
            }
            Place::Text | Place::Plain | Place::Item | Place::Again | Place::Twin(_) | Place::Usage => {
                while seq.next_element_seed(self.at(place))?.is_some() {}
            }
            Place::Data => {
                self.seen.is_answer = true;
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            }
            Place::Root => {
                // An array of errors is an error; nothing else is an array.
                while seq.next_element_seed(self.at(Place::Root))?.is_some() {}
            }
            _ => while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {},
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(mut self, text: &'de str) -> Result<(), E> {
        self.string(text, true);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.string(text, false);
        Ok(())
    }

    fn visit_u64<E>(mut self, count: u64) -> Result<(), E> {
        self.count(Some(count));
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.count(None);
        Ok(())
    }

    fn visit_f64<E>(mut self, number: f64) -> Result<(), E> {
        self.count(whole(number));
        Ok(())
    }

    fn visit_bool<E>(mut self, yes: bool) -> Result<(), E> {
        self.event.error |= self.place == Place::Error && yes;
        self.count(None);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A number that counts something: 9.0 is 9, and what is negative or broken is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and in range")]
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
}

/// A key, and what stands under it.
struct Key(Place);

/// Names under which clients show what a model wrote.
const SHOWN: [&str; 16] = [
    "content",
    "text",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "tool_calls",
    "function_call",
    "function",
    "custom",
    "arguments",
    "input",
    "summary",
    "thinking",
    "audio",
    "transcript",
];

impl<'de> DeserializeSeed<'de> for Key {
    type Value = (Place, bool);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = (Place, bool);

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let below =
            matches!(self.0, Place::Text | Place::Plain | Place::Item | Place::Again | Place::Twin(_));
        Ok((self.0.under(key), !below || SHOWN.contains(&key)))
    }
}

/// A choice in its place.
struct Numbered<'s>(Node<'s>, usize);

impl<'de> DeserializeSeed<'de> for Numbered<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Numbered<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a choice")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.choice(map, self.1)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A count, whatever else may stand there.
struct Lenient(Option<u64>);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        Ok(Lenient(value.as_u64().or(value.as_f64().and_then(whole))))
    }
}

/// Why a choice ended, if it did.
struct Reason(Option<String>);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        Ok(Reason(match value {
            serde_json::Value::String(reason) if !reason.is_empty() => Some(reason),
            _ => None,
        }))
    }
}
