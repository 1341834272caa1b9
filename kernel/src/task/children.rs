//! Parents and children: what wait(2) sees, who inherits orphans, and what becomes of the dead.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::Errno;

use super::process::{self, Process};
use super::sched::{self, current};
use super::usage;
use crate::arch::x86_64::cpu::MAX_CPUS;
use crate::sync::SpinLock;

/// Which children a wait means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Any,
    Pid(u32),
    Group(u32),
}

/// What a wait may report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub exited: bool,
    pub stopped: bool,
    pub continued: bool,
    /// Leave it waitable.
    pub keep: bool,
    pub no_hang: bool,
    /// Children without an exit signal of SIGCHLD (`__WCLONE`), or both kinds (`__WALL`).
    pub clones: bool,
    pub all: bool,
}

/// A stop or continuation to be reported: `Process::stop_event` holds one of these.
pub mod event {
    pub const NONE: u32 = 0;
    pub const CONTINUED: u32 = 0xffff;
    /// Stopped by the signal in the low byte.
    pub const STOPPED: u32 = 0x100;
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    pub child: Arc<Process>,
    /// Raw wait status.
    pub status: u32,
}

impl core::fmt::Debug for Process {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Process({})", self.pid)
    }
}

const SIGCHLD: u32 = 17;

impl Which {
    fn matches(self, child: &Process) -> bool {
        match self {
            Self::Any => true,
            Self::Pid(pid) => child.pid == pid,
            Self::Group(group) => child.group.load(Ordering::Relaxed) == group,
        }
    }
}

/// Looks for a child with something to report. `Ok(None)`: there are such children, but nothing happened. ECHILD.
fn look(parent: &Process, which: Which, options: &Options) -> Result<Option<Report>, Errno> {
    let mut children = parent.children.lock();
    let mut any = false;
    let mut found = None;
    for (index, child) in children.iter().enumerate() {
        let is_clone = child.exit_signal.load(Ordering::Relaxed) != SIGCHLD;
        if !which.matches(child) || (!options.all && is_clone != options.clones) {
            continue;
        }
        let is_dead = child.zombie.load(Ordering::Acquire);
        any |= options.exited || !is_dead;
        if options.exited && is_dead {
            let status = child.exit_status.load(Ordering::Acquire).cast_unsigned();
            found = Some((index, None, Report { child: child.clone(), status }));
            break;
        }
        let happened = child.stop_event.load(Ordering::Acquire);
        let wanted = match happened {
            // Who is ending neither stands nor goes on.
            _ if child.ending.load(Ordering::Acquire) => false,
            event::NONE => false,
            event::CONTINUED => options.continued,
            _ => options.stopped,
        };
        if wanted {
            let status = if happened == event::CONTINUED { 0xffff } else { (happened & 0xff) << 8 | 0x7f };
            found = Some((index, Some(happened), Report { child: child.clone(), status }));
            break;
        }
    }
    match found {
        None if any => Ok(None),
        None => Err(Errno::ECHILD),
        Some((index, happened, report)) => {
            if !options.keep {
                if let Some(seen) = happened {
                    // What has happened since then is still to be reported.
                    let order = (Ordering::AcqRel, Ordering::Relaxed);
                    let _ = report.child.stop_event.compare_exchange(seen, event::NONE, order.0, order.1);
                } else {
                    children.swap_remove(index);
                    drop(children);
                    parent.children_usage.lock().add(&usage::of_family(&report.child));
                    process::unregister(report.child.pid);
                }
            }
            Ok(Some(report))
        }
    }
}

/// wait4(2) and waitid(2): waits for a child with something to report. `Ok(None)` only with `no_hang`.
pub fn wait(which: Which, options: &Options) -> Result<Option<Report>, crate::syscall::SysError> {
    let parent = &current().process;
    if options.no_hang {
        return Ok(look(parent, which, options)?);
    }
    let found = parent.child_events.wait(None, || match look(parent, which, options) {
        Ok(None) => None,
        Ok(Some(report)) => Some(Ok(report)),
        Err(errno) => Some(Err(errno)),
    })?;
    Ok(Some(found?))
}

/// Held while a parent changes: by a process that ends, for its children and for its own entry with its parent, and by CLONE_PARENT. Before
/// any process's `children`.
static FAMILY: SpinLock<()> = SpinLock::new(());

