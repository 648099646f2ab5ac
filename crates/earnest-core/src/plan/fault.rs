//! What is wrong with a plan (or another file of its manner), and where. A fault names line, column and path, says what is wrong and what would
//! be right; all faults of a plan are told at once. A warning compares a parameter of the plan with a rule and
//! never says that anything is or is not lawful.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::regime::Parameter;

/// Longest piece of a source line that a message repeats.
const SHOWN_CHARS: usize = 160;

/// A place in a plan file. Shown as `plan.toml:12:9: rounds[0].supply`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as it was named by whoever read it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, such as `rounds[0].supply`; empty for the file as a whole.
    pub path: String,
    /// The line itself, without control characters.
    pub text: String,
}

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
    /// Paths of other keys it was concluded from: the remedy may lie there.
    pub concluded_from: Vec<String>,
}

/// Everything that is wrong with a plan, in the order of the file; at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Faults {
    faults: Vec<Fault>,
    /// What the file is.
    #[serde(skip)]
    noun: &'static str,
}

/// Something a reader of a valid plan should know. Not a legal verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What the plan says, and what it is compared with.
    pub message: String,
    /// Name of the rule it is compared with, such as `us-506b`; `None`: not a matter of law.
    pub rule: Option<&'static str>,
    /// The rule's parameter, with its citation, status and the day it was verified.
    pub parameter: Option<&'static Parameter>,
}

impl Faults {
    /// In order of the file, each once. `None` when nothing is wrong.
    pub fn gather(noun: &'static str, mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort();
        faults.dedup();
        (!faults.is_empty()).then_some(Faults { faults, noun })
    }

    /// The faults, in order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// How many; never zero.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.faults.len()
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ": {}", self.path) }
    }
}

impl Place {
    /// The line it points at, numbered.
    fn excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {} | {}", self.line, self.text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        self.place.excerpt(f)?;
        write!(f, "\n  hint: {}", self.hint)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            write!(f, "{fault}\n\n")?;
        }
        let count = self.faults.len();
        write!(f, "{count} {} in the {}", if count == 1 { "fault" } else { "faults" }, self.noun)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        self.place.excerpt(f)?;
        match (self.rule, self.parameter) {
            (Some(rule), Some(parameter)) => write!(f, "\n  rule: {rule}, {parameter}"),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a single value, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
}

impl Wrong {
    /// Both.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Wrong { message: message.into(), hint: hint.into() }
    }
}

/// The text of a plan, where each of its keys stands, and which of them could not be read.
pub struct Source<'s> {
    file: &'s str,
    text: &'s str,
    spans: BTreeMap<String, Range<usize>>,
    unread: BTreeSet<String>,
}

impl<'s> Source<'s> {
    /// Nothing of it was read yet.
    pub fn new(file: &'s str, text: &'s str) -> Self {
        Source { file, text, spans: BTreeMap::new(), unread: BTreeSet::new() }
    }

    /// Remembers where a key's value stands.
    pub fn record(&mut self, path: &str, span: Range<usize>) {
        self.spans.insert(path.to_owned(), span);
    }

    /// Remembers that the value of a key is missing or wrong, so that nothing is concluded from it.
    pub fn mark_unread(&mut self, path: &str) {
        self.unread.insert(path.to_owned());
    }

    /// True when that key and everything under and above it was read.
    pub fn is_read(&self, path: &str) -> bool {
        let mut above = Some(path);
        while let Some(here) = above {
            if self.unread.contains(here) {
                return false;
            }
            above = parent(here);
        }
        let under = self.unread.range(path.to_owned()..).take_while(|key| key.starts_with(path));
        !under.map(|key| &key[path.len()..]).any(|rest| rest.starts_with(['.', '[']))
    }

    /// Where a key stands, or the nearest table above it that is written down.
    pub fn place(&self, path: &str) -> Place {
        let mut nearest = Some(path);
        let span = loop {
            match nearest {
                Some(here) => match self.spans.get(here) {
                    Some(span) => break span.start,
                    None => nearest = parent(here),
                },
                None => break 0,
            }
        };
        self.place_at(path, span)
    }

    /// A place at a byte offset.
    pub fn place_at(&self, path: &str, offset: usize) -> Place {
        let bytes = self.text.as_bytes();
        let offset = offset.min(bytes.len());
        let start = bytes[..offset].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let end = bytes[offset..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| offset + at);
        let shown = String::from_utf8_lossy(&bytes[start..end]);
        Place {
            file: self.file.to_owned(),
            line: 1 + bytes[..start].iter().filter(|&&b| b == b'\n').count(),
            column: 1 + String::from_utf8_lossy(&bytes[start..offset]).chars().count(),
            path: path.to_owned(),
            text: excerpt(&shown),
        }
    }
}

/// The path of the table or array that a key stands in; `None` for a key of the file itself.
fn parent(path: &str) -> Option<&str> {
    path.rfind(['.', '[']).map(|at| &path[..at])
}

/// A line as a message repeats it: bounded, and unable to play tricks on a terminal.
fn excerpt(line: &str) -> String {
    let line = line.trim_end();
    let clean = |c: char| if c == '\t' { ' ' } else { c };
    let mut shown: String = line.chars().map(clean).filter(|c| !c.is_control()).take(SHOWN_CHARS).collect();
    if line.chars().count() > SHOWN_CHARS {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_placed_at_its_table() {
        let mut source = Source::new("p", "schema = 1\n\n[a]\nb = 2\n");
        source.record("a", 12..15);
        assert_eq!(source.place("a.c.d").line, 3);
        assert_eq!(source.place("z").line, 1);
    }

    #[test]
    fn nothing_is_read_above_or_under_what_is_not() {
        let mut source = Source::new("p", "");
        source.mark_unread("rounds[1].supply");
        for (path, read) in [("rounds", false), ("rounds[1]", false), ("rounds[1].supply", false)]
            .into_iter()
            .chain([("rounds[10]", true), ("rounds[1].price", true), ("rounds[1].supply.x", false)])
        {
            assert_eq!(source.is_read(path), read, "{path}");
        }
    }
}
