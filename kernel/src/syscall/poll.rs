//! Waiting for several descriptors: poll, ppoll, select, pselect6.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::{Errno, PollFd, SigSet, Timespec, Timeval};
use zerocopy::IntoBytes;

use super::{Failure, Fd, Restart, SysError, SysResult};
use crate::fs::poll::{Events, Poller};
use crate::fs::{self, FileTable, OpenFile};
use crate::mm::UserPtr;
use crate::mm::user::{Few, read_array};
use crate::task::process::rlimit;
use crate::task::signal::restart_with;
use crate::task::{PollWaiter, WaitError, current};
use crate::time;

/// Events that are reported whether asked for or not.
const ALWAYS: u16 = Events::ERR.union(Events::HUP).bits() as u16;

/// A look at all entries, without waiting: how many have something.
fn glance(files: &FileTable, entries: &mut [PollFd]) -> usize {
    files.peek(|files| {
        let mut ready = 0;
        for entry in entries {
            let found = match files.glance(entry.fd) {
                Some(events) if events.is_empty() => 0,
                Some(events) => events.bits() as u16 & (entry.events | ALWAYS),
                // Negative numbers are places that the program keeps free.
                None if entry.fd < 0 => 0,
                None => Events::NVAL.bits() as u16,
            };
            entry.revents = found;
            if found != 0 {
                ready += 1;
            }
        }
        ready
    })
}

/// Sleeps until something is there. Interrupted: begins again unless a handler runs, the rest of the time being known then.
fn wait(entries: &mut [PollFd], deadline: Option<u64>) -> Result<usize, SysError> {
    let files = fs::files();
    // Open files are held while their queues know this thread.
    let mut held: Vec<Option<Arc<OpenFile>>> = Vec::new();
    held.try_reserve_exact(entries.len()).map_err(|_| Errno::ENOMEM)?;
    held.extend(entries.iter().map(|entry| files.get(Fd(entry.fd)).ok()));
    loop {
        let waiter = PollWaiter::new();
        waiter.prepare();
        let mut ready = 0;
        for (entry, file) in entries.iter_mut().zip(&held) {
            let Some(file) = file else { continue };
            let events = file.ops.poll(file, Poller::Waiter(&waiter));
            entry.revents = events.bits() as u16 & (entry.events | ALWAYS);
            ready += usize::from(entry.revents != 0);
        }
        if ready > 0 {
            return Ok(ready);
        }
        if waiter.lacks_memory() {
            return Err(Errno::ENOMEM.into());
        }
        match waiter.sleep(deadline) {
            Ok(()) => {}
            Err(WaitError::TimedOut) => return Ok(0),
            Err(WaitError::Interrupted) => return Err(SysError::restart(Restart::NoHandler)),
        }
    }
}

/// A relative time as a deadline; 0 stands for one that has passed. EINVAL.
fn deadline_of(seconds: i64, nanos: i64) -> Result<Option<u64>, Errno> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u64::try_from(nanos)) else {
        return Err(Errno::EINVAL);
    };
    if nanos >= time::NS_PER_SEC {
        return Err(Errno::EINVAL);
    }
    if seconds == 0 && nanos == 0 {
        return Ok(Some(0));
    }
    let span = seconds.checked_mul(time::NS_PER_SEC).and_then(|ns| ns.checked_add(nanos));
    // Centuries are as good as for ever.
    Ok(span.and_then(|span| time::monotonic_ns().checked_add(span)))
}

/// So many entries are looked at where they stand, and so many polled without an allocation.
const FEW: usize = 8;
const SOME: usize = 64;

