/* POSIX message queues: attributes, priorities, limits, timeouts, notification, poll, permissions. By the system calls themselves:
 * what the libraries add (the leading slash, threads) is their affair. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))
#define TRY(what, x) printf("%s: %d\n", what, ({ int v_ = E(x); if (v_ >= 0) close(v_); v_ < 0 ? v_ : 0; }))

static char name[32], other[32];

static int open_queue(const char *n, int flags, long messages, long size) {
	struct mq_attr attr = { .mq_maxmsg = messages, .mq_msgsize = size };
	return syscall(SYS_mq_open, n, flags, 0640, messages ? &attr : NULL);
}

static int send(int fd, const char *text, unsigned priority) {
	return syscall(SYS_mq_timedsend, fd, text, strlen(text), priority, NULL);
}

static void receive(const char *what, int fd) {
	char text[8193] = "";
	unsigned priority = 77;
	int r = E(syscall(SYS_mq_timedreceive, fd, text, 8192, &priority, NULL));
	printf("%s: %d", what, r);
	if (r >= 0)
		printf(" priority %u %s", priority, text);
	printf("\n");
}

static void show(const char *what, int fd) {
	struct mq_attr attr;
	memset(&attr, 0x55, sizeof attr);
	int r = E(syscall(SYS_mq_getsetattr, fd, NULL, &attr));
	printf("%s: %d flags %#lx max %ld size %ld now %ld\n", what, r, attr.mq_flags, attr.mq_maxmsg, attr.mq_msgsize,
	       attr.mq_curmsgs);
}

static void opening(void) {
	TRY("not there", open_queue(name, O_RDWR, 0, 0));
	TRY("a slash", open_queue("/x", O_RDWR | O_CREAT, 0, 0));
	TRY("nothing", open_queue("", O_RDWR | O_CREAT, 0, 0));
	TRY("a dot", open_queue(".", O_RDWR | O_CREAT, 0, 0));
	char longest[300];
	memset(longest, 'n', sizeof longest);
	longest[256] = 0;
	TRY("256 bytes", open_queue(longest, O_RDWR | O_CREAT, 0, 0));
	TRY("nowhere", syscall(SYS_mq_open, 1, O_RDWR, 0, NULL));
	TRY("attributes nowhere", syscall(SYS_mq_open, name, O_RDWR | O_CREAT, 0600, 1));
	TRY("no messages", open_queue(name, O_RDWR | O_CREAT, -1, 10));
	TRY("no size", open_queue(name, O_RDWR | O_CREAT, 5, 0));
	TRY("too many", open_queue(name, O_RDWR | O_CREAT, 65537, 10));
	TRY("too large", open_queue(name, O_RDWR | O_CREAT, 1, (16 << 20) + 1));
	umask(027);
	int fd = open_queue(name, O_RDWR | O_CREAT | O_EXCL, 0, 0);
	struct stat st;
	SAY("fstat", fstat(fd, &st));
	printf("mode %o size %ld links %d\n", st.st_mode, (long)st.st_size, (int)st.st_nlink);
	show("usual", fd);
	printf("flags %#x cloexec %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	TRY("exclusive", open_queue(name, O_RDWR | O_CREAT | O_EXCL, 0, 0));
	TRY("with other attributes", open_queue(name, O_RDWR | O_CREAT, 3, 3));
	TRY("access mode 3", open_queue(name, 3, 0, 0));
	int r = open_queue(name, O_RDONLY | O_NONBLOCK, 0, 0), w = open_queue(name, O_WRONLY, 0, 0);
	show("not blocking", r);
	show("blocking", w);
	SAY("send to what is read", send(r, "x", 0));
	receive("receive from what is written", w);
	SAY("send to no queue", send(1, "x", 0));
	SAY("send to nothing", send(99, "x", 0));
	struct mq_attr attr = { .mq_flags = O_NONBLOCK, .mq_maxmsg = 1 };
	SAY("set", syscall(SYS_mq_getsetattr, w, &attr, NULL));
	show("set", w);
	attr.mq_flags = O_APPEND;
	SAY("set what can't be", syscall(SYS_mq_getsetattr, w, &attr, NULL));
	SAY("of no queue", syscall(SYS_mq_getsetattr, 1, NULL, &attr));
	char text[128] = "";
	SAY("read", read(r, text, sizeof text));
	printf("%s", text);
	SAY("read on", read(r, text, sizeof text));
	SAY("write", write(w, "x", 1));
	SAY("unlink", syscall(SYS_mq_unlink, name));
	SAY("unlink again", syscall(SYS_mq_unlink, name));
	SAY("unlink with a slash", syscall(SYS_mq_unlink, "/x"));
	SAY("send still", send(fd, "still", 3));
	receive("receive still", r);
	close(fd);
	close(r);
	close(w);
}

static void messages(void) {
	int fd = open_queue(name, O_RDWR | O_CREAT | O_NONBLOCK, 4, 8192);
	SAY("priority 32768", send(fd, "x", 32768));
	static char big[8193];
	memset(big, 'b', 8193);
	SAY("too long", syscall(SYS_mq_timedsend, fd, big, 8193, 0, NULL));
	SAY("from nowhere", syscall(SYS_mq_timedsend, fd, 1, 10, 0, NULL));
	SAY("one", send(fd, "one", 1));
	SAY("two", send(fd, "two", 5));
	SAY("three", send(fd, "", 1));
	SAY("four", send(fd, "four", 32767));
	SAY("five", send(fd, "five", 1));
	show("full", fd);
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	int r = poll(&p, 1, 0);
	printf("poll %d %#x\n", r, p.revents);
	SAY("room for less", syscall(SYS_mq_timedreceive, fd, big, 8191, NULL, NULL));
	receive("highest", fd);
	r = poll(&p, 1, 0);
	printf("poll %d %#x\n", r, p.revents);
	receive("next", fd);
	receive("then", fd);
	receive("last", fd);
	receive("none", fd);
	r = poll(&p, 1, 0);
	printf("poll %d %#x\n", r, p.revents);
	int ep = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	SAY("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 0));
	SAY("send", send(fd, "x", 0));
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 0));
	receive("x", fd);
	/* Deadlines. */
	fcntl(fd, F_SETFL, 0);
	struct timespec t = { 0, 1000000000 };
	SAY("bad time", syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, &t));
	t = (struct timespec){ -1, 0 };
	SAY("negative time", syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, &t));
	SAY("time nowhere", syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, 1));
	t = (struct timespec){ 1, 0 };
	SAY("long ago", syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, &t));
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 20000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	SAY("soon", syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, &t));
	SAY("ready, whatever the time", send(fd, "ready", 0));
	SAY("ready, whatever the time", syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, &t));
	for (int i = 0; i < 4; i++)
		send(fd, "fill", 0);
	SAY("full", syscall(SYS_mq_timedsend, fd, "x", 1, 0, &t));
	/* Others wait. */
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(send(fd, "late", 9) == 0 ? 7 : 8);
	receive("makes room", fd);
	int status;
	waitpid(child, &status, 0);
	printf("sent %d\n", WEXITSTATUS(status));
	receive("late", fd);
	for (int i = 0; i < 3; i++)
		receive("fill", fd);
	child = fork();
	if (child == 0) {
		r = syscall(SYS_mq_timedreceive, fd, big, 8192, NULL, NULL);
		_exit(r == 4 && memcmp(big, "wake", 4) == 0 ? 7 : 8);
	}
	SAY("wake", send(fd, "wake", 0));
	waitpid(child, &status, 0);
	printf("received %d\n", WEXITSTATUS(status));
	syscall(SYS_mq_unlink, name);
	close(ep);
	close(fd);
}

