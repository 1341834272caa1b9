/* Floating point to the last bit: SSE2 and x87 always, AVX, AVX2 and FMA where the processor has them, while a timer interrupts and other threads compute.
   Each result is printed in hexadecimal; wider instructions must give what the narrow ones do, so that the output is the same on every processor. */
#include <fenv.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define AVX __attribute__((target("avx"), noinline))
#define AVX2 __attribute__((target("avx2"), noinline))
#define FMA __attribute__((target("avx,fma"), noinline))
#define PLAIN __attribute__((noinline))

enum { N = 48 };

static uint64_t bits(double value) {
	uint64_t all;
	memcpy(&all, &value, sizeof all);
	return all;
}

/* Everything that went into an array, as one number. */
static uint64_t sum(const void *start, size_t len) {
	const unsigned char *bytes = start;
	uint64_t hash = 0xcbf29ce484222325ull;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	return hash;
}

static uint32_t next(uint32_t *seed) {
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void fill(double *to, int count, uint32_t seed) {
	for (int i = 0; i < count; i++)
		to[i] = ((int)(next(&seed) % 20001) - 10000) / 977.0 * (1 << next(&seed) % 9);
}

/* Products of matrices: each element is a sum in the same order, however many are made at a time. */
static PLAIN void multiply(double *c, const double *a, const double *b) {
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			double total = 0;
			for (int k = 0; k < N; k++)
				total += a[i * N + k] * b[k * N + j];
			c[i * N + j] = total;
		}
}

static AVX void multiply_avx(double *c, const double *a, const double *b) {
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j += 16) {
			__m256d t0 = _mm256_setzero_pd(), t1 = t0, t2 = t0, t3 = t0;
			for (int k = 0; k < N; k++) {
				__m256d f = _mm256_broadcast_sd(&a[i * N + k]);
				const double *row = &b[k * N + j];
				t0 = _mm256_add_pd(t0, _mm256_mul_pd(f, _mm256_loadu_pd(row)));
				t1 = _mm256_add_pd(t1, _mm256_mul_pd(f, _mm256_loadu_pd(row + 4)));
				t2 = _mm256_add_pd(t2, _mm256_mul_pd(f, _mm256_loadu_pd(row + 8)));
				t3 = _mm256_add_pd(t3, _mm256_mul_pd(f, _mm256_loadu_pd(row + 12)));
			}
			_mm256_storeu_pd(&c[i * N + j], t0);
			_mm256_storeu_pd(&c[i * N + j + 4], t1);
			_mm256_storeu_pd(&c[i * N + j + 8], t2);
			_mm256_storeu_pd(&c[i * N + j + 12], t3);
		}
}

/* The same with one rounding for each step: by instruction, or by the library. */
static PLAIN void fused(double *c, const double *a, const double *b) {
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			double total = 0;
			for (int k = 0; k < N; k++)
				total = fma(a[i * N + k], b[k * N + j], total);
			c[i * N + j] = total;
		}
}

static FMA void fused_fma(double *c, const double *a, const double *b) {
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j += 8) {
			__m256d t0 = _mm256_setzero_pd(), t1 = t0;
			for (int k = 0; k < N; k++) {
				__m256d f = _mm256_broadcast_sd(&a[i * N + k]);
				t0 = _mm256_fmadd_pd(f, _mm256_loadu_pd(&b[k * N + j]), t0);
				t1 = _mm256_fmadd_pd(f, _mm256_loadu_pd(&b[k * N + j + 4]), t1);
			}
			_mm256_storeu_pd(&c[i * N + j], t0);
			_mm256_storeu_pd(&c[i * N + j + 4], t1);
		}
}

/* Integers in lanes: multiplied, shifted by themselves, gathered, permuted. */
static PLAIN void stir(uint32_t *lanes, const uint32_t *table) {
	for (int round = 0; round < 500; round++) {
		uint32_t old[8];
		for (int i = 0; i < 8; i++) {
			uint32_t x = lanes[i] * 2654435761u ^ table[lanes[i] & 255];
			old[i] = (x << (i + 1) | x >> (31 - i)) + round;
		}
		for (int i = 0; i < 8; i++)
			lanes[i] = old[(i * 3 + 1) & 7];
	}
}

