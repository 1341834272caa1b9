/* Children and threads: whose time is counted, and who waits for whom. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void spin(void)
{
	struct rusage used;
	do
		getrusage(RUSAGE_SELF, &used);
	while (used.ru_utime.tv_sec == 0 && used.ru_utime.tv_usec + used.ru_stime.tv_usec < 30000);
	_exit(0);
}

static int children_time(void)
{
	struct rusage used;
	getrusage(RUSAGE_CHILDREN, &used);
	return used.ru_utime.tv_sec > 0 || used.ru_utime.tv_usec + used.ru_stime.tv_usec > 15000;
}

/* Nobody waits for children whose SIGCHLD is ignored: they aren't counted. */
static void ignored(void)
{
	signal(SIGCHLD, SIG_IGN);
	if (fork() == 0)
		spin();
	int waited = wait(NULL);
	printf("wait %d, errno %d, counted %d\n", waited, errno, children_time());
	signal(SIGCHLD, SIG_DFL);
	if (fork() == 0)
		spin();
	waited = wait(NULL) > 0;
	printf("wait %d, counted %d\n", waited, children_time());
}

static int start(void *path)
{
	char *args[] = { path, "alone", NULL };
	execv(path, args);
	_exit(9);
}

/* The first thread waits in vfork for another one, whose exec is its end. */
static void exec_beside_vfork(void)
{
	int status = -1, pid = fork();
	if (pid == 0) {
		char *stack = malloc(65536);
		alarm(30);
		clone(start, stack + 65536,
		      CLONE_FILES | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_VM | CLONE_VFORK, "/proc/self/exe");
		_exit(8);
	}
	waitpid(pid, &status, 0);
	printf("exec beside vfork: %x\n", status);
}

static void zombie(void)
{
	char path[64], line[256];
	siginfo_t info;
	int pid = fork();
	if (pid == 0)
		_exit(0);
	waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *status = fopen(path, "r");
	while (fgets(line, sizeof line, status))
		if (strncmp(line, "Threads", 7) == 0)
			printf("%s", line);
	fclose(status);
	waitpid(pid, NULL, 0);
}

/* Somebody else's memory map and files are none of one's business. */
static void strangers(void)
{
	static const char *const names[] = { "maps", "smaps", "status", "stat" };
	static const char *const links[] = { "exe", "cwd", "root" };
	if (fork() == 0) {
		char path[64], target[256];
		int parent = getppid();
		setgid(1000);
		setuid(1000);
		for (int i = 0; i < 4; i++) {
			snprintf(path, sizeof path, "/proc/%d/%s", parent, names[i]);
			int fd = open(path, O_RDONLY);
			printf("%s: %s, ", names[i], fd < 0 ? strerror(errno) : "open");
			snprintf(path, sizeof path, "/proc/self/%s", names[i]);
			printf("own %d\n", open(path, O_RDONLY) >= 0);
		}
		for (int i = 0; i < 3; i++) {
			snprintf(path, sizeof path, "/proc/%d/%s", parent, links[i]);
			int len = readlink(path, target, sizeof target);
			printf("%s: %s\n", links[i], len < 0 ? strerror(errno) : "a link");
		}
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

int main(int count, char **args)
{
	(void)args;
	if (count > 1)
		return 7;
	setvbuf(stdout, NULL, _IOLBF, 0);
	ignored();
	exec_beside_vfork();
	zombie();
	strangers();
	return 0;
}
