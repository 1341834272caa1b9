//! Descriptors and what hangs on them: dup, fcntl, flock.

use alloc::sync::Arc;

use abi::{Errno, Flock, OpenFlags};
use fdmap::OnExec;
use filelock::{Kind, Lock, TO_END};

use super::file::on_exec;
use super::{Fd, SysError, SysResult};
use crate::fs;
use crate::fs::advisory::{OnConflict, Owner};
use crate::fs::file::{Mode, OpenFile};
use crate::fs::sigio::{self, owner_kind};
use crate::fs::tmpfs::seal;
use crate::fs::{perm, pipe};
use crate::mm::UserPtr;
use crate::task::current;
use crate::task::process::rlimit;

/// dup(2).
pub fn dup(fd: Fd) -> SysResult {
    let files = fs::files();
    let file = files.get_any(fd)?;
    Ok(files.insert(file, OnExec::Keep)?.0 as usize)
}

/// dup2(2).
pub fn dup2(old: Fd, new: Fd) -> SysResult {
    let files = fs::files();
    let file = files.get_any(old)?;
    if old != new {
        files.replace(new, file, OnExec::Keep)?;
    }
    Ok(new.0 as usize)
}

/// dup3(2).
pub fn dup3(old: Fd, new: Fd, flags: u32) -> SysResult {
    let flags = OpenFlags::from_bits_retain(flags);
    if !OpenFlags::CLOEXEC.contains(flags) || old == new {
        return Err(Errno::EINVAL.into());
    }
    let files = fs::files();
    let file = files.get_any(old)?;
    files.replace(new, file, on_exec(flags))?;
    Ok(new.0 as usize)
}

/// Commands of fcntl(2).
mod command {
    pub(super) const DUPFD: u32 = 0;
    pub(super) const GETFD: u32 = 1;
    pub(super) const SETFD: u32 = 2;
    pub(super) const GETFL: u32 = 3;
    pub(super) const SETFL: u32 = 4;
    pub(super) const GETLK: u32 = 5;
    pub(super) const SETLK: u32 = 6;
    pub(super) const SETLKW: u32 = 7;
    pub(super) const SETOWN: u32 = 8;
    pub(super) const GETOWN: u32 = 9;
    pub(super) const SETSIG: u32 = 10;
    pub(super) const GETSIG: u32 = 11;
    pub(super) const SETOWN_EX: u32 = 15;
    pub(super) const GETOWN_EX: u32 = 16;
    pub(super) const OFD_GETLK: u32 = 36;
    pub(super) const OFD_SETLK: u32 = 37;
    pub(super) const OFD_SETLKW: u32 = 38;
    pub(super) const SETLEASE: u32 = 1024;
    pub(super) const GETLEASE: u32 = 1025;
    pub(super) const DUPFD_QUERY: u32 = 1027;
    pub(super) const DUPFD_CLOEXEC: u32 = 1030;
    pub(super) const SETPIPE_SZ: u32 = 1031;
    pub(super) const GETPIPE_SZ: u32 = 1032;
    pub(super) const ADD_SEALS: u32 = 1033;
    pub(super) const GET_SEALS: u32 = 1034;
}

/// FD_CLOEXEC
const CLOEXEC: usize = 1;

