//! What a model reads of a request: text, pictures and other media, prompts, and the tools that it may call.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::names::What;
use super::{BadRequest, Name, Reading, bad};
use crate::openai::Endpoint;
use crate::openai::answer::is_binary;

/// Whether a text is the address of something that is to be fetched.
fn is_address(text: &str) -> bool {
    text.trim_start().split_once("://").is_some_and(|(scheme, _)| {
        (1..12).contains(&scheme.len()) && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Model tokens that a picture may have.
const PICTURE: u64 = 16_384;

/// What a model reads beside text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Picture,
    /// A film, a sound, a document.
    Long,
}

/// How addresses of films, sounds and documents end.
const LONG: [&str; 20] = [
    ".pdf", ".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx", ".txt", ".md", ".csv", ".html", ".json",
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".mp3", ".wav", ".m4a",
];

impl Medium {
    /// What stands in a field for a picture may be something else, as it says itself.
    fn of(self, text: &str) -> Self {
        let beginning: String = text.chars().take(64).collect::<String>().to_ascii_lowercase();
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let ending: String = path.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
        let ending = ending.to_ascii_lowercase();
        let is_other = match beginning.strip_prefix("data:") {
            Some(kind) => !kind.starts_with("image/"),
            None => LONG.iter().any(|long| ending.ends_with(long)),
        };
        if is_other { Medium::Long } else { self }
    }

    /// Model tokens that one may have.
    fn most(self) -> u64 {
        match self {
            Medium::Picture => PICTURE,
            Medium::Long => 16 * PICTURE,
        }
    }

    /// The same of one that is sent along in so many bytes. A picture may be large in few.
    fn most_of(self, bytes: u64) -> u64 {
        match self {
            Medium::Picture => PICTURE,
            Medium::Long => self.most().min(bytes + PICTURE),
        }
    }
}

/// What a key stands for below a message or a tool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Type,
    FileId,
    Medium(Medium),
    Url(Medium),
    Binary(Medium),
    /// By another name: an address there is one of a medium, anything else is text.
    Loose(Medium),
    /// What people write, addresses within it too.
    Words,
    Other,
}

/// Text that a model reads.
pub(super) struct Content<'r, 'd> {
    pub(super) reading: &'r mut Reading<'d>,
    pub(super) depth: u32,
    /// Numbers are model tokens.
    pub(super) numbers: bool,
    pub(super) kind: What,
    pub(super) key: Part,
}

/// Tools that the client runs. Others the server runs by itself, and reads what they find.
const RUN_BY_CLIENTS: [&str; 6] =
    ["function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"];

/// What a tool is.
#[derive(Deserialize)]
struct Tool<'d> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'d, str>>,
    #[serde(default)]
    function: Option<serde::de::IgnoredAny>,
}

/// Why a list of tools has no price here, if it has none.
pub(super) fn hosted(raw: &str) -> Option<BadRequest> {
    let tools: Vec<Tool<'_>> = match serde_json::from_str::<Option<Vec<Tool<'_>>>>(raw) {
        Ok(tools) => tools.unwrap_or_default(),
        Err(_) => return Some(bad("tools is no list of tools", Some("tools"))),
    };
    let hosted = tools.iter().find(|tool| match &tool.kind {
        Some(kind) => !RUN_BY_CLIENTS.contains(&kind.as_ref()),
        None => tool.function.is_none(),
    })?;
    let kind = hosted.kind.as_deref().unwrap_or("without a type");
    let why = format!("the tool {kind:?} is refused: what the provider reads by itself has no price here");
    Some(bad(why, Some("tools")))
}

impl<'d> Content<'_, 'd> {
    /// One that is sent along is read as what it is, and not byte by byte.
    fn sent(&mut self, medium: Medium, text: &str) {
        let (medium, bytes) = (medium.of(text), text.len() as u64);
        self.reading.sent += bytes;
        self.reading.media = self.reading.media.saturating_add(medium.most_of(bytes));
        self.reading.read.binary(text.len());
    }

    /// One that is fetched.
    fn named(&mut self, medium: Medium, text: &str) {
        self.reading.media = self.reading.media.saturating_add(medium.of(text).most());
        self.reading.read.binary(text.len());
    }

    fn below(&mut self, key: Part) -> Content<'_, 'd> {
        Content { reading: self.reading, depth: self.depth + 1, numbers: self.numbers, kind: self.kind, key }
    }

    fn string(&mut self, text: &str) {
        match self.key {
            Part::Type => {
                self.reading.keeps |= text == "item_reference";
                if text == "item_reference" && self.reading.dialect.state.is_none() {
                    let why = "an item_reference is refused: send the whole item";
                    self.reading.refusal.get_or_insert(bad(why, Some("input")));
                }
            }
            Part::FileId if self.reading.dialect.state.is_some() => self.reading.keeps = true,
            Part::FileId if self.kind != What::Tools => {
                let why =
                    "a file_id is refused: what is kept at the provider has no price here; send the file";
                self.reading.refusal.get_or_insert(bad(why, Some("file_id")));
            }
            Part::Binary(medium) => self.sent(medium, text),
            Part::Medium(medium) | Part::Url(medium) if is_binary(text) => self.sent(medium, text),
            Part::Url(medium) => self.named(medium, text),
            Part::Loose(medium) if is_address(text) => self.named(medium, text),
            // Text, as far as one can tell; there is room for what a server may make of it.
            _ if is_binary(text) => {
                self.reading.media = self.reading.media.saturating_add(Medium::Picture.of(text).most());
                self.reading.read.add(text);
            }
            _ => self.reading.read.add(text),
        }
    }
}

