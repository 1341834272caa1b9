//! Everything that only this processor knows: assembly, descriptor tables, traps, FPU state, timers, user copies.
//!
//! Nothing here knows what a file or a process is; `entry` calls the two functions that `task` registers by name.
#![expect(unsafe_code, reason = "hardware access is confined to this layer")]

pub mod apic;
pub mod cpu;
pub mod entry;
pub mod fpu;
pub mod gdt;
pub mod idt;
pub mod memops;
pub mod mmio;
pub mod paging;
pub mod port;
pub mod power;
pub mod serial;
pub mod sigframe;
pub mod smp;
pub mod switch;
pub mod tsc;
pub mod usercopy;
pub mod vdso;

pub use cpu::per_cpu;
pub use entry::TrapFrame;
