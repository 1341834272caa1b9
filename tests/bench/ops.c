// The operations that have a gate: see measure.h for what is printed.
#include "measure.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };

// ---- system calls and files ----

static void null_getppid(void) { CASE(200, MUST(CALL(SYS_getppid, 0, 0, 0, 0) >= 0)); }
static void bad_syscall_999(void) { CASE(200, MUST(CALL(999, 0, 0, 0, 0) == -ENOSYS)); }

static void write1_devnull(void) {
    int fd = open("/dev/null", O_WRONLY);
    CASE(200, MUST(CALL(SYS_write, fd, buffer, 1, 0) == 1));
    close(fd);
}

static void read1_devzero(void) {
    int fd = open("/dev/zero", O_RDONLY);
    CASE(200, buffer[0] = 1; MUST(CALL(SYS_read, fd, buffer, 1, 0) == 1 && buffer[0] == 0));
    close(fd);
}

static void clock_gettime_libc(void) {
    struct timespec now;
    CASE(200, MUST(clock_gettime(CLOCK_MONOTONIC, &now) == 0));
}

static void clock_gettime_sys(void) {
    struct timespec now;
    CASE(200, MUST(CALL(SYS_clock_gettime, CLOCK_MONOTONIC, &now, 0, 0) == 0));
}

static int new_file(const char *name) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    MUST(fd >= 0);
    memset(buffer, 1, sizeof buffer);
    MUST(write(fd, buffer, sizeof buffer) == sizeof buffer);
    return fd;
}

static void stat_(void) {
    struct stat st;
    close(new_file("/tmp/b.ops"));
    CASE(200, MUST(CALL(SYS_stat, "/tmp/b.ops", &st, 0, 0) == 0));
    MUST(st.st_size == sizeof buffer);
}

static void fstat_(void) {
    struct stat st;
    int fd = new_file("/tmp/b.ops");
    CASE(200, MUST(CALL(SYS_fstat, fd, &st, 0, 0) == 0));
    MUST(st.st_size == sizeof buffer);
    close(fd);
}

static void open_close(void) {
    close(new_file("/tmp/b.ops"));
    CASE(200, int fd = CALL(SYS_open, "/tmp/b.ops", O_RDONLY, 0, 0); MUST(fd > 0 && CALL(SYS_close, fd, 0, 0, 0) == 0));
}

static void move(long number, long length, int count) {
    int fd = new_file("/tmp/b.ops");
    CASE(count, MUST(CALL(number, fd, buffer, length, 0) == length));
    close(fd);
}
static void pread1(void) { move(SYS_pread64, 1, 200); }
static void pwrite1(void) { move(SYS_pwrite64, 1, 200); }
static void pread4k(void) { move(SYS_pread64, 4096, 200); }
static void pwrite4k(void) { move(SYS_pwrite64, 4096, 200); }
static void pread64k(void) { move(SYS_pread64, 65536, 50); }
static void pwrite64k(void) { move(SYS_pwrite64, 65536, 50); }

static void create(long length) {
    CASE(100,
         int fd = CALL(SYS_open, "/tmp/n.ops", O_RDWR | O_CREAT | O_EXCL, 0644, 0);
         MUST(fd > 0);
         if (length) MUST(CALL(SYS_write, fd, buffer, length, 0) == length);
         MUST(CALL(SYS_close, fd, 0, 0, 0) == 0);
         MUST(CALL(SYS_unlink, "/tmp/n.ops", 0, 0, 0) == 0));
}
static void create_unlink_0k(void) { create(0); }
static void create_w10k_unlink(void) { create(10240); }

// ---- memory ----

static long map6(long length, long protection, long flags, long fd) {
    long result;
    register long r10 __asm__("r10") = flags;
    register long r8 __asm__("r8") = fd;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_mmap), "D"(0), "S"(length), "d"(protection), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}
#define ANONYMOUS(length) ((char *)map6(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1))

static void mmap_munmap_4k(void) {
    CASE(200, char *page = ANONYMOUS(4096); MUST((long)page > 0 && CALL(SYS_munmap, page, 4096, 0, 0) == 0));
}

static void mmap_touch_munmap_4k(void) {
    CASE(200, char *page = ANONYMOUS(4096); *(volatile char *)page = 1; MUST(CALL(SYS_munmap, page, 4096, 0, 0) == 0));
}

