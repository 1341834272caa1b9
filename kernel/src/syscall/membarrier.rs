//! membarrier(2): memory barriers on the CPUs that run threads of a process, so that those threads need none of their own.

use core::sync::atomic::{Ordering, fence};

use abi::Errno;

use super::SysResult;
use crate::arch::x86_64::cpu;
use crate::task::current;

/// Commands (linux/membarrier.h), which are bits as well.
mod command {
    pub(super) const QUERY: u32 = 0;
    pub(super) const GLOBAL: u32 = 1;
    pub(super) const GLOBAL_EXPEDITED: u32 = 1 << 1;
    pub(super) const REGISTER_GLOBAL_EXPEDITED: u32 = 1 << 2;
    pub(super) const PRIVATE_EXPEDITED: u32 = 1 << 3;
    pub(super) const REGISTER_PRIVATE_EXPEDITED: u32 = 1 << 4;
    pub(super) const PRIVATE_EXPEDITED_SYNC_CORE: u32 = 1 << 5;
    pub(super) const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 1 << 6;
    pub(super) const PRIVATE_EXPEDITED_RSEQ: u32 = 1 << 7;
    pub(super) const REGISTER_PRIVATE_EXPEDITED_RSEQ: u32 = 1 << 8;
    pub(super) const GET_REGISTRATIONS: u32 = 1 << 9;
    pub(super) const ALL: u32 = (1 << 10) - 1;
}

/// MEMBARRIER_CMD_FLAG_CPU: only that CPU.
const FLAG_CPU: u32 = 1;

/// Puts a barrier on each of these CPUs. A thread that doesn't run has passed one: whatever switches threads takes locks.
fn barrier_on(cpus: u64) {
    fence(Ordering::SeqCst);
    if !cpu::is_single() {
        crate::mm::shootdown::interrupt_and_wait(cpus);
    }
}

pub fn membarrier(cmd: u32, flags: u32, _cpu: i32) -> SysResult {
    use command::*;
    if flags != 0 && !(cmd == PRIVATE_EXPEDITED_RSEQ && flags == FLAG_CPU) {
        return Err(Errno::EINVAL.into());
    }
    let space = current().address_space().ok_or(Errno::EINVAL)?;
    let registered = &space.membarrier;
    match cmd {
        QUERY => return Ok(ALL as usize),
        GLOBAL | GLOBAL_EXPEDITED => barrier_on(u64::MAX),
        REGISTER_GLOBAL_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
        | REGISTER_PRIVATE_EXPEDITED_RSEQ => {
            registered.fetch_or(cmd, Ordering::AcqRel);
        }
        // The bit of a command is followed by that of its registration. On the way back to the program every CPU synchronises its
        // instruction stream, and a thread that lost its CPU aborts its critical section.
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_SYNC_CORE | PRIVATE_EXPEDITED_RSEQ => {
            if registered.load(Ordering::Acquire) & cmd << 1 == 0 {
                return Err(Errno::EPERM.into());
            }
            barrier_on(space.users().bits());
        }
        GET_REGISTRATIONS => {
            let mut bits = registered.load(Ordering::Acquire);
            if bits & (REGISTER_PRIVATE_EXPEDITED_SYNC_CORE | REGISTER_PRIVATE_EXPEDITED_RSEQ) != 0 {
                bits |= REGISTER_PRIVATE_EXPEDITED;
            }
            return Ok(bits as usize);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
