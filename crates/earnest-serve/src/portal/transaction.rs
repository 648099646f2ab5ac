//! Transactions, made here and tried out before any wallet is asked: what each does in words with its amounts, and why
//! the contract would refuse it.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use earnest_chain::bindings::{Offering, Treasury, Vault};
use earnest_chain::chain::Chain;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_core::money::{Cash, Credits};
use earnest_core::offering::{LIVE, Status};
use earnest_core::plan::date::{duration, utc};
use earnest_core::raise::Holder;
use serde::{Deserialize, Serialize};

use super::keeper::View;
use super::words::{Refusal, Speaker};
use super::{At, Problem, Shared, bid, desk, positions};

/// Ticks or windows of one clearing transaction: fits into any block.
const CLEAR_STEPS: u64 = 400;
/// Attempts to find out why a transaction failed are words too; the longest name of an action is short.
const MOST_HOURS: u64 = 24 * 365;

/// What can be asked of every action but a bid.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    wallet: Address,
    bid: Option<String>,
    round: Option<String>,
    subject: Option<String>,
    cash: Option<String>,
    to: Option<String>,
    hours: Option<String>,
    evidence: Option<String>,
}

/// What is found out before signing.
#[derive(Serialize)]
pub(super) struct Check {
    pub(super) ok: bool,
    pub(super) words: String,
}

/// What the wallet is asked to do next.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Step {
    /// Send this, and all is done.
    Send { to: Address, data: Bytes },
    /// Send this first, then ask again.
    Approve { to: Address, data: Bytes },
    /// Sign this, then ask again with the signature.
    Sign { typed_data: serde_json::Value, value: String, deadline: u64 },
    /// Nothing: it would be refused.
    Refused { refused: Refusal },
    /// Sign this, then ask again with the signature in this field, and with what is to be kept.
    SignOn {
        typed_data: serde_json::Value,
        field: &'static str,
        waiting: &'static str,
        keep: serde_json::Value,
    },
    /// Send this, then ask again with what is to be kept.
    SendOn { to: Address, data: Bytes, keep: serde_json::Value },
    /// Sign this order and give it to the gateway: channel and order are JSON, and go out as they are.
    Order { typed_data: serde_json::Value, channel: String, order: String, time: u64 },
}

/// A transaction in words.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) title: String,
    pub(super) words: Vec<String>,
    pub(super) checks: Vec<Check>,
    #[serde(flatten)]
    pub(super) step: Step,
}

/// Makes one, tries it out, says what it does.
pub(super) async fn make(
    State(shared): At,
    Path(action): Path<String>,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    if action == "bid" {
        let ask = read(&body)?;
        return shared.ask(move |shared, chain| bid::answer(shared, chain, ask)).await?.map(Json);
    }
    if action.starts_with("key-") {
        let ask = read(&body)?;
        return shared.ask(move |shared, chain| desk::answer(shared, chain, &action, ask)).await?.map(Json);
    }
    let ask: Ask = read(&body)?;
    let answer = move |shared: &Shared, chain: &mut Chain| {
        let view = shared.view();
        let (title, words, to, data) = call(shared, &view, &action, &ask)?;
        let step = tried(shared, chain, ask.wallet, to, data);
        Ok(Answer { title, words, checks: Vec::new(), step })
    };
    shared.ask(answer).await?.map(Json)
}

/// A body as JSON, with words for what is wrong with it.
pub(super) fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad(format!("What was sent cannot be read: {error}."), "Reload the page and try again.")
    })
}

