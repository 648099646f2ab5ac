//! Reads a study, table by table, and collects every fault on the way, as plans are read.

use std::path::Path;
use std::sync::Arc;

use earnest_core::money::{Bps, Cash};
use earnest_core::plan::Plan;
use earnest_core::plan::fault::{Faults, Wrong};
use earnest_core::plan::table::{self, Manner, Table};
use earnest_core::plan::units;
use toml::de::DeValue;

use super::{
    Capped, Closing, Convertible, Correlation, Design, Equity, Grant, Instrument, Kind, Lab, Line, Mission,
    Observed, OfferingTerms, Question, Service, Strategic, Stress, Study, When, check,
};
use crate::factor::{FACTORS, Factor};
use crate::outcome::Metric;
use crate::prior::{Grade, Prior, Shape};

/// The version of the format.
const SCHEMA: u32 = 1;
/// Most months.
pub const MONTHS_MAX: u32 = 600;
/// Largest multiple of an investment: a thousand times, in basis points.
const MULTIPLE_MAX_BPS: f64 = 1e7;

const MANNER: Manner = Manner { noun: "study", from: "examples/studies/ has one", example };

const KINDS: [(&str, &[&str]); 6] = [
    ("grant", &["amount", "lead"]),
    (
        "equity",
        &["month", "after_live", "seek", "demand", "least", "pre_money", "preference", "participating"],
    ),
    ("convertible", &["month", "after_live", "seek", "demand", "least", "cap", "discount", "interest"]),
    ("capped", &["month", "after_live", "seek", "demand", "least", "multiple", "share", "until", "votes"]),
    (
        "strategic",
        &[
            "month",
            "after_live",
            "seek",
            "demand",
            "least",
            "multiple",
            "share",
            "until",
            "votes",
            "in_kind",
            "recoup",
        ],
    ),
    (
        "offering",
        &[
            "plan",
            "demand",
            "elasticity",
            "exposure",
            "crypto",
            "worth",
            "follows",
            "replaces",
            "with_votes",
            "at_close",
        ],
    ),
];

/// Reads a plan that a study names: its path as written. The error is what is wrong with it.
pub type Plans<'p> = &'p dyn Fn(&Path) -> Result<Plan, String>;

impl Study {
    /// Reads and checks a study. `plans` reads the plans that its offerings name. Either the study, or every fault.
    pub fn read(file_name: &str, source: &str, plans: Plans<'_>) -> Result<Study, Faults> {
        let (study, source, faults) = table::read(file_name, source, MANNER, |root| study(root, plans))?;
        let faults = faults.into_iter().chain(check::check(&study, &source)).collect();
        match Faults::gather(MANNER.noun, faults) {
            Some(faults) => Err(faults),
            None => Ok(study),
        }
    }
}

fn study(root: &Table<'_, '_>, plans: Plans<'_>) -> Study {
    table::schema(root, SCHEMA);
    let designs: Vec<Design> = root.tables("designs").iter().map(|table| design(table, plans)).collect();
    let names: Vec<&str> = designs.iter().map(|design| design.name.as_str()).collect();
    let outcomes = root.optional_tables("outcomes").iter().map(|table| observed(table, &names)).collect();
    Study {
        question: question(&root.table("study")),
        lab: lab(&root.table("lab")),
        mission: mission(&root.table("mission")),
        service: service(&root.table("service")),
        priors: root.optional_table("world").map_or([const { None }; FACTORS], |table| world(&table)),
        correlations: root.optional_tables("correlations").iter().map(correlation).collect(),
        stresses: root.optional_tables("stress").iter().map(stress).collect(),
        maps: root
            .optional_tables("maps")
            .iter()
            .map(|table| {
                (
                    table.required_or("x", Factor::Injunction, factor),
                    table.required_or("y", Factor::OfferingDemand, factor),
                )
            })
            .collect(),
        outcomes,
        designs,
    }
}

