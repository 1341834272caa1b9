//! Every named constant and every structure against the C headers that are installed: a generated C program prints what they say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::{align_of, offset_of, size_of};
use std::process::{Command, Stdio};

use abi::Named;
use linux_raw_sys::{auxvec, general, prctl};

/// The kernel's own headers, which know the kernel's structures but not all constants.
const KERNEL: &str = "
#include <linux/types.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <asm/termbits.h>
#include <asm/ioctls.h>
#include <asm/termios.h>
#include <asm/signal.h>
#include <asm/siginfo.h>
#include <asm/sigcontext.h>
#include <asm/ucontext.h>
#include <asm/mman.h>
#include <asm/poll.h>
#include <asm/prctl.h>
#include <asm/hwcap2.h>
#include <asm/errno.h>
#include <asm/auxvec.h>
#include <linux/auxvec.h>
#include <linux/blkpg.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/eventpoll.h>
#include <linux/fadvise.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/inotify.h>
#include <linux/ioctl.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <linux/memfd.h>
#include <linux/openat2.h>
#include <linux/pidfd.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/resource.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <linux/signalfd.h>
#include <linux/sockios.h>
#include <linux/stat.h>
#include <linux/sysinfo.h>
#include <linux/time.h>
#include <linux/time_types.h>
#include <linux/timerfd.h>
#include <linux/times.h>
#include <linux/timex.h>
#include <linux/uio.h>
#include <linux/utsname.h>
#include <linux/wait.h>
#include <linux/xattr.h>
#include <stdio.h>
";

/// The C library's, for what the kernel's don't say.
const LIBC: &str = "
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
";

/// Newer than the headers of Debian 12: as linux-raw-sys has them.
const NEWER: &[Named] = &[
    ("AT_RSEQ_FEATURE_SIZE", auxvec::AT_RSEQ_FEATURE_SIZE as u64),
    ("AT_RSEQ_ALIGN", auxvec::AT_RSEQ_ALIGN as u64),
    ("AT_HWCAP3", auxvec::AT_HWCAP3 as u64),
    ("AT_HWCAP4", auxvec::AT_HWCAP4 as u64),
    ("F_DUPFD_QUERY", general::F_DUPFD_QUERY as u64),
    ("MADV_GUARD_INSTALL", general::MADV_GUARD_INSTALL as u64),
    ("MADV_GUARD_REMOVE", general::MADV_GUARD_REMOVE as u64),
    ("MAP_ABOVE4G", general::MAP_ABOVE4G as u64),
    ("MEMBARRIER_CMD_GET_REGISTRATIONS", general::membarrier_cmd::MEMBARRIER_CMD_GET_REGISTRATIONS as u64),
    ("MFD_NOEXEC_SEAL", general::MFD_NOEXEC_SEAL as u64),
    ("MFD_EXEC", general::MFD_EXEC as u64),
    ("PR_SET_MDWE", prctl::PR_SET_MDWE as u64),
    ("PR_GET_MDWE", prctl::PR_GET_MDWE as u64),
    ("SCHED_EXT", general::SCHED_EXT as u64),
    ("F_SEAL_EXEC", general::F_SEAL_EXEC as u64),
    ("STATX_MNT_ID_UNIQUE", general::STATX_MNT_ID_UNIQUE as u64),
    ("STATX_SUBVOL", general::STATX_SUBVOL as u64),
    ("STATX_WRITE_ATOMIC", general::STATX_WRITE_ATOMIC as u64),
    ("STATX_DIO_READ_ALIGN", general::STATX_DIO_READ_ALIGN as u64),
];

/// In neither: newer still (linux/fs.h, linux/eventpoll.h, linux/pidfd.h of Linux 6.18), or the kernel's own (linux/statfs.h, asm/prctl.h of 5.x).
const UNCHECKED: &[&str] = &[
    "ARCH_CET_STATUS",
    "EPOLLURING_WAKE",
    "PIDFD_THREAD",
    "RWF_ATOMIC",
    "RWF_DONTCACHE",
    "RWF_NOAPPEND",
    "ST_NOSYMFOLLOW",
    "ST_VALID",
];

