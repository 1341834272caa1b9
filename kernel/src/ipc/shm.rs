//! Shared memory segments: memory with an identifier, mapped by who attaches it.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::ipc::{ShmDs, ShmInfo, ShmInfo64};

use super::{Object, Perm, READ, Registry, Stat, limit, limit_of, now, octal, perm_of, write_row};
use crate::fs;
use crate::mm::address_space::Place;
use crate::mm::fault::{Access, FaultError};
use crate::mm::regions::{Backing, RegionFlags};
use crate::mm::{AddressSpace, Frame, MemoryObject, PAGE_SIZE, commit, page_ceil};
use crate::sync::SpinLock;
use crate::task::current;

/// Bits of a segment's mode besides permissions: goes with its last attachment; locked.
const DEST: u32 = 0o1000;
const LOCKED: u32 = 0o2000;

/// What changes about a segment.
#[derive(Clone, Copy, Debug)]
struct State {
    perm: Perm,
    attached: u64,
    creator: u32,
    last: u32,
    attach_time: i64,
    detach_time: i64,
    change_time: i64,
}

/// A segment.
pub struct Segment {
    bytes: usize,
    object: Arc<dyn MemoryObject>,
    state: SpinLock<State>,
}

static SEGMENTS: Registry = Registry::new();

impl Object for Segment {
    fn with_perm(&self, act: &mut dyn FnMut(&mut Perm)) {
        act(&mut self.state.lock().perm);
    }
}

/// A segment in an address space. Dropping it detaches.
struct Attachment(Arc<Segment>);

impl Attachment {
    fn new(segment: Arc<Segment>) -> Self {
        {
            let mut state = segment.state.lock();
            state.attached += 1;
            state.last = current().process.pid;
            state.attach_time = now();
        }
        Self(segment)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.0.state.lock();
            state.attached = state.attached.saturating_sub(1);
            state.last = current().process.pid;
            state.detach_time = now();
            state.attached == 0 && state.perm.mode & DEST != 0
        };
        if is_last {
            SEGMENTS.remove(&*self.0);
        }
    }
}

impl MemoryObject for Attachment {
    fn page(&self, index: u64, access: Access) -> Result<Frame, FaultError> {
        self.0.object.page(index, access)
    }

    fn cached_page(&self, index: u64) -> Option<Frame> {
        self.0.object.cached_page(index)
    }

    fn size(&self) -> u64 {
        self.0.object.size()
    }

    fn identity(&self) -> (u64, u64) {
        (self.0.object.identity().0, perm_of(&*self.0).id as u64)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/SYSV{:08x} (deleted)", perm_of(&*self.0).key)
    }

    fn identity_key(&self) -> usize {
        self.0.object.identity_key()
    }

    fn for_child(&self) -> Option<Arc<dyn MemoryObject>> {
        Some(Arc::new(Self::new(self.0.clone())))
    }

    fn attached_bytes(&self) -> Option<usize> {
        Some(self.0.bytes)
    }
}

/// shmget(2).
pub fn get(key: i32, bytes: usize, flags: u32) -> Result<i32, Errno> {
    const HUGETLB: u32 = 0o4000;
    const NORESERVE: u32 = 0o10000;
    let fits = |there: &dyn Any| match there.downcast_ref::<Segment>() {
        Some(there) if there.bytes >= bytes => Ok(()),
        _ => Err(Errno::EINVAL),
    };
    let mut make = |perm| {
        let pages = page_ceil(bytes).map(|len| len / PAGE_SIZE).filter(|&pages| pages != 0);
        let pages = pages.ok_or(Errno::EINVAL)? as u64;
        if bytes as u64 > limit_of(&limit::SHMMAX) {
            return Err(Errno::EINVAL);
        }
        if flags & HUGETLB != 0 {
            // No huge pages are set aside.
            return Err(Errno::ENOMEM);
        }
        if PAGES.load(Ordering::Relaxed).saturating_add(pages) > limit_of(&limit::SHMALL) {
            return Err(Errno::ENOSPC);
        }
        if flags & NORESERVE == 0 {
            commit::promise(bytes)?;
        }
        let object = fs::anonymous_object(bytes as u64)?;
        PAGES.fetch_add(pages, Ordering::Relaxed);
        let state = State {
            perm,
            attached: 0,
            creator: current().process.pid,
            last: 0,
            attach_time: 0,
            detach_time: 0,
            change_time: now(),
        };
        let segment: Arc<dyn Object> = Arc::new(Segment { bytes, object, state: SpinLock::new(state) });
        Ok(segment)
    };
    SEGMENTS.get(key, flags, limit_of(&limit::SHMMNI), &fits, &mut make)
}

