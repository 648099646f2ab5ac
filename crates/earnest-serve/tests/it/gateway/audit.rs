//! What the gateway takes it can claim; what it keeps has bounds; what it does not see it does not lend on.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, Bytes};
use earnest_chain::bindings::{Channels, Revenue};
use earnest_core::account::State;
use earnest_serve::chain::ChainThread;
use earnest_serve::gateway::journal::Entry;
use earnest_serve::gateway::order::{Order, Voucher, Wanted};
use earnest_serve::gateway::{books, now_ms};
use serde_json::Value;

use super::lab::*;

/// An order with a time of its own, so that many can follow one another.
async fn ordered(lab: &Lab, holder: &Holder, order: &Order, time: u64) -> (u16, Value) {
    let text = serde_json::to_string(order).unwrap();
    let signature = holder.session.sign(lab.place_of_orders(holder, &text, time));
    lab.order_as(&holder.channel, &text, time, &signature).await
}

fn with_last(signature: &Bytes, last: u8) -> Bytes {
    [&signature[..64], &[last]].concat().into()
}

/// Status of one answer; where it was given, its charge is written down.
async fn asks(lab: &Lab, holder: &Holder) -> u16 {
    let (status, _) = lab.chat(&holder.secret, &hello()).await;
    lab.charged_at_rest(&holder.secret).await;
    status
}

