//! The frame that a handler runs on, and the way back from it: sigreturn(2), and `arch/x86/kernel/signal_64.c` of Linux for the details.

use abi::{FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, SaFlags, SigInfo, Signal};
use sigstate::{AltStack, Info};

use super::deliver::Delivery;
use super::send::{Insist, force};
use super::{FaultContext, change_mask};
use crate::arch::TrapFrame;
use crate::arch::x86_64::sigframe::{self, BadFrame, Context, Format, software};
use crate::arch::x86_64::{entry, fpu, usercopy};
use crate::mm::USER_TOP;
use crate::mm::user::is_user_range;
use crate::task::sched::current;

/// Below RSP there may be data of a leaf function (the SysV red zone).
const RED_ZONE: u64 = 128;
const FRAME_ALIGN: u64 = 16;
/// The flags of RFLAGS that sigreturn restores: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF.
const RESTORED_FLAGS: u64 = 0x0005_0dd5;

const USER_CS: u64 = 0x33;
const USER_SS: u64 = 0x2b;

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
    let (fpstate, _) = sigframe::fpstate_layout();
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
#[inline]
fn place(rsp: u64, altstack: &AltStack, wants_altstack: bool, fpstate_size: u64) -> Result<Place, BadFrame> {
    let mut sp = rsp.wrapping_sub(RED_ZONE);
    let mut confined = altstack.is_active(rsp);
    if wants_altstack && let Some(top) = altstack.start(sp) {
        sp = top;
        confined = true;
    }
    let fpstate = sp.wrapping_sub(fpstate_size) & !(fpu::XSAVE_ALIGN as u64 - 1);
    let frame = (fpstate.wrapping_sub(sigframe::FRAME_SIZE) & !(FRAME_ALIGN - 1)).wrapping_sub(8);
    let len = sp.wrapping_sub(frame);
    let overflows = confined && !altstack.covers(frame);
    if overflows || !is_user_range(frame as usize, len as usize) {
        return Err(BadFrame);
    }
    Ok(Place { frame, fpstate })
}

/// Builds the frame of a handler on the program's stack, and points the registers at the handler.
pub(super) fn build(frame: &mut TrapFrame, delivery: &Delivery) -> Result<(), BadFrame> {
    let action = &delivery.action;
    let has = |flag: SaFlags| action.flags & flag.bits() != 0;
    // x86_64 has no other way back from a handler.
    if !has(SaFlags::RESTORER) {
        return Err(BadFrame);
    }
    let (fpstate_size, is_extended) = sigframe::fpstate_layout();
    let place = place(frame.rsp, &delivery.altstack, has(SaFlags::ONSTACK), fpstate_size)?;
    sigframe::save_fpu(place.fpstate)?;
    if has(SaFlags::SIGINFO) {
        sigframe::put_info(place.frame, &delivery.info.to_words())?;
    }
    let context = Context {
        restorer: action.restorer,
        flags: abi::UC_SIGCONTEXT_SS
            | abi::UC_STRICT_RESTORE_SS
            | if is_extended { abi::UC_FP_XSTATE } else { 0 },
        stack_base: delivery.altstack.base,
        stack_flags: u64::from(delivery.altstack.flags),
        stack_size: delivery.altstack.size,
        error: delivery.fault.error,
        trap: delivery.fault.vector,
        mask: delivery.mask.0,
        fault_address: delivery.fault.address,
        fpstate: place.fpstate,
        ..Context::default()
    };
    sigframe::put(place.frame, frame, &context)?;
    fpu::reset();
    frame.rdi = u64::from(delivery.info.signal.number());
    frame.rsi = place.frame + sigframe::SIGINFO_OFFSET;
    frame.rdx = place.frame + sigframe::UCONTEXT_OFFSET;
    frame.rax = 0;
    frame.rsp = place.frame;
    frame.rip = action.handler;
    frame.rflags &= !(entry::FLAG_DIRECTION | entry::FLAG_RESUME | entry::FLAG_TRAP);
    check_target(frame);
    Ok(())
}

