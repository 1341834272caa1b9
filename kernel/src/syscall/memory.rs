//! Memory calls: brk, mmap, munmap, mprotect, mremap, madvise, mincore, msync, mlock and relatives.

use abi::{Errno, MapFlags, Prot};

use super::mlock;
use super::{Fd, SysResult};
use crate::mm::address_space::{Place, RemapTarget};
use crate::mm::fault::FaultError;
use crate::mm::regions::{Backing, LAST_PAGE, LOWEST, RegionFlags};
use crate::mm::{AddressSpace, PAGE_SIZE, USER_TOP, UserPtr, commit, page_ceil};
use crate::task::current;
use crate::task::process::rlimit;

/// A transparent huge page's size, and the only huge page size there is.
const HUGE_PAGE: usize = 2 << 20;

/// Limits count in bytes; more than an address space is as good as none.
pub(super) fn limit(resource: usize) -> usize {
    usize::try_from(current().process.limit(resource)).unwrap_or(usize::MAX)
}

fn access_flags(prot: u32) -> RegionFlags {
    RegionFlags::from_bits_truncate(prot) & RegionFlags::ACCESS
}

pub(super) fn space() -> Result<&'static AddressSpace, Errno> {
    current().address_space().ok_or(Errno::EFAULT)
}

/// brk(2), the system call: the new break, or the old one if it can't be had.
pub fn brk(address: usize) -> SysResult {
    let space = space()?;
    let future = space.lock_future();
    if !future.is_empty() {
        return mlock::brk(space, address);
    }
    Ok(space.set_brk(address, limit(rlimit::DATA), limit(rlimit::AS)))
}

/// LEGACY_MAP_MASK: flags that were there before they were checked. MAP_SYNC isn't among them, nor MAP_FIXED_NOREPLACE.
const KNOWN_FLAGS: u32 = 0x7c07_f9ff;

/// mmap(2).
pub fn mmap(address: usize, len: usize, prot: u32, flags: u32, fd: Fd, offset: u64) -> SysResult {
    let map = MapFlags::from_bits_retain(flags);
    if !offset.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL.into());
    }
    let file = if map.contains(MapFlags::ANONYMOUS) {
        if map.contains(MapFlags::HUGETLB) {
            // None are set aside, as on a Linux with vm.nr_hugepages = 0. Sizes: the default, 2 MiB, 1 GiB.
            let is_known = matches!(flags >> 26 & 0x3f, 0 | 21 | 30);
            return Err(if is_known { Errno::ENOMEM } else { Errno::EINVAL }.into());
        }
        None
    } else {
        let target = crate::fs::mmap_target(fd)?;
        if map.contains(MapFlags::HUGETLB) {
            return Err(Errno::EINVAL.into());
        }
        Some(target)
    };
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = page_ceil(len).filter(|&len| len != 0).ok_or(Errno::ENOMEM)?;
    if len > USER_TOP {
        return Err(Errno::ENOMEM.into());
    }
    if file.is_some() && offset / PAGE_SIZE as u64 + (len / PAGE_SIZE) as u64 > LAST_PAGE {
        return Err(Errno::EOVERFLOW.into());
    }
    let mut region = access_flags(prot) | RegionFlags::MAY_ALL;
    let kind = flags & 0xf;
    let shared = match kind {
        1 => true,
        // MAP_SHARED_VALIDATE: of a file, and with nothing that isn't understood.
        3 if file.is_some() && flags & !KNOWN_FLAGS != 0 => return Err(Errno::EOPNOTSUPP.into()),
        3 if file.is_some() => true,
        2 => false,
        _ => return Err(Errno::EINVAL.into()),
    };
    region.set(RegionFlags::SHARED, shared);
    region.set(RegionFlags::GROWS_DOWN, map.contains(MapFlags::GROWSDOWN));
    region.set(RegionFlags::LOCKED, map.contains(MapFlags::LOCKED));
    region.set(RegionFlags::NO_RESERVE, map.contains(MapFlags::NORESERVE));
    let backing = match file {
        Some(target) => {
            if map.contains(MapFlags::GROWSDOWN) {
                return Err(Errno::EINVAL.into());
            }
            if shared && !target.writable {
                if prot & Prot::WRITE.bits() != 0 {
                    return Err(if target.sealed { Errno::EPERM } else { Errno::EACCES }.into());
                }
                region.remove(RegionFlags::MAY_WRITE);
            }
            if !target.executable {
                if prot & Prot::EXEC.bits() != 0 {
                    return Err(Errno::EPERM.into());
                }
                region.remove(RegionFlags::MAY_EXECUTE);
            }
            match target.object {
                Some(object) => Backing::Object(object, offset / PAGE_SIZE as u64),
                // /dev/zero: anonymous memory by another name.
                None if shared => shared_memory(len, region)?,
                None => Backing::Anonymous,
            }
        }
        None if shared => {
            if map.contains(MapFlags::GROWSDOWN) {
                return Err(Errno::EINVAL.into());
            }
            shared_memory(len, region)?
        }
        None => Backing::Anonymous,
    };
    let place = if map.contains(MapFlags::FIXED_NOREPLACE) {
        Place::FixedNoReplace(address)
    } else if map.contains(MapFlags::FIXED) {
        Place::Fixed(address)
    } else {
        Place::Anywhere(address)
    };
    if matches!(place, Place::Fixed(at) | Place::FixedNoReplace(at) if !at.is_multiple_of(PAGE_SIZE)) {
        return Err(Errno::EINVAL.into());
    }
    // Large anonymous regions start where a huge page could, as Linux places them since 6.7.
    let align = if matches!(backing, Backing::Anonymous) && len >= HUGE_PAGE && len.is_multiple_of(HUGE_PAGE)
    {
        HUGE_PAGE
    } else {
        PAGE_SIZE
    };
    let space = space()?;
    region |= space.lock_future();
    if region.contains(RegionFlags::LOCKED) {
        mlock::may_map(space, len, map.contains(MapFlags::LOCKED))?;
    }
    let start = match place {
        Place::Anywhere(hint) if map.contains(MapFlags::BIT32) => {
            map_low(space, hint, len, region, &backing)?
        }
        _ => space.map(place, len, align, region, backing, limit(rlimit::AS))?,
    };
    let populate = map.contains(MapFlags::POPULATE) && !map.contains(MapFlags::NONBLOCK);
    if populate || region & (RegionFlags::LOCKED | RegionFlags::ON_FAULT) == RegionFlags::LOCKED {
        // As on Linux, a page that can't be had now faults later.
        let _ = space.populate(start..start + len);
    }
    Ok(start)
}

