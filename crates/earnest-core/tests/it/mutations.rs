//! Every key of every valid plan, broken in many ways. A mutant is refused at its own line, or it reads as a
//! different plan, or it provably means the same; it is never silently ignored, and nothing ever panics.

use std::fs;
use std::ops::Range;

use earnest_core::plan::template::template;
use earnest_core::plan::{Faults, Plan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{examples_folder, tests_folder};

/// Values that a key may have as if it were not there.
const DEFAULTS: [&str; 5] = ["\"0 cash\"", "\"0%\"", "false", "\"pro-rata\"", "[]"];

/// A key with a value that is not a table, where it stands in the text.
struct Leaf {
    path: String,
    key: Range<usize>,
    value: Range<usize>,
    /// The header of the table it stands in, or the table itself where it is written inline.
    table: Range<usize>,
    inline: bool,
    /// An element of a list has no key to break.
    element: bool,
}

/// A plan with one thing changed.
struct Mutant {
    what: String,
    plan: String,
    expected: Expected,
    /// Lines at which it may be refused.
    lines: Vec<usize>,
}

/// What may come of a mutant.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Expected {
    /// Refused at the line of the mutation or, for what is missing, at the table's.
    Refused,
    /// The same plan.
    Same,
    /// Refused there or at a key that depends on it, or a different plan.
    Different,
    /// As `Different`, or the same plan, for what was taken away stood for the default.
    DifferentOrDefault,
}

#[test]
fn no_mutation_of_a_valid_plan_goes_unnoticed() {
    let mut mutants = 0;
    for (name, source) in valid_plans() {
        let (original, _) = Plan::read(&name, &source).unwrap_or_else(|faults| panic!("{faults}"));
        for leaf in leaves(&source) {
            for mutant in mutations(&source, &leaf) {
                let default = DEFAULTS.contains(&&source[leaf.value.clone()]);
                judge(&name, &original, &leaf, &mutant, default);
                mutants += 1;
            }
        }
    }
    assert!(mutants > 5_000, "{mutants} mutants");
}

#[test]
fn dates_that_change_places_are_noticed() {
    for (name, source) in valid_plans() {
        let (original, _) = Plan::read(&name, &source).unwrap();
        let dates: Vec<Leaf> =
            leaves(&source).into_iter().filter(|leaf| source[leaf.value.clone()].ends_with("00Z")).collect();
        for (index, first) in dates.iter().enumerate() {
            for second in &dates[index + 1..] {
                let (a, b) = in_order(&first.value, &second.value);
                if source[a.clone()] == source[b.clone()] {
                    continue;
                }
                let swapped = [
                    &source[..a.start],
                    &source[b.clone()],
                    &source[a.end..b.start],
                    &source[a.clone()],
                    &source[b.end..],
                ]
                .concat();
                match Plan::read(&name, &swapped) {
                    Ok((plan, _)) => assert_ne!(plan, original, "{name}: {} and {}", first.path, second.path),
                    Err(faults) => assert!(
                        [first, second].iter().any(|leaf| {
                            at_line(&faults, line(&source, leaf.value.start)) || related(&faults, &leaf.path)
                        }),
                        "{name}: {} and {}:\n{faults}",
                        first.path,
                        second.path
                    ),
                }
            }
        }
    }
}

