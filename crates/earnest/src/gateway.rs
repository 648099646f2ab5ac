//! `earnest gateway`: the OpenAI-compatible API of a deployment, paid in its credits and cash.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use alloy_sol_types::sol;
use anyhow::{Context, Result, bail};
use axum::Router;
use axum::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, HeaderValue};
use clap::Args;
use earnest_chain::bindings::Revenue;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Record;
use earnest_chain::key::Key;
use earnest_chain::node::Node;
use earnest_chain::voucher::{House, Settlement};
use earnest_core::money::{Cash, Credits};
use earnest_core::plan::Plan;
use earnest_serve::chain::ChainThread;
use earnest_serve::gateway::route::Upstream;
use earnest_serve::gateway::till::Till;
use earnest_serve::gateway::{self, Gateway, Settings};
use earnest_serve::guard::Guard;
use earnest_serve::openai::dialect::{self, Dialect};
use earnest_serve::provider::dial::Model;
use earnest_serve::provider::doors::Admission;
use earnest_serve::rpc;
use earnest_serve::server::{self, Limits, Workers};
use earnest_serve::upstream::upstream_base;
use tokio::net::TcpListener;

use crate::key::GATEWAY_FILE;
use crate::output::seconds;
use crate::plan_file;
use crate::session::{Place, URL_FILE, Where, Who, open_chain};
use crate::up::told_to_stop;

/// How long those who are being answered have when the gateway stops.
const GRACE: Duration = Duration::from_secs(30);
/// How others come to serve.
const DIAL_IN: &str = "providers dial in by earnest provider --gateway URL";

sol! {
    /// What USDC and others say beside ERC-20.
    interface Versioned {
        function name() external view returns (string name);
        function version() external view returns (string version);
    }
}

/// Serve models to whoever pays in credits or cash, by an API that any OpenAI SDK knows.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    who: Who,
    /// Address to listen on. TLS is for a proxy in front.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Port; 0 takes any that is free.
    #[arg(long, default_value_t = 8546)]
    port: u16,
    #[command(flatten)]
    models: Models,
    /// Providers that may dial in, by operator key.
    #[arg(long = "provider", value_name = "ADDRESS")]
    providers: Vec<Address>,
    /// Any provider may dial in: for development.
    #[arg(long, conflicts_with = "providers")]
    open_door: bool,
    /// What providers dial, beside where it listens; others are refused, so that nobody can stand between.
    #[arg(long = "name", value_name = "HOST[:PORT]")]
    names: Vec<String>,
    #[command(flatten)]
    pace: Pace,
}

