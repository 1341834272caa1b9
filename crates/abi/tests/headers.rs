//! Our structures and numbers against Linux's own, as `linux-raw-sys` has them from the kernel's headers.

use core::mem::{align_of, offset_of, size_of};

use linux_raw_sys::{errno, general, system};

macro_rules! same_layout {
    ($ours:ty, $theirs:ty $(, $field:ident = $their_field:ident)* $(,)?) => {
        assert_eq!(size_of::<$ours>(), size_of::<$theirs>(), "size of {}", stringify!($ours));
        assert_eq!(align_of::<$ours>(), align_of::<$theirs>(), "alignment of {}", stringify!($ours));
        $( assert_eq!(
            offset_of!($ours, $field), offset_of!($theirs, $their_field),
            "{}::{}", stringify!($ours), stringify!($field)
        ); )*
    };
}

#[test]
fn layouts() {
    same_layout!(
        abi::Stat,
        general::stat,
        dev = st_dev,
        ino = st_ino,
        nlink = st_nlink,
        mode = st_mode,
        rdev = st_rdev,
        size = st_size,
        blocks = st_blocks,
        atime = st_atime,
        mtime_nsec = st_mtime_nsec
    );
    same_layout!(
        abi::Statx,
        general::statx,
        mask = stx_mask,
        mode = stx_mode,
        ino = stx_ino,
        size = stx_size,
        atime = stx_atime,
        mtime = stx_mtime,
        rdev_major = stx_rdev_major,
        mnt_id = stx_mnt_id
    );
    same_layout!(abi::Statfs, general::statfs, kind = f_type, namelen = f_namelen, flags = f_flags);
    same_layout!(abi::IoVec, general::iovec, base = iov_base, len = iov_len);
    same_layout!(abi::PollFd, general::pollfd, fd = fd, events = events, revents = revents);
    same_layout!(abi::Flock, general::flock, kind = l_type, start = l_start, len = l_len, pid = l_pid);
    same_layout!(abi::OpenHow, general::open_how, flags = flags, mode = mode, resolve = resolve);
    same_layout!(abi::Termios, general::termios, iflag = c_iflag, lflag = c_lflag, cc = c_cc);
    same_layout!(abi::Winsize, general::winsize, rows = ws_row, cols = ws_col);
    same_layout!(abi::Timespec, general::__kernel_timespec, sec = tv_sec, nsec = tv_nsec);
    same_layout!(abi::Timeval, general::timeval, sec = tv_sec, usec = tv_usec);
    same_layout!(abi::Itimerval, general::itimerval, interval = it_interval, value = it_value);
    same_layout!(abi::Rlimit64, general::rlimit64, cur = rlim_cur, max = rlim_max);
    same_layout!(abi::Rusage, general::rusage, utime = ru_utime, maxrss = ru_maxrss, nivcsw = ru_nivcsw);
    same_layout!(abi::Utsname, system::new_utsname, release = release, domainname = domainname);
    same_layout!(abi::Sysinfo, system::sysinfo, uptime = uptime, procs = procs, mem_unit = mem_unit);
    same_layout!(
        abi::Sigaction,
        general::kernel_sigaction,
        handler = sa_handler_kernel,
        flags = sa_flags,
        restorer = sa_restorer,
        mask = sa_mask
    );
    same_layout!(abi::StackT, general::stack_t, sp = ss_sp, flags = ss_flags, size = ss_size);
    assert_eq!(size_of::<abi::SigInfo>(), size_of::<general::siginfo_t>());
    assert_eq!(size_of::<abi::SigContext>(), 256);
    assert_eq!(size_of::<abi::FpSoftware>(), 48);
    assert_eq!(size_of::<abi::Dirent64Header>(), abi::Dirent64Header::NAME_OFFSET);
}

#[test]
fn numbers() {
    assert_eq!(u32::from(abi::Errno::ENOENT.raw()), errno::ENOENT);
    assert_eq!(u32::from(abi::Errno::EHWPOISON.raw()), errno::EHWPOISON);
    assert_eq!(u32::from(abi::Errno::ELOOP.raw()), errno::ELOOP);
    assert_eq!(abi::Errno::EILSEQ.name(), Some("EILSEQ"));
    assert_eq!(abi::OpenFlags::TMPFILE.bits(), general::O_TMPFILE);
    assert_eq!(abi::OpenFlags::SYNC.bits(), general::O_SYNC);
    assert_eq!(abi::OpenFlags::PATH.bits(), general::O_PATH);
    assert_eq!(abi::OpenFlags::NOFOLLOW.bits(), general::O_NOFOLLOW);
    assert_eq!(abi::OpenFlags::DIRECT.bits(), general::O_DIRECT);
    assert_eq!(abi::OpenFlags::CLOEXEC.bits(), general::O_CLOEXEC);
    assert_eq!(abi::MapFlags::FIXED_NOREPLACE.bits(), general::MAP_FIXED_NOREPLACE);
    assert_eq!(abi::MapFlags::NORESERVE.bits(), general::MAP_NORESERVE);
    assert_eq!(abi::StatxMask::BASIC_STATS.bits(), general::STATX_BASIC_STATS);
    assert_eq!(abi::AtFlags::EMPTY_PATH.bits(), general::AT_EMPTY_PATH);
    assert_eq!(u32::from(abi::Signal::SIGSYS.number()), general::SIGSYS);
    assert_eq!(abi::SaFlags::RESETHAND.bits(), u64::from(general::SA_RESETHAND));
}

#[test]
fn open_flags_print_as_strace_does() {
    let flags = abi::OpenFlags::RDWR | abi::OpenFlags::CREAT | abi::OpenFlags::CLOEXEC;
    assert_eq!(flags.to_string(), "O_RDWR|O_CREAT|O_CLOEXEC");
    assert_eq!(abi::OpenFlags::empty().to_string(), "O_RDONLY");
}
