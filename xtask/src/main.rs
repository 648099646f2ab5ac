//! The kitchen behind `justfile` and `.ci/run`: what needs more than cargo alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::{Map, Value};

/// Builds, checks and measures Earnest.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing from npm and PyPI, then run every check and test.
    Test,
    /// Compile the contracts with npm's solc into contracts/artifacts.
    Contracts {
        /// Change nothing; fail if the artifacts are not what the sources give.
        #[arg(long)]
        check: bool,
    },
    /// Measure gas on the embedded EVM.
    Gas {
        /// One JSON object on stdout.
        #[arg(long)]
        json: bool,
        /// Fail where a figure differs from bench/gas.json or exceeds its bar.
        #[arg(long)]
        check: bool,
        /// Write the figures to bench/gas.json.
        #[arg(long, conflicts_with = "check")]
        save: bool,
    },
    /// Run lockstep stories of model and contracts.
    Lockstep {
        /// How many.
        #[arg(default_value_t = 300)]
        stories: u64,
    },
    /// Run a long random test, with the seeds of its numbers: too long for every day.
    Campaign {
        /// Which.
        name: Campaign,
        /// How many runs.
        #[arg(default_value_t = 10_000)]
        runs: u64,
    },
    /// Install servers that take long to install, put each behind the gateway, as an upstream of its own and through a
    /// provider that dialled in, and hold what is charged to what the server itself counted: too long for every day.
    ///
    /// They are installed once, from PyPI, into target/upstreams: llama-cpp-python is compiled, which takes CMake's time and a
    /// C++ compiler; torch brings CUDA with it, and takes 6 GB. Their models are a few kilobytes of noise, made here.
    Upstreams {
        /// Only this one.
        server: Option<Server>,
    },
    /// Measure speed.
    Bench {
        /// What: clearing and allocating a million bids; indexing a million events; pages with ten thousand bids in the
        /// book, in a browser; bids sent to `earnest up` by many at once; what the gateway adds to a request, beside
        /// LiteLLM's and Portkey's; how late the pieces of streams are, and what idle streams hold; memory over half a
        /// million requests; months that the simulator lives through, beside radCAD's and cadCAD's.
        #[arg(default_value = "clearing")]
        part: Part,
        /// One JSON object on stdout.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Server {
    /// The server of llama-cpp-python.
    LlamaCppPython,
    /// `transformers serve`.
    Transformers,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Campaign {
    /// A searching adversary at the gateway's doors, and answers that no fixture has.
    Gateway,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    Clearing,
    Gateway,
    Index,
    Memory,
    Portal,
    Simulate,
    Streams,
    Up,
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Test => test(),
        Task::Contracts { check } => contracts(check),
        Task::Gas { json, check, save } => gas(json, check, save),
        Task::Lockstep { stories } => {
            let test =
                ["test", "--release", "-p", "earnest-chain", "--test", "it", "lockstep", "--", "--nocapture"];
            run(cargo(&test).env("EARNEST_STORIES", stories.to_string()))
        }
        Task::Campaign { name: Campaign::Gateway, runs } => {
            let test = [
                "test",
                "--release",
                "-p",
                "earnest-serve",
                "--test",
                "it",
                "gateway::campaign",
                "--",
                "--nocapture",
            ];
            run(cargo(&test).env("EARNEST_RUNS", runs.to_string()))
        }
        Task::Upstreams { server } => upstreams(server),
        Task::Bench { part: Part::Up, json } => bench_up(json),
        Task::Bench { part: Part::Clearing, json } => example("earnest-core", "clearing", &[], json),
        Task::Bench { part: Part::Portal, .. } => bench_portal(),
        Task::Bench { part: Part::Gateway, json } => bench_gateway("latency", true, json),
        Task::Bench { part: Part::Streams, json } => bench_gateway("streams", true, json),
        Task::Bench { part: Part::Memory, json } => bench_gateway("memory", false, json),
        Task::Bench { part: Part::Index, json } => example("earnest-chain", "index", &[], json),
        Task::Bench { part: Part::Simulate, json } => {
            let python = python("e2e/peers/simulate")?;
            let python = python.to_str().context("a path that is no text")?;
            example("earnest-sim", "simulate_bench", &[python], json)
        }
    }
}

/// Runs a measurement.
fn example(package: &str, name: &str, arguments: &[&str], json: bool) -> Result<()> {
    let mut args = vec!["run", "--quiet", "--release", "-p", package, "--example", name, "--"];
    args.extend(arguments);
    if json {
        args.push("--json");
    }
    run(&mut cargo(&args))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if status.success() { Ok(()) } else { bail!("failed: {shown}") }
}

