// A database as programs use one: `sqlite insert` and `sqlite query` on a database in /tmp. Prints the sum of what it found.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 2000, QUERIES = 2000 };
static sqlite3 *database;

static void check(int result) {
    if (result == SQLITE_OK || result == SQLITE_DONE || result == SQLITE_ROW) return;
    fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(database));
    exit(1);
}
static void run(const char *text) { check(sqlite3_exec(database, text, 0, 0, 0)); }

static void insert(void) {
    sqlite3_stmt *statement;
    run("create table t(id integer primary key, number integer, text varchar(100)); create index by_number on t(number)");
    check(sqlite3_prepare_v2(database, "insert into t values(?1, ?2, ?3)", -1, &statement, 0));
    // Many in one transaction, then some each in its own, with a journal.
    for (int i = 0; i < ROWS; i++) {
        char text[100];
        if (i == 0) run("begin");
        snprintf(text, sizeof text, "row %d of a table that has some text in it", i);
        sqlite3_bind_int(statement, 1, i), sqlite3_bind_int(statement, 2, i * 7919 % ROWS);
        sqlite3_bind_text(statement, 3, text, -1, SQLITE_TRANSIENT);
        check(sqlite3_step(statement));
        check(sqlite3_reset(statement));
        if (i == ROWS - 51) run("commit");
    }
    check(sqlite3_finalize(statement));
}

static long query(void) {
    sqlite3_stmt *statement;
    long sum = 0;
    check(sqlite3_prepare_v2(database, "select id, length(text) from t where number between ?1 and ?1 + 3", -1, &statement, 0));
    for (int i = 0; i < QUERIES; i++) {
        sqlite3_bind_int(statement, 1, i * 31 % ROWS);
        while (sqlite3_step(statement) == SQLITE_ROW) sum += sqlite3_column_int(statement, 0) + sqlite3_column_int(statement, 1);
        check(sqlite3_reset(statement));
    }
    check(sqlite3_finalize(statement));
    return sum;
}

int main(int count, char **arguments) {
    int is_query = count > 1 && strcmp(arguments[1], "query") == 0;
    const char *name = is_query ? ":memory:" : "/tmp/bench.db";
    unlink("/tmp/bench.db"), unlink("/tmp/bench.db-journal");
    check(sqlite3_open(name, &database));
    insert();
    long sum = is_query ? query() : ROWS;
    if (!is_query) {
        sqlite3_stmt *statement;
        check(sqlite3_prepare_v2(database, "select count(*) from t", -1, &statement, 0));
        check(sqlite3_step(statement));
        sum = sqlite3_column_int(statement, 0);
        check(sqlite3_finalize(statement));
    }
    check(sqlite3_close(database));
    unlink("/tmp/bench.db");
    printf("%ld\n", sum);
    return 0;
}
