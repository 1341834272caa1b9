//! The vDSO's functions, run on the host with a data page of our own: results compared with the kernel's formula and the host's clocks.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::arch::x86_64::_rdtsc;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use support::{ClockGettime, Getcpu, Gettimeofday, Mapped, POISON, Pair, SECOND};
use vdso::{Clock, CpuSource};

fn ticks() -> u64 {
    // SAFETY: reading the counter has no effect.
    unsafe { _rdtsc() }
}

/// What the kernel answers at a tick count.
fn kernel_ns(clock: &Clock, ticks: u64) -> u64 {
    u64::try_from((u128::from(ticks - clock.boot_ticks) * u128::from(clock.mult)) >> clock.shift).unwrap()
}

fn pair(ns: i128, scale: i128) -> Pair {
    let second = i128::from(SECOND);
    Pair {
        sec: i64::try_from(ns.div_euclid(second)).unwrap(),
        sub: i64::try_from(ns.rem_euclid(second) / scale).unwrap(),
    }
}

/// Reads every clock and checks that the kernel would have said that at some moment during the read.
fn check_clocks(mapped: &Mapped, clock: &Clock) {
    for id in [0, 1, 4, 5, 6, 7, 11] {
        let offset = if [0, 5, 11].contains(&id) { i128::from(clock.wall_offset_ns) } else { 0 };
        let before = pair(offset + i128::from(kernel_ns(clock, ticks())), 1);
        let found = mapped.clock(id);
        let after = pair(offset + i128::from(kernel_ns(clock, ticks())), 1);
        assert!(before <= found && found <= after, "clock {id}: {before:?} {found:?} {after:?}");
    }
    let wall = || i128::from(clock.wall_offset_ns) + i128::from(kernel_ns(clock, ticks()));
    let (before, found, after) = (pair(wall(), 1000), mapped.day(), pair(wall(), 1000));
    assert!(before <= found && found <= after, "{before:?} {found:?} {after:?}");
    let (before, found, after) = (pair(wall(), 1).sec, mapped.time(), pair(wall(), 1).sec);
    assert!(before <= found && found <= after);
}

fn clocks() -> impl Strategy<Value = Clock> {
    // From 250 MHz to 8 GHz, booted up to some hours ago, wall clocks before and after 1970.
    (
        250_000u64..8_000_000,
        1u64..50_000_000_000_000,
        -5_000_000_000i64 * 1_000_000_000..9_000_000_000_000_000_000,
    )
        .prop_map(|(khz, ago, wall_offset_ns)| {
            let mut shift = 32;
            while (1_000_000u64 << shift) / khz > u64::from(u32::MAX) {
                shift -= 1;
            }
            let mult = u32::try_from((1_000_000u64 << shift) / khz).unwrap();
            Clock { mult, shift, boot_ticks: ticks().saturating_sub(ago), wall_offset_ns }
        })
}

proptest! {
    #[test]
    fn tells_what_the_kernel_would(clock in clocks(), age in prop_oneof![0u64..1000, 0u64..50_000_000_000_000]) {
        let clock = Clock { wall_offset_ns: clock.wall_offset_ns.min(i64::MAX - (1 << 60)), ..clock };
        let mapped = Mapped::new();
        // A base just taken, and one from long ago.
        mapped.vvar().publish(&clock, ticks().saturating_sub(age).max(clock.boot_ticks));
        check_clocks(&mapped, &clock);
    }

    #[test]
    fn time_that_stands_still_is_exact(ns in 0u64..1 << 55, wall in -1i64 << 60..1 << 60) {
        // One tick is no time: the result is the base, whenever it is read.
        let mapped = Mapped::new();
        let boot = ticks().saturating_sub(1 << 40);
        let still = Clock { mult: 0, shift: 0, boot_ticks: boot, wall_offset_ns: wall.wrapping_add_unsigned(ns) };
        mapped.vvar().publish(&still, ticks());
        prop_assert_eq!(mapped.clock(0), pair(i128::from(still.wall_offset_ns), 1));
        prop_assert_eq!(mapped.clock(1), Pair { sec: 0, sub: 0 });
        prop_assert_eq!(mapped.day(), pair(i128::from(still.wall_offset_ns), 1000));
        prop_assert_eq!(mapped.time(), pair(i128::from(still.wall_offset_ns), 1).sec);
    }
}

