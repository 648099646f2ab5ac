//! A small raise with three rounds for tests that need one exact moment of it: who does what is said by name, and a
//! refusal must have its name and leave every slot as it was.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, SolStruct, eip712_domain};
use earnest_chain::bindings::{DevCash, Offering, Treasury};
use earnest_chain::chain::{Chain, ChainError, Receipt};
use earnest_chain::deploy::{Coins, DeployError, Deployment, deploy};
use earnest_chain::embedded::{DEV_CHAIN_ID, Embedded};
use earnest_chain::key::Key;
use earnest_chain::story::{pack, sol_permit};
use earnest_core::bid::BidId;
use earnest_core::clearing::Prices;
use earnest_core::curve::{Knot, Ladder};
use earnest_core::money::{Bps, CASH_MAX};
use earnest_core::offering::{DAY, OfferingSetup, RoundSetup, Sale};
use earnest_core::permit::PurchasePermit;
use earnest_core::schedule::Schedule;
use earnest_core::setup::ServiceSetup;
use earnest_core::statement::RevenueSetup;
use earnest_core::treasury::TreasurySetup;

use crate::story::START;

/// One unit of cash in base units, one credit, and the price of 1 cash for a credit.
pub(crate) const CASH: u64 = 1_000_000;
pub(crate) const CREDIT: u128 = 10u128.pow(18);
pub(crate) const PRICE: u64 = 1_000_000_000_000;

/// The rounds: 1,000 credits at 1 cash with a day of cooling-off, an auction of as many, and windows of a day.
pub(crate) const FIXED: u8 = 0;
pub(crate) const AUCTION: u8 = 1;
pub(crate) const RISING: u8 = 2;

/// Moments, in seconds after [`START`].
pub(crate) const CLOSE: u64 = 10 * DAY;
pub(crate) const CLEARABLE: u64 = 12 * DAY;
pub(crate) const TAP_START: u64 = 20 * DAY;
pub(crate) const SOFT_CAP_DATE: u64 = 30 * DAY;
pub(crate) const DEADLINE: u64 = 60 * DAY;
pub(crate) const NOTICE: u64 = 2 * DAY;

/// Names of those with cash in hand.
pub(crate) const BACKERS: [&str; 4] = ["alice", "bob", "carol", "mallory"];

pub(crate) struct World {
    pub(crate) chain: Embedded,
    pub(crate) at: Deployment,
    pub(crate) terms: B256,
}

/// Everything the contracts keep.
pub(crate) type Everything = BTreeMap<(Address, U256), U256>;

/// The key of a name.
pub(crate) fn key(name: &str) -> Key {
    Key::from_words(name)
}

/// The address of a name.
pub(crate) fn who(name: &str) -> Address {
    key(name).address()
}

/// The number of an entity in a round that has no windows.
pub(crate) fn bid_id(round: u8, entity: u64) -> BidId {
    BidId { round, window: 0, entity }
}

/// Name of the error in what a contract reverts with.
pub(crate) fn name_of(error: &ChainError) -> String {
    error.name().unwrap_or_else(|| error.to_string())
}

/// The setup that [`World::new`] deploys.
pub(crate) fn setup() -> (OfferingSetup, TreasurySetup) {
    let round = |sale| RoundSetup {
        sale,
        open: START,
        close: START + CLOSE,
        pause_limit: DAY,
        cooling_off_days: 0,
        withdrawable_most: 1_000 * CASH,
        schedules: 0b11,
    };
    let supply = 1_000 * CREDIT;
    let fixed = round(Sale::Fixed { supply, price: PRICE, first_come: false, private: false });
    let auction =
        round(Sale::Auction { prices: Prices { supply, floor: PRICE, step: PRICE / 10 }, ticks: 64 });
    let knots = vec![
        Knot { weight: 0, credits: 0 },
        Knot { weight: 1_000 * CASH, credits: 1_000 * CREDIT },
        Knot { weight: 10_000 * CASH, credits: 5_000 * CREDIT },
    ];
    let rising = round(Sale::Rising {
        window_secs: DAY,
        windows: 10,
        window_cap: 1_000 * CASH,
        cap: 5_000 * CASH,
        start: 0,
        follows: Some(FIXED),
        ladder: Ladder::new(knots).expect("rising"),
    });
    let offering = OfferingSetup {
        issuer: who("issuer"),
        certifier: who("certifier"),
        guardian: who("guardian"),
        attesters: vec![who("attester")],
        terms_hash: B256::repeat_byte(0x11),
        soft_cap: 500 * CASH,
        soft_cap_date: START + SOFT_CAP_DATE,
        deadline: START + DEADLINE,
        notice_secs: NOTICE,
        objections: 2,
        milestones: 1,
        schedules: vec![
            Schedule { linear: false, points: vec![(1, 10_000)] },
            Schedule { linear: true, points: vec![(2_592_000, 10_000)] },
        ],
        discounts: vec![Bps::new(0).unwrap(), Bps::new(1_000).unwrap()],
        lock_days: vec![0, 365],
        rounds: vec![RoundSetup { cooling_off_days: 1, ..fixed }, auction, rising],
    };
    let treasury = TreasurySetup {
        issuer: who("issuer"),
        deadline: START + DEADLINE,
        tap_start: START + TAP_START,
        tap_per_sec: 1_000,
        ceiling_at_start: 100 * CASH,
        ceilings: vec![(1_000 * CASH, false), (300 * CASH, true)],
    };
    (offering, treasury)
}

