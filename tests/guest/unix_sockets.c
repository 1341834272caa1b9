// Unix sockets: pairs, names, connections, datagrams, control messages, options, errors and their order.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *error_name(void) {
    static const struct { int number; const char *name; } names[] = {
#define NAME(e) {e, #e}
        NAME(EPERM), NAME(ENOENT), NAME(ESRCH), NAME(EINTR), NAME(ENXIO), NAME(EBADF), NAME(EAGAIN), NAME(EACCES), NAME(EFAULT), NAME(EEXIST),
        NAME(ENOTDIR), NAME(EISDIR), NAME(EINVAL), NAME(EMFILE), NAME(ENOTTY), NAME(ESPIPE), NAME(EPIPE), NAME(EDOM), NAME(ENOTSOCK), NAME(EMSGSIZE),
        NAME(EPROTOTYPE), NAME(ENOPROTOOPT), NAME(EPROTONOSUPPORT), NAME(ESOCKTNOSUPPORT), NAME(EOPNOTSUPP), NAME(EAFNOSUPPORT), NAME(EADDRINUSE),
        NAME(ECONNRESET), NAME(EISCONN), NAME(ENOTCONN), NAME(ETOOMANYREFS), NAME(ECONNREFUSED), NAME(ECONNABORTED), NAME(ENOBUFS),
    };
    static char other[20];
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == errno) return names[i].name;
    snprintf(other, sizeof other, "errno %d", errno);
    return other;
}

#define SHOW(call) show(#call, (call))
static long show(const char *what, long result) {
    if (result < 0) printf("%s: %s\n", what, error_name());
    else printf("%s: %ld\n", what, result);
    return result;
}

static int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
static char buf[1 << 18];

static socklen_t path_address(struct sockaddr_un *a, const char *path) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    strcpy(a->sun_path, path);
    return offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
}
static socklen_t abstract_address(struct sockaddr_un *a, const char *name) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    strcpy(a->sun_path + 1, name);
    return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
}
static int bind_to(int fd, const char *path) {
    struct sockaddr_un a;
    socklen_t len = *path == '@' ? abstract_address(&a, path + 1) : path_address(&a, path);
    return bind(fd, (void *)&a, len);
}
static int connect_to(int fd, const char *path) {
    struct sockaddr_un a;
    socklen_t len = *path == '@' ? abstract_address(&a, path + 1) : path_address(&a, path);
    return connect(fd, (void *)&a, len);
}
static int send_to(int fd, const char *path, const char *text, int flags) {
    struct sockaddr_un a;
    socklen_t len = *path == '@' ? abstract_address(&a, path + 1) : path_address(&a, path);
    return sendto(fd, text, strlen(text), flags, (void *)&a, len);
}
static void name_of(const char *what, int fd, int (*get)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_un a;
    memset(&a, 0, sizeof a);
    socklen_t len = sizeof a;
    int r = get(fd, (void *)&a, &len);
    if (r < 0) printf("%s: %s\n", what, error_name());
    else printf("%s: family %d len %u '%c%s'\n", what, a.sun_family, len, len > 2 && !a.sun_path[0] ? '@' : ' ', len > 2 && !a.sun_path[0] ? a.sun_path + 1 : a.sun_path);
}
static void events(const char *what, int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
    int r = poll(&p, 1, 0);
    printf("%s: poll %d %x\n", what, r, p.revents);
}
static void option(int fd, const char *name, int number) {
    int value = -7;
    socklen_t len = sizeof value;
    int r = getsockopt(fd, SOL_SOCKET, number, &value, &len);
    if (r < 0) printf("%s: %s\n", name, error_name());
    else printf("%s: %d (%u)\n", name, value, len);
}