/// Pages of all segments.
static PAGES: AtomicU64 = AtomicU64::new(0);

impl Drop for Segment {
    fn drop(&mut self) {
        PAGES.fetch_sub(self.bytes.div_ceil(PAGE_SIZE) as u64, Ordering::Relaxed);
    }
}

const RDONLY: u32 = 0o1_0000;
const RND: u32 = 0o2_0000;
const REMAP: u32 = 0o4_0000;
const EXEC: u32 = 0o10_0000;

/// shmat(2).
pub fn attach(
    space: &AddressSpace,
    id: i32,
    address: usize,
    flags: u32,
    limit: usize,
) -> Result<usize, Errno> {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let address = if flags & RND != 0 { address & !(PAGE_SIZE - 1) } else { address };
    if !address.is_multiple_of(PAGE_SIZE) || address == 0 && flags & REMAP != 0 {
        return Err(Errno::EINVAL);
    }
    let mut region = RegionFlags::READ | RegionFlags::SHARED | RegionFlags::MAY_EXECUTE;
    let mut want = READ;
    if flags & RDONLY == 0 {
        region |= RegionFlags::WRITE | RegionFlags::MAY_WRITE;
        want |= super::WRITE;
    }
    if flags & EXEC != 0 {
        region |= RegionFlags::EXECUTE;
        want |= 0o111;
    }
    let segment: Arc<Segment> = SEGMENTS.find(id)?;
    perm_of(&*segment).check(want)?;
    let len = page_ceil(segment.bytes).ok_or(Errno::ENOMEM)?;
    let attachment = Attachment::new(segment);
    let backing = Backing::Object(Arc::new(attachment), 0);
    let place = match address {
        0 => Place::Anywhere(0),
        _ if flags & REMAP != 0 => Place::Fixed(address),
        _ => Place::FixedNoReplace(address),
    };
    space.map(place, len, PAGE_SIZE, region, backing, limit).map_err(|error| match error {
        Errno::EEXIST => Errno::EINVAL,
        other => other,
    })
}

/// shmdt(2): everything that is left of the attachment at an address.
pub fn detach(space: &AddressSpace, address: usize) -> Result<(), Errno> {
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    // Its first part may have been unmapped: what counts is where the attachment began.
    let found = space.with(|inner| {
        inner.regions.overlapping(address..usize::MAX).find_map(|region| match &region.backing {
            Backing::Object(object, first) => {
                let begin = region.start.checked_sub(*first as usize * PAGE_SIZE)?;
                let bytes = object.attached_bytes().filter(|_| begin == address)?;
                Some((object.clone(), bytes))
            }
            Backing::Anonymous => None,
        })
    });
    let (object, bytes) = found.ok_or(Errno::EINVAL)?;
    let is_part = |backing: &Backing| matches!(backing, Backing::Object(o, _) if Arc::ptr_eq(o, &object));
    let mut rest = address..address.saturating_add(bytes);
    while let Some(part) = space.with(|inner| {
        inner
            .regions
            .overlapping(rest.clone())
            .find(|region| is_part(&region.backing))
            .map(|region| region.range())
    }) {
        rest.start = part.end;
        space.unmap(part)?;
    }
    Ok(())
}

/// IPC_RMID: the segment goes now, or with its last attachment.
pub fn remove(id: i32) -> Result<(), Errno> {
    let segment: Arc<Segment> = SEGMENTS.find(id)?;
    let is_attached = {
        let mut state = segment.state.lock();
        state.perm.check_owner()?;
        if state.attached > 0 {
            state.perm.mode |= DEST;
            // Nobody finds it by its key any more.
            state.perm.key = super::PRIVATE;
        }
        state.attached > 0
    };
    if !is_attached {
        SEGMENTS.remove(&*segment);
    }
    Ok(())
}

