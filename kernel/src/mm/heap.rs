//! The kernel heap: size classes with a free list per CPU in front of page blocks from the frame allocator.
//!
//! A block of up to 2 KiB comes from its class's list: a few instructions, no lock. Larger ones are blocks of frames. A class's pages stay
//! with the class until memory runs short (`trim`).
#![expect(unsafe_code, reason = "implements GlobalAlloc")]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::sync::atomic::Ordering;

use abi::Errno;

use super::PAGE_SIZE;
use super::frame;
use crate::arch::per_cpu;
use crate::sync::SpinLock;

/// Block sizes in bytes. Every size is a multiple of 16; powers of two are aligned to themselves.
const CLASSES: [usize; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1360, 2048];
const LARGEST: usize = 2048;
/// A CPU keeps at most this many blocks of a class, and hands back or fetches half of that.
const KEEP: u32 = 128;

/// Class of a size, by 16-byte granules.
static CLASS_OF: [u8; LARGEST / 16 + 1] = {
    let mut table = [0u8; LARGEST / 16 + 1];
    let mut granule = 0;
    while granule < table.len() {
        let mut class = 0;
        while CLASSES[class] < granule * 16 {
            class += 1;
        }
        table[granule] = class as u8;
        granule += 1;
    }
    table
};

/// Free blocks of each class on one CPU: a list through the blocks' first words.
pub struct CpuCache {
    heads: [Cell<usize>; CLASSES.len()],
    counts: [Cell<u32>; CLASSES.len()],
}

impl CpuCache {
    pub const fn new() -> Self {
        Self {
            heads: [const { Cell::new(0) }; CLASSES.len()],
            counts: [const { Cell::new(0) }; CLASSES.len()],
        }
    }
}

/// Lists that CPUs handed back, for the others.
static SHARED: [SpinLock<(usize, u32)>; CLASSES.len()] = [const { SpinLock::new((0, 0)) }; CLASSES.len()];

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// Class for a layout, `None` for those that take whole pages.
#[inline(always)]
fn class_of(layout: Layout) -> Option<usize> {
    // An alignment beyond 16 is had by rounding the size up to a power of two.
    let size = if layout.align() > 16 {
        layout.size().max(layout.align()).next_power_of_two()
    } else {
        layout.size()
    };
    let granules = size.wrapping_add(15) >> 4;
    CLASS_OF.get(granules).map(|&class| usize::from(class))
}

fn order_of(layout: Layout) -> usize {
    let pages = layout.size().max(layout.align()).div_ceil(PAGE_SIZE);
    pages.next_power_of_two().trailing_zeros() as usize
}

#[inline(always)]
fn next_of(block: usize) -> *mut usize {
    core::ptr::with_exposed_provenance_mut(block)
}

#[cold]
#[inline(never)]
fn refill(cache: &CpuCache, class: usize) -> Option<usize> {
    let mut shared = SHARED[class].lock();
    if shared.0 != 0 {
        let (head, count) = *shared;
        *shared = (0, 0);
        // SAFETY: the list consists of free blocks that only this lock's holder sees.
        cache.heads[class].set(unsafe { *next_of(head) });
        cache.counts[class].set(count - 1);
        return Some(head);
    }
    drop(shared);
    let size = CLASSES[class];
    // Single frames: there may be enough memory and no larger piece of it.
    let page = frame::alloc_block(0)?;
    let count = PAGE_SIZE / size;
    // From the last to the second, so that blocks are handed out in address order and a page is touched as it is used.
    let mut head = 0;
    for index in (1..count).rev() {
        let block = page + index * size;
        // SAFETY: inside the frame that was just allocated.
        unsafe { *next_of(block) = head };
        head = block;
    }
    cache.heads[class].set(head);
    cache.counts[class].set(count as u32 - 1);
    Some(page)
}

