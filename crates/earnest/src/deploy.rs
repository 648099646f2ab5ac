//! `earnest deploy`: a plan's contracts on a chain, and the folder that every other command opens.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::deploy::{Blueprint, Coins, Record};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_core::setup::{Parties, setup};
use earnest_core::terms::terms_hash;

use crate::plan_file;
use crate::session::{Place, Where, Who, dev_key, open_chain};

/// Deploy a plan's contracts.
#[derive(Args)]
pub struct Deploy {
    /// The plan.
    plan: PathBuf,
    /// A node's JSON-RPC; without it, an embedded development chain in the state folder.
    #[arg(long, env = "EARNEST_RPC")]
    rpc: Option<String>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// The deployment as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Deploy {
    /// Deploys and writes the folder.
    pub fn run(self) -> Result<()> {
        let plan = plan_file::read(&self.plan)?;
        let folder = self.at.folder();
        let file = folder.join("deployment.json");
        if file.exists() {
            bail!("{} is already a deployment\n  hint: --state names another folder", folder.display());
        }
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut chain = open_chain(folder, self.rpc.as_deref(), &plan)?;
        let dev = chain.id() == DEV_CHAIN_ID;
        let role = |name: &str, named: Option<alloy_primitives::Address>| match named {
            Some(address) => Ok(address),
            None if dev => Ok(dev_key(name).address()),
            None => bail!("[roles] {name} is not named, and chain {} is not a development chain", chain.id()),
        };
        let attesters = if plan.roles.attesters.is_empty() {
            vec![role("attester", None)?]
        } else {
            plan.roles.attesters.clone()
        };
        let parties = Parties {
            issuer: role("issuer", plan.roles.issuer)?,
            certifier: role("certifier", plan.roles.certifier)?,
            guardian: role("guardian", plan.roles.guardian)?,
            attesters,
        };
        if plan.cash.address.is_none() && !dev {
            bail!("[cash] address is not named, and chain {} is not a development chain", chain.id());
        }
        // Without a key the deployer of a development chain is the one whose play money everyone can mint.
        let key =
            if dev && plan.cash.address.is_none() { dev_key("deployer") } else { self.who.key(&chain)? };
        let key = if self.rpc.is_some() { self.who.key(&chain)? } else { key };
        let (offering, treasury) = setup(&plan, &parties)?;
        let coins = Coins::of(&plan, alloy_primitives::Address::ZERO);
        let block = chain.block()?;
        let blueprint = Blueprint::new(key.address(), 0, &offering, &treasury, &coins);
        blueprint.run(&mut chain, &key, |_, _| {})?;
        let record = Record {
            chain_id: chain.id(),
            block,
            deployer: key.address(),
            salt: 0,
            issuer: parties.issuer,
            certifier: parties.certifier,
            guardian: parties.guardian,
            attesters: parties.attesters,
            terms_hash: terms_hash(&plan),
            revenue: coins.revenue,
            contracts: blueprint.contracts,
        };
        let place = Place { rpc: self.rpc, record };
        copy_plan(&self.plan, folder, &plan)?;
        let text = serde_json::to_string_pretty(&place)?;
        let record = &place.record;
        std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        if self.json {
            println!("{text}");
        } else {
            println!("offering {}\ntreasury {}", record.contracts.offering, record.contracts.treasury);
            println!("credits  {}\ncash     {}", record.contracts.credit, record.contracts.cash);
            eprintln!("deployed on chain {}; the deployment is in {}", record.chain_id, folder.display());
        }
        Ok(())
    }
}

/// The plan and the documents it names by file, so that the folder stands alone.
fn copy_plan(
    from: &std::path::Path,
    folder: &std::path::Path,
    plan: &earnest_core::plan::Plan,
) -> Result<()> {
    std::fs::copy(from, folder.join("plan.toml")).context("cannot copy the plan")?;
    for file in plan.documents.iter().filter_map(|document| document.file.as_ref()) {
        let to = folder.join(file);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from.parent().unwrap_or(std::path::Path::new(".")).join(file), to)?;
    }
    Ok(())
}
