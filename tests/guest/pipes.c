/* Pipes: sizes, packets, whole writes up to PIPE_BUF, and splice, tee and vmsplice at their edges. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))

/* Whole pages, since vmsplice lends them. */
static char big[1 << 18] __attribute__((aligned(4096)));

static int in_it(int fd) {
	int n = -1;
	ioctl(fd, FIONREAD, &n);
	return n;
}

static void sizes(void) {
	int p[2];
	if (pipe2(p, O_NONBLOCK))
		return;
	SAY("size", fcntl(p[0], F_GETPIPE_SZ));
	SAY("0", fcntl(p[0], F_SETPIPE_SZ, 0));
	SAY("1", fcntl(p[0], F_SETPIPE_SZ, 1));
	SAY("size", fcntl(p[1], F_GETPIPE_SZ));
	SAY("5000", fcntl(p[0], F_SETPIPE_SZ, 5000));
	SAY("40000", fcntl(p[0], F_SETPIPE_SZ, 40000));
	SAY("negative", fcntl(p[0], F_SETPIPE_SZ, -1));
	SAY("too large", fcntl(p[0], F_SETPIPE_SZ, 0x80000001));
	SAY("fill", write(p[1], big, sizeof big));
	SAY("smaller than what is in it", fcntl(p[0], F_SETPIPE_SZ, 4096));
	SAY("larger", fcntl(p[0], F_SETPIPE_SZ, 131072));
	SAY("fill more", write(p[1], big, sizeof big));
	printf("in it %d\n", in_it(p[0]));
	int null = open("/dev/null", O_RDONLY);
	SAY("of a device", fcntl(null, F_GETPIPE_SZ));
	close(null);
	FILE *file = fopen("/proc/sys/fs/pipe-max-size", "r");
	int most = 0;
	if (!file || fscanf(file, "%d", &most) != 1)
		return;
	fclose(file);
	printf("most %d\n", most);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (setresuid(1000, 1000, 1000))
			_exit(1);
		SAY("the most, as a user", fcntl(p[0], F_SETPIPE_SZ, most));
		SAY("more", fcntl(p[0], F_SETPIPE_SZ, 2 * most));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	close(p[0]);
	close(p[1]);
}

static void packets(void) {
	int p[2];
	char text[64] = "";
	if (pipe2(p, O_DIRECT | O_NONBLOCK))
		return;
	printf("flags %#x\n", fcntl(p[1], F_GETFL));
	SAY("one", write(p[1], "one", 3));
	SAY("second", write(p[1], "second", 6));
	SAY("nothing", write(p[1], "", 0));
	printf("in it %d\n", in_it(p[0]));
	SAY("read one", read(p[0], text, sizeof text));
	SAY("read part", read(p[0], text, 3));
	SAY("the rest is gone", read(p[0], text, sizeof text));
	SAY("5000 bytes", write(p[1], big, 5000));
	SAY("first page", read(p[0], big, 8192));
	SAY("rest", read(p[0], big, 8192));
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	SAY("a", write(p[1], "a", 1));
	SAY("b", write(p[1], "b", 1));
	fcntl(p[1], F_SETFL, O_NONBLOCK | O_DIRECT);
	SAY("c", write(p[1], "c", 1));
	SAY("d", write(p[1], "d", 1));
	SAY("stream", read(p[0], text, sizeof text));
	SAY("packet", read(p[0], text, sizeof text));
	int n = 0;
	while (write(p[1], "x", 1) == 1)
		n++;
	printf("packets of one byte: %d\n", n);
	close(p[0]);
	close(p[1]);
}

