//! /proc/PID and /proc/PID/task/TID.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use abi::Errno;
use caps::cap;

use super::fd::View;
use super::system::{name, ticks};
use super::text::put;
use super::{Text, maps};
use crate::fs::hooks;
use crate::fs::inode::{FileKind, LinkTarget};
use crate::fs::mount;
use crate::mm::PAGE_SIZE;
use crate::task::clock::process_cpu_ns;
use crate::task::process::{UNLIMITED, has_capability, rlimit};
use crate::task::{Process, current, oom, usage};
use crate::time;

type Generate = fn(&Process, u32, &mut Text) -> Result<(), Errno>;

/// An entry of a process's directory.
pub struct Entry {
    pub name: &'static str,
    mode: u32,
    pub what: What,
    /// Not below `task/TID`.
    pub only_process: bool,
}

pub enum What {
    Text(Generate),
    Setting(Generate, fn(&Process, &[u8]) -> Result<(), Errno>),
    Link(fn(&Process) -> Result<LinkTarget, Errno>),
    Descriptors(View),
    Threads,
    /// Entries that are the same for all processes.
    Shared(&'static [super::Entry]),
}

const fn text(name: &'static str, mode: u32, generate: Generate) -> Entry {
    Entry { name, mode, what: What::Text(generate), only_process: false }
}

const fn of_process(name: &'static str, mode: u32, what: What) -> Entry {
    Entry { name, mode, what, only_process: true }
}

const fn shared(name: &'static str, mode: u32, what: What) -> Entry {
    Entry { name, mode, what, only_process: false }
}

/// Everything that there is in the directory.
pub static ENTRIES: &[Entry] = &[
    text("auxv", 0o400, |process, _, text| {
        let Some(space) = process.space() else { return Ok(()) };
        let auxv = space.with(|inner| inner.auxv.clone());
        text.bytes(&memory_of(process, auxv));
        Ok(())
    }),
    text("cgroup", 0o444, |_, _, text| {
        put!(text, "0::/\n");
        Ok(())
    }),
    text("cmdline", 0o444, write_command_line),
    shared("comm", 0o644, What::Setting(write_comm, store_comm)),
    shared("cwd", 0o777, What::Link(|process| Ok(LinkTarget::Jump(process.fs.lock().cwd.clone())))),
    text("environ", 0o400, write_environment),
    shared(
        "exe",
        0o777,
        What::Link(|process| {
            let exe = process.exe.lock().clone().ok_or(Errno::ENOENT)?;
            Ok(LinkTarget::Jump(exe.path().clone()))
        }),
    ),
    shared("fd", 0o500, What::Descriptors(View::Links)),
    shared("fdinfo", 0o500, What::Descriptors(View::Infos)),
    text("gid_map", 0o644, write_id_map),
    text("limits", 0o444, write_limits),
    of_process("loginuid", 0o644, What::Setting(write_login_uid, store_login_uid)),
    text("maps", 0o444, |process, _, text| maps::write(process, text, maps::Detail::Lines)),
    text("mountinfo", 0o444, |process, _, text| write_mounts(process, text, MountFormat::Info)),
    text("mounts", 0o444, |process, _, text| write_mounts(process, text, MountFormat::Table)),
    shared("net", 0o555, What::Shared(super::NET)),
    text("oom_adj", 0o444, |process, _, text| {
        put!(text, "{}\n", (process.oom_adjust.load(Ordering::Relaxed) * 17 / 1000).min(15));
        Ok(())
    }),
    text("oom_score", 0o444, |process, _, text| {
        put!(text, "{}\n", oom::score(process));
        Ok(())
    }),
    shared("oom_score_adj", 0o644, What::Setting(write_oom_adjust, store_oom_adjust)),
    text("personality", 0o400, |process, _, text| {
        put!(text, "{:08x}\n", process.personality.load(Ordering::Relaxed));
        Ok(())
    }),
    shared("root", 0o777, What::Link(|process| Ok(LinkTarget::Jump(process.fs.lock().root.clone())))),
    text("schedstat", 0o444, |process, _, text| {
        put!(text, "{} 0 1\n", process_cpu_ns(process));
        Ok(())
    }),
    text("setgroups", 0o644, |_, _, t| constant(t, "allow")),
    text("smaps", 0o444, |process, _, text| maps::write(process, text, maps::Detail::Everything)),
    text("smaps_rollup", 0o444, |process, _, text| maps::write(process, text, maps::Detail::Sum)),
    text("stat", 0o444, write_stat),
    text("statm", 0o444, write_statm),
    text("status", 0o444, write_status),
    of_process("task", 0o555, What::Threads),
    of_process(
        "timerslack_ns",
        0o666,
        What::Setting(
            |process, _, text| {
                put!(text, "{}\n", process.timer_slack_ns.load(Ordering::Relaxed));
                Ok(())
            },
            |process, bytes| {
                let number = core::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
                process.timer_slack_ns.store(number.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
                Ok(())
            },
        ),
    ),
    text("uid_map", 0o644, write_id_map),
    text("wchan", 0o444, |_, _, text| {
        put!(text, "0");
        Ok(())
    }),
];

impl Entry {
    /// Whether it tells what only those who may trace the process are to know, whatever its mode says.
    pub fn shows_memory(&self) -> bool {
        matches!(self.name, "maps" | "smaps" | "smaps_rollup" | "environ" | "auxv" | "personality")
    }

    pub fn kind_and_mode(&self) -> (FileKind, u32) {
        let kind = match self.what {
            What::Text(_) | What::Setting(..) => FileKind::Regular,
            What::Link(_) => FileKind::Symlink,
            What::Descriptors(_) | What::Threads | What::Shared(_) => FileKind::Directory,
        };
        (kind, self.mode)
    }
}

/// Index of a name, in a process's directory or a thread's.
pub fn find_entry(name: &[u8], is_process: bool) -> Option<usize> {
    ENTRIES.iter().position(|entry| entry.name.as_bytes() == name && (is_process || !entry.only_process))
}

fn constant(text: &mut Text, value: &str) -> Result<(), Errno> {
    put!(text, "{value}\n");
    Ok(())
}

/// Bytes of a process's memory. What isn't there any more is left out.
fn memory_of(process: &Process, range: core::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Some(space) = process.space() else { return bytes };
    if bytes.try_reserve_exact(range.len()).is_err() {
        return bytes;
    }
    bytes.resize(range.len(), 0);
    match space.read(range.start, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

fn write_command_line(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    let Some(space) = process.space() else { return Ok(()) };
    let (args, env) = space.with(|inner| (inner.args.clone(), inner.env.clone()));
    let mut bytes = memory_of(process, args.clone());
    // A program that wrote over the end of its arguments (setproctitle) means a title that goes on in the environment.
    if bytes.last().is_some_and(|&last| last != 0) {
        let all = memory_of(process, args.start..env.end.max(args.end));
        let end = all.iter().position(|&byte| byte == 0).unwrap_or(all.len());
        bytes = all.get(..end).unwrap_or_default().to_vec();
    }
    text.bytes(&bytes);
    Ok(())
}

fn write_environment(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    let Some(space) = process.space() else { return Ok(()) };
    let env = space.with(|inner| inner.env.clone());
    text.bytes(&memory_of(process, env));
    Ok(())
}

fn write_comm(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    text.bytes(name(&*process.name.lock()));
    text.bytes(b"\n");
    Ok(())
}

fn store_comm(process: &Process, bytes: &[u8]) -> Result<(), Errno> {
    if process.pid != current().process.pid {
        return Err(Errno::EINVAL);
    }
    let mut name = [0; 16];
    for (slot, byte) in
        name.iter_mut().take(15).zip(bytes.split(|&b| b == b'\n' || b == 0).next().unwrap_or_default())
    {
        *slot = *byte;
    }
    *process.name.lock() = name;
    Ok(())
}

fn write_oom_adjust(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    put!(text, "{}\n", process.oom_adjust.load(Ordering::Relaxed));
    Ok(())
}

fn store_oom_adjust(process: &Process, bytes: &[u8]) -> Result<(), Errno> {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let number = core::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let number = number.filter(|number| (-1000..=1000).contains(number)).ok_or(Errno::EINVAL)?;
    let is_root = current().process.cred.lock().euid == 0;
    if number < process.oom_adjust_min.load(Ordering::Relaxed) && !is_root {
        return Err(Errno::EACCES);
    }
    process.oom_adjust.store(number, Ordering::Relaxed);
    if is_root {
        process.oom_adjust_min.store(number, Ordering::Relaxed);
    }
    Ok(())
}

fn write_id_map(_: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    put!(text, "         0          0 4294967295\n");
    Ok(())
}

fn write_login_uid(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    put!(text, "{}", process.login_uid.load(Ordering::Relaxed));
    Ok(())
}

/// One's own only. EPERM to change it without CAP_AUDIT_CONTROL.
fn store_login_uid(process: &Process, bytes: &[u8]) -> Result<(), Errno> {
    let is_own = process.pid == current().process.pid;
    let is_set = process.login_uid.load(Ordering::Relaxed) != u32::MAX;
    if !is_own || is_set && !has_capability(cap::AUDIT_CONTROL) {
        return Err(Errno::EPERM);
    }
    let number = core::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
    process.login_uid.store(number.ok_or(Errno::EINVAL)?, Ordering::Relaxed);
    Ok(())
}

fn write_limits(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    const ROWS: [(&str, &str); rlimit::COUNT] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    struct Limit(u64);
    impl fmt::Display for Limit {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if self.0 == UNLIMITED { f.pad("unlimited") } else { f.pad(&alloc::format!("{}", self.0)) }
        }
    }
    put!(text, "{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let limits = process.limits.lock().clone();
    for ((name, unit), (soft, hard)) in ROWS.iter().zip(limits.0) {
        put!(text, "{name:<25} {:<20} {:<20} ", Limit(soft), Limit(hard));
        if unit.is_empty() { put!(text, "\n") } else { put!(text, "{unit:<10}\n") }
    }
    Ok(())
}

/// How mounts are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MountFormat {
    /// As in fstab(5).
    Table,
    /// proc_pid_mountinfo(5)
    Info,
}

fn write_mounts(process: &Process, text: &mut Text, format: MountFormat) -> Result<(), Errno> {
    let root = process.fs.lock().root.clone();
    crate::fs::complete_mounts();
    for mount in mount::all() {
        let at = mount.root_path().print(&root);
        if at.starts_with(b"(") {
            continue;
        }
        let flags = mount.flags();
        let mut options =
            alloc::string::String::from(if flags & mount::flag::RDONLY != 0 { "ro" } else { "rw" });
        for (bit, word) in [
            (mount::flag::NOSUID, ",nosuid"),
            (mount::flag::NODEV, ",nodev"),
            (mount::flag::NOEXEC, ",noexec"),
            (mount::flag::NOATIME, ",noatime"),
            (mount::flag::NODIRATIME, ",nodiratime"),
            (mount::flag::RELATIME, ",relatime"),
        ] {
            if flags & bit != 0 {
                options.push_str(word);
            }
        }
        if format == MountFormat::Info {
            let parent = mount.covered().map_or(0, |covered| covered.mount.id);
            put!(text, "{} {parent} 0:{} / ", mount.id, mount.fs.device);
            text.escaped(&at);
            put!(text, " {options} - {} ", mount.fs.kind.name);
            text.escaped(&mount.source);
            put!(text, " rw\n");
        } else {
            text.escaped(&mount.source);
            put!(text, " ");
            text.escaped(&at);
            put!(text, " {} {options} 0 0\n", mount.fs.kind.name);
        }
    }
    Ok(())
}

/// `R`, `S`, `T`, `Z`, `X`, and the word for it.
fn state(process: &Process, tid: u32) -> (char, &'static str) {
    if process.zombie.load(Ordering::Relaxed) {
        return ('Z', "zombie");
    }
    if hooks::is_stopped(process) {
        return ('T', "stopped");
    }
    let threads = process.threads.lock();
    match threads.iter().find(|thread| thread.tid == tid).map(|thread| &thread.sleeper) {
        Some(sleeper) if sleeper.is_asleep() => ('S', "sleeping"),
        Some(sleeper) if !sleeper.is_dead() => ('R', "running"),
        _ => ('X', "dead"),
    }
}

/// Pages mapped, resident, and resident of files.
fn sizes(process: &Process) -> (usize, usize, usize) {
    process.space().map_or((0, 0, 0), |space| {
        let total = space.with(|inner| inner.total);
        (total / PAGE_SIZE, space.resident().0, 0)
    })
}

/// `tty_nr` and `tpgid`: the device number of the terminal that controls the process, and its foreground group.
fn terminal(process: &Process) -> (u64, i32) {
    match crate::fs::tty::controlling(process) {
        Some(tty) => (tty.device().encode(), tty.foreground().cast_signed()),
        None => (0, -1),
    }
}

fn write_stat(process: &Process, tid: u32, text: &mut Text) -> Result<(), Errno> {
    let load = Ordering::Relaxed;
    put!(text, "{tid} (");
    text.bytes(name(&*process.name.lock()));
    let (letter, _) = state(process, tid);
    let (tty, foreground) = terminal(process);
    let usage = usage::of_process(process);
    put!(
        text,
        ") {letter} {} {} {} {tty} {foreground} 4194304 {} 0 0 0 ",
        process.parent.load(load),
        process.group.load(load),
        process.session.load(load),
        usage.faults
    );
    let thread = process.threads.lock().iter().find(|thread| thread.tid == tid).cloned();
    let nice = thread.as_ref().map_or(0, |thread| thread.priorities.nice());
    let started = ticks(time::ticks_to_ns(process.started.saturating_sub(time::conversion().2)));
    let threads = process.threads.lock().len().max(1);
    let (total, resident, _) = sizes(process);
    let processor = thread.as_ref().map_or(0, |thread| thread.cpu.load(load));
    let policy = thread.map(|thread| thread.priorities.policy());
    let realtime = policy.map_or(0, |policy| policy.priority);
    let priority = if realtime > 0 { -1 - realtime.cast_signed() } else { 20 + nice };
    for usage in [usage, usage::of_children(process)] {
        for time in [usage.run_ticks - usage.system_ticks, usage.system_ticks] {
            put!(text, "{} ", ticks(time::ticks_to_ns(time)));
        }
    }
    put!(text, "{priority} {nice} {threads} 0 {started} ");
    let rss_limit = process.limit(5);
    let (args, env, brk, stack) = process.space().map_or((0..0, 0..0, 0, 0), |space| {
        space.with(|inner| {
            (inner.args.clone(), inner.env.clone(), inner.layout.brk_start, inner.layout.stack_top)
        })
    });
    let masks = hooks::signal_masks(process, tid);
    // Addresses of code, the stack and registers are shown as Linux shows them to others than a debugger: as 1 or 0.
    put!(
        text,
        "{} {resident} {rss_limit} 1 1 {stack} 0 0 {} {} {} {} 0 0 0 17 {processor} {realtime} {} 0 0 0 0 0 {brk} {} {} {} {} {}\n",
        total * PAGE_SIZE,
        masks.pending & 0x7fff_ffff,
        masks.blocked & 0x7fff_ffff,
        masks.ignored & 0x7fff_ffff,
        masks.caught & 0x7fff_ffff,
        policy.map_or(0, |policy| policy.policy.0),
        args.start,
        args.end,
        env.start,
        env.end,
        process.exit_status.load(load)
    );
    Ok(())
}

fn write_statm(process: &Process, _: u32, text: &mut Text) -> Result<(), Errno> {
    let (total, resident, of_files) = sizes(process);
    let data = process.space().map_or(0, |space| maps::data_pages(&space));
    put!(text, "{total} {resident} {of_files} 0 0 {data} 0\n");
    Ok(())
}

fn write_status(process: &Process, tid: u32, text: &mut Text) -> Result<(), Errno> {
    let load = Ordering::Relaxed;
    text.bytes(b"Name:\t");
    text.escaped(name(&*process.name.lock()));
    let (letter, word) = state(process, tid);
    put!(text, "\nUmask:\t{:04o}\nState:\t{letter} ({word})\n", process.umask.load(load));
    put!(
        text,
        "Tgid:\t{}\nNgid:\t0\nPid:\t{tid}\nPPid:\t{}\nTracerPid:\t0\n",
        process.pid,
        process.parent.load(load)
    );
    let cred = process.cred.lock().clone();
    put!(text, "Uid:\t{}\t{}\t{}\t{}\n", cred.uid, cred.euid, cred.suid, cred.fsuid);
    put!(text, "Gid:\t{}\t{}\t{}\t{}\n", cred.gid, cred.egid, cred.sgid, cred.fsgid);
    put!(text, "FDSize:\t{}\nGroups:\t", process.shared_files().capacity());
    for group in cred.groups.iter() {
        put!(text, "{group} ");
    }
    put!(text, "\nNStgid:\t{0}\nNSpid:\t{tid}\n", process.pid);
    put!(
        text,
        "NSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n",
        process.group.load(load),
        process.session.load(load)
    );
    if let Some(space) = process.space() {
        maps::write_status(&space, text);
    }
    let masks = hooks::signal_masks(process, tid);
    put!(text, "CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n");
    let queue_limit = process.limit(rlimit::SIGPENDING);
    put!(text, "Threads:\t{}\nSigQ:\t{}/{queue_limit}\n", process.threads.lock().len().max(1), masks.queued);
    put!(text, "SigPnd:\t{:016x}\nShdPnd:\t{:016x}\n", masks.pending, masks.shared_pending);
    put!(
        text,
        "SigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        masks.blocked,
        masks.ignored,
        masks.caught
    );
    let caps = cred.caps;
    for (name, set) in [
        ("Inh", caps.inheritable),
        ("Prm", caps.permitted),
        ("Eff", caps.effective),
        ("Bnd", caps.bounding),
        ("Amb", caps.ambient),
    ] {
        put!(text, "Cap{name}:\t{set:016x}\n");
    }
    put!(
        text,
        "NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\n",
        u8::from(process.no_new_privs.load(load))
    );
    put!(text, "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n");
    let thread = process.threads.lock().iter().find(|thread| thread.tid == tid).cloned();
    let switches = thread.as_ref().map(|thread| usage::of_thread(thread)).unwrap_or_default();
    let all = crate::arch::x86_64::cpu::online_mask();
    let allowed = thread.as_ref().map_or(all, |thread| thread.affinity.load(load) & all);
    put!(text, "Cpus_allowed:\t{allowed:x}\nCpus_allowed_list:\t");
    let mut at = 0;
    let mut separator = "";
    while at < u64::BITS && allowed >> at != 0 {
        let first = at + (allowed >> at).trailing_zeros();
        at = first + (allowed >> first).trailing_ones();
        put!(text, "{separator}{first}");
        if at - 1 > first {
            put!(text, "-{}", at - 1);
        }
        separator = ",";
    }
    put!(text, "\n");
    put!(
        text,
        "Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        switches.voluntary,
        switches.involuntary
    );
    Ok(())
}
