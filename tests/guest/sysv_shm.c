/* System V shared memory: keys, attachments over fork, exec and exit, removal while attached, permissions, futexes in segments. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#ifndef SHM_EXEC
#define SHM_EXEC 0100000
#endif
#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))
/* Whether a call that returns a number succeeded. */
#define TRY(what, x) printf("%s: %d\n", what, ({ int v_ = E(x); v_ < 0 ? v_ : 0; }))
/* The same for an address. */
#define MAP(what, x) printf("%s: %d\n", what, ({ errno = 0; (x) == (void *)-1 ? -errno : 0; }))

static void show(const char *what, int id) {
	struct shmid_ds ds;
	memset(&ds, 0xee, sizeof ds);
	int r = E(shmctl(id, IPC_STAT, &ds));
	printf("%s: %d", what, r);
	if (r >= 0)
		printf(" size %zu mode %o attached %lu uid %d gid %d creator me %d last me %d times %d%d%d", ds.shm_segsz,
		       ds.shm_perm.mode, (unsigned long)ds.shm_nattch, ds.shm_perm.uid, ds.shm_perm.gid, ds.shm_cpid == getpid(),
		       ds.shm_lpid == getpid(), ds.shm_atime > 0, ds.shm_dtime > 0, ds.shm_ctime > 0);
	printf("\n");
}

static key_t key(void) {
	return 0x57400000 | (getpid() & 0xffff);
}

static void creation(void) {
	TRY("no key, not there", shmget(key(), PAGE, 0600));
	SAY("size 0", shmget(IPC_PRIVATE, 0, 0600));
	SAY("size -1", shmget(IPC_PRIVATE, -1, 0600));
	int id = shmget(key(), 3 * PAGE + 100, IPC_CREAT | 0640);
	show("new", id);
	printf("the same %d\n", shmget(key(), 0, 0) == id);
	printf("the same %d\n", shmget(key(), 3 * PAGE + 100, IPC_CREAT | 0600) == id);
	SAY("exclusive", shmget(key(), PAGE, IPC_CREAT | IPC_EXCL | 0600));
	SAY("larger", shmget(key(), 4 * PAGE, 0600));
	SAY("unknown command", shmctl(id, 99, NULL));
	SAY("stat of -1", shmctl(-1, IPC_STAT, NULL));
	SAY("stat of nobody", shmctl(0x7fff0000, IPC_STAT, (void *)1));
	SAY("stat nowhere", shmctl(id, IPC_STAT, (void *)1));
	struct shmid_ds ds;
	shmctl(id, IPC_STAT, &ds);
	ds.shm_perm.mode = 07604;
	ds.shm_perm.uid = 77;
	SAY("set", shmctl(id, IPC_SET, &ds));
	show("after set", id);
	ds.shm_perm.uid = -1;
	SAY("set to nobody", shmctl(id, IPC_SET, &ds));
	SAY("set from nowhere", shmctl(id, IPC_SET, (void *)1));
	SAY("lock", shmctl(id, SHM_LOCK, NULL));
	show("locked", id);
	SAY("unlock", shmctl(id, SHM_UNLOCK, NULL));
	SAY("remove", shmctl(id, IPC_RMID, NULL));
	SAY("remove again", shmctl(id, IPC_RMID, NULL));
	TRY("key is gone", shmget(key(), 0, 0));
	int a = shmget(IPC_PRIVATE, 1, 0), b = shmget(IPC_PRIVATE, 1, 0);
	printf("private ones differ %d\n", a != b);
	shmctl(a, IPC_RMID, NULL);
	printf("an old identifier is not used again %d\n", shmget(IPC_PRIVATE, 1, 0) != a);
	shmctl(b, IPC_RMID, NULL);
	struct shminfo info;
	TRY("info", shmctl(0, IPC_INFO, (void *)&info));
	printf("max %lu min %lu number %lu per process %lu all %lu\n", (unsigned long)info.shmmax, (unsigned long)info.shmmin,
	       (unsigned long)info.shmmni, (unsigned long)info.shmseg, (unsigned long)info.shmall);
	struct shm_info used;
	TRY("usage", shmctl(0, SHM_INFO, (void *)&used));
}