/// Looks at a few entries where they stand. `None` if the caller has to wait.
#[inline(always)]
fn glance_in_place(
    fds: UserPtr<PollFd>,
    count: u32,
    deadline: Option<u64>,
) -> Result<Option<usize>, SysError> {
    let files = fs::files();
    let mut ready = 0;
    for index in 0..count as usize {
        let at: UserPtr<u64> = fds.add(index).field(0);
        // fd, events, revents (poll(2)), little-endian.
        let entry = at.load()?;
        let wanted = (entry >> 32) as u16 | ALWAYS;
        let fd = Fd(entry as i32);
        let found = match files.get_ref(fd) {
            Ok(file) => file.glance().bits() as u16 & wanted,
            Err(_) if fd.0 < 0 => 0,
            Err(_) => Events::NVAL.bits() as u16,
        };
        at.field::<u16>(6).store(found)?;
        ready += usize::from(found != 0);
    }
    Ok((ready > 0 || deadline == Some(0)).then_some(ready))
}

fn do_poll(fds: UserPtr<PollFd>, count: u32, deadline: Option<u64>) -> SysResult {
    if u64::from(count) > current().process.limit(rlimit::NOFILE) {
        return Err(Errno::EINVAL.into());
    }
    // Most polls are for a descriptor or two, of which one is ready.
    if count as usize <= FEW
        && let Some(ready) = glance_in_place(fds, count, deadline)?
    {
        return Ok(ready);
    }
    if count as usize <= SOME {
        poll_some(fds, count as usize, deadline)
    } else {
        poll_many(fds, count as usize, deadline)
    }
}

#[inline(never)]
fn poll_some(fds: UserPtr<PollFd>, count: usize, deadline: Option<u64>) -> SysResult {
    let mut buffer = Few::<PollFd, SOME>::new();
    let entries = buffer.read(fds, count)?;
    poll_entries(entries, fds, deadline)
}

#[inline(never)]
fn poll_many(fds: UserPtr<PollFd>, count: usize, deadline: Option<u64>) -> SysResult {
    poll_entries(&mut read_array(fds, count)?, fds, deadline)
}

/// Polls and writes what came of it.
#[inline(never)]
fn poll_entries(entries: &mut [PollFd], fds: UserPtr<PollFd>, deadline: Option<u64>) -> SysResult {
    let ready = glance(fs::files(), entries);
    if ready > 0 || deadline == Some(0) {
        fds.field::<u8>(0).write_bytes(entries.as_bytes())?;
        return Ok(ready);
    }
    let result = wait(entries, deadline);
    // Also if interrupted. The rest is the program's, which may have changed it while this slept.
    for (index, entry) in entries.iter().enumerate() {
        fds.add(index).field::<u16>(6).store(entry.revents)?;
    }
    let count = entries.len() as u32;
    result.map_err(|error| match error.failure() {
        // After a stop it goes on with what is left of the time.
        Failure::Restart(_) => restart_with(move || do_poll(fds, count, deadline)),
        Failure::Errno(_) => error,
    })
}

/// poll(2).
pub fn poll(fds: UserPtr<PollFd>, count: u32, timeout_ms: i32) -> SysResult {
    let deadline = match timeout_ms {
        ..0 => None,
        0 => Some(0),
        ms => Some(time::monotonic_ns().saturating_add(ms.unsigned_abs() as u64 * 1_000_000)),
    };
    do_poll(fds, count, deadline)
}

/// The signal mask of ppoll and its relatives, for the duration of the call. EINVAL.
pub fn use_mask(mask: UserPtr<SigSet>, size: usize) -> Result<(), Errno> {
    if mask.is_null() {
        return Ok(());
    }
    if size != size_of::<SigSet>() {
        return Err(Errno::EINVAL);
    }
    let mask = mask.read()?;
    fs::hooks::set_temporary_mask(mask);
    Ok(())
}

/// Writes what is left of a timeout back, as Linux does for select and ppoll. A bad address is no error then.
pub(super) fn write_rest(out: UserPtr<Timespec>, deadline: Option<u64>) {
    if let (Some(out), Some(deadline)) = (out.non_null(), deadline) {
        let rest = deadline.saturating_sub(time::monotonic_ns());
        let rest = Timespec {
            sec: (rest / time::NS_PER_SEC).cast_signed(),
            nsec: (rest % time::NS_PER_SEC).cast_signed(),
        };
        let _ = out.write(&rest);
    }
}

