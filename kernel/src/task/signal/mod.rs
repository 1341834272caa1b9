//! Signals: what is pending for whom, what a process does about it, and how a handler gets to run.
//!
//! The rules that need no kernel are in the `sigstate` crate. Here are the locks (`Process::signals`, then `Thread::signals`; both below
//! `Process::threads`), the choice of a thread, and the frames.
//!
//! A thread looks for signals on its way back to the program if its `work::SIGNAL` bit is set. The invariant: whenever a signal could be
//! delivered, the bit is set in a thread that could take it. So it is set when a signal is sent, when a mask is opened, and when a thread
//! that was to take a signal of the process blocks it or ends (`hand_over`).

mod deliver;
mod frame;
mod send;
mod stop;
pub mod timers;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::{SigInfo, SigSet, Sigaction, Signal};
use sigstate::{Actions, AltStack, Disposition, Pending, take_next};

pub use self::deliver::deliver;
pub use self::frame::{min_signal_stack, restore};
pub use self::send::{
    child_info, discards_children, force_fault, force_kernel, send_child_ended, send_kernel, send_own,
    send_to_foreground, send_to_process, send_to_thread,
};
pub use self::stop::{family_parted, is_orphaned, was_anybody_stopped};
pub use crate::arch::x86_64::fpu::exception_code as fpu_code;
pub use sigstate::Info;

use super::process::Process;
use super::sched;
use super::thread::{Thread, work};
use crate::arch::x86_64::sigframe::Shown;
use crate::sync::SpinLock;
use crate::syscall::{Restart, SysError, SysResult};

/// What the processor said about a fault: shown in signal frames until the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultContext {
    pub vector: u64,
    pub error: u64,
    pub address: u64,
}

/// How a call goes on by restart_syscall(2).
type RestartFunction = Box<dyn FnOnce() -> SysResult + Send>;

/// A thread's part. Others read the masks and put signals into `private`, holding the process's `signals` lock; the cells are the
/// thread's own.
#[derive(Default)]
pub struct ThreadSignals {
    /// Blocked signals.
    mask: AtomicU64,
    /// The mask as the program set it, while sigtimedwait has opened `mask` for what it waits for; else 0.
    real_mask: AtomicU64,
    /// Sent to this thread, and which they are.
    private: SpinLock<Pending<Info>>,
    private_set: AtomicU64,
    /// The mask to go back to, while sigsuspend or the like has put another in its place.
    saved_mask: Cell<Option<SigSet>>,
    /// The alternate stack, and what the processor said about the last fault.
    shown: Shown,
    /// How an interrupted call goes on, and whether there is one.
    restart: Cell<Option<RestartFunction>>,
    has_restart: Cell<bool>,
}

/// A process's part.
#[derive(Default)]
pub struct ProcessSignals {
    pub actions: Box<Actions>,
    /// Sent to the process, for any of its threads.
    pub shared: Pending<Info>,
    /// Entries in all queues of the process, for RLIMIT_SIGPENDING. (Linux counts per user; here a user is a process.)
    queued: usize,
    /// Stopped by this signal; threads wait for SIGCONT or the end.
    stopped: Option<Signal>,
    /// A thread took a signal that stops the process; until it has done so, SIGCONT takes this back.
    is_stopping: bool,
    pub timers: timers::Timers,
}

impl ProcessSignals {
    /// Queued signals and timers: what the kernel keeps for the process.
    pub fn object_count(&self) -> usize {
        self.queued + self.timers.count()
    }
}

impl ThreadSignals {
    /// Blocked signals.
    #[inline(always)]
    pub fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::Relaxed))
    }

    fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.0, Ordering::Relaxed);
    }

    /// Signals that are pending for this thread alone.
    #[inline(always)]
    pub fn private_set(&self) -> SigSet {
        SigSet(self.private_set.load(Ordering::Relaxed))
    }

    /// Signals that are kept when they are sent, though they are ignored: the thread may change its mind before it opens its mask.
    fn kept(&self) -> SigSet {
        self.mask().union(SigSet(self.real_mask.load(Ordering::Relaxed)))
    }

    /// Works on the private queue, under the process's lock.
    fn with_private<T>(&self, work: impl FnOnce(&mut Pending<Info>) -> T) -> T {
        let mut private = self.private.lock();
        let result = work(&mut private);
        self.private_set.store(private.set().0, Ordering::Relaxed);
        result
    }

    /// sigtimedwait(2) begins: the mask is about to be opened.
    pub fn begin_awaiting(&self) {
        self.real_mask.store(self.mask().0, Ordering::Relaxed);
    }

    /// sigtimedwait(2) ends: the mask to go back to.
    pub fn end_awaiting(&self) -> SigSet {
        SigSet(self.real_mask.swap(0, Ordering::Relaxed))
    }

    /// The alternate stack. The thread's own to ask.
    pub fn altstack(&self) -> AltStack {
        let Shown { stack_base, stack_flags, stack_size, .. } = &self.shown;
        AltStack { base: stack_base.get(), size: stack_size.get(), flags: stack_flags.get() as u32 }
    }

    /// Takes another alternate stack. The thread's own to do.
    pub fn set_altstack(&self, stack: AltStack) {
        self.shown.stack_base.set(stack.base);
        self.shown.stack_flags.set(u64::from(stack.flags));
        self.shown.stack_size.set(stack.size);
    }

    /// No interrupted call goes on any more.
    #[inline(always)]
    fn drop_restart(&self) {
        if self.has_restart.get() {
            drop(self.take_restart());
        }
    }

    #[cold]
    fn take_restart(&self) -> Option<RestartFunction> {
        self.has_restart.set(false);
        self.restart.take()
    }

    fn note_fault(&self, fault: FaultContext) {
        self.shown.trap.set(fault.vector);
        self.shown.error.set(fault.error);
        self.shown.address.set(fault.address);
    }
}

