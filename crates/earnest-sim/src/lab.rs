//! The lab under one design in one future, month by month: what comes in, whom it pays, what compute it buys. Amounts
//! are whole base units and every one that comes in goes out or is there; prices and hours are the future's.

use std::ops::Range;

use earnest_core::money::Bps;
use earnest_core::waterfall::Source;

use crate::amount::{MOST, float, float_sum, part, scaled};
use crate::factor::Factor;
use crate::offering::{self, Offering};
use crate::outcome::{COURSE, METRICS, Metric, Outcome, Stake, whole};
use crate::ownership::{self, Holding, Paid, Payouts};
use crate::study::{Design, Kind, Study, When};
use crate::world::Future;

/// A study with everything in it that is the same in every future.
pub struct Prepared<'s> {
    /// The study.
    pub study: &'s Study,
    hours: Vec<u64>,
    people: Vec<u64>,
    revenue: Vec<u64>,
    capacity: Vec<u64>,
    /// Planned until the service is live.
    hours_until_live: u64,
    /// That serving a unit of cash at the start's prices takes.
    hours_per_cash: f64,
    /// A base unit of it.
    hours_per_unit: f64,
    /// By month, the points of the course that it is the last to fall into.
    course: Vec<Range<usize>>,
    /// By design, instrument and month, where it is a grant.
    grants: Vec<Vec<Vec<u64>>>,
    /// By design and instrument, where it is an offering.
    offerings: Vec<Vec<Option<offering::Prepared>>>,
    /// By design: what is paid while the lab runs.
    payouts: Vec<Option<Payouts>>,
    /// By design, its instruments with notes first: a note that comes in converts at a round of the same month.
    order: Vec<Vec<usize>>,
}

/// What a future's months cost, whatever the design.
#[derive(Debug, Default)]
pub struct Costs {
    /// People.
    people: Vec<u64>,
    /// An hour of compute, in base units.
    hour: Vec<f64>,
    /// Hours planned for research.
    hours: Vec<f64>,
    /// What those cost.
    research: Vec<u64>,
}

/// An instrument in one future.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// Put in so far, compute included.
    paid: u64,
    /// Shares of an equity round, or of a note that converted.
    shares: u64,
    /// A note that has not converted: what is owed is worked out from here.
    since: Option<u32>,
}

/// The lab's books on paper.
#[derive(Clone, Copy, Debug, Default)]
struct Paper {
    cash: i128,
    in_kind: u64,
    /// The least that the cash has been; what would have had to be there.
    deepest: i128,
    /// Of a service that the lab did not live to see.
    live: Option<u32>,
}

/// Shares before anyone invested.
const SHARES: u64 = 1_000_000_000_000;
/// Shares at most.
const SHARES_MOST: u64 = u64::MAX / 4;
/// Of hours, which are sums of floating numbers: everything that was planned is within it.
const SLACK: f64 = 1e-9;
/// Of what backers paid: less than that is rounding, and no loss.
const DUST: f64 = 1e-6;

impl<'s> Prepared<'s> {
    /// Of a checked study.
    pub fn new(study: &'s Study) -> Self {
        let months = study.question.months;
        let offering = |kind: &Kind| match kind {
            Kind::Offering(terms) => Some(offering::Prepared::new(terms, study)),
            _ => None,
        };
        let of_design = |design: &Design| {
            design.instruments.iter().map(|instrument| offering(&instrument.kind)).collect()
        };
        let grant = |kind: &Kind| match kind {
            Kind::Grant(grant) => grant.amount.months(months),
            _ => Vec::new(),
        };
        let grants_of =
            |design: &Design| design.instruments.iter().map(|instrument| grant(&instrument.kind)).collect();
        let point = |month: u32| month as usize * (COURSE - 1) / (months as usize - 1).max(1);
        let points = |month: u32| point(month)..if month == months - 1 { COURSE } else { point(month + 1) };
        let serving = f64::from(study.service.serving.get()) / 1e4;
        Prepared {
            study,
            hours_until_live: (0..study.service.live).map(|month| study.mission.hours.at(month)).sum(),
            hours_per_cash: serving * 1e6 / float(study.mission.hour.units()),
            hours_per_unit: serving / float(study.mission.hour.units()),
            course: (0..months).map(points).collect(),
            hours: study.mission.hours.months(months),
            people: study.mission.people.months(months),
            revenue: study.service.revenue.months(months),
            capacity: study.service.capacity.months(months),
            grants: study.designs.iter().map(grants_of).collect(),
            offerings: study.designs.iter().map(of_design).collect(),
            payouts: study.designs.iter().map(|design| Payouts::new(design, study)).collect(),
            order: study.designs.iter().map(order).collect(),
        }
    }

