//! The one table of system calls. Each row is a number, the ABI signature, its handler, and how much of it is there.

use super::Support::{Full, Partial};
use super::args::{Arg, Fd, Path, Shape};
use super::{Call, IntoRax};
use super::{
    attr, dir, epoll, fcntl, file, futex, identity, ioctl, limits, membarrier, memory, message, mlock, mount,
    pipe, poll, process, random, sched, signal, socket, stat, time, timers, xattr,
};
use super::{inotify, mqueue, pidfd, power, process_vm, sysv};
use crate::mm::UserPtr;
use abi::OpenFlags;

/// Numbers below this have a slot (`syscall_64.tbl` of Linux 6.12 ends at 463).
pub const TABLE_LEN: usize = 470;

/// A slot of the dispatch table: the entry assembly calls it with the argument registers as they are.
pub type Handler = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> isize;

/// A function's address; functions of fewer arguments ignore the other registers.
#[repr(transparent)]
struct Slot(*const ());
#[expect(unsafe_code, reason = "a table of function addresses")]
// SAFETY: only addresses of functions.
unsafe impl Sync for Slot {}

/// The address that stands in the table: a wrapper that decodes the arguments (`=`), or an assembly stub (`=>`).
macro_rules! slot {
    ($name:ident = $handler:path) => {
        wrappers::$name as *const ()
    };
    ($name:ident => $stub:path) => {
        $stub as *const ()
    };
}

/// The function that takes the arguments from registers, calls the handler, and puts its result into RAX.
macro_rules! wrapper {
    ($name:ident($($arg:ident: $type:ty),*) = $handler:path) => {
        pub(super) extern "C" fn $name($($arg: u64),*) -> isize {
            $handler($(<$type as Arg>::from_arg($arg)),*).into_rax()
        }
    };
    ($name:ident($($arg:ident: $type:ty),*)) => {};
}

macro_rules! syscalls {
    ($($number:literal => $name:ident($($arg:ident: $type:ty),*) $(= $handler:path)? $(=> $stub:path)?, $support:expr;)*) => {
        mod wrappers {
            use super::*;
            $( wrapper!($name($($arg: $type),*) $(= $handler)?); )*
        }

        #[expect(unsafe_code, reason = "the entry assembly calls through this table by name")]
        #[unsafe(export_name = "syscall_table")]
        static TABLE: [Slot; TABLE_LEN] = {
            let mut table = [const { Slot(super::unknown as *const ()) }; TABLE_LEN];
            $( table[$number] = Slot(slot!($name $(= $handler)? $(=> $stub)?)); )*
            table
        };

        /// What strace says of each call that has a row.
        static ROWS: &[Row] = &[$(Row {
            number: $number,
            args: shape(&[$(<$type as Arg>::SHAPE),*]),
            is_partial: matches!($support, Partial(_)),
        }),*];

        /// The names of the rows, in their order.
        const NAMES: &str = concat!($(stringify!($name), " "),*);
    };
}

/// A row, for strace: kept small, for there are some three hundred.
struct Row {
    number: u16,
    args: [Shape; MAX_ARGS],
    is_partial: bool,
}

/// Registers that carry arguments.
const MAX_ARGS: usize = 6;

const fn shape(args: &[Shape]) -> [Shape; MAX_ARGS] {
    let mut all = [Shape::None; MAX_ARGS];
    let (used, _) = all.split_at_mut(args.len());
    used.copy_from_slice(args);
    all
}

/// The row of a number.
pub fn call(number: u32) -> Option<Call> {
    let index = ROWS.iter().position(|row| u32::from(row.number) == number)?;
    let row = ROWS.get(index)?;
    Some(Call { name: NAMES.split(' ').nth(index)?, args: &row.args, is_partial: row.is_partial })
}

/// The handler of a number, `unknown` where there is none.
pub fn handler(number: u32) -> Handler {
    let slot = TABLE.get(number as usize).map_or(super::unknown as *const (), |slot| slot.0);
    #[expect(unsafe_code, reason = "from an address of the table back to a function")]
    // SAFETY: every slot holds the address of an extern "C" function of at most six integer arguments.
    unsafe {
        core::mem::transmute::<*const (), Handler>(slot)
    }
}

/// Handlers that need the program's callee-saved registers, by the stubs of `arch::x86_64::entry`.
mod stubs {
    #[expect(unsafe_code, reason = "stubs of the entry assembly")]
    unsafe extern "C" {
        pub(super) fn clone_entry();
        pub(super) fn fork_entry();
        pub(super) fn vfork_entry();
        pub(super) fn clone3_entry();
    }
}

#[expect(unsafe_code, reason = "names for the entry assembly")]
mod handlers {
    #[unsafe(no_mangle)]
    extern "C" fn handle_clone(flags: u64, stack: u64, parent_tid: u64, child_tid: u64, tls: u64) -> isize {
        super::process::clone(flags, stack, parent_tid, child_tid, tls)
    }
    #[unsafe(no_mangle)]
    extern "C" fn handle_fork() -> isize {
        super::process::fork()
    }
    #[unsafe(no_mangle)]
    extern "C" fn handle_vfork() -> isize {
        super::process::vfork()
    }
    #[unsafe(no_mangle)]
    extern "C" fn handle_clone3(args: u64, size: u64) -> isize {
        super::process::clone3(args, size)
    }
}

