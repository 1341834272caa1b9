//! What holds frames: one, a chain of some that nobody else has, and runs of them.
#![expect(unsafe_code, reason = "writes and copies physical memory")]

use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering;

use abi::Errno;

use super::{NIL, OutOfMemory, STATE_PERMANENT, alloc_one, free_one, is_short, record, refill};
use crate::arch::per_cpu;
use crate::arch::x86_64::paging::direct;
use crate::arch::x86_64::usercopy;
use crate::mm::PAGE_SIZE;
use crate::mm::user::{Sink, Source};

/// An owning, counted handle on one frame: `Clone` adds an owner, `Drop` removes one, and the last one frees the frame.
pub struct Frame(u32);

impl Frame {
    /// A frame with unspecified contents, for a program or a file. Err when only the kernel's reserve is left.
    #[inline]
    pub fn uninit() -> Result<Self, OutOfMemory> {
        let cache = &per_cpu().frames;
        let frame = match cache.pop() {
            Some(frame) => frame,
            None => {
                let found = if is_short() { cache.blank.pop() } else { refill(cache) };
                found.ok_or(OutOfMemory)?
            }
        };
        record(frame).refs.store(1, Ordering::Relaxed);
        Ok(Self(frame))
    }

    /// A frame of zeros.
    #[inline]
    pub fn zeroed() -> Result<Self, OutOfMemory> {
        let frame = Self::uninit()?;
        // SAFETY: the frame is ours alone.
        unsafe { frame.pointer().write_bytes(0, PAGE_SIZE) };
        Ok(frame)
    }

    /// A frame for the kernel's own tables, of zeros. May use the reserve.
    pub fn zeroed_for_kernel() -> Result<Self, OutOfMemory> {
        if let Some(frame) = per_cpu().frames.blank.pop() {
            record(frame).refs.store(1, Ordering::Relaxed);
            return Ok(Self(frame));
        }
        let frame = Self(alloc_one().ok_or(OutOfMemory)?);
        // SAFETY: the frame is ours alone.
        unsafe { frame.pointer().write_bytes(0, PAGE_SIZE) };
        Ok(frame)
    }

    /// A new frame with the same contents.
    pub fn copy_of(other: &Self) -> Result<Self, OutOfMemory> {
        let frame = Self::uninit()?;
        // SAFETY: two different frames, each one page long. A program that writes the source meanwhile gets what it deserves.
        unsafe { core::ptr::copy_nonoverlapping(other.pointer(), frame.pointer(), PAGE_SIZE) };
        Ok(frame)
    }

    /// A handle on boot memory (the initrd), which is never freed.
    pub fn from_boot_memory(physical: u64) -> Self {
        let frame = Self((physical >> 12) as u32);
        let r = record(frame.0);
        r.state.store(STATE_PERMANENT, Ordering::Relaxed);
        r.refs.store(1 << 30, Ordering::Relaxed);
        frame
    }

    /// Physical address.
    #[inline]
    pub fn physical(&self) -> u64 {
        u64::from(self.0) << 12
    }

    /// Gives the reference to a page-table entry; `from_raw` takes it back.
    #[inline]
    pub fn into_raw(self) -> u64 {
        let physical = self.physical();
        core::mem::forget(self);
        physical
    }

    /// Takes over a reference that `into_raw` gave away.
    ///
    /// # Safety
    /// Each `into_raw` is matched by at most one `from_raw`.
    #[inline]
    pub unsafe fn from_raw(physical: u64) -> Self {
        Self((physical >> 12) as u32)
    }

    /// How many owners there are.
    #[inline]
    pub fn ref_count(&self) -> u32 {
        record(self.0).refs.load(Ordering::Acquire)
    }

    #[inline]
    fn pointer(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(direct(self.physical()))
    }

    #[inline(always)]
    fn check(offset: usize, len: usize) {
        assert!(offset <= PAGE_SIZE && len <= PAGE_SIZE - offset, "beyond a frame");
    }

    pub fn zero_range(&self, range: Range<usize>) {
        Self::check(range.start, range.len());
        // SAFETY: inside the frame; no Rust reference ever points into one.
        unsafe { self.pointer().add(range.start).write_bytes(0, range.len()) };
    }

    /// Copies out of the frame into kernel memory.
    pub fn read(&self, offset: usize, dst: &mut [u8]) {
        Self::check(offset, dst.len());
        // SAFETY: inside the frame.
        unsafe { core::ptr::copy_nonoverlapping(self.pointer().add(offset), dst.as_mut_ptr(), dst.len()) };
    }

    /// Copies kernel memory into the frame.
    pub fn write(&self, offset: usize, src: &[u8]) {
        Self::check(offset, src.len());
        // SAFETY: inside the frame.
        unsafe { core::ptr::copy_nonoverlapping(src.as_ptr(), self.pointer().add(offset), src.len()) };
    }

    /// Copies a range of another frame to the same place in this one.
    pub fn copy_range(&self, from: &Self, range: Range<usize>) {
        Self::check(range.start, range.len());
        let (from, to) = (from.pointer(), self.pointer());
        // SAFETY: inside the frames.
        unsafe { core::ptr::copy(from.add(range.start), to.add(range.start), range.len()) };
    }

    /// Gives up a handle on a frame of the kernel's own that holds nothing but zeros now.
    pub fn release_blank(self) {
        let frame = self.0;
        core::mem::forget(self);
        if record(frame).refs.fetch_sub(1, Ordering::AcqRel) == 1
            && (is_short() || !per_cpu().frames.blank.push(frame))
        {
            free_last(frame);
        }
    }

