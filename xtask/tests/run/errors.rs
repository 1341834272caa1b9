//! What is said, and with which exit status, when something can't be.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Said, file, kernel, probe, run, scratch, xtask};

/// Of the launcher's own.
const LAUNCHER: i32 = 125;
const TIMEOUT: i32 = 124;
const PANIC: i32 = 121;

#[test]
fn no_such_file() {
    run(&["/no/such/program"]).expect_error(LAUNCHER, &["whelk: /no/such/program: no such file"]);
    run(&["/tmp"]).expect_error(LAUNCHER, &["whelk: /tmp: not a regular file"]);
}

#[test]
fn not_a_program() {
    let text = file(&scratch("not-a-program"), "text", b"hello\n");
    run(&[&text]).expect_error(LAUNCHER, &[&text, "not an ELF file"]);
    let empty = file(&scratch("empty"), "empty", b"");
    run(&[&empty]).expect_error(LAUNCHER, &[&empty, "not an ELF file"]);
}

#[test]
fn a_program_for_another_machine() {
    let mut elf = std::fs::read(probe()).unwrap();
    elf[18] = 183;
    let arm = file(&scratch("arm"), "arm", &elf);
    run(&[&arm]).expect_error(LAUNCHER, &[&arm, "another processor"]);
    elf[18] = 62;
    elf[4] = 1;
    let narrow = file(&scratch("narrow"), "narrow", &elf);
    run(&[&narrow]).expect_error(LAUNCHER, &[&narrow, "32-bit"]);
}

#[test]
fn truncated_and_hostile_programs() {
    let elf = std::fs::read(probe()).unwrap();
    let directory = scratch("truncated");
    for len in [30, 70, 130, 0x1000, elf.len() / 2] {
        let path = file(&directory, &format!("cut-{len}"), &elf[..len]);
        run(&[&path]).expect_error(LAUNCHER, &[&path, "truncated"]);
    }
    // Its first loadable segment claims to reach over the end of the address space.
    let mut hostile = elf;
    let load = (0..8).map(|index| 64 + index * 56).find(|&at| hostile[at..at + 4] == [1, 0, 0, 0]).unwrap();
    hostile[load + 40..load + 48].copy_from_slice(&[0xff; 8]);
    let path = file(&directory, "hostile", &hostile);
    run(&[&path]).expect_error(LAUNCHER, &[&path, "outside the program's memory"]);
}

#[test]
fn a_program_without_its_interpreter() {
    let words = ["/bin/true is dynamically linked", "/lib64/ld-linux-x86-64.so.2", "--root"];
    run(&["/bin/true"]).expect_error(LAUNCHER, &words);
    let script = file(&scratch("no-interpreter"), "script", b"#!/usr/bin/no-such-shell -e\n");
    run(&[&script]).expect_error(LAUNCHER, &[&script, "a script for /usr/bin/no-such-shell", "--root"]);
}

#[test]
fn too_little_memory_for_the_files() {
    let root = scratch("large-root");
    file(&root, "large", &vec![1; 6 << 20]);
    let said = run(&["--memory=4M", "--root", root.to_str().unwrap(), probe(), "--", "exit", "0"]);
    said.expect_error(LAUNCHER, &["not enough memory", "4 MiB", "try --memory 16M"]);
}

#[test]
fn as_many_files_as_there_is_memory_for() {
    let root = scratch("many-files");
    for number in 0..3000 {
        file(&root, &number.to_string(), b"");
    }
    let root = root.to_str().unwrap();
    let with = |memory| run(&[memory, "--root", root, probe(), "--", "exit", "5"]);
    // More files than half of the pages that are free.
    let said = with("--memory=8M");
    assert_eq!((said.status, &*said.stderr), (5, ""), "{}", said.text());
    with("--memory=3M").expect_error(LAUNCHER, &["not enough memory", "--memory"]);
}

#[test]
fn too_little_memory_for_the_program() {
    // A static program whose data alone needs more than there is.
    let directory = scratch("large-data");
    let source =
        file(&directory, "large.c", b"char data[8 << 20] = {1}; int main(void) { return data[1]; }\n");
    let program = directory.join("large");
    let status =
        std::process::Command::new("musl-gcc").args(["-static", "-o"]).arg(&program).arg(source).status();
    assert!(status.unwrap().success());
    let said = run(&["--memory=4M", program.to_str().unwrap()]);
    said.expect_error(LAUNCHER, &["needs 9 MiB of memory", "4 MiB", "--memory"]);
}

