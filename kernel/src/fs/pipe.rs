//! Pipes and FIFOs (pipe(7)).
//!
//! A ring of slots, each a page with bytes: as on Linux, a short write joins the last slot if it fits there whole, a write of up to
//! PIPE_BUF bytes takes one free slot and so is never torn, and a pipe is full when its slots are used up.

mod end;
mod ring;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::Errno;
use caps::cap;

use super::file::Mode;
use super::hooks;
use super::lock::SleepMutex;
use super::poll::{Events, PollHead, Readiness};
use crate::mm::user::UserRange;
use crate::mm::{Frame, PAGE_SIZE, Sink, Source};
use crate::syscall::{SysError, SysResult};
use crate::task::process::has_capability;

pub use end::{Fifo, PipeEnd, new, of};
use ring::{Ring, own_page};
pub use ring::{Slot, SlotPage};

/// Slots of a new pipe.
const SLOTS: u32 = 16;
/// `fs.pipe-max-size`, in bytes.
pub static MAX_SIZE: AtomicU64 = AtomicU64::new(1 << 20);

/// A pipe.
pub struct Pipe {
    /// Locked while bytes are copied in or out.
    ring: SleepMutex<Ring>,
    /// Slots in use, and how many there may be.
    used: AtomicU32,
    capacity: AtomicU32,
    readers: AtomicU32,
    writers: AtomicU32,
    /// How many opens there ever were, for FIFOs whose opens wait for each other.
    reader_opens: AtomicU32,
    writer_opens: AtomicU32,
    /// What poll says of the two ends of a pipe without a name.
    reader: Arc<Readiness>,
    writer: Arc<Readiness>,
    /// Told when there is something to read, or nobody to write any more.
    readable: PollHead,
    /// Told when there is room, or nobody to read any more.
    writable: PollHead,
}

/// What goes into a slot goes whole or not at all (pipe_write).
#[inline]
fn whole(moved: Result<usize, Errno>, wanted: usize) -> Result<usize, Errno> {
    moved.and_then(|moved| if moved == wanted { Ok(moved) } else { Err(Errno::EFAULT) })
}

