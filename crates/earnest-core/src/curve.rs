//! The ladder of a rising-price round: credits sold after each weight of cash, as integer knots with straight
//! lines between them, which Rust and Solidity interpolate alike to the last unit. A ladder made from a plan's
//! curve never lies above the curve, so it never sells more than the curve does.

use std::cmp::Ordering;

use alloy_primitives::{U256, U512};

use crate::money::{CASH_MAX, CREDITS_MAX, Cash, Credits, PRICE_SCALE, Price};
use crate::plan::{CurvePlan, RisingPlan};

/// Most knots of a ladder.
pub const KNOTS_MAX: usize = 512;

/// N, credits sold as a function of weight, between its first knot and its last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ladder {
    knots: Vec<Knot>,
}

/// One point of the ladder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Knot {
    /// Weight sold so far, in cash base units.
    pub weight: u64,
    /// Credits base units sold at that weight.
    pub credits: u128,
}

/// Why there is no such ladder.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LadderError {
    /// Neither a line nor within what a contract can hold.
    #[error("a ladder has 2 to {KNOTS_MAX} knots, not {0}")]
    KnotCount(usize),
    /// The ends and kinks alone need more.
    #[error("{given} knots cannot hold the ends and kinks of the curve; hint: use {needed} or more")]
    TooFewKnots {
        /// Knots that the curve cannot do without.
        needed: usize,
        /// Knots that the plan allows.
        given: usize,
    },
    /// Weight must rise and credits must not fall.
    #[error("knot {0} does not lie above the knot before it: weight must rise and credits must not fall")]
    NotRising(usize),
    /// Sixty bits are all a bid slot has.
    #[error("weight {0} does not fit into 60 bits")]
    WeightTooLarge(u128),
    /// Ninety-six bits are all a position has.
    #[error("the curve sells more than 2^96 credits base units at weight {0}")]
    CreditsTooLarge(u64),
    /// Nothing to interpolate in.
    #[error("the round sells nothing: its cap is zero")]
    EmptyRound,
    /// Credits would be free.
    #[error("the curve's first or floor price is zero")]
    ZeroPrice,
    /// The curve divides by them.
    #[error("the curve's `e_fold`, `divisor` or `over` is zero credits")]
    ZeroCredits,
    /// A later buyer would pay less.
    #[error("the curve's last price {last} is below its first price {first}")]
    FallingPrice {
        /// Price of the first credit.
        first: Price,
        /// Price after `over` credits.
        last: Price,
    },
    /// The plan's own points stop too early.
    #[error("the curve's last point lies at {last} cash, but the round may reach {end}")]
    BeyondPoints {
        /// Weight of the last point.
        last: Cash,
        /// Weight the round may reach.
        end: Cash,
    },
}

impl Ladder {
    /// Takes knots as they are: 2 to 512, weight strictly rising and below 2⁶⁰, credits never falling and
    /// below 2⁹⁶.
    pub fn new(knots: Vec<Knot>) -> Result<Ladder, LadderError> {
        if knots.len() < 2 || knots.len() > KNOTS_MAX {
            return Err(LadderError::KnotCount(knots.len()));
        }
        for (i, pair) in knots.windows(2).enumerate() {
            if pair[1].weight <= pair[0].weight || pair[1].credits < pair[0].credits {
                return Err(LadderError::NotRising(i + 1));
            }
        }
        let top = knots[knots.len() - 1];
        if top.weight > CASH_MAX {
            return Err(LadderError::WeightTooLarge(top.weight.into()));
        }
        if top.credits > CREDITS_MAX {
            return Err(LadderError::CreditsTooLarge(top.weight));
        }
        Ok(Ladder { knots })
    }

