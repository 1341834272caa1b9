//! The Linux guests: their kernels, fetched or built once, and their machines.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use launch::{Acceleration, Board, End, Host, Root, Usage};

use crate::guest::{Outcome, Settings};
use crate::rival::Rival;

/// What builds Linux-tiny.
const FRAGMENT: &str = "bench/linux-tiny.config";
/// The package that names the cloud kernel's package, and the kernel's sources.
const CLOUD: &str = "linux-image-cloud-amd64";
const SOURCE: &str = "linux-source-6.1";

/// A kernel file and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) file: PathBuf,
    /// As `6.1.192-2`.
    pub(crate) version: String,
}

fn run(command: &mut Command, directory: &Path) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(directory).output().with_context(|| name.clone())?;
    if !output.status.success() {
        bail!("{name} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fetches a package and unpacks it without installing it. Its version.
fn unpack(package: &str, directory: &Path) -> Result<String> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    run(Command::new("apt-get").args(["download", "-qq", package]), directory)?;
    let name = std::fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with(package) && name.ends_with(".deb"))
        .with_context(|| format!("apt-get download left no {package}"))?;
    run(Command::new("dpkg").args(["-x", &name, "."]), directory)?;
    std::fs::remove_file(directory.join(&name))?;
    Ok(name.split('_').nth(1).unwrap_or("?").to_owned())
}

/// The kernel of a rival, from `target/linux` or, the first time, from Debian's archive; Linux-tiny is built, which takes minutes.
///
/// # Errors
/// A package can't be fetched, or the build fails.
pub(crate) fn kernel(rival: Rival, settings: &Settings) -> Result<Kernel> {
    let tiny = rival == Rival::LinuxTiny;
    let base = settings.target.join("linux");
    let (name, directory) = if tiny {
        let fragment = std::fs::read_to_string(settings.project.join(FRAGMENT)).context(FRAGMENT)?;
        let mut hasher = DefaultHasher::new();
        fragment.hash(&mut hasher);
        ("vmlinux", base.join(format!("tiny-{:016x}", hasher.finish())))
    } else {
        ("vmlinuz", base.join("cloud"))
    };
    let (file, stamp) = (directory.join(name), directory.join("version"));
    if let Ok(version) = std::fs::read_to_string(&stamp) {
        return Ok(Kernel { file, version: version.trim().to_owned() });
    }
    let version =
        if tiny { build_tiny(settings, &directory, &file)? } else { fetch_cloud(&directory, &file)? };
    std::fs::write(stamp, &version)?;
    Ok(Kernel { file, version })
}

fn fetch_cloud(directory: &Path, file: &Path) -> Result<String> {
    let listing = run(Command::new("apt-cache").args(["depends", CLOUD]), Path::new("/"))?;
    let package = listing
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("{CLOUD} is unknown here; is this Debian, with package lists?"))?;
    let version = unpack(package, directory)?;
    let boot = directory.join("boot");
    let kernel = std::fs::read_dir(&boot)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .context("the package has no kernel")?;
    std::fs::rename(kernel, file)?;
    Ok(version)
}

fn build_tiny(settings: &Settings, directory: &Path, file: &Path) -> Result<String> {
    eprintln!("whelk: building Linux-tiny; that takes some minutes, once");
    let version = unpack(SOURCE, directory)?;
    let archive = directory.join("usr/src").join(format!("{SOURCE}.tar.xz"));
    run(Command::new("tar").arg("xf").arg(&archive), directory)?;
    let tree = directory.join(SOURCE);
    let fragment = settings.project.join(FRAGMENT);
    run(Command::new("make").args(["-s", "tinyconfig"]), &tree)?;
    run(Command::new("scripts/kconfig/merge_config.sh").args(["-m", ".config"]).arg(fragment), &tree)?;
    run(Command::new("make").args(["-s", "olddefconfig"]), &tree)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    run(Command::new("make").args(["-s", &format!("-j{jobs}"), "vmlinux"]), &tree)?;
    std::fs::rename(tree.join("vmlinux"), file)?;
    std::fs::remove_dir_all(tree)?;
    std::fs::remove_file(archive)?;
    Ok(version)
}

/// The kernel's command line; `init` is the first program.
pub(crate) fn command_line(rival: Rival, exact: bool, init: &str) -> String {
    let more = match rival {
        Rival::Linux => "",
        Rival::LinuxTuned => "quiet cryptomgr.notests ",
        _ => "quiet nolapic_timer no_timer_check ",
    };
    // Where the kernel lies changes what it costs a little.
    let repeatable = if exact { "nokaslr " } else { "" };
    format!("console=ttyS0 {repeatable}{more}panic=-1 reboot=t rdinit={init}")
}

