/* Death by each signal, as the parent sees it; who may signal whom; errors and their order. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})

static void deaths(void) {
	for (int sig = 1; sig <= 64; sig++) {
		if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)
			continue;
		pid_t pid = fork();
		if (pid == 0) {
			/* glibc's posix_spawn leaves its own signals ignored, and its sigaction doesn't know them. */
			static const struct { uintptr_t handler, flags, restorer, mask; } by_default;
			syscall(SYS_rt_sigaction, sig, &by_default, NULL, 8);
			kill(getpid(), sig);
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		printf("%d:%#x ", sig, status);
	}
	printf("\n");
	siginfo_t info;
	memset(&info, 0, sizeof info);
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	kill(pid, SIGTERM);
	int r = waitid(P_PID, pid, &info, WEXITED);
	printf("waitid %d sig %d code %d status %d pid %d\n", r, info.si_signo, info.si_code, info.si_status, info.si_pid == pid);
}

static void job_control(void) {
	pid_t pid = fork();
	int status;
	if (pid == 0) {
		raise(SIGSTOP);
		usleep(200000);
		_exit(4);
	}
	waitpid(pid, &status, WUNTRACED);
	printf("stopped %#x", status);
	printf(" none %d", waitpid(pid, &status, WUNTRACED | WNOHANG));
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	printf(" continued %#x", status);
	waitpid(pid, &status, 0);
	printf(" ended %#x\n", status);
	/* SIGKILL reaches the stopped */
	pid = fork();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(4);
	}
	waitpid(pid, &status, WUNTRACED);
	kill(pid, SIGTERM);
	usleep(20000);
	printf("stopped with SIGTERM pending: %d", waitpid(pid, &status, WNOHANG));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	printf(", killed %#x\n", status);
	/* SIGCONT takes a pending stop away, and the other way round */
	sigset_t all, old, pending;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	kill(getpid(), SIGTSTP);
	kill(getpid(), SIGCONT);
	sigpending(&pending);
	printf("after STOP, CONT: tstp %d cont %d", sigismember(&pending, SIGTSTP), sigismember(&pending, SIGCONT));
	kill(getpid(), SIGTSTP);
	sigpending(&pending);
	printf("; after STOP: tstp %d cont %d\n", sigismember(&pending, SIGTSTP), sigismember(&pending, SIGCONT));
	kill(getpid(), SIGCONT);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static volatile int children;

static void on_child(int sig, siginfo_t *info, void *context) {
	(void)sig;
	(void)context;
	children++;
	printf("SIGCHLD code %d status %d\n", info->si_code, info->si_status);
}

static void child_signals(void) {
	struct sigaction sa = { .sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGCHLD, &sa, NULL);
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	waitpid(pid, &status, 0);
	pid = fork();
	if (pid == 0) {
		kill(getpid(), SIGKILL);
		_exit(3);
	}
	waitpid(pid, &status, 0);
	/* It ends only after the news of its going on was taken: a second SIGCHLD would be lost in the first. */
	int go[2];
	if (pipe(go) != 0)
		return;
	pid = fork();
	if (pid == 0) {
		char byte;
		raise(SIGSTOP);
		_exit(read(go[0], &byte, 1) == 1 ? 6 : 7);
	}
	waitpid(pid, &status, WUNTRACED);
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	while (children < 4)
		sched_yield();
	if (write(go[1], "", 1) != 1)
		return;
	waitpid(pid, &status, 0);
	printf("children %s\n", children >= 4 ? "seen" : "missed");
	sa.sa_flags |= SA_NOCLDSTOP;
	sigaction(SIGCHLD, &sa, NULL);
	children = 0;
	pid = fork();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(6);
	}
	waitpid(pid, &status, WUNTRACED);
	printf("with NOCLDSTOP: %d\n", children);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	sa.sa_flags = SA_NOCLDWAIT | SA_SIGINFO;
	sigaction(SIGCHLD, &sa, NULL);
	pid = fork();
	if (pid == 0)
		_exit(3);
	int r = E(waitpid(pid, &status, 0));
	printf("with NOCLDWAIT: %d\n", r == pid ? 0 : r);
	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (pid == 0)
		_exit(3);
	r = E(waitpid(pid, &status, 0));
	printf("with SIG_IGN: %d\n", r == pid ? 0 : r);
	signal(SIGCHLD, SIG_DFL);
}

