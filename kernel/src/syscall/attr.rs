//! Changing what a file is: mode, owner, times, size, space.

use core::sync::atomic::Ordering;

use abi::{AtFlags, Errno, Timespec, Timeval};
use caps::cap;
use namei::Follow;

use super::args::Path as PathArg;
use super::stat::place_at;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::file::{MAX_OFFSET, Mode};
use crate::fs::inode::{Allocate, FileKind, Inode, Timestamp};
use crate::fs::notify::{self, event};
use crate::fs::path::{Path, UserPath, resolve, start_at};
use crate::fs::perm::{self, Want};
use crate::fs::tmpfs::seal;
use crate::fs::{hooks, open};
use crate::mm::UserPtr;
use crate::task::current;
use crate::task::process::has_capability;
use crate::task::process::rlimit;

fn change_mode(place: &Path, mode: u32) -> SysResult {
    place.check_writable()?;
    let inode = place.inode();
    if !perm::is_owner(inode) {
        return Err(Errno::EPERM.into());
    }
    if inode.kind == FileKind::Symlink {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let mut mode = mode & 0o7777;
    let seals = inode.ops().seals().map_or(0, |seals| seals.load(Ordering::Acquire));
    if seals & seal::EXEC != 0 && (mode ^ inode.mode()) & 0o111 != 0 {
        return Err(Errno::EPERM.into());
    }
    if !perm::is_in_group(inode.gid(), cap::FSETID) {
        mode &= !0o2000;
    }
    inode.set_mode(mode);
    inode.touch_changed();
    notify::note(&place.dentry, event::ATTRIB);
    Ok(0)
}

/// fchmodat2(2).
pub fn fchmodat2(dirfd: Fd, path: PathArg, mode: u32, flags: u32) -> SysResult {
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    change_mode(&place_at(dirfd, path, flags)?, mode)
}

/// fchmodat(2), the system call, which has no flags.
pub fn fchmodat(dirfd: Fd, path: PathArg, mode: u32) -> SysResult {
    fchmodat2(dirfd, path, mode, 0)
}

/// chmod(2).
pub fn chmod(path: PathArg, mode: u32) -> SysResult {
    fchmodat2(Fd::CWD, path, mode, 0)
}

/// fchmod(2).
pub fn fchmod(fd: Fd, mode: u32) -> SysResult {
    change_mode(&fs::files().get(fd)?.path, mode)
}

/// An ID that stays as it is.
const KEEP: u32 = u32::MAX;

fn change_owner(place: &Path, uid: u32, gid: u32) -> SysResult {
    place.check_writable()?;
    let inode = place.inode();
    if !has_capability(cap::CHOWN) {
        let is_mine = perm::is_fs_user(inode);
        let uid_ok = uid == KEEP || (is_mine && uid == inode.uid());
        let gid_ok = gid == KEEP || (is_mine && (gid == inode.gid() || perm::is_in_group(gid, cap::CHOWN)));
        if !uid_ok || !gid_ok {
            return Err(Errno::EPERM.into());
        }
    }
    // Taking bits away is a change of the mode.
    if !inode.is_directory() && perm::set_id_bits(inode) != 0 && !perm::is_owner(inode) {
        return Err(Errno::EPERM.into());
    }
    inode.set_owner(if uid == KEEP { inode.uid() } else { uid }, if gid == KEEP { inode.gid() } else { gid });
    if !inode.is_directory() {
        perm::drop_set_id_bits(inode);
    }
    inode.touch_changed();
    notify::note(&place.dentry, event::ATTRIB);
    Ok(0)
}

/// fchownat(2).
pub fn fchownat(dirfd: Fd, path: PathArg, uid: u32, gid: u32, flags: u32) -> SysResult {
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    change_owner(&place_at(dirfd, path, flags)?, uid, gid)
}

/// chown(2).
pub fn chown(path: PathArg, uid: u32, gid: u32) -> SysResult {
    fchownat(Fd::CWD, path, uid, gid, 0)
}

/// lchown(2).
pub fn lchown(path: PathArg, uid: u32, gid: u32) -> SysResult {
    fchownat(Fd::CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW.bits())
}

/// fchown(2).
pub fn fchown(fd: Fd, uid: u32, gid: u32) -> SysResult {
    change_owner(&fs::files().get(fd)?.path, uid, gid)
}

/// What becomes of one of a file's times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewTime {
    Now,
    Keep,
    At(Timestamp),
}