static void making(void) {
    puts("--- making");
    SHOW(socket(AF_UNIX, SOCK_STREAM | 0x100, 0));
    SHOW(socket(AF_UNIX, 11, 0));
    SHOW(socket(AF_UNIX, 4, 0));
    SHOW(socket(AF_UNIX, SOCK_STREAM, 2));
    SHOW(socket(AF_UNIX, 10, 2));
    SHOW(socket(99, SOCK_STREAM, 0));
    SHOW(socket(99, 12, 0));
    SHOW(socket(-1, SOCK_STREAM, 0));
    SHOW(socketpair(AF_UNIX, SOCK_STREAM | 0x100, 0, NULL));
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, NULL));
    int sv[2] = {-1, -1};
    SHOW(socketpair(AF_UNIX, 9, 0, sv));
    for (int i = 0; i < 3; i++) {
        SHOW(socketpair(AF_UNIX, kinds[i] | SOCK_NONBLOCK | SOCK_CLOEXEC, i ? 0 : 1, sv));
        struct stat st;
        fstat(sv[0], &st);
        printf("mode %o size %ld nlink %ld\n", st.st_mode, (long)st.st_size, (long)st.st_nlink);
        printf("flags %o %o\n", fcntl(sv[0], F_GETFL), fcntl(sv[1], F_GETFD));
        char path[64], link[64] = "", wanted[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", sv[0]);
        snprintf(wanted, sizeof wanted, "socket:[%lu]", (unsigned long)st.st_ino);
        readlink(path, link, sizeof link - 1);
        printf("link %s\n", strcmp(link, wanted) ? link : "as wanted");
        SHOW(open(path, O_RDWR));
        SHOW(lseek(sv[0], 0, SEEK_SET));
        SHOW(pread(sv[0], buf, 1, 0));
        option(sv[0], "SO_TYPE", SO_TYPE);
        option(sv[0], "SO_DOMAIN", SO_DOMAIN);
        option(sv[0], "SO_PROTOCOL", SO_PROTOCOL);
        option(sv[0], "SO_ERROR", SO_ERROR);
        option(sv[0], "SO_ACCEPTCONN", SO_ACCEPTCONN);
        option(sv[0], "SO_SNDBUF", SO_SNDBUF);
        option(sv[0], "SO_RCVBUF", SO_RCVBUF);
        option(sv[0], "SO_RCVLOWAT", SO_RCVLOWAT);
        option(sv[0], "SO_PEEK_OFF", SO_PEEK_OFF);
        events("fresh", sv[0]);
        SHOW(recv(sv[0], buf, 1, 0));
        name_of("getsockname", sv[0], getsockname);
        name_of("getpeername", sv[0], getpeername);
        close(sv[0]), close(sv[1]);
    }
    int fd = open("/dev/null", O_RDWR);
    SHOW(listen(fd, 1));
    SHOW(bind(fd, NULL, 0));
    SHOW(accept(fd, NULL, NULL));
    SHOW(accept4(fd, NULL, NULL, 1));
    SHOW(accept4(-1, NULL, NULL, 1));
    SHOW(send(fd, buf, 1, 0));
    SHOW(sendto(-1, buf, -1, 0, NULL, 0));
    SHOW(syscall(SYS_recvmsg, fd, NULL, 0));
    SHOW(syscall(SYS_sendmsg, -1, NULL, 0));
    SHOW(shutdown(fd, 9));
    SHOW(setsockopt(fd, 0, 0, NULL, -1));
    close(fd);
}

