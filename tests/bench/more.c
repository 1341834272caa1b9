// Operations without a gate of their own, beside those of ops.c: see measure.h for what is printed.
#include "measure.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>

// ---- system calls ----

static void write1_devzero(void) {
    int fd = open("/dev/zero", O_WRONLY);
    CASE(200, MUST(CALL(SYS_write, fd, buffer, 1, 0) == 1));
    close(fd);
}
static void read_devnull(void) {
    int fd = open("/dev/null", O_RDONLY);
    CASE(200, MUST(CALL(SYS_read, fd, buffer, 1, 0) == 0));
    close(fd);
}
static void fcntl_getfl(void) {
    int fd = open("/dev/null", O_WRONLY);
    CASE(200, MUST((CALL(SYS_fcntl, fd, F_GETFL, 0, 0) & O_ACCMODE) == O_WRONLY));
    close(fd);
}

enum { MOST_WAITED = 1000 };
static int waited[MOST_WAITED];

/// `count` event counters of which the last is ready.
static void open_waited(int count) {
    for (int i = 0; i < count; i++) MUST((waited[i] = eventfd(i == count - 1, EFD_NONBLOCK)) >= 0);
}
static void close_waited(int count) {
    for (int i = 0; i < count; i++) close(waited[i]);
}
static void poll_(int count, int rounds) {
    static struct pollfd items[MOST_WAITED];
    open_waited(count);
    for (int i = 0; i < count; i++) items[i] = (struct pollfd){waited[i], POLLIN, 0};
    CASE(rounds, MUST(CALL(SYS_poll, items, count, -1, 0) == 1 && items[count - 1].revents == POLLIN));
    close_waited(count);
}
static void poll_1(void) { poll_(1, 200); }
static void poll_10(void) { poll_(10, 200); }
static void poll_100(void) { poll_(100, 100); }
static void poll_1000(void) { poll_(1000, 20); }
static void select_(int count, int rounds) {
    open_waited(count);
    int last = waited[count - 1];
    MUST(last < FD_SETSIZE);
    fd_set wanted;
    FD_ZERO(&wanted);
    for (int i = 0; i < count; i++) FD_SET(waited[i], &wanted);
    CASE(rounds, fd_set set = wanted; MUST(select(last + 1, &set, 0, 0, 0) == 1 && FD_ISSET(last, &set)));
    close_waited(count);
}
static void select_1(void) { select_(1, 200); }
static void select_10(void) { select_(10, 200); }
static void select_100(void) { select_(100, 100); }
static void select_1000(void) { select_(1000, 20); }
static void epoll_(int count) {
    int set = epoll_create1(0);
    open_waited(count);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {EPOLLIN, {.fd = i}};
        MUST(epoll_ctl(set, EPOLL_CTL_ADD, waited[i], &event) == 0);
    }
    struct epoll_event event;
    CASE(200, MUST(CALL(SYS_epoll_wait, set, &event, 1, -1) == 1 && event.data.fd == count - 1));
    close_waited(count);
    close(set);
}
static void epoll_1(void) { epoll_(1); }
static void epoll_10(void) { epoll_(10); }
static void epoll_100(void) { epoll_(100); }
static void epoll_1000(void) { epoll_(1000); }

// ---- processes ----

static void forks_with(long length) {
    char *memory = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(memory != MAP_FAILED);
    for (long at = 0; at < length; at += 4096) memory[at] = 1;
    CASE(20,
         int status; int pid = CALL(SYS_fork, 0, 0, 0, 0);
         if (pid == 0) CALL(SYS_exit_group, 3, 0, 0, 0);
         MUST(CALL(SYS_wait4, pid, &status, 0, 0) == pid && WEXITSTATUS(status) == 3));
    munmap(memory, length);
}
static void fork1m_exit_wait(void) { forks_with(1l << 20); }
static void fork64m_exit_wait(void) { forks_with(64l << 20); }

static void sh_c_true(void) {
    char *arguments[] = {"sh", "-c", "true", 0}, *environment[] = {"PATH=/bin", 0};
    CASE(10,
         pid_t pid; int status;
         MUST(posix_spawn(&pid, "/bin/busybox", 0, 0, arguments, environment) == 0);
         MUST(waitpid(pid, &status, 0) == pid && status == 0));
}

