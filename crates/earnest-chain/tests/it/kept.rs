//! A chain kept in a file: what is read back from it is the model's state, before and after it is opened again.

use std::sync::Arc;

use earnest_chain::chain::Chain;
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::node::Node;
use earnest_chain::read;

use crate::story::{START, Story};

fn read_back_is_the_model(story: &mut Story) {
    let (offering, treasury) = (story.raise.offering.setup.clone(), story.raise.treasury.setup.clone());
    let found = read::raise(&mut story.chain, &story.at, offering, treasury, 0).expect("reads");
    let (found, model) = (found, &story.raise);
    assert_eq!(found.offering.rounds, model.offering.rounds);
    assert_eq!(found.offering.bids, model.offering.bids);
    assert_eq!(found.offering.positions, model.offering.positions);
    assert_eq!(found.offering.attestations, model.offering.attestations);
    assert_eq!(found.offering.generations, model.offering.generations);
    assert_eq!(found.offering.total_proceeds, model.offering.total_proceeds);
    for (&(round, place), bucket) in &found.offering.buckets {
        assert_eq!(*bucket, model.offering.bucket(round, place), "bucket {place} of round {round}");
    }
    assert_eq!(
        (&found.treasury.pots, found.treasury.circulating),
        (&model.treasury.pots, model.treasury.circulating)
    );
    assert_eq!(found.treasury.tap_paid, model.treasury.tap_paid);
    assert_eq!(found.credits.minted, model.credits.minted);
}

/// A chain whose clock moves only when it is told to.
fn open(path: &std::path::Path) -> Chain {
    let node = Node::open_with_clock(path, DEV_CHAIN_ID, START, || 0).expect("the chain");
    Chain::Node(Arc::new(node))
}

#[test]
fn what_is_read_from_a_chain_is_what_happened_on_it_also_after_a_restart() {
    for seed in 0..6 {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kept-{seed}.log"));
        let _ = std::fs::remove_file(&path);
        let mut story = Story::on(seed, open(&path));
        for _ in 0..120 {
            story.pass_time();
            let (caller, call) = story.next();
            let _ = story.act(caller, &call);
        }
        read_back_is_the_model(&mut story);
        let now = story.now();
        story.chain = Chain::Embedded(Embedded::new(0)); // lets go of the file
        story.chain = open(&path);
        assert_eq!(story.now(), now);
        read_back_is_the_model(&mut story);
        story.compare_whole();
        std::fs::remove_file(&path).expect("it was there");
    }
}