/// IPC_SET.
pub fn set(id: i32, new: &ShmDs) -> Result<(), Errno> {
    let segment: Arc<Segment> = SEGMENTS.find(id)?;
    let mut state = segment.state.lock();
    state.perm.check_owner()?;
    state.perm.set(&new.perm)?;
    state.change_time = now();
    Ok(())
}

/// SHM_LOCK and SHM_UNLOCK: memory is never swapped out, so that only the mark changes.
pub fn lock(id: i32, is_locked: bool) -> Result<(), Errno> {
    let segment: Arc<Segment> = SEGMENTS.find(id)?;
    let mut state = segment.state.lock();
    state.perm.check_owner()?;
    state.perm.mode = state.perm.mode & !LOCKED | if is_locked { LOCKED } else { 0 };
    Ok(())
}

/// IPC_STAT and its relatives. The number is what the call returns.
pub fn stat(id: i32, how: Stat) -> Result<(ShmDs, i32), Errno> {
    let (number, segment): (_, Arc<Segment>) = SEGMENTS.find_as(id, how)?;
    let state = *segment.state.lock();
    if how != Stat::Anyhow {
        state.perm.check(READ)?;
    }
    let ds = ShmDs {
        perm: state.perm.to_abi(),
        segsz: segment.bytes as u64,
        atime: state.attach_time,
        dtime: state.detach_time,
        ctime: state.change_time,
        cpid: state.creator.cast_signed(),
        lpid: state.last.cast_signed(),
        nattch: state.attached,
        ..ShmDs::default()
    };
    Ok((ds, number))
}

/// IPC_INFO, and the highest index.
pub fn limits() -> (ShmInfo64, usize) {
    let info = ShmInfo64 {
        shmmax: limit_of(&limit::SHMMAX),
        shmmin: 1,
        shmmni: limit_of(&limit::SHMMNI),
        shmseg: limit_of(&limit::SHMMNI),
        shmall: limit_of(&limit::SHMALL),
        ..ShmInfo64::default()
    };
    (info, SEGMENTS.usage().1)
}

/// SHM_INFO, and the highest index.
pub fn usage() -> (ShmInfo, usize) {
    let (used, highest) = SEGMENTS.usage();
    let mut info =
        ShmInfo { used_ids: used as i32, shm_tot: PAGES.load(Ordering::Relaxed), ..ShmInfo::default() };
    SEGMENTS.for_all(|segment: &Segment| info.shm_rss += segment.object.resident_pages());
    (info, highest)
}

/// /proc/sysvipc/shm
pub fn write_table(text: &mut fs::proc::Text) {
    text.bytes(
        b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      \
          ctime                   rss                  swap\n",
    );
    SEGMENTS.for_all(|segment: &Segment| {
        let State { perm, attached, creator, last, attach_time, detach_time, change_time } =
            *segment.state.lock();
        let row = [
            (perm.key.into(), 10),
            (perm.id.into(), 10),
            (octal(perm.mode), 5),
            (segment.bytes as i64, 21),
            (creator.into(), 5),
            (last.into(), 5),
            (attached as i64, 6),
            (perm.uid.into(), 5),
            (perm.gid.into(), 5),
            (perm.cuid.into(), 5),
            (perm.cgid.into(), 5),
            (attach_time, 10),
            (detach_time, 10),
            (change_time, 10),
            ((segment.object.resident_pages() * PAGE_SIZE as u64) as i64, 21),
            (0, 21),
        ];
        write_row(text, &row);
    });
}

/// Commands of shmctl(2) besides those that all kinds have.
pub mod command {
    pub const LOCK: u32 = 11;
    pub const UNLOCK: u32 = 12;
    pub const STAT: u32 = 13;
    pub const INFO: u32 = 14;
    pub const STAT_ANY: u32 = 15;
}