#[test]
fn a_table_taken_away_or_written_twice_is_noticed() {
    for (name, source) in valid_plans() {
        let (original, _) = Plan::read(&name, &source).unwrap();
        let starts: Vec<usize> = source
            .match_indices('[')
            .map(|(at, _)| at)
            .filter(|&at| at > 0 && source.as_bytes()[at - 1] == b'\n')
            .chain([source.len()])
            .collect();
        for block in starts.windows(2) {
            let text = &source[block[0]..block[1]];
            // An empty [roles] says nothing.
            let says_nothing = text.lines().skip(1).all(|line| line.is_empty() || line.starts_with('#'));
            let without = [&source[..block[0]], &source[block[1]..]].concat();
            if let Ok((plan, _)) = Plan::read(&name, &without) {
                assert!(says_nothing || plan != original, "{name} without:\n{text}");
            }
            let twice = [&source[..block[1]], text, &source[block[1]..]].concat();
            assert!(Plan::read(&name, &twice).is_err(), "{name} with twice:\n{text}");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let seed = 20_180_129;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let plans = valid_plans();
    for round in 0..4_000 {
        let (name, source) = &plans[round % plans.len()];
        let mut bytes = source.clone().into_bytes();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut bytes, &mut random);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(faults) = Plan::read(name, &text) {
            assert!(!faults.to_string().is_empty(), "seed {seed}, round {round}");
        }
    }
}

/// The template, the examples, and the plan that has everything.
fn valid_plans() -> Vec<(String, String)> {
    let mut plans = vec![
        ("template".to_owned(), template("Template", 1_782_822_896)),
        ("base".to_owned(), fs::read_to_string(tests_folder().join("base.toml")).unwrap()),
    ];
    for name in ["quickstart", "telegram-2018", "filecoin-2017", "openai-2018"] {
        let file = examples_folder().join(format!("{name}.toml"));
        plans.push((name.to_owned(), fs::read_to_string(file).unwrap()));
    }
    plans
}

fn judge(name: &str, original: &Plan, leaf: &Leaf, mutant: &Mutant, default: bool) {
    let told = format!("{name}, {}: {}", leaf.path, mutant.what);
    let here = |faults: &Faults| mutant.lines.iter().any(|&line| at_line(faults, line));
    match (Plan::read("mutant", &mutant.plan), mutant.expected) {
        (Ok((plan, _)), Expected::Same) => assert_eq!(&plan, original, "{told}"),
        (Err(faults), Expected::Same) => panic!("{told} means the same, but:\n{faults}"),
        (Ok(_), Expected::Refused) => panic!("{told} was accepted"),
        (Err(faults), Expected::Refused) => assert!(here(&faults), "{told}:\n{faults}"),
        (Ok((plan, _)), Expected::Different) => assert_ne!(&plan, original, "{told}"),
        (Ok((plan, _)), Expected::DifferentOrDefault) => assert!(default || &plan != original, "{told}"),
        (Err(faults), _) => assert!(here(&faults) || related(&faults, &leaf.path), "{told}:\n{faults}"),
    }
}

/// The mutants of one key: what was done, the plan, and what may come of it.
fn mutations(source: &str, leaf: &Leaf) -> Vec<Mutant> {
    let text = &source[leaf.value.clone()];
    let with = |value: &str| [&source[..leaf.value.start], value, &source[leaf.value.end..]].concat();
    let mut mutants = Vec::new();
    // Only what is missing is told at its table.
    let own = vec![line(source, leaf.key.start), line(source, leaf.value.start)];
    let mut add = |what: &str, plan: String, expected| {
        mutants.push(Mutant { what: what.to_owned(), plan, expected, lines: own.clone() });
    };
    for value in
        ["true", "7", "1.5", "\"lorem ipsum\"", "[]", "{}", "2031-02-03T04:05:06Z", "[7]", "nan", "\"\""]
    {
        if value != text {
            add(value, with(value), type_change(text, value));
        }
    }
    let inner = text.trim_matches('"');
    if text.starts_with('"') && inner.starts_with(|c: char| c.is_ascii_digit()) {
        amounts(inner, &mut |what, value, expected| add(what, with(&format!("\"{value}\"")), expected));
    } else if text.ends_with("00Z") {
        let day = &text[..10];
        add("no offset", with(text.trim_end_matches('Z')), Expected::Refused);
        add("a date alone", with(day), Expected::Refused);
        add("quoted", with(&format!("\"{text}\"")), Expected::Refused);
        add("another offset", with(&text.replace('Z', "+00:00")), Expected::Same);
        add("a space for the T", with(&text.replace('T', " ")), Expected::Same);
        add("a second later", with(&text.replace(":00Z", ":01Z")), Expected::Different);
        add("half a second later", with(&text.replace(":00Z", ":00.5Z")), Expected::Refused);
        add("far away", with("9999-12-31T23:59:59Z"), Expected::Refused);
        add("long ago", with("1969-12-31T23:59:59Z"), Expected::Refused);
    } else if text.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        add("negated", with(&format!("-{text}")), Expected::Refused);
        add("a decimal", with(&format!("{text}.5")), Expected::Refused);
        add("quoted", with(&format!("\"{text}\"")), Expected::Refused);
        add("huge", with("99999999999999999999"), Expected::Refused);
        add("without _", with(&text.replace('_', "")), Expected::Same);
        add("a sign", with(&format!("+{text}")), Expected::Same);
        let more = text.replace('_', "").parse::<u64>().unwrap() + 1;
        add("one more", with(&more.to_string()), Expected::Different);
    } else if text.starts_with('"') {
        add("another word", with(&text.replacen('"', "\"x", 1)), Expected::Different);
    }
    if !leaf.element {
        mutants.extend(mutations_of_key(source, leaf));
    }
    mutants
}

