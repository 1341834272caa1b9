/* musl only. What processors with UMIP keep from programs, Linux answers for them: SGDT, SIDT, SMSW, SLDT and STR give made-up values. */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static int has_umip(void) {
	unsigned a, b, c, d;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1 << 2);
}

/* A processor without UMIP shows what is really there: natively there may be nothing to compare. */
static int umip;

static void is(const char *name, uint64_t found, uint64_t expected) {
	if (umip && found != expected)
		printf("%s: %#llx instead of %#llx\n", name, (unsigned long long)found, (unsigned long long)expected);
	else
		printf("%s: as Linux answers\n", name);
}

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static sigjmp_buf back;
static volatile siginfo_t seen;

static void caught(int signal, siginfo_t *info, void *context) {
	(void)signal;
	(void)context;
	seen = *info;
	siglongjmp(back, 1);
}

#define GDT 0xfffffffffffe0000ull
#define IDT 0xffffffffffff0000ull
#define CR0 0x80050033ull
#define TR 0x40ull

int main(void) {
	struct table table;
	uint64_t wide;
	uint32_t narrow;
	uint16_t word[4];
	umip = has_umip();

	memset(&table, 0x55, sizeof table);
	__asm__ volatile("sgdt %0" : "=m"(table));
	is("sgdt limit", table.limit, 0);
	is("sgdt base", table.base, GDT);
	memset(&table, 0x55, sizeof table);
	__asm__ volatile("sidt %0" : "=m"(table));
	is("sidt limit", table.limit, 0);
	is("sidt base", table.base, IDT);

	wide = ~0ull;
	__asm__ volatile("smsw %0" : "+r"(wide));
	is("smsw, 64 bits", wide, CR0);
	narrow = ~0u;
	__asm__ volatile("smsw %0" : "+r"(narrow));
	is("smsw, 32 bits", narrow, CR0);
	wide = ~0ull;
	__asm__ volatile("smsw %w0" : "+r"(wide));
	is("smsw, 16 bits", wide, 0xffffffffffff0033ull);
	memset(word, 0x55, sizeof word);
	__asm__ volatile("smsw %0" : "=m"(word[1]));
	is("smsw to memory", word[1], 0x33);
	is("smsw writes no more", word[0] == 0x5555 && word[2] == 0x5555, 1);
	wide = ~0ull;
	__asm__ volatile("sldt %0" : "+r"(wide));
	is("sldt", wide, 0xffffffff00000000ull);
	word[1] = 0x5555;
	__asm__ volatile("sldt %0" : "=m"(word[1]));
	is("sldt to memory", word[1], 0);
	wide = ~0ull;
	__asm__ volatile("str %q0" : "+r"(wide));
	is("str, 64 bits", wide & 0xffffffff, TR);
	__asm__ volatile("str %0" : "=m"(word[1]));
	is("str to memory", word[1], TR);

	/* Ways to name a place. */
	static char area[4096];
	register char *base __asm__("r13") = area;
	register uint64_t index __asm__("r12") = 3;
	memset(area, 0x55, sizeof area);
	__asm__ volatile("sgdt (%0, %1, 8)" : : "r"(base), "r"(index) : "memory");
	memcpy(&table, area + 24, sizeof table);
	is("base and index", table.base, GDT);
	__asm__ volatile("sidt 0x400(%0)" : : "r"(base) : "memory");
	memcpy(&table, area + 0x400, sizeof table);
	is("a displacement", table.base, IDT);
	__asm__ volatile("sidt -8(%0, %1)" : : "r"(base + 100), "r"(index) : "memory");
	memcpy(&table, area + 95, sizeof table);
	is("a small displacement", table.base, IDT);
	__asm__ volatile("sgdt area_here(%%rip)\n\t.pushsection .bss\narea_here: .skip 16\n\t.popsection\n\t"
			 "movups area_here(%%rip), %%xmm0\n\tmovups %%xmm0, (%0)"
			 : : "r"(area) : "memory", "xmm0");
	memcpy(&table, area, sizeof table);
	is("beside the instruction", table.base, GDT);
	static __thread char own[16];
	char *self;
	__asm__("mov %%fs:0, %0" : "=r"(self));
	__asm__ volatile("sgdt %%fs:(%0)" : : "r"(own - self) : "memory");
	memcpy(&table, own, sizeof table);
	is("thread-local", table.base, GDT);
	__asm__ volatile("lea -64(%%rsp), %%rsp\n\tsidt 16(%%rsp)\n\tmov 18(%%rsp), %0\n\tlea 64(%%rsp), %%rsp" : "=r"(wide) : : "memory");
	is("on the stack", wide, IDT);

	/* What can't be written to. */
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &action, NULL);
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(page + 4096, 4096, PROT_READ);
	munmap(page + 4096, 4096);
	if (sigsetjmp(back, 1) == 0) {
		__asm__ volatile("sgdt (%0)" : : "r"(page + 4096) : "memory");
		printf("written\n");
	} else {
		is("no page: code", seen.si_code, SEGV_MAPERR);
		is("no page: address", (uintptr_t)seen.si_addr - (uintptr_t)page, 4096);
	}
	/* Others are refused as ever. */
	if (sigsetjmp(back, 1) == 0) {
		__asm__ volatile("lgdt (%0)" : : "r"(area) : "memory");
		printf("loaded\n");
	} else {
		printf("lgdt: code %#x, address %p\n", seen.si_code, seen.si_addr);
	}
	if (sigsetjmp(back, 1) == 0) {
		__asm__ volatile("lmsw %w0" : : "r"(0x33));
		printf("loaded\n");
	} else {
		printf("lmsw: code %#x, address %p\n", seen.si_code, seen.si_addr);
	}
	return 0;
}
