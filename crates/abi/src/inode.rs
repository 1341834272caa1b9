//! Modes, device numbers, directory entries (inode(7), getdents64(2)).

use core::fmt;

use zerocopy::IntoBytes;

use crate::Dirent64Header;
use crate::macros::values;

/// Permission and type bits of `st_mode` (inode(7)).
pub mod mode {
    pub const S_IFMT: u32 = 0o170000;
    pub const S_IFSOCK: u32 = 0o140000;
    pub const S_IFLNK: u32 = 0o120000;
    pub const S_IFREG: u32 = 0o100000;
    pub const S_IFBLK: u32 = 0o060000;
    pub const S_IFDIR: u32 = 0o040000;
    pub const S_IFCHR: u32 = 0o020000;
    pub const S_IFIFO: u32 = 0o010000;
    pub const S_ISUID: u32 = 0o4000;
    pub const S_ISGID: u32 = 0o2000;
    pub const S_ISVTX: u32 = 0o1000;
    pub const S_IRWXU: u32 = 0o700;
    pub const S_IRUSR: u32 = 0o400;
    pub const S_IWUSR: u32 = 0o200;
    pub const S_IXUSR: u32 = 0o100;
    pub const S_IRWXG: u32 = 0o070;
    pub const S_IRGRP: u32 = 0o040;
    pub const S_IWGRP: u32 = 0o020;
    pub const S_IXGRP: u32 = 0o010;
    pub const S_IRWXO: u32 = 0o007;
    pub const S_IROTH: u32 = 0o004;
    pub const S_IWOTH: u32 = 0o002;
    pub const S_IXOTH: u32 = 0o001;

    /// For the comparison with C.
    pub const NAMES: &[crate::Named] = &[
        ("S_IFMT", S_IFMT as u64),
        ("S_IFSOCK", S_IFSOCK as u64),
        ("S_IFLNK", S_IFLNK as u64),
        ("S_IFREG", S_IFREG as u64),
        ("S_IFBLK", S_IFBLK as u64),
        ("S_IFDIR", S_IFDIR as u64),
        ("S_IFCHR", S_IFCHR as u64),
        ("S_IFIFO", S_IFIFO as u64),
        ("S_ISUID", S_ISUID as u64),
        ("S_ISGID", S_ISGID as u64),
        ("S_ISVTX", S_ISVTX as u64),
        ("S_IRWXU", S_IRWXU as u64),
        ("S_IRUSR", S_IRUSR as u64),
        ("S_IWUSR", S_IWUSR as u64),
        ("S_IXUSR", S_IXUSR as u64),
        ("S_IRWXG", S_IRWXG as u64),
        ("S_IRGRP", S_IRGRP as u64),
        ("S_IWGRP", S_IWGRP as u64),
        ("S_IXGRP", S_IXGRP as u64),
        ("S_IRWXO", S_IRWXO as u64),
        ("S_IROTH", S_IROTH as u64),
        ("S_IWOTH", S_IWOTH as u64),
        ("S_IXOTH", S_IXOTH as u64),
    ];
}

/// A file's mode as strace prints it: `S_IFREG|0644`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind =
            mode::NAMES.iter().skip(1).take(7).find(|&&(_, value)| value == u64::from(self.0 & mode::S_IFMT));
        if let Some((name, _)) = kind {
            write!(f, "{name}|")?;
        }
        write!(f, "0{:o}", self.0 & !(if kind.is_some() { mode::S_IFMT } else { 0 }))
    }
}

/// A device number (`dev_t`) from its parts (makedev(3)).
pub const fn make_dev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// The parts of a device number: major and minor.
#[expect(clippy::cast_possible_truncation, reason = "each half has 32 bits")]
pub const fn split_dev(dev: u64) -> (u32, u32) {
    let major = (dev >> 8 & 0xfff) | (dev >> 32 & !0xfff);
    let minor = (dev & 0xff) | (dev >> 12 & !0xff);
    (major as u32, minor as u32)
}

values! {
    /// A directory entry's type: `st_mode >> 12`.
    pub struct DirentType: u8, "DT_" {
        UNKNOWN = 0,
        FIFO = 1,
        CHR = 2,
        DIR = 4,
        BLK = 6,
        REG = 8,
        LNK = 10,
        SOCK = 12,
        WHT = 14,
    }
}

impl Dirent64Header {
    /// Writes a record to the front of `buffer` and gives its length; `None` if it does not fit. `offset` is the position of the next entry.
    pub fn encode(buffer: &mut [u8], ino: u64, offset: i64, kind: DirentType, name: &[u8]) -> Option<usize> {
        let len = Self::record_len_for(name.len());
        let (head, tail) = buffer.get_mut(..len)?.split_at_mut_checked(Self::NAME_OFFSET)?;
        let header = Self { ino, offset, record_len: u16::try_from(len).ok()?, kind: kind.0 };
        head.copy_from_slice(header.as_bytes());
        let (bytes, padding) = tail.split_at_mut_checked(name.len())?;
        bytes.copy_from_slice(name);
        padding.fill(0);
        Some(len)
    }
}

/// Most buffers in one readv(2) or writev(2).
pub const IOV_MAX: usize = 1024;
