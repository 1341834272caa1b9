/* musl only. Threads and processes at their edges: hostile robust lists, exec with signals pending, numbers of threads, ends beside signals. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int *shared;

static int wait_for(pid_t pid) {
	int status = -1;
	fflush(stdout);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static pid_t child(void) {
	fflush(stdout);
	return fork();
}

static void robust_lists(void) {
	static const unsigned long heads[] = { -4ul, -8ul, -24ul, 1, 0x7fffffffeffc, 0x8000000000000000 };
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		pid_t pid = child();
		if (pid == 0) {
			syscall(SYS_set_robust_list, heads[i], 24l);
			syscall(SYS_exit, 0);
		}
		printf("robust list %zu: %#x\n", i, wait_for(pid));
	}
}

static void *send_and_exec(void *how) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	execl("/proc/self/exe", "task_edges", (char *)how, (char *)NULL);
	_exit(9);
}

static void exec_by_another(void) {
	pid_t pid = child();
	if (pid == 0) {
		pthread_t other;
		pthread_create(&other, NULL, send_and_exec, "pending");
		pause();
	}
	printf("its end: %#x\n", wait_for(pid));
	/* Killed in the middle of it. */
	int ended = 0;
	for (int i = 0; i < 60; i++) {
		pid = child();
		if (pid == 0) {
			pthread_t other;
			signal(SIGUSR1, SIG_IGN);
			pthread_create(&other, NULL, send_and_exec, "quiet");
			pause();
		}
		struct timespec delay = { 0, i * 20000 };
		nanosleep(&delay, NULL);
		kill(pid, SIGKILL);
		int status = wait_for(pid);
		ended += WIFSIGNALED(status) || WIFEXITED(status);
	}
	printf("ended: %d\n", ended);
}

static volatile int children_ended;

static void count(int sig) {
	(void)sig;
	children_ended++;
}

static void siblings(void) {
	signal(SIGCHLD, count);
	pid_t pid = child();
	if (pid == 0) {
		struct clone_args args = { .flags = CLONE_PARENT };
		long made = syscall(SYS_clone3, &args, sizeof args);
		if (made == 0) {
			usleep(50000);
			_exit(3);
		}
		_exit(made < 0);
	}
	printf("a child: %#x\n", wait_for(pid));
	int status;
	pid_t other;
	while ((other = wait(&status)) < 0 && errno == EINTR)
		;
	printf("its sibling: %#x, both heard of: %s\n", other > 0 ? status : -1, children_ended == 2 ? "yes" : "no");
	signal(SIGCHLD, SIG_DFL);
}

static void descriptors(void) {
	struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = 8, .exit_signal = SIGCHLD };
	for (int i = 0; i < 3; i++) {
		if (syscall(SYS_clone3, &args, sizeof args) == 0)
			_exit(0);
	}
	int error = errno, next = dup(0);
	printf("pidfd to nowhere: %s, next descriptor %d\n", strerror(error), next);
	close(next);
	static char stack[65536];
	int both[2];
	(void)!pipe(both);
	fflush(stdout);
	pid_t pid = clone((int (*)(void *))usleep, stack + sizeof stack, CLONE_FILES | SIGCHLD, (void *)100000);
	syscall(SYS_close_range, both[1], both[1], 2 /* CLOSE_RANGE_UNSHARE */);
	wait_for(pid);
	struct pollfd ready = { both[0], POLLIN, 0 };
	printf("the last writer has gone: %s\n", poll(&ready, 1, 2000) == 1 && ready.revents & POLLHUP ? "seen" : "not seen");
	close(both[0]);
}