/// sigreturn(2): puts everything back as the frame at RSP says, as far as a program may say it. The frame's own registers are the
/// result: RAX too. A frame that can't be read, or that no processor would accept, is a SIGSEGV.
pub fn restore(frame: &mut TrapFrame) -> u64 {
    let at = frame.rsp.wrapping_sub(8);
    if try_restore(frame, at).is_err() {
        force(Info::kernel(Signal::SIGSEGV), Insist::Handler);
        return 0;
    }
    frame.rax
}

fn try_restore(frame: &mut TrapFrame, at: u64) -> Result<(), BadFrame> {
    if !is_user_range(at as usize, sigframe::FRAME_SIZE as usize) {
        return Err(BadFrame);
    }
    let mut context = Context::default();
    let flags = frame.rflags;
    sigframe::get(at, frame, &mut context)?;
    frame.orig_rax = u64::MAX;
    frame.rflags = flags & !RESTORED_FLAGS | context.rflags & RESTORED_FLAGS;
    let (cs, ss) = crate::mode().selectors();
    frame.cs = u64::from(cs);
    frame.ss = u64::from(ss);
    current().add_work(crate::task::thread::work::FULL_RETURN);
    change_mask(|_| abi::SigSet(context.mask));
    restore_fpu(context.fpstate)?;
    restore_altstack(frame.rsp, &context);
    check_selectors(&context);
    check_target(frame);
    Ok(())
}

fn restore_altstack(rsp: u64, context: &Context) {
    let new =
        AltStack { base: context.stack_base, size: context.stack_size, flags: context.stack_flags as u32 };
    let mut own = current().signals.lock();
    // sigreturn is a way of going on in any case: a dropped restart, and what sigaltstack(2) would refuse stays as it is.
    let restart = own.restart.take();
    let _ = own.altstack.set(new, rsp);
    drop(own);
    drop(restart);
}

fn restore_fpu(area: u64) -> Result<(), BadFrame> {
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
    let word = |offset: u64| usercopy::read_u64((area + offset) as usize).ok_or(BadFrame);
    let magic_and_size = word(software::MAGIC1_AND_EXTENDED_SIZE)?;
    let components = word(software::COMPONENTS)?;
    let state_size = word(software::STATE_SIZE)? as u32;
    let extended_size = (magic_and_size >> 32) as u32;
    if magic_and_size as u32 != FP_XSTATE_MAGIC1
        || state_size < software::LEAST_STATE_SIZE
        || state_size as usize > size
        || state_size > extended_size
    {
        return Ok(Format::Legacy);
    }
    let end = area as usize + state_size as usize;
    if !is_user_range(end, 4) {
        return Err(BadFrame);
    }
    let magic2 = usercopy::read_u32(end).ok_or(BadFrame)?;
    Ok(if magic2 == FP_XSTATE_MAGIC2 { Format::Extended(components) } else { Format::Legacy })
}

/// The selectors of a frame aren't loaded: the mode has its own. Those that IRET would refuse, or that name 32-bit code, end as they
/// do where they are loaded.
fn check_selectors(context: &Context) {
    let cs = context.selectors & 0xffff | 3;
    let ss = context.selectors >> 48 | 3;
    let strict = context.flags & abi::UC_STRICT_RESTORE_SS != 0;
    let bad = if cs != USER_CS {
        Some(cs)
    } else if strict && ss != USER_SS {
        Some(ss)
    } else {
        None
    };
    if let Some(selector) = bad {
        general_protection(selector & !3);
    }
}

/// A handler or a restored RIP outside the program's half is never jumped to: what the processor would have done happens here.
fn check_target(frame: &TrapFrame) {
    if (frame.rip as usize) < USER_TOP {
        return;
    }
    match frame.rip {
        ..CANONICAL_END => {}
        UPPER_HALF.. => {
            let info = SigInfo::fault(Signal::SIGSEGV, SEGV_MAPERR, frame.rip);
            let context = FaultContext { vector: PAGE_FAULT, error: FETCH_FROM_USER, address: frame.rip };
            super::force_fault(info, context);
        }
        _ => general_protection(0),
    }
}

fn general_protection(error: u64) {
    let address = current().signals.lock().fault.address;
    let context = FaultContext { vector: GENERAL_PROTECTION, error, address };
    super::force_fault(SigInfo::new(Signal::SIGSEGV, SigInfo::SI_KERNEL), context);
}
