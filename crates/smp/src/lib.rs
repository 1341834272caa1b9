//! What several processors agree on, without a kernel: how a thread falls asleep while another CPU wakes it (`Sleeper`), how one CPU has
//! others forget translations (`FlushGate`), how it has them stop reading (`ReadMark`), whose turn it is (`fair`), and where a thread is to run
//! (`place`).
//!
//! The tests run the first three, and a model of the kernel's futexes, under `loom`, which tries every order in which two CPUs can go through them.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod fair;
mod flush;
#[cfg(test)]
mod futex;
pub mod place;
mod readers;
mod sleeper;

pub use flush::FlushGate;
pub use readers::ReadMark;
pub use sleeper::{After, Sleeper, Wake};

#[cfg(not(test))]
use core::sync::atomic;
#[cfg(test)]
use loom::sync::atomic;
