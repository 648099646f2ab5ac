//! The attester's service: a wallet that signs in and that the rules approve is given a purchase permit. It decides by
//! a file, by the issuer's identity vendor, or (on development chains) for anyone; it signs with a key that the offering
//! takes now; and it gives nothing away that is not in its log.

pub mod book;
pub mod log;
pub mod refusal;
pub mod rules;
pub mod sign_in;
pub mod vendor;

mod pace;
mod routes;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use alloy_primitives::{Address, B256, U256};
use anyhow::Result;
use earnest_chain::bindings::{ContractWallet, Offering};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::deploy::Record;
use earnest_chain::key::{Key, signer_of};
use earnest_chain::permit::SignedPermit;
use earnest_core::plan::{Plan, Time};

use crate::chain::ChainThread;
use book::Book;
use log::{Entry, Grant, Log};
use pace::Pace;
use refusal::Refusal;
pub use routes::router;
use rules::{Admission, Rules};
use sign_in::{Origin, SignIn};
use vendor::Question;

/// ERC-1271's yes.
const IS_VALID: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// What a service is started with.
pub struct Settings {
    /// What was agreed.
    pub plan: Plan,
    /// Where it stands.
    pub record: Record,
    /// Keys that may sign, the newest last.
    pub keys: Vec<Key>,
    /// Who may buy.
    pub rules: Rules,
    /// Pages that may ask; at least one, the first for those who name none.
    pub origins: Vec<Origin>,
}

/// The service. Clones are the same one.
#[derive(Clone)]
pub struct Attester(Arc<Desk>);

struct Desk {
    plan: Plan,
    record: Record,
    keys: Vec<Key>,
    rules: Rules,
    sign_in: SignIn,
    chain: ChainThread,
    /// Decisions are made and written down one after the other.
    decisions: Mutex<(Book, Log)>,
    pace: Mutex<Pace>,
    /// Of questions to wallets that may be contracts: who asks has not shown yet that the wallet is theirs.
    questions: Mutex<Pace>,
    /// Requests that are being worked on.
    busy: Arc<tokio::sync::Semaphore>,
}

/// Most requests that are worked on at once.
const MOST_BUSY: usize = 64;
/// Questions to contracts in a minute.
const QUESTIONS_A_MINUTE: u32 = 120;
/// Gas of such a question: some check a passkey or a dozen owners, and none needs more.
const QUESTION_GAS: u64 = 3_000_000;