    /// Reckons a future's costs, into vectors that are used again.
    pub fn costs(&self, future: &Future, into: &mut Costs) {
        let hour = float(self.study.mission.hour.units());
        let (people_cost, need) = (future.of(Factor::PeopleCost), future.of(Factor::ResearchNeed));
        into.people.clear();
        into.people.extend(self.people.iter().map(|&people| scaled(people, people_cost)));
        into.hour.clear();
        into.hour.extend(future.compute.iter().map(|price| hour * price));
        into.hours.clear();
        into.hours.extend(self.hours.iter().map(|&hours| float(hours) * need));
        into.research.clear();
        into.research.extend(into.hours.iter().zip(&into.hour).map(|(hours, hour)| scaled(1, hours * hour)));
    }

    /// Lives through one future, with its [costs](Prepared::costs), under a design.
    pub fn live(&self, design: usize, future: &Future, costs: &Costs) -> Outcome {
        let mut lab = Life::new(self, design, future, costs);
        for month in 0..self.study.question.months {
            lab.month(month);
        }
        lab.outcome()
    }
}

struct Life<'l> {
    of: &'l Prepared<'l>,
    /// Of the design.
    number: usize,
    design: &'l Design,
    grants: &'l [Vec<u64>],
    future: &'l Future,
    costs: &'l Costs,
    positions: Vec<Position>,
    offerings: Vec<Option<Offering<'l>>>,
    payouts: Option<Paid<'l>>,
    /// In the lab's own hands, base units.
    cash: u64,
    /// Compute it was given and has not used, at its value.
    in_kind: u64,
    shares: u64,
    live_at: Option<u32>,
    closed_at: Option<u32>,
    /// Everything that came in and went out, for the books.
    came: u64,
    went: u64,
    raised: u64,
    hours_planned: f64,
    hours_bought: f64,
    hours_judged: f64,
    hours_until_live: f64,
    /// The books on paper, where all that was planned is bought when it is due and a debt stops nothing.
    paper: Paper,
    /// Of the last twelve months.
    revenue: [u64; 12],
    /// This year's sales, less people, serving, research and parts of revenue.
    profit: i128,
    owed: f64,
    course: [f64; COURSE],
    /// An amount was cut at [`MOST`].
    cut: bool,
}

impl<'l> Life<'l> {
    fn new(of: &'l Prepared<'l>, design: usize, future: &'l Future, costs: &'l Costs) -> Self {
        let study = of.study;
        Life {
            of,
            number: design,
            design: &study.designs[design],
            grants: &of.grants[design],
            future,
            costs,
            positions: vec![Position::default(); study.designs[design].instruments.len()],
            offerings: of.offerings[design].iter().map(|terms| terms.as_ref().map(Offering::new)).collect(),
            payouts: of.payouts[design].as_ref().map(Payouts::begin),
            cash: study.lab.cash.units(),
            in_kind: 0,
            shares: SHARES,
            live_at: None,
            closed_at: None,
            came: study.lab.cash.units(),
            went: 0,
            raised: 0,
            hours_planned: 0.0,
            hours_bought: 0.0,
            hours_judged: 0.0,
            hours_until_live: float(of.hours_until_live)
                * future.of(Factor::ResearchNeed)
                * f64::from(study.service.needs.get())
                / 1e4,
            paper: Paper { cash: study.lab.cash.units().into(), ..Paper::default() },
            revenue: [0; 12],
            profit: 0,
            owed: 0.0,
            course: [0.0; COURSE],
            cut: false,
        }
    }

