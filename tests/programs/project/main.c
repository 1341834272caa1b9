#include <stdio.h>

#include "words.h"

int main(void)
{
	char line[256];
	struct word *root = NULL;
	unsigned total = 0;
	while (fgets(line, sizeof line, stdin))
		total += count_words(line, &root);
	words_print(root);
	printf("%u words, %u different, %d generated\n", total, table_size(), generated());
	return 0;
}
