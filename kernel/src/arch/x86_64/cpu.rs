//! Per-CPU data, reached through GS, and what CPUID says about this processor.

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

use smp::{FlushGate, ReadMark};

use crate::mm::AddressSpace;
use crate::mm::regions::Hint;
use crate::sync::SpinLock;
use crate::task::Thread;
use crate::task::sched::RunQueue;
use crate::time::timer::Timers;

/// Model-specific registers used here (Intel SDM volume 4).
pub const MSR_STAR: u32 = 0xc000_0081;
pub const MSR_LSTAR: u32 = 0xc000_0082;
pub const MSR_FMASK: u32 = 0xc000_0084;
pub const MSR_FS_BASE: u32 = 0xc000_0100;
pub const MSR_GS_BASE: u32 = 0xc000_0101;
pub const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;
pub const MSR_TSC_AUX: u32 = 0xc000_0103;

/// Most processors that one machine may have.
pub const MAX_CPUS: usize = 64;

/// One processor's data. Only its own CPU touches the `Cell` fields, with interrupts off.
///
/// The first fields are read by the entry assembly at fixed offsets, see `entry.rs`.
#[repr(C)]
pub struct PerCpu {
    this: Cell<*const PerCpu>,
    /// The running thread.
    pub current: AtomicPtr<Thread>,
    /// Where a syscall or a trap from the program starts to push: the slot below the frame's SS.
    pub kernel_stack_top: Cell<usize>,
    /// The program's RSP, for the few instructions until it is on the kernel stack.
    pub user_rsp: Cell<usize>,
    /// System calls whose number is beyond the table, and the last such number.
    pub unknown_syscalls: AtomicU64,
    pub last_unknown_syscall: AtomicU64,
    pub id: Cell<u32>,
    /// Not 0 while `syscall` goes through the traced entry.
    pub traced: Cell<u8>,
    /// The local APIC's number.
    pub apic_id: AtomicU32,
    /// Free lists of the kernel heap.
    pub heap: crate::mm::heap::CpuCache,
    /// Free single frames.
    pub frames: crate::mm::frame::CpuCache,
    /// The address space that CR3 holds, null for the kernel's own table. It isn't freed while it stands here (`mm::shootdown`).
    pub space: Cell<*const AddressSpace>,
    /// What other CPUs want of this one's translations.
    pub flush: FlushGate,
    /// The address space in which this CPU handles a fault (`mm::space_lock`).
    pub reading: ReadMark,
    /// Where it found its last fault's region.
    pub fault_hint: Hint,
    /// The idle thread, and the thread that is being switched away from, if there is something left to do for it.
    pub idle: Cell<*const Thread>,
    pub previous: Cell<*const Thread>,
    /// TSC up to which the running thread's turn is charged, and when this CPU last woke somebody.
    pub charged_at: Cell<u64>,
    pub woke_at: Cell<u64>,
    /// The timer will interrupt for the end of a time slice.
    pub slice_armed: Cell<bool>,
    /// The timer will interrupt for a sample of what runs (`task::usage`).
    pub samples: Cell<bool>,
    /// Threads in `queue`, and the virtual time below which none of them should be.
    pub waiting: AtomicUsize,
    pub least: AtomicU64,
    /// With several CPUs: the complement of the rank of the thread that runs, or is about to; 0 when there is none.
    pub running_urgency: AtomicU64,
    pub queue: SpinLock<RunQueue>,
    pub timers: SpinLock<Timers>,
}

