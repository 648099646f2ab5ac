//! Rules under which backers may buy, as parameters a program can compare with a plan. Each parameter carries
//! its citation, its status and the day it was verified. What comes out are facts and open questions for
//! counsel, never a verdict that something is lawful or is a security.

use std::fmt;

use serde::Serialize;

use crate::plan::{DocumentKind, Plan, RegimePlan, RoundKind, RoundPlan, Time, instant};

/// The day all parameters below were last looked at.
pub const VERIFIED: &str = "2026-06-30";

/// A rule that a regime of a plan may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Name in the plan, such as `us-506c`.
    pub name: &'static str,
    /// What lawyers call it.
    pub title: &'static str,
    /// What it asks.
    pub parameters: &'static [Parameter],
}

/// One thing a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Short name.
    pub name: &'static str,
    /// In words.
    pub text: &'static str,
    /// As far as a plan can be compared with it.
    pub measure: Measure,
    /// Where it is written.
    pub citation: &'static str,
    /// Whether it binds.
    pub status: Status,
    /// The day it was verified.
    pub verified: &'static str,
    /// Written down from memory: to be checked by counsel before anyone relies on it.
    pub from_memory: bool,
}

/// Whether a parameter binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Law.
    InForce,
    /// Not law yet.
    Proposed,
    /// What a regulator's staff wrote to someone else.
    StaffLetter,
}

/// A number of a rule, and what of the plan it is compared with. Money is in whole units of the rule's own
/// currency and is compared with cash one for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Most raised under the regime.
    MostRaised(u64),
    /// Most buyers under the regime.
    MostBuyers(u32),
    /// Most buyers who are not accredited or qualified.
    MostNonAccredited(u32),
    /// No buyer who is not accredited, unless the plan says otherwise.
    AccreditedOnly,
    /// Most cash of one buyer.
    MostOfOneBuyer(u64),
    /// Shortest lock, in days.
    ShortestLock(u16),
    /// Shortest right to withdraw, in days.
    ShortestCoolingOff(u8),
    /// Shortest wait before a first bid, in hours.
    ShortestWait(u16),
    /// Longest time from the first open to the last close, in days.
    LongestOffer(u16),
    /// Rounds must be of kind `private`.
    PrivateRounds,
    /// No buyers in this jurisdiction.
    NobodyIn(&'static str),
    /// A document of kind `white-paper`.
    WhitePaper,
    /// Sold only when the service is live.
    LiveWhenSold,
    /// The proceeds do not build the service.
    NothingSpentBeforeLive,
    /// Different from this day on.
    RestrictedFrom(Time),
    /// Holders of record over the whole offering, once so much is raised.
    Holders {
        /// Nothing is asked up to this.
        assets: u64,
        /// So many holders of any sort are too many.
        all: u64,
        /// So many who are not accredited are too many.
        non_accredited: u64,
    },
    /// Promises are written down.
    PromisesKept,
    /// One of these is enough.
    AnyOf(&'static [Measure]),
    /// Nothing a plan says can be compared with it.
    Stated,
}

/// A parameter that a plan does not keep within, or does not say that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Path of the key it is about.
    pub path: String,
    /// The rule.
    pub rule: &'static str,
    /// The parameter.
    pub parameter: &'static Parameter,
    /// What the plan says.
    pub message: String,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::InForce => "in_force",
            Status::Proposed => "proposed",
            Status::StaffLetter => "staff_letter",
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}; {}, ", self.name, self.text, self.citation, self.status.word())?;
        match self.from_memory {
            true => write!(f, "from memory, to be checked by counsel, {})", self.verified),
            false => write!(f, "verified {})", self.verified),
        }
    }
}

/// The rule of that name.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// Compares a valid plan with the rules its regimes name, and with those that hold for an offering as a whole.
pub fn review(plan: &Plan) -> Vec<Concern> {
    let mut concerns = Vec::new();
    for (index, regime) in plan.regimes.iter().enumerate() {
        let Some(rule) = rule(&regime.rule) else { continue };
        let scope = Scope { plan, regime, path: format!("regimes[{index}]") };
        concerns.extend(scope.concerns(rule));
    }
    if plan.regimes.iter().any(|regime| regime.rule.starts_with("us-")) {
        concerns.extend(WHOLE_OFFERING.iter().flat_map(|rule| whole_offering(plan, rule)));
    }
    concerns
}

