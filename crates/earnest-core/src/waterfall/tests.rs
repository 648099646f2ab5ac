//! Cases worked by hand. Amounts are in whole cash where nothing else is said; the arithmetic stands beside each.

mod equilibrium;
mod random;

use super::terms::RANK_MAX;
use super::*;
use crate::money::{Bps, Cash};

const FOUNDATION: Claimant = Claimant(0);
const A: Claimant = Claimant(1);
const B: Claimant = Claimant(2);
const C: Claimant = Claimant(3);
/// A whole unit of cash.
const ONE: u64 = 1_000_000;
const BILLION: u64 = 1_000_000_000 * ONE;
/// The multiple of 1x.
const ONCE: u32 = 10_000;

fn bps(bps: u16) -> Bps {
    Bps::new(bps).unwrap()
}

fn share(part: u16) -> Take {
    Take::Share(bps(part))
}

fn beside(part: u16, lead: &str) -> Take {
    Take::Beside { share: bps(part), lead: lead.to_owned() }
}

fn common(shares: u64) -> Take {
    Take::Common { shares, converting: false }
}

fn converting(shares: u64) -> Take {
    Take::Common { shares, converting: true }
}

fn names() -> Vec<String> {
    ["foundation", "a", "b", "c", "d"].map(String::from).to_vec()
}

/// With the foundation as the residual.
fn try_terms(
    version: u32,
    effective: Time,
    mut claims: Vec<Claim>,
) -> std::result::Result<Terms, TermsError> {
    claims.push(Claim::new("residual", FOUNDATION, u16::MAX, Take::Rest));
    Terms::new(version, effective, names(), claims)
}

fn terms(version: u32, effective: Time, claims: Vec<Claim>) -> Terms {
    try_terms(version, effective, claims).unwrap()
}

/// A waterfall and what happens to it.
struct Story {
    waterfall: Waterfall,
    state: State,
}

impl Story {
    fn new(claims: Vec<Claim>, invested: &[(Claimant, u64)]) -> Self {
        let waterfall = Waterfall::new(terms(1, 0, claims));
        let state = State::new(&waterfall);
        let mut story = Story { waterfall, state };
        for &(claimant, cash) in invested {
            story.contribute(0, claimant, cash);
        }
        story
    }

    fn contribute(&mut self, time: Time, claimant: Claimant, cash: u64) {
        self.waterfall.contribute(&mut self.state, time, claimant, cash).unwrap();
    }

    /// By claim, the residual last.
    fn pay(&mut self, time: Time, source: Source, cash: u64) -> Vec<u64> {
        let mut paid = vec![0; self.waterfall.in_force(time).unwrap().claims().len()];
        self.waterfall.distribute_into(&mut self.state, time, source, cash, &mut paid).unwrap();
        assert_eq!(paid.iter().sum::<u64>(), cash);
        paid
    }

    fn exit(&mut self, cash: u64) -> Vec<u64> {
        self.pay(0, Source::Liquidation, cash)
    }
}

fn preference(name: &str, claimant: Claimant, rank: u16) -> Claim {
    Claim::new(name, claimant, rank, Take::Due).cap_multiple(ONCE).out_of(&[Source::Liquidation])
}

fn equity(name: &str, claimant: Claimant, take: Take) -> Claim {
    Claim::new(name, claimant, 9, take).out_of(&[Source::Liquidation])
}

#[test]
fn a_preference_is_paid_once_and_the_rest_flows_on() {
    let mut story = Story::new(vec![preference("a", A, 1)], &[(A, 100)]);
    assert_eq!(story.exit(60), [60, 0]);
    // 100 − 60 = 40 are open.
    assert_eq!(story.exit(60), [40, 20]);
    assert_eq!(story.exit(60), [0, 60]);
}

#[test]
fn a_senior_is_paid_before_a_junior() {
    let claims = vec![preference("b", B, 1), preference("a", A, 2)];
    let mut story = Story::new(claims, &[(A, 100), (B, 50)]);
    assert_eq!(story.exit(70), [50, 20, 0]);
    assert_eq!(story.exit(100), [0, 80, 20]);
}

