/* Interval timers, POSIX timers, clocks: behaviour and errors. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : r_ > 0 ? 1 : 0;     \
	})

static volatile int hits, overruns, last_code, last_value, last_signal;

static void handler(int sig, siginfo_t *info, void *context) {
	(void)context;
	hits++;
	last_signal = sig;
	last_code = info->si_code;
	if (info->si_code == SI_TIMER) {
		overruns += info->si_overrun;
		last_value = info->si_value.sival_int;
	}
}

static double now(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void burn(double seconds) {
	double end = now() + seconds;
	while (now() < end)
		;
}

static void set(int sig) {
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigemptyset(&sa.sa_mask);
	sigaction(sig, &sa, NULL);
	hits = overruns = 0;
}

static void clocks(void) {
	for (int id = 0; id < 14; id++) {
		struct timespec ts, res = { 9, 9 }, zero = { 0, 0 }, bad = { -1, 0 };
		struct sigevent ev = { .sigev_notify = SIGEV_NONE };
		int timer;
		int get = E(syscall(SYS_clock_gettime, id, &ts));
		int r = E(syscall(SYS_clock_getres, id, &res));
		int sleep = E(syscall(SYS_clock_nanosleep, id, 1, &zero, 0));
		int sleep_bad = E(syscall(SYS_clock_nanosleep, id, 0, &bad, 0));
		int create = E(syscall(SYS_timer_create, id, &ev, &timer));
		int set_bad = E(syscall(SYS_clock_settime, id, &bad));
		printf("clock %d: get %d res %d %ld.%09ld sleep %d %d create %d set %d\n", id, get, r, (long)res.tv_sec, res.tv_nsec, sleep,
		       sleep_bad, create, set_bad);
	}
	int pid = getpid();
	int dynamic[] = { -1, -2, -3, -6, -7, -8, ~pid * 8 | 2, ~pid * 8 | 6, ~pid * 8, ~99999 * 8 | 2 };
	for (int i = 0; i < 10; i++) {
		struct timespec ts, res = { 9, 9 }, zero = { 0, 0 };
		int get = E(syscall(SYS_clock_gettime, dynamic[i], &ts));
		int r = E(syscall(SYS_clock_getres, dynamic[i], &res));
		int sleep = E(syscall(SYS_clock_nanosleep, dynamic[i], 1, &zero, 0));
		int set = E(syscall(SYS_clock_settime, dynamic[i], &zero));
		printf("dynamic %d: get %d res %d %09ld sleep %d set %d\n", i, get, r, res.tv_nsec, sleep, set);
	}
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	clock_gettime(CLOCK_MONOTONIC_RAW, &b);
	clock_gettime(CLOCK_REALTIME, &a);
	struct timeval tv;
	gettimeofday(&tv, NULL);
	printf("realtime and gettimeofday agree %d, time %d\n", tv.tv_sec - a.tv_sec <= 1, time(NULL) - tv.tv_sec <= 1);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	burn(0.05);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	printf("cpu time advances %d\n", b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9 > 0.01);
	struct tms t;
	printf("times %d\n", times(&t) != -1);
}

static void errors(void) {
	struct itimerval iv = { { 0, 0 }, { 0, 1000000 } };
	struct itimerspec is = { { 0, 0 }, { 0, 1000000000 } };
	struct timespec ts = { 0, 1 }, bad = { 0, 1000000000 };
	struct sigevent se = { .sigev_notify = 77 };
	int t;
	printf("getitimer %d setitimer %d %d %d\n", E(syscall(SYS_getitimer, 7, 0)), E(syscall(SYS_setitimer, 7, 0, 0)),
	       E(syscall(SYS_setitimer, 0, &iv, 0)), E(syscall(SYS_setitimer, 0, 8, 0)));
	printf("gettimeofday %d %d clock_gettime %d %d getres %d %d\n", E(syscall(SYS_gettimeofday, 8, 0)), E(syscall(SYS_gettimeofday, 0, 0)),
	       E(syscall(SYS_clock_gettime, 1, 8)), E(syscall(SYS_clock_gettime, 99, 8)), E(syscall(SYS_clock_getres, 1, 0)),
	       E(syscall(SYS_clock_getres, 99, 0)));
	printf("nanosleep %d %d clock_nanosleep %d %d time %d\n", E(syscall(SYS_nanosleep, 8, 0)), E(syscall(SYS_nanosleep, &bad, 0)),
	       E(syscall(SYS_clock_nanosleep, 1, 0, 8, 0)), E(syscall(SYS_clock_nanosleep, 1, 0xff0, &ts, 0)), E(syscall(SYS_time, 8)));
	printf("timer_create %d", E(syscall(SYS_timer_create, 1, &se, &t)));
	se.sigev_notify = SIGEV_SIGNAL;
	printf(" %d", E(syscall(SYS_timer_create, 1, &se, &t)));
	se.sigev_signo = 65;
	printf(" %d", E(syscall(SYS_timer_create, 1, &se, &t)));
	se.sigev_notify = SIGEV_THREAD_ID;
	se.sigev_signo = 10;
	((int *)&se)[4] = 0x7fffff;
	printf(" %d", E(syscall(SYS_timer_create, 1, &se, &t)));
	printf(" %d %d\n", E(syscall(SYS_timer_create, 1, 8, &t)), E(syscall(SYS_timer_create, 1, 0, 8)));
	printf("timer_settime %d %d gettime %d overrun %d delete %d\n", E(syscall(SYS_timer_settime, 9999, 0, 0, 0)),
	       E(syscall(SYS_timer_settime, 9999, 0, &is, 0)), E(syscall(SYS_timer_gettime, 9999, &is)),
	       E(syscall(SYS_timer_getoverrun, 9999)), E(syscall(SYS_timer_delete, 9999)));
	struct timex tx;
	memset(&tx, 0, sizeof tx);
	printf("settimeofday %d %d\n", E(syscall(SYS_settimeofday, &(struct timeval){ 0, 1000000 }, 0)),
	       E(syscall(SYS_settimeofday, &(struct timeval){ -1, 0 }, 0)));
	printf("adjtimex %d tick %ld\n", E(syscall(SYS_adjtimex, &tx)), tx.tick);
}

static void interval(int which, int sig, const char *name) {
	set(sig);
	struct itimerval iv = { { 0, 20000 }, { 0, 20000 } }, old;
	setitimer(which, &iv, NULL);
	while (hits < 5)
		;
	getitimer(which, &old);
	printf("%s: code %#x interval %ld value %s\n", name, last_code, (long)old.it_interval.tv_usec,
	       old.it_value.tv_sec == 0 && old.it_value.tv_usec > 0 && old.it_value.tv_usec <= 24000 ? "in range" : "odd");
	memset(&iv, 0, sizeof iv);
	setitimer(which, &iv, &old);
	hits = 0;
	burn(0.06);
	printf("%s off: hits %d\n", name, hits);
	getitimer(which, &old);
	printf("%s left %ld\n", name, (long)(old.it_value.tv_usec + old.it_interval.tv_usec));
}

static void posix(void) {
	set(SIGUSR1);
	set(SIGALRM);
	set(50);
	timer_t t;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 1234 };
	struct itimerspec is = { .it_value = { 0, 30000000 } }, got;
	timer_create(CLOCK_MONOTONIC, &ev, &t);
	timer_settime(t, 0, &is, NULL);
	timer_gettime(t, &got);
	printf("running %d\n", got.it_value.tv_nsec > 0 && got.it_value.tv_nsec <= 30000000);
	pause();
	timer_gettime(t, &got);
	printf("one shot: hits %d sig %d code %d value %d left %ld overrun %d\n", hits, last_signal, last_code, last_value,
	       got.it_value.tv_nsec, timer_getoverrun(t));
	/* periodic, blocked: one signal and its overruns */
	sigset_t block, old;
	sigfillset(&block);
	sigprocmask(SIG_SETMASK, &block, &old);
	hits = overruns = 0;
	is.it_interval = (struct timespec){ 0, 1000000 };
	is.it_value = (struct timespec){ 0, 1000000 };
	timer_settime(t, 0, &is, NULL);
	burn(0.05);
	memset(&is, 0, sizeof is);
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	siginfo_t info;
	int r = sigwaitinfo(&usr1, &info);
	timer_settime(t, 0, &is, NULL);
	printf("periodic: sig %d code %d value %d overruns %s\n", r, info.si_code, info.si_value.sival_int, info.si_overrun >= 10 ? "many" : "few");
	timer_delete(t);
	sigprocmask(SIG_SETMASK, &old, NULL);
	/* absolute, realtime */
	hits = 0;
	ev.sigev_signo = 50;
	timer_create(CLOCK_REALTIME, &ev, &t);
	clock_gettime(CLOCK_REALTIME, &is.it_value);
	is.it_value.tv_nsec += 20000000;
	if (is.it_value.tv_nsec >= 1000000000) {
		is.it_value.tv_sec++;
		is.it_value.tv_nsec -= 1000000000;
	}
	double before = now();
	timer_settime(t, TIMER_ABSTIME, &is, NULL);
	while (!hits)
		;
	printf("absolute: sig %d after %s\n", last_signal, now() - before >= 0.0199 ? "its time" : "too little");
	timer_delete(t);
	/* in the past: at once */
	hits = 0;
	timer_create(CLOCK_MONOTONIC, &ev, &t);
	is.it_value = (struct timespec){ 0, 1 };
	timer_settime(t, TIMER_ABSTIME, &is, NULL);
	while (!hits)
		;
	printf("past: hits %d\n", hits);
	timer_delete(t);
	/* no sigevent: SIGALRM with the timer's number */
	hits = 0;
	int id;
	syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id);
	is.it_value = (struct timespec){ 0, 1000000 };
	syscall(SYS_timer_settime, id, 0, &is, NULL);
	while (!hits)
		;
	printf("default event: sig %d value is the number %d\n", last_signal, last_value == id);
	/* SIGEV_NONE counts down and does nothing */
	hits = 0;
	ev.sigev_notify = SIGEV_NONE;
	timer_create(CLOCK_MONOTONIC, &ev, &t);
	is.it_value = (struct timespec){ 0, 10000000 };
	timer_settime(t, 0, &is, NULL);
	burn(0.03);
	timer_gettime(t, &got);
	printf("silent: hits %d left %ld\n", hits, got.it_value.tv_nsec);
	/* the process's CPU time, to a thread */
	hits = 0;
	ev.sigev_notify = SIGEV_THREAD_ID;
	ev.sigev_signo = SIGUSR1;
	((int *)&ev)[4] = syscall(SYS_gettid);
	printf("cpu timer %d\n", timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &t));
	is.it_value = (struct timespec){ 0, 20000000 };
	timer_settime(t, 0, &is, NULL);
	while (!hits)
		;
	printf("cpu time: sig %d code %d\n", last_signal, last_code);
}

