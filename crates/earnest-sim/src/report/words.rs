//! The answer in sentences, put together from the numbers and from nothing else. They say which design does what how
//! often and how sure that is; they never say what to do.

use earnest_core::plan::Time;
use earnest_core::plan::date::utc;
use earnest_report::figure::count as counted;
use earnest_report::page::markup::escape;

use super::figure::{between, distance, joined, of_factor, percent, value};
use super::view::{View, interval, letter, sample, sign, title};
use crate::answers::Sweep;
use crate::outcome::Metric;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What was asked.
pub(super) fn asked(view: &View<'_>) -> Vec<String> {
    let answers = view.answers;
    let until = format!(
        "the first {} (to {})",
        counted(answers.judged as usize, "month"),
        calendar(answers.start, answers.judged.max(1) - 1)
    );
    let ranked = match view.metric {
        Metric::Funded => "how often the mission is funded".to_owned(),
        metric => format!("“{}”, on average (<code>{}</code>)", title(metric), answers.decide_by),
    };
    vec![
        format!(
            "{} of {}, from {} on, {} drawn from the priors at the end of this page. Each of them was lived through \
             under {}, so that differences come from the designs and not from luck.",
            counted(answers.paths as usize, "future"),
            counted(answers.months as usize, "month"),
            calendar(answers.start, 0),
            if answers.paths == 1 { "was" } else { "were" },
            counted(answers.designs.len(), "design"),
        ),
        format!(
            "The mission counts as funded where at least {} of its compute was bought in {until} and the lab could pay its \
             people until then. Designs are ranked by {ranked}.",
            percent(answers.enough)
        ),
    ]
}

/// The answer.
pub(super) fn answer(view: &View<'_>) -> Vec<String> {
    let mut said = first(view);
    said.extend(second(view));
    if view.metric != Metric::Funded {
        said.push(funded(view));
    }
    said.push(range(view, Metric::Ruin, "People cannot be paid at some time"));
    if view.designs().any(|design| view.sample(design, Metric::Loss).count > 0) {
        said.push(range(view, Metric::Loss, "Backers, where there are any, end with less than they paid"));
    }
    said.push(cut(view));
    said.retain(|sentence| !sentence.is_empty());
    said
}

/// Where amounts grew beyond reason, if anywhere.
fn cut(view: &View<'_>) -> String {
    let mean = |design: usize| view.mean(design, Metric::Cut);
    let Some(most) = view.designs().max_by(|&a, &b| mean(a).total_cmp(&mean(b))) else {
        return String::new();
    };
    if mean(most) > 0.0 {
        format!(
            "In up to {} of the futures (under {}) prices led to an amount of more than a trillion, which was cut there: \
             means of cash and of value are held down by that, quantiles are not.",
            percent(mean(most)),
            view.quoted(most)
        )
    } else {
        String::new()
    }
}

/// A mean with its interval.
fn chance(view: &View<'_>, design: usize, metric: Metric) -> String {
    format!("{} ({})", value(metric, view.mean(design, metric)), around(view, design, metric))
}

fn around(view: &View<'_>, design: usize, metric: Metric) -> String {
    let (low, high) = interval(metric, view.sample(design, metric));
    between(metric, low, high)
}

fn first(view: &View<'_>) -> Vec<String> {
    if view.metric == Metric::Funded {
        return vec![funded(view)];
    }
    let best = view.best();
    let name = title(view.metric);
    if view.mean(best, view.metric).is_nan() {
        return vec![format!(
            "“{name}” does not arise in any of the futures, so that no design comes first."
        )];
    }
    let most = if sign(view.metric) < 0.0 { "least" } else { "most" };
    vec![format!(
        "{} comes first by “{name}”: it has the {most} on average, {}.",
        view.quoted(best),
        chance(view, best, view.metric)
    )]
}

/// Which design funds the mission most often.
fn funded(view: &View<'_>) -> String {
    let best = view.ranked(Metric::Funded)[0];
    if view.mean(best, Metric::Funded) == 0.0 {
        let (_, high) = interval(Metric::Funded, view.sample(best, Metric::Funded));
        let most = percent(high);
        let at_most = if most.starts_with("under") { "" } else { "at most " };
        return format!(
            "No design funds the mission in any of the futures: under each of them its probability is {at_most}{most}."
        );
    }
    format!(
        "{} funds the mission most often: in {} of the futures ({}).",
        view.quoted(best),
        percent(view.mean(best, Metric::Funded)),
        around(view, best, Metric::Funded)
    )
}

