//! A process: what its threads share.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use abi::Errno;
use caps::{Caps, Ids, cap};

use super::sched;
use super::signal::ProcessSignals;
use super::thread::Thread;
use super::usage::{Ended, Usage};
use super::wait::WaitQueue;
use crate::arch::x86_64::cpu::MAX_CPUS;
use crate::arch::x86_64::smp;
use crate::fs;
use crate::mm::AddressSpace;
use crate::sorted::SortedMap;
use crate::sync::SpinLock;

/// Credentials (credentials(7)). One set per process: the difference between threads that Linux allows is the libc's to hide.
#[derive(Clone, Debug, Default)]
pub struct Cred {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Arc<[u32]>,
    pub caps: Caps,
}

impl Cred {
    /// Whether they give a capability, one of [`caps::cap`].
    #[inline]
    pub fn has(&self, capability: u32) -> bool {
        self.caps.has(capability)
    }

    fn ids(&self) -> Ids {
        Ids { real: self.uid, effective: self.euid, saved: self.suid }
    }

    /// Changes user IDs by a call of the setuid family; capabilities follow.
    pub fn change_uids<E>(&mut self, change: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let old = self.ids();
        change(self)?;
        self.fsuid = self.euid;
        self.caps.ids_changed(old, self.ids());
        Ok(())
    }

    /// exec(2) of a file of this mode, owner and group. Whether the program should distrust its environment.
    pub fn exec(&mut self, mode: u32, owner: u32, group: u32) -> bool {
        if mode & 0o4000 != 0 {
            self.euid = owner;
        }
        if mode & 0o2010 == 0o2010 {
            self.egid = group;
        }
        (self.suid, self.fsuid) = (self.euid, self.euid);
        (self.sgid, self.fsgid) = (self.egid, self.egid);
        self.caps.exec(self.uid, self.euid, self.uid != self.euid || self.gid != self.egid)
    }
}

/// Whether the running process has a capability.
#[inline]
pub fn has_capability(capability: u32) -> bool {
    super::current().process.cred.lock().has(capability)
}

/// `RLIM_INFINITY`.
pub const UNLIMITED: u64 = u64::MAX;
const MIB: u64 = 1 << 20;

/// Resource numbers (getrlimit(2)).
pub mod rlimit {
    pub const CPU: usize = 0;
    pub const FSIZE: usize = 1;
    pub const DATA: usize = 2;
    pub const STACK: usize = 3;
    pub const NPROC: usize = 6;
    pub const NOFILE: usize = 7;
    pub const MEMLOCK: usize = 8;
    pub const AS: usize = 9;
    pub const SIGPENDING: usize = 11;
    pub const MSGQUEUE: usize = 12;
    pub const NICE: usize = 13;
    pub const RTPRIO: usize = 14;
    pub const CORE: usize = 4;
    pub const COUNT: usize = 16;
}

/// Soft and hard limits, by resource number.
#[derive(Clone, Debug)]
pub struct Limits(pub [(u64, u64); rlimit::COUNT]);

impl Default for Limits {
    /// What Linux gives its first process on a machine of this size.
    fn default() -> Self {
        let mut limits = [(UNLIMITED, UNLIMITED); rlimit::COUNT];
        limits[rlimit::STACK] = (8 * MIB, UNLIMITED);
        limits[rlimit::CORE] = (0, UNLIMITED);
        limits[rlimit::NPROC] = (32_768, 32_768);
        limits[rlimit::NOFILE] = (1024, 1 << 20);
        limits[rlimit::MEMLOCK] = (8 * MIB, 8 * MIB);
        limits[rlimit::SIGPENDING] = (32_768, 32_768);
        limits[rlimit::MSGQUEUE] = (819_200, 819_200);
        limits[rlimit::NICE] = (0, 0);
        limits[rlimit::RTPRIO] = (0, 0);
        Self(limits)
    }
}

