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

fn wait(epfd: Fd, events: UserPtr<u8>, max: i32, deadline: Option<u64>) -> SysResult {
    let max = usize::try_from(max).ok().filter(|&max| max > 0 && max <= i32::MAX as usize / EVENT_SIZE);
    let max = max.ok_or(Errno::EINVAL)?;
    if !crate::mm::user::is_user_range(events.addr(), max * EVENT_SIZE) {
        return Err(Errno::EFAULT.into());
    }
    let file = fs::files().get_ref(epfd)?;
    let set = epoll::of(&file).ok_or(Errno::EINVAL)?;
    let mut at = 0;
    epoll::wait(set, max, deadline, |ready, data| {
        let mut bytes = [0; EVENT_SIZE];
        let (first, rest) = bytes.split_at_mut(4);
        first.copy_from_slice(&ready.to_ne_bytes());
        rest.copy_from_slice(&data.to_ne_bytes());
        events.field::<u8>(at).write_bytes(&bytes)?;
        at += EVENT_SIZE;
        Ok(())
    })
}

/// A timeout in milliseconds as a deadline.
fn deadline_ms(timeout_ms: i32) -> Option<u64> {
    match timeout_ms {
        ..0 => None,
        0 => Some(0),
        ms => Some(time::monotonic_ns().saturating_add(ms.unsigned_abs() as u64 * 1_000_000)),
    }
}

/// epoll_wait(2).
pub fn epoll_wait(epfd: Fd, events: UserPtr<u8>, max: i32, timeout_ms: i32) -> SysResult {
    wait(epfd, events, max, deadline_ms(timeout_ms))
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
    wait(epfd, events, max, deadline_ms(timeout_ms))
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
    wait(epfd, events, max, deadline)
}
