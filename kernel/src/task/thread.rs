//! A thread: its kernel stack, its saved registers, and what it owes before it may return to the program.
#![expect(unsafe_code, reason = "owns kernel stacks")]

use alloc::sync::Arc;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::priority::Priorities;
use smp::Sleeper;

use super::process::Process;
use super::rseq::Registration;
use super::signal::ThreadSignals;
use super::usage::Counters;
use crate::arch::TrapFrame;
use crate::arch::x86_64::{fpu, switch};
use crate::mm::{AddressSpace, frame};

/// Kernel stacks have 16 KiB.
const STACK_ORDER: usize = 2;
const STACK_SIZE: usize = 4096 << STACK_ORDER;
/// Stands at a kernel stack's lowest word, and is looked at on each switch.
const STACK_CANARY: u64 = 0x57ac_c0de_57ac_c0de;

/// Bits of `Thread::work`: what has to be done before the thread returns to the program.
pub mod work {
    /// A signal may be deliverable, or the process is ending.
    pub const SIGNAL: u32 = 1;
    /// Somebody else should run.
    pub const RESCHEDULE: u32 = 2;
    /// The frame was changed: return by IRET.
    pub const FULL_RETURN: u32 = 4;
    /// A restart-critical-section descriptor is registered and the thread was preempted or is to get a signal.
    pub const RSEQ: u32 = 8;
    /// Memory ran short in this thread's call or fault: some process has to end.
    pub const MEMORY: u32 = 16;
}

/// Ranks below this are real-time priorities. Virtual time, in TSC ticks, never comes near it.
pub const FIRST_FAIR_RANK: u64 = 1 << 63;

/// CPU time used, TSC ticks, readable from any CPU while the thread runs: one word is either the sum or, below zero, what the TSC has to be
/// added to for it. No thread has run for as long as the TSC has.
#[derive(Debug, Default)]
pub struct RunClock(AtomicU64);

impl RunClock {
    /// The thread begins to run.
    #[inline(always)]
    pub fn start(&self, now: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(now), Ordering::Relaxed);
    }

    /// The thread stops running.
    #[inline(always)]
    pub fn stop(&self, now: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(now), Ordering::Relaxed);
    }

    fn ticks(&self) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        if word.cast_signed() >= 0 {
            return word;
        }
        word.wrapping_add(crate::arch::x86_64::tsc::read())
    }
}

struct KernelStack {
    bottom: usize,
}

impl KernelStack {
    fn new() -> Option<Self> {
        let bottom = frame::alloc_block(STACK_ORDER)?;
        // SAFETY: the block is ours.
        unsafe { core::ptr::with_exposed_provenance_mut::<u64>(bottom).write(STACK_CANARY) };
        Some(Self { bottom })
    }

    /// Where the push of a `TrapFrame` starts, which stands at the stack's very top.
    fn first_push(&self) -> usize {
        self.bottom + STACK_SIZE - size_of::<TrapFrame>().next_multiple_of(16) + offset_of!(TrapFrame, ss)
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        frame::free_block(self.bottom, STACK_ORDER);
    }
}

