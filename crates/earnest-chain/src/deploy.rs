//! A plan's contracts on a chain. The contracts name each other in their constructors; `Launchpad.sol` puts each at an
//! address that follows from the deployer, the plan and the contracts' code, so that a deployment that stopped half-way
//! goes on from any machine, and a stranger can work out where everything must be.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, hex, keccak256};
use alloy_sol_types::{SolConstructor, SolValue};
use earnest_core::bid::BidId;
use earnest_core::curve::Ladder;
use earnest_core::offering::{Offering as Offering_, OfferingSetup, RoundSetup, Sale};
use earnest_core::price_list::PriceListSetup;
use earnest_core::setup::{Parties, ServiceSetup};
use earnest_core::statement::RevenueSetup;
use earnest_core::terms::terms_hash;
use earnest_core::treasury::TreasurySetup;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bindings::{
    Aggregate, Channels, Cradle, Credit, DepositCollector, DevCash, LadderData, Launchpad, Offering,
    PriceList, Revenue, Treasury, Vault,
};
use crate::chain::{Chain, ChainError, Receipt};
use crate::embedded::{DEV_CHAIN_ID, Embedded};
use crate::key::Key;

/// x402 `batch-settlement`, the same address on every chain that has it.
pub const X402_SETTLEMENT: Address = address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003");
/// Its ERC-3009 deposit collector.
pub const X402_COLLECTOR: Address = address!("4020806089470a89826cB9fB1f4059150b550004");
/// The deterministic deployment proxy that most chains have: salt, then code, in; CREATE2.
pub const CREATE2_PROXY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
/// Its code.
pub const CREATE2_PROXY_CODE: Bytes = Bytes::from_static(&hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
));

/// Multicall3, with which wallets and x402's clients read many things at once; nearly every chain has it here.
pub const MULTICALL: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

/// What stands on a development chain before its first block: the proxy, and our own contracts where x402's clients
/// expect theirs.
pub static GENESIS: LazyLock<[(Address, Bytes); 4]> = LazyLock::new(|| {
    let mut scratch = Embedded::empty(DEV_CHAIN_ID, 0);
    let mut made = |code: Bytes| {
        let receipt = scratch.send(Address::ZERO, TxKind::Create, code).expect("our own code is created");
        scratch.code(receipt.created.expect("a contract"))
    };
    let collector = DepositCollector::constructorCall { settlement_: X402_SETTLEMENT };
    [
        (CREATE2_PROXY, CREATE2_PROXY_CODE),
        (X402_SETTLEMENT, made(Channels::BYTECODE.clone())),
        (X402_COLLECTOR, made(init_code(&DepositCollector::BYTECODE, &collector))),
        (MULTICALL, made(Aggregate::BYTECODE.clone())),
    ]
});

/// Whether a chain has x402's contracts at their addresses. Only there can its clients pay, and only there is what they
/// pay to known to them; elsewhere a deployment brings its own, for our clients alone.
pub fn has_x402(chain: &Chain) -> Result<bool, ChainError> {
    Ok(!chain.code(X402_SETTLEMENT)?.is_empty() && !chain.code(X402_COLLECTOR)?.is_empty())
}

/// Puts them on a development node that lets itself be told (anvil). Whether they stand there now.
pub fn put_x402(chain: &Chain) -> Result<bool, ChainError> {
    if let (Chain::Rpc(rpc), DEV_CHAIN_ID) = (chain, chain.id()) {
        for (at, code) in &GENESIS[1..] {
            if rpc.code(*at)?.is_empty() && rpc.set_code(*at, code).is_err() {
                break; // not a node that takes it
            }
        }
    }
    has_x402(chain)
}

/// Where a plan's contracts are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The coin raised.
    pub cash: Address,
    /// The coin delivered.
    pub credit: Address,
    /// Rounds, bids, positions.
    pub offering: Address,
    /// Pots and tap.
    pub treasury: Address,
    /// Code of every vault.
    pub vault: Address,
    /// Ladders of rising rounds, by round.
    pub ladders: Vec<Option<Address>>,
    /// Channels that pay for the service: x402's where the chain has them, else this deployment's own.
    pub channels: Address,
    /// Their deposit collector.
    pub collector: Address,
    /// Receiver of the channels, and the split of what they bring.
    pub revenue: Address,
    /// The promised prices; none: the plan has no price list.
    pub price_list: Option<Address>,
}

