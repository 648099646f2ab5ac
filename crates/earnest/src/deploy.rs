//! `earnest deploy`: a plan's contracts on a chain, and the folder that every other command opens.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Blueprint, Coins, Record};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::key::Key;
use earnest_core::plan::Plan;
use earnest_core::setup::{Parties, setup};
use earnest_core::terms::terms_hash;

use crate::plan_file;
use crate::session::{Place, Where, Who, dev_key, open_chain};

/// Deploy a plan's contracts.
#[derive(Args)]
pub struct Deploy {
    /// The plan.
    plan: PathBuf,
    /// A node's JSON-RPC; without it, a development chain in the state folder.
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
        // Without a key the deployer of a development chain is the one whose play money everyone can mint.
        let dev = self.rpc.is_none() && plan.cash.address.is_none();
        let key = if dev { dev_key("deployer") } else { self.who.key(&chain)? };
        let place = onto(&mut chain, &self.plan, &plan, folder, self.rpc, &key)?;
        let (text, record) = (serde_json::to_string_pretty(&place)?, &place.record);
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

/// Deploys a plan on a chain that is open, and writes the folder.
pub fn onto(
    chain: &mut Chain,
    file: &Path,
    plan: &Plan,
    folder: &Path,
    rpc: Option<String>,
    key: &Key,
) -> Result<Place> {
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
    let (offering, treasury) = setup(plan, &parties)?;
    let coins = Coins::of(plan, alloy_primitives::Address::ZERO);
    let block = chain.block()?;
    let blueprint = Blueprint::new(key.address(), 0, &offering, &treasury, &coins);
    blueprint.run(chain, key, |_, _| {})?;
    let record = Record {
        chain_id: chain.id(),
        block,
        deployer: key.address(),
        salt: 0,
        issuer: parties.issuer,
        certifier: parties.certifier,
        guardian: parties.guardian,
        attesters: parties.attesters,
        terms_hash: terms_hash(plan),
        revenue: coins.revenue,
        contracts: blueprint.contracts,
    };
    let place = Place { rpc, record };
    copy_plan(file, folder, plan)?;
    // Last, and at once: a folder with this file in it is a deployment.
    let (made, at) = (folder.join("deployment.json.new"), folder.join("deployment.json"));
    std::fs::write(&made, serde_json::to_string_pretty(&place)?)
        .and_then(|()| std::fs::rename(&made, &at))
        .with_context(|| format!("cannot write {}", at.display()))?;
    Ok(place)
}

/// The plan and the documents it names by file, so that the folder stands alone.
fn copy_plan(from: &Path, folder: &Path, plan: &Plan) -> Result<()> {
    std::fs::copy(from, folder.join("plan.toml")).context("cannot copy the plan")?;
    for file in plan.documents.iter().filter_map(|document| document.file.as_ref()) {
        let to = folder.join(file);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from.parent().unwrap_or(Path::new(".")).join(file), to)?;
    }
    Ok(())
}