    /// Gives the handle up; as dropping it, but never by a call.
    #[inline(always)]
    pub fn release(self) {
        let frame = self.0;
        core::mem::forget(self);
        if record(frame).refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            free_last(frame);
        }
    }

    /// Copies to a range of the program's memory that `user::is_user_range` has found good. Returns how many bytes could not be copied.
    #[inline(always)]
    pub fn copy_to_user(&self, offset: usize, len: usize, dst: usize) -> usize {
        Self::check(offset, len);
        // SAFETY: inside the frame.
        unsafe { usercopy::to_user_raw(dst, self.pointer().add(offset), len) }
    }

    /// Copies from a range of the program's memory that `user::is_user_range` has found good. Returns how many bytes could not be copied.
    #[inline(always)]
    pub fn copy_from_user(&self, offset: usize, len: usize, src: usize) -> usize {
        Self::check(offset, len);
        // SAFETY: inside the frame.
        unsafe { usercopy::from_user_raw(self.pointer().add(offset), src, len) }
    }

    /// Copies to a reader's buffer. EFAULT only when nothing could be copied.
    #[inline]
    pub fn copy_to(&self, offset: usize, len: usize, dst: &mut Sink<'_>) -> Result<usize, Errno> {
        Self::check(offset, len);
        // SAFETY: inside the frame.
        unsafe { dst.write_raw(self.pointer().add(offset), len) }
    }

    /// Copies from a writer's buffer. EFAULT only when nothing could be copied.
    #[inline]
    pub fn copy_from(&self, offset: usize, len: usize, src: &mut Source<'_>) -> Result<usize, Errno> {
        Self::check(offset, len);
        // SAFETY: inside the frame.
        unsafe { src.read_raw(self.pointer().add(offset), len) }
    }
}

/// Frames that have no other owner, chained through their records: as many as there are, without memory. Freed when dropped.
pub struct FrameChain {
    first: u32,
}

impl FrameChain {
    #[inline(always)]
    pub const fn new() -> Self {
        Self { first: NIL }
    }

    /// Takes a frame in, or gives it back if it has other owners.
    #[inline(always)]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.ref_count() != 1 {
            return Err(frame);
        }
        record(frame.0).next.store(self.first, Ordering::Relaxed);
        self.first = frame.0;
        core::mem::forget(frame);
        Ok(())
    }

    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// Gives out the frame that was taken in last.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        if self.is_empty() {
            return None;
        }
        let frame = Frame(self.first);
        self.first = record(frame.0).next.load(Ordering::Relaxed);
        Some(frame)
    }

    #[inline(never)]
    fn free(&mut self) {
        while let Some(frame) = self.pop() {
            frame.release();
        }
    }
}

impl Drop for FrameChain {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.is_empty() {
            self.free();
        }
    }
}

/// Frames side by side in memory.
#[derive(Clone, Copy)]
pub struct FrameRun {
    first: u32,
    frames: u32,
}

impl FrameRun {
    #[inline(always)]
    pub fn len(self) -> usize {
        self.frames as usize * PAGE_SIZE
    }

    #[inline(always)]
    fn pointer(self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len() && len <= self.len() - offset, "beyond a run of frames");
        core::ptr::with_exposed_provenance_mut(direct(u64::from(self.first) << 12) + offset)
    }

    /// As `Frame::copy_to_user`.
    #[inline(always)]
    pub fn copy_to_user(self, offset: usize, len: usize, dst: usize) -> usize {
        // SAFETY: inside the run, whose frames the batch holds.
        unsafe { usercopy::to_user_raw(dst, self.pointer(offset, len), len) }
    }

    /// As `Frame::copy_from_user`.
    #[inline(always)]
    pub fn copy_from_user(self, offset: usize, len: usize, src: usize) -> usize {
        // SAFETY: as above.
        unsafe { usercopy::from_user_raw(self.pointer(offset, len), src, len) }
    }
}

/// A few frames, each with a count, on the way from a cache to a copy.
pub struct FrameBatch {
    runs: [FrameRun; FrameBatch::SIZE],
    count: usize,
}

impl FrameBatch {
    /// So many frames fit, however they lie.
    pub const SIZE: usize = 16;

    #[inline(always)]
    pub const fn new() -> Self {
        Self { runs: [FrameRun { first: 0, frames: 0 }; Self::SIZE], count: 0 }
    }

    /// Takes a frame in; one too many is let go.
    #[inline(always)]
    pub fn push(&mut self, frame: Frame) {
        if let Some(last) = self.runs.get_mut(self.count.wrapping_sub(1))
            && frame.0 == last.first.wrapping_add(last.frames)
        {
            last.frames = last.frames.wrapping_add(1);
        } else if let Some(slot) = self.runs.get_mut(self.count) {
            *slot = FrameRun { first: frame.0, frames: 1 };
            self.count += 1;
        } else {
            return;
        }
        core::mem::forget(frame);
    }

    #[inline(always)]
    pub fn runs(&self) -> impl Iterator<Item = FrameRun> {
        self.runs.iter().take(self.count).copied()
    }
}

impl Drop for FrameBatch {
    #[inline(always)]
    fn drop(&mut self) {
        for run in self.runs.iter().take(self.count) {
            for frame in run.first..run.first.wrapping_add(run.frames) {
                Frame(frame).release();
            }
        }
    }
}

impl Clone for Frame {
    #[inline]
    fn clone(&self) -> Self {
        record(self.0).refs.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Frame {
    #[inline(always)]
    fn drop(&mut self) {
        if record(self.0).refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            free_last(self.0);
        }
    }
}

#[inline(never)]
fn free_last(frame: u32) {
    free_one(frame);
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:#x})", self.physical())
    }
}