/// A process.
pub struct Process {
    pub pid: u32,
    /// Which job of the launcher's this process belongs to.
    pub job: u16,
    pub parent: AtomicU32,
    pub group: AtomicU32,
    pub session: AtomicU32,
    space: SpinLock<Option<Arc<AddressSpace>>>,
    /// The descriptor table in use, and all that there ever were: the last one is in use.
    files: AtomicPtr<fs::FileTable>,
    tables: SpinLock<Vec<Arc<fs::FileTable>>>,
    pub fs: Arc<SpinLock<fs::FsContext>>,
    pub cred: SpinLock<Cred>,
    pub limits: SpinLock<Limits>,
    /// The soft ones again, for those who only look.
    soft_limits: [AtomicU64; rlimit::COUNT],
    pub signals: SpinLock<ProcessSignals>,
    pub threads: SpinLock<Vec<Arc<Thread>>>,
    /// `comm`, NUL-padded.
    pub name: SpinLock<[u8; 16]>,
    pub exe: SpinLock<Option<fs::ExeFile>>,
    pub umask: AtomicU32,
    pub dumpable: AtomicU32,
    pub no_new_privs: AtomicBool,
    pub personality: AtomicU32,
    /// PR_SET_THP_DISABLE, for programs that read it back.
    pub no_huge_pages: AtomicBool,
    pub timer_slack_ns: AtomicU64,
    /// Who logged in (`/proc/PID/loginuid`): -1 for nobody.
    pub login_uid: AtomicU32,
    /// What PR_SET_TIMERSLACK goes back to: the parent's at the fork.
    pub timer_slack_default_ns: AtomicU64,
    /// oom_score_adj (proc_pid_oom_score_adj(5)), and the least that it may be set to without privilege.
    pub oom_adjust: AtomicI32,
    pub oom_adjust_min: AtomicI32,
    /// Wait status once the process is ending; threads see the flag and end themselves.
    pub ending: AtomicBool,
    pub exit_status: AtomicI32,
    /// TSC when it began.
    pub started: u64,
    /// PR_SET_PDEATHSIG.
    pub death_signal: AtomicU32,
    /// The signal that the parent gets when this process ends; 0 for none.
    pub exit_signal: AtomicU32,
    /// Children, zombies among them.
    pub children: SpinLock<Vec<Arc<Process>>>,
    /// Where it waits for its children.
    pub child_events: WaitQueue,
    /// Ended, and not waited for yet.
    pub zombie: AtomicBool,
    /// Cleared when a vfork child execs or ends.
    pub holds_parent: AtomicBool,
    pub parent_release: WaitQueue,
    /// The thread that calls exec and ends the others (its number; 0 for none), and where it waits for that.
    pub exec_thread: AtomicU32,
    pub thread_ended: WaitQueue,
    /// Whether it ever asked for SEM_UNDO.
    pub has_undo: AtomicBool,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: AtomicBool,
    /// What threads that ended have used, and what children that were waited for have.
    pub usage: SpinLock<Ended>,
    pub children_usage: SpinLock<Usage>,
    /// Whether it has called exec since its fork (setpgid's EACCES).
    pub has_execed: AtomicBool,
    /// Whether it ever had more than one thread.
    pub was_threaded: AtomicBool,
    /// A stop or a continuation that the parent may wait for.
    pub stop_event: AtomicU32,
}

