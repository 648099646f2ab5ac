//! What once came out wrong, in studies so small that a reader can check them.

use earnest_sim::outcome::Metric;
use earnest_sim::study::Study;

use crate::study::{SHALLOW, read, run};

/// A lab with so much cash, these tables and these designs; every path is alike unless the world says otherwise.
fn lab(cash: &str, tables: &str, designs: &str) -> Study {
    let head = format!(
        "schema = 1\nstudy = {{ name = \"found\", start = 2020-01-01T00:00:00Z, months = 20, paths = 400 }}\n\
         lab = {{ cash = \"{cash} cash\" }}\n"
    );
    read(&format!("{head}{tables}\n{designs}")).unwrap_or_else(|faults| panic!("{faults}"))
}

const PEOPLE: &str = r#"
mission = { hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "10 cash"]], reserve = 0 }
service = { live = 0, serving = "0%", needs = "0%", revenue = [[0, "0 cash"]], capacity = [[0, "0 hours"]] }
"#;

/// A design by its instruments, each a line of keys.
fn design(name: &str, instruments: &[&str]) -> String {
    let instrument = |(index, keys): (usize, &&str)| {
        format!("[[designs.instruments]]\nname = \"{index}\"\n{}\n", keys.replace("; ", "\n"))
    };
    let instruments: String = instruments.iter().enumerate().map(instrument).collect();
    format!("[[designs]]\nname = \"{name}\"\n{instruments}")
}

const NONE: &str = r#"kind = "grant"; amount = [[0, "0 cash"]]"#;

fn all(study: &Study, design: usize, metric: Metric) -> f64 {
    let values: Vec<f64> = run(study, SHALLOW, 2).1.metric(design, metric).collect();
    assert!(values.iter().all(|value| *value == values[0]), "{metric:?}: {values:?}");
    values[0]
}

#[test]
fn all_of_the_compute_is_all_of_it_whatever_the_roundings() {
    let tables = r#"
mission = { hour = "1 cash", hours = [[0, "1000 hours"]], people = [[0, "0 cash"]], reserve = 0, enough = "100%" }
service = { live = 12, serving = "0%", needs = "100%", revenue = [[0, "0 cash"]], capacity = [[0, "0 hours"]] }
[world.research_need]
low = 0.5
mid = 1.0
high = 1.5
shape = "uniform"
grade = "D"
source = "a test"
"#;
    let study = lab("1000000", tables, &(design("a", &[NONE]) + &design("b", &[NONE])));
    assert_eq!((all(&study, 0, Metric::Funded), all(&study, 0, Metric::Live)), (1.0, 12.0));
}

#[test]
fn the_peak_need_counts_what_comes_after_a_ruin() {
    let late = r#"kind = "equity"; month = 8; seek = "10000 cash"; pre_money = "1000 cash""#;
    let study = lab("50", PEOPLE, &(design("none", &[NONE]) + &design("late", &[late])));
    // Eight months cost 80 before the round, and there are 50; ninth and later are paid by it.
    assert_eq!((all(&study, 1, Metric::Ruin), all(&study, 1, Metric::PeakNeed)), (1.0, 30.0));
    assert_eq!(all(&study, 0, Metric::PeakNeed), 150.0);
}

#[test]
fn the_peak_need_takes_compute_for_compute_and_what_is_paid_out_as_gone() {
    let compute =
        r#"kind = "strategic"; month = 0; seek = "1000 cash"; multiple = 1; share = "0%"; in_kind = "100%""#;
    let study = lab("0", PEOPLE, &(design("none", &[NONE]) + &design("compute", &[compute])));
    assert_eq!((all(&study, 1, Metric::Runway), all(&study, 1, Metric::PeakNeed)), (0.0, 200.0));

    let tables = r#"
mission = { hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "200 cash"]], reserve = 0 }
service = { live = 0, serving = "0%", needs = "0%", revenue = [[0, "100 cash"]], capacity = [[0, "1 hours"]] }
"#;
    let recoup =
        r#"kind = "strategic"; month = 0; seek = "1000 cash"; multiple = 1; share = "0%"; recoup = "50%""#;
    let study = lab("600", tables, &(design("none", &[NONE]) + &design("recoup", &[recoup])));
    // 4,000 for people; 600, 1,000 and 2,000 of sales, of which 50 a month go to the partner while the lab stands: it
    // closes in month 10, so 500 or 550.
    let need = all(&study, 1, Metric::PeakNeed);
    assert!((900.0..=950.0).contains(&need), "{need}");
}

