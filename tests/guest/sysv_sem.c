/* System V semaphores: atomic groups of operations, waiting and waking in order, undo, limits, removal, interruption. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))
#define TRY(what, x) printf("%s: %d\n", what, ({ int v_ = E(x); v_ < 0 ? v_ : 0; }))

static int op(int id, int num, int change, int flags) {
	struct sembuf b = { num, change, flags };
	return semop(id, &b, 1);
}

static void values(const char *what, int id, int n) {
	unsigned short v[8];
	semctl(id, 0, GETALL, v);
	printf("%s:", what);
	for (int i = 0; i < n; i++)
		printf(" %d", v[i]);
	printf("\n");
}

static key_t key(void) {
	return 0x57500000 | (getpid() & 0xffff);
}

/* Until so many wait: for more, or for zero. */
static void await(int id, int num, int what, int count) {
	while (semctl(id, num, what) != count)
		usleep(1000);
}

static void creation(void) {
	TRY("not there", semget(key(), 1, 0600));
	SAY("none", semget(IPC_PRIVATE, 0, 0600));
	SAY("negative", semget(IPC_PRIVATE, -1, 0600));
	SAY("too many", semget(IPC_PRIVATE, 32001, 0600));
	int id = semget(key(), 3, IPC_CREAT | 0640);
	struct semid_ds ds;
	memset(&ds, 0xee, sizeof ds);
	SAY("stat", semctl(id, 0, IPC_STAT, &ds));
	printf("mode %o sems %lu otime %ld ctime %d\n", ds.sem_perm.mode, (unsigned long)ds.sem_nsems, (long)ds.sem_otime,
	       ds.sem_ctime > 0);
	printf("the same %d, with fewer %d\n", semget(key(), 3, 0) == id, semget(key(), 0, 0) == id);
	SAY("more than there are", semget(key(), 4, 0));
	SAY("exclusive", semget(key(), 3, IPC_CREAT | IPC_EXCL | 0600));
	SAY("unknown command", semctl(id, 0, 99));
	SAY("negative id", semctl(-1, 0, GETVAL));
	SAY("nobody", semctl(0x7fff0000, 0, GETVAL));
	SAY("number 3", semctl(id, 3, GETVAL));
	SAY("number -1", semctl(id, -1, GETVAL));
	SAY("set to -1", semctl(id, 0, SETVAL, -1));
	SAY("set to 32768", semctl(id, 0, SETVAL, 32768));
	SAY("set number 3 to 32768", semctl(id, 3, SETVAL, 32768));
	SAY("set number 3", semctl(id, 3, SETVAL, 1));
	SAY("set to 32767", semctl(id, 0, SETVAL, 32767));
	unsigned short all[3] = { 1, 2, 40000 };
	SAY("set all, too large", semctl(id, 0, SETALL, all));
	SAY("set all from nowhere", semctl(id, 0, SETALL, (void *)1));
	values("unchanged", id, 3);
	all[2] = 3;
	SAY("set all", semctl(id, 0, SETALL, all));
	values("changed", id, 3);
	printf("last was me %d\n", semctl(id, 1, GETPID) == getpid());
	ds.sem_perm.mode = 0604;
	ds.sem_perm.uid = 55;
	SAY("set", semctl(id, 0, IPC_SET, &ds));
	semctl(id, 0, IPC_STAT, &ds);
	printf("mode %o uid %d\n", ds.sem_perm.mode, ds.sem_perm.uid);
	SAY("remove", semctl(id, 0, IPC_RMID));
	SAY("remove again", semctl(id, 0, IPC_RMID));
	struct seminfo info;
	TRY("info", semctl(0, 0, IPC_INFO, &info));
	printf("map %d mni %d mns %d mnu %d msl %d opm %d ume %d usz %d vmx %d aem %d\n", info.semmap, info.semmni, info.semmns,
	       info.semmnu, info.semmsl, info.semopm, info.semume, info.semusz, info.semvmx, info.semaem);
	TRY("usage", semctl(0, 0, SEM_INFO, &info));
}

