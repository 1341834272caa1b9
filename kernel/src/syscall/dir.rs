//! Directories and names: listing, making, removing, renaming, linking; working directory and root.

use abi::{AtFlags, Dirent64Header, Errno, RenameFlags};
use caps::cap;
use namei::Follow;
use zerocopy::IntoBytes;

use super::args::Path as PathArg;
use super::stat::place_at;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::file::EntrySink;
use crate::fs::inode::{Device, FileKind};
use crate::fs::names::{self, Node, RenameMode};
use crate::fs::notify;
use crate::fs::path::{PATH_MAX, Path, UserPath, resolve};
use crate::fs::perm::{self, Want};
use crate::mm::UserPtr;
use crate::task::current;
use crate::task::process::has_capability;

/// Which of the two record formats getdents writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `struct linux_dirent`: the type is the record's last byte.
    Old,
    /// `struct linux_dirent64`.
    New,
}

/// Records in a program's buffer.
struct Records {
    buf: UserPtr<u8>,
    room: usize,
    written: usize,
    format: Format,
    error: Option<Errno>,
}

/// Room for the longest name with its header, NUL, type and padding.
const RECORD_MAX: usize = 288;

impl Records {
    fn record(&self, name: &[u8], inode: u64, kind: FileKind, next: u64) -> ([u8; RECORD_MAX], usize) {
        /// `d_ino`, `d_off`, `d_reclen`.
        const OLD_HEADER: usize = 18;
        let mut bytes = [0; RECORD_MAX];
        let len = match self.format {
            Format::New => Dirent64Header::record_len_for(name.len()),
            Format::Old => (OLD_HEADER + name.len() + 2).next_multiple_of(8),
        };
        let header = Dirent64Header {
            ino: inode,
            offset: next.cast_signed(),
            record_len: len as u16,
            kind: kind as u8,
        };
        // The old record has no type where the new one has it; the name follows in its place.
        let name_at = if self.format == Format::New { Dirent64Header::NAME_OFFSET } else { OLD_HEADER };
        for (slot, byte) in bytes.iter_mut().zip(header.as_bytes().iter().take(name_at)) {
            *slot = *byte;
        }
        if let Some(slot) = bytes.get_mut(name_at..name_at + name.len()) {
            slot.copy_from_slice(name);
        }
        if self.format == Format::Old
            && let Some(last) = bytes.get_mut(len.wrapping_sub(1))
        {
            *last = kind as u8;
        }
        (bytes, len)
    }
}

impl EntrySink for Records {
    fn entry(&mut self, name: &[u8], inode: u64, kind: FileKind, next: u64) -> bool {
        let (bytes, len) = self.record(name, inode, kind, next);
        if len > self.room - self.written {
            if self.written == 0 {
                self.error = Some(Errno::EINVAL);
            }
            return false;
        }
        let record = bytes.get(..len).unwrap_or_default();
        if let Err(error) = self.buf.field::<u8>(self.written).write_bytes(record) {
            self.error = Some(error);
            return false;
        }
        self.written += len;
        true
    }
}

fn list(fd: Fd, buf: UserPtr<u8>, room: u32, format: Format) -> SysResult {
    let file = fs::files().get(fd)?;
    let mut records = Records { buf, room: room as usize, written: 0, format, error: None };
    file.with_position(|at| file.ops.read_directory(&file, at, &mut records))?;
    notify::note(&file.path.dentry, notify::event::ACCESS);
    match records.error {
        Some(error) if records.written == 0 => Err(error.into()),
        _ => Ok(records.written),
    }
}

/// getdents64(2).
pub fn getdents64(fd: Fd, buf: UserPtr<u8>, count: u32) -> SysResult {
    list(fd, buf, count, Format::New)
}

/// getdents(2), the old one.
pub fn getdents(fd: Fd, buf: UserPtr<u8>, count: u32) -> SysResult {
    list(fd, buf, count, Format::Old)
}

/// mkdirat(2).
pub fn mkdirat(dirfd: Fd, path: PathArg, mode: u32) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    names::create(dirfd, path, &Node::plain(FileKind::Directory, mode))?;
    Ok(0)
}

/// mkdir(2).
pub fn mkdir(path: PathArg, mode: u32) -> SysResult {
    mkdirat(Fd::CWD, path, mode)
}