static void naming(void) {
    puts("--- naming");
    struct sockaddr_un a;
    int s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t len = path_address(&a, "sock");
    SHOW(bind(s, (void *)&a, 1));
    SHOW(bind(s, (void *)&a, 111));
    SHOW(bind(s, (void *)&a, 200));
    SHOW(bind(s, (void *)&a, -1));
    SHOW(bind(s, NULL, len));
    a.sun_family = AF_INET;
    SHOW(bind(s, (void *)&a, len));
    SHOW(bind(s, (void *)&a, 2));
    SHOW(listen(s, 5));
    SHOW(bind_to(s, "missing/sock"));
    mode_t old = umask(027);
    SHOW(bind_to(s, "sock"));
    umask(old);
    struct stat st;
    stat("sock", &st);
    printf("mode %o\n", st.st_mode);
    SHOW(bind_to(s, "sock"));
    SHOW(bind_to(s, "other"));
    SHOW(access("other", F_OK));
    SHOW(bind_to(s, "@other"));
    SHOW(bind_to(t, "sock"));
    SHOW(open("sock", O_RDONLY));
    name_of("getsockname", s, getsockname);
    name_of("getpeername", s, getpeername);
    SHOW(connect_to(t, "sock"));
    SHOW(connect_to(t, "missing"));
    SHOW(connect_to(t, "/dev/null"));
    SHOW(connect_to(t, "sock/x"));
    SHOW(connect(t, (void *)&a, len));
    SHOW(connect_to(d, "sock"));
    SHOW(send_to(d, "sock", "x", 0));
    SHOW(send_to(d, "missing", "x", 0));
    SHOW(listen(s, 5));
    SHOW(listen(s, 6));
    SHOW(listen(d, 6));
    SHOW(accept(t, NULL, NULL));
    SHOW(accept(d, NULL, NULL));
    SHOW(connect_to(s, "sock"));
    option(s, "SO_ACCEPTCONN", SO_ACCEPTCONN);
    events("listening", s);
    SHOW(recv(s, buf, 1, MSG_DONTWAIT));
    SHOW(send(s, buf, 1, MSG_DONTWAIT));
    SHOW(rename("sock", "moved"));
    SHOW(connect_to(t, "sock"));
    SHOW(connect_to(t, "moved"));
    SHOW(connect_to(t, "moved"));
    SHOW(connect_to(t, "missing"));
    SHOW(unlink("moved"));
    close(s);
    SHOW(recv(t, buf, 1, 0));
    SHOW(recv(t, buf, 1, 0));
    events("refused", t);
    close(t), close(d);
    // Abstract names.
    s = socket(AF_UNIX, SOCK_STREAM, 0), t = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
    SHOW(bind_to(s, "@whelk test"));
    SHOW(bind_to(t, "@whelk test"));
    SHOW(bind_to(d, "@whelk test"));
    SHOW(connect_to(t, "@whelk test"));
    SHOW(connect_to(t, "@whelk tes"));
    SHOW(listen(s, 0));
    SHOW(connect_to(t, "@whelk test"));
    int e = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    SHOW(connect_to(e, "@whelk test"));
    close(e);
    name_of("getpeername", t, getpeername);
    int c = accept(s, (void *)&a, (len = sizeof a, &len));
    printf("accepted %d, address %u\n", c >= 0, len);
    name_of("getsockname", c, getsockname);
    name_of("getpeername", c, getpeername);
    close(c), close(t), close(s), close(d);
    s = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(connect_to(s, "@whelk test"));
    SHOW(bind_to(s, "@whelk test"));
    close(s);
    // A name of the kernel's choice.
    s = socket(AF_UNIX, SOCK_DGRAM, 0);
    a.sun_family = AF_UNIX;
    SHOW(bind(s, (void *)&a, 2));
    SHOW(bind(s, (void *)&a, 2));
    len = sizeof a;
    getsockname(s, (void *)&a, &len);
    printf("chosen: %u, %d, digits %d\n", len, a.sun_path[0], (int)strspn(a.sun_path + 1, "0123456789abcdef"));
    len = 4;
    SHOW(getsockname(s, (void *)&a, &len));
    printf("len %u\n", len);
    len = -1;
    SHOW(getsockname(s, (void *)&a, &len));
    SHOW(getsockname(s, (void *)&a, NULL));
    close(s);
    // The longest name needs no NUL.
    memset(&a, 'x', sizeof a);
    a.sun_family = AF_UNIX;
    s = socket(AF_UNIX, SOCK_DGRAM, 0);
    SHOW(bind(s, (void *)&a, sizeof a));
    char room[128];
    len = sizeof room;
    getsockname(s, (void *)room, &len);
    printf("len %u\n", len);
    memcpy(room, a.sun_path, 108);
    room[108] = 0;
    SHOW(unlink(room));
    close(s);
    // Who may connect.
    s = socket(AF_UNIX, SOCK_STREAM, 0);
    bind_to(s, "guarded");
    listen(s, 3);
    chmod("guarded", 0600);
    fflush(stdout);
    if (fork() == 0) {
        if (setuid(1000)) _exit(1);
        t = socket(AF_UNIX, SOCK_STREAM, 0);
        SHOW(connect_to(t, "guarded"));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    unlink("guarded");
    close(s);
}

static void streams(void) {
    puts("--- streams");
    int s[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    SHOW(send(s[0], "hello ", 6, 0));
    SHOW(send(s[0], "world", 5, 0));
    SHOW(send(s[0], "", 0, 0));
    int n = -1;
    ioctl(s[1], FIONREAD, &n);
    printf("FIONREAD %d\n", n);
    events("readable", s[1]);
    SHOW(recv(s[1], buf, 4, MSG_PEEK));
    SHOW(recv(s[1], buf, 100, MSG_PEEK));
    SHOW(recv(s[1], buf, 4, MSG_TRUNC));
    SHOW(recv(s[1], buf, 0, 0));
    SHOW(recv(s[1], buf, 100, MSG_WAITALL | MSG_DONTWAIT));
    printf("%.7s\n", buf);
    SHOW(recv(s[1], buf, 0, MSG_DONTWAIT));
    SHOW(recv(s[1], buf, 1, MSG_DONTWAIT));
    SHOW(read(s[1], buf, 0));
    SHOW(write(s[0], buf, 0));
    SHOW(send(s[0], (void *)8, 4, 0));
    SHOW(send(s[0], "abcdef", 6, 0));
    SHOW(recv(s[1], (void *)8, 4, 0));
    SHOW(recv(s[1], buf, 9, 0));
    struct sockaddr_un a;
    socklen_t len = path_address(&a, "x");
    SHOW(sendto(s[0], "x", 1, 0, (void *)&a, len));
    int u = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(sendto(u, "x", 1, 0, (void *)&a, len));
    SHOW(send(u, "x", 1, 0));
    SHOW(recv(u, buf, 1, 0));
    events("unconnected", u);
    SHOW(shutdown(u, SHUT_WR));
    SHOW(shutdown(u, 3));
    events("unconnected, shut", u);
    close(u);
    len = 50;
    send(s[0], "y", 1, 0);
    SHOW(recvfrom(s[1], buf, 5, 0, (void *)&a, &len));
    printf("len %u\n", len);
    // Vectors, WAITALL from another process.
    struct iovec v[3] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
    SHOW(writev(s[0], v, 3));
    struct iovec w[2] = {{buf, 5}, {buf + 100, 100}};
    SHOW(readv(s[1], w, 2));
    printf("%.5s|%.8s\n", buf, buf + 100);
    fflush(stdout);
    if (fork() == 0) {
        for (int i = 0; i < 5; i++) send(s[0], "12345", 5, 0);
        _exit(0);
    }
    SHOW(recv(s[1], buf, 25, MSG_WAITALL));
    wait(NULL);
    // A long write, longer than the buffer.
    if (fork() == 0) {
        memset(buf, 'z', sizeof buf);
        long r = 0;
        for (int i = 0; i < 4; i++) r += write(s[0], buf, sizeof buf);
        _exit(r == 4 * sizeof buf);
    }
    long total = 0, bad = 0;
    while (total < 4l << 18) {
        int r = read(s[1], buf, 50000);
        if (r <= 0) break;
        for (int i = 0; i < r; i++) bad += buf[i] != 'z';
        total += r;
    }
    int status;
    wait(&status);
    printf("long: %ld, %ld wrong, child %d\n", total, bad, WEXITSTATUS(status));
    // The end.
    SHOW(shutdown(s[0], SHUT_WR));
    events("writer shut", s[0]);
    events("other side", s[1]);
    SHOW(recv(s[1], buf, 1, 0));
    signal(SIGPIPE, SIG_IGN);
    SHOW(send(s[0], "x", 1, 0));
    SHOW(send(s[0], "", 0, 0));
    SHOW(send(s[1], "back", 4, 0));
    SHOW(shutdown(s[0], SHUT_RD));
    SHOW(send(s[1], "back", 4, 0));
    SHOW(recv(s[0], buf, 9, 0));
    SHOW(recv(s[0], buf, 9, 0));
    events("both shut", s[0]);
    events("other side", s[1]);
    close(s[0]), close(s[1]);
    // Closed with unread bytes.
    for (int unread = 0; unread < 2; unread++) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, s);
        if (unread) send(s[0], "lost", 4, 0);
        send(s[1], "kept", 4, 0);
        close(s[1]);
        events("closed", s[0]);
        SHOW(recv(s[0], buf, 9, MSG_PEEK));
        option(s[0], "SO_ERROR", SO_ERROR);
        if (unread) send(s[0], "x", 1, 0);
        SHOW(recv(s[0], buf, 9, 0));
        SHOW(recv(s[0], buf, 9, 0));
        SHOW(recv(s[0], buf, 9, 0));
        SHOW(send(s[0], "x", 1, MSG_NOSIGNAL));
        name_of("getpeername", s[0], getpeername);
        close(s[0]);
    }
    signal(SIGPIPE, SIG_DFL);
    fflush(stdout);
    for (int flag = 0; flag < 2; flag++) {
        if (fork() == 0) {
            socketpair(AF_UNIX, SOCK_STREAM, 0, s);
            close(s[1]);
            send(s[0], "x", 1, flag ? MSG_NOSIGNAL : 0);
            _exit(5);
        }
        wait(&status);
        printf("SIGPIPE: %x\n", status);
    }
    fflush(stdout);
    // Full.
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
    while (send(s[0], buf, 4096, 0) > 0) {}
    printf("full: %s\n", error_name());
    events("full", s[0]);
    while (recv(s[1], buf, sizeof buf, 0) > 0) {}
    events("drained", s[0]);
    ioctl(s[0], TIOCOUTQ, &n);
    printf("SIOCOUTQ %d\n", n);
    close(s[0]), close(s[1]);
}

