//! `cargo xtask run` behaves like running the program: streams, arguments, files, exit status, signals.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::common::{Said, file, probe, run, run_with_input, scratch, xtask};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn streams_stay_apart_everywhere() {
    for options in [
        &["--mode=flat"][..],
        &["--mode=guarded"],
        &["--machine=q35", "--mode=guarded"],
        &["--machine=pc"],
        &["--exact"],
    ] {
        let said = run(&[options, &[probe(), "--", "both"]].concat());
        let all = (&*said.text(), &*said.stderr, said.status);
        assert_eq!(all, ("to stdout\n", "to stderr\n", 3), "{options:?}");
    }
}

#[test]
fn without_a_program_there_is_a_demonstration() {
    for mode in ["--mode=flat", "--mode=guarded"] {
        let said = run(&[mode, "--cpus=2", "--memory=64M"]);
        assert_eq!((said.status, &*said.stderr), (0, ""), "{mode}");
        for words in ["Hello from inside Whelk.", "process 1", "2 processor(s)", "MiB of memory"] {
            assert!(said.text().contains(words), "{words:?} isn't in {:?}", said.text());
        }
    }
}

#[test]
fn exit_statuses() {
    for status in [0, 1, 255] {
        assert_eq!(run(&[probe(), "--", "exit", &status.to_string()]).status, status);
    }
    assert_eq!(run(&[probe(), "--", "abort"]).status, 128 + 6);
    for mode in ["--mode=flat", "--mode=guarded"] {
        assert_eq!(run(&[mode, probe(), "--", "crash"]).status, 128 + 11);
    }
}

