//! A Merkle tree of what each provider has earned, as OpenZeppelin's `MerkleProof` checks it: leaves are hashed twice, so
//! that no inner node is one, and pairs are sorted.

use alloy_primitives::{Address, B256, keccak256};

/// The tree. Its leaves stand in the order in which they were given.
#[derive(Clone, Debug)]
pub struct Tree(Vec<Vec<B256>>);

/// `keccak256(bytes.concat(keccak256(abi.encode(provider, cumulative))))`
pub fn leaf(provider: Address, cumulative: u128) -> B256 {
    let mut words = [0u8; 64];
    words[12..32].copy_from_slice(provider.as_slice());
    words[48..].copy_from_slice(&cumulative.to_be_bytes());
    keccak256(keccak256(words))
}

fn pair(one: B256, other: B256) -> B256 {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    keccak256([low.0, high.0].concat())
}

impl Tree {
    /// Over (provider, cumulative).
    pub fn new(leaves: impl IntoIterator<Item = (Address, u128)>) -> Self {
        let mut levels = vec![leaves.into_iter().map(|(who, sum)| leaf(who, sum)).collect::<Vec<_>>()];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            // One without a partner goes up as it is.
            let above = below.chunks(2).map(|two| two.get(1).map_or(two[0], |other| pair(two[0], *other)));
            levels.push(above.collect());
        }
        Tree(levels)
    }

    /// Zero, where there is no leaf.
    pub fn root(&self) -> B256 {
        self.0[self.0.len() - 1].first().copied().unwrap_or_default()
    }

    /// What proves the leaf at this place; none if there is none.
    pub fn proof(&self, mut place: usize) -> Option<Vec<B256>> {
        (place < self.0[0].len()).then(|| {
            let mut proof = Vec::new();
            for level in &self.0[..self.0.len() - 1] {
                proof.extend(level.get(place ^ 1));
                place /= 2;
            }
            proof
        })
    }
}

/// Whether a proof leads from a leaf to a root.
pub fn proves(root: B256, provider: Address, cumulative: u128, proof: &[B256]) -> bool {
    proof.iter().fold(leaf(provider, cumulative), |node, other| pair(node, *other)) == root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_proven_and_nothing_else() {
        for count in 0..40u8 {
            let leaves: Vec<_> = (0..count).map(|i| (Address::repeat_byte(i), u128::from(i) * 7)).collect();
            let tree = Tree::new(leaves.clone());
            for (place, (provider, sum)) in leaves.iter().enumerate() {
                let proof = tree.proof(place).unwrap();
                assert!(proves(tree.root(), *provider, *sum, &proof), "{place} of {count}");
                assert!(!proves(tree.root(), *provider, sum + 1, &proof));
                assert!(!proves(tree.root(), Address::repeat_byte(0xee), *sum, &proof));
            }
            assert_eq!(tree.proof(count.into()), None);
        }
        assert_eq!(Tree::new([]).root(), B256::ZERO);
    }
}
