//! Physical memory: a buddy allocator over one record per frame, with per-CPU caches of single frames in front.
//!
//! Records are made when the frontier passes over their frames, so booting touches next to nothing however large memory is:
//! each usable region has a *frontier*, below which records are valid and free blocks stand in the lists, and above which memory
//! has never been looked at.
#![expect(unsafe_code, reason = "owns physical memory")]

mod handle;

use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use abi::Errno;

pub use handle::{Frame, FrameBatch, FrameChain, FrameRun};

use super::PAGE_SIZE;
use crate::arch::per_cpu;
use crate::arch::x86_64::cpu;
use crate::arch::x86_64::paging::direct;
use crate::sync::SpinLock;

/// Blocks have 2^0 … 2^10 frames.
const MAX_ORDER: usize = 10;
/// Frames that the frontier takes in at once: their records fill a quarter of a page.
const CHUNK: u32 = 64;
const NIL: u32 = u32::MAX;
const MAX_REGIONS: usize = 16;

/// Programs can't have the last frames: the kernel needs some for what a call needs before it ends, and to end a program in good order.
/// A 32nd of memory, within these bounds.
const RESERVE_MIN: usize = 16;
const RESERVE_MAX: usize = 2048;
/// Blocks from this order on are only asked for by those who can do without.
const LARGE_ORDER: usize = 4;

/// One frame's record.
#[repr(C)]
struct Record {
    /// Owners. 0 while free.
    refs: AtomicU32,
    /// `STATE_*`, or `STATE_FREE + order` for the first frame of a free block.
    state: AtomicU32,
    next: AtomicU32,
    prev: AtomicU32,
}

const STATE_NONE: u32 = 0;
const STATE_PERMANENT: u32 = 1;
const STATE_FREE: u32 = 0x100;

/// No free frame (for programs: none beyond the kernel's reserve).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl From<OutOfMemory> for Errno {
    fn from(_: OutOfMemory) -> Self {
        Errno::ENOMEM
    }
}

/// A range of usable frames, and how far it has been taken in.
#[derive(Clone, Copy)]
struct Region {
    start: u32,
    frontier: u32,
    end: u32,
}

struct Zone {
    regions: [Region; MAX_REGIONS],
    region_count: usize,
    lists: [u32; MAX_ORDER + 1],
}

static ZONE: SpinLock<Zone> = SpinLock::new(Zone {
    regions: [Region { start: 0, frontier: 0, end: 0 }; MAX_REGIONS],
    region_count: 0,
    lists: [NIL; MAX_ORDER + 1],
});
/// Virtual address of the records, and how many there are.
static RECORDS: AtomicUsize = AtomicUsize::new(0);
static RECORD_COUNT: AtomicUsize = AtomicUsize::new(0);
/// Frames free in the zone (CPU caches not counted), frames in all, and the reserve.
static FREE: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);
static RESERVE: AtomicUsize = AtomicUsize::new(0);

#[inline(always)]
fn record(frame: u32) -> &'static Record {
    debug_assert!((frame as usize) < RECORD_COUNT.load(Ordering::Relaxed));
    let base = RECORDS.load(Ordering::Relaxed) as *const Record;
    // SAFETY: frame numbers come from the zone or from a Frame, so the record lies in the array, which is never freed; all of its
    // fields are atomics, for which any bytes are valid.
    unsafe { &*base.add(frame as usize) }
}

