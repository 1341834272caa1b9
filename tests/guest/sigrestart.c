/* Interrupted calls: which start again, which end with EINTR, and what is left of their time. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <linux/futex.h>
#include <time.h>
#include <unistd.h>

static volatile int hits;
static int pipefd[2];

static void handler(int sig) {
	(void)sig;
	hits++;
}

static void feeder(int sig) {
	(void)sig;
	hits++;
	if (write(pipefd[1], "x", 1) != 1)
		_exit(3);
}

static void arm(int ms) {
	struct itimerval it = { .it_value = { 0, ms * 1000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	hits = 0;
}

static void set(void (*h)(int), int flags) {
	struct sigaction sa = { .sa_handler = h, .sa_flags = flags };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGALRM, &sa, NULL);
}

static double now(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void result(const char *name, long r) {
	printf("%s: %ld %s hits %d\n", name, r, r < 0 ? strerror(errno) : "-", hits);
}

static void calls(const char *how) {
	char c;
	struct timespec ts, rem;
	printf("-- %s\n", how);
	arm(30);
	result("read pipe", read(pipefd[0], &c, 1));
	arm(30);
	struct pollfd p = { .fd = pipefd[0], .events = POLLIN };
	result("poll", poll(&p, 1, 200));
	while (poll(&p, 1, 0) == 1 && read(pipefd[0], &c, 1) == 1)
		;
	arm(30);
	fd_set fds;
	FD_ZERO(&fds);
	FD_SET(pipefd[0], &fds);
	struct timeval tv = { 0, 200000 };
	result("select", select(pipefd[0] + 1, &fds, NULL, NULL, &tv));
	while (poll(&p, 1, 0) == 1 && read(pipefd[0], &c, 1) == 1)
		;
	arm(30);
	ts = (struct timespec){ 0, 100000000 };
	rem = (struct timespec){ 9, 9 };
	double before = now();
	result("nanosleep", nanosleep(&ts, &rem));
	double slept = now() - before;
	printf("slept %s, rest %s\n", slept < 0.09 ? "short" : "whole", rem.tv_sec == 9 ? "not told" : rem.tv_nsec > 50000000 && rem.tv_nsec < 75000000 ? "about 70 ms" : "odd");
	arm(30);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 100000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	before = now();
	int r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	printf("absolute sleep: %d %s\n", r, now() - before < 0.09 ? "short" : "whole");
	arm(30);
	uint32_t word = 0;
	ts = (struct timespec){ 0, 100000000 };
	result("futex with timeout", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));
	arm(30);
	int ep = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN };
	epoll_ctl(ep, EPOLL_CTL_ADD, pipefd[0], &ev);
	result("epoll_wait", epoll_wait(ep, &ev, 1, 200));
	close(ep);
	while (poll(&p, 1, 0) == 1 && read(pipefd[0], &c, 1) == 1)
		;
	arm(30);
	pid_t pid = fork();
	if (pid == 0) {
		usleep(100000);
		_exit(5);
	}
	int status = 0;
	long w = waitpid(pid, &status, 0);
	printf("waitpid: %s hits %d status %#x\n", w == pid ? "pid" : strerror(errno), hits, status);
	if (w != pid)
		waitpid(pid, &status, 0);
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	if (pipe(pipefd))
		return 1;
	set(handler, 0);
	calls("handler without SA_RESTART");
	set(feeder, SA_RESTART);
	calls("handler with SA_RESTART, which feeds the pipe");
	/* Nobody handles it: every call goes on as if nothing had been. */
	set(SIG_DFL, 0);
	struct sigaction sa = { .sa_handler = SIG_IGN };
	sigaction(SIGALRM, &sa, NULL);
	double before = now();
	struct timespec ts = { 0, 100000000 }, rem = { 9, 9 };
	arm(30);
	result("nanosleep with an ignored signal", nanosleep(&ts, &rem));
	printf("slept %s\n", now() - before < 0.09 ? "short" : "whole");
	/* Stopped and continued: goes on with the rest. */
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		ts = (struct timespec){ 0, 200000000 };
		before = now();
		int r = nanosleep(&ts, &rem);
		double slept = now() - before;
		_exit(r == 0 && slept > 0.19 ? 7 : 8);
	}
	int status;
	usleep(50000);
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	printf("stopped %#x\n", status);
	usleep(20000);
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	printf("continued %#x\n", status);
	waitpid(pid, &status, 0);
	printf("ended %#x\n", status);
	/* ppoll opens the mask for its own time only */
	sigset_t block, none, pending;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sa.sa_handler = handler;
	sigaction(SIGUSR1, &sa, NULL);
	hits = 0;
	raise(SIGUSR1);
	ts = (struct timespec){ 1, 0 };
	result("ppoll", ppoll(NULL, 0, &ts, &none));
	raise(SIGUSR1);
	if (write(pipefd[1], "x", 1) != 1)
		return 1;
	struct pollfd p = { .fd = pipefd[0], .events = POLLIN };
	hits = 0;
	result("ppoll with something to read", ppoll(&p, 1, &ts, &none));
	sigpending(&pending);
	printf("still pending %d\n", sigismember(&pending, SIGUSR1));
	return 0;
}