/// Hands half of a CPU's blocks of a class to the others.
#[cold]
#[inline(never)]
fn hand_back(cache: &CpuCache, class: usize) {
    let mut shared = SHARED[class].lock();
    for _ in 0..KEEP / 2 {
        let block = cache.heads[class].get();
        if block == 0 {
            break;
        }
        // SAFETY: blocks on the list are free and ours.
        unsafe {
            cache.heads[class].set(*next_of(block));
            *next_of(block) = shared.0;
        }
        cache.counts[class].set(cache.counts[class].get().saturating_sub(1));
        *shared = (block, shared.1 + 1);
    }
}

/// Gives the frames back of which no block is in use, this CPU's and the shared lists' blocks considered.
pub fn trim() {
    let cache = &per_cpu().heap;
    for (class, list) in SHARED.iter().enumerate() {
        while cache.heads[class].get() != 0 {
            hand_back(cache, class);
        }
        let full = (PAGE_SIZE / CLASSES[class]) as u32;
        let page_of = |block: usize| block & !(PAGE_SIZE - 1);
        let mut shared = list.lock();
        // SAFETY: the list consists of free blocks that only this lock's holder sees.
        let next = |block: usize| unsafe { *next_of(block) };
        let blocks =
            |head| core::iter::successors(Some(head), |&block| Some(next(block))).take_while(|&b| b != 0);
        // How many of a page's blocks are free is counted in its frame's record.
        for block in blocks(shared.0) {
            frame::counter(page_of(block)).store(0, Ordering::Relaxed);
        }
        for block in blocks(shared.0) {
            frame::counter(page_of(block)).fetch_add(1, Ordering::Relaxed);
        }
        let (mut kept, mut count, mut empty, mut block) = (0, 0, 0, shared.0);
        while block != 0 {
            let following = next(block);
            let is_empty = frame::counter(page_of(block)).load(Ordering::Relaxed) == full;
            // A page's first block stands for it.
            if !is_empty || block == page_of(block) {
                let list = if is_empty { &mut empty } else { &mut kept };
                // SAFETY: as above; the block moves from one list to the other.
                unsafe { *next_of(block) = *list };
                *list = block;
                count += u32::from(!is_empty);
            }
            block = following;
        }
        *shared = (kept, count);
        drop(shared);
        while empty != 0 {
            let page = empty;
            empty = next(page);
            frame::free_block(page, 0);
        }
    }
}

// SAFETY: blocks of a class are at least as large and aligned as the layout asks (see `class_of`), page blocks are aligned to their size,
// and a block stands on a list only while it is free.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            return match frame::alloc_block(order_of(layout)) {
                Some(address) => core::ptr::with_exposed_provenance_mut(address),
                None => core::ptr::null_mut(),
            };
        };
        let cache = &per_cpu().heap;
        let head = cache.heads[class].get();
        if head != 0 {
            // SAFETY: blocks on this CPU's list are free and ours.
            cache.heads[class].set(unsafe { *next_of(head) });
            cache.counts[class].set(cache.counts[class].get().wrapping_sub(1));
            return next_of(head).cast();
        }
        match refill(cache, class) {
            Some(block) => next_of(block).cast(),
            None => core::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            frame::free_block(pointer.addr(), order_of(layout));
            return;
        };
        let cache = &per_cpu().heap;
        let block = pointer.expose_provenance();
        // SAFETY: the block is free from now on, and at least one word long.
        unsafe { *next_of(block) = cache.heads[class].get() };
        cache.heads[class].set(block);
        let count = cache.counts[class].get().wrapping_add(1);
        cache.counts[class].set(count);
        if count > KEEP {
            hand_back(cache, class);
        }
    }
}

/// A shared copy. ENOMEM where there is no block of that size: the standard library knows no way to have one that may fail, so it is tried out
/// first whether there is.
pub fn try_share<T: Copy>(values: &[T]) -> Result<Arc<[T]>, Errno> {
    /// Of the two counts.
    const HEAD: usize = 2 * size_of::<usize>();
    let mut probe: Vec<u8> = Vec::new();
    probe.try_reserve_exact(size_of_val(values) + HEAD).map_err(|_| Errno::ENOMEM)?;
    drop(probe);
    Ok(values.into())
}
