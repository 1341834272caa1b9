//! Files with contents: how they are read, written and mapped.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use abi::{Errno, OpenFlags};
use caps::cap;

use super::{FileOps, MAX_OFFSET, Mode, OpenFile};
use crate::fs::inode::{Allocate, InodeOps};
use crate::fs::{hooks, perm};
use crate::mm::fault::{Access, FaultError};
use crate::mm::{Frame, MemoryObject, Sink, Source};
use crate::syscall::SysResult;
use crate::task::current;
use crate::task::process::{has_capability, rlimit};

/// For `write_inode`: at the end, whatever O_APPEND says.
pub(super) const AT_END: u64 = u64::MAX;
/// The same: at the place that is added to this.
pub(super) const RIGHT_THERE: u64 = MAX_OFFSET + 1;

/// An open file of an inode that has contents: regular files.
pub struct InodeFile;

/// EINVAL for what would end beyond the largest offset.
pub(super) fn check_span(at: u64, len: usize) -> Result<(), Errno> {
    if at.saturating_add(len as u64) > MAX_OFFSET { Err(Errno::EINVAL) } else { Ok(()) }
}

/// How much may be written at `at`: RLIMIT_FSIZE and the largest offset bound it. EFBIG (with SIGXFSZ) when nothing.
#[inline]
fn writable_len(at: u64, len: usize) -> Result<usize, Errno> {
    let limit = current().process.limit(rlimit::FSIZE);
    if at >= limit {
        hooks::send_file_size_signal();
        return Err(Errno::EFBIG);
    }
    if at >= MAX_OFFSET {
        return Err(Errno::EFBIG);
    }
    Ok(usize::try_from((limit.min(MAX_OFFSET)) - at).map_or(len, |room| room.min(len)))
}

/// Reads what the inode holds.
#[inline(always)]
pub(super) fn read_inode(file: &OpenFile, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
    check_span(*at, dst.remaining())?;
    let inode = file.inode();
    let done = match inode.file() {
        Some(contents) => contents.read_at(inode, *at, dst)?,
        None => inode.ops().read_at(inode, *at, dst)?,
    };
    *at += done as u64;
    if !file.flags().contains(OpenFlags::NOATIME) {
        inode.touch_accessed();
    }
    Ok(done)
}

/// Writes over what is there already of one page of a file in memory, straight from the program. `None`: the long way says what comes
/// of it.
#[inline(always)]
pub(super) fn write_page(file: &OpenFile, at: u64, address: usize, len: usize) -> Option<usize> {
    let inode = file.inode();
    let contents = inode.file()?;
    if file.flags().contains(OpenFlags::APPEND) || inode.mode() & 0o6000 != 0 {
        return None;
    }
    let end = at.checked_add(len as u64)?;
    if end > current().process.limit(rlimit::FSIZE) {
        return None;
    }
    let _guard = inode.lock.lock();
    if end > inode.size() {
        return None;
    }
    let done = contents.write_page(at, address, len)?;
    inode.touch_modified();
    Some(done)
}

/// Writes what the inode holds: at the end with O_APPEND, within RLIMIT_FSIZE.
#[inline(always)]
pub(super) fn write_inode(file: &OpenFile, at: &mut u64, src: &mut Source<'_>) -> SysResult {
    let len = src.remaining();
    if len == 0 {
        return Ok(0);
    }
    let place = *at & MAX_OFFSET;
    if *at != AT_END {
        check_span(place, len)?;
    }
    let inode = file.inode();
    let _guard = inode.lock.lock();
    let appends = *at == AT_END || *at < RIGHT_THERE && file.flags().contains(OpenFlags::APPEND);
    let start = if appends { inode.size() } else { place };
    let len = writable_len(start, len)?;
    src.limit(len);
    if inode.mode() & 0o6000 != 0 && !has_capability(cap::FSETID) {
        perm::drop_set_id_bits(inode);
    }
    inode.touch_modified();
    let done = match inode.file() {
        Some(contents) => contents.write_at(inode, start, src)?,
        None => inode.ops().write_at(inode, start, src)?,
    };
    *at = start + done as u64;
    Ok(done)
}

impl FileOps for InodeFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, at: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        read_inode(file, at, dst)
    }

    fn write(&self, file: &OpenFile, at: &mut u64, src: &mut Source<'_>) -> SysResult {
        write_inode(file, at, src)
    }

    fn mapping(&self, file: &Arc<OpenFile>) -> Result<Option<Arc<dyn MemoryObject>>, Errno> {
        if !file.inode().ops().is_mappable() {
            return Err(Errno::ENODEV);
        }
        file.inode().touch_accessed();
        Ok(Some(Arc::new(MappedFile::new(file.clone()))))
    }

    fn sync(&self, _: &OpenFile) -> SysResult {
        Ok(0)
    }
}

/// An open file that only names a place (O_PATH).
pub struct PlaceFile;

impl FileOps for PlaceFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A file behind a mapping.
pub struct MappedFile(Arc<OpenFile>);

impl MappedFile {
    pub fn new(file: Arc<OpenFile>) -> Self {
        file.inode().note_mapping();
        Self(file)
    }
}

impl MemoryObject for MappedFile {
    fn page(&self, index: u64, access: Access) -> Result<Frame, FaultError> {
        let inode = self.0.inode();
        inode.ops().page(inode, index, access)
    }

    fn cached_page(&self, index: u64) -> Option<Frame> {
        let inode = self.0.inode();
        inode.ops().cached_page(inode, index)
    }

    fn cached_pages(&self, first: u64, count: usize, found: &mut dyn FnMut(usize, Frame)) {
        let inode = self.0.inode();
        inode.ops().cached_pages(inode, first, count, found);
    }

    fn size(&self) -> u64 {
        self.0.inode().size()
    }

    fn resident_pages(&self) -> u64 {
        const BLOCKS_PER_PAGE: u64 = 8;
        self.0.inode().blocks() / BLOCKS_PER_PAGE
    }

    fn identity(&self) -> (u64, u64) {
        (self.0.inode().fs.device, self.0.inode().number)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = current().process.fs.lock().root.clone();
        for chunk in self.0.path.print(&root).utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\{byte:03o}")?;
            }
        }
        Ok(())
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), Errno> {
        if !self.0.mode.contains(Mode::WRITE) {
            return Err(Errno::EACCES);
        }
        let inode = self.0.inode();
        let _guard = inode.lock.lock();
        inode.ops().allocate(inode, Allocate::PunchHole, offset, len)
    }

    fn note_writable_mapping(&self, pages: i64) -> bool {
        self.0.inode().note_writable_mapping(pages)
    }

    fn identity_key(&self) -> usize {
        core::ptr::from_ref(self.0.inode()).addr()
    }
}