impl Deployment {
    /// Whether it is paid through channels that x402's clients know.
    pub fn is_x402(&self) -> bool {
        self.channels == X402_SETTLEMENT
    }
}

/// A deployment as its issuer publishes it: with the plan, all that anyone needs to find and to check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// EIP-155 id.
    pub chain_id: u64,
    /// Nothing of it was there before this block.
    pub block: u64,
    /// Whose key deployed it.
    pub deployer: Address,
    /// Sets apart deployments of one plan by one deployer.
    pub salt: u64,
    /// Draws the tap, rotates attesters.
    pub issuer: Address,
    /// Attests.
    pub certifier: Address,
    /// Objects and pauses.
    pub guardian: Address,
    /// Signed permits at first.
    pub attesters: Vec<Address>,
    /// Had the gateway's roles at first.
    pub gateway: Address,
    /// Hash of the terms.
    pub terms_hash: B256,
    /// Where everything is.
    pub contracts: Deployment,
}

impl Record {
    /// Who is who.
    pub fn parties(&self) -> Parties {
        Parties {
            issuer: self.issuer,
            certifier: self.certifier,
            guardian: self.guardian,
            attesters: self.attesters.clone(),
            gateway: self.gateway,
        }
    }
}

impl Record {
    /// Whether it is a deployment of this plan, as far as the plan says: who is who, the coin, the terms. A record comes
    /// from whoever deployed it, and someone else can deploy the same plan with themselves as issuer.
    pub fn fits(&self, plan: &earnest_core::plan::Plan) -> Result<(), String> {
        let roles = &plan.roles;
        let dev = self.chain_id == DEV_CHAIN_ID;
        let gateway = if dev { roles.gateway } else { roles.gateway.or(roles.issuer) };
        let wrong = |what: &str| {
            Err(format!(
                "{what} of the deployment is not what the plan names\n  hint: is it this plan's deployment? Ask its issuer where that is published"
            ))
        };
        for (what, named, found) in [
            ("the issuer", roles.issuer, self.issuer),
            ("the certifier", roles.certifier, self.certifier),
            ("the guardian", roles.guardian, self.guardian),
            ("the gateway", gateway, self.gateway),
            ("the cash", plan.cash.address, self.contracts.cash),
        ] {
            // Only a development chain may leave it to the deployer.
            if named.map_or(!dev, |named| named != found) {
                return wrong(what);
            }
        }
        if (roles.attesters.is_empty() && !dev)
            || (!roles.attesters.is_empty() && roles.attesters != self.attesters)
        {
            return wrong("a list of attesters");
        }
        if self.terms_hash != terms_hash(plan) {
            return wrong("the terms hash");
        }
        if self.contracts.ladders.len() != plan.rounds.len() {
            return wrong("the number of rounds");
        }
        Ok(())
    }
}

/// Names and coins of a deployment, beside the rules.
#[derive(Clone, Debug)]
pub struct Coins {
    /// An existing coin; `None` deploys play money, which the deployer mints.
    pub cash: Option<Address>,
    /// Name and symbol of play money.
    pub cash_name: (String, String),
    /// Name and symbol of the credit.
    pub credit_name: (String, String),
    /// Whether the chain has x402's contracts.
    pub x402: bool,
}

impl Coins {
    /// As a plan names them.
    pub fn of(plan: &earnest_core::plan::Plan, x402: bool) -> Self {
        Coins {
            cash: plan.cash.address,
            cash_name: (plan.cash.name.clone(), plan.cash.symbol.clone()),
            credit_name: (plan.credits.name.clone(), plan.credits.symbol.clone()),
            x402,
        }
    }
}

/// A deployment that cannot go on.
#[derive(Debug, Error)]
pub enum DeployError {
    /// The chain refused.
    #[error("{0}: {1}")]
    Chain(String, Box<ChainError>),
    /// The chain has no proxy to put the launchpad at its address.
    #[error(
        "chain {0} has no deterministic deployment proxy at {CREATE2_PROXY}\n  hint: it can be put on any chain by a transaction that anyone may send, see https://github.com/Arachnid/deterministic-deployment-proxy"
    )]
    NoProxy(u64),
    /// The transaction went through and there is no code.
    #[error("{0} has no code after its transaction went through")]
    Nothing(String),
    /// Other code than ours is at an address of ours.
    #[error(
        "at {1}, where {0} belongs, is other code than this plan's\n  hint: no honest chain has that; ask another node, and trust neither until they agree"
    )]
    Foreign(String, Address),
    /// The coin that the plan names cannot be raised.
    #[error(
        "[cash] address {0} {1}\n  hint: amounts are in units of a millionth: only a coin of 6 decimals, such as USDC, can be raised"
    )]
    Cash(Address, String),
}