/// MAP_32BIT: where code of the small model reaches it, as on Linux: where the program wishes if that is below 2 GiB (SBCL says where),
/// else between 1 and 2 GiB. ENOMEM.
#[cold]
fn map_low(
    space: &AddressSpace,
    hint: usize,
    len: usize,
    region: RegionFlags,
    backing: &Backing,
) -> Result<usize, Errno> {
    const TOP: usize = 1 << 31;
    let mut at = space.with(|inner| inner.regions.at_hint(hint, len, TOP)).unwrap_or(TOP / 2);
    while at + len <= TOP {
        let taken_to = space.with(|inner| {
            let is_free = inner.regions.is_free(at..at + len);
            (!is_free).then(|| inner.regions.find_from(at).map_or(at, |region| region.end))
        });
        at = match taken_to {
            Some(end) => end,
            None => match space.map(
                Place::FixedNoReplace(at),
                len,
                PAGE_SIZE,
                region,
                backing.clone(),
                limit(rlimit::AS),
            ) {
                // Another thread was faster: look again.
                Err(Errno::EEXIST) => at,
                other => return other,
            },
        };
    }
    Err(Errno::ENOMEM)
}

/// New memory that processes share. ENOMEM.
fn shared_memory(len: usize, region: RegionFlags) -> Result<Backing, Errno> {
    if !region.contains(RegionFlags::NO_RESERVE) {
        commit::promise(len)?;
    }
    Ok(Backing::Object(crate::fs::anonymous_object(len as u64)?, 0))
}

/// The page-aligned range of a call that takes an address and a length, both as passed. EINVAL.
fn range(address: usize, len: usize) -> Result<core::ops::Range<usize>, Errno> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    let end = address.checked_add(len).ok_or(Errno::EINVAL)?;
    Ok(address..end)
}

/// munmap(2).
pub fn munmap(address: usize, len: usize) -> SysResult {
    let range = range(address, len)?;
    if range.is_empty() || range.end > USER_TOP {
        return Err(Errno::EINVAL.into());
    }
    space()?.unmap(range)?;
    Ok(0)
}

