//! What can be worked out by hand comes out: exactly where nothing is random, else within Monte Carlo error.

use earnest_sim::dice::{Dice, Purpose};
use earnest_sim::factor::Factor;
use earnest_sim::outcome::Metric;
use earnest_sim::statistics::mean_and_error;
use earnest_sim::world::{Copula, Future, quantiles, values};

use crate::study::{NO_RESEARCH, NOTHING, SHALLOW, plain, run};

fn column(study: &earnest_sim::study::Study, design: usize, metric: Metric) -> Vec<f64> {
    run(study, SHALLOW, 2).1.metric(design, metric).collect()
}

fn second(instruments: &str) -> String {
    format!("{NOTHING}\n[[designs]]\nname = \"second\"\n{instruments}")
}

#[test]
fn runway_without_income_is_cash_over_cost() {
    // 100 of cash, 10 a month: ten months are paid and the eleventh is not.
    let grant = "[[designs.instruments]]\nname = \"g\"\nkind = \"grant\"\namount = [[0, \"4 cash\"]]\n";
    let study = plain(60, NO_RESEARCH, &second(grant));
    assert!(column(&study, 0, Metric::Runway).iter().all(|months| *months == 10.0));
    // An annuity of 4 against 10: month m is paid while 100 + 4·(m + 1) ≥ 10·(m + 1), so 16 months.
    assert!(column(&study, 1, Metric::Runway).iter().all(|months| *months == 16.0));
    // Sixty months cost 600, and there were 100; with 4 a month, 240 more, though the lab closed long before.
    assert!(column(&study, 0, Metric::PeakNeed).iter().all(|need| *need == 500.0));
    assert!(column(&study, 1, Metric::PeakNeed).iter().all(|need| *need == 260.0));
}

#[test]
fn one_round_dilutes_by_what_it_pays_over_the_value_after_it() {
    let equity = r#"
[[designs.instruments]]
name = "A"
kind = "equity"
month = 3
seek = "300 cash"
pre_money = "900 cash"
"#;
    let study = plain(40, NO_RESEARCH, &second(equity));
    let (answers, _) = run(&study, SHALLOW, 2);
    let shares = &answers.designs[1].stakes[0].shares;
    assert!((shares.mean - 0.25).abs() < 1e-11, "300 ÷ (900 + 300) = {}", shares.mean);
    let control = column(&study, 1, Metric::Control);
    assert!(control.iter().all(|control| (control - 0.75).abs() < 1e-11));
    // 100 + 300 − 40 × 10 is nothing: its preference is worth nothing.
    assert!(column(&study, 1, Metric::Multiple).iter().all(|multiple| *multiple == 0.0));
}

#[test]
fn a_note_converts_at_the_better_of_cap_and_discount() {
    let designs = r#"
[[designs.instruments]]
name = "note"
kind = "convertible"
month = 0
seek = "100 cash"
cap = "500 cash"
discount = "20%"
[[designs.instruments]]
name = "A"
kind = "equity"
month = 6
seek = "250 cash"
pre_money = "1000 cash"
"#;
    let study = plain(30, NO_RESEARCH, &second(designs));
    let (answers, _) = run(&study, SHALLOW, 1);
    // At the cap: 100 ÷ 500 of the old shares, 0.2; the round 250 ÷ 1000 of what there is then, 0.3. In all 1.5.
    let [note, round] = [0, 1].map(|stake| answers.designs[1].stakes[stake].shares.mean);
    assert!((note - 0.2 / 1.5).abs() < 1e-9 && (round - 0.3 / 1.5).abs() < 1e-9, "{note} {round}");
}

#[test]
fn a_capped_return_ends_at_its_multiple_and_the_rest_is_the_nonprofits() {
    let designs = r#"
[[designs.instruments]]
name = "capped"
kind = "capped"
month = 0
seek = "100 cash"
multiple = 1.5
share = "50%"
[[designs.instruments]]
name = "gift"
kind = "grant"
amount = [[0, "60 cash"]]
"#;
    let study = plain(10, NO_RESEARCH, &second(designs));
    // 100 + 100 + 600 − 100 = 700 at the end: half would be 350, the cap is 150.
    assert!(column(&study, 1, Metric::Multiple).iter().all(|multiple| *multiple == 1.5));
    assert!(column(&study, 1, Metric::Value).iter().all(|value| *value == 550.0));
}

