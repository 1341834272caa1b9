// Random operations on a small tree of names: every result, errno and attribute that doesn't depend on the file system is printed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t state;

static unsigned below(unsigned n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % n;
}

static int chance(unsigned percent) { return below(100) < percent; }

// A path of a few components over few names, with dots, slashes and sometimes a name that is too long.
static void path(char *out) {
    static const char *names[] = {"a", "b", "c", "d", "a", "b", ".", ".."};
    char *at = out;
    int parts = 1 + below(chance(70) ? 2 : 5);
    for (int i = 0; i < parts; i++) {
        if (i) at += sprintf(at, chance(90) ? "/" : "//");
        if (chance(1)) {
            memset(at, 'x', 256);
            at += 256;
        } else {
            at += sprintf(at, "%s", names[below(8)]);
        }
    }
    if (chance(12)) at += sprintf(at, "/");
    if (chance(1)) at = out;
    *at = 0;
}

static const char *show(const char *p) { return strlen(p) > 60 ? "(long)" : p; }

static int fds[4] = {-1, -1, -1, -1};

static long report(long result) {
    if (result < 0) printf(" = -%d\n", errno);
    else printf(" = %ld\n", result);
    return result;
}

static void attributes(const struct stat *s) {
    printf(" mode %o", s->st_mode);
    if (!S_ISDIR(s->st_mode)) printf(" links %lu size %ld", (unsigned long)s->st_nlink, (long)s->st_size);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *p) {
    DIR *d = opendir(p);
    printf("list %s", show(p));
    if (!d) {
        report(-1);
        return;
    }
    char *names[64];
    int n = 0;
    for (struct dirent *e; n < 64 && (e = readdir(d));) {
        names[n] = malloc(strlen(e->d_name) + 16);
        sprintf(names[n++], "%s:%d", e->d_name, e->d_type);
    }
    qsort(names, n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        printf(" %s", names[i]);
        free(names[i]);
    }
    printf("\n");
    closedir(d);
}

static int open_flags(void) {
    static const int extra[] = {O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_NONBLOCK};
    int flags = below(3);
    for (unsigned i = 0; i < 8; i++)
        if (chance(i == 0 ? 50 : 12)) flags |= extra[i];
    if (chance(4)) flags |= O_TMPFILE;
    return flags;
}

static void step(void) {
    char p[4096], q[4096];
    path(p);
    path(q);
    struct stat s;
    switch (below(22)) {
    case 0:
    case 1:
    case 2: {
        int flags = open_flags(), slot = below(4), mode = below(010000);
        if (fds[slot] >= 0) close(fds[slot]);
        fds[slot] = open(p, flags, mode);
        printf("open %s %o %o", show(p), flags, mode);
        // Which number it gets depends on what else is open, which is the same on both sides.
        report(fds[slot]);
        break;
    }
    case 3:
    case 4: printf("mkdir %s", show(p)); report(mkdir(p, below(010000))); break;
    case 5: printf("rmdir %s", show(p)); report(rmdir(p)); break;
    case 6: printf("unlink %s", show(p)); report(unlink(p)); break;
    case 7:
    case 8: printf("rename %s %s", show(p), show(q)); report(rename(p, q)); break;
    case 9: {
        int flags = below(8);
        printf("renameat2 %s %s %d", show(p), show(q), flags & 3);
        report(syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, q, flags & 3));
        break;
    }
    case 10: printf("link %s %s", show(p), show(q)); report(link(p, q)); break;
    case 11: printf("linkat %s %s", show(p), show(q)); report(linkat(AT_FDCWD, p, AT_FDCWD, q, AT_SYMLINK_FOLLOW)); break;
    case 12:
    case 13: printf("symlink %s %s", show(q), show(p)); report(symlink(q, p)); break;
    case 14: {
        printf("stat %s", show(p));
        int r = chance(50) ? stat(p, &s) : lstat(p, &s);
        if (r == 0) attributes(&s);
        report(r);
        break;
    }
    case 15: {
        char text[64];
        printf("readlink %s", show(p));
        long n = readlink(p, text, 1 + below(60));
        if (n >= 0) printf(" %.*s", (int)(n > 40 ? 40 : n), text);
        report(n);
        break;
    }
    case 16: {
        int slot = below(4), n = below(200);
        long at = below(300);
        memset(q, 'a' + below(26), n);
        printf("pwrite %d %d %ld", slot, n, at);
        report(chance(50) ? pwrite(fds[slot], q, n, at) : write(fds[slot], q, n));
        break;
    }
    case 17: {
        int slot = below(4), n = below(200);
        printf("read %d %d", slot, n);
        long r = chance(50) ? pread(fds[slot], q, n, below(300)) : read(fds[slot], q, n);
        unsigned sum = 0;
        for (long i = 0; i < r; i++) sum = sum * 31 + (unsigned char)q[i];
        printf(" sum %u", sum);
        report(r);
        break;
    }
    case 18: {
        int slot = below(4);
        long to = (long)below(400) - 50;
        printf("lseek %d %ld", slot, to);
        report(lseek(fds[slot], to, below(3)));
        break;
    }
    case 19: {
        int slot = below(4), size = below(500);
        if (chance(50)) {
            printf("ftruncate %d %d", slot, size);
            report(ftruncate(fds[slot], size));
        } else {
            printf("truncate %s %d", show(p), size);
            report(truncate(p, size));
        }
        break;
    }
    case 20:
        if (chance(50)) {
            int mode = below(010000);
            printf("chmod %s %o", show(p), mode);
            report(chmod(p, mode));
        } else {
            int mode = below(8);
            printf("access %s %d", show(p), mode);
            report(access(p, mode));
        }
        break;
    case 21:
        if (chance(60)) {
            list(p);
        } else {
            int slot = below(4);
            printf("fstat %d", slot);
            int r = fstat(fds[slot], &s);
            if (r == 0) attributes(&s);
            report(r);
        }
        break;
    }
}

int main(int argc, char **argv) {
    int first = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 20, steps = argc > 3 ? atoi(argv[3]) : 250;
    umask(022);
    // As another user, if asked: then modes matter.
    if (argc > 4 && (setgid(1000) || chmod(".", 0777) || setuid(1000))) return 1;
    int start = open(".", O_RDONLY | O_DIRECTORY);
    for (int round = first; round < first + rounds; round++) {
        char name[32];
        sprintf(name, "r%d", round);
        // Three levels, so that a path of dots stays inside what is the same everywhere.
        if (mkdir(name, 0755) || chdir(name) || mkdir("x", 0755) || chdir("x") || mkdir("y", 0755) || chdir("y")) return 1;
        if (mkdir("z", 0755) || chdir("z") || mkdir("w", 0755) || chdir("w")) return 1;
        state = 88172645463325252ull + round * 7919;
        printf("round %d\n", round);
        for (int i = 0; i < steps; i++) step();
        for (int i = 0; i < 4; i++) {
            if (fds[i] >= 0) close(fds[i]);
            fds[i] = -1;
        }
        if (fchdir(start)) return 1;
    }
    return 0;
}
