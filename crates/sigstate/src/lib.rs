//! Signal state as Linux keeps it, without the kernel around it: sets, pending queues, the action table, alternate stacks, and the
//! order in which signals are taken. The kernel adds locks, threads and frames.
//!
//! Sources: signal(7), sigaction(2), sigaltstack(2), sigqueue(3); POSIX.1-2017 section 2.4.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::{SigSet, Signal};

mod action;
mod altstack;
mod info;
mod interval;
mod pending;

pub use action::{Actions, Disposition, Fate};
pub use altstack::{AltStack, AltStackError};
pub use info::Info;
pub use interval::forward;
pub use pending::{Pending, Push, Queued};

/// Takes the signal that a thread should see next: its own pending signals before its process's, and among each those that an
/// instruction raised before the rest, then the lowest number. `None` if all that is pending is blocked.
pub fn take_next<I: Queued>(
    private: &mut Pending<I>,
    shared: &mut Pending<I>,
    blocked: SigSet,
) -> Option<(Signal, Option<I>)> {
    for queue in [private, shared] {
        if let Some(signal) = most_urgent(queue.set().difference(blocked)) {
            return Some((signal, queue.take(signal)));
        }
    }
    None
}

/// The signal of a set that Linux takes first: a synchronous one, then the lowest number.
#[inline(always)]
pub const fn most_urgent(set: SigSet) -> Option<Signal> {
    let urgent = set.intersection(SigSet::SYNCHRONOUS);
    if urgent.is_empty() { set.first() } else { urgent.first() }
}