/// mknodat(2).
pub fn mknodat(dirfd: Fd, path: PathArg, mode: u32, device: u32) -> SysResult {
    let kind = match mode & 0o170_000 {
        0 => FileKind::Regular,
        bits => FileKind::from_mode(bits).ok_or(Errno::EINVAL)?,
    };
    match kind {
        FileKind::Directory => return Err(Errno::EPERM.into()),
        FileKind::Symlink | FileKind::Anonymous => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    if is_device && !has_capability(cap::MKNOD) {
        return Err(Errno::EPERM.into());
    }
    let device = if is_device { Device::decode(device) } else { Device::default() };
    names::create(dirfd, path, &Node { device, ..Node::plain(kind, mode) })?;
    Ok(0)
}

/// mknod(2).
pub fn mknod(path: PathArg, mode: u32, device: u32) -> SysResult {
    mknodat(Fd::CWD, path, mode, device)
}

/// symlinkat(2).
pub fn symlinkat(target: PathArg, dirfd: Fd, path: PathArg) -> SysResult {
    let mut target_buffer = UserPath::new();
    let target = target_buffer.read(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    let node = Node { target, ..Node::plain(FileKind::Symlink, 0o777) };
    names::create(dirfd, path, &node)?;
    Ok(0)
}

/// symlink(2).
pub fn symlink(target: PathArg, path: PathArg) -> SysResult {
    symlinkat(target, Fd::CWD, path)
}

/// linkat(2).
pub fn linkat(old_dir: Fd, old: PathArg, new_dir: Fd, new: PathArg, flags: u32) -> SysResult {
    let allowed = AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&f| allowed.contains(f)).ok_or(Errno::EINVAL)?;
    if flags.contains(AtFlags::EMPTY_PATH) && !has_capability(cap::DAC_READ_SEARCH) {
        return Err(Errno::ENOENT.into());
    }
    let mut how = flags & AtFlags::EMPTY_PATH;
    how.set(AtFlags::SYMLINK_NOFOLLOW, !flags.contains(AtFlags::SYMLINK_FOLLOW));
    let old = place_at(old_dir, old, how)?;
    let mut buffer = UserPath::new();
    let path = buffer.read(new)?;
    names::link(&old, new_dir, path)?;
    Ok(0)
}

/// link(2).
pub fn link(old: PathArg, new: PathArg) -> SysResult {
    linkat(Fd::CWD, old, Fd::CWD, new, 0)
}

/// unlinkat(2).
pub fn unlinkat(dirfd: Fd, path: PathArg, flags: u32) -> SysResult {
    let flags = AtFlags::from_bits_retain(flags);
    if !AtFlags::REMOVEDIR.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    if flags.contains(AtFlags::REMOVEDIR) {
        names::rmdir(dirfd, path)?;
    } else {
        names::unlink(dirfd, path)?;
    }
    Ok(0)
}

/// unlink(2).
pub fn unlink(path: PathArg) -> SysResult {
    unlinkat(Fd::CWD, path, 0)
}

/// rmdir(2).
pub fn rmdir(path: PathArg) -> SysResult {
    unlinkat(Fd::CWD, path, AtFlags::REMOVEDIR.bits())
}

/// renameat2(2).
pub fn renameat2(old_dir: Fd, old: PathArg, new_dir: Fd, new: PathArg, flags: u32) -> SysResult {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let mode = match flags {
        _ if flags.is_empty() => RenameMode::Replace,
        RenameFlags::NOREPLACE => RenameMode::NoReplace,
        RenameFlags::EXCHANGE => RenameMode::Exchange,
        // Whiteouts are for overlay file systems.
        _ => return Err(Errno::EINVAL.into()),
    };
    let (mut old_buffer, mut new_buffer) = (UserPath::new(), UserPath::new());
    let (old, new) = (old_buffer.read(old)?, new_buffer.read(new)?);
    names::rename((old_dir, old), (new_dir, new), mode)?;
    Ok(0)
}

/// renameat(2).
pub fn renameat(old_dir: Fd, old: PathArg, new_dir: Fd, new: PathArg) -> SysResult {
    renameat2(old_dir, old, new_dir, new, 0)
}

/// rename(2).
pub fn rename(old: PathArg, new: PathArg) -> SysResult {
    renameat2(Fd::CWD, old, Fd::CWD, new, 0)
}

fn enter(place: Path) -> SysResult {
    if !place.inode().is_directory() {
        return Err(Errno::ENOTDIR.into());
    }
    perm::check(place.inode(), Want::SEARCH)?;
    let old = core::mem::replace(&mut current().process.fs.lock().cwd, place);
    drop(old);
    Ok(0)
}

/// chdir(2).
pub fn chdir(path: PathArg) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    enter(resolve(Fd::CWD, path, Follow::Yes)?)
}

/// fchdir(2).
pub fn fchdir(fd: Fd) -> SysResult {
    enter(fs::files().get_any(fd)?.path.clone())
}

/// chroot(2).
pub fn chroot(path: PathArg) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read(path)?;
    let place = resolve(Fd::CWD, path, Follow::Yes)?;
    if !place.inode().is_directory() {
        return Err(Errno::ENOTDIR.into());
    }
    perm::check(place.inode(), Want::SEARCH)?;
    if !has_capability(cap::SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    let old = core::mem::replace(&mut current().process.fs.lock().root, place);
    drop(old);
    Ok(0)
}

/// getcwd(2), the system call: the length with the NUL.
pub fn getcwd(buf: UserPtr<u8>, size: usize) -> SysResult {
    let context = current().process.fs.lock().clone();
    if context.cwd.dentry.is_removed() {
        return Err(Errno::ENOENT.into());
    }
    let mut text = context.cwd.print(&context.root);
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if text.len() > size {
        return Err(Errno::ERANGE.into());
    }
    buf.write_bytes(&text)?;
    Ok(text.len())
}

/// umask(2).
pub fn umask(mask: u32) -> SysResult {
    let old = current().process.umask.swap(mask & 0o777, core::sync::atomic::Ordering::Relaxed);
    Ok(old as usize)
}
