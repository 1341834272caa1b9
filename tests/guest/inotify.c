/* inotify(7): every event, their order, cookies, flags of watches, merging, overflow, what read, poll and FIONREAD say. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef IN_MASK_CREATE
#define IN_MASK_CREATE 0x10000000
#endif
#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))

static int fd;
static unsigned cookies[2];
static char target_of_reads[4];

static const char *const names[] = { "ACCESS",	   "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN",	  "MOVED_FROM",
				     "MOVED_TO",   "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF",     "?1000", "UNMOUNT",
				     "Q_OVERFLOW", "IGNORED" };

/* Everything that is in the queue. */
static void events(const char *what) {
	static char buffer[65536] __attribute__((aligned(8)));
	printf("%s:", what);
	ssize_t len = read(fd, buffer, sizeof buffer);
	for (char *p = buffer; p < buffer + len;) {
		struct inotify_event *e = (void *)p;
		printf(" %d", e->wd);
		for (int i = 0; i < 16; i++)
			if (e->mask & 1u << i)
				printf(" %s", names[i]);
		if (e->mask & IN_ISDIR)
			printf(" ISDIR");
		if (e->len)
			printf(" %s(%u)", e->name, e->len);
		if (e->cookie) {
			/* The same as the last one, or a new one. */
			printf(e->cookie == cookies[0] ? " same" : " new");
			cookies[0] = e->cookie;
		}
		printf(";");
		p += sizeof *e + e->len;
	}
	if (len < 0)
		printf(" none (%d)", errno);
	printf("\n");
}

static void touch(const char *path) {
	close(open(path, O_CREAT | O_WRONLY, 0644));
}

