//! POSIX message queues: mq_open(3) and its relatives, whose system calls take names without the leading slash.

use alloc::sync::Arc;

use abi::ipc::MqAttr;
use abi::{Errno, OpenFlags, Signal, Timespec};
use fdmap::OnExec;

use super::args::Path as PathArg;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::file::{Mode, OpenFile};
use crate::fs::mqueue::{self, MessageQueue, Notify};
use crate::fs::path::UserPath;
use crate::mm::UserPtr;
use crate::mm::user::read_array;
use crate::task::current;
use crate::time;

/// mq_open(2).
pub fn mq_open(name: PathArg, flags: OpenFlags, mode: u32, attr: UserPtr<MqAttr>) -> SysResult {
    let attributes = match attr.non_null() {
        Some(attr) if flags.contains(OpenFlags::CREAT) => Some(attr.read()?),
        _ => None,
    };
    let mut buffer = UserPath::new();
    let name = buffer.read(name)?;
    let files = fs::files();
    files.check_room()?;
    let flags = OpenFlags::from_bits_truncate(flags.bits());
    let file = mqueue::open(name, flags, mode, attributes)?;
    Ok(files.insert(file, OnExec::Close)?.0 as usize)
}

/// mq_unlink(2).
pub fn mq_unlink(name: PathArg) -> SysResult {
    mqueue::unlink(UserPath::new().read(name)?)?;
    Ok(0)
}

/// A time of the wall clock, as a deadline of the monotonic one. EFAULT, EINVAL.
fn deadline(at: UserPtr<Timespec>) -> Result<Option<u64>, Errno> {
    let Some(at) = at.non_null() else { return Ok(None) };
    let at = at.read()?;
    let ns = at.to_ns().filter(|_| at.is_valid()).ok_or(Errno::EINVAL)?;
    let offset = time::wall_offset_ns();
    Ok(Some(ns.saturating_add_signed(offset.checked_neg().unwrap_or(i64::MAX))))
}

/// A queue by its descriptor, open for that. EBADF.
fn queue_of(file: &OpenFile, mode: Mode) -> Result<&Arc<MessageQueue>, Errno> {
    mqueue::of(file).filter(|_| file.mode.contains(mode)).ok_or(Errno::EBADF)
}

/// mq_timedsend(2).
pub fn mq_timedsend(
    fd: Fd,
    message: UserPtr<u8>,
    len: usize,
    priority: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    /// MQ_PRIO_MAX
    const PRIORITIES: u32 = 32_768;
    let deadline = deadline(timeout)?;
    if priority >= PRIORITIES {
        return Err(Errno::EINVAL.into());
    }
    let file = fs::files().get(fd)?;
    let queue = queue_of(&file, Mode::WRITE)?;
    if len as u64 > queue.max_len() {
        return Err(Errno::EMSGSIZE.into());
    }
    queue.send(&file, priority, read_array(message, len)?, deadline)
}

/// mq_timedreceive(2).
pub fn mq_timedreceive(
    fd: Fd,
    out: UserPtr<u8>,
    room: usize,
    priority: UserPtr<u32>,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let deadline = deadline(timeout)?;
    let file = fs::files().get(fd)?;
    let queue = queue_of(&file, Mode::READ)?;
    if (room as u64) < queue.max_len() {
        return Err(Errno::EMSGSIZE.into());
    }
    let (its_priority, message) = queue.receive(&file, deadline)?;
    if let Some(priority) = priority.non_null() {
        priority.write(&its_priority)?;
    }
    out.write_bytes(&message)?;
    Ok(message.len())
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;

/// mq_notify(2). SIGEV_THREAD needs a netlink socket, which nobody can have here.
pub fn mq_notify(fd: Fd, event: UserPtr<[u64; 2]>) -> SysResult {
    let notify = match event.non_null() {
        None => None,
        Some(event) => {
            let [value, kind] = event.read()?;
            let (number, kind) = (kind as i32, (kind >> 32) as i32);
            let signal = match kind {
                SIGEV_NONE => None,
                SIGEV_SIGNAL if !(0..=64).contains(&number) => return Err(Errno::EINVAL.into()),
                SIGEV_SIGNAL => Signal::new(number.cast_unsigned()),
                SIGEV_THREAD => {
                    fs::files().get(Fd(number))?;
                    return Err(Errno::EINVAL.into());
                }
                _ => return Err(Errno::EINVAL.into()),
            };
            Some(Notify { process: current().process.pid, signal, value })
        }
    };
    let file = fs::files().get(fd)?;
    queue_of(&file, Mode::empty())?.register(notify)?;
    Ok(0)
}

/// mq_getsetattr(2).
pub fn mq_getsetattr(fd: Fd, new: UserPtr<MqAttr>, old: UserPtr<MqAttr>) -> SysResult {
    let nonblock = i64::from(OpenFlags::NONBLOCK.bits());
    let new = match new.non_null() {
        Some(new) => {
            let new = new.read()?;
            if new.flags & !nonblock != 0 {
                return Err(Errno::EINVAL.into());
            }
            Some(new)
        }
        None => None,
    };
    let file = fs::files().get(fd)?;
    let mut attributes = queue_of(&file, Mode::empty())?.attributes();
    attributes.flags = i64::from(file.flags().bits()) & nonblock;
    if let Some(new) = new {
        let mut flags = file.flags();
        flags.set(OpenFlags::NONBLOCK, new.flags != 0);
        file.set_flags(flags);
    }
    if let Some(old) = old.non_null() {
        old.write(&attributes)?;
    }
    Ok(0)
}
