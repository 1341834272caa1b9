//! What `cargo xtask run` can be told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use launch::{Acceleration, Board, LogLevel, Machine, Mode};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccelArg {
    Auto,
    Kvm,
    Tcg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    Flat,
    Guarded,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Flat => Self::Flat,
            ModeArg::Guarded => Self::Guarded,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BoardArg {
    Microvm,
    Q35,
    Pc,
}

impl From<BoardArg> for Board {
    fn from(board: BoardArg) -> Self {
        match board {
            BoardArg::Microvm => Self::Microvm,
            BoardArg::Q35 => Self::Q35,
            BoardArg::Pc => Self::Pc,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogArg {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogArg> for LogLevel {
    fn from(level: LogArg) -> Self {
        match level {
            LogArg::Error => Self::Error,
            LogArg::Warn => Self::Warn,
            LogArg::Info => Self::Info,
            LogArg::Debug => Self::Debug,
            LogArg::Trace => Self::Trace,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Memory of the machine: bytes, or a number with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub(crate) memory: u64,
    /// Processors of the machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// How instructions are run; auto tries out what KVM is good for here, and takes it where it is better
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    pub(crate) accel: AccelArg,
    /// Privilege of the program: flat runs it beside the kernel, guarded behind it
    #[arg(long, value_enum, default_value = "flat")]
    pub(crate) mode: ModeArg,
    /// A variable of the program's environment, or the name of one of ours; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// Directory in which the program starts
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) cwd: PathBuf,
    /// A directory that becomes the guest's root; the program is looked for there first
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The machine type
    #[arg(long, value_enum, value_name = "TYPE", default_value = "microvm")]
    pub(crate) machine: BoardArg,
    /// End the machine after so many seconds, with exit status 124
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,
    /// The deterministic machine: one instruction is one nanosecond, every run is the same
    #[arg(long)]
    pub(crate) exact: bool,
    /// Print each system call on standard error
    #[arg(long)]
    pub(crate) strace: bool,
    /// Wait for gdb on a port, 1234 by default, before the first instruction
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "1234")]
    pub(crate) gdb: Option<u16>,
    /// Show QEMU's command line instead of running it
    #[arg(long)]
    pub(crate) print_qemu: bool,
    /// The kernel's log on standard error, from this level on
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log: Option<LogArg>,
    /// The same as --log info, and the kernel's counters at the end
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// More words for the kernel's command line
    #[arg(long, value_name = "WORDS")]
    pub(crate) append: Option<String>,
    /// Boot this kernel instead of building one
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Refuse to install missing packages; say the command instead
    #[arg(long)]
    pub(crate) no_install: bool,
    /// The program, an ELF file or a script: with --root a path in it (a name alone is looked up in PATH there), else a file of this host;
    /// without one, a demonstration
    #[arg(value_name = "PROGRAM")]
    before_dashes: Option<PathBuf>,
    /// Its arguments
    #[arg(last = true, value_name = "ARGS")]
    behind_dashes: Vec<OsString>,
}

impl RunArgs {
    /// The program and its arguments: all of it may stand behind the `--`.
    pub(crate) fn command(&self) -> (Option<&Path>, &[OsString]) {
        match (&self.before_dashes, self.behind_dashes.split_first()) {
            (Some(program), _) => (Some(program), &self.behind_dashes),
            (None, Some((program, rest))) => (Some(Path::new(program)), rest),
            (None, None) => (None, &[]),
        }
    }

    pub(crate) fn log_level(&self) -> Option<LogLevel> {
        self.log.map(LogLevel::from).or(self.verbose.then_some(LogLevel::Info))
    }

    /// The machine that these options describe.
    pub(crate) fn machine(&self, kernel: PathBuf, acceleration: Acceleration) -> Machine {
        Machine {
            board: self.machine.into(),
            mode: self.mode.into(),
            acceleration,
            memory_bytes: self.memory,
            cpus: self.cpus,
            exact: self.exact,
            log: self.log_level(),
            strace: self.strace,
            gdb: self.gdb,
            append: self.append.clone().unwrap_or_default(),
            ..Machine::new(kernel)
        }
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 2 << 20;
    const MOST: u64 = 1 << 40;
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1u64),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(LEAST..=MOST) => Ok(bytes.unwrap_or(LEAST)),
        Some(..LEAST) => Err("a machine has at least 2M of memory".to_owned()),
        Some(_) => Err("a machine has at most 1024G of memory".to_owned()),
        None => Err("not a size; say something like 256M".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("2m"), Ok(2 << 20));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        assert_eq!(parse_size("4194304"), Ok(4 << 20));
        for wrong in ["", "M", "1M1", "-1", "1T", "1.5G", "1K", "99999999999999999999", "9999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "-1", "x", "nan", "inf", "1e300"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
