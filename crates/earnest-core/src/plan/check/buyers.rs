//! Who may buy, and how what they bought vests: regimes and schedules.

use super::{COOLING_OFF_DAYS_MAX, Check, DISCOUNT_MAX_BPS, LOCK_DAYS_MAX, POINTS_MAX};
use crate::money::Cash;
use crate::plan::SchedulePlan;
use crate::plan::units::{nearest, shown};
use crate::regime;

/// ISO 3166-1 alpha-2.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS \
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES \
    ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM \
    IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME \
    MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG \
    PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY \
    SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM \
    ZW";

impl Check<'_, '_> {
    pub(super) fn schedules(&mut self) {
        for (index, schedule) in self.plan.schedules.iter().enumerate() {
            let path = format!("schedules[{index}]");
            if schedule.discount.get() > DISCOUNT_MAX_BPS {
                self.refuse(&format!("{path}.discount"), &[], "too large", "at most \"90%\"");
            }
            self.points(&path, schedule);
        }
    }

    fn points(&mut self, path: &str, schedule: &SchedulePlan) {
        let all = format!("{path}.points");
        let points = &schedule.points;
        let Some(last) = points.last() else {
            return self.refuse(&all, &[], "empty", "write at least one point: [[\"90 days\", \"100%\"]]");
        };
        if points.len() > POINTS_MAX {
            let at = format!("{all}[{POINTS_MAX}]");
            self.refuse(&at, &[&all], format!("there are {} of these", points.len()), "at most five");
        }
        if points[0].0 == 0 {
            let hint = "the first comes after live: \"1 second\" for all at once";
            self.refuse(&format!("{all}[0]"), &[&all], "vests at no time after live", hint);
        }
        if points[0].1.get() == 0 {
            let hint = "leave it out: nothing vests before the first point";
            self.refuse(&format!("{all}[0]"), &[&all], "vests nothing", hint);
        }
        for (index, pair) in points.windows(2).enumerate() {
            if pair[1].0 <= pair[0].0 || pair[1].1 <= pair[0].1 {
                let at = format!("{all}[{}]", index + 1);
                let message = "not after the point before it in both time and part vested";
                self.refuse(&at, &[&all], message, "times and parts rise from point to point");
            }
        }
        if last.1.get() != 10_000 {
            let at = format!("{all}[{}]", points.len() - 1);
            self.refuse(
                &at,
                &[&all],
                format!("only {} would ever vest", last.1),
                "the last point is at \"100%\"",
            );
        }
    }

    pub(super) fn regimes(&mut self) {
        for (index, regime) in self.plan.regimes.iter().enumerate() {
            let path = |key: &str| format!("regimes[{index}].{key}");
            if regime::rule(&regime.rule).is_none() {
                let known: Vec<&str> = regime::RULES.iter().map(|rule| rule.name).collect();
                let hint = match nearest(&regime.rule, &known) {
                    Some(name) => format!("did you mean \"{name}\"?"),
                    None => format!("one of {}", known.join(", ")),
                };
                self.refuse(&path("rule"), &[], format!("no rule is called `{}`", shown(&regime.rule)), hint);
            }
            if regime.lock_days > LOCK_DAYS_MAX {
                self.refuse(&path("lock"), &[], "too long", format!("at most \"{LOCK_DAYS_MAX} days\""));
            }
            if regime.cooling_off_days > COOLING_OFF_DAYS_MAX {
                self.refuse(
                    &path("cooling_off"),
                    &[],
                    "too long",
                    format!("at most \"{COOLING_OFF_DAYS_MAX} days\""),
                );
            }
            let none = [
                ("max_buyers", regime.max_buyers == Some(0)),
                ("max_raise", regime.max_raise == Some(Cash::ZERO)),
                ("max_entity", regime.max_entity == Some(Cash::ZERO)),
            ];
            for (key, _) in none.into_iter().filter(|(_, nobody)| *nobody) {
                self.refuse(
                    &path(key),
                    &[],
                    "nobody could buy",
                    "remove this line for no bound, or the regime",
                );
            }
            if let (Some(some), Some(all)) = (regime.max_non_accredited, regime.max_buyers)
                && some > all
            {
                let hint = format!("at most {all}");
                self.refuse(
                    &path("max_non_accredited"),
                    &[&path("max_buyers")],
                    "more than max_buyers",
                    hint,
                );
            }
            self.jurisdictions(index, &regime.jurisdictions);
        }
        let total: u64 = self.plan.regimes.iter().map(|regime| u64::from(regime.demand.get())).sum();
        if total != 10_000 && !self.plan.regimes.is_empty() {
            let last = format!("regimes[{}].demand", self.plan.regimes.len() - 1);
            let percent = format!("{}.{:02}", total / 100, total % 100);
            self.refuse(
                &last,
                &["regimes"],
                format!("the demand of all regimes adds up to {percent}%"),
                "make it 100%",
            );
        }
    }

    fn jurisdictions(&mut self, regime: usize, codes: &[String]) {
        for (index, code) in codes.iter().enumerate() {
            let at = format!("regimes[{regime}].jurisdictions[{index}]");
            let list = format!("regimes[{regime}].jurisdictions");
            if !COUNTRIES.split_whitespace().any(|country| country == code) {
                let hint = match code.to_uppercase().as_str() {
                    "UK" => "the United Kingdom is \"GB\"".to_owned(),
                    "EU" => "name the member states one by one".to_owned(),
                    upper if COUNTRIES.split_whitespace().any(|country| country == upper) => {
                        format!("write \"{upper}\"")
                    }
                    _ => "two capital letters, such as \"US\" (ISO 3166-1 alpha-2)".to_owned(),
                };
                self.refuse(&at, &[&list], format!("`{}` is not the code of a country", shown(code)), hint);
            }
            if codes[..index].contains(code) {
                self.refuse(&at, &[&list], format!("`{}` is named twice", shown(code)), "remove one of them");
            }
        }
    }
}
