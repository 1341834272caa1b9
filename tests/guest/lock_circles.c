/* fcntl(2) record locks: circles that close late, and waiters that a changed lock lets in. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int file, other;

static int lock(int fd, int how, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	return fcntl(fd, how, &l) ? errno : 0;
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

/* A process that does a step whenever it is told to, and says what came of it. */
struct actor {
	pid_t pid;
	int orders, answers;
};

struct order {
	int fd, how;
	short type;
	off_t start, len;
};

static struct actor start(void)
{
	int orders[2], answers[2];
	pipe(orders);
	pipe(answers);
	pid_t pid = fork();
	if (pid == 0) {
		struct order o;
		close(orders[1]);
		while (read(orders[0], &o, sizeof o) == sizeof o) {
			int result = lock(o.fd, o.how, o.type, o.start, o.len);
			write(answers[1], &result, sizeof result);
		}
		_exit(0);
	}
	close(orders[0]);
	close(answers[1]);
	return (struct actor){ pid, orders[1], answers[0] };
}

static void tell(struct actor *a, int fd, short type, off_t start, off_t len)
{
	struct order o = { fd, F_SETLKW, type, start, len };
	write(a->orders, &o, sizeof o);
}

static int answer(struct actor *a)
{
	int result = -1;
	read(a->answers, &result, sizeof result);
	return result;
}

static int ask(struct actor *a, int fd, short type, off_t start, off_t len)
{
	tell(a, fd, type, start, len);
	return answer(a);
}

static void stop(struct actor *a)
{
	close(a->orders);
	close(a->answers);
	waitpid(a->pid, NULL, 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	file = open("locked", O_RDWR | O_CREAT | O_TRUNC, 0600);
	other = open("locked2", O_RDWR | O_CREAT | O_TRUNC, 0600);
	/* Later ones inherit the earlier ones' pipes: so they end in the opposite order. */
	struct actor a = start(), b = start(), c = start();

	printf("held: %d %d %d\n", ask(&a, file, F_WRLCK, 0, 10), ask(&b, file, F_WRLCK, 10, 10), ask(&c, file, F_WRLCK, 20, 10));
	tell(&b, file, F_WRLCK, 20, 10);
	until_asleep(b.pid);
	/* Meets A's lock first. When that goes, B's stands in the way, and B waits for C. */
	tell(&c, file, F_WRLCK, 0, 20);
	until_asleep(c.pid);
	printf("A lets go: %d\n", ask(&a, file, F_UNLCK, 0, 10));
	printf("C meets B: %d\n", answer(&c));
	printf("C lets go: %d\n", ask(&c, file, F_UNLCK, 20, 10));
	printf("B has it: %d\n", answer(&b));
	printf("free: %d\n", ask(&b, file, F_UNLCK, 0, 0));

	/* A holder that let go and asks for something else isn't part of a circle, though its waiter hasn't run yet. */
	for (int i = 0; i < 200; i++) {
		if (ask(&a, file, F_WRLCK, 0, 1) || ask(&b, other, F_WRLCK, 0, 1))
			printf("%d: not free\n", i);
		tell(&b, file, F_WRLCK, 0, 1);
		if (i % 2)
			until_asleep(b.pid);
		struct order two[2] = { { file, F_SETLKW, F_UNLCK, 0, 1 }, { other, F_SETLKW, F_WRLCK, 0, 1 } };
		write(a.orders, two, sizeof two);
		int first = answer(&a), got = answer(&b);
		if (first || got)
			printf("%d: %d %d\n", i, first, got);
		tell(&b, other, F_UNLCK, 0, 1);
		if (answer(&b) || answer(&a))
			printf("%d: in the end\n", i);
		if (ask(&a, other, F_UNLCK, 0, 0) || ask(&b, file, F_UNLCK, 0, 0))
			printf("%d: not let go\n", i);
	}
	printf("no false circles\n");

	/* A writer that becomes a reader lets readers in. */
	printf("write lock: %d\n", ask(&a, file, F_WRLCK, 0, 1));
	tell(&b, file, F_RDLCK, 0, 1);
	until_asleep(b.pid);
	printf("read lock: %d\n", ask(&a, file, F_RDLCK, 0, 1));
	printf("second reader: %d\n", answer(&b));

	stop(&c);
	stop(&b);
	stop(&a);
	return 0;
}