fn question(table: &Table<'_, '_>) -> Question {
    let months = table.required_or("months", 120, months);
    Question {
        name: table.required("name", units::text),
        note: table.optional("note", units::text),
        start: table.required("start", units::instant),
        months,
        paths: table.or("paths", 10_000, |value| at_most(value, 1_000_000)),
        seed: table.or("seed", 1, units::count),
        judged: table.or("judged", months, self::months),
        decide_by: table.or("decide_by", Metric::Funded, metric),
    }
}

fn lab(table: &Table<'_, '_>) -> Lab {
    Lab {
        cash: table.or("cash", Cash::ZERO, units::cash),
        nonprofit: table.or("nonprofit", Bps::ONE, units::percent),
    }
}

fn mission(table: &Table<'_, '_>) -> Mission {
    Mission {
        hours: Line(table.pairs("hours", month, hours, HOURS_EXAMPLE)),
        people: Line(table.pairs("people", month, cash_a_month, CASH_EXAMPLE)),
        hour: table.required("hour", units::cash),
        enough: table.or("enough", Bps::new(9_000).expect("a part"), units::percent),
        reserve: table.or("reserve", 3, |value| at_most(value, 120)),
        core: table.or("core", Bps::ONE, units::percent),
        catch_up: table.or("catch_up", Bps::default(), units::percent),
    }
}

fn service(table: &Table<'_, '_>) -> Service {
    Service {
        live: table.required("live", month),
        needs: table.or("needs", Bps::new(5_000).expect("a part"), units::percent),
        revenue: Line(table.pairs("revenue", month, cash_a_month, CASH_EXAMPLE)),
        serving: table.required("serving", units::percent),
        capacity: Line(table.pairs("capacity", month, hours, HOURS_EXAMPLE)),
    }
}

fn world(table: &Table<'_, '_>) -> [Option<Prior>; FACTORS] {
    Factor::ALL.map(|factor| table.optional_table(factor.meaning().key).map(|table| prior(&table)))
}

fn prior(table: &Table<'_, '_>) -> Prior {
    let shapes = [
        ("normal", Shape::Normal),
        ("lognormal", Shape::Lognormal),
        ("logit", Shape::Logit),
        ("uniform", Shape::Uniform),
        ("fixed", Shape::Fixed),
    ];
    let grades = [("A", Grade::A), ("B", Grade::B), ("C", Grade::C), ("D", Grade::D)];
    Prior {
        low: table.required("low", units::number),
        mid: table.required("mid", units::number),
        high: table.required("high", units::number),
        shape: table.required_or("shape", Shape::Fixed, |value| units::choice(value, &shapes)),
        grade: table.required_or("grade", Grade::D, |value| units::choice(value, &grades)),
        source: table.required("source", units::text),
    }
}

fn correlation(table: &Table<'_, '_>) -> Correlation {
    let of = table.required_list("of", factor);
    let index = |which: usize| of.get(which).copied().unwrap_or(Factor::OfferingDemand).index();
    Correlation { one: index(0), other: index(1), rho: table.required("rho", units::number) }
}

fn stress(table: &Table<'_, '_>) -> Stress {
    let held = table.pairs("hold", factor, units::number, "[[\"injunction\", 0.5]]");
    Stress { name: table.required("name", units::text), held }
}

fn design(table: &Table<'_, '_>, plans: Plans<'_>) -> Design {
    Design {
        name: table.required("name", units::text),
        about: table.optional("about", units::text),
        instruments: table.tables("instruments").iter().map(|table| instrument(table, plans)).collect(),
    }
}

