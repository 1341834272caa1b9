# stress-ng's stressors of processes, threads, signals, IPC and memory: two of each, a bounded number of operations, verified.
stress() {
    stress-ng -q --verify --timeout 60 --$1 2 --$1-ops $2 >out 2>&1
    echo "$1 $?"
    grep -v 'no CPUs found' out
}
stress fork 60; stress vfork 60; stress clone 60; stress pthread 60; stress futex 400; stress switch 1000
stress pipe 500; stress signal 400; stress sigq 400; stress sigsegv 100; stress sigfd 200; stress sigrt 60; stress sigsuspend 100; stress sigpending 100
stress sem-sysv 300; stress mq 400; stress msg 300; stress shm 4; stress shm-sysv 4
stress vm 100; stress munmap 3; stress timer 200; stress timerfd 200; stress itimer 40
stress eventfd 200; stress epoll 100; stress wait 20; stress zombie 30; stress daemon 10
# Counts what no other does; ends by the clock.
stress-ng -q --verify --sem 2 --timeout 2 >out 2>&1; echo "sem $?"
stress-ng -q --verify --mmap 1 --mmap-bytes 1M --mmap-ops 3 >out 2>&1; echo "mmap $?"
