#include <stdlib.h>
#include <string.h>

#include "words.h"

struct word *tree_insert(struct word **root, const char *text)
{
	while (*root) {
		int order = strcmp(text, (*root)->text);
		if (order == 0)
			return *root;
		root = order < 0 ? &(*root)->left : &(*root)->right;
	}
	*root = calloc(1, sizeof **root);
	(*root)->text = text;
	return *root;
}

void tree_walk(const struct word *root, void (*visit)(const struct word *))
{
	if (!root)
		return;
	tree_walk(root->left, visit);
	visit(root);
	tree_walk(root->right, visit);
}
