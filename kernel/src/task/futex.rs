//! futex(2): sleeping on a word of the program's memory, and waking those who do.
//!
//! The value is compared and the waiter enqueued under one lock (its bucket's). A waiter that was dequeued by a wake reports success, whatever
//! else happened to it meanwhile.

#![expect(unsafe_code, reason = "waiters stand on the stacks of those who wait")]

use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};

use abi::Errno;

use super::futex_pi::Claim;
use super::sched::{self, current};
use super::thread::Thread;
use super::wait::{self, WaitError};
use crate::arch::x86_64::cpu;
use crate::list::{Entry, List};
use crate::mm::regions::{Backing, RegionFlags};
use crate::mm::{PAGE_SIZE, UserPtr};
use crate::sync::SpinLock;

const BUCKETS: usize = 64;
/// A waiter that takes every wake (FUTEX_BITSET_MATCH_ANY).
pub const ANY: u32 = u32::MAX;

/// What a futex word is, wherever it is mapped: the object and the offset in it. Private words belong to their address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    object: usize,
    offset: usize,
}

/// Whether a futex word may be in memory that processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Private,
    Shared,
}

/// One sleeping thread on one word.
pub struct Sleeping {
    /// Where it waits; a requeue changes it, under both buckets' locks.
    key: Cell<Key>,
    /// The key's bucket, for the waiter itself to find its lock.
    bucket: AtomicPtr<SpinLock<Bucket>>,
    thread: &'static Thread,
    bitset: u32,
    woken: AtomicBool,
    /// For FUTEX_WAIT_REQUEUE_PI: the lock that it wants to be moved to.
    pub(super) pi: Option<(Key, Arc<Claim>)>,
}

// SAFETY: the key is used under the lock of its bucket.
unsafe impl Sync for Sleeping {}

/// Its place in a bucket. It stands on the stack of the thread that sleeps.
pub type Waiter = Entry<Sleeping>;
pub type Bucket = List<Sleeping>;

impl Waiter {
    pub(super) fn on(key: Key, bitset: u32, pi: Option<(Key, Arc<Claim>)>) -> Self {
        Self::new(Sleeping {
            key: Cell::new(key),
            bucket: AtomicPtr::new(core::ptr::from_ref(key.bucket()).cast_mut()),
            thread: current(),
            bitset,
            woken: AtomicBool::new(false),
            pi,
        })
    }

    pub(super) fn key(&self) -> Key {
        self.value.key.get()
    }

    fn bucket(&self) -> &'static SpinLock<Bucket> {
        // SAFETY: only elements of the table are ever stored.
        unsafe { &*self.value.bucket.load(Ordering::Acquire) }
    }

    #[inline(always)]
    pub(super) fn is_woken(&self) -> bool {
        self.value.woken.load(Ordering::Acquire)
    }
}

static TABLE: [SpinLock<Bucket>; BUCKETS] = [const { SpinLock::new(List::new()) }; BUCKETS];
/// Sleeping waiters in all buckets: a wake without any needs no lock.
static WAITERS: AtomicUsize = AtomicUsize::new(0);

impl Key {
    /// Whether a word may be there. EINVAL if it isn't aligned, EFAULT outside the program's half.
    #[inline(always)]
    pub fn check(address: UserPtr<u32>) -> Result<(), Errno> {
        if !address.addr().is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if address.addr() >= crate::mm::USER_TOP { Err(Errno::EFAULT) } else { Ok(()) }
    }

    /// The key of a word that no other process has to do with. EINVAL if it isn't aligned, EFAULT outside the program's half.
    #[inline(always)]
    pub fn private(address: UserPtr<u32>) -> Result<Self, Errno> {
        Self::check(address)?;
        let space = current().address_space().ok_or(Errno::EFAULT)?;
        Ok(Self { object: core::ptr::from_ref(space).addr(), offset: address.addr() })
    }

    /// The key of a word. EINVAL if it isn't aligned, EFAULT if a shared word isn't mapped.
    pub fn of(address: UserPtr<u32>, scope: Scope) -> Result<Self, Errno> {
        let private = Self::private(address)?;
        let at = address.addr();
        let space = current().address_space().ok_or(Errno::EFAULT)?;
        if scope == Scope::Private {
            return Ok(private);
        }
        // A page that isn't there yet may turn out to be anything: bring it in first.
        address.load()?;
        Ok(space.with(|inner| match inner.regions.find(at) {
            Some(region) if region.flags.contains(RegionFlags::SHARED) => match &region.backing {
                Backing::Object(object, page) => Self {
                    object: object.identity_key(),
                    offset: *page as usize * PAGE_SIZE + (at - region.start),
                },
                Backing::Anonymous => private,
            },
            _ => private,
        }))
    }

    #[inline(always)]
    fn bucket(self) -> &'static SpinLock<Bucket> {
        let mixed = (self.object >> 6) ^ (self.offset >> 2) ^ (self.offset >> 12);
        &TABLE[mixed % BUCKETS]
    }
}