#[test]
fn no_qemu() {
    // A search path with a compiler's directory only by accident would do harm: this one has nothing.
    let mut command = xtask(&["--kernel", probe(), probe()]);
    let said: Said = command.env("PATH", scratch("empty-path")).output().unwrap().into();
    said.expect_error(LAUNCHER, &["qemu-system-x86", "apt-get install"]);
}

#[test]
fn how_instructions_are_run_is_found_out() {
    for mode in ["flat", "guarded"] {
        let automatic = run(&["--accel=auto", "--mode", mode, probe(), "--", "both"]);
        assert_eq!((automatic.status, &*automatic.text()), (3, "to stdout\n"), "{mode}");
        let kvm = run(&["--accel=kvm", "--mode", mode, probe(), "--", "both"]);
        let line = automatic.stderr.strip_suffix("to stderr\n").unwrap();
        if line.is_empty() {
            assert_eq!((kvm.status, &*kvm.stderr), (3, "to stderr\n"), "{mode}");
            continue;
        }
        let reason = line.strip_suffix(": using QEMU's translator\n").expect(line);
        assert!(!reason.contains('\n'), "{line}");
        // Who asks for it nevertheless gets it with a warning, or can't have it.
        if kvm.status == 3 {
            assert_eq!(
                (&*kvm.text(), kvm.stderr),
                ("to stdout\n", format!("{reason}\nto stderr\n")),
                "{mode}"
            );
        } else {
            kvm.expect_error(LAUNCHER, &[reason, "leave --accel kvm out"]);
        }
    }
}

#[test]
fn a_kernel_that_is_told_that_ring_0_is_emulated() {
    // No XSAVE, no FSGSBASE, no SMAP, and system calls through the traced entry: all of which a real processor must be able to do without.
    for options in [&["--mode=guarded"][..], &["--mode=guarded", "--cpus=2"], &["--mode=guarded", "--strace"]]
    {
        let told = [options, &["--append=ring0=emulated", "/bin/busybox", "--", "sh", "-c"]].concat();
        let said = run(&[&told[..], &["echo one | busybox tr n m; (exit 3); echo $?; kill -9 $$"]].concat());
        assert_eq!((said.status, &*said.text()), (137, "ome\n3\n"), "{options:?} {}", said.stderr);
        assert_eq!(said.stderr.contains("execve("), options.contains(&"--strace"), "{}", said.stderr);
    }
}

#[test]
fn options_that_make_no_sense() {
    run(&["--no-such-option", probe()]).expect_error(LAUNCHER, &["--no-such-option"]);
    run(&["--memory=1K", probe()]).expect_error(LAUNCHER, &["at least 2M"]);
    run(&["--memory=lots", probe()]).expect_error(LAUNCHER, &["256M"]);
    run(&["--timeout=-1", probe()]).expect_error(LAUNCHER, &["--timeout"]);
    run(&[probe(), "exit"]).expect_error(LAUNCHER, &["'exit'", "behind `--`"]);
    run(&["--cpus=0", probe()]).expect_error(LAUNCHER, &["--cpus"]);
    run(&["--env==x", probe()]).expect_error(LAUNCHER, &["--env", "name"]);
    run(&["--cwd=/no/such", probe()]).expect_error(LAUNCHER, &["--cwd /no/such: no such directory"]);
    run(&["--root=/no/such", probe()]).expect_error(LAUNCHER, &["--root /no/such: no such directory"]);
    run(&["--kernel=/no/such", probe()]).expect_error(LAUNCHER, &["/no/such: no such kernel"]);
}

#[test]
fn help_is_not_an_error() {
    let said = run(&["--help"]);
    assert_eq!((said.status, &*said.stderr), (0, ""));
    for option in [
        "--memory",
        "--cpus",
        "--accel",
        "--mode",
        "--env",
        "--cwd",
        "--root",
        "--machine",
        "--timeout",
        "--exact",
        "--strace",
        "--gdb",
        "--print-qemu",
        "--log",
        "--append",
    ] {
        assert!(said.text().contains(option), "{option}");
    }
}