static void arguments(void) {
	SAY("init with unknown flags", inotify_init1(1));
	int plain = inotify_init();
	printf("flags %#x cloexec %d\n", fcntl(plain, F_GETFL), fcntl(plain, F_GETFD));
	close(plain);
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	printf("flags %#x cloexec %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	char link[64], target[64] = "";
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (readlink(link, target, sizeof target - 1) > 0)
		printf("%s\n", target);
	SAY("mask 0", inotify_add_watch(fd, ".", 0));
	SAY("unknown bit", inotify_add_watch(fd, ".", 0x1000));
	SAY("bit 16", inotify_add_watch(fd, ".", 0x10000 | IN_OPEN));
	SAY("not open", inotify_add_watch(99, ".", IN_OPEN));
	SAY("not an instance", inotify_add_watch(1, ".", IN_OPEN));
	SAY("no such file", inotify_add_watch(fd, "none", IN_OPEN));
	SAY("empty path", inotify_add_watch(fd, "", IN_OPEN));
	SAY("bad pointer", inotify_add_watch(fd, (char *)1, IN_OPEN));
	SAY("add and create", inotify_add_watch(fd, ".", IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE));
	SAY("only the kernel's events", inotify_add_watch(fd, ".", IN_IGNORED));
	SAY("remove it", inotify_rm_watch(fd, 1));
	events("removed");
	SAY("remove again", inotify_rm_watch(fd, 1));
	SAY("remove 0", inotify_rm_watch(fd, 0));
	SAY("remove from what is none", inotify_rm_watch(1, 1));
	SAY("remove from what is closed", inotify_rm_watch(99, 1));
	touch("file");
	SAY("a file as a directory", inotify_add_watch(fd, "file", IN_OPEN | IN_ONLYDIR));
	SAY("write", write(fd, "x", 1));
	SAY("lseek", lseek(fd, 5, SEEK_SET));
	SAY("pread", pread(fd, link, 64, 0));
	if (symlink("file", "link"))
		return;
	printf("through the link %d\n", inotify_add_watch(fd, "link", IN_OPEN));
	printf("the file itself %d\n", inotify_add_watch(fd, "file", IN_OPEN));
	printf("the link itself %d\n", inotify_add_watch(fd, "link", IN_OPEN | IN_DONT_FOLLOW));
	SAY("exists", inotify_add_watch(fd, "file", IN_OPEN | IN_MASK_CREATE));
	unlink("link");
	unlink("file");
	events("both gone");
	close(fd);
}

static void in_a_directory(void) {
	fd = inotify_init1(IN_NONBLOCK);
	mkdir("d", 0755);
	mkdir("e", 0755);
	int d = inotify_add_watch(fd, "d", IN_ALL_EVENTS), e = inotify_add_watch(fd, "e", IN_ALL_EVENTS);
	printf("watches %d %d\n", d, e);
	int f = open("d/a", O_CREAT | O_RDWR, 0644);
	events("create");
	if (write(f, "hello", 5) != 5)
		return;
	events("write");
	if (write(f, "hello", 5) != 5 || write(f, "hello", 5) != 5 || write(f, "", 0) != 0)
		return;
	events("three writes");
	char c[8];
	if (pread(f, c, 8, 0) < 0 || pread(f, c, 8, 100) != 0)
		return;
	events("read, and read at the end");
	struct iovec v = { c, 2 };
	if (pwritev(f, &v, 1, 0) != 2)
		return;
	events("pwritev");
	if (ftruncate(f, 3) || ftruncate(f, 3) || truncate("d/a", 10))
		return;
	events("truncate");
	SAY("fallocate", fallocate(f, 0, 0, 100));
	events("fallocate");
	fchmod(f, 0600);
	chmod("d/a", 0640);
	events("chmod");
	SAY("chown", chown("d/a", 0, 0));
	events("chown");
	struct timespec t[2] = { { 1, 0 }, { 2, 0 } };
	futimens(f, t);
	events("both times");
	t[0].tv_nsec = UTIME_OMIT;
	futimens(f, t);
	events("time of modification");
	t[0].tv_nsec = 0;
	t[1].tv_nsec = UTIME_OMIT;
	futimens(f, t);
	events("time of access");
	close(f);
	events("close");
	f = open("d/a", O_RDONLY);
	close(f);
	events("only to read");
	close(open("d/a", O_WRONLY | O_TRUNC));
	events("truncated");
	close(open("d/a", O_PATH));
	events("a place");
	struct stat st;
	stat("d/a", &st);
	events("stat");
	SAY("mkdir", mkdir("d/sub", 0700));
	SAY("mkdir again", mkdir("d/sub", 0700));
	events("mkdir");
	SAY("symlink", symlink("a", "d/s"));
	SAY("mkfifo", mkfifo("d/f", 0600));
	SAY("link", link("d/a", "d/b"));
	events("symlink, fifo, link");
	f = open("d", O_RDONLY | O_DIRECTORY);
	char list[2048];
	if (syscall(217, f, list, sizeof list) < 0)
		return;
	close(f);
	events("listed");
	SAY("rename", rename("d/a", "d/c"));
	events("rename");
	SAY("rename elsewhere", rename("d/c", "e/c"));
	events("rename elsewhere");
	SAY("rename a directory", rename("d/sub", "e/sub"));
	events("rename a directory");
	touch("e/other");
	events("other");
	SAY("rename over", rename("e/c", "e/other"));
	events("rename over");
	SAY("out of sight", rename("e/other", "other"));
	events("out of sight");
	SAY("into sight", rename("other", "e/other"));
	events("into sight");
	SAY("exchange", syscall(316, AT_FDCWD, "e/other", AT_FDCWD, "d/b", 2));
	events("exchange (the same file)");
	touch("d/new");
	events("new");
	SAY("exchange", syscall(316, AT_FDCWD, "e/other", AT_FDCWD, "d/new", 2));
	events("exchange");
	SAY("unlink", unlink("d/new"));
	SAY("unlink", unlink("d/s"));
	SAY("unlink", unlink("d/f"));
	SAY("unlink", unlink("d/b"));
	SAY("unlink", unlink("e/other"));
	SAY("rmdir", rmdir("e/sub"));
	events("unlink, rmdir");
	chmod("d", 0700);
	events("the directory itself");
	SAY("rename it", rename("d", "dd"));
	events("renamed itself");
	SAY("remove it", rmdir("dd"));
	SAY("remove the other", rmdir("e"));
	events("removed");
	SAY("no watch any more", inotify_rm_watch(fd, d));
	close(fd);
}

static void of_a_file(void) {
	fd = inotify_init1(IN_NONBLOCK);
	touch("file");
	int w = inotify_add_watch(fd, "file", IN_ALL_EVENTS), d = inotify_add_watch(fd, ".", IN_ALL_EVENTS);
	printf("watches %d %d\n", w, d);
	int f = open("file", O_RDWR);
	if (write(f, "x", 1) != 1)
		return;
	events("open and write");
	link("file", "second");
	events("link");
	unlink("second");
	events("unlink of one");
	rename("file", "moved");
	events("rename");
	unlink("moved");
	events("unlink, still open");
	if (write(f, "y", 1) != 1)
		return;
	events("write to what has no name");
	close(f);
	events("closed");
	touch("file");
	inotify_add_watch(fd, "file", IN_DELETE_SELF | IN_ATTRIB);
	events("again");
	unlink("file");
	events("unlink, not open");
	touch("file");
	w = inotify_add_watch(fd, "file", IN_ALL_EVENTS);
	touch("other");
	events("two files");
	rename("other", "file");
	events("replaced");
	unlink("file");
	events("unlinked");
	close(fd);
}

static void watches(void) {
	fd = inotify_init1(IN_NONBLOCK);
	touch("file");
	int w = inotify_add_watch(fd, "file", IN_OPEN);
	touch("file");
	printf("only closing %d\n", inotify_add_watch(fd, "file", IN_CLOSE) == w);
	touch("file");
	printf("and modifying %d\n", inotify_add_watch(fd, "file", IN_MODIFY | IN_MASK_ADD) == w);
	int f = open("file", O_WRONLY);
	if (write(f, "x", 1) != 1)
		return;
	close(f);
	events("masks");
	inotify_rm_watch(fd, w);
	events("removed");
	w = inotify_add_watch(fd, "file", IN_OPEN | IN_ONESHOT);
	touch("file");
	touch("file");
	events("once");
	SAY("gone", inotify_rm_watch(fd, w));
	/* A file that was unlinked and is still open. */
	int a = inotify_add_watch(fd, ".", IN_MODIFY);
	f = open("file", O_RDWR);
	unlink("file");
	if (write(f, "x", 1) != 1)
		return;
	events("modified after unlink");
	inotify_add_watch(fd, ".", IN_MODIFY | IN_EXCL_UNLINK);
	if (write(f, "x", 1) != 1)
		return;
	events("not with EXCL_UNLINK");
	touch("file");
	int g = open("file", O_WRONLY);
	if (write(g, "x", 1) != 1)
		return;
	events("others still");
	inotify_rm_watch(fd, a);
	close(f);
	close(g);
	unlink("file");
	events("end");
	/* Two instances hear of the same. */
	int second = inotify_init1(IN_NONBLOCK), first = fd;
	inotify_add_watch(first, ".", IN_CREATE);
	inotify_add_watch(second, ".", IN_CREATE | IN_DELETE);
	touch("file");
	unlink("file");
	events("first");
	fd = second;
	events("second");
	close(first);
	touch("file");
	unlink("file");
	events("second alone");
	close(second);
}

static void reading(void) {
	fd = inotify_init1(IN_NONBLOCK);
	inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE);
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	int r = poll(&p, 1, 0), n = -1;
	printf("poll %d %#x\n", r, p.revents);
	SAY("FIONREAD", ioctl(fd, FIONREAD, &n));
	printf("bytes %d\n", n);
	SAY("another ioctl", ioctl(fd, 0x1234, &n));
	char buffer[256];
	SAY("read nothing", read(fd, buffer, sizeof buffer));
	SAY("read 0 bytes of nothing", read(fd, buffer, 0));
	int ep = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	SAY("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 0));
	touch("file");
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 0));
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 0));
	unlink("file");
	SAY("epoll_wait", epoll_wait(ep, &ev, 1, 0));
	touch("a name of sixteen");
	unlink("a name of sixteen");
	r = poll(&p, 1, 0);
	printf("poll %d %#x\n", r, p.revents);
	SAY("FIONREAD", ioctl(fd, FIONREAD, &n));
	printf("bytes %d\n", n);
	SAY("too small", read(fd, buffer, 31));
	SAY("0 bytes", read(fd, buffer, 0));
	SAY("room for one", read(fd, buffer, 32));
	SAY("room for one and a bit", read(fd, buffer, 32 + 47));
	SAY("nowhere", syscall(0, fd, 1, 48));
	ioctl(fd, FIONREAD, &n);
	printf("bytes %d\n", n);
	events("rest");
	/* A reader that waits. */
	fflush(stdout);
	fcntl(fd, F_SETFL, 0);
	pid_t child = fork();
	if (child == 0) {
		usleep(20000);
		touch("late");
		_exit(0);
	}
	r = read(fd, buffer, sizeof buffer);
	printf("waited for %d bytes: %s\n", r, ((struct inotify_event *)buffer)->name);
	waitpid(child, NULL, 0);
	unlink("late");
	close(fd);
}

