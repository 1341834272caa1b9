/* musl only. Entry paths under fire: the red zone, every register, x87, SSE and AVX state while timers interrupt and others run; flags at system calls and in handlers. */
#include <cpuid.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { DF = 1 << 10, TF = 1 << 8, AC = 1 << 18, NT = 1 << 14, CF = 1 };

static volatile sig_atomic_t ticks;
static int often;

/* Microseconds from one signal to the next: 500, or more where the program would get nowhere between two of them. */
static int interval(void) {
	struct timespec from, to;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 20; i++)
		raise(SIGALRM);
	clock_gettime(CLOCK_MONOTONIC, &to);
	long four = ((to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000) / 5;
	return four > 500 ? four : 500;
}

static void every(int microseconds) {
	struct itimerval value = { { 0, microseconds }, { 0, microseconds } };
	setitimer(ITIMER_REAL, &value, NULL);
}

static void tick(int sig) {
	(void)sig;
	ticks++;
	/* A handler has the vector registers for itself. */
	__asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm15, %%xmm15\n\tfninit" ::: "xmm0", "xmm15");
}

/* Known values below RSP, checked until the timer has interrupted a hundred times. The count of wrong words comes back. */
static long red_zone(void) {
	long wrong = 0;
	int last = ticks + 100;
	while (ticks < last) {
		long bad;
		__asm__ volatile("sub $256, %%rsp\n\tmov $-128, %%rcx\n"
				 "1:\tmov %%rcx, %%rax\n\txor %%rsp, %%rax\n\tmov %%rax, (%%rsp, %%rcx)\n\tadd $8, %%rcx\n\tjnz 1b\n\t"
				 "mov $3000, %%edx\n2:\tdec %%edx\n\tjnz 2b\n\t"
				 "xor %%esi, %%esi\n\tmov $-128, %%rcx\n"
				 "3:\tmov %%rcx, %%rax\n\txor %%rsp, %%rax\n\tcmp %%rax, (%%rsp, %%rcx)\n\tje 4f\n\tinc %%rsi\n4:\tadd $8, %%rcx\n\tjnz 3b\n\tadd $256, %%rsp"
				 : "=S"(bad)::"rax", "rcx", "rdx", "memory", "cc");
		wrong += bad;
	}
	return wrong;
}

/* Every general register holds a value of its own while the loop runs on memory only. */
static long registers(void) {
	long wrong = 0;
	int last = ticks + 100;
	while (ticks < last) {
		int64_t bad = 0;
		static int64_t counter;
		counter = 3000;
		__asm__ volatile("push %%rbp\n\tpush %%rbx\n\t"
				 "mov $1, %%eax\n\tmov $2, %%ebx\n\tmov $3, %%ecx\n\tmov $4, %%edx\n\tmov $5, %%esi\n\tmov $7, %%ebp\n\t"
				 "mov $8, %%r8\n\tmov $9, %%r9\n\tmov $10, %%r10\n\tmov $11, %%r11\n\tmov $12, %%r12\n\tmov $13, %%r13\n\tmov $14, %%r14\n\tmov $15, %%r15\n"
				 "1:\tdecq (%%rdi)\n\tjnz 1b\n\t"
				 "add %%rbx, %%rax\n\tshl $1, %%rcx\n\tadd %%rcx, %%rax\n\tshl $2, %%rdx\n\tadd %%rdx, %%rax\n\tshl $3, %%rsi\n\tadd %%rsi, %%rax\n\t"
				 "shl $4, %%rbp\n\tadd %%rbp, %%rax\n\tshl $5, %%r8\n\tadd %%r8, %%rax\n\tshl $6, %%r9\n\tadd %%r9, %%rax\n\tshl $7, %%r10\n\tadd %%r10, %%rax\n\t"
				 "shl $8, %%r11\n\tadd %%r11, %%rax\n\tshl $9, %%r12\n\tadd %%r12, %%rax\n\tshl $10, %%r13\n\tadd %%r13, %%rax\n\tshl $11, %%r14\n\tadd %%r14, %%rax\n\t"
				 "shl $12, %%r15\n\tadd %%r15, %%rax\n\tpop %%rbx\n\tpop %%rbp"
				 : "=a"(bad)
				 : "D"(&counter)
				 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
		int64_t expected = 1 + 2 + (3 << 1) + (4 << 2) + (5 << 3) + (7 << 4) + (8 << 5) + (9 << 6) + (10 << 7) + (11 << 8) + (12 << 9) + (13 << 10) +
				   (14 << 11) + (15 << 12);
		wrong += bad != expected;
	}
	return wrong;
}

/* Vector and x87 state of this process, with others that have a different one and run in between. */
static long vectors(unsigned seed, int rounds) {
	long wrong = 0;
	uint32_t in[16][4], out[16][4];
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < 16; i++)
			for (int j = 0; j < 4; j++)
				in[i][j] = seed * 2654435761u + r * 40503u + i * 4 + j;
		uint32_t mxcsr = 0x1f80 | (seed & 3) << 13, mxcsr_out;
		uint16_t control = 0x37f & ~(3 << 8), control_out;
		control |= (seed & 1 ? 3 : 0) << 8;
		double pushed = seed + r * 0.5, popped;
		__asm__ volatile("ldmxcsr %[mx]\n\tfninit\n\tfldcw %[cw]\n\tfldl %[pushed]\n\t"
				 "movdqu (%[in]), %%xmm0\n\tmovdqu 16(%[in]), %%xmm1\n\tmovdqu 32(%[in]), %%xmm2\n\tmovdqu 48(%[in]), %%xmm3\n\t"
				 "movdqu 64(%[in]), %%xmm4\n\tmovdqu 112(%[in]), %%xmm7\n\tmovdqu 128(%[in]), %%xmm8\n\tmovdqu 240(%[in]), %%xmm15\n\t"
				 "mov $24, %%eax\n\tsyscall\n\t"
				 "mov $4000, %%ecx\n1:\tdec %%ecx\n\tjnz 1b\n\t"
				 "mov $24, %%eax\n\tsyscall\n\t"
				 "movdqu %%xmm0, (%[out])\n\tmovdqu %%xmm1, 16(%[out])\n\tmovdqu %%xmm2, 32(%[out])\n\tmovdqu %%xmm3, 48(%[out])\n\t"
				 "movdqu %%xmm4, 64(%[out])\n\tmovdqu %%xmm7, 112(%[out])\n\tmovdqu %%xmm8, 128(%[out])\n\tmovdqu %%xmm15, 240(%[out])\n\t"
				 "stmxcsr %[mxo]\n\tfnstcw %[cwo]\n\tfstpl %[popped]\n\tfninit"
				 : [mxo] "=m"(mxcsr_out), [cwo] "=m"(control_out), [popped] "=m"(popped)
				 : [in] "r"(in), [out] "r"(out), [mx] "m"(mxcsr), [cw] "m"(control), [pushed] "m"(pushed)
				 : "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm7", "xmm8", "xmm15");
		int used[] = { 0, 1, 2, 3, 4, 7, 8, 15 };
		for (int i = 0; i < 8; i++)
			wrong += memcmp(in[used[i]], out[used[i]], 16) != 0;
		wrong += mxcsr != (mxcsr_out & ~0x3fu) || control != control_out || pushed != popped;
	}
	uint32_t plain = 0x1f80;
	__asm__ volatile("ldmxcsr %0" ::"m"(plain));
	return wrong;
}

