use serde_json::Value;

use crate::{folder, said};

fn demo(name: &str, args: &[&str]) -> Value {
    let folder = folder(name);
    let args = [&["demo", "--json"], args].concat();
    serde_json::from_str(&said(&folder, &args)).expect("one JSON object")
}

fn units(value: &Value) -> f64 {
    value.as_str().expect("amounts are strings").parse().expect("a decimal")
}

#[test]
fn the_main_job_raises_almost_ten_billion_from_any_seed() {
    for seed in ["2018", "1", "42", "31337", "9000000000000000000"] {
        let outcome = demo("demo-openai", &["--seed", seed, "--backers", "2500"]);
        let raised = units(&outcome["raised_cash"]);
        assert!(raised > 9.9e9 && raised <= 1e10, "seed {seed} raised {raised}");
        assert!(units(&outcome["refunded_cash"]) > 0.0);
        assert_eq!(outcome["invariants_broken"], 0);
        assert_eq!(outcome["bids_refused"], 0, "seed {seed}: the crowd knows the rules");
        let auction = &outcome["rounds"][1];
        assert!(
            auction["bids_lost"].as_u64().unwrap() > 0 && auction["marginal_tick"].is_u64(),
            "seed {seed}"
        );
        assert!(units(&auction["clearing_price"]) >= 0.985);
    }
}

#[test]
fn every_example_runs_to_its_end() {
    for plan in ["quickstart", "telegram-2018", "filecoin-2017"] {
        let path = format!("examples/plans/{plan}.toml");
        for (seed, backers) in [("7", "600"), ("8", "25")] {
            let outcome = demo("demo-examples", &[&path, "--seed", seed, "--backers", backers]);
            assert_eq!(outcome["invariants_broken"], 0, "{plan}");
            assert!(units(&outcome["raised_cash"]) > 0.0, "{plan}");
            assert!(units(&outcome["credits_delivered"]) > 0.0, "{plan}");
        }
    }
}

#[test]
fn too_little_demand_misses_the_soft_cap_and_everything_goes_back() {
    let outcome = demo("demo-failed", &["--demand", "0.05", "--backers", "500"]);
    assert_eq!(units(&outcome["raised_cash"]), 0.0);
    assert!(units(&outcome["refunded_cash"]) > 0.0);
    assert_eq!(units(&outcome["credits_sold"]), 0.0);
    assert_eq!(outcome["invariants_broken"], 0);
}

#[test]
fn several_demands_come_as_one_list() {
    let outcomes = demo("demo-several", &["--demand", "0.5,1,4", "--backers", "400"]);
    let raised: Vec<f64> = outcomes.as_array().unwrap().iter().map(|o| units(&o["raised_cash"])).collect();
    assert_eq!(raised.len(), 3);
    assert!(raised[0] < raised[1] && raised[1] < raised[2], "{raised:?}");
}

#[test]
fn the_same_seed_is_the_same_raise() {
    let run = || {
        let mut outcome = demo("demo-same", &["--seed", "5", "--backers", "300"]);
        outcome["elapsed_secs"] = Value::Null;
        outcome
    };
    assert_eq!(run(), run());
}
