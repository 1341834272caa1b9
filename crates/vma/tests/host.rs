//! The map against the host's kernel: the same calls on a window of this process's own address space, the same errors, and the same
//! regions in `/proc/self/maps` (splits, merges, file offsets).

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a system call's arguments and results are bits"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use proptest::prelude::*;
use vma::{
    Backing, Holes, Limits, MapError, PAGE_SIZE, Place, Remap, RemapTarget, USER_TOP, VmaFlags, VmaMap,
};

/// Far from where the host puts things of its own accord.
const BASE: usize = 0x1000_0000_0000;
const WINDOW: usize = 64;
const END: usize = BASE + WINDOW * PAGE_SIZE;
const FILE_PAGES: usize = 256;

/// What the host tells apart: anonymous memory, and two files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Anonymous,
    File(usize, u64),
}

impl Backing for Kind {
    fn advanced(&self, pages: u64) -> Self {
        match *self {
            Self::Anonymous => Self::Anonymous,
            Self::File(file, page) => Self::File(file, page + pages),
        }
    }
    fn continues(&self, pages: u64, next: &Self) -> bool {
        self.advanced(pages) == *next
    }
    fn is_anonymous(&self) -> bool {
        *self == Self::Anonymous
    }
}

/// One line of `/proc/self/maps`, as far as both sides know it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    start: usize,
    end: usize,
    rights: String,
    offset: u64,
    file: Option<usize>,
}

fn files() -> &'static [OwnedFd; 2] {
    static FILES: std::sync::OnceLock<[OwnedFd; 2]> = std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        [c"vma-test-0", c"vma-test-1"].map(|name| {
            // SAFETY: the name is a C string; the result is checked.
            let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
            assert!(fd >= 0);
            // SAFETY: a descriptor of ours; growing an empty file.
            let (file, result) =
                unsafe { (OwnedFd::from_raw_fd(fd), libc::ftruncate(fd, (FILE_PAGES * PAGE_SIZE) as i64)) };
            assert_eq!(result, 0);
            file
        })
    })
}

fn host_lines() -> Vec<Line> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
            let rights = words.next()?.to_owned();
            let offset = u64::from_str_radix(words.next()?, 16).ok()?;
            let name = words.nth(2).unwrap_or_default();
            let file = [0, 1].into_iter().find(|n| name.contains(&format!("vma-test-{n}")));
            (BASE..END).contains(&start).then_some(Line { start, end, rights, offset, file })
        })
        .collect()
}

fn our_lines(map: &VmaMap<Kind>) -> Vec<Line> {
    map.iter()
        .map(|region| {
            let letter = |flag, letter| if region.flags.contains(flag) { letter } else { '-' };
            let rights = [
                letter(VmaFlags::READ, 'r'),
                letter(VmaFlags::WRITE, 'w'),
                letter(VmaFlags::EXECUTE, 'x'),
                if region.flags.contains(VmaFlags::SHARED) { 's' } else { 'p' },
            ];
            let (file, page) = match region.backing {
                Kind::Anonymous => (None, 0),
                Kind::File(file, page) => (Some(file), page),
            };
            Line {
                start: region.start,
                end: region.end,
                rights: rights.iter().collect(),
                offset: page * PAGE_SIZE as u64,
                file,
            }
        })
        .collect()
}

/// A result as the system call gives it: an address, or the negated error number.
fn ours(result: Result<usize, MapError>) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(error) => -isize::try_from(abi::Errno::from(error).raw()).unwrap(),
    }
}