/// A service that sells 20 a month from the start, 10 a month for people, and a capped return of 100 on top.
fn capped(months: u32, keys: &str) -> earnest_sim::study::Study {
    let source = format!(
        r#"
schema = 1
study = {{ name = "capped", start = 2020-01-01T00:00:00Z, months = {months}, paths = 4 }}
lab = {{ cash = "0 cash" }}
mission = {{ hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "10 cash"]], reserve = 0 }}
service = {{ live = 0, serving = "0%", needs = "0%", revenue = [[0, "20 cash"]], capacity = [[0, "1 hours"]] }}
{NOTHING}
[[designs]]
name = "second"
[[designs.instruments]]
name = "capped"
kind = "capped"
month = 0
seek = "100 cash"
{keys}
"#
    );
    crate::study::read(&source).unwrap()
}

#[test]
fn a_capped_return_is_paid_each_year_out_of_profit() {
    // A profit of 120 a year, of which a quarter is 30; at the end, after two years and a half, 100 + 300 − 60 are there
    // and a quarter of that is 85.
    let study = capped(30, "multiple = 10\nshare = \"25%\"");
    assert!(column(&study, 1, Metric::Multiple).iter().all(|multiple| *multiple == 1.45));
    assert!(column(&study, 1, Metric::Value).iter().all(|value| *value == 255.0));
    // With a cap of 50 the second year's payment is what is left of it, and the end pays nothing.
    let study = capped(30, "multiple = 0.5\nshare = \"25%\"");
    assert!(column(&study, 1, Metric::Multiple).iter().all(|multiple| *multiple == 0.5));
    assert!(column(&study, 1, Metric::Value).iter().all(|value| *value == 350.0));
}

#[test]
fn a_capped_return_ends_at_its_date() {
    // The second year is told at the end of month 23, and from month 23 on nothing is paid.
    for (until, multiple) in [(23, 0.3), (24, 0.6), (30, 0.6), (31, 1.45)] {
        let study = capped(30, &format!("multiple = 10\nshare = \"25%\"\nuntil = {until}"));
        assert!(column(&study, 1, Metric::Multiple).iter().all(|found| *found == multiple), "until {until}");
    }
}

#[test]
fn prices_that_grow_beyond_reason_are_cut_and_that_is_told() {
    let world = r#"
[world]
service_price = { low = 8.0, mid = 8.0, high = 8.0, shape = "fixed", grade = "D", source = "a test" }
elasticity = { low = 0.0, mid = 0.0, high = 0.0, shape = "fixed", grade = "D", source = "a test" }
"#;
    let mut study = capped(600, "multiple = 10\nshare = \"25%\"");
    study.priors = crate::study::plain(2, &format!("{NO_RESEARCH}\n{world}"), &second(GIFT)).priors;
    // Sales of 20 a month grow ninefold a year, and a billionfold at most.
    assert!(column(&study, 1, Metric::Cut).iter().all(|cut| *cut == 1.0));
    assert!(column(&study, 1, Metric::Revenue).iter().all(|sales| (2.3e11..2.5e11).contains(sales)));
    let calm = capped(30, "multiple = 10\nshare = \"25%\"");
    assert!(column(&calm, 1, Metric::Cut).iter().all(|cut| *cut == 0.0));
}

const GIFT: &str = "[[designs.instruments]]\nname = \"g\"\nkind = \"grant\"\namount = [[0, \"1 cash\"]]\n";

