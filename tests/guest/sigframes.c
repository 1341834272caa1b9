/* The frame itself: FPU state, alternate stacks, and what a program may and may not do to it. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u

static void fpu_handler(int sig, siginfo_t *info, void *context) {
	(void)sig;
	(void)info;
	ucontext_t *uc = context;
	uint32_t mxcsr;
	uint16_t cw;
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(cw));
	char *fp = (char *)uc->uc_mcontext.fpregs;
	uint32_t magic1, extended, size, magic2;
	uint64_t features, header;
	memcpy(&magic1, fp + 464, 4);
	memcpy(&extended, fp + 468, 4);
	memcpy(&features, fp + 472, 8);
	memcpy(&size, fp + 480, 4);
	memcpy(&magic2, fp + size, 4);
	memcpy(&header, fp + 512, 8);
	uint64_t reserved[7];
	memcpy(reserved, fp + 520, 56);
	uint64_t any = 0;
	for (int i = 0; i < 7; i++)
		any |= reserved[i];
	printf("handler starts with mxcsr %#x cw %#x\n", mxcsr, cw);
	printf("magic %d %d extended-size %d x87+sse %d header %d reserved %d\n", magic1 == MAGIC1, magic2 == MAGIC2,
	       extended == size + 4, (features & 3) == 3, (header & 3) == 3, any != 0);
	printf("xmm3 in the frame %#x\n", uc->uc_mcontext.fpregs->_xmm[3].element[0]);
	uc->uc_mcontext.fpregs->_xmm[4].element[0] = 0x44444444;
	uc->uc_mcontext.fpregs->mxcsr = 0x1f80 | 0x4000;
	/* everything that a handler could spoil */
	__asm__ volatile("fninit\n\tpcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm3, %%xmm3\n\tpcmpeqd %%xmm15, %%xmm15\n\tfld1\n\tfld1" ::
				 : "xmm0", "xmm3", "xmm15");
}

