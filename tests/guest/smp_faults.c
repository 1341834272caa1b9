// musl only. Threads on all processors fault in the same pages at once, while one more protects, moves, drops and forks them: every thread finds
// what it wrote, nobody else's, and a fresh page is empty. Arguments: the first seed, and how many.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 48, THREADS = 3, ROUNDS = 12, LENGTH = PAGES * PAGE };

// What a mapping is, and so what may become of its pages: private memory, the same when it may be dropped, a private file, a shared one.
enum { PRIVATE, DROPPED, COPIED, SHARED, KINDS };

// One word for each thread in a page, far apart.
#define WORD(arena, page, thread) ((volatile unsigned *)((arena) + (page) * PAGE + (thread) * 1024))
#define MUST(condition) do { if (!(condition)) broken(#condition, __LINE__); } while (0)

static char *arenas[KINDS];
static int files[KINDS];
static pthread_barrier_t gate;
static atomic_int busy;
static unsigned seed_now, round_now;

static void broken(const char *what, int line) {
    printf("seed %u, round %u, line %d: %s (%s)\n", seed_now, round_now, line, what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static unsigned next(unsigned *state) {
    *state = *state * 1103515245 + 12345;
    return *state >> 16;
}

// Somebody has taken the page away for a moment: the access is tried again.
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    for (int kind = 0; kind < KINDS; kind++)
        if ((char *)info->si_addr >= arenas[kind] && (char *)info->si_addr < arenas[kind] + LENGTH) {
            sched_yield();
            return;
        }
    static const char text[] = "a fault elsewhere\n";
    write(1, text, sizeof text - 1);
    _exit(1);
}

// What a file holds before anybody wrote.
static unsigned initial(int kind) { return kind == COPIED ? 7 : 0; }

static void map(int kind, char *at) {
    int flags = kind == SHARED ? MAP_SHARED : MAP_PRIVATE;
    if (at) flags |= MAP_FIXED;
    if (files[kind] < 0) flags |= MAP_ANONYMOUS;
    char *found = mmap(at, LENGTH, PROT_READ | PROT_WRITE, flags, files[kind], 0);
    MUST(found != MAP_FAILED && (!at || found == at));
    arenas[kind] = found;
}

static unsigned value(int thread, int page) { return (round_now << 16 | thread << 8 | page) + 1; }

static void check(int kind, int page, int thread, unsigned expected) {
    unsigned found = *WORD(arenas[kind], page, thread);
    if (found == expected || (kind == DROPPED && found == 0)) return;
    printf("seed %u, round %u: kind %d, page %d, thread %d: %x instead of %x\n", seed_now, round_now, kind, page, thread, found, expected);
    fflush(stdout);
    _exit(1);
}

// Goes through all pages, from a place of its own, but all threads on the whole at the same time.
static void *toucher(void *argument) {
    int me = (int)(long)argument;
    unsigned state = seed_now * 31 + me;
    for (unsigned round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&gate);
        for (int kind = 0; kind < KINDS; kind++) {
            unsigned first = next(&state) % 4;
            for (int i = 0; i < PAGES; i++) {
                int page = (first + i) % PAGES;
                if (next(&state) % 2) check(kind, page, me, initial(kind));
                *WORD(arenas[kind], page, me) = value(me, page);
                check(kind, page, me, value(me, page));
            }
        }
        for (int kind = 0; kind < KINDS; kind++)
            for (int page = 0; page < PAGES; page++) check(kind, page, me, value(me, page));
        busy--;
        pthread_barrier_wait(&gate);
    }
    return 0;
}

