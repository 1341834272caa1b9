//! Taking pages out of a page table: first the entries go, then everybody's translations, then the frames.
#![expect(unsafe_code, reason = "takes over the frame references of page-table entries")]

use core::mem::MaybeUninit;
use core::ops::Range;

use super::AddressSpace;
use crate::arch::x86_64::paging::{self, Entry};
use crate::mm::frame::{Frame, FrameChain, OutOfMemory};
use crate::mm::page_table::{PageTable, SPAN};
use crate::mm::{PAGE_SIZE, shootdown};

/// Frames with other owners that are collected before translations are flushed.
const SHARED: usize = 64;
/// Pages that are flushed one by one; for more, everything is.
const SINGLY: usize = 32;

/// Pages taken out of a page table, if any. `flush` has everybody forget them, under the address space's lock; the frames that nobody else
/// owns are freed when this is dropped, best after the lock.
///
/// Large when in use: never move it, nor give it to `drop`.
pub(super) struct Gather<'a>(Option<Taken<'a>>);

struct Taken<'a> {
    space: &'a AddressSpace,
    /// Pages whose translations may still be about, and the last of them: the one that this CPU hasn't flushed yet, if they are few.
    pages: usize,
    last: usize,
    alone: FrameChain,
    /// Page tables that were taken out with their pages, which are counted when those are freed.
    tables: FrameChain,
    /// Physical addresses of frames with other owners: those can't be in two chains.
    shared: [MaybeUninit<u64>; SHARED],
    shared_count: usize,
}

impl Gather<'_> {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Has every CPU forget the pages.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        if let Some(taken) = &mut self.0 {
            taken.flush();
        }
    }
}

impl<'a> Gather<'a> {
    /// Where to put pages of this address space.
    #[inline(always)]
    fn of(&mut self, space: &'a AddressSpace) -> &mut Taken<'a> {
        if self.0.is_none() {
            let taken = Taken {
                space,
                pages: 0,
                last: 0,
                alone: FrameChain::new(),
                tables: FrameChain::new(),
                shared: [const { MaybeUninit::uninit() }; SHARED],
                shared_count: 0,
            };
            // SAFETY: `None` is in the place, which nobody needs to drop: an assignment would call for that.
            unsafe { core::ptr::write(&raw mut self.0, Some(taken)) };
        }
        self.0.as_mut().expect("just put there")
    }
}

impl Taken<'_> {
    /// Notes a page that is being taken out, and takes over its entry's reference.
    #[inline(always)]
    fn add(&mut self, address: usize, entry: Entry) {
        self.add_translation(address);
        if entry.contains(Entry::UNCOUNTED) {
            return;
        }
        // SAFETY: the reference that the entry held.
        let mut frame = unsafe { Frame::from_raw(entry.address()) };
        // A private page that may be written was copied for this address space, and has most likely not been given to another one.
        if entry & (Entry::WRITABLE | Entry::SHARED) == Entry::WRITABLE {
            match self.alone.push(frame) {
                Ok(()) => return,
                Err(other) => frame = other,
            }
        }
        if self.shared_count == SHARED {
            self.flush();
        }
        if let Some(slot) = self.shared.get_mut(self.shared_count) {
            slot.write(frame.into_raw());
            self.shared_count += 1;
        }
    }

    #[inline(always)]
    fn add_translation(&mut self, address: usize) {
        // Those before have been taken out by now; this one will be.
        if self.pages.wrapping_sub(1) < SINGLY {
            paging::flush_page(self.last);
        }
        self.last = address;
        self.pages = self.pages.wrapping_add(1);
    }

    #[inline(always)]
    fn flush(&mut self) {
        if self.pages > 0 {
            self.flush_pages();
        }
    }

    #[inline(never)]
    fn flush_pages(&mut self) {
        if self.pages > SINGLY {
            paging::flush_all();
        } else {
            paging::flush_page(self.last);
        }
        shootdown::flush_others(self.space.users());
        self.note_flushed();
    }

