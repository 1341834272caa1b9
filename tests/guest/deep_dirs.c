/* Directories in directories: a long way up that goes all at once, and one that must not go on for ever. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVELS 3000

/* All of them are removed, and live on because the last one is open. */
static void chain(void)
{
	int made = 0, removed = 0;
	while (made < LEVELS && mkdir("d", 0755) == 0 && chdir("d") == 0)
		made++;
	int fd = open(".", O_RDONLY | O_DIRECTORY);
	while (removed < LEVELS && chdir("..") == 0 && rmdir("d") == 0)
		removed++;
	struct stat st;
	int gone = fstat(fd, &st) == 0 && st.st_nlink == 0;
	close(fd);
	printf("made %d, removed %d, gone %d\n", made, removed, gone);
}

static int depth(const char *path, int at)
{
	int most = at;
	DIR *dir = at < 20 ? opendir(path) : NULL;
	if (!dir)
		return at;
	for (struct dirent *entry; (entry = readdir(dir));) {
		char below[512];
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
		int reached = depth(below, at + 1);
		most = reached > most ? reached : most;
	}
	closedir(dir);
	return most;
}

static void threads(void)
{
	char path[64];
	struct stat st;
	printf("depth of /proc ends: %d\n", depth("/proc", 0) < 10);
	snprintf(path, sizeof path, "/proc/self/task/%d/task", getpid());
	int found = stat(path, &st);
	printf("task below task: %d %s\n", found, strerror(errno));
	snprintf(path, sizeof path, "/proc/self/task/%d/status", getpid());
	printf("status below task: %d\n", stat(path, &st));
	snprintf(path, sizeof path, "/proc/%d/task", getpid());
	printf("task: %d\n", stat(path, &st));
}

int main(void)
{
	chain();
	threads();
	return 0;
}
