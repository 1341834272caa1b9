/* What man pages say in passing: set-group-ID bits of new files, namespaces that can't be had, huge pages, descriptors of inotify, reboot, long texts of /proc. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

static int mode_of(const char *path)
{
	struct stat st;
	return stat(path, &st) ? -errno : (int)(st.st_mode & 07777);
}

/* Files of a directory with the bit belong to its group; a stranger to it can't make them set-group-ID programs. */
static void set_group_id(void)
{
	mkdir("group", 0);
	chown("group", 0, 77);
	chmod("group", 02777);
	if (fork() == 0) {
		setgid(1000);
		setuid(1000);
		for (int mask = 0; mask <= 010; mask += 010) {
			umask(mask);
			int fd = open("group/a", O_CREAT | O_WRONLY, 02777);
			printf("open under %o: %d %o\n", mask, fd >= 0, mode_of("group/a"));
			close(fd);
			int made = result(mknod("group/b", S_IFREG | 02775, 0));
			printf("mknod: %d %o\n", made, mode_of("group/b"));
			made = result(mknod("group/c", S_IFREG | 02767, 0));
			printf("not executable: %d %o\n", made, mode_of("group/c"));
			made = result(mkdir("group/d", 02777));
			printf("directory: %d %o\n", made, mode_of("group/d"));
			unlink("group/a");
			unlink("group/b");
			unlink("group/c");
			rmdir("group/d");
		}
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	umask(010);
	close(open("group/r", O_CREAT | O_WRONLY, 02777));
	printf("who may: %o\n", mode_of("group/r"));
	umask(022);
}

static void namespaces(void)
{
	static const struct {
		const char *name;
		int flag;
	} all[] = { { "NEWNS", CLONE_NEWNS }, { "NEWUTS", CLONE_NEWUTS }, { "NEWIPC", CLONE_NEWIPC },
		    { "NEWPID", CLONE_NEWPID }, { "NEWNET", CLONE_NEWNET }, { "NEWCGROUP", CLONE_NEWCGROUP } };
	if (fork() == 0) {
		setgid(1000);
		setuid(1000);
		for (int i = 0; i < 6; i++) {
			printf("%s: unshare %d", all[i].name, result(unshare(all[i].flag)));
			printf(", clone %d\n", result(syscall(SYS_clone, all[i].flag | SIGCHLD, 0, 0, 0, 0)));
		}
		printf("unknown: %d\n", result(unshare(1)));
		printf("FS with NEWNS: %d\n", result(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0)));
		printf("reboot: %d\n", result(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0)));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	printf("nothing: %d\n", result(unshare(0)));
}

static void huge_pages(void)
{
	printf("at first %d\n", result(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
	printf("arguments %d %d %d\n", result(prctl(PR_SET_THP_DISABLE, 0, 0, 1, 0)), result(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0)),
	       result(prctl(PR_GET_THP_DISABLE, 0, 1, 0, 0)));
	int set = result(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	printf("set %d, is %d\n", set, result(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
	fflush(stdout);
	if (fork() == 0) {
		printf("child %d\n", result(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	set = result(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	printf("unset %d, is %d\n", set, result(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
}

/* The lines of fdinfo up to what only file handles add. */
static void watches(void)
{
	mkdir("one", 0755);
	mkdir("two", 0755);
	int fd = inotify_init1(IN_NONBLOCK);
	inotify_add_watch(fd, "one", IN_CREATE | IN_DELETE);
	inotify_add_watch(fd, "two", IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONLYDIR);
	char path[64], line[256];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *info = fopen(path, "r");
	while (fgets(line, sizeof line, info)) {
		unsigned number, device, mask;
		unsigned long inode;
		if (sscanf(line, "inotify wd:%x ino:%lx sdev:%x mask:%x ignored_mask:0 ", &number, &inode, &device, &mask) != 4)
			continue;
		struct stat st;
		stat(number == 1 ? "one" : "two", &st);
		printf("watch %u: inode %d, device %d, mask %x\n", number, inode == st.st_ino,
		       device == (major(st.st_dev) << 20 | minor(st.st_dev)), mask);
	}
	fclose(info);
	close(fd);
}

static char texts[2][200000];

static int read_all(char *to, int piece, int *whole)
{
	int fd = open("/proc/self/maps", O_RDONLY), len = 0, got;
	while ((got = read(fd, to + len, piece)) > 0) {
		len += got;
		*whole &= got <= 4096 && to[len - 1] == '\n';
	}
	close(fd);
	return len;
}

/* A read of a long list gives whole lines, a page of them at most. */
static void long_texts(void)
{
	char *pages = mmap(NULL, 1000 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 1000; i += 2)
		mprotect(pages + i * 4096, 4096, PROT_NONE);
	int whole = 1, parts = 1, lines = 0;
	int len = read_all(texts[0], 65536, &whole), again = read_all(texts[1], 100, &parts);
	for (int i = 0; i < len; i++)
		lines += texts[0][i] == '\n';
	printf("whole lines %d, also in small pieces %d, the same %d, all %d\n", whole, parts,
	       len == again && !memcmp(texts[0], texts[1], len), lines > 1000);
	int fd = open("/proc/self/maps", O_RDONLY);
	int got = pread(fd, texts[1], 100, 30000);
	printf("in the middle %d %d\n", got, !memcmp(texts[1], texts[0] + 30000, 100));
	got = pread(fd, texts[1], 10, 10);
	printf("and back %d %d\n", got, !memcmp(texts[1], texts[0] + 10, 10));
	printf("beyond %d\n", (int)pread(fd, texts[1], 10, 1000000));
	close(fd);
}

struct entry {
	uint64_t inode;
	int64_t next;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* Closing what a directory of /proc just told of, or waiting for it, leaves the others in it. */
static void shrinking(void)
{
	_Alignas(8) char buffer[100];
	for (int i = 0; i < 20; i++)
		dup2(0, 40 + i);
	int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY), len, closed = 0, left = 0;
	while ((len = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (int at = 0; at < len; at += ((struct entry *)(buffer + at))->len) {
			int number = atoi(((struct entry *)(buffer + at))->name);
			if (number >= 40 && number < 60)
				closed += close(number) == 0;
		}
	for (int i = 0; i < 20; i++)
		left += fcntl(40 + i, F_GETFD) >= 0;
	close(fd);
	printf("closed %d, left %d\n", closed, left);
	pid_t children[20];
	int seen = 0;
	for (int i = 0; i < 20; i++)
		if ((children[i] = fork()) == 0)
			pause();
	fd = open("/proc", O_RDONLY | O_DIRECTORY);
	while ((len = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (int at = 0; at < len; at += ((struct entry *)(buffer + at))->len)
			for (int i = 0; i < 20; i++)
				if (atoi(((struct entry *)(buffer + at))->name) == children[i]) {
					kill(children[i], SIGKILL);
					waitpid(children[i], NULL, 0);
					seen++;
				}
	close(fd);
	printf("children seen %d\n", seen);
}

int main(void)
{
	umask(022);
	set_group_id();
	fflush(stdout);
	namespaces();
	huge_pages();
	watches();
	long_texts();
	fflush(stdout);
	shrinking();
	return 0;
}
