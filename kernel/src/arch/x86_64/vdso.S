# The vDSO: a shared object of one page that the kernel maps into every program, with the data page right below it
# (crates/vdso: Vvar). Position-independent, no relocations, no stack: every function is a leaf that pushes nothing, so that
# one unwind entry covers them all. AT&T syntax; assembled by LLVM for the kernel and for the tests.
#
# Sources: ELF-64 object format, System V ABI (hash table, symbol versions), DWARF 4 section 6.4, vdso(7).

.set VVAR, vdso_image - 4096
# Offsets in the data page: crates/vdso asserts them.
.set BEGIN, 0
.set END, 4
.set TICKS, 8
.set LIMIT, 16
.set MULT, 24
.set SECONDS, 32
.set FRACTION, 48
.set USABLE, 64
.set CPU_SOURCE, 68
.set COARSE, 72

.set NS_PER_SEC, 1000000000

.section .vdso, "a", @progbits
.balign 64
.globl vdso_image
vdso_image:
    .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0
    .quad 0
    .short 3                                    # ET_DYN
    .short 62                                   # EM_X86_64
    .long 1
    .quad 0                                     # no entry
    .quad .Lsegments - vdso_image
    .quad 0                                     # no sections
    .long 0
    .short 64, 56, 3, 64, 0, 0

.Lsegments:
    .long 1, 5                                  # PT_LOAD, readable and executable
    .quad 0, 0, 0
    .quad .Lend - vdso_image, .Lend - vdso_image
    .quad 4096
    .long 2, 4                                  # PT_DYNAMIC
    .quad .Ldynamic - vdso_image, .Ldynamic - vdso_image, .Ldynamic - vdso_image
    .quad .Ldynamic_end - .Ldynamic, .Ldynamic_end - .Ldynamic
    .quad 8
    .long 0x6474e550, 4                         # PT_GNU_EH_FRAME
    .quad .Lunwind - vdso_image, .Lunwind - vdso_image, .Lunwind - vdso_image
    .quad .Lunwind_end - .Lunwind, .Lunwind_end - .Lunwind
    .quad 4

.Ldynamic:
    .quad 14, .Lsoname - .Lstrings              # DT_SONAME
    .quad 4, .Lhash - vdso_image                # DT_HASH
    .quad 5, .Lstrings - vdso_image             # DT_STRTAB
    .quad 6, .Lsymbols - vdso_image             # DT_SYMTAB
    .quad 10, .Lstrings_end - .Lstrings         # DT_STRSZ
    .quad 11, 24                                # DT_SYMENT
    .quad 0x6ffffff0, .Lversions - vdso_image   # DT_VERSYM
    .quad 0x6ffffffc, .Ldefinitions - vdso_image # DT_VERDEF
    .quad 0x6ffffffd, 2                         # DT_VERDEFNUM
    .quad 0, 0
.Ldynamic_end:

# A global function is \kind 0x12, a weak one 0x22. The section index only has to be none of the special ones.
.macro symbol name, kind, function
    .long .Lname_\name - .Lstrings
    .byte \kind, 0
    .short 1
    .quad \function - vdso_image
    .quad \function\()_end - \function
.endm

.Lsymbols:
    .quad 0, 0, 0
    symbol __vdso_clock_gettime, 0x12, .Lclock_gettime
    symbol clock_gettime, 0x22, .Lclock_gettime
    symbol __vdso_gettimeofday, 0x12, .Lgettimeofday
    symbol gettimeofday, 0x22, .Lgettimeofday
    symbol __vdso_time, 0x12, .Ltime
    symbol time, 0x22, .Ltime
    symbol __vdso_getcpu, 0x12, .Lgetcpu
    symbol getcpu, 0x22, .Lgetcpu
    symbol __vdso_clock_getres, 0x12, .Lclock_getres
    symbol clock_getres, 0x22, .Lclock_getres
    .long .Lversion - .Lstrings                 # the version itself, absolute
    .byte 0x11, 0
    .short 0xfff1
    .quad 0, 0
.Lsymbols_end:

