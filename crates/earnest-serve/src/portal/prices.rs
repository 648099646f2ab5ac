//! The promised prices as the contract has them: the version in force, those to come with their day, those that were,
//! what changed from one to the next, and whether the covenant holds. All of it is the chain's word, none the gateway's.

use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, U256};
use axum::Json;
use axum::extract::{Query, State};
use axum::response::Response;
use earnest_chain::bindings::PriceList;
use earnest_chain::chain::{Chain, ChainError};
use earnest_core::charge::{Rates, Service, Usage};
use earnest_core::money::{Cash, Credits};
use earnest_core::plan::Time;
use earnest_core::plan::date::{duration, utc};
use earnest_core::price_list::{Entry, Unit};
use earnest_report::figure::{Coins, count, grouped, plain};
use earnest_report::page::markup::{Cell, details, escape, facts, heading, paragraph, table};
use serde_json::{Value, json};

use super::keeper::View;
use super::page::{Page, as_of, quoted, until};
use super::{At, Look, Problem, Shared, shown};

/// Newest versions that are read; what came before them is said to be left out.
const MOST_TURNS: usize = 50;
/// Times of the contract are below this.
const END: u64 = (1 << 40) - 1;
/// What a request reads and writes where its cost is shown.
const EXAMPLE: Usage = Usage { input: 1_000, cached: 0, output: 500 };

/// A version with the time from which it counts.
pub(super) struct Turn {
    pub(super) version: u32,
    pub(super) from: Time,
    pub(super) entries: Vec<Entry>,
    /// Keeps the covenant.
    tier_model: String,
}

/// The price list as it was last read.
pub(super) struct Prices {
    at: Address,
    issuer: Address,
    notice_secs: u64,
    tier: String,
    tier_output: u128,
    /// In order of time, those that wait at the end.
    pub(super) turns: Vec<Turn>,
    /// There are earlier ones.
    is_cut: bool,
}

/// What was read, and at which head: nobody reads the same twice.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Option<(B256, Arc<Prices>)>>);

/// The price list now; `None` where the plan has none.
pub(super) async fn read(shared: &Arc<Shared>) -> Result<Option<Arc<Prices>>, Problem> {
    let Some(at) = shared.record.contracts.price_list else { return Ok(None) };
    let head = shared.view().head.hash;
    let shelf = |shared: &Shared| shared.prices.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((of, prices)) = shelf(shared)
        && of == head
    {
        return Ok(Some(prices));
    }
    let prices = shared.ask(move |_, chain| Prices::read(chain, at)).await?;
    let prices = Arc::new(prices.map_err(|_| Problem::silent())?);
    *shared.prices.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((head, prices.clone()));
    Ok(Some(prices))
}

impl Prices {
    /// Out of the contract, from the last version backwards.
    pub(super) fn read(chain: &mut Chain, at: Address) -> Result<Self, ChainError> {
        let mut turns = Vec::new();
        let mut time = END;
        let is_cut = loop {
            if turns.len() == MOST_TURNS {
                break true;
            }
            let found = match chain.call(at, &PriceList::versionAtCall { time: U256::from(time) }) {
                Ok(found) => found,
                // Before the first version there is none.
                Err(error) if error.name().as_deref() == Some("NoVersion") && !turns.is_empty() => {
                    break false;
                }
                Err(error) => return Err(error),
            };
            let (version, from) = (found.version, found.validFrom.to::<u64>());
            let entries = chain.call(at, &PriceList::entriesCall { version })?;
            let entries = entries.into_iter().filter_map(|entry| {
                let unit = Unit::from_number(entry.unit)?;
                Some(Entry { model: entry.model, unit, credits: entry.credits, cash: entry.cash })
            });
            let tier_model = chain.call(at, &PriceList::tierModelCall { version })?;
            turns.push(Turn { version, from, entries: entries.collect(), tier_model });
            match from.checked_sub(1) {
                Some(before) => time = before,
                None => break false,
            }
        };
        turns.reverse();
        Ok(Prices {
            at,
            issuer: chain.call(at, &PriceList::issuerCall {})?,
            notice_secs: chain.call(at, &PriceList::noticeCall {})?.into(),
            tier: chain.call(at, &PriceList::tierCall {})?,
            tier_output: chain.call(at, &PriceList::tierOutputCall {})?,
            turns,
            is_cut,
        })
    }

