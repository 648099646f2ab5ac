//! What one factor does by itself: it is held at values across its prior while everything else varies as before. From
//! the same points come the tornado, the thresholds at which the best design changes, and maps over two factors.

use serde::Serialize;

use super::{Asked, MAP, SWEEP};
use crate::factor::Factor;
use crate::normal;
use crate::run::Interrupted;
use crate::statistics::{Z95, mean_and_error};
use crate::study::Study;

/// Probabilities at which a factor is held: from its 1% to its 99% quantile, the 5% and 95% of the prior among them.
const POINTS: [f64; 9] = [0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99];
/// Of a map, on each side.
const SIDE: [f64; 7] = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98];

/// One factor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// Key.
    pub factor: &'static str,
    /// Where it was held.
    pub values: Vec<f64>,
    /// Below it in its prior.
    pub probabilities: Vec<f64>,
    /// Mean of the metric that decides, by value and design.
    pub means: Vec<Vec<f64>>,
    /// Their Monte Carlo errors.
    pub errors: Vec<Vec<f64>>,
    /// Index of the best design, by value.
    pub best: Vec<usize>,
    /// Its lead over every other is beyond Monte Carlo error (95%), by value.
    pub sure: Vec<bool>,
}

/// Where the best design changes as a factor rises.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// Key.
    pub factor: &'static str,
    /// Best below.
    pub below: usize,
    /// Best above.
    pub above: usize,
    /// The threshold: between two values held, where the straight lines through the two designs' means cross; half way where
    /// the two designs are equal at one of them, for then they part anywhere between.
    pub at: f64,
    /// Monte Carlo interval of 95%, within the two values; both of them where the designs are equal at one.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Part of the prior below the threshold.
    pub probability: f64,
}

/// Winners over two factors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Map {
    /// Key of the factor across.
    pub x: &'static str,
    /// Of the one upward.
    pub y: &'static str,
    /// Values across.
    pub xs: Vec<f64>,
    /// Values upward.
    pub ys: Vec<f64>,
    /// Index of the best design, by `ys` and `xs`.
    pub best: Vec<Vec<usize>>,
    /// By how much it leads the second, in the metric that decides.
    pub lead: Vec<Vec<f64>>,
    /// Its lead over every other is beyond Monte Carlo error (95%).
    pub sure: Vec<Vec<bool>>,
}

/// Values of the metric that decides at one point, by path and design.
type Point = Vec<f64>;

/// Sweeps over the factors that vary, with the values of every path.
/// `favourite`: the best of the study, which is best wherever no other is better.
pub(super) fn sweeps(
    asked: &Asked<'_>,
    paths: u32,
    favourite: usize,
) -> Result<Vec<(Sweep, Vec<Point>)>, Interrupted> {
    let study = asked.study;
    let factors = study.varied();
    let points = u32::try_from(POINTS.len()).expect("nine");
    let numbers = paths as usize * study.designs.len();
    let held = |factor: Factor, p: f64| held(study, factor, p);
    let chunk = |number: u32| {
        let (factor, p) = (factors[(number / points) as usize], POINTS[(number % points) as usize]);
        asked.decided(0, paths, &[(factor, held(factor, p))])
    };
    let count = u32::try_from(factors.len()).expect("few") * points;
    let mut chunks =
        asked.workers.chunks(SWEEP, "factors one by one", count, |_| numbers, chunk)?.into_iter();
    let sweep = |&factor: &Factor| {
        let points: Vec<Point> = chunks.by_ref().take(POINTS.len()).collect();
        let stats: Vec<Vec<(f64, f64)>> = points.iter().map(|point| of_designs(study, point)).collect();
        let sweep = Sweep {
            factor: factor.meaning().key,
            values: POINTS.map(|p| held(factor, p)).into(),
            probabilities: POINTS.into(),
            means: stats.iter().map(|row| row.iter().map(|(mean, _)| *mean).collect()).collect(),
            errors: stats.iter().map(|row| row.iter().map(|(_, error)| *error).collect()).collect(),
            best: stats.iter().map(|row| best(study, row, favourite).0).collect(),
            sure: stats
                .iter()
                .zip(&points)
                .map(|(row, point)| is_sure(study, row, point, favourite))
                .collect(),
        };
        (sweep, points)
    };
    Ok(factors.iter().map(sweep).collect())
}

fn held(study: &Study, factor: Factor, p: f64) -> f64 {
    let meaning = factor.meaning();
    study.prior(factor).at(normal::quantile(p)).clamp(meaning.least, meaning.most)
}

fn of_designs(study: &Study, point: &[f64]) -> Vec<(f64, f64)> {
    let designs = study.designs.len();
    let column =
        |design: usize| -> Vec<f64> { point.iter().skip(design).step_by(designs).copied().collect() };
    (0..designs).map(|design| mean_and_error(&column(design))).collect()
}

