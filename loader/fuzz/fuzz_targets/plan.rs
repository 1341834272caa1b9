//! Whatever a file holds, planning it doesn't panic, and a plan keeps its promises.
//!
//! With cargo-fuzz: `cargo fuzz run --fuzz-dir loader/fuzz --sanitizer none plan`. With the stable toolchain alone:
//!
//! ```text
//! RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1" \
//! cargo run --release --manifest-path loader/fuzz/Cargo.toml --target x86_64-unknown-linux-gnu \
//!     --bin plan -- -max_total_time=60 -max_len=4096
//! ```
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = loader::check_class(bytes);
    let _ = loader::script::parse(bytes);
    if let Ok(image) = loader::plan(bytes) {
        common::check(&image);
    }
});