// SAFETY: a PerCpu's Cell fields are only used by the CPU that owns it, with interrupts off; the rest are atomics and locks.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    pub const fn new() -> Self {
        Self {
            this: Cell::new(core::ptr::null()),
            current: AtomicPtr::new(core::ptr::null_mut()),
            kernel_stack_top: Cell::new(0),
            user_rsp: Cell::new(0),
            unknown_syscalls: AtomicU64::new(0),
            last_unknown_syscall: AtomicU64::new(0),
            id: Cell::new(0),
            traced: Cell::new(0),
            apic_id: AtomicU32::new(0),
            heap: crate::mm::heap::CpuCache::new(),
            frames: crate::mm::frame::CpuCache::new(),
            space: Cell::new(core::ptr::null()),
            flush: FlushGate::new(),
            reading: ReadMark::new(),
            fault_hint: Hint::new(),
            idle: Cell::new(core::ptr::null()),
            previous: Cell::new(core::ptr::null()),
            charged_at: Cell::new(0),
            woke_at: Cell::new(0),
            slice_armed: Cell::new(false),
            samples: Cell::new(false),
            waiting: AtomicUsize::new(0),
            least: AtomicU64::new(0),
            running_urgency: AtomicU64::new(0),
            queue: SpinLock::new(RunQueue::new()),
            timers: SpinLock::new(Timers::new()),
        }
    }
}

static BOOT_CPU: PerCpu = PerCpu::new();
/// The other CPUs' data, by number.
static OTHERS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
/// How many CPUs there are besides the first, whether they run already or are about to: settled before the first program.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Whether there are any.
static HAS_OTHERS: BootCell<bool> = BootCell::new(false);

/// Whether processors have FSGSBASE and XSAVE, and whether besides that there is only one.
static CAN_EXCHANGE: BootCell<bool> = BootCell::new(false);
static IS_PLAIN: BootCell<bool> = BootCell::new(false);

/// What only the boot CPU writes, before another CPU or a program runs, and everybody reads from then on: as plain memory, which an instruction
/// can compare where it stands.
pub struct BootCell<T>(UnsafeCell<T>);

// SAFETY: nobody writes any more when others read.
unsafe impl<T: Copy + Send> Sync for BootCell<T> {}

impl<T: Copy> BootCell<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: as above.
        unsafe { *self.0.get() }
    }

    /// Only at boot, on the first CPU.
    pub fn set(&self, value: T) {
        // SAFETY: nobody else runs yet.
        unsafe { *self.0.get() = value };
    }
}

/// This CPU's data. Callers run with interrupts off, so they stay on this CPU until they give it up.
#[inline(always)]
pub fn per_cpu() -> &'static PerCpu {
    let this: *const PerCpu;
    // SAFETY: `init_boot_cpu` set GS before anything else ran, and every entry from the program does swapgs first.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, readonly));
        &*this
    }
}

/// The thread that runs here: the same as long as it asks, whichever CPU it is on.
#[inline(always)]
pub fn current_thread() -> *const Thread {
    let thread: *const Thread;
    // SAFETY: as in `per_cpu`; a thread finds itself here each time, so the answer may be kept.
    unsafe {
        asm!("mov {}, gs:[{offset}]", out(reg) thread, offset = const core::mem::offset_of!(PerCpu, current),
            options(nostack, preserves_flags, pure, nomem));
    }
    thread
}

/// Calls `then` if threads wait on this CPU's queue: one comparison where the number stands.
#[inline(always)]
pub fn if_others_wait(then: fn()) {
    // SAFETY: as in `per_cpu`; nothing is changed.
    unsafe {
        asm!(
            "cmp qword ptr gs:[{waiting}], 0",
            "jne {others}",
            waiting = const core::mem::offset_of!(PerCpu, waiting),
            others = label { then() },
            options(nostack, readonly),
        );
    }
}

/// Points GS at the boot CPU's data. First thing in `kernel_main`.
pub fn init_boot_cpu() {
    use_data(&BOOT_CPU);
}

/// Points GS at this CPU's data.
pub fn use_data(data: &'static PerCpu) {
    data.this.set(data);
    write_msr(MSR_GS_BASE, core::ptr::from_ref(data).addr() as u64);
    write_msr(MSR_KERNEL_GS_BASE, 0);
}

/// The data of the CPU with a number, if there is one.
#[inline]
pub fn by_index(index: usize) -> Option<&'static PerCpu> {
    if index == 0 {
        return Some(&BOOT_CPU);
    }
    // SAFETY: what `add` stored lives for ever.
    unsafe { OTHERS.get(index)?.load(Ordering::Acquire).as_ref() }
}