/// Runs what installs something: its words are not this program's output.
fn install(command: &mut Command) -> Result<()> {
    run(command.stdout(std::io::stderr()))
}

/// Node's packages as a folder's package-lock.json has them. `contracts`: solc, OpenZeppelin, anvil; `e2e`: what wallets
/// and pages are built with.
fn node_modules(folder: &str) -> Result<PathBuf> {
    let folder = root().join(folder);
    let installed = folder.join("node_modules/.package-lock.json");
    let age = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if age(&installed) < age(&folder.join("package-lock.json")) {
        // Not `npm ci`: it wants the lock file to have anvil's packages for every platform, and npm only writes this one's.
        let arguments = ["install", "--no-save", "--no-audit", "--no-fund"];
        install(Command::new("npm").args(arguments).current_dir(&folder))
            .context("npm is needed for the contracts and for the clients they are tried with: install Node.js 20 or later")?;
    }
    Ok(folder.join("node_modules"))
}

/// A Python with the packages that a folder's requirements.txt names, in a virtual environment beside it. `e2e/python`:
/// OpenAI's clients, llama.cpp's server, LiteLLM's proxy and SALib; `e2e/peers`: what the gateway is measured beside;
/// `e2e/peers/simulate`: what the simulator is.
fn python(folder: &str) -> Result<PathBuf> {
    environment(&root().join(folder).join("requirements.txt"), &root().join(folder).join(".venv"), None, &[])
}

/// Other versions of openai-python than `e2e/python` has, by whose uv they are installed.
fn other_openai_pythons(python: &Path) -> Result<std::ffi::OsString> {
    let uv = python.with_file_name("uv");
    let other = |folder: &str| {
        let folder = root().join(folder);
        environment(&folder.join("requirements.txt"), &folder.join(".venv"), Some(&uv), &[])
    };
    Ok(std::env::join_paths([other("e2e/python/older")?, other("e2e/python/newest")?])?)
}

/// A virtual environment with what a file of requirements wants, by a uv that is there or one of its own, built with some
/// variables where it is built.
fn environment(wanted: &Path, at: &Path, uv: Option<&Path>, variables: &[(&str, &str)]) -> Result<PathBuf> {
    let bin = at.join("bin");
    // Written when everything is there: an installation that was stopped begins anew.
    let installed = at.join("requirements.txt");
    if std::fs::read(&installed).ok() != Some(std::fs::read(wanted)?) {
        let hint = "Python 3.10 or later, for radCAD up to 3.12, with venv and pip is needed for the clients and peers";
        let uv = match uv {
            // 1 second for what takes Python's own venv 10.
            Some(uv) => {
                let create = ["venv", "--quiet", "--clear", "--python", "python3"];
                install(Command::new(uv).args(create).arg(at)).context(hint)?;
                uv.to_owned()
            }
            None => {
                let create = ["-m", "venv", "--clear"];
                install(Command::new("python3").args(create).arg(at)).context(hint)?;
                // uv takes 4 seconds for what takes pip a minute.
                let uv = ["install", "--quiet", "--no-compile", "uv==0.13.9"];
                install(Command::new(bin.join("pip")).args(uv)).context(hint)?;
                bin.join("uv")
            }
        };
        let arguments = ["pip", "install", "--quiet", "--requirement"];
        let mut uv = Command::new(uv);
        uv.args(arguments)
            .arg(wanted)
            .arg("--python")
            .arg(bin.join("python"))
            .envs(variables.iter().copied());
        install(&mut uv).context(hint)?;
        std::fs::copy(wanted, &installed)?;
    }
    Ok(bin.join("python"))
}

/// llama-cpp-python without what its own server does not need: it is compiled in minutes.
const SMALL_LLAMA_CPP: &str = "-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DCMAKE_C_FLAGS_RELEASE=-O1";