    /// [`scaled`], and notes what is cut.
    fn scaled(&mut self, amount: u64, factor: f64) -> u64 {
        let scaled = scaled(amount, factor);
        self.cut |= scaled >= MOST;
        scaled
    }

    /// Cash comes in; returns how much.
    fn takes(&mut self, cash: u64) -> u64 {
        // Four trillions in all: what prices bring beyond is cut, too.
        let room = 4 * MOST - self.came;
        self.cut |= cash > room;
        let cash = cash.min(room);
        self.cash += cash;
        self.came += cash;
        self.paper.cash += i128::from(cash);
        cash
    }

    fn pays(&mut self, cash: u64) {
        self.cash -= cash;
        self.went += cash;
    }

    fn month(&mut self, month: u32) {
        if self.closed_at.is_none() {
            self.find_out_whether_live(month);
            self.raise(month);
        }
        let progress = self.progress(month);
        for offering in self.offerings.iter_mut().flatten() {
            offering.month(month, self.future, self.live_at.is_some(), progress);
            self.cut |= offering.cash().max(offering.served) >= MOST;
        }
        if self.closed_at.is_none() {
            self.run(month);
        } else {
            self.on_paper(month);
        }
        self.note_course(month);
    }

    fn find_out_whether_live(&mut self, month: u32) {
        let enough = self.hours_bought >= self.hours_until_live * (1.0 - SLACK);
        if self.live_at.is_none() && month >= self.future.live && enough {
            self.live_at = Some(month);
        }
    }

    /// How far the service has come, from 0 to 1: in time and in compute, whichever is behind.
    fn progress(&self, month: u32) -> f64 {
        let part = |of: f64, all: f64| if all > 0.0 { (of / all).min(1.0) } else { 1.0 };
        let time = part(month.into(), self.future.due.into());
        time.min(part(self.hours_bought, self.hours_until_live))
    }

    /// Grants and closings of the month.
    fn raise(&mut self, month: u32) {
        let (design, of) = (self.design, self.of);
        for &index in &of.order[self.number] {
            let kind = &design.instruments[index].kind;
            let Some(cash) = self.brought(month, index, self.live_at) else { continue };
            self.raised += cash;
            self.positions[index].paid += cash;
            if let (false, Some(payouts)) = (matches!(kind, Kind::Grant(_)), &mut self.payouts) {
                payouts.contribute(month, index, cash);
            }
            match kind {
                Kind::Equity(equity) => {
                    let demand = self.future.of(Factor::EquityDemand);
                    let pre_money = scaled(equity.pre_money.units(), demand).max(1);
                    self.convert(pre_money, month);
                    self.positions[index].shares = self.issue(cash, self.shares, pre_money);
                    self.takes(cash);
                }
                Kind::Convertible(_) => {
                    self.positions[index].since = Some(month);
                    self.takes(cash);
                }
                Kind::Strategic(strategic) => {
                    let compute = part(cash, strategic.in_kind);
                    self.in_kind += compute;
                    self.paper.in_kind += compute;
                    self.takes(cash - compute);
                }
                Kind::Grant(_) | Kind::Capped(_) => {
                    self.takes(cash);
                }
                Kind::Offering(_) => {}
            }
        }
    }

