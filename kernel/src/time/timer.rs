//! Timers: each CPU has its deadlines in order, and the one-shot interrupt armed for the first of them. No timer, no interrupt.
//!
//! A timer belongs to the CPU that set it. Its lock is held neither while threads are woken nor while functions are called.

use alloc::boxed::Box;
use alloc::sync::Arc;

use deadlines::Deadlines;

use crate::arch::per_cpu;
use crate::arch::x86_64::{apic, cpu};
use crate::task::{Thread, sched};

/// What happens at a deadline.
enum Action {
    Wake(Arc<Thread>),
    Call(Box<dyn FnOnce() + Send>),
}

/// Names an armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    deadline: u64,
    serial: u64,
    cpu: u32,
}

/// One CPU's timers.
pub struct Timers {
    pending: Deadlines<TimerId, Action>,
    serial: u64,
    /// When the next interrupt comes, 0 for never: a CPU's data is all zeros at first and takes no room in the kernel's file.
    armed: u64,
    /// Functions among what is pending.
    calls: u64,
}

impl Timers {
    pub const fn new() -> Self {
        Self { pending: Deadlines::new(), serial: 0, armed: 0, calls: 0 }
    }

    fn take(&mut self, id: TimerId) -> Option<Action> {
        let action = self.pending.remove(id);
        if let Some(Action::Call(_)) = action {
            self.calls -= 1;
        }
        action
    }

    /// On the CPU that the timers are of.
    fn arm(&mut self, deadline: u64) {
        if self.armed == 0 || deadline < self.armed {
            self.armed = deadline.max(1);
            apic::arm_timer(deadline.saturating_sub(super::monotonic_ns()).max(1));
        }
    }
}

fn insert(deadline: u64, action: Action) -> TimerId {
    let cpu = per_cpu();
    let mut timers = cpu.timers.lock();
    timers.serial += 1;
    if let Action::Call(_) = action {
        timers.calls += 1;
    }
    let id = TimerId { deadline, serial: timers.serial, cpu: cpu.id.get() };
    timers.pending.insert(id, action);
    timers.arm(deadline);
    id
}

/// Wakes a thread at a time of the monotonic clock, ns.
pub fn wake_at(deadline: u64, thread: Arc<Thread>) -> TimerId {
    insert(deadline, Action::Wake(thread))
}

/// Calls a function, in interrupt context, at a time of the monotonic clock, ns.
pub fn call_at(deadline: u64, function: Box<dyn FnOnce() + Send>) -> TimerId {
    insert(deadline, Action::Call(function))
}

/// Takes a timer back. Whether it was still to come.
pub fn cancel(id: TimerId) -> bool {
    let action = cpu::by_index(id.cpu as usize).and_then(|cpu| cpu.timers.lock().take(id));
    action.is_some()
}

/// How many functions this CPU has to call, this one included: who calls itself again and again leaves time for the others, and the program.
pub fn crowd() -> u64 {
    per_cpu().timers.lock().calls + 1
}

/// Makes an interrupt come on this CPU at or before this time.
pub fn ensure_interrupt_by(deadline: u64) {
    per_cpu().timers.lock().arm(deadline);
}

/// The timer interrupt: everything that is due on this CPU happens, then the next deadline is armed. What falls due meanwhile has to wait.
pub fn interrupt() {
    super::refresh();
    let cpu = per_cpu();
    cpu.timers.lock().armed = 0;
    let now = super::monotonic_ns();
    loop {
        let action = {
            let mut timers = cpu.timers.lock();
            match timers.pending.first() {
                Some(id) if id.deadline <= now => timers.take(id),
                Some(id) => {
                    timers.arm(id.deadline);
                    None
                }
                None => None,
            }
        };
        match action {
            Some(Action::Wake(thread)) => {
                sched::wake(&thread);
            }
            Some(Action::Call(function)) => function(),
            None => break,
        }
    }
}
