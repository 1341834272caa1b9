//! /proc's files about the machine.

use core::sync::atomic::Ordering;

use abi::Errno;

use super::Text;
use super::text::put;
use crate::arch::x86_64::cpu;
use crate::config;
use crate::fs::mount::{self, TYPES};
use crate::mm::{PAGE_SIZE, frame};
use crate::syscall::identity;
use crate::task::{process, usage};
use crate::time;

/// `USER_HZ`: clock ticks that times are counted in.
pub const HZ: u64 = 100;
const NS_PER_TICK: u64 = time::NS_PER_SEC / HZ;

pub fn ticks(ns: u64) -> u64 {
    ns / NS_PER_TICK
}

fn kib(pages: u64) -> u64 {
    pages * (PAGE_SIZE as u64 / 1024)
}

/// Pages that files in memory take.
fn shared_pages() -> u64 {
    mount::all().iter().map(|mount| mount.fs.space.pages.load(Ordering::Relaxed)).sum()
}

pub fn nothing(_: &mut Text) -> Result<(), Errno> {
    Ok(())
}

pub fn command_line(text: &mut Text) -> Result<(), Errno> {
    put!(text, "\n");
    Ok(())
}

pub fn devices(text: &mut Text) -> Result<(), Errno> {
    put!(text, "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n");
    Ok(())
}

pub fn file_systems(text: &mut Text) -> Result<(), Errno> {
    for kind in TYPES {
        put!(text, "nodev\t{}\n", kind.name);
    }
    Ok(())
}

pub fn interrupts(text: &mut Text) -> Result<(), Errno> {
    put!(text, "    ");
    for cpu in 0..cpu::online_count() {
        put!(text, "       CPU{cpu:<4}");
    }
    put!(text, "\n");
    Ok(())
}

pub fn load_average(text: &mut Text) -> Result<(), Errno> {
    let (processes, threads) = process::counts();
    let last = process::all().last().map_or(0, |process| process.pid);
    put!(text, "0.00 0.00 0.00 1/{} {last}\n", threads.max(processes));
    Ok(())
}

pub fn memory(text: &mut Text) -> Result<(), Errno> {
    let usage = frame::usage();
    let (total, free) = (kib(usage.total as u64), kib(usage.free as u64));
    let shared = kib(shared_pages());
    let half = total / 2;
    let rows: [(&str, u64); 28] = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", shared),
        ("SwapCached", 0),
        ("Active", 0),
        ("Inactive", shared),
        ("Active(anon)", 0),
        ("Inactive(anon)", shared),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", (total - free).saturating_sub(shared)),
        ("Mapped", 0),
        ("Shmem", shared),
        ("Slab", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("CommitLimit", half),
        ("Committed_AS", total - free),
        ("VmallocTotal", 0),
        ("VmallocUsed", 0),
    ];
    for (name, value) in rows {
        // The colon belongs to the name, and values end in column 24.
        let width = 23usize.saturating_sub(name.len());
        put!(text, "{name}:{value:>width$} kB\n");
    }
    put!(text, "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
    Ok(())
}

pub fn memory_statistics(text: &mut Text) -> Result<(), Errno> {
    let usage = frame::usage();
    put!(text, "nr_free_pages {}\nnr_shmem {}\n", usage.free, shared_pages());
    Ok(())
}

pub fn partitions(text: &mut Text) -> Result<(), Errno> {
    put!(text, "major minor  #blocks  name\n\n");
    Ok(())
}

pub fn swaps(text: &mut Text) -> Result<(), Errno> {
    put!(text, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    Ok(())
}

/// What processes and the children that they waited for have run outside the kernel and in it, and time since boot on all CPUs, in clock ticks.
fn busy_and_total() -> (u64, u64, u64) {
    let (mut run, mut system) = (0, 0);
    for process in process::all() {
        let usage = usage::of_family(&process);
        run += usage.run_ticks;
        system += usage.system_ticks;
    }
    let in_ticks = |time: u64| ticks(time::ticks_to_ns(time));
    let total = time::monotonic_ns().saturating_mul(cpu::online_count() as u64);
    (in_ticks(run - system), in_ticks(system), ticks(total))
}

pub fn statistics(text: &mut Text) -> Result<(), Errno> {
    let (user, system, total) = busy_and_total();
    let idle = total.saturating_sub(user + system);
    put!(text, "cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    let cpus = cpu::online_count() as u64;
    for index in 0..cpus {
        put!(text, "cpu{index} {} 0 {} {} 0 0 0 0 0 0\n", user / cpus, system / cpus, idle / cpus);
    }
    let boot = time::wall_offset_ns() / time::NS_PER_SEC.cast_signed();
    let (processes, threads) = process::counts();
    put!(text, "intr 0\nctxt 0\nbtime {boot}\nprocesses {processes}\n");
    put!(text, "procs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n", threads.min(1));
    Ok(())
}

pub fn uptime(text: &mut Text) -> Result<(), Errno> {
    const HUNDREDTH: u64 = time::NS_PER_SEC / 100;
    let (user, system, total) = busy_and_total();
    let up = time::monotonic_ns() / HUNDREDTH;
    let idle = total.saturating_sub(user + system);
    put!(text, "{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / HZ, idle % HZ);
    Ok(())
}

pub fn version(text: &mut Text) -> Result<(), Errno> {
    text.bytes(b"Linux version ");
    text.bytes(identity::RELEASE);
    text.bytes(b" (whelk) (rustc) ");
    text.bytes(identity::VERSION);
    text.bytes(b"\n");
    Ok(())
}

/// A NUL-padded name.
pub fn name(padded: &[u8]) -> &[u8] {
    padded.split(|&byte| byte == 0).next().unwrap_or_default()
}

pub fn host_name(text: &mut Text) -> Result<(), Errno> {
    text.bytes(name(&config::hostname()));
    text.bytes(b"\n");
    Ok(())
}

pub fn domain_name(text: &mut Text) -> Result<(), Errno> {
    text.bytes(name(&config::domainname()));
    text.bytes(b"\n");
    Ok(())
}

/// /proc/sysvipc
pub(super) static SYSVIPC: &[super::Entry] = &[
    super::Entry::text("msg", |text| {
        crate::ipc::msg::write_table(text);
        Ok(())
    }),
    super::Entry::text("sem", |text| {
        crate::ipc::sem::write_table(text);
        Ok(())
    }),
    super::Entry::text("shm", |text| {
        crate::ipc::shm::write_table(text);
        Ok(())
    }),
];