#[test]
fn a_program_that_hangs_is_ended() {
    for what in ["hang", "spin"] {
        let start = Instant::now();
        let said = run(&["--timeout=1.5", probe(), "--", what]);
        said.expect_error(TIMEOUT, &["ended after 1.5 seconds (--timeout)"]);
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_time_limit_holds_although_nobody_reads() {
    let mut child = xtask(&["--timeout=2", probe(), "--", "flood", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(TIMEOUT));
}

#[test]
fn a_machine_that_hangs_is_ended() {
    let hang = kernel("hang", &[0xfa, 0xf4, 0xeb, 0xfc]); // cli; hlt; jmp
    run(&["--kernel", &hang, "--timeout=1", probe()]).expect_error(TIMEOUT, &["--timeout"]);
}

#[test]
fn a_kernel_that_panics_says_so() {
    // "oops" to the serial line, then 0x3f to isa-debug-exit.
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in b"oops\n" {
        code.extend([0xb0, *byte, 0xee]); // mov al, byte; out dx, al
    }
    code.extend([0xb0, 0x3f, 0x66, 0xba, 0xf4, 0x00, 0xee, 0xf4]);
    let panics = kernel("panics", &code);
    run(&["--kernel", &panics, probe()]).expect_error(PANIC, &["the kernel panicked", "\noops\n"]);
}

#[test]
fn a_panic_says_where_with_names() {
    assert_eq!(run(&[probe(), "--", "unknown"]).status, 38);
    for mode in ["flat", "guarded"] {
        for (crash, reason) in [
            ("crash=panic", "kernel panicked at kernel/src/"),
            ("crash=fault", "kernel panic: exception 6, error code 0x0"),
        ] {
            let said = run(&["--mode", mode, "--append", crash, probe(), "--", "unknown"]);
            let context = format!("{mode} {crash}: {}", said.stderr);
            // What the program said before is still passed on.
            assert_eq!((said.status, &*said.text()), (PANIC, "calls\n"), "{context}");
            let mut rest = said
                .stderr
                .strip_prefix("whelk: the kernel panicked; please report this:\n")
                .expect(&context);
            // In this order, and each address of the backtrace with its function.
            let entry = format!(" syscall_entry_{mode}+0x");
            for part in [
                reason,
                "registers\n  rip 0xffffffff80",
                "rsp 0xffff8000",
                "r15 0x",
                "\nbacktrace:\n",
                &entry,
            ] {
                let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing: {context}"));
                rest = &rest[at + part.len()..];
            }
            assert!(said.stderr.contains(" kernel::syscall::unknown+0x"), "{context}");
            let (_, backtrace) = said.stderr.split_once("backtrace:\n").unwrap();
            assert!(
                backtrace.lines().all(|line| line.starts_with("  0xffffffff80") && line.contains("+0x")),
                "{context}"
            );
        }
    }
}

#[test]
fn a_machine_that_ends_by_itself_is_an_error() {
    // An interrupt table of no length, and an interrupt: a triple fault.
    let resets = kernel("resets", &[0x0f, 0x01, 0x1d, 0x00, 0x00, 0x00, 0x00, 0xcc]);
    run(&["--kernel", &resets, probe()]).expect_error(LAUNCHER, &["reset itself"]);
    let stops = kernel("stops", &[0xb0, 0x00, 0x66, 0xba, 0xf4, 0x00, 0xee, 0xf4]);
    run(&["--kernel", &stops, probe()]).expect_error(LAUNCHER, &["before the program did"]);
    run(&["--kernel", probe(), probe()]).expect_error(LAUNCHER, &["QEMU ended before the program did: "]);
}

#[test]
fn what_the_guest_cannot_execute() {
    // Its interpreter is looked up in the guest, where it isn't.
    let script = file(&scratch("relative"), "script", b"#!no-such-interpreter\n");
    run(&[&script]).expect_error(127, &["whelk: cannot run"]);
    let directory = scratch("no-program");
    file(&directory, "data", b"no program\n");
    let script = file(&directory, "script", b"#!/data\n");
    run(&["--root", directory.to_str().unwrap(), &script]).expect_error(126, &["whelk: cannot run"]);
}

#[test]
fn the_command_line_of_qemu_runs_in_a_shell() {
    let said = run(&["--print-qemu", "--memory=32M", probe(), "--", "both"]);
    assert_eq!((said.status, &*said.stderr), (0, ""));
    let command = said.text();
    assert!(command.starts_with("qemu-system-x86_64 -M microvm"), "{command}");
    let output = std::process::Command::new("timeout").args(["60", "sh", "-c", &command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("to stdout\n") && text.contains("to stderr\n"), "{text:?}");
}