/// Sleeps while the word has this value. EAGAIN if it hasn't.
pub fn wait(
    address: UserPtr<u32>,
    key: Key,
    expected: u32,
    bitset: u32,
    deadline: Option<u64>,
) -> Result<(), WaitOrErrno> {
    let waiter = Waiter::on(key, bitset, None);
    enqueue(&waiter, address, expected)?;
    let result = wait::sleep_while(deadline, || !waiter.is_woken());
    // With one CPU, whoever woke it has let go of it long since.
    if cpu::is_single() && waiter.is_woken() {
        core::mem::forget(waiter);
        return Ok(());
    }
    if remove(&waiter) {
        // Nobody woke it.
        return result.map_err(WaitOrErrno::Wait);
    }
    Ok(())
}

/// Puts the running thread into a word's bucket while the word has this value; `remove` must follow. EAGAIN if it hasn't.
#[inline(always)]
pub(super) fn enqueue(waiter: &Waiter, address: UserPtr<u32>, expected: u32) -> Result<(), Errno> {
    // Once without the lock, so that the page is there. With one CPU nobody can change the word after that.
    let before = address.load()?;
    let bucket = waiter.bucket().lock();
    // Counted before the word is looked at: a waker changes the word before it looks at the count.
    WAITERS.fetch_add(1, Ordering::SeqCst);
    match if cpu::is_single() { Ok(before) } else { address.load() } {
        Ok(value) if value == expected => {
            join(&bucket, waiter);
            Ok(())
        }
        other => {
            forget_waiter();
            Err(other.err().unwrap_or(Errno::EAGAIN))
        }
    }
}

/// Puts a waiter into a bucket, which it is taken out of by itself if by nobody else. Real-time threads stand before those that are less urgent.
#[inline(always)]
fn join(bucket: &Bucket, waiter: &Waiter) {
    if sched::REALTIME_USED.load(Ordering::Relaxed) {
        join_urgently(bucket, waiter);
    } else {
        // SAFETY: whoever makes a waiter removes it before it goes away.
        unsafe { bucket.push_back(waiter) };
    }
}

#[cold]
#[inline(never)]
fn join_urgently(bucket: &Bucket, waiter: &Waiter) {
    let urgency = |waiter: &Waiter| waiter.value.thread.priorities.urgency();
    let own = urgency(waiter);
    // SAFETY: as in `join`.
    unsafe { bucket.insert_before(waiter, bucket.iter().find(|other| urgency(other) < own)) };
}

/// Calls `f` with a word's bucket locked.
pub(super) fn with_bucket<T>(key: Key, f: impl FnOnce(&Bucket) -> T) -> T {
    f(&key.bucket().lock())
}

/// A waiter was taken out of its bucket.
pub(super) fn forget_waiter() {
    WAITERS.fetch_sub(1, Ordering::SeqCst);
}

/// Why a futex wait ended without a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOrErrno {
    Wait(WaitError),
    Errno(Errno),
}