/// mprotect(2).
pub fn mprotect(address: usize, len: usize, prot: u32) -> SysResult {
    let grows = prot & (Prot::GROWSDOWN.bits() | Prot::GROWSUP.bits());
    if grows == Prot::GROWSDOWN.bits() | Prot::GROWSUP.bits() || !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let Some(len) = page_ceil(len).filter(|&len| len != 0) else { return Err(Errno::ENOMEM.into()) };
    let Some(end) = address.checked_add(len) else { return Err(Errno::ENOMEM.into()) };
    let known = Prot::READ | Prot::WRITE | Prot::EXEC | Prot::SEM;
    if prot & !(known | Prot::GROWSDOWN | Prot::GROWSUP).bits() != 0 {
        return Err(Errno::EINVAL.into());
    }
    let space = space()?;
    let start = if grows == 0 { address } else { growing_start(space, address, grows)? };
    space.protect(start..end, access_flags(prot))?;
    Ok(0)
}

/// Where mprotect begins with PROT_GROWSDOWN: at the start of the stack that holds an address. ENOMEM, EINVAL.
#[cold]
#[inline(never)]
fn growing_start(space: &AddressSpace, address: usize, grows: u32) -> Result<usize, Errno> {
    let region = space.with(|inner| inner.regions.find(address).map(|r| (r.start, r.flags)));
    let (start, flags) = region.ok_or(Errno::ENOMEM)?;
    let is_stack = grows == Prot::GROWSDOWN.bits() && flags.contains(RegionFlags::GROWS_DOWN);
    if is_stack { Ok(start) } else { Err(Errno::EINVAL) }
}

const MREMAP_MAYMOVE: u32 = 1;
const MREMAP_FIXED: u32 = 2;
const MREMAP_DONTUNMAP: u32 = 4;

/// mremap(2).
pub fn mremap(old: usize, old_len: usize, new_len: usize, flags: u32, new: usize) -> SysResult {
    let known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    let needs_move = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0;
    if flags & !known != 0
        || (needs_move && flags & MREMAP_MAYMOVE == 0)
        || (flags & MREMAP_DONTUNMAP != 0 && old_len != new_len)
        || !old.is_multiple_of(PAGE_SIZE)
    {
        return Err(Errno::EINVAL.into());
    }
    let old_len = page_ceil(old_len).ok_or(Errno::EINVAL)?;
    let new_len = page_ceil(new_len).filter(|&len| len != 0).ok_or(Errno::EINVAL)?;
    let space = space()?;
    let limit = limit(rlimit::AS);
    let target = if needs_move {
        if flags & MREMAP_FIXED != 0 {
            let end = new.checked_add(new_len).ok_or(Errno::EINVAL)?;
            if !new.is_multiple_of(PAGE_SIZE) || new_len > USER_TOP || end > USER_TOP || new < LOWEST {
                return Err(if new < LOWEST && new.is_multiple_of(PAGE_SIZE) {
                    Errno::EPERM
                } else {
                    Errno::EINVAL
                }
                .into());
            }
            if old < end && new < old.saturating_add(old_len) {
                return Err(Errno::EINVAL.into());
            }
        }
        match flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) {
            MREMAP_FIXED => RemapTarget::Fixed(new),
            f if f & MREMAP_FIXED != 0 => RemapTarget::Keep(new),
            _ => RemapTarget::Keep(0),
        }
    } else if flags & MREMAP_MAYMOVE != 0 {
        RemapTarget::MayMove
    } else {
        RemapTarget::InPlace
    };
    // A length of zero duplicates a shared mapping.
    if old_len == 0 {
        let region = space.with(|inner| inner.regions.find(old).cloned()).ok_or(Errno::EFAULT)?;
        if !region.flags.contains(RegionFlags::SHARED) {
            return Err(Errno::EINVAL.into());
        }
        if flags & MREMAP_MAYMOVE == 0 {
            return Err(Errno::ENOMEM.into());
        }
        let backing = match region.backing {
            Backing::Object(object, page) => {
                Backing::Object(object, page + ((old - region.start) / PAGE_SIZE) as u64)
            }
            Backing::Anonymous => Backing::Anonymous,
        };
        let place = if flags & MREMAP_FIXED != 0 { Place::Fixed(new) } else { Place::Anywhere(0) };
        return Ok(space.map(place, new_len, PAGE_SIZE, region.flags, backing, limit)?);
    }
    let end = old.checked_add(old_len).ok_or(Errno::EINVAL)?;
    if new_len > old_len && mlock::is_locked(space, old) {
        mlock::may_map(space, new_len - old_len, false)?;
    }
    let start = space.remap(old..end, new_len, target, limit)?;
    if new_len > old_len && mlock::is_locked(space, start) {
        let _ = space.populate(start + old_len..start + new_len);
    }
    Ok(start)
}

