//! The gateway's way to the chain: what channels hold, which prices are in force, claims in batches, statements, refunds.
//! What a claim will bring is on the disk before it is sent, and counts once the chain shows it: a claim that is sent
//! twice, or found again after a crash, is the same claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use anyhow::{Context, Result, anyhow, bail};
use earnest_chain::bindings::{Channels, PriceList, Revenue};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::deploy::Deployment;
use earnest_chain::key::Key;
use earnest_chain::voucher::{mended, signed_by};
use earnest_core::account::{OnChain, State};

use super::books::{Held, Line};
use super::journal::{Claimable, Coin, Entry, StatementRow, day_of};
use super::prices::{self, PriceBook};
use super::refusal::Refusal;
use super::statement::{Document, Earned, Paid};
use super::{Gateway, amount, crash, now_ms};
use crate::chain::ChainThread;

/// Channels of one question, and rows of one claim.
const ASKED: usize = 100;
const ROWS: usize = 40;
/// How often channels are looked at: well under the shortest delay of a withdrawal.
const LOOK: Duration = Duration::from_secs(15);
/// How long one waits for its turn to ask about a channel.
const LOOK_TURN: Duration = Duration::from_secs(5);
/// How long whoever asks about a channel that is not known here keeps its turn at least: anyone can ask.
const STRANGERS_TURN: Duration = Duration::from_millis(50);
/// Every so many days whatever is left is claimed, worth its gas or not.
const SWEEP_DAYS: u64 = 7;
/// Looks of this process so far.
static LOOKS: AtomicU64 = AtomicU64::new(0);
/// How long a withdrawal waits for requests in flight.
const PATIENCE: Duration = Duration::from_secs(30);

/// The chain, and who sends.
#[derive(Clone)]
pub struct Till {
    /// Where contracts are asked.
    pub chain: ChainThread,
    /// Where transactions are sent and waited for: another thread, so that nobody who asks waits for a block.
    pub sender: ChainThread,
    /// Has the roles of claimer, refunder and publisher.
    pub key: Key,
    /// Where the contracts are.
    pub at: Deployment,
    /// Blocks that a deposit must be under.
    pub confirmations: u64,
}

/// Asks many things of the settlement contract at once.
fn ask_all(
    chain: &mut Chain,
    block: Option<u64>,
    at: Address,
    calls: Vec<Bytes>,
) -> Result<Vec<Bytes>, ChainError> {
    let call = Channels::multicallCall { data: calls };
    match block {
        Some(block) => chain.call_in(block, at, &call),
        None => chain.call(at, &call),
    }
}

impl Till {
    /// What the chain says of at most [`ASKED`] channels, and the look's number.
    fn look(&self, ids: Vec<B256>) -> Result<(u64, Vec<OnChain>), ChainError> {
        let (at, confirmations) = (self.at.channels, self.confirmations);
        self.chain.ask(move |chain| {
            // Taken where questions are answered, so that a higher number is never an older answer.
            let number = LOOKS.fetch_add(1, Ordering::Relaxed) + 1;
            let balances = ids.iter().map(|id| Channels::channelsCall { channelId: *id }.abi_encode().into());
            let pending =
                ids.iter().map(|id| Channels::pendingWithdrawalsCall { channelId: *id }.abi_encode().into());
            let block = match confirmations {
                0 => None,
                depth => Some(chain.block()?.saturating_sub(depth)),
            };
            let balances = ask_all(chain, block, at, balances.collect())?;
            // A withdrawal is heeded as soon as it is seen.
            let pending = ask_all(chain, None, at, pending.collect())?;
            let seen = balances.iter().zip(&pending).map(|(balance, pending)| {
                let balance = Channels::channelsCall::abi_decode_returns(balance)?;
                let pending = Channels::pendingWithdrawalsCall::abi_decode_returns(pending)?;
                Ok(OnChain {
                    deposited: balance.balance,
                    claimed: balance.totalClaimed,
                    withdrawing: !pending.initiatedAt.is_zero(),
                })
            });
            Ok((number, seen.collect::<Result<_, ChainError>>()?))
        })
    }

    /// The version of the price list in force, where it is another than `known`.
    pub fn prices(&self, known: u32) -> Result<Option<PriceBook>, ChainError> {
        let Some(at) = self.at.price_list else { return Ok(None) };
        self.chain.ask(move |chain| {
            let time = alloy_primitives::U256::from(chain.time()?);
            let version = chain.call(at, &PriceList::versionAtCall { time })?;
            if version.version == known {
                return Ok(None);
            }
            let entries = chain.call(at, &PriceList::entriesCall { version: version.version })?;
            let lines = entries.into_iter().map(|entry| prices::Line {
                model: entry.model,
                unit: entry.unit,
                credits: entry.credits,
                cash: entry.cash,
            });
            let until = version.validUntil.to::<u64>();
            let until = (until < (1 << 40) - 1).then_some(until);
            Ok(Some(PriceBook::new(version.version, until, lines)))
        })
    }