static void errors(void) {
	uint64_t set = 0, buf[4];
	char sa[32] = { 0 };
	siginfo_t info;
	memset(&info, 0, sizeof info);
	int pid = getpid(), tid = syscall(SYS_gettid), nobody = 0x7ffffe;
	printf("kill %d %d %d %d %d %d\n", E(kill(pid, 65)), E(kill(pid, -1)), E(kill(nobody, 0)), E(kill(nobody, 65)),
	       E(kill(-nobody, 10)), E(kill((int)0x80000000, 10)));
	printf("kill 0: %d %d\n", E(kill(pid, 0)), E(kill(0, 0)));
	printf("tkill %d %d %d %d\n", E(syscall(SYS_tkill, 0, 10)), E(syscall(SYS_tkill, -1, 10)), E(syscall(SYS_tkill, nobody, 65)),
	       E(syscall(SYS_tkill, tid, 65)));
	printf("tgkill %d %d %d %d %d\n", E(syscall(SYS_tgkill, 0, tid, 10)), E(syscall(SYS_tgkill, pid, 0, 10)),
	       E(syscall(SYS_tgkill, nobody, tid, 10)), E(syscall(SYS_tgkill, pid, nobody, 10)), E(syscall(SYS_tgkill, pid, tid, 0)));
	printf("sigaction %d %d %d %d %d %d %d\n", E(syscall(SYS_rt_sigaction, 10, 0, 0, 4)), E(syscall(SYS_rt_sigaction, 0, 0, 0, 8)),
	       E(syscall(SYS_rt_sigaction, 65, 0, 0, 8)), E(syscall(SYS_rt_sigaction, 9, sa, 0, 8)), E(syscall(SYS_rt_sigaction, 9, 0, buf, 8)),
	       E(syscall(SYS_rt_sigaction, 65, 8, 0, 8)), E(syscall(SYS_rt_sigaction, 10, 0, 8, 8)));
	printf("sigprocmask %d %d %d %d %d\n", E(syscall(SYS_rt_sigprocmask, 0, &set, 0, 4)), E(syscall(SYS_rt_sigprocmask, 9, &set, 0, 8)),
	       E(syscall(SYS_rt_sigprocmask, 9, 0, 0, 8)), E(syscall(SYS_rt_sigprocmask, 9, 8, 0, 8)), E(syscall(SYS_rt_sigprocmask, 0, 0, 8, 8)));
	printf("sigpending %d %d %d\n", E(syscall(SYS_rt_sigpending, buf, 9)), E(syscall(SYS_rt_sigpending, buf, 0)),
	       E(syscall(SYS_rt_sigpending, 8, 8)));
	printf("sigsuspend %d %d\n", E(syscall(SYS_rt_sigsuspend, &set, 4)), E(syscall(SYS_rt_sigsuspend, 8, 8)));
	struct timespec bad = { 0, -1 };
	printf("sigtimedwait %d %d %d %d\n", E(syscall(SYS_rt_sigtimedwait, &set, 0, 0, 4)), E(syscall(SYS_rt_sigtimedwait, 8, 0, 0, 8)),
	       E(syscall(SYS_rt_sigtimedwait, &set, 0, 8, 8)), E(syscall(SYS_rt_sigtimedwait, &set, 0, &bad, 8)));
	printf("sigqueueinfo %d", E(syscall(SYS_rt_sigqueueinfo, pid, 10, 8)));
	info.si_code = SI_TKILL;
	printf(" %d", E(syscall(SYS_rt_sigqueueinfo, nobody, 0, &info)));
	info.si_code = SI_QUEUE;
	printf(" %d %d %d\n", E(syscall(SYS_rt_sigqueueinfo, nobody, 0, &info)), E(syscall(SYS_rt_sigqueueinfo, pid, 0, &info)),
	       E(syscall(SYS_rt_sigqueueinfo, pid, 65, &info)));
	printf("tgsigqueueinfo %d %d %d\n", E(syscall(SYS_rt_tgsigqueueinfo, 0, tid, 10, &info)),
	       E(syscall(SYS_rt_tgsigqueueinfo, pid, nobody, 10, &info)), E(syscall(SYS_rt_tgsigqueueinfo, pid, tid, 0, &info)));
	/* the queue is finite */
	/* and counted by user: one that nobody else is */
	if (setuid(50000 + getpid() % 10000) != 0)
		return;
	struct rlimit limit = { 3, 3 };
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	setrlimit(RLIMIT_SIGPENDING, &limit);
	for (int i = 0; i < 5; i++)
		printf("queue %d ", E(sigqueue(pid, 50, (union sigval){ .sival_int = i })));
	printf("standard %d kill %d\n", E(sigqueue(pid, SIGUSR1, (union sigval){ .sival_int = 1 })), E(kill(pid, 51)));
	for (int i = 0; i < 6; i++) {
		struct timespec zero = { 0, 0 };
		memset(&info, 0, sizeof info);
		int r = E(sigtimedwait(&all, &info, &zero));
		printf("%d code %d pid %d value %d\n", r, info.si_code, info.si_pid == pid, info.si_value.sival_int);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	deaths();
	job_control();
	child_signals();
	errors();
	return 0;
}
