//! How what the service earned is split: numbered cumulative statements of each coin, out of which providers are paid
//! and the rest is burned or goes to the issuer (PAY-1).

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use thiserror::Error;

use crate::money::Bps;

/// What the contract's constructor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevenueSetup {
    /// Rotates the roles; gets the rest of cash.
    pub issuer: Address,
    /// Has every role at first.
    pub gateway: Address,
    /// Most of what is settled that may go to providers.
    pub share: Bps,
}

/// Keys of the gateway. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Claims from channels.
    Claimer,
    /// Gives back what is not claimed.
    Refunder,
    /// Publishes statements.
    Publisher,
    /// Signs receipts.
    ReceiptSigner,
}

impl Role {
    /// In the order of their numbers.
    pub const ALL: [Role; 4] = [Role::Claimer, Role::Refunder, Role::Publisher, Role::ReceiptSigner];
}

/// All that was settled of one coin, split. Every amount is a total since the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Split {
    /// Split by it.
    pub settled: u128,
    /// Providers' pay, each rounded down; the sum of the leaves.
    pub pay: u128,
    /// Who has what, by address.
    pub leaves: BTreeMap<Address, u128>,
}

impl Split {
    /// Splits what was settled by what each provider served of it: the share of that, rounded down. What no provider
    /// served, and what rounding leaves, is rest. `None` where they would have served more than was settled.
    pub fn new(settled: u128, served: &BTreeMap<Address, u128>, share: Bps) -> Option<Self> {
        let all = served.values().try_fold(0u128, |all, &part| all.checked_add(part))?;
        if all > settled {
            return None;
        }
        let leaves = served.iter().map(|(&provider, &part)| (provider, part_of(part, share)));
        let leaves: BTreeMap<_, _> = leaves.filter(|(_, pay)| *pay != 0).collect();
        Some(Split { settled, pay: leaves.values().sum(), leaves })
    }

    /// What is burned, or goes to the issuer.
    pub fn rest(&self) -> u128 {
        self.settled - self.pay
    }

    /// The tree that providers prove their pay by.
    pub fn tree(&self) -> Tree {
        Tree::new(self.leaves.iter().map(|(&provider, &cumulative)| leaf(provider, cumulative)).collect())
    }

    /// A provider's proof of its pay under the tree's root.
    pub fn proof(&self, provider: Address) -> Option<Vec<B256>> {
        self.tree().proof(leaf(provider, *self.leaves.get(&provider)?))
    }
}

/// A share, rounded down.
fn part_of(amount: u128, share: Bps) -> u128 {
    let part = U256::from(amount) * U256::from(share.get()) / U256::from(10_000);
    u128::try_from(part).expect("no more than the whole")
}

/// Hash of what a provider was paid in all: twice, so that no inner node passes for a leaf.
pub fn leaf(provider: Address, cumulative: u128) -> B256 {
    let words = [provider.into_word(), B256::from(U256::from(cumulative))];
    keccak256(keccak256(words.concat()))
}

/// A Merkle tree with sorted pairs, as OpenZeppelin's `StandardMerkleTree` builds it: all nodes in one list, the root
/// first, the leaves last and in falling order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(Vec<B256>);

impl Tree {
    /// Over leaves in any order.
    pub fn new(mut leaves: Vec<B256>) -> Self {
        leaves.sort_unstable_by(|a, b| b.cmp(a));
        let inner = leaves.len().saturating_sub(1);
        let mut nodes = vec![B256::ZERO; inner];
        nodes.extend(leaves);
        for node in (0..inner).rev() {
            nodes[node] = pair(nodes[2 * node + 1], nodes[2 * node + 2]);
        }
        Tree(nodes)
    }

    /// The root; zero where there are no leaves, which proves nothing.
    pub fn root(&self) -> B256 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The neighbours of a leaf on its way up.
    pub fn proof(&self, leaf: B256) -> Option<Vec<B256>> {
        let leaves = self.0.len() / 2;
        let mut node = leaves + self.0[leaves..].iter().position(|node| *node == leaf)?;
        let mut proof = Vec::new();
        while node > 0 {
            // Left children are odd.
            proof.push(self.0[if node % 2 == 1 { node + 1 } else { node - 1 }]);
            node = (node - 1) / 2;
        }
        Some(proof)
    }
}

/// The root that a proof leads to.
pub fn prove(leaf: B256, proof: &[B256]) -> B256 {
    proof.iter().fold(leaf, |node, neighbour| pair(node, *neighbour))
}

