//! `earnest simulate`: ways to fund one lab under the same futures, before anyone raises a dollar.

use std::fs::File;
use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use earnest_sim::answers::{Depth, answer};
use earnest_sim::report;
use earnest_sim::run::{Kept, Workers};
use earnest_sim::study::{ROWS_MAX, Study};
use indicatif::{ProgressBar, ProgressStyle};

use crate::plan_file;

/// Compare ways to fund a lab under the same futures: distributions, differences, and where the answer flips.
///
/// No forecast and no verdict: what comes out follows from what the study believes. Ctrl-C stops; with --keep the same
/// command goes on from there.
#[derive(Args)]
pub struct Simulate {
    /// The study.
    study: PathBuf,
    /// Everything as JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Write a report that a board can read, in one file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write every path of every design as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// The same as Parquet.
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
    /// Futures, in place of the study's.
    #[arg(long)]
    paths: Option<u32>,
    /// Seed, in place of the study's.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; the numbers do not depend on them.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Keep finished work in this file and take it up from there.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

impl Simulate {
    /// Reads, runs, writes. Files are written whole or not at all.
    pub fn run(self) -> Result<()> {
        let (study, source) = self.read()?;
        let files = [&self.html, &self.csv, &self.parquet].into_iter().flatten();
        for path in files.clone() {
            // Before anything is reckoned.
            File::create(part(path)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        stop_at_ctrl_c(stop)?;
        let kept = self.keep.as_deref().map(|path| {
            Kept::open(path, source.as_bytes())
                .with_context(|| format!("cannot keep work in {}", path.display()))
        });
        let threads = self.threads.map_or_else(std::thread::available_parallelism, Ok)?.get();
        let progress = Progress::new();
        let tell = |phase: &str, done: u32, all: u32| progress.tell(phase, done, all);
        let workers = Workers { threads, progress: &tell, stop, kept: kept.transpose()? };
        let answered = answer(&study, Depth::default(), &workers);
        progress.0.lock().expect("no panic holds it").finish_and_clear();
        let (answers, table) = answered.inspect_err(|_| {
            files.for_each(|path| drop(std::fs::remove_file(part(path))));
        })?;

        if let Some(path) = &self.html {
            write(path, |file| Ok(std::io::Write::write_all(file, report::html(&answers).as_bytes())?))?;
        }
        if let Some(path) = &self.csv {
            write(path, |file| Ok(report::write_csv(&answers, &table, file)?))?;
        }
        if let Some(path) = &self.parquet {
            write(path, |file| Ok(report::write_parquet(&answers, &table, file)?))?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&answers)?);
        } else {
            print!("{}", report::terminal(&answers));
        }
        Ok(())
    }

    /// The study, and the text of everything that its numbers depend on.
    fn read(&self) -> Result<(Study, String)> {
        let mut source = std::fs::read_to_string(&self.study)
            .with_context(|| format!("cannot read {}", self.study.display()))?;
        let folder = self.study.parent().unwrap_or(Path::new("."));
        let texts = Mutex::new(String::new());
        let plans = |path: &Path| {
            let path = folder.join(path);
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let plan =
                plan_file::parse(&path.display().to_string(), &text).map_err(|error| error.to_string())?;
            texts.lock().expect("no panic holds it").push_str(&text);
            Ok(plan)
        };
        let mut study = match Study::read(&self.study.display().to_string(), &source, &plans) {
            Ok(study) => study,
            Err(faults) => bail!("the study cannot run:\n{faults}"),
        };
        study.question.paths = self.paths.unwrap_or(study.question.paths);
        study.question.seed = self.seed.unwrap_or(study.question.seed);
        let most = ROWS_MAX / study.designs.len() as u64;
        if !(2..=most).contains(&u64::from(study.question.paths)) {
            bail!("--paths is between 2 and {most} for {} designs", study.designs.len());
        }
        source.push_str(&texts.into_inner().expect("no panic holds it"));
        source.push_str(&format!("{} {}", study.question.paths, study.question.seed));
        Ok((study, source))
    }
}

/// Writes beside a file and moves it into place, so that nobody reads half of it.
fn write(path: &Path, with: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let part = part(path);
    let made = (|| -> Result<()> {
        let mut file = BufWriter::new(File::create(&part)?);
        with(&mut file)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        Ok(std::fs::rename(&part, path)?)
    })();
    made.with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// Where a file is made.
fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// The first Ctrl-C lets chunks under way end; the second ends the process.
fn stop_at_ctrl_c(stop: &'static AtomicBool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(())
}

/// One line that says how far a phase is, on stderr where that is a terminal.
struct Progress(Mutex<ProgressBar>);

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg:>20} {bar:40} {pos}/{len}").expect("a good template");
        Progress(Mutex::new(ProgressBar::new(0).with_style(style)))
    }

    fn tell(&self, phase: &str, done: u32, all: u32) {
        let bar = self.0.lock().expect("no panic holds it");
        if bar.message() != phase {
            bar.set_message(phase.to_owned());
        }
        bar.set_length(all.into());
        bar.set_position(done.into());
    }
}
