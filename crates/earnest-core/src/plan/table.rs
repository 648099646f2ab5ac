//! Tables of a plan while they are read: typed access to their keys, which notes what is wrong on the way and
//! refuses the keys that nobody asked for.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults, Source, Wrong};
use super::units::{self, nearest, shown};

/// A file longer than this is refused unread.
const LONGEST_BYTES: usize = 1 << 20;

/// What is said of files of one kind.
#[derive(Clone, Copy)]
pub struct Manner {
    /// `plan`
    pub noun: &'static str,
    /// Where one can be had: "`earnest init` writes a plan".
    pub from: &'static str,
    /// The value of a key that is missing, as it could be written.
    pub example: fn(&str) -> &'static str,
}

/// Reads a whole file by its root table. `Err`: nothing of it can be read. Else what `root` made of it, where its keys
/// stand, and what is wrong so far.
pub fn read<'s, T>(
    file_name: &'s str,
    text: &'s str,
    manner: Manner,
    root: impl FnOnce(&Table<'_, 's>) -> T,
) -> Result<(T, Source<'s>, Vec<Fault>), Faults> {
    let notes = Notes::new(Source::new(file_name, text), manner);
    if text.len() > LONGEST_BYTES {
        let message = format!("the file is longer than a {} can be", manner.noun);
        notes.refuse("", 0..0, Wrong::new(message, "at most 1 MiB"));
        return Err(notes.into_faults());
    }
    let (table, syntax) = DeTable::parse_recoverable(text);
    // A second value for a key leaves the rest of the file readable; any other slip of syntax does not.
    let readable = syntax.iter().all(|error| error.message().starts_with("duplicate key"));
    for error in syntax {
        let span = error.span().unwrap_or(0..0);
        notes.refuse("", span, syntax_fault(error.message(), manner.noun));
    }
    if !readable {
        return Err(notes.into_faults());
    }
    if table.get_ref().is_empty() {
        notes.refuse("", 0..0, Wrong::new("the file says nothing", format!("{} to start from", manner.from)));
        return Err(notes.into_faults());
    }
    let table = Table::new(&notes, String::new(), 0..0, table.get_ref());
    let made = root(&table);
    drop(table);
    let (source, faults) = notes.finish();
    Ok((made, source, faults))
}

/// `schema = 1`
pub fn schema(root: &Table<'_, '_>, known: u32) {
    root.required("schema", |value| match units::count::<u32>(value)? {
        found if found == known => Ok(known),
        other => {
            Err(Wrong::new(format!("schema {other} is not known here"), format!("write schema = {known}")))
        }
    });
}

/// The message of the TOML parser with a remedy for the slips that plans invite.
fn syntax_fault(message: &str, noun: &str) -> Wrong {
    let hint = if message.starts_with("duplicate key") {
        "a key may be set once; lists of tables take double brackets, such as [[rounds]]".to_owned()
    } else if message.starts_with("string values must be quoted") {
        "text and amounts stand in quotes, such as \"10_000 cash\"".to_owned()
    } else if message.starts_with("invalid date") {
        "a date is written 2026-09-01T00:00:00Z".to_owned()
    } else {
        format!("a {noun} is made of [tables], with lines below them such as name = \"…\"")
    };
    Wrong::new(format!("not valid TOML: {message}"), hint)
}

/// What reading leaves behind besides the plan.
pub struct Notes<'s> {
    source: RefCell<Source<'s>>,
    faults: RefCell<Vec<Fault>>,
    manner: Manner,
}

impl<'s> Notes<'s> {
    fn new(source: Source<'s>, manner: Manner) -> Self {
        Notes { source: RefCell::new(source), faults: RefCell::default(), manner }
    }

    /// Notes a fault at a place in the file; what stands at `path` is not to be relied on.
    fn refuse(&self, path: &str, span: Range<usize>, wrong: Wrong) {
        let mut source = self.source.borrow_mut();
        if !path.is_empty() {
            source.mark_unread(path);
        }
        let place = source.place_at(path, span.start);
        let Wrong { message, hint } = wrong;
        self.faults.borrow_mut().push(Fault { place, message, hint, concluded_from: Vec::new() });
    }

    fn finish(self) -> (Source<'s>, Vec<Fault>) {
        (self.source.into_inner(), self.faults.into_inner())
    }

    /// After a fault that leaves nothing else to read.
    fn into_faults(self) -> Faults {
        Faults::gather(self.manner.noun, self.faults.into_inner()).expect("called after a fault was noted")
    }
}

/// A table being read: it knows which keys were asked for, and refuses the others when it is dropped, so that
/// no table can forget to.
pub struct Table<'r, 's> {
    notes: &'r Notes<'s>,
    path: String,
    span: Range<usize>,
    /// `None`: the table is missing or is no table, which has been said; its keys read as nothing, quietly.
    entries: Option<&'r DeTable<'s>>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys asked for only to be refused.
    barred: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<&'static str>>,
    /// Keys of other kinds of this table: kind, keys, and the word for the table.
    kinds: Cell<Option<Kinds>>,
}

