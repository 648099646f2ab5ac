//! What a study comes to: every question is asked of the same futures under every design, so that differences are of
//! designs and not of luck.

mod compare;
mod hindcast;
pub mod sobol;
mod sweep;

use earnest_core::plan::Time;
use serde::Serialize;

use crate::dice::{Dice, Purpose};
use crate::factor::Factor;
use crate::lab::{Costs, Prepared};
use crate::outcome::{COURSE, METRICS, Metric, STAKE, width};
use crate::run::{Interrupted, Workers};
use crate::statistics::{Summary, quantile};
use crate::study::Study;
use crate::world::{Copula, Future, quantiles, values};

pub use compare::{Pair, Regret};
pub use hindcast::{Hindcast, Score};
pub use sobol::{Index, Variance};
pub use sweep::{Flip, Map, Sweep};

/// Paths of a chunk.
const CHUNK: u32 = 64;
/// Phases, by which finished chunks are kept.
const BASE: u32 = 0;
const STRESS: u32 = 1;
const SWEEP: u32 = 2;
const MAP: u32 = 3;
const SOBOL: u32 = 4;
/// And those after it: one for each month at which outcomes were seen.
const HINDCAST: u32 = 5;

/// How much is asked beside the paths of the study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// Paths of each stress; at most the study's.
    pub stress: u32,
    /// Paths at each point of a sweep; at most the study's.
    pub sweep: u32,
    /// Paths at each place of a map; at most the study's.
    pub map: u32,
    /// Base samples for splitting the variance.
    pub sobol: u32,
}

impl Default for Depth {
    fn default() -> Self {
        Depth { stress: 1_000, sweep: 500, map: 200, sobol: 512 }
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// Name of the study.
    pub name: String,
    /// Its note.
    pub note: Option<String>,
    /// Month 0.
    pub start: Time,
    /// Months.
    pub months: u32,
    /// Futures.
    pub paths: u32,
    /// Seed.
    pub seed: u64,
    /// When the mission is judged.
    pub judged: u32,
    /// Part of its compute that counts as funded.
    pub enough: f64,
    /// What was asked beside the paths.
    pub depth: Depth,
    /// Key of the metric that decides.
    pub decide_by: &'static str,
    /// In the study's order.
    pub designs: Vec<DesignAnswer>,
    /// Every two designs, by every metric.
    pub pairs: Vec<Pair>,
    /// By design.
    pub regret: Vec<Regret>,
    /// By factor: what its values alone do.
    pub sweeps: Vec<Sweep>,
    /// Where the answer turns over.
    pub flips: Vec<Flip>,
    /// By design: where the variance comes from.
    pub variance: Vec<Variance>,
    /// Futures by themselves.
    pub stresses: Vec<StressAnswer>,
    /// Winners over two factors.
    pub maps: Vec<Map>,
    /// Against what happened.
    pub hindcast: Option<Hindcast>,
    /// What was believed.
    pub priors: Vec<PriorShown>,
    /// Which of it moves together: two factors and the correlation of their normal quantiles.
    pub correlations: Vec<(&'static str, &'static str, f64)>,
    /// Factors without a prior.
    pub at_rest: Vec<&'static str>,
}

/// One design.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DesignAnswer {
    /// Name.
    pub name: String,
    /// About it.
    pub about: Option<String>,
    /// By metric.
    pub metrics: Vec<MetricAnswer>,
    /// By instrument.
    pub stakes: Vec<StakeAnswer>,
    /// Quantiles of the cash on hand and in the treasury, over the months.
    pub course: Vec<[f64; 5]>,
}

/// One metric of one design.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricAnswer {
    /// Key.
    pub metric: &'static str,
    /// Sample.
    #[serde(flatten)]
    pub summary: Summary,
}

/// One instrument.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StakeAnswer {
    /// Name.
    pub name: String,
    /// Put in, in whole cash.
    pub paid: Summary,
    /// Got or held at the end for each unit put in, where anything was.
    pub multiple: Summary,
    /// Part of the shares at the end.
    pub shares: Summary,
}

/// One stress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StressAnswer {
    /// Name.
    pub name: String,
    /// Key and value of what is held.
    pub held: Vec<(&'static str, f64)>,
    /// By design.
    pub designs: Vec<Vec<MetricAnswer>>,
}

/// A prior as a report shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorShown {
    /// Key.
    pub factor: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// The prior.
    #[serde(flatten)]
    pub prior: crate::prior::Prior,
}

/// A number of a stake, in the order of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// Put in, in whole cash.
    Paid,
    /// Got out or held at the end, in whole cash.
    Worth,
    /// Part of the shares at the end.
    Shares,
}

impl Share {
    /// All of them.
    pub const ALL: [Share; STAKE] = [Share::Paid, Share::Worth, Share::Shares];

    /// In tables.
    pub fn key(self) -> &'static str {
        match self {
            Share::Paid => "paid",
            Share::Worth => "worth",
            Share::Shares => "shares",
        }
    }
}