syscalls! {
    0 => read(fd: Fd, buf: UserPtr<u8>, len: usize) = file::read, Full;
    1 => write(fd: Fd, buf: UserPtr<u8>, len: usize) = file::write, Full;
    2 => open(path: Path, flags: OpenFlags, mode: u32) = file::open, Full;
    3 => close(fd: Fd) = file::close, Full;
    4 => stat(path: Path, statbuf: UserPtr<abi::Stat>) = stat::stat, Full;
    5 => fstat(fd: Fd, statbuf: UserPtr<abi::Stat>) = stat::fstat, Full;
    6 => lstat(path: Path, statbuf: UserPtr<abi::Stat>) = stat::lstat, Full;
    7 => poll(fds: UserPtr<abi::PollFd>, nfds: u32, timeout_ms: i32) = poll::poll, Full;
    8 => lseek(fd: Fd, offset: i64, whence: u32) = file::lseek, Full;
    9 => mmap(addr: usize, len: usize, prot: u32, flags: u32, fd: Fd, offset: u64) = memory::mmap, Full;
    10 => mprotect(addr: usize, len: usize, prot: u32) = memory::mprotect, Full;
    11 => munmap(addr: usize, len: usize) = memory::munmap, Full;
    12 => brk(addr: usize) = memory::brk, Full;
    13 => rt_sigaction(signum: i32, act: UserPtr<abi::Sigaction>, oldact: UserPtr<abi::Sigaction>, sigsetsize: usize) = signal::rt_sigaction, Full;
    14 => rt_sigprocmask(how: i32, set: UserPtr<abi::SigSet>, oldset: UserPtr<abi::SigSet>, sigsetsize: usize) = signal::rt_sigprocmask, Full;
    15 => rt_sigreturn() = signal::rt_sigreturn, Full;
    16 => ioctl(fd: Fd, cmd: u32, arg: usize) = ioctl::ioctl, Partial("terminals, pipes, descriptors");
    17 => pread64(fd: Fd, buf: UserPtr<u8>, len: usize, offset: i64) = file::pread64, Full;
    18 => pwrite64(fd: Fd, buf: UserPtr<u8>, len: usize, offset: i64) = file::pwrite64, Full;
    19 => readv(fd: Fd, iov: UserPtr<abi::IoVec>, iovcnt: usize) = file::readv, Full;
    20 => writev(fd: Fd, iov: UserPtr<abi::IoVec>, iovcnt: usize) = file::writev, Full;
    21 => access(path: Path, mode: u32) = stat::access, Full;
    22 => pipe(pipefd: UserPtr<[i32; 2]>) = pipe::pipe, Full;
    23 => select(nfds: i32, readfds: UserPtr<u64>, writefds: UserPtr<u64>, exceptfds: UserPtr<u64>, timeout: UserPtr<abi::Timeval>) = poll::select, Full;
    24 => sched_yield() = identity::sched_yield, Full;
    25 => mremap(old_addr: usize, old_len: usize, new_len: usize, flags: u32, new_addr: usize) = memory::mremap, Full;
    26 => msync(addr: usize, len: usize, flags: u32) = memory::msync, Full;
    27 => mincore(addr: usize, len: usize, vec: UserPtr<u8>) = memory::mincore, Full;
    28 => madvise(addr: usize, len: usize, advice: i32) = memory::madvise, Full;
    29 => shmget(key: i32, size: usize, shmflg: u32) = sysv::shmget, Full;
    30 => shmat(shmid: i32, shmaddr: usize, shmflg: u32) = sysv::shmat, Full;
    31 => shmctl(shmid: i32, cmd: u32, buf: usize) = sysv::shmctl, Full;
    32 => dup(fd: Fd) = fcntl::dup, Full;
    33 => dup2(oldfd: Fd, newfd: Fd) = fcntl::dup2, Full;
    34 => pause() = signal::pause, Full;
    35 => nanosleep(req: UserPtr<abi::Timespec>, rem: UserPtr<abi::Timespec>) = time::nanosleep, Full;
    36 => getitimer(which: i32, value: UserPtr<abi::Itimerval>) = timers::getitimer, Full;
    37 => alarm(seconds: u32) = timers::alarm, Full;
    38 => setitimer(which: i32, new: UserPtr<abi::Itimerval>, old: UserPtr<abi::Itimerval>) = timers::setitimer, Full;
    39 => getpid() = identity::getpid, Full;
    40 => sendfile(out_fd: Fd, in_fd: Fd, offset: UserPtr<i64>, count: usize) = pipe::sendfile, Full;
    41 => socket(domain: u32, kind: u32, protocol: u32) = socket::socket, Partial("AF_UNIX only");
    42 => connect(sockfd: Fd, addr: UserPtr<u8>, addrlen: i32) = socket::connect, Full;
    43 => accept(sockfd: Fd, addr: UserPtr<u8>, addrlen: UserPtr<u32>) = socket::accept, Full;
    44 => sendto(sockfd: Fd, buf: UserPtr<u8>, len: usize, flags: u32, addr: UserPtr<u8>, addrlen: i32) = message::sendto, Partial("no MSG_OOB");
    45 => recvfrom(sockfd: Fd, buf: UserPtr<u8>, len: usize, flags: u32, addr: UserPtr<u8>, addrlen: UserPtr<u32>) = message::recvfrom, Partial("no MSG_OOB");
    46 => sendmsg(sockfd: Fd, msg: UserPtr<abi::Msghdr>, flags: u32) = message::sendmsg, Partial("no MSG_OOB");
    47 => recvmsg(sockfd: Fd, msg: UserPtr<abi::Msghdr>, flags: u32) = message::recvmsg, Partial("no MSG_OOB");
    48 => shutdown(sockfd: Fd, how: u32) = socket::shutdown, Full;
    49 => bind(sockfd: Fd, addr: UserPtr<u8>, addrlen: i32) = socket::bind, Full;
    50 => listen(sockfd: Fd, backlog: u32) = socket::listen, Full;
    51 => getsockname(sockfd: Fd, addr: UserPtr<u8>, addrlen: UserPtr<u32>) = socket::getsockname, Full;
    52 => getpeername(sockfd: Fd, addr: UserPtr<u8>, addrlen: UserPtr<u32>) = socket::getpeername, Full;
    53 => socketpair(domain: u32, kind: u32, protocol: u32, sv: UserPtr<[i32; 2]>) = socket::socketpair, Full;
    54 => setsockopt(sockfd: Fd, level: i32, optname: u32, optval: UserPtr<u8>, optlen: i32) = socket::setsockopt, Partial("see net/options.rs for the options");
    55 => getsockopt(sockfd: Fd, level: i32, optname: u32, optval: UserPtr<u8>, optlen: UserPtr<u32>) = socket::getsockopt, Partial("see net/options.rs for the options");
    56 => clone(flags: u64, stack: usize, parent_tid: UserPtr<u32>, child_tid: UserPtr<u32>, tls: usize) => stubs::clone_entry, Partial("namespaces and CLONE_PTRACE");
    57 => fork() => stubs::fork_entry, Full;
    58 => vfork() => stubs::vfork_entry, Full;
    59 => execve(path: Path, argv: UserPtr<u64>, envp: UserPtr<u64>) = process::execve, Full;
    60 => exit(status: i32) = process::exit, Full;
    61 => wait4(pid: i32, status: UserPtr<u32>, options: u32, rusage: UserPtr<abi::Rusage>) = process::wait4, Full;
    62 => kill(pid: i32, sig: i32) = signal::kill, Full;
    63 => uname(buf: UserPtr<abi::Utsname>) = identity::uname, Full;
    64 => semget(key: i32, nsems: i32, semflg: u32) = sysv::semget, Full;
    65 => semop(semid: i32, sops: UserPtr<abi::ipc::SemBuf>, nsops: u32) = sysv::semop, Full;
    66 => semctl(semid: i32, semnum: i32, cmd: u32, arg: usize) = sysv::semctl, Full;
    67 => shmdt(shmaddr: usize) = sysv::shmdt, Full;
    68 => msgget(key: i32, msgflg: u32) = sysv::msgget, Full;
    69 => msgsnd(msqid: i32, msgp: UserPtr<i64>, msgsz: usize, msgflg: u32) = sysv::msgsnd, Full;
    70 => msgrcv(msqid: i32, msgp: UserPtr<i64>, msgsz: usize, msgtyp: i64, msgflg: u32) = sysv::msgrcv, Full;
    71 => msgctl(msqid: i32, cmd: u32, buf: usize) = sysv::msgctl, Full;
    72 => fcntl(fd: Fd, cmd: u32, arg: usize) = fcntl::fcntl, Partial("leases, directory notification; SIGIO for room in a socket");
    73 => flock(fd: Fd, operation: u32) = fcntl::flock, Full;
    74 => fsync(fd: Fd) = file::fsync, Full;
    75 => fdatasync(fd: Fd) = file::fsync, Full;
    76 => truncate(path: Path, length: i64) = attr::truncate, Full;
    77 => ftruncate(fd: Fd, length: i64) = attr::ftruncate, Full;
    78 => getdents(fd: Fd, dirp: UserPtr<u8>, count: u32) = dir::getdents, Full;
    79 => getcwd(buf: UserPtr<u8>, size: usize) = dir::getcwd, Full;
    80 => chdir(path: Path) = dir::chdir, Full;
    81 => fchdir(fd: Fd) = dir::fchdir, Full;
    82 => rename(oldpath: Path, newpath: Path) = dir::rename, Full;
    83 => mkdir(path: Path, mode: u32) = dir::mkdir, Full;
    84 => rmdir(path: Path) = dir::rmdir, Full;
    85 => creat(path: Path, mode: u32) = file::creat, Full;
    86 => link(oldpath: Path, newpath: Path) = dir::link, Full;
    87 => unlink(path: Path) = dir::unlink, Full;
    88 => symlink(target: Path, linkpath: Path) = dir::symlink, Full;
    89 => readlink(path: Path, buf: UserPtr<u8>, bufsiz: i32) = stat::readlink, Full;
    90 => chmod(path: Path, mode: u32) = attr::chmod, Full;
    91 => fchmod(fd: Fd, mode: u32) = attr::fchmod, Full;
    92 => chown(path: Path, owner: u32, group: u32) = attr::chown, Full;
    93 => fchown(fd: Fd, owner: u32, group: u32) = attr::fchown, Full;
    94 => lchown(path: Path, owner: u32, group: u32) = attr::lchown, Full;
    95 => umask(mask: u32) = dir::umask, Full;
    96 => gettimeofday(tv: UserPtr<abi::Timeval>, tz: UserPtr<abi::Timezone>) = time::gettimeofday, Full;
    97 => getrlimit(resource: u32, rlim: UserPtr<abi::Rlimit64>) = limits::getrlimit, Full;
    98 => getrusage(who: i32, usage: UserPtr<abi::Rusage>) = limits::getrusage, Full;
    99 => sysinfo(info: UserPtr<abi::Sysinfo>) = identity::sysinfo, Partial("load averages");
    100 => times(buf: UserPtr<abi::Tms>) = limits::times, Full;
    102 => getuid() = identity::getuid, Full;
    104 => getgid() = identity::getgid, Full;
    105 => setuid(uid: u32) = identity::setuid, Full;
    106 => setgid(gid: u32) = identity::setgid, Full;
    107 => geteuid() = identity::geteuid, Full;
    108 => getegid() = identity::getegid, Full;
    109 => setpgid(pid: i32, pgid: i32) = process::setpgid, Full;
    110 => getppid() = identity::getppid, Full;
    111 => getpgrp() = process::getpgrp, Full;
    112 => setsid() = process::setsid, Full;
    113 => setreuid(ruid: u32, euid: u32) = identity::setreuid, Full;
    114 => setregid(rgid: u32, egid: u32) = identity::setregid, Full;
    115 => getgroups(size: i32, list: UserPtr<u32>) = identity::getgroups, Full;
    116 => setgroups(size: usize, list: UserPtr<u32>) = identity::setgroups, Full;
    117 => setresuid(ruid: u32, euid: u32, suid: u32) = identity::setresuid, Full;
    118 => getresuid(ruid: UserPtr<u32>, euid: UserPtr<u32>, suid: UserPtr<u32>) = identity::getresuid, Full;
    119 => setresgid(rgid: u32, egid: u32, sgid: u32) = identity::setresgid, Full;
    120 => getresgid(rgid: UserPtr<u32>, egid: UserPtr<u32>, sgid: UserPtr<u32>) = identity::getresgid, Full;
    121 => getpgid(pid: i32) = process::getpgid, Full;
    122 => setfsuid(uid: u32) = identity::setfsuid, Full;
    123 => setfsgid(gid: u32) = identity::setfsgid, Full;
    124 => getsid(pid: i32) = process::getsid, Full;
    125 => capget(header: UserPtr<u32>, data: UserPtr<u32>) = identity::capget, Full;
    126 => capset(header: UserPtr<u32>, data: UserPtr<u32>) = identity::capset, Full;
    127 => rt_sigpending(set: UserPtr<u8>, sigsetsize: usize) = signal::rt_sigpending, Full;
    128 => rt_sigtimedwait(set: UserPtr<abi::SigSet>, info: UserPtr<abi::SigInfo>, timeout: UserPtr<abi::Timespec>, sigsetsize: usize) = signal::rt_sigtimedwait, Full;
    129 => rt_sigqueueinfo(pid: i32, sig: i32, info: UserPtr<abi::SigInfo>) = signal::rt_sigqueueinfo, Full;
    130 => rt_sigsuspend(mask: UserPtr<abi::SigSet>, sigsetsize: usize) = signal::rt_sigsuspend, Full;
    131 => sigaltstack(ss: UserPtr<abi::StackT>, old_ss: UserPtr<abi::StackT>) = signal::sigaltstack, Full;
    132 => utime(path: Path, times: UserPtr<[i64; 2]>) = attr::utime, Full;
    133 => mknod(path: Path, mode: u32, dev: u32) = dir::mknod, Full;
    135 => personality(persona: u32) = identity::personality, Partial("the value is kept, not acted on");
    137 => statfs(path: Path, buf: UserPtr<abi::Statfs>) = stat::statfs, Full;
    138 => fstatfs(fd: Fd, buf: UserPtr<abi::Statfs>) = stat::fstatfs, Full;
    140 => getpriority(which: i32, who: i32) = sched::getpriority, Full;
    141 => setpriority(which: i32, who: i32, prio: i32) = sched::setpriority, Full;
    142 => sched_setparam(pid: i32, param: UserPtr<i32>) = sched::sched_setparam, Full;
    143 => sched_getparam(pid: i32, param: UserPtr<u32>) = sched::sched_getparam, Full;
    144 => sched_setscheduler(pid: i32, policy: i32, param: UserPtr<i32>) = sched::sched_setscheduler, Partial("no deadlines");
    145 => sched_getscheduler(pid: i32) = sched::sched_getscheduler, Full;
    146 => sched_get_priority_max(policy: i32) = sched::sched_get_priority_max, Full;
    147 => sched_get_priority_min(policy: i32) = sched::sched_get_priority_min, Full;
    148 => sched_rr_get_interval(pid: i32, interval: UserPtr<abi::Timespec>) = sched::sched_rr_get_interval, Full;
    149 => mlock(addr: usize, len: usize) = mlock::mlock, Full;
    150 => munlock(addr: usize, len: usize) = mlock::munlock, Full;
    151 => mlockall(flags: u32) = mlock::mlockall, Full;
    152 => munlockall() = mlock::munlockall, Full;
    155 => pivot_root(new_root: Path, put_old: Path) = mount::pivot_root, Partial("no mount namespaces");
    157 => prctl(option: i32, arg2: usize, arg3: usize, arg4: usize, arg5: usize) = identity::prctl, Partial("see identity.rs for the operations");
    158 => arch_prctl(code: i32, addr: usize) = identity::arch_prctl, Partial("FS and GS bases only");
    159 => adjtimex(buf: UserPtr<u8>) = time::adjtimex, Partial("reading only");
    160 => setrlimit(resource: u32, rlim: UserPtr<abi::Rlimit64>) = limits::setrlimit, Full;
    161 => chroot(path: Path) = dir::chroot, Full;
    162 => sync() = file::sync, Full;
    164 => settimeofday(tv: UserPtr<abi::Timeval>, tz: UserPtr<abi::Timezone>) = time::settimeofday, Partial("no time zone");
    165 => mount(source: Path, target: Path, fstype: Path, flags: u64, data: Path) = mount::mount, Partial("tmpfs, proc, devtmpfs, devpts, mqueue, bind, remount");
    166 => umount2(target: Path, flags: u32) = mount::umount2, Full;
    167 => swapon(path: Path, flags: u32) = mount::swapon, Full;
    168 => swapoff(path: Path) = mount::swapoff, Full;
    169 => reboot(magic1: u32, magic2: u32, cmd: u32) = power::reboot, Full;
    170 => sethostname(name: UserPtr<u8>, len: usize) = identity::sethostname, Full;
    171 => setdomainname(name: UserPtr<u8>, len: usize) = identity::setdomainname, Full;
    186 => gettid() = identity::gettid, Full;
    187 => readahead(fd: Fd, offset: i64, count: usize) = file::readahead, Full;
    188 => setxattr(path: Path, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) = xattr::setxattr, Partial("capabilities of files are stored, not acted on");
    189 => lsetxattr(path: Path, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) = xattr::lsetxattr, Partial("capabilities of files are stored, not acted on");
    190 => fsetxattr(fd: Fd, name: UserPtr<u8>, value: UserPtr<u8>, size: usize, flags: u32) = xattr::fsetxattr, Partial("capabilities of files are stored, not acted on");
    191 => getxattr(path: Path, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) = xattr::getxattr, Full;
    192 => lgetxattr(path: Path, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) = xattr::lgetxattr, Full;
    193 => fgetxattr(fd: Fd, name: UserPtr<u8>, value: UserPtr<u8>, size: usize) = xattr::fgetxattr, Full;
    194 => listxattr(path: Path, list: UserPtr<u8>, size: usize) = xattr::listxattr, Full;
    195 => llistxattr(path: Path, list: UserPtr<u8>, size: usize) = xattr::llistxattr, Full;
    196 => flistxattr(fd: Fd, list: UserPtr<u8>, size: usize) = xattr::flistxattr, Full;
    197 => removexattr(path: Path, name: UserPtr<u8>) = xattr::removexattr, Full;
    198 => lremovexattr(path: Path, name: UserPtr<u8>) = xattr::lremovexattr, Full;
    199 => fremovexattr(fd: Fd, name: UserPtr<u8>) = xattr::fremovexattr, Full;
    200 => tkill(tid: i32, sig: i32) = signal::tkill, Full;
    201 => time(tloc: UserPtr<i64>) = time::time, Full;
    202 => futex(uaddr: UserPtr<u32>, op: u32, val: u32, timeout: usize, uaddr2: UserPtr<u32>, val3: u32) = futex::futex, Full;
    203 => sched_setaffinity(pid: i32, len: usize, mask: UserPtr<u8>) = sched::sched_setaffinity, Full;
    204 => sched_getaffinity(pid: i32, len: usize, mask: UserPtr<u8>) = sched::sched_getaffinity, Full;
    213 => epoll_create(size: i32) = epoll::epoll_create, Full;
    217 => getdents64(fd: Fd, dirp: UserPtr<u8>, count: u32) = dir::getdents64, Full;
    218 => set_tid_address(tidptr: UserPtr<u32>) = process::set_tid_address, Full;
    219 => restart_syscall() = signal::restart_syscall, Full;
    220 => semtimedop(semid: i32, sops: UserPtr<abi::ipc::SemBuf>, nsops: u32, timeout: UserPtr<abi::Timespec>) = sysv::semtimedop, Full;
    221 => fadvise64(fd: Fd, offset: i64, len: i64, advice: u32) = file::fadvise64, Full;
    222 => timer_create(clockid: i32, sevp: UserPtr<u8>, timerid: UserPtr<i32>) = timers::timer_create, Partial("no alarm clocks");
    223 => timer_settime(timerid: i32, flags: i32, new: UserPtr<abi::Itimerspec>, old: UserPtr<abi::Itimerspec>) = timers::timer_settime, Full;
    224 => timer_gettime(timerid: i32, curr: UserPtr<abi::Itimerspec>) = timers::timer_gettime, Full;
    225 => timer_getoverrun(timerid: i32) = timers::timer_getoverrun, Full;
    226 => timer_delete(timerid: i32) = timers::timer_delete, Full;
    227 => clock_settime(clockid: i32, tp: UserPtr<abi::Timespec>) = time::clock_settime, Full;
    228 => clock_gettime(clockid: i32, tp: UserPtr<abi::Timespec>) = time::clock_gettime, Full;
    229 => clock_getres(clockid: i32, res: UserPtr<abi::Timespec>) = time::clock_getres, Full;
    230 => clock_nanosleep(clockid: i32, flags: i32, request: UserPtr<abi::Timespec>, remain: UserPtr<abi::Timespec>) = time::clock_nanosleep, Full;
    231 => exit_group(status: i32) = process::exit_group, Full;
    232 => epoll_wait(epfd: Fd, events: UserPtr<u8>, maxevents: i32, timeout_ms: i32) = epoll::epoll_wait, Full;
    233 => epoll_ctl(epfd: Fd, op: u32, fd: Fd, event: UserPtr<u8>) = epoll::epoll_ctl, Full;
    234 => tgkill(tgid: i32, tid: i32, sig: i32) = signal::tgkill, Full;
    235 => utimes(path: Path, times: UserPtr<[abi::Timeval; 2]>) = attr::utimes, Full;
    240 => mq_open(name: Path, oflag: OpenFlags, mode: u32, attr: UserPtr<abi::ipc::MqAttr>) = mqueue::mq_open, Full;
    241 => mq_unlink(name: Path) = mqueue::mq_unlink, Full;
    242 => mq_timedsend(mqdes: Fd, msg: UserPtr<u8>, msg_len: usize, msg_prio: u32, abs_timeout: UserPtr<abi::Timespec>) = mqueue::mq_timedsend, Full;
    243 => mq_timedreceive(mqdes: Fd, msg: UserPtr<u8>, msg_len: usize, msg_prio: UserPtr<u32>, abs_timeout: UserPtr<abi::Timespec>) = mqueue::mq_timedreceive, Full;
    244 => mq_notify(mqdes: Fd, sevp: UserPtr<[u64; 2]>) = mqueue::mq_notify, Partial("SIGEV_THREAD needs netlink sockets");
    245 => mq_getsetattr(mqdes: Fd, newattr: UserPtr<abi::ipc::MqAttr>, oldattr: UserPtr<abi::ipc::MqAttr>) = mqueue::mq_getsetattr, Full;
    247 => waitid(which: i32, id: i32, info: UserPtr<abi::SigInfo>, options: u32, rusage: UserPtr<abi::Rusage>) = process::waitid, Full;
    251 => ioprio_set(which: i32, who: i32, ioprio: i32) = sched::ioprio_set, Full;
    252 => ioprio_get(which: i32, who: i32) = sched::ioprio_get, Full;
    253 => inotify_init() = inotify::inotify_init, Full;
    254 => inotify_add_watch(fd: Fd, path: Path, mask: u32) = inotify::inotify_add_watch, Full;
    255 => inotify_rm_watch(fd: Fd, wd: i32) = inotify::inotify_rm_watch, Full;
    257 => openat(dirfd: Fd, path: Path, flags: OpenFlags, mode: u32) = file::openat, Full;
    258 => mkdirat(dirfd: Fd, path: Path, mode: u32) = dir::mkdirat, Full;
    259 => mknodat(dirfd: Fd, path: Path, mode: u32, dev: u32) = dir::mknodat, Full;
    260 => fchownat(dirfd: Fd, path: Path, owner: u32, group: u32, flags: u32) = attr::fchownat, Full;
    261 => futimesat(dirfd: Fd, path: Path, times: UserPtr<[abi::Timeval; 2]>) = attr::futimesat, Full;
    262 => newfstatat(dirfd: Fd, path: Path, statbuf: UserPtr<abi::Stat>, flags: u32) = stat::newfstatat, Full;
    263 => unlinkat(dirfd: Fd, path: Path, flags: u32) = dir::unlinkat, Full;
    264 => renameat(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path) = dir::renameat, Full;
    265 => linkat(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path, flags: u32) = dir::linkat, Full;
    266 => symlinkat(target: Path, newdirfd: Fd, linkpath: Path) = dir::symlinkat, Full;
    267 => readlinkat(dirfd: Fd, path: Path, buf: UserPtr<u8>, bufsiz: i32) = stat::readlinkat, Full;
    268 => fchmodat(dirfd: Fd, path: Path, mode: u32) = attr::fchmodat, Full;
    269 => faccessat(dirfd: Fd, path: Path, mode: u32) = stat::faccessat, Full;
    270 => pselect6(nfds: i32, readfds: UserPtr<u64>, writefds: UserPtr<u64>, exceptfds: UserPtr<u64>, timeout: UserPtr<abi::Timespec>, sigmask: UserPtr<[u64; 2]>) = poll::pselect6, Full;
    271 => ppoll(fds: UserPtr<abi::PollFd>, nfds: u32, timeout: UserPtr<abi::Timespec>, sigmask: UserPtr<abi::SigSet>, sigsetsize: usize) = poll::ppoll, Full;
    272 => unshare(flags: u64) = process_vm::unshare, Partial("no namespaces; threads cannot part");
    273 => set_robust_list(head: UserPtr<u8>, len: usize) = process::set_robust_list, Full;
    274 => get_robust_list(pid: i32, head: UserPtr<u64>, len: UserPtr<u64>) = futex::get_robust_list, Full;
    275 => splice(fd_in: Fd, off_in: UserPtr<i64>, fd_out: Fd, off_out: UserPtr<i64>, len: usize, flags: u32) = pipe::splice, Full;
    276 => tee(fd_in: Fd, fd_out: Fd, len: usize, flags: u32) = pipe::tee, Full;
    277 => sync_file_range(fd: Fd, offset: i64, nbytes: i64, flags: u32) = file::sync_file_range, Full;
    278 => vmsplice(fd: Fd, iov: UserPtr<abi::IoVec>, nr_segs: usize, flags: u32) = pipe::vmsplice, Partial("copies instead of lending pages");
    280 => utimensat(dirfd: Fd, path: Path, times: UserPtr<[abi::Timespec; 2]>, flags: u32) = attr::utimensat, Full;
    281 => epoll_pwait(epfd: Fd, events: UserPtr<u8>, maxevents: i32, timeout_ms: i32, sigmask: UserPtr<abi::SigSet>, sigsetsize: usize) = epoll::epoll_pwait, Full;
    282 => signalfd(fd: Fd, mask: UserPtr<abi::SigSet>, sizemask: usize) = signal::signalfd, Full;
    283 => timerfd_create(clockid: i32, flags: u32) = timers::timerfd_create, Full;
    284 => eventfd(initval: u32) = pipe::eventfd, Full;
    285 => fallocate(fd: Fd, mode: u32, offset: i64, len: i64) = attr::fallocate, Full;
    286 => timerfd_settime(fd: Fd, flags: i32, new: UserPtr<abi::Itimerspec>, old: UserPtr<abi::Itimerspec>) = timers::timerfd_settime, Full;
    287 => timerfd_gettime(fd: Fd, curr: UserPtr<abi::Itimerspec>) = timers::timerfd_gettime, Full;
    288 => accept4(sockfd: Fd, addr: UserPtr<u8>, addrlen: UserPtr<u32>, flags: u32) = socket::accept4, Full;
    289 => signalfd4(fd: Fd, mask: UserPtr<abi::SigSet>, sizemask: usize, flags: u32) = signal::signalfd4, Full;
    290 => eventfd2(initval: u32, flags: u32) = pipe::eventfd2, Full;
    291 => epoll_create1(flags: u32) = epoll::epoll_create1, Full;
    292 => dup3(oldfd: Fd, newfd: Fd, flags: u32) = fcntl::dup3, Full;
    293 => pipe2(pipefd: UserPtr<[i32; 2]>, flags: u32) = pipe::pipe2, Full;
    294 => inotify_init1(flags: u32) = inotify::inotify_init1, Full;
    295 => preadv(fd: Fd, iov: UserPtr<abi::IoVec>, iovcnt: usize, offset: i64) = file::preadv, Full;
    296 => pwritev(fd: Fd, iov: UserPtr<abi::IoVec>, iovcnt: usize, offset: i64) = file::pwritev, Full;
    297 => rt_tgsigqueueinfo(tgid: i32, tid: i32, sig: i32, info: UserPtr<abi::SigInfo>) = signal::rt_tgsigqueueinfo, Full;
    299 => recvmmsg(sockfd: Fd, msgvec: UserPtr<abi::Mmsghdr>, vlen: u32, flags: u32, timeout: UserPtr<abi::Timespec>) = message::recvmmsg, Partial("no MSG_OOB");
    302 => prlimit64(pid: i32, resource: u32, new: UserPtr<abi::Rlimit64>, old: UserPtr<abi::Rlimit64>) = limits::prlimit64, Full;
    305 => clock_adjtime(clk_id: i32, buf: UserPtr<u8>) = time::clock_adjtime, Partial("reading only");
    306 => syncfs(fd: Fd) = file::syncfs, Full;
    307 => sendmmsg(sockfd: Fd, msgvec: UserPtr<abi::Mmsghdr>, vlen: u32, flags: u32) = message::sendmmsg, Partial("no MSG_OOB");
    308 => setns(fd: Fd, nstype: i32) = process_vm::setns, Partial("there are no namespaces");
    309 => getcpu(cpu: UserPtr<u32>, node: UserPtr<u32>) = identity::getcpu, Full;
    310 => process_vm_readv(pid: i32, local: UserPtr<abi::IoVec>, liovcnt: usize, remote: UserPtr<abi::IoVec>, riovcnt: usize, flags: usize) = process_vm::process_vm_readv, Full;
    311 => process_vm_writev(pid: i32, local: UserPtr<abi::IoVec>, liovcnt: usize, remote: UserPtr<abi::IoVec>, riovcnt: usize, flags: usize) = process_vm::process_vm_writev, Full;
    312 => kcmp(pid1: i32, pid2: i32, kind: i32, idx1: usize, idx2: usize) = process_vm::kcmp, Partial("no KCMP_EPOLL_TFD");
    314 => sched_setattr(pid: i32, attr: UserPtr<u8>, flags: u32) = sched::sched_setattr, Partial("no deadlines, no utilisation clamps");
    315 => sched_getattr(pid: i32, attr: UserPtr<u8>, size: u32, flags: u32) = sched::sched_getattr, Full;
    316 => renameat2(olddirfd: Fd, oldpath: Path, newdirfd: Fd, newpath: Path, flags: u32) = dir::renameat2, Partial("no whiteouts");
    318 => getrandom(buf: UserPtr<u8>, len: usize, flags: u32) = random::getrandom, Full;
    319 => memfd_create(name: UserPtr<u8>, flags: u32) = file::memfd_create, Full;
    322 => execveat(dirfd: Fd, path: Path, argv: UserPtr<u64>, envp: UserPtr<u64>, flags: u32) = process::execveat, Full;
    324 => membarrier(cmd: u32, flags: u32, cpu_id: i32) = membarrier::membarrier, Full;
    325 => mlock2(addr: usize, len: usize, flags: u32) = mlock::mlock2, Full;
    326 => copy_file_range(fd_in: Fd, off_in: UserPtr<i64>, fd_out: Fd, off_out: UserPtr<i64>, len: usize, flags: u32) = pipe::copy_file_range, Full;
    327 => preadv2(fd: Fd, iov: UserPtr<abi::IoVec>, iovcnt: usize, offset: i64, offset_high: usize, flags: u32) = file::preadv2, Full;
    328 => pwritev2(fd: Fd, iov: UserPtr<abi::IoVec>, iovcnt: usize, offset: i64, offset_high: usize, flags: u32) = file::pwritev2, Full;
    332 => statx(dirfd: Fd, path: Path, flags: u32, mask: u32, statxbuf: UserPtr<abi::Statx>) = stat::statx, Full;
    334 => rseq(area: UserPtr<u8>, len: u32, flags: u32, sig: u32) = process::rseq, Full;
    424 => pidfd_send_signal(pidfd: Fd, sig: i32, info: UserPtr<abi::SigInfo>, flags: u32) = pidfd::pidfd_send_signal, Full;
    434 => pidfd_open(pid: i32, flags: u32) = pidfd::pidfd_open, Full;
    435 => clone3(args: UserPtr<u8>, size: usize) => stubs::clone3_entry, Partial("namespaces, cgroups");
    436 => close_range(first: u32, last: u32, flags: u32) = file::close_range, Full;
    437 => openat2(dirfd: Fd, path: Path, how: UserPtr<abi::OpenHow>, size: usize) = file::openat2, Full;
    438 => pidfd_getfd(pidfd: Fd, targetfd: Fd, flags: u32) = pidfd::pidfd_getfd, Full;
    439 => faccessat2(dirfd: Fd, path: Path, mode: u32, flags: u32) = stat::faccessat2, Full;
    441 => epoll_pwait2(epfd: Fd, events: UserPtr<u8>, maxevents: i32, timeout: UserPtr<abi::Timespec>, sigmask: UserPtr<abi::SigSet>, sigsetsize: usize) = epoll::epoll_pwait2, Full;
    449 => futex_waitv(waiters: UserPtr<futex::WaitVector>, count: u32, flags: u32, timeout: UserPtr<[i64; 2]>, clock: i32) = futex::futex_waitv, Full;
    452 => fchmodat2(dirfd: Fd, path: Path, mode: u32, flags: u32) = attr::fchmodat2, Full;
}