static AVX2 void stir_avx2(uint32_t *lanes, const uint32_t *table) {
	__m256i x = _mm256_loadu_si256((void *)lanes);
	__m256i left = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8), right = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
	__m256i order = _mm256_setr_epi32(1, 4, 7, 2, 5, 0, 3, 6);
	for (int round = 0; round < 500; round++) {
		__m256i found = _mm256_i32gather_epi32((const int *)table, _mm256_and_si256(x, _mm256_set1_epi32(255)), 4);
		x = _mm256_xor_si256(_mm256_mullo_epi32(x, _mm256_set1_epi32((int)2654435761u)), found);
		x = _mm256_add_epi32(_mm256_or_si256(_mm256_sllv_epi32(x, left), _mm256_srlv_epi32(x, right)), _mm256_set1_epi32(round));
		x = _mm256_permutevar8x32_epi32(x, order);
	}
	_mm256_storeu_si256((void *)lanes, x);
}

/* Bodies that attract each other: divisions and roots, in 80 bits. */
static PLAIN void bodies(long double *x, long double *v, int count, int steps) {
	for (int step = 0; step < steps; step++) {
		for (int i = 0; i < count; i++)
			for (int j = 0; j < count; j++) {
				long double d = x[j] - x[i], s = d * d + 0.01L;
				v[i] += d / (s * __builtin_sqrtl(s)) * 0.001L;
			}
		for (int i = 0; i < count; i++)
			x[i] += v[i] * 0.001L;
	}
}

struct results {
	uint64_t plain, wide, fused, fused_wide, stirred, stirred_wide, extended;
};

static void compute(struct results *r, uint32_t seed) {
	static __thread double a[N * N], b[N * N], c[N * N];
	static __thread long double x[12], v[12];
	uint32_t lanes[8], other[8], table[256];
	fill(a, N * N, seed);
	fill(b, N * N, seed + 1);
	multiply(c, a, b);
	r->plain = r->wide = sum(c, sizeof c);
	if (__builtin_cpu_supports("avx")) {
		multiply_avx(c, a, b);
		r->wide = sum(c, sizeof c);
	}
	fused(c, a, b);
	r->fused = r->fused_wide = sum(c, sizeof c);
	if (__builtin_cpu_supports("fma")) {
		fused_fma(c, a, b);
		r->fused_wide = sum(c, sizeof c);
	}
	for (int i = 0; i < 256; i++)
		table[i] = next(&seed);
	for (int i = 0; i < 8; i++)
		lanes[i] = other[i] = next(&seed);
	stir(lanes, table);
	r->stirred = r->stirred_wide = sum(lanes, sizeof lanes);
	if (__builtin_cpu_supports("avx2")) {
		stir_avx2(other, table);
		r->stirred_wide = sum(other, sizeof other);
	}
	for (int i = 0; i < 12; i++) {
		x[i] = ((int)(next(&seed) % 2001) - 1000) / 7.0L;
		v[i] = 0;
	}
	bodies(x, v, 12, 60);
	unsigned char ends[120];
	for (int i = 0; i < 12; i++)
		memcpy(ends + i * 10, &x[i], 10);
	r->extended = sum(ends, sizeof ends);
}

static void show(const char *who, const struct results *r) {
	printf("%s: %016llx %016llx %016llx %016llx%s\n", who, (unsigned long long)r->plain, (unsigned long long)r->fused,
	       (unsigned long long)r->stirred, (unsigned long long)r->extended,
	       r->plain == r->wide && r->fused == r->fused_wide && r->stirred == r->stirred_wide ? "" : ", and the wide ones differ");
}

/* A handler that leaves nothing as it was: vectors, x87, rounding and flags. */
static AVX void clobber_avx(void) {
	__m256d junk = _mm256_set1_pd(-1.5);
	__asm__ volatile("vmovapd %0, %%ymm1\n\tvmovapd %0, %%ymm7\n\tvmovapd %0, %%ymm15" : : "x"(junk) : "xmm1", "xmm7", "xmm15");
}

static volatile sig_atomic_t ticks;

static void tick(int signal) {
	(void)signal;
	ticks++;
	fesetround(FE_UPWARD);
	if (__builtin_cpu_supports("avx"))
		clobber_avx();
	__asm__ volatile("fninit\n\tfld1\n\tfldpi" : : : "st", "st(1)");
}

static void *thread(void *to) {
	struct results *r = to;
	compute(r, r->plain);
	return NULL;
}

static const double odd[] = { 0.0, -0.0, 1.0, -1.5, 0.1, 1e308, -1e308, 5e-324, 2.2250738585072014e-308, 1e-310, 4503599627370497.5, 9007199254740993.0, 1e19, -1e19, INFINITY, -INFINITY };