/// What a wallet asks.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who will bid.
    pub wallet: Address,
    /// Name or number.
    pub round: String,
    /// The challenge as it was signed.
    pub message: String,
    /// The signature.
    pub signature: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held ends a request, not the service: each of them is whole between its statements.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Attester {
    /// Opens the log and reads back what was given.
    pub fn open(settings: Settings, chain: ChainThread, log: &Path) -> Result<Self> {
        let Settings { plan, record, keys, rules, origins } = settings;
        let started = Entry::Started {
            chain_id: record.chain_id,
            offering: record.contracts.offering,
            terms_hash: record.terms_hash,
            rules: rules.hash,
        };
        let mut book = Book::default();
        let mut log = Log::open(log, &started, |grant| book.take(&plan, &grant))?;
        log.write(chain.ask(|chain| chain.time())?, started)?;
        Ok(Attester(Arc::new(Desk {
            sign_in: SignIn::new(record.chain_id, &plan.offering.name, origins),
            pace: Mutex::new(Pace::new(rules.per_wallet, rules.overall, Instant::now())),
            // No less for one wallet than for all: anyone can ask in its name.
            questions: Mutex::new(Pace::new(QUESTIONS_A_MINUTE, QUESTIONS_A_MINUTE, Instant::now())),
            plan,
            record,
            keys,
            rules,
            chain,
            decisions: Mutex::new((book, log)),
            busy: Arc::new(tokio::sync::Semaphore::new(MOST_BUSY)),
        })))
    }

    /// What a wallet is to sign to be told more, and until when that is good.
    pub async fn challenge(
        &self,
        wallet: Address,
        origin: Option<String>,
    ) -> Result<(String, Time), Refusal> {
        self.0.sign_in.origin(origin.as_deref())?;
        self.blocking(move |desk| {
            let now = desk.now()?;
            let origin = desk.sign_in.origin(origin.as_deref())?;
            Ok((desk.sign_in.challenge(wallet, origin, now), now + sign_in::LIFETIME_SECS))
        })
        .await
    }

    /// A permit, or what to do to get one.
    pub async fn permit(&self, request: Request) -> Result<SignedPermit, Refusal> {
        let round = self.0.round(&request.round)?;
        let wallet = request.wallet;
        let known = self.blocking(move |desk| desk.sign_in(&request).map(|()| desk.knows(wallet))).await?;
        // From here on whoever asks has the wallet; a stranger cannot use up its turn.
        lock(&self.0.pace).admit(wallet, known, Instant::now())?;
        let admission = match self.admission(wallet, round).await {
            Ok(admission) => admission,
            Err(refusal) => {
                return self.blocking(move |desk| Err(desk.refuse(wallet, round, None, refusal))).await;
            }
        };
        self.blocking(move |desk| desk.grant(wallet, round, &admission)).await
    }

    /// The key that signs now, with its generation.
    pub async fn active_key(&self) -> Result<(Address, u32), Refusal> {
        self.blocking(|desk| desk.active_key().map(|(key, generation)| (key.address(), generation))).await
    }

    /// Off the threads that serve: the chain may be a socket, the log is a disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Desk) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.0.busy.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::TooOften { wait_secs: 5 })?;
        let desk = self.0.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&desk)
        });
        worked.await.unwrap_or_else(|_| Err(Refusal::NoChain("the request failed in this service".into())))
    }

    /// What the rules, or those they ask, say of a wallet.
    async fn admission(&self, wallet: Address, round: u8) -> Result<Admission, Refusal> {
        let Desk { rules, plan, record, .. } = &*self.0;
        if let Some(admission) = rules.of(wallet) {
            return Ok(admission.clone());
        }
        if let Some(vendor) = &rules.vendor {
            let time = self.blocking(Desk::now).await?;
            let (chain_id, offering) = (record.chain_id, record.contracts.offering);
            let round = &plan.rounds[usize::from(round)].name;
            let admission = vendor.ask(&Question { wallet, round, chain_id, offering, time }).await?;
            return match admission.entity {
                Some(number) if rules.names(number) => {
                    Err(Refusal::VendorDown("it gives a number that the rules file gives to another buyer"))
                }
                _ => Ok(admission),
            };
        }
        rules.anyone.clone().ok_or(Refusal::NotApproved(wallet))
    }
}

impl Desk {
    fn now(&self) -> Result<Time, Refusal> {
        Ok(self.chain.ask(|chain| chain.time())?)
    }

