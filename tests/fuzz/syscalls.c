/* A system call fuzzer: random numbers, arguments and pointers, the same for the same seed. What it calls may fail in any way and kill
 * who calls; the kernel must go on. It is for a machine of its own, since it does whatever it can to the machine it runs on.
 *
 *   syscalls SEED CALLS [FIRST-BATCH] [v]
 *
 * A batch is a child process that starts from fresh descriptors and mappings; `v` prints each call before it is made. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 64, CALLS_PER_BATCH = 400, FDS = 28, CLONE_VM_ = 0x100 };

static struct shared {
	volatile uint64_t calls;
	volatile uint64_t heartbeat;
	volatile uint64_t succeeded;
} *shared;

static uint64_t rng_state;
static int verbose;
static uint64_t succeeded;

static uint64_t next(void) {
	rng_state += 0x9e3779b97f4a7c15;
	uint64_t z = rng_state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static unsigned below(unsigned n) { return (unsigned)(next() >> 33) % n; }
static int chance(unsigned percent) { return below(100) < percent; }

#define PICK(array) ((array)[below(sizeof(array) / sizeof *(array))])

/* What each call takes, a letter for each argument:
 * f descriptor  d directory descriptor  p path  b buffer  l length  i small number  x flags  o offset  n process  g signal
 * a address in the arena  k its length  t timespec or timeval  v iovec  c its count  P pollfd  F fd_set  S signal set  A sigaction
 * s structure of small numbers  u futex word  z 8, a signal set's size  m mode  w whole random number  e string array  C clone_args */
