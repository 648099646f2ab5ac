//! The frame around every page: landmarks, menu, the wallet's place, and the parts that scripts may replace. Every
//! function here that takes a text escapes it.

use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse, Response};
use earnest_chain::deploy::Record;
use earnest_core::plan::Time;
use earnest_core::plan::date::{duration, utc};
use earnest_report::figure::plain;
use earnest_report::page::markup::escape;

use super::keeper::View;
use super::{GatewayAt, Shared, policy_with};

/// A page in the making.
pub(super) struct Page {
    title: String,
    /// The menu's entry it stands under.
    path: String,
    parts: Vec<Part>,
    /// Its own, beside the one that all have.
    script: Option<&'static str>,
    asks_gateway: bool,
}

struct Part {
    id: String,
    html: String,
    is_live: bool,
}

impl Page {
    pub(super) fn new(title: &str, path: &str) -> Self {
        Page {
            title: plain(title),
            path: path.to_owned(),
            parts: Vec::new(),
            script: None,
            asks_gateway: false,
        }
    }

    /// With a script of its own, which may call the gateway where there is one.
    pub(super) fn with_gateway(mut self, script: &'static str) -> Self {
        self.script = Some(script);
        self.asks_gateway = true;
        self
    }

    /// The whole page; only those that ask the gateway may call it.
    pub(super) fn answer(&self, shared: &Shared, view: &View) -> Response {
        let html = Html(self.html(shared, view));
        let policy = shared.gateway.as_ref().filter(|_| self.asks_gateway).map(policy_with);
        match policy {
            Some(policy) => ([(CONTENT_SECURITY_POLICY, policy)], html).into_response(),
            None => html.into_response(),
        }
    }

    /// A part that stays as it is.
    pub(super) fn fixed(mut self, id: &str, html: String) -> Self {
        self.parts.push(Part { id: id.to_owned(), html, is_live: false });
        self
    }

    /// A part that follows the chain.
    pub(super) fn live(mut self, id: &str, html: String) -> Self {
        self.parts.push(Part { id: id.to_owned(), html, is_live: true });
        self
    }

    /// Only what follows the chain.
    pub(super) fn live_parts(&self) -> String {
        self.parts.iter().filter(|part| part.is_live).map(Part::html).collect()
    }

    pub(super) fn html(&self, shared: &Shared, view: &View) -> String {
        let name = escape(&view.summary.offering);
        let parts: String = self.parts.iter().map(Part::html).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · {name}</title>\n\
             <link rel=\"icon\" href=\"/favicon.ico\" type=\"image/svg+xml\">\n\
             <link rel=\"stylesheet\" href=\"/asset/report.css\">\n<link rel=\"stylesheet\" href=\"/asset/portal.css\">\n\
             <script type=\"module\" src=\"/asset/act.js\"></script>\n{script}</head>\n<body{data}>\n\
             <a class=\"skip\" href=\"#main\">Skip to content</a>\n{header}\
             <main id=\"main\" tabindex=\"-1\">\n<h1>{title}</h1>\n{parts}</main>\n{footer}{dialog}</body>\n</html>\n",
            title = escape(&self.title),
            script = self.script.map_or(String::new(), |name| format!(
                "<script type=\"module\" src=\"/asset/{name}\"></script>\n"
            )),
            data = data(shared, view),
            header = header(shared, view, &self.path),
            footer = footer(shared),
            dialog = DIALOG,
        )
    }
}

impl Part {
    fn html(&self) -> String {
        let live = if self.is_live { " data-live" } else { "" };
        format!("<div class=\"part\" id=\"{}\"{live}>\n{}</div>\n", self.id, self.html)
    }
}

/// What scripts need to know of the deployment.
fn data(shared: &Shared, view: &View) -> String {
    let Record { chain_id, issuer, certifier, guardian, contracts, .. } = &shared.record;
    let rows = [
        ("chain", chain_id.to_string()),
        ("chain-name", chain_name(shared)),
        ("node", shared.node.clone().unwrap_or_default()),
        ("offering", contracts.offering.to_string()),
        ("issuer", issuer.to_string()),
        ("certifier", certifier.to_string()),
        ("guardian", guardian.to_string()),
        ("attester", if shared.attester { "yes" } else { "" }.to_owned()),
        ("cash", plain(&shared.plan.cash.symbol)),
        ("credits", shared.coins.credits_symbol().to_owned()),
        ("gateway", shared.gateway.as_ref().map_or("", GatewayAt::url).to_owned()),
        ("now", view.now.to_string()),
        ("version", view.version.to_string()),
        ("clock", if view.clock_runs { "runs" } else { "still" }.to_owned()),
    ];
    rows.iter().map(|(name, value)| format!(" data-{name}=\"{}\"", escape(value))).collect()
}

