//! Charts as SVG without a fixed width: shapes stretch with the page, words keep their size, so that a chart reads alike
//! on paper and on a phone. What a chart shows is said in its description and in a table beside it.

use std::fmt::Write;

use super::table::text;

/// Height of a row of [`Rows`]: its words, its shapes, the gap below.
const ROW: f64 = 44.0;
/// Middle of a row's shapes below its top.
const MIDDLE: f64 = 27.0;
/// Room for the scale below.
const BOTTOM: f64 = 22.0;
/// Letters of a name that fit beside a figure on a narrow screen.
const NAME: usize = 24;

/// Round values along an axis.
pub(super) struct Scale {
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    /// That holds all these values, and zero.
    pub(super) fn over(values: impl IntoIterator<Item = f64>) -> Self {
        let values = values.into_iter().filter(|value| value.is_finite());
        let (low, high) =
            values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if low == high {
            return Scale { low: 0.0, high: 1.0, step: 1.0 };
        }
        let rough = (high - low) / 4.0;
        let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
        let step = [1.0, 2.0, 5.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Scale { low, high: libm::ceil(high / step) * step, step }
    }

    /// From nothing to one.
    pub(super) fn parts() -> Self {
        Scale { low: 0.0, high: 1.0, step: 0.25 }
    }

    /// Where a value lies, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let (first, last) = (libm::ceil(self.low / self.step), libm::round(self.high / self.step));
        (0u32..).map(move |i| first + f64::from(i)).take_while(move |i| *i <= last).map(|i| i * self.step)
    }
}

/// A shape in a row; its class says how it is filled.
pub(super) enum Mark {
    /// A bar between two values, so many pixels high, its middle moved down by so many.
    Bar { from: f64, to: f64, height: f64, down: f64, class: &'static str },
    /// A line between the two ends of an interval.
    Whisker { low: f64, high: f64, down: f64 },
    /// A short upright line.
    Tick(f64),
    /// A dot, filled or hollow.
    Dot { at: f64, class: &'static str },
}

/// One row of a chart.
pub(super) struct Row {
    pub(super) name: String,
    /// What stands at the right.
    pub(super) figure: String,
    pub(super) marks: Vec<Mark>,
}

/// Rows over one scale.
pub(super) struct Rows<'a> {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) scale: Scale,
    /// How the scale is labelled.
    pub(super) label: &'a dyn Fn(f64) -> String,
    pub(super) rows: Vec<Row>,
    /// An upright line through all rows.
    pub(super) line: Option<f64>,
}

impl Rows<'_> {
    /// The chart.
    pub(super) fn svg(&self) -> String {
        let height = ROW * crate::statistics::count(self.rows.len());
        let mut inner = String::new();
        let at = |value: f64| number(self.scale.part(value) * 100.0);
        for tick in self.scale.ticks() {
            let class = if tick == 0.0 { "axis" } else { "grid" };
            let x = at(tick);
            upright(&mut inner, class, &x, 0.0, height);
            let anchor = anchor(self.scale.part(tick));
            let (y, label) = (height + 16.0, text(&(self.label)(tick)));
            let _ = writeln!(
                inner,
                "<text class=\"tick\" x=\"{x}%\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
            );
        }
        if let Some(line) = self.line.filter(|line| line.is_finite()) {
            upright(&mut inner, "dash", &at(line), 0.0, height);
        }
        let mut top = 0.0;
        for row in &self.rows {
            row.marks.iter().for_each(|mark| draw(&mut inner, mark, top + MIDDLE, &self.scale));
            let y = top + 14.0;
            let _ = writeln!(
                inner,
                "<text x=\"0\" y=\"{y}\">{}</text>\n<text class=\"tick\" x=\"100%\" y=\"{y}\" text-anchor=\"end\">{}</text>",
                text(&cut(&row.name)),
                text(&row.figure)
            );
            top += ROW;
        }
        framed(&self.id, &self.title, &self.description, height + BOTTOM, &inner)
    }
}

fn draw(inner: &mut String, mark: &Mark, middle: f64, scale: &Scale) {
    let at = |value: f64| scale.part(value) * 100.0;
    let _ = match *mark {
        Mark::Bar { from, to, height, down, class } if from.is_finite() && to.is_finite() => {
            let (left, right) = (at(from.min(to)), at(from.max(to)));
            writeln!(
                inner,
                "<rect class=\"{class}\" x=\"{}%\" y=\"{}\" width=\"{}%\" height=\"{height}\"/>",
                number(left),
                number(middle + down - height / 2.0),
                number(right - left)
            )
        }
        Mark::Whisker { low, high, down } if low.is_finite() && high.is_finite() => {
            let (low, high, y) = (number(at(low)), number(at(high)), middle + down);
            for x in [&low, &high] {
                upright(inner, "mark", x, y - 4.0, y + 4.0);
            }
            writeln!(inner, "<line class=\"mark\" x1=\"{low}%\" y1=\"{y}\" x2=\"{high}%\" y2=\"{y}\"/>")
        }
        Mark::Tick(value) if value.is_finite() => {
            upright(inner, "median", &number(at(value)), middle - 8.0, middle + 8.0);
            Ok(())
        }
        Mark::Dot { at: value, class } if value.is_finite() => {
            let x = number(at(value));
            writeln!(inner, "<circle class=\"{class}\" cx=\"{x}%\" cy=\"{middle}\" r=\"4.5\"/>")
        }
        _ => Ok(()),
    };
}

