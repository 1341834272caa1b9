/* musl only. What lies on a mount that says MS_NOEXEC is neither executed nor mapped so. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const char *error(int result) {
	return result ? strerror(errno) : "done";
}

static void map(const char *what, int fd, int prot, int flags) {
	char *at = mmap(NULL, PAGE, prot, flags, fd, 0);
	printf("%s: %s\n", what, error(at == MAP_FAILED));
	if (at == MAP_FAILED)
		return;
	printf("  readable: %s\n", error(mprotect(at, PAGE, PROT_READ)));
	printf("  executable: %s\n", error(mprotect(at, PAGE, PROT_READ | PROT_EXEC)));
	/* A range with other memory behind it, which may be. */
	char *two = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mmap(two, PAGE, PROT_READ, MAP_FIXED | (flags & ~MAP_ANONYMOUS), fd, 0) == two)
		printf("  with what follows: %s\n", error(mprotect(two, 2 * PAGE, PROT_READ | PROT_EXEC)));
	munmap(two, 2 * PAGE);
	munmap(at, PAGE);
}

int main(void) {
	mkdir("barred", 0755);
	if (mount("none", "barred", "tmpfs", MS_NOEXEC, ""))
		return 1;
	int fd = open("barred/file", O_RDWR | O_CREAT, 0755);
	int to_read = open("barred/file", O_RDONLY);
	write(fd, "#!/bin/true\n", 12);
	execl("barred/file", "barred/file", NULL);
	printf("exec: %s\n", strerror(errno));
	printf("access: %s\n", error(access("barred/file", X_OK)));
	/* The file stays where it was. */
	umount2("barred", MNT_DETACH);
	rmdir("barred");
	ftruncate(fd, PAGE);
	map("private, executable", fd, PROT_READ | PROT_EXEC, MAP_PRIVATE);
	map("shared, executable", fd, PROT_READ | PROT_EXEC, MAP_SHARED);
	map("shared, to read, all of it", to_read, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED);
	map("private", fd, PROT_READ, MAP_PRIVATE);
	map("shared", fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	int elsewhere = open("file", O_RDWR | O_CREAT, 0644);
	ftruncate(elsewhere, PAGE);
	map("elsewhere", elsewhere, PROT_READ, MAP_SHARED);
	unlink("file");
	return 0;
}