impl Process {
    #[inline(always)]
    pub fn new(
        pid: u32,
        job: u16,
        files: Arc<fs::FileTable>,
        fs: Arc<SpinLock<fs::FsContext>>,
        signals: ProcessSignals,
    ) -> Self {
        Self {
            pid,
            job,
            parent: AtomicU32::new(0),
            group: AtomicU32::new(pid),
            session: AtomicU32::new(pid),
            space: SpinLock::new(None),
            files: AtomicPtr::new(Arc::as_ptr(&files).cast_mut()),
            tables: SpinLock::new(alloc::vec![files]),
            fs,
            cred: SpinLock::new(Cred::default()),
            soft_limits: Limits::default().0.map(|(soft, _)| AtomicU64::new(soft)),
            limits: SpinLock::new(Limits::default()),
            signals: SpinLock::new(signals),
            threads: SpinLock::new(Vec::new()),
            name: SpinLock::new([0; 16]),
            exe: SpinLock::new(None),
            umask: AtomicU32::new(0o022),
            dumpable: AtomicU32::new(1),
            no_new_privs: AtomicBool::new(false),
            personality: AtomicU32::new(0),
            no_huge_pages: AtomicBool::new(false),
            timer_slack_ns: AtomicU64::new(50_000),
            login_uid: AtomicU32::new(u32::MAX),
            timer_slack_default_ns: AtomicU64::new(50_000),
            oom_adjust: AtomicI32::new(0),
            oom_adjust_min: AtomicI32::new(0),
            ending: AtomicBool::new(false),
            exit_status: AtomicI32::new(0),
            started: crate::arch::x86_64::tsc::read(),
            death_signal: AtomicU32::new(0),
            exit_signal: AtomicU32::new(0),
            children: SpinLock::new(Vec::new()),
            child_events: WaitQueue::new(),
            zombie: AtomicBool::new(false),
            holds_parent: AtomicBool::new(false),
            parent_release: WaitQueue::new(),
            exec_thread: AtomicU32::new(0),
            thread_ended: WaitQueue::new(),
            has_undo: AtomicBool::new(false),
            subreaper: AtomicBool::new(false),
            usage: SpinLock::new(Ended::default()),
            children_usage: SpinLock::new(Usage::default()),
            has_execed: AtomicBool::new(false),
            was_threaded: AtomicBool::new(false),
            stop_event: AtomicU32::new(0),
        }
    }

    /// The descriptor table, for the process's own threads; others use `shared_files`.
    #[inline]
    #[expect(unsafe_code, reason = "a table is used without counting its users")]
    pub fn files(&self) -> &fs::FileTable {
        // SAFETY: the pointer is that of a table in `tables`, of which none leaves before the process does or, by `take_files`, has
        // no threads any more but the one that drops them.
        unsafe { &*self.files.load(Ordering::Acquire) }
    }

    /// The descriptor table as an owner, for a look from outside.
    pub fn shared_files(&self) -> Arc<fs::FileTable> {
        self.tables.lock().last().cloned().unwrap_or_default()
    }

    /// The descriptor table for a child that uses it as well.
    pub fn share_files(&self) -> Arc<fs::FileTable> {
        let tables = self.tables.lock();
        let files = tables.last().cloned().unwrap_or_default();
        files.share();
        files
    }

    /// One thread is left, which `threads`, locked by the caller, says: unless another process uses its descriptor table as well, nobody else
    /// changes that.
    fn note_alone(&self) {
        if let [.., files] = self.tables.lock().as_slice()
            && Arc::strong_count(files) == 1
        {
            files.unshare();
        }
    }

    /// Another descriptor table. The old one stays if other threads may be looking at it.
    fn set_files(&self, files: Arc<fs::FileTable>) {
        let is_alone = self.threads.lock().len() <= 1;
        let mut tables = self.tables.lock();
        self.files.store(Arc::as_ptr(&files).cast_mut(), Ordering::Release);
        let old = if is_alone { tables.pop() } else { None };
        tables.push(files);
        drop(tables);
        drop(old);
    }

    /// Gives all descriptors up: the last thread is ending.
    pub fn take_files(&self) -> Vec<Arc<fs::FileTable>> {
        let empty = Arc::new(fs::FileTable::new());
        self.files.store(Arc::as_ptr(&empty).cast_mut(), Ordering::Release);
        core::mem::replace(&mut *self.tables.lock(), alloc::vec![empty])
    }

