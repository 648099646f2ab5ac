//! Where a deployment is and how to reach it: a folder with the plan, the addresses, and either the URL of a node or a
//! development chain kept in a file. Also whose key a command acts with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Record;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::index::Index;
use earnest_chain::key::Key;
use earnest_chain::node::{Node, OpenError};
use earnest_chain::rpc::Rpc;
use earnest_core::offering::DAY;
use earnest_core::plan::Plan;
use earnest_core::raise::Raise;
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
    /// The node; none: the development chain beside this file.
    pub rpc: Option<String>,
    /// What is there.
    #[serde(flatten)]
    pub record: Record,
}

/// A deployment that can be used.
pub struct Session {
    /// Where it is kept.
    folder: PathBuf,
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
        if rpc.is_none() && !self.state.join(CHAIN_FILE).exists() {
            bail!(
                "{} is gone, and with it the deployment's chain\n  hint: deploy in another folder",
                self.state.join(CHAIN_FILE).display()
            );
        }
        let chain = open_chain(&self.state, rpc.as_deref(), &plan, &self.sending)?;
        if chain.id() != record.chain_id {
            bail!("the node has chain id {}, and the deployment is on {}", chain.id(), record.chain_id);
        }
        Ok(Session { folder: self.state.clone(), plan, chain, record })
    }
}

/// The development chain of a folder.
const CHAIN_FILE: &str = "chain.log";
/// URL of the `earnest up` or `earnest gateway` that has it open.
pub const URL_FILE: &str = "up.url";
/// How long a command waits for another one that has the chain.
const PATIENCE: Duration = Duration::from_secs(5);

/// The node, or the development chain of a folder: its file or, where `earnest up` has that open, what it serves.
pub fn open_chain(folder: &Path, rpc: Option<&str>, plan: &Plan, sending: &Sending) -> Result<Chain> {
    if let Some(url) = rpc {
        return Ok(Chain::Rpc(Rpc::connect_with(url, sending.settings())?));
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match open_node(folder, plan) {
            Err(OpenError::InUse(_)) if Instant::now() < end => {}
            other => return Ok(Chain::Node(Arc::new(other?))),
        }
        // A URL counts only while someone has the file: one that was left behind leads nowhere, or elsewhere.
        let url = std::fs::read_to_string(folder.join(URL_FILE));
        if let Some(Ok(rpc)) = url.ok().map(|url| Rpc::connect_with(url.trim(), sending.settings())) {
            return Ok(Chain::Rpc(rpc));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The development chain of a folder, whose clock starts a day before the plan's first opening.
pub fn open_node(folder: &Path, plan: &Plan) -> Result<Node, OpenError> {
    let opens = plan.rounds.iter().map(|round| round.open).min().unwrap_or(DAY);
    Node::open(&folder.join(CHAIN_FILE), DEV_CHAIN_ID, opens - DAY)
}

impl Who {
    /// The key, on this chain.
    pub fn key(&self, chain: &Chain) -> Result<Key> {
        self.key_for(chain.id())
    }

    /// The key, on the chain with this id.
    pub fn key_for(&self, chain_id: u64) -> Result<Key> {
        if let Some(name) = &self.dev {
            if chain_id != DEV_CHAIN_ID {
                bail!(
                    "--as {name} is a key that anyone can make; chain {chain_id} is not a development chain"
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
    /// The books as of the chain's head.
    pub fn index(&mut self) -> Result<Index> {
        let file = self.folder.join("index.db");
        let mut index = match Index::open(Some(&file), &self.plan, &self.record) {
            // Another process keeps it: this one reads the chain for itself.
            Err(error) if error.is_busy() => Index::open(None, &self.plan, &self.record)?,
            other => other?,
        };
        index.sync(&mut self.chain)?;
        if let Some(difference) = index.difference() {
            eprintln!(
                "warning: the contracts depart from the rules at block {}: {}\n  what follows is as of before; earnest audit says more",
                difference.block, difference.what
            );
        }
        Ok(index)
    }

    /// Everything as the chain has it now.
    pub fn read(&mut self) -> Result<Raise> {
        Ok(self.index()?.raise().clone())
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
