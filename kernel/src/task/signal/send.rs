//! Sending signals: to a process, to a thread, to the running thread by its own instruction, and to a parent.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::{Errno, SaFlags, SigInfo, SigSet, Signal};
use sigstate::{Disposition, Fate, Info, Pending, Push};

use super::{FaultContext, ProcessSignals, ThreadSignals, compact, stop};
use crate::task::children::event;
use crate::task::clock::clock_ticks;
use crate::task::exit::Status;
use crate::task::process::{self, Process, rlimit};
use crate::task::sched::{self, current};
use crate::task::thread::{Thread, work};

/// Sends a signal to a process; any thread that doesn't block it may take it. EAGAIN when a real-time signal finds the queue full.
/// A process that is ending takes no notice.
#[inline]
pub fn send_to_process(process: &Process, info: Info) -> Result<(), Errno> {
    let me = current();
    // The usual case: a process's first thread to itself, and it handles the signal.
    if me.tid == process.pid && !me.signals.mask().contains(info.signal) {
        let mut signals = process.signals.lock();
        if signals.is_handled(info.signal) {
            let signals = &mut *signals;
            enqueue(&mut signals.shared, &mut signals.queued, process, info)?;
            me.add_work(work::SIGNAL);
            return Ok(());
        }
    }
    send(process, None, info)
}

/// Sends a signal to one thread. As `send_to_process`.
#[inline]
pub fn send_to_thread(thread: &Thread, info: Info) -> Result<(), Errno> {
    let process = &thread.process;
    if core::ptr::eq(thread, current()) && !thread.signals.mask().contains(info.signal) {
        let mut signals = process.signals.lock();
        if signals.is_handled(info.signal) {
            let queued = &mut signals.queued;
            thread.signals.with_private(|private| enqueue(private, queued, process, info))?;
            thread.add_work(work::SIGNAL);
            return Ok(());
        }
    }
    send(process, Some(thread), info)
}

/// The whole of it. `only` is the thread that the signal is for.
fn send(process: &Process, only: Option<&Thread>, info: Info) -> Result<(), Errno> {
    let threads = process.threads.lock();
    let first = || threads.iter().find(|thread| thread.tid == process.pid).or_else(|| threads.first());
    let Some(nearest) = only.or_else(|| first().map(|thread| &**thread)) else { return Ok(()) };
    let mut guard = process.signals.lock();
    let signals = &mut *guard;
    let goes_on = stop::prepare(process, signals, &threads, info.signal);
    if !signals.drops(&nearest.signals, info.signal) && !process.ending.load(Ordering::Acquire) {
        match only {
            None => enqueue(&mut signals.shared, &mut signals.queued, process, info),
            Some(thread) => {
                let queued = &mut signals.queued;
                thread.signals.with_private(|private| enqueue(private, queued, process, info))
            }
        }?;
        let target = match only {
            _ if opens(nearest, info.signal) => Some(nearest),
            Some(_) => None,
            None => threads.iter().map(|thread| &**thread).find(|thread| opens(thread, info.signal)),
        };
        if let Some(target) = target.filter(|_| signals.wakes(info.signal)) {
            notify(signals, process, &threads, target, info.signal);
        }
    }
    drop(guard);
    drop(threads);
    crate::fs::signalfd::notify_sent();
    if goes_on {
        stop::tell_parent(process, event::CONTINUED);
    }
    Ok(())
}

impl ProcessSignals {
    /// Whether sending a signal is only a matter of queueing it: there is a handler, and it stops or continues nobody.
    #[inline(always)]
    fn is_handled(&self, signal: Signal) -> bool {
        const JOB_CONTROL: SigSet = SigSet::STOPS.with(Signal::SIGCONT);
        self.actions.get(signal).handler > 1 && !JOB_CONTROL.contains(signal)
    }

