//! Copies between the kernel and the program's memory, with an exception table.
//!
//! Every instruction here that touches the program's memory stands in `.ex_table` with the address to go on at when the access
//! can't be made good (`mm::fault` tries first). The callers have checked that the range lies in the lower half.
//! Around each access SMAP's window is opened: `STAC`/`CLAC` are three-byte NOPs until `enable_smap_windows` patches them.

use core::arch::{asm, global_asm};

#[repr(C)]
struct ExceptionEntry {
    instruction: u64,
    fixup: u64,
}

/// A place to patch: kind 0 is CLAC, 1 is STAC.
#[repr(C)]
struct SmapSite {
    address: u64,
    kind: u64,
}

unsafe extern "C" {
    static __ex_table_start: ExceptionEntry;
    static __ex_table_end: ExceptionEntry;
    static __alt_smap_start: SmapSite;
    static __alt_smap_end: SmapSite;
    fn copy_to_user(dst: usize, src: *const u8, len: usize) -> usize;
    fn copy_from_user(dst: *mut u8, src: usize, len: usize) -> usize;
    fn fill_user(dst: usize, byte: u8, len: usize) -> usize;
    fn copy_string_from_user(dst: *mut u8, src: usize, max: usize) -> isize;
}

global_asm!(
    r#"
    .section .text.usercopy, "ax"

    .macro EX instruction, fixup
    .pushsection .ex_table, "a"
    .quad \instruction, \fixup
    .popsection
    .endm

    .macro STAC
780: .byte 0x0f, 0x1f, 0x00
    .pushsection .alt_smap, "a"
    .quad 780b, 1
    .popsection
    .endm

    .macro CLAC
781: .byte 0x0f, 0x1f, 0x00
    .pushsection .alt_smap, "a"
    .quad 781b, 0
    .popsection
    .endm

    /* rdi = to, rsi = from, rdx = length; rax = bytes not copied */
    .macro USER_COPY name
    .globl \name
    .balign 16
\name:
    STAC
    test dl, 7
    jnz 2f
    mov rcx, rdx
    shr rcx, 3
10: rep movsq
    CLAC
    xor eax, eax
    ret
2:  cmp rdx, 8
    jae 4f
    /* up to seven bytes */
    cmp edx, 4
    jb 6f
11: mov eax, [rsi]
12: mov [rdi], eax
    add rsi, 4
    add rdi, 4
    sub edx, 4
    jz 5f
6:  mov ecx, edx
13: rep movsb
5:  CLAC
    xor eax, eax
    ret
4:  mov rcx, rdx
    shr rcx, 3
    and edx, 7
14: rep movsq
    mov ecx, edx
15: rep movsb
    CLAC
    xor eax, eax
    ret
    /* rep movsq of a multiple of eight: finish byte by byte, so that the count is exact */
20: lea rcx, [rcx * 8]
    jmp 22f
21: lea rcx, [rcx * 8 + rdx]
22: mov rax, rcx
23: rep movsb
24: mov rax, rcx
    CLAC
    ret
25: mov eax, edx
    mov ecx, edx
    jmp 23b
    EX 10b, 20b
    EX 11b, 25b
    EX 12b, 25b
    EX 13b, 24b
    EX 14b, 21b
    EX 15b, 24b
    EX 23b, 24b
    .endm

    USER_COPY copy_to_user
    USER_COPY copy_from_user

    /* rdi = to, rsi = from, rdx = most bytes; rax = bytes before the NUL, rdx if there is none, -1 after a fault */
    .globl copy_string_from_user
    .balign 16
copy_string_from_user:
    STAC
    movabs r8, 0x0101010101010101
    movabs r9, 0x8080808080808080
    xor eax, eax
    sub rdx, 8
    jb 5f
4:  /* eight bytes at a time: the lowest byte that is zero shows in its top bit */
10: mov rcx, [rsi + rax]
    mov [rdi + rax], rcx
    mov r10, rcx
    sub rcx, r8
    not r10
    and rcx, r9
    and rcx, r10
    jnz 6f
    add rax, 8
    cmp rax, rdx
    jbe 4b
5:  add rdx, 8
7:  cmp rax, rdx
    jae 8f
11: movzx ecx, byte ptr [rsi + rax]
    mov [rdi + rax], cl
    test ecx, ecx
    jz 8f
    inc rax
    jmp 7b
6:  bsf rcx, rcx
    shr ecx, 3
    add rax, rcx
8:  CLAC
    ret
9:  mov rax, -1
    CLAC
    ret
    /* A word that lies across the end of what is mapped is read byte by byte. */
    EX 10b, 5b
    EX 11b, 9b

    .globl fill_user
    .balign 16
fill_user:
    STAC
    movzx eax, sil
    movabs r8, 0x0101010101010101
    imul rax, r8
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
10: rep stosq
    mov ecx, edx
11: rep stosb
    CLAC
    xor eax, eax
    ret
20: lea rcx, [rcx * 8 + rdx]
12: rep stosb
21: mov rax, rcx
    CLAC
    ret
    EX 10b, 20b
    EX 11b, 21b
    EX 12b, 21b
"#
);

