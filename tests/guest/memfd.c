/* memfd_create(2) and its seals: what each forbids, and what may still be done. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#define NOEXEC_SEAL 8
#define EXEC 16
#define PAGE 4096

/* Arguments of printf are evaluated in any order: one call at a time. */
#define SAY(what, x) printf("  %s %d\n", what, E(x))
#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})

static int make(unsigned flags) {
	int fd = syscall(SYS_memfd_create, "x", flags);
	if (ftruncate(fd, 2 * PAGE))
		perror("ftruncate");
	return fd;
}

static int map(int fd, int prot, int flags) {
	void *p = mmap(NULL, PAGE, prot, flags, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	munmap(p, PAGE);
	return 0;
}

/* Whether a mapping made with `prot` may become writable. */
static int upgrade(int fd, int flags) {
	void *p = mmap(NULL, PAGE, PROT_READ, flags, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	int r = E(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	munmap(p, PAGE);
	return r;
}

static void probe(const char *name, unsigned seals) {
	int fd = make(MFD_ALLOW_SEALING);
	printf("%s: add %d", name, E(fcntl(fd, F_ADD_SEALS, seals)));
	printf(", get %#x\n", fcntl(fd, F_GET_SEALS));
	SAY("write inside", pwrite(fd, "abcd", 4, 0));
	SAY("write over the end", pwrite(fd, "abcd", 4, 2 * PAGE - 2));
	SAY("write behind the end", pwrite(fd, "abcd", 4, 3 * PAGE));
	SAY("write nothing", pwrite(fd, "", 0, 0));
	struct stat st;
	fstat(fd, &st);
	printf("  size %ld\n", (long)st.st_size);
	SAY("the same size", ftruncate(fd, st.st_size));
	SAY("grow", ftruncate(fd, 4 * PAGE));
	SAY("shrink", ftruncate(fd, PAGE));
	SAY("allocate inside", fallocate(fd, 0, 0, PAGE));
	SAY("allocate beyond", fallocate(fd, 0, 0, 8 * PAGE));
	SAY("allocate, keeping the size", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16 * PAGE));
	SAY("punch", fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, PAGE));
	printf("  map shared rw %d, r %d, private rw %d\n", map(fd, PROT_READ | PROT_WRITE, MAP_SHARED),
	       map(fd, PROT_READ, MAP_SHARED), map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE));
	printf("  mprotect shared %d, private %d\n", upgrade(fd, MAP_SHARED), upgrade(fd, MAP_PRIVATE));
	SAY("chmod to 0666", fchmod(fd, 0666));
	SAY("chmod to 0700", fchmod(fd, 0700));
	SAY("chmod to 0777", fchmod(fd, 0777));
	SAY("more seals", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	printf("  in the end %#x\n", fcntl(fd, F_GET_SEALS));
	close(fd);
}

static void flags(void) {
	printf("bad flags %d %d, both kinds of exec %d\n", E(syscall(SYS_memfd_create, "x", 0x40)),
	       E(syscall(SYS_memfd_create, "x", 0x80000000)), E(syscall(SYS_memfd_create, "x", NOEXEC_SEAL | EXEC)));
	char name[300];
	memset(name, 'n', sizeof name);
	name[250] = 0;
	printf("name of 250 %d", E(syscall(SYS_memfd_create, name, 0)));
	name[249] = 0;
	int fd = syscall(SYS_memfd_create, name, 0);
	printf(", of 249 %s; bad pointer %d\n", fd >= 0 ? "good" : "bad", E(syscall(SYS_memfd_create, 1, 0)));
	close(fd);
	const unsigned sets[] = { 0, MFD_CLOEXEC, MFD_ALLOW_SEALING, NOEXEC_SEAL, EXEC, EXEC | MFD_ALLOW_SEALING,
				  NOEXEC_SEAL | MFD_ALLOW_SEALING };
	for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++) {
		struct stat st;
		fd = syscall(SYS_memfd_create, "some name", sets[i]);
		fstat(fd, &st);
		char link[64], target[128] = "";
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		if (readlink(link, target, sizeof target - 1) < 0)
			perror("readlink");
		printf("%#x: mode %o, links %d, seals %#x, cloexec %d, fl %#x, %s\n", sets[i], st.st_mode, (int)st.st_nlink,
		       fcntl(fd, F_GET_SEALS), fcntl(fd, F_GETFD), fcntl(fd, F_GETFL), target);
		printf("  can add %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW)));
		close(fd);
	}
}

static void busy(void) {
	int fd = make(MFD_ALLOW_SEALING);
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	printf("mapped: write %d", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	printf(", write|grow %d", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW)));
	printf(", exec %d", E(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC)));
	printf(", get %#x", fcntl(fd, F_GET_SEALS));
	printf(", future %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)));
	memcpy(p, "still", 6);
	char got[6] = "";
	if (pread(fd, got, 6, 0) != 6)
		perror("pread");
	printf("the old mapping %s writes\n", got);
	pid_t child = fork();
	if (child == 0) {
		memcpy(p, "child", 6);
		printf("child: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	printf("after the child: %s\n", (char *)p);
	mprotect(p, PAGE, PROT_READ);
	printf("read-only by mprotect: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	munmap(p, PAGE);
	printf("unmapped: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	close(fd);

	fd = make(MFD_ALLOW_SEALING);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	printf("shared, never writable: write %d", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	printf(", then mprotect %d\n", E(mprotect(p, PAGE, PROT_READ | PROT_WRITE)));
	munmap(p, PAGE);
	printf("then: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	close(fd);

	fd = make(MFD_ALLOW_SEALING);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	printf("private: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	memcpy(p, "mine", 5);
	munmap(p, PAGE);
	close(fd);

	fd = make(MFD_ALLOW_SEALING);
	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	munmap(p, PAGE);
	printf("half unmapped: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	void *q = mremap((char *)p + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	printf("moved: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	munmap(q, 2 * PAGE);
	printf("gone: write %d\n", E(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
	close(fd);
}

static void others(void) {
	int fd = make(MFD_ALLOW_SEALING);
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	int ro = open(link, O_RDONLY);
	SAY("read-only descriptor: add", fcntl(ro, F_ADD_SEALS, F_SEAL_GROW));
	SAY("get", fcntl(ro, F_GET_SEALS));
	SAY("unknown seal there", fcntl(ro, F_ADD_SEALS, 0x100));
	SAY("unknown seal", fcntl(fd, F_ADD_SEALS, 0x100));
	SAY("no seal", fcntl(fd, F_ADD_SEALS, 0));
	SAY("sealed through one", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SAY("seen through the other", fcntl(ro, F_GET_SEALS));
	int rw = open(link, O_RDWR);
	printf("opened again for writing %s\n", rw >= 0 ? "yes" : "no");
	SAY("write", write(rw, "x", 1));
	int cut = open(link, O_RDWR | O_TRUNC);
	printf("opened with O_TRUNC %s\n", cut >= 0 ? "yes" : "no");
	close(cut);
	SAY("truncate", truncate(link, 0));
	close(rw);
	close(ro);
	close(fd);
	int null = open("/dev/null", O_RDWR), p[2];
	if (pipe(p))
		return;
	printf("null: %d %d; pipe: %d %d\n", E(fcntl(null, F_ADD_SEALS, 1)), E(fcntl(null, F_GET_SEALS)),
	       E(fcntl(p[1], F_ADD_SEALS, 1)), E(fcntl(p[1], F_GET_SEALS)));
}

static void start(int fd, const char *what) {
	printf("start %s: ", what);
	fflush(stdout);
	if (fork() == 0) {
		char *args[] = { "memory", NULL }, *env[] = { NULL };
		fexecve(fd, args, env);
		printf("%s\n", strerror(errno));
		exit(0);
	}
	wait(NULL);
}

/* Who made it may write to it and run it; another writer is one too many. */
static void programs(void) {
	static char buffer[1 << 16];
	char path[32];
	int fd = syscall(SYS_memfd_create, "program", 0), exe = open("/proc/self/exe", O_RDONLY);
	for (ssize_t n; (n = read(exe, buffer, sizeof buffer)) > 0;)
		if (write(fd, buffer, n) != n)
			perror("write");
	start(fd, "by its maker");
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int writer = open(path, O_WRONLY);
	start(fd, "with a writer");
	close(writer);
	start(fd, "without one");
	ftruncate(fd, 0);
	pwrite(fd, "#!/bin/nothing\n", 15, 0);
	start(fd, "a script for nobody");
}

int main(int count, char **args) {
	if (count == 1 && strcmp(args[0], "memory") == 0)
		return puts("here") < 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	flags();
	probe("none", 0);
	probe("seal", F_SEAL_SEAL);
	probe("shrink", F_SEAL_SHRINK);
	probe("grow", F_SEAL_GROW);
	probe("write", F_SEAL_WRITE);
	probe("future write", F_SEAL_FUTURE_WRITE);
	probe("exec", F_SEAL_EXEC);
	probe("all but exec", F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	busy();
	others();
	programs();
	return 0;
}