    #[inline(always)]
    fn note_flushed(&mut self) {
        self.pages = 0;
        // The last one first: whoever takes frames next gets them in the order of memory.
        for physical in self.shared.get(..self.shared_count).unwrap_or_default().iter().rev() {
            // SAFETY: so many slots are written, each with the reference that a page-table entry held.
            drop(unsafe { Frame::from_raw(physical.assume_init()) });
        }
        self.shared_count = 0;
    }

    #[inline(never)]
    fn free_tables(&mut self) {
        let mut pages = 0;
        while let Some(table) = self.tables.pop() {
            pages += PageTable::free_detached(table);
        }
        self.space.count_out(pages);
    }
}

impl Drop for Taken<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.flush();
        if !self.tables.is_empty() {
            self.free_tables();
        }
    }
}

impl AddressSpace {
    /// Takes the pages of a long range out, by whole page tables where nothing else is in them: they are gone through after the lock. Nothing is
    /// mapped in `around`, which the range is part of. The caller flushes.
    #[inline(never)]
    pub(super) fn unmap_wide<'a>(
        &'a self,
        range: Range<usize>,
        around: Range<usize>,
        gather: &mut Gather<'a>,
    ) {
        let whole = around.start.next_multiple_of(SPAN)..around.end & !(SPAN - 1);
        let first = whole.start.clamp(range.start, range.end);
        let last = whole.end.clamp(first, range.end);
        self.unmap_pages(range.start..first, gather);
        self.unmap_pages(last..range.end, gather);
        let taken = gather.of(self);
        if let Some(pages) = self.table.detach_tables(whole, &mut taken.tables) {
            taken.note_flushed();
            self.count_out(pages);
        }
    }

    /// Takes pages of a range out of the page table. The caller flushes.
    #[inline(always)]
    pub(super) fn unmap_pages<'a>(&'a self, range: Range<usize>, gather: &mut Gather<'a>) {
        if !self.table.is_blank(&range) {
            self.unmap_present(range, gather);
        }
    }

    /// As `unmap_pages`, where there is something.
    #[inline(never)]
    fn unmap_present<'a>(&'a self, range: Range<usize>, gather: &mut Gather<'a>) {
        if range.len() == PAGE_SIZE
            && let Some((table, slot)) = self.table.find_own(range.start)
        {
            let entry = table.get(slot);
            table.set(slot, Entry::empty());
            gather.of(self).add(range.start, entry);
            self.count_out(1);
        } else {
            self.unmap_pages_without(range, Entry::empty(), gather);
        }
    }

    /// As `unmap_pages`, but entries with one of the bits `kept` stay.
    #[inline(never)]
    pub(super) fn unmap_pages_without<'a>(
        &'a self,
        range: Range<usize>,
        kept: Entry,
        gather: &mut Gather<'a>,
    ) {
        let taken = gather.of(self);
        let mut removed = 0;
        let result = self.table.update(range.clone(), |address, entry| {
            if entry.intersects(kept) {
                return entry;
            }
            taken.add(address, entry);
            removed += 1;
            Entry::empty()
        });
        if removed > 0 {
            self.count_out(removed);
        }
        // Copying a shared page table took the last frame: page tables come from the kernel's reserve, so this is the end of the reserve.
        // The region goes all the same; its pages stay behind until the address space does.
        if result.is_err() {
            log::error!("no memory to unmap {range:x?}");
        }
    }

    /// Changes the entries of a range that aren't empty, and has everybody forget those that `change` made another one of. ENOMEM.
    pub(super) fn change_entries(
        &self,
        range: Range<usize>,
        change: &mut dyn FnMut(usize, Entry) -> Entry,
    ) -> Result<(), OutOfMemory> {
        let mut gather = Gather::new();
        let taken = gather.of(self);
        self.table.update(range, |address, entry| {
            let new = change(address, entry);
            if new != entry {
                taken.add_translation(address);
            }
            new
        })
    }
}
