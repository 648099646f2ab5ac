//! API keys: what one has used, for who has only the key; and for a wallet, its channels, out of which keys are made,
//! raised, revoked and ended. Balances, usage and receipts come from the gateway to the browser and nowhere else.

use alloy_primitives::Address;
use axum::extract::{Query, State};
use axum::response::Response;
use earnest_core::plan::date::duration;
use earnest_report::figure::plain;
use earnest_report::page::markup::{escape, facts, heading, paragraph};

use super::channel::{self, Found, Purse};
use super::keeper::View;
use super::page::{Act, Page, as_of, given, typed, until};
use super::prices::{self, Prices};
use super::providers::amount;
use super::{At, Look, Problem, Shared, positions, shown};
use crate::gateway::journal::Coin;

/// What was asked of the chain for a wallet.
struct Mine {
    wallet: Address,
    purse: Purse,
    channels: Vec<Found>,
}

pub(super) async fn get(State(shared): At, Query(look): Query<Look>) -> Response {
    let asked = look.wallet.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let wallet = asked.map(|text| text.parse::<Address>());
    let mine = match wallet {
        Some(Ok(wallet)) => {
            let found = shared
                .ask(move |shared, chain| {
                    let view = shared.view();
                    let purse = channel::purse(shared, &view, chain, wallet)?;
                    let channels = channel::all(shared, &view, chain, wallet, &purse)?;
                    Ok(Mine { wallet, purse, channels })
                })
                .await;
            Some(found.and_then(|found: Result<_, earnest_chain::chain::ChainError>| {
                found.map_err(|_| Problem::silent())
            }))
        }
        _ => None,
    };
    let prices = prices::read(&shared).await.ok().flatten();
    shown(State(shared), Query(look), move |shared, view, _| {
        let mut page = Page::new("API keys", "/keys")
            .with_gateway("usage.js")
            .live("standing", as_of(view))
            .fixed("use", usage(shared))
            .fixed("made", made(shared, view, prices.as_deref()));
        page = page.fixed("lookup", lookup(wallet.as_ref().and_then(|wallet| wallet.as_ref().ok())));
        Some(match (&wallet, &mine) {
            (None, _) => page.live("mine", paragraph("No wallet is chosen.")),
            (Some(Err(_)), _) => page.live(
                "mine",
                "<p class=\"problem\" role=\"alert\">This is not an address: 0x and 40 digits are expected.</p>\n".to_owned(),
            ),
            (_, Some(Ok(mine))) => page.live("mine", all(shared, view, mine)),
            (_, Some(Err(problem))) => page.live("mine", prices::silent(problem)),
            (_, None) => page,
        })
    })
}

/// For who has a key. Filled in by a script, from the gateway.
fn usage(shared: &Shared) -> String {
    let mut html = heading(2, "use-heading", "What a key has left and has used");
    let Some(at) = &shared.gateway else {
        return html
            + &paragraph(
                "This portal knows of no gateway, so no key can be made or looked at here. Whoever runs one says its address. \
                 Deposits in channels can be taken back below all the same: the chain alone decides that.",
            );
    };
    let url = escape(at.url());
    html += &format!(
        "<noscript><p>Without JavaScript, with the key in <code>$KEY</code>:</p>\n<pre tabindex=\"0\"><code>curl {url}/earnest/balance -H \
         \"Authorization: Bearer $KEY\"\ncurl \"{url}/earnest/usage?by=day\" -H \"Authorization: Bearer $KEY\"</code></pre></noscript>\n\
         <form id=\"key-form\" class=\"lookup act-like\" data-local novalidate>\n<div class=\"field\"><label for=\"api-key\">API key</label>\n\
         <input type=\"password\" id=\"api-key\" autocomplete=\"off\" spellcheck=\"false\" maxlength=\"200\" aria-describedby=\"api-key-hint\">\n\
         <p class=\"hint\" id=\"api-key-hint\">It stays in this tab and goes to the gateway {url} alone.</p></div>\n\
         <div class=\"buttons\"><button type=\"submit\">Show</button>\n\
         <button type=\"button\" id=\"key-forget\" class=\"quiet-button\" hidden>Forget the key</button></div>\n</form>\n\
         <div id=\"key-view\" data-local tabindex=\"-1\"></div>\n"
    );
    html
}