static void packets(void) {
    for (int i = 1; i < 3; i++) {
        printf("--- packets %d\n", i);
        int s[2], n;
        socketpair(AF_UNIX, kinds[i], 0, s);
        SHOW(send(s[0], "first", 5, MSG_EOR));
        SHOW(send(s[0], "second one", 10, 0));
        SHOW(send(s[0], "", 0, 0));
        ioctl(s[1], FIONREAD, &n);
        printf("FIONREAD %d\n", n);
        struct iovec v = {buf, 3};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        SHOW(recvmsg(s[1], &m, MSG_PEEK));
        printf("flags %x\n", m.msg_flags);
        SHOW(recvmsg(s[1], &m, MSG_TRUNC));
        printf("flags %x\n", m.msg_flags);
        v.iov_len = 100;
        SHOW(recvmsg(s[1], &m, MSG_TRUNC | MSG_WAITALL));
        printf("flags %x %.10s\n", m.msg_flags, buf);
        SHOW(recv(s[1], buf, 100, MSG_DONTWAIT));
        SHOW(recv(s[1], buf, 100, MSG_DONTWAIT));
        SHOW(write(s[0], "", 0));
        SHOW(recv(s[1], buf, 100, MSG_DONTWAIT));
        SHOW(send(s[0], "gone", 4, 0));
        SHOW(recv(s[1], (void *)8, 100, 0));
        SHOW(recv(s[1], buf, 100, MSG_DONTWAIT));
        SHOW(send(s[0], buf, 212993, 0));
        SHOW(send(s[0], buf, 100000, 0));
        SHOW(recv(s[1], buf, sizeof buf, 0));
        SHOW(send(s[0], "x", 1, MSG_OOB));
        struct sockaddr_un a;
        socklen_t len = path_address(&a, "missing");
        SHOW(sendto(s[0], "to", 2, 0, (void *)&a, len));
        SHOW(recv(s[1], buf, 10, MSG_DONTWAIT));
        // Offsets of peeks.
        int offset = 2;
        SHOW(setsockopt(s[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
        send(s[0], "abcdef", 6, 0);
        memset(buf, 0, 10);
        SHOW(recv(s[1], buf, 2, MSG_PEEK));
        printf("%s\n", buf);
        SHOW(recv(s[1], buf, 8, MSG_PEEK));
        printf("%s\n", buf);
        option(s[1], "SO_PEEK_OFF", SO_PEEK_OFF);
        SHOW(recv(s[1], buf, 8, 0));
        option(s[1], "SO_PEEK_OFF", SO_PEEK_OFF);
        SHOW(shutdown(s[0], SHUT_WR));
        SHOW(send(s[0], "x", 1, 0));
        events("shut", s[0]);
        events("other", s[1]);
        SHOW(recv(s[1], buf, 9, MSG_DONTWAIT));
        SHOW(shutdown(s[0], SHUT_RD));
        SHOW(send(s[1], "x", 1, 0));
        SHOW(recv(s[0], buf, 9, 0));
        close(s[0]), close(s[1]);
        socketpair(AF_UNIX, kinds[i], 0, s);
        send(s[0], "unread", 6, 0);
        close(s[1]);
        events("closed", s[0]);
        SHOW(send(s[0], "x", 1, 0));
        SHOW(send(s[0], "x", 1, 0));
        SHOW(recv(s[0], buf, 1, MSG_DONTWAIT));
        events("closed", s[0]);
        name_of("getpeername", s[0], getpeername);
        close(s[0]);
    }
    puts("--- datagrams");
    int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0), c = socket(AF_UNIX, SOCK_DGRAM, 0);
    bind_to(a, "a"), bind_to(b, "b");
    SHOW(send(a, "x", 1, 0));
    SHOW(send_to(a, "b", "from a", 0));
    SHOW(send_to(c, "b", "from c", 0));
    struct sockaddr_un from;
    for (int i = 0; i < 2; i++) {
        memset(&from, 0, sizeof from);
        socklen_t len = sizeof from;
        SHOW(recvfrom(b, buf, 100, 0, (void *)&from, &len));
        printf("from %u '%s'\n", len, from.sun_path);
    }
    SHOW(connect_to(a, "b"));
    SHOW(send(a, "x", 1, 0));
    SHOW(connect_to(b, "a"));
    SHOW(send_to(c, "b", "x", 0));
    SHOW(connect_to(c, "b"));
    SHOW(send_to(a, "b", "y", 0));
    events("pending", b);
    from.sun_family = AF_UNSPEC;
    SHOW(connect(b, (void *)&from, 2));
    events("lost", b);
    events("other", a);
    option(a, "SO_ERROR", SO_ERROR);
    name_of("getpeername", b, getpeername);
    // Flow: one that isn't connected back.
    fcntl(c, F_SETFL, O_NONBLOCK);
    SHOW(connect_to(c, "b"));
    int n = 0;
    while (send(c, "flow", 4, 0) == 4) n++;
    printf("%d datagrams, then %s\n", n, error_name());
    events("blocked", c);
    recv(b, buf, 9, 0);
    events("again", c);
    while (recv(b, buf, 9, MSG_DONTWAIT) > 0) {}
    fflush(stdout);
    if (fork() == 0) {
        fcntl(c, F_SETFL, 0);
        for (int i = 0; i < 40; i++) send(c, &i, sizeof i, 0);
        _exit(0);
    }
    int wrong = 0;
    for (int i = 0, k; i < 40; i++) wrong += recv(b, &k, sizeof k, 0) != sizeof k || k != i;
    wait(NULL);
    printf("blocking flow: %d wrong\n", wrong);
    SHOW(close(b));
    SHOW(send(a, "x", 1, 0));
    SHOW(send(a, "x", 1, 0));
    SHOW(send_to(a, "b", "x", 0));
    SHOW(unlink("b"));
    SHOW(unlink("a"));
    // To itself.
    SHOW(connect_to(a, "@self"));
    int d = socket(AF_UNIX, SOCK_DGRAM, 0);
    SHOW(bind_to(d, "@self"));
    SHOW(connect_to(d, "@self"));
    SHOW(send(d, "me", 2, 0));
    SHOW(recv(d, buf, 9, 0));
    close(a), close(c), close(d);
}

static void listeners(void) {
    for (int i = 0; i < 3; i += 2) {
        printf("--- listeners %d\n", i);
        int l = socket(AF_UNIX, kinds[i], 0), c[5];
        SHOW(bind_to(l, "l"));
        SHOW(listen(l, 1));
        for (int k = 0; k < 4; k++) {
            c[k] = socket(AF_UNIX, kinds[i] | SOCK_NONBLOCK, 0);
            SHOW(connect_to(c[k], "l"));
        }
        events("listener", l);
        SHOW(send(c[0], "early", 5, 0));
        struct ucred peer;
        socklen_t len = sizeof peer;
        getsockopt(c[0], SOL_SOCKET, SO_PEERCRED, &peer, &len);
        printf("peer %d %d %d\n", peer.pid == getpid(), peer.uid, peer.gid);
        len = sizeof peer;
        getsockopt(c[3], SOL_SOCKET, SO_PEERCRED, &peer, &len);
        printf("peer %d %d %d\n", peer.pid, peer.uid, peer.gid);
        int fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        printf("flags %o %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
        SHOW(recv(fd, buf, 9, 0));
        SHOW(recv(fd, buf, 9, 0));
        close(c[1]);
        int fd2 = accept(l, NULL, NULL);
        printf("accepted %d\n", fd2 >= 0);
        SHOW(recv(fd2, buf, 9, 0));
        close(fd2);
        SHOW(connect_to(c[3], "l"));
        fflush(stdout);
        // One that waits for room.
        if (fork() == 0) {
            c[4] = socket(AF_UNIX, kinds[i], 0);
            listen(l, 0);
            SHOW(connect_to(c[4], "l"));
            fflush(stdout);
            _exit(send(c[4], "waited", 6, 0));
        }
        for (int k = 0; k < 2; k++) {
            fd2 = accept(l, NULL, NULL);
            int r = recv(fd2, buf, 9, k < 1 ? MSG_DONTWAIT : 0);
            if (k == 1) printf("last %d\n", r);
            close(fd2);
        }
        int status;
        wait(&status);
        printf("child %d\n", WEXITSTATUS(status));
        fcntl(l, F_SETFL, O_NONBLOCK);
        SHOW(accept(l, NULL, NULL));
        SHOW(shutdown(l, SHUT_RD));
        fcntl(l, F_SETFL, 0);
        SHOW(accept(l, NULL, NULL));
        SHOW(connect_to(c[2], "l"));
        close(l), close(fd);
        for (int k = 0; k < 4; k++) close(c[k]);
        unlink("l");
    }
}

// Sends bytes with control messages of the given sort.
static int send_control(int s, int type, const void *data, int len) {
    char control[2048] = {0};
    struct iovec v = {"c", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(len)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET, h->cmsg_type = type, h->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(h), data, len);
    return sendmsg(s, &m, MSG_DONTWAIT);
}
static int received[300];
static int receive_control(int s, int room, int flags) {
    static char control[4096];
    struct iovec v = {buf, 10};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room ? control : NULL, .msg_controllen = room};
    int r = recvmsg(s, &m, flags | MSG_DONTWAIT);
    if (r < 0) return r;
    printf("  flags %x control %zu:", m.msg_flags, m.msg_controllen);
    int count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        int n = (h->cmsg_len - CMSG_LEN(0)) / 4, *data = (int *)CMSG_DATA(h);
        if (h->cmsg_type == SCM_RIGHTS) {
            printf(" rights %d", n);
            for (int i = 0; i < n; i++) {
                struct stat st;
                received[count++] = data[i];
                printf(" %s%s", fstat(data[i], &st) ? "bad" : S_ISSOCK(st.st_mode) ? "sock" : S_ISFIFO(st.st_mode) ? "pipe" : "file", fcntl(data[i], F_GETFD) ? "*" : "");
            }
        } else if (h->cmsg_type == SCM_CREDENTIALS) {
            printf(" creds(%zu) pid %s", (size_t)h->cmsg_len, data[0] == 0 ? "none" : data[0] == getpid() ? "own" : "other");
            if (n > 2) printf(" %d %d", data[1], data[2]);
        } else printf(" ?%d", h->cmsg_type);
    }
    puts("");
    for (int i = 0; i < count; i++) close(received[i]);
    return r;
}

static void control(void) {
    for (int i = 0; i < 3; i++) {
        printf("--- control %d\n", i);
        int s[2], p[2], on = 1;
        socketpair(AF_UNIX, kinds[i], 0, s);
        if (pipe(p)) return;
        int fds[260];
        for (int k = 0; k < 260; k++) fds[k] = p[k & 1];
        fds[1] = s[0];
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 8));
        SHOW(receive_control(s[1], 1000, MSG_PEEK | MSG_CMSG_CLOEXEC));
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 12));
        SHOW(receive_control(s[1], CMSG_LEN(8), 0));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 4));
        SHOW(receive_control(s[1], CMSG_LEN(0), 0));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 4));
        SHOW(receive_control(s[1], 0, 0));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 4));
        SHOW(read(s[1], buf, 10));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 253 * 4));
        SHOW(receive_control(s[1], 2000, MSG_CMSG_CLOEXEC));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 254 * 4));
        int none = -1;
        SHOW(send_control(s[0], SCM_RIGHTS, &none, 4));
        SHOW(send_control(s[0], SCM_RIGHTS, &none, 0));
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(send_control(s[0], 9, &none, 4));
        // Credentials.
        struct ucred own = {getpid(), getuid(), getgid()}, odd = {getpid(), 77, 88}, lost = {30000, 0, 0};
        SHOW(send_control(s[0], SCM_CREDENTIALS, &own, sizeof own));
        SHOW(send_control(s[0], SCM_CREDENTIALS, &own, 8));
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(send(s[0], "q", 1, 0));
        SHOW(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
        option(s[1], "SO_PASSCRED", SO_PASSCRED);
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(send_control(s[0], SCM_CREDENTIALS, &odd, sizeof odd));
        SHOW(send_control(s[0], SCM_CREDENTIALS, &lost, sizeof lost));
        SHOW(send(s[0], "a", 1, 0));
        SHOW(send(s[0], "b", 1, 0));
        SHOW(send_control(s[0], SCM_RIGHTS, fds, 4));
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(receive_control(s[1], CMSG_LEN(sizeof own) - 4, 0));
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(receive_control(s[1], 1000, 0));
        fflush(stdout);
        if (fork() == 0) {
            if (setgid(1001) || setuid(1000)) _exit(1);
            struct ucred mine = {getpid(), 1000, 1001};
            SHOW(send_control(s[0], SCM_CREDENTIALS, &odd, sizeof odd));
            SHOW(send_control(s[0], SCM_CREDENTIALS, &own, sizeof own));
            SHOW(send_control(s[0], SCM_CREDENTIALS, &mine, sizeof mine));
            SHOW(send(s[0], "child", 5, 0));
            struct rlimit limit = {20, 20};
            setrlimit(RLIMIT_NOFILE, &limit);
            int sent = 0;
            while (sent < 30 && send_control(s[0], SCM_RIGHTS, fds, 8) == 1) sent++;
            printf("in flight: %d, %s\n", sent, error_name());
            fflush(stdout);
            _exit(0);
        }
        wait(NULL);
        SHOW(receive_control(s[1], 1000, 0));
        SHOW(receive_control(s[1], 1000, 0));
        while (recv(s[1], buf, 10, MSG_DONTWAIT) > 0) {}
        // Its own receiver's end goes along, and everything is closed.
        SHOW(send_control(s[0], SCM_RIGHTS, &s[1], 4));
        close(s[1]);
        SHOW(receive_control(s[0], 1000, 0));
        close(s[0]);
        // A pipe's end that nobody takes is closed with the socket.
        socketpair(AF_UNIX, kinds[i], 0, s);
        SHOW(send_control(s[0], SCM_RIGHTS, &p[1], 4));
        close(p[1]);
        events("pipe", p[0]);
        close(s[1]);
        events("pipe", p[0]);
        close(s[0]), close(p[0]);
    }
    // A socket in a socket in a socket…
    int chain[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, chain);
    for (int k = 0; k < 3000; k++) {
        int next[2];
        socketpair(AF_UNIX, SOCK_DGRAM, 0, next);
        if (send_control(next[0], SCM_RIGHTS, chain, 8) != 1) { printf("chain: %s at %d\n", error_name(), k); break; }
        close(chain[0]), close(chain[1]);
        chain[0] = next[0], chain[1] = next[1];
    }
    close(chain[0]), close(chain[1]);
    puts("chain closed");
}