/// One contract of a deployment.
#[derive(Clone, Debug)]
pub struct Step {
    /// `offering`, `ladder 2`, …
    pub name: String,
    /// Where it will be.
    pub at: Address,
    /// Whom the transaction goes to, and what it says.
    pub to: Address,
    /// Its data.
    pub data: Bytes,
}

/// What a step turned out to be when it was run in this process.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Gas it used.
    pub gas: u64,
    /// The code it left, immutables included.
    pub code: Bytes,
}

/// Everything that a deployment will be, before anything is sent.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// In order; a step needs those before it.
    pub steps: Vec<Step>,
    /// Where everything will be.
    pub contracts: Deployment,
}

/// Where the launchpad is, on every chain with the proxy.
pub fn launchpad() -> Address {
    CREATE2_PROXY.create2(B256::ZERO, keccak256(&Launchpad::BYTECODE))
}

fn init_code(bytecode: &Bytes, constructor: &impl SolConstructor) -> Bytes {
    [bytecode.as_ref(), &constructor.abi_encode()].concat().into()
}

impl Blueprint {
    /// Works it out. Nothing is asked of any chain.
    pub fn new(
        deployer: Address,
        salt: u64,
        offering: &OfferingSetup,
        treasury: &TreasurySetup,
        service: &ServiceSetup,
        coins: &Coins,
    ) -> Self {
        // The addresses commit to the rules and to the code: to all init code, in which the contracts' own addresses
        // are left out.
        let nowhere = Deployment {
            cash: coins.cash.unwrap_or_default(),
            ladders: offering.rounds.iter().map(|round| round.is_rising().then_some(Address::ZERO)).collect(),
            channels: if coins.x402 { X402_SETTLEMENT } else { Address::ZERO },
            ..Deployment::default()
        };
        let draft = init_codes(deployer, offering, treasury, service, coins, &nowhere);
        let all = draft.iter().fold(Vec::new(), |all, (_, code)| [all, keccak256(code).to_vec()].concat());
        let commitment = keccak256((U256::from(salt), keccak256(all)).abi_encode());
        let launchpad = launchpad();
        let salt_of = |name: &str| keccak256((commitment, name.to_string()).abi_encode());
        let place = |name: &str| {
            let salt = keccak256((deployer, salt_of(name)).abi_encode());
            launchpad.create2(salt, keccak256(&Cradle::BYTECODE)).create(1)
        };
        let contracts = Deployment {
            cash: coins.cash.unwrap_or_else(|| place("cash")),
            credit: place("credit"),
            offering: place("offering"),
            treasury: place("treasury"),
            vault: place("vault"),
            ladders: (0..offering.rounds.len())
                .map(|index| nowhere.ladders[index].map(|_| place(&format!("ladder {index}"))))
                .collect(),
            channels: if coins.x402 { X402_SETTLEMENT } else { place("channels") },
            collector: if coins.x402 { X402_COLLECTOR } else { place("collector") },
            revenue: place("revenue"),
            price_list: service.price_list.as_ref().map(|_| place("price list")),
        };
        let mut steps = vec![Step {
            name: "launchpad".into(),
            at: launchpad,
            to: CREATE2_PROXY,
            data: [B256::ZERO.as_slice(), &Launchpad::BYTECODE].concat().into(),
        }];
        for (name, code) in init_codes(deployer, offering, treasury, service, coins, &contracts) {
            let call = Launchpad::launchCall { salt: salt_of(&name), code };
            let data = alloy_sol_types::SolCall::abi_encode(&call).into();
            steps.push(Step { at: place(&name), name, to: launchpad, data });
        }
        Blueprint { steps, contracts }
    }

    /// Runs it in this process, to see what each step costs and which code it leaves behind.
    pub fn rehearse(&self, deployer: Address, chain_id: u64) -> Result<Vec<Rehearsed>, DeployError> {
        let mut chain = Embedded::like(chain_id, 0);
        let steps = self.steps.iter().map(|step| {
            let sent = chain.send(deployer, TxKind::Call(step.to), step.data.clone());
            let receipt = sent.map_err(|error| DeployError::Chain(step.name.clone(), Box::new(error)))?;
            Ok(Rehearsed { gas: receipt.gas_used, code: chain.code(step.at) })
        });
        steps.collect()
    }

