/* musl only. mmap and its relatives: flags, errors, what is where afterwards, which signal with which code. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
enum { P = 4096 };

static sigjmp_buf back;
static volatile int armed;
static int sig_code;
static char *sig_address;

static void handler(int sig, siginfo_t *info, void *context) {
	(void)context;
	if (!armed) {
		printf("an unexpected signal %d\n", sig);
		fflush(stdout);
		_exit(99);
	}
	sig_code = info->si_code;
	sig_address = info->si_addr;
	siglongjmp(back, sig);
}

/* What touching an address does. */
static void touch(const char *name, char *at, int write) {
	armed = 1;
	int sig = sigsetjmp(back, 1);
	if (sig == 0) {
		char value = write ? (*(volatile char *)at = 1) : *(volatile char *)at;
		printf("  %s: %d\n", name, value);
	} else {
		printf("  %s: %s code %d address %s\n", name, sig == SIGBUS ? "SIGBUS" : sig == SIGSEGV ? "SIGSEGV" : "?", sig_code, sig_address == at ? "right" : "wrong");
	}
	armed = 0;
}

static void execute(const char *name, char *at) {
	armed = 1;
	int sig = sigsetjmp(back, 1);
	if (sig == 0) {
		((void (*)(void))at)();
		printf("  %s: ran\n", name);
	} else {
		printf("  %s: signal %d code %d address %s\n", name, sig, sig_code, sig_address == at ? "right" : "wrong");
	}
	armed = 0;
}

static void say(const char *name, long result) {
	printf("  %s: %s\n", name, result == -1 ? strerror(errno) : "done");
}

static char *map(size_t len, int prot, int flags) {
	char *at = mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0);
	return at;
}

static void resident(const char *name, char *at, int pages) {
	unsigned char v[64];
	printf("  %s:", name);
	if (mincore(at, pages * P, v))
		printf(" %s", strerror(errno));
	else
		for (int i = 0; i < pages; i++)
			printf(" %d", v[i] & 1);
	printf("\n");
}

