#include <stdio.h>

#include "words.h"

static void show(const struct word *word)
{
	printf("%u %s\n", word->count, word->text);
}

void words_print(const struct word *root)
{
	tree_walk(root, show);
}
