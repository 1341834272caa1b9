//! Starting the other processors.
//!
//! INIT and a start-up message go to all of them at once; each then runs the code below from real mode, takes a number, and finds its data
//! and stack under it. The boot CPU doesn't wait for them: what it gives them to do before they are there waits in their run queues.
//!
//! Page 8 of memory holds the real-mode code; pages 9 to 11 the page tables with which it comes to the higher half. Nothing else uses the
//! first MiB.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::cpu::{self, MAX_CPUS, PerCpu};
use super::paging::{self, Entry, Table, direct};
use super::{apic, entry, fpu, gdt, idt, port, vdso};
use crate::mm::frame;
use crate::mm::page_table::boot_root_address;

/// The physical page where other processors start.
const START_PAGE: u8 = 8;
const TABLES: u64 = 0x9000;
const STACK_SIZE: usize = 16 << 10;
const FATAL_STACK: usize = 4 << 10;
/// 2^3 pages hold a `Private`.
const ORDER: usize = 3;

/// All that one processor has of its own. Its stack, on which it idles, comes first.
#[repr(C, align(4096))]
struct Private {
    stack: [u8; STACK_SIZE],
    nmi_stack: [u8; FATAL_STACK],
    fault_stack: [u8; FATAL_STACK],
    tables: gdt::Tables,
    data: PerCpu,
}

const _: () = assert!(size_of::<Private>() <= 4096 << ORDER);

global_asm!(
    r#"
    .set START, 0x8000

    .pushsection .rodata.ap_start, "a"
    .globl ap_start
    .globl ap_start_end
ap_start:
    .code16
    cli
    xor eax, eax
    mov ds, ax
    .byte 0x0f, 0x01, 0x16                          /* lgdt [ap_gdt_pointer] */
    .word START + (ap_gdt_pointer - ap_start)
    mov eax, 1
    mov cr0, eax
    .byte 0x66, 0xea                                /* ljmp 0x08:ap_protected */
    .long START + (ap_protected - ap_start)
    .word 0x08
    .code32
ap_protected:
    mov eax, 0x18
    mov ds, eax
    mov ss, eax
    mov eax, 0x6a0                                  /* as in boot/entry.rs */
    mov cr4, eax
    mov eax, {tables}
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    mov eax, 0x80010033
    mov cr0, eax
    .byte 0xea                                      /* ljmp 0x10:ap_long */
    .long START + (ap_long - ap_start)
    .word 0x10
    .code64
ap_long:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    movabs rax, offset ap_entry
    jmp rax
    .balign 8
ap_gdt:
ap_gdt_pointer:                                     /* in the place of the null descriptor, which nothing reads */
    .word 4 * 8 - 1
    .long START + (ap_gdt - ap_start)
    .word 0
    .quad 0x00cf9b000000ffff                        /* 0x08: 32-bit code */
    .quad 0x00af9b000000ffff                        /* 0x10: 64-bit code */
    .quad 0x00cf93000000ffff                        /* 0x18: data */
ap_start_end:
    .popsection

    .section .text.entry, "ax"
ap_entry:
    mov eax, 1
    movabs rcx, offset AP_STARTED
    lock xadd dword ptr [rcx], eax
    inc eax
    cmp eax, {max_cpus}
    jae 2f
    movabs rcx, offset AP_PRIVATE
    mov rdi, [rcx + rax * 8]
    test rdi, rdi
    jz 2f
    lea rsp, [rdi + {stack_size}]
    xor ebp, ebp
    call ap_main
2:  cli
    hlt
    jmp 2b
"#,
    tables = const TABLES,
    stack_size = const STACK_SIZE,
    max_cpus = const MAX_CPUS,
);

unsafe extern "C" {
    static ap_start: u8;
    static ap_start_end: u8;
}

