/* Counts words of its input. */
struct word {
	const char *text;
	unsigned count;
	struct word *left, *right;
};

struct word *tree_insert(struct word **root, const char *text);
void tree_walk(const struct word *root, void (*visit)(const struct word *));
unsigned count_words(const char *line, struct word **root);
const char *table_intern(const char *text, unsigned len);
unsigned table_size(void);
void words_print(const struct word *root);
int generated(void);
