//! Structures of the socket calls.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct msghdr` (sendmsg(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Msghdr {
    /// Address of a socket address.
    pub name: u64,
    pub namelen: u32,
    pub pad0: u32,
    /// Address of the I/O vector.
    pub iov: u64,
    pub iovlen: u64,
    /// Address of the control messages.
    pub control: u64,
    pub controllen: u64,
    /// `MSG_*`, set by recvmsg(2).
    pub flags: u32,
    pub pad1: u32,
}

/// `struct mmsghdr` (sendmmsg(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mmsghdr {
    pub hdr: Msghdr,
    /// Bytes that were moved.
    pub len: u32,
    pub pad: u32,
}
