//! A contract that does what a thief tells it: when it is called, and from within the calls of others.

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::sol;

use crate::world::*;

sol!(
    #[allow(missing_docs)]
    #[sol(all_derives)]
    Accomplice,
    "../../contracts/artifacts/Accomplice.json"
);

pub(crate) use Accomplice::{Move, actCall, prepareCall};

/// A new one.
pub(crate) fn recruit(world: &mut World) -> Address {
    let made = world.chain.send(who("mallory"), TxKind::Create, Accomplice::BYTECODE.clone());
    made.expect("deploys").created.expect("a contract")
}

fn moves(calls: &[(Address, Bytes)]) -> Vec<Move> {
    calls.iter().map(|(to, data)| Move { to: *to, data: data.clone() }).collect()
}

/// Makes these calls one after the other; what fails is passed over.
pub(crate) fn act(calls: &[(Address, Bytes)]) -> actCall {
    actCall { moves: moves(calls) }
}

/// When it is called next, it makes these calls, everyone's balance of it grows by so much, and it answers so.
pub(crate) fn prepare(calls: &[(Address, Bytes)], gain: u128, answer: u64) -> prepareCall {
    prepareCall { moves: moves(calls), gain: U256::from(gain), answer: U256::from(answer) }
}
