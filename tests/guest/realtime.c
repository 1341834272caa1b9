/* SCHED_FIFO and SCHED_RR, mostly on one CPU: who runs before whom, until when, and what a lock's owner inherits. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char story[400];
static atomic_int told;

static void tell(const char *what)
{
	int len = strlen(what), at = atomic_fetch_add(&told, len + 1);
	memcpy(story + at, what, len);
	story[at + len] = ' ';
}

static void show(const char *title)
{
	printf("%s: %.*s\n", title, told - 1, story);
	told = 0;
}

static void check(int error, const char *what)
{
	if (error) {
		printf("%s: %s\n", what, strerror(error));
		exit(1);
	}
}

static pthread_t start(int policy, int priority, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, policy);
	pthread_attr_setschedparam(&attr, &(struct sched_param){ priority });
	check(pthread_create(&thread, &attr, run, arg), "pthread_create");
	return thread;
}

static long cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void spin(long ms)
{
	long end = cpu_ms() + ms;
	while (cpu_ms() < end)
		;
}

static void *say(void *name)
{
	tell(name);
	return NULL;
}

static void by_priority(void)
{
	pthread_t t[6];
	t[0] = start(SCHED_OTHER, 0, say, "fair");
	t[1] = start(SCHED_FIFO, 10, say, "10");
	t[2] = start(SCHED_RR, 40, say, "40");
	t[3] = start(SCHED_FIFO, 20, say, "20");
	t[4] = start(SCHED_FIFO, 40, say, "40b");
	t[5] = start(SCHED_RR, 1, say, "1");
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	show("by priority, then in order");
}

static int spins_ms;

static void *spinner(void *name)
{
	char text[16];
	snprintf(text, sizeof text, "%s+", (char *)name);
	tell(text);
	spin(spins_ms);
	text[strlen(text) - 1] = '-';
	tell(text);
	return NULL;
}

static void slices(void)
{
	spins_ms = 60;
	pthread_t a = start(SCHED_FIFO, 20, spinner, "a"), b = start(SCHED_FIFO, 20, spinner, "b");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	show("fifo has no slices");
	spins_ms = 150;
	a = start(SCHED_RR, 20, spinner, "a"), b = start(SCHED_RR, 20, spinner, "b");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	show("rr has");
	spins_ms = 40;
	a = start(SCHED_RR, 20, spinner, "a"), b = start(SCHED_RR, 20, spinner, "b");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	show("rr's are long");
}

static void *yielder(void *name)
{
	for (int i = 0; i < 3; i++) {
		tell(name);
		sched_yield();
	}
	return NULL;
}

static void yields(void)
{
	pthread_t a = start(SCHED_FIFO, 20, yielder, "a"), b = start(SCHED_FIFO, 20, yielder, "b"),
		  low = start(SCHED_FIFO, 10, yielder, "low");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_join(low, NULL);
	show("yield to equals only");
}

static sem_t sem, other;

static void *waiter(void *name)
{
	sem_wait(&sem);
	tell(name);
	return NULL;
}

static void *poster(void *name)
{
	tell("post");
	sem_post(&sem);
	tell(name);
	return NULL;
}

static void wakes(void)
{
	sem_init(&sem, 0, 0);
	pthread_t w = start(SCHED_FIFO, 30, waiter, "woken"), p = start(SCHED_FIFO, 10, poster, "poster"),
		  next = start(SCHED_FIFO, 10, say, "equal");
	pthread_join(p, NULL);
	pthread_join(w, NULL);
	pthread_join(next, NULL);
	show("a more urgent one preempts, and the other goes on before its equals");
	w = start(SCHED_FIFO, 10, waiter, "woken"), p = start(SCHED_FIFO, 10, poster, "poster");
	pthread_join(p, NULL);
	pthread_join(w, NULL);
	show("an equal doesn't");
	w = start(SCHED_FIFO, 5, waiter, "woken");
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	poster("fair");
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ 90 });
	pthread_join(w, NULL);
	show("nor does a fair one go on");
}

static void queues(void)
{
	pthread_t t[4];
	t[0] = start(SCHED_FIFO, 10, waiter, "10");
	t[1] = start(SCHED_FIFO, 30, waiter, "30");
	t[2] = start(SCHED_FIFO, 20, waiter, "20");
	t[3] = start(SCHED_OTHER, 0, waiter, "fair");
	/* All of them come to wait. */
	int waiting;
	do {
		usleep(1000);
		waiting = 0;
		for (int i = 0; i < 4; i++) {
			clockid_t clock;
			struct timespec before, after;
			pthread_getcpuclockid(t[i], &clock);
			clock_gettime(clock, &before);
			usleep(1000);
			clock_gettime(clock, &after);
			waiting += before.tv_nsec == after.tv_nsec && before.tv_nsec;
		}
	} while (waiting < 4);
	for (int i = 0; i < 4; i++) {
		sem_post(&sem);
		usleep(1000);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	show("the most urgent waiter first");
}

