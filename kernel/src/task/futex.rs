//! futex(2): sleeping on a word of the program's memory, and waking those who do.
//!
//! The value is compared and the waiter enqueued under one lock (its bucket's). A waiter that was dequeued by a wake reports success, whatever
//! else happened to it meanwhile.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use abi::Errno;

use super::futex_pi::Claim;
use super::sched::{self, current};
use super::thread::Thread;
use super::wait::{self, WaitError};
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
pub struct Waiter {
    /// Where it waits; a requeue changes it, under both buckets' locks.
    key: SpinLock<Key>,
    thread: Arc<Thread>,
    bitset: u32,
    woken: AtomicBool,
    /// For futex_waitv: which of the words it was.
    pub index: usize,
    /// For FUTEX_WAIT_REQUEUE_PI: the lock that it wants to be moved to.
    pub(super) pi: Option<(Key, Arc<Claim>)>,
}

impl Waiter {
    pub(super) fn key(&self) -> Key {
        *self.key.lock()
    }

    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

static TABLE: [SpinLock<VecDeque<Arc<Waiter>>>; BUCKETS] =
    [const { SpinLock::new(VecDeque::new()) }; BUCKETS];
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

    /// The key of a word. EINVAL if it isn't aligned, EFAULT if a shared word isn't mapped.
    pub fn of(address: UserPtr<u32>, scope: Scope) -> Result<Self, Errno> {
        Self::check(address)?;
        let at = address.addr();
        let space = current().address_space().ok_or(Errno::EFAULT)?;
        let private = Self { object: core::ptr::from_ref(space).addr(), offset: at };
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

    fn bucket(self) -> usize {
        let mixed = (self.object >> 6) ^ (self.offset >> 2) ^ (self.offset >> 12);
        mixed % BUCKETS
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
    let waiter = enqueue(address, key, expected, bitset, None)?;
    let result = wait::sleep_while(deadline, || !waiter.woken.load(Ordering::Acquire));
    if remove(&waiter) {
        // Nobody woke it.
        return result.map_err(WaitOrErrno::Wait);
    }
    Ok(())
}

/// Puts the running thread into a word's bucket while the word has this value. EAGAIN if it hasn't.
#[inline]
pub(super) fn enqueue(
    address: UserPtr<u32>,
    key: Key,
    expected: u32,
    bitset: u32,
    pi: Option<(Key, Arc<Claim>)>,
) -> Result<Arc<Waiter>, Errno> {
    // Once without the lock, so that the page is there.
    address.load()?;
    let waiter = Arc::new(Waiter {
        key: SpinLock::new(key),
        thread: sched::current_arc(),
        bitset,
        woken: AtomicBool::new(false),
        index: 0,
        pi,
    });
    let mut bucket = TABLE[key.bucket()].lock();
    // Counted before the word is looked at: a waker changes the word before it looks at the count.
    WAITERS.fetch_add(1, Ordering::SeqCst);
    match address.load() {
        Ok(value) if value == expected => bucket.push_back(waiter.clone()),
        other => {
            forget_waiter();
            return Err(other.err().unwrap_or(Errno::EAGAIN));
        }
    }
    drop(bucket);
    Ok(waiter)
}

/// Calls `f` with a word's bucket locked.
pub(super) fn with_bucket<T>(key: Key, f: impl FnOnce(&mut VecDeque<Arc<Waiter>>) -> T) -> T {
    f(&mut TABLE[key.bucket()].lock())
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

/// Takes a waiter out of its bucket; whether it was still in one.
pub(super) fn remove(waiter: &Arc<Waiter>) -> bool {
    loop {
        let key = *waiter.key.lock();
        let mut bucket = TABLE[key.bucket()].lock();
        // A requeue may have moved it before the bucket was locked.
        if *waiter.key.lock() != key {
            continue;
        }
        let Some(at) = bucket.iter().position(|other| Arc::ptr_eq(other, waiter)) else { return false };
        bucket.remove(at);
        WAITERS.fetch_sub(1, Ordering::SeqCst);
        return true;
    }
}

/// Waits on several words at once (futex_waitv): the index of one that was woken. EAGAIN if one hasn't the value expected.
pub fn wait_many(words: &[(UserPtr<u32>, Key, u32)], deadline: Option<u64>) -> Result<usize, WaitOrErrno> {
    let mut waiters: alloc::vec::Vec<Arc<Waiter>> = alloc::vec::Vec::new();
    waiters.try_reserve(words.len()).map_err(|_| Errno::ENOMEM)?;
    let mut outcome = Ok(());
    for (index, &(address, key, expected)) in words.iter().enumerate() {
        let waiter = Arc::new(Waiter {
            key: SpinLock::new(key),
            thread: sched::current_arc(),
            bitset: ANY,
            woken: AtomicBool::new(false),
            index,
            pi: None,
        });
        let mut bucket = TABLE[key.bucket()].lock();
        WAITERS.fetch_add(1, Ordering::SeqCst);
        match address.load() {
            Ok(value) if value == expected => {
                bucket.push_back(waiter.clone());
                waiters.push(waiter);
            }
            Ok(_) => outcome = Err(Errno::EAGAIN.into()),
            Err(errno) => outcome = Err(errno.into()),
        }
        if outcome.is_err() {
            WAITERS.fetch_sub(1, Ordering::SeqCst);
            break;
        }
    }
    if outcome.is_ok() {
        let nobody_woke = || waiters.iter().all(|waiter| !waiter.woken.load(Ordering::Acquire));
        outcome = wait::sleep_while(deadline, nobody_woke).map_err(WaitOrErrno::Wait);
    }
    let mut woken = None;
    for waiter in &waiters {
        if !remove(waiter) {
            woken = Some(waiter.index);
        }
    }
    match woken {
        Some(index) => Ok(index),
        None => outcome.and(Err(Errno::EAGAIN.into())),
    }
}

/// Whether nobody sleeps on any futex: then a wake of a private word has nothing to do but to check its address.
#[inline(always)]
pub fn is_quiet() -> bool {
    WAITERS.load(Ordering::SeqCst) == 0
}

/// Wakes up to `count` waiters whose bitsets meet `bitset`. Returns how many.
pub fn wake(key: Key, count: usize, bitset: u32) -> usize {
    if WAITERS.load(Ordering::SeqCst) == 0 {
        return 0;
    }
    let mut bucket = TABLE[key.bucket()].lock();
    wake_in(&mut bucket, key, count, bitset)
}

fn wake_in(bucket: &mut VecDeque<Arc<Waiter>>, key: Key, count: usize, bitset: u32) -> usize {
    let mut woken = 0;
    let mut index = 0;
    while woken < count {
        let Some(waiter) = bucket.get(index) else { break };
        if *waiter.key.lock() != key || waiter.bitset & bitset == 0 {
            index += 1;
            continue;
        }
        if let Some(waiter) = bucket.remove(index) {
            WAITERS.fetch_sub(1, Ordering::SeqCst);
            waiter.woken.store(true, Ordering::Release);
            sched::wake(&waiter.thread);
            woken += 1;
        }
    }
    woken
}

/// Calls `f` with two buckets locked, in an order that can't deadlock. The second is `None` if it is the first.
fn with_buckets<T>(
    a: Key,
    b: Key,
    f: impl FnOnce(&mut VecDeque<Arc<Waiter>>, Option<&mut VecDeque<Arc<Waiter>>>) -> T,
) -> T {
    let (index_a, index_b) = (a.bucket(), b.bucket());
    if index_a == index_b {
        return f(&mut TABLE[index_a].lock(), None);
    }
    if index_a < index_b {
        let mut first = TABLE[index_a].lock();
        let mut second = TABLE[index_b].lock();
        f(&mut first, Some(&mut second))
    } else {
        let mut second = TABLE[index_b].lock();
        let mut first = TABLE[index_a].lock();
        f(&mut first, Some(&mut second))
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
    with_buckets(from, to, |first, mut second| {
        if let Some(expected) = expected
            && address.load()? != expected
        {
            return Err(Errno::EAGAIN);
        }
        let woken = wake_in(first, from, wake_count, ANY);
        let mut moved = 0;
        let mut index = 0;
        while moved < move_count && from != to {
            let Some(waiter) = first.get(index) else { break };
            if *waiter.key.lock() != from {
                index += 1;
                continue;
            }
            *waiter.key.lock() = to;
            moved += 1;
            match &mut second {
                Some(second) => {
                    if let Some(waiter) = first.remove(index) {
                        second.push_back(waiter);
                    }
                }
                None => index += 1,
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
            woken += wake_in(other.unwrap_or(bucket), second, second_count, ANY);
        }
        Ok(woken)
    })
}
