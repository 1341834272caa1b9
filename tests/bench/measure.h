// What measuring programs share: one line `suite name ticks rounds` for each case, in ticks of the TSC per operation (guest instructions in
// the exact machine), the least of three repetitions of so many rounds. Each loop checks that its work was done: a wrong result ends the
// program with status 1 and says which.
//
// A program is this header, its cases, and `MEASURE(cases)`. It takes the names of cases or suites, all without; `--list` names them; `--exec FILE`
// says what exec cases run, and `--hello` ends at once, as such a program.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

static long call(long n, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
#define CALL(n, a, b, c, d) call(n, (long)(a), (long)(b), (long)(c), (long)(d))

static const char *running;

static void broken(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", running, what, strerror(errno));
    exit(1);
}
#define MUST(condition) do { if (!(condition)) broken(#condition); } while (0)

// `cargo xtask profile` sees by these functions' addresses which instructions are measured, and where a repetition ends.
#define MARK __attribute__((noinline, used)) void
MARK mark_start(void) { __asm__ volatile("" ::: "memory"); }
MARK mark_stop(void) { __asm__ volatile("" ::: "memory"); }
MARK mark_repetition(void) { __asm__ volatile("" ::: "memory"); }

/// The time at which something that is measured begins, and what it took.
static inline unsigned long start(void) {
    mark_start();
    return __rdtsc();
}
static inline unsigned long stop(unsigned long started) {
    unsigned long ticks = __rdtsc() - started;
    mark_stop();
    return ticks;
}

static unsigned long least;

/// One of the repetitions took this for all its rounds.
static void took(unsigned long ticks, unsigned long rounds) {
    mark_repetition();
    if (ticks / rounds < least) least = ticks / rounds;
}

/// The least of three times that `count` rounds of some code take, by the round.
#define CASE(count, ...)                                                             \
    do {                                                                             \
        for (int repetition = 0; repetition < 3; repetition++) {                     \
            unsigned long started = start();                                         \
            for (int i = 0; i < (count); i++) { __VA_ARGS__; }                             \
            took(stop(started), count);                                              \
        }                                                                            \
        report(count);                                                               \
    } while (0)

static const char *suite;

static void report(unsigned long rounds) {
    printf("%s %s %lu %lu\n", suite, running, least, rounds);
    fflush(stdout);
}

static char buffer[1 << 17];
/// The program that exec cases run.
static const char *hello;

struct measured { const char *suite, *name; void (*run)(void); };

static int measure(int count, char **arguments, const struct measured *cases, unsigned length) {
    hello = arguments[0];
    if (count > 1 && strcmp(arguments[1], "--hello") == 0) return 0;
    int list = count > 1 && strcmp(arguments[1], "--list") == 0;
    if (count > 2 && strcmp(arguments[1], "--exec") == 0) hello = arguments[2], count -= 2, arguments += 2;
    for (unsigned i = 0; i < length; i++) {
        int wanted = count == 1;
        for (int k = 1; k < count; k++) wanted |= !strcmp(arguments[k], cases[i].suite) || !strcmp(arguments[k], cases[i].name);
        suite = cases[i].suite, running = cases[i].name, least = ~0ul;
        if (list) printf("%s %s\n", suite, running);
        else if (wanted) cases[i].run();
    }
    return 0;
}
#define MEASURE(cases) \
    int main(int count, char **arguments) { return measure(count, arguments, cases, sizeof cases / sizeof *cases); }