static void operations(void) {
	int id = semget(IPC_PRIVATE, 3, 0600);
	SAY("up", op(id, 0, 5, 0));
	SAY("down", op(id, 0, -3, 0));
	SAY("too far", op(id, 0, -3, IPC_NOWAIT));
	SAY("zero", op(id, 0, 0, IPC_NOWAIT));
	SAY("zero of another", op(id, 1, 0, IPC_NOWAIT));
	SAY("number 3", op(id, 3, 1, 0));
	SAY("over the limit", op(id, 0, 32767, 0));
	struct sembuf group[3] = { { 0, -2, 0 }, { 1, 4, 0 }, { 2, -1, IPC_NOWAIT } };
	SAY("a group that can't", semop(id, group, 3));
	values("nothing was done", id, 3);
	group[2].sem_op = 1;
	SAY("a group that can", semop(id, group, 3));
	values("all of it was done", id, 3);
	struct sembuf twice[2] = { { 1, -3, 0 }, { 1, -3, IPC_NOWAIT } };
	SAY("the same one twice", semop(id, twice, 2));
	values("undone", id, 3);
	SAY("no operations", semop(id, group, 0));
	static struct sembuf many[501];
	SAY("501 operations", semop(id, many, 501));
	for (int i = 0; i < 500; i++)
		many[i] = (struct sembuf){ 2, 1, 0 };
	SAY("500 operations", semop(id, many, 500));
	values("added", id, 3);
	SAY("from nowhere", semop(id, (void *)1, 1));
	SAY("negative id", semop(-1, group, 1));
	SAY("nobody", semop(0x7fff0000, group, 1));
	struct timespec t = { 0, 20000000 };
	struct sembuf wait = { 0, -1, 0 };
	SAY("time over", semtimedop(id, &wait, 1, &t));
	t.tv_nsec = 0;
	SAY("no time", semtimedop(id, &wait, 1, &t));
	t.tv_nsec = 1000000000;
	SAY("bad time", semtimedop(id, &wait, 1, &t));
	t = (struct timespec){ -1, 0 };
	SAY("negative time", semtimedop(id, &wait, 1, &t));
	struct semid_ds ds;
	semctl(id, 0, IPC_STAT, &ds);
	printf("otime %d\n", ds.sem_otime > 0);
	semctl(id, 0, IPC_RMID);
}

