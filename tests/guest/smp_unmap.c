/* musl only. Long ranges come and go, whole page tables of them, beside a thread that faults next door and children that share the tables: what isn't unmapped keeps its contents, what is mapped anew is zeros, and all memory comes back. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 12288, LONGEST = 5000, BESIDE = 300, STEPS = 80, SLACK = 600 };

/* What each page of the arena should hold: nothing mapped, zeros, or a tag. */
enum { NONE = 0, ZEROS = 1 };
static uint32_t model[PAGES];
static char *arena;
static uint32_t seed;
static atomic_int stop, broken;

static uint32_t rnd(uint32_t below) {
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void fail(const char *what, int page) {
	printf("%s at page %d: %s\n", what, page, strerror(errno));
	exit(1);
}

static volatile uint32_t *word(int page) {
	return (volatile uint32_t *)(arena + (size_t)page * PAGE);
}

static void look(int page) {
	if (model[page] != NONE && *word(page) != (model[page] == ZEROS ? 0 : model[page]))
		fail("other contents", page);
}

static void pick(int *first, int *pages) {
	*first = rnd(PAGES);
	*pages = 1 + rnd(rnd(3) ? LONGEST : 40);
	if (*first + *pages > PAGES)
		*pages = PAGES - *first;
}

static void map(void) {
	int first, pages;
	pick(&first, &pages);
	int flags = MAP_FIXED | MAP_ANONYMOUS | (rnd(3) ? MAP_PRIVATE : MAP_SHARED);
	if (mmap(arena + (size_t)first * PAGE, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
		fail("mmap", first);
	int every = 1 + rnd(40);
	for (int i = first; i < first + pages; i++) {
		model[i] = ZEROS;
		if (flags & MAP_SHARED)
			look(i);
		if (rnd(every) == 0) {
			look(i);
			*word(i) = model[i] = 2 + rnd(1 << 24);
		}
	}
}

static void unmap(void) {
	int first, pages;
	pick(&first, &pages);
	if (munmap(arena + (size_t)first * PAGE, (size_t)pages * PAGE))
		fail("munmap", first);
	for (int i = first; i < first + pages; i++)
		model[i] = NONE;
}

/* Nothing of what was unmapped may still be there; nothing of what wasn't may be gone. */
static void check(void) {
	static unsigned char there[PAGES];
	for (int i = 0; i < PAGES; i++) {
		look(i);
		if (mincore(arena + (size_t)i * PAGE, PAGE, there + i) != (model[i] == NONE ? -1 : 0))
			fail("mincore", i);
	}
}

/* A mapping right behind the arena, whose first pages are in the arena's last table. */
static void *beside(void *at) {
	char *pages = at;
	for (uint32_t round = 1; !stop; round++) {
		for (int i = 0; i < BESIDE; i++)
			*(volatile uint32_t *)(pages + i * PAGE) = round + i;
		for (int i = 0; i < BESIDE; i++)
			if (*(volatile uint32_t *)(pages + i * PAGE) != round + i)
				broken = 1;
		if (madvise(pages, BESIDE * PAGE, MADV_DONTNEED) || *(volatile uint32_t *)pages)
			broken = 1;
	}
	return NULL;
}

static long resident(void) {
	long size = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2)
		fail("statm", 0);
	fclose(file);
	return pages;
}

static void steps(uint32_t with, int many) {
	seed = with;
	for (int step = 0; step < many; step++)
		rnd(5) < 3 ? map() : unmap();
	check();
}

/* A shared page that a child writes to is the parent's too: it only changes the map, not the contents. */
static void in_child(uint32_t with) {
	check();
	steps(with, STEPS / 4);
}

int main(void) {
	arena = mmap(NULL, (size_t)(PAGES + BESIDE) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;
	if (arena == MAP_FAILED || pthread_create(&thread, NULL, beside, arena + (size_t)PAGES * PAGE))
		fail("start", 0);
	for (int i = 0; i < PAGES; i++)
		model[i] = ZEROS;
	check();
	munmap(arena, (size_t)PAGES * PAGE);
	long before = resident();
	for (uint32_t round = 1; round <= 6; round++) {
		for (int i = 0; i < PAGES; i++)
			model[i] = NONE;
		steps(round, STEPS);
		pid_t child = fork();
		if (child == 0) {
			in_child(round + 100);
			_exit(0);
		}
		/* The tables are shared now: some are given up whole, some copied. */
		for (int step = 0; step < STEPS / 4; step++)
			unmap();
		int status;
		waitpid(child, &status, 0);
		check();
		munmap(arena, (size_t)PAGES * PAGE);
		long left = resident() - before;
		printf("round %u: child %d, %s\n", round, status, left < SLACK ? "all memory is back" : "memory is missing");
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("the thread beside: %s\n", broken ? "broken" : "whole");
	return 0;
}