#[test]
fn a_counter_that_is_behind_stands_still() {
    let clock = Clock { mult: 1 << 31, shift: 31, boot_ticks: 0, wall_offset_ns: 0 };
    let mapped = Mapped::new();
    // Another processor has published a base ten seconds ahead of this one's counter.
    let ahead = ticks() + 100 * SECOND;
    mapped.vvar().publish(&clock, ahead);
    assert_eq!(mapped.clock(1), pair(i128::from(kernel_ns(&clock, ahead)), 1));
    assert_eq!(mapped.day(), pair(i128::from(kernel_ns(&clock, ahead)), 1000));
}

#[test]
fn without_a_counter_the_kernel_is_asked() {
    let mapped = Mapped::new();
    let host = |id: c_int| {
        let mut now = Pair::default();
        // SAFETY: writes one timespec.
        assert_eq!(unsafe { libc::syscall(libc::SYS_clock_gettime, id, &raw mut now) }, 0);
        now
    };
    for id in [0, 1, 2, 3, 4, 7, 11] {
        let (before, found, after) = (host(id), mapped.clock(id), host(id));
        assert!(before <= found && found <= after, "clock {id}");
    }
    let (before, found, after) = (host(0), mapped.day(), host(0));
    let as_day = |pair: Pair| Pair { sub: pair.sub / 1000, ..pair };
    assert!(as_day(before) <= found && found <= as_day(after));
    assert!((before.sec - 1..=after.sec).contains(&mapped.time()));
    let mut cpu = u32::MAX;
    assert_eq!(
        mapped.function::<Getcpu>("getcpu")(&raw mut cpu, std::ptr::null_mut(), std::ptr::null_mut()),
        0
    );
    assert!(cpu < 4096);
    // Errors are the kernel's, negated: unknown clocks, and bad addresses for clocks that only it knows.
    let clock_gettime = mapped.function::<ClockGettime>("clock_gettime");
    let mut out = POISON;
    for id in [10, 12, 31, 32, 33, 64, 65, i32::MAX, -1, i32::MIN] {
        let mut theirs = POISON;
        // SAFETY: writes one timespec at most.
        let expected = match unsafe { libc::syscall(libc::SYS_clock_gettime, id, &raw mut theirs) } {
            -1 => -std::io::Error::last_os_error().raw_os_error().unwrap(),
            _ => 0,
        };
        assert_eq!(clock_gettime(id, &raw mut out), expected, "clock {id}");
    }
    assert_eq!(clock_gettime(2, std::ptr::without_provenance_mut(8)), -libc::EFAULT);
}

#[test]
fn resolutions_are_linuxs() {
    let mapped = Mapped::new();
    mapped.vvar().set_constants(CpuSource::SystemCall, 4_000_000);
    let getres = mapped.function::<ClockGettime>("__vdso_clock_getres");
    for (id, expected) in
        [(0, 1), (1, 1), (4, 1), (5, 4_000_000), (6, 4_000_000), (7, 1), (11, 1), (2, 1), (3, 1)]
    {
        let mut out = POISON;
        assert_eq!(getres(id, &raw mut out), 0);
        assert_eq!(out, Pair { sec: 0, sub: expected }, "clock {id}");
        assert_eq!(getres(id, std::ptr::null_mut()), 0);
    }
    for id in [10, 12, 32, 37, -1] {
        assert_eq!(getres(id, std::ptr::null_mut()), -libc::EINVAL);
    }
}

#[test]
fn null_arguments_are_left_alone() {
    let mapped = Mapped::new();
    mapped.vvar().publish(&Clock { mult: 1, shift: 1, boot_ticks: 0, wall_offset_ns: 0 }, ticks());
    let gettimeofday = mapped.function::<Gettimeofday>("gettimeofday");
    let mut zone = [7, 7];
    assert_eq!(gettimeofday(std::ptr::null_mut(), &raw mut zone), 0);
    assert_eq!(zone, [0, 0]);
    assert_eq!(gettimeofday(std::ptr::null_mut(), std::ptr::null_mut()), 0);
    let getcpu = mapped.function::<Getcpu>("__vdso_getcpu");
    assert_eq!(getcpu(std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut()), 0);
}

