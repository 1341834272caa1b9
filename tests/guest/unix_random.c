// Random operations on three pairs of Unix sockets and three datagram sockets with names, none of which waits. What would fill a buffer is
// left out: how much fits differs between versions of Linux.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
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

enum { COUNT = 9 };
// 0 and 1 a stream, 2 and 3 datagrams, 4 and 5 packets in order; 6 to 8 datagram sockets with names.
static int fds[COUNT];
// Files to send: a pipe and a directory.
static int plain[2];
static char buffer[1 << 16];

static unsigned checksum(const char *p, long n) {
    unsigned sum = 7;
    for (long i = 0; i < n; i++) sum = sum * 31 + (unsigned char)p[i];
    return sum;
}

static void fill(unsigned n) {
    unsigned seed = below(1000);
    for (unsigned i = 0; i < n; i++) buffer[i] = (char)(seed + i * 7 + (i >> 8));
}

static unsigned size(void) { return below(4) ? below(40) : below(600); }

static socklen_t address(struct sockaddr_un *a, int which) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    sprintf(a->sun_path, "name%d", which);
    return offsetof(struct sockaddr_un, sun_path) + 6;
}

static int flags(void) {
    int f = MSG_DONTWAIT;
    if (below(4) == 0) f |= MSG_PEEK;
    if (below(5) == 0) f |= MSG_TRUNC;
    if (below(6) == 0) f |= MSG_WAITALL;
    return f;
}

static void take_message(int fd) {
    char control[200];
    struct sockaddr_un from;
    unsigned first = below(20), second = below(300);
    struct iovec v[2] = {{buffer, first}, {buffer + 1000, second}};
    memset(buffer, 0, 2000);
    memset(&from, 0, sizeof from);
    struct msghdr m = {.msg_name = &from, .msg_namelen = below(2) ? sizeof from : below(20), .msg_iov = v, .msg_iovlen = 2};
    m.msg_control = control;
    m.msg_controllen = below(3) ? sizeof control : below(60);
    int f = flags();
    printf("recvmsg %d %u+%u %x", fd, first, second, f);
    long r = recvmsg(fds[fd], &m, f);
    if (r >= 0) {
        printf(" %08x from %u %.6s flags %x control %zu", checksum(buffer, 2000), m.msg_namelen, from.sun_path, m.msg_flags, (size_t)m.msg_controllen);
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
            int n = (h->cmsg_len - CMSG_LEN(0)) / 4, data[20];
            memcpy(data, CMSG_DATA(h), n * 4);
            printf(" %d:%d", h->cmsg_type, n);
            for (int i = 0; i < n && h->cmsg_type == SCM_RIGHTS; i++) {
                struct stat st;
                printf(" %x", fstat(data[i], &st) ? 0 : st.st_mode >> 12);
                close(data[i]);
            }
            if (h->cmsg_type == SCM_CREDENTIALS && n == 3) printf(" %d %d %d", data[0] == 0 ? 0 : data[0] == getpid() ? 1 : 2, data[1], data[2]);
        }
    }
    report(r);
}

static void send_message(int fd) {
    char control[100] = {0};
    struct sockaddr_un to;
    unsigned n = size();
    fill(n + 10);
    struct iovec v[2] = {{buffer, n}, {buffer + n, below(10)}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
    if (below(3) == 0) m.msg_name = &to, m.msg_namelen = address(&to, below(4));
    printf("sendmsg %d %zu to %.6s", fd, v[0].iov_len + v[1].iov_len, m.msg_name ? to.sun_path : "-");
    int count = below(4);
    if (count < 3) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(4 * count);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(4 * count);
        int files[2] = {plain[0], below(12) ? plain[1] : -1};
        memcpy(CMSG_DATA(h), files, 4 * count);
        printf(" rights %d", count);
    }
    report(sendmsg(fds[fd], &m, MSG_DONTWAIT | (below(2) ? MSG_NOSIGNAL : 0)));
}

