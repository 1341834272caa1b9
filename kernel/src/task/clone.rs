//! New threads and processes: clone(2) in all its forms.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::Errno;
use caps::cap;

use super::process::{self, Process};
use super::thread::{Thread, work};
use super::{children, sched, signal};
use crate::arch::x86_64::cpu;
use crate::fs::hooks;
use crate::fs::lock::SleepLock;
use crate::mm::user::UserPtr;
use crate::mm::{USER_TOP, address_space::AddressSpace, frame};
use crate::sync::SpinLock;
use crate::syscall::Fd;

bitflags::bitflags! {
    /// linux/sched.h
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CloneFlags: u64 {
        const VM = 0x100;
        const FS = 0x200;
        const FILES = 0x400;
        const SIGHAND = 0x800;
        const PIDFD = 0x1000;
        const PTRACE = 0x2000;
        const VFORK = 0x4000;
        const PARENT = 0x8000;
        const THREAD = 0x1_0000;
        const NEWNS = 0x2_0000;
        const SYSVSEM = 0x4_0000;
        const SETTLS = 0x8_0000;
        const PARENT_SETTID = 0x10_0000;
        const CHILD_CLEARTID = 0x20_0000;
        const DETACHED = 0x40_0000;
        const UNTRACED = 0x80_0000;
        const CHILD_SETTID = 0x100_0000;
        const NEWCGROUP = 0x200_0000;
        const NEWUTS = 0x400_0000;
        const NEWIPC = 0x800_0000;
        const NEWUSER = 0x1000_0000;
        const NEWPID = 0x2000_0000;
        const NEWNET = 0x4000_0000;
        /// All kinds of namespaces.
        const NAMESPACES = Self::NEWNS.bits() | Self::NEWCGROUP.bits() | Self::NEWUTS.bits() | Self::NEWIPC.bits() | Self::NEWUSER.bits() | Self::NEWPID.bits() | Self::NEWNET.bits();
        const IO = 0x8000_0000;
        const CLEAR_SIGHAND = 0x1_0000_0000;
        const INTO_CGROUP = 0x2_0000_0000;
    }
}

/// What clone and clone3 ask for, in one form. Addresses are the program's, 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub flags: CloneFlags,
    pub exit_signal: u32,
    /// The child's RSP; 0 for the parent's.
    pub stack: usize,
    pub parent_tid: usize,
    pub child_tid: usize,
    pub tls: usize,
    pub pidfd: usize,
    /// The number that the child is to have.
    pub wanted_tid: Option<i32>,
}

/// Threads that the machine may have: each costs a kernel stack.
fn thread_limit() -> usize {
    (frame::usage().total / 32).clamp(64, 32_000)
}

/// Nobody makes namespaces here: EPERM for those who couldn't anyway, else EINVAL.
pub fn check_namespaces(flags: CloneFlags) -> Result<(), Errno> {
    if flags.contains(CloneFlags::NEWUSER) {
        Err(Errno::EINVAL)
    } else if flags.intersects(CloneFlags::NAMESPACES) {
        Err(if process::has_capability(cap::SYS_ADMIN) { Errno::EINVAL } else { Errno::EPERM })
    } else {
        Ok(())
    }
}