/// madvise(2) advice values (asm-generic/mman-common.h).
mod advice {
    pub(super) const NORMAL: i32 = 0;
    pub(super) const RANDOM: i32 = 1;
    pub(super) const SEQUENTIAL: i32 = 2;
    pub(super) const WILLNEED: i32 = 3;
    pub(super) const DONTNEED: i32 = 4;
    pub(super) const FREE: i32 = 8;
    pub(super) const REMOVE: i32 = 9;
    pub(super) const DONTFORK: i32 = 10;
    pub(super) const DOFORK: i32 = 11;
    pub(super) const MERGEABLE: i32 = 12;
    pub(super) const UNMERGEABLE: i32 = 13;
    pub(super) const HUGEPAGE: i32 = 14;
    pub(super) const NOHUGEPAGE: i32 = 15;
    pub(super) const DONTDUMP: i32 = 16;
    pub(super) const DODUMP: i32 = 17;
    pub(super) const WIPEONFORK: i32 = 18;
    pub(super) const KEEPONFORK: i32 = 19;
    pub(super) const COLD: i32 = 20;
    pub(super) const PAGEOUT: i32 = 21;
    pub(super) const POPULATE_READ: i32 = 22;
    pub(super) const POPULATE_WRITE: i32 = 23;
    pub(super) const DONTNEED_LOCKED: i32 = 24;
}

/// madvise(2). Hints that have no effect here (access patterns, huge pages, merging, cold pages) need none on Linux either.
pub fn madvise(address: usize, len: usize, what: i32) -> SysResult {
    use advice::{
        COLD, DODUMP, DOFORK, DONTDUMP, DONTFORK, DONTNEED, DONTNEED_LOCKED, FREE, HUGEPAGE, KEEPONFORK,
        MERGEABLE, NOHUGEPAGE, NORMAL, PAGEOUT, POPULATE_READ, POPULATE_WRITE, RANDOM, REMOVE, SEQUENTIAL,
        UNMERGEABLE, WILLNEED, WIPEONFORK,
    };
    let known = matches!(
        what,
        NORMAL
            | RANDOM
            | SEQUENTIAL
            | WILLNEED
            | DONTNEED
            | FREE
            | REMOVE
            | DONTFORK
            | DOFORK
            | HUGEPAGE
            | NOHUGEPAGE
            | MERGEABLE
            | UNMERGEABLE
            | DONTDUMP
            | DODUMP
            | WIPEONFORK
            | KEEPONFORK
            | COLD
            | PAGEOUT
            | POPULATE_READ
            | POPULATE_WRITE
            | DONTNEED_LOCKED
    );
    if !known {
        return Err(Errno::EINVAL.into());
    }
    let range = range(address, len)?;
    if range.is_empty() {
        return Ok(0);
    }
    let space = space()?;
    let change = |set: RegionFlags, clear: RegionFlags, needs_private_anonymous: bool| -> SysResult {
        space.with(|inner| {
            let covered = inner.regions.is_covered(range.clone());
            let changed = inner.regions.change(range.clone(), &mut |region| {
                let is_private = !region.flags.contains(RegionFlags::SHARED)
                    && matches!(region.backing, Backing::Anonymous);
                if needs_private_anonymous && !is_private {
                    return Err(Errno::EINVAL);
                }
                region.flags = (region.flags | set).difference(clear);
                Ok(())
            });
            // As Linux says it where a split would be one too many.
            changed.map_err(|errno| if errno == Errno::ENOMEM { Errno::EAGAIN } else { errno })?;
            if covered { Ok(0) } else { Err(Errno::ENOMEM.into()) }
        })
    };
    match what {
        DONTNEED => space.discard(range, RegionFlags::LOCKED)?,
        DONTNEED_LOCKED => space.discard(range, RegionFlags::empty())?,
        FREE => {
            let all_private = space.with(|inner| {
                inner
                    .regions
                    .overlapping(range.clone())
                    .all(|region| matches!(region.backing, Backing::Anonymous))
            });
            if !all_private {
                return Err(Errno::EINVAL.into());
            }
            space.discard(range, RegionFlags::LOCKED)?;
        }
        REMOVE => {
            let is_covered = space.with(|inner| inner.regions.is_covered(range.clone()));
            let mut at = range.start;
            let next = |at| {
                space.with(|inner| {
                    inner.regions.find_from(at).filter(|region| region.start < range.end).cloned()
                })
            };
            while let Some(region) = next(at) {
                let Backing::Object(object, first) = &region.backing else {
                    return Err(Errno::EINVAL.into());
                };
                if region.flags.contains(RegionFlags::LOCKED) {
                    return Err(Errno::EINVAL.into());
                }
                if !region.flags.contains(RegionFlags::SHARED | RegionFlags::MAY_WRITE) {
                    return Err(Errno::EACCES.into());
                }
                let piece = range.start.max(region.start)..range.end.min(region.end);
                let offset = first * PAGE_SIZE as u64 + (piece.start - region.start) as u64;
                space.discard(piece.clone(), RegionFlags::LOCKED)?;
                object.punch_hole(offset, piece.len() as u64)?;
                at = region.end;
            }
            if !is_covered {
                return Err(Errno::ENOMEM.into());
            }
        }
        DONTFORK => return change(RegionFlags::DONT_FORK, RegionFlags::empty(), false),
        DOFORK => return change(RegionFlags::empty(), RegionFlags::DONT_FORK, false),
        WIPEONFORK => return change(RegionFlags::WIPE_ON_FORK, RegionFlags::empty(), true),
        KEEPONFORK => return change(RegionFlags::empty(), RegionFlags::WIPE_ON_FORK, false),
        DONTDUMP => return change(RegionFlags::DONT_DUMP, RegionFlags::empty(), false),
        DODUMP => return change(RegionFlags::empty(), RegionFlags::DONT_DUMP, false),
        POPULATE_READ | POPULATE_WRITE => {
            for page in range.step_by(PAGE_SIZE) {
                let access = if what == POPULATE_WRITE {
                    crate::mm::fault::Access::Write
                } else {
                    crate::mm::fault::Access::Read
                };
                space.fault(page, access).map_err(|error| match error {
                    FaultError::NotMapped | FaultError::OutOfMemory => Errno::ENOMEM,
                    FaultError::NotAllowed => Errno::EINVAL,
                    FaultError::BeyondFile => Errno::EFAULT,
                })?;
            }
        }
        _ => space.with(|inner| {
            let mut regions = inner.regions.overlapping(range.clone());
            if matches!(what, COLD | PAGEOUT) && regions.any(|r| r.flags.contains(RegionFlags::LOCKED)) {
                return Err(Errno::EINVAL);
            }
            if inner.regions.is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
        })?,
    }
    Ok(0)
}

