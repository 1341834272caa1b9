//! Advisory locks: fcntl(2) record locks of processes and of open files, and flock(2).

use abi::Errno;
use filelock::{Kind, Lock, LockList, TO_END, WaitGraph};

use crate::sync::SpinLock;
use crate::syscall::{SysError, SysResult};
use crate::task::WaitQueue;

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process, by its number (F_SETLK).
    Process(u32),
    /// An open file, by its identity (F_OFD_SETLK).
    File(usize),
}

/// What a request does when it meets a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    Wait,
    /// EAGAIN
    Fail,
}

/// Processes that wait for each other's locks, on any file.
static WAITERS: SpinLock<WaitGraph<u32>> = SpinLock::new(WaitGraph::new());

/// The locks on one file.
#[derive(Default)]
pub struct Advisory {
    records: SpinLock<LockList<Owner>>,
    whole: SpinLock<LockList<usize>>,
    changed: WaitQueue,
}

impl Advisory {
    /// The lock that stands in the way (F_GETLK).
    pub fn conflict(&self, wanted: &Lock<Owner>) -> Option<Lock<Owner>> {
        self.records.lock().conflict(wanted).copied()
    }

    /// Sets a record lock. EAGAIN, EDEADLK, ENOLCK, or interrupted.
    pub fn set(&self, wanted: Lock<Owner>, on_conflict: OnConflict) -> SysResult {
        let attempt = || {
            let mut records = self.records.lock();
            match records.conflict(&wanted) {
                Some(held) => Err(held.owner),
                None => Ok(records.set(wanted)),
            }
        };
        let holder = match attempt() {
            Ok(done) => return finish(done.is_ok()),
            Err(holder) => holder,
        };
        if on_conflict == OnConflict::Fail {
            return Err(Errno::EAGAIN.into());
        }
        // Open files are passed around, so that only circles of processes are looked for, as on Linux.
        let waiter = match (wanted.owner, holder) {
            (Owner::Process(waiter), Owner::Process(holder)) => {
                if !WAITERS.lock().wait(waiter, holder) {
                    return Err(Errno::EDEADLK.into());
                }
                Some(waiter)
            }
            _ => None,
        };
        let result = self.changed.wait(None, || attempt().ok());
        if let Some(waiter) = waiter {
            WAITERS.lock().done(waiter);
        }
        // The old kind may have been upgraded or downgraded: others may go on.
        self.changed.wake_all();
        finish(result?.is_ok())
    }

    /// Clears part of what an owner holds. ENOLCK.
    pub fn clear(&self, owner: Owner, first: u64, last: u64) -> Result<(), Errno> {
        self.records.lock().clear(owner, first, last).map_err(|_| Errno::ENOLCK)?;
        self.changed.wake_all();
        Ok(())
    }

    /// flock(2): the open file's lock becomes of this kind, or none. EAGAIN for a conflict (EWOULDBLOCK), or interrupted.
    pub fn flock(&self, file: usize, kind: Option<Kind>, on_conflict: OnConflict) -> SysResult {
        let Some(kind) = kind else {
            if self.whole.lock().clear_owner(file) {
                self.changed.wake_all();
            }
            return Ok(0);
        };
        let wanted = Lock { owner: file, kind, first: 0, last: TO_END };
        let attempt = || {
            let mut whole = self.whole.lock();
            if whole.iter().any(|held| *held == wanted) {
                return Some(true);
            }
            // Changing the kind gives the old lock up first, and is not atomic (flock(2)).
            whole.clear_owner(file);
            whole.conflict(&wanted).is_none().then(|| whole.set(wanted).is_ok())
        };
        let result = match attempt() {
            Some(done) => Ok(done),
            None if on_conflict == OnConflict::Fail => Err(SysError::errno(Errno::EAGAIN)),
            None => {
                self.changed.wake_all();
                self.changed.wait(None, attempt).map_err(SysError::from)
            }
        };
        self.changed.wake_all();
        finish(result?)
    }

    /// A process closed a descriptor of the file, or ended.
    pub fn release_process(&self, pid: u32) {
        if self.records.lock().clear_owner(Owner::Process(pid)) {
            self.changed.wake_all();
        }
    }

    /// An open file is gone.
    pub fn release_file(&self, identity: usize) {
        let records = self.records.lock().clear_owner(Owner::File(identity));
        if self.whole.lock().clear_owner(identity) || records {
            self.changed.wake_all();
        }
    }
}

fn finish(has_memory: bool) -> SysResult {
    if has_memory { Ok(0) } else { Err(Errno::ENOLCK.into()) }
}
