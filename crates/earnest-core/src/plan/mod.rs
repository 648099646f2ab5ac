//! The plan file, `plan.toml` with `schema = 1`: everything about an offering said once. These types are what
//! validates it, deploys it, explains it, accounts for it and simulates it. They hold only what was agreed;
//! what happened lives in [`crate::offering`] and [`crate::treasury`].

pub mod check;
pub mod date;
pub mod explain;
pub mod fault;
pub mod instant;
pub mod read;
pub mod table;
pub mod template;
pub mod units;

use alloy_primitives::{Address, B256};

use crate::money::{Bps, Cash, Credits, Price};

pub use fault::{Fault, Faults, Place, Warning};

/// Seconds since the Unix epoch.
pub type Time = u64;

/// A whole plan, read and valid by itself. Made by [`Plan::read`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name, caps and the history the plan stands on.
    pub offering: OfferingPlan,
    /// What every permit and bid signs to, with `documents`: see [`crate::terms`].
    pub terms: Terms,
    /// The papers behind the terms, by hash.
    pub documents: Vec<Document>,
    /// The coin raised.
    pub cash: CoinPlan,
    /// The coin delivered.
    pub credits: CoinPlan,
    /// Who holds which key.
    pub roles: Roles,
    /// The service promised.
    pub service: Service,
    /// How a position becomes credits, by the buyer's choice.
    pub schedules: Vec<SchedulePlan>,
    /// Under which exemption buyers buy, and how long they are locked.
    pub regimes: Vec<RegimePlan>,
    /// The rounds, in order.
    pub rounds: Vec<RoundPlan>,
    /// How the cash is held and released.
    pub treasury: TreasuryPlan,
    /// Votes of backers; `None`: that deployment has no votes, ever.
    pub votes: Option<VotesPlan>,
    /// What the service costs.
    pub price_list: Option<PriceListPlan>,
    /// Independent providers of compute.
    pub providers: Option<ProvidersPlan>,
}

/// `[offering]`
#[derive(Clone, Debug, PartialEq)]
pub struct OfferingPlan {
    /// Name of the offering.
    pub name: String,
    /// Legal name of the issuer.
    pub issuer: String,
    /// Said by every page and report: "hypothetical: no such sale was ever held".
    pub note: Option<String>,
    /// The most all rounds together may take.
    pub hard_cap: Cash,
    /// Less than this by `soft_cap_date` and everything goes back. Zero: no soft cap.
    pub soft_cap: Cash,
    /// When the soft cap must be met.
    pub soft_cap_date: Option<Time>,
    /// Guardian's pause of bids: the most it may add up to in one round, in seconds.
    pub pause_limit_secs: u32,
}

/// `[terms]`: free text, hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Title of the agreement.
    pub title: String,
    /// Governing law.
    pub governing_law: String,
    /// What a position is, in the agreement's words.
    pub position: String,
    /// What a credit buys, in the agreement's words.
    pub credit: String,
    /// Public promises made before or at the sale, each to be kept in the promise ledger.
    pub promises: Vec<String>,
}

/// `[[documents]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Name as printed.
    pub name: String,
    /// `purchase-agreement`, `risk-disclosure`, `white-paper`, `other`.
    pub kind: DocumentKind,
    /// SHA-256 of its bytes.
    pub sha256: B256,
    /// Where it lies, relative to the plan; then its hash is checked. Not part of the terms hash.
    pub file: Option<String>,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// `purchase-agreement`
    PurchaseAgreement,
    /// `risk-disclosure`
    RiskDisclosure,
    /// `white-paper`
    WhitePaper,
    /// `other`
    Other,
}

/// `[cash]` and `[credits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinPlan {
    /// ERC-20 name.
    pub name: String,
    /// ERC-20 symbol.
    pub symbol: String,
    /// Where the coin already is (cash only); without it a test coin is deployed on a development chain, and
    /// any other chain is refused.
    pub address: Option<Address>,
}

