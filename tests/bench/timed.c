// How long a program takes, and whether it does its work: `timed SUITE NAME EXPECTED PROGRAM [ARGUMENTS…]` runs it once and prints
// `SUITE NAME TICKS 1` if it ends well and its output has EXPECTED as a line (`-` for none).
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

static int has_line(const char *text, const char *line) {
    size_t length = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && (at[length] == '\n' || !at[length])) return 1;
    return 0;
}

int main(int count, char **arguments) {
    if (count < 5) return 2;
    static char output[1 << 16];
    size_t length = 0;
    ssize_t got;
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC)) return 2;
    unsigned long started = __rdtsc();
    int pid = vfork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execv(arguments[4], arguments + 4);
        _exit(127);
    }
    close(ends[1]);
    while ((got = read(ends[0], output + length, sizeof output - 1 - length)) > 0) length += got;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return 2;
    unsigned long ticks = __rdtsc() - started;
    if (status || (strcmp(arguments[3], "-") && !has_line(output, arguments[3]))) {
        fprintf(stderr, "%s: status %#x, output: %.200s\n", arguments[2], status, output);
        return 1;
    }
    printf("%s %s %lu 1\n", arguments[1], arguments[2], ticks);
    return 0;
}
