// The first program of a Linux guest: runs the command lines of /jobs one after the other, as Whelk runs its jobs, and ends the machine.
// What they print is kept in a file and goes to the console at the end, so that no serial interrupts fall into what is measured.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { MOST_WORDS = 32 };
static char *environment[] = {"PATH=/bin", "HOME=/", 0};

static int run(char *line, int output) {
    char *words[MOST_WORDS + 1];
    int count = 0;
    for (char *word = strtok(line, " "); word && count < MOST_WORDS; word = strtok(0, " ")) words[count++] = word;
    words[count] = 0;
    int pid = fork(), status = -1;
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY);
        dup2(null, 0), dup2(output, 1), dup2(output, 2);
        if (null > 2) close(null);
        close(output);
        execve(words[0], words, environment);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) != pid && errno == EINTR) {}
    // What it left running ends with it.
    while (waitpid(-1, 0, WNOHANG) > 0) {}
    return status;
}

int main(void) {
    mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/tmp", 01777);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    mount("proc", "/proc", "proc", 0, 0);
    mount("tmp", "/tmp", "tmpfs", 0, 0);
    int console = open("/dev/console", O_RDWR);
    if (console < 0) console = open("/dev/ttyS0", O_RDWR);
    // Words of the kernel, if it prints some, stay apart from ours.
    dprintf(console, "\n");
    int output = open("/output", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    FILE *jobs = fopen("/jobs", "re");
    char line[4096];
    // A Linux without RDRAND gathers its first randomness for a second or more: not what a program that asks for some is to be charged with.
    if (getrandom(line, 1, 0) != 1) dprintf(console, "no randomness\n");
    for (int index = 0; jobs && fgets(line, sizeof line, jobs); index++) {
        line[strcspn(line, "\n")] = 0;
        int status = run(line, output);
        dprintf(output, "@exit %d %d\n", index, status);
    }
    char piece[4096];
    ssize_t got;
    for (off_t at = 0; (got = pread(output, piece, sizeof piece, at)) > 0; at += got)
        for (ssize_t done = 0, more; done < got; done += more)
            if ((more = write(console, piece + done, got - done)) < 0) goto over;
over:
    tcdrain(console);
    reboot(RB_AUTOBOOT);
    for (;;) pause();
}