fn chain_name(shared: &Shared) -> String {
    match shared.is_development() {
        true => "Earnest development chain".to_owned(),
        false => format!("Chain {}", shared.record.chain_id),
    }
}

fn header(shared: &Shared, view: &View, path: &str) -> String {
    let entry = |to: &str, name: &str| {
        let here = if to == path { " aria-current=\"page\"" } else { "" };
        format!("<li><a href=\"{to}\"{here}>{}</a></li>\n", escape(name))
    };
    let menu = [
        ("/", "Offering"),
        ("/positions", "Your positions"),
        ("/prices", "Prices"),
        ("/providers", "Providers"),
        ("/keys", "API keys"),
        ("/treasury", "Treasury"),
        ("/activity", "Activity"),
        ("/audit", "Audit"),
        ("/risks", "What can go wrong"),
    ];
    let studies = shared.reports.as_ref().map(|_| ("/reports", "Studies"));
    let menu: String = menu.iter().chain(&studies).map(|(to, name)| entry(to, name)).collect();
    let mut notices = String::new();
    if let Some(note) = &view.summary.note {
        notices += &format!("<p class=\"note\">{}</p>\n", escape(&sentence(note)));
    }
    if shared.is_development() {
        let faucet = match (&shared.faucet, shared.is_play_money()) {
            (Some(_), true) => {
                " <button type=\"button\" id=\"faucet\" class=\"quiet-button\" data-idle>Give me play money</button>"
            }
            _ => "",
        };
        notices += &format!(
            "<p class=\"note\">This is a development chain. Its money is play money and nothing here is worth anything.{faucet}</p>\n"
        );
    }
    format!(
        "<header>\n<div class=\"bar\">\n<p class=\"brand\"><a href=\"/\"><bdi>{}</bdi></a></p>\n\
         <div id=\"wallet\" class=\"wallet\">\n\
         <button type=\"button\" id=\"connect\" aria-expanded=\"false\" aria-controls=\"wallets\">Connect wallet</button>\n\
         <div id=\"wallets\" class=\"wallets\" hidden></div>\n</div>\n</div>\n\
         <nav aria-label=\"Pages\"><ul>\n{menu}</ul></nav>\n{notices}\
         <noscript><p class=\"note\">Everything here can be read without JavaScript. To act, turn it on and use a wallet, or \
         use the command line: it does the same.</p></noscript>\n\
         <p id=\"status\" class=\"status\" role=\"status\"></p>\n</header>\n",
        escape(&view.summary.offering)
    )
}

/// Where a transaction is explained before it is signed.
const DIALOG: &str = "<dialog id=\"confirm\" aria-labelledby=\"confirm-title\">\n<h2 id=\"confirm-title\" tabindex=\"-1\"></h2>\n\
                      <div id=\"confirm-body\"></div>\n<ol id=\"confirm-progress\" class=\"progress\" role=\"log\" aria-live=\"polite\"></ol>\n\
                      <div class=\"buttons\">\n<button type=\"button\" id=\"confirm-go\">Continue in your wallet</button>\n\
                      <button type=\"button\" id=\"confirm-close\" class=\"quiet-button\">Cancel</button>\n</div>\n</dialog>\n";

fn footer(shared: &Shared) -> String {
    format!(
        "<footer><div>\n<p>Unaudited. Not legal, tax or investment advice, and no offer to sell or to buy anything where that \
         is not allowed. Figures follow from the state of the contracts. Short figures are rounded down, but for a \
         millionth; exact ones show on pointing at them. Times are those of the chain.</p>\n\
         <p>Offering <code>{}</code><br>Terms hash <code>{}</code></p>\n</div></footer>\n",
        shared.record.contracts.offering, shared.record.terms_hash
    )
}

/// A line that says of when the page is; with it, whether the chain answers.
pub(super) fn as_of(view: &View) -> String {
    let state = match (view.is_read, view.is_fresh) {
        (false, _) => "The chain is being read; figures are not complete yet.".to_owned(),
        (_, false) => format!("The chain does not answer. Figures are as of block {}.", view.head.number),
        _ => format!("As of block {}, {}.", view.head.number, utc(view.now)),
    };
    format!("<p class=\"byline\">{}</p>\n", escape(&state))
}

/// A time with how long it is until then, which a script counts down.
pub(super) fn until(time: Time, now: Time) -> String {
    let left = match time.checked_sub(now) {
        Some(secs) if secs > 0 => format!("in {}", duration(round_off(secs))),
        _ => "now past".to_owned(),
    };
    format!("<time>{}</time> <span class=\"left\" data-until=\"{time}\">({left})</span>", utc(time))
}

/// Days far off, minutes near by.
fn round_off(secs: u64) -> u64 {
    match secs {
        172_800.. => secs / 3_600 * 3_600,
        3_600.. => secs / 60 * 60,
        _ => secs,
    }
}

