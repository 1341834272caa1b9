/* Nice values, scheduling policies and I/O priorities: of oneself, of others, and who may set them. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int result(long r) {
	return r < 0 ? -errno : (int)r;
}
#define CALL(nr, ...) result(syscall(SYS_##nr, __VA_ARGS__))
#define SHOW(nr, ...) printf(#nr "(" #__VA_ARGS__ ") = %d\n", CALL(nr, __VA_ARGS__))

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
	char more[16];
};

static void show_attr(int pid) {
	struct attr a;
	memset(&a, 0xaa, sizeof a);
	int r = CALL(sched_getattr, pid, &a, 48, 0);
	printf("attr: %d size %u policy %u flags %d nice %d priority %u\n", r, a.size, a.policy, (int)a.flags, a.nice, a.priority);
}

static void nice_values(void) {
	SHOW(getpriority, 0, 0);
	SHOW(setpriority, 0, 0, 5);
	SHOW(getpriority, 0, 0);
	SHOW(setpriority, 0, 0, 100);
	SHOW(getpriority, 0, 0);
	SHOW(setpriority, 0, 0, -100);
	SHOW(getpriority, 0, 0);
	SHOW(setpriority, 0, 0, 0);
	SHOW(getpriority, 3, 0);
	SHOW(setpriority, -1, 0, 0);
	SHOW(getpriority, 0, 999999);
	SHOW(setpriority, 0, 999999, 1);
	SHOW(getpriority, 0, -5);
	SHOW(setpriority, 1, 999999, 1);
	SHOW(getpriority, 2, 4242);
}

static int pipes[2][2];

static void must(long r) {
	if (r < 0)
		exit(1);
}

static void *threads_own(void *arg) {
	(void)arg;
	int tid = CALL(gettid, 0);
	setpriority(PRIO_PROCESS, tid, 7);
	printf("thread: own %d\n", getpriority(PRIO_PROCESS, 0));
	return NULL;
}

static void others(void) {
	pthread_t t;
	pthread_create(&t, NULL, threads_own, NULL);
	pthread_join(t, NULL);
	printf("after a thread changed its own: %d\n", getpriority(PRIO_PROCESS, 0));
	if (pipe(pipes[0]) || pipe(pipes[1]))
		exit(1);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		setpgid(0, 0);
		must(write(pipes[0][1], "x", 1));
		must(read(pipes[1][0], &c, 1));
		printf("child: nice %d\n", getpriority(PRIO_PROCESS, 0));
		struct rlimit l;
		getrlimit(RLIMIT_NOFILE, &l);
		printf("child: limit %d %d\n", (int)l.rlim_cur, (int)l.rlim_max);
		printf("child: group of parent %d\n", getpgid(getppid()) != getpgrp());
		fflush(stdout);
		_exit(0);
	}
	char c;
	must(read(pipes[0][0], &c, 1));
	printf("set of child %d\n", CALL(setpriority, PRIO_PROCESS, pid, 4));
	printf("of child %d, of its group %d\n", CALL(getpriority, PRIO_PROCESS, pid), CALL(getpriority, PRIO_PGRP, pid));
	printf("set of group %d\n", CALL(setpriority, PRIO_PGRP, pid, 9));
	struct rlimit new = { 50, 60 }, old;
	printf("prlimit %d\n", result(prlimit(pid, RLIMIT_NOFILE, &new, &old)));
	printf("prlimit again %d\n", result(prlimit(pid, RLIMIT_NOFILE, NULL, &old)));
	printf("is %d %d\n", (int)old.rlim_cur, (int)old.rlim_max);
	printf("prlimit of nobody %d, bad resource %d %d\n", result(prlimit(999999, RLIMIT_NOFILE, NULL, &old)),
	       result(prlimit(pid, 16, NULL, &old)), result(prlimit(999999, 16, NULL, &old)));
	struct rlimit wrong = { 70, 60 };
	printf("soft over hard %d\n", result(prlimit(pid, RLIMIT_NOFILE, &wrong, NULL)));
	printf("ioprio of child %d\n", CALL(ioprio_set, 1, pid, 2 << 13 | 3));
	printf("is %x, group %x\n", CALL(ioprio_get, 1, pid), CALL(ioprio_get, 2, pid));
	printf("policy of child %d %d\n", CALL(sched_setscheduler, pid, SCHED_BATCH, &(int){ 0 }), CALL(sched_getscheduler, pid));
	must(write(pipes[1][1], "x", 1));
	waitpid(pid, NULL, 0);
	printf("own %d\n", CALL(getpriority, 0, 0));
}

static void policies(void) {
	int zero = 0, one = 1, hundred = 100, got = -1;
	SHOW(sched_get_priority_max, 0);
	SHOW(sched_get_priority_max, 1);
	SHOW(sched_get_priority_min, 1);
	SHOW(sched_get_priority_max, 2);
	SHOW(sched_get_priority_max, 3);
	SHOW(sched_get_priority_max, 4);
	SHOW(sched_get_priority_min, 5);
	SHOW(sched_get_priority_max, 6);
	SHOW(sched_get_priority_max, 100);
	SHOW(sched_getscheduler, 0);
	SHOW(sched_getscheduler, -1);
	SHOW(sched_getscheduler, 999999);
	SHOW(sched_setscheduler, 0, 1, &zero);
	SHOW(sched_setscheduler, 0, 1, &hundred);
	SHOW(sched_setscheduler, 0, 0, &one);
	SHOW(sched_setscheduler, 0, -1, &zero);
	SHOW(sched_setscheduler, 0, 4, &zero);
	SHOW(sched_setscheduler, 0, 0, NULL);
	SHOW(sched_setscheduler, -1, 0, &zero);
	SHOW(sched_setscheduler, 999999, 0, &zero);
	SHOW(sched_setscheduler, 0, 0, (void *)8);
	SHOW(sched_setscheduler, 0, SCHED_BATCH, &zero);
	SHOW(sched_getscheduler, 0);
	SHOW(sched_setparam, 0, &zero);
	SHOW(sched_setparam, 0, &one);
	SHOW(sched_getparam, 0, &got);
	printf("priority %d\n", got);
	SHOW(sched_getparam, 0, NULL);
	SHOW(sched_setscheduler, 0, SCHED_IDLE, &zero);
	SHOW(sched_getscheduler, 0);
	SHOW(sched_setscheduler, 0, 1, &one);
	show_attr(0);
	SHOW(sched_getscheduler, 0);
	SHOW(sched_getparam, 0, &got);
	printf("priority %d\n", got);
	int five = 5;
	SHOW(sched_setparam, 0, &five);
	show_attr(0);
	struct timespec ts = { 9, 9 };
	SHOW(sched_rr_get_interval, 0, &ts);
	printf("fifo slice %ld.%09ld\n", (long)ts.tv_sec, ts.tv_nsec);
	SHOW(sched_setscheduler, 0, 2 | 0x40000000, &five);
	SHOW(sched_getscheduler, 0);
	SHOW(sched_rr_get_interval, 0, &ts);
	printf("rr slice %ld.%03ld\n", (long)ts.tv_sec, ts.tv_nsec / 1000000);
	SHOW(sched_rr_get_interval, -1, &ts);
	SHOW(sched_rr_get_interval, 999999, &ts);
	show_attr(0);
	fflush(stdout);
	if (fork() == 0) {
		printf("child of reset: ");
		show_attr(0);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	SHOW(sched_setscheduler, 0, 0, &zero);
	show_attr(0);
}

static int set_attr(struct attr a) {
	int r = CALL(sched_setattr, 0, &a, 0);
	if (r == -E2BIG)
		printf("(size %d) ", (int)a.size >= 56);
	return r;
}

static void attributes(void) {
	printf("nice by attr %d\n", set_attr((struct attr){ .size = 48, .nice = 6 }));
	show_attr(0);
	printf("clamped nice %d\n", set_attr((struct attr){ .size = 48, .nice = 600 }));
	show_attr(0);
	printf("fifo %d\n", set_attr((struct attr){ .size = 48, .policy = 1, .priority = 3, .flags = 1 }));
	show_attr(0);
	printf("keep policy %d\n", set_attr((struct attr){ .size = 48, .flags = 8, .priority = 4 }));
	show_attr(0);
	printf("keep params %d\n", set_attr((struct attr){ .size = 48, .flags = 0x10 | 1, .policy = 2 }));
	show_attr(0);
	printf("normal %d\n", set_attr((struct attr){ .size = 0, .nice = 1 }));
	show_attr(0);
	printf("short %d\n", set_attr((struct attr){ .size = 40 }));
	printf("long %d\n", set_attr((struct attr){ .size = sizeof(struct attr) }));
	printf("long and more %d\n", set_attr((struct attr){ .size = sizeof(struct attr), .more = { [8] = 1 } }));
	printf("bad policy %d %d\n", set_attr((struct attr){ .size = 48, .policy = 99 }), set_attr((struct attr){ .size = 48, .policy = -1 }));
	printf("bad flags %d\n", set_attr((struct attr){ .size = 48, .flags = 1 << 20 }));
	struct attr a = { .size = 48 };
	SHOW(sched_setattr, 0, NULL, 0);
	SHOW(sched_setattr, -1, &a, 0);
	SHOW(sched_setattr, 0, &a, 1);
	SHOW(sched_setattr, 999999, &a, 0);
	SHOW(sched_getattr, 0, NULL, 48, 0);
	SHOW(sched_getattr, 0, &a, 40, 0);
	SHOW(sched_getattr, 0, &a, 48, 1);
	SHOW(sched_getattr, -1, &a, 48, 0);
	SHOW(sched_getattr, 999999, &a, 48, 0);
	SHOW(sched_getattr, 0, &a, 5000, 0);
	setpriority(PRIO_PROCESS, 0, 0);
}

static void io(void) {
	SHOW(ioprio_get, 1, 0);
	SHOW(ioprio_set, 1, 0, 2 << 13 | 7);
	SHOW(ioprio_get, 1, 0);
	SHOW(ioprio_set, 1, 0, 1 << 13 | 2);
	SHOW(ioprio_get, 1, 0);
	SHOW(ioprio_set, 1, 0, 3 << 13);
	SHOW(ioprio_get, 1, 0);
	SHOW(ioprio_set, 1, 0, 4 << 13);
	SHOW(ioprio_set, 1, 0, 3);
	SHOW(ioprio_set, 0, 0, 0);
	SHOW(ioprio_set, 4, 0, 0);
	SHOW(ioprio_get, 0, 0);
	SHOW(ioprio_get, 1, 999999);
	SHOW(ioprio_set, 1, 999999, 0);
	SHOW(ioprio_set, 1, 0, 0);
	SHOW(ioprio_get, 1, 0);
}

static void unprivileged(void) {
	int one = 1, zero = 0;
	struct rlimit none = { 0, 0 };
	setrlimit(RLIMIT_NICE, &none);
	setrlimit(RLIMIT_RTPRIO, &none);
	setpriority(PRIO_PROCESS, 0, 3);
	fflush(stdout);
	pid_t parent = getpid();
	if (fork() == 0) {
		if (setgid(1000) || setuid(1000))
			_exit(1);
		SHOW(setpriority, 0, 0, 2);
		SHOW(setpriority, 0, 0, 3);
		SHOW(setpriority, 0, 0, 4);
		SHOW(setpriority, 0, parent, 10);
		SHOW(getpriority, 0, parent);
		SHOW(sched_setscheduler, 0, 1, &one);
		SHOW(sched_setscheduler, 0, SCHED_BATCH, &zero);
		SHOW(sched_setscheduler, parent, SCHED_BATCH, &zero);
		SHOW(sched_getscheduler, parent);
		SHOW(sched_setscheduler, 0, SCHED_IDLE, &zero);
		SHOW(sched_setscheduler, 0, SCHED_OTHER, &zero);
		SHOW(ioprio_set, 1, 0, 1 << 13);
		SHOW(ioprio_set, 1, parent, 2 << 13);
		struct rlimit l = { 10, 10 }, more = { 10, 11 };
		printf("prlimit of parent %d\n", result(prlimit(parent, RLIMIT_NOFILE, NULL, &l)));
		printf("lower %d, raise %d\n", result(setrlimit(RLIMIT_CORE, &l)), result(setrlimit(RLIMIT_CORE, &more)));
		printf("kill of parent %d\n", result(kill(parent, SIGCONT)));
		printf("kill of parent %d\n", result(kill(parent, SIGTERM)));
		struct rlimit procs = { 3, 3 };
		setrlimit(RLIMIT_NPROC, &procs);
		int made = 0, error = 0;
		for (int i = 0; i < 10 && !error; i++) {
			pid_t pid = fork();
			if (pid == 0) {
				pause();
				_exit(0);
			}
			if (pid < 0)
				error = errno;
			else
				made++;
		}
		printf("forks bounded: %d, error %d\n", made <= 2, error == EAGAIN);
		fflush(stdout);
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		while (wait(NULL) > 0)
			;
		_exit(0);
	}
	signal(SIGTERM, SIG_IGN);
	wait(NULL);
	signal(SIGTERM, SIG_DFL);
	printf("group %d\n", CALL(getpriority, 0, 0));
}

int main(void) {
	setpgid(0, 0);
	nice_values();
	others();
	policies();
	attributes();
	io();
	unprivileged();
	return 0;
}
