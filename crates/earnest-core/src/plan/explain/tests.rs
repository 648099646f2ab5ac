//! One plan that says everything, one that says little, and amounts that must appear exactly.

use alloy_primitives::{Address, B256};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::page::COLUMNS;
use super::round::curve;
use super::*;
use crate::money::{Bps, Credits, Price};
use crate::plan::instant::DAY_SECS;
use crate::plan::{
    AuctionPlan, CoinPlan, Covenant, CurvePlan, Document, DocumentKind, FixedPlan, Milestone, OfferingPlan,
    ProvidersPlan, RegimePlan, RisingPlan, Roles, RoundKind, RoundPlan, SchedulePlan, Service, Terms,
    TreasuryPlan, VotesPlan,
};

const JANUARY_2018: u64 = 1_517_184_000;
const DAY: u32 = 86_400;

fn cash(text: &str) -> Cash {
    Cash::parse(text).unwrap()
}

fn credits(text: &str) -> Credits {
    Credits::parse(text).unwrap()
}

fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

fn bps(bps: u16) -> Bps {
    Bps::new(bps).unwrap()
}

fn coin(name: &str, symbol: &str, address: Option<u8>) -> CoinPlan {
    let address = address.map(Address::repeat_byte);
    CoinPlan { name: name.into(), symbol: symbol.into(), address }
}

fn schedule(name: &str, discount: u16, linear: bool, points: &[(u32, u16)]) -> SchedulePlan {
    let points = points.iter().map(|&(days, part)| (days * DAY, bps(part))).collect();
    SchedulePlan { name: name.into(), discount: bps(discount), linear, points }
}

fn regime(name: &str, rule: &str, lock_days: u16, cooling_off_days: u8) -> RegimePlan {
    RegimePlan {
        name: name.into(),
        rule: rule.into(),
        lock_days,
        max_buyers: None,
        max_non_accredited: None,
        max_raise: None,
        max_entity: None,
        cooling_off_days,
        wait_hours: 0,
        jurisdictions: Vec::new(),
        demand: bps(0),
    }
}

fn round(name: &str, kind: RoundKind, open_day: u64, regimes: &[&str]) -> RoundPlan {
    RoundPlan {
        name: name.into(),
        kind,
        open: JANUARY_2018 + open_day * DAY_SECS,
        close: JANUARY_2018 + (open_day + 15) * DAY_SECS,
        min_bid: cash("100"),
        max_bid: None,
        schedules: vec!["fast".into()],
        regimes: regimes.iter().map(ToString::to_string).collect(),
        withdrawable: None,
    }
}

/// One fixed-price round and nothing that a plan may leave out.
fn spare_plan() -> Plan {
    let fixed = FixedPlan { supply: credits("1_000_000"), price: price("0.25"), first_come: false };
    Plan {
        offering: OfferingPlan {
            name: "Spare".into(),
            issuer: "Spare Lab Ltd".into(),
            note: None,
            hard_cap: cash("250_000"),
            soft_cap: Cash::ZERO,
            soft_cap_date: None,
            pause_limit_secs: 0,
        },
        terms: Terms {
            title: "Purchase terms".into(),
            governing_law: "Switzerland".into(),
            position: "A right to credits.".into(),
            credit: "Service of the lab at the listed price.".into(),
            promises: Vec::new(),
        },
        documents: Vec::new(),
        cash: coin("Test Dollar", "USDT0", None),
        credits: coin("Spare Credit", "SPARE", None),
        roles: Roles::default(),
        service: Service {
            deadline: JANUARY_2018 + 640 * DAY_SECS,
            notice_secs: 7 * DAY,
            objections: 0,
            capacity_per_day: None,
        },
        schedules: vec![schedule("fast", 0, false, &[(0, 10_000)])],
        regimes: vec![regime("all", "other", 0, 0)],
        rounds: vec![round("only", RoundKind::Fixed(fixed), 0, &["all"])],
        treasury: TreasuryPlan {
            tap_per_sec: cash("0.01"),
            tap_start: None,
            ceiling_at_start: Cash::ZERO,
            ceiling_at_live: cash("250_000"),
            milestones: Vec::new(),
        },
        votes: None,
        price_list: None,
        providers: None,
    }
}

