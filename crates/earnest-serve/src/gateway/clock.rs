//! The gateway's time. A wall clock can be set by anyone who can set it: what is kept for a day, what a key may spend in a
//! day, and until when an order is good must not hang on one jump of it.

use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the time that passes, the clock is put right by at most one part in so many.
const SLEW: u64 = 20;
/// The clock's state is brought up to date this often; in between it follows from it.
const STEP_MS: u64 = 1_000;
/// Time that passed unwatched counts for putting right no more than this.
const MOST_MS: u64 = 60_000;

/// A moment by both clocks, in milliseconds: the gateway's time, and what a clock that nobody sets said then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    time: u64,
    boot: u64,
}

impl Anchor {
    /// The time at `boot`, where the wall clock says `wall`. It goes on as `boot` does, and comes nearer to the wall clock
    /// by at most a twentieth of what passed, rounded down. So it hardly ever goes back, a clock that was corrected by a minute
    /// is caught up with in twenty, and one that is wrong by years for an hour takes the time along by three minutes: less
    /// than an order's clock may be off. A gateway that started with a wrong clock is to be started again.
    fn at(self, boot: u64, wall: u64) -> u64 {
        let passed = boot.saturating_sub(self.boot);
        let time = self.time.saturating_add(passed);
        let most = passed.min(MOST_MS) / SLEW;
        wall.clamp(time - most, time.saturating_add(most))
    }

    /// The same time, told from `boot` on.
    fn step(self, boot: u64, wall: u64) -> Anchor {
        if boot.saturating_sub(self.boot) < STEP_MS {
            self
        } else {
            Anchor { time: self.at(boot, wall), boot }
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds that nobody can set, those of a suspended machine among them.
#[cfg(target_os = "linux")]
fn boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    secs.unwrap_or(0).saturating_mul(1_000).saturating_add(nanos.unwrap_or(0) / 1_000_000)
}

/// Milliseconds that nobody can set.
#[cfg(not(target_os = "linux"))]
fn boot_ms() -> u64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let passed = START.get_or_init(std::time::Instant::now).elapsed();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970: the wall clock's at the first call, and from then on as [`Anchor::at`] has it.
pub fn now_ms() -> u64 {
    static ANCHOR: OnceLock<Mutex<Anchor>> = OnceLock::new();
    let anchor = ANCHOR.get_or_init(|| Mutex::new(Anchor { time: wall_ms(), boot: boot_ms() }));
    let mut anchor = anchor.lock().expect("no panic holds it");
    let (boot, wall) = (boot_ms(), wall_ms());
    *anchor = anchor.step(boot, wall);
    anchor.at(boot, wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const HOUR: u64 = 3_600_000;
    const MINUTE: u64 = 60_000;
    const START: Anchor = Anchor { time: 20_000 * DAY, boot: 5_000 };

    /// The time after so long, asked every 200 ms, with a wall clock that is off by so much.
    fn after(passed: u64, off: i64) -> Anchor {
        let mut anchor = START;
        for boot in (0..=passed).step_by(200) {
            let wall = (START.time + boot).saturating_add_signed(off);
            let before = anchor;
            anchor = anchor.step(START.boot + boot, wall);
            assert!(anchor.time >= before.time, "it never goes back");
        }
        anchor
    }

    #[test]
    fn a_jump_of_the_wall_clock_changes_nothing_at_once() {
        for off in [i64::MIN, -400 * DAY.cast_signed(), 400 * DAY.cast_signed(), i64::MAX] {
            assert_eq!(START.at(5_000, START.time.saturating_add_signed(off)), START.time);
            let hour = after(HOUR, off).time;
            assert!(hour.abs_diff(START.time + HOUR) <= 3 * MINUTE, "off by {off}: {hour}");
        }
    }

    #[test]
    fn a_correction_is_followed_by_a_twentieth_of_the_time() {
        for off in [-MINUTE.cast_signed(), MINUTE.cast_signed()] {
            let early = after(10 * MINUTE, off).time;
            assert_eq!(early, (START.time + 10 * MINUTE).saturating_add_signed(off / 2));
            let late = after(21 * MINUTE, off).time;
            assert_eq!(late, (START.time + 21 * MINUTE).saturating_add_signed(off));
        }
    }

    #[test]
    fn a_machine_that_slept_wakes_up_in_the_present() {
        let (boot, wall) = (START.boot + 8 * HOUR, START.time + 8 * HOUR);
        assert_eq!(START.at(boot, wall), wall);
        // What it could not know meanwhile is caught up with step by step.
        assert_eq!(START.at(boot, wall + HOUR), wall + MINUTE / SLEW);
    }
}