/// A server with models.
#[derive(Args, Clone)]
pub struct Models {
    /// Base URL of an OpenAI-compatible server of one's own, such as http://localhost:11434/v1.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Variable of the environment with the upstream's API key.
    #[arg(long, value_name = "NAME", requires = "upstream")]
    pub upstream_key_env: Option<String>,
    /// A header that the upstream wants to see, such as "api-key: env:AZURE_KEY": after env: comes a variable of the
    /// environment.
    #[arg(long = "upstream-header", value_name = "NAME: VALUE", requires = "upstream")]
    pub upstream_headers: Vec<String>,
    /// A model of the price list, and what the upstream calls it: NAME, NAME=UPSTREAM, or NAME=UPSTREAM,ANSWERS… with other
    /// names that its answers carry. Without it, all under their names.
    #[arg(long = "model", value_name = "NAME")]
    pub models: Vec<String>,
    /// A file with settings of models (docs/upstreams.md): which field bounds answers, servers and headers of their own.
    #[arg(long = "models", value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

/// How often and how much.
#[derive(Args, Clone)]
pub struct Pace {
    /// How often charges are claimed on the chain.
    #[arg(long, value_parser = seconds, default_value = "10 minutes")]
    pub claim_every: u64,
    /// Cash of a channel under which a claim waits: a row costs some 17,000 gas. Once a week, and where a channel ends, all
    /// is claimed.
    #[arg(long, value_name = "AMOUNT", value_parser = cash, default_value = "0.1 cash")]
    pub claim_least_cash: Cash,
    /// The same in credits.
    #[arg(long, value_name = "AMOUNT", value_parser = credits, default_value = "0.1 credits")]
    pub claim_least_credits: Credits,
    /// Time between the start of a channel's withdrawal and its end: 15 minutes to 30 days.
    #[arg(long, value_parser = seconds, default_value = "1 day")]
    pub withdraw_delay: u64,
    /// Model tokens that are written at most where a request does not say.
    #[arg(long, default_value_t = 4_096)]
    pub most_written: u64,
    /// Days for which receipts can be asked for.
    #[arg(long, value_name = "DAYS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(8..))]
    pub keep_receipts: u64,
    /// Requests of one key at once.
    #[arg(long, default_value_t = 4_096)]
    pub concurrency: u32,
    /// Milliseconds that a provider may take to begin an answer.
    #[arg(long, default_value_t = 300_000)]
    pub patience_ms: u64,
    /// Milliseconds between two pieces of an answer.
    #[arg(long, default_value_t = 120_000)]
    pub silence_ms: u64,
}

/// `0.5 cash`
fn cash(text: &str) -> Result<Cash, String> {
    let amount = text.trim().strip_suffix("cash").and_then(|amount| Cash::parse(amount.trim()));
    amount.ok_or_else(|| "an amount such as \"0.5 cash\" is expected".into())
}

/// `0.5 credits`
fn credits(text: &str) -> Result<Credits, String> {
    let amount = text.trim().strip_suffix("credits").and_then(|amount| Credits::parse(amount.trim()));
    amount.ok_or_else(|| "an amount such as \"0.5 credits\" is expected".into())
}

impl Pace {
    /// As the gateway takes them.
    pub fn settings(&self, folder: &Path, plan: &Plan) -> Result<Settings> {
        if !(900..=2_592_000).contains(&self.withdraw_delay) {
            bail!("--withdraw-delay is from 15 minutes to 30 days");
        }
        let mut settings = Settings::new(folder.to_path_buf());
        settings.share_bps = plan.providers.as_ref().map_or(0, |providers| providers.share.get());
        settings.claim_every = Duration::from_secs(self.claim_every.max(1));
        settings.claim_least = [self.claim_least_credits.units(), self.claim_least_cash.units().into()];
        settings.withdraw_delay = self.withdraw_delay;
        settings.most_written = self.most_written;
        settings.bounds.receipts_days = self.keep_receipts;
        settings.concurrency_per_key = self.concurrency;
        settings.patience.head = Duration::from_millis(self.patience_ms);
        settings.patience.piece = Duration::from_millis(self.silence_ms);
        Ok(settings)
    }
}

/// The gateway of a deployment.
pub fn open(
    plan: &Plan,
    record: &Record,
    settings: Settings,
    key: Key,
    chain: impl Fn() -> Result<Chain> + Clone + Send + 'static,
) -> Result<Arc<Gateway>> {
    let at = record.contracts.clone();
    let sender = ChainThread::start(chain.clone())?;
    let chain = ChainThread::start(chain)?;
    let (cash, revenue, who) = (at.cash, at.revenue, key.address());
    let (cash_name, cash_version, roles) = chain.ask(move |chain| {
        let name = chain.call(cash, &Versioned::nameCall {})?;
        // Coins that do not say are of OpenZeppelin's version 1.
        let version = chain.call(cash, &Versioned::versionCall {}).unwrap_or_else(|_| "1".into());
        let roles = (0..4).map(|which| chain.call(revenue, &Revenue::roleCall(which)));
        Ok((name, version, roles.collect::<Result<Vec<_>, _>>()?))
    })?;
    if let Some(other) = roles.iter().find(|role| **role != who) {
        bail!(
            "the key is {who}, and Revenue's roles are {other}'s\n  hint: --key-file with the gateway's key (--as gateway on a development chain), or let the issuer rotate the roles"
        );
    }
    if plan.price_list.is_none() {
        bail!("the plan has no [price_list]: there is nothing to sell");
    }
    let place = gateway::Place {
        house: House::new(record.chain_id, at.revenue),
        settlement: Settlement { chain_id: record.chain_id, at: at.channels },
        collector: at.collector,
        coins: [(at.credit, plan.credits.name.clone(), "1".into()), (at.cash, cash_name, cash_version)],
    };
    let till = Till { chain, sender, key: key.clone(), at, confirmations: settings.confirmations };
    let prices = till.prices(0)?.unwrap_or_default();
    Gateway::open(settings, place, key, prices, Some(till))
}

/// Serves it until `shutdown` is done, then lets those in flight end.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    folder: &Path,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    gateway.names.listens_at(listener.local_addr()?);
    let file = folder.join(GATEWAY_FILE);
    std::fs::write(&file, &url).with_context(|| format!("cannot write {}", file.display()))?;
    gateway.background();
    let draining = gateway.clone();
    let drained = async move {
        shutdown.await;
        draining.drain(GRACE).await;
    };
    let workers = Workers::start().context("cannot start threads")?;
    server::serve_over(&workers, Limits::for_gateway(), listener, gateway::router(gateway.clone()), drained)
        .await;
    let _ = std::fs::remove_file(file);
    tokio::task::spawn_blocking(move || gateway.close()).await?;
    Ok(())
}

