//! /proc/sys.

use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;

use super::text::put;
use super::{Entry, Text, system};
use crate::config;
use crate::entropy;
use crate::fs::{mqueue, notify, pipe};
use crate::ipc::limit;
use crate::mm::{commit, regions};
use crate::sync::SpinLock;
use crate::syscall::identity;

macro_rules! constant {
    ($name:literal, $value:expr) => {
        Entry::text($name, |text| {
            put!(text, "{}\n", $value);
            Ok(())
        })
    };
}

/// A value that programs set and read back, and that changes nothing here.
macro_rules! kept {
    ($name:literal, $initial:literal) => {{
        static VALUE: Kept = SpinLock::new(padded($initial));
        Entry::setting($name, |text| write_kept(text, &VALUE), |bytes| store_kept(bytes, &VALUE))
    }};
}

type Kept = SpinLock<[u8; 32]>;

#[inline(never)]
fn write_kept(text: &mut Text, value: &Kept) -> Result<(), Errno> {
    text.bytes(system::name(&*value.lock()));
    text.bytes(b"\n");
    Ok(())
}

/// Takes numbers only, one or several.
#[inline(never)]
fn store_kept(bytes: &[u8], value: &Kept) -> Result<(), Errno> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() || !bytes.iter().all(|b| b.is_ascii_digit() || b"- \t".contains(b)) {
        return Err(Errno::EINVAL);
    }
    let mut new = [0; 32];
    new.get_mut(..bytes.len()).ok_or(Errno::EINVAL)?.copy_from_slice(bytes);
    *value.lock() = new;
    Ok(())
}

/// Limits that are acted on.
macro_rules! numbers {
    ($name:literal, $values:expr) => {
        Entry::setting($name, |text| write_numbers(text, $values), |bytes| store_numbers(bytes, $values))
    };
}

#[inline(never)]
fn write_numbers(text: &mut Text, values: &[AtomicU64]) -> Result<(), Errno> {
    for (index, value) in values.iter().enumerate() {
        put!(text, "{}{}", if index > 0 { "\t" } else { "" }, value.load(Ordering::Relaxed));
    }
    put!(text, "\n");
    Ok(())
}

/// Takes as many numbers as are written, from the first on.
#[inline(never)]
fn store_numbers(bytes: &[u8], values: &[AtomicU64]) -> Result<(), Errno> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    for (word, value) in text.split_ascii_whitespace().zip(values) {
        value.store(word.parse().map_err(|_| Errno::EINVAL)?, Ordering::Relaxed);
    }
    Ok(())
}

const fn padded(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        out[at] = bytes[at];
        at += 1;
    }
    out
}

/// What was written as a name of the machine: 64 bytes count.
fn machine_name(bytes: &[u8]) -> [u8; 65] {
    let mut name = [0; 65];
    for (to, from) in name.iter_mut().take(64).zip(bytes.trim_ascii()) {
        *to = *from;
    }
    name
}

pub(super) static ENTRIES: &[Entry] = &[
    Entry::directory("fs", FS),
    Entry::directory("kernel", KERNEL),
    Entry::directory("net", NET),
    Entry::directory("vm", VM),
];

static FS: &[Entry] = &[
    constant!("file-max", i64::MAX),
    constant!("file-nr", "64\t0\t9223372036854775807"),
    Entry::directory("inotify", INOTIFY),
    kept!("lease-break-time", "45"),
    Entry::directory("mqueue", MQUEUE),
    constant!("nr_open", crate::fs::table::MAX_FILES),
    numbers!("pipe-max-size", core::slice::from_ref(&pipe::MAX_SIZE)),
    kept!("protected_hardlinks", "0"),
    kept!("protected_symlinks", "0"),
    kept!("suid_dumpable", "0"),
    kept!("aio-max-nr", "65536"),
];

static INOTIFY: &[Entry] = &[
    numbers!("max_queued_events", core::slice::from_ref(&notify::limit::QUEUED_EVENTS)),
    numbers!("max_user_instances", core::slice::from_ref(&notify::limit::INSTANCES)),
    numbers!("max_user_watches", core::slice::from_ref(&notify::limit::WATCHES)),
];

static MQUEUE: &[Entry] = &[
    numbers!("msg_default", core::slice::from_ref(&mqueue::limit::MSG_DEFAULT)),
    numbers!("msg_max", core::slice::from_ref(&mqueue::limit::MSG_MAX)),
    numbers!("msgsize_default", core::slice::from_ref(&mqueue::limit::MSGSIZE_DEFAULT)),
    numbers!("msgsize_max", core::slice::from_ref(&mqueue::limit::MSGSIZE_MAX)),
    numbers!("queues_max", core::slice::from_ref(&mqueue::limit::QUEUES_MAX)),
];

