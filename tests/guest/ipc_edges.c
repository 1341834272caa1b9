/* musl only. What happens between calls on pipes, sockets, terminals and polls: locks that are held while their holder waits, what is put back, stops and hang-ups; races that must not show. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void ms(long n)
{
	struct timespec left = { n / 1000, n % 1000 * 1000000 };
	while (nanosleep(&left, &left))
		;
}

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nothing(int signal)
{
	(void)signal;
}

/* Ends within a second and a half. */
static const char *ends(pid_t pid)
{
	for (int i = 0; i < 150; i++, ms(10))
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return "yes";
	return "NO";
}

/* A terminal's reader and writer that wait don't keep others from being killed, or from not waiting. */
static void terminal_locks(void)
{
	static char zeros[100000];
	int master, tty;
	struct termios settings;
	char byte = 'x';
	openpty(&master, &tty, NULL, NULL, NULL);
	tcgetattr(tty, &settings);
	cfmakeraw(&settings);
	tcsetattr(tty, TCSANOW, &settings);
	int quick = open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK);
	for (int writes = 0; writes < 2; writes++) {
		pid_t pid[3];
		for (int i = 0; i < 3; i++) {
			pid[i] = fork();
			if (pid[i] == 0) {
				int fd = i < 2 ? tty : quick;
				long n = !writes ? read(fd, &byte, 1) : i == 0 ? write(fd, zeros, sizeof zeros) : write(fd, &byte, 1);
				printf("%s at once: %ld %s\n", writes ? "write" : "read", n, n < 0 ? strerror(errno) : "");
				fflush(stdout);
				_exit(0);
			}
			if (i < 2)
				ms(60);
		}
		printf("the third comes back: %s\n", ends(pid[2]));
		kill(pid[1], SIGKILL);
		printf("the second can be killed: %s\n", ends(pid[1]));
		kill(pid[0], SIGKILL);
		printf("the first can be killed: %s\n", ends(pid[0]));
		fflush(stdout);
	}
	close(quick);
	close(tty);
	close(master);
}

static volatile int hangups;

static void hang_up(int signal)
{
	(void)signal;
	hangups++;
}

