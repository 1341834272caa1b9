/* links -fopenmp. OpenMP: loops shared out in each way, reductions, tasks, sections, locks and barriers of four threads. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#define N 100000

static double values[N];

static long fib(int n)
{
	long a, b;
	if (n < 2)
		return n;
	if (n < 12)
		return fib(n - 1) + fib(n - 2);
#pragma omp task shared(a)
	a = fib(n - 1);
#pragma omp task shared(b)
	b = fib(n - 2);
#pragma omp taskwait
	return a + b;
}

int main(void)
{
	long sum = 0, result = 0, counted = 0, atomically = 0, under_lock = 0;
	int order = 0, wrong = 0, parts[3] = { 0 };
	omp_lock_t lock;

	omp_set_dynamic(0);
	omp_set_num_threads(4);
#pragma omp parallel for schedule(static)
	for (int i = 0; i < N; i++)
		values[i] = i * 0.5;
#pragma omp parallel for schedule(dynamic, 100) reduction(+ : sum)
	for (int i = 0; i < N; i++)
		sum += (long)(values[i] * 2);
	printf("sum %ld\n", sum);
	sum = 0;
#pragma omp parallel for schedule(guided) reduction(max : sum)
	for (int i = 0; i < N; i++)
		sum = values[i] > sum ? (long)values[i] : sum;
	printf("greatest %ld\n", sum);

#pragma omp parallel
#pragma omp single
	result = fib(22);
	printf("fib %ld\n", result);

	omp_init_lock(&lock);
#pragma omp parallel
	{
#pragma omp atomic
		counted++;
		for (int i = 0; i < 1000; i++) {
#pragma omp atomic
			atomically++;
#pragma omp critical
			result++;
			omp_set_lock(&lock);
			under_lock++;
			omp_unset_lock(&lock);
		}
	}
	omp_destroy_lock(&lock);
	printf("%ld threads, %ld %ld %ld\n", counted, atomically, result, under_lock);

#pragma omp parallel for ordered
	for (int i = 0; i < 200; i++)
#pragma omp ordered
		wrong += order++ != i;
	printf("out of order: %d\n", wrong);

#pragma omp parallel sections
	{
#pragma omp section
		parts[0] = 1;
#pragma omp section
		parts[1] = 2;
#pragma omp section
		parts[2] = 3;
	}
	printf("sections %d %d %d\n", parts[0], parts[1], parts[2]);

	/* Everybody sees what the others wrote before the barrier. */
	static int seen[4][500];
	wrong = 0;
#pragma omp parallel reduction(+ : wrong)
	{
		int me = omp_get_thread_num();
		for (int round = 0; round < 500; round++) {
			seen[me][round] = round + 1;
#pragma omp barrier
			for (int other = 0; other < omp_get_num_threads(); other++)
				wrong += seen[other][round] != round + 1;
		}
	}
	printf("missed at barriers: %d\n", wrong);

	counted = 0;
	omp_set_max_active_levels(2);
#pragma omp parallel num_threads(2) reduction(+ : counted)
#pragma omp parallel num_threads(3) reduction(+ : counted)
	counted += omp_get_level();
	printf("nested %ld\n", counted);
	return 0;
}