static KERNEL: &[Entry] = &[
    constant!("cap_last_cap", 40),
    kept!("core_uses_pid", "0"),
    constant!("core_pattern", "core"),
    Entry::setting("domainname", system::domain_name, |bytes| {
        config::set_domainname(machine_name(bytes));
        Ok(())
    }),
    Entry::setting("hostname", system::host_name, |bytes| {
        config::set_hostname(machine_name(bytes));
        Ok(())
    }),
    numbers!("msgmax", core::slice::from_ref(&limit::MSGMAX)),
    numbers!("msgmnb", core::slice::from_ref(&limit::MSGMNB)),
    numbers!("msgmni", core::slice::from_ref(&limit::MSGMNI)),
    constant!("ngroups_max", 65_536),
    Entry::text("osrelease", |text| {
        text.bytes(identity::RELEASE);
        text.bytes(b"\n");
        Ok(())
    }),
    constant!("ostype", "Linux"),
    constant!("overflowgid", 65_534),
    constant!("overflowuid", 65_534),
    kept!("perf_event_paranoid", "2"),
    kept!("pid_max", "32768"),
    kept!("printk", "4\t4\t1\t7"),
    Entry::directory("random", RANDOM),
    kept!("randomize_va_space", "2"),
    kept!("sched_autogroup_enabled", "0"),
    kept!("sched_rt_period_us", "1000000"),
    kept!("sched_rt_runtime_us", "950000"),
    numbers!("sem", &limit::SEM),
    numbers!("shmall", core::slice::from_ref(&limit::SHMALL)),
    numbers!("shmmax", core::slice::from_ref(&limit::SHMMAX)),
    numbers!("shmmni", core::slice::from_ref(&limit::SHMMNI)),
    constant!("tainted", 0),
    kept!("threads-max", "65536"),
    Entry::text("version", |text| {
        text.bytes(identity::VERSION);
        text.bytes(b"\n");
        Ok(())
    }),
    Entry::directory("yama", YAMA),
];

static YAMA: &[Entry] = &[kept!("ptrace_scope", "0")];

static RANDOM: &[Entry] = &[
    Entry::text("boot_id", |text| {
        static BOOT_ID: spin::Once<[u8; 16]> = spin::Once::new();
        let id = BOOT_ID.try_call_once(new_uuid)?;
        write_uuid(text, id);
        Ok(())
    }),
    constant!("entropy_avail", 256),
    constant!("poolsize", 256),
    constant!("urandom_min_reseed_secs", 60),
    Entry::text("uuid", |text| {
        write_uuid(text, &new_uuid()?);
        Ok(())
    }),
    constant!("write_wakeup_threshold", 256),
];

/// A random UUID (RFC 4122, version 4).
fn new_uuid() -> Result<[u8; 16], Errno> {
    let mut id = [0; 16];
    entropy::fill(&mut id).map_err(|_| Errno::EIO)?;
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Ok(id)
}

fn write_uuid(text: &mut Text, id: &[u8; 16]) {
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            put!(text, "-");
        }
        put!(text, "{byte:02x}");
    }
    put!(text, "\n");
}

static NET: &[Entry] = &[Entry::directory("core", NET_CORE), Entry::directory("ipv4", NET_IPV4)];

static NET_CORE: &[Entry] = &[
    kept!("rmem_default", "212992"),
    kept!("rmem_max", "212992"),
    kept!("somaxconn", "4096"),
    kept!("wmem_default", "212992"),
    kept!("wmem_max", "212992"),
];

static NET_IPV4: &[Entry] = &[
    kept!("ip_local_port_range", "32768\t60999"),
    kept!("tcp_fin_timeout", "60"),
    kept!("tcp_max_syn_backlog", "128"),
];

static VM: &[Entry] = &[
    numbers!("max_map_count", core::slice::from_ref(&regions::MAX_REGIONS)),
    kept!("mmap_min_addr", "65536"),
    kept!("nr_hugepages", "0"),
    Entry::setting(
        "overcommit_memory",
        |text| write_numbers(text, core::slice::from_ref(&commit::MODE)),
        |bytes| match bytes.trim_ascii() {
            b"0" | b"1" => store_numbers(bytes, core::slice::from_ref(&commit::MODE)),
            _ => Err(Errno::EINVAL),
        },
    ),
    kept!("overcommit_ratio", "50"),
    kept!("swappiness", "60"),
];
