//! A file's pages in memory, for file systems that have nothing else.
//!
//! A file of the initrd begins as an extent of boot memory, whose pages are used in place; any change that the extent can't express turns
//! it into ordinary pages first.

use core::ops::Range;

use abi::Errno;
use pagemap::PageMap;

use super::inode::Inode;
use crate::mm::fault::FaultError;
use crate::mm::frame::{FrameBatch, FrameRun};
use crate::mm::{Frame, PAGE_SIZE, Sink, Source};
use crate::sync::SpinLock;

const PAGE: u64 = PAGE_SIZE as u64;
/// `st_blocks` counts in units of 512 bytes.
const BLOCKS_PER_PAGE: u64 = PAGE / 512;

/// A file's bytes where the boot loader put them, from a page boundary on.
#[derive(Clone, Copy, Debug)]
struct Extent {
    physical: u64,
    bytes: u64,
    /// What follows the last byte in its page has been cleared.
    is_tail_clear: bool,
}

impl Extent {
    const NONE: Self = Self { physical: 0, bytes: 0, is_tail_clear: false };
}

struct Pages {
    map: PageMap<Frame>,
    boot: Extent,
}

impl Pages {
    /// How many there are. The map has none of the extent's.
    fn count(&self) -> u64 {
        self.map.len() + self.boot.bytes.div_ceil(PAGE)
    }

    #[inline(always)]
    fn get(&mut self, index: u64) -> Option<Frame> {
        match self.map.get(index) {
            Some(frame) => Some(frame.clone()),
            None if self.boot.bytes != 0 => self.boot_page(index),
            None => None,
        }
    }

    fn boot_page(&mut self, index: u64) -> Option<Frame> {
        let start = index.checked_mul(PAGE)?;
        let rest = self.boot.bytes.checked_sub(start).filter(|&rest| rest != 0)?;
        let frame = Frame::from_boot_memory(self.boot.physical + start);
        if rest < PAGE && !self.boot.is_tail_clear {
            // What stands there is the header of the archive's next entry, long since read.
            frame.zero_range(rest as usize..PAGE_SIZE);
            self.boot.is_tail_clear = true;
        }
        Some(frame)
    }

    /// Makes ordinary pages of the extent, so that single ones can be taken away. ENOMEM.
    fn settle(&mut self, inode: &Inode) -> Result<(), Errno> {
        while let Some(last) = self.boot.bytes.div_ceil(PAGE).checked_sub(1) {
            if let Some(frame) = self.boot_page(last) {
                self.map.insert(last, frame).map_err(|_| Errno::ENOMEM)?;
                inode.fs.space.charge_pages(1);
            }
            self.boot.bytes = last * PAGE;
        }
        Ok(())
    }
}

/// Pages by number, with holes.
pub struct PageCache {
    pages: SpinLock<Pages>,
}

impl PageCache {
    pub const fn new() -> Self {
        Self { pages: SpinLock::new(Pages { map: PageMap::new(), boot: Extent::NONE }) }
    }

    /// The bytes at a page-aligned physical address of boot memory, used in place.
    pub fn set_boot_extent(&self, inode: &Inode, physical: u64, bytes: u64) {
        self.pages.lock().boot = Extent { physical, bytes, is_tail_clear: false };
        inode.set_blocks(bytes.div_ceil(PAGE) * BLOCKS_PER_PAGE);
    }

    /// Pages of memory that the file takes, apart from the boot extent.
    pub fn charged(&self) -> u64 {
        self.pages.lock().map.len()
    }

    /// The page if it is there.
    #[inline(always)]
    pub fn get(&self, index: u64) -> Option<Frame> {
        self.pages.lock().get(index)
    }

    /// Hands out those of `count` pages from `first` on that are there, until one isn't or without an end. `found`, which gets the page's
    /// number counted from `first`, is called under the cache's lock.
    #[inline(always)]
    fn each(&self, first: u64, count: usize, stops_at_hole: bool, mut found: impl FnMut(usize, Frame)) {
        let mut pages = self.pages.lock();
        let mut nth = 0;
        while nth < count {
            let run = pages.map.run(first.saturating_add(nth as u64));
            if run.is_empty() || pages.boot.bytes != 0 {
                match pages.get(first.saturating_add(nth as u64)) {
                    Some(frame) => found(nth, frame),
                    None if stops_at_hole => return,
                    None => {}
                }
                nth += 1;
                continue;
            }
            for slot in run.iter().take(count - nth) {
                match slot {
                    Some(frame) => found(nth, frame.clone()),
                    None if stops_at_hole => return,
                    None => {}
                }
                nth += 1;
            }
        }
    }

    /// As `MemoryObject::cached_pages`.
    pub fn cached(&self, first: u64, count: usize, found: &mut dyn FnMut(usize, Frame)) {
        self.each(first, count, false, found);
    }

