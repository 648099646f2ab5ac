//! The studies that are shipped: each is read and run as it stands, with few paths.

use std::path::PathBuf;

use earnest_sim::answers::{Answers, Depth};
use earnest_sim::factor::Factor;
use earnest_sim::outcome::Metric;
use earnest_sim::prior::Prior;
use earnest_sim::study::{Kind, Study};

use crate::study::{examples, read};

const DEPTH: Depth = Depth { stress: 64, sweep: 16, map: 8, sobol: 8 };

fn study(name: &str) -> Study {
    let text = std::fs::read_to_string(examples().join("studies").join(name)).unwrap();
    read(&text).unwrap_or_else(|faults| panic!("{name}: {faults}"))
}

/// Files of the folder that are studies; the others are plans beside them.
fn studies() -> Vec<String> {
    let files = std::fs::read_dir(examples().join("studies")).unwrap().map(|file| file.unwrap().path());
    let is_study = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains("\n[study]\n");
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut studies: Vec<String> = files.filter(is_study).map(name).collect();
    studies.sort();
    studies
}

fn run(study: &mut Study, paths: u32) -> Answers {
    study.question.paths = paths;
    crate::study::run(study, DEPTH, 2).0
}

#[test]
fn every_study_is_answered_and_its_outcomes_are_scored() {
    let studies = studies();
    assert!(studies.len() >= 5, "{studies:?}");
    for name in studies {
        let mut study = study(&name);
        let answers = run(&mut study, 200);
        assert!(answers.designs.len() >= 5, "{name}");
        for (design, answered) in study.designs.iter().zip(&answers.designs) {
            for metric in &answered.metrics {
                let Some(of) = Metric::ALL.into_iter().find(|of| of.meaning().key == metric.metric) else {
                    panic!("{name}: {}", metric.metric)
                };
                // Where the question arises in any future there are numbers, and in most designs it arises in all.
                let numbers = [metric.summary.mean, metric.summary.error].into_iter();
                let mut numbers = numbers.chain(metric.summary.quantiles);
                assert!(
                    metric.summary.count == 0 || numbers.all(f64::is_finite),
                    "{name}: {}: {of:?}",
                    design.name
                );
                let always = [Metric::Funded, Metric::Mission, Metric::Raised, Metric::Cash, Metric::Revenue];
                assert!(
                    metric.summary.count == 200 || !always.contains(&of),
                    "{name}: {}: {of:?}",
                    design.name
                );
            }
            assert!(answered.course.iter().flatten().all(|cash| cash.is_finite()), "{name}: {}", design.name);
        }
        let hindcast = answers.hindcast.unwrap_or_else(|| panic!("{name} has no outcomes"));
        assert!(hindcast.scores.len() >= 3 && hindcast.cases <= hindcast.scores.len(), "{name}");
        assert!(hindcast.within_50 <= hindcast.within_90 && hindcast.within_90 <= hindcast.cases, "{name}");
        for score in &hindcast.scores {
            let numbers = [score.place, score.crps, score.crps_of_median];
            assert!(
                numbers.iter().chain(&score.foretold).all(|number| number.is_finite()),
                "{name}: {score:?}"
            );
            assert!((0.0..=1.0).contains(&score.place) && score.crps >= 0.0, "{name}: {score:?}");
        }
        for sweep in &answers.sweeps {
            assert!(sweep.means.iter().flatten().all(|mean| mean.is_finite()), "{name}: {}", sweep.factor);
        }
    }
}

#[test]
fn an_outcome_of_an_early_month_is_compared_with_that_month() {
    let mut study = study("telegram-2018.toml");
    study.outcomes.retain(|outcome| outcome.metric == Metric::Raised);
    let raised = |study: &mut Study| run(study, 200).hindcast.unwrap().scores.remove(0);
    let early = raised(&mut study);
    assert_eq!(early.month, 3);

    // A study that ends there foretells the same.
    (study.question.months, study.question.judged) = (3, 3);
    study.outcomes[0].month = None;
    assert_eq!(raised(&mut study), early);
}

#[test]
fn what_happened_or_not_is_scored_and_not_counted() {
    let mut study = study("telegram-2018.toml");
    study.outcomes.retain(|outcome| outcome.metric == Metric::Enjoined);
    let hindcast = run(&mut study, 200).hindcast.unwrap();
    assert_eq!((hindcast.scores.len(), hindcast.cases), (1, 0));
    // The score of a probability p for what happened is (1 − p)².
    let p = 2.0 * (1.0 - hindcast.scores[0].place);
    assert!((hindcast.scores[0].crps - (1.0 - p) * (1.0 - p)).abs() < 1e-9);
}

#[test]
fn an_offering_tells_what_was_drawn() {
    let mut study = study("telegram-2018.toml");
    let answers = run(&mut study, 200);
    let of = |design: usize, metric: Metric| answers.designs[design].metrics[metric.index()].summary.clone();
    let (drawn, refunded) = (of(0, Metric::Drawn), of(0, Metric::Refunded));
    assert!(drawn.quantiles[4] <= 1.0 && drawn.mean > 0.0 && drawn.mean + refunded.mean < 1.1);
    assert!(of(0, Metric::Penalty).mean >= 0.0);
    // Without an offering the question does not arise.
    assert_eq!((of(2, Metric::Drawn).count, of(2, Metric::Penalty).count), (0, 0));
    assert_eq!(answers.designs[2].course[24], of(2, Metric::Cash).quantiles);
}

#[test]
fn credits_handed_over_at_the_close_need_no_service() {
    let mut study = study("singularitynet-2017.toml");
    study.priors[Factor::NeverLive.index()] = Some(Prior::fixed(1.0));
    study.question.months = 12;
    study.question.judged = 12;
    study.outcomes.clear();
    let of = |study: &mut Study, metric: Metric| {
        run(study, 200).designs[0].metrics[metric.index()].summary.clone()
    };
    // They are worth what the market says, from the first month on; what was paid for them is the lab's.
    let handed_over = of(&mut study, Metric::Multiple);
    assert!(handed_over.quantiles[4] > 2.0, "{handed_over:?}");

    // Otherwise buyers who wait for a service that never comes hold what is left of their cash, and no more than ether made.
    for instrument in study.designs.iter_mut().flat_map(|design| &mut design.instruments) {
        if let Kind::Offering(terms) = &mut instrument.kind {
            terms.at_close = false;
            terms.crypto = earnest_core::money::Bps::default();
        }
    }
    let waiting = of(&mut study, Metric::Multiple);
    assert!(waiting.quantiles[4] <= 1.0, "{waiting:?}");
}
