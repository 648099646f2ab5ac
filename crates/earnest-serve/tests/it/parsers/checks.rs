//! What must hold of every parser of bytes that come from outside, whatever the bytes. Used by the tests here and by the
//! fuzz targets in fuzz/: each takes any bytes, and panics where something does not hold.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use earnest_chain::key::Key;
use earnest_chain::voucher::{Channel, House, Settlement, SignedReceipt, signed_by};
use earnest_core::charge::{Service, Usage};
use earnest_serve::gateway::order::{Order, Signed};
use earnest_serve::gateway::prices::{Line, PriceBook};
use earnest_serve::gateway::receipt::{self, Receipt};
use earnest_serve::gateway::statement::Document;
use earnest_serve::openai::Endpoint;
use earnest_serve::openai::answer::Seen;
use earnest_serve::openai::dialect::{Bound, Dialect};
use earnest_serve::openai::events::{Events, data_of};
use earnest_serve::openai::fault::Fault;
use earnest_serve::openai::request::{Added, Asked};
use earnest_serve::provider::hello::{Hello, MOST_CONCURRENT, Offer, Realm, is_model_name};
use earnest_serve::provider::link_key::Agreement;
use earnest_serve::provider::meter::Meter;
use earnest_serve::provider::name::Names;
use earnest_serve::provider::usage::UsageClaim;
use serde_json::Value;

/// Takes any bytes.
type Check = fn(&[u8]);

/// Every parser, with the name of its seeds' folder.
pub const ALL: [(&str, Check); 7] = [
    ("request", request),
    ("answer", answer),
    ("hello", hello),
    ("order", order),
    ("receipt", receipt_),
    ("statement", statement),
    ("plan", plan),
];

const MOST: u64 = 100;

/// A request's body: what goes upstream is what came, with one model and bounds that the reserve covers, whatever the
/// settings are and whatever was refused before.
pub fn request(bytes: &[u8]) {
    for endpoint in Endpoint::ALL {
        let plain = Dialect { upstream: "another \"model\"".into(), ..Dialect::default() };
        let Ok(asked) = Asked::read(endpoint, bytes.to_vec().into(), &plain, MOST) else { continue };
        assert!(asked.most.usage.input >= bytes.len() as u64);
        let Ok(came) = serde_json::from_slice::<Value>(bytes) else { continue };
        let dropping =
            Dialect { drop: vec!["max_tokens".into(), "user".into(), "x".into()], ..plain.clone() };
        let dialects = [
            Dialect { bound: Bound::MaxTokens, ..plain.clone() },
            Dialect { bound: Bound::MaxCompletionTokens, ..plain.clone() },
            Dialect { bound: Bound::None, usage: false, ..plain.clone() },
            dropping,
            plain,
        ];
        for dialect in dialects {
            for bound in 0..3 {
                let added = Added { bound, no_usage: bound == 2, no_stream: bound == 1 };
                let body = asked.body(&dialect, added);
                let goes: Value = serde_json::from_slice(&body).expect("what goes out is JSON");
                sent(&asked, &dialect, added, &came, &goes);
            }
        }
    }
}

fn sent(asked: &Asked, dialect: &Dialect, added: Added, came: &Value, goes: &Value) {
    assert_eq!(goes["model"], dialect.upstream);
    let bounds = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let given: Vec<u64> = bounds.iter().filter_map(|name| goes[*name].as_u64()).collect();
    if asked.endpoint.service() == Service::Text {
        let must = added.bound == 0 && dialect.bound == Bound::AsAsked && dialect.drop.is_empty();
        assert!(!must || !given.is_empty(), "nothing bounds what is written");
        assert!(
            given.iter().all(|given| given.saturating_mul(asked.most.choices) <= asked.most.usage.output)
        );
    }
    assert_eq!(goes["stream"] == true, asked.stream);
    let streams = asked.stream && matches!(asked.endpoint, Endpoint::Chat | Endpoint::Completions);
    if streams && dialect.usage && !added.no_usage {
        assert_eq!(goes["stream_options"]["include_usage"], true, "the usage of every stream is asked for");
    }
    let ours =
        ["model", "max_tokens", "max_completion_tokens", "max_output_tokens", "stream_options", "stream"];
    for (name, value) in came.as_object().expect("an object") {
        let free = ours.contains(&name.as_str()) || dialect.drop.contains(name);
        assert!(free || goes[name] == *value, "{name} was changed");
    }
    for name in goes.as_object().expect("an object").keys() {
        assert!(ours.contains(&name.as_str()) || came.get(name).is_some(), "{name} was added");
    }
}

/// An upstream's answer, whole or in pieces: read the same however it is cut, and no text is counted that is not there.
pub fn answer(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut seen = Seen::default();
        let event = seen.read(bytes);
        let written = seen.written();
        assert!(written.bytes <= 3 * bytes.len() as u64 && written.estimate() <= written.bytes.max(1));
        if let Ok(event) = event {
            assert!(
                event.model_at.iter().all(|place| bytes[place.start] == b'"' && bytes[place.end - 1] == b'"')
            );
        }
        let _ = Fault::read(bytes);
    };
    read(bytes);
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    let cut = |size: usize| {
        let mut events = Events::default();
        let mut all: Vec<Vec<u8>> = Vec::new();
        for piece in bytes.chunks(size) {
            events.push(piece);
            while let Ok(Some(event)) = events.take() {
                all.extend(data_of(&event).map(|data| data.into_owned()));
            }
        }
        all.extend(data_of(&events.rest()).map(|data| data.into_owned()));
        all
    };
    let all = cut(size);
    assert_eq!(all, cut(bytes.len().max(1)), "cut otherwise, read otherwise");
    all.iter().for_each(|data| read(data));
    let most = Asked::read(Endpoint::Chat, br#"{"model":"m"}"#.to_vec().into(), &Dialect::default(), MOST);
    let most = most.expect("a request").most;
    let metered = |size: usize| {
        let mut meter = Meter::default();
        bytes.chunks(size).for_each(|piece| meter.read(piece));
        meter.end();
        (meter.usage(&most), meter.chunks())
    };
    let read = metered(size);
    assert!(read.0.is_none_or(|usage| usage.cached <= usage.prompt));
}