#[test]
fn a_strategic_partner_is_paid_from_revenue_until_it_has_its_money_back() {
    let designs = r#"
[[designs]]
name = "second"
[[designs.instruments]]
name = "partner"
kind = "strategic"
month = 0
seek = "100 cash"
multiple = 1
share = "0%"
in_kind = "40%"
recoup = "25%"
"#;
    let source = format!(
        r#"
schema = 1
study = {{ name = "partner", start = 2020-01-01T00:00:00Z, months = 12, paths = 4 }}
lab = {{ cash = "1000 cash" }}
mission = {{ hour = "1 cash", hours = [[0, "5 hours"]], people = [[0, "10 cash"]], reserve = 0 }}
service = {{ live = 0, serving = "0%", needs = "0%", revenue = [[0, "20 cash"]], capacity = [[0, "1000 hours"]] }}
{NOTHING}
{designs}
"#
    );
    let study = crate::study::read(&source).unwrap();
    // 25% of 20 is 5 a month, 60 in a year of the 100 it put in.
    assert!(column(&study, 1, Metric::Multiple).iter().all(|multiple| (*multiple - 0.6).abs() < 1e-12));
    // 40 of compute buy the first eight months' research, so 20 of cash are spent on it; 1000 + 60 + 240 − 120 − 20 − 60.
    assert!(column(&study, 1, Metric::Value).iter().all(|value| (*value - 1_100.0).abs() < 1e-6));
}

#[test]
fn a_geometric_brownian_treasury_has_the_mean_and_spread_of_its_closed_form() {
    let world = format!(
        r#"{NO_RESEARCH}
[world]
crypto_price = {{ low = 0.2, mid = 0.2, high = 0.2, shape = "fixed", grade = "D", source = "a test" }}
crypto_volatility = {{ low = 0.5, mid = 0.5, high = 0.5, shape = "fixed", grade = "D", source = "a test" }}
"#
    );
    let study = plain(37, &world, &second(GIFT));
    let copula = Copula::new(&study).unwrap();
    let mut future = Future::empty();
    let (mut prices, mut logs) = (Vec::new(), Vec::new());
    for path in 0..40_000 {
        let z = quantiles(7, Purpose::Factors, path);
        let values = values(&study, &copula, &z, &[]);
        assert_eq!(values[Factor::CryptoVolatility.index()], 0.5);
        Future::draw(&study, values, &mut Dice::new(7, Purpose::Months, path), &mut future);
        prices.push(future.crypto[36]);
        logs.push(future.crypto[36].ln());
    }
    // Three years: the median grows by 1.2 a year, log variance 0.25 a year, so the mean is 1.2³·e^(0.75 ÷ 2).
    let ((mean, error), (log, log_error)) = (mean_and_error(&prices), mean_and_error(&logs));
    assert!((mean - 1.728 * 0.375_f64.exp()).abs() < 4.0 * error, "{mean} ± {error}");
    assert!((log - 3.0 * 1.2_f64.ln()).abs() < 4.0 * log_error, "{log} ± {log_error}");
    let spread = logs.iter().map(|x| (x - log).powi(2)).sum::<f64>() / 40_000.0;
    assert!((spread / 0.75 - 1.0).abs() < 0.03, "{spread}");
}

#[test]
fn correlated_factors_have_their_correlation_and_keep_their_priors() {
    let world = format!(
        r#"{NO_RESEARCH}
[world]
revenue = {{ low = 0.5, mid = 1, high = 2, shape = "lognormal", grade = "D", source = "a test" }}
donations = {{ low = 0.5, mid = 1, high = 2, shape = "lognormal", grade = "D", source = "a test" }}
[[correlations]]
of = ["revenue", "donations"]
rho = 0.6
"#
    );
    let study = plain(2, &world, &second(GIFT));
    let copula = Copula::new(&study).unwrap();
    let (mut sum, mut below) = (0.0, 0);
    for path in 0..50_000 {
        let z = quantiles(3, Purpose::Factors, path);
        let values = values(&study, &copula, &z, &[]);
        let log = |factor: Factor| values[factor.index()].ln() / (2.0_f64.ln() / 1.644_853_626_951_472_7);
        sum += log(Factor::Revenue) * log(Factor::Donations);
        below += usize::from(values[Factor::Revenue.index()] < 0.5);
    }
    assert!((sum / 50_000.0 - 0.6).abs() < 0.02, "{}", sum / 50_000.0);
    assert!((2_200..2_800).contains(&below), "5% lie below the low: {below}");
}