/// The address to go on at when the kernel's access at `instruction` can't be made good, if it is one of ours.
pub fn fixup_for(instruction: u64) -> Option<u64> {
    let start = &raw const __ex_table_start;
    let count = ((&raw const __ex_table_end).addr() - start.addr()) / size_of::<ExceptionEntry>();
    // SAFETY: the linker script bounds the table, which consists of such entries.
    let table = unsafe { core::slice::from_raw_parts(start, count) };
    table.iter().find(|entry| entry.instruction == instruction).map(|entry| entry.fixup)
}

/// Turns the NOPs around user accesses into STAC and CLAC. Before the kernel's text is write-protected.
pub fn enable_smap_windows() {
    let start = &raw const __alt_smap_start;
    let count = ((&raw const __alt_smap_end).addr() - start.addr()) / size_of::<SmapSite>();
    // SAFETY: the linker script bounds the table.
    let sites = unsafe { core::slice::from_raw_parts(start, count) };
    for site in sites {
        let last = if site.kind == 1 { 0xcb } else { 0xca };
        let code =
            core::ptr::with_exposed_provenance_mut::<[u8; 3]>(super::paging::writable_alias(site.address));
        // SAFETY: the site is three bytes of NOP in the kernel's text, patched before anything runs there in guarded mode.
        unsafe { code.write([0x0f, 0x01, last]) };
    }
}

/// Copies `src` to the program's memory at `dst`. Returns how many bytes could not be copied.
#[inline]
pub fn to_user(dst: usize, src: &[u8]) -> usize {
    // SAFETY: a bad destination ends in the exception table.
    unsafe { copy_to_user(dst, src.as_ptr(), src.len()) }
}

/// Copies from kernel memory that no reference may name (frames that programs share). As `to_user`.
///
/// # Safety
/// `src` is valid for `len` bytes.
#[inline]
pub unsafe fn to_user_raw(dst: usize, src: *const u8, len: usize) -> usize {
    // SAFETY: as above.
    unsafe { copy_to_user(dst, src, len) }
}

/// Copies a string of the program's memory up to its NUL, the NUL included if it comes within `dst`. Returns the length without the NUL,
/// `dst.len()` if there is none; `None` after a fault.
#[inline]
pub fn string_from_user(dst: &mut [u8], src: usize) -> Option<usize> {
    // SAFETY: the slice is valid for its length.
    unsafe { string_from_user_raw(dst.as_mut_ptr(), src, dst.len()) }
}

/// The same, into memory that isn't filled yet.
///
/// # Safety
/// `dst` is valid for writes of `max` bytes.
#[inline]
pub unsafe fn string_from_user_raw(dst: *mut u8, src: usize, max: usize) -> Option<usize> {
    // SAFETY: a bad source ends in the exception table.
    usize::try_from(unsafe { copy_string_from_user(dst, src, max) }).ok()
}

/// Copies from the program's memory at `src`. Returns how many bytes could not be copied.
#[inline]
pub fn from_user(dst: &mut [u8], src: usize) -> usize {
    // SAFETY: a bad source ends in the exception table.
    unsafe { copy_from_user(dst.as_mut_ptr(), src, dst.len()) }
}

