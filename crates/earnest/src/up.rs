//! `earnest up`: an offering to try out, in one process: a development chain, its JSON-RPC, and the portal.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Record, mint_cash};
use earnest_chain::index::Index;
use earnest_chain::node::Node;
use earnest_chain::rpc::Rpc;
use earnest_core::money::Cash;
use earnest_core::plan::Plan;
use earnest_serve::attester::rules::Rules;
use earnest_serve::attester::sign_in::Origin;
use earnest_serve::attester::{self, Attester, Settings};
use earnest_serve::chain::ChainThread;
use earnest_serve::echo::Echo;
use earnest_serve::guard::Guard;
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::portal::{self, Faucet, GatewayAt, Portal};
use earnest_serve::provider::dial::{Model, News, Provider, upstream_models};
use earnest_serve::provider::doors::Admission;
use earnest_serve::server::Limits;
use earnest_serve::upstream::upstream_base;
use earnest_serve::{rpc, server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deploy::{Work, parties};
use crate::gateway::{self, Models, Pace};
use crate::key::{self, Coins, Create, Wish};
use crate::plan_file;
use crate::provider::processors;
use crate::session::{Place, URL_FILE, Where, dev_key, open_node};

/// Rules of an attester that approves everyone.
const OPEN_RULES: &str = include_str!("../../../examples/attester/open.toml");
/// What the portal's faucet gives at a time.
const FAUCET: Cash = Cash::from_units(100_000_000_000);

/// Run an offering on this machine to try it out: a development chain with play money, its JSON-RPC, and the portal.
#[derive(Args)]
pub struct Up {
    /// The plan; not needed where the folder has a deployment.
    plan: Option<PathBuf>,
    #[command(flatten)]
    at: Where,
    /// Port on this machine; 0 takes any that is free.
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Another host name under which the server is reached, or whose pages may use it.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Whom the attester approves: a file such as examples/attester/sample.toml. Without it, everyone.
    #[arg(long)]
    rules: Option<PathBuf>,
    /// Port of the gateway; without it the next one after --port.
    #[arg(long)]
    gateway_port: Option<u16>,
    /// What providers dial to reach the gateway, beside where it listens.
    #[arg(long = "name", value_name = "HOST[:PORT]")]
    names: Vec<String>,
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    pace: Pace,
    /// A public node that wallets may add, where the deployment is on another chain than this machine's.
    #[arg(long, value_name = "URL")]
    wallet_rpc: Option<String>,
    /// Address of the gateway as browsers reach it, for the portal's pages; without it, that of the one in this process.
    #[arg(long, value_name = "URL", env = "EARNEST_GATEWAY", value_parser = GatewayAt::parse)]
    gateway: Option<GatewayAt>,
    /// A folder with reports of `earnest simulate --html`, for the portal to show.
    #[arg(long, value_name = "FOLDER")]
    reports: Option<PathBuf>,
}

impl Up {
    /// Serves until it is told to stop.
    pub fn run(self) -> Result<()> {
        server::take_small_pages();
        let folder = self.at.folder().to_path_buf();
        let place = folder.join("deployment.json");
        let deployed: Option<Place> = match std::fs::read_to_string(&place) {
            Ok(text) => Some(
                serde_json::from_str(&text).with_context(|| format!("{} cannot be read", place.display()))?,
            ),
            Err(_) => None,
        };
        let plan = self.plan(&folder, deployed.is_some())?;
        let elsewhere = deployed.as_ref().and_then(|place| place.rpc.clone());
        let node = match &elsewhere {
            Some(_) => None,
            None => Some(self.node(&folder, &plan, deployed.is_some())?),
        };
        server::raise_file_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.serve(&folder, node.clone(), elsewhere.clone()))?;
        // Requests first, then the chain: its last block is on the disk, and the file is free.
        runtime.shutdown_background();
        drop(node);
        Ok(())
    }

    /// The folder's plan, or the one that is to be deployed there.
    fn plan(&self, folder: &Path, deployed: bool) -> Result<Plan> {
        let kept = folder.join("plan.toml");
        match (&self.plan, deployed) {
            (Some(file), false) => plan_file::read(file),
            (None, false) => bail!(
                "no deployment in {}\n  hint: earnest up PLAN makes one, --state names another folder",
                folder.display()
            ),
            (None, true) => plan_file::read(&kept),
            (Some(file), true) => {
                let read = |file: &Path| {
                    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
                };
                if read(file)? != read(&kept)? {
                    bail!(
                        "{} is a deployment of another plan than {}\n  hint: --state names another folder",
                        folder.display(),
                        file.display()
                    );
                }
                plan_file::read(&kept)
            }
        }
    }

    /// The chain, with the plan's contracts on it.
    fn node(&self, folder: &Path, plan: &Plan, deployed: bool) -> Result<Arc<Node>> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let node = Arc::new(open_node(folder, plan)?);
        let _ = std::fs::remove_file(folder.join(URL_FILE)); // from one that was killed
        if let (Some(file), false) = (&self.plan, deployed) {
            if plan.cash.address.is_some() {
                bail!(
                    "[cash] address is named, and a development chain has no such coin\n  hint: leave it out to raise play money"
                );
            }
            let (mut chain, key) = (Chain::Node(node.clone()), dev_key("deployer"));
            let parties = parties(plan, chain.id())?;
            let record =
                Work::new(plan, parties, &chain, &key, 0, true)?.run(&mut chain, plan, &key, 0, None)?;
            Place { rpc: None, record }.write(file, folder, plan)?;
        }
        Ok(node)
    }

    /// The pages, over an index that is kept beside the deployment.
    fn portal(&self, folder: &Path, node: Option<Arc<Node>>, elsewhere: Option<String>) -> Result<Portal> {
        let text = std::fs::read_to_string(folder.join("deployment.json")).context("the deployment")?;
        let Place { record, .. } = serde_json::from_str(&text).context("deployment.json cannot be read")?;
        let plan = plan_file::read(&folder.join("plan.toml"))?;
        let index = Index::open(Some(&folder.join("index.db")), &plan, &record)?;
        let deployer = dev_key("deployer");
        let plays = node.is_some() && plan.cash.address.is_none() && record.deployer == deployer.address();
        let cash = record.contracts.cash;
        let faucet: Option<Faucet> = plays.then(|| -> Faucet {
            Box::new(move |chain, wallet| {
                mint_cash(chain, &deployer, cash, wallet, FAUCET.units())
                    .map_err(|error| error.to_string())?;
                Ok(format!("{FAUCET} of play money came."))
            })
        });
        let (chain, url): (portal::Opener, _) = match (node, elsewhere) {
            (Some(node), _) => (Box::new(move || Ok(Chain::Node(node.clone()))), Some("/".to_owned())),
            (None, Some(url)) => {
                // Our own node's address may carry a key: wallets are told only what they are meant to be told.
                let settings = self.at.sending().settings();
                (
                    Box::new(move || Ok(Chain::Rpc(Rpc::connect_with(&url, settings)?))),
                    self.wallet_rpc.clone(),
                )
            }
            (None, None) => bail!("the deployment names no chain"),
        };
        let (folder, gateway) = (folder.into(), self.gateway.clone());
        Ok(Portal {
            plan,
            record,
            folder,
            index,
            chain,
            node: url,
            attester: false,
            faucet,
            gateway,
            reports: self.reports.clone(),
        })
    }

    /// Purchase permits for whoever the rules approve, with the attester's development key; none where the plan names
    /// other attesters.
    fn attester(
        &self,
        folder: &Path,
        portal: &Portal,
        node: Arc<Node>,
        port: u16,
    ) -> Result<Option<Attester>> {
        let (plan, record) = (portal.plan.clone(), portal.record.clone());
        let key = dev_key("attester");
        if self.rules.is_none() && !record.attesters.contains(&key.address()) {
            return Ok(None);
        }
        let (name, text) = match &self.rules {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                (file.display().to_string(), text)
            }
            None => ("the built-in rules".into(), OPEN_RULES.into()),
        };
        let rules = Rules::read(&name, &text, &plan, record.chain_id, |name| std::env::var(name).ok())?;
        let ours = ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{port}"));
        let named = self.hosts.iter().map(|host| format!("https://{host}"));
        let origins = ours.into_iter().chain(named).map(|origin| Origin::parse(&origin));
        let origins = origins.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
        let settings = Settings { plan, record, keys: vec![key], rules, origins };
        let chain = ChainThread::start(move || Ok(Chain::Node(node)))?;
        Ok(Some(Attester::open(settings, chain, &folder.join("attester.jsonl"))?))
    }

    /// Where the gateway will listen; the portal has to know before either serves. None where the plan sells no service.
    async fn counter(&self, plan: &Plan, record: &Record) -> Result<Option<TcpListener>> {
        if plan.price_list.is_none() || record.gateway != dev_key("gateway").address() {
            return Ok(None);
        }
        let next = if self.port == 0 { 0 } else { self.port.saturating_add(1) };
        let port = self.gateway_port.unwrap_or(next);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| {
            format!("cannot listen on port {port}\n  hint: --gateway-port names another, 0 takes any")
        })?;
        Ok(Some(listener))
    }

    /// The gateway, with a provider of its own: a whole lab on this machine.
    async fn lab(
        &self,
        folder: &Path,
        node: Arc<Node>,
        listener: TcpListener,
        stopped: watch::Receiver<bool>,
    ) -> Result<JoinHandle<Result<()>>> {
        let text = std::fs::read_to_string(folder.join("deployment.json")).context("the deployment")?;
        let Place { record, .. } = serde_json::from_str(&text).context("deployment.json cannot be read")?;
        let plan = plan_file::read(&folder.join("plan.toml"))?;
        let key = dev_key("gateway");
        let url = format!("http://{}", listener.local_addr()?);
        let mut settings = self.pace.settings(folder, &plan)?;
        settings.providers = Admission::Anyone;
        settings.names.clone_from(&self.names);
        settings.dialects = self.models.named()?;
        let (ask, opened) = (settings.share_bps, (plan.clone(), record.clone()));
        let gateway = tokio::task::spawn_blocking(move || {
            let (plan, record) = opened;
            gateway::open(&plan, &record, settings, key, move || Ok(Chain::Node(node.clone())))
        });
        let gateway = gateway.await??;
        let stop = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let (serving, at, ending) = (gateway.clone(), folder.to_path_buf(), stop(stopped.clone()));
        let served = tokio::spawn(async move { gateway::serve(serving, listener, &at, ending).await });

        let (upstream, models) = self.upstream(&plan).await?;
        let provider = Provider {
            gateway: url.parse()?,
            key: dev_key("provider"),
            upstream: upstream_base(&upstream)?,
            upstream_key: self.models.key()?,
            headers: self.models.headers()?,
            models,
            ask,
            concurrency: 1_024,
            links: processors(),
            folder: folder.join("provider"),
            patience: Duration::from_millis(self.pace.patience_ms),
        };
        tokio::spawn(async move {
            let ended = provider.run(stop(stopped), |news| match news {
                News::Lost(why, _) => eprintln!("provider: {why}"),
                News::Ill(why) => eprintln!("warning: {why}"),
                News::Linked(_) => {}
            });
            if let Err(why) = ended.await {
                eprintln!("the provider stopped: {why}");
            }
        });
        let mut changes = gateway.roster.changes();
        let _ = tokio::time::timeout(Duration::from_secs(10), async {
            while gateway.roster.links().is_empty() && changes.changed().await.is_ok() {}
        })
        .await;
        say(&format!("api    {url}/v1"));
        let (place, dev, at) = (self.at.clone(), plan.clone(), url.clone());
        tokio::spawn(async move {
            let made = tokio::task::spawn_blocking(move || development_key(&place, &dev, &record, &at)).await;
            match made {
                Ok(Ok(Some(secret))) => show_key(&url, &secret, &plan),
                Ok(Ok(None)) => eprintln!("credits buy service once they are delivered: earnest key create"),
                Ok(Err(error)) => eprintln!("no development key: {error:#}"),
                Err(_) => {}
            }
        });
        Ok(served)
    }

    /// Who answers: the server that was named, or the built-in echo.
    async fn upstream(&self, plan: &Plan) -> Result<(String, Vec<Model>)> {
        let Some(url) = &self.models.base()? else {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}/v1", listener.local_addr()?);
            let app = Echo::default().router();
            tokio::spawn(server::serve_unguarded(
                Limits::for_gateway(),
                listener,
                app,
                std::future::pending(),
            ));
            self.models.warn_of_no_upstream()?;
            eprintln!("no --upstream: a built-in echo answers, which is no model");
            return Ok((url, called(gateway::plan_models(plan), Some("echo"))));
        };
        let named = self.models.named()?;
        gateway::warn_of_unsold(plan, &named);
        if !named.is_empty() {
            let models = named.into_iter().map(gateway::model).collect::<Result<_>>()?;
            return Ok((url.clone(), models));
        }
        let (base, key) = (upstream_base(url)?, self.models.key()?);
        let has = upstream_models(&base, key.as_deref(), &self.models.headers()?).await?;
        let mut named = called(gateway::plan_models(plan).filter(|name| has.contains(name)), None);
        if let (true, Some(first)) = (named.is_empty(), has.first()) {
            eprintln!(
                "the upstream has none of the models on the price list: {first} serves under their names\n  hint: --model NAME=UPSTREAM"
            );
            named = called(gateway::plan_models(plan), Some(first));
        }
        Ok((url.clone(), named))
    }

    async fn serve(&self, folder: &Path, node: Option<Arc<Node>>, elsewhere: Option<String>) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let listener = listener.with_context(|| {
            format!("cannot listen on port {}\n  hint: --port names another, 0 takes any", self.port)
        })?;
        let port = listener.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}/");

        let mut portal = self.portal(folder, node.clone(), elsewhere.clone())?;
        let attester = match &node {
            Some(node) => self.attester(folder, &portal, node.clone(), port)?,
            None => None,
        };
        portal.attester = attester.is_some();
        let counter = match &node {
            Some(_) => self.counter(&portal.plan, &portal.record).await?,
            None => None,
        };
        if let (None, Some(listener)) = (&portal.gateway, &counter) {
            let url = format!("http://{}", listener.local_addr()?);
            portal.gateway = Some(GatewayAt::parse(&url).map_err(anyhow::Error::msg)?);
        }
        let mut pages = portal::router(portal);
        if let Some(attester) = attester {
            pages = pages.nest("/attester", attester::router(attester));
        }
        let app = match &node {
            Some(node) => rpc::router(node.clone(), pages),
            None => pages,
        };

        // From here on it is told to stop, and not just killed.
        let (stop, stopped) = watch::channel(false);
        let told_to_stop = told_to_stop();
        tokio::spawn(async move {
            told_to_stop.await;
            let _ = stop.send(true);
        });
        let told = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        println!("portal {url}");
        match (&node, &elsewhere) {
            (Some(node), _) => {
                let file = folder.join(URL_FILE);
                std::fs::write(&file, &url).with_context(|| format!("cannot write {}", file.display()))?;
                println!("rpc    {url} (chain id {})", node.chain_id());
                eprintln!(
                    "\na development chain of one node, kept in {}: for trying out and for tests, not for money.\n\
                     Every account has 10,000 ether of play money. Development keys, which anyone can make: issuer,\n\
                     attester, certifier, guardian, deployer, and any name you make up (--as NAME).\n\
                     Other commands work beside this one: earnest status, earnest faucet alice \"1000 cash\", …\n\
                     On a real chain: earnest deploy PLAN --rpc URL. Ctrl-C stops.",
                    folder.display()
                );
            }
            (None, Some(rpc)) => {
                eprintln!("the deployment is on {rpc}; only the portal is served. Ctrl-C stops.")
            }
            (None, None) => {}
        }

        let guard = Guard::new(port, &self.hosts);
        let lab = match node.clone().zip(counter) {
            Some((node, listener)) => Some(self.lab(folder, node, listener, stopped.clone()).await?),
            None => None,
        };
        server::serve(listener, app, guard, told(stopped)).await;
        // Who is being answered has a while; then the gateway's journal is closed.
        if let Some(lab) = lab {
            lab.await??;
        }
        if node.is_some() {
            let _ = std::fs::remove_file(folder.join(URL_FILE));
        }
        eprintln!("stopped");
        Ok(())
    }
}

