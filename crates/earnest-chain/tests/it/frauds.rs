//! Contracts that cheat, each in one way, beside honest ones that are told the same: the first event that the two do not
//! share is the one that the audit must name. The frauds are listed in contracts/test/frauds.mjs.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall;
use earnest_chain::bindings::{Launchpad, Offering, Treasury};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Blueprint, Deployment};
use earnest_chain::embedded::Embedded;
use earnest_chain::fact::Fact;
use earnest_chain::history::{History, PlacedLog};
use earnest_chain::story::tell;

use crate::books::empty_index;
use crate::story::{START, Story, honest_consents};

/// Where a crooked contract looks which fraud is awake.
pub(crate) const AWAKE: u64 = 0xf4a0d;
const STEPS: usize = 200;
/// Stories told until a fraud shows.
const MOST: u64 = 400;

#[derive(serde::Deserialize)]
pub(crate) struct Crooked {
    frauds: Vec<String>,
    /// In the service's contracts; see `thief.rs`.
    pub(crate) holes: Vec<String>,
    pub(crate) bytecode: std::collections::BTreeMap<String, Bytes>,
}

pub(crate) fn crooked() -> Crooked {
    let text = include_str!("../../../../contracts/artifacts/Crooked.json");
    serde_json::from_str(text).expect("as compile.mjs writes it")
}

/// Puts crooked code where honest code would be, with the same arguments.
fn corrupt(blueprint: &mut Blueprint, crooked: &Crooked) {
    for step in &mut blueprint.steps {
        let (honest, name) = match step.name.as_str() {
            "offering" => (&Offering::BYTECODE, "Offering"),
            "treasury" => (&Treasury::BYTECODE, "Treasury"),
            _ => continue,
        };
        let mut call = Launchpad::launchCall::abi_decode(&step.data).expect("a launch");
        let arguments = call.code.strip_prefix(honest.as_ref()).expect("code, then arguments");
        call.code = [crooked.bytecode[name].as_ref(), arguments].concat().into();
        step.data = call.abi_encode().into();
    }
}

/// Facts of the blocks after one.
fn facts_after(chain: &mut Chain, at: &Deployment, block: u64) -> Vec<(PlacedLog, Fact)> {
    let head = chain.head().expect("embedded").number;
    let logs = chain.logs_between(at, block + 1, head).expect("embedded");
    let facts = logs.into_iter().filter_map(|log| {
        let fact = Fact::read(at, &log.log).expect("readable")?;
        Some((log, fact))
    });
    facts.collect()
}

/// Tells one story to both; returns what the audit said, and the event that it should have named, once they part.
fn run(seed: u64, number: usize, crooked: &Crooked) -> Option<(String, String)> {
    let mut honest = Embedded::new(START);
    honest.keep_history();
    let mut story = Story::on(seed, Chain::Embedded(honest));
    let mut cheat = Embedded::new(START);
    cheat.keep_history();
    cheat.take_large_code();
    let mut cheat = story.begin_again(cheat, |blueprint| corrupt(blueprint, crooked));
    for at in [story.at.offering, story.at.treasury] {
        let Chain::Embedded(chain) = &mut cheat else { unreachable!("embedded") };
        chain.set_storage(at, U256::from(AWAKE), U256::from(number)).expect("in memory");
    }
    let mut silent = false;
    for _ in 0..STEPS {
        story.pass_time();
        let now = story.now();
        cheat.advance_to(now).expect("embedded");
        let (caller, call) = story.next();
        let (owner, delivered) = story.consent_of(&call);
        // The cheat's victims do what they can; only what it lets them do is compared.
        let before = (story.chain.block().expect("embedded"), cheat.block().expect("embedded"));
        let call = honest_consents(&call, owner);
        if tell(&mut cheat, &story.at, &story.keys, caller, &call, owner, delivered).is_err() {
            continue;
        }
        let refused = story.act(caller, &call).is_err();
        let said = facts_after(&mut cheat, &story.at, before.1);
        let ruled = if refused { Vec::new() } else { facts_after(&mut story.chain, &story.at, before.0) };
        let same = said.iter().zip(&ruled).take_while(|(said, ruled)| said.1 == ruled.1).count();
        // What is kept quiet shows only by what follows from it.
        silent |= said.is_empty() && !ruled.is_empty();
        if same == said.len() && same == ruled.len() && !silent {
            continue;
        }
        let mut index = empty_index(&story);
        index.sync(&mut cheat).expect("syncs");
        let Some(found) = index.difference() else {
            if silent {
                continue;
            }
            return Some((
                format!("nothing, after {call:?}"),
                format!("{:?} for {:?}", said.get(same), ruled.get(same)),
            ));
        };
        // Where something was left out, the event before it is named. Of a call that the rules refuse whole, the first
        // events may be right in themselves, such as a sync before a draw.
        let named = |at: usize| {
            said.get(at).is_some_and(|(log, _)| (log.block.number, log.index) == (found.block, found.index))
        };
        let here = said.first().is_some_and(|(log, _)| log.tx == found.tx);
        let right = named(same)
            || (found.what.contains("is missing") && same > 0 && named(same - 1))
            || ((refused || silent) && here);
        let wrong = said.get(same).map(|(log, fact)| (log.block.number, log.index, fact));
        return (!right).then(|| (format!("{found:?}"), format!("{wrong:?}"))).or(Some(Default::default()));
    }
    None
}

#[test]
fn every_fraud_is_found_at_its_first_wrong_event() {
    let crooked = crooked();
    assert!(crooked.frauds.len() >= 20);
    for (number, name) in (1..).zip(&crooked.frauds) {
        let mut shown = 0;
        for seed in 0..MOST {
            let Some((found, wrong)) = run(seed, number, &crooked) else { continue };
            assert!(
                found == wrong,
                "{name} (seed {seed}): named {found}\nand the first wrong event is {wrong}"
            );
            shown += 1;
            if shown == 2 {
                break;
            }
        }
        assert!(shown > 0, "{name} never showed in {MOST} stories");
    }
}

/// With no fraud awake the crooked code is honest, and nothing is cried.
#[test]
fn a_sleeping_fraud_is_no_fraud() {
    let crooked = crooked();
    for seed in 0..20 {
        assert_eq!(run(seed, 0, &crooked), None, "seed {seed}");
    }
}