/// One fault a page over 4 MiB.
static void touch(int write_, long flags, int fd) {
    enum { PAGES = 1024 };
    unsigned long sum = 0;
    for (int repetition = 0; repetition < 3; repetition++) {
        volatile char *pages = (char *)map6(PAGES * 4096l, PROT_READ | PROT_WRITE, flags, fd);
        MUST((long)pages > 0);
        unsigned long started = start();
        for (int i = 0; i < PAGES; i++) {
            if (write_) pages[i * 4096l] = 1;
            else sum += pages[i * 4096l];
        }
        took(stop(started), PAGES);
        MUST(munmap((void *)pages, PAGES * 4096l) == 0);
    }
    MUST(sum == (fd >= 0 ? 3ul * PAGES : 0));
    report(PAGES);
}
static void anon_fault_4k(void) { touch(1, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static void anon_readfault_4k(void) { touch(0, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static void file_fault_4k(void) {
    int fd = new_file("/tmp/b.ops");
    for (int i = 0; i < 31; i++) MUST(write(fd, buffer, sizeof buffer) == sizeof buffer);
    touch(0, MAP_SHARED, fd);
    close(fd);
    unlink("/tmp/b.ops");
}

static void mprotect_2x(void) {
    char *pages = ANONYMOUS(16 * 4096);
    memset(pages, 1, 16 * 4096);
    CASE(200,
         MUST(CALL(SYS_mprotect, pages + 4096, 4096, PROT_READ, 0) == 0);
         MUST(CALL(SYS_mprotect, pages + 4096, 4096, PROT_READ | PROT_WRITE, 0) == 0));
    munmap(pages, 16 * 4096);
}

static void brk_grow_shrink_64k(void) {
    long end = CALL(SYS_brk, 0, 0, 0, 0);
    CASE(200, MUST(CALL(SYS_brk, end + 65536, 0, 0, 0) == end + 65536); MUST(CALL(SYS_brk, end, 0, 0, 0) == end));
}

// ---- signals and waiting ----

static volatile int handled;
static void on_signal(int number) { handled += number != 0; }
static char *guarded;
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    handled += info->si_addr == guarded;
    call(SYS_mprotect, (long)guarded, 4096, PROT_READ | PROT_WRITE, 0);
}

static void sigaction_(void) {
    struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } action = {SIG_IGN, 0, 0, 0};
    CASE(200, MUST(CALL(SYS_rt_sigaction, SIGUSR2, &action, 0, 8) == 0));
}

static void signal_self(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, 0);
    long pid = getpid();
    handled = 0;
    CASE(200, MUST(CALL(SYS_kill, pid, SIGUSR1, 0, 0) == 0));
    MUST(handled == 600);
}

static void segv_mprotect_fix(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    guarded = ANONYMOUS(4096);
    *guarded = 1;
    handled = 0;
    for (int repetition = 0; repetition < 3; repetition++) {
        unsigned long sum = 0;
        for (int i = 0; i < 200; i++) {
            MUST(CALL(SYS_mprotect, guarded, 4096, PROT_READ, 0) == 0);
            unsigned long started = start();
            *(volatile char *)guarded = 2;
            sum += stop(started);
        }
        took(sum, 200);
    }
    MUST(handled == 600);
    signal(SIGSEGV, SIG_DFL);
    munmap(guarded, 4096);
    report(200);
}

static void epoll_wait_ready(void) {
    int ends[2], set = epoll_create1(0);
    MUST(pipe(ends) == 0 && write(ends[1], buffer, 1) == 1);
    struct epoll_event event = {EPOLLIN, {.fd = 7}};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0);
    CASE(200, MUST(CALL(SYS_epoll_wait, set, &event, 1, -1) == 1 && event.data.fd == 7));
    close(ends[0]), close(ends[1]), close(set);
}

static void poll_1_ready(void) {
    int ends[2];
    MUST(pipe(ends) == 0 && write(ends[1], buffer, 1) == 1);
    struct pollfd item = {ends[0], POLLIN, 0};
    CASE(200, MUST(CALL(SYS_poll, &item, 1, -1, 0) == 1 && item.revents == POLLIN));
    close(ends[0]), close(ends[1]);
}

static void poll_64_idle(void) {
    struct pollfd items[64];
    int writers[64];
    for (int i = 0; i < 64; i++) {
        int ends[2];
        MUST(pipe(ends) == 0);
        items[i] = (struct pollfd){ends[0], POLLIN, 0};
        writers[i] = ends[1];
    }
    CASE(100, MUST(CALL(SYS_poll, items, 64, 0, 0) == 0));
    for (int i = 0; i < 64; i++) close(items[i].fd), close(writers[i]);
}

// ---- threads and processes ----

static _Atomic int turn;
static volatile int over;

static void futex_wake_nowaiter(void) {
    CASE(200, MUST(CALL(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, 0) == 0));
}