static void notification(void) {
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = open_queue(name, O_RDWR | O_CREAT | O_NONBLOCK, 4, 8192);
	struct sigevent ev;
	memset(&ev, 0, sizeof ev);
	ev.sigev_notify = 9;
	SAY("unknown kind", syscall(SYS_mq_notify, fd, &ev));
	ev.sigev_notify = SIGEV_SIGNAL;
	ev.sigev_signo = 99;
	SAY("unknown signal", syscall(SYS_mq_notify, fd, &ev));
	SAY("nowhere", syscall(SYS_mq_notify, fd, 1));
	ev.sigev_signo = SIGUSR1;
	ev.sigev_value.sival_int = 42;
	SAY("no queue", syscall(SYS_mq_notify, 1, &ev));
	SAY("take away what isn't there", syscall(SYS_mq_notify, fd, NULL));
	SAY("register", syscall(SYS_mq_notify, fd, &ev));
	SAY("again", syscall(SYS_mq_notify, fd, &ev));
	char text[128] = "";
	lseek(fd, 0, SEEK_SET);
	if (read(fd, text, sizeof text) < 0)
		perror("read");
	int pid = 0;
	if (sscanf(strstr(text, "NOTIFY_PID:"), "NOTIFY_PID:%d", &pid) == 1)
		printf("registered is me %d, %.40s\n", pid == getpid(), text);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		SAY("child registers", syscall(SYS_mq_notify, fd, &ev));
		SAY("child takes it away", syscall(SYS_mq_notify, fd, NULL));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	SAY("send", send(fd, "x", 0));
	memset(&info, 0, sizeof info);
	SAY("signal", sigwaitinfo(&set, &info));
	printf("code %d value %d from me %d\n", info.si_code, info.si_value.sival_int, info.si_pid == getpid());
	SAY("register while there is one", syscall(SYS_mq_notify, fd, &ev));
	SAY("send a second", send(fd, "y", 0));
	struct timespec zero = { 0, 0 };
	SAY("no signal", sigtimedwait(&set, &info, &zero));
	receive("x", fd);
	receive("y", fd);
	SAY("send to an empty queue", send(fd, "z", 0));
	SAY("signal", sigtimedwait(&set, &info, &zero));
	SAY("only once", send(fd, "z", 0));
	SAY("no signal", sigtimedwait(&set, &info, &zero));
	receive("z", fd);
	receive("z", fd);
	SAY("register", syscall(SYS_mq_notify, fd, &ev));
	SAY("take it away", syscall(SYS_mq_notify, fd, NULL));
	SAY("send", send(fd, "q", 0));
	SAY("no signal", sigtimedwait(&set, &info, &zero));
	receive("q", fd);
	/* Nobody is told, but the place is taken. */
	ev.sigev_notify = SIGEV_NONE;
	SAY("none", syscall(SYS_mq_notify, fd, &ev));
	SAY("again", syscall(SYS_mq_notify, fd, &ev));
	/* Closing any descriptor of the queue takes the registration away. */
	close(dup(fd));
	SAY("after a close", syscall(SYS_mq_notify, fd, &ev));
	fflush(stdout);
	child = fork();
	if (child == 0) {
		close(fd);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	SAY("another's close changes nothing", syscall(SYS_mq_notify, fd, &ev));
	syscall(SYS_mq_unlink, name);
	close(fd);
}

static void library(void) {
	char slashed[40];
	snprintf(slashed, sizeof slashed, "/%s", other);
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = 16 };
	mqd_t q = mq_open(slashed, O_CREAT | O_RDWR, 0600, &attr);
	char text[16] = "";
	unsigned priority;
	SAY("mq_send", mq_send(q, "hello", 6, 4));
	SAY("mq_receive", mq_receive(q, text, 16, &priority));
	printf("%s %u\n", text, priority);
	SAY("mq_getattr", mq_getattr(q, &attr));
	SAY("mq_close", mq_close(q));
	SAY("mq_unlink", mq_unlink(slashed));
}

