//! How urgent a thread is: nice value, scheduling policy, real-time priority, I/O priority.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use abi::SchedPolicy;

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
    /// Policy in the low byte, then the real-time priority, then the reset flag.
    packed: AtomicU32,
    /// The greatest urgency among those that wait for this thread's locks.
    pub inherited: AtomicU32,
    /// -20 to 19.
    pub nice: AtomicI32,
    /// ioprio_set(2)'s value; 0 to follow `nice`.
    pub io: AtomicU32,
}

const RESET: u32 = 1 << 16;

impl Priorities {
    pub fn policy(&self) -> Policy {
        let packed = self.packed.load(Ordering::Relaxed);
        Policy {
            policy: SchedPolicy(packed & 0xff),
            priority: packed >> 8 & 0xff,
            reset_on_fork: packed & RESET != 0,
        }
    }

    /// `Policy::is_realtime`, without the rest.
    #[inline(always)]
    pub fn is_realtime(&self) -> bool {
        self.packed.load(Ordering::Relaxed) & 0xff00 != 0
    }

    pub fn set_policy(&self, new: Policy) {
        let reset = if new.reset_on_fork { RESET } else { 0 };
        self.packed.store(new.policy.0 | new.priority << 8 | reset, Ordering::Relaxed);
    }

    /// Real-time priority, its own or that of somebody who waits for it; 0 for what isn't real-time.
    pub fn urgency(&self) -> u32 {
        self.policy().priority.max(self.inherited.load(Ordering::Relaxed))
    }

    pub fn nice(&self) -> i32 {
        self.nice.load(Ordering::Relaxed)
    }

    /// A child's priorities, from its parent's.
    pub fn inherit(&self, parent: &Self) {
        let mut nice = parent.nice();
        let mut packed = parent.packed.load(Ordering::Relaxed);
        if packed & RESET != 0 {
            if parent.policy().is_realtime() {
                nice = 0;
            }
            nice = nice.max(0);
            packed = 0;
        }
        self.packed.store(packed, Ordering::Relaxed);
        self.nice.store(nice, Ordering::Relaxed);
        self.io.store(parent.io.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