fn realm() -> Realm {
    Realm { chain_id: 31_337, revenue: Default::default() }
}

/// Headers of a hello and trailers of a usage claim, one a line: nobody's signature or seal is found where there is none.
pub fn hello(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|&byte| byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    let key = Key::from_words("nobody in the headers");
    let agreement = Agreement::default();
    let link_key = agreement.with(&agreement.public(), b"nobody's").expect("a public key");
    if let Ok(hello) = Hello::read(&headers) {
        assert!(hello.offer.models.iter().all(|name| is_model_name(name)));
        assert!(hello.offer.ask <= 10_000 && (1..=MOST_CONCURRENT).contains(&hello.offer.concurrency));
        assert_eq!(Offer::read(&hello.offer.canonical()).ok().as_ref(), Some(&hello.offer));
        // What is read is what was signed: written again, it is read again as the same.
        let again = Hello::read(&hello.headers()).expect("its own headers");
        assert_eq!(
            (again.provider, &again.offer, again.nonce()),
            (hello.provider, &hello.offer, hello.nonce())
        );
        let names = Names::of(std::slice::from_ref(&hello.offer.gateway)).unwrap_or_default();
        let is_signed = hello.check(&realm(), &names, &agreement).is_ok();
        assert!(!is_signed || hello.provider != key.address());
    }
    assert!(UsageClaim::verify(&headers, &link_key).is_err());
}

/// An order as it comes in, its channel and its voucher: what is followed is what stands in the signed bytes.
pub fn order(bytes: &[u8]) {
    let settlement = Settlement { chain_id: 31_337, at: Default::default() };
    if let Ok(signed) = serde_json::from_slice::<Signed<'_>>(bytes) {
        let id = settlement.channel_id(&signed.channel);
        assert_eq!(id.is_some(), signed.channel.withdraw_delay < 1 << 40);
        let digest = House::new(1, Default::default()).order(
            id.unwrap_or_default(),
            signed.order.get().as_bytes(),
            signed.time,
        );
        let key = Key::from_words("nobody's order");
        assert!(!signed_by(key.address(), digest, &signed.signature));
        same::<Channel>(&serde_json::to_vec(&signed.channel).expect("JSON"));
        same::<Order>(signed.order.get().as_bytes());
    }
    same::<Order>(bytes);
    same::<Channel>(bytes);
    let signature = &bytes[..bytes.len().min(80)];
    assert!(!signed_by(Default::default(), Default::default(), signature), "the address zero signs nothing");
}

/// What was read, written and read again, is the same.
fn same<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&value).expect("JSON");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("its own JSON"), value);
    }
}

/// A receipt, in any form in which it is handed out: without the gateway's signature it is nothing, and with it it charges
/// no more than its own usage at its own prices.
pub fn receipt_(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let house = House::new(31_337, Default::default());
    let key = Key::from_words("a gateway");
    if let Ok(signed) = receipt::read(&text) {
        assert!(Receipt::verify(&signed, house, key.address()).is_err());
        same::<SignedReceipt>(&serde_json::to_vec(&signed).expect("JSON"));
        let signed = SignedReceipt::sign(house, &key, signed.receipt);
        if let Ok(receipt) = Receipt::verify(&signed, house, key.address()) {
            let cost = receipt.rates.charge(receipt.service, receipt.usage).expect("a sum");
            assert!(receipt.charge <= cost);
        }
    }
    same::<Receipt>(bytes);
}

/// A statement's document, and lines of a price list: trees and sums without overflow.
pub fn statement(bytes: &[u8]) {
    same::<Document>(bytes);
    if let Ok(document) = serde_json::from_slice::<Document>(bytes) {
        let tree = document.tree();
        for earned in document.providers.iter().take(8) {
            assert!(tree.proof(earned.leaf()).is_some());
        }
    }
    let number = |at: usize| bytes.get(at).map_or(0, |&byte| u64::MAX >> (byte % 64));
    let lines = bytes.chunks(9).take(100).map(|piece| Line {
        model: String::from_utf8_lossy(&piece[piece.len() / 2..]).into_owned(),
        unit: piece[0],
        credits: u128::from(number(piece.len())) << 64 | u128::from(number(1)),
        cash: number(2),
    });
    let book = PriceBook::new(1, None, lines);
    let usage = Usage { input: number(3), cached: number(4), output: number(5) };
    for model in book.models() {
        for coin in
            [earnest_serve::gateway::journal::Coin::Credits, earnest_serve::gateway::journal::Coin::Cash]
        {
            let rates = book.rates(model, coin).expect("a listed one");
            for service in [Service::Text, Service::Embedding] {
                // Too much for a number is refused; nothing is for nothing.
                assert!(
                    rates.charge(service, usage).map_or(true, |charge| charge > 0 && rates.sell(service))
                );
            }
        }
    }
}

/// A plan.
pub fn plan(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(errors) = earnest_core::plan::Plan::read("plan.toml", &text) {
        assert!(!errors.to_string().is_empty());
    }
}