    /// Whether a signal is looked at now: a stopped process sees nothing but its end or continuation.
    fn wakes(&self, signal: Signal) -> bool {
        self.stopped.is_none() || signal == Signal::SIGKILL
    }

    /// Whether a signal goes by without a trace: it is ignored, and nobody blocks it (who blocks it may change his mind).
    fn drops(&self, thread: &ThreadSignals, signal: Signal) -> bool {
        Disposition::of(self.actions.get(signal)).ignores(signal) && !thread.kept().contains(signal)
    }
}

fn opens(thread: &Thread, signal: Signal) -> bool {
    (signal == Signal::SIGKILL || !thread.signals.mask().contains(signal))
        && !thread.ending.load(Ordering::Acquire)
}

/// Puts a signal into a queue, within the limit. The kernel's own standard signals always find a place.
#[inline(always)]
fn enqueue(
    queue: &mut Pending<Info>,
    queued: &mut usize,
    process: &Process,
    info: Info,
) -> Result<(), Errno> {
    let signal = info.signal;
    if queue.merges(&info) {
        return Ok(());
    }
    let exempt = !signal.is_realtime() && info.code >= 0;
    let full = !exempt && is_full(*queued, process);
    if full && signal.is_realtime() && info.code != SigInfo::SI_USER {
        return Err(Errno::EAGAIN);
    }
    if full {
        queue.push_bare(signal);
    } else if queue.push(info) == Push::Queued {
        *queued += 1;
    }
    Ok(())
}

#[cold]
fn is_full(queued: usize, process: &Process) -> bool {
    queued as u64 >= process.limit(rlimit::SIGPENDING)
}

/// Makes a thread look at a signal that it can take. A signal that ends the process ends it right away, so that it also reaches threads
/// that sleep in a way that nothing else interrupts.
fn notify(
    signals: &mut ProcessSignals,
    process: &Process,
    threads: &[Arc<Thread>],
    target: &Thread,
    signal: Signal,
) {
    let fatal = matches!(Disposition::of(signals.actions.get(signal)), Disposition::Default)
        && Fate::of(signal) == Fate::Terminate;
    if fatal && !target.signals.kept().contains(signal) {
        let status = Status::Killed { signal: signal.number(), core: false };
        if !process.ending.swap(true, Ordering::AcqRel) {
            process.exit_status.store(status.raw().cast_signed(), Ordering::Release);
        }
        signals.stopped = None;
        for thread in threads {
            thread.add_work(work::SIGNAL);
            sched::nudge(thread);
        }
        return;
    }
    target.add_work(work::SIGNAL);
    if !core::ptr::eq(target, current())
        && let Some(target) = threads.iter().find(|thread| thread.tid == target.tid)
    {
        sched::nudge(target);
    }
}

/// Sends a signal in the kernel's own name.
pub fn send_kernel(process: &Process, number: u32) {
    if let Some(signal) = Signal::new(number) {
        // Only real-time signals that somebody else sent can find no place.
        let _ = send_to_process(process, Info::kernel(signal));
    }
}

/// Sends a signal to every process of a group, in the kernel's name. Whether there was one.
pub fn send_to_group(group: u32, signal: Signal) -> bool {
    let mut found = false;
    for process in process::all() {
        if process.group.load(Ordering::Relaxed) == group {
            found = true;
            send_kernel(&process, u32::from(signal.number()));
        }
    }
    found
}

/// A signal from the launcher: for the terminal's foreground group, or without a terminal for the first process's group.
pub fn send_to_foreground(signal: Signal) {
    let foreground = crate::fs::tty::console().foreground();
    if foreground != 0 {
        send_to_group(foreground, signal);
        return;
    }
    let first = process::find(crate::task::exec::FIRST_PID);
    if let Some(first) = first {
        send_to_group(first.group.load(Ordering::Relaxed), signal);
    }
}

