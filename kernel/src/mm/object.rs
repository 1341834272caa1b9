//! What can stand behind a mapping besides anonymous memory.

use core::fmt;

use super::fault::{Access, FaultError};
use super::frame::Frame;

/// Something that has pages: a file's page cache, a shared anonymous region, the vDSO.
///
/// `page` may be called under an address space's lock and must not sleep.
pub trait MemoryObject: Send + Sync {
    /// The frame that holds page `index` (in pages from the object's start). `access` is `Write` when the frame itself will be written, that
    /// is through a shared mapping.
    ///
    /// Errors: `BeyondFile` past the last page, `OutOfMemory`.
    fn page(&self, index: u64, access: Access) -> Result<Frame, FaultError>;

    /// The frame if it is there already and may be mapped read-only, for mapping neighbours along with a faulting page.
    fn cached_page(&self, _index: u64) -> Option<Frame> {
        None
    }

    /// As `cached_page`, for `count` pages from `first` on: `found` gets those that are there, with their number counted from `first`. It
    /// is called with locks held.
    fn cached_pages(&self, first: u64, count: usize, found: &mut dyn FnMut(usize, Frame)) {
        for nth in 0..count {
            if let Some(frame) = self.cached_page(first.saturating_add(nth as u64)) {
                found(nth, frame);
            }
        }
    }

    /// Length in bytes.
    fn size(&self) -> u64;

    /// How many of its pages are there.
    fn resident_pages(&self) -> u64 {
        0
    }

    /// Device and inode number for `/proc/self/maps`.
    fn identity(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Name in `/proc/self/maps`: a path, or `[vdso]` and the like.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Gives the pages of a byte range back (MADV_REMOVE). EOPNOTSUPP where the object can't.
    fn punch_hole(&self, _offset: u64, _len: u64) -> Result<(), abi::Errno> {
        Err(abi::Errno::EOPNOTSUPP)
    }

    /// Pages of it come to be mapped shared and writable (`+`), or no longer are (`-`): sealing depends on it. False when a seal forbids
    /// the mapping, which has not been counted then.
    fn note_writable_mapping(&self, _pages: i64) -> bool {
        true
    }

    /// The object for a child's copy of a mapping (fork), if it isn't the same one.
    fn for_child(&self) -> Option<alloc::sync::Arc<dyn MemoryObject>> {
        None
    }

    /// Length in bytes of an attached System V segment.
    fn attached_bytes(&self) -> Option<usize> {
        None
    }

    /// What futexes in shared mappings go by: the same for all objects that show the same pages.
    fn identity_key(&self) -> usize {
        core::ptr::from_ref(self).cast::<()>().addr()
    }
}

/// Reads bytes through an object's pages; short at its end.
pub fn read_at(object: &dyn MemoryObject, offset: u64, dst: &mut [u8]) -> Result<usize, FaultError> {
    let size = object.size();
    let mut done = 0;
    while done < dst.len() {
        let at = offset.saturating_add(done as u64);
        if at >= size {
            break;
        }
        let within = (at % super::PAGE_SIZE as u64) as usize;
        let len = (super::PAGE_SIZE - within)
            .min(dst.len() - done)
            .min(usize::try_from(size - at).unwrap_or(usize::MAX));
        let frame = object.page(at / super::PAGE_SIZE as u64, Access::Read)?;
        if let Some(piece) = dst.get_mut(done..done + len) {
            frame.read(within, piece);
        }
        done += len;
    }
    Ok(done)
}
