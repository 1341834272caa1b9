//! Semaphore sets: the engine is the `ipc` crate's; here are identifiers, permissions, sleepers.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use abi::Errno;
use abi::ipc::{SemDs, SemInfo};
use ipc::sem::{Attempt, Error, MAX_VALUE, Op, Set, alters};

use super::{Object, Perm, READ, Registry, Stat, WRITE, limit, limit_of, now, octal, perm_of, write_row};
use crate::fs;
use crate::sync::SpinLock;
use crate::task::wait::{WaitError, sleep_while};
use crate::task::{Thread, current, sched};

/// What became of a sleeper's operations.
mod fate {
    pub(super) const WAITING: u8 = 0;
    pub(super) const DONE: u8 = 1;
    pub(super) const RANGE: u8 = 2;
    pub(super) const WOULD_BLOCK: u8 = 3;
    pub(super) const NO_MEMORY: u8 = 4;
    pub(super) const REMOVED: u8 = 5;
}

/// A thread whose operations wait.
struct Sleeper {
    thread: Arc<Thread>,
    fate: AtomicU8,
}

impl Sleeper {
    fn wake(&self, fate: u8) {
        self.fate.store(fate, Ordering::Release);
        sched::wake(&self.thread);
    }
}

#[derive(Clone)]
struct Who(Arc<Sleeper>);

impl PartialEq for Who {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

struct State {
    perm: Perm,
    set: Set<Who>,
    operated: i64,
    changed: i64,
}

impl State {
    /// After a change of values.
    fn settle(&mut self) {
        let mut any = false;
        self.set.settle(|who, result| {
            any |= result.is_ok();
            who.0.wake(match result {
                Ok(()) => fate::DONE,
                Err(Error::Range) => fate::RANGE,
                Err(Error::WouldBlock) => fate::WOULD_BLOCK,
                Err(Error::NoMemory) => fate::NO_MEMORY,
            });
        });
        if any {
            self.operated = now();
        }
    }

