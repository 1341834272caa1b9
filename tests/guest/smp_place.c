// Where threads may run, and what they are told of it; and that nice values matter. Says the same for any number of CPUs.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void broken(const char *what) {
    printf("broken: %s (%s)\n", what, strerror(errno));
    exit(1);
}
#define MUST(condition) do { if (!(condition)) broken(#condition); } while (0)

static atomic_int stop, cpu_seen = -1, tid;

static void *spinner(void *unused) {
    (void)unused;
    tid = (int)syscall(SYS_gettid);
    while (!stop) {
        unsigned cpu;
        syscall(SYS_getcpu, &cpu, 0, 0);
        cpu_seen = (int)cpu;
    }
    return 0;
}

static cpu_set_t only(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return set;
}

static void *inherits(void *expected) {
    cpu_set_t set;
    MUST(sched_getaffinity(0, sizeof set, &set) == 0);
    return (void *)(long)(CPU_COUNT(&set) == 1 && CPU_ISSET((int)(long)expected, &set));
}

static long allowed_in_proc(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long mask = -1;
    while (fgets(line, sizeof line, file)) if (!strncmp(line, "Cpus_allowed:", 13)) {
        char *last = strrchr(line, ',');
        mask = strtol(last ? last + 1 : line + 13, 0, 16);
    }
    fclose(file);
    return mask;
}

static void burn(double seconds) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
}

static double used(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(void) {
    cpu_set_t all, set;
    MUST(sched_getaffinity(0, sizeof all, &all) == 0);
    MUST(sysconf(_SC_NPROCESSORS_ONLN) >= CPU_COUNT(&all));
    pthread_t thread, child;
    MUST(pthread_create(&thread, 0, spinner, 0) == 0);
    while (!tid) sched_yield();
    int first = -1;
    for (int cpu = 0; cpu < 64; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        if (first < 0) first = cpu;
        for (int i = 0; i < 20; i++) {
            set = only(cpu);
            MUST(sched_setaffinity(0, sizeof set, &set) == 0);
            unsigned now;
            MUST(syscall(SYS_getcpu, &now, 0, 0) == 0 && (int)now == cpu);
            MUST(sched_getcpu() == cpu);
            sched_yield();
            MUST(sched_getcpu() == cpu);
        }
        MUST(allowed_in_proc() == 1l << cpu);
        MUST(pthread_create(&child, 0, inherits, (void *)(long)cpu) == 0);
        void *result;
        pthread_join(child, &result);
        MUST(result);
        // Another thread, which runs, is moved.
        MUST(sched_setaffinity(tid, sizeof set, &set) == 0);
        while (cpu_seen != cpu) sched_yield();
        MUST(sched_getaffinity(tid, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set));
        pid_t pid = fork();
        if (pid == 0) _exit(sched_getcpu() == cpu ? 0 : 1);
        int status;
        MUST(waitpid(pid, &status, 0) == pid && status == 0);
    }
    stop = 1;
    pthread_join(thread, 0);
    printf("every CPU was reached\n");
    CPU_ZERO(&set);
    MUST(sched_setaffinity(0, sizeof set, &set) == -1 && errno == EINVAL);
    MUST(sched_setaffinity(999999, sizeof all, &all) == -1 && errno == ESRCH);
    MUST(sched_getaffinity(999999, sizeof all, &set) == -1 && errno == ESRCH);
    MUST(syscall(SYS_sched_getaffinity, 0, 1, &set) == -1 && errno == EINVAL);
    MUST(syscall(SYS_sched_setaffinity, 0, sizeof set, (void *)1) == -1 && errno == EFAULT);
    printf("errors\n");

    // Two on one CPU: the nicer one gets less.
    double *spent = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    set = only(first);
    MUST(sched_setaffinity(0, sizeof set, &set) == 0);
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            if (i) setpriority(PRIO_PROCESS, 0, 15);
            burn(0.6);
            spent[i] = used();
            _exit(0);
        }
    }
    while (wait(0) > 0);
    printf("nice: %s\n", spent[0] > 3 * spent[1] ? "less for the nicer one" : "no matter");
    return 0;
}
