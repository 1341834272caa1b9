/* musl only. Malformed ELF files, made from this program's own by changing a field or two: what execve says, or how the program ends. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program of three segments, made by hand: exits with 42 if its data and its bss are as they should be. */
enum { TEXT = 0x1000, DATA = 0x2000, FILE_SIZE = 0x2100, BASE = 0x400000 };

static unsigned char image[0x4000];
static size_t image_len;
static Elf64_Ehdr *e;
static Elf64_Phdr *p;

static void fresh(void) {
	static const unsigned char code[] = {
		0x8b, 0x04, 0x25, 0x10, 0x20, 0x40, 0x00,       /* mov eax, [0x402010] */
		0x03, 0x04, 0x25, 0x00, 0x28, 0x40, 0x00,       /* add eax, [0x402800] */
		0x89, 0x04, 0x25, 0x00, 0x28, 0x40, 0x00,       /* mov [0x402800], eax */
		0x89, 0xc7, 0xb8, 0x3c, 0x00, 0x00, 0x00,       /* mov edi, eax; mov eax, 60 */
		0x0f, 0x05,                                     /* syscall */
	};
	memset(image, 0, sizeof image);
	image_len = FILE_SIZE;
	e = (Elf64_Ehdr *)image;
	p = (Elf64_Phdr *)(image + sizeof *e);
	memcpy(e->e_ident, "\177ELF\2\1\1", 7);
	e->e_type = ET_EXEC;
	e->e_machine = EM_X86_64;
	e->e_version = 1;
	e->e_entry = BASE + TEXT;
	e->e_phoff = sizeof *e;
	e->e_ehsize = sizeof *e;
	e->e_phentsize = sizeof *p;
	e->e_phnum = 4;
	p[0] = (Elf64_Phdr){ PT_LOAD, PF_R, 0, BASE, BASE, 0x200, 0x200, 0x1000 };
	p[1] = (Elf64_Phdr){ PT_LOAD, PF_R | PF_X, TEXT, BASE + TEXT, BASE + TEXT, 0x100, 0x100, 0x1000 };
	p[2] = (Elf64_Phdr){ PT_LOAD, PF_R | PF_W, DATA, BASE + DATA, BASE + DATA, 0x100, 0x1000, 0x1000 };
	p[3] = (Elf64_Phdr){ PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16 };
	memcpy(image + TEXT, code, sizeof code);
	*(uint32_t *)(image + DATA + 0x10) = 42;
}

static int number;

static void try(const char *name) {
	char path[32];
	int both[2], status;
	snprintf(path, sizeof path, "./v%d", number++);
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);
	if (write(fd, image, image_len) != (ssize_t)image_len)
		exit(1);
	close(fd);
	if (pipe2(both, O_CLOEXEC))
		exit(1);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		char *args[] = { path, NULL };
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		execve(path, args, args + 1);
		int error = errno;
		(void)!write(both[1], &error, sizeof error);
		_exit(0);
	}
	close(both[1]);
	int error = 0;
	ssize_t got = read(both[0], &error, sizeof error);
	close(both[0]);
	waitpid(child, &status, 0);
	if (got > 0)
		printf("%s: execve: %s\n", name, strerror(error));
	else if (WIFEXITED(status))
		printf("%s: exit %d\n", name, WEXITSTATUS(status));
	else
		printf("%s: signal %d\n", name, WTERMSIG(status));
	unlink(path);
	fresh();
}

