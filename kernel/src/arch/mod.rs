//! The processor. Only x86_64 exists.

pub mod x86_64;

pub use x86_64::{TrapFrame, per_cpu};
