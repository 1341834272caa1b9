//! Launching a virtual machine: what `cargo xtask run`, the test harness, and any other front end share.
//!
//! * [`Root`] collects the files that the guest will see and makes the initrd.
//! * [`Machine`] describes the virtual machine and knows QEMU's command line for it.
//! * [`run`] starts it, moves the program's streams, and says how it ended.

mod accel;
mod channel;
mod machine;
mod program;
mod pump;
mod qemu;
mod root;
mod temp;
mod tsc;

pub use accel::{Acceleration, KvmVerdict, floor_kernel, probe_kvm};
pub use channel::{End, Host, Input, Limits, Sender};
pub use machine::{Board, LogLevel, Machine, Mode};
pub use program::{ProgramError, check_program};
pub use pump::{run, run_other};
pub use qemu::Usage;
pub use root::{Initrd, Root, libraries_of, normalise};
pub use temp::TempDir;
pub use tsc::khz as tsc_khz;
pub use wire::{Config, Job, Stdin, StreamKind};
