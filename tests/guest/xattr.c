/* Extended attributes: set, got, listed, removed; whose they are, how long they may be, and which files have them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

static char *volatile bad = (char *)8;

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
	char names[1000], *sorted[20];
	int len = llistxattr(path, names, sizeof names), count = 0;
	printf("names of %s: %d", path, result(len));
	for (int at = 0; at < len; at += strlen(names + at) + 1)
		sorted[count++] = names + at;
	qsort(sorted, count, sizeof sorted[0], compare);
	for (int i = 0; i < count; i++)
		printf(" %s", sorted[i]);
	printf("\n");
}

static void basics(void)
{
	char value[100] = "";
	int fd = open("file", O_CREAT | O_RDWR, 0644);
	printf("nothing: %d\n", result(getxattr("file", "trusted.a", value, sizeof value)));
	printf("set %d, ", result(setxattr("file", "trusted.b", "two", 3, 0)));
	printf("%d, ", result(fsetxattr(fd, "trusted.a", "one\0more", 8, XATTR_CREATE)));
	printf("again %d, ", result(lsetxattr("file", "trusted.a", "x", 1, XATTR_CREATE)));
	printf("replaced %d, ", result(setxattr("file", "trusted.a", "other", 5, XATTR_REPLACE)));
	printf("not there %d\n", result(setxattr("file", "trusted.c", "x", 1, XATTR_REPLACE)));
	printf("get %d", result(getxattr("file", "trusted.a", value, sizeof value)));
	printf(" %s, size %d, ", value, result(fgetxattr(fd, "trusted.a", NULL, 0)));
	printf("too small %d, bad address %d\n", result(lgetxattr("file", "trusted.a", value, 4)), result(getxattr("file", "trusted.a", bad, 10)));
	setxattr("file", "security.x", "", 0, 0);
	list("file");
	printf("empty %d, ", result(getxattr("file", "security.x", value, sizeof value)));
	printf("list: size %d, too small %d\n", result(listxattr("file", NULL, 0)), result(flistxattr(fd, value, 5)));
	link("file", "hard");
	rename("file", "moved");
	list("hard");
	printf("remove %d, ", result(removexattr("moved", "trusted.a")));
	printf("again %d, ", result(lremovexattr("moved", "trusted.a")));
	printf("by descriptor %d\n", result(fremovexattr(fd, "trusted.b")));
	list("moved");
	close(fd);
}

static void names(void)
{
	static char name[400], value[70000];
	memset(name, 'n', sizeof name - 1);
	memcpy(name, "trusted.", 8);
	printf("empty name %d, long %d, ", result(setxattr("moved", "", "x", 1, 0)), result(setxattr("moved", name, "x", 1, 0)));
	name[255] = 0;
	printf("longest %d, ", result(setxattr("moved", name, "x", 1, 0)));
	printf("prefix alone %d, no prefix %d, unknown %d\n", result(setxattr("moved", "trusted.", "x", 1, 0)),
	       result(setxattr("moved", "name", "x", 1, 0)), result(setxattr("moved", "other.name", "x", 1, 0)));
	printf("get: prefix alone %d, unknown %d\n", result(getxattr("moved", "trusted.", NULL, 0)), result(getxattr("moved", "other.name", NULL, 0)));
	printf("value %d, ", result(setxattr("moved", "trusted.v", value, 65536, 0)));
	printf("is %d, longer %d\n", result(getxattr("moved", "trusted.v", value, sizeof value)), result(setxattr("moved", "trusted.v", value, 65537, 0)));
	printf("flags %d %d, bad name %d, bad value %d\n", result(setxattr("moved", "trusted.f", "x", 1, 4)), result(setxattr("moved", "trusted.f", "x", 1, 3)),
	       result(setxattr("moved", bad, "x", 1, 0)), result(setxattr("moved", "trusted.f", bad, 1, 0)));
	printf("no file %d, bad descriptor %d\n", result(setxattr("none", "trusted.f", "x", 1, 0)), result(fsetxattr(-1, "trusted.f", "x", 1, 0)));
}

static void kinds(void)
{
	mkdir("dir", 0755);
	mkfifo("fifo", 0644);
	symlink("dir", "link");
	printf("directory %d, fifo %d, ", result(setxattr("dir", "trusted.x", "d", 1, 0)), result(setxattr("fifo", "trusted.x", "f", 1, 0)));
	printf("link %d\n", result(lsetxattr("link", "trusted.x", "li", 2, 0)));
	printf("through the link %d, of it %d\n", result(getxattr("link", "trusted.x", NULL, 0)), result(lgetxattr("link", "trusted.x", NULL, 0)));
	printf("users': fifo %d %d, ", result(setxattr("fifo", "user.x", "f", 1, 0)), result(getxattr("fifo", "user.x", NULL, 0)));
	printf("link %d %d\n", result(lsetxattr("link", "user.x", "l", 1, 0)), result(lremovexattr("link", "user.x")));
	int p[2];
	pipe(p);
	printf("proc %d, path only %d\n", result(setxattr("/proc/self/status", "trusted.x", "p", 1, 0)),
	       result(fgetxattr(open("dir", O_PATH), "trusted.x", NULL, 0)));
}

static void changes(void)
{
	struct stat before, after;
	stat("moved", &before);
	int fd = inotify_init1(IN_NONBLOCK), events = 0;
	inotify_add_watch(fd, "moved", IN_ATTRIB);
	usleep(20000);
	setxattr("moved", "trusted.n", "x", 1, 0);
	removexattr("moved", "trusted.n");
	stat("moved", &after);
	struct inotify_event event[10];
	events = read(fd, event, sizeof event) / (int)sizeof event[0];
	printf("changed %d, not modified %d, told %d\n", before.st_ctim.tv_nsec != after.st_ctim.tv_nsec, before.st_mtim.tv_nsec == after.st_mtim.tv_nsec, events);
	close(fd);
}

static void others(void)
{
	mkdir("sticky", 01777);
	chmod("sticky", 01777);
	chmod("moved", 0666);
	if (fork() == 0) {
		setgid(1000);
		setuid(1000);
		list("moved");
		printf("trusted: get %d, set %d, remove %d\n", result(getxattr("moved", "trusted.v", NULL, 0)), result(setxattr("moved", "trusted.q", "x", 1, 0)),
		       result(removexattr("moved", "trusted.v")));
		printf("security: get %d, set %d\n", result(getxattr("moved", "security.x", NULL, 0)), result(setxattr("moved", "security.q", "x", 1, 0)));
		printf("users': sticky directory of another %d, no right to write %d\n", result(setxattr("sticky", "user.x", "x", 1, 0)), result(setxattr("dir", "user.x", "x", 1, 0)));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

int main(void)
{
	basics();
	names();
	kinds();
	changes();
	fflush(stdout);
	others();
	return 0;
}