fn pair(one: B256, other: B256) -> B256 {
    keccak256([one.min(other), one.max(other)].concat())
}

/// One coin's last statement, and what was paid by it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Statement {
    /// One more each time.
    pub number: u32,
    /// Split by it.
    pub settled: u128,
    /// Providers'.
    pub pay: u128,
    /// Had by providers.
    pub paid: u128,
    /// Of the rest, what was burned or sent.
    pub rest_paid: u128,
    /// Of the providers' tree.
    pub root: B256,
    /// What each provider had in all.
    pub paid_to: BTreeMap<Address, u128>,
}

/// Why something was refused. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum RevenueError {
    #[error("{0} is not the issuer")]
    NotIssuer(Address),
    #[error("{1} is not the {0:?}")]
    NotInRole(Role, Address),
    #[error("{0} is neither the credit nor the cash")]
    UnknownCoin(Address),
    #[error("statement {number} is not the next one, {next}")]
    WrongNumber { number: u32, next: u32 },
    #[error("{asked} is more than was settled, {settled}")]
    OverSettled { asked: u128, settled: u128 },
    #[error("pay of {pay} is above the share, {most}")]
    OverShare { pay: u128, most: u128 },
    #[error("{now} is less than before, {before}")]
    Falls { now: u128, before: u128 },
    #[error("the last statement does not say that {provider} has {cumulative} in all")]
    BadProof { provider: Address, cumulative: u128 },
    #[error("{provider} has had {paid} already")]
    NothingToPay { provider: Address, paid: u128 },
    #[error("{asked} is more than is left of the pay, {left}")]
    OverPay { asked: u128, left: u128 },
}

/// A statement as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Statement`")]
pub struct Publication {
    pub coin: Address,
    pub number: u32,
    pub settled: u128,
    pub pay: u128,
    pub root: B256,
}

/// Receiver and receiverAuthorizer of a deployment's channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revenue {
    /// What was agreed.
    pub setup: RevenueSetup,
    /// The coins that it knows: credits, then cash.
    pub coins: [Address; 2],
    /// Who has each role.
    pub roles: [Address; 4],
    /// By coin, as `coins`.
    pub statements: [Statement; 2],
}

impl Revenue {
    /// Before the first statement.
    pub fn new(setup: RevenueSetup, credit: Address, cash: Address) -> Self {
        let roles = [setup.gateway; 4];
        Revenue { setup, coins: [credit, cash], roles, statements: Default::default() }
    }

    /// Gives a role to another key.
    pub fn rotate(&mut self, caller: Address, role: Role, holder: Address) -> Result<(), RevenueError> {
        if caller != self.setup.issuer {
            return Err(RevenueError::NotIssuer(caller));
        }
        self.roles[role as usize] = holder;
        Ok(())
    }

    /// Whether a key has a role.
    pub fn check(&self, role: Role, caller: Address) -> Result<(), RevenueError> {
        if self.roles[role as usize] == caller { Ok(()) } else { Err(RevenueError::NotInRole(role, caller)) }
    }

    /// Which of the two coins it is.
    pub fn coin(&self, coin: Address) -> Result<usize, RevenueError> {
        self.coins.iter().position(|known| *known == coin).ok_or(RevenueError::UnknownCoin(coin))
    }

    /// The next statement, of a coin of which so much was settled. Returns what of the rest leaves now.
    pub fn publish(
        &mut self,
        caller: Address,
        publication: &Publication,
        from_channels: u128,
    ) -> Result<u128, RevenueError> {
        self.check(Role::Publisher, caller)?;
        let Publication { coin, number, settled, pay, root } = *publication;
        let index = self.coin(coin)?;
        let last = &mut self.statements[index];
        if number != last.number + 1 {
            return Err(RevenueError::WrongNumber { number, next: last.number + 1 });
        }
        if settled > from_channels {
            return Err(RevenueError::OverSettled { asked: settled, settled: from_channels });
        }
        let most = part_of(settled, self.setup.share);
        if pay > most {
            return Err(RevenueError::OverShare { pay, most });
        }
        let rest = settled - pay;
        for (now, before) in [(settled, last.settled), (pay, last.pay), (rest, last.settled - last.pay)] {
            if now < before {
                return Err(RevenueError::Falls { now, before });
            }
        }
        let due = rest - last.rest_paid;
        (last.number, last.settled, last.pay, last.root, last.rest_paid) = (number, settled, pay, root, rest);
        Ok(due)
    }

