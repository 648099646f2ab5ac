//! HTML and SVG in strings. Every function here that takes a text escapes it, so that markup is only what this
//! crate itself wrote.

/// Text as it may stand between tags and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A heading that can be linked to.
pub fn heading(level: u8, id: &str, text: &str) -> String {
    format!("<h{level} id=\"{id}\">{}</h{level}>\n", escape(text))
}

/// A paragraph of plain text.
pub fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// A short figure whose exact one shows on pointing at it.
pub fn figure(short: &str, exact: &str) -> String {
    format!("<span title=\"{}\">{}</span>", escape(exact), escape(short))
}

/// Names and what they are; the values are markup.
pub fn facts(rows: &[(&str, String)]) -> String {
    let rows =
        rows.iter().map(|(name, value)| format!("<div><dt>{}</dt><dd>{value}</dd></div>\n", escape(name)));
    format!("<dl class=\"facts\">\n{}</dl>\n", rows.collect::<String>())
}

/// A cell of a table.
pub enum Cell {
    /// Words, which stand left.
    Words(String),
    /// A figure, which stands right: short, exact.
    Figure(String, String),
}

impl Cell {
    /// Words.
    pub fn words(text: impl Into<String>) -> Cell {
        Cell::Words(text.into())
    }

    /// A figure without an exact one behind it.
    pub fn figure(text: impl Into<String>) -> Cell {
        Cell::Figure(text.into(), String::new())
    }

    fn markup(&self) -> String {
        match self {
            Cell::Words(text) => format!("<td>{}</td>", escape(text)),
            Cell::Figure(text, exact) if exact.is_empty() => {
                format!("<td class=\"number\">{}</td>", escape(text))
            }
            Cell::Figure(short, exact) => format!("<td class=\"number\">{}</td>", figure(short, exact)),
        }
    }
}

/// A table. The first cell of each row is its head; titles of columns with figures end in `#`.
pub fn table(caption: &str, titles: &[&str], rows: &[Vec<Cell>], last_is_total: bool) -> String {
    let mut text = format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{0}\" tabindex=\"0\">\n<table>\n<caption>{0}</caption>\n<thead><tr>",
        escape(caption)
    );
    for title in titles {
        text += &match title.strip_suffix('#') {
            Some(title) => format!("<th scope=\"col\" class=\"number\">{}</th>", escape(title)),
            None => format!("<th scope=\"col\">{}</th>", escape(title)),
        };
    }
    text += "</tr></thead>\n<tbody>\n";
    for (i, row) in rows.iter().enumerate() {
        text += if last_is_total && i + 1 == rows.len() { "<tr class=\"total\">" } else { "<tr>" };
        for (at, cell) in row.iter().enumerate() {
            text += &match cell {
                Cell::Words(head) if at == 0 => format!("<th scope=\"row\">{}</th>", escape(head)),
                cell => cell.markup(),
            };
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table>\n</div>\n"
}

/// What a chart shows, as a table for those who cannot see it or want to compute with it.
pub fn details(summary: &str, table: &str) -> String {
    format!("<details>\n<summary>{}</summary>\n{table}</details>\n", escape(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_text_or_an_attribute() {
        assert_eq!(escape("<a b=\"c\" d='e'>&"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
    }
}