/// A regime within its plan.
struct Scope<'p> {
    plan: &'p Plan,
    regime: &'p RegimePlan,
    path: String,
}

impl Scope<'_> {
    fn concerns(&self, rule: &'static Rule) -> Vec<Concern> {
        let used = self.rounds().next().is_some();
        let overstepped = |parameter: &'static Parameter| {
            self.overstepped(&parameter.measure).into_iter().map(move |(key, message)| Concern {
                path: format!("{}.{key}", self.path),
                rule: rule.name,
                parameter,
                message,
            })
        };
        // A regime that no round names raises nothing: that is said elsewhere.
        rule.parameters.iter().filter(|_| used).flat_map(overstepped).collect()
    }

    /// The rounds open to this regime.
    fn rounds(&self) -> impl Iterator<Item = &RoundPlan> {
        self.plan.rounds.iter().filter(|round| round.regimes.contains(&self.regime.name))
    }

    /// The most this regime can bring in, in whole cash, rounded up.
    fn most_raised(&self) -> u64 {
        let rounds: u64 = self
            .rounds()
            .filter_map(RoundPlan::most_cash)
            .fold(0, |sum, cash| sum.saturating_add(cash.units()));
        let most = self.regime.max_raise.map_or(rounds, |bound| bound.units().min(rounds));
        most.div_ceil(1_000_000)
    }

    /// The key and what the plan says, where the plan is beyond a measure or says nothing about it.
    fn overstepped(&self, measure: &Measure) -> Option<(&'static str, String)> {
        let regime = self.regime;
        match *measure {
            Measure::MostRaised(most) => {
                let says = self.most_raised();
                (says > most).then(|| {
                    (
                        "max_raise",
                        format!("up to {says} cash can come under this regime; the rule names {most}"),
                    )
                })
            }
            Measure::MostBuyers(most) => beyond(regime.max_buyers, most, "max_buyers", "buyers"),
            Measure::MostNonAccredited(most) => beyond(
                regime.max_non_accredited,
                most,
                "max_non_accredited",
                "buyers who are not accredited or qualified",
            ),
            Measure::AccreditedOnly => regime.max_non_accredited.filter(|&most| most > 0).map(|most| {
                (
                    "max_non_accredited",
                    format!("up to {most} buyers who are not accredited; the rule names none"),
                )
            }),
            Measure::MostOfOneBuyer(most) => match regime.max_entity {
                Some(bound) if bound.units() <= most.saturating_mul(1_000_000) => None,
                Some(bound) => {
                    Some(("max_entity", format!("one entity may pay {bound} cash; the rule names {most}")))
                }
                None => Some((
                    "max_entity",
                    format!("what one entity may pay is not bounded; the rule names {most}"),
                )),
            },
            Measure::ShortestLock(days) => (regime.lock_days < days)
                .then(|| ("lock", format!("locked for {} days; the rule names {days}", regime.lock_days))),
            Measure::ShortestCoolingOff(days) => (regime.cooling_off_days < days).then(|| {
                (
                    "cooling_off",
                    format!("{} days to withdraw; the rule names {days}", regime.cooling_off_days),
                )
            }),
            Measure::ShortestWait(hours) => (regime.wait_hours < hours)
                .then(|| ("wait", format!("{} hours' wait; the rule names {hours}", regime.wait_hours))),
            Measure::LongestOffer(days) => {
                let open = self.rounds().map(|round| round.open).min()?;
                let close = self.rounds().map(|round| round.close).max()?;
                let says = (close.saturating_sub(open)).div_ceil(instant::DAY_SECS);
                (says > u64::from(days)).then(|| {
                    ("name", format!("its rounds run over {says} days before the service is live; the rule names {days}"))
                })
            }
            Measure::PrivateRounds => {
                let public = self.rounds().find(|round| !matches!(round.kind, RoundKind::Private(_)))?;
                Some(("name", format!("round `{}` is not of kind `private`", public.name)))
            }
            Measure::NobodyIn(country) => regime
                .jurisdictions
                .iter()
                .any(|code| code == country)
                .then(|| ("jurisdictions", format!("{country} is among its jurisdictions"))),
            Measure::WhitePaper => {
                let has =
                    self.plan.documents.iter().any(|document| document.kind == DocumentKind::WhitePaper);
                (!has).then(|| ("rule", "the plan has no document of kind `white-paper`".to_owned()))
            }
            Measure::LiveWhenSold => {
                Some(("rule", "positions are sold before the service is live".to_owned()))
            }
            Measure::NothingSpentBeforeLive => {
                let treasury = &self.plan.treasury;
                let spent = treasury.ceiling_at_start.units() > 0
                    || treasury.milestones.iter().any(|milestone| milestone.before_live);
                spent.then(|| ("rule", "the tap may release cash before the service is live".to_owned()))
            }
            Measure::RestrictedFrom(day) => {
                let late = self.rounds().find(|round| round.close > day)?;
                Some(("name", format!("round `{}` is open after {}", late.name, instant::show(day))))
            }
            Measure::AnyOf(measures) => {
                let all: Option<Vec<_>> = measures.iter().map(|measure| self.overstepped(measure)).collect();
                let all = all?;
                let words: Vec<String> = all.iter().map(|(key, says)| format!("`{key}`: {says}")).collect();
                Some(("rule", format!("none of these is kept: {}", words.join("; "))))
            }
            Measure::Holders { .. } | Measure::PromisesKept | Measure::Stated => None,
        }
    }
}

