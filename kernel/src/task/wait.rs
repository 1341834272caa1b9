//! Waiting: queues of threads that sleep until something happens, with deadlines, and interruption by signals.

#![expect(unsafe_code, reason = "entries on the stacks of those who wait")]

use alloc::vec::Vec;

use core::cell::{Cell, RefCell};
use core::sync::atomic::{Ordering, fence};

use super::sched;
use super::thread::Thread;
use crate::arch::x86_64::cpu;
use crate::list::{Entry, List};
use crate::mm::frame;
use crate::sync::SpinLock;
use crate::time;

/// A thread on a queue.
type Waiting = Entry<&'static Thread>;

/// Why a wait ended without its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A signal is to be delivered.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// Threads that wait for one thing. Whoever makes it happen calls `wake_all` (or `wake_one`) after having changed the state.
#[derive(Default)]
pub struct WaitQueue(SpinLock<List<&'static Thread>>);

impl WaitQueue {
    pub const fn new() -> Self {
        Self(SpinLock::new(List::new()))
    }

    /// Wakes the first that still sleeps: whether there was one.
    pub fn wake_one(&self) -> bool {
        let waiters = self.0.lock();
        while let Some(waiter) = waiters.pop_front() {
            if sched::wake(waiter.value) {
                return true;
            }
        }
        false
    }

    /// Wakes all that wait now.
    #[inline(always)]
    pub fn wake_all(&self) {
        // Whoever waits is on the list before it looks at the state a last time.
        if !cpu::is_single() {
            fence(Ordering::SeqCst);
        }
        // SAFETY: the address of the value behind the lock.
        if !unsafe { &*self.0.as_mut_ptr() }.is_empty() {
            self.wake_present();
        }
    }

    /// The lock is held meanwhile: those who were woken can't leave before this CPU has let go of them.
    #[inline(never)]
    fn wake_present(&self) {
        let waiters = self.0.lock();
        // Mostly there is one.
        if let Some(only) = waiters.only() {
            waiters.remove_only(only);
            sched::wake(only.value);
            return;
        }
        while let Some(waiter) = waiters.pop_front() {
            sched::wake(waiter.value);
        }
    }

    /// Enters the running thread. What it waits for is looked at after this: `wake_all` looks at the list without its lock.
    ///
    /// # Safety
    /// `remove` comes before the entry goes away.
    #[inline(always)]
    unsafe fn add(&self, entry: &Waiting) {
        // SAFETY: the caller's promise.
        unsafe { self.0.lock().push_back(entry) };
        if !cpu::is_single() {
            fence(Ordering::SeqCst);
        }
    }

    /// Whoever was woken isn't there any more.
    #[inline(always)]
    fn remove(&self, entry: &Waiting) {
        if cpu::is_single() && !entry.is_listed() {
            return;
        }
        self.0.lock().remove(entry);
    }

    /// Sleeps once, unless what is waited for came true since the caller looked.
    #[inline(always)]
    pub fn sleep_unless(
        &self,
        deadline: Option<u64>,
        is_true: impl FnOnce() -> bool,
    ) -> Result<(), WaitError> {
        let me = sched::current();
        let entry = Entry::new(me);
        me.sleeper.prepare();
        // SAFETY: it is removed below.
        unsafe { self.add(&entry) };
        // With one CPU nothing can have happened since the last look.
        let result = if !cpu::is_single() && is_true() { Ok(()) } else { sleep_interruptibly(me, deadline) };
        me.sleeper.cancel();
        self.remove(&entry);
        result
    }

    /// Sleeps until `condition` gives a value. It is asked first, and again after each wake-up. `deadline` is on the monotonic clock, ns.
    pub fn wait<T>(
        &self,
        deadline: Option<u64>,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        if let Some(value) = condition() {
            return Ok(value);
        }
        loop {
            let mut seen = None;
            let slept = self.sleep_unless(deadline, || {
                seen = condition();
                seen.is_some()
            });
            // What came true meanwhile counts for more than the reason to stop.
            if let Some(value) = seen.or_else(&mut condition) {
                return Ok(value);
            }
            slept?;
        }
    }

    /// As `wait`, made once for all whose waits aren't counted in nanoseconds.
    #[inline(never)]
    pub fn wait_until(
        &self,
        deadline: Option<u64>,
        is_true: &mut dyn FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait(deadline, || is_true().then_some(()))
    }
}

/// Sleeps once, the state being `Sleeping` already.
#[inline(never)]
fn sleep_interruptibly(me: &Thread, deadline: Option<u64>) -> Result<(), WaitError> {
    if deadline.is_some() || super::signal::is_pending(me) {
        return sleep_with_deadline(me, deadline);
    }
    sched::sleep_inline();
    Ok(())
}

#[inline(never)]
fn sleep_with_deadline(me: &Thread, deadline: Option<u64>) -> Result<(), WaitError> {
    if super::signal::is_pending(me) {
        return Err(WaitError::Interrupted);
    }
    let timer = match deadline {
        Some(at) if time::monotonic_ns() >= at => return Err(WaitError::TimedOut),
        Some(at) => Some(time::timer::wake_at(at, sched::current_arc())),
        None => None,
    };
    sched::sleep();
    if let Some(timer) = timer {
        time::timer::cancel(timer);
    }
    Ok(())
}

/// Sleeps while `condition` holds; whoever ends it wakes the thread itself (`sched::wake`).
pub fn sleep_while(deadline: Option<u64>, condition: impl Fn() -> bool) -> Result<(), WaitError> {
    let me = sched::current();
    loop {
        me.sleeper.prepare();
        let result = if condition() { sleep_interruptibly(me, deadline) } else { Ok(()) };
        me.sleeper.cancel();
        if !condition() {
            return Ok(());
        }
        result?;
    }
}

/// Waits on a queue, to be interrupted only by the end of the process or of the thread.
pub fn wait_killable<T>(queue: &WaitQueue, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let me = sched::current();
    let entry = Entry::new(me);
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        me.sleeper.prepare();
        // SAFETY: it is removed below.
        unsafe { queue.add(&entry) };
        let value = condition();
        // Looked at after the preparation: whoever ends them wakes the threads after setting the flag.
        let ends = me.process.ending.load(Ordering::SeqCst) || me.ending.load(Ordering::SeqCst);
        if value.is_none() && !ends {
            sched::sleep();
        }
        me.sleeper.cancel();
        queue.remove(&entry);
        if value.is_some() || ends {
            return value;
        }
    }
}