fn check(request: &Request) -> Result<(), Errno> {
    let flags = request.flags;
    let needs = |a: CloneFlags, b: CloneFlags| flags.contains(a) && !flags.contains(b);
    if needs(CloneFlags::THREAD, CloneFlags::SIGHAND)
        || needs(CloneFlags::SIGHAND, CloneFlags::VM)
        || flags.contains(CloneFlags::SIGHAND | CloneFlags::CLEAR_SIGHAND)
        || flags.contains(CloneFlags::FS | CloneFlags::NEWNS)
        || flags.contains(CloneFlags::THREAD) && flags.intersects(CloneFlags::NEWUSER | CloneFlags::NEWPID)
    {
        return Err(Errno::EINVAL);
    }
    // Sharing handlers without being a thread is what only LinuxThreads did.
    check_namespaces(flags)?;
    if flags.contains(CloneFlags::SETTLS) && request.tls >= USER_TOP {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Whether a user runs as many threads as RLIMIT_NPROC allows.
#[cold]
fn has_too_many(process: &Process, uid: u32) -> bool {
    let count = |process: &Process| {
        let same = process.cred.lock().uid == uid;
        if same { process.threads.lock().len().max(1) } else { 0 }
    };
    let running: usize = process::all().map(|process| count(&process)).sum();
    running as u64 >= process.limit(process::rlimit::NPROC)
}

/// Makes the child and lets it run. Returns its number, in the caller's view.
pub fn clone(request: &Request) -> Result<u32, Errno> {
    check(request)?;
    super::usage::begin_sampling();
    let parent = sched::current();
    let flags = request.flags;
    let (_, threads) = process::counts();
    let (uid, is_bounded) = {
        let cred = parent.process.cred.lock();
        (cred.uid, cred.uid != 0 && !cred.has(cap::SYS_RESOURCE) && !cred.has(cap::SYS_ADMIN))
    };
    if threads >= thread_limit() || is_bounded && has_too_many(&parent.process, uid) {
        return Err(Errno::EAGAIN);
    }
    // A child is made of the kernel's memory: not of the reserve, which those need that are to end.
    if frame::is_short() && frame::is_exhausted() {
        parent.add_work(work::MEMORY);
        return Err(Errno::ENOMEM);
    }
    if flags.intersects(CloneFlags::THREAD | CloneFlags::FILES) {
        parent.process.was_threaded.store(true, Ordering::Release);
    }
    // Who chooses a number has it for certain only when it is registered.
    static CLAIM: SleepLock = SleepLock::new();
    let claim = request.wanted_tid.map(|_| CLAIM.lock());
    let tid = match request.wanted_tid {
        None => process::allocate_pid().ok_or(Errno::EAGAIN)?,
        Some(tid) => process::claim_pid(tid)?,
    };
    let drops = hooks::drops_before_fork();
    // For this one, and for what other CPUs are about to add.
    let process = if flags.contains(CloneFlags::THREAD) {
        parent.process.threads.lock().try_reserve(cpu::online_count()).map_err(|_| Errno::ENOMEM)?;
        parent.process.clone()
    } else {
        child_process(parent, tid, request)?
    };

    let mut frame = *parent.frame();
    frame.complete(crate::mode());
    frame.rax = 0;
    if request.stack != 0 {
        frame.rsp = request.stack as u64;
    }
    let fpu = parent.copy_fpu().ok_or(Errno::ENOMEM)?;
    let child = Thread::new(tid, process.clone(), frame, fpu).ok_or(Errno::ENOMEM)?;
    child.fs_base.set(if flags.contains(CloneFlags::SETTLS) { request.tls as u64 } else { cpu::fs_base() });
    child.gs_base.set(cpu::user_gs_base());
    child.priorities.inherit(&parent.priorities);
    child.affinity.store(parent.affinity.load(Ordering::Relaxed), Ordering::Relaxed);
    signal::inherit(parent, &child, !flags.contains(CloneFlags::THREAD));
    if flags.contains(CloneFlags::CHILD_CLEARTID) {
        child.clear_child_tid.set(request.child_tid);
    }
    if !flags.contains(CloneFlags::VM) {
        child.rseq.set(parent.rseq.get());
    }
    // As on Linux, a bad address for the numbers is nobody's error.
    if flags.contains(CloneFlags::PARENT_SETTID) {
        let _ = UserPtr::<u32>::new(request.parent_tid).write(&tid);
    }
    if flags.contains(CloneFlags::CHILD_SETTID) {
        write_child_tid(&child, request.child_tid, tid);
    }
    let pidfd =
        if flags.contains(CloneFlags::PIDFD) { Some(crate::fs::pidfd(process.clone())?) } else { None };
    let give_up = |errno: Errno| {
        if let Some(fd) = pidfd {
            let _ = parent.process.files().close(Fd(fd));
        }
        errno
    };
    if let Some(fd) = pidfd {
        UserPtr::<i32>::new(request.pidfd).write(&fd).map_err(give_up)?;
    }

    if !flags.contains(CloneFlags::THREAD) {
        let is_sibling = flags.contains(CloneFlags::PARENT);
        children::adopt(&parent.process, &process, is_sibling).map_err(give_up)?;
        process::register(&process);
        if process.limit(process::rlimit::CPU) != process::UNLIMITED {
            signal::timers::limit_cpu_time(&process);
        }
        if !flags.contains(CloneFlags::VM)
            && let Some(space) = process.space()
        {
            hooks::complete_fork(drops, &space);
        }
    }
    process::register_thread(&child);
    drop(claim);
    // Whoever ends or stops all threads of the process may have missed this one.
    if parent.has_work(work::SIGNAL) || process.ending.load(Ordering::SeqCst) {
        child.add_work(work::SIGNAL);
    }
    let is_vfork = flags.contains(CloneFlags::VFORK);
    if is_vfork {
        process.holds_parent.store(true, Ordering::Release);
    }
    sched::enqueue(child);
    if is_vfork {
        // For a process's exec or end, or for a thread's.
        let is_thread = flags.contains(CloneFlags::THREAD);
        super::wait::wait_killable(&process.parent_release, || {
            let is_over = !process.holds_parent.load(Ordering::Acquire)
                || is_thread && process::find_thread(tid).is_none();
            is_over.then_some(())
        });
        if is_thread {
            process.holds_parent.store(false, Ordering::Relaxed);
        }
    }
    Ok(tid)
}

fn write_child_tid(child: &Thread, address: usize, tid: u32) {
    let Some(space) = child.address_space() else { return };
    if address.is_multiple_of(4) && address < USER_TOP {
        let _ = AddressSpace::write_initial(space, address, &tid.to_le_bytes());
    }
}

fn child_process(parent: &Thread, pid: u32, request: &Request) -> Result<Arc<Process>, Errno> {
    let flags = request.flags;
    let old = &parent.process;
    let space = old.space().ok_or(Errno::EFAULT)?;
    let space = if flags.contains(CloneFlags::VM) { space } else { space.fork()? };
    let files =
        if flags.contains(CloneFlags::FILES) { old.share_files() } else { Arc::new(old.files().fork()?) };
    let fs = if flags.contains(CloneFlags::FS) {
        old.fs.clone()
    } else {
        let context = old.fs.lock().clone();
        Arc::new(SpinLock::new(context))
    };
    let signals = old.signals.lock().forked(flags.contains(CloneFlags::CLEAR_SIGHAND));
    let child = Arc::new(Process::new(pid, old.job, files, fs, signals));
    child.parent.store(old.pid, Ordering::Relaxed);
    child.group.store(old.group.load(Ordering::Relaxed), Ordering::Relaxed);
    child.session.store(old.session.load(Ordering::Relaxed), Ordering::Relaxed);
    // A sibling ends as its maker does.
    let of_maker = flags.contains(CloneFlags::PARENT).then(|| old.exit_signal.load(Ordering::Relaxed));
    child.exit_signal.store(of_maker.unwrap_or(request.exit_signal), Ordering::Relaxed);
    child.umask.store(old.umask.load(Ordering::Relaxed), Ordering::Relaxed);
    child.dumpable.store(old.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
    child.no_new_privs.store(old.no_new_privs.load(Ordering::Relaxed), Ordering::Relaxed);
    child.personality.store(old.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    child.no_huge_pages.store(old.no_huge_pages.load(Ordering::Relaxed), Ordering::Relaxed);
    let slack_ns = old.timer_slack_ns.load(Ordering::Relaxed);
    child.timer_slack_ns.store(slack_ns, Ordering::Relaxed);
    child.login_uid.store(old.login_uid.load(Ordering::Relaxed), Ordering::Relaxed);
    child.timer_slack_default_ns.store(slack_ns, Ordering::Relaxed);
    child.oom_adjust.store(old.oom_adjust.load(Ordering::Relaxed), Ordering::Relaxed);
    child.oom_adjust_min.store(old.oom_adjust_min.load(Ordering::Relaxed), Ordering::Relaxed);
    *child.cred.lock() = old.cred.lock().clone();
    let limits = old.limits.lock().clone();
    child.change_limits(|own| *own = limits);
    *child.name.lock() = *old.name.lock();
    *child.exe.lock() = old.exe.lock().clone();
    child.set_space(Some(space));
    Ok(child)
}