__attribute__((target("avx"))) static long avx(unsigned seed, int rounds) {
	long wrong = 0;
	for (int r = 0; r < rounds; r++) {
		uint64_t in[8], out[8];
		for (int i = 0; i < 8; i++)
			in[i] = seed * 0x9e3779b97f4a7c15 + r * 977 + i;
		__asm__ volatile("vmovdqu (%0), %%ymm5\n\tvmovdqu 32(%0), %%ymm14\n\tmov $24, %%eax\n\tsyscall\n\tmov $4000, %%ecx\n1:\tdec %%ecx\n\tjnz 1b\n\t"
				 "vmovdqu %%ymm5, (%1)\n\tvmovdqu %%ymm14, 32(%1)\n\tvzeroupper" ::"r"(in), "r"(out)
				 : "rax", "rcx", "r11", "memory", "cc", "xmm5", "xmm14");
		wrong += memcmp(in, out, 64) != 0;
	}
	return wrong;
}

static int has_avx(void) {
	unsigned a, b, c, d;
	return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 27)) && (c & (1u << 28));
}

static void many(const char *name, long (*run)(unsigned, int)) {
	int others[4];
	fflush(stdout);
	for (int i = 0; i < 4; i++) {
		others[i] = fork();
		if (others[i] == 0)
			_exit(run(i + 2, 60) != 0);
	}
	every(often);
	long wrong = run(1, 60);
	every(0);
	for (int i = 0; i < 4; i++) {
		int status;
		waitpid(others[i], &status, 0);
		wrong += status != 0;
	}
	printf("%s: %ld wrong\n", name, wrong);
}

static volatile uint64_t flags_seen, flags_in_frame;

static void note_flags(int sig, siginfo_t *info, void *context) {
	(void)sig, (void)info;
	uint64_t flags;
	__asm__ volatile("pushfq\n\tpop %0" : "=r"(flags));
	flags_seen = flags & (DF | TF | AC | NT | CF);
	flags_in_frame = ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] & (DF | TF | AC | NT | CF);
}

/* A system call with flags set: what they are afterwards. */
static uint64_t call_with_flags(uint64_t set, long number, long first, long second) {
	uint64_t after;
	__asm__ volatile("pushfq\n\tor %[set], (%%rsp)\n\tpopfq\n\tsyscall\n\tpushfq\n\tpop %%rdx\n\tpushfq\n\tandq $~0x44500, (%%rsp)\n\tpopfq"
			 : "=d"(after), "+a"(number)
			 : [set] "r"(set), "D"(first), "S"(second)
			 : "rcx", "r11", "memory", "cc");
	return after & (DF | TF | AC | NT | CF);
}

