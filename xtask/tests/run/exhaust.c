/* Uses one thing up in a child, until an error or a signal ends that; then shows that the machine still works. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long count;

static int over(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 0;
}

static int touch(void) {
    for (;; count++) {
        char *at = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            return over("mmap");
        memset(at, 1, 1 << 16);
    }
}

static int touch_shared(void) {
    for (;; count++) {
        char *at = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
            return over("mmap");
        memset(at, 1, 1 << 16);
    }
}

static int populate(void) {
    for (;; count++)
        if (mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
            return over("mmap");
}

/* Regions without pages: only the kernel's memory for them. */
static int regions(void) {
    for (;; count++)
        if (mmap(NULL, 4096, count & 1 ? PROT_READ : PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            return over("mmap");
}

/* Page tables: a page in each 2 MiB. */
static int tables(void) {
    for (;; count++) {
        char *at = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            return over("mmap");
        (void)*(volatile char *)at;
    }
}

static int file(void) {
    static char block[1 << 16];
    int fd = open("/tmp/full", O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ssize_t done;
    while ((done = write(fd, block, sizeof block)) > 0)
        count += done;
    over("write");
    struct stat s;
    fstat(fd, &s);
    printf("size %s\n", s.st_size == count ? "as written" : "wrong");
    if (fallocate(fd, 0, 0, 1ll << 40) == 0)
        return 1;
    over("fallocate");
    char *at = mmap(NULL, 1ll << 30, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ftruncate(fd, 1ll << 30))
        over("ftruncate");
    /* A mapped hole that can't be filled is SIGBUS. */
    for (long i = count; i < 1l << 30; i += 4096)
        at[i] = 1;
    return 1;
}

static int names(void) {
    mkdir("/tmp/names", 0700);
    for (;; count++) {
        char name[300];
        snprintf(name, sizeof name, "/tmp/names/%0200ld", count);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        if (fd < 0)
            return over("open");
        close(fd);
    }
}

static int directories(void) {
    mkdir("/tmp/names", 0700);
    if (chdir("/tmp/names"))
        return 1;
    for (;; count++)
        if (mkdir("a-directory-in-a-directory", 0700) || chdir("a-directory-in-a-directory"))
            return over("mkdir");
}

static void all_descriptors(void) {
    struct rlimit limit = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &limit))
        over("setrlimit");
}

static int pipes(void) {
    static char block[1 << 16];
    all_descriptors();
    for (;; count++) {
        int both[2];
        if (pipe2(both, O_NONBLOCK))
            return over("pipe2");
        if (write(both[1], block, sizeof block) < 0)
            return over("write");
    }
}

static int descriptors(void) {
    all_descriptors();
    for (;; count++)
        if ((count & 1 ? eventfd(0, 0) : epoll_create1(0)) < 0)
            return over("eventfd");
}

static int memory_files(void) {
    static char block[1 << 16];
    all_descriptors();
    for (;; count++) {
        int fd = syscall(SYS_memfd_create, "m", 0);
        if (fd < 0)
            return over("memfd_create");
        if (write(fd, block, sizeof block) < 0)
            return over("write");
    }
}

static __attribute__((noreturn)) int wait_for_ever(void *unused) {
    (void)unused;
    for (;;)
        pause();
}

static int threads(void) {
    for (;; count++) {
        char *stack = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED)
            return over("mmap");
        int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
        if (clone(wait_for_ever, stack + 16384, flags, NULL) < 0)
            return over("clone");
    }
}

static int processes(void) {
    signal(SIGTERM, SIG_IGN);
    for (;; count++) {
        pid_t pid = fork();
        if (pid < 0) {
            over("fork");
            break;
        }
        if (pid == 0)
            wait_for_ever(NULL);
    }
    return 0;
}

/* Each forks until it can't: what a shell's `:(){ :|:& };:` does. */
static int bomb(void) {
    while (fork() >= 0)
        ;
    wait_for_ever(NULL);
}

static int signals(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_SIGPENDING, &limit);
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    union sigval value = {0};
    for (; count < 200000; count++)
        if (sigqueue(getpid(), SIGRTMIN, value))
            return over("sigqueue");
    printf("200000 signals\n");
    return 0;
}

static int timers(void) {
    for (; count < 200000; count++) {
        timer_t timer;
        struct sigevent none = {.sigev_notify = SIGEV_NONE};
        if (timer_create(CLOCK_MONOTONIC, &none, &timer))
            return over("timer_create");
    }
    printf("200000 timers\n");
    return 0;
}

static int locks(void) {
    int fd = open("/tmp/locked", O_CREAT | O_RDWR, 0600);
    for (; count < 200000; count++) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = count * 2, .l_len = 1};
        if (fcntl(fd, F_SETLK, &lock))
            return over("fcntl");
    }
    printf("200000 locks\n");
    return 0;
}

static __attribute__((noreturn)) int stack(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_STACK, &limit);
    char *here = alloca(4096);
    for (;;) {
        here -= 4096;
        *(volatile char *)here = 1;
    }
}

