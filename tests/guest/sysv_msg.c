/* System V message queues: types, copying, limits, blocking, removal, permissions. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif
#ifndef MSG_INFO
#define MSG_INFO 12
#endif
#define E(x)                                          \
	({                                            \
		errno = 0;                            \
		long r_ = (x);                        \
		r_ < 0 ? -errno : (int)r_;            \
	})
/* One call, one line: arguments of printf are evaluated in any order. */
#define SAY(what, x) printf("%s: %d\n", what, E(x))
#define TRY(what, x) printf("%s: %d\n", what, ({ int v_ = E(x); v_ < 0 ? v_ : 0; }))

struct message {
	long type;
	char text[8300];
};

static int send(int id, long type, const char *text, int flags) {
	struct message m = { .type = type };
	strcpy(m.text, text);
	return msgsnd(id, &m, strlen(text), flags);
}

static void receive(const char *what, int id, long type, size_t room, int flags) {
	struct message m = { .type = -7 };
	int r = E(msgrcv(id, &m, room, type, flags));
	printf("%s: %d", what, r);
	if (r >= 0)
		printf(" type %ld text %.20s", m.type, m.text);
	printf("\n");
}

static void show(const char *what, int id) {
	struct msqid_ds ds;
	int r = E(msgctl(id, IPC_STAT, &ds));
	printf("%s: %d", what, r);
	if (r >= 0)
		printf(" mode %o messages %lu limit %lu sender me %d receiver me %d times %d%d%d", ds.msg_perm.mode,
		       (unsigned long)ds.msg_qnum, (unsigned long)ds.msg_qbytes, ds.msg_lspid == getpid(), ds.msg_lrpid == getpid(),
		       ds.msg_stime > 0, ds.msg_rtime > 0, ds.msg_ctime > 0);
	printf("\n");
}

static key_t key(void) {
	return 0x57600000 | (getpid() & 0xffff);
}

static void basics(void) {
	TRY("not there", msgget(key(), 0600));
	int id = msgget(key(), IPC_CREAT | 0640);
	show("new", id);
	printf("the same %d\n", msgget(key(), 0) == id);
	SAY("exclusive", msgget(key(), IPC_CREAT | IPC_EXCL | 0600));
	SAY("type 0", send(id, 0, "x", 0));
	SAY("type -1", send(id, -1, "x", 0));
	SAY("negative id", send(-1, 1, "x", 0));
	SAY("nobody", send(0x7fff0000, 1, "x", 0));
	static struct message m = { .type = 1 };
	SAY("too long", msgsnd(id, &m, 8193, 0));
	SAY("length -1", msgsnd(id, &m, -1, 0));
	SAY("from nowhere", msgsnd(id, (void *)1, 1, 0));
	SAY("empty", send(id, 4, "", 0));
	show("one", id);
	receive("empty", id, 0, 10, 0);
	receive("nothing there", id, 0, 10, IPC_NOWAIT);
	receive("negative room", id, 0, -1, IPC_NOWAIT);
	SAY("unknown command", msgctl(id, 99, NULL));
	const struct {
		long type;
		const char *text;
	} all[] = { { 5, "five" }, { 3, "three" }, { 9, "nine" }, { 3, "three again" }, { 1, "one" } };
	for (unsigned i = 0; i < 5; i++)
		send(id, all[i].type, all[i].text, 0);
	receive("copy of 0", id, 0, 100, MSG_COPY | IPC_NOWAIT);
	receive("copy of 4", id, 4, 100, MSG_COPY | IPC_NOWAIT);
	receive("copy of 5", id, 5, 100, MSG_COPY | IPC_NOWAIT);
	receive("copy, cut off", id, 3, 5, MSG_COPY | IPC_NOWAIT | MSG_NOERROR);
	receive("copy, may wait", id, 0, 100, MSG_COPY);
	receive("copy except", id, 0, 100, MSG_COPY | IPC_NOWAIT | MSG_EXCEPT);
	show("still five", id);
	receive("of type 3", id, 3, 100, 0);
	receive("of type 7", id, 7, 100, IPC_NOWAIT);
	receive("up to 2", id, -2, 100, 0);
	receive("up to 0", id, LONG_MIN, 3, 0);
	receive("up to all", id, LONG_MIN, 5, MSG_NOERROR);
	receive("other than 5", id, 5, 100, MSG_EXCEPT);
	send(id, 2, "a long text", 0);
	receive("first", id, 0, 100, 0);
	receive("too small", id, 0, 4, 0);
	show("kept", id);
	receive("cut off", id, 0, 4, MSG_NOERROR);
	show("none", id);
	struct msqid_ds ds;
	msgctl(id, IPC_STAT, &ds);
	ds.msg_qbytes = 100;
	ds.msg_perm.mode = 0600;
	SAY("set", msgctl(id, IPC_SET, &ds));
	show("set", id);
	m.type = 1;
	SAY("60 bytes", msgsnd(id, &m, 60, IPC_NOWAIT));
	SAY("60 more", msgsnd(id, &m, 60, IPC_NOWAIT));
	SAY("40 more", msgsnd(id, &m, 40, IPC_NOWAIT));
	SAY("0 more", msgsnd(id, &m, 0, IPC_NOWAIT));
	SAY("1 more", msgsnd(id, &m, 1, IPC_NOWAIT));
	ds.msg_qbytes = 4;
	msgctl(id, IPC_SET, &ds);
	SAY("over the new limit", msgsnd(id, &m, 0, IPC_NOWAIT));
	SAY("remove", msgctl(id, IPC_RMID, NULL));
	SAY("remove again", msgctl(id, IPC_RMID, NULL));
	struct msginfo info;
	TRY("info", msgctl(0, IPC_INFO, (void *)&info));
	printf("pool %d map %d max %d mnb %d mni %d ssz %d tql %d seg %d\n", info.msgpool, info.msgmap, info.msgmax, info.msgmnb,
	       info.msgmni, info.msgssz, info.msgtql, info.msgseg);
	TRY("usage", msgctl(0, MSG_INFO, (void *)&info));
}

