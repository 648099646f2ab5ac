//! Where a deployment is and how to reach it: a folder with the plan, the addresses, and either the URL of a node or an
//! embedded chain kept in a file. Also whose key a command acts with.

use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Record;
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::key::Key;
use earnest_chain::rpc::Rpc;
use earnest_core::offering::{DAY, OfferingSetup};
use earnest_core::plan::Plan;
use earnest_core::raise::Raise;
use earnest_core::setup::setup;
use earnest_core::treasury::TreasurySetup;
use serde::{Deserialize, Serialize};

use crate::plan_file;
use crate::sending::Sending;

/// Which deployment a command is about.
#[derive(Args, Clone)]
pub struct Where {
    /// Folder of the deployment, as `earnest deploy` made it.
    #[arg(long, env = "EARNEST_STATE", default_value = ".earnest")]
    state: PathBuf,
    #[command(flatten)]
    sending: Sending,
}

/// Whose key signs.
#[derive(Args, Clone)]
pub struct Who {
    /// File with the private key in hex. Without it, the environment variable EARNEST_KEY.
    #[arg(long, env = "EARNEST_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// A development key by name (issuer, attester, certifier, guardian, or any name you make up). Anyone can make it:
    /// development chains only.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "key_file")]
    dev: Option<String>,
}

/// What `deployment.json` says.
#[derive(Serialize, Deserialize)]
pub struct Place {
    /// The node; none: the embedded chain beside this file.
    pub rpc: Option<String>,
    /// What is there.
    #[serde(flatten)]
    pub record: Record,
}

/// A deployment that can be used.
pub struct Session {
    /// What was agreed.
    pub plan: Plan,
    /// The chain it is on.
    pub chain: Chain,
    /// What it is.
    pub record: Record,
}

/// A development key by name.
pub fn dev_key(name: &str) -> Key {
    Key::from_words(&format!("earnest dev {name}"))
}

/// An address in hex, or of a development key by name.
pub fn address(text: &str) -> Result<Address, String> {
    if text.starts_with("0x") {
        return text.parse().map_err(|error| format!("not an address: {error}"));
    }
    Ok(dev_key(text).address())
}

impl Where {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.state
    }

    /// How to send.
    pub fn sending(&self) -> &Sending {
        &self.sending
    }

    /// Opens the deployment.
    pub fn open(&self) -> Result<Session> {
        let file = self.state.join("deployment.json");
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "no deployment in {}\n  hint: earnest deploy PLAN makes one, --state names another",
                self.state.display()
            )
        })?;
        let Place { rpc, record } =
            serde_json::from_str(&text).with_context(|| format!("{} cannot be read", file.display()))?;
        let plan = plan_file::read(&self.state.join("plan.toml"))?;
        let chain = open_chain(&self.state, rpc.as_deref(), &plan, &self.sending)?;
        if chain.id() != record.chain_id {
            bail!("the node has chain id {}, and the deployment is on {}", chain.id(), record.chain_id);
        }
        Ok(Session { plan, chain, record })
    }
}

/// The node, or the embedded chain of a folder, whose clock starts a day before the plan's first opening.
pub fn open_chain(folder: &Path, rpc: Option<&str>, plan: &Plan, sending: &Sending) -> Result<Chain> {
    let opens = plan.rounds.iter().map(|round| round.open).min().context("a plan has rounds")?;
    Ok(match rpc {
        Some(url) => Chain::Rpc(Rpc::connect_with(url, sending.settings())?),
        None => Chain::Embedded(Embedded::open(&folder.join("chain.log"), opens - DAY)?),
    })
}

impl Who {
    /// The key, on this chain.
    pub fn key(&self, chain: &Chain) -> Result<Key> {
        if let Some(name) = &self.dev {
            if chain.id() != DEV_CHAIN_ID {
                bail!(
                    "--as {name} is a key that anyone can make; chain {} is not a development chain",
                    chain.id()
                );
            }
            return Ok(dev_key(name));
        }
        if let Some(file) = &self.key_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the key in {}", file.display()))?;
            return Key::parse(&text).with_context(|| format!("{}", file.display()));
        }
        match std::env::var("EARNEST_KEY") {
            Ok(text) => Key::parse(&text).context("EARNEST_KEY"),
            Err(_) => bail!(
                "no key\n  hint: --key-file FILE, EARNEST_KEY in the environment, or --as NAME on a development chain"
            ),
        }
    }
}

impl Session {
    /// The rules as numbers.
    pub fn setup(&self) -> Result<(OfferingSetup, TreasurySetup)> {
        Ok(setup(&self.plan, &self.record.parties())?)
    }

    /// Everything as the chain has it now.
    pub fn read(&mut self) -> Result<Raise> {
        let (offering, treasury) = self.setup()?;
        Ok(earnest_chain::read::raise(
            &mut self.chain,
            &self.record.contracts,
            offering,
            treasury,
            self.record.block,
        )?)
    }

    /// Index of a round by name or number.
    pub fn round(&self, name: &str) -> Result<u8> {
        let found = self.plan.rounds.iter().position(|round| round.name == name);
        let found =
            found.or_else(|| name.parse().ok().filter(|&index: &usize| index < self.plan.rounds.len()));
        let names: Vec<&str> = self.plan.rounds.iter().map(|round| round.name.as_str()).collect();
        let index =
            found.with_context(|| format!("there is no round {name:?}\n  hint: {}", names.join(", ")))?;
        Ok(u8::try_from(index)?)
    }
}