/// `[roles]`: addresses. A role left out gets a development key, on a development chain only.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Roles {
    /// Draws the tap, rotates attesters.
    pub issuer: Option<Address>,
    /// Sign purchase permits.
    pub attesters: Vec<Address>,
    /// Attests milestones and that the service is live. Never the issuer.
    pub certifier: Option<Address>,
    /// The nonprofit's veto.
    pub guardian: Option<Address>,
    /// Claims from channels, publishes statements, signs receipts; `None`: the issuer on a real chain.
    pub gateway: Option<Address>,
}

/// `[service]`
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Live by then, or the cash goes back.
    pub deadline: Time,
    /// Between an attestation and its effect, in seconds: the guardian may object in it.
    pub notice_secs: u32,
    /// How often the guardian may object to one attestation.
    pub objections: u8,
    /// Credits' worth of service the issuer can serve in a day once live: for coverage.
    pub capacity_per_day: Option<Credits>,
}

/// `[[schedules]]`: how a position vests after the service is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePlan {
    /// Name the buyer picks it by.
    pub name: String,
    /// Weight of a bid is `floor(b ÷ (1 − d))`.
    pub discount: Bps,
    /// Straight lines between the points (and from nothing at live to the first) instead of steps.
    pub linear: bool,
    /// Up to five (seconds after live, part vested by then); strictly rising, the last at 100%.
    pub points: Vec<(u32, Bps)>,
}

/// `[[regimes]]`: one way a buyer may lawfully buy, as the issuer's counsel sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegimePlan {
    /// Name the rounds refer to.
    pub name: String,
    /// Key into the table of rules ([`crate::regime`]), such as `us-506c`.
    pub rule: String,
    /// Days that credits of such a position stay locked after the round is cleared; 0: free.
    pub lock_days: u16,
    /// Most buyers, where the plan bounds it.
    pub max_buyers: Option<u32>,
    /// Most buyers who are not accredited or qualified.
    pub max_non_accredited: Option<u32>,
    /// Most cash under this regime, where the plan bounds it.
    pub max_raise: Option<Cash>,
    /// Most cash of one entity over all rounds.
    pub max_entity: Option<Cash>,
    /// Days a buyer may withdraw the bid.
    pub cooling_off_days: u8,
    /// Hours to wait between approval and the first bid.
    pub wait_hours: u16,
    /// ISO 3166-1 alpha-2 codes of where its buyers live; empty: anywhere not named by another regime.
    pub jurisdictions: Vec<String>,
    /// Share of a demo's demand that comes under this regime, for demos and simulations only.
    pub demand: Bps,
}

/// `[[rounds]]`
#[derive(Clone, Debug, PartialEq)]
pub struct RoundPlan {
    /// Name of the round.
    pub name: String,
    /// How it sells.
    pub kind: RoundKind,
    /// First second of bidding.
    pub open: Time,
    /// First second after bidding.
    pub close: Time,
    /// Least cash of a bid.
    pub min_bid: Cash,
    /// Most cash of one entity in this round; `None`: the permit alone says.
    pub max_bid: Option<Cash>,
    /// Names of schedules a buyer may pick here.
    pub schedules: Vec<String>,
    /// Names of regimes a buyer may come under here.
    pub regimes: Vec<String>,
    /// Most cash that may be withdrawable at once under cooling-off; `None`: no bound (fixed-price rounds only).
    pub withdrawable: Option<Cash>,
}

/// How a round sells.
#[derive(Clone, Debug, PartialEq)]
pub enum RoundKind {
    /// `fixed`: one price for all comers.
    Fixed(FixedPlan),
    /// `private`: the same rule, offered without general solicitation.
    Private(FixedPlan),
    /// `auction`: one uniform price, limits on a ladder.
    Auction(AuctionPlan),
    /// `rising`: the price climbs along a curve, one price for each time window.
    Rising(RisingPlan),
}

/// Keys of a fixed-price or private round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedPlan {
    /// Credits for sale.
    pub supply: Credits,
    /// Price before discount.
    pub price: Price,
    /// A bid beyond what is left is refused, instead of all being cut pro rata.
    pub first_come: bool,
}

