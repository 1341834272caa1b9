// Children that end on another CPU while their parent looks: the zombie and SIGCHLD come at once, orphans find their new parent, and who
// wants no zombies sees none.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 150 };

static void broken(const char *what) {
	printf("broken: %s (%s)\n", what, strerror(errno));
	exit(1);
}
#define MUST(condition) do { if (!(condition)) broken(#condition); } while (0)

static pid_t child_that_exits(int status) {
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		_exit(status);
	return pid;
}

static void signal_before_wait_returns(void) {
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		siginfo_t info;
		int status;
		pid_t pid = child_that_exits(i & 0x7f);
		MUST(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == (i & 0x7f));
		MUST(sigtimedwait(&chld, &info, &(struct timespec){ 0, 0 }) == SIGCHLD);
		MUST(info.si_pid == pid && info.si_status == (i & 0x7f));
	}
	sigprocmask(SIG_UNBLOCK, &chld, NULL);
	printf("SIGCHLD is there when wait returns\n");
}

static void no_zombies(int flags, void (*handler)(int)) {
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags }, old;
	MUST(sigaction(SIGCHLD, &sa, &old) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		int status;
		pid_t pid = child_that_exits(1);
		MUST(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
	}
	MUST(sigaction(SIGCHLD, &old, NULL) == 0);
	printf("no zombies with flags %x\n", flags);
}

static volatile sig_atomic_t reaped;

static void reaper(int signal) {
	(void)signal;
	int saved = errno;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		reaped++;
	errno = saved;
}

// Every end is seen by the handler: a signal that came before its zombie would leave the last one unseen.
static void zombie_before_signal(void) {
	struct sigaction sa = { .sa_handler = reaper }, old;
	sigset_t chld, none;
	sigemptyset(&none);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	MUST(sigaction(SIGCHLD, &sa, &old) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		reaped = 0;
		for (int n = 0; n < 3; n++)
			child_that_exits(0);
		sigprocmask(SIG_BLOCK, &chld, NULL);
		while (reaped < 3)
			sigsuspend(&none);
		sigprocmask(SIG_UNBLOCK, &chld, NULL);
	}
	MUST(sigaction(SIGCHLD, &old, NULL) == 0);
	printf("a handler that reaps misses nobody\n");
}

static long sibling(void) {
	return syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
}

// A child ends while its own children end and begin; all of them come to the subreaper.
static void orphans(void) {
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			for (int n = 0; n < 3; n++) {
				if (fork() == 0) {
					// The sibling belongs to whoever is the parent at this moment.
					if (n == 1 && sibling() == 0)
						_exit(0);
					_exit(0);
				}
			}
			_exit(0);
		}
		int seen = 0;
		while (waitpid(-1, NULL, 0) > 0)
			seen++;
		MUST(errno == ECHILD);
		// The first child may have ended with the sibling as its zombie child, which came over as well.
		MUST(seen == 5);
	}
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
	printf("orphans find their parent\n");
}

int main(void) {
	signal_before_wait_returns();
	no_zombies(SA_NOCLDWAIT, SIG_DFL);
	no_zombies(0, SIG_IGN);
	zombie_before_signal();
	orphans();
	return 0;
}
