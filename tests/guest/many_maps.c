/* musl only. As many mappings as there may be (vm.max_map_count): what fails at the limit, that all of them stand in /proc/self/maps, and that it takes no age. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, LIMIT = 65530 };

/* Mappings of the process, those of the kernel's own left out; and how many of them are single pages in [from, to), in order. */
static int count(uintptr_t from, uintptr_t to, int *inside) {
	static char text[1 << 16];
	int fd = open("/proc/self/maps", O_RDONLY), lines = 0;
	size_t kept = 0;
	ssize_t len;
	uintptr_t last = 0;
	*inside = 0;
	while ((len = read(fd, text + kept, sizeof text - kept)) > 0) {
		char *line = text, *end, *stop = text + kept + len;
		while ((end = memchr(line, '\n', stop - line))) {
			unsigned long start, finish;
			*end = 0;
			if (sscanf(line, "%lx-%lx", &start, &finish) != 2 || start < last)
				printf("a strange line: %s\n", line);
			last = finish;
			lines += !strstr(line, "[v");
			*inside += start >= from && finish <= to && finish - start == PAGE;
			line = end + 1;
		}
		kept = stop - line;
		memmove(text, line, kept);
	}
	close(fd);
	return lines;
}

static const char *result(int failed) {
	return failed ? strerror(errno) : "done";
}

static double seconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void quick(const char *what, double since) {
	/* A walk over all mappings for each would take minutes. */
	double took = seconds() - since;
	printf("%s: %s\n", what, took < 15 ? "quick" : "slow");
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s %.3f s\n", what, took);
}

int main(void) {
	int inside, base = count(0, 0, &inside);
	/* One large mapping, cut up by rights: every second page of it. */
	size_t len = (size_t)PAGE * 2 * LIMIT;
	double start = seconds();
	char *area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t cut = 0;
	while (cut < len / PAGE && mprotect(area + cut * PAGE, PAGE, PROT_READ) == 0)
		cut += 2;
	printf("mprotect: %s\n", strerror(errno));
	quick("mprotect", start);
	start = seconds();
	int lines = count((uintptr_t)area, (uintptr_t)area + len, &inside);
	printf("%d more mappings than before, near the limit: %d\n", inside > 65000, lines - base > LIMIT - 40 && lines - base <= LIMIT + 1);
	quick("maps", start);
	/* At the limit: what would make one more fails, what doesn't still works. */
	char *one = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *two = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *three = mmap(NULL, PAGE, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("mmap: %s\n", three == MAP_FAILED ? strerror(errno) : "done");
	char *tail = area + len - 8 * PAGE;
	printf("mprotect inside: %s\n", result(mprotect(tail, PAGE, PROT_NONE)));
	printf("munmap inside: %s\n", result(munmap(tail, PAGE)));
	printf("mremap inside: %s\n", result(mremap(tail, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED));
	printf("madvise inside: %s\n", result(madvise(tail, PAGE, MADV_DONTFORK)));
	printf("munmap of a whole one: %s\n", result(munmap(area, PAGE)));
	printf("merging two: %s\n", result(mprotect(area + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE)));
	printf("mprotect inside, then: %s\n", result(mprotect(tail, PAGE, PROT_NONE)));
	if (one != MAP_FAILED)
		munmap(one, PAGE);
	if (two != MAP_FAILED)
		munmap(two, PAGE);
	/* Pages in each of them, a child that has them all, and everything away. */
	start = seconds();
	for (size_t at = 3; at < cut; at += 64)
		area[at * PAGE] = 1;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		int wrong = 0;
		for (size_t at = 3; at < cut; at += 64)
			wrong += area[at * PAGE] != 1;
		_exit(wrong != 0);
	}
	int status = -1;
	waitpid(child, &status, 0);
	printf("child: %d\n", status);
	quick("fork", start);
	start = seconds();
	printf("munmap: %s\n", result(munmap(area, len)));
	printf("%d mappings more\n", count(0, 0, &inside) - base);

	/* Mapped one by one: rights alternate, so that none continues another. */
	size_t made = 0;
	static char *of[LIMIT + 2];
	while (made <= LIMIT) {
		of[made] = mmap(NULL, PAGE, made % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (of[made] == MAP_FAILED)
			break;
		made++;
	}
	printf("mmap: %s, near the limit: %d\n", strerror(errno), made > LIMIT - 40);
	quick("one by one", start);
	/* And away in another order, every third first: each leaves a hole. */
	start = seconds();
	int wrong = 0;
	for (size_t step = 0; step < 3; step++)
		for (size_t i = step; i < made; i += 3)
			wrong += munmap(of[i], PAGE) != 0;
	printf("munmap: %d wrong\n", wrong);
	quick("away", start);
	/* Holes are found again. */
	start = seconds();
	area = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (size_t at = 0; at < 60000; at += 2)
		wrong += munmap(area + at * PAGE, PAGE) != 0;
	int outside = 0;
	for (int i = 0; i < 30000; i++) {
		char *here = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		outside += here == MAP_FAILED;
	}
	printf("holes: %d wrong, %d failed\n", wrong, outside);
	quick("holes", start);
	return 0;
}