    /// A descriptor table of its own, if others share the one that it has. ENOMEM.
    pub fn unshare_files(&self) -> Result<(), Errno> {
        let is_shared = self.tables.lock().last().is_some_and(|table| Arc::strong_count(table) > 1);
        if is_shared {
            let own = self.files().fork()?;
            // Other threads of the process use it as well.
            own.share();
            self.set_files(Arc::new(own));
        }
        Ok(())
    }

    /// exec: a table that others share is copied first, then what says so is closed.
    pub fn files_unshare_for_exec(&self) {
        // Without memory for a copy the exec has failed already.
        let _ = self.unshare_files();
        self.files().close_on_exec();
    }

    /// The address space as an owner.
    #[inline]
    pub fn space(&self) -> Option<Arc<AddressSpace>> {
        self.space.lock().clone()
    }

    /// Puts the process into another address space (exec) or none (exit). The old one comes back, to be dropped when CR3 has left it.
    pub fn set_space(&self, space: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        core::mem::replace(&mut *self.space.lock(), space)
    }

    /// The soft limit of a resource.
    pub fn limit(&self, resource: usize) -> u64 {
        self.soft_limits.get(resource).map_or(UNLIMITED, |soft| soft.load(Ordering::Relaxed))
    }

    /// Changes limits.
    pub fn change_limits<T>(&self, change: impl FnOnce(&mut Limits) -> T) -> T {
        let mut limits = self.limits.lock();
        let result = change(&mut limits);
        for (shown, (soft, _)) in self.soft_limits.iter().zip(&limits.0) {
            shown.store(*soft, Ordering::Relaxed);
        }
        result
    }

    /// Sets `comm` from a path's last component.
    pub fn set_name(&self, path: &[u8]) {
        let last = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().take(15).zip(last) {
            *to = *from;
        }
        *self.name.lock() = name;
    }
}

/// `kernel.pid_max` of a small machine.
const PID_MAX: u32 = 32_768;
/// First number after a wrap-around (RESERVED_PIDS).
const PID_WRAP: u32 = 300;

/// Everything that has a number.
struct Registry {
    next: u32,
    /// Whether numbers are given out for another time.
    wrapped: bool,
    processes: SortedMap<u32, Arc<Process>>,
    threads: SortedMap<u32, Arc<Thread>>,
}

static REGISTRY: SpinLock<Registry> = SpinLock::new(Registry {
    next: 1,
    wrapped: false,
    processes: SortedMap::new(),
    threads: SortedMap::new(),
});

/// A number for a new process or thread; `None` when all are taken.
pub fn allocate_pid() -> Option<u32> {
    let mut registry = REGISTRY.lock();
    // For this one, and for what other CPUs are about to register.
    registry.processes.reserve(MAX_CPUS).ok()?;
    registry.threads.reserve(MAX_CPUS).ok()?;
    for _ in 0..PID_MAX {
        let pid = registry.next;
        registry.next = pid + 1;
        if registry.next >= PID_MAX {
            registry.next = PID_WRAP;
            registry.wrapped = true;
        }
        // A group or session outlives the process that it has its number from.
        let taken = registry.threads.contains_key(&pid)
            || registry.processes.contains_key(&pid)
            || registry.wrapped
                && registry.processes.values().any(|p| {
                    p.group.load(Ordering::Relaxed) == pid || p.session.load(Ordering::Relaxed) == pid
                });
        if !taken {
            return Some(pid);
        }
    }
    None
}