/* Rounding, flags and limits, in each direction. */
static void directions(void) {
	static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
	static const char *names[] = { "nearest", "up", "down", "zero" };
	for (int m = 0; m < 4; m++) {
		uint64_t hash[6] = { 0 };
		int flags = 0;
		fesetround(modes[m]);
		for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++)
			for (unsigned j = 0; j < sizeof odd / sizeof *odd; j++) {
				volatile double a = odd[i], b = odd[j], made[6];
				feclearexcept(FE_ALL_EXCEPT);
				made[0] = a + b;
				made[1] = a * b;
				made[2] = a / b;
				made[3] = __builtin_sqrt(a < 0 ? -a : a);
				volatile float narrow = (float)a;
				made[4] = narrow;
				volatile long double wide = (long double)a / 3 * b;
				made[5] = (double)wide;
				/* Not whether an operand was denormal, which QEMU's translator tells otherwise than processors. */
				flags = flags * 31 + fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT);
				for (int k = 0; k < 6; k++) {
					double one = made[k];
					/* Which NaN it is depends on the order of operands that the compiler chose. */
					hash[k] = hash[k] * 31 + (one != one ? 7 : bits(one));
				}
			}
		fesetround(FE_TONEAREST);
		printf("%s: %016llx %016llx %016llx %016llx %016llx %016llx, flags %08x\n", names[m], (unsigned long long)hash[0], (unsigned long long)hash[1],
		       (unsigned long long)hash[2], (unsigned long long)hash[3], (unsigned long long)hash[4], (unsigned long long)hash[5], (unsigned)flags);
	}
	/* To integers, also what doesn't fit. */
	for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
		__m128d v = _mm_set_sd(odd[i]);
		printf("%a: %d %lld %d\n", odd[i], _mm_cvtsd_si32(v), (long long)_mm_cvttsd_si64(v), _mm_cvttsd_si32(v));
	}
	/* Denormals as zeros, and results flushed. */
	unsigned before = _mm_getcsr();
	_mm_setcsr(before | 0x8040);
	volatile double small = 1e-310, least = 2.2250738585072014e-308;
	volatile double lost = small * 1e10, flushed = least / 2;
	_mm_setcsr(before);
	volatile double kept = small * 1e10, denormal = least / 2;
	printf("denormals: %016llx %016llx, %016llx %016llx\n", (unsigned long long)bits(lost), (unsigned long long)bits(flushed), (unsigned long long)bits(kept), (unsigned long long)bits(denormal));
	/* Remainders and scaling are exact in x87. */
	long double value = 1e18L / 3, piece = 0.7L, rest, scaled;
	__asm__("1:\tfprem\n\tfnstsw %%ax\n\ttestb $4, %%ah\n\tjnz 1b" : "=t"(rest) : "0"(value), "u"(piece) : "ax", "cc");
	__asm__("fscale" : "=t"(scaled) : "0"(piece), "u"(-70.0L));
	printf("x87: %La %La %La\n", rest, scaled, rintl(value));
}

int main(void) {
	struct results quiet, other, r;
	compute(&quiet, 1);
	show("alone", &quiet);
	directions();

	struct sigaction action = { .sa_handler = tick };
	struct itimerval often = { { 0, 900 }, { 0, 900 } }, never = { { 0, 0 }, { 0, 0 } };
	sigaction(SIGALRM, &action, NULL);
	/* Where a signal takes long, they come less often: the program has to get on between two of them. */
	struct timeval from, to;
	gettimeofday(&from, NULL);
	for (int i = 0; i < 20; i++)
		raise(SIGALRM);
	gettimeofday(&to, NULL);
	long four = ((to.tv_sec - from.tv_sec) * 1000000 + to.tv_usec - from.tv_usec) / 5;
	if (four > 900)
		often.it_interval.tv_usec = often.it_value.tv_usec = four;
	setitimer(ITIMER_REAL, &often, NULL);
	int wrong = 0;
	for (int before = ticks; ticks < before + 20;) {
		compute(&r, 1);
		wrong += memcmp(&r, &quiet, sizeof r) != 0;
	}
	printf("interrupted: %d wrong\n", wrong);

	pthread_t threads[4];
	struct results of[4];
	for (int i = 0; i < 4; i++) {
		of[i].plain = i + 1;
		pthread_create(&threads[i], NULL, thread, &of[i]);
	}
	fflush(stdout);
	pid_t child = fork();
	compute(&other, 9);
	if (child == 0) {
		show("child", &other);
		fflush(stdout);
		_exit(0);
	}
	int status;
	while (waitpid(child, &status, 0) < 0)
		;
	setitimer(ITIMER_REAL, &never, NULL);
	show("parent", &other);
	for (int i = 0; i < 4; i++) {
		char name[16];
		pthread_join(threads[i], NULL);
		snprintf(name, sizeof name, "thread %d", i + 1);
		show(name, &of[i]);
	}
	return 0;
}
