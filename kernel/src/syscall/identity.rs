//! Who and where: process and user identity, the machine's name and size, prctl, affinity.

use core::sync::atomic::Ordering;

use abi::{Errno, Sysinfo, Utsname};

use super::SysResult;
use crate::arch::x86_64::cpu;
use crate::mm::user::{read_array, read_cstr_into};
use crate::mm::{PAGE_SIZE, USER_TOP, UserPtr, frame};
use crate::task::current;
use crate::task::process::Cred;
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

/// setresuid(2): EINVAL is never given, since every 32-bit value is an ID here; EPERM without privilege.
pub fn setresuid(real: u32, effective: u32, saved: u32) -> SysResult {
    cred(|c| {
        let mine = [c.uid, c.euid, c.suid];
        let allowed = |id: u32| id == KEEP || c.euid == 0 || mine.contains(&id);
        if ![real, effective, saved].into_iter().all(allowed) {
            return Err(Errno::EPERM.into());
        }
        c.uid = if real == KEEP { c.uid } else { real };
        c.euid = if effective == KEEP { c.euid } else { effective };
        c.suid = if saved == KEEP { c.suid } else { saved };
        c.fsuid = c.euid;
        Ok(0)
    })
}

pub fn setresgid(real: u32, effective: u32, saved: u32) -> SysResult {
    cred(|c| {
        let mine = [c.gid, c.egid, c.sgid];
        let allowed = |id: u32| id == KEEP || c.euid == 0 || mine.contains(&id);
        if ![real, effective, saved].into_iter().all(allowed) {
            return Err(Errno::EPERM.into());
        }
        c.gid = if real == KEEP { c.gid } else { real };
        c.egid = if effective == KEEP { c.egid } else { effective };
        c.sgid = if saved == KEEP { c.sgid } else { saved };
        c.fsgid = c.egid;
        Ok(0)
    })
}

pub fn setuid(id: u32) -> SysResult {
    if id == KEEP {
        return Err(Errno::EINVAL.into());
    }
    cred(|c| {
        if c.euid == 0 {
            (c.uid, c.suid) = (id, id);
        } else if id != c.uid && id != c.suid {
            return Err(Errno::EPERM.into());
        }
        c.euid = id;
        c.fsuid = id;
        Ok(0)
    })
}

pub fn setgid(id: u32) -> SysResult {
    if id == KEEP {
        return Err(Errno::EINVAL.into());
    }
    cred(|c| {
        if c.euid == 0 {
            (c.gid, c.sgid) = (id, id);
        } else if id != c.gid && id != c.sgid {
            return Err(Errno::EPERM.into());
        }
        c.egid = id;
        c.fsgid = id;
        Ok(0)
    })
}

pub fn setreuid(real: u32, effective: u32) -> SysResult {
    cred(|c| {
        let privileged = c.euid == 0;
        if real != KEEP && !privileged && real != c.uid && real != c.euid {
            return Err(Errno::EPERM.into());
        }
        if effective != KEEP && !privileged && ![c.uid, c.euid, c.suid].contains(&effective) {
            return Err(Errno::EPERM.into());
        }
        let old = c.uid;
        c.uid = if real == KEEP { c.uid } else { real };
        c.euid = if effective == KEEP { c.euid } else { effective };
        if real != KEEP || (effective != KEEP && effective != old) {
            c.suid = c.euid;
        }
        c.fsuid = c.euid;
        Ok(0)
    })
}

pub fn setregid(real: u32, effective: u32) -> SysResult {
    cred(|c| {
        let privileged = c.euid == 0;
        if real != KEEP && !privileged && real != c.gid && real != c.egid {
            return Err(Errno::EPERM.into());
        }
        if effective != KEEP && !privileged && ![c.gid, c.egid, c.sgid].contains(&effective) {
            return Err(Errno::EPERM.into());
        }
        let old = c.gid;
        c.gid = if real == KEEP { c.gid } else { real };
        c.egid = if effective == KEEP { c.egid } else { effective };
        if real != KEEP || (effective != KEEP && effective != old) {
            c.sgid = c.egid;
        }
        c.fsgid = c.egid;
        Ok(0)
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
    Ok(cred(|c| {
        let old = c.fsuid;
        if id != KEEP && (c.euid == 0 || [c.uid, c.euid, c.suid, c.fsuid].contains(&id)) {
            c.fsuid = id;
        }
        old
    }) as usize)
}

pub fn setfsgid(id: u32) -> SysResult {
    Ok(cred(|c| {
        let old = c.fsgid;
        if id != KEEP && (c.euid == 0 || [c.gid, c.egid, c.sgid, c.fsgid].contains(&id)) {
            c.fsgid = id;
        }
        old
    }) as usize)
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
    if cred(|c| c.euid) != 0 {
        return Err(Errno::EPERM.into());
    }
    if size > NGROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut groups = read_array(list, size)?;
    crate::sort::sort(&mut groups);
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
    if cred(|c| c.euid) != 0 {
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
        procs: u16::try_from(crate::task::process::counts().1).unwrap_or(u16::MAX),
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
    pub(super) const GET_TSC: i32 = 25;
    pub(super) const SET_TIMERSLACK: i32 = 29;
    pub(super) const GET_TIMERSLACK: i32 = 30;
    pub(super) const SET_CHILD_SUBREAPER: i32 = 36;
    pub(super) const GET_CHILD_SUBREAPER: i32 = 37;
    pub(super) const SET_NO_NEW_PRIVS: i32 = 38;
    pub(super) const GET_NO_NEW_PRIVS: i32 = 39;
    pub(super) const SET_THP_DISABLE: i32 = 41;
    pub(super) const GET_THP_DISABLE: i32 = 42;
    pub(super) const SET_VMA: i32 = 0x5356_4d41;
}

/// Highest capability number, CAP_CHECKPOINT_RESTORE.
const LAST_CAPABILITY: usize = 40;

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
        op::CAPBSET_READ => {
            return if a <= LAST_CAPABILITY { Ok(1) } else { Err(Errno::EINVAL.into()) };
        }
        op::GET_TSC => UserPtr::<u32>::new(a).write(&1)?,
        op::GET_KEEPCAPS => return Ok(usize::from(process.keep_caps.load(Ordering::Relaxed))),
        op::SET_KEEPCAPS => {
            if a > 1 {
                return Err(Errno::EINVAL.into());
            }
            process.keep_caps.store(a == 1, Ordering::Relaxed);
        }
        op::GET_TIMING | op::GET_SECCOMP | op::GET_THP_DISABLE => {}
        // Huge pages are never used behind a program's back.
        op::SET_THP_DISABLE => {}
        // Naming anonymous regions needs CONFIG_ANON_VMA_NAME on Linux as well.
        op::SET_VMA => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// capget(2): root has everything, others nothing.
pub fn capget(header: UserPtr<u32>, data: UserPtr<u32>) -> SysResult {
    let version: u32 = header.read()?;
    if version != CAPABILITY_VERSION_3 {
        header.write(&CAPABILITY_VERSION_3)?;
        return if data.is_null() { Ok(0) } else { Err(Errno::EINVAL.into()) };
    }
    let all: u64 = if cred(|c| c.euid) == 0 { (1 << (LAST_CAPABILITY + 1)) - 1 } else { 0 };
    let (low, high) = (all as u32, (all >> 32) as u32);
    if !data.is_null() {
        for (index, value) in [low, low, 0, high, high, 0].into_iter().enumerate() {
            data.add(index).write(&value)?;
        }
    }
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
