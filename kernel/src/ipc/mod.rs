//! System V IPC (sysvipc(7)): shared memory segments, semaphore sets and message queues, by key and identifier.
//!
//! Lock order: an address space → a registry → an object's own lock.

pub mod msg;
pub mod sem;
pub mod shm;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::ipc::IpcPerm;
use caps::cap;
use ipc::ids::Ids;

use crate::fs::proc::Text;
use crate::sync::SpinLock;
use crate::task::{Process, current};
use crate::time;

/// Flags of shmget, semget and msgget, and commands that all three kinds have.
pub mod flag {
    pub const CREAT: u32 = 0o1000;
    pub const EXCL: u32 = 0o2000;
    pub const NOWAIT: u32 = 0o4000;
    pub const RMID: u32 = 0;
    pub const SET: u32 = 1;
    pub const STAT: u32 = 2;
    pub const INFO: u32 = 3;
}

/// Every object has another one.
const PRIVATE: i32 = 0;

/// The limits of /proc/sys/kernel.
pub mod limit {
    use super::AtomicU64;
    /// A segment's bytes, all segments' pages, how many there are.
    pub static SHMMAX: AtomicU64 = AtomicU64::new(u64::MAX - (1 << 24));
    pub static SHMALL: AtomicU64 = AtomicU64::new(u64::MAX - (1 << 24));
    pub static SHMMNI: AtomicU64 = AtomicU64::new(4096);
    /// Semaphores in a set, in all sets, operations in a call, sets.
    pub static SEM: [AtomicU64; 4] =
        [AtomicU64::new(32_000), AtomicU64::new(1_024_000_000), AtomicU64::new(500), AtomicU64::new(32_000)];
    /// A message's bytes, a queue's bytes, how many queues.
    pub static MSGMAX: AtomicU64 = AtomicU64::new(8192);
    pub static MSGMNB: AtomicU64 = AtomicU64::new(16_384);
    pub static MSGMNI: AtomicU64 = AtomicU64::new(32_000);
}

/// A limit's value.
pub fn limit_of(limit: &AtomicU64) -> u64 {
    limit.load(Ordering::Relaxed)
}

/// The wall clock's seconds.
pub fn now() -> i64 {
    time::coarse_realtime().0
}

/// Whose an object is, and who may use it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perm {
    pub id: i32,
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permission bits, and what else a kind keeps there.
    pub mode: u32,
    pub sequence: u16,
    /// Found by nobody any more: those who had it find it so.
    pub is_removed: bool,
}

/// Permissions, three times three bits, of which the lowest three count.
pub const READ: u32 = 0o444;
pub const WRITE: u32 = 0o222;

impl Perm {
    /// Whether the caller may do that: `want` has the bits in any of the three places. EACCES.
    pub fn check(&self, want: u32) -> Result<(), Errno> {
        let want = want >> 6 | want >> 3 | want;
        let cred = current().process.cred.lock();
        let granted = if cred.euid == self.uid || cred.euid == self.cuid {
            self.mode >> 6
        } else if [self.gid, self.cgid].iter().any(|gid| cred.egid == *gid || cred.groups.contains(gid)) {
            self.mode >> 3
        } else {
            self.mode
        };
        if want & !granted & 7 == 0 || cred.has(cap::IPC_OWNER) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether the caller may change or remove it. EPERM.
    pub fn check_owner(&self) -> Result<(), Errno> {
        let cred = current().process.cred.lock();
        if cred.euid == self.uid || cred.euid == self.cuid || cred.has(cap::SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// IPC_SET's part that all kinds have. EINVAL.
    pub fn set(&mut self, new: &IpcPerm) -> Result<(), Errno> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        (self.uid, self.gid) = (new.uid, new.gid);
        self.mode = self.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    /// As the `*_STAT` commands report it.
    pub fn to_abi(self) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: self.sequence,
            ..IpcPerm::default()
        }
    }
}

/// An object of a registry. Registries work on these alone, so that there is one copy of their code.
pub trait Object: Any + Send + Sync {
    /// Runs `act` with its permissions, under its lock.
    fn with_perm(&self, act: &mut dyn FnMut(&mut Perm));
}

/// An object's permissions as they are now.
pub fn perm_of(object: &dyn Object) -> Perm {
    let mut copy = Perm::default();
    object.with_perm(&mut |perm| copy = *perm);
    copy
}

/// All objects of a kind.
pub struct Registry(SpinLock<Ids<Arc<dyn Object>>>);

impl Registry {
    const fn new() -> Self {
        Self(SpinLock::new(Ids::new()))
    }

