//! Beginning and end of threads and processes.

use abi::Errno;

use super::SysResult;
use crate::mm::{USER_TOP, UserPtr};
use crate::task::{current, exit};

pub fn exit(status: i32) -> SysResult {
    exit::exit_thread(status)
}

pub fn exit_group(status: i32) -> SysResult {
    exit::exit_process(exit::Status::Exited(status as u8))
}

pub fn set_tid_address(address: UserPtr<u32>) -> SysResult {
    current().clear_child_tid.set(address.addr());
    Ok(current().tid as usize)
}

/// Size of `struct robust_list_head`.
const ROBUST_LIST_SIZE: usize = 24;

pub fn set_robust_list(head: UserPtr<u8>, len: usize) -> SysResult {
    if len != ROBUST_LIST_SIZE {
        return Err(Errno::EINVAL.into());
    }
    current().robust_list.set(head.addr());
    Ok(0)
}

const RSEQ_FLAG_UNREGISTER: u32 = 1;
/// Size of the original `struct rseq`, which is also its alignment; later sizes are larger (linux/rseq.h).
const RSEQ_ORIGINAL_SIZE: u32 = 32;
const RSEQ_CPU_ID_START: usize = 0;
const RSEQ_CPU_ID: usize = 4;
const RSEQ_NODE_ID: usize = 20;
const RSEQ_MM_CID: usize = 24;
const RSEQ_CPU_ID_UNINITIALIZED: u32 = u32::MAX;

/// rseq(2). Threads of one CPU never migrate; preemption inside a critical section aborts it (`task::rseq`).
pub fn rseq(area: UserPtr<u8>, len: u32, flags: u32, signature: u32) -> SysResult {
    let thread = current();
    let (old, old_len, old_signature) = thread.rseq.get();
    if flags & RSEQ_FLAG_UNREGISTER != 0 {
        if flags != RSEQ_FLAG_UNREGISTER || old == 0 || old != area.addr() || old_len != len {
            return Err(Errno::EINVAL.into());
        }
        if old_signature != signature {
            return Err(Errno::EPERM.into());
        }
        area.field::<u32>(RSEQ_CPU_ID_START).write(&0)?;
        area.field::<u32>(RSEQ_CPU_ID).write(&RSEQ_CPU_ID_UNINITIALIZED)?;
        thread.rseq.set((0, 0, 0));
        return Ok(0);
    }
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if old != 0 {
        if old != area.addr() || old_len != len {
            return Err(Errno::EINVAL.into());
        }
        return Err(if old_signature == signature { Errno::EBUSY } else { Errno::EPERM }.into());
    }
    let aligned = area.addr().is_multiple_of(RSEQ_ORIGINAL_SIZE as usize);
    if len < RSEQ_ORIGINAL_SIZE || !aligned {
        return Err(Errno::EINVAL.into());
    }
    if area.addr() >= USER_TOP {
        return Err(Errno::EFAULT.into());
    }
    let cpu = crate::arch::per_cpu().id.get();
    area.field::<u32>(RSEQ_CPU_ID_START).write(&cpu)?;
    area.field::<u32>(RSEQ_CPU_ID).write(&cpu)?;
    area.field::<u32>(RSEQ_NODE_ID).write(&0)?;
    area.field::<u32>(RSEQ_MM_CID).write(&0)?;
    thread.rseq.set((area.addr(), len, signature));
    Ok(0)
}
