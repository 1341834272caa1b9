/* What only the kernel may do, in ring 3: privileged instructions, kernel memory, kernel addresses. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

static volatile uint64_t skip_to;
static volatile int only_signal;

static void handler(int sig, siginfo_t *info, void *context) {
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	if (only_signal)
		printf("  sig %d\n", sig);
	else
		printf("  sig %d code %d trapno %lld err %#llx addr %#llx\n", sig, info->si_code, (long long)g[REG_TRAPNO],
	       (unsigned long long)g[REG_ERR], (unsigned long long)(uint64_t)info->si_addr);
	g[REG_RIP] = skip_to;
}

#define TRY(name, code)                                                                    \
	do {                                                                              \
		printf("%s\n", name);                                                     \
		__asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, %0\n\t" code "\n1:"   \
				 : "=m"(skip_to)                                           \
				 :                                                         \
				 : "rax", "rcx", "rdx", "memory", "cc");                   \
	} while (0)

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	for (int sig = 1; sig < 32; sig++)
		sigaction(sig, &sa, NULL);
	TRY("cli", "cli");
	TRY("hlt", "hlt");
	TRY("in", "mov $0x80, %%dx\n\tin %%dx, %%al");
	TRY("out", "mov $0x80, %%dx\n\tout %%al, %%dx");
	TRY("wrmsr", "wrmsr");
	TRY("rdmsr", "mov $0xc0000080, %%ecx\n\trdmsr");
	TRY("mov to cr3", "mov %%rax, %%cr3");
	TRY("mov from cr0", "mov %%cr0, %%rax");
	TRY("lgdt", "lgdt 0");
	TRY("lidt", "lidt 0");
	TRY("ltr", "xor %%eax, %%eax\n\tltr %%ax");
	TRY("sti", "sti");
	TRY("clts", "clts");
	TRY("lmsw", "xor %%eax, %%eax\n\tlmsw %%ax");
	TRY("invlpg", "invlpg 0");
	TRY("invd", "invd");
	TRY("wbinvd", "wbinvd");
	TRY("swapgs", "swapgs");
	TRY("sysretq", "sysretq");
	TRY("mov to dr7", "xor %%eax, %%eax\n\tmov %%rax, %%dr7");
	TRY("xsetbv", "xor %%ecx, %%ecx\n\txor %%edx, %%edx\n\tmov $3, %%eax\n\txsetbv");
	TRY("a far jump to a kernel segment", "sub $16, %%rsp\n\tmovl $0, (%%rsp)\n\tmovw $0x10, 4(%%rsp)\n\tadd $16, %%rsp\n\tljmpl *-16(%%rsp)");
	TRY("a kernel data segment", "mov $0x18, %%eax\n\tmov %%eax, %%ss");
	TRY("read kernel memory", "movabs $0xffffffff81000000, %%rcx\n\tmov (%%rcx), %%ecx");
	TRY("write kernel memory", "movabs $0xffff800000000000, %%rcx\n\tmovl $1, (%%rcx)");
	TRY("jump into the kernel", "movabs $0xffffffff81000000, %%rcx\n\tjmp *%%rcx");
	/* Not a fault of the same kind everywhere: QEMU's translator trips over SMAP here. */
	only_signal = 1;
	printf("a return from no interrupt\n");
	__asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, %0\n\tpush $0\n\tpush $0\n\tpush $0\n\tpush $0\n\tpush $0\n\tiretq\n1:\tadd $40, %%rsp"
			 : "=m"(skip_to)
			 :
			 : "rax", "memory", "cc");
	return 0;
}