#[test]
fn two_of_one_rank_share_by_what_is_open_and_the_first_has_the_odd_unit() {
    let claims = vec![preference("a", A, 1), preference("b", B, 1), preference("c", C, 1)];
    let mut story = Story::new(claims, &[(A, 100), (B, 100), (C, 100)]);
    // 100 ÷ 3 = 33, and 1 is left.
    assert_eq!(story.exit(100), [34, 33, 33, 0]);
    // Open are 66, 67 and 67 of 200: of 101, floor(33.33), floor(33.835) twice, and 2 are left.
    assert_eq!(story.exit(101), [34, 34, 33, 0]);
}

#[test]
fn a_participating_preference_has_both_and_a_converting_one_the_better() {
    // A put in 100 and holds 20 of 100 shares, B the other 80. Converting is worth it when 20% of the exit is more
    // than 100: above 500. The exit's last claim is common, so nothing is left for the foundation.
    let converts =
        || vec![preference("a", A, 1), equity("a20", A, converting(20)), equity("b", B, common(80))];
    for (exit, a) in [(80, 80), (100, 100), (300, 100), (499, 100), (500, 100), (505, 101), (1_000, 200)] {
        let mut story = Story::new(converts(), &[(A, 100)]);
        story.exit(exit);
        assert_eq!((story.state.paid(A), story.state.paid(B)), (a, exit - a), "{exit}");
    }
    // Participating: 100 + 20% of the rest.
    for (exit, a) in [(80, 80), (300, 140), (500, 180), (1_000, 280)] {
        let claims = vec![preference("a", A, 1), equity("a20", A, common(20)), equity("b", B, common(80))];
        let mut story = Story::new(claims, &[(A, 100)]);
        story.exit(exit);
        assert_eq!((story.state.paid(A), story.state.paid(B)), (a, exit - a), "{exit}");
    }
}

#[test]
fn an_exit_in_parts_comes_to_the_same_as_one() {
    let claims = vec![preference("a", A, 1), equity("a20", A, converting(20)), equity("b", B, common(80))];
    let mut story = Story::new(claims, &[(A, 100)]);
    // The first 100 are the preference, the next 400 the other shares' until they have 5 each, too.
    assert_eq!(story.exit(100), [100, 0, 0, 0]);
    assert_eq!(story.exit(390), [0, 0, 390, 0]);
    // 10 more for B; then 500 in the proportion of 20 to 80.
    assert_eq!(story.exit(510), [0, 100, 410, 0]);
}

#[test]
fn participation_ends_at_its_cap() {
    // Participating up to 3x: A has 100, then half of what follows until 300.
    let claims = vec![
        preference("a", A, 1),
        equity("a5", A, common(5)).cap_multiple(30_000),
        equity("b", B, common(5)),
    ];
    let mut story = Story::new(claims, &[(A, 100)]);
    assert_eq!(story.exit(300), [100, 100, 100, 0]);
    assert_eq!(story.exit(300), [0, 100, 200, 0]);
    assert_eq!(story.exit(300), [0, 0, 300, 0]);
}

#[test]
fn an_irr_cap_earns_by_the_year_and_is_rounded_down() {
    let claims = vec![Claim::new("a", A, 1, Take::Due).cap(Cap::Irr(1_000))];
    let mut story = Story::new(claims, &[(A, 100 * ONE)]);
    // 100 × 1.1 − 60 = 50; 50 × 1.1 = 55; 20 more then, so 75; 73 days of the third year: 75 × (1 + 0.1 × 73/365) =
    // 76.5.
    assert_eq!(story.pay(YEAR_SECS, Source::Profit, 60 * ONE), [60 * ONE, 0]);
    story.contribute(2 * YEAR_SECS, A, 20 * ONE);
    let later = 2 * YEAR_SECS + 73 * DAY;
    assert_eq!(story.pay(later, Source::Profit, 80 * ONE), [76_500_000, 3_500_000]);
    // Paid to the unit; until the anniversary the interest of 1.5 earns none, and 1.5 × 0.1 × 292/365 = 0.12 was
    // paid ahead.
    assert_eq!(story.pay(3 * YEAR_SECS, Source::Profit, ONE), [0, ONE]);
    // 1 unit at 10% for a day is 0.00027: nothing.
    let claims = vec![Claim::new("a", A, 1, Take::Due).cap(Cap::Irr(1_000))];
    let mut story = Story::new(claims, &[(A, 1)]);
    assert_eq!(story.pay(DAY, Source::Profit, 5), [1, 4]);
}

