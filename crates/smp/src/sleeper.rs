//! Falling asleep and being woken, when the two happen on different CPUs.
//!
//! A thread that is about to sleep is still running: nobody may run it elsewhere before its registers are saved. So a thread is put on a run
//! queue by exactly one side, the one that completes the pair: whoever wakes it after it was switched out, or the switch away from it if it
//! was woken before that. A thread that is woken before it gave its CPU up just goes on.

use crate::atomic::{AtomicU32, Ordering};

/// Running, or on a run queue.
const RUNNABLE: u32 = 0;
/// Running still, and about to sleep.
const SLEEPING: u32 = 1;
/// Asleep: switched out, and on no run queue.
const PARKED: u32 = 2;
/// Never to run again.
const DEAD: u32 = 3;

/// A locked instruction of this processor orders everything before it before everything after it, also when a comparison fails. The
/// language promises less, so the model is told.
#[inline(always)]
fn full_barrier() {
    #[cfg(test)]
    crate::atomic::fence(Ordering::SeqCst);
}

/// Where a thread is between running and sleeping.
#[derive(Debug)]
pub struct Sleeper(AtomicU32);

/// What a wake-up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It wasn't asleep.
    Awake,
    /// It hadn't given its CPU up: it goes on by itself.
    Early,
    /// The caller puts it on a run queue.
    Enqueue,
}

/// What becomes of a thread that was switched away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It sleeps.
    Parked,
    /// It is on its way again, or never wanted to sleep: the caller puts it on a run queue.
    Enqueue,
    Dead,
}

impl Sleeper {
    #[cfg(not(test))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(RUNNABLE))
    }

    #[cfg(test)]
    pub fn new() -> Self {
        Self(AtomicU32::new(RUNNABLE))
    }

    /// The thread means to sleep. It looks at what it waits for after this: a full barrier stands between the two.
    #[inline(always)]
    pub fn prepare(&self) {
        self.0.swap(SLEEPING, Ordering::SeqCst);
        full_barrier();
    }

    /// The thread goes on without having slept, or after it.
    #[inline(always)]
    pub fn cancel(&self) {
        self.0.store(RUNNABLE, Ordering::Release);
    }

    /// The thread ends.
    pub fn die(&self) {
        self.0.store(DEAD, Ordering::Release);
    }

    /// Whether the running thread has no reason to give its CPU up: nothing prepared a sleep, or it was woken since.
    #[inline(always)]
    pub fn is_runnable(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNNABLE
    }

    /// Whether the running thread is about to sleep, and wasn't woken since it prepared to.
    #[inline(always)]
    pub fn is_about_to_sleep(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SLEEPING
    }

    /// Whether it sleeps or is about to.
    #[inline(always)]
    pub fn is_asleep(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), SLEEPING | PARKED)
    }

    pub fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire) == DEAD
    }

    /// Its registers are saved and its stack is left: the switch away from it is over.
    #[inline(always)]
    pub fn switched_out(&self) -> After {
        match self.0.compare_exchange(SLEEPING, PARKED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => After::Parked,
            Err(DEAD) => After::Dead,
            Err(_) => After::Enqueue,
        }
    }

    /// As `switched_out`, on a machine with one CPU, before the switch: nobody can wake or run it meanwhile.
    #[inline(always)]
    pub fn switched_out_alone(&self) -> After {
        match self.0.load(Ordering::Relaxed) {
            SLEEPING => {
                self.0.store(PARKED, Ordering::Relaxed);
                After::Parked
            }
            DEAD => After::Dead,
            _ => After::Enqueue,
        }
    }

    /// As `switched_out_alone`, of a thread that is about to sleep.
    #[inline(always)]
    pub fn park_alone(&self) {
        self.0.store(PARKED, Ordering::Relaxed);
    }

    /// As `wake`, on a machine with one CPU.
    #[inline(always)]
    pub fn wake_alone(&self) -> Wake {
        let outcome = match self.0.load(Ordering::Relaxed) {
            PARKED => Wake::Enqueue,
            SLEEPING => Wake::Early,
            _ => return Wake::Awake,
        };
        self.0.store(RUNNABLE, Ordering::Relaxed);
        outcome
    }

    /// Wakes it, after what it waits for was made true: a full barrier stands between the two.
    #[inline(always)]
    pub fn wake(&self) -> Wake {
        full_barrier();
        loop {
            match self.0.compare_exchange(PARKED, RUNNABLE, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Wake::Enqueue,
                Err(SLEEPING) => {}
                Err(_) => return Wake::Awake,
            }
            if self.0.compare_exchange(SLEEPING, RUNNABLE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Wake::Early;
            }
        }
    }
}

impl Default for Sleeper {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use loom::thread;

    use super::*;

    /// One CPU's thread sleeps for an event, as the kernel does it; up to two others make it happen. However they meet, the thread is put on
    /// a run queue exactly as often as it was taken off its CPU, and never while it is on it.
    fn meet(wakers: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let sleeper = Arc::new(Sleeper::new());
            let event = Arc::new(AtomicBool::new(false));
            // Registers saved, that is: it may be run elsewhere.
            let saved = Arc::new(AtomicBool::new(false));
            let queued = Arc::new(AtomicUsize::new(0));
            let handles: Vec<_> = (0..wakers)
                .map(|_| {
                    let (sleeper, event) = (sleeper.clone(), event.clone());
                    let (saved, queued) = (saved.clone(), queued.clone());
                    thread::spawn(move || {
                        event.store(true, Ordering::Release);
                        if sleeper.wake() == Wake::Enqueue {
                            assert!(saved.load(Ordering::Relaxed), "run before its registers were saved");
                            queued.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();

            sleeper.prepare();
            let mut left_cpu = 0;
            if event.load(Ordering::Acquire) || sleeper.is_runnable() {
                sleeper.cancel();
            } else {
                saved.store(true, Ordering::Relaxed);
                left_cpu = 1;
                if sleeper.switched_out() == After::Enqueue {
                    queued.fetch_add(1, Ordering::Relaxed);
                }
            }
            for handle in handles {
                handle.join().unwrap();
            }
            assert_eq!(queued.load(Ordering::Relaxed), left_cpu, "lost, or on two run queues");
        });
    }

    #[test]
    fn a_wake_up_is_neither_lost_nor_doubled() {
        meet(1);
    }

    #[test]
    fn two_wakers_count_as_one() {
        meet(2);
    }

    #[test]
    fn a_thread_that_was_preempted_goes_back_to_the_queue_and_a_dead_one_nowhere() {
        loom::model(|| {
            let sleeper = Sleeper::new();
            assert_eq!(sleeper.switched_out(), After::Enqueue);
            assert_eq!(sleeper.wake(), Wake::Awake);
            sleeper.die();
            assert_eq!(sleeper.wake(), Wake::Awake);
            assert_eq!(sleeper.switched_out(), After::Dead);
        });
    }
}
