//! The ends of threads, of processes, and of the machine's work.

use alloc::format;
use core::sync::atomic::Ordering;

use super::process::Process;
use super::sched::{self, current};
use super::thread::work;
use crate::arch::per_cpu;
use crate::arch::x86_64::{cpu, paging};
use crate::console;
use crate::mm::frame;

/// How a process ended, as wait(2) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Exited(u8),
    Killed { signal: u8, core: bool },
}

impl Status {
    /// The raw wait status.
    pub fn raw(self) -> u32 {
        match self {
            Self::Exited(code) => u32::from(code) << 8,
            Self::Killed { signal, core } => u32::from(signal) | if core { 0x80 } else { 0 },
        }
    }
}

/// exit(2): ends the calling thread, and with the last one its process.
pub fn exit_thread(status: i32) -> ! {
    let thread = current();
    let process = &thread.process;
    let last = {
        let mut threads = process.threads.lock();
        threads.retain(|other| other.tid != thread.tid);
        threads.is_empty()
    };
    if !process.ending.load(Ordering::Acquire) {
        process.exit_status.store(Status::Exited(status as u8).raw().cast_signed(), Ordering::Release);
    }
    leave_thread();
    if last {
        end_process();
    }
    sched::die()
}

/// exit_group(2), or death by a signal: every thread of the process ends.
pub fn exit_process(status: Status) -> ! {
    let process = &current().process;
    if !process.ending.swap(true, Ordering::AcqRel) {
        process.exit_status.store(status.raw().cast_signed(), Ordering::Release);
    }
    let others = process.threads.lock().clone();
    for thread in &others {
        if thread.tid != current().tid {
            thread.add_work(work::SIGNAL);
            sched::wake(thread);
        }
    }
    drop(others);
    exit_thread(0)
}

/// Death by a signal that nobody handles.
pub fn terminate_by_signal(signal: u8, core: bool) -> ! {
    exit_process(Status::Killed { signal, core })
}

/// What a thread owes the others when it ends.
fn leave_thread() {
    let thread = current();
    let clear = thread.clear_child_tid.get();
    if clear != 0 && !thread.process.threads.lock().is_empty() {
        let word = crate::mm::UserPtr::<u32>::new(clear);
        // A bad address is the program's affair, as on Linux.
        let _ = word.write(&0);
    }
}

/// The last thread is gone: everything that the process held goes back.
fn end_process() {
    let process: &Process = &current().process;
    process.files.close_all();
    let old = process.set_space(None);
    let root = process.page_table_root();
    #[expect(unsafe_code, reason = "leaves the address space before it is dropped")]
    // SAFETY: the boot table maps the kernel and lives for ever.
    unsafe {
        paging::load_table(root);
    }
    per_cpu().page_table.set(root);
    current().forget_address_space();
    drop(old);
    let status = process.exit_status.load(Ordering::Acquire).cast_unsigned();
    super::exec::job_finished(process.job, status);
}

/// No frame for a page that the program touched: the largest process ends, and the user is told.
pub fn out_of_memory() {
    let process = &current().process;
    let usage = frame::usage();
    let resident = current().address_space().map_or(0, |space| space.resident().0);
    let name = *process.name.lock();
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    console::notice(&format!(
        "whelk: out of memory: killed process {} ({}), which had {} KiB resident; the machine has {} KiB (see --memory)",
        process.pid,
        alloc::string::String::from_utf8_lossy(name.get(..end).unwrap_or_default()),
        resident * 4,
        usage.total * 4,
    ));
    const SIGKILL: u8 = 9;
    terminate_by_signal(SIGKILL, false)
}

/// Says what is left, and powers off.
pub fn shut_down() -> ! {
    let unknown = per_cpu().unknown_syscalls.load(Ordering::Relaxed);
    if unknown > 0 {
        log::warn!(
            "{unknown} system calls with unknown numbers, the last one {}",
            per_cpu().last_unknown_syscall.load(Ordering::Relaxed)
        );
    }
    console::all_done();
    let _ = cpu::MAX_CPUS;
    crate::arch::x86_64::power::off(crate::arch::x86_64::power::End::Normal)
}
