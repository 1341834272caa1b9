/* Futexes with priority inheritance, raw and by pthread mutexes; robust lists. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static int tid(void) {
	return syscall(SYS_gettid);
}

static int futex(void *at, int op, unsigned val, const void *timeout, void *at2, unsigned val3) {
	int r = syscall(SYS_futex, at, op, val, timeout, at2, val3);
	return r < 0 ? -errno : r;
}

static atomic_uint word, other;
static atomic_int stage;

static void until(int s) {
	while (stage < s)
		usleep(1000);
}

/* Waits until the thread sleeps. */
static void asleep(int t) {
	char path[64], state = 0, buf[512];
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", t);
	while (state != 'S') {
		FILE *f = fopen(path, "r");
		if (!f)
			return;
		size_t n = fread(buf, 1, sizeof buf - 1, f);
		buf[n] = 0;
		fclose(f);
		char *end = strrchr(buf, ')');
		if (end)
			state = end[2];
		usleep(1000);
	}
}

static void alone(void) {
	int me = tid();
	word = 0;
	printf("lock free %d", futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	printf(", word is ours %d\n", word == (unsigned)me);
	printf("lock own %d\n", futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	printf("trylock own %d\n", futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
	printf("unlock %d", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	printf(", word %x\n", word);
	printf("unlock free %d\n", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	word = 999999;
	printf("lock of nobody %d", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	printf(", word %x\n", word);
	word = 999999;
	printf("trylock of nobody %d, unlock %d\n", futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0),
	       futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
	word = FUTEX_OWNER_DIED;
	printf("lock of the dead %d", futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	printf(", word %d\n", word == (FUTEX_OWNER_DIED | (unsigned)me));
	printf("unlock %d", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	printf(", word %x\n", word);
	printf("lock2 %d", futex(&word, FUTEX_LOCK_PI2, 0, NULL, NULL, 0));
	printf(" with wall clock %d\n", futex(&other, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
	futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	futex(&other, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	printf("misaligned %d\n", futex((char *)&word + 1, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	printf("bad address %d %d %d\n", futex((void *)16, FUTEX_LOCK_PI, 0, NULL, NULL, 0),
	       futex((void *)16, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), futex((void *)16, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
	struct timespec bad = { 1, 2000000000 };
	printf("bad time %d\n", futex(&word, FUTEX_LOCK_PI, 0, &bad, NULL, 0));
	printf("wall clock where it has no place %d %d %d\n", futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), futex(&word, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0),
	       futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
	printf("requeue: same word %d, wakes two %d\n", futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &word, 0),
	       futex(&word, FUTEX_CMP_REQUEUE_PI, 2, (void *)1, &other, 0));
	printf("requeue: value %d\n", futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &other, 5));
	printf("requeue nobody %d\n", futex(&word, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &other, 0));
	printf("wait requeue: same word %d, value %d\n", futex(&word, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &word, 0),
	       futex(&word, FUTEX_WAIT_REQUEUE_PI, 5, NULL, &other, 0));
	word = 0;
}

static atomic_int waiter_tid;

static void *takes(void *arg) {
	(void)arg;
	waiter_tid = tid();
	stage = 1;
	int r = futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	until(3);
	printf("waiter: %d, owner %d, waiters %d\n", r, (word & FUTEX_TID_MASK) == (unsigned)tid(), !!(word & FUTEX_WAITERS));
	printf("waiter unlocks %d", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	printf(", word %x\n", word);
	return NULL;
}

static void handed_over(void) {
	pthread_t t;
	stage = 0;
	futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	pthread_create(&t, NULL, takes, NULL);
	until(1);
	asleep(waiter_tid);
	printf("word has waiters %d\n", !!(word & FUTEX_WAITERS));
	printf("own again %d\n", futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	printf("unlock %d\n", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	printf("no longer ours %d\n", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	stage = 3;
	pthread_join(t, NULL);
}

static void *others_unlock(void *arg) {
	(void)arg;
	printf("other: unlock %d, trylock %d\n", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	printf("other: times out %d\n", futex(&word, FUTEX_LOCK_PI, 0, &ts, NULL, 0));
	clock_gettime(CLOCK_MONOTONIC, &ts);
	printf("other: timed out already %d\n", futex(&word, FUTEX_LOCK_PI2, 0, &ts, NULL, 0));
	return NULL;
}

static void refused(void) {
	pthread_t t;
	futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	pthread_create(&t, NULL, others_unlock, NULL);
	pthread_join(t, NULL);
	printf("still ours %d\n", (word & FUTEX_TID_MASK) == (unsigned)tid());
	printf("unlock %d\n", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

static void *circle(void *arg) {
	(void)arg;
	waiter_tid = tid();
	futex(&other, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	stage = 1;
	printf("second waits %d\n", futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	futex(&other, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	return NULL;
}

static void deadlock(void) {
	pthread_t t;
	stage = 0;
	futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	pthread_create(&t, NULL, circle, NULL);
	until(1);
	asleep(waiter_tid);
	printf("circle %d\n", futex(&other, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	pthread_join(t, NULL);
}

/* With an argument at once, else when somebody waits. */
static void *dies(void *arg) {
	futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	if (arg)
		return NULL;
	stage = 1;
	until(2);
	asleep(waiter_tid);
	return NULL;
}

static void *waits_for_the_dead(void *arg) {
	(void)arg;
	waiter_tid = tid();
	stage = 2;
	int r = futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	printf("heir: %d, word %d\n", r, (word & ~FUTEX_WAITERS) == (FUTEX_OWNER_DIED | (unsigned)tid()));
	printf("heir unlocks %d", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	printf(", word %x\n", word);
	return NULL;
}

static void death(void) {
	pthread_t a, b;
	stage = 0;
	word = 0;
	pthread_create(&a, NULL, dies, NULL);
	until(1);
	pthread_create(&b, NULL, waits_for_the_dead, NULL);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_create(&a, NULL, dies, &word);
	pthread_join(a, NULL);
	printf("lock of a dead thread %d\n", futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	word = 0;
}

static atomic_int handled;

static void handler(int sig) {
	(void)sig;
	handled++;
}

static void *interrupted(void *arg) {
	(void)arg;
	waiter_tid = tid();
	stage = 1;
	int r = futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	printf("interrupted and restarted: %d, handled %d\n", r, handled);
	futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	return NULL;
}

static void signals(void) {
	pthread_t t;
	struct sigaction sa = { .sa_handler = handler };
	sigaction(SIGUSR1, &sa, NULL);
	stage = 0;
	futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	pthread_create(&t, NULL, interrupted, NULL);
	until(1);
	asleep(waiter_tid);
	pthread_kill(t, SIGUSR1);
	while (!handled)
		usleep(1000);
	asleep(waiter_tid);
	futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	pthread_join(t, NULL);
}

static atomic_uint condition;
static atomic_int waiting, got;

static void *requeued(void *arg) {
	(void)arg;
	waiting++;
	int r = futex(&condition, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &word, 0);
	got += r == 0 && (word & FUTEX_TID_MASK) == (unsigned)tid();
	futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
	return NULL;
}

static int requeue_when(int count, int more) {
	int moved = 0;
	/* Those that are about to wait aren't there yet. */
	while (moved < count) {
		int r = futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, (void *)(long)more, &word, 0);
		if (r < 0)
			return r;
		moved += r;
		usleep(1000);
	}
	return moved;
}

static void requeue(void) {
	pthread_t t[4];
	word = 0;
	futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, requeued, NULL);
	while (waiting < 4)
		usleep(1000);
	printf("requeued %d\n", requeue_when(4, 100));
	printf("unlock %d\n", futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("all had the lock: %d\n", got);
	waiting = got = 0;
	word = 0;
	pthread_create(&t[0], NULL, requeued, NULL);
	while (waiting < 1)
		usleep(1000);
	printf("given at once %d\n", requeue_when(1, 0));
	pthread_join(t[0], NULL);
	printf("had it: %d\n", got);
	struct timespec ts = { 0, 1 };
	word = 0;
	printf("wait requeue: timed out %d\n", futex(&condition, FUTEX_WAIT_REQUEUE_PI, 0, &ts, &word, 0));
}

static int counter;
static pthread_mutex_t mutex;

static void *counts(void *arg) {
	(void)arg;
	for (int i = 0; i < 3000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		if (i % 64 == 0)
			sched_yield();
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void *dies_with_mutex(void *arg) {
	pthread_mutex_lock(arg);
	return NULL;
}

static void mutexes(void) {
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	printf("protocol %d\n", pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT));
	pthread_mutex_init(&mutex, &attr);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, counts, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("counted %d\n", counter);
	for (int pi = 0; pi < 2; pi++) {
		pthread_mutexattr_setprotocol(&attr, pi ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
		pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
		pthread_mutex_t m;
		pthread_mutex_init(&m, &attr);
		pthread_create(&t[0], NULL, dies_with_mutex, &m);
		pthread_join(t[0], NULL);
		printf("robust, pi %d: %d", pi, pthread_mutex_lock(&m) == EOWNERDEAD);
		printf(" consistent %d", pthread_mutex_consistent(&m));
		printf(" unlock %d", pthread_mutex_unlock(&m));
		printf(" lock %d", pthread_mutex_lock(&m));
		printf(" again %d\n", pthread_mutex_lock(&m) == EDEADLK);
		pthread_mutex_unlock(&m);
	}
}

/* Shared between processes, one of which is killed. */
static void processes(void) {
	struct {
		pthread_mutex_t m;
		atomic_int step;
	} *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int pi = 0; pi < 2; pi++) {
		pthread_mutexattr_t attr;
		pthread_mutexattr_init(&attr);
		pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
		pthread_mutexattr_setprotocol(&attr, pi ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
		pthread_mutex_init(&shared->m, &attr);
		shared->step = 0;
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			pthread_mutex_lock(&shared->m);
			shared->step = 1;
			pause();
		}
		while (!shared->step)
			usleep(1000);
		pid_t killer = fork();
		if (killer == 0) {
			usleep(20000);
			kill(pid, SIGKILL);
			_exit(0);
		}
		printf("killed owner, pi %d: %d\n", pi, pthread_mutex_lock(&shared->m) == EOWNERDEAD);
		pthread_mutex_consistent(&shared->m);
		pthread_mutex_unlock(&shared->m);
		waitpid(pid, NULL, 0);
		waitpid(killer, NULL, 0);
	}
}

static void robust_lists(void) {
	void *head = NULL, *parents = NULL;
	size_t len = 0;
	printf("own list %d", (int)syscall(SYS_get_robust_list, 0, &parents, &len));
	printf(" length %d\n", (int)len);
	int r = syscall(SYS_get_robust_list, 999999, &head, &len);
	printf("of nobody %d %d\n", r, errno == ESRCH);
	static char list[24];
	fflush(stdout);
	pid_t parent = getpid();
	if (fork() == 0) {
		syscall(SYS_set_robust_list, list, 24);
		printf("child's own %d", (int)syscall(SYS_get_robust_list, 0, &head, &len));
		printf(" %d", head == list);
		printf(", parent's %d", (int)syscall(SYS_get_robust_list, parent, &head, &len));
		printf(" %d\n", head == parents);
		if (setgid(1000) || setuid(1000))
			_exit(1);
		r = syscall(SYS_get_robust_list, parent, &head, &len);
		printf("without rights %d %d\n", r, errno == EPERM);
		syscall(SYS_set_robust_list, NULL, 24);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	alone();
	handed_over();
	refused();
	deadlock();
	death();
	signals();
	requeue();
	mutexes();
	processes();
	robust_lists();
	return 0;
}