/// Calls the host. Not through the C library, which has its own opinion about arguments.
fn host(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the calls made here touch the window only, where no Rust object lives.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        -isize::try_from(std::io::Error::last_os_error().raw_os_error().unwrap()).unwrap()
    } else {
        isize::try_from(result).unwrap()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map { page: usize, len: usize, prot: usize, shared: bool, kind: Kind, how: u8 },
    Unmap { page: usize, len: usize },
    Protect { page: usize, len: usize, prot: usize },
    Advise { page: usize, len: usize, advice: i32 },
    Remap { page: usize, old_len: usize, new_len: usize, to: Option<usize>, keep: bool, may_move: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let page = 0..WINDOW;
    let len = 1usize..12;
    let kind = prop_oneof![
        Just(Kind::Anonymous),
        // At the page of the window itself, so that neighbours continue each other, or elsewhere.
        (0usize..2, 0u64..2).prop_map(|(file, shift)| Kind::File(file, shift)),
    ];
    prop_oneof![
        5 => (page.clone(), len.clone(), 0usize..8, any::<bool>(), kind, 0u8..3)
            .prop_map(|(page, len, prot, shared, kind, how)| Op::Map { page, len, prot, shared, kind, how }),
        3 => (page.clone(), len.clone()).prop_map(|(page, len)| Op::Unmap { page, len }),
        4 => (page.clone(), len.clone(), 0usize..8).prop_map(|(page, len, prot)| Op::Protect { page, len, prot }),
        2 => (page.clone(), len.clone(), prop_oneof![Just(10), Just(11), Just(16), Just(17), Just(18), Just(19)])
            .prop_map(|(page, len, advice)| Op::Advise { page, len, advice }),
        4 => (page.clone(), 0usize..8, 1usize..12, proptest::option::of(page), any::<bool>(), any::<bool>())
            .prop_map(|(page, old_len, new_len, to, keep, may_move)| Op::Remap { page, old_len, new_len, to, keep, may_move }),
    ]
}

fn at(page: usize) -> usize {
    BASE + page * PAGE_SIZE
}

/// The call on both sides; the results must be equal.
fn step(map: &mut VmaMap<Kind>, op: &Op) {
    match op.clone() {
        Op::Map { page, len, prot, shared, kind, how } => {
            let (start, len) = (at(page), len.min(WINDOW - page) * PAGE_SIZE);
            // An anonymous shared mapping is an object of its own each time; files will do.
            let shared = shared && kind != Kind::Anonymous;
            let kind = match kind {
                Kind::File(file, shift) => Kind::File(file, page as u64 + shift * 100),
                other => other,
            };
            let mut flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE | libc::MAP_NORESERVE };
            let (fd, offset) = match kind {
                Kind::Anonymous => {
                    flags |= libc::MAP_ANONYMOUS;
                    (-1, 0)
                }
                Kind::File(file, page) => (files()[file].as_raw_fd(), page as usize * PAGE_SIZE),
            };
            let place = match how {
                0 => {
                    flags |= libc::MAP_FIXED;
                    Place::Fixed(start)
                }
                1 => {
                    flags |= libc::MAP_FIXED_NOREPLACE;
                    Place::FixedNoReplace(start)
                }
                // A hint, not on a page: taken if it is free.
                _ if map.is_free(start..start + len) => Place::Anywhere(start + 5),
                _ => return,
            };
            let hint = if how == 2 { start + 5 } else { start };
            let theirs = host(libc::SYS_mmap, [hint, len, prot, flags as usize, fd as usize, offset]);
            let mut vma_flags = VmaFlags::from_bits_retain(prot as u32) | VmaFlags::MAY_WRITE;
            vma_flags.set(VmaFlags::SHARED, shared);
            let result = map.map(place, len, PAGE_SIZE, vma_flags, kind, &Limits::NONE, |_| {});
            assert_eq!(ours(result), theirs);
        }
        Op::Unmap { page, len } => {
            let range = at(page)..at(page + len);
            let theirs = host(libc::SYS_munmap, [range.start, range.len(), 0, 0, 0, 0]);
            assert_eq!(ours(map.remove(range, |_| {}).map(|()| 0)), theirs);
        }
        Op::Protect { page, len, prot } => {
            let range = at(page)..at(page + len);
            let theirs = host(libc::SYS_mprotect, [range.start, range.len(), prot, 0, 0, 0]);
            let access = VmaFlags::from_bits_retain(prot as u32);
            let result = map.protect(range, access, &Limits::NONE, |_, _, _| {});
            assert_eq!(ours(result.map(|()| 0)), theirs);
        }
        Op::Advise { page, len, advice } => {
            let range = at(page)..at(page + len);
            let theirs = host(libc::SYS_madvise, [range.start, range.len(), advice as usize, 0, 0, 0]);
            let (flag, on) = match advice {
                10 => (VmaFlags::DONT_FORK, true),
                11 => (VmaFlags::DONT_FORK, false),
                16 => (VmaFlags::DONT_DUMP, true),
                17 => (VmaFlags::DONT_DUMP, false),
                18 => (VmaFlags::WIPE_ON_FORK, true),
                _ => (VmaFlags::WIPE_ON_FORK, false),
            };
            let decide = |region: &vma::Vma<Kind>| {
                if advice == 18 && !region.backing.is_anonymous() {
                    return Err(MapError::Invalid);
                }
                let mut flags = region.flags;
                flags.set(flag, on);
                Ok(flags)
            };
            let result = map.change(range, Holes::Skip, decide, |_, _, _| {});
            assert_eq!(ours(result.map(|()| 0)), theirs);
        }
        Op::Remap { page, old_len, new_len, to, keep, may_move } => {
            let (old, old_len) = (at(page), old_len * PAGE_SIZE);
            let new_len = new_len.min(WINDOW - to.unwrap_or(0)) * PAGE_SIZE;
            // Linux 6.17 moves ranges of several regions; before, and here, that is EFAULT.
            let one_region = map.find(old).is_none_or(|region| old + old_len <= region.end);
            if !one_region && to.is_some() && old_len == new_len {
                return;
            }
            // The host removes what a fixed target replaces before it looks further, so a late refusal shows.
            let (target, flags) = match (to, keep, may_move) {
                (Some(to), false, _) => {
                    (RemapTarget::Fixed(at(to)), libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE)
                }
                (Some(to), true, _) => {
                    (RemapTarget::Keep(Place::Fixed(at(to))), 4 | libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE)
                }
                (None, true, true) => (RemapTarget::Keep(Place::Anywhere(0)), 4 | libc::MREMAP_MAYMOVE),
                (None, _, true) => (RemapTarget::MayMove, libc::MREMAP_MAYMOVE),
                (None, _, false) => (RemapTarget::InPlace, 0),
            };
            let before = map.try_clone().unwrap();
            let request = Remap { old, old_len, new_len, target };
            let result = map.remap(&request, &Limits::NONE, |_| {}, |_, _| Ok(()));
            let window_end = |address: usize| (BASE..END).contains(&address) && address + new_len <= END;
            if result.is_ok_and(|new| new == old && !window_end(new)) {
                // Grown out of the window.
                *map = before;
                return;
            }
            let theirs = host(libc::SYS_mremap, [old, old_len, new_len, flags as usize, to.map_or(0, at), 0]);
            match result {
                Ok(new) if !(BASE..END).contains(&new) => {
                    // Each side has found a place of its own: both give it back.
                    assert!(theirs > 0, "{theirs} and {new:#x}");
                    let theirs = theirs as usize;
                    assert!(!(BASE..END).contains(&theirs));
                    assert_eq!(host(libc::SYS_munmap, [theirs, new_len, 0, 0, 0, 0]), 0);
                    map.remove(new..new + new_len, |_| {}).unwrap();
                }
                _ => assert_eq!(ours(result), theirs, "{request:x?}"),
            }
        }
    }
}