    /// Pays a provider what it has not had; returns how much. `proof` leads from its leaf to a root.
    pub fn claim_pay(
        &mut self,
        coin: Address,
        provider: Address,
        cumulative: u128,
        proof: &[B256],
    ) -> Result<u128, RevenueError> {
        let bad = RevenueError::BadProof { provider, cumulative };
        let index = self.coin(coin).map_err(|_| bad)?;
        let last = &mut self.statements[index];
        if prove(leaf(provider, cumulative), proof) != last.root {
            return Err(bad);
        }
        let before = last.paid_to.get(&provider).copied().unwrap_or(0);
        if cumulative <= before {
            return Err(RevenueError::NothingToPay { provider, paid: before });
        }
        let (asked, left) = (cumulative - before, last.pay - last.paid);
        if asked > left {
            return Err(RevenueError::OverPay { asked, left });
        }
        last.paid_to.insert(provider, cumulative);
        last.paid += asked;
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn provider(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    #[test]
    fn a_split_sums_to_what_was_settled_and_never_falls() {
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let share = Bps::new(random.random_range(0..=10_000)).unwrap();
            let (mut settled, mut served) = (0u128, BTreeMap::new());
            let mut last = Split::default();
            for _ in 0..20 {
                let digits = random.random_range(1..30);
                let part = random.random_range(0..10u128.pow(digits));
                *served.entry(provider(random.random_range(1..6))).or_insert(0) += part;
                settled += part + random.random_range(0..3u128);
                let split = Split::new(settled, &served, share).expect("no more than was settled");
                assert_eq!(split.leaves.values().sum::<u128>() + split.rest(), settled);
                assert!(split.pay <= part_of(settled, share));
                assert!(split.pay >= last.pay && split.rest() >= last.rest());
                last = split;
            }
            assert_eq!(Split::new(served.values().sum::<u128>() - 1, &served, share), None);
        }
    }

    #[test]
    fn every_leaf_and_nothing_else_is_proved() {
        for count in 0..40u8 {
            let served = (1..=count).map(|number| (provider(number), u128::from(number) * 1_000)).collect();
            let split = Split::new(1_000_000, &served, Bps::new(8_000).unwrap()).expect("no more");
            let root = split.tree().root();
            for (&who, &cumulative) in &split.leaves {
                let proof = split.proof(who).expect("a leaf");
                assert_eq!(prove(leaf(who, cumulative), &proof), root);
                assert!(proof.len() <= 6);
                assert_ne!(prove(leaf(who, cumulative + 1), &proof), root);
            }
            assert_eq!(split.proof(provider(99)), None);
        }
    }

    #[test]
    fn a_tree_is_the_one_that_openzeppelins_library_builds() {
        // The example in the readme of @openzeppelin/merkle-tree, which has uint256 where we have uint128: one word all the same.
        let ether = |whole: u128| whole * 10u128.pow(18);
        let leaves = vec![leaf(provider(0x11), ether(5)), leaf(provider(0x22), ether(5) / 2)];
        let root = "0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77";
        assert_eq!(Tree::new(leaves).root().to_string(), root);
    }

    #[test]
    fn a_root_that_promises_more_than_the_pay_pays_no_more() {
        let (issuer, gateway, credit) = (provider(1), provider(2), provider(3));
        let setup = RevenueSetup { issuer, gateway, share: Bps::new(5_000).unwrap() };
        let mut revenue = Revenue::new(setup, credit, provider(4));
        let leaves = [(provider(10), 40), (provider(11), 20)];
        let tree = Tree::new(leaves.iter().map(|&(who, pay)| leaf(who, pay)).collect());
        let publication = Publication { coin: credit, number: 1, settled: 100, pay: 50, root: tree.root() };
        assert_eq!(revenue.publish(gateway, &publication, 100), Ok(50));
        let mut claim = |index: usize| {
            let (who, pay): (Address, u128) = leaves[index];
            revenue.claim_pay(credit, who, pay, &tree.proof(leaf(who, pay)).unwrap())
        };
        assert_eq!(claim(0), Ok(40));
        assert_eq!(claim(1), Err(RevenueError::OverPay { asked: 20, left: 10 }));
        assert_eq!(claim(0), Err(RevenueError::NothingToPay { provider: provider(10), paid: 40 }));
    }
}
