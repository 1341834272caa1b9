//! Restartable sequences (rseq(2), `kernel/rseq.c` of Linux): a critical section that was preempted, moved to another CPU or interrupted by a
//! signal's handler goes on at its abort address.

use abi::{Errno, Rseq, RseqCs};

use super::sched::current;
use super::thread::{Thread, work};
use crate::arch::TrapFrame;
use crate::mm::{USER_TOP, UserPtr};

/// What a thread registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The program's `struct rseq`; 0 for none.
    pub area: usize,
    pub len: u32,
    /// Stands in the four bytes before each abort handler.
    pub signature: u32,
}

/// Offsets in `struct rseq`.
const CPU_ID_START: usize = core::mem::offset_of!(Rseq, cpu_id_start);
const RSEQ_CS: usize = core::mem::offset_of!(Rseq, rseq_cs);
const FLAGS: usize = core::mem::offset_of!(Rseq, flags);
const NODE_ID: usize = core::mem::offset_of!(Rseq, node_id);

/// `cpu_id_start` and `cpu_id`, then `node_id` and `mm_cid`: each pair is one aligned word.
fn write_ids(area: usize, start: u32, id: u32) -> Result<(), Errno> {
    let area = UserPtr::<u8>::new(area);
    area.field::<u64>(CPU_ID_START).write(&(u64::from(id) << 32 | u64::from(start)))?;
    // A CPU's number is a concurrency number as good as any: no two threads that run have the same.
    area.field::<u64>(NODE_ID).write(&(u64::from(start) << 32))
}

/// rseq(2) without RSEQ_FLAG_UNREGISTER. EINVAL, EPERM, EBUSY, EFAULT.
pub fn register(new: Registration) -> Result<(), Errno> {
    let thread = current();
    let old = thread.rseq.get();
    if old.area != 0 {
        if old.area != new.area || old.len != new.len {
            return Err(Errno::EINVAL);
        }
        return Err(if old.signature == new.signature { Errno::EBUSY } else { Errno::EPERM });
    }
    if (new.len as usize) < size_of::<Rseq>() || !new.area.is_multiple_of(align_of::<Rseq>()) {
        return Err(Errno::EINVAL);
    }
    if new.area.checked_add(new.len as usize).is_none_or(|end| end > USER_TOP) {
        return Err(Errno::EFAULT);
    }
    // What was left there would be taken for a critical section.
    UserPtr::<u8>::new(new.area).field::<u64>(RSEQ_CS).write(&0)?;
    let cpu = crate::arch::per_cpu().id.get();
    write_ids(new.area, cpu, cpu)?;
    thread.rseq.set(new);
    Ok(())
}

/// rseq(2) with RSEQ_FLAG_UNREGISTER. EINVAL, EPERM, EFAULT.
pub fn unregister(named: Registration) -> Result<(), Errno> {
    let thread = current();
    let old = thread.rseq.get();
    if old.area == 0 || old.area != named.area || old.len != named.len {
        return Err(Errno::EINVAL);
    }
    if old.signature != named.signature {
        return Err(Errno::EPERM);
    }
    write_ids(old.area, 0, Rseq::CPU_ID_UNINITIALIZED)?;
    thread.rseq.set(Registration::default());
    Ok(())
}

impl Thread {
    /// The thread lost its CPU, or comes to another one: what it registered is looked at before it goes on in the program.
    #[inline(always)]
    pub fn note_preemption(&self) {
        if self.rseq.get().area != 0 {
            self.add_work(work::RSEQ);
        }
    }
}

/// Before the running thread goes on in the program, at `frame`: aborts the critical section that it is in, and tells the program its CPU.
/// An error is a bad address or a descriptor that makes no sense, for which the program gets SIGSEGV.
#[cold]
pub fn resume(thread: &Thread, frame: &mut TrapFrame) -> Result<(), Errno> {
    let registered = thread.rseq.get();
    if registered.area == 0 {
        return Ok(());
    }
    abort(registered, frame)?;
    let cpu = crate::arch::per_cpu().id.get();
    write_ids(registered.area, cpu, cpu)
}

fn abort(registered: Registration, frame: &mut TrapFrame) -> Result<(), Errno> {
    let area = UserPtr::<u8>::new(registered.area);
    let at = area.field::<u64>(RSEQ_CS).load()?;
    if at == 0 {
        return Ok(());
    }
    let section = UserPtr::<RseqCs>::new(at as usize).read()?;
    let end = section.start_ip.checked_add(section.post_commit_offset).ok_or(Errno::EINVAL)?;
    let limit = USER_TOP as u64;
    let inside = |ip: u64| ip.wrapping_sub(section.start_ip) < section.post_commit_offset;
    if section.start_ip >= limit || end >= limit || section.abort_ip >= limit || section.version > 0 {
        return Err(Errno::EINVAL);
    }
    if inside(section.abort_ip) {
        return Err(Errno::EINVAL);
    }
    let signature = UserPtr::<u32>::new((section.abort_ip as usize).wrapping_sub(size_of::<u32>())).load()?;
    if signature != registered.signature {
        return Err(Errno::EINVAL);
    }
    if inside(frame.rip) {
        // No flag says any more that a section isn't to be aborted.
        let flags = area.field::<u32>(FLAGS).load()?;
        if section.flags != 0 || flags != 0 {
            return Err(Errno::EINVAL);
        }
        frame.rip = section.abort_ip;
    }
    area.field::<u64>(RSEQ_CS).write(&0)
}