static void attaching(void) {
	int id = shmget(IPC_PRIVATE, 2 * PAGE + 10, 0600);
	char *p = shmat(id, NULL, 0), *q = shmat(id, NULL, SHM_RDONLY);
	show("attached twice", id);
	strcpy(p, "shared");
	printf("seen: %s, zeros %d\n", q, p[2 * PAGE + 4000]);
	SAY("write access to what is read-only", mprotect(q, PAGE, PROT_READ | PROT_WRITE));
	MAP("at an odd address", shmat(id, p + 1, 0));
	MAP("where it is already", shmat(id, p, 0));
	MAP("remap without an address", shmat(id, NULL, SHM_REMAP));
	MAP("replacing", shmat(id, q, SHM_REMAP));
	show("replaced", id);
	strcpy(q, "again");
	printf("seen: %s\n", p);
	char *r = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(r, 16 * PAGE);
	printf("rounded %d\n", shmat(id, r + 4 * PAGE + 5, SHM_RND) == r + 4 * PAGE);
	SAY("detach inside", shmdt(r + 5 * PAGE));
	SAY("detach odd", shmdt(r + 4 * PAGE + 1));
	SAY("detach", shmdt(r + 4 * PAGE));
	SAY("detach again", shmdt(r + 4 * PAGE));
	SAY("detach what is no segment", shmdt(0));
	MAP("attach nobody", shmat(0x7fff0000, NULL, 0));
	MAP("attach -1", shmat(-1, NULL, 0));

	/* Part of it unmapped: the rest can be used, and detached as a whole. */
	munmap(q + PAGE, PAGE);
	q[2 * PAGE] = 'x';
	printf("behind the hole %c\n", p[2 * PAGE]);
	SAY("detach around a hole", shmdt(q));
	show("one left", id);

	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		show("in the child", id);
		strcpy(p, "child");
		SAY("child detaches", shmdt(p));
		SAY("remove", shmctl(id, IPC_RMID, NULL));
		show("removed, parent attached", id);
		MAP("attach what is removed", shmat(id, NULL, 0));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	show("parent", id);
	printf("parent sees: %s\n", p);
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[300], name[64];
	snprintf(name, sizeof name, "/SYSV00000000 (deleted)");
	int found = 0;
	while (fgets(line, sizeof line, maps))
		found += strstr(line, name) != NULL;
	fclose(maps);
	printf("in maps %d\n", found);
	SAY("last one detaches", shmdt(p));
	show("gone", id);

	id = shmget(IPC_PRIVATE, PAGE, 0600);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		p = shmat(id, NULL, 0);
		strcpy(p, "kept");
		_exit(0);
	}
	waitpid(child, NULL, 0);
	show("child ended", id);
	p = shmat(id, NULL, 0);
	printf("it wrote: %s\n", p);
	child = vfork();
	if (child == 0) {
		execl("/proc/self/exe", "sysv_shm", "stat", NULL);
		_exit(1);
	}
	waitpid(child, NULL, 0);
	show("still attached", id);
	SAY("remove", shmctl(id, IPC_RMID, NULL));
	shmdt(p);
	show("gone", id);
}

static int futex(int *word, int op, int val) {
	return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

static void futexes(void) {
	int id = shmget(IPC_PRIVATE, PAGE, 0600);
	int *a = shmat(id, NULL, 0), *b = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		while (__atomic_load_n(a, __ATOMIC_SEQ_CST) == 0)
			futex(a, FUTEX_WAIT, 0);
		_exit(*a);
	}
	/* By the other mapping: what counts is the segment, not the address. */
	__atomic_store_n(b, 23, __ATOMIC_SEQ_CST);
	int status, woken = 0;
	while (waitpid(child, &status, WNOHANG) == 0) {
		woken += futex(b, FUTEX_WAKE, 1) > 0;
		usleep(1000);
	}
	printf("child woke up with %d\n", WEXITSTATUS(status));
}

static void permissions(void) {
	int id = shmget(key(), PAGE, IPC_CREAT | 0604);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		MAP("others read", shmat(id, NULL, SHM_RDONLY));
		MAP("others write", shmat(id, NULL, 0));
		MAP("others execute", shmat(id, NULL, SHM_RDONLY | SHM_EXEC));
		TRY("open for reading", shmget(key(), 0, 0004));
		SAY("open for writing", shmget(key(), 0, 0002));
		SAY("larger comes first", shmget(key(), 2 * PAGE, 0002));
		struct shmid_ds ds;
		SAY("stat", shmctl(id, IPC_STAT, &ds));
		SAY("set", shmctl(id, IPC_SET, &ds));
		SAY("remove", shmctl(id, IPC_RMID, NULL));
		SAY("lock", shmctl(id, SHM_LOCK, NULL));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	id = shmget(IPC_PRIVATE, PAGE, 0);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		if (setresuid(1000, 1000, 1000))
			_exit(1);
		MAP("mode 0: read", shmat(id, NULL, SHM_RDONLY));
		struct shmid_ds ds;
		SAY("mode 0: stat", shmctl(id, IPC_STAT, &ds));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
}

static void table(void) {
	int id = shmget(key(), 5000, IPC_CREAT | 0600);
	char *p = shmat(id, NULL, 0), line[400];
	p[0] = 1;
	FILE *file = fopen("/proc/sysvipc/shm", "r");
	if (!file || !fgets(line, sizeof line, file))
		return;
	printf("%s", line);
	while (fgets(line, sizeof line, file)) {
		unsigned k, n, mode, creator, last, attached, uid, gid, cuid, cgid;
		unsigned long size, at, dt, ct, rss, swap;
		int fields = sscanf(line, "%d %u %o %lu %u %u %u %u %u %u %u %lu %lu %lu %lu %lu", (int *)&k, &n, &mode, &size, &creator,
				    &last, &attached, &uid, &gid, &cuid, &cgid, &at, &dt, &ct, &rss, &swap);
		if (k == (unsigned)key())
			printf("%d fields, length %zu: mode %o size %lu attached %u owner %u rss %lu swap %lu\n", fields, strlen(line), mode,
			       size, attached, uid, rss, swap);
	}
	fclose(file);
	shmdt(p);
	shmctl(id, IPC_RMID, NULL);
}

int main(int argc, char **argv) {
	if (argc > 1) {
		/* After exec: nothing is attached. */
		FILE *maps = fopen("/proc/self/maps", "r");
		char line[300];
		int found = 0;
		while (fgets(line, sizeof line, maps))
			found += strstr(line, "SYSV") != NULL;
		printf("after exec (%s): %d attached\n", argv[1], found);
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	creation();
	attaching();
	futexes();
	permissions();
	table();
	return 0;
}