/// A relative time in the program's memory as a deadline: `None` for ever, 0 for now.
pub fn timespec_deadline(timeout: UserPtr<Timespec>) -> Result<Option<u64>, Errno> {
    match timeout.non_null() {
        None => Ok(None),
        Some(timeout) => {
            let time = timeout.read()?;
            deadline_of(time.sec, time.nsec)
        }
    }
}

/// ppoll(2).
pub fn ppoll(
    fds: UserPtr<PollFd>,
    count: u32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<SigSet>,
    mask_size: usize,
) -> SysResult {
    let deadline = timespec_deadline(timeout)?;
    use_mask(mask, mask_size)?;
    let result = do_poll(fds, count, deadline);
    write_rest(timeout, deadline);
    result.map_err(|error| match error.failure() {
        // All of it again, with the mask.
        Failure::Restart(_) => SysError::restart(Restart::NoHandler),
        Failure::Errno(_) => error,
    })
}

/// Bits of a descriptor set, in words.
const BITS: usize = 64;

/// What select calls readable, writable and exceptional.
const SELECT_SETS: [Events; 3] = [
    Events::IN.union(Events::RDNORM).union(Events::RDBAND).union(Events::HUP).union(Events::ERR),
    Events::OUT.union(Events::WRNORM).union(Events::WRBAND).union(Events::ERR),
    Events::PRI,
];
/// What is asked of a file for each.
const SELECT_WANTED: [Events; 3] = [
    Events::IN.union(Events::RDNORM).union(Events::RDBAND),
    Events::OUT.union(Events::WRNORM).union(Events::WRBAND),
    Events::PRI,
];

/// Descriptor sets of so many words are looked at without an allocation.
const FEW_WORDS: usize = 4;

/// Looks once at the files of small sets. `None` if there are more words, or nothing is there yet and the caller has to wait. EBADF, EFAULT.
fn select_at_once(
    count: usize,
    sets: [UserPtr<u64>; 3],
    deadline: Option<u64>,
) -> Result<Option<usize>, SysError> {
    let words = count.div_ceil(BITS);
    if words > FEW_WORDS {
        return Ok(None);
    }
    let files = fs::files();
    let mut found = [[0u64; 3]; FEW_WORDS];
    let mut total = 0;
    let [for_reading, for_writing, for_exceptions] = SELECT_SETS;
    for (index, found) in found.iter_mut().take(words).enumerate() {
        let mut wanted = [0u64; 3];
        for (wanted, set) in wanted.iter_mut().zip(sets) {
            if !set.is_null() {
                *wanted = set.add(index).load()?;
            }
        }
        let [read, write, except] = wanted;
        let mut rest = read | write | except;
        let beyond = (index + 1) * BITS;
        if beyond > count {
            rest &= u64::MAX >> ((beyond - count) % BITS);
        }
        let [mut readable, mut writable, mut exceptional] = [0u64; 3];
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            let mask = rest & rest.wrapping_neg();
            rest ^= mask;
            let events = files.get_ref(Fd((index * BITS + bit) as i32))?.glance();
            if events.intersects(for_reading) {
                readable |= mask;
            }
            if events.intersects(for_writing) {
                writable |= mask;
            }
            if events.intersects(for_exceptions) {
                exceptional |= mask;
            }
        }
        *found = [read & readable, write & writable, except & exceptional];
        // Few bits mostly, and there is no instruction that counts them on every processor.
        for set in found {
            let mut rest = *set;
            while rest != 0 {
                rest &= rest.wrapping_sub(1);
                total += 1;
            }
        }
    }
    if total == 0 && deadline != Some(0) {
        return Ok(None);
    }
    for (nth, set) in sets.into_iter().enumerate().filter(|(_, set)| !set.is_null()) {
        for (index, found) in found.iter().take(words).enumerate() {
            set.add(index).write(&found.get(nth).copied().unwrap_or(0))?;
        }
    }
    Ok(Some(total))
}