/// fcntl(2).
pub fn fcntl(fd: Fd, cmd: u32, argument: usize) -> SysResult {
    use command::*;
    let files = fs::files();
    let file = files.get_any(fd)?;
    let is_for_places = matches!(cmd, DUPFD | DUPFD_CLOEXEC | GETFD | SETFD | GETFL | DUPFD_QUERY);
    if file.mode.contains(Mode::PATH) && !is_for_places {
        return Err(Errno::EBADF.into());
    }
    match cmd {
        DUPFD | DUPFD_CLOEXEC => {
            // The argument is an int, however it was passed.
            let from = argument as u32 as usize;
            if from as u64 >= current().process.limit(rlimit::NOFILE) {
                return Err(Errno::EINVAL.into());
            }
            let mark = if cmd == DUPFD { OnExec::Keep } else { OnExec::Close };
            Ok(files.insert_from(file, from, mark)?.0 as usize)
        }
        DUPFD_QUERY => {
            let other = files.get_any(Fd(argument as i32))?;
            Ok(usize::from(file.identity() == other.identity()))
        }
        GETFD => Ok(if files.on_exec(fd)? == OnExec::Close { CLOEXEC } else { 0 }),
        SETFD => {
            let mark = if argument & CLOEXEC != 0 { OnExec::Close } else { OnExec::Keep };
            files.set_on_exec(fd, mark)?;
            Ok(0)
        }
        GETFL => Ok(file.flags().bits() as usize),
        SETFL => set_flags(fd, &file, OpenFlags::from_bits_retain(argument as u32)),
        GETLK | SETLK | SETLKW | OFD_GETLK | OFD_SETLK | OFD_SETLKW => {
            let of_process = cmd < OFD_GETLK;
            let owner =
                if of_process { Owner::Process(current().process.pid) } else { Owner::File(file.identity()) };
            let on_conflict = match cmd {
                GETLK | OFD_GETLK => return get_lock(&file, argument, owner),
                SETLKW | OFD_SETLKW => OnConflict::Wait,
                _ => OnConflict::Fail,
            };
            set_lock(&file, argument, owner, on_conflict)?;
            if of_process && !files.holds(fd, &file) {
                // Another thread closed the descriptor before there was a lock to release.
                if let Some(advisory) = file.inode().advisory() {
                    advisory.release_process(current().process.pid);
                }
                return Err(Errno::EBADF.into());
            }
            Ok(0)
        }
        SETOWN => {
            let id = argument as i32;
            if id == i32::MIN {
                return Err(Errno::EINVAL.into());
            }
            let kind = if id < 0 { owner_kind::GROUP } else { owner_kind::PROCESS };
            file.signals().set_owner(id, kind)?;
            Ok(0)
        }
        GETOWN => Ok(file.owner().id as usize),
        SETSIG => {
            let signal = u32::try_from(argument).ok().filter(|&s| s <= 64).ok_or(Errno::EINVAL)?;
            file.signals().set_signal(signal);
            Ok(0)
        }
        GETSIG => Ok(file.owner().signal as usize),
        SETOWN_EX => {
            let [kind, id] = UserPtr::<[i32; 2]>::new(argument).read()?;
            let kind = u32::try_from(kind).ok().filter(|&k| k <= owner_kind::GROUP).ok_or(Errno::EINVAL)?;
            if id < 0 {
                return Err(Errno::ESRCH.into());
            }
            let id = if kind == owner_kind::GROUP { -id } else { id };
            file.signals().set_owner(id, kind)?;
            Ok(0)
        }
        GETOWN_EX => {
            let owner = file.owner();
            let id = if owner.kind == owner_kind::GROUP { owner.id.wrapping_neg() } else { owner.id };
            UserPtr::<[i32; 2]>::new(argument).write(&[owner.kind.cast_signed(), id])?;
            Ok(0)
        }
        // F_UNLCK: there never is a lease.
        GETLEASE => Ok(2),
        SETLEASE => Err(if argument == 2 { Errno::EAGAIN } else { Errno::EINVAL }.into()),
        SETPIPE_SZ => {
            let end = pipe::of(&file).ok_or(Errno::EBADF)?;
            Ok(end.pipe.set_size(u32::try_from(argument).map_err(|_| Errno::EINVAL)?)? as usize)
        }
        GETPIPE_SZ => Ok(pipe::of(&file).ok_or(Errno::EBADF)?.pipe.size() as usize),
        ADD_SEALS => add_seals(&file, argument as u32),
        GET_SEALS => {
            let seals = file.inode().ops().seals().ok_or(Errno::EINVAL)?;
            Ok(seals.load(core::sync::atomic::Ordering::Acquire) as usize)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_flags(fd: Fd, file: &Arc<OpenFile>, flags: OpenFlags) -> SysResult {
    let new = flags & !file.flags();
    if new.contains(OpenFlags::NOATIME) && !perm::is_owner(file.inode()) {
        return Err(Errno::EPERM.into());
    }
    file.ops.check_flags(flags)?;
    if (flags ^ file.flags()).contains(OpenFlags::ASYNC) {
        sigio::switch(fd.0, file, flags.contains(OpenFlags::ASYNC))?;
    }
    file.set_flags(flags);
    Ok(0)
}

fn add_seals(file: &OpenFile, seals: u32) -> SysResult {
    use core::sync::atomic::Ordering;
    let inode = file.inode();
    let held = inode.ops().seals().ok_or(Errno::EINVAL)?;
    if !file.mode.contains(Mode::WRITE) {
        return Err(Errno::EPERM.into());
    }
    if seals & !seal::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let _guard = inode.lock.lock();
    let before = held.load(Ordering::Acquire);
    if before & seal::SEAL != 0 {
        return Err(Errno::EPERM.into());
    }
    let mut seals = seals;
    // What must not become executable, and is, is sealed as it is.
    if seals & seal::EXEC != 0 && inode.mode() & 0o111 != 0 {
        seals |= seal::SHRINK | seal::GROW | seal::WRITE | seal::FUTURE_WRITE;
    }
    if seals & seal::WRITE != 0 {
        inode.forbid_writable_mappings()?;
    }
    held.fetch_or(seals, Ordering::AcqRel);
    Ok(0)
}

const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// The bytes that a `struct flock` names, first and last. EINVAL, EOVERFLOW.
fn range_of(file: &OpenFile, flock: &Flock) -> Result<(u64, u64), Errno> {
    let base = match flock.whence {
        0 => 0,
        1 => file.position().cast_signed(),
        2 => file.inode().size().cast_signed(),
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(flock.start).ok_or(Errno::EOVERFLOW)?;
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    let (first, last) = match flock.len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => {
            let first = start.checked_add(len).filter(|&first| first >= 0).ok_or(Errno::EINVAL)?;
            (first, start - 1)
        }
    };
    Ok((first.cast_unsigned(), last.cast_unsigned()))
}

fn kind_of(raw: i16) -> Result<Option<Kind>, Errno> {
    match raw {
        F_RDLCK => Ok(Some(Kind::Read)),
        F_WRLCK => Ok(Some(Kind::Write)),
        F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

fn read_lock(argument: usize, owner: Owner) -> Result<Flock, Errno> {
    let flock = UserPtr::<Flock>::new(argument).read()?;
    if matches!(owner, Owner::File(_)) && flock.pid != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(flock)
}

fn get_lock(file: &OpenFile, argument: usize, owner: Owner) -> SysResult {
    let mut flock = read_lock(argument, owner)?;
    let (first, last) = range_of(file, &flock)?;
    let wanted = match kind_of(flock.kind)? {
        Some(kind) => Lock { owner, kind, first, last },
        None => return Err(Errno::EINVAL.into()),
    };
    let found = file.inode().advisory().and_then(|advisory| advisory.conflict(&wanted));
    match found {
        None => flock.kind = F_UNLCK,
        Some(held) => {
            flock.kind = if held.kind == Kind::Read { F_RDLCK } else { F_WRLCK };
            flock.whence = 0;
            flock.start = held.first.cast_signed();
            flock.len = if held.last == TO_END { 0 } else { (held.last - held.first + 1).cast_signed() };
            flock.pid = match held.owner {
                Owner::Process(pid) => pid.cast_signed(),
                Owner::File(_) => -1,
            };
        }
    }
    UserPtr::<Flock>::new(argument).write(&flock)?;
    Ok(0)
}

fn set_lock(file: &OpenFile, argument: usize, owner: Owner, on_conflict: OnConflict) -> SysResult {
    let flock = read_lock(argument, owner)?;
    let (first, last) = range_of(file, &flock)?;
    let Some(kind) = kind_of(flock.kind)? else {
        if let Some(advisory) = file.inode().advisory() {
            advisory.clear(owner, first, last)?;
        }
        return Ok(0);
    };
    let needed = if kind == Kind::Read { Mode::READ } else { Mode::WRITE };
    if !file.mode.contains(needed) {
        return Err(Errno::EBADF.into());
    }
    file.inode().advisory_or_new().set(Lock { owner, kind, first, last }, on_conflict)
}

/// flock(2).
pub fn flock(fd: Fd, operation: u32) -> SysResult {
    const LOCK_SH: u32 = 1;
    const LOCK_EX: u32 = 2;
    const LOCK_NB: u32 = 4;
    const LOCK_UN: u32 = 8;
    /// Mandatory locks are no more; asking for one succeeds and does nothing.
    const LOCK_MAND: u32 = 32;
    if operation & LOCK_MAND != 0 {
        return Ok(0);
    }
    let kind = match operation & !LOCK_NB {
        LOCK_SH => Some(Kind::Read),
        LOCK_EX => Some(Kind::Write),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = fs::files().get(fd)?;
    if kind.is_some() && !file.mode.intersects(Mode::READ | Mode::WRITE) {
        return Err(SysError::errno(Errno::EBADF));
    }
    let on_conflict = if operation & LOCK_NB != 0 { OnConflict::Fail } else { OnConflict::Wait };
    file.inode().advisory_or_new().flock(file.identity(), kind, on_conflict)
}