/// How what the service earns is split in [`World`]: four fifths to providers.
pub(crate) fn service() -> ServiceSetup {
    let (issuer, gateway) = (who("issuer"), who("gateway"));
    let revenue = RevenueSetup { issuer, gateway, share: Bps::new(8_000).expect("a part") };
    ServiceSetup { revenue, price_list: None }
}

pub(crate) fn coins(cash: Option<Address>) -> Coins {
    Coins {
        cash,
        cash_name: ("Play Dollar".into(), "pUSD".into()),
        credit_name: ("Credit".into(), "CRED".into()),
        x402: true,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// With a changed setup.
    pub(crate) fn with(change: impl FnOnce(&mut OfferingSetup, &mut TreasurySetup)) -> Self {
        Self::deploy(change, |_| coins(None)).expect("deploys")
    }

    /// With other coins, which may be deployed first. Every backer has 100,000 cash and lets the offering take it.
    pub(crate) fn deploy(
        change: impl FnOnce(&mut OfferingSetup, &mut TreasurySetup),
        coins: impl FnOnce(&mut Chain) -> Coins,
    ) -> Result<Self, DeployError> {
        let (mut offering, mut treasury) = setup();
        change(&mut offering, &mut treasury);
        let mut chain = Chain::Embedded(Embedded::new(START));
        let coins = coins(&mut chain);
        let at = deploy(&mut chain, &key("deployer"), &offering, &treasury, &service(), &coins)?;
        let Chain::Embedded(chain) = chain else { unreachable!("made embedded") };
        let mut world = World { chain, at, terms: offering.terms_hash };
        for name in BACKERS {
            let units = U256::from(100_000 * CASH);
            world.does("deployer", world.at.cash, &DevCash::mintCall { to: who(name), units });
            let spender = world.at.offering;
            world.does(name, world.at.cash, &DevCash::approveCall { spender, value: U256::MAX });
        }
        Ok(world)
    }

    /// Goes to a moment, in seconds after [`START`].
    pub(crate) fn go_to(&mut self, secs: u64) {
        self.chain.advance_to(START + secs);
    }

    pub(crate) fn send(
        &mut self,
        from: Address,
        to: Address,
        call: &impl SolCall,
    ) -> Result<Receipt, ChainError> {
        self.chain.send(from, TxKind::Call(to), call.abi_encode().into())
    }

    /// Must go through.
    pub(crate) fn does(&mut self, name: &str, to: Address, call: &impl SolCall) -> Receipt {
        self.send(who(name), to, call).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Must be refused with an error of this name, and change nothing.
    pub(crate) fn refuses(&mut self, error: &str, name: &str, to: Address, call: &impl SolCall) {
        self.refuses_from(error, who(name), to, call);
    }

    pub(crate) fn refuses_from<C: SolCall>(&mut self, error: &str, from: Address, to: Address, call: &C) {
        let before = self.everything();
        match self.send(from, to, call) {
            Ok(_) => panic!("{} was to be refused as {error}", C::SIGNATURE),
            Err(refused) => assert_eq!(name_of(&refused), error, "{refused}"),
        }
        assert!(self.everything() == before, "a refused call changed something");
    }

    pub(crate) fn asks<C: SolCall>(&mut self, to: Address, call: &C) -> C::Return {
        let answer = self.chain.call(Address::ZERO, to, call.abi_encode().into());
        C::abi_decode_returns(&answer.expect("a view")).expect("its answer")
    }

    /// Every slot of every contract.
    pub(crate) fn everything(&self) -> Everything {
        let at = &self.at;
        let raise = [at.offering, at.treasury, at.credit, at.cash, at.vault];
        let contracts = raise.into_iter().chain([at.channels, at.collector, at.revenue]);
        contracts.flat_map(|of| self.chain.slots(of).map(move |(slot, value)| ((of, slot), value))).collect()
    }

    pub(crate) fn cash_of(&mut self, of: Address) -> u64 {
        self.asks(self.at.cash, &DevCash::balanceOfCall { account: of }).to()
    }

    pub(crate) fn credits_of(&mut self, of: Address) -> u128 {
        self.asks(self.at.credit, &DevCash::balanceOfCall { account: of }).to()
    }

    /// A generous permit of generation 1 for the wallet of a name.
    pub(crate) fn permit(&self, name: &str, round: u8, entity: u64) -> PurchasePermit {
        PurchasePermit {
            entity,
            wallet: who(name),
            round,
            min_cash: 1,
            max_cash: CASH_MAX,
            max_total: u64::MAX,
            first: 0,
            last: u16::MAX,
            not_before: 0,
            expiry: START + 1_000 * DAY,
            jurisdiction: 840,
            lock_class: 0,
            affiliate: false,
            cooling_off: false,
            generation: 1,
            terms_hash: self.terms,
        }
    }

    /// What is signed for a permit on some chain and contract.
    pub(crate) fn permit_digest(permit: &PurchasePermit, chain_id: u64, contract: Address) -> B256 {
        sol_permit(permit).eip712_signing_hash(&eip712_domain! {
            name: "Earnest Offering", version: "1", chain_id: chain_id, verifying_contract: contract,
        })
    }

    pub(crate) fn signed_by(&self, attester: &str, permit: &PurchasePermit) -> Bytes {
        key(attester).sign(Self::permit_digest(permit, DEV_CHAIN_ID, self.at.offering))
    }

    /// A bid under a permit that the attester signed.
    pub(crate) fn order(&self, permit: &PurchasePermit, cash: u64, tick: u16) -> Offering::bidCall {
        order(permit, self.signed_by("attester", permit), cash, tick)
    }

    /// Bids under a generous permit; cash in whole units.
    pub(crate) fn bids(&mut self, name: &str, round: u8, entity: u64, cash: u64, tick: u16) -> BidId {
        let permit = self.permit(name, round, entity);
        self.bids_under(name, &permit, cash, tick)
    }

    pub(crate) fn bids_under(&mut self, name: &str, permit: &PurchasePermit, cash: u64, tick: u16) -> BidId {
        let call = self.order(permit, cash * CASH, tick);
        self.does(name, self.at.offering, &call);
        let passed = u16::try_from((self.chain.time() - START) / DAY).unwrap();
        let window = if permit.round == RISING { passed } else { 0 };
        BidId { round: permit.round, window, entity: permit.entity }
    }

    pub(crate) fn clears(&mut self, round: u8) {
        self.does("stranger", self.at.offering, &clear(round, 10_000));
    }

    pub(crate) fn sweeps(&mut self, round: u8) {
        self.does("stranger", self.at.offering, &sweep(round));
    }

    /// Alice buys 600 credits and bob 900 of the 1,000 at a fixed price; cleared and swept.
    pub(crate) fn sold_out(&mut self) -> [BidId; 2] {
        let ids = [self.bids("alice", FIXED, 1, 600, 0), self.bids("bob", FIXED, 2, 900, 0)];
        self.go_to(CLEARABLE);
        self.clears(FIXED);
        self.sweeps(FIXED);
        ids
    }

    /// The service is live, a notice from now.
    pub(crate) fn goes_live(&mut self) {
        self.does("certifier", self.at.offering, &attest(0));
        let now = self.chain.time();
        self.chain.advance_to(now + NOTICE);
    }
}

pub(crate) fn order(permit: &PurchasePermit, signature: Bytes, cash: u64, tick: u16) -> Offering::bidCall {
    Offering::bidCall {
        permit: sol_permit(permit),
        signature,
        cash_: U256::from(cash),
        tick: U256::from(tick),
        schedule: U256::ZERO,
    }
}

pub(crate) fn withdraw(id: BidId, payee: &str) -> Offering::withdrawCall {
    Offering::withdrawCall { id: pack(id), payee: who(payee) }
}

pub(crate) fn clear(round: u8, steps: u64) -> Offering::clearCall {
    Offering::clearCall { index: U256::from(round), steps: U256::from(steps) }
}

pub(crate) fn settle(id: BidId) -> Offering::settleCall {
    Offering::settleCall { id: pack(id) }
}

pub(crate) fn refund(id: BidId) -> Offering::refundCall {
    Offering::refundCall { id: pack(id) }
}

pub(crate) fn pot_refund(id: BidId) -> Treasury::refundCall {
    Treasury::refundCall { id: pack(id) }
}

pub(crate) fn sweep(round: u8) -> Offering::sweepCall {
    Offering::sweepCall { index: U256::from(round) }
}

pub(crate) fn deliver(id: BidId) -> Offering::deliverCall {
    Offering::deliverCall { id: pack(id) }
}

pub(crate) fn attest(subject: u8) -> Offering::attestCall {
    Offering::attestCall { subject: U256::from(subject), evidence: B256::repeat_byte(7) }
}

pub(crate) fn object(subject: u8) -> Offering::objectCall {
    Offering::objectCall { subject: U256::from(subject) }
}

pub(crate) fn pause(round: u8, secs: u64) -> Offering::pauseCall {
    Offering::pauseCall { index: U256::from(round), secs: U256::from(secs) }
}

pub(crate) fn draw(cash: u64, to: &str) -> Treasury::drawCall {
    Treasury::drawCall { amount: U256::from(cash), to: who(to) }
}

pub(crate) fn set_attester(name: &str, generation: u32) -> Offering::setAttesterCall {
    Offering::setAttesterCall { attester: who(name), generation }
}
