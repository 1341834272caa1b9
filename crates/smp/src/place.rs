//! Where a thread that was woken is to run.

/// What the decision depends on. CPU sets are bit masks; numbers are below 64.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// The CPU that wakes it.
    pub here: usize,
    /// Where it ran last.
    pub last: usize,
    /// Where it may run (sched_setaffinity(2)).
    pub allowed: u64,
    /// CPUs that have nothing to do.
    pub idle: u64,
    /// All CPUs.
    pub present: u64,
    /// The waker usually sleeps right after waking somebody, and nobody else waits for its CPU: it hands the CPU over.
    pub hands_over: bool,
}

/// The CPU on whose run queue it goes.
///
/// A hand-over stays where it is, which saves an interrupt and keeps the data warm. Otherwise its last CPU if that is idle, then any other
/// that is idle, then its last one: those that become idle will take it from there.
pub fn choose(s: &Situation) -> usize {
    let mut allowed = s.allowed & s.present;
    if allowed == 0 {
        allowed = s.present;
    }
    let bit = |cpu: usize| 1u64 << (cpu & 63);
    if s.hands_over && allowed & bit(s.here) != 0 {
        return s.here;
    }
    let idle = s.idle & allowed;
    if idle & bit(s.last) != 0 {
        return s.last;
    }
    if idle != 0 {
        return idle.trailing_zeros() as usize;
    }
    if allowed & bit(s.last) != 0 { s.last } else { allowed.trailing_zeros() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Situation =
        Situation { here: 0, last: 2, allowed: !0, idle: 0, present: 0b1111, hands_over: false };

    #[test]
    fn a_hand_over_stays_unless_forbidden() {
        assert_eq!(choose(&Situation { hands_over: true, idle: 0b1110, ..BASE }), 0);
        assert_eq!(choose(&Situation { hands_over: true, allowed: 0b1000, ..BASE }), 3);
    }

    #[test]
    fn idle_cpus_come_first_and_the_last_one_before_others() {
        assert_eq!(choose(&Situation { idle: 0b1100, ..BASE }), 2);
        assert_eq!(choose(&Situation { idle: 0b1000, ..BASE }), 3);
        assert_eq!(choose(&BASE), 2);
    }

    #[test]
    fn every_choice_is_present_and_allowed() {
        for allowed in 0..32u64 {
            for idle in 0..16 {
                for last in 0..5 {
                    for hands_over in [false, true] {
                        let s = Situation { allowed, idle, last, hands_over, ..BASE };
                        let chosen = choose(&s);
                        assert!(BASE.present & 1 << chosen != 0, "{s:?}");
                        assert!(allowed & BASE.present == 0 || allowed & 1 << chosen != 0, "{s:?}");
                    }
                }
            }
        }
    }
}