#[test]
fn the_least_cap_binds() {
    let claims = vec![
        Claim::new("a", A, 1, Take::Due)
            .cap_multiple(20_000)
            .cap(Cap::Amount(Cash::from_units(150)))
            .cap(Cap::Irr(100_000)),
    ];
    // Of 60 all, as 100 are due at once. After a year 40 × 11 = 440 are, and 200 − 60 = 140, and 150 − 60 = 90.
    let mut story = Story::new(claims, &[(A, 100)]);
    assert_eq!(story.exit(60), [60, 0]);
    assert_eq!(story.pay(YEAR_SECS, Source::Profit, 300), [90, 210]);
}

#[test]
fn nothing_is_paid_from_a_claims_end_on() {
    let claims = vec![Claim::new("a", A, 1, share(5_000)).ends(100)];
    let mut story = Story::new(claims, &[]);
    assert_eq!(story.pay(99, Source::Profit, 10), [5, 5]);
    assert_eq!(story.pay(100, Source::Profit, 10), [0, 10]);
}

#[test]
fn a_hundredfold_cap_sends_the_excess_to_the_foundation() {
    // The first round of OpenAI LP: returns capped at 100x, "OpenAI LP", March 2019. That investors take 90% until
    // then is made up.
    let claims = vec![Claim::new("first round", A, 1, share(9_000)).cap_multiple(1_000_000)];
    let mut story = Story::new(claims, &[(A, 10 * ONE)]);
    assert_eq!(story.pay(0, Source::Profit, 1_000 * ONE), [900 * ONE, 100 * ONE]);
    // 100 × 10 − 900 = 100 are open, less than 90% of 1000.
    assert_eq!(story.pay(0, Source::Profit, 1_000 * ONE), [100 * ONE, 900 * ONE]);
    assert_eq!(story.pay(0, Source::Profit, ONE), [0, ONE]);
}

#[test]
fn a_cap_steps_and_grows_by_whole_years() {
    let growth = Some(Growth { bps: 2_000, from: 3 * YEAR_SECS });
    let multiple = Multiple { steps: vec![(0, 1_000_000), (YEAR_SECS, 200_000)], growth };
    let at = |years: u64, secs: u64| multiple.at(years * YEAR_SECS + secs).unwrap();
    assert_eq!((at(0, 5), at(1, 0), at(3, 9), at(4, 0)), (1_000_000, 200_000, 200_000, 240_000));
    // 20 × 1.2 × 1.2 = 28.8
    assert_eq!(at(5, 1), 288_000);
    assert_eq!(multiple.limit(7, 5 * YEAR_SECS), 201); // floor(7 × 28.8 = 201.6)
    assert_eq!(Multiple::fixed(u32::MAX).limit(u64::MAX, 0), u64::MAX);
}