/// A number that the program chose (clone3's `set_tid`). EINVAL, EPERM without CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, EEXIST.
pub fn claim_pid(pid: i32) -> Result<u32, Errno> {
    let pid = u32::try_from(pid).ok().filter(|pid| (1..PID_MAX).contains(pid)).ok_or(Errno::EINVAL)?;
    if !has_capability(cap::CHECKPOINT_RESTORE) && !has_capability(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let mut registry = REGISTRY.lock();
    registry.processes.reserve(MAX_CPUS)?;
    registry.threads.reserve(MAX_CPUS)?;
    let load = Ordering::Relaxed;
    let is_group =
        |process: &Arc<Process>| process.group.load(load) == pid || process.session.load(load) == pid;
    let is_taken = registry.threads.contains_key(&pid)
        || registry.processes.contains_key(&pid)
        || registry.processes.values().any(is_group);
    if is_taken { Err(Errno::EEXIST) } else { Ok(pid) }
}

/// Starts numbering anew: each job's first process is process 1.
pub fn reset_pids() {
    let mut registry = REGISTRY.lock();
    registry.next = 1;
    registry.wrapped = false;
}

/// Makes a process known by its number.
pub fn register(process: &Arc<Process>) {
    REGISTRY.lock().processes.insert(process.pid, process.clone());
}

/// A waited-for process's number is free again.
pub fn unregister(pid: u32) {
    let process = REGISTRY.lock().processes.remove(&pid);
    drop(process);
    fs::pidfd::notify_ended();
}

/// Makes a thread known by its number, and a member of its process.
pub fn register_thread(thread: &Arc<Thread>) {
    REGISTRY.lock().threads.insert(thread.tid, thread.clone());
    let mut threads = thread.process.threads.lock();
    if !threads.is_empty() {
        thread.process.files().share();
    }
    threads.push(thread.clone());
}

/// A thread ended. Returns how many its process still has.
pub fn unregister_thread(thread: &Thread) -> usize {
    let own = REGISTRY.lock().threads.remove(&thread.tid);
    drop(own);
    fs::pidfd::notify_ended();
    let mut threads = thread.process.threads.lock();
    let position = threads.iter().position(|other| other.tid == thread.tid);
    let removed = position.map(|at| threads.swap_remove(at));
    let left = threads.len();
    if left == 1 {
        thread.process.note_alone();
    }
    drop(threads);
    drop(removed);
    left
}

/// The process with a number, zombies included.
pub fn find(pid: u32) -> Option<Arc<Process>> {
    REGISTRY.lock().processes.get(&pid).cloned()
}

/// The process of a number, which may be that of any of its threads. ESRCH.
pub fn of_number(pid: u32) -> Result<Arc<Process>, Errno> {
    find(pid).or_else(|| find_thread(pid).map(|thread| thread.process.clone())).ok_or(Errno::ESRCH)
}

/// The thread with a number.
pub fn find_thread(tid: u32) -> Option<Arc<Thread>> {
    REGISTRY.lock().threads.get(&tid).cloned()
}

/// All processes, zombies included, by number.
pub fn all() -> impl Iterator<Item = Arc<Process>> {
    let mut from = Some(0);
    core::iter::from_fn(move || {
        // One at a time: it may be want of memory for which somebody asks.
        let next = REGISTRY.lock().processes.first_from(&from?).map(|(_, process)| process.clone())?;
        from = next.pid.checked_add(1);
        Some(next)
    })
}

/// Looks at a process's threads, for those who hold a lock that `Process::threads` stands before.
pub fn each_thread(process: &Process, mut look: impl FnMut(&Thread)) {
    for thread in REGISTRY.lock().threads.values() {
        if core::ptr::eq(Arc::as_ptr(&thread.process), process) {
            look(thread);
        }
    }
}

/// Processes and threads that there are now.
pub fn counts() -> (usize, usize) {
    let registry = REGISTRY.lock();
    (registry.processes.len(), registry.threads.len())
}

/// Makes the boot context a thread, so that there is a current one.
pub fn init() {
    let files = Arc::new(fs::FileTable::new());
    let context = Arc::new(SpinLock::new(fs::FsContext::root()));
    let process = Process::new(0, 0, files, context, ProcessSignals::default());
    process.set_space(None);
    let process = Arc::new(process);
    sched::init(crate::arch::per_cpu(), Thread::idle(process.clone()));
    smp::start(|cpu| sched::init(cpu, Thread::idle(process.clone())));
}
