//! What the kernel says about itself: the log on the serial port, panics, and backtraces.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::arch::TrapFrame;
use crate::arch::x86_64::{entry, power, serial::Serial};
use crate::boot::BootInfo;
use crate::sync::SpinLock;

struct SerialLog(SpinLock<Lines>);

/// The serial port, and what stands on its last line.
struct Lines {
    port: Option<Serial>,
    /// The thread whose traced call waits for its result at the end of the line; 0 for none.
    open: u32,
}

static LOG: SerialLog = SerialLog(SpinLock::new(Lines { port: None, open: 0 }));

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.port.is_none() {
            self.port = Serial::open();
        }
        if let Some(serial) = &mut self.port {
            serial.write(text);
        }
        Ok(())
    }
}

impl SerialLog {
    fn print(&self, text: fmt::Arguments<'_>) {
        self.print_call(text, 0);
    }

    /// Prints a call of thread `tid` and leaves the line open for its result.
    fn print_call(&self, text: fmt::Arguments<'_>, tid: u32) {
        let mut lines = self.0.lock();
        if core::mem::replace(&mut lines.open, tid) != 0 {
            let _ = lines.write_str(" ...\n");
        }
        let _ = lines.write_fmt(text);
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

/// Sets the log level from `log=LEVEL`; without it the log is silent and the serial port untouched. `crash=panic|fault` prepares
/// `crash_if_asked`.
pub fn init(boot: &BootInfo) {
    let crash = match boot.option("crash") {
        Some("panic") => 1,
        Some("fault") => 2,
        _ => 0,
    };
    CRASH.store(crash, Ordering::Relaxed);
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

/// A system call of thread `tid`, for strace.
pub fn trace_call(tid: u32, call: &str) {
    LOG.print_call(format_args!("[{tid}] {call}"), tid);
}

/// Its result: on the same line, if nothing was printed since.
pub fn trace_result(tid: u32, name: &str, result: fmt::Arguments<'_>) {
    let mut lines = LOG.0.lock();
    if lines.open == tid {
        lines.open = 0;
        let _ = lines.write_fmt(format_args!(" = {result}\n"));
    } else {
        drop(lines);
        LOG.print(format_args!("[{tid}] ... {name} = {result}\n"));
    }
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

/// How far last words have come.
mod last_words {
    pub(super) const NONE: u8 = 0;
    /// The reason was said.
    pub(super) const REASON: u8 = 1;
    /// Nothing more is said: something went wrong while the rest was.
    pub(super) const ALL: u8 = 2;
}

static LAST_WORDS: AtomicU8 = AtomicU8::new(last_words::NONE);

/// An exception that the kernel can't go on from: says everything, ends the machine.
pub fn fatal_exception(frame: &TrapFrame, vector: u8, error: u64, address: Option<usize>) -> ! {
    let said = LAST_WORDS.swap(last_words::ALL, Ordering::AcqRel);
    if said == last_words::NONE {
        LOG.print(format_args!("kernel panic: exception {vector}, error code {error:#x}"));
        if let Some(address) = address {
            LOG.print(format_args!(", address {address:#x}"));
        }
        LOG.print(format_args!("\n"));
    }
    if said != last_words::ALL {
        print_state("registers", frame);
    }
    power::off(power::End::Panic)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if LAST_WORDS.swap(last_words::REASON, Ordering::AcqRel) == last_words::NONE {
        LOG.print(format_args!("kernel {info}\n"));
        // The way to the registers that needs no code of its own.
        crate::arch::x86_64::idt::raise();
    }
    power::off(power::End::Panic)
}

/// A program's output where there is no other channel than the serial port.
pub fn print_output(bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        LOG.print(format_args!("{}", chunk.valid()));
    }
}

/// The panic that the command line's `crash` asked for, by an unknown system call: `panic` is a failed check of the kernel's own, `fault` an
/// exception.
static CRASH: AtomicU8 = AtomicU8::new(0);

/// Panics if the command line says so. The way to try out what happens then.
pub fn crash_if_asked() {
    match CRASH.load(Ordering::Relaxed) {
        0 => {}
        1 => panic!("asked for by crash=panic"),
        _ => crate::arch::x86_64::idt::raise(),
    }
}