impl ProcessSignals {
    /// For a child: the same actions (only what is ignored with `clear`, CLONE_CLEAR_SIGHAND), nothing pending, no timers.
    pub fn forked(&self, clear: bool) -> Self {
        let mut actions = self.actions.clone();
        if clear {
            actions.exec();
        }
        Self {
            actions,
            shared: Pending::default(),
            queued: 0,
            stopped: None,
            is_stopping: false,
            timers: timers::Timers::default(),
        }
    }

    /// A signal was taken out of a queue: what it says, completed by the timer that sent it, if somebody wants to know.
    #[inline(always)]
    pub fn account(
        &mut self,
        signal: Signal,
        info: Option<Info>,
        wanted: bool,
        process: &Arc<Process>,
    ) -> Option<Info> {
        if info.is_some() {
            self.queued = self.queued.saturating_sub(1);
        }
        if !wanted && self.timers.is_empty() {
            return None;
        }
        Some(info.map_or_else(|| Info::unknown(signal), |info| self.timers.taken(info, process)))
    }

    /// Takes a pending signal of a set (sigtimedwait(2)), as the running thread.
    pub fn take(&mut self, thread: &Thread, wanted: SigSet) -> Option<Info> {
        let blocked = SigSet::FULL.difference(wanted);
        let taken = thread.signals.with_private(|private| take_next(private, &mut self.shared, blocked));
        let (signal, info) = taken?;
        self.account(signal, info, true, &thread.process)
    }

    /// Signals that a thread could take now.
    #[inline(always)]
    fn open(&self, thread: &ThreadSignals) -> SigSet {
        self.shared.set().union(thread.private_set()).difference(thread.mask())
    }
}

/// Whether a thread that wants to sleep has to look at a signal first.
#[inline]
pub fn is_pending(thread: &Thread) -> bool {
    thread.has_work(work::SIGNAL) && is_really_pending(thread)
}

#[cold]
fn is_really_pending(thread: &Thread) -> bool {
    if thread.process.ending.load(Ordering::Acquire) || thread.ending.load(Ordering::Acquire) {
        return true;
    }
    let shared = thread.process.signals.lock();
    shared.stopped.is_some() || !shared.open(&thread.signals).is_empty()
}

/// Whether one of these signals is pending for a thread, blocked or not.
pub fn has_pending(thread: &Thread, signals: SigSet) -> bool {
    let shared = thread.process.signals.lock();
    let pending = shared.shared.set().union(thread.signals.private_set());
    !pending.intersection(signals).is_empty()
}

/// Sets an action without a handler. If it ignores the signal, instances that are pending are gone. Returns the action before.
#[inline(never)]
pub fn set_unhandled(process: &Process, signal: Signal, action: Sigaction) -> Sigaction {
    let threads = process.threads.lock();
    let mut signals = process.signals.lock();
    if Disposition::of(&action).ignores(signal) {
        send::discard(&threads, &mut signals, SigSet::of(signal));
    }
    signals.actions.replace(signal, action)
}

/// Changes the running thread's mask: signals that it opens will be seen before the return to the program, and those that it
/// closes go to another thread. Returns the mask before.
#[inline]
pub fn change_mask(change: impl FnOnce(SigSet) -> SigSet) -> SigSet {
    let thread = sched::current();
    let own = &thread.signals;
    let old = own.mask();
    let new = change(old).blockable();
    if new == old {
        return old;
    }
    let lost = {
        let shared = thread.process.signals.lock();
        own.set_mask(new);
        if !shared.open(own).is_empty() {
            thread.add_work(work::SIGNAL);
        }
        shared.shared.set().intersection(new.difference(old))
    };
    if !lost.is_empty() {
        hand_over(&thread.process, lost);
    }
    old
}

/// Sees to it that somebody takes these signals of the process, now that the running thread won't.
#[cold]
fn hand_over(process: &Process, signals: SigSet) {
    let me = sched::current();
    let threads = process.threads.lock();
    for thread in threads.iter().filter(|thread| thread.tid != me.tid) {
        let opens = !signals.difference(thread.signals.mask()).is_empty();
        if opens && !thread.ending.load(Ordering::Acquire) {
            thread.add_work(work::SIGNAL);
            sched::nudge(thread);
        }
    }
}