    fn number(&self, number: i32) -> Result<usize, Errno> {
        usize::try_from(number).ok().filter(|&number| number < self.set.len()).ok_or(Errno::EINVAL)
    }
}

/// A set.
pub struct Semaphores(SpinLock<State>);

impl Object for Semaphores {
    fn with_perm(&self, act: &mut dyn FnMut(&mut Perm)) {
        act(&mut self.0.lock().perm);
    }
}

static SETS: Registry = Registry::new();
/// Semaphores in all sets.
static COUNT: AtomicU64 = AtomicU64::new(0);

impl Drop for Semaphores {
    fn drop(&mut self) {
        COUNT.fetch_sub(self.0.get_mut().set.len() as u64, Ordering::Relaxed);
    }
}

fn errno(error: Error) -> Errno {
    match error {
        Error::Range => Errno::ERANGE,
        Error::WouldBlock => Errno::EAGAIN,
        Error::NoMemory => Errno::ENOMEM,
    }
}

fn find(id: i32) -> Result<Arc<Semaphores>, Errno> {
    SETS.find(id)
}

/// semget(2).
pub fn get(key: i32, count: i32, flags: u32) -> Result<i32, Errno> {
    let [per_set, total, _, sets] = &limit::SEM;
    let count = usize::try_from(count).ok().filter(|&count| count as u64 <= limit_of(per_set));
    let count = count.ok_or(Errno::EINVAL)?;
    // Large sets are made without the registry's lock.
    let mut set = Set::new(count).ok();
    let fits = |there: &dyn Any| match there.downcast_ref::<Semaphores>() {
        Some(there) if there.0.lock().set.len() >= count => Ok(()),
        _ => Err(Errno::EINVAL),
    };
    let mut make = |perm| {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        if COUNT.load(Ordering::Relaxed).saturating_add(count as u64) > limit_of(total) {
            return Err(Errno::ENOSPC);
        }
        let set = set.take().ok_or(Errno::ENOMEM)?;
        COUNT.fetch_add(count as u64, Ordering::Relaxed);
        let state = State { perm, set, operated: 0, changed: now() };
        let semaphores: Arc<dyn Object> = Arc::new(Semaphores(SpinLock::new(state)));
        Ok(semaphores)
    };
    SETS.get(key, flags, limit_of(sets), &fits, &mut make)
}

/// Most operations in one call.
pub fn max_ops() -> u64 {
    limit_of(&limit::SEM[2])
}

/// semop(2), its arguments read. EINVAL, EIDRM, EFBIG, EACCES, EAGAIN (also when the time is over), ERANGE, ENOMEM, EINTR.
pub fn operate(id: i32, ops: Vec<Op>, deadline: Option<u64>) -> Result<(), Errno> {
    let semaphores = find(id)?;
    let process = &current().process;
    let pid = process.pid;
    if ops.iter().any(|op| op.undo) {
        process.has_undo.store(true, Ordering::Relaxed);
    }
    let who = {
        let mut state = semaphores.0.lock();
        if ops.iter().any(|op| usize::from(op.number) >= state.set.len()) {
            return Err(Errno::EFBIG);
        }
        state.perm.check(if alters(&ops) { WRITE } else { READ })?;
        if state.perm.is_removed {
            return Err(Errno::EIDRM);
        }
        match state.set.perform(&ops, pid).map_err(errno)? {
            Attempt::Done => {
                state.operated = now();
                if alters(&ops) {
                    state.settle();
                }
                return Ok(());
            }
            Attempt::Blocked(blocking) => {
                let sleeper = Sleeper { thread: sched::current_arc(), fate: AtomicU8::new(fate::WAITING) };
                let who = Who(Arc::new(sleeper));
                state.set.wait(who.clone(), ops, pid, blocking).map_err(|_| Errno::ENOMEM)?;
                who
            }
        }
    };
    let result = sleep_while(deadline, || who.0.fate.load(Ordering::Acquire) == fate::WAITING);
    if semaphores.0.lock().set.cancel(&who) {
        return Err(match result {
            Err(WaitError::TimedOut) => Errno::EAGAIN,
            _ => Errno::EINTR,
        });
    }
    match who.0.fate.load(Ordering::Acquire) {
        fate::DONE => Ok(()),
        fate::RANGE => Err(Errno::ERANGE),
        fate::WOULD_BLOCK => Err(Errno::EAGAIN),
        fate::NO_MEMORY => Err(Errno::ENOMEM),
        _ => Err(Errno::EIDRM),
    }
}

/// What semctl asks of one semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Process,
    Value,
    WaitingForMore,
    WaitingForZero,
}

/// GETPID, GETVAL, GETNCNT, GETZCNT.
pub fn ask(id: i32, number: i32, what: Ask) -> Result<usize, Errno> {
    let semaphores = find(id)?;
    let state = semaphores.0.lock();
    state.perm.check(READ)?;
    let number = state.number(number)?;
    Ok(match what {
        Ask::Process => state.set.process(number).unwrap_or(0) as usize,
        Ask::Value => state.set.value(number).unwrap_or(0).into(),
        Ask::WaitingForMore => state.set.waiters(number).0,
        Ask::WaitingForZero => state.set.waiters(number).1,
    })
}

/// GETALL.
pub fn values(id: i32) -> Result<Vec<u16>, Errno> {
    let semaphores = find(id)?;
    let state = semaphores.0.lock();
    state.perm.check(READ)?;
    let mut values = Vec::new();
    values.try_reserve_exact(state.set.len()).map_err(|_| Errno::ENOMEM)?;
    values.extend(state.set.values());
    Ok(values)
}

/// How many values SETALL takes: checks what comes before they are read.
pub fn count(id: i32) -> Result<usize, Errno> {
    let semaphores = find(id)?;
    let state = semaphores.0.lock();
    state.perm.check(WRITE)?;
    Ok(state.set.len())
}

