/* musl only. Mappings that come and go at random, by the hundred and where the kernel wants them: none lies on another, none forgets what it holds, and room is used again. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, MOST = 900, LARGEST = 24 };

struct mapping {
	char *at;
	int pages, prot;
	uint32_t tag;
};

static struct mapping list[MOST];
static int count;
static uint32_t seed;
static uintptr_t low = UINTPTR_MAX, high;

static uint32_t rnd(uint32_t below) {
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void fail(const char *what, const struct mapping *m) {
	printf("%s: mapping of %d pages, rights %d, tag %u: %s\n", what, m->pages, m->prot, m->tag, strerror(errno));
	exit(1);
}

/* A word at each end of every page, written while it may be. */
static void mark(struct mapping *m) {
	mprotect(m->at, (size_t)m->pages * PAGE, PROT_READ | PROT_WRITE);
	for (int i = 0; i < m->pages; i++) {
		uint32_t *page = (void *)(m->at + i * PAGE);
		page[0] = page[1023] = m->tag + i;
	}
	mprotect(m->at, (size_t)m->pages * PAGE, m->prot);
}

static void check(const struct mapping *m) {
	if (m->prot == PROT_NONE)
		return;
	for (int i = 0; i < m->pages; i++) {
		const uint32_t *page = (void *)(m->at + i * PAGE);
		if (page[0] != m->tag + i || page[1023] != m->tag + i)
			fail("other contents", m);
	}
}

static int pick_prot(void) {
	static const int rights[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC };
	return rights[rnd(4)];
}

static void lies_alone(const struct mapping *m) {
	uintptr_t start = (uintptr_t)m->at, end = start + (size_t)m->pages * PAGE;
	for (int i = 0; i < count; i++) {
		uintptr_t other = (uintptr_t)list[i].at;
		if (&list[i] != m && start < other + (size_t)list[i].pages * PAGE && other < end)
			fail("on another one", m);
	}
	low = start < low ? start : low;
	high = end > high ? end : high;
}

static void add(void) {
	struct mapping *m = &list[count];
	m->pages = rnd(8) ? 1 + rnd(4) : 1 + rnd(LARGEST);
	m->prot = pick_prot();
	m->tag = rnd(1 << 24) << 6;
	m->at = mmap(NULL, (size_t)m->pages * PAGE, m->prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->at == MAP_FAILED)
		fail("mmap", m);
	lies_alone(m);
	count++;
	mark(m);
}

static void drop(int i) {
	check(&list[i]);
	if (munmap(list[i].at, (size_t)list[i].pages * PAGE))
		fail("munmap", &list[i]);
	list[i] = list[--count];
}

/* A part of one goes: from its start, from its end, or from the middle, which makes two. */
static void cut(int i) {
	struct mapping *m = &list[i];
	if (m->pages < 3 || count == MOST)
		return;
	int from = rnd(m->pages), pages = 1 + rnd(m->pages - from);
	if (munmap(m->at + from * PAGE, (size_t)pages * PAGE))
		fail("munmap of a part", m);
	struct mapping tail = { m->at + (from + pages) * PAGE, m->pages - from - pages, m->prot, m->tag + from + pages };
	m->pages = from;
	if (from == 0)
		*m = tail.pages ? tail : list[--count];
	else if (tail.pages)
		list[count++] = tail;
}

static void move(int i) {
	struct mapping *m = &list[i];
	int pages = 1 + rnd(LARGEST);
	char *to = mremap(m->at, (size_t)m->pages * PAGE, (size_t)pages * PAGE, MREMAP_MAYMOVE);
	if (to == MAP_FAILED)
		fail("mremap", m);
	m->at = to;
	int kept = m->pages < pages ? m->pages : pages;
	m->pages = kept;
	check(m);
	m->pages = pages;
	lies_alone(m);
	mark(m);
}

static void run(uint32_t with, int steps, int wanted) {
	seed = with;
	for (int step = 0; step < steps; step++) {
		int full = count * 100 / wanted;
		uint32_t what = rnd(100);
		if (count < wanted && (count < 2 || what < (full < 95 ? 60u : 35u)))
			add();
		else if (what < 70)
			drop(rnd(count));
		else if (what < 85)
			cut(rnd(count));
		else if (what < 93)
			move(rnd(count));
		else {
			int i = rnd(count);
			list[i].prot = pick_prot();
			if (mprotect(list[i].at, (size_t)list[i].pages * PAGE, list[i].prot))
				fail("mprotect", &list[i]);
			check(&list[i]);
		}
	}
	for (int i = 0; i < count; i++)
		check(&list[i]);
}

int main(void) {
	for (uint32_t round = 1; round <= 4; round++) {
		run(round, 6000, round % 2 ? MOST : 90);
		/* Room is used again: what lies between the first and the last isn't much more than what there ever was. */
		printf("round %u: %d mappings in %s\n", round, count, high - low < (size_t)MOST * LARGEST * PAGE ? "little room" : "too much room");
		fflush(stdout);
		pid_t child = fork();
		if (child == 0) {
			run(round + 100, 500, MOST);
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
		for (int i = 0; i < count; i++)
			check(&list[i]);
		printf("child %d\n", status);
		while (round % 2 == 0 && count)
			drop(rnd(count));
	}
	return 0;
}
