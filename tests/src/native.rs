//! Native runs: in the same tree as the guest's, by chroot.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::tree::Tree;
use crate::{Case, ENVIRONMENT, Outcome, directory_of};

/// Runs a case on this host.
pub(crate) fn run(tree: &Tree, case: &Case, index: usize) -> Result<Outcome> {
    // Who started us may ignore signals, as a shell does for what it runs in the background.
    let mut command = Command::new("/usr/bin/env");
    command
        .args(["--default-signal", "/usr/sbin/chroot"])
        .arg(tree.path())
        // Changes directory, and is replaced by the program.
        .args(["/bin/busybox", "sh", "-c", "cd \"$0\" && exec \"$@\""])
        .arg(directory_of(index))
        .args(case.argv.iter().map(|word| std::ffi::OsStr::from_bytes(word)))
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|variable| variable.split_once('=')))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("chroot (the guest tests need root)")?;
    let stdin = child.stdin.take();
    let input = case.stdin.clone();
    let feeder = std::thread::spawn(move || {
        // A program that doesn't read its input closes the pipe.
        stdin.map(|mut stdin| stdin.write_all(&input))
    });
    let output = child.wait_with_output()?;
    let _ = feeder.join();
    Ok(Outcome {
        stdout: output.stdout,
        stderr: output.stderr,
        status: Some(output.status.into_raw().cast_unsigned()),
    })
}
