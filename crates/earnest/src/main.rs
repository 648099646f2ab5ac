//! The command line of Earnest. Data goes to stdout, words to stderr; `--json` everywhere.

mod crowd;
mod demo;
mod output;
mod plan_file;

use clap::{Parser, Subcommand};

/// Raise money by an offering of service credits, hold it so that backers can call it back, pay them in service.
///
/// Unaudited: no real funds. Not legal advice.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