/// The best design and the second; where two are equal the favourite, and then the earlier.
fn best(study: &Study, row: &[(f64, f64)], favourite: usize) -> (usize, usize) {
    let sign = if study.question.decide_by.meaning().more_is_better == Some(false) { -1.0 } else { 1.0 };
    let better = |a: usize, b: usize| sign * row[a].0 > sign * row[b].0;
    let pick = |not: Option<usize>| {
        let others = (0..row.len()).filter(|design| *design != favourite);
        let candidates = std::iter::once(favourite).chain(others).filter(|design| Some(*design) != not);
        candidates
            .reduce(|best, design| if better(design, best) { design } else { best })
            .unwrap_or(favourite)
    };
    let first = pick(None);
    (first, pick(Some(first)))
}

/// One design less another, path by path: mean and error.
fn gap(study: &Study, point: &[f64], one: usize, other: usize) -> (f64, f64) {
    let rows = point.chunks_exact(study.designs.len());
    let gaps: Vec<f64> = rows.map(|row| row[one] - row[other]).collect();
    mean_and_error(&gaps)
}

/// Whether the best leads every other design by more than Monte Carlo error.
fn is_sure(study: &Study, row: &[(f64, f64)], point: &[f64], favourite: usize) -> bool {
    let (first, _) = best(study, row, favourite);
    (0..row.len()).filter(|&other| other != first).all(|other| {
        let (mean, error) = gap(study, point, first, other);
        mean.abs() > Z95 * error
    })
}

/// Where the best design changes between neighbouring values.
pub(super) fn flips(study: &Study, sweeps: &[(Sweep, Vec<Point>)]) -> Vec<Flip> {
    let mut flips = Vec::new();
    for (sweep, points) in sweeps {
        for place in 1..sweep.best.len() {
            let (below, above) = (sweep.best[place - 1], sweep.best[place]);
            if below == above {
                continue;
            }
            let (before, error_before) = gap(study, &points[place - 1], above, below);
            let (after, error_after) = gap(study, &points[place], above, below);
            let (from, to) = (sweep.values[place - 1], sweep.values[place]);
            let slope = after - before;
            let (part, wide) = if before == 0.0 || after == 0.0 {
                (0.5, 0.5)
            } else {
                let part = (-before / slope).clamp(0.0, 1.0);
                let error =
                    libm::sqrt(error_before * error_before * (1.0 - part) + error_after * error_after * part);
                (part, Z95 * error / slope.abs())
            };
            let at = |part: f64| from + part.clamp(0.0, 1.0) * (to - from);
            let factor = Factor::of(sweep.factor).expect("one of the study's");
            flips.push(Flip {
                factor: sweep.factor,
                below,
                above,
                at: at(part),
                low: at(part - wide),
                high: at(part + wide),
                probability: study.prior(factor).below(at(part)),
            });
        }
    }
    flips
}

/// `favourite` as in [`sweeps`].
pub(super) fn maps(asked: &Asked<'_>, paths: u32, favourite: usize) -> Result<Vec<Map>, Interrupted> {
    let study = asked.study;
    let side = SIDE.len();
    let places = u32::try_from(side * side).expect("few");
    let numbers = paths as usize * study.designs.len();
    let chunk = |number: u32| {
        let (x, y) = study.maps[(number / places) as usize];
        let place = (number % places) as usize;
        let (px, py) = (SIDE[place % side], SIDE[place / side]);
        asked.decided(0, paths, &[(x, held(study, x, px)), (y, held(study, y, py))])
    };
    let count_all = u32::try_from(study.maps.len()).expect("few") * places;
    let mut chunks = asked.workers.chunks(MAP, "maps", count_all, |_| numbers, chunk)?.into_iter();
    let map = |&(x, y): &(Factor, Factor)| {
        let mut map = Map {
            x: x.meaning().key,
            y: y.meaning().key,
            xs: SIDE.map(|p| held(study, x, p)).into(),
            ys: SIDE.map(|p| held(study, y, p)).into(),
            best: vec![Vec::new(); side],
            lead: vec![Vec::new(); side],
            sure: vec![Vec::new(); side],
        };
        for place in 0..side * side {
            let point = chunks.next().expect("one for each place");
            let row = of_designs(study, &point);
            let (first, second) = best(study, &row, favourite);
            map.best[place / side].push(first);
            map.lead[place / side].push(gap(study, &point, first, second).0.abs());
            map.sure[place / side].push(is_sure(study, &row, &point, favourite));
        }
        map
    };
    Ok(study.maps.iter().map(map).collect())
}