/// Puts a mask in place for the rest of a call (sigsuspend, ppoll). The old one comes back by itself: if the call is interrupted by a signal
/// that a handler takes, when that handler returns; else before anything is delivered.
pub fn set_temporary_mask(mask: SigSet) {
    let old = change_mask(|_| mask);
    let thread = sched::current();
    if thread.signals.saved_mask.get().is_none() {
        thread.signals.saved_mask.set(Some(old));
    }
    // So that the way back looks at it.
    thread.add_work(work::SIGNAL);
}

/// Takes back a temporary mask.
fn restore_mask() {
    let saved = sched::current().signals.saved_mask.take();
    if let Some(mask) = saved {
        change_mask(|_| mask);
    }
}

/// What an interrupted call returns whose rest can't be expressed by its arguments: `rest` is called by restart_syscall(2) if no handler
/// ran, otherwise the call ends with EINTR.
pub fn restart_with(rest: impl FnOnce() -> SysResult + Send + 'static) -> SysError {
    let own = &sched::current().signals;
    own.restart.set(Some(Box::new(rest)));
    own.has_restart.set(true);
    SysError::restart(Restart::WithRest)
}

/// restart_syscall(2).
pub fn restart_call() -> SysResult {
    let rest = sched::current().signals.take_restart();
    rest.map_or(Err(abi::Errno::EINTR.into()), |rest| rest())
}

/// A new thread's part, from the thread that made it: the same mask, nothing pending. The alternate stack goes with a copy of the memory,
/// not with the memory itself (`new_process` is false for a thread).
pub fn inherit(parent: &Thread, child: &Thread, new_process: bool) {
    child.signals.set_mask(parent.signals.mask());
    let altstack = if new_process { parent.signals.altstack() } else { AltStack::DISARMED };
    child.signals.set_altstack(altstack);
}

/// exec(2): handlers are gone, what is ignored stays ignored, what is pending or blocked stays so.
pub fn exec_reset() {
    let thread = sched::current();
    thread.signals.set_altstack(AltStack::default());
    thread.signals.drop_restart();
    let timers = {
        let mut shared = thread.process.signals.lock();
        shared.actions.exec();
        shared.timers.exec()
    };
    drop(timers);
}

/// The running thread ends: signals of the process that it would have taken are others' now, its own are lost.
pub fn thread_exit() {
    let thread = sched::current();
    let own = &thread.signals;
    let open = {
        let mut shared = thread.process.signals.lock();
        let lost = own.with_private(|private| {
            let queued = private.queued();
            private.discard(SigSet::FULL);
            queued
        });
        shared.queued = shared.queued.saturating_sub(lost);
        let open = shared.shared.set().difference(own.mask());
        // From now on nothing is for this thread.
        own.set_mask(SigSet::FULL);
        open
    };
    // What a call would go on with may hold other threads.
    own.drop_restart();
    if !open.is_empty() {
        hand_over(&thread.process, open);
    }
}

/// Another thread takes the running one's place and number: what was sent to this one is for that one.
pub fn hand_private(leader: &Thread) {
    let thread = sched::current();
    let _shared = thread.process.signals.lock();
    thread.signals.with_private(|from| leader.signals.with_private(|to| core::mem::swap(from, to)));
}

/// The process is gone: no timer of its fires any more.
pub fn process_exit(process: &Process) {
    let timers = core::mem::take(&mut process.signals.lock().timers);
    timers.cancel_all();
}

/// What /proc tells about a thread's signals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks {
    pub pending: SigSet,
    pub shared_pending: SigSet,
    pub blocked: SigSet,
    pub ignored: SigSet,
    pub caught: SigSet,
    /// Entries queued for the process.
    pub queued: usize,
}

/// The masks of a process and one of its threads.
pub fn masks(process: &Process, tid: u32) -> Masks {
    let threads = process.threads.lock();
    let shared = process.signals.lock();
    let mut masks = Masks {
        shared_pending: shared.shared.set(),
        ignored: shared.actions.select(|_, action| matches!(Disposition::of(action), Disposition::Ignore)),
        caught: shared.actions.select(|_, action| matches!(Disposition::of(action), Disposition::Handler(_))),
        queued: shared.queued,
        ..Masks::default()
    };
    if let Some(thread) = threads.iter().find(|thread| thread.tid == tid) {
        masks.pending = thread.signals.private_set();
        masks.blocked = thread.signals.mask();
    }
    masks
}

/// Whether a process is stopped by job control.
pub fn is_stopped(process: &Process) -> bool {
    process.signals.lock().stopped.is_some()
}

/// A `siginfo_t` that the kernel made or a program sent, without its unused tail.
pub fn compact(info: &SigInfo) -> Option<Info> {
    let [a, b, c, d, ..] = info.fields;
    Some(Info { signal: info.signal()?, errno: info.errno, code: info.code, fields: [a, b, c, d] })
}
