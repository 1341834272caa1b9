//! Signal frames in the program's memory, written and read in place: every access stands in the exception table, and the FPU state goes
//! straight from the registers to the program's stack and back.
//!
//! The layout is Linux's `struct rt_sigframe` (arch/x86/include/uapi/asm/sigcontext.h, ucontext.h): return address, `ucontext_t`,
//! `siginfo_t`; the FPU state stands apart, 64-byte aligned.

use core::arch::global_asm;
use core::cell::Cell;
use core::mem::offset_of;

use super::TrapFrame;
use super::fpu;

/// Bytes of the frame without the FPU state.
pub const FRAME_SIZE: u64 = 440;
/// Where `ucontext_t` and `siginfo_t` begin.
pub const UCONTEXT_OFFSET: u64 = 8;
pub const SIGINFO_OFFSET: u64 = 312;
const SIGINFO_TAIL: u64 = SIGINFO_OFFSET + 48;

/// CS, GS, FS and SS as a Linux program has them, in both modes; and which of the four a return would load.
const SELECTORS: u64 = 0x002b_0000_0000_0033;
const LOADED_SELECTORS: u64 = 0xffff_0000_0000_ffff;

/// The flags of RFLAGS that sigreturn restores: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF.
pub const RESTORED_FLAGS: u32 = 0x0005_0dd5;

/// What a thread's frames show beside its registers: the alternate stack, and the last fault.
#[repr(C)]
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub stack_base: Cell<u64>,
    pub stack_flags: Cell<u64>,
    pub stack_size: Cell<u64>,
    pub error: Cell<u64>,
    pub trap: Cell<u64>,
    pub address: Cell<u64>,
}

/// What is read back from a frame beside the registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Restored {
    pub mask: u64,
    pub fpstate: u64,
}

/// What has to be looked at more closely after a frame was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Usual,
    /// The alternate stack isn't the thread's present one, or the selectors aren't Linux's.
    Unusual,
}

/// The part of a frame that couldn't be accessed is the caller's to handle: it is the program's stack that is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

unsafe extern "C" {
    fn sigframe_put(
        frame: u64,
        registers: *const TrapFrame,
        shown: *const Shown,
        restorer: u64,
        mask: u64,
        fpstate_and_flags: u64,
    ) -> u32;
    fn sigframe_put_info(frame: u64, info: *const [u64; 6]) -> u32;
    fn sigframe_get(frame: u64, registers: *mut TrapFrame, shown: *const Shown, out: *mut Restored) -> u32;
    fn sigframe_xsave(area: u64, mask: u64, size: u64) -> u32;
    fn sigframe_xrstor_own(area: u64, mask: u64, size: u64) -> u32;
    fn sigframe_xrstor(area: u64, mask: u64) -> u32;
    fn sigframe_fxsave(area: u64) -> u32;
    fn sigframe_fxrstor(area: u64) -> u32;
}

