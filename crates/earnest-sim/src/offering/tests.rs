//! The same bids, clearings, draws and endings told to the full model, one bidder for each cohort's part: what cohorts get
//! must be what bidders get, but for roundings of a base unit each.

use earnest_core::bid::BidId;
use earnest_core::money::CASH_MAX;
use earnest_core::offering::Order;
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::Plan;
use earnest_core::raise::{Call, Holder, Raise};

use super::*;
use crate::factor::FACTORS;
use crate::study::Study;

const WHO: Address = Address::repeat_byte(1);

fn study(plan: &str, demand: &[&str]) -> Study {
    let demand: Vec<String> = demand.iter().map(|cash| format!("{cash:?}")).collect();
    let source = format!(
        r#"
schema = 1
study = {{ name = "lockstep", start = 2018-01-01T00:00:00Z, months = 80, judged = 80 }}
lab = {{}}
mission = {{ hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "0 cash"]] }}
service = {{ live = 0, serving = "0%", revenue = [[0, "0 cash"]], capacity = [[0, "0 hours"]] }}
[[designs]]
name = "offering"
[[designs.instruments]]
name = "offering"
kind = "offering"
plan = "{plan}"
demand = [{}]
worth = "1 cash"
[[designs]]
name = "nothing"
[[designs.instruments]]
name = "nothing"
kind = "grant"
amount = [[0, "0 cash"]]
"#,
        demand.join(", ")
    );
    let plans = |path: &std::path::Path| {
        let path = format!("{}/../../examples/plans/{}", env!("CARGO_MANIFEST_DIR"), path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        Plan::read(&path, &text).map(|(plan, _)| plan).map_err(|faults| faults.to_string())
    };
    Study::read("lockstep", &source, &plans).unwrap_or_else(|faults| panic!("{faults}"))
}

fn terms(study: &Study) -> Prepared {
    let crate::study::Kind::Offering(terms) = &study.designs[0].instruments[0].kind else {
        panic!("an offering")
    };
    Prepared::new(terms, study)
}

fn calm(demand: f64, months: usize) -> Future {
    let mut future = Future::empty();
    future.values = [0.0; FACTORS];
    future.values[Factor::OfferingDemand.index()] = demand;
    (future.compute, future.service, future.crypto) =
        (vec![1.0; months], vec![1.0; months], vec![1.0; months]);
    future
}

/// The full model of a plan with a wallet that may do everything.
fn full(of: &Prepared) -> Raise {
    let mut offering = of.setup.clone();
    (offering.issuer, offering.certifier, offering.guardian, offering.attesters) = (WHO, WHO, WHO, vec![WHO]);
    let mut treasury = of.treasury.clone();
    treasury.issuer = WHO;
    Raise::new(offering, treasury)
}

/// Tells the model all bids of an offering whose rounds are cleared; what each schedule's bidders are called.
fn bid(of: &Prepared, raise: &mut Raise, offering: &Offering<'_>) -> Vec<BidId> {
    let mut ids = Vec::new();
    let mut windows = vec![0u64; of.rounds.len()];
    for (round, tick, crowd) in &offering.bids {
        let made = &of.setup.rounds[*round];
        let at = match made.sale {
            Sale::Rising { window_secs, .. } => {
                windows[*round] += 1;
                made.open + (windows[*round] - 1) * window_secs
            }
            _ => made.open,
        };
        for (place, &(cash, _)) in
            crowd.parts[..crowd.count].iter().enumerate().filter(|(_, (cash, _))| *cash > 0)
        {
            let entity = ids.len() as u64 + 1;
            let wallet = Address::left_padding_from(&entity.to_be_bytes());
            raise.cash.mint(Holder::Account(wallet), cash.into());
            let index = u8::try_from(*round).unwrap();
            let permit = PurchasePermit {
                entity,
                wallet,
                round: index,
                min_cash: 1,
                max_cash: CASH_MAX,
                max_total: u64::MAX,
                first: 0,
                last: u16::MAX,
                not_before: 0,
                expiry: u64::MAX,
                jurisdiction: 0,
                lock_class: 0,
                affiliate: false,
                cooling_off: false,
                generation: 1,
                terms_hash: raise.offering.setup.terms_hash,
            };
            let schedule = of.rounds[*round].schedules[place];
            let order = Order { permit, signed_by: Some(WHO), cash, tick: *tick, schedule };
            raise.apply(at, wallet, &Call::Bid(order)).unwrap();
            let window = u16::try_from(windows[*round].saturating_sub(1)).unwrap();
            ids.push(BidId { round: index, window, entity });
        }
    }
    ids
}

