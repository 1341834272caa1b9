// What files contain: appending, holes, offsets, limits, locks, copies, seals. Everything printed is the same on ext4 and tmpfs.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHECK(call) report(#call, (long)(call))
static long report(const char *what, long result) {
    if (result < 0) printf("%s = -%d\n", what, errno);
    else printf("%s = %ld\n", what, result);
    return result;
}

static char big[1 << 16];

static unsigned sum(int fd) {
    unsigned s = 7;
    off_t at = 0;
    for (long n; (n = pread(fd, big, sizeof big, at)) > 0; at += n)
        for (long i = 0; i < n; i++) s = s * 31 + (unsigned char)big[i];
    return s;
}

static long size(int fd) {
    struct stat s;
    return fstat(fd, &s) ? -1 : (long)s.st_size;
}

static void contents(int fd) { printf("  size %ld sum %08x at %ld\n", size(fd), sum(fd), (long)lseek(fd, 0, SEEK_CUR)); }

static void appending(void) {
    int a = open("append", O_RDWR | O_CREAT | O_APPEND | O_TRUNC, 0644), b = open("append", O_RDWR);
    CHECK(write(a, "one", 3));
    CHECK(write(b, "X", 1));
    CHECK(write(a, "two", 3));
    CHECK(pwrite(a, "three", 5, 0));
    contents(a);
    CHECK(lseek(a, 1, SEEK_SET));
    CHECK(write(a, "four", 4));
    contents(a);
    CHECK(fcntl(a, F_SETFL, 0));
    CHECK(pwrite(a, "zero", 4, 0));
    contents(b);
    struct iovec v = {"five", 4};
    CHECK(syscall(SYS_pwritev2, b, &v, 1, 0, 0, 0x10 /* RWF_APPEND */));
    contents(b);
    CHECK(syscall(SYS_pwritev2, b, &v, 1, -1, 0, 0));
    CHECK(syscall(SYS_pwritev2, b, &v, 1, 0, 0, 0x10000));
    contents(b);
    close(a);
    close(b);
}

static void holes(void) {
    int fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0644);
    CHECK(pwrite(fd, "end", 3, 1000000));
    CHECK(pwrite(fd, "middle", 6, 500000));
    contents(fd);
    CHECK(lseek(fd, 0, SEEK_DATA) <= 500000);
    CHECK(lseek(fd, 600000, SEEK_DATA) <= 1000000);
    CHECK(lseek(fd, 1000003, SEEK_DATA));
    CHECK(lseek(fd, -1, SEEK_DATA));
    CHECK(lseek(fd, 0, SEEK_HOLE));
    CHECK(lseek(fd, 1000002, SEEK_HOLE));
    CHECK(lseek(fd, 1000003, SEEK_HOLE));
    CHECK(lseek(fd, 0, 7));
    CHECK(lseek(fd, -1, SEEK_SET));
    CHECK(lseek(fd, 0x7fffffffffffffff, SEEK_SET) > 0);
    CHECK(ftruncate(fd, 500003));
    contents(fd);
    CHECK(ftruncate(fd, 600000));
    contents(fd);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 500001, 10));
    contents(fd);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 400000, 110000));
    contents(fd);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    CHECK(fallocate(fd, 0, 590000, 20000));
    contents(fd);
    CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 700000, 20000));
    contents(fd);
    CHECK(fallocate(fd, 0, -1, 20));
    CHECK(fallocate(fd, 0, 0, 0));
    CHECK(fallocate(fd, 0x8000, 0, 1));
    CHECK(fallocate(fd, 0, 0x7ffffffffffffff0, 0x100));
    CHECK(ftruncate(fd, -1));
    CHECK(write(fd, "", 0));
    CHECK(pread(fd, big, 10, -1));
    close(fd);
    fd = open("sparse", O_RDONLY);
    CHECK(ftruncate(fd, 1));
    CHECK(fallocate(fd, 0, 0, 1));
    CHECK(write(fd, "x", 1));
    CHECK(pwrite(fd, "x", 1, 0));
    close(fd);
    fd = open("sparse", O_WRONLY);
    CHECK(read(fd, big, 1));
    CHECK(pread(fd, big, 1, 0));
    char *volatile bad = (char *)1;
    CHECK(read(fd, bad, 1));
    close(fd);
    fd = open(".", O_RDONLY);
    CHECK(read(fd, big, 1));
    CHECK(pread(fd, big, 1, 0));
    CHECK(ftruncate(fd, 0));
    CHECK(fallocate(fd, 0, 0, 1));
    CHECK(fsync(fd));
    close(fd);
    CHECK(truncate(".", 0));
    CHECK(truncate("nothing", 0));
    CHECK(truncate("sparse/", 0));
    CHECK(truncate("sparse", -1));
}

