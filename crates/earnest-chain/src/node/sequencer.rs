//! The one thread that makes blocks. It takes all that waits, works out a block over the published state, writes it to
//! the journal, and only when that is on the disk publishes it and answers: readers never see what a power cut could
//! take back, and one wait for the disk serves as many transactions as came meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_eips::eip2718::Encodable2718;
use earnest_core::plan::Time;
use tokio::sync::oneshot;

use super::block::{Built, build};
use super::journal::{Journal, Line};
use super::pool::Pool;
use super::refused::Refused;
use super::{Block, Shared};

/// How often a gap is looked at again.
const LOOK: Duration = Duration::from_millis(50);

/// What is asked of the sequencer beside transactions.
pub(super) enum Wish {
    /// The clock moves forward to this time; the next block may have to have just this one.
    Clock { to: Time, exactly: bool },
    /// A block now, even an empty one.
    Mine,
}

/// What waits for the sequencer.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) pool: Pool,
    pub(super) wishes: Vec<(Wish, oneshot::Sender<Result<(), Refused>>)>,
    /// Time of the next block, where someone asked for just that.
    pub(super) exactly: Option<Time>,
    pub(super) stop: bool,
}

/// Runs until it is told to stop, and then makes no more blocks.
pub(super) fn run(shared: &Shared, mut journal: Journal) {
    loop {
        let mut inbox = shared.inbox.lock().expect("no panic holds it");
        let wishes = loop {
            if inbox.stop {
                inbox.pool.clear(&Refused::Stopping);
                return;
            }
            if !inbox.wishes.is_empty() {
                break std::mem::take(&mut inbox.wishes);
            }
            if inbox.pool.is_empty() {
                inbox = shared.wake.wait(inbox).expect("no panic holds it");
                continue;
            }
            let ledger = shared.ledger();
            inbox.pool.expire(Instant::now(), |of| ledger.nonce(of));
            if !inbox.pool.ready(|of| ledger.nonce(of)).is_empty() {
                break Vec::new();
            }
            drop(ledger);
            inbox = shared.wake.wait_timeout(inbox, LOOK).expect("no panic holds it").0;
        };
        drop(inbox);
        let mut mine = Vec::new();
        for (wish, reply) in wishes {
            match wish {
                Wish::Clock { to, exactly } => {
                    let _ = reply.send(set_clock(shared, &mut journal, to, exactly));
                }
                Wish::Mine => mine.push(reply),
            }
        }
        // Each that was asked for is a block of its own.
        let mut replies = mine.into_iter();
        loop {
            let reply = replies.next();
            let answer = make_block(shared, &mut journal, reply.is_some());
            match reply {
                Some(reply) => _ = reply.send(answer),
                None => break,
            }
        }
    }
}

fn set_clock(shared: &Shared, journal: &mut Journal, to: Time, exactly: bool) -> Result<(), Refused> {
    let now = shared.time();
    if to < now {
        return Err(Refused::Past { asked: to, now });
    }
    let offset = shared.clock.offset_to(to);
    journal.append(&Line::clock(offset)).map_err(Refused::NotWritten)?;
    shared.clock.set(offset);
    if exactly {
        shared.inbox.lock().expect("no panic holds it").exactly = Some(to);
    }
    Ok(())
}

/// Makes the next block of what is ready. An empty one only if it is asked for.
fn make_block(shared: &Shared, journal: &mut Journal, even_empty: bool) -> Result<(), Refused> {
    let (ready, exactly) = {
        let inbox = shared.inbox.lock().expect("no panic holds it");
        let ledger = shared.ledger();
        (inbox.pool.ready(|of| ledger.nonce(of)), inbox.exactly)
    };
    if ready.is_empty() && !even_empty {
        return Ok(());
    }
    let time =
        exactly.map_or_else(|| shared.time(), |exactly| exactly.max(shared.ledger().head().header.timestamp));
    let Built { block, changes, refused } =
        build(&shared.ledger(), shared.chain_id, time, ready.iter().cloned());
    let by_hash = |hash| ready.iter().find(|one| *one.tx_hash() == hash).expect("one of them");
    if !refused.is_empty() {
        let mut inbox = shared.inbox.lock().expect("no panic holds it");
        for (hash, why) in refused {
            inbox.pool.settle(by_hash(hash), Err(why));
        }
    }
    if block.transactions.is_empty() && !even_empty {
        return Ok(());
    }
    let line = Line::Block {
        number: block.header.number,
        time,
        transactions: block.transactions.iter().map(|it| it.transaction.encoded_2718().into()).collect(),
        senders: block.transactions.iter().map(|it| it.transaction.signer()).collect(),
        hash: block.hash,
    };
    if let Err(error) = journal.append(&line) {
        let why = Refused::NotWritten(error);
        let mut inbox = shared.inbox.lock().expect("no panic holds it");
        for included in &block.transactions {
            inbox.pool.settle(&included.transaction, Err(why.clone()));
        }
        return Err(why);
    }
    let block: Arc<Block> = shared.ledger.write().expect("no panic holds it").publish(block, changes);
    let mut inbox = shared.inbox.lock().expect("no panic holds it");
    if exactly.is_some() && inbox.exactly == exactly {
        inbox.exactly = None;
    }
    for (index, included) in block.transactions.iter().enumerate() {
        inbox.pool.settle(&included.transaction, Ok((block.header.number, index)));
    }
    drop(inbox);
    let _ = shared.heads.send(block); // nobody has to listen
    Ok(())
}
