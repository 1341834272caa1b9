//! Split virtqueues (virtio 1.2, 2.7).
#![expect(unsafe_code, reason = "rings are memory that a device reads and writes")]

use core::sync::atomic::{AtomicU16, Ordering, fence};

use crate::arch::x86_64::paging;
use crate::mm::{PAGE_SIZE, frame};

const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;
/// `VIRTQ_USED_F_NO_NOTIFY`
const USED_NO_NOTIFY: u16 = 1;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT`
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Entries per queue: descriptors, avail ring and used ring then fit one page.
pub const SIZE: u16 = 64;
const AVAIL_OFFSET: usize = 16 * SIZE as usize;
const USED_OFFSET: usize = 2048;

#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// Who writes a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToDevice,
    FromDevice,
}

/// One queue. Descriptor i always stands for itself: users hand out the numbers.
pub struct Queue {
    base: usize,
    size: u16,
    avail_index: u16,
    seen_used: u16,
}

impl Queue {
    /// A queue of `SIZE` entries, or fewer if the device can't have so many. `None` without memory.
    pub fn new(max: u16) -> Option<Self> {
        let base = frame::alloc_block(0)?;
        // SAFETY: the page is ours.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(base).write_bytes(0, PAGE_SIZE) };
        Some(Self { base, size: SIZE.min(max), avail_index: 0, seen_used: 0 })
    }

    pub fn size(&self) -> u16 {
        self.size
    }

    /// Physical addresses of the descriptor table, the avail ring and the used ring.
    pub fn addresses(&self) -> [u64; 3] {
        let physical = (self.base - paging::DIRECT_MAP) as u64;
        [physical, physical + AVAIL_OFFSET as u64, physical + USED_OFFSET as u64]
    }

    fn word(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: inside the queue's page, aligned; the device accesses it as the processor does.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU16>(self.base + offset) }
    }

    /// Describes one buffer of kernel memory in the direct map.
    pub fn describe(&mut self, index: u16, address: usize, len: u32, direction: Direction) {
        let descriptor = Descriptor {
            address: (address - paging::DIRECT_MAP) as u64,
            len,
            flags: if direction == Direction::FromDevice { DESC_WRITE } else { 0 },
            next: 0,
        };
        let _ = DESC_NEXT;
        let slot = self.base + usize::from(index % self.size) * size_of::<Descriptor>();
        // SAFETY: inside the table.
        unsafe { core::ptr::with_exposed_provenance_mut::<Descriptor>(slot).write_volatile(descriptor) };
    }

    /// Offers a described buffer to the device.
    pub fn offer(&mut self, index: u16) {
        let slot = usize::from(self.avail_index % self.size);
        self.word(AVAIL_OFFSET + 4 + 2 * slot).store(index, Ordering::Relaxed);
        self.avail_index = self.avail_index.wrapping_add(1);
        self.word(AVAIL_OFFSET + 2).store(self.avail_index, Ordering::Release);
    }

    /// Whether the device wants to be told of new buffers.
    pub fn wants_notification(&self) -> bool {
        fence(Ordering::SeqCst);
        self.word(USED_OFFSET).load(Ordering::Relaxed) & USED_NO_NOTIFY == 0
    }

    /// Asks for interrupts on used buffers, or for none.
    pub fn set_interrupts(&mut self, on: bool) {
        self.word(AVAIL_OFFSET).store(if on { 0 } else { AVAIL_NO_INTERRUPT }, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes back the next used buffer: its number and how many bytes the device wrote.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.word(USED_OFFSET + 2).load(Ordering::Acquire) == self.seen_used {
            return None;
        }
        let slot = USED_OFFSET + 4 + 8 * usize::from(self.seen_used % self.size);
        self.seen_used = self.seen_used.wrapping_add(1);
        // SAFETY: inside the used ring, which the device wrote before it moved the index.
        let [id, len] =
            unsafe { core::ptr::with_exposed_provenance::<[u32; 2]>(self.base + slot).read_volatile() };
        Some((id as u16, len))
    }
}
