//! Who and where: process and user identity, the machine's name and size, prctl, affinity.

use core::sync::atomic::Ordering;

use abi::{Errno, Sysinfo, Utsname};
use caps::{cap, secure};

use super::SysResult;
use crate::arch::x86_64::cpu;
use crate::mm::heap::try_share;
use crate::mm::user::{read_array, read_cstr_into};
use crate::mm::{PAGE_SIZE, USER_TOP, UserPtr, frame};
use crate::task::current;
use crate::task::process::{self, Cred, has_capability};
use crate::time;

/// What uname(2) says; programs look at the release to decide which calls to try.
pub const RELEASE: &[u8] = b"6.12.0-whelk";
pub const VERSION: &[u8] = b"#1 SMP";

pub fn getpid() -> SysResult {
    Ok(current().process.pid as usize)
}

pub fn getppid() -> SysResult {
    Ok(current().process.parent.load(Ordering::Relaxed) as usize)
}

pub fn gettid() -> SysResult {
    Ok(current().tid as usize)
}

fn cred<T>(look: impl FnOnce(&mut Cred) -> T) -> T {
    look(&mut current().process.cred.lock())
}

pub fn getuid() -> SysResult {
    Ok(cred(|c| c.uid) as usize)
}

pub fn geteuid() -> SysResult {
    Ok(cred(|c| c.euid) as usize)
}

pub fn getgid() -> SysResult {
    Ok(cred(|c| c.gid) as usize)
}

pub fn getegid() -> SysResult {
    Ok(cred(|c| c.egid) as usize)
}

/// -1 as an ID: leave it.
const KEEP: u32 = u32::MAX;

/// Changes the process's IDs; a change of those that count makes it undumpable and takes its death signal away (`commit_creds`).
fn change_ids(change: impl FnOnce(&mut Cred) -> Result<(), Errno>) -> SysResult {
    let process = &current().process;
    let seen = |c: &Cred| [c.euid, c.egid, c.fsuid, c.fsgid];
    let differs = {
        let mut cred = process.cred.lock();
        let before = seen(&cred);
        change(&mut cred)?;
        seen(&cred) != before
    };
    if differs {
        process.dumpable.store(0, Ordering::Relaxed);
        process.death_signal.store(0, Ordering::Relaxed);
    }
    Ok(0)
}

fn change_uids(change: impl FnOnce(&mut Cred) -> Result<(), Errno>) -> SysResult {
    change_ids(|c| c.change_uids(change))
}

fn change_gids(change: impl FnOnce(&mut Cred) -> Result<(), Errno>) -> SysResult {
    change_ids(|c| {
        change(c)?;
        c.fsgid = c.egid;
        Ok(())
    })
}

/// EPERM unless all of these may be taken by somebody who has `mine`.
fn check_ids(wanted: &[u32], mine: &[u32], is_privileged: bool) -> Result<(), Errno> {
    let allowed = |id: &u32| *id == KEEP || is_privileged || mine.contains(id);
    if wanted.iter().all(allowed) { Ok(()) } else { Err(Errno::EPERM) }
}

fn or_keep(new: u32, old: u32) -> u32 {
    if new == KEEP { old } else { new }
}

/// setresuid(2): EINVAL is never given, since every 32-bit value is an ID here; EPERM without privilege.
pub fn setresuid(real: u32, effective: u32, saved: u32) -> SysResult {
    change_uids(|c| {
        check_ids(&[real, effective, saved], &[c.uid, c.euid, c.suid], c.has(cap::SETUID))?;
        c.uid = or_keep(real, c.uid);
        c.euid = or_keep(effective, c.euid);
        c.suid = or_keep(saved, c.suid);
        Ok(())
    })
}

pub fn setresgid(real: u32, effective: u32, saved: u32) -> SysResult {
    change_gids(|c| {
        check_ids(&[real, effective, saved], &[c.gid, c.egid, c.sgid], c.has(cap::SETGID))?;
        c.gid = or_keep(real, c.gid);
        c.egid = or_keep(effective, c.egid);
        c.sgid = or_keep(saved, c.sgid);
        Ok(())
    })
}

pub fn setuid(id: u32) -> SysResult {
    if id == KEEP {
        return Err(Errno::EINVAL.into());
    }
    change_uids(|c| {
        if c.has(cap::SETUID) {
            (c.uid, c.suid) = (id, id);
        } else {
            check_ids(&[id], &[c.uid, c.suid], false)?;
        }
        c.euid = id;
        Ok(())
    })
}