/// A chain that nobody answers for.
pub(super) fn nowhere() -> ChainThread {
    ChainThread::elsewhere().0
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_voucher_is_taken_is_paid() {
    let lab = Lab::open("every-voucher").await;
    let holder = lab.holder_with("alice", 10_000, 1_000, Wanted::default()).await;
    let start = now_ms() + 10_000;
    let mut taken = 0;
    for last in 0..=u8::MAX {
        let ceiling = 1_001 + u128::from(last);
        let good = lab.voucher(&holder, ceiling).signature;
        let voucher = Voucher { ceiling, signature: with_last(&good, last) };
        let (status, answer) =
            ordered(&lab, &holder, &Order::Renew { voucher }, start + u64::from(last)).await;
        let expected = last == good[64] || last.checked_add(27) == Some(good[64]);
        assert_eq!(status, if expected { 200 } else { 403 }, "{last}: {answer}");
        if expected {
            taken += 1;
            assert_eq!(lab.held(&holder).signature, good, "what is kept is what the contract takes");
        }
    }
    // At 0 and 27, at 1 and 28: of which a signature is, is chance.
    assert!(taken <= 4);
    let mut body = hello();
    body["max_tokens"] = 3.into();
    assert_eq!(lab.chat(&holder.secret, &body).await.0, 200);
    lab.round().await.unwrap();
    assert_eq!(lab.on_chain(&holder).1, cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_whose_signatures_only_a_contract_knows_are_refused_by_name() {
    let lab = Lab::open("no-authorizer").await;
    let mut holder = lab.channel("alice", 0);
    holder.channel.payer_authorizer = Address::ZERO;
    lab.deposit(&holder, 1_000);
    let (hash, voucher) = (books::hash_of(&holder.secret), Some(lab.voucher(&holder, 1_000)));
    let order = Order::CreateKey { hash, name: "alice".into(), limits: Wanted::default(), voucher };
    let (status, answer) = lab.order(&holder, &order).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("no payerAuthorizer"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_refused_closes_its_channel_and_holds_up_no_other() {
    let mut lab = Lab::open("bad-row").await;
    let [bad, good] = [lab.holder("mallory", 1_000_000).await, lab.holder("alice", 1_000_000).await];
    lab.change(&bad, |held| held.signature = with_last(&held.signature, 29));
    for holder in [&bad, &good] {
        assert_eq!(asks(&lab, holder).await, 200);
    }
    lab.round().await.unwrap();
    assert_eq!([&bad, &good].map(|holder| lab.on_chain(holder).1), [0, cost(7, 3)]);
    assert_eq!(lab.statement(), (1, cost(7, 3), 0), "what stands is stated");
    assert_eq!((lab.held(&bad).state, lab.held(&good).state), (State::Closing, State::Open));
    for round in 0..3 {
        assert_eq!(asks(&lab, &bad).await, 429, "{round}");
        assert_eq!(asks(&lab, &good).await, 200, "{round}");
        lab.round().await.unwrap();
    }
    assert_eq!(lab.on_chain(&good).1, 4 * cost(7, 3));
    // It is written down.
    lab.restart().await;
    assert_eq!(asks(&lab, &bad).await, 429);
    assert_eq!(asks(&lab, &good).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_channels_fault_closes_none() {
    let lab = Lab::open("rotated").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let rotate = |to: Address| {
        let at = lab.at.revenue;
        lab.chain
            .ask(move |chain| chain.send(&key("issuer"), at, &Revenue::rotateCall { which: 0, holder: to }))
            .unwrap()
    };
    assert_eq!(asks(&lab, &holder).await, 200);
    rotate(key("another").address());
    let error = lab.round().await.unwrap_err().to_string();
    assert!(error.contains("NotInRole"), "{error}");
    assert_eq!(lab.held(&holder).state, State::Open);
    assert_eq!(asks(&lab, &holder).await, 200);
    rotate(key("gateway").address());
    lab.round().await.unwrap();
    assert_eq!(lab.on_chain(&holder).1, 2 * cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_that_were_kept_are_mended_or_their_channels_closed() {
    let mut lab = Lab::open("kept-vouchers").await;
    let [alice, mallory] = [lab.holder("alice", 1_000_000).await, lab.holder("mallory", 1_000_000).await];
    let good = lab.held(&alice).signature.clone();
    for (holder, bad) in [(&alice, with_last(&good, 200)), (&mallory, good.clone())] {
        lab.gateway.journal.write(Entry::Voucher(lab.id(holder), 1_000_000, bad));
    }
    lab.restart().await;
    assert_eq!(lab.held(&alice).signature, good);
    assert_eq!(asks(&lab, &alice).await, 200);
    assert_eq!(asks(&lab, &mallory).await, 429);
    assert_eq!(lab.held(&mallory).state, State::Closing);
    lab.round().await.unwrap();
    assert_eq!(lab.on_chain(&alice).1, cost(7, 3));
    // What was mended is kept so.
    lab.restart().await;
    assert_eq!(lab.held(&alice).signature, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credit_is_given_where_the_chain_was_not_seen_for_long() {
    let mut lab = Lab::open("blind").await;
    let holder = lab.holder("alice", 1_000_000).await;
    assert_eq!(asks(&lab, &holder).await, 200);
    // A third of 900 seconds.
    let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs));
    lab.change(&holder, |held| held.seen = ago(290));
    assert_eq!(asks(&lab, &holder).await, 200);
    lab.change(&holder, |held| held.seen = ago(301));
    let asked = lab.oracle.count();
    let response = lab.post(&holder.secret, "/chat/completions", &hello()).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let error: Value = response.json().await.unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("has not seen the chain"), "{error}");
    assert_eq!((lab.oracle.count(), lab.held(&holder).reserved), (asked, 0));
    lab.round().await.unwrap();
    assert_eq!(asks(&lab, &holder).await, 200);
    // A gateway that has just started has seen nothing.
    lab.restart_by([nowhere(), nowhere()], |_| {}).await;
    lab.gateway.set_prices(prices(&lab));
    assert_eq!(asks(&lab, &holder).await, 503);
    lab.restart().await;
    assert_eq!(asks(&lab, &holder).await, 200);
}

pub(super) fn prices(lab: &Lab) -> earnest_serve::gateway::prices::PriceBook {
    let (chain, sender) = (lab.chain.clone(), lab.chain.clone());
    let till = earnest_serve::gateway::till::Till {
        chain,
        sender,
        key: key("gateway"),
        at: lab.at.clone(),
        confirmations: 0,
    };
    till.prices(0).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_for_its_block_keeps_no_look_waiting() {
    let mut lab = Lab::with("stuck", |settings| settings.claim_every = Duration::from_millis(200)).await;
    let holder = lab.holder("alice", 1_000_000).await;
    // From here on what is sent never ends.
    let (stuck, _desk) = ChainThread::elsewhere();
    lab.restart_by([lab.chain.clone(), stuck], |_| {}).await;
    assert_eq!(asks(&lab, &holder).await, 200);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let (at, wallet, config) = (lab.at.channels, holder.wallet.clone(), holder.channel.config());
    let call = Channels::initiateWithdrawCall { config, amount: 1_000 };
    lab.chain.ask(move |chain| chain.send(&wallet, at, &call)).unwrap();
    for _ in 0..100 {
        if lab.held(&holder).state != State::Open {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the withdrawal was not seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_older_than_the_chain_charges_what_was_claimed() {
    let mut lab = Lab::open("restored").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let ways = [lab.chain.clone(), lab.chain.clone()];
    lab.restart_by(ways.clone(), |folder| {
        for ending in ["", "-wal"] {
            let file = |name| folder.join(format!("{name}{ending}"));
            std::fs::copy(file("gateway.db"), file("copy")).unwrap();
        }
    })
    .await;
    for _ in 0..3 {
        assert_eq!(asks(&lab, &holder).await, 200);
    }
    lab.round().await.unwrap();
    lab.restart_by(ways, |folder| {
        std::fs::remove_file(folder.join("gateway.db-shm")).unwrap();
        for ending in ["", "-wal"] {
            let file = |name| folder.join(format!("{name}{ending}"));
            std::fs::rename(file("copy"), file("gateway.db")).unwrap();
        }
    })
    .await;
    let held = lab.held(&holder);
    assert_eq!((held.charged, held.claimed, held.state), (3 * cost(7, 3), 3 * cost(7, 3), State::Open));
    assert_eq!(asks(&lab, &holder).await, 200);
    // It is written down, and counted once.
    lab.restart().await;
    assert_eq!(lab.charged(&holder.secret).await, 4 * cost(7, 3));
    lab.round().await.unwrap();
    assert_eq!(lab.on_chain(&holder).1, 4 * cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_made_while_the_gateway_serves_is_whole() {
    let mut lab = Lab::open("copy").await;
    let holder = lab.holder("alice", 100_000_000).await;
    let (client, url, secret) =
        (lab.client.clone(), format!("{}/v1/chat/completions", lab.base), holder.secret.clone());
    let serving = tokio::spawn(async move {
        let mut served = 0_u128;
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        while tokio::time::Instant::now() < until {
            let answer = client.post(&url).bearer_auth(&secret).json(&hello()).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            served += 1;
        }
        served
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (from, copy) = (lab.settings.folder.join("gateway.db"), lab.settings.folder.join("copy.db"));
    let to = copy.clone();
    // As `docs/gateway.md` says it.
    let copied = tokio::task::spawn_blocking(move || {
        let journal = rusqlite::Connection::open(from).unwrap();
        journal.busy_timeout(Duration::from_secs(10)).unwrap();
        journal.execute("VACUUM INTO ?", [to.to_str().unwrap()]).unwrap();
    });
    copied.await.unwrap();
    let served = serving.await.unwrap();
    let all = served * cost(7, 3);
    assert_eq!(lab.charged_at_rest(&holder.secret).await, all);
    let text: String = {
        let kept = rusqlite::Connection::open(&copy).unwrap();
        let sound: String = kept.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        kept.query_row("SELECT charged FROM channels", [], |row| row.get(0)).unwrap()
    };
    let charged: u128 = text.parse().unwrap();
    assert!((1..all).contains(&charged), "the copy is of a moment in between: {charged} of {all}");
    lab.round().await.unwrap();
    assert_eq!(lab.on_chain(&holder).1, all);
    let ways = [lab.chain.clone(), lab.chain.clone()];
    lab.restart_by(ways, |folder| {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.join(format!("gateway.db{ending}")));
        }
        std::fs::rename(&copy, folder.join("gateway.db")).unwrap();
    })
    .await;
    let held = lab.held(&holder);
    assert_eq!((held.charged, held.claimed), (all, all));
    assert_eq!(asks(&lab, &holder).await, 200);
    assert_eq!(lab.charged_at_rest(&holder.secret).await, all + cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_for_another_time_have_a_bound() {
    let lab = Lab::with("bounded-answers", |settings| settings.bounds.answers_of_channel = 300).await;
    let holder = lab.holder("alice", 1_000_000).await;
    let keyed = async |name: &str| {
        let request = lab.post(&holder.secret, "/chat/completions", &hello()).header("idempotency-key", name);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.headers().contains_key("x-earnest-replayed"))
    };
    // One answer fits, a second takes its place.
    assert_eq!(keyed("first").await, (200, false));
    assert_eq!(keyed("first").await, (200, true));
    assert_eq!(keyed("second").await, (200, false));
    assert_eq!(keyed("second").await, (200, true));
    let asked = lab.oracle.count();
    assert_eq!(keyed("first").await, (409, false), "it is never run again");
    assert_eq!((lab.oracle.count(), lab.charged(&holder.secret).await), (asked, 2 * cost(7, 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_ends_admission() {
    let lab = Lab::with("full-disk", |settings| settings.bounds.free = u64::MAX).await;
    let holder = lab.holder("alice", 1_000_000).await;
    let (status, answer) = lab.chat(&holder.secret, &hello()).await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("disk is full"), "{answer}");
    assert_eq!(lab.oracle.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cause_no_write() {
    let lab = Lab::open("strangers").await;
    let holder = lab.holder("alice", 1_000_000).await;
    assert_eq!(asks(&lab, &holder).await, 200);
    lab.charged_at_rest(&holder.secret).await;
    lab.round().await.unwrap();
    let before = lab.gateway.journal.write(Entry::Flush);
    for name in ["bob", "carol"] {
        let stranger = lab.channel(name, 0);
        let (hash, voucher) = (books::hash_of(&stranger.secret), Some(lab.voucher(&stranger, 1)));
        let order = Order::CreateKey { hash, name: name.into(), limits: Wanted::default(), voucher };
        assert_eq!(lab.order(&stranger, &order).await.0, 429);
        assert_eq!(lab.order(&stranger, &Order::Look).await.0, 404);
    }
    assert_eq!(lab.get("", "/earnest/statements/cash").await.0, 200);
    assert_eq!(lab.order(&holder, &Order::Look).await.0, 200, "nothing is new");
    assert_eq!(lab.gateway.journal.write(Entry::Flush), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_worth_its_gas_waits_until_the_channel_ends() {
    let each = cost(7, 3);
    let lab = Lab::with("least", |settings| settings.claim_least = [1, 3 * cost(7, 3)]).await;
    // On the day of the week on which all is claimed, this is its round.
    lab.round().await.unwrap();
    let holder = lab.holder("alice", 1_000_000).await;
    for claimed in [0, 0, 3, 3] {
        assert_eq!(asks(&lab, &holder).await, 200);
        lab.round().await.unwrap();
        assert_eq!(lab.on_chain(&holder).1, claimed * each);
    }
    let key = lab.gateway.books.key(books::hash_of(&holder.secret)).unwrap();
    assert!(key.could_pay());
    assert_eq!(lab.order(&holder, &Order::Withdraw).await.0, 200);
    assert_eq!(lab.on_chain(&holder), (4 * each, 4 * each));
    assert!(!key.could_pay());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_once_however_many_ask_at_once() {
    let lab = Lab::open("one-key").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let hash = books::hash_of("sk-earnest-the-same");
    let start = now_ms() + 20_000;
    let orders = (0..20_u64).map(|number| {
        let order =
            Order::CreateKey { hash, name: format!("{number}"), limits: Wanted::default(), voucher: None };
        let (lab, holder) = (&lab, &holder);
        async move { ordered(lab, holder, &order, start + number).await.0 }
    });
    let answers = futures_util::future::join_all(orders).await;
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|status| [200, 409].contains(status)), "{answers:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_looks_into_a_folder_that_the_gateway_made() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::open("private").await;
    let mode = std::fs::metadata(&lab.gateway.settings.folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// The public name of a key is the beginning of its hash, and stands in every receipt: whoever makes another hash that
/// begins alike has nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_key_with_anothers_name() {
    let mut lab = Lab::open("same-name").await;
    let alice = lab.holder("alice", 1_000_000).await;
    let bob = lab.holder("bob", 1_000_000).await;
    assert_eq!(asks(&lab, &alice).await, 200);
    let mut alike = books::hash_of(&alice.secret);
    alike[8..].fill(7);
    let id = books::key_id(alike);
    assert_eq!(id, books::key_id(books::hash_of(&alice.secret)));
    let limits = || Wanted { total: Some(1), ..Wanted::default() };
    let create =
        |name: &str| Order::CreateKey { hash: alike, name: name.into(), limits: limits(), voucher: None };
    let start = now_ms() + 10_000;
    for (turn, holder) in (0..).zip([&bob, &alice]) {
        let (status, answer) = ordered(&lab, holder, &create("mine"), start + turn).await;
        assert!(status >= 400, "{status} {answer}");
    }
    // What would write over the row does not, either.
    let row = lab.gateway.books.key(books::hash_of(&bob.secret)).unwrap().row.read().unwrap().clone();
    let forged =
        earnest_serve::gateway::journal::KeyRow { id: id.clone(), hash: alike, revoked: true, ..row };
    lab.gateway.journal.write(Entry::Key(forged));
    lab.restart().await;
    assert_eq!(asks(&lab, &alice).await, 200, "her key is as it was");
    let (_, usage) = lab.get(&bob.secret, "/earnest/usage?by=key").await;
    assert!(!usage.to_string().contains(&id), "{usage}");
}
