/* musl only. What each system call that copies says of buffers that end at, or reach over, a page that isn't there or can't be written: results, errno, side effects. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };
static char *good;     /* two pages, then a hole */
static char *readonly; /* a page that can be written, then one that can only be read */
static char *end, *ro_border;

static void say(const char *name, long result) {
	if (result < 0)
		printf("  %s: %s\n", name, errno == EFAULT ? "EFAULT" : strerror(errno));
	else
		printf("  %s: %ld\n", name, result);
}

/* A call with an output of `size` bytes at an address: that fits, that is short by one byte, that isn't there at all, and read-only. */
#define OUT(name, size, call)                                                                 \
	do {                                                                                  \
		static const char *places[] = { "fits", "short", "half", "hole", "null", "read-only", "over read-only", "kernel", "non-canonical" }; \
		char *at[] = { end - (size), end - (size) + 1, end - (size) / 2, end, NULL, ro_border, ro_border - (size) / 2,                 \
			       (char *)0xffff800000001000, (char *)0x8000000000000000 };       \
		printf("%s\n", name);                                                         \
		for (int place = 0; place < 9; place++) {                                     \
			char *p = at[place];                                                  \
			memset(good, 0x55, 2 * PAGE);                                         \
			memset(readonly, 0x55, PAGE);                                         \
			errno = 0;                                                            \
			long result = 0;                                                      \
			result = (call);                                                      \
			say(places[place], result);                                           \
		}                                                                             \
	} while (0)

/* As OUT, for inputs: `fill` puts the right bytes in place first. */
#define IN(name, size, bytes, call)                                                           \
	do {                                                                                  \
		static const char *places[] = { "fits", "short", "hole", "null", "kernel", "non-canonical" }; \
		char *at[] = { end - (size), end - (size) + 1, end, NULL, (char *)0xffff800000001000, (char *)0x8000000000000000 }; \
		printf("%s\n", name);                                                         \
		for (int place = 0; place < 6; place++) {                                     \
			char *p = at[place];                                                  \
			memset(good, 0, 2 * PAGE);                                            \
			if (place < 2)                                                        \
				memcpy(p, (bytes), (size) - place);                           \
			errno = 0;                                                            \
			long result = 0;                                                      \
			result = (call);                                                      \
			say(places[place], result);                                           \
		}                                                                             \
	} while (0)

static void reads(void) {
	int fd = open("data", O_CREAT | O_RDWR | O_TRUNC, 0600), both[2];
	char block[10000];
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = i * 7;
	(void)!write(fd, block, sizeof block);
	static const int rooms[] = { 0, 1, 100, 4095, 4096, 4097, 8192 };
	for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
		int room = rooms[i];
		printf("room %d\n", room);
		lseek(fd, 0, SEEK_SET);
		memset(good, 0, 2 * PAGE);
		say("read file", read(fd, end - room, 9000));
		printf("  offset %ld, as written %d\n", (long)lseek(fd, 0, SEEK_CUR), memcmp(end - room, block, room) == 0);
		say("pread", pread(fd, end - room, 9000, 500));
		struct iovec v[3] = { { end - room, room }, { end - 10, 20 }, { good, 5 } };
		say("readv", readv(fd, v, 3));
		lseek(fd, 0, SEEK_SET);
		say("write file", write(fd, end - room, 9000));
		printf("  offset %ld\n", (long)lseek(fd, 0, SEEK_CUR));
		say("pwrite", pwrite(fd, end - room, 9000, 300));
		lseek(fd, 0, SEEK_SET);
		say("writev", writev(fd, v, 3));
		printf("  offset %ld\n", (long)lseek(fd, 0, SEEK_CUR));
		pwrite(fd, block, sizeof block, 0);
		(void)!pipe2(both, O_NONBLOCK);
		say("write pipe", write(both[1], end - room, 9000));
		(void)!write(both[1], block, 9000);
		say("read pipe", read(both[0], end - room, 9000));
		say("what is left", read(both[0], block, 10000));
		close(both[0]);
		close(both[1]);
		for (size_t k = 0; k < sizeof block; k++)
			block[k] = k * 7;
		int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR), random = open("/dev/urandom", O_RDONLY);
		say("read zero", read(zero, end - room, 9000));
		say("write null", write(null, end - room, 9000));
		say("read random", read(random, end - room, 9000) > 0);
		say("getrandom", syscall(SYS_getrandom, end - room, 9000, 0) > 0);
		close(zero);
		close(null);
		close(random);
	}
	say("read-only page", pread(fd, ro_border, 100, 0));
	say("up to a read-only page", pread(fd, ro_border - 50, 100, 0));
	say("PROT_NONE vector", readv(fd, (struct iovec *)(end - 8), 1));
	say("vector count", readv(fd, (struct iovec *)end, 0));
	say("vector too long", readv(fd, (struct iovec *)good, 1025));
	close(fd);
}