pub fn setgid(id: u32) -> SysResult {
    if id == KEEP {
        return Err(Errno::EINVAL.into());
    }
    change_gids(|c| {
        if c.has(cap::SETGID) {
            (c.gid, c.sgid) = (id, id);
        } else {
            check_ids(&[id], &[c.gid, c.sgid], false)?;
        }
        c.egid = id;
        Ok(())
    })
}

pub fn setreuid(real: u32, effective: u32) -> SysResult {
    change_uids(|c| {
        check_ids(&[real], &[c.uid, c.euid], c.has(cap::SETUID))?;
        check_ids(&[effective], &[c.uid, c.euid, c.suid], c.has(cap::SETUID))?;
        let old = c.uid;
        c.uid = or_keep(real, c.uid);
        c.euid = or_keep(effective, c.euid);
        if real != KEEP || (effective != KEEP && effective != old) {
            c.suid = c.euid;
        }
        Ok(())
    })
}

pub fn setregid(real: u32, effective: u32) -> SysResult {
    change_gids(|c| {
        check_ids(&[real], &[c.gid, c.egid], c.has(cap::SETGID))?;
        check_ids(&[effective], &[c.gid, c.egid, c.sgid], c.has(cap::SETGID))?;
        let old = c.gid;
        c.gid = or_keep(real, c.gid);
        c.egid = or_keep(effective, c.egid);
        if real != KEEP || (effective != KEEP && effective != old) {
            c.sgid = c.egid;
        }
        Ok(())
    })
}

fn write_three(at: [UserPtr<u32>; 3], values: [u32; 3]) -> SysResult {
    for (pointer, value) in at.into_iter().zip(values) {
        pointer.write(&value)?;
    }
    Ok(0)
}

pub fn getresuid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>) -> SysResult {
    write_three([real, effective, saved], cred(|c| [c.uid, c.euid, c.suid]))
}

pub fn getresgid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>) -> SysResult {
    write_three([real, effective, saved], cred(|c| [c.gid, c.egid, c.sgid]))
}

/// setfsuid(2): the old value, whatever happens.
pub fn setfsuid(id: u32) -> SysResult {
    let mut old = 0;
    change_ids(|c| {
        old = c.fsuid;
        if id != KEEP && (c.has(cap::SETUID) || [c.uid, c.euid, c.suid, c.fsuid].contains(&id)) {
            c.fsuid = id;
            c.caps.fsuid_changed(old, id);
        }
        Ok(())
    })?;
    Ok(old as usize)
}

pub fn setfsgid(id: u32) -> SysResult {
    let mut old = 0;
    change_ids(|c| {
        old = c.fsgid;
        if id != KEEP && (c.has(cap::SETGID) || [c.gid, c.egid, c.sgid, c.fsgid].contains(&id)) {
            c.fsgid = id;
        }
        Ok(())
    })?;
    Ok(old as usize)
}

const NGROUPS_MAX: usize = 65_536;

pub fn getgroups(size: i32, list: UserPtr<u32>) -> SysResult {
    let Ok(size) = usize::try_from(size) else { return Err(Errno::EINVAL.into()) };
    let groups = cred(|c| c.groups.clone());
    if size != 0 {
        if size < groups.len() {
            return Err(Errno::EINVAL.into());
        }
        for (index, group) in groups.iter().enumerate() {
            list.add(index).write(group)?;
        }
    }
    Ok(groups.len())
}

pub fn setgroups(size: usize, list: UserPtr<u32>) -> SysResult {
    if !has_capability(cap::SETGID) {
        return Err(Errno::EPERM.into());
    }
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut groups = read_array(list, size)?;
    crate::sort::sort(&mut groups);
    let groups = try_share(&groups)?;
    cred(|c| c.groups = groups);
    Ok(0)
}

fn field(text: &[u8]) -> [u8; 65] {
    let mut out = [0; 65];
    for (to, from) in out.iter_mut().take(64).zip(text) {
        *to = *from;
    }
    out
}

