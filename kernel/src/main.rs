//! The Whelk kernel: one program's operating system, in the program's own virtual machine.
//!
//! `kernel_main` reads as the table of contents of the boot. What can wait for its first use waits.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod arch;
mod boot;
mod config;
mod console;
mod debug;
mod drivers;
mod entropy;
mod fs;
mod ipc;
mod list;
mod mm;
mod net;
mod sort;
mod sorted;
mod sync;
mod syscall;
mod task;
mod time;

use core::sync::atomic::{AtomicU8, Ordering};

use arch::x86_64::{cpu, entry, fpu, gdt, idt};

/// The privilege in which programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ring 0, beside the kernel.
    Flat,
    /// Ring 3, behind the kernel.
    Guarded,
}

impl Mode {
    /// CS and SS of a running program.
    pub fn selectors(self) -> (u16, u16) {
        match self {
            Self::Flat => (gdt::KERNEL_CS, gdt::KERNEL_SS),
            Self::Guarded => (gdt::USER_CS, gdt::USER_SS),
        }
    }
}

static MODE: AtomicU8 = AtomicU8::new(0);

/// The mode that the command line chose.
#[inline]
pub fn mode() -> Mode {
    if MODE.load(Ordering::Relaxed) == 0 { Mode::Flat } else { Mode::Guarded }
}

/// Entered from `boot/entry.rs` on the boot stack, interrupts off.
#[expect(unsafe_code, reason = "the boot assembly calls this by name")]
#[unsafe(no_mangle)]
extern "C" fn kernel_main(protocol: u32, info: u64) -> ! {
    cpu::init_boot_cpu();
    gdt::init_boot_cpu();
    idt::init();
    arch::x86_64::apic::silence_legacy();
    let boot = boot::read_boot_info(protocol, info);
    debug::init(&boot);
    let is_emulated = boot.option("ring0") == Some("emulated");
    cpu::detect_features(if is_emulated { cpu::SELDOM_EMULATED } else { cpu::Features::empty() });
    fpu::init();
    arch::x86_64::vdso::init(task::clock::COARSE_NS);
    mm::frame::init(boot.usable(), boot::BootInfo::kernel_end(), core::slice::from_ref(&boot.initrd));
    for range in boot.usable() {
        mm::page_table::map_direct_ram(range.clone());
    }
    if boot.option("mode") == Some("guarded") {
        MODE.store(1, Ordering::Relaxed);
        if cpu::features().contains(cpu::Features::SMAP) {
            arch::x86_64::usercopy::enable_smap_windows();
        }
        cpu::protect_kernel();
    }
    fpu::use_xsaveopt();
    mm::page_table::protect_image();
    let is_traced = boot.has_flag("strace");
    let tracing = if is_traced || is_emulated { entry::Tracing::On } else { entry::Tracing::Off };
    entry::init_syscall(mode(), tracing);
    if is_emulated {
        entry::expect_late_syscalls();
        syscall::trace::LATE_CALLS.set(is_traced);
    }
    let config = config::Config::read(&boot);
    time::init(boot.option("tsc_khz").and_then(|v| v.parse().ok()), config.wall_ns());
    entropy::init(boot.option("seed"));
    drivers::init(boot.command_line());
    fs::init(config.archive());
    task::process::init();
    if !cpu::is_single() {
        fs::complete_mounts();
    }
    task::exec::start_next_job();
    task::sched::idle_loop()
}
