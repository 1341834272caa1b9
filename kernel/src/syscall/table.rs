//! The one table of system calls. Each row is a number, the ABI signature, its handler, and how much of it is there.

use super::args::{Arg, Fd, Path};
use super::{Call, Support, encode};
use super::{futex, identity, memory, process, random, signal, time};
use crate::mm::UserPtr;

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
            encode($handler($(<$type as Arg>::from_arg($arg)),*))
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

        /// The row of a number.
        pub fn call(number: u32) -> Option<&'static Call> {
            match number {
                $( $number => {
                    const CALL: Call = Call {
                        name: stringify!($name),
                        support: { #[allow(unused_imports, reason = "rows without Partial")] use Support::*; $support },
                        args: &[$((stringify!($arg), <$type as Arg>::show)),*],
                    };
                    Some(&CALL)
                } )*
                _ => None,
            }
        }
    };
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
    0 => read(fd: Fd, buf: UserPtr<u8>, len: usize) = crate::syscall::stub::read, Full;
    1 => write(fd: Fd, buf: UserPtr<u8>, len: usize) = crate::syscall::stub::write, Full;
    9 => mmap(addr: usize, len: usize, prot: u32, flags: u32, fd: Fd, offset: u64) = memory::mmap, Full;
    10 => mprotect(addr: usize, len: usize, prot: u32) = memory::mprotect, Full;
    11 => munmap(addr: usize, len: usize) = memory::munmap, Full;
    12 => brk(addr: usize) = memory::brk, Full;
    16 => ioctl() = crate::syscall::stub::enotty, Full;
    20 => writev(fd: Fd, vec: UserPtr<abi::IoVec>, n: usize) = crate::syscall::stub::writev, Full;
    24 => sched_yield() = identity::sched_yield, Full;
    25 => mremap(old_addr: usize, old_len: usize, new_len: usize, flags: u32, new_addr: usize) = memory::mremap, Full;
    26 => msync(addr: usize, len: usize, flags: u32) = memory::msync, Full;
    27 => mincore(addr: usize, len: usize, vec: UserPtr<u8>) = memory::mincore, Full;
    28 => madvise(addr: usize, len: usize, advice: i32) = memory::madvise, Full;
    39 => getpid() = identity::getpid, Full;
    56 => clone(flags: u64, stack: usize, parent_tid: UserPtr<u32>, child_tid: UserPtr<u32>, tls: usize) => stubs::clone_entry, Partial("namespaces and CLONE_PTRACE");
    57 => fork() => stubs::fork_entry, Full;
    58 => vfork() => stubs::vfork_entry, Full;
    60 => exit(status: i32) = process::exit, Full;
    61 => wait4(pid: i32, status: UserPtr<u32>, options: u32, rusage: UserPtr<abi::Rusage>) = process::wait4, Full;
    63 => uname(buf: UserPtr<abi::Utsname>) = identity::uname, Full;
    97 => getrlimit(resource: u32, rlim: UserPtr<abi::Rlimit64>) = identity::getrlimit, Full;
    98 => getrusage(who: i32, usage: UserPtr<abi::Rusage>) = identity::getrusage, Partial("system time, context switches, block counts");
    99 => sysinfo(info: UserPtr<abi::Sysinfo>) = identity::sysinfo, Partial("load averages");
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
    125 => capget(header: UserPtr<u32>, data: UserPtr<u32>) = identity::capget, Partial("root has every capability, others none");
    135 => personality(persona: u32) = identity::personality, Partial("the value is kept, not acted on");
    140 => getpriority(which: i32, who: i32) = identity::getpriority, Partial("this process only");
    141 => setpriority(which: i32, who: i32, prio: i32) = identity::setpriority, Partial("this process only; the scheduler does not weigh it");
    149 => mlock(addr: usize, len: usize) = memory::mlock, Full;
    150 => munlock(addr: usize, len: usize) = memory::munlock, Full;
    151 => mlockall(flags: u32) = memory::mlockall, Partial("pages are not brought in ahead");
    152 => munlockall() = memory::munlockall, Full;
    157 => prctl(option: i32, arg2: usize, arg3: usize, arg4: usize, arg5: usize) = identity::prctl, Partial("see identity.rs for the operations");
    158 => arch_prctl(code: i32, addr: usize) = identity::arch_prctl, Partial("FS and GS bases only");
    160 => setrlimit(resource: u32, rlim: UserPtr<abi::Rlimit64>) = identity::setrlimit, Full;
    170 => sethostname(name: UserPtr<u8>, len: usize) = identity::sethostname, Full;
    171 => setdomainname(name: UserPtr<u8>, len: usize) = identity::setdomainname, Full;
    186 => gettid() = identity::gettid, Full;
    202 => futex(uaddr: UserPtr<u32>, op: u32, val: u32, timeout: usize, uaddr2: UserPtr<u32>, val3: u32) = futex::futex, Partial("priority inheritance");
    203 => sched_setaffinity(pid: i32, len: usize, mask: UserPtr<u8>) = identity::sched_setaffinity, Partial("one CPU");
    204 => sched_getaffinity(pid: i32, len: usize, mask: UserPtr<u8>) = identity::sched_getaffinity, Full;
    218 => set_tid_address(tidptr: UserPtr<u32>) = process::set_tid_address, Full;
    231 => exit_group(status: i32) = process::exit_group, Full;
    247 => waitid(which: i32, id: i32, info: UserPtr<abi::SigInfo>, options: u32, rusage: UserPtr<abi::Rusage>) = process::waitid, Full;
    273 => set_robust_list(head: UserPtr<u8>, len: usize) = process::set_robust_list, Full;
    274 => get_robust_list(pid: i32, head: UserPtr<u64>, len: UserPtr<u64>) = futex::get_robust_list, Partial("the calling thread only");
    302 => prlimit64(pid: i32, resource: u32, new: UserPtr<abi::Rlimit64>, old: UserPtr<abi::Rlimit64>) = identity::prlimit64, Partial("this process only");
    309 => getcpu(cpu: UserPtr<u32>, node: UserPtr<u32>) = identity::getcpu, Full;
    318 => getrandom(buf: UserPtr<u8>, len: usize, flags: u32) = random::getrandom, Full;
    325 => mlock2(addr: usize, len: usize, flags: u32) = memory::mlock2, Full;
    334 => rseq(area: UserPtr<u8>, len: u32, flags: u32, sig: u32) = process::rseq, Partial("critical sections are not aborted");
    435 => clone3(args: UserPtr<u8>, size: usize) => stubs::clone3_entry, Partial("namespaces, cgroups, set_tid");
    449 => futex_waitv(waiters: UserPtr<futex::WaitVector>, count: u32, flags: u32, timeout: UserPtr<[i64; 2]>, clock: i32) = futex::futex_waitv, Full;
}
