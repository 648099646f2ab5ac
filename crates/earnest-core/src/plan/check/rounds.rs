//! Rounds: their dates, bids and references, and how each kind sells.

use alloy_primitives::U256;

use super::{Check, KNOTS_MAX, TICKS_MAX, WINDOWS_MAX, cost_ceil};
use crate::curve::{Ladder, LadderError};
use crate::money::{CASH_MAX, CREDITS_MAX, Cash, Credits, Price};
use crate::plan::units::{nearest, show_cash, show_duration, shown};
use crate::plan::{AuctionPlan, CurvePlan, FixedPlan, RisingPlan, RoundKind, RoundPlan, instant};

/// Most knots that a ladder cannot do without: its ends, two for a round that follows another, one corner.
const LADDER_MARKS_MAX: u16 = 5;

impl Check<'_, '_> {
    pub(super) fn rounds(&mut self) {
        for (index, round) in self.plan.rounds.iter().enumerate() {
            let path = format!("rounds[{index}]");
            self.round_dates(index, round);
            self.round_bids(&path, round);
            self.round_references(&path, round);
            self.withdrawable(&path, round);
            match &round.kind {
                RoundKind::Fixed(fixed) | RoundKind::Private(fixed) => self.fixed(&path, fixed),
                RoundKind::Auction(auction) => self.auction(&path, auction),
                RoundKind::Rising(rising) => self.rising(index, round, rising),
            }
        }
    }

    fn round_dates(&mut self, index: usize, round: &RoundPlan) {
        let (open, close) = (format!("rounds[{index}].open"), format!("rounds[{index}].close"));
        if round.close <= round.open {
            let hint = format!("after {}", instant::show(round.open));
            self.refuse(&close, &[&open], "the round closes before it opens", hint);
        }
        if let Some(before) = index.checked_sub(1).map(|before| &self.plan.rounds[before])
            && before.open > round.open
        {
            let message = format!("opens before the round above it, `{}`", shown(&before.name));
            let other = format!("rounds[{}].open", index - 1);
            self.refuse(&open, &[&other], message, "rounds stand in the order in which they open");
        }
    }

    fn round_bids(&mut self, path: &str, round: &RoundPlan) {
        let min_bid = format!("{path}.min_bid");
        if round.min_bid == Cash::ZERO {
            self.refuse(
                &min_bid,
                &[],
                "bids of nothing",
                "write the least cash of a bid, such as \"100 cash\"",
            );
        }
        if let Some(max_bid) = round.max_bid.filter(|&max_bid| max_bid < round.min_bid) {
            let at = format!("{path}.max_bid");
            let message = format!("{} is below min_bid", show_cash(max_bid));
            self.refuse(&at, &[&min_bid], message, format!("at least \"{}\"", show_cash(round.min_bid)));
        }
        if let Some(most) = round.most_cash().filter(|&most| most < round.min_bid && most > Cash::ZERO) {
            let message = "above what the whole round can take";
            self.refuse(&min_bid, &[path], message, format!("at most \"{}\"", show_cash(most)));
        }
        for (index, name) in round.regimes.iter().enumerate() {
            let Some((at, regime)) = self.plan.regime(name) else { continue };
            if regime.max_entity.is_some_and(|most| most < round.min_bid && most > Cash::ZERO) {
                let message =
                    format!("nobody could bid under `{}`: its max_entity is below min_bid", shown(name));
                let from = [min_bid.as_str(), &format!("regimes[{at}]")];
                let hint = "lower min_bid, raise max_entity, or leave the regime out of this round";
                self.refuse(&format!("{path}.regimes[{index}]"), &from, message, hint);
            }
        }
    }