#[test]
fn openais_reported_tiers_are_data() {
    // Reported by Fortune (January 2023), not published by the company: first the first close partners and
    // employees recover their capital; then Microsoft has 75% until its 13 billion are back, others 25%; then 49%,
    // 49% and 2% for the nonprofit until both are capped; then everything is the nonprofit's. Assumed here: 1
    // billion of first capital, Microsoft capped at 92 billion beyond its 13, the others at 150 beyond their 1.
    const MICROSOFT: Claimant = A;
    const PARTNERS: Claimant = B;
    let cap = |billions: u64| Cap::Amount(Cash::from_units(billions * BILLION));
    let claims = vec![
        Claim::new("first capital", PARTNERS, 1, Take::Due).cap_multiple(ONCE),
        Claim::new("recovery", MICROSOFT, 2, share(7_500)).cap_multiple(ONCE),
        Claim::new("beside it", PARTNERS, 2, beside(2_500, "recovery")).cap(cap(151)),
        Claim::new("microsoft", MICROSOFT, 3, share(4_900)).cap(cap(105)),
        Claim::new("partners", PARTNERS, 3, share(4_900)).cap(cap(151)),
        Claim::new("nonprofit", FOUNDATION, 3, share(200)),
    ];
    let mut story = Story::new(claims, &[(PARTNERS, BILLION), (MICROSOFT, 13 * BILLION)]);
    // 1 first; of the other 12, 9 and 3.
    let billions = |paid: Vec<u64>| paid.iter().map(|cash| cash / 10_000_000 / ONE).collect::<Vec<_>>();
    assert_eq!(billions(story.pay(0, Source::Profit, 13 * BILLION)), [100, 900, 300, 0, 0, 0, 0]);
    // Microsoft's last 4 take ceil(4 ÷ 0.75) = 5.333… with 1.333… beside it; of the 94.666… that flow on, 49% are
    // 46.386…, 2% 1.893…
    let paid = story.pay(0, Source::Profit, 100 * BILLION);
    assert_eq!(billions(paid), [0, 400, 133, 4_638, 4_638, 189, 0]);
    // Microsoft has 13 + 46.387, so 45.613 are open; the others 1 + 3 + 1.333 + 46.387 = 51.72, so 99.28 are.
    // Of 200, 49% are 98: Microsoft is capped, the others are not, 4 are the nonprofit's, and the rest flows on to it.
    let paid = story.pay(0, Source::Profit, 200 * BILLION);
    assert_eq!(billions(paid), [0, 0, 0, 4_561, 9_800, 400, 5_238]);
    assert_eq!(story.state.paid(MICROSOFT), 105 * BILLION);
    let paid = story.pay(0, Source::Profit, 1_000 * BILLION);
    assert_eq!(story.state.paid(PARTNERS), 151 * BILLION);
    assert_eq!(billions(paid)[5], 2_000);
    let paid = story.pay(0, Source::Profit, 1_000 * BILLION);
    assert_eq!(paid[..5], [0; 5]);
}

#[test]
fn a_catch_up_ends_at_its_part_of_all_profit() {
    // 100 invested at 8% for a year; all of the next until the manager has 20% of profit, 8 + 2; then 80 to 20.
    let claims = || {
        let catch_up = Take::CatchUp { share: Bps::ONE, of_profit: bps(2_000) };
        vec![
            Claim::new("preferred", A, 1, Take::Due).cap(Cap::Irr(800)),
            Claim::new("catch-up", B, 2, catch_up),
            Claim::new("investor", A, 3, share(8_000)),
            Claim::new("manager", B, 3, share(2_000)),
        ]
    };
    for (cash, paid) in [
        (105, [105, 0, 0, 0, 0]),
        (109, [108, 1, 0, 0, 0]),
        (110, [108, 2, 0, 0, 0]),
        (120, [108, 2, 8, 2, 0]),
    ] {
        let mut story = Story::new(claims(), &[(A, 100 * ONE)]);
        assert_eq!(
            story.pay(YEAR_SECS, Source::Profit, cash * ONE),
            paid.map(|cash: u64| cash * ONE),
            "{cash}"
        );
        // In two parts it is the same.
        let mut story = Story::new(claims(), &[(A, 100 * ONE)]);
        story.pay(YEAR_SECS, Source::Profit, 106 * ONE - ONE);
        story.pay(YEAR_SECS, Source::Profit, (cash - 105) * ONE);
        assert_eq!(story.state.paid(B), (paid[1] + paid[3]) * ONE, "{cash}");
    }
}

#[test]
fn a_catch_up_of_half_leaves_the_other_half_beside_it() {
    // 50% until 20% of all profit: 8 of it paid, f more in all, 0.5 f = 0.2 (8 + f), so f = 16/3 and 8/3 each.
    let catch_up = Take::CatchUp { share: bps(5_000), of_profit: bps(2_000) };
    let claims = vec![
        Claim::new("preferred", A, 1, Take::Due).cap(Cap::Irr(800)),
        Claim::new("catch-up", B, 2, catch_up),
        Claim::new("meanwhile", A, 2, beside(5_000, "catch-up")),
        Claim::new("investor", A, 3, share(8_000)),
        Claim::new("manager", B, 3, share(2_000)),
    ];
    let mut story = Story::new(claims, &[(A, 100 * ONE)]);
    // 128 − 108 = 20; less 16/3, rounded up to pay 2.666666 twice, 14.666668: 80% are 11.733334.4, 20% 2.933333.6.
    let paid = story.pay(YEAR_SECS, Source::Profit, 128 * ONE);
    assert_eq!(paid, [108 * ONE, 2_666_666, 2_666_666, 11_733_334, 2_933_333, 1]);
    // 5.6 of 28 are 20%.
    assert_eq!(story.state.paid(B), 5_599_999);
}