impl Serve {
    /// Serves until it is told to stop.
    pub fn run(self) -> Result<()> {
        server::take_small_pages();
        let folder = self.at.folder().to_path_buf();
        let text = std::fs::read_to_string(folder.join("deployment.json")).with_context(|| {
            format!(
                "no deployment in {}\n  hint: earnest deploy PLAN makes one, --state names another",
                folder.display()
            )
        })?;
        let Place { rpc, record } = serde_json::from_str(&text).context("deployment.json cannot be read")?;
        let plan = plan_file::read(&folder.join("plan.toml"))?;
        record.fits(&plan).map_err(anyhow::Error::msg)?;
        let sending = self.at.sending().clone();
        let opener = {
            let (folder, plan) = (folder.clone(), plan.clone());
            move || open_chain(&folder, rpc.as_deref(), &plan, &sending)
        };
        let chain = opener()?;
        let key = self.who.key(&chain)?;
        // The folder's own chain is opened once, and shared.
        let node = if let Chain::Node(node) = chain { Some(node) } else { None };
        let own = node.clone();
        let opener = move || own.clone().map_or_else(&opener, |node| Ok(Chain::Node(node)));
        let mut settings = self.pace.settings(&folder, &plan)?;
        settings.confirmations = self.at.sending().settings().confirmations.saturating_sub(1);
        settings.providers = match self.open_door {
            true => Admission::Anyone,
            false => Admission::Only(self.providers.iter().copied().collect()),
        };
        settings.names = self.names;
        settings.upstreams = self.models.upstreams(&plan, key.address())?;
        settings.dialects = self.models.named()?;
        self.models.warn_of_no_upstream()?;
        let alone = settings.upstreams.is_empty();
        if alone && matches!(&settings.providers, Admission::Only(none) if none.is_empty()) {
            bail!(
                "nobody can serve: no upstream has a model that is sold, and no provider may dial in\n  hint: --upstream URL; or --provider ADDRESS or --open-door, and {DIAL_IN}"
            );
        }
        server::raise_file_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(SocketAddr::new(self.listen, self.port)).await;
            let listener = listener.with_context(|| {
                format!("cannot listen on port {}\n  hint: --port names another, 0 takes any", self.port)
            })?;
            let gateway =
                tokio::task::spawn_blocking(move || open(&plan, &record, settings, key, opener)).await??;
            let stop = told_to_stop();
            let _shared = match node {
                Some(node) => Some(Shared::start(node, &folder).await?),
                None => None,
            };
            if alone {
                eprintln!("no upstream: until a provider has dialled in, nobody serves\n  hint: {DIAL_IN}");
            }
            println!("gateway http://{}/v1", listener.local_addr()?);
            eprintln!("keys: earnest key create --deposit \"10 credits\". Ctrl-C stops.");
            serve(gateway, listener, &folder, stop).await
        })
    }
}