/// QEMU's arguments: what the Whelk machine has, as far as Linux can do without the rest.
pub(crate) fn qemu_arguments(
    settings: &Settings,
    kernel: &Path,
    command_line: &str,
    initrd: &Path,
    serial: &str,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    let board = match settings.board {
        Board::Microvm => "microvm,acpi=off",
        Board::Q35 => "q35",
        Board::Pc => "pc",
    };
    add(&["-M", board, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    if settings.exact {
        add(&["-accel", "tcg", "-icount", "shift=0,sleep=off", "-seed", "42"]);
        add(&["-rtc", "base=2024-01-01T00:00:00,clock=vm", "-cpu", "max,-erms,-rdrand,-rdseed"]);
    } else {
        add(&settings.acceleration.qemu_arguments());
    }
    add(&["-m", &format!("{}k", settings.memory_bytes / 1024), "-smp", &settings.cpus.to_string()]);
    add(&["-chardev", &format!("{serial},id=serial"), "-serial", "chardev:serial"]);
    add(&["-append", command_line, "-kernel"]);
    arguments.push(kernel.into());
    arguments.push("-initrd".into());
    arguments.push(initrd.into());
    arguments.extend(settings.extra.iter().cloned());
    arguments
}

/// What a machine said on its serial line, and used.
#[derive(Debug, Default)]
pub(crate) struct Console {
    pub(crate) text: Vec<u8>,
    pub(crate) usage: Usage,
}

impl Host for Console {
    fn output(&mut self, _job: u16, _stream: u8, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn exit(&mut self, _job: u16, _status: u32) {}
    fn exec_failed(&mut self, _job: u16, _errno: u32, _text: &str) {}
    fn notice(&mut self, _text: &str) {}
    fn usage(&mut self, usage: Usage) {
        self.usage = usage;
    }
    fn log(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }
}

/// Boots a Linux guest whose first program is `init`, to its end.
///
/// # Errors
/// It didn't end by itself in time.
pub(crate) fn boot(
    settings: &Settings,
    kernel: &Path,
    command_line: &str,
    root: &Root,
    limit: Duration,
) -> Result<Console> {
    let mut console = Console::default();
    let end = launch::run_other(&root.archive()?, limit, &mut console, |initrd, serial| {
        qemu_arguments(settings, kernel, command_line, initrd, serial)
    })?;
    match end {
        End::Died { status: Some(0), .. } => Ok(console),
        end => bail!("the Linux guest didn't end well: {end:?}\n{}", String::from_utf8_lossy(&console.text)),
    }
}

/// Runs jobs in one boot; what each printed, both streams together, in their order.
///
/// # Errors
/// The machine didn't end by itself in time.
pub(crate) fn jobs(
    rival: Rival,
    settings: &Settings,
    kernel: &Path,
    root: &Root,
    jobs: &[Vec<String>],
    limit: Duration,
) -> Result<Vec<Outcome>> {
    let mut root = root.clone();
    let list: String = jobs.iter().map(|words| words.join(" ") + "\n").collect();
    root.add_bytes(Path::new("/jobs"), 0o644, list.into_bytes());
    let console = boot(settings, kernel, &command_line(rival, settings.exact, "/init"), &root, limit)?;
    let mut outcomes = split(&String::from_utf8_lossy(&console.text));
    outcomes.resize_with(jobs.len(), Outcome::default);
    Ok(outcomes)
}

/// Takes the first program's console apart: each job's lines, then `@exit index status`.
fn split(text: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut current = Outcome::default();
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some(rest) = line.strip_prefix("@exit ") {
            current.status = rest.split_whitespace().nth(1).and_then(|status| status.parse().ok());
            outcomes.push(std::mem::take(&mut current));
        } else {
            current.stdout.push_str(line);
            current.stdout.push('\n');
        }
    }
    outcomes
}

/// What the machines run on.
pub(crate) fn acceleration_name(exact: bool, acceleration: Acceleration) -> &'static str {
    match (exact, acceleration) {
        (true, _) => "tcg, exact",
        (false, Acceleration::Tcg) => "tcg",
        (false, Acceleration::Kvm) => "kvm",
        (false, Acceleration::KvmEmulated) => "kvm, ring 0 emulated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_taken_apart() {
        let outcomes = split(
            "[ 0.1] boot\r\n\r\nsyscall a 1 2\r\n@exit 0 0\r\noops\r\n@exit 1 256\r\n[ 0.4] reboot: Restarting",
        );
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes[0].stdout.ends_with("\nsyscall a 1 2\n"));
        assert_eq!((outcomes[0].status, outcomes[1].status), (Some(0), Some(256)));
        assert_eq!(outcomes[1].stdout, "oops\n");
    }
}