static void waiting(void) {
	int id = semget(IPC_PRIVATE, 2, 0600), order[2];
	if (pipe(order))
		return;
	fflush(stdout);
	/* Three that want more, one that wants zero, one that wants two things. */
	for (int i = 0; i < 3; i++) {
		if (fork() == 0) {
			int r = E(op(id, 0, -(i + 1), 0));
			char c = r == 0 ? '1' + i : 'x';
			if (write(order[1], &c, 1) != 1)
				_exit(1);
			_exit(0);
		}
		await(id, 0, GETNCNT, i + 1);
	}
	op(id, 1, 1, 0);
	if (fork() == 0) {
		char c = E(op(id, 1, 0, 0)) == 0 ? 'z' : 'x';
		if (write(order[1], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	await(id, 1, GETZCNT, 1);
	printf("waiting: %d and %d\n", semctl(id, 0, GETNCNT), semctl(id, 1, GETZCNT));
	char c = 0;
	op(id, 0, 1, 0);
	if (read(order[0], &c, 1) == 1)
		printf("one: %c\n", c);
	op(id, 0, 2, 0);
	if (read(order[0], &c, 1) == 1)
		printf("two: %c\n", c);
	op(id, 1, -1, 0);
	if (read(order[0], &c, 1) == 1)
		printf("zero: %c\n", c);
	semctl(id, 0, SETVAL, 10);
	if (read(order[0], &c, 1) == 1)
		printf("three: %c\n", c);
	values("left", id, 2);
	while (wait(NULL) > 0) {
	}
	/* Both at once or neither. */
	semctl(id, 0, SETVAL, 0);
	fflush(stdout);
	if (fork() == 0) {
		struct sembuf both[2] = { { 0, -1, 0 }, { 1, -1, 0 } };
		_exit(semop(id, both, 2) == 0 ? 7 : 8);
	}
	await(id, 0, GETNCNT, 1);
	op(id, 0, 1, 0);
	await(id, 1, GETNCNT, 1);
	printf("it waits for the second: %d %d\n", semctl(id, 0, GETNCNT), semctl(id, 1, GETNCNT));
	values("and holds nothing", id, 2);
	op(id, 1, 1, 0);
	int status;
	wait(&status);
	printf("done: %d\n", WEXITSTATUS(status));
	values("both taken", id, 2);
	/* Removal. */
	fflush(stdout);
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			_exit(op(id, 0, -1, 0) == -1 && errno == EIDRM ? 7 : 8);
	await(id, 0, GETNCNT, 2);
	semctl(id, 0, IPC_RMID);
	for (int i = 0; i < 2; i++) {
		wait(&status);
		printf("removed: %d\n", WEXITSTATUS(status));
	}
}

static void undo(void) {
	int id = semget(IPC_PRIVATE, 3, 0600), status;
	semctl(id, 0, SETVAL, 5);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		SAY("down with undo", op(id, 0, -3, SEM_UNDO));
		SAY("up with undo", op(id, 1, 4, SEM_UNDO));
		SAY("up without", op(id, 2, 1, 0));
		SAY("down again", op(id, 0, -1, SEM_UNDO));
		values("child", id, 3);
		/* A grandchild's end changes nothing of the child's. */
		if (fork() == 0)
			_exit(0);
		wait(NULL);
		values("after a grandchild", id, 3);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	values("undone at exit", id, 3);
	printf("by the child %d\n", semctl(id, 0, GETPID) == child);
	child = fork();
	if (child == 0) {
		op(id, 1, 3, SEM_UNDO);
		/* SETVAL forgets the adjustments. */
		semctl(id, 1, SETVAL, 9);
		op(id, 0, 2, SEM_UNDO);
		op(id, 2, 2, SEM_UNDO);
		semctl(id, 2, SETVAL, 1);
		op(id, 0, -6, 0);
		values("before a kill", id, 3);
		fflush(stdout);
		raise(SIGKILL);
	}
	waitpid(child, &status, 0);
	printf("killed %d\n", WTERMSIG(status));
	values("undone, not below zero", id, 3);
	/* Adjustments have a range as well. */
	semctl(id, 0, SETVAL, 32767);
	child = fork();
	if (child == 0) {
		SAY("down by all", op(id, 0, -32767, SEM_UNDO));
		SAY("up by one", op(id, 0, 1, 0));
		SAY("one too many to undo", op(id, 0, -1, SEM_UNDO));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	values("not above the limit", id, 3);
	/* An exit wakes those whom the undo lets go. */
	semctl(id, 0, SETVAL, 1);
	int go[2];
	if (pipe(go))
		return;
	fflush(stdout);
	child = fork();
	if (child == 0) {
		char c;
		close(go[1]);
		op(id, 0, -1, SEM_UNDO);
		if (read(go[0], &c, 1) != 0)
			_exit(1);
		_exit(0);
	}
	while (semctl(id, 0, GETVAL) != 0)
		usleep(1000);
	pid_t other = fork();
	if (other == 0) {
		close(go[1]);
		_exit(op(id, 0, -1, 0) == 0 ? 7 : 8);
	}
	await(id, 0, GETNCNT, 1);
	close(go[1]);
	waitpid(child, NULL, 0);
	waitpid(other, &status, 0);
	printf("woken by an exit: %d\n", WEXITSTATUS(status));
	/* exec keeps the adjustments. */
	semctl(id, 0, SETVAL, 0);
	child = fork();
	if (child == 0) {
		op(id, 0, 4, SEM_UNDO);
		char arg[16];
		snprintf(arg, sizeof arg, "%d", id);
		execl("/proc/self/exe", "sysv_sem", arg, NULL);
		_exit(1);
	}
	waitpid(child, &status, 0);
	printf("exec saw %d, afterwards %d\n", WEXITSTATUS(status), semctl(id, 0, GETVAL));
	semctl(id, 0, IPC_RMID);
}

static volatile int handled;

static void handler(int sig) {
	(void)sig;
	handled++;
}

static void interruption(void) {
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &sa, NULL);
	fflush(stdout);
	pid_t parent = getpid(), child = fork();
	if (child == 0) {
		await(id, 0, GETNCNT, 1);
		kill(parent, SIGUSR1);
		await(id, 0, GETNCNT, 0);
		_exit(0);
	}
	SAY("interrupted, SA_RESTART or not", op(id, 0, -1, 0));
	printf("handled %d\n", handled);
	waitpid(child, NULL, 0);
	semctl(id, 0, IPC_RMID);
}

static void permissions(void) {
	int id = semget(key(), 1, IPC_CREAT | 0604);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		SAY("read a value", semctl(id, 0, GETVAL));
		SAY("wait for zero", op(id, 0, 0, 0));
		SAY("up", op(id, 0, 1, 0));
		SAY("set", semctl(id, 0, SETVAL, 1));
		unsigned short all[1] = { 1 };
		SAY("set all", semctl(id, 0, SETALL, all));
		SAY("remove", semctl(id, 0, IPC_RMID));
		TRY("open for reading", semget(key(), 1, 0004));
		SAY("open for writing", semget(key(), 1, 0002));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	char line[300];
	FILE *file = fopen("/proc/sysvipc/sem", "r");
	if (!file || !fgets(line, sizeof line, file))
		return;
	printf("%s", line);
	while (fgets(line, sizeof line, file)) {
		int k, n, mode, count, uid;
		if (sscanf(line, "%d %d %o %d %d", &k, &n, (unsigned *)&mode, &count, &uid) == 5 && k == key())
			printf("length %zu: mode %o count %d owner %d\n", strlen(line), mode, count, uid);
	}
	fclose(file);
	semctl(id, 0, IPC_RMID);
}

int main(int argc, char **argv) {
	if (argc > 1)
		return semctl(atoi(argv[1]), 0, GETVAL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	creation();
	operations();
	waiting();
	undo();
	interruption();
	permissions();
	return 0;
}