    /// The pages of a piece of the file, until one isn't there or the batch is full.
    #[inline]
    fn batch(&self, at: u64, len: usize) -> FrameBatch {
        let end = at.saturating_add(len as u64).div_ceil(PAGE);
        let count = usize::try_from(end - at / PAGE).unwrap_or(usize::MAX).min(FrameBatch::SIZE);
        let mut batch = FrameBatch::new();
        self.each(at / PAGE, count, true, |_, frame| batch.push(frame));
        batch
    }

    /// The page, made (as zeros) if it is a hole. ENOSPC, ENOMEM.
    pub fn get_or_make(&self, inode: &Inode, index: u64, is_fault: bool) -> Result<Frame, Errno> {
        if let Some(frame) = self.get(index) {
            return Ok(frame);
        }
        inode.fs.space.take_pages(1)?;
        let frame = match Frame::zeroed() {
            Ok(frame) => frame,
            Err(error) => {
                inode.fs.space.give_pages(1);
                return Err(error.into());
            }
        };
        Ok(self.add(inode, index, &frame, is_fault)?.unwrap_or(frame))
    }

    /// Adds a page that has been paid for. If another was faster, that one counts, and comes back.
    fn add(&self, inode: &Inode, index: u64, frame: &Frame, is_fault: bool) -> Result<Option<Frame>, Errno> {
        let mut pages = self.pages.lock();
        let there = pages.get(index);
        let result = if there.is_some() {
            Ok(there)
        } else if is_fault && index >= inode.size().div_ceil(PAGE) {
            // Cut off since the fault looked at the size: SIGBUS, as where there is no space.
            Err(Errno::ENOSPC)
        } else if pages.map.insert(index, frame.clone()).is_err() {
            Err(Errno::ENOMEM)
        } else {
            inode.set_blocks(pages.count() * BLOCKS_PER_PAGE);
            return Ok(None);
        };
        drop(pages);
        inode.fs.space.give_pages(1);
        result
    }

    /// Reads up to `len` bytes, holes as zeros. EFAULT only when nothing could be read.
    #[inline(always)]
    pub fn read(&self, at: u64, len: usize, dst: &mut Sink<'_>) -> Result<usize, Errno> {
        let direct = match dst.as_user() {
            Some((address, room)) if len <= room => self.read_directly(at, len, address),
            _ => 0,
        };
        dst.advance(direct);
        if direct == len { Ok(len) } else { self.read_through(at, len, direct, dst) }
    }

    /// Copies pages to the program's memory, until there is a hole or a fault. Returns how much it was.
    #[inline(always)]
    fn read_directly(&self, at: u64, len: usize, address: usize) -> usize {
        self.copy_directly(at, len, |run, within, piece, done| {
            run.copy_to_user(within, piece, address.wrapping_add(done))
        })
    }

    /// Calls `copy(run, offset, length, done so far)`, which returns how much it couldn't copy, for each run of pages.
    #[inline(always)]
    fn copy_directly(
        &self,
        at: u64,
        len: usize,
        mut copy: impl FnMut(FrameRun, usize, usize, usize) -> usize,
    ) -> usize {
        let mut done = 0;
        while done < len {
            let before = done;
            let batch = self.batch(at.wrapping_add(done as u64), len - done);
            for run in batch.runs() {
                let within = (at.wrapping_add(done as u64) % PAGE) as usize;
                let piece = (run.len() - within).min(len - done);
                if copy(run, within, piece, done) != 0 {
                    return done;
                }
                done += piece;
            }
            if done == before {
                break;
            }
        }
        done
    }

