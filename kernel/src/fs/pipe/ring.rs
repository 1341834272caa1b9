//! What a pipe holds: slots, each a page with bytes.

use alloc::vec::Vec;

use abi::Errno;

use crate::mm::Frame;

/// Bytes on their way.
pub struct Slot {
    pub frame: Frame,
    pub offset: usize,
    pub len: usize,
    pub page: SlotPage,
}

/// What may be done with a slot's page. What nobody else has may serve again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotPage {
    /// Later bytes may be appended.
    Open,
    /// The same, but others have references.
    OpenShared,
    Shared,
    /// A packet of O_DIRECT: a read takes it whole or loses the rest.
    Packet,
    PacketShared,
}

impl SlotPage {
    #[inline(always)]
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::OpenShared)
    }

    #[inline(always)]
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Open | Self::Packet)
    }

    #[inline(always)]
    pub(super) fn is_packet(self) -> bool {
        matches!(self, Self::Packet | Self::PacketShared)
    }
}

impl Slot {
    /// A reference to the same bytes, to which nothing is appended.
    pub(super) fn share(&mut self) -> Self {
        let (own, reference) = match self.page {
            SlotPage::Open | SlotPage::OpenShared => (SlotPage::OpenShared, SlotPage::Shared),
            SlotPage::Shared => (SlotPage::Shared, SlotPage::Shared),
            SlotPage::Packet | SlotPage::PacketShared => (SlotPage::PacketShared, SlotPage::PacketShared),
        };
        self.page = own;
        Self { frame: self.frame.clone(), page: reference, ..*self }
    }
}

#[derive(Default)]
pub(super) struct Ring {
    /// The first slot, or while there is none what is left of the last: a page of the pipe's own for the next.
    pub(super) first: Option<Slot>,
    /// The slots behind it, from `head` on.
    pub(super) rest: Vec<Option<Slot>>,
    head: usize,
    /// Slots in use.
    pub(super) len: usize,
    /// The page of a slot that was emptied, for the next.
    pub(super) spare: Option<Frame>,
}

impl Ring {
    #[inline(always)]
    pub(super) fn front_mut(&mut self) -> Option<&mut Slot> {
        if self.len == 0 { None } else { self.first.as_mut() }
    }

    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut Slot> {
        if self.len == 1 { self.first.as_mut() } else { self.rest.last_mut()?.as_mut() }
    }

    /// The slots behind the first.
    #[inline(always)]
    pub(super) fn behind(&self) -> &[Option<Slot>] {
        self.rest.get(self.head..).unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, nth: usize) -> Option<&mut Slot> {
        match nth.checked_sub(1) {
            None => self.front_mut(),
            Some(behind) => self.rest.get_mut(self.head.checked_add(behind)?)?.as_mut(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.first.iter().chain(self.behind().iter().flatten()).take(self.len)
    }

    /// Sees to it that so many more slots can be pushed without asking for memory.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), Errno> {
        if self.rest.capacity() - self.rest.len() < count {
            self.rest.drain(..self.head);
            self.head = 0;
            self.rest.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// `reserve` comes first.
    #[inline(always)]
    pub(super) fn push_back(&mut self, slot: Slot) {
        if self.len == 0 {
            self.first = Some(slot);
        } else {
            self.rest.push(Some(slot));
        }
        self.len += 1;
    }

    pub(super) fn push_front(&mut self, slot: Slot) {
        if let Some(old) = self.first.replace(slot)
            && self.len > 0
        {
            match self.head.checked_sub(1) {
                Some(before) => {
                    self.head = before;
                    if let Some(free) = self.rest.get_mut(before) {
                        *free = Some(old);
                    }
                }
                None => self.rest.insert(0, Some(old)),
            }
        }
        self.len += 1;
    }

    /// Takes the slot behind the first, and frees so many before it.
    pub(super) fn pop_behind(&mut self, skip: usize) -> Option<Slot> {
        let at = self.head + skip;
        let slot = self.rest.get_mut(at).and_then(Option::take);
        if at + 1 >= self.rest.len() {
            self.rest.clear();
            self.head = 0;
        } else {
            self.rest.get_mut(self.head..at).unwrap_or_default().fill_with(|| None);
            self.head = at + 1;
        }
        slot
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Slot> {
        self.len = self.len.checked_sub(1)?;
        let next = self.pop_behind(0);
        core::mem::replace(&mut self.first, next)
    }

    /// Takes the first slot away, whose page may serve again.
    #[inline(always)]
    pub(super) fn drop_first(&mut self) {
        if self.len != 1 {
            if let Some(slot) = self.pop_front()
                && slot.page.is_own()
            {
                self.spare = Some(slot.frame);
            }
            return;
        }
        self.len = 0;
        if self.first.as_ref().is_some_and(|slot| !slot.page.is_own()) {
            self.first = None;
        }
    }

    /// Takes that many slots away from the front.
    pub(super) fn drop_many(&mut self, count: usize) {
        let Some(behind) = count.checked_sub(1) else { return };
        self.len = self.len.saturating_sub(count);
        let next = self.pop_behind(behind);
        // The page of the last one may serve again.
        if next.is_some() || self.first.as_ref().is_some_and(|slot| !slot.page.is_own()) {
            self.first = next;
        }
    }

    /// A page of the pipe's own, if it has one left.
    #[inline]
    pub(super) fn spare_page(&mut self) -> Option<Frame> {
        let first = if self.len == 0 { self.first.take().map(|slot| slot.frame) } else { None };
        first.or_else(|| self.spare.take())
    }
}

/// What a new page of the pipe's own is.
#[inline(always)]
pub(super) fn own_page(is_packet: bool) -> SlotPage {
    if is_packet { SlotPage::Packet } else { SlotPage::Open }
}