/// The folder's development chain, served to other commands while the gateway has its file.
struct Shared(PathBuf);

impl Shared {
    async fn start(node: Arc<Node>, folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (file, at) = (folder.join(URL_FILE), listener.local_addr()?);
        std::fs::write(&file, format!("http://{at}/"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let (app, guard) = (rpc::router(node, Router::new()), Guard::new(at.port(), &[]));
        tokio::spawn(server::serve(listener, app, guard, std::future::pending()));
        Ok(Shared(file))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `NAME: VALUE`, or `NAME: env:VARIABLE` for what is not to stand on a command line.
fn header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    const HINT: &str = "hint: --upstream-header \"api-key: env:AZURE_KEY\"";
    let (name, value) =
        text.split_once(':').with_context(|| format!("a header without a colon\n  {HINT}"))?;
    let name: HeaderName =
        name.trim().parse().with_context(|| format!("{name:?} is no name of a header\n  {HINT}"))?;
    // How a request is written is not the upstream's to wish for.
    if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, ACCEPT_ENCODING].contains(&name) {
        bail!("the header {name} is the gateway's own\n  {HINT}");
    }
    let value = match value.trim().strip_prefix("env:") {
        Some(name) => variable("what stands behind env:", name.trim())?,
        None => value.trim().to_owned(),
    };
    let mut value =
        HeaderValue::from_str(&value).with_context(|| format!("the value of {name} is no header"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What a variable of the environment has. A name that is none may be the key itself, and is never shown; nor is a value
/// that is no text.
fn variable(given: &str, name: &str) -> Result<String> {
    if let Ok(value) = std::env::var(name) {
        return Ok(value);
    }
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        bail!(
            "{given} is the name of a variable of the environment, not the key itself\n  hint: the name is of capital letters, digits and _, such as AZURE_KEY"
        );
    }
    bail!("the environment has no {name}")
}

/// Names of the models on the price list.
pub fn plan_models(plan: &Plan) -> impl Iterator<Item = String> {
    plan.price_list.iter().flat_map(|list| &list.models).map(|model| model.name.clone())
}

/// Tells of models that are named and not sold.
pub fn warn_of_unsold(plan: &Plan, named: &BTreeMap<String, Dialect>) {
    let sold: Vec<String> = plan_models(plan).collect();
    for (name, dialect) in named.iter().filter(|(name, _)| !sold.contains(name)) {
        eprintln!(
            "warning: the plan's price list has no model {name:?}, so nobody can ask for it\n  hint: --model NAME={} serves it under one of its names: {}",
            dialect.upstream(name),
            sold.join(", ")
        );
    }
}

/// What a server of a model's own is shown: its headers, and its key.
fn elsewhere_headers(dialect: &Dialect) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &dialect.headers {
        let (name, value) = header(&format!("{name}: {value}"))?;
        headers.append(name, value);
    }
    if let Some(name) = &dialect.key_env {
        let key = variable("key_env", name)?;
        let mut value =
            HeaderValue::from_str(&format!("Bearer {key}")).context("an API key that is no header")?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// A model as a provider takes it.
pub fn model((name, dialect): (String, Dialect)) -> Result<Model> {
    let elsewhere = match &dialect.url {
        Some(url) => Some((upstream_base(url)?, elsewhere_headers(&dialect)?)),
        None => None,
    };
    Ok(Model { name, dialect, elsewhere })
}

impl Models {
    /// The models that are named, by options and in the file, with their settings.
    pub fn named(&self) -> Result<BTreeMap<String, Dialect>> {
        let mut named = match &self.settings {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                dialect::read(&text).with_context(|| {
                    let hint = dialect::unquoted(&text)
                        .map(|name| format!("\n  hint: quote names with dots: [models.{name:?}]"));
                    format!("{}{}", file.display(), hint.unwrap_or_default())
                })?
            }
            None => BTreeMap::new(),
        };
        let file = || self.settings.as_deref().unwrap_or(Path::new("--models")).display();
        for (name, settings) in &named {
            if let Some(url) = &settings.url {
                upstream_base(url).with_context(|| format!("{}: [models.{name:?}] url", file()))?;
            }
        }
        for text in &self.models {
            let (name, Dialect { upstream, answers, .. }) = Dialect::option(text);
            if name.is_empty() || text.split(['=', ',']).any(str::is_empty) {
                bail!(
                    "--model {text:?}: a name is missing\n  hint: NAME, NAME=UPSTREAM, or NAME=UPSTREAM,ANSWERS"
                );
            }
            let settings = named.entry(name).or_default();
            if !upstream.is_empty() {
                settings.upstream = upstream;
            }
            settings.answers.extend(answers);
        }
        if let Some((name, _)) = named.iter().find(|(_, settings)| {
            settings.url.is_none() && (settings.key_env.is_some() || !settings.headers.is_empty())
        }) {
            bail!(
                "{}: [models.{name:?}] has headers or key_env and no url\n  hint: those of --upstream are --upstream-header and --upstream-key-env",
                file()
            );
        }
        Ok(named)
    }

    /// The server that is asked where a model has none of its own: the one that is named, or the first of the file's.
    pub fn base(&self) -> Result<Option<String>> {
        if self.upstream.is_some() {
            return Ok(self.upstream.clone());
        }
        Ok(self.named()?.into_values().find_map(|settings| settings.url))
    }

    /// Tells that there is no server that what is named could be asked of. What bounds a request counts all the same: it is
    /// the gateway's, whoever serves.
    pub fn warn_of_no_upstream(&self) -> Result<()> {
        if self.base()?.is_some() {
            return Ok(());
        }
        let of_a_server = |settings: &Dialect| !settings.upstream.is_empty() || !settings.answers.is_empty();
        let ignored = match (&self.models[..], &self.settings) {
            ([_, ..], _) => "--model is",
            ([], Some(_)) if self.named()?.values().any(of_a_server) => {
                "upstream and answers of --models are"
            }
            _ => return Ok(()),
        };
        eprintln!(
            "warning: {ignored} ignored: there is no upstream\n  hint: --upstream URL, or url in the file that --models names"
        );
        Ok(())
    }

    /// As the gateway takes them. What they serve is the issuer's: nothing of it is paid out, all of it is burned.
    pub fn upstreams(&self, plan: &Plan, provider: Address) -> Result<Vec<Upstream>> {
        let mut named = self.named()?;
        if named.is_empty() {
            named = plan_models(plan).map(|name| (name, Dialect::default())).collect();
        }
        warn_of_unsold(plan, &named);
        let sold: Vec<String> = plan_models(plan).collect();
        named.retain(|name, _| sold.contains(name));
        let mut all: Vec<Upstream> = Vec::new();
        for (name, dialect) in named {
            let (url, key, headers) = match (&dialect.url, &self.upstream) {
                (Some(url), _) => (url.clone(), None, elsewhere_headers(&dialect)?),
                (None, Some(url)) => (url.clone(), self.key()?, self.headers()?),
                // Settings of what others serve.
                (None, None) => continue,
            };
            match all.iter_mut().find(|other| (&other.url, &other.headers) == (&url, &headers)) {
                Some(upstream) => upstream.models.push((name, dialect)),
                None => {
                    let models = vec![(name, dialect)];
                    all.push(Upstream { url, key, headers, models, concurrency: 4_096, provider });
                }
            }
        }
        Ok(all)
    }

    /// The upstream's API key.
    pub fn key(&self) -> Result<Option<String>> {
        let Some(name) = &self.upstream_key_env else { return Ok(None) };
        Ok(Some(variable("--upstream-key-env", name)?))
    }

    /// What else the upstream is shown.
    pub fn headers(&self) -> Result<HeaderMap> {
        self.upstream_headers.iter().map(|text| header(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_from_the_command_line_or_the_environment() {
        let (name, value) = header("Api-Key:  a b ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("api-key", "a b"));
        assert!(value.is_sensitive());
        // Cargo sets it.
        let (_, value) = header("x-dir: env:CARGO_MANIFEST_DIR").unwrap();
        assert_eq!(value.to_str().unwrap(), env!("CARGO_MANIFEST_DIR"));
        for (text, expected) in [
            ("api-key", "without a colon"),
            ("api key: x", "no name of a header"),
            ("x: env:EARNEST_NOT_SET", "the environment has no EARNEST_NOT_SET"),
            ("x: a\nb", "no header"),
            ("Content-Length: 1", "own"),
        ] {
            assert!(header(text).unwrap_err().to_string().contains(expected), "{text}");
        }
    }

    fn models(options: &[&str], file: Option<PathBuf>) -> Models {
        Models {
            upstream: Some("http://localhost:1/v1".into()),
            upstream_key_env: None,
            upstream_headers: Vec::new(),
            models: options.iter().map(ToString::to_string).collect(),
            settings: file,
        }
    }

    #[test]
    fn a_key_in_place_of_a_variables_name_is_never_shown() {
        let key = "sk-proj-Secret1";
        let mut models = models(&[], None);
        models.upstream_key_env = Some(key.into());
        let dialect = Dialect { key_env: Some(key.into()), ..Dialect::default() };
        for error in [
            models.key().unwrap_err(),
            elsewhere_headers(&dialect).unwrap_err(),
            header(&format!("api-key: env:{key}")).unwrap_err(),
            header("api-key: env:").unwrap_err(),
        ] {
            let told = format!("{error:?}");
            assert!(told.contains("not the key itself") && !told.contains("Secret1"), "{told}");
        }
    }

    #[test]
    fn what_is_not_sold_is_left_out() {
        let plan =
            plan_file::parse("quickstart.toml", include_str!("../../../examples/plans/quickstart.toml"))
                .unwrap();
        let sold = plan_models(&plan).next().unwrap();
        let names = |options: &[&str]| -> Vec<String> {
            let upstreams = models(options, None).upstreams(&plan, Address::ZERO).unwrap();
            upstreams.into_iter().flat_map(|upstream| upstream.models).map(|(name, _)| name).collect()
        };
        assert_eq!(names(&["nope=x"]), [""; 0]);
        assert_eq!(names(&["nope=x", &format!("{sold}=x")]), [sold]);
        assert_eq!(names(&[]).len(), plan_models(&plan).count());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_place() {
        let file = std::env::temp_dir().join(format!("earnest-models-{}.toml", std::process::id()));
        for (text, expected) in [
            ("[models.gpt-4.1]\n", "hint: quote names with dots: [models.\"gpt-4.1\"]"),
            ("[models.a]\nupstream = \"\"\n", "a name is missing"),
            ("[models.a]\nanswers = [\"\"]\n", "a name is missing"),
            (
                "[models.a]\nurl = \"localhost:1\"\n",
                "[models.\"a\"] url: \"localhost:1\" is not the base URL",
            ),
            ("[models.a]\nkey_env = \"A\"\n", "[models.\"a\"] has headers or key_env and no url"),
        ] {
            std::fs::write(&file, text).unwrap();
            let told = format!("{:#}", models(&[], Some(file.clone())).named().unwrap_err());
            assert!(told.contains(expected) && told.contains(&*file.to_string_lossy()), "{told}");
        }
        std::fs::remove_file(file).unwrap();
    }
}
