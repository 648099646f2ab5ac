//! What moves the terms hash, and what does not.

use std::fs;

use alloy_primitives::{B256, hex, keccak256};
use earnest_core::plan::Plan;
use earnest_core::terms::terms_hash;

use crate::{example, tests_folder};

fn base() -> String {
    fs::read_to_string(tests_folder().join("base.toml")).unwrap()
}

fn hash(source: &str) -> B256 {
    match Plan::read("plan.toml", source) {
        Ok((plan, _)) => terms_hash(&plan),
        Err(faults) => panic!("{faults}"),
    }
}

fn changed(old: &str, new: &str) -> B256 {
    let base = base();
    assert!(base.contains(old), "{old}");
    hash(&base.replacen(old, new, 1))
}

#[test]
fn nothing_but_terms_and_documents_moves_the_hash() {
    let terms = hash(&base());
    for (old, new) in [
        ("name = \"Base\"", "name = \"Another\""),
        ("hard_cap = \"10_000_000 cash\"", "hard_cap = \"9_999_999 cash\""),
        ("note = \"for tests\"\n", ""),
        ("symbol = \"BCR\"", "symbol = \"CBR\""),
        ("file = \"agreement.txt\"\n", ""),
        ("objections = 2", "objections = 1"),
        ("deadline = 2027-12-31T00:00:00Z", "deadline = 2028-12-31T00:00:00Z"),
        ("tap = \"10_000 cash per day\"", "tap = \"20_000 cash per day\""),
        ("lock = \"365 days\"", "lock = \"730 days\""),
        ("share = \"80%\"", "share = \"70%\""),
    ] {
        assert_eq!(changed(old, new), terms, "{old}");
    }
}

#[test]
fn comments_spaces_and_the_order_of_keys_do_not_move_the_hash() {
    let terms = hash(&base());
    assert_eq!(changed("[terms]\n", "[terms] # what is signed\n\n"), terms);
    assert_eq!(changed("title = \"Agreement\"", "title   =   'Agreement' # same"), terms);
    let reordered = changed(
        "title = \"Agreement\"\ngoverning_law = \"Delaware\"",
        "governing_law = \"Delaware\"\ntitle = \"Agreement\"",
    );
    assert_eq!(reordered, terms);
    assert_eq!(changed("\"First promise.\", \"Second", "\n\"First promise.\", # one\n\"Second"), terms);
    let hash_in_capitals = "AB".repeat(32);
    assert_eq!(
        changed(&"1".repeat(64), &hash_in_capitals),
        changed(&"1".repeat(64), &hash_in_capitals.to_lowercase())
    );
}

#[test]
fn any_change_of_terms_or_documents_moves_the_hash() {
    let mut hashes = vec![hash(&base())];
    for (old, new) in [
        ("title = \"Agreement\"", "title = \"agreement\""),
        ("governing_law = \"Delaware\"", "governing_law = \"Delaware \""),
        ("position = \"The right to credits.\"", "position = \"A right to credits.\""),
        ("credit = \"Pays for service.\"", "credit = \"Pays for services.\""),
        ("[\"First promise.\", \"Second promise.\"]", "[\"Second promise.\", \"First promise.\"]"),
        ("[\"First promise.\", \"Second promise.\"]", "[\"First promise.Second promise.\"]"),
        ("[\"First promise.\", \"Second promise.\"]", "[]"),
        ("[[documents]]\nname = \"Agreement\"", "[[documents]]\nname = \"Agreement 2\""),
        ("kind = \"white-paper\"", "kind = \"other\""),
        ("\"1111", "\"1112"),
    ] {
        hashes.push(changed(old, new));
    }
    // The order of documents is part of what is signed.
    let base = base();
    let (start, end) = (base.find("[[documents]]").unwrap(), base.find("[cash]").unwrap());
    let blocks: Vec<&str> = base[start..end].split("[[documents]]").skip(1).collect();
    let turned: String = blocks.iter().rev().map(|block| format!("[[documents]]{block}")).collect();
    hashes.push(hash(&format!("{}{turned}{}", &base[..start], &base[end..])));
    // One document fewer.
    hashes.push(hash(&format!("{}{}", base[..end].rsplit_once("[[documents]]").unwrap().0, &base[end..])));
    let all = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), all);
}

#[test]
fn the_canonical_form_is_the_one_that_is_written_down() {
    let mut bytes = Vec::new();
    let number = |n: usize| (n as u64).to_be_bytes();
    let mut field = |field: &[u8]| {
        bytes.extend(number(field.len()));
        bytes.extend(field);
    };
    field(b"earnest terms 1");
    for text in ["Agreement", "Delaware", "The right to credits.", "Pays for service."] {
        field(text.as_bytes());
    }
    bytes.extend(number(2));
    for text in ["First promise.", "Second promise."] {
        bytes.extend(number(text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes.extend(number(3));
    for (name, kind, byte) in [
        ("Agreement", "purchase-agreement", 0x11),
        ("Risks", "risk-disclosure", 0x22),
        ("White paper", "white-paper", 0x33),
    ] {
        for part in [name.as_bytes(), kind.as_bytes(), &[byte; 32]] {
            bytes.extend(number(part.len()));
            bytes.extend(part);
        }
    }
    assert_eq!(hash(&base()), keccak256(&bytes));
    // Pinned: signatures out in the world depend on it.
    assert_eq!(hash(&base()).0, hex!("005beda23afecc8115bb88252bbce7b973489d7ca74a369e3cab864712ed75e8"));
}

#[test]
fn examples_have_terms_of_their_own() {
    let names = ["quickstart", "telegram-2018", "filecoin-2017", "openai-2018"];
    let mut hashes: Vec<B256> = names.iter().map(|name| terms_hash(&example(name))).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), names.len());
}
