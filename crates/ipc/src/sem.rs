//! A set of semaphores (semop(2)): operations that happen together or not at all, who waits for what, and adjustments that are undone
//! when a process ends.

use alloc::vec::Vec;

use crate::NoMemory;

/// Highest value of a semaphore (SEMVMX), and of an adjustment (SEMAEM).
pub const MAX_VALUE: i32 = 32_767;

/// One operation of a semop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which semaphore; must be one of the set's.
    pub number: u16,
    /// What is added to its value; 0 waits for zero.
    pub change: i16,
    /// IPC_NOWAIT
    pub no_wait: bool,
    /// SEM_UNDO
    pub undo: bool,
}

/// Why operations can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A value or adjustment would be out of range. ERANGE.
    Range,
    /// They would have to wait, and may not. EAGAIN.
    WouldBlock,
    /// ENOMEM.
    NoMemory,
}

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Done,
    /// The operation at this index has to wait.
    Blocked(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Semaphore {
    value: u16,
    /// Who operated on it last.
    process: u32,
}

/// What is added to each semaphore when a process ends.
#[derive(Clone, Debug)]
struct Undo {
    process: u32,
    adjustments: Vec<i16>,
}

/// Operations that wait. `W` says whom to wake.
#[derive(Clone, Debug)]
struct Waiter<W> {
    who: W,
    process: u32,
    ops: Vec<Op>,
    blocking: usize,
}

/// One set.
#[derive(Clone, Debug)]
pub struct Set<W> {
    semaphores: Vec<Semaphore>,
    undo: Vec<Undo>,
    waiting: Vec<Waiter<W>>,
}

/// Whether operations change a value: those that only wait for zero need no more than read permission.
#[must_use]
pub fn alters(ops: &[Op]) -> bool {
    ops.iter().any(|op| op.change != 0)
}

impl<W: Clone + PartialEq> Set<W> {
    /// `count` semaphores of value 0.
    pub fn new(count: usize) -> Result<Self, NoMemory> {
        let mut semaphores = Vec::new();
        semaphores.try_reserve_exact(count).map_err(|_| NoMemory)?;
        semaphores.resize(count, Semaphore::default());
        Ok(Self { semaphores, undo: Vec::new(), waiting: Vec::new() })
    }

    /// How many semaphores there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.semaphores.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.semaphores.is_empty()
    }

    /// A semaphore's value (GETVAL).
    #[must_use]
    pub fn value(&self, number: usize) -> Option<u16> {
        self.semaphores.get(number).map(|semaphore| semaphore.value)
    }

    /// Who operated on a semaphore last (GETPID).
    #[must_use]
    pub fn process(&self, number: usize) -> Option<u32> {
        self.semaphores.get(number).map(|semaphore| semaphore.process)
    }

    /// All values (GETALL).
    pub fn values(&self) -> impl Iterator<Item = u16> {
        self.semaphores.iter().map(|semaphore| semaphore.value)
    }

    /// How many wait for a semaphore to grow (GETNCNT), and to become zero (GETZCNT).
    #[must_use]
    pub fn waiters(&self, number: usize) -> (usize, usize) {
        let mut counts = (0, 0);
        for waiter in &self.waiting {
            match waiter.ops.get(waiter.blocking) {
                Some(op) if usize::from(op.number) == number && op.change == 0 => counts.1 += 1,
                Some(op) if usize::from(op.number) == number => counts.0 += 1,
                _ => {}
            }
        }
        counts
    }

    /// The adjustments of a process, made if there are none.
    fn adjustments(&mut self, process: u32) -> Result<&mut Vec<i16>, NoMemory> {
        let at = match self.undo.iter().position(|undo| undo.process == process) {
            Some(at) => at,
            None => {
                let mut adjustments = Vec::new();
                adjustments.try_reserve_exact(self.semaphores.len()).map_err(|_| NoMemory)?;
                adjustments.resize(self.semaphores.len(), 0);
                self.undo.try_reserve(1).map_err(|_| NoMemory)?;
                self.undo.push(Undo { process, adjustments });
                self.undo.len() - 1
            }
        };
        self.undo.get_mut(at).map(|undo| &mut undo.adjustments).ok_or(NoMemory)
    }

    fn adjustment(&self, process: u32, number: u16) -> i16 {
        let undo = self.undo.iter().find(|undo| undo.process == process);
        undo.and_then(|undo| undo.adjustments.get(usize::from(number)).copied()).unwrap_or(0)
    }

    /// Does all operations, or none. Numbers beyond the set are not done at all; the caller has refused them (EFBIG).
    pub fn perform(&mut self, ops: &[Op], process: u32) -> Result<Attempt, Error> {
        if ops.iter().any(|op| op.undo && op.change != 0) {
            self.adjustments(process)?;
        }
        for (index, op) in ops.iter().enumerate() {
            let result = self.perform_one(*op, process);
            if result == Ok(true) {
                continue;
            }
            for done in ops.iter().take(index).rev() {
                self.take_back(*done, process);
            }
            return match result {
                Err(error) => Err(error),
                Ok(_) if op.no_wait => Err(Error::WouldBlock),
                Ok(_) => Ok(Attempt::Blocked(index)),
            };
        }
        for op in ops {
            if let Some(semaphore) = self.semaphores.get_mut(usize::from(op.number)) {
                semaphore.process = process;
            }
        }
        Ok(Attempt::Done)
    }

    /// One operation; false if it would have to wait.
    fn perform_one(&mut self, op: Op, process: u32) -> Result<bool, Error> {
        let Some(value) = self.value(usize::from(op.number)) else { return Ok(false) };
        let sum = i32::from(value) + i32::from(op.change);
        if sum < 0 || op.change == 0 && value != 0 {
            return Ok(false);
        }
        let new = u16::try_from(sum).ok().filter(|_| sum <= MAX_VALUE).ok_or(Error::Range)?;
        if op.undo && op.change != 0 {
            let adjusted = i32::from(self.adjustment(process, op.number)) - i32::from(op.change);
            let adjusted = i16::try_from(adjusted).map_err(|_| Error::Range)?;
            if let Some(slot) = self.adjustments(process)?.get_mut(usize::from(op.number)) {
                *slot = adjusted;
            }
        }
        if let Some(semaphore) = self.semaphores.get_mut(usize::from(op.number)) {
            semaphore.value = new;
        }
        Ok(true)
    }

    /// The reverse of an operation that was done.
    fn take_back(&mut self, op: Op, process: u32) {
        if let Some(semaphore) = self.semaphores.get_mut(usize::from(op.number)) {
            semaphore.value = u16::try_from(i32::from(semaphore.value) - i32::from(op.change)).unwrap_or(0);
        }
        if op.undo
            && let Some(undo) = self.undo.iter_mut().find(|undo| undo.process == process)
            && let Some(slot) = undo.adjustments.get_mut(usize::from(op.number))
        {
            *slot = slot.saturating_add(op.change);
        }
    }

    /// Puts operations that came back [`Attempt::Blocked`] at the end of the queue.
    pub fn wait(&mut self, who: W, ops: Vec<Op>, process: u32, blocking: usize) -> Result<(), NoMemory> {
        self.waiting.try_reserve(1).map_err(|_| NoMemory)?;
        self.waiting.push(Waiter { who, process, ops, blocking });
        Ok(())
    }

    /// Takes a waiter out; whether it was still there.
    pub fn cancel(&mut self, who: &W) -> bool {
        match self.waiting.iter().position(|waiter| waiter.who == *who) {
            Some(at) => {
                self.waiting.remove(at);
                true
            }
            None => false,
        }
    }

    /// Everybody who waits, taken out: the set is being removed.
    pub fn take_waiters(&mut self) -> impl Iterator<Item = W> {
        core::mem::take(&mut self.waiting).into_iter().map(|waiter| waiter.who)
    }

    /// After a change: does what waits and now can be done, those that wait for zero first, then in the order of their coming.
    /// `finished` hears of each.
    pub fn settle(&mut self, mut finished: impl FnMut(W, Result<(), Error>)) {
        let (mut at, mut altering) = (0, false);
        loop {
            let Some(waiter) = self.waiting.get(at) else {
                if altering {
                    return;
                }
                (at, altering) = (0, true);
                continue;
            };
            if alters(&waiter.ops) != altering {
                at += 1;
                continue;
            }
            let (ops, process) = (waiter.ops.clone(), waiter.process);
            let result = match self.perform(&ops, process) {
                Ok(Attempt::Blocked(blocking)) => {
                    if let Some(waiter) = self.waiting.get_mut(at) {
                        waiter.blocking = blocking;
                    }
                    at += 1;
                    continue;
                }
                Ok(Attempt::Done) => Ok(()),
                Err(error) => Err(error),
            };
            finished(self.waiting.remove(at).who, result);
            if result.is_ok() && altering {
                (at, altering) = (0, false);
            }
        }
    }

    /// SETVAL: nobody's adjustment of this semaphore counts any more. The caller settles.
    pub fn set_value(&mut self, number: usize, value: u16, process: u32) {
        if let Some(semaphore) = self.semaphores.get_mut(number) {
            *semaphore = Semaphore { value, process };
        }
        for undo in &mut self.undo {
            if let Some(slot) = undo.adjustments.get_mut(number) {
                *slot = 0;
            }
        }
    }

    /// A process ended, or gives its adjustments up: they are made. Whether there were any; the caller settles then.
    pub fn undo(&mut self, process: u32) -> bool {
        let Some(at) = self.undo.iter().position(|undo| undo.process == process) else { return false };
        let undo = self.undo.swap_remove(at);
        for (semaphore, adjustment) in self.semaphores.iter_mut().zip(undo.adjustments) {
            if adjustment != 0 {
                let sum = (i32::from(semaphore.value) + i32::from(adjustment)).clamp(0, MAX_VALUE);
                *semaphore = Semaphore { value: u16::try_from(sum).unwrap_or(0), process };
            }
        }
        true
    }
}