    /// Names of schedules and regimes exist, and stand there once.
    fn round_references(&mut self, path: &str, round: &RoundPlan) {
        let schedules: Vec<&str> =
            self.plan.schedules.iter().map(|schedule| schedule.name.as_str()).collect();
        let regimes: Vec<&str> = self.plan.regimes.iter().map(|regime| regime.name.as_str()).collect();
        for (key, names, known) in
            [("schedules", &round.schedules, schedules), ("regimes", &round.regimes, regimes)]
        {
            let list = format!("{path}.{key}");
            if names.is_empty() {
                self.refuse(&list, &[], "empty: nobody could bid", format!("name at least one of [[{key}]]"));
            }
            for (index, name) in names.iter().enumerate() {
                let at = format!("{list}[{index}]");
                if !known.contains(&name.as_str()) {
                    let hint = match nearest(name, &known) {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => format!("known: {}", known.join(", ")),
                    };
                    let message = format!("no {} is called `{}`", key.trim_end_matches('s'), shown(name));
                    self.refuse(&at, &[key], message, hint);
                }
                if names[..index].contains(name) {
                    self.refuse(&at, &[&list], "named twice", "remove one of them");
                }
            }
        }
    }

    /// A right to withdraw from a price that others' bids move must be bounded: it would be a free option.
    fn withdrawable(&mut self, path: &str, round: &RoundPlan) {
        let at = format!("{path}.withdrawable");
        let cooling_off = self.plan.cooling_off_days(round) > 0;
        let moves = matches!(round.kind, RoundKind::Auction(_) | RoundKind::Rising(_));
        let from = [path, "regimes"];
        match round.withdrawable {
            None if cooling_off && moves => {
                let message = format!(
                    "bids of some regimes may be withdrawn, and in a round of kind `{}` that moves the price",
                    round.kind.word()
                );
                let hint =
                    "bound it: write withdrawable = \"… cash\", the most that may be withdrawable at once";
                self.refuse(&at, &from, message, hint);
            }
            Some(_) if !cooling_off => {
                let hint = "remove this line, or give a regime cooling_off";
                self.refuse(&at, &from, "no regime of this round has a cooling-off", hint);
            }
            Some(most) if most < round.min_bid => {
                let message = "below min_bid: nobody with a cooling-off could bid";
                self.refuse(&at, &from, message, format!("at least \"{}\"", show_cash(round.min_bid)));
            }
            _ => {}
        }
    }

    /// A supply above zero at a price above zero, worth no more than a bid slot can hold.
    fn sale(&mut self, path: &str, supply: Credits, price: Price, price_key: &str) {
        let supply_path = format!("{path}.supply");
        let price_path = format!("{path}.{price_key}");
        if supply == Credits::ZERO {
            self.refuse(&supply_path, &[], "nothing for sale", "write the credits for sale");
        }
        if price == Price::default() {
            self.refuse(&price_path, &[], "the price is zero", "write a price above zero");
        }
    }

    fn fixed(&mut self, path: &str, fixed: &FixedPlan) {
        self.sale(path, fixed.supply, fixed.price, "price");
        if cost_ceil(fixed.supply, fixed.price) > U256::from(CASH_MAX) {
            self.too_dear(path, &format!("{path}.price"));
        }
    }

    fn too_dear(&mut self, path: &str, price_path: &str) {
        let message = "all of it would cost more than 1_152_921_504_606 cash";
        self.refuse(&format!("{path}.supply"), &[price_path], message, "sell less, or at a lower price");
    }

    fn auction(&mut self, path: &str, auction: &AuctionPlan) {
        self.sale(path, auction.supply, auction.floor_price, "floor_price");
        let (tick, ticks) = (format!("{path}.tick"), format!("{path}.ticks"));
        if auction.tick == Price::default() {
            self.refuse(&tick, &[], "ticks do not differ", "write a tick above zero");
        }
        if auction.ticks == 0 || auction.ticks > TICKS_MAX {
            self.refuse(&ticks, &[], "a ladder has 1 to 4_096 ticks", "write a number from 1 to 4096");
            return;
        }
        match auction.price(auction.ticks - 1) {
            None => self.refuse(
                &ticks,
                &[path],
                "the top tick has no price",
                "take fewer ticks, or a smaller tick",
            ),
            Some(top) if auction.supply.cost_floor(top) > U256::from(CASH_MAX) => {
                self.too_dear(path, path);
            }
            Some(_) => {}
        }
    }