/// Compiles and runs a program, and gives its lines of `name value`.
fn run(source: &str) -> BTreeMap<String, u64> {
    let directory = std::env::temp_dir().join(format!("abi-{}-{:x}", std::process::id(), source.len()));
    std::fs::create_dir_all(&directory).unwrap();
    let (file, program) = (directory.join("print.c"), directory.join("print"));
    std::fs::write(&file, source).unwrap();
    let status = Command::new("cc")
        .args(["-w", "-O0", "-o"])
        .args([&program, &file])
        .stdin(Stdio::null())
        .status()
        .expect("a C compiler is needed");
    assert!(status.success(), "{}", file.display());
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(' ').unwrap();
            (name.to_owned(), value.parse::<i64>().unwrap().cast_unsigned())
        })
        .collect()
}

/// What a set of headers says about constants; those that it doesn't know are left out.
fn constants(headers: &str, names: &[Named]) -> BTreeMap<String, u64> {
    let mut source = format!("{headers}\nint main() {{\n");
    for (name, _) in names {
        if name.starts_with("MEMBARRIER_CMD_")
            && headers == KERNEL
            && !NEWER.iter().any(|(new, _)| new == name)
        {
            // An enumeration, which the preprocessor doesn't see.
            writeln!(source, "printf(\"{name} %lld\\n\", (long long)({name}));").unwrap();
            continue;
        }
        writeln!(source, "#ifdef {name}\nprintf(\"{name} %lld\\n\", (long long)({name}));\n#endif").unwrap();
    }
    source.push_str("}\n");
    run(&source)
}

/// Values are compared as far as the type reaches: 32-bit numbers sign-extend in C and don't here.
fn same(ours: u64, theirs: u64) -> bool {
    ours == theirs
        || (ours >> 32 == 0 && theirs >> 32 == 0xffff_ffff && ours == theirs & 0xffff_ffff)
        || (ours >> 16 == 0 && theirs >> 16 == 0xffff_ffff_ffff && ours == theirs & 0xffff)
}

