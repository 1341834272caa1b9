/* Record locks of processes and of open files, and flock: conflicts, splitting, inheritance, release, waiting, deadlock. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#endif
#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))

static int lock(int fd, int cmd, int type, long start, long len) {
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	return fcntl(fd, cmd, &l);
}

static pid_t parent;

static void query(const char *what, int fd, int cmd, int type, long start, long len) {
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	int r = E(fcntl(fd, cmd, &l));
	if (r < 0 || l.l_type == F_UNLCK)
		printf("%s: %d free\n", what, r);
	else
		printf("%s: %s %ld+%ld of %s\n", what, l.l_type == F_RDLCK ? "read" : "write", (long)l.l_start, (long)l.l_len,
		       l.l_pid == -1 ? "a file" : l.l_pid == parent ? "the parent" : "somebody");
}

/* Runs `act` in a child and waits for it. */
#define CHILD(act)                                            \
	do {                                                  \
		fflush(stdout);                               \
		pid_t pid_ = fork();                          \
		if (pid_ == 0) {                              \
			act;                                  \
			fflush(stdout);                       \
			_exit(0);                             \
		}                                             \
		waitpid(pid_, NULL, 0);                       \
	} while (0)

static void records(void) {
	int fd = open("locked", O_RDWR | O_CREAT, 0644), ro = open("locked", O_RDONLY), wo = open("locked", O_WRONLY);
	if (write(fd, "0123456789", 10) != 10)
		return;
	SAY("read lock without reading", lock(wo, F_SETLK, F_RDLCK, 0, 1));
	SAY("write lock without writing", lock(ro, F_SETLK, F_WRLCK, 0, 1));
	SAY("unknown type", lock(fd, F_SETLK, 7, 0, 1));
	SAY("negative start", lock(fd, F_SETLK, F_WRLCK, -1, 1));
	SAY("backwards", lock(fd, F_SETLK, F_WRLCK, 10, -5));
	SAY("too far back", lock(fd, F_SETLK, F_WRLCK, 3, -5));
	struct flock l = { .l_type = F_WRLCK, .l_whence = 9 };
	SAY("bad whence", fcntl(fd, F_SETLK, &l));
	SAY("from nowhere", fcntl(fd, F_SETLK, (void *)1));
	l = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = 1 };
	SAY("from the end", fcntl(fd, F_SETLK, &l));
	SAY("write 100+50", lock(fd, F_SETLK, F_WRLCK, 100, 50));
	SAY("read in the middle", lock(fd, F_SETLK, F_RDLCK, 120, 10));
	SAY("to the end", lock(fd, F_SETLK, F_RDLCK, 1000, 0));
	query("own locks don't count", fd, F_GETLK, F_WRLCK, 0, 0);
	CHILD({
		query("child: all", fd, F_GETLK, F_WRLCK, 0, 0);
		query("child: 8", fd, F_GETLK, F_WRLCK, 8, 1);
		query("child: reading 8", fd, F_GETLK, F_RDLCK, 8, 1);
		query("child: 110", fd, F_GETLK, F_RDLCK, 110, 1);
		query("child: 125", fd, F_GETLK, F_WRLCK, 125, 1);
		query("child: 149", fd, F_GETLK, F_WRLCK, 149, 1);
		query("child: 150", fd, F_GETLK, F_WRLCK, 150, 1);
		query("child: far away", fd, F_GETLK, F_WRLCK, 1L << 40, 1);
		SAY("child: read with the reader", lock(fd, F_SETLK, F_RDLCK, 122, 3));
		SAY("child: write", lock(fd, F_SETLK, F_WRLCK, 122, 3));
		SAY("child: clear what is the parent's", lock(fd, F_SETLK, F_UNLCK, 100, 50));
		SAY("child: still", lock(fd, F_SETLK, F_WRLCK, 100, 50));
	});
	SAY("clear a piece", lock(fd, F_SETLK, F_UNLCK, 105, 1));
	CHILD({
		SAY("child: the piece", lock(fd, F_SETLK, F_WRLCK, 105, 1));
		SAY("child: one more", lock(fd, F_SETLK, F_WRLCK, 105, 2));
	});
	/* Closing any descriptor of the file lets all of the process's locks go. */
	close(dup(ro));
	CHILD(SAY("child: after a close", lock(fd, F_SETLK, F_WRLCK, 0, 0)));
	SAY("again", lock(fd, F_SETLK, F_WRLCK, 0, 0));
	CHILD({
		close(fd);
		int other = open("locked", O_RDWR);
		SAY("child's close changes nothing", lock(other, F_SETLK, F_WRLCK, 0, 1));
	});
	SAY("clear all", lock(fd, F_SETLK, F_UNLCK, 0, 0));
	close(ro);
	close(wo);
	close(fd);
}