static void fpu(void) {
	struct sigaction sa = { .sa_sigaction = fpu_handler, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	uint32_t set = 0x1f80 | 0x2000, mxcsr, x0, x3, x4, x15;
	uint16_t cw = 0x77f, cw_after;
	double pi;
	__asm__ volatile("ldmxcsr %0\n\tfninit\n\tfldcw %1\n\tfldpi" ::"m"(set), "m"(cw));
	uint32_t in0 = 0x10101010, in3 = 0x33333333, in15 = 0xfefefefe;
	__asm__ volatile("movd %5, %%xmm0\n\tmovd %6, %%xmm3\n\tmovd %7, %%xmm15\n\tpxor %%xmm4, %%xmm4\n\t"
			 "syscall\n\t"
			 "movd %%xmm0, %0\n\tmovd %%xmm3, %1\n\tmovd %%xmm4, %2\n\tmovd %%xmm15, %3"
			 : "=r"(x0), "=r"(x3), "=r"(x4), "=r"(x15)
			 : "a"((long)SYS_kill), "r"(in0), "r"(in3), "r"(in15), "D"((long)getpid()), "S"((long)SIGUSR1)
			 : "rcx", "r11", "memory", "xmm0", "xmm3", "xmm4", "xmm15");
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1\n\tfstpl %2" : "=m"(mxcsr), "=m"(cw_after), "=m"(pi));
	set = 0x1f80;
	__asm__ volatile("ldmxcsr %0\n\tfninit" ::"m"(set));
	printf("after: xmm %#x %#x %#x %#x mxcsr %#x cw %#x pi %.6f\n", x0, x3, x4, x15, mxcsr, cw_after, pi);
}

static char *stack;
#define STACK (64 * 1024)

static void stack_handler(int sig, siginfo_t *info, void *context) {
	(void)info;
	ucontext_t *uc = context;
	stack_t now;
	char here;
	sigaltstack(NULL, &now);
	printf("sig %d on it %d reported flags %#x size %d; frame has flags %#x size %d\n", sig, &here > stack && &here < stack + STACK,
	       now.ss_flags, (int)now.ss_size, uc->uc_stack.ss_flags, (int)uc->uc_stack.ss_size);
	stack_t other = { .ss_sp = stack, .ss_size = STACK / 2 };
	int r = sigaltstack(&other, NULL);
	printf("change it here: %d %d\n", r, r ? errno : 0);
	if (sig == SIGUSR1)
		raise(SIGUSR2);
}

static void show_stack(const char *what) {
	stack_t now;
	sigaltstack(NULL, &now);
	printf("%s: flags %#x size %d\n", what, now.ss_flags, (int)now.ss_size);
}

static void altstack(void) {
	struct sigaction sa = { .sa_sigaction = stack_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	show_stack("none");
	raise(SIGUSR2);
	show_stack("set by the handler on the normal stack");
	stack_t ss = { .ss_sp = stack, .ss_size = STACK };
	sigaltstack(&ss, NULL);
	raise(SIGUSR1);
	show_stack("set");
	ss.ss_flags = 1 << 31;
	printf("autodisarm %d\n", sigaltstack(&ss, NULL));
	raise(SIGUSR1);
	show_stack("autodisarm");
	ss.ss_flags = SS_ONSTACK;
	printf("SS_ONSTACK %d\n", sigaltstack(&ss, NULL));
	show_stack("onstack flag");
	ss.ss_flags = 4;
	int r = sigaltstack(&ss, NULL);
	printf("bad flags %d %d\n", r, errno);
	ss.ss_flags = 0;
	ss.ss_size = 2047;
	r = sigaltstack(&ss, NULL);
	printf("too small %d %d\n", r, errno);
	r = syscall(SYS_sigaltstack, 8, NULL);
	printf("fault %d %d\n", r, errno);
	ss.ss_flags = SS_DISABLE;
	printf("disable %d\n", sigaltstack(&ss, NULL));
	show_stack("disabled");
}

static void child(const char *name, void (*run)(void)) {
	fflush(stdout);
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		run();
		_exit(99);
	}
	waitpid(pid, &status, 0);
	printf("%s: %#x\n", name, status);
}

static int what;

static void last(int sig, siginfo_t *info, void *context) {
	ucontext_t *uc = context;
	printf("  last handler: sig %d code %d addr %#lx trapno %lld err %#llx rip %#llx\n", sig, info->si_code, (unsigned long)info->si_addr,
	       uc->uc_mcontext.gregs[REG_TRAPNO], uc->uc_mcontext.gregs[REG_ERR],
	       what == 1 || what == 2 ? uc->uc_mcontext.gregs[REG_RIP] : 0ll);
	_exit(42);
}

static void spoil(int sig, siginfo_t *info, void *context) {
	(void)sig;
	(void)info;
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;
	struct sigaction sa = { .sa_sigaction = last, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigemptyset(&sa.sa_mask);
	if (what < 20) {
		stack_t ss = { .ss_sp = stack, .ss_size = STACK };
		sigaltstack(&ss, NULL);
		uc->uc_stack = ss;
		sigaction(SIGSEGV, &sa, NULL);
		sigaction(SIGBUS, &sa, NULL);
	}
	switch (what) {
	case 1: g[REG_RIP] = 0x800000000000; break;
	case 2: g[REG_RIP] = 0xffffffff80100000; break;
	case 3: g[REG_CSGSFS] = g[REG_CSGSFS] & ~0xffffll; break;
	case 4: g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | 0x10; break;
	case 5: uc->uc_mcontext.fpregs = (void *)((char *)uc->uc_mcontext.fpregs + 1); break;
	case 6: uc->uc_mcontext.fpregs = (void *)8; break;
	case 7: uc->uc_mcontext.fpregs = (void *)0xffff800000000000; break;
	case 8: uc->uc_mcontext.fpregs = NULL; break;
	case 9: memset((char *)uc->uc_mcontext.fpregs + 520, 0xff, 56); break;
	case 10: memset((char *)uc->uc_mcontext.fpregs + 464, 0, 48); break;
	case 11: g[REG_RSP] = 8; break;
	case 12: memset((char *)uc->uc_mcontext.fpregs + 464, 0xff, 48); break;
	case 13: g[REG_EFL] = -1; g[REG_EFL] &= ~0x40500; break;
	case 21: g[REG_RIP] = 0x800000000000; break;
	case 22: __asm__ volatile("mov $8, %%rsp\n\tmov $15, %%eax\n\tsyscall" ::: "memory"); break;
	case 23: sigaddset(&uc->uc_sigmask, SIGSEGV); g[REG_RIP] = 0x800000000000; sigaction(SIGSEGV, &sa, NULL); break;
	}
}

static void spoiled(void) {
	struct sigaction sa = { .sa_sigaction = spoil, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	printf("  survived\n");
}

struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static void noop(int sig) {
	(void)sig;
}

static void no_restorer(void) {
	struct kernel_action ka = { .handler = noop };
	syscall(SYS_rt_sigaction, SIGUSR1, &ka, NULL, 8);
	raise(SIGUSR1);
}

static void handler_in_kernel(void) {
	struct sigaction sa = { .sa_handler = (void *)0xffffffff80100000 };
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

static void handler_not_canonical(void) {
	struct sigaction sa = { .sa_handler = (void *)0x123456789abcdef0 };
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

static void bad_stack(void) {
	struct sigaction sa = { .sa_handler = noop };
	sigaction(SIGUSR1, &sa, NULL);
	__asm__ volatile("mov $64, %%rsp\n\tsyscall\n\thlt" ::"a"((long)SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1));
}

static void bad_stack_with_segv_handler(void) {
	struct sigaction sa = { .sa_handler = noop };
	sigaction(SIGUSR1, &sa, NULL);
	what = 0;
	struct sigaction on = { .sa_sigaction = last, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t ss = { .ss_sp = stack, .ss_size = STACK };
	sigaltstack(&ss, NULL);
	sigaction(SIGSEGV, &on, NULL);
	__asm__ volatile("mov $64, %%rsp\n\tsyscall\n\thlt" ::"a"((long)SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1));
}

static void segv_blocked(void) {
	sigset_t s;
	sigfillset(&s);
	sigprocmask(SIG_SETMASK, &s, NULL);
	__asm__ volatile("movl $1, 16" ::: "memory");
}

static void segv_ignored(void) {
	signal(SIGSEGV, SIG_IGN);
	__asm__ volatile("movl $1, 16" ::: "memory");
}

static void fault_again(int sig) {
	(void)sig;
	__asm__ volatile("movl $1, 16" ::: "memory");
}

static void segv_in_handler(void) {
	signal(SIGSEGV, fault_again);
	__asm__ volatile("movl $1, 16" ::: "memory");
}

/* Goes down to a kilobyte above the stack's end, where no frame has room. */
static void nest(int sig) {
	volatile char *low = __builtin_alloca((uintptr_t)__builtin_frame_address(0) - (uintptr_t)stack - 1024);
	low[0] = 1;
	syscall(SYS_tkill, syscall(SYS_gettid), sig);
}

static void altstack_overflow(void) {
	stack_t ss = { .ss_sp = stack, .ss_size = STACK };
	sigaltstack(&ss, NULL);
	struct sigaction sa = { .sa_handler = nest, .sa_flags = SA_ONSTACK | SA_NODEFER };
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fpu();
	altstack();
	static const char *names[] = { "",
				       "rip not canonical",
				       "rip in the kernel",
				       "cs 0",
				       "cs of the kernel",
				       "fpstate not aligned",
				       "fpstate not mapped",
				       "fpstate in the kernel",
				       "no fpstate",
				       "bad xsave header",
				       "no magic",
				       "rsp 8",
				       "wild magic",
				       "all flags" };
	for (what = 1; what <= 13; what++)
		child(names[what], spoiled);
	what = 21;
	child("rip not canonical, default action", spoiled);
	what = 22;
	child("sigreturn without a frame", spoiled);
	what = 23;
	child("rip not canonical, SIGSEGV blocked", spoiled);
	child("no restorer", no_restorer);
	child("handler in the kernel", handler_in_kernel);
	child("handler not canonical", handler_not_canonical);
	child("bad stack", bad_stack);
	child("bad stack, SIGSEGV handler", bad_stack_with_segv_handler);
	child("SIGSEGV blocked", segv_blocked);
	child("SIGSEGV ignored", segv_ignored);
	child("SIGSEGV in its handler", segv_in_handler);
	child("alternate stack overflows", altstack_overflow);
	return 0;
}
