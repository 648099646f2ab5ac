//! Reads `plan.toml` into a [`Plan`], table by table, and collects every fault on the way: a wrong value, a
//! missing key, a key nobody asked for. What could not be read is marked, so that the rules across keys
//! ([`super::check`]) are tried on everything else and one mistake is told once.

use super::fault::{Faults, Warning};
use super::table::{self, Manner, Table};
use super::units;
use super::{
    AuctionPlan, CoinPlan, Covenant, CurvePlan, Document, DocumentKind, FixedPlan, Milestone, ModelPrice,
    OfferingPlan, Plan, PriceListPlan, ProvidersPlan, RegimePlan, RisingPlan, Roles, RoundKind, RoundPlan,
    SchedulePlan, Service, Terms, TreasuryPlan, VotesPlan, check,
};
use crate::money::{Bps, Cash, Credits};

/// The version of the plan's format that is read here.
pub const SCHEMA: u32 = 1;
/// What is said of plans.
const MANNER: Manner = Manner { noun: "plan", from: "`earnest init` writes a plan", example: example_of };

/// Keys that belong to rounds of some kinds only.
const KEYS_OF_ROUND_KINDS: [(&str, &[&str]); 4] = [
    ("fixed", &["supply", "price", "allocation"]),
    ("private", &["supply", "price", "allocation"]),
    ("auction", &["supply", "floor_price", "tick", "ticks"]),
    ("rising", &["window", "window_cap", "start", "follows", "cap", "knots", "curve"]),
];

/// Keys that belong to curves of some kinds only.
const KEYS_OF_CURVE_KINDS: [(&str, &[&str]); 4] = [
    ("exponential", &["first_price", "e_fold"]),
    ("proportional", &["floor_price", "divisor"]),
    ("linear", &["first_price", "last_price", "over"]),
    ("points", &["points"]),
];

impl Plan {
    /// Reads and checks a plan. `file_name` is how messages call the file. Either the plan with what a reader of
    /// it should know, or every fault at once.
    pub fn read(file_name: &str, source: &str) -> Result<(Plan, Vec<Warning>), Faults> {
        let (plan, source, faults) = table::read(file_name, source, MANNER, plan)?;
        let faults = faults.into_iter().chain(check::check(&plan, &source)).collect();
        match Faults::gather(MANNER.noun, faults) {
            Some(faults) => Err(faults),
            None => {
                let warnings = check::warnings(&plan, &source);
                Ok((plan, warnings))
            }
        }
    }
}

fn plan(root: &Table<'_, '_>) -> Plan {
    table::schema(root, SCHEMA);
    Plan {
        offering: offering(&root.table("offering")),
        terms: terms(&root.table("terms")),
        documents: root.tables("documents").iter().map(document).collect(),
        cash: coin(&root.table("cash"), true),
        credits: coin(&root.table("credits"), false),
        roles: root.optional_table("roles").map(|table| roles(&table)).unwrap_or_default(),
        service: service(&root.table("service")),
        schedules: root.tables("schedules").iter().map(schedule).collect(),
        regimes: regimes(root),
        rounds: root.tables("rounds").iter().map(round).collect(),
        treasury: treasury(&root.table("treasury")),
        votes: root.optional_table("votes").map(|table| votes(&table)),
        price_list: root.optional_table("price_list").map(|table| price_list(&table)),
        providers: root.optional_table("providers").map(|table| providers(&table)),
    }
}

fn offering(table: &Table<'_, '_>) -> OfferingPlan {
    OfferingPlan {
        name: table.required("name", units::text),
        issuer: table.required("issuer", units::text),
        note: table.optional("note", units::text),
        hard_cap: table.required("hard_cap", units::cash),
        soft_cap: table.or("soft_cap", Cash::ZERO, units::cash),
        soft_cap_date: table.optional("soft_cap_date", units::instant),
        pause_limit_secs: table.or("pause_limit", 0, units::duration_secs),
    }
}

fn terms(table: &Table<'_, '_>) -> Terms {
    Terms {
        title: table.required("title", units::text),
        governing_law: table.required("governing_law", units::text),
        position: table.required("position", units::text),
        credit: table.required("credit", units::text),
        promises: table.list("promises", units::text),
    }
}

fn document(table: &Table<'_, '_>) -> Document {
    Document {
        name: table.required("name", units::text),
        kind: table.required_or("kind", DocumentKind::Other, units::document_kind),
        sha256: table.required("sha256", units::sha256),
        file: table.optional("file", units::text),
    }
}

fn coin(table: &Table<'_, '_>, may_exist_already: bool) -> CoinPlan {
    if !may_exist_already {
        table.refuse_key("address", "the credit coin is deployed with the offering", "remove this line");
    }
    CoinPlan {
        name: table.required("name", units::text),
        symbol: table.required("symbol", units::text),
        address: may_exist_already.then(|| table.optional("address", units::address)).flatten(),
    }
}

