//! `earnest simulate`: ways to fund one lab under the same futures, before anyone raises a dollar.

use std::fs::File;
use std::io::{BufWriter, Write};
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
use tempfile::NamedTempFile;

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
        // Before anything is reckoned.
        let [html, csv, parquet] = self.targets()?;
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
        let (answers, table) = answered?;

        if let Some(target) = html {
            target.write(|file| Ok(file.write_all(report::html(&answers).as_bytes())?))?;
        }
        if let Some(target) = csv {
            target.write(|file| Ok(report::write_csv(&answers, &table, file)?))?;
        }
        if let Some(target) = parquet {
            target.write(|file| Ok(report::write_parquet(&answers, &table, file)?))?;
        }
        say(&if self.json {
            serde_json::to_string_pretty(&answers)? + "\n"
        } else {
            report::terminal(&answers)
        })
    }

    /// Where `--html`, `--csv` and `--parquet` go to, each of them writable and a file of its own.
    fn targets(&self) -> Result<[Option<Target>; 3]> {
        let mut taken = vec![(&self.study, same(&self.study))];
        for path in [&self.keep, &self.html, &self.csv, &self.parquet].into_iter().flatten() {
            let this = same(path);
            if let Some((other, _)) = taken.iter().find(|(_, other)| *other == this) {
                bail!("{} and {} are one file", other.display(), path.display());
            }
            taken.push((path, this));
        }
        let target = |path: &Option<PathBuf>| path.as_deref().map(Target::new).transpose();
        Ok([target(&self.html)?, target(&self.csv)?, target(&self.parquet)?])
    }

    /// The study, and the text of everything that its numbers depend on.
    fn read(&self) -> Result<(Study, String)> {
        let mut source =
            plan_file::text(&self.study).with_context(|| format!("cannot read {}", self.study.display()))?;
        let folder = self.study.parent().unwrap_or(Path::new("."));
        let texts = Mutex::new(String::new());
        let plans = |path: &Path| {
            let path = folder.join(path);
            let text = plan_file::text(&path).map_err(|error| error.to_string())?;
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

/// A file to write: beside itself and then moved into place, so that nobody reads half of it; what is no plain file is
/// written straight.
struct Target {
    shown: PathBuf,
    to: To,
}

enum To {
    Beside(NamedTempFile, PathBuf),
    Straight(File),
}

impl Target {
    fn new(path: &Path) -> Result<Self> {
        let open = || -> Result<To> {
            // Through links, so that what they lead to is written.
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            if real.is_dir() {
                bail!("it is a folder");
            }
            if real.exists() && !real.is_file() {
                return Ok(To::Straight(File::options().write(true).open(&real)?));
            }
            let folder =
                real.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut builder = tempfile::Builder::new();
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            Ok(To::Beside(builder.tempfile_in(folder)?, real))
        };
        let to = open().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Target { shown: path.to_owned(), to })
    }

    fn write(self, with: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>) -> Result<()> {
        let shown = self.shown.display().to_string();
        let mut to = self.to;
        let made = (|| -> Result<()> {
            let file = match &mut to {
                To::Beside(file, _) => file.as_file_mut(),
                To::Straight(file) => file,
            };
            let mut buffer = BufWriter::new(file);
            with(&mut buffer)?;
            buffer.flush()?;
            drop(buffer);
            if let To::Beside(file, place) = to {
                file.as_file().sync_all()?;
                file.persist(place)?;
            }
            Ok(())
        })();
        made.with_context(|| format!("cannot write {shown}"))?;
        eprintln!("wrote {shown}");
        Ok(())
    }
}

/// A path by which the same file is known again, whether or not it is there yet.
fn same(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    path.canonicalize().unwrap_or_else(|_| {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
    })
}

/// Writes to stdout. Whoever has stopped reading has read enough.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
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
