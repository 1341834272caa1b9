//! The socket calls: making sockets, naming and connecting them, options. What moves bytes is in `message`.

use alloc::sync::Arc;

use abi::{Errno, OpenFlags};

use super::file::on_exec;
use super::{Fd, SysResult};
use crate::fs;
use crate::fs::file::OpenFile;
use crate::mm::UserPtr;
use crate::net::{self, Socket, Whose, msg, options, shut, unix};

/// `SOL_SOCKET`
const SOL_SOCKET: i32 = 1;
/// `net.core.somaxconn`
const MAX_BACKLOG: u32 = 4096;
/// The bits of a type that name the kind (`SOCK_TYPE_MASK`).
const KIND: u32 = 0xf;

/// `struct sockaddr_storage`: more than any address has.
pub(super) struct Address {
    bytes: [u8; 128],
    len: usize,
}

impl Address {
    /// No address.
    pub(super) const NONE: Self = Self { bytes: [0; 128], len: 0 };

    /// EINVAL for a length that can't be; EFAULT.
    pub(super) fn read(from: UserPtr<u8>, len: i32) -> Result<Self, Errno> {
        let mut address = Self::NONE;
        address.len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        from.read_bytes(address.bytes.get_mut(..address.len).ok_or(Errno::EINVAL)?)?;
        Ok(address)
    }

    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Gives an address as far as the program has room for it, and its whole length. EINVAL, EFAULT.
pub(super) fn give_address(address: &[u8], out: UserPtr<u8>, len: UserPtr<u32>) -> Result<(), Errno> {
    let room = usize::try_from(len.read()?.cast_signed()).map_err(|_| Errno::EINVAL)?;
    out.write_bytes(address.get(..room.min(address.len())).unwrap_or_default())?;
    len.write(&(address.len() as u32))
}

/// Flags of a call on this file: O_NONBLOCK counts as MSG_DONTWAIT.
pub(super) fn flags_of(file: &OpenFile) -> u32 {
    if file.is_nonblocking() { msg::DONTWAIT } else { 0 }
}

/// SOCK_NONBLOCK and SOCK_CLOEXEC, which have the values of O_NONBLOCK and O_CLOEXEC. EINVAL for others.
fn file_flags(flags: u32) -> Result<OpenFlags, Errno> {
    let allowed = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
    OpenFlags::from_bits(flags).filter(|&flags| allowed.contains(flags)).ok_or(Errno::EINVAL)
}

/// socket(2).
pub fn socket(domain: u32, kind: u32, protocol: u32) -> SysResult {
    let flags = file_flags(kind & !KIND)?;
    let kind = net::check(domain, kind & KIND, protocol)?;
    let file = net::open(domain, unix::new(kind), flags & !OpenFlags::CLOEXEC);
    Ok(fs::files().insert(file, on_exec(flags))?.0 as usize)
}

/// socketpair(2). As on Linux the numbers are there, and written, before it is known whether there can be a pair.
pub fn socketpair(domain: u32, kind: u32, protocol: u32, out: UserPtr<[i32; 2]>) -> SysResult {
    let flags = file_flags(kind & !KIND)?;
    let files = fs::files();
    files.check_room()?;
    let checked = net::check(domain, kind & KIND, protocol);
    let Ok(kind) = checked else {
        out.write(&[-1, -1])?;
        return Err(checked.err().unwrap_or(Errno::EINVAL).into());
    };
    let [first, second] = unix::pair(kind).map(|end| net::open(domain, end, flags & !OpenFlags::CLOEXEC));
    let first = files.insert(first, on_exec(flags))?;
    let second = match files.insert(second, on_exec(flags)) {
        Ok(fd) => fd,
        Err(error) => {
            files.close(first)?;
            return Err(error.into());
        }
    };
    if let Err(error) = out.write(&[first.0, second.0]) {
        files.close(first)?;
        files.close(second)?;
        return Err(error.into());
    }
    Ok(0)
}

/// bind(2).
pub fn bind(fd: Fd, address: UserPtr<u8>, len: i32) -> SysResult {
    let file = OpenSocket::get(fd)?;
    let address = Address::read(address, len)?;
    file.socket()?.ops.bind(address.get(), file.file().inode().mode())?;
    Ok(0)
}

/// connect(2).
pub fn connect(fd: Fd, address: UserPtr<u8>, len: i32) -> SysResult {
    let file = fs::files().get(fd)?;
    let address = Address::read(address, len)?;
    net::of(&file)?.ops.connect(address.get(), flags_of(&file))?;
    Ok(0)
}

/// listen(2).
pub fn listen(fd: Fd, backlog: u32) -> SysResult {
    with_socket(fd, &mut |socket| socket.ops.listen(backlog.min(MAX_BACKLOG)))
}

/// accept4(2).
pub fn accept4(fd: Fd, address: UserPtr<u8>, len: UserPtr<u32>, flags: u32) -> SysResult {
    let files = fs::files();
    let file = files.get(fd)?;
    let flags = file_flags(flags)?;
    let socket = net::of(&file)?;
    files.check_room()?;
    let accepted = socket.ops.accept(flags_of(&file))?;
    if !address.is_null() {
        let peer = accepted.address(Whose::Peer).map_err(|_| Errno::ECONNABORTED)?;
        give_address(&peer, address, len)?;
    }
    let file = net::open(socket.domain, accepted, flags & !OpenFlags::CLOEXEC);
    Ok(files.insert(file, on_exec(flags))?.0 as usize)
}

/// accept(2).
pub fn accept(fd: Fd, address: UserPtr<u8>, len: UserPtr<u32>) -> SysResult {
    accept4(fd, address, len, 0)
}

/// An open file that is a socket.
pub(super) struct OpenSocket(Arc<OpenFile>);

impl OpenSocket {
    /// EBADF, ENOTSOCK.
    #[inline(never)]
    pub(super) fn get(fd: Fd) -> Result<Self, Errno> {
        let file = fs::files().get(fd)?;
        net::of(&file)?;
        Ok(Self(file))
    }

