// Operations on several processors at once, each in threads (or processes) of its own that are bound to a processor: see measure.h for what is printed. The ticks
// are those of all threads together, by the operation: half as many on two processors as on one is perfect.
#include "measure.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MOST = 8, FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };

static void (*work)(int);
static int rounds;
/// What processes share as well.
static struct {
    pthread_barrier_t gate;
    /// When each one began and ended: who waits for them may not run in time.
    unsigned long began[MOST], ended[MOST];
} *shared;

static void bind_to(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    MUST(sched_setaffinity(0, sizeof set, &set) == 0);
}

static void *worker(void *argument) {
    int number = (int)(long)argument;
    bind_to(number);
    pthread_barrier_wait(&shared->gate);
    shared->began[number] = __rdtsc();
    work(number);
    shared->ended[number] = __rdtsc();
    return 0;
}

enum workers { THREADS, PROCESSES };

static void on(int processors, int count, void (*function)(int), enum workers workers) {
    if (sysconf(_SC_NPROCESSORS_ONLN) < processors) errno = 0, broken("the machine has fewer processors");
    work = function, rounds = count;
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(shared != MAP_FAILED);
    pthread_barrierattr_t among_processes;
    MUST(pthread_barrierattr_init(&among_processes) == 0);
    MUST(pthread_barrierattr_setpshared(&among_processes, PTHREAD_PROCESS_SHARED) == 0);
    for (int repetition = 0; repetition < 3; repetition++) {
        pthread_t threads[MOST];
        pid_t children[MOST];
        MUST(pthread_barrier_init(&shared->gate, &among_processes, processors + 1) == 0);
        for (long i = 0; i < processors; i++)
            if (workers == THREADS) {
                MUST(pthread_create(&threads[i], 0, worker, (void *)i) == 0);
            } else {
                MUST((children[i] = fork()) >= 0);
                if (children[i] == 0) worker((void *)i), _exit(0);
            }
        pthread_barrier_wait(&shared->gate);
        unsigned long first = ~0ul, last = 0;
        for (int i = 0; i < processors; i++) {
            int status = 0;
            MUST(workers == THREADS ? pthread_join(threads[i], 0) == 0 : waitpid(children[i], &status, 0) == children[i]);
            MUST(status == 0);
            if (shared->began[i] < first) first = shared->began[i];
            if (shared->ended[i] > last) last = shared->ended[i];
        }
        took(last - first, (unsigned long)count * processors);
        pthread_barrier_destroy(&shared->gate);
    }
    MUST(munmap(shared, sizeof *shared) == 0);
    report((unsigned long)count * processors);
}

static void calls(int number) {
    (void)number;
    for (int i = 0; i < rounds; i++) MUST(CALL(SYS_getppid, 0, 0, 0, 0) >= 0);
}
static void faults(int number) {
    (void)number;
    char *pages = mmap(0, rounds * 4096l, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(pages != MAP_FAILED);
    for (int i = 0; i < rounds; i++) *(volatile char *)(pages + i * 4096l) = 1;
    MUST(munmap(pages, rounds * 4096l) == 0);
}

/// Two threads on each processor pass a turn.
static struct { _Atomic int turn; char apart[60]; } turns[MOST];
static void take_turns(int number, int mine) {
    for (int i = 0; i < rounds; i++) {
        while (turns[number].turn != mine) CALL(SYS_futex, &turns[number].turn, FUTEX_WAIT_PRIVATE, !mine, 0);
        turns[number].turn = !mine;
        CALL(SYS_futex, &turns[number].turn, FUTEX_WAKE_PRIVATE, 1, 0);
    }
}
static void *other_turns(void *number) {
    bind_to((int)(long)number);
    take_turns((int)(long)number, 1);
    return 0;
}
static void futexes(int number) {
    pthread_t other;
    turns[number].turn = 0;
    MUST(pthread_create(&other, 0, other_turns, (void *)(long)number) == 0);
    take_turns(number, 0);
    MUST(pthread_join(other, 0) == 0);
}

static int there[MOST][2], back[MOST][2];
static void *echo(void *number) {
    int at = (int)(long)number;
    char byte;
    bind_to(at);
    while (CALL(SYS_read, there[at][0], &byte, 1, 0) == 1) MUST(CALL(SYS_write, back[at][1], &byte, 1, 0) == 1);
    return 0;
}
static void pipes(int number) {
    pthread_t other;
    char byte = 1;
    MUST(pipe(there[number]) == 0 && pipe(back[number]) == 0);
    MUST(pthread_create(&other, 0, echo, (void *)(long)number) == 0);
    for (int i = 0; i < rounds; i++)
        MUST(CALL(SYS_write, there[number][1], &byte, 1, 0) == 1 && CALL(SYS_read, back[number][0], &byte, 1, 0) == 1);
    close(there[number][1]);
    MUST(pthread_join(other, 0) == 0);
    close(there[number][0]), close(back[number][0]), close(back[number][1]);
}

/// A case by the number of processors.
#define ON(processors, name, count, function, workers) \
    static void name##_##processors##cpu(void) { on(processors, count, function, workers); }
#define CASES(processors) \
    ON(processors, getppid, 20000, calls, THREADS) ON(processors, fault, 4096, faults, THREADS) \
    ON(processors, fault_proc, 4096, faults, PROCESSES) ON(processors, futex, 2000, futexes, THREADS) \
    ON(processors, pipe, 2000, pipes, THREADS)
CASES(1) CASES(2) CASES(4) CASES(8)

#define LISTED(name, processors) {"scale", #name "_" #processors "cpu", name##_##processors##cpu},
#define BY_PROCESSORS(name) LISTED(name, 1) LISTED(name, 2) LISTED(name, 4) LISTED(name, 8)
static const struct measured cases[] = {
    BY_PROCESSORS(getppid) BY_PROCESSORS(fault) BY_PROCESSORS(fault_proc) BY_PROCESSORS(futex) BY_PROCESSORS(pipe)
};

MEASURE(cases)
