//! The rate of this processor's time-stamp counter, which a guest under TCG reads as it is.

use std::time::Instant;

/// A first reading; `finish` takes the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    ticks: u64,
    at: Instant,
}

fn ticks() -> u64 {
    #[expect(unsafe_code, reason = "reads a counter")]
    // SAFETY: RDTSC has no effect on memory and exists on every x86_64 processor.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
}

/// Shortest time between the two readings: the error is then below one in ten thousand.
const SHORTEST_NS: u128 = 3_000_000;

impl Measurement {
    pub(crate) fn start() -> Self {
        Self { ticks: ticks(), at: Instant::now() }
    }

    /// kHz.
    pub(crate) fn finish(self) -> u64 {
        loop {
            let elapsed = self.at.elapsed().as_nanos();
            if elapsed >= SHORTEST_NS {
                let counted = u128::from(ticks().wrapping_sub(self.ticks));
                return u64::try_from(counted * 1_000_000 / elapsed).unwrap_or(0);
            }
            std::hint::spin_loop();
        }
    }
}