global_asm!(
    r#"
    .section .text.fpu, "ax"

    .macro SIG_EX fixup
    .pushsection .ex_table, "a"
    .quad 881b, \fixup
    .popsection
    .endm

    .macro SIG_STAC
882: .byte 0x0f, 0x1f, 0x00
    .pushsection .alt_smap, "a"
    .quad 882b, 1
    .popsection
    .endm

    .macro SIG_CLAC
883: .byte 0x0f, 0x1f, 0x00
    .pushsection .alt_smap, "a"
    .quad 883b, 0
    .popsection
    .endm

    .macro SIG_PUT offset, source
881: mov [rdi + \offset], \source
    SIG_EX sigframe_failed
    .endm

    .macro SIG_COPY_OUT offset, from, field
    mov rax, [\from + \field]
    SIG_PUT \offset, rax
    .endm

    .macro SIG_COPY_IN offset, to, field
881: mov rax, [rdi + \offset]
    SIG_EX sigframe_failed
    mov [\to + \field], rax
    .endm

    .macro SIG_REGISTERS direction
    \direction 48, rsi, {f_r8}
    \direction 56, rsi, {f_r9}
    \direction 64, rsi, {f_r10}
    \direction 72, rsi, {f_r11}
    \direction 80, rsi, {f_r12}
    \direction 88, rsi, {f_r13}
    \direction 96, rsi, {f_r14}
    \direction 104, rsi, {f_r15}
    \direction 112, rsi, {f_rdi}
    \direction 120, rsi, {f_rsi}
    \direction 128, rsi, {f_rbp}
    \direction 136, rsi, {f_rbx}
    \direction 144, rsi, {f_rdx}
    \direction 152, rsi, {f_rax}
    \direction 160, rsi, {f_rcx}
    \direction 168, rsi, {f_rsp}
    \direction 176, rsi, {f_rip}
    .endm

    /* rdi = frame, rsi = TrapFrame, rdx = Shown, rcx = restorer, r8 = mask, r9 = fpstate and, in its low bits, uc_flags */
    .globl sigframe_put
    .balign 16
sigframe_put:
    SIG_STAC
    SIG_PUT 0, rcx
    mov eax, r9d
    and eax, 63
    SIG_PUT 8, rax
    xor eax, eax
    SIG_PUT 16, rax
    SIG_COPY_OUT 24, rdx, {s_stack_base}
    SIG_COPY_OUT 32, rdx, {s_stack_flags}
    SIG_COPY_OUT 40, rdx, {s_stack_size}
    SIG_REGISTERS SIG_COPY_OUT
    SIG_COPY_OUT 184, rsi, {f_rflags}
    movabs rax, {selectors}
    SIG_PUT 192, rax
    SIG_COPY_OUT 200, rdx, {s_error}
    SIG_COPY_OUT 208, rdx, {s_trap}
    SIG_PUT 216, r8
    SIG_PUT 304, r8
    SIG_COPY_OUT 224, rdx, {s_address}
    and r9, -64
    SIG_PUT 232, r9
    SIG_CLAC
    xor eax, eax
    ret

sigframe_failed:
    SIG_CLAC
    mov eax, 1
    ret

    /* rdi = frame, rsi = six words */
    .globl sigframe_put_info
    .balign 16
sigframe_put_info:
    xor ecx, ecx
    SIG_STAC
    .irp word, 0, 8, 16, 24, 32, 40
    SIG_COPY_OUT {info}+\word, rsi, \word
    .endr
    .irp word, 0, 8, 16, 24, 32, 40, 48, 56, 64, 72
    SIG_PUT {info_tail}+\word, rcx
    .endr
    SIG_CLAC
    xor eax, eax
    ret

    /* rdi = frame, rsi = TrapFrame, rdx = Shown, rcx = Restored. The ends first: if they can be read, all can, and nothing is restored
       by halves. 0: done; 1: failed; 2: done, but look at the alternate stack and the selectors. */
    .globl sigframe_get
    .balign 16
sigframe_get:
    SIG_STAC
    SIG_COPY_IN 304, rcx, {r_mask}
    xor r8d, r8d
881: mov rax, [rdi + 24]
    SIG_EX sigframe_failed
    sub rax, [rdx + {s_stack_base}]
    or r8, rax
881: mov eax, [rdi + 32]
    SIG_EX sigframe_failed
    sub rax, [rdx + {s_stack_flags}]
    or r8, rax
881: mov rax, [rdi + 40]
    SIG_EX sigframe_failed
    sub rax, [rdx + {s_stack_size}]
    or r8, rax
881: mov rax, [rdi + 192]
    SIG_EX sigframe_failed
    movabs r9, {loaded_selectors}
    and rax, r9
    movabs r9, {selectors}
    sub rax, r9
    or r8, rax
    SIG_REGISTERS SIG_COPY_IN
881: mov eax, [rdi + 184]
    SIG_EX sigframe_failed
    and eax, {restored_flags}
    and dword ptr [rsi + {f_rflags}], ~{restored_flags}
    or [rsi + {f_rflags}], eax
    SIG_COPY_IN 232, rcx, {r_fpstate}
    SIG_CLAC
    xor eax, eax
    neg r8
    adc eax, eax
    add eax, eax
    ret

    /* rdi = 64-byte aligned area, rsi = components, rdx = size of the state */
    .globl sigframe_xsave
    .balign 16
sigframe_xsave:
    mov r8, rdx
    mov r9, rsi
    xor ecx, ecx
    SIG_STAC
    /* XSAVE writes the first word of the header only, and not the bits of components that it doesn't save. */
    .irp word, 512, 520, 528, 536, 544, 552, 560, 568
    SIG_PUT \word, rcx
    .endr
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
881: xsave64 [rdi]
    SIG_EX sigframe_failed
    /* struct _fpx_sw_bytes: magic1, extended_size, xfeatures, xstate_size, padding */
    lea rax, [r8 + 4]
    shl rax, 32
    or rax, {magic1}
    SIG_PUT 464, rax
    SIG_PUT 472, r9
    SIG_PUT 480, r8
    SIG_PUT 488, rcx
    SIG_PUT 496, rcx
    SIG_PUT 504, rcx
    /* Readers of the legacy part take these two for granted. */
881: or byte ptr [rdi + 512], 3
    SIG_EX sigframe_failed
881: mov dword ptr [rdi + r8], {magic2}
    SIG_EX sigframe_failed
    SIG_CLAC
    xor eax, eax
    ret

    /* rdi = area, rsi = components, rdx = size: an image as sigframe_xsave wrote it. 2: it isn't one. */
    .globl sigframe_xrstor_own
    .balign 16
sigframe_xrstor_own:
    lea rcx, [rdx + 4]
    shl rcx, 32
    or rcx, {magic1}
    SIG_STAC
881: cmp [rdi + 464], rcx
    SIG_EX sigframe_failed
    jne 2f
881: cmp [rdi + 472], rsi
    SIG_EX sigframe_failed
    jne 2f
881: cmp [rdi + 480], edx
    SIG_EX sigframe_failed
    jne 2f
881: cmp dword ptr [rdi + rdx], {magic2}
    SIG_EX sigframe_failed
    jne 2f
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
881: xrstor64 [rdi]
    SIG_EX sigframe_failed
    SIG_CLAC
    xor eax, eax
    ret
2:  SIG_CLAC
    mov eax, 2
    ret

    .globl sigframe_xrstor
    .balign 16
sigframe_xrstor:
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    SIG_STAC
881: xrstor64 [rdi]
    SIG_EX sigframe_failed
    SIG_CLAC
    xor eax, eax
    ret

    .globl sigframe_fxsave
    .balign 16
sigframe_fxsave:
    SIG_STAC
881: fxsave64 [rdi]
    SIG_EX sigframe_failed
    SIG_CLAC
    xor eax, eax
    ret

    .globl sigframe_fxrstor
    .balign 16
sigframe_fxrstor:
    SIG_STAC
881: fxrstor64 [rdi]
    SIG_EX sigframe_failed
    SIG_CLAC
    xor eax, eax
    ret
"#,
    f_r8 = const offset_of!(TrapFrame, r8),
    f_r9 = const offset_of!(TrapFrame, r9),
    f_r10 = const offset_of!(TrapFrame, r10),
    f_r11 = const offset_of!(TrapFrame, r11),
    f_r12 = const offset_of!(TrapFrame, r12),
    f_r13 = const offset_of!(TrapFrame, r13),
    f_r14 = const offset_of!(TrapFrame, r14),
    f_r15 = const offset_of!(TrapFrame, r15),
    f_rdi = const offset_of!(TrapFrame, rdi),
    f_rsi = const offset_of!(TrapFrame, rsi),
    f_rbp = const offset_of!(TrapFrame, rbp),
    f_rbx = const offset_of!(TrapFrame, rbx),
    f_rdx = const offset_of!(TrapFrame, rdx),
    f_rax = const offset_of!(TrapFrame, rax),
    f_rcx = const offset_of!(TrapFrame, rcx),
    f_rsp = const offset_of!(TrapFrame, rsp),
    f_rip = const offset_of!(TrapFrame, rip),
    f_rflags = const offset_of!(TrapFrame, rflags),
    s_stack_base = const offset_of!(Shown, stack_base),
    s_stack_flags = const offset_of!(Shown, stack_flags),
    s_stack_size = const offset_of!(Shown, stack_size),
    s_error = const offset_of!(Shown, error),
    s_trap = const offset_of!(Shown, trap),
    s_address = const offset_of!(Shown, address),
    r_mask = const offset_of!(Restored, mask),
    r_fpstate = const offset_of!(Restored, fpstate),
    loaded_selectors = const LOADED_SELECTORS,
    restored_flags = const RESTORED_FLAGS,
    selectors = const SELECTORS,
    info = const SIGINFO_OFFSET,
    info_tail = const SIGINFO_TAIL,
    magic1 = const abi::FP_XSTATE_MAGIC1,
    magic2 = const abi::FP_XSTATE_MAGIC2,
);

