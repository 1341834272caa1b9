//! Requests to forget translations, counted: a CPU has done what was asked of it when it has flushed after the last request.

use crate::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// One CPU's requests.
#[derive(Debug)]
pub struct FlushGate {
    requested: AtomicU64,
    done: AtomicU64,
    /// The CPU serves again and again, without an interrupt.
    polls: AtomicBool,
}

impl FlushGate {
    #[cfg(not(test))]
    pub const fn new() -> Self {
        Self { requested: AtomicU64::new(0), done: AtomicU64::new(0), polls: AtomicBool::new(false) }
    }

    #[cfg(test)]
    pub fn new() -> Self {
        Self { requested: AtomicU64::new(0), done: AtomicU64::new(0), polls: AtomicBool::new(false) }
    }

    /// Asks for a flush, after the page table was changed. Returns what to wait for.
    pub fn request(&self) -> u64 {
        self.requested.fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }

    /// Whether the CPU has to be interrupted to serve the request that was just made.
    pub fn needs_interrupt(&self) -> bool {
        // Either the CPU sees the request when it ends its loop, or this sees that it has ended it.
        fence(Ordering::SeqCst);
        !self.polls.load(Ordering::Relaxed)
    }

    /// On the CPU itself: a loop that serves begins.
    pub fn begin_polling(&self) {
        self.polls.store(true, Ordering::Relaxed);
    }

    /// On the CPU itself: the loop has ended. What was asked for until now, without an interrupt, is served.
    pub fn end_polling(&self, flush: impl FnOnce()) {
        self.polls.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.serve(flush);
    }

    /// Whether a request has been served.
    pub fn is_done(&self, ticket: u64) -> bool {
        self.done.load(Ordering::Acquire) >= ticket
    }

    /// On the CPU itself: flushes if somebody asked. Requests that come during the flush are left for the next time.
    #[inline(always)]
    pub fn serve(&self, flush: impl FnOnce()) {
        let requested = self.requested.load(Ordering::Acquire);
        if requested != self.done.load(Ordering::Relaxed) {
            flush();
            self.done.store(requested, Ordering::Release);
        }
    }
}

impl Default for FlushGate {
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

    /// A page table entry, a CPU's copy of it, and the frame that it names.
    struct Machine {
        gate: FlushGate,
        /// The CPU is in the set of those that use the address space.
        in_set: AtomicBool,
        entry: AtomicUsize,
        frame_is_free: AtomicBool,
    }

    /// One CPU takes an entry out and frees its frame when the other has answered; the other enters the address space, caches the entry,
    /// uses it, and serves requests in between. It never uses the frame after it was freed.
    #[test]
    fn a_frame_is_freed_after_everybody_forgot_it() {
        loom::model(|| {
            let machine = Arc::new(Machine {
                gate: FlushGate::new(),
                in_set: AtomicBool::new(false),
                entry: AtomicUsize::new(1),
                frame_is_free: AtomicBool::new(false),
            });
            let other = machine.clone();
            let user = thread::spawn(move || {
                other.in_set.swap(true, Ordering::SeqCst);
                // loom has no stores that wait in a buffer behind a barrier unless both sides have one.
                loom::sync::atomic::fence(Ordering::SeqCst);
                let cached = other.entry.load(Ordering::Relaxed);
                if cached != 0 {
                    assert!(!other.frame_is_free.load(Ordering::Relaxed), "used after it was freed");
                }
                other.gate.serve(|| ());
            });
            machine.entry.store(0, Ordering::Relaxed);
            loom::sync::atomic::fence(Ordering::SeqCst);
            if machine.in_set.load(Ordering::SeqCst) {
                let ticket = machine.gate.request();
                user.join().unwrap();
                // The interrupt that the kernel sends: served at the latest on the way back to the program.
                machine.gate.serve(|| ());
                assert!(machine.gate.is_done(ticket));
                machine.frame_is_free.store(true, Ordering::Relaxed);
            } else {
                machine.frame_is_free.store(true, Ordering::Relaxed);
                user.join().unwrap();
            }
        });
    }

    /// Who is told that a CPU polls needn't interrupt it.
    #[test]
    fn a_polling_cpu_needs_no_interrupt() {
        loom::model(|| {
            let gate = Arc::new(FlushGate::new());
            let other = gate.clone();
            let server = thread::spawn(move || {
                other.begin_polling();
                other.serve(|| ());
                other.end_polling(|| ());
            });
            let ticket = gate.request();
            let needs_interrupt = gate.needs_interrupt();
            server.join().unwrap();
            assert!(needs_interrupt || gate.is_done(ticket));
        });
    }

    /// A ticket is only done by a flush that began after it was drawn.
    #[test]
    fn an_answer_means_a_flush_after_the_request() {
        loom::model(|| {
            let gate = Arc::new((FlushGate::new(), AtomicUsize::new(1), AtomicUsize::new(0)));
            let other = gate.clone();
            let server = thread::spawn(move || {
                let (gate, entry, copy) = &*other;
                for _ in 0..2 {
                    gate.serve(|| copy.store(entry.load(Ordering::Acquire), Ordering::Relaxed));
                }
            });
            let (gate, entry, copy) = &*gate;
            entry.store(2, Ordering::Release);
            let ticket = gate.request();
            if gate.is_done(ticket) {
                assert_eq!(copy.load(Ordering::Relaxed), 2);
            }
            server.join().unwrap();
        });
    }

    /// Two CPUs that ask each other at the same time and serve while they wait both get through.
    #[test]
    fn two_that_ask_each_other_both_get_through() {
        loom::model(|| {
            let gates = Arc::new([FlushGate::new(), FlushGate::new()]);
            let run = |gates: Arc<[FlushGate; 2]>, me: usize| {
                let ticket = gates[1 - me].request();
                while !gates[1 - me].is_done(ticket) {
                    gates[me].serve(|| ());
                    thread::yield_now();
                }
                // The way back to the program.
                gates[me].serve(|| ());
            };
            let others = gates.clone();
            let second = thread::spawn(move || run(others, 1));
            run(gates.clone(), 0);
            // The first CPU's interrupts are open again.
            for _ in 0..2 {
                gates[0].serve(|| ());
                thread::yield_now();
            }
            drop(gates);
            let _ = second;
        });
    }
}
