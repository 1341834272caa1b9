/* POSIX shared memory and semaphores, and what the thread library puts into shared memory: all of it is files and futexes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

static char name[40], sem_name[40];

struct shared {
	pthread_mutex_t mutex, robust;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
	pthread_rwlock_t rwlock;
	sem_t sem, done;
	int turn, count;
};

static struct timespec soon(long ns) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ns;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static struct shared *map(int fd) {
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void memory(void) {
	SAY("not there", shm_open(name, O_RDWR, 0));
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640);
	printf("made %d, cloexec %d\n", fd >= 0, fcntl(fd, F_GETFD));
	SAY("again", shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640));
	struct stat st;
	fstat(fd, &st);
	printf("mode %o size %ld\n", st.st_mode, (long)st.st_size);
	SAY("size", ftruncate(fd, sizeof(struct shared)));
	/* Two mappings of two opens are the same memory. */
	int other = shm_open(name, O_RDONLY, 0);
	int *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *b = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 0);
	*a = 42;
	printf("seen %d\n", *b);
	munmap(a, 4096);
	munmap(b, 4096);
	close(other);
	close(fd);
}

static void objects(void) {
	int fd = shm_open(name, O_RDWR, 0), status;
	struct shared *s = map(fd);
	memset(s, 0, sizeof *s);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_barrierattr_t ba;
	pthread_rwlockattr_t ra;
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->mutex, &ma);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&s->robust, &ma);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&s->cond, &ca);
	pthread_barrierattr_init(&ba);
	pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->barrier, &ba, 3);
	pthread_rwlockattr_init(&ra);
	pthread_rwlockattr_setpshared(&ra, PTHREAD_PROCESS_SHARED);
	pthread_rwlock_init(&s->rwlock, &ra);
	sem_init(&s->sem, 1, 0);
	sem_init(&s->done, 1, 0);
	fflush(stdout);
	/* Each child maps the object anew, at an address of its own. */
	pid_t pids[2];
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct shared *t = map(shm_open(name, O_RDWR, 0));
			if (!t || t == s)
				_exit(1);
			munmap(s, sizeof *s);
			for (int n = 0; n < 1000; n++) {
				pthread_mutex_lock(&t->mutex);
				t->count++;
				pthread_mutex_unlock(&t->mutex);
			}
			pthread_barrier_wait(&t->barrier);
			for (int n = 0; n < 50; n++) {
				pthread_mutex_lock(&t->mutex);
				while (t->turn % 2 != i)
					pthread_cond_wait(&t->cond, &t->mutex);
				t->turn++;
				pthread_cond_broadcast(&t->cond);
				pthread_mutex_unlock(&t->mutex);
			}
			sem_post(&t->done);
			while (sem_wait(&t->sem))
				continue;
			pthread_rwlock_wrlock(&t->rwlock);
			t->count++;
			pthread_rwlock_unlock(&t->rwlock);
			_exit(0);
		}
	}
	pthread_barrier_wait(&s->barrier);
	printf("counted %d\n", s->count);
	sem_wait(&s->done);
	sem_wait(&s->done);
	printf("turns %d\n", s->turn);
	pthread_rwlock_rdlock(&s->rwlock);
	sem_post(&s->sem);
	sem_post(&s->sem);
	printf("while it is read %d\n", s->count);
	pthread_rwlock_unlock(&s->rwlock);
	for (int i = 0; i < 2; i++) {
		waitpid(pids[i], &status, 0);
		printf("child %d\n", WEXITSTATUS(status));
	}
	printf("and written %d\n", s->count);
	/* Whoever dies with a robust mutex leaves word. */
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(&s->robust);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	printf("owner died: %d\n", pthread_mutex_lock(&s->robust) == EOWNERDEAD);
	printf("made consistent: %d\n", pthread_mutex_consistent(&s->robust));
	pthread_mutex_unlock(&s->robust);
	pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(&s->robust);
		sem_post(&s->sem);
		usleep(10000);
		_exit(0);
	}
	while (sem_wait(&s->sem))
		continue;
	printf("owner died under a waiter: %d\n", pthread_mutex_lock(&s->robust) == EOWNERDEAD);
	waitpid(pid, NULL, 0);
	pthread_mutex_unlock(&s->robust);
	printf("not recoverable: %d\n", pthread_mutex_lock(&s->robust) == ENOTRECOVERABLE);
	munmap(s, sizeof *s);
	close(fd);
	SAY("unlink", shm_unlink(name));
	SAY("unlink again", shm_unlink(name));
}

static void semaphores(void) {
	printf("not there: %d\n", sem_open(sem_name, 0) == SEM_FAILED ? errno : 0);
	sem_t *sem = sem_open(sem_name, O_CREAT | O_EXCL, 0600, 2);
	printf("made %d\n", sem != SEM_FAILED);
	printf("exists: %d\n", sem_open(sem_name, O_CREAT | O_EXCL, 0600, 2) == SEM_FAILED ? errno : 0);
	printf("the same %d\n", sem_open(sem_name, 0) == sem);
	sem_close(sem);
	SAY("wait", sem_wait(sem));
	SAY("try", sem_trywait(sem));
	SAY("try", sem_trywait(sem));
	struct timespec t = soon(10000000);
	SAY("wait for a while", sem_timedwait(sem, &t));
	t.tv_nsec = -1;
	SAY("bad time", sem_timedwait(sem, &t));
	int value = -1, status;
	sem_getvalue(sem, &value);
	printf("value %d\n", value);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		sem_t *mine = sem_open(sem_name, 0);
		_exit(sem_wait(mine) == 0 && sem_wait(mine) == 0 ? 7 : 8);
	}
	SAY("post", sem_post(sem));
	SAY("post", sem_post(sem));
	waitpid(pid, &status, 0);
	printf("child %d\n", WEXITSTATUS(status));
	SAY("close", sem_close(sem));
	SAY("unlink", sem_unlink(sem_name));
	SAY("unlink again", sem_unlink(sem_name));
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(name, sizeof name, "/whelk-shm-%d", getpid());
	snprintf(sem_name, sizeof sem_name, "/whelk-sem-%d", getpid());
	memory();
	objects();
	semaphores();
	return 0;
}
