//! The ends of threads, of processes, and of the machine's work.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use super::futex::{self, Key, Scope};
use super::process::Process;
use super::sched::{self, current};
use super::thread::{Thread, work};
use super::wait::WaitQueue;
use crate::arch::x86_64::cpu;
use crate::console;
use crate::mm::{AddressSpace, UserPtr};

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
    if !process.ending.load(Ordering::Acquire) {
        process.exit_status.store(Status::Exited(status as u8).raw().cast_signed(), Ordering::Release);
    }
    leave_thread();
    super::signal::thread_exit();
    process.usage.lock().counts.add(&super::usage::counts_of(thread));
    leave_early();
    let left = super::process::unregister_thread(thread);
    if process.holds_parent.load(Ordering::Acquire) {
        process.parent_release.wake_all();
    }
    // Whoever execs has said so before it looks which others there are.
    if process.exec_thread.load(Ordering::Acquire) != 0 {
        process.thread_ended.wake_all();
    }
    if left == 0 {
        process.ending.store(true, Ordering::Release);
        end_process();
    }
    sched::die()
}

/// exit_group(2), or death by a signal: every thread of the process ends.
pub fn exit_process(status: Status) -> ! {
    end_on_return(status);
    exit_thread(0)
}

/// The same in the middle of a system call: the caller's thread ends instead of returning to the program.
pub fn end_on_return(status: Status) {
    let process = &current().process;
    if !process.ending.swap(true, Ordering::AcqRel) {
        process.exit_status.store(status.raw().cast_signed(), Ordering::Release);
        end_other_threads();
    }
    current().add_work(work::SIGNAL);
}

/// Tells the process's other threads to end; each does so on its way back to the program.
pub fn end_other_threads() {
    each_other_thread(&mut |thread| {
        thread.add_work(work::SIGNAL);
        sched::nudge(thread);
    });
}

/// Does something with the process's other threads, without memory for a list. From the last to the first: one that ends meanwhile has its place
/// taken by one from behind, so that none is passed over. New ones look at the process's flags themselves.
#[inline(never)]
fn each_other_thread(with: &mut dyn FnMut(&Arc<Thread>)) {
    let me = current();
    let mut at = me.process.threads.lock().len();
    while at > 0 {
        at -= 1;
        let thread = me.process.threads.lock().get(at).cloned();
        if let Some(thread) = thread
            && thread.tid != me.tid
        {
            with(&thread);
        }
    }
}

/// exec in a process with several threads: the others end first. Whether the caller is alone now; it isn't, and has
/// to end, if another thread execs too or the process is ending.
#[must_use]
pub fn become_single_threaded() -> bool {
    let me = current();
    let process = &me.process;
    if process.exec_thread.compare_exchange(0, me.tid, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return false;
    }
    super::wait::wait_quietly(&process.thread_ended, || {
        if process.ending.load(Ordering::SeqCst) {
            return Some(());
        }
        let mut others = 0;
        each_other_thread(&mut |thread| {
            others += 1;
            thread.ending.store(true, Ordering::SeqCst);
            thread.add_work(work::SIGNAL);
            sched::nudge(thread);
        });
        (others == 0).then_some(())
    });
    process.exec_thread.store(0, Ordering::Release);
    !process.ending.load(Ordering::Acquire)
}

/// Death by a signal that nobody handles.
pub fn terminate_by_signal(signal: u8, core: bool) -> ! {
    exit_process(Status::Killed { signal, core })
}

/// Gives up the locks that the running thread has: its memory, or the thread itself, goes away.
pub fn leave_futexes() {
    crate::syscall::futex::release_robust_list();
    super::futex_pi::release_all();
}

/// What a thread owes the others when it ends: its robust locks, and its word cleared before the wake.
fn leave_thread() {
    leave_futexes();
    let clear = current().clear_child_tid.replace(0);
    if clear != 0 {
        let word = UserPtr::<u32>::new(clear);
        // A bad address is the program's affair, as on Linux.
        if word.write(&0).is_ok()
            && let Ok(key) = Key::of(word, Scope::Shared)
        {
            futex::wake(key, 1, futex::ANY);
            // glibc waits on this word with a private futex in some versions, with a shared one in others.
            if let Ok(private) = Key::of(word, Scope::Private)
                && private != key
            {
                futex::wake(private, 1, futex::ANY);
            }
        }
    }
}

/// A vfork parent may go on.
pub fn release_parent(process: &Process) {
    if process.holds_parent.swap(false, Ordering::AcqRel) {
        process.parent_release.wake_all();
    }
}

/// A thread that ends has no need of its program's memory any more. Where there are several CPUs it says so before the process's last
/// thread, on another one, may give that memory up.
#[inline(never)]
pub fn leave_early() {
    if !cpu::is_single() {
        current().forget_address_space();
        sched::change_address_space(core::ptr::null());
    }
}

/// Leaves the address space, on the way to another or to none.
pub fn leave_address_space(space: Option<Arc<AddressSpace>>) {
    let process = &current().process;
    current().forget_address_space();
    let old = process.set_space(space);
    if let Some(old) = &old {
        let mut usage = process.usage.lock();
        usage.counts.max_resident = usage.counts.max_resident.max(old.resident().1);
    }
    current().adopt_address_space();
    sched::change_address_space(current().space_pointer());
    drop(old);
}

/// The last thread is gone: everything that the process held goes back, and its parent learns of it.
fn end_process() {
    let process = &current().process;
    // A table that a vfork child or a clone shares stays open for the others.
    drop(process.take_files());
    leave_address_space(None);
    release_parent(process);
    crate::ipc::process_exit(process);
    super::signal::process_exit(process);
    if process.pid == super::exec::FIRST_PID {
        end_everybody_else(process);
        // Its number is free before the next job's first process takes it.
        super::process::unregister(process.pid);
        super::exec::job_finished(process.job, process.exit_status.load(Ordering::Acquire).cast_unsigned());
    } else {
        if process.session.load(Ordering::Relaxed) == process.pid {
            crate::fs::leave_controlling_terminal(process);
        }
        super::children::announce_death(process);
    }
}

/// Where the end of a first process waits for the others', and whether one does.
static DEATHS: WaitQueue = WaitQueue::new();
static CLEARING: AtomicBool = AtomicBool::new(false);

/// A process has become a zombie, or is gone.
pub fn note_death() {
    super::oom::note_ended();
    if CLEARING.load(Ordering::SeqCst) {
        DEATHS.wake_all();
    }
}

/// The first process has ended: the others are killed, and waited for.
fn end_everybody_else(first: &Process) {
    const SIGKILL: u32 = 9;
    CLEARING.store(true, Ordering::SeqCst);
    super::wait::wait_quietly(&DEATHS, || {
        let mut left = 0;
        for process in super::process::all() {
            if process.pid == first.pid {
                continue;
            }
            if process.zombie.load(Ordering::Acquire) {
                super::process::unregister(process.pid);
                continue;
            }
            left += 1;
            super::signal::send_kernel(&process, SIGKILL);
        }
        (left == 0).then_some(())
    });
    CLEARING.store(false, Ordering::SeqCst);
}

/// Says what is left, and powers off.
pub fn shut_down() -> ! {
    for cpu in (0..cpu::online_count()).filter_map(cpu::by_index) {
        let unknown = cpu.unknown_syscalls.load(Ordering::Relaxed);
        if unknown > 0 {
            let last = cpu.last_unknown_syscall.load(Ordering::Relaxed);
            log::warn!("{unknown} unknown system calls, the last {last}");
        }
    }
    console::all_done();
    crate::arch::x86_64::power::off(crate::arch::x86_64::power::End::Normal)
}