/// Rows of outcomes: by path, then by design.
pub struct Table {
    chunks: Vec<Vec<f64>>,
    /// Numbers of a row.
    width: usize,
    /// Where each design's row begins in a path's.
    starts: Vec<usize>,
    /// Instruments of each.
    stakes: Vec<usize>,
}

impl Table {
    fn new(study: &Study, chunks: Vec<Vec<f64>>) -> Self {
        let stakes: Vec<usize> = study.designs.iter().map(|design| design.instruments.len()).collect();
        let start = |next: &mut usize, &stakes: &usize| {
            let start = *next;
            *next += width(stakes);
            Some(start)
        };
        let starts = stakes.iter().scan(0, start).collect();
        Table { chunks, width: row(study), starts, stakes }
    }

    /// Paths.
    pub fn paths(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum::<usize>() / self.width
    }

    fn column(&self, at: usize) -> impl Iterator<Item = f64> + use<'_> {
        self.chunks.iter().flat_map(move |chunk| chunk.iter().skip(at).step_by(self.width).copied())
    }

    /// A metric of a design over the paths.
    pub fn metric(&self, design: usize, metric: Metric) -> impl Iterator<Item = f64> + use<'_> {
        self.column(self.starts[design] + metric.index())
    }

    /// What became of an instrument of a design, over the paths.
    pub fn stake(
        &self,
        design: usize,
        instrument: usize,
        share: Share,
    ) -> impl Iterator<Item = f64> + use<'_> {
        self.column(self.starts[design] + METRICS + STAKE * instrument + share as usize)
    }

    /// A point of the course of a design's cash over the paths.
    pub fn course(&self, design: usize, point: usize) -> impl Iterator<Item = f64> + '_ {
        self.column(self.starts[design] + METRICS + STAKE * self.stakes[design] + point)
    }
}

/// A run's fixed things.
struct Asked<'a> {
    study: &'a Study,
    prepared: &'a Prepared<'a>,
    copula: Copula,
    workers: &'a Workers<'a>,
}

impl<'a> Asked<'a> {
    fn new(study: &'a Study, prepared: &'a Prepared<'a>, workers: &'a Workers<'a>) -> Self {
        Asked { study, prepared, copula: Copula::new(study).expect("a checked study"), workers }
    }

    /// All paths of the study, in chunks.
    fn futures(&self, phase: u32, name: &str) -> Result<Vec<Vec<f64>>, Interrupted> {
        let paths = self.study.question.paths;
        let (from, to) = (|number: u32| number * CHUNK, |number: u32| ((number + 1) * CHUNK).min(paths));
        let length = |number: u32| (to(number) - from(number)) as usize * row(self.study);
        let chunk = |number: u32| self.rows(from(number), to(number), &[]);
        self.workers.chunks(phase, name, paths.div_ceil(CHUNK), length, chunk)
    }

    /// Lives through paths `from` to `to` of the study, some factors held, under all designs: rows behind one another.
    fn rows(&self, from: u32, to: u32, held: &[(Factor, f64)]) -> Vec<f64> {
        let mut rows = Vec::new();
        self.each(from, to, held, |outcome| outcome.row(&mut rows));
        rows
    }

    /// The same, of the metric that decides alone.
    fn decided(&self, from: u32, to: u32, held: &[(Factor, f64)]) -> Vec<f64> {
        let at = self.study.question.decide_by.index();
        let mut rows = Vec::new();
        self.each(from, to, held, |outcome| rows.push(outcome.metrics[at]));
        rows
    }

    fn each(
        &self,
        from: u32,
        to: u32,
        held: &[(Factor, f64)],
        mut with: impl FnMut(crate::outcome::Outcome),
    ) {
        let seed = self.study.question.seed;
        let (mut future, mut costs) = (Future::empty(), Costs::default());
        for path in from..to {
            let z = quantiles(seed, Purpose::Factors, path.into());
            let values = values(self.study, &self.copula, &z, held);
            let mut months = Dice::new(seed, Purpose::Months, path.into());
            Future::draw(self.study, values, &mut months, &mut future);
            self.prepared.costs(&future, &mut costs);
            for design in 0..self.study.designs.len() {
                with(self.prepared.live(design, &future, &costs));
            }
        }
    }
}

/// Numbers of a path under all designs.
fn row(study: &Study) -> usize {
    study.designs.iter().map(|design| width(design.instruments.len())).sum()
}

/// Lives through every path of a study under every design, and asks no more.
pub fn futures(study: &Study, workers: &Workers<'_>) -> Result<Table, Interrupted> {
    Ok(Table::new(study, Asked::new(study, &Prepared::new(study), workers).futures(BASE, "futures")?))
}

