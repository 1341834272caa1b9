// Random operations on two pipes, a FIFO, an event counter and a file, none of which waits: results, contents and readiness are printed.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static uint64_t state;

static unsigned below(unsigned n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % n;
}

static long report(long result) {
    if (result < 0) printf(" = -%d\n", errno);
    else printf(" = %ld\n", result);
    return result;
}

static char buffer[1 << 20];
// 0 and 1 are the ends of a pipe, 2 and 3 of another; 4 a file, 5 an event counter, 6 and 7 a FIFO's ends.
static int fds[8];

static unsigned checksum(const char *p, long n) {
    unsigned sum = 7;
    for (long i = 0; i < n; i++) sum = sum * 31 + (unsigned char)p[i];
    return sum;
}

static unsigned size(void) {
    switch (below(6)) {
    case 0: return below(3);
    case 1: return below(100);
    case 2: return 4090 + below(12);
    case 3: return below(5000);
    case 4: return below(40000);
    default: return 4096 * (1 + below(3));
    }
}

static void fill(unsigned n) {
    unsigned seed = below(1000);
    for (unsigned i = 0; i < n; i++) buffer[i] = (char)(seed + i * 7 + (i >> 8));
}

static void step(void) {
    int fd = below(8), other = below(8);
    unsigned n = size();
    switch (below(16)) {
    case 0:
    case 1:
    case 2:
        fill(n);
        printf("write %d %u", fd, n);
        report(write(fds[fd], buffer, n));
        break;
    case 3:
    case 4:
    case 5: {
        printf("read %d %u", fd, n);
        long r = read(fds[fd], buffer, n);
        if (r > 0) printf(" %08x", checksum(buffer, r));
        report(r);
        break;
    }
    case 6: {
        struct iovec v[3] = {{buffer, below(3000)}, {buffer + 3000, below(3000)}, {buffer + 9000, below(3000)}};
        fill(12000);
        printf("writev %d", fd);
        report(writev(fds[fd], v, 3));
        break;
    }
    case 7: {
        struct iovec v[3] = {{buffer, below(3000)}, {buffer + 3000, below(3000)}, {buffer + 9000, below(3000)}};
        memset(buffer, 0, 12000);
        printf("readv %d", fd);
        long r = readv(fds[fd], v, 3);
        printf(" %08x", checksum(buffer, 12000));
        report(r);
        break;
    }
    case 8: {
        int count = -1;
        printf("FIONREAD %d", fd);
        long r = ioctl(fds[fd], FIONREAD, &count);
        printf(" %d", count);
        report(r);
        break;
    }
    case 9: {
        unsigned to = 4096 * (1 + below(40));
        printf("F_SETPIPE_SZ %d %u", fd, to);
        report(fcntl(fds[fd], F_SETPIPE_SZ, to));
        printf("F_GETPIPE_SZ %d", fd);
        report(fcntl(fds[fd], F_GETPIPE_SZ));
        break;
    }
    case 10: {
        struct pollfd p[8];
        for (int i = 0; i < 8; i++) p[i] = (struct pollfd){fds[i], POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM, 0};
        printf("poll");
        int r = poll(p, 8, 0);
        for (int i = 0; i < 8; i++) printf(" %x", p[i].revents);
        report(r);
        break;
    }
    case 11:
        printf("tee %d %d %u", fd, other, n);
        report(tee(fds[fd], fds[other], n, SPLICE_F_NONBLOCK));
        break;
    case 12:
    case 13:
        printf("splice %d %d %u", fd, other, n);
        report(splice(fds[fd], NULL, fds[other], NULL, n, SPLICE_F_NONBLOCK));
        break;
    case 14:
        if (below(2)) {
            printf("lseek %d", fd);
            report(lseek(fds[fd], below(10000), SEEK_SET));
        } else {
            off_t at = below(20000);
            printf("sendfile %d %d %u at %ld", fd, other, n, (long)at);
            long r = sendfile(fds[fd], fds[other], below(2) ? &at : NULL, n);
            printf(" then %ld", (long)at);
            report(r);
        }
        break;
    case 15: {
        int flags = fcntl(fds[fd], F_GETFL);
        printf("F_SETFL %d %o", fd, flags);
        report(fcntl(fds[fd], F_SETFL, fd < 4 ? flags ^ O_DIRECT : flags));
        break;
    }
    }
}

int main(int argc, char **argv) {
    int first = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 20, steps = argc > 3 ? atoi(argv[3]) : 300;
    signal(SIGPIPE, SIG_IGN);
    for (int round = first; round < first + rounds; round++) {
        state = 88172645463325252ull + round * 104729;
        printf("round %d\n", round);
        unlink("file");
        unlink("fifo");
        if (pipe2(fds, O_NONBLOCK) || pipe2(fds + 2, O_NONBLOCK | (below(3) ? 0 : O_DIRECT))) return 1;
        fds[4] = open("file", O_RDWR | O_CREAT, 0600);
        fds[5] = eventfd(below(3), EFD_NONBLOCK | (below(2) ? EFD_SEMAPHORE : 0));
        if (mkfifo("fifo", 0600)) return 1;
        fds[6] = open("fifo", O_RDONLY | O_NONBLOCK);
        fds[7] = open("fifo", O_WRONLY | O_NONBLOCK);
        for (int i = 0; i < steps; i++) {
            step();
            // Ends go one after the other.
            if (i == steps * 3 / 4) close(fds[1]);
            if (i == steps * 4 / 5) close(fds[2]);
            if (i == steps * 5 / 6) {
                close(fds[7]);
                fds[7] = -1;
            }
        }
        for (int i = 0; i < 8; i++) close(fds[i]);
    }
    return 0;
}