static void faults(void) {
    int fd = open("faults", O_RDWR | O_CREAT | O_TRUNC, 0644);
    char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(map + 4096, 4096);
    memset(map, 'q', 4096);
    CHECK(write(fd, map + 4000, 200));
    contents(fd);
    CHECK(write(fd, map + 4096, 1));
    CHECK(write(fd, (char *)-1, 1));
    CHECK(write(fd, NULL, 1));
    CHECK(write(fd, NULL, 0));
    CHECK(pread(fd, map + 4050, 90, 0));
    CHECK(pread(fd, map + 4096, 1, 0));
    CHECK(pread(fd, map + 4096, 1, 500));
    struct iovec v[3] = {{map + 4090, 6}, {map + 4096, 5}, {map, 5}};
    CHECK(pwritev(fd, v, 3, 10));
    CHECK(preadv(fd, v, 3, 0));
    v[1].iov_len = (size_t)-1;
    CHECK(readv(fd, v, 3));
    CHECK(readv(fd, v, -1));
    CHECK(readv(fd, v, 1025));
    CHECK(writev(fd, v, 0));
    CHECK(readv(-1, v, 1));
    CHECK(open(map + 4096, O_RDONLY));
    struct stat *s = (struct stat *)(map + 4096);
    CHECK(syscall(SYS_fstat, fd, s));
    CHECK(syscall(SYS_stat, "nothing", s));
    CHECK(syscall(SYS_stat, "faults", s));
    CHECK(syscall(SYS_getcwd, map + 4095, 1));
    CHECK(syscall(SYS_pipe2, map + 4096, 0));
    contents(fd);
    close(fd);
}

static void limits(void) {
    int fd = open("limit", O_RDWR | O_CREAT | O_TRUNC, 0644);
    struct rlimit old, new;
    getrlimit(RLIMIT_FSIZE, &old);
    new = old;
    new.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &new));
    CHECK(pwrite(fd, big, 900, 0));
    CHECK(pwrite(fd, big, 300, 900));
    CHECK(pwrite(fd, big, 1, 1000));
    CHECK(ftruncate(fd, 1001));
    CHECK(ftruncate(fd, 500));
    CHECK(truncate("limit", 2000));
    CHECK(fallocate(fd, 0, 900, 200));
    contents(fd);
    setrlimit(RLIMIT_FSIZE, &old);
    new = old;
    getrlimit(RLIMIT_NOFILE, &old);
    new = old;
    new.rlim_cur = fd + 1;
    CHECK(setrlimit(RLIMIT_NOFILE, &new));
    CHECK(open("limit", O_RDONLY));
    CHECK(open("limit2", O_RDWR | O_CREAT, 0600));
    CHECK(access("limit2", F_OK));
    CHECK(dup(fd));
    CHECK(dup2(fd, fd + 1));
    CHECK(dup2(fd, fd));
    CHECK(fcntl(fd, F_DUPFD, fd + 1));
    CHECK(fcntl(fd, F_DUPFD, 0));
    setrlimit(RLIMIT_NOFILE, &old);
    CHECK(dup3(fd, fd, 0));
    CHECK(dup3(fd, 50, O_CLOEXEC));
    CHECK(fcntl(50, F_GETFD));
    CHECK(dup2(50, 51));
    CHECK(fcntl(51, F_GETFD));
    CHECK(dup3(fd, 52, O_NONBLOCK));
    CHECK(dup2(-1, 52));
    CHECK(fcntl(50, F_DUPFD, 50));
    CHECK(fcntl(50, F_DUPFD_CLOEXEC, 60));
    CHECK(fcntl(50, F_DUPFD, -1));
    CHECK(syscall(SYS_close_range, 50, 51, 4));
    CHECK(fcntl(51, F_GETFD));
    CHECK(syscall(SYS_close_range, 50, 60, 0));
    CHECK(fcntl(60, F_GETFD));
    CHECK(syscall(SYS_close_range, 60, 50, 0));
    CHECK(syscall(SYS_close_range, 60, 70, 16));
    CHECK(close(60));
    close(fd);
}