#[test]
fn an_investment_is_recouped_out_of_half_of_revenue() {
    let claims = vec![
        Claim::new("recoupment", A, 1, share(5_000)).cap_multiple(ONCE).out_of(&[Source::Revenue]),
        Claim::new("royalty", B, 2, share(500)).out_of(&[Source::Revenue]),
        Claim::new("operations", C, 3, share(10_000)).out_of(&[Source::Revenue]),
    ];
    let mut story = Story::new(claims, &[(A, 70)]);
    // Half of 100; 5% of the other 50, rounded down; the rest.
    assert_eq!(story.pay(0, Source::Revenue, 100), [50, 2, 48, 0]);
    assert_eq!(story.pay(0, Source::Revenue, 100), [20, 4, 76, 0]);
    assert_eq!(story.pay(0, Source::Revenue, 100), [0, 5, 95, 0]);
    assert_eq!(story.pay(0, Source::Profit, 100), [0, 0, 0, 100]);
}

#[test]
fn compute_is_paid_apart_and_sums_too() {
    let price = Price::parse("2.5").unwrap();
    let claims = vec![
        Claim::new("compute", A, 1, share(3_000)).in_kind(price),
        Claim::new("cash", A, 2, share(5_000)),
    ];
    let mut story = Story::new(claims, &[]);
    let payments = story.waterfall.distribute(&mut story.state, 0, Source::Profit, 10 * ONE).unwrap();
    let payment = |claim, claimant, cash, in_kind| Payment { claim, claimant, cash, in_kind };
    assert_eq!(
        payments,
        [
            payment(0, A, 3_000_000, Some(price)),
            payment(1, A, 3_500_000, None),
            payment(2, FOUNDATION, 3_500_000, None)
        ]
    );
    // 3 ÷ 2.5 = 1.2 units of compute.
    assert_eq!(payments[0].compute(), Some(U256::from(12 * 10u128.pow(17))));
    assert_eq!(payments[1].compute(), None);
}

#[test]
fn an_amendment_holds_from_its_date_and_what_was_paid_stays_counted() {
    let capped = |bps| Claim::new("a", A, 1, share(5_000)).cap_multiple(bps);
    let mut story = Story::new(vec![capped(50_000)], &[(A, 100)]);
    assert_eq!(story.pay(10, Source::Profit, 500), [250, 250]);
    // 2x is below the 250 that were paid: nothing more, and nothing back. At 20, not before.
    story.waterfall.amend(terms(2, 20, vec![capped(20_000)])).unwrap();
    assert_eq!(story.pay(19, Source::Profit, 100), [50, 50]);
    assert_eq!(story.pay(20, Source::Profit, 100), [0, 100]);
    // At 3.5x 350 − 300 = 50 are open. A third claimant's claim comes before.
    let before = Claim::new("c", C, 0, share(1_000));
    story.waterfall.amend(terms(5, 30, vec![before, capped(35_000)])).unwrap();
    assert_eq!(story.pay(30, Source::Profit, 200), [20, 50, 130]);
    assert_eq!((story.state.paid_by(1), story.state.paid(A)), (350, 350));
}

#[test]
fn an_amended_rate_holds_from_its_date() {
    let preferred = |rate| vec![Claim::new("a", A, 1, Take::Due).cap(Cap::Irr(rate))];
    let mut story = Story::new(preferred(1_000), &[(A, 1_000)]);
    story.waterfall.amend(terms(2, YEAR_SECS, preferred(2_000))).unwrap();
    // 1000 × 1.1 × 1.2
    assert_eq!(story.pay(2 * YEAR_SECS, Source::Profit, 2_000), [1_320, 680]);
}

#[test]
fn new_shares_do_not_catch_up_with_the_past() {
    let a = || equity("a", A, common(50));
    let mut story = Story::new(vec![a(), equity("b", B, common(50))], &[]);
    assert_eq!(story.exit(100), [50, 50, 0]);
    let claims = vec![a(), equity("b", B, common(100)), equity("c", C, common(50))];
    story.waterfall.amend(terms(2, 5, claims)).unwrap();
    assert_eq!(story.pay(5, Source::Liquidation, 100), [25, 50, 25, 0]);
}

