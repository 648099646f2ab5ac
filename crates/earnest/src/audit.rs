//! `earnest audit`: from the plan and the events alone, did everything come about by the rules?

use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::audit::{State, UpTo, audit, write_events};
use earnest_chain::chain::Chain;
use earnest_chain::history::Recorded;
use earnest_chain::index::Index;
use earnest_chain::rpc::Rpc;

use crate::plan_file;
use crate::session::{Place, Where};

/// Recompute every clearing, allocation, delivery, pot and draw from events alone, with the model; fails with the first
/// difference.
#[derive(Args)]
pub struct Audit {
    /// The plan, for who has no state folder of this deployment; with --deployment and --rpc or --from-events.
    #[arg(requires = "deployment")]
    plan: Option<PathBuf>,
    /// The deployment as its issuer publishes it (deployment.json).
    #[arg(long, requires = "plan")]
    deployment: Option<PathBuf>,
    /// A node of the auditor's choice.
    #[arg(long, env = "EARNEST_RPC")]
    rpc: Option<String>,
    /// Audit a file of events that --events wrote, without any chain.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rpc", "storage"])]
    from_events: Option<PathBuf>,
    /// As of this block, to repeat an audit to the byte.
    #[arg(long, value_name = "BLOCK")]
    to_block: Option<u64>,
    /// Compare every storage slot of the contracts, too.
    #[arg(long, conflicts_with = "to_block")]
    storage: bool,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write all events to this file, one a line.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// The report as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl Audit {
    /// Audits.
    pub fn run(self) -> Result<()> {
        let folder = self.at.folder();
        let plan_at = self.plan.clone().unwrap_or_else(|| folder.join("plan.toml"));
        let plan = plan_file::read(&plan_at)?;
        let plan_text = std::fs::read(&plan_at)?;
        let (record, mut chain) = match (&self.deployment, &self.from_events) {
            (None, None) if self.rpc.is_none() => {
                let session = self.at.open()?;
                (session.record, Some(session.chain))
            }
            (file, events) => {
                let file = file.clone().unwrap_or_else(|| folder.join("deployment.json"));
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read the deployment in {}", file.display()))?;
                let place: Place = serde_json::from_str(&text)
                    .with_context(|| format!("{} cannot be read", file.display()))?;
                let chain = match (events, self.rpc.as_deref().or(place.rpc.as_deref())) {
                    (Some(_), _) => None,
                    (None, Some(url)) => Some(Chain::Rpc(Rpc::connect(url)?)),
                    (None, None) => bail!("no node to ask\n  hint: --rpc URL names one of your choice"),
                };
                (place.record, chain)
            }
        };
        if let Some(chain) = &chain
            && chain.id() != record.chain_id
        {
            bail!("the node has chain id {}, and the deployment is on {}", chain.id(), record.chain_id);
        }
        // Always from nothing: an audit takes no cache at its word.
        let mut index = Index::open(None, &plan, &record)?;
        let last = self.to_block.unwrap_or(u64::MAX);
        match (&mut chain, &self.from_events) {
            (Some(chain), _) => index.sync(&mut UpTo { chain, last })?,
            (None, Some(file)) => {
                let file = std::fs::File::open(file)
                    .with_context(|| format!("cannot read the events in {}", file.display()))?;
                let mut record = Recorded::read(BufReader::new(file))?;
                index.sync(&mut UpTo { chain: &mut record, last })?
            }
            (None, None) => bail!("there is neither a chain nor a file of events"),
        };
        // What the chain has now says nothing about an earlier block; its code never changes.
        let state = match (self.to_block, self.storage) {
            (Some(_), _) => State::Nothing,
            (None, true) => State::Storage,
            (None, false) => State::Balances,
        };
        let report = audit(&mut index, chain.as_mut(), &plan, &plan_text, state)?;
        if let Some(file) = &self.events {
            let out =
                std::fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
            write_events(&index, &mut BufWriter::new(out))?;
        }
        let json = serde_json::to_string_pretty(&report)?;
        if let Some(file) = &self.report {
            std::fs::write(file, format!("{json}\n"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        if self.json {
            println!("{json}");
        } else {
            print!("{}", report.text());
            eprintln!(
                "repeat it with the same plan and deployment.json on a node of your choice: earnest audit PLAN --deployment FILE --rpc URL --to-block {}",
                report.to_block
            );
        }
        match report.difference {
            None => Ok(()),
            Some(_) => bail!("the audit found a difference"),
        }
    }
}