static const struct { short number; const char *takes; } CALLS[] = {
	{ SYS_read, "fbl" }, { SYS_write, "fbl" }, { SYS_open, "pxm" }, { SYS_close, "f" }, { SYS_stat, "pb" }, { SYS_fstat, "fb" },
	{ SYS_lstat, "pb" }, { SYS_poll, "Pii" }, { SYS_lseek, "foi" }, { SYS_mmap, "akixfo" }, { SYS_mprotect, "aki" },
	{ SYS_munmap, "ak" }, { SYS_brk, "w" }, { SYS_rt_sigaction, "gAbz" }, { SYS_rt_sigprocmask, "iSbz" }, { SYS_ioctl, "fIs" },
	{ SYS_pread64, "fblo" }, { SYS_pwrite64, "fblo" }, { SYS_readv, "fvc" }, { SYS_writev, "fvc" }, { SYS_access, "pi" },
	{ SYS_pipe, "b" }, { SYS_select, "iFFFt" }, { SYS_sched_yield, "" }, { SYS_mremap, "akkia" }, { SYS_msync, "aki" },
	{ SYS_mincore, "akb" }, { SYS_madvise, "aki" }, { SYS_shmget, "ilx" }, { SYS_shmat, "iax" }, { SYS_shmctl, "iis" },
	{ SYS_dup, "f" }, { SYS_dup2, "ff" }, { SYS_pause, "" }, { SYS_nanosleep, "tb" }, { SYS_getitimer, "ib" }, { SYS_alarm, "i" },
	{ SYS_setitimer, "itb" }, { SYS_sendfile, "ffsl" }, { SYS_socket, "iii" }, { SYS_connect, "fsl" }, { SYS_accept, "fsb" },
	{ SYS_sendto, "fblxsl" }, { SYS_recvfrom, "fblxsb" }, { SYS_sendmsg, "fsx" }, { SYS_recvmsg, "fsx" }, { SYS_shutdown, "fi" },
	{ SYS_bind, "fsl" }, { SYS_listen, "fi" }, { SYS_getsockname, "fbb" }, { SYS_getpeername, "fbb" }, { SYS_socketpair, "iiib" },
	{ SYS_setsockopt, "fiisl" }, { SYS_getsockopt, "fiibb" }, { SYS_clone, "yaaaa" }, { SYS_fork, "" }, { SYS_vfork, "" },
	{ SYS_execve, "pee" }, { SYS_exit, "i" }, { SYS_wait4, "nbib" }, { SYS_kill, "ng" }, { SYS_uname, "b" }, { SYS_semget, "iix" },
	{ SYS_semop, "isi" }, { SYS_semctl, "iiis" }, { SYS_shmdt, "a" }, { SYS_msgget, "ix" }, { SYS_msgsnd, "ibli" },
	{ SYS_msgrcv, "iblii" }, { SYS_msgctl, "iis" }, { SYS_fcntl, "fis" }, { SYS_flock, "fi" }, { SYS_fsync, "f" },
	{ SYS_fdatasync, "f" }, { SYS_truncate, "po" }, { SYS_ftruncate, "fo" }, { SYS_getdents, "fbl" }, { SYS_getcwd, "bl" },
	{ SYS_chdir, "p" }, { SYS_fchdir, "f" }, { SYS_rename, "pp" }, { SYS_mkdir, "pm" }, { SYS_rmdir, "p" }, { SYS_creat, "pm" },
	{ SYS_link, "pp" }, { SYS_unlink, "p" }, { SYS_symlink, "pp" }, { SYS_readlink, "pbl" }, { SYS_chmod, "pm" },
	{ SYS_fchmod, "fm" }, { SYS_chown, "pii" }, { SYS_fchown, "fii" }, { SYS_lchown, "pii" }, { SYS_umask, "m" },
	{ SYS_gettimeofday, "bb" }, { SYS_getrlimit, "ib" }, { SYS_getrusage, "ib" }, { SYS_sysinfo, "b" }, { SYS_times, "b" },
	{ SYS_ptrace, "inaa" }, { SYS_getuid, "" }, { SYS_syslog, "ibl" }, { SYS_setpgid, "nn" }, { SYS_getppid, "" }, { SYS_setsid, "" },
	{ SYS_getgroups, "ib" }, { SYS_setgroups, "is" }, { SYS_getresuid, "bbb" }, { SYS_getpgid, "n" }, { SYS_getsid, "n" },
	{ SYS_capget, "bb" }, { SYS_capset, "bb" }, { SYS_rt_sigpending, "bz" }, { SYS_rt_sigtimedwait, "Sbtz" },
	{ SYS_rt_sigqueueinfo, "ngs" }, { SYS_rt_sigsuspend, "Sz" }, { SYS_sigaltstack, "sb" }, { SYS_utime, "pb" }, { SYS_mknod, "pmi" },
	{ SYS_personality, "i" }, { SYS_statfs, "pb" }, { SYS_fstatfs, "fb" }, { SYS_getpriority, "in" }, { SYS_setpriority, "ini" },
	{ SYS_sched_setparam, "ns" }, { SYS_sched_getparam, "nb" }, { SYS_sched_setscheduler, "nis" }, { SYS_sched_getscheduler, "n" },
	{ SYS_sched_get_priority_max, "i" }, { SYS_sched_rr_get_interval, "nb" }, { SYS_mlock, "ak" }, { SYS_munlock, "ak" },
	{ SYS_mlockall, "i" }, { SYS_pivot_root, "pp" }, { SYS_prctl, "iaaaa" }, { SYS_arch_prctl, "Ra" }, { SYS_adjtimex, "s" },
	{ SYS_setrlimit, "is" }, { SYS_chroot, "p" }, { SYS_sync, "" }, { SYS_settimeofday, "tb" }, { SYS_mount, "pppxb" },
	{ SYS_umount2, "pi" }, { SYS_sethostname, "bl" }, { SYS_gettid, "" }, { SYS_readahead, "fol" }, { SYS_setxattr, "ppbli" },
	{ SYS_fsetxattr, "fpbli" }, { SYS_getxattr, "ppbl" }, { SYS_listxattr, "pbl" }, { SYS_removexattr, "pp" }, { SYS_tkill, "ng" },
	{ SYS_time, "b" }, { SYS_futex, "uiituw" }, { SYS_futex, "uXituw" }, { SYS_sched_setaffinity, "nlb" },
	{ SYS_sched_getaffinity, "nlb" }, { SYS_io_setup, "ib" }, { SYS_epoll_create, "i" }, { SYS_remap_file_pages, "akiix" },
	{ SYS_getdents64, "fbl" }, { SYS_set_tid_address, "b" }, { SYS_restart_syscall, "" }, { SYS_semtimedop, "isit" },
	{ SYS_fadvise64, "foli" }, { SYS_timer_create, "isb" }, { SYS_timer_settime, "iitb" }, { SYS_timer_gettime, "ib" },
	{ SYS_timer_getoverrun, "i" }, { SYS_timer_delete, "i" }, { SYS_clock_settime, "it" }, { SYS_clock_gettime, "ib" },
	{ SYS_clock_getres, "ib" }, { SYS_clock_nanosleep, "iitb" }, { SYS_exit_group, "i" }, { SYS_epoll_wait, "fbii" },
	{ SYS_epoll_ctl, "fifs" }, { SYS_tgkill, "nng" }, { SYS_utimes, "pt" }, { SYS_mq_open, "pxms" }, { SYS_mq_unlink, "p" },
	{ SYS_mq_timedsend, "fblit" }, { SYS_mq_timedreceive, "fblbt" }, { SYS_mq_notify, "fs" }, { SYS_mq_getsetattr, "fsb" },
	{ SYS_waitid, "inbib" }, { SYS_add_key, "ppbli" }, { SYS_ioprio_set, "ini" }, { SYS_inotify_init, "" },
	{ SYS_inotify_add_watch, "fpx" }, { SYS_inotify_rm_watch, "fi" }, { SYS_openat, "dpxm" }, { SYS_mkdirat, "dpm" },
	{ SYS_mknodat, "dpmi" }, { SYS_fchownat, "dpiix" }, { SYS_futimesat, "dpt" }, { SYS_newfstatat, "dpbx" },
	{ SYS_unlinkat, "dpx" }, { SYS_renameat, "dpdp" }, { SYS_linkat, "dpdpx" }, { SYS_symlinkat, "pdp" }, { SYS_readlinkat, "dpbl" },
	{ SYS_fchmodat, "dpm" }, { SYS_faccessat, "dpi" }, { SYS_pselect6, "iFFFts" }, { SYS_ppoll, "PitSz" }, { SYS_unshare, "x" },
	{ SYS_set_robust_list, "sl" }, { SYS_get_robust_list, "nbb" }, { SYS_splice, "fsfslx" }, { SYS_tee, "fflx" },
	{ SYS_sync_file_range, "fooi" }, { SYS_vmsplice, "fvcx" }, { SYS_move_pages, "niaaai" }, { SYS_utimensat, "dptx" },
	{ SYS_epoll_pwait, "fbiiSz" }, { SYS_signalfd, "fSz" }, { SYS_timerfd_create, "ix" }, { SYS_eventfd, "i" },
	{ SYS_fallocate, "fioo" }, { SYS_timerfd_settime, "fitb" }, { SYS_timerfd_gettime, "fb" }, { SYS_accept4, "fsbx" },
	{ SYS_signalfd4, "fSzx" }, { SYS_eventfd2, "ix" }, { SYS_epoll_create1, "x" }, { SYS_dup3, "ffx" }, { SYS_pipe2, "bx" },
	{ SYS_inotify_init1, "x" }, { SYS_preadv, "fvco" }, { SYS_pwritev, "fvco" }, { SYS_rt_tgsigqueueinfo, "nngs" },
	{ SYS_recvmmsg, "fsixt" }, { SYS_prlimit64, "nisb" }, { SYS_clock_adjtime, "is" }, { SYS_syncfs, "f" }, { SYS_sendmmsg, "fsix" },
	{ SYS_setns, "fx" }, { SYS_getcpu, "bb" }, { SYS_process_vm_readv, "nvcvci" }, { SYS_process_vm_writev, "nvcvci" },
	{ SYS_kcmp, "nniff" }, { SYS_sched_setattr, "nsi" }, { SYS_sched_getattr, "nbli" }, { SYS_renameat2, "dpdpx" },
	{ SYS_seccomp, "iis" }, { SYS_getrandom, "blx" }, { SYS_memfd_create, "px" }, { SYS_execveat, "dpeex" },
	{ SYS_membarrier, "xii" }, { SYS_mlock2, "akx" }, { SYS_copy_file_range, "fsfslx" }, { SYS_preadv2, "fvcoix" },
	{ SYS_pwritev2, "fvcoix" }, { SYS_statx, "dpxwb" }, { SYS_rseq, "bliw" }, { 424, "fgsx" }, { 434, "nx" }, { 435, "Cl" },
	{ 436, "iix" }, { 437, "dpsl" }, { 438, "ffx" }, { 439, "dpix" }, { 440, "fvcix" }, { 441, "fbitSz" }, { 449, "siiti" },
	{ 451, "fsbx" }, { 452, "dpmx" },
};

