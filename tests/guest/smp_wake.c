// Wake-ups and signals across CPUs: none is lost, and a thread that runs elsewhere hears of a signal at once.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void broken(const char *what) {
    printf("broken: %s (%s)\n", what, strerror(errno));
    exit(1);
}
#define MUST(condition) do { if (!(condition)) broken(#condition); } while (0)

enum { ROUNDS = 2000, THREADS = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;
static long sum;

static void *taker(void *argument) {
    int me = (int)(long)argument;
    for (int i = 0; i < ROUNDS / 4; i++) {
        pthread_mutex_lock(&lock);
        while (turn % THREADS != me) pthread_cond_wait(&turned, &lock);
        turn++;
        pthread_cond_broadcast(&turned);
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

static void *adder(void *unused) {
    (void)unused;
    for (int i = 0; i < 10 * ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        sum++;
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

static sem_t here, there;
static void *poster(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        sem_wait(&here);
        sem_post(&there);
    }
    return 0;
}

static pthread_barrier_t barrier;
static atomic_int passed;
static void *meeter(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS / 10; i++) {
        passed++;
        pthread_barrier_wait(&barrier);
        if (passed < (i + 1) * THREADS) return (void *)1;
        pthread_barrier_wait(&barrier);
    }
    return 0;
}

static void all(const char *name, void *(*run)(void *)) {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) MUST(pthread_create(&threads[i], 0, run, (void *)i) == 0);
    long wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)result;
    }
    printf("%s: %ld\n", name, wrong);
}

static int ping[2], pong[2];
static void *echo(void *unused) {
    (void)unused;
    char byte;
    while (read(ping[0], &byte, 1) == 1) MUST(write(pong[1], &byte, 1) == 1);
    return 0;
}

// Readers of one pipe by poll, writers on it: every byte arrives once.
static int shared[2];
static atomic_int bytes;
static void *poller(void *unused) {
    (void)unused;
    for (;;) {
        struct pollfd fd = {.fd = shared[0], .events = POLLIN};
        MUST(poll(&fd, 1, -1) == 1);
        char buffer[3];
        ssize_t count = read(shared[0], buffer, sizeof buffer);
        if (count == 0) return 0;
        if (count > 0) bytes += (int)count;
    }
}
static void *filler(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) MUST(write(shared[1], "abc", 1 + i % 3) > 0);
    return 0;
}

static int epoll, events;
static atomic_long taken;
static void *epoller(void *unused) {
    (void)unused;
    for (;;) {
        struct epoll_event event;
        MUST(epoll_wait(epoll, &event, 1, -1) == 1);
        eventfd_t value;
        if (eventfd_read(events, &value) == 0) {
            if (value >= 1000000) {
                eventfd_write(events, 1000000);
                return 0;
            }
            taken += (long)value;
        }
    }
}

static atomic_int heard, quit;
static void on_signal(int signal) {
    (void)signal;
    heard++;
}
static void *spinner(void *unused) {
    (void)unused;
    while (!quit) __builtin_ia32_pause();
    return 0;
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return 0;
    all("turns", taker);
    printf("turn %d\n", turn);
    all("adders", adder);
    printf("sum %ld\n", sum);
    pthread_t thread, second;
    sem_init(&here, 0, 0);
    sem_init(&there, 0, 0);
    MUST(pthread_create(&thread, 0, poster, 0) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        sem_post(&here);
        sem_wait(&there);
    }
    pthread_join(thread, 0);
    printf("semaphores\n");
    pthread_barrier_init(&barrier, 0, THREADS);
    all("barriers", meeter);

    MUST(pipe(ping) == 0 && pipe(pong) == 0);
    MUST(pthread_create(&thread, 0, echo, 0) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        char byte = (char)i, answer;
        MUST(write(ping[1], &byte, 1) == 1 && read(pong[0], &answer, 1) == 1 && answer == byte);
    }
    close(ping[1]);
    pthread_join(thread, 0);
    printf("pipes\n");

    MUST(pipe2(shared, 0) == 0);
    pthread_t pollers[2];
    MUST(pthread_create(&pollers[0], 0, filler, 0) == 0 && pthread_create(&pollers[1], 0, filler, 0) == 0);
    MUST(pthread_create(&thread, 0, poller, 0) == 0);
    pthread_join(pollers[0], 0);
    pthread_join(pollers[1], 0);
    close(shared[1]);
    pthread_join(thread, 0);
    printf("polled %d\n", (int)bytes);

    epoll = epoll_create1(0);
    events = eventfd(0, EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, events, &event) == 0);
    MUST(pthread_create(&thread, 0, epoller, 0) == 0 && pthread_create(&second, 0, epoller, 0) == 0);
    for (int i = 0; i < ROUNDS; i++) MUST(eventfd_write(events, 1) == 0);
    while (taken < ROUNDS) sched_yield();
    eventfd_write(events, 1000000);
    pthread_join(thread, 0);
    pthread_join(second, 0);
    printf("events %ld\n", (long)taken);

    // A thread that runs without a system call takes each signal before the next is sent.
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, 0);
    MUST(pthread_create(&thread, 0, spinner, 0) == 0);
    for (int i = 1; i <= 500; i++) {
        pthread_kill(thread, SIGUSR1);
        while (heard < i) sched_yield();
    }
    quit = 1;
    pthread_join(thread, 0);
    printf("heard %d\n", (int)heard);

    // Children that run are stopped, continued and killed.
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        MUST(child >= 0);
        if (child == 0) for (;;) __builtin_ia32_pause();
        int status;
        kill(child, SIGSTOP);
        MUST(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
        kill(child, SIGCONT);
        MUST(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
        kill(child, SIGKILL);
        MUST(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
    }
    printf("stopped and killed\n");

    // exec and exit from processes with threads that run.
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        MUST(child >= 0);
        if (child == 0) {
            quit = 0;
            pthread_t threads[3];
            for (int j = 0; j < 3; j++) pthread_create(&threads[j], 0, spinner, 0);
            if (i % 2) _exit(7);
            execl("/proc/self/exe", "smp_wake", "nothing", (char *)0);
            _exit(8);
        }
        int status;
        MUST(waitpid(child, &status, 0) == child && WIFEXITED(status));
        MUST(WEXITSTATUS(status) == (i % 2 ? 7 : 0));
    }
    printf("ended\n");
    return 0;
}