#[test]
fn input_arrives_whole_and_ends() {
    let input: Vec<u8> = (0..300_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let said = run_with_input(&[probe(), "--", "cat"], input.clone());
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(said.stdout == input, "{} of {} bytes", said.stdout.len(), input.len());
    // At its end from the start.
    assert_eq!(run(&[probe(), "--", "cat"]).status, 0);
}

#[test]
fn input_from_a_file() {
    let path = file(&scratch("input"), "input", b"from a file\n");
    for exact in [&[][..], &["--exact"]] {
        let mut command = xtask(&[exact, &[probe(), "--", "cat"]].concat());
        let output = command.stdin(std::fs::File::open(&path).unwrap()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "from a file\n");
    }
}

#[test]
fn a_program_that_reads_nothing_leaves_the_input_alone() {
    let mut child = xtask(&[probe(), "--", "exit", "5"]).stdin(Stdio::piped()).spawn().unwrap();
    // Held open: the end of the input isn't what ends the machine.
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    drop(stdin);
}

#[test]
fn much_output_arrives_whole_however_slow_the_reader() {
    const MIB: usize = 6;
    let mut child =
        xtask(&[probe(), "--", "flood", &MIB.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // Until every buffer between us is full.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let mut all = Vec::new();
    stdout.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), MIB << 20);
    assert!(all.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_ends_the_program() {
    let mut child = xtask(&[probe(), "--", "flood", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!((said.status, &*said.stderr), (128 + 13, ""));
}

#[test]
fn arguments_environment_and_directory() {
    let mut command = xtask(&[
        "--env",
        "A=1 2",
        "--env",
        "INHERITED",
        "--env",
        "A=last",
        "--env",
        "HOME=/x",
        "--cwd",
        "tmp",
    ]);
    command.env("INHERITED", "yes").env("TERM", "vt100").env("NOT_THIS", "x");
    command.args([probe(), "--", "show", "--memory", "", "ü\n"]);
    let said: Said = command.output().unwrap().into();
    let expected = format!(
        "arg {}\narg show\narg --memory\narg \narg ü\n\nenv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         env TERM=vt100\nenv INHERITED=yes\nenv A=last\nenv HOME=/x\ncwd /tmp\n",
        probe()
    );
    assert_eq!(said.text(), expected, "{}", said.stderr);
}

#[test]
fn a_directory_becomes_the_root() {
    let root = scratch("root");
    let root_option = root.to_str().unwrap();
    file(&root, "etc/motd", b"welcome\n");
    std::os::unix::fs::symlink("/etc", root.join("config")).unwrap();
    // A program from elsewhere is added to it.
    let said = run(&["--root", root_option, probe(), "--", "read", "/config/motd"]);
    assert_eq!((&*said.text(), said.status), ("welcome\n", 0), "{}", said.stderr);
    // One of its own is where it is.
    std::fs::create_dir(root.join("bin")).unwrap();
    std::fs::copy(probe(), root.join("bin/probe")).unwrap();
    let inside = root.join("bin/probe");
    let said = run(&["--root", root_option, inside.to_str().unwrap(), "--", "read", "/bin/probe"]);
    assert!(said.stdout.starts_with(b"\x7fELF"), "{}", said.stderr);
    assert!(
        run(&["--root", root_option, inside.to_str().unwrap(), "--", "show"])
            .text()
            .starts_with("arg /bin/probe\n")
    );
    // A script finds its interpreter there.
    let script = file(&scratch("script"), "script", b"#!/bin/probe show\n");
    let said = run(&["--root", root_option, &script, "--", "x"]);
    let expected = format!("arg /bin/probe\narg show\narg {script}\narg x\n");
    assert!(said.text().starts_with(&expected), "{} {}", said.text(), said.stderr);
}

#[test]
fn a_program_can_end_the_machine() {
    for word in ["poweroff", "reboot", "halt"] {
        let script = format!("echo before; sleep 100 & {word} -f; echo after");
        let said = run(&["--timeout=60", "/bin/busybox", "--", "sh", "-c", &script]);
        assert_eq!((&*said.text(), said.status), ("before\n", 0), "{word}: {}", said.stderr);
    }
}

#[test]
fn what_the_machine_lets_its_programs_set() {
    const SCRIPT: &str = r#"
        cat /proc/mounts | grep ' /dev/shm '
        echo x > /dev/shm/x; cat /dev/shm/x; [ $(stat -c %d /dev/shm) = $(stat -c %d /dev) ] || echo apart
        mkdir /tmp/pts; mount -t devpts devpts /tmp/pts; (exec 3<>/dev/ptmx; ls /tmp/pts /dev/pts)
        cd /proc/sys; echo example.org > kernel/domainname; cat kernel/domainname
        echo 40 > vm/max_map_count; cat vm/max_map_count; /bin/busybox true && echo enough
        echo 3 > vm/max_map_count; (exec /bin/busybox true) 2> /dev/null || echo too few"#;
    let said = run(&["/bin/busybox", "--", "sh", "-c", SCRIPT]);
    let expected = "tmpfs /dev/shm tmpfs rw,nosuid,nodev,relatime 0 0\nx\napart\n/dev/pts:\n0\n\n/tmp/pts:\n0\nexample.org\n40\nenough\ntoo few\n";
    assert_eq!(said.text(), expected, "{}", said.stderr);
}

#[test]
fn programs_of_the_root_go_by_their_paths_there() {
    let root = scratch("root-paths");
    let root_option = root.to_str().unwrap();
    // This host has another program of that name.
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    std::fs::create_dir(root.join("home")).unwrap();
    std::fs::copy(probe(), root.join("usr/bin/true")).unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    std::os::unix::fs::symlink("../usr/bin/true", root.join("home/link")).unwrap();
    let shows = |options: &[&str], typed: &str, cwd: &str| {
        let said = run(&[options, &["--root", root_option, typed, "--", "show"]].concat());
        let text = said.text();
        assert!(text.starts_with(&format!("arg {typed}\narg show\n")), "{typed}: {text}{}", said.stderr);
        assert!(text.ends_with(&format!("cwd {cwd}\n")), "{typed}: {text}");
    };
    shows(&[], "/bin/true", "/");
    shows(&[], "usr/../bin/true", "/");
    shows(&[], "true", "/");
    shows(&["--env", "PATH=/sbin:/home"], "link", "/");
    shows(&["--cwd=/home"], "./link", "/home");
    // Added at the place that it has on this host, where the root has a link.
    let said = run(&["--root", root_option, probe(), "--", "read", "/bin/true"]);
    assert!(said.stdout.starts_with(b"\x7fELF"), "{}", said.stderr);
    let said = run(&["--root", root_option, "/bin/busybox", "--", "echo", "from the host"]);
    assert_eq!(said.text(), "from the host\n", "{}", said.stderr);
    let said = run(&["--root", root_option, "/bin/no-such"]);
    said.expect_error(125, &["whelk: /bin/no-such: no such file, neither in", root_option]);
}

#[test]
fn the_first_interrupt_is_the_programs_and_the_second_ends_the_machine() {
    let mut child = xtask(&[probe(), "--", "signals"]).stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(lines.next().as_deref(), Some("signal 2"));
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(lines.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_termination_is_the_programs_too() {
    let mut child = xtask(&[probe(), "--", "signals"]).stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(lines.next().as_deref(), Some("signal 15"));
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn what_the_group_is_sent_reaches_the_program_alone() {
    use std::os::unix::process::CommandExt;
    for (signal, line, status) in [(Signal::SIGTERM, "signal 15", 9), (Signal::SIGINT, "signal 2", 130)] {
        let mut command = xtask(&[probe(), "--", "signals"]);
        let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let group = Pid::from_raw(-child.id().cast_signed());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        // As a terminal's ^C with the input from a file.
        kill(group, signal).unwrap();
        assert_eq!(lines.next().as_deref(), Some(line));
        if signal == Signal::SIGINT {
            kill(group, signal).unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

#[test]
fn ignored_signals_stay_ignored() {
    let command = xtask(&[probe(), "--", "signals"]);
    let arguments =
        command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut shell = std::process::Command::new("/bin/sh");
    let script = ["trap '' HUP; exec \"$0\" \"$@\""];
    shell.arg("-c").args(script).arg(command.get_program()).args(arguments).stdin(Stdio::null());
    let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    kill(pid, Signal::SIGHUP).unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(lines.next().as_deref(), Some("signal 15"));
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn qemu_goes_when_we_are_killed() {
    let mut child = xtask(&[probe(), "--", "signals"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let qemu: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // It is ended by the kernel, after us.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        kill(Pid::from_raw(qemu), None).is_err()
            || std::fs::read_to_string(format!("/proc/{qemu}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
    assert!(gone);
}

#[test]
fn every_exact_run_is_the_same() {
    let first = run(&["--exact", probe(), "--", "ticks"]);
    assert_eq!(first.status, 0, "{}", first.stderr);
    assert!(first.text().starts_with("1704067200.0"), "{}", first.text());
    let second = run(&["--exact", probe(), "--", "ticks"]);
    assert_eq!(first.text(), second.text());
}

#[test]
fn the_program_may_stand_behind_the_dashes() {
    let said = run(&["--", probe(), "exit", "--timeout=x"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert_eq!(run(&["--", probe(), "exit", "3"]).status, 3);
}

#[test]
fn dynamic_programs_run_in_a_root_that_has_their_libraries() {
    let root = scratch("dynamic");
    let source = file(
        &root,
        "src/dynamic.c",
        b"#include <dlfcn.h>\n#include <errno.h>\n#include <math.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
          static __thread int count = 6;\n\
          __attribute__((constructor)) static void first(void) { count++; }\n\
          static void last(void) { puts(\"last\"); }\n\
          int main(int argc, char **argv) {\n\
              double (*power)(double, double) = dlsym(dlopen(\"libm.so.6\", RTLD_NOW), \"pow\");\n\
              atexit(last);\n\
              printf(\"%s %d %.17g %.17g\\n\", argv[0], count, cos(argc), power(1.5, 2.5));\n\
              return fopen(\"/no/such\", \"r\") ? 0 : errno;\n\
          }\n",
    );
    let program = root.join("bin/dynamic");
    std::fs::create_dir(root.join("bin")).unwrap();
    let mut gcc = std::process::Command::new("gcc");
    assert!(gcc.arg("-o").arg(&program).args([&source, "-lm"]).status().unwrap().success());
    // What the dynamic linker says that it needs, at the same places.
    let list = std::process::Command::new("ldd").arg(&program).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(&library[1..]);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(library, place).unwrap();
    }
    let native = std::process::Command::new(&program).arg("x").output().unwrap();
    let expected =
        String::from_utf8(native.stdout).unwrap().replace(program.to_str().unwrap(), "/bin/dynamic");
    for mode in ["--mode=flat", "--mode=guarded"] {
        let said = run(&[mode, "--root", root.to_str().unwrap(), "/bin/dynamic", "--", "x"]);
        assert_eq!((&*said.text(), &*said.stderr, said.status), (&*expected, "", 2), "{mode}");
    }
    // By way of the dynamic linker as a program, too.
    let options =
        ["--root", root.to_str().unwrap(), "/lib64/ld-linux-x86-64.so.2", "--", "/bin/dynamic", "x"];
    let said = run(&options);
    assert_eq!((&*said.text(), said.status), (&*expected, 2), "{}", said.stderr);
}

#[test]
fn a_debugger_can_be_there_from_the_start() {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gdb = format!("--gdb={port}");
    let mut child =
        xtask(&[&gdb, probe(), "--", "both"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains(&format!("-ex 'target remote :{port}'")), "{line}");
    let kernel = line.split_once("gdb; start it with: gdb ").unwrap().1.split(' ').next().unwrap();
    assert!(std::fs::read(kernel).unwrap().starts_with(b"\x7fELF"));
    let mut debugger = (0..600)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .expect("nobody listens");
    // gdb's remote protocol: all registers, the instruction pointer behind sixteen others. It stands at the reset vector.
    debugger.write_all(b"$g#67").unwrap();
    let mut answer = Vec::new();
    while answer.iter().filter(|&&byte| byte == b'#').count() < 1 {
        let mut byte = [0];
        debugger.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.get(2 + 16 * 16..).is_some_and(|rest| rest.starts_with("f0ff000000000000")), "{text}");
    // Goes on without the debugger.
    debugger.write_all(b"+$D#44").unwrap();
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!((&*said.text(), said.status), ("to stdout\n", 3));
    line.clear();
    stderr.read_to_string(&mut line).unwrap();
    assert_eq!(line, "to stderr\n");
}

#[test]
fn a_trace_leaves_standard_output_alone() {
    let said = run(&["--strace", probe(), "--", "both"]);
    assert_eq!((&*said.text(), said.status), ("to stdout\n", 3));
    // A line for each call: its name, its arguments, and what came of it.
    assert!(said.stderr.contains("to stderr\n") && !said.stderr.contains('\r'));
    let calls: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("[1] ")).collect();
    assert_eq!(calls.last(), Some(&"[1] exit_group(3) = ?"), "{}", said.stderr);
    assert!(
        calls.iter().all(|line| line.contains(") = ") || line.starts_with("[1] writev(2, 0x")),
        "{}",
        said.stderr
    );
    let said = run(&["--strace", probe(), "--", "read", "/no/such\n"]);
    assert!(said.stderr.contains("[1] open(\"/no/such\\n\", O_RDONLY"), "{}", said.stderr);
    assert!(said.stderr.contains(") = -1 ENOENT\n"), "{}", said.stderr);
    // A call that others' calls come between has its result on a line of its own.
    let said = run(&["--strace", "/bin/busybox", "--", "sh", "-c", "busybox sleep 0.1 & wait"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(said.stderr.contains("\n[1] ... "), "{}", said.stderr);
    let said = run(&["--log=trace", probe(), "--", "both"]);
    assert_eq!((&*said.text(), said.status), ("to stdout\n", 3));
}

#[test]
fn clocks_make_no_system_call() {
    for mode in ["--mode=flat", "--mode=guarded"] {
        let said = run(&["--strace", mode, probe(), "--", "clocks"]);
        assert_eq!((&*said.text(), said.status), ("0 wrong\n", 0), "{}", said.stderr);
        for call in ["clock_gettime", "gettimeofday", "time", "getcpu"] {
            assert!(!said.stderr.contains(&format!("] {call}(")), "{mode}: {}", said.stderr);
        }
        assert!(said.stderr.contains("] exit_group(0) = ?"), "{}", said.stderr);
    }
}
