//! Opening, closing, reading, writing and seeking.

use alloc::vec::Vec;

use abi::{Errno, IoVec, OpenFlags, OpenHow};
use fdmap::OnExec;
use namei::{Limits, Scope};

use super::args::Path as PathArg;
use super::{Fd, Rax, SysError, SysResult};
use crate::fs::file::{Mode, OpenFile, Whence};
use crate::fs::inode::FileKind;
use crate::fs::open::{self, How};
use crate::fs::path::UserPath;
use crate::fs::{self, memory};
use crate::mm::user::{UserRange, is_user_range, read_array};
use crate::mm::{Sink, Source, UserPtr};

/// Most elements of an I/O vector.
const IOV_MAX: usize = 1024;

/// O_CLOEXEC as the descriptor's mark.
pub fn on_exec(flags: OpenFlags) -> OnExec {
    if flags.contains(OpenFlags::CLOEXEC) { OnExec::Close } else { OnExec::Keep }
}

fn open_with(dirfd: Fd, path: PathArg, how: How) -> SysResult {
    let mut buffer = UserPath::new();
    let path = buffer.read_inline(path)?;
    let files = fs::files();
    // A full table comes before whatever the path would report, and before anything is made or emptied.
    if how.flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC | OpenFlags::TMPFILE_ONLY) {
        files.check_room()?;
    }
    match open::open(dirfd, path, &how) {
        Ok(file) => Ok(files.insert(file, on_exec(how.flags))?.0 as usize),
        Err(error) => {
            files.check_room()?;
            Err(error)
        }
    }
}

/// openat(2).
pub fn openat(dirfd: Fd, path: PathArg, flags: OpenFlags, mode: u32) -> SysResult {
    let mut flags = OpenFlags::from_bits_truncate(flags.bits()) | OpenFlags::LARGEFILE;
    if flags.contains(OpenFlags::PATH) {
        flags &= OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    }
    let how = How { flags, mode: mode & 0o7777, limits: Limits::default() };
    how.check()?;
    open_with(dirfd, path, how)
}

/// open(2).
pub fn open(path: PathArg, flags: OpenFlags, mode: u32) -> SysResult {
    openat(Fd::CWD, path, flags, mode)
}

/// creat(2).
pub fn creat(path: PathArg, mode: u32) -> SysResult {
    openat(Fd::CWD, path, OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC, mode)
}

/// `RESOLVE_*` (openat2(2)).
mod resolve {
    pub(super) const NO_XDEV: u64 = 1;
    pub(super) const NO_MAGICLINKS: u64 = 2;
    pub(super) const NO_SYMLINKS: u64 = 4;
    pub(super) const BENEATH: u64 = 8;
    pub(super) const IN_ROOT: u64 = 16;
    pub(super) const CACHED: u64 = 32;
    pub(super) const ALL: u64 = 63;
}

/// openat2(2).
pub fn openat2(dirfd: Fd, path: PathArg, how: UserPtr<OpenHow>, size: usize) -> SysResult {
    const PAGE: usize = crate::mm::PAGE_SIZE;
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL.into());
    }
    if size > PAGE {
        return Err(Errno::E2BIG.into());
    }
    let raw = how.read()?;
    // What a newer program says beyond our structure must be nothing.
    let mut rest = [0; 64];
    let mut at = size_of::<OpenHow>();
    while at < size {
        let len = (size - at).min(rest.len());
        let piece = rest.get_mut(..len).unwrap_or_default();
        how.field::<u8>(at).read_bytes(piece)?;
        if piece.iter().any(|&byte| byte != 0) {
            return Err(Errno::E2BIG.into());
        }
        at += len;
    }
    let bits = u32::try_from(raw.flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits(bits).ok_or(Errno::EINVAL)?;
    let makes = flags.contains(OpenFlags::CREAT) || flags.contains(OpenFlags::TMPFILE_ONLY);
    let scopes = resolve::BENEATH | resolve::IN_ROOT;
    let path_flags = OpenFlags::PATH
        | OpenFlags::DIRECTORY
        | OpenFlags::NOFOLLOW
        | OpenFlags::CLOEXEC
        | OpenFlags::LARGEFILE;
    if raw.resolve & !resolve::ALL != 0
        || raw.resolve & scopes == scopes
        || (if makes { raw.mode & !0o7777 != 0 } else { raw.mode != 0 })
        || (flags.contains(OpenFlags::PATH) && !path_flags.contains(flags))
    {
        return Err(Errno::EINVAL.into());
    }
    let has = |bit: u64| raw.resolve & bit != 0;
    if has(resolve::CACHED) && (makes || flags.contains(OpenFlags::TRUNC)) {
        return Err(Errno::EAGAIN.into());
    }
    let scope = match raw.resolve & scopes {
        resolve::BENEATH => Scope::Beneath,
        resolve::IN_ROOT => Scope::InRoot,
        _ => Scope::Everywhere,
    };
    let limits = Limits {
        scope,
        one_mount: has(resolve::NO_XDEV),
        no_magic_links: has(resolve::NO_MAGICLINKS),
        no_links: has(resolve::NO_SYMLINKS),
    };
    let how = How { flags, mode: raw.mode as u32, limits };
    how.check()?;
    open_with(dirfd, path, how)
}

