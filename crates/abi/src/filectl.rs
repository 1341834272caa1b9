//! Numbers of the file calls: fcntl, locks, seeking, allocation, file systems.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::macros::{flags, values};

values! {
    /// `statfs.kind` (statfs(2), linux/magic.h).
    pub struct FsMagic: i64, "" {
        TMPFS_MAGIC = 0x0102_1994,
        PROC_SUPER_MAGIC = 0x9fa0,
        SYSFS_MAGIC = 0x6265_6572,
        RAMFS_MAGIC = 0x8584_58f6,
        DEVPTS_SUPER_MAGIC = 0x1cd1,
        PIPEFS_MAGIC = 0x5049_5045,
        SOCKFS_MAGIC = 0x534f_434b,
        ANON_INODE_FS_MAGIC = 0x0904_1934,
        OVERLAYFS_SUPER_MAGIC = 0x794c_7630,
        EXT4_SUPER_MAGIC = 0xef53,
        V9FS_MAGIC = 0x0102_1997,
        CGROUP2_SUPER_MAGIC = 0x6367_7270,
        HUGETLBFS_MAGIC = 0x9584_58f6,
    }
}

flags! {
    /// `statfs.flags` and what `/proc/self/mounts` shows.
    pub struct MountFlags: u64, "ST_", "0" {
        RDONLY = 1,
        NOSUID = 2,
        NODEV = 4,
        NOEXEC = 8,
        SYNCHRONOUS = 0x10,
        VALID = 0x20,
        MANDLOCK = 0x40,
        NOATIME = 0x400,
        NODIRATIME = 0x800,
        RELATIME = 0x1000,
        NOSYMFOLLOW = 0x2000,
    }
}

values! {
    /// `flock.kind`.
    pub struct LockKind: i16, "F_" {
        RDLCK = 0,
        WRLCK = 1,
        UNLCK = 2,
    }
}

flags! {
    /// Operation of flock(2).
    pub struct FlockOp: u32, "LOCK_", "0" {
        SH = 1,
        EX = 2,
        NB = 4,
        UN = 8,
    }
}

/// `struct f_owner_ex` of fcntl(2)'s `F_SETOWN_EX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FOwnerEx {
    pub kind: i32,
    pub pid: i32,
}

values! {
    /// Commands of fcntl(2).
    pub struct FcntlCmd: u32, "F_" {
        DUPFD = 0,
        GETFD = 1,
        SETFD = 2,
        GETFL = 3,
        SETFL = 4,
        GETLK = 5,
        SETLK = 6,
        SETLKW = 7,
        SETOWN = 8,
        GETOWN = 9,
        SETSIG = 10,
        GETSIG = 11,
        SETOWN_EX = 15,
        GETOWN_EX = 16,
        OFD_GETLK = 36,
        OFD_SETLK = 37,
        OFD_SETLKW = 38,
        SETLEASE = 1024,
        GETLEASE = 1025,
        NOTIFY = 1026,
        DUPFD_QUERY = 1027,
        DUPFD_CLOEXEC = 1030,
        SETPIPE_SZ = 1031,
        GETPIPE_SZ = 1032,
        ADD_SEALS = 1033,
        GET_SEALS = 1034,
        GET_RW_HINT = 1035,
        SET_RW_HINT = 1036,
        GET_FILE_RW_HINT = 1037,
        SET_FILE_RW_HINT = 1038,
    }
}

flags! {
    /// Flags of a descriptor (`F_GETFD`).
    pub struct FdFlags: u32, "FD_", "0" {
        CLOEXEC = 1,
    }
}

flags! {
    /// Seals of a memfd (`F_ADD_SEALS`).
    pub struct SealFlags: u32, "F_SEAL_", "0" {
        SEAL = 1,
        SHRINK = 2,
        GROW = 4,
        WRITE = 8,
        FUTURE_WRITE = 0x10,
        EXEC = 0x20,
    }
}

flags! {
    /// `open_how.resolve`.
    pub struct ResolveFlags: u64, "RESOLVE_", "0" {
        NO_XDEV = 1,
        NO_MAGICLINKS = 2,
        NO_SYMLINKS = 4,
        BENEATH = 8,
        IN_ROOT = 0x10,
        CACHED = 0x20,
    }
}

flags! {
    /// `mode` of fallocate(2).
    pub struct FallocFlags: u32, "FALLOC_FL_", "0" {
        KEEP_SIZE = 1,
        PUNCH_HOLE = 2,
        NO_HIDE_STALE = 4,
        COLLAPSE_RANGE = 8,
        ZERO_RANGE = 0x10,
        INSERT_RANGE = 0x20,
        UNSHARE_RANGE = 0x40,
    }
}

values! {
    /// `whence` of lseek(2).
    pub struct Whence: u32, "SEEK_" {
        SET = 0,
        CUR = 1,
        END = 2,
        DATA = 3,
        HOLE = 4,
    }
}

flags! {
    /// `mode` of access(2).
    pub struct AccessMode: u32, "", "F_OK" {
        R_OK = 4,
        W_OK = 2,
        X_OK = 1,
    }
}

flags! {
    /// Flags of preadv2(2) and pwritev2(2).
    pub struct RwfFlags: u32, "RWF_", "0" {
        HIPRI = 1,
        DSYNC = 2,
        SYNC = 4,
        NOWAIT = 8,
        APPEND = 0x10,
        NOAPPEND = 0x20,
        ATOMIC = 0x40,
        DONTCACHE = 0x80,
    }
}

flags! {
    /// Flags of splice(2), tee(2) and vmsplice(2).
    pub struct SpliceFlags: u32, "SPLICE_F_", "0" {
        MOVE = 1,
        NONBLOCK = 2,
        MORE = 4,
        GIFT = 8,
    }
}

flags! {
    /// Flags of setxattr(2).
    pub struct XattrFlags: u32, "XATTR_", "0" {
        CREATE = 1,
        REPLACE = 2,
    }
}

flags! {
    /// Flags of sync_file_range(2).
    pub struct SyncRangeFlags: u32, "SYNC_FILE_RANGE_", "0" {
        WAIT_BEFORE = 1,
        WRITE = 2,
        WAIT_AFTER = 4,
    }
}

flags! {
    /// Flags of close_range(2).
    pub struct CloseRangeFlags: u32, "CLOSE_RANGE_", "0" {
        UNSHARE = 2,
        CLOEXEC = 4,
    }
}

values! {
    /// `advice` of posix_fadvise(2).
    pub struct Fadvise: i32, "POSIX_FADV_" {
        NORMAL = 0,
        RANDOM = 1,
        SEQUENTIAL = 2,
        WILLNEED = 3,
        DONTNEED = 4,
        NOREUSE = 5,
    }
}

/// `tv_nsec` of utimensat(2): now.
pub const UTIME_NOW: i64 = (1 << 30) - 1;
/// `tv_nsec` of utimensat(2): leave it.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;
/// Longest name of a file.
pub const NAME_MAX: usize = 255;
/// Longest path, its NUL included.
pub const PATH_MAX: usize = 4096;
/// Writes up to this length to a pipe are not mixed with others.
pub const PIPE_BUF: usize = 4096;
