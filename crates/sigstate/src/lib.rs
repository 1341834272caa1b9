//! Signal state as Linux keeps it, without the kernel around it: sets, pending queues, the action table, alternate stacks, and the
//! order in which signals are taken. The kernel adds locks, threads and frames.
//!
//! Sources: signal(7), sigaction(2), sigaltstack(2), sigqueue(3); POSIX.1-2017 section 2.4.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod action;
mod altstack;
mod info;
mod pending;
mod set;

pub use action::{Action, Actions, Disposition, Fate, SaFlags};
pub use altstack::{AltStack, AltStackError};
pub use info::{Info, code};
pub use pending::{Pending, Push};
pub use set::{SigSet, Signal};

/// Takes the signal that a thread should see next: its own pending signals before its process's, and among each those that an
/// instruction raised before the rest, then the lowest number. `None` if all that is pending is blocked.
pub fn take_next<I>(
    private: &mut Pending<I>,
    shared: &mut Pending<I>,
    blocked: SigSet,
) -> Option<(Signal, Option<I>)> {
    for queue in [private, shared] {
        if let Some(signal) = queue.set().difference(blocked).next_to_take() {
            return Some((signal, queue.take(signal)));
        }
    }
    None
}
