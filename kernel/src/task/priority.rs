//! How urgent a thread is: nice value, scheduling policy, real-time priority, I/O priority.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use abi::SchedPolicy;
use smp::fair;

/// A thread's policy, in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub policy: SchedPolicy,
    /// 1 to 99 for SCHED_FIFO and SCHED_RR, else 0.
    pub priority: u32,
    /// Children start with the normal policy (SCHED_FLAG_RESET_ON_FORK).
    pub reset_on_fork: bool,
}

impl Policy {
    /// Whether it comes before all that isn't real-time.
    pub const fn is_realtime(self) -> bool {
        self.priority > 0
    }
}

/// A thread's priorities. Any thread may set them.
#[derive(Debug, Default)]
pub struct Priorities {
    /// From the lowest byte on: policy, its real-time priority, flags, the greatest urgency among those that wait for this thread's locks; in
    /// the upper half the greater of the two priorities.
    packed: AtomicU64,
    /// -20 to 19.
    nice: AtomicI32,
    /// As `fair::virtual_ticks` wants it: the nice value, or what stands for another policy.
    weight: AtomicI32,
    /// CPU time at which the turn of a SCHED_RR thread ends, ns.
    pub turn_ends_ns: AtomicU64,
    /// ioprio_set(2)'s value; 0 to follow `nice`.
    pub io: AtomicU32,
}

const RESET: u64 = 1 << 16;
/// It was interrupted by a more urgent one, and goes on before its equals.
const FIRST: u64 = 1 << 17;

impl Priorities {
    pub fn policy(&self) -> Policy {
        let packed = self.packed.load(Ordering::Relaxed);
        Policy {
            policy: SchedPolicy(packed as u32 & 0xff),
            priority: packed as u32 >> 8 & 0xff,
            reset_on_fork: packed & RESET != 0,
        }
    }

    /// Whether it comes before all that isn't real-time, for its own sake or another's.
    #[inline(always)]
    pub fn is_realtime(&self) -> bool {
        self.packed.load(Ordering::Relaxed) >> 32 != 0
    }

    /// Where a real-time thread stands among such: the least comes first, and is below 256.
    pub fn realtime_rank(&self) -> u64 {
        let packed = self.packed.load(Ordering::Relaxed);
        let rank = 200u64.saturating_sub(2 * (packed >> 32));
        if packed & FIRST != 0 { rank } else { rank + 1 }
    }

    /// Changes the word, and what follows from it.
    #[inline(never)]
    fn change(&self, mask: u64, bits: u64) {
        let new = |packed: u64| {
            let packed = packed & !mask & u64::from(u32::MAX) | bits;
            packed | (packed >> 8 & 0xff).max(packed >> 24 & 0xff) << 32
        };
        let _ = self.packed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| Some(new(packed)));
        let weight = match self.policy().policy {
            _ if self.is_realtime() => fair::WEIGHTLESS,
            SchedPolicy::IDLE => fair::IDLE,
            _ => self.nice(),
        };
        self.weight.store(weight, Ordering::Relaxed);
    }

    pub fn set_policy(&self, new: Policy) {
        let reset = if new.reset_on_fork { RESET } else { 0 };
        self.change(0xff_ffff, u64::from(new.policy.0 & 0xff | new.priority << 8) | reset);
    }

    /// Notes the greatest urgency among those that wait for this thread. Whether that changes anything.
    pub fn set_inherited(&self, urgency: u32) -> bool {
        let before = self.urgency();
        self.change(0xff00_0000, u64::from(urgency & 0xff) << 24);
        self.urgency() != before
    }

    /// Whether it comes before its equals.
    pub fn set_first(&self, is_first: bool) {
        self.change(FIRST, if is_first { FIRST } else { 0 });
    }

    /// Real-time priority, its own or that of somebody who waits for it; 0 for what isn't real-time.
    pub fn urgency(&self) -> u32 {
        (self.packed.load(Ordering::Relaxed) >> 32) as u32
    }

    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    pub fn set_nice(&self, nice: i32) {
        self.nice.store(nice, Ordering::Relaxed);
        self.change(0, 0);
    }

    #[inline(always)]
    pub fn weight(&self) -> i32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// A child's priorities, from its parent's. What others lend the parent isn't inherited.
    pub fn inherit(&self, parent: &Self) {
        self.io.store(parent.io.load(Ordering::Relaxed), Ordering::Relaxed);
        if parent.packed.load(Ordering::Relaxed) == 0 {
            self.nice.store(parent.nice(), Ordering::Relaxed);
            self.weight.store(parent.nice(), Ordering::Relaxed);
            return;
        }
        let mut nice = parent.nice();
        let mut policy = parent.policy();
        if policy.reset_on_fork {
            if policy.is_realtime() {
                nice = 0;
            }
            nice = nice.max(0);
            policy = Policy { policy: SchedPolicy::NORMAL, priority: 0, reset_on_fork: false };
        }
        self.nice.store(nice, Ordering::Relaxed);
        self.set_policy(policy);
    }
}