/// Takes over the usable ranges of physical memory (bytes), `taken` excluded: the kernel's image, the initrd.
pub fn init(usable: &[Range<u64>], kernel_end: u64, taken: &[Range<u64>]) {
    let max = usable.iter().map(|range| range.end).max().unwrap_or(0) / PAGE_SIZE as u64;
    let records_size = (max * size_of::<Record>() as u64).next_multiple_of(PAGE_SIZE as u64);
    // The records stand in the first hole behind the kernel that is large enough.
    let fits = |start: u64| {
        let range = start..start + records_size;
        usable.iter().any(|u| u.start <= range.start && range.end <= u.end)
            && taken.iter().all(|t| t.end <= range.start || range.end <= t.start)
    };
    let ends = taken.iter().map(|t| t.end.next_multiple_of(PAGE_SIZE as u64));
    let at = core::iter::once(kernel_end)
        .chain(ends)
        .find(|&start| fits(start))
        .expect("room for the frame records");
    RECORDS.store(direct(at), Ordering::Relaxed);
    RECORD_COUNT.store(max as usize, Ordering::Relaxed);
    let records = at..at + records_size;

    let mut zone = ZONE.lock();
    let mut total = 0;
    for range in usable {
        // Nothing below the image: the first MiB is for starting other processors.
        let mut start = range.start.max(kernel_end).next_multiple_of(PAGE_SIZE as u64);
        let end = range.end & !(PAGE_SIZE as u64 - 1);
        while start < end {
            // Up to the next thing that is taken.
            let blocked = |t: &&Range<u64>| t.end > start && t.start < end;
            let next = taken.iter().chain(core::iter::once(&records)).filter(blocked).min_by_key(|t| t.start);
            let stop = next.map_or(end, |t| t.start.max(start) & !(PAGE_SIZE as u64 - 1));
            if stop > start && zone.region_count < MAX_REGIONS {
                let slot = zone.region_count;
                let first = (start / PAGE_SIZE as u64) as u32;
                zone.regions[slot] =
                    Region { start: first, frontier: first, end: (stop / PAGE_SIZE as u64) as u32 };
                zone.region_count += 1;
                total += ((stop - start) / PAGE_SIZE as u64) as usize;
            }
            start = next.map_or(end, |t| t.end.next_multiple_of(PAGE_SIZE as u64));
        }
    }
    FREE.store(total, Ordering::Relaxed);
    TOTAL.store(total, Ordering::Relaxed);
    RESERVE.store((total / 32).clamp(RESERVE_MIN, RESERVE_MAX), Ordering::Relaxed);
}

/// Frames that the allocator has, and those free now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub total: usize,
    pub free: usize,
}

pub fn usage() -> Usage {
    let cached =
        (0..cpu::online_count()).filter_map(cpu::by_index).map(|cpu| cpu.frames.count()).sum::<usize>();
    Usage { total: TOTAL.load(Ordering::Relaxed), free: FREE.load(Ordering::Relaxed) + cached }
}

/// Whether there is nothing but the kernel's reserve.
pub fn is_short() -> bool {
    FREE.load(Ordering::Relaxed) <= RESERVE.load(Ordering::Relaxed)
}

/// The same with this CPU's cache counted. What others have in theirs isn't: who can't have it would try for ever.
pub fn is_exhausted() -> bool {
    FREE.load(Ordering::Relaxed) + per_cpu().frames.count() <= RESERVE.load(Ordering::Relaxed)
}

/// The kernel itself has used something of the reserve: the thread looks for a program to end before it returns to its own. There is none while
/// the kernel starts.
#[cold]
#[inline(never)]
fn note_short() {
    if !cpu::current_thread().is_null() {
        crate::task::current().add_work(crate::task::thread::work::MEMORY);
    }
}

impl Zone {
    fn push(&mut self, frame: u32, order: usize) {
        let head = self.lists[order];
        let r = record(frame);
        r.refs.store(0, Ordering::Relaxed);
        r.state.store(STATE_FREE + order as u32, Ordering::Relaxed);
        r.next.store(head, Ordering::Relaxed);
        r.prev.store(NIL, Ordering::Relaxed);
        if head != NIL {
            record(head).prev.store(frame, Ordering::Relaxed);
        }
        self.lists[order] = frame;
    }

    fn unlink(&mut self, frame: u32, order: usize) {
        let r = record(frame);
        let (next, prev) = (r.next.load(Ordering::Relaxed), r.prev.load(Ordering::Relaxed));
        if prev == NIL {
            self.lists[order] = next;
        } else {
            record(prev).next.store(next, Ordering::Relaxed);
        }
        if next != NIL {
            record(next).prev.store(prev, Ordering::Relaxed);
        }
        r.state.store(STATE_NONE, Ordering::Relaxed);
    }