    /// shmget, semget, msgget: the identifier of a key's object. `fits` refuses an object that is there, `make` makes one, of which there
    /// may be `most`. ENOENT, EEXIST, EACCES, ENOSPC, ENOMEM.
    fn get(
        &self,
        key: i32,
        flags: u32,
        most: u64,
        fits: &dyn Fn(&dyn Any) -> Result<(), Errno>,
        make: &mut dyn FnMut(Perm) -> Result<Arc<dyn Object>, Errno>,
    ) -> Result<i32, Errno> {
        let mut ids = self.0.lock();
        let found = match key {
            PRIVATE => None,
            _ => ids.iter().find(|(_, object)| perm_of(&***object).key == key),
        };
        match found {
            Some(_) if flags & (flag::CREAT | flag::EXCL) == flag::CREAT | flag::EXCL => Err(Errno::EEXIST),
            Some((id, object)) => {
                fits(&**object)?;
                perm_of(&**object).check(flags)?;
                Ok(id)
            }
            None if key != PRIVATE && flags & flag::CREAT == 0 => Err(Errno::ENOENT),
            None => {
                let (uid, gid) = {
                    let cred = current().process.cred.lock();
                    (cred.euid, cred.egid)
                };
                let mode = flags & 0o777;
                let perm = Perm { key, uid, gid, cuid: uid, cgid: gid, mode, ..Perm::default() };
                let object = make(perm)?;
                if ids.len() as u64 >= most {
                    return Err(Errno::ENOSPC);
                }
                let fill = |id, sequence| {
                    object.with_perm(&mut |perm| (perm.id, perm.sequence) = (id, sequence));
                    object
                };
                Ok(ids.insert(fill).map_err(|_| Errno::ENOSPC)?)
            }
        }
    }

    fn look_up(&self, id: i32, how: Stat) -> Result<(i32, Arc<dyn Object>), Errno> {
        let ids = self.0.lock();
        let found = match how {
            Stat::ById => ids.get(id).map(|object| (0, object)),
            _ => usize::try_from(id).ok().and_then(|index| ids.at(index)),
        };
        found.map(|(number, object)| (number, object.clone())).ok_or(Errno::EINVAL)
    }

    /// The object of an identifier. EINVAL.
    fn find<T: Object>(&self, id: i32) -> Result<Arc<T>, Errno> {
        self.find_as(id, Stat::ById).map(|(_, object)| object)
    }

    /// The object that a `*_STAT` command means, and what the call returns. EINVAL.
    fn find_as<T: Object>(&self, id: i32, how: Stat) -> Result<(i32, Arc<T>), Errno> {
        let (number, object) = self.look_up(id, how)?;
        Ok((number, downcast(object)?))
    }

    /// How many there are, and the highest index in use.
    fn usage(&self) -> (usize, usize) {
        let ids = self.0.lock();
        (ids.len(), ids.highest_index())
    }

    /// Takes an object out; those who hold it see that it was removed.
    fn remove(&self, object: &dyn Object) {
        let mut id = -1;
        object.with_perm(&mut |perm| {
            perm.is_removed = true;
            id = perm.id;
        });
        let removed = self.0.lock().remove(id);
        drop(removed);
    }

    fn snapshot(&self) -> Vec<Arc<dyn Object>> {
        self.0.lock().iter().map(|(_, object)| object.clone()).collect()
    }

    /// Every object, for /proc/sysvipc and the ends of processes.
    fn for_all<T: Object>(&self, mut act: impl FnMut(&T)) {
        for object in self.snapshot() {
            if let Ok(object) = downcast(object) {
                act(&object);
            }
        }
    }
}

/// A registry has objects of one kind alone, so that this is never an error.
fn downcast<T: Object>(object: Arc<dyn Object>) -> Result<Arc<T>, Errno> {
    let object: Arc<dyn Any + Send + Sync> = object;
    object.downcast().map_err(|_| Errno::EINVAL)
}

/// Which object a `*_STAT` command means, and whether it needs permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    ById,
    ByIndex,
    /// `*_STAT_ANY`
    Anyhow,
}

/// A line of /proc/sysvipc: numbers right-aligned in columns of these widths, a blank between.
fn write_row(text: &mut Text, columns: &[(i64, usize)]) {
    for (index, (value, width)) in columns.iter().enumerate() {
        let gap = if index == 0 { "" } else { " " };
        text.put(format_args!("{gap}{value:width$}"));
    }
    text.bytes(b"\n");
}

/// The number whose decimal digits are the octal ones of a mode.
fn octal(mode: u32) -> i64 {
    let digit = |place: u32| i64::from(mode >> (3 * place) & 7);
    (0..4).rev().fold(0, |number, place| number * 10 + digit(place))
}

/// A process ended: its semaphore adjustments are made.
pub fn process_exit(process: &Process) {
    if process.has_undo.swap(false, Ordering::Relaxed) {
        sem::undo_all(process.pid);
    }
}