/* Copies of what the parent touched. */
static int copies(void) {
    size_t len = 1 << 20;
    char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(at, 1, len);
    for (;; count++) {
        pid_t pid = fork();
        if (pid < 0)
            return over("fork");
        if (pid == 0) {
            memset(at, 2, len);
            wait_for_ever(NULL);
        }
    }
}

static int long_arguments(void) {
    static char text[120000];
    memset(text, 'x', sizeof text - 1);
    char *args[60];
    for (int i = 0; i < 59; i++)
        args[i] = text;
    args[59] = NULL;
    execv("/proc/self/exe", args);
    return over("execv");
}

/* Several at once: each has its strings in the kernel. */
static int many_arguments(void) {
    static char text[2000];
    static char *args[1000];
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 999; i++)
        args[i] = text;
    for (int i = 0; i < 6; i++)
        if (fork() == 0) {
            execv("/proc/self/exe", args);
            _exit(1);
        }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return 0;
}

/* Sockets in each other's queues. */
static int sockets(void) {
    int pair[2];
    for (; socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0; count++) {
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        for (int i = 0; i < 200; i++) {
            union {
                struct cmsghdr header;
                char room[CMSG_SPACE(50 * sizeof(int))];
            } control;
            struct iovec byte = { "x", 1 };
            struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
            control.header.cmsg_level = SOL_SOCKET;
            control.header.cmsg_type = SCM_RIGHTS;
            control.header.cmsg_len = CMSG_LEN(50 * sizeof(int));
            for (int fd = 0; fd < 50; fd++)
                ((int *)CMSG_DATA(&control.header))[fd] = pair[fd & 1];
            if (sendmsg(pair[0], &message, 0) < 0)
                break;
        }
    }
    return over("socketpair");
}

static int messages(void) {
    int pair[2];
    char text[200];
    memset(text, 'x', sizeof text);
    for (; socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0; count++) {
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        while (send(pair[0], text, sizeof text, 0) > 0)
            ;
    }
    return over("socketpair");
}

/* Instances that watch everything, and all becomes ready when it is closed. */
static int watches(void) {
    for (;; count++) {
        int set = epoll_create1(0), ends[2];
        struct epoll_event event = { .events = EPOLLIN };
        if (set < 0 || pipe(ends))
            return over("pipe");
        for (int fd = 3; fd < 1000; fd++)
            epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    }
}

static int storm(void);

static const struct {
    const char *name;
    int (*run)(void);
} WHAT[] = {
    {"touch", touch}, {"touch_shared", touch_shared}, {"populate", populate}, {"regions", regions}, {"tables", tables}, {"file", file},
    {"names", names}, {"directories", directories}, {"pipes", pipes}, {"descriptors", descriptors}, {"memory_files", memory_files},
    {"threads", threads}, {"processes", processes}, {"bomb", bomb}, {"signals", signals}, {"timers", timers}, {"locks", locks},
    {"stack", stack}, {"copies", copies}, {"long_arguments", long_arguments},
    {"many_arguments", many_arguments}, {"sockets", sockets}, {"messages", messages}, {"watches", watches},
    {"storm", storm},
};

/* All of them at once, for a few seconds. */
static int storm(void) {
    for (size_t i = 0; i < sizeof WHAT / sizeof *WHAT; i++) {
        const char *name = WHAT[i].name;
        if (!strcmp(name, "storm") || !strcmp(name, "bomb") || !strcmp(name, "names") || !strcmp(name, "directories"))
            continue;
        pid_t child = fork();
        if (child == 0) {
            fclose(stdout);
            alarm(5);
            _exit(WHAT[i].run());
        }
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}

static void clean(void) {
    unlink("/tmp/full");
    unlink("/tmp/locked");
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        size_t which = 0;
        while (which < sizeof WHAT / sizeof *WHAT && strcmp(WHAT[which].name, argv[i]) != 0)
            which++;
        if (which == sizeof WHAT / sizeof *WHAT)
            return 99;
        printf("%s\n", argv[i]);
        pid_t child = fork();
        if (child == 0)
            _exit(WHAT[which].run());
        int status = 0;
        if (child < 0)
            return over("fork");
        /* A bomb doesn't end: it is enough that others go on. */
        if (!strcmp(argv[i], "bomb")) {
            usleep(200000);
            kill(-1, SIGKILL);
        }
        while (waitpid(child, &status, 0) < 0)
            ;
        if (WIFSIGNALED(status))
            printf("%s: signal %d\n", argv[i], WTERMSIG(status));
        else
            printf("%s: status %d\n", argv[i], WEXITSTATUS(status));
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0)
            ;
        clean();
        if (!strcmp(argv[i], "names") || !strcmp(argv[i], "directories"))
            break;
        char *at = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(at, 1, 1 << 18);
        munmap(at, 1 << 18);
        child = fork();
        if (child == 0)
            _exit(7);
        waitpid(child, &status, 0);
        printf("%s: afterwards %d\n", argv[i], WEXITSTATUS(status));
    }
    puts("alive");
    return 0;
}
