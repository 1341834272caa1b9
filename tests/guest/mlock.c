/* musl only. Locked memory: there from the start, kept by madvise, counted and limited; what comes later, what a child gets, and how far a call gets before a hole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, MADV_DONTNEED_LOCKED_ = 24 };

static const char *result(long value) { return value < 0 ? strerror(errno) : "done"; }

static void core(const char *what, char *at, int pages) {
	unsigned char in[64];
	printf("%s: ", what);
	if (mincore(at, pages * PAGE, in))
		printf("%s", strerror(errno));
	else
		for (int i = 0; i < pages; i++)
			printf("%d", in[i] & 1);
	printf("\n");
}

static void locked(const char *what) {
	static char text[8192];
	int fd = open("/proc/self/status", O_RDONLY), kib = -1;
	ssize_t len = read(fd, text, sizeof text - 1);
	close(fd);
	text[len > 0 ? len : 0] = 0;
	char *line = strstr(text, "VmLck:");
	if (line)
		sscanf(line, "VmLck: %d", &kib);
	printf("%s: %d KiB locked\n", what, kib);
}

static char *map(int pages, int flags) {
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void limit(int pages) {
	struct rlimit value = { pages * PAGE, pages * PAGE };
	setrlimit(RLIMIT_MEMLOCK, &value);
}

int main(void) {
	char *a = map(8, 0);
	locked("at first");
	core("untouched", a, 8);
	printf("mlock: %s\n", result(mlock(a + PAGE + 5, 2 * PAGE)));
	core("locked", a, 8);
	locked("three pages");
	printf("MADV_DONTNEED: %s\n", result(madvise(a, 8 * PAGE, MADV_DONTNEED)));
	printf("MADV_FREE: %s\n", result(madvise(a, 8 * PAGE, MADV_FREE)));
	printf("MADV_COLD: %s\n", result(madvise(a, 8 * PAGE, 20)));
	core("still", a, 8);
	fflush(stdout);
	if (fork() == 0) {
		locked("child");
		printf("MADV_DONTNEED: %s\n", result(madvise(a, 8 * PAGE, MADV_DONTNEED)));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	printf("MADV_DONTNEED_LOCKED: %s\n", result(madvise(a, 8 * PAGE, MADV_DONTNEED_LOCKED_)));
	core("dropped", a, 8);
	printf("mlock2: %s\n", result(syscall(SYS_mlock2, a + 5 * PAGE, PAGE, 1)));
	core("on fault", a, 8);
	locked("one more");
	printf("mlock2 of nonsense: %s\n", result(syscall(SYS_mlock2, a, PAGE, 2)));
	printf("munlock: %s\n", result(munlock(a, 8 * PAGE)));
	locked("none");
	munmap(a + 4 * PAGE, PAGE);
	printf("mlock over a hole: %s\n", result(mlock(a, 8 * PAGE)));
	locked("before the hole");
	core("not brought in", a, 4);
	printf("munlock over a hole: %s\n", result(munlock(a + PAGE, 7 * PAGE)));
	locked("less");
	printf("mlock of nothing: %s, %s, %s\n", result(mlock(a, 0)), result(mlock(a + 4 * PAGE, PAGE)), result(mlock((void *)-PAGE, 2 * PAGE)));
	mprotect(a, PAGE, PROT_NONE);
	printf("mlock without access: %s\n", result(mlock(a, PAGE)));
	printf("munlockall: %s\n", result(munlockall()));
	locked("after it");

	/* All of it, and all that will be. */
	char *b = map(4, 0);
	printf("mlockall: %s, %s, %s\n", result(mlockall(0)), result(mlockall(8)), result(mlockall(MCL_ONFAULT)));
	printf("current: %s\n", result(mlockall(MCL_CURRENT)));
	core("there before", b, 4);
	char *c = map(4, 0);
	core("came after", c, 4);
	printf("future: %s\n", result(mlockall(MCL_FUTURE)));
	char *d = map(4, 0);
	core("came then", d, 4);
	core("came between", c, 4);
	printf("MADV_DONTNEED: %s\n", result(madvise(d, PAGE, MADV_DONTNEED)));
	char *end = (char *)syscall(SYS_brk, 0);
	printf("brk: %d\n", (char *)syscall(SYS_brk, end + 4 * PAGE) == end + 4 * PAGE);
	core("heap", (char *)(((unsigned long)end + PAGE - 1) & -(unsigned long)PAGE), 4);
	printf("future, on fault: %s\n", result(mlockall(MCL_FUTURE | MCL_ONFAULT)));
	char *e = map(4, 0);
	core("untouched", e, 4);
	printf("MADV_DONTNEED: %s\n", result(madvise(e, PAGE, MADV_DONTNEED)));
	munlockall();
	locked("nothing");
	core("as ever", map(4, 0), 4);
	char *g = map(4, MAP_LOCKED);
	core("MAP_LOCKED", g, 4);
	locked("four pages");
	g = mremap(g, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
	core("grown", g, 6);
	locked("six pages");
	printf("msync: %s\n", result(msync(g, PAGE, MS_INVALIDATE)));
	munmap(g, 6 * PAGE);
	locked("unmapped");

	/* Limits are for others than the superuser. */
	limit(8);
	char *k = map(16, 0);
	printf("over the limit, root: %s\n", result(mlock(k, 16 * PAGE)));
	munlockall();
	if (setresuid(1000, 1000, 1000))
		return 1;
	printf("over the limit: %s\n", result(mlock(k, 16 * PAGE)));
	printf("at the limit: %s\n", result(mlock(k, 8 * PAGE)));
	locked("eight pages");
	printf("the same again: %s\n", result(mlock(k, 8 * PAGE)));
	printf("one page more: %s\n", result(mlock(k + 8 * PAGE, PAGE)));
	printf("mlockall: %s\n", result(mlockall(MCL_CURRENT)));
	printf("MAP_LOCKED: %s\n", map(4, MAP_LOCKED) == MAP_FAILED ? strerror(errno) : "done");
	printf("mremap: %s\n", mremap(k, 8 * PAGE, 12 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? strerror(errno) : "done");
	limit(0);
	printf("no limit left: %s, %s, %s\n", result(mlock(k, PAGE)), result(mlockall(MCL_FUTURE)), result(munlock(k, 8 * PAGE)));
	printf("MAP_LOCKED: %s\n", map(4, MAP_LOCKED) == MAP_FAILED ? strerror(errno) : "done");
	return 0;
}