/// Waits on a queue for what comes soon and whatever happens: nothing interrupts it.
pub fn wait_quietly<T>(queue: &WaitQueue, mut condition: impl FnMut() -> Option<T>) -> T {
    let me = sched::current();
    let entry = Entry::new(me);
    loop {
        me.sleeper.prepare();
        // SAFETY: it is removed below.
        unsafe { queue.add(&entry) };
        let value = condition();
        if value.is_none() {
            sched::sleep();
        }
        me.sleeper.cancel();
        queue.remove(&entry);
        if let Some(value) = value {
            return value;
        }
    }
}

/// So many registrations stand together.
const CHUNK: usize = 16;
/// So many of these may come from the kernel's reserve.
const FEW_CHUNKS: usize = 4;

/// An entry on a queue that the waiter doesn't know by name.
struct Registration {
    entry: Waiting,
    queue: *const WaitQueue,
}

/// A thread that polls several things at once: it registers on the queue of each, looks at all of them, and sleeps if none is ready.
pub struct PollWaiter {
    thread: &'static Thread,
    /// Each of the inner ones is made as large as it gets: what stands in it doesn't move.
    registrations: RefCell<Vec<Vec<Registration>>>,
    lacks_memory: Cell<bool>,
}

impl PollWaiter {
    pub fn new() -> Self {
        Self {
            thread: sched::current(),
            registrations: RefCell::new(Vec::new()),
            lacks_memory: Cell::new(false),
        }
    }

    /// Registers on a queue. The queue must outlive the waiter: callers hold the file (or whatever owns it) until the waiter is gone.
    pub fn register(&self, queue: &WaitQueue) {
        let mut chunks = self.registrations.borrow_mut();
        if chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            let mut new = Vec::new();
            // A hundred thousand descriptors aren't what the kernel keeps its reserve for.
            let is_short = chunks.len() > FEW_CHUNKS && frame::is_short();
            if is_short || new.try_reserve_exact(CHUNK).is_err() || chunks.try_reserve(1).is_err() {
                self.lacks_memory.set(true);
                return;
            }
            chunks.push(new);
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(Registration { entry: Entry::new(self.thread), queue });
            if let Some(new) = chunk.last() {
                // SAFETY: it is removed in `drop`, and stays where it is until then.
                unsafe { queue.add(&new.entry) };
            }
        }
    }

    /// Whether a registration found no memory: then nobody would wake the thread for it.
    pub fn lacks_memory(&self) -> bool {
        self.lacks_memory.get()
    }

    /// Before the first look.
    pub fn prepare(&self) {
        self.thread.sleeper.prepare();
    }

    /// Sleeps until a queue woke this thread since `prepare`, a signal came, or the deadline passed.
    pub fn sleep(&self, deadline: Option<u64>) -> Result<(), WaitError> {
        sleep_interruptibly(self.thread, deadline)
    }
}

impl Drop for PollWaiter {
    fn drop(&mut self) {
        self.thread.sleeper.cancel();
        for registration in self.registrations.get_mut().iter().flatten() {
            // SAFETY: `register`'s contract: the queue is still there.
            unsafe { (*registration.queue).remove(&registration.entry) };
        }
    }
}