    /// The ladder of a rising round, from `start` to `start + followed_most + cap`, where `followed_most` is
    /// the most that the round it follows can add to its start (zero if it follows none).
    ///
    /// Knots stand at both ends, at a kink of the curve, and (where the round follows another) at the start
    /// that a sold-out predecessor gives and at the round's own cap from `start`: rounds sold to the brim
    /// then agree with the curve exactly. Every further knot halves the interval whose line lies furthest
    /// below the curve at its middle. Curves are concave, so anywhere in an interval the ladder lies below
    /// the curve by at most twice that distance, and never above.
    pub fn from_plan(rising: &RisingPlan, followed_most: Cash) -> Result<Ladder, LadderError> {
        let start = rising.start.units();
        let end = u128::from(start) + u128::from(followed_most.units()) + u128::from(rising.cap.units());
        let end = fitting_weight(end)?;
        if rising.cap == Cash::ZERO {
            return Err(LadderError::EmptyRound);
        }
        if let CurvePlan::Points(points) = &rising.curve {
            return Ladder::from_points(points, start, end);
        }
        let mut marks = vec![start, end];
        if followed_most > Cash::ZERO {
            marks.push(start + followed_most.units());
            marks.push(start + rising.cap.units());
        }
        marks.extend(kink(&rising.curve).filter(|&weight| start < weight && weight < end));
        marks.sort_unstable();
        marks.dedup();
        let given = usize::from(rising.knots).min(KNOTS_MAX);
        if given < marks.len() {
            return Err(LadderError::TooFewKnots { needed: marks.len(), given });
        }
        let knots = marks.into_iter().map(|weight| knot(&rising.curve, weight)).collect::<Result<_, _>>()?;
        Ladder::new(refined(&rising.curve, knots, given)?)
    }

    /// Credits sold at a weight, rounded down; `None` outside the ladder.
    ///
    /// Between knots i and i+1: `nᵢ + (x − xᵢ)·(nᵢ₊₁ − nᵢ) ÷ (xᵢ₊₁ − xᵢ)`.
    pub fn credits_at(&self, weight: u64) -> Option<u128> {
        let next = self.knots.partition_point(|knot| knot.weight <= weight);
        let below = self.knots[next.checked_sub(1)?];
        match self.knots.get(next) {
            Some(&above) => Some(on_line(below, above, weight)),
            None => (below.weight == weight).then_some(below.credits),
        }
    }

    /// Weight of the last knot.
    pub fn last_weight(&self) -> u64 {
        self.knots[self.knots.len() - 1].weight
    }

    /// Index of the highest knot at or below a weight; 0 below the first.
    pub fn knot_below(&self, weight: u64) -> u16 {
        let above = self.knots.partition_point(|knot| knot.weight <= weight);
        u16::try_from(above.saturating_sub(1)).expect("at most 512 knots")
    }

    /// The knots, by rising weight.
    pub fn knots(&self) -> &[Knot] {
        &self.knots
    }

    /// A plan's own points between two weights, cut on the line where an end falls between two of them.
    fn from_points(points: &[(Cash, Credits)], start: u64, end: u64) -> Result<Ladder, LadderError> {
        let whole = Ladder::new(knots_of(points))?;
        let last = whole.knots[whole.knots.len() - 1].weight;
        let cut = |weight| {
            let credits = whole.credits_at(weight).ok_or(LadderError::BeyondPoints {
                last: Cash::from_units(last),
                end: Cash::from_units(end),
            })?;
            Ok(Knot { weight, credits })
        };
        let mut knots = vec![cut(start)?];
        knots.extend(whole.knots.iter().filter(|knot| start < knot.weight && knot.weight < end));
        knots.push(cut(end)?);
        Ladder::new(knots)
    }
}

/// N of a curve: credits base units sold after `weight` cash base units, rounded down.
///
/// Logarithms fall short by less than 2⁻⁷⁶ of one and credits stay below 2⁹⁶, so the answer is the true one
/// rounded down, or one base unit less where the true one lies within 2⁻⁸⁰ of a whole unit. It never falls as
/// weight rises. Points are interpolated.
pub fn credits_sold(curve: &CurvePlan, weight: u64) -> Result<u128, LadderError> {
    let paid = paid(weight);
    let credits = match curve {
        CurvePlan::Exponential { first_price, e_fold } => {
            let scale = product(*first_price, *e_fold)?;
            ln_times(scale + paid, scale, *e_fold)
        }
        CurvePlan::Proportional { floor_price, divisor } => {
            let kink = product(*floor_price, *divisor)?;
            match paid.cmp(&kink) {
                Ordering::Greater => credits(*divisor) + ln_times(paid, kink, *divisor),
                _ => paid / price(*floor_price),
            }
        }
        CurvePlan::Linear { first_price, last_price, over } => {
            let base = product(*first_price, *over)?;
            let rise = price_rise(*first_price, *last_price)?;
            if rise.is_zero() {
                paid / price(*first_price)
            } else {
                // p₀·n + rise·n² ÷ (2·over) = paid, solved for n. Rounding the root down and then the
                // quotient down is rounding down once, for all that is subtracted and divided by is whole.
                let root = square_root(base * base + U512::from(2) * rise * credits(*over) * paid);
                (root - base) / rise
            }
        }
        CurvePlan::Points(points) => {
            let ladder = Ladder::new(knots_of(points))?;
            let last = ladder.knots[ladder.knots.len() - 1].weight;
            U512::from(ladder.credits_at(weight).ok_or(LadderError::BeyondPoints {
                last: Cash::from_units(last),
                end: Cash::from_units(weight),
            })?)
        }
    };
    u128::try_from(credits)
        .ok()
        .filter(|&credits| credits <= CREDITS_MAX)
        .ok_or(LadderError::CreditsTooLarge(weight))
}