/// Who comes second, and who cannot be told apart from the best.
fn second(view: &View<'_>) -> Vec<String> {
    let best = view.best();
    let Some(&second) = view.order.get(1) else {
        return vec!["There is one design only, so nothing is compared.".to_owned()];
    };
    let is_tie = |other: usize| {
        !view.difference(best, other, view.metric).is_some_and(|difference| difference.is_sure())
    };
    let Some(difference) = view.difference(best, second, view.metric) else { return Vec::new() };
    let mut said = vec![format!(
        "{} comes second with {}. The difference is {} ({}), which is {}; in {} of the futures the two come to the same.",
        view.quoted(second),
        chance(view, second, view.metric),
        distance(view.metric, difference.mean),
        ends(view.metric, sign(view.metric) * difference.low, sign(view.metric) * difference.high),
        if difference.is_sure() {
            "beyond Monte Carlo error"
        } else {
            "within Monte Carlo error: these futures do not tell the two apart"
        },
        percent(difference.equal),
    )];
    let ties: Vec<String> =
        view.order[2..].iter().filter(|&&other| is_tie(other)).map(|&other| view.quoted(other)).collect();
    if !ties.is_empty() {
        said.push(format!("Nor do they tell {} apart from {}.", list(&ties), view.quoted(best)));
    }
    said
}

/// The two ends of a difference, the lesser first.
fn ends(metric: Metric, one: f64, other: f64) -> String {
    let (low, high) = (one.min(other), one.max(other));
    let say = |by: f64| super::figure::difference(metric, by).trim_start_matches('+').to_owned();
    joined(&say(low), &say(high))
}

/// From the design with the least to that with the most.
fn range(view: &View<'_>, metric: Metric, what: &str) -> String {
    let mean = |design: usize| view.mean(design, metric);
    let mut order: Vec<usize> = view.designs().filter(|design| !mean(*design).is_nan()).collect();
    order.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
    let (Some(&least), Some(&most)) = (order.first(), order.last()) else { return String::new() };
    let said = |design: usize| format!("{} under {}", percent(mean(design)), view.quoted(design));
    if mean(least) == mean(most) {
        return format!(
            "{what} in {} of the futures{}.",
            percent(mean(least)),
            if order.len() > 1 { " under every design" } else { "" }
        );
    }
    let best = view.best();
    let also = if [least, most].contains(&best) || mean(best).is_nan() {
        String::new()
    } else {
        format!(", in {}", said(best))
    };
    format!(
        "{what} in {} of the futures under {}{also}, in {}.",
        percent(mean(least)),
        view.quoted(least),
        said(most)
    )
}

/// A stretch of one factor's range over which one design is first.
struct Stretch<'a> {
    sweep: &'a Sweep,
    design: usize,
    /// Where it begins and ends: value, its interval, part of the prior below it.
    from: Option<(f64, f64, f64, f64)>,
    to: Option<(f64, f64, f64, f64)>,
    /// At some value held it leads the second by more than Monte Carlo error.
    is_clear: bool,
}

fn stretches<'a>(view: &View<'a>, sweep: &'a Sweep) -> Vec<Stretch<'a>> {
    let mut flips = view.answers.flips.iter().filter(|flip| flip.factor == sweep.factor).peekable();
    let mut all: Vec<Stretch<'a>> = Vec::new();
    for (place, &design) in sweep.best.iter().enumerate() {
        if all.last().is_none_or(|last| last.design != design) {
            let at = flips.next_if(|flip| flip.above == design);
            let at = at.map(|flip| (flip.at, flip.low, flip.high, flip.probability));
            if let Some(last) = all.last_mut() {
                last.to = at;
            }
            all.push(Stretch { sweep, design, from: at, to: None, is_clear: false });
        }
        let last = all.last_mut().expect("one at least");
        last.is_clear |= sweep.sure[place];
    }
    // Before the first flip there is no earlier stretch to take it as its beginning.
    all
}

fn said(stretch: &Stretch<'_>) -> String {
    let key = stretch.sweep.factor;
    let place = |&(at, low, high, _): &(f64, f64, f64, f64)| {
        if low == high {
            return of_factor(key, at);
        }
        format!("{} ({})", of_factor(key, at), joined(&of_factor(key, low), &of_factor(key, high)))
    };
    let below = |end: &Option<(f64, f64, f64, f64)>, other: f64| end.map_or(other, |(.., below)| below);
    let part = percent((below(&stretch.to, 1.0) - below(&stretch.from, 0.0)).max(0.0));
    let range = match (&stretch.from, &stretch.to) {
        (None, None) => return format!("over the whole range of <code>{key}</code>"),
        (None, Some(to)) => format!("below {}", place(to)),
        (Some(from), None) => format!("above {}", place(from)),
        (Some(from), Some(to)) => format!("between {} and {}", place(from), place(to)),
    };
    let doubt = if stretch.is_clear { "" } else { ", though nowhere there clearly beyond Monte Carlo error" };
    format!("<code>{key}</code> is {range}, which is {part} of its prior{doubt}")
}

