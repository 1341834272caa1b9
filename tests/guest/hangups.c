/* Who hears of the end of a session's leader or of a group's last relative: orphaned groups, and the group in front of a terminal; then that terminal again. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int heard[2];

static void hear(int signal)
{
	write(heard[1], signal == SIGHUP ? "H" : "C", 1);
}

/* What the processes of the pipe heard, once all of them are gone. In no order: both signals wait while they stand still. */
static void report(const char *what)
{
	char got[16];
	int hangups = 0, continued = 0;
	close(heard[1]);
	for (ssize_t n; (n = read(heard[0], got, sizeof got)) > 0;)
		while (n--)
			got[n] == 'H' ? hangups++ : continued++;
	close(heard[0]);
	printf("%s: %d hangups, %d continuations\n", what, hangups, continued);
	fflush(stdout);
}

static void listen_to_them(void)
{
	signal(SIGHUP, hear);
	signal(SIGCONT, hear);
}

/* The leader of a session ends, and so nobody can continue its stopped child any more. */
static void orphans(int with_session)
{
	pipe(heard);
	if (fork() == 0) {
		int status;
		if (with_session)
			setsid();
		int pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			listen_to_them();
			raise(SIGSTOP);
			_exit(0);
		}
		waitpid(pid, &status, WUNTRACED);
		if (!with_session)
			kill(pid, SIGCONT);
		_exit(0);
	}
	wait(NULL);
	report(with_session ? "orphans" : "with relatives");
}

static void front(int terminal)
{
	pipe(heard);
	if (fork() == 0) {
		int ready[2];
		char byte;
		pipe(ready);
		setsid();
		printf("terminal: %d\n", ioctl(terminal, TIOCSCTTY, 0));
		fflush(stdout);
		if (fork() == 0) {
			sigset_t none;
			sigemptyset(&none);
			signal(SIGTTOU, SIG_IGN);
			setpgid(0, 0);
			tcsetpgrp(terminal, getpid());
			sigset_t hangup;
			sigemptyset(&hangup);
			sigaddset(&hangup, SIGHUP);
			sigprocmask(SIG_BLOCK, &hangup, NULL);
			listen_to_them();
			write(ready[1], "x", 1);
			alarm(20);
			sigsuspend(&none);
			/* It comes a little before the terminal is free. */
			while (tcgetpgrp(terminal) != -1)
				usleep(1000);
			puts("nobody in front");
			fflush(stdout);
			_exit(0);
		}
		read(ready[0], &byte, 1);
		_exit(0);
	}
	wait(NULL);
	report("in front");
}

static void *blocked_write(int master)
{
	fcntl(master, F_SETFL, 0);
	return write(master, "w", 1) == 1 ? "written" : "not written";
}

/* What is flushed makes room for writers. */
static void flushes(int master, int terminal)
{
	struct termios raw;
	char junk[512];
	int ready;
	tcgetattr(terminal, &raw);
	cfmakeraw(&raw);
	tcsetattr(terminal, TCSANOW, &raw);
	fcntl(master, F_SETFL, O_NONBLOCK);
	memset(junk, 'j', sizeof junk);
	while (write(master, junk, sizeof junk) > 0)
		;
	if (fork() == 0) {
		alarm(20);
		puts(blocked_write(master));
		fflush(stdout);
		_exit(0);
	}
	usleep(50000);
	tcflush(terminal, TCIFLUSH);
	wait(NULL);
	fcntl(master, F_SETFL, O_NONBLOCK);
	write(terminal, "lost", 4);
	usleep(50000);
	printf("master's flush: %d", tcflush(master, TCIFLUSH));
	ioctl(master, FIONREAD, &ready);
	printf(", left %d\n", ready);
	write(terminal, "kept", 4);
	usleep(50000);
	printf("terminal's flush: %d", tcflush(terminal, TCOFLUSH));
	ioctl(master, FIONREAD, &ready);
	printf(", left %d\n", ready);
	printf("neither: %d\n", ioctl(terminal, TCFLSH, 3));
}

/* A line is as long as 4,095 bytes and its newline. */
static void long_line(int master, int terminal)
{
	static char line[8192];
	struct termios cooked;
	tcflush(terminal, TCIOFLUSH);
	tcgetattr(terminal, &cooked);
	cooked.c_lflag |= ICANON;
	cooked.c_lflag &= ~ECHO;
	tcsetattr(terminal, TCSANOW, &cooked);
	memset(line, 'a', 4090);
	write(master, line, 4090);
	write(master, "0123456789\n", 11);
	usleep(50000);
	ssize_t got = read(terminal, line, sizeof line);
	printf("line of %zd, with %.6s\n", got, line + got - 6);
}

int main(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	grantpt(master);
	unlockpt(master);
	int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	orphans(1);
	orphans(0);
	front(terminal);
	front(terminal);
	flushes(master, terminal);
	long_line(master, terminal);
	return 0;
}
