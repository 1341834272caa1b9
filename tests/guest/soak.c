/* A mixture of everything that makes and unmakes things: processes, programs, threads, signals, memory, files. `soak SEED ROUNDS`; the sum that it
   prints depends on the seed alone. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state;

static uint32_t next(void) {
	state = state * 6364136223846793005u + 1442695040888963407u;
	return state >> 33;
}

static void fail(const char *what) {
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static int status_of(pid_t pid) {
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	return status;
}

static unsigned forks(unsigned depth) {
	unsigned code = next() & 63;
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		if (depth && next() & 1)
			code = (code + forks(depth - 1)) & 63;
		_exit(code);
	}
	return WEXITSTATUS(status_of(pid));
}

static unsigned execs(void) {
	char number[16];
	snprintf(number, sizeof number, "%u", next() & 127);
	pid_t pid = next() & 1 ? vfork() : fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		execl("/proc/self/exe", "soak", "exit", number, NULL);
		_exit(255);
	}
	return WEXITSTATUS(status_of(pid));
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static unsigned shared, turn;

static void *thread(void *arg) {
	unsigned me = (unsigned)(uintptr_t)arg;
	pthread_mutex_lock(&mutex);
	while (turn != me)
		pthread_cond_wait(&cond, &mutex);
	turn++;
	shared = shared * 31 + me;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	return arg;
}

static unsigned threads(void) {
	pthread_t t[16];
	unsigned count = 1 + next() % 16;
	turn = 0;
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)(uintptr_t)i))
			fail("pthread_create");
	for (unsigned i = 0; i < count; i++)
		pthread_join(t[i], NULL);
	return shared;
}

static void *spins(void *arg) {
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* A process with threads that is killed, or that execs. */
static unsigned killed(void) {
	int how = next() & 1, pipes[2];
	if (pipe(pipes))
		fail("pipe");
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		pthread_t t;
		for (int i = 0; i < 4; i++)
			pthread_create(&t, NULL, spins, NULL);
		if (write(pipes[1], "x", 1) != 1)
			_exit(1);
		if (how)
			execl("/proc/self/exe", "soak", "exit", "9", NULL);
		pause();
	}
	char c;
	close(pipes[1]);
	if (read(pipes[0], &c, 1) != 1)
		fail("read");
	close(pipes[0]);
	if (!how)
		kill(pid, SIGKILL);
	int status = status_of(pid);
	return how ? WEXITSTATUS(status) : WTERMSIG(status);
}

static atomic_uint handled;

static void handler(int sig, siginfo_t *info, void *context) {
	(void)sig;
	(void)context;
	handled += info->si_value.sival_int;
}

static unsigned signals(void) {
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	sigset_t set, old;
	sigaction(SIGRTMIN, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, &old);
	for (int i = next() % 20; i >= 0; i--)
		if (sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = i }))
			fail("sigqueue");
	/* What is left in a child's queue is lost with it. */
	pid_t pid = fork();
	if (pid == 0) {
		sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 1 });
		_exit(0);
	}
	status_of(pid);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return handled;
}

static unsigned memory(void) {
	size_t size = (1 + next() % 2048) * 4096;
	unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, (next() & 1 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		fail("mmap");
	for (size_t i = 0; i < size; i += 4096)
		p[i] = i >> 12;
	pid_t pid = fork();
	if (pid == 0) {
		for (size_t i = 0; i < size; i += 8192)
			p[i] = 1;
		munmap(p, size / 8192 * 4096);
		_exit(p[size - 4096] & 63);
	}
	unsigned sum = WEXITSTATUS(status_of(pid));
	p = mremap(p, size, size * 2, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		fail("mremap");
	mprotect(p, 4096, PROT_READ);
	munmap(p, size * 2);
	return sum;
}

static unsigned files(void) {
	char name[32], block[512];
	unsigned count = 1 + next() % 20;
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "file%u", i);
		int fd = open(name, O_CREAT | O_RDWR, 0600), pipes[2];
		if (fd < 0 || pipe(pipes))
			fail("open");
		memset(block, i, sizeof block);
		for (int k = next() % 40; k >= 0; k--)
			if (write(fd, block, sizeof block) != sizeof block)
				fail("write");
		void *p = mmap(NULL, 512, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (next() & 1)
			unlink(name);
		memset(p, 1, 512);
		munmap(p, 512);
		/* A pipe that is thrown away full. */
		if (write(pipes[1], block, sizeof block) != sizeof block)
			fail("write");
		close(pipes[0]);
		close(pipes[1]);
		close(fd);
		unlink(name);
	}
	return count;
}

int main(int argc, char **argv) {
	if (argc > 2 && !strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	int rounds = argc > 2 ? atoi(argv[2]) : 20;
	unsigned sum = 0;
	for (int i = 0; i < rounds; i++) {
		unsigned r = 0;
		switch (next() % 7) {
		case 0: r = forks(4); break;
		case 1: r = execs(); break;
		case 2: r = threads(); break;
		case 3: r = killed(); break;
		case 4: r = signals(); break;
		case 5: r = memory(); break;
		case 6: r = files(); break;
		}
		sum = sum * 33 + r;
	}
	printf("%u\n", sum);
	return 0;
}
