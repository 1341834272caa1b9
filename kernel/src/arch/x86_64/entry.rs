//! The ways into the kernel and out of it: `syscall`, interrupts and exceptions.
//!
//! Rules (docs/ARCHITECTURE.md, "Entry and exit"):
//! * Nothing is ever pushed on the program's stack. Programs have a red zone below RSP, and in flat mode they run in ring 0.
//! * Every vector starts on an interrupt stack, which the stub leaves at once: for the thread's kernel stack when it came from the
//!   program, for 128 bytes below the interrupted RSP when it came from the kernel (core's code has a red zone too).
//! * "From the kernel" means: CPL 0 and RIP inside the kernel's text. A program in flat mode has CPL 0 as well, and may jump anywhere.
//! * Kernel code runs with interrupts off. They are on in the program and in the idle loop only.
//! * Debug exceptions inside the kernel's text (a program's TF or watchpoint) are passed over without looking at GS.
//!
//! Both ways in build the same `TrapFrame` at the top of the thread's kernel stack.

use core::arch::global_asm;
use core::mem::offset_of;

use super::cpu::{self, PerCpu};
use super::gdt;
use crate::task::Thread;

/// The program's registers, as they stand at the top of a thread's kernel stack while it is in the kernel.
///
/// On the `syscall` path SS and the last nine are left unwritten: handlers keep the callee-saved registers as any function does, RCX is RIP and
/// R11 is RFLAGS. They stand above the rest, so that this path needn't step over them. The slow way out fills them in (`syscall_slow_exit`), and calls that need the whole frame sooner (the clone family) go through
/// `SAVE_REGISTERS` stubs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    pub r9: u64,
    pub r8: u64,
    pub r10: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call's number, or -1 when this frame isn't a system call's.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub rax: u64,
    pub rcx: u64,
    pub r11: u64,
    pub rbx: u64,
    pub rbp: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

/// RFLAGS bits.
pub const FLAG_TRAP: u64 = 1 << 8;
pub const FLAG_INTERRUPT: u64 = 1 << 9;
pub const FLAG_DIRECTION: u64 = 1 << 10;
pub const FLAG_NESTED: u64 = 1 << 14;
pub const FLAG_RESUME: u64 = 1 << 16;
pub const FLAG_ALIGNMENT: u64 = 1 << 18;
const FLAG_IOPL: u64 = 3 << 12;

/// Flags cleared on `syscall`.
const SYSCALL_FLAG_MASK: u64 =
    FLAG_TRAP | FLAG_INTERRUPT | FLAG_DIRECTION | FLAG_NESTED | FLAG_ALIGNMENT | FLAG_IOPL | FLAG_RESUME;

unsafe extern "C" {
    fn syscall_entry_flat();
    fn syscall_entry_guarded();
    fn syscall_entry_traced_flat();
    fn syscall_entry_traced_guarded();
    static __text_start: u8;
    static __text_end: u8;
}

/// Whether an address is in the kernel's code.
pub fn is_kernel_text(address: u64) -> bool {
    let start = (&raw const __text_start).addr() as u64;
    let end = (&raw const __text_end).addr() as u64;
    (start..end).contains(&address)
}

/// Which of the entries `syscall` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    Off,
    On,
}

/// Points `syscall` at the entry for this mode.
pub fn init_syscall(mode: crate::Mode, tracing: Tracing) {
    let entry: unsafe extern "C" fn() = match (mode, tracing) {
        (crate::Mode::Flat, Tracing::Off) => syscall_entry_flat,
        (crate::Mode::Guarded, Tracing::Off) => syscall_entry_guarded,
        (crate::Mode::Flat, Tracing::On) => syscall_entry_traced_flat,
        (crate::Mode::Guarded, Tracing::On) => syscall_entry_traced_guarded,
    };
    // SYSRET adds 16 and 8 to the base for CS and SS.
    cpu::write_msr(cpu::MSR_STAR, 0x23 << 48 | u64::from(gdt::KERNEL_CS) << 32);
    cpu::write_msr(cpu::MSR_LSTAR, (entry as *const ()).addr() as u64);
    cpu::write_msr(cpu::MSR_FMASK, SYSCALL_FLAG_MASK);
    cpu::per_cpu().traced.set(u8::from(tracing == Tracing::On));
}

/// The address at which a system call faults; by default one that no fault reports.
static LATE_ENTRY: cpu::BootCell<u64> = cpu::BootCell::new(1 << 63);

