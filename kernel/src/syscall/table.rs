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
    39 => getpid() = identity::getpid, Full;
}
