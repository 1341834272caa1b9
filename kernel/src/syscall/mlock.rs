//! mlock(2) and its family. Pages never leave memory here: locked memory is there from the start, can't be given back by accident, and is
//! limited.

use core::ops::Range;

use abi::Errno;

use super::SysResult;
use super::memory::{limit, space};
use crate::mm::address_space::AddressSpace;
use crate::mm::fault::FaultError;
use crate::mm::regions::RegionFlags;
use crate::mm::{USER_TOP, page_ceil, page_floor};
use crate::task::process::{has_capability, rlimit};

const CAP_IPC_LOCK: u32 = 14;
const MLOCK_ONFAULT: u32 = 1;
const MCL_CURRENT: u32 = 1;
const MCL_FUTURE: u32 = 2;
const MCL_ONFAULT: u32 = 4;
const BOTH: RegionFlags = RegionFlags::LOCKED.union(RegionFlags::ON_FAULT);

/// Bytes of a range that are locked.
fn locked_bytes(space: &AddressSpace, range: Range<usize>) -> usize {
    space.with(|inner| {
        let regions = inner.regions.overlapping(range.clone());
        let locked = regions.filter(|region| region.flags.contains(RegionFlags::LOCKED));
        locked.map(|region| region.end.min(range.end) - region.start.max(range.start)).sum()
    })
}

/// Whether the program may lock anything at all. EPERM.
fn may_lock() -> Result<(), Errno> {
    if limit(rlimit::MEMLOCK) != 0 || has_capability(CAP_IPC_LOCK) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Whether so many bytes more may be mapped and locked; `is_asked_for` by MAP_LOCKED, not by mlockall. EPERM, EAGAIN.
#[cold]
pub fn may_map(space: &AddressSpace, len: usize, is_asked_for: bool) -> Result<(), Errno> {
    if is_asked_for {
        may_lock()?;
    }
    let all = locked_bytes(space, 0..USER_TOP).saturating_add(len);
    if all <= limit(rlimit::MEMLOCK) || has_capability(CAP_IPC_LOCK) { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// Whether what is mapped at an address is locked, and not only as it is touched.
pub fn is_locked(space: &AddressSpace, address: usize) -> bool {
    space.with(|inner| {
        inner.regions.find(address).is_some_and(|region| region.flags & BOTH == RegionFlags::LOCKED)
    })
}

/// brk(2) when future memory is to be locked.
#[cold]
pub fn brk(space: &AddressSpace, address: usize) -> SysResult {
    let old = space.with(|inner| inner.brk);
    if address > old && may_map(space, address - old, false).is_err() {
        return Ok(old);
    }
    let new = space.set_brk(address, limit(rlimit::DATA), limit(rlimit::AS));
    if let (Some(from), Some(to)) = (page_ceil(old), page_ceil(new))
        && !space.lock_future().contains(RegionFlags::ON_FAULT)
        && from < to
    {
        let _ = space.populate(from..to);
    }
    Ok(new)
}

/// Gives a range's regions these lock flags, up to the first hole. ENOMEM if there is one.
fn apply(space: &AddressSpace, range: Range<usize>, flags: RegionFlags) -> Result<(), Errno> {
    space.with(|inner| {
        let mut covered = range.start;
        for region in inner.regions.overlapping(range.clone()) {
            if region.start > covered {
                break;
            }
            covered = region.end.min(range.end);
        }
        inner.regions.change(range.start..covered, &mut |region| {
            if !region.flags.contains(RegionFlags::SPECIAL) {
                region.flags = region.flags.difference(BOTH) | flags;
            }
            Ok(())
        })?;
        if covered < range.end { Err(Errno::ENOMEM) } else { Ok(()) }
    })
}

/// The pages of a call's range. EINVAL.
fn pages(address: usize, len: usize) -> Result<Range<usize>, Errno> {
    let end = address.checked_add(len).and_then(page_ceil).ok_or(Errno::EINVAL)?;
    Ok(page_floor(address)..end)
}

/// mlock(2).
pub fn mlock(address: usize, len: usize) -> SysResult {
    mlock2(address, len, 0)
}

/// mlock2(2).
pub fn mlock2(address: usize, len: usize, flags: u32) -> SysResult {
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    may_lock()?;
    let range = pages(address, len)?;
    let space = space()?;
    // Another thread may lock the range between the two looks.
    let others = locked_bytes(space, 0..USER_TOP).saturating_sub(locked_bytes(space, range.clone()));
    if others.saturating_add(range.len()) > limit(rlimit::MEMLOCK) && !has_capability(CAP_IPC_LOCK) {
        return Err(Errno::ENOMEM.into());
    }
    if range.is_empty() {
        return Ok(0);
    }
    if flags == MLOCK_ONFAULT {
        apply(space, range, BOTH)?;
        return Ok(0);
    }
    apply(space, range.clone(), RegionFlags::LOCKED)?;
    space.populate(range).map_err(|error| match error {
        FaultError::OutOfMemory => Errno::EAGAIN,
        _ => Errno::ENOMEM,
    })?;
    Ok(0)
}

/// munlock(2).
pub fn munlock(address: usize, len: usize) -> SysResult {
    let range = pages(address, len)?;
    if !range.is_empty() {
        apply(space()?, range, RegionFlags::empty())?;
    }
    Ok(0)
}

/// Gives all regions that there are these lock flags. ENOMEM.
fn apply_to_all(space: &AddressSpace, flags: RegionFlags) -> Result<(), Errno> {
    space.with(|inner| {
        inner.regions.change(0..USER_TOP, &mut |region| {
            if !region.flags.contains(RegionFlags::SPECIAL) {
                region.flags = region.flags.difference(BOTH) | flags;
            }
            Ok(())
        })
    })
}

/// mlockall(2).
pub fn mlockall(flags: u32) -> SysResult {
    if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    may_lock()?;
    let space = space()?;
    let total = space.with(|inner| inner.total);
    if flags & MCL_CURRENT != 0 && total > limit(rlimit::MEMLOCK) && !has_capability(CAP_IPC_LOCK) {
        return Err(Errno::ENOMEM.into());
    }
    let locked = if flags & MCL_ONFAULT != 0 { BOTH } else { RegionFlags::LOCKED };
    space.set_lock_future(if flags & MCL_FUTURE != 0 { locked } else { RegionFlags::empty() });
    if flags & MCL_CURRENT == 0 {
        return Ok(0);
    }
    apply_to_all(space, locked)?;
    let mut at = 0;
    while flags & MCL_ONFAULT == 0
        && let Some(range) = space.with(|inner| inner.regions.find_from(at).map(|region| region.range()))
    {
        at = range.end;
        // What can't be brought in isn't an error here.
        let _ = space.populate(range);
    }
    Ok(0)
}

/// munlockall(2).
pub fn munlockall() -> SysResult {
    let space = space()?;
    space.set_lock_future(RegionFlags::empty());
    apply_to_all(space, RegionFlags::empty())?;
    Ok(0)
}