/// Makes another CPU known under the next number. Only the boot CPU does this, before the first program.
pub fn add(data: &'static PerCpu) {
    let index = online_count();
    if let Some(slot) = OTHERS.get(index) {
        data.id.set(index as u32);
        slot.store(core::ptr::from_ref(data).cast_mut(), Ordering::Release);
        COUNT.store(index, Ordering::Release);
        HAS_OTHERS.set(true);
        crate::mm::frame::limit_caches(index + 1);
        IS_PLAIN.set(false);
    }
}

pub fn write_msr(register: u32, value: u64) {
    // SAFETY: callers name a register of the list above with a value of its format.
    unsafe { Msr::new(register).write(value) }
}

pub fn read_msr(register: u32) -> u64 {
    // SAFETY: reading the registers of the list above has no side effect.
    unsafe { Msr::new(register).read() }
}

/// `CPUID` leaf and sub-leaf: `(eax, ebx, ecx, edx)`. Leaves beyond the maximum are all zero.
pub fn cpuid(leaf: u32, subleaf: u32) -> (u32, u32, u32, u32) {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    (r.eax, r.ebx, r.ecx, r.edx)
}

bitflags::bitflags! {
    /// What this kernel asks of, and uses from, the processor.
    #[derive(Clone, Copy, Debug)]
    pub struct Features: u32 {
        const FSGSBASE = 1 << 0;
        const SMEP = 1 << 1;
        const SMAP = 1 << 2;
        const UMIP = 1 << 3;
        const XSAVE = 1 << 4;
        const RDRAND = 1 << 5;
        const RDTSCP = 1 << 6;
        const GIGA_PAGES = 1 << 7;
        const TSC_DEADLINE = 1 << 8;
        const RDPID = 1 << 9;
    }
}

static FEATURES: BootCell<Features> = BootCell::new(Features::empty());

/// Features found at boot.
#[inline(always)]
pub fn features() -> Features {
    FEATURES.get()
}

/// What the kernel leaves alone where a hypervisor emulates ring 0: such emulators lack the instructions that go with the first three, and give
/// ring 3 the host's own processor numbers.
pub const SELDOM_EMULATED: Features = Features::XSAVE
    .union(Features::FSGSBASE)
    .union(Features::SMAP)
    .union(Features::RDPID)
    .union(Features::RDTSCP);

/// Reads CPUID, on the boot CPU. The others are of the same kind.
pub fn detect_features(unwanted: Features) {
    let mut found = Features::empty();
    let (max, ..) = cpuid(0, 0);
    let (_, _, ecx1, _) = cpuid(1, 0);
    found.set(Features::XSAVE, ecx1 & (1 << 26) != 0);
    found.set(Features::RDRAND, ecx1 & (1 << 30) != 0);
    found.set(Features::TSC_DEADLINE, ecx1 & (1 << 24) != 0);
    if max >= 7 {
        let (_, ebx, ecx, _) = cpuid(7, 0);
        found.set(Features::FSGSBASE, ebx & 1 != 0);
        found.set(Features::SMEP, ebx & (1 << 7) != 0);
        found.set(Features::SMAP, ebx & (1 << 20) != 0);
        found.set(Features::UMIP, ecx & (1 << 2) != 0);
        found.set(Features::RDPID, ecx & (1 << 22) != 0);
    }
    let (max_extended, ..) = cpuid(0x8000_0000, 0);
    if max_extended >= 0x8000_0001 {
        let (_, _, _, edx) = cpuid(0x8000_0001, 0);
        found.set(Features::GIGA_PAGES, edx & (1 << 26) != 0);
        found.set(Features::RDTSCP, edx & (1 << 27) != 0);
    }
    found.remove(unwanted);
    FEATURES.set(found);
    CAN_EXCHANGE.set(found.contains(Features::FSGSBASE.union(Features::XSAVE)));
    IS_PLAIN.set(CAN_EXCHANGE.get());
    use_features();
}

/// Turns on what both modes use, on this CPU: FSGSBASE and XSAVE. SMEP, SMAP and UMIP are `protect_kernel`'s.
pub fn use_features() {
    let found = features();
    let mut cr4 = Cr4Flags::empty();
    cr4.set(Cr4Flags::FSGSBASE, found.contains(Features::FSGSBASE));
    cr4.set(Cr4Flags::OSXSAVE, found.contains(Features::XSAVE));
    // SAFETY: both bits are set only where CPUID offers them; neither changes memory access.
    unsafe { Cr4::update(|value| *value |= cr4) };
}

