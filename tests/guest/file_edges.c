/* musl only. Files at their edges: calls at the largest offset and over limits, RWF_APPEND, and what two threads do to a file at the same time: renames, faults, truncations, closing. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(what, x) do { errno = 0; long r_ = (x); printf("%s: %ld %s\n", what, r_, r_ < 0 ? strerror(errno) : ""); fflush(stdout); } while (0)
enum { PAGE = 4096, APPEND = 0x10, NOAPPEND = 0x20 };

static char page[PAGE];

static int new_file(const char *name, int flags)
{
	return open(name, O_CREAT | O_RDWR | flags, 0666);
}

static long write_as(int fd, const char *text, long at, int flags)
{
	struct iovec v = { (void *)text, strlen(text) };
	return syscall(SYS_pwritev2, fd, &v, 1, at, 0, flags);
}

static struct rlimit usual;

static void lower_limit(rlim_t to)
{
	getrlimit(RLIMIT_FSIZE, &usual);
	struct rlimit low = { to, usual.rlim_max };
	setrlimit(RLIMIT_FSIZE, &low);
}

static void offsets(void)
{
	struct stat a, b;
	char c;
	int fd = new_file("f", 0);
	signal(SIGXFSZ, SIG_IGN);
	lower_limit(2 * PAGE);
	SAY("reserve over the limit", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16 * PAGE));
	setrlimit(RLIMIT_FSIZE, &usual);
	ftruncate(fd, 100);
	fstat(fd, &a);
	usleep(20000);
	SAY("write nothing", pwrite(fd, "", 0, 0));
	fstat(fd, &b);
	printf("modified: %d\n", memcmp(&a.st_mtim, &b.st_mtim, sizeof a.st_mtim) != 0);
	lseek(fd, LONG_MAX, SEEK_SET);
	SAY("read at the end of all", read(fd, &c, 1));
	SAY("read nothing there", read(fd, &c, 0));
	SAY("write there", write(fd, "x", 1));
	SAY("write nothing there", write(fd, "x", 0));
	lseek(fd, LONG_MAX - 1, SEEK_SET);
	SAY("read over it", read(fd, &c, 2));
	SAY("write over it", write(fd, "xy", 2));
	SAY("write up to it", write(fd, "x", 1));
	fstat(fd, &a);
	printf("size: %ld\n", (long)a.st_size);
	close(fd);
	fd = new_file("set-id", 0);
	fchmod(fd, 04755);
	if (!fork()) {
		setgid(1000);
		setuid(1000);
		SAY("keep another's owner", chown("set-id", -1, -1));
		_exit(0);
	}
	wait(NULL);
	fstat(fd, &a);
	printf("mode: %o\n", a.st_mode & 07777);
	close(fd);
	mkdir("small", 0755);
	mount("none", "small", "tmpfs", 0, "size=64k");
	fd = new_file("small/f", 0);
	for (int i = 0; i < 8; i++)
		write(fd, page, PAGE);
	SAY("smaller than used", mount("none", "small", "tmpfs", MS_REMOUNT, "size=16k"));
	SAY("as large as used", mount("none", "small", "tmpfs", MS_REMOUNT, "size=32k"));
	SAY("more", write(fd, page, PAGE));
	SAY("fewer inodes", mount("none", "small", "tmpfs", MS_REMOUNT, "nr_inodes=1"));
	close(fd);
	umount("small");
}

static void *append_x(void *fd)
{
	for (int i = 0; i < 2000; i++)
		if (write_as(*(int *)fd, "x", 0, APPEND) != 1)
			perror("append");
	return NULL;
}

static void appends(void)
{
	char text[32] = "";
	struct stat s;
	pthread_t t;
	int fd = new_file("a", 0);
	write_as(fd, "0123456789", 0, 0);
	SAY("append", write_as(fd, "a", 2, APPEND));
	SAY("offset", lseek(fd, 0, SEEK_CUR));
	SAY("append at the offset", write_as(fd, "b", -1, APPEND));
	SAY("offset", lseek(fd, 0, SEEK_CUR));
	SAY("append nothing", write_as(fd, "", -1, APPEND));
	fcntl(fd, F_SETFL, O_APPEND);
	SAY("don't", write_as(fd, "c", 0, NOAPPEND));
	lseek(fd, 4, SEEK_SET);
	SAY("don't, at the offset", write_as(fd, "d", -1, NOAPPEND));
	SAY("offset", lseek(fd, 0, SEEK_CUR));
	SAY("O_APPEND", write_as(fd, "e", 0, 0));
	SAY("both", write_as(fd, "f", 0, APPEND | NOAPPEND));
	SAY("too far", write_as(fd, "f", LONG_MAX, NOAPPEND));
	SAY("too far to append", write_as(fd, "f", LONG_MAX, APPEND));
	lower_limit(4);
	SAY("over the limit", write(fd, "f", 1));
	SAY("offset", lseek(fd, 0, SEEK_CUR));
	setrlimit(RLIMIT_FSIZE, &usual);
	pread(fd, text, sizeof text - 1, 0);
	printf("text: %s\n", text);
	ftruncate(fd, 0);
	fcntl(fd, F_SETFL, 0);
	pthread_create(&t, NULL, append_x, &fd);
	append_x(&fd);
	pthread_join(t, NULL);
	fstat(fd, &s);
	printf("appended by two: %ld\n", (long)s.st_size);
	close(fd);
}

static void list_while_renaming(void)
{
	enum { COUNT = 300 };
	char name[32];
	int seen = 0;
	mkdir("list", 0755);
	chdir("list");
	for (int i = 0; i < COUNT; i++) {
		sprintf(name, "%d", i);
		close(new_file(name, 0));
	}
	DIR *dir = opendir(".");
	for (struct dirent *e; (e = readdir(dir)) && seen < 20 * COUNT;) {
		if (e->d_name[0] == '.')
			continue;
		seen++;
		rename(e->d_name, "other");
		rename("other", e->d_name);
	}
	printf("listing %s\n", seen < 2 * COUNT ? "ended" : "goes on");
	rewinddir(dir);
	for (seen = 0; readdir(dir); seen++)
		;
	printf("then %d entries\n", seen);
	closedir(dir);
	chdir("..");
}

/* A thread that does `step` once for each round, beside the caller. */
static atomic_int go, done, stop;
static void (*step)(int round);

