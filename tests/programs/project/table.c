#include <stdlib.h>
#include <string.h>

#include "words.h"

static const char *table[1024];
static unsigned used;

const char *table_intern(const char *text, unsigned len)
{
	unsigned hash = 5381;
	for (unsigned i = 0; i < len; i++)
		hash = hash * 33 + (unsigned char)text[i];
	for (unsigned at = hash % 1024;; at = (at + 1) % 1024) {
		if (table[at] && strlen(table[at]) == len && memcmp(table[at], text, len) == 0)
			return table[at];
		if (!table[at]) {
			char *copy = malloc(len + 1);
			memcpy(copy, text, len);
			copy[len] = 0;
			used++;
			return table[at] = copy;
		}
	}
}

unsigned table_size(void)
{
	return used;
}
