/* User and system time are told apart (musl only: it takes a while): getrusage, times, wait4, /proc/self/stat, ITIMER_VIRTUAL. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct split {
	long user, system;
};

static long us(struct timeval tv) {
	return tv.tv_sec * 1000000L + tv.tv_usec;
}

static struct split used(int who) {
	struct rusage u;
	getrusage(who, &u);
	return (struct split){ us(u.ru_utime), us(u.ru_stime) };
}

static long cpu(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

#define RUN 150000L

/* Runs mostly outside the kernel. */
static void compute(void) {
	volatile unsigned long x = 1;
	for (long end = cpu(CLOCK_THREAD_CPUTIME_ID) + RUN; cpu(CLOCK_THREAD_CPUTIME_ID) < end;)
		for (int i = 0; i < 100000; i++)
			x = x * 7 + i;
}

/* Runs mostly in it. */
static void call(void) {
	static char buffer[1 << 20];
	int fd = open("/dev/zero", O_RDONLY);
	for (long end = cpu(CLOCK_THREAD_CPUTIME_ID) + RUN; cpu(CLOCK_THREAD_CPUTIME_ID) < end;)
		read(fd, buffer, sizeof buffer);
	close(fd);
}

static void small_calls(void) {
	for (long end = cpu(CLOCK_THREAD_CPUTIME_ID) + RUN; cpu(CLOCK_THREAD_CPUTIME_ID) < end;)
		for (int i = 0; i < 1000; i++)
			lseek(0, 0, SEEK_CUR), syscall(SYS_getcwd, (char[64]){ 0 }, 64);
}

static void fault(void) {
	size_t size = 8 << 20;
	for (long end = cpu(CLOCK_THREAD_CPUTIME_ID) + RUN; cpu(CLOCK_THREAD_CPUTIME_ID) < end;) {
		char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(p, size, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < size; i += 4096)
			p[i] = 1;
		munmap(p, size);
	}
}

static const char *more(struct split a, struct split b) {
	long user = b.user - a.user, system = b.system - a.system;
	if (user < 0 || system < 0)
		return "backwards";
	return user > system ? "user" : "system";
}

/* What an exception costs on a translating machine is the program's. */
static void faults(void) {
	struct split a = used(RUSAGE_SELF);
	fault();
	struct split b = used(RUSAGE_SELF);
	printf("faults: system %d\n", b.system - a.system > RUN / 10);
}

static void each(const char *name, void (*work)(void)) {
	struct split a = used(RUSAGE_SELF), t = used(RUSAGE_THREAD);
	work();
	struct split b = used(RUSAGE_SELF), u = used(RUSAGE_THREAD);
	long sum = b.user - a.user + b.system - a.system;
	printf("%s: %s, thread %s, sum %d\n", name, more(a, b), more(t, u), sum > RUN * 8 / 10 && sum < RUN * 3);
}

static void child(const char *name, void (*work)(void)) {
	struct split a = used(RUSAGE_CHILDREN);
	struct tms s, t;
	siginfo_t waited, sent;
	struct rusage w;
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	times(&s);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		work();
		_exit(0);
	}
	sigwaitinfo(&chld, &sent);
	memset(&waited, 1, sizeof waited);
	waitid(P_PID, pid, &waited, WEXITED | WNOWAIT);
	wait4(pid, NULL, 0, &w);
	times(&t);
	printf("child %s: %s, times %s, wait4 %s, signal %s, waitid %d\n", name, more(a, used(RUSAGE_CHILDREN)),
	       t.tms_cutime - s.tms_cutime > t.tms_cstime - s.tms_cstime ? "user" : "system",
	       us(w.ru_utime) > us(w.ru_stime) ? "user" : "system", sent.si_utime > sent.si_stime ? "user" : "system",
	       waited.si_utime == 0x0101010101010101);
}

static void stat_file(void) {
	unsigned long user, system;
	long c_user, c_system;
	struct tms t;
	FILE *f = fopen("/proc/self/stat", "r");
	int n = fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &user, &system, &c_user, &c_system);
	fclose(f);
	times(&t);
#define NEAR(a, b) ((long)(a) <= (long)(b) && (long)(b) - (long)(a) < 10)
	printf("stat: %d fields, %d %d %d %d\n", n, NEAR(user, t.tms_utime), NEAR(system, t.tms_stime), c_user == t.tms_cutime, c_system == t.tms_cstime);
}

static volatile sig_atomic_t rang;

static void on_alarm(int sig) {
	(void)sig;
	rang = 1;
}

static void timers(void) {
	struct itimerval in = { .it_value = { 0, 120000 } };
	signal(SIGVTALRM, on_alarm);
	struct split a = used(RUSAGE_SELF);
	setitimer(ITIMER_VIRTUAL, &in, NULL);
	while (!rang)
		compute();
	struct split b = used(RUSAGE_SELF);
	printf("virtual: after its time %d\n", b.user - a.user >= 100000);
}

static void *in_thread(void *work) {
	((void (*)(void))work)();
	return NULL;
}

static void ended_thread(void) {
	pthread_t thread;
	struct split a = used(RUSAGE_SELF);
	pthread_create(&thread, NULL, in_thread, (void *)call);
	pthread_join(thread, NULL);
	printf("a thread's that ended: %s\n", more(a, used(RUSAGE_SELF)));
}

int main(void) {
	used(RUSAGE_SELF);
	each("computing", compute);
	each("calls", call);
	each("small calls", small_calls);
	faults();
	each("computing", compute);
	child("computing", compute);
	child("calls", call);
	ended_thread();
	stat_file();
	timers();
	return 0;
}
