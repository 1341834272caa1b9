/* Delivery: order, masks, flags, what a handler sees, and what it may change. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int log_count;
static int log_signals[256];

static void note(int sig) {
	log_signals[log_count++] = sig;
}

static void show(const char *what) {
	printf("%s:", what);
	for (int i = 0; i < log_count; i++)
		printf(" %d", log_signals[i]);
	printf("\n");
	log_count = 0;
}

static void set(int sig, void (*handler)(int), int flags, sigset_t *mask) {
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };
	if (mask)
		sa.sa_mask = *mask;
	else
		sigemptyset(&sa.sa_mask);
	if (sigaction(sig, &sa, NULL))
		printf("sigaction %d: %d\n", sig, errno);
}

static void show_mask(const char *what) {
	uint64_t mask = 0;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
	printf("%s mask %#llx\n", what, (unsigned long long)mask);
}

static void mask_handler(int sig) {
	note(sig);
	show_mask("in handler");
}

static void order(void) {
	sigset_t all, old;
	sigfillset(&all);
	int sigs[] = { SIGTERM, SIGUSR2, SIGHUP, SIGUSR1, SIGSEGV, 40, SIGINT, 34, SIGTRAP };
	for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++)
		set(sigs[i], note, 0, NULL);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++)
		kill(getpid(), sigs[i]);
	sigset_t pending;
	sigpending(&pending);
	printf("pending:");
	for (int i = 1; i < 65; i++)
		if (sigismember(&pending, i) == 1)
			printf(" %d", i);
	printf("\n");
	sigprocmask(SIG_SETMASK, &old, NULL);
	show("handlers that nest, in the order they ran");
	for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++)
		set(sigs[i], note, 0, &all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++)
		syscall(SYS_tkill, syscall(SYS_gettid), sigs[i]);
	kill(getpid(), SIGHUP);
	sigprocmask(SIG_SETMASK, &old, NULL);
	show("handlers one by one, private before shared");
}

static void info_handler(int sig, siginfo_t *info, void *context) {
	ucontext_t *uc = context;
	printf("sig %d signo %d errno %d code %d pid %d uid %d value %#lx\n", sig, info->si_signo, info->si_errno, info->si_code,
	       info->si_pid == getpid(), info->si_uid == getuid(), (unsigned long)info->si_value.sival_ptr);
	const unsigned char *raw = (void *)info;
	int junk = 0;
	for (int i = 48; i < 128; i++)
		junk |= raw[i];
	printf("tail %d flags %#lx link %p cs/ss %#llx\n", junk, uc->uc_flags, (void *)uc->uc_link,
	       (unsigned long long)uc->uc_mcontext.gregs[REG_CSGSFS]);
	printf("frame %% 16 = %lu, fpstate %% 64 = %lu\n", ((unsigned long)context - 8) % 16,
	       (unsigned long)uc->uc_mcontext.fpregs % 64);
}

static void infos(void) {
	struct sigaction sa = { .sa_sigaction = info_handler, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(42, &sa, NULL);
	kill(getpid(), SIGUSR1);
	raise(SIGUSR1);
	union sigval value = { .sival_ptr = (void *)0x1234567890 };
	sigqueue(getpid(), SIGUSR1, value);
	sigqueue(getpid(), 42, value);
	siginfo_t info;
	memset(&info, 0, sizeof info);
	info.si_code = SI_USER;
	info.si_pid = 77;
	printf("rt_sigqueueinfo as SI_USER to self: %ld\n", syscall(SYS_rt_sigqueueinfo, getpid(), 42, &info));
	info.si_code = SI_MESGQ;
	printf("rt_tgsigqueueinfo: %ld\n",
	       syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), 42, &info));
	info.si_code = -1000;
	((char *)&info)[127] = 1;
	long r = syscall(SYS_rt_sigqueueinfo, getpid(), 42, &info);
	printf("unknown layout: %ld %d\n", r, errno);
}

static void queueing(void) {
	sigset_t all, old;
	sigfillset(&all);
	struct sigaction sa = { .sa_sigaction = info_handler, .sa_flags = SA_SIGINFO, .sa_mask = all };
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(43, &sa, NULL);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (long i = 1; i <= 3; i++) {
		sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_ptr = (void *)i });
		sigqueue(getpid(), 43, (union sigval){ .sival_ptr = (void *)i });
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static sigset_t one(int sig) {
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	return s;
}

static void flags(void) {
	sigset_t usr2 = one(SIGUSR2);
	show_mask("before");
	set(SIGUSR1, mask_handler, 0, &usr2);
	raise(SIGUSR1);
	set(SIGUSR1, mask_handler, SA_NODEFER, &usr2);
	raise(SIGUSR1);
	set(SIGUSR1, mask_handler, SA_RESETHAND, NULL);
	raise(SIGUSR1);
	struct sigaction sa;
	sigaction(SIGUSR1, NULL, &sa);
	printf("after RESETHAND: default %d flags %#x\n", sa.sa_handler == SIG_DFL, sa.sa_flags & ~0x04000000);
	show_mask("after");
	log_count = 0;
	/* pending when it becomes ignored: gone */
	sigset_t old;
	set(SIGUSR1, note, 0, NULL);
	sigset_t usr1 = one(SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, &old);
	raise(SIGUSR1);
	set(SIGUSR1, SIG_IGN, 0, NULL);
	sigset_t pending;
	sigpending(&pending);
	printf("pending after SIG_IGN: %d\n", sigismember(&pending, SIGUSR1));
	raise(SIGUSR1);
	sigpending(&pending);
	printf("blocked and ignored: pending %d\n", sigismember(&pending, SIGUSR1));
	set(SIGUSR1, note, 0, NULL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	show("a handler set meanwhile");
	/* default-ignored ones */
	kill(getpid(), SIGCHLD);
	kill(getpid(), SIGWINCH);
	kill(getpid(), SIGURG);
	kill(getpid(), SIGCONT);
	printf("still here\n");
}