fn upstreams(only: Option<Server>) -> Result<()> {
    let test =
        ["test", "--release", "-p", "earnest", "--test", "it", "take_long_to_install", "--", "--nocapture"];
    let mut test = cargo(&test);
    for (server, name, variable) in [
        (Server::LlamaCppPython, "llama-cpp-python", "EARNEST_LLAMA_CPP_PYTHON"),
        (Server::Transformers, "transformers", "EARNEST_TRANSFORMERS"),
    ] {
        if only.is_none_or(|only| only == server) {
            let wanted = root().join("e2e/upstreams").join(name).with_extension("txt");
            eprintln!("{name}: installed in target/upstreams where it is not there yet");
            let at = root().join("target/upstreams").join(name);
            test.env(variable, environment(&wanted, &at, None, &[("CMAKE_ARGS", SMALL_LLAMA_CPP)])?);
        }
    }
    run(&mut test)
}

/// The node itself, not npm's wrapper around it: the wrapper leaves it running when it is stopped.
fn anvil(modules: &Path) -> Result<PathBuf> {
    let packages = std::fs::read_dir(modules.join("@foundry-rs"))?;
    let binaries = packages.filter_map(|package| Some(package.ok()?.path().join("bin/anvil")));
    let mut native = binaries.filter(|path| std::fs::read(path).is_ok_and(|bytes| !bytes.starts_with(b"#!")));
    native.next().context("npm installed no anvil for this machine")
}

/// A Chromium, from Debian's packages where there is none.
fn chromium() -> Result<PathBuf> {
    of_debian(
        &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
        "chromium",
        "browser",
    )
}

/// A program on the path under one of these names, else of Debian's package; `tests` need it.
fn of_debian(names: &[&str], package: &str, tests: &str) -> Result<PathBuf> {
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        names
            .iter()
            .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        install(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let wanted = ["install", "-y", "--no-install-recommends", package];
    // Without its lists apt knows no packages at all.
    apt(&wanted).or_else(|_| apt(&["update"]).and_then(|()| apt(&wanted))).with_context(|| {
        format!("the {tests} tests need one of {} on the path: install it", names.join(", "))
    })?;
    find().with_context(|| format!("apt installed no {package}"))
}

fn contracts(check: bool) -> Result<()> {
    node_modules("contracts")?;
    let folder = root().join("contracts");
    let fresh = if check { root().join("target/artifacts") } else { folder.join("artifacts") };
    run(Command::new("node").arg("compile.mjs").arg(&fresh).current_dir(&folder))?;
    if !check {
        return Ok(());
    }
    let files = |folder: &Path| -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().context("a file")?.to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path)?));
        }
        files.sort();
        Ok(files)
    };
    if files(&fresh)? != files(&folder.join("artifacts"))? {
        bail!("contracts/artifacts is stale\n  hint: cargo xtask contracts, and commit what it changes");
    }
    println!("contracts/artifacts is fresh");
    Ok(())
}

/// What the figures may be at most.
const GAS_BARS: &[(&str, u64)] = &[
    ("bid_existing_tick", 90_000),
    ("bid_new_tick", 110_000),
    ("raise_bid", 75_000),
    ("clear_per_tick", 3_500),
    ("clear_full_book", 15_000_000),
    ("settle_winner", 65_000),
    ("settle_marginal", 80_000),
    ("settle_loser", 45_000),
    ("deliver", 90_000),
    ("deliver_first_locked", 190_000),
    ("claim_row", 17_000),
    // 25 a request, where a row is a thousand requests.
    ("claim_10_rows", 250_000),
    ("claim_pay", 65_000),
];

fn gas(json: bool, check: bool, save: bool) -> Result<()> {
    let example = ["run", "--quiet", "--release", "-p", "earnest-chain", "--example", "gas"];
    let output = cargo(&example).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the gas bench failed");
    }
    let text = String::from_utf8(output.stdout)?;
    let figures: Map<String, Value> = serde_json::from_str(&text)?;
    let file = root().join("bench/gas.json");
    if json {
        print!("{text}");
    } else {
        for (name, gas) in &figures {
            let bar = GAS_BARS.iter().find(|(bar, _)| bar == name);
            println!(
                "{name:26} {:>12}  {}",
                gas.to_string(),
                bar.map_or(String::new(), |(_, most)| format!("≤ {most}"))
            );
        }
    }
    if save {
        std::fs::create_dir_all(root().join("bench"))?;
        std::fs::write(&file, &text)?;
    }
    if check {
        let saved: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        if saved != figures {
            bail!(
                "gas differs from bench/gas.json\n  hint: cargo xtask gas --save, and say why in the commit"
            );
        }
        for (name, most) in GAS_BARS {
            let gas = figures
                .get(*name)
                .and_then(Value::as_u64)
                .with_context(|| format!("no figure for {name}"))?;
            if gas > *most {
                bail!("{name} takes {gas} gas, and the bar is {most}");
            }
        }
        let docs = std::fs::read_to_string(root().join("docs/gas.md"))?;
        for (name, gas) in &figures {
            let shown = grouped(gas.as_u64().with_context(|| format!("{name} is not a number"))?);
            if GAS_BARS.iter().any(|(bar, _)| bar == name) && !docs.contains(&format!("| {shown} |")) {
                bail!("docs/gas.md does not say that {name} takes {shown}");
            }
        }
        println!("gas is as in bench/gas.json and docs/gas.md, and under every bar");
    }
    Ok(())
}

