/* RLIMIT_CPU (musl only: it takes seconds): SIGXCPU at the soft limit, which a child inherits, and SIGKILL at the hard one. */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t xcpu;

static void on_xcpu(int sig) {
	(void)sig;
	xcpu++;
}

static long used(void) {
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

int main(void) {
	struct rlimit l = { 1, 2 };
	setrlimit(RLIMIT_CPU, &l);
	if (fork() == 0) {
		signal(SIGXCPU, on_xcpu);
		while (!xcpu)
			;
		getrlimit(RLIMIT_CPU, &l);
		printf("SIGXCPU after a second: %d, soft limit now %d\n", used() >= 400 && used() < 1900, (int)l.rlim_cur);
		fflush(stdout);
		for (;;)
			;
	}
	int status;
	wait(&status);
	printf("hard limit: signal %d\n", WTERMSIG(status));
	return 0;
}