impl NewTime {
    const UTIME_NOW: i64 = (1 << 30) - 1;
    const UTIME_OMIT: i64 = (1 << 30) - 2;

    fn from_timespec(time: Timespec) -> Result<Self, Errno> {
        match time.nsec {
            Self::UTIME_NOW => Ok(Self::Now),
            Self::UTIME_OMIT => Ok(Self::Keep),
            nanos @ 0..=999_999_999 => Ok(Self::At(Timestamp { seconds: time.sec, nanos: nanos as u32 })),
            _ => Err(Errno::EINVAL),
        }
    }

    fn from_timeval(time: Timeval) -> Result<Self, Errno> {
        match time.usec {
            micros @ 0..=999_999 => {
                Ok(Self::At(Timestamp { seconds: time.sec, nanos: micros as u32 * 1000 }))
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

fn change_times(place: &Path, accessed: NewTime, modified: NewTime) -> SysResult {
    place.check_writable()?;
    let inode = place.inode();
    if !perm::is_owner(inode) {
        // Both to now is what a write would do as well.
        if (accessed, modified) != (NewTime::Now, NewTime::Now) {
            return Err(Errno::EPERM.into());
        }
        perm::check(inode, Want::WRITE)?;
    }
    let now = Timestamp::now();
    inode.change_times(|times| {
        for (slot, new) in [(&mut times.accessed, accessed), (&mut times.modified, modified)] {
            match new {
                NewTime::Now => *slot = now,
                NewTime::At(time) => *slot = time,
                NewTime::Keep => {}
            }
        }
        times.changed = now;
    });
    let what = match (accessed, modified) {
        (_, NewTime::Keep) => event::ACCESS,
        (NewTime::Keep, _) => event::MODIFY,
        _ => event::ATTRIB,
    };
    notify::note(&place.dentry, what);
    Ok(0)
}

/// utimensat(2).
pub fn utimensat(dirfd: Fd, path: PathArg, times: UserPtr<[Timespec; 2]>, flags: u32) -> SysResult {
    let (accessed, modified) = if times.is_null() {
        (NewTime::Now, NewTime::Now)
    } else {
        let [accessed, modified] = times.read()?;
        (NewTime::from_timespec(accessed)?, NewTime::from_timespec(modified)?)
    };
    if (accessed, modified) == (NewTime::Keep, NewTime::Keep) {
        return Ok(0);
    }
    let allowed = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    if path.0.is_null() && dirfd != Fd::CWD {
        // futimens(3)
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        return change_times(&fs::files().get(dirfd)?.path, accessed, modified);
    }
    let flags = AtFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    change_times(&place_at(dirfd, path, flags)?, accessed, modified)
}

/// futimesat(2).
pub fn futimesat(dirfd: Fd, path: PathArg, times: UserPtr<[Timeval; 2]>) -> SysResult {
    let (accessed, modified) = if times.is_null() {
        (NewTime::Now, NewTime::Now)
    } else {
        let [accessed, modified] = times.read()?;
        (NewTime::from_timeval(accessed)?, NewTime::from_timeval(modified)?)
    };
    let place = if path.0.is_null() {
        start_at(dirfd)?
    } else {
        resolve(dirfd, UserPath::new().read(path)?, Follow::Yes)?
    };
    change_times(&place, accessed, modified)
}

/// utimes(2).
pub fn utimes(path: PathArg, times: UserPtr<[Timeval; 2]>) -> SysResult {
    let path = if path.0.is_null() { return Err(Errno::EFAULT.into()) } else { path };
    futimesat(Fd::CWD, path, times)
}

/// utime(2): two times in seconds.
pub fn utime(path: PathArg, times: UserPtr<[i64; 2]>) -> SysResult {
    let (accessed, modified) = if times.is_null() {
        (NewTime::Now, NewTime::Now)
    } else {
        let [accessed, modified] = times.read()?;
        let at = |seconds| NewTime::At(Timestamp { seconds, nanos: 0 });
        (at(accessed), at(modified))
    };
    let place = resolve(Fd::CWD, UserPath::new().read(path)?, Follow::Yes)?;
    change_times(&place, accessed, modified)
}

/// EFBIG (with SIGXFSZ) for a size beyond RLIMIT_FSIZE.
fn check_size(inode: &Inode, size: u64) -> Result<(), Errno> {
    if size > inode.size() && size > current().process.limit(rlimit::FSIZE) {
        hooks::send_file_size_signal();
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// truncate(2).
pub fn truncate(path: PathArg, len: i64) -> SysResult {
    let size = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let place = resolve(Fd::CWD, UserPath::new().read(path)?, Follow::Yes)?;
    let inode = place.inode();
    match inode.kind {
        FileKind::Regular => {}
        FileKind::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    place.check_writable()?;
    perm::check(inode, Want::WRITE)?;
    if inode.is_executing() {
        return Err(Errno::ETXTBSY.into());
    }
    check_size(inode, size)?;
    open::truncate(&place.dentry, size)?;
    Ok(0)
}

/// ftruncate(2).
pub fn ftruncate(fd: Fd, len: i64) -> SysResult {
    let size = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let file = fs::files().get(fd)?;
    let inode = file.inode();
    if inode.kind != FileKind::Regular || !file.mode.contains(Mode::WRITE) {
        return Err(Errno::EINVAL.into());
    }
    check_size(inode, size)?;
    open::truncate(&file.path.dentry, size)?;
    Ok(0)
}

/// `FALLOC_FL_*` (fallocate(2)).
mod falloc {
    pub(super) const KEEP_SIZE: u32 = 1;
    pub(super) const PUNCH_HOLE: u32 = 2;
    pub(super) const COLLAPSE_RANGE: u32 = 8;
    pub(super) const ZERO_RANGE: u32 = 16;
    pub(super) const INSERT_RANGE: u32 = 32;
    pub(super) const UNSHARE_RANGE: u32 = 64;
    /// Those of which at most one can be asked for.
    pub(super) const MODES: u32 = PUNCH_HOLE | COLLAPSE_RANGE | ZERO_RANGE | INSERT_RANGE | UNSHARE_RANGE;
}

/// fallocate(2).
pub fn fallocate(fd: Fd, mode: u32, at: i64, len: i64) -> SysResult {
    use falloc::*;
    let file = fs::files().get(fd)?;
    let (Ok(start), Ok(len)) = (u64::try_from(at), u64::try_from(len)) else {
        return Err(Errno::EINVAL.into());
    };
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = mode & MODES;
    if mode & !(KEEP_SIZE | MODES) != 0
        || (kind == PUNCH_HOLE && mode & KEEP_SIZE == 0)
        || !is_one_or_none(kind)
    {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if mode & KEEP_SIZE != 0 && matches!(kind, COLLAPSE_RANGE | INSERT_RANGE) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !file.mode.contains(Mode::WRITE) {
        return Err(Errno::EBADF.into());
    }
    let inode = file.inode();
    match inode.kind {
        FileKind::Regular => {}
        FileKind::Fifo => return Err(Errno::ESPIPE.into()),
        FileKind::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = start.checked_add(len).filter(|&end| end <= MAX_OFFSET).ok_or(Errno::EFBIG)?;
    let how = match kind {
        0 => Allocate::Reserve,
        PUNCH_HOLE => Allocate::PunchHole,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    let _guard = inode.lock.lock();
    if how == Allocate::Reserve {
        check_size(inode, end)?;
        inode.ops().allocate(inode, how, start, len)?;
        if mode & KEEP_SIZE == 0 && end > inode.size() {
            inode.set_size(end);
        }
    } else {
        inode.ops().allocate(inode, how, start, len)?;
        hooks::unmap_range(inode, start, end);
    }
    inode.touch_modified();
    notify::note(&file.path.dentry, event::MODIFY);
    Ok(0)
}

fn is_one_or_none(bits: u32) -> bool {
    bits & bits.wrapping_sub(1) == 0
}