#define SAY(call) \
	do { \
		errno = 0; \
		long result = (call); \
		printf("%s: %s\n", #call, result < 0 ? strerror(errno) : "done"); \
	} while (0)

static int quiet(void *unused) {
	(void)unused;
	usleep(20000);
	shared[0]++;
	syscall(SYS_exit, 0);
	return 0;
}

/* vfork of a thread: its maker goes on when it has ended. */
static void vfork_of_threads(void) {
	enum { THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_VFORK };
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = child();
	if (pid == 0) {
		alarm(20);
		for (int i = 1; i < 4; i++) {
			clone(quiet, malloc(65536) + 65536, THREAD, NULL);
			printf("ended before its maker goes on: %s\n", shared[0] == i ? "yes" : "no");
		}
		fflush(stdout);
		_exit(5);
	}
	printf("its end: %#x\n", wait_for(pid));
}

static void *numbers(void *unused) {
	(void)unused;
	int tid = syscall(SYS_gettid);
	siginfo_t info;
	memset(&info, 0, sizeof info);
	SAY(getpgid(tid));
	SAY(getsid(tid));
	SAY(setpgid(tid, 0));
	SAY(getpriority(PRIO_PROCESS, tid));
	SAY(syscall(SYS_rt_sigqueueinfo, getpid(), 0, &info));
	SAY(syscall(SYS_rt_sigqueueinfo, tid, 0, &info));
	return NULL;
}

static void seen(int sig) {
	(void)sig;
	shared[0] = 1;
}

static void *suspended(void *unused) {
	sigset_t none;
	sigemptyset(&none);
	shared[2] = 1;
	for (;;)
		sigsuspend(&none);
	return unused;
}

static long microseconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* A signal for the process, while its first thread ends and another waits for it. */
static void ends_beside_signals(void) {
	int lost = 0;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 100; i++) {
		shared[0] = shared[1] = shared[2] = 0;
		pid_t pid = child();
		if (pid == 0) {
			pthread_t other;
			signal(SIGUSR1, seen);
			pthread_create(&other, NULL, suspended, NULL);
			while (!shared[2])
				sched_yield();
			shared[1] = 1;
			syscall(SYS_exit, 0);
		}
		while (!shared[1])
			sched_yield();
		long start = microseconds();
		while (microseconds() - start < i)
			;
		kill(pid, SIGUSR1);
		while (!shared[0] && microseconds() - start < 3000000)
			usleep(100);
		lost += !shared[0];
		kill(pid, SIGKILL);
		wait_for(pid);
	}
	printf("signals lost: %d\n", lost);
}

static uint32_t weight(uint32_t count) {
	return __builtin_bswap32(count * 0x9e3779b9u) * 0x85ebca6bu;
}

/* Deadlines in an order that a search tree doesn't like, and more timers at once than there is time for. */
static void timers(void) {
	enum { MANY = 1000 };
	static int ids[MANY];
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	signal(SIGUSR2, SIG_IGN);
	for (int i = 0; i < MANY; i++)
		syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &ids[i]);
	for (uint32_t first = 0, inserted = 0; first < 6; first++) {
		for (int i = 0; i < MANY; i++) {
			uint64_t at = 1000000000000000000 + (UINT32_MAX - weight(first + ++inserted));
			struct itimerspec setting = { { 0, 0 }, { at / 1000000000, at % 1000000000 } };
			syscall(SYS_timer_settime, ids[i], TIMER_ABSTIME, &setting, NULL);
		}
	}
	for (int i = 0; i < MANY; i++) {
		struct itimerspec setting = { { 0, 1 }, { 0, 1 } };
		syscall(SYS_timer_settime, ids[i], 0, &setting, NULL);
	}
	long start = microseconds(), rounds = 0;
	while (microseconds() - start < 300000)
		rounds++;
	printf("the program goes on: %s\n", rounds > 100 ? "yes" : "no");
	for (int i = 0; i < MANY; i++)
		syscall(SYS_timer_delete, ids[i]);
}

static void paths(void) {
	struct stat found;
	mkdir("dir", 0777);
	mkdir("dir/inner", 0777);
	close(open("dir/file", O_CREAT | O_RDWR, 0666));
	for (int i = 0; i < 3; i++)
		SAY(stat("dir/inner/../file", &found));
	rmdir("dir/inner");
	SAY(stat("dir/inner/../file", &found));
	unlink("dir/file");
	rmdir("dir");
}

int main(int argc, char **argv) {
	if (argc > 1) {
		sigset_t set;
		sigpending(&set);
		if (strcmp(argv[1], "pending") == 0)
			printf("pending after exec: %d\n", sigismember(&set, SIGUSR1));
		return 0;
	}
	robust_lists();
	exec_by_another();
	siblings();
	descriptors();
	vfork_of_threads();
	pthread_t other;
	pthread_create(&other, NULL, numbers, NULL);
	pthread_join(other, NULL);
	ends_beside_signals();
	timers();
	paths();
	return 0;
}