    /// Takes in more of a region, until there is a free block of this order (or nothing is left).
    fn grow(&mut self, order: usize) -> bool {
        let want = CHUNK.max(1 << order);
        for slot in 0..self.region_count {
            let Region { frontier, end, .. } = self.regions[slot];
            if frontier >= end {
                continue;
            }
            let stop = (frontier.next_multiple_of(want)
                + if frontier.is_multiple_of(want) { want } else { 0 })
            .min(end);
            self.regions[slot].frontier = stop;
            for frame in frontier..stop {
                let r = record(frame);
                r.refs.store(0, Ordering::Relaxed);
                r.state.store(STATE_NONE, Ordering::Relaxed);
            }
            Self::each_block(frontier..stop, |frame, order| self.push(frame, order));
            return true;
        }
        false
    }

    /// The largest blocks that frames side by side consist of.
    #[inline(always)]
    fn each_block(frames: Range<u32>, mut act: impl FnMut(u32, usize)) {
        let mut at = frames.start;
        while at < frames.end {
            let order = at.trailing_zeros().min((frames.end - at).ilog2()).min(MAX_ORDER as u32);
            act(at, order as usize);
            at += 1 << order;
        }
    }

    fn alloc(&mut self, order: usize) -> Option<u32> {
        loop {
            if let Some(found) = (order..=MAX_ORDER).find(|&o| self.lists[o] != NIL) {
                let frame = self.lists[found];
                self.unlink(frame, found);
                for half in (order..found).rev() {
                    self.push(frame + (1 << half), half);
                }
                return Some(frame);
            }
            if !self.grow(order) {
                return None;
            }
        }
    }

    /// Whether records around this frame are valid: it lies below its region's frontier.
    fn is_taken_in(&self, frame: u32) -> bool {
        (frame as usize) < RECORD_COUNT.load(Ordering::Relaxed)
            && self.regions[..self.region_count].iter().any(|r| (r.start..r.frontier).contains(&frame))
    }

    fn free(&mut self, mut frame: u32, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if !self.is_taken_in(buddy)
                || record(buddy).state.load(Ordering::Relaxed) != STATE_FREE + order as u32
            {
                break;
            }
            self.unlink(buddy, order);
            frame = frame.min(buddy);
            order += 1;
        }
        self.push(frame, order);
    }
}

/// A CPU's own free frames.
pub struct CpuCache {
    any: Stack<{ CpuCache::SIZE }>,
    /// Those known to hold nothing but zeros: page tables that were emptied. The next page table needn't be cleared.
    blank: Stack<16>,
}

impl CpuCache {
    const SIZE: usize = 512;
    const BATCH_ORDER: usize = 5;

    pub const fn new() -> Self {
        Self { any: Stack::new(), blank: Stack::new() }
    }

    fn count(&self) -> usize {
        self.any.count.load(Ordering::Relaxed) + self.blank.count.load(Ordering::Relaxed)
    }

    #[inline]
    fn pop(&self) -> Option<u32> {
        self.any.pop()
    }

    #[inline]
    fn push(&self, frame: u32) -> bool {
        let count = self.any.count.load(Ordering::Relaxed);
        if count >= LIMIT.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: the limit is at most `SIZE`.
        unsafe { self.any.slots.get_unchecked(count) }.set(frame);
        self.any.count.store(count.wrapping_add(1), Ordering::Relaxed);
        true
    }
}

/// Most frames in a CPU's cache.
static LIMIT: AtomicUsize = AtomicUsize::new(CpuCache::SIZE);

/// There are so many CPUs: what stands in the others' caches, where this one can't have it, is at most half of the reserve, unless that is very
/// little.
pub fn limit_caches(cpus: usize) {
    let others = cpus.saturating_sub(1).max(1);
    let limit = RESERVE.load(Ordering::Relaxed) / 2 / others;
    LIMIT.store(limit.clamp(1 << CpuCache::BATCH_ORDER, CpuCache::SIZE), Ordering::Relaxed);
}

struct Stack<const SIZE: usize> {
    slots: [Cell<u32>; SIZE],
    /// Only the CPU itself changes it; others read it for statistics.
    count: AtomicUsize,
}

impl<const SIZE: usize> Stack<SIZE> {
    const fn new() -> Self {
        Self { slots: [const { Cell::new(0) }; SIZE], count: AtomicUsize::new(0) }
    }

    #[inline]
    fn pop(&self) -> Option<u32> {
        let count = self.count.load(Ordering::Relaxed);
        let slot = self.slots.get(count.wrapping_sub(1))?;
        self.count.store(count - 1, Ordering::Relaxed);
        Some(slot.get())
    }

