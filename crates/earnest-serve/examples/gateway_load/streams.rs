//! Streams: how long each piece is on its way, and what streams that say nothing hold.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Options;
use crate::client::{Client, question};
use crate::figures::{millis, percentile, rounded};
use crate::upstream::TICK;

/// Streams of a model token every 20 ms: how long each is on its way, and what streams that say nothing hold.
pub async fn streams(options: &Options) -> Result<Value> {
    const OPEN: usize = 50;
    const IDLE: usize = 2_000;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
    let tokens = (options.seconds / TICK.as_secs_f64()) as u64;
    let mut delays = vec![Vec::new(); options.targets.len() + 1];
    for round in 0..options.rounds {
        for (target, delays) in [&options.direct].into_iter().chain(&options.targets).zip(&mut delays) {
            let (client, body) = (Client::new(target), question("Tell me.", tokens, true));
            let mut running = JoinSet::new();
            for _ in 0..OPEN {
                let (client, body) = (client.clone(), body.clone());
                running
                    .spawn(async move { Ok::<_, anyhow::Error>(client.listen(&body, usize::MAX).await?.0) });
                tokio::time::sleep(Duration::from_micros(700)).await; // not all in the same millisecond
            }
            let patience = Duration::from_secs_f64(30.0 + 3.0 * options.seconds);
            let deadline = tokio::time::Instant::now() + patience;
            let next =
                async |running: &mut JoinSet<_>| tokio::time::timeout_at(deadline, running.join_next()).await;
            while let Some(one) = next(&mut running)
                .await
                .with_context(|| format!("{}: streams that do not end", target.name))?
            {
                let one: Vec<u64> = one??;
                ensure!(one.len() as u64 == tokens, "{}: {} of {tokens} pieces came", target.name, one.len());
                delays.extend(one);
            }
            eprintln!("round {}: {}: {} pieces so far", round + 1, target.name, delays.len());
        }
    }
    let mut results = Vec::new();
    for (target, mut delays) in [&options.direct].into_iter().chain(&options.targets).zip(delays) {
        delays.sort_unstable();
        let before = target.memory();
        let (client, body) = (Client::new(target), question("Please stay idle.", 100, true));
        let mut open = Vec::new();
        let mut failed = None;
        // In groups: how fast connections are taken is not what is asked here.
        while target.pid.is_some() && open.len() < IDLE && failed.is_none() {
            let mut running = JoinSet::new();
            for _ in 0..50 {
                let (client, body) = (client.clone(), body.clone());
                running.spawn(async move { client.listen(&body, 1).await });
            }
            let group = async {
                while let Some(one) = running.join_next().await {
                    match one? {
                        Ok((_, response)) => open.push(response),
                        Err(error) => failed = Some(format!("{error:#}")),
                    }
                }
                anyhow::Ok(())
            };
            match tokio::time::timeout(Duration::from_secs(30), group).await {
                Ok(done) => done?,
                Err(_) => failed = Some("no answer in 30 seconds".into()),
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = target.memory();
        let mut result = json!({
            "name": target.name,
            "piece_p50_ms": millis(percentile(&delays, 50)),
            "piece_p99_ms": millis(percentile(&delays, 99)),
            "piece_max_ms": millis(*delays.last().unwrap_or(&0)),
            "pieces": delays.len(),
        });
        if let Some(start) = target.start {
            result["started_secs"] = json!(rounded(start.secs, 3));
            result["memory_started_mb"] = json!(rounded(start.memory_mb, 1));
        }
        if target.pid.is_some() {
            result["idle_streams"] = json!(open.len());
            result["memory_before_mb"] = json!(rounded(before, 1));
            result["memory_idle_mb"] = json!(rounded(idle, 1));
        }
        if let Some(failed) = failed {
            result["failed"] = json!(failed);
        }
        drop(open);
        tokio::time::sleep(Duration::from_secs(1)).await;
        results.push(result);
    }
    Ok(results.into())
}
