/* Signals and threads: who takes them, whose mask counts, what ends whom; fork and exec. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_int hits;
static __thread int own_hits;
static atomic_int handler_tid;

static int tid(void) {
	return syscall(SYS_gettid);
}

static void handler(int sig) {
	(void)sig;
	own_hits++;
	handler_tid = tid();
	hits++;
}

static void set(int sig, void (*h)(int), int flags) {
	struct sigaction sa = { .sa_handler = h, .sa_flags = flags };
	sigemptyset(&sa.sa_mask);
	sigaction(sig, &sa, NULL);
}

static sigset_t one(int sig) {
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	return s;
}

static sem_t ready;
static atomic_int go;

static void *sleeper(void *arg) {
	(void)arg;
	sigset_t none;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	sem_post(&ready);
	while (!go)
		pause();
	return (void *)(long)own_hits;
}

static void directed(void) {
	pthread_t t[4];
	set(SIGUSR1, handler, 0);
	set(SIGUSR2, handler, 0);
	sigset_t usr = one(SIGUSR1), old;
	sigaddset(&usr, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr, &old);
	for (int i = 0; i < 4; i++) {
		pthread_create(&t[i], NULL, sleeper, NULL);
		sem_wait(&ready);
	}
	for (int i = 0; i < 4; i++) {
		int before = hits;
		pthread_kill(t[i], SIGUSR1);
		while (hits == before)
			usleep(1000);
	}
	/* to the process, whose main thread blocks it: exactly one other thread takes it */
	for (int i = 0; i < 3; i++) {
		int before = hits;
		kill(getpid(), SIGUSR2);
		while (hits == before)
			usleep(1000);
		printf("taken by the main thread %d\n", handler_tid == tid());
	}
	go = 1;
	for (int i = 0; i < 4; i++)
		pthread_kill(t[i], SIGUSR1);
	long total = 0;
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(t[i], &result);
		total += (long)result;
	}
	printf("total %ld, main %d\n", total, own_hits);
	/* nobody left who takes it: pending for the process */
	kill(getpid(), SIGUSR2);
	sigset_t pending;
	sigpending(&pending);
	printf("pending %d", sigismember(&pending, SIGUSR2));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	printf(" then main %d\n", own_hits);
	go = 0;
	hits = 0;
}

static void *waiter(void *arg) {
	sigset_t usr = one(SIGUSR1);
	siginfo_t info;
	(void)arg;
	sem_post(&ready);
	int r;
	/* who is woken and finds that another was faster gets EINTR */
	do
		r = sigwaitinfo(&usr, &info);
	while (r < 0 && errno == EINTR);
	return (void *)(long)r;
}

static void sigwaiting(void) {
	pthread_t t[3];
	sigset_t usr = one(SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr, NULL);
	for (int i = 0; i < 3; i++) {
		pthread_create(&t[i], NULL, waiter, NULL);
		sem_wait(&ready);
	}
	usleep(50000);
	/* standard signals sent at once may merge: one by one */
	for (int i = 0; i < 3; i++) {
		kill(getpid(), SIGUSR1);
		usleep(20000);
	}
	long total = 0;
	for (int i = 0; i < 3; i++) {
		void *result;
		pthread_join(t[i], &result);
		total += (long)result;
	}
	printf("sigwaitinfo in three threads: %ld\n", total);
	pthread_create(&t[0], NULL, waiter, NULL);
	sem_wait(&ready);
	usleep(20000);
	pthread_kill(t[0], SIGUSR1);
	void *result;
	pthread_join(t[0], &result);
	printf("directed: %ld\n", (long)result);
	pthread_sigmask(SIG_UNBLOCK, &usr, NULL);
}

static void *spinner(void *arg) {
	(void)arg;
	sem_post(&ready);
	for (;;)
		go++;
	return NULL;
}

static void *killer(void *arg) {
	(void)arg;
	usleep(20000);
	kill(getpid(), SIGTERM);
	pause();
	return NULL;
}

static void *crasher(void *arg) {
	(void)arg;
	usleep(20000);
	__asm__ volatile("ud2");
	return NULL;
}

static void *exiter(void *arg) {
	(void)arg;
	usleep(20000);
	exit(9);
}

static void in_child(const char *name, void *(*run)(void *)) {
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t t;
		pthread_create(&t, NULL, spinner, NULL);
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_create(&t, NULL, run, NULL);
		for (;;)
			pause();
	}
	waitpid(pid, &status, 0);
	printf("%s: %#x\n", name, status);
}

static void stopped(void) {
	int status;
	fflush(stdout);
	int fds[2];
	if (pipe(fds))
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t t;
		pthread_create(&t, NULL, spinner, NULL);
		for (;;) {
			int value = go;
			if (write(fds[1], &value, sizeof value) != sizeof value)
				_exit(1);
			usleep(5000);
		}
	}
	int value, last = -1;
	for (int i = 0; i < 3; i++)
		if (read(fds[0], &value, sizeof value) != sizeof value)
			exit(1);
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	printf("stopped %#x", status);
	usleep(50000);
	/* what is in the pipe was written before; then there is nothing */
	(void)last;
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	printf(" continued %#x", status);
	for (int i = 0; i < 20; i++)
		if (read(fds[0], &value, sizeof value) != sizeof value)
			exit(1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	printf(" killed %#x\n", status);
}

static void inherit(const char *self) {
	set(SIGUSR1, handler, 0);
	set(SIGUSR2, SIG_IGN, 0);
	sigset_t block = one(SIGALRM), pending;
	sigaddset(&block, 40);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGALRM);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		sigpending(&pending);
		printf("child: pending %d\n", sigismember(&pending, SIGALRM));
		fflush(stdout);
		raise(SIGALRM);
		execl(self, self, "after-exec", NULL);
		_exit(1);
	}
	int status;
	waitpid(pid, &status, 0);
	printf("exec'ed child %#x\n", status);
}

static void *exec_thread(void *self) {
	execl(self, self, "from-thread", NULL);
	_exit(1);
}

static void after_exec(void) {
	struct sigaction sa;
	sigset_t mask, pending;
	sigaction(SIGUSR1, NULL, &sa);
	printf("after exec: usr1 default %d", sa.sa_handler == SIG_DFL);
	sigaction(SIGUSR2, NULL, &sa);
	printf(" usr2 ignored %d", sa.sa_handler == SIG_IGN);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigpending(&pending);
	printf(" blocked %d %d pending %d\n", sigismember(&mask, SIGALRM), sigismember(&mask, 40), sigismember(&pending, SIGALRM));
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc > 1 && !strcmp(argv[1], "after-exec")) {
		after_exec();
		return 3;
	}
	if (argc > 1) {
		printf("exec from a thread: pid is tid %d\n", getpid() == tid());
		return 4;
	}
	sem_init(&ready, 0, 0);
	directed();
	sigwaiting();
	in_child("SIGTERM to a process with threads", killer);
	in_child("a thread crashes", crasher);
	in_child("a thread exits", exiter);
	stopped();
	inherit(argv[0]);
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t t;
		pthread_create(&t, NULL, spinner, NULL);
		pthread_create(&t, NULL, exec_thread, argv[0]);
		for (;;)
			pause();
	}
	waitpid(pid, &status, 0);
	printf("exec in a thread %#x\n", status);
	return 0;
}