# One bucket, in which every symbol hangs: nobody has to know their hashes here.
.Lhash:
    .long 1, 12
    .long 1
    .long 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0

.Lversions:
    .short 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2

.balign 4
.Ldefinitions:
    .short 1, 1, 1, 1                           # VER_FLG_BASE: the object's own name
    .long 0x0deebfa1, 20, 28
    .long .Lsoname - .Lstrings, 0
    .short 1, 0, 2, 1
    .long 0x03ae75f6, 20, 0
    .long .Lversion - .Lstrings, 0

.Lstrings:
    .byte 0
.Lname___vdso_clock_gettime:
    .ascii "__vdso_"
.Lname_clock_gettime:
    .asciz "clock_gettime"
.Lname___vdso_gettimeofday:
    .ascii "__vdso_"
.Lname_gettimeofday:
    .asciz "gettimeofday"
.Lname___vdso_time:
    .ascii "__vdso_"
.Lname_time:
    .asciz "time"
.Lname___vdso_getcpu:
    .ascii "__vdso_"
.Lname_getcpu:
    .asciz "getcpu"
.Lname___vdso_clock_getres:
    .ascii "__vdso_"
.Lname_clock_getres:
    .asciz "clock_getres"
.Lsoname:
    .asciz "linux-vdso.so.1"
.Lversion:
    .asciz "LINUX_2.6"
.Lstrings_end:

.balign 4
.Lunwind:
    .byte 1, 0x1b, 0x03, 0x3b
    .long .Lframes - .
    .long 1
    .long .Ltext - .Lunwind, .Ldescription - .Lunwind
.Lunwind_end:
.Lframes:
    .long .Ldescription - .Lcommon
.Lcommon:
    .long 0
    .byte 1
    .asciz "zR"
    .byte 1, 0x78, 16                           # alignments 1 and -8, the return address is column 16
    .byte 1, 0x1b
    .byte 0x0c, 7, 8, 0x90, 1                   # the caller's frame is at RSP + 8, the return address right below
    .balign 4
.Ldescription:
    .long .Ldescription_end - .Ldescribed
.Ldescribed:
    .long . - .Lframes
    .long .Ltext - .
    .long .Lend - .Ltext
    .byte 0
    .balign 4
.Ldescription_end:
    .long 0

# Reads clock \index (a register) of the data page at R8: seconds in RDX, nanoseconds in RAX. Clobbers RCX, R9, R10, R11.
#
# The kernel changes the page between incrementing BEGIN and END; who reads END before everything else and BEGIN after it, and finds
# them equal, has read one state. A time-stamp counter that isn't usable has a LIMIT of 0.
.macro read name
.Lretry_\name:
    mov END(%r8), %r9d
    lfence
    rdtsc
    shl $32, %rdx
    or %rdx, %rax
    sub TICKS(%r8), %rax
    cmp LIMIT(%r8), %rax
    jae .Lfar_\name
    imul MULT(%r8), %rax
    add FRACTION(%r8, %rcx, 8), %rax
    mov SECONDS(%r8, %rcx, 8), %rdx
    cmp BEGIN(%r8), %r9d
    jne .Lretry_\name
    shr $32, %rax
    cmp $NS_PER_SEC, %rax
    jae .Lcarry_\name
.Lread_\name:
.endm

# The less common ends of `read`: some seconds since the page was written; too many for 64 bits, or another processor's counter that is
# a little behind; no usable counter.
.macro read_rest name, number
.Lcarry_\name:
    sub $NS_PER_SEC, %rax
    inc %rdx
    cmp $NS_PER_SEC, %rax
    jae .Lcarry_\name
    jmp .Lread_\name
.Lfar_\name:
    cmpl $0, USABLE(%r8)
    je .Lcall_\name
    test %rax, %rax
    jns 1f
    xor %eax, %eax
1:
    mulq MULT(%r8)
    add FRACTION(%r8, %rcx, 8), %rax
    adc $0, %rdx
    mov SECONDS(%r8, %rcx, 8), %r10
    cmp BEGIN(%r8), %r9d
    jne .Lretry_\name
    shrd $32, %rdx, %rax
    xor %edx, %edx
    mov $NS_PER_SEC, %r11d
    div %r11
    add %rax, %r10
    mov %rdx, %rax
    mov %r10, %rdx
    jmp .Lread_\name
