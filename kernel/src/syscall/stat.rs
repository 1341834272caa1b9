//! What a file is: the stat family, statfs, access, readlink.

use abi::{AtFlags, Errno, Stat, Statfs, Statx, StatxMask, StatxTimestamp};
use namei::Follow;

use super::args::Path as PathArg;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::inode::{FileKind, Inode, LinkTarget, Timestamp};
use crate::fs::mount::{self, FileSystem, Mount};
use crate::fs::path::{PATH_MAX, Path, UserPath, resolve, resolve_or_empty, start_at};
use crate::fs::perm::{Identity, Want, check_as};
use crate::mm::{PAGE_SIZE, UserPtr};
use crate::task::current;

/// An inode's attributes as stat(2) has them.
#[inline(never)]
fn stat_of(inode: &Inode) -> Stat {
    inode.with_times(|times| Stat {
        dev: inode.fs.device,
        ino: inode.number,
        nlink: inode.links().into(),
        mode: inode.kind.mode_bits() | inode.mode(),
        uid: inode.uid(),
        gid: inode.gid(),
        pad0: 0,
        rdev: inode.device.encode(),
        size: inode.size().cast_signed(),
        blksize: inode.fs.block_size.into(),
        blocks: inode.blocks().cast_signed(),
        atime: times.accessed.seconds,
        atime_nsec: times.accessed.nanos.into(),
        mtime: times.modified.seconds,
        mtime_nsec: times.modified.nanos.into(),
        ctime: times.changed.seconds,
        ctime_nsec: times.changed.nanos.into(),
        unused: [0; 3],
    })
}

/// `stat_of` straight into the program's memory. EFAULT.
#[inline(always)]
fn write_stat(inode: &Inode, out: UserPtr<Stat>) -> Result<(), Errno> {
    let head = [inode.fs.device, inode.number, inode.links().into()];
    let mode = inode.kind.mode_bits() | inode.mode();
    out.store_head(head, mode, inode.uid(), inode.gid(), inode.device.encode())?;
    let tail = inode.with_times(|times| {
        [
            inode.size(),
            inode.fs.block_size.into(),
            inode.blocks(),
            times.accessed.seconds.cast_unsigned(),
            times.accessed.nanos.into(),
            times.modified.seconds.cast_unsigned(),
            times.modified.nanos.into(),
            times.changed.seconds.cast_unsigned(),
            times.changed.nanos.into(),
        ]
    });
    out.store_tail(tail)
}

/// stat(2).
pub fn stat(path: PathArg, out: UserPtr<Stat>) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read_inline(path)?;
    let place = resolve(Fd::CWD, path, Follow::Yes)?;
    out.write(&stat_of(place.inode()))?;
    Ok(0)
}

/// lstat(2).
pub fn lstat(path: PathArg, out: UserPtr<Stat>) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    let place = resolve(Fd::CWD, path, Follow::No)?;
    out.write(&stat_of(place.inode()))?;
    Ok(0)
}

/// fstat(2).
pub fn fstat(fd: Fd, out: UserPtr<Stat>) -> SysResult {
    match fs::files().own(fd) {
        Some(file) => write_stat(file.inode(), out)?,
        None => out.write(&stat_of(fs::files().get_any(fd)?.inode()))?,
    }
    Ok(0)
}

/// The flags that the stat calls share.
fn stat_flags() -> AtFlags {
    AtFlags::SYMLINK_NOFOLLOW
        | AtFlags::NO_AUTOMOUNT
        | AtFlags::EMPTY_PATH
        | AtFlags::STATX_FORCE_SYNC
        | AtFlags::STATX_DONT_SYNC
}

/// The place that a directory descriptor, a path and AT_* flags name. With AT_EMPTY_PATH the path may be null.
pub fn place_at(dirfd: Fd, path: PathArg, flags: AtFlags) -> Result<Path, Errno> {
    let follow = if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { Follow::No } else { Follow::Yes };
    if flags.contains(AtFlags::EMPTY_PATH) {
        if path.0.is_null() {
            return start_at(dirfd);
        }
        return resolve_or_empty(dirfd, UserPath::new().read(path)?, follow);
    }
    resolve(dirfd, UserPath::new().read(path)?, follow)
}

/// newfstatat(2).
pub fn newfstatat(dirfd: Fd, path: PathArg, out: UserPtr<Stat>, flags: u32) -> SysResult {
    let flags = AtFlags::from_bits(flags).filter(|&f| stat_flags().contains(f)).ok_or(Errno::EINVAL)?;
    let place = place_at(dirfd, path, flags)?;
    out.write(&stat_of(place.inode()))?;
    Ok(0)
}

fn statx_time(time: Timestamp) -> StatxTimestamp {
    StatxTimestamp { sec: time.seconds, nsec: time.nanos, reserved: 0 }
}