/// mincore(2).
pub fn mincore(address: usize, len: usize, out: UserPtr<u8>) -> SysResult {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    if len > USER_TOP || address > USER_TOP - len {
        return Err(Errno::ENOMEM.into());
    }
    let pages = len.div_ceil(PAGE_SIZE);
    if !crate::mm::user::is_user_range(out.addr(), pages) {
        return Err(Errno::EFAULT.into());
    }
    let mut done = 0;
    let mut buffer = [0u8; 256];
    while done < pages {
        let count = (pages - done).min(buffer.len());
        let start = address + done * PAGE_SIZE;
        let Some(window) = buffer.get_mut(..count) else { break };
        space()?.residency(start..start + count * PAGE_SIZE, window)?;
        out.add(done).write_bytes(window)?;
        done += count;
    }
    Ok(0)
}

const MS_ASYNC: u32 = 1;
const MS_INVALIDATE: u32 = 2;
const MS_SYNC: u32 = 4;

/// msync(2). Shared mappings are the page cache itself: files in memory have nothing to write back.
pub fn msync(address: usize, len: usize, flags: u32) -> SysResult {
    if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0
        || !address.is_multiple_of(PAGE_SIZE)
        || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
    {
        return Err(Errno::EINVAL.into());
    }
    // As on Linux, a length that can't be rounded up is none.
    let len = page_ceil(len).unwrap_or(0);
    let Some(end) = address.checked_add(len) else { return Err(Errno::ENOMEM.into()) };
    if len == 0 {
        return Ok(0);
    }
    space()?.with(|inner| {
        let locked =
            inner.regions.overlapping(address..end).any(|region| region.flags.contains(RegionFlags::LOCKED));
        if flags & MS_INVALIDATE != 0 && locked {
            return Err(Errno::EBUSY.into());
        }
        if inner.regions.is_covered(address..end) { Ok(0) } else { Err(Errno::ENOMEM.into()) }
    })
}
