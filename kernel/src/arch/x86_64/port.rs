//! I/O ports.

use core::arch::asm;

/// Writes a doubleword. Only for ports whose devices can't harm memory by it.
pub fn write32(port: u16, value: u32) {
    // SAFETY: used for PCI configuration space, whose registers the drivers own.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}

pub fn read32(port: u16) -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Silences the legacy interrupt controllers, which firmware leaves on at vectors that are exceptions'.
pub fn mask_legacy_interrupts() {
    for port in [0x21u16, 0xa1] {
        // SAFETY: the mask registers of the two 8259s; nothing here uses them.
        unsafe {
            asm!("out dx, al", in("dx") port, in("al") 0xffu8, options(nomem, nostack, preserves_flags))
        };
    }
}
