//! Beginning and end of threads and processes.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use abi::{Errno, Rusage, SigInfo};
use fdmap::OnExec;

use super::args::Path;
use super::{Fd, SysResult};
use crate::fs;
use crate::mm::{UserPtr, frame, read_cstr};
use crate::task::children::{self, Options, Which};
use crate::task::clone::{self, CloneFlags, Request};
use crate::task::exec::{self, Arguments};
use crate::task::rseq::{self, Registration};
use crate::task::usage::of_family;
use crate::task::{current, exit};

pub fn exit(status: i32) -> SysResult {
    exit::exit_thread(status)
}

pub fn exit_group(status: i32) -> SysResult {
    exit::exit_process(exit::Status::Exited(status as u8))
}

pub fn set_tid_address(address: UserPtr<u32>) -> SysResult {
    current().clear_child_tid.set(address.addr());
    Ok(current().tid as usize)
}

/// Size of `struct robust_list_head`.
const ROBUST_LIST_SIZE: usize = 24;

pub fn set_robust_list(head: UserPtr<u8>, len: usize) -> SysResult {
    if len != ROBUST_LIST_SIZE {
        return Err(Errno::EINVAL.into());
    }
    current().robust_list.store(head.addr(), Ordering::Relaxed);
    Ok(0)
}