static void alarms(void) {
	set(SIGALRM);
	printf("alarm %u", alarm(10));
	printf(" %u", alarm(20));
	struct itimerval iv;
	getitimer(ITIMER_REAL, &iv);
	printf(" running %d", iv.it_value.tv_sec >= 19);
	printf(" %u %u\n", alarm(0), alarm(0));
	ualarm(20000, 0);
	pause();
	printf("ualarm hits %d code %#x\n", hits, last_code);
	signal(SIGALRM, SIG_IGN);
	ualarm(1000, 1000);
	burn(0.02);
	ualarm(0, 0);
	printf("ignored alarms are harmless\n");
}

/* A timer's signal finds another of its number: it stands behind it, and the timer goes on. */
static void beside_another(void) {
	sigset_t set;
	siginfo_t info;
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 7 };
	struct itimerspec soon = { .it_value.tv_nsec = 5000000, .it_interval.tv_nsec = 5000000 };
	struct timespec long_enough = { 10, 0 }, now = { 0, 0 };
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &soon, NULL);
	usleep(20000);
	int taken = sigtimedwait(&set, &info, &now);
	printf("first: %d, code %d\n", taken, info.si_code);
	for (int i = 0; i < 3; i++) {
		taken = sigtimedwait(&set, &info, &long_enough);
		printf("then: %d, code %d, value %d\n", taken, info.si_code, info.si_value.sival_int);
	}
	timer_delete(timer);
}

/* A timer's signal is pending once, however often the timer is set and its time comes. */
static void set_again(int sig) {
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig };
	struct itimerspec soon = { { 0, 0 }, { 0, 1000000 } };
	struct timespec now = { 0, 0 };
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_BLOCK, &set, NULL);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	for (int i = 0; i < 3; i++) {
		timer_settime(timer, 0, &soon, NULL);
		usleep(20000);
	}
	int times = 0;
	while (sigtimedwait(&set, &info, &now) == sig)
		times++;
	printf("set again: %d\n", times);
	timer_delete(timer);
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	clocks();
	errors();
	alarms();
	interval(ITIMER_REAL, SIGALRM, "real");
	interval(ITIMER_VIRTUAL, SIGVTALRM, "virtual");
	interval(ITIMER_PROF, SIGPROF, "prof");
	posix();
	beside_another();
	set_again(SIGUSR2);
	set_again(SIGRTMIN + 3);
	return 0;
}
