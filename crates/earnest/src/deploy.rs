//! `earnest deploy`: a plan's contracts on a chain, and the folder that every other command opens.

use std::path::{Path, PathBuf};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Blueprint, Coins, Record, Rehearsed, check_cash, has_x402, put_x402};
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::key::Key;
use earnest_chain::rpc::{Fees, sender::gwei};
use earnest_core::plan::Plan;
use earnest_core::setup::{Parties, ServiceSetup, setup};
use earnest_core::terms::terms_hash;

use crate::output::grouped;
use crate::plan_file;
use crate::session::{Place, Where, Who, dev_key, open_chain};

/// Deploy a plan's contracts. What is there already stays, so that a run that was stopped goes on where it was.
#[derive(Args)]
pub struct Deploy {
    /// The plan.
    plan: PathBuf,
    /// A node's JSON-RPC; without it, an embedded development chain in the state folder.
    #[arg(long, env = "EARNEST_RPC")]
    rpc: Option<String>,
    /// Send nothing: show each step with its address, its gas and what that costs now.
    #[arg(long)]
    dry_run: bool,
    /// Another number makes another deployment of the same plan by the same key.
    #[arg(long, default_value_t = 0)]
    salt: u64,
    /// A block before the deployment's first, where the node no longer knows old states.
    #[arg(long, value_name = "BLOCK", requires = "rpc")]
    from_block: Option<u64>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// The deployment (with --dry-run, the steps) as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// What there is to do, and what it costs.
pub struct Work {
    parties: Parties,
    blueprint: Blueprint,
    rehearsed: Vec<Rehearsed>,
    standing: Vec<bool>,
    /// On a real node.
    fees: Option<Fees>,
}

impl Deploy {
    /// Deploys and writes the folder.
    pub fn run(self) -> Result<()> {
        let plan = plan_file::read(&self.plan)?;
        let folder = self.at.folder();
        let file = folder.join("deployment.json");
        if file.exists() && !self.dry_run {
            bail!("{} is already a deployment\n  hint: --state names another folder", folder.display());
        }
        if !self.dry_run {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut chain = match &self.rpc {
            None if self.dry_run => Chain::Embedded(Embedded::new(0)),
            rpc => open_chain(folder, rpc.as_deref(), &plan, self.at.sending())?,
        };
        let parties = parties(&plan, chain.id())?;
        let key = self.key(&plan, &chain)?;
        if let (Some(cash), false) = (plan.cash.address, matches!(chain, Chain::Embedded(_))) {
            check_cash(&mut chain, cash)?;
        }
        let x402 = match self.dry_run {
            // There is nothing to be put there yet; a development chain will have it.
            true => chain.id() == DEV_CHAIN_ID || has_x402(&chain)?,
            false => put_x402(&chain)?,
        };
        if !x402 {
            eprintln!(
                "note: chain {} has no x402 contracts; the deployment brings its own, which only Earnest's own clients use",
                chain.id()
            );
        }
        let work = Work::new(&plan, parties, &chain, &key, self.salt, x402)?;
        if self.dry_run {
            return work.show(&key, self.json);
        }
        let record = work.run(&mut chain, &plan, &key, self.salt, self.from_block)?;
        let place = Place { rpc: self.rpc, record };
        place.write(&self.plan, folder, &plan)?;
        let text = serde_json::to_string_pretty(&place)?;
        if self.json {
            println!("{text}");
        } else {
            let contracts = &place.record.contracts;
            println!("offering {}\ntreasury {}", contracts.offering, contracts.treasury);
            println!("credits  {}\ncash     {}", contracts.credit, contracts.cash);
            println!("revenue  {}\nchannels {}", contracts.revenue, contracts.channels);
            eprintln!(
                "deployed on chain {}; the deployment is in {}",
                place.record.chain_id,
                folder.display()
            );
        }
        Ok(())
    }

    /// Without a node the deployer is the development key whose play money everyone can mint.
    fn key(&self, plan: &Plan, chain: &Chain) -> Result<Key> {
        let embedded_play = self.rpc.is_none() && plan.cash.address.is_none();
        if embedded_play { Ok(dev_key("deployer")) } else { self.who.key(chain) }
    }
}

/// Who is who: as the plan says, or development keys where they are no danger.
pub fn parties(plan: &Plan, chain_id: u64) -> Result<Parties> {
    let dev = chain_id == DEV_CHAIN_ID;
    let role = |name: &str, named: Option<Address>| match named {
        Some(address) => Ok(address),
        None if dev => Ok(dev_key(name).address()),
        None => bail!(
            "[roles] {name} is not named, and chain {chain_id} is not a development chain\n  hint: write {name} = \"0x…\" under [roles]"
        ),
    };
    let attesters = match plan.roles.attesters.as_slice() {
        [] if !dev => bail!(
            "[roles] attesters are not named, and chain {chain_id} is not a development chain\n  hint: write attesters = [\"0x…\"] under [roles]"
        ),
        [] => vec![dev_key("attester").address()],
        named => named.to_vec(),
    };
    if plan.cash.address.is_none() && !dev {
        bail!(
            "[cash] address is not named, and chain {chain_id} is not a development chain\n  hint: write the address of the coin that is raised"
        );
    }
    Ok(Parties {
        issuer: role("issuer", plan.roles.issuer)?,
        certifier: role("certifier", plan.roles.certifier)?,
        guardian: role("guardian", plan.roles.guardian)?,
        gateway: role("gateway", plan.roles.gateway.or(plan.roles.issuer.filter(|_| !dev)))?,
        attesters,
    })
}

impl Place {
    /// Writes the folder, `deployment.json` last: with it the folder is a deployment.
    pub fn write(&self, plan_file: &Path, folder: &Path, plan: &Plan) -> Result<()> {
        copy_plan(plan_file, folder, plan)?;
        write_whole(&folder.join("deployment.json"), &serde_json::to_string_pretty(self)?)
    }
}

impl Work {
    /// Looks at what is there.
    pub fn new(
        plan: &Plan,
        parties: Parties,
        chain: &Chain,
        key: &Key,
        salt: u64,
        x402: bool,
    ) -> Result<Self> {
        let (offering, treasury) = setup(plan, &parties)?;
        let service = ServiceSetup::from_plan(plan, &parties);
        let coins = Coins::of(plan, x402);
        let blueprint = Blueprint::new(key.address(), salt, &offering, &treasury, &service, &coins);
        let rehearsed = blueprint.rehearse(key.address(), chain.id())?;
        let standing = blueprint.standing(chain, &rehearsed)?;
        let fees = match chain {
            Chain::Rpc(rpc) => Some(rpc.fees()?),
            _ => None,
        };
        Ok(Work { parties, blueprint, rehearsed, standing, fees })
    }

