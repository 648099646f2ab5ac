use crate::{folder, refused, said};

#[test]
fn every_mistake_says_what_to_do_instead() {
    let folder = folder("mistakes");
    let plan = "examples/plans/quickstart.toml";
    for (args, expected) in [
        (&["status"][..], "earnest deploy PLAN"),
        (&["check", "nowhere.toml"], "cannot read nowhere.toml"),
        (&["demo", "--demand", "0"], "0.01 to 100"),
        (&["demo", "--demand", "1,x"], "a multiple such as"),
        (&["demo", "--backers", "0"], "1..=100000"),
        (&["deploy", plan, "--rpc", "not a url"], "is not a URL"),
        (&["deploy", plan, "--rpc", "http://127.0.0.1:9"], "node:"),
    ] {
        let said = refused(&folder, args);
        assert!(said.contains(expected), "{args:?} said {said}");
    }

    said(&folder, &["deploy", plan]);
    said(&folder, &["faucet", "alice", "1_000 cash"]);
    let permit =
        &["permit", "sign", "--as", "attester", "--round", "early", "--wallet", "alice", "--entity", "1"];
    std::fs::write(folder.join("permit.json"), said(&folder, permit)).expect("a file");
    std::fs::write(folder.join("key"), "not a key").expect("a file");
    let bid = |cash: &'static str, more: &'static [&'static str]| {
        [&["offering", "bid", "--permit", "permit.json", "--cash", cash], more].concat()
    };
    for (args, expected) in [
        (vec!["deploy", plan], "already a deployment"),
        (bid("100 cash", &["--as", "alice"]), "NotOpen"),
        (bid("100 cash", &[]), "--key-file"),
        (bid("100 cash", &["--key-file", "key"]), "32 bytes in hex"),
        (bid("100 dollars", &["--as", "alice"]), "250.5 cash"),
        (bid("0.0000001 cash", &["--as", "alice"]), "at most six places"),
        (bid("100 cash", &["--as", "alice", "--limit", "1 cash per credit"]), "is not an auction"),
        (bid("100 cash", &["--as", "alice", "--schedule", "never"]), "half-year"),
        (vec!["offering", "clear", "later", "--as", "bob"], "early, auction"),
        (vec!["offering", "clear", "early", "--as", "bob"], "TooEarlyToClear"),
        (vec!["offering", "settle", "1", "--as", "bob"], "round/entity"),
        (vec!["offering", "settle", "0/9", "--as", "bob"], "NoBid"),
        (vec!["offering", "attest", "dead", "--evidence", "key", "--as", "certifier"], "first year"),
        (vec!["offering", "attest", "live", "--evidence", "key", "--as", "issuer"], "NotCertifier"),
        (vec!["position", "show", "0/9"], "there is no bid"),
        (vec!["treasury", "draw", "1 cash", "--as", "issuer"], "OverTap"),
        (
            vec![
                "permit", "sign", "--as", "mallory", "--round", "early", "--wallet", "alice", "--entity", "1",
            ],
            "not an attester",
        ),
        (vec!["clock", "--forward", "soon"], "3 days"),
        (vec!["gateway", "--as", "gateway", "--port", "0"], "nobody can serve"),
        (vec!["gateway", "--as", "gateway", "--port", "0"], "--open-door"),
        (vec!["gateway", "--as", "gateway", "--model", "nope=x"], "--model is ignored"),
        (
            vec!["gateway", "--as", "gateway", "--upstream", "http://127.0.0.1:9/v1", "--model", "nope=x"],
            "nobody can serve",
        ),
        (
            vec!["gateway", "--as", "gateway", "--upstream", "http://127.0.0.1:9/v1", "--model", "nope=x"],
            "--model NAME=x serves it",
        ),
        (vec!["gateway", "--as", "alice", "--open-door"], "--as gateway on a development chain"),
        (
            vec![
                "gateway",
                "--as",
                "gateway",
                "--upstream",
                "http://127.0.0.1:9/v1",
                "--model",
                "example-small=",
            ],
            "a name is missing",
        ),
    ] {
        let said = refused(&folder, &args);
        assert!(said.contains(expected), "{args:?} said {said}");
    }
}

#[test]
fn a_chain_file_cut_off_in_the_middle_goes_on_from_its_last_whole_line() {
    let folder = folder("torn");
    said(&folder, &["deploy", "examples/plans/quickstart.toml"]);
    said(&folder, &["faucet", "alice", "1_000 cash"]);
    let log = folder.join(".earnest/chain.log");
    let text = std::fs::read_to_string(&log).expect("the chain");
    std::fs::write(&log, &text[..text.len() - 40]).expect("torn");
    said(&folder, &["faucet", "bob", "1 cash"]);
    let healed = std::fs::read_to_string(&log).expect("the chain");
    assert_eq!(healed.lines().count(), text.lines().count());
    std::fs::write(&log, text.replacen("check\":\"0x", "check\":\"0xzz", 1)).expect("spoiled");
    let wrong = refused(&folder, &["status"]);
    assert!(wrong.contains("chain.log:2") && wrong.contains("restore it from a copy"), "{wrong}");
    std::fs::write(&log, text.replacen("OSAKA", "PRAGUE", 1)).expect("spoiled");
    let wrong = refused(&folder, &["status"]);
    assert!(wrong.contains("chain.log:1") && wrong.contains("the rules of PRAGUE"), "{wrong}");
    std::fs::remove_file(&log).expect("it was there");
    let wrong = refused(&folder, &["status"]);
    assert!(wrong.contains("chain.log is gone"), "{wrong}");
}
