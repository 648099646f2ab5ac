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
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
