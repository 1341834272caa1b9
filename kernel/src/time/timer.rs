//! Timers: an ordered map of deadlines, and the one-shot interrupt armed for the first of them. No timer, no interrupt.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::arch::x86_64::apic;
use crate::sync::SpinLock;
use crate::task::{Thread, sched};

/// What happens at a deadline.
enum Action {
    Wake(Arc<Thread>),
    Call(Box<dyn FnOnce() + Send>),
}

/// Names an armed timer: its deadline and a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(u64, u64);

struct Timers {
    pending: BTreeMap<TimerId, Action>,
    serial: u64,
    /// When the next interrupt comes, `u64::MAX` for never.
    armed: u64,
}

static TIMERS: SpinLock<Timers> =
    SpinLock::new(Timers { pending: BTreeMap::new(), serial: 0, armed: u64::MAX });

impl Timers {
    fn insert(&mut self, deadline: u64, action: Action) -> TimerId {
        self.serial += 1;
        let id = TimerId(deadline, self.serial);
        self.pending.insert(id, action);
        self.arm(deadline);
        id
    }

    fn arm(&mut self, deadline: u64) {
        if deadline < self.armed {
            self.armed = deadline;
            apic::arm_timer(deadline.saturating_sub(super::monotonic_ns()).max(1));
        }
    }
}

/// Wakes a thread at a time of the monotonic clock, ns.
pub fn wake_at(deadline: u64, thread: Arc<Thread>) -> TimerId {
    TIMERS.lock().insert(deadline, Action::Wake(thread))
}

/// Calls a function, in interrupt context, at a time of the monotonic clock, ns.
pub fn call_at(deadline: u64, function: Box<dyn FnOnce() + Send>) -> TimerId {
    TIMERS.lock().insert(deadline, Action::Call(function))
}

/// Takes a timer back. Whether it was still to come.
pub fn cancel(id: TimerId) -> bool {
    let action = TIMERS.lock().pending.remove(&id);
    action.is_some()
}

/// Makes an interrupt come at or before this time.
pub fn ensure_interrupt_by(deadline: u64) {
    TIMERS.lock().arm(deadline);
}

/// The timer interrupt: everything that is due happens, then the next deadline is armed.
pub fn interrupt() {
    super::refresh();
    TIMERS.lock().armed = u64::MAX;
    loop {
        let action = {
            let mut timers = TIMERS.lock();
            let now = super::monotonic_ns();
            match timers.pending.first_key_value() {
                Some((&id, _)) if id.0 <= now => timers.pending.remove(&id),
                Some((&TimerId(deadline, _), _)) => {
                    timers.arm(deadline);
                    None
                }
                None => None,
            }
        };
        match action {
            Some(Action::Wake(thread)) => sched::wake(&thread),
            Some(Action::Call(function)) => function(),
            None => break,
        }
    }
}
