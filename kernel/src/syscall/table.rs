//! The one table of system calls. Each row is a number, the ABI signature, its handler, and how much of it is there.

use super::args::{Arg, Fd, Path};
use super::{Call, Support, encode};
use super::{identity, memory, process, signal, time};
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

macro_rules! syscalls {
    ($($number:literal => $name:ident($($arg:ident: $type:ty),*) = $handler:path, $support:expr;)*) => {
        mod wrappers {
            use super::*;
            $(
                pub(super) extern "C" fn $name($($arg: u64),*) -> isize {
                    encode($handler($(<$type as Arg>::from_arg($arg)),*))
                }
            )*
        }

        #[expect(unsafe_code, reason = "the entry assembly calls through this table by name")]
        #[unsafe(export_name = "syscall_table")]
        static TABLE: [Slot; TABLE_LEN] = {
            let mut table = [const { Slot(super::unknown as *const ()) }; TABLE_LEN];
            $( table[$number] = Slot(wrappers::$name as *const ()); )*
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

syscalls! {
    1 => write(fd: Fd, buf: UserPtr<u8>, len: usize) = crate::syscall::stub::write, Full;
    9 => mmap(addr: usize, len: usize, prot: u32, flags: u32, fd: Fd, offset: u64) = memory::mmap, Full;
    10 => mprotect(addr: usize, len: usize, prot: u32) = memory::mprotect, Full;
    11 => munmap(addr: usize, len: usize) = memory::munmap, Full;
    12 => brk(addr: usize) = memory::brk, Full;
    16 => ioctl() = crate::syscall::stub::enotty, Full;
    20 => writev(fd: Fd, vec: UserPtr<abi::IoVec>, n: usize) = crate::syscall::stub::writev, Full;
    25 => mremap(old: usize, old_len: usize, new_len: usize, flags: u32, new: usize) = memory::mremap, Full;
    28 => madvise(addr: usize, len: usize, advice: i32) = memory::madvise, Full;
    39 => getpid() = identity::getpid, Full;
    60 => exit(status: i32) = process::exit, Full;
    110 => getppid() = identity::getppid, Full;
    158 => arch_prctl(code: i32, addr: usize) = identity::arch_prctl, Full;
    218 => set_tid_address(addr: UserPtr<u32>) = process::set_tid_address, Full;
    231 => exit_group(status: i32) = process::exit_group, Full;
    334 => rseq(area: UserPtr<u8>, len: u32, flags: u32, sig: u32) = process::rseq, Full;
}