    /// Place of the version in force.
    fn now(&self, now: Time) -> usize {
        self.turns.iter().rposition(|turn| turn.from <= now).unwrap_or(0)
    }

    /// The version in force.
    pub(super) fn in_force(&self, now: Time) -> Option<&Turn> {
        self.turns.get(self.now(now))
    }

    /// Numbers that were given to versions which never came into force: a lower list took their place.
    fn cancelled(&self) -> Vec<u32> {
        let (Some(first), Some(last)) = (self.turns.first(), self.turns.last()) else { return Vec::new() };
        let there = |version: &u32| self.turns.iter().any(|turn| turn.version == *version);
        (first.version..last.version).filter(|version| !there(version)).collect()
    }

    /// The price that keeps the covenant in a version, in credits for a million model tokens written.
    fn covenant_price(&self, turn: &Turn) -> Option<u128> {
        let keeps = |entry: &&Entry| entry.model == turn.tier_model && entry.unit == Unit::Output;
        turn.entries.iter().find(keeps).map(|entry| entry.credits).filter(|&credits| credits > 0)
    }

    fn covenant_holds(&self, turn: &Turn) -> bool {
        self.covenant_price(turn).is_some_and(|price| price <= self.tier_output)
    }
}

/// What became of one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Same,
    Falls,
    /// Or is no longer sold for that coin.
    Rises,
    New,
}

/// A price of one unit of one model, before and after, in both coins.
struct Change<'a> {
    model: &'a str,
    unit: Unit,
    credits: (u128, u128),
    cash: (u128, u128),
}

impl Change<'_> {
    fn of(was: u128, is: u128) -> Move {
        match (was, is) {
            (was, is) if was == is => Move::Same,
            (0, _) => Move::New,
            (_, 0) => Move::Rises,
            (was, is) if is > was => Move::Rises,
            _ => Move::Falls,
        }
    }

    fn moves(&self) -> [Move; 2] {
        [Self::of(self.credits.0, self.credits.1), Self::of(self.cash.0, self.cash.1)]
    }

    fn rises(&self) -> bool {
        self.moves().contains(&Move::Rises)
    }
}

/// Every price that differs, in the order of the new list; what has gone comes last.
fn changes<'a>(old: &'a [Entry], new: &'a [Entry]) -> Vec<Change<'a>> {
    fn same<'a>(list: &'a [Entry], of: &Entry) -> Option<&'a Entry> {
        list.iter().find(|entry| entry.model == of.model && entry.unit == of.unit)
    }
    let pair = |entry: Option<&Entry>| entry.map_or((0, 0), |entry| (entry.credits, u128::from(entry.cash)));
    let gone = old.iter().filter(|entry| same(new, entry).is_none());
    let all = new.iter().chain(gone).map(|entry| {
        let (was, is) = (pair(same(old, entry)), pair(same(new, entry)));
        Change { model: &entry.model, unit: entry.unit, credits: (was.0, is.0), cash: (was.1, is.1) }
    });
    all.filter(|change| change.moves() != [Move::Same; 2]).collect()
}

/// What a price is for.
pub(super) fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Input => "a million model tokens read",
        Unit::Cached => "a million model tokens read from cache",
        Unit::Output => "a million model tokens written",
        Unit::Embedding => "a million model tokens embedded",
        Unit::Image => "an image",
        Unit::AudioSecond => "a second of audio",
        Unit::ComputeSecond => "a second of compute",
    }
}

/// Prices of a model in base units of a coin, as charges are made with them.
pub(super) fn rates(entries: &[Entry], model: &str, credits: bool) -> Rates {
    let price = |unit| {
        let entry = entries.iter().find(|entry| entry.model == model && entry.unit == unit)?;
        Some(if credits { entry.credits } else { entry.cash.into() }).filter(|&price| price > 0)
    };
    Rates {
        input: price(Unit::Input),
        cached: price(Unit::Cached),
        output: price(Unit::Output),
        embedding: price(Unit::Embedding),
    }
}