    fn rising(&mut self, index: usize, round: &RoundPlan, rising: &RisingPlan) {
        let path = format!("rounds[{index}]");
        let key = |key: &str| format!("{path}.{key}");
        let dates = [key("open"), key("close")];
        let dates: Vec<&str> = dates.iter().map(String::as_str).collect();
        if rising.window_secs == 0 {
            self.refuse(&key("window"), &[], "a window of no time", "write a length, such as \"1 hour\"");
        } else if round.close > round.open {
            let secs = round.close - round.open;
            if u64::from(rising.window_secs) > secs {
                let hint = format!("at most \"{}\"", show_duration(secs));
                self.refuse(&key("window"), &dates, "longer than the round", hint);
            }
            if round.windows() > WINDOWS_MAX {
                let hint = format!("at least \"{}\"", show_duration(secs.div_ceil(WINDOWS_MAX)));
                let message = format!("makes {} windows; at most 4_000", round.windows());
                self.refuse(&key("window"), &dates, message, hint);
            }
        }
        if rising.cap == Cash::ZERO {
            self.refuse(&key("cap"), &[], "nothing could be sold", "write the most the round sells");
        }
        if rising.window_cap == Cash::ZERO {
            self.refuse(&key("window_cap"), &[], "nothing could be sold", "write the most one window sells");
        }
        if rising.window_cap > rising.cap {
            let hint = format!("at most \"{}\"", show_cash(rising.cap));
            self.refuse(&key("window_cap"), &[&key("cap")], "above the cap of the round", hint);
        }
        let points = matches!(rising.curve, CurvePlan::Points(_));
        if !points && !(2..=KNOTS_MAX).contains(&rising.knots) {
            self.refuse(&key("knots"), &[], "a ladder has 2 to 512 knots", "write a number from 2 to 512");
        }
        let followed = self.follows(index, round, rising);
        let before = self.faults.len();
        self.curve(&path, rising, followed);
        if self.faults.len() == before {
            self.ladder(&path, rising, followed);
        }
    }

    /// The curve can be cut into the integer ladder that contracts sell along. Its ends and corners are tried:
    /// where they can be computed, so can every knot between them, at some cost.
    fn ladder(&mut self, path: &str, rising: &RisingPlan, followed: Cash) {
        let coarse = RisingPlan { knots: rising.knots.min(LADDER_MARKS_MAX), ..rising.clone() };
        let Err(error) = Ladder::from_plan(&coarse, followed) else { return };
        let text = error.to_string();
        let (message, hint) =
            text.split_once("; hint: ").unwrap_or((&text, "choose other numbers for this curve"));
        let at = match error {
            LadderError::KnotCount(_) | LadderError::TooFewKnots { .. } => "knots",
            _ => "curve",
        };
        self.refuse(&format!("{path}.{at}"), &[path, "rounds"], message, hint);
    }

    /// Checks the round that this one follows, and returns the most cash it can bring.
    fn follows(&mut self, index: usize, round: &RoundPlan, rising: &RisingPlan) -> Cash {
        let Some(name) = &rising.follows else { return Cash::ZERO };
        let at = format!("rounds[{index}].follows");
        let earlier = self.plan.rounds[..index].iter().position(|other| other.name == *name);
        let Some(other) = earlier else {
            let known: Vec<&str> =
                self.plan.rounds[..index].iter().map(|other| other.name.as_str()).collect();
            let hint = match (nearest(name, &known), known.is_empty()) {
                (Some(near), _) => format!("did you mean \"{near}\"?"),
                (None, true) => "the first round follows none: remove this line".to_owned(),
                (None, false) => format!("earlier rounds: {}", known.join(", ")),
            };
            self.refuse(&at, &["rounds"], format!("no earlier round is called `{}`", shown(name)), hint);
            return Cash::ZERO;
        };
        let followed = &self.plan.rounds[other];
        let cleared = self.plan.latest_clearing(followed);
        if cleared > round.close {
            let message = format!(
                "`{}` can clear as late as {}, after this round closes: its prices could not be known",
                shown(name),
                instant::show(cleared)
            );
            let hint = "let this round close later, or the other one earlier";
            self.refuse(&at, &["rounds", "regimes", "offering.pause_limit"], message, hint);
        }
        followed.most_cash().unwrap_or_default()
    }