    /// For each step, whether it is there already. Other code than a rehearsal's is an error.
    pub fn standing(&self, chain: &Chain, rehearsed: &[Rehearsed]) -> Result<Vec<bool>, DeployError> {
        self.steps.iter().zip(rehearsed).map(|(step, expected)| step.stands(chain, &expected.code)).collect()
    }

    /// Sends what is not there yet. `report` hears of each step: its receipt, or that it was there.
    pub fn run(
        &self,
        chain: &mut Chain,
        key: &Key,
        rehearsed: &[Rehearsed],
        mut report: impl FnMut(&Step, Option<&Receipt>),
    ) -> Result<(), DeployError> {
        let named = |step: &Step| {
            let name = step.name.clone();
            move |error| DeployError::Chain(name, Box::new(error))
        };
        for (step, Rehearsed { code, .. }) in self.steps.iter().zip(rehearsed) {
            let stands = step.stands(chain, code)?;
            if !stands && let Chain::Rpc(rpc) = chain {
                // It may be on its way since an earlier run was stopped, or from another process with this key.
                rpc.wait_for_pending(key.address()).map_err(named(step))?;
            }
            if stands || step.stands(chain, code)? {
                report(step, None);
                continue;
            }
            if step.to == CREATE2_PROXY
                && chain.code(CREATE2_PROXY).map_err(named(step))? != CREATE2_PROXY_CODE
            {
                return Err(DeployError::NoProxy(chain.id()));
            }
            match chain.send_data(key, step.to, step.data.clone()) {
                Ok(_) if !step.stands(chain, code)? => return Err(DeployError::Nothing(step.name.clone())),
                Ok(receipt) => report(step, Some(&receipt)),
                // Whoever put it there, it stands.
                Err(_) if step.stands(chain, code)? => report(step, None),
                Err(error) => return Err(named(step)(error)),
            }
        }
        Ok(())
    }
}

impl Step {
    /// True where its code is at its address, false where nothing is.
    fn stands(&self, chain: &Chain, expected: &Bytes) -> Result<bool, DeployError> {
        let found =
            chain.code(self.at).map_err(|error| DeployError::Chain(self.name.clone(), Box::new(error)))?;
        if found.is_empty() || found == *expected {
            return Ok(!found.is_empty());
        }
        Err(DeployError::Foreign(self.name.clone(), self.at))
    }
}

/// The coin that a plan names must be one, with the decimals that all amounts are in.
pub fn check_cash(chain: &mut Chain, cash: Address) -> Result<(), DeployError> {
    let wrong = |what: String| DeployError::Cash(cash, what);
    let code = chain.code(cash).map_err(|error| DeployError::Chain("cash".into(), Box::new(error)))?;
    if code.is_empty() {
        return Err(wrong(format!("has no code on chain {}", chain.id())));
    }
    let decimals = chain.call(cash, &Credit::decimalsCall {});
    match decimals.map_err(|error| wrong(format!("does not say how many decimals it has: {error}")))? {
        6 => Ok(()),
        other => Err(wrong(format!("has {other} decimals"))),
    }
}

/// Deploys everything a plan needs, or what of it is missing.
pub fn deploy(
    chain: &mut Chain,
    key: &Key,
    offering: &OfferingSetup,
    treasury: &TreasurySetup,
    service: &ServiceSetup,
    coins: &Coins,
) -> Result<Deployment, DeployError> {
    let blueprint = Blueprint::new(key.address(), 0, offering, treasury, service, coins);
    let rehearsed = blueprint.rehearse(key.address(), chain.id())?;
    blueprint.run(chain, key, &rehearsed, |_, _| {})?;
    Ok(blueprint.contracts)
}