#[test]
fn processor_numbers_come_from_tsc_aux() {
    let mapped = Mapped::new();
    let mut pinned = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    // SAFETY: sets are plain bytes; this thread pins itself to the processor that it is on.
    let cpu = unsafe {
        let cpu = u32::try_from(libc::sched_getcpu()).unwrap();
        libc::CPU_SET(cpu as usize, pinned.assume_init_mut());
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), pinned.as_ptr()), 0);
        cpu
    };
    let getcpu = mapped.function::<Getcpu>("__vdso_getcpu");
    for (flag, source) in
        [("rdpid", CpuSource::Rdpid), ("rdtscp", CpuSource::Rdtscp), ("tsc", CpuSource::SystemCall)]
    {
        if !flags.split_whitespace().any(|word| word == flag) {
            continue;
        }
        mapped.vvar().set_constants(source, 1);
        let mut found = [u32::MAX; 2];
        let [cpu_out, node] = &mut found;
        assert_eq!(getcpu(cpu_out, node, std::ptr::null_mut()), 0);
        assert_eq!(found, [cpu, 0], "{source:?}");
    }
}

#[test]
fn a_base_that_moves_shows_no_seam() {
    let mapped = Mapped::new();
    let clock =
        Clock { mult: 1_789_569_706, shift: 32, boot_ticks: ticks() - 1_000_000, wall_offset_ns: 1 << 60 };
    mapped.vvar().publish(&clock, ticks());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                mapped.vvar().publish(&clock, ticks());
            }
        });
        let mut last = mapped.clock(1);
        for _ in 0..300_000 {
            let before = kernel_ns(&clock, ticks());
            let now = mapped.clock(1);
            let after = kernel_ns(&clock, ticks());
            assert!(last <= now, "{last:?} {now:?}");
            assert!(pair(before.into(), 1) <= now && now <= pair(after.into(), 1));
            last = now;
        }
        check_clocks(&mapped, &clock);
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_reader_never_sees_half_a_change() {
    // Time stands still, but the wall clock is set to n seconds and n nanoseconds, again and again.
    let mapped = Mapped::new();
    let set = |n: i64| {
        let wall_offset_ns = n * 1_000_000_001;
        mapped.vvar().publish(&Clock { mult: 0, shift: 0, boot_ticks: 0, wall_offset_ns }, ticks());
    };
    set(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                n = (n + 1) % 900_000_000;
                set(n);
            }
        });
        for _ in 0..300_000 {
            let now = mapped.clock(0);
            assert_eq!(now.sec, now.sub);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Instructions of one call, counted one by one.
fn steps(work: impl FnOnce()) -> u64 {
    // SAFETY: the child uses what it has got by the fork, raises signals and ends without unwinding.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
            work();
            libc::raise(libc::SIGSTOP);
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        let mut count = 0;
        loop {
            libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0);
            libc::waitpid(child, &raw mut status, 0);
            assert!(libc::WIFSTOPPED(status));
            if libc::WSTOPSIG(status) == libc::SIGSTOP {
                break;
            }
            count += 1;
        }
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &raw mut status, 0);
        count
    }
}

#[test]
fn the_quick_path_has_24_instructions() {
    let mapped = Mapped::new();
    // A tick is a nanosecond's 2^-20th, so that single steps take no time.
    let clock = Clock { mult: 4096, shift: 32, boot_ticks: ticks() - 1_000_000, wall_offset_ns: 0 };
    mapped.vvar().publish(&clock, ticks());
    let clock_gettime = mapped.function::<ClockGettime>("__vdso_clock_gettime");
    let mut out = POISON;
    let out = &raw mut out;
    extern "C" fn nothing(_: c_int, _: *mut Pair) -> c_int {
        0
    }
    let call = |function: ClockGettime| {
        steps(|| {
            std::hint::black_box(function)(1, out);
        })
    };
    // An empty function in a build without optimisation: its own instructions are counted by a second level of calls.
    let twice = steps(|| {
        std::hint::black_box(clock_gettime)(1, out);
        std::hint::black_box(clock_gettime)(1, out);
    });
    let once = call(clock_gettime);
    let empty = call(nothing);
    let empty_twice = steps(|| {
        std::hint::black_box(nothing as ClockGettime)(1, out);
        std::hint::black_box(nothing as ClockGettime)(1, out);
    });
    println!("{} instructions with the call, {} for an empty function", twice - once, empty_twice - empty);
    assert!(twice - once <= (empty_twice - empty) + 24);
}
