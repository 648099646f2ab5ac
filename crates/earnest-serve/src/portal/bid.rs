//! A bid: amounts as typed made into what the contract takes, what it can come to, and the way its cash is let go of:
//! an allowance that stands, a signature (ERC-2612) in the same transaction, or an approval before it.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{Eip712Domain, SolCall, sol};
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::State;
use earnest_chain::bindings::{DevCash, Offering};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::permit::SignedPermit;
use earnest_chain::story::sol_permit;
use earnest_core::bid::BidId;
use earnest_core::money::{CASH_MAX, Cash, Credits, Price};
use earnest_core::offering::Sale;
use earnest_core::plan::date::utc;
use earnest_core::plan::{RoundKind, Time};
use earnest_report::page::part;
use serde::{Deserialize, Serialize};

use super::keeper::View;
use super::transaction::{Answer, Check, Step, cash, read, tried};
use super::words::{Speaker, short};
use super::{At, Problem, Shared, positions};

/// For how long a cash permit is good.
const CASH_PERMIT_SECS: u64 = 3_600;

sol! {
    /// What a cash coin may have beside ERC-20 and ERC-2612.
    #[derive(Debug)]
    interface Coin {
        function name() external view returns (string);
        function version() external view returns (string);
        function nonces(address owner) external view returns (uint256);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
    }
}

/// A bid as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    round: String,
    cash: String,
    #[serde(default)]
    limit: Option<String>,
    schedule: String,
    #[serde(default)]
    wallet: Option<Address>,
    /// As the attester gave it, in text: a browser's numbers are too short for some of its own.
    #[serde(default)]
    permit: Option<String>,
    #[serde(default)]
    cash_permit: Option<CashPermit>,
    /// The wallet does not sign cash permits: approve instead.
    #[serde(default)]
    approve: bool,
}

/// A signature in place of an approval.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CashPermit {
    value: String,
    deadline: u64,
    signature: Bytes,
}

/// A bid as the contract takes it.
struct Order {
    round: u8,
    cash: Cash,
    tick: u16,
    /// The limit that the tick stands for, in an auction.
    limit: Option<Price>,
    schedule: u8,
    /// What snapping changed.
    note: Option<String>,
}

/// What a bid can come to.
#[derive(Serialize)]
pub(super) struct Preview {
    words: Vec<String>,
}

/// What a bid can come to, while it is typed.
pub(super) async fn preview(State(shared): At, body: Body) -> Result<Json<Preview>, Problem> {
    let ask: Ask = read(&body)?;
    let view = shared.view();
    let order = order(&shared, &ask)?;
    Ok(Json(Preview { words: words(&shared, &view, &order) }))
}

fn order(shared: &Shared, ask: &Ask) -> Result<Order, Problem> {
    let round: u8 =
        ask.round.parse().map_err(|_| Problem::bad("There is no such round.", "Reload the page."))?;
    let plan = shared.plan.rounds.get(usize::from(round));
    let plan = plan.ok_or_else(|| Problem::bad("There is no such round.", "Reload the page."))?;
    let amount = cash(&ask.cash)?;
    if amount == Cash::ZERO {
        return Err(Problem::bad("The amount is zero.", "Give the cash that your bid shall have in all."));
    }
    let (tick, limit, note) = match &plan.kind {
        RoundKind::Auction(auction) => {
            let text = ask.limit.as_deref().unwrap_or_default().trim();
            let typed = Price::parse(text).ok_or_else(|| {
                Problem::bad(
                    "The limit is not a plain decimal.",
                    "Write it like 0.75: digits and a point, no commas.",
                )
            })?;
            let above = typed.units().checked_sub(auction.floor_price.units()).ok_or_else(|| {
                Problem::bad(
                    format!("The limit is below the floor of {}.", shared.coins.price(auction.floor_price)),
                    "Give the floor or more: nothing is sold below it.",
                )
            })?;
            let tick = (above / auction.tick.units().max(1)).min(u64::from(auction.ticks) - 1);
            let tick = u16::try_from(tick).unwrap_or(u16::MAX);
            let limit = auction.price(tick).unwrap_or(auction.floor_price);
            let counts = shared.coins.price(limit);
            let note = (limit != typed).then(|| match tick + 1 == auction.ticks {
                true => format!("The highest limit of this round is {counts}: yours counts as that."),
                false => format!("Limits go in steps: yours counts as {counts}, never above what you typed."),
            });
            (tick, Some(limit), note)
        }
        _ => (0, None, None),
    };
    let schedule = plan.schedules.contains(&ask.schedule).then(|| shared.plan.schedule(&ask.schedule));
    let (schedule, _) = schedule.flatten().ok_or_else(|| {
        Problem::bad("This vesting schedule is not offered here.", "Choose one of those on the page.")
    })?;
    let schedule = u8::try_from(schedule).unwrap_or(u8::MAX);
    Ok(Order { round, cash: amount, tick, limit, schedule, note })
}

