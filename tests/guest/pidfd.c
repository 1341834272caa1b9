/* Descriptors for processes, memory of other processes, subreapers, signals at a parent's death. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))

static int pidfd_open(int pid, unsigned flags) {
	return syscall(434, pid, flags);
}

static int send_signal(int fd, int sig, siginfo_t *info, unsigned flags) {
	return syscall(424, fd, sig, info, flags);
}

static int getfd(int pidfd, int fd, unsigned flags) {
	return syscall(438, pidfd, fd, flags);
}

static void show_poll(const char *what, int fd, int timeout) {
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	int r = poll(&p, 1, timeout);
	printf("poll %s: %d %#x\n", what, r, p.revents);
}

static int gate[2], tid;

static void *other(void *arg) {
	(void)arg;
	char c;
	tid = syscall(SYS_gettid);
	if (write(gate[1], "x", 1) != 1 || read(gate[0], &c, 0) != 0)
		perror("gate");
	pause();
	return NULL;
}

static void opening(void) {
	SAY("unknown flag", pidfd_open(getpid(), 1));
	SAY("negative", pidfd_open(-1, 0));
	SAY("zero", pidfd_open(0, 0));
	SAY("nobody", pidfd_open(4000000, 0));
	int self = pidfd_open(getpid(), 0);
	printf("cloexec %d, flags %#x\n", fcntl(self, F_GETFD), fcntl(self, F_GETFL));
	char c;
	SAY("read", read(self, &c, 1));
	SAY("write", write(self, "c", 1));
	SAY("lseek", lseek(self, 0, SEEK_SET));
	show_poll("alive", self, 0);
	pthread_t thread;
	if (pipe(gate))
		return;
	pthread_create(&thread, NULL, other, NULL);
	if (read(gate[0], &c, 1) != 1)
		return;
	SAY("a thread as a process", pidfd_open(tid, 0));
	int fd = pidfd_open(tid, 0x80);
	printf("a thread as a thread: %s\n", fd >= 0 ? "yes" : strerror(errno));
	SAY("signal 0 to it", send_signal(fd, 0, NULL, 0));
	show_poll("thread alive", fd, 0);
	close(fd);
	close(self);
}

static void signals(void) {
	int self = pidfd_open(getpid(), 0);
	sigset_t set;
	sigprocmask(SIG_BLOCK, NULL, &set);
	SAY("send", send_signal(self, SIGUSR1, NULL, 0));
	siginfo_t info;
	SAY("got", sigwaitinfo(&set, &info));
	printf("code %d, from me %d\n", info.si_code, info.si_pid == getpid());
	memset(&info, 0, sizeof info);
	info.si_signo = SIGUSR2;
	info.si_code = SI_QUEUE;
	info.si_value.sival_int = 42;
	SAY("send with a value", send_signal(self, SIGUSR2, &info, 0));
	memset(&info, 0, sizeof info);
	SAY("got", sigwaitinfo(&set, &info));
	printf("code %d, value %d\n", info.si_code, info.si_value.sival_int);
	SAY("another number", send_signal(self, SIGUSR1, &info, 0));
	SAY("bad information", send_signal(self, SIGUSR1, (void *)1, 0));
	SAY("bad signal", send_signal(self, 99, NULL, 0));
	SAY("bad flags", send_signal(self, 0, NULL, 8));
	SAY("two flags", send_signal(self, 0, NULL, 3));
	SAY("to the thread", send_signal(self, 0, NULL, 1));
	SAY("to the process", send_signal(self, 0, NULL, 2));
	SAY("not a pidfd", send_signal(gate[0], 0, NULL, 0));
	SAY("not open", send_signal(99, 0, NULL, 0));
	int dir = open("/proc/self", O_RDONLY | O_DIRECTORY);
	SAY("a directory of /proc", send_signal(dir, 0, NULL, 0));
	int proc = open("/proc", O_RDONLY | O_DIRECTORY);
	SAY("/proc itself", send_signal(proc, 0, NULL, 0));
	close(dir);
	close(proc);
	close(self);
}

static void ends(void) {
	int block[2], ready[2];
	char c;
	if (pipe(block) || pipe(ready))
		return;
	pid_t child = fork();
	if (child == 0) {
		close(block[1]);
		if (write(ready[1], "r", 1) != 1)
			_exit(9);
		_exit(read(block[0], &c, 1) == 0 ? 7 : 8);
	}
	if (read(ready[0], &c, 1) != 1)
		return;
	int fd = pidfd_open(child, O_NONBLOCK);
	printf("flags %#x\n", fcntl(fd, F_GETFL));
	int ep = epoll_create1(0);
	struct epoll_event ev = { EPOLLIN, { .u32 = 5 } };
	SAY("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	siginfo_t info;
	memset(&info, 0, sizeof info);
	SAY("wait, not blocking", waitid(3, fd, &info, WEXITED));
	SAY("wait, WNOHANG", waitid(3, fd, &info, WEXITED | WNOHANG));
	int copy = getfd(fd, block[0], 0);
	printf("its descriptor: %s, cloexec %d\n", copy >= 0 ? "yes" : strerror(errno), fcntl(copy, F_GETFD));
	SAY("the same file", syscall(SYS_kcmp, getpid(), child, 0, copy, block[0]));
	SAY("one that it closed", getfd(fd, block[1], 0));
	SAY("getfd with flags", getfd(fd, 0, 1));
	SAY("getfd of no pidfd", getfd(block[0], 0, 0));
	show_poll("running", fd, 0);
	close(block[1]);
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 5000));
	printf("events %#x data %u\n", ev.events, ev.data.u32);
	show_poll("ended", fd, 0);
	SAY("getfd of the dead", getfd(fd, 0, 0));
	SAY("signal 0 to the dead", send_signal(fd, 0, NULL, 0));
	SAY("look", waitid(3, fd, &info, WEXITED | WNOWAIT));
	printf("status %d code %d pid %d\n", info.si_status, info.si_code, info.si_pid == child);
	SAY("reap", waitid(3, fd, &info, WEXITED));
	show_poll("reaped", fd, 0);
	SAY("signal 0 to nobody", send_signal(fd, 0, NULL, 0));
	SAY("getfd of nobody", getfd(fd, 0, 0));
	SAY("wait for nobody", waitid(3, fd, &info, WEXITED));
	SAY("wait for a pipe", waitid(3, block[0], &info, WEXITED));
	SAY("wait for -1", waitid(3, -1, &info, WEXITED));
	close(fd);
	close(copy);
	close(block[0]);

	int pidfd = -1;
	child = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
	if (child == 0) {
		pause();
		_exit(1);
	}
	printf("clone gave a pidfd: %d, cloexec %d\n", pidfd >= 0, fcntl(pidfd, F_GETFD));
	SAY("kill by it", send_signal(pidfd, SIGKILL, NULL, 0));
	show_poll("until it ends", pidfd, 5000);
	SAY("wait by it", waitid(3, pidfd, &info, WEXITED));
	printf("code %d status %d\n", info.si_code, info.si_status);
	SAY("CLONE_PIDFD and CLONE_DETACHED",
	    syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, &pidfd, 0, 0));
	SAY("CLONE_PIDFD and CLONE_PARENT_SETTID",
	    syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &pidfd, 0, 0));
}

static void memory(void) {
	char *page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 2 * 4096, 4096);
	mprotect(page + 4096, 4096, PROT_READ);
	strcpy(page, "parent");
	int ready[2], go[2];
	char c;
	if (pipe(ready) || pipe(go))
		return;
	pid_t child = fork();
	if (child == 0) {
		strcpy(page, "child");
		if (write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		printf("child has %s\n", page);
		fflush(stdout);
		_exit(0);
	}
	if (read(ready[0], &c, 1) != 1)
		return;
	char a[8] = "", b[16] = "";
	struct iovec local[2] = { { a, 3 }, { b, 16 } }, remote[2] = { { page, 6 }, { page + 2, 4 } };
	SAY("read", syscall(310, child, local, 2, remote, 2, 0));
	printf("got %s and %s\n", a, b);
	strcpy(a, "written");
	local[0].iov_len = 8;
	remote[0].iov_len = 100;
	SAY("write", syscall(311, child, local, 1, remote, 1, 0));
	printf("parent has %s\n", page);
	remote[0] = (struct iovec){ page + 4096, 10 };
	SAY("write to what is read-only", syscall(311, child, local, 1, remote, 1, 0));
	static char big[3 * 4096];
	struct iovec all = { big, sizeof big };
	remote[0] = (struct iovec){ page, 3 * 4096 };
	SAY("read beyond the end", syscall(310, child, &all, 1, remote, 1, 0));
	remote[0] = (struct iovec){ page + 100, 3 * 4096 };
	SAY("write beyond what can be written", syscall(311, child, &all, 1, remote, 1, 0));
	remote[0] = (struct iovec){ page, 6 };
	remote[1] = (struct iovec){ (void *)16, 6 };
	SAY("a bad second vector", syscall(310, child, &all, 1, remote, 2, 0));
	SAY("a bad first vector", syscall(310, child, &all, 1, remote + 1, 1, 0));
	SAY("flags", syscall(310, child, &all, 1, remote, 1, 1));
	SAY("too many", syscall(310, child, &all, 1025, remote, 1, 0));
	SAY("too many there", syscall(310, child, &all, 1, remote, 1025, 0));
	SAY("vectors nowhere", syscall(310, child, 1, 1, remote, 1, 0));
	SAY("their vectors nowhere", syscall(310, child, &all, 1, 1, 1, 0));
	SAY("nobody", syscall(310, 4000000, &all, 1, remote, 1, 0));
	SAY("nobody, nothing", syscall(310, 4000000, &all, 0, remote, 1, 0));
	SAY("nobody, nothing there", syscall(310, 4000000, &all, 1, remote, 0, 0));
	/* Another user may not look. */
	pid_t stranger = fork();
	if (stranger == 0) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		SAY("stranger reads", syscall(310, child, &all, 1, remote, 1, 0));
		SAY("stranger compares", syscall(SYS_kcmp, child, getpid(), 1, 0, 0));
		int fd = pidfd_open(child, 0);
		SAY("stranger signals", send_signal(fd, 0, NULL, 0));
		SAY("stranger takes a descriptor", getfd(fd, 0, 0));
		fflush(stdout);
		_exit(0);
	}
	waitpid(stranger, NULL, 0);
	printf("same memory %d, files %d, own memory %d\n", E(syscall(SYS_kcmp, getpid(), child, 1, 0, 0)) > 0,
	       E(syscall(SYS_kcmp, getpid(), child, 2, 0, 0)) > 0, E(syscall(SYS_kcmp, getpid(), getpid(), 1, 0, 0)));
	SAY("kcmp of nobody", syscall(SYS_kcmp, getpid(), 4000000, 99, 0, 0));
	SAY("kcmp of what", syscall(SYS_kcmp, getpid(), child, 99, 0, 0));
	SAY("kcmp of no file", syscall(SYS_kcmp, getpid(), child, 0, 0, 99));
	fflush(stdout);
	if (write(go[1], "x", 1) != 1)
		return;
	waitpid(child, NULL, 0);
}

