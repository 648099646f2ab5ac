//! Every refusal of the contracts as a sentence that a person understands, with what can be done about it. The matches
//! leave no error out: one that is added to a contract does not compile here until it has words.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{Panic, Revert, SolError, SolInterface};
use earnest_chain::bindings::{Channels, Credit, DepositCollector, DevCash, Offering, Treasury, Vault};
use earnest_chain::chain::ChainError;
use earnest_core::money::{Cash, Credits};
use earnest_core::plan::date::{duration, utc};
use earnest_core::plan::{Plan, RoundKind, Time};
use earnest_report::figure::{Coins, plain};
use serde::Serialize;

/// Why something cannot be done, and what can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    /// What is in the way.
    pub(super) what: String,
    /// What helps.
    pub(super) remedy: String,
}

/// What sentences need beside an error's own values.
pub(super) struct Speaker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) coins: &'a Coins,
}

fn refusal(what: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal { what: what.into(), remedy: remedy.into() }
}

/// A fault that no honest use of this page meets.
fn odd(what: &str) -> Refusal {
    refusal(what, "This should not happen here. Reload the page; if it stays, tell the issuer.")
}

impl Speaker<'_> {
    /// A failed simulation or transaction in words.
    pub(super) fn explain(&self, error: &ChainError) -> Refusal {
        match error {
            ChainError::Reverted(data) => self.reverted(data),
            ChainError::Halted(why) => refusal(
                format!("The transaction would stop before its end: {why}."),
                "It may need more gas than one transaction may use. Do it in smaller pieces.",
            ),
            ChainError::Node(_) | ChainError::Answer(_) | ChainError::Reorganised | ChainError::Send(_) => {
                refusal(
                    "The chain's node does not answer as it should.",
                    "Nothing was sent. Wait a moment and try again.",
                )
            }
        }
    }

    /// What a contract reverted with, in words.
    pub(super) fn reverted(&self, data: &[u8]) -> Refusal {
        if let Ok(error) = Offering::OfferingErrors::abi_decode(data) {
            return self.offering(&error);
        }
        if let Ok(error) = Treasury::TreasuryErrors::abi_decode(data) {
            return self.treasury(&error);
        }
        if let Ok(error) = Vault::VaultErrors::abi_decode(data) {
            return self.vault(&error);
        }
        if let Ok(error) = DevCash::DevCashErrors::abi_decode(data) {
            return self.coin(&error);
        }
        if let Ok(error) = Channels::ChannelsErrors::abi_decode(data) {
            return self.channels(&error);
        }
        if let Ok(error) = DepositCollector::DepositCollectorErrors::abi_decode(data) {
            return odd(&format!("The deposit collector refused: {error:?}."));
        }
        if let Ok(error) = Credit::CreditErrors::abi_decode(data) {
            return odd(&format!("The credit refused: {error:?}."));
        }
        if let Ok(Revert { reason }) = Revert::abi_decode(data) {
            let remedy = "The coin or another contract said so itself; its issuer knows more.";
            return refusal(format!("Refused: {}.", plain(&reason)), remedy);
        }
        if Panic::abi_decode(data).is_ok() {
            return odd("The contract stopped at a number that does not fit.");
        }
        refusal(
            "The contract refused without a reason it could give.",
            "Check that the wallet has enough cash, and try again.",
        )
    }

    fn cash(&self, units: U256) -> String {
        self.coins.cash(Cash::from_units(units.saturating_to()))
    }

    fn round(&self, index: U256) -> String {
        let round = self.plan.rounds.get(index.saturating_to::<usize>());
        round.map_or_else(
            || format!("round {index}"),
            |round| format!("\u{201c}{}\u{201d}", plain(&round.name)),
        )
    }

    fn subject(&self, subject: U256) -> String {
        let index = subject.saturating_to::<usize>();
        let milestone = index.checked_sub(1).and_then(|index| self.plan.treasury.milestones.get(index));
        match milestone {
            Some(milestone) => format!("the milestone \u{201c}{}\u{201d}", plain(&milestone.name)),
            None => "the service being live".to_owned(),
        }
    }

    /// An auction's ticks as prices, windows of a rising round by number.
    fn place(&self, place: U256) -> String {
        let prices = self.plan.rounds.iter().find_map(|round| match &round.kind {
            RoundKind::Auction(auction) => auction.price(place.saturating_to()),
            _ => None,
        });
        match prices {
            Some(price) => format!("{place} (in an auction: {})", self.coins.price(price)),
            None => place.to_string(),
        }
    }

    fn offering(&self, error: &Offering::OfferingErrors) -> Refusal {
        use Offering::OfferingErrors as E;
        match error {
            E::AffiliateCoolingOff(_) => refusal(
                "The permit says both affiliate and cooling-off, and an affiliate of the issuer has no cooling-off.",
                "Ask the attester for a corrected permit.",
            ),
            E::AfterDeadline(e) => refusal(
                format!(
                    "With its notice this would take effect {}, after the deadline {}.",
                    at(e.effectiveAt),
                    at(e.deadline)
                ),
                "Nothing can be done: past the deadline backers take their cash back.",
            ),
            E::AlreadyAttested(e) => refusal(
                format!(
                    "{} was attested already and takes effect {}.",
                    capital(&self.subject(e.subject)),
                    at(e.effectiveAt)
                ),
                "Nothing needs to be done.",
            ),
            E::AlreadyCleared(e) => refusal(
                format!("{} is cleared already.", capital(&self.round(e.round))),
                "Bids can be settled now.",
            ),
            E::AlreadySettled(_) => refusal(
                "This bid is settled already.",
                "Its position is under \u{201c}Your positions\u{201d}.",
            ),
            E::BadSetup(_) => odd("The offering was set up wrongly."),
            E::BadSignature(_) => refusal(
                "The signature is not by whoever had to sign.",
                "Sign with the wallet that owns the bid, or ask the attester for a new permit.",
            ),
            E::BidChanged(_) => refusal(
                "A bid keeps the vesting schedule, the lock and the affiliation that it was made with.",
                "Raise it with the schedule it has; the permit must be of the same kind.",
            ),
            E::BidsPaused(e) => refusal(
                format!("The guardian has paused bids in {} until {}.", self.round(e.round), at(e.until)),
                "Come back then: the round's end has moved by as much.",
            ),
            E::CoolingOffNotOver(e) => refusal(
                format!("The cooling-off of this bid lasts until {}.", at(e.until)),
                "Wait until then.",
            ),
            E::CoolingOffOver(e) => refusal(
                format!("The cooling-off of this bid ended {}.", at(e.since)),
                "The bid stands. What does not buy comes back once the round is cleared.",
            ),
            E::EscrowFull(_) => refusal(
                "The offering holds as much cash as it can count.",
                "Bid less, or wait until refunds are taken.",
            ),
            E::Expired(e) => {
                refusal(format!("The signature was good until {} only.", at(e.expiry)), "Sign a new one.")
            }
            E::Failed(_) => refusal(
                "The soft cap was missed, so the sale failed.",
                "Take back the whole bid under \u{201c}Your positions\u{201d}.",
            ),
            E::NoBid(_) => {
                refusal("There is no such bid.", "Check the number, or that the bid was not withdrawn.")
            }
            E::NoCoolingOff(_) => refusal(
                "This bid has no cooling-off, or it is over.",
                "The bid stands. What does not buy comes back once the round is cleared.",
            ),
            E::NoObjectionsLeft(e) => refusal(
                format!("The guardian has used up its objections to {}.", self.subject(e.subject)),
                "It takes effect at the end of its notice.",
            ),
            E::NoSuchEntity(_) => odd("The permit's number of the buyer does not fit."),
            E::NoSuchLockClass(_) => refusal(
                "The permit names a lock that the plan does not have.",
                "Ask the attester for a corrected permit.",
            ),
            E::NoSuchRound(_) => odd("There is no such round."),
            E::NoSuchSubject(_) => odd("There is no such milestone."),
            E::NoSuchTick(e) => refusal(
                format!(
                    "The limit is above the highest price of the round, tick {}.",
                    e.ticks.saturating_sub(U256::from(1))
                ),
                "Bid at the highest limit that the round offers.",
            ),
            E::NotCertifier(_) => {
                refusal("Only the certifier may attest.", "Connect the certifier's wallet.")
            }
            E::NotCleared(e) => refusal(
                format!("{} is not cleared yet.", capital(&self.round(e.round))),
                "Clear it first: anyone may, once clearing may begin.",
            ),
            E::NotGuardian(_) => refusal("Only the guardian may do this.", "Connect the guardian's wallet."),
            E::NotIssuer(_) => refusal("Only the issuer may do this.", "Connect the issuer's wallet."),
            E::NotLive(_) => refusal(
                "The service is not live yet, so nothing has vested.",
                "Credits vest from the day the service is live. If it is not by the deadline, cash comes back.",
            ),
            E::NotOpen(e) => {
                let state = if e.time < e.from { "is not open yet" } else { "is closed" };
                refusal(
                    format!(
                        "{} {state}: it takes bids from {} until {}.",
                        capital(&self.round(e.round)),
                        at(e.from),
                        at(e.to)
                    ),
                    if e.time < e.from {
                        "Come back when it opens."
                    } else {
                        "See whether another round is open."
                    },
                )
            }
            E::NotOwner(_) => refusal(
                "This bid belongs to another wallet.",
                "Connect the wallet that made the bid, or let its owner sign.",
            ),
            E::NotPermitted(e) => refusal(
                format!("The permit is for the wallet {}, and {} is connected.", e.wallet, e.caller),
                "Connect that wallet, or ask the attester for a permit for this one.",
            ),
            E::NothingToDeliver(_) => refusal(
                "Nothing has vested since the last delivery.",
                "Credits vest over time: see the dates of the position.",
            ),
            E::NothingToObject(e) => refusal(
                format!("There is no notice running for {}.", self.subject(e.subject)),
                "An objection is possible only between an attestation and its effect.",
            ),
            E::NothingToRefund(_) => refusal(
                "Nothing is due back: the bid bought in full, or its refund was taken.",
                "Nothing needs to be done.",
            ),
            E::NothingToSweep(e) => refusal(
                format!("All proceeds of {} are in the treasury.", self.round(e.round)),
                "Nothing needs to be done.",
            ),
            E::OldGeneration(e) => refusal(
                match e.current.is_zero() {
                    true => format!(
                        "The permit is not signed by an attester of this offering ({} signed it).",
                        e.attester
                    ),
                    false => "The permit is void: its attester has renewed all permits since.".to_owned(),
                },
                "Ask the attester for a new permit.",
            ),
            E::OnlyUp(e) => refusal(
                format!(
                    "A bid only rises, in cash or in its limit: {} at tick {} stands.",
                    self.cash(e.cashNow),
                    e.tickNow
                ),
                "Give the amount that the bid shall have in all, more than it has now.",
            ),
            E::OtherTerms(_) => refusal(
                "The permit was signed under other terms than this offering's.",
                "Ask the attester for a permit under the terms shown here.",
            ),
            E::OtherWallet(e) => refusal(
                format!("You bid in this round with the wallet {} before.", e.wallet),
                "Connect that wallet: one buyer uses one wallet in a round.",
            ),
            E::OutsideLimits(e) => refusal(
                format!(
                    "{} in this round is outside what your permit allows: {}.",
                    self.cash(e.cash),
                    self.between(e.least, e.most)
                ),
                "Change the amount, or ask the attester for other limits.",
            ),
            E::OutsidePermit(e) => refusal(
                format!(
                    "The permit allows {} to {}, and the bid is at {}.",
                    self.place(e.first),
                    self.place(e.last),
                    self.place(e.asked)
                ),
                "Change the limit, or ask the attester for another permit.",
            ),
            E::OverTotal(e) => refusal(
                format!(
                    "Over all rounds this would be {}, and your permit allows {}.",
                    self.cash(e.cash),
                    self.cash(e.most)
                ),
                "Bid less, or ask the attester for another permit.",
            ),
            E::PauseTooLong(e) => refusal(
                format!("Of the pause that the plan allows {} are left.", duration(e.left.saturating_to())),
                "Ask for a shorter pause.",
            ),
            E::PermitNotValidNow(e) => match e.time < e.notBefore {
                true => refusal(
                    format!("The permit is good from {} on.", at(e.notBefore)),
                    "Wait until then: some buyers must wait between approval and bid.",
                ),
                false => refusal(
                    format!("The permit was good until {}.", at(e.expiry)),
                    "Ask the attester for a new one.",
                ),
            },
            E::ScheduleNotOffered(_) => refusal(
                "This vesting schedule is not offered in this round.",
                "Choose one of those on the page.",
            ),
            E::SoftCapNotMet(e) => refusal(
                format!("The soft cap is not met: {} of {}.", self.cash(e.proceeds), self.cash(e.softCap)),
                "Wait until more rounds are cleared. If it is missed by its date, every bid goes back.",
            ),
            E::SoldOut(e) => refusal(
                format!(
                    "The round is sold out: with this bid {} would be asked for, and {} are for sale.",
                    self.credits(e.credits),
                    self.credits(e.supply)
                ),
                "Bid less, or see whether another round is open.",
            ),
            E::TooEarlyToClear(e) => refusal(
                format!("{} may be cleared from {} on.", capital(&self.round(e.round)), at(e.from)),
                "Come back then: bids may still be made or withdrawn until then.",
            ),
            E::TooMuchWithdrawable(e) => refusal(
                format!("The plan bounds what may be withdrawable at once to {}.", self.cash(e.most)),
                "Bid less, or later, when the cooling-off of other bids has ended.",
            ),
            E::Withdrawn(_) => refusal(
                "You have withdrawn from this round, and that is final.",
                "See whether another round is open.",
            ),
            E::WrongCash(_) => refusal(
                "The coin did not move the amount it was asked to.",
                "A coin that takes a fee or changes balances cannot be used here.",
            ),
            E::InsufficientBalance(_) => odd("The contract lacks what it needs to make a vault."),
            E::OffLadder(_) => odd("The price curve ends before the weight sold."),
            E::ReentrancyGuardReentrantCall(_) => odd("The coin called back into the offering."),
            E::SafeERC20FailedOperation(_) => refusal(
                "The coin refused the transfer.",
                "Check the wallet's cash and what it lets the offering take.",
            ),
            E::CloneArgumentsTooLong(_) | E::Create2EmptyBytecode(_) | E::FailedDeployment(_) => {
                odd("The vault of the position could not be made.")
            }
            E::ECDSAInvalidSignature(_)
            | E::ECDSAInvalidSignatureLength(_)
            | E::ECDSAInvalidSignatureS(_) => refusal(
                "The permit's signature is not a signature.",
                "Load the permit again as the attester gave it.",
            ),
            E::InvalidShortString(_) | E::StringTooLong(_) => odd("A name of the contract does not fit."),
        }
    }

    fn treasury(&self, error: &Treasury::TreasuryErrors) -> Refusal {
        use Treasury::TreasuryErrors as E;
        match error {
            E::AffiliatesUnsettled(e) => refusal(
                format!("{} bids of affiliates are to be settled first: affiliates are paid last.", e.left),
                "Settle them: anyone may.",
            ),
            E::BadSetup(_) => odd("The treasury was set up wrongly."),
            E::BadSignature(_) => refusal(
                "The signature is not by the wallet that owns the position.",
                "Sign with the wallet that made the bid.",
            ),
            E::CashMissing(_) => odd("The treasury was told of cash that has not come."),
            E::Expired(e) => {
                refusal(format!("The signature was good until {} only.", at(e.expiry)), "Sign a new one.")
            }
            E::NotIssuer(_) => refusal("Only the issuer may draw.", "Connect the issuer's wallet."),
            E::NotOffering(_) => odd("Only the offering pays in."),
            E::NotRefunding(_) => refusal(
                "The treasury pays back only past the deadline without a live service.",
                "Before that, credits are what a position gives.",
            ),
            E::NotSettled(_) => refusal(
                "The bid is not settled yet, so its share is not known.",
                "Settle it first: anyone may.",
            ),
            E::NothingToDraw(_) => refusal("Nothing was asked for.", "Give an amount above zero."),
            E::NothingToRefund(_) => {
                refusal("The position has had its share of the pot.", "Nothing needs to be done.")
            }
            E::OverPots(e) => refusal(
                format!(
                    "{} was asked, and all pots together hold {}.",
                    self.cash(e.asked),
                    self.cash(e.held)
                ),
                "Ask for less, or sweep the proceeds of a cleared round first.",
            ),
            E::OverTap(e) => refusal(
                format!(
                    "{} was asked, and the tap has released {} that was not drawn.",
                    self.cash(e.asked),
                    self.cash(e.available)
                ),
                "Ask for less, or wait: the tap runs by the second up to its ceiling.",
            ),
            E::PastDeadline(e) => refusal(
                format!(
                    "The deadline {} has passed without a live service: the tap is shut.",
                    at(e.deadline)
                ),
                "Nothing can be drawn. Backers take back what the pots hold.",
            ),
            E::ReentrancyGuardReentrantCall(_) => odd("The coin called back into the treasury."),
            E::SafeERC20FailedOperation(_) => refusal(
                "The coin refused the transfer.",
                "The payee may be barred by the coin's issuer; name another payee.",
            ),
            E::InvalidShortString(_) | E::StringTooLong(_) => odd("A name of the contract does not fit."),
        }
    }

    fn vault(&self, error: &Vault::VaultErrors) -> Refusal {
        use Vault::VaultErrors as E;
        match error {
            E::Locked(e) => refusal(
                format!("The credits are locked until {}.", at(e.until)),
                "Until then they can be spent on service, not moved.",
            ),
            E::SafeERC20FailedOperation(_) => odd("The credit refused to move out of the vault."),
        }
    }

    fn channels(&self, error: &Channels::ChannelsErrors) -> Refusal {
        use Channels::ChannelsErrors as E;
        match error {
            E::NoWithdrawal(_) => refusal(
                "No withdrawal from this channel has begun.",
                "Begin one first, or wait for its block.",
            ),
            E::NotPayer(_) => refusal(
                "The channel is another wallet\u{2019}s.",
                "Connect the wallet that the channel was opened with.",
            ),
            E::NothingToClaim(_) => refusal(
                "Nothing is left in the channel.",
                "Nothing needs to be done: all of it was used or went back.",
            ),
            E::TooEarly(e) => refusal(
                format!("The withdrawal can be ended after {}.", at(e.finalizeAfter)),
                "Come back then; until then the gateway may claim what was used.",
            ),
            E::TooMuch(_) => refusal(
                "Less is left in the channel than is asked for.",
                "The gateway has claimed since: reload the page and try again.",
            ),
            E::WithdrawalPending(e) => refusal(
                format!("A withdrawal has begun already and can be ended after {}.", at(e.finalizeAfter)),
                "Wait until then and end it.",
            ),
            E::WrongDeposit(_) => refusal(
                "The coin brought another amount than was deposited.",
                "This coin takes a fee on transfers and cannot be used in channels.",
            ),
            E::ZeroAmount(_) => {
                refusal("The amount is zero, so nothing would move.", "Give an amount above zero.")
            }
            E::BadSignature(_) => refusal(
                "The signature is not by whom the channel names.",
                "Sign again with the wallet that the channel was opened with.",
            ),
            E::BadChannel(_)
            | E::NotReceiver(_)
            | E::OtherAuthorizer(_)
            | E::OverBalance(_)
            | E::OverVoucher(_)
            | E::WrongNonce(_)
            | E::AddressEmptyCode(_)
            | E::FailedCall(_)
            | E::ReentrancyGuardReentrantCall(_)
            | E::SafeERC20FailedOperation(_) => odd("The channels refused this."),
        }
    }

    fn coin(&self, error: &DevCash::DevCashErrors) -> Refusal {
        use DevCash::DevCashErrors as E;
        match error {
            E::ERC20InsufficientBalance(e) => refusal(
                format!("The wallet has {} and needs {}.", self.cash(e.balance), self.cash(e.needed)),
                "Bring more cash to the wallet, or bid less.",
            ),
            E::ERC20InsufficientAllowance(e) => refusal(
                format!(
                    "The wallet lets the offering take {}, and {} is needed.",
                    self.cash(e.allowance),
                    self.cash(e.needed)
                ),
                "Sign the cash permit, or approve the amount first.",
            ),
            E::ERC20InvalidReceiver(e) => {
                refusal(format!("The coin does not pay to {}.", e.receiver), "Name another payee.")
            }
            E::ERC20InvalidApprover(_) | E::ERC20InvalidSender(_) | E::ERC20InvalidSpender(_) => {
                odd("The coin was asked on behalf of nobody.")
            }
            E::ERC2612ExpiredSignature(e) => {
                refusal(format!("The cash permit was good until {}.", at(e.deadline)), "Sign a new one.")
            }
            E::ERC2612InvalidSigner(_) => refusal(
                "The cash permit is not signed by this wallet.",
                "Sign it again, or approve the amount in a transaction of its own.",
            ),
            E::InvalidAccountNonce(_) => {
                refusal("The cash permit was used or replaced already.", "Sign a new one.")
            }
            E::NotMinter(_) => refusal("Only the coin's issuer makes more of it.", "Ask it for cash."),
            E::ERC3009InvalidAuthorizationTime(_)
            | E::ERC3009InvalidSignature(_)
            | E::ERC3009UsedAuthorization(_)
            | E::ECDSAInvalidSignature(_)
            | E::ECDSAInvalidSignatureLength(_)
            | E::ECDSAInvalidSignatureS(_) => refusal(
                "The coin does not take this signature.",
                "Sign a new one, or approve the amount first.",
            ),
            E::InvalidShortString(_) | E::StringTooLong(_) | E::SafeCastOverflowedUintDowncast(_) => {
                odd("A number or name of the coin does not fit.")
            }
        }
    }

    fn credits(&self, units: U256) -> String {
        self.coins.whole_credits(Credits::from_units(units.saturating_to()))
    }

    fn between(&self, least: U256, most: U256) -> String {
        match most >= U256::from(earnest_core::money::CASH_MAX) {
            true => format!("at least {}", self.cash(least)),
            false => format!("{} to {}", self.cash(least), self.cash(most)),
        }
    }
}