static char *arena; /* PAGES pages: readable and writable, read-only, PROT_NONE, and holes, as set_up left them */
static int fd_limit;

static const char *const PATHS[] = {
	"a", "b", "c", "d", "d/a", "d/b", "d/e", "l", "m", "f", ".", "..", "/", "", "a/b", "./d/../a", "//d//a/", "d/", "x",
	"/proc/self/maps", "/proc/self/fd/3", "/proc/self/mem", "/proc/self/status", "/proc/self/exe", "/proc/1/stat", "/proc/meminfo",
	"/proc/self/fd", "/proc", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/pts/0", "/dev/urandom", "/dev/shm/q",
	"/proc/sys/kernel/pid_max", "/proc/self/task", "/proc/self/cwd/a", "/dev/fd/1", "tmpfs", "proc", "devtmpfs", "/w", "/tmp", "/tmp/x",
	"/proc/self/comm", "/proc/self/root/w", "user.x", "/proc/cpuinfo", "/proc/mounts", "/proc/self/environ", "/proc/self/oom_score_adj",
};

/* Somewhere in the arena: most often well inside, often just before a border. */
static uint64_t place(void) {
	uint64_t page = (uint64_t)arena + (uint64_t)below(PAGES) * PAGE;
	switch (below(4)) {
	case 0: return page;
	case 1: return page + PAGE - 1 - below(64);
	case 2: return page + below(PAGE);
	default: return page + below(PAGE / 8) * 8;
	}
}

