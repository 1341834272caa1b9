//! The rate of this processor's time-stamp counter, which a guest under TCG reads as it is.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A reading of the counter, and when.
#[derive(Clone, Copy, Debug)]
struct Reading {
    ticks: u64,
    at: Instant,
}

static FIRST: OnceLock<Reading> = OnceLock::new();
/// Least time between two readings: the error is then below one in ten thousand. Mostly there is more, since a launcher has things to do
/// between its first look at the counter and the start of the machine.
const LEAST: Duration = Duration::from_millis(3);

impl Reading {
    fn take() -> Self {
        #[expect(unsafe_code, reason = "reads a counter")]
        // SAFETY: RDTSC has no effect on memory and exists on every x86_64 processor.
        let ticks = || unsafe { core::arch::x86_64::_rdtsc() };
        // The tightest of a few, so that being scheduled away between counter and clock does no harm.
        let tries = (0..5).map(|_| {
            let before = ticks();
            let at = Instant::now();
            let after = ticks();
            (
                after.wrapping_sub(before),
                Self { ticks: before.wrapping_add(after.wrapping_sub(before) / 2), at },
            )
        });
        match tries.min_by_key(|(width, _)| *width) {
            Some((_, reading)) => reading,
            None => Self { ticks: 0, at: Instant::now() },
        }
    }
}

/// Takes the first reading, unless that was done.
pub(crate) fn begin() {
    FIRST.get_or_init(Reading::take);
}

/// Its rate in kHz, by the clock that time synchronisation keeps right.
pub fn khz() -> u64 {
    let first = FIRST.get_or_init(Reading::take);
    while first.at.elapsed() < LEAST {
        std::thread::sleep(LEAST.saturating_sub(first.at.elapsed()));
    }
    let second = Reading::take();
    let ticks = u128::from(second.ticks.wrapping_sub(first.ticks));
    let elapsed = second.at.duration_since(first.at).as_nanos().max(1);
    u64::try_from(ticks * 1_000_000 / elapsed).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let short = khz();
        std::thread::sleep(Duration::from_millis(50));
        let long = khz();
        assert!(short.abs_diff(long) < long / 1000, "{short} and {long}");
    }
}
