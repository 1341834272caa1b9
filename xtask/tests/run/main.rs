//! Tests of `cargo xtask run` as its users see it.

mod common;
mod errors;
mod jobs;
mod limits;
mod streams;
mod terminal;