static void open_files(void) {
	int a = open("locked", O_RDWR), b = open("locked", O_RDWR), c = dup(a);
	struct flock l = { .l_type = F_WRLCK, .l_pid = 5 };
	SAY("with a process", fcntl(a, F_OFD_SETLK, &l));
	SAY("a locks", lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	SAY("b conflicts", lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	SAY("b beside it", lock(b, F_OFD_SETLK, F_WRLCK, 10, 10));
	SAY("its copy is the same", lock(c, F_OFD_SETLK, F_RDLCK, 0, 10));
	SAY("b reads now", lock(b, F_OFD_SETLK, F_RDLCK, 5, 5));
	SAY("the process conflicts", lock(a, F_SETLK, F_WRLCK, 0, 1));
	query("asked by the process", a, F_GETLK, F_WRLCK, 0, 1);
	query("asked by b", b, F_OFD_GETLK, F_WRLCK, 0, 1);
	query("asked by a", a, F_OFD_GETLK, F_WRLCK, 0, 5);
	CHILD(SAY("inherited with the file", lock(a, F_OFD_SETLK, F_RDLCK, 0, 10)));
	CHILD({
		int d = open("locked", O_RDWR);
		SAY("not by another file", lock(d, F_OFD_SETLK, F_WRLCK, 0, 10));
	});
	close(a);
	SAY("still held by the copy", lock(b, F_OFD_SETLK, F_WRLCK, 0, 5));
	close(c);
	SAY("gone with the last", lock(b, F_OFD_SETLK, F_WRLCK, 0, 5));
	close(b);
}

static void handler(int sig) {
	(void)sig;
}

static void waiting(void) {
	int fd = open("locked", O_RDWR), ready[2], status;
	char c;
	if (pipe(ready))
		return;
	lock(fd, F_SETLK, F_WRLCK, 0, 10);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		_exit(lock(fd, F_SETLKW, F_WRLCK, 5, 1) == 0 ? 7 : 8);
	}
	if (read(ready[0], &c, 1) != 1)
		return;
	SAY("let go", lock(fd, F_SETLK, F_UNLCK, 0, 10));
	waitpid(child, &status, 0);
	printf("child had it: %d\n", WEXITSTATUS(status));
	/* The end of the holder is enough. */
	child = fork();
	if (child == 0) {
		lock(fd, F_SETLK, F_WRLCK, 0, 10);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		usleep(10000);
		_exit(0);
	}
	if (read(ready[0], &c, 1) != 1)
		return;
	SAY("waited for its end", lock(fd, F_SETLKW, F_WRLCK, 0, 10));
	waitpid(child, NULL, 0);
	/* Interrupted, with and without SA_RESTART. */
	child = fork();
	if (child == 0) {
		struct sigaction sa = { .sa_handler = handler };
		sigaction(SIGALRM, &sa, NULL);
		ualarm(20000, 0);
		SAY("interrupted", lock(fd, F_SETLKW, F_WRLCK, 0, 1));
		ualarm(20000, 0);
		SAY("open file, interrupted", lock(fd, F_OFD_SETLKW, F_WRLCK, 0, 1));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	/* A circle of two. */
	lock(fd, F_SETLK, F_UNLCK, 0, 0);
	lock(fd, F_SETLK, F_WRLCK, 0, 1);
	child = fork();
	if (child == 0) {
		lock(fd, F_SETLK, F_WRLCK, 1, 1);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		int r = E(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
		_exit(r == 0 ? 7 : r == -EDEADLK ? 9 : 8);
	}
	if (read(ready[0], &c, 1) != 1)
		return;
	int r = E(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
	if (r == -EDEADLK) {
		/* Whoever closes the circle is refused; then the other goes on. */
		lock(fd, F_SETLK, F_UNLCK, 0, 1);
		waitpid(child, &status, 0);
		printf("circle: refused one, the other %d\n", WEXITSTATUS(status) == 7);
	} else {
		waitpid(child, &status, 0);
		printf("circle: refused one, the other %d\n", WEXITSTATUS(status) == 9 && r == 0);
	}
	close(fd);
}

static void whole_files(void) {
	int a = open("locked", O_RDWR), b = open("locked", O_RDONLY), c = dup(a);
	SAY("nothing", flock(a, 0));
	SAY("both", flock(a, LOCK_SH | LOCK_EX));
	SAY("not open", flock(99, LOCK_EX));
	SAY("a exclusive", flock(a, LOCK_EX));
	SAY("b shared", flock(b, LOCK_SH | LOCK_NB));
	SAY("the copy", flock(c, LOCK_EX | LOCK_NB));
	SAY("a shared", flock(a, LOCK_SH));
	SAY("b shared", flock(b, LOCK_SH | LOCK_NB));
	SAY("a up again", flock(a, LOCK_EX | LOCK_NB));
	SAY("b alone", flock(b, LOCK_EX | LOCK_NB));
	SAY("b lets go", flock(b, LOCK_UN));
	SAY("a exclusive, on a file only read", flock(a, LOCK_EX | LOCK_NB));
	SAY("record locks are another matter", lock(a, F_SETLK, F_WRLCK, 0, 0));
	CHILD(SAY("inherited", flock(a, LOCK_EX | LOCK_NB)));
	CHILD(SAY("child lets go", flock(a, LOCK_UN)));
	SAY("for both", flock(b, LOCK_EX | LOCK_NB));
	SAY("a", flock(a, LOCK_SH | LOCK_NB));
	close(b);
	SAY("gone with b", flock(a, LOCK_EX | LOCK_NB));
	close(a);
	b = open("locked", O_RDONLY);
	SAY("the copy holds it", flock(b, LOCK_SH | LOCK_NB));
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		close(c);
		_exit(flock(b, LOCK_SH) == 0 ? 7 : 8);
	}
	close(c);
	int status;
	waitpid(child, &status, 0);
	printf("a waiter goes on: %d\n", WEXITSTATUS(status));
	close(b);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	parent = getpid();
	records();
	open_files();
	waiting();
	whole_files();
	unlink("locked");
	return 0;
}