fn mutations_of_key(source: &str, leaf: &Leaf) -> [Mutant; 3] {
    let own_line = line(source, leaf.key.start);
    let away = Mutant {
        what: "taken away".to_owned(),
        plan: without(source, leaf),
        expected: Expected::DifferentOrDefault,
        lines: vec![line(source, leaf.table.start)],
    };
    let entry = &source[leaf.key.start..leaf.value.end];
    let between = if leaf.inline { ", " } else { "\n" };
    let twice = Mutant {
        what: "written twice".to_owned(),
        plan: [&source[..leaf.value.end], between, entry, &source[leaf.value.end..]].concat(),
        expected: Expected::Refused,
        lines: vec![line(source, leaf.value.end) + usize::from(!leaf.inline)],
    };
    let renamed = Mutant {
        what: "renamed".to_owned(),
        plan: [&source[..leaf.key.end], "x", &source[leaf.key.end..]].concat(),
        expected: Expected::Refused,
        lines: vec![own_line],
    };
    [away, twice, renamed]
}

/// The mutants of a quoted amount.
fn amounts(inner: &str, add: &mut dyn FnMut(&str, String, Expected)) {
    let is_percent = inner.ends_with('%');
    let number = inner.split([' ', '%']).next().unwrap();
    let unit = &inner[number.len()..];
    // Text such as an address or a hash begins with a digit too.
    if unit.is_empty() {
        return;
    }
    add("no unit", number.to_owned(), Expected::Refused);
    for other in [
        " cash",
        " credits",
        " cash per credit",
        "%",
        " days",
        " cash per day",
        " credits per million",
        " apples",
    ] {
        let same_dimension = other == unit
            || (unit.contains("cash per") && unit != " cash per credit" && other == " cash per day")
            || (other == " days" && TIME.contains(&unit));
        if !same_dimension {
            add(other, format!("{number}{other}"), Expected::Refused);
        }
    }
    add("negated", format!("-{inner}"), Expected::Refused);
    add("a plus", format!("+{inner}"), Expected::Refused);
    add("a comma", format!("1,{inner}"), Expected::Refused);
    add("an exponent", format!("{number}e3{unit}"), Expected::Refused);
    add("the unit alone", unit.trim().to_owned(), Expected::Refused);
    add("spaces around", format!("  {inner} "), Expected::Same);
    let point = if number.contains('.') { "" } else { "." };
    add("too many decimals", format!("{number}{point}1234567890123456789{unit}"), Expected::Refused);
    add("huge", format!("99999999999999999999999999999{unit}"), Expected::Refused);
    if number.contains('_') {
        add("without _", format!("{}{unit}", number.replace('_', "")), Expected::Same);
    }
    let is_duration = TIME.contains(&unit);
    let zeros = if is_duration { Expected::Refused } else { Expected::Same };
    add("zeros after the point", format!("{number}{point}000{unit}"), zeros);
    if !is_percent {
        let first = number.chars().next().unwrap();
        let other = char::from(b'1' + (first as u8 - b'0') % 9);
        add("another digit", format!("{other}{inner_rest}", inner_rest = &inner[1..]), Expected::Different);
    }
    if unit == " days" {
        add("hours instead", format!("{number} hours"), Expected::Different);
    }
}

const TIME: [&str; 8] = [" second", " seconds", " minute", " minutes", " hour", " hours", " day", " days"];