pub(super) async fn get(State(shared): At, Query(look): Query<Look>) -> Response {
    let prices = read(&shared).await;
    shown(State(shared), Query(look), move |shared, view, _| {
        let page = Page::new("Prices of the service", "/prices").live("standing", as_of(view));
        Some(match prices {
            Err(problem) => page.live("prices", silent(&problem)),
            Ok(None) => page.live(
                "prices",
                paragraph(
                    "The plan has no price list: no price is promised, and nothing is sold for credits yet.",
                ),
            ),
            Ok(Some(prices)) => page
                .live("prices", in_force(shared, view, &prices))
                .live("covenant", covenant(shared, view, &prices))
                .live("to-come", to_come(shared, view, &prices))
                .live("past", past(shared, view, &prices))
                .fixed("promise", promise(shared, &prices)),
        })
    })
}

/// Instead of what could not be asked for.
pub(super) fn silent(problem: &Problem) -> String {
    format!("<p class=\"problem\" role=\"alert\">{} {}</p>\n", escape(&problem.error), escape(&problem.hint))
}

fn credits(coins: &Coins, units: u128) -> String {
    if units == 0 { "not sold".to_owned() } else { coins.credits(Credits::from_units(units)) }
}

fn cash(coins: &Coins, units: u128) -> String {
    let units = u64::try_from(units).unwrap_or(u64::MAX);
    if units == 0 { "not sold".to_owned() } else { coins.cash(Cash::from_units(units)) }
}

fn in_force(shared: &Shared, view: &View, prices: &Prices) -> String {
    let coins = &shared.coins;
    let Some(turn) = prices.in_force(view.now) else { return paragraph("There is no version in force.") };
    let next = prices.turns.get(prices.now(view.now) + 1);
    let ends = match next {
        None => "another is published".to_owned(),
        Some(next) => until(next.from, view.now),
    };
    let mut html = facts(&[
        ("In force", format!("version {}", turn.version)),
        ("Since", escape(&utc(turn.from))),
        ("Until", ends),
        ("Notice before any rise", escape(&duration(prices.notice_secs))),
    ]);
    let rows: Vec<Vec<Cell>> = turn
        .entries
        .iter()
        .map(|entry| {
            vec![
                Cell::words(plain(&entry.model)),
                Cell::words(unit_words(entry.unit)),
                Cell::figure(credits(coins, entry.credits)),
                Cell::figure(cash(coins, entry.cash.into())),
            ]
        })
        .collect();
    html += &table("What it costs now", &["Model", "For", "In credits#", "In cash#"], &rows, false);
    html + &examples(coins, turn)
}

/// What one request costs, charged as the gateway charges.
fn examples(coins: &Coins, turn: &Turn) -> String {
    let mut models: Vec<&str> = Vec::new();
    for entry in &turn.entries {
        if !models.contains(&entry.model.as_str()) {
            models.push(&entry.model);
        }
    }
    let rows: Vec<Vec<Cell>> = models
        .into_iter()
        .filter_map(|model| {
            let of = |credits| rates(&turn.entries, model, credits).charge(Service::Text, EXAMPLE).ok();
            let (in_credits, in_cash) = (of(true), of(false));
            in_credits.or(in_cash)?;
            Some(vec![
                Cell::words(plain(model)),
                Cell::figure(credits(coins, in_credits.unwrap_or(0))),
                Cell::figure(cash(coins, in_cash.unwrap_or(0))),
            ])
        })
        .collect();
    let caption = format!(
        "A request that reads {} model tokens and writes {}",
        grouped(&EXAMPLE.input.to_string()),
        EXAMPLE.output
    );
    match rows.is_empty() {
        true => String::new(),
        false => {
            table(&caption, &["Model", "In credits#", "In cash#"], &rows, false)
                + &paragraph(
                    "A charge is rounded up once, to the coin\u{2019}s smallest unit, and is at least one of it.",
                )
        }
    }
}