static void families(void) {
	int got = -1;
	SAY("set subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	SAY("get subreaper", prctl(PR_GET_CHILD_SUBREAPER, &got, 0, 0, 0));
	printf("is %d\n", got);
	int report[2];
	if (pipe(report))
		return;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_GET_CHILD_SUBREAPER, &got, 0, 0, 0);
		printf("a child is %d\n", got);
		fflush(stdout);
		pid_t me = getpid();
		if (fork() == 0) {
			int sig;
			sigset_t set;
			sigemptyset(&set);
			sigaddset(&set, SIGUSR1);
			sigprocmask(SIG_BLOCK, &set, NULL);
			SAY("bad death signal", prctl(PR_SET_PDEATHSIG, 65, 0, 0, 0));
			prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0);
			prctl(PR_GET_PDEATHSIG, &got, 0, 0, 0);
			printf("death signal %d\n", got);
			fflush(stdout);
			if (write(report[1], "r", 1) != 1)
				_exit(9);
			sigwait(&set, &sig);
			printf("parent died: signal %d, new parent %d\n", sig, getppid() != me);
			fflush(stdout);
			_exit(11);
		}
		char c;
		_exit(read(report[0], &c, 1) == 1 ? 10 : 9);
	}
	int status, of_child = -1, of_grandchild = -1;
	for (int i = 0; i < 2; i++) {
		pid_t pid = wait(&status);
		*(pid == child ? &of_child : &of_grandchild) = WEXITSTATUS(status);
	}
	printf("waited for the child: %d, and for the grandchild: %d\n", of_child, of_grandchild);
	SAY("no more", wait(NULL));
}

static void apart(void) {
	pid_t child = fork();
	if (child == 0) {
		SAY("unshare nothing", unshare(0));
		SAY("files", unshare(CLONE_FILES));
		SAY("directories", unshare(CLONE_FS));
		SAY("undo", unshare(CLONE_SYSVSEM));
		SAY("threads of one", unshare(CLONE_THREAD));
		SAY("unknown", unshare(1));
		SAY("setns of a pipe", setns(gate[0], 0));
		SAY("setns of nothing", setns(-1, 0));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	apart();
	opening();
	signals();
	ends();
	memory();
	families();
	return 0;
}