fn do_select(count: i32, sets: [UserPtr<u64>; 3], deadline: Option<u64>) -> SysResult {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let count = count.min(fs::files().capacity());
    if let Some(total) = select_at_once(count, sets, deadline)? {
        return Ok(total);
    }
    select_waiting(count, sets, deadline)
}

#[inline(never)]
fn select_waiting(count: usize, sets: [UserPtr<u64>; 3], deadline: Option<u64>) -> SysResult {
    let words = count.div_ceil(BITS);
    let mut wanted: [Vec<u64>; 3] = [const { Vec::new() }; 3];
    for (slot, set) in wanted.iter_mut().zip(sets) {
        if !set.is_null() {
            *slot = read_array(set, words)?;
        }
    }
    let has = |set: &Vec<u64>, fd: usize| set.get(fd / BITS).is_some_and(|word| word >> (fd % BITS) & 1 != 0);
    let mut entries = Vec::new();
    for fd in 0..count {
        let mut events = Events::empty();
        for (set, ask) in wanted.iter().zip(SELECT_WANTED) {
            if has(set, fd) {
                events |= ask;
            }
        }
        if !events.is_empty() {
            if entries.len() == entries.capacity() {
                entries.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            }
            entries.push(PollFd { fd: fd as i32, events: events.bits() as u16, revents: 0 });
        }
    }
    let files = fs::files();
    if entries.iter().any(|entry| files.get(Fd(entry.fd)).is_err()) {
        return Err(Errno::EBADF.into());
    }
    if glance(files, &mut entries) == 0 && deadline != Some(0) {
        wait(&mut entries, deadline)?;
    }
    let mut total = 0;
    for ((set, out), meaning) in wanted.iter().zip(sets).zip(SELECT_SETS) {
        if out.is_null() {
            continue;
        }
        let mut found = alloc::vec![0u64; words];
        for entry in &entries {
            let fd = entry.fd as usize;
            if has(set, fd) && u32::from(entry.revents) & meaning.bits() != 0 {
                if let Some(word) = found.get_mut(fd / BITS) {
                    *word |= 1 << (fd % BITS);
                }
                total += 1;
            }
        }
        for (index, word) in found.iter().enumerate() {
            out.add(index).write(word)?;
        }
    }
    Ok(total)
}

/// select(2).
pub fn select(
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timeval>,
) -> SysResult {
    let deadline = match timeout.non_null() {
        None => None,
        Some(timeout) => {
            let time = timeout.read()?;
            if time.sec < 0 || time.usec < 0 {
                return Err(Errno::EINVAL.into());
            }
            deadline_of(time.sec.saturating_add(time.usec / 1_000_000), time.usec % 1_000_000 * 1000)?
        }
    };
    let result = do_select(count, [read, write, except], deadline);
    if let (Some(out), Some(deadline)) = (timeout.non_null(), deadline) {
        let rest = deadline.saturating_sub(time::monotonic_ns());
        let _ = out.write(&Timeval {
            sec: (rest / time::NS_PER_SEC).cast_signed(),
            usec: (rest % time::NS_PER_SEC / 1000).cast_signed(),
        });
    }
    result
}

/// pselect6(2): the last argument points to a mask's address and size.
pub fn pselect6(
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult {
    let deadline = timespec_deadline(timeout)?;
    if let Some(mask) = mask.non_null() {
        let [address, size] = mask.read()?;
        use_mask(UserPtr::new(address as usize), size as usize)?;
    }
    let result = do_select(count, [read, write, except], deadline);
    write_rest(timeout, deadline);
    result
}