impl Pipe {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: SleepMutex::new(Ring::default()),
            used: AtomicU32::new(0),
            capacity: AtomicU32::new(SLOTS),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            reader_opens: AtomicU32::new(0),
            writer_opens: AtomicU32::new(0),
            reader: Arc::default(),
            writer: Arc::new(Readiness::new(Events::WRITABLE)),
            readable: PollHead::new(),
            writable: PollHead::new(),
        })
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.used.load(Ordering::Acquire) == 0
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.used.load(Ordering::Acquire) >= self.capacity.load(Ordering::Relaxed)
    }

    #[inline]
    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) != 0
    }

    #[inline]
    fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Acquire) != 0
    }

    /// Says how many slots are used now, under the ring's lock.
    #[inline]
    fn publish(&self, ring: &Ring) {
        let (before, now) = (self.used.load(Ordering::Relaxed), ring.len as u32);
        let capacity = self.capacity.load(Ordering::Relaxed);
        self.used.store(now, Ordering::Release);
        if now == 0 {
            self.reader.clear(Events::READABLE);
        } else if before == 0 {
            self.reader.set(Events::READABLE);
        }
        if now >= capacity {
            self.writer.clear(Events::WRITABLE);
        } else if before >= capacity {
            self.writer.set(Events::WRITABLE);
        }
    }

    /// Bytes waiting (FIONREAD).
    pub fn pending(&self) -> usize {
        self.ring.lock().iter().map(|slot| slot.len).sum()
    }

    /// Size in bytes (F_GETPIPE_SZ).
    pub fn size(&self) -> u32 {
        self.capacity.load(Ordering::Relaxed) * PAGE_SIZE as u32
    }

    /// F_SETPIPE_SZ: the new size. EINVAL, EPERM, EBUSY.
    pub fn set_size(&self, bytes: u32) -> Result<u32, Errno> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let slots = bytes.div_ceil(PAGE_SIZE as u32).max(1).next_power_of_two();
        let size = slots.checked_mul(PAGE_SIZE as u32).ok_or(Errno::EINVAL)?;
        let ring = self.ring.lock();
        let most = MAX_SIZE.load(Ordering::Relaxed);
        if slots > self.capacity.load(Ordering::Relaxed)
            && u64::from(size) > most
            && !has_capability(cap::SYS_RESOURCE)
        {
            return Err(Errno::EPERM);
        }
        if self.used.load(Ordering::Relaxed) > slots {
            return Err(Errno::EBUSY);
        }
        self.capacity.store(slots, Ordering::Relaxed);
        self.writer.set(Events::WRITABLE);
        self.publish(&ring);
        drop(ring);
        self.writable.notify();
        Ok(size)
    }

    /// Reads whole slots, as many as fit into one piece of the program's memory. Returns how many bytes; whatever else there is goes the other
    /// way.
    #[inline(never)]
    fn read_slots(&self, ring: &mut Ring, dst: &mut Sink<'_>) -> usize {
        let Some((address, room)) = dst.as_user() else { return 0 };
        let take = |slot: &Slot, to: usize, room: usize| {
            if slot.page.is_packet() || slot.len > room {
                return false;
            }
            let left = match slot.len {
                PAGE_SIZE => slot.frame.copy_to_user(0, PAGE_SIZE, to),
                len => slot.frame.copy_to_user(slot.offset, len, to),
            };
            left == 0
        };
        let Some(first) = ring.front_mut().filter(|first| take(first, address, room)) else { return 0 };
        let (mut to, mut left) = (address.wrapping_add(first.len), room.wrapping_sub(first.len));
        let mut count = 1usize;
        for slot in ring.behind() {
            let Some(slot) = slot else { break };
            if !take(slot, to, left) {
                break;
            }
            to = to.wrapping_add(slot.len);
            left = left.wrapping_sub(slot.len);
            count = count.wrapping_add(1);
        }
        let done = room.wrapping_sub(left);
        ring.drop_many(count);
        self.publish(ring);
        dst.advance(done);
        done
    }

    /// Reads what is there; `None` if there is nothing.
    #[inline]
    fn read_some(&self, ring: &mut Ring, dst: &mut Sink<'_>) -> Option<Result<usize, Errno>> {
        let mut done = self.read_slots(ring, dst);
        if done > 0 && dst.remaining() == 0 {
            return Some(Ok(done));
        }
        while let Some(slot) = ring.front_mut() {
            let wanted = slot.len.min(dst.remaining());
            // A slot that couldn't be copied whole stays as it was (pipe_read).
            let moved = match slot.frame.copy_to(slot.offset, wanted, dst) {
                Ok(moved) if moved == wanted => moved,
                _ if done > 0 => break,
                _ => return Some(Err(Errno::EFAULT)),
            };
            done += moved;
            let is_packet = slot.page.is_packet();
            if moved == slot.len || is_packet {
                ring.drop_first();
                self.publish(ring);
            } else {
                slot.offset += moved;
                slot.len -= moved;
            }
            if is_packet || dst.remaining() == 0 {
                break;
            }
        }
        (done > 0).then_some(Ok(done))
    }

    /// Appends to the last slot if all of the bytes that don't fill a page fit there.
    #[inline]
    fn merge(ring: &mut Ring, src: &mut Source<'_>) -> Result<usize, Errno> {
        let odd = src.remaining() % PAGE_SIZE;
        match ring.back_mut() {
            Some(slot) if odd != 0 && slot.page.is_open() && slot.offset + slot.len + odd <= PAGE_SIZE => {
                let moved = whole(slot.frame.copy_from(slot.offset + slot.len, odd, src), odd)?;
                slot.len += moved;
                Ok(moved)
            }
            _ => Ok(0),
        }
    }

    /// Fills slots with whole pages of one piece of the program's memory. Returns how many bytes; whatever is left goes the other way.
    #[inline(never)]
    fn fill_slots(&self, ring: &mut Ring, src: &mut Source<'_>, is_packet: bool) -> usize {
        let Some((address, len)) = src.as_user() else { return 0 };
        let free = (self.capacity.load(Ordering::Relaxed) as usize).saturating_sub(ring.len);
        let pages = (len / PAGE_SIZE).min(free);
        if pages < 2 || ring.reserve(pages).is_err() {
            return 0;
        }
        let page = own_page(is_packet);
        let mut done = 0usize;
        // The first by itself, for it may have a place and a page of its own.
        if let Some(frame) = ring.spare_page().or_else(|| Frame::uninit().ok()) {
            if frame.copy_from_user(0, PAGE_SIZE, address) == 0 {
                ring.push_back(Slot { frame, offset: 0, len: PAGE_SIZE, page });
                done = PAGE_SIZE;
            } else {
                ring.spare = Some(frame);
            }
        }
        while done != 0 && done < pages * PAGE_SIZE {
            let Ok(frame) = Frame::uninit() else { break };
            if frame.copy_from_user(0, PAGE_SIZE, address.wrapping_add(done)) != 0 {
                break;
            }
            ring.rest.push(Some(Slot { frame, offset: 0, len: PAGE_SIZE, page }));
            done = done.wrapping_add(PAGE_SIZE);
        }
        ring.len += (done / PAGE_SIZE).saturating_sub(1);
        self.publish(ring);
        src.advance(done);
        done
    }

    /// Fills one new slot, of which there must be a free one.
    #[inline]
    fn fill_slot(&self, ring: &mut Ring, src: &mut Source<'_>, is_packet: bool) -> Result<usize, Errno> {
        ring.reserve(1)?;
        let frame = match ring.spare_page() {
            Some(frame) => frame,
            None => Frame::uninit()?,
        };
        let wanted = src.remaining().min(PAGE_SIZE);
        match whole(frame.copy_from(0, wanted, src), wanted) {
            Ok(len) => {
                ring.push_back(Slot { frame, offset: 0, len, page: own_page(is_packet) });
                self.publish(ring);
                Ok(len)
            }
            Err(error) => {
                ring.spare = Some(frame);
                Err(error)
            }
        }
    }

    /// Takes the only message there is, if it fits. `None`: the long way says what comes of it.
    #[inline(always)]
    fn read_one(&self, buf: UserRange) -> Option<usize> {
        let mut ring = self.ring.lock();
        // A pipe of one slot is full now, and somebody may wait for room.
        if ring.len != 1 || self.capacity.load(Ordering::Relaxed) == 1 {
            return None;
        }
        let slot = ring.first.as_ref()?;
        // No slot in use is empty: a reader without room doesn't get past this.
        let (len, is_own) = (slot.len, slot.page.is_own());
        if len > buf.len() || slot.frame.copy_to_user(slot.offset, len, buf.address()) != 0 {
            return None;
        }
        ring.len = 0;
        if !is_own {
            ring.first = None;
        }
        self.used.store(0, Ordering::Release);
        self.reader.clear(Events::READABLE);
        Some(len)
    }

    /// Puts a message of up to a page into the empty pipe. `None`: the long way says what comes of it.
    #[inline(always)]
    fn write_one(&self, buf: UserRange) -> Option<usize> {
        let len = buf.len();
        if !(1..=PAGE_SIZE).contains(&len) {
            return None;
        }
        let mut ring = self.ring.lock();
        let is_usual = ring.len == 0 && self.has_readers() && self.capacity.load(Ordering::Relaxed) > 1;
        if !is_usual {
            return None;
        }
        let slot = ring.first.as_mut()?;
        if slot.frame.copy_from_user(0, len, buf.address()) != 0 {
            return None;
        }
        (slot.offset, slot.len, slot.page) = (0, len, SlotPage::Open);
        ring.len = 1;
        self.used.store(1, Ordering::Release);
        self.reader.set(Events::READABLE);
        self.readable.notify_of(Events::READABLE);
        Some(len)
    }

    /// read(2): whatever is there, else waits for something or for the last writer to go.
    #[inline(never)]
    pub fn read(&self, dst: &mut Sink<'_>, wait: bool) -> SysResult {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        loop {
            {
                let mut ring = self.ring.lock();
                let was_full = self.is_full();
                if let Some(result) = self.read_some(&mut ring, dst) {
                    if was_full {
                        self.writable.notify_of(Events::WRITABLE);
                    }
                    return result.map_err(SysError::from);
                }
            }
            if !self.has_writers() {
                return Ok(0);
            }
            if !wait {
                return Err(Errno::EAGAIN.into());
            }
            self.readable.wait(None, || (!self.is_empty() || !self.has_writers()).then_some(()))?;
        }
    }

    /// write(2): everything, unless interrupted or told not to wait.
    #[inline(never)]
    pub fn write(&self, src: &mut Source<'_>, wait: bool, packets: bool) -> SysResult {
        if src.remaining() == 0 {
            return Ok(0);
        }
        let mut done = 0;
        let mut may_merge = true;
        loop {
            let outcome = self.write_some(src, packets, &mut may_merge, &mut done);
            match outcome {
                Err(Errno::EPIPE) => {
                    hooks::send_pipe_signal();
                    return if done > 0 { Ok(done) } else { Err(Errno::EPIPE.into()) };
                }
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error.into()),
                Ok(()) => {}
            }
            if src.remaining() == 0 {
                return Ok(done);
            }
            if !wait {
                return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN.into()) };
            }
            let waited = self.writable.wait(None, || (!self.is_full() || !self.has_readers()).then_some(()));
            match waited {
                Ok(()) => {}
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes until everything is in or the pipe is full. EPIPE without readers.
    #[inline]
    fn write_some(
        &self,
        src: &mut Source<'_>,
        packets: bool,
        may_merge: &mut bool,
        done: &mut usize,
    ) -> Result<(), Errno> {
        let mut ring = self.ring.lock();
        if !self.has_readers() {
            return Err(Errno::EPIPE);
        }
        let was_empty = self.is_empty();
        let before = *done;
        let mut result = Ok(());
        if core::mem::take(may_merge) && !was_empty {
            match Self::merge(&mut ring, src) {
                Ok(moved) => *done += moved,
                Err(error) => return Err(error),
            }
        }
        *done += self.fill_slots(&mut ring, src, packets);
        while src.remaining() > 0 && !self.is_full() {
            match self.fill_slot(&mut ring, src, packets) {
                Ok(moved) => *done += moved,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if *done > before && (was_empty || self.readable.is_watched()) {
            self.readable.notify_of(Events::READABLE);
        }
        result
    }

    fn add_end(&self, mode: Mode) {
        if mode.contains(Mode::READ) {
            self.readers.fetch_add(1, Ordering::AcqRel);
            self.writer.clear(Events::ERR);
            self.reader_opens.fetch_add(1, Ordering::AcqRel);
        }
        if mode.contains(Mode::WRITE) {
            self.writers.fetch_add(1, Ordering::AcqRel);
            self.reader.clear(Events::HUP);
            self.writer_opens.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn remove_end(&self, mode: Mode) {
        if mode.contains(Mode::READ) && self.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.writer.set(Events::ERR);
        }
        if mode.contains(Mode::WRITE) && self.writers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.reader.set(Events::HUP);
        }
        self.readable.notify();
        self.writable.notify();
    }

    // ---- for splice and its relatives -----------------------------------------------------------------------------------------

    /// Waits until there is something to take: whether there is (or only an end).
    pub fn wait_readable(&self, wait: bool) -> Result<bool, SysError> {
        loop {
            if !self.is_empty() {
                return Ok(true);
            }
            if !self.has_writers() {
                return Ok(false);
            }
            if !wait {
                return Err(Errno::EAGAIN.into());
            }
            self.readable.wait_until(None, &mut || !self.is_empty() || !self.has_writers())?;
        }
    }

    /// Waits until a slot is free, and has memory for it. EPIPE (with SIGPIPE) without readers; ENOMEM.
    pub fn wait_writable(&self, wait: bool) -> Result<(), SysError> {
        loop {
            if !self.has_readers() {
                hooks::send_pipe_signal();
                return Err(Errno::EPIPE.into());
            }
            if !self.is_full() {
                return Ok(self.ring.lock().reserve(1)?);
            }
            if !wait {
                return Err(Errno::EAGAIN.into());
            }
            self.writable.wait_until(None, &mut || !self.is_full() || !self.has_readers())?;
        }
    }

    /// Takes up to `max` bytes of the first slot, as a reference to its page.
    pub fn take(&self, max: usize) -> Option<Slot> {
        let mut ring = self.ring.lock();
        let was_full = self.is_full();
        let first = ring.front_mut()?;
        let len = first.len.min(max);
        let piece = if len == first.len {
            let whole = ring.pop_front()?;
            self.publish(&ring);
            whole
        } else {
            let piece = Slot { len, ..first.share() };
            first.offset += len;
            first.len -= len;
            piece
        };
        drop(ring);
        if was_full {
            self.writable.notify_of(Events::WRITABLE);
        }
        Some(piece)
    }

    /// A reference to the bytes of slot `nth`, which stay (tee).
    pub fn look(&self, nth: usize, max: usize) -> Option<Slot> {
        let mut ring = self.ring.lock();
        let slot = ring.get_mut(nth)?;
        Some(Slot { len: slot.len.min(max), ..slot.share() })
    }

    /// Slots that are free.
    pub fn free_slots(&self) -> usize {
        self.capacity.load(Ordering::Relaxed).saturating_sub(self.used.load(Ordering::Acquire)) as usize
    }

    /// Whether a slot is free.
    pub fn has_room(&self) -> bool {
        !self.is_full()
    }

    /// Puts a slot in; it comes back if there is none free.
    pub fn put(&self, slot: Slot) -> Option<Slot> {
        let mut ring = self.ring.lock();
        if self.is_full() || ring.reserve(1).is_err() {
            return Some(slot);
        }
        ring.push_back(slot);
        self.publish(&ring);
        self.readable.notify_of(Events::READABLE);
        None
    }

    /// Puts what `take` took back in front.
    pub fn put_back(&self, slot: Slot) {
        let mut ring = self.ring.lock();
        ring.push_front(slot);
        self.publish(&ring);
        // A reader may have found the pipe empty meanwhile.
        self.readable.notify_of(Events::READABLE);
    }
}