    /// What an instrument that is no offering brings this month, if it brings anything.
    #[inline]
    fn brought(&self, month: u32, index: usize, live: Option<u32>) -> Option<u64> {
        let closing = match &self.design.instruments[index].kind {
            Kind::Grant(grant) => {
                let given = scaled(self.grants[index][month as usize], self.future.of(Factor::Donations));
                let left = month >= self.future.donor_leaves;
                let given = if left { given - part(given, grant.lead) } else { given };
                return (given > 0).then_some(given);
            }
            Kind::Equity(equity) => &equity.closing,
            Kind::Convertible(note) => &note.closing,
            Kind::Capped(capped) => &capped.closing,
            Kind::Strategic(strategic) => &strategic.capped.closing,
            Kind::Offering(_) => return None,
        };
        let is_due = match closing.when {
            When::Month(at) => month == at,
            When::AfterLive(months) => live.is_some_and(|live| month == live + months),
        };
        let demand = || scaled(closing.demand.units(), self.future.of(Factor::EquityDemand));
        let cash = if is_due { demand().min(closing.seek.units()) } else { 0 };
        (cash > 0 && cash >= closing.least.units()).then_some(cash)
    }

    /// Notes become shares at the better of their cap and their discount, rounded down.
    fn convert(&mut self, pre_money: u64, month: u32) {
        let before = self.shares;
        for (position, instrument) in self.positions.iter_mut().zip(&self.design.instruments) {
            let (Kind::Convertible(note), Some(since)) = (&instrument.kind, position.since) else { continue };
            let owed = owed(position.paid, note.interest, since, month);
            let discounted = pre_money - part(pre_money, note.discount);
            let value = note.cap.units().min(discounted).max(1);
            position.shares = shares_for(owed, before, value).min(SHARES_MOST - self.shares);
            position.since = None;
            self.shares += position.shares;
        }
    }

    /// New shares for cash, at a value of the lab with so many.
    fn issue(&mut self, cash: u64, before: u64, value: u64) -> u64 {
        let shares = shares_for(cash, before, value).min(SHARES_MOST - self.shares);
        self.shares += shares;
        shares
    }

    /// What customers take this month and pay for, of the hours that are left: hours and cash.
    fn sell(&mut self, month: u32, live: u32, replaced: u64, left: f64) -> (f64, u64) {
        let (of, future) = (self.of, self.future);
        let price = future.service[month as usize];
        let volume = scaled(of.revenue[(month - live) as usize], future.of(Factor::Revenue));
        let volume = float(volume.saturating_sub(replaced)) * future.demand[month as usize];
        let hours = volume * of.hours_per_unit;
        if hours > left {
            (left, self.scaled(1, left / of.hours_per_unit * price))
        } else {
            (hours, self.scaled(1, volume * price))
        }
    }

    /// A month after the lab closed: what its plan would have gone on to bring and to cost.
    fn on_paper(&mut self, month: u32) {
        let (of, future, at) = (self.of, self.future, month as usize);
        if self.paper.live.is_none() && month >= future.live {
            self.paper.live = Some(month);
        }
        let live = self.paper.live;
        for index in 0..self.design.instruments.len() {
            let Some(cash) = self.brought(month, index, live) else { continue };
            let compute = match &self.design.instruments[index].kind {
                Kind::Strategic(strategic) => part(cash, strategic.in_kind),
                _ => 0,
            };
            self.paper.in_kind += compute;
            self.paper.cash += i128::from(cash - compute);
        }
        let hour = self.costs.hour[at];
        let mut serve = 0;
        if let Some(live) = live {
            let (hours, earned) = self.sell(month, live, 0, float(of.capacity[(month - live) as usize]));
            self.paper.cash += i128::from(earned);
            serve = self.scaled(1, hours * hour);
        }
        self.paper.pays(self.costs.people[at], serve + self.costs.research[at]);
    }

