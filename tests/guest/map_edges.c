/* musl only. Mappings at their limits: what fails must leave things as they were, and limits count what Linux counts. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS, RW = PROT_READ | PROT_WRITE };

static jmp_buf back;

static void fault(int sig) {
	(void)sig;
	longjmp(back, 1);
}

/* The fields of /proc/self/statm, in bytes: 0 is all, 1 what is resident. */
static size_t statm(int field) {
	char text[100], *at = text;
	int fd = open("/proc/self/statm", O_RDONLY);
	ssize_t len = read(fd, text, sizeof text - 1);
	close(fd);
	text[len > 0 ? len : 0] = 0;
	size_t value = 0;
	for (; field >= 0; field--)
		value = strtoul(at, &at, 10);
	return value * PAGE;
}

static void say(const char *what, int failed) {
	printf("%s: %s\n", what, failed ? strerror(errno) : "done");
	fflush(stdout);
}

static void limit(int resource, rlim_t most) {
	struct rlimit value = { most, RLIM_INFINITY };
	setrlimit(resource, &value);
}

static char *map(size_t pages, int prot) {
	return mmap(NULL, pages * PAGE, prot, ANONYMOUS, -1, 0);
}

/* A place of so many pages where nothing is. */
static char *nowhere(size_t pages) {
	char *place = map(pages, PROT_NONE);
	munmap(place, pages * PAGE);
	return place;
}

static void limits(void) {
	char *p = map(16, RW), *free_place = nowhere(64);
	memset(p, 7, 16 * PAGE);
	limit(RLIMIT_AS, statm(0) + 4 * PAGE);
	say("fixed, more than there may be", mmap(p + 15 * PAGE, 1024 * PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
	if (setjmp(back) == 0)
		printf("what it was to replace: %d\n", p[15 * PAGE]);
	else
		printf("what it was to replace is gone\n");
	say("fixed, as much as before", mmap(p, 8 * PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
	say("moved, as much as before", mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, free_place) == MAP_FAILED);
	limit(RLIMIT_AS, RLIM_INFINITY);

	limit(RLIMIT_DATA, 1 << 20);
	say("more data", map(4096, RW) == MAP_FAILED);
	say("shared isn't data", mmap(NULL, 4096 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	char *constant = map(4096, PROT_READ);
	say("nor what is read", constant == MAP_FAILED);
	say("until it is written", mprotect(constant, 4096 * PAGE, RW));
	limit(RLIMIT_DATA, RLIM_INFINITY);
}

static void results(void) {
	char *shared = mmap(NULL, 8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(shared, 1, 8 * PAGE);
	munmap(shared + PAGE, PAGE);
	say("MADV_REMOVE over a hole", madvise(shared, 3 * PAGE, MADV_REMOVE));
	printf("beside it: %d %d\n", shared[0], shared[2 * PAGE]);
	say("an offset of nothing", mmap(NULL, PAGE, RW, ANONYMOUS, -1, (off_t)0xfffffffffffff000ul) == MAP_FAILED);
	say("msync of a length that wraps", msync(shared, ~0ul, MS_SYNC));
	char *two = map(4, RW), *place = map(1, PROT_NONE);
	mprotect(two + 2 * PAGE, 2 * PAGE, PROT_READ);
	say("shrinking move over two regions", mremap(two, 4 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED);
}

/* One region more than there may be: the page must be where it was, or where it was to go. */
static void too_many(void) {
	char *p = map(3, RW), *place = nowhere(3);
	strcpy(p + PAGE, "precious");
	char *many = mmap(NULL, 140000ul * PAGE, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (size_t i = 1; i < 140000 && mprotect(many + i * PAGE, PAGE, PROT_READ) == 0; i += 2)
		;
	say("regions", 1);
	for (size_t i = 1; i < 40; i += 2) {
		char *now = mremap(p + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
		if (now != MAP_FAILED) {
			printf("it went: %s\n", now);
			break;
		}
		if (strcmp(p + PAGE, "precious") != 0)
			printf("lost\n");
		mprotect(many + i * PAGE, PAGE, PROT_NONE);
	}
	/* A child takes apart what its parent has mapped. */
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		say("unmapping in a child", munmap(many, 140000ul * PAGE));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	munmap(many, 140000ul * PAGE);
}

/* A mapping that walks through its object by moves. */
static void far_offset(void) {
	const size_t step = 50ul << 40;
	int fd = memfd_create("far", 0);
	char *places[2] = { (char *)0x100000000000, (char *)0x420000000000 };
	char *at = mmap(places[0], PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	(void)!ftruncate(fd, PAGE);
	for (int i = 0; i < 200000 && at != MAP_FAILED; i++) {
		char *to = places[(i + 1) & 1];
		at = mremap(at, 0, step, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		if (at == MAP_FAILED)
			break;
		munmap(places[i & 1], step);
		at = mremap(at + step - PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, places[i & 1]);
		munmap(to, step);
		if (at == MAP_FAILED)
			break;
		i++;
	}
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	int lines = 0;
	while (fgets(line, sizeof line, maps))
		lines++;
	fclose(maps);
	printf("maps: %s\n", lines > 3 ? "read" : "not read");
}

static volatile int ended;
static char *locked;

static void *lock(void *unused) {
	(void)unused;
	while (!ended) {
		mlock(locked, 4 * PAGE);
		munlock(locked, 4 * PAGE);
	}
	return NULL;
}

static void locks(void) {
	pthread_t other;
	locked = map(4, RW);
	pthread_create(&other, NULL, lock, NULL);
	for (int i = 0; i < 20000; i++)
		mlock(locked, 4 * PAGE);
	ended = 1;
	pthread_join(other, NULL);
	printf("locked\n");
}

static int deep(int depth) {
	volatile char frame[PAGE];
	frame[0] = depth;
	return depth == 0 ? frame[0] : deep(depth - 1) + frame[0];
}

static void children(void) {
	size_t size = 32 << 20;
	char *p = map(size / PAGE, RW);
	memset(p, 1, size);
	madvise(p, size, MADV_DONTFORK);
	fflush(stdout);
	if (fork() == 0) {
		printf("a child has %s\n", statm(1) > size / 2 ? "what isn't its own" : "its own");
		fflush(stdout);
		signal(SIGSEGV, SIG_DFL);
		limit(RLIMIT_AS, statm(0) + (256 << 10));
		deep(1000);
		printf("its stack has no limit\n");
		fflush(stdout);
		_exit(0);
	}
	int status;
	wait(&status);
	printf("its end: %#x\n", status & 0x7f);
}

int main(void) {
	signal(SIGSEGV, fault);
	limits();
	results();
	too_many();
	far_offset();
	locks();
	children();
	return 0;
}