fn instrument(table: &Table<'_, '_>, plans: Plans<'_>) -> Instrument {
    let name = table.required("name", units::text);
    let kind = match table.kind(&KINDS, "instrument") {
        Some("equity") => Kind::Equity(Equity {
            closing: closing(table),
            pre_money: table.required("pre_money", units::cash),
            preference_bps: table.or("preference", 10_000, multiple),
            participating: table.or("participating", false, units::flag),
        }),
        Some("convertible") => Kind::Convertible(Convertible {
            closing: closing(table),
            cap: table.required("cap", units::cash),
            discount: table.or("discount", Bps::default(), units::percent),
            interest: table.or("interest", Bps::default(), units::percent),
        }),
        Some("capped") => Kind::Capped(capped(table)),
        Some("strategic") => Kind::Strategic(Strategic {
            capped: capped(table),
            in_kind: table.or("in_kind", Bps::default(), units::percent),
            recoup: table.or("recoup", Bps::default(), units::percent),
        }),
        Some("offering") => return Instrument { name, kind: offering(table, plans) },
        None => stand_in(),
        Some(_) => Kind::Grant(Grant {
            amount: Line(table.pairs("amount", month, cash_a_month, CASH_EXAMPLE)),
            lead: table.or("lead", Bps::default(), units::percent),
        }),
    };
    Instrument { name, kind }
}

/// In place of an instrument that could not be read, which was said.
fn stand_in() -> Kind {
    Kind::Grant(Grant { amount: Line(vec![(0, 0)]), lead: Bps::default() })
}

fn closing(table: &Table<'_, '_>) -> Closing {
    let (at, after) = (table.optional("month", month), table.optional("after_live", month));
    let when = match (at, after) {
        (Some(month), None) => When::Month(month),
        (None, Some(months)) => When::AfterLive(months),
        (Some(_), Some(_)) => {
            table.refuse_key(
                "after_live",
                "it closes in a month or after the service is live, not both",
                "keep one",
            );
            When::Month(0)
        }
        (None, None) => {
            table.needs("month");
            When::Month(0)
        }
    };
    let seek = table.required("seek", units::cash);
    Closing {
        when,
        seek,
        demand: table.or("demand", seek, units::cash),
        least: table.or("least", Cash::ZERO, units::cash),
    }
}

fn capped(table: &Table<'_, '_>) -> Capped {
    Capped {
        closing: closing(table),
        multiple_bps: table.required("multiple", multiple),
        share: table.required("share", units::percent),
        until: table.optional("until", months),
        votes: table.or("votes", Bps::default(), units::percent),
    }
}

fn offering(table: &Table<'_, '_>, plans: Plans<'_>) -> Kind {
    let plan = table.optional("plan", |value| {
        let path = units::text(value)?;
        plans(Path::new(&path)).map_err(|error| {
            // The first of its faults: the plan's own check tells them all.
            let first = error.lines().next().unwrap_or_default();
            Wrong::new(format!("the plan {path} cannot be read: {first}"), "`earnest check PLAN` says more")
        })
    });
    table.needs("plan");
    let rest = (
        table.required_list("demand", units::cash),
        table.or("elasticity", 1.0, |value| between(value, 0.0, 10.0)),
        table.or("exposure", 1.0, |value| between(value, 0.0, 100.0)),
        table.or("crypto", Bps::default(), units::percent),
        table.required("worth", units::cash),
        table.or("follows", Bps::default(), units::percent),
        table.or("replaces", Bps::default(), units::percent),
        table.or("with_votes", false, units::flag),
        table.or("at_close", false, units::flag),
    );
    let (demand, elasticity, exposure, crypto, worth, follows, replaces, votes, at_close) = rest;
    match plan {
        Some(plan) => Kind::Offering(Box::new(OfferingTerms {
            plan: Arc::new(plan),
            demand,
            elasticity,
            exposure,
            crypto,
            worth,
            follows,
            replaces,
            votes,
            at_close,
        })),
        None => stand_in(),
    }
}

fn observed(table: &Table<'_, '_>, designs: &[&str]) -> Observed {
    let words: Vec<(&str, usize)> = designs.iter().copied().zip(0..).collect();
    let grades = [("A", Grade::A), ("B", Grade::B), ("C", Grade::C), ("D", Grade::D)];
    Observed {
        name: table.required("name", units::text),
        design: table.required("design", |value| units::choice(value, &words)),
        metric: table.required_or("metric", Metric::Raised, metric),
        month: table.optional("month", months),
        value: table.required("value", units::number),
        disputed: table.optional("disputed", units::number),
        source: table.required("source", units::text),
        grade: table.required_or("grade", Grade::D, |value| units::choice(value, &grades)),
    }
}

