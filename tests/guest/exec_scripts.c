/* Scripts: what the interpreter is given, what the program is called, and what is too much. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char exe[256];

static void script(const char *name, const char *text) {
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700);
	if (write(fd, text, strlen(text)) < 0)
		_exit(1);
	close(fd);
}

static void run(const char *path, char *const argv[]) {
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		execv(path, argv);
		printf("%s: %s\n", path, strerror(errno));
		exit(9);
	}
	int status;
	waitpid(pid, &status, 0);
	printf("status %#x\n", status);
}

static void interpreted(int argc, char **argv) {
	char comm[20] = "", name[20] = "";
	FILE *file = fopen("/proc/self/comm", "r");
	if (!fgets(comm, sizeof comm, file))
		exit(2);
	prctl(PR_GET_NAME, name);
	char link[256];
	ssize_t len = readlink("/proc/self/exe", link, sizeof link - 1);
	link[len > 0 ? len : 0] = 0;
	const char *last = strrchr(link, '/');
	if (argc == 3 && strncmp(argv[1], "args yyy", 8) == 0) {
		printf("the line had %zu bytes\n", 3 + strlen(exe) + strlen(argv[1]));
		return;
	}
	/* What comm is then has changed in Linux 6.14. */
	if (strncmp((char *)getauxval(AT_EXECFN), "/dev/fd/", 8) == 0)
		strcpy(comm, strcpy(name, "-"));
	printf("EXECFN %s, comm %.*s %s, exe %s, arguments", (char *)getauxval(AT_EXECFN), (int)strcspn(comm, "\n"), comm, name, last ? last + 1 : link);
	for (int i = 0; i < argc; i++)
		printf(" [%s]", strcmp(argv[i], exe) == 0 ? "itself" : argv[i]);
	puts("");
}

static void many(size_t bytes, rlim_t limit) {
	static char text[120000];
	memset(text, 'x', bytes);
	text[bytes] = 0;
	printf("%zu bytes with a stack of %lu: ", bytes, (unsigned long)limit);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit stack = { limit, RLIM_INFINITY };
		setrlimit(RLIMIT_STACK, &stack);
		char *argv[] = { "many", text, NULL }, *env[] = { NULL };
		execve(exe, argv, env);
		printf("%s\n", strerror(errno));
		exit(0);
	}
	wait(NULL);
}

int main(int argc, char **argv) {
	exe[readlink("/proc/self/exe", exe, sizeof exe - 1)] = 0;
	if (argc > 1 && strcmp(argv[0], "many") == 0) {
		printf("%zu arrived\n", strlen(argv[1]));
		return 0;
	}
	if (argc > 1) {
		interpreted(argc, argv);
		return 3;
	}
	char line[600];
	snprintf(line, sizeof line, "#!%s first second\n", exe);
	script("one", line);
	run("./one", (char *[]){ "zero", "last", NULL });
	char cwd[256];
	if (!getcwd(cwd, sizeof cwd))
		return 1;
	snprintf(line, sizeof line, "#!%s/one deeper\n", cwd);
	script("two-of-a-long-name", line);
	run("two-of-a-long-name", (char *[]){ "zero", NULL });
	script("relative", "#! ./two-of-a-long-name");
	run("./relative", (char *[]){ "zero", "a", "b", NULL });
	/* Through descriptors: one that stays open, and one that is closed before the interpreter could use it. */
	extern char **environ;
	for (int i = 0; i < 2; i++) {
		printf("%s: ", i ? "closing" : "staying");
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			int fd = open("one", i ? O_RDONLY | O_CLOEXEC : O_RDONLY);
			dup3(fd, 77, i ? O_CLOEXEC : 0);
			char *args[] = { "zero", NULL };
			fexecve(77, args, environ);
			printf("%s\n", strerror(errno));
			exit(0);
		}
		wait(NULL);
	}
	/* A line longer than what is looked at. */
	memset(line, 'y', sizeof line);
	int start = snprintf(line, sizeof line, "#!%s args ", exe);
	line[start] = 'y';
	line[sizeof line - 2] = '\n';
	line[sizeof line - 1] = 0;
	script("long", line);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		execl("long", "zero", NULL);
		exit(9);
	}
	wait(NULL);
	many(5000, 4096);
	many(70000, 65536);
	many(70000, 1 << 20);
	return 0;
}
