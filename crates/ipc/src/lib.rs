//! Interprocess communication without processes: what System V IPC (sysvipc(7)), POSIX message queues (mq_overview(7)) and inotify(7) do
//! with their data. Who may, who sleeps and who is woken is the kernel's affair.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod events;
pub mod ids;
pub mod mq;
pub mod msg;
pub mod sem;

/// No memory for what was asked. ENOMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;
