//! The portal beside a node that runs elsewhere, with an attester that approves everyone: for trying it out and for the
//! browser tests. `portal FOLDER` serves the deployment in a folder that `earnest deploy` made.

use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::Address;
use anyhow::{Context, Result};
use axum::extract::{Json, State};
use axum::routing::post;
use axum::{Router, serve};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Record, mint_cash};
use earnest_chain::index::Index;
use earnest_chain::key::Key;
use earnest_chain::permit::{Approval, SignedPermit};
use earnest_chain::rpc::Rpc;
use earnest_core::money::Cash;
use earnest_core::plan::Plan;
use earnest_serve::portal::{Faucet, Portal, router};
use serde_json::{Value, json};

/// What the faucet gives.
const DRINK: Cash = Cash::from_units(100_000_000_000);

struct Desk {
    plan: Plan,
    record: Record,
    url: String,
}

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("a folder is expected")?);
    let text = std::fs::read_to_string(folder.join("plan.toml")).context("the plan")?;
    let (plan, _) = Plan::read("plan.toml", &text).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let place: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("deployment.json"))?)?;
    let url = place["rpc"].as_str().context("a deployment on a node")?.to_owned();
    let record: Record = serde_json::from_value(place)?;
    let (desk, node) = (Desk { plan: plan.clone(), record: record.clone(), url: url.clone() }, url.clone());

    let cash = record.contracts.cash;
    let faucet: Faucet = Box::new(move |chain, wallet| {
        // The first account of every anvil deployed the coin, and mints it.
        let key =
            std::env::var("EARNEST_KEY").map_err(|_| "EARNEST_KEY does not say who mints".to_owned())?;
        let key = Key::parse(&key).map_err(|error| error.to_string())?;
        mint_cash(chain, &key, cash, wallet, DRINK.units()).map_err(|error| error.to_string())?;
        Ok(format!("{DRINK} came."))
    });
    let portal = Portal {
        index: Index::open(None, &plan, &record)?,
        plan,
        record,
        folder,
        chain: Box::new(move || Ok(Chain::Rpc(Rpc::connect(&url)?))),
        node: Some(node),
        attester: true,
        faucet: Some(faucet),
        gateway: None,
        reports: None,
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let attester = Router::new()
            .route("/attester/challenge", post(challenge))
            .route("/attester/permit", post(permit))
            .with_state(Arc::new(desk));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("Listening on http://{}", listener.local_addr()?);
        Ok(serve(listener, router(portal).merge(attester)).await?)
    })
}

async fn challenge(Json(ask): Json<Value>) -> Json<Value> {
    Json(json!({ "message": format!("Example asks you to sign in with {}", ask["wallet"]) }))
}

async fn permit(State(desk): State<Arc<Desk>>, Json(ask): Json<Value>) -> Json<Value> {
    let signed = tokio::task::spawn_blocking(move || approve(&desk, &ask)).await;
    Json(match signed {
        Ok(Ok(permit)) => json!(permit),
        Ok(Err(error)) => json!({ "error": error.to_string(), "hint": "look at the attester" }),
        Err(error) => json!({ "error": error.to_string(), "hint": "look at the attester" }),
    })
}

fn approve(desk: &Desk, ask: &Value) -> Result<SignedPermit> {
    let wallet: Address = ask["wallet"].as_str().context("a wallet")?.parse()?;
    let round = u8::try_from(ask["round"].as_u64().context("a round")?)?;
    let now = Rpc::connect(&desk.url)?.time()?;
    let sale = desk.plan.rounds.get(usize::from(round)).context("a round of the plan")?;
    let cools =
        |name: &&String| desk.plan.regime(name).is_some_and(|(_, regime)| regime.cooling_off_days > 0);
    let approval = Approval {
        entity: u64::from_be_bytes(wallet[..8].try_into()?) >> 24,
        regime: sale.regimes.iter().find(cools).cloned(),
        valid_secs: 30 * 86_400,
        ..Approval::default()
    };
    let key = Key::from_words("earnest dev attester");
    Ok(SignedPermit::issue(&desk.plan, &desk.record, (&key, 1), wallet, round, &approval, now)?)
}
