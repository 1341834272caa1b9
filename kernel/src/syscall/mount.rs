//! mount(2), umount2(2) and swapon(2).

use alloc::sync::Arc;

use abi::Errno;
use caps::cap;
use namei::Follow;

use super::args::Path as PathArg;
use super::{Fd, SysResult};
use crate::fs::dentry::Dentry;
use crate::fs::mount::{self, FileSystem, Mount, flag};
use crate::fs::path::{Path, UserPath, resolve};
use crate::fs::{devfs, mqueue, names, proc, pty, tmpfs};
use crate::task::process::has_capability;

/// Further `MS_*` flags of the call itself.
mod action {
    pub(super) const REMOUNT: u32 = 0x20;
    pub(super) const BIND: u32 = 0x1000;
    pub(super) const MOVE: u32 = 0x2000;
    pub(super) const SILENT: u32 = 0x8000;
    pub(super) const UNBINDABLE: u32 = 1 << 17;
    pub(super) const PRIVATE: u32 = 1 << 18;
    pub(super) const SLAVE: u32 = 1 << 19;
    pub(super) const SHARED: u32 = 1 << 20;
}

/// Options of tmpfs: `size=`, `mode=`, `nr_inodes=`.
fn apply_options(fs: &FileSystem, root: &Dentry, options: &[u8]) -> Result<(), Errno> {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // What is used can't be made too much.
    let limit = |max: &AtomicU64, used: &AtomicU64, new: Option<u64>| {
        let new = new.filter(|&new| new == 0 || new >= used.load(Relaxed)).ok_or(Errno::EINVAL)?;
        max.store(new, Relaxed);
        Ok::<(), Errno>(())
    };
    let space = &fs.space;
    for option in options.split(|&byte| byte == b',').filter(|option| !option.is_empty()) {
        let text = core::str::from_utf8(option).map_err(|_| Errno::EINVAL)?;
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "size" => {
                let pages = parse_size(value).map(|bytes| bytes.div_ceil(crate::mm::PAGE_SIZE as u64));
                limit(&space.max_pages, &space.pages, pages)?;
            }
            "nr_blocks" => limit(&space.max_pages, &space.pages, parse_size(value))?,
            "nr_inodes" => limit(&space.max_inodes, &space.inodes, parse_size(value))?,
            "mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                root.inode.set_mode(mode);
            }
            "uid" => root.inode.set_owner(value.parse().map_err(|_| Errno::EINVAL)?, root.inode.gid()),
            "gid" => root.inode.set_owner(root.inode.uid(), value.parse().map_err(|_| Errno::EINVAL)?),
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(())
}

/// A number with an optional k, m, g or %.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    let total = crate::mm::frame::usage().total as u64 * crate::mm::PAGE_SIZE as u64;
    match text.get(digits.len()..)? {
        "" => Some(number),
        "k" | "K" => number.checked_mul(1 << 10),
        "m" | "M" => number.checked_mul(1 << 20),
        "g" | "G" => number.checked_mul(1 << 30),
        "%" => (total / 100).checked_mul(number),
        _ => None,
    }
}

fn new_file_system(kind: &[u8], options: &[u8]) -> Result<(Arc<FileSystem>, Arc<Dentry>), Errno> {
    match kind {
        b"tmpfs" | b"ramfs" => {
            let fs = tmpfs::new(&mount::TMPFS);
            let root = tmpfs::new_root(&fs, 0o1777)?;
            apply_options(&fs, &root, options)?;
            Ok((fs, root))
        }
        b"proc" => Ok(proc::new()),
        b"mqueue" => {
            let root = mqueue::root();
            Ok((root.mount.fs.clone(), root.dentry))
        }
        b"devtmpfs" => Ok(devfs::new()),
        // There is one instance, whatever the options.
        b"devpts" => {
            let terminals = pty::directory()?;
            Ok((terminals.mount.fs.clone(), terminals.mount.root.clone()))
        }
        _ => Err(Errno::ENODEV),
    }
}

