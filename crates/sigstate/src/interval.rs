//! Arithmetic of timers that expire again and again.

/// What a periodic timer that was due at `expiry` has come to by `now`: when it is due next, and how often it has expired. All in ns.
/// A timer that isn't due yet, or has no interval, is `(expiry, 0)` or `(expiry, 1)`.
pub const fn forward(expiry: u64, interval: u64, now: u64) -> (u64, u64) {
    if now < expiry {
        return (expiry, 0);
    }
    let Some(further) = (now - expiry).checked_div(interval) else { return (expiry, 1) };
    let count = further.saturating_add(1);
    (expiry.saturating_add(count.saturating_mul(interval)), count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_like_a_loop(expiry in 0u64..1000, interval in 1u64..50, now in 0u64..3000) {
            let (mut next, mut count) = (expiry, 0);
            while next <= now {
                next += interval;
                count += 1;
            }
            prop_assert_eq!(forward(expiry, interval, now), (next, count));
        }

        #[test]
        fn never_overflows(expiry: u64, interval: u64, now: u64) {
            let (next, count) = forward(expiry, interval, now);
            prop_assert!(next >= expiry);
            prop_assert_eq!(count == 0, now < expiry);
        }
    }
}
