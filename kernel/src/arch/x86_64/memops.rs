//! `memcpy` and its family, which the compiler calls by name.
//!
//! The shape is `rep movsq`/`rep stosq` with short heads and tails: `rep movsb` costs one instruction per byte under TCG and is slow on
//! processors without ERMS; vector registers belong to the program.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.memops, "ax"
    .globl memcpy
    .balign 16
memcpy:
    mov rax, rdi
memcpy_body:
    cmp rdx, 32
    jae 3f
    cmp rdx, 8
    jb 1f
    cmp rdx, 16
    jbe 2f
    mov rcx, [rsi]
    mov r8, [rsi + 8]
    mov r9, [rsi + rdx - 16]
    mov r10, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + 8], r8
    mov [rdi + rdx - 16], r9
    mov [rdi + rdx - 8], r10
    ret
2:  mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
1:  cmp edx, 4
    jb 4f
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
4:  test edx, edx
    jz 5f
    movzx ecx, byte ptr [rsi]
    movzx r8d, byte ptr [rsi + rdx - 1]
    mov r9d, edx
    shr r9d, 1
    movzx r10d, byte ptr [rsi + r9]
    mov [rdi], cl
    mov [rdi + r9], r10b
    mov [rdi + rdx - 1], r8b
5:  ret
3:  mov r8, [rsi + rdx - 8]
    lea r9, [rdi + rdx - 8]
    lea rcx, [rdx - 1]
    shr rcx, 3
    rep movsq
    mov [r9], r8
    ret

    .globl memmove
    .balign 16
memmove:
    mov rax, rdi
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jae memcpy_forward
    /* the destination begins inside the source: backwards */
    lea rdi, [rdi + rdx - 8]
    lea rsi, [rsi + rdx - 8]
    mov rcx, rdx
    shr rcx, 3
    std
    rep movsq
    lea rdi, [rdi + 7]
    lea rsi, [rsi + 7]
    mov ecx, edx
    and ecx, 7
    rep movsb
    cld
    ret
memcpy_forward:
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov ecx, edx
    and ecx, 7
    rep movsb
    ret

    .globl memset
    .balign 16
memset:
    mov r9, rdi
    movzx eax, sil
    movabs r8, 0x0101010101010101
    imul rax, r8
    cmp rdx, 8
    jb 1f
    mov [rdi + rdx - 8], rax
    lea rcx, [rdx - 1]
    shr rcx, 3
    rep stosq
    mov rax, r9
    ret
1:  mov ecx, edx
    rep stosb
    mov rax, r9
    ret

    .globl bcmp
    .globl memcmp
    .balign 16
bcmp:
memcmp:
    cmp rdx, 8
    jb 2f
1:  mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne 4f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 1b
2:  test rdx, rdx
    jz 3f
    movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    inc rdi
    inc rsi
    dec rdx
    sub eax, ecx
    jz 2b
    ret
3:  xor eax, eax
    ret
4:  bswap rax
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
    ret

    .globl strlen
    .balign 16
strlen:
    mov rax, rdi
1:  cmp byte ptr [rax], 0
    je 2f
    inc rax
    jmp 1b
2:  sub rax, rdi
    ret

    /* What an unoptimised build still refers to; nothing unwinds in this kernel. */
    .globl rust_eh_personality
    .globl _Unwind_Resume
rust_eh_personality:
_Unwind_Resume:
    ud2
"#
);
