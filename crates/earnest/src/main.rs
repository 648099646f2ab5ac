//! The command line of Earnest. Data goes to stdout, words to stderr; `--json` everywhere.

mod attester;
mod audit;
mod check;
mod crowd;
mod demo;
mod deploy;
mod gateway;
mod key;
mod offering;
mod output;
mod permit;
mod plan_file;
mod position;
mod provider;
mod receipt;
mod sending;
mod session;
mod simulate;
mod spend;
mod status;
mod treasury;
mod up;

use clap::{Parser, Subcommand};

/// A gateway makes some hundred small pieces for each request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    Init(check::Init),
    Check(check::Check),
    Simulate(simulate::Simulate),
    Demo(demo::Demo),
    Deploy(deploy::Deploy),
    #[command(subcommand)]
    Permit(permit::Permit),
    Attester(attester::Attester),
    #[command(subcommand)]
    Offering(offering::Offering),
    #[command(subcommand)]
    Position(position::Position),
    #[command(subcommand)]
    Treasury(treasury::Treasury),
    Status(status::Status),
    Audit(audit::Audit),
    Clock(status::Clock),
    Faucet(status::Faucet),
    Up(up::Up),
    Gateway(gateway::Serve),
    Provider(provider::Provider),
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Init(init) => init.run(),
        Command::Check(check) => check.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Demo(demo) => demo.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Permit(permit) => permit.run(),
        Command::Attester(attester) => attester.run(),
        Command::Offering(offering) => offering.run(),
        Command::Position(position) => position.run(),
        Command::Treasury(treasury) => treasury.run(),
        Command::Status(status) => status.run(),
        Command::Audit(audit) => audit.run(),
        Command::Clock(clock) => clock.run(),
        Command::Faucet(faucet) => faucet.run(),
        Command::Up(up) => up.run(),
        Command::Gateway(gateway) => gateway.run(),
        Command::Provider(provider) => provider.run(),
        Command::Key(key) => key.run(),
        Command::Receipt(receipt) => receipt.run(),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_full(&error));
            std::process::ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, and behind them what can be done, wherever in them it stood.
fn in_full(error: &anyhow::Error) -> String {
    let (mut words, mut hints) = (Vec::new(), Vec::new());
    for message in error.chain().map(ToString::to_string) {
        let (said, hint) = message.split_at(message.find("\n  hint: ").unwrap_or(message.len()));
        words.push(said.trim_end().to_owned());
        hints.push(hint.trim_end().to_owned());
    }
    hints.dedup();
    words.join(": ") + &hints.concat()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn hints_stand_behind_all_that_is_told() {
        let plain = anyhow!("no").context("cannot open x");
        assert_eq!(in_full(&plain), format!("{plain:#}"));
        let error = Err::<(), _>(anyhow!("refused\n  hint: ask again\n  and again"))
            .context("in the middle\n")
            .context("cannot listen\n  hint: --port 0")
            .unwrap_err();
        let told = "cannot listen: in the middle: refused\n  hint: --port 0\n  hint: ask again\n  and again";
        assert_eq!(in_full(&error), told);
    }
}