/* Where writing is possible, with room behind it, unless a call has changed that. */
static uint64_t *good(void) { return (uint64_t *)(arena + below(8) * PAGE + below(128) * 8); }

static uint64_t wild(void) {
	static const uint64_t values[] = {
		0, 1, 2, ~0ull, ~0ull - 1, 1ull << 63, (1ull << 63) - 1, 1ull << 31, (1ull << 31) - 1, 0xffffffff, 0x7fffffffe000, 0x7ffffffff000,
		0x7ffffffff001, 0x800000000000, 0xffff800000000000, 0xffff800000100000, 0xffffffff80100000, 0xfffffffffffff000, 0x1000, 0xffff, 0x10000,
	};
	switch (below(4)) {
	case 0: return next();
	case 1: return next() >> below(64);
	case 2: return PICK(values) + (chance(30) ? below(64) - 32 : 0);
	default: return PICK(values);
	}
}

static uint64_t length(void) {
	static const uint32_t values[] = { 0, 1, 2, 4, 8, 12, 16, 24, 32, 64, 100, 128, 144, 256, 4095, 4096, 4097, 8192, 65536, 65537, 1 << 20 };
	return chance(4) ? wild() : chance(50) ? below(300) : PICK(values);
}

static uint64_t number(void) { return chance(3) ? wild() : chance(70) ? below(9) : chance(50) ? below(64) : (uint64_t)-1; }

