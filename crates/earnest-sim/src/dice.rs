//! Random numbers by counter: each is a function of seed, stream and place alone, so that no number depends on which
//! thread came first, on how often anyone stopped, or on what another design or factor drew.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::normal;

/// What a stream is for. Streams never share numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The factors of a path.
    Factors = 0,
    /// Its months and events.
    Months = 1,
    /// The second sample of factors that variance is split with.
    Again = 2,
    /// Its months and events.
    MonthsAgain = 3,
    /// Which paths a bootstrap draws.
    Bootstrap = 4,
}

/// One stream of uniform numbers.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of a path (or another index) for a purpose.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(index << 3 | purpose as u64);
        Dice(generator)
    }

    /// Strictly between 0 and 1, 53 bits: the middle of its interval.
    pub fn uniform(&mut self) -> f64 {
        // 53 bits are exact in a double.
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let whole = (self.0.next_u64() >> 11) as f64;
        (whole + 0.5) / 9_007_199_254_740_992.0
    }

    /// Standard normal: one uniform each, so that places never shift.
    pub fn normal(&mut self) -> f64 {
        normal::quantile(self.uniform())
    }

    /// Below `most`, which is not zero; the bias is under 2⁻³².
    pub fn below(&mut self, most: u32) -> u32 {
        let bits = self.0.next_u64() >> 32;
        u32::try_from((bits * u64::from(most)) >> 32).expect("less than most")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_on_its_place_alone() {
        let first: Vec<f64> = (0..5).map(|i| Dice::new(7, Purpose::Months, i).uniform()).collect();
        let last: Vec<f64> = (0..5).rev().map(|i| Dice::new(7, Purpose::Months, i).uniform()).collect();
        assert!(first.iter().eq(last.iter().rev()));
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(Dice::new(7, Purpose::Factors, 0).uniform(), first[0]);
        assert_ne!(Dice::new(8, Purpose::Months, 0).uniform(), first[0]);
    }

    #[test]
    fn normals_have_mean_and_variance() {
        let mut dice = Dice::new(1, Purpose::Months, 0);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..100_000 {
            let z = dice.normal();
            sum += z;
            squares += z * z;
        }
        assert!((sum / 1e5_f64).abs() < 0.01 && (squares / 1e5_f64 - 1.0).abs() < 0.02);
    }
}