impl From<Errno> for WaitOrErrno {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Takes a waiter out of its bucket; whether it was still in one. Whoever woke it has let go of it after this.
#[inline]
pub(super) fn remove(waiter: &Waiter) -> bool {
    loop {
        let found = waiter.bucket();
        let bucket = found.lock();
        // A requeue may have moved it before the bucket was locked.
        if !core::ptr::eq(waiter.bucket(), found) {
            continue;
        }
        let was_there = bucket.remove(waiter);
        if was_there {
            forget_waiter();
        }
        return was_there;
    }
}

/// Waits on several words at once (futex_waitv): the index of one that was woken. EAGAIN if one hasn't the value expected.
pub fn wait_many(words: &[(UserPtr<u32>, Key, u32)], deadline: Option<u64>) -> Result<usize, WaitOrErrno> {
    let mut waiters: alloc::vec::Vec<Waiter> = alloc::vec::Vec::new();
    waiters.try_reserve(words.len()).map_err(|_| Errno::ENOMEM)?;
    waiters.extend(words.iter().map(|&(_, key, _)| Waiter::on(key, ANY, None)));
    let mut outcome = Ok(());
    for (waiter, &(address, _, expected)) in waiters.iter().zip(words) {
        outcome = enqueue(waiter, address, expected).map_err(WaitOrErrno::Errno);
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        let nobody_woke = || !waiters.iter().any(Waiter::is_woken);
        outcome = wait::sleep_while(deadline, nobody_woke).map_err(WaitOrErrno::Wait);
    }
    let mut woken = None;
    for (index, waiter) in waiters.iter().enumerate() {
        remove(waiter);
        if waiter.is_woken() {
            woken = Some(index);
        }
    }
    match woken {
        Some(index) => Ok(index),
        None => outcome.and(Err(Errno::EAGAIN.into())),
    }
}

/// Wakes up to `count` waiters whose bitsets meet `bitset`. Returns how many.
#[inline]
pub fn wake(key: Key, count: usize, bitset: u32) -> usize {
    // The program may have changed the word by a plain store, which this processor may still keep to itself (`crates/smp`, futex).
    if !cpu::is_single() {
        fence(Ordering::SeqCst);
    }
    if WAITERS.load(Ordering::SeqCst) == 0 {
        return 0;
    }
    wake_present(key, count, bitset)
}

#[inline(never)]
fn wake_present(key: Key, count: usize, bitset: u32) -> usize {
    let bucket = key.bucket().lock();
    // Mostly there is one.
    let Some(only) = bucket.only() else { return wake_in(&bucket, key, count, bitset) };
    let is_meant = only.key() == key && only.value.bitset & bitset != 0;
    if is_meant {
        bucket.remove_only(only);
        wake_removed(only);
    }
    usize::from(is_meant)
}

/// Wakes a waiter that was just taken out of its bucket, whose lock is still held.
#[inline(always)]
fn wake_removed(waiter: &Waiter) {
    forget_waiter();
    waiter.value.woken.store(true, Ordering::Release);
    sched::wake(waiter.value.thread);
}

#[inline(never)]
fn wake_in(bucket: &Bucket, key: Key, count: usize, bitset: u32) -> usize {
    let mut woken = 0;
    let mut next = bucket.first();
    while let Some(waiter) = next
        && woken < count
    {
        next = bucket.after(waiter);
        if waiter.key() == key && waiter.value.bitset & bitset != 0 {
            bucket.remove(waiter);
            wake_removed(waiter);
            woken += 1;
        }
    }
    woken
}

/// Calls `f` with two buckets locked, in an order that can't deadlock. The second is the first again if they are the same.
fn with_buckets<T>(a: Key, b: Key, f: impl FnOnce(&Bucket, &Bucket) -> T) -> T {
    let (bucket_a, bucket_b) = (a.bucket(), b.bucket());
    let (at_a, at_b) = (core::ptr::from_ref(bucket_a), core::ptr::from_ref(bucket_b));
    if at_a == at_b {
        let both = bucket_a.lock();
        return f(&both, &both);
    }
    if at_a < at_b {
        let first = bucket_a.lock();
        f(&first, &bucket_b.lock())
    } else {
        let second = bucket_b.lock();
        f(&bucket_a.lock(), &second)
    }
}

/// Wakes `wake_count` waiters of one word and moves up to `move_count` others to a second word (FUTEX_REQUEUE). With `expected`, only if the
/// first word still has that value (EAGAIN). Returns woken plus moved.
pub fn requeue(
    address: UserPtr<u32>,
    from: Key,
    to: Key,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result<(usize, usize), Errno> {
    address.load()?;
    with_buckets(from, to, |first, second| {
        if let Some(expected) = expected
            && address.load()? != expected
        {
            return Err(Errno::EAGAIN);
        }
        let woken = wake_in(first, from, wake_count, ANY);
        let mut moved = 0;
        let mut next = first.first();
        while let Some(waiter) = next
            && moved < move_count
            && from != to
        {
            next = first.after(waiter);
            if waiter.key() != from {
                continue;
            }
            waiter.value.key.set(to);
            moved += 1;
            if !core::ptr::eq(first, second) {
                first.remove(waiter);
                join(second, waiter);
                waiter.value.bucket.store(core::ptr::from_ref(to.bucket()).cast_mut(), Ordering::Release);
            }
        }
        Ok((woken, moved))
    })
}

/// FUTEX_WAKE_OP: changes the second word, wakes waiters of the first, and of the second if its old value compares so.
pub fn wake_op(
    first: Key,
    second_address: UserPtr<u32>,
    second: Key,
    first_count: usize,
    second_count: usize,
    encoded: u32,
) -> Result<usize, Errno> {
    let shift = encoded & 0x8000_0000 != 0;
    let operation = encoded >> 28 & 7;
    let comparison = encoded >> 24 & 0xf;
    // Twelve-bit signed fields.
    let signed = |field: u32| (field << 20).cast_signed() >> 20;
    let mut operand = signed(encoded >> 12 & 0xfff).cast_unsigned();
    let compare_with = signed(encoded & 0xfff);
    if shift {
        operand = 1u32 << (operand & 31);
    }
    second_address.load()?;
    with_buckets(first, second, |bucket, other| {
        let old = second_address.load()?;
        let new = match operation {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            4 => old ^ operand,
            _ => return Err(Errno::ENOSYS),
        };
        let old_signed = old.cast_signed();
        let holds = match comparison {
            0 => old_signed == compare_with,
            1 => old_signed != compare_with,
            2 => old_signed < compare_with,
            3 => old_signed <= compare_with,
            4 => old_signed > compare_with,
            5 => old_signed >= compare_with,
            _ => return Err(Errno::ENOSYS),
        };
        // The program's other threads may change the word at the same time: exchange it whole.
        if !crate::arch::x86_64::usercopy::compare_exchange_u32(second_address.addr(), old, new)
            .ok_or(Errno::EFAULT)?
        {
            return Err(Errno::EAGAIN);
        }
        let mut woken = wake_in(bucket, first, first_count, ANY);
        if holds {
            woken += wake_in(other, second, second_count, ANY);
        }
        Ok(woken)
    })
}