#[test]
fn amendments_out_of_order_are_refused() {
    let claims = || vec![Claim::new("a", A, 1, share(1))];
    let mut story = Story::new(claims(), &[]);
    let waterfall = &mut story.waterfall;
    assert_eq!(waterfall.amend(terms(1, 9, claims())), Err(Error::VersionNotLater { version: 1, before: 1 }));
    assert_eq!(
        waterfall.amend(terms(2, 0, claims())),
        Err(Error::DateNotLater { version: 2, effective: 0, before: 0 })
    );
    let moved = vec![Claim::new("a", B, 1, share(1))];
    let error = Error::ClaimMoved { claim: "a".to_owned(), before: 1, now: 2 };
    assert_eq!(waterfall.amend(terms(2, 9, moved)), Err(error));
    let rest = vec![Claim::new("residual", FOUNDATION, 0, Take::Rest)];
    let fewer = Terms::new(2, 9, vec!["foundation".to_owned()], rest).unwrap();
    assert_eq!(waterfall.amend(fewer), Err(Error::ClaimantChanged { claimant: 1, before: "a".to_owned() }));
    story.pay(10, Source::Profit, 5);
    story.waterfall.amend(terms(2, 10, claims())).unwrap();
    let error = Error::Retroactive { version: 2, effective: 10, last: 10 };
    let again = story.waterfall.distribute(&mut story.state, 11, Source::Profit, 5);
    assert_eq!(again, Err(error));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let waterfall = Waterfall::new(terms(1, 10, vec![]));
    let mut state = State::new(&waterfall);
    let mut pay = |time, cash| waterfall.distribute(&mut state, time, Source::Profit, cash).err();
    assert_eq!(pay(9, 1), Some(Error::NotInForce { time: 9, effective: 10 }));
    assert_eq!(pay(20, u64::MAX - 1), None);
    assert_eq!(pay(20, 2), Some(Error::Overflow { cash: 2, total: u64::MAX - 1 }));
    assert_eq!(pay(19, 0), Some(Error::BackInTime { time: 19, last: 20 }));
    assert_eq!(pay(LAST + 1, 0), Some(Error::TooLate { time: LAST + 1 }));
    assert_eq!(pay(20, 1), None);
    let error = Error::WrongLength { slots: 2, claims: 1 };
    assert_eq!(waterfall.distribute_into(&mut state, 20, Source::Profit, 0, &mut [0; 2]), Err(error));
    let error = Error::UnknownClaimant { claimant: 5, claimants: 5 };
    assert_eq!(waterfall.contribute(&mut state, 20, Claimant(5), 1), Err(error));
    waterfall.contribute(&mut state, 20, A, u64::MAX).unwrap();
    let error = Error::Overflow { cash: 1, total: u64::MAX };
    assert_eq!(waterfall.contribute(&mut state, 20, B, 1), Err(error));
    assert_eq!((state.total_invested(), state.total_paid()), (u64::MAX, u64::MAX));
}

