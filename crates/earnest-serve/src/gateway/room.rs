//! Room for what is long. Every connection may hold a block; what requests and answers hold beyond it is counted, block by
//! block as it comes, for what many say that they will send is not there at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that need no room.
pub const BLOCK: usize = 64 << 10;

/// A number of bytes that all share.
pub struct Rooms(Arc<Semaphore>);

/// What one of them holds of it, until it is dropped.
pub struct Room {
    of: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Rooms {
    /// With so many bytes in all.
    pub fn new(bytes: usize) -> Self {
        Rooms(Arc::new(Semaphore::new(bytes / BLOCK)))
    }

    /// For one more, which holds nothing yet.
    pub fn room(&self) -> Room {
        Room { of: self.0.clone(), held: None }
    }
}

impl Room {
    /// Makes room for so many bytes in all. Where there is none it keeps what it has and says no.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BLOCK).saturating_sub(1).saturating_sub(held);
        if more == 0 {
            return true;
        }
        let Ok(more) = u32::try_from(more) else { return false };
        match self.of.clone().try_acquire_many_owned(more) {
            Ok(more) => {
                match &mut self.held {
                    Some(held) => held.merge(more),
                    None => self.held = Some(more),
                }
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_of_is_there_again() {
        let rooms = Rooms::new(4 * BLOCK);
        let (mut one, mut other) = (rooms.room(), rooms.room());
        // The first block is everyone's own.
        assert!(one.grow(0) && one.grow(BLOCK) && one.grow(4 * BLOCK) && one.grow(3 * BLOCK));
        assert!(other.grow(2 * BLOCK) && !other.grow(2 * BLOCK + 1));
        drop(one);
        assert!(other.grow(5 * BLOCK) && !other.grow(5 * BLOCK + 1));
        assert!(!rooms.room().grow(BLOCK + 1));
    }
}