/// Where a new key is shown, once. The script fills in the secret, which nobody else has.
fn made(shared: &Shared, view: &View, prices: Option<&Prices>) -> String {
    let Some(at) = &shared.gateway else { return String::new() };
    let model = |credits: bool| {
        let turn = prices.and_then(|prices| prices.in_force(view.now));
        let entries = turn.map_or(&[][..], |turn| &turn.entries);
        let sold = entries.iter().find(|entry| {
            let rates = prices::rates(entries, &entry.model, credits);
            rates.input.is_some() && rates.output.is_some()
        });
        escape(&plain(sold.map_or("MODEL", |entry| &entry.model)))
    };
    let line = |id: &str, title: &str| {
        format!(
            "<h3 id=\"{id}-title\">{title}</h3>\n<pre tabindex=\"0\" aria-labelledby=\"{id}-title\"><code id=\"{id}\"></code></pre>\n\
             <p><button type=\"button\" class=\"quiet-button\" data-copy=\"{id}\">Copy<span class=\"unseen\"> {title}</span></button></p>\n"
        )
    };
    format!(
        "<section id=\"new-key\" data-local hidden tabindex=\"-1\" aria-labelledby=\"new-key-heading\" data-base=\"{}/v1\" \
         data-credits-model=\"{}\" data-cash-model=\"{}\">\n<h2 id=\"new-key-heading\">Your new key</h2>\n\
         <p class=\"verdict\"><strong>It is shown this once.</strong> Nobody else has it: the gateway knows its hash alone. \
         Keep it as you keep a password.</p>\n{}{}{}\
         <p><button type=\"button\" id=\"new-key-look\">Show its balance and usage</button></p>\n</section>\n",
        escape(at.url()),
        model(true),
        model(false),
        line("new-secret", "The key"),
        line("new-curl", "For a shell"),
        line("new-python", "For Python"),
    )
}

fn lookup(wallet: Option<&Address>) -> String {
    let value = wallet.map(ToString::to_string).unwrap_or_default();
    heading(2, "channels-heading", "Keys from a wallet")
        + &paragraph(
            "Credits, free or locked, or cash go into a channel of your own, out of which the gateway takes what its keys have used, \
             up to the ceiling that you sign. The rest is yours and comes back whenever you like.",
        )
        + &format!(
            "<form class=\"lookup\" method=\"get\" action=\"/keys\">\n<div class=\"field\"><label for=\"wallet-address\">Wallet</label>\n\
             <input id=\"wallet-address\" name=\"wallet\" value=\"{}\" maxlength=\"42\" autocomplete=\"off\" spellcheck=\"false\" \
             aria-describedby=\"wallet-hint\"><p class=\"hint\" id=\"wallet-hint\">Filled in when you connect. Anyone may look: \
             channels are on the chain. Keys are not.</p></div>\n<button type=\"submit\">Show</button>\n</form>\n",
            escape(&value)
        )
}

fn all(shared: &Shared, view: &View, mine: &Mine) -> String {
    let mut html = format!("<div data-owner=\"{}\">\n", mine.wallet);
    if shared.gateway.is_some() {
        html += &create(shared, &mine.purse);
    }
    html += &heading(3, "mine-heading", "Channels of this wallet");
    if mine.channels.is_empty() {
        html += &paragraph(
            "None that was opened here. Those of the command line are managed there: earnest key list.",
        );
    }
    for found in &mine.channels {
        html += &one(shared, view, found);
    }
    html += "<p class=\"unacted quiet\">What this wallet may do appears here once it is connected.</p>\n";
    html + "</div>\n"
}