static void wait_for(int mine) {
    while (turn != mine) CALL(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !mine, 0);
}
static void pass(int to) {
    turn = to;
    CALL(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, 0);
}
static void *ponger(void *unused) {
    for (;;) {
        wait_for(1);
        int last = over;
        pass(0);
        if (last) return unused;
    }
}
static void futex_pingpong_thr(void) {
    pthread_t thread;
    turn = 0;
    over = 0;
    MUST(pthread_create(&thread, 0, ponger, 0) == 0);
    CASE(200, pass(1); wait_for(0));
    over = 1;
    pass(1);
    pthread_join(thread, 0);
}

static void sched_yield_alone(void) { CASE(200, MUST(CALL(SYS_sched_yield, 0, 0, 0, 0) == 0)); }

static volatile long yields;
static void *yielder(void *unused) {
    while (!over) CALL(SYS_sched_yield, 0, 0, 0, 0), yields++;
    return unused;
}
/// One yield of one of the two.
static void sched_yield_2thr(void) {
    pthread_t thread;
    over = 0;
    MUST(pthread_create(&thread, 0, yielder, 0) == 0);
    CALL(SYS_sched_yield, 0, 0, 0, 0);
    long rounds = 0;
    for (int repetition = 0; repetition < 3; repetition++) {
        long before = yields;
        unsigned long started = start();
        for (int i = 0; i < 200; i++) CALL(SYS_sched_yield, 0, 0, 0, 0);
        rounds = 200 + yields - before;
        took(stop(started), rounds);
    }
    over = 1;
    pthread_join(thread, 0);
    report(rounds);
}

static void *nothing(void *value) { return value; }
static void thread_create_join(void) {
    CASE(50, pthread_t thread; void *value; MUST(pthread_create(&thread, 0, nothing, buffer) == 0 && pthread_join(thread, &value) == 0 && value == buffer));
}

static void pipe_self_wr1rd1(void) {
    int ends[2];
    MUST(pipe(ends) == 0);
    CASE(200, MUST(CALL(SYS_write, ends[1], buffer, 1, 0) == 1 && CALL(SYS_read, ends[0], buffer, 1, 0) == 1));
    close(ends[0]), close(ends[1]);
}

static int there[2], back[2];
static void echo(void) {
    char byte;
    while (CALL(SYS_read, there[0], &byte, 1, 0) == 1) MUST(CALL(SYS_write, back[1], &byte, 1, 0) == 1);
}
static void *echo_thread(void *unused) {
    echo();
    return unused;
}
static void round_trips(void) {
    CASE(200, MUST(CALL(SYS_write, there[1], buffer, 1, 0) == 1 && CALL(SYS_read, back[0], buffer, 1, 0) == 1));
}
static void pipe_pingpong_thr(void) {
    pthread_t thread;
    MUST(pipe(there) == 0 && pipe(back) == 0);
    MUST(pthread_create(&thread, 0, echo_thread, 0) == 0);
    round_trips();
    close(there[1]);
    pthread_join(thread, 0);
    close(there[0]), close(back[0]), close(back[1]);
}
static void between_processes(void) {
    int pid = fork();
    if (pid == 0) {
        close(there[1]);
        echo();
        _exit(0);
    }
    MUST(pid > 0);
    round_trips();
    close(there[1]);
    MUST(waitpid(pid, 0, 0) == pid);
}
static void pipe_pingpong_proc(void) {
    MUST(pipe(there) == 0 && pipe(back) == 0);
    between_processes();
    close(there[0]), close(back[0]), close(back[1]);
}
static void unix_pingpong_proc(void) {
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    there[1] = back[0] = pair[0], there[0] = back[1] = pair[1];
    between_processes();
    close(pair[1]);
}

static void pipe_bw_64k(void) {
    int ends[2];
    MUST(pipe(ends) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 1 << 17) == 1 << 17);
    CASE(30, MUST(CALL(SYS_write, ends[1], buffer, 65536, 0) == 65536 && CALL(SYS_read, ends[0], buffer, 65536, 0) == 65536));
    close(ends[0]), close(ends[1]);
}

static void forks(int count) {
    CASE(count,
         int status; int pid = CALL(SYS_fork, 0, 0, 0, 0);
         if (pid == 0) CALL(SYS_exit_group, 3, 0, 0, 0);
         MUST(CALL(SYS_wait4, pid, &status, 0, 0) == pid && WEXITSTATUS(status) == 3));
}
static void fork_exit_wait(void) { forks(50); }
static void with_memory(long length) {
    char *memory = ANONYMOUS(length);
    for (long at = 0; at < length; at += 4096) memory[at] = 1;
    forks(10);
    munmap(memory, length);
}
static void fork16m_exit_wait(void) { with_memory(16l << 20); }
static void fork512m_exit_wait(void) { with_memory(512l << 20); }

