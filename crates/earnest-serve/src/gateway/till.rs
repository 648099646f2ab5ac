//! The gateway's way to the chain: what channels hold, which prices are in force, claims in batches, statements, refunds.
//! What a claim will bring is on the disk before it is sent, and counts once the chain shows it: a claim that is sent
//! twice, or found again after a crash, is the same claim.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall;
use anyhow::{Context, Result, anyhow, bail};
use earnest_chain::bindings::{Channels, PriceList, Revenue};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::deploy::Deployment;
use earnest_chain::key::Key;
use earnest_core::account::State;
use earnest_core::statement::{Tree, leaf};
use serde::{Deserialize, Serialize};

use super::books::Line;
use super::journal::{Claimable, Coin, Entry, StatementRow};
use super::prices::{self, PriceBook};
use super::refusal::Refusal;
use super::{Gateway, crash};
use crate::chain::ChainThread;

/// Channels of one question, and rows of one claim.
const ASKED: usize = 100;
const ROWS: usize = 40;
/// How often channels are looked at: well under the shortest delay of a withdrawal.
const LOOK: Duration = Duration::from_secs(15);
/// How long one waits for its turn to ask about a channel.
const LOOK_TURN: Duration = Duration::from_secs(5);
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

/// A channel as the chain has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnChain {
    /// Deposits less what went back.
    pub deposited: u128,
    /// Claimed in all.
    pub claimed: u128,
    /// A withdrawal has begun.
    pub withdrawing: bool,
}

/// What a statement says, as providers and auditors read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Of which coin.
    pub coin: Coin,
    /// Its number, from 1.
    pub number: u32,
    /// All that was settled so far, in base units.
    #[serde(with = "super::receipt::text")]
    pub settled: u128,
    /// Of that, for providers.
    #[serde(with = "super::receipt::text")]
    pub pay: u128,
    /// Merkle root of `providers`.
    pub root: B256,
    /// What each has earned so far.
    pub providers: Vec<Earned>,
    /// What each channel has paid so far.
    pub channels: Vec<Paid>,
}

/// A leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earned {
    /// Operator key.
    pub provider: Address,
    /// In base units, since the beginning.
    #[serde(with = "super::receipt::text")]
    pub cumulative: u128,
}

impl Earned {
    /// As the tree has it.
    pub fn leaf(&self) -> B256 {
        leaf(self.provider, self.cumulative)
    }
}

/// A channel's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Its id.
    pub channel: B256,
    /// In base units, since the beginning.
    #[serde(with = "super::receipt::text")]
    pub claimed: u128,
}