/// For hypervisors that emulate ring 0 and do all that SYSCALL does but raise the privilege: the first instruction at the kernel's entry then
/// faults, and the call is made from there (`syscall::late`). At boot, after `init_syscall`, which took the traced entry: the registers are in
/// the frame here too.
pub fn expect_late_syscalls() {
    LATE_ENTRY.set(cpu::read_msr(cpu::MSR_LSTAR));
}

/// Whether a fault of the program's at this address is a system call, by one who can be returned to.
#[inline]
pub fn is_late_syscall(frame: &TrapFrame, address: usize) -> bool {
    address as u64 == LATE_ENTRY.get() && (frame.rcx as usize) < crate::mm::USER_TOP
}

global_asm!(
    r#"
    .section .text.entry, "ax"

    /* ---- syscall ---------------------------------------------------------------------------------------------- */

    .macro SAVE_CALLEE_SAVED frame
    mov [\frame + {f_rbx}], rbx
    mov [\frame + {f_rbp}], rbp
    mov [\frame + {f_r12}], r12
    mov [\frame + {f_r13}], r13
    mov [\frame + {f_r14}], r14
    mov [\frame + {f_r15}], r15
    .endm

    /* A handler that wants the program's callee-saved registers in the frame. The traced entry has saved them already. */
    .macro SAVE_REGISTERS name, handler
    .globl \name
\name:
    cmp byte ptr gs:[{traced}], 0
    jne \handler
    mov rax, gs:[{stack_top}]
    sub rax, {f_ss}
    SAVE_CALLEE_SAVED rax
    jmp \handler
    .endm

    .macro SYSCALL_ENTRY name, selector, is_flat, traced
    .globl \name
    .balign 64
\name:
    swapgs
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{stack_top}]
    .if \traced == 0
    cmp rax, {table_len}
    jae 3f
    .endif
5:
    push qword ptr gs:[{user_rsp}]  /* see TrapFrame */
    push r11
    push \selector
    push rcx
    push rax
    push rdi
    push rsi
    push rdx
    push r10
    push r8
    push r9
    .if \traced
    SAVE_CALLEE_SAVED rsp
    mov rdi, rsp
    call syscall_traced
    .else
    mov rcx, r10
    call [syscall_table + rax * 8]
    .endif
    mov rcx, gs:[{current}]
    .if \is_flat == 0
    test dword ptr [rsp + {f_rflags}], 0x100
    jnz 2f
    .endif
    cmp dword ptr [rcx + {work}], 0
    jne 2f
    pop r9
    pop r8
    pop r10
    pop rdx
    pop rsi
    pop rdi
    mov rcx, [rsp + {f_rip} - {f_orig_rax}]
    .if \is_flat
    /* With TF set there is a trap before the SWAPGS (trap_debug). */
    add rsp, {f_rflags} - {f_orig_rax}
    mov r11, [rsp]
    and dword ptr [rsp], ~0x200
    popfq
    pop rsp
    swapgs
    sti                             /* opens interrupts after the jump */
    jmp rcx
    .else
    mov r11, [rsp + {f_rflags} - {f_orig_rax}]
    mov rsp, [rsp + {f_rsp} - {f_orig_rax}]
    swapgs
    sysretq
    .endif
2:
    mov [rsp + {f_rax}], rax
    test dword ptr [rcx + {work}], {full_return}
    jnz 4f
    SAVE_CALLEE_SAVED rsp
4:
    mov rdi, rsp
    call syscall_slow_exit
    jmp return_to_user
3:  /* only the number's lower half counts */
    mov eax, eax
    cmp eax, {table_len}
    jb 5b
    .if \is_flat == 0
    /* single steps need the slow way out, by a number that is as unknown */
    test r11d, 0x100
    jz 4f
    mov eax, {table_len} - 1
    jmp 5b
