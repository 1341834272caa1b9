/* FIFOs whose opens meet: a writer that comes and goes while a reader is opening isn't missed, many times over. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 2000

static pthread_barrier_t barrier;

static void *write_and_go(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		int fd = open("fifo", O_WRONLY);
		if (write(fd, &i, sizeof i) != sizeof i)
			printf("round %d: write\n", i);
		close(fd);
	}
	return arg;
}

int main(void)
{
	pthread_t thread;
	int good = 0;
	alarm(100);
	mkfifo("fifo", 0600);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, write_and_go, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int got = -1, more;
		pthread_barrier_wait(&barrier);
		int fd = open("fifo", O_RDONLY);
		good += read(fd, &got, sizeof got) == sizeof got && got == i && read(fd, &more, 1) == 0;
		close(fd);
	}
	pthread_join(thread, NULL);
	printf("%d rounds\n", good);
	return 0;
}