    /// Does what is left.
    pub fn run(
        self,
        chain: &mut Chain,
        plan: &Plan,
        key: &Key,
        salt: u64,
        from_block: Option<u64>,
    ) -> Result<Record> {
        let before = chain.block()?;
        self.check_balance(chain, key)?;
        let mut number = 0;
        self.blueprint.run(chain, key, &self.rehearsed, |step, receipt| {
            number += 1;
            let done = receipt.map_or("is there already".into(), |receipt| {
                format!("in block {}, {} gas", receipt.block, grouped(&receipt.gas_used.to_string()))
            });
            eprintln!("{number}/{} {:<12} {} {done}", self.standing.len(), step.name, step.at);
        })?;
        Ok(Record {
            chain_id: chain.id(),
            block: self.first_block(chain, before, from_block)?,
            deployer: key.address(),
            salt,
            issuer: self.parties.issuer,
            certifier: self.parties.certifier,
            guardian: self.parties.guardian,
            attesters: self.parties.attesters,
            gateway: self.parties.gateway,
            terms_hash: terms_hash(plan),
            contracts: self.blueprint.contracts,
        })
    }

    /// Gas of what is left to do, a fifth more than measured, as transactions ask for it.
    fn gas_left(&self) -> u128 {
        let left = self.rehearsed.iter().zip(&self.standing).filter(|(_, stands)| !**stands);
        left.map(|(step, _)| u128::from(step.gas + step.gas / 5)).sum()
    }

