//! Reading beside each other without writing to the same memory: each CPU has a mark of its own that says what it reads. A writer takes the lock,
//! then waits for the CPUs whose marks name it; who finds the lock taken when the mark is set takes the mark back, and waits.

use crate::atomic::{AtomicUsize, Ordering, fence};

/// What one CPU reads: a number that isn't 0, the same for all readers and writers of one thing.
#[derive(Debug)]
pub struct ReadMark(AtomicUsize);

impl ReadMark {
    #[cfg(not(test))]
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[cfg(test)]
    pub fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// On the CPU itself, which reads nothing yet: begins to read, unless `is_held` says that a writer is there.
    #[inline(always)]
    pub fn enter(&self, what: usize, is_held: impl FnOnce() -> bool) -> bool {
        self.0.store(what, Ordering::Relaxed);
        // Either this CPU sees the writer's lock, or the writer sees the mark.
        fence(Ordering::SeqCst);
        if is_held() {
            self.leave();
            return false;
        }
        true
    }

    /// On the CPU itself: has read.
    #[inline(always)]
    pub fn leave(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// For a writer that has taken the lock: whether this CPU may still read.
    pub fn is_reading(&self, what: usize) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Acquire) == what
    }
}

impl Default for ReadMark {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, AtomicU32};
    use loom::thread;

    use super::*;

    const WHAT: usize = 1;

    struct Machine {
        held: AtomicBool,
        marks: [ReadMark; 2],
        /// Written and read without any order but the lock's.
        pair: [AtomicU32; 2],
        /// What each CPU read last.
        read_before: [AtomicU32; 2],
    }

    impl Machine {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                held: AtomicBool::new(false),
                marks: [ReadMark::new(), ReadMark::new()],
                pair: [AtomicU32::new(0), AtomicU32::new(0)],
                read_before: [AtomicU32::new(0), AtomicU32::new(0)],
            })
        }

        /// `None` if a writer was there. What waits in the kernel gives up here: loom can't try a loop without an end.
        fn read(&self, cpu: usize) -> Option<u32> {
            if !self.marks[cpu].enter(WHAT, || self.held.load(Ordering::Acquire)) {
                return None;
            }
            let second = self.pair[1].load(Ordering::Relaxed);
            let first = self.pair[0].load(Ordering::Relaxed);
            self.read_before[cpu].store(first, Ordering::Relaxed);
            self.marks[cpu].leave();
            assert_eq!(first, second, "read while it was written");
            Some(first)
        }

        /// Whether it could.
        fn write(&self, me: usize) -> bool {
            if self.held.swap(true, Ordering::Acquire) {
                return false;
            }
            let other = 1 - me;
            let is_alone = (0..2).any(|_| {
                thread::yield_now();
                !self.marks[other].is_reading(WHAT)
            });
            if is_alone {
                let now = self.pair[0].load(Ordering::Relaxed);
                assert!(self.read_before[other].load(Ordering::Relaxed) <= now);
                for half in &self.pair {
                    half.store(now + 1, Ordering::Relaxed);
                }
            }
            self.held.store(false, Ordering::Release);
            is_alone
        }
    }

    /// Runs both at once, as CPU 0 and CPU 1.
    fn beside(first: fn(&Machine), second: fn(&Machine)) {
        loom::model(move || {
            let machine = Machine::new();
            let other = machine.clone();
            let second = thread::spawn(move || second(&other));
            first(&machine);
            second.join().unwrap();
        });
    }

    #[test]
    fn a_reader_reads_before_or_after_a_writer() {
        beside(
            |machine| {
                machine.write(0);
            },
            |machine| {
                if let (Some(first), Some(second)) = (machine.read(1), machine.read(1)) {
                    assert!(first <= second);
                }
            },
        );
    }

    #[test]
    fn two_that_read_and_write() {
        beside(
            |machine| {
                machine.read(0);
                machine.write(0);
            },
            |machine| {
                machine.read(1);
                machine.write(1);
            },
        );
    }

    /// Readers write nothing that the other one reads: neither can make the other wait.
    #[test]
    fn readers_pass_each_other() {
        beside(
            |machine| assert!(machine.marks[0].enter(WHAT, || machine.held.load(Ordering::Acquire))),
            |machine| assert!(machine.marks[1].enter(WHAT, || machine.held.load(Ordering::Acquire))),
        );
    }
}