fn beyond(says: Option<u32>, most: u32, key: &'static str, noun: &str) -> Option<(&'static str, String)> {
    match says {
        Some(bound) if bound <= most => None,
        Some(bound) => Some((key, format!("up to {bound} {noun}; the rule names {most}"))),
        None => Some((key, format!("{noun} are not bounded; the rule names {most}"))),
    }
}

fn whole_offering(plan: &Plan, rule: &'static Rule) -> Vec<Concern> {
    let concern = |parameter: &'static Parameter| {
        let (path, message) = match parameter.measure {
            Measure::Holders { assets, all, non_accredited } => {
                ("offering.hard_cap", holders(plan, assets, all, non_accredited)?)
            }
            Measure::PromisesKept if plan.terms.promises.is_empty() => {
                ("terms.promises", "the terms write down no promise".to_owned())
            }
            _ => return None,
        };
        Some(Concern { path: path.to_owned(), rule: rule.name, parameter, message })
    };
    rule.parameters.iter().filter_map(concern).collect()
}

fn holders(plan: &Plan, assets: u64, all: u64, non_accredited: u64) -> Option<String> {
    if plan.offering.hard_cap.units() <= assets.saturating_mul(1_000_000) {
        return None;
    }
    let total = |most: fn(&RegimePlan) -> Option<u32>| -> Option<u64> {
        plan.regimes.iter().map(|regime| most(regime).map(u64::from)).sum()
    };
    let within = |most: Option<u64>, limit: u64, noun: &str| match most {
        Some(most) if most < limit => None,
        Some(most) => Some(format!("its regimes admit {most} {noun}; the rule names {limit}")),
        None => Some(format!("not every regime bounds its {noun}; the rule names {limit}")),
    };
    within(total(|regime| regime.max_buyers), all, "buyers").or_else(|| {
        let noun = "buyers who are not accredited";
        within(total(most_non_accredited), non_accredited, noun)
    })
}

/// The most buyers of a regime who may not be accredited.
fn most_non_accredited(regime: &RegimePlan) -> Option<u32> {
    let accredited_only = regime.rule == "us-506c";
    regime.max_non_accredited.or(if accredited_only { Some(0) } else { regime.max_buyers })
}

const fn parameter(
    name: &'static str,
    text: &'static str,
    measure: Measure,
    citation: &'static str,
) -> Parameter {
    let status = Status::InForce;
    Parameter { name, text, measure, citation, status, verified: VERIFIED, from_memory: false }
}