/// Least durable bids a second that `earnest up` takes on two processors, the senders' work included.
const BIDS_PER_SEC: f64 = 2_000.0;

fn bench_up(json: bool) -> Result<()> {
    run(&mut cargo(&["build", "--quiet", "--release", "-p", "earnest"]))?;
    let example = ["run", "--quiet", "--release", "-p", "earnest-serve", "--example", "load", "--"];
    let sizes = ["target/release/earnest", "examples/plans/quickstart.toml", "4000", "128", "5"];
    let output =
        cargo(&[&example[..], &sizes[..]].concat()).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the load test failed");
    }
    let text = String::from_utf8(output.stdout)?;
    let figures: Value = serde_json::from_str(&text)?;
    let rate = figures["durable_bids_per_sec"].as_f64().context("a rate")?;
    if json {
        print!("{text}");
    } else {
        println!("{rate} durable bids a second, median of {}; the bar is {BIDS_PER_SEC}", figures["runs"]);
    }
    if rate < BIDS_PER_SEC {
        bail!("{rate} bids a second is under the bar of {BIDS_PER_SEC}");
    }
    Ok(())
}

/// The gateway, as it is deployed, before an upstream that answers in 20 ms.
fn bench_gateway(what: &str, peers: bool, json: bool) -> Result<()> {
    run(&mut cargo(&["build", "--quiet", "--profile", "dist", "-p", "earnest"]))?;
    let example =
        ["run", "--quiet", "--release", "-p", "earnest-serve", "--example", "gateway_load", "--", what];
    let mut load = cargo(&example);
    load.arg("--gateway").arg(root().join("target/dist/earnest"));
    load.arg(root().join("examples/plans/quickstart.toml"));
    if peers {
        node_modules("e2e/peers")?;
        python("e2e/peers")?;
        load.arg("--peers").arg(root().join("e2e/peers"));
    }
    if json {
        load.arg("--json");
    }
    run(&mut load)
}

/// Weight of the portal's pages, and when they can be used.
fn bench_portal() -> Result<()> {
    let anvil = anvil(&node_modules("contracts")?)?;
    node_modules("e2e")?;
    run(&mut cargo(&["build", "--quiet", "--release", "-p", "earnest"]))?;
    run(&mut cargo(&["build", "--quiet", "--release", "-p", "earnest-serve", "--example", "portal"]))?;
    let script = Command::new("node")
        .arg(root().join("e2e/portal/weight.mjs"))
        .env("EARNEST_ANVIL", anvil)
        .env("EARNEST_CHROMIUM", chromium()?)
        .status()?;
    if script.success() { Ok(()) } else { bail!("a page is too heavy, or too slow") }
}

/// Thousands set apart by commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join(",")
}

fn test() -> Result<()> {
    let anvil = anvil(&node_modules("contracts")?)?;
    let clients = node_modules("e2e")?;
    let (chromium, python) = (chromium()?, python("e2e/python")?);
    let (curl, other_openai) = (of_debian(&["curl"], "curl", "gateway's")?, other_openai_pythons(&python)?);
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    contracts(true)?;
    // The fuzz targets need a nightly compiler; that their lock file is fresh does not.
    let fuzz = ["metadata", "--locked", "--format-version", "1", "--manifest-path", "fuzz/Cargo.toml"];
    run(cargo(&fuzz).stdout(std::process::Stdio::null()))?;
    run(&mut cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo(&["test", "--release", "--workspace"])
        .env("EARNEST_ANVIL", anvil)
        .env("EARNEST_E2E", clients)
        .env("EARNEST_CHROMIUM", chromium)
        .env("EARNEST_PYTHON", python)
        .env("EARNEST_OPENAI_PYTHONS", other_openai)
        .env("EARNEST_CURL", curl)
        .env("EARNEST_SHOTS", root().join("target/shots")))?;
    gas(false, true, false)
}
