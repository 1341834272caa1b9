//! Fair turns: a thread's virtual time passes as fast as real time divided by its weight, and the one with the least is next.

/// In the place of a nice value, for threads that run only when nobody else wants to (SCHED_IDLE, a weight of 3).
pub const IDLE: i32 = 26;
/// The same for threads that don't take part: their time doesn't count.
pub const WEIGHTLESS: i32 = 127;

/// Virtual time for so many ticks of running.
#[inline(always)]
pub fn virtual_ticks(ticks: u64, nice: i32) -> u64 {
    if nice == 0 { ticks } else { weigh(ticks, nice) }
}

/// Each step of the nice value is a factor of 1.25, as in Linux's table of weights.
#[inline(never)]
fn weigh(mut ticks: u64, nice: i32) -> u64 {
    if nice == WEIGHTLESS {
        return 0;
    }
    for _ in 0..nice.unsigned_abs().min(IDLE.unsigned_abs()) {
        ticks = if nice > 0 { ticks.saturating_add(ticks >> 2) } else { ticks.saturating_sub(ticks / 5) };
    }
    ticks
}

/// Virtual time of a thread that begins to wait for its turn on a CPU whose least is `least`: sleepers are not paid for their sleep beyond
/// `credit`, and nobody brings more than `credit` of debt from elsewhere.
#[inline(always)]
pub fn placed(own: u64, least: u64, credit: u64) -> u64 {
    own.max(least.saturating_sub(credit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_linux_like() {
        // Linux's table: 1024 for nice 0.
        for (nice, linux) in [(-20i32, 88_761u64), (-10, 9_548), (1, 820), (10, 110), (19, 15), (IDLE, 3)] {
            let ticks = virtual_ticks(1_000_000_000, nice);
            let wanted = 1_000_000_000 * 1024 / linux;
            assert!(ticks.abs_diff(wanted) * 100 <= wanted * 9, "nice {nice}: {ticks} for {wanted}");
        }
    }

    #[test]
    fn who_takes_no_part_pays_nothing() {
        assert_eq!(virtual_ticks(1_000_000, WEIGHTLESS), 0);
    }

    #[test]
    fn turns_share_the_time_by_weight() {
        // Two threads for a million slices: the one with less virtual time runs.
        let mut virtual_time = [0u64; 2];
        let mut real = [0u64; 2];
        for _ in 0..1_000_000 {
            let next = usize::from(virtual_time[1] < virtual_time[0]);
            real[next] += 1000;
            virtual_time[next] += virtual_ticks(1000, [0, 5][next]);
        }
        let ratio = real[0] * 100 / real[1];
        assert!((300..=315).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_long_sleep_isnt_paid() {
        assert_eq!(placed(5, 1_000, 100), 900);
        assert_eq!(placed(950, 1_000, 100), 950);
        assert_eq!(placed(7, 3, 100), 7);
    }
}
