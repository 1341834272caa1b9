//! The local APIC (xAPIC registers in memory) and its one-shot timer; the I/O APIC for device interrupts.
//! Intel SDM volume 3, chapter 11.

use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;

use super::cpu;
use super::idt;
use super::mmio::Mmio;
use super::port;

const LOCAL_BASE: u64 = 0xfee0_0000;
const REG_ID: usize = 0x20;
const REG_EOI: usize = 0xb0;
const REG_SPURIOUS: usize = 0xf0;
const REG_TIMER: usize = 0x320;
const REG_TIMER_INITIAL: usize = 0x380;
const REG_TIMER_CURRENT: usize = 0x390;
const REG_TIMER_DIVIDE: usize = 0x3e0;
const DIVIDE_BY_ONE: u32 = 0b1011;

/// The timer's rate, kHz. QEMU (TCG) and KVM run it at 1 GHz; CPUID leaf 0x4000_0010 says otherwise where a hypervisor has it.
static TIMER_KHZ: AtomicU32 = AtomicU32::new(1_000_000);
static LOCAL: Once<Mmio> = Once::new();

fn local() -> Mmio {
    *LOCAL.call_once(|| {
        let window = crate::mm::map_device(LOCAL_BASE, 4096);
        // EAX is the highest leaf; the others spell a name, and leaves beyond the highest say something else.
        let (highest, ..) = cpu::cpuid(0x4000_0000, 0);
        if (0x4000_0010..0x4001_0000).contains(&highest) {
            let (_, apic_khz, ..) = cpu::cpuid(0x4000_0010, 0);
            if apic_khz != 0 {
                TIMER_KHZ.store(apic_khz, Ordering::Relaxed);
            }
        }
        window.write32(REG_SPURIOUS, 0x100 | u32::from(idt::APIC_SPURIOUS));
        window.write32(REG_TIMER_DIVIDE, DIVIDE_BY_ONE);
        window.write32(REG_TIMER, u32::from(idt::APIC_TIMER));
        window
    })
}

/// Masks the two legacy controllers. Firmware leaves the timer on at vector 8, which would look like a double fault.
pub fn silence_legacy() {
    port::write8(0x21, 0xff);
    port::write8(0xa1, 0xff);
}

/// This CPU's APIC ID.
pub fn id() -> u32 {
    local().read32(REG_ID) >> 24
}

/// Acknowledges the interrupt in service.
pub fn end_of_interrupt() {
    local().write32(REG_EOI, 0);
}

/// Asks for one timer interrupt in `delay_ns` (at most about four seconds: the caller arms again). 0 turns it off.
pub fn arm_timer(delay_ns: u64) {
    let khz = u64::from(TIMER_KHZ.load(Ordering::Relaxed));
    let count = (delay_ns.min(4_000_000_000) * khz / 1_000_000).min(u64::from(u32::MAX));
    let count = if delay_ns != 0 { count.max(1) } else { 0 };
    local().write32(REG_TIMER_INITIAL, count as u32);
}

/// Timer ticks left, for calibration.
pub fn timer_count() -> u32 {
    local().read32(REG_TIMER_CURRENT)
}

/// Starts a free-running countdown without an interrupt, for calibration, and says its rate in kHz.
pub fn start_countdown() -> u32 {
    let window = local();
    window.write32(REG_TIMER, u32::from(idt::APIC_TIMER) | 1 << 16);
    window.write32(REG_TIMER_INITIAL, u32::MAX);
    TIMER_KHZ.load(Ordering::Relaxed)
}

/// Ends the countdown; the timer delivers interrupts again.
pub fn stop_countdown() {
    let window = local();
    window.write32(REG_TIMER_INITIAL, 0);
    window.write32(REG_TIMER, u32::from(idt::APIC_TIMER));
}

const IO_APIC_BASE: u64 = 0xfec0_0000;

static IO_APIC: Once<Mmio> = Once::new();

/// Routes an I/O APIC pin, edge-triggered, to a vector of the boot CPU.
pub fn route_irq(pin: u32, vector: u8) {
    let window = *IO_APIC.call_once(|| crate::mm::map_device(IO_APIC_BASE, 4096));
    let index = 0x10 + pin * 2;
    window.write32(0, index + 1);
    window.write32(0x10, id() << 24);
    window.write32(0, index);
    window.write32(0x10, u32::from(vector));
}