/// rseq(2).
pub fn rseq(area: UserPtr<u8>, len: u32, flags: u32, signature: u32) -> SysResult {
    let named = Registration { area: area.addr(), len, signature };
    match flags {
        0 => rseq::register(named)?,
        abi::Rseq::FLAG_UNREGISTER => rseq::unregister(named)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

const CSIGNAL: u64 = 0xff;
const SIGCHLD: u32 = 17;
const MAX_SIGNAL: u32 = 64;

/// clone(2) with x86_64's argument order.
pub extern "C" fn clone(flags: u64, stack: u64, parent_tid: u64, child_tid: u64, tls: u64) -> isize {
    let request = Request {
        flags: CloneFlags::from_bits_retain(flags & 0xffff_ffff & !CSIGNAL),
        exit_signal: (flags & CSIGNAL) as u32,
        stack: stack as usize,
        parent_tid: parent_tid as usize,
        child_tid: child_tid as usize,
        tls: tls as usize,
        pidfd: parent_tid as usize,
        wanted_tid: None,
    };
    super::encode(start(request))
}

fn start(request: Request) -> SysResult {
    if request.flags.contains(CloneFlags::PIDFD)
        && request.flags.intersects(CloneFlags::DETACHED | CloneFlags::THREAD | CloneFlags::PARENT_SETTID)
        && request.pidfd == request.parent_tid
    {
        return Err(Errno::EINVAL.into());
    }
    Ok(clone::clone(&request)? as usize)
}

fn plain(flags: CloneFlags) -> Request {
    Request {
        flags,
        exit_signal: SIGCHLD,
        stack: 0,
        parent_tid: 0,
        child_tid: 0,
        tls: 0,
        pidfd: 0,
        wanted_tid: None,
    }
}

pub extern "C" fn fork() -> isize {
    super::encode(start(plain(CloneFlags::empty())))
}

pub extern "C" fn vfork() -> isize {
    super::encode(start(plain(CloneFlags::VM | CloneFlags::VFORK)))
}

const CLONE_ARGS_SIZE_VER0: usize = 64;
const CLONE_ARGS_SIZE: usize = 88;
/// Levels of namespaces that Linux has at most (MAX_PID_NS_LEVEL).
const MAX_PID_NS_LEVEL: u64 = 32;

/// clone3(2).
pub extern "C" fn clone3(args: u64, size: u64) -> isize {
    super::encode(clone3_checked(UserPtr::new(args as usize), size as usize))
}

fn clone3_checked(args: UserPtr<u8>, size: usize) -> SysResult {
    if size > crate::mm::PAGE_SIZE {
        return Err(Errno::E2BIG.into());
    }
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    let mut words = [0u64; CLONE_ARGS_SIZE / 8];
    for (index, word) in words.iter_mut().enumerate() {
        if index * 8 < size {
            *word = args.field::<u64>(index * 8).load()?;
        }
    }
    // What a newer program knows and this kernel doesn't must be zero.
    for at in CLONE_ARGS_SIZE..size {
        if args.add(at).read()? != 0 {
            return Err(Errno::E2BIG.into());
        }
    }
    let [
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        cgroup,
    ] = words;
    let flags = CloneFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let bad_stack = (stack == 0) != (stack_size == 0) || stack.checked_add(stack_size).is_none();
    if exit_signal & !CSIGNAL != 0
        || exit_signal as u32 > MAX_SIGNAL
        || flags.contains(CloneFlags::DETACHED)
        || (flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT) && exit_signal != 0)
        || bad_stack
        || (set_tid == 0) != (set_tid_size == 0)
        || set_tid_size > MAX_PID_NS_LEVEL
    {
        return Err(Errno::EINVAL.into());
    }
    // There are no control groups: no descriptor is one.
    if flags.contains(CloneFlags::INTO_CGROUP) {
        fs::files().get_any(Fd(cgroup as i32))?;
        return Err(Errno::EBADF.into());
    }
    // With one namespace there is one number to choose.
    let wanted_tid = match set_tid_size {
        0 => None,
        1 => Some(UserPtr::<i32>::new(set_tid as usize).read()?),
        _ => return Err(Errno::EINVAL.into()),
    };
    start(Request {
        flags,
        exit_signal: exit_signal as u32,
        stack: if stack == 0 { 0 } else { (stack + stack_size) as usize },
        parent_tid: parent_tid as usize,
        child_tid: child_tid as usize,
        tls: tls as usize,
        pidfd: pidfd as usize,
        wanted_tid,
    })
}

const WNOHANG: u32 = 1;
const WSTOPPED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;
const WNOTHREAD: u32 = 0x2000_0000;
const WALL: u32 = 0x4000_0000;
const WCLONE: u32 = 0x8000_0000;

fn options(flags: u32) -> Options {
    Options {
        exited: flags & WEXITED != 0,
        stopped: flags & WSTOPPED != 0,
        continued: flags & WCONTINUED != 0,
        keep: flags & WNOWAIT != 0,
        no_hang: flags & WNOHANG != 0,
        clones: flags & WCLONE != 0,
        all: flags & WALL != 0,
    }
}

/// wait4(2).
pub fn wait4(pid: i32, status: UserPtr<u32>, flags: u32, usage: UserPtr<Rusage>) -> SysResult {
    let known = WNOHANG | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE;
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let own_group = || current().process.group.load(Ordering::Relaxed);
    if pid == i32::MIN {
        return Err(Errno::ESRCH.into());
    }
    let which = match pid {
        -1 => Which::Any,
        0 => Which::Group(own_group()),
        i32::MIN..0 => Which::Group(pid.unsigned_abs()),
        _ => Which::Pid(pid.unsigned_abs()),
    };
    let Some(report) = children::wait(which, &options(flags | WEXITED))? else { return Ok(0) };
    if let Some(status) = status.non_null() {
        status.write(&report.status)?;
    }
    if let Some(usage) = usage.non_null() {
        usage.write(&of_family(&report.child).into())?;
    }
    Ok(report.child.pid as usize)
}

const P_ALL: i32 = 0;
const P_PID: i32 = 1;
const P_PGID: i32 = 2;
const P_PIDFD: i32 = 3;

/// waitid(2).
pub fn waitid(kind: i32, id: i32, info: UserPtr<SigInfo>, flags: u32, usage: UserPtr<Rusage>) -> SysResult {
    let known = WNOHANG | WSTOPPED | WEXITED | WCONTINUED | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if flags & !known != 0 || flags & (WSTOPPED | WEXITED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut flags = flags;
    let mut is_nonblocking = false;
    let which = match kind {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Pid(id.unsigned_abs()),
        P_PGID if id > 0 => Which::Group(id.unsigned_abs()),
        P_PGID if id == 0 => Which::Group(current().process.group.load(Ordering::Relaxed)),
        P_PIDFD if id >= 0 => {
            let target = fs::pidfd::target(Fd(id))?;
            if target.is_gone {
                return Err(Errno::ECHILD.into());
            }
            is_nonblocking = target.is_nonblocking && flags & WNOHANG == 0;
            flags |= if is_nonblocking { WNOHANG } else { 0 };
            Which::Pid(target.process.pid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let report = children::wait(which, &options(flags))?;
    if report.is_none() && is_nonblocking {
        return Err(Errno::EAGAIN.into());
    }
    if let Some(info) = info.non_null() {
        let value = match &report {
            Some(report) => crate::task::signal::child_info(&report.child, report.status),
            None => SigInfo::default(),
        };
        // Linux writes these fields and nothing else of the 128 bytes.
        let [who, status, ..] = value.fields;
        info.field::<[i32; 3]>(0).write(&[value.signo, value.errno, value.code])?;
        info.field::<u64>(16).write(&who)?;
        info.field::<u32>(24).write(&(status as u32))?;
    }
    if let (Some(report), Some(usage)) = (&report, usage.non_null()) {
        usage.write(&of_family(&report.child).into())?;
    }
    Ok(0)
}

/// getpgid(2), and getpgrp(2) with 0.
pub fn getpgid(pid: i32) -> SysResult {
    let process = find(pid)?;
    Ok(process.group.load(Ordering::Relaxed) as usize)
}

pub fn getpgrp() -> SysResult {
    getpgid(0)
}

pub fn getsid(pid: i32) -> SysResult {
    let process = find(pid)?;
    Ok(process.session.load(Ordering::Relaxed) as usize)
}

fn find(pid: i32) -> Result<alloc::sync::Arc<crate::task::Process>, Errno> {
    if pid == 0 {
        return Ok(current().process.clone());
    }
    let pid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    crate::task::process::of_number(pid)
}

/// setpgid(2).
pub fn setpgid(pid: i32, group: i32) -> SysResult {
    use Ordering::Relaxed;
    let Ok(group) = u32::try_from(if group == 0 { pid } else { group }) else {
        return Err(Errno::EINVAL.into());
    };
    let me = &current().process;
    let target = find(pid)?;
    // A thread that isn't its process's first.
    if pid != 0 && target.pid.cast_signed() != pid {
        return Err(Errno::EINVAL.into());
    }
    if target.pid != me.pid {
        if target.parent.load(Relaxed) != me.pid {
            return Err(Errno::ESRCH.into());
        }
        if target.session.load(Relaxed) != me.session.load(Relaxed) {
            return Err(Errno::EPERM.into());
        }
        if target.has_execed.load(Relaxed) {
            return Err(Errno::EACCES.into());
        }
    }
    if target.session.load(Relaxed) == target.pid {
        return Err(Errno::EPERM.into());
    }
    let group = if group == 0 { target.pid } else { group };
    if group != target.pid {
        let exists = crate::task::process::all().any(|process| {
            process.group.load(Relaxed) == group && process.session.load(Relaxed) == me.session.load(Relaxed)
        });
        if !exists {
            return Err(Errno::EPERM.into());
        }
    }
    target.group.store(group, Relaxed);
    Ok(0)
}

/// setsid(2).
pub fn setsid() -> SysResult {
    use Ordering::Relaxed;
    let me = &current().process;
    let leads = crate::task::process::all().any(|process| process.group.load(Relaxed) == me.pid);
    if leads {
        return Err(Errno::EPERM.into());
    }
    me.session.store(me.pid, Relaxed);
    me.group.store(me.pid, Relaxed);
    Ok(me.pid as usize)
}

/// Most strings that argv and env may have together (MAX_ARG_STRINGS is larger still; the stack's limit comes first).
const MAX_STRINGS: usize = 1 << 20;

/// Reads a NULL-terminated array of strings. A null array is an empty one, as Linux has it. E2BIG, EFAULT.
fn read_strings(array: UserPtr<u64>, room: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if array.is_null() {
        return Ok(strings);
    }
    for index in 0..MAX_STRINGS {
        let pointer = array.add(index).load()?;
        if pointer == 0 {
            return Ok(strings);
        }
        let limit = loader::stack::MAX_STRING.min(*room);
        let string = read_cstr(UserPtr::new(pointer as usize), limit).map_err(|errno| match errno {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            other => other,
        })?;
        *room = room.checked_sub(string.len() + 9).ok_or(Errno::E2BIG)?;
        // Megabytes of arguments aren't what the kernel keeps its reserve for.
        if frame::is_short() && frame::is_exhausted() {
            return Err(Errno::ENOMEM);
        }
        strings.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        strings.push(string);
    }
    Err(Errno::E2BIG)
}

/// Room for all strings: a quarter of the stack's limit, at most three quarters of 8 MiB.
const MAX_ROOM: usize = 6 << 20;
const PATH_MAX: usize = 4096;

/// execve(2).
pub fn execve(path: Path, argv: UserPtr<u64>, env: UserPtr<u64>) -> SysResult {
    execveat(Fd::CWD, path, argv, env, 0)
}

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;

/// execveat(2).
pub fn execveat(dir: Fd, path: Path, argv: UserPtr<u64>, env: UserPtr<u64>, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_cstr(path.0, PATH_MAX)?;
    if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT.into());
    }
    let mut room = MAX_ROOM;
    let argv = read_strings(argv, &mut room)?;
    let env = read_strings(env, &mut room)?;
    // What the program is told its name was: a path relative to a descriptor goes through /dev/fd, as on Linux.
    let mut filename = path.clone();
    let mut is_closing = false;
    if dir != Fd::CWD && !path.starts_with(b"/") {
        is_closing = fs::files().on_exec(dir) == Ok(OnExec::Close);
        filename = alloc::format!("/dev/fd/{}", dir.0).into_bytes();
        if !path.is_empty() {
            filename.push(b'/');
            filename.extend_from_slice(&path);
        }
    }
    exec::execute(dir, &path, flags, Arguments { argv, env, filename, is_closing })
}