fn create(shared: &Shared, purse: &Purse) -> String {
    let cash = (purse.cash > 0)
        .then(|| ("cash".to_owned(), "Cash".to_owned(), amount(shared, Coin::Cash, purse.cash)));
    let credits = (purse.credits > 0)
        .then(|| ("credits".to_owned(), "Credits".to_owned(), amount(shared, Coin::Credits, purse.credits)));
    let locked = purse.vaults.iter().filter(|(.., held)| *held > 0).map(|(id, _, held)| {
        let name = positions::show(*id);
        (
            format!("locked:{name}"),
            format!("Locked credits of position {name}"),
            amount(shared, Coin::Credits, *held),
        )
    });
    let sources: Vec<_> = cash.into_iter().chain(credits).chain(locked).collect();
    if sources.is_empty() {
        return paragraph(
            "This wallet has neither cash nor credits, and no vault with locked ones: there is nothing to make a key from. Credits \
             come with deliveries, on \u{201c}Your positions\u{201d}.",
        );
    }
    let mut choices = "<fieldset class=\"choices\"><legend>Pay from</legend>\n".to_owned();
    for (at, (value, title, has)) in sources.iter().enumerate() {
        let checked = if at == 0 { " checked" } else { "" };
        choices += &format!(
            "<div class=\"choice\"><input type=\"radio\" name=\"source\" id=\"source-{at}\" value=\"{}\"{checked}>\
             <label for=\"source-{at}\">{} <span class=\"quiet\">({})</span></label></div>\n",
            escape(value),
            escape(title),
            escape(has)
        );
    }
    choices += "</fieldset>\n";
    let decimal = "inputmode=\"decimal\" maxlength=\"40\"";
    let fields = choices
        + &typed(
            "key-amount",
            "amount",
            "Amount",
            "What goes into the channel. It stays yours until it is used.",
            &format!("required {decimal}"),
        )
        + &typed(
            "key-ceiling",
            "ceiling",
            "Ceiling",
            "What the gateway may claim at most for now: what you risk. Empty: a tenth of the amount.",
            decimal,
        )
        + &typed(
            "key-name",
            "name",
            "Name of the key",
            "For yourself, such as \u{201c}laptop\u{201d}.",
            "maxlength=\"60\"",
        )
        + &limits("key")
        + "<div id=\"key-preview\" class=\"preview\" role=\"status\" data-local></div>\n";
    let words = "Your wallet signs; the key is made in this browser, and neither this portal nor the gateway sees more than its hash.";
    Act {
        action: "key-create",
        role: "owner",
        title: "Make a key",
        words,
        fields,
        button: "Check and make the key",
    }
    .html()
}

/// What a key may do, folded away.
fn limits(id: &str) -> String {
    let decimal = "inputmode=\"decimal\" maxlength=\"40\"";
    format!(
        "<details>\n<summary>Limits of this key</summary>\n{}{}{}</details>\n",
        typed(
            &format!("{id}-day"),
            "per_day",
            "Most in a day",
            "In the coin that pays; days are of UTC. Empty: no limit.",
            decimal
        ),
        typed(&format!("{id}-total"), "total", "Most in all", "Empty: no limit.", decimal),
        typed(
            &format!("{id}-models"),
            "models",
            "Only these models",
            "Names with commas between. Empty: all.",
            "maxlength=\"1000\" spellcheck=\"false\""
        ),
    )
}