fn near(found: u64, meant: u64, within: u64) -> bool {
    found.abs_diff(meant) <= within
}

/// Lives through a plan with the service live in a month, drawing so much a month, beside the full model.
fn together(plan: &str, demand: &[&str], factor: f64, live: Option<u32>, draw: u64) -> (u64, u64, u128) {
    let months = 80;
    let study = study(plan, demand);
    let of = terms(&study);
    let future = calm(factor, months);
    let mut offering = Offering::new(&of);
    let mut raise = full(&of);
    let cleared = of.rounds.iter().map(|round| round.clears).max().unwrap();
    let mut ids = Vec::new();
    for month in 0..u32::try_from(months).unwrap() {
        let now = of.time(month);
        let is_live = live.is_some_and(|live| month >= live);
        let before = offering.effective.clone();
        offering.month(month, &future, is_live, live.map_or(0.0, |live| f64::from(month) / f64::from(live)));
        for (subject, (effective, before)) in (0u8..).zip(offering.effective.iter().zip(&before)) {
            if effective != before {
                raise.apply(effective - of.setup.notice_secs, WHO, &Call::Attest { subject }).unwrap();
            }
        }
        if month == cleared {
            ids = bid(&of, &mut raise, &offering);
            for round in 0..u8::try_from(of.rounds.len()).unwrap() {
                let at = raise.offering.clearable_at(round).unwrap();
                raise.apply(at, WHO, &Call::Clear { round, steps: 10_000 }).unwrap();
            }
            for &id in &ids {
                raise.apply(now, WHO, &Call::Settle { id }).unwrap();
            }
            for round in 0..u8::try_from(of.rounds.len()).unwrap() {
                let _ = raise.apply(now, WHO, &Call::Sweep { round });
            }
            let proceeds: u64 = raise.offering.rounds.iter().map(|round| round.proceeds).sum();
            assert_eq!(offering.raised, proceeds, "{plan}");
        }
        if month < cleared {
            continue;
        }
        let slack = ids.len() as u64 + 1;
        if raise.offering.is_effective(LIVE, now) {
            for &id in &ids {
                let wallet = raise.offering.bid(id).wallet;
                let _ = raise.apply(now, wallet, &Call::Deliver { id });
            }
            raise.apply(now, WHO, &Call::Sync).unwrap();
        }
        if raise.treasury.refunding(&raise.offering, now) {
            for &id in &ids {
                let _ = raise.apply(now, WHO, &Call::PotRefund { id });
            }
        }
        assert!(near(offering.refunded, raise.treasury.refunds_paid, slack), "{plan} month {month}");
        assert!(
            near(offering.cash() + offering.stranded, raise.treasury.held(), slack),
            "{plan} month {month}"
        );
        assert!(near(offering.circulating, raise.treasury.circulating, slack), "{plan} month {month}");
        assert!(offering.held.abs_diff(raise.credits.minted) <= u128::from(slack), "{plan} month {month}");
        let drawn = offering.draw(month, draw);
        if drawn > 0 {
            raise.apply(now, WHO, &Call::Draw { cash: drawn, to: WHO }).unwrap();
        }
        assert_eq!(offering.tap_paid, raise.treasury.tap_paid, "{plan} month {month}");
        assert!(offering.holds(), "{plan} month {month}");
    }
    (offering.raised, offering.refunded, offering.held)
}