/// Keys of an auction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuctionPlan {
    /// Credits for sale.
    pub supply: Credits,
    /// Price of tick 0.
    pub floor_price: Price,
    /// Between ticks.
    pub tick: Price,
    /// How many ticks, at most 4,096; the top tick is `floor_price + (ticks − 1) × tick`.
    pub ticks: u16,
}

/// Keys of a rising-price round.
#[derive(Clone, Debug, PartialEq)]
pub struct RisingPlan {
    /// Length of a window. The round is cut into windows from its open; the last may be shorter.
    pub window_secs: u32,
    /// Most weight one window sells; the rest is returned pro rata.
    pub window_cap: Cash,
    /// Where on the curve the round starts: weight counted as sold before it.
    pub start: Cash,
    /// A round whose proceeds are added to `start` once it is cleared.
    pub follows: Option<String>,
    /// Most weight the round sells.
    pub cap: Cash,
    /// The price curve.
    pub curve: CurvePlan,
    /// Knots of the integer ladder made of it, at most 512.
    pub knots: u16,
}

/// A price curve over the weight sold so far. N is its integral: credits sold after weight x.
#[derive(Clone, Debug, PartialEq)]
pub enum CurvePlan {
    /// `exponential`: price of the n-th credit `p₀·e^(n ÷ e_fold)`, so `N(x) = e_fold·ln(1 + x ÷ (p₀·e_fold))`.
    Exponential {
        /// Price of the first credit.
        first_price: Price,
        /// Credits over which the price grows e-fold.
        e_fold: Credits,
    },
    /// `proportional`: price `max(floor, x ÷ divisor)`.
    Proportional {
        /// Least price.
        floor_price: Price,
        /// Cash raised is divided by this many credits.
        divisor: Credits,
    },
    /// `linear`: price of the n-th credit `p₀ + slope·n`, slope in price per whole credit as a fraction of
    /// `(p₁ − p₀) ÷ over`.
    Linear {
        /// Price of the first credit.
        first_price: Price,
        /// Price after `over` credits.
        last_price: Price,
        /// Credits between the two prices.
        over: Credits,
    },
    /// `points`: the ladder itself, (weight, credits) from (0, 0), strictly rising in both.
    Points(Vec<(Cash, Credits)>),
}

/// `[treasury]`
#[derive(Clone, Debug, PartialEq)]
pub struct TreasuryPlan {
    /// Cash a second, at most.
    pub tap_per_sec: Cash,
    /// When the tap starts counting: `None`: once the service is live; a time: then, before live if the plan so says.
    pub tap_start: Option<Time>,
    /// What the tap may have released in all from its start on, before anything is attested.
    pub ceiling_at_start: Cash,
    /// What it may have released in all once the service is live.
    pub ceiling_at_live: Cash,
    /// Milestones, at most eight; each raises the ceiling to its own.
    pub milestones: Vec<Milestone>,
}

/// `[[treasury.milestones]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milestone {
    /// Name.
    pub name: String,
    /// What must be true, in words.
    pub statement: String,
    /// What the tap may have released in all once it is attested (pays nothing by itself).
    pub ceiling: Cash,
    /// It may be attested before the service is live (then the tap must start by a date).
    pub before_live: bool,
}

/// `[votes]`: written down here, carried out by the `Votes` contract where a deployment has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VotesPlan {
    /// Part of the weight that must ask for a vote.
    pub threshold: Bps,
    /// Part of the weight that must vote.
    pub quorum: Bps,
    /// Part of the weight cast that must agree.
    pub majority: Bps,
    /// How long a vote lasts, in seconds.
    pub voting_secs: u32,
    /// Between two votes, in seconds.
    pub cooldown_secs: u32,
    /// In which any position may leave on the old terms, in seconds.
    pub exit_secs: u32,
}

/// `[price_list]`
#[derive(Clone, Debug, PartialEq)]
pub struct PriceListPlan {
    /// Notice before any rise, in seconds.
    pub notice_secs: u32,
    /// What a credit's worth of service costs in cash; `None`: service is not sold for cash.
    pub cash: Option<Price>,
    /// Prices.
    pub models: Vec<ModelPrice>,
    /// The tier covenant: at all times a model that meets this benchmark is offered at or below this price.
    pub covenant: Option<Covenant>,
}

