/* Offsets and lengths at the edge of what there can be, and which error comes first. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SAY(x)                                                 \
	({                                                     \
		errno = 0;                                     \
		long r_ = (long)(x);                           \
		printf(#x ": %ld %s\n", r_, strerror(errno));  \
	})
#define PAGE 4096

static void offsets(void)
{
	char buf[16] = "0123456789";
	struct iovec vector = { buf, sizeof buf };
	int fd = open("file", O_RDWR | O_CREAT, 0644);
	int end = open("file", O_RDWR | O_APPEND);
	SAY(pread(fd, buf, 10, INT64_MAX));
	SAY(pread(fd, buf, 10, INT64_MAX - 9));
	SAY(pread(fd, buf, 10, INT64_MAX - 10));
	SAY(pread(fd, buf, 0, INT64_MAX));
	SAY(preadv(fd, &vector, 1, INT64_MAX - 2));
	SAY(pwrite(end, buf, 10, INT64_MAX));
	SAY(pwritev(end, &vector, 1, INT64_MAX));
	SAY(pwrite(end, buf, 10, 0));
	SAY(lseek(fd, INT64_MAX, SEEK_END));
	SAY(lseek(fd, 5, SEEK_SET));
	SAY(lseek(fd, INT64_MAX, SEEK_CUR));
	SAY(lseek(fd, -6, SEEK_CUR));
	int text = open("/proc/meminfo", O_RDONLY), directory = open("/proc/self", O_RDONLY);
	SAY(lseek(text, 0, SEEK_END));
	SAY(lseek(text, 7, SEEK_SET));
	SAY(lseek(text, 3, SEEK_CUR));
	SAY(lseek(directory, 0, SEEK_END));
	SAY(syscall(SYS_getdents64, directory, buf, 1u << 31));
	SAY(syscall(SYS_getdents64, fd, buf, 1u << 31));
	SAY(open(".", O_RDONLY | O_DIRECT));
}

static void descriptors(void)
{
	int fd = open("file", O_RDONLY), out = open("copy", O_RDWR | O_CREAT, 0644);
	int pair[2], on = 1, directory = open(".", O_RDONLY);
	off_t at = INT64_MAX - 1;
	SAY(sendfile(out, fd, &at, 3));
	SAY(sendfile(out, directory, NULL, 1));
	SAY(sendfile(out, fd, NULL, SIZE_MAX));
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	struct f_owner_ex nobody = { F_OWNER_TID, -1 };
	SAY(fcntl(pair[0], F_SETOWN_EX, &nobody));
	nobody.type = F_OWNER_PGRP;
	SAY(fcntl(pair[0], F_SETOWN_EX, &nobody));
	SAY(setsockopt(pair[0], SOL_SOCKET, SO_NO_CHECK, &on, sizeof on));
	int adjust = open("/proc/self/oom_score_adj", O_RDWR);
	SAY(write(adjust, "10\0", 3));
	SAY(write(adjust, "1x", 2));
}

static void mappings(void)
{
	int fds[2];
	pipe(fds);
	SAY(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[0], 0));
	SAY(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[1], 0));
	char *three = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char there[3];
	mprotect(three, PAGE, PROT_NONE);
	printf("shrink: %d\n", mremap(three, 3 * PAGE, 2 * PAGE, 0) == three);
	SAY(mincore(three, 2 * PAGE, there));
	SAY(mincore(three + 2 * PAGE, PAGE, there));
	printf("the same: %d\n", mremap(three, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE) == three);
	SAY(mremap(three, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE));
	char *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	SAY(mremap(shared, 0, PAGE, 0));
	SAY(mremap(three, 0, PAGE, 0));
}

/* A signal for a file that would become too large is one's own. */
static void too_large(void)
{
	struct rlimit limit = { 16, RLIM_INFINITY };
	sigset_t set;
	siginfo_t info = { 0 };
	struct timespec none = { 0, 0 };
	int fd = open("small", O_RDWR | O_CREAT, 0644);
	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fflush(stdout);
	setrlimit(RLIMIT_FSIZE, &limit);
	int written = pwrite(fd, "x", 1, 16), errno_of_it = errno;
	int got = sigtimedwait(&set, &info, &none);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	printf("pwrite %d %d: signal %d, code %d, own %d\n", written, errno_of_it, got, info.si_code,
	       info.si_pid == getpid());
}

int main(void)
{
	offsets();
	descriptors();
	mappings();
	too_large();
	return 0;
}