/// A byte goes round through `count` processes: the time of one hand-over.
static void ring(int count) {
    int first[2], in, out;
    MUST(pipe(first) == 0);
    in = first[0];
    for (int i = 1; i < count; i++) {
        int next[2];
        MUST(pipe(next) == 0);
        int pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            char byte;
            close(first[1]), close(next[0]);
            while (CALL(SYS_read, in, &byte, 1, 0) == 1) MUST(CALL(SYS_write, next[1], &byte, 1, 0) == 1);
            _exit(0);
        }
        close(in), close(next[1]);
        in = next[0];
    }
    out = first[1];
    enum { ROUNDS = 50 };
    for (int repetition = 0; repetition < 3; repetition++) {
        unsigned long started = start();
        for (int i = 0; i < ROUNDS; i++) {
            char byte = i, back = ~i;
            MUST(CALL(SYS_write, out, &byte, 1, 0) == 1 && CALL(SYS_read, in, &back, 1, 0) == 1 && back == byte);
        }
        took(stop(started), ROUNDS * count);
    }
    close(out);
    for (int i = 1; i < count; i++) MUST(wait(0) > 0);
    close(in);
    report(ROUNDS * count);
}
static void ring_2(void) { ring(2); }
static void ring_8(void) { ring(8); }
static void ring_64(void) { ring(64); }

static int there, back;
static void *counter_thread(void *unused) {
    unsigned long value;
    while (CALL(SYS_read, there, &value, 8, 0) == 8 && value == 1) MUST(CALL(SYS_write, back, &value, 8, 0) == 8);
    return unused;
}
static void eventfd_pingpong_thr(void) {
    pthread_t thread;
    unsigned long one = 1, two = 2, value;
    MUST((there = eventfd(0, 0)) >= 0 && (back = eventfd(0, 0)) >= 0);
    MUST(pthread_create(&thread, 0, counter_thread, 0) == 0);
    CASE(200, MUST(CALL(SYS_write, there, &one, 8, 0) == 8 && CALL(SYS_read, back, &value, 8, 0) == 8 && value == 1));
    MUST(write(there, &two, 8) == 8);
    pthread_join(thread, 0);
    close(there), close(back);
}

static void signal_pingpong_proc(void) {
    unsigned long set = 1ul << (SIGUSR1 - 1) | 1ul << (SIGTERM - 1);
    MUST(CALL(SYS_rt_sigprocmask, SIG_BLOCK, &set, 0, 8) == 0);
    int parent = getpid(), pid = fork();
    if (pid == 0) {
        while (CALL(SYS_rt_sigtimedwait, &set, 0, 0, 8) == SIGUSR1) MUST(CALL(SYS_kill, parent, SIGUSR1, 0, 0) == 0);
        _exit(0);
    }
    CASE(200, MUST(CALL(SYS_kill, pid, SIGUSR1, 0, 0) == 0 && CALL(SYS_rt_sigtimedwait, &set, 0, 0, 8) == SIGUSR1));
    MUST(kill(pid, SIGTERM) == 0 && waitpid(pid, 0, 0) == pid);
    CALL(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
}

// ---- files ----

static int new_file(const char *name, long length) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(fd >= 0);
    memset(buffer, 1, sizeof buffer);
    for (long done = 0; done < length; done += sizeof buffer) MUST(write(fd, buffer, sizeof buffer) == sizeof buffer);
    return fd;
}
static void pread1m(void) {
    enum { LENGTH = 1 << 20 };
    static char big[LENGTH];
    int fd = new_file("/tmp/b.ops", LENGTH);
    CASE(10, big[LENGTH - 1] = 0; MUST(CALL(SYS_pread64, fd, big, LENGTH, 0) == LENGTH && big[LENGTH - 1] == 1));
    close(fd), unlink("/tmp/b.ops");
}
static void getdents_100(void) {
    enum { FILES = 100 };
    char name[32];
    mkdir("/tmp/d.ops", 0755);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "/tmp/d.ops/%d", i);
        close(open(name, O_WRONLY | O_CREAT, 0644));
    }
    int fd = open("/tmp/d.ops", O_RDONLY | O_DIRECTORY);
    CASE(50,
         long length = 0; long got;
         MUST(CALL(SYS_lseek, fd, 0, SEEK_SET, 0) == 0);
         while ((got = CALL(SYS_getdents64, fd, buffer, sizeof buffer, 0)) > 0) length += got;
         MUST(length >= FILES * 24));
    close(fd);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "/tmp/d.ops/%d", i);
        unlink(name);
    }
    rmdir("/tmp/d.ops");
}
/// stat of a file at the end of a path of so many names.
static void walk(int depth) {
    char path[256] = "/tmp";
    for (int i = 2; i < depth; i++) {
        strcat(path, "/dir");
        MUST(mkdir(path, 0755) == 0 || errno == EEXIST);
    }
    if (depth == 1) strcpy(path, "/b.ops");
    else strcat(path, "/b.ops");
    close(new_file(path, 0));
    struct stat st;
    CASE(200, MUST(CALL(SYS_stat, path, &st, 0, 0) == 0));
    MUST(S_ISREG(st.st_mode) && unlink(path) == 0);
}
static void walk_1(void) { walk(1); }
static void walk_8(void) { walk(8); }
static void walk_32(void) { walk(32); }