/// A line of data. Whoever has read what they wanted may have closed the pipe.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A key for trying out, paid in play cash, made once. None where service is not sold for cash.
fn development_key(place: &Where, plan: &Plan, record: &Record, url: &str) -> Result<Option<String>> {
    const NAME: &str = "development";
    if let Some(secret) = key::kept(place.folder(), NAME)? {
        return Ok(Some(secret));
    }
    let plays = plan.cash.address.is_none() && record.deployer == dev_key("deployer").address();
    if !plays || plan.price_list.as_ref().is_none_or(|list| list.cash.is_none()) {
        return Ok(None);
    }
    let (owner, deposit) = (dev_key("developer"), Cash::from_units(100_000_000));
    let mut session = place.open()?;
    mint_cash(
        &mut session.chain,
        &dev_key("deployer"),
        record.contracts.cash,
        owner.address(),
        deposit.units(),
    )?;
    let wish = Wish { place, gateway: url.into(), owner, name: NAME.into(), deposit: Coins::cash(deposit) };
    Create::of(&wish).map(Some)
}

/// What works when it is pasted.
fn show_key(url: &str, secret: &str, plan: &Plan) {
    let model = plan.price_list.iter().flat_map(|list| &list.models).find(|model| model.output.is_some());
    let model = model.map_or("example-small", |model| &model.name);
    say(&format!("key    {secret}"));
    eprintln!(
        "\n100 cash of play money are behind the key. Paste:\n\n\
         curl {url}/v1/chat/completions -H 'Authorization: Bearer {secret}' -H 'content-type: application/json' \\\n  \
         -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'\n\n\
         from openai import OpenAI\n\
         client = OpenAI(base_url=\"{url}/v1\", api_key=\"{secret}\")\n\
         print(client.chat.completions.create(model=\"{model}\", messages=[{{\"role\": \"user\", \"content\": \"hello\"}}]).choices[0].message.content)\n"
    );
}

/// Ctrl-C, or what a service manager sends: heard from this call on, not only once it is waited for.
pub fn told_to_stop() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let told = {
        use tokio::signal::unix::{SignalKind, signal};
        [SignalKind::interrupt(), SignalKind::terminate()].map(signal)
    };
    async move {
        #[cfg(unix)]
        if let [Ok(mut interrupt), Ok(mut terminate)] = told {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Models that an upstream takes as most do, under one name or their own.
fn called(names: impl Iterator<Item = String>, upstream: Option<&str>) -> Vec<Model> {
    let upstream = upstream.unwrap_or_default().to_owned();
    let dialect = Dialect { upstream, ..Dialect::default() };
    names.map(|name| Model { name, dialect: dialect.clone(), elsewhere: None }).collect()
}
