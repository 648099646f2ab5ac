//! How a position vests once the service is live, in the form the contract keeps: up to five points in one word.

use alloy_primitives::U256;

use crate::plan::SchedulePlan;

/// Points of (seconds after live, cumulative basis points), by steps or straight lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Straight lines from nothing at live through the points.
    pub linear: bool,
    /// At most five, strictly rising, the last at 10,000.
    pub points: Vec<(u32, u16)>,
}

impl Schedule {
    /// Of a plan that was checked.
    pub fn from_plan(plan: &SchedulePlan) -> Self {
        let points = plan.points.iter().map(|&(secs, part)| (secs, part.get())).collect();
        Schedule { linear: plan.linear, points }
    }

    /// Credits vested `elapsed` seconds after the service went live, rounded down.
    pub fn vested(&self, credits: u128, elapsed: u64) -> u128 {
        let (mut from_secs, mut from_bps) = (0u64, 0u64);
        for &(secs, bps) in &self.points {
            let (secs, bps) = (u64::from(secs), u64::from(bps));
            if elapsed < secs {
                let (part, whole) = if self.linear {
                    let span = secs - from_secs;
                    (from_bps * span + (bps - from_bps) * (elapsed - from_secs), 10_000 * span)
                } else {
                    (from_bps, 10_000)
                };
                // Credits have 96 bits and a part at most 46, so the product fits in 142 and not in u128.
                return (U256::from(credits) * U256::from(part) / U256::from(whole)).to();
            }
            (from_secs, from_bps) = (secs, bps);
        }
        credits
    }

    /// The contract's word: points of seconds 32 and basis points 16 from the lowest bit, unused ones repeating the
    /// last; bit 240 for straight lines.
    pub fn pack(&self) -> U256 {
        let last = self.points.last().copied().unwrap_or((0, 10_000));
        let mut word = U256::from(u8::from(self.linear)) << 240;
        for i in 0..5 {
            let (secs, bps) = self.points.get(i).copied().unwrap_or(last);
            word |= (U256::from(secs) | U256::from(bps) << 32) << (48 * i);
        }
        word
    }

    /// Seconds after live at which all has vested.
    pub fn length_secs(&self) -> u32 {
        self.points.last().map_or(0, |&(secs, _)| secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_lines_vest_at_their_points() {
        let steps = Schedule { linear: false, points: vec![(100, 2_500), (200, 10_000)] };
        let lines = Schedule { linear: true, ..steps.clone() };
        let at = |s: &Schedule, t| s.vested(1_000, t);
        assert_eq!([0, 99, 100, 199, 200, 999].map(|t| at(&steps, t)), [0, 0, 250, 250, 1_000, 1_000]);
        assert_eq!([0, 50, 100, 150, 200, 999].map(|t| at(&lines, t)), [0, 125, 250, 625, 1_000, 1_000]);
    }

    #[test]
    fn vesting_never_falls_and_never_exceeds() {
        let lines = Schedule { linear: true, points: vec![(7, 1), (1_000, 3_333), (90_000, 10_000)] };
        let credits = crate::money::CREDITS_MAX;
        let mut last = 0;
        for t in (0..90_100).step_by(13) {
            let now = lines.vested(credits, t);
            assert!(now >= last && now <= credits);
            last = now;
        }
        assert_eq!(last, credits);
    }
}