    /// The rest of a read: over holes, into vectors, up to a fault.
    #[inline(never)]
    fn read_through(&self, at: u64, len: usize, done: usize, dst: &mut Sink<'_>) -> Result<usize, Errno> {
        let mut done = done;
        while done < len {
            let position = at + done as u64;
            let within = (position % PAGE) as usize;
            let piece = (PAGE_SIZE - within).min(len - done);
            let moved = match self.get(position / PAGE) {
                Some(frame) => frame.copy_to(within, piece, dst),
                None => dst.fill(0, piece),
            };
            match moved {
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
            if moved != Ok(piece) {
                break;
            }
        }
        Ok(done)
    }

    /// Writes up to `len` bytes, making pages as needed. An error only when nothing could be written.
    #[inline(always)]
    pub fn write(&self, inode: &Inode, at: u64, len: usize, src: &mut Source<'_>) -> Result<usize, Errno> {
        let direct = match src.as_user() {
            Some((address, there)) if len <= there => self.write_directly(at, len, address),
            _ => 0,
        };
        src.advance(direct);
        if direct == len { Ok(len) } else { self.write_through(inode, at, len, direct, src) }
    }

    /// Copies the program's memory into pages, until one is missing or there is a fault. Returns how much it was.
    #[inline(always)]
    fn write_directly(&self, at: u64, len: usize, address: usize) -> usize {
        self.copy_directly(at, len, |run, within, piece, done| {
            run.copy_from_user(within, piece, address.wrapping_add(done))
        })
    }

    /// The rest of a write: into new pages, from vectors, up to a fault.
    #[inline(never)]
    fn write_through(
        &self,
        inode: &Inode,
        at: u64,
        len: usize,
        done: usize,
        src: &mut Source<'_>,
    ) -> Result<usize, Errno> {
        let mut done = done;
        while done < len {
            let position = at + done as u64;
            let within = (position % PAGE) as usize;
            let piece = (PAGE_SIZE - within).min(len - done);
            let index = position / PAGE;
            let moved = match self.get(index) {
                Some(frame) => frame.copy_from(within, piece, src),
                None => self.write_new(inode, index, within, piece, src),
            };
            match moved {
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
            if moved != Ok(piece) {
                break;
            }
        }
        Ok(done)
    }

    /// Writes into a page that isn't there yet: only what the writer doesn't fill is cleared.
    fn write_new(
        &self,
        inode: &Inode,
        index: u64,
        within: usize,
        len: usize,
        src: &mut Source<'_>,
    ) -> Result<usize, Errno> {
        inode.fs.space.take_pages(1)?;
        let filled = Frame::uninit().map_err(Errno::from).and_then(|frame| {
            let copied = frame.copy_from(within, len, src)?;
            frame.zero_range(0..within);
            frame.zero_range(within + copied..PAGE_SIZE);
            Ok((frame, copied))
        });
        match filled {
            Ok((frame, copied)) => {
                if let Some(there) = self.add(inode, index, &frame, false)? {
                    // A fault made it meanwhile.
                    there.copy_range(&frame, within..within + copied);
                }
                Ok(copied)
            }
            Err(error) => {
                inode.fs.space.give_pages(1);
                Err(error)
            }
        }
    }

    /// Takes the pages behind the first `size` bytes away, and clears the rest of the last one.
    pub fn truncate(&self, inode: &Inode, size: u64) {
        let mut pages = self.pages.lock();
        if size < pages.boot.bytes {
            pages.boot.bytes = size;
            pages.boot.is_tail_clear = false;
        }
        let removed = pages.map.remove_range(size.div_ceil(PAGE)..u64::MAX, |_, _| {});
        inode.set_blocks(pages.count() * BLOCKS_PER_PAGE);
        if !size.is_multiple_of(PAGE)
            && let Some(frame) = pages.get(size / PAGE)
        {
            frame.zero_range((size % PAGE) as usize..PAGE_SIZE);
        }
        drop(pages);
        inode.fs.space.give_pages(removed);
    }

    /// Makes a hole: whole pages go, parts of pages are cleared. ENOMEM.
    pub fn punch(&self, inode: &Inode, at: u64, len: u64) -> Result<(), Errno> {
        let end = at.saturating_add(len);
        let whole = at.div_ceil(PAGE)..end / PAGE;
        let mut pages = self.pages.lock();
        if at < pages.boot.bytes {
            pages.settle(inode)?;
        }
        let removed = if whole.is_empty() { 0 } else { pages.map.remove_range(whole.clone(), |_, _| {}) };
        inode.set_blocks(pages.count() * BLOCKS_PER_PAGE);
        if !at.is_multiple_of(PAGE)
            && let Some(frame) = pages.get(at / PAGE)
        {
            let page_start = at - at % PAGE;
            frame.zero_range((at % PAGE) as usize..(end - page_start).min(PAGE) as usize);
        }
        if !end.is_multiple_of(PAGE)
            && end / PAGE >= whole.start
            && let Some(frame) = pages.get(end / PAGE)
        {
            frame.zero_range(0..(end % PAGE) as usize);
        }
        drop(pages);
        inode.fs.space.give_pages(removed);
        Ok(())
    }

    /// How many pages of a range aren't there.
    pub fn count_absent(&self, range: Range<u64>) -> u64 {
        let pages = self.pages.lock();
        let start = range.start.max(pages.boot.bytes.div_ceil(PAGE)).min(range.end);
        let mut absent = 0;
        let mut at = start;
        // From hole to hole.
        while let Some(hole) = pages.map.next_absent(at..range.end) {
            let end = pages.map.next_present(hole..range.end).unwrap_or(range.end);
            absent += end - hole;
            at = end;
        }
        absent
    }

    /// First byte at or behind `at` that has a page, or that has none.
    pub fn find(&self, at: u64, size: u64, with_page: bool) -> Option<u64> {
        let pages = self.pages.lock();
        let range = at / PAGE..size.div_ceil(PAGE);
        let boot_end = pages.boot.bytes.div_ceil(PAGE);
        let index = if with_page {
            if range.start < boot_end { Some(range.start) } else { pages.map.next_present(range) }
        } else {
            pages.map.next_absent(range.start.max(boot_end)..range.end)
        }?;
        Some((index * PAGE).max(at))
    }
}

/// A page for a mapping: FaultError for what get_or_make reports.
pub fn fault_error(error: Errno) -> FaultError {
    // A full file system is SIGBUS to who maps its files.
    if error == Errno::ENOSPC { FaultError::BeyondFile } else { FaultError::OutOfMemory }
}