/// SETALL. ERANGE.
pub fn set_values(id: i32, values: &[u16]) -> Result<(), Errno> {
    if values.iter().any(|&value| i32::from(value) > MAX_VALUE) {
        return Err(Errno::ERANGE);
    }
    let semaphores = find(id)?;
    let mut state = semaphores.0.lock();
    for (number, &value) in values.iter().enumerate() {
        state.set.set_value(number, value, current().process.pid);
    }
    state.changed = now();
    state.settle();
    Ok(())
}

/// SETVAL. ERANGE, EINVAL, EACCES.
pub fn set_value(id: i32, number: i32, value: i32) -> Result<(), Errno> {
    let value =
        u16::try_from(value).ok().filter(|&value| i32::from(value) <= MAX_VALUE).ok_or(Errno::ERANGE)?;
    let semaphores = find(id)?;
    let mut state = semaphores.0.lock();
    let number = state.number(number)?;
    state.perm.check(WRITE)?;
    state.set.set_value(number, value, current().process.pid);
    state.changed = now();
    state.settle();
    Ok(())
}

/// IPC_RMID: all who wait are told.
pub fn remove(id: i32) -> Result<(), Errno> {
    let semaphores = find(id)?;
    perm_of(&*semaphores).check_owner()?;
    SETS.remove(&*semaphores);
    for who in semaphores.0.lock().set.take_waiters() {
        who.0.wake(fate::REMOVED);
    }
    Ok(())
}

/// IPC_SET.
pub fn set(id: i32, new: &SemDs) -> Result<(), Errno> {
    let semaphores = find(id)?;
    let mut state = semaphores.0.lock();
    state.perm.check_owner()?;
    state.perm.set(&new.perm)?;
    state.changed = now();
    Ok(())
}

/// IPC_STAT and its relatives. The number is what the call returns.
pub fn stat(id: i32, how: Stat) -> Result<(SemDs, i32), Errno> {
    let (number, semaphores): (_, Arc<Semaphores>) = SETS.find_as(id, how)?;
    let state = semaphores.0.lock();
    if how != Stat::Anyhow {
        state.perm.check(READ)?;
    }
    let ds = SemDs {
        perm: state.perm.to_abi(),
        otime: state.operated,
        ctime: state.changed,
        nsems: state.set.len() as u64,
        ..SemDs::default()
    };
    Ok((ds, number))
}

/// Whether IPC_INFO's or SEM_INFO's last numbers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    Limits,
    Usage,
}

/// IPC_INFO and SEM_INFO, and the highest index.
pub fn info(what: Info) -> (SemInfo, usize) {
    let [per_set, total, ops, sets] = limit::SEM.each_ref().map(|limit| limit_of(limit) as i32);
    let (used, highest) = SETS.usage();
    // SEMUSZ of linux/sem.h.
    let (semusz, semaem) = match what {
        Info::Limits => (20, MAX_VALUE),
        Info::Usage => (used as i32, COUNT.load(Ordering::Relaxed) as i32),
    };
    let info = SemInfo {
        semmap: total,
        semmni: sets,
        semmns: total,
        semmnu: total,
        semmsl: per_set,
        semopm: ops,
        semume: ops,
        semusz,
        semvmx: MAX_VALUE,
        semaem,
    };
    (info, highest)
}

/// A process ended, or gives its adjustments up (unshare(2)).
pub fn undo_all(pid: u32) {
    SETS.for_all(|semaphores: &Semaphores| {
        let mut state = semaphores.0.lock();
        if state.set.undo(pid) {
            state.operated = now();
            state.settle();
        }
    });
}

/// /proc/sysvipc/sem
pub fn write_table(text: &mut fs::proc::Text) {
    text.bytes(b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    SETS.for_all(|semaphores: &Semaphores| {
        let state = semaphores.0.lock();
        let perm = &state.perm;
        let row = [
            (perm.key.into(), 10),
            (perm.id.into(), 10),
            (octal(perm.mode), 5),
            (state.set.len() as i64, 10),
            (perm.uid.into(), 5),
            (perm.gid.into(), 5),
            (perm.cuid.into(), 5),
            (perm.cgid.into(), 5),
            (state.operated, 10),
            (state.changed, 10),
        ];
        write_row(text, &row);
    });
}