/// The kinds a table may be of, which of them it is, and what such a table is called.
#[derive(Clone, Copy)]
struct Kinds {
    keys: &'static [(&'static str, &'static [&'static str])],
    kind: Option<&'static str>,
    noun: &'static str,
}

impl<'r, 's> Table<'r, 's> {
    fn new(notes: &'r Notes<'s>, path: String, span: Range<usize>, entries: &'r DeTable<'s>) -> Self {
        notes.source.borrow_mut().record(&path, span.clone());
        let mut table = Table::absent(notes, path, span);
        table.entries = Some(entries);
        table
    }

    fn absent(notes: &'r Notes<'s>, path: String, span: Range<usize>) -> Self {
        Table {
            notes,
            path,
            span,
            entries: None,
            asked: RefCell::default(),
            barred: RefCell::default(),
            missing: RefCell::default(),
            kinds: Cell::new(None),
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, remembered as asked for.
    fn value(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'s>>> {
        self.asked.borrow_mut().push(key);
        let value = self.entries?.get(key)?;
        self.notes.source.borrow_mut().record(&self.path_of(key), value.span());
        Some(value)
    }

    /// Notes what is wrong with a value, or returns it.
    fn accept<T>(&self, path: &str, span: Range<usize>, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.notes.refuse(path, span, wrong)).ok()
    }

    /// A key that may be left out.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.value(key)?;
        self.accept(&self.path_of(key), value.span(), read(value.get_ref()))
    }

