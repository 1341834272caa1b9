//! Advisory locks: fcntl(2) record locks of processes and of open files, and flock(2).

use abi::Errno;
use filelock::{Kind, Lock, LockList, TO_END, WaitGraph};

use super::attributes::Attributes;
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

/// What only few files have: locks, and attributes.
#[derive(Default)]
pub struct Advisory {
    pub attributes: Attributes,
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
        let attempt = |waits: bool| {
            let mut records = self.records.lock();
            let Some(held) = records.conflict(&wanted) else {
                let is_set = records.set(wanted).is_ok();
                self.let_go(wanted.owner);
                return Some(if is_set { Ok(()) } else { Err(Errno::ENOLCK) });
            };
            match (wanted.owner, held.owner) {
                // Open files are passed around, so that only circles of processes are looked for, as on Linux.
                (Owner::Process(waiter), Owner::Process(holder))
                    if waits && !WAITERS.lock().wait(waiter, holder, self.place()) =>
                {
                    Some(Err(Errno::EDEADLK))
                }
                _ => None,
            }
        };
        let result = match attempt(on_conflict == OnConflict::Wait) {
            Some(result) => Ok(result),
            None if on_conflict == OnConflict::Fail => return Err(Errno::EAGAIN.into()),
            // Looked for again each time: whoever stands in the way next may be waiting for the caller.
            None => self.changed.wait(None, || attempt(true)),
        };
        if let (OnConflict::Wait, Owner::Process(waiter)) = (on_conflict, wanted.owner) {
            WAITERS.lock().done(waiter, self.place());
        }
        // The old kind may have been upgraded or downgraded: others may go on.
        self.changed.wake_all();
        result??;
        Ok(0)
    }

    /// What the file is called among those who wait.
    fn place(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Some of an owner's locks may be gone: who waited for it looks again. Called under the lock of the list.
    fn let_go(&self, owner: Owner) {
        if let Owner::Process(holder) = owner {
            WAITERS.lock().released(holder, self.place());
        }
    }

    /// Clears part of what an owner holds. ENOLCK.
    pub fn clear(&self, owner: Owner, first: u64, last: u64) -> Result<(), Errno> {
        let mut records = self.records.lock();
        records.clear(owner, first, last).map_err(|_| Errno::ENOLCK)?;
        self.let_go(owner);
        drop(records);
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
        let mut records = self.records.lock();
        if records.clear_owner(Owner::Process(pid)) {
            self.let_go(Owner::Process(pid));
            drop(records);
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