/// Init code of each contract, in the order of deployment.
fn init_codes(
    deployer: Address,
    offering: &OfferingSetup,
    treasury: &TreasurySetup,
    service: &ServiceSetup,
    coins: &Coins,
    at: &Deployment,
) -> Vec<(String, Bytes)> {
    let mut codes = Vec::new();
    if coins.cash.is_none() {
        let (name_, symbol_) = coins.cash_name.clone();
        let constructor = DevCash::constructorCall { name_, symbol_, minter_: deployer };
        codes.push(("cash".into(), init_code(&DevCash::BYTECODE, &constructor)));
    }
    for (index, round) in offering.rounds.iter().enumerate() {
        if let Sale::Rising { ladder, .. } = &round.sale {
            let constructor = LadderData::constructorCall { knots: ladder_bytes(ladder) };
            codes.push((format!("ladder {index}"), init_code(&LadderData::BYTECODE, &constructor)));
        }
    }
    if !coins.x402 {
        codes.push(("channels".into(), Channels::BYTECODE.clone()));
        let constructor = DepositCollector::constructorCall { settlement_: at.channels };
        codes.push(("collector".into(), init_code(&DepositCollector::BYTECODE, &constructor)));
    }
    let (name_, symbol_) = coins.credit_name.clone();
    let constructor = Credit::constructorCall { name_, symbol_, minter_: at.offering };
    codes.push(("credit".into(), init_code(&Credit::BYTECODE, &constructor)));
    let constructor = Vault::constructorCall {
        credit_: at.credit,
        channels_: at.channels,
        collector_: at.collector,
        revenue_: at.revenue,
    };
    codes.push(("vault".into(), init_code(&Vault::BYTECODE, &constructor)));
    let setup = treasury_setup(treasury, at.cash, at.offering, offering.rounds.len());
    let constructor = Treasury::constructorCall { setup };
    codes.push(("treasury".into(), init_code(&Treasury::BYTECODE, &constructor)));
    let setup = offering_setup(offering, at.cash, at.credit, at.treasury, at.vault, &at.ladders);
    let constructor = Offering::constructorCall { setup };
    codes.push(("offering".into(), init_code(&Offering::BYTECODE, &constructor)));
    let constructor = Revenue::constructorCall { setup: revenue_setup(&service.revenue, at) };
    codes.push(("revenue".into(), init_code(&Revenue::BYTECODE, &constructor)));
    if let Some(list) = &service.price_list {
        let constructor = PriceList::constructorCall { setup: price_list_setup(list) };
        codes.push(("price list".into(), init_code(&PriceList::BYTECODE, &constructor)));
    }
    codes
}

/// Knots as `Ladder.sol` reads them: weight 8 bytes, credits 12.
pub fn ladder_bytes(ladder: &Ladder) -> Bytes {
    let knots = ladder.knots().iter();
    knots
        .flat_map(|knot| [&knot.weight.to_be_bytes()[..], &knot.credits.to_be_bytes()[4..]].concat())
        .collect::<Vec<u8>>()
        .into()
}

fn revenue_setup(setup: &RevenueSetup, at: &Deployment) -> Revenue::RevenueSetup {
    Revenue::RevenueSetup {
        issuer: setup.issuer,
        credit: at.credit,
        cash: at.cash,
        channels: at.channels,
        share: setup.share.get(),
        roles: [setup.gateway; 4],
    }
}

/// The price list's constructor argument.
pub(crate) fn price_list_setup(setup: &PriceListSetup) -> PriceList::PriceListSetup {
    let entries = setup.entries.iter().map(|entry| PriceList::Entry {
        model: entry.model.clone(),
        unit: entry.unit.number(),
        credits: entry.credits,
        cash: entry.cash,
    });
    PriceList::PriceListSetup {
        issuer: setup.issuer,
        notice: setup.notice_secs,
        tier: setup.tier.clone(),
        tierOutput: setup.tier_output,
        tierModel: setup.tier_model.clone(),
        entries: entries.collect(),
    }
}

fn treasury_setup(
    setup: &TreasurySetup,
    cash: Address,
    offering: Address,
    classes: usize,
) -> Treasury::TreasurySetup {
    let ceilings = setup.ceilings.iter();
    Treasury::TreasurySetup {
        cash,
        offering,
        issuer: setup.issuer,
        votes: Address::ZERO,
        deadline: time(setup.deadline),
        tapStart: time(setup.tap_start),
        tapPerSec: setup.tap_per_sec,
        ceilingAtStart: setup.ceiling_at_start,
        classes: u8::try_from(classes).expect("at most 8"),
        ceilings: ceilings.map(|&(cash, before)| Treasury::Ceiling { cash, beforeLive: before }).collect(),
    }
}

