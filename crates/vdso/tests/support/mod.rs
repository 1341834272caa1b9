//! The image as the kernel maps it, and its symbols.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "each test file uses a part; offsets in one page"
)]

use std::ffi::{CStr, c_int, c_void};

use vdso::Vvar;

std::arch::global_asm!(include_str!("../../../../kernel/src/arch/x86_64/vdso.S"), options(att_syntax, raw));

unsafe extern "C" {
    static vdso_image: u8;
    static vdso_image_end: u8;
}

pub const PAGE: usize = 4096;
pub const SECOND: u64 = 1_000_000_000;

pub fn image_bytes() -> &'static [u8] {
    let (start, end) = (&raw const vdso_image, &raw const vdso_image_end);
    // SAFETY: the two symbols bound the image, which is read-only data of this program.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Pair {
    pub sec: i64,
    pub sub: i64,
}

pub const POISON: Pair = Pair { sec: 0x5555, sub: 0x5555 };

pub type ClockGettime = extern "C" fn(c_int, *mut Pair) -> c_int;
pub type Gettimeofday = extern "C" fn(*mut Pair, *mut [i32; 2]) -> c_int;
pub type Time = extern "C" fn(*mut i64) -> i64;
pub type Getcpu = extern "C" fn(*mut u32, *mut u32, *mut c_void) -> c_int;

/// Data page and image, mapped as the kernel maps them.
pub struct Mapped {
    base: *mut u8,
    pub symbols: Vec<(String, usize)>,
}

// SAFETY: the mapping lives until it is dropped, and the data page is all atomics.
unsafe impl Sync for Mapped {}

impl Mapped {
    pub fn new() -> Self {
        let image = image_bytes();
        // SAFETY: a fresh mapping, filled before it becomes executable.
        let base = unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
            .cast::<u8>();
            assert_ne!(base.addr(), usize::MAX);
            std::ptr::copy_nonoverlapping(image.as_ptr(), base.add(PAGE), image.len());
            assert_eq!(libc::mprotect(base.add(PAGE).cast(), PAGE, libc::PROT_READ | libc::PROT_EXEC), 0);
            base.cast::<Vvar>().write(Vvar::new());
            base
        };
        Self { base, symbols: symbols(image) }
    }

    pub fn vvar(&self) -> &Vvar {
        // SAFETY: initialised in `new`, aligned to its page; the code only reads it, with atomics on this side.
        unsafe { &*self.base.cast::<Vvar>() }
    }

    pub fn address(&self, name: &str) -> *mut u8 {
        let (_, offset) = self.symbols.iter().find(|(n, _)| n == name).expect("no such symbol");
        self.base.wrapping_add(PAGE + offset)
    }

    pub fn function<F: Copy>(&self, name: &str) -> F {
        assert_eq!(size_of::<F>(), size_of::<usize>());
        let address = self.address(name);
        // SAFETY: F is the C type of the function with that name.
        unsafe { std::mem::transmute_copy(&address) }
    }

    pub fn clock(&self, id: c_int) -> Pair {
        let mut out = POISON;
        let result = self.function::<ClockGettime>("__vdso_clock_gettime")(id, &raw mut out);
        assert_eq!(result, 0, "clock {id}");
        out
    }

    pub fn day(&self) -> Pair {
        let mut out = POISON;
        assert_eq!(
            self.function::<Gettimeofday>("__vdso_gettimeofday")(&raw mut out, std::ptr::null_mut()),
            0
        );
        out
    }

    pub fn time(&self) -> i64 {
        let mut out = 0;
        let result = self.function::<Time>("__vdso_time")(&raw mut out);
        assert_eq!(result, out);
        assert_eq!(self.function::<Time>("time")(std::ptr::null_mut()).max(result), result);
        out
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`.
        unsafe { libc::munmap(self.base.cast(), 2 * PAGE) };
    }
}

pub fn number<const N: usize>(image: &[u8], at: usize) -> u64 {
    image[at..at + N].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

pub fn word(image: &[u8], at: usize) -> usize {
    usize::try_from(number::<8>(image, at)).unwrap()
}

pub fn string(image: &[u8], at: usize) -> String {
    CStr::from_bytes_until_nul(&image[at..]).unwrap().to_str().unwrap().to_owned()
}

/// Entries of the dynamic section.
pub fn dynamic(image: &[u8]) -> Vec<(usize, usize)> {
    let (phoff, phnum) = (word(image, 32), number::<2>(image, 56) as usize);
    let header = (0..phnum).map(|n| phoff + n * 56).find(|&at| number::<4>(image, at) == 2).unwrap();
    let at = word(image, header + 8);
    (0..)
        .map(|n| (word(image, at + n * 16), word(image, at + n * 16 + 8)))
        .take_while(|&(tag, _)| tag != 0)
        .collect()
}

pub fn tag(image: &[u8], wanted: usize) -> usize {
    dynamic(image).into_iter().find(|&(tag, _)| tag == wanted).unwrap().1
}

/// As musl does it: all symbols in order, with version LINUX_2.6.
pub fn symbols(image: &[u8]) -> Vec<(String, usize)> {
    let (hash, strings, table) = (tag(image, 4), tag(image, 5), tag(image, 6));
    let (versions, definitions) = (tag(image, 0x6fff_fff0), tag(image, 0x6fff_fffc));
    let version_name = |index: u64| {
        let mut at = definitions;
        loop {
            if number::<2>(image, at + 2) & 1 == 0 && number::<2>(image, at + 4) == index & 0x7fff {
                let aux = at + number::<4>(image, at + 12) as usize;
                return string(image, strings + number::<4>(image, aux) as usize);
            }
            let next = number::<4>(image, at + 16) as usize;
            assert_ne!(next, 0);
            at += next;
        }
    };
    let count = number::<4>(image, hash + 4) as usize;
    (1..count)
        .filter_map(|index| {
            let at = table + index * 24;
            let (info, section) = (image[at + 4], number::<2>(image, at + 6));
            assert!(section != 0);
            assert_eq!(version_name(number::<2>(image, versions + index * 2)), "LINUX_2.6");
            let name = string(image, strings + number::<4>(image, at) as usize);
            (info & 15 == 2).then(|| (name, word(image, at + 8)))
        })
        .collect()
}
