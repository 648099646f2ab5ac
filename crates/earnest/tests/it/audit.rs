//! `earnest audit` by a stranger: what it takes at nobody's word.

use std::path::Path;

use crate::{folder, refused, said};

const DEPLOYMENT: &str = ".earnest/deployment.json";

/// A short raise: one bid, cleared, settled, swept.
fn raised(name: &str) -> std::path::PathBuf {
    let folder = folder(name);
    said(&folder, &["deploy", "examples/plans/quickstart.toml"]);
    said(&folder, &["faucet", "alice", "60_000 cash"]);
    said(&folder, &["clock", "--forward", "2 days"]);
    let sign =
        ["permit", "sign", "--as", "attester", "--round", "early", "--wallet", "alice", "--entity", "1"];
    std::fs::write(folder.join("alice.json"), said(&folder, &sign)).expect("a file");
    said(&folder, &["offering", "bid", "--as", "alice", "--permit", "alice.json", "--cash", "50_000 cash"]);
    said(&folder, &["clock", "--forward", "45 days"]);
    said(&folder, &["offering", "clear", "early", "--as", "bob"]);
    said(&folder, &["offering", "settle", "0/1", "--as", "bob"]);
    folder
}

/// The record with one thing changed.
fn changed(folder: &Path, from: &str, to: &str) -> &'static str {
    let text = std::fs::read_to_string(folder.join(DEPLOYMENT)).expect("the record");
    let other = text.replacen(from, to, 1);
    assert_ne!(text, other, "{from} is not in {text}");
    std::fs::write(folder.join("other.json"), other).expect("a file");
    "other.json"
}

#[test]
fn an_audit_is_repeated_to_the_byte_by_who_has_only_files() {
    let folder = raised("audit-files");
    let first = said(&folder, &["audit", "--storage", "--json", "--events", "events.jsonl"]);
    let value: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(value["verdict"], "match");
    let plan = "examples/plans/quickstart.toml";
    let offline = ["audit", plan, "--deployment", DEPLOYMENT, "--from-events", "events.jsonl", "--json"];
    let second: serde_json::Value = serde_json::from_str(&said(&folder, &offline)).expect("JSON");
    for same in ["verdict", "events_sha256", "state_sha256", "events", "plan_sha256"] {
        assert_eq!(value[same], second[same], "{same}");
    }
    // One unit more in one event.
    let events = std::fs::read_to_string(folder.join("events.jsonl")).expect("events");
    let cash = format!("{:064x}", 50_000_000_000u64);
    let forged = events.replacen(&cash, &format!("{:064x}", 50_000_000_001u64), 1);
    assert_ne!(events, forged);
    std::fs::write(folder.join("events.jsonl"), forged).expect("a file");
    assert!(refused(&folder, &offline).contains("found a difference"));
    // The index is a cache.
    let status = said(&folder, &["status", "--json"]);
    std::fs::remove_file(folder.join(".earnest/index.db")).expect("it was there");
    let again = said(&folder, &["status", "--json"]);
    let without_time = |text: &str| -> serde_json::Value {
        let mut value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value["as_of"] = serde_json::Value::Null;
        value["treasury"] = serde_json::Value::Null; // the tap and the clock run on
        value
    };
    assert_eq!(without_time(&status), without_time(&again));
}

#[test]
fn a_record_is_not_believed() {
    let folder = raised("audit-records");
    let plan = "examples/plans/quickstart.toml";
    said(&folder, &["audit", "--events", "events.jsonl"]);
    let audit = |record: &str, plan: &str| {
        refused(&folder, &["audit", plan, "--deployment", record, "--from-events", "events.jsonl"])
    };
    for beyond in ["999999", "9223372036854775808", "18446744073709551615"] {
        let record = changed(&folder, "\"block\": 0", &format!("\"block\": {beyond}"));
        let why = audit(record, plan);
        assert!(why.contains("is not there by the last block"), "{beyond}: {why}");
    }
    // The same plan, deployed by an impostor who is issuer and certifier.
    let text = std::fs::read_to_string(folder.join(plan)).expect("the plan");
    let roles = "[roles]\nissuer = \"0x1111111111111111111111111111111111111111\"\n\n[service]";
    std::fs::write(folder.join("roles.toml"), text.replace("[service]", roles)).expect("a file");
    let why = audit(DEPLOYMENT, "roles.toml");
    assert!(why.contains("the issuer of the deployment is not what the plan names"), "{why}");
    let record = changed(&folder, "\"terms_hash\": \"0x", "\"terms_hash\": \"0xff");
    assert!(
        refused(&folder, &["audit", plan, "--deployment", record, "--from-events", "events.jsonl"])
            .contains("cannot be read")
    );
    let record = changed(&folder, "\"ladders\": [", "\"ladders\": [null, ");
    assert!(audit(record, plan).contains("number of rounds"));
    // Before the deployment there is nothing to match.
    assert!(refused(&folder, &["audit", "--to-block", "3"]).contains("is not there by the last block"));
}
