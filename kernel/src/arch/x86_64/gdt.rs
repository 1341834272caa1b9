//! The global descriptor table and the task state segment with its interrupt stacks.
//!
//! The selectors are Linux's, so that a program in guarded mode sees what it sees there (CS 0x33, SS 0x2b).

use core::arch::asm;
use core::cell::UnsafeCell;

pub const KERNEL_CS: u16 = 0x10;
pub const KERNEL_SS: u16 = 0x18;
pub const USER_CS: u16 = 0x33;
pub const USER_SS: u16 = 0x2b;
const TSS_SELECTOR: u16 = 0x40;

/// Interrupt stack numbers (IST fields of IDT entries). Interrupt stacks don't nest: see `entry.rs`.
pub const IST_NORMAL: u8 = 1;
pub const IST_NMI: u8 = 2;
pub const IST_DOUBLE_FAULT: u8 = 3;
pub const IST_MACHINE_CHECK: u8 = 4;
pub const IST_DEBUG: u8 = 5;

/// Stubs leave the interrupt stack after a few pushes; only the fatal vectors run their handlers there.
const SMALL_STACK: usize = 512;
const FATAL_STACK: usize = 8192;

#[repr(C, packed(4))]
struct TaskStateSegment {
    _reserved0: u32,
    rsp: [u64; 3],
    _reserved1: u64,
    ist: [u64; 7],
    _reserved2: u64,
    _reserved3: u16,
    io_map_base: u16,
}

/// One CPU's tables and small interrupt stacks.
#[repr(C, align(64))]
pub struct Tables {
    gdt: [u64; 10],
    tss: TaskStateSegment,
    normal: [u64; SMALL_STACK / 8],
    debug: [u64; SMALL_STACK / 8],
}

#[repr(C, align(16))]
struct FatalStack(UnsafeCell<[u8; FATAL_STACK]>);
// SAFETY: the memory is only used by the processor, as a stack.
unsafe impl Sync for FatalStack {}
/// NMI, double fault and machine check end the machine or print registers; one stack of each kind is enough.
static NMI_STACK: FatalStack = FatalStack(UnsafeCell::new([0; FATAL_STACK]));
static FAULT_STACK: FatalStack = FatalStack(UnsafeCell::new([0; FATAL_STACK]));

struct Boot(UnsafeCell<Tables>);
// SAFETY: written once by the boot CPU before it is loaded, then only read by the processor.
unsafe impl Sync for Boot {}
static BOOT: Boot = Boot(UnsafeCell::new(Tables::new()));

impl Tables {
    pub const fn new() -> Self {
        Self {
            gdt: [0; 10],
            tss: TaskStateSegment {
                _reserved0: 0,
                rsp: [0; 3],
                _reserved1: 0,
                ist: [0; 7],
                _reserved2: 0,
                _reserved3: 0,
                io_map_base: 0,
            },
            normal: [0; SMALL_STACK / 8],
            debug: [0; SMALL_STACK / 8],
        }
    }
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn stack_top(stack: &FatalStack) -> u64 {
    (stack.0.get().addr() + FATAL_STACK) as u64
}

/// Loads the boot CPU's tables.
pub fn init_boot_cpu() {
    // SAFETY: the tables are nobody else's, and live for ever as the stacks do.
    unsafe { load(BOOT.0.get(), stack_top(&NMI_STACK), stack_top(&FAULT_STACK)) };
}

/// Loads a CPU's tables on that CPU. The two addresses are the ends of its stacks for NMIs, and for double faults and machine checks.
///
/// # Safety
/// The tables are this CPU's alone, and live for ever as the stacks do.
pub unsafe fn load(tables: *mut Tables, nmi_stack: u64, fault_stack: u64) {
    // SAFETY: the caller's promise; the descriptors describe flat 64-bit segments.
    unsafe {
        let t = &mut *tables;
        t.gdt[2] = 0x00af_9b00_0000_ffff; // 0x10 kernel code
        t.gdt[3] = 0x00cf_9300_0000_ffff; // 0x18 kernel data
        t.gdt[4] = 0x00cf_fb00_0000_ffff; // 0x20 32-bit user code (SYSRET's base; never loaded)
        t.gdt[5] = 0x00cf_f300_0000_ffff; // 0x28 user data
        t.gdt[6] = 0x00af_fb00_0000_ffff; // 0x30 user code
        let normal_top = ((&raw const t.normal).addr() + SMALL_STACK) as u64;
        let debug_top = ((&raw const t.debug).addr() + SMALL_STACK) as u64;
        t.tss.ist = [normal_top, nmi_stack, fault_stack, fault_stack, debug_top, 0, 0];
        t.tss.io_map_base = size_of::<TaskStateSegment>() as u16;
        let base = (&raw const t.tss).addr() as u64;
        let limit = size_of::<TaskStateSegment>() as u64 - 1;
        t.gdt[8] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        t.gdt[9] = base >> 32;
        let pointer =
            Pointer { limit: size_of::<[u64; 10]>() as u16 - 1, base: (&raw const t.gdt).addr() as u64 };
        asm!("lgdt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags));
        asm!("ltr {0:x}", in(reg) TSS_SELECTOR, options(nostack, preserves_flags));
    }
}