static void whole_writes(void) {
	int p[2], status;
	if (pipe2(p, O_NONBLOCK))
		return;
	fcntl(p[1], F_SETPIPE_SZ, 8192);
	SAY("8000", write(p[1], big, 8000));
	SAY("200 don't fit", write(p[1], big, 200));
	SAY("4096 don't fit", write(p[1], big, 4096));
	SAY("192 fit", write(p[1], big, 192));
	SAY("full", write(p[1], big, 1));
	SAY("full, 5000", write(p[1], big, 5000));
	SAY("drain a page", read(p[0], big, 4096));
	SAY("5000 in part", write(p[1], big, 5000));
	while (read(p[0], big, sizeof big) > 0)
		continue;
	/* Two writers that wait: pieces of PIPE_BUF stay whole. */
	fcntl(p[0], F_SETFL, 0);
	fcntl(p[1], F_SETFL, 0);
	fflush(stdout);
	for (int i = 0; i < 2; i++)
		if (fork() == 0) {
			memset(big, 'A' + i, PIPE_BUF);
			for (int n = 0; n < 50; n++)
				if (write(p[1], big, PIPE_BUF) != PIPE_BUF)
					_exit(1);
			_exit(0);
		}
	close(p[1]);
	long total = 0, mixed = 0;
	static char piece[PIPE_BUF];
	for (;;) {
		ssize_t got = 0, n;
		while (got < PIPE_BUF && (n = read(p[0], piece + got, PIPE_BUF - got)) > 0)
			got += n;
		if (got == 0)
			break;
		total += got;
		for (int i = 1; i < got; i++)
			mixed += piece[i] != piece[0];
	}
	printf("read %ld, mixed %ld\n", total, mixed);
	while (wait(&status) > 0)
		printf("writer %d\n", WEXITSTATUS(status));
	close(p[0]);
	/* A large write that nobody reads on. */
	signal(SIGPIPE, SIG_IGN);
	if (pipe(p))
		return;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		close(p[1]);
		if (read(p[0], big, 100) != 100)
			_exit(1);
		_exit(0);
	}
	close(p[0]);
	int r = E(write(p[1], big, sizeof big));
	printf("part of it or none: %d\n", r == -EPIPE || (r > 0 && r < (int)sizeof big));
	waitpid(child, NULL, 0);
	SAY("and now none", write(p[1], big, 1));
	close(p[1]);
}