/// All four kinds of round, and everything that a plan may say.
fn full_plan() -> Plan {
    let mut plan = spare_plan();
    plan.offering = OfferingPlan {
        name: "Gram and more".into(),
        issuer: "Example Lab Inc.".into(),
        note: Some("hypothetical: no such sale was ever held".into()),
        hard_cap: cash("1_800_000_000"),
        soft_cap: cash("400_000_000"),
        soft_cap_date: Some(JANUARY_2018 + 90 * DAY_SECS),
        pause_limit_secs: 3 * DAY,
    };
    plan.terms.promises = vec!["A public test network by the end of 2018.".into()];
    plan.documents = vec![Document {
        name: "Purchase agreement".into(),
        kind: DocumentKind::PurchaseAgreement,
        sha256: B256::repeat_byte(0xab),
        file: None,
    }];
    plan.cash = coin("USD Coin", "USDC", Some(0xc0));
    plan.credits = coin("Example Credit", "EXC", None);
    plan.roles = Roles {
        issuer: Some(Address::repeat_byte(1)),
        attesters: vec![Address::repeat_byte(2), Address::repeat_byte(3)],
        certifier: Some(Address::repeat_byte(4)),
        guardian: Some(Address::repeat_byte(5)),
        gateway: Some(Address::repeat_byte(6)),
    };
    plan.service.objections = 2;
    plan.service.capacity_per_day = Some(credits("5_000_000"));
    plan.schedules.push(schedule("slow", 2_000, true, &[(365, 2_500), (1_095, 10_000)]));
    plan.schedules.push(schedule("steps", 750, false, &[(90, 2_500), (180, 5_000), (365, 10_000)]));
    plan.regimes = vec![
        RegimePlan {
            wait_hours: 24,
            max_buyers: Some(2_000),
            max_non_accredited: Some(35),
            max_raise: Some(cash("900_000_000")),
            max_entity: Some(cash("50_000_000")),
            jurisdictions: vec!["US".into()],
            ..regime("us", "us-506c", 365, 0)
        },
        regime("abroad", "us-reg-s", 40, 14),
    ];
    plan.rounds = all_kinds();
    plan.treasury = TreasuryPlan {
        tap_per_sec: cash("5.5"),
        tap_start: Some(JANUARY_2018 + 120 * DAY_SECS),
        ceiling_at_start: cash("50_000_000"),
        ceiling_at_live: cash("900_000_000"),
        milestones: vec![
            Milestone {
                name: "test network".into(),
                statement: "A public test network has run for 30 days.".into(),
                ceiling: cash("150_000_000"),
                before_live: true,
            },
            Milestone {
                name: "a million users".into(),
                statement: "One million accounts have paid for service.".into(),
                ceiling: cash("1_700_000_000"),
                before_live: false,
            },
        ],
    };
    plan.votes = Some(VotesPlan {
        threshold: bps(1_000),
        quorum: bps(2_500),
        majority: bps(6_667),
        voting_secs: 14 * DAY,
        cooldown_secs: 30 * DAY,
        exit_secs: 14 * DAY,
    });
    plan.price_list = Some(PriceListPlan {
        notice_secs: 30 * DAY,
        cash: Some(price("0.8")),
        models: vec![ModelPrice {
            name: "small-1".into(),
            input: Some(credits("0.5")),
            cached: None,
            output: Some(credits("1.5")),
            embedding: None,
            image: Some(credits("0.04")),
            audio_second: None,
            compute_second: None,
        }],
        covenant: Some(Covenant {
            tier: "small".into(),
            benchmark: "MMLU 70".into(),
            output: credits("1.5"),
            model: Some("small-1".into()),
        }),
    });
    plan.providers = Some(ProvidersPlan {
        share: bps(8_000),
        held_back: bps(1_000),
        min_stake: credits("1_000"),
        thawing_secs: 14 * DAY,
        cold_start: credits("1_000_000"),
        epoch_secs: DAY,
    });
    plan
}

