//! What the kernel says about itself: the log on the serial port, panics, and backtraces.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::arch::TrapFrame;
use crate::arch::x86_64::{entry, power, serial::Serial};
use crate::boot::BootInfo;
use crate::sync::SpinLock;

struct SerialLog(SpinLock<Option<Serial>>);

static LOG: SerialLog = SerialLog(SpinLock::new(None));

struct Writer<'a>(&'a mut Serial);

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text);
        Ok(())
    }
}

impl SerialLog {
    fn print(&self, text: fmt::Arguments<'_>) {
        let mut port = self.0.lock();
        if port.is_none() {
            *port = Serial::open();
        }
        if let Some(serial) = port.as_mut() {
            let _ = Writer(serial).write_fmt(text);
        }
    }
}

impl Log for SerialLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        self.print(format_args!("{level}: {}\n", record.args()));
    }

    fn flush(&self) {}
}

/// Sets the log level from `log=LEVEL`; without it the log is silent and the serial port untouched.
pub fn init(boot: &BootInfo) {
    let level = match boot.option("log") {
        Some("error") => LevelFilter::Error,
        Some("warn") => LevelFilter::Warn,
        Some("info") => LevelFilter::Info,
        Some("debug") => LevelFilter::Debug,
        Some("trace") => LevelFilter::Trace,
        _ => return,
    };
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
}

/// A line of strace output.
pub fn trace(text: fmt::Arguments<'_>) {
    LOG.print(format_args!("{text}\n"));
}

/// Return addresses that a backtrace shows at most, and words of the stack that it looks at.
const MAX_DEPTH: usize = 32;
const MAX_WORDS: usize = 1024;

/// Return addresses of the callers: the words of the stack that point behind a call (decision 0005). A few may be left from calls that have
/// returned. `xtask` puts names to the addresses.
fn print_backtrace(rsp: u64) {
    LOG.print(format_args!("backtrace:\n"));
    let words = crate::arch::x86_64::switch::stack_words(rsp, MAX_WORDS);
    let calls =
        words.filter(|&word| entry::is_kernel_text(word) && crate::arch::x86_64::switch::follows_call(word));
    for address in calls.take(MAX_DEPTH) {
        LOG.print(format_args!("  {address:#018x}\n"));
    }
}

/// Registers and backtrace on the serial port.
pub fn print_state(what: &str, frame: &TrapFrame) {
    LOG.print(format_args!(
        "{what}\n  rip {:#018x} cs {:#x} rflags {:#x}\n  rsp {:#018x} ss {:#x}\n  rax {:#018x} rbx {:#018x} rcx {:#018x} rdx {:#018x}\n  rsi {:#018x} rdi {:#018x} rbp {:#018x} r8  {:#018x}\n  r9  {:#018x} r10 {:#018x} r11 {:#018x} r12 {:#018x}\n  r13 {:#018x} r14 {:#018x} r15 {:#018x}\n",
        frame.rip, frame.cs, frame.rflags, frame.rsp, frame.ss, frame.rax, frame.rbx, frame.rcx, frame.rdx,
        frame.rsi, frame.rdi, frame.rbp, frame.r8, frame.r9, frame.r10, frame.r11, frame.r12, frame.r13,
        frame.r14, frame.r15,
    ));
    LOG.print(format_args!("  {:#018x}\n", frame.rip));
    print_backtrace(frame.rsp);
}

static PANICKING: AtomicBool = AtomicBool::new(false);

/// An exception that the kernel can't go on from: says everything, ends the machine.
pub fn fatal_exception(frame: &TrapFrame, vector: u8, error: u64, address: Option<usize>) -> ! {
    if !PANICKING.swap(true, Ordering::AcqRel) {
        LOG.print(format_args!("kernel panic: exception {vector}, error code {error:#x}"));
        if let Some(address) = address {
            LOG.print(format_args!(", address {address:#x}"));
        }
        LOG.print(format_args!("\n"));
        print_state("registers", frame);
    }
    power::off(power::End::Panic)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if !PANICKING.swap(true, Ordering::AcqRel) {
        LOG.print(format_args!("kernel {info}\n"));
        print_backtrace(crate::arch::x86_64::switch::stack_pointer());
    }
    power::off(power::End::Panic)
}
pub fn raw(b: &[u8]) {
    for c in b.utf8_chunks() {
        LOG.print(format_args!("{}", c.valid()));
    }
}