    /// A month of the lab at work.
    fn run(&mut self, month: u32) {
        let (of, future) = (self.of, self.future);
        let (study, at) = (of.study, month as usize);
        let hour = self.costs.hour[at];
        let hours_per_cash = of.hours_per_cash;

        let (mut served_hours, mut replaced, mut earned) = (0.0, 0, 0);
        if let Some(live) = self.live_at {
            let since = (month - live) as usize;
            let capacity = float(of.capacity[since]);
            let mut waiting = 0.0;
            for offering in self.offerings.iter_mut().flatten() {
                let spent = offering.spend(month, future, hours_per_cash, capacity - served_hours);
                served_hours += spent.hours;
                waiting += spent.waiting;
                replaced += part(spent.volume, offering.replaces());
            }
            if waiting > 0.0 {
                self.owed = self.owed.max(waiting / capacity).min(study.question.months.into());
            }
            let hours;
            (hours, earned) = self.sell(month, live, replaced, capacity - served_hours);
            served_hours += hours;
        }
        self.revenue[at % 12] = earned;
        if earned > 0 {
            let taken = self.takes(earned);
            let paid_out = self.pay_out(month, Source::Revenue, taken);
            self.profit += i128::from(taken - paid_out);
        }

        let (planned, planned_cost) = (self.costs.hours[at], self.costs.research[at]);
        let behind = (self.hours_planned - self.hours_bought).max(0.0);
        let catch_up = planned * f64::from(study.mission.catch_up.get()) / 1e4;
        let wanted = planned + behind.min(catch_up);
        self.hours_planned += planned;
        let people = self.costs.people[at];
        let core = part(people, study.mission.core);
        let serve = self.scaled(1, served_hours * hour);
        let research = if wanted > planned { scaled(1, wanted * hour) } else { planned_cost };
        self.cut |= research >= MOST;
        let reserve = people.saturating_mul(u64::from(study.mission.reserve)).min(4 * MOST);
        self.paper.pays(people, serve + planned_cost);

        // Compute that was given goes first.
        let given = self.in_kind.min(serve + research);
        let bill = people + serve + research - given;
        let short = (bill + reserve).saturating_sub(self.cash);
        if short > 0 {
            self.draw(month, short);
        }

        // Fewer are paid where the reserve is short, and never fewer than the core.
        let serve_in_cash = serve.saturating_sub(given);
        let affordable = self.cash.saturating_sub(serve_in_cash);
        let affordable = match u64::from(study.mission.reserve) {
            months if reserve > self.cash => affordable.min(self.cash / months),
            _ => affordable,
        };
        let people = people.min(affordable).max(core);
        let must = people + serve_in_cash;
        if self.cash < must {
            self.close_down(month);
            return;
        }
        self.in_kind -= given;
        self.pays(must);
        let left_of_given = given.saturating_sub(serve);
        let spare = self.cash.saturating_sub(reserve);
        let bought = (research - left_of_given).min(spare);
        self.pays(bought);
        self.profit -= i128::from(must + bought);
        if research > 0 {
            let paid = bought + left_of_given;
            self.hours_bought +=
                if paid < research { wanted * (float(paid) / float(research)) } else { wanted };
        }
        if month < study.question.judged {
            self.hours_judged = self.hours_bought;
        }
        if at % 12 == 11 && self.payouts.is_some() {
            // What a year brought beyond what it cost, as far as it is there beyond the reserve.
            let profit = u64::try_from(self.profit.max(0)).unwrap_or(u64::MAX);
            self.pay_out(month, Source::Profit, profit.min(self.cash.saturating_sub(reserve)));
            self.profit = 0;
        }
    }

    fn draw(&mut self, month: u32, mut short: u64) {
        let mut drawn = 0;
        for offering in self.offerings.iter_mut().flatten() {
            let cash = offering.draw(month, short);
            short -= cash;
            drawn += cash;
        }
        self.takes(drawn);
    }

    /// Investors get their part of revenue or profit; returns what they got.
    fn pay_out(&mut self, month: u32, source: Source, cash: u64) -> u64 {
        let Some(payouts) = self.payouts.as_mut().filter(|_| cash > 0) else { return 0 };
        let paid = payouts.distribute(month, source, cash);
        self.pays(paid);
        self.paper.cash -= i128::from(paid);
        paid
    }