fn factor(value: &DeValue<'_>) -> Result<Factor, Wrong> {
    units::choice(value, &Factor::ALL.map(|factor| (factor.meaning().key, factor)))
}

fn metric(value: &DeValue<'_>) -> Result<Metric, Wrong> {
    units::choice(value, &Metric::ALL.map(|metric| (metric.meaning().key, metric)))
}

const HOURS_EXAMPLE: &str = "[[0, \"10_000 hours\"], [24, \"500_000 hours\"]]";
const CASH_EXAMPLE: &str = "[[0, \"1_000_000 cash\"], [24, \"2_000_000 cash\"]]";

/// Whole hours.
fn hours(value: &DeValue<'_>) -> Result<u64, Wrong> {
    let number = units::quantity(value, &["hours", "hour"], "10_000 hours")?;
    let whole: String = number.chars().filter(|&c| c != '_').collect();
    let hours = whole.parse::<u64>().ok().filter(|&hours| hours <= 1 << 50);
    hours.ok_or_else(|| {
        Wrong::new(format!("`{number}` is not a number of hours"), "write it like \"10_000 hours\"")
    })
}

/// Base units of cash.
fn cash_a_month(value: &DeValue<'_>) -> Result<u64, Wrong> {
    Ok(units::cash(value)?.units())
}

/// A month of the study, from 0.
fn month(value: &DeValue<'_>) -> Result<u32, Wrong> {
    at_most(value, MONTHS_MAX)
}

fn months(value: &DeValue<'_>) -> Result<u32, Wrong> {
    match at_most(value, MONTHS_MAX)? {
        0 => Err(Wrong::new("no month at all", "write at least 1")),
        months => Ok(months),
    }
}

fn at_most(value: &DeValue<'_>, most: u32) -> Result<u32, Wrong> {
    let count = units::count::<u32>(value)?;
    if count > most {
        Err(Wrong::new(format!("{count} is too large"), format!("at most {most}")))
    } else {
        Ok(count)
    }
}

fn between(value: &DeValue<'_>, least: f64, most: f64) -> Result<f64, Wrong> {
    let number = units::number(value)?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(Wrong::new(format!("{number} is out of range"), format!("between {least} and {most}")))
    }
}

/// A multiple such as `100` or `1.5`, in basis points.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within")]
fn multiple(value: &DeValue<'_>) -> Result<u32, Wrong> {
    let bps = units::number(value)? * 10_000.0;
    if (0.0..=MULTIPLE_MAX_BPS).contains(&bps) {
        Ok(bps as u32)
    } else {
        Err(Wrong::new("a multiple is between 0 and 1000", "write it bare: 100"))
    }
}

/// The value of a key that is missing, as it could be written.
fn example(key: &str) -> &'static str {
    match key {
        "hours" | "capacity" => HOURS_EXAMPLE,
        "people" | "revenue" | "amount" => CASH_EXAMPLE,
        "demand" => "[\"1_000_000 cash\"]",
        "seek" | "pre_money" | "cap" | "hour" | "worth" => "\"1_000_000 cash\"",
        "start" => "2018-02-01T00:00:00Z",
        "schema" => "1",
        "months" | "live" | "month" | "multiple" => "24",
        "share" | "serving" => "\"40%\"",
        "low" | "mid" | "high" | "rho" | "value" => "0.25",
        "shape" => "\"lognormal\"",
        "grade" => "\"C\"",
        "of" => "[\"offering_demand\", \"equity_demand\"]",
        "hold" => "[[\"injunction\", 0.5]]",
        "x" | "y" => "\"injunction\"",
        "metric" => "\"raised\"",
        "plan" => "\"../plans/openai-2018.toml\"",
        _ => "\"…\"",
    }
}