fn all_kinds() -> Vec<RoundPlan> {
    let private = FixedPlan { supply: credits("1_000_000_000"), price: price("0.35"), first_come: false };
    let first_come = FixedPlan { supply: credits("1_000"), price: price("1.5"), first_come: true };
    let auction = AuctionPlan {
        supply: credits("10_000_000"),
        floor_price: price("1"),
        tick: price("0.005"),
        ticks: 1_001,
    };
    let rising = RisingPlan {
        window_secs: 7 * DAY,
        window_cap: cash("250_000_000"),
        start: Cash::ZERO,
        follows: Some("presale".into()),
        cap: cash("850_000_000"),
        curve: CurvePlan::Exponential { first_price: price("0.1"), e_fold: credits("1_000_000_000") },
        knots: 64,
    };
    let mut auction = round("auction", RoundKind::Auction(auction), 40, &["us", "abroad"]);
    auction.max_bid = Some(cash("10_000_000.5"));
    auction.withdrawable = Some(cash("3_000_000"));
    auction.schedules = vec!["fast".into(), "slow".into(), "steps".into()];
    let mut stage = round("stage A", RoundKind::Rising(rising), 44, &["abroad"]);
    stage.withdrawable = Some(cash("50_000_000"));
    vec![
        round("presale", RoundKind::Private(private), 0, &["us"]),
        round("small", RoundKind::Fixed(first_come), 20, &["us"]),
        auction,
        stage,
    ]
}

/// On one line, for a number may be followed by a line break.
fn words(plan: &Plan) -> String {
    explain(plan).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_plan_that_says_everything() {
    insta::assert_snapshot!(explain(&full_plan()));
}

#[test]
fn a_plan_that_says_little() {
    insta::assert_snapshot!(explain(&spare_plan()));
}

#[test]
fn amounts_appear_exactly() {
    for seed in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut some = || (random.random::<u64>() >> random.random_range(4..60u32)) + 1;
        let mut plan = full_plan();
        plan.offering.hard_cap = Cash::from_units(some());
        plan.offering.soft_cap = Cash::from_units(some());
        plan.treasury.tap_per_sec = Cash::from_units(some());
        plan.treasury.ceiling_at_start = Cash::from_units(some());
        plan.treasury.milestones[0].ceiling = Cash::from_units(some());
        plan.regimes[0].max_entity = Some(Cash::from_units(some()));
        let mut cash = vec![
            plan.offering.hard_cap,
            plan.offering.soft_cap,
            plan.treasury.tap_per_sec,
            plan.treasury.ceiling_at_start,
            plan.treasury.milestones[0].ceiling,
            plan.regimes[0].max_entity.unwrap(),
        ];
        let mut prices = Vec::new();
        let mut supplies = Vec::new();
        for round in &mut plan.rounds {
            round.min_bid = Cash::from_units(some());
            round.max_bid = Some(Cash::from_units(some()));
            cash.extend([round.min_bid, round.max_bid.unwrap()]);
            if let RoundKind::Fixed(fixed) | RoundKind::Private(fixed) = &mut round.kind {
                fixed.price = Price::from_units(some());
                fixed.supply = Credits::from_units(u128::from(some()) * 1_000);
                prices.push(fixed.price);
                supplies.push(fixed.supply);
            }
        }
        cash.push(most_before_live(&plan));
        let text = words(&plan);
        let numbers: Vec<String> = text
            .split(' ')
            .map(|word| word.trim_matches(['.', ',', ';', ':', '*']).replace(',', ""))
            .collect();
        for amount in cash {
            assert!(numbers.iter().any(|n| Cash::parse(n) == Some(amount)), "seed {seed}: {amount}");
            assert!(text.contains(&plan.show(amount)), "seed {seed}: {amount}");
        }
        for price in prices {
            assert!(numbers.iter().any(|n| Price::parse(n) == Some(price)), "seed {seed}: {price}");
        }
        for supply in supplies {
            assert!(numbers.iter().any(|n| Credits::parse(n) == Some(supply)), "seed {seed}: {supply}");
        }
    }
}