    fn claim(&self, rows: Vec<Revenue::VoucherClaim>) -> Result<u64, ChainError> {
        let (key, at) = (self.key.clone(), self.at.revenue);
        self.sender.ask(move |chain| {
            let receipt = chain.send(&key, at, &Revenue::claimCall { voucherClaims: rows })?;
            Ok(receipt.gas_used)
        })
    }

    /// Why the settlement contract would refuse a row. It is asked itself, as Revenue asks it, so that a role that was
    /// rotated, or a coin that does not move, is not laid at the channel's door.
    fn refuses(&self, row: &Revenue::VoucherClaim) -> Result<Option<String>, ChainError> {
        let (from, to) = (self.at.revenue, self.at.channels);
        let data = Revenue::claimCall { voucherClaims: vec![row.clone()] }.abi_encode().into();
        match self.chain.ask(move |chain| chain.call_from(from, to, data)) {
            Ok(_) => Ok(None),
            Err(error @ ChainError::Reverted(_)) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// Goes on until the gateway is let go of: looks at the chain, and beside it claims and states, so that a claim that
/// waits for its block keeps no look waiting.
pub(super) fn watch(gateway: &Arc<Gateway>) {
    let weak = Arc::downgrade(gateway);
    tokio::spawn(async move {
        loop {
            let Some(gateway) = weak.upgrade() else { return };
            let wait = LOOK.min(gateway.settings.claim_every);
            let work = gateway.clone();
            let done = tokio::task::spawn_blocking(move || work.look_round()).await;
            match done {
                // Where a withdrawal has begun, what was used is claimed at once.
                Ok(Ok(true)) => gateway.claim_now.notify_one(),
                Ok(Err(error)) => eprintln!("warning: the gateway does not see the chain: {error:#}"),
                _ => {}
            }
            drop(gateway);
            tokio::time::sleep(wait).await;
        }
    });
    let weak = Arc::downgrade(gateway);
    tokio::spawn(async move {
        loop {
            let Some(gateway) = weak.upgrade() else { return };
            let (every, work) = (gateway.settings.claim_every, gateway.clone());
            let done = tokio::task::spawn_blocking(move || work.settle_up()).await;
            if let Ok(Err(error)) = done {
                gateway.metrics.claims_failed.inc();
                eprintln!("warning: the gateway's chain: {error:#}");
            }
            let woken = gateway.clone();
            drop(gateway);
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = woken.claim_now.notified() => {}
            }
        }
    });
}

/// Errors of things that do not wait for one another, as one.
fn all_of(errors: Vec<anyhow::Error>) -> Result<()> {
    let words: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    if words.is_empty() { Ok(()) } else { Err(anyhow!(words.join("; "))) }
}

impl Gateway {
    /// Looks at every channel; claims and states, if it is time to. Blocks.
    pub fn round(&self, claims: bool) -> Result<()> {
        if self.look_round()? || claims { self.settle_up() } else { Ok(()) }
    }

    /// Takes over prices and what the chain says of every channel. True: a channel ends, and has something to claim.
    pub(super) fn look_round(&self) -> Result<bool> {
        let Some(till) = self.till() else { return Ok(false) };
        let lines = self.unclosed();
        let prices = till.prices(self.prices().version).map(|new| {
            if let Some(new) = new {
                self.set_prices(new);
            }
        });
        let looked = self.refresh(&lines);
        let errors = [prices.err().map(anyhow::Error::from), looked.err()];
        all_of(errors.into_iter().flatten().collect())?;
        Ok(lines.iter().any(|line| {
            let held = line.account.lock().expect("no panic holds it");
            held.state == State::Closing && !held.refused && held.claimable() > held.claimed
        }))
    }

    /// Claims what is worth it and states what stands. A claim that fails keeps no statement from being made.
    fn settle_up(&self) -> Result<()> {
        if self.till().is_none() {
            return Ok(());
        }
        let _turn = self.sending.lock().expect("no panic holds it");
        let day = day_of(now_ms());
        let sweep = day.is_multiple_of(SWEEP_DAYS) && self.swept.load(Ordering::Relaxed) != day;
        let mut errors = Vec::new();
        match self.claim(&self.unclosed(), sweep) {
            Ok(()) if sweep => self.swept.store(day, Ordering::Relaxed),
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
        for coin in [Coin::Credits, Coin::Cash] {
            let stated = self.state(coin).with_context(|| format!("no statement of {}", coin.word()));
            errors.extend(stated.err());
        }
        all_of(errors)
    }

    fn unclosed(&self) -> Vec<Arc<Line>> {
        self.books.lines().into_iter().filter(|line| !is_closed(line)).collect()
    }

    /// Takes over what the chain says of channels, and counts claims that stand.
    pub(super) fn refresh(&self, lines: &[Arc<Line>]) -> Result<()> {
        let till = self.till().context("this gateway has no chain")?;
        let mut last = None;
        for lines in lines.chunks(ASKED) {
            let asked = Instant::now();
            let (look, seen) = till.look(lines.iter().map(|line| line.id).collect())?;
            for (line, seen) in lines.iter().zip(seen) {
                last = self.take_over(line, look, asked, seen).or(last);
            }
        }
        self.on_disk(last)
    }

    /// The number of what was written down, if there was anything.
    fn take_over(&self, line: &Line, look: u64, asked: Instant, seen: OnChain) -> Option<u64> {
        let mut held = line.account.lock().expect("no panic holds it");
        let before = (held.deposited, held.claimed, held.state);
        let gap = held.on_chain(look, seen);
        held.seen = held.seen.max(Some(asked));
        if gap > 0 {
            eprintln!(
                "warning: of channel {} the chain has claimed {} more than this journal has charged: it is an older copy. Charged is what was claimed now; what those charges were for is lost",
                line.id,
                amount(line.coin, gap)
            );
            self.journal.write(Entry::Restored(line.id, held.charged));
        }
        if held.state == State::Closing && held.in_flight == 0 && held.deposited == held.claimed {
            held.state = State::Closed;
        }
        if (held.deposited, held.claimed, held.state) == before {
            return None;
        }
        if held.claimed != before.1 {
            self.journal.write(Entry::Claimed(line.id, held.claimed));
        }
        Some(self.write_chain(line, &held))
    }

    fn write_chain(&self, line: &Line, held: &Held) -> u64 {
        self.journal.write(Entry::Chain(line.id, held.deposited, held.claimed, held.state))
    }

    fn on_disk(&self, entry: Option<u64>) -> Result<()> {
        match entry {
            Some(entry) if !self.journal.durable_blocking(entry) => bail!("the journal failed"),
            _ => Ok(()),
        }
    }

    fn flush(&self) -> Result<()> {
        self.on_disk(Some(self.journal.write(Entry::Flush)))
    }

    /// What this version would not have taken, and an earlier one did: vouchers that the settlement contract refuses.
    /// Where the last byte alone is wrong it is put right; else the channel's credit is closed.
    pub(super) fn check_vouchers(&self) -> Result<()> {
        for line in self.unclosed() {
            let mut held = line.account.lock().expect("no panic holds it");
            let digest = self.place.settlement.voucher(line.id, held.ceiling);
            let signer = line.channel.payer_authorizer;
            if held.ceiling == 0 || signed_by(signer, digest, &held.signature) {
                continue;
            }
            match mended(signer, digest, &held.signature) {
                Some(signature) => {
                    eprintln!("the kept voucher of channel {} had a wrong last byte: mended", line.id);
                    self.journal.write(Entry::Voucher(line.id, held.ceiling, signature.clone()));
                    held.signature = signature;
                }
                None => self.close_credit(&line, &mut held, "the kept voucher is not signed as it takes it"),
            }
        }
        self.flush()
    }

    /// What a channel uses from here on could never be claimed.
    fn close_credit(&self, line: &Line, held: &mut Held, why: &str) {
        held.stop();
        if !std::mem::replace(&mut held.refused, true) {
            let lost = amount(line.coin, held.charged.saturating_sub(held.claimed));
            eprintln!(
                "warning: the settlement contract does not pay on channel {}: {why}. Its credit is closed, and {lost} that it used are unpaid",
                line.id
            );
            self.write_chain(line, held);
        }
    }

    /// Claims what is on the disk and not on the chain, where it is worth its gas or where `all` is to be claimed.
    fn claim(&self, lines: &[Arc<Line>], all: bool) -> Result<()> {
        let till = self.till().context("this gateway has no chain")?;
        self.flush()?;
        let ids: Vec<B256> = lines.iter().map(|line| line.id).collect();
        let mut rows = Vec::new();
        for kept in self.journal.claimable(&ids)? {
            let Some(line) = lines.iter().find(|line| line.id == kept.channel) else { continue };
            let held = line.account.lock().expect("no panic holds it").clone();
            let total = kept.charged.min(held.ceiling).min(held.deposited);
            let least = self.settings.claim_least[usize::from(line.coin == Coin::Cash)];
            let due = total.saturating_sub(held.claimed);
            if due == 0 || (due < least && !all && held.state == State::Open) {
                continue;
            }
            let row = Revenue::VoucherClaim {
                voucher: Revenue::Voucher {
                    channel: line.channel.passed_on(),
                    maxClaimableAmount: held.ceiling,
                },
                signature: held.signature,
                totalClaimed: total,
            };
            if held.refused && !matches!(till.refuses(&row), Ok(None)) {
                continue;
            }
            self.journal.write(Entry::Claiming(line.id, total, shares(&kept, total)));
            rows.push((line.clone(), row));
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let mut errors = Vec::new();
        for rows in rows.chunks(ROWS) {
            let failed = |error: ChainError| anyhow::Error::from(error).context("a claim failed");
            errors.extend(self.send_rows(till, rows).map_err(failed).err());
            crash::point("claim-sent");
        }
        let claimed: Vec<Arc<Line>> = rows.into_iter().map(|(line, _)| line).collect();
        errors.extend(self.refresh(&claimed).err());
        crash::point("claim-kept");
        all_of(errors)
    }

    /// Sends rows in one transaction. Where the contracts refuse it, those rows that are at fault are left out, and their
    /// channels get no more credit.
    fn send_rows(&self, till: &Till, rows: &[(Arc<Line>, Revenue::VoucherClaim)]) -> Result<(), ChainError> {
        let send = |rows: Vec<Revenue::VoucherClaim>| {
            let gas = till.claim(rows)?;
            self.metrics.claims.inc();
            self.metrics.gas.inc_by(gas);
            Ok(())
        };
        let failed = match send(rows.iter().map(|(_, row)| row.clone()).collect()) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let mut good = Vec::new();
        for (line, row) in rows {
            match till.refuses(row)? {
                None => good.push(row.clone()),
                Some(why) => {
                    self.close_credit(line, &mut line.account.lock().expect("no panic holds it"), &why);
                }
            }
        }
        match good.len() {
            0 => Ok(()),
            // None of them is at fault.
            all if all == rows.len() => Err(failed),
            _ => send(good),
        }
    }

    /// Publishes a statement of what stands, if more stands than at the last one.
    fn state(&self, coin: Coin) -> Result<()> {
        let till = self.till().context("this gateway has no chain")?;
        let (at, token) = (till.at.revenue, self.place.coin(coin));
        let channels = till.at.channels;
        let (last, settled) = till.chain.ask(move |chain| {
            let last = chain.call(at, &Revenue::statementCall { coin: token })?;
            let sums = chain.call(channels, &Channels::receiversCall { receiver: at, token })?;
            Ok((last, sums.totalSettled))
        })?;
        let kept = self.journal.statement(coin, Some(last.number + 1))?;
        let document = match kept {
            // One that was written down and did not reach the chain.
            Some(kept) => kept.document,
            None => {
                let (sum, pays) = self.journal.standing(coin)?;
                if sum <= last.settled || sum > settled {
                    return Ok(());
                }
                let providers = pays.into_iter().filter(|(_, pay)| *pay > 0);
                let providers: Vec<Earned> =
                    providers.map(|(provider, cumulative)| Earned { provider, cumulative }).collect();
                let channels = self.journal.claimed(coin)?.into_iter();
                let channels = channels.map(|(channel, claimed)| Paid { channel, claimed }).collect();
                let pay = providers.iter().map(|earned| earned.cumulative).sum();
                let number = last.number + 1;
                let mut document =
                    Document { coin, number, settled: sum, pay, root: B256::ZERO, providers, channels };
                document.root = document.tree().root();
                serde_json::to_string(&document)?
            }
        };
        let said: Document = serde_json::from_str(&document)?;
        let hash = keccak256(document.as_bytes());
        let row = StatementRow { coin, number: said.number, document };
        let entry = self.journal.write(Entry::Statement(row));
        self.on_disk(Some(entry))?;
        let key = till.key.clone();
        let receipt = till.sender.ask(move |chain| {
            let call = Revenue::publishCall {
                coin: token,
                number: said.number,
                settled: said.settled,
                pay: said.pay,
                root: said.root,
                document: hash,
            };
            chain.send(&key, at, &call)
        })?;
        self.metrics.gas.inc_by(receipt.gas_used);
        Ok(())
    }

    /// Looks at one channel now.
    pub(super) async fn look(self: &Arc<Self>, line: &Arc<Line>) -> Result<(), Refusal> {
        if self.till().is_none() {
            return Ok(());
        }
        let _turn = self.looking(&self.looks).await?;
        let (gateway, line) = (self.clone(), line.clone());
        let looked = tokio::task::spawn_blocking(move || gateway.refresh(std::slice::from_ref(&line))).await;
        looked.map_err(unasked)?.map_err(|error| unasked(format!("{error:#}")))
    }

    /// Looks at a channel that is not known here: nothing is written down, and strangers keep to a pace and to turns of
    /// their own. None where there is no chain.
    pub(super) async fn look_at_stranger(self: &Arc<Self>, id: B256) -> Result<Option<OnChain>, Refusal> {
        if self.till().is_none() {
            return Ok(None);
        }
        let _turn = self.looking(&self.strangers).await?;
        let (gateway, pace) = (self.clone(), tokio::time::sleep(STRANGERS_TURN));
        let looked =
            tokio::task::spawn_blocking(move || gateway.till().map(|till| till.look(vec![id])).transpose());
        let looked = looked.await.map_err(unasked)?;
        pace.await;
        let looked = looked.map_err(unasked)?;
        Ok(looked.and_then(|(_, seen)| seen.into_iter().next()))
    }

    async fn looking<'a>(
        &self,
        turns: &'a tokio::sync::Semaphore,
    ) -> Result<tokio::sync::SemaphorePermit<'a>, Refusal> {
        match tokio::time::timeout(LOOK_TURN, turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Refusal::Busy("too many ask about their channels at once".into(), 1)),
        }
    }

    /// Claims what a channel has used and sends back the rest. Nobody may use it any more, whatever comes of it.
    pub(super) async fn withdraw(self: &Arc<Self>, line: &Arc<Line>) -> Result<(), Refusal> {
        {
            let mut held = line.account.lock().expect("no panic holds it");
            if held.state == State::Open {
                held.stop();
                self.write_chain(line, &held);
            }
        }
        let end = tokio::time::Instant::now() + PATIENCE;
        while line.account.lock().expect("no panic holds it").in_flight > 0 {
            if tokio::time::Instant::now() > end {
                return Err(Refusal::Busy(
                    "requests are still in flight; order the withdrawal again".into(),
                    10,
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (gateway, line) = (self.clone(), line.clone());
        let done = tokio::task::spawn_blocking(move || gateway.send_back(&line)).await;
        let failed = |why: String| {
            Refusal::NoProvider(
                format!(
                    "the chain did not take it: {why}; order the withdrawal again, or withdraw without the gateway: earnest key withdraw --alone"
                ),
                5,
            )
        };
        done.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(format!("{error:#}")))
    }

    fn send_back(&self, line: &Arc<Line>) -> Result<()> {
        let till = self.till().context("this gateway has no chain")?;
        let lines = std::slice::from_ref(line);
        let _turn = self.sending.lock().expect("no panic holds it");
        self.refresh(lines)?;
        self.claim(lines, true)?;
        let account = line.account.lock().expect("no panic holds it").clone();
        if account.claimed < account.claimable() {
            bail!("the claim does not stand yet");
        }
        let rest = account.deposited - account.claimed;
        if rest > 0 {
            let (key, at, channel) = (till.key.clone(), till.at.revenue, line.channel.passed_on());
            till.sender.ask(move |chain| {
                chain.send(&key, at, &Revenue::refundCall { config: channel, amount: rest }).map(drop)
            })?;
        }
        self.refresh(lines)
    }
}

fn unasked(why: impl std::fmt::Display) -> Refusal {
    Refusal::NoProvider(format!("the chain cannot be asked: {why}"), 2)
}

fn is_closed(line: &Line) -> bool {
    line.account.lock().expect("no panic holds it").state == State::Closed
}

/// What of a claim is whose. Where less can be claimed than was charged, everyone bears it alike, rounded down.
fn shares(kept: &Claimable, total: u128) -> Vec<(Address, u128)> {
    let part = |pay: u128| {
        let product = alloy_primitives::U256::from(pay) * alloy_primitives::U256::from(total);
        let part = product / alloy_primitives::U256::from(kept.charged.max(1));
        part.to::<u128>()
    };
    kept.pays
        .iter()
        .map(|(provider, pay)| (*provider, if total < kept.charged { part(*pay) } else { *pay }))
        .collect()
}
