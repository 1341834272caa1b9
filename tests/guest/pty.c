/* Pseudoterminals: both sides, their locks, sizes and numbers, sessions that they control, and what each side sees when the other one goes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

static void show(const char *what, const char *bytes, int len)
{
	printf("%s: ", what);
	if (len < 0) {
		printf("error %d\n", errno);
		return;
	}
	for (int i = 0; i < len; i++) {
		if (bytes[i] < ' ' || bytes[i] > '~')
			printf("\\%o", (unsigned char)bytes[i]);
		else
			putchar(bytes[i]);
	}
	printf(" (%d)\n", len);
}

static void take(const char *what, int fd)
{
	char buffer[4096];
	int len = read(fd, buffer, sizeof buffer);
	show(what, buffer, len);
}

/* Reads until this many bytes came. */
static void gather(const char *what, int fd, int len)
{
	char buffer[4096];
	int done = 0;
	while (done < len) {
		int got = read(fd, buffer + done, sizeof buffer - done);
		if (got <= 0)
			break;
		done += got;
	}
	show(what, buffer, done);
}

static int events(int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	poll(&p, 1, 0);
	return p.revents;
}

static int pair(int *slave)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), none = 0, number;
	ioctl(master, TIOCSPTLCK, &none);
	ioctl(master, TIOCGPTN, &number);
	char name[32];
	snprintf(name, sizeof name, "/dev/pts/%d", number);
	*slave = open(name, O_RDWR | O_NOCTTY);
	return master;
}

static void set_raw(int fd, int is_raw)
{
	struct termios t;
	tcgetattr(fd, &t);
	if (is_raw) {
		cfmakeraw(&t);
	} else {
		t.c_iflag |= ICRNL | IXON;
		t.c_oflag |= OPOST | ONLCR;
		t.c_lflag |= ICANON | ECHO | ISIG | IEXTEN;
	}
	tcsetattr(fd, TCSANOW, &t);
}

static void names(void)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), number = -1, locked = -1;
	int given = result(ioctl(master, TIOCGPTN, &number));
	printf("number %d %d\n", given, number);
	ioctl(master, TIOCGPTLCK, &locked);
	printf("locked %d, open %d\n", locked, result(open("/dev/pts/0", O_RDWR | O_NOCTTY)));
	printf("grant %d, unlock %d\n", result(grantpt(master)), result(unlockpt(master)));
	ioctl(master, TIOCGPTLCK, &locked);
	int slave = open("/dev/pts/0", O_RDWR | O_NOCTTY), other;
	printf("locked %d, open %d, tty %d %d\n", locked, slave >= 0, isatty(slave), isatty(master));
	struct stat st;
	fstat(slave, &st);
	printf("device %d:%d mode %o owner %d group %d\n", major(st.st_rdev), minor(st.st_rdev), st.st_mode, st.st_uid, st.st_gid);
	char name[64] = "";
	int error = ttyname_r(slave, name, sizeof name);
	printf("name %d %s\n", error, name);
	printf("number of the other side %d\n", result(ioctl(slave, TIOCGPTN, &other)));
	int peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	printf("peer %d, flags %d\n", isatty(peer), fcntl(peer, F_GETFD));
	close(peer);
	int more[5], slaves[5];
	for (int i = 0; i < 5; i++) {
		more[i] = pair(&slaves[i]);
		ioctl(more[i], TIOCGPTN, &other);
		printf("%d ", other);
	}
	close(more[1]);
	close(slaves[1]);
	close(more[3]);
	close(slaves[3]);
	int again = pair(&other), last = pair(&slaves[1]);
	ioctl(again, TIOCGPTN, &number);
	ioctl(last, TIOCGPTN, &locked);
	printf("again %d %d\n", number, locked);
	printf("gone %d\n", access("/dev/pts/5", F_OK) == 0);
	close(more[4]);
	printf("gone %d\n", result(access("/dev/pts/5", F_OK)));
	for (int i = 3; i < 40; i++)
		close(i);
}