/// Price of the next credit after `weight` cash base units, rounded down: the slope of the curve. At a point
/// of a curve given as points, the price above it; at the last, the price below.
pub fn price_at(curve: &CurvePlan, weight: u64) -> Result<Price, LadderError> {
    let paid = paid(weight);
    let units = match curve {
        // p₀·e^(n ÷ e_fold), with n = e_fold·ln(1 + paid ÷ (p₀·e_fold)): the logarithm cancels out.
        CurvePlan::Exponential { first_price, e_fold } => {
            product(*first_price, *e_fold)?;
            price(*first_price) + paid / credits(*e_fold)
        }
        CurvePlan::Proportional { floor_price, divisor } => {
            product(*floor_price, *divisor)?;
            price(*floor_price).max(paid / credits(*divisor))
        }
        CurvePlan::Linear { first_price, last_price, over } => {
            let base = product(*first_price, *over)?;
            let rise = price_rise(*first_price, *last_price)?;
            square_root(base * base + U512::from(2) * rise * credits(*over) * paid) / credits(*over)
        }
        CurvePlan::Points(points) => {
            let knots = Ladder::new(knots_of(points))?.knots;
            let above = knots.partition_point(|knot| knot.weight <= weight).min(knots.len() - 1);
            let (from, to) = (knots[above - 1], knots[above]);
            if weight > to.weight {
                return Err(LadderError::BeyondPoints {
                    last: Cash::from_units(to.weight),
                    end: Cash::from_units(weight),
                });
            }
            let sold = to.credits - from.credits;
            if sold == 0 {
                return Err(LadderError::NotRising(above));
            }
            self::paid(to.weight - from.weight) / U512::from(sold)
        }
    };
    Ok(Price::from_units(u64::try_from(units).unwrap_or(u64::MAX)))
}

/// Adds knots until there are `count`, each in the middle of the interval that needs it most.
fn refined(curve: &CurvePlan, mut knots: Vec<Knot>, count: usize) -> Result<Vec<Knot>, LadderError> {
    let mut middles = Vec::with_capacity(count);
    for pair in knots.windows(2) {
        middles.push(middle(curve, pair[0], pair[1])?);
    }
    while knots.len() < count {
        // The first of the largest, so that the same plan always gives the same ladder.
        let widest = (0..middles.len()).rev().max_by_key(|&i| middles[i].1).unwrap_or(0);
        let (between, gap) = middles[widest];
        if gap == 0 {
            break;
        }
        knots.insert(widest + 1, between);
        middles[widest] = middle(curve, knots[widest], between)?;
        middles.insert(widest + 1, middle(curve, between, knots[widest + 2])?);
    }
    Ok(knots)
}

/// The curve's knot in the middle of an interval, and how far the straight line passes below it. Where
/// rounding alone puts the line level or a unit above, there is nothing to mend: zero.
fn middle(curve: &CurvePlan, below: Knot, above: Knot) -> Result<(Knot, u128), LadderError> {
    let weight = below.weight + (above.weight - below.weight) / 2;
    let between = knot(curve, weight)?;
    Ok((between, between.credits.saturating_sub(on_line(below, above, weight))))
}