    /// The curve has prices from the start to the end of all the round may sell.
    fn curve(&mut self, path: &str, rising: &RisingPlan, followed: Cash) {
        let start_key = format!("{path}.start");
        let cap_key = format!("{path}.cap");
        let at = |key: &str| format!("{path}.curve.{key}");
        let end =
            u128::from(rising.start.units()) + u128::from(rising.cap.units()) + u128::from(followed.units());
        let from = [start_key.as_str(), &cap_key, "rounds"];
        if end > u128::from(CASH_MAX) {
            let message = "start, cap and what the followed round can take add up to too much";
            self.refuse(&cap_key, &from, message, "at most \"1_152_921_504_606.846975 cash\" together");
            return;
        }
        let end = u64::try_from(end).unwrap_or(CASH_MAX);
        let least = match &rising.curve {
            CurvePlan::Exponential { first_price, e_fold } => {
                if *e_fold == Credits::ZERO {
                    self.refuse(
                        &at("e_fold"),
                        &[],
                        "zero credits",
                        "write over how many credits the price grows 2.718-fold",
                    );
                }
                ("first_price", *first_price)
            }
            CurvePlan::Proportional { floor_price, divisor } => {
                if *divisor == Credits::ZERO {
                    self.refuse(
                        &at("divisor"),
                        &[],
                        "zero credits",
                        "write by how many credits the cash is divided",
                    );
                }
                ("floor_price", *floor_price)
            }
            CurvePlan::Linear { first_price, last_price, over } => {
                if *over == Credits::ZERO {
                    self.refuse(
                        &at("over"),
                        &[],
                        "zero credits",
                        "write over how many credits the price climbs",
                    );
                }
                if last_price < first_price {
                    let message = "below first_price: the price would fall";
                    self.refuse(
                        &at("last_price"),
                        &[&at("first_price")],
                        message,
                        "write a price not below first_price",
                    );
                }
                ("first_price", *first_price)
            }
            CurvePlan::Points(points) => return self.curve_points(path, points, end, &from),
        };
        let (key, price) = least;
        match price.credits_for(end) {
            None => self.refuse(&at(key), &[], "the price is zero", "write a price above zero"),
            Some(credits) if credits > U256::from(CREDITS_MAX) => {
                let message = "so low that more credits could be sold than a position can hold";
                self.refuse(&at(key), &from, message, "write a higher price, or a lower cap");
            }
            Some(_) => {}
        }
    }

    fn curve_points(&mut self, path: &str, points: &[(Cash, Credits)], end: u64, from: &[&str]) {
        let all = format!("{path}.curve.points");
        if points.len() < 2 || points.len() > usize::from(KNOTS_MAX) {
            self.refuse(&all, &[], format!("{} points", points.len()), "write 2 to 512 of them");
            return;
        }
        if points[0] != (Cash::ZERO, Credits::ZERO) {
            let hint = "the first point is [\"0 cash\", \"0 credits\"]";
            self.refuse(&format!("{all}[0]"), &[&all], "does not begin at nothing", hint);
        }
        for (index, pair) in points.windows(2).enumerate() {
            if pair[1].0 <= pair[0].0 || pair[1].1 <= pair[0].1 {
                let at = format!("{all}[{}]", index + 1);
                self.refuse(
                    &at,
                    &[&all],
                    "not above the point before it",
                    "cash and credits rise from point to point",
                );
            }
        }
        if points.windows(3).any(price_falls) {
            self.refuse(
                &all,
                &[&all],
                "the price falls along these points",
                "each stretch costs no less a credit than the one before",
            );
        }
        if points[points.len() - 1].0.units() < end {
            let message = "ends before all that the round may sell";
            let hint = format!("go on to at least \"{}\"", show_cash(Cash::from_units(end)));
            self.refuse(&format!("{all}[{}]", points.len() - 1), from, message, hint);
        }
    }
}

/// True when the middle of three points lies below the line through its neighbours: credits cost less after it.
fn price_falls(points: &[(Cash, Credits)]) -> bool {
    let step = |a: (Cash, Credits), b: (Cash, Credits)| {
        let cash = U256::from(b.0.units().saturating_sub(a.0.units()));
        (cash, U256::from(b.1.units().saturating_sub(a.1.units())))
    };
    let (first, second) = (step(points[0], points[1]), step(points[1], points[2]));
    // cash₂ ÷ credits₂ < cash₁ ÷ credits₁, without dividing.
    second.0 * first.1 < first.0 * second.1
}
