//! The virtual machine, and QEMU's command line for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::accel::Acceleration;
use crate::tsc;

/// The privilege in which the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Ring 0, beside the kernel: the faster one.
    #[default]
    Flat,
    /// Ring 3, behind the kernel: for programs that aren't trusted.
    Guarded,
}

/// The machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Board {
    #[default]
    Microvm,
    Q35,
    Pc,
}

/// How much the kernel's log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// One virtual machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub kernel: PathBuf,
    pub board: Board,
    pub mode: Mode,
    pub acceleration: Acceleration,
    pub memory_bytes: u64,
    pub cpus: u32,
    /// The deterministic machine: one guest instruction is one nanosecond, and every run is the same to the last bit.
    pub exact: bool,
    pub log: Option<LogLevel>,
    pub strace: bool,
    /// A port on which QEMU waits for gdb.
    pub gdb: Option<u16>,
    /// More words for the kernel's command line.
    pub append: String,
    /// Further arguments of QEMU.
    pub extra: Vec<OsString>,
}

/// Seed of the kernel's random numbers in exact mode.
const EXACT_SEED: &str = "5eed5eed5eed5eed5eed5eed5eed5eed";
/// Start of the wall clock in exact mode: 2024-01-01T00:00:00Z, ns since 1970.
pub(crate) const EXACT_WALL_NS: u64 = 1_704_067_200_000_000_000;

impl Machine {
    /// A machine with the usual settings.
    #[must_use]
    pub fn new(kernel: PathBuf) -> Self {
        tsc::begin();
        Self {
            kernel,
            board: Board::default(),
            mode: Mode::default(),
            acceleration: Acceleration::Tcg,
            memory_bytes: 256 << 20,
            cpus: 1,
            exact: false,
            log: None,
            strace: false,
            gdb: None,
            append: String::new(),
            extra: Vec::new(),
        }
    }

    /// Wall-clock time to start with, ns since 1970.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        if self.exact {
            return EXACT_WALL_NS;
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
    }

    /// The kernel's command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        let mut words = vec![match self.mode {
            Mode::Flat => "mode=flat".to_owned(),
            Mode::Guarded => "mode=guarded".to_owned(),
        }];
        if self.exact {
            words.push("tsc_khz=1000000".to_owned());
            words.push(format!("seed={EXACT_SEED}"));
        } else if self.acceleration == Acceleration::Tcg {
            words.push(format!("tsc_khz={}", tsc::khz()));
        }
        if self.acceleration == Acceleration::KvmEmulated {
            words.push("ring0=emulated".to_owned());
        }
        if let Some(level) = self.log {
            words.push(format!("log={}", level.name()));
        }
        if self.strace {
            words.push("strace".to_owned());
        }
        if !self.append.is_empty() {
            words.push(self.append.clone());
        }
        words.join(" ")
    }

    /// QEMU's arguments. The stream channel and the serial line are what these say in the words of its `-chardev`: `socket,fd=3`.
    #[must_use]
    pub fn qemu_arguments(&self, initrd: &Path, channel: &str, serial: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        let board = match self.board {
            // No firmware tables, no legacy timers: the kernel uses none of them.
            Board::Microvm => "microvm,x-option-roms=off,acpi=off,pit=off,pic=off,rtc=off",
            Board::Q35 => "q35",
            Board::Pc => "pc",
        };
        add(&["-M", board, "-global", "virtio-mmio.force-legacy=false"]);
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        if self.exact {
            // TARGETS: what makes every run the same. RDRAND is masked, since it would differ.
            add(&["-accel", "tcg", "-icount", "shift=0,sleep=off", "-seed", "42"]);
            add(&["-rtc", "base=2024-01-01T00:00:00,clock=vm", "-cpu", "max,-erms,-rdrand,-rdseed"]);
        } else {
            add(&self.acceleration.qemu_arguments());
        }
        add(&["-m", &format!("{}k", self.memory_bytes / 1024), "-smp", &self.cpus.to_string()]);
        let bus_device = match self.board {
            Board::Microvm => "virtio-serial-device,max_ports=2",
            Board::Q35 | Board::Pc => "virtio-serial-pci,disable-legacy=on,max_ports=2",
        };
        add(&["-chardev", &format!("{channel},id=channel")]);
        add(&["-device", bus_device, "-device", "virtserialport,chardev=channel,nr=1"]);
        add(&["-chardev", &format!("{serial},id=serial"), "-serial", "chardev:serial"]);
        add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        if let Some(port) = self.gdb {
            add(&["-gdb", &format!("tcp:127.0.0.1:{port}"), "-S"]);
        }
        arguments.extend(self.extra.iter().cloned());
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        add(&["-append", &self.command_line()]);
        arguments.push("-kernel".into());
        arguments.push(self.kernel.clone().into_os_string());
        arguments.push("-initrd".into());
        arguments.push(initrd.as_os_str().to_owned());
        arguments
    }
}