/// One thread of a program, or a CPU's idle loop.
#[repr(C)]
pub struct Thread {
    /// Work bits; read by the entry assembly.
    pub work: AtomicU32,
    /// Whether it runs, sleeps, or is on its way to either.
    pub sleeper: Sleeper,
    pub tid: u32,
    pub process: Arc<Process>,
    pub signals: ThreadSignals,
    stack: Option<KernelStack>,
    /// Where traps and system calls start to push; 0 for a CPU's idle loop.
    stack_top: usize,
    saved_rsp: UnsafeCell<usize>,
    fpu: UnsafeCell<Option<fpu::State>>,
    pub fs_base: Cell<u64>,
    pub gs_base: Cell<u64>,
    /// Address to clear and wake when the thread ends (`set_tid_address`).
    pub clear_child_tid: Cell<usize>,
    pub robust_list: AtomicUsize,
    /// Its locks with priority inheritance were given up: nobody may wait for it any more.
    pub left_locks: AtomicBool,
    /// The process goes on without this thread (exec): it ends on its way back to the program.
    pub ending: AtomicBool,
    /// The process's address space, without a count: the process keeps it while its threads run in it.
    space: Cell<*const AddressSpace>,
    /// What rseq(2) registered.
    pub rseq: Cell<Registration>,
    /// CPU time used.
    pub run_clock: RunClock,
    /// CPU time divided by the thread's weight: whose turn it is.
    pub virtual_time: AtomicU64,
    /// The CPU on which it runs, waits, or ran last; and the one that its program knows of.
    pub cpu: AtomicU32,
    pub ran_on: Cell<u32>,
    /// CPUs on which it may run, as a bit mask.
    pub affinity: AtomicU64,
    /// The next thread on the run queue, under its lock.
    pub queued_behind: Cell<*const Thread>,
    /// 0 to 3: how often it sleeps right after waking somebody.
    pub hands_over: Cell<u8>,
    pub counters: Counters,
    pub priorities: Priorities,
}

// SAFETY: the cells are used by the thread itself, or by the scheduler while the thread isn't running.
unsafe impl Send for Thread {}
// SAFETY: as above; everything else is atomic or locked.
unsafe impl Sync for Thread {}

impl Thread {
    #[inline(never)]
    fn build(tid: u32, process: Arc<Process>, stack: Option<KernelStack>) -> Self {
        Self {
            work: AtomicU32::new(0),
            sleeper: Sleeper::new(),
            tid,
            process,
            signals: ThreadSignals::default(),
            stack_top: stack.as_ref().map_or(0, KernelStack::first_push),
            stack,
            saved_rsp: UnsafeCell::new(0),
            fpu: UnsafeCell::new(None),
            fs_base: Cell::new(0),
            gs_base: Cell::new(0),
            clear_child_tid: Cell::new(0),
            robust_list: AtomicUsize::new(0),
            left_locks: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            space: Cell::new(core::ptr::null()),
            rseq: Cell::new(Registration::default()),
            run_clock: RunClock::default(),
            virtual_time: AtomicU64::new(0),
            cpu: AtomicU32::new(0),
            ran_on: Cell::new(u32::MAX),
            affinity: AtomicU64::new(u64::MAX),
            queued_behind: Cell::new(core::ptr::null()),
            hands_over: Cell::new(0),
            counters: Counters::default(),
            priorities: Priorities::default(),
        }
    }

    /// The thread that a CPU boots on and idles in: it lives on the boot stack.
    #[cold]
    #[inline(never)]
    pub fn idle(process: Arc<Process>) -> Arc<Self> {
        Arc::new(Self::build(0, process, None))
    }