#[inline(always)]
fn done(status: u32) -> Result<(), BadFrame> {
    if status == 0 { Ok(()) } else { Err(BadFrame) }
}

/// Writes the frame, without `siginfo_t` and FPU state, at an address in the program's half. `fpstate` is 64-byte aligned.
#[inline(always)]
pub fn put(
    frame: u64,
    registers: &TrapFrame,
    shown: &Shown,
    restorer: u64,
    mask: u64,
    fpstate: u64,
) -> Result<(), BadFrame> {
    let extended = if fpu::state_mask() == 0 { 0 } else { abi::UC_FP_XSTATE };
    let flags = abi::UC_SIGCONTEXT_SS | abi::UC_STRICT_RESTORE_SS | extended;
    // SAFETY: accesses to the frame are in the exception table; the rest are references.
    done(unsafe { sigframe_put(frame, registers, shown, restorer, mask, fpstate | flags) })
}

/// Writes the frame's `siginfo_t`.
#[inline]
pub fn put_info(frame: u64, info: &[u64; 6]) -> Result<(), BadFrame> {
    // SAFETY: as in `put`.
    done(unsafe { sigframe_put_info(frame, info) })
}

/// Reads a frame back: general registers and the flags that a program may set into `registers`, the rest unjudged.
#[inline(always)]
pub fn get(frame: u64, registers: &mut TrapFrame, shown: &Shown) -> Result<(Restored, Reading), BadFrame> {
    let mut out = Restored::default();
    // SAFETY: as in `put`.
    let status = unsafe { sigframe_get(frame, registers, shown, &raw mut out) };
    match status {
        0 => Ok((out, Reading::Usual)),
        2 => Ok((out, Reading::Unusual)),
        _ => Err(BadFrame),
    }
}

