//! Sockets: what they have in common ([`SocketOps`], options, their files), and the families: [`unix`].
//!
//! `syscall::socket` decodes; a [`Socket`] is the file behind a descriptor, and its family's `SocketOps` does the work.

pub mod options;
pub mod unix;

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use abi::{Errno, OpenFlags};
use spin::Once;

use crate::fs::dentry::Dentry;
use crate::fs::file::{FileOps, Mode, OpenFile};
use crate::fs::inode::{Contents, FileKind, Inode};
use crate::fs::mount::{Mount, SOCKFS};
use crate::fs::path::Path;
use crate::fs::poll::{Events, Poller};
use crate::fs::sigio::owner_kind;
use crate::fs::{anon, inode::InodeOps};
use crate::mm::user::UserRange;
use crate::mm::{Sink, Source, UserPtr};
use crate::syscall::{SysError, SysResult};
use options::Options;

/// `AF_UNIX`
pub const AF_UNIX: u32 = 1;

/// `MSG_*` (send(2), recv(2)).
pub mod msg {
    pub const OOB: u32 = 1;
    pub const PEEK: u32 = 2;
    pub const CTRUNC: u32 = 8;
    pub const TRUNC: u32 = 0x20;
    pub const DONTWAIT: u32 = 0x40;
    pub const WAITALL: u32 = 0x100;
    pub const ERRQUEUE: u32 = 0x2000;
    pub const NOSIGNAL: u32 = 0x4000;
    pub const WAITFORONE: u32 = 0x1_0000;
    pub const CMSG_CLOEXEC: u32 = 0x4000_0000;
    /// For 32-bit programs only.
    pub const CMSG_COMPAT: u32 = 0x8000_0000;
}

/// How a socket carries what is sent; the values are those of `SOCK_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Stream = 1,
    Datagram = 2,
    SeqPacket = 5,
}

/// A process as its peer sees it (`struct ucred`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What is sent beside the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    /// The address to send to; empty for none.
    pub address: &'a [u8],
    /// Control messages.
    pub control: &'a [u8],
}

/// What was received beside the bytes.
#[derive(Default)]
pub struct Incoming {
    /// The sender's address; empty if it has none.
    pub address: Vec<u8>,
    /// `MSG_*` that the message got on its way.
    pub flags: u32,
    pub credentials: Option<Credentials>,
    pub rights: Vec<Arc<OpenFile>>,
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Own,
    Peer,
}

/// `SHUT_*` as bits.
pub mod shut {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const BOTH: u32 = 3;
}