/// Credits at most, the worst price, and what comes back if it loses.
fn words(shared: &Shared, view: &View, order: &Order) -> Vec<String> {
    let (coins, offering) = (&shared.coins, &view.raise.offering);
    let weight = offering.weight(order.cash.units(), order.schedule);
    let credits = |price: Price, supply: u128| {
        let units: u128 = price.credits_for(weight).unwrap_or_default().saturating_to();
        Credits::from_units(units.min(supply))
    };
    let paid = |price: Price| {
        // A slower schedule weighs more than its cash: what is paid for a credit falls by the discount.
        Price::average(
            order.cash,
            Credits::from_units(price.credits_for(weight).unwrap_or_default().saturating_to()),
        )
    };
    let mut words: Vec<String> = order.note.iter().cloned().collect();
    match &offering.setup.rounds[usize::from(order.round)].sale {
        Sale::Fixed { supply, price, .. } => {
            let price = Price::from_units(*price);
            words.push(format!("It buys at most {}.", coins.credits(credits(price, *supply))));
            words.push(format!("You pay {}.", coins.average(paid(price))));
            words.push(
                "If more is asked for than is for sale, it is cut, and the rest of the cash comes back."
                    .to_owned(),
            );
        }
        Sale::Auction { prices, .. } => {
            let floor = Price::from_units(prices.floor);
            let limit = order.limit.unwrap_or(floor);
            words.push(format!(
                "At the floor it would buy at most {}.",
                coins.credits(credits(floor, prices.supply))
            ));
            words.push(format!(
                "At worst you pay your limit, {}, and get {}.",
                coins.average(paid(limit)),
                coins.credits(credits(limit, prices.supply))
            ));
            words.push(format!(
                "If the price ends above your limit, all of {} comes back.",
                coins.cash(order.cash)
            ));
            words.push(
                "At a price of just your limit it may be cut, and the rest of the cash comes back."
                    .to_owned(),
            );
        }
        Sale::Rising { .. } => {
            let window = window_now(view, order.round);
            match part::worst_window_price(offering, order.round, window) {
                Some(worst) => {
                    words.push(format!("In this window you pay at most {}.", coins.average(paid(worst))));
                    words.push(
                        "The exact price is known when the window ends; the fewer bids, the lower."
                            .to_owned(),
                    );
                }
                None => words
                    .push("The price is known once the round that this one follows is cleared.".to_owned()),
            }
            words.push(
                "If the window is asked for more than it sells, bids are cut, and the rest comes back."
                    .to_owned(),
            );
        }
    }
    words
}

fn window_now(view: &View, round: u8) -> u16 {
    let Sale::Rising { window_secs, windows, .. } =
        &view.raise.offering.setup.rounds[usize::from(round)].sale
    else {
        return 0;
    };
    let state = &view.raise.offering.rounds[usize::from(round)];
    let window = view.now.max(state.paused_until).saturating_sub(state.open) / window_secs;
    u16::try_from(window).unwrap_or(u16::MAX).min(windows - 1)
}

/// Makes the bid and finds out what the wallet has to do for it.
pub(super) fn answer(shared: &Shared, chain: &mut Chain, ask: Ask) -> Result<Answer, Problem> {
    let view = shared.view();
    let order = order(shared, &ask)?;
    let wallet = ask.wallet.ok_or_else(|| Problem::bad("No wallet is connected.", "Connect one first."))?;
    let text = ask.permit.as_ref().ok_or_else(|| {
        Problem::bad(
            "There is no purchase permit yet.",
            "Ask the attester for one, or load one that you were given.",
        )
    })?;
    let permit: &SignedPermit = &serde_json::from_str(text).map_err(|error| {
        Problem::bad(format!("The permit cannot be read: {error}."), "Load the file as the attester gave it.")
    })?;
    if permit.round != order.round {
        let name = positions::name(shared, permit.round);
        return Err(Problem::bad(
            format!("The permit is for another round: {name}."),
            "Load one for this round.",
        ));
    }
    let id = BidId { round: order.round, window: window_now(&view, order.round), entity: permit.entity };
    let before = view.raise.offering.bid(id);
    let standing = if before.wallet == wallet { before.cash } else { 0 };
    let needed = order.cash.units().saturating_sub(standing);
    let coins = &shared.coins;
    let mut words = vec![match standing {
        0 => format!("Bids {} in {}.", coins.cash(order.cash), positions::name(shared, order.round)),
        standing => format!(
            "Raises your bid in {} from {} to {}: {} more leaves your wallet.",
            positions::name(shared, order.round),
            coins.cash(Cash::from_units(standing)),
            coins.cash(order.cash),
            coins.cash(Cash::from_units(needed))
        ),
    }];
    if let Some(limit) = order.limit {
        words.push(format!("Limit: {}.", coins.price(limit)));
    }
    words.extend(self::words(shared, &view, &order));
    words.push(format!(
        "The cash is held by the offering {} until the round is settled.",
        short(shared.record.contracts.offering)
    ));

    let call = Offering::bidCall {
        permit: sol_permit(&permit.permit()),
        signature: permit.signature.clone(),
        cash_: U256::from(order.cash.units()),
        tick: U256::from(order.tick),
        schedule: U256::from(order.schedule),
    };
    let data: Bytes = call.abi_encode().into();
    let funds = Funds { wallet, needed };
    let mut checks = permit_checks(shared, permit, wallet, &order, view.now);
    let step = step(shared, chain, &ask, &funds, data, view.now, &mut checks)?;
    let title = if standing == 0 { "Place a bid" } else { "Raise a bid" }.to_owned();
    Ok(Answer { title, words, checks, step })
}