const fn from_memory(
    name: &'static str,
    text: &'static str,
    measure: Measure,
    citation: &'static str,
) -> Parameter {
    Parameter { from_memory: true, ..parameter(name, text, measure, citation) }
}

const fn staff_letter(
    name: &'static str,
    text: &'static str,
    measure: Measure,
    citation: &'static str,
) -> Parameter {
    Parameter { status: Status::StaffLetter, ..parameter(name, text, measure, citation) }
}

const TURNKEY_JET: &str = "SEC staff letter to TurnKey Jet, Inc. (2019)";
const MICA_TITLE_II: &str = "Regulation (EU) 2023/1114 (MiCA), title II";

const RULE_144: Parameter = from_memory(
    "resale",
    "restricted for 1 year, or 6 months where the issuer reports",
    Measure::ShortestLock(365),
    "17 CFR 230.144",
);

/// Rules that a regime may name.
pub const RULES: &[Rule] = &[
    Rule {
        name: "us-506b",
        title: "US Regulation D, rule 506(b)",
        parameters: &[
            from_memory(
                "non-accredited",
                "at most 35 buyers who are not accredited but sophisticated; no cap on the raise",
                Measure::MostNonAccredited(35),
                "17 CFR 230.506(b)",
            ),
            from_memory(
                "solicitation",
                "no general solicitation",
                Measure::PrivateRounds,
                "17 CFR 230.502(c)",
            ),
            from_memory(
                "form-d",
                "Form D within 15 days of the first sale",
                Measure::Stated,
                "17 CFR 230.503",
            ),
            RULE_144,
        ],
    },
    Rule {
        name: "us-506c",
        title: "US Regulation D, rule 506(c)",
        parameters: &[
            parameter(
                "accredited",
                "every buyer accredited (income $200k, $300k with a spouse, or net worth $1M without the home)",
                Measure::AccreditedOnly,
                "17 CFR 230.506(c), 230.501(a)",
            ),
            staff_letter(
                "verification",
                "reasonable steps: a least investment of $200k (natural person) or $1M (entity), with representations",
                Measure::Stated,
                "SEC staff letter of 2025-03-12",
            ),
            RULE_144,
        ],
    },
    Rule {
        name: "us-reg-s",
        title: "US Regulation S, offers outside the United States",
        parameters: &[
            from_memory(
                "offshore",
                "offshore transactions only, no directed selling efforts in the United States",
                Measure::NobodyIn("US"),
                "17 CFR 230.903",
            ),
            from_memory(
                "distribution",
                "category 3: equity 1 year (6 months if the issuer reports), debt 40 days; others' transfers refused",
                Measure::ShortestLock(365),
                "17 CFR 230.903-904",
            ),
        ],
    },
    Rule {
        name: "us-reg-a2",
        title: "US Regulation A, tier 2",
        parameters: &[
            parameter(
                "raise",
                "at most $75M in 12 months",
                Measure::MostRaised(75_000_000),
                "17 CFR 230.251(a)(2)",
            ),
            parameter(
                "non-accredited",
                "a buyer who is not accredited: at most 10% of the greater of income and net worth",
                Measure::Stated,
                "17 CFR 230.251(d)(2)",
            ),
        ],
    },
    Rule {
        name: "us-reg-cf",
        title: "US Regulation Crowdfunding",
        parameters: &[
            from_memory(
                "raise",
                "at most $5M in 12 months",
                Measure::MostRaised(5_000_000),
                "17 CFR 227.100(a)(1)",
            ),
            from_memory(
                "buyer",
                "at most $124k of one buyer over all issuers; less with income or net worth below that",
                Measure::MostOfOneBuyer(124_000),
                "17 CFR 227.100(a)(2)",
            ),
            from_memory("resale", "locked for 1 year", Measure::ShortestLock(365), "17 CFR 227.501"),
        ],
    },
    Rule {
        name: "us-service-credit",
        title: "US service credit, as in the letter to TurnKey Jet",
        parameters: &[
            staff_letter(
                "live",
                "the network is live and the credit usable when it is sold",
                Measure::LiveWhenSold,
                TURNKEY_JET,
            ),
            staff_letter(
                "proceeds",
                "the proceeds do not build the service",
                Measure::NothingSpentBeforeLive,
                TURNKEY_JET,
            ),
            staff_letter(
                "price",
                "a constant price in service, buy-back below face only, no marketing of profit",
                Measure::Stated,
                TURNKEY_JET,
            ),
        ],
    },
    Rule {
        name: "eu-mica-exempt",
        title: "EU MiCA, offers without a white paper",
        parameters: &[parameter(
            "exemption",
            "fewer than 150 persons in each member state, or at most EUR 1M in 12 months, or qualified only",
            Measure::AnyOf(&[
                Measure::MostBuyers(149),
                Measure::MostRaised(1_000_000),
                Measure::MostNonAccredited(0),
            ]),
            MICA_TITLE_II,
        )],
    },
    Rule {
        name: "eu-mica-whitepaper",
        title: "EU MiCA, offers with a white paper",
        parameters: &[
            parameter("white-paper", "a white paper is published", Measure::WhitePaper, MICA_TITLE_II),
            parameter(
                "withdrawal",
                "retail buyers may withdraw for 14 days and are refunded within 14 more",
                Measure::ShortestCoolingOff(14),
                MICA_TITLE_II,
            ),
            parameter(
                "duration",
                "while the service is not live, offered for at most 12 months",
                Measure::LongestOffer(365),
                MICA_TITLE_II,
            ),
        ],
    },
    Rule {
        name: "uk",
        title: "United Kingdom",
        parameters: &[
            from_memory(
                "wait",
                "24 hours between a promotion and a first investment",
                Measure::ShortestWait(24),
                "FCA rules on financial promotions of cryptoassets",
            ),
            parameter(
                "public-offers",
                "public offers are restricted from 2027-10-25",
                Measure::RestrictedFrom(1_824_422_400),
                "SI 2026/102",
            ),
        ],
    },
    Rule {
        name: "sg",
        title: "Singapore, if it is a capital-markets product",
        parameters: &[parameter(
            "exemption",
            "S$5M in 12 months, or 50 persons in 12 months, or accredited only",
            Measure::AnyOf(&[
                Measure::MostRaised(5_000_000),
                Measure::MostBuyers(50),
                Measure::MostNonAccredited(0),
            ]),
            "Securities and Futures Act 2001, part 13",
        )],
    },
    Rule {
        name: "unlisted",
        title: "a rule that is not in this table: nothing is compared",
        parameters: &[],
    },
];

