/* Use and limits of resources: getrusage, times, wait4's usage, RLIMIT_FSIZE; membarrier. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long us(struct timeval tv) {
	return tv.tv_sec * 1000000L + tv.tv_usec;
}

static long total(const struct rusage *u) {
	return us(u->ru_utime) + us(u->ru_stime);
}

/* Uses CPU time. */
static void burn(long usec) {
	struct timespec a, b;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	while ((b.tv_sec - a.tv_sec) * 1000000L + (b.tv_nsec - a.tv_nsec) / 1000 < usec);
}

static void *burner(void *arg) {
	struct rusage u;
	burn((long)arg);
	getrusage(RUSAGE_THREAD, &u);
	printf("thread: its own time %d\n", total(&u) >= (long)arg * 9 / 10);
	return NULL;
}

static void times_of_day(void) {
	struct rusage u, v;
	struct tms t;
	getrusage(RUSAGE_SELF, &u);
	pthread_t thread;
	pthread_create(&thread, NULL, burner, (void *)60000L);
	pthread_join(thread, NULL);
	getrusage(RUSAGE_SELF, &v);
	printf("self includes threads that ended: %d\n", total(&v) - total(&u) >= 50000);
	getrusage(RUSAGE_THREAD, &v);
	printf("thread doesn't: %d\n", total(&v) - total(&u) < 50000);
	printf("times %d\n", times(&t) != -1 && t.tms_utime + t.tms_stime >= 5);
	int r = getrusage(2, &v);
	printf("bad who %d %d\n", r, errno == EINVAL);
	r = syscall(SYS_getrusage, 0, (void *)8);
	printf("bad address %d %d\n", r, errno == EFAULT);
}

static void children(void) {
	struct rusage c, w;
	struct tms t;
	getrusage(RUSAGE_CHILDREN, &c);
	printf("children: none yet %d %d\n", total(&c) == 0, c.ru_maxrss == 0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			size_t size = 24 << 20;
			char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			madvise(p, size, MADV_NOHUGEPAGE);
			memset(p, 1, size);
			burn(40000);
			_exit(0);
		}
		wait(NULL);
		burn(30000);
		_exit(0);
	}
	wait4(pid, NULL, 0, &w);
	printf("wait4: time %d, memory %d, faults %d\n", total(&w) >= 60000, w.ru_maxrss >= 20 << 10, w.ru_minflt >= 6000);
	getrusage(RUSAGE_CHILDREN, &c);
	printf("children: time %d, memory %d, faults %d\n", total(&c) >= 60000, c.ru_maxrss >= 20 << 10, c.ru_minflt >= 6000);
	times(&t);
	printf("times %d\n", t.tms_cutime + t.tms_cstime >= 6);
	struct rusage s;
	getrusage(RUSAGE_SELF, &s);
	printf("self: less memory %d\n", s.ru_maxrss < 20 << 10);
}

static void switches(void) {
	struct rusage u, v;
	getrusage(RUSAGE_SELF, &u);
	for (int i = 0; i < 5; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	getrusage(RUSAGE_SELF, &v);
	printf("voluntary switches %d\n", v.ru_nvcsw - u.ru_nvcsw >= 1 && v.ru_nvcsw - u.ru_nvcsw < 50);
	size_t size = 512 * 4096;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(p, size, MADV_NOHUGEPAGE);
	getrusage(RUSAGE_THREAD, &u);
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	getrusage(RUSAGE_THREAD, &v);
	printf("faults %d\n", v.ru_minflt - u.ru_minflt >= 512 && v.ru_minflt - u.ru_minflt < 1000);
}

static volatile sig_atomic_t xfsz;

static void on_xfsz(int sig) {
	(void)sig;
	xfsz++;
}

static void file_limit(void) {
	char block[4096] = { 0 };
	struct rlimit l = { 6000, RLIM_INFINITY };
	int fd = open("limited", O_CREAT | O_RDWR | O_TRUNC, 0600);
	signal(SIGXFSZ, on_xfsz);
	setrlimit(RLIMIT_FSIZE, &l);
	int a = write(fd, block, sizeof block), b = write(fd, block, sizeof block);
	int c = write(fd, block, sizeof block), error = errno;
	printf("file: %d %d %d, errno %d, signals %d\n", a, b, c, error, xfsz);
	a = ftruncate(fd, 7000);
	error = errno;
	printf("truncate %d, errno %d, signals %d\n", a, error, xfsz);
	printf("pwrite %d\n", (int)pwrite(fd, block, 10, 5995));
	signal(SIGXFSZ, SIG_DFL);
	fflush(stdout);
	if (fork() == 0) {
		if (write(fd, block, 1) < 0)
			_exit(1);
		_exit(0);
	}
	int status;
	wait(&status);
	printf("SIGXFSZ ends: %d\n", status & 0x7f);
	close(fd);
	unlink("limited");
}

static void core_bit(void) {
	static const int signals[] = { SIGABRT, SIGSEGV, SIGQUIT, SIGTERM, SIGXCPU, SIGSYS };
	struct rlimit l = { 0, 0 };
	setrlimit(RLIMIT_CORE, &l);
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
		int status;
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			raise(signals[i]);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		printf("signal %d: dumped %d\n", WTERMSIG(status), !!WCOREDUMP(status));
	}
}

static int barrier(int command, int flags, int cpu) {
	return syscall(SYS_membarrier, command, flags, cpu) < 0 ? -errno : 0;
}

static int registrations(void) {
	return syscall(SYS_membarrier, 512, 0, 0);
}

static void membarriers(void) {
	printf("membarrier: %#x, registered %#x\n", (int)syscall(SYS_membarrier, 0, 0, 0), registrations());
	printf("unregistered %d", barrier(8, 0, 0));
	printf(" %d", barrier(32, 0, 0));
	printf(" %d\n", barrier(128, 0, 0));
	printf("core %d", barrier(64, 0, 0));
	printf(" is %#x, %d, private %d\n", registrations(), barrier(32, 0, 0), barrier(8, 0, 0));
	printf("private %d", barrier(16, 0, 0));
	printf(" is %#x, %d\n", registrations(), barrier(8, 0, 0));
	printf("rseq %d", barrier(256, 0, 0));
	printf(" is %#x, %d, on a cpu %d, on none %d\n", registrations(), barrier(128, 0, 0), barrier(128, 1, 0), barrier(128, 1, 99999));
	printf("global %d, expedited %d", barrier(1, 0, 0), barrier(2, 0, 0));
	printf(", registered %d", barrier(4, 0, 0));
	printf(" is %#x\n", registrations());
	printf("bad %d %d %d %d %d\n", barrier(3, 0, 0), barrier(1024, 0, 0), barrier(0, 1, 0), barrier(8, 1, 0), barrier(128, 2, 0));
	fflush(stdout);
	if (fork() == 0) {
		printf("child has %#x\n", registrations());
		fflush(stdout);
		execl("/proc/self/exe", "usage", "registrations", NULL);
		_exit(1);
	}
	wait(NULL);
}

int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "registrations")) {
		printf("after exec %#x\n", registrations());
		return 0;
	}
	times_of_day();
	children();
	switches();
	file_limit();
	core_bit();
	membarriers();
	return 0;
}