/// What a bid takes out of a wallet.
struct Funds {
    wallet: Address,
    needed: u64,
}

/// What of the permit can be seen without the chain.
fn permit_checks(
    shared: &Shared,
    permit: &SignedPermit,
    wallet: Address,
    order: &Order,
    now: Time,
) -> Vec<Check> {
    let coins = &shared.coins;
    let check = |ok: bool, words: String| Check { ok, words };
    let most = match permit.max_cash >= CASH_MAX {
        true => "no bound".to_owned(),
        false => coins.cash(Cash::from_units(permit.max_cash)),
    };
    vec![
        check(permit.wallet == wallet, format!("The permit is for the wallet {}.", short(permit.wallet))),
        check(
            permit.chain_id == shared.record.chain_id && permit.offering == shared.record.contracts.offering,
            "It is for this offering on this chain.".to_owned(),
        ),
        check(
            permit.terms_hash == shared.record.terms_hash,
            "It was given under the terms shown here.".to_owned(),
        ),
        check(
            (permit.not_before..=permit.expiry).contains(&now),
            format!("It is good from {} until {}.", utc(permit.not_before), utc(permit.expiry)),
        ),
        check(
            (permit.min_cash..=permit.max_cash).contains(&order.cash.units()),
            format!(
                "It allows from {} to {most} in this round.",
                coins.cash(Cash::from_units(permit.min_cash))
            ),
        ),
    ]
}

fn step(
    shared: &Shared,
    chain: &mut Chain,
    ask: &Ask,
    funds: &Funds,
    bid: Bytes,
    now: Time,
    checks: &mut Vec<Check>,
) -> Result<Step, Problem> {
    let contracts = &shared.record.contracts;
    let (cash, offering) = (contracts.cash, contracts.offering);
    let Funds { wallet, needed } = *funds;
    let speaker = Speaker { plan: &shared.plan, coins: &shared.coins };
    let refused = |error: &ChainError| Step::Refused { refused: speaker.explain(error) };
    let balance = match chain.call(cash, &DevCash::balanceOfCall { account: wallet }) {
        Ok(balance) => balance,
        Err(error) => return Ok(refused(&error)),
    };
    let allowance = match chain.call(cash, &DevCash::allowanceCall { owner: wallet, spender: offering }) {
        Ok(allowance) => allowance,
        Err(error) => return Ok(refused(&error)),
    };
    let in_wallet = shared.coins.cash(Cash::from_units(balance.saturating_to()));
    checks.push(Check { ok: balance >= U256::from(needed), words: format!("The wallet has {in_wallet}.") });
    if let Some(signed) = &ask.cash_permit {
        let call = with_permit(wallet, offering, signed, bid)?;
        return Ok(tried(shared, chain, wallet, offering, call));
    }
    if allowance >= U256::from(needed) {
        checks.push(Check { ok: true, words: "The offering may take the cash already.".to_owned() });
        return Ok(tried(shared, chain, wallet, offering, bid));
    }
    // Whatever else would be refused is found out now; that the allowance is short is what the next step mends.
    let is_short = |error: &ChainError| {
        error
            .name()
            .is_some_and(|name| name == "ERC20InsufficientAllowance" || name == "SafeERC20FailedOperation")
    };
    if let Err(error) = chain.call_from(wallet, offering, bid)
        && (!is_short(&error) || balance < U256::from(needed))
    {
        let short = DevCash::ERC20InsufficientBalance { sender: wallet, balance, needed: U256::from(needed) };
        let data = alloy_sol_types::SolError::abi_encode(&short);
        return Ok(match is_short(&error) {
            true => Step::Refused { refused: speaker.reverted(&data) },
            false => refused(&error),
        });
    }
    let value = U256::from(needed);
    let domain = if ask.approve { None } else { domain(shared, chain, cash) };
    let nonce = chain.call(cash, &Coin::noncesCall { owner: wallet }).ok();
    Ok(match domain.zip(nonce) {
        None => {
            let approve = |value| Bytes::from(DevCash::approveCall { spender: offering, value }.abi_encode());
            // Some coins want what is left of an approval taken back before they take another.
            let again = !allowance.is_zero() && chain.call_from(wallet, cash, approve(value)).is_err();
            Step::Approve { to: cash, data: approve(if again { U256::ZERO } else { value }) }
        }
        Some((domain, nonce)) => {
            let deadline = now + CASH_PERMIT_SECS;
            let typed_data = typed(&domain, wallet, offering, value, nonce, deadline);
            Step::Sign { typed_data, value: value.to_string(), deadline }
        }
    })
}