/// Rules that hold for an offering as a whole.
pub const WHOLE_OFFERING: &[Rule] = &[
    Rule {
        name: "us-12g",
        title: "US Exchange Act, section 12(g)",
        parameters: &[parameter(
            "holders",
            "registration with assets over $10M and 2,000 holders, or 500 who are not accredited",
            Measure::Holders { assets: 10_000_000, all: 2_000, non_accredited: 500 },
            "15 U.S.C. 78l(g)",
        )],
    },
    Rule {
        name: "us-33-11412",
        title: "SEC release 33-11412 of 2026-03-17",
        parameters: &[parameter(
            "promises",
            "an investment contract attaches by representations made before or at the sale and separates once they are fulfilled",
            Measure::PromisesKept,
            "SEC release 33-11412",
        )],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_own_name() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(RULES[..index].iter().all(|other| other.name != rule.name), "{}", rule.name);
        }
    }

    #[test]
    fn the_day_of_the_british_restriction_is_the_one_in_its_text() {
        let uk = rule("uk").unwrap();
        let day = uk.parameters.iter().find_map(|parameter| match parameter.measure {
            Measure::RestrictedFrom(day) => Some(instant::show(day)),
            _ => None,
        });
        assert_eq!(day.unwrap(), "2027-10-25T00:00:00Z");
    }

    #[test]
    fn a_parameter_shows_where_it_comes_from_and_how_sure_it_is() {
        assert_eq!(
            RULE_144.to_string(),
            "resale: restricted for 1 year, or 6 months where the issuer reports (17 CFR 230.144; in_force, \
             from memory, to be checked by counsel, 2026-06-30)"
        );
    }
}