fn knot(curve: &CurvePlan, weight: u64) -> Result<Knot, LadderError> {
    Ok(Knot { weight, credits: credits_sold(curve, weight)? })
}

/// The weight at which a curve has a corner, rounded down.
fn kink(curve: &CurvePlan) -> impl Iterator<Item = u64> {
    let corner = match curve {
        CurvePlan::Proportional { floor_price, divisor } => {
            u64::try_from(divisor.cost_floor(*floor_price)).ok()
        }
        _ => None,
    };
    corner.into_iter()
}

/// Points as knots; the origin may be written or left out.
fn knots_of(points: &[(Cash, Credits)]) -> Vec<Knot> {
    let origin = (Cash::ZERO, Credits::ZERO);
    let left_out = points.first().is_none_or(|&(weight, _)| weight > Cash::ZERO);
    left_out
        .then_some(&origin)
        .into_iter()
        .chain(points)
        .map(|(weight, credits)| Knot { weight: weight.units(), credits: credits.units() })
        .collect()
}

/// The straight line between two knots, rounded down. At most 2⁶⁰ × 2⁹⁶ before the division.
fn on_line(below: Knot, above: Knot, weight: u64) -> u128 {
    let run = U256::from(weight - below.weight) * U256::from(above.credits - below.credits);
    let rise = run / U256::from(above.weight - below.weight);
    below.credits + rise.to::<u128>()
}

fn fitting_weight(weight: u128) -> Result<u64, LadderError> {
    u64::try_from(weight).ok().filter(|&weight| weight <= CASH_MAX).ok_or(LadderError::WeightTooLarge(weight))
}

// Everything below is in the unit of credits base units × price units, of which PRICE_SCALE make one cash base
// unit. Cash is under 2⁶⁴ and PRICE_SCALE under 2⁸⁰, credits are under 2¹²⁸ and prices under 2⁶⁴: amounts stay
// under 2¹⁹³, products of two of them under 2³⁸⁶, and nothing overflows 512 bits.

fn paid(weight: u64) -> U512 {
    U512::from(weight) * U512::from(PRICE_SCALE)
}

fn price(price: Price) -> U512 {
    U512::from(price.units())
}

fn credits(credits: Credits) -> U512 {
    U512::from(credits.units())
}

/// What so many credits cost at a price, neither of which may be zero in a curve.
fn product(at: Price, of: Credits) -> Result<U512, LadderError> {
    match (at.units(), of.units()) {
        (0, _) => Err(LadderError::ZeroPrice),
        (_, 0) => Err(LadderError::ZeroCredits),
        _ => Ok(price(at) * credits(of)),
    }
}

fn price_rise(first: Price, last: Price) -> Result<U512, LadderError> {
    match last.units().checked_sub(first.units()) {
        Some(rise) => Ok(U512::from(rise)),
        None => Err(LadderError::FallingPrice { first, last }),
    }
}

/// Binary places of a logarithm.
const LN_BITS: usize = 192;

/// `factor · ln(numerator ÷ denominator)`, rounded down, for a quotient of at least one.
fn ln_times(numerator: U512, denominator: U512, factor: Credits) -> U512 {
    // ln is under 2⁸ and the factor under 2¹²⁸: 328 bits.
    (credits(factor) * ln(numerator, denominator)) >> LN_BITS
}

/// `ln(numerator ÷ denominator)` with 192 binary places, for `denominator ≤ numerator < 2¹⁹⁴`.
///
/// With 2ᵏ the largest power of two that does not exceed the quotient, `ln = k·ln 2 + 2·atanh z` where
/// `z = (numerator − 2ᵏ·denominator) ÷ (numerator + 2ᵏ·denominator) < ⅓`. Every step rounds down, so the
/// answer is never too high; at most 62 terms lose two units of the last place each, doubled, and ln 2 loses
/// the same up to 193 times: less than 2⁻¹⁷⁶ in all. Every step is monotone, and ln 2 comes from the same
/// series at z = ⅓, so the answer never falls where k changes either.
fn ln(numerator: U512, denominator: U512) -> U512 {
    let mut power = numerator.bit_len() - denominator.bit_len();
    if denominator << power > numerator {
        power -= 1;
    }
    let scaled = denominator << power;
    let rest = twice_atanh(numerator - scaled, numerator + scaled);
    match power {
        0 => rest,
        _ => rest + U512::from(power) * twice_atanh(U512::from(1), U512::from(3)),
    }
}