static void execs(long flags) {
    char *arguments[] = {"hello", "--hello", 0}, *environment[] = {0};
    CASE(20,
         int status; long pid;
         if (flags) pid = vfork(); else pid = CALL(SYS_fork, 0, 0, 0, 0);
         if (pid == 0) {
             CALL(SYS_execve, hello, arguments, environment, 0);
             CALL(SYS_exit_group, 9, 0, 0, 0);
         }
         MUST(CALL(SYS_wait4, pid, &status, 0, 0) == pid && status == 0));
}
static void vfork_exec_hello(void) { execs(1); }
static void fork_exec_hello(void) { execs(0); }

/// A child writes to the pages that it shares with its parent.
static void cow_fault_4k(void) {
    enum { PAGES = 256 };
    int ends[2];
    MUST(pipe(ends) == 0);
    volatile char *pages = ANONYMOUS(PAGES * 4096l);
    for (int i = 0; i < PAGES; i++) pages[i * 4096l] = 1;
    for (int repetition = 0; repetition < 3; repetition++) {
        int pid = fork();
        if (pid == 0) {
            // The first takes a copy of the page table too.
            pages[0] = 2;
            unsigned long started = start();
            for (int i = 1; i < PAGES; i++) pages[i * 4096l] = 2;
            unsigned long spent = stop(started);
            MUST(write(ends[1], &spent, sizeof spent) == sizeof spent);
            _exit(0);
        }
        unsigned long spent;
        MUST(read(ends[0], &spent, sizeof spent) == sizeof spent && waitpid(pid, 0, 0) == pid);
        took(spent, PAGES - 1);
    }
    MUST(pages[4096] == 1);
    report(PAGES - 1);
}

static const struct measured cases[] = {
    {"syscall", "null_getppid", null_getppid}, {"syscall", "bad_syscall_999", bad_syscall_999},
    {"syscall", "write1_devnull", write1_devnull}, {"syscall", "read1_devzero", read1_devzero},
    {"syscall", "clock_gettime_libc", clock_gettime_libc}, {"syscall", "clock_gettime_sys", clock_gettime_sys},
    {"syscall", "stat", stat_}, {"syscall", "fstat", fstat_}, {"syscall", "open_close", open_close},
    {"syscall", "epoll_wait_ready", epoll_wait_ready}, {"syscall", "poll_1_ready", poll_1_ready}, {"syscall", "poll_64_idle", poll_64_idle},
    {"file", "pread1", pread1}, {"file", "pwrite1", pwrite1}, {"file", "pread4k", pread4k}, {"file", "pwrite4k", pwrite4k},
    {"file", "pread64k", pread64k}, {"file", "pwrite64k", pwrite64k},
    {"file", "create_unlink_0k", create_unlink_0k}, {"file", "create_w10k_unlink", create_w10k_unlink},
    {"memory", "mmap_munmap_4k", mmap_munmap_4k}, {"memory", "mmap_touch_munmap_4k", mmap_touch_munmap_4k},
    {"memory", "anon_fault_4k", anon_fault_4k}, {"memory", "anon_readfault_4k", anon_readfault_4k}, {"memory", "file_fault_4k", file_fault_4k},
    {"memory", "mprotect_2x", mprotect_2x}, {"memory", "brk_grow_shrink_64k", brk_grow_shrink_64k},
    {"process", "sigaction", sigaction_}, {"process", "signal_self", signal_self}, {"process", "segv_mprotect_fix", segv_mprotect_fix},
    {"process", "futex_wake_nowaiter", futex_wake_nowaiter}, {"process", "futex_pingpong_thr", futex_pingpong_thr},
    {"process", "sched_yield_alone", sched_yield_alone}, {"process", "sched_yield_2thr", sched_yield_2thr},
    {"process", "thread_create_join", thread_create_join}, {"process", "pipe_self_wr1rd1", pipe_self_wr1rd1},
    {"process", "pipe_pingpong_thr", pipe_pingpong_thr}, {"process", "pipe_pingpong_proc", pipe_pingpong_proc}, {"process", "pipe_bw_64k", pipe_bw_64k},
    {"process", "fork_exit_wait", fork_exit_wait}, {"process", "vfork_exec_hello", vfork_exec_hello}, {"process", "fork_exec_hello", fork_exec_hello},
    {"process", "fork16m_exit_wait", fork16m_exit_wait}, {"process", "fork512m_exit_wait", fork512m_exit_wait}, {"process", "cow_fault_4k", cow_fault_4k},
    {"process", "unix_pingpong_proc", unix_pingpong_proc},
};

MEASURE(cases)
