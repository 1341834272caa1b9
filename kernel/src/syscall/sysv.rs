//! System V IPC: shared memory (shmget(2) …), semaphores (semget(2) …), message queues (msgget(2) …).

use alloc::vec::Vec;

use abi::ipc::{SemBuf, SemDs};
use abi::{Errno, Timespec};
use ipc::msg::Message;
use ipc::sem::Op;
use zerocopy::IntoBytes;

use super::SysResult;
use crate::ipc::sem::{Ask, Info};
use crate::ipc::shm::command;
use crate::ipc::{Stat, flag, msg, sem, shm};
use crate::mm::UserPtr;
use crate::mm::user::read_array;
use crate::task::current;
use crate::task::process::rlimit;
use crate::time;

/// shmget(2).
pub fn shmget(key: i32, size: usize, flags: u32) -> SysResult {
    Ok(shm::get(key, size, flags)? as usize)
}

/// shmat(2).
pub fn shmat(id: i32, address: usize, flags: u32) -> SysResult {
    let space = current().address_space().ok_or(Errno::EFAULT)?;
    let limit = usize::try_from(current().process.limit(rlimit::AS)).unwrap_or(usize::MAX);
    Ok(shm::attach(space, id, address, flags, limit)?)
}

/// shmdt(2).
pub fn shmdt(address: usize) -> SysResult {
    shm::detach(current().address_space().ok_or(Errno::EFAULT)?, address)?;
    Ok(0)
}

/// Writes what a `*_STAT` or `*_INFO` command found, and returns its number.
#[inline(never)]
fn give(argument: usize, value: &[u8], number: usize) -> SysResult {
    UserPtr::new(argument).write_bytes(value)?;
    Ok(number)
}

/// Whether a command looks an object up by its identifier or by its index.
fn how(cmd: u32, by_index: u32) -> Stat {
    match cmd {
        flag::STAT => Stat::ById,
        _ if cmd == by_index => Stat::ByIndex,
        _ => Stat::Anyhow,
    }
}