#[test]
fn a_reserve_never_closes_a_lab_that_can_pay_its_core() {
    let months = |reserve: u32| {
        let tables = format!(
            r#"
service = {{ live = 0, serving = "100%", needs = "0%", revenue = [[0, "8 cash"]], capacity = [[0, "100 hours"]] }}
[mission]
hour = "1 cash"
hours = [[0, "0 hours"]]
people = [[0, "10 cash"]]
core = "10%"
reserve = {reserve}
[world.compute_price]
low = 1.0
mid = 1.0
high = 1.0
shape = "fixed"
grade = "D"
source = "a test"
"#
        );
        all(&lab("60", &tables, &(design("a", &[NONE]) + &design("b", &[NONE]))), 0, Metric::Runway)
    };
    assert!(months(1) >= months(0), "{} {}", months(1), months(0));
}

#[test]
fn a_note_converts_at_a_round_of_its_month_wherever_it_stands() {
    let note = r#"kind = "convertible"; month = 6; seek = "100 cash"; cap = "500 cash""#;
    let round = r#"kind = "equity"; month = 6; seek = "250 cash"; pre_money = "1000 cash""#;
    let study = lab("100", PEOPLE, &(design("a", &[note, round]) + &design("b", &[round, note])));
    assert_eq!(all(&study, 0, Metric::Control), all(&study, 1, Metric::Control));
}

#[test]
fn designs_that_are_equal_do_not_turn_the_answer_over() {
    let round =
        r#"kind = "equity"; month = 1; seek = "1000 cash"; least = "900 cash"; pre_money = "4000 cash""#;
    let world = r#"
[world.equity_demand]
low = 0.3
mid = 1.0
high = 3.0
shape = "lognormal"
grade = "D"
source = "a test"
"#;
    let tables = format!("{PEOPLE}{world}");
    for designs in [
        design("none", &[NONE]) + &design("round", &[round]),
        design("round", &[round]) + &design("none", &[NONE]),
    ] {
        let study = lab("50", &tables, &designs);
        let (answers, _) = run(&study, SHALLOW, 2);
        assert_eq!(answers.flips, []);
    }
}

#[test]
fn odd_instruments_are_lived_through() {
    let recoup =
        r#"kind = "strategic"; month = 0; seek = "1000 cash"; multiple = 1; share = "0%"; recoup = "60%""#;
    let tables = r#"
mission = { hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "290 cash"]], reserve = 0 }
service = { live = 0, serving = "0%", needs = "0%", revenue = [[0, "200 cash"]], capacity = [[0, "1 hours"]] }
"#;
    let twice = lab("0", tables, &(design("none", &[NONE]) + &design("twice", &[recoup, recoup])));
    assert_eq!(all(&twice, 1, Metric::Ruin), 1.0);

    let dust =
        r#"kind = "equity"; month = 0; seek = "0.0001 cash"; pre_money = "1 cash"; preference = 0.0001"#;
    let study = lab("500", PEOPLE, &(design("none", &[NONE]) + &design("dust", &[dust])));
    assert_eq!(all(&study, 1, Metric::Ruin), 0.0);

    let note =
        r#"kind = "convertible"; month = 0; seek = "1000 cash"; cap = "0.000001 cash"; discount = "99.99%""#;
    let round = r#"kind = "equity"; month = 1; seek = "1000 cash"; pre_money = "0.000001 cash""#;
    let mut instruments = vec![note; 15];
    instruments.push(round);
    let study = lab("500", PEOPLE, &(design("none", &[NONE]) + &design("notes", &instruments)));
    assert!(all(&study, 1, Metric::Control) < 1e-6);
}

#[test]
fn who_got_exactly_what_was_paid_has_lost_nothing() {
    let source = format!(
        r#"
schema = 1
study = {{ name = "par", start = 2026-08-01T00:00:00Z, months = 60, paths = 4 }}
lab = {{ cash = "1000000 cash" }}
mission = {{ hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "1 cash"]], reserve = 0 }}
service = {{ live = 8, serving = "0%", needs = "0%", revenue = [[0, "0 cash"]], capacity = [[0, "0 hours"]] }}
{}{}
"#,
        design("none", &[NONE]),
        design(
            "par",
            &[
                r#"kind = "offering"; plan = "../plans/quickstart.toml"; worth = "0.473684 cash"; demand = ["333_333.333333 cash", "0 cash"]"#
            ]
        )
    );
    let study = read(&source).unwrap_or_else(|faults| panic!("{faults}"));
    // Half of them at a discount of a tenth: 0.5 × 18 ÷ 19 for a credit, to six places. Service is rounded down each month.
    let multiple = all(&study, 1, Metric::Multiple);
    assert!((1.0 - 1e-6..1.0).contains(&multiple), "{multiple}");
    assert_eq!(all(&study, 1, Metric::Loss), 0.0);
}