fn offering_setup(
    setup: &OfferingSetup,
    cash: Address,
    credit: Address,
    treasury: Address,
    vault: Address,
    ladders: &[Option<Address>],
) -> Offering::OfferingSetup {
    let packed = |values: Vec<u16>| {
        values.into_iter().enumerate().map(|(i, value)| U256::from(value) << (16 * i)).sum::<U256>()
    };
    Offering::OfferingSetup {
        cash,
        credit,
        treasury,
        vault,
        issuer: setup.issuer,
        certifier: setup.certifier,
        guardian: setup.guardian,
        termsHash: setup.terms_hash,
        softCap: setup.soft_cap,
        softCapDate: time(setup.soft_cap_date),
        deadline: time(setup.deadline),
        notice: u32::try_from(setup.notice_secs).expect("from 32 bits"),
        objections: setup.objections,
        milestones: setup.milestones,
        discounts: packed(setup.discounts.iter().map(|discount| discount.get()).collect()),
        locks: packed(setup.lock_days.clone()),
        schedules: setup.schedules.iter().map(earnest_core::schedule::Schedule::pack).collect(),
        attesters: setup.attesters.clone(),
        rounds: setup.rounds.iter().zip(ladders).map(|(round, ladder)| round_setup(round, *ladder)).collect(),
    }
}

fn round_setup(round: &RoundSetup, ladder: Option<Address>) -> Offering::RoundSetup {
    let mut setup = Offering::RoundSetup {
        kind: 0,
        firstCome: false,
        coolingOffDays: round.cooling_off_days,
        follows: 255,
        ticks: round.ticks(),
        schedules: round.schedules,
        open: time(round.open),
        close: time(round.close),
        pauseLimit: alloy_primitives::aliases::U24::from(round.pause_limit),
        supply: alloy_primitives::aliases::U96::from(round.supply()),
        price: 0,
        step: 0,
        windowSecs: 0,
        windowCap: 0,
        cap: 0,
        start: 0,
        withdrawableMost: round.withdrawable_most,
        ladder: ladder.unwrap_or_default(),
    };
    match &round.sale {
        Sale::Fixed { price, first_come, private, .. } => {
            (setup.kind, setup.price, setup.firstCome) = (u8::from(*private), *price, *first_come);
        }
        Sale::Auction { prices, .. } => {
            (setup.kind, setup.price, setup.step) = (2, prices.floor, prices.step)
        }
        Sale::Rising { window_secs, window_cap, cap, start, follows, .. } => {
            setup.kind = 3;
            setup.windowSecs = u32::try_from(*window_secs).expect("from 32 bits");
            (setup.windowCap, setup.cap, setup.start) = (*window_cap, *cap, *start);
            setup.follows = follows.unwrap_or(255);
        }
    }
    setup
}

fn time(time: u64) -> alloy_primitives::aliases::U40 {
    alloy_primitives::aliases::U40::from(time)
}

/// Play money for a wallet, on a deployment that brought its own.
pub fn mint_cash(
    chain: &mut Chain,
    key: &Key,
    cash: Address,
    to: Address,
    units: u64,
) -> Result<(), ChainError> {
    chain.send(key, cash, &DevCash::mintCall { to, units: U256::from(units) }).map(drop)
}

/// Lets the offering take a wallet's cash.
pub fn approve_cash(chain: &mut Chain, key: &Key, cash: Address, spender: Address) -> Result<(), ChainError> {
    let call = DevCash::approveCall { spender, value: U256::MAX };
    chain.send(key, cash, &call).map(drop)
}

impl Deployment {
    /// Where the vault of a position in a cleared round is, or will be: a CREATE2 clone of the vault's code that carries
    /// its owner and the end of its lock.
    pub fn vault_of(&self, offering: &Offering_, id: BidId) -> Address {
        let until = offering.unlock_at(id).to_be_bytes();
        let args = [offering.bid(id).wallet.as_slice(), &until[3..]].concat();
        // OpenZeppelin's clone with immutable arguments: creation code, then the 45 bytes of ERC-1167, then the arguments.
        let size = u16::try_from(45 + args.len()).expect("25 bytes of arguments").to_be_bytes();
        let init = [
            &[0x61, size[0], size[1], 0x3d, 0x81, 0x60, 0x0a, 0x3d, 0x39, 0xf3][..],
            &hex!("363d3d373d3d3d363d73")[..],
            self.vault.as_slice(),
            &hex!("5af43d82803e903d91602b57fd5bf3")[..],
            &args,
        ]
        .concat();
        self.offering.create2(U256::from(id.pack()).to_be_bytes::<32>(), alloy_primitives::keccak256(init))
    }
}