/// Tries a transaction out as that wallet.
pub(super) fn tried(shared: &Shared, chain: &mut Chain, wallet: Address, to: Address, data: Bytes) -> Step {
    // A call to nothing goes through and does nothing.
    if chain.code(to).is_ok_and(|code| code.is_empty()) {
        let refused = Refusal {
            what: "There is no contract yet at the address that this would go to.".into(),
            remedy: "Look at the position first: a vault is made by its first delivery.".into(),
        };
        return Step::Refused { refused };
    }
    match chain.call_from(wallet, to, data.clone()) {
        Ok(_) => Step::Send { to, data },
        Err(error) => {
            let refused = Speaker { plan: &shared.plan, coins: &shared.coins }.explain(&error);
            Step::Refused { refused }
        }
    }
}

type Made = (String, Vec<String>, Address, Bytes);

fn call(shared: &Shared, view: &View, action: &str, ask: &Ask) -> Result<Made, Problem> {
    let contracts = &shared.record.contracts;
    let made = |title: &str, words: Vec<String>, to: Address, call: Vec<u8>| {
        Ok((title.to_owned(), words, to, Bytes::from(call)))
    };
    match action {
        "clear" => {
            let round = ask.round(shared)?;
            let call = Offering::clearCall { index: U256::from(round), steps: U256::from(CLEAR_STEPS) };
            let words = vec![
                format!("Clears {}: finds the price and fixes who bought.", positions::name(shared, round)),
                format!(
                    "It looks at up to {CLEAR_STEPS} prices or windows; a larger book takes several transactions."
                ),
                "You pay only the network\u{2019}s fee.".to_owned(),
            ];
            made("Clear a round", words, contracts.offering, call.abi_encode())
        }
        "sweep" => {
            let round = ask.round(shared)?;
            let state = &view.raise.offering.rounds[usize::from(round)];
            let units = (state.proceeds + state.dust).saturating_sub(state.swept);
            let words = vec![format!(
                "Moves {} from {} into its pot of the treasury.",
                shared.coins.cash(Cash::from_units(units)),
                positions::name(shared, round)
            )];
            made(
                "Sweep proceeds",
                words,
                contracts.offering,
                Offering::sweepCall { index: U256::from(round) }.abi_encode(),
            )
        }
        "pause" => {
            let round = ask.round(shared)?;
            let hours = ask.number("hours", ask.hours.as_deref(), MOST_HOURS)?;
            let words = vec![match hours {
                0 => format!("Ends the pause of {} now.", positions::name(shared, round)),
                hours => format!(
                    "Stops bids in {} for {} and moves its close by as much.",
                    positions::name(shared, round),
                    duration(hours * 3_600)
                ),
            }];
            let call = Offering::pauseCall { index: U256::from(round), secs: U256::from(hours * 3_600) };
            made("Pause bids", words, contracts.offering, call.abi_encode())
        }
        "attest" | "object" => attestation(shared, view, action, ask),
        "sync" => {
            let words = vec!["Moves the share of delivered credits to the circulating pot.".to_owned()];
            made("Bring the pots up to date", words, contracts.treasury, Treasury::syncCall {}.abi_encode())
        }
        "draw" => {
            let cash = cash(ask.cash.as_deref().unwrap_or_default())?;
            let to = match ask.to.as_deref().map(str::trim).filter(|to| !to.is_empty()) {
                None => ask.wallet,
                Some(text) => text.parse().map_err(|_| {
                    Problem::bad("The payee is not an address.", "Give 0x and 40 digits, or leave it empty.")
                })?,
            };
            let words = vec![
                format!("Takes {} from all pots in proportion and pays it to {to}.", shared.coins.cash(cash)),
                format!("The tap has {} available.", shared.coins.cash(view.summary.treasury.available)),
            ];
            let call = Treasury::drawCall { amount: U256::from(cash.units()), to };
            made("Draw from the tap", words, contracts.treasury, call.abi_encode())
        }
        "withdraw" | "settle" | "refund" | "deliver" | "pot-refund" | "release" => {
            of_bid(shared, view, action, ask)
        }
        _ => Err(Problem::missing("There is no such action.")),
    }
}