/// As `from_user`, into memory that no reference may name.
///
/// # Safety
/// `dst` is valid for writes of `len` bytes.
#[inline]
pub unsafe fn from_user_raw(dst: *mut u8, src: usize, len: usize) -> usize {
    // SAFETY: as above.
    unsafe { copy_from_user(dst, src, len) }
}

/// Fills the program's memory. Returns how many bytes could not be written.
#[inline]
pub fn fill(dst: usize, byte: u8, len: usize) -> usize {
    // SAFETY: a bad destination ends in the exception table.
    unsafe { fill_user(dst, byte, len) }
}

/// Instructions that touch the program's memory, as `asm!` takes them, with SMAP lifted around them. Those with the labels may fault: what follows
/// is run then in the place of all that is left of them.
macro_rules! access {
    ([$($instruction:expr),+ $(,)?], faults at [$($label:literal)+]: $fix_up:literal, $($operands:tt)+) => {
        asm!(
            "780: .byte 0x0f, 0x1f, 0x00",
            $($instruction,)+
            "3: .byte 0x0f, 0x1f, 0x00",
            ".pushsection .alt_smap, \"a\"",
            ".quad 780b, 1, 3b, 0",
            ".popsection",
            ".pushsection .ex_table, \"a\"",
            $(concat!(".quad ", $label, "b, 4f"),)+
            ".popsection",
            ".pushsection .text.fixup, \"ax\"",
            concat!("4: ", $fix_up),
            "jmp 3b",
            ".popsection",
            $($operands)+
            options(nostack),
        )
    };
}

/// Reads one word from the program's memory, `None` on a fault.
#[inline]
pub fn read_u64(src: usize) -> Option<u64> {
    let value: u64;
    let failed: u64;
    // SAFETY: a bad address goes on at the fix-up with `failed` set.
    unsafe {
        access!(
            [
                "xor {failed:e}, {failed:e}",
                "2: mov {value}, [{src}]",
            ],
            faults at [2]: "mov {failed:e}, 1",
            src = in(reg) src,
            value = lateout(reg) value,
            failed = out(reg) failed,
        );
    }
    (failed == 0).then_some(value)
}

/// As `read_u64`, four bytes.
#[inline(always)]
pub fn read_u32(src: usize) -> Option<u32> {
    let value: i64;
    // SAFETY: a bad address goes on at the fix-up with a value that no four bytes have.
    unsafe {
        access!(
            [
                "2: mov {value:e}, [{src}]",
            ],
            faults at [2]: "mov {value}, -1",
            src = in(reg) src,
            value = lateout(reg) value,
        );
    }
    if value < 0 { None } else { Some(value as u32) }
}

/// Reads four words in a row from the program's memory, `None` on a fault.
#[inline(always)]
pub fn read_four(src: usize) -> Option<[u64; 4]> {
    let (a, b, c, d): (u64, u64, u64, u64);
    let failed: u64;
    // SAFETY: a bad address goes on at the fix-up with `failed` set.
    unsafe {
        access!(
            [
                "2: mov {a}, [{src}]",
                "5: mov {b}, [{src} + 8]",
                "6: mov {c}, [{src} + 16]",
                "7: mov {d}, [{src} + 24]",
                "xor {src:e}, {src:e}",
            ],
            faults at [2 5 6 7]: "mov {src:e}, 1",
            src = inout(reg) src => failed,
            a = out(reg) a,
            b = out(reg) b,
            c = out(reg) c,
            d = out(reg) d,
        );
    }
    (failed == 0).then_some([a, b, c, d])
}

macro_rules! several {
    ($(#[$doc:meta])* $write:ident, $count:literal, $($name:ident at $offset:literal label $label:literal),+) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $write(dst: usize, values: [u64; $count]) -> Option<()> {
            let [$($name),+] = values;
            let failed: u64;
            // SAFETY: a bad address goes on at the fix-up with `failed` set.
            unsafe {
                access!(
                    [
                        $(concat!($label, ": mov [{dst} + ", $offset, "], {", stringify!($name), "}"),)+
                        "xor {dst:e}, {dst:e}",
                    ],
                    faults at [$($label)+]: "mov {dst:e}, 1",
                    dst = inout(reg) dst => failed,
                    $($name = in(reg) $name,)+
                );
            }
            (failed == 0).then_some(())
        }
    };
}
several!(
    /// Writes two words in a row to the program's memory, `None` on a fault.
    write_two, 2, a at 0 label 5, b at 8 label 6
);
several!(
    /// Writes four words in a row to the program's memory, `None` on a fault.
    write_four, 4, a at 0 label 5, b at 8 label 6, c at 16 label 7, d at 24 label 8
);