/// The coin's EIP-712 domain, if it is one that can be named: then its own separator says so.
pub(super) fn domain(shared: &Shared, chain: &mut Chain, coin: Address) -> Option<Eip712Domain> {
    let separator: B256 = chain.call(coin, &Coin::DOMAIN_SEPARATORCall {}).ok()?;
    let name = chain.call(coin, &Coin::nameCall {}).ok()?;
    let told = chain.call(coin, &Coin::versionCall {}).ok();
    // Coins without `version` are nearly all at 1.
    let versions = told.into_iter().chain(["1".to_owned(), "2".to_owned()]);
    versions
        .map(|version| {
            Eip712Domain::new(
                Some(name.clone().into()),
                Some(version.into()),
                Some(U256::from(shared.record.chain_id)),
                Some(coin),
                None,
            )
        })
        .find(|domain| domain.separator() == separator)
}

fn typed(
    domain: &Eip712Domain,
    owner: Address,
    spender: Address,
    value: U256,
    nonce: U256,
    deadline: u64,
) -> serde_json::Value {
    let fields = [
        ("owner", "address", owner.to_string()),
        ("spender", "address", spender.to_string()),
        ("value", "uint256", value.to_string()),
        ("nonce", "uint256", nonce.to_string()),
        ("deadline", "uint256", deadline.to_string()),
    ];
    typed_data(domain, "Permit", &fields)
}

/// A struct of plain fields (name, type, value) as `eth_signTypedData_v4` takes it.
pub(super) fn typed_data(
    domain: &Eip712Domain,
    primary: &str,
    fields: &[(&str, &str, String)],
) -> serde_json::Value {
    let field = |name: &str, kind: &str| serde_json::json!({ "name": name, "type": kind });
    let kinds: Vec<_> = fields.iter().map(|(name, kind, _)| field(name, kind)).collect();
    let message: serde_json::Map<String, serde_json::Value> =
        fields.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone().into())).collect();
    serde_json::json!({
        "types": {
            "EIP712Domain": [
                field("name", "string"), field("version", "string"),
                field("chainId", "uint256"), field("verifyingContract", "address"),
            ],
            primary: kinds,
        },
        "primaryType": primary,
        "domain": {
            "name": domain.name, "version": domain.version,
            "chainId": domain.chain_id.unwrap_or_default().to_string(), "verifyingContract": domain.verifying_contract,
        },
        "message": message,
    })
}

/// Cash permit and bid in one transaction.
fn with_permit(owner: Address, offering: Address, signed: &CashPermit, bid: Bytes) -> Result<Bytes, Problem> {
    let bad = || {
        Problem::bad(
            "The wallet\u{2019}s signature is not one that the coin takes.",
            "Approve the amount in a transaction of its own instead.",
        )
    };
    let value: U256 = signed.value.parse().map_err(|_| bad())?;
    let [r @ .., _] = signed.signature.as_ref() else { return Err(bad()) };
    let (Some((r, s)), Some(&v)) = (r.split_at_checked(32), signed.signature.last()) else {
        return Err(bad());
    };
    if s.len() != 32 {
        return Err(bad());
    }
    // Some wallets count the recovery bit from 0.
    let v = if v < 27 { v + 27 } else { v };
    let (r, s) = (B256::from_slice(r), B256::from_slice(s));
    let permit = DevCash::permitCall {
        owner,
        spender: offering,
        value,
        deadline: U256::from(signed.deadline),
        v,
        r,
        s,
    };
    // The contract wants the arguments alone, without the selector.
    let args = permit.abi_encode()[4..].to_vec();
    let first = Offering::permitCashCall { args: args.into() }.abi_encode().into();
    Ok(Offering::multicallCall { calls: vec![first, bid] }.abi_encode().into())
}
