//! Prices that were promised: a rise waits for its notice however it is dressed up, the covenant stands in every
//! version, and only the issuer publishes.

use alloy_primitives::{Address, TxKind};
use alloy_sol_types::SolConstructor;
use earnest_chain::bindings::PriceList;
use earnest_chain::chain::ChainError;

use crate::story::START;
use crate::world::*;

const NOTICE: u64 = 30 * 86_400;
const INPUT: u8 = 0;
const CACHED: u8 = 1;
const OUTPUT: u8 = 2;
/// Most that a million model tokens of the covenant's tier may cost.
const PROMISED: u128 = 20;

fn entry(model: &str, unit: u8, credits: u128, cash: u64) -> PriceList::Entry {
    PriceList::Entry { model: model.into(), unit, credits, cash }
}

/// What stands at first.
fn first() -> Vec<PriceList::Entry> {
    vec![
        entry("small", INPUT, 10, 100),
        entry("small", OUTPUT, 20, 200),
        entry("large", INPUT, 100, 1_000),
        entry("large", CACHED, 50, 0),
        entry("large", OUTPUT, 400, 4_000),
    ]
}

fn setup(entries: Vec<PriceList::Entry>, tier: &str, tier_model: &str) -> PriceList::PriceListSetup {
    PriceList::PriceListSetup {
        issuer: who("issuer"),
        notice: u32::try_from(NOTICE).expect("a month"),
        tier: tier.into(),
        tierOutput: PROMISED,
        tierModel: tier_model.into(),
        entries,
    }
}

fn deploy_list(world: &mut World, setup: PriceList::PriceListSetup) -> Result<Address, ChainError> {
    let constructor = PriceList::constructorCall { setup };
    let code = [PriceList::BYTECODE.as_ref(), &constructor.abi_encode()].concat();
    let made = world.chain.send(who("deployer"), TxKind::Create, code.into())?;
    Ok(made.created.expect("a contract"))
}

struct Prices {
    world: World,
    list: Address,
}

impl Prices {
    fn new() -> Self {
        let mut world = World::new();
        let list = deploy_list(&mut world, setup(first(), "small", "small")).expect("deploys");
        Prices { world, list }
    }

    fn publish(&mut self, entries: Vec<PriceList::Entry>) -> u32 {
        let call = PriceList::publishCall { entries_: entries, tierModel_: "small".into() };
        self.world.does("issuer", self.list, &call);
        let all = (1..).take_while(|&version| {
            let call = PriceList::entriesCall { version };
            let data = alloy_sol_types::SolCall::abi_encode(&call).into();
            self.world.chain.call(Address::ZERO, self.list, data).is_ok()
        });
        all.last().expect("some")
    }

    fn refuses(&mut self, error: &str, name: &str, entries: Vec<PriceList::Entry>, tier_model: &str) {
        let call = PriceList::publishCall { entries_: entries, tierModel_: tier_model.into() };
        let slots =
            |world: &World, list| world.chain.slots(list).collect::<std::collections::BTreeMap<_, _>>();
        let before = slots(&self.world, self.list);
        self.world.refuses(error, name, self.list, &call);
        assert!(slots(&self.world, self.list) == before);
    }

    /// Version, from when, until when; seconds after [`START`].
    fn at(&mut self, secs: u64) -> (u32, u64, Option<u64>) {
        let call = PriceList::versionAtCall { time: alloy_primitives::U256::from(START + secs) };
        let turn = self.world.asks(self.list, &call);
        let until = turn.validUntil.to::<u64>();
        let open = until == (1 << 40) - 1;
        (turn.version, turn.validFrom.to::<u64>() - START, (!open).then(|| until - START))
    }

    /// When what is published now would take effect, in seconds from now.
    fn waits(&mut self, entries: Vec<PriceList::Entry>) -> u64 {
        let now = self.world.chain.time() - START;
        let version = self.publish(entries);
        [0, NOTICE]
            .into_iter()
            .find(|wait| self.at(now + wait).0 == version)
            .unwrap_or_else(|| panic!("version {version} is not in force at either time"))
    }
}

#[test]
fn only_the_issuer_publishes() {
    let mut prices = Prices::new();
    for name in ["gateway", "certifier", "guardian", "alice", "stranger", "deployer"] {
        prices.refuses("NotIssuer", name, first(), "small");
    }
    assert_eq!(prices.publish(first()), 2);
}

