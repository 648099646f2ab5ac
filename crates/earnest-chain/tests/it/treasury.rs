//! Moments of the treasury that random stories seldom meet.

use alloy_primitives::U256;
use earnest_chain::bindings::Treasury;

use crate::world::*;

fn pots(world: &mut World) -> (u64, u64) {
    let treasury = world.at.treasury;
    let class = U256::from(FIXED);
    let pot: U256 = world.asks(treasury, &Treasury::potCall { class });
    (pot.to(), world.asks(treasury, &Treasury::circulatingCall {}).to())
}

#[test]
fn cash_swept_after_a_delivery_stands_behind_the_delivered_credits_too() {
    let ids =
        |world: &mut World| [world.bids("alice", FIXED, 1, 600, 0), world.bids("bob", FIXED, 2, 400, 0)];
    for (late, synced) in [(false, false), (true, false), (true, true)] {
        let mut world = World::new();
        let [alice, bob] = ids(&mut world);
        let at = world.at.clone();
        world.go_to(CLEARABLE);
        world.clears(FIXED);
        if !late {
            world.sweeps(FIXED);
        }
        world.goes_live();
        let now = world.chain.time();
        world.chain.advance_to(now + 1);
        world.does("alice", at.offering, &deliver(alice));
        if synced {
            world.does("stranger", at.treasury, &Treasury::syncCall {});
        }
        if late {
            world.sweeps(FIXED);
        }
        world.does("stranger", at.treasury, &Treasury::syncCall {});
        assert_eq!(pots(&mut world), (400 * CASH, 600 * CASH), "late {late}, synced {synced}");
        world.does("bob", at.offering, &deliver(bob));
        world.does("stranger", at.treasury, &Treasury::syncCall {});
        assert_eq!(pots(&mut world), (0, 1_000 * CASH), "late {late}, synced {synced}");
    }
}
