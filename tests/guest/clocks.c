// Time through the vDSO against time by system call: neither ever runs ahead of the other, on every clock and in a child.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t ns(struct timespec t) {
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t by_call(clockid_t clock) {
    struct timespec t;
    if (syscall(SYS_clock_gettime, clock, &t) != 0) exit(1);
    return ns(t);
}

static int64_t by_vdso(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) exit(2);
    if (t.tv_nsec < 0 || t.tv_nsec >= 1000000000) exit(3);
    return ns(t);
}

static const struct {
    clockid_t id;
    const char *name;
} CLOCKS[] = {
    {CLOCK_REALTIME, "realtime"}, {CLOCK_MONOTONIC, "monotonic"},         {CLOCK_MONOTONIC_RAW, "raw"},
    {CLOCK_BOOTTIME, "boottime"}, {CLOCK_PROCESS_CPUTIME_ID, "process"}, {CLOCK_THREAD_CPUTIME_ID, "thread"},
};

static void compare(int rounds) {
    for (size_t i = 0; i < sizeof CLOCKS / sizeof *CLOCKS; i++) {
        int wrong = 0;
        for (int round = 0; round < rounds; round++) {
            int64_t before = by_call(CLOCKS[i].id), now = by_vdso(CLOCKS[i].id), after = by_call(CLOCKS[i].id);
            wrong += before > now || now > after;
        }
        printf("%s: %d out of order\n", CLOCKS[i].name, wrong);
    }
    int wrong = 0;
    for (int round = 0; round < rounds; round++) {
        struct timeval day;
        int64_t before = by_call(CLOCK_REALTIME) / 1000;
        gettimeofday(&day, NULL);
        int64_t now = day.tv_sec * 1000000LL + day.tv_usec, after = by_call(CLOCK_REALTIME) / 1000;
        wrong += before > now || now > after;
        // The second of time() may lag by a tick.
        time_t second = time(NULL);
        wrong += second < before / 1000000 - 1 || second > by_call(CLOCK_REALTIME) / 1000000000;
    }
    printf("gettimeofday and time: %d out of order\n", wrong);
    fflush(stdout);
}

static void print_mappings(void) {
    char line[256];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps) exit(4);
    while (fgets(line, sizeof line, maps)) {
        if (strstr(line, "[vdso]")) printf("vdso %.4s\n", strchr(line, ' ') + 1);
    }
    fclose(maps);
}

int main(void) {
    const unsigned char *image = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
    printf("image %d\n", image && memcmp(image, "\177ELF\2\1\1", 7) == 0 && image[16] == 3);
    print_mappings();
    compare(2000);
    int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID};
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        struct timespec by_libc, direct;
        clock_getres(clocks[i], &by_libc);
        syscall(SYS_clock_getres, clocks[i], &direct);
        printf("resolution %lld, same %d\n", (long long)ns(by_libc), ns(by_libc) == ns(direct));
    }
    unsigned cpu = ~0u;
    printf("getcpu %ld %d\n", syscall(SYS_getcpu, &cpu, NULL, NULL), cpu < 4096);
    // Times that no clock is set to, whoever asks.
    struct timespec late = {9223372036 - 946080000, 0};
    printf("too late %ld", syscall(SYS_clock_settime, CLOCK_REALTIME, &late));
    struct timeval later = {INT64_MAX, 0};
    printf(" %ld\n", syscall(SYS_settimeofday, &later, NULL));
    pid_t child = fork();
    if (child == 0) {
        compare(200);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child %d\n", status);
    compare(200);
    return 0;
}