#[test]
fn bad_terms_are_refused_by_name() {
    use TermsError as Bad;
    let name = |text: &str| text.to_owned();
    let claim = |rank, take| Claim::new("x", A, rank, take);
    let other = |rank, take| Claim::new("y", B, rank, take);
    let x = || name("x");
    let steps = |steps: &[(Time, u32)]| Cap::Multiple(Multiple { steps: steps.to_vec(), growth: None });
    let due = || claim(1, Take::Due).cap_multiple(ONCE);
    let cases: Vec<(Vec<Claim>, TermsError)> = vec![
        (vec![claim(1, Take::Rest)], Bad::TwoResiduals { first: x(), second: name("residual") }),
        (vec![claim(u16::MAX, share(1))], Bad::ResidualBound { claim: name("residual") }),
        (vec![due(), due()], Bad::ClaimTwice { claim: x() }),
        (
            vec![Claim::new("x", Claimant(7), 1, share(1))],
            Bad::UnknownClaimant { claim: x(), claimant: 7, claimants: 5 },
        ),
        (
            vec![other(2, share(1)), claim(1, share(1))],
            Bad::RankOutOfOrder { claim: x(), rank: 1, before: 2 },
        ),
        (vec![other(1, share(1)), due()], Bad::MixedRank { claim: x(), rank: 1 }),
        (
            vec![Claim::new("y", A, 1, share(1)), claim(1, share(1))],
            Bad::TwiceInRank { claimant: name("a"), rank: 1 },
        ),
        (vec![claim(1, share(1)).out_of(&[])], Bad::NoSources { claim: x() }),
        (vec![claim(1, share(0))], Bad::ZeroShare { claim: x() }),
        (vec![claim(1, common(0))], Bad::ZeroShare { claim: x() }),
        (
            vec![other(1, share(6_000)), claim(1, share(4_001)).out_of(&[Source::Profit])],
            Bad::SharesOver { rank: 1, source_of_cash: Source::Profit, bps: 10_001 },
        ),
        (vec![claim(1, Take::Due)], Bad::Uncapped { claim: x() }),
        (vec![claim(1, share(1)).cap_multiple(0)], Bad::ZeroCap { claim: x() }),
        (vec![claim(1, share(1)).cap(Cap::Amount(Cash::ZERO))], Bad::ZeroCap { claim: x() }),
        (vec![claim(1, share(1)).cap(steps(&[]))], Bad::NoSteps { claim: x() }),
        (
            vec![claim(1, share(1)).cap(steps(&[(5, 1), (5, 2)]))],
            Bad::StepsOutOfOrder { claim: x(), from: 5, before: 5 },
        ),
        (vec![claim(1, share(1)).cap(Cap::Irr(1)).cap(Cap::Irr(2))], Bad::TwoIrrCaps { claim: x() }),
        (
            vec![claim(1, Take::CatchUp { share: bps(20), of_profit: bps(20) })],
            Bad::CatchUpNever { claim: x(), share: 20, of_profit: 20 },
        ),
        (vec![claim(1, beside(1, "z"))], Bad::UnknownLead { claim: x(), lead: name("z") }),
        (
            vec![other(1, share(1)), claim(2, beside(1, "y"))],
            Bad::UnknownLead { claim: x(), lead: name("y") },
        ),
        (vec![claim(1, share(1)).in_kind(Price::from_units(0))], Bad::ZeroPrice { claim: x() }),
        (
            vec![other(1, common(1)), claim(2, common(1))],
            Bad::TwoCommonRanks { claim: x(), rank: 2, other: 1 },
        ),
        (
            vec![other(1, common(1)), claim(1, common(1)).out_of(&[Source::Profit])],
            Bad::CommonSources { claim: x() },
        ),
        (vec![other(1, common(u64::MAX)), claim(1, common(1))], Bad::CommonOverflow),
        (
            vec![
                Claim::new("y", B, 1, Take::Due).cap_multiple(ONCE),
                claim(2, share(1)),
                Claim::new("z", B, 3, converting(1)),
            ],
            Bad::ShareBeforeCommon { claim: x() },
        ),
    ];
    for (claims, error) in cases {
        assert_eq!(try_terms(1, 0, claims), Err(error));
    }
    assert_eq!(Terms::new(1, 0, names(), vec![due()]), Err(Bad::NoResidual));
    let rest = Claim::new("rest", FOUNDATION, 1, Take::Rest);
    let after = Bad::ResidualNotLast { claim: name("rest"), after: x() };
    assert_eq!(Terms::new(1, 0, names(), vec![rest.clone(), due()]), Err(after));
    let bound = Err(Bad::ResidualBound { claim: name("rest") });
    assert_eq!(Terms::new(1, 0, names(), vec![rest.clone().ends(5)]), bound);
    assert_eq!(Terms::new(1, 0, names(), vec![rest.clone().out_of(&[Source::Profit])]), bound);
    let twice = vec![name("a"), name("a")];
    assert_eq!(Terms::new(1, 0, twice, vec![rest]), Err(Bad::ClaimantTwice { claimant: name("a") }));
    let crowd: Vec<Claim> = (0..=RANK_MAX)
        .map(|index| {
            let claimant = Claimant(u16::try_from(index).unwrap());
            Claim::new(&index.to_string(), claimant, 1, common(1))
        })
        .chain([Claim::new("rest", FOUNDATION, 2, Take::Rest)])
        .collect();
    let many = (0..=RANK_MAX).map(|index| index.to_string()).collect();
    let error = Bad::TooManyClaims { rank: 1, claims: RANK_MAX + 1 };
    assert_eq!(Terms::new(1, 0, many, crowd), Err(error));
}