/* Who may type for others, and who hears that the master is gone. */
static void terminal_rights(void)
{
	int master, tty;
	openpty(&master, &tty, NULL, NULL, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		setgid(1000);
		setuid(1000);
		/* EPERM, or EIO where TIOCSTI is switched off for all but root. */
		printf("a stranger types: %s\n", ioctl(tty, TIOCSTI, "x") ? "refused" : "goes");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	pid = fork();
	if (pid == 0) {
		int ready[2], status;
		pipe(ready);
		close(master);
		setsid();
		ioctl(tty, TIOCSCTTY, 0);
		signal(SIGHUP, hang_up);
		pid_t child = fork();
		if (child == 0) {
			signal(SIGHUP, SIG_DFL);
			close(tty);
			for (;;)
				pause();
		}
		ms(250);
		printf("the leader hears of %d hang-ups; its child %s\n", hangups,
		       waitpid(child, &status, WNOHANG) == child ? "DIED" : "lives");
		int own = open("/dev/tty", O_RDWR);
		printf("/dev/tty: %s\n", own >= 0 ? "OPENS" : strerror(errno));
		close(tty);
		int other = posix_openpt(O_RDWR | O_NOCTTY);
		grantpt(other);
		unlockpt(other);
		tty = open(ptsname(other), O_RDWR);
		printf("another terminal is the session's: %d\n", tcgetsid(tty) == getpid());
		fflush(stdout);
		signal(SIGHUP, SIG_IGN);
		kill(child, SIGKILL);
		_exit(0);
	}
	close(tty);
	ms(100);
	close(master);
	waitpid(pid, NULL, 0);
}

static int ends_of[2], pair[2], back[2];

static void *splice_them(void *arg)
{
	ssize_t n = splice(ends_of[0], NULL, pair[0], NULL, 100, 0);
	printf("splice: %zd %s\n", n, n < 0 ? strerror(errno) : "");
	return arg;
}

static void *read_them(void *arg)
{
	char bytes[10];
	*(ssize_t *)arg = read(ends_of[0], bytes, sizeof bytes);
	return NULL;
}

/* What a splice took out and couldn't send is there again, for one who waits already. */
static void splice_puts_back(void)
{
	static char zeros[4096];
	pthread_t splicer, reader;
	ssize_t got = -1;
	pipe(ends_of);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (write(pair[0], zeros, sizeof zeros) > 0)
		;
	fcntl(pair[0], F_SETFL, 0);
	write(ends_of[1], "hello", 5);
	pthread_create(&splicer, NULL, splice_them, NULL);
	ms(80);
	pthread_create(&reader, NULL, read_them, &got);
	ms(80);
	pthread_kill(splicer, SIGUSR1);
	pthread_join(splicer, NULL);
	for (int i = 0; i < 100 && got < 0; i++)
		ms(10);
	printf("read after it: %zd\n", got);
	if (got < 0)
		exit(1);
	pthread_join(reader, NULL);
	close(pair[0]);
	close(pair[1]);
}

/* A stop doesn't end a wait, nor make it longer. */
static void stops(void)
{
	static const char *const names[] = { "poll", "select", "ppoll", "poll for ever" };
	pid_t pid[4];
	int to[2];
	pipe(to);
	for (int i = 0; i < 4; i++) {
		pid[i] = fork();
		if (pid[i] != 0)
			continue;
		struct timeval time = { 0, 400000 };
		struct timespec precise = { 0, 400000000 };
		struct pollfd fd = { to[0], POLLIN, 0 };
		long start = now();
		int n = i == 0   ? poll(NULL, 0, 400)
			: i == 1 ? select(0, NULL, NULL, NULL, &time)
			: i == 2 ? ppoll(NULL, 0, &precise, NULL)
				 : poll(&fd, 1, -1);
		int error = errno;
		long took = now() - start;
		ms(i * 60);
		printf("%s over a stop: %d %s, %s\n", names[i], n, n < 0 ? strerror(error) : "",
		       took < 390 ? "TOO SHORT" : took > 900 ? "TOO LONG" : "in time");
		fflush(stdout);
		_exit(0);
	}
	ms(100);
	for (int i = 0; i < 4; i++)
		kill(pid[i], SIGSTOP);
	ms(100);
	for (int i = 0; i < 4; i++)
		kill(pid[i], SIGCONT);
	ms(400);
	write(to[1], "x", 1);
	for (int i = 0; i < 4; i++)
		waitpid(pid[i], NULL, 0);
	close(to[0]);
	close(to[1]);
}

static struct pollfd watched[2];

static void *change_them(void *arg)
{
	ms(50);
	watched[1].fd = 77;
	watched[1].events = POLLOUT;
	ms(50);
	write(*(int *)arg, "x", 1);
	return NULL;
}

/* What poll writes: what happened, and that alone. */
static void poll_writes(void)
{
	struct pollfd many[10];
	struct itimerval soon = { .it_value = { 0, 50000 } };
	pthread_t thread;
	int fds[2];
	pipe(fds);
	for (int i = 0; i < 10; i++)
		many[i] = (struct pollfd){ fds[0], POLLIN, 0x7777 };
	setitimer(ITIMER_REAL, &soon, NULL);
	int n = poll(many, 10, 2000);
	printf("interrupted poll: %d %s, revents %x\n", n, strerror(errno), many[9].revents);
	watched[0] = (struct pollfd){ fds[0], POLLIN, 0 };
	watched[1] = (struct pollfd){ -1, POLLIN, 0 };
	pthread_create(&thread, NULL, change_them, &fds[1]);
	n = poll(watched, 2, 2000);
	pthread_join(thread, NULL);
	printf("poll: %d; the other entry is %d, %x\n", n, watched[1].fd, watched[1].events);
	close(fds[0]);
	close(fds[1]);
}

/* Many of what is let go of at once. */
static void many(void)
{
	struct { long type; } message = { 1 };
	int queue = msgget(IPC_PRIVATE, 0600 | IPC_CREAT), sent = 0, added = 0;
	while (sent < 16384 && !msgsnd(queue, &message, 0, IPC_NOWAIT))
		sent++;
	printf("%d messages, removed: %d\n", sent, msgctl(queue, IPC_RMID, NULL));
	int set = epoll_create1(0);
	for (int i = 0; i < 20000; i++) {
		int fd = eventfd(0, 0);
		struct epoll_event event = { .events = EPOLLIN };
		added += epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0;
		close(fd);
	}
	struct epoll_event event;
	printf("%d closed files in a set, ready: %d\n", added, epoll_wait(set, &event, 1, 0));
	close(set);
}

static socklen_t name(struct sockaddr_un *address, const char *text)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path + 1, text);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text);
}

