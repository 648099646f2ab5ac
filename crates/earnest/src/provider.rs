//! `earnest provider`: serves models for a gateway from a machine that only dials out, and shows what it served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use earnest_chain::bindings::Revenue;
use earnest_core::money::Bps;
use earnest_serve::echo::Echo;
use earnest_serve::gateway::amount;
use earnest_serve::gateway::journal::Coin;
use earnest_serve::gateway::statement::Document;
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::provider::dial::{self, Model, News};
use earnest_serve::provider::hello::is_model_name;
use earnest_serve::provider::served::{self, Day, Sums};
use earnest_serve::server::{self, Limits};
use earnest_serve::upstream::upstream_base;
use reqwest::Url;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::gateway::{self, Models};
use crate::output::{grouped, percent, seconds};
use crate::session::{Where, Who};
use crate::up::told_to_stop;

/// Serve models for a gateway and be paid for it. It dials out, so it works behind NAT.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Provider {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// The same as no subcommand: serve until told to stop.
    Run(Box<Run>),
    /// What was served, by day and model.
    Earnings(Earnings),
    /// Take on the chain what the gateway's last statements say was earned. Anyone may, for anyone.
    Claim(Box<Claim>),
}

#[derive(Args)]
struct Claim {
    /// The gateway, which publishes the statements.
    #[arg(long, env = "EARNEST_GATEWAY", value_name = "URL")]
    gateway: Url,
    /// Whose pay; without it, the key's own.
    #[arg(long, value_name = "ADDRESS")]
    provider: Option<Address>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
}

#[derive(Args)]
struct Run {
    /// The gateway, such as https://gateway.example.
    #[arg(long, env = "EARNEST_GATEWAY", value_name = "URL")]
    gateway: Option<Url>,
    #[command(flatten)]
    models: Models,
    /// The part of the listed charge that is asked for.
    #[arg(long, value_parser = percent, default_value = "80%")]
    ask: Bps,
    /// Requests at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    concurrency: u16,
    /// Connections to the gateway, each with a thread of its own; without it, as many as there are processors, and at most
    /// 4.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=16))]
    links: Option<u16>,
    /// How long the upstream may be silent.
    #[arg(long, value_parser = seconds, default_value = "5 minutes")]
    patience: u64,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Args)]
struct Folder {
    /// Where it is written down what was served.
    #[arg(long, default_value = ".earnest-provider", value_name = "FOLDER")]
    log: PathBuf,
}

#[derive(Args)]
struct Earnings {
    #[command(flatten)]
    folder: Folder,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Provider {
    /// Serves, or shows what was served.
    pub fn run(self) -> Result<()> {
        match self.command {
            None => self.run.run(),
            Some(Command::Run(run)) => run.run(),
            Some(Command::Earnings(earnings)) => earnings.run(),
            Some(Command::Claim(claim)) => claim.run(),
        }
    }
}

impl Claim {
    fn run(self) -> Result<()> {
        let mut session = self.at.open()?;
        let key = self.who.key(&session.chain)?;
        let provider = self.provider.unwrap_or(key.address());
        let at = session.record.contracts.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for (coin, token) in [(Coin::Credits, at.credit), (Coin::Cash, at.cash)] {
            let said = session.chain.call(at.revenue, &Revenue::statementCall { coin: token })?;
            if said.number == 0 {
                continue;
            }
            let path = format!("/earnest/statements/{}/{}", coin.word(), said.number);
            let url = self.gateway.join(&path)?;
            let text = runtime.block_on(async {
                let answer = reqwest::get(url.clone()).await?.error_for_status()?;
                answer.text().await
            });
            let text = text.with_context(|| format!("the statement at {url}"))?;
            let document: Document = serde_json::from_str(&text).context("the statement cannot be read")?;
            // What a gateway says is held against what it published.
            if document.tree().root() != said.root {
                bail!("the gateway's statement {} is not the one on the chain", said.number);
            }
            let Some(earned) = document.providers.iter().find(|earned| earned.provider == provider) else {
                continue;
            };
            let paid = session.chain.call(at.revenue, &Revenue::paidToCall { coin: token, provider })?;
            if earned.cumulative <= paid {
                continue;
            }
            let call = Revenue::claimPayCall {
                coin: token,
                provider,
                cumulative: earned.cumulative,
                proof: document.tree().proof(earned.leaf()).context("the leaf is in the tree")?,
            };
            session.chain.send(&key, at.revenue, &call)?;
            println!("{} paid to {provider}", amount(coin, earned.cumulative - paid));
        }
        Ok(())
    }
}

impl Run {
    fn run(self) -> Result<()> {
        let gateway =
            self.gateway.clone().context("no gateway\n  hint: --gateway https://gateway.example")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.serve(gateway))
    }