static void strings(void) {
	char *p = end - 5;
	memcpy(p, "data", 5);
	say("path that fits", access(p, F_OK));
	memcpy(end - 4, "data", 4);
	say("path without its end", access(end - 4, F_OK));
	say("path in a hole", access(end, F_OK));
	say("open", open(end - 4, O_RDONLY));
	say("mkdir", mkdir(end, 0700));
	say("rename", rename("data", end - 4));
	say("symlink", symlink(end - 4, "link"));
	say("link", link("data", end));
	say("unlink", unlink(end - 4));
	say("chdir", chdir(end));
	say("execve", execve(end - 4, NULL, NULL));
	say("execve vector", execve("/bin/busybox", (char **)(end - 4), NULL));
	char *args[] = { "x", end - 4, NULL };
	say("execve argument", execve("/bin/busybox", args, NULL));
	say("execve environment", execve("/bin/busybox", args + 2, args));
	say("truncate", truncate(end - 4, 5));
	say("chmod", chmod(end, 0700));
	say("readlink", readlink(end, good, 10));
	say("statfs", statfs(end, (void *)good));
	say("memfd", syscall(SYS_memfd_create, end - 4, 0));
	say("prctl name", syscall(SYS_prctl, 15, end));
	say("mount", syscall(SYS_mount, end, end, end, 0, 0));
	say("sethostname", syscall(SYS_sethostname, end - 4, 5));
	say("inode unharmed", access("data", F_OK));
	memset(good, 'a', 2 * PAGE);
	say("a long name over the end", access(end - 300, F_OK));
	say("a path of 4096 that ends where the memory does", access(good + PAGE, F_OK));
	say("a longer one", access(good, F_OK));
}