static void many(void) {
    puts("--- many");
    int s[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    struct iovec v[4] = {{"a", 1}, {"bb", 2}, {"ccc", 3}, {"dddd", 4}}, w[6];
    struct mmsghdr m[6] = {0};
    for (int i = 0; i < 4; i++) m[i].msg_hdr.msg_iov = &v[i], m[i].msg_hdr.msg_iovlen = 1;
    SHOW(sendmmsg(s[0], m, 4, 0));
    printf("%u %u %u %u\n", m[0].msg_len, m[1].msg_len, m[2].msg_len, m[3].msg_len);
    for (int i = 0; i < 6; i++) w[i].iov_base = buf + 100 * i, w[i].iov_len = 3, m[i].msg_hdr.msg_iov = &w[i], m[i].msg_hdr.msg_iovlen = 1;
    SHOW(recvmmsg(s[1], m, 2, 0, NULL));
    SHOW(recvmmsg(s[1], m + 2, 4, MSG_WAITFORONE, NULL));
    for (int i = 0; i < 4; i++) printf("%u %x %.3s\n", m[i].msg_len, m[i].msg_hdr.msg_flags, buf + 100 * i);
    SHOW(recvmmsg(s[1], m, 4, MSG_DONTWAIT, NULL));
    struct timespec bad = {0, 2000000000};
    SHOW(recvmmsg(s[1], m, 4, 0, &bad));
    m[0].msg_hdr.msg_iovlen = 1025;
    SHOW(recvmsg(s[1], &m[0].msg_hdr, 0));
    SHOW(sendmsg(s[1], &m[0].msg_hdr, 0));
    m[1].msg_hdr.msg_name = buf, m[1].msg_hdr.msg_namelen = -1;
    SHOW(sendmsg(s[1], &m[1].msg_hdr, 0));
    SHOW(sendmmsg(s[0], m + 2, 0, 0));
    close(s[0]), close(s[1]);
}

static void options(void) {
    puts("--- options");
    int s[2], value = 5;
    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, 4));
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &value, 3));
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &value, -1));
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, NULL, 4));
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &value, 4));
    option(s[0], "SO_REUSEADDR", SO_REUSEADDR);
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_KEEPALIVE, &value, 4));
    option(s[0], "SO_KEEPALIVE", SO_KEEPALIVE);
    value = 1;
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, 4));
    option(s[0], "SO_SNDBUF", SO_SNDBUF);
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_RCVBUF, &value, 4));
    option(s[0], "SO_RCVBUF", SO_RCVBUF);
    value = 20000;
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &value, 4));
    option(s[0], "SO_SNDBUF", SO_SNDBUF);
    SHOW(setsockopt(s[0], 6, 1, &value, 4));
    SHOW(getsockopt(s[0], 6, 1, &value, (socklen_t[]){4}));
    option(s[0], "SO_NONE", 1000);
    struct timeval time = {0, 1000000};
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, 8));
    time.tv_usec = 30000;
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    socklen_t len = sizeof time;
    getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, &len);
    printf("timeout %ld %ld (%u)\n", (long)time.tv_sec, (long)time.tv_usec / 10000, len);
    SHOW(recv(s[0], buf, 1, 0));
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
    while (send(s[0], buf, 1000, 0) > 0) {}
    printf("send: %s\n", error_name());
    struct linger linger = {1, 7};
    SHOW(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    memset(&linger, 0, sizeof linger);
    len = sizeof linger;
    getsockopt(s[0], SOL_SOCKET, SO_LINGER, &linger, &len);
    printf("linger %d %d\n", linger.l_onoff, linger.l_linger);
    len = 2;
    value = 0;
    SHOW(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &len));
    printf("%d %u\n", value, len);
    len = -1;
    SHOW(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &value, &len));
    close(s[0]), close(s[1]);
}