impl Document {
    /// The tree over its providers.
    pub fn tree(&self) -> Tree {
        Tree::new(self.providers.iter().map(Earned::leaf).collect())
    }
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
    /// What the chain says of channels.
    fn look(&self, ids: &[B256]) -> Result<Vec<OnChain>, ChainError> {
        let (ids, at, confirmations) = (ids.to_vec(), self.at.channels, self.confirmations);
        self.chain.ask(move |chain| {
            let mut all = Vec::with_capacity(ids.len());
            for ids in ids.chunks(ASKED) {
                let balances =
                    ids.iter().map(|id| Channels::channelsCall { channelId: *id }.abi_encode().into());
                let pending = ids
                    .iter()
                    .map(|id| Channels::pendingWithdrawalsCall { channelId: *id }.abi_encode().into());
                let block = match confirmations {
                    0 => None,
                    depth => Some(chain.block()?.saturating_sub(depth)),
                };
                let balances = ask_all(chain, block, at, balances.collect())?;
                // A withdrawal is heeded as soon as it is seen.
                let pending = ask_all(chain, None, at, pending.collect())?;
                for (balance, pending) in balances.iter().zip(&pending) {
                    let balance = Channels::channelsCall::abi_decode_returns(balance)?;
                    let pending = Channels::pendingWithdrawalsCall::abi_decode_returns(pending)?;
                    all.push(OnChain {
                        deposited: balance.balance,
                        claimed: balance.totalClaimed,
                        withdrawing: !pending.initiatedAt.is_zero(),
                    });
                }
            }
            Ok(all)
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
}

/// Looks at the chain, claims, and states, until the gateway is let go of.
pub(super) fn watch(gateway: &Arc<Gateway>) {
    let weak = Arc::downgrade(gateway);
    tokio::spawn(async move {
        let mut due = tokio::time::Instant::now();
        loop {
            let Some(gateway) = weak.upgrade() else { return };
            let every = gateway.settings.claim_every;
            let claims = tokio::time::Instant::now() >= due;
            if claims {
                due = tokio::time::Instant::now() + every;
            }
            let work = gateway.clone();
            let done = tokio::task::spawn_blocking(move || work.round(claims)).await;
            if let Ok(Err(error)) = done {
                gateway.metrics.claims_failed.inc();
                eprintln!("warning: the gateway's chain: {error:#}");
            }
            let wait = LOOK.min(every);
            let woken = gateway.clone();
            drop(gateway);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = woken.claim_now.notified() => due = tokio::time::Instant::now(),
            }
        }
    });
}

impl Gateway {
    /// Looks at every channel; claims and states, if it is time to. Blocks.
    pub fn round(&self, claims: bool) -> Result<()> {
        let Some(till) = self.till() else { return Ok(()) };
        if let Some(prices) = till.prices(self.prices().version)? {
            self.set_prices(prices);
        }
        let lines: Vec<Arc<Line>> = self.books.lines().into_iter().filter(|line| !is_closed(line)).collect();
        self.refresh(&lines)?;
        // Where a withdrawal has begun, what was used is claimed at once.
        let urgent = lines.iter().any(|line| {
            let account = line.account.lock().expect("no panic holds it");
            account.state == State::Closing && account.claimable() > account.claimed
        });
        if claims || urgent {
            let _turn = self.sending.lock().expect("no panic holds it");
            self.claim(&lines)?;
            for coin in [Coin::Credits, Coin::Cash] {
                self.state(coin)?;
            }
        }
        Ok(())
    }

    /// Takes over what the chain says of channels, and counts claims that stand.
    fn refresh(&self, lines: &[Arc<Line>]) -> Result<()> {
        let till = self.till().context("this gateway has no chain")?;
        let ids: Vec<B256> = lines.iter().map(|line| line.id).collect();
        let mut last = None;
        for (line, seen) in lines.iter().zip(till.look(&ids)?) {
            let mut account = line.account.lock().expect("no panic holds it");
            let before = (account.deposited, account.claimed, account.state);
            account.on_chain(seen.deposited, seen.claimed, seen.withdrawing);
            if account.state == State::Closing
                && account.in_flight == 0
                && seen.deposited == seen.claimed.max(account.claimable())
                && account.claimed >= account.claimable()
            {
                account.state = State::Closed;
            }
            let after = (account.deposited, account.claimed, account.state);
            if after != before {
                if after.1 != before.1 {
                    self.journal.write(Entry::Claimed(line.id, after.1));
                }
                last = Some(self.journal.write(Entry::Chain(line.id, after.0, after.1, after.2)));
            }
        }
        self.on_disk(last)
    }

    fn on_disk(&self, entry: Option<u64>) -> Result<()> {
        let entry = entry.unwrap_or_else(|| self.journal.write(Entry::Flush));
        if self.journal.durable_blocking(entry) { Ok(()) } else { bail!("the journal failed") }
    }

    /// Claims what is on the disk and not on the chain.
    fn claim(&self, lines: &[Arc<Line>]) -> Result<()> {
        let till = self.till().context("this gateway has no chain")?;
        self.on_disk(None)?;
        let ids: Vec<B256> = lines.iter().map(|line| line.id).collect();
        let mut rows = Vec::new();
        let mut claimed = Vec::new();
        for kept in self.journal.claimable(&ids)? {
            let Some(line) = lines.iter().find(|line| line.id == kept.channel) else { continue };
            let account = line.account.lock().expect("no panic holds it").clone();
            let total = kept.charged.min(account.ceiling).min(account.deposited);
            let least = self.settings.claim_least[usize::from(line.coin == Coin::Cash)];
            let due = total.saturating_sub(account.claimed);
            if due == 0 || (due < least && account.state == State::Open) {
                continue;
            }
            let signature = line.signature.lock().expect("no panic holds it").clone();
            rows.push(Revenue::VoucherClaim {
                voucher: Revenue::Voucher {
                    channel: line.channel.passed_on(),
                    maxClaimableAmount: account.ceiling,
                },
                signature,
                totalClaimed: total,
            });
            self.journal.write(Entry::Claiming(line.id, total, shares(&kept, total)));
            claimed.push(line.clone());
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.on_disk(None)?;
        let mut failed = None;
        for rows in rows.chunks(ROWS) {
            let stands = |gas| {
                self.metrics.claims.inc();
                self.metrics.gas.inc_by(gas);
            };
            match till.claim(rows.to_vec()) {
                Ok(gas) => stands(gas),
                // One bad row must not hold up the others.
                Err(error) if rows.len() > 1 => {
                    failed = Some(error);
                    for row in rows {
                        match till.claim(vec![row.clone()]) {
                            Ok(gas) => stands(gas),
                            Err(error) => failed = Some(error),
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
            crash::point("claim-sent");
        }
        self.refresh(&claimed)?;
        crash::point("claim-kept");
        failed.map_or(Ok(()), |error| Err(anyhow!(error).context("a claim failed")))
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
        let Ok(Ok(_turn)) = tokio::time::timeout(LOOK_TURN, self.looks.acquire()).await else {
            return Err(Refusal::Busy("too many ask about their channels at once".into(), 1));
        };
        let (gateway, line) = (self.clone(), line.clone());
        let looked = tokio::task::spawn_blocking(move || gateway.refresh(std::slice::from_ref(&line))).await;
        let failed = |why: String| Refusal::NoProvider(format!("the chain cannot be asked: {why}"), 2);
        looked.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(format!("{error:#}")))
    }

    /// Claims what a channel has used and sends back the rest. Nobody may use it any more, whatever comes of it.
    pub(super) async fn withdraw(self: &Arc<Self>, line: &Arc<Line>) -> Result<(), Refusal> {
        {
            let mut account = line.account.lock().expect("no panic holds it");
            if account.state == State::Open {
                account.state = State::Closing;
                let (deposited, claimed, state) = (account.deposited, account.claimed, account.state);
                self.journal.write(Entry::Chain(line.id, deposited, claimed, state));
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
        self.claim(lines)?;
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
