//! I/O ports.

use core::arch::asm;

/// Writes a byte. Only for ports whose devices can't harm memory by it.
pub fn write8(port: u16, value: u8) {
    // SAFETY: used for the legacy interrupt controllers, which own no memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

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

/// Writes a word. Only for ports whose devices can't harm memory by it.
pub fn write16(port: u16, value: u16) {
    // SAFETY: used to select an item of QEMU's configuration device, which is read by port.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads a byte.
pub fn read8(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}