4:
    .endif
    mov gs:[{last_unknown}], rax
    inc qword ptr gs:[{unknown}]
    mov rax, -38
    .if \is_flat
    push r11
    and dword ptr [rsp], ~0x200
    popfq
    mov rsp, gs:[{user_rsp}]
    swapgs
    sti
    jmp rcx
    .else
    mov rsp, gs:[{user_rsp}]
    swapgs
    sysretq
    .endif
    .endm

    SYSCALL_ENTRY syscall_entry_flat, {kernel_cs}, 1, 0
    SYSCALL_ENTRY syscall_entry_guarded, {user_cs}, 0, 0
    SYSCALL_ENTRY syscall_entry_traced_flat, {kernel_cs}, 1, 1
    SYSCALL_ENTRY syscall_entry_traced_guarded, {user_cs}, 0, 1

    SAVE_REGISTERS clone_entry, handle_clone
    SAVE_REGISTERS fork_entry, handle_fork
    SAVE_REGISTERS vfork_entry, handle_vfork
    SAVE_REGISTERS clone3_entry, handle_clone3

    /* ---- a TrapFrame at RSP, on the thread's kernel stack: back to the program --------------------------------- */

    .macro RESTORE
    mov rax, [rsp + {f_rax}]
    mov rcx, [rsp + {f_rcx}]
    mov r11, [rsp + {f_r11}]
    mov rbx, [rsp + {f_rbx}]
    mov rbp, [rsp + {f_rbp}]
    mov r12, [rsp + {f_r12}]
    mov r13, [rsp + {f_r13}]
    mov r14, [rsp + {f_r14}]
    mov r15, [rsp + {f_r15}]
    pop r9
    pop r8
    pop r10
    pop rdx
    pop rsi
    pop rdi
    add rsp, 8
    .endm

    .globl return_to_user
return_to_user:
    mov rax, gs:[{current}]
    cmp dword ptr [rax + {work}], 0
    jne 1f
    RESTORE
    swapgs
    iretq
1:
    mov rdi, rsp
    call exit_to_user_work
    jmp return_to_user

    /* ---- interrupts and exceptions ------------------------------------------------------------------------------ */

    .balign 16
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    push 0
    .endif
    push vector
    .if vector == 2 || vector == 8 || vector == 18
    jmp trap_paranoid
    .elseif vector == 1
    jmp trap_debug
    .else
    jmp trap_common
    .endif
    .set vector, vector + 1
    .endr

    /* The rest of a frame whose upper words and orig_rax stand: RAX was saved at \rax_at. */
    .macro SAVE_REST rax_at
    push rdi
    push rsi
    push rdx
    push r10
    push r8
    push r9
    mov rdx, [\rax_at]
    mov [rsp + {f_rax}], rdx
    mov [rsp + {f_rcx}], rcx
    mov [rsp + {f_r11}], r11
    SAVE_CALLEE_SAVED rsp
    .endm

trap_debug:
    /* Stack: vector, 0, rip, cs, rflags, rsp, ss. In the kernel's text: pass over it. */
    push rax
    test byte ptr [rsp + 32], 3
    jnz trap_from_user
    mov rax, [rsp + 24]
    sub rax, offset __text_start
    cmp rax, offset __text_size
    jae trap_from_user
    cmp dword ptr [rax + __text_start], 0xfbf8010f
    jne 1f
    /* At the SWAPGS and STI of a fast way out, with a program's TF: gone on by IRET, as if it had been the way out, and nothing traps before
       the program's next instruction. */
    swapgs
    mov [rsp + 24], rcx
    or dword ptr [rsp + 40], 0x200
1:
    pop rax
    add rsp, 16
    iretq

    .balign 16
trap_common:
    push rax                        /* stack: rax, vector, error, rip, cs, rflags, rsp, ss */
    test byte ptr [rsp + 32], 3
    jnz trap_from_user
    mov rax, [rsp + 24]
    sub rax, offset __text_start
    cmp rax, offset __text_size
    jb trap_from_kernel
trap_from_user:
    cld
77: .byte 0x0f, 0x1f, 0x00          /* CLAC in guarded mode: interrupt gates leave the program's AC as it is */
    .pushsection .alt_smap, "a"
    .quad 77b, 0
    .popsection
    swapgs
    mov rax, rsp
    mov rsp, gs:[{stack_top}]
    add rsp, 8
    push qword ptr [rax + 56]
    push qword ptr [rax + 48]
    push qword ptr [rax + 40]
    push qword ptr [rax + 32]
    push qword ptr [rax + 24]
    push -1
    SAVE_REST rax
    mov rdi, rsp
    mov rsi, [rax + 8]
    mov rdx, [rax + 16]
    call trap_user
    jmp return_to_user