    fn round(&self, named: &str) -> Result<u8, Refusal> {
        let rounds = &self.plan.rounds;
        let found = rounds.iter().position(|round| round.name == named);
        let found = found.or_else(|| named.parse().ok().filter(|&index: &usize| index < rounds.len()));
        let index = found.and_then(|index| u8::try_from(index).ok());
        index.ok_or_else(|| Refusal::NoSuchRound {
            round: named.chars().filter(|c| !c.is_control()).take(60).collect(),
            rounds: rounds.iter().map(|round| round.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The message is ours and fresh, the wallet signed it, and it is used up.
    fn sign_in(&self, request: &Request) -> Result<(), Refusal> {
        let now = self.now()?;
        let challenge = self.sign_in.check(request.wallet, &request.message, now)?;
        if signer_of(challenge.digest, &request.signature) != Some(request.wallet) {
            self.ask_contract(request, challenge.digest)?;
        }
        self.sign_in.spend(challenge, now)
    }

    /// The rules name the wallet, or it was given a permit.
    fn knows(&self, wallet: Address) -> bool {
        self.rules.of(wallet).is_some() || lock(&self.decisions).0.entity_of(wallet).is_some()
    }

    /// A wallet that is a contract says itself what it signed.
    fn ask_contract(&self, request: &Request, digest: B256) -> Result<(), Refusal> {
        let wallet = request.wallet;
        let known = self.knows(wallet);
        lock(&self.questions).admit(wallet, known, Instant::now())?;
        let signature = request.signature.clone().into();
        let call = ContractWallet::isValidSignatureCall { hash: digest, signature };
        let signed = self.chain.ask(move |chain| {
            if chain.code(wallet)?.is_empty() {
                return Ok(false);
            }
            match chain.call_within(QUESTION_GAS, wallet, &call) {
                Ok(magic) => Ok(magic.0 == IS_VALID),
                Err(error @ ChainError::Node(_)) => Err(error),
                Err(_) => Ok(false),
            }
        })?;
        if signed { Ok(()) } else { Err(Refusal::BadSignature(wallet)) }
    }

    /// The newest key that the offering takes. It is asked every time, so that a rotation counts at once.
    fn active_key(&self) -> Result<(&Key, u32), Refusal> {
        let offering = self.record.contracts.offering;
        let addresses: Vec<Address> = self.keys.iter().map(Key::address).collect();
        let generation =
            move |chain: &mut Chain, attester| chain.call(offering, &Offering::generationOfCall { attester });
        let generations = self.chain.ask(move |chain| {
            addresses.into_iter().map(|attester| generation(chain, attester)).collect::<Result<Vec<u32>, _>>()
        })?;
        let found = self.keys.iter().zip(generations).rev().find(|(_, generation)| *generation != 0);
        if let Some(found) = found {
            return Ok(found);
        }
        let newest = self.keys.last().map(Key::address).unwrap_or_default();
        Err(Refusal::NoKey(format!(
            "the issuer runs `earnest offering attester {newest} 1` (or the next higher number, where it was an attester before)"
        )))
    }

    /// Decides, signs, writes it down, and only then hands it out.
    fn grant(&self, wallet: Address, round: u8, admission: &Admission) -> Result<SignedPermit, Refusal> {
        let (key, generation) = self.active_key()?;
        let offering = self.record.contracts.offering;
        let (now, close) = self.chain.ask(move |chain| {
            let found = chain.call(offering, &Offering::getRoundCall { index: U256::from(round) })?;
            Ok((chain.time()?, found.close.to()))
        })?;
        let mut decisions = lock(&self.decisions);
        let (book, log) = &mut *decisions;
        let yes = match book.decide(&self.plan, &self.rules, admission, (wallet, round), (now, close)) {
            Ok(yes) => yes,
            Err(refusal) => {
                return Err(write_refusal(log, now, (wallet, round), admission.entity, refusal));
            }
        };
        let issue = |since| {
            let (plan, record) = (&self.plan, &self.record);
            SignedPermit::issue(plan, record, (key, generation), wallet, round, &yes.approval, since)
        };
        let mut permit = issue(now).map_err(|error| Refusal::Unfit(error.to_string()))?;
        if yes.since < now {
            permit.not_before -= now - yes.since;
            permit.signature = key.sign(permit.digest(&self.record));
        }
        let grant = Grant {
            wallet,
            round,
            entity: permit.entity,
            regime: yes.approval.regime.clone().unwrap_or_default(),
            max_cash: permit.max_cash,
            max_total: permit.max_total,
            not_before: permit.not_before,
            expiry: permit.expiry,
            attester: key.address(),
            generation,
            digest: permit.digest(&self.record),
        };
        log.write(now, Entry::Granted(grant.clone())).map_err(|error| Refusal::NoLog(error.to_string()))?;
        book.take(&self.plan, &grant);
        Ok(permit)
    }

    /// Writes down a no.
    fn refuse(&self, wallet: Address, round: u8, entity: Option<u64>, refusal: Refusal) -> Refusal {
        let Ok(now) = self.now() else { return refusal };
        write_refusal(&mut lock(&self.decisions).1, now, (wallet, round), entity, refusal)
    }
}

fn write_refusal(
    log: &mut Log,
    now: Time,
    (wallet, round): (Address, u8),
    entity: Option<u64>,
    refusal: Refusal,
) -> Refusal {
    let reason = refusal.code().to_string();
    match log.write(now, Entry::Refused { wallet, round, entity, reason }) {
        Ok(()) => refusal,
        Err(error) => Refusal::NoLog(error.to_string()),
    }
}
