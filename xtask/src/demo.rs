//! The program that runs when none is named.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::target_directory;
use crate::install::{self, Need, Policy};

const SOURCE: &str = include_str!("../demo/demo.c");
const NEEDS: &[Need] = &[Need { program: "musl-gcc", package: "musl-tools" }];

/// Builds the bundled demonstration, as a static program, unless that was done from the same source.
pub(crate) fn demo(policy: Policy) -> Result<PathBuf> {
    let directory = target_directory().join("demo");
    let source = directory.join("demo.c");
    let program = directory.join("demo");
    if std::fs::read_to_string(&source).ok().as_deref() == Some(SOURCE) && program.exists() {
        return Ok(program);
    }
    install::ensure(NEEDS, policy)?;
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    // The source is put there last: it says that the program was built from it.
    let _ = std::fs::remove_file(&source);
    let unfinished = directory.join("unfinished.c");
    std::fs::write(&unfinished, SOURCE)?;
    let status = Command::new("musl-gcc")
        .args(["-static", "-O2", "-o"])
        .args([&program, &unfinished])
        .status()
        .context("musl-gcc")?;
    if !status.success() {
        bail!("the demonstration didn't build");
    }
    std::fs::rename(unfinished, source)?;
    Ok(program)
}