fn clear() {
    assert_eq!(host(libc::SYS_munmap, [BASE, 2 * WINDOW * PAGE_SIZE, 0, 0, 0, 0]), 0);
}

/// One window, many test threads.
static WINDOW_LOCK: Mutex<()> = Mutex::new(());

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_host(ops in proptest::collection::vec(op(), 1..50)) {
        let _guard = WINDOW_LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        clear();
        let mut map = VmaMap::new(0x7fff_f7ff_f000);
        for (index, op) in ops.iter().enumerate() {
            step(&mut map, op);
            prop_assert_eq!(our_lines(&map), host_lines(), "after {} {:?}", index, op);
        }
        clear();
    }
}

#[test]
fn malformed_arguments_fail_as_on_the_host() {
    let _guard = WINDOW_LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    clear();
    let mut map: VmaMap<Kind> = VmaMap::new(0x7fff_f7ff_f000);
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
    let fixed = private | libc::MAP_FIXED as usize;
    let noreplace = private | libc::MAP_FIXED_NOREPLACE as usize;
    for (address, len) in [
        (BASE, 0),
        (BASE + 1, PAGE_SIZE),
        (BASE, USER_TOP),
        (BASE, USER_TOP + PAGE_SIZE),
        (USER_TOP, PAGE_SIZE),
        (USER_TOP - PAGE_SIZE, 2 * PAGE_SIZE),
        (!(PAGE_SIZE - 1), PAGE_SIZE),
        (!(PAGE_SIZE - 1), 2 * PAGE_SIZE),
    ] {
        for (flags, place) in [(fixed, Place::Fixed(address)), (noreplace, Place::FixedNoReplace(address))] {
            let theirs = host(libc::SYS_mmap, [address, len, 0, flags, usize::MAX, 0]);
            let result =
                map.map(place, len, PAGE_SIZE, VmaFlags::empty(), Kind::Anonymous, &Limits::NONE, |_| {});
            assert_eq!(ours(result), theirs, "mmap {address:#x} {len:#x}");
        }
    }
    let rw = VmaFlags::READ | VmaFlags::WRITE | VmaFlags::MAY_WRITE;
    assert_eq!(host(libc::SYS_mmap, [BASE, 4 * PAGE_SIZE, 3, fixed, usize::MAX, 0]), BASE as isize);
    map.map(Place::Fixed(BASE), 4 * PAGE_SIZE, PAGE_SIZE, rw, Kind::Anonymous, &Limits::NONE, |_| {})
        .unwrap();
    let (may_move, to_fixed, keep) = (1usize, 3usize, 7usize);
    for (old, old_len, new_len, flags, to) in [
        (BASE + 1, PAGE_SIZE, PAGE_SIZE, may_move, 0),
        (BASE, PAGE_SIZE, 0, may_move, 0),
        (BASE, 0, PAGE_SIZE, may_move, 0),
        (BASE - PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, may_move, 0),
        (BASE, 5 * PAGE_SIZE, 6 * PAGE_SIZE, may_move, 0),
        (BASE, PAGE_SIZE, PAGE_SIZE, to_fixed, BASE),
        (BASE, PAGE_SIZE, PAGE_SIZE, to_fixed, BASE + 5),
        (BASE, PAGE_SIZE, PAGE_SIZE, to_fixed, USER_TOP),
        (BASE, PAGE_SIZE, 2 * PAGE_SIZE, to_fixed, USER_TOP - PAGE_SIZE),
        (BASE, PAGE_SIZE, USER_TOP, may_move, 0),
        (BASE, PAGE_SIZE, 2 * PAGE_SIZE, keep, BASE + 8 * PAGE_SIZE),
        (BASE + PAGE_SIZE, 2 * PAGE_SIZE, 2 * PAGE_SIZE, to_fixed, BASE),
    ] {
        let theirs = host(libc::SYS_mremap, [old, old_len, new_len, flags, to, 0]);
        let target = match flags {
            1 => RemapTarget::MayMove,
            3 => RemapTarget::Fixed(to),
            _ => RemapTarget::Keep(Place::Fixed(to)),
        };
        let request = Remap { old, old_len, new_len, target };
        let result = map.remap(&request, &Limits::NONE, |_| {}, |_, _| Ok(()));
        assert_eq!(ours(result), theirs, "{request:x?}");
        assert_eq!(our_lines(&map), host_lines());
    }
    clear();
}