static volatile int handled;

static void handler(int sig) {
	(void)sig;
	handled++;
}

static void blocking(void) {
	int id = msgget(IPC_PRIVATE, 0600), status;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		struct message m;
		int r = msgrcv(id, &m, 100, 5, 0);
		_exit(r == 4 && m.type == 5 ? 7 : 8);
	}
	send(id, 4, "other", 0);
	send(id, 5, "mine", 0);
	waitpid(child, &status, 0);
	printf("received: %d\n", WEXITSTATUS(status));
	show("left", id);
	/* A full queue: the sender goes on when there is room. */
	struct msqid_ds ds;
	msgctl(id, IPC_STAT, &ds);
	ds.msg_qbytes = 8;
	msgctl(id, IPC_SET, &ds);
	child = fork();
	if (child == 0)
		_exit(send(id, 6, "more room", 0) == -1 && errno == EIDRM ? 9 : send(id, 6, "12345678", 0) == 0 ? 7 : 8);
	receive("first", id, 4, 100, 0);
	pid_t second = fork();
	if (second == 0)
		_exit(send(id, 7, "12345678", 0) == 0 ? 7 : 8);
	receive("from the second", id, 7, 100, 0);
	waitpid(second, &status, 0);
	printf("sent: %d\n", WEXITSTATUS(status));
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	ualarm(30000, 0);
	receive("interrupted", id, 99, 100, 0);
	printf("handled %d\n", handled);
	msgctl(id, IPC_RMID, NULL);
	waitpid(child, &status, 0);
	printf("removed under the sender: %d\n", WEXITSTATUS(status));
	id = msgget(IPC_PRIVATE, 0600);
	int ready[2];
	if (pipe(ready))
		return;
	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct message m;
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		int r = E(msgrcv(id, &m, 100, 5, 0));
		_exit(r == -EIDRM || r == -EINVAL ? 7 : 8);
	}
	char c;
	if (read(ready[0], &c, 1) != 1)
		return;
	msgctl(id, IPC_RMID, NULL);
	waitpid(child, &status, 0);
	printf("removed under the receiver: %d\n", WEXITSTATUS(status));
}

static void permissions(void) {
	int id = msgget(key(), IPC_CREAT | 0604);
	send(id, 1, "text", 0);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
			_exit(1);
		SAY("others send", send(id, 1, "x", 0));
		receive("others receive", id, 0, 100, 0);
		struct msqid_ds ds;
		SAY("stat", msgctl(id, IPC_STAT, &ds));
		SAY("set", msgctl(id, IPC_SET, &ds));
		SAY("remove", msgctl(id, IPC_RMID, NULL));
		SAY("open for writing", msgget(key(), 0002));
		int own = msgget(IPC_PRIVATE, 0600);
		msgctl(own, IPC_STAT, &ds);
		ds.msg_qbytes = 16385;
		SAY("a larger queue", msgctl(own, IPC_SET, &ds));
		SAY("remove my own", msgctl(own, IPC_RMID, NULL));
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	char line[300];
	FILE *file = fopen("/proc/sysvipc/msg", "r");
	if (!file || !fgets(line, sizeof line, file))
		return;
	printf("%s", line);
	send(id, 1, "12345", 0);
	rewind(file);
	while (fgets(line, sizeof line, file)) {
		int k, n, bytes, count;
		unsigned mode;
		if (sscanf(line, "%d %d %o %d %d", &k, &n, &mode, &bytes, &count) == 5 && k == key())
			printf("length %zu: mode %o bytes %d count %d\n", strlen(line), mode, bytes, count);
	}
	fclose(file);
	msgctl(id, IPC_RMID, NULL);
}

int main(void) {
	setvbuf(stdout, NULL, _IOLBF, 0);
	basics();
	blocking();
	permissions();
	return 0;
}