/// What a family does for its sockets. Flags are `MSG_*`, of which DONTWAIT says whether a call may sleep.
pub trait SocketOps: Send + Sync + 'static {
    /// For downcasts to a family's own.
    fn as_any(&self) -> &dyn Any;

    fn kind(&self) -> Kind;

    fn options(&self) -> &Options;

    /// The file has this number in sockfs.
    fn opened(&self, inode: u64);

    /// `mode`: permission bits of a file that the address may make.
    fn bind(&self, address: &[u8], mode: u32) -> Result<(), Errno>;

    fn connect(&self, address: &[u8], flags: u32) -> Result<(), SysError>;

    fn listen(&self, backlog: u32) -> Result<(), Errno>;

    fn is_listening(&self) -> bool;

    fn accept(&self, flags: u32) -> Result<Box<dyn SocketOps>, SysError>;

    /// ENOTCONN for the address of a peer that isn't.
    fn address(&self, whose: Whose) -> Result<Vec<u8>, Errno>;

    fn peer_credentials(&self) -> Option<Credentials>;

    /// Returns how many bytes were taken.
    fn send(&self, src: &mut Source<'_>, flags: u32, with: Option<&Outgoing<'_>>) -> SysResult;

    /// Returns how many bytes there were.
    fn receive(&self, dst: &mut Sink<'_>, flags: u32, with: Option<&mut Incoming>) -> SysResult;

    /// write(2) where nobody watches.
    fn write_program(&self, buf: UserRange, flags: u32) -> SysResult;

    /// As `write_program`, the other way.
    fn read_program(&self, buf: UserRange, flags: u32) -> SysResult;

    /// `how`: bits of [`shut`].
    fn shutdown(&self, how: u32) -> Result<(), Errno>;

    fn poll(&self, poller: Poller<'_>) -> Events;

    fn ioctl(&self, command: u32, argument: usize) -> SysResult;

    /// The size of the send buffer changed.
    fn send_buffer_changed(&self);
}

/// The file of a socket.
pub struct Socket {
    pub domain: u32,
    pub ops: Box<dyn SocketOps>,
}

fn flags_of(file: &OpenFile) -> u32 {
    if file.is_nonblocking() { msg::DONTWAIT } else { 0 }
}

impl FileOps for Socket {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &OpenFile, _: &mut u64, dst: &mut Sink<'_>) -> SysResult {
        // Nothing asked for is nothing done, unlike recv(2).
        if dst.remaining() == 0 {
            return Ok(0);
        }
        self.ops.receive(dst, flags_of(file), None)
    }

    fn write(&self, file: &OpenFile, _: &mut u64, src: &mut Source<'_>) -> SysResult {
        self.ops.send(src, flags_of(file), None)
    }

    fn read_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        self.ops.read_program(buf, flags_of(file))
    }

    fn write_program(&self, file: &OpenFile, buf: UserRange) -> SysResult {
        self.ops.write_program(buf, flags_of(file))
    }

    fn poll(&self, _: &OpenFile, poller: Poller<'_>) -> Events {
        self.ops.poll(poller)
    }

    fn can_signal(&self) -> bool {
        true
    }

    fn is_pollable(&self) -> bool {
        true
    }

    fn ioctl(&self, file: &OpenFile, command: u32, argument: usize) -> SysResult {
        const FIOSETOWN: u32 = 0x8901;
        const SIOCSPGRP: u32 = 0x8902;
        const FIOGETOWN: u32 = 0x8903;
        const SIOCGPGRP: u32 = 0x8904;
        let int = UserPtr::<i32>::new(argument);
        match command {
            FIOSETOWN | SIOCSPGRP => {
                let id = int.read()?;
                let kind = if id < 0 { owner_kind::GROUP } else { owner_kind::PROCESS };
                file.signals().set_owner(id, kind)?;
            }
            FIOGETOWN | SIOCGPGRP => int.write(&file.owner().id)?,
            _ => return self.ops.ioctl(command, argument),
        }
        Ok(0)
    }
}

/// The socket behind an open file. ENOTSOCK.
pub fn of(file: &OpenFile) -> Result<&Socket, Errno> {
    file.ops.as_any().downcast_ref().ok_or(Errno::ENOTSOCK)
}

/// An inode of sockfs: it can't be opened by a path (ENXIO).
struct SocketInode;

impl InodeOps for SocketInode {}

/// An open file for a socket.
pub fn open(domain: u32, ops: Box<dyn SocketOps>, flags: OpenFlags) -> Arc<OpenFile> {
    static MOUNT: Once<Arc<Mount>> = Once::new();
    let mount = anon::internal_mount(&MOUNT, &SOCKFS);
    let number = mount.fs.next_inode();
    ops.opened(number);
    let new = anon::attributes(FileKind::Socket, 0o777);
    let inode = Arc::new(Inode::new(&mount.fs, number, &new, Contents::other(SocketInode)));
    let dentry = Dentry::detached(format!("socket:[{number}]").as_bytes(), inode);
    let path = Path { mount: mount.clone(), dentry };
    Arc::new(OpenFile::new(path, flags | OpenFlags::RDWR, Mode::READ | Mode::WRITE, Socket { domain, ops }))
}

/// A new socket's family and kind. EINVAL, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT.
pub fn check(domain: u32, kind: u32, protocol: u32) -> Result<Kind, Errno> {
    /// `NPROTO` and `SOCK_MAX`.
    const FAMILIES: u32 = 46;
    const KINDS: u32 = 11;
    if domain < FAMILIES && kind >= KINDS {
        return Err(Errno::EINVAL);
    }
    if domain != AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol != 0 && protocol != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        1 => Ok(Kind::Stream),
        // SOCK_RAW is another name for it.
        2 | 3 => Ok(Kind::Datagram),
        5 => Ok(Kind::SeqPacket),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}
