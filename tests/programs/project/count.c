#include <ctype.h>

#include "words.h"

unsigned count_words(const char *line, struct word **root)
{
	unsigned found = 0;
	while (*line) {
		while (*line && !isalnum((unsigned char)*line))
			line++;
		const char *start = line;
		while (isalnum((unsigned char)*line))
			line++;
		if (line > start) {
			tree_insert(root, table_intern(start, (unsigned)(line - start)))->count++;
			found++;
		}
	}
	return found;
}