trap_from_kernel:
    push rbx
    mov rbx, rsp                    /* rbx, rax, vector, error, rip, cs, rflags, rsp, ss */
    mov rsp, [rbx + 56]
    sub rsp, 128
    and rsp, -16
    sub rsp, {above_ss} + 8         /* the frame has an odd number of words */
    push qword ptr [rbx + 64]
    push qword ptr [rbx + 56]
    push qword ptr [rbx + 48]
    push qword ptr [rbx + 40]
    push qword ptr [rbx + 32]
    push -1
    SAVE_REST rbx + 8
    mov rdx, [rbx]
    mov [rsp + {f_rbx}], rdx
    cld
    mov rdi, rsp
    mov rsi, [rbx + 16]
    mov rdx, [rbx + 24]
    call trap_kernel
    RESTORE
    iretq

    /* NMI, double fault, machine check: may come anywhere, GS can't be trusted, handled where they are. */
trap_paranoid:
    push rax                        /* rax, vector, error, rip, cs, rflags, rsp, ss */
    push rcx
    push rdx
    push rbx
    cld
    mov ecx, 0xc0000101
    rdmsr
    xor ebx, ebx
    test edx, edx
    js 1f
    swapgs
    mov ebx, 1
1:
    push rdi
    push rsi
    push r8
    push r9
    push r10
    push r11
    mov rdi, [rsp + 80]
    lea rsi, [rsp + 96]
    mov rdx, rbp
    call trap_paranoid_handler
    pop r11
    pop r10
    pop r9
    pop r8
    pop rsi
    pop rdi
    test ebx, ebx
    jz 2f
    swapgs
2:
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq
"#,
    user_rsp = const offset_of!(PerCpu, user_rsp),
    stack_top = const offset_of!(PerCpu, kernel_stack_top),
    current = const offset_of!(PerCpu, current),
    unknown = const offset_of!(PerCpu, unknown_syscalls),
    last_unknown = const offset_of!(PerCpu, last_unknown_syscall),
    work = const offset_of!(Thread, work),
    traced = const offset_of!(PerCpu, traced),
    above_ss = const size_of::<TrapFrame>() - offset_of!(TrapFrame, rax),
    full_return = const crate::task::thread::work::FULL_RETURN,
    f_rax = const offset_of!(TrapFrame, rax),
    f_rcx = const offset_of!(TrapFrame, rcx),
    f_r11 = const offset_of!(TrapFrame, r11),
    f_rbx = const offset_of!(TrapFrame, rbx),
    f_rbp = const offset_of!(TrapFrame, rbp),
    f_r12 = const offset_of!(TrapFrame, r12),
    f_r13 = const offset_of!(TrapFrame, r13),
    f_r14 = const offset_of!(TrapFrame, r14),
    f_r15 = const offset_of!(TrapFrame, r15),
    f_orig_rax = const offset_of!(TrapFrame, orig_rax),
    f_rip = const offset_of!(TrapFrame, rip),
    f_rsp = const offset_of!(TrapFrame, rsp),
    f_ss = const offset_of!(TrapFrame, ss),
    f_rflags = const offset_of!(TrapFrame, rflags),
    table_len = const crate::syscall::TABLE_LEN,
    kernel_cs = const gdt::KERNEL_CS,
    user_cs = const gdt::USER_CS,
);

impl TrapFrame {
    /// The general registers by their numbers in instructions (Intel SDM volume 2, table 2-2).
    pub fn general_registers(&mut self) -> [&mut u64; 16] {
        [
            &mut self.rax,
            &mut self.rcx,
            &mut self.rdx,
            &mut self.rbx,
            &mut self.rsp,
            &mut self.rbp,
            &mut self.rsi,
            &mut self.rdi,
            &mut self.r8,
            &mut self.r9,
            &mut self.r10,
            &mut self.r11,
            &mut self.r12,
            &mut self.r13,
            &mut self.r14,
            &mut self.r15,
        ]
    }

    /// Fills in what the `syscall` path leaves out. `mode` gives the selectors to return with.
    pub fn complete(&mut self, mode: crate::Mode) {
        self.rcx = self.rip;
        self.r11 = self.rflags;
        self.ss = u64::from(mode.selectors().1);
    }

    /// The frame from which a program starts: all registers zero but RIP and RSP, interrupts on.
    pub fn start(mode: crate::Mode, entry: u64, stack: u64) -> Self {
        let (cs, ss) = mode.selectors();
        Self {
            rip: entry,
            rsp: stack,
            cs: u64::from(cs),
            ss: u64::from(ss),
            rflags: FLAG_INTERRUPT | 2,
            orig_rax: u64::MAX,
            ..Self::default()
        }
    }
}
