//! Switching between kernel stacks.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.entry, "ax"
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

    /* rdi = where to leave RSP, rsi = the other stack's. Called from few places, so that the return is mostly to where the last one was. */
    .globl switch_stacks_entry
    .balign 16
switch_stacks_entry:
    push rbx
    push rbp
    mov [rdi], rsp
    mov rsp, rsi
    pop rbp
    pop rbx
    ret

    .globl new_thread_entry
new_thread_entry:
    call finish_first_switch
    jmp return_to_user

    /* What a stack returns to that was given something to finish first. */
    .globl finish_entry
finish_entry:
    sub rsp, 8
    call finish_first_switch
    add rsp, 8
    pop rbp
    pop rbx
    ret
"#
);

unsafe extern "C" {
    fn new_thread_entry();
    fn finish_entry();
}

/// Leaves this stack, its pointer at `*save`, and goes on where the stack `next` was left. Every register is taken for lost, so that each
/// caller saves what it needs and nothing else.
///
/// # Safety
/// `next` was stored by this function or made by `prepare_user_stack`, and nobody else runs on that stack.
#[inline(always)]
pub unsafe fn switch_stacks(save: *mut usize, next: usize) {
    // SAFETY: RBX and RBP, which can't be named as lost, are kept on the stack; the other stack is the caller's promise.
    unsafe {
        core::arch::asm!(
            "call switch_stacks_entry",
            inout("rdi") save => _,
            inout("rsi") next => _,
            out("rax") _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("C"),
        );
    }
}

/// Waits for a lock (`sync::contend`), by a call that the caller's registers survive: taking a lock that is free then makes no function save
/// registers for the case that it isn't.
#[inline(always)]
pub fn call_contend(held: &core::sync::atomic::AtomicU32) {
    // SAFETY: the entry keeps all registers and calls an ordinary function; the stack may be used, since `nostack` isn't said.
    unsafe { core::arch::asm!("call contend_entry", in("rdi") held) };
}

/// Prepares a stack (whose top holds a `TrapFrame` at `frame`) so that the first switch to it returns to the program.
///
/// # Safety
/// There is room below `frame` on a stack that nobody runs on.
pub unsafe fn prepare_user_stack(frame: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { push_return(frame, new_thread_entry) }
}

/// Has a stack that was left by `switch_stacks` call `finish_first_switch` before it goes on where it was left.
///
/// # Safety
/// `left` holds such a stack's pointer, and nobody runs on it.
pub unsafe fn finish_before_resuming(left: *mut usize) {
    // SAFETY: the caller's promise; the words go below what that stack holds.
    unsafe { left.write(push_return(left.read(), finish_entry)) };
}

/// Pushes what `switch_stacks` takes off: RBP and RBX, and where to go on.
unsafe fn push_return(stack: usize, to: unsafe extern "C" fn()) -> usize {
    let words = [0, 0, (to as *const ()).addr()];
    let at = stack - size_of_val(&words);
    // SAFETY: the callers' promise.
    unsafe { core::ptr::with_exposed_provenance_mut::<[usize; 3]>(at).write(words) };
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