static void lines(void)
{
	int slave, master = pair(&slave);
	write(master, "hel\177lo\r", 7);
	take("line", slave);
	take("echo", master);
	write(slave, "a\nb\tc\n", 6);
	take("output", master);
	write(master, "x\004", 2);
	take("end of file", slave);
	write(master, "\004", 1);
	take("again", slave);
	gather("echo", master, 1);
	struct termios t;
	tcgetattr(master, &t);
	printf("settings of the master: echo %d, canonical %d, speed %d\n", !!(t.c_lflag & ECHO), !!(t.c_lflag & ICANON), (int)cfgetospeed(&t));
	set_raw(slave, 1);
	tcgetattr(master, &t);
	printf("raw: echo %d, canonical %d, control %o\n", !!(t.c_lflag & ECHO), !!(t.c_lflag & ICANON), t.c_cflag);
	write(master, "\003\004\r\n", 4);
	take("raw", slave);
	write(slave, "\r\n", 2);
	take("raw", master);
	fcntl(master, F_SETFL, O_NONBLOCK);
	fcntl(slave, F_SETFL, O_NONBLOCK);
	take("nothing", master);
	take("nothing", slave);
	printf("events %x %x\n", events(master), events(slave));
	write(master, "12", 2);
	write(slave, "345", 3);
	int count[2], there[2] = { events(master), events(slave) };
	ioctl(master, FIONREAD, &count[0]);
	ioctl(slave, FIONREAD, &count[1]);
	printf("waiting %d %d, events %x %x\n", count[0], count[1], there[0], there[1]);
	close(master);
	close(slave);
}

static void floods(void)
{
	static char block[1000];
	int slave, master = pair(&slave), moved = 0, len;
	set_raw(slave, 1);
	fcntl(slave, F_SETFL, O_NONBLOCK);
	fcntl(master, F_SETFL, O_NONBLOCK);
	memset(block, 'x', sizeof block);
	while ((len = write(slave, block, sizeof block)) > 0)
		moved += len;
	/* A Linux moves some of it on in its own time, so that there may be room again. */
	printf("full: error %d, some %d\n", errno, moved >= 4000);
	int got = 0;
	while ((len = read(master, block, sizeof block)) > 0)
		got += len;
	printf("all of it %d, error %d, events %x\n", got == moved, errno, events(slave));
	moved = got = 0;
	while ((len = write(master, block, sizeof block)) > 0 && moved < 1000000)
		moved += len;
	printf("full: error %d, some %d\n", errno, moved >= 4000);
	while ((len = read(slave, block, sizeof block)) > 0 || (usleep(2000), len = read(slave, block, sizeof block)) > 0)
		got += len;
	printf("all of it %d, error %d\n", got == moved, errno);
	/* One that blocks goes on when there is room. */
	fcntl(slave, F_SETFL, 0);
	fcntl(master, F_SETFL, 0);
	if (fork() == 0) {
		for (int i = 0; i < 100; i++)
			write(slave, block, sizeof block);
		_exit(0);
	}
	got = 0;
	while (got < 100000 && (len = read(master, block, sizeof block)) > 0)
		got += len;
	wait(NULL);
	printf("through %d\n", got);
	close(master);
	close(slave);
}

static volatile sig_atomic_t caught[65];

static void note(int signal)
{
	caught[signal]++;
}

static void catch(int signal)
{
	struct sigaction a = { .sa_handler = note };
	sigaction(signal, &a, NULL);
}

static void wait_for(int signal)
{
	while (!caught[signal])
		usleep(1000);
	caught[signal] = 0;
}

