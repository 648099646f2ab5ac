//! A raise as a chain has it, read back into the model: which bids there are from events, what each is from views. Good
//! for one look; what looks often keeps an index.

use alloy_primitives::{Address, Log, U256};
use alloy_sol_types::SolEvent;
use earnest_core::bid::{Bid, BidId, Position};
use earnest_core::clearing::Bucket;
use earnest_core::offering::{ABOVE, Attestation, OfferingSetup, Round, Sale, Status};
use earnest_core::raise::{Holder, Raise};
use earnest_core::treasury::{Pot, TreasurySetup};

use crate::bindings::{Credit, Offering, Treasury};
use crate::chain::{Chain, ChainError};
use crate::deploy::Deployment;
use crate::embedded::mapping_slot;
use crate::story::pack;

/// Reads everything. `from_block`: the block of the deployment.
pub fn raise(
    chain: &mut Chain,
    at: &Deployment,
    offering: OfferingSetup,
    treasury: TreasurySetup,
    from_block: u64,
) -> Result<Raise, ChainError> {
    let mut raise = Raise::new(offering, treasury);
    let logs = chain.logs(at.offering, from_block)?;
    for log in &logs {
        attester_changed(&mut raise, log);
    }
    for index in 0..raise.offering.rounds.len() {
        let round = chain.call(at.offering, &Offering::getRoundCall { index: U256::from(index) })?;
        raise.offering.rounds[index] = model_round(&round);
    }
    for id in bids_in(&logs) {
        read_bid(chain, at, &mut raise, id)?;
        if raise.offering.setup.rounds[usize::from(id.round)].is_rising() {
            read_bid(chain, at, &mut raise, id.total())?;
        }
    }
    read_buckets(chain, at, &mut raise)?;
    for subject in 0..=raise.offering.setup.milestones {
        let call = Offering::getAttestationCall { subject: U256::from(subject) };
        let found = chain.call(at.offering, &call)?;
        let attestation = Attestation { effective_at: found.effectiveAt.to(), objections: found.objections };
        if attestation != Attestation::default() {
            raise.offering.attestations.insert(subject, attestation);
        }
    }
    raise.offering.total_proceeds = chain.call(at.offering, &Offering::totalProceedsCall {})?.to();
    read_treasury(chain, at, &mut raise)?;
    read_coins(chain, at, &mut raise)?;
    Ok(raise)
}

fn attester_changed(raise: &mut Raise, log: &Log) {
    if let Ok(event) = Offering::AttesterChanged::decode_log(log) {
        let entry = raise.offering.generations.entry(event.attester).or_default();
        *entry = (event.generation, entry.1.max(event.generation));
    }
}

fn bids_in(logs: &[Log]) -> std::collections::BTreeSet<BidId> {
    let placed = logs.iter().filter_map(|log| Offering::BidPlaced::decode_log(log).ok());
    placed.map(|event| BidId::unpack(event.id.to())).collect()
}

fn read_bid(chain: &mut Chain, at: &Deployment, raise: &mut Raise, id: BidId) -> Result<(), ChainError> {
    let word = chain.call(at.offering, &Offering::getBidCall { id: pack(id) })?;
    raise.offering.bids.insert(id, Bid::unpack(word));
    let position = chain.call(at.offering, &Offering::getPositionCall { id: pack(id) })?;
    let position =
        Position { credits: position.credits.to(), delivered: position.delivered.to(), paid: position.paid };
    if position != Position::default() {
        raise.offering.positions.insert(id, position);
    }
    Ok(())
}