/// What may come of another type of value.
fn type_change(old: &str, new: &str) -> Expected {
    let is_text = |value: &str| value.starts_with('"');
    let is_count = |value: &str| value.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let same_type = (is_text(old) && is_text(new) && new != "\"\"")
        || (is_count(old) && is_count(new))
        || (old.ends_with('Z') && new.ends_with('Z'))
        || (matches!(old, "true" | "false") && new == "true")
        || (old.starts_with('[') && new == "[]");
    if same_type { Expected::Different } else { Expected::Refused }
}

/// The plan without a key.
fn without(source: &str, leaf: &Leaf) -> String {
    let (mut start, mut end) = (leaf.key.start, leaf.value.end);
    if leaf.inline {
        let rest = &source[end..];
        if let Some(comma) = rest.strip_prefix(", ") {
            end = source.len() - comma.len();
        } else {
            start = source[..start].rfind(',').unwrap();
        }
    }
    [&source[..start], &source[end..]].concat()
}

fn leaves(source: &str) -> Vec<Leaf> {
    let root = DeTable::parse(source).unwrap();
    let mut leaves = Vec::new();
    walk(root.get_ref(), "", 0..0, source, &mut leaves);
    leaves
}

fn walk(table: &DeTable<'_>, path: &str, span: Range<usize>, source: &str, leaves: &mut Vec<Leaf>) {
    for (key, value) in table.iter() {
        let path =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        let leaf = Leaf {
            path: path.clone(),
            key: key.span(),
            value: value.span(),
            table: span.clone(),
            inline: source[span.clone()].starts_with('{'),
            element: false,
        };
        match value.get_ref() {
            DeValue::Table(inner) if source[value.span()].starts_with('{') => {
                leaves.push(leaf);
                walk(inner, &path, value.span(), source, leaves);
            }
            DeValue::Table(inner) => walk(inner, &path, value.span(), source, leaves),
            // The span of [[tables]] is their header, which their key stands within.
            DeValue::Array(values) if value.span().contains(&key.span().start) => {
                for (index, value) in values.iter().enumerate() {
                    if let DeValue::Table(inner) = value.get_ref() {
                        walk(inner, &format!("{path}[{index}]"), value.span(), source, leaves);
                    }
                }
            }
            DeValue::Array(values) => {
                elements(values, &leaf, leaves);
                leaves.push(leaf);
            }
            _ => leaves.push(leaf),
        }
    }
}

/// Elements of lists, and of the lists within them.
fn elements(values: &[Spanned<DeValue<'_>>], of: &Leaf, leaves: &mut Vec<Leaf>) {
    for (index, value) in values.iter().enumerate() {
        let leaf = Leaf {
            path: format!("{}[{index}]", of.path),
            key: value.span(),
            value: value.span(),
            table: of.key.clone(),
            inline: false,
            element: true,
        };
        if let DeValue::Array(values) = value.get_ref() {
            elements(values, &leaf, leaves);
        }
        leaves.push(leaf);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let at = random.random_range(0..bytes.len());
    let interesting = b"\"'[]{}=.#,_\n\\-+eZ%0 \0\xff";
    match random.random_range(0..6) {
        0 => bytes[at] = random.random(),
        1 => bytes[at] = interesting[random.random_range(0..interesting.len())],
        2 => bytes.insert(at, interesting[random.random_range(0..interesting.len())]),
        3 => drop(bytes.remove(at)),
        4 => {
            let end = (at + random.random_range(1..200)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let end = (at + random.random_range(1..200)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = random.random_range(0..bytes.len());
            bytes.splice(to..to, piece);
        }
    }
    if bytes.is_empty() {
        bytes.push(b'\n');
    }
}

fn in_order(a: &Range<usize>, b: &Range<usize>) -> (Range<usize>, Range<usize>) {
    if a.start < b.start { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

fn line(source: &str, offset: usize) -> usize {
    1 + source[..offset].matches('\n').count()
}

fn at_line(faults: &Faults, line: usize) -> bool {
    faults.iter().any(|fault| fault.place.line == line)
}

/// True when some fault was concluded from that key: the message stands at another one.
fn related(faults: &Faults, path: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    faults.iter().any(|fault| {
        fault.concluded_from.iter().any(|from| within(path, from) || within(from, path))
            || within(path, &fault.place.path)
            || within(&fault.place.path, path)
    })
}
