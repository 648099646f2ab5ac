//! The plans that come with Earnest.

use std::fs;

use earnest_core::money::Cash;
use earnest_core::plan::{AuctionPlan, Plan, RoundKind};

use crate::{example, examples_folder};

#[test]
fn every_example_is_a_valid_plan() {
    let mut read = 0;
    for entry in fs::read_dir(examples_folder()).unwrap() {
        let path = entry.unwrap().path();
        let source = fs::read_to_string(&path).unwrap();
        if let Err(faults) = Plan::read(&path.display().to_string(), &source) {
            panic!("{faults}");
        }
        read += 1;
    }
    assert!(read >= 4);
}

#[test]
fn what_history_did_not_hold_says_so() {
    for (name, word) in
        [("openai-2018", "hypothetical"), ("telegram-2018", "historical"), ("filecoin-2017", "historical")]
    {
        let note = example(name).offering.note.unwrap_or_default();
        assert!(note.starts_with(word), "{name}: {note}");
    }
}

#[test]
fn ten_billion_is_the_hard_cap_and_the_most_of_three_rounds() {
    let plan = example("openai-2018");
    let most: u64 = plan.rounds.iter().map(|round| round.most_cash().unwrap().units()).sum();
    assert_eq!(Cash::from_units(most), Cash::from_whole(10_000_000_000).unwrap());
    assert_eq!(plan.offering.hard_cap.units(), most);
    let kinds: Vec<&str> = plan.rounds.iter().map(|round| round.kind.word()).collect();
    assert_eq!(kinds, ["private", "auction", "rising"]);
}

#[test]
fn oversubscribed_the_ten_billion_rounds_raise_more_than_nine_point_nine() {
    let plan = example("openai-2018");
    let least = |kind: &RoundKind, most: Cash| match kind {
        RoundKind::Auction(AuctionPlan { supply, floor_price, .. }) => {
            u64::try_from(supply.cost_floor(*floor_price)).unwrap()
        }
        _ => most.units(),
    };
    let raised: u64 = plan.rounds.iter().map(|round| least(&round.kind, round.most_cash().unwrap())).sum();
    assert!(raised > Cash::from_whole(9_900_000_000).unwrap().units());
    // A discount would let weight fill the rounds at less cash.
    assert!(plan.schedules.iter().all(|schedule| schedule.discount.get() == 0));
    assert_eq!(plan.treasury.ceiling_at_start, Cash::ZERO);
}

#[test]
fn a_round_of_a_whole_window_has_one() {
    let plan = example("telegram-2018");
    assert!(plan.rounds.iter().all(|round| round.windows() == 1));
    assert_eq!(example("filecoin-2017").rounds[1].windows(), 653);
}
