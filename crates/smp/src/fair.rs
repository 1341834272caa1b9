//! Fair turns: a thread's virtual time passes as fast as real time divided by its weight, and the one with the least is next.

/// Weights by nice value, -20 to 19: each step is a factor of about 1.25 (`sched_prio_to_weight` of Linux has the same ratio).
const WEIGHTS: [u64; 40] = {
    let mut table = [1024u64; 40];
    // 1.25 per step, from the middle outwards.
    let mut at = 20;
    let mut exact = 1024u64 << 16;
    while at > 0 {
        at -= 1;
        exact = exact * 5 / 4;
        table[at] = exact >> 16;
    }
    at = 21;
    exact = 1024u64 << 16;
    while at < 40 {
        exact = exact * 4 / 5;
        table[at] = exact >> 16;
        at += 1;
    }
    table
};

/// Virtual time for so many ticks of running.
#[inline(always)]
pub fn virtual_ticks(ticks: u64, nice: i32) -> u64 {
    if nice == 0 { ticks } else { weigh(ticks, nice) }
}

#[inline(never)]
fn weigh(ticks: u64, nice: i32) -> u64 {
    let index = usize::try_from(nice.saturating_add(20)).unwrap_or(0);
    let weight = WEIGHTS.get(index).copied().unwrap_or(15);
    ticks.saturating_mul(1024) / weight
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
        assert_eq!(WEIGHTS[20], 1024);
        // Linux's table: 88761, 9548, 110, 15.
        for (nice, linux) in [(-20i32, 88_761u64), (-10, 9_548), (10, 110), (19, 15)] {
            let own = WEIGHTS[usize::try_from(nice + 20).unwrap()];
            assert!(own.abs_diff(linux) * 100 <= linux * 8, "nice {nice}: {own} for {linux}");
        }
        assert!(WEIGHTS.windows(2).all(|pair| pair[0] > pair[1]));
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