/// An address short enough to read: `0x1234…cdef`.
pub(super) fn short(address: Address) -> String {
    let text = address.to_string();
    format!("{}\u{2026}{}", &text[..6], &text[38..])
}

fn at(time: U256) -> String {
    let time: Time = time.saturating_to();
    // The last second that the calendar's four digits of a year show; beyond it a time means never.
    if time > 253_402_300_799 { "without end".to_owned() } else { utc(time) }
}

fn capital(text: &str) -> String {
    earnest_report::words::capital(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every error of every contract here, as its ABI has it, with all its values zero.
    fn errors() -> Vec<(String, Vec<u8>)> {
        let artifacts = [
            include_str!("../../../../contracts/artifacts/Offering.json"),
            include_str!("../../../../contracts/artifacts/Treasury.json"),
            include_str!("../../../../contracts/artifacts/Vault.json"),
            include_str!("../../../../contracts/artifacts/Credit.json"),
            include_str!("../../../../contracts/artifacts/DevCash.json"),
            include_str!("../../../../contracts/artifacts/Channels.json"),
            include_str!("../../../../contracts/artifacts/DepositCollector.json"),
        ];
        let mut errors = Vec::new();
        for artifact in artifacts {
            let artifact: serde_json::Value = serde_json::from_str(artifact).expect("an artifact");
            let abi = artifact["abi"].as_array().expect("an ABI");
            for entry in abi.iter().filter(|entry| entry["type"] == "error") {
                let inputs = entry["inputs"].as_array().expect("inputs");
                let types: Vec<&str> = inputs.iter().filter_map(|input| input["type"].as_str()).collect();
                let signature = format!("{}({})", entry["name"].as_str().expect("a name"), types.join(","));
                let mut data = alloy_primitives::keccak256(&signature)[..4].to_vec();
                for kind in &types {
                    let word = if *kind == "string" { U256::from(32 * types.len()) } else { U256::ZERO };
                    data.extend(word.to_be_bytes::<32>());
                }
                data.extend(types.iter().filter(|kind| **kind == "string").flat_map(|_| [0; 32]));
                errors.push((signature, data));
            }
        }
        errors
    }

    #[test]
    fn every_error_of_the_contracts_has_words_and_a_remedy() {
        let source = include_str!("../../../../examples/plans/quickstart.toml");
        let (plan, _) = Plan::read("quickstart.toml", source).expect("an example is a plan");
        let speaker = Speaker { plan: &plan, coins: &Coins::of(&plan) };
        let errors = errors();
        assert!(errors.len() > 80, "{}", errors.len());
        for (name, data) in errors {
            let Refusal { what, remedy } = speaker.reverted(&data);
            assert!(what.ends_with('.') && remedy.ends_with('.'), "{name}: {what} {remedy}");
            assert!(!what.contains("without a reason") && what.len() > 20, "{name}: {what}");
        }
        let Refusal { what, .. } = speaker.reverted(&[]);
        assert!(what.contains("without a reason"));
    }
}