several!(
    /// Writes nine words in a row to the program's memory, `None` on a fault.
    write_nine, 9, a at 0 label 5, b at 8 label 6, c at 16 label 7, d at 24 label 8, e at 32 label 9, f at 40 label 20, g at 48 label 21,
    h at 56 label 12, i at 64 label 13
);

/// Writes the first six words and the last three of a `struct stat` to the program's memory (`UserPtr::store_head`), `None` on a fault.
#[inline(always)]
pub fn write_stat_head(
    dst: usize,
    [dev, ino, nlink]: [u64; 3],
    mode: u32,
    uid: u32,
    gid: u32,
    rdev: u64,
) -> Option<()> {
    let failed: u64;
    // SAFETY: a bad address goes on at the fix-up with `failed` set.
    unsafe {
        access!(
            [
                "5: mov [{dst}], {dev}",
                "6: mov [{dst} + 8], {ino}",
                "7: mov [{dst} + 16], {nlink}",
                "8: mov [{dst} + 24], {mode:e}",
                "9: mov [{dst} + 28], {uid:e}",
                "20: mov [{dst} + 32], {gid}",
                "21: mov [{dst} + 40], {rdev}",
                "12: mov qword ptr [{dst} + 120], 0",
                "13: mov qword ptr [{dst} + 128], 0",
                "14: mov qword ptr [{dst} + 136], 0",
                "xor {dst:e}, {dst:e}",
            ],
            faults at [5 6 7 8 9 20 21 12 13 14]: "mov {dst:e}, 1",
            dst = inout(reg) dst => failed,
            dev = in(reg) dev,
            ino = in(reg) ino,
            nlink = in(reg) nlink,
            mode = in(reg) mode,
            uid = in(reg) uid,
            gid = in(reg) u64::from(gid),
            rdev = in(reg) rdev,
        );
    }
    (failed == 0).then_some(())
}

/// Writes four bytes and eight right behind them to the program's memory, `None` on a fault.
#[inline(always)]
pub fn write_event(dst: usize, first: u32, second: u64) -> Option<()> {
    let failed: u64;
    // SAFETY: a bad address goes on at the fix-up with `failed` set.
    unsafe {
        access!(
            [
                "2: mov [{dst}], {first:e}",
                "5: mov [{dst} + 4], {second}",
                "xor {dst:e}, {dst:e}",
            ],
            faults at [2 5]: "mov {dst:e}, 1",
            dst = inout(reg) dst => failed,
            first = in(reg) first,
            second = in(reg) second,
        );
    }
    (failed == 0).then_some(())
}

/// Writes two bytes to the program's memory, `None` on a fault.
#[inline(always)]
pub fn write_u16(dst: usize, value: u16) -> Option<()> {
    let failed: u64;
    // SAFETY: a bad address goes on at the fix-up with `failed` set.
    unsafe {
        access!(
            [
                "2: mov [{dst}], {value:x}",
                "xor {dst:e}, {dst:e}",
            ],
            faults at [2]: "mov {dst:e}, 1",
            dst = inout(reg) dst => failed,
            value = in(reg) value,
        );
    }
    (failed == 0).then_some(())
}

/// Exchanges a word of the program's memory if it has the expected value; whether it had. `None` on a fault.
pub fn compare_exchange_u32(address: usize, expected: u32, new: u32) -> Option<bool> {
    let failed: u64;
    let found: u32;
    // SAFETY: a bad address goes on at the fix-up with `failed` set.
    unsafe {
        access!(
            [
                "xor {failed:e}, {failed:e}",
                "2: lock cmpxchg [{address}], {new:e}",
            ],
            faults at [2]: "mov {failed:e}, 1",
            address = in(reg) address,
            new = in(reg) new,
            inout("eax") expected => found,
            failed = out(reg) failed,
        );
    }
    (failed == 0).then_some(found == expected)
}