/// A form that becomes a transaction. Without a script it is not there, for it could do nothing.
pub(super) struct Act<'a> {
    pub(super) action: &'a str,
    /// Who may: `issuer`, `certifier`, `guardian`, `owner`, `anyone`.
    pub(super) role: &'a str,
    pub(super) title: &'a str,
    pub(super) words: &'a str,
    /// What is asked beside; markup.
    pub(super) fields: String,
    pub(super) button: &'a str,
}

impl Act<'_> {
    pub(super) fn html(&self) -> String {
        let Act { action, role, title, words, fields, button } = self;
        let by = match *role {
            "anyone" => "Anyone may do this.",
            "owner" => "",
            "issuer" => "As the issuer.",
            "certifier" => "As the certifier.",
            _ => "As the guardian.",
        };
        let about = [*words, by].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        // What only a role may do is not there until its wallet is.
        let hidden = if *role == "anyone" { "" } else { " hidden" };
        let about = if about.is_empty() { String::new() } else { format!("<p>{}</p>\n", escape(&about)) };
        format!(
            "<form class=\"act\" data-action=\"{action}\" data-role=\"{role}\"{hidden} novalidate>\n<fieldset>\n\
             <legend>{}</legend>\n{about}{fields}<p class=\"problem\" role=\"alert\" data-local hidden></p>\n\
             <button type=\"submit\">{}</button>\n</fieldset>\n</form>\n",
            escape(title),
            escape(button)
        )
    }
}

/// A value that goes along without being asked.
pub(super) fn given(name: &str, value: impl std::fmt::Display) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">\n", escape(&value.to_string()))
}

/// A line to type in, with a label and a hint.
pub(super) fn typed(id: &str, name: &str, label: &str, hint: &str, extra: &str) -> String {
    format!(
        "<div class=\"field\"><label for=\"{id}\">{}</label>\n<input id=\"{id}\" name=\"{name}\" \
         autocomplete=\"off\" aria-describedby=\"{id}-hint\" {extra}>\n\
         <p class=\"hint\" id=\"{id}-hint\">{}</p></div>\n",
        escape(label),
        escape(hint)
    )
}

/// Text that a plan's author wrote, kept apart from the direction of writing around it.
pub(super) fn quoted(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(&plain(text)))
}

/// With one full stop at the end and a capital at the start.
pub(super) fn sentence(text: &str) -> String {
    format!("{}.", earnest_report::words::capital(text.trim_end_matches('.')))
}

/// The Markdown of a plan's explanation: headings, paragraphs and lists. Headings start at this level.
pub(super) fn prose(markdown: &str, level: usize) -> String {
    let mut html = String::new();
    for block in markdown.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        if let Some(text) = block.strip_prefix('#') {
            let deeper = text.len() - text.trim_start_matches('#').len();
            let level = (level + deeper).min(6);
            html += &format!("<h{level}>{}</h{level}>\n", inline(text.trim_start_matches('#').trim()));
        } else if block.starts_with("- ") {
            let mut items: Vec<String> = Vec::new();
            for line in block.lines() {
                match (line.strip_prefix("- "), items.last_mut()) {
                    (Some(item), _) => items.push(item.to_owned()),
                    (None, Some(item)) => *item += &format!(" {}", line.trim()),
                    (None, None) => {}
                }
            }
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            html += &format!("<ul>\n{items}</ul>\n");
        } else {
            html += &format!("<p>{}</p>\n", inline(&block.lines().collect::<Vec<_>>().join(" ")));
        }
    }
    html
}

/// Escapes, then marks *words* between single stars.
fn inline(text: &str) -> String {
    let escaped = escape(&plain(text));
    let pieces: Vec<&str> = escaped.split('*').collect();
    // An odd number of stars is no markup.
    if pieces.len().is_multiple_of(2) {
        return escaped;
    }
    let mark = |(i, piece): (usize, &&str)| {
        if i % 2 == 1 { format!("<em>{piece}</em>") } else { (*piece).to_owned() }
    };
    pieces.iter().enumerate().map(mark).collect()
}

pub(super) fn not_found() -> Page {
    let words = "<p>There is no page at this address. The menu above has them all.</p>\n".to_owned();
    Page::new("Nothing here", "").fixed("missing", words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_of_a_plan_cannot_bring_markup() {
        let html = prose("# A <b>\n\none *two* three\n\n- x <script>\n  y\n- z\n", 1);
        assert_eq!(
            html,
            "<h1>A &lt;b&gt;</h1>\n<p>one <em>two</em> three</p>\n<ul>\n<li>x &lt;script&gt; y</li>\n<li>z</li>\n</ul>\n"
        );
    }
}
