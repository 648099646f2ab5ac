//! `earnest check` and `earnest init`: a plan before anyone signs it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_core::plan::Plan;
use earnest_core::plan::explain::explain;
use earnest_core::plan::template::template;
use earnest_core::terms::terms_hash;

use crate::plan_file;

/// Report every fault of a plan at once, and warn where a regime's parameters are overstepped.
#[derive(Args)]
pub struct Check {
    /// The plan.
    plan: PathBuf,
    /// Say in plain words what each party may do, when, and what a backer gets in each ending.
    #[arg(long)]
    explain: bool,
    /// Faults and warnings as JSON on stdout.
    #[arg(long, conflicts_with = "explain")]
    json: bool,
}

impl Check {
    /// Fails where the plan has faults.
    pub fn run(self) -> Result<()> {
        let source = std::fs::read_to_string(&self.plan)
            .with_context(|| format!("cannot read {}", self.plan.display()))?;
        let read = Plan::read(&self.plan.display().to_string(), &source);
        if self.json {
            let (faults, warnings, hash) = match &read {
                Ok((plan, warnings)) => (vec![], warnings.clone(), Some(terms_hash(plan).to_string())),
                Err(faults) => (faults.iter().cloned().collect(), vec![], None),
            };
            let report = serde_json::json!({ "faults": faults, "warnings": warnings, "terms_hash": hash });
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        let (plan, warnings) = match read {
            Ok(read) => read,
            Err(faults) if self.json => bail!("the plan has {} faults", faults.len()),
            Err(faults) => bail!("the plan cannot run:\n{faults}"),
        };
        plan_file::read(&self.plan)?; // the documents beside it
        if self.explain {
            println!("{}", explain(&plan));
            return Ok(());
        }
        if !self.json {
            for warning in &warnings {
                eprintln!("{warning}");
            }
            println!("terms hash {}", terms_hash(&plan));
            eprintln!(
                "the plan can run: {} rounds, {} warnings. Warnings state parameters, not law: ask counsel",
                plan.rounds.len(),
                warnings.len()
            );
        }
        Ok(())
    }
}

/// Write a commented plan to start from.
#[derive(Args)]
pub struct Init {
    /// Where to.
    #[arg(default_value = "plan.toml")]
    plan: PathBuf,
    /// Name of the offering.
    #[arg(long, default_value = "Example Lab service credits")]
    name: String,
}

impl Init {
    /// Never writes over anything.
    pub fn run(self) -> Result<()> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let file = std::fs::File::options().write(true).create_new(true).open(&self.plan);
        let mut file = file.with_context(|| format!("cannot make {}", self.plan.display()))?;
        std::io::Write::write_all(&mut file, template(&self.name, now).as_bytes())?;
        eprintln!("wrote {}; next: earnest check {}", self.plan.display(), self.plan.display());
        Ok(())
    }
}