fn roles(table: &Table<'_, '_>) -> Roles {
    Roles {
        issuer: table.optional("issuer", units::address),
        attesters: table.list("attesters", units::address),
        certifier: table.optional("certifier", units::address),
        guardian: table.optional("guardian", units::address),
        gateway: table.optional("gateway", units::address),
    }
}

fn service(table: &Table<'_, '_>) -> Service {
    Service {
        deadline: table.required("deadline", units::instant),
        notice_secs: table.required("notice", units::duration_secs),
        objections: table.required("objections", units::count),
        capacity_per_day: table.optional("capacity", units::credits_per_day),
    }
}

fn schedule(table: &Table<'_, '_>) -> SchedulePlan {
    SchedulePlan {
        name: table.required("name", units::text),
        discount: table.or("discount", Bps::default(), units::percent),
        linear: table.required("vesting", units::vesting),
        points: table.pairs("points", units::duration_secs, units::percent, "[[\"90 days\", \"100%\"]]"),
    }
}

/// Regimes, where `demand` left out everywhere means equal parts, the first ones taking what does not divide.
fn regimes(root: &Table<'_, '_>) -> Vec<RegimePlan> {
    let tables = root.tables("regimes");
    let demands: Vec<Option<Bps>> =
        tables.iter().map(|table| table.optional("demand", units::percent)).collect();
    if demands.iter().any(Option::is_some) {
        for (table, _) in tables.iter().zip(&demands).filter(|(_, demand)| demand.is_none()) {
            table.needs("demand");
        }
    }
    let unsaid = demands.iter().all(Option::is_none);
    let count = u16::try_from(tables.len()).unwrap_or(u16::MAX).max(1);
    tables
        .iter()
        .zip(demands)
        .zip(0..)
        .map(|((table, demand), index)| {
            let equal = Bps::new(10_000 / count + u16::from(index < 10_000 % count));
            let demand = if unsaid { equal } else { demand };
            regime(table, demand.unwrap_or_default())
        })
        .collect()
}

fn regime(table: &Table<'_, '_>, demand: Bps) -> RegimePlan {
    RegimePlan {
        name: table.required("name", units::text),
        rule: table.required("rule", units::text),
        lock_days: table.or("lock", 0, units::days),
        max_buyers: table.optional("max_buyers", units::count),
        max_non_accredited: table.optional("max_non_accredited", units::count),
        max_raise: table.optional("max_raise", units::cash),
        max_entity: table.optional("max_entity", units::cash),
        cooling_off_days: table.or("cooling_off", 0, units::days),
        wait_hours: table.or("wait", 0, units::hours),
        jurisdictions: table.list("jurisdictions", units::text),
        demand,
    }
}

fn round(table: &Table<'_, '_>) -> RoundPlan {
    RoundPlan {
        name: table.required("name", units::text),
        kind: round_kind(table),
        open: table.required("open", units::instant),
        close: table.required("close", units::instant),
        min_bid: table.required("min_bid", units::cash),
        max_bid: table.optional("max_bid", units::cash),
        schedules: table.required_list("schedules", units::text),
        regimes: table.required_list("regimes", units::text),
        withdrawable: table.optional("withdrawable", units::cash),
    }
}

fn round_kind(table: &Table<'_, '_>) -> RoundKind {
    match table.kind(&KEYS_OF_ROUND_KINDS, "round") {
        Some("private") => RoundKind::Private(fixed(table)),
        Some("auction") => RoundKind::Auction(AuctionPlan {
            supply: table.required("supply", units::credits),
            floor_price: table.required("floor_price", units::price),
            tick: table.required("tick", units::price),
            ticks: table.required("ticks", units::count),
        }),
        Some("rising") => RoundKind::Rising(rising(table)),
        Some(_) => RoundKind::Fixed(fixed(table)),
        // Nothing is concluded from it, for its kind is marked as not read.
        None => RoundKind::Fixed(FixedPlan {
            supply: Credits::ZERO,
            price: crate::money::Price::default(),
            first_come: false,
        }),
    }
}

fn fixed(table: &Table<'_, '_>) -> FixedPlan {
    FixedPlan {
        supply: table.required("supply", units::credits),
        price: table.required("price", units::price),
        first_come: table.or("allocation", false, units::allocation),
    }
}

fn rising(table: &Table<'_, '_>) -> RisingPlan {
    let curve = curve(&table.table("curve"));
    let knots = match &curve {
        CurvePlan::Points(points) if !points.is_empty() => {
            let hint = "remove this line: the points are the knots";
            table.refuse_key("knots", "a curve of points is not cut into knots", hint);
            u16::try_from(points.len()).unwrap_or(u16::MAX)
        }
        _ => table.required("knots", units::count),
    };
    RisingPlan {
        window_secs: table.required("window", units::duration_secs),
        window_cap: table.required("window_cap", units::cash),
        start: table.or("start", Cash::ZERO, units::cash),
        follows: table.optional("follows", units::text),
        cap: table.required("cap", units::cash),
        curve,
        knots,
    }
}

