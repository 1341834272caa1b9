/* The program that `cargo xtask run` runs when it is given none: an ordinary static Linux program that says what it sees. */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct utsname names;
    struct sysinfo info;
    struct timespec now;
    char line[256], stamp[64];

    printf("Hello from inside Whelk.\n");
    printf("I am %s, an ordinary static Linux program, process %d, with %d argument%s.\n", argv[0], (int)getpid(),
           argc - 1, argc == 2 ? "" : "s");
    if (uname(&names) == 0)
        printf("My system calls itself %s %s on %s, host name %s.\n", names.sysname, names.release, names.machine,
               names.nodename);
    if (sysinfo(&info) == 0)
        printf("The machine has %lu MiB of memory, %lu MiB of it free, and %ld processor(s).\n",
               info.totalram * info.mem_unit >> 20, info.freeram * info.mem_unit >> 20, sysconf(_SC_NPROCESSORS_ONLN));
    FILE *cpu = fopen("/proc/cpuinfo", "r");
    while (cpu && fgets(line, sizeof line, cpu))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            printf("Its processor says:%s", strchr(line, ':') + 1);
            break;
        }
    if (clock_gettime(CLOCK_REALTIME, &now) == 0 &&
        strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", gmtime(&now.tv_sec)))
        printf("It is %s UTC here", stamp);
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        printf(", %ld ms after power-on.\n", (long)(now.tv_sec * 1000 + now.tv_nsec / 1000000));
    return 0;
}
