//! `earnest status`: where an offering stands, for a terminal or for a board. `earnest clock` and `earnest faucet` are for
//! development chains.

use std::path::PathBuf;

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::bindings::DevCash;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_core::money::Cash;
use earnest_core::plan::date::utc;
use earnest_report::{page, summary::Summary, text};

use crate::output::{Done, cash, seconds};
use crate::session::{Where, Who, address, dev_key};

/// Rounds, prices, the order book, the treasury.
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    at: Where,
    /// Write one self-contained page, fit for a board, instead.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// As JSON on stdout.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Columns of the terminal.
    #[arg(long, default_value_t = 100)]
    width: usize,
}

impl Status {
    /// Reads the chain and shows it.
    pub fn run(self) -> Result<()> {
        let mut session = self.at.open()?;
        let now = session.chain.time()?;
        let raise = session.read()?;
        let summary = Summary::of(&session.plan, &raise, now);
        if let Some(file) = self.html {
            let html = page::html(&summary, &session.plan, &raise, now);
            std::fs::write(&file, html).with_context(|| format!("cannot write {}", file.display()))?;
            eprintln!("wrote {}", file.display());
        } else if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{}", text::status(&summary, &session.plan, &raise, now, self.width));
        }
        Ok(())
    }
}

/// Development chains: what time it is there, and moving it forward.
#[derive(Args)]
pub struct Clock {
    /// By so much, such as "3 days" or "2 hours".
    #[arg(long, value_parser = seconds)]
    forward: Option<u64>,
    #[command(flatten)]
    at: Where,
}

impl Clock {
    /// Moves the clock, for good.
    pub fn run(self) -> Result<()> {
        let mut session = self.at.open()?;
        if let Some(secs) = self.forward {
            let to = session.chain.time()? + secs;
            session.chain.advance_to(to)?;
        }
        println!("{}", utc(session.chain.time()?));
        Ok(())
    }
}

/// Development chains: play money for a wallet.
#[derive(Args)]
pub struct Faucet {
    /// Address, or the name of a development key.
    #[arg(value_parser = address)]
    to: Address,
    /// Such as "1000 cash".
    #[arg(value_parser = cash)]
    cash: Cash,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
}

impl Faucet {
    /// Mints it.
    pub fn run(self) -> Result<()> {
        let mut session = self.at.open()?;
        if session.plan.cash.address.is_some() {
            bail!("this deployment raises a real coin: there is no play money");
        }
        let call = DevCash::mintCall { to: self.to, units: U256::from(self.cash.units()) };
        let deployer = dev_key("deployer");
        let key = if session.chain.id() == DEV_CHAIN_ID && session.record.deployer == deployer.address() {
            deployer
        } else {
            self.who.key(&session.chain)?
        };
        let receipt = session.chain.send(&key, session.record.contracts.cash, &call)?;
        Done::of(&receipt).print(false)
    }
}
