//! What is measured: where it answers, and the processes whose time and memory count.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Something that answers chat completions: the upstream itself, or what stands before it.
#[derive(Clone, Deserialize)]
pub struct Target {
    pub name: String,
    /// Up to and with `/v1`; over plain HTTP.
    pub base_url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whose processor time and memory are counted, with all its descendants.
    pub pid: Option<u32>,
    /// How it started, where that was looked at.
    #[serde(skip)]
    pub start: Option<Start>,
}

/// A start: seconds until it answered, and the megabytes that it held then.
#[derive(Clone, Copy)]
pub struct Start {
    pub secs: f64,
    pub memory_mb: f64,
}

impl Target {
    /// Something of which neither processor time nor memory is counted.
    pub fn plain(name: &str, base_url: String) -> Self {
        Target { name: name.into(), base_url, headers: BTreeMap::new(), pid: None, start: None }
    }

    pub fn address(&self) -> Result<&str> {
        let rest = self.base_url.strip_prefix("http://").context("a base URL over plain HTTP")?;
        rest.split('/').next().context("an address")
    }

    /// Its process and every descendant.
    pub fn tree(&self) -> Vec<u32> {
        let mut tree: Vec<u32> = self.pid.into_iter().collect();
        let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
                Some((pid, fields(pid)?.get(1)?.parse().ok()?))
            })
            .collect();
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            let known = tree.clone();
            let children = parents.iter().filter(|(pid, of)| *of == parent && !known.contains(pid));
            tree.extend(children.map(|(pid, _)| pid));
            next += 1;
        }
        tree
    }

    /// Processor time that it has used so far; Linux counts in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let ticks = |pid: u32| -> Option<u64> {
            let fields = fields(pid)?;
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        Duration::from_millis(10 * self.tree().into_iter().filter_map(ticks).sum::<u64>())
    }

    /// Memory that it holds now, in megabytes.
    pub fn memory(&self) -> f64 {
        let kilobytes = |pid: u32| -> Option<u32> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        f64::from(self.tree().into_iter().filter_map(kilobytes).sum::<u32>()) / 1_000.0
    }
}

/// What `/proc` says of a process, after its name: state, parent, …
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_string).collect())
}