/// close(2).
pub fn close(fd: Fd) -> SysResult {
    fs::files().close(fd)?;
    Ok(0)
}

/// close_range(2).
pub fn close_range(first: u32, last: u32, flags: u32) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    let (first, last) = (first as usize, last as usize);
    if flags & UNSHARE != 0 {
        crate::task::current().process.unshare_files()?;
    }
    let files = fs::files();
    if flags & CLOEXEC != 0 {
        files.mark_range(first, last);
    } else {
        files.close_range(first, last, fdmap::Take::All);
    }
    Ok(0)
}

/// A buffer must lie in the program's half as a whole. EFAULT.
#[inline]
pub(super) fn check_buffer(buf: UserPtr<u8>, len: usize) -> Result<(), Errno> {
    if is_user_range(buf.addr(), len) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// read(2).
pub fn read(fd: Fd, buf: UserPtr<u8>, len: usize) -> Rax {
    let Some(file) = fs::files().own(fd) else { return read_counted(fd, buf, len) };
    if let Some(buf) = UserRange::new(buf, len)
        && file.is_stream_for(Mode::READ)
    {
        return file.ops.read_program(file, buf).into();
    }
    read_uncounted(fd, buf, len)
}

/// As `read`, of a file that another thread may close meanwhile.
#[inline(never)]
fn read_counted(fd: Fd, buf: UserPtr<u8>, len: usize) -> Rax {
    fs::files().get(fd).map_err(SysError::from).and_then(|file| read_from(&file, buf, len)).into()
}

#[inline(never)]
fn read_uncounted(fd: Fd, buf: UserPtr<u8>, len: usize) -> Rax {
    fs::files().get_ref(fd).map_err(SysError::from).and_then(|file| read_from(&file, buf, len)).into()
}

#[inline(always)]
fn read_from(file: &OpenFile, buf: UserPtr<u8>, len: usize) -> SysResult {
    file.check_open_for(Mode::READ)?;
    let buf = UserRange::new(buf, len).ok_or(Errno::EFAULT)?;
    if file.is_stream_for(Mode::READ) {
        return file.ops.read_program(file, buf);
    }
    file.read(&mut buf.sink())
}

/// write(2).
pub fn write(fd: Fd, buf: UserPtr<u8>, len: usize) -> Rax {
    let Some(file) = fs::files().own(fd) else { return write_counted(fd, buf, len) };
    if let Some(buf) = UserRange::new(buf, len)
        && file.is_stream_for(Mode::WRITE)
    {
        return file.ops.write_program(file, buf).into();
    }
    write_uncounted(fd, buf, len)
}

/// As `write`, of a file that another thread may close meanwhile.
#[inline(never)]
fn write_counted(fd: Fd, buf: UserPtr<u8>, len: usize) -> Rax {
    fs::files().get(fd).map_err(SysError::from).and_then(|file| write_to(&file, buf, len)).into()
}

#[inline(never)]
fn write_uncounted(fd: Fd, buf: UserPtr<u8>, len: usize) -> Rax {
    fs::files().get_ref(fd).map_err(SysError::from).and_then(|file| write_to(&file, buf, len)).into()
}

#[inline(always)]
fn write_to(file: &OpenFile, buf: UserPtr<u8>, len: usize) -> SysResult {
    file.check_open_for(Mode::WRITE)?;
    let buf = UserRange::new(buf, len).ok_or(Errno::EFAULT)?;
    if file.is_stream_for(Mode::WRITE) {
        return file.ops.write_program(file, buf);
    }
    file.write(&mut buf.source())
}

/// A file offset as passed. EINVAL if negative.
#[inline]
fn offset(at: i64) -> Result<u64, Errno> {
    u64::try_from(at).map_err(|_| Errno::EINVAL)
}

/// pread64(2).
pub fn pread64(fd: Fd, buf: UserPtr<u8>, len: usize, at: i64) -> SysResult {
    if let Some(file) = fs::files().own(fd)
        && let Some(buf) = UserRange::new(buf, len)
        && let Some(done) = file.read_program_page(at, buf)
    {
        return Ok(done);
    }
    pread_any(fd, buf, len, at)
}

#[inline(never)]
fn pread_any(fd: Fd, buf: UserPtr<u8>, len: usize, at: i64) -> SysResult {
    let at = offset(at)?;
    let file = fs::files().get_ref(fd)?;
    file.check_placed_for(Mode::READ)?;
    check_buffer(buf, len)?;
    file.read_at(at, &mut Sink::user(buf, len))
}

/// pwrite64(2). As on Linux, O_APPEND wins over the offset.
pub fn pwrite64(fd: Fd, buf: UserPtr<u8>, len: usize, at: i64) -> SysResult {
    if let Some(file) = fs::files().own(fd)
        && let Some(buf) = UserRange::new(buf, len)
        && let Some(done) = file.write_program_page(at, buf)
    {
        return Ok(done);
    }
    pwrite_any(fd, buf, len, at)
}

#[inline(never)]
fn pwrite_any(fd: Fd, buf: UserPtr<u8>, len: usize, at: i64) -> SysResult {
    let at = offset(at)?;
    let file = fs::files().get_ref(fd)?;
    file.check_placed_for(Mode::WRITE)?;
    check_buffer(buf, len)?;
    file.write_at(at, &mut Source::user(buf, len))
}

/// An I/O vector, copied in; short ones without an allocation.
pub struct IoVecs {
    short: [IoVec; Self::SHORT],
    long: Vec<IoVec>,
    count: usize,
}

impl IoVecs {
    const SHORT: usize = 8;

    /// EINVAL for too many elements or a length beyond ssize_t; EFAULT; ENOMEM.
    pub fn read(from: UserPtr<IoVec>, count: usize) -> Result<Self, Errno> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut vectors = Self { short: [IoVec::default(); Self::SHORT], long: Vec::new(), count };
        if count <= Self::SHORT {
            for (index, slot) in vectors.short.iter_mut().take(count).enumerate() {
                *slot = from.add(index).read()?;
            }
        } else {
            vectors.long = read_array(from, count)?;
        }
        for vector in vectors.all() {
            let len = usize::try_from(vector.len).ok().filter(|&len| isize::try_from(len).is_ok());
            let len = len.ok_or(Errno::EINVAL)?;
            if len > 0 && !is_user_range(vector.base as usize, len) {
                return Err(Errno::EFAULT);
            }
        }
        Ok(vectors)
    }

    pub fn all(&self) -> &[IoVec] {
        if self.long.is_empty() { self.short.get(..self.count).unwrap_or_default() } else { &self.long }
    }
}

