//! Signal frames in the program's memory, written and read in place: every access stands in the exception table, and the FPU state goes
//! straight from the registers to the program's stack and back.
//!
//! The layout is Linux's `struct rt_sigframe` (arch/x86/include/uapi/asm/sigcontext.h, ucontext.h): return address, `ucontext_t`,
//! `siginfo_t`; the FPU state stands apart, 64-byte aligned.

use core::arch::global_asm;
use core::mem::offset_of;

use super::TrapFrame;
use super::fpu;

/// Bytes of the frame without the FPU state.
pub const FRAME_SIZE: u64 = 440;
/// Where `ucontext_t` and `siginfo_t` begin.
pub const UCONTEXT_OFFSET: u64 = 8;
pub const SIGINFO_OFFSET: u64 = 312;
const SIGINFO_TAIL: u64 = SIGINFO_OFFSET + 48;

/// CS, GS, FS and SS as a Linux program has them, in both modes.
const SELECTORS: u64 = 0x002b_0000_0000_0033;

/// The second mark of an extended state stands right after it.
const MAGIC2_SIZE: u64 = 4;

/// What a frame holds beside the registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// The handler's return address. Not read back.
    pub restorer: u64,
    pub flags: u64,
    pub stack_base: u64,
    pub stack_flags: u64,
    pub stack_size: u64,
    pub error: u64,
    pub trap: u64,
    pub mask: u64,
    pub fault_address: u64,
    pub fpstate: u64,
    /// Read back only.
    pub rflags: u64,
    pub selectors: u64,
}

/// The part of a frame that couldn't be accessed is the caller's to handle: it is the program's stack that is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

unsafe extern "C" {
    fn sigframe_put(frame: u64, registers: *const TrapFrame, context: *const Context) -> u32;
    fn sigframe_put_info(frame: u64, info: *const [u64; 6]) -> u32;
    fn sigframe_get(frame: u64, registers: *mut TrapFrame, context: *mut Context) -> u32;
    fn sigframe_xsave(area: u64, mask: u64, size: u64) -> u32;
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

    /* rdi = frame, rsi = TrapFrame, rdx = Context */
    .globl sigframe_put
    .balign 16
sigframe_put:
    xor ecx, ecx
    SIG_STAC
    SIG_COPY_OUT 0, rdx, {c_restorer}
    SIG_COPY_OUT 8, rdx, {c_flags}
    SIG_PUT 16, rcx
    SIG_COPY_OUT 24, rdx, {c_stack_base}
    SIG_COPY_OUT 32, rdx, {c_stack_flags}
    SIG_COPY_OUT 40, rdx, {c_stack_size}
    SIG_REGISTERS SIG_COPY_OUT
    SIG_COPY_OUT 184, rsi, {f_rflags}
    movabs rax, {selectors}
    SIG_PUT 192, rax
    SIG_COPY_OUT 200, rdx, {c_error}
    SIG_COPY_OUT 208, rdx, {c_trap}
    SIG_COPY_OUT 216, rdx, {c_mask}
    SIG_PUT 304, rax
    SIG_COPY_OUT 224, rdx, {c_fault_address}
    SIG_COPY_OUT 232, rdx, {c_fpstate}
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

    /* rdi = frame, rsi = TrapFrame, rdx = Context. The ends first: if they can be read, all can, and nothing is restored by halves. */
    .globl sigframe_get
    .balign 16
sigframe_get:
    SIG_STAC
    SIG_COPY_IN 304, rdx, {c_mask}
    SIG_COPY_IN 8, rdx, {c_flags}
    SIG_COPY_IN 24, rdx, {c_stack_base}
    SIG_COPY_IN 32, rdx, {c_stack_flags}
    SIG_COPY_IN 40, rdx, {c_stack_size}
    SIG_COPY_IN 184, rdx, {c_rflags}
    SIG_COPY_IN 192, rdx, {c_selectors}
    SIG_COPY_IN 232, rdx, {c_fpstate}
    SIG_REGISTERS SIG_COPY_IN
    SIG_CLAC
    xor eax, eax
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
    c_restorer = const offset_of!(Context, restorer),
    c_flags = const offset_of!(Context, flags),
    c_stack_base = const offset_of!(Context, stack_base),
    c_stack_flags = const offset_of!(Context, stack_flags),
    c_stack_size = const offset_of!(Context, stack_size),
    c_error = const offset_of!(Context, error),
    c_trap = const offset_of!(Context, trap),
    c_mask = const offset_of!(Context, mask),
    c_fault_address = const offset_of!(Context, fault_address),
    c_fpstate = const offset_of!(Context, fpstate),
    c_rflags = const offset_of!(Context, rflags),
    c_selectors = const offset_of!(Context, selectors),
    selectors = const SELECTORS,
    info = const SIGINFO_OFFSET,
    info_tail = const SIGINFO_TAIL,
    magic1 = const abi::FP_XSTATE_MAGIC1,
    magic2 = const abi::FP_XSTATE_MAGIC2,
);

fn done(status: u32) -> Result<(), BadFrame> {
    if status == 0 { Ok(()) } else { Err(BadFrame) }
}

/// Writes the frame, without `siginfo_t` and FPU state, at an address in the program's half.
#[inline]
pub fn put(frame: u64, registers: &TrapFrame, context: &Context) -> Result<(), BadFrame> {
    // SAFETY: accesses to the frame are in the exception table; the rest are references.
    done(unsafe { sigframe_put(frame, registers, context) })
}

/// Writes the frame's `siginfo_t`.
#[inline]
pub fn put_info(frame: u64, info: &[u64; 6]) -> Result<(), BadFrame> {
    // SAFETY: as in `put`.
    done(unsafe { sigframe_put_info(frame, info) })
}

/// Reads a frame back: general registers into `registers`, the rest into `context`, nothing judged.
#[inline]
pub fn get(frame: u64, registers: &mut TrapFrame, context: &mut Context) -> Result<(), BadFrame> {
    // SAFETY: as in `put`.
    done(unsafe { sigframe_get(frame, registers, context) })
}

/// Bytes that the FPU state takes in a frame, and whether it is an XSAVE image.
#[inline]
pub fn fpstate_layout() -> (u64, bool) {
    let size = fpu::state_size() as u64;
    if fpu::state_mask() == 0 { (size, false) } else { (size + MAGIC2_SIZE, true) }
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

/// Offsets of what is used of `struct _fpx_sw_bytes` in the FPU state.
pub mod software {
    pub const MAGIC1_AND_EXTENDED_SIZE: u64 = 464;
    pub const COMPONENTS: u64 = 472;
    pub const STATE_SIZE: u64 = 480;
    /// The legacy area and the XSAVE header.
    pub const LEAST_STATE_SIZE: u32 = 576;
}
