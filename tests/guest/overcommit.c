/* musl only. What Linux promises by default (vm.overcommit_memory 0): anything that could be there at all. One mapping larger than all memory is refused, where it counts. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t all;

static void *map(size_t len, int prot, int flags) {
	return mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0);
}

static void try(const char *what, void *at, size_t len) {
	printf("%s: %s\n", what, at == MAP_FAILED ? strerror(errno) : "mapped");
	if (at != MAP_FAILED)
		munmap(at, len);
}

int main(void) {
	struct sysinfo info;
	sysinfo(&info);
	all = ((size_t)info.totalram + info.totalswap) * info.mem_unit & -(size_t)4096;
	size_t half = all / 2 & -(size_t)4096, twice = all * 2, just = all + 4096;
	int rw = PROT_READ | PROT_WRITE;
	char text[8] = "";
	int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY);
	if (read(fd, text, sizeof text - 1) > 0)
		printf("mode %s", text);
	close(fd);

	try("half", map(half, rw, MAP_PRIVATE), half);
	try("all", map(all, rw, MAP_PRIVATE), all);
	try("a page more", map(just, rw, MAP_PRIVATE), just);
	try("twice", map(twice, rw, MAP_PRIVATE), twice);
	try("twice, only to read", map(twice, PROT_READ, MAP_PRIVATE), twice);
	try("twice, no access", map(twice, PROT_NONE, MAP_PRIVATE), twice);
	try("twice, not reserved", map(twice, rw, MAP_PRIVATE | MAP_NORESERVE), twice);
	try("twice, shared", map(twice, rw, MAP_SHARED), twice);
	try("twice, shared, only to read", map(twice, PROT_READ, MAP_SHARED), twice);
	try("twice, shared, not reserved", map(twice, rw, MAP_SHARED | MAP_NORESERVE), twice);
	try("a petabyte", map(1ull << 50, rw, MAP_PRIVATE | MAP_NORESERVE), 1ull << 50);
	/* Several that are each possible. */
	char *several[8];
	int got = 0;
	for (int i = 0; i < 8; i++)
		got += (several[i] = map(half, rw, MAP_PRIVATE)) != MAP_FAILED;
	printf("%d halves\n", got);
	for (int i = 0; i < 8; i++)
		if (several[i] != MAP_FAILED)
			munmap(several[i], half);

	/* Rights that come later. */
	char *at = map(twice, PROT_READ, MAP_PRIVATE);
	printf("mprotect of twice: %s\n", mprotect(at, twice, rw) ? strerror(errno) : "done");
	printf("mprotect of half: %s\n", mprotect(at, half, rw) ? strerror(errno) : "done");
	printf("and of the rest: %s\n", mprotect(at + half, twice - half, rw) ? strerror(errno) : "done");
	printf("to execute: %s\n", mprotect(at + half, twice - half, PROT_READ | PROT_EXEC) ? strerror(errno) : "done");
	munmap(at, twice);
	at = map(twice, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
	printf("mprotect, not reserved: %s\n", mprotect(at, twice, rw) ? strerror(errno) : "done");
	munmap(at, twice);

	/* Growing. */
	at = map(half, rw, MAP_PRIVATE);
	char *moved = mremap(at, half, twice, MREMAP_MAYMOVE);
	try("mremap by more than all", moved, twice);
	if (moved != MAP_FAILED)
		at = map(half, rw, MAP_PRIVATE);
	moved = mremap(at, half, all, MREMAP_MAYMOVE);
	try("mremap by half", moved, all);
	if (moved == MAP_FAILED)
		munmap(at, half);
	uintptr_t end = syscall(SYS_brk, 0);
	printf("brk: %d\n", (uintptr_t)syscall(SYS_brk, end + twice) == end);
	printf("a smaller brk: %d\n", (uintptr_t)syscall(SYS_brk, end + half) == end + half);
	printf("and back: %d\n", (uintptr_t)syscall(SYS_brk, end) == end);

	/* Files count by what is private in them. */
	fd = memfd_create("large", 0);
	printf("a large file: %s\n", ftruncate(fd, twice) ? strerror(errno) : "done");
	try("its mapping, shared", mmap(NULL, twice, rw, MAP_SHARED, fd, 0), twice);
	try("its mapping, private", mmap(NULL, twice, rw, MAP_PRIVATE, fd, 0), twice);
	try("its mapping, private, only to read", mmap(NULL, twice, PROT_READ, MAP_PRIVATE, fd, 0), twice);
	try("its mapping, private, not reserved", mmap(NULL, twice, rw, MAP_PRIVATE | MAP_NORESERVE, fd, 0), twice);

	/* fork with a mapping that is more than all, and threads beside it. */
	at = map(twice, rw, MAP_PRIVATE | MAP_NORESERVE);
	at[5] = 1;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(at[5] + 6);
	int status = -1;
	waitpid(child, &status, 0);
	printf("child: %d\n", status >> 8);
	munmap(at, twice);
	return 0;
}
