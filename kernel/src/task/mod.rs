//! Processes and threads: what runs, who waits for what, and how programs begin and end.
//!
//! Lock order: `Process` fields → `sched::QUEUE` → nothing. A wait queue's lock is taken inside no other lock than its owner's.

pub mod access;
pub mod children;
pub mod clock;
pub mod clone;
pub mod exec;
pub mod exit;
pub mod futex;
pub mod futex_pi;
pub mod oom;
pub mod priority;
pub mod process;
pub mod rseq;
pub mod sched;
pub mod signal;
pub mod thread;
pub mod trap;
pub mod usage;
pub mod wait;

pub use process::{Cred, Process};
pub use sched::current;
pub use thread::Thread;
pub use wait::{PollWaiter, WaitError, WaitQueue};