static int hits;
static void handler(int s) { (void)s; hits++; }
static void signals(void) {
    puts("--- signals");
    int s[2];
    for (int restart = 0; restart < 2; restart++) {
        for (int timed = 0; timed < 2; timed++) {
            socketpair(AF_UNIX, timed ? SOCK_SEQPACKET : SOCK_STREAM, 0, s);
            struct sigaction action = {.sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0};
            sigaction(SIGUSR1, &action, NULL);
            struct timeval time = {50, 0};
            if (timed) setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
            fflush(stdout);
            pid_t parent = getpid(), child = fork();
            if (child == 0) {
                char path[40], line[300];
                snprintf(path, sizeof path, "/proc/%d/stat", parent);
                // Until the parent sleeps.
                do {
                    int fd = open(path, O_RDONLY);
                    int n = read(fd, line, sizeof line - 1);
                    line[n > 0 ? n : 0] = 0;
                    close(fd);
                } while (!strstr(line, ") S"));
                kill(parent, SIGUSR1);
                usleep(20000);
                send(s[1], "late", 4, 0);
                _exit(0);
            }
            hits = 0;
            long r = recv(s[0], buf, 9, 0);
            printf("restart %d timed %d: %ld %s, %d\n", restart, timed, r, r < 0 ? error_name() : "", hits);
            wait(NULL);
            close(s[0]), close(s[1]);
        }
    }
}