static uint64_t descriptor(void) { return chance(2) ? wild() : below(fd_limit); }

static uint64_t flags(void) {
	uint64_t bits = 0;
	for (unsigned n = below(5); n; n--)
		bits |= 1ull << below(chance(90) ? 22 : 32);
	return chance(2) ? wild() : bits;
}

static uint64_t structure(void) {
	uint64_t *at = good();
	if (chance(10))
		return place();
	for (int i = 0; i < 24; i++) {
		switch (below(7)) {
		case 0: at[i] = 0; break;
		case 1: at[i] = place(); break;
		case 2: at[i] = (uint64_t)good(); break;
		case 3: at[i] = wild(); break;
		case 4: at[i] = length(); break;
		default: at[i] = below(16) | (chance(30) ? (uint64_t)below(40) << 32 : 0);
		}
	}
	return (uint64_t)at;
}

static uint64_t timespec(void) {
	uint64_t *at = good();
	if (chance(20))
		return chance(70) ? 0 : place();
	for (int i = 0; i < 4; i += 2) {
		at[i] = chance(95) ? 0 : wild();
		at[i + 1] = chance(95) ? below(2000000) : wild();
	}
	return (uint64_t)at;
}

static uint64_t iovec(void) {
	uint64_t *at = good();
	if (chance(5))
		return place();
	for (int i = 0; i < 32; i += 2) {
		at[i] = chance(70) ? (uint64_t)good() : place();
		at[i + 1] = length();
	}
	return (uint64_t)at;
}

static uint64_t pollfds(void) {
	uint64_t *at = good();
	for (int i = 0; i < 8; i++)
		at[i] = (uint32_t)descriptor() | (uint64_t)below(64) << 32;
	return chance(90) ? (uint64_t)at : place();
}

static uint64_t strings(void) {
	uint64_t *at = good();
	for (int i = 0; i < 4; i++)
		at[i] = chance(90) ? (uint64_t)PICK(PATHS) : place();
	at[4] = 0;
	return chance(90) ? (uint64_t)at : place();
}

static uint64_t path(void) {
	static char name[8192];
	if (chance(90))
		return (uint64_t)PICK(PATHS);
	if (chance(50))
		return place();
	memset(name, chance(50) ? 'n' : '/', sizeof name);
	name[chance(50) ? 255 + below(3) : 4094 + below(4)] = 0;
	return (uint64_t)name;
}

/* A process: one of ours, never the parent, which is number 1. */
static uint64_t process(void) {
	switch (below(4)) {
	case 0: return 0;
	case 1: return 2 + below(200);
	case 2: return syscall(SYS_getpid);
	default: return syscall(SYS_gettid);
	}
}

static void handler(int signal) { (void)signal; }
extern void restorer(void);
__asm__(".globl restorer\nrestorer: mov $15, %eax\n\tsyscall");

static uint64_t action(void) {
	uint64_t *at = good();
	static const uint64_t handlers[] = { 0, 1, (uint64_t)handler, (uint64_t)handler, (uint64_t)handler };
	if (chance(10))
		return chance(50) ? 0 : place();
	at[0] = chance(95) ? PICK(handlers) : wild();
	at[1] = 0x04000000 | (chance(50) ? 0 : (next() & 0xd8000007));
	at[2] = chance(95) ? (uint64_t)restorer : wild();
	at[3] = chance(50) ? 0 : next();
	return (uint64_t)at;
}

static uint64_t clone_flags(void) {
	uint64_t bits = chance(70) ? SIGCHLD : below(65);
	if (chance(40))
		bits |= CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	for (unsigned n = below(4); n; n--)
		bits |= 1ull << (8 + below(25));
	return bits;
}

