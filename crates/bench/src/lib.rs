//! What programs cost in Whelk: the measuring programs of `tests/bench`, run in the exact machine, and a profiler that says which kernel
//! functions their instructions went to.

mod guest;
mod line;
mod profile;
mod programs;

pub use profile::{Profile, profile};