/// Under what thresholds of a single factor another design comes first.
pub(super) fn thresholds(view: &View<'_>) -> Vec<String> {
    let best = view.best();
    let (sweeps, others) = (&view.answers.sweeps, &view.order[1..]);
    if sweeps.is_empty() || others.is_empty() {
        return Vec::new();
    }
    let all: Vec<Stretch<'_>> = sweeps.iter().flat_map(|sweep| stretches(view, sweep)).collect();
    let (mut lines, mut never) = (Vec::new(), Vec::new());
    for &design in others {
        let own: Vec<&Stretch<'_>> = all.iter().filter(|stretch| stretch.design == design).collect();
        let (whole, partly): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|stretch| stretch.from.is_none() && stretch.to.is_none());
        let mut cases: Vec<String> =
            partly.into_iter().map(|stretch| format!("where {}", said(stretch))).collect();
        match whole[..] {
            [] => {}
            [one] => cases.push(said(one)),
            _ => cases.push(format!("over the whole range of {}", counted(whole.len(), "other factor"))),
        }
        if cases.is_empty() {
            never.push(view.quoted(design));
        } else {
            let name = view.quoted(design);
            lines.push(match &cases[..] {
                [_] | [_, _] => format!("{name} comes first only {}.", cases.join("; or ")),
                many => format!(
                    "{name} comes first only:\n<ul>\n{}</ul>\n",
                    many.iter().map(|case| format!("<li>{case}</li>\n")).collect::<String>()
                ),
            });
        }
    }
    if !never.is_empty() {
        lines.push(format!(
            "{} first at no value held of any single factor, from the 1% to the 99% quantile of its prior.",
            if never.len() == 1 { format!("{} comes", never[0]) } else { format!("{} come", list(&never)) }
        ));
    }
    if lines.is_empty() || never.len() == others.len() {
        lines.push(format!(
            "{} stays first whichever single factor is held anywhere in that range.",
            view.quoted(best)
        ));
    }
    lines
}

/// Which stresses change the first place.
pub(super) fn stresses(view: &View<'_>) -> Vec<String> {
    let best = view.best();
    let mut lines = Vec::new();
    for stress in &view.answers.stresses {
        let mean = |design: usize| sign(view.metric) * sample(&stress.designs[design], view.metric).mean;
        let better = |a: usize, b: usize| if mean(b) > mean(a) || mean(a).is_nan() { b } else { a };
        // Begun with the best of the study, which keeps its place where another only equals it.
        let top = view.designs().fold(best, better);
        if top != best {
            let summary = sample(&stress.designs[top], view.metric);
            let (low, high) = interval(view.metric, summary);
            lines.push(format!(
                "Under the stress “{}” {} comes first, with {} ({}).",
                escape(&earnest_report::figure::plain(&stress.name)),
                view.quoted(top),
                value(view.metric, summary.mean),
                between(view.metric, low, high)
            ));
        }
    }
    let same = view.answers.stresses.len() - lines.len();
    if same > 0 && view.answers.designs.len() > 1 {
        let of =
            if lines.is_empty() { counted(same, "stress case") } else { counted(same, "other stress case") };
        lines.push(format!("In {of} {} stays first.", view.quoted(best)));
    }
    lines
}

/// `A grants, B equity`: the letters of the designs.
pub(super) fn letters(view: &View<'_>) -> String {
    let name = |design: usize| format!("<b>{}</b> {}", letter(design), escape(&view.name(design)));
    view.designs().map(name).collect::<Vec<_>>().join(", ")
}

/// `“a”, “b” and “c”`.
fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// The month that lies so many months after a time: `January 2018`.
pub(super) fn calendar(start: Time, after: u32) -> String {
    let day = utc(start);
    let mut parts = day.split('-').map(|part| part.parse::<u32>().unwrap_or(1));
    let (year, month) = (parts.next().unwrap_or(1970), parts.next().unwrap_or(1));
    let months = year * 12 + month - 1 + after;
    format!("{} {}", MONTHS[(months % 12) as usize], months / 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_over_the_years() {
        let start = 1_517_443_200;
        assert_eq!(
            ["February 2018", "January 2019"],
            [calendar(start, 0), calendar(start, 11)].each_ref().map(|s| s.as_str())
        );
        assert_eq!(calendar(start, 95), "January 2026");
    }
}
