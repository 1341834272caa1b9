/* Signals about files: O_ASYNC, F_SETOWN, F_SETSIG on pipes, sockets and inotify; what has no such signals; who may not be told. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FIOSETOWN
#define FIOSETOWN 0x8901
#define SIOCSPGRP 0x8902
#define FIOGETOWN 0x8903
#define SIOCGPGRP 0x8904
#endif

static sigset_t watched;

static void take(const char *what) {
	siginfo_t info;
	struct timespec none = { 0 };
	int sig;
	printf("%s:", what);
	while ((sig = sigtimedwait(&watched, &info, &none)) > 0) {
		printf(" signal %d", sig == SIGIO || sig == SIGURG || sig == SIGCHLD ? sig : sig - SIGRTMIN + 100);
		if (info.si_code == SI_KERNEL)
			printf(" kernel");
		else
			printf(" code %d band %#lx fd %d", info.si_code, info.si_band, info.si_fd);
	}
	printf("\n");
}

static void async(int fd, int on) {
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC);
}

static int is_async(int fd) {
	return !!(fcntl(fd, F_GETFL) & O_ASYNC);
}

static void pipes(void) {
	int p[2];
	char c;
	pipe(p);
	fcntl(p[0], F_SETOWN, getpid());
	write(p[1], "a", 1);
	take("not on");
	async(p[0], 1);
	printf("is on %d\n", is_async(p[0]));
	take("already ready");
	read(p[0], &c, 1);
	write(p[1], "a", 1);
	take("written");
	write(p[1], "a", 1);
	take("written again");
	fcntl(p[0], F_SETSIG, SIGRTMIN);
	write(p[1], "b", 1);
	write(p[1], "c", 1);
	take("real-time");
	fcntl(p[0], F_SETSIG, SIGIO);
	write(p[1], "b", 1);
	take("SIGIO by name");
	fcntl(p[0], F_SETSIG, SIGCHLD);
	write(p[1], "b", 1);
	take("SIGCHLD");
	fcntl(p[0], F_SETSIG, 0);
	int copy = dup(p[0]);
	close(p[0]);
	write(p[1], "b", 1);
	take("a copy of the descriptor");
	async(copy, 0);
	write(p[1], "b", 1);
	take("off");
	async(copy, 1);
	close(p[1]);
	take("end of writers");
	close(copy);
	pipe(p);
	fcntl(p[1], F_SETOWN, getpid());
	fcntl(p[1], F_SETSIG, SIGRTMIN + 1);
	async(p[1], 1);
	close(p[0]);
	take("end of readers");
	close(p[1]);
}

static void sockets(void) {
	int s[2], on = 1, owner = getpid(), got = 0;
	char c;
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	printf("FIOSETOWN %d", ioctl(s[0], FIOSETOWN, &owner));
	printf(", FIOGETOWN %d", ioctl(s[0], FIOGETOWN, &got));
	printf(" %d, F_GETOWN %d", got == owner, fcntl(s[0], F_GETOWN) == owner);
	owner = -owner;
	printf(", no such group %d %d\n", ioctl(s[0], SIOCSPGRP, &(int){ -999999 }), errno);
	fcntl(s[0], F_SETSIG, SIGRTMIN + 2);
	printf("FIOASYNC %d, %d\n", ioctl(s[0], FIOASYNC, &on), is_async(s[0]));
	write(s[1], "x", 1);
	take("stream");
	read(s[0], &c, 1);
	shutdown(s[1], SHUT_WR);
	take("shut down");
	close(s[0]);
	close(s[1]);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
	fcntl(s[0], F_SETOWN, getpid());
	fcntl(s[0], F_SETSIG, SIGRTMIN + 3);
	async(s[0], 1);
	write(s[1], "x", 1);
	write(s[1], "y", 1);
	take("datagrams");
	close(s[0]);
	close(s[1]);
	struct sockaddr_un a = { AF_UNIX, "listener" };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), k = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(l, (void *)&a, sizeof a);
	listen(l, 3);
	fcntl(l, F_SETOWN, getpid());
	async(l, 1);
	connect(k, (void *)&a, sizeof a);
	take("a connection");
	close(k);
	close(l);
	unlink("listener");
}

static void others(void) {
	int n = inotify_init(), on = 1;
	inotify_add_watch(n, ".", IN_CREATE);
	fcntl(n, F_SETOWN, getpid());
	async(n, 1);
	close(open("new", O_CREAT | O_WRONLY, 0600));
	take("inotify");
	unlink("new");
	close(n);
	int fds[] = { eventfd(0, 0), open("/dev/null", O_RDONLY), open("plain", O_CREAT | O_RDWR, 0600), signalfd(-1, &watched, 0) };
	for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++) {
		async(fds[i], 1);
		printf("kind %u: on %d", i, is_async(fds[i]));
		int r = ioctl(fds[i], FIOASYNC, &on);
		printf(", FIOASYNC %d %d\n", r, r < 0 ? errno : 0);
		close(fds[i]);
	}
	unlink("plain");
}

static void owners(void) {
	int p[2];
	struct f_owner_ex ex = { F_OWNER_TID, syscall(SYS_gettid) };
	pipe(p);
	printf("nobody: %d %d\n", fcntl(p[0], F_SETOWN, 999999), errno);
	printf("bad signal: %d %d\n", fcntl(p[0], F_SETSIG, 99), errno);
	printf("thread %d", fcntl(p[0], F_SETOWN_EX, &ex));
	ex.pid = 0;
	fcntl(p[0], F_GETOWN_EX, &ex);
	printf(", is %d %d\n", ex.type, ex.pid == syscall(SYS_gettid));
	async(p[0], 1);
	write(p[1], "x", 1);
	take("to the thread");
	setpgid(0, 0);
	fcntl(p[0], F_SETOWN, -getpid());
	printf("group is %d\n", fcntl(p[0], F_GETOWN) == -getpid());
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		siginfo_t info;
		while (sigwaitinfo(&watched, &info) != SIGIO)
			;
		_exit(5);
	}
	write(p[1], "x", 1);
	int status;
	waitpid(pid, &status, 0);
	printf("to the group: the child %d\n", WEXITSTATUS(status));
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigtimedwait(&chld, NULL, &(struct timespec){ 0 });
	take("and us");
	fcntl(p[0], F_SETOWN, 0);
	write(p[1], "x", 1);
	take("nobody");
	/* Another user's process isn't told. */
	int ready[2];
	pipe(ready);
	pid = fork();
	if (pid == 0) {
		setresuid(1000, 1000, 1000);
		fcntl(p[0], F_SETOWN, getppid());
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	sigtimedwait(&chld, NULL, &(struct timespec){ 0 });
	write(p[1], "x", 1);
	take("by another user");
}

int main(void) {
	sigemptyset(&watched);
	sigaddset(&watched, SIGIO);
	sigaddset(&watched, SIGURG);
	sigaddset(&watched, SIGCHLD);
	for (int i = 0; i < 5; i++)
		sigaddset(&watched, SIGRTMIN + i);
	sigprocmask(SIG_BLOCK, &watched, NULL);
	pipes();
	sockets();
	others();
	owners();
	return 0;
}
