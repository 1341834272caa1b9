/* The auxiliary vector: which entries there are, and that what they say is true. */
#include <elf.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
extern const char __ehdr_start[] __attribute__((weak));
extern void _start(void);

static Elf64_auxv_t *vector(void) {
	char **p = environ;
	while (*p++)
		;
	return (Elf64_auxv_t *)p;
}

static uint64_t value(unsigned type, int *there) {
	for (Elf64_auxv_t *a = vector(); a->a_type != AT_NULL; a++)
		if (a->a_type == type) {
			*there = 1;
			return a->a_un.a_val;
		}
	*there = 0;
	return 0;
}

static int same(const void *a, const void *b) { return memcmp(a, b, 16) == 0; }

int main(int argc, char **argv) {
	int there;
	if (argc > 1) {
		/* A second run: different random bytes. */
		(void)!write(1, (void *)value(AT_RANDOM, &there), 16);
		return 0;
	}
	static const struct { unsigned type; const char *name; } types[] = {
		{ AT_SYSINFO_EHDR, "SYSINFO_EHDR" }, { AT_HWCAP, "HWCAP" }, { AT_HWCAP2, "HWCAP2" }, { AT_PAGESZ, "PAGESZ" }, { AT_CLKTCK, "CLKTCK" },
		{ AT_PHDR, "PHDR" }, { AT_PHENT, "PHENT" }, { AT_PHNUM, "PHNUM" }, { AT_BASE, "BASE" }, { AT_FLAGS, "FLAGS" }, { AT_ENTRY, "ENTRY" },
		{ AT_UID, "UID" }, { AT_EUID, "EUID" }, { AT_GID, "GID" }, { AT_EGID, "EGID" }, { AT_SECURE, "SECURE" }, { AT_RANDOM, "RANDOM" },
		{ AT_EXECFN, "EXECFN" }, { AT_PLATFORM, "PLATFORM" }, { 51, "MINSIGSTKSZ" }, { 27, "RSEQ_FEATURE_SIZE" }, { 28, "RSEQ_ALIGN" },
		{ AT_EXECFD, "EXECFD" }, { AT_SYSINFO, "SYSINFO" },
	};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		value(types[i].type, &there);
		printf("%s: %s\n", types[i].name, there ? "there" : "not there");
	}
	int twice = 0;
	for (Elf64_auxv_t *a = vector(); a->a_type != AT_NULL; a++)
		for (Elf64_auxv_t *b = a + 1; b->a_type != AT_NULL; b++)
			twice += a->a_type == b->a_type;
	printf("entries that are there twice: %d\n", twice);
	const Elf64_Phdr *headers = (const Elf64_Phdr *)value(AT_PHDR, &there);
	printf("PHDR holds headers: %d\n", headers == (const void *)(__ehdr_start + ((const Elf64_Ehdr *)__ehdr_start)->e_phoff));
	printf("PHENT %lu, PHNUM right %d\n", value(AT_PHENT, &there), value(AT_PHNUM, &there) == ((const Elf64_Ehdr *)__ehdr_start)->e_phnum);
	printf("ENTRY is _start: %d\n", value(AT_ENTRY, &there) == (uint64_t)_start);
	printf("BASE %lu FLAGS %lu PAGESZ %lu CLKTCK %lu SECURE %lu\n", value(AT_BASE, &there), value(AT_FLAGS, &there), value(AT_PAGESZ, &there),
	       value(AT_CLKTCK, &there), value(AT_SECURE, &there));
	printf("uid %d euid %d gid %d egid %d\n", value(AT_UID, &there) == getuid(), value(AT_EUID, &there) == geteuid(), value(AT_GID, &there) == getgid(),
	       value(AT_EGID, &there) == getegid());
	printf("EXECFN %s PLATFORM %s argv[0] %s\n", (char *)value(AT_EXECFN, &there), (char *)value(AT_PLATFORM, &there), argv[0]);
	uint64_t random = value(AT_RANDOM, &there);
	int above = random > (uint64_t)vector();
	int zero = 0;
	for (int i = 0; i < 16; i++)
		zero += ((unsigned char *)random)[i] == 0;
	printf("RANDOM above the vector %d, zeros few %d\n", above, zero < 6);
	printf("MINSIGSTKSZ in reason %d\n", value(51, &there) >= 1024 && value(51, &there) <= 16384);
	printf("HWCAP is CPUID's: %d\n", ({ unsigned a = 1, b, c = 0, d; __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); value(AT_HWCAP, &there) == d; }));
	const unsigned char *vdso = (const unsigned char *)value(AT_SYSINFO_EHDR, &there);
	printf("vDSO %d page %d\n", memcmp(vdso, "\177ELF\2\1\1", 7), (int)((uint64_t)vdso & 4095));
	int last_is_zero = 0;
	for (Elf64_auxv_t *a = vector();; a++)
		if (a->a_type == AT_NULL) {
			last_is_zero = a->a_un.a_val == 0;
			break;
		}
	printf("the end is 0: %d\n", last_is_zero);
	char saved[1024];
	FILE *file = fopen("/proc/self/auxv", "r");
	size_t len = file ? fread(saved, 1, sizeof saved, file) : 0;
	printf("/proc/self/auxv is the vector: %d\n", len > 100 && memcmp(saved, vector(), len) == 0 && ((uint64_t *)saved)[len / 8 - 2] == 0);
	printf("stack: argc %d, aligned %d\n", *(int *)((char *)argv - 8), ((uint64_t)argv - 8) % 16 == 0);
	fflush(stdout);
	char bytes[3][16] = { { 0 } };
	for (int i = 0; i < 2; i++) {
		int both[2];
		if (pipe(both))
			return 1;
		if (fork() == 0) {
			dup2(both[1], 1);
			execl("/proc/self/exe", "x", "again", (char *)NULL);
			_exit(1);
		}
		close(both[1]);
		printf("random bytes: %zd\n", read(both[0], bytes[i], 16));
		close(both[0]);
		wait(NULL);
	}
	printf("the same in two runs: %d %d\n", same(bytes[0], bytes[1]), same(bytes[0], (void *)random));
	return 0;
}
