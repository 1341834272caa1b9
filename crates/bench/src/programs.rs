//! The measuring programs: built from `tests/bench`, once per change, as static programs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const FLAGS: [&str; 6] = ["-static", "-O2", "-Wall", "-Wextra", "-Wno-clobbered", "-pthread"];

/// Builds `tests/bench/NAME.c` below `target`, unless it is there from the same source.
///
/// # Errors
/// There is no compiler, or it refuses.
pub(crate) fn build(project: &Path, target: &Path, name: &str, more_flags: &[&str]) -> Result<PathBuf> {
    let source = project.join("tests/bench").join(format!("{name}.c"));
    let text = std::fs::read_to_string(&source).with_context(|| source.display().to_string())?;
    let mut hasher = DefaultHasher::new();
    (FLAGS, more_flags, &text).hash(&mut hasher);
    let directory = target.join("bench");
    let path = directory.join(format!("{name}-{:016x}", hasher.finish()));
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let unfinished = directory.join(format!("{name}.unfinished.{}", std::process::id()));
    let output = Command::new("musl-gcc")
        .args(FLAGS)
        .args(more_flags)
        .arg("-o")
        .args([&unfinished, &source])
        .output()
        .context("musl-gcc")?;
    if !output.status.success() {
        bail!("{name} didn't build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::rename(unfinished, &path)?;
    Ok(path)
}
