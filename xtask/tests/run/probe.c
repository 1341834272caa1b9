/* The guest program of xtask's tests: does what its first argument says. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t seen;

static void note(int signal) { seen = signal; }

static void catch(int signal) {
    struct sigaction action = {.sa_handler = note};
    sigaction(signal, &action, 0);
}

static int write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done < 0)
            return -1;
        bytes += done;
        len -= done;
    }
    return 0;
}

static int cat(void) {
    static char buffer[70000];
    ssize_t len;
    while ((len = read(0, buffer, sizeof buffer)) > 0)
        if (write_all(1, buffer, len) < 0)
            return 1;
    return len < 0;
}

/* Megabytes of a pattern: the last byte must arrive as the first did. */
static int flood(int mib) {
    static char line[1 << 16];
    for (size_t at = 0; at < sizeof line; at++)
        line[at] = "0123456789abcdef"[at & 15];
    for (int i = 0; i < mib * 16; i++)
        if (write_all(1, line, sizeof line) < 0)
            return 1;
    return 0;
}

static int wait_for_signals(void) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    /* Delivered in sigsuspend only: a signal between a look at it and the sleep would be slept through. */
    sigprocmask(SIG_BLOCK, &all, 0);
    catch(SIGINT);
    catch(SIGTERM);
    puts("ready");
    fflush(stdout);
    for (;;) {
        sigsuspend(&none);
        printf("signal %d\n", (int)seen);
        fflush(stdout);
        if (seen == SIGTERM)
            return 9;
    }
}

/* In the handler, so that it makes no difference whether the program is reading already. */
static void report(int signal) {
    struct winsize size = {0};
    char text[100];
    ioctl(0, TIOCGWINSZ, &size);
    int len = snprintf(text, sizeof text, "signal %d size %d %d\n", signal, size.ws_row, size.ws_col);
    write_all(1, text, len);
}

static int terminal(void) {
    char line[100];
    struct sigaction action = {.sa_handler = report, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, 0);
    sigaction(SIGWINCH, &action, 0);
    printf("tty %d %d %d\n", isatty(0), isatty(1), isatty(2));
    fflush(stdout);
    report(0);
    for (;;) {
        ssize_t len = read(0, line, sizeof line - 1);
        if (len <= 0) {
            puts("end");
            return 4;
        } else {
            line[len] = 0;
            printf("line %s", line);
            if (strcmp(line, "raw\n") == 0) {
                struct termios settings;
                tcgetattr(0, &settings);
                cfmakeraw(&settings);
                tcsetattr(0, TCSANOW, &settings);
                printf("raw\r\n");
                fflush(stdout);
                len = read(0, line, 1);
                printf("key %d\r\n", line[0]);
                return 5;
            }
        }
        fflush(stdout);
    }
}

static int ticks(void) {
    struct timespec now;
    for (int i = 0; i < 5; i++) {
        clock_gettime(CLOCK_REALTIME, &now);
        printf("%lld.%09ld %llu\n", (long long)now.tv_sec, now.tv_nsec, (unsigned long long)__builtin_ia32_rdtsc());
    }
    return cat();
}

/* What the vDSO answers, a hundred times each. */
static int clocks(void) {
    static const clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
                                    CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_TAI};
    struct timespec spec, last = {0};
    struct timeval value;
    int wrong = 0;
    for (int i = 0; i < 100; i++) {
        for (size_t id = 0; id < sizeof ids / sizeof *ids; id++)
            wrong += clock_gettime(ids[id], &spec) != 0;
        clock_gettime(CLOCK_MONOTONIC, &spec);
        wrong += spec.tv_sec < last.tv_sec || (spec.tv_sec == last.tv_sec && spec.tv_nsec < last.tv_nsec);
        last = spec;
        wrong += gettimeofday(&value, NULL) != 0 || time(NULL) < 1700000000 || sched_getcpu() != 0;
    }
    printf("%d wrong\n", wrong);
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "both")) {
        fputs("to stdout\n", stdout);
        fputs("to stderr\n", stderr);
        return 3;
    }
    if (!strcmp(what, "exit"))
        return atoi(argv[2]);
    if (!strcmp(what, "abort"))
        abort();
    if (!strcmp(what, "crash"))
        *(volatile int *)16 = 1;
    if (!strcmp(what, "cat"))
        return cat();
    if (!strcmp(what, "flood"))
        return flood(atoi(argv[2]));
    if (!strcmp(what, "hang"))
        for (;;)
            pause();
    if (!strcmp(what, "spin"))
        for (;;)
            ;
    if (!strcmp(what, "signals"))
        return wait_for_signals();
    if (!strcmp(what, "ignore")) {
        signal(SIGINT, SIG_IGN);
        puts("ready");
        fflush(stdout);
        for (;;)
            pause();
    }
    if (!strcmp(what, "terminal"))
        return terminal();
    if (!strcmp(what, "clocks"))
        return clocks();
    if (!strcmp(what, "unknown")) {
        puts("calls");
        fflush(stdout);
        return syscall(468) == -1 ? errno : 0;
    }
    if (!strcmp(what, "ticks"))
        return ticks();
    if (!strcmp(what, "show")) {
        char cwd[4096];
        for (int i = 0; i < argc; i++)
            printf("arg %s\n", argv[i]);
        for (char **env = environ; *env; env++)
            printf("env %s\n", *env);
        printf("cwd %s\n", getcwd(cwd, sizeof cwd));
        return 0;
    }
    if (!strcmp(what, "read")) {
        FILE *file = fopen(argv[2], "r");
        char line[200] = "";
        if (!file)
            return 1;
        if (fgets(line, sizeof line, file))
            fputs(line, stdout);
        return 0;
    }
    return 99;
}