/// A signal that a write brings upon the running thread, as if it had sent it itself.
pub fn send_own(signal: Signal) {
    let me = current();
    let uid = me.process.cred.lock().uid;
    let _ = send_to_thread(me, Info::user(signal, SigInfo::SI_USER, me.process.pid, uid));
}

/// A signal that the running thread's instruction raised. It can't be put off: if it is blocked or ignored, the default action happens.
pub fn force_fault(info: Info, context: FaultContext) {
    current().signals.note_fault(context);
    force(info, Insist::Handler);
}

/// A signal that the running thread brought upon itself, without an instruction that is to blame.
pub fn force_kernel(signal: Signal) {
    force(Info::kernel(signal), Insist::Handler);
}

/// How far a forced signal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insist {
    /// A handler may run.
    Handler,
    /// The default action, whatever was set.
    Default,
}

/// Forces a signal on the running thread.
pub(super) fn force(info: Info, insist: Insist) {
    let thread = current();
    let signal = info.signal;
    let own = &thread.signals;
    let mut signals = thread.process.signals.lock();
    let blocked = own.mask().contains(signal);
    let ignored = matches!(Disposition::of(signals.actions.get(signal)), Disposition::Ignore);
    if blocked || ignored || insist == Insist::Default {
        signals.actions.reset(signal);
        own.set_mask(own.mask().without(signal));
    }
    if own.with_private(|private| private.push(info)) == Push::Queued {
        signals.queued += 1;
    }
    thread.add_work(work::SIGNAL);
}

/// What waitid(2) and SIGCHLD say about a child with this wait status.
pub fn child_info(child: &Process, status: u32) -> SigInfo {
    const CONTINUED: u32 = 0xffff;
    let (code, value) = match (status & 0x7f, status >> 8 & 0xff) {
        _ if status == CONTINUED => (SigInfo::CLD_CONTINUED, u32::from(Signal::SIGCONT.number())),
        (0x7f, signal) => (SigInfo::CLD_STOPPED, signal),
        (0, code) => (SigInfo::CLD_EXITED, code),
        (signal, _) if status & 0x80 != 0 => (SigInfo::CLD_DUMPED, signal),
        (signal, _) => (SigInfo::CLD_KILLED, signal),
    };
    let uid = child.cred.lock().uid;
    let usage = crate::task::usage::of_process(child);
    let ticks = |ticks: u64| clock_ticks(crate::time::ticks_to_ns(ticks));
    let (user, system) = (ticks(usage.run_ticks - usage.system_ticks), ticks(usage.system_ticks));
    SigInfo::child(code, child.pid, uid, value.cast_signed(), user, system)
}

/// Whether a process never wants to see zombies.
pub fn discards_children(parent: &Process) -> bool {
    let signals = parent.signals.lock();
    let action = signals.actions.get(Signal::SIGCHLD);
    action.flags & SaFlags::NOCLDWAIT.bits() != 0 || matches!(Disposition::of(action), Disposition::Ignore)
}

/// Tells a parent by its signal of choice that a child ended.
pub fn send_child_ended(parent: &Process, child: &Process, number: u32) {
    let status = child.exit_status.load(Ordering::Acquire).cast_unsigned();
    let Some(signal) = Signal::new(number) else { return };
    if let Some(info) = compact(&child_info(child, status)) {
        let _ = send_to_process(parent, Info { signal, ..info });
    }
}

/// Drops signals that are ignored from now on from every queue of a process.
pub(super) fn discard(threads: &[Arc<Thread>], signals: &mut ProcessSignals, which: SigSet) {
    let mut dropped = drop_from(&mut signals.shared, which);
    for thread in threads {
        dropped += thread.signals.with_private(|private| drop_from(private, which));
    }
    signals.queued = signals.queued.saturating_sub(dropped);
}

fn drop_from(queue: &mut Pending<Info>, which: SigSet) -> usize {
    let before = queue.queued();
    queue.discard(which);
    before - queue.queued()
}