#[test]
fn constants_are_those_of_c() {
    let all: Vec<Named> = [
        abi::AccessMode::NAMES,
        abi::ArchPrctl::NAMES,
        abi::AtFlags::NAMES,
        abi::AuxTag::NAMES,
        abi::ClockId::NAMES,
        abi::CloneFlags::NAMES,
        abi::CloseRangeFlags::NAMES,
        abi::DirentType::NAMES,
        abi::EpollCreateFlags::NAMES,
        abi::EpollFlags::NAMES,
        abi::EpollOp::NAMES,
        abi::EventFdFlags::NAMES,
        abi::Fadvise::NAMES,
        abi::FallocFlags::NAMES,
        abi::FaultCode::NAMES,
        abi::FcntlCmd::NAMES,
        abi::FdFlags::NAMES,
        abi::FlockOp::NAMES,
        abi::FsMagic::NAMES,
        abi::FutexFlags::NAMES,
        abi::FutexOp::NAMES,
        abi::Hwcap2::NAMES,
        abi::InotifyInitFlags::NAMES,
        abi::InotifyMask::NAMES,
        abi::Ioctl::NAMES,
        abi::ItimerKind::NAMES,
        abi::LockKind::NAMES,
        abi::Madvise::NAMES,
        abi::MapFlags::NAMES,
        abi::MembarrierCmd::NAMES,
        abi::MemfdFlags::NAMES,
        abi::MlockFlags::NAMES,
        abi::MlockallFlags::NAMES,
        abi::MountFlags::NAMES,
        abi::MremapFlags::NAMES,
        abi::MsyncFlags::NAMES,
        abi::OpenFlags::NAMES,
        abi::PidfdFlags::NAMES,
        abi::PollEvents::NAMES,
        abi::PrctlOp::NAMES,
        abi::PriorityWhich::NAMES,
        abi::Prot::NAMES,
        abi::RandomFlags::NAMES,
        abi::RebootCmd::NAMES,
        abi::RenameFlags::NAMES,
        abi::ResolveFlags::NAMES,
        abi::Resource::NAMES,
        abi::RusageWho::NAMES,
        abi::RwfFlags::NAMES,
        abi::SchedPolicy::NAMES,
        abi::SealFlags::NAMES,
        abi::SiCode::NAMES,
        abi::SigMaskHow::NAMES,
        abi::SigevNotify::NAMES,
        abi::SignalFdFlags::NAMES,
        abi::SpliceFlags::NAMES,
        abi::StatxAttributes::NAMES,
        abi::StatxMask::NAMES,
        abi::SyncRangeFlags::NAMES,
        abi::TimerFdFlags::NAMES,
        abi::TimerFdSetFlags::NAMES,
        abi::TimerFlags::NAMES,
        abi::WaitId::NAMES,
        abi::WaitOptions::NAMES,
        abi::Whence::NAMES,
        abi::XattrFlags::NAMES,
        abi::mode::NAMES,
        &[
            ("FUTEX_WAITERS", abi::FUTEX_WAITERS as u64),
            ("FUTEX_OWNER_DIED", abi::FUTEX_OWNER_DIED as u64),
            ("FUTEX_TID_MASK", abi::FUTEX_TID_MASK as u64),
            ("FUTEX_WAITV_MAX", abi::FUTEX_WAITV_MAX as u64),
            ("ROBUST_LIST_LIMIT", abi::ROBUST_LIST_LIMIT as u64),
            ("LINUX_REBOOT_MAGIC1", abi::REBOOT_MAGIC1 as u64),
            ("LINUX_REBOOT_MAGIC2", abi::REBOOT_MAGIC2[0] as u64),
            ("FP_XSTATE_MAGIC1", abi::FP_XSTATE_MAGIC1 as u64),
            ("FP_XSTATE_MAGIC2", abi::FP_XSTATE_MAGIC2 as u64),
            ("UC_FP_XSTATE", abi::UC_FP_XSTATE),
            ("UC_SIGCONTEXT_SS", abi::UC_SIGCONTEXT_SS),
            ("UC_STRICT_RESTORE_SS", abi::UC_STRICT_RESTORE_SS),
            ("SS_ONSTACK", abi::SS_ONSTACK as u64),
            ("SS_DISABLE", abi::SS_DISABLE as u64),
            ("UTIME_NOW", abi::UTIME_NOW as u64),
            ("UTIME_OMIT", abi::UTIME_OMIT as u64),
            ("CSIGNAL", abi::CloneFlags::SIGNAL_MASK),
            ("CLONE_ARGS_SIZE_VER0", abi::CloneArgs::SIZE_VER0 as u64),
            ("SCHED_RESET_ON_FORK", abi::SchedPolicy::RESET_ON_FORK as u64),
            ("RLIM_NLIMITS", abi::Resource::COUNT as u64),
            ("MAP_TYPE", abi::MapFlags::TYPE as u64),
            ("MAP_HUGE_SHIFT", abi::MapFlags::HUGE_SHIFT as u64),
            ("MAP_HUGE_MASK", abi::MapFlags::HUGE_MASK as u64),
            ("FD_SETSIZE", abi::FD_SETSIZE as u64),
        ],
    ]
    .concat();
    let numbers: Vec<Named> = (1..=200)
        .filter_map(|n| abi::Errno::from_raw(n).name().map(|name| (name, n.into())))
        .chain((1..=31).filter_map(|n| Some((abi::Signal::new(n)?.name()?, n.into()))))
        .collect();
    assert!(numbers.len() > 160);
    let all = [all, numbers].concat();

    let kernel = constants(KERNEL, &all);
    let rest: Vec<Named> = all.iter().filter(|(name, _)| !kernel.contains_key(*name)).copied().collect();
    let libc = constants(LIBC, &rest);
    let mut wrong = String::new();
    for &(name, ours) in &all {
        let known = [&kernel, &libc].into_iter().find_map(|map| map.get(name).copied());
        let known = known.or_else(|| NEWER.iter().find(|(n, _)| *n == name).map(|(_, v)| *v));
        match known {
            Some(theirs) if same(ours, theirs) => {}
            None if UNCHECKED.contains(&name) => {}
            Some(theirs) => writeln!(wrong, "{name}: {ours:#x} here, {theirs:#x} in C").unwrap(),
            None => writeln!(wrong, "{name} ({ours:#x}): in no header").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn sets_and_numbers_print_as_strace_does() {
    use abi::{AccessMode, AtFlags, FcntlCmd, MapFlags, Mode, OpenFlags, Prot, StatxMask};
    let show = |flags: OpenFlags| flags.to_string();
    assert_eq!(show(OpenFlags::from_bits_retain(0o2000000)), "O_RDONLY|O_CLOEXEC");
    assert_eq!(show(OpenFlags::from_bits_retain(0o2_0202)), "O_RDWR|O_EXCL|O_ASYNC");
    assert_eq!(show(OpenFlags::SYNC | OpenFlags::WRONLY), "O_WRONLY|O_SYNC");
    assert_eq!(show(OpenFlags::DSYNC | OpenFlags::TMPFILE), "O_RDONLY|O_DSYNC|O_TMPFILE");
    assert_eq!(show(OpenFlags::from_bits_retain(0x8000_0003)), "O_ACCMODE|0x80000000");
    assert!(OpenFlags::RDWR.is_readable() && OpenFlags::RDWR.is_writable());
    assert!(OpenFlags::RDONLY.is_readable() && !OpenFlags::RDONLY.is_writable());
    assert!(!OpenFlags::ACCMODE.is_readable() && !OpenFlags::ACCMODE.is_writable());
    assert_eq!(Prot::empty().to_string(), "PROT_NONE");
    assert_eq!((Prot::READ | Prot::WRITE).to_string(), "PROT_READ|PROT_WRITE");
    assert_eq!(MapFlags::from_bits_retain(0x22).to_string(), "MAP_PRIVATE|MAP_ANONYMOUS");
    assert_eq!(MapFlags::from_bits_retain(0x43).to_string(), "MAP_SHARED_VALIDATE|MAP_32BIT");
    assert_eq!(AtFlags::empty().to_string(), "0");
    assert_eq!(AccessMode::empty().to_string(), "F_OK");
    assert_eq!(StatxMask::from_bits_retain(0xfff).to_string(), "STATX_BASIC_STATS|STATX_BTIME");
    assert_eq!(FcntlCmd::DUPFD_CLOEXEC.to_string(), "F_DUPFD_CLOEXEC");
    assert_eq!(FcntlCmd(77).to_string(), "0x4d");
    assert_eq!(Mode(0o100644).to_string(), "S_IFREG|0644");
    assert_eq!(Mode(0o7).to_string(), "07");
}

#[test]
fn directory_entries_have_getdents_layout() {
    use abi::{Dirent64Header, DirentType};
    let mut buffer = [0xff; 64];
    assert_eq!(Dirent64Header::encode(&mut buffer, 7, 9, DirentType::DIR, b"abcde"), Some(32));
    let expected = b"\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x20\0\x04abcde\0\0\0\0\0\0\0\0\xff";
    assert_eq!(&buffer[..33], expected);
    assert_eq!(Dirent64Header::encode(&mut buffer[..31], 7, 9, DirentType::DIR, b"abcde"), None);
    assert_eq!(Dirent64Header::encode(&mut buffer, 7, 9, DirentType::REG, b"abcd"), Some(24));
    assert_eq!(Dirent64Header::encode(&mut [], 7, 9, DirentType::REG, b""), None);
}

#[test]
fn device_numbers_are_those_of_makedev() {
    for (major, minor) in
        [(1, 3), (5, 1), (136, 0), (0xfff, 0xff), (0x1234_5678, 0x9abc_def0), (u32::MAX, u32::MAX)]
    {
        let dev = abi::make_dev(major, minor);
        assert_eq!(dev, general_makedev(major, minor));
        assert_eq!(abi::split_dev(dev), (major, minor));
    }
}

/// As glibc's sys/sysmacros.h has it: each field moved by itself.
fn general_makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & 0x0000_0fff) << 8 | (major & 0xffff_f000) << 32 | minor & 0xff | (minor & 0xffff_ff00) << 12
}

#[test]
fn times_convert_at_their_edges() {
    use abi::{Timespec, Timeval};
    assert_eq!(Timespec { sec: 1, nsec: 999_999_999 }.to_ns(), Some(1_999_999_999));
    for bad in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, 0), (0, i64::MIN)] {
        assert_eq!(Timespec { sec: bad.0, nsec: bad.1 }.to_ns(), None);
    }
    assert_eq!(Timespec { sec: i64::MAX, nsec: 999_999_999 }.to_ns(), Some(i64::MAX as u64));
    assert_eq!(Timespec::from_ns(u64::MAX), Timespec { sec: 18_446_744_073, nsec: 709_551_615 });
    assert_eq!(Timeval { sec: 2, usec: 1_000_000 }.to_ns(), None);
    assert_eq!(Timeval::from_ns(2_000_001_999), Timeval { sec: 2, usec: 1 });
    assert_eq!(Timeval { sec: 2, usec: 1 }.to_ns(), Some(2_000_001_000));
}