    /// A thread that will start in the program with these registers, its address space the process's. `None` without memory for it.
    pub fn new(tid: u32, process: Arc<Process>, frame: TrapFrame, state: fpu::State) -> Option<Arc<Self>> {
        let thread = Self::build(tid, process, Some(KernelStack::new()?));
        let at = thread.frame_address();
        // SAFETY: the stack is the new thread's, and nobody runs on it.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<TrapFrame>(at).write(frame);
            *thread.saved_rsp.get() = switch::prepare_user_stack(at);
            *thread.fpu.get() = Some(state);
        }
        thread.adopt_address_space();
        Some(Arc::new(thread))
    }

    /// A copy of the running thread's FPU registers. Only for the current thread.
    pub fn copy_fpu(&self) -> Option<fpu::State> {
        // SAFETY: the current thread's own area, which nobody else touches while it runs.
        let state = unsafe { self.fpu_state() }?;
        state.save();
        Some(state.clone())
    }

    /// The address space that this thread runs in; none for idle threads and at the very end.
    #[inline]
    pub fn address_space(&self) -> Option<&AddressSpace> {
        // SAFETY: set from an Arc that the process holds until it has no threads, or until `forget_address_space`.
        unsafe { self.space.get().as_ref() }
    }

    /// As an address, for comparison; null for none.
    pub fn space_pointer(&self) -> *const AddressSpace {
        self.space.get()
    }

    /// Where the thread stands among those that want a CPU: the least is next. Real-time threads come before all others.
    #[inline(always)]
    pub fn rank(&self) -> u64 {
        if self.priorities.is_realtime() {
            self.priorities.realtime_rank()
        } else {
            self.virtual_time.load(Ordering::Relaxed) | FIRST_FAIR_RANK
        }
    }

    /// The thread sleeps, after it woke somebody; `soon` says whether right after.
    pub fn note_hand_over(&self, soon: bool) {
        let count = self.hands_over.get();
        self.hands_over.set(if soon { count.saturating_add(1).min(3) } else { count.saturating_sub(1) });
    }

    /// Takes the process's address space as this thread's.
    pub fn adopt_address_space(&self) {
        let space = self.process.space();
        self.space.set(space.as_ref().map_or(core::ptr::null(), Arc::as_ptr));
    }

    /// Before the process gives its address space up.
    pub fn forget_address_space(&self) {
        self.space.set(core::ptr::null());
    }

    #[inline(always)]
    fn frame_address(&self) -> usize {
        self.stack_top.wrapping_sub(offset_of!(TrapFrame, ss))
    }

    /// Whether it is what a CPU does when there is nothing to do.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        self.stack_top == 0
    }

    /// Where traps and system calls start to push.
    #[inline(always)]
    pub fn stack_top(&self) -> usize {
        self.stack_top
    }

    /// The program's registers while the current thread is in the kernel.
    #[expect(clippy::mut_from_ref, reason = "the frame is on the stack of the thread that asks")]
    #[inline(always)]
    pub fn frame(&self) -> &mut TrapFrame {
        // SAFETY: the frame stands at the top of this thread's own kernel stack; only the thread itself asks for it, for the length of
        // one expression or of a handler that doesn't call itself.
        unsafe { &mut *core::ptr::with_exposed_provenance_mut::<TrapFrame>(self.frame_address()) }
    }

    pub fn add_work(&self, bits: u32) {
        self.work.fetch_or(bits, Ordering::AcqRel);
    }

    pub fn clear_work(&self, bits: u32) {
        self.work.fetch_and(!bits, Ordering::AcqRel);
    }

    pub fn has_work(&self, bits: u32) -> bool {
        self.work.load(Ordering::Acquire) & bits != 0
    }

    pub(super) fn saved_rsp(&self) -> *mut usize {
        self.saved_rsp.get()
    }

    /// Not for idle threads.
    #[inline(always)]
    pub(super) fn check_stack(&self) {
        let bottom = core::ptr::with_exposed_provenance::<u64>(self.stack_top & !(STACK_SIZE - 1));
        // SAFETY: the frame stands in a stack of the thread's own, which is aligned to its size.
        assert!(unsafe { bottom.read() } == STACK_CANARY, "kernel stack overflow");
    }

    /// The thread's own FPU area; the registers are live while it runs, so this is only current right after `save_fpu`.
    ///
    /// # Safety
    /// Only the thread itself, or the scheduler while the thread isn't running, and not twice at once.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    pub unsafe fn fpu_state(&self) -> Option<&mut fpu::State> {
        // SAFETY: the caller's promise.
        unsafe { (*self.fpu.get()).as_mut() }
    }
}

/// CPU time that a thread has used, TSC ticks.
pub fn cpu_time_ticks(thread: &Thread) -> u64 {
    thread.run_clock.ticks()
}

/// CPU time that a thread has used, ns.
pub fn cpu_time_ns(thread: &Thread) -> u64 {
    crate::time::ticks_to_ns(cpu_time_ticks(thread))
}
