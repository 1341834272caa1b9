/* timerfd and signalfd. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})

static void timers(void) {
	struct itimerspec is = { .it_value = { 0, 20000000 } }, got;
	uint64_t room[13] = { 0 };
#define n room[0]
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	printf("flags %#x cloexec %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	printf("disarmed %d\n", E(read(fd, &n, 8)));
	printf("settime %d\n", timerfd_settime(fd, 0, &is, NULL));
	printf("early %d short %d\n", E(read(fd, &n, 8)), E(read(fd, &n, 7)));
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	int r = poll(&p, 1, 1000);
	printf("poll %d %#x\n", r, p.revents);
	r = E(read(fd, room, 100));
	printf("read %d: %llu, then %d\n", r, (unsigned long long)n, E(read(fd, &n, 8)));
	timerfd_gettime(fd, &got);
	printf("left %ld %ld\n", got.it_value.tv_nsec, got.it_interval.tv_nsec);
	is.it_interval = (struct timespec){ 0, 5000000 };
	is.it_value = (struct timespec){ 0, 5000000 };
	timerfd_settime(fd, 0, &is, NULL);
	usleep(60000);
	r = E(read(fd, &n, 8));
	printf("periodic %d: %s\n", r, n >= 8 && n < 200 ? "many" : "odd");
	timerfd_gettime(fd, &got);
	printf("interval %ld, value %s\n", got.it_interval.tv_nsec, got.it_value.tv_nsec > 0 && got.it_value.tv_nsec <= 5000000 ? "in range" : "odd");
	memset(&is, 0, sizeof is);
	timerfd_settime(fd, 0, &is, &got);
	printf("old interval %ld\n", got.it_interval.tv_nsec);
	fcntl(fd, F_SETFL, 0);
	clock_gettime(CLOCK_MONOTONIC, &is.it_value);
	is.it_value.tv_nsec += 10000000;
	if (is.it_value.tv_nsec >= 1000000000) {
		is.it_value.tv_sec++;
		is.it_value.tv_nsec -= 1000000000;
	}
	timerfd_settime(fd, TFD_TIMER_ABSTIME, &is, NULL);
	r = E(read(fd, &n, 8));
	printf("absolute %d: %llu\n", r, (unsigned long long)n);
	is.it_value = (struct timespec){ 0, 1 };
	timerfd_settime(fd, TFD_TIMER_ABSTIME, &is, NULL);
	r = E(read(fd, &n, 8));
	printf("past %d: %llu\n", r, (unsigned long long)n);
	printf("write %d lseek %d\n", E(write(fd, &n, 8)), E(lseek(fd, 0, SEEK_SET)));
	int ep = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN };
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	is.it_value = (struct timespec){ 0, 10000000 };
	timerfd_settime(fd, 0, &is, NULL);
	printf("epoll %d %#x\n", epoll_wait(ep, &ev, 1, 1000), ev.events);
	close(ep);
	close(fd);
	for (int clock = 0; clock < 12; clock++) {
		int t = E(timerfd_create(clock, 0));
		printf("clock %d: %d\n", clock, t < 0 ? t : 0);
		if (t >= 0)
			close(t);
	}
	fd = timerfd_create(CLOCK_REALTIME, 0);
	is.it_value.tv_nsec = 1000000000;
	printf("errors %d %d %d %d %d %d %d\n", E(timerfd_create(1, 1)), E(timerfd_settime(fd, 0, &is, NULL)), E(timerfd_settime(fd, 4, &is, NULL)),
	       E(timerfd_settime(99, 0, &is, NULL)), E(timerfd_settime(0, 0, (void *)8, NULL)), E(timerfd_gettime(1, &got)),
	       E(timerfd_gettime(fd, (void *)8)));
	is.it_value.tv_nsec = 1;
	printf("not a timer %d\n", E(timerfd_settime(1, 0, &is, NULL)));
	close(fd);
}

static void show(const struct signalfd_siginfo *s) {
	printf("signo %u code %d pid %d uid %d int %d ptr %#llx status %d overrun %s tid %u\n", s->ssi_signo, s->ssi_code, s->ssi_pid == (unsigned)getpid(),
	       s->ssi_uid == getuid(), s->ssi_int, (unsigned long long)s->ssi_ptr, s->ssi_status, s->ssi_overrun > 0 ? "some" : "none", s->ssi_tid * 0);
}

static void signals(void) {
	sigset_t set;
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, 40);
	sigaddset(&set, SIGKILL);
	int fd = signalfd(-1, &set, SFD_NONBLOCK);
	struct signalfd_siginfo s[4];
	printf("nothing %d short %d\n", E(read(fd, s, sizeof *s)), E(read(fd, s, 127)));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR2);
	sigqueue(getpid(), 40, (union sigval){ .sival_ptr = (void *)0x123456789 });
	sigqueue(getpid(), 40, (union sigval){ .sival_ptr = (void *)0x987654321 });
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int r = poll(&p, 1, 0);
	printf("poll %d %#x\n", r, p.revents);
	r = E(read(fd, s, sizeof *s * 2 + 5));
	printf("read %d\n", r);
	for (int i = 0; i < r / 128; i++)
		show(&s[i]);
	r = E(read(fd, s, sizeof s));
	printf("read %d\n", r);
	show(s);
	r = poll(&p, 1, 0);
	printf("poll %d\n", r);
	sigaddset(&set, SIGUSR2);
	printf("same fd %d\n", signalfd(fd, &set, 0) == fd);
	r = E(read(fd, s, sizeof s));
	printf("read %d\n", r);
	show(s);
	/* blocking, from a child's kill; and SIGCHLD */
	fcntl(fd, F_SETFL, 0);
	sigaddset(&set, SIGCHLD);
	signalfd(fd, &set, 0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		usleep(20000);
		kill(getppid(), SIGUSR1);
		usleep(20000);
		_exit(7);
	}
	r = E(read(fd, s, sizeof s));
	printf("read %d signo %u from child %d\n", r, s->ssi_signo, s->ssi_pid == (unsigned)pid);
	int ep = epoll_create1(0);
	struct epoll_event ev = { .events = EPOLLIN };
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	r = epoll_wait(ep, &ev, 1, 2000);
	printf("epoll %d\n", r);
	r = E(read(fd, s, sizeof s));
	printf("read %d signo %u code %d status %d\n", r, s->ssi_signo, s->ssi_code, s->ssi_status);
	waitpid(pid, NULL, 0);
	timer_t t;
	struct sigevent se = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = 40, .sigev_value.sival_int = 77 };
	timer_create(CLOCK_MONOTONIC, &se, &t);
	struct itimerspec is = { { 0, 1000000 }, { 0, 1000000 } };
	timer_settime(t, 0, &is, NULL);
	usleep(20000);
	r = E(read(fd, s, sizeof *s));
	printf("read %d ", r);
	show(s);
	timer_delete(t);
	uint64_t mask = 1;
	printf("errors %d %d %d %d %d\n", E(syscall(SYS_signalfd4, -1, &mask, 4, 0)), E(syscall(SYS_signalfd4, -1, 8, 8, 0)),
	       E(syscall(SYS_signalfd4, -1, &mask, 8, 1)), E(syscall(SYS_signalfd4, 99, &mask, 8, 0)), E(syscall(SYS_signalfd4, 1, &mask, 8, 0)));
	printf("write %d\n", E(write(fd, s, 128)));
}

int main(void) {
	setvbuf(stdout, NULL, _IONBF, 0);
	timers();
	signals();
	return 0;
}
