//! Stopping and continuing a process (job control).

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::{SaFlags, SigInfo, SigSet, Signal};
use sigstate::{Disposition, Info};

use super::send::{discard, send_to_group};
use super::{ProcessSignals, compact, send_to_process};
use crate::task::children::event;
use crate::task::process::{self, Process};
use crate::task::sched::{self, current};
use crate::task::thread::{Thread, work};

/// What SIGCONT and the stop signals do when they are sent, whether or not they are blocked or handled: each undoes the other. Returns
/// whether the process goes on, and its parent is to be told.
pub(super) fn prepare(
    process: &Process,
    signals: &mut ProcessSignals,
    threads: &[Arc<Thread>],
    signal: Signal,
) -> bool {
    if SigSet::STOPS.contains(signal) {
        discard(threads, signals, SigSet::of(Signal::SIGCONT));
    } else if signal == Signal::SIGCONT || signal == Signal::SIGKILL {
        if signal == Signal::SIGCONT {
            discard(threads, signals, SigSet::STOPS);
        }
        signals.is_stopping = false;
        if signals.stopped.take().is_some() {
            // What came meanwhile is looked at as well.
            for thread in threads {
                thread.add_work(work::SIGNAL);
                sched::nudge(thread);
            }
            if signal == Signal::SIGCONT {
                process.stop_event.store(event::CONTINUED, Ordering::Release);
                return true;
            }
        }
    }
    false
}

/// Stops the process of the running thread, and comes back when it was continued.
pub(super) fn stop(signal: Signal) {
    let process = &current().process;
    // Nobody outside the group could continue an orphaned one: the terminal's stop signals don't stop it.
    if signal != Signal::SIGSTOP && is_orphaned(process) {
        return;
    }
    let happened = event::STOPPED | u32::from(signal.number());
    {
        let threads = process.threads.lock();
        let mut signals = process.signals.lock();
        // A continuation that came since the signal was taken has undone it; who is ending doesn't stand.
        if !signals.is_stopping || process.ending.load(Ordering::Acquire) {
            return;
        }
        signals.stopped = Some(signal);
        WAS_ANYBODY_STOPPED.store(true, Ordering::Relaxed);
        process.stop_event.store(happened, Ordering::Release);
        drop(signals);
        for thread in threads.iter().filter(|thread| thread.tid != current().tid) {
            thread.add_work(work::SIGNAL);
            sched::nudge(thread);
        }
    }
    tell_parent(process, happened);
    wait_while_stopped();
}

/// Keeps the running thread here while its process is stopped.
pub(super) fn wait_while_stopped() {
    let me = current();
    loop {
        me.sleeper.prepare();
        let stopped = me.process.signals.lock().stopped.is_some();
        if stopped && !me.process.ending.load(Ordering::Acquire) {
            sched::sleep();
        }
        me.sleeper.cancel();
        if !stopped || me.process.ending.load(Ordering::Acquire) {
            return;
        }
    }
}

/// Wakes the parent's wait for a stop or continuation, and sends it SIGCHLD unless it has SA_NOCLDSTOP. What its wait sees is in
/// `stop_event`, which changes together with `stopped`.
pub(super) fn tell_parent(process: &Process, happened: u32) {
    let Some(parent) = process::find(process.parent.load(Ordering::Relaxed)) else { return };
    let wants = {
        let signals = parent.signals.lock();
        let action = signals.actions.get(Signal::SIGCHLD);
        action.flags & SaFlags::NOCLDSTOP.bits() == 0
            && !matches!(Disposition::of(action), Disposition::Ignore)
    };
    if wants {
        let status =
            if happened == event::CONTINUED { event::CONTINUED } else { (happened & 0xff) << 8 | 0x7f };
        let info: SigInfo = super::child_info(process, status);
        if let Some(info) = compact(&info) {
            let _ = send_to_process(&parent, Info { signal: Signal::SIGCHLD, ..info });
        }
    }
    parent.child_events.wake_all();
}

/// Whether no process of the group has a parent in the same session but another group (POSIX: orphaned process group).
pub fn is_orphaned(process: &Process) -> bool {
    let group = process.group.load(Ordering::Relaxed);
    let session = process.session.load(Ordering::Relaxed);
    !process::all().any(|member| {
        member.group.load(Ordering::Relaxed) == group
            && !member.zombie.load(Ordering::Acquire)
            && process::find(member.parent.load(Ordering::Relaxed)).is_some_and(|parent| {
                parent.group.load(Ordering::Relaxed) != group
                    && parent.session.load(Ordering::Relaxed) == session
            })
    })
}

/// Without job control nobody looks for groups of stopped processes.
static WAS_ANYBODY_STOPPED: AtomicBool = AtomicBool::new(false);

pub fn was_anybody_stopped() -> bool {
    WAS_ANYBODY_STOPPED.load(Ordering::Relaxed)
}

/// A parent or a child of a process has ended. If that orphaned the process's group, nobody could continue the stopped ones in it any
/// more: they go on with a SIGHUP (POSIX, `_Exit`).
pub fn family_parted(member: &Process, other: &Process) {
    let group = member.group.load(Ordering::Relaxed);
    if group != other.group.load(Ordering::Relaxed)
        && member.session.load(Ordering::Relaxed) == other.session.load(Ordering::Relaxed)
        && is_orphaned(member)
        && process::all().any(|process| {
            process.group.load(Ordering::Relaxed) == group
                && !process.ending.load(Ordering::Acquire)
                && super::is_stopped(&process)
        })
    {
        send_to_group(group, Signal::SIGHUP);
        send_to_group(group, Signal::SIGCONT);
    }
}