#[test]
fn cohorts_get_what_bidders_of_the_full_model_get() {
    let billions = ["3_000_000_000 cash", "7_000_000_000 cash", "9_000_000_000 cash"];
    for (factor, live) in [(0.3, Some(30)), (1.0, Some(20)), (2.0, Some(45)), (1.0, None), (0.5, None)] {
        let (raised, refunded, held) =
            together("openai-2018.toml", &billions, factor, live, 40_000_000_000_000);
        assert!(raised > 0 && (live.is_some() == (held > 0)) && (live.is_none() == (refunded > 0)));
    }
    let grams = ["900_000_000 cash", "1_700_000_000 cash"];
    for (factor, live) in [(0.4, Some(15)), (1.0, None)] {
        together("telegram-2018.toml", &grams, factor, live, 20_000_000_000_000);
    }
    let filecoin = ["60_000_000 cash", "400_000_000 cash"];
    for (factor, live) in [(0.5, Some(38)), (1.5, Some(38))] {
        together("filecoin-2017.toml", &filecoin, factor, live, 3_000_000_000_000);
    }
}

#[test]
fn a_missed_soft_cap_leaves_nothing_raised() {
    let study = study("openai-2018.toml", &["1_000_000 cash", "1_000_000 cash", "1_000_000 cash"]);
    let of = terms(&study);
    let mut offering = Offering::new(&of);
    let future = calm(1.0, 80);
    (0..80).for_each(|month| offering.month(month, &future, month > 12, 0.0));
    assert_eq!((offering.raised, offering.cash(), offering.stand), (0, 0, Stand::Ended));
    assert!(offering.holds());
}

#[test]
fn a_milestone_before_live_comes_on_the_way_and_no_injunction_before_the_sale() {
    let billions = ["3_000_000_000 cash", "7_000_000_000 cash", "9_000_000_000 cash"];
    let study = study("../studies/openai-2018-early-tap.toml", &billions);
    let of = terms(&study);
    let mut future = calm(1.0, 80);
    future.values[Factor::Injunction.index()] = 1e-6;
    let mut offering = Offering::new(&of);
    let ceiling = |offering: &Offering<'_>, month: u32| offering.available(month) + offering.tap_paid;
    let mut highest = 0;
    for month in 0..40 {
        offering.month(month, &future, false, f64::from(month) / 60.0);
        assert_eq!(offering.hazard > 0.0, month >= of.opens, "month {month}");
        highest = highest.max(ceiling(&offering, month));
    }
    assert_eq!(offering.effective[usize::from(LIVE)], 0);
    assert!(offering.effective[1] > 0, "half of the way is month 30");
    assert!(highest > 500_000_000_000_000, "{highest} is beyond the ceiling at the start");
}

/// Lives through a plan with votes (threshold 5%, quorum 30%, majority two thirds, cooldown 90 days) and a run in month 3
/// after the first clearing.
fn in_a_run(share: f64) -> (Vec<bool>, u64) {
    let billions = ["3_000_000_000 cash", "7_000_000_000 cash", "9_000_000_000 cash"];
    let study = study("openai-2018.toml", &billions);
    let mut of = terms(&study);
    let bps = |bps| Bps::new(bps).unwrap();
    of.votes = Some(VotesPlan {
        threshold: bps(500),
        quorum: bps(3_000),
        majority: bps(6_667),
        voting_secs: 14 * 86_400,
        cooldown_secs: 90 * 86_400,
        exit_secs: 14 * 86_400,
    });
    let mut future = calm(1.0, 80);
    future.run = 3;
    future.values[Factor::RunShare.index()] = share;
    let mut offering = Offering::new(&of);
    let first = of.rounds.iter().map(|round| round.clears).max().unwrap();
    let mut suspended = Vec::new();
    for month in 0..first + 14 {
        offering.month(month, &future, month > first, 0.0);
        if month >= first {
            suspended.push(offering.suspended());
        }
        assert!(offering.holds(), "month {month}");
    }
    (suspended, offering.refunded)
}

#[test]
fn a_run_votes_and_what_it_votes_on_waits() {
    // Too few to ask for a vote; enough to ask again and again, every 90 days after a count; enough to win one.
    let asked = |share: f64| in_a_run(share).0.iter().filter(|suspended| **suspended).count();
    assert_eq!((in_a_run(0.04).1, asked(0.04)), (0, 0));
    assert_eq!(in_a_run(0.5).1, 0);
    assert!((2..=4).contains(&asked(0.5)), "{}", asked(0.5));
    let (suspended, refunded) = in_a_run(0.7);
    assert_eq!(suspended.iter().filter(|suspended| **suspended).count(), 1);
    assert!(refunded > 0);
}
