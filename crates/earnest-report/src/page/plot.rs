//! A chart as SVG without a fixed width: shapes live in a box of their own that stretches with the page, words are
//! placed by percent and keep their size, so that a chart reads alike on paper, on a wall and on a phone.

use std::fmt::Write;

use super::markup::escape;

/// Width of the box of shapes, in its own units.
const WIDE: f64 = 1_000.0;
/// Room above the shapes for what is written over the top line.
const TOP: f64 = 26.0;
/// Room below for the scale.
const BOTTOM: f64 = 26.0;

/// Parts of the box, from 0 to 1: x from the left, y from the bottom.
pub(super) type Point = (f64, f64);

/// A chart in the making.
pub(super) struct Plot {
    id: String,
    title: String,
    description: String,
    height: f64,
    shapes: String,
    words: String,
}

/// Where words stand to their point.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Plot {
    /// `height` is that of the box of shapes, in pixels.
    pub(super) fn new(id: &str, title: &str, description: &str, height: f64) -> Self {
        Plot {
            id: id.to_owned(),
            title: title.to_owned(),
            description: description.to_owned(),
            height,
            shapes: String::new(),
            words: String::new(),
        }
    }

    /// Gridlines at round values with their labels, which stand on the lines at the left.
    pub(super) fn scale_y(&mut self, scale: &Scale, label: impl Fn(u128) -> String) {
        for value in scale.ticks() {
            let y = scale.part(value);
            self.line((0.0, y), (1.0, y), if value == 0 { "axis" } else { "grid" });
            if value > 0 {
                self.words((0.0, y), -5.0, Anchor::Start, "tick", &label(value));
            }
        }
    }

    /// A label below the box.
    pub(super) fn label_x(&mut self, x: f64, anchor: Anchor, is_for_wide: bool, text: &str) {
        let class = if is_for_wide { "tick wide" } else { "tick" };
        self.words((x, 0.0), 18.0, anchor, class, text);
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: Point, to: Point, class: &str) {
        let (from, to) = (self.at(from), self.at(to));
        let _ = writeln!(
            self.shapes,
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1)
        );
    }

    /// A line through points; where `is_area`, closed along the bottom.
    pub(super) fn path(&mut self, points: &[Point], class: &str, is_area: bool) {
        let Some((&first, &last)) = points.first().zip(points.last()) else { return };
        let mut path = String::new();
        for (i, &point) in points.iter().enumerate() {
            let (x, y) = self.at(point);
            let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, number(x), number(y));
        }
        if is_area {
            let (right, left) = (self.at((last.0, 0.0)), self.at((first.0, 0.0)));
            let _ = write!(
                path,
                "L{} {}L{} {}Z",
                number(right.0),
                number(right.1),
                number(left.0),
                number(left.1)
            );
        }
        let _ = writeln!(self.shapes, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    /// A bar from one corner to the opposite one.
    pub(super) fn bar(&mut self, low: Point, high: Point, class: &str) {
        let (low, high) = (self.at(low), self.at(high));
        let _ = writeln!(
            self.shapes,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            number(low.0),
            number(high.1),
            number(high.0 - low.0),
            number(low.1 - high.1)
        );
    }

    /// A dot that keeps its shape.
    pub(super) fn dot(&mut self, at: Point) {
        let (x, y) = (at.0 * 100.0, self.at(at).1 + TOP);
        let _ = writeln!(
            self.words,
            "<circle class=\"dot\" cx=\"{}%\" cy=\"{}\" r=\"4.5\"/>",
            number(x),
            number(y)
        );
    }

    /// Words at a point, moved down by so many pixels.
    pub(super) fn words(&mut self, at: Point, down: f64, anchor: Anchor, class: &str, text: &str) {
        let (x, y) = (at.0 * 100.0, self.at(at).1 + TOP + down);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let _ = writeln!(
            self.words,
            "<text class=\"{class}\" x=\"{}%\" y=\"{}\"{anchor}>{}</text>",
            number(x),
            number(y),
            escape(text)
        );
    }

    /// The chart.
    pub(super) fn finish(self) -> String {
        let Plot { id, title, description, height, shapes, words } = self;
        let (title, description) = (escape(&title), escape(&description));
        let all = height + TOP + BOTTOM;
        format!(
            "<svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" width=\"100%\" height=\"{all}\">\n\
             <title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-desc\">{description}</desc>\n\
             <svg x=\"0\" y=\"{TOP}\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {WIDE} {height}\" \
             preserveAspectRatio=\"none\" overflow=\"visible\">\n{shapes}</svg>\n{words}</svg>\n"
        )
    }

    fn at(&self, (x, y): Point) -> (f64, f64) {
        (x * WIDE, (1.0 - y) * self.height)
    }
}

/// Words beside a point, on the side where there is more room.
pub(super) fn roomier_side(x: f64) -> (Anchor, f64) {
    if x > 0.6 { (Anchor::End, -0.008) } else { (Anchor::Start, 0.008) }
}

/// A scale from zero to a little more than the most.
pub(super) struct Scale {
    most: u128,
    step: u128,
}

impl Scale {
    /// Room for `most`, with three to six round steps.
    pub(super) fn up_to(most: u128) -> Self {
        let most = most.max(1);
        let mut unit = 1;
        while unit * 50 <= most {
            unit *= 10;
        }
        let step =
            [1, 2, 5, 10].into_iter().map(|n| n * unit).find(|step| most / step <= 4).unwrap_or(unit * 10);
        Scale { most: most + most / 16, step }
    }

    /// Where a value stands, from 0 to 1.
    pub(super) fn part(&self, value: u128) -> f64 {
        value as f64 / self.most as f64
    }

    fn ticks(&self) -> impl Iterator<Item = u128> {
        (0..).map(|i| i * self.step).take_while(|&value| value <= self.most)
    }
}

/// A coordinate: a hundredth of a unit is finer than any screen here.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_few_round_steps() {
        for (most, step) in [(0, 1), (1, 1), (7, 2), (49, 10), (50, 20), (5_000, 2_000), (9_999, 2_000)] {
            let scale = Scale::up_to(most);
            assert_eq!(scale.step, step, "{most}");
            assert!((2..=6).contains(&scale.ticks().count()), "{most}");
        }
    }
}
