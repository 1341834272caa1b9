/* Numbers of processes and threads: those in use as groups aren't given out again, a thread's stands for its process; and oom_score_adj. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int numbers[2];

static void *nothing(void *arg)
{
	return arg;
}

/* A group whose leader is gone keeps its number, however many are given out. */
static void groups(void)
{
	int p[2], end[2];
	char c;
	pipe(p);
	pipe(end);
	pid_t leader = fork();
	if (leader == 0) {
		setpgid(0, 0);
		if (fork() == 0) {
			close(end[1]);
			read(end[0], &c, 1);
		}
		write(p[1], "x", 1);
		_exit(0);
	}
	read(p[0], &c, 1);
	waitpid(leader, NULL, 0);
	printf("group without its leader: %d\n", kill(-leader, 0) ? errno : 0);
	for (int i = 0; i < 33000; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, nothing, NULL)) {
			printf("thread %d\n", i);
			break;
		}
		pthread_join(thread, NULL);
	}
	/* Whoever has the leader's number now could be mistaken for it. */
	int clashes = 0;
	for (int i = 0; i < 600; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		clashes += pid == leader;
		waitpid(pid, NULL, 0);
	}
	printf("number given out again: %d\n", clashes);
	close(end[1]);
	close(end[0]);
	close(p[0]);
	close(p[1]);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	int report[2] = { number, info->si_code };
	write(numbers[1], report, sizeof report);
}

static void *wait_for_end(void *arg)
{
	int tid = (int)syscall(SYS_gettid), *p = arg;
	char c;
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	write(p[1], &tid, sizeof tid);
	read(p[2], &c, 1);
	return NULL;
}

static void threads(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	int p[4], tid, report[2];
	pthread_t thread;
	pipe(numbers);
	pipe(p);
	pipe(p + 2);
	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, wait_for_end, p);
	read(p[0], &tid, sizeof tid);
	printf("kill: %d\n", kill(tid, SIGUSR1) ? errno : 0);
	read(numbers[0], report, sizeof report);
	printf("the process heard %d %d\n", report[0], report[1]);
	siginfo_t info = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };
	printf("sigqueueinfo: %d\n", syscall(SYS_rt_sigqueueinfo, tid, SIGUSR1, &info) ? errno : 0);
	read(numbers[0], report, sizeof report);
	printf("the process heard %d %d\n", report[0], report[1]);
	close(p[3]);
	pthread_join(thread, NULL);
}

static int adjust(const char *text)
{
	int fd = open("/proc/self/oom_score_adj", O_RDWR);
	int failed = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return failed;
}

static int adjusted(void)
{
	char text[32] = "";
	int fd = open("/proc/self/oom_score_adj", O_RDONLY);
	read(fd, text, sizeof text - 1);
	close(fd);
	return atoi(text);
}

static void scores(void)
{
	printf("at first: %d\n", adjusted());
	printf("too much: %d %d %d\n", adjust("1001"), adjust("-1001"), adjust("x"));
	printf("set: %d\n", adjust("300\n"));
	/* Some truncate before they write, as PAM does. */
	int fd = open("/proc/self/oom_score_adj", O_RDWR);
	printf("truncated: %d", ftruncate(fd, 0));
	close(fd);
	printf(" %d\n", truncate("/proc/self/comm", 0));
	printf("then: %d\n", adjusted());
	pid_t pid = fork();
	if (pid == 0) {
		printf("child: %d\n", adjusted());
		setuid(1000);
		prctl(PR_SET_DUMPABLE, 1);
		printf("a user, up: %d\n", adjust("500"));
		printf("down: %d\n", adjust("-1"));
		printf("then: %d\n", adjusted());
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	printf("kept: %d\n", adjusted());
}

static void slack(void)
{
	prctl(PR_SET_TIMERSLACK, 70000);
	pid_t pid = fork();
	if (pid == 0) {
		printf("slack: %d", prctl(PR_GET_TIMERSLACK));
		prctl(PR_SET_TIMERSLACK, 5);
		prctl(PR_SET_TIMERSLACK, 0);
		printf(" and its default %d\n", prctl(PR_GET_TIMERSLACK));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	prctl(PR_SET_TIMERSLACK, 0);
	printf("default: %d\n", prctl(PR_GET_TIMERSLACK));
}

/* Who logged in: a child knows it too. */
static void login(void)
{
	char text[16] = "";
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open("/proc/self/loginuid", O_RDWR | O_TRUNC);
		printf("login: %zd", write(fd, "1000", 4));
		close(fd);
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			fd = open("/proc/self/loginuid", O_RDONLY);
			printf(" %zd %s\n", read(fd, text, sizeof text - 1), text);
			exit(0);
		}
		waitpid(pid, NULL, 0);
		exit(0);
	}
	waitpid(pid, NULL, 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	printf("group of a negative number: %d", setpgid(-1, 0) ? errno : 0);
	printf(" %d\n", setpgid(0, -1) ? errno : 0);
	groups();
	threads();
	login();
	scores();
	slack();
	return 0;
}