static sigjmp_buf env;

static void jump_handler(int sig) {
	siglongjmp(env, sig);
}

static void jumps(void) {
	set(SIGSEGV, jump_handler, 0, NULL);
	set(SIGFPE, jump_handler, 0, NULL);
	set(SIGILL, jump_handler, 0, NULL);
	for (int i = 0; i < 3; i++) {
		int r = sigsetjmp(env, 1);
		if (r) {
			printf("jumped out of %d\n", r);
			continue;
		}
		if (i == 0)
			__asm__ volatile("movl $1, 16");
		if (i == 1)
			__asm__ volatile("xor %%ecx, %%ecx\n\txor %%edx, %%edx\n\tdiv %%ecx" ::: "rax", "rcx", "rdx");
		if (i == 2)
			__asm__ volatile("ud2");
	}
	show_mask("after jumps");
}

static volatile uint64_t seen[4];

static void change_handler(int sig, siginfo_t *info, void *context) {
	(void)sig;
	(void)info;
	ucontext_t *uc = context;
	uc->uc_mcontext.gregs[REG_RBX] += 1;
	uc->uc_mcontext.gregs[REG_R11] = 0x1111;
	uc->uc_mcontext.gregs[REG_RCX] = 0x2222;
	uc->uc_mcontext.gregs[REG_RAX] = 0x3333;
	uc->uc_mcontext.gregs[REG_EFL] |= 1 | 1 << 10 | 1ull << 12 | 1ull << 17;
	sigaddset(&uc->uc_sigmask, SIGUSR2);
}

static void changes(void) {
	struct sigaction sa = { .sa_sigaction = change_handler, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	uint64_t rbx = 7, rcx, r11, rax, flags;
	long pid = getpid();
	__asm__ volatile("syscall\n\tpushfq\n\tpop %4\n\tcld\n\tmov %%rcx, %1\n\tmov %%r11, %2"
			 : "+b"(rbx), "=r"(rcx), "=r"(r11), "=a"(rax), "=r"(flags)
			 : "3"((uint64_t)SYS_kill), "D"(pid), "S"((long)SIGUSR1)
			 : "rcx", "r11", "memory");
	printf("rbx %llu rcx %#llx r11 %#llx rax %#llx cf %llu df %llu iopl %llu\n", (unsigned long long)rbx,
	       (unsigned long long)rcx, (unsigned long long)r11, (unsigned long long)rax, (unsigned long long)flags & 1,
	       (unsigned long long)flags >> 10 & 1, (unsigned long long)flags >> 12 & 3);
	show_mask("mask from the frame");
	sigset_t usr2 = one(SIGUSR2);
	sigprocmask(SIG_UNBLOCK, &usr2, NULL);
	(void)seen;
}

static volatile int depth;

static void deep(int sig) {
	if (++depth < 50)
		raise(sig);
	note(depth--);
}

static void nesting(void) {
	set(SIGUSR1, deep, SA_NODEFER, NULL);
	raise(SIGUSR1);
	show("nested");
}

static void waiting(void) {
	sigset_t set1 = one(SIGUSR1), none, old;
	sigemptyset(&none);
	sigaddset(&set1, 44);
	sigprocmask(SIG_BLOCK, &set1, &old);
	siginfo_t info;
	struct timespec zero = { 0, 0 }, little = { 0, 20000000 };
	int r = sigtimedwait(&set1, &info, &zero);
	printf("nothing: %d %d\n", r, errno);
	r = sigtimedwait(&set1, &info, &little);
	printf("timeout: %d %d\n", r, errno);
	sigqueue(getpid(), 44, (union sigval){ .sival_int = 5 });
	raise(SIGUSR1);
	r = sigwaitinfo(&set1, &info);
	printf("first %d code %d\n", r, info.si_code);
	r = sigtimedwait(&set1, &info, &zero);
	printf("second %d code %d value %d\n", r, info.si_code, info.si_value.sival_int);
	set(SIGALRM, note, 0, NULL);
	alarm(1);
	r = sigwaitinfo(&set1, NULL);
	printf("other handler ran: %d %d\n", r, errno);
	show("waiting");
	/* sigsuspend */
	set(SIGUSR1, mask_handler, 0, NULL);
	raise(SIGUSR1);
	r = sigsuspend(&none);
	printf("sigsuspend %d %d\n", r, errno);
	show_mask("after sigsuspend");
	alarm(1);
	r = pause();
	printf("pause %d %d\n", r, errno);
	show("pause");
	sigprocmask(SIG_SETMASK, &old, NULL);
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	order();
	infos();
	queueing();
	flags();
	jumps();
	changes();
	nesting();
	waiting();
	return 0;
}
