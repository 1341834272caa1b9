//! How the kernel's futexes meet: a model of `task/futex.rs`, step by step, over the same `Sleeper`. It exists for its tests.
//!
//! The word is compared and the waiter enqueued under its bucket's lock. A wake without any waiter takes no lock: it looks at their count, which a waiter
//! raises before it looks at the word. A requeue moves a waiter under both buckets' locks, and the waiter finds the right one by trying again.

use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::{After, Sleeper, Wake};

struct Waiter {
    bucket: AtomicUsize,
    woken: AtomicBool,
    sleeper: Sleeper,
    /// How often somebody put it on a run queue.
    queued: AtomicUsize,
}

struct Futex {
    /// The program's word: 0 has the waiter sleep.
    word: AtomicU32,
    buckets: [Mutex<Vec<Arc<Waiter>>>; 2],
    waiters: AtomicUsize,
}

impl Futex {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(0),
            buckets: [Mutex::new(Vec::new()), Mutex::new(Vec::new())],
            waiters: AtomicUsize::new(0),
        })
    }

    /// Sleeps while the word is 0. `timed_out` is a deadline that has passed before the thread gives its CPU up. Whether a wake ended it;
    /// `None` if it didn't sleep because of the word.
    fn wait(&self, timed_out: bool) -> Option<(bool, Arc<Waiter>)> {
        let waiter = Arc::new(Waiter {
            bucket: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            sleeper: Sleeper::new(),
            queued: AtomicUsize::new(0),
        });
        {
            let mut bucket = self.buckets[0].lock().unwrap();
            self.waiters.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.word.load(Ordering::Relaxed) != 0 {
                self.waiters.fetch_sub(1, Ordering::SeqCst);
                return None;
            }
            bucket.push(waiter.clone());
        }
        waiter.sleeper.prepare();
        if !waiter.woken.load(Ordering::Acquire) && !timed_out && !waiter.sleeper.is_runnable() {
            if waiter.sleeper.switched_out() == After::Enqueue {
                waiter.queued.fetch_add(1, Ordering::Relaxed);
            }
            // Off its CPU: it goes on when somebody put it on a run queue.
            while waiter.queued.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
        }
        waiter.sleeper.cancel();
        let was_there = self.remove(&waiter);
        assert_ne!(was_there, waiter.woken.load(Ordering::Acquire), "in its bucket, or woken, and not both");
        Some((!was_there, waiter))
    }

    fn remove(&self, waiter: &Arc<Waiter>) -> bool {
        loop {
            let index = waiter.bucket.load(Ordering::Acquire);
            let mut bucket = self.buckets[index].lock().unwrap();
            if waiter.bucket.load(Ordering::Relaxed) != index {
                continue;
            }
            let before = bucket.len();
            bucket.retain(|other| !Arc::ptr_eq(other, waiter));
            let was_there = bucket.len() != before;
            if was_there {
                self.waiters.fetch_sub(1, Ordering::SeqCst);
            }
            return was_there;
        }
    }

    fn wake_in(&self, bucket: &mut Vec<Arc<Waiter>>) -> usize {
        if bucket.is_empty() {
            return 0;
        }
        let waiter = bucket.remove(0);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        waiter.woken.store(true, Ordering::Release);
        if waiter.sleeper.wake() == Wake::Enqueue {
            waiter.queued.fetch_add(1, Ordering::Release);
        }
        1
    }

    fn wake(&self, index: usize) -> usize {
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        self.wake_in(&mut self.buckets[index].lock().unwrap())
    }

    /// Moves a waiter of the first bucket to the second.
    fn requeue(&self) -> usize {
        let mut first = self.buckets[0].lock().unwrap();
        let mut second = self.buckets[1].lock().unwrap();
        if first.is_empty() {
            return 0;
        }
        let waiter = first.remove(0);
        waiter.bucket.store(1, Ordering::Release);
        second.push(waiter);
        1
    }

    fn is_empty(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) == 0
            && self.buckets.iter().all(|bucket| bucket.lock().unwrap().is_empty())
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_wake_after_a_plain_store_is_not_lost() {
    check(|| {
        let futex = Futex::new();
        let waker = {
            let futex = futex.clone();
            thread::spawn(move || {
                // As a program's plain store.
                futex.word.store(1, Ordering::Relaxed);
                futex.wake(0)
            })
        };
        // It comes back: by the word, or by the wake.
        let waited = futex.wait(false);
        let woken = waker.join().unwrap();
        assert_eq!(woken == 1, waited.is_some_and(|(woken, _)| woken));
        assert!(futex.is_empty());
    });
}

#[test]
fn a_wake_that_meets_a_timeout_counts_once() {
    check(|| {
        let futex = Futex::new();
        let waker = {
            let futex = futex.clone();
            thread::spawn(move || futex.wake(0))
        };
        let (woken, _) = futex.wait(true).expect("nobody changes the word");
        assert_eq!(waker.join().unwrap() == 1, woken, "counted and not reported, or the other way round");
        assert!(futex.is_empty());
    });
}

#[test]
fn a_moved_waiter_is_woken_where_it_is() {
    check(|| {
        let futex = Futex::new();
        let mover = {
            let futex = futex.clone();
            thread::spawn(move || {
                let moved = futex.requeue();
                (moved, futex.wake(1))
            })
        };
        let (woken, _) = futex.wait(true).expect("nobody changes the word");
        let (moved, count) = mover.join().unwrap();
        assert!(count <= moved);
        assert_eq!(count == 1, woken);
        assert!(futex.is_empty());
    });
}
