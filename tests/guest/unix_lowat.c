// SO_RCVLOWAT: a read waits for as many bytes, or for the end.
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
	int s[2], low = 4; char b[16];
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	setsockopt(s[0], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
	if (fork() == 0) { write(s[1], "a", 1); sched_yield(); write(s[1], "b", 1); sched_yield(); write(s[1], "cd", 2); _exit(0); }
	int n = read(s[0], b, sizeof b); printf("%d %.*s\n", n, n, b);
	wait(0);
	write(s[1], "xyz", 3); n = read(s[0], b, 2); printf("%d %.*s\n", n, n, b);
	shutdown(s[1], SHUT_WR); n = read(s[0], b, 16); printf("%d %.*s\n", n, n, b); n = read(s[0], b, 16); printf("%d\n", n);
	return 0;
}