    #[inline]
    fn push(&self, frame: u32) -> bool {
        let count = self.count.load(Ordering::Relaxed);
        let Some(slot) = self.slots.get(count) else { return false };
        slot.set(frame);
        self.count.store(count + 1, Ordering::Relaxed);
        true
    }
}

#[cold]
#[inline(never)]
fn refill(cache: &CpuCache) -> Option<u32> {
    let mut zone = ZONE.lock();
    let batch = 1 << CpuCache::BATCH_ORDER;
    // Near the reserve frames are taken singly: a cache would bring them past it.
    if FREE.load(Ordering::Relaxed) >= RESERVE.load(Ordering::Relaxed) + batch
        && let Some(first) = zone.alloc(CpuCache::BATCH_ORDER)
    {
        FREE.fetch_sub(batch, Ordering::Relaxed);
        drop(zone);
        for frame in (first + 1..first + batch as u32).rev() {
            cache.push(frame);
        }
        return Some(first);
    }
    if let Some(frame) = cache.blank.pop() {
        return Some(frame);
    }
    let frame = zone.alloc(0)?;
    FREE.fetch_sub(1, Ordering::Relaxed);
    Some(frame)
}

#[cold]
#[inline(never)]
fn drain(cache: &CpuCache, count: usize) {
    let before = cache.any.count.load(Ordering::Relaxed);
    let mut zone = ZONE.lock();
    // Frames that were freed one after the other mostly lie so: then they are blocks, and needn't grow together one by one.
    let mut run = 0..0;
    for _ in 0..count {
        let Some(frame) = cache.pop() else { break };
        if frame == run.end {
            run.end += 1;
        } else if frame + 1 == run.start {
            run.start = frame;
        } else {
            Zone::each_block(run, |frame, order| zone.free(frame, order));
            run = frame..frame + 1;
        }
    }
    Zone::each_block(run, |frame, order| zone.free(frame, order));
    FREE.fetch_add(before - cache.any.count.load(Ordering::Relaxed), Ordering::Relaxed);
}

#[inline]
fn alloc_one() -> Option<u32> {
    let cache = &per_cpu().frames;
    let frame = match cache.pop() {
        Some(frame) => frame,
        None => {
            if is_short() {
                note_short();
            }
            refill(cache)?
        }
    };
    record(frame).refs.store(1, Ordering::Relaxed);
    Some(frame)
}

#[inline]
fn free_one(frame: u32) {
    let cache = &per_cpu().frames;
    if !cache.push(frame) {
        drain(cache, LIMIT.load(Ordering::Relaxed) / 2);
        cache.push(frame);
    }
}

/// `2^order` adjacent frames for the kernel itself, at their direct-map address. May use the reserve.
pub fn alloc_block(order: usize) -> Option<usize> {
    if order == 0 {
        return alloc_one().map(|frame| direct(u64::from(frame) << 12));
    }
    if order > MAX_ORDER {
        return None;
    }
    if is_short() {
        note_short();
        // Small things, without which nothing goes on, have half of the reserve for themselves.
        if order >= LARGE_ORDER
            && FREE.load(Ordering::Relaxed) < RESERVE.load(Ordering::Relaxed) / 2 + (1 << order)
        {
            return None;
        }
    }
    let frame = ZONE.lock().alloc(order);
    let frame = match frame {
        Some(frame) => frame,
        // This CPU's frames may be the missing neighbours.
        None => {
            drain(&per_cpu().frames, CpuCache::SIZE);
            ZONE.lock().alloc(order)?
        }
    };
    FREE.fetch_sub(1 << order, Ordering::Relaxed);
    Some(direct(u64::from(frame) << 12))
}

/// A number that the owner of a block may use as it likes, by the block's address.
pub fn counter(address: usize) -> &'static AtomicU32 {
    &record(((address - direct(0)) >> 12) as u32).next
}

/// Gives back what `alloc_block` gave.
pub fn free_block(address: usize, order: usize) {
    let frame = ((address - direct(0)) >> 12) as u32;
    if order == 0 {
        free_one(frame);
        return;
    }
    ZONE.lock().free(frame, order);
    FREE.fetch_add(1 << order, Ordering::Relaxed);
}
