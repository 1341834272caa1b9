//! On the way back to the program: which signal comes next, what is done about it, and what becomes of an interrupted system call.

use core::sync::atomic::Ordering;

use abi::{Errno, SaFlags, SigSet, Sigaction, Signal};
use sigstate::{Fate, Info, most_urgent};

use super::send::{Insist, force};
use super::{frame, hand_over, restore_mask, stop};
use crate::arch::TrapFrame;
use crate::mm::PAGE_SIZE;
use crate::syscall::{self, Restart};
use crate::task::process::rlimit;
use crate::task::rseq;
use crate::task::sched::current;
use crate::task::thread::Thread;
use crate::task::{exit, oom};

/// Length of the SYSCALL instruction.
const SYSCALL_LEN: u64 = 2;
/// restart_syscall(2).
const RESTART_SYSCALL: u64 = 219;

/// RAX of a call that ended so.
const EINTR: u64 = (-(Errno::EINTR.raw() as i64)).cast_unsigned();

/// A handler that is about to run.
pub(super) struct Delivery {
    pub(super) signal: Signal,
    pub(super) action: Sigaction,
    /// What came with the signal, if the handler wants to know.
    pub(super) info: Option<Info>,
    /// The mask that sigreturn restores.
    pub(super) mask: SigSet,
    /// What was blocked when the signal came.
    blocked: SigSet,
    /// Signals of the process that the handler's mask closes: somebody else's now.
    lost: SigSet,
    /// There is more to deliver.
    more: bool,
}

enum Next {
    Nothing,
    Handler(Delivery),
    Default(Signal, Fate),
    Stopped,
}

/// How the interrupted call in this frame wants to go on, if there is one.
#[inline]
fn restart_of(frame: &TrapFrame) -> Option<Restart> {
    if frame.orig_rax.cast_signed() < 0 { None } else { syscall::decode_restart(frame.rax) }
}

/// Whether a signal ended the call in this frame.
fn is_interrupted(frame: &TrapFrame) -> bool {
    frame.rax == EINTR || restart_of(frame).is_some()
}

/// Delivers what is pending for the running thread: changes the frame so that the program goes on in a handler, or ends or stops the process.
pub fn deliver(frame: &mut TrapFrame) {
    let thread = current();
    loop {
        match next(thread, frame) {
            Next::Nothing => break,
            Next::Handler(delivery) => {
                if restart_of(frame).is_some() {
                    interrupt_call(frame, &delivery.action);
                }
                let is_built =
                    rseq::resume(thread, frame).is_ok() && frame::build(frame, thread, &delivery).is_ok();
                if !is_built && build_again(frame, thread, &delivery).is_err() {
                    fail(thread, &delivery);
                    continue;
                }
                thread.signals.saved_mask.set(None);
                if !delivery.lost.is_empty() {
                    hand_over(&thread.process, delivery.lost);
                }
                if !delivery.more {
                    return;
                }
            }
            Next::Default(signal, Fate::Stop) => stop::stop(signal),
            Next::Default(signal, fate) => terminate(thread, signal, fate),
            Next::Stopped => stop::wait_while_stopped(),
        }
        if thread.process.ending.load(Ordering::Acquire) || thread.ending.load(Ordering::Acquire) {
            exit::exit_thread(0);
        }
    }
    if let Some(kind) = restart_of(frame) {
        frame.rip = frame.rip.wrapping_sub(SYSCALL_LEN);
        frame.rax = if kind == Restart::WithRest { RESTART_SYSCALL } else { frame.orig_rax };
    }
    restore_mask();
}

/// As `frame::build`, if it was memory that it lacked.
#[cold]
#[inline(never)]
fn build_again(frame: &mut TrapFrame, thread: &Thread, delivery: &Delivery) -> Result<(), Errno> {
    if !crate::mm::frame::is_short() {
        return Err(Errno::EFAULT);
    }
    oom::with_patience(&mut || {
        rseq::resume(thread, frame)?;
        frame::build(frame, thread, delivery).map_err(|_| Errno::EFAULT)
    })
}

/// Takes the next signal that something is to be done about. For a handler, the mask is the handler's from here on.
#[inline(always)]
fn next(thread: &Thread, frame: &TrapFrame) -> Next {
    let own = &thread.signals;
    let mut signals = thread.process.signals.lock();
    if signals.stopped.is_some() {
        return Next::Stopped;
    }
    let signals = &mut *signals;
    if own.saved_mask.get().is_some() && !is_interrupted(frame) {
        own.set_mask(own.saved_mask.take().unwrap_or_default());
    }
    loop {
        let blocked = own.mask();
        let private = most_urgent(own.private_set().difference(blocked));
        let Some(signal) = private.or_else(|| most_urgent(signals.shared.set().difference(blocked))) else {
            return Next::Nothing;
        };
        let taken = if private.is_some() {
            own.with_private(|private| private.take(signal))
        } else {
            signals.shared.take(signal)
        };
        let action = signals.actions.begin(signal);
        let wants_info = action.flags & SaFlags::SIGINFO.bits() != 0;
        let info = signals.account(signal, taken, wants_info, &thread.process);
        if action.handler <= 1 {
            match Fate::of(signal) {
                _ if action.handler == 1 => continue,
                Fate::Ignore | Fate::Continue => continue,
                fate => {
                    signals.is_stopping = fate == Fate::Stop;
                    return Next::Default(signal, fate);
                }
            }
        }
        let mut mask = blocked.union(action.mask);
        if action.flags & SaFlags::NODEFER.bits() == 0 {
            mask = mask.with(signal);
        }
        own.set_mask(mask);
        let rest = signals.shared.set();
        return Next::Handler(Delivery {
            signal,
            action,
            info,
            mask: own.saved_mask.get().unwrap_or(blocked),
            blocked,
            lost: rest.intersection(mask.difference(blocked)),
            more: !rest.union(own.private_set()).difference(mask).is_empty(),
        });
    }
}

/// What an interrupted call returns, or that it is called again, when a handler runs.
fn interrupt_call(frame: &mut TrapFrame, action: &Sigaction) {
    let Some(kind) = restart_of(frame) else { return };
    let again = match kind {
        Restart::Always => true,
        Restart::IfAsked => action.flags & SaFlags::RESTART.bits() != 0,
        Restart::NoHandler | Restart::WithRest => false,
    };
    if again {
        frame.rip = frame.rip.wrapping_sub(SYSCALL_LEN);
        frame.rax = frame.orig_rax;
    } else {
        frame.rax = EINTR;
    }
}

/// The frame found no place on the program's stack: as if the handler had never been begun, and SIGSEGV instead. For a SIGSEGV that is the end.
#[cold]
fn fail(thread: &Thread, delivery: &Delivery) {
    thread.signals.set_mask(delivery.blocked);
    let insist = if delivery.signal == Signal::SIGSEGV { Insist::Default } else { Insist::Handler };
    force(Info::kernel(Signal::SIGSEGV), insist);
}

/// Ends the process by a signal. The core-dump bit is set where Linux would have written a core file.
fn terminate(thread: &Thread, signal: Signal, fate: Fate) -> ! {
    let process = &thread.process;
    let dumps = fate == Fate::Core
        && process.limit(rlimit::CORE) >= PAGE_SIZE as u64
        && process.dumpable.load(Ordering::Relaxed) == 1;
    exit::terminate_by_signal(signal.number(), dumps)
}