    /// The deployer can pay for all of it, before the first step is sent.
    fn check_balance(&self, chain: &Chain, key: &Key) -> Result<()> {
        let (Chain::Rpc(rpc), Some(fees)) = (chain, self.fees) else { return Ok(()) };
        let needed = U256::from(self.gas_left() * fees.most);
        let has = rpc.balance(key.address())?;
        if has < needed {
            bail!(
                "{} has {} ether, and what is left to deploy may take {}\n  hint: {} ether are missing",
                key.address(),
                ether(has),
                ether(needed),
                ether(needed - has)
            );
        }
        Ok(())
    }

    /// A block before which nothing of the deployment was there: known where all of it was sent just now, asked for
    /// where some of it stood already.
    fn first_block(&self, chain: &Chain, before: u64, told: Option<u64>) -> Result<u64> {
        let own = self.blueprint.steps.iter().zip(&self.standing).find(|(step, _)| step.name != "launchpad");
        match (told, chain, own) {
            (Some(block), ..) => Ok(block),
            (None, Chain::Rpc(rpc), Some((step, true))) => rpc.first_block_with_code(step.at).context(
                "the node does not say since when the deployment is there\n  hint: --from-block N, a block before its first",
            ),
            // A kept chain is short, and a run that was killed may have deployed some of it before.
            (None, Chain::Node(_), _) => Ok(0),
            _ => Ok(before),
        }
    }

    fn show(&self, key: &Key, json: bool) -> Result<()> {
        let steps = self.blueprint.steps.iter().zip(&self.rehearsed).zip(&self.standing);
        let cost = |gas: u128| self.fees.map(|fees| ether(U256::from(gas * fees.now)));
        let gas: u128 =
            steps.clone().filter(|(_, stands)| !**stands).map(|((_, r), _)| u128::from(r.gas)).sum();
        if json {
            let steps: Vec<_> = steps
                .map(|((step, rehearsed), stands)| {
                    serde_json::json!({
                        "name": step.name, "address": step.at, "gas": rehearsed.gas, "stands": stands,
                        "cost_ether": cost(rehearsed.gas.into()),
                    })
                })
                .collect();
            let fee = self.fees.map(|fees| gwei(fees.now));
            let all = serde_json::json!({
                "deployer": key.address(), "steps": steps, "gas": gas, "gas_price_gwei": fee, "cost_ether": cost(gas),
            });
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(());
        }
        let row = |name: &str, at: &str, gas: u128, stands: bool| {
            let cost = if stands {
                Some("is there already".into())
            } else {
                cost(gas).map(|e| format!("{e} ether"))
            };
            let row = format!(
                "{name:<12} {at:<42} {:>12} gas  {}",
                grouped(&gas.to_string()),
                cost.unwrap_or_default()
            );
            println!("{}", row.trim_end());
        };
        for ((step, rehearsed), stands) in steps {
            row(&step.name, &step.at.to_string(), rehearsed.gas.into(), *stands);
        }
        row("in all", "", gas, false);
        if let Some(fees) = self.fees {
            eprintln!("at {} gwei a gas, from {}; nothing was sent", gwei(fees.now), key.address());
        }
        Ok(())
    }
}

/// Wei as ether, rounded up to a millionth: nobody shall send too little.
fn ether(wei: U256) -> String {
    let millionths = wei.div_ceil(U256::from(10u64.pow(12))).to_string();
    let padded = format!("{millionths:0>7}");
    let (whole, part) = padded.split_at(padded.len() - 6);
    format!("{whole}.{part}").trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Never half a file, whatever happens.
fn write_whole(file: &Path, text: &str) -> Result<()> {
    let draft = file.with_extension("draft");
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, file));
    written.with_context(|| format!("cannot write {}", file.display()))
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
