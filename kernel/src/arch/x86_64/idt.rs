//! The interrupt descriptor table: every vector through a stub of `entry.rs`, every vector on an interrupt stack.

use core::arch::asm;
use core::cell::UnsafeCell;

use super::gdt;

/// Vectors (Intel SDM volume 3, table 6-1), and where this kernel puts its own.
pub const DEBUG: u8 = 1;
pub const NMI: u8 = 2;
pub const BREAKPOINT: u8 = 3;
pub const OVERFLOW: u8 = 4;
pub const DOUBLE_FAULT: u8 = 8;
pub const GENERAL_PROTECTION: u8 = 13;
pub const PAGE_FAULT: u8 = 14;
pub const MACHINE_CHECK: u8 = 18;
pub const FIRST_IRQ: u8 = 32;
pub const APIC_TIMER: u8 = 0xef;
/// From another CPU: look at the run queue, the work bits and the flush requests.
pub const IPI: u8 = 0xf0;
pub const APIC_SPURIOUS: u8 = 0xff;

struct Table(UnsafeCell<[[u64; 2]; 256]>);
// SAFETY: filled once at boot, then only read by the processor.
unsafe impl Sync for Table {}
static TABLE: Table = Table(UnsafeCell::new([[0; 2]; 256]));

unsafe extern "C" {
    static trap_stubs: u8;
}
/// Bytes from one stub to the next.
const STUB_SIZE: usize = 16;

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Fills the table. Vectors 3 and 4 may be raised by `int3`/`into` in the program, so their gates have DPL 3.
pub fn init() {
    let base = (&raw const trap_stubs).addr();
    // SAFETY: runs once on the boot CPU before interrupts are on.
    let table = unsafe { &mut *TABLE.0.get() };
    for (vector, entry) in table.iter_mut().enumerate() {
        let address = (base + vector * STUB_SIZE) as u64;
        let ist = match vector as u8 {
            DEBUG => gdt::IST_DEBUG,
            NMI => gdt::IST_NMI,
            DOUBLE_FAULT => gdt::IST_DOUBLE_FAULT,
            MACHINE_CHECK => gdt::IST_MACHINE_CHECK,
            _ => gdt::IST_NORMAL,
        };
        let privilege: u64 = if matches!(vector as u8, BREAKPOINT | OVERFLOW) { 3 } else { 0 };
        entry[0] = address & 0xffff
            | u64::from(gdt::KERNEL_CS) << 16
            | u64::from(ist) << 32
            | (0x8e | privilege << 5) << 40
            | (address >> 16 & 0xffff) << 48;
        entry[1] = address >> 32;
    }
    load();
}

/// Loads the table on this CPU.
pub fn load() {
    let pointer = Pointer { limit: 4095, base: TABLE.0.get().addr() as u64 };
    // SAFETY: the table lives for ever and every entry is valid.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// Raises an exception: an instruction that no processor has.
pub fn raise() -> ! {
    // SAFETY: enters the kernel's handler of vector 6, which doesn't return here.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) };
}