// ---- memory ----

enum { BLOCK = 1 << 20 };
static void memcpy_1m(void) {
    char *from = malloc(BLOCK), *to = malloc(BLOCK);
    memset(from, 3, BLOCK);
    CASE(20, to[BLOCK - 1] = 0; memcpy(to, from, BLOCK); __asm__ volatile("" : : "r"(to) : "memory"); MUST(to[BLOCK - 1] == 3));
    free(from), free(to);
}
static void memset_1m(void) {
    char *to = malloc(BLOCK);
    CASE(20, memset(to, i, BLOCK); __asm__ volatile("" : : "r"(to) : "memory"); MUST(to[BLOCK - 1] == (char)i));
    free(to);
}
/// Many small pieces and some large ones, in an order that a generator makes up: one malloc and its free.
static void malloc_heavy(void) {
    enum { SLOTS = 512, STEPS = 4000 };
    static unsigned char *slots[SLOTS];
    unsigned seed = 1;
    CASE(STEPS,
         seed = seed * 1664525 + 1013904223;
         unsigned slot = seed >> 16 & (SLOTS - 1); unsigned size = seed % 61 ? 16 + (seed >> 8) % 500 : 200000;
         if (slots[slot]) { MUST(*slots[slot] == (unsigned char)slot); free(slots[slot]); }
         MUST((slots[slot] = malloc(size)) != 0);
         *slots[slot] = slot; slots[slot][size - 1] = 1);
    for (int i = 0; i < SLOTS; i++) free(slots[i]), slots[i] = 0;
}
/// A walk over 1 GiB, a page after another in an order that no cache knows: one step.
static void tlb_walk_1g(void) {
    enum { PAGES = 1 << 18, STEPS = 1 << 18 };
    char *memory = mmap(0, PAGES * 4096l, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(memory != MAP_FAILED);
    for (unsigned i = 0; i < PAGES; i++) *(unsigned *)(memory + i * 4096l) = (i * 1103515245u + 12345u) % PAGES;
    unsigned at = 0, sum = 0;
    CASE(STEPS, at = *(unsigned *)(memory + at * 4096l); sum += at);
    MUST(sum != 0);
    munmap(memory, PAGES * 4096l);
}

static const struct measured cases[] = {
    {"syscall", "write1_devzero", write1_devzero}, {"syscall", "read_devnull", read_devnull}, {"syscall", "fcntl_getfl", fcntl_getfl},
    {"syscall", "poll_1", poll_1}, {"syscall", "poll_10", poll_10}, {"syscall", "poll_100", poll_100}, {"syscall", "poll_1000", poll_1000},
    {"syscall", "select_1", select_1}, {"syscall", "select_10", select_10}, {"syscall", "select_100", select_100}, {"syscall", "select_1000", select_1000},
    {"syscall", "epoll_1", epoll_1}, {"syscall", "epoll_10", epoll_10}, {"syscall", "epoll_100", epoll_100}, {"syscall", "epoll_1000", epoll_1000},
    {"process", "fork1m_exit_wait", fork1m_exit_wait}, {"process", "fork64m_exit_wait", fork64m_exit_wait}, {"process", "sh_c_true", sh_c_true},
    {"process", "ring_2", ring_2}, {"process", "ring_8", ring_8}, {"process", "ring_64", ring_64},
    {"process", "eventfd_pingpong_thr", eventfd_pingpong_thr}, {"process", "signal_pingpong_proc", signal_pingpong_proc},
    {"file", "pread1m", pread1m}, {"file", "getdents_100", getdents_100}, {"file", "walk_1", walk_1}, {"file", "walk_8", walk_8}, {"file", "walk_32", walk_32},
    {"memory", "memcpy_1m", memcpy_1m}, {"memory", "memset_1m", memset_1m}, {"memory", "malloc_heavy", malloc_heavy}, {"memory", "tlb_walk_1g", tlb_walk_1g},
};

MEASURE(cases)
