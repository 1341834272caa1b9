//! tmpfs(5): files in memory. The dentry tree holds the names, a page cache each file's contents.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::{Errno, OpenFlags};

use super::dentry::Dentry;
use super::file::OpenFile;
use super::inode::{Allocate, Contents, Device, FileKind, Find, Inode, InodeOps, LinkTarget, NewFile};
use super::mount::{FileSystem, FileSystemType};
use super::page_cache::{PageCache, fault_error};
use super::path::Path;
use super::{device, pipe};
use crate::mm::fault::{Access, FaultError};
use crate::mm::heap::try_share;
use crate::mm::{Frame, PAGE_SIZE, Sink, Source, frame};
use crate::syscall::SysError;

/// What a directory's size counts for each entry, `.` and `..` included (BOGO_DIRENT_SIZE).
pub const ENTRY_SIZE: u64 = 20;

/// A new tmpfs that may use half of memory.
pub fn new(kind: &'static FileSystemType) -> Arc<FileSystem> {
    let fs = FileSystem::new(kind);
    limit(&fs);
    fs
}

/// From here on it may use half of memory, beside what is in it already.
pub fn limit(fs: &FileSystem) {
    let half = (frame::usage().total / 2) as u64;
    let space = &fs.space;
    space.max_pages.store(half + space.pages.load(Ordering::Relaxed), Ordering::Relaxed);
    space.max_inodes.store(half + space.inodes.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// A root directory for it.
pub fn new_root(fs: &Arc<FileSystem>, mode: u32) -> Result<Arc<Dentry>, Errno> {
    let new =
        NewFile { kind: FileKind::Directory, mode, uid: 0, gid: 0, device: Device::default(), target: &[] };
    Ok(Dentry::root(make(fs, &new)?))
}

/// A new inode of any kind. ENOSPC.
pub fn make(fs: &Arc<FileSystem>, new: &NewFile<'_>) -> Result<Arc<Inode>, Errno> {
    fs.space.take_inode()?;
    let number = fs.next_inode();
    Ok(match new.kind {
        FileKind::Regular => {
            Arc::new(Inode::build(fs, number, new, Contents::File(const { TmpFile::new() })))
        }
        FileKind::Directory => {
            let inode = Inode::new(fs, number, new, Contents::Directory(TmpDirectory));
            inode.set_links(2);
            inode.set_size(2 * ENTRY_SIZE);
            Arc::new(inode)
        }
        FileKind::Symlink => {
            let target = try_share(new.target).inspect_err(|_| fs.space.give_inode())?;
            let inode = Inode::new(fs, number, new, Contents::other(TmpLink(target)));
            inode.set_size(new.target.len() as u64);
            Arc::new(inode)
        }
        _ => Arc::new(Inode::new(fs, number, new, Contents::other(Special::default()))),
    })
}

/// A directory.
pub struct TmpDirectory;

impl InodeOps for TmpDirectory {
    fn is_memory_directory(&self) -> bool {
        true
    }

    fn create(&self, dir: &Inode, new: &NewFile<'_>) -> Result<Arc<Inode>, Errno> {
        make(&dir.fs, new)
    }

    fn has_attributes(&self) -> bool {
        true
    }

    fn release(&self, fs: &FileSystem) {
        fs.space.give_inode();
    }
}

/// A symbolic link.
struct TmpLink(Arc<[u8]>);

impl InodeOps for TmpLink {
    fn read_link(&self, _: &Inode) -> Result<LinkTarget, Errno> {
        Ok(LinkTarget::Path(self.0.clone()))
    }

    fn has_attributes(&self) -> bool {
        true
    }

    fn release(&self, fs: &FileSystem) {
        fs.space.give_inode();
    }
}

/// A device, FIFO or socket: only the node is here.
#[derive(Default)]
pub struct Special {
    fifo: pipe::Fifo,
}

impl Special {
    /// For the inode of a pipe, which can be opened again through /proc.
    pub fn with_fifo(fifo: pipe::Fifo) -> Self {
        Self { fifo }
    }
}

impl InodeOps for Special {
    fn open(&self, path: &Path, flags: OpenFlags) -> Result<Option<Arc<OpenFile>>, SysError> {
        match path.inode().kind {
            FileKind::Fifo => self.fifo.open(path, flags).map(Some),
            FileKind::CharDevice => device::open(path, flags).map(Some),
            _ => Err(Errno::ENXIO.into()),
        }
    }

    fn has_attributes(&self) -> bool {
        true
    }

    fn release(&self, fs: &FileSystem) {
        fs.space.give_inode();
    }
}

/// A regular file.
pub struct TmpFile {
    pub cache: PageCache,
    /// Of a memfd; F_SEAL_SEAL for files that can't be sealed.
    seals: AtomicU32,
    is_memfd: bool,
    /// End of what fallocate reserved beyond the size with KEEP_SIZE.
    reserved: AtomicU64,
}

/// `F_SEAL_*` (fcntl(2)).
pub mod seal {
    pub const SEAL: u32 = 1;
    pub const SHRINK: u32 = 2;
    pub const GROW: u32 = 4;
    pub const WRITE: u32 = 8;
    pub const FUTURE_WRITE: u32 = 16;
    pub const EXEC: u32 = 32;
    pub const ALL: u32 = 63;
}

impl TmpFile {
    /// A file without contents.
    pub const fn new() -> Self {
        Self {
            cache: PageCache::new(),
            seals: AtomicU32::new(0),
            is_memfd: false,
            reserved: AtomicU64::new(0),
        }
    }

    /// A file that can be sealed.
    pub fn memfd(seals: u32) -> Self {
        Self { seals: AtomicU32::new(seals), is_memfd: true, ..Self::new() }
    }

    /// Copies what lies in one page to the program. `None` if that is nothing, goes over a border or a hole, or faults.
    #[inline(always)]
    pub fn read_page(&self, inode: &Inode, at: u64, address: usize, len: usize) -> Option<usize> {
        let rest = inode.size().checked_sub(at)?;
        let len = (len as u64).min(rest) as usize;
        let within = at as usize % PAGE_SIZE;
        if len > PAGE_SIZE - within || len == 0 {
            return None;
        }
        let frame = self.cache.get(at / PAGE_SIZE as u64)?;
        let left = frame.copy_to_user(within, len, address);
        frame.release();
        (left == 0).then_some(len)
    }

    /// Copies from the program into one page that is there, within the size. `None` as for `read_page`, or if the file is sealed.
    #[inline(always)]
    pub fn write_page(&self, at: u64, address: usize, len: usize) -> Option<usize> {
        let within = at as usize % PAGE_SIZE;
        if len > PAGE_SIZE - within || len == 0 || self.seals.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let frame = self.cache.get(at / PAGE_SIZE as u64)?;
        let left = frame.copy_from_user(within, len, address);
        frame.release();
        (left == 0).then_some(len)
    }

    fn sealed(&self, seals: u32) -> bool {
        self.seals.load(Ordering::Acquire) & seals != 0
    }
}

impl InodeOps for TmpFile {
    #[inline(always)]
    fn read_at(&self, inode: &Inode, at: u64, dst: &mut Sink<'_>) -> Result<usize, Errno> {
        let Some(rest) = inode.size().checked_sub(at) else { return Ok(0) };
        let len = usize::try_from(rest).map_or(dst.remaining(), |rest| rest.min(dst.remaining()));
        self.cache.read(at, len, dst)
    }

    #[inline(always)]
    fn write_at(&self, inode: &Inode, at: u64, src: &mut Source<'_>) -> Result<usize, Errno> {
        let mut len = src.remaining();
        let size = inode.size();
        if self.seals.load(Ordering::Relaxed) != 0 {
            if self.sealed(seal::WRITE | seal::FUTURE_WRITE) {
                return Err(Errno::EPERM);
            }
            if self.sealed(seal::GROW) && at.saturating_add(len as u64) > size {
                // As much as fits, if anything.
                len = usize::try_from(size.saturating_sub(at)).unwrap_or(len);
                if len == 0 {
                    return Err(Errno::EPERM);
                }
            }
        }
        let done = self.cache.write(inode, at, len, src)?;
        let end = at + done as u64;
        if end > size {
            inode.set_size(end);
        }
        Ok(done)
    }

    fn truncate(&self, inode: &Inode, size: u64) -> Result<(), Errno> {
        let old = inode.size();
        if (size < old && self.sealed(seal::SHRINK)) || (size > old && self.sealed(seal::GROW)) {
            return Err(Errno::EPERM);
        }
        inode.set_size(size);
        if size < old || self.reserved.load(Ordering::Relaxed) > size {
            self.cache.truncate(inode, size);
            self.reserved.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn allocate(&self, inode: &Inode, how: Allocate, at: u64, len: u64) -> Result<(), Errno> {
        let page = PAGE_SIZE as u64;
        let end = at.saturating_add(len);
        match how {
            Allocate::PunchHole => {
                if self.sealed(seal::WRITE | seal::FUTURE_WRITE) {
                    return Err(Errno::EPERM);
                }
                self.cache.punch(inode, at, len)?;
                super::hooks::unmap_range(inode, at, end);
                return Ok(());
            }
            Allocate::Reserve => {}
        }
        if end > inode.size() && self.sealed(seal::GROW) {
            return Err(Errno::EPERM);
        }
        let pages = at / page..end.div_ceil(page);
        // Either there is room for all of it, or nothing is done.
        let absent = self.cache.count_absent(pages.clone());
        if absent > inode.fs.space.free_pages() {
            return Err(Errno::ENOSPC);
        }
        for index in pages {
            self.cache.get_or_make(inode, index, false)?;
        }
        self.reserved.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    fn find(&self, inode: &Inode, what: Find, at: u64) -> Result<u64, Errno> {
        let size = inode.size();
        let found = self.cache.find(at, size, what == Find::Data);
        match what {
            Find::Data => found.filter(|&found| found < size).ok_or(Errno::ENXIO),
            Find::Hole => Ok(found.map_or(size, |found| found.min(size))),
        }
    }

    fn page(&self, inode: &Inode, index: u64, access: Access) -> Result<Frame, FaultError> {
        if index.checked_mul(PAGE_SIZE as u64).is_none_or(|start| start >= inode.size()) {
            return Err(FaultError::BeyondFile);
        }
        if access == Access::Write {
            inode.touch_modified();
        }
        self.cache.get_or_make(inode, index, true).map_err(fault_error)
    }

    fn cached_page(&self, inode: &Inode, index: u64) -> Option<Frame> {
        if index.checked_mul(PAGE_SIZE as u64)? >= inode.size() {
            return None;
        }
        self.cache.get(index)
    }

    fn cached_pages(&self, inode: &Inode, first: u64, count: usize, found: &mut dyn FnMut(usize, Frame)) {
        let pages = inode.size().div_ceil(PAGE_SIZE as u64).saturating_sub(first);
        self.cache.cached(first, usize::try_from(pages).unwrap_or(usize::MAX).min(count), found);
    }

    fn is_mappable(&self) -> bool {
        true
    }

    fn has_attributes(&self) -> bool {
        true
    }

    fn seals(&self) -> Option<&AtomicU32> {
        self.is_memfd.then_some(&self.seals)
    }

    fn release(&self, fs: &FileSystem) {
        fs.space.give_inode();
        fs.space.give_pages(self.cache.charged());
    }
}
