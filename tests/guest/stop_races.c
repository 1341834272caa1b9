/* SIGSTOP, SIGCONT and an end in quick succession, to a child that runs on another CPU: the last word counts. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(void)
{
	int pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static int races(void)
{
	int ended = 0;
	for (int i = 0; i < 50; i++) {
		int pid = child(), status = 0;
		for (int pairs = 0; pairs <= i % 4; pairs++) {
			kill(pid, SIGSTOP);
			kill(pid, SIGCONT);
		}
		kill(pid, SIGTERM);
		alarm(20);
		waitpid(pid, &status, WUNTRACED);
		ended += WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	}
	return ended;
}

int main(void)
{
	for (int i = 0; i < 6; i++)
		if (fork() == 0)
			_exit(races());
	for (int i = 0; i < 6; i++) {
		int status;
		wait(&status);
		printf("ended: %d\n", WEXITSTATUS(status));
	}
	fflush(stdout);

	/* A stop that nobody asked about is no news of somebody who is dead. */
	siginfo_t info = { 0 };
	int pid = child();
	kill(pid, SIGSTOP);
	waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT);
	printf("stopped: %d\n", info.si_code == CLD_STOPPED);
	kill(pid, SIGKILL);
	waitid(P_PID, pid, &info, WEXITED | WSTOPPED | WNOWAIT);
	printf("killed: %d\n", info.si_code == CLD_KILLED);
	info.si_pid = 0;
	int found = waitid(P_PID, pid, &info, WSTOPPED | WCONTINUED | WNOHANG);
	printf("of the dead: %d %d\n", found < 0 ? -errno : found, info.si_pid);
	return 0;
}
