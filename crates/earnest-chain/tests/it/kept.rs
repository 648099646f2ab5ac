//! A chain kept in a file: what is read back from it is the model's state, before and after it is opened again.

use std::sync::Arc;

use earnest_chain::chain::Chain;
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::node::Node;

use crate::books::{differences, empty_index};
use crate::story::{START, Story};

/// Indexed from nothing.
fn read_back_is_the_model(seed: u64, story: &mut Story) {
    let mut index = empty_index(story);
    index.sync(&mut story.chain).expect("syncs");
    assert_eq!(index.difference(), None, "seed {seed}");
    differences(seed, &index, story);
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
        read_back_is_the_model(seed, &mut story);
        let now = story.now();
        story.chain = Chain::Embedded(Embedded::new(0)); // lets go of the file
        story.chain = open(&path);
        assert_eq!(story.now(), now);
        read_back_is_the_model(seed, &mut story);
        story.compare_whole();
        std::fs::remove_file(&path).expect("it was there");
    }
}
