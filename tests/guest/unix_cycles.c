/* Sockets that wait in each other's queues are freed with what they hold, and those that can still be received are not. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int send_fds(int s, const int *fds, int n) {
	char c = 'x', control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	return sendmsg(s, &m, 0) == 1 ? 0 : -errno;
}

static int receive_fds(int s, int *fds) {
	char c, control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	if (recvmsg(s, &m, 0) != 1)
		return -errno;
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (!h)
		return 0;
	int n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(h), n * sizeof(int));
	return n;
}

/* A pipe whose writing end is only held by whatever it was sent to. */
static int witness[2];

/* Closing any socket is what sets the search going. */
static void stir(void) {
	int s[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	close(s[0]);
	close(s[1]);
}

static int is_freed(int patience_ms) {
	struct pollfd p = { witness[0], POLLIN, 0 };
	stir();
	return poll(&p, 1, patience_ms) == 1;
}

static void new_witness(void) {
	pipe(witness);
}

static void closed(const char *what) {
	close(witness[1]);
	printf("%s: freed %d\n", what, is_freed(10000));
	close(witness[0]);
}

static void self(int type) {
	int s[2];
	new_witness();
	socketpair(AF_UNIX, type, 0, s);
	send_fds(s[1], (int[]){ s[0], witness[1] }, 2);
	close(s[0]);
	close(s[1]);
	closed("sent to itself");
}

static void ring(int n) {
	int s[8][2];
	new_witness();
	for (int i = 0; i < n; i++)
		socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]);
	for (int i = 0; i < n; i++)
		send_fds(s[i][1], (int[]){ s[(i + 1) % n][0], s[(i + 1) % n][1], witness[1] }, i == n / 2 ? 3 : 2);
	for (int i = 0; i < n; i++)
		close(s[i][0]), close(s[i][1]);
	closed("a ring");
}

static void rescued(void) {
	int a[2], b[2], out[8];
	char c = 0;
	new_witness();
	socketpair(AF_UNIX, SOCK_STREAM, 0, a);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, b);
	write(a[1], "k", 1);
	/* Each holds the other, and one of them is still open. */
	send_fds(a[1], (int[]){ b[0], witness[1] }, 2);
	send_fds(b[1], (int[]){ a[0], a[1] }, 2);
	close(a[0]);
	close(a[1]);
	close(b[1]);
	close(witness[1]);
	printf("still held: freed %d\n", is_freed(50));
	int n = receive_fds(b[0], out);
	printf("received %d", n);
	printf(", first byte %d", (int)read(out[0], &c, 1));
	printf(" %c", c);
	int more[8];
	printf(", then %d files\n", receive_fds(out[0], more));
	close(more[0]);
	close(more[1]);
	close(out[0]);
	close(out[1]);
	close(b[0]);
	printf("closed: freed %d\n", is_freed(10000));
	close(witness[0]);
}

static void in_an_open_queue(void) {
	int open_one[2], s[2], out[8];
	new_witness();
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, open_one);
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	send_fds(s[1], (int[]){ s[0], witness[1] }, 2);
	send_fds(open_one[1], &s[0], 1);
	close(s[0]);
	close(s[1]);
	close(witness[1]);
	printf("a copy waits in an open queue: freed %d\n", is_freed(50));
	printf("received %d\n", receive_fds(open_one[0], out));
	printf("held by us: freed %d\n", is_freed(50));
	close(out[0]);
	printf("closed: freed %d\n", is_freed(10000));
	close(witness[0]);
	close(open_one[0]);
	close(open_one[1]);
}

static void never_accepted(void) {
	struct sockaddr_un a = { AF_UNIX, "cycle" };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
	new_witness();
	bind(l, (void *)&a, sizeof a);
	listen(l, 2);
	printf("connect %d", connect(c, (void *)&a, sizeof a));
	printf(", send %d\n", send_fds(c, (int[]){ l, witness[1] }, 2));
	close(l);
	close(c);
	closed("a listener in a connection to itself");
	unlink("cycle");
}

static void exit_in_cycles(void) {
	int s[2];
	new_witness();
	fflush(stdout);
	if (fork() == 0) {
		for (int i = 0; i < 20; i++) {
			socketpair(AF_UNIX, SOCK_STREAM, 0, s);
			send_fds(s[0], (int[]){ s[0], s[1], witness[1] }, 3);
			send_fds(s[1], (int[]){ s[0], s[1] }, 2);
		}
		_exit(0);
	}
	wait(NULL);
	closed("a process that ended");
}

int main(void) {
	self(SOCK_STREAM);
	self(SOCK_DGRAM);
	self(SOCK_SEQPACKET);
	ring(2);
	ring(3);
	ring(7);
	rescued();
	in_an_open_queue();
	never_accepted();
	exit_in_cycles();
	return 0;
}
