/* links -lsqlite3 -lm. A database in memory and one in a file: tables, indexes, transactions, a rollback, full-text search where there is one. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static int row(void *title, int columns, char **values, char **names) {
	(void)names;
	printf("%s:", (char *)title);
	for (int i = 0; i < columns; i++)
		printf(" %s", values[i] ? values[i] : "NULL");
	printf("\n");
	return 0;
}

static void run(sqlite3 *db, const char *title, const char *sql) {
	char *error = NULL;
	if (sqlite3_exec(db, sql, row, (void *)title, &error) != SQLITE_OK)
		printf("%s: error: %s\n", title, error);
	sqlite3_free(error);
}

static void work(const char *file) {
	sqlite3 *db;
	printf("%s: %d\n", file, sqlite3_open(file, &db));
	run(db, "pragma", strcmp(file, ":memory:") ? "pragma journal_mode = wal; pragma synchronous = full" : "pragma journal_mode");
	run(db, "create", "create table t(a integer primary key, b text, c real); create index i on t(b)");
	run(db, "fill", "begin; with recursive n(x) as (select 1 union all select x + 1 from n where x < 5000) "
			"insert into t select x, printf('%05d', x * 7919 % 10007), x / 7.0 from n; commit");
	run(db, "sum", "select count(*), sum(a), round(sum(c), 6), min(b), max(b) from t");
	run(db, "index", "select a, b from t where b between '00100' and '00110' order by b");
	run(db, "group", "select substr(b, 1, 2) as g, count(*) from t group by g order by 2 desc, 1 limit 3");
	run(db, "rollback", "begin; delete from t; select count(*) from t; rollback; select count(*) from t");
	run(db, "constraint", "insert into t values (1, 'x', 0)");
	run(db, "syntax", "selekt 1");
	run(db, "join", "select x.a, y.a from t x join t y on x.b = y.b and x.a < 4 order by 1");
	run(db, "json", "select json_extract('{\"a\": [1, 2, {\"b\": 3}]}', '$.a[2].b')");
	run(db, "vacuum", "delete from t where a % 2; vacuum; pragma integrity_check; select count(*) from t");
	printf("close: %d\n", sqlite3_close(db));
}

int main(void) {
	work(":memory:");
	work("data.db");
	sqlite3 *db;
	sqlite3_open("data.db", &db);
	run(db, "again", "select count(*), sum(a) from t");
	sqlite3_close(db);
	return 0;
}