/// A string that may be left out.
fn read_optional(buffer: &mut UserPath, text: PathArg) -> Result<&[u8], Errno> {
    if text.0.is_null() { Ok(&[]) } else { buffer.read(text) }
}

/// mount(2): new instances of file systems in memory, bind mounts, changes of flags.
pub fn mount(source: PathArg, target: PathArg, kind: PathArg, flags: u64, data: PathArg) -> SysResult {
    let mut buffers = [const { UserPath::new() }; 3];
    let [a, b, c] = &mut buffers;
    let kind = read_optional(a, kind)?;
    let source = read_optional(b, source)?;
    let options = read_optional(c, data)?;
    let target = resolve(Fd::CWD, UserPath::new().read(target)?, Follow::Yes)?;
    if !has_capability(cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    let flags = flags as u32 & !action::SILENT;
    let mut kept = flags & flag::KEPT;
    if flags & (flag::NOATIME | flag::STRICTATIME) == 0 {
        kept |= flag::RELATIME;
    }
    let propagation = action::UNBINDABLE | action::PRIVATE | action::SLAVE | action::SHARED;
    if flags & action::REMOUNT != 0 {
        if !target.is_mount_root() {
            return Err(Errno::EINVAL.into());
        }
        if flags & action::BIND == 0 {
            apply_options(&target.mount.fs, &target.dentry, options)?;
        }
        target.mount.set_flags(kept);
    } else if flags & action::BIND != 0 {
        let place = resolve(Fd::CWD, source, Follow::Yes)?;
        if place.inode().is_directory() != target.inode().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let bound = Mount::new(&place.mount.fs, place.dentry.clone(), source, place.mount.flags());
        mount::attach(&bound, target);
    } else if flags & propagation != 0 {
        // There is one namespace: nothing propagates anywhere.
        if !target.is_mount_root() {
            return Err(Errno::EINVAL.into());
        }
    } else if flags & action::MOVE != 0 {
        return Err(Errno::EINVAL.into());
    } else {
        if !target.inode().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let (fs, root) = new_file_system(kind, options)?;
        mount::attach(&Mount::new(&fs, root, source, kept), target);
    }
    Ok(0)
}

/// umount2(2).
pub fn umount2(target: PathArg, flags: u32) -> SysResult {
    const FORCE: u32 = 1;
    const DETACH: u32 = 2;
    const EXPIRE: u32 = 4;
    const NOFOLLOW: u32 = 8;
    if flags & !(FORCE | DETACH | EXPIRE | NOFOLLOW) != 0
        || (flags & EXPIRE != 0 && flags & (FORCE | DETACH) != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let follow = if flags & NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    let Path { mount, dentry } = resolve(Fd::CWD, UserPath::new().read(target)?, follow)?;
    if !Arc::ptr_eq(&dentry, &mount.root) {
        return Err(Errno::EINVAL.into());
    }
    if !has_capability(cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    if flags & EXPIRE != 0 {
        return Err(Errno::EAGAIN.into());
    }
    mount::detach(&mount, flags & DETACH != 0, 1)?;
    Ok(0)
}

/// swapon(2): nothing here can be a swap area, as on Linux nothing on a tmpfs can.
pub fn swapon(path: PathArg, flags: u32) -> SysResult {
    const VALID: u32 = 0x7_ffff;
    if !has_capability(cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    if flags & !VALID == 0 {
        resolve(Fd::CWD, UserPath::new().read(path)?, Follow::Yes)?;
    }
    Err(Errno::EINVAL.into())
}

/// swapoff(2): nothing is one.
pub fn swapoff(path: PathArg) -> SysResult {
    swapon(path, 0)
}

/// pivot_root(2): only for namespaces, which there are none of.
pub fn pivot_root(new: PathArg, _: PathArg) -> SysResult {
    names::resolve_directory(Fd::CWD, UserPath::new().read(new)?)?;
    if has_capability(cap::SYS_ADMIN) { Err(Errno::EINVAL.into()) } else { Err(Errno::EPERM.into()) }
}