fn curve(table: &Table<'_, '_>) -> CurvePlan {
    match table.kind(&KEYS_OF_CURVE_KINDS, "curve") {
        Some("exponential") => CurvePlan::Exponential {
            first_price: table.required("first_price", units::price),
            e_fold: table.required("e_fold", units::credits),
        },
        Some("proportional") => CurvePlan::Proportional {
            floor_price: table.required("floor_price", units::price),
            divisor: table.required("divisor", units::credits),
        },
        Some("linear") => CurvePlan::Linear {
            first_price: table.required("first_price", units::price),
            last_price: table.required("last_price", units::price),
            over: table.required("over", units::credits),
        },
        Some(_) => {
            let example = "[[\"0 cash\", \"0 credits\"], [\"1_000 cash\", \"900 credits\"]]";
            CurvePlan::Points(table.pairs("points", units::cash, units::credits, example))
        }
        None => CurvePlan::Points(Vec::new()),
    }
}

fn treasury(table: &Table<'_, '_>) -> TreasuryPlan {
    TreasuryPlan {
        tap_per_sec: table.required("tap", units::cash_per_sec),
        tap_start: table.optional("tap_start", units::instant),
        ceiling_at_start: table.or("ceiling_at_start", Cash::ZERO, units::cash),
        ceiling_at_live: table.required("ceiling_at_live", units::cash),
        milestones: table.optional_tables("milestones").iter().map(milestone).collect(),
    }
}

fn milestone(table: &Table<'_, '_>) -> Milestone {
    Milestone {
        name: table.required("name", units::text),
        statement: table.required("statement", units::text),
        ceiling: table.required("ceiling", units::cash),
        before_live: table.or("before_live", false, units::flag),
    }
}

fn votes(table: &Table<'_, '_>) -> VotesPlan {
    VotesPlan {
        threshold: table.required("threshold", units::percent),
        quorum: table.required("quorum", units::percent),
        majority: table.required("majority", units::percent),
        voting_secs: table.required("voting", units::duration_secs),
        cooldown_secs: table.required("cooldown", units::duration_secs),
        exit_secs: table.required("exit", units::duration_secs),
    }
}

fn price_list(table: &Table<'_, '_>) -> PriceListPlan {
    PriceListPlan {
        notice_secs: table.required("notice", units::duration_secs),
        cash: table.optional("cash", units::price),
        models: table.tables("models").iter().map(model_price).collect(),
        covenant: table.optional_table("covenant").map(|table| Covenant {
            tier: table.required("tier", units::text),
            benchmark: table.required("benchmark", units::text),
            output: table.required("output", units::credits_per_million),
            model: table.optional("model", units::text),
        }),
    }
}

fn model_price(table: &Table<'_, '_>) -> ModelPrice {
    ModelPrice {
        name: table.required("name", units::text),
        input: table.optional("input", units::credits_per_million),
        cached: table.optional("cached", units::credits_per_million),
        output: table.optional("output", units::credits_per_million),
        embedding: table.optional("embedding", units::credits_per_million),
        image: table.optional("image", units::credits_per_image),
        audio_second: table.optional("audio_second", units::credits_per_second),
        compute_second: table.optional("compute_second", units::credits_per_second),
    }
}

fn providers(table: &Table<'_, '_>) -> ProvidersPlan {
    ProvidersPlan {
        share: table.required("share", units::percent),
        held_back: table.required("held_back", units::percent),
        min_stake: table.required("min_stake", units::credits),
        thawing_secs: table.required("thawing", units::duration_secs),
        cold_start: table.required("cold_start", units::credits),
        epoch_secs: table.required("epoch", units::duration_secs),
    }
}

/// The value of a key that is missing, as it could be written.
fn example_of(key: &str) -> &'static str {
    match key {
        "schema" => "1",
        "hard_cap" | "cap" | "window_cap" | "ceiling" | "ceiling_at_live" => "\"1_000_000 cash\"",
        "min_bid" => "\"100 cash\"",
        "supply" | "e_fold" | "divisor" | "over" | "min_stake" | "cold_start" => "\"1_000_000 credits\"",
        "price" | "floor_price" | "first_price" | "last_price" => "\"0.25 cash per credit\"",
        "tick" => "\"0.01 cash per credit\"",
        "ticks" | "knots" => "100",
        "objections" => "1",
        "open" | "close" | "deadline" => "2026-09-01T00:00:00Z",
        "notice" | "window" | "voting" | "cooldown" | "exit" | "thawing" => "\"14 days\"",
        "epoch" => "\"1 day\"",
        "tap" => "\"10_000 cash per day\"",
        "demand" | "threshold" | "quorum" | "majority" | "share" | "held_back" => "\"20%\"",
        "vesting" => "\"linear\"",
        "points" => "[[\"90 days\", \"100%\"]]",
        "schedules" | "regimes" => "[\"…\"]",
        "output" => "\"2 credits per million\"",
        "curve" => "{ kind = \"exponential\", first_price = \"…\", e_fold = \"…\" }",
        _ => "\"…\"",
    }
}
