//! Lines of a terminal under way: headings, fields, tables and bars, never wider than asked.

/// Least width that anything is laid out for.
const NARROWEST: usize = 40;
/// Eighths of a block, from one to seven.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const LABEL: usize = 15;

/// Text in the making.
pub(crate) struct Lines {
    text: String,
    pub(crate) width: usize,
}

/// A column of a table.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Figures stand right, words left.
    pub(crate) is_figure: bool,
    /// Left out first, the highest number before others, where the table is too wide; 0: never.
    pub(crate) spare: u8,
}

impl Column {
    pub(crate) const fn words(title: &'static str, spare: u8) -> Self {
        Column { title, is_figure: false, spare }
    }

    pub(crate) const fn figure(title: &'static str, spare: u8) -> Self {
        Column { title, is_figure: true, spare }
    }
}

impl Lines {
    pub(crate) fn new(width: usize) -> Self {
        Lines { text: String::new(), width: width.max(NARROWEST) }
    }

    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A line of its own above a block, underlined so that it is found without colour.
    pub(crate) fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.line("");
        }
        let text = cut(text, self.width);
        self.line(&text);
        self.line(&"─".repeat(text.chars().count()));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        for line in wrapped(text, self.width) {
            self.line(&line);
        }
    }

    /// A label and what it says, which goes on below itself where it is long.
    pub(crate) fn field(&mut self, label: &str, value: &str) {
        let mut label = cut(label, LABEL - 1);
        for line in wrapped(value, self.width - LABEL) {
            self.line(&format!("{label:LABEL$}{line}"));
            label.clear();
        }
    }

    /// Columns as wide as they need to be; those that can be spared are left out until the table fits.
    pub(crate) fn table(&mut self, columns: &[Column], rows: &[Vec<String>]) {
        let width_of = |at: usize| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.chain([columns[at].title.chars().count()]).max().unwrap_or(0)
        };
        let mut kept: Vec<(usize, usize)> = (0..columns.len()).map(|at| (at, width_of(at))).collect();
        let total = |kept: &[(usize, usize)]| kept.iter().map(|(_, width)| width + 2).sum::<usize>() - 2;
        while total(&kept) > self.width {
            let spare = kept.iter().map(|&(at, _)| at).filter(|&at| columns[at].spare > 0);
            let Some(spare) = spare.max_by_key(|&at| columns[at].spare) else { break };
            kept.retain(|&(at, _)| at != spare);
        }
        // Names are the one thing without bound.
        let over = total(&kept).saturating_sub(self.width);
        kept[0].1 = kept[0].1.saturating_sub(over).max(4);
        let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
        for row in std::iter::once(&titles).chain(rows) {
            let cells = kept.iter().map(|&(at, width)| {
                let cell = cut(&row[at], width);
                if columns[at].is_figure { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            self.line(&cells.collect::<Vec<_>>().join("  "));
        }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// A bar of at most `width` blocks for `value` of `most`, to an eighth of a block, rounded down; the least that is
/// anything shows as the thinnest bar.
pub(crate) fn bar(value: u128, most: u128, width: usize) -> String {
    let eighths = scaled(value, most, width * 8).max(usize::from(value > 0));
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(eighths.checked_rem(8).and_then(|rest| rest.checked_sub(1)).map(|rest| EIGHTHS[rest]));
    bar
}

/// A filled and an empty part, which together are `width` wide.
pub(crate) fn gauge(value: u128, most: u128, width: usize) -> String {
    let filled = scaled(value, most, width);
    format!("[{}{}]", "█".repeat(filled), "░".repeat(width - filled))
}

/// `value ÷ most × width`, rounded down, at most `width`.
fn scaled(value: u128, most: u128, width: usize) -> usize {
    let part = value.min(most).saturating_mul(width as u128).checked_div(most).unwrap_or(0);
    usize::try_from(part).unwrap_or(width)
}

/// One character for a height between `least` and `most`.
pub(crate) fn spark(value: u64, least: u64, most: u64) -> char {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if most == least {
        return HEIGHTS[3];
    }
    HEIGHTS[scaled((value - least).into(), (most - least).into(), 7)]
}

/// At most so many characters, the last an ellipsis where some were left out.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Breaks text between words; a word wider than a line is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let word = cut(word, width);
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        for (value, shown) in [(0, ""), (1, "▏"), (50, "██"), (56, "██▏"), (99, "███▉"), (100, "████")]
        {
            assert_eq!(bar(value, 100, 4), shown, "{value}");
        }
        assert_eq!(bar(0, 0, 4), "");
        assert_eq!(gauge(33, 100, 6), "[█░░░░░]");
    }

    #[test]
    fn long_words_are_cut_and_no_line_is_too_wide() {
        assert_eq!(wrapped("a bb cccccccc d", 5), ["a bb", "cccc…", "d"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