/// `2·atanh(z) = 2·(z + z³ ÷ 3 + z⁵ ÷ 5 + …)` with 192 binary places, for `z = numerator ÷ denominator ≤ ⅓`.
fn twice_atanh(numerator: U512, denominator: U512) -> U512 {
    let mut power = (numerator << LN_BITS) / denominator;
    let square = (power * power) >> LN_BITS;
    let mut sum = U512::ZERO;
    let mut odd = 1u64;
    while !power.is_zero() {
        sum += power / U512::from(odd);
        power = (power * square) >> LN_BITS;
        odd += 2;
    }
    sum << 1
}

/// Square root, rounded down, by Newton's steps from above.
fn square_root(of: U512) -> U512 {
    if of.is_zero() {
        return of;
    }
    let mut root = U512::from(1) << of.bit_len().div_ceil(2);
    loop {
        let next = (root + of / root) >> 1;
        if next >= root {
            return root;
        }
        root = next;
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const WHOLE: u128 = 10u128.pow(18);

    fn cash(text: &str) -> Cash {
        Cash::parse(text).unwrap()
    }

    fn millions(amount: u64) -> u64 {
        amount * 10u64.pow(12)
    }

    fn rising(start: &str, cap: &str, knots: u16, curve: CurvePlan) -> RisingPlan {
        let (start, cap) = (cash(start), cash(cap));
        RisingPlan { window_secs: 3_600, window_cap: cap, start, follows: None, cap, curve, knots }
    }

    fn telegram() -> CurvePlan {
        CurvePlan::Exponential {
            first_price: Price::parse("0.1").unwrap(),
            e_fold: Credits::from_whole(1_000_000_000).unwrap(),
        }
    }

    fn filecoin() -> CurvePlan {
        CurvePlan::Proportional {
            floor_price: Price::parse("1").unwrap(),
            divisor: Credits::from_whole(40_000_000).unwrap(),
        }
    }

    fn linear(first: &str, last: &str, over: u64) -> CurvePlan {
        CurvePlan::Linear {
            first_price: Price::parse(first).unwrap(),
            last_price: Price::parse(last).unwrap(),
            over: Credits::from_whole(over).unwrap(),
        }
    }

    fn nearest(credits: u128) -> u128 {
        (credits + WHOLE / 2) / WHOLE
    }

    fn average(cash_millions: u64, credits: u128) -> f64 {
        let price = Price::average(Cash::from_units(millions(cash_millions)), Credits::from_units(credits));
        price.to_string().parse().unwrap()
    }

    #[test]
    fn telegrams_two_rounds_come_out_as_the_court_found_them() {
        let both = rising("0", "850_000_000", 64, telegram());
        let ladder = Ladder::from_plan(&both, cash("850_000_000")).unwrap();
        assert!(ladder.knots().len() <= 64);
        let at = |weight| ladder.credits_at(millions(weight)).unwrap();
        let (first, second) = (at(850), at(1_700) - at(850));
        assert_eq!((nearest(first), nearest(second)), (2_251_291_799, 639_079_959));
        assert!((average(850, first) - 0.377_561).abs() < 5e-7);
        assert!((average(850, second) - 1.330_037).abs() < 5e-7);
        assert_eq!(price_at(&telegram(), millions(850)).unwrap().to_string(), "0.95");
        assert_eq!(price_at(&telegram(), millions(1_700)).unwrap().to_string(), "1.8");
    }

    #[test]
    fn filecoins_first_hour_pays_one_averaged_price() {
        let public = rising("52_000_000", "205_800_000", 256, filecoin());
        let ladder = Ladder::from_plan(&public, Cash::ZERO).unwrap();
        let first_hour = ladder.credits_at(millions(238)).unwrap() - ladder.credits_at(millions(52)).unwrap();
        assert!((average(186, first_hour) - 3.057).abs() < 0.000_5);
        assert_eq!(nearest(first_hour) / 10_000, 6_084);
        assert_eq!(price_at(&filecoin(), 257_800_000_000_000).unwrap().to_string(), "6.445");
        assert_eq!(price_at(&filecoin(), millions(52)).unwrap().to_string(), "1.3");
    }

    #[test]
    fn a_proportional_curve_has_a_knot_at_its_kink_and_a_straight_line_before_it() {
        let ladder = Ladder::from_plan(&rising("0", "100_000_000", 16, filecoin()), Cash::ZERO).unwrap();
        assert_eq!(ladder.knots()[1], Knot { weight: millions(40), credits: 40_000_000 * WHOLE });
        assert_eq!(ladder.credits_at(millions(7)), Some(7_000_000 * WHOLE));
    }

    #[test]
    fn a_linear_curve_is_inverted_exactly() {
        // Price 1 to 3 over 1,000 credits: 1,000 credits cost 2,000, 500 cost 750.
        let curve = linear("1", "3", 1_000);
        assert_eq!(credits_sold(&curve, 2_000_000_000), Ok(1_000 * WHOLE));
        assert_eq!(credits_sold(&curve, 750_000_000), Ok(500 * WHOLE));
        assert_eq!(price_at(&curve, 750_000_000).unwrap().to_string(), "2");
        let flat = linear("0.3", "0.3", 1_000);
        assert_eq!(credits_sold(&flat, 1_000_000), Ok(10 * WHOLE / 3));
        assert_eq!(price_at(&flat, 5).unwrap().to_string(), "0.3");
        assert_eq!(Ladder::from_plan(&rising("0", "9", 64, flat), Cash::ZERO).unwrap().knots().len(), 2);
    }

    #[test]
    fn points_are_cut_at_the_ends_of_the_round() {
        let point = |weight: u64, credits: u64| {
            (Cash::from_whole(weight).unwrap(), Credits::from_whole(credits).unwrap())
        };
        let points = vec![point(100, 100), point(200, 150), point(400, 200)];
        let curve = CurvePlan::Points(points.clone());
        let ladder = Ladder::from_plan(&rising("50", "250", 2, curve.clone()), Cash::ZERO).unwrap();
        let knots: Vec<_> =
            ladder.knots().iter().map(|k| (k.weight / 1_000_000, k.credits / WHOLE)).collect();
        assert_eq!(knots, [(50, 50), (100, 100), (200, 150), (300, 175)]);
        assert_eq!(price_at(&curve, 100_000_000).unwrap().to_string(), "2");
        assert_eq!(price_at(&curve, 400_000_000).unwrap().to_string(), "4");
        let with_origin = CurvePlan::Points([vec![point(0, 0)], points].concat());
        assert_eq!(credits_sold(&with_origin, 150_000_000), credits_sold(&curve, 150_000_000));
        assert_eq!(
            Ladder::from_plan(&rising("200", "250", 2, curve), Cash::ZERO).unwrap_err().to_string(),
            "the curve's last point lies at 400 cash, but the round may reach 450"
        );
    }

    #[test]
    fn the_logarithm_agrees_with_floating_point() {
        let scale = 2f64.powi(-128);
        for seed in 0..2_000 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let denominator = random.random::<u128>() >> random.random_range(64..127u32) | 1;
            let more = random.random::<u128>() >> random.random_range(1..127u32);
            let numerator = denominator + more;
            let high: U512 = ln(U512::from(numerator), U512::from(denominator)) >> 64;
            let ours = f64::from(high) * scale;
            let theirs = (more as f64 / denominator as f64).ln_1p();
            assert!((ours - theirs).abs() <= 1e-13 * theirs + 1e-30, "seed {seed}: {ours} {theirs}");
        }
    }

    #[test]
    fn the_logarithm_of_two_is_right_in_all_its_places_but_the_last_sixteen() {
        let digits =
            U512::from_str_radix("693147180559945309417232121458176568075500134360255254120", 10).unwrap();
        let known = (digits << LN_BITS) / U512::from(10).pow(U512::from(57));
        let ours = ln(U512::from(2), U512::from(1));
        assert!(ours <= known + U512::from(64));
        assert!(known.abs_diff(ours) < U512::from(1) << 16);
    }

    #[test]
    fn square_roots_round_down() {
        for seed in 0..500 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let root = U512::from(random.random::<u128>() >> random.random_range(0..127u32));
            let square = root * root;
            assert_eq!(square_root(square), root, "seed {seed}");
            assert_eq!(square_root(square + root + root), root, "seed {seed}");
        }
        assert_eq!(square_root(U512::ZERO), U512::ZERO);
    }

    fn random_curve(random: &mut ChaCha8Rng) -> CurvePlan {
        let first = random.random_range(1..10u64.pow(13));
        let first_price = Price::from_units(first);
        let last_price = Price::from_units(first + random.random_range(0..10u64.pow(13)));
        let size =
            Credits::from_units(random.random_range(1..10u128.pow(27)) >> random.random_range(0..30u32));
        match random.random_range(0..3u32) {
            0 => CurvePlan::Exponential { first_price, e_fold: size },
            1 => CurvePlan::Proportional { floor_price: first_price, divisor: size },
            _ => CurvePlan::Linear { first_price, last_price, over: size },
        }
    }

    fn random_ladder(seed: u64) -> Option<(RisingPlan, Ladder)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut some = || Cash::from_units((random.random::<u64>() >> random.random_range(14..64u32)) + 1);
        let (start, cap, followed) = (some(), some(), some());
        let curve = random_curve(&mut random);
        let plan = RisingPlan {
            window_secs: 1,
            window_cap: cap,
            start,
            follows: None,
            cap,
            curve,
            knots: random.random_range(5..80),
        };
        // Random prices may be so low that a ladder would sell more credits than there can be.
        match Ladder::from_plan(&plan, followed) {
            Ok(ladder) => Some((plan, ladder)),
            Err(LadderError::CreditsTooLarge(_)) => None,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }

    #[test]
    fn a_ladder_rises_stays_under_its_curve_and_is_exact_at_its_knots() {
        let mut ladders = 0;
        for seed in 0..300 {
            let Some((plan, ladder)) = random_ladder(seed) else { continue };
            ladders += 1;
            let knots = ladder.knots();
            assert!(knots.len() <= plan.knots.into(), "seed {seed}");
            for knot in knots {
                assert_eq!(credits_sold(&plan.curve, knot.weight), Ok(knot.credits), "seed {seed}");
                assert_eq!(ladder.credits_at(knot.weight), Some(knot.credits), "seed {seed}");
            }
            let (first, last) = (knots[0].weight, knots[knots.len() - 1].weight);
            assert_eq!(ladder.credits_at(first - 1), None, "seed {seed}");
            assert_eq!(ladder.credits_at(last + 1), None, "seed {seed}");
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut weights: Vec<u64> = (0..100).map(|_| random.random_range(first..=last)).collect();
            weights.sort_unstable();
            let mut before = 0;
            for weight in weights {
                let credits = ladder.credits_at(weight).unwrap();
                assert!(credits >= before, "seed {seed}, weight {weight}");
                // One unit for the rounding of `credits_sold` itself.
                assert!(credits <= credits_sold(&plan.curve, weight).unwrap() + 1, "seed {seed} {weight}");
                before = credits;
            }
        }
        assert!(ladders > 100, "{ladders}");
    }

    #[test]
    fn anywhere_the_ladder_falls_short_by_at_most_twice_the_worst_middle() {
        for seed in 0..300 {
            let Some((plan, ladder)) = random_ladder(seed) else { continue };
            let gaps = ladder.knots().windows(2).map(|pair| middle(&plan.curve, pair[0], pair[1]).unwrap().1);
            let worst = gaps.max().unwrap();
            let (first, last) = (ladder.knots()[0].weight, ladder.knots().last().unwrap().weight);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..100 {
                let weight = random.random_range(first..=last);
                let curve = credits_sold(&plan.curve, weight).unwrap();
                let short = curve.saturating_sub(ladder.credits_at(weight).unwrap());
                // Where an interval is a few units of cash wide its middle is rounded: allow one unit's credits.
                let unit = curve - credits_sold(&plan.curve, weight - 1).unwrap();
                assert!(short <= 2 * worst + unit + 4, "seed {seed}: {short} {worst} {unit}");
            }
        }
    }

    #[test]
    fn neighbouring_weights_never_sell_fewer_credits() {
        for seed in 0..300 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let curve = random_curve(&mut random);
            // Where a power of two is crossed the logarithm changes its k.
            let weight = (1u64 << random.random_range(2..50u32)) - 1;
            if let (Ok(here), Ok(next)) = (credits_sold(&curve, weight), credits_sold(&curve, weight + 1)) {
                assert!(here <= next, "seed {seed}");
            }
        }
        for power in 1..150 {
            let edge = U512::from(1) << power;
            assert!(ln(edge * U512::from(7) - U512::from(1), U512::from(7)) <= ln(edge, U512::from(1)));
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_pass_unseen() {
        let dearest = CurvePlan::Exponential {
            first_price: Price::from_units(u64::MAX),
            e_fold: Credits::from_units(CREDITS_MAX),
        };
        // Cash of 2⁶⁰ at a price of 2⁶⁴ that hardly moves: 60 + 79.7 − 64 bits of credits.
        assert_eq!(128 - credits_sold(&dearest, CASH_MAX).unwrap().leading_zeros(), 76);
        let cheapest =
            CurvePlan::Exponential { first_price: Price::from_units(1), e_fold: Credits::from_units(1) };
        // ln(2⁶⁰ · 10²⁴) = 96.85
        assert_eq!(credits_sold(&cheapest, CASH_MAX), Ok(96));
        let steep = CurvePlan::Linear {
            first_price: Price::from_units(1),
            last_price: Price::from_units(u64::MAX),
            over: Credits::from_units(CREDITS_MAX),
        };
        // √(2 · 2⁹⁶ · 2⁶⁴ · 10²⁴ ÷ 2⁶⁴) has 88.4 bits.
        assert_eq!(128 - credits_sold(&steep, u64::MAX).unwrap().leading_zeros(), 89);
        let given_away = linear("0.000000000001", "0.000000000001", 1);
        assert_eq!(credits_sold(&given_away, CASH_MAX), Err(LadderError::CreditsTooLarge(CASH_MAX)));
        let most = Knot { weight: CASH_MAX, credits: CREDITS_MAX };
        let ladder = Ladder::new(vec![Knot { weight: 0, credits: 0 }, most]).unwrap();
        assert_eq!(ladder.credits_at(CASH_MAX), Some(CREDITS_MAX));
        assert_eq!(ladder.credits_at(CASH_MAX - 1), Some(CREDITS_MAX - (1 << 36) - 1));
        assert_eq!(ladder.credits_at(CASH_MAX + 1), None);
    }

    #[test]
    fn what_is_no_ladder_is_refused() {
        let knot = |weight, credits| Knot { weight, credits };
        assert_eq!(Ladder::new(vec![knot(0, 0)]), Err(LadderError::KnotCount(1)));
        let many = (0..513).map(|i| knot(i, 0)).collect();
        assert_eq!(Ladder::new(many), Err(LadderError::KnotCount(513)));
        assert_eq!(Ladder::new(vec![knot(1, 0), knot(1, 1)]), Err(LadderError::NotRising(1)));
        assert_eq!(Ladder::new(vec![knot(0, 0), knot(1, 2), knot(2, 1)]), Err(LadderError::NotRising(2)));
        assert_eq!(
            Ladder::new(vec![knot(0, 0), knot(1 << 60, 1)]),
            Err(LadderError::WeightTooLarge(1 << 60))
        );
        assert_eq!(Ladder::new(vec![knot(0, 0), knot(1, 1 << 96)]), Err(LadderError::CreditsTooLarge(1)));

        let of = |curve| Ladder::from_plan(&rising("1", "50_000_000", 2, curve), Cash::ZERO);
        assert_eq!(of(filecoin()), Err(LadderError::TooFewKnots { needed: 3, given: 2 }));
        assert_eq!(of(linear("0", "1", 1)), Err(LadderError::ZeroPrice));
        assert_eq!(of(linear("1", "2", 0)), Err(LadderError::ZeroCredits));
        assert!(matches!(of(linear("2", "1", 1)), Err(LadderError::FallingPrice { .. })));
        assert_eq!(
            Ladder::from_plan(&rising("1", "0", 2, telegram()), Cash::ZERO),
            Err(LadderError::EmptyRound)
        );
        assert_eq!(
            Ladder::from_plan(&rising("1", "1", 2, telegram()), Cash::from_units(CASH_MAX)),
            Err(LadderError::WeightTooLarge(u128::from(CASH_MAX) + 2_000_000))
        );
    }
}