/// Loads the FPU registers from an image that `save_fpu` wrote; `false` if the area doesn't look like one.
#[inline(always)]
pub fn restore_own_fpu(area: u64) -> Result<bool, BadFrame> {
    let mask = fpu::state_mask();
    if mask == 0 {
        return Ok(false);
    }
    // SAFETY: as in `save_fpu`.
    match unsafe { sigframe_xrstor_own(area, mask, fpu::state_size() as u64) } {
        0 => Ok(true),
        2 => Ok(false),
        _ => Err(BadFrame),
    }
}

/// Saves the FPU registers to a 64-byte aligned area of the program's.
#[inline]
pub fn save_fpu(area: u64) -> Result<(), BadFrame> {
    let mask = fpu::state_mask();
    // SAFETY: as in `put`; the mask holds components that XCR0 has, the size is theirs.
    done(unsafe {
        if mask == 0 { sigframe_fxsave(area) } else { sigframe_xsave(area, mask, fpu::state_size() as u64) }
    })
}

/// What the software-reserved bytes of an FPU state say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An XSAVE image with these components.
    Extended(u64),
    /// x87 and SSE only.
    Legacy,
}

/// Loads the FPU registers from the program's memory. Components that the image leaves out get their initial state. The processor itself
/// refuses reserved bits (in MXCSR, in the XSAVE header) and bad alignment by a general-protection fault, which ends here as `BadFrame`.
#[inline]
pub fn restore_fpu(area: u64, format: Format) -> Result<(), BadFrame> {
    let mask = fpu::state_mask();
    // SAFETY: as in `save_fpu`.
    done(unsafe {
        match format {
            Format::Extended(components) => {
                if mask & !components != 0 {
                    fpu::reset();
                }
                sigframe_xrstor(area, mask & components)
            }
            Format::Legacy => {
                fpu::reset();
                sigframe_fxrstor(area)
            }
        }
    })
}

/// Offset of `struct _fpx_sw_bytes` in the FPU state.
pub const SOFTWARE_OFFSET: u64 = 464;
/// The legacy area and the XSAVE header.
pub const LEAST_STATE_SIZE: u32 = 576;