/// `[[price_list.models]]`: credits a unit of service. At least one price.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPrice {
    /// Name as the API knows it.
    pub name: String,
    /// Per million model tokens read.
    pub input: Option<Credits>,
    /// Per million model tokens read from cache.
    pub cached: Option<Credits>,
    /// Per million model tokens written.
    pub output: Option<Credits>,
    /// Per million model tokens embedded.
    pub embedding: Option<Credits>,
    /// Per image.
    pub image: Option<Credits>,
    /// Per second of audio.
    pub audio_second: Option<Credits>,
    /// Per second of compute, for batch jobs.
    pub compute_second: Option<Credits>,
}

/// `[price_list.covenant]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covenant {
    /// Name of the tier.
    pub tier: String,
    /// The published benchmark and the score to meet.
    pub benchmark: String,
    /// Most credits per million model tokens written.
    pub output: Credits,
    /// Which of the listed models meets it; `None`: the cheapest by output.
    pub model: Option<String>,
}

/// `[providers]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidersPlan {
    /// Part of what is settled that goes to the provider; the rest is burned.
    pub share: Bps,
    /// Part of a provider's pay held back until quality is known.
    pub held_back: Bps,
    /// Least stake of an organisation.
    pub min_stake: Credits,
    /// How long unstaking takes, in seconds.
    pub thawing_secs: u32,
    /// Credits that may be emitted before anything was burned.
    pub cold_start: Credits,
    /// Length of an epoch, in seconds.
    pub epoch_secs: u32,
}

impl DocumentKind {
    /// All kinds.
    pub const ALL: [DocumentKind; 4] = [
        DocumentKind::PurchaseAgreement,
        DocumentKind::RiskDisclosure,
        DocumentKind::WhitePaper,
        DocumentKind::Other,
    ];

    /// The word in the plan.
    pub fn word(self) -> &'static str {
        match self {
            DocumentKind::PurchaseAgreement => "purchase-agreement",
            DocumentKind::RiskDisclosure => "risk-disclosure",
            DocumentKind::WhitePaper => "white-paper",
            DocumentKind::Other => "other",
        }
    }
}

impl RoundKind {
    /// The word in the plan.
    pub fn word(&self) -> &'static str {
        match self {
            RoundKind::Fixed(_) => "fixed",
            RoundKind::Private(_) => "private",
            RoundKind::Auction(_) => "auction",
            RoundKind::Rising(_) => "rising",
        }
    }
}

impl AuctionPlan {
    /// Price of a tick; `None` above the top or on overflow.
    pub fn price(&self, tick: u16) -> Option<Price> {
        let price = self.floor_price.units().checked_add(self.tick.units().checked_mul(u64::from(tick))?)?;
        (tick < self.ticks).then_some(Price::from_units(price))
    }
}

impl RoundPlan {
    /// Windows of a rising round; 1 for any other.
    pub fn windows(&self) -> u64 {
        match &self.kind {
            RoundKind::Rising(rising) => {
                (self.close - self.open).div_ceil(u64::from(rising.window_secs.max(1)))
            }
            _ => 1,
        }
    }
}

impl Plan {
    /// The schedule of that name.
    pub fn schedule(&self, name: &str) -> Option<(usize, &SchedulePlan)> {
        self.schedules.iter().enumerate().find(|(_, schedule)| schedule.name == name)
    }

    /// The regime of that name.
    pub fn regime(&self, name: &str) -> Option<(usize, &RegimePlan)> {
        self.regimes.iter().enumerate().find(|(_, regime)| regime.name == name)
    }

    /// Longest cooling-off of any regime of a round, in days.
    pub fn cooling_off_days(&self, round: &RoundPlan) -> u8 {
        round
            .regimes
            .iter()
            .filter_map(|name| self.regime(name))
            .map(|(_, r)| r.cooling_off_days)
            .max()
            .unwrap_or(0)
    }
}