static void sessions(void)
{
	int slave, master = pair(&slave), ready[2], status;
	char c;
	pipe(ready);
	fflush(stdout);
	pid_t leader = fork();
	if (leader == 0) {
		close(master);
		printf("no session %d\n", result(ioctl(slave, TIOCSCTTY, 0)));
		printf("not ours %d\n", result(tcgetpgrp(slave)));
		setsid();
		printf("without %d\n", result(open("/dev/tty", O_RDWR)));
		int controls = result(ioctl(slave, TIOCSCTTY, 0));
		printf("control %d, again %d, leader %d\n", controls, result(ioctl(slave, TIOCSCTTY, 0)), tcgetpgrp(slave) == getpid());
		int tty = open("/dev/tty", O_RDWR), other;
		struct winsize size = { 24, 80, 1, 2 };
		printf("tty %d, session %d\n", isatty(tty), tcgetsid(tty) == getpid());
		int second = pair(&other);
		printf("a second one %d\n", result(ioctl(other, TIOCSCTTY, 0)));
		close(second);
		close(other);
		FILE *stat = fopen("/proc/self/stat", "r");
		int number, group;
		fscanf(stat, "%*d %*s %*c %*d %*d %*d %d %d", &number, &group);
		fclose(stat);
		printf("stat %d %d\n", number, group == getpid());
		catch(SIGINT);
		catch(SIGWINCH);
		catch(SIGHUP);
		catch(SIGCONT);
		ioctl(tty, TIOCSWINSZ, &size);
		wait_for(SIGWINCH);
		fflush(stdout);
		write(ready[1], "x", 1);
		wait_for(SIGINT);
		wait_for(SIGWINCH);
		ioctl(tty, TIOCGWINSZ, &size);
		printf("interrupted, and the window is %d by %d\n", size.ws_row, size.ws_col);
		/* A job in front is stopped by a key, one behind by reading. */
		pid_t job = fork();
		if (job == 0) {
			setpgid(0, 0);
			signal(SIGTTOU, SIG_IGN);
			tcsetpgrp(tty, getpid());
			write(ready[1], "y", 1);
			for (;;)
				pause();
		}
		waitpid(job, &status, WUNTRACED);
		printf("stopped by %d, in front %d\n", WSTOPSIG(status), tcgetpgrp(tty) == job);
		kill(job, SIGKILL);
		waitpid(job, &status, 0);
		signal(SIGTTOU, SIG_IGN);
		tcsetpgrp(tty, getpid());
		job = fork();
		if (job == 0) {
			setpgid(0, 0);
			read(tty, &c, 1);
			_exit(0);
		}
		waitpid(job, &status, WUNTRACED);
		printf("stopped by %d\n", WSTOPSIG(status));
		kill(job, SIGKILL);
		waitpid(job, &status, 0);
		fflush(stdout);
		write(ready[1], "z", 1);
		wait_for(SIGHUP);
		wait_for(SIGCONT);
		printf("hung up: read %d", result(read(tty, &c, 1)));
		printf(", write %d", result(write(tty, "x", 1)));
		printf(", events %x, settings %d\n", events(tty) & (POLLIN | POLLHUP), result(ioctl(tty, TIOCGWINSZ, &size)));
		fflush(stdout);
		_exit(7);
	}
	close(slave);
	read(ready[0], &c, 1);
	printf("seen from the master: group %d, session %d\n", tcgetpgrp(master) == leader, tcgetsid(master) == leader);
	fflush(stdout);
	write(master, "\003", 1);
	usleep(1000);
	ioctl(master, TIOCSWINSZ, &(struct winsize){ 50, 132, 0, 0 });
	read(ready[0], &c, 1);
	write(master, "\032", 1);
	read(ready[0], &c, 1);
	close(master);
	waitpid(leader, &status, 0);
	printf("ended with %d\n", WEXITSTATUS(status));
}

static void ends(void)
{
	int slave, master = pair(&slave), number;
	ioctl(master, TIOCGPTN, &number);
	write(slave, "last words", 10);
	close(slave);
	printf("left: events %x\n", events(master));
	take("still there", master);
	take("then", master);
	printf("write to nobody %d\n", result(write(master, "x\n", 2)));
	char name[32];
	snprintf(name, sizeof name, "/dev/pts/%d", number);
	slave = open(name, O_RDWR | O_NOCTTY);
	printf("back: events %x\n", events(master) & POLLHUP);
	close(master);
	char c;
	printf("without a master: read %d", result(read(slave, &c, 1)));
	printf(", write %d, open %d\n", result(write(slave, "x", 1)), result(open(name, O_RDWR | O_NOCTTY)));
	close(slave);
	/* Whoever waits is told. */
	for (int i = 0; i < 2; i++) {
		master = pair(&slave);
		fflush(stdout);
		pid_t child = fork();
		if (child == 0) {
			close(i ? master : slave);
			int len = read(i ? slave : master, &c, 1);
			printf("woken: %d\n", result(len));
			fflush(stdout);
			_exit(0);
		}
		close(i ? slave : master);
		usleep(20000);
		close(i ? master : slave);
		waitpid(child, NULL, 0);
	}
}

static int news_of(int fd)
{
	struct pollfd p = { fd, POLLIN | POLLPRI, 0 };
	poll(&p, 1, 0);
	return p.revents;
}

