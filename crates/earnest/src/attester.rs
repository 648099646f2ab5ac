//! `earnest attester`: the service that gives purchase permits to wallets that its rules approve, and the check of its
//! log.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::key::Key;
use earnest_core::plan::date::utc;
use earnest_serve::attester::rules::Rules;
use earnest_serve::attester::sign_in::Origin;
use earnest_serve::attester::{Attester as Service, Settings, log, router};
use earnest_serve::chain::ChainThread;

use crate::session::{Where, dev_key};
use crate::up::told_to_stop;

/// Serve purchase permits over HTTP to wallets that the rules approve.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Attester {
    #[command(subcommand)]
    command: Option<Command>,
    /// Who may buy: a file such as examples/attester/sample.toml.
    #[arg(long)]
    rules: Option<PathBuf>,
    /// Where to listen; port 0 takes any that is free. The address is printed on stdout.
    #[arg(long, default_value = "127.0.0.1:8790")]
    listen: SocketAddr,
    /// Where decisions are written down; without it, attester.jsonl in the state folder.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// A page that may ask, such as https://sale.example.com; several times for several. Wallets show the first to
    /// whoever asks without a page. Without it, this service's own address.
    #[arg(long = "origin", value_name = "URL", value_parser = Origin::parse)]
    origins: Vec<Origin>,
    /// File with a private key in hex; several times, the newest last. It signs with the newest that the offering takes.
    /// Without it, the environment variable EARNEST_KEY.
    #[arg(long = "key-file", value_name = "KEY_FILE")]
    key_files: Vec<PathBuf>,
    /// A development key by name, such as attester. Anyone can make it: development chains only.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "key_files")]
    dev: Vec<String>,
    #[command(flatten)]
    at: Where,
}

#[derive(Subcommand)]
enum Command {
    /// Check that nothing in a log was changed, taken out or put in.
    VerifyLog(VerifyLog),
}

#[derive(Args)]
struct VerifyLog {
    /// The log.
    file: PathBuf,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Attester {
    /// Serves until it is told to stop.
    pub fn run(self) -> Result<()> {
        if let Some(Command::VerifyLog(verify)) = self.command {
            return verify.run();
        }
        let file = self.rules.as_ref().context("no rules\n  hint: --rules FILE says who may buy")?;
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let session = self.at.open()?;
        let keys = self.keys(session.chain.id())?;
        let (plan, record) = (session.plan, session.record);
        // An embedded chain is opened by one at a time: from here on by the service.
        drop(session.chain);
        let secret = |name: &str| std::env::var(name).ok();
        let rules = Rules::read(&file.display().to_string(), &text, &plan, record.chain_id, secret)?;
        let at = self.at.clone();
        let chain = ChainThread::start(move || Ok(at.open()?.chain))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(self.listen)
                .await
                .with_context(|| format!("cannot listen on {}", self.listen))?;
            let url = format!("http://{}", listener.local_addr()?);
            let mut origins = self.origins;
            if origins.is_empty() {
                origins.push(Origin::parse(&url).map_err(anyhow::Error::msg)?);
            }
            let log = self.log.unwrap_or_else(|| self.at.folder().join("attester.jsonl"));
            let name = plan.offering.name.clone();
            let service = Service::open(Settings { plan, record, keys, rules, origins }, chain, &log)?;
            match service.active_key().await {
                Ok((key, generation)) => eprintln!("{key} (generation {generation}) signs for {name}"),
                Err(refusal) => eprintln!("warning: {refusal}\n  hint: {}", refusal.hint()),
            }
            let stop = told_to_stop();
            println!("{url}");
            eprintln!("decisions go to {}; stop with Ctrl-C", log.display());
            axum::serve(listener, router(service)).with_graceful_shutdown(stop).await?;
            Ok(())
        })
    }

    fn keys(&self, chain_id: u64) -> Result<Vec<Key>> {
        if !self.dev.is_empty() {
            if chain_id != DEV_CHAIN_ID {
                bail!("--as names keys that anyone can make; chain {chain_id} is not a development chain");
            }
            return Ok(self.dev.iter().map(|name| dev_key(name)).collect());
        }
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the key in {}", file.display()))?;
            Key::parse(&text).with_context(|| format!("{}", file.display()))
        };
        if !self.key_files.is_empty() {
            return self.key_files.iter().map(read).collect();
        }
        match std::env::var("EARNEST_KEY") {
            Ok(text) => Ok(vec![Key::parse(&text).context("EARNEST_KEY")?]),
            Err(_) => bail!(
                "no key\n  hint: --key-file FILE, EARNEST_KEY in the environment, or --as attester on a development chain"
            ),
        }
    }
}

impl VerifyLog {
    fn run(self) -> Result<()> {
        let found = log::verify(&self.file)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&found)?);
            return Ok(());
        }
        println!("{} lines fit together: {} permits, {} refusals", found.lines, found.granted, found.refused);
        if found.lines > 0 {
            println!("from {} to {}", utc(found.from), utc(found.to));
        }
        println!("last hash {}", found.head);
        if found.torn > 0 {
            eprintln!("the last {} bytes are half a line, which counts for nothing", found.torn);
        }
        Ok(())
    }
}