    /// People could not be paid.
    fn close_down(&mut self, month: u32) {
        self.closed_at = Some(month);
        self.paper.live = self.live_at;
        for index in 0..self.offerings.len() {
            let estate = self.offerings[index].as_mut().map_or(0, |offering| offering.abandon(month));
            self.takes(estate);
        }
    }

    fn note_course(&mut self, month: u32) {
        let places = self.of.course[month as usize].clone();
        if !places.is_empty() {
            let treasuries = self.offerings.iter().flatten().map(|offering| whole(offering.cash()));
            self.course[places].fill(whole(self.cash) + treasuries.sum::<f64>());
        }
    }

    fn outcome(mut self) -> Outcome {
        let study = self.of.study;
        let months = study.question.months;
        let stands = self.closed_at.is_none();
        let year: u64 = self.revenue.iter().sum();
        let firm = if stands { self.scaled(year, self.future.of(Factor::ExitMultiple)) } else { 0 };
        assert!(self.came - self.went == self.cash, "cash came from nowhere, or went there");

        let holdings: Vec<Holding> = self
            .positions
            .iter()
            .zip(&self.design.instruments)
            .enumerate()
            .map(|(index, (position, instrument))| {
                let owed = match (&instrument.kind, position.since) {
                    (Kind::Convertible(note), Some(since)) => {
                        owed(position.paid, note.interest, since, months)
                    }
                    _ => 0,
                };
                let received = self.payouts.as_ref().map_or(0, |payouts| payouts.received(index));
                Holding { paid: position.paid, received, shares: position.shares, owed }
            })
            .collect();
        let value = self.cash.saturating_add(firm);
        let common = SHARES;
        let shared = ownership::share_out(self.design, &holdings, common, value, months);

        let mut stakes = Vec::with_capacity(holdings.len());
        // Of sixteen offerings: sums of what is 64 bits each.
        let (mut paid, mut worth, mut refunded, mut offered) = (0u128, 0u128, 0u128, 0u128);
        let (mut drawn, mut penalty) = (0u128, 0u128);
        let mut votes_given = Bps::default();
        for (index, instrument) in self.design.instruments.iter().enumerate() {
            let position = &self.positions[index];
            let shares = float(position.shares) / float(self.shares);
            let stake = match (&instrument.kind, &mut self.offerings[index]) {
                (Kind::Offering(_), Some(offering)) => {
                    assert!(offering.holds(), "an offering's cash came from nowhere, or went there");
                    self.raised += offering.raised;
                    refunded += u128::from(offering.refunded);
                    offered += u128::from(offering.raised);
                    drawn += u128::from(offering.tap_paid);
                    penalty += u128::from(offering.penalty);
                    let end = if stands { offering.outstanding(months - 1, self.future) } else { 0 };
                    let worth = offering.refunded.saturating_add(offering.served).saturating_add(end);
                    Stake { paid: offering.raised, worth, shares }
                }
                (Kind::Grant(_), _) => Stake { paid: position.paid, worth: 0, shares },
                _ => Stake {
                    paid: position.paid,
                    worth: shared.instruments[index] + holdings[index].received,
                    shares,
                },
            };
            if let Kind::Capped(capped) | Kind::Strategic(crate::study::Strategic { capped, .. }) =
                &instrument.kind
                && position.paid > 0
            {
                votes_given = Bps::new((votes_given.get() + capped.votes.get()).min(10_000)).expect("a part");
            }
            if !matches!(instrument.kind, Kind::Grant(_)) {
                paid += u128::from(stake.paid);
                worth += u128::from(stake.worth);
            }
            stakes.push(stake);
        }

        let own = f64::from(study.lab.nonprofit.get()) / 1e4;
        let control = float(SHARES) / float(self.shares) * own * (1.0 - f64::from(votes_given.get()) / 1e4);
        let kept = scaled(shared.common, own);
        let out = value.saturating_add(holdings.iter().map(|holding| holding.received).sum());
        let planned_judged = self.judged_hours();
        let mission = if planned_judged > 0.0 { (self.hours_judged / planned_judged).min(1.0) } else { 1.0 };
        let ruined_by = |month: u32| self.closed_at.is_some_and(|at| at < month);
        let enough = f64::from(study.mission.enough.get()) / 1e4;
        let flag = |yes: bool| f64::from(u8::from(yes));
        let ratio = |of: f64, to: f64| if to > 0.0 { of / to } else { f64::NAN };

        let mut metrics = [f64::NAN; METRICS];
        let mut put = |metric: Metric, value: f64| metrics[metric.index()] = value;
        put(Metric::Funded, flag(mission >= enough - SLACK && !ruined_by(study.question.judged)));
        put(Metric::Mission, mission);
        put(Metric::Ruin, flag(!stands));
        put(Metric::Runway, f64::from(self.closed_at.unwrap_or(months)));
        put(Metric::PeakNeed, float_sum(self.paper.deepest.unsigned_abs()) / 1e6);
        put(Metric::Raised, whole(self.raised));
        put(Metric::Hours, self.hours_bought);
        put(Metric::HoursPerCash, ratio(self.hours_bought, whole(self.raised)));
        put(Metric::Control, control);
        put(Metric::Kept, ratio(float(kept), float(out)));
        put(Metric::Value, whole(kept));
        put(Metric::Multiple, ratio(float_sum(worth), float_sum(paid)));
        put(
            Metric::Loss,
            if paid > 0 { flag(float_sum(worth) < float_sum(paid) * (1.0 - DUST)) } else { f64::NAN },
        );
        put(Metric::Refund, if offered > 0 { flag(refunded > 0) } else { f64::NAN });
        put(Metric::Refunded, ratio(float_sum(refunded), float_sum(offered)));
        let mut offerings = self.offerings.iter().flatten().peekable();
        let offers = offerings.peek().is_some();
        put(
            Metric::Enjoined,
            if offers { flag(offerings.any(|offering| offering.enjoined)) } else { f64::NAN },
        );
        put(Metric::Owed, self.owed);
        put(Metric::Live, f64::from(self.live_at.unwrap_or(months)));
        put(Metric::Revenue, if stands { whole(year) } else { 0.0 });
        put(Metric::Cash, self.course[COURSE - 1]);
        put(Metric::Drawn, ratio(float_sum(drawn), float_sum(offered)));
        put(Metric::Penalty, if offers { float_sum(penalty) / 1e6 } else { f64::NAN });
        put(Metric::Cut, flag(self.cut));
        Outcome { metrics, stakes, course: self.course }
    }

