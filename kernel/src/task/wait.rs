//! Waiting: queues of threads that sleep until something happens, with deadlines, and interruption by signals.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::sched;
use super::thread::Thread;
use crate::sync::SpinLock;
use crate::time;

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
pub struct WaitQueue(SpinLock<VecDeque<Arc<Thread>>>);

impl WaitQueue {
    pub const fn new() -> Self {
        Self(SpinLock::new(VecDeque::new()))
    }

    /// Wakes the first that still sleeps: whether there was one.
    pub fn wake_one(&self) -> bool {
        let mut waiters = self.0.lock();
        while let Some(thread) = waiters.pop_front() {
            if sched::wake(&thread) {
                return true;
            }
        }
        false
    }

    /// Wakes all that wait now.
    #[inline]
    pub fn wake_all(&self) {
        let waiting = self.0.lock().len();
        if waiting != 0 {
            self.wake_some(waiting);
        }
    }

    /// Wakes up to so many, in order. The queue keeps its memory for those who wait next.
    #[inline(never)]
    fn wake_some(&self, most: usize) {
        for _ in 0..most {
            // Not under the lock: the last reference may go with the thread.
            let Some(thread) = self.0.lock().pop_front() else { return };
            sched::wake(&thread);
        }
    }

    fn add(&self, thread: Arc<Thread>) {
        self.0.lock().push_back(thread);
    }

    fn remove(&self, thread: &Thread) {
        let mut waiters = self.0.lock();
        // Whoever was woken isn't there any more.
        if waiters.is_empty() {
            return;
        }
        if let Some(at) = waiters.iter().position(|waiter| core::ptr::eq(Arc::as_ptr(waiter), thread)) {
            waiters.remove(at);
        }
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
        let me = sched::current_arc();
        loop {
            me.sleeper.prepare();
            self.add(me.clone());
            let outcome = match condition() {
                Some(value) => Some(Ok(value)),
                None => sleep_interruptibly(&me, deadline).err().map(Err),
            };
            me.sleeper.cancel();
            self.remove(&me);
            match outcome {
                Some(Ok(value)) => return Ok(value),
                // What came true meanwhile counts for more than the reason to stop.
                Some(Err(error)) => return condition().ok_or(error),
                None => {}
            }
            if let Some(value) = condition() {
                return Ok(value);
            }
        }
    }
}

/// Sleeps once, the state being `Sleeping` already.
fn sleep_interruptibly(me: &Arc<Thread>, deadline: Option<u64>) -> Result<(), WaitError> {
    if super::signal::is_pending(me) {
        return Err(WaitError::Interrupted);
    }
    let timer = match deadline {
        Some(at) if time::monotonic_ns() >= at => return Err(WaitError::TimedOut),
        Some(at) => Some(time::timer::wake_at(at, me.clone())),
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
    let me = sched::current_arc();
    loop {
        me.sleeper.prepare();
        let result = if condition() { sleep_interruptibly(&me, deadline) } else { Ok(()) };
        me.sleeper.cancel();
        if !condition() {
            return Ok(());
        }
        result?;
    }
}

/// Waits on a queue, to be interrupted only by the end of the process.
pub fn wait_killable<T>(queue: &WaitQueue, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let me = sched::current_arc();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        me.sleeper.prepare();
        queue.add(me.clone());
        let value = condition();
        // Looked at after the preparation: whoever ends the process wakes its threads after setting the flag.
        let ends = me.process.ending.load(core::sync::atomic::Ordering::SeqCst);
        if value.is_none() && !ends {
            sched::sleep();
        }
        me.sleeper.cancel();
        queue.remove(&me);
        if value.is_some() || ends {
            return value;
        }
    }
}

/// Waits on a queue for what comes soon and whatever happens: nothing interrupts it.
pub fn wait_quietly<T>(queue: &WaitQueue, mut condition: impl FnMut() -> Option<T>) -> T {
    let me = sched::current_arc();
    loop {
        me.sleeper.prepare();
        queue.add(me.clone());
        let value = condition();
        if value.is_none() {
            sched::sleep();
        }
        me.sleeper.cancel();
        queue.remove(&me);
        if let Some(value) = value {
            return value;
        }
    }
}

/// A thread that polls several things at once: it registers on the queue of each, looks at all of them, and sleeps if none is ready.
pub struct PollWaiter {
    thread: Arc<Thread>,
    queues: SpinLock<Vec<*const WaitQueue>>,
}

impl PollWaiter {
    pub fn new() -> Self {
        Self { thread: sched::current_arc(), queues: SpinLock::new(Vec::new()) }
    }

    /// Registers on a queue. The queue must outlive the waiter: callers hold the file (or whatever owns it) until the waiter is gone.
    pub fn register(&self, queue: &WaitQueue) {
        queue.add(self.thread.clone());
        self.queues.lock().push(queue);
    }

    /// Before the first look.
    pub fn prepare(&self) {
        self.thread.sleeper.prepare();
    }

    /// Sleeps until a queue woke this thread since `prepare`, a signal came, or the deadline passed.
    pub fn sleep(&self, deadline: Option<u64>) -> Result<(), WaitError> {
        sleep_interruptibly(&self.thread, deadline)
    }
}

impl Drop for PollWaiter {
    #[expect(unsafe_code, reason = "queues are kept alive by the poller's file references")]
    fn drop(&mut self) {
        self.thread.sleeper.cancel();
        for &queue in self.queues.lock().iter() {
            // SAFETY: `register`'s contract: the queue is still there.
            unsafe { (*queue).remove(&self.thread) };
        }
    }
}