static void waiting(int ep, const char *what) {
    struct epoll_event e[4];
    int n = epoll_wait(ep, e, 4, 0);
    printf("%s: %d", what, n);
    for (int i = 0; i < n; i++) printf(" %x", e[i].events);
    puts("");
}
static void epolls(void) {
    puts("--- epoll");
    for (int i = 0; i < 3; i++) {
        int s[2], ep = epoll_create1(0);
        socketpair(AF_UNIX, kinds[i] | SOCK_NONBLOCK, 0, s);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
        epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e);
        waiting(ep, "added");
        waiting(ep, "again");
        send(s[1], "12", 2, 0);
        waiting(ep, "came");
        waiting(ep, "again");
        send(s[1], "34", 2, 0);
        waiting(ep, "more came");
        recv(s[0], buf, 1, 0);
        waiting(ep, "read");
        send(s[0], "5", 1, 0);
        waiting(ep, "sent");
        recv(s[1], buf, 9, 0);
        waiting(ep, "taken");
        e.events = EPOLLIN | EPOLLET;
        epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e);
        waiting(ep, "modified");
        send(s[0], "5", 1, 0);
        recv(s[1], buf, 9, 0);
        waiting(ep, "taken, in only");
        e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e);
        waiting(ep, "modified");
        shutdown(s[1], SHUT_WR);
        waiting(ep, "shut");
        close(s[1]);
        waiting(ep, "closed");
        waiting(ep, "again");
        close(s[0]), close(ep);
    }
}

