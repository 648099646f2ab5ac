//! From a plan to what is deployed: the same numbers for the model and for the contracts' constructors.

use alloy_primitives::Address;

use crate::clearing::Prices;
use crate::curve::{Ladder, LadderError};
use crate::money::{Bps, Cash};
use crate::offering::{OfferingSetup, RoundSetup, Sale};
use crate::plan::{Plan, RoundKind, RoundPlan};
use crate::price_list::PriceListSetup;
use crate::schedule::Schedule;
use crate::statement::RevenueSetup;
use crate::terms::terms_hash;
use crate::treasury::TreasurySetup;

/// The addresses behind the roles of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Draws the tap, rotates attesters.
    pub issuer: Address,
    /// Attests.
    pub certifier: Address,
    /// Objects and pauses.
    pub guardian: Address,
    /// Sign permits.
    pub attesters: Vec<Address>,
    /// Claims, refunds, publishes statements and signs receipts at first; the issuer may give each to another.
    pub gateway: Address,
}

/// What the contracts of the service are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSetup {
    /// How earnings are split.
    pub revenue: RevenueSetup,
    /// Prices at the start; none: the plan has no price list.
    pub price_list: Option<PriceListSetup>,
}

impl ServiceSetup {
    /// As a checked plan says. Without providers all of what is settled is rest.
    pub fn from_plan(plan: &Plan, parties: &Parties) -> Self {
        let share = plan.providers.as_ref().map_or(Bps::default(), |providers| providers.share);
        let (issuer, gateway) = (parties.issuer, parties.gateway);
        ServiceSetup {
            revenue: RevenueSetup { issuer, gateway, share },
            price_list: PriceListSetup::from_plan(plan, issuer),
        }
    }
}

/// What the constructors are told. The plan was checked.
pub fn setup(plan: &Plan, parties: &Parties) -> Result<(OfferingSetup, TreasurySetup), LadderError> {
    let rounds = plan.rounds.iter().map(|round| round_setup(plan, round)).collect::<Result<Vec<_>, _>>()?;
    let treasury = &plan.treasury;
    let live = (treasury.ceiling_at_live.units(), false);
    let milestones = treasury.milestones.iter().map(|m| (m.ceiling.units(), m.before_live));
    let offering = OfferingSetup {
        issuer: parties.issuer,
        certifier: parties.certifier,
        guardian: parties.guardian,
        attesters: parties.attesters.clone(),
        terms_hash: terms_hash(plan),
        soft_cap: plan.offering.soft_cap.units(),
        soft_cap_date: plan.offering.soft_cap_date.unwrap_or(0),
        deadline: plan.service.deadline,
        notice_secs: plan.service.notice_secs.into(),
        objections: plan.service.objections,
        milestones: small(treasury.milestones.len()),
        schedules: plan.schedules.iter().map(Schedule::from_plan).collect(),
        discounts: plan.schedules.iter().map(|schedule| schedule.discount).collect(),
        lock_days: plan.regimes.iter().map(|regime| regime.lock_days).collect(),
        rounds,
    };
    let treasury = TreasurySetup {
        issuer: parties.issuer,
        deadline: plan.service.deadline,
        tap_start: treasury.tap_start.unwrap_or(0),
        tap_per_sec: treasury.tap_per_sec.units(),
        ceiling_at_start: treasury.ceiling_at_start.units(),
        ceilings: std::iter::once(live).chain(milestones).collect(),
    };
    Ok((offering, treasury))
}

fn round_setup(plan: &Plan, round: &RoundPlan) -> Result<RoundSetup, LadderError> {
    let sale = match &round.kind {
        RoundKind::Fixed(fixed) | RoundKind::Private(fixed) => Sale::Fixed {
            supply: fixed.supply.units(),
            price: fixed.price.units(),
            first_come: fixed.first_come,
            private: matches!(round.kind, RoundKind::Private(_)),
        },
        RoundKind::Auction(auction) => Sale::Auction {
            prices: Prices {
                supply: auction.supply.units(),
                floor: auction.floor_price.units(),
                step: auction.tick.units(),
            },
            ticks: auction.ticks,
        },
        RoundKind::Rising(rising) => {
            let follows =
                rising.follows.as_ref().and_then(|name| plan.rounds.iter().position(|r| r.name == *name));
            let followed_most =
                follows.map_or(Cash::ZERO, |index| plan.rounds[index].most_cash().unwrap_or_default());
            Sale::Rising {
                window_secs: rising.window_secs.into(),
                windows: u16::try_from(round.windows()).expect("a checked plan has at most 4,000 windows"),
                window_cap: rising.window_cap.units(),
                cap: rising.cap.units(),
                start: rising.start.units(),
                follows: follows.map(small),
                ladder: Ladder::from_plan(rising, followed_most)?,
            }
        }
    };
    let schedules = round.schedules.iter().filter_map(|name| plan.schedule(name));
    Ok(RoundSetup {
        sale,
        open: round.open,
        close: round.close,
        pause_limit: plan.offering.pause_limit_secs.into(),
        cooling_off_days: plan.cooling_off_days(round),
        withdrawable_most: round.withdrawable.map_or(u64::MAX, Cash::units),
        schedules: schedules.map(|(index, _)| 1u16 << index).sum(),
    })
}

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("a checked plan has at most 16 of anything indexed")
}