.Lcall_\name:
    mov $\number, %eax
    syscall
    ret
.endm

.balign 64
.Ltext:
# int clock_gettime(clockid_t, struct timespec *)
.Lclock_gettime:
    mov %edi, %ecx
    cmp $1, %edi
    ja .Lclock_gettime_other
.Lclock_gettime_read:
    lea VVAR(%rip), %r8
    read clock_gettime
    mov %rdx, (%rsi)
    mov %rax, 8(%rsi)
    xor %eax, %eax
    ret
# REALTIME_COARSE and TAI are REALTIME; MONOTONIC_RAW, MONOTONIC_COARSE and BOOTTIME are MONOTONIC. The rest is the kernel's.
.Lclock_gettime_other:
    cmp $11, %edi
    ja .Lcall_clock_gettime
    mov $0x8f0, %eax
    bt %edi, %eax
    jnc .Lcall_clock_gettime
    mov $0x0d0, %eax
    xor %ecx, %ecx
    bt %edi, %eax
    setc %cl
    jmp .Lclock_gettime_read
    read_rest clock_gettime, 228
.Lclock_gettime_end:

.balign 16
# int gettimeofday(struct timeval *, struct timezone *)
.Lgettimeofday:
    test %rdi, %rdi
    jz .Lgettimeofday_zone
    lea VVAR(%rip), %r8
    xor %ecx, %ecx
    read gettimeofday
    mov %rdx, (%rdi)
    imul $274877907, %rax, %rax                 # 2^38 / 1000, rounded up: exact below 2^32
    shr $38, %rax
    mov %rax, 8(%rdi)
.Lgettimeofday_zone:
    test %rsi, %rsi
    jz 1f
    movq $0, (%rsi)
1:
    xor %eax, %eax
    ret
    read_rest gettimeofday, 96
.Lgettimeofday_end:

.balign 16
# time_t time(time_t *)
.Ltime:
    lea VVAR(%rip), %r8
    xor %ecx, %ecx
    read time
    mov %rdx, %rax
    test %rdi, %rdi
    jz 1f
    mov %rax, (%rdi)
1:
    ret
    read_rest time, 201
.Ltime_end:

.balign 16
# int getcpu(unsigned *cpu, unsigned *node, void *unused): the kernel keeps node << 12 | cpu in TSC_AUX
.Lgetcpu:
    mov VVAR + CPU_SOURCE(%rip), %eax
    cmp $1, %eax
    jne 1f
    .byte 0xf3, 0x0f, 0xc7, 0xf8                # rdpid %rax
    jmp 2f
1:
    cmp $2, %eax
    jne .Lcall_getcpu
    rdtscp
    mov %ecx, %eax
2:
    test %rdi, %rdi
    jz 3f
    mov %eax, %ecx
    and $0xfff, %ecx
    mov %ecx, (%rdi)
3:
    test %rsi, %rsi
    jz 4f
    shr $12, %eax
    mov %eax, (%rsi)
4:
    xor %eax, %eax
    ret
.Lcall_getcpu:
    mov $309, %eax
    syscall
    ret
.Lgetcpu_end:

.balign 16
# int clock_getres(clockid_t, struct timespec *): a nanosecond, or a tick for the coarse clocks
.Lclock_getres:
    cmp $11, %edi
    ja .Lcall_clock_getres
    mov $0x8f3, %eax
    bt %edi, %eax
    jnc .Lcall_clock_getres
    mov $1, %edx
    mov $0x060, %eax
    bt %edi, %eax
    cmovc VVAR + COARSE(%rip), %rdx
    test %rsi, %rsi
    jz 1f
    movq $0, (%rsi)
    mov %rdx, 8(%rsi)
1:
    xor %eax, %eax
    ret
.Lcall_clock_getres:
    mov $229, %eax
    syscall
    ret
.Lclock_getres_end:
.Lend:

.globl vdso_image_end
vdso_image_end:
.text