static void moving(void) {
    puts("--- moving");
    int s[2], p[2];
    for (int i = 0; i < 3; i++) {
        socketpair(AF_UNIX, kinds[i], 0, s);
        if (pipe(p)) return;
        SHOW(write(p[1], "through a pipe", 14));
        SHOW(splice(p[0], NULL, s[0], NULL, 100, 0));
        memset(buf, 0, 100);
        SHOW(recv(s[1], buf, 100, 0));
        puts(buf);
        SHOW(send(s[0], "and back", 8, 0));
        SHOW(splice(s[1], NULL, p[1], NULL, 100, 0));
        memset(buf, 0, 100);
        SHOW(read(p[0], buf, 100));
        puts(buf);
        if (i == 0) SHOW(splice(s[1], NULL, p[1], NULL, 100, SPLICE_F_NONBLOCK));
        int fd = open("content", O_RDWR | O_CREAT | O_TRUNC, 0600);
        SHOW(write(fd, "file contents", 13));
        off_t at = 5;
        SHOW(sendfile(s[0], fd, &at, 100));
        memset(buf, 0, 100);
        SHOW(recv(s[1], buf, 100, 0));
        puts(buf);
        SHOW(sendfile(fd, s[1], NULL, 10));
        close(fd), close(p[0]), close(p[1]), close(s[0]), close(s[1]);
    }
}

static void table(void) {
    puts("--- /proc/net/unix");
    int l = socket(AF_UNIX, SOCK_STREAM, 0), d = socket(AF_UNIX, SOCK_DGRAM, 0);
    bind_to(l, "@whelk listener"), listen(l, 3);
    bind_to(d, "in the table");
    static const char *names[] = {"", "@whelk listener", "in the table"};
    char line[300], path[200];
    for (int i = 0; i < 3; i++) {
        FILE *f = fopen("/proc/net/unix", "r");
        while (fgets(line, sizeof line, f)) {
            unsigned count, protocol, flags, type, state;
            unsigned long inode;
            if (!strncmp(line, "Num ", 4)) {
                if (i == 0) printf("%s", line);
                continue;
            }
            if (i == 0 || !strstr(line, names[i])) continue;
            int n = sscanf(line, "%*s %X %X %X %X %X %lu %199[^\n]", &count, &protocol, &flags, &type, &state, &inode, path);
            struct stat st;
            fstat(i == 2 ? d : l, &st);
            printf("%d: %u %u %x %x %x inode %d %s\n", n, count, protocol, flags, type, state, inode == st.st_ino, path);
        }
        fclose(f);
    }
    unlink("in the table");
    close(l), close(d);
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    making(), fflush(stdout);
    naming(), fflush(stdout);
    streams(), fflush(stdout);
    packets(), fflush(stdout);
    listeners(), fflush(stdout);
    control(), fflush(stdout);
    many(), fflush(stdout);
    options(), fflush(stdout);
    signals(), fflush(stdout);
    epolls(), fflush(stdout);
    moving(), fflush(stdout);
    table(), fflush(stdout);
    return 0;
}