    async fn serve(self, gateway: Url) -> Result<()> {
        let realm = dial::realm(&gateway).await.with_context(|| format!("{gateway}"))?;
        let key = self.who.key_for(realm.chain_id)?;
        // A gateway that does not say what it sells is asked for nothing.
        let sold = dial::models_sold(&gateway).await.ok();
        let (upstream, models) = match &self.models.base()? {
            Some(upstream) => {
                let upstream = upstream_base(upstream)?;
                let models = self.offered(&upstream, sold.as_deref()).await?;
                (upstream, models)
            }
            None => self.echo(sold.as_deref()).await?,
        };
        let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
        if let Some(sold) = &sold
            && !names.iter().any(|name| sold.contains(name))
        {
            bail!(
                "nothing to offer: the gateway sells {}, and not {}\n  hint: --model NAME=UPSTREAM, where NAME is one that it sells",
                list(sold),
                list(&names)
            );
        }
        let unsold = |model: &&Model| sold.as_ref().is_some_and(|sold| !sold.contains(&model.name));
        for Model { name, .. } in models.iter().filter(unsold) {
            eprintln!("warning: the gateway does not sell {name}, so nobody will ask for it");
        }
        let stop = told_to_stop();
        println!("provider {}", key.address());
        eprintln!("offers {} at {} of the listed charge; Ctrl-C stops", names.join(", "), self.ask);
        let provider = dial::Provider {
            upstream_key: self.models.key()?,
            headers: self.models.headers()?,
            ask: self.ask.get(),
            concurrency: self.concurrency,
            links: self.links.unwrap_or_else(processors),
            folder: self.folder.log,
            patience: Duration::from_secs(self.patience.max(1)),
            gateway: gateway.clone(),
            key,
            upstream,
            models,
        };
        let tell = |news| match news {
            News::Linked(realm) => eprintln!("linked to {gateway} (chain id {})", realm.chain_id),
            News::Ill(why) => eprintln!("warning: {why}"),
            News::Lost(why, again) => eprintln!("{why}; dials again in {:.1} s", again.as_secs_f64()),
        };
        provider.run(stop, tell).await?;
        eprintln!("stopped");
        Ok(())
    }

    /// The models that were named; without a name, those that the upstream has and the gateway sells.
    async fn offered(&self, upstream: &Url, sold: Option<&[String]>) -> Result<Vec<Model>> {
        let named = self.models.named()?;
        if !named.is_empty() {
            return named.into_iter().map(gateway::model).collect();
        }
        let has =
            dial::upstream_models(upstream, self.models.key()?.as_deref(), &self.models.headers()?).await?;
        let fits = |name: &&String| is_model_name(name) && sold.is_none_or(|sold| sold.contains(name));
        let names: BTreeSet<&String> = has.iter().filter(fits).collect();
        if names.is_empty() {
            bail!(
                "nothing to offer: the upstream has {}, the gateway sells {}\n  hint: --model NAME=UPSTREAM",
                list(&has),
                sold.map_or("what it does not say".into(), list)
            );
        }
        names.into_iter().map(|name| gateway::model((name.clone(), Dialect::default()))).collect()
    }

