/* epoll(7): exclusive entries, chains of instances, and edges that are none. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 8

static int add(int set, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) ? errno : 0;
}

static void until_asleep(pid_t pid)
{
	char name[64], text[256], state;
	snprintf(name, sizeof name, "/proc/%d/stat", pid);
	do {
		sched_yield();
		FILE *f = fopen(name, "r");
		size_t len = fread(text, 1, sizeof text - 1, f);
		fclose(f);
		text[len] = 0;
		state = strrchr(text, ')')[2];
	} while (state != 'S');
}

/* Each of several processes waits in an instance of its own: who hears of a byte? */
static void herd(const char *what, uint32_t flags, int expected)
{
	int bytes[2], told[2];
	pid_t pids[MANY];
	pipe(bytes);
	pipe(told);
	for (int i = 0; i < MANY; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct epoll_event event;
			char number = (char)i;
			int set = epoll_create1(0);
			close(bytes[1]);
			add(set, bytes[0], EPOLLIN | EPOLLET | flags);
			while (epoll_wait(set, &event, 1, -1) == 1 && !(event.events & EPOLLHUP))
				write(told[1], &number, 1);
			_exit(event.events & EPOLLHUP ? 0 : 1);
		}
		until_asleep(pids[i]);
	}
	for (int round = 0; round < 3; round++) {
		char c, who;
		int set = 0;
		write(bytes[1], "x", 1);
		for (int i = 0; i < expected; i++)
			if (read(told[0], &who, 1) == 1)
				set |= 1 << who;
		/* Whoever else was woken has told by the time that all sleep. */
		for (int i = 0; i < MANY; i++)
			until_asleep(pids[i]);
		struct pollfd more = { .fd = told[0], .events = POLLIN };
		printf("%s, byte %d: heard by %#x, %s\n", what, round, set, poll(&more, 1, 0) ? "and more" : "no more");
		read(bytes[0], &c, 1);
	}
	close(bytes[1]);
	int good = 0, status;
	for (int i = 0; i < MANY; i++) {
		waitpid(pids[i], &status, 0);
		good += status == 0;
	}
	printf("%s: %d saw the end\n", what, good);
	close(bytes[0]);
	close(told[0]);
	close(told[1]);
}

static void chains(void)
{
	int sets[8], p[2];
	pipe(p);
	for (int i = 0; i < 8; i++)
		sets[i] = epoll_create1(0);
	printf("pipe in the lowest: %d\n", add(sets[0], p[0], EPOLLIN));
	for (int i = 1; i < 7; i++)
		printf("upwards %d: %d\n", i, add(sets[i], sets[i - 1], EPOLLIN));
	for (int i = 0; i < 8; i++)
		close(sets[i]);

	for (int i = 0; i < 8; i++)
		sets[i] = epoll_create1(0);
	for (int i = 1; i < 7; i++)
		printf("downwards %d: %d\n", i, add(sets[i - 1], sets[i], EPOLLIN));
	printf("circle: %d %d\n", add(sets[2], sets[0], EPOLLIN), add(sets[0], sets[0], EPOLLIN));
	for (int i = 0; i < 8; i++)
		close(sets[i]);

	for (int i = 0; i < 8; i++)
		sets[i] = epoll_create1(0);
	printf("halves: %d %d %d %d\n", add(sets[0], sets[1], EPOLLIN), add(sets[1], sets[2], EPOLLIN),
	       add(sets[3], sets[4], EPOLLIN), add(sets[4], sets[5], EPOLLIN));
	printf("joined: %d %d %d\n", add(sets[2], sets[3], EPOLLIN), add(sets[1], sets[3], EPOLLIN),
	       add(sets[1], sets[4], EPOLLIN));
	for (int i = 0; i < 8; i++)
		close(sets[i]);
	close(p[0]);
	close(p[1]);
}

/* Taking one of a counter's many is no news for those who wait to take. */
static void edges(void)
{
	struct epoll_event event;
	int counter = eventfd(3, EFD_SEMAPHORE), set = epoll_create1(0);
	uint64_t value;
	add(set, counter, EPOLLIN | EPOLLET);
	printf("first: %d\n", epoll_wait(set, &event, 1, 0));
	printf("again: %d\n", epoll_wait(set, &event, 1, 0));
	read(counter, &value, sizeof value);
	printf("one taken: %d\n", epoll_wait(set, &event, 1, 0));
	value = 1;
	write(counter, &value, sizeof value);
	printf("one given: %d\n", epoll_wait(set, &event, 1, 0));
	close(set);
	close(counter);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	herd("shared", 0, MANY);
	herd("exclusive", EPOLLEXCLUSIVE, 1);
	chains();
	edges();
	return 0;
}
