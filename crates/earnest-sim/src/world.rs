//! One future, the same for every design: the factors of the path, month by month what things cost, and when the blows
//! fall.

use crate::dice::{Dice, Purpose};
use crate::factor::{FACTORS, Factor};
use crate::normal;
use crate::study::Study;

/// Never.
pub const NEVER: u32 = u32::MAX;
/// Normal quantiles beyond this are cut: one in three million.
pub const Z_MOST: f64 = 5.0;
/// Prices are cut where they have risen or fallen a billionfold.
const LOG_MOST: f64 = 20.723_265_836_946_41;

/// How the normal quantiles of factors become values: Gaussian copula over the priors.
pub struct Copula {
    /// Lower triangle of the correlation matrix's square root, by row; rows of factors that stand alone are units.
    root: Vec<[f64; FACTORS]>,
}

impl Copula {
    /// Of a study. `None`: there is no such distribution (the matrix is not positive definite).
    pub fn new(study: &Study) -> Option<Self> {
        let mut matrix = [[0.0; FACTORS]; FACTORS];
        for (index, row) in matrix.iter_mut().enumerate() {
            row[index] = 1.0;
        }
        for correlation in &study.correlations {
            matrix[correlation.one][correlation.other] = correlation.rho;
            matrix[correlation.other][correlation.one] = correlation.rho;
        }
        // Cholesky.
        let mut root = vec![[0.0; FACTORS]; FACTORS];
        for i in 0..FACTORS {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| root[i][k] * root[j][k]).sum();
                root[i][j] = if i == j {
                    let rest: f64 = matrix[i][i] - sum;
                    if rest <= 1e-9 {
                        return None;
                    }
                    libm::sqrt(rest)
                } else {
                    (matrix[i][j] - sum) / root[j][j]
                };
            }
        }
        Some(Copula { root })
    }

    /// Of factors that know nothing of one another.
    pub fn independent() -> Self {
        let mut root = vec![[0.0; FACTORS]; FACTORS];
        for (index, row) in root.iter_mut().enumerate() {
            row[index] = 1.0;
        }
        Copula { root }
    }

    /// Correlated quantiles.
    fn mix(&self, z: &[f64; FACTORS]) -> [f64; FACTORS] {
        std::array::from_fn(|row| (0..=row).map(|column| self.root[row][column] * z[column]).sum())
    }
}

/// Independent normal quantiles of a path's factors.
pub fn quantiles(seed: u64, purpose: Purpose, path: u64) -> [f64; FACTORS] {
    let mut dice = Dice::new(seed, purpose, path);
    std::array::from_fn(|_| dice.normal().clamp(-Z_MOST, Z_MOST))
}

/// The values of a path's factors. `held` ones stand at their value, whatever the others do.
pub fn values(study: &Study, copula: &Copula, z: &[f64; FACTORS], held: &[(Factor, f64)]) -> [f64; FACTORS] {
    let z = copula.mix(z);
    let mut values = Factor::ALL.map(|factor| {
        let meaning = factor.meaning();
        match &study.priors[factor.index()] {
            Some(prior) => prior.at(z[factor.index()]).clamp(meaning.least, meaning.most),
            None => meaning.neutral,
        }
    });
    for &(factor, value) in held {
        values[factor.index()] = value;
    }
    values
}

/// One future.
#[derive(Clone, Debug)]
pub struct Future {
    /// By factor.
    pub values: [f64; FACTORS],
    /// Price of compute by month, 1 at the start.
    pub compute: Vec<f64>,
    /// Market price of the service by month, 1 at the start.
    pub service: Vec<f64>,
    /// What is bought at that price by month, 1 at the start; none before the service can be live.
    pub demand: Vec<f64>,
    /// The crypto coin by month, 1 at the start.
    pub crypto: Vec<f64>,
    /// The month in which the service is due, late as it is, whether or not it ever comes.
    pub due: u32,
    /// The first month in which it can be live; [`NEVER`].
    pub live: u32,
    /// Of the regulator's first injunction, had an offering stood since the start at exposure 1; in hazard, not in months:
    /// it falls once the hazard lived through exceeds this.
    pub injunction: f64,
    /// The month of a run, counted from the end of the raise; [`NEVER`].
    pub run: u32,
    /// The month in which the lead donor leaves; [`NEVER`].
    pub donor_leaves: u32,
    /// The month in which the cash coin breaks; [`NEVER`].
    pub cash_break: u32,
}

