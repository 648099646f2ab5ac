//! Tables as markup: a caption, heads with a scope, a box of their own to scroll in. Every text is escaped here.

use earnest_report::figure::plain;
use earnest_report::page::markup::escape;

/// Text of a stranger between tags or in an attribute.
pub(super) fn text(text: &str) -> String {
    escape(&plain(text))
}

/// The head of a row.
pub(super) fn head(name: &str) -> String {
    format!("<th scope=\"row\">{}</th>", text(name))
}

/// The head of a row that is a key of the study.
pub(super) fn key(key: &str, words: &str) -> String {
    format!("<th scope=\"row\"><code>{}</code>{}</th>", text(key), small(words))
}

/// Words, and smaller ones below.
pub(super) fn words(main: &str, below: &str) -> String {
    format!("<td>{}{}</td>", text(main), small(below))
}

/// Long words.
pub(super) fn prose(main: &str, below: &str) -> String {
    format!("<td class=\"long\">{}{}</td>", text(main), small(below))
}

/// A figure, and a smaller one below.
pub(super) fn figure(main: &str, below: &str) -> String {
    let below = if below == main { "" } else { below };
    format!("<td class=\"number\">{}{}</td>", text(main), small(below))
}

fn small(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("<small>{}</small>", text(words)) }
}

/// A table of rows that are cells as markup. Titles of columns with figures end in `#`.
pub(super) fn table(caption: &str, titles: &[&str], rows: &[String]) -> String {
    let title = |title: &&str| match title.strip_suffix('#') {
        Some(title) => format!("<th scope=\"col\" class=\"number\">{}</th>", text(title)),
        None => format!("<th scope=\"col\">{}</th>", text(title)),
    };
    boxed(
        caption,
        "",
        &format!(
            "<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>",
            titles.iter().map(title).collect::<String>(),
            rows.iter().map(|row| format!("<tr>{row}</tr>\n")).collect::<String>()
        ),
    )
}

/// A table whose head and body are markup.
pub(super) fn boxed(caption: &str, class: &str, body: &str) -> String {
    let caption = text(caption);
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table{class}>\n\
         <caption>{caption}</caption>\n{body}\n</table>\n</div>\n"
    )
}