/// Each change is published alone to a list of its own.
#[test]
fn a_rise_waits_for_its_notice_however_it_is_dressed_up() {
    type Change = (&'static str, fn(&mut Vec<PriceList::Entry>));
    let rises: [Change; 18] = [
        ("a price in credits", |list| list[0].credits += 1),
        ("a price in cash", |list| list[0].cash += 1),
        ("cash up while credits fall", |list| (list[2].credits, list[2].cash) = (1, 1_001)),
        ("credits up while cash falls", |list| (list[2].credits, list[2].cash) = (101, 1)),
        ("one up while all others fall", |list| {
            list.iter_mut().for_each(|entry| entry.credits = 1);
            list[4].credits = 401;
        }),
        ("not sold for credits any more", |list| list[2].credits = 0),
        ("not sold for cash any more", |list| list[2].cash = 0),
        ("a unit gone", |list| drop(list.remove(2))),
        ("a price of reading from cache gone", |list| drop(list.remove(3))),
        ("a model gone", |list| list.truncate(2)),
        ("a model renamed", |list| list[2..].iter_mut().for_each(|entry| entry.model = "large-2".into())),
        ("a model spelled otherwise", |list| list[4].model = "Large".into()),
        ("another unit", |list| list[4].unit = 3),
        ("two prices changed for each other", |list| (list[0].unit, list[1].unit) = (OUTPUT, INPUT)),
        ("reading from cache, that cost what reading costs, now costs more", |list| {
            list.push(entry("small", CACHED, 11, 0));
        }),
        ("the same in cash", |list| list.push(entry("small", CACHED, 0, 101))),
        ("the same in the coin that it had no price in", |list| list[3].cash = 1_001),
        ("that and cheaper reading", |list| {
            list[0].credits = 5;
            list.insert(0, entry("small", CACHED, 11, 0));
        }),
    ];
    for (what, change) in rises {
        let mut prices = Prices::new();
        let mut list = first();
        change(&mut list);
        // The covenant's own model stays as it was promised.
        if list
            .iter()
            .any(|entry| entry.model == "small" && entry.unit == OUTPUT && entry.credits <= PROMISED)
        {
            assert_eq!(prices.waits(list), NOTICE, "{what}");
            assert_eq!(prices.at(NOTICE - 1).0, 1, "{what}");
        } else {
            prices.refuses("Uncovenanted", "issuer", list, "small");
        }
    }
}

#[test]
fn what_only_falls_takes_effect_at_once() {
    type Change = (&'static str, fn(&mut Vec<PriceList::Entry>));
    let falls: [Change; 10] = [
        ("nothing", |_| {}),
        ("one price", |list| list[0].credits -= 1),
        ("all", |list| list.iter_mut().for_each(|entry| entry.credits = 1)),
        ("another order", |list| list.reverse()),
        ("a new model", |list| list.push(entry("huge", OUTPUT, 10_000, 0))),
        ("a new unit", |list| list.push(entry("large", 3, 10_000, 0))),
        ("sold for cash too", |list| list[3].cash = 1_000),
        ("reading from cache for less", |list| list.push(entry("small", CACHED, 10, 100))),
        ("for less in one coin", |list| list.push(entry("small", CACHED, 1, 0))),
        ("of a model that reads nothing else", |list| list.push(entry("huge", CACHED, 10_000, 0))),
    ];
    for (what, change) in falls {
        let mut prices = Prices::new();
        let mut list = first();
        change(&mut list);
        assert_eq!(prices.waits(list), 0, "{what}");
    }
}

#[test]
fn a_rise_that_waits_is_cancelled_by_a_list_that_counts_at_once() {
    let mut prices = Prices::new();
    let list = prices.list;
    let mut dearer = first();
    dearer[4].credits = 500;
    assert_eq!(prices.publish(dearer.clone()), 2);
    prices.world.go_to(10);
    dearer[4].credits = 600;
    assert_eq!(prices.publish(dearer.clone()), 3);
    assert_eq!(prices.at(10), (1, 0, Some(NOTICE)));
    assert_eq!(prices.at(NOTICE), (2, NOTICE, Some(NOTICE + 10)));
    assert_eq!(prices.at(NOTICE + 10), (3, NOTICE + 10, None));

    // Against what is in force, not against what waits: 450 is below 500 and still a rise.
    let mut between = first();
    between[4].credits = 450;
    assert_eq!(prices.publish(between), 4);
    assert_eq!(prices.at(NOTICE + 10).0, 4);
    prices.world.go_to(20);
    assert_eq!(prices.publish(first()), 5);
    for time in [20, NOTICE, NOTICE + 10, 100 * NOTICE] {
        assert_eq!(prices.at(time), (5, 20, None));
    }
    assert_eq!(prices.at(19), (1, 0, Some(20)));

    // A notice later the same rise has waited in vain; published again it waits again.
    prices.world.go_to(2 * NOTICE);
    assert_eq!(prices.at(2 * NOTICE).0, 5);
    assert_eq!(prices.publish(dearer.clone()), 6);
    assert_eq!(prices.at(3 * NOTICE - 1).0, 5);
    prices.world.go_to(3 * NOTICE);
    assert_eq!(prices.at(3 * NOTICE).0, 6);
    // Now it is in force, what stood before it is a fall.
    assert_eq!(prices.publish(first()), 7);
    assert_eq!(prices.at(3 * NOTICE), (7, 3 * NOTICE, None));
    assert_eq!(prices.world.asks(list, &PriceList::entriesCall { version: 6 }), dearer);
    for version in [0, 8, u32::MAX] {
        let call = PriceList::entriesCall { version };
        prices.world.refuses("NoVersion", "stranger", list, &call);
    }
    let before = PriceList::versionAtCall { time: alloy_primitives::U256::from(START - 1) };
    prices.world.refuses("NoVersion", "stranger", list, &before);
}

#[test]
fn the_covenant_stands_in_every_version() {
    let mut prices = Prices::new();
    let with = |credits| {
        let mut list = first();
        list[1].credits = credits;
        list
    };
    prices.refuses("Uncovenanted", "issuer", with(21), "small");
    prices.refuses("Uncovenanted", "issuer", with(u128::MAX), "small");
    prices.refuses("Uncovenanted", "issuer", with(0), "small"); // for cash alone
    prices.refuses("Uncovenanted", "issuer", first(), "large");
    for other in ["", "none", "Small", "small ", "smal", "small\u{2}"] {
        prices.refuses("Uncovenanted", "issuer", first(), other);
    }
    prices.refuses("Uncovenanted", "issuer", first()[2..].to_vec(), "small");
    // Reading for so little is not writing for so little.
    let reads = vec![entry("cheap", INPUT, 1, 0), entry("cheap", CACHED, 1, 0)];
    prices.refuses("Uncovenanted", "issuer", [first(), reads].concat(), "cheap");
    // Another model may keep it, and then the first may go, after notice.
    let other = vec![entry("newer", OUTPUT, 20, 0)];
    let call =
        PriceList::publishCall { entries_: [first(), other.clone()].concat(), tierModel_: "newer".into() };
    prices.world.does("issuer", prices.list, &call);
    assert_eq!(prices.at(0).0, 2);
    let model = prices.world.asks(prices.list, &PriceList::tierModelCall { version: 2 });
    assert_eq!(model, "newer");
    let call = PriceList::publishCall { entries_: other, tierModel_: "newer".into() };
    prices.world.does("issuer", prices.list, &call);
    assert_eq!((prices.at(NOTICE - 1).0, prices.at(NOTICE).0), (2, 3));

    for (entries, model) in [(first(), "large"), (first()[2..].to_vec(), "small"), (with(21), "small")] {
        let refused =
            deploy_list(&mut prices.world, setup(entries, "small", model)).expect_err("no covenant");
        assert_eq!(name_of(&refused), "Uncovenanted");
    }
    deploy_list(&mut prices.world, setup(first(), "", "")).expect("without a covenant anything goes");
}

#[test]
fn a_list_that_cannot_be_is_not_published() {
    let mut prices = Prices::new();
    let with = |odd: PriceList::Entry| [first(), vec![odd]].concat();
    prices.refuses("NoEntries", "issuer", Vec::new(), "small");
    prices.refuses("Twice", "issuer", with(entry("small", OUTPUT, 20, 200)), "small");
    prices.refuses("Twice", "issuer", with(entry("large", CACHED, 1, 0)), "small");
    prices.refuses("BadUnit", "issuer", with(entry("large", 7, 1, 1)), "small");
    prices.refuses("BadUnit", "issuer", with(entry("large", 255, 1, 1)), "small");
    prices.refuses("NoPrice", "issuer", with(entry("other", OUTPUT, 0, 0)), "small");
    let long = "m".repeat(65);
    for name in ["", " small", "sm all", "small\n", "small\0", "grün", "\u{7f}", &long] {
        prices.refuses("BadModel", "issuer", with(entry(name, OUTPUT, 1, 1)), "small");
    }
    let many = |count: usize| {
        let more = (5..count).map(|index| entry(&format!("{index:0>64}"), OUTPUT, u128::MAX, u64::MAX));
        first().into_iter().chain(more).collect::<Vec<_>>()
    };
    prices.refuses("TooManyEntries", "issuer", many(97), "small");
    // As many as there may be, with the longest names, in one transaction; and again over itself, where all is compared.
    for version in [2, 3] {
        assert_eq!(prices.publish(many(96)), version);
        assert_eq!(prices.at(0).0, version);
    }
    let all = deploy_list(&mut prices.world, setup(many(96), "small", "small"));
    all.expect("as many can stand at first");
    for entries in [Vec::new(), with(entry("small", OUTPUT, 20, 200)), many(97)] {
        assert!(deploy_list(&mut prices.world, setup(entries, "small", "small")).is_err());
    }
}