/* Packet mode, as screen uses it: the master hears what happens to the terminal. */
static void packets(void)
{
	int slave, master = pair(&slave), on = 1, off = 0, is = -1;
	printf("packets: %d", result(ioctl(master, TIOCGPKT, &is)));
	printf(" %d, of the terminal %d", is, result(ioctl(slave, TIOCPKT, &on)));
	printf(" %d, no pointer %d", result(ioctl(slave, TIOCGPKT, &is)), result(ioctl(master, TIOCPKT, NULL)));
	printf(", set %d", result(ioctl(master, TIOCPKT, &on)));
	printf(" %d", result(ioctl(master, TIOCGPKT, &is)));
	printf(" %d\n", is);
	char some[2];
	write(slave, "data", 4);
	printf("  waiting: %x\n", news_of(master));
	show("  one byte", some, read(master, some, 1));
	show("  two bytes", some, read(master, some, 2));
	take("  the rest", master);
	struct termios t;
	tcgetattr(slave, &t);
	tcsetattr(slave, TCSANOW, &t);
	printf("  the same settings: %x\n", news_of(master));
	t.c_iflag &= ~IXON;
	tcsetattr(slave, TCSANOW, &t);
	printf("  no ^S: %x\n", news_of(master));
	take("  no ^S", master);
	t.c_iflag |= IXON;
	tcsetattr(master, TCSANOW, &t);
	write(slave, "x", 1);
	take("  ^S again", master);
	take("  data behind it", master);
	t.c_cc[VSTOP] = 'S';
	tcsetattr(slave, TCSAFLUSH, &t);
	take("  another key, and a flush", master);
	t.c_lflag |= EXTPROC;
	tcsetattr(slave, TCSANOW, &t);
	take("  external processing", master);
	t.c_lflag &= ~EXTPROC;
	t.c_cc[VSTOP] = 'S' & 31;
	tcsetattr(slave, TCSANOW, &t);
	take("  and no longer", master);
	tcflush(slave, TCIFLUSH);
	take("  input flushed", master);
	tcflush(slave, TCOFLUSH);
	take("  output flushed", master);
	tcflush(slave, TCIOFLUSH);
	take("  both", master);
	tcflow(slave, TCOOFF);
	tcflow(slave, TCOOFF);
	take("  stopped", master);
	tcflow(slave, TCOON);
	tcflow(slave, TCOON);
	take("  started", master);
	tcflow(slave, TCOOFF);
	tcflow(slave, TCOON);
	take("  stopped and started", master);
	t.c_lflag &= ~ECHO;
	tcsetattr(slave, TCSANOW, &t);
	write(master, "\023", 1);
	take("  ^S", master);
	write(master, "\021", 1);
	take("  ^Q", master);
	write(master, "\021\003", 2);
	take("  ^C", master);
	t.c_lflag |= NOFLSH;
	tcsetattr(slave, TCSANOW, &t);
	write(master, "\003", 1);
	fcntl(master, F_SETFL, O_NONBLOCK);
	take("  ^C that flushes nothing", master);
	write(slave, "unread", 6);
	printf("  unread: %x", news_of(master));
	tcflush(master, TCIOFLUSH);
	printf(", the master's own flush: %x\n", news_of(master));
	ioctl(master, TIOCPKT, &off);
	tcflush(slave, TCIFLUSH);
	write(slave, "y", 1);
	take("  off", master);
	/* ^C also lets output go on that ^S stopped. */
	t.c_lflag &= ~NOFLSH;
	tcsetattr(slave, TCSANOW, &t);
	fcntl(master, F_SETFL, 0);
	ioctl(master, TIOCPKT, &on);
	write(master, "\023", 1);
	take("  ^S", master);
	ioctl(master, TIOCPKT, &off);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(write(slave, "z", 1) != 1);
	usleep(50000);
	printf("  held back: %d\n", waitpid(child, NULL, WNOHANG));
	write(master, "\003", 1);
	take("  let go", master);
	int status = -1;
	waitpid(child, &status, 0);
	printf("  status %d\n", status);
	close(slave);
	close(master);
}

int main(void)
{
	signal(SIGHUP, SIG_IGN);
	names();
	lines();
	floods();
	packets();
	sessions();
	ends();
	return 0;
}
