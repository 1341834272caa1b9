//! Installing what is missing, by Debian's packages.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Whether missing packages may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Install,
    /// Say the command instead.
    Refuse,
}

impl Policy {
    /// Of an option `--no-install`.
    pub(crate) const fn new(no_install: bool) -> Self {
        if no_install { Self::Refuse } else { Self::Install }
    }
}

/// A program that something needs, and the package that has it.
pub(crate) struct Need {
    /// In the search path, or an absolute path.
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

fn is_there(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).exists())
}

/// Sees to it that programs are there.
pub(crate) fn ensure(needs: &[Need], policy: Policy) -> Result<()> {
    let mut packages: Vec<&str> =
        needs.iter().filter(|need| !is_there(need.program)).map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let root = nix::unistd::geteuid().is_root();
    let prefix: &[&str] = if root { &[] } else { &["sudo"] };
    let install = ["apt-get", "install", "-y", "--no-install-recommends"];
    let shown = [prefix, &install[..], &packages[..]].concat().join(" ");
    if policy == Policy::Refuse {
        bail!("these packages are missing; install them with: {shown}");
    }
    if !is_there("apt-get") {
        bail!("these Debian packages are missing, and there is no apt-get here: {}", packages.join(" "));
    }
    eprintln!("whelk: installing {}", packages.join(" "));
    // Package lists may be missing or old on a fresh machine.
    let update = [prefix, &["apt-get", "update", "-qq"][..]].concat();
    for command in [update, [prefix, &install[..], &packages[..]].concat()] {
        let Some((program, args)) = command.split_first() else { continue };
        let status = Command::new(program)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            bail!("could not install packages; try: {shown}");
        }
    }
    Ok(())
}

/// What running a machine takes.
pub(crate) const RUN_NEEDS: &[Need] = &[Need { program: "qemu-system-x86_64", package: "qemu-system-x86" }];
/// What building the kernel takes besides the Rust toolchain.
pub(crate) const BUILD_NEEDS: &[Need] =
    &[Need { program: "cc", package: "gcc" }, Need { program: "objdump", package: "binutils" }];
