//! The frame that a handler runs on, and the way back from it: sigreturn(2), and `arch/x86/kernel/signal_64.c` of Linux for the details.

use abi::{FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FpSoftware, SaFlags, SigSet, Signal, UContext};
use sigstate::{AltStack, Info};

use super::deliver::Delivery;
use super::send::{Insist, force};
use super::{FaultContext, change_mask};
use crate::arch::TrapFrame;
use crate::arch::x86_64::sigframe::{self, BadFrame, Format, Reading};
use crate::arch::x86_64::{entry, fpu};
use crate::mm::user::is_user_range;
use crate::mm::{USER_TOP, UserPtr};
use crate::task::sched::current;
use crate::task::thread::{Thread, work};

/// Below RSP there may be data of a leaf function (the SysV red zone).
const RED_ZONE: u64 = 128;
const FRAME_ALIGN: u64 = 16;
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;

/// Addresses from here on aren't canonical, up to the upper half.
const CANONICAL_END: u64 = 1 << 47;
const UPPER_HALF: u64 = u64::MAX << 47;

/// Exceptions that a return to an impossible address ends in, and their error code bits.
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;
const FETCH_FROM_USER: u64 = 0x15;
const SEGV_MAPERR: i32 = 1;

/// The least size of an alternate stack on which a handler can run (AT_MINSIGSTKSZ), computed as Linux does.
pub fn min_signal_stack() -> usize {
    let fpstate = fpu::frame_size();
    // Linux counts the old FSAVE area that precedes the state in 32-bit frames.
    const FSAVE_SIZE: u64 = 112;
    let size =
        sigframe::FRAME_SIZE + (FRAME_ALIGN - 1) + fpstate + FSAVE_SIZE + (fpu::XSAVE_ALIGN as u64 - 1);
    size.next_multiple_of(FRAME_ALIGN) as usize
}

/// Where the parts of a frame go.
struct Place {
    frame: u64,
    fpstate: u64,
}

/// Finds room for a frame. An alternate stack that it would overflow is no room.
#[inline(always)]
fn place(rsp: u64, altstack: &AltStack, wants_altstack: bool) -> Result<Place, BadFrame> {
    if altstack.size == 0 {
        return place_below(rsp.wrapping_sub(RED_ZONE));
    }
    place_with_altstack(rsp, altstack, wants_altstack)
}

#[inline(always)]
fn place_below(sp: u64) -> Result<Place, BadFrame> {
    let fpstate = sp.wrapping_sub(fpu::frame_size()) & !(fpu::XSAVE_ALIGN as u64 - 1);
    let frame = (fpstate.wrapping_sub(sigframe::FRAME_SIZE) & !(FRAME_ALIGN - 1)).wrapping_sub(8);
    if sp > USER_TOP as u64 || frame > sp { Err(BadFrame) } else { Ok(Place { frame, fpstate }) }
}

#[inline(never)]
fn place_with_altstack(rsp: u64, altstack: &AltStack, wants_altstack: bool) -> Result<Place, BadFrame> {
    let mut sp = rsp.wrapping_sub(RED_ZONE);
    let mut confined = altstack.is_active(rsp);
    if wants_altstack && let Some(top) = altstack.start(sp) {
        sp = top;
        confined = true;
    }
    let place = place_below(sp)?;
    if confined && !altstack.covers(place.frame) { Err(BadFrame) } else { Ok(place) }
}

/// Builds the frame of a handler on the program's stack, and points the registers at the handler.
#[inline(always)]
pub(super) fn build(frame: &mut TrapFrame, thread: &Thread, delivery: &Delivery) -> Result<(), BadFrame> {
    let action = &delivery.action;
    let has = |flag: SaFlags| action.flags & flag.bits() != 0;
    // x86_64 has no other way back from a handler.
    if !has(SaFlags::RESTORER) {
        return Err(BadFrame);
    }
    let own = &thread.signals;
    let altstack = own.altstack();
    let place = place(frame.rsp, &altstack, has(SaFlags::ONSTACK))?;
    sigframe::save_fpu(place.fpstate)?;
    if has(SaFlags::SIGINFO)
        && let Some(info) = &delivery.info
    {
        sigframe::put_info(place.frame, &info.to_words())?;
    }
    sigframe::put(place.frame, frame, &own.shown, action.restorer, delivery.mask.0, place.fpstate)?;
    fpu::reset();
    if altstack.disarms() {
        own.set_altstack(AltStack::DISARMED);
    }
    frame.rdi = u64::from(delivery.signal.number());
    frame.rsi = place.frame + sigframe::SIGINFO_OFFSET;
    frame.rdx = place.frame + sigframe::UCONTEXT_OFFSET;
    frame.rax = 0;
    frame.rsp = place.frame;
    frame.rip = action.handler;
    frame.rflags &= !(entry::FLAG_DIRECTION | entry::FLAG_RESUME | entry::FLAG_TRAP);
    check_target(frame.rip);
    Ok(())
}

/// sigreturn(2): puts everything back as the frame at RSP says, as far as a program may say it. The frame's own registers are the
/// result: RAX too. A frame that can't be read, or that no processor would accept, is a SIGSEGV.
#[inline(always)]
pub fn restore(frame: &mut TrapFrame) -> u64 {
    let at = frame.rsp.wrapping_sub(8);
    if try_restore(frame, at).is_err() {
        force(Info::kernel(Signal::SIGSEGV), Insist::Handler);
        return 0;
    }
    frame.rax
}

