//! Interrupts and exceptions: what the entry assembly calls, and what each means to the program.
#![expect(unsafe_code, reason = "names functions for the entry assembly")]

use core::sync::atomic::Ordering;

use abi::Signal;

use super::rseq;
use super::sched::{self, current};
use super::signal::{self, Info};
use super::thread::work;
use super::usage;
use crate::arch::TrapFrame;
use crate::arch::x86_64::{apic, cpu, entry, idt, paging, usercopy};
use crate::mm::fault::{self, Access, FaultError};
use crate::mm::{USER_TOP, UserPtr};
use crate::{console, drivers, syscall, time};

/// `si_code` values of the fault signals (sigaction(2)).
mod code {
    pub(super) const FPE_INTDIV: i32 = 1;
    pub(super) const ILL_ILLOPN: i32 = 2;
    pub(super) const SEGV_MAPERR: i32 = 1;
    pub(super) const SEGV_ACCERR: i32 = 2;
    pub(super) const BUS_ADRALN: i32 = 1;
    pub(super) const BUS_ADRERR: i32 = 2;
    pub(super) const TRAP_BRKPT: i32 = 1;
    pub(super) const TRAP_TRACE: i32 = 2;
    pub(super) const SI_KERNEL: i32 = 0x80;
}

/// Page-fault error code bits (Intel SDM volume 3, 4.7).
const ERROR_PRESENT: u64 = 1;
const ERROR_WRITE: u64 = 1 << 1;
const ERROR_USER: u64 = 1 << 2;
const ERROR_FETCH: u64 = 1 << 4;

fn access_of(error: u64) -> Access {
    if error & ERROR_FETCH != 0 {
        Access::Execute
    } else if error & ERROR_WRITE != 0 {
        Access::Write
    } else {
        Access::Read
    }
}

/// An interrupt or exception that came while the program ran. Interrupts are off; returning goes on to the program.
#[unsafe(no_mangle)]
extern "C" fn trap_user(frame: &mut TrapFrame, vector: u64, error: u64) {
    let vector = vector as u8;
    match vector {
        idt::PAGE_FAULT => {
            let address = paging::fault_address();
            match fault::handle(address, access_of(error)) {
                // QEMU's translator (7.2 at least) lets `iretq` and far returns of ring 3 read the stack as ring 0 would, which SMAP forbids: the page
                // is there, and would fault for ever.
                Ok(())
                    if error & (ERROR_PRESENT | ERROR_USER) == ERROR_PRESENT
                        && crate::mode() == crate::Mode::Guarded =>
                {
                    page_fault_signal(address, access_of(error), error, FaultError::NotAllowed);
                }
                Ok(()) => {}
                Err(_) if entry::is_late_syscall(frame, address) => syscall::trace::late(frame),
                Err(reason) => page_fault_signal(address, access_of(error), error, reason),
            }
        }
        idt::FIRST_IRQ.. => {
            if vector == idt::APIC_TIMER {
                usage::sample(frame);
            }
            interrupt(vector);
        }
        idt::GENERAL_PROTECTION if emulate_umip(frame) => {}
        _ => exception(frame, vector, error),
    }
}

fn page_fault_signal(address: usize, access: Access, error: u64, reason: FaultError) {
    let (signal, code) = match reason {
        FaultError::NotMapped => (Signal::SIGSEGV, code::SEGV_MAPERR),
        FaultError::NotAllowed => (Signal::SIGSEGV, code::SEGV_ACCERR),
        FaultError::BeyondFile => (Signal::SIGBUS, code::BUS_ADRERR),
        // The way out sees to it that somebody ends; then the program tries again.
        FaultError::OutOfMemory => return,
    };
    // What Linux reports in the signal frame: as from ring 3, and above the program's half always a page that is there but closed.
    let protection = if address >= USER_TOP { ERROR_PRESENT } else { error & ERROR_PRESENT };
    let write = if access == Access::Write { ERROR_WRITE } else { 0 };
    let fetch = error & ERROR_FETCH;
    signal::force_fault(
        Info::fault(signal, code, address as u64),
        signal::FaultContext {
            vector: u64::from(idt::PAGE_FAULT),
            error: protection | write | fetch | ERROR_USER,
            address: address as u64,
        },
    );
}

/// A general-protection fault by an instruction that UMIP keeps from programs: does what Linux does in its place. Whether it was one.
#[cold]
fn emulate_umip(frame: &mut TrapFrame) -> bool {
    if crate::mode() == crate::Mode::Flat || !cpu::features().contains(cpu::Features::UMIP) {
        return false;
    }
    let mut code = [0u8; umip::MAX_LENGTH];
    let at = UserPtr::<u8>::new(frame.rip as usize);
    // Fewer bytes where the page ends, and the next can't be read.
    let len = (0..code.len())
        .find(|&index| match (at.add(index).read(), code.get_mut(index)) {
            (Ok(byte), Some(slot)) => {
                *slot = byte;
                false
            }
            _ => true,
        })
        .unwrap_or(code.len());
    let rip = frame.rip;
    let mut general = frame.general_registers();
    let registers = umip::Registers {
        general: general.each_ref().map(|register| **register),
        rip,
        fs_base: cpu::fs_base(),
        gs_base: cpu::user_gs_base(),
    };
    let found = umip::decode(code.get(..len).unwrap_or_default(), &registers);
    let Some(umip::Instruction { place, result, size, length }) = found else { return false };
    let result = result.get(..usize::from(size)).unwrap_or_default();
    match place {
        umip::Place::Register(number) => {
            if let Some(register) = general.get_mut(usize::from(number)) {
                let mut bytes = register.to_le_bytes();
                if let Some(low) = bytes.get_mut(..result.len()) {
                    low.copy_from_slice(result);
                }
                **register = u64::from_le_bytes(bytes);
            }
        }
        umip::Place::Memory(address) => {
            if UserPtr::<u8>::new(address as usize).write_bytes(result).is_err() {
                page_fault_signal(address as usize, Access::Write, 0, FaultError::NotMapped);
                return true;
            }
        }
    }
    frame.rip = rip.wrapping_add(u64::from(length));
    true
}