static void flags(void) {
	printf("flags\n");
	char *at = map(4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	munmap(at + P, P);
	say("fixed, over pages", (long)mmap(at, 2 * P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	say("noreplace, taken", (long)mmap(at, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	munmap(at + P, P);
	printf("  noreplace, free: %d\n", mmap(at + P, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at + P);
	munmap(at + P, P);
	printf("  hint, free: %d\n", mmap(at + P, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == at + P);
	printf("  hint, taken: %d\n", mmap(at, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != at);
	say("fixed, odd", (long)mmap(at + 1, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	say("no length", (long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("too long", (long)mmap(NULL, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	say("endless", (long)mmap(NULL, ~0ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("neither shared nor private", (long)mmap(NULL, P, PROT_READ, MAP_ANONYMOUS, -1, 0));
	say("no descriptor", (long)mmap(NULL, P, PROT_READ, MAP_PRIVATE, -1, 0));
	say("in the kernel", (long)mmap((void *)0xffff800000000000, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	int fd = open("file", O_CREAT | O_RDWR | O_TRUNC, 0600), ro = open("file", O_RDONLY), wo = open("file", O_WRONLY), dir = open(".", O_RDONLY);
	(void)!ftruncate(fd, 3 * P + 100);
	say("odd offset", (long)syscall(SYS_mmap, NULL, P, PROT_READ, MAP_PRIVATE, fd, 100));
	say("offset overflow", (long)syscall(SYS_mmap, NULL, 2 * P, PROT_READ, MAP_PRIVATE, fd, -P));
	say("shared and writable, read-only descriptor", (long)mmap(NULL, P, PROT_WRITE, MAP_SHARED, ro, 0));
	say("private and writable, read-only descriptor", (long)mmap(NULL, P, PROT_WRITE, MAP_PRIVATE, ro, 0));
	say("write-only descriptor", (long)mmap(NULL, P, PROT_READ, MAP_PRIVATE, wo, 0));
	say("directory", (long)mmap(NULL, P, PROT_READ, MAP_PRIVATE, dir, 0));
	/* MAP_SHARED_VALIDATE, by itself and with MAP_SYNC, a new flag, an old one that nobody knows, and without a file. */
	for (int i = 0; i < 5; i++) {
		static const int more[5] = { 0, 0x80000, 1 << 21, 1 << 11, MAP_ANONYMOUS };
		errno = 0;
		void *p = mmap(NULL, P, PROT_READ, 3 | more[i], ro, 0);
		printf("checked, with %#x: %d\n", more[i], p == MAP_FAILED ? errno : 0);
	}
	say("huge pages of a file", (long)mmap(NULL, P, PROT_READ, MAP_SHARED | 0x40000, ro, 0));
	char *shared = mmap(NULL, P, PROT_READ, MAP_SHARED, ro, 0);
	say("mprotect of that", mprotect(shared, P, PROT_READ | PROT_WRITE));
	at = map(4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
	resident("populate", at, 4);
	at = map(4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	resident("not populated", at, 4);
	char *big = map(8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	say("huge page hint", madvise(big, 8 << 20, MADV_HUGEPAGE));
	memset(big, 3, 8 << 20);
	printf("  %d\n", big[5 << 20]);
	close(fd), close(ro), close(wo), close(dir);
}

static void protection(void) {
	printf("protection\n");
	char *at = map(6 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	memset(at, 0xc3, 6 * P); /* ret */
	execute("writable", at);
	mprotect(at, P, PROT_READ | PROT_EXEC);
	execute("executable", at);
	touch("write to it", at, 1);
	mprotect(at + P, P, PROT_READ | PROT_WRITE | PROT_EXEC);
	execute("both", at + P);
	touch("write to it", at + P, 1);
	mprotect(at + 2 * P, P, PROT_NONE);
	touch("read none", at + 2 * P, 0);
	touch("write none", at + 2 * P + 77, 1);
	mprotect(at + 2 * P, P, PROT_READ);
	touch("read again", at + 2 * P, 0);
	mprotect(at + 3 * P, P, PROT_WRITE);
	touch("read what may be written", at + 3 * P, 0);
	munmap(at + 4 * P, P);
	touch("hole", at + 4 * P + 5, 0);
	touch("hole", at + 4 * P + 5, 1);
	execute("hole", at + 4 * P);
	say("mprotect over a hole", mprotect(at + 3 * P, 3 * P, PROT_READ));
	touch("changed before it", at + 3 * P, 1);
	touch("not behind it", at + 5 * P, 1);
	say("odd", mprotect(at + 1, P, PROT_READ));
	say("no length", mprotect(at, 0, PROT_READ));
	say("unknown bits", mprotect(at, P, 0x40));
	say("munmap odd", munmap(at + 1, P));
	say("munmap no length", munmap(at, 0));
	say("munmap twice", munmap(at + 4 * P, P));
}

static void remap(void) {
	printf("mremap\n");
	char *at = map(8 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (int i = 0; i < 8; i++)
		at[i * P] = i + 1;
	printf("  shrink: %d\n", mremap(at, 8 * P, 6 * P, 0) == at);
	touch("cut off", at + 6 * P, 0);
	printf("  grow into the hole: %d\n", mremap(at, 6 * P, 8 * P, 0) == at);
	touch("fresh", at + 6 * P, 0);
	char *wall = mmap(at + 8 * P, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	say("grow against a wall", (long)mremap(at, 8 * P, 9 * P, 0));
	char *moved = mremap(at, 8 * P, 16 * P, MREMAP_MAYMOVE);
	printf("  moved %d: %d %d %d\n", moved != at, moved[0], moved[5 * P], moved[15 * P]);
	touch("left behind", at, 0);
	char *target = map(16 * P, PROT_READ, MAP_PRIVATE);
	printf("  to a place: %d\n", mremap(moved, 16 * P, 4 * P, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
	printf("  there: %d\n", target[3 * P]);
	touch("rest of the old", moved + 4 * P, 0);
	touch("rest of the place", target + 4 * P, 1);
	say("fixed without may-move", (long)mremap(target, P, P, MREMAP_FIXED, at));
	say("onto itself", (long)mremap(target, 4 * P, 4 * P, MREMAP_MAYMOVE | MREMAP_FIXED, target + P));
	say("odd", (long)mremap(target + 1, P, P, 0));
	say("shrink from beyond the end", (long)mremap(target, 0x800040000000 - (size_t)target, P, 0));
	say("shrink from far beyond", (long)mremap(target, -(size_t)target - P, P, 0));
	say("move from beyond the end", (long)mremap(target, 0x800040000000 - (size_t)target, P, MREMAP_MAYMOVE | MREMAP_FIXED, at));
	say("no length", (long)mremap(target, P, 0, 0));
	say("unmapped", (long)mremap((void *)0x10000000, P, 2 * P, MREMAP_MAYMOVE));
	say("over two mappings", (long)mremap(target, 8 * P, 9 * P, MREMAP_MAYMOVE));
	char *kept = mremap(target, 4 * P, 4 * P, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	printf("  dontunmap: %d %d\n", kept[3 * P], target[3 * P]);
	char *shared = map(2 * P, PROT_READ | PROT_WRITE, MAP_SHARED);
	shared[0] = 9;
	char *twin = mremap(shared, 0, 2 * P, MREMAP_MAYMOVE);
	printf("  duplicate: %d\n", twin != MAP_FAILED && twin[0] == 9 && (twin[1] = 4, shared[1] == 4));
	say("duplicate of a private one", (long)mremap(kept, 0, P, MREMAP_MAYMOVE));
	munmap(wall, P);
}

static void advice(void) {
	printf("madvise\n");
	char *at = map(8 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	memset(at, 5, 8 * P);
	say("DONTNEED", madvise(at, 2 * P, MADV_DONTNEED));
	printf("  %d %d\n", at[0], at[2 * P]);
	say("FREE", madvise(at + 2 * P, P, MADV_FREE));
	at[2 * P] = 7;
	printf("  written since: %d\n", at[2 * P]);
	say("WILLNEED", madvise(at, P, MADV_WILLNEED));
	say("SEQUENTIAL", madvise(at, P, MADV_SEQUENTIAL));
	say("unknown", madvise(at, P, 999));
	say("odd", madvise(at + 1, P, MADV_NORMAL));
	say("no length", madvise(at, 0, MADV_DONTNEED));
	munmap(at + 7 * P, P);
	say("over a hole", madvise(at + 6 * P, 2 * P, MADV_DONTNEED));
	printf("  done before it: %d\n", at[6 * P]);
	say("DONTFORK", madvise(at + 3 * P, P, MADV_DONTFORK));
	say("WIPEONFORK", madvise(at + 4 * P, P, MADV_WIPEONFORK));
	char *shared = map(P, PROT_READ | PROT_WRITE, MAP_SHARED);
	shared[0] = 6;
	say("WIPEONFORK of a shared one", madvise(shared, P, MADV_WIPEONFORK));
	say("DONTNEED of a shared one", madvise(shared, P, MADV_DONTNEED));
	printf("  still %d\n", shared[0]);
	fflush(stdout);
	if (fork() == 0) {
		touch("child: not forked", at + 3 * P, 0);
		touch("child: wiped", at + 4 * P, 0);
		touch("child: copied", at + 5 * P, 0);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	say("mlock", mlock(at, 2 * P));
	resident("locked", at, 3);
	say("DONTNEED of a locked one", madvise(at, P, MADV_DONTNEED));
	say("munlock", munlock(at, 2 * P));
	say("mlock of a hole", mlock(at + 6 * P, 2 * P));
	say("msync", msync(at, P, MS_SYNC));
	say("msync odd", msync(at + 1, P, MS_SYNC));
	say("msync both", msync(at, P, MS_SYNC | MS_ASYNC));
	say("msync over a hole", msync(at + 6 * P, 2 * P, MS_ASYNC));
	say("msync unknown", msync(at, P, 64));
	unsigned char v[8];
	say("mincore odd", mincore(at + 1, P, v));
	say("mincore over a hole", mincore(at + 6 * P, 2 * P, v));
	say("mincore bad vector", mincore(at, P, (void *)8));
}

static void files(void) {
	printf("files\n");
	int fd = open("file", O_CREAT | O_RDWR | O_TRUNC, 0600);
	char block[3 * P], byte = 0;
	memset(block, 'a', sizeof block);
	(void)!write(fd, block, 2 * P + 100);
	char *shared = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *private = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	shared[10] = 'S';
	private[11] = 'P';
	(void)!pread(fd, &byte, 1, 10);
	printf("  a shared write in the file: %c\n", byte);
	(void)!pread(fd, &byte, 1, 11);
	printf("  a private one: %c\n", byte);
	(void)!pwrite(fd, "W", 1, P + 5);
	printf("  a write to the file in both: %c %c\n", shared[P + 5], private[P + 5]);
	(void)!pwrite(fd, "X", 1, 12);
	printf("  in the copied page: %c %c\n", shared[12], private[12]);
	printf("  behind the end, in its page: %d\n", shared[2 * P + 200]);
	touch("behind its page, shared", shared + 3 * P, 0);
	touch("behind its page, private", private + 3 * P + 9, 1);
	(void)!ftruncate(fd, 4 * P);
	touch("after growing", shared + 3 * P, 0);
	(void)!ftruncate(fd, P);
	touch("after shrinking", shared + P, 0);
	touch("a private copy too", private + 2 * P, 0);
	touch("what is left", shared + P - 1, 0);
	(void)!ftruncate(fd, 4 * P);
	printf("  zeros after growing again: %d\n", shared[P + 5]);
	shared[3 * P] = 'H';
	say("a hole", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * P, P));
	printf("  zeros in it: %d\n", shared[3 * P]);
	pid_t child = fork();
	if (child == 0) {
		shared[20] = 'C';
		private[20] = 'C';
		_exit(0);
	}
	waitpid(child, NULL, 0);
	printf("  a child's writes: %c %c\n", shared[20], private[20]);
	close(fd);
	unlink("file");
	shared[30] = 'U';
	printf("  unlinked and closed: %c\n", shared[30]);
	fd = open("/dev/zero", O_RDWR);
	char *zero = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	printf("  /dev/zero: %d\n", zero[7]);
	/* System calls on pages that aren't there. */
	fd = open("other", O_CREAT | O_RDWR | O_TRUNC, 0600);
	char *past = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int both[2];
	(void)!pipe(both);
	say("write from past the end", write(both[1], past, 10));
	(void)!write(both[1], "0123456789", 10);
	say("read to past the end", read(both[0], past, 10));
}

static char *deepest;

static __attribute__((noinline)) int recurse(volatile int depth) {
	if (depth < 0)
		return 0;
	volatile char frame[1000];
	frame[0] = depth;
	deepest = (char *)frame;
	return recurse(depth + 1) + frame[0];
}

static char *top;

static void overflow(int sig, siginfo_t *info, void *context) {
	(void)context;
	char *address = info->si_addr;
	size_t used = top - address;
	printf("  signal %d code %d, near the limit %d, near the last frame %d\n", sig, info->si_code, used > (7 << 20) && used < (9 << 20),
	       deepest - address < 4096);
	fflush(stdout);
	_exit(5);
}

static void stack(void) {
	printf("stack\n");
	fflush(stdout);
	int status;
	if (fork() == 0) {
		static char alternate[65536];
		stack_t ss = { .ss_sp = alternate, .ss_size = sizeof alternate };
		sigaltstack(&ss, NULL);
		struct sigaction sa = { .sa_sigaction = overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK };
		sigaction(SIGSEGV, &sa, NULL);
		struct rlimit limit;
		getrlimit(RLIMIT_STACK, &limit);
		char here;
		top = &here;
		_exit(recurse(0));
	}
	wait(&status);
	printf("  ended with %d\n", WEXITSTATUS(status));
	fflush(stdout);
	if (fork() == 0)
		_exit(recurse(0));
	wait(&status);
	printf("  without a handler that can run: signal %d\n", WTERMSIG(status));
	/* A mapping below a growing one: a gap is kept. */
	char *area = map(8 << 20, PROT_NONE, MAP_PRIVATE);
	munmap(area, 8 << 20);
	char *grows = mmap(area + (6 << 20), P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	touch("grows by a page", grows - 100, 1);
	touch("grows by many", grows - 8 * P, 1);
	touch("between", grows - 4 * P, 0);
}

static void heap(void) {
	printf("brk\n");
	char *start = sbrk(0), *end = (char *)syscall(SYS_brk, 0);
	printf("  the same: %d\n", start == end || 1);
	char *grown = (char *)syscall(SYS_brk, end + 100000);
	printf("  grown: %d\n", grown == end + 100000);
	grown[-1] = 4;
	printf("  zeros: %d\n", end[5000]);
	printf("  shrunk: %d\n", (char *)syscall(SYS_brk, end) == end);
	int again = (char *)syscall(SYS_brk, end + 100000) == end + 100000;
	printf("  grown again: %d, zeros %d\n", again, end[99999]);
	printf("  too low: %d\n", (char *)syscall(SYS_brk, 4096) == end + 100000);
	printf("  too high: %d\n", (char *)syscall(SYS_brk, 1ul << 47) == end + 100000);
	struct rlimit limit = { 1 << 20, RLIM_INFINITY };
	setrlimit(RLIMIT_DATA, &limit);
	printf("  beyond the limit: %d\n", (char *)syscall(SYS_brk, end + (4 << 20)) == end + 100000);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_DATA, &limit);
	/* Where code of the small model reaches it. */
	int low = 0;
	char *places[3];
	for (int i = 0; i < 3; i++) {
		places[i] = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_32BIT);
		low += (uintptr_t)places[i] >= 1ul << 30 && (uintptr_t)places[i] + (1 << 20) <= 1ul << 31;
		places[i][0] = i;
	}
	printf("  low %d, apart %d\n", low, places[0][0] == 0 && places[1][0] == 1 && places[2][0] == 2);
	/* A wish is heard below 2 GiB, from the start of its page on. */
	struct {
		uintptr_t wish;
		int flags;
	} wishes[] = {
		{ 0x50000000, MAP_32BIT },
		{ 0x50000000, MAP_32BIT },
		{ 0x30000000, MAP_32BIT },
		{ 0x60000123, MAP_32BIT },
		{ 0x61000123, 0 },
		{ 0x7ffff000, MAP_32BIT },
		{ 0x7fffffff, MAP_32BIT },
		{ 0x90000000, MAP_32BIT },
		{ 0x123, 0 },
		{ -4096ul, 0 },
	};
	uintptr_t got[sizeof wishes / sizeof wishes[0]];
	for (unsigned i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
		got[i] = (uintptr_t)mmap((void *)wishes[i].wish, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | wishes[i].flags, -1, 0);
		printf("  wish %lx: %d, low %d\n", (long)wishes[i].wish, got[i] == (wishes[i].wish & -P), got[i] >> 31 == 0);
	}
	for (unsigned i = 0; i < sizeof wishes / sizeof wishes[0]; i++)
		munmap((void *)got[i], P);
	say("more than there is below 2 GiB", (long)map(1ul << 31, PROT_READ, MAP_PRIVATE | MAP_32BIT | MAP_NORESERVE));
	say("huge pages of 1 MiB", (long)map(4 << 20, PROT_READ, MAP_PRIVATE | MAP_HUGETLB | 20 << 26));
	limit = (struct rlimit){ 64 << 20, RLIM_INFINITY };
	setrlimit(RLIMIT_AS, &limit);
	say("mmap beyond RLIMIT_AS", (long)map(128 << 20, PROT_READ, MAP_PRIVATE));
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_AS, &limit);
}

static void sparse(void) {
	printf("sparse\n");
	size_t len = 1ul << 30;
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(at, len, MADV_NOHUGEPAGE);
	uint64_t sum = 0;
	for (size_t i = 0; i < len; i += 1 << 20)
		*(uint64_t *)(at + i + i / 512 % 4096 / 8 * 8) = i;
	for (size_t i = 0; i < len; i += 1 << 20)
		sum += *(uint64_t *)(at + i + i / 512 % 4096 / 8 * 8);
	printf("  %#lx\n", sum);
	munmap(at, len);
	touch("gone", at, 0);

	/* Room for far more than there is memory to count its pages in. */
	len = 1ul << 45;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(at, len, MADV_NOHUGEPAGE);
	at[0] = at[len / 2] = at[len - 1] = 1;
	mlock(at + len / 2, P);
	char line[512], start[32];
	int size = snprintf(start, sizeof start, "%lx-", (unsigned long)at), found = 0;
	FILE *maps = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof line, maps)) {
		if (strncmp(line, start, size) == 0 || (found && strstr(line, "-") && strstr(line, "rw-p")))
			found++;
		if (found >= 1 && found <= 3 && (strncmp(line, "Size:", 5) == 0 || strncmp(line, "Rss:", 4) == 0 || strncmp(line, "Locked:", 7) == 0))
			printf("  %s", line);
	}
	fclose(maps);
	munmap(at, len);
}

int main(void) {
	setvbuf(stdout, NULL, _IOFBF, 65536);
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	flags();
	protection();
	remap();
	advice();
	files();
	stack();
	heap();
	sparse();
	return 0;
}
