// What one CPU takes away in a page table, the others see no more: munmap, mprotect, mmap over a mapping, copy-on-write and fork while other (musl only)
// threads use the same memory.
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, ROUNDS = 100 };

static void broken(const char *what) {
    printf("broken: %s (%s)\n", what, strerror(errno));
    exit(1);
}
#define MUST(condition) do { if (!(condition)) broken(#condition); } while (0)

static char *page;
static atomic_int stop, faults, round_no, answered;
static __thread sigjmp_buf back;

static void on_fault(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

// Writes to the page all the time; a fault is answered for the round and waited out.
static void *writer(void *unused) {
    (void)unused;
    volatile unsigned long *word = (unsigned long *)page;
    static volatile unsigned long value;
    while (!stop) {
        int now = round_no;
        if (sigsetjmp(back, 1) == 0) {
            while (!stop) *word = value = value + 1;
        } else {
            faults++;
            answered = now + 1;
            while (!stop && round_no <= now) usleep(50);
        }
    }
    return 0;
}

static void new_page(void) {
    MUST(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page);
}

// After mprotect has returned nobody's write reaches the page; after munmap every access faults.
static void taken_away(void) {
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, 0);
    page = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    MUST(pthread_create(&thread, 0, writer, 0) == 0);
    volatile unsigned long *word = (unsigned long *)page;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned long before = *word;
        while (*word == before) sched_yield();
        if (i % 2) {
            MUST(mprotect(page, PAGE, PROT_READ) == 0);
            unsigned long held = *word;
            while (answered <= i) sched_yield();
            MUST(*word == held);
            MUST(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
        } else {
            MUST(munmap(page, PAGE) == 0);
            while (answered <= i) sched_yield();
            new_page();
        }
        round_no = i + 1;
    }
    stop = 1;
    pthread_join(thread, 0);
    printf("taken away: %d rounds, %d faults\n", ROUNDS, (int)faults);
    signal(SIGSEGV, SIG_DFL);
}

// Generations of a page at one place: who knows that a generation is there sees no older one.
static atomic_ulong generation;
static atomic_int older;

static void *reader(void *unused) {
    (void)unused;
    volatile unsigned long *word = (unsigned long *)page;
    while (!stop) {
        unsigned long known = generation;
        if (*word < known) older++;
    }
    return 0;
}

static void replaced(void) {
    stop = 0;
    char *fresh = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    MUST(pthread_create(&thread, 0, reader, 0) == 0);
    for (unsigned long i = 1; i <= 300; i++) {
        *(volatile unsigned long *)fresh = i;
        MUST(mremap(fresh, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page) == page);
        generation = i;
        MUST(mmap(fresh, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == fresh);
    }
    stop = 1;
    pthread_join(thread, 0);
    printf("replaced: an older page was seen %d times\n", (int)older);
}

// A first write after a read by another thread: that one sees the new page.
enum { ZEROS = 64 };
static atomic_int written, zeros_seen;

static void *zero_reader(void *unused) {
    (void)unused;
    int sum = 0;
    for (int i = 0; i < ZEROS; i++) sum += *(volatile char *)(page + i * PAGE);
    atomic_store(&answered, 1);
    for (int i = 0; i < ZEROS; i++) {
        while (written <= i) sched_yield();
        if (*(volatile char *)(page + i * PAGE) != 1) zeros_seen++;
    }
    return (void *)(long)sum;
}

static void zeros(void) {
    answered = 0;
    page = mmap(0, ZEROS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    MUST(pthread_create(&thread, 0, zero_reader, 0) == 0);
    while (!answered) sched_yield();
    for (int i = 0; i < ZEROS; i++) {
        page[i * PAGE] = 1;
        written = i + 1;
    }
    pthread_join(thread, 0);
    printf("zeros: %d seen after the write\n", (int)zeros_seen);
}

// A forked child's memory stands still, whatever the parent's threads write.
static void *scribbler(void *unused) {
    (void)unused;
    unsigned value = 0;
    while (!stop) {
        value++;
        for (int i = 0; i < 64; i++) *(volatile unsigned *)(page + i * PAGE) = value;
    }
    return 0;
}

static void forked(void) {
    stop = 0;
    page = mmap(0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;
    MUST(pthread_create(&thread, 0, scribbler, 0) == 0);
    int moved = 0;
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        MUST(child >= 0);
        if (child == 0) {
            unsigned first[64];
            for (int j = 0; j < 64; j++) first[j] = *(volatile unsigned *)(page + j * PAGE);
            for (int k = 0; k < 20; k++)
                for (int j = 0; j < 64; j++)
                    if (*(volatile unsigned *)(page + j * PAGE) != first[j]) _exit(1);
            // The child's own writes stay its own.
            for (int j = 0; j < 64; j += 2) *(volatile unsigned *)(page + j * PAGE) = 0xffffffff;
            _exit(0);
        }
        for (int j = 0; j < 64; j++) if (*(volatile unsigned *)(page + j * PAGE) == 0xffffffff) moved++;
        int status;
        MUST(waitpid(child, &status, 0) == child);
        if (status != 0) moved++;
    }
    stop = 1;
    pthread_join(thread, 0);
    printf("forked: %d times memory moved\n", moved);
}

// Several threads map, fill, check and unmap at once.
static void *mapper(void *argument) {
    unsigned seed = (unsigned)(long)argument;
    for (int i = 0; i < 100; i++) {
        size_t pages = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 40;
        unsigned char *at = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return (void *)1;
        for (size_t j = 0; j < pages; j++) {
            if (at[j * PAGE]) return (void *)2;
            at[j * PAGE] = (unsigned char)seed;
        }
        if (i % 3 == 0) {
            mprotect(at, pages * PAGE, PROT_READ);
            mprotect(at, pages * PAGE, PROT_READ | PROT_WRITE);
        }
        if (i % 5 == 0) {
            madvise(at, PAGE, MADV_DONTNEED);
            if (at[0]) return (void *)3;
            at[0] = (unsigned char)seed;
        }
        for (size_t j = 0; j < pages; j++) if (at[j * PAGE] != (unsigned char)seed) return (void *)4;
        if (munmap(at, pages * PAGE)) return (void *)5;
    }
    return 0;
}

static void mapped(void) {
    pthread_t threads[4];
    for (long i = 0; i < 4; i++) MUST(pthread_create(&threads[i], 0, mapper, (void *)(i + 1)) == 0);
    long wrong = 0;
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)result;
    }
    printf("mapped: %ld\n", wrong);
}

int main(void) {
    taken_away();
    replaced();
    zeros();
    forked();
    mapped();
    return 0;
}
