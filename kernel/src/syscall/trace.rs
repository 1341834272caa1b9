//! `--strace`: each call with its name, decoded arguments and result, in the kernel's log.
#![expect(unsafe_code, reason = "calls handlers through the raw table")]

use core::fmt;

use abi::Errno;

use super::args::Shape;
use super::table;
use crate::arch::TrapFrame;
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

/// The traced way into a handler.
#[unsafe(no_mangle)]
extern "C" fn syscall_traced(frame: &mut TrapFrame) -> isize {
    let tid = current().tid;
    crate::debug::trace(format_args!("[{tid}] {} ...", Shown(frame)));
    let handler = table::handler(frame.orig_rax as u32);
    // SAFETY: the table's handlers take up to six register arguments.
    let result = unsafe { handler(frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9) };
    if (-4095..0).contains(&result) {
        let errno = Errno::from_raw(-result as u16);
        crate::debug::trace(format_args!("[{tid}] ... = -1 {} ({})", errno.name().unwrap_or("?"), -result));
    } else {
        crate::debug::trace(format_args!("[{tid}] ... = {result:#x}"));
    }
    result
}
