//! The kernel that boots: built without vector instructions, stripped, measured, and disassembled to be sure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::install::{self, Policy};
use crate::terminal::say;

/// The kernel's stripped size may not exceed this.
const MAX_SIZE: u64 = 700_000;
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Only for the kernel: no vector registers (they are the program's), code at -2 GiB, no frame pointers (decision 0005), and as much inlining as the file's size leaves room for: what is the same in dozens of places is called instead.
const FLAGS: &str = "-Ctarget-feature=-sse,-sse2 -Crelocation-model=static -Ccode-model=kernel -Cllvm-args=--inline-threshold=36 -Cllvm-args=--inlinehint-threshold=150 -Cllvm-args=--enable-machine-outliner=always -Cllvm-args=--outliner-benefit-threshold=60";

#[derive(clap::Args)]
pub(crate) struct BuildArgs {
    /// Refuse to install missing packages; say the command instead
    #[arg(long)]
    no_install: bool,
}

/// The built kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What boots.
    pub(crate) stripped: PathBuf,
    /// With symbols.
    pub(crate) full: PathBuf,
}

/// The project's directory.
pub(crate) fn project() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Where things are built.
pub(crate) fn target_directory() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.and_then(|path| std::path::absolute(path).ok()).unwrap_or_else(|| project().join("target"))
}

/// How long a build may be silent.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Says something unless the result is dropped before that time.
fn announce_after(time: Duration, text: &'static str) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        if receiver.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
            say(text);
        }
    });
    sender
}

/// Builds the kernel, or finds that it is up to date.
pub(crate) fn build(policy: Policy) -> Result<Kernel> {
    install::ensure(install::BUILD_NEEDS, policy)?;
    let target = target_directory().join("kernel");
    let announced = announce_after(PATIENCE, "whelk: building the kernel…\n");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "kernel", "--profile", "kernel", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(project())
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .context("cargo")?;
    drop(announced);
    // The warning about the missing vector registers is known (docs/decisions/0001); clippy shows the others.
    if !output.status.success() {
        bail!("the kernel didn't build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let full = target.join(TARGET).join("kernel").join("kernel");
    let stripped = full.with_file_name("kernel.stripped");
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    // A kernel that cargo had from an earlier build may be the older file: what is stripped has its time.
    if modified(&stripped) != modified(&full) {
        check_instructions(&full)?;
        // Under another name first: a check that fails, or an interrupted strip, leaves nothing that looks finished.
        let unfinished = full.with_file_name(format!("kernel.unfinished.{}", std::process::id()));
        let status =
            Command::new("strip").args(["-p", "-o"]).arg(&unfinished).arg(&full).status().context("strip")?;
        if !status.success() {
            bail!("strip failed");
        }
        let size = unfinished.metadata()?.len();
        if size > MAX_SIZE {
            bail!("the kernel has {size} bytes, more than {MAX_SIZE}");
        }
        std::fs::rename(&unfinished, &stripped)?;
    }
    Ok(Kernel { stripped, full })
}

/// The kernel of an option `--kernel`, or else the one that is built from here.
pub(crate) fn given_or_built(given: Option<&Path>, policy: Policy) -> Result<Kernel> {
    match given {
        Some(file) if file.is_file() => Ok(Kernel { stripped: file.to_owned(), full: file.to_owned() }),
        Some(file) => bail!("{}: no such kernel", file.display()),
        None => build(policy),
    }
}

/// `cargo xtask build`
pub(crate) fn build_command(args: &BuildArgs) -> Result<u8> {
    let kernel = build(Policy::new(args.no_install))?;
    println!("{} ({} bytes)", kernel.stripped.display(), kernel.stripped.metadata()?.len());
    Ok(0)
}

/// Whether an instruction (Intel syntax, without its address) uses vector or x87 registers. XSAVE and its family move the state as a
/// whole and name no register.
fn uses_fpu(instruction: &str) -> bool {
    let mut words = instruction.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let Some(mnemonic) = words.clone().next() else { return false };
    let state = ["fxsave", "fxsave64", "fxrstor", "fxrstor64", "xsave", "xsave64", "xsaveopt64", "xrstor64"];
    if state.contains(&mnemonic) {
        return false;
    }
    // These name none either, and change registers all the same.
    if ["emms", "vzeroupper", "vzeroall", "ldmxcsr", "vldmxcsr"].contains(&mnemonic) {
        return true;
    }
    let register = |word: &str| {
        ["xmm", "ymm", "zmm", "mm"]
            .iter()
            .any(|prefix| word.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.parse::<u8>().is_ok()))
    };
    // Every x87 mnemonic, and no other, begins with f.
    mnemonic.starts_with('f') && mnemonic != "fs" || words.any(register)
}

/// Fails if the kernel has an instruction outside `.text.fpu` that would touch the program's vector or x87 registers.
fn check_instructions(kernel: &Path) -> Result<()> {
    let output = Command::new("objdump")
        .args(["-d", "-M", "intel", "--no-show-raw-insn", "-j", ".text"])
        .arg(kernel)
        .output()
        .context("objdump")?;
    if !output.status.success() {
        bail!("objdump: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listing = String::from_utf8_lossy(&output.stdout);
    let mut function = "";
    let mut offenders = BTreeSet::new();
    let mut instructions = 0u32;
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once('<')) {
            function = name.1;
        } else if let Some((_, instruction)) = line.split_once(":\t") {
            instructions += 1;
            if uses_fpu(instruction.trim()) && !function.starts_with("fpu_") {
                let name = format!("{:#}", rustc_demangle::demangle(function));
                offenders.insert(format!("{name}: {}", instruction.trim()));
            }
        }
    }
    if instructions < 1000 {
        bail!(
            "objdump found only {instructions} instructions: the check of the kernel's code checked nothing"
        );
    }
    if !offenders.is_empty() {
        let list: Vec<_> = offenders.into_iter().take(10).collect();
        bail!("vector or x87 instructions in the kernel:\n  {}", list.join("\n  "));
    }
    Ok(())
}

/// Names for the addresses in a kernel's last words.
pub(crate) fn symbolise(text: &str, kernel: &Path) -> String {
    let Ok(output) = Command::new("nm").arg("--numeric-sort").arg(kernel).output() else {
        return text.to_owned();
    };
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let symbols: Vec<(u64, &str)> = listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?))
        })
        .collect();
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(line.trim_end());
        let address = line.trim().strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if let Some(address) = address {
            let index = symbols.partition_point(|symbol| symbol.0 <= address);
            if let Some((start, name)) = index.checked_sub(1).and_then(|index| symbols.get(index)) {
                let offset = address - start;
                out.push_str(&format!(" {:#}+{offset:#x}", rustc_demangle::demangle(name)));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::uses_fpu;

    #[test]
    fn which_instructions_use_the_fpu() {
        for bad in [
            "movaps xmm0,xmm1",
            "vpxor ymm1,ymm2,ymm3",
            "fld st(0)",
            "movq mm0,rax",
            "fninit",
            "vzeroupper",
            "emms",
        ] {
            assert!(uses_fpu(bad), "{bad}");
        }
        for good in
            ["mov rax,rbx", "xsave64 [rdi]", "fxrstor64 [rax]", "mov eax,fs:0x0", "call comm1 <mm_init>"]
        {
            assert!(!uses_fpu(good), "{good}");
        }
    }
}
