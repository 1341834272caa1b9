/* Holes punched into files that are mapped: what shared and private mappings see, what mincore says, and what is left of copies. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 16 };

static const char *error(int result) { return result < 0 ? strerror(errno) : "done"; }

/* A letter for each page: its first byte, and a mark where the page isn't all of one. */
static void show(const char *what, const char *at) {
	printf("%-28s ", what);
	for (int i = 0; i < PAGES; i++) {
		const char *page = at + i * PAGE;
		int same = 1;
		for (int k = 1; k < PAGE; k++)
			same &= page[k] == page[0];
		printf("%c%s", page[0] ? page[0] : '0', same ? "" : "'");
	}
	printf("\n");
}

static void core(const char *what, char *at) {
	unsigned char in[PAGES];
	printf("%-28s ", what);
	if (mincore(at, PAGES * PAGE, in)) {
		printf("%s\n", strerror(errno));
		return;
	}
	for (int i = 0; i < PAGES; i++)
		printf("%d", in[i] & 1);
	printf("\n");
}

static void file(int fd, const char *what) {
	static char all[PAGES * PAGE];
	struct stat now;
	memset(all, '?', sizeof all);
	ssize_t len = pread(fd, all, sizeof all, 0);
	fstat(fd, &now);
	show(what, all);
	printf("%zd bytes read, size %lld, blocks %lld, data at", len, (long long)now.st_size, (long long)now.st_blocks);
	off_t at = 0;
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(fd, at, SEEK_HOLE);
		printf(" %lld-%lld", (long long)at, (long long)end);
		at = end;
	}
	printf("\n");
}

static void fill(int fd) {
	char page[PAGE];
	for (int i = 0; i < PAGES; i++) {
		memset(page, 'a' + i, PAGE);
		if (pwrite(fd, page, PAGE, i * PAGE) != PAGE)
			exit(1);
	}
}

static void punch(int fd) {
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	size_t len = PAGES * PAGE;
	fill(fd);
	char *shared = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *read_only = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	show("read only, before", read_only);
	/* Copies of some pages, one of them in the hole. */
	private[3 * PAGE + 7] = 'X';
	private[9 * PAGE + 7] = 'Y';
	private[5 * PAGE] += 0;
	printf("punch: %s\n", error(fallocate(fd, hole, 2 * PAGE, 5 * PAGE)));
	file(fd, "file");
	show("shared", shared);
	show("private", private);
	show("read only", read_only);
	/* Bytes within pages. */
	printf("punch within: %s\n", error(fallocate(fd, hole, 8 * PAGE + 100, 2 * PAGE + 50)));
	file(fd, "file");
	show("shared", shared);
	show("private", private);
	/* Written again, by the mapping and by the file. */
	memset(shared + 4 * PAGE, 'S', PAGE);
	memset(private + 5 * PAGE, 'P', PAGE);
	if (pwrite(fd, "W", 1, 2 * PAGE) != 1)
		exit(1);
	file(fd, "file, written");
	show("private, written", private);
	show("read only, written", read_only);
	/* With a child on the same pages. */
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		printf("child punches: %s\n", error(fallocate(fd, hole, 0, len)));
		show("child's private", private);
		private[0] = 'C';
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	show("shared, after the child", shared);
	show("private, after the child", private);
	/* The same by madvise. */
	fill(fd);
	printf("remove: %s\n", error(madvise(shared + PAGE, 3 * PAGE, MADV_REMOVE)));
	printf("remove, private: %s\n", error(madvise(private, PAGE, MADV_REMOVE)));
	printf("remove, only to read: %s\n", error(madvise(read_only, PAGE, MADV_REMOVE)));
	file(fd, "file, removed");
	/* Dropped copies show the file again, as it is now. */
	printf("dontneed: %s\n", error(madvise(private, len, MADV_DONTNEED)));
	show("private, dropped", private);
	/* Zeros written instead of a hole, and what isn't a way to call it. */
	printf("zero: %s\n", error(fallocate(fd, FALLOC_FL_ZERO_RANGE, 6 * PAGE, PAGE)));
	printf("punch without the size: %s\n", error(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE)));
	printf("punch of nothing: %s\n", error(fallocate(fd, hole, 0, 0)));
	printf("punch before the start: %s\n", error(fallocate(fd, hole, -1, PAGE)));
	printf("punch beyond the end: %s\n", error(fallocate(fd, hole, 100 * PAGE, PAGE)));
	printf("punch over the end: %s\n", error(fallocate(fd, hole, 14 * PAGE, 100 * PAGE)));
	printf("collapse: %s\n", error(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE)));
	file(fd, "file, at the end");
	/* Shorter: copies beyond the end go as well. */
	private[13 * PAGE] = 'Z';
	printf("shorter: %s\n", error(ftruncate(fd, 12 * PAGE + 5)));
	printf("longer: %s\n", error(ftruncate(fd, len)));
	show("private, after that", private);
	file(fd, "file, after that");
	munmap(shared, len);
	munmap(private, len);
	munmap(read_only, len);
}

int main(void) {
	int fd = memfd_create("holes", 0);
	punch(fd);
	close(fd);
	fd = open("holes", O_RDWR | O_CREAT | O_TRUNC, 0644);
	punch(fd);
	close(fd);

	/* mincore: of anonymous memory what was touched, of files what is in memory. */
	char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	core("anonymous", at);
	at[2 * PAGE] = 1;
	at[3 * PAGE] = 1;
	core("touched", at);
	madvise(at + 2 * PAGE, PAGE, MADV_DONTNEED);
	core("dropped", at);
	mprotect(at + 3 * PAGE, PAGE, PROT_NONE);
	core("no access", at);
	fflush(stdout);
	if (fork() == 0) {
		core("child", at);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	munmap(at + 8 * PAGE, PAGE);
	core("with a gap", at);
	unsigned char one;
	printf("%s, ", error(mincore(at + 1, PAGE, &one)));
	printf("%s, ", error(mincore(at, 0, NULL)));
	printf("%s, ", error(mincore(at, PAGE, NULL)));
	printf("%s, ", error(mincore(at + 8 * PAGE, PAGE, &one)));
	printf("%s, ", error(syscall(SYS_mincore, at, -1ul, &one)));
	printf("%s\n", error(mincore(at, 1, &one)));
	fd = memfd_create("core", 0);
	if (ftruncate(fd, PAGES * PAGE) || pwrite(fd, "x", 1, 4 * PAGE) != 1)
		return 1;
	char *mapped = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	core("a file with holes", mapped);
	mapped[6 * PAGE] = 1;
	core("written", mapped);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE);
	core("punched", mapped);
	return 0;
}