static void overflow(void) {
	FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	int limit = 0;
	if (!file || fscanf(file, "%d", &limit) != 1)
		return;
	fclose(file);
	fd = inotify_init1(IN_NONBLOCK);
	touch("a");
	touch("b");
	inotify_add_watch(fd, "a", IN_ATTRIB);
	inotify_add_watch(fd, "b", IN_ATTRIB);
	for (int i = 0; i < limit; i++)
		chmod(i % 2 ? "a" : "b", 0600);
	chmod("a", 0600);
	int bytes;
	ioctl(fd, FIONREAD, &bytes);
	printf("full, the last one merged: %d\n", bytes == limit * 16);
	chmod("b", 0600);
	chmod("a", 0600);
	ioctl(fd, FIONREAD, &bytes);
	printf("and one that says so: %d\n", bytes == (limit + 1) * 16);
	int count = 0, last = 0, wd = 0;
	static struct inotify_event all[1000];
	ssize_t len;
	while ((len = read(fd, all, sizeof all)) > 0) {
		count += len / 16;
		last = all[len / 16 - 1].mask;
		wd = all[len / 16 - 1].wd;
	}
	printf("read %d, last %#x of watch %d\n", count == limit + 1, last, wd);
	chmod("a", 0600);
	events("goes on");
	close(fd);
	unlink("a");
	unlink("b");
}