/// statx(2).
pub fn statx(dirfd: Fd, path: PathArg, flags: u32, mask: u32, out: UserPtr<Statx>) -> SysResult {
    /// STATX_ATTR_MOUNT_ROOT
    const MOUNT_ROOT: u64 = 0x2000;
    let flags = AtFlags::from_bits(flags).filter(|&f| stat_flags().contains(f)).ok_or(Errno::EINVAL)?;
    let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
    if mask & StatxMask::RESERVED.bits() != 0 || flags.contains(sync) {
        return Err(Errno::EINVAL.into());
    }
    let place = place_at(dirfd, path, flags)?;
    let inode = place.inode();
    let stat = stat_of(inode);
    let times = inode.times();
    let has_birth = inode.ops().has_attributes();
    let mut known = StatxMask::BASIC_STATS | StatxMask::MNT_ID;
    known.set(StatxMask::BTIME, has_birth);
    let (rdev, dev) = (inode.device, fs::inode::Device::decode(stat.dev as u32));
    let statx = Statx {
        mask: known.bits(),
        blksize: inode.fs.block_size,
        attributes: if place.is_mount_root() { MOUNT_ROOT } else { 0 },
        nlink: inode.links(),
        uid: stat.uid,
        gid: stat.gid,
        mode: stat.mode as u16,
        ino: stat.ino,
        size: inode.size(),
        blocks: inode.blocks(),
        attributes_mask: MOUNT_ROOT,
        atime: statx_time(times.accessed),
        btime: if has_birth { statx_time(times.born) } else { StatxTimestamp::default() },
        ctime: statx_time(times.changed),
        mtime: statx_time(times.modified),
        rdev_major: rdev.major(),
        rdev_minor: rdev.minor(),
        dev_major: dev.major(),
        dev_minor: dev.minor(),
        mnt_id: place.mount.id.into(),
        ..Statx::default()
    };
    out.write(&statx)?;
    Ok(0)
}

/// `f_flags`: ST_VALID, and the mount's.
fn statfs_flags(flags: u32) -> i64 {
    const ST_VALID: u32 = 0x20;
    const ST_RELATIME: u32 = 0x1000;
    let relatime = if flags & mount::flag::RELATIME != 0 { ST_RELATIME } else { 0 };
    // The first four bits of both mean the same, and so do NOATIME and NODIRATIME.
    i64::from(ST_VALID | relatime | flags & 0xf | flags & (mount::flag::NOATIME | mount::flag::NODIRATIME))
}

fn statfs_of(fs: &FileSystem, mount: &Mount) -> Statfs {
    use core::sync::atomic::Ordering::Relaxed;
    let space = &fs.space;
    let (max_pages, max_inodes) = (space.max_pages.load(Relaxed), space.max_inodes.load(Relaxed));
    let free = max_pages.saturating_sub(space.pages.load(Relaxed));
    Statfs {
        kind: fs.kind.magic.cast_signed(),
        bsize: PAGE_SIZE as i64,
        blocks: max_pages,
        bfree: free,
        bavail: free,
        files: max_inodes,
        ffree: max_inodes.saturating_sub(space.inodes.load(Relaxed)),
        fsid: [fs.device as i32, 0],
        namelen: 255,
        frsize: PAGE_SIZE as i64,
        flags: statfs_flags(mount.flags()),
        spare: [0; 4],
    }
}

/// statfs(2).
pub fn statfs(path: PathArg, out: UserPtr<Statfs>) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    let place = resolve(Fd::CWD, path, Follow::Yes)?;
    out.write(&statfs_of(&place.inode().fs, &place.mount))?;
    Ok(0)
}

/// fstatfs(2).
pub fn fstatfs(fd: Fd, out: UserPtr<Statfs>) -> SysResult {
    let file = fs::files().get_any(fd)?;
    out.write(&statfs_of(&file.inode().fs, &file.path.mount))?;
    Ok(0)
}

/// AT_EACCESS has the number of AT_REMOVEDIR.
const EFFECTIVE: AtFlags = AtFlags::REMOVEDIR;

/// faccessat2(2).
pub fn faccessat2(dirfd: Fd, path: PathArg, mode: u32, flags: u32) -> SysResult {
    let allowed = EFFECTIVE | AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    let want = Want::from_bits(mode).ok_or(Errno::EINVAL)?;
    let place = place_at(dirfd, path, flags & !EFFECTIVE)?;
    let inode = place.inode();
    if want.contains(Want::EXECUTE)
        && inode.kind == FileKind::Regular
        && place.mount.flags() & mount::flag::NOEXEC != 0
    {
        return Err(Errno::EACCES.into());
    }
    let identity = if flags.contains(EFFECTIVE) { Identity::FileSystem } else { Identity::Real };
    check_as(inode, want, identity)?;
    // What a device's driver does isn't the file system's to forbid.
    let is_special = !matches!(inode.kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink);
    if want.contains(Want::WRITE) && !is_special {
        place.check_writable()?;
    }
    Ok(0)
}

/// faccessat(2), the system call, which has no flags.
pub fn faccessat(dirfd: Fd, path: PathArg, mode: u32) -> SysResult {
    faccessat2(dirfd, path, mode, 0)
}

/// access(2).
pub fn access(path: PathArg, mode: u32) -> SysResult {
    faccessat2(Fd::CWD, path, mode, 0)
}

/// readlinkat(2).
pub fn readlinkat(dirfd: Fd, path: PathArg, buf: UserPtr<u8>, size: i32) -> SysResult {
    let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or(Errno::EINVAL)?;
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    let is_empty = path.is_empty();
    let place = resolve_or_empty(dirfd, path, Follow::No)?;
    let inode = place.inode();
    if inode.kind != FileKind::Symlink {
        // An empty path that isn't a link's descriptor is no path at all.
        return Err(if is_empty { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    inode.touch_accessed();
    match inode.ops().read_link(inode)? {
        LinkTarget::Path(text) => put(buf, size, &text),
        LinkTarget::Jump(target) => {
            let root = current().process.fs.lock().root.clone();
            let text = target.print(&root);
            if text.len() >= PATH_MAX {
                return Err(Errno::ENAMETOOLONG.into());
            }
            put(buf, size, &text)
        }
    }
}

fn put(buf: UserPtr<u8>, size: usize, text: &[u8]) -> SysResult {
    let text = text.get(..size).unwrap_or(text);
    buf.write_bytes(text)?;
    Ok(text.len())
}

/// readlink(2).
pub fn readlink(path: PathArg, buf: UserPtr<u8>, size: i32) -> SysResult {
    readlinkat(Fd::CWD, path, buf, size)
}