impl<'d> DeserializeSeed<'d> for Content<'_, 'd> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Content<'_, 'd> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("text")
    }

    fn visit_map<A: MapAccess<'d>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.numbers = false;
        let stored = self.kind == What::Prompt && self.depth == 0;
        self.reading.keeps |= stored;
        if stored && self.reading.dialect.state.is_none() {
            let why = "a prompt that is kept at the provider is refused: it has no price here";
            self.reading.refusal.get_or_insert(bad(why, Some("prompt")));
        }
        let medium = if let Part::Medium(medium) = self.key { Some(medium) } else { None };
        let loose = if let Part::Loose(medium) = self.key { Some(medium) } else { None };
        // An item of `/responses` is what is in it, or one that is kept.
        let is_item =
            self.depth == 2 && self.kind == What::Prompt && self.reading.endpoint == Endpoint::Responses;
        let (mut id, mut substance) = (false, false);
        while let Some(name) = map.next_key_seed(Name)? {
            id |= name == "id";
            substance |= !["id", "type", "status", "role"].contains(&name.as_ref());
            let part = match name.as_ref() {
                "type" => Part::Type,
                "file_id" => Part::FileId,
                // Of tools and of answers' shapes nothing is fetched, nor of what an answer has cited.
                _ if !self.kind.is_read() => Part::Other,
                "annotations" | "citations" => Part::Words,
                "image_url" => Part::Medium(Medium::Picture),
                "video_url" | "audio_url" | "input_audio" | "file" => Part::Medium(Medium::Long),
                "file_url" => Part::Url(Medium::Long),
                "url" if let Some(medium) = medium => Part::Url(medium),
                "data" if let Some(medium) = medium => Part::Binary(medium),
                "file_data" | "encrypted_content" => Part::Binary(Medium::Long),
                "text" | "content" | "arguments" | "output" | "input" | "instructions" | "description" => {
                    Part::Words
                }
                "image" | "images" | "source" | "image_uri" => Part::Loose(Medium::Picture),
                "video" | "videos" | "audio" | "document" | "file_uri" | "media" => Part::Loose(Medium::Long),
                "url" | "uri" | "src" | "data" if let Some(medium) = loose => Part::Loose(medium),
                _ => Part::Other,
            };
            // An address may stand where the object with it does.
            map.next_value_seed(self.below(part))?;
        }
        if is_item && id && !substance {
            self.reading.keeps = true;
            if self.reading.dialect.state.is_none() {
                let why = "an item of which only the id is sent is refused: send the whole item";
                self.reading.refusal.get_or_insert(bad(why, Some("input")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'d>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut count = 0;
        let mut prompts = true;
        let key = if self.depth == 0 { Part::Words } else { self.key };
        while seq.next_element_seed(Element(self.below(key), &mut prompts))?.is_some() {
            count += 1;
        }
        if self.kind == What::Prompt && self.depth == 0 && prompts {
            self.reading.prompts = count;
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(mut self, text: &'d str) -> Result<(), E> {
        self.visit_text(text);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.visit_text(text);
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        if self.numbers {
            self.reading.read.tokens(1);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl Content<'_, '_> {
    fn visit_text(&mut self, text: &str) {
        // `"image_url": "https://…"`, as /v1/responses has it.
        if let Part::Medium(medium) = self.key
            && !is_binary(text)
        {
            self.key = Part::Url(medium);
        }
        self.string(text);
    }
}

/// One of a list: a list of texts or of lists is one of prompts, a list of numbers is a prompt.
struct Element<'r, 'd, 'p>(Content<'r, 'd>, &'p mut bool);

impl<'d> DeserializeSeed<'d> for Element<'_, 'd, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Element<'_, 'd, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("text")
    }

    fn visit_map<A: MapAccess<'d>>(self, map: A) -> Result<(), A::Error> {
        *self.1 = false;
        let mut content = self.0;
        if content.reading.endpoint == Endpoint::Completions && content.kind == What::Prompt {
            let why = "a prompt is text, or a list of texts or of model tokens";
            content.reading.refusal.get_or_insert(bad(why, Some("prompt")));
        }
        // It is no prompt that is kept elsewhere, but an item.
        content.depth += 1;
        content.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'d>>(self, seq: A) -> Result<(), A::Error> {
        self.0.visit_seq(seq)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'d str) -> Result<(), E> {
        self.0.visit_borrowed_str(text)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.0.visit_str(text)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        *self.1 = false;
        self.0.visit_u64(number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