/// Exceptions other than page faults, as `arch/x86/kernel/traps.c` of Linux maps them.
fn exception(frame: &mut TrapFrame, vector: u8, error: u64) {
    let here = frame.rip;
    let info = match vector {
        0 => Info::fault(Signal::SIGFPE, code::FPE_INTDIV, here),
        idt::DEBUG => Info::fault(Signal::SIGTRAP, code::TRAP_TRACE, here),
        idt::BREAKPOINT => Info::fault(Signal::SIGTRAP, code::SI_KERNEL, 0),
        6 => Info::fault(Signal::SIGILL, code::ILL_ILLOPN, here),
        16 | 19 => Info::fault(Signal::SIGFPE, signal::fpu_code(vector), here),
        11 => Info::fault(Signal::SIGBUS, code::SI_KERNEL, 0),
        12 => Info::fault(Signal::SIGBUS, code::SI_KERNEL, 0),
        17 => Info::fault(Signal::SIGBUS, code::BUS_ADRALN, 0),
        _ => Info::fault(Signal::SIGSEGV, code::SI_KERNEL, 0),
    };
    let _ = code::TRAP_BRKPT;
    signal::force_fault(info, signal::FaultContext { vector: u64::from(vector), error, address: 0 });
}

/// An interrupt or exception that came while the kernel ran: a user copy's page fault, an interrupt in the idle loop, or a bug.
#[unsafe(no_mangle)]
extern "C" fn trap_kernel(frame: &mut TrapFrame, vector: u64, error: u64) {
    let vector = vector as u8;
    if vector >= idt::FIRST_IRQ {
        return interrupt(vector);
    }
    if matches!(vector, idt::PAGE_FAULT | idt::GENERAL_PROTECTION) {
        let address = paging::fault_address();
        if let Some(fixup) = usercopy::fixup_for(frame.rip) {
            let resolved = vector == idt::PAGE_FAULT && fault::handle(address, access_of(error)).is_ok();
            if !resolved {
                frame.rip = fixup;
            }
            return;
        }
    }
    let address = if vector == idt::PAGE_FAULT { Some(paging::fault_address()) } else { None };
    crate::debug::fatal_exception(frame, vector, error, address)
}

/// NMI, double fault, machine check. `hardware` is the frame that the processor pushed.
#[unsafe(no_mangle)]
extern "C" fn trap_paranoid_handler(vector: u64, hardware: &[u64; 5], rbp: u64) {
    let frame = TrapFrame {
        rip: hardware[0],
        cs: hardware[1],
        rflags: hardware[2],
        rsp: hardware[3],
        ss: hardware[4],
        rbp,
        ..TrapFrame::default()
    };
    if vector as u8 == idt::NMI {
        crate::debug::print_state("NMI", &frame);
        return;
    }
    crate::debug::fatal_exception(&frame, vector as u8, 0, None)
}

fn interrupt(vector: u8) {
    match vector {
        idt::APIC_TIMER => {
            apic::end_of_interrupt();
            time::timer::interrupt();
            sched::tick();
        }
        idt::IPI => {
            apic::end_of_interrupt();
            sched::interrupted();
        }
        idt::APIC_SPURIOUS => {}
        _ => {
            drivers::interrupt(vector);
            apic::end_of_interrupt();
            console::poll_input();
        }
    }
    usage::keep_sampling(vector == idt::APIC_TIMER);
}

/// A system call returned with work pending, or the program is being single-stepped: go on by the slow way out.
#[unsafe(no_mangle)]
extern "C" fn syscall_slow_exit(frame: &mut TrapFrame) {
    let thread = current();
    if thread.has_work(work::FULL_RETURN) {
        thread.clear_work(work::FULL_RETURN);
    } else {
        frame.complete(crate::mode());
    }
}

/// Everything that `Thread::work` asks for, before a return to the program.
#[unsafe(no_mangle)]
extern "C" fn exit_to_user_work(frame: &mut TrapFrame) {
    let thread = current();
    if thread.has_work(work::FULL_RETURN) {
        thread.clear_work(work::FULL_RETURN);
    }
    if thread.has_work(work::MEMORY) {
        thread.clear_work(work::MEMORY);
        super::oom::relieve();
    }
    if thread.has_work(work::RESCHEDULE) {
        thread.clear_work(work::RESCHEDULE);
        sched::reschedule();
    }
    if thread.has_work(work::SIGNAL) {
        thread.clear_work(work::SIGNAL);
        if thread.process.ending.load(Ordering::Acquire) || thread.ending.load(Ordering::Acquire) {
            super::exit::exit_thread(0);
        }
        signal::deliver(frame);
    }
    if thread.has_work(work::RSEQ) {
        thread.clear_work(work::RSEQ);
        if super::oom::with_patience(&mut || rseq::resume(thread, frame)).is_err() {
            signal::force_kernel(Signal::SIGSEGV);
        }
    }
}
