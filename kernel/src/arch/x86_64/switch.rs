//! Switching between kernel stacks.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.entry, "ax"
    .globl switch_stacks
    .balign 16
switch_stacks:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    /* Keeps every register but RDI, so that a lock costs its taker none of them. */
    .globl contend_entry
    .balign 16
contend_entry:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    call contend
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    ret

    .globl new_thread_entry
new_thread_entry:
    call finish_first_switch
    jmp return_to_user
"#
);

unsafe extern "C" {
    /// Saves the callee-saved registers and RSP at `*save`, and goes on where the stack `next` was left.
    pub fn switch_stacks(save: *mut usize, next: usize);
    fn new_thread_entry();
}

/// Waits for a lock (`sync::contend`), by a call that the caller's registers survive: taking a lock that is free then makes no function save
/// registers for the case that it isn't.
#[inline(always)]
pub fn call_contend(held: &core::sync::atomic::AtomicBool) {
    // SAFETY: the entry keeps all registers and calls an ordinary function; the stack may be used, since `nostack` isn't said.
    unsafe { core::arch::asm!("call contend_entry", in("rdi") held) };
}

/// What `switch_stacks` pops.
#[repr(C)]
struct SavedRegisters {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    rip: u64,
}

/// Prepares a stack (whose top holds a `TrapFrame` at `frame`) so that the first switch to it returns to the program.
///
/// # Safety
/// There is room below `frame` on a stack that nobody runs on.
pub unsafe fn prepare_user_stack(frame: usize) -> usize {
    let at = frame - size_of::<SavedRegisters>();
    let saved = SavedRegisters {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        rbp: 0,
        rbx: 0,
        rip: (new_thread_entry as *const ()).addr() as u64,
    };
    // SAFETY: the caller's promise.
    unsafe { core::ptr::with_exposed_provenance_mut::<SavedRegisters>(at).write(saved) };
    at
}

/// The words of a kernel stack from an address up to the end of its page group, at most so many.
pub fn stack_words(rsp: u64, most: usize) -> impl Iterator<Item = u64> {
    /// Kernel stacks are aligned to their size.
    const STACK_SIZE: u64 = 16 << 10;
    let start = rsp.next_multiple_of(8);
    let is_kernel = start >= super::paging::DIRECT_MAP as u64 && start < u64::MAX - STACK_SIZE;
    let end = if is_kernel { (start + 1).next_multiple_of(STACK_SIZE) } else { start };
    (start..end).step_by(8).take(most).map(|at| {
        // SAFETY: inside a kernel stack or the kernel's own data beside the boot stack, all of it mapped.
        unsafe { core::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() }
    })
}

/// Whether the instruction before an address of the kernel's code may be a call (Intel SDM volume 2, CALL).
pub fn follows_call(address: u64) -> bool {
    let byte = |back: u64| {
        // SAFETY: the caller has found the address in the kernel's code; a few bytes before it are the kernel's image too.
        unsafe { core::ptr::with_exposed_provenance::<u8>((address - back) as usize).read_volatile() }
    };
    // CALL rel32; CALL r/m64 with its operand in a register, or in memory by each length of address.
    let indirect = |back: u64, modes: &[u8]| byte(back) == 0xff && modes.contains(&(byte(back - 1) & 0xf8));
    byte(5) == 0xe8
        || indirect(2, &[0xd0, 0x10])
        || indirect(3, &[0x10, 0x50])
        || indirect(4, &[0x50])
        || indirect(6, &[0x10, 0x90])
        || indirect(7, &[0x10, 0x90])
}