// A child's memory stands still, and what it writes is its own.
static void child(void) {
    for (int kind = 0; kind < SHARED; kind++) {
        unsigned seen[PAGES][THREADS];
        for (int page = 0; page < PAGES; page++)
            for (int thread = 0; thread < THREADS; thread++) seen[page][thread] = *WORD(arenas[kind], page, thread);
        for (int page = 0; page < PAGES; page += 3) *WORD(arenas[kind], page, THREADS) = 0xffffffff;
        for (int page = 0; page < PAGES; page++)
            for (int thread = 0; thread < THREADS; thread++)
                if (*WORD(arenas[kind], page, thread) != seen[page][thread]) _exit(1);
    }
    _exit(0);
}

static void disturb(unsigned *state) {
    int kind = next(state) % KINDS;
    unsigned first = next(state) % PAGES, count = 1 + next(state) % (PAGES - first);
    char *at = arenas[kind] + first * PAGE;
    size_t length = count * PAGE;
    switch (next(state) % 8) {
    case 0:
    case 1:
        MUST(mprotect(at, length, PROT_READ) == 0);
        MUST(mprotect(at, length, PROT_READ | PROT_WRITE) == 0);
        break;
    case 2:
        MUST(mprotect(at, length, PROT_NONE) == 0);
        MUST(mprotect(at, length, PROT_READ | PROT_WRITE) == 0);
        break;
    case 3: {
        char *away = mmap(0, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(away != MAP_FAILED);
        MUST(mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, away) == away);
        MUST(mremap(away, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
        break;
    }
    case 4:
        if (kind == DROPPED || kind == SHARED) MUST(madvise(at, length, MADV_DONTNEED) == 0);
        break;
    case 5:
        if (kind == DROPPED || kind == SHARED) {
            MUST(munmap(arenas[kind], LENGTH) == 0);
            map(kind, arenas[kind]);
        }
        break;
    case 6: {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) child();
        int status;
        MUST(waitpid(pid, &status, 0) == pid && status == 0);
        break;
    }
    default:
        // Pages of zeros, or the file's own, that others write to next.
        for (unsigned i = 0; i < count; i++) (void)*WORD(at, i, THREADS);
    }
}

static void run(unsigned seed) {
    seed_now = seed;
    unsigned state = seed;
    pthread_t threads[THREADS];
    MUST(pthread_barrier_init(&gate, 0, THREADS + 1) == 0);
    files[PRIVATE] = files[DROPPED] = -1;
    for (long i = 0; i < THREADS; i++) MUST(pthread_create(&threads[i], 0, toucher, (void *)i) == 0);
    for (round_now = 0; round_now < ROUNDS; round_now++) {
        for (int kind = 0; kind < KINDS; kind++) {
            if (kind >= COPIED) {
                MUST((files[kind] = memfd_create("pages", 0)) >= 0 && ftruncate(files[kind], LENGTH) == 0);
                for (int page = 0; page < PAGES; page++)
                    for (int thread = 0; thread < THREADS; thread++) {
                        unsigned word = initial(kind);
                        MUST(pwrite(files[kind], &word, 4, page * PAGE + thread * 1024) == 4);
                    }
            }
            map(kind, 0);
        }
        busy = THREADS;
        pthread_barrier_wait(&gate);
        while (busy) disturb(&state);
        pthread_barrier_wait(&gate);
        for (int kind = 0; kind < KINDS; kind++) {
            for (int page = 0; page < PAGES; page++)
                for (int thread = 0; thread < THREADS; thread++) check(kind, page, thread, value(thread, page));
            MUST(munmap(arenas[kind], LENGTH) == 0);
            if (files[kind] >= 0) close(files[kind]);
        }
    }
    for (int i = 0; i < THREADS; i++) MUST(pthread_join(threads[i], 0) == 0);
    pthread_barrier_destroy(&gate);
}

int main(int count, char **arguments) {
    unsigned first = count > 1 ? atoi(arguments[1]) : 1, seeds = count > 2 ? atoi(arguments[2]) : 3;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    for (unsigned seed = first; seed < first + seeds; seed++) run(seed);
    printf("%u seeds: everybody found what they wrote\n", seeds);
    return 0;
}