fn upright(inner: &mut String, class: &str, x: &str, from: f64, to: f64) {
    let _ = writeln!(inner, "<line class=\"{class}\" x1=\"{x}%\" y1=\"{from}\" x2=\"{x}%\" y2=\"{to}\"/>");
}

/// Quantiles over time, each point evenly after the one before: the outer and the inner half as areas, the median as a line.
pub(super) fn fan(
    id: &str,
    title: &str,
    description: &str,
    points: &[[f64; 5]],
    label: &dyn Fn(f64) -> String,
    times: &[(f64, String)],
) -> String {
    const HEIGHT: f64 = 150.0;
    const TOP: f64 = 16.0;
    let scale = Scale::over(points.iter().flatten().copied());
    let last = crate::statistics::count(points.len().saturating_sub(1).max(1));
    let place = |i: usize, value: f64| {
        let (x, y) = (crate::statistics::count(i) / last * 1_000.0, HEIGHT * (1.0 - scale.part(value)));
        format!("{} {}", number(x), number(y))
    };
    let finite: Vec<(usize, &[f64; 5])> =
        points.iter().enumerate().filter(|(_, five)| five.iter().all(|value| value.is_finite())).collect();
    let along = |quantile: usize| finite.iter().map(move |(i, five)| (*i, five[quantile]));
    let area = |low: usize, high: usize| {
        let there = along(low).map(|(i, value)| place(i, value));
        let back: Vec<String> = along(high).map(|(i, value)| place(i, value)).collect();
        there.chain(back.into_iter().rev()).collect::<Vec<_>>().join("L")
    };
    let mut shapes = String::new();
    if !finite.is_empty() {
        let median: Vec<String> = along(2).map(|(i, value)| place(i, value)).collect();
        let _ = writeln!(
            shapes,
            "<path class=\"fan-outer\" d=\"M{}Z\"/>\n<path class=\"fan-inner\" d=\"M{}Z\"/>\n<path class=\"curve\" d=\"M{}\"/>",
            area(0, 4),
            area(1, 3),
            median.join("L")
        );
    }
    let (mut lines, mut labels) = (String::new(), String::new());
    for tick in scale.ticks() {
        let y = number(TOP + HEIGHT * (1.0 - scale.part(tick)));
        let class = if tick == 0.0 { "axis" } else { "grid" };
        let _ = writeln!(lines, "<line class=\"{class}\" x1=\"0\" y1=\"{y}\" x2=\"100%\" y2=\"{y}\"/>");
        if tick != 0.0 {
            let y = number(TOP + HEIGHT * (1.0 - scale.part(tick)) - 4.0);
            let _ = writeln!(labels, "<text class=\"tick\" x=\"0\" y=\"{y}\">{}</text>", text(&label(tick)));
        }
    }
    for (part, label) in times {
        let anchor = anchor(*part);
        let _ = writeln!(
            labels,
            "<text class=\"tick\" x=\"{}%\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            number(part * 100.0),
            TOP + HEIGHT + 16.0,
            text(label)
        );
    }
    let inner = format!(
        "{lines}<svg x=\"0\" y=\"{TOP}\" width=\"100%\" height=\"{HEIGHT}\" viewBox=\"0 0 1000 {HEIGHT}\" \
         preserveAspectRatio=\"none\">\n{shapes}</svg>\n{labels}"
    );
    framed(id, title, description, TOP + HEIGHT + BOTTOM, &inner)
}

fn framed(id: &str, title: &str, description: &str, height: f64, inner: &str) -> String {
    format!(
        "<svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" width=\"100%\" height=\"{height}\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n{inner}</svg>\n",
        text(title),
        text(description)
    )
}

/// How words stand to a place from 0 to 1, so that they stay within.
fn anchor(part: f64) -> &'static str {
    match part {
        part if part < 0.08 => "start",
        part if part > 0.92 => "end",
        _ => "middle",
    }
}

/// A name that leaves room for a figure.
fn cut(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

/// A coordinate: a hundredth is finer than any screen here.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_few_round_steps_and_hold_all_values() {
        for values in [[0.0, 0.42], [-3.0, 7.1], [22e6, 9.9e9], [0.0, 0.0], [-0.2, -0.1]] {
            let scale = Scale::over(values);
            assert!((2..=7).contains(&scale.ticks().count()), "{values:?}");
            assert!(values.iter().all(|value| (scale.low..=scale.high).contains(value)));
        }
    }
}