static uint64_t clone_args(void) {
	uint64_t *at = (uint64_t *)structure();
	if ((char *)at < arena || (char *)at >= arena + 8 * PAGE)
		return (uint64_t)at;
	at[0] = clone_flags() & ~0xffull;
	at[4] = chance(90) ? SIGCHLD : wild();
	at[5] = chance(80) ? (uint64_t)arena + PAGE * 6 : place();
	at[6] = chance(80) ? PAGE * 2 : length();
	if (chance(80))
		memset(at + 8, 0, 24);
	return (uint64_t)at;
}

static uint64_t argument(char kind) {
	static const uint32_t ioctls[] = { 0x5401, 0x5402, 0x5403, 0x5404, 0x540e, 0x540f, 0x5410, 0x5411, 0x5412, 0x5413, 0x5414, 0x541b, 0x5421,
		0x5450, 0x5451, 0x5452, 0x540b, 0x5409, 0x5422, 0x80045430, 0x40045431, 0x5441, 0x8901, 0x8904, 0x8910, 0x8912, 0x8913 };
	switch (kind) {
	case 'f': return descriptor();
	case 'd': return chance(60) ? (uint64_t)(int64_t)AT_FDCWD : descriptor();
	case 'p': return path();
	case 'b': return chance(60) ? (uint64_t)good() : chance(10) ? 0 : place();
	case 'l': case 'k': return kind == 'k' && chance(70) ? (uint64_t)below(20) * PAGE : length();
	case 'i': return number();
	case 'x': return flags();
	case 'o': return chance(80) ? below(100000) : wild();
	case 'n': return process();
	case 'g': return chance(90) ? below(66) : wild();
	case 'a': return chance(90) ? (uint64_t)arena + (uint64_t)below(PAGES) * PAGE : chance(50) ? place() : wild();
	case 't': return timespec();
	case 'v': return iovec();
	case 'c': return chance(90) ? below(17) : wild();
	case 'P': return pollfds();
	case 'F': return chance(30) ? 0 : structure();
	case 'S': { uint64_t *at = good(); *at = next() & next(); return chance(90) ? (uint64_t)at : place(); }
	case 'A': return action();
	case 's': return chance(10) ? below(5) : structure();
	case 'u': return (uint64_t)arena + below(8) * 4;
	case 'z': return chance(97) ? 8 : length();
	case 'm': return next() & (chance(50) ? 0777 : 0177777);
	case 'e': return strings();
	case 'I': return chance(95) ? PICK(ioctls) : wild();
	case 'R': return 0x1001 + below(4);
	case 'X': return 128 | below(14);
	case 'y': return clone_flags();
	case 'C': return clone_args();
	default: return wild();
	}
}

static void some_calls(int count);

/* A thread's or child's life on a stack of the arena. */
__attribute__((noreturn, used)) static void on_another_stack(void) {
	some_calls(10 + below(20));
	for (;;)
		syscall(SYS_exit, 0);
}

static long call(long nr, const uint64_t a[6]) {
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	register uint64_t r9 __asm__("r9") = a[5];
	long result;
	if (nr == SYS_clone || nr == 435) {
		/* The child may be on another stack, or on ours at the same time: it never returns. */
		__asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tand $-16, %%rsp\n\tcall on_another_stack\n1:"
				 : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
				 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2])
				 : "rcx", "r11", "memory", "cc");
		return result;
	}
	__asm__ volatile("syscall"
			 : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2])
			 : "rcx", "r11", "memory", "cc");
	return result;
}