static volatile int over, socket_fd;

static void *look_at_it(void *arg)
{
	static char bytes[60000];
	while (!over) {
		recv(socket_fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
		sched_yield();
	}
	return arg;
}

/* Connecting drops what others sent while somebody looks at it: it doesn't come back in the place of the next. */
static void dropped_looks(void)
{
	static char bytes[60000];
	struct sockaddr_un own_name, peer_name;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	pthread_t thread;
	int bad = 0, peer = socket(AF_UNIX, SOCK_DGRAM, 0), other = socket(AF_UNIX, SOCK_DGRAM, 0);
	socket_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	socklen_t own_len = name(&own_name, "ipc_edges own"), peer_len = name(&peer_name, "ipc_edges peer");
	bind(socket_fd, (void *)&own_name, own_len);
	bind(peer, (void *)&peer_name, peer_len);
	pthread_create(&thread, NULL, look_at_it, NULL);
	for (long end = now() + 150; now() < end && !bad;) {
		connect(socket_fd, (void *)&peer_name, peer_len);
		memset(bytes, 'A', 20000);
		sendto(peer, bytes, 20000, 0, (void *)&own_name, own_len);
		connect(socket_fd, &none, sizeof none);
		memset(bytes, 'B', sizeof bytes);
		sendto(other, bytes, sizeof bytes, 0, (void *)&own_name, own_len);
		memset(bytes, 0, sizeof bytes);
		long n = recv(socket_fd, bytes, sizeof bytes, 0);
		bad = n != sizeof bytes || bytes[0] != 'B' || bytes[n - 1] != 'B';
	}
	over = 1;
	pthread_join(thread, NULL);
	printf("datagrams beside looks: %s\n", bad ? "MIXED UP" : "as sent");
	close(socket_fd);
	close(peer);
	close(other);
}

static void *look_and_answer(void *arg)
{
	char byte;
	while (recv(pair[0], &byte, 1, MSG_PEEK) == 1 && recv(pair[0], &byte, 1, 0) == 1)
		write(back[1], "y", 1);
	return arg;
}

/* Who looks at an empty socket hears of what comes. */
static void looks_wake(void)
{
	struct timeval patience = { 2, 0 };
	pthread_t thread;
	char byte;
	int bad = 0;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	socketpair(AF_UNIX, SOCK_STREAM, 0, back);
	setsockopt(back[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	pthread_create(&thread, NULL, look_and_answer, NULL);
	long i = 0;
	for (long end = now() + 150; now() < end && !bad; i++) {
		for (volatile int spin = 0; spin < i * 7 % 3000; spin++)
			;
		write(pair[1], "x", 1);
		bad = read(back[0], &byte, 1) != 1;
	}
	printf("looks that wait: %s\n", bad ? "FORGOTTEN" : "woken");
	close(pair[1]);
	pthread_join(thread, NULL);
	close(pair[0]);
	close(back[0]);
	close(back[1]);
}

static int send_files(int to, const int *files, int count)
{
	char control[CMSG_SPACE(100 * sizeof *files)] = { 0 }, byte = 'x';
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control };
	message.msg_controllen = CMSG_SPACE(count * sizeof *files);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof *files);
	memcpy(CMSG_DATA(header), files, count * sizeof *files);
	return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static volatile int turn, last_turn;
static int queue_fd, open_fd;

static void *send_it_too(void *arg)
{
	for (;;) {
		while (turn == 0)
			sched_yield();
		if (turn < 0)
			return arg;
		for (volatile int spin = 0; spin < turn * 37 % 6000; spin++)
			;
		send_files(queue_fd, &open_fd, 1);
		last_turn = turn;
		turn = 0;
	}
}

/* A socket that is open isn't garbage, whenever it is sent into a queue that is. */
static void open_is_no_garbage(void)
{
	pthread_t thread;
	int bad = 0, round = 0;
	pthread_create(&thread, NULL, send_it_too, NULL);
	for (long end = now() + 250; now() < end && !bad;) {
		int queue[2], kept[2], files[100];
		socketpair(AF_UNIX, SOCK_DGRAM, 0, queue);
		socketpair(AF_UNIX, SOCK_STREAM, 0, kept);
		queue_fd = queue[1];
		open_fd = kept[0];
		files[0] = queue[0];
		files[1] = kept[0];
		for (int i = 2; i < 100; i++)
			files[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
		send_files(queue_fd, files, 100);
		for (int i = 2; i < 100; i++)
			close(files[i]);
		int last = socket(AF_UNIX, SOCK_DGRAM, 0);
		close(queue[0]);
		turn = ++round;
		close(last);
		while (last_turn != round)
			sched_yield();
		char byte = 0;
		write(kept[0], "y", 1);
		bad = recv(kept[1], &byte, 1, MSG_DONTWAIT) != 1;
		close(queue[1]);
		close(kept[0]);
		close(kept[1]);
	}
	turn = -1;
	pthread_join(thread, NULL);
	printf("an open socket on its way: %s\n", bad ? "CLOSED" : "stays open");
}

static volatile long wanted, opened;

static void *open_and_close(void *arg)
{
	for (;;) {
		while (wanted == opened)
			sched_yield();
		long round = wanted;
		if (round < 0)
			return arg;
		int fd = open("fifo", O_RDONLY | O_NONBLOCK);
		for (volatile int spin = 0; spin < round * 11 % 800; spin++)
			;
		opened = round;
		close(fd);
	}
}

/* A writer that must not wait doesn't, also if the reader goes at that moment. */
static void fifo_without_waiting(void)
{
	pthread_t thread;
	int bad = 0;
	long round = 0;
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	mkfifo("fifo", 0600);
	pthread_sigmask(SIG_BLOCK, &alarms, NULL);
	pthread_create(&thread, NULL, open_and_close, NULL);
	pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
	for (long end = now() + 150; now() < end && !bad;) {
		wanted = ++round;
		while (opened != round)
			sched_yield();
		for (volatile int spin = 0; spin < round * 7 % 300; spin++)
			;
		/* The one that gets stuck is interrupted. */
		ualarm(500000, 0);
		int fd = open("fifo", O_WRONLY | O_NONBLOCK);
		bad = fd < 0 && errno == EINTR;
		ualarm(0, 0);
		close(fd);
	}
	wanted = -1;
	pthread_join(thread, NULL);
	unlink("fifo");
	printf("a FIFO's impatient writer: %s\n", bad ? "WAITED" : "did not wait");
}

int main(void)
{
	struct sigaction action = { .sa_handler = nothing };
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	terminal_locks();
	terminal_rights();
	splice_puts_back();
	fflush(stdout);
	stops();
	poll_writes();
	many();
	dropped_looks();
	looks_wake();
	open_is_no_garbage();
	fifo_without_waiting();
	return 0;
}
