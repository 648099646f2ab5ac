//! The journal on a real disk.

use rusqlite::params;

use super::*;

fn sign(receipt: String) -> SignedReceipt {
    SignedReceipt { receipt, signature: Bytes::new() }
}

/// A folder of its own, deleted in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("earnest-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("gateway.db")
    }

    fn open(&self, bounds: Bounds) -> (Journal, Kept) {
        Journal::open(&self.file(), bounds, sign).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bounds that no disk of a test is too full for.
fn roomy() -> Bounds {
    Bounds { free: 0, free_for_answers: 0, ..Bounds::default() }
}

const ID: B256 = B256::repeat_byte(1);

fn channel() -> Channel {
    Channel {
        payer: Address::ZERO,
        payer_authorizer: Address::ZERO,
        receiver: Address::ZERO,
        receiver_authorizer: Address::ZERO,
        token: Address::ZERO,
        withdraw_delay: 0,
        salt: B256::ZERO,
    }
}

fn key() -> KeyRow {
    KeyRow {
        id: "key_1".into(),
        hash: B256::ZERO,
        channel: ID,
        name: "laptop".into(),
        limits: Limits::default(),
        created: 0,
        revoked: false,
    }
}

fn charge(id: &str) -> Charge {
    Charge {
        id: id.into(),
        channel: ID,
        key: "key_1".into(),
        provider: Address::ZERO,
        model: "echo".into(),
        price_version: 1,
        usage: Usage::default(),
        charge: 16,
        pay: 0,
        time: 0,
        complete: true,
        estimated: false,
        receipt: sign("{}".into()),
    }
}

fn answer(channel: u8, name: &str, bytes: usize, time: u64) -> Entry {
    Entry::Answer(Box::new(Answer {
        channel: B256::repeat_byte(channel),
        key: format!("key_{channel}"),
        idempotency: name.into(),
        asked: B256::ZERO,
        id: format!("req_{name}"),
        content_type: "application/json".into(),
        body: vec![b'x'; bytes].into(),
        time,
    }))
}

impl Journal {
    fn write_all(&self, entries: impl IntoIterator<Item = Entry>) {
        let last = entries.into_iter().map(|entry| self.write(entry)).last().unwrap();
        self.write(Entry::Flush);
        assert!(self.durable_blocking(last));
    }

    /// Bytes of what is kept under a name; none: it is not known.
    fn kept(&self, channel: u8, name: &str) -> Option<usize> {
        self.answer(&format!("key_{channel}"), name).unwrap().map(|answer| answer.body.len())
    }
}

#[test]
fn a_mark_that_comes_after_its_charge_is_dropped() {
    let scratch = Scratch::new("mark");
    let (journal, _) = scratch.open(roomy());
    let marked = |charge| Entry::Mark(Box::new(Charge { charge, ..self::charge("req_1") }));
    journal.write_all([
        Entry::Open(ID, channel(), Coin::Cash),
        Entry::Key(key()),
        marked(9),
        Entry::Charge(Box::new(charge("req_1"))),
        marked(15),
    ]);
    journal.close();

    let (journal, kept) = scratch.open(roomy());
    assert_eq!((kept.cut_off, kept.channels[0].account.charged), (0, 16));
    assert_eq!(journal.charges(ID, 9).unwrap(), [charge("req_1")]);
}

#[test]
fn answers_of_a_channel_and_all_together_have_bounds() {
    let scratch = Scratch::new("bounds");
    let bounds = Bounds { answers_of_channel: 100, answers: 250, ..roomy() };
    let (journal, _) = scratch.open(bounds);
    // Its own oldest makes room, and stays known.
    journal.write_all([answer(1, "a", 60, 1), answer(1, "b", 40, 2), answer(1, "c", 30, 3)]);
    assert_eq!(["a", "b", "c"].map(|name| journal.kept(1, name)), [Some(0), Some(40), Some(30)]);
    // What is too long for the bound is not kept, and takes nobody's room.
    journal.write_all([answer(1, "d", 101, 4)]);
    assert_eq!(["b", "c", "d"].map(|name| journal.kept(1, name)), [Some(40), Some(30), Some(0)]);
    // All together: whoever holds most makes room.
    journal.write_all([answer(2, "a", 95, 5), answer(3, "a", 85, 6), answer(3, "b", 5, 7)]);
    assert_eq!(
        [(2, "a"), (3, "a"), (3, "b")].map(|(of, name)| journal.kept(of, name)),
        [Some(0), Some(85), Some(5)]
    );
    assert_eq!(["b", "c"].map(|name| journal.kept(1, name)), [Some(40), Some(30)]);
    // The sums are read again at the start.
    journal.close();
    let (journal, _) = scratch.open(bounds);
    journal.write_all([answer(2, "c", 91, 8)]);
    assert_eq!(
        [(3, "a"), (3, "b"), (2, "c")].map(|(of, name)| journal.kept(of, name)),
        [Some(0), Some(5), Some(91)]
    );
    // Another answer under one name takes the place of the first, and a day later all are gone.
    journal.write_all([answer(2, "c", 80, 9), answer(2, "e", 20, 10)]);
    assert_eq!(["c", "e"].map(|name| journal.kept(2, name)), [Some(80), Some(20)]);
    journal.write_all([Entry::Forget("key_2".into(), "e".into()), answer(2, "f", 20, DAY_MS + 10)]);
    assert_eq!(["c", "e", "f"].map(|name| journal.kept(2, name)), [None, None, Some(20)]);
    journal.write_all([answer(2, "g", 80, DAY_MS + 11)]);
    assert_eq!(
        ["f", "g"].map(|name| journal.kept(2, name)),
        [Some(20), Some(80)],
        "what is gone is not counted"
    );
}

#[test]
fn where_the_disk_is_full_answers_are_not_kept() {
    let scratch = Scratch::new("full");
    let (journal, _) = scratch.open(Bounds { free_for_answers: u64::MAX, ..roomy() });
    assert_eq!(journal.space(), Space::Little);
    journal.write_all([answer(1, "a", 10, 1)]);
    assert_eq!(journal.kept(1, "a"), Some(0));
    journal.close();
    let (journal, _) = scratch.open(Bounds { free: u64::MAX, ..roomy() });
    assert_eq!(journal.space(), Space::None);
    journal.close();
    let (journal, _) = scratch.open(roomy());
    assert_eq!(journal.space(), Space::Enough);
}

#[test]
fn tables_of_the_first_version_are_taken_over() {
    const FIRST: &str = "
CREATE TABLE channels (id BLOB PRIMARY KEY, channel TEXT NOT NULL, coin TEXT NOT NULL,
  deposited TEXT NOT NULL DEFAULT '0', ceiling TEXT NOT NULL DEFAULT '0', signature BLOB NOT NULL DEFAULT x'',
  leased TEXT NOT NULL DEFAULT '0', charged TEXT NOT NULL DEFAULT '0', claimed TEXT NOT NULL DEFAULT '0',
  state INTEGER NOT NULL DEFAULT 0, ordered INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, channel BLOB NOT NULL, name TEXT NOT NULL,
  models TEXT, per_day TEXT, total TEXT, created INTEGER NOT NULL, revoked INTEGER NOT NULL,
  spent TEXT NOT NULL DEFAULT '0', day INTEGER NOT NULL DEFAULT 0, spent_today TEXT NOT NULL DEFAULT '0') WITHOUT ROWID;
CREATE TABLE charges (id TEXT PRIMARY KEY, channel BLOB NOT NULL, key TEXT NOT NULL, provider BLOB NOT NULL,
  model TEXT NOT NULL, price_version INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL,
  output INTEGER NOT NULL, charge TEXT NOT NULL, pay TEXT NOT NULL, time INTEGER NOT NULL, complete INTEGER NOT NULL,
  receipt TEXT NOT NULL, signature BLOB NOT NULL);
CREATE TABLE answers (key TEXT NOT NULL, idempotency TEXT NOT NULL, asked BLOB NOT NULL, id TEXT NOT NULL,
  content_type TEXT NOT NULL, body BLOB NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (key, idempotency));
PRAGMA user_version = 1;
";
    let scratch = Scratch::new("first");
    let first = Connection::open(scratch.file()).unwrap();
    first.execute_batch(FIRST).unwrap();
    let config = serde_json::to_string(&channel()).unwrap();
    first
        .execute(
            "INSERT INTO channels (id, channel, coin, charged) VALUES (?, ?, 'cash', '33')",
            params![ID.as_slice(), config],
        )
        .unwrap();
    let hash = B256::ZERO;
    first
        .execute(
            "INSERT INTO keys (id, hash, channel, name, created, revoked) VALUES ('key_1', ?, ?, 'laptop', 0, 0)",
            params![hash.as_slice(), ID.as_slice()],
        )
        .unwrap();
    for (key, body) in [("key_1", &b"an answer"[..]), ("key_of_nobody", b"another")] {
        first
            .execute(
                "INSERT INTO answers VALUES (?, 'name', ?, 'req_1', 'application/json', ?, 5)",
                params![key, hash.as_slice(), body],
            )
            .unwrap();
    }
    drop(first);

    let (journal, kept) = scratch.open(Bounds { answers_of_channel: 20, ..roomy() });
    assert_eq!((kept.channels[0].account.charged, kept.keys.len()), (33, 1));
    let answer = journal.answer("key_1", "name").unwrap().unwrap();
    assert_eq!((answer.channel, answer.body.as_ref()), (ID, &b"an answer"[..]));
    // What was there counts.
    journal.write_all([self::answer(1, "next", 15, 6)]);
    assert_eq!(["name", "next"].map(|name| journal.kept(1, name)), [Some(0), Some(15)]);
    journal.close();
    // Once is enough, and a later version's file is left alone.
    scratch.open(roomy()).0.close();
    let later = Connection::open(scratch.file()).unwrap();
    later.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(later);
    assert!(Journal::open(&scratch.file(), roomy(), sign).is_err());
}

#[test]
fn what_only_rises_never_falls_whatever_order_it_is_written_in() {
    let scratch = Scratch::new("rises");
    let (journal, _) = scratch.open(roomy());
    let voucher = |ceiling, byte| Entry::Voucher(ID, ceiling, Bytes::from(vec![byte]));
    journal.write_all([
        Entry::Open(ID, channel(), Coin::Cash),
        voucher(1_000, 1),
        voucher(999, 2),
        Entry::Ordered(ID, 7),
        Entry::Ordered(ID, 6),
        Entry::Lease(ID, 100),
        Entry::Lease(ID, 99),
        Entry::Chain(ID, 5_000, 100, State::Closing),
        Entry::Chain(ID, 4_000, 99, State::Open),
        Entry::Claimed(ID, 98),
        Entry::Restored(ID, 100),
        Entry::Restored(ID, 50),
    ]);
    journal.close();
    let (_journal, kept) = scratch.open(roomy());
    let row = &kept.channels[0];
    let Account { deposited, ceiling, leased, charged, claimed, state, .. } = row.account;
    assert_eq!((deposited, ceiling, leased, charged, claimed), (4_000, 1_000, 100, 100, 100));
    assert_eq!((state, row.signature.as_ref(), row.ordered), (State::Closing, &[1_u8][..], 7));
}

#[test]
fn a_flush_where_nothing_waits_writes_nothing() {
    let scratch = Scratch::new("flush");
    let (journal, _) = scratch.open(roomy());
    assert_eq!((journal.write(Entry::Flush), journal.write(Entry::Flush)), (0, 0));
    assert!(journal.durable_blocking(0));
    let written = journal.write(Entry::Open(ID, channel(), Coin::Cash));
    assert_eq!(journal.write(Entry::Flush), written);
    assert!(journal.durable_blocking(written));
    assert_eq!(journal.write(Entry::Flush), written);
    journal.close();
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_the_journal() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("mode");
    // Left by an earlier version.
    std::fs::write(scratch.file(), b"").unwrap();
    std::fs::set_permissions(scratch.file(), PermissionsExt::from_mode(0o644)).unwrap();
    let (journal, _) = scratch.open(roomy());
    journal.write_all([Entry::Open(ID, channel(), Coin::Cash)]);
    let mut found = 0;
    for file in std::fs::read_dir(&scratch.0).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        found += 1;
    }
    assert_eq!(found, 4, "the file, its log, its index and its lock");
}

