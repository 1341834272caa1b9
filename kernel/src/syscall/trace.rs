//! `--strace`: each call with its name, decoded arguments and result, in the kernel's log.
#![expect(unsafe_code, reason = "calls handlers through the raw table")]

use core::fmt::{self, Write};

use abi::Errno;

use super::args::Shape;
use super::table;
use crate::arch::TrapFrame;
use crate::arch::x86_64::cpu::BootCell;
use crate::arch::x86_64::entry::{FLAG_INTERRUPT, FLAG_NESTED};
use crate::arch::x86_64::sigframe::RESTORED_FLAGS;
use crate::task::current;

struct Shown<'a>(&'a TrapFrame);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        let registers = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
        let Some(call) = table::call(frame.orig_rax as u32) else {
            return write!(f, "syscall_{}({:#x?})", frame.orig_rax as u32, registers);
        };
        write!(f, "{}(", call.name)?;
        for (index, (shape, raw)) in call.args.iter().zip(registers).enumerate() {
            if *shape == Shape::None {
                break;
            }
            if index > 0 {
                f.write_str(", ")?;
            }
            shape.show(raw, f)?;
        }
        f.write_str(")")?;
        if call.is_partial && log::log_enabled!(log::Level::Debug) {
            f.write_str(" /* partial: see docs/SYSCALLS.md */")?;
        }
        Ok(())
    }
}

/// A line that is made before the log is locked: arguments stand in the program's memory, which may have to be faulted in. What is longer is
/// cut.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let len = text.floor_char_boundary(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..len), text.as_bytes().get(..len)) {
            to.copy_from_slice(from);
            self.len += len;
        }
        Ok(())
    }
}

/// A result as strace shows it: errors by name, addresses in hexadecimal.
struct Outcome(isize);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.cast_unsigned() as u64;
        if super::decode_restart(value).is_some() {
            f.write_str("? (interrupted)")
        } else if (-4095..0).contains(&self.0) {
            let errno = Errno::from_raw(self.0.unsigned_abs() as u16);
            write!(f, "-1 {}", errno.name().unwrap_or("?"))
        } else {
            Shape::I64.show(value, f)
        }
    }
}

/// Calls without a result, by their numbers.
const EXIT: u64 = 60;
const EXIT_GROUP: u64 = 231;

/// Calls the handler that a frame asks for.
fn call(frame: &TrapFrame) -> isize {
    let handler = table::handler(frame.orig_rax as u32);
    // SAFETY: the table's handlers take up to six register arguments.
    unsafe { handler(frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9) }
}

/// Whether late calls are traced.
pub static LATE_CALLS: BootCell<bool> = BootCell::new(false);

/// A system call of a frame that came by the fault at the kernel's entry (`entry::expect_late_syscalls`): RCX and R11 are what SYSCALL made of
/// RIP and RFLAGS, unless the program went there by a jump, with what it likes.
#[cold]
pub fn late(frame: &mut TrapFrame) {
    frame.rip = frame.rcx;
    frame.rflags = frame.r11 & (u64::from(RESTORED_FLAGS) | FLAG_NESTED) | FLAG_INTERRUPT | 2;
    frame.orig_rax = frame.rax;
    frame.rax = if LATE_CALLS.get() { syscall_traced(frame) } else { call(frame) }.cast_unsigned() as u64;
}

/// The traced way into a handler.
#[unsafe(no_mangle)]
extern "C" fn syscall_traced(frame: &mut TrapFrame) -> isize {
    let tid = current().tid;
    let number = frame.orig_rax;
    let mut line = Line { bytes: [0; 512], len: 0 };
    let _ = write!(line, "{}", Shown(frame));
    let text =
        line.bytes.get(..line.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default();
    crate::debug::trace_call(tid, text);
    let name = table::call(number as u32).map_or("", |call| call.name);
    if matches!(number, EXIT | EXIT_GROUP) {
        crate::debug::trace_result(tid, name, format_args!("?"));
    }
    let result = call(frame);
    crate::debug::trace_result(tid, name, format_args!("{}", Outcome(result)));
    result
}
