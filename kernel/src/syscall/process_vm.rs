//! Looking into other processes: process_vm_readv(2), process_vm_writev(2), kcmp(2).

use alloc::sync::Arc;

use abi::{Errno, IoVec};

use super::file::IoVecs;
use super::{Fd, SysResult};
use crate::mm::user::read_array;
use crate::mm::{AddressSpace, Sink, Source, UserPtr};
use crate::task::access::check_access;
use crate::task::{Process, current, process};

const IOV_MAX: usize = 1024;
/// Bytes in hand between the two address spaces.
const PIECE: usize = 2048;

/// The process of a process's or thread's number. ESRCH.
fn find(pid: i32) -> Result<Arc<Process>, Errno> {
    process::of_number(u32::try_from(pid).map_err(|_| Errno::ESRCH)?)
}

/// The other side of a transfer.
struct Remote {
    space: Arc<AddressSpace>,
    vectors: alloc::vec::Vec<IoVec>,
}

/// `None` when there is nothing to do. EINVAL, EFAULT, ESRCH, EPERM, as the two calls check them.
fn remote(pid: i32, vectors: UserPtr<IoVec>, count: usize) -> Result<Option<Remote>, Errno> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let vectors = read_array(vectors, count)?;
    if vectors.iter().any(|vector| i64::try_from(vector.len).is_err()) {
        return Err(Errno::EINVAL);
    }
    if vectors.iter().all(|vector| vector.len == 0) {
        return Ok(None);
    }
    let target = find(pid)?;
    check_access(&target)?;
    let space = target.space().ok_or(Errno::ESRCH)?;
    Ok(Some(Remote { space, vectors }))
}

/// process_vm_readv(2).
pub fn process_vm_readv(
    pid: i32,
    local: UserPtr<IoVec>,
    local_count: usize,
    theirs: UserPtr<IoVec>,
    count: usize,
    flags: usize,
) -> SysResult {
    transfer(pid, (local, local_count), (theirs, count), flags, |space, address, piece, buffer, local| {
        let buffer = buffer.get_mut(..piece).unwrap_or_default();
        let got = space.read(address, buffer).err().unwrap_or(piece);
        Sink::iovecs(core::slice::from_ref(local)).write(buffer.get(..got).unwrap_or_default())
    })
}

/// process_vm_writev(2).
pub fn process_vm_writev(
    pid: i32,
    local: UserPtr<IoVec>,
    local_count: usize,
    theirs: UserPtr<IoVec>,
    count: usize,
    flags: usize,
) -> SysResult {
    transfer(pid, (local, local_count), (theirs, count), flags, |space, address, piece, buffer, local| {
        let got =
            Source::iovecs(core::slice::from_ref(local)).read(buffer.get_mut(..piece).unwrap_or_default())?;
        Ok(space.write(address, buffer.get(..got).unwrap_or_default()).err().unwrap_or(got))
    })
}

/// Moves up to so many bytes between the other's address and a piece of the caller's memory. Returns how many.
type Move = fn(&AddressSpace, usize, usize, &mut [u8], &IoVec) -> Result<usize, Errno>;

fn transfer(
    pid: i32,
    local: (UserPtr<IoVec>, usize),
    theirs: (UserPtr<IoVec>, usize),
    flags: usize,
    step: Move,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let local = IoVecs::read(local.0, local.1)?;
    if local.all().iter().all(|vector| vector.len == 0) {
        return Ok(0);
    }
    let Some(remote) = remote(pid, theirs.0, theirs.1)? else { return Ok(0) };
    let mut mine = local.all().iter().copied();
    let mut here = IoVec::default();
    let mut buffer = [0; PIECE];
    let mut done = 0usize;
    for there in &remote.vectors {
        let mut at = 0;
        while at < there.len {
            if here.len == 0 {
                match mine.next() {
                    Some(next) => here = next,
                    None => return Ok(done),
                }
                continue;
            }
            let piece = (there.len - at).min(here.len).min(PIECE as u64) as usize;
            let address = (there.base as usize).wrapping_add(at as usize);
            let moved = match step(&remote.space, address, piece, &mut buffer, &here) {
                Ok(moved) => moved,
                Err(error) if done == 0 => return Err(error.into()),
                Err(_) => 0,
            };
            done = done.saturating_add(moved);
            at += moved as u64;
            here.base = here.base.wrapping_add(moved as u64);
            here.len -= moved as u64;
            if moved < piece {
                return if done == 0 { Err(Errno::EFAULT.into()) } else { Ok(done) };
            }
        }
    }
    Ok(done)
}