#[test]
fn lines_fit_the_page() {
    for plan in [full_plan(), spare_plan()] {
        for line in explain(&plan).lines().filter(|line| !line.starts_with('#')) {
            assert!(line.chars().count() <= COLUMNS + 10, "{line}");
        }
    }
}

#[test]
fn what_may_leave_before_live_is_the_smallest_of_its_bounds() {
    let mut plan = full_plan();
    // 5.5 a second for 520 days is 247,104,000: the milestone's ceiling is less.
    assert_eq!(most_before_live(&plan), cash("150_000_000"));
    plan.treasury.tap_per_sec = cash("1");
    assert_eq!(most_before_live(&plan), cash("44_928_000"));
    plan.treasury.tap_per_sec = cash("100");
    plan.treasury.milestones.clear();
    assert_eq!(most_before_live(&plan), cash("50_000_000"));
    plan.offering.hard_cap = cash("9");
    assert_eq!(most_before_live(&plan), cash("9"));
    plan.treasury.tap_start = Some(plan.service.deadline + 1);
    assert_eq!(most_before_live(&plan), Cash::ZERO);
    plan.treasury.tap_start = None;
    assert_eq!(most_before_live(&plan), Cash::ZERO);
    let text = words(&plan);
    assert!(text.contains("at most this may leave the treasury: nothing."), "{text}");
    assert!(text.contains("So each position gets back all the cash it paid."), "{text}");
}

#[test]
fn a_soft_cap_the_tap_may_swallow_is_called_so() {
    let mut plan = full_plan();
    assert!(words(&plan).contains("if just the soft cap of 400,000,000 USDC is raised, it is 37.5%"));
    plan.offering.soft_cap = cash("150_000_000");
    assert!(words(&plan).contains("a sale that just meets it may lose all its cash"));
    plan.offering.soft_cap = Cash::ZERO;
    let text = words(&plan);
    assert!(text.contains("Soft cap: none."));
    assert!(text.contains("There is no soft cap, so this cannot happen."));
    assert!(text.contains("if 150,000,000 USDC or less is raised, all of it may be gone"));
    assert!(!text.contains("until the soft cap is met"));
}

#[test]
fn telegrams_second_round_is_explained_with_its_numbers() {
    let mut plan = full_plan();
    if let RoundKind::Private(presale) = &mut plan.rounds[0].kind {
        presale.supply = credits("850_000_000");
        presale.price = price("1");
    }
    if let RoundKind::Rising(stage) = &mut plan.rounds[3].kind {
        stage.window_cap = stage.cap;
    }
    let text = words(&plan);
    assert!(text.contains("the first price lies between 0.1 USDC a credit and 0.95 USDC a credit"), "{text}");
    assert!(text.contains("the last price lies between 0.95 USDC a credit and 1.8 USDC a credit"));
    assert!(
        text.contains("sells 639,079,959 credits for weight of 850,000,000 USDC, on average at 1.330037")
    );
}

#[test]
fn a_plans_own_words_cannot_pass_for_the_pages() {
    let mut plan = spare_plan();
    plan.offering.name = "Spare\n## In short".into();
    plan.terms.credit = format!("{}\n\n# Heading\n- item {}", "word ".repeat(40), "# - > 1. ".repeat(60));
    let text = explain(&plan);
    assert_eq!(text.lines().filter(|line| line.starts_with("# ")).count(), 1);
    assert_eq!(text.lines().filter(|line| *line == "## In short").count(), 1);
    for line in text.lines().skip_while(|line| !line.starts_with("## What a credit buys")).skip(1) {
        assert!(!line.starts_with(['>', '1']), "{line}");
    }
}

#[test]
fn every_curve_has_words() {
    let plan = spare_plan();
    let linear =
        |last| CurvePlan::Linear { first_price: price("1"), last_price: price(last), over: credits("10") };
    let points = CurvePlan::Points(vec![(cash("5"), credits("5")), (cash("9"), credits("7"))]);
    let proportional = CurvePlan::Proportional { floor_price: price("1"), divisor: credits("40_000_000") };
    let said = [linear("3"), linear("1"), points, proportional].map(|shape| curve(&plan, &shape));
    insta::assert_snapshot!(said.join("\n"));
}
