//! The first instructions: from each boot protocol to 64-bit code in the higher half.
//!
//! * PVH (Xen `HVM direct boot ABI`): 32-bit protected mode, EBX = physical address of `hvm_start_info`.
//! * Linux 64-bit (`Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol"): long mode, RSI = physical address of `boot_params`.
//!
//! Both end in `kernel_main(protocol, info_physical_address)` on the boot stack, with the page tables below in CR3.
//! The tables are filled by the first instructions, which is shorter than having them in the file: the low 4 × 2 MiB (identity, for the
//! switch itself and for starting other processors), the first GiB in the direct map, and the kernel image at -2 GiB.

use core::arch::global_asm;

/// Which protocol handed over control; the value of `kernel_main`'s first argument.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// In `boot_params`, that is.
    Linux64 = 2,
}

global_asm!(
    r#"
    .set KERNEL_BASE, 0xffffffff80000000
    .set PRESENT, 1
    .set WRITABLE, 2
    .set HUGE, 0x80
    .set GLOBAL, 0x100
    .set LEAF, PRESENT | WRITABLE | HUGE | GLOBAL | 0x60

    /* Fills the page tables, in 32-bit and in 64-bit code alike: they are no part of the file. ESI stays as it is. */
    .macro fill_page_tables
    mov edi, offset boot_pml4 - KERNEL_BASE
    xor eax, eax
    mov ecx, 4 * 1024
    rep stosd
    /* EDI: boot_pd_direct */
    mov eax, LEAF
    mov ecx, 512
2:  mov dword ptr [edi], eax
    mov dword ptr [edi + 4], 0x80000000
    add edi, 8
    add eax, 1 << 21
    dec ecx
    jnz 2b
    mov edi, offset boot_pml4 - KERNEL_BASE
    mov dword ptr [edi], offset boot_pdpt_image - KERNEL_BASE + PRESENT + WRITABLE
    mov dword ptr [edi + 256 * 8], offset boot_pdpt_direct - KERNEL_BASE + PRESENT + WRITABLE
    mov dword ptr [edi + 511 * 8], offset boot_pdpt_image - KERNEL_BASE + PRESENT + WRITABLE
    mov dword ptr [edi + 4096], offset boot_pd_image - KERNEL_BASE + PRESENT + WRITABLE
    mov dword ptr [edi + 4096 + 510 * 8], offset boot_pd_image - KERNEL_BASE + PRESENT + WRITABLE
    mov dword ptr [edi + 2 * 4096], offset boot_pd_direct - KERNEL_BASE + PRESENT + WRITABLE
    mov dword ptr [edi + 3 * 4096], LEAF
    mov dword ptr [edi + 3 * 4096 + 8], (1 << 21) + LEAF
    mov dword ptr [edi + 3 * 4096 + 16], (2 << 21) + LEAF
    mov dword ptr [edi + 3 * 4096 + 24], (3 << 21) + LEAF
    .endm

    .pushsection .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18              /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_entry
    .popsection

    .pushsection .boot.text, "ax"
    .code32
    .globl pvh_entry
pvh_entry:
    cld
    mov esp, offset boot_stack_top - KERNEL_BASE
    mov esi, ebx
    fill_page_tables
    mov edi, 1
    mov eax, 0x6a0              /* CR4: PAE | PGE | OSFXSR | OSXMMEXCPT */
    mov cr4, eax
    mov eax, offset boot_pml4 - KERNEL_BASE
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901               /* EFER: SCE | LME | NXE */
    wrmsr
    mov eax, 0x80010033         /* CR0: PG | WP | NE | ET | MP | PE */
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    ljmp 0x10, offset long_mode

    .code64
    .globl linux64_entry
linux64_entry:
    cld
    mov rsp, offset boot_stack_top - KERNEL_BASE
    fill_page_tables
    mov edi, 2
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x801               /* EFER: SCE | NXE */
    wrmsr
    mov rax, offset boot_pml4 - KERNEL_BASE
    mov cr3, rax
    mov eax, 0x6a0
    mov cr4, rax
    mov eax, 0x80010033
    mov cr0, rax
    lgdt [boot_gdt_pointer]
    push 0x10
    push offset long_mode
    retfq

long_mode:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    movabs rax, offset high_entry
    jmp rax

    .balign 8
boot_gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff    /* 0x10: 64-bit code, ring 0 */
    .quad 0x00cf93000000ffff    /* 0x18: data, ring 0 */
boot_gdt_pointer:
    .word 4 * 8 - 1
    .quad boot_gdt
    .popsection

    .section .text.entry, "ax"
high_entry:
    movabs rsp, offset boot_stack_top
    movabs rcx, offset __bss_end
    mov r8, rdi
    movabs rdi, offset __bss_start
    sub rcx, rdi
    shr rcx, 3
    xor eax, eax
    rep stosq
    mov edi, r8d
    mov esi, esi
    xor ebp, ebp
    call kernel_main
    ud2

    .section .bss.page_tables, "aw", @nobits
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .skip 4096
boot_pdpt_image:
    .skip 4096
    .globl boot_pdpt_direct
boot_pdpt_direct:
    .skip 4096
    .globl boot_pd_image
boot_pd_image:
    .skip 4096
boot_pd_direct:
    .skip 4096

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .globl boot_stack
boot_stack:
    .skip 16384
    .globl boot_stack_top
boot_stack_top:
"#
);