/// Makes a new process a child of the caller's, or of its parent (CLONE_PARENT). ENOMEM.
pub fn adopt(caller: &Arc<Process>, child: &Arc<Process>, is_sibling: bool) -> Result<(), Errno> {
    let _family = is_sibling.then(|| FAMILY.lock());
    let parent = if is_sibling { process::find(caller.parent.load(Ordering::Relaxed)) } else { None };
    let parent = parent.as_ref().unwrap_or(caller);
    child.parent.store(parent.pid, Ordering::Relaxed);
    let mut children = parent.children.lock();
    children.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    children.push(child.clone());
    Ok(())
}

/// Sees to it that who inherits a process's children has room for them, which may have to wait until others have given memory back.
fn make_room_for_orphans(dead: &Arc<Process>) {
    /// What the process had itself is there already: it doesn't take long.
    const ATTEMPTS: u32 = 1000;
    let orphans = dead.children.lock().len();
    if orphans == 0 {
        return;
    }
    for _ in 0..ATTEMPTS {
        let heir = {
            let _family = FAMILY.lock();
            new_parent(dead)
        };
        if heir.is_none_or(|heir| heir.children.lock().try_reserve(orphans + MAX_CPUS).is_ok()) {
            return;
        }
        sched::yield_now();
    }
}

/// The process has ended: its children get a new parent, and its own parent learns of it.
pub fn announce_death(dead: &Arc<Process>) {
    make_room_for_orphans(dead);
    let family = FAMILY.lock();
    let heir = new_parent(dead);
    let orphans = core::mem::take(&mut *dead.children.lock());
    for orphan in &orphans {
        match &heir {
            Some(heir) => {
                orphan.parent.store(heir.pid, Ordering::Relaxed);
                // An adopted child's end is always announced by SIGCHLD.
                orphan.exit_signal.store(SIGCHLD, Ordering::Relaxed);
                heir.children.lock().push(orphan.clone());
                // Whoever gets it finds the new parent.
                let death_signal = orphan.death_signal.load(Ordering::Relaxed);
                if death_signal != 0 {
                    super::signal::send_kernel(orphan, death_signal);
                }
                if orphan.zombie.load(Ordering::Acquire) {
                    notify(heir, orphan);
                }
            }
            None => process::unregister(orphan.pid),
        }
    }
    let parent = process::find(dead.parent.load(Ordering::Relaxed));
    match &parent {
        Some(parent) => notify(parent, dead),
        None => {
            dead.zombie.store(true, Ordering::Release);
            process::unregister(dead.pid);
        }
    }
    drop(family);
    if super::signal::was_anybody_stopped() {
        orphans.iter().for_each(|orphan| super::signal::family_parted(orphan, dead));
        if let Some(parent) = parent {
            super::signal::family_parted(dead, &parent);
        }
    }
    crate::fs::pidfd::notify_ended();
    super::exit::note_death();
}

/// Tells a parent of a child's end: by its signal, and by waking its waits. Whoever sees the zombie has the signal already, and whoever has
/// the signal finds the zombie: both come under the lock of `children`. A parent that ignores SIGCHLD never sees a zombie.
fn notify(parent: &Arc<Process>, child: &Arc<Process>) {
    let signal = child.exit_signal.load(Ordering::Relaxed);
    let mut children = parent.children.lock();
    let discards = signal == SIGCHLD && super::signal::discards_children(parent);
    if signal != 0 {
        super::signal::send_child_ended(parent, child, signal);
    }
    if discards && let Some(index) = children.iter().position(|other| other.pid == child.pid) {
        children.swap_remove(index);
    }
    child.zombie.store(true, Ordering::Release);
    drop(children);
    if discards {
        // What it used is lost: only those who were waited for count (getrusage(2)).
        process::unregister(child.pid);
    }
    parent.child_events.wake_all();
}

/// Who takes over a dead process's children: the nearest ancestor that asked for it, else the first process.
fn new_parent(dead: &Process) -> Option<Arc<Process>> {
    let mut at = dead.parent.load(Ordering::Relaxed);
    while let Some(ancestor) = process::find(at) {
        let usable = !ancestor.ending.load(Ordering::Acquire);
        if usable && (ancestor.subreaper.load(Ordering::Relaxed) || ancestor.pid == super::exec::FIRST_PID) {
            return Some(ancestor);
        }
        at = ancestor.parent.load(Ordering::Relaxed);
    }
    process::find(super::exec::FIRST_PID).filter(|first| !first.ending.load(Ordering::Acquire))
}