fn attestation(shared: &Shared, view: &View, action: &str, ask: &Ask) -> Result<Made, Problem> {
    let most = shared.plan.treasury.milestones.len() as u64;
    let subject = ask.number("subject", ask.subject.as_deref(), most)?;
    let index = usize::try_from(subject).unwrap_or(0);
    let name = match index.checked_sub(1).and_then(|index| view.summary.milestones.get(index)) {
        None => "that the service is live".to_owned(),
        Some(milestone) => {
            format!("the milestone \u{201c}{}\u{201d}: {}", milestone.name, milestone.statement)
        }
    };
    let subject = U256::from(subject);
    let contract = shared.record.contracts.offering;
    if action == "object" {
        let words = vec![
            format!("Objects to the attestation of {name}"),
            "It is void then, and may be attested again.".to_owned(),
        ];
        return Ok((
            "Object".to_owned(),
            words,
            contract,
            Offering::objectCall { subject }.abi_encode().into(),
        ));
    }
    let evidence: B256 = ask.evidence.as_deref().unwrap_or_default().trim().parse().map_err(|_| {
        Problem::bad("The hash of the evidence is not one.", "Choose a file, or give 0x and 64 digits.")
    })?;
    let effective = view.now + u64::from(shared.plan.service.notice_secs);
    let words = vec![
        format!("Attests {name}"),
        format!("The evidence has the hash {evidence}."),
        format!("It takes effect about {}, after the notice, unless the guardian objects.", utc(effective)),
    ];
    Ok(("Attest".to_owned(), words, contract, Offering::attestCall { subject, evidence }.abi_encode().into()))
}

/// What is done with one bid.
fn of_bid(shared: &Shared, view: &View, action: &str, ask: &Ask) -> Result<Made, Problem> {
    let (raise, now) = (&view.raise, view.now);
    let offering = &raise.offering;
    let id = ask.bid(shared)?;
    let state = offering.bid(id);
    let round = positions::name(shared, id.round);
    let cash = |units: u64| shared.coins.cash(Cash::from_units(units));
    let credits = |units: u128| shared.coins.credits(Credits::from_units(units));
    let contracts = &shared.record.contracts;
    let cleared = offering.rounds[usize::from(id.round)].status == Status::Cleared;
    let share = if cleared && state.cash > 0 { offering.outcome(id).0 } else { Default::default() };
    let (title, words, to, data) = match action {
        "withdraw" => (
            "Withdraw the bid",
            vec![
                format!("Takes back all of your bid in {round}: {} to {}.", cash(state.cash), ask.wallet),
                "It is final: no more bids of yours in this round.".to_owned(),
            ],
            contracts.offering,
            Offering::withdrawCall { id: pack(id), payee: ask.wallet }.abi_encode(),
        ),
        "settle" => (
            "Settle",
            vec![
                format!("Makes the position of bid {} in {round}.", positions::show(id)),
                format!(
                    "It comes to {} for {}; {} goes back.",
                    credits(share.credits),
                    cash(share.paid),
                    cash(share.back)
                ),
            ],
            contracts.offering,
            Offering::settleCall { id: pack(id) }.abi_encode(),
        ),
        "refund" => {
            let back = if offering.failed(now) { state.cash } else { share.back };
            let words = vec![format!(
                "Pays {} of bid {} in {round} back to {}.",
                cash(back),
                positions::show(id),
                state.wallet
            )];
            ("Refund", words, contracts.offering, Offering::refundCall { id: pack(id) }.abi_encode())
        }
        "pot-refund" => {
            let back = raise.treasury.refund_of(offering, id).unwrap_or(0);
            let words = vec![format!("Pays {} from the pot of {round} to {}.", cash(back), state.wallet)];
            (
                "Refund from the treasury",
                words,
                contracts.treasury,
                Treasury::refundCall { id: pack(id) }.abi_encode(),
            )
        }
        "deliver" => {
            let words = vec![deliver_words(shared, view, id)];
            (
                "Deliver credits",
                words,
                contracts.offering,
                Offering::deliverCall { id: pack(id) }.abi_encode(),
            )
        }
        _ => {
            let held = raise.credits.of(Holder::Vault(id));
            let words = vec![format!(
                "Moves {} from the position\u{2019}s vault to {}.",
                credits(held),
                state.wallet
            )];
            ("Open the vault", words, contracts.vault_of(offering, id), Vault::releaseCall {}.abi_encode())
        }
    };
    Ok((title.to_owned(), words, to, data.into()))
}

