//! Clocks: the TSC, scaled. Nothing is calibrated unless nobody says the TSC's rate and somebody asks for the time.

pub mod timer;

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use vdso::Clock;

use crate::arch::x86_64::{apic, cpu, tsc, vdso as program_clock};

pub const NS_PER_SEC: u64 = 1_000_000_000;

/// `ns = ticks * mult >> shift`.
static MULT: AtomicU32 = AtomicU32::new(0);
static SHIFT: AtomicU32 = AtomicU32::new(0);
/// TSC at boot: monotonic time 0.
static BASE_TICKS: AtomicU64 = AtomicU64::new(0);
/// Wall-clock time at boot, ns since 1970.
static WALL_BASE: AtomicI64 = AtomicI64::new(0);

/// Long enough for four digits, short enough for nobody to notice.
const CALIBRATION_NS: u64 = 1_000_000;

/// Starts the clocks. `tsc_khz` is the launcher's word for the TSC's rate, `wall_ns` the time of day.
pub fn init(tsc_khz: Option<u32>, wall_ns: u64) {
    BASE_TICKS.store(tsc::read(), Ordering::Relaxed);
    WALL_BASE.store(wall_ns.cast_signed(), Ordering::Relaxed);
    if let Some(khz) = tsc_khz.filter(|&khz| khz > 0) {
        set_rate(khz);
    }
}

/// Picks the largest shift for which the multiplier fits 32 bits.
fn set_rate(khz: u32) {
    let khz = u64::from(khz);
    let mut shift = 32;
    while shift > 0 && (1_000_000u64 << shift) / khz > u64::from(u32::MAX) {
        shift -= 1;
    }
    SHIFT.store(shift, Ordering::Relaxed);
    // Never 0, which means that the rate isn't known yet.
    MULT.store(((1_000_000u64 << shift) / khz).max(1) as u32, Ordering::Release);
    publish();
}

/// Tells programs what the clocks are, if anybody has asked for the time yet.
fn publish() {
    if MULT.load(Ordering::Acquire) != 0 {
        let (mult, shift, boot_ticks) = conversion();
        program_clock::publish(&Clock { mult, shift, boot_ticks, wall_offset_ns: wall_offset_ns() });
    }
}

/// Keeps the base from which programs count near, so that they count fast. Called where time has passed: interrupts, exec.
#[inline]
pub fn refresh() {
    if program_clock::is_stale() {
        publish();
    }
}

#[cold]
fn calibrate() {
    // What the hypervisor or the processor says.
    if cpu::cpuid(0x4000_0000, 0).0 >= 0x4000_0010 {
        let (khz, ..) = cpu::cpuid(0x4000_0010, 0);
        if khz != 0 {
            return set_rate(khz);
        }
    }
    if cpu::cpuid(0, 0).0 >= 0x15 {
        let (denominator, numerator, crystal_hz, _) = cpu::cpuid(0x15, 0);
        if denominator != 0 && numerator != 0 && crystal_hz != 0 {
            return set_rate(
                (u64::from(crystal_hz) * u64::from(numerator) / u64::from(denominator) / 1000) as u32,
            );
        }
    }
    let timer_khz = u64::from(apic::start_countdown());
    let target = u32::MAX - (CALIBRATION_NS * timer_khz / 1_000_000) as u32;
    let (first_count, first_ticks) = (apic::timer_count(), tsc::read());
    while apic::timer_count() > target {
        core::hint::spin_loop();
    }
    let (last_count, last_ticks) = (apic::timer_count(), tsc::read());
    apic::stop_countdown();
    let elapsed = u64::from(first_count - last_count).max(1);
    set_rate(((last_ticks - first_ticks) * timer_khz / elapsed).max(1) as u32);
}

/// `(mult, shift, base ticks)` of the conversion.
pub fn conversion() -> (u32, u32, u64) {
    if MULT.load(Ordering::Acquire) == 0 {
        calibrate();
    }
    (MULT.load(Ordering::Relaxed), SHIFT.load(Ordering::Relaxed), BASE_TICKS.load(Ordering::Relaxed))
}

/// TSC ticks as nanoseconds.
#[inline(always)]
pub fn ticks_to_ns(ticks: u64) -> u64 {
    let mult = MULT.load(Ordering::Acquire);
    if mult == 0 {
        return ticks_to_ns_first(ticks);
    }
    // The shift is at most 32; the mask lets the compiler see it.
    ((u128::from(ticks) * u128::from(mult)) >> (SHIFT.load(Ordering::Relaxed) & 63)) as u64
}

#[cold]
#[inline(never)]
fn ticks_to_ns_first(ticks: u64) -> u64 {
    calibrate();
    ticks_to_ns(ticks)
}

/// Nanoseconds since boot.
#[inline(always)]
pub fn monotonic_ns() -> u64 {
    ticks_to_ns(tsc::read().wrapping_sub(BASE_TICKS.load(Ordering::Relaxed)))
}

/// Offset of the wall clock to the monotonic clock, ns.
pub fn wall_offset_ns() -> i64 {
    WALL_BASE.load(Ordering::Relaxed)
}

/// Nanoseconds since 1970.
#[inline(always)]
pub fn realtime_ns() -> i64 {
    wall_offset_ns().wrapping_add_unsigned(monotonic_ns())
}

/// Sets the wall clock (`clock_settime`).
pub fn set_realtime_ns(now: i64) {
    WALL_BASE.store(now.wrapping_sub_unsigned(monotonic_ns()), Ordering::Relaxed);
    COARSE.until.store(0, Ordering::Release);
    publish();
}

/// The millisecond that it is, and until when that is good.
struct Coarse {
    /// TSC value.
    until: AtomicU64,
    /// Seconds since 1970, and milliseconds in the lowest ten bits.
    packed: AtomicU64,
}

static COARSE: Coarse = Coarse { until: AtomicU64::new(0), packed: AtomicU64::new(0) };
const NS_PER_MILLI: u32 = 1_000_000;

/// Wall-clock seconds and nanoseconds, by the millisecond: for what needs the time often and not exactly.
#[inline]
pub fn coarse_realtime() -> (i64, u32) {
    if tsc::read() >= COARSE.until.load(Ordering::Acquire) {
        refresh_coarse();
    }
    let packed = COARSE.packed.load(Ordering::Acquire);
    ((packed >> 10).cast_signed(), (packed & 0x3ff) as u32 * NS_PER_MILLI)
}

/// The TSC value until which `coarse_realtime` says the same, once it has been asked.
#[inline]
pub fn coarse_until() -> u64 {
    COARSE.until.load(Ordering::Acquire)
}

#[inline(never)]
fn refresh_coarse() {
    let ticks = tsc::read();
    let (mult, shift, _) = conversion();
    let millis = realtime_ns().div_euclid(NS_PER_MILLI.into());
    let packed = (millis.div_euclid(1000) << 10 | millis.rem_euclid(1000)).cast_unsigned();
    COARSE.packed.store(packed, Ordering::Release);
    let milli_in_ticks = (u64::from(NS_PER_MILLI) << shift) / u64::from(mult.max(1));
    COARSE.until.store(ticks.saturating_add(milli_in_ticks), Ordering::Release);
}

/// Sees to it that the timer interrupts within `delay_ns`.
pub fn ensure_tick(delay_ns: u64) {
    timer::ensure_interrupt_by(monotonic_ns().saturating_add(delay_ns));
}