/// Answers a study. The table holds every path of every design.
pub fn answer(study: &Study, depth: Depth, workers: &Workers<'_>) -> Result<(Answers, Table), Interrupted> {
    let prepared = Prepared::new(study);
    let asked = Asked::new(study, &prepared, workers);
    let paths = study.question.paths;

    let table = Table::new(study, asked.futures(BASE, "futures")?);
    let at_most = |asked: u32| asked.min(paths);
    let depth = Depth {
        stress: at_most(depth.stress),
        sweep: at_most(depth.sweep),
        map: at_most(depth.map),
        ..depth
    };
    let stresses = stresses(&asked, depth.stress)?;
    let regret = compare::regret(study, &table);
    let favourite = regret.iter().min_by(|a, b| a.mean.total_cmp(&b.mean)).map_or(0, |best| best.design);
    let sweeps = sweep::sweeps(&asked, depth.sweep, favourite)?;
    let maps = sweep::maps(&asked, depth.map, favourite)?;
    let variance = sobol::variance(&asked, depth.sobol)?;

    let designs: Vec<DesignAnswer> =
        (0..study.designs.len()).map(|design| design_answer(study, &table, design)).collect();
    let shown = |factor: Factor| {
        let meaning = factor.meaning();
        let prior = study.priors[factor.index()].clone()?;
        Some(PriorShown { factor: meaning.key, unit: meaning.unit, prior })
    };
    let resting = |factor: &Factor| study.priors[factor.index()].is_none();
    let answers = Answers {
        name: study.question.name.clone(),
        note: study.question.note.clone(),
        start: study.question.start,
        months: study.question.months,
        paths,
        seed: study.question.seed,
        judged: study.question.judged,
        enough: f64::from(study.mission.enough.get()) / 1e4,
        depth,
        decide_by: study.question.decide_by.meaning().key,
        pairs: compare::pairs(study, &table),
        regret,
        flips: sweep::flips(study, &sweeps),
        sweeps: sweeps.into_iter().map(|(sweep, _)| sweep).collect(),
        variance,
        stresses,
        maps,
        hindcast: hindcast::score(&asked, &table)?,
        priors: Factor::ALL.into_iter().filter_map(shown).collect(),
        correlations: study
            .correlations
            .iter()
            .map(|of| (Factor::ALL[of.one].meaning().key, Factor::ALL[of.other].meaning().key, of.rho))
            .collect(),
        at_rest: Factor::ALL
            .iter()
            .filter(|factor| resting(factor))
            .map(|factor| factor.meaning().key)
            .collect(),
        designs,
    };
    Ok((answers, table))
}

fn metrics_of(table: &Table, design: usize) -> Vec<MetricAnswer> {
    let answer = |metric: Metric| MetricAnswer {
        metric: metric.meaning().key,
        summary: Summary::of(table.metric(design, metric)),
    };
    Metric::ALL.map(answer).into()
}

fn design_answer(study: &Study, table: &Table, design: usize) -> DesignAnswer {
    let terms = &study.designs[design];
    let stake = |(index, instrument): (usize, &crate::study::Instrument)| {
        let paid: Vec<f64> = table.stake(design, index, Share::Paid).collect();
        let multiple = table.stake(design, index, Share::Worth).zip(&paid);
        let multiple = multiple.map(|(worth, &paid)| if paid > 0.0 { worth / paid } else { f64::NAN });
        StakeAnswer {
            name: instrument.name.clone(),
            multiple: Summary::of(multiple),
            shares: Summary::of(table.stake(design, index, Share::Shares)),
            paid: Summary::of(paid.iter().copied()),
        }
    };
    let course = |point: usize| {
        let mut values: Vec<f64> = table.course(design, point).collect();
        values.sort_unstable_by(f64::total_cmp);
        crate::statistics::QUANTILES.map(|p| quantile(&values, p))
    };
    DesignAnswer {
        name: terms.name.clone(),
        about: terms.about.clone(),
        metrics: metrics_of(table, design),
        stakes: terms.instruments.iter().enumerate().map(stake).collect(),
        course: (0..COURSE).map(course).collect(),
    }
}

fn stresses(asked: &Asked<'_>, paths: u32) -> Result<Vec<StressAnswer>, Interrupted> {
    let study = asked.study;
    let each = paths.div_ceil(CHUNK);
    let count = u32::try_from(study.stresses.len()).expect("few") * each;
    let range = |number: u32| {
        let part = number % each;
        (part * CHUNK, ((part + 1) * CHUNK).min(paths))
    };
    let length = |number: u32| {
        let (from, to) = range(number);
        (to - from) as usize * row(study)
    };
    let chunk = |number: u32| {
        let (from, to) = range(number);
        asked.rows(from, to, &study.stresses[(number / each) as usize].held)
    };
    let mut chunks = asked.workers.chunks(STRESS, "stresses", count, length, chunk)?.into_iter();
    let answer = |stress: &crate::study::Stress| {
        let table = Table::new(study, chunks.by_ref().take(each as usize).collect());
        StressAnswer {
            name: stress.name.clone(),
            held: stress.held.iter().map(|(factor, value)| (factor.meaning().key, *value)).collect(),
            designs: (0..study.designs.len()).map(|design| metrics_of(&table, design)).collect(),
        }
    };
    Ok(study.stresses.iter().map(answer).collect())
}