fn deliver_words(shared: &Shared, view: &View, id: BidId) -> String {
    let offering = &view.raise.offering;
    let bid = offering.bid(id);
    let position = earnest_report::position::position(offering, id, &bid, view.now).unwrap_or_default();
    let elapsed = view.now.saturating_sub(offering.attestation(LIVE).effective_at);
    let schedule = offering.setup.schedules.get(usize::from(bid.schedule));
    let vested = match (schedule, offering.is_effective(LIVE, view.now)) {
        (Some(schedule), true) => schedule.vested(position.credits, elapsed),
        _ => 0,
    };
    let credits = shared.coins.credits(Credits::from_units(vested.saturating_sub(position.delivered)));
    match view.now < offering.unlock_at(id) {
        true => format!(
            "Mints at least {credits} to the position\u{2019}s vault {}, locked until {} and good for service.",
            shared.record.contracts.vault_of(offering, id),
            utc(offering.unlock_at(id))
        ),
        false => format!("Mints at least {credits} to {}.", bid.wallet),
    }
}

impl Ask {
    fn round(&self, shared: &Shared) -> Result<u8, Problem> {
        let most = shared.plan.rounds.len() as u64 - 1;
        Ok(u8::try_from(self.number("round", self.round.as_deref(), most)?).unwrap_or(0))
    }

    fn number(&self, what: &str, text: Option<&str>, most: u64) -> Result<u64, Problem> {
        let number = text.and_then(|text| text.trim().parse().ok()).filter(|&number| number <= most);
        number.ok_or_else(|| {
            Problem::bad(format!("The {what} is not a whole number up to {most}."), "Check it and try again.")
        })
    }

    fn bid(&self, shared: &Shared) -> Result<BidId, Problem> {
        let id = self.bid.as_deref().and_then(positions::read);
        id.filter(|id| usize::from(id.round) < shared.plan.rounds.len()).ok_or_else(|| {
            Problem::bad("This is not the number of a bid.", "It reads round/entity, such as 0/7.")
        })
    }
}

/// An amount as people type it.
pub(super) fn cash(text: &str) -> Result<Cash, Problem> {
    Cash::parse(text.trim()).ok_or_else(|| {
        Problem::bad(
            "The amount is not a plain decimal.",
            "Write it like 1250.5: digits and a point, no commas, at most six places.",
        )
    })
}

/// Whose wallet wants play money.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thirsty {
    wallet: Address,
}

/// Play money for a wallet.
pub(super) async fn faucet(State(shared): At, body: Body) -> Result<Json<serde_json::Value>, Problem> {
    let Thirsty { wallet } = read(&body)?;
    if shared.faucet.is_none() || !shared.is_play_money() {
        return Err(Problem::missing("There is no faucet here."));
    }
    let given =
        shared.ask(move |shared, chain| shared.faucet.as_ref().map(|faucet| faucet(chain, wallet))).await?;
    match given {
        Some(Ok(words)) => Ok(Json(serde_json::json!({ "words": words }))),
        Some(Err(error)) => {
            Err(Problem { status: StatusCode::BAD_GATEWAY, error, hint: "Try again.".to_owned() })
        }
        None => Err(Problem::missing("There is no faucet here.")),
    }
}

/// Keccak-256 of evidence, which a browser has no function for. Nothing of it is kept.
pub(super) async fn hash(body: Body) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "keccak256": keccak256(&body) }))
}