/// Orders two addresses as kcmp(2) reports it: equal, less, greater.
fn compare(a: usize, b: usize) -> usize {
    match a.cmp(&b) {
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Less => 1,
        core::cmp::Ordering::Greater => 2,
    }
}

const KCMP_FILE: i32 = 0;
const KCMP_VM: i32 = 1;
const KCMP_FILES: i32 = 2;
const KCMP_FS: i32 = 3;
const KCMP_SIGHAND: i32 = 4;
const KCMP_IO: i32 = 5;
const KCMP_SYSVSEM: i32 = 6;
const KCMP_EPOLL_TFD: i32 = 7;

/// kcmp(2): whether two processes share something.
pub fn kcmp(pid_a: i32, pid_b: i32, kind: i32, index_a: usize, index_b: usize) -> SysResult {
    let (a, b) = (find(pid_a)?, find(pid_b)?);
    check_access(&a)?;
    check_access(&b)?;
    let space = |process: &Process| process.space().map_or(0, |space| Arc::as_ptr(&space).addr());
    let file = |process: &Process, index: usize| {
        let file = process.shared_files().get_any(Fd(index as i32))?;
        Ok::<_, Errno>(file.identity())
    };
    let files = |process: &Process| Arc::as_ptr(&process.shared_files()).addr();
    Ok(match kind {
        KCMP_FILE => compare(file(&a, index_a)?, file(&b, index_b)?),
        KCMP_VM => compare(space(&a), space(&b)),
        KCMP_FILES => compare(files(&a), files(&b)),
        KCMP_FS => compare(Arc::as_ptr(&a.fs).addr(), Arc::as_ptr(&b.fs).addr()),
        KCMP_SIGHAND => compare(Arc::as_ptr(&a).addr(), Arc::as_ptr(&b).addr()),
        KCMP_SYSVSEM => {
            // Without adjustments there is nothing to tell apart.
            let list = |process: &Arc<Process>| {
                let has = process.has_undo.load(core::sync::atomic::Ordering::Relaxed);
                if has { Arc::as_ptr(process).addr() } else { 0 }
            };
            compare(list(&a), list(&b))
        }
        // Nobody has an I/O context.
        KCMP_IO => 0,
        KCMP_EPOLL_TFD => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    })
}

/// unshare(2): what belongs to the process alone already needs nothing; namespaces don't exist here.
pub fn unshare(flags: u64) -> SysResult {
    use crate::task::clone::{CloneFlags as F, check_namespaces};
    let flags = F::from_bits_retain(flags);
    let alone = F::THREAD | F::SIGHAND | F::VM;
    let known = alone | F::FS | F::FILES | F::SYSVSEM | F::NAMESPACES;
    let me = &current().process;
    let has_threads = me.threads.lock().len() > 1;
    // Threads always share their directories and descriptors.
    let shares_fs = has_threads || Arc::strong_count(&me.fs) > 1;
    if !known.contains(flags)
        || has_threads && flags.intersects(alone | F::FILES)
        || shares_fs && flags.contains(F::FS)
    {
        return Err(Errno::EINVAL.into());
    }
    check_namespaces(flags)?;
    if flags.contains(F::SYSVSEM) {
        crate::ipc::process_exit(me);
    }
    if flags.contains(F::FILES) {
        me.unshare_files()?;
    }
    Ok(0)
}

/// setns(2). EBADF; EINVAL, since no descriptor is a namespace's.
pub fn setns(fd: Fd, _: i32) -> SysResult {
    crate::fs::files().get(fd)?;
    Err(Errno::EINVAL.into())
}
