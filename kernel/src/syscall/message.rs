//! Messages: the send and recv families, with addresses and control messages.

use alloc::vec::Vec;

use abi::{Errno, IoVec, Mmsghdr, Msghdr, Timespec};
use fdmap::OnExec;
use sockmsg::control::{self, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use zerocopy::IntoBytes;

use super::file::{IoVecs, check_buffer};
use super::poll::timespec_deadline;
use super::socket::{Address, OpenSocket, flags_of, give_address};
use super::{Failure, Fd, SysResult};
use crate::fs;
use crate::fs::file::OpenFile;
use crate::mm::user::{MAX_IO, read_array};
use crate::mm::{Sink, Source, UserPtr};
use crate::net::{Incoming, Outgoing, Socket, msg};
use crate::time;

/// Most bytes of control messages in one call (`net.core.optmem_max`).
const MAX_CONTROL: usize = 131_072;
/// Most messages of one sendmmsg or recvmmsg, and elements of one I/O vector.
const MAX_VECTORS: u32 = 1024;
/// Flags that only the kernel itself passes.
const INTERNAL: u32 = 0x0f00_0000;

/// sendto(2).
pub fn sendto(
    fd: Fd,
    buf: UserPtr<u8>,
    len: usize,
    flags: u32,
    address: UserPtr<u8>,
    address_len: i32,
) -> SysResult {
    check_buffer(buf, len.min(MAX_IO))?;
    let file = OpenSocket::get(fd)?;
    let socket = file.socket()?;
    let to = if address.is_null() { Address::NONE } else { Address::read(address, address_len)? };
    let with = Outgoing { address: to.get(), control: &[] };
    let flags = flags & !INTERNAL | flags_of(file.file());
    socket.ops.send(&mut Source::user(buf, len), flags, Some(&with))
}

/// recvfrom(2).
pub fn recvfrom(
    fd: Fd,
    buf: UserPtr<u8>,
    len: usize,
    flags: u32,
    address: UserPtr<u8>,
    address_len: UserPtr<u32>,
) -> SysResult {
    check_buffer(buf, len.min(MAX_IO))?;
    let file = OpenSocket::get(fd)?;
    let socket = file.socket()?;
    let mut dst = Sink::user(buf, len);
    let flags = flags | flags_of(file.file());
    if address.is_null() {
        return socket.ops.receive(&mut dst, flags, None);
    }
    let mut incoming = Incoming::default();
    let done = socket.ops.receive(&mut dst, flags, Some(&mut incoming))?;
    give_address(&incoming.address, address, address_len)?;
    Ok(done)
}

/// A message header's I/O vector. EMSGSIZE for too many elements; EINVAL, EFAULT.
fn vectors(header: &Msghdr) -> Result<IoVecs, Errno> {
    if header.iovlen > MAX_VECTORS.into() {
        return Err(Errno::EMSGSIZE);
    }
    IoVecs::read(UserPtr::<IoVec>::new(header.iov as usize), header.iovlen as usize)
}

/// The length of a header's address. EINVAL if negative.
fn name_len(header: &Msghdr) -> Result<i32, Errno> {
    /// Longer ones are cut off.
    const STORAGE: i32 = 128;
    let len = if header.name == 0 { 0 } else { header.namelen.cast_signed() };
    if len < 0 { Err(Errno::EINVAL) } else { Ok(len.min(STORAGE)) }
}

fn send_one(file: &OpenFile, socket: &Socket, at: UserPtr<Msghdr>, flags: u32) -> SysResult {
    let header = at.read()?;
    let len = name_len(&header)?;
    let to = if len > 0 { Address::read(UserPtr::new(header.name as usize), len)? } else { Address::NONE };
    let vectors = vectors(&header)?;
    let control = match usize::try_from(header.controllen) {
        Ok(0) => Vec::new(),
        Ok(len) if header.control != 0 && len <= MAX_CONTROL => {
            read_array(UserPtr::<u8>::new(header.control as usize), len)?
        }
        Ok(_) if header.control == 0 => return Err(Errno::EFAULT.into()),
        _ => return Err(Errno::ENOBUFS.into()),
    };
    let with = Outgoing { address: to.get(), control: &control };
    let flags = flags & !INTERNAL | flags_of(file);
    socket.ops.send(&mut Source::iovecs(vectors.all()), flags, Some(&with))
}

/// sendmsg(2).
pub fn sendmsg(fd: Fd, header: UserPtr<Msghdr>, flags: u32) -> SysResult {
    if flags & msg::CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = OpenSocket::get(fd)?;
    send_one(file.file(), file.socket()?, header, flags)
}

/// A control buffer that is filled.
struct Control {
    at: UserPtr<u8>,
    room: usize,
    flags: u32,
}

impl Control {
    /// Puts one message, cut off where the buffer ends. What can't be written is left out, as on Linux.
    fn put(&mut self, kind: u32, data: &[u8]) {
        let Some((len, used)) = control::fit(data.len(), self.room) else {
            self.flags |= msg::CTRUNC;
            return;
        };
        let data_len = len - control::HEADER;
        if data_len < data.len() {
            self.flags |= msg::CTRUNC;
        }
        let header = control::header(SOL_SOCKET, kind, data_len);
        let data_at = self.at.field::<u8>(control::HEADER);
        if self.at.write_bytes(&header).is_err()
            || data_at.write_bytes(data.get(..data_len).unwrap_or_default()).is_err()
        {
            return;
        }
        self.at = self.at.field(used);
        self.room -= used;
    }

    /// Gives the files numbers and puts those; MSG_CTRUNC if some had to be left out.
    fn put_rights(&mut self, incoming: &mut Incoming, on_exec: OnExec) {
        let files = core::mem::take(&mut incoming.rights);
        let count = files.len();
        let fitting = control::rights_that_fit(count, self.room);
        let table = fs::files();
        let mut numbers: Vec<i32> = Vec::new();
        for file in files.into_iter().take(fitting) {
            let Ok(fd) = table.insert(file, on_exec) else { break };
            let at = self.at.field::<i32>(control::HEADER + 4 * numbers.len());
            if at.write(&fd.0).is_err() {
                let _ = table.close(fd);
                break;
            }
            numbers.push(fd.0);
        }
        if numbers.len() < count {
            self.flags |= msg::CTRUNC;
        }
        if !numbers.is_empty() {
            let before = self.flags;
            self.put(SCM_RIGHTS, numbers.as_bytes());
            self.flags = before;
        }
    }
}

fn receive_one(file: &OpenFile, socket: &Socket, at: UserPtr<Msghdr>, flags: u32) -> SysResult {
    let header = at.read()?;
    name_len(&header)?;
    let vectors = vectors(&header)?;
    let mut incoming = Incoming::default();
    let mut dst = Sink::iovecs(vectors.all());
    let done = socket.ops.receive(&mut dst, flags | flags_of(file), Some(&mut incoming))?;
    let mut control = Control {
        at: UserPtr::new(header.control as usize),
        room: if header.control == 0 { 0 } else { usize::try_from(header.controllen).unwrap_or(usize::MAX) },
        flags: incoming.flags | flags & msg::CMSG_CLOEXEC,
    };
    if let Some(credentials) = incoming.credentials {
        let words = [credentials.pid, credentials.uid, credentials.gid];
        control.put(SCM_CREDENTIALS, words.as_bytes());
    }
    if !incoming.rights.is_empty() {
        let mark = if flags & msg::CMSG_CLOEXEC != 0 { OnExec::Close } else { OnExec::Keep };
        control.put_rights(&mut incoming, mark);
    }
    if header.name != 0 {
        let len = at.field::<u32>(core::mem::offset_of!(Msghdr, namelen));
        give_address(&incoming.address, UserPtr::new(header.name as usize), len)?;
    }
    at.field::<u32>(core::mem::offset_of!(Msghdr, flags)).write(&control.flags)?;
    let used = control.at.addr().wrapping_sub(header.control as usize) as u64;
    at.field::<u64>(core::mem::offset_of!(Msghdr, controllen)).write(&used)?;
    Ok(done)
}

/// recvmsg(2).
pub fn recvmsg(fd: Fd, header: UserPtr<Msghdr>, flags: u32) -> SysResult {
    if flags & msg::CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = OpenSocket::get(fd)?;
    receive_one(file.file(), file.socket()?, header, flags)
}

/// Where the length of a message of an array goes.
fn len_of(at: UserPtr<Mmsghdr>) -> UserPtr<u32> {
    at.field(core::mem::offset_of!(Mmsghdr, len))
}

/// sendmmsg(2): an error counts only if nothing was sent.
pub fn sendmmsg(fd: Fd, headers: UserPtr<Mmsghdr>, count: u32, flags: u32) -> SysResult {
    if flags & msg::CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = OpenSocket::get(fd)?;
    let socket = file.socket()?;
    let mut sent = 0;
    while sent < count.min(MAX_VECTORS) as usize {
        let at = headers.add(sent);
        let done = send_one(file.file(), socket, at.field(0), flags)
            .and_then(|len| Ok(len_of(at).write(&(len as u32))?));
        match done {
            Ok(()) => sent += 1,
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// recvmmsg(2). As on Linux the timeout is looked at after each message only.
pub fn recvmmsg(
    fd: Fd,
    headers: UserPtr<Mmsghdr>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    if flags & msg::CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let deadline = timespec_deadline(timeout)?;
    let file = OpenSocket::get(fd)?;
    let socket = file.socket()?;
    let (mut received, mut flags, mut stop) = (0, flags, None);
    if flags & msg::ERRQUEUE == 0 {
        socket.ops.options().check_error()?;
    }
    while received < count.min(MAX_VECTORS) as usize {
        let at = headers.add(received);
        let done = receive_one(file.file(), socket, at.field(0), flags & !msg::WAITFORONE)
            .and_then(|len| Ok(len_of(at).write(&(len as u32))?));
        if let Err(error) = done {
            stop = Some(error);
            break;
        }
        received += 1;
        if flags & msg::WAITFORONE != 0 {
            flags |= msg::DONTWAIT;
        }
        if deadline.is_some_and(|deadline| time::monotonic_ns() >= deadline) {
            break;
        }
    }
    super::poll::write_rest(timeout, deadline);
    match stop {
        Some(error) if received == 0 => Err(error),
        // What ended it is told by the next call.
        Some(error) => {
            if let Failure::Errno(error) = error.failure()
                && error != Errno::EAGAIN
            {
                socket.ops.options().set_error(error);
            }
            Ok(received)
        }
        None => Ok(received),
    }
}