static void lock(int fd, int command, int kind, long start, long len) {
    struct flock l = {.l_type = kind, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    long r = fcntl(fd, command, &l);
    printf("lock %d %d %ld+%ld", command, kind, start, len);
    if (r < 0) printf(" = -%d\n", errno);
    else printf(" = %ld: %d %ld+%ld pid %d\n", r, l.l_type, (long)l.l_start, (long)l.l_len, l.l_pid > 0 ? 1 : l.l_pid);
}

static void locks(void) {
    int a = open("locks", O_RDWR | O_CREAT, 0600), b = open("locks", O_RDWR), c = open("locks", O_RDONLY);
    lock(a, F_SETLK, F_WRLCK, 10, 10);
    lock(b, F_GETLK, F_WRLCK, 0, 0);
    lock(b, F_OFD_GETLK, F_WRLCK, 0, 0);
    lock(b, F_OFD_SETLK, F_WRLCK, 0, 10);
    lock(b, F_OFD_SETLK, F_RDLCK, 5, 10);
    lock(a, F_OFD_GETLK, F_RDLCK, 5, 1);
    lock(a, F_SETLK, F_UNLCK, 12, 3);
    lock(c, F_OFD_GETLK, F_RDLCK, 13, 100);
    lock(c, F_OFD_SETLK, F_WRLCK, 100, 1);
    lock(c, F_SETLK, F_WRLCK, 100, 1);
    lock(a, F_SETLK, F_RDLCK, -1, 1);
    lock(a, F_SETLK, F_RDLCK, 5, -6);
    lock(a, F_SETLK, F_RDLCK, 50, -10);
    lock(c, F_OFD_GETLK, F_WRLCK, 30, 30);
    lock(a, F_SETLK, 7, 0, 1);
    lock(a, F_GETLK, F_UNLCK, 0, 1);
    lock(a, F_SETLK, F_RDLCK, 1, 0x7fffffffffffffff);
    lock(-1, F_SETLK, F_RDLCK, 0, 1);
    // Closing any descriptor of the file gives the process's locks up.
    close(dup(c));
    lock(c, F_OFD_GETLK, F_WRLCK, 10, 100);
    CHECK(flock(a, LOCK_EX));
    CHECK(flock(b, LOCK_SH | LOCK_NB));
    CHECK(flock(a, LOCK_SH));
    CHECK(flock(b, LOCK_SH | LOCK_NB));
    CHECK(flock(a, LOCK_EX | LOCK_NB));
    CHECK(flock(b, LOCK_EX | LOCK_NB));
    CHECK(flock(a, LOCK_EX | LOCK_NB));
    CHECK(flock(b, LOCK_UN));
    CHECK(flock(c, LOCK_EX | LOCK_NB));
    CHECK(flock(c, 99));
    CHECK(flock(-1, LOCK_SH));
    close(a);
    close(b);
    close(c);
}

static void copies(void) {
    int a = open("source", O_RDWR | O_CREAT | O_TRUNC, 0600), b = open("target", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (unsigned i = 0; i < sizeof big; i++) big[i] = (char)(i * 13 + (i >> 9));
    CHECK(write(a, big, 50000));
    off_t in = 100, out = 7;
    CHECK(syscall(SYS_copy_file_range, a, &in, b, &out, 20000, 0));
    printf("  %ld %ld\n", (long)in, (long)out);
    contents(b);
    CHECK(syscall(SYS_copy_file_range, a, NULL, b, NULL, 20000, 0));
    CHECK(lseek(a, 0, SEEK_SET));
    CHECK(syscall(SYS_copy_file_range, a, NULL, b, NULL, 100000, 0));
    contents(b);
    in = 0, out = 10;
    CHECK(syscall(SYS_copy_file_range, a, &in, a, &out, 100, 0));
    CHECK(syscall(SYS_copy_file_range, a, &in, a, &out, 10, 0));
    CHECK(syscall(SYS_copy_file_range, a, &in, b, &out, 10, 1));
    CHECK(syscall(SYS_copy_file_range, a, &in, -1, &out, 10, 0));
    in = 1 << 20;
    CHECK(syscall(SYS_copy_file_range, a, &in, b, &out, 10, 0));
    in = -1;
    CHECK(syscall(SYS_copy_file_range, a, &in, b, &out, 10, 0));
    in = 49990;
    CHECK(sendfile(b, a, &in, 100));
    printf("  %ld\n", (long)in);
    CHECK(lseek(a, 5, SEEK_SET));
    CHECK(sendfile(b, a, NULL, 33333));
    contents(a);
    contents(b);
    int flags = fcntl(b, F_GETFL);
    CHECK(fcntl(b, F_SETFL, flags | O_APPEND));
    CHECK(sendfile(b, a, NULL, 1));
    CHECK(syscall(SYS_copy_file_range, a, NULL, b, NULL, 1, 0));
    close(a);
    close(b);
}

static void memfds(void) {
    CHECK(memfd_create("x", 0x1000));
    int fd = memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING), plain = memfd_create("", 0);
    char link[64], self[64];
    sprintf(self, "/proc/self/fd/%d", fd);
    long n = readlink(self, link, sizeof link);
    printf("%.*s\n", (int)n, link);
    CHECK(fcntl(fd, F_GETFD));
    CHECK(fcntl(plain, F_GET_SEALS));
    CHECK(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
    CHECK(fcntl(fd, F_GET_SEALS));
    CHECK(ftruncate(fd, 8192));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    CHECK(ftruncate(fd, 4096));
    CHECK(ftruncate(fd, 12288));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    CHECK(ftruncate(fd, 20000));
    CHECK(pwrite(fd, big, 100, 12200));
    CHECK(pwrite(fd, big, 100, 12288));
    char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    strcpy(m, "through the mapping");
    CHECK(munmap(m, 4096));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    CHECK(pwrite(fd, "x", 1, 0));
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    printf("mmap %d\n", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0);
    printf("mmap %d\n", mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0);
    printf("mmap %d\n", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    CHECK(fcntl(fd, F_GET_SEALS));
    CHECK(fcntl(0, F_GET_SEALS));
    contents(fd);
    CHECK(pread(fd, big, 20, 0));
    puts(big);
    CHECK(ioctl(fd, FIOCLEX));
    CHECK(ioctl(plain, FIOCLEX));
    CHECK(fcntl(plain, F_GETFD));
    CHECK(ioctl(plain, FIONCLEX));
    CHECK(fcntl(plain, F_GETFD));
    CHECK(ioctl(plain, 0x5401));
    CHECK(ioctl(-1, 0x5401));
    close(fd);
    close(plain);
}

static void devices(void) {
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    CHECK(read(null, big, 10));
    CHECK(write(null, big, 10));
    char *volatile bad = (char *)16;
    CHECK(write(null, bad, 10));
    CHECK(lseek(null, 10, SEEK_SET));
    CHECK(pread(null, big, 10, 5));
    CHECK(pwrite(null, big, 10, 5));
    CHECK(ftruncate(null, 5));
    big[3] = 1;
    CHECK(read(zero, big, 10));
    printf("  %d\n", big[3]);
    CHECK(write(zero, big, 10));
    CHECK(read(zero, bad, 10));
    CHECK(read(full, big, 10));
    CHECK(write(full, big, 10));
    CHECK(write(full, big, 0));
    CHECK(lseek(full, 10, SEEK_END));
    CHECK(fsync(null));
    CHECK(fallocate(null, 0, 0, 1));
    char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    printf("  %d\n", m == MAP_FAILED ? -1 : m[17]);
    printf("mmap %d\n", mmap(NULL, 4096, PROT_READ, MAP_SHARED, null, 0) == MAP_FAILED ? errno : 0);
    struct stat s;
    CHECK(fstat(null, &s));
    printf("  %o %lx\n", s.st_mode, (unsigned long)s.st_rdev);
    int random = open("/dev/urandom", O_RDONLY);
    CHECK(read(random, big, 1000));
    CHECK(lseek(random, 5, SEEK_SET));
    CHECK(open("/dev/nothing", O_RDONLY));
}

int main(void) {
    appending();
    holes();
    faults();
    limits();
    locks();
    copies();
    memfds();
    devices();
    return 0;
}