static void permissions(void) {
	int fd = open_queue(name, O_RDWR | O_CREAT, 2, 16);
	fchmod(fd, 0604);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		TRY("others read", open_queue(name, O_RDONLY, 0, 0));
		TRY("others write", open_queue(name, O_WRONLY, 0, 0));
		SAY("others unlink", syscall(SYS_mq_unlink, name));
		TRY("eleven messages", open_queue(other, O_RDWR | O_CREAT, 11, 16));
		TRY("8193 bytes", open_queue(other, O_RDWR | O_CREAT, 1, 8193));
		TRY("the most", open_queue(other, O_RDWR | O_CREAT, 10, 8192));
		SAY("unlink my own", syscall(SYS_mq_unlink, other));
		struct rlimit limit = { 1000, 1000 };
		setrlimit(RLIMIT_MSGQUEUE, &limit);
		TRY("over the limit", open_queue(other, O_RDWR | O_CREAT, 10, 16));
		TRY("within it", open_queue(other, O_RDWR | O_CREAT, 2, 16));
		SAY("unlink my own", syscall(SYS_mq_unlink, other));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	syscall(SYS_mq_unlink, name);
	close(fd);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(name, sizeof name, "whelk-test-%d", getpid());
	snprintf(other, sizeof other, "whelk-other-%d", getpid());
	opening();
	messages();
	notification();
	library();
	permissions();
	return 0;
}
