//! `cargo xtask test`: the host's tests, then the guest's against this host.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::install::{self, Need, Policy};
use crate::{build, docs};

#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Only guest tests whose names contain this
    filter: Option<String>,
    /// Leave the host's unit and property tests out
    #[arg(long)]
    guest_only: bool,
    /// Only the machines whose names contain this, as `flat/microvm`; several times for several
    #[arg(long)]
    on: Vec<String>,
    /// Only the soak, for so many minutes: processes, threads and memory come and go, and the kernel counts what is left
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// Refuse to install missing packages; say the command instead
    #[arg(long)]
    no_install: bool,
}

const TEST_NEEDS: &[Need] = &[
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Need { program: "musl-gcc", package: "musl-tools" },
    Need { program: "gcc", package: "gcc" },
    Need { program: "g++", package: "g++" },
    Need { program: "/usr/lib/x86_64-linux-gnu/libc.a", package: "libc6-dev" },
    Need { program: "/bin/busybox", package: "busybox-static" },
    Need { program: "/bin/bash-static", package: "bash-static" },
    Need { program: "/usr/lib/x86_64-linux-gnu/libsqlite3.a", package: "libsqlite3-dev" },
    Need { program: "/usr/lib/x86_64-linux-gnu/liblua5.4.a", package: "liblua5.4-dev" },
    Need { program: "make", package: "make" },
    Need { program: "tcc", package: "tcc" },
    Need { program: "redis-server", package: "redis-server" },
    Need { program: "redis-cli", package: "redis-tools" },
    Need { program: "stress-ng", package: "stress-ng" },
    Need { program: "cpio", package: "cpio" },
    Need { program: "objdump", package: "binutils" },
];

/// Adds up the `test result:` lines of cargo's test programs.
fn count(output: &str) -> (u64, u64) {
    let mut totals = (0, 0);
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number = |word: &str| {
            let before = line.split(word).next()?;
            before.split_whitespace().last()?.parse::<u64>().ok()
        };
        totals.0 += number(" passed").unwrap_or(0);
        totals.1 += number(" failed").unwrap_or(0);
    }
    totals
}

fn host_tests() -> Result<(u64, u64)> {
    let workspace = cargo_test(&["--workspace"])?;
    // A workspace of its own: see Cargo.toml.
    let smp = cargo_test(&["--manifest-path", "crates/smp/Cargo.toml", "--target-dir", "target/smp"])?;
    let (passed, failed) = (workspace.0 + smp.0, workspace.1 + smp.1);
    println!("host: {passed} passed, {failed} failed");
    Ok((passed, failed))
}

fn cargo_test(which: &[&str]) -> Result<(u64, u64)> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--no-fail-fast"])
        .args(which)
        .current_dir(build::project())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (passed, mut failed) = count(&text);
    if !output.status.success() {
        print!("{text}");
        failed = failed.max(1);
    }
    Ok((passed, failed))
}

/// `cargo xtask test`
pub(crate) fn test(args: &TestArgs) -> Result<u8> {
    install::ensure(TEST_NEEDS, Policy::new(args.no_install))?;
    let (mut passed, mut failed) = (0, 0);
    // First: some of the host's tests run it.
    let kernel = build::build(Policy::new(args.no_install))?;
    if !args.guest_only && args.soak.is_none() && args.filter.is_none() {
        let host = host_tests()?;
        passed += host.0;
        failed += host.1;
        match docs::check() {
            Ok(()) => passed += 1,
            Err(error) => {
                println!("FAILED docs/SYSCALLS.md: {error:#}");
                failed += 1;
            }
        }
    }
    if !args.guest_only && args.filter.is_none() {
        match crate::bench::same_twice(kernel.stripped.clone()) {
            Ok(count) => {
                println!("bench: {count} figures the same to the digit in two runs");
                passed += 1;
            }
            Err(error) => {
                println!("FAILED bench: {error:#}");
                failed += 1;
            }
        }
    }
    let options = tests::Options {
        kernel: kernel.stripped,
        project: build::project(),
        filter: args.filter.clone(),
        on: args.on.clone(),
    };
    let guest = match args.soak {
        Some(minutes) => tests::soak(&options, minutes)?,
        None => tests::run(&options)?,
    };
    passed += guest.passed;
    failed += guest.failed;
    println!("{passed} passed, {failed} failed");
    Ok(u8::from(failed > 0))
}

#[cfg(test)]
mod tests_of_counting {
    #[test]
    fn cargo_lines_are_added_up() {
        let text =
            "test result: ok. 3 passed; 0 failed; 0 ignored\nx\ntest result: FAILED. 1 passed; 2 failed; 0\n";
        assert_eq!(super::count(text), (4, 2));
    }
}