static void step(void) {
    int fd = below(COUNT);
    unsigned n = size();
    switch (below(14)) {
    case 0:
    case 1:
        fill(n);
        printf("write %d %u", fd, n);
        report(write(fds[fd], buffer, n));
        break;
    case 2: {
        struct iovec v[3] = {{buffer, 1 + below(30)}, {buffer + 300, below(30)}, {buffer + 900, below(30)}};
        fill(1000);
        printf("writev %d", fd);
        report(writev(fds[fd], v, 3));
        break;
    }
    case 3: {
        printf("read %d %u", fd, n);
        long r = read(fds[fd], buffer, n);
        if (r > 0) printf(" %08x", checksum(buffer, r));
        report(r);
        break;
    }
    case 4:
    case 5: {
        int f = flags();
        memset(buffer, 0, 700);
        printf("recv %d %u %x", fd, n, f);
        long r = recv(fds[fd], buffer, n, f);
        printf(" %08x", checksum(buffer, 700));
        report(r);
        break;
    }
    case 6:
    case 7: send_message(fd); break;
    case 8:
    case 9: take_message(fd); break;
    case 10: {
        int count = -1;
        printf("FIONREAD %d", fd);
        long r = ioctl(fds[fd], FIONREAD, &count);
        printf(" %d", count);
        report(r);
        break;
    }
    case 11: {
        struct pollfd p[COUNT];
        for (int i = 0; i < COUNT; i++) p[i] = (struct pollfd){fds[i], POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRBAND, 0};
        printf("poll");
        int r = poll(p, COUNT, 0);
        for (int i = 0; i < COUNT; i++) printf(" %x", p[i].revents);
        report(r);
        break;
    }
    case 12: {
        if (below(3)) {
            int on = below(2);
            printf("SO_PASSCRED %d %d", fd, on);
            report(setsockopt(fds[fd], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
        } else {
            int offset = (int)below(30) - 10;
            printf("SO_PEEK_OFF %d %d", fd, offset);
            report(setsockopt(fds[fd], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
        }
        break;
    }
    case 13: {
        struct sockaddr_un a;
        int value = -1;
        socklen_t len = sizeof value;
        switch (below(4)) {
        case 0:
            printf("connect %d", fd);
            len = address(&a, below(4));
            report(connect(fds[fd], (void *)&a, len));
            break;
        case 1:
            printf("disconnect %d", fd);
            a.sun_family = AF_UNSPEC;
            report(connect(fds[fd], (void *)&a, 2));
            break;
        case 2:
            printf("SO_ERROR %d", fd);
            getsockopt(fds[fd], SOL_SOCKET, SO_ERROR, &value, &len);
            report(value);
            break;
        case 3:
            if (below(6) == 0) {
                printf("shutdown %d", fd);
                report(shutdown(fds[fd], below(3)));
            }
            break;
        }
    }
    }
}

int main(int argc, char **argv) {
    int first = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 25, steps = argc > 3 ? atoi(argv[3]) : 300;
    signal(SIGPIPE, SIG_IGN);
    int ends[2];
    if (pipe(ends)) return 1;
    plain[0] = ends[0], plain[1] = open(".", O_RDONLY);
    for (int round = first; round < first + rounds; round++) {
        state = 88172645463325252ull + round * 104729;
        printf("round %d\n", round);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds)) return 1;
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds + 2)) return 1;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds + 4)) return 1;
        for (int i = 0; i < 3; i++) {
            struct sockaddr_un a;
            socklen_t len = address(&a, i);
            unlink(a.sun_path);
            fds[6 + i] = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
            if (bind(fds[6 + i], (void *)&a, len)) return 1;
        }
        for (int i = 0; i < steps; i++) {
            step();
            if (i % 20 == 0)
                for (int k = 0; k < COUNT; k++)
                    while (recv(fds[k], buffer, sizeof buffer, MSG_DONTWAIT) > 0) {}
            // Ends go one after the other.
            if (i == steps * 3 / 4) close(fds[1]), fds[1] = -1;
            if (i == steps * 4 / 5) close(fds[2]), fds[2] = -1;
            if (i == steps * 5 / 6) close(fds[5]), fds[5] = -1;
            if (i == steps * 7 / 8) close(fds[7]), fds[7] = -1;
        }
        for (int i = 0; i < COUNT; i++) close(fds[i]);
    }
    return 0;
}