fn covenant(shared: &Shared, view: &View, prices: &Prices) -> String {
    let mut html = heading(2, "covenant-heading", "The covenant");
    if prices.tier.is_empty() {
        return html + &paragraph("This price list has none: a model may leave it after the notice.");
    }
    let coins = &shared.coins;
    let bound = credits(coins, prices.tier_output);
    html += &format!(
        "<p>At all times, a model of the tier \u{201c}{}\u{201d} is sold at {} or less for a million model tokens written. Retiring the \
         cheap model does not break the promise.</p>\n",
        quoted(&prices.tier),
        escape(&bound)
    );
    let words = |turn: &Turn| {
        let price = prices
            .covenant_price(turn)
            .map_or("no price in credits".to_owned(), |price| credits(coins, price));
        format!("{} at {}", quoted(&turn.tier_model), escape(&price))
    };
    let now = prices.now(view.now);
    for (at, turn) in prices.turns.iter().enumerate().skip(now) {
        let holds = prices.covenant_holds(turn);
        let (class, tag) = if holds { ("good", "Holds") } else { ("bad", "Does not hold") };
        let when = match at == now {
            true => "Now".to_owned(),
            false => format!("From {}", escape(&utc(turn.from))),
        };
        html += &format!(
            "<p class=\"verdict {class}\"><span class=\"tag\">{tag}</span> {when}, version {}: the issuer names {}.</p>\n",
            turn.version,
            words(turn)
        );
    }
    let plan = shared.plan.price_list.as_ref().and_then(|list| list.covenant.as_ref());
    if let Some(covenant) = plan {
        html +=
            &format!("<p>The plan\u{2019}s benchmark for this tier: {}.</p>\n", quoted(&covenant.benchmark));
    }
    html + &paragraph(
        "The contract refuses a version without such a model at such a price. Whether the model that is named meets the \
         benchmark no contract can see: measure it.",
    )
}

fn to_come(shared: &Shared, view: &View, prices: &Prices) -> String {
    let mut html = heading(2, "to-come-heading", "Versions to come");
    let now = prices.now(view.now);
    if prices.turns.len() <= now + 1 {
        return html + &paragraph("None: the prices above stay until another version is published.");
    }
    for pair in prices.turns[now..].windows(2) {
        html += &format!(
            "<h3>Version {}</h3>\n<p>Takes effect {}.</p>\n{}",
            pair[1].version,
            until(pair[1].from, view.now),
            change_table(shared, &pair[0], &pair[1])
        );
    }
    html
}

fn change_table(shared: &Shared, old: &Turn, new: &Turn) -> String {
    let coins = &shared.coins;
    let list = changes(&old.entries, &new.entries);
    let word = |change: Move| match change {
        Move::Same => "",
        Move::Falls => "falls",
        Move::Rises => "rises",
        Move::New => "new",
    };
    let cell = |(was, is): (u128, u128), shown: &dyn Fn(u128) -> String| match Change::of(was, is) {
        Move::Same => Cell::figure("as before"),
        Move::New => Cell::figure(format!("{} (new)", shown(is))),
        Move::Rises if is == 0 => Cell::figure(format!("{} \u{2192} ends", shown(was))),
        change => Cell::figure(format!("{} \u{2192} {} ({})", shown(was), shown(is), word(change))),
    };
    let rows: Vec<Vec<Cell>> = list
        .iter()
        .map(|change| {
            vec![
                Cell::words(plain(change.model)),
                Cell::words(unit_words(change.unit)),
                cell(change.credits, &|units| credits(coins, units)),
                cell(change.cash, &|units| cash(coins, units)),
            ]
        })
        .collect();
    let caption = format!("What changes from version {} to version {}", old.version, new.version);
    match rows.is_empty() {
        true => paragraph("No price changes with it."),
        false => table(&caption, &["Model", "For", "In credits#", "In cash#"], &rows, false),
    }
}

fn past(shared: &Shared, view: &View, prices: &Prices) -> String {
    let mut html = heading(2, "past-heading", "What it was before");
    let now = prices.now(view.now);
    let taken = &prices.turns[..=now.min(prices.turns.len().saturating_sub(1))];
    if let ([first, .., last], false) = (taken, prices.is_cut) {
        let list = changes(&first.entries, &last.entries);
        let rises = list.iter().filter(|change| change.rises()).count();
        let words = match (list.len(), rises) {
            (0, _) => "Every price is what it was at first.".to_owned(),
            (_, 0) => {
                let words = count(list.len(), "price");
                format!("Against version {}, lower or new: {words}. None is higher.", first.version)
            }
            (_, rises) => {
                format!("Against version {}, higher or gone: {}.", first.version, count(rises, "price"))
            }
        };
        html += &paragraph(&words);
    }
    if taken.len() < 2 {
        html += &paragraph("Nothing: this is the first version.");
    }
    for pair in taken.windows(2).rev() {
        let summary = format!("Version {}, since {}", pair[1].version, utc(pair[1].from));
        html += &details(&summary, &change_table(shared, &pair[0], &pair[1]));
    }
    if prices.is_cut {
        html += &paragraph("Versions before these are left out here; the contract has them all.");
    } else if let Some(first) = prices.turns.first() {
        html += &paragraph(&format!("Version {} is of {}.", first.version, utc(first.from)));
    }
    let cancelled: Vec<String> = prices.cancelled().iter().map(ToString::to_string).collect();
    if !cancelled.is_empty() {
        html += &paragraph(&format!(
            "Published and never in force, because a list that raised nothing took their place: version {}.",
            cancelled.join(", ")
        ));
    }
    html
}

