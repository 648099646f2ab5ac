//! `earnest receipt`: what the gateway signed for each request, checked without asking anyone.

use std::path::PathBuf;

use alloy_primitives::Address;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use earnest_chain::voucher::House;
use earnest_serve::gateway::amount;
use earnest_serve::gateway::receipt::{self, Receipt};

use crate::session::{Place, Where};

/// Receipts of requests.
#[derive(Subcommand)]
pub enum ReceiptCommand {
    /// Check signature and sum of a receipt, offline.
    Verify(Verify),
}

#[derive(Args)]
pub struct Verify {
    /// The receipt: a file with the JSON, or with what `x-earnest-receipt` or a stream's comment said; `-` is stdin.
    file: PathBuf,
    #[command(flatten)]
    at: Where,
    /// Who must have signed. Without it, who had the gateway's roles when the offering was deployed.
    #[arg(long, value_name = "ADDRESS")]
    signer: Option<Address>,
    /// As JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl ReceiptCommand {
    /// Does it.
    pub fn run(self) -> Result<()> {
        let ReceiptCommand::Verify(verify) = self;
        let text = match verify.file.to_str() {
            Some("-") => std::io::read_to_string(std::io::stdin())?,
            _ => std::fs::read_to_string(&verify.file)
                .with_context(|| format!("cannot read {}", verify.file.display()))?,
        };
        let file = verify.at.folder().join("deployment.json");
        let place = std::fs::read_to_string(&file).with_context(|| {
            format!("no deployment in {}\n  hint: --state names its folder", verify.at.folder().display())
        })?;
        let Place { record, .. } =
            serde_json::from_str(&place).with_context(|| format!("{} cannot be read", file.display()))?;
        let house = House::new(record.chain_id, record.contracts.revenue);
        let receipt =
            Receipt::verify(&receipt::read(&text)?, house, verify.signer.unwrap_or(record.gateway))?;
        if verify.json {
            println!("{}", serde_json::to_string_pretty(&receipt)?);
            return Ok(());
        }
        let whole = if receipt.complete { "answered whole" } else { "cut off" };
        println!("good: request {} to {}, {whole}", receipt.id, receipt.model);
        println!(
            "  {} model tokens in ({} cached), {} out, at version {} of the price list: {}",
            receipt.usage.input,
            receipt.usage.cached,
            receipt.usage.output,
            receipt.price_version,
            amount(receipt.coin, receipt.charge)
        );
        println!("  served by {}", receipt.provider);
        Ok(())
    }
}
