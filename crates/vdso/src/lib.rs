//! The vDSO's data page: what the kernel writes there for the code in `kernel/src/arch/x86_64/vdso.S` to tell the time by itself.
//!
//! The program computes exactly what the kernel computes, `(ticks - boot) * mult >> shift`, but from a more recent base: the page holds
//! clocks at some tick count with 32 bits of fraction, so that moving the base changes no result, and time read by system call and
//! by vDSO never runs backwards from one to the other.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

const NS_PER_SEC: u64 = 1_000_000_000;
/// Bits of the fraction of a nanosecond.
const FRACTION_BITS: u32 = 32;

/// The kernel's clocks: `ns = (ticks - boot_ticks) * mult >> shift` since boot, and `wall_offset_ns` more since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub mult: u32,
    /// At most 32.
    pub shift: u32,
    pub boot_ticks: u64,
    pub wall_offset_ns: i64,
}

impl Clock {
    /// Nanoseconds per tick, with 32 bits of fraction.
    const fn scaled(&self) -> u64 {
        (self.mult as u64) << FRACTION_BITS.saturating_sub(self.shift)
    }

    /// Nanoseconds since boot at a tick count not before it, with 32 bits of fraction.
    fn fixed_point(&self, ticks: u64) -> u128 {
        u128::from(ticks.wrapping_sub(self.boot_ticks)) * u128::from(self.scaled())
    }
}

/// How a program learns which processor it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CpuSource {
    /// By system call.
    SystemCall = 0,
    /// RDPID; TSC_AUX holds `node << 12 | cpu`.
    Rdpid = 1,
    /// RDTSCP, likewise.
    Rdtscp = 2,
}

/// The data page, mapped read-only right below the code. The assembly knows the offsets.
///
/// One writer at a time: the caller's lock. It increments `begin`, changes the rest, increments `end`.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Vvar {
    begin: AtomicU32,
    end: AtomicU32,
    /// Tick count for which `seconds` and `fraction` hold.
    ticks: AtomicU64,
    /// So many ticks later the quick computation would overflow; 0 if there is no usable counter.
    limit: AtomicU64,
    mult: AtomicU64,
    /// Of the wall clock and of the monotonic clock.
    seconds: [AtomicI64; 2],
    /// Nanoseconds within the second, in the upper 32 bits, and their fraction.
    fraction: [AtomicU64; 2],
    usable: AtomicU32,
    cpu_source: AtomicU32,
    /// Resolution of the coarse clocks, ns.
    coarse_ns: AtomicU64,
    rest: [u8; 4096 - 80],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(offset_of!(Vvar, begin) == 0);
    assert!(offset_of!(Vvar, end) == 4);
    assert!(offset_of!(Vvar, ticks) == 8);
    assert!(offset_of!(Vvar, limit) == 16);
    assert!(offset_of!(Vvar, mult) == 24);
    assert!(offset_of!(Vvar, seconds) == 32);
    assert!(offset_of!(Vvar, fraction) == 48);
    assert!(offset_of!(Vvar, usable) == 64);
    assert!(offset_of!(Vvar, cpu_source) == 68);
    assert!(offset_of!(Vvar, coarse_ns) == 72);
    assert!(size_of::<Vvar>() == 4096);
};

impl Default for Vvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Vvar {
    /// A page that sends programs to the kernel for everything.
    pub const fn new() -> Self {
        Self {
            begin: AtomicU32::new(0),
            end: AtomicU32::new(0),
            ticks: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            mult: AtomicU64::new(0),
            seconds: [const { AtomicI64::new(0) }; 2],
            fraction: [const { AtomicU64::new(0) }; 2],
            usable: AtomicU32::new(0),
            cpu_source: AtomicU32::new(CpuSource::SystemCall as u32),
            coarse_ns: AtomicU64::new(0),
            rest: [0; 4096 - 80],
        }
    }

    /// What doesn't change: how to find the processor's number, and the resolution of the coarse clocks.
    pub fn set_constants(&self, cpu_source: CpuSource, coarse_ns: u64) {
        self.cpu_source.store(cpu_source as u32, Ordering::Relaxed);
        self.coarse_ns.store(coarse_ns, Ordering::Relaxed);
    }

    /// Moves the base to a tick count, which is no earlier than `clock.boot_ticks`, and takes over changes of the clock.
    pub fn publish(&self, clock: &Clock, ticks: u64) {
        let scaled = clock.scaled();
        let now = clock.fixed_point(ticks);
        // 2^64 ns are 584 years.
        #[expect(clippy::cast_possible_truncation, reason = "the whole nanoseconds and the fraction of one")]
        let (ns, fraction) = ((now >> FRACTION_BITS) as u64, now as u32);
        let join = |ns: u64| ns << FRACTION_BITS | u64::from(fraction);
        let wall = clock.wall_offset_ns.wrapping_add_unsigned(ns);
        let wall_seconds = wall.div_euclid(NS_PER_SEC.cast_signed());
        let wall_ns = wall.rem_euclid(NS_PER_SEC.cast_signed()).cast_unsigned();

        self.begin.store(self.begin.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.ticks.store(ticks, Ordering::Relaxed);
        self.mult.store(scaled, Ordering::Relaxed);
        let room = u64::MAX - (NS_PER_SEC << FRACTION_BITS);
        self.limit.store(room.checked_div(scaled).unwrap_or(0), Ordering::Relaxed);
        let [real, monotonic] = &self.seconds;
        real.store(wall_seconds, Ordering::Relaxed);
        monotonic.store((ns / NS_PER_SEC).cast_signed(), Ordering::Relaxed);
        let [real, monotonic] = &self.fraction;
        real.store(join(wall_ns), Ordering::Relaxed);
        monotonic.store(join(ns % NS_PER_SEC), Ordering::Relaxed);
        self.usable.store(1, Ordering::Relaxed);
        self.end.store(self.begin.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Ticks after which a reader leaves the quick path; the kernel publishes anew well before.
    pub fn quick_ticks(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }
}