/// What was promised, and where it is kept.
fn promise(shared: &Shared, prices: &Prices) -> String {
    let mut html = heading(2, "promise-heading", "The promise");
    html += &paragraph(&format!(
        "No price rises, no model and no unit leaves the list, and no coin is refused for one, without {} of notice. A list \
         that only lowers prices or adds to them takes effect at once. The contract keeps this by itself: nobody can change it, \
         the issuer included.",
        duration(prices.notice_secs)
    ));
    if !shared.plan.terms.promises.is_empty() {
        let items: String = shared
            .plan
            .terms
            .promises
            .iter()
            .map(|promise| format!("<li>{}</li>\n", quoted(promise)))
            .collect();
        html += &format!("<p>The terms promise:</p>\n<ul>\n{items}</ul>\n");
    }
    html += &facts(&[
        ("Price list", format!("<code>{}</code>", prices.at)),
        ("Published by the issuer alone", format!("<code>{}</code>", prices.issuer)),
    ]);
    html + "<p><a href=\"/prices.json\" download>prices.json</a> has every version as numbers; \
            <a href=\"/plan.toml\" download>plan.toml</a> what was planned. Each <a href=\"/keys\">receipt</a> names the version \
            that it was charged by.</p>\n"
}

/// Every version as the contract has it, in base units, for programs.
pub(super) async fn json(State(shared): At) -> Result<Json<Value>, Problem> {
    let prices = read(&shared).await?.ok_or_else(|| Problem::missing("The plan has no price list."))?;
    let now = shared.view().now;
    let mut versions = Vec::new();
    for (at, turn) in prices.turns.iter().enumerate() {
        let entries: Vec<Value> = turn
            .entries
            .iter()
            .map(|entry| {
                json!({"model": entry.model, "unit": entry.unit, "credits": entry.credits.to_string(), "cash": entry.cash.to_string()})
            })
            .collect();
        versions.push(json!({
            "version": turn.version,
            "valid_from": turn.from,
            "valid_until": prices.turns.get(at + 1).map(|next| next.from),
            "tier_model": turn.tier_model,
            "entries": entries,
        }));
    }
    Ok(Json(json!({
        "chain_id": shared.record.chain_id,
        "price_list": prices.at,
        "notice_secs": prices.notice_secs,
        "tier": prices.tier,
        "tier_output": prices.tier_output.to_string(),
        "in_force": prices.in_force(now).map(|turn| turn.version),
        "versions": versions,
        "cancelled": prices.cancelled(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(model: &str, unit: Unit, credits: u128, cash: u64) -> Entry {
        Entry { model: model.into(), unit, credits, cash }
    }

    #[test]
    fn what_changed_is_what_the_contract_calls_a_rise() {
        let old =
            [entry("a", Unit::Input, 5, 5), entry("a", Unit::Output, 20, 20), entry("b", Unit::Image, 1, 0)];
        let new =
            [entry("a", Unit::Input, 5, 5), entry("a", Unit::Output, 19, 0), entry("c", Unit::Input, 1, 0)];
        let list = changes(&old, &new);
        let seen: Vec<_> = list.iter().map(|change| (change.model, change.moves(), change.rises())).collect();
        assert_eq!(
            seen,
            [
                ("a", [Move::Falls, Move::Rises], true),
                ("c", [Move::New, Move::Same], false),
                ("b", [Move::Rises, Move::Same], true),
            ]
        );
        assert!(changes(&old, &old).is_empty());
    }
}