/// Size of the field that a closure reads.
const fn field_size<T, F>(_: fn(T) -> F) -> usize {
    size_of::<F>()
}

/// Structures with their C type and its fields: lines for C, and the numbers here.
struct Layouts {
    source: String,
    ours: BTreeMap<String, u64>,
}

macro_rules! layouts {
    ($layouts:ident: $($name:ident as $c_name:literal { $($field:ident as $c_field:literal),* $(,)? })*) => { $({
        let c = $c_name;
        let key = c.replace(' ', "_");
        writeln!($layouts.source, "printf(\"{key} %zu\\n\", sizeof({c}));").unwrap();
        writeln!($layouts.source, "printf(\"{key}.align %zu\\n\", _Alignof({c}));").unwrap();
        $layouts.ours.insert(key.clone(), size_of::<abi::$name>() as u64);
        $layouts.ours.insert(format!("{key}.align"), align_of::<abi::$name>() as u64);
        $({
            let field = $c_field;
            writeln!($layouts.source, "printf(\"{key}.{field} %zu\\n\", __builtin_offsetof({c}, {field}));").unwrap();
            writeln!($layouts.source, "printf(\"{key}.{field}.size %zu\\n\", sizeof((({c} *)0)->{field}));").unwrap();
            $layouts.ours.insert(format!("{key}.{field}"), offset_of!(abi::$name, $field) as u64);
            $layouts
                .ours
                .insert(format!("{key}.{field}.size"), field_size(|s: abi::$name| s.$field) as u64);
        })*
    })* };
}

