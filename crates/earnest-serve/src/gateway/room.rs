//! Room for what is long. Every connection may hold a block; what requests and answers hold beyond it is counted, block by
//! block as it comes, for what many say that they will send is not there at once. Nobody holds more than a share of it,
//! or one who reads slowly what it bought could keep everyone else's long answers out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;

/// Bytes that need no room.
pub const BLOCK: usize = 64 << 10;
/// One owner holds at most one part in so many.
const SHARE: usize = 4;

/// A number of bytes that all share.
pub struct Rooms(Arc<Shared>);

struct Shared {
    /// Blocks that one owner may hold.
    share: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    free: usize,
    /// Blocks of each owner that has some.
    owners: HashMap<B256, usize>,
}

/// What one request or answer holds of it, until it is dropped.
pub struct Room {
    of: Arc<Shared>,
    owner: B256,
    blocks: usize,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    /// With so many bytes in all, of which one owner may hold a quarter, or one of the longest where that is more.
    pub fn new(bytes: usize, longest: usize) -> Self {
        let free = bytes / BLOCK;
        let share = (free / SHARE).max(longest.div_ceil(BLOCK));
        let held = Mutex::new(Held { free, ..Held::default() });
        Rooms(Arc::new(Shared { share, held }))
    }

    /// For one more of an owner's, a channel's, which holds nothing yet.
    pub fn room(&self, owner: B256) -> Room {
        Room { of: self.0.clone(), owner, blocks: 0 }
    }
}

impl Room {
    /// Makes room for so many bytes in all. Where there is none, or none of its owner's share, it keeps what it has and
    /// says no.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.div_ceil(BLOCK).saturating_sub(1).saturating_sub(self.blocks);
        if more == 0 {
            return true;
        }
        let mut held = self.of.held();
        let own = held.owners.get(&self.owner).copied().unwrap_or_default();
        if more > held.free || more > self.of.share.saturating_sub(own) {
            return false;
        }
        held.free -= more;
        held.owners.insert(self.owner, own + more);
        self.blocks += more;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.blocks == 0 {
            return;
        }
        let mut held = self.of.held();
        held.free += self.blocks;
        let left = held.owners.get(&self.owner).map_or(0, |own| own.saturating_sub(self.blocks));
        match left {
            0 => held.owners.remove(&self.owner),
            left => held.owners.insert(self.owner, left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    #[test]
    fn what_is_let_go_of_is_there_again() {
        let rooms = Rooms::new(4 * BLOCK, 8 * BLOCK);
        let (mut one, mut other) = (rooms.room(owner(1)), rooms.room(owner(1)));
        // The first block is everyone's own.
        assert!(one.grow(0) && one.grow(BLOCK) && one.grow(4 * BLOCK) && one.grow(3 * BLOCK));
        assert!(other.grow(2 * BLOCK) && !other.grow(2 * BLOCK + 1));
        drop(one);
        assert!(other.grow(5 * BLOCK) && !other.grow(5 * BLOCK + 1));
        assert!(!rooms.room(owner(2)).grow(BLOCK + 1));
    }

    #[test]
    fn an_owner_holds_its_share_and_leaves_the_rest_to_others() {
        let rooms = Rooms::new(40 * BLOCK, 5 * BLOCK);
        let mut held: Vec<Room> = (0..100).map(|_| rooms.room(owner(1))).collect();
        let taken = held.iter_mut().filter_map(|room| room.grow(2 * BLOCK).then_some(())).count();
        assert_eq!(taken, 10, "a quarter of all");
        // It stays so however often it is tried, and nothing is lost by trying.
        assert!(held.iter_mut().skip(10).all(|room| !room.grow(2 * BLOCK)));
        for other in 2..5 {
            let mut room = rooms.room(owner(other));
            assert!(room.grow(11 * BLOCK) && !room.grow(12 * BLOCK));
            held.push(room);
        }
        assert!(!rooms.room(owner(5)).grow(2 * BLOCK), "all is held, by four");
        drop(held);
        assert!(rooms.0.held().owners.is_empty() && rooms.0.held().free == 40);
        let mut again = rooms.room(owner(1));
        assert!(again.grow(11 * BLOCK) && !again.grow(12 * BLOCK));
    }

    #[test]
    fn one_of_the_longest_fits_whatever_the_share() {
        let rooms = Rooms::new(8 * BLOCK, 6 * BLOCK);
        let mut room = rooms.room(owner(1));
        assert!(room.grow(6 * BLOCK) && !rooms.room(owner(1)).grow(3 * BLOCK));
    }
}