static void *rounds(void *unused)
{
	for (int mine = 0; !stop;) {
		int round = go;
		if (round == mine) {
			sched_yield();
			continue;
		}
		mine = round;
		step(round);
		done = round;
	}
	return NULL;
}

static pthread_t beside(void (*what)(int))
{
	pthread_t t;
	step = what;
	go = done = stop = 0;
	pthread_create(&t, NULL, rounds, NULL);
	return t;
}

static void delay(int turns)
{
	for (volatile int i = 0; i < turns; i++)
		;
}

static void finish(void)
{
	while (done != go)
		sched_yield();
}

static void end(pthread_t t)
{
	stop = 1;
	pthread_join(t, NULL);
}

static int fd, missed, is_made;
static volatile char *map;
static sigjmp_buf back;

static void look(int round)
{
	struct stat s;
	for (int i = 0; i < 20; i++)
		if (stat("target", &s))
			missed++;
}

static void look_at_old(int round)
{
	struct stat s;
	for (int i = 0; i < 3; i++)
		stat("old", &s);
}

static void remove_kept(int round)
{
	char name[32];
	for (int i = 0; i < 4; i++) {
		sprintf(name, "v%d", i);
		rmdir(name);
	}
}

static void make(int round)
{
	int f = openat(fd, "x", O_CREAT | O_RDWR, 0666);
	is_made = f >= 0;
	close(f);
}

static void renames(void)
{
	char name[32];
	close(new_file("target", 0));
	pthread_t t = beside(look);
	for (int i = 1; i <= 500; i++) {
		close(new_file("new", 0));
		go = i;
		for (int k = 0; k < 3; k++) {
			rename("new", "target");
			close(new_file("new", 0));
		}
		finish();
	}
	end(t);
	printf("replaced names missed: %d\n", missed);

	int stale = 0;
	struct stat s;
	t = beside(look_at_old);
	for (int i = 1; i <= 1000; i++) {
		close(new_file("old", 0));
		go = i;
		delay(i % 64 * 8);
		rename("old", "gone");
		finish();
		stale += stat("old", &s) == 0;
		unlink("gone");
	}
	end(t);
	printf("old names found: %d\n", stale);

	for (int i = 0; i < 4; i++) {
		sprintf(name, "v%d", i);
		mkdir(name, 0755);
		sprintf(name, "v%d/kept", i);
		close(new_file(name, 0));
	}
	t = beside(remove_kept);
	for (int i = 1; i <= 300; i++) {
		go = i;
		for (int k = 0; k < 4; k++) {
			sprintf(name, "v%d/moved", k);
			rename("new", name);
			rename(name, "new");
		}
		finish();
	}
	end(t);
	printf("moved beside rmdir\n");

	int both = 0;
	t = beside(make);
	for (int i = 1; i <= 300; i++) {
		mkdir("empty", 0755);
		mkdir("other", 0755);
		fd = open("empty", O_RDONLY | O_DIRECTORY);
		go = i;
		delay(i % 64 * 8);
		int replaced = rename("other", "empty") == 0;
		finish();
		both += replaced && is_made;
		close(fd);
		unlink("empty/x");
		rmdir("empty");
		rmdir("other");
	}
	end(t);
	printf("made in a replaced directory: %d\n", both);
}

