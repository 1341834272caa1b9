//! Directories and names: listing, making, removing, renaming, linking; working directory and root.

use alloc::vec::Vec;

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

/// Records on their way to a program's buffer.
struct Records {
    /// Records are padded to whole words.
    words: Vec<u64>,
    /// Words that fit.
    room: usize,
    format: Format,
    /// Not even the first one had room.
    is_too_small: bool,
}

/// Most bytes that one call writes, as much as a libc ever asks for.
const ROOM_MAX: usize = 32 << 10;
const WORD: usize = size_of::<u64>();

impl Records {
    fn new(room: usize, format: Format) -> Result<Self, Errno> {
        let room = room.min(ROOM_MAX) / WORD;
        let mut words = Vec::new();
        words.try_reserve_exact(room).map_err(|_| Errno::ENOMEM)?;
        Ok(Self { words, room, format, is_too_small: false })
    }

    /// How many of the first `len` bytes are whole records, and the position behind the last of these.
    fn whole(&self, len: usize) -> (usize, Option<u64>) {
        let (mut end, mut next) = (0, None);
        while let Some([_, offset, rest, ..]) = self.words.get(end / WORD..) {
            let record_len = usize::from(*rest as u16);
            if record_len == 0 || end + record_len > len {
                break;
            }
            end += record_len;
            next = Some(*offset);
        }
        (end, next)
    }
}

/// Up to eight bytes as a word, the first one lowest.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    if let Some(whole) = bytes.first_chunk() {
        return u64::from_le_bytes(*whole);
    }
    match (bytes.first_chunk(), bytes.last_chunk()) {
        // The two halves overlap and agree there.
        (Some(low), Some(high)) => {
            let shift = 8 * (bytes.len() - 4);
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << shift
        }
        _ => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

impl Records {
    /// A record: three words with the beginning of the name, as `header` bytes of the third leave room, then the rest of it.
    #[inline(always)]
    fn put(&mut self, name: &[u8], [inode, next, third]: [u64; 3], header: usize, after: usize) -> bool {
        let words = (header + name.len() + after).div_ceil(WORD);
        let start = self.words.len();
        if start + words > self.room {
            self.is_too_small = start == 0;
            return false;
        }
        let (first, rest) = name.split_at_checked(3 * WORD - header).unwrap_or((name, &[]));
        self.words.push(inode);
        self.words.push(next);
        self.words.push(third | (words * WORD) as u64 | word(first) << (8 * (header - 2 * WORD)));
        for piece in rest.chunks(WORD) {
            self.words.push(word(piece));
        }
        // The NUL may begin a word of its own.
        if self.words.len() < start + words {
            self.words.push(0);
        }
        true
    }

    /// `struct linux_dirent`: the name follows `d_reclen`, and the type is the record's last byte.
    #[cold]
    #[inline(never)]
    fn put_old(&mut self, name: &[u8], inode: u64, kind: FileKind, next: u64) -> bool {
        let has_room = self.put(name, [inode, next, 0], Dirent64Header::NAME_OFFSET - 1, 2);
        if has_room && let Some(last) = self.words.last_mut() {
            *last |= u64::from(kind as u8) << 56;
        }
        has_room
    }
}

impl EntrySink for Records {
    fn entry(&mut self, name: &[u8], inode: u64, kind: FileKind, next: u64) -> bool {
        match self.format {
            Format::New => {
                self.put(name, [inode, next, u64::from(kind as u8) << 16], Dirent64Header::NAME_OFFSET, 1)
            }
            Format::Old => self.put_old(name, inode, kind, next),
        }
    }
}

fn list(fd: Fd, buf: UserPtr<u8>, room: u32, format: Format) -> SysResult {
    let file = fs::files().get(fd)?;
    if room.cast_signed() < 0 && file.inode().kind == FileKind::Directory {
        return Err(Errno::EINVAL.into());
    }
    let mut records = Records::new(room as usize, format)?;
    let written = file.with_position(|at| {
        let start = *at;
        file.ops.read_directory(&file, at, &mut records)?;
        let bytes = records.words.as_bytes();
        let copied = buf.write_some(bytes);
        if copied == bytes.len() {
            return Ok(copied);
        }
        // What was written whole counts, and the next call goes on behind it.
        let (whole, next) = records.whole(copied);
        *at = next.unwrap_or(start);
        if whole > 0 { Ok(whole) } else { Err(Errno::EFAULT) }
    })?;
    notify::note(&file.path.dentry, notify::event::ACCESS);
    if records.is_too_small { Err(Errno::EINVAL.into()) } else { Ok(written) }
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
    let path = buffer.read_inline(path)?;
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
