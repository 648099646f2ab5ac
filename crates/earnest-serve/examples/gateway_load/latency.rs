//! Time that a proxy adds to an answer, and the processor time of a request, at a rate that it bears.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::Options;
use crate::figures::{median, millis, percentile, rounded, spread};
use crate::load::{Load, load, saturation};

/// How often the most that each bears is looked for.
const SEARCHES: usize = 3;

/// What was seen of a target at one rate, a value a round.
#[derive(Default)]
struct Seen {
    /// The 50th and the 99th percentile, and what the target added to them, in milliseconds.
    percentiles: [Vec<f64>; 2],
    added: [Vec<f64>; 2],
    /// Processor time of a request in microseconds.
    cpu: Vec<f64>,
}

/// The rates at which targets are asked, and which: half of what Earnest's bear, for all that bear it, so that they can be
/// compared; and half of what it bears itself for everyone else.
fn plan(options: &Options, most: &[u32]) -> Vec<(u32, Vec<usize>)> {
    let all: Vec<usize> = (0..options.targets.len()).collect();
    if let Some(rate) = options.rate {
        return vec![(rate, all)];
    }
    let half = |index: usize| (most[index] / 2).max(1);
    let (ours, others): (Vec<usize>, Vec<usize>) =
        all.iter().partition(|&&index| options.targets[index].name.starts_with("earnest"));
    let common = ours.into_iter().map(half);
    let common =
        common.map(|rate| (rate, all.iter().copied().filter(|&index| most[index] >= rate).collect()));
    common.chain(others.into_iter().map(|index| (half(index), vec![index]))).collect()
}

pub async fn latency(options: &Options) -> Result<Value> {
    let step = options.seconds.min(3.0);
    let mut searched = vec![Vec::new(); options.targets.len()];
    if options.rate.is_none() {
        eprintln!("upstream alone: {} requests a second", saturation(&options.direct, 64, step).await?);
        for _ in 0..SEARCHES {
            for (target, found) in options.targets.iter().zip(&mut searched) {
                let from = found.last().map_or(64, |last: &u32| last * 4 / 5);
                found.push(saturation(target, from, step).await?);
                eprintln!("{}: {} requests a second", target.name, found[found.len() - 1]);
            }
        }
    }
    let most: Vec<u32> = searched
        .iter()
        .map(|found| {
            let mut found = found.clone();
            found.sort_unstable();
            found.get(found.len() / 2).copied().unwrap_or_default()
        })
        .collect();
    let mut seen: BTreeMap<(u32, usize), Seen> = BTreeMap::new();
    let rates = plan(options, &most);
    for round in 0..options.rounds {
        for (rate, index) in rates.iter().flat_map(|(rate, who)| who.iter().map(|index| (*rate, *index))) {
            let target = &options.targets[index];
            let before = load(&options.direct, rate, options.seconds).await;
            let cpu = target.cpu();
            let through = load(target, rate, options.seconds).await;
            let cpu = target.cpu().saturating_sub(cpu);
            for load in [&before, &through] {
                if let Some(error) = &load.failed {
                    bail!("at {rate} requests a second: {error:#}");
                }
                ensure!(!load.swamped, "{} was swamped at {rate} requests a second", target.name);
            }
            let at = |load: &Load, hundredths| millis(percentile(&load.latencies, hundredths));
            #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
            let each = cpu.as_secs_f64() * 1e6 / through.asked as f64;
            let seen = seen.entry((rate, index)).or_default();
            for (place, hundredths) in [50, 99].into_iter().enumerate() {
                seen.percentiles[place].push(at(&through, hundredths));
                seen.added[place].push(at(&through, hundredths) - at(&before, hundredths));
            }
            seen.cpu.push(each);
            eprintln!(
                "round {}: {} at {rate}/s: p50 {:.3} ms, {:+.3}; p99 {:.3} ms, {:+.3}; {each:.0} µs of processor a request",
                round + 1,
                target.name,
                seen.percentiles[0][round],
                seen.added[0][round],
                seen.percentiles[1][round],
                seen.added[1][round],
            );
        }
    }
    let bare = options.targets.iter().position(|target| target.name == "bare");
    let figures = options.targets.iter().enumerate().map(|(index, target)| {
        let at = rates.iter().filter_map(|(rate, _)| Some((rate, seen.get(&(*rate, index))?)));
        let at = at.map(|(rate, figures)| {
            let mut at = json!({
                "rate": rate,
                "p50_ms": spread(&figures.percentiles[0], 3),
                "p99_ms": spread(&figures.percentiles[1], 3),
                "added_p50_ms": spread(&figures.added[0], 3),
                "added_p99_ms": spread(&figures.added[1], 3),
                "cpu_us_per_request": spread(&figures.cpu, 0),
            });
            // Of the same rounds at the same rate.
            if let Some(other) = bare.filter(|&bare| bare != index).and_then(|bare| seen.get(&(*rate, bare)))
            {
                let ratios = |ours: &[f64], bares: &[f64]| -> Vec<f64> {
                    ours.iter().zip(bares).map(|(ours, bare)| ours / bare).collect()
                };
                at["cpu_over_bare"] = spread(&ratios(&figures.cpu, &other.cpu), 2);
                at["p99_over_bare"] = spread(&ratios(&figures.percentiles[1], &other.percentiles[1]), 2);
                let added = median(figures.added[1].clone()) / median(other.added[1].clone());
                at["added_p99_over_bare"] = json!(rounded(added, 2));
            }
            at
        });
        let mut figure = json!({"name": target.name, "at": at.collect::<Vec<_>>()});
        if options.rate.is_none() {
            figure["max_rps"] = json!(most[index]);
            figure["max_rps_found"] = json!(searched[index]);
            if let Some(bare) = bare.filter(|&bare| bare != index) {
                figure["max_rps_over_bare"] =
                    json!(rounded(f64::from(most[index]) / f64::from(most[bare]), 2));
            }
        }
        figure
    });
    Ok(figures.collect())
}