int main(void) {
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	char *area = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	good = area;
	end = area + 2 * PAGE;
	munmap(end, PAGE);
	readonly = area + 4 * PAGE;
	ro_border = area + 5 * PAGE;
	mprotect(ro_border, PAGE, PROT_READ);
	munmap(ro_border + PAGE, PAGE);

	reads();
	strings();
	int file = open("data", O_RDWR | O_CREAT, 0600), both[2];
	OUT("stat", sizeof(struct stat), syscall(SYS_stat, "data", p));
	OUT("fstat", sizeof(struct stat), syscall(SYS_fstat, file, p));
	OUT("newfstatat", sizeof(struct stat), syscall(SYS_newfstatat, AT_FDCWD, "data", p, 0));
	OUT("statx", 256, syscall(SYS_statx, AT_FDCWD, "data", 0, 0x7ff, p));
	OUT("statfs", sizeof(struct statfs), syscall(SYS_statfs, "/", p));
	OUT("uname", sizeof(struct utsname), syscall(SYS_uname, p));
	OUT("sysinfo", sizeof(struct sysinfo), syscall(SYS_sysinfo, p));
	OUT("getrusage", sizeof(struct rusage), syscall(SYS_getrusage, 0, p));
	OUT("getrlimit", 16, syscall(SYS_getrlimit, RLIMIT_CORE, p));
	OUT("prlimit64", 16, syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, p));
	OUT("clock_gettime", 16, syscall(SYS_clock_gettime, 1, p));
	OUT("clock_getres", 16, syscall(SYS_clock_getres, 1, p));
	OUT("gettimeofday", 16, syscall(SYS_gettimeofday, p, NULL));
	OUT("time", 8, syscall(SYS_time, p) > 0 ? 1 : -1);
	OUT("times", sizeof(struct tms), syscall(SYS_times, p) != -1 ? 1 : -1);
	OUT("getcwd", 100, syscall(SYS_getcwd, p, 100) > 0 ? 1 : -1);
	OUT("pipe", 8, (syscall(SYS_pipe, p) == 0 ? (memcpy(both, p, 8), close(both[0]), close(both[1]), 0) : -1));
	OUT("getitimer", 32, syscall(SYS_getitimer, 0, p));
	OUT("rt_sigprocmask", 8, syscall(SYS_rt_sigprocmask, 0, NULL, p, 8));
	OUT("rt_sigaction", 32, syscall(SYS_rt_sigaction, SIGUSR2, NULL, p, 8));
	OUT("rt_sigpending", 8, syscall(SYS_rt_sigpending, p, 8));
	OUT("sigaltstack", 24, syscall(SYS_sigaltstack, NULL, p));
	OUT("getgroups", 4, syscall(SYS_getgroups, 1, p) >= 0 ? 1 : -1);
	OUT("getresuid", 4, syscall(SYS_getresuid, p, good, good));
	OUT("sched_getaffinity", 8, syscall(SYS_sched_getaffinity, 0, 8, p) > 0 ? 1 : -1);
	OUT("getcpu", 4, syscall(SYS_getcpu, p, NULL, NULL));
	OUT("ioctl FIONREAD", 4, syscall(SYS_ioctl, file, 0x541b, p));
	OUT("prctl PR_GET_NAME", 16, syscall(SYS_prctl, 16, p));
	OUT("readlink", 7, (syscall(SYS_symlink, "target!", "link"), syscall(SYS_readlink, "link", p, 7)));
	OUT("capget data", 24, (*(uint64_t *)good = 0x20080522, syscall(SYS_capget, good, p)));
	pid_t child = fork();
	if (child == 0)
		_exit(3);
	siginfo_t info;
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	OUT("waitid", sizeof(siginfo_t), syscall(SYS_waitid, P_PID, child, p, WEXITED | WNOWAIT, NULL));
	OUT("wait4, which reaps all the same", 4, syscall(SYS_wait4, child, p, 0, NULL) > 0 ? 1 : -1);
	int events = eventfd(5, EFD_NONBLOCK), poll_fd = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	epoll_ctl(poll_fd, EPOLL_CTL_ADD, events, &event);
	OUT("epoll_wait", 12, syscall(SYS_epoll_wait, poll_fd, p, 1, 0));
	OUT("poll", 8, (place < 1 ? memcpy(p, &(struct pollfd){ events, POLLIN, 0 }, 8) : NULL, syscall(SYS_poll, p, 1, 0)));
	OUT("timerfd_gettime", 32, syscall(SYS_timerfd_gettime, syscall(SYS_timerfd_create, 1, 0), p));
	OUT("read eventfd", 8, (eventfd_write(events, 1), syscall(SYS_read, events, p, 8)));
	OUT("getdents64", 512, (lseek(file, 0, 0), close(99), dup2(open("/t/data", O_RDONLY), 99), syscall(SYS_getdents64, 99, p, 512)));

	uint64_t mask = 0, two[16] = { 0, 1, 0, 1 };
	IN("rt_sigprocmask", 8, &mask, syscall(SYS_rt_sigprocmask, 0, p, NULL, 8));
	IN("rt_sigaction", 32, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", syscall(SYS_rt_sigaction, SIGUSR2, p, NULL, 8));
	IN("nanosleep", 16, two, syscall(SYS_nanosleep, p, NULL));
	IN("setitimer", 32, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", syscall(SYS_setitimer, 0, p, NULL));
	uint64_t limit[4] = { 0 };
	IN("setrlimit", 16, limit, syscall(SYS_setrlimit, RLIMIT_CORE, p));
	IN("utimensat", 32, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", syscall(SYS_utimensat, AT_FDCWD, "data", p, 0));
	IN("select", 128, two, syscall(SYS_select, 1, p, NULL, NULL, two));
	IN("ppoll timeout", 16, two, (p ? syscall(SYS_ppoll, NULL, 0, p, NULL, 8) : -1));
	IN("epoll_ctl", 12, &event, (syscall(SYS_epoll_ctl, poll_fd, EPOLL_CTL_DEL, events, NULL), syscall(SYS_epoll_ctl, poll_fd, EPOLL_CTL_ADD, events, p)));
	IN("timerfd_settime", 32, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
	   syscall(SYS_timerfd_settime, syscall(SYS_timerfd_create, 1, 0), 0, p, NULL));
	IN("futex timeout", 16, two, syscall(SYS_futex, good, 0, 1, p, NULL, 0));
	IN("futex word", 4, &mask, syscall(SYS_futex, p, 0, 1, NULL, NULL, 0));
	IN("fcntl F_SETLK", 32, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", syscall(SYS_fcntl, file, F_SETLK, p));
	int64_t offset = 1;
	IN("sendfile offset", 8, &offset, syscall(SYS_sendfile, open("/dev/null", O_WRONLY), file, p, 10));
	IN("copy_file_range offset", 8, &offset, syscall(SYS_copy_file_range, file, p, open("copy", O_CREAT | O_RDWR, 0600), NULL, 10, 0));
	IN("setgroups", 4, &mask, syscall(SYS_setgroups, 1, p));
	IN("writev vector", 16, (&(struct iovec){ "12345", 5 }), syscall(SYS_writev, open("/dev/null", O_WRONLY), p, 1));
	IN("write eventfd", 8, two, syscall(SYS_write, events, p, 8));
	IN("openat2", 24, limit, (syscall(437, AT_FDCWD, "data", p, 24) >= 0 ? 1 : -1));
	IN("clone3", 64, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
	   (result = syscall(435, p, 64), result == 0 ? (_exit(0), 0) : result > 0 ? (waitpid(result, NULL, __WALL), 1) : -1));
	return 0;
}