static void one_call(void) {
	uint64_t a[6];
	long nr;
	for (int i = 0; i < 6; i++)
		a[i] = wild();
	if (chance(93)) {
		unsigned which = below(sizeof CALLS / sizeof *CALLS);
		nr = CALLS[which].number;
		int i = 0;
		for (const char *kind = CALLS[which].takes; *kind; kind++, i++)
			a[i] = argument(chance(98) ? *kind : "fblaipw"[below(7)]);
	} else {
		nr = chance(80) ? (long)below(470) : (long)wild();
		for (int i = 0; i < 6; i++)
			a[i] = argument("fpblixatsuw"[below(11)]);
	}
	uint32_t low = (uint32_t)nr;
	/* Those that only end the batch early come seldom. */
	if ((low == SYS_exit || low == SYS_exit_group || low == SYS_pause || low == SYS_execve || low == SYS_rt_sigreturn ||
	     low == SYS_rt_sigsuspend || low == SYS_seccomp || low == SYS_setrlimit || low == SYS_chroot || low == SYS_vfork) &&
	    !chance(12))
		return;
	/* The machine's end, and the parent's, are no failures. */
	if (low == SYS_reboot)
		return;
	int pid_at = low == SYS_kill || low == SYS_tkill || low == SYS_tgkill || low == SYS_rt_sigqueueinfo || low == SYS_rt_tgsigqueueinfo;
	if (pid_at && ((int)a[0] == 1 || (int)a[0] < 0 || (low != SYS_kill && low != SYS_tkill && (int)a[1] == 1)))
		return;
	if (low == SYS_kill && (int)a[0] == 0 && syscall(SYS_getpgrp) == 1)
		return;
	if (low == SYS_process_vm_writev || low == SYS_ptrace)
		a[low == SYS_ptrace] = syscall(SYS_getpid);
	if (verbose)
		dprintf(1000, "%ld: %ld(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx)\n", syscall(SYS_gettid), nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	shared->calls++;
	long result = call(nr, a);
	shared->heartbeat++;
	if ((unsigned long)result < -4095ul)
		shared->succeeded++;
	/* A child by fork goes on for a while. */
	if (result == 0 && (low == SYS_fork || low == SYS_vfork)) {
		some_calls(10 + below(30));
		syscall(SYS_exit_group, 0);
	}
}

static void some_calls(int count) {
	while (count--)
		one_call();
}

static void set_up(void) {
	int at = 3, both[2];
	mkdir("/w", 0777);
	if (chdir("/w"))
		(void)!chdir("/");
	mkdir("d", 0777);
	close(open("a", O_CREAT | O_RDWR, 0666));
	(void)!symlink("d/b", "l");
	(void)!symlink("m", "m");
	mkfifo("f", 0666);
	int file = open("d/a", O_CREAT | O_RDWR, 0777);
	for (int i = 0; i < 100; i++)
		(void)!write(file, arena, 100);
	close(file);
	/* Who execs must have something to exec. */
	int self = open("/proc/self/exe", O_RDONLY), copy = open("b", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	for (ssize_t got; (got = read(self, arena, PAGE)) > 0;)
		(void)!write(copy, arena, got);
	close(self);
	close(copy);
	for (int i = 0; i < 3; i++)
		dup2(open("/dev/null", O_RDWR), i);
	for (int i = 3; i < 30; i++)
		close(i);
	static const char *const opened[] = { "/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", "a", "d/a", "/proc/self/maps", "/proc/self/mem",
		"/proc/meminfo", "/dev/ptmx" };
	for (unsigned i = 0; i < sizeof opened / sizeof *opened; i++, at++)
		dup2(open(opened[i], O_RDWR), at);
	open(".", O_RDONLY | O_DIRECTORY);
	open("/proc", O_RDONLY | O_DIRECTORY);
	open("d/a", O_PATH);
	(void)!pipe2(both, O_NONBLOCK);
	(void)!pipe(both);
	eventfd(3, EFD_NONBLOCK);
	epoll_create1(0);
	timerfd_create(CLOCK_MONOTONIC, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	signalfd(-1, &set, SFD_NONBLOCK);
	syscall(SYS_memfd_create, "m", 0);
	(void)!socketpair(AF_UNIX, SOCK_STREAM, 0, both);
	fd_limit = FDS + 4;
	for (char *page = arena; page < arena + PAGES * PAGE; page += PAGE) {
		int n = (page - arena) / PAGE;
		if (n < 8)
			continue;
		switch (below(6)) {
		case 0: mprotect(page, PAGE, PROT_READ); break;
		case 1: mprotect(page, PAGE, PROT_NONE); break;
		case 2: munmap(page, PAGE); break;
		case 3: mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, 8, 0); break;
		case 4: mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 8, PAGE); break;
		default: *page = n;
		}
	}
	uint64_t none = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
	for (int i = 1; i < 65; i++)
		if (i == SIGALRM || (i != SIGSEGV && i != SIGBUS && i != SIGILL && chance(50))) {
			struct sigaction sa = { .sa_handler = handler };
			sigaction(i, &sa, NULL);
		}
	struct itimerval often = { { 0, 4000 }, { 0, 4000 } };
	setitimer(ITIMER_REAL, &often, NULL);
}

static void clean(int dir, int depth) {
	DIR *d = fdopendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dir, e->d_name, 0) && depth < 6) {
			int inner = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
			if (inner >= 0)
				clean(inner, depth + 1);
			unlinkat(dir, e->d_name, AT_REMOVEDIR);
		}
	}
	if (d)
		closedir(d);
}