static void touch(int round)
{
	delay(round % 97);
	is_made += map[0];
}

static void bus_error(int signal)
{
	siglongjmp(back, 1);
}

static void write_until_cut(int round)
{
	if (sigsetjmp(back, 1))
		return;
	delay(round % 37);
	for (unsigned i = 1;; i++) {
		map[0] = 'A';
		if (i % 256 == 0)
			sched_yield();
	}
}

static void faults(void)
{
	int lost = 0, stale = 0;
	char c;
	fd = new_file("m", 0);
	ftruncate(fd, PAGE);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(page, 'A', PAGE);
	pthread_t t = beside(touch);
	for (int i = 1; i <= 1000; i++) {
		ftruncate(fd, 0);
		ftruncate(fd, PAGE);
		go = i;
		delay(i % 13);
		pwrite(fd, page, PAGE, 0);
		finish();
		lost += pread(fd, &c, 1, 0) == 1 && c != 'A';
	}
	end(t);
	printf("writes lost: %d\n", lost);
	signal(SIGBUS, bus_error);
	t = beside(write_until_cut);
	for (int i = 1; i <= 500; i++) {
		go = i;
		delay(i % 101);
		ftruncate(fd, 0);
		finish();
		ftruncate(fd, PAGE);
		stale += pread(fd, &c, 1, 0) == 1 && c;
		ftruncate(fd, 0);
		ftruncate(fd, PAGE);
	}
	end(t);
	printf("stale pages: %d\n", stale);
	close(fd);
}

static const char *names[] = { "null", "zero", "full", "random", "urandom", "tty" };

static void look_up(int round)
{
	struct stat s;
	char name[32];
	sprintf(name, "dev/%s", names[round % 6]);
	missed += lstat(name, &s) != 0;
}

static void devices(void)
{
	struct stat s;
	char name[32];
	mkdir("dev", 0755);
	missed = 0;
	pthread_t t = beside(look_up);
	SAY("a new /dev", mount("none", "dev", "devtmpfs", 0, ""));
	SAY("made anew", open("dev/full", O_CREAT | O_EXCL | O_RDWR, 0666));
	lstat("dev/full", &s);
	printf("kind %o\n", s.st_mode & S_IFMT);
	umount2("dev", MNT_DETACH);
	for (int i = 0, round = 1; i < 40; i++) {
		mount("none", "dev", "devtmpfs", 0, "");
		for (int k = 0; k < 6; k++, round++) {
			sprintf(name, "dev/%s", names[round % 6]);
			go = round;
			delay(i * 2);
			missed += lstat(name, &s) != 0;
			finish();
		}
		umount2("dev", MNT_DETACH);
	}
	end(t);
	printf("devices missed: %d\n", missed);
}

static void *wait_for_lock(void *unused)
{
	struct flock l = { .l_type = F_WRLCK };
	SAY("lock of a closed file", fcntl(fd, F_SETLKW, &l));
	return NULL;
}

static void locks(void)
{
	int ask[2], answer[2], kept = new_file("l", 0);
	struct flock l = { .l_type = F_WRLCK };
	pthread_t t;
	char c;
	pipe(ask);
	pipe(answer);
	pid_t holder = fork();
	if (!holder) {
		fcntl(kept, F_SETLK, &l);
		write(answer[1], "x", 1);
		read(ask[0], &c, 1);
		_exit(0);
	}
	read(answer[0], &c, 1);
	pid_t waiter = fork();
	if (!waiter) {
		close(kept);
		fd = open("l", O_RDWR);
		pthread_create(&t, NULL, wait_for_lock, NULL);
		usleep(50000);
		close(fd);
		write(ask[1], "x", 1);
		pthread_join(t, NULL);
		_exit(0);
	}
	waitpid(holder, NULL, 0);
	waitpid(waiter, NULL, 0);
	fcntl(kept, F_GETLK, &l);
	printf("afterwards it is %s\n", l.l_type == F_UNLCK ? "free" : "locked");
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	mkdir("edges", 0755);
	if (mount("none", "edges", "tmpfs", 0, ""))
		return 1;
	chdir("edges");
	offsets();
	appends();
	list_while_renaming();
	renames();
	faults();
	devices();
	locks();
	chdir("..");
	umount2("edges", MNT_DETACH);
	return 0;
}