/// How many have taken a number, and what each finds under its own; the boot CPU is number 0.
#[unsafe(no_mangle)]
static AP_STARTED: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static AP_PRIVATE: [AtomicPtr<Private>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Processors of this machine, as QEMU says it by its configuration device. Elsewhere the boot CPU stays alone.
fn count() -> usize {
    const SELECTOR: u16 = 0x510;
    const DATA: u16 = 0x511;
    const SIGNATURE: u16 = 0;
    const CPUS: u16 = 5;
    port::write16(SELECTOR, SIGNATURE);
    if [0; 4].map(|_: u8| port::read8(DATA)) == *b"QEMU" {
        port::write16(SELECTOR, CPUS);
        return usize::from(u16::from_le_bytes([0; 2].map(|_: u8| port::read8(DATA))));
    }
    1
}

/// Finds the other processors and starts them. `prepare` gives each what it needs besides (an idle thread).
pub fn start(prepare: impl Fn(&'static PerCpu)) {
    let count = count().clamp(1, MAX_CPUS);
    if count == 1 {
        return;
    }
    let traced = cpu::per_cpu().traced.get();
    for slot in AP_PRIVATE.iter().take(count).skip(1) {
        let Some(block) = frame::alloc_block(ORDER) else { break };
        let private = core::ptr::with_exposed_provenance_mut::<Private>(block);
        // SAFETY: the block is ours for ever, large and aligned enough; its stacks need no contents.
        let data: &'static PerCpu = unsafe {
            (&raw mut (*private).tables).write(gdt::Tables::new());
            (&raw mut (*private).data).write(PerCpu::new());
            &(*private).data
        };
        data.traced.set(traced);
        cpu::add(data);
        prepare(data);
        slot.store(private, Ordering::Release);
    }
    let code = (&raw const ap_start).addr();
    let len = (&raw const ap_start_end).addr() - code;
    // SAFETY: nothing uses these pages of low memory; the kernel's half of the tables is the one that all have.
    unsafe {
        core::ptr::copy_nonoverlapping(
            core::ptr::with_exposed_provenance::<u8>(code),
            core::ptr::with_exposed_provenance_mut::<u8>(direct(u64::from(START_PAGE) << 12)),
            len,
        );
        core::ptr::with_exposed_provenance_mut::<u8>(direct(TABLES)).write_bytes(0, 3 * 4096);
    }
    let link = Entry::PRESENT | Entry::WRITABLE;
    let root = Table(TABLES);
    for slot in [256, 511] {
        root.set(slot, Table(boot_root_address()).get(slot));
    }
    root.set(0, Entry::new(TABLES + 0x1000, link));
    Table(TABLES + 0x1000).set(0, Entry::new(TABLES + 0x2000, link));
    Table(TABLES + 0x2000).set(0, Entry::new(0, link | Entry::HUGE));
    apic::start_other_cpus(START_PAGE);
}

/// A processor's first steps in Rust, on its own stack.
#[unsafe(no_mangle)]
extern "C" fn ap_main(private: *mut Private) -> ! {
    // SAFETY: `start` made it for this CPU alone, for ever. The boot table maps the kernel as the one in use does.
    let data: &'static PerCpu = unsafe {
        paging::load_table(boot_root_address());
        let private = private.cast::<u8>();
        let end_of = |offset: usize| private.addr() as u64 + (offset + FATAL_STACK) as u64;
        gdt::load(
            private.add(offset_of!(Private, tables)).cast(),
            end_of(offset_of!(Private, nmi_stack)),
            end_of(offset_of!(Private, fault_stack)),
        );
        &*private.add(offset_of!(Private, data)).cast()
    };
    cpu::use_data(data);
    idt::load();
    cpu::use_features();
    fpu::init();
    vdso::init_cpu();
    if crate::mode() == crate::Mode::Guarded {
        cpu::protect_kernel();
    }
    let tracing = if data.traced.get() != 0 { entry::Tracing::On } else { entry::Tracing::Off };
    entry::init_syscall(crate::mode(), tracing);
    apic::init_other_cpu();
    crate::task::sched::idle_loop()
}
