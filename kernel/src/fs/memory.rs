//! Files that are memory: what mmap sees, shared anonymous memory, and memfd_create(2).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::{Errno, OpenFlags};
use spin::Once;

use super::anon;
use super::dentry::Dentry;
use super::file::{InodeFile, MappedFile, Mode, OpenFile};
use super::inode::{Contents, FileKind, Inode, InodeOps};
use super::mount::{FileSystem, Mount, TMPFS, flag};
use super::path::Path;
use super::tmpfs::{TmpFile, seal};
use crate::mm::MemoryObject;
use crate::syscall::Fd;

/// What mmap needs to know of a descriptor.
pub struct Target {
    pub writable: bool,
    /// Not writable for its seals (EPERM), whatever it was opened for.
    pub sealed: bool,
    /// Its mount doesn't forbid it (MS_NOEXEC).
    pub executable: bool,
    /// `None` for anonymous memory by another name (/dev/zero).
    pub object: Option<Arc<dyn MemoryObject>>,
}

/// The file behind a descriptor, for mmap. EBADF; EACCES for what can't be read; ENODEV for what can't be mapped.
pub fn mmap_target(fd: Fd) -> Result<Target, Errno> {
    let file = super::files().get(fd)?;
    if !file.mode.contains(Mode::READ) {
        return Err(Errno::EACCES);
    }
    let object = file.ops.mapping(&file)?;
    let seals = file.inode().ops().seals().map_or(0, |seals| seals.load(Ordering::Acquire));
    let sealed = seals & (seal::WRITE | seal::FUTURE_WRITE) != 0;
    let executable = file.path.mount.flags() & flag::NOEXEC == 0;
    Ok(Target { writable: file.mode.contains(Mode::WRITE) && !sealed, sealed, executable, object })
}

/// The mount of memory that has no place in the tree.
fn mount() -> &'static Arc<Mount> {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    MOUNT.call_once(|| {
        let fs = FileSystem::new(&TMPFS);
        let root = Inode::new(
            &fs,
            fs.next_inode(),
            &anon::attributes(FileKind::Directory, 0o700),
            Contents::other(NoEntries),
        );
        Mount::internal(&fs, Arc::new(root))
    })
}

struct NoEntries;

impl InodeOps for NoEntries {}

fn new_file(name: &[u8], mode: u32, flags: OpenFlags, contents: TmpFile) -> Result<Arc<OpenFile>, Errno> {
    let mount = mount();
    mount.fs.space.take_inode()?;
    let inode = Inode::new(
        &mount.fs,
        mount.fs.next_inode(),
        &anon::attributes(FileKind::Regular, mode),
        Contents::File(contents),
    );
    inode.set_links(0);
    let dentry = Dentry::detached(name, Arc::new(inode));
    let path = Path { mount: mount.clone(), dentry };
    let mode = Mode::READ | Mode::WRITE | Mode::SEEK | Mode::OFFSET | Mode::MEMORY | Mode::MAKER;
    Ok(Arc::new(OpenFile::new(path, flags | OpenFlags::RDWR, mode, InodeFile)))
}

/// Memory that mappings and children share: `len` bytes of zeros.
pub fn anonymous_object(len: u64) -> Result<Arc<dyn MemoryObject>, Errno> {
    let file = new_file(b"/dev/zero (deleted)", 0o777, OpenFlags::empty(), TmpFile::new())?;
    file.inode().set_size(len);
    Ok(Arc::new(MappedFile::new(file)))
}

/// Flags of memfd_create(2).
pub mod memfd_flag {
    pub const CLOEXEC: u32 = 1;
    pub const ALLOW_SEALING: u32 = 2;
    pub const HUGETLB: u32 = 4;
    pub const NOEXEC_SEAL: u32 = 8;
    pub const EXEC: u32 = 16;
    /// Everything but the size of huge pages.
    pub const ALL: u32 = 31;
}

/// memfd_create(2), after its checks.
pub fn memfd(name: &[u8], flags: u32) -> Result<Arc<OpenFile>, Errno> {
    let mut shown = Vec::from(&b"/memfd:"[..]);
    shown.extend_from_slice(name);
    shown.extend_from_slice(b" (deleted)");
    let (mode, seals) = if flags & memfd_flag::NOEXEC_SEAL != 0 {
        (0o666, seal::EXEC)
    } else if flags & memfd_flag::ALLOW_SEALING != 0 {
        (0o777, 0)
    } else {
        (0o777, seal::SEAL)
    };
    new_file(&shown, mode, OpenFlags::LARGEFILE, TmpFile::memfd(seals))
}
