//! A process: what its threads share.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::sched;
use super::signal::ProcessSignals;
use super::thread::Thread;
use crate::fs;
use crate::mm::AddressSpace;
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
    pub groups: Vec<u32>,
}

/// `RLIM_INFINITY`.
pub const UNLIMITED: u64 = u64::MAX;
const MIB: u64 = 1 << 20;

/// Resource numbers (getrlimit(2)).
pub mod rlimit {
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

impl Limits {
    /// The soft limit of a resource.
    pub fn soft(&self, resource: usize) -> u64 {
        self.0.get(resource).map_or(UNLIMITED, |limit| limit.0)
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
    page_table_root: AtomicU64,
    pub files: Arc<fs::FileTable>,
    pub fs: SpinLock<fs::FsContext>,
    pub cred: SpinLock<Cred>,
    pub limits: SpinLock<Limits>,
    pub signals: SpinLock<ProcessSignals>,
    pub threads: SpinLock<Vec<Arc<Thread>>>,
    /// `comm`, NUL-padded.
    pub name: SpinLock<[u8; 16]>,
    pub exe: SpinLock<Option<fs::ExeFile>>,
    pub umask: AtomicU32,
    pub dumpable: AtomicU32,
    pub no_new_privs: AtomicBool,
    pub personality: AtomicU32,
    pub nice: AtomicI32,
    pub timer_slack_ns: AtomicU64,
    /// Wait status once the process is ending; threads see the flag and end themselves.
    pub ending: AtomicBool,
    pub exit_status: AtomicI32,
    /// TSC when it began.
    pub started: u64,
    pub faults: AtomicU64,
    /// PR_SET_PDEATHSIG.
    pub death_signal: AtomicU32,
}

impl Process {
    pub fn new(pid: u32, job: u16, files: Arc<fs::FileTable>, fs: fs::FsContext) -> Self {
        Self {
            pid,
            job,
            parent: AtomicU32::new(0),
            group: AtomicU32::new(pid),
            session: AtomicU32::new(pid),
            space: SpinLock::new(None),
            page_table_root: AtomicU64::new(0),
            files,
            fs: SpinLock::new(fs),
            cred: SpinLock::new(Cred::default()),
            limits: SpinLock::new(Limits::default()),
            signals: SpinLock::new(ProcessSignals::default()),
            threads: SpinLock::new(Vec::new()),
            name: SpinLock::new([0; 16]),
            exe: SpinLock::new(None),
            umask: AtomicU32::new(0o022),
            dumpable: AtomicU32::new(1),
            no_new_privs: AtomicBool::new(false),
            personality: AtomicU32::new(0),
            nice: AtomicI32::new(0),
            timer_slack_ns: AtomicU64::new(50_000),
            ending: AtomicBool::new(false),
            exit_status: AtomicI32::new(0),
            started: crate::arch::x86_64::tsc::read(),
            faults: AtomicU64::new(0),
            death_signal: AtomicU32::new(0),
        }
    }

    /// The address space as an owner.
    pub fn space(&self) -> Option<Arc<AddressSpace>> {
        self.space.lock().clone()
    }

    /// Puts the process into another address space (exec) or none (exit). The old one comes back, to be dropped when CR3 has left it.
    pub fn set_space(&self, space: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        let root = space.as_ref().map_or_else(idle_root, |space| space.root());
        self.page_table_root.store(root, Ordering::Release);
        core::mem::replace(&mut *self.space.lock(), space)
    }

    /// What CR3 holds while one of its threads runs.
    #[inline]
    pub fn page_table_root(&self) -> u64 {
        self.page_table_root.load(Ordering::Acquire)
    }

    /// The soft limit of a resource.
    pub fn limit(&self, resource: usize) -> u64 {
        self.limits.lock().soft(resource)
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

/// The boot page table, which maps only the kernel.
fn idle_root() -> u64 {
    crate::mm::page_table::boot_root_address()
}

static NEXT_PID: AtomicU32 = AtomicU32::new(1);

/// A number for a new process or thread.
pub fn allocate_pid() -> u32 {
    NEXT_PID.fetch_add(1, Ordering::Relaxed)
}

/// Starts numbering anew: each job's first process is process 1.
pub fn reset_pids() {
    NEXT_PID.store(1, Ordering::Relaxed);
}

/// Makes the boot context a thread, so that there is a current one.
pub fn init() {
    let process = Process::new(0, 0, Arc::new(fs::FileTable::new()), fs::FsContext::root());
    process.set_space(None);
    sched::init(Thread::idle(Arc::new(process)));
}