    pub(super) fn file(&self) -> &OpenFile {
        &self.0
    }

    /// ENOTSOCK, which `get` has excluded.
    pub(super) fn socket(&self) -> Result<&Socket, Errno> {
        net::of(&self.0)
    }
}

/// Does something with a socket.
fn with_socket(fd: Fd, act: &mut dyn FnMut(&Socket) -> Result<(), Errno>) -> SysResult {
    act(OpenSocket::get(fd)?.socket()?)?;
    Ok(0)
}

/// getsockname(2).
pub fn getsockname(fd: Fd, address: UserPtr<u8>, len: UserPtr<u32>) -> SysResult {
    with_socket(fd, &mut |socket| give_address(&socket.ops.address(Whose::Own)?, address, len))
}

/// getpeername(2).
pub fn getpeername(fd: Fd, address: UserPtr<u8>, len: UserPtr<u32>) -> SysResult {
    with_socket(fd, &mut |socket| give_address(&socket.ops.address(Whose::Peer)?, address, len))
}

/// shutdown(2).
pub fn shutdown(fd: Fd, how: u32) -> SysResult {
    with_socket(fd, &mut |socket| {
        let bits = match how {
            0 => shut::READ,
            1 => shut::WRITE,
            2 => shut::BOTH,
            _ => return Err(Errno::EINVAL),
        };
        socket.ops.shutdown(bits)
    })
}

/// setsockopt(2).
pub fn setsockopt(fd: Fd, level: i32, name: u32, value: UserPtr<u8>, len: i32) -> SysResult {
    with_socket(fd, &mut |socket| {
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        options::set(socket, name, value, len)
    })
}

/// getsockopt(2).
pub fn getsockopt(fd: Fd, level: i32, name: u32, value: UserPtr<u8>, len: UserPtr<u32>) -> SysResult {
    with_socket(fd, &mut |socket| {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        options::get(socket, name, value, len)
    })
}