static void splices(void) {
	int a[2], b[2], file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644), null = open("/dev/null", O_RDWR);
	if (pipe2(a, O_NONBLOCK) || pipe2(b, O_NONBLOCK) || write(file, "0123456789", 10) != 10)
		return;
	off_t at = 2;
	SAY("unknown flag", splice(a[0], NULL, b[1], NULL, 1, 16));
	SAY("nothing", splice(99, NULL, 98, NULL, 0, 0));
	SAY("no pipe", splice(file, NULL, null, NULL, 5, 0));
	SAY("the same pipe", splice(a[0], NULL, a[1], NULL, 5, 0));
	SAY("wrong end", splice(a[1], NULL, b[1], NULL, 5, 0));
	SAY("an offset in a pipe", splice(a[0], &at, b[1], NULL, 5, 0));
	SAY("empty", splice(a[0], NULL, b[1], NULL, 5, SPLICE_F_NONBLOCK));
	SAY("from a file", splice(file, &at, a[1], NULL, 5, 0));
	printf("offset %ld, of the file %ld, in the pipe %d\n", (long)at, (long)lseek(file, 0, SEEK_CUR), in_it(a[0]));
	at = -1;
	SAY("a negative offset", splice(file, &at, a[1], NULL, 5, 0));
	at = 100;
	SAY("behind the end", splice(file, &at, a[1], NULL, 5, 0));
	SAY("offset nowhere", splice(file, (void *)1, a[1], NULL, 5, 0));
	SAY("tee", tee(a[0], b[1], 3, 0));
	printf("in both %d %d\n", in_it(a[0]), in_it(b[0]));
	SAY("tee to itself", tee(a[0], a[1], 3, 0));
	SAY("tee of a file", tee(file, b[1], 3, 0));
	SAY("tee of nothing", tee(a[0], b[1], 0, 0));
	SAY("tee to null", tee(a[0], null, 3, 0));
	SAY("on", splice(a[0], NULL, b[1], NULL, 4, 0));
	char text[32] = "";
	SAY("read", read(b[0], text, sizeof text));
	printf("%s, left %d\n", text, in_it(a[0]));
	at = 8;
	SAY("into a file", splice(a[0], NULL, file, &at, 10, 0));
	printf("offset %ld\n", (long)at);
	memset(text, 0, sizeof text);
	SAY("pread", pread(file, text, sizeof text, 0));
	printf("%s\n", text);
	int end = open("file", O_WRONLY | O_APPEND);
	SAY("x", write(a[1], "x", 1));
	SAY("into a file at its end", splice(a[0], NULL, end, NULL, 1, 0));
	SAY("to null", splice(a[0], NULL, null, NULL, 10, 0));
	SAY("to a file only read", splice(a[0], NULL, open("file", O_RDONLY), NULL, 10, 0));
	/* A full pipe. */
	SAY("fill", write(b[1], big, sizeof big));
	SAY("y", write(a[1], "y", 1));
	SAY("into what is full", splice(a[0], NULL, b[1], NULL, 1, SPLICE_F_NONBLOCK));
	SAY("tee into what is full", tee(a[0], b[1], 1, SPLICE_F_NONBLOCK));
	printf("still there %d\n", in_it(a[0]));
	/* Nobody reads. */
	close(b[0]);
	SAY("nobody reads", splice(a[0], NULL, b[1], NULL, 1, 0));
	SAY("tee, nobody reads", tee(a[0], b[1], 1, 0));
	close(b[1]);
	/* Nobody writes. */
	SAY("the last one", read(a[0], text, sizeof text));
	close(a[1]);
	if (pipe2(b, O_NONBLOCK))
		return;
	SAY("nobody writes", splice(a[0], NULL, b[1], NULL, 1, 0));
	SAY("tee, nobody writes", tee(a[0], b[1], 1, 0));
	close(a[0]);
	/* Memory. */
	struct iovec v[3] = { { "one", 3 }, { "", 0 }, { "three", 5 } };
	SAY("vmsplice", vmsplice(b[1], v, 3, 0));
	printf("in it %d\n", in_it(b[0]));
	char x[4] = "", y[8] = "";
	struct iovec w[2] = { { x, 3 }, { y, 7 } };
	SAY("back", vmsplice(b[0], w, 2, 0));
	printf("%s %s\n", x, y);
	SAY("of nothing", vmsplice(b[1], v, 0, 0));
	SAY("of too many", vmsplice(b[1], v, 1025, 0));
	SAY("from nowhere", vmsplice(b[1], (void *)8, 1, 0));
	v[0].iov_base = (void *)8;
	SAY("memory nowhere", vmsplice(b[1], v, 1, 0));
	SAY("of a file", vmsplice(file, w, 1, 0));
	SAY("empty", vmsplice(b[0], w, 2, SPLICE_F_NONBLOCK));
	/* As much as there is room for, though it may wait: who drains the pipe may be the same thread. */
	struct iovec all = { big, sizeof big };
	SAY("more than there is room for", vmsplice(b[1], &all, 1, 0));
	SAY("in it", in_it(b[0]));
	v[0] = (struct iovec){ big, sizeof big };
	SAY("more than fits", vmsplice(b[1], v, 1, SPLICE_F_NONBLOCK));
	SAY("full", vmsplice(b[1], v, 1, SPLICE_F_NONBLOCK));
	close(b[0]);
	close(b[1]);
	/* A splice that waits for bytes, and ends at the end. */
	if (pipe(a) || pipe(b))
		return;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		close(a[0]);
		usleep(10000);
		if (write(a[1], "late", 4) != 4)
			_exit(1);
		_exit(0);
	}
	close(a[1]);
	SAY("waited", splice(a[0], NULL, b[1], NULL, 100, 0));
	SAY("the end", splice(a[0], NULL, b[1], NULL, 100, 0));
	waitpid(child, NULL, 0);
	unlink("file");
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	sizes();
	packets();
	whole_writes();
	splices();
	return 0;
}