/// shmctl(2).
pub fn shmctl(id: i32, cmd: u32, argument: usize) -> SysResult {
    if cmd.cast_signed() < 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match cmd {
        flag::INFO => {
            let (info, highest) = shm::limits();
            return give(argument, info.as_bytes(), highest);
        }
        command::INFO => {
            let (info, highest) = shm::usage();
            return give(argument, info.as_bytes(), highest);
        }
        flag::STAT | command::STAT | command::STAT_ANY => {
            let (ds, number) = shm::stat(id, how(cmd, command::STAT))?;
            return give(argument, ds.as_bytes(), number as usize);
        }
        flag::SET => shm::set(id, &UserPtr::new(argument).read()?)?,
        flag::RMID => shm::remove(id)?,
        command::LOCK | command::UNLOCK => shm::lock(id, cmd == command::LOCK)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// semget(2).
pub fn semget(key: i32, count: i32, flags: u32) -> SysResult {
    Ok(sem::get(key, count, flags)? as usize)
}

/// semop(2).
pub fn semop(id: i32, ops: UserPtr<SemBuf>, count: u32) -> SysResult {
    semtimedop(id, ops, count, UserPtr::new(0))
}

/// semtimedop(2).
pub fn semtimedop(id: i32, ops: UserPtr<SemBuf>, count: u32, timeout: UserPtr<Timespec>) -> SysResult {
    const UNDO: u16 = 0x1000;
    let timeout = match timeout.non_null() {
        Some(timeout) => Some(timeout.read()?),
        None => None,
    };
    if u64::from(count) > sem::max_ops() {
        return Err(Errno::E2BIG.into());
    }
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    let bufs = read_array(ops, count as usize)?;
    let mut ops = Vec::new();
    ops.try_reserve_exact(bufs.len()).map_err(|_| Errno::ENOMEM)?;
    ops.extend(bufs.iter().map(|buf| Op {
        number: buf.num,
        change: buf.op,
        no_wait: u32::from(buf.flags) & flag::NOWAIT != 0,
        undo: buf.flags & UNDO != 0,
    }));
    let deadline = match timeout {
        Some(timeout) => {
            let ns = timeout.to_ns().filter(|_| timeout.is_valid()).ok_or(Errno::EINVAL)?;
            Some(time::monotonic_ns().saturating_add(ns))
        }
        None => None,
    };
    sem::operate(id, ops, deadline)?;
    Ok(0)
}

/// Commands of semctl(2).
mod semctl_command {
    pub(super) const GETPID: u32 = 11;
    pub(super) const GETVAL: u32 = 12;
    pub(super) const GETALL: u32 = 13;
    pub(super) const GETNCNT: u32 = 14;
    pub(super) const GETZCNT: u32 = 15;
    pub(super) const SETVAL: u32 = 16;
    pub(super) const SETALL: u32 = 17;
    pub(super) const STAT: u32 = 18;
    pub(super) const INFO: u32 = 19;
    pub(super) const STAT_ANY: u32 = 20;
}

/// semctl(2).
pub fn semctl(id: i32, number: i32, cmd: u32, argument: usize) -> SysResult {
    use semctl_command::*;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match cmd {
        flag::INFO | INFO => {
            let (info, highest) = sem::info(if cmd == INFO { Info::Usage } else { Info::Limits });
            return give(argument, info.as_bytes(), highest);
        }
        flag::STAT | STAT | STAT_ANY => {
            let (ds, number) = sem::stat(id, how(cmd, STAT))?;
            return give(argument, ds.as_bytes(), number as usize);
        }
        GETPID => return Ok(sem::ask(id, number, Ask::Process)?),
        GETVAL => return Ok(sem::ask(id, number, Ask::Value)?),
        GETNCNT => return Ok(sem::ask(id, number, Ask::WaitingForMore)?),
        GETZCNT => return Ok(sem::ask(id, number, Ask::WaitingForZero)?),
        GETALL => UserPtr::<u8>::new(argument).write_bytes(sem::values(id)?.as_bytes())?,
        SETALL => {
            let values = read_array(UserPtr::<u16>::new(argument), sem::count(id)?)?;
            sem::set_values(id, &values)?;
        }
        SETVAL => sem::set_value(id, number, argument as i32)?,
        flag::SET => sem::set(id, &UserPtr::<SemDs>::new(argument).read()?)?,
        flag::RMID => sem::remove(id)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// msgget(2).
pub fn msgget(key: i32, flags: u32) -> SysResult {
    Ok(msg::get(key, flags)? as usize)
}

/// The text behind a message's type.
const TEXT: usize = size_of::<i64>();

/// msgsnd(2).
pub fn msgsnd(id: i32, message: UserPtr<i64>, len: usize, flags: u32) -> SysResult {
    let kind = message.read()?;
    if len as u64 > msg::max_len() || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let data = read_array(message.field::<u8>(TEXT), len)?;
    msg::send(id, Message { kind, data }, flags)?;
    Ok(0)
}

/// msgrcv(2).
pub fn msgrcv(id: i32, out: UserPtr<i64>, room: usize, kind: i64, flags: u32) -> SysResult {
    let message = msg::receive(id, room, kind, flags)?;
    let text = message.data.get(..room).unwrap_or(&message.data);
    out.write(&message.kind)?;
    out.field::<u8>(TEXT).write_bytes(text)?;
    Ok(text.len())
}

/// Commands of msgctl(2) besides those that all kinds have.
mod msgctl_command {
    pub(super) const STAT: u32 = 11;
    pub(super) const INFO: u32 = 12;
    pub(super) const STAT_ANY: u32 = 13;
}

/// msgctl(2).
pub fn msgctl(id: i32, cmd: u32, argument: usize) -> SysResult {
    use msgctl_command::*;
    if cmd.cast_signed() < 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match cmd {
        flag::INFO | INFO => {
            let (info, highest) = msg::info(if cmd == INFO { Info::Usage } else { Info::Limits });
            return give(argument, info.as_bytes(), highest);
        }
        flag::STAT | STAT | STAT_ANY => {
            let (ds, number) = msg::stat(id, how(cmd, STAT))?;
            return give(argument, ds.as_bytes(), number as usize);
        }
        flag::SET => msg::set(id, &UserPtr::new(argument).read()?)?,
        flag::RMID => msg::remove(id)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