static void flags(void) {
	static const struct { uint64_t bits; const char *name; } sets[] = { { DF, "DF" }, { AC, "AC" }, { CF, "CF" }, { DF | AC | CF, "all" } };
	struct sigaction sa = { .sa_sigaction = note_flags, .sa_flags = SA_SIGINFO };
	sigaction(SIGUSR1, &sa, NULL);
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
		uint64_t after = call_with_flags(sets[i].bits, SYS_getppid, 0, 0);
		printf("%s kept by a call: %#lx\n", sets[i].name, after & sets[i].bits);
		after = call_with_flags(sets[i].bits, SYS_kill, getpid(), SIGUSR1);
		printf("%s with a signal: %#lx, in the handler %#lx, in its frame %#lx\n", sets[i].name, after & sets[i].bits, flags_seen & (DF | TF | AC | NT),
		       flags_in_frame & sets[i].bits);
		/* A copy in the kernel that ran backwards would show. */
		char buffer[64] = "";
		int both[2];
		(void)!pipe(both);
		(void)!write(both[1], "forwards", 8);
		after = call_with_flags(sets[i].bits & DF, SYS_ioctl, both[0], 0x541b);
		(void)!read(both[0], buffer, 8);
		printf("%s\n", buffer);
		close(both[0]);
		close(both[1]);
	}
	/* NT: IRET with it set would fault. */
	uint64_t after = call_with_flags(NT, SYS_kill, getpid(), SIGUSR1);
	printf("NT with a signal: in the handler %#lx, after %#lx\n", flags_seen & NT, after & NT);
	for (int i = 0; i < 300; i++)
		after |= call_with_flags(NT, SYS_sched_yield, 0, 0);
	printf("NT through calls: %#lx\n", after & NT);
}

static volatile int traps;
static volatile uint64_t trap_at[64];

static void trap(int sig, siginfo_t *info, void *context) {
	(void)sig, (void)info;
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (traps < 64)
		trap_at[traps] = g[REG_RIP];
	traps++;
}

extern char step_start[], step_end[];

/* TF set over system calls, string instructions, a pop of flags: where the traps come. */
static void steps(void) {
	struct sigaction sa = { .sa_sigaction = trap, .sa_flags = SA_SIGINFO };
	sigaction(SIGTRAP, &sa, NULL);
	traps = 0;
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n"
			 "step_start:\tnop\n\tmov $110, %%eax\n\tsyscall\n\tmov $39, %%eax\n\tsyscall\n\tlea -512(%%rsp), %%rdi\n\tmov $3, %%ecx\n\txor %%eax, %%eax\n\trep stosb\n\t"
			 "mov $9999, %%eax\n\tsyscall\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\nstep_end:\tnop" ::
				 : "rax", "rcx", "rdx", "rdi", "r11", "memory", "cc");
	printf("%d traps at", traps);
	for (int i = 0; i < traps && i < 64; i++)
		printf(" %ld", (long)(trap_at[i] - (uint64_t)step_start));
	printf(", end %ld\n", (long)(step_end - step_start));
	/* A trap on the way out of a call that delivers a signal. */
	traps = 0;
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tmov $62, %%eax\n\tsyscall\n\tnop\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::"D"((long)getpid()),
			 "S"((long)SIGUSR1)
			 : "rax", "rcx", "r11", "memory", "cc");
	printf("%d traps around a signal, TF in the handler %#lx, in the frame %#lx\n", traps, flags_seen & TF, flags_in_frame & TF);
	/* A child starts with the parent's flag. */
	traps = 0;
	long child;
	fflush(stdout);
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tmov $57, %%eax\n\tsyscall\n\tnop\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq"
			 : "=a"(child)::"rcx", "r11", "memory", "cc");
	if (child == 0) {
		printf("child: %d traps\n", traps);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	printf("parent: %d traps\n", traps);
}

/* Interrupted while the stack pointer is anywhere: signals go to an alternate stack then. */
static void odd_stack(void) {
	static char alternate[16384];
	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof alternate };
	sigaltstack(&ss, NULL);
	struct sigaction sa = { .sa_handler = tick, .sa_flags = SA_ONSTACK };
	sigaction(SIGALRM, &sa, NULL);
	int last = ticks + 50;
	every(often);
	while (ticks < last)
		__asm__ volatile("mov %%rsp, %%rbx\n\tmov $0x1001, %%esp\n\tmov $5000, %%ecx\n1:\tdec %%ecx\n\tjnz 1b\n\tmov $24, %%eax\n\tsyscall\n\tmov %%rbx, %%rsp" ::
				     : "rax", "rbx", "rcx", "r11", "memory", "cc");
	every(0);
	printf("a stack pointer of nowhere: survived\n");
}

int main(void) {
	signal(SIGALRM, tick);
	often = interval();
	every(often);
	printf("red zone: %ld wrong\n", red_zone());
	printf("registers: %ld wrong\n", registers());
	every(0);
	many("x87 and SSE", vectors);
	if (has_avx())
		many("AVX", avx);
	else
		printf("AVX: 0 wrong\n");
	flags();
	steps();
	odd_stack();
	return 0;
}