    /// A key that stands for `default` when left out.
    pub fn or<T>(&self, key: &'static str, default: T, read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// A key that must be there. Where it is not, or is wrong, its type's default stands in for it.
    pub fn required<T: Default>(
        &self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> T {
        self.required_or(key, T::default(), read)
    }

    /// As `required`, with what stands in for it.
    pub fn required_or<T>(
        &self,
        key: &'static str,
        placeholder: T,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> T {
        self.needs(key);
        self.or(key, placeholder, read)
    }

    /// Notes a key as missing where it is.
    pub fn needs(&self, key: &'static str) {
        if self.entries.is_some_and(|entries| !entries.contains_key(key)) {
            self.missing.borrow_mut().push(key);
            self.notes.source.borrow_mut().mark_unread(&self.path_of(key));
        }
    }

    /// A key that is known, and known to be wrong here.
    pub fn refuse_key(&self, key: &'static str, message: &str, hint: &str) {
        self.barred.borrow_mut().push(key);
        if let Some(value) = self.value(key) {
            self.notes.refuse(&self.path_of(key), value.span(), Wrong::new(message, hint));
        }
    }

    /// A list, empty when left out.
    pub fn list<T>(&self, key: &'static str, read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>) -> Vec<T> {
        let Some((path, values)) = self.array(key, "write a list: [\"…\", \"…\"]") else {
            return Vec::new();
        };
        let element = |(index, value): (usize, &Spanned<DeValue<'_>>)| {
            let path = format!("{path}[{index}]");
            self.notes.source.borrow_mut().record(&path, value.span());
            self.accept(&path, value.span(), read(value.get_ref()))
        };
        values.iter().enumerate().filter_map(element).collect()
    }

    /// A list that must be there.
    pub fn required_list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        self.needs(key);
        self.list(key, read)
    }

    /// A required list of pairs.
    pub fn pairs<A, B>(
        &self,
        key: &'static str,
        first: impl Fn(&DeValue<'_>) -> Result<A, Wrong>,
        second: impl Fn(&DeValue<'_>) -> Result<B, Wrong>,
        example: &str,
    ) -> Vec<(A, B)> {
        self.needs(key);
        let hint = format!("write a list of pairs: {example}");
        let Some((path, values)) = self.array(key, &hint) else { return Vec::new() };
        let element = |(index, value): (usize, &Spanned<DeValue<'_>>)| {
            let path = format!("{path}[{index}]");
            self.notes.source.borrow_mut().record(&path, value.span());
            match value.get_ref() {
                DeValue::Array(pair) if pair.len() == 2 => {
                    let a = self.accept(&path, pair[0].span(), first(pair[0].get_ref()));
                    let b = self.accept(&path, pair[1].span(), second(pair[1].get_ref()));
                    a.zip(b)
                }
                _ => self.accept(&path, value.span(), Err(Wrong::new("expected a pair", hint.clone()))),
            }
        };
        values.iter().enumerate().filter_map(element).collect()
    }

    /// The elements of an array with its path.
    fn array(&self, key: &'static str, hint: &str) -> Option<(String, &'r [Spanned<DeValue<'s>>])> {
        let value = self.value(key)?;
        let path = self.path_of(key);
        match value.get_ref() {
            DeValue::Array(values) => Some((path, values)),
            other => {
                let message = format!("expected a list, found {}", units::named(other));
                self.notes.refuse(&path, value.span(), Wrong::new(message, hint));
                None
            }
        }
    }

    /// A table that must be there.
    pub fn table(&self, key: &'static str) -> Table<'r, 's> {
        self.needs(key);
        self.optional_table(key)
            .unwrap_or_else(|| Table::absent(self.notes, self.path_of(key), self.span.clone()))
    }

    /// A table that may be left out.
    pub fn optional_table(&self, key: &'static str) -> Option<Table<'r, 's>> {
        let value = self.value(key)?;
        let path = self.path_of(key);
        match value.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self.notes, path, value.span(), entries)),
            DeValue::Array(_) => {
                let hint = format!("there is one of it: write [{path}]");
                self.notes.refuse(&path, value.span(), Wrong::new("expected a table, found a list", hint));
                None
            }
            other => {
                let message = format!("expected a table, found {}", units::named(other));
                self.notes.refuse(&path, value.span(), Wrong::new(message, format!("write [{path}]")));
                None
            }
        }
    }

    /// A list of tables, at least one.
    pub fn tables(&self, key: &'static str) -> Vec<Table<'r, 's>> {
        self.needs(key);
        self.optional_tables(key)
    }

    /// A list of tables.
    pub fn optional_tables(&self, key: &'static str) -> Vec<Table<'r, 's>> {
        let hint = format!("write [[{}]] above each", self.path_of(key));
        let Some((path, values)) = self.array(key, &hint) else { return Vec::new() };
        let element = |(index, value): (usize, &'r Spanned<DeValue<'s>>)| {
            let path = format!("{path}[{index}]");
            match value.get_ref() {
                DeValue::Table(entries) => Table::new(self.notes, path, value.span(), entries),
                other => {
                    let message = format!("expected a table, found {}", units::named(other));
                    self.notes.refuse(&path, value.span(), Wrong::new(message, hint.clone()));
                    Table::absent(self.notes, path, value.span())
                }
            }
        };
        values.iter().enumerate().map(element).collect()
    }

    /// The `kind` of this table, which says what other keys it has.
    pub fn kind(
        &self,
        keys: &'static [(&'static str, &'static [&'static str])],
        noun: &'static str,
    ) -> Option<&'static str> {
        let words: Vec<(&str, &'static str)> = keys.iter().map(|(word, _)| (*word, *word)).collect();
        self.needs("kind");
        let kind = self.optional("kind", |value| units::choice(value, &words));
        if kind.is_none() {
            // Which keys it needs is not known, so nothing is concluded from any of them.
            self.notes.source.borrow_mut().mark_unread(&self.path);
        }
        self.kinds.set(Some(Kinds { keys, kind, noun }));
        kind
    }

    /// Refuses the keys nobody asked for and says which are missing.
    fn close(&self) {
        let Some(entries) = self.entries else { return };
        let asked = self.asked.borrow();
        let mut missing = self.missing.borrow_mut();
        for (key, _) in entries.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
            if let Some(wrong) = self.unknown(key.get_ref(), &asked, &mut missing) {
                self.notes.refuse(&self.path_of(&shown(key.get_ref())), key.span(), wrong);
            }
        }
        for key in missing.drain(..) {
            let wrong = if self.path.is_empty() && key != "schema" {
                Wrong::new(
                    format!("[{key}] is missing"),
                    format!("{} with all of them", self.notes.manner.from),
                )
            } else {
                let value = (self.notes.manner.example)(key);
                Wrong::new(format!("`{key}` is missing"), format!("write {key} = {value}"))
            };
            self.notes.refuse(&self.path_of(key), self.span.clone(), wrong);
        }
    }

    /// What is wrong with a key nobody asked for; `None` where that cannot be known, for the kind of its table
    /// is not.
    fn unknown(&self, key: &str, asked: &[&'static str], missing: &mut Vec<&'static str>) -> Option<Wrong> {
        if let Some(Kinds { keys, kind, noun }) = self.kinds.get() {
            let owners: Vec<String> = keys
                .iter()
                .filter(|(_, keys)| keys.contains(&key))
                .map(|(owner, _)| format!("`{owner}`"))
                .collect();
            match (owners.is_empty(), kind) {
                (false, None) => return None,
                (false, Some(kind)) => {
                    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
                    let message = format!(
                        "this key belongs to {article} {noun} of kind {}, and this one is `{kind}`",
                        owners.join(" or ")
                    );
                    return Some(Wrong::new(message, "remove this line, or change the kind"));
                }
                (true, _) => {}
            }
        }
        let hint = match nearest(key, asked) {
            Some(meant) => {
                // One slip is told once.
                missing.retain(|&absent| absent != meant);
                format!("did you mean `{meant}`?")
            }
            None => {
                let mut known = asked.to_vec();
                known.retain(|key| !self.barred.borrow().contains(key));
                known.sort_unstable();
                known.dedup();
                format!("known here: {}", known.join(", "))
            }
        };
        Some(Wrong::new(format!("unknown key `{}`", shown(key)), hint))
    }
}

impl Drop for Table<'_, '_> {
    fn drop(&mut self) {
        self.close();
    }
}