/// readv(2).
pub fn readv(fd: Fd, vectors: UserPtr<IoVec>, count: usize) -> SysResult {
    let file = fs::files().get_ref(fd)?;
    file.check_open_for(Mode::READ)?;
    let vectors = IoVecs::read(vectors, count)?;
    file.read(&mut Sink::iovecs(vectors.all()))
}

/// writev(2).
pub fn writev(fd: Fd, vectors: UserPtr<IoVec>, count: usize) -> SysResult {
    let file = fs::files().get_ref(fd)?;
    file.check_open_for(Mode::WRITE)?;
    let vectors = IoVecs::read(vectors, count)?;
    file.write(&mut Source::iovecs(vectors.all()))
}

/// preadv(2). The two halves of the offset come in two registers, of which the second is shifted out on 64-bit machines.
pub fn preadv(fd: Fd, vectors: UserPtr<IoVec>, count: usize, at: i64) -> SysResult {
    let at = offset(at)?;
    let file = fs::files().get_ref(fd)?;
    file.check_placed_for(Mode::READ)?;
    let vectors = IoVecs::read(vectors, count)?;
    file.read_at(at, &mut Sink::iovecs(vectors.all()))
}

/// pwritev(2).
pub fn pwritev(fd: Fd, vectors: UserPtr<IoVec>, count: usize, at: i64) -> SysResult {
    let at = offset(at)?;
    let file = fs::files().get_ref(fd)?;
    file.check_placed_for(Mode::WRITE)?;
    let vectors = IoVecs::read(vectors, count)?;
    file.write_at(at, &mut Source::iovecs(vectors.all()))
}

/// `RWF_*` (preadv2(2)).
mod rwf {
    pub(super) const APPEND: u32 = 0x10;
    pub(super) const NOAPPEND: u32 = 0x20;
    /// HIPRI, DSYNC, SYNC, NOWAIT, APPEND, NOAPPEND.
    pub(super) const KNOWN: u32 = 0x3f;
}

