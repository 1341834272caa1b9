/* Restartable sequences: registration, and critical sections that signals and preemption abort. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIG 0x53053053

struct area {
	uint32_t cpu_id_start, cpu_id;
	uint64_t cs;
	uint32_t flags, node_id, mm_cid, pad;
} __attribute__((aligned(32)));

struct section {
	uint32_t version, flags;
	uint64_t start, length, abort;
} __attribute__((aligned(32)));

static int call(volatile void *at, unsigned len, int flags, unsigned sig) {
	return syscall(SYS_rseq, at, len, flags, sig) < 0 ? -errno : 0;
}

static struct area own;
static volatile struct area *area;

#ifdef __GLIBC__
extern const ptrdiff_t __rseq_offset;
extern const unsigned __rseq_size;
#endif

/* The C library's registration, or our own. */
static void find_area(void) {
	area = &own;
#ifdef __GLIBC__
	if (__rseq_size > 0) {
		area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
		return;
	}
#endif
	if (call(area, 32, 0, SIG))
		printf("registering failed\n");
}

/* Spins in a critical section until it is aborted; gives up after a very long time. The section is described by `s`. */
static int spin(struct section *s, uint64_t turns) {
	int aborted;
	__asm__ volatile(
		"lea 1f(%%rip), %%rax\n\t mov %%rax, 8(%[s])\n\t"
		"lea 2f(%%rip), %%rcx\n\t sub %%rax, %%rcx\n\t mov %%rcx, 16(%[s])\n\t"
		"lea 4f(%%rip), %%rax\n\t mov %%rax, 24(%[s])\n\t"
		"mov %[s], %[cs]\n\t"
		"mov %[turns], %%rax\n\t"
		"1: dec %%rax\n\t jnz 1b\n\t"
		"2: xor %[aborted], %[aborted]\n\t jmp 5f\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t.long 0x53053053\n\t"
		"4: mov $1, %[aborted]\n\t"
		"5:\n\t"
		: [aborted] "=&r"(aborted), [cs] "=m"(area->cs)
		: [s] "r"(s), [turns] "r"(turns)
		: "rax", "rcx", "memory", "cc");
	return aborted;
}

static atomic_int handled;

static void handler(int sig) {
	(void)sig;
	handled++;
}

static void by_signal(void) {
	struct section s = { 0 };
	struct sigaction sa = { .sa_handler = handler };
	sigaction(SIGALRM, &sa, NULL);
	handled = 0;
	/* Again and again: the first may come before the section is entered. */
	struct itimerval it = { .it_value = { .tv_usec = 20000 }, .it_interval = { .tv_usec = 20000 } }, none = { 0 };
	setitimer(ITIMER_REAL, &it, NULL);
	int aborted = spin(&s, 1ull << 40);
	while (!handled)
		;
	setitimer(ITIMER_REAL, &none, NULL);
	printf("signal: aborted %d, handled %d, cleared %d\n", aborted, handled > 0, area->cs == 0);
	/* A section that the program isn't in is left alone, and forgotten. */
	area->cs = (uintptr_t)&s;
	handled = 0;
	raise(SIGALRM);
	printf("signal outside: handled %d, cleared %d\n", handled, area->cs == 0);
}

static atomic_int stop;

static void *busy(void *arg) {
	(void)arg;
	while (!stop)
		;
	return NULL;
}

static void by_preemption(void) {
	struct section s = { 0 };
	cpu_set_t all, one;
	sched_getaffinity(0, sizeof all, &all);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all)) {
			CPU_SET(i, &one);
			break;
		}
	sched_setaffinity(0, sizeof one, &one);
	pthread_t t;
	pthread_create(&t, NULL, busy, NULL);
	int aborted = spin(&s, 1ull << 40);
	stop = 1;
	pthread_join(t, NULL);
	printf("preemption: aborted %d, cpu %d\n", aborted, area->cpu_id == area->cpu_id_start);
	sched_setaffinity(0, sizeof all, &all);
}

static void child_of(const char *what, void (*f)(void)) {
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		f();
		fflush(stdout);
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	printf("%s: status %#x\n", what, status & 0x7f);
}

static struct section bad;

static void prepare(void) {
	signal(SIGALRM, handler);
	bad = (struct section){ .start = 0x1000, .length = 16, .abort = (uintptr_t)&child_of };
	area->cs = (uintptr_t)&bad;
}

static void wrong_signature(void) {
	prepare();
	raise(SIGALRM);
}

static void wrong_version(void) {
	prepare();
	bad.version = 1;
	raise(SIGALRM);
}

static void unmapped(void) {
	prepare();
	area->cs = 0x10;
	raise(SIGALRM);
}

static void kernel_address(void) {
	prepare();
	area->cs = ~0ull << 47;
	raise(SIGALRM);
}

static void abort_inside(void) {
	prepare();
	bad.abort = 0x1004;
	raise(SIGALRM);
}

static void flagged(void) {
	struct section s = { .flags = 2 };
	signal(SIGALRM, handler);
	struct itimerval it = { .it_value = { .tv_usec = 10000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	printf("not reached %d\n", spin(&s, 1ull << 40));
}

static void after_fork(void) {
	struct section s = { 0 };
	handled = 0;
	struct sigaction sa = { .sa_handler = handler };
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval it = { .it_value = { .tv_usec = 10000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	printf("child: aborted %d\n", spin(&s, 1ull << 40));
}

static struct area other;

static void *registers(void *arg) {
	(void)arg;
	struct area *mine = &other;
	int r;
#ifdef __GLIBC__
	if (__rseq_size > 0) {
		volatile struct area *theirs = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
		printf("thread has its own: %d\n", theirs != area && theirs->cpu_id != -1u);
		r = -1;
		for (unsigned len = 32; len <= 64 && r; len += 4)
			r = call(theirs, len, 1, SIG);
		printf("unregister %d, id %d\n", r, (int)theirs->cpu_id);
	}
#endif
	printf("unregister nothing %d\n", call(mine, 32, 1, SIG));
	printf("short %d, misaligned %d, bad flags %d, beyond %d\n", call(mine, 16, 0, SIG), call((char *)mine + 8, 32, 0, SIG),
	       call(mine, 32, 4, SIG), call((void *)(~0ull << 47), 32, 0, SIG));
	mine->cs = 1234;
	r = call(mine, 32, 0, SIG);
	printf("register %d, forgets %d\n", r, mine->cs == 0);
	printf("again %d, other signature %d, other place %d, other length %d\n", call(mine, 32, 0, SIG), call(mine, 32, 0, SIG + 1),
	       call(mine + 1, 32, 0, SIG), call(mine, 64, 0, SIG));
	printf("ids: %d %d\n", mine->cpu_id == mine->cpu_id_start, mine->cpu_id < 1024);
	printf("unregister: signature %d, place %d, length %d\n", call(mine, 32, 1, SIG + 1), call(mine + 1, 32, 1, SIG), call(mine, 64, 1, SIG));
	r = call(mine, 32, 1, SIG);
	printf("unregister: %d, ids %d %d\n", r, (int)mine->cpu_id_start, (int)mine->cpu_id);
	return NULL;
}

int main(void) {
	find_area();
	by_signal();
	by_preemption();
	child_of("after fork", after_fork);
	child_of("wrong signature", wrong_signature);
	child_of("wrong version", wrong_version);
	child_of("unmapped", unmapped);
	child_of("kernel address", kernel_address);
	child_of("abort inside", abort_inside);
	child_of("flagged", flagged);
	pthread_t t;
	pthread_create(&t, NULL, registers, NULL);
	pthread_join(t, NULL);
	return 0;
}