#[inline(always)]
fn try_restore(frame: &mut TrapFrame, at: u64) -> Result<(), BadFrame> {
    if !is_user_range(at as usize, sigframe::FRAME_SIZE as usize) {
        return Err(BadFrame);
    }
    let thread = current();
    let (restored, reading) = sigframe::get(at, frame, &thread.signals.shown)?;
    frame.orig_rax = u64::MAX;
    frame.ss = u64::from(crate::mode().selectors().1);
    thread.add_work(work::FULL_RETURN);
    change_mask(|_| SigSet(restored.mask));
    thread.signals.drop_restart();
    restore_fpu(restored.fpstate)?;
    if reading == Reading::Unusual {
        look_closer(at, frame.rsp)?;
    }
    check_target(frame.rip);
    Ok(())
}

/// The frame names another alternate stack, or selectors of its own.
#[cold]
fn look_closer(at: u64, rsp: u64) -> Result<(), BadFrame> {
    let context = UserPtr::<UContext>::new((at + sigframe::UCONTEXT_OFFSET) as usize);
    let context = context.read().map_err(|_| BadFrame)?;
    let stack = context.stack;
    let new = AltStack { base: stack.sp, size: stack.size, flags: stack.flags.cast_unsigned() };
    let own = &current().signals;
    let mut altstack = own.altstack();
    // What sigaltstack(2) would refuse stays as it is: sigreturn goes on in any case.
    if altstack.set(new, rsp).is_ok() {
        own.set_altstack(altstack);
    }
    check_selectors(&context);
    Ok(())
}

#[inline(always)]
fn restore_fpu(area: u64) -> Result<(), BadFrame> {
    if is_user_range(area as usize, fpu::frame_size() as usize)
        && area != 0
        && sigframe::restore_own_fpu(area)?
    {
        return Ok(());
    }
    restore_foreign_fpu(area)
}

/// The FPU state isn't as the kernel wrote it: none at all, an FXSAVE image, or an XSAVE image with other components.
#[cold]
fn restore_foreign_fpu(area: u64) -> Result<(), BadFrame> {
    if area == 0 {
        fpu::reset();
        return Ok(());
    }
    let restored = fpu_format(area).and_then(|format| sigframe::restore_fpu(area, format));
    if restored.is_err() {
        fpu::reset();
    }
    restored
}

/// What kind of image stands at `area`: anything that isn't marked as an XSAVE image at both ends is taken for an FXSAVE image.
fn fpu_format(area: u64) -> Result<Format, BadFrame> {
    let size = fpu::state_size();
    if !is_user_range(area as usize, size) {
        return Err(BadFrame);
    }
    if fpu::state_mask() == 0 {
        return Ok(Format::Legacy);
    }
    let at = UserPtr::<FpSoftware>::new((area + sigframe::SOFTWARE_OFFSET) as usize);
    let software = at.read().map_err(|_| BadFrame)?;
    if software.magic1 != FP_XSTATE_MAGIC1
        || software.xstate_size < sigframe::LEAST_STATE_SIZE
        || software.xstate_size as usize > size
        || software.xstate_size > software.extended_size
    {
        return Ok(Format::Legacy);
    }
    let end = UserPtr::<u32>::new(area as usize + software.xstate_size as usize);
    let magic2 = end.load().map_err(|_| BadFrame)?;
    Ok(if magic2 == FP_XSTATE_MAGIC2 { Format::Extended(software.xfeatures) } else { Format::Legacy })
}

/// The selectors of a frame aren't loaded: the mode has its own. Those that IRET would refuse, or that name 32-bit code, end as they
/// do where they are loaded.
fn check_selectors(context: &UContext) {
    let cs = context.mcontext.cs | 3;
    let ss = context.mcontext.ss | 3;
    let strict = context.flags & abi::UC_STRICT_RESTORE_SS != 0;
    let bad = if cs != USER_CS {
        Some(cs)
    } else if strict && ss != USER_SS {
        Some(ss)
    } else {
        None
    };
    if let Some(selector) = bad {
        general_protection(u64::from(selector & !3));
    }
}

/// A handler or a restored RIP outside the program's half is never jumped to: what the processor would have done happens here.
#[inline(always)]
fn check_target(rip: u64) {
    if rip as usize >= USER_TOP {
        refuse_target(rip);
    }
}

#[cold]
fn refuse_target(rip: u64) {
    match rip {
        ..CANONICAL_END => {}
        UPPER_HALF.. => {
            let info = Info::fault(Signal::SIGSEGV, SEGV_MAPERR, rip);
            let context = FaultContext { vector: PAGE_FAULT, error: FETCH_FROM_USER, address: rip };
            super::force_fault(info, context);
        }
        _ => general_protection(0),
    }
}

fn general_protection(error: u64) {
    let address = current().signals.shown.address.get();
    let context = FaultContext { vector: GENERAL_PROTECTION, error, address };
    super::force_fault(Info::kernel(Signal::SIGSEGV), context);
}