/// preadv2(2).
pub fn preadv2(fd: Fd, vectors: UserPtr<IoVec>, count: usize, at: i64, _: usize, flags: u32) -> SysResult {
    let file = fs::files().get(fd)?;
    if at == -1 {
        file.check_open_for(Mode::READ)?;
    } else {
        offset(at).and_then(|_| file.check_placed_for(Mode::READ))?;
    }
    let vectors = IoVecs::read(vectors, count)?;
    if flags & !rwf::KNOWN != 0 || flags & rwf::APPEND != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let mut sink = Sink::iovecs(vectors.all());
    if at == -1 { file.read(&mut sink) } else { file.read_at(offset(at)?, &mut sink) }
}

/// pwritev2(2).
pub fn pwritev2(fd: Fd, vectors: UserPtr<IoVec>, count: usize, at: i64, _: usize, flags: u32) -> SysResult {
    let file = fs::files().get(fd)?;
    if at == -1 {
        file.check_open_for(Mode::WRITE)?;
    } else {
        offset(at).and_then(|_| file.check_placed_for(Mode::WRITE))?;
    }
    let vectors = IoVecs::read(vectors, count)?;
    if flags & !rwf::KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let mut source = Source::iovecs(vectors.all());
    let appending = flags & (rwf::APPEND | rwf::NOAPPEND);
    if appending == rwf::APPEND | rwf::NOAPPEND {
        return Err(Errno::EINVAL.into());
    }
    if appending != 0 && file.mode.contains(Mode::MEMORY) {
        return file.write_as(appending == rwf::APPEND, offset(at).ok(), &mut source);
    }
    if at == -1 { file.write(&mut source) } else { file.write_at(offset(at)?, &mut source) }
}

/// lseek(2).
pub fn lseek(fd: Fd, offset: i64, whence: u32) -> SysResult {
    let file = fs::files().get_ref(fd)?;
    let whence = match whence {
        0 => Whence::Start,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL.into()),
    };
    seek(&file, offset, whence)
}

fn seek(file: &OpenFile, offset: i64, whence: Whence) -> SysResult {
    if !file.mode.contains(Mode::LSEEK) {
        return Err(Errno::ESPIPE.into());
    }
    Ok(file.ops.seek(file, offset, whence)? as usize)
}

/// fsync(2), fdatasync(2).
pub fn fsync(fd: Fd) -> SysResult {
    let file = fs::files().get(fd)?;
    file.ops.sync(&file)
}

/// sync(2).
pub fn sync() -> SysResult {
    Ok(0)
}

/// syncfs(2).
pub fn syncfs(fd: Fd) -> SysResult {
    fs::files().get(fd)?;
    Ok(0)
}

/// sync_file_range(2).
pub fn sync_file_range(fd: Fd, at: i64, len: i64, flags: u32) -> SysResult {
    let file = fs::files().get(fd)?;
    if flags & !7 != 0 || at < 0 || len < 0 || at.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.inode().kind {
        FileKind::Regular | FileKind::BlockDevice | FileKind::Directory | FileKind::Symlink => Ok(0),
        _ => Err(Errno::ESPIPE.into()),
    }
}

/// readahead(2).
pub fn readahead(fd: Fd, _: i64, _: usize) -> SysResult {
    let file = fs::files().get(fd)?;
    if !file.mode.contains(Mode::READ) {
        return Err(Errno::EBADF.into());
    }
    if file.inode().ops().is_mappable() { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// posix_fadvise(2): everything is in memory, so no advice changes anything.
pub fn fadvise64(fd: Fd, _: i64, len: i64, advice: u32) -> SysResult {
    let file = fs::files().get(fd)?;
    if file.inode().kind == FileKind::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    if len < 0 || advice > 5 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// memfd_create(2).
pub fn memfd_create(name: UserPtr<u8>, flags: u32) -> SysResult {
    use memory::memfd_flag as flag;
    /// NAME_MAX less the prefix `memfd:`.
    const MAX_NAME: usize = 249;
    let exec = flag::NOEXEC_SEAL | flag::EXEC;
    if flags & !flag::ALL != 0 || flags & exec == exec {
        return Err(Errno::EINVAL.into());
    }
    let name = match crate::mm::read_cstr(name, MAX_NAME + 1) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL.into()),
        other => other?,
    };
    if flags & flag::HUGETLB != 0 {
        // No huge pages are set aside.
        return Err(Errno::ENOMEM.into());
    }
    let file = memory::memfd(&name, flags)?;
    let mark = if flags & flag::CLOEXEC != 0 { OnExec::Close } else { OnExec::Keep };
    Ok(fs::files().insert(file, mark)?.0 as usize)
}