/// uname(2).
pub fn uname(out: UserPtr<Utsname>) -> SysResult {
    // personality(2): which execution domain, and the one that is told that it runs on a 32-bit machine.
    const PER_MASK: u32 = 0xff;
    const PER_LINUX32: u32 = 8;
    let is_32 = current().process.personality.load(Ordering::Relaxed) & PER_MASK == PER_LINUX32;
    let names = Utsname {
        sysname: field(b"Linux"),
        nodename: crate::config::hostname(),
        release: field(RELEASE),
        version: field(VERSION),
        machine: field(if is_32 { b"i686" } else { b"x86_64" }),
        domainname: crate::config::domainname(),
    };
    out.write(&names)?;
    Ok(0)
}

const HOST_NAME_MAX: usize = 64;

fn read_name(name: UserPtr<u8>, len: usize) -> Result<[u8; 65], super::SysError> {
    if !has_capability(cap::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    if len > HOST_NAME_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = [0; 65];
    name.read_bytes(bytes.get_mut(..len).unwrap_or_default())?;
    Ok(bytes)
}

pub fn sethostname(name: UserPtr<u8>, len: usize) -> SysResult {
    let bytes = read_name(name, len)?;
    crate::config::set_hostname(bytes);
    Ok(0)
}

pub fn setdomainname(name: UserPtr<u8>, len: usize) -> SysResult {
    let bytes = read_name(name, len)?;
    crate::config::set_domainname(bytes);
    Ok(0)
}

/// sysinfo(2).
pub fn sysinfo(out: UserPtr<Sysinfo>) -> SysResult {
    let usage = frame::usage();
    let info = Sysinfo {
        uptime: (time::monotonic_ns() / time::NS_PER_SEC).cast_signed(),
        totalram: (usage.total * PAGE_SIZE) as u64,
        freeram: (usage.free * PAGE_SIZE) as u64,
        procs: u16::try_from(process::counts().1).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    out.write(&info)?;
    Ok(0)
}

/// arch_prctl(2) codes.
const ARCH_SET_GS: i32 = 0x1001;
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;
const ARCH_GET_GS: i32 = 0x1004;
const ARCH_GET_CPUID: i32 = 0x1011;
const ARCH_SET_CPUID: i32 = 0x1012;

pub fn arch_prctl(code: i32, address: usize) -> SysResult {
    let pointer = UserPtr::<u64>::new(address);
    match code {
        ARCH_SET_FS | ARCH_SET_GS => {
            if address >= USER_TOP {
                return Err(Errno::EPERM.into());
            }
            if code == ARCH_SET_FS {
                cpu::set_fs_base(address as u64);
            } else {
                cpu::set_user_gs_base(address as u64);
            }
        }
        ARCH_GET_FS => pointer.write(&cpu::fs_base())?,
        ARCH_GET_GS => pointer.write(&cpu::user_gs_base())?,
        ARCH_GET_CPUID => return Ok(1),
        ARCH_SET_CPUID => return Err(Errno::ENODEV.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// prctl(2) operations (linux/prctl.h).
mod op {
    pub(super) const SET_PDEATHSIG: i32 = 1;
    pub(super) const GET_PDEATHSIG: i32 = 2;
    pub(super) const GET_DUMPABLE: i32 = 3;
    pub(super) const SET_DUMPABLE: i32 = 4;
    pub(super) const GET_KEEPCAPS: i32 = 7;
    pub(super) const SET_KEEPCAPS: i32 = 8;
    pub(super) const GET_TIMING: i32 = 13;
    pub(super) const SET_NAME: i32 = 15;
    pub(super) const GET_NAME: i32 = 16;
    pub(super) const GET_SECCOMP: i32 = 21;
    pub(super) const CAPBSET_READ: i32 = 23;
    pub(super) const CAPBSET_DROP: i32 = 24;
    pub(super) const GET_TSC: i32 = 25;
    pub(super) const GET_SECUREBITS: i32 = 27;
    pub(super) const SET_SECUREBITS: i32 = 28;
    pub(super) const SET_TIMERSLACK: i32 = 29;
    pub(super) const GET_TIMERSLACK: i32 = 30;
    pub(super) const SET_CHILD_SUBREAPER: i32 = 36;
    pub(super) const GET_CHILD_SUBREAPER: i32 = 37;
    pub(super) const SET_NO_NEW_PRIVS: i32 = 38;
    pub(super) const GET_NO_NEW_PRIVS: i32 = 39;
    pub(super) const SET_THP_DISABLE: i32 = 41;
    pub(super) const GET_THP_DISABLE: i32 = 42;
    pub(super) const CAP_AMBIENT: i32 = 47;
    pub(super) const SET_VMA: i32 = 0x5356_4d41;
}

/// The operations of prctl(2) on capabilities.
#[inline(never)]
fn prctl_caps(option: i32, a: usize, b: usize, c: usize, d: usize) -> SysResult {
    const IS_SET: usize = 1;
    const RAISE: usize = 2;
    const LOWER: usize = 3;
    const CLEAR_ALL: usize = 4;
    let of = |number: usize| u32::try_from(number).ok().filter(|&n| n <= cap::LAST).ok_or(Errno::EINVAL);
    let has = |set: u64, capability: u32| Ok((set >> capability & 1) as usize);
    let mut cred = current().process.cred.lock();
    let caps = &mut cred.caps;
    let done = match option {
        op::CAPBSET_READ => return has(caps.bounding, of(a)?),
        op::CAPBSET_DROP if !caps.has(cap::SETPCAP) => return Err(Errno::EPERM.into()),
        op::CAPBSET_DROP => caps.drop_bound(of(a)?),
        op::GET_SECUREBITS => return Ok(caps.secure as usize),
        op::SET_SECUREBITS => caps.set_secure(u32::try_from(a).map_err(|_| Errno::EPERM)?),
        op::GET_KEEPCAPS => return Ok(usize::from(caps.secure & secure::KEEP_CAPS != 0)),
        op::SET_KEEPCAPS if a > 1 => return Err(Errno::EINVAL.into()),
        op::SET_KEEPCAPS => caps.set_keep(a == 1),
        _ if a == CLEAR_ALL => {
            if b | c | d != 0 {
                return Err(Errno::EINVAL.into());
            }
            caps.ambient = 0;
            Ok(())
        }
        _ => {
            let capability = of(b)?;
            if c | d != 0 {
                return Err(Errno::EINVAL.into());
            }
            match a {
                IS_SET => return has(caps.ambient, capability),
                RAISE => caps.raise_ambient(capability),
                LOWER => {
                    caps.lower_ambient(capability);
                    Ok(())
                }
                _ => return Err(Errno::EINVAL.into()),
            }
        }
    };
    done.map_err(|_| Errno::EPERM)?;
    Ok(0)
}

pub fn prctl(option: i32, a: usize, b: usize, c: usize, d: usize) -> SysResult {
    let process = &current().process;
    let rest_is_zero = b == 0 && c == 0 && d == 0;
    match option {
        op::SET_NAME => {
            let mut name = [0u8; 16];
            match read_cstr_into(UserPtr::new(a), &mut name) {
                Ok(len) => name.get_mut(len..).unwrap_or_default().fill(0),
                Err(Errno::ENAMETOOLONG) => name[15] = 0,
                Err(error) => return Err(error.into()),
            }
            *process.name.lock() = name;
        }
        op::GET_NAME => {
            let name = *process.name.lock();
            UserPtr::<u8>::new(a).write_bytes(&name)?;
        }
        op::GET_DUMPABLE => return Ok(process.dumpable.load(Ordering::Relaxed) as usize),
        op::SET_DUMPABLE => {
            if a > 1 {
                return Err(Errno::EINVAL.into());
            }
            process.dumpable.store(a as u32, Ordering::Relaxed);
        }
        op::SET_NO_NEW_PRIVS => {
            if a != 1 || !rest_is_zero {
                return Err(Errno::EINVAL.into());
            }
            process.no_new_privs.store(true, Ordering::Relaxed);
        }
        op::GET_NO_NEW_PRIVS => {
            if a != 0 || !rest_is_zero {
                return Err(Errno::EINVAL.into());
            }
            return Ok(usize::from(process.no_new_privs.load(Ordering::Relaxed)));
        }
        op::SET_TIMERSLACK => {
            let value =
                if a == 0 { process.timer_slack_default_ns.load(Ordering::Relaxed) } else { a as u64 };
            process.timer_slack_ns.store(value, Ordering::Relaxed);
        }
        op::GET_TIMERSLACK => return Ok(process.timer_slack_ns.load(Ordering::Relaxed) as usize),
        op::GET_PDEATHSIG => UserPtr::<u32>::new(a).write(&process.death_signal.load(Ordering::Relaxed))?,
        op::SET_PDEATHSIG => {
            if a > 64 {
                return Err(Errno::EINVAL.into());
            }
            process.death_signal.store(a as u32, Ordering::Relaxed);
        }
        op::SET_CHILD_SUBREAPER => process.subreaper.store(a != 0, Ordering::Relaxed),
        op::GET_CHILD_SUBREAPER => {
            UserPtr::<u32>::new(a).write(&u32::from(process.subreaper.load(Ordering::Relaxed)))?;
        }
        op::CAPBSET_READ
        | op::CAPBSET_DROP
        | op::GET_SECUREBITS
        | op::SET_SECUREBITS
        | op::GET_KEEPCAPS
        | op::SET_KEEPCAPS
        | op::CAP_AMBIENT => return prctl_caps(option, a, b, c, d),
        op::GET_TSC => UserPtr::<u32>::new(a).write(&1)?,
        op::GET_TIMING | op::GET_SECCOMP => {}
        // Huge pages are never used behind a program's back.
        op::SET_THP_DISABLE if rest_is_zero => {
            process.no_huge_pages.store(a != 0, Ordering::Relaxed);
        }
        op::GET_THP_DISABLE if a == 0 && rest_is_zero => {
            return Ok(usize::from(process.no_huge_pages.load(Ordering::Relaxed)));
        }
        // Naming anonymous regions needs CONFIG_ANON_VMA_NAME on Linux as well.
        op::SET_VMA => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// Versions of the interface to capabilities (linux/capability.h), and how many words a set has in each.
const CAPABILITY_VERSION_1: u32 = 0x1998_0330;
const CAPABILITY_VERSION_2: u32 = 0x2007_1026;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Words of a set, and the process that is meant: 0 for the caller. EINVAL for an unknown version, which is replaced by the newest.
fn read_header(header: UserPtr<u32>) -> Result<(usize, u32), Errno> {
    let words = match header.read()? {
        CAPABILITY_VERSION_1 => 1,
        CAPABILITY_VERSION_2 | CAPABILITY_VERSION_3 => 2,
        _ => {
            header.write(&CAPABILITY_VERSION_3)?;
            return Err(Errno::EINVAL);
        }
    };
    Ok((words, header.add(1).read()?))
}

/// capget(2).
pub fn capget(header: UserPtr<u32>, data: UserPtr<u32>) -> SysResult {
    let (words, pid) = match read_header(header) {
        Err(Errno::EINVAL) if data.is_null() => return Ok(0),
        other => other?,
    };
    if data.is_null() {
        return Ok(0);
    }
    let me = current();
    let caps = match pid {
        _ if pid.cast_signed() < 0 => return Err(Errno::EINVAL.into()),
        0 => me.process.cred.lock().caps,
        _ => process::of_number(pid)?.cred.lock().caps,
    };
    for word in 0..words {
        for (index, set) in [caps.effective, caps.permitted, caps.inheritable].into_iter().enumerate() {
            data.add(word * 3 + index).write(&((set >> (32 * word)) as u32))?;
        }
    }
    Ok(0)
}

/// capset(2): of the caller only.
pub fn capset(header: UserPtr<u32>, data: UserPtr<u32>) -> SysResult {
    let (words, pid) = read_header(header)?;
    let me = current();
    if pid != 0 && pid != me.tid {
        return Err(Errno::EPERM.into());
    }
    let mut sets = [0u64; 3];
    for word in 0..words {
        for (index, set) in sets.iter_mut().enumerate() {
            *set |= u64::from(data.add(word * 3 + index).read()?) << (32 * word);
        }
    }
    let [effective, permitted, inheritable] = sets.map(|set| set & caps::ALL);
    let mut cred = me.process.cred.lock();
    cred.caps.set(effective, permitted, inheritable).map_err(|_| Errno::EPERM)?;
    Ok(0)
}

pub fn personality(value: u32) -> SysResult {
    let persona = &current().process.personality;
    let old = persona.load(Ordering::Relaxed);
    if value != u32::MAX {
        persona.store(value, Ordering::Relaxed);
    }
    Ok(old as usize)
}

pub fn getcpu(cpu: UserPtr<u32>, node: UserPtr<u32>) -> SysResult {
    if let Some(cpu) = cpu.non_null() {
        cpu.write(&crate::arch::per_cpu().id.get())?;
    }
    if let Some(node) = node.non_null() {
        node.write(&0)?;
    }
    Ok(0)
}

pub fn sched_yield() -> SysResult {
    crate::task::sched::yield_now();
    Ok(0)
}