fn read_buckets(chain: &mut Chain, at: &Deployment, raise: &mut Raise) -> Result<(), ChainError> {
    let mut places = std::collections::BTreeSet::new();
    for (id, bid) in raise.offering.bids.iter().filter(|(id, _)| id.window != BidId::TOTAL) {
        let setup = &raise.offering.setup.rounds[usize::from(id.round)];
        match setup.sale {
            Sale::Auction { .. } => {
                places.insert((id.round, bid.tick));
                places.insert((id.round, ABOVE));
                raise.offering.occupied.insert((id.round, bid.tick), ());
            }
            _ => _ = places.insert((id.round, id.window)),
        }
    }
    for (round, place) in places {
        let call = Offering::getBucketCall { index: U256::from(round), place: U256::from(place) };
        let found = chain.call(at.offering, &call)?;
        let bucket = Bucket {
            cash: found.cash,
            weight: found.weight,
            sold: found.sold.to(),
            whole: found.whole,
            used: found.used,
            cash_left: found.cashLeft,
            refunds_left: found.refundsLeft,
            withdrawn_cash: found.withdrawnCash,
            withdrawn_weight: found.withdrawnWeight,
        };
        raise.offering.buckets.insert((round, place), bucket);
    }
    Ok(())
}

fn read_treasury(chain: &mut Chain, at: &Deployment, raise: &mut Raise) -> Result<(), ChainError> {
    let low = |word: U256| -> u64 { (word & U256::from(u128::MAX)).saturating_to() };
    for (class, pot) in raise.treasury.pots.iter_mut().enumerate() {
        let slot = mapping_slot(U256::from(class), 2);
        let word = chain.storage(at.treasury, slot)?;
        let delivered = chain.storage(at.treasury, slot + U256::from(1))?;
        *pot = Pot { cash: low(word), refunded: low(word >> 128), delivered: delivered.saturating_to() };
    }
    raise.treasury.circulating = chain.call(at.treasury, &Treasury::circulatingCall {})?.to();
    raise.treasury.tap_paid = chain.call(at.treasury, &Treasury::tapPaidCall {})?.to();
    raise.treasury.refunds_paid = chain.call(at.treasury, &Treasury::refundsPaidCall {})?.to();
    Ok(())
}

/// Balances that the rules speak of: escrow, treasury, vaults and the owners of positions.
fn read_coins(chain: &mut Chain, at: &Deployment, raise: &mut Raise) -> Result<(), ChainError> {
    let balance = |chain: &mut Chain, coin: Address, of: Address| -> Result<u128, ChainError> {
        Ok(chain.call(coin, &Credit::balanceOfCall { account: of })?.saturating_to())
    };
    for (holder, of) in [(Holder::Offering, at.offering), (Holder::Treasury, at.treasury)] {
        let cash = balance(chain, at.cash, of)?;
        raise.cash.balances.insert(holder, cash);
    }
    let positions: Vec<BidId> = raise.offering.positions.keys().copied().collect();
    for id in positions {
        let wallet = raise.offering.bid(id).wallet;
        for (holder, of) in
            [(Holder::Account(wallet), wallet), (Holder::Vault(id), at.vault_of(&raise.offering, id))]
        {
            let credits = balance(chain, at.credit, of)?;
            if credits > 0 {
                raise.credits.balances.insert(holder, credits);
            }
        }
    }
    raise.credits.minted = raise.offering.rounds.iter().map(|round| round.delivered).sum();
    Ok(())
}

fn model_round(round: &Offering::Round) -> Round {
    Round {
        status: match round.status {
            0 => Status::Open,
            1 => Status::Clearing,
            _ => Status::Cleared,
        },
        open: round.open.to(),
        close: round.close.to(),
        paused_until: round.pausedUntil.to(),
        pause_left: round.pauseLeft.to(),
        withdrawable: round.withdrawable,
        cursor: round.cursor,
        knot: round.knot,
        cash_above: round.cashAbove,
        weight_above: round.weightAbove,
        whole_from: round.wholeFrom,
        marginal: round.marginal,
        proceeds: round.proceeds,
        dust: round.dust,
        swept: round.swept,
        affiliate_paid: round.affiliatePaid,
        sold: round.sold.to(),
        delivered: round.delivered.to(),
        cleared_at: round.clearedAt.to(),
        affiliates_left: round.affiliatesLeft.to(),
    }
}