#[test]
fn the_log_is_copied_while_the_journal_is_open() {
    let scratch = Scratch::new("checkpoint");
    let (journal, _) = scratch.open(roomy());
    journal.write_all([Entry::Open(ID, channel(), Coin::Cash), Entry::Key(key())]);
    let before = std::fs::metadata(scratch.file()).unwrap().len();
    journal.write_all((0..2_000).map(|number| Entry::Charge(Box::new(charge(&format!("req_{number}"))))));
    let copied = || std::fs::metadata(scratch.file()).unwrap().len() > before + (100 << 10);
    assert!((0..600).any(|_| copied() || {
        std::thread::sleep(Duration::from_millis(50));
        false
    }));
}

#[test]
fn receipts_are_kept_for_their_days_and_sums_for_ever() {
    let scratch = Scratch::new("receipts");
    let (journal, _) = scratch.open(roomy());
    let at = |number: u64, time: u64| {
        Entry::Charge(Box::new(Charge { time, pay: 3, ..charge(&format!("req_{number}")) }))
    };
    journal.write_all([Entry::Open(ID, channel(), Coin::Cash), Entry::Key(key())]);
    journal.write_all((0..100).map(|number| at(number, number)));
    let count = || journal.charges(ID, 1_000).unwrap().len();
    let days = Bounds::default().receipts_days * DAY_MS;
    journal.write_all([at(100, days)]);
    assert_eq!(count(), 101, "all are of their days");
    // Each that comes takes two of the old with it, and none of those that are not old.
    journal.write_all([at(101, days + 50)]);
    assert_eq!(count(), 100);
    assert!(
        journal.receipt("req_1", ID).unwrap().is_none() && journal.receipt("req_2", ID).unwrap().is_some()
    );
    journal.write_all((102..200).map(|number| at(number, days + 50)));
    assert_eq!((count(), journal.receipt("req_50", ID).unwrap().is_some()), (150, true));
    let claimable = journal.claimable(&[ID]).unwrap();
    assert_eq!((claimable[0].charged, claimable[0].pays[0].1), (200 * 16, 200 * 3));
    let usage = journal.usage(&["key_1".into()], 0).unwrap();
    assert_eq!(usage.iter().map(|row| row.requests).sum::<u64>(), 200);
    journal.close();
    let (_, kept) = scratch.open(roomy());
    assert_eq!(kept.channels[0].account.charged, 200 * 16);
}

#[test]
fn a_batch_that_begins_by_reading_waits_for_who_writes() {
    let scratch = Scratch::new("locked");
    let (journal, _) = scratch.open(roomy());
    journal.write_all([Entry::Open(ID, channel(), Coin::Cash), Entry::Key(key())]);
    let other = rusqlite::Connection::open(scratch.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let number = journal.write(Entry::Mark(Box::new(charge("req_1"))));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!journal.is_durable(number));
    other.execute_batch("COMMIT").unwrap();
    assert!(journal.durable_blocking(number) && journal.alive());
}