/* Runs a batch. How many calls it made: what it says of itself may be nonsense. */
static uint64_t batch(uint64_t seed, uint64_t index) {
	memset((void *)shared, 0, sizeof *shared);
	pid_t child = fork();
	if (child < 0) {
		printf("fork: %s\n", strerror(errno));
		exit(1);
	}
	if (child == 0) {
		rng_state = seed * 1000003 + index * 7919;
		/* Groups can be killed; this process's must not be the parent's. */
		setpgid(0, 0);
		if (index % 4 == 3) {
			(void)!setgid(1000);
			(void)!setuid(1000);
		}
		set_up();
		some_calls(CALLS_PER_BATCH);
		syscall(SYS_exit_group, 0);
	}
	/* Ends when it ends, or when it hasn't made a call for a while. */
	uint64_t last = shared->heartbeat;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (int idle = 0; idle < 6; idle++) {
		struct timespec wait = { 0, 10000000 };
		sigtimedwait(&set, NULL, &wait);
		int status;
		if (waitpid(child, &status, WNOHANG) == child) {
			if (verbose)
				printf("batch %lu: status %#x after %lu calls\n", index, status, shared->calls);
			break;
		}
		if (shared->heartbeat != last)
			idle = 0;
		last = shared->heartbeat;
	}
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	int w = open("/w", O_RDONLY | O_DIRECTORY);
	if (w >= 0)
		clean(w, 0);
	if (shared->calls > CALLS_PER_BATCH * 20)
		return CALLS_PER_BATCH;
	succeeded += shared->succeeded;
	return shared->calls;
}

int main(int argc, char **argv) {
	/* What a batch starts by execve. */
	if (getpid() != 1 || argc < 3)
		return 0;
	uint64_t seed = strtoull(argv[1], NULL, 0), calls = strtoull(argv[2], NULL, 0);
	uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	verbose = argc > 4;
	setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	arena = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	dup2(1, 1000);
	/* libc would leave those out that it has its own use for. */
	uint64_t all = ~0ull;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 8);
	struct sysinfo before, after;
	sysinfo(&before);
	uint64_t index = first, done = 0;
	for (; done < calls; index++)
		done += batch(seed, index);
	sysinfo(&after);
	fprintf(stderr, "%lu batches, %lu calls, %lu succeeded; free %lu KiB before, %lu after; %u processes\n", index - first, done, succeeded,
		before.freeram * before.mem_unit / 1024, after.freeram * after.mem_unit / 1024, after.procs);
	printf("survived\n");
	return 0;
}
