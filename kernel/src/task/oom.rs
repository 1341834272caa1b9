//! When memory runs short: the process that has most of it ends, with a line for the user.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;

use super::process::Process;
use super::wait::{WaitError, WaitQueue};
use super::{process, signal};
use crate::console;
use crate::mm::{frame, heap};
use crate::time;

/// The process that was chosen last: while it is still there, nobody else is.
static VICTIM: AtomicU32 = AtomicU32::new(0);

/// What ending a process would give back, in pages: those that are present, and an estimate of the kernel's for it.
fn size(process: &Process) -> usize {
    const PAGES_PER_FILE: usize = 4;
    const OBJECTS_PER_PAGE: usize = 16;
    let resident = process.space().map_or(0, |space| space.resident().0);
    let files = process.shared_files().count() * PAGES_PER_FILE;
    let objects = process.signals.lock().object_count();
    resident + files + objects / OBJECTS_PER_PAGE
}

/// `oom_score_adj` of what is never chosen while there is anything else.
const NEVER: i32 = -1000;

/// How good a choice a process is: its size in pages, and what `oom_score_adj` makes of it.
fn badness(process: &Process) -> i64 {
    let adjust = process.oom_adjust.load(Ordering::Relaxed);
    if adjust == NEVER {
        return i64::MIN;
    }
    size(process) as i64 + i64::from(adjust) * frame::usage().total as i64 / 1000
}

/// `oom_score`: two thirds of a thousand for a process of no size and no adjustment, as on Linux.
pub fn score(process: &Process) -> i64 {
    match badness(process) {
        i64::MIN => 0,
        points => (1000 + points * 1000 / (frame::usage().total as i64).max(1)).max(0) * 2 / 3,
    }
}

fn is_alive(process: &Process) -> bool {
    !process.zombie.load(Ordering::Acquire)
}

/// Ends the largest process if there is nothing left but the kernel's reserve, and waits until there is more: who has used some of the reserve
/// doesn't come back for more. Called on the way back to a program, without locks.
pub fn relieve() {
    while frame::is_exhausted() {
        end_largest();
        let until = time::monotonic_ns().saturating_add(PATIENCE_NS);
        // Whoever is to end goes on, and gives back what it has.
        if RELIEVED.wait(Some(until), || (!frame::is_exhausted()).then_some(()))
            == Err(WaitError::Interrupted)
        {
            return;
        }
    }
}

/// Does what may have failed because memory ran short again, when there is more.
pub fn with_patience(attempt: &mut dyn FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    /// Signals may interrupt the waits.
    const ATTEMPTS: u32 = 16;
    for _ in 0..ATTEMPTS {
        match attempt() {
            Err(_) if frame::is_short() => relieve(),
            result => return result,
        }
    }
    attempt()
}

/// A process has ended, and what it had is there.
pub fn note_ended() {
    RELIEVED.wake_all();
}

/// As long as nothing was told, who waits for memory looks again after this, since it isn't only processes that give some back.
const PATIENCE_NS: u64 = 10_000_000;
static RELIEVED: WaitQueue = WaitQueue::new();

/// Ends the largest process, unless one that was to end is still there.
fn end_largest() {
    let last = VICTIM.load(Ordering::Relaxed);
    if process::find(last).is_some_and(|process| is_alive(&process)) {
        return;
    }
    // What ended processes left in the heap may be enough.
    heap::trim();
    if !frame::is_exhausted() {
        return;
    }
    let Some(victim) = process::all()
        .filter(|process| process.pid != 0 && is_alive(process))
        .max_by_key(|process| (badness(process), process.pid))
    else {
        return;
    };
    let size = size(&victim);
    VICTIM.store(victim.pid, Ordering::Relaxed);
    let name = *victim.name.lock();
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    console::notice(&format!(
        "whelk: out of memory: killed process {} ({}), which had {} KiB; the machine has {} KiB (see --memory)",
        victim.pid,
        String::from_utf8_lossy(name.get(..end).unwrap_or_default()),
        size * 4,
        frame::usage().total * 4,
    ));
    const SIGKILL: u32 = 9;
    signal::send_kernel(&victim, SIGKILL);
}