#[test]
fn structures_are_those_of_c() {
    let mut all = Layouts { source: format!("{KERNEL}\nint main() {{\n"), ours: BTreeMap::new() };
    layouts! { all:
        Timespec as "struct timespec" { sec as "tv_sec", nsec as "tv_nsec" }
        Timeval as "struct timeval" { sec as "tv_sec", usec as "tv_usec" }
        Timezone as "struct timezone" { minutes_west as "tz_minuteswest", dst_time as "tz_dsttime" }
        Itimerval as "struct itimerval" { interval as "it_interval", value as "it_value" }
        Itimerspec as "struct itimerspec" { interval as "it_interval", value as "it_value" }
        Tms as "struct tms" { utime as "tms_utime", stime as "tms_stime", cutime as "tms_cutime", cstime as "tms_cstime" }
        Timex as "struct timex" {
            modes as "modes", offset as "offset", freq as "freq", maxerror as "maxerror", esterror as "esterror",
            status as "status", constant as "constant", precision as "precision", tolerance as "tolerance",
            time as "time", tick as "tick", ppsfreq as "ppsfreq", jitter as "jitter", shift as "shift",
            stabil as "stabil", jitcnt as "jitcnt", calcnt as "calcnt", errcnt as "errcnt", stbcnt as "stbcnt", tai as "tai",
        }
        SigEvent as "struct sigevent" {
            value as "sigev_value", signo as "sigev_signo", notify as "sigev_notify", tid as "_sigev_un._tid",
        }
        Utsname as "struct new_utsname" {
            sysname as "sysname", nodename as "nodename", release as "release", version as "version",
            machine as "machine", domainname as "domainname",
        }
        Sysinfo as "struct sysinfo" {
            uptime as "uptime", loads as "loads", totalram as "totalram", freeram as "freeram",
            sharedram as "sharedram", bufferram as "bufferram", totalswap as "totalswap", freeswap as "freeswap",
            procs as "procs", totalhigh as "totalhigh", freehigh as "freehigh", mem_unit as "mem_unit",
        }
        PollFd as "struct pollfd" { fd as "fd", events as "events", revents as "revents" }
        EpollEvent as "struct epoll_event" { events as "events", data as "data" }
        InotifyEvent as "struct inotify_event" { wd as "wd", mask as "mask", cookie as "cookie", len as "len" }
        Stat as "struct stat" {
            dev as "st_dev", ino as "st_ino", nlink as "st_nlink", mode as "st_mode", uid as "st_uid", gid as "st_gid",
            rdev as "st_rdev", size as "st_size", blksize as "st_blksize", blocks as "st_blocks", atime as "st_atime",
            atime_nsec as "st_atime_nsec", mtime as "st_mtime", mtime_nsec as "st_mtime_nsec", ctime as "st_ctime",
            ctime_nsec as "st_ctime_nsec",
        }
        StatxTimestamp as "struct statx_timestamp" { sec as "tv_sec", nsec as "tv_nsec" }
        Statx as "struct statx" {
            mask as "stx_mask", blksize as "stx_blksize", attributes as "stx_attributes", nlink as "stx_nlink",
            uid as "stx_uid", gid as "stx_gid", mode as "stx_mode", ino as "stx_ino", size as "stx_size",
            blocks as "stx_blocks", attributes_mask as "stx_attributes_mask", atime as "stx_atime",
            btime as "stx_btime", ctime as "stx_ctime", mtime as "stx_mtime", rdev_major as "stx_rdev_major",
            rdev_minor as "stx_rdev_minor", dev_major as "stx_dev_major", dev_minor as "stx_dev_minor",
            mnt_id as "stx_mnt_id", dio_mem_align as "stx_dio_mem_align", dio_offset_align as "stx_dio_offset_align",
        }
        Statfs as "struct statfs" {
            kind as "f_type", bsize as "f_bsize", blocks as "f_blocks", bfree as "f_bfree", bavail as "f_bavail",
            files as "f_files", ffree as "f_ffree", fsid as "f_fsid", namelen as "f_namelen", frsize as "f_frsize",
            flags as "f_flags",
        }
        IoVec as "struct iovec" { base as "iov_base", len as "iov_len" }
        Flock as "struct flock" {
            kind as "l_type", whence as "l_whence", start as "l_start", len as "l_len", pid as "l_pid",
        }
        FOwnerEx as "struct f_owner_ex" { kind as "type", pid as "pid" }
        OpenHow as "struct open_how" { flags as "flags", mode as "mode", resolve as "resolve" }
        Termios as "struct termios" {
            iflag as "c_iflag", oflag as "c_oflag", cflag as "c_cflag", lflag as "c_lflag", line as "c_line", cc as "c_cc",
        }
        Termios2 as "struct termios2" {
            iflag as "c_iflag", oflag as "c_oflag", cflag as "c_cflag", lflag as "c_lflag", line as "c_line", cc as "c_cc",
            ispeed as "c_ispeed", ospeed as "c_ospeed",
        }
        Winsize as "struct winsize" { rows as "ws_row", cols as "ws_col", xpixel as "ws_xpixel", ypixel as "ws_ypixel" }
        CloneArgs as "struct clone_args" {
            flags as "flags", pidfd as "pidfd", child_tid as "child_tid", parent_tid as "parent_tid",
            exit_signal as "exit_signal", stack as "stack", stack_size as "stack_size", tls as "tls",
            set_tid as "set_tid", set_tid_size as "set_tid_size", cgroup as "cgroup",
        }
        FutexWaitv as "struct futex_waitv" { value as "val", address as "uaddr", flags as "flags" }
        RobustListHead as "struct robust_list_head" {
            list as "list", futex_offset as "futex_offset", list_op_pending as "list_op_pending",
        }
        Rlimit64 as "struct rlimit64" { cur as "rlim_cur", max as "rlim_max" }
        Rusage as "struct rusage" {
            utime as "ru_utime", stime as "ru_stime", maxrss as "ru_maxrss", ixrss as "ru_ixrss", idrss as "ru_idrss",
            isrss as "ru_isrss", minflt as "ru_minflt", majflt as "ru_majflt", nswap as "ru_nswap",
            inblock as "ru_inblock", oublock as "ru_oublock", msgsnd as "ru_msgsnd", msgrcv as "ru_msgrcv",
            nsignals as "ru_nsignals", nvcsw as "ru_nvcsw", nivcsw as "ru_nivcsw",
        }
        SchedAttr as "struct sched_attr" {
            size as "size", policy as "sched_policy", flags as "sched_flags", nice as "sched_nice",
            priority as "sched_priority", runtime as "sched_runtime", deadline as "sched_deadline",
            period as "sched_period", util_min as "sched_util_min", util_max as "sched_util_max",
        }
        RseqCs as "struct rseq_cs" {
            version as "version", flags as "flags", start_ip as "start_ip",
            post_commit_offset as "post_commit_offset", abort_ip as "abort_ip",
        }
        Rseq as "struct rseq" {
            cpu_id_start as "cpu_id_start", cpu_id as "cpu_id", rseq_cs as "rseq_cs", flags as "flags",
        }
        CapHeader as "struct __user_cap_header_struct" { version as "version", pid as "pid" }
        CapData as "struct __user_cap_data_struct" {
            effective as "effective", permitted as "permitted", inheritable as "inheritable",
        }
        Sigaction as "struct sigaction" {
            handler as "sa_handler", flags as "sa_flags", restorer as "sa_restorer", mask as "sa_mask",
        }
        StackT as "stack_t" { sp as "ss_sp", flags as "ss_flags", size as "ss_size" }
        SigInfo as "siginfo_t" { signo as "si_signo", errno as "si_errno", code as "si_code" }
        SignalfdSiginfo as "struct signalfd_siginfo" {
            signo as "ssi_signo", errno as "ssi_errno", code as "ssi_code", pid as "ssi_pid", uid as "ssi_uid",
            fd as "ssi_fd", tid as "ssi_tid", band as "ssi_band", overrun as "ssi_overrun", trapno as "ssi_trapno",
            status as "ssi_status", int as "ssi_int", ptr as "ssi_ptr", utime as "ssi_utime", stime as "ssi_stime",
            addr as "ssi_addr", addr_lsb as "ssi_addr_lsb", syscall as "ssi_syscall", call_addr as "ssi_call_addr",
            arch as "ssi_arch",
        }
        SigContext as "struct sigcontext" {
            r8 as "r8", r9 as "r9", r10 as "r10", r11 as "r11", r12 as "r12", r13 as "r13", r14 as "r14", r15 as "r15",
            rdi as "rdi", rsi as "rsi", rbp as "rbp", rbx as "rbx", rdx as "rdx", rax as "rax", rcx as "rcx",
            rsp as "rsp", rip as "rip", rflags as "eflags", cs as "cs", gs as "gs", fs as "fs", ss as "ss", err as "err",
            trapno as "trapno", oldmask as "oldmask", cr2 as "cr2", fpstate as "fpstate", reserved as "reserved1",
        }
        UContext as "struct ucontext" {
            flags as "uc_flags", link as "uc_link", stack as "uc_stack", mcontext as "uc_mcontext", sigmask as "uc_sigmask",
        }
        FpSoftware as "struct _fpx_sw_bytes" {
            magic1 as "magic1", extended_size as "extended_size", xfeatures as "xfeatures", xstate_size as "xstate_size",
        }
        FpState as "struct _fpstate_64" {
            cwd as "cwd", swd as "swd", twd as "twd", fop as "fop", rip as "rip", rdp as "rdp", mxcsr as "mxcsr",
            mxcsr_mask as "mxcsr_mask", st_space as "st_space", xmm_space as "xmm_space", sw_reserved as "sw_reserved",
        }
    }
    all.source.push_str("}\n");
    let theirs = run(&all.source);
    assert_eq!(all.ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    let wrong: Vec<_> = all
        .ours
        .iter()
        .filter(|(name, ours)| theirs.get(*name) != Some(ours))
        .map(|(name, ours)| format!("{name}: {ours} here, {} in C", theirs[name]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
