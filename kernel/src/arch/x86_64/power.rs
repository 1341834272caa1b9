//! Ending the machine.

use core::arch::asm;

fn out8(port: u16, value: u8) {
    // SAFETY: the ports below end the machine or aren't there.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

fn out16(port: u16, value: u16) {
    // SAFETY: as above.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) };
}

/// What `isa-debug-exit` is told: QEMU ends with `value << 1 | 1`.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Normal,
    Panic,
}

/// Powers off: `isa-debug-exit`, the ACPI ports of QEMU's machines, the keyboard controller's reset line, and at last for ever asleep.
pub fn off(end: End) -> ! {
    out8(
        0xf4,
        match end {
            End::Normal => 0,
            End::Panic => 0x3f,
        },
    );
    out16(0x604, 0x2000);
    out16(0x600, 0x34);
    out8(0x64, 0xfe);
    loop {
        // SAFETY: with interrupts off this never comes back.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