    /// Hours planned until the mission is judged, whether or not the lab lived that long.
    fn judged_hours(&self) -> f64 {
        let judged = self.of.study.question.judged as usize;
        float(self.of.hours[..judged].iter().sum()) * self.future.of(Factor::ResearchNeed)
    }
}

impl Paper {
    fn pays(&mut self, people: u64, compute: u64) {
        let given = self.in_kind.min(compute);
        self.in_kind -= given;
        self.cash -= i128::from(people) + i128::from(compute - given);
        self.deepest = self.deepest.min(self.cash);
    }
}

/// Instruments with notes first.
fn order(design: &Design) -> Vec<usize> {
    let mut order: Vec<usize> = (0..design.instruments.len()).collect();
    order.sort_by_key(|&index| !matches!(design.instruments[index].kind, Kind::Convertible(_)));
    order
}

/// `floor(cash × shares ÷ value)`
fn shares_for(cash: u64, shares: u64, value: u64) -> u64 {
    u64::try_from(u128::from(cash) * u128::from(shares) / u128::from(value)).unwrap_or(u64::MAX)
}

/// Principal and simple interest by the month, rounded down.
fn owed(paid: u64, interest: Bps, since: u32, now: u32) -> u64 {
    let earned = u128::from(paid) * u128::from(interest.get()) * u128::from(now - since) / 120_000;
    paid.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX))
}