/// Guarded mode: the program can't be executed by, or read behind the back of, the kernel, nor read descriptor-table addresses.
pub fn protect_kernel() {
    let found = features();
    let mut cr4 = Cr4Flags::empty();
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, found.contains(Features::SMEP));
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, found.contains(Features::SMAP));
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, found.contains(Features::UMIP));
    // SAFETY: set only where CPUID offers them; the kernel touches program memory through `usercopy`, which opens SMAP windows.
    unsafe { Cr4::update(|value| *value |= cr4) };
}

/// The running program's FS base (thread pointer).
pub fn fs_base() -> u64 {
    if features().contains(Features::FSGSBASE) {
        let value;
        // SAFETY: CR4.FSGSBASE is on.
        unsafe { asm!("rdfsbase {}", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    } else {
        read_msr(MSR_FS_BASE)
    }
}

pub fn set_fs_base(value: u64) {
    if features().contains(Features::FSGSBASE) {
        // SAFETY: CR4.FSGSBASE is on; callers pass canonical addresses (`arch_prctl` checks).
        unsafe { asm!("wrfsbase {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
    } else {
        write_msr(MSR_FS_BASE, value);
    }
}

/// The running program's GS base: while the kernel runs it stands in `KERNEL_GS_BASE`.
pub fn user_gs_base() -> u64 {
    read_msr(MSR_KERNEL_GS_BASE)
}

pub fn set_user_gs_base(value: u64) {
    write_msr(MSR_KERNEL_GS_BASE, value);
}

/// Loads a program's FS and GS base and returns those of the one that ran.
///
/// # Safety
/// The processor has FSGSBASE (`is_plain`), and the addresses are canonical.
#[inline(always)]
pub unsafe fn exchange_bases(fs: u64, gs: u64) -> (u64, u64) {
    let (old_fs, old_gs);
    // SAFETY: the caller's promise. GS is the program's between two instructions only, where nothing but an NMI comes, which looks at GS itself.
    unsafe {
        asm!(
            "rdfsbase {old_fs}", "wrfsbase {fs}", "swapgs", "rdgsbase {old_gs}", "wrgsbase {gs}", "swapgs",
            old_fs = out(reg) old_fs, fs = in(reg) fs, old_gs = out(reg) old_gs, gs = in(reg) gs,
            options(nostack, preserves_flags)
        );
    }
    (old_fs, old_gs)
}

/// Waits for an interrupt with interrupts open, and comes back with them closed.
pub fn idle_once() {
    // SAFETY: `sti` takes effect after `hlt` began, so a wake-up can't be lost; the kernel's stubs run on their own stacks.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// A random word from the processor, if it has the instruction and the instruction delivers.
pub fn rdrand() -> Option<u64> {
    if !features().contains(Features::RDRAND) {
        return None;
    }
    for _ in 0..10 {
        let value: u64;
        let ok: u8;
        // SAFETY: CPUID offers RDRAND.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
        if ok != 0 {
            return Some(value);
        }
    }
    None
}

/// Processors that run threads.
#[inline(always)]
pub fn online_count() -> usize {
    COUNT.load(Ordering::Relaxed).wrapping_add(1)
}

/// Whether there is only this one.
#[inline(always)]
pub fn is_single() -> bool {
    !HAS_OTHERS.get()
}

/// Whether this one and all others have FSGSBASE and XSAVE.
#[inline(always)]
pub fn can_exchange() -> bool {
    CAN_EXCHANGE.get()
}

/// Whether there is only this one, with FSGSBASE and XSAVE.
#[inline(always)]
pub fn is_plain() -> bool {
    IS_PLAIN.get()
}

/// The CPUs as a bit mask.
#[inline]
pub fn online_mask() -> u64 {
    u64::MAX >> (MAX_CPUS.wrapping_sub(online_count()) & 63)
}
