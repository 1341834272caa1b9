/* Interrupted calls: which start again, which end with EINTR, and what is left of their time. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No call may run so long: what is interrupted at all is interrupted long before. */
#define LONG 1000

static volatile int hits;
static int pipefd[2], release[2];

static void handler(int sig) {
	(void)sig;
	hits++;
}

/* Gives what the call waits for, so that one which starts again ends. */
static void feeder(int sig) {
	(void)sig;
	hits++;
	if (write(pipefd[1], "x", 1) != 1 || write(release[1], "x", 1) != 1)
		_exit(3);
}

static void set(void (*h)(int), int flags) {
	struct sigaction sa = { .sa_handler = h, .sa_flags = flags };
	sigemptyset(&sa.sa_mask);
	sigaction(SIGALRM, &sa, NULL);
}

/* Returns when the process sleeps in a system call. */
static void await_sleep(pid_t pid) {
	char path[32], text[200];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t len = read(fd, text, sizeof text - 1);
		close(fd);
		text[len > 0 ? len : 0] = 0;
		const char *state = strrchr(text, ')');
		if (state && state[2] == 'S')
			return;
		sched_yield();
	}
}

/* A process that signals us once, as soon as we sleep. */
static pid_t shooter;

static void shoot(void) {
	hits = 0;
	pid_t target = getpid();
	int ready[2];
	char c;
	if (pipe(ready))
		exit(1);
	shooter = fork();
	if (shooter == 0) {
		/* The caller sleeps in its read until here, and no longer. */
		close(ready[0]);
		close(ready[1]);
		await_sleep(target);
		kill(target, SIGALRM);
		_exit(0);
	}
	close(ready[1]);
	/* A sleep here is over before the other looks. */
	if (read(ready[0], &c, 1) != 0)
		exit(1);
	close(ready[0]);
}

static void result(const char *name, long r) {
	int error = errno;
	printf("%s: %ld %s hits %d\n", name, r, r < 0 ? strerror(error) : "-", hits);
	waitpid(shooter, NULL, 0);
	/* Nothing stays for the next. */
	char c;
	struct pollfd p = { .fd = pipefd[0], .events = POLLIN };
	while (poll(&p, 1, 0) == 1 && read(pipefd[0], &c, 1) == 1)
		;
	p.fd = release[0];
	while (poll(&p, 1, 0) == 1 && read(release[0], &c, 1) == 1)
		;
}

static void calls(const char *how) {
	char c;
	struct timespec ts, rem;
	printf("-- %s\n", how);
	shoot();
	result("read pipe", read(pipefd[0], &c, 1));
	shoot();
	struct pollfd p = { .fd = pipefd[0], .events = POLLIN };
	result("poll", poll(&p, 1, LONG * 1000));
	shoot();
	fd_set fds;
	FD_ZERO(&fds);
	FD_SET(pipefd[0], &fds);
	struct timeval tv = { LONG, 0 };
	result("select", select(pipefd[0] + 1, &fds, NULL, NULL, &tv));
	printf("rest %s\n", tv.tv_sec <= LONG && tv.tv_sec > LONG / 2 ? "told" : "odd");
	shoot();
	ts = (struct timespec){ LONG, 0 };
	rem = (struct timespec){ 9, 9 };
	result("nanosleep", nanosleep(&ts, &rem));
	printf("rest %s\n", rem.tv_sec <= LONG && rem.tv_sec > LONG / 2 ? "told" : "odd");
	shoot();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += LONG;
	rem = (struct timespec){ 9, 9 };
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, &rem);
	result("absolute sleep", errno ? -1 : 0);
	printf("rest %s\n", rem.tv_sec == 9 ? "not told" : "odd");
	shoot();
	uint32_t word = 0;
	ts = (struct timespec){ LONG, 0 };
	result("futex with timeout", syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));
	int ep = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN };
	epoll_ctl(ep, EPOLL_CTL_ADD, pipefd[0], &ev);
	shoot();
	result("epoll_wait", epoll_wait(ep, &ev, 1, LONG * 1000));
	close(ep);
	pid_t pid = fork();
	if (pid == 0)
		_exit(read(release[0], &c, 1) == 1 ? 5 : 6);
	int status = 0;
	shoot();
	long w = waitpid(pid, &status, 0);
	result("waitpid", w == pid ? 1 : w);
	if (w != pid) {
		if (write(release[1], "x", 1) != 1)
			exit(1);
		waitpid(pid, &status, 0);
	}
	printf("status %#x\n", status);
}

static double now(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	if (pipe(pipefd) || pipe(release))
		return 1;
	set(handler, 0);
	calls("handler without SA_RESTART");
	set(feeder, SA_RESTART);
	calls("handler with SA_RESTART, which gives what is waited for");
	/* Nobody handles it: every call goes on as if nothing had been. */
	set(SIG_IGN, 0);
	double before = now();
	struct timespec ts = { 0, 100000000 }, rem = { 9, 9 };
	shoot();
	result("nanosleep with an ignored signal", nanosleep(&ts, &rem));
	printf("slept %s\n", now() - before < 0.1 ? "short" : "whole");
	/* Stopped and continued: goes on with the rest. */
	pid_t pid = fork();
	if (pid == 0) {
		ts = (struct timespec){ 0, 200000000 };
		before = now();
		int r = nanosleep(&ts, &rem);
		double slept = now() - before;
		_exit(r == 0 && slept >= 0.2 ? 7 : 8);
	}
	int status;
	await_sleep(pid);
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	printf("stopped %#x\n", status);
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	printf("continued %#x\n", status);
	waitpid(pid, &status, 0);
	printf("ended %#x\n", status);
	/* ppoll opens the mask for its own time only */
	struct sigaction sa = { .sa_handler = handler };
	sigset_t block, none, pending;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	hits = 0;
	raise(SIGUSR1);
	ts = (struct timespec){ LONG, 0 };
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
