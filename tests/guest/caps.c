/* Capabilities: capget and capset, what user IDs and exec do to them, bounding and ambient sets, securebits; set-user-ID programs; clone3's
   set_tid. Checks nothing that a container's root may lack. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
	uint64_t e, p, i;
} sets;

static uint64_t all;

static int get(sets *s, int pid) {
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, pid };
	struct __user_cap_data_struct d[2];
	int r = syscall(SYS_capget, &h, d);
	if (r == 0)
		*s = (sets){ d[0].effective | (uint64_t)d[1].effective << 32, d[0].permitted | (uint64_t)d[1].permitted << 32,
			     d[0].inheritable | (uint64_t)d[1].inheritable << 32 };
	return r < 0 ? -errno : r;
}

static int set(sets s) {
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { s.e, s.p, s.i }, { s.e >> 32, s.p >> 32, s.i >> 32 } };
	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

static const char *name(uint64_t s) {
	static char text[4][32];
	static int next;
	char *t = text[next++ % 4];
	if (s == all)
		return "all";
	snprintf(t, 32, "%llx", (unsigned long long)s);
	return t;
}

static void show(const char *what) {
	sets s;
	get(&s, 0);
	printf("%s: effective %s", what, name(s.e));
	printf(", permitted %s", name(s.p));
	printf(", inheritable %s\n", name(s.i));
}

#define IN_CHILD(code)                  \
	do {                            \
		fflush(stdout);         \
		if (fork() == 0) {      \
			code;           \
			fflush(stdout); \
			_exit(0);       \
		}                       \
		wait(NULL);             \
	} while (0)

static int error(int r) {
	return r < 0 ? errno : 0;
}

static void versions(void) {
	struct __user_cap_header_struct h = { 0x1234, 0 };
	struct __user_cap_data_struct d[2];
	int r = syscall(SYS_capget, &h, NULL);
	printf("unknown version, no data: %d, version %x\n", r, h.version);
	h.version = 1;
	r = syscall(SYS_capget, &h, d);
	printf("unknown version: %d %d, version %x\n", r, errno, h.version);
	h.version = 1;
	r = syscall(SYS_capset, &h, d);
	printf("set: %d %d, version %x\n", r, errno, h.version);
	h = (struct __user_cap_header_struct){ _LINUX_CAPABILITY_VERSION_1, 0 };
	memset(d, 0x55, sizeof d);
	r = syscall(SYS_capget, &h, d);
	printf("version 1: %d, second word untouched %d\n", r, d[1].effective == 0x55555555);
	h = (struct __user_cap_header_struct){ _LINUX_CAPABILITY_VERSION_3, -1 };
	printf("negative: %d\n", error(syscall(SYS_capget, &h, d)));
	h.pid = 999999;
	printf("nobody: %d\n", error(syscall(SYS_capget, &h, d)));
	printf("set of another: %d\n", error(syscall(SYS_capset, &h, d)));
	printf("bad addresses: %d", error(syscall(SYS_capget, 8, d)));
	h.pid = 0;
	printf(" %d\n", error(syscall(SYS_capget, &h, 8)));
	sets s;
	printf("parent: %d\n", get(&s, getppid()) == 0 || 1);
}

static void drops(void) {
	sets s;
	get(&s, 0);
	set((sets){ 0, s.p, 0 });
	show("nothing effective");
	printf("chown %d, setuid %d, hostname %d\n", error(chown("file", 5, 5)), error(setresuid(5, 5, 5)), error(sethostname("x", 1)));
	printf("raised again: %d\n", set((sets){ s.p, s.p, 0 }));
	set((sets){ 1 << CAP_CHOWN, 1 << CAP_CHOWN, 0 });
	show("only CAP_CHOWN");
	printf("more: %d\n", set((sets){ 3, 3, 0 }));
	printf("effective beyond permitted: %d\n", set((sets){ 3, 1, 0 }));
	printf("inheritable: %d", set((sets){ 1, 1, 1 }));
	printf(", out of it: %d\n", set((sets){ 1, 1, 2 }));
	printf("chown %d, chroot %d, mknod %d\n", error(chown("file", 5, 5)), error(chroot("/")), error(mknod("device", S_IFCHR | 0600, 0x103)));
	chmod("file", 0600);
	printf("chmod %d, open %d\n", error(chmod("file", 0644)), error(open("private", O_RDONLY)));
}

static void ids(void) {
	setresuid(-1, 1000, -1);
	show("acting as a user");
	setresuid(-1, 0, -1);
	show("back");
	IN_CHILD(setresuid(1000, 1000, 1000); show("a user"));
	IN_CHILD(prctl(PR_SET_KEEPCAPS, 1); setresuid(1000, 1000, 1000); show("a user that keeps them"); printf("keep %d\n", prctl(PR_GET_KEEPCAPS)));
	IN_CHILD(setfsuid(1000); sets s; get(&s, 0); printf("fsuid: without %llx\n", (unsigned long long)(all & ~s.e)); setfsuid(0); show("fsuid back"));
	IN_CHILD(setgid(1000); show("another group"));
	IN_CHILD(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP); setresuid(1000, 1000, 1000); show("no fix-up"));
	IN_CHILD(prctl(PR_SET_PDEATHSIG, SIGUSR1); prctl(PR_SET_DUMPABLE, 1); setresuid(1000, 1000, 1000); int s = -1; prctl(PR_GET_PDEATHSIG, &s);
		 printf("dumpable %d, death signal %d\n", prctl(PR_GET_DUMPABLE), s));
}

static void operations(void) {
	printf("bounding %d %d", prctl(PR_CAPBSET_READ, CAP_KILL), prctl(PR_CAPBSET_READ, 40));
	printf(" %d\n", error(prctl(PR_CAPBSET_READ, 41)));
	printf("drop %d", prctl(PR_CAPBSET_DROP, CAP_SYS_TIME));
	printf(" %d, read %d\n", error(prctl(PR_CAPBSET_DROP, 99)), prctl(PR_CAPBSET_READ, CAP_SYS_TIME));
	printf("inheritable beyond: %d\n", set((sets){ all, all, 1 << CAP_SYS_TIME }));
	printf("ambient: raise %d", error(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)));
	set((sets){ all, all, 1 << CAP_KILL });
	printf(" %d", error(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)));
	printf(", set %d %d", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0));
	printf(", bad %d", error(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 77, 0, 0)));
	printf(" %d", error(prctl(PR_CAP_AMBIENT, 9, 0, 0, 0)));
	printf(" %d\n", error(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0)));
	prctl(PR_SET_KEEPCAPS, 1);
	setresuid(1000, 1000, 1000);
	printf("ambient of a user %d", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
	printf(", raise %d\n", error(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)));
	fflush(stdout);
	execl("/proc/self/exe", "caps", "show", NULL);
}

static void secure_bits(void) {
	printf("securebits %d", prctl(PR_GET_SECUREBITS));
	printf(", set %d", error(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED)));
	printf(", unset %d", error(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED)));
	printf(", unlock %d", error(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)));
	printf(", unknown %d", error(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | 0x10000)));
	printf(", now %d\n", prctl(PR_GET_SECUREBITS));
	fflush(stdout);
	execl("/proc/self/exe", "caps", "show", NULL);
}

static void copy(const char *from, const char *to, int mode) {
	static char buffer[1 << 16];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	ssize_t n;
	while ((n = read(in, buffer, sizeof buffer)) > 0)
		if (write(out, buffer, n) != n)
			exit(1);
	close(in);
	close(out);
	chmod(to, mode);
}

static void set_id(void) {
	copy("/proc/self/exe", "setuid", 04755);
	chmod(".", 0755);
	IN_CHILD(setresuid(1000, 1000, 1000); execl("setuid", "caps", "show", NULL));
	IN_CHILD(setresuid(1000, 1000, 1000); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); execl("setuid", "caps", "show", NULL));
	chown("setuid", 1001, 1002);
	chmod("setuid", 06755);
	IN_CHILD(setresgid(1000, 1000, 1000); setresuid(1000, 1000, 1000); execl("setuid", "caps", "show", NULL));
	IN_CHILD(execl("setuid", "caps", "show", NULL));
	chmod("setuid", 02745);
	IN_CHILD(setresgid(1000, 1000, 1000); setresuid(1000, 1000, 1000); execl("setuid", "caps", "show", NULL));
	unlink("setuid");
}

static int clone_as(pid_t *tids, size_t n) {
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)tids, .set_tid_size = n };
	int pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(getpid() == *tids ? 7 : 1);
	return pid < 0 ? -errno : pid;
}

static void chosen_numbers(void) {
	pid_t free_one = 31007, own = getpid(), zero = 0, large = 1 << 30;
	int status;
	int pid;
	/* On a busy machine somebody may have it. */
	while ((pid = clone_as(&free_one, 1)) == -EEXIST)
		free_one++;
	waitpid(pid, &status, 0);
	printf("set_tid: as asked %d, status %d\n", pid == free_one, WEXITSTATUS(status));
	printf("taken %d, zero %d, large %d, bad address %d\n", clone_as(&own, 1), clone_as(&zero, 1), clone_as(&large, 1), clone_as((pid_t *)8, 1));
	printf("without size %d, without tids %d, levels %d\n", clone_as(&free_one, 0), clone_as(NULL, 1), clone_as(&free_one, 33));
	IN_CHILD(setresuid(1000, 1000, 1000); printf("a user: %d\n", clone_as(&free_one, 1)));
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = 999 };
	printf("into no cgroup: %d", error(syscall(SYS_clone3, &args, sizeof args)));
	args.cgroup = open("/", O_RDONLY);
	printf(" %d\n", error(syscall(SYS_clone3, &args, sizeof args)));
}

int main(int argc, char **argv) {
	sets s;
	get(&s, 0);
	if (argc > 1 && !strcmp(argv[1], "show")) {
		/* Not in words of "all": this may be another user. */
		uint32_t known = 1 << CAP_KILL | 1 << CAP_CHOWN | 1 << CAP_SETUID;
		printf("after exec: effective %x, permitted %x, inheritable %x; uid %d %d, gid %d %d; secure %ld, securebits %d, dumpable %d\n",
		       (uint32_t)s.e & known, (uint32_t)s.p & known, (uint32_t)s.i & known, getuid(), geteuid(), getgid(), getegid(), getauxval(AT_SECURE),
		       prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE));
		return 0;
	}
	all = s.p;
	show("root");
	close(open("file", O_CREAT | O_WRONLY, 0644));
	close(open("private", O_CREAT | O_WRONLY, 0));
	chown("private", 1234, 1234);
	versions();
	IN_CHILD(drops());
	IN_CHILD(ids());
	IN_CHILD(operations());
	IN_CHILD(secure_bits());
	set_id();
	chosen_numbers();
	unlink("file");
	unlink("private");
	return 0;
}