impl Future {
    /// Lives through one, into vectors that are used again. `months` gives the path's luck.
    pub fn draw(study: &Study, values: [f64; FACTORS], months: &mut Dice, into: &mut Future) {
        let of = |factor: Factor| values[factor.index()];
        into.values = values;
        let sure = months.uniform();
        let span = f64::from(study.question.months) / 12.0;
        // A hazard of λ a year has its first event after −ln(U)/λ years.
        let mut event = |rate: f64| {
            let years = -libm::log(months.uniform()) / rate;
            if years < span + 50.0 { ceil_months(years) } else { NEVER }
        };
        into.run = event(of(Factor::Run));
        into.donor_leaves = event(of(Factor::DonorLeaves));
        into.cash_break = event(of(Factor::CashBreak));
        into.injunction = -libm::log(months.uniform());
        into.due = later(study.service.live, of(Factor::Delay));
        into.live = if sure < of(Factor::NeverLive) { NEVER } else { into.due };

        let step = |change: f64, volatility: f64| {
            // So that the median grows by `change` a year.
            (libm::log(1.0 + change) / 12.0, volatility / libm::sqrt(12.0))
        };
        let compute = step(of(Factor::ComputePrice), of(Factor::ComputeVolatility));
        let service = step(of(Factor::ServicePrice), of(Factor::ServiceVolatility));
        let crypto = step(of(Factor::CryptoPrice), of(Factor::CryptoVolatility));
        let count = study.question.months as usize;
        for (series, (drift, spread)) in
            [(&mut into.compute, compute), (&mut into.service, service), (&mut into.crypto, crypto)]
        {
            series.clear();
            let mut log = 0.0;
            for _ in 0..count {
                // What is at rest stays at exactly 1, and most of a study's prices may be.
                series.push(if log == 0.0 { 1.0 } else { libm::exp(log) });
                // Luck is drawn whether or not it is used, so that a factor at rest shifts no other number.
                let luck = months.uniform();
                log += if spread > 0.0 { drift + spread * normal::quantile(luck) } else { drift };
                log = log.clamp(-LOG_MOST, LOG_MOST);
            }
        }
        let elasticity = of(Factor::Elasticity);
        let bought = |(month, price): (u32, &f64)| match *price {
            _ if month < into.live => 0.0,
            1.0 => 1.0,
            price => libm::pow(price, -elasticity),
        };
        into.demand.clear();
        into.demand.extend((0..).zip(&into.service).map(bought));
    }

    /// An empty one to draw into.
    pub fn empty() -> Self {
        Future {
            values: [0.0; FACTORS],
            compute: Vec::new(),
            service: Vec::new(),
            demand: Vec::new(),
            crypto: Vec::new(),
            due: NEVER,
            live: NEVER,
            injunction: f64::INFINITY,
            run: NEVER,
            donor_leaves: NEVER,
            cash_break: NEVER,
        }
    }

    /// A factor's value.
    pub fn of(&self, factor: Factor) -> f64 {
        self.values[factor.index()]
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most some thousand months")]
fn ceil_months(years: f64) -> u32 {
    libm::ceil(years * 12.0) as u32
}

/// A month so much later, from 0.
#[expect(clippy::cast_possible_truncation, reason = "a delay is at most some hundred months")]
fn later(month: u32, delay: f64) -> u32 {
    let month = i64::from(month) + libm::round(delay) as i64;
    u32::try_from(month.max(0)).unwrap_or(NEVER)
}
