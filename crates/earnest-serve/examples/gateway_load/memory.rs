//! Memory over many requests.

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Options;
use crate::client::{Client, question};
use crate::figures::rounded;

/// Memory over many requests, half of them streams, of as many clients as are served at once.
pub async fn memory(options: &Options) -> Result<Value> {
    let mut results = Vec::new();
    for target in &options.targets {
        let (client, mut seen) = (Client::new(target), Vec::new());
        let part = (options.requests / 10).max(1);
        for tenth in 0..=10 {
            // The first tenth fills caches and pools, and is not looked at.
            if tenth > 0 {
                seen.push(rounded(target.memory(), 1));
            }
            let mut running = JoinSet::new();
            for worker in 0..64 {
                let client = client.clone();
                let (whole, stream) = (question("How much?", 8, false), question("Tell me.", 2, true));
                running.spawn(async move {
                    for number in (worker..part).step_by(64) {
                        if number % 2 == 0 {
                            client.ask(&whole).await?;
                        } else {
                            client.listen(&stream, usize::MAX).await?;
                        }
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(done) = running.join_next().await {
                done??;
            }
        }
        eprintln!("{}: {seen:?} MB", target.name);
        let (first, last) = (seen[0], seen[seen.len() - 1]);
        results.push(json!({
            "name": target.name, "requests": part * 10, "memory_mb": seen,
            "growth_percent": rounded((last / first - 1.0) * 100.0, 1),
        }));
    }
    Ok(results.into())
}
