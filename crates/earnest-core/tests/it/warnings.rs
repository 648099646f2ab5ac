//! What a reader of a valid plan is told: parameters compared with rules, never a verdict.

use std::fs;

use earnest_core::plan::{Plan, Warning};
use earnest_core::regime::Status;

use crate::tests_folder;

fn warnings(edits: &[(&str, &str)]) -> Vec<Warning> {
    let mut plan = fs::read_to_string(tests_folder().join("base.toml")).unwrap();
    for (old, new) in edits {
        assert!(plan.contains(old), "{old}");
        plan = plan.replacen(old, new, 1);
    }
    match Plan::read("plan.toml", &plan) {
        Ok((_, warnings)) => warnings,
        Err(faults) => panic!("{faults}"),
    }
}

/// Rule and parameter of each warning.
fn told(edits: &[(&str, &str)]) -> Vec<(&'static str, &'static str)> {
    warnings(edits)
        .iter()
        .map(|warning| {
            (warning.rule.unwrap_or("-"), warning.parameter.map_or("-", |parameter| parameter.name))
        })
        .collect()
}

#[test]
fn a_plan_within_its_rules_is_not_warned_about() {
    assert_eq!(told(&[]), []);
}

#[test]
fn each_rule_is_compared_with_the_plan() {
    let us_rule = "rule = \"us-506c\"";
    let eu_rule = "rule = \"eu-mica-whitepaper\"";
    let to = |rule: &str| told(&[(us_rule, &format!("rule = \"{rule}\""))]);
    assert_eq!(to("us-506b"), [("us-506b", "non-accredited"), ("us-506b", "solicitation")]);
    assert_eq!(to("us-reg-s"), [("us-reg-s", "offshore")]);
    for (rule, parameter) in [
        ("us-reg-cf", "raise"),
        ("us-reg-cf", "buyer"),
        ("us-service-credit", "live"),
        ("us-service-credit", "proceeds"),
        ("eu-mica-exempt", "exemption"),
        ("sg", "exemption"),
        ("uk", "wait"),
    ] {
        assert!(to(rule).contains(&(rule, parameter)), "{rule} {parameter}: {:?}", to(rule));
    }
    assert!(told(&[("lock = \"365 days\"", "lock = \"30 days\"")]).contains(&("us-506c", "resale")));
    assert!(
        told(&[("cooling_off = \"14 days\"", "cooling_off = \"7 days\"")])
            .contains(&("eu-mica-whitepaper", "withdrawal"))
    );
    assert!(
        told(&[("kind = \"white-paper\"", "kind = \"other\"")])
            .contains(&("eu-mica-whitepaper", "white-paper"))
    );
    assert!(told(&[("max_buyers = 1_000\n", "")]).is_empty(), "ten million are not more than ten million");
    assert!(
        told(&[
            ("max_buyers = 400\nmax_non_accredited = 300", "max_buyers = 149"),
            (eu_rule, "rule = \"eu-mica-exempt\"")
        ])
        .is_empty()
    );
    assert!(
        told(&[("[\"First promise.\", \"Second promise.\"]", "[]")]).contains(&("us-33-11412", "promises"))
    );
}

#[test]
fn an_unused_name_and_the_hash_of_nothing_are_pointed_out() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let told = warnings(&[
        (&"1".repeat(64), empty),
        ("schedules = [\"linear\", \"steps\"]", "schedules = [\"linear\"]"),
        ("schedules = [\"steps\"]", "schedules = [\"linear\"]"),
    ]);
    let paths: Vec<&str> = told.iter().map(|warning| warning.place.path.as_str()).collect();
    assert_eq!(paths, ["documents[0].sha256", "schedules[1]"]);
}

#[test]
fn a_warning_carries_line_rule_parameter_citation_status_and_day() {
    let told = warnings(&[("rule = \"us-506c\"", "rule = \"us-service-credit\"")]);
    let warning = told.iter().find(|w| w.parameter.is_some_and(|p| p.name == "live")).unwrap();
    let parameter = warning.parameter.unwrap();
    assert_eq!(warning.place.path, "regimes[0].rule");
    assert_eq!(parameter.status, Status::StaffLetter);
    assert_eq!(parameter.verified, "2026-06-30");
    insta::assert_snapshot!(warning.to_string(), @r#"
    plan.toml:72:8: regimes[0].rule: positions are sold before the service is live
      72 | rule = "us-service-credit"
      rule: us-service-credit, live: the network is live and the credit usable when it is sold (SEC staff letter to TurnKey Jet, Inc. (2019); staff_letter, verified 2026-06-30)
    "#);
}

#[test]
fn no_warning_passes_a_verdict() {
    for edit in ["us-506b", "us-reg-s", "us-reg-cf", "us-service-credit", "eu-mica-exempt", "sg", "uk"] {
        for warning in warnings(&[("rule = \"us-506c\"", &format!("rule = \"{edit}\""))]) {
            let text = warning.to_string().to_lowercase();
            for verdict in ["illegal", "unlawful", "violat", "is a security", "not a security", "must not"] {
                assert!(!text.contains(verdict), "{text}");
            }
        }
    }
}
