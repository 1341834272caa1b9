// Which error counts when a read or write has several reasons to fail: the descriptor's come before the buffer's.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#define E(x) ({ errno = 0; long r_ = (x); r_ < 0 ? -errno : r_; })
static long preadv2_(int fd, struct iovec *v, int count, long at, int flags) { return syscall(SYS_preadv2, fd, v, count, at, 0, flags); }
static long pwritev2_(int fd, struct iovec *v, int count, long at, int flags) { return syscall(SYS_pwritev2, fd, v, count, at, 0, flags); }

int main(void) {
	void *bad = (void *)0xffff800000000000ul;
	int p[2], r = open("/dev/zero", O_RDONLY), w = open("/dev/null", O_WRONLY), path = open("/", O_PATH), dir = open("/", O_RDONLY);
	if (pipe(p)) return 1;
	struct iovec v = { bad, 4 }, none = { 0, 0 };
	printf("read %ld %ld %ld %ld %ld %ld\n", E(read(-1, bad, 4)), E(read(w, bad, 4)), E(read(path, bad, 4)), E(read(r, bad, 4)), E(read(p[1], bad, 1)), E(read(dir, bad, 1)));
	printf("write %ld %ld %ld %ld %ld\n", E(write(-1, bad, 4)), E(write(r, bad, 4)), E(write(path, bad, 4)), E(write(w, bad, 4)), E(write(p[0], bad, 1)));
	printf("pread %ld %ld %ld %ld %ld %ld\n", E(pread(-1, bad, 4, -1)), E(pread(-1, bad, 4, 0)), E(pread(w, bad, 4, 0)), E(pread(p[0], bad, 4, 0)), E(pread(p[1], bad, 4, 0)), E(pread(path, bad, 4, 0)));
	printf("pwrite %ld %ld %ld %ld %ld\n", E(pwrite(-1, bad, 4, -1)), E(pwrite(r, bad, 4, 0)), E(pwrite(p[0], bad, 4, 0)), E(pwrite(p[1], bad, 4, 0)), E(pwrite(path, bad, 4, 0)));
	printf("readv %ld %ld %ld %ld %ld\n", E(readv(-1, bad, 1)), E(readv(w, &v, 1)), E(readv(r, &v, 1)), E(readv(r, bad, 1)), E(readv(w, &none, 1)));
	printf("writev %ld %ld %ld %ld %ld\n", E(writev(-1, bad, 1)), E(writev(r, &v, 1)), E(writev(w, &v, 1)), E(writev(w, bad, 1)), E(writev(r, &none, 1)));
	printf("preadv %ld %ld %ld\n", E(preadv(p[0], &v, 1, 0)), E(preadv(p[0], bad, 1, -1)), E(preadv(w, &v, 1, 0)));
	printf("zero %ld %ld %ld %ld %ld %ld\n", E(read(w, 0, 0)), E(read(r, 0, 0)), E(read(p[0], 0, 0)), E(write(r, 0, 0)), E(write(p[1], 0, 0)), E(read(dir, 0, 0)));
	printf("preadv2 %ld %ld %ld %ld %ld\n", E(preadv2_(p[0], &v, 1, -1, 0)), E(preadv2_(p[0], &v, 1, 0, 0)), E(preadv2_(w, &v, 1, -2, 0)), E(preadv2_(w, &v, 1, -1, 0x1000)), E(preadv2_(r, &v, 1, -1, 0x1000)));
	printf("pwritev2 %ld %ld %ld %ld %ld\n", E(pwritev2_(r, &v, 1, -1, 0)), E(pwritev2_(p[1], &v, 1, 0, 0)), E(pwritev2_(r, &v, 1, -2, 0)), E(pwritev2_(r, &v, 1, -1, 0x1000)), E(pwritev2_(w, &v, 1, -1, 0x1000)));
	return 0;
}