#define WITH(change)         \
	do {                 \
		fresh();     \
		change;      \
		try(#change); \
	} while (0)

int main(void) {
	fresh();
	try("as it is");
	/* The header. */
	WITH(e->e_ident[0] = 0);
	WITH(e->e_ident[EI_CLASS] = ELFCLASS32);
	WITH(e->e_ident[EI_CLASS] = 9);
	WITH(e->e_ident[EI_DATA] = ELFDATA2MSB);
	WITH(e->e_ident[EI_VERSION] = 7);
	WITH(e->e_ident[EI_OSABI] = 77);
	WITH(e->e_type = ET_REL);
	WITH(e->e_type = ET_CORE);
	WITH(e->e_type = 0xffff);
	WITH(e->e_machine = EM_AARCH64);
	WITH(e->e_machine = 0);
	WITH(e->e_version = 0);
	WITH(e->e_flags = ~0u);
	WITH(e->e_ehsize = 0);
	WITH(e->e_shoff = ~0ull; e->e_shnum = 99);
	WITH(e->e_phentsize = 0);
	WITH(e->e_phentsize = 55);
	WITH(e->e_phentsize = 57);
	WITH(e->e_phnum = 0);
	WITH(e->e_phnum = 1);
	WITH(e->e_phnum = 2);
	WITH(e->e_phnum = 200; image_len = 0x3000);
	WITH(e->e_phnum = 1170);
	WITH(e->e_phnum = 1171);
	WITH(e->e_phnum = 0xffff);
	WITH(e->e_phoff = 0);
	WITH(e->e_phoff = 63);
	WITH(e->e_phoff = FILE_SIZE);
	WITH(e->e_phoff = FILE_SIZE - 8);
	WITH(e->e_phoff = ~0ull);
	WITH(e->e_phoff = 1ull << 63);
	WITH(e->e_phoff = ~0ull - 100);
	WITH(memmove(image + 0x401, p, 4 * sizeof *p); e->e_phoff = 0x401);
	WITH(e->e_entry = 0);
	WITH(e->e_entry = ~0ull);
	WITH(e->e_entry = 1ull << 63);
	WITH(e->e_entry = 0x7ffffffff000);
	WITH(e->e_entry = BASE + DATA);
	WITH(e->e_entry = 0x10000000);
	/* Cut short. */
	for (size_t len = 0; len <= FILE_SIZE; len += len < 0x150 ? 16 : 0x330) {
		char name[40];
		fresh();
		image_len = len;
		snprintf(name, sizeof name, "%zu bytes", len);
		try(name);
	}
	/* Segments. */
	for (int i = 0; i < 3; i++) {
		printf("segment %d\n", i);
		WITH(p[i].p_type = PT_NULL);
		WITH(p[i].p_flags = 0);
		WITH(p[i].p_flags = PF_W);
		WITH(p[i].p_flags = PF_R | PF_W | PF_X);
		WITH(p[i].p_flags = ~0u);
		WITH(p[i].p_offset += 1);
		WITH(p[i].p_offset += 0x1000);
		WITH(p[i].p_offset = ~0ull);
		WITH(p[i].p_offset = 1ull << 63);
		WITH(p[i].p_offset = (1ull << 63) - 0x1000);
		WITH(p[i].p_offset = -0x1000ull);
		if (i) WITH(p[i].p_vaddr = 0); /* root may map it */
		if (i) WITH(p[i].p_vaddr = 0x1000);
		WITH(p[i].p_vaddr = ~0ull);
		WITH(p[i].p_vaddr = -0x1000ull);
		WITH(p[i].p_vaddr = 0x7ffffffff000);
		WITH(p[i].p_vaddr = 0x7fffffffe000);
		WITH(p[i].p_vaddr = 0x800000000000);
		WITH(p[i].p_vaddr = 0xffffffff80000000);
		WITH(p[i].p_vaddr += 1);
		WITH(p[i].p_paddr = ~0ull);
		WITH(p[i].p_filesz = 0);
		WITH(p[i].p_filesz = 0; p[i].p_memsz = 0);
		WITH(p[i].p_filesz = ~0ull);
		WITH(p[i].p_filesz = ~0ull; p[i].p_memsz = ~0ull);
		WITH(p[i].p_filesz = 0x1000; p[i].p_memsz = 0x1000);
		WITH(p[i].p_filesz = p[i].p_memsz + 1);
		WITH(p[i].p_filesz = 0x800000000000; p[i].p_memsz = 0x800000000000);
		WITH(p[i].p_filesz = 1ull << 63; p[i].p_memsz = 1ull << 63);
		WITH(p[i].p_memsz = 0);
		WITH(p[i].p_memsz = 1);
		WITH(p[i].p_memsz = ~0ull);
		WITH(p[i].p_memsz = ~0ull - BASE);
		WITH(p[i].p_memsz = 0x7fffffffffff);
		WITH(p[i].p_memsz = 0x800000000000);
		WITH(p[i].p_align = 0);
		WITH(p[i].p_align = 1);
		WITH(p[i].p_align = 3);
		WITH(p[i].p_align = 0x200000);
		WITH(p[i].p_align = ~0ull);
		WITH(p[i].p_align = 1ull << 63);
	}
	/* Segments that meet. */
	WITH(p[2].p_vaddr = BASE + TEXT);
	WITH(p[1].p_vaddr = BASE + DATA);
	WITH(Elf64_Phdr other = p[0]; p[0] = p[2]; p[2] = other);
	WITH(p[2].p_vaddr = BASE - 0x10000; p[2].p_memsz = 0x20000);
	/* Others. */
	WITH(p[3].p_flags = PF_R | PF_W | PF_X);
	WITH(p[3].p_flags = 0);
	WITH(p[3].p_memsz = ~0ull);
	WITH(p[3].p_type = PT_GNU_RELRO; p[3].p_vaddr = ~0ull);
	WITH(p[3].p_type = PT_TLS; p[3].p_memsz = ~0ull);
	WITH(p[3].p_type = PT_PHDR; p[3].p_vaddr = ~0ull);
	WITH(p[3].p_type = PT_NOTE; p[3].p_filesz = ~0ull);
	WITH(p[3].p_type = PT_GNU_PROPERTY; p[3].p_filesz = 0x10);
	WITH(p[3].p_type = 0x60000000);
	/* An interpreter. */
	static const char nowhere[] = "/no/such/interpreter";
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, sizeof nowhere, sizeof nowhere, 1 }); memcpy(image + 0x300, nowhere, sizeof nowhere));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, 5, 5, 1 }); memcpy(image + 0x300, nowhere, sizeof nowhere));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, 0, 0, 1 }));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, 1, 1, 1 }));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, 4097, 4097, 1 }));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, ~0ull, 0, 0, 20, 20, 1 }));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, FILE_SIZE - 3, 0, 0, 20, 20, 1 }));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, 2, 2, 1 }); memcpy(image + 0x300, "/", 2));
	WITH(p[3] = ((Elf64_Phdr){ PT_INTERP, PF_R, 0x300, 0, 0, 17, 17, 1 }); memcpy(image + 0x300, "/t/data/csv\0\0\0\0\0", 17));
	/* Relocatable. */
	WITH(e->e_type = ET_DYN; p[0].p_vaddr = 0; p[1].p_vaddr = TEXT; p[2].p_vaddr = DATA; e->e_entry = TEXT);
	WITH(e->e_type = ET_DYN);
	WITH(e->e_type = ET_DYN; p[0].p_vaddr = 1ull << 46; p[1].p_vaddr = (1ull << 46) + TEXT);
	WITH(e->e_type = ET_DYN; p[0].p_align = 1ull << 30);
	WITH(e->e_type = ET_DYN; p[2].p_memsz = 1ull << 46);
	WITH(e->e_type = ET_DYN; p[2].p_memsz = 1ull << 47);
	WITH(e->e_type = ET_DYN; e->e_phnum = 0);
	/* Random bytes in the headers: the same at every run. */
	uint64_t state = 88172645463325252;
	for (int i = 0; i < 300; i++) {
		char name[40];
		fresh();
		for (int n = 0; n < 1 + i % 3; n++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			image[(state >> 8) % (sizeof *e + 4 * sizeof *p)] = state >> 40;
		}
		/* How much may be promised depends on the machine's memory. */
		int large = 0;
		for (int k = 0; k < 4; k++)
			large |= p[k].p_memsz >> 32 != 0 && p[k].p_memsz < 1ull << 47;
		snprintf(name, sizeof name, "random %d", i);
		if (!large)
			try(name);
	}
	return 0;
}
