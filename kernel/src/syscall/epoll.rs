//! epoll(7).

use abi::{Errno, OpenFlags, SigSet, Timespec};

use super::file::on_exec;
use super::poll::use_mask;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::epoll::{self, Interest, flag};
use crate::fs::poll::Events;
use crate::mm::UserPtr;
use crate::time;

/// Bytes of `struct epoll_event`, which is packed on x86_64: events, then data.
const EVENT_SIZE: usize = 12;

/// epoll_create1(2).
pub fn epoll_create1(flags: u32) -> SysResult {
    let flags = OpenFlags::from_bits_retain(flags);
    if !OpenFlags::CLOEXEC.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    Ok(fs::files().insert(epoll::new(OpenFlags::empty()), on_exec(flags))?.0 as usize)
}

/// epoll_create(2).
pub fn epoll_create(size: i32) -> SysResult {
    if size <= 0 { Err(Errno::EINVAL.into()) } else { epoll_create1(0) }
}

const ADD: u32 = 1;
const DEL: u32 = 2;
const MOD: u32 = 3;

/// epoll_ctl(2).
pub fn epoll_ctl(epfd: Fd, op: u32, fd: Fd, event: UserPtr<u8>) -> SysResult {
    let interest = if op == DEL {
        Interest { events: 0, data: 0 }
    } else {
        let mut bytes = [0; EVENT_SIZE];
        event.read_bytes(&mut bytes)?;
        let [a, b, c, d, data @ ..] = bytes;
        Interest { events: u32::from_ne_bytes([a, b, c, d]), data: u64::from_ne_bytes(data) }
    };
    let files = fs::files();
    let outer = files.get(epfd)?;
    let file = files.get(fd)?;
    if !file.ops.is_pollable() {
        return Err(Errno::EPERM.into());
    }
    let set = epoll::of(&outer).ok_or(Errno::EINVAL)?;
    if outer.identity() == file.identity() {
        return Err(Errno::EINVAL.into());
    }
    let inner = epoll::of(&file);
    if op != DEL && interest.events & flag::EXCLUSIVE != 0 {
        let allowed = (Events::IN | Events::OUT | Events::ERR | Events::HUP).bits()
            | flag::WAKEUP
            | flag::EDGE
            | flag::EXCLUSIVE;
        if op == MOD || inner.is_some() || interest.events & !allowed != 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    match op {
        ADD => {
            if let Some(inner) = inner {
                set.check_nesting(inner)?;
            }
            set.add(fd.0, &file, interest)?;
        }
        DEL => set.remove(fd.0, &file)?,
        MOD => set.modify(fd.0, &file, interest)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Timeout {
    /// epoll_wait's milliseconds: negative for ever.
    Millis(i32),
    Deadline(Option<u64>),
}

impl Timeout {
    fn deadline(self) -> Option<u64> {
        match self {
            Self::Millis(..0) => None,
            Self::Millis(0) => Some(0),
            Self::Millis(ms) => {
                Some(time::monotonic_ns().saturating_add(u64::from(ms.unsigned_abs()) * 1_000_000))
            }
            Self::Deadline(deadline) => deadline,
        }
    }
}

#[inline(always)]
fn wait(epfd: Fd, events: UserPtr<u8>, max: i32, timeout: Timeout) -> SysResult {
    let max = usize::try_from(max).ok().filter(|&max| max > 0 && max <= i32::MAX as usize / EVENT_SIZE);
    let max = max.ok_or(Errno::EINVAL)?;
    if !crate::mm::user::is_user_range(events.addr(), max * EVENT_SIZE) {
        return Err(Errno::EFAULT.into());
    }
    let file = fs::files().get_ref(epfd)?;
    let set = epoll::of(&file).ok_or(Errno::EINVAL)?;
    match epoll::only_event(set) {
        Some((ready, data)) => {
            events.field::<(u32, u64)>(0).store(ready, data)?;
            Ok(1)
        }
        None => wait_slowly(set, events, max, timeout),
    }
}

#[inline(never)]
fn wait_slowly(set: &epoll::Set, events: UserPtr<u8>, max: usize, timeout: Timeout) -> SysResult {
    let mut at = 0;
    epoll::wait(set, max, timeout.deadline(), |ready, data| {
        events.field::<(u32, u64)>(at).store(ready, data)?;
        at += EVENT_SIZE;
        Ok(())
    })
}

/// epoll_wait(2).
pub fn epoll_wait(epfd: Fd, events: UserPtr<u8>, max: i32, timeout_ms: i32) -> SysResult {
    wait(epfd, events, max, Timeout::Millis(timeout_ms))
}

/// epoll_pwait(2).
pub fn epoll_pwait(
    epfd: Fd,
    events: UserPtr<u8>,
    max: i32,
    timeout_ms: i32,
    mask: UserPtr<SigSet>,
    mask_size: usize,
) -> SysResult {
    use_mask(mask, mask_size)?;
    wait(epfd, events, max, Timeout::Millis(timeout_ms))
}

/// epoll_pwait2(2).
pub fn epoll_pwait2(
    epfd: Fd,
    events: UserPtr<u8>,
    max: i32,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<SigSet>,
    mask_size: usize,
) -> SysResult {
    let deadline = super::poll::timespec_deadline(timeout)?;
    use_mask(mask, mask_size)?;
    wait(epfd, events, max, Timeout::Deadline(deadline))
}