fn one(shared: &Shared, view: &View, found: &Found) -> String {
    let coin = found.name.source.coin();
    let name = found.name.to_string();
    let key: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let shown = |units: u128| escape(&amount(shared, coin, units));
    let ended = found.rest() == 0;
    let state = match (&found.pending, ended) {
        (_, true) => "Ended: nothing is left in it.".to_owned(),
        (Some((asked, end)), _) => {
            format!("{} asked back; it can be had {}", shown(*asked), until(*end, view.now))
        }
        (None, _) => "Open.".to_owned(),
    };
    let mut html = format!(
        "<section class=\"position\" aria-labelledby=\"channel-{key}\">\n<h4 id=\"channel-{key}\">{}</h4>\n",
        escape(&earnest_report::words::capital(&found.name.words()))
    );
    html += &facts(&[
        ("State", state),
        ("Deposited, less what went back", shown(found.balance)),
        ("Claimed by the gateway so far", shown(found.claimed)),
        ("Left on the chain", shown(found.rest())),
        ("Withdrawal without the gateway takes", escape(&duration(found.channel.withdraw_delay))),
        ("Channel", format!("<code>{}</code>", found.id)),
    ]);
    html += &format!("<div class=\"gateway-state\" id=\"state-{key}\" data-local></div>\n");
    if ended && found.pending.is_none() {
        return html + "</section>\n";
    }
    let act = |action: &str, title: &str, words: &str, more: String, button: &str| {
        Act { action, role: "owner", title, words, fields: given("channel", &name) + &more, button }.html()
    };
    let decimal = "inputmode=\"decimal\" maxlength=\"40\"";
    if shared.gateway.is_some() && found.pending.is_none() {
        html += &act(
            "key-look",
            "How it stands at the gateway",
            "What was signed, charged and reserved, and its keys. Your wallet signs the question.",
            String::new(),
            "Ask the gateway",
        );
        html += "<details>\n<summary>Sign for more, deposit more, more keys</summary>\n";
        let field = typed(
            &format!("ceiling-{key}"),
            "ceiling",
            "Ceiling in all",
            "What the gateway may claim in all from this channel, what it has claimed included.",
            &format!("required {decimal}"),
        );
        html += &act("key-renew", "Sign for more", "", field, "Sign for more");
        let field = typed(
            &format!("amount-{key}"),
            "amount",
            "Amount more",
            "It stays yours until it is used.",
            &format!("required {decimal}"),
        );
        html += &act("key-top-up", "Deposit more", "", field, "Deposit more");
        let fields = typed(
            &format!("name-{key}"),
            "name",
            "Name of the key",
            "For yourself.",
            "maxlength=\"60\"",
        ) + &typed(
            &format!("first-{key}"),
            "ceiling",
            "Ceiling in all",
            "Only where nothing was signed for this channel yet, or to sign for more. Empty: as it stands.",
            decimal,
        ) + &limits(&format!("more-{key}"));
        html += &act(
            "key-another",
            "Make another key",
            "It pays from the same channel.",
            fields,
            "Make another key",
        );
        html += "</details>\n<details>\n<summary>Revoke a key, withdraw</summary>\n";
        let field = typed(
            &format!("revoke-{key}"),
            "key",
            "Public name of the key",
            "It begins with key_, as the gateway lists it; not the secret.",
            "required maxlength=\"40\" spellcheck=\"false\"",
        );
        html += &act("key-revoke", "Revoke a key", "It is answered 401 from then on.", field, "Revoke");
        html += &act(
            "key-withdraw",
            "Withdraw by the gateway",
            "At once: it claims what was used and sends back the rest. Ends the channel and its keys.",
            String::new(),
            "Withdraw",
        );
    } else {
        html += "<details open>\n<summary>Withdraw</summary>\n";
    }
    html += &match found.pending {
        None => act(
            "key-leave",
            "Withdraw without the gateway",
            &format!(
                "Asks the chain, and no one can refuse it; {} later you take what was not used. Ends the channel.",
                duration(found.channel.withdraw_delay)
            ),
            String::new(),
            "Begin the withdrawal",
        ),
        Some((_, end)) if view.now >= end => act(
            "key-end",
            "End the withdrawal",
            "The time is over: what was not used goes back.",
            String::new(),
            "Take it back",
        ),
        Some(_) => paragraph("The withdrawal has begun. Come back when its time is over."),
    };
    html + "</details>\n</section>\n"
}
