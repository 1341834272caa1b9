/* Signals that instructions raise: codes, addresses, trap numbers, error codes; single steps; floating-point exceptions. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static char *page, *ro, *none_page;
static volatile uint64_t skip_to;
static int quiet_steps;
static volatile int steps;
static volatile uint64_t first_step;

static const char *where(uint64_t a) {
	if (a >= (uint64_t)page && a < (uint64_t)page + 4096)
		return "page";
	if (a >= (uint64_t)ro && a < (uint64_t)ro + 4096)
		return "ro";
	if (a >= (uint64_t)none_page && a < (uint64_t)none_page + 4096)
		return "none";
	return a == skip_to ? "next" : a < 0x10000 ? "low" : a >> 47 ? "high" : "?";
}

static void handler(int sig, siginfo_t *info, void *context) {
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	if (quiet_steps) {
		steps++;
		return;
	}
	printf("  sig %d code %d trapno %lld err %#llx", sig, info->si_code, (long long)g[REG_TRAPNO], (unsigned long long)g[REG_ERR]);
	if (sig == SIGSEGV || sig == SIGBUS)
		printf(" addr %s+%#lx cr2 %s", where((uint64_t)info->si_addr), (unsigned long)info->si_addr & 0xfff,
		       where(g[REG_CR2]));
	else
		printf(" addr-rip %lld", info->si_addr ? (long long)((uint64_t)info->si_addr - g[REG_RIP]) : 99);
	printf("\n");
	if (skip_to)
		g[REG_RIP] = skip_to;
}

#define TRY(name, code, ...)                                                              \
	do {                                                                              \
		printf("%s\n", name);                                                     \
		__asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, %0\n\t" code "\n1:"   \
				 : "=m"(skip_to)                                           \
				 : __VA_ARGS__                                              \
				 : "rax", "rcx", "rdx", "memory", "cc");                   \
	} while (0)

static void fpu(void) {
	uint16_t cw;
	double zero = 0, one = 1, huge = 1e308, tiny = 5e-324;
	/* x87 only: QEMU's translator never raises SSE exceptions. */
	for (int bit = 0; bit < 6; bit++) {
		if (bit == 1)
			continue; /* nor the denormal operand */
		static const char *names[] = { "x87 invalid", "x87 denormal", "x87 divide", "x87 overflow", "x87 underflow", "x87 precision" };
		double a, b;
		double out;
		switch (bit) {
		case 0: a = zero; b = zero; break;
		case 1: a = tiny; b = one; break;
		case 2: a = one; b = zero; break;
		case 3: a = huge; b = 1e-300; break;
		case 4: a = 1e-300; b = 1e300; break;
		default: a = one; b = 3; break;
		}
		cw = 0x27f & ~(1u << bit);
		__asm__ volatile("fninit\n\tfldcw %0" ::"m"(cw));
		printf("%s\n", names[bit]);
		__asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, %0\n\tfldl %2\n\tfldl %3\n\tfdivp\n\tfstpl %1\n\tfwait\n1: fninit"
				 : "=m"(skip_to), "=m"(out)
				 : "m"(b), "m"(a)
				 : "rax", "memory");
	}
}

static void single_step(void) {
	quiet_steps = 1;
	steps = 0;
	uint64_t out;
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop\n\tnop\n\tnop\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tmov $0, %0"
			 : "=r"(out)::"memory", "cc");
	printf("steps %d\n", steps);
	steps = 0;
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tmov $39, %%eax\n\tsyscall\n\tnop\n\tmov $-1, %%rax\n\tsyscall\n\tnop\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq"
			 :::"rax", "rcx", "r11", "memory", "cc");
	printf("steps with system calls %d\n", steps);
	quiet_steps = 0;
	skip_to = 0;
	printf("one step\n");
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop\n\tandq $~0x100, -8(%%rsp)\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	none_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(gone, 4096);
	*page = 1;
	*(volatile char *)ro;
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	int sigs[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	for (int i = 0; i < 5; i++)
		sigaction(sigs[i], &sa, NULL);
	TRY("read at 8", "mov 8, %%rcx", "m"(page));
	TRY("write at 16", "movl $1, 16", "m"(page));
	TRY("write read-only", "mov %1, %%rcx\n\tmovl $1, 5(%%rcx)", "m"(ro));
	TRY("read PROT_NONE", "mov %1, %%rcx\n\tmov 7(%%rcx), %%ecx", "m"(none_page));
	TRY("execute data", "mov %1, %%rcx\n\tjmp *%%rcx", "m"(page));
	TRY("jump to 0", "xor %%ecx, %%ecx\n\tjmp *%%rcx", "m"(page));
	TRY("non-canonical read", "movabs $0x8000000000000000, %%rcx\n\tmov (%%rcx), %%ecx", "m"(page));
	TRY("ud2", "ud2", "m"(page));
	TRY("divide by zero", "xor %%ecx, %%ecx\n\txor %%edx, %%edx\n\tdiv %%ecx", "m"(page));
	TRY("divide overflow", "mov $0x80000000, %%eax\n\tcdq\n\tmov $-1, %%ecx\n\tidiv %%ecx", "m"(page));
	TRY("int3", "int3", "m"(page));
	fpu();
	single_step();
	return 0;
}