static void changes(void)
{
	pthread_t a = start(SCHED_FIFO, 10, say, "a"), b = start(SCHED_FIFO, 20, say, "b"),
		  c = start(SCHED_FIFO, 15, say, "c");
	check(pthread_setschedprio(a, 30), "pthread_setschedprio");
	check(pthread_setschedparam(b, SCHED_OTHER, &(struct sched_param){ 0 }), "pthread_setschedparam");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_join(c, NULL);
	show("priorities change while they wait");
	a = start(SCHED_FIFO, 50, say, "a");
	tell("main");
	sched_setparam(0, &(struct sched_param){ 40 });
	tell("main at 40");
	sched_setparam(0, &(struct sched_param){ 90 });
	pthread_join(a, NULL);
	show("who lowers itself gives way at once");
	if (fork() == 0) {
		a = start(SCHED_FIFO, 50, say, "a");
		sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &(struct sched_param){ 60 });
		_exit(told);
	}
	int status;
	wait(&status);
	printf("ended before its thread ran: %d\n", WEXITSTATUS(status));
}

static pthread_mutex_t lock;

static void *owner(void *name)
{
	pthread_mutex_lock(&lock);
	tell("low locks");
	sem_post(&sem);
	tell("low owns");
	pthread_mutex_unlock(&lock);
	tell("low ends");
	return name;
}

static void *claimer(void *name)
{
	sem_wait(&sem);
	/* While this one waits for the lock, nobody in between may keep its owner from it. */
	sem_post(&other);
	pthread_mutex_lock(&lock);
	tell("high");
	pthread_mutex_unlock(&lock);
	return name;
}

static void *middle(void *name)
{
	sem_wait(&other);
	tell("middle");
	spin(5);
	return name;
}

static void inheritance(int protocol, const char *title)
{
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, protocol);
	pthread_mutex_init(&lock, &attr);
	sem_init(&other, 0, 0);
	pthread_t high = start(SCHED_FIFO, 30, claimer, NULL), mid = start(SCHED_FIFO, 20, middle, NULL);
	usleep(1000);
	pthread_t low = start(SCHED_FIFO, 10, owner, NULL);
	pthread_join(low, NULL);
	pthread_join(mid, NULL);
	pthread_join(high, NULL);
	show(title);
}

static void idlers(void)
{
	/* What only wants idle time gets next to nothing beside others. */
	int done[2];
	if (pipe(done))
		exit(1);
	pid_t idle = fork();
	if (idle == 0) {
		sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 });
		for (;;)
			;
	}
	if (fork() == 0) {
		sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
		spin(300);
		struct timespec t;
		clockid_t clock;
		clock_getcpuclockid(idle, &clock);
		clock_gettime(clock, &t);
		_exit(t.tv_sec == 0 && t.tv_nsec < 60000000);
	}
	int status;
	wait(&status);
	kill(idle, SIGKILL);
	wait(NULL);
	printf("SCHED_IDLE stays behind: %d\n", WEXITSTATUS(status));
}

static sem_t starts[4];
static atomic_int stops;
static _Atomic long used[8];

static void *racer(void *arg)
{
	int number = (long)arg;
	if (number < 4)
		sem_wait(&starts[number]);
	long begin = cpu_ms();
	while (!stops)
		used[number] = cpu_ms() - begin;
	return NULL;
}

/* With as many CPUs as there are, up to two: the most urgent threads have them, wherever they were woken. */
static void everywhere(void)
{
	cpu_set_t two, now;
	CPU_ZERO(&two);
	CPU_SET(0, &two);
	CPU_SET(1, &two);
	sched_setaffinity(0, sizeof two, &two);
	sched_getaffinity(0, sizeof now, &now);
	int cpus = CPU_COUNT(&now), right = 0;
	for (int round = 0; round < 5; round++) {
		pthread_t t[7];
		stops = 0;
		for (long i = 0; i < 4; i++) {
			sem_init(&starts[i], 0, 0);
			used[i] = 0;
			t[i] = start(SCHED_FIFO, 50 - 10 * i, racer, (void *)i);
		}
		for (long i = 4; i < 7; i++)
			t[i] = start(SCHED_OTHER, 0, racer, (void *)i);
		usleep(20000);
		for (int i = 0; i < 4; i++)
			sem_post(&starts[(i + round) % 4]);
		usleep(100000);
		for (int i = 0; i < 4; i++)
			right += i < cpus ? used[i] >= 40 : used[i] < 40;
		stops = 1;
		for (int i = 0; i < 7; i++)
			pthread_join(t[i], NULL);
	}
	printf("the most urgent on each CPU: %d of 20\n", right);
}

int main(void)
{
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	check(sched_setaffinity(0, sizeof first, &first) ? errno : 0, "sched_setaffinity");
	check(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ 90 }) ? errno : 0, "sched_setscheduler");
	by_priority();
	slices();
	yields();
	wakes();
	queues();
	changes();
	inheritance(PTHREAD_PRIO_NONE, "without inheritance");
	inheritance(PTHREAD_PRIO_INHERIT, "with inheritance");
	fflush(stdout);
	idlers();
	everywhere();
	return 0;
}
