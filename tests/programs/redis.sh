# Redis on a Unix socket: its clients, a background save by fork, restarts that load what was saved, an append-only file that is rewritten.
r() { redis-cli -s r.sock "$@"; }
up() {
    redis-server --port 0 --unixsocket r.sock --save '' --dir . --logfile log --appendonly "$1" &
    server=$!
    while [ "$(r ping 2>/dev/null)" != PONG ]; do sleep 0.01; done
}
# Waits while a line stands in the part of the server's state.
while_busy() { while r info persistence | grep -q "$1:1"; do sleep 0.01; done; }
down() { "$@"; wait $server; echo "ended with $?"; }

up no
r set greeting hello; r incr n; r incr n
i=0
while [ $i -lt 2000 ]; do echo "SET key:$i value-$((i * i))"; i=$((i + 1)); done | redis-cli -s r.sock --pipe | grep errors
r rpush list a b c
r eval 'return redis.call("GET", KEYS[1]) .. "!"' 1 greeting
r bgsave
while_busy rdb_bgsave_in_progress
r info persistence | grep -E '^rdb_last_bgsave_status|^rdb_saves'
r set late lost
down r shutdown nosave

up no
r dbsize; r get greeting; r get key:1999; r lrange list 0 -1; r exists late
r config set appendonly yes
while_busy aof_rewrite_in_progress
r set late kept
r bgrewriteaof
while_busy aof_rewrite_in_progress
r info persistence | grep -E 'aof_last_bgrewrite_status|aof_last_write_status'
(r subscribe news > heard & echo $! > subscriber)
while [ "$(r publish news extra)" = 0 ]; do sleep 0.01; done
while ! grep -q extra heard; do sleep 0.01; done
kill $(cat subscriber)
down kill -TERM $server

up yes
r dbsize; r get late; r get key:7
down r shutdown
ls