    /// The built-in echo on a port of its own, for whatever was named or is sold.
    async fn echo(&self, sold: Option<&[String]>) -> Result<(Url, Vec<Model>)> {
        eprintln!("no --upstream: a built-in echo answers, which is no model");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/v1", listener.local_addr()?).parse()?;
        let echo = Echo::default();
        let mut named = self.models.named()?;
        if named.is_empty() {
            let names = sold.map_or_else(|| echo.models.clone(), <[String]>::to_vec);
            named = names.into_iter().map(|name| (name, Dialect::default())).collect();
        }
        let called = |(name, dialect): (String, Dialect)| {
            gateway::model((name, Dialect { upstream: echo.models[0].clone(), ..dialect }))
        };
        let models = named.into_iter().map(called).collect::<Result<_>>()?;
        let (limits, forever) = (Limits::for_gateway(), std::future::pending());
        tokio::spawn(server::serve_unguarded(limits, listener, echo.router(), forever));
        Ok((url, models))
    }
}

/// Links that are worth their threads here.
pub fn processors() -> u16 {
    std::thread::available_parallelism()
        .map_or(1, |count| u16::try_from(count.get()).unwrap_or(u16::MAX))
        .min(4)
}

fn list(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    match names.len() {
        0 => "nothing".into(),
        more @ 9.. => format!("{} and {} more", shown.join(", "), more - 8),
        _ => shown.join(", "),
    }
}

/// What `earnings --json` prints.
#[derive(Serialize)]
struct Shown<'d> {
    days: &'d [Day],
    requests: u64,
    answered: u64,
    prompt: u64,
    cached: u64,
    completion: u64,
    /// Requests of which the gateway counted less than was stated, model tokens that it did not count, and why.
    less_requests: u64,
    less: u64,
    reasons: &'d BTreeMap<String, u64>,
}

impl Earnings {
    fn run(self) -> Result<()> {
        let Sums { days, reasons } = served::sums(&self.folder.log).with_context(|| {
            format!(
                "nothing was served from {}\n  hint: --log names another folder",
                self.folder.log.display()
            )
        })?;
        let sum = |of: fn(&Day) -> u64| days.iter().map(of).sum::<u64>();
        let shown = Shown {
            days: &days,
            requests: sum(|day| day.requests),
            answered: sum(|day| day.answered),
            prompt: sum(|day| day.prompt),
            cached: sum(|day| day.cached),
            completion: sum(|day| day.completion),
            less_requests: sum(|day| day.less_requests),
            less: sum(|day| day.less),
            reasons: &reasons,
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        let width = days.iter().map(|day| day.model.len()).max().unwrap_or(0).max(5);
        let line = |day: &str, model: &str, numbers: [String; 6]| {
            let [requests, answered, prompt, cached, completion, less] = numbers;
            println!(
                "{day:<10}  {model:<width$}  {requests:>10}  {answered:>10}  {prompt:>15}  {cached:>15}  {completion:>15}  {less:>15}"
            );
        };
        let heads = ["requests", "answered", "read", "of it cached", "written", "counted less"];
        line("day", "model", heads.map(String::from));
        let number = |number: u64| grouped(&number.to_string());
        for Day { day, model, requests, answered, prompt, cached, completion, less, .. } in &days {
            line(day, model, [*requests, *answered, *prompt, *cached, *completion, *less].map(number));
        }
        let Shown { requests, answered, prompt, cached, completion, less, less_requests, .. } = shown;
        line("", "all", [requests, answered, prompt, cached, completion, less].map(number));
        eprintln!(
            "read and written are model tokens as the upstream counted them; pay is in the gateway's statements"
        );
        if less_requests > 0 {
            let reasons: Vec<String> =
                reasons.iter().map(|(why, count)| format!("{why} ({count})")).collect();
            println!("the gateway counted less for {less_requests} requests: {}", reasons.join(", "));
        }
        Ok(())
    }
}