/* IN_EXCL_UNLINK is about a watched file's own name, too; not about its attributes. */
static void without_a_name(void) {
	fd = inotify_init1(IN_NONBLOCK);
	mkdir("there", 0755);
	for (int i = 0; i < 2; i++) {
		unsigned excluding = i ? IN_EXCL_UNLINK : 0;
		int file = open("there/file", O_RDWR | O_CREAT, 0644);
		inotify_add_watch(fd, "there", IN_ALL_EVENTS | excluding);
		inotify_add_watch(fd, "there/file", IN_ALL_EVENTS | excluding);
		unlink("there/file");
		events("unlinked");
		SAY("write", write(file, "abcd", 4));
		SAY("read", pread(file, target_of_reads, 4, 0));
		events(i ? "used, excluded" : "used");
		SAY("ftruncate", ftruncate(file, 1));
		SAY("fchmod", fchmod(file, 0600));
		events("changed");
		close(file);
		events("closed");
	}
	int directory = open("there", O_RDONLY);
	rmdir("there");
	events("removed");
	close(directory);
	events("closed");
	close(fd);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("inotify", 0755);
	if (chdir("inotify"))
		return 1;
	arguments();
	in_a_directory();
	of_a_file();
	watches();
	reading();
	overflow();
	without_a_name();
	if (chdir("..") || rmdir("inotify"))
		return 1;
	return 0;
}
