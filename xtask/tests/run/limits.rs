//! What programs do to a machine: nothing brings the kernel down.

use std::sync::LazyLock;

use crate::common::{guest_program, run};

static EXHAUST: LazyLock<String> = LazyLock::new(|| guest_program("xtask/tests/run/exhaust.c"));
static FUZZER: LazyLock<String> = LazyLock::new(|| guest_program("tests/fuzz/syscalls.c"));

const MODES: [&str; 2] = ["--mode=flat", "--mode=guarded"];

/// Uses things up one after the other; returns what was said about it.
#[track_caller]
fn exhaust(memory: &str, mode: &str, what: &[&str]) -> (String, String) {
    let memory = format!("--memory={memory}");
    let said = run(&[&[&*memory, mode, &EXHAUST, "--"], what].concat());
    let text = said.text();
    assert_eq!((said.status, text.lines().last()), (0, Some("alive")), "{what:?}: {text}{}", said.stderr);
    for what in what {
        assert!(text.contains(&format!("{what}: afterwards 7\n")), "{what}: {text}{}", said.stderr);
    }
    (text, said.stderr)
}

#[test]
fn programs_that_take_all_memory_are_killed_with_a_word() {
    for mode in MODES {
        for memory in ["4M", "8M", "16M"] {
            let what = ["touch", "touch_shared", "populate", "tables", "stack"];
            let (text, words) = exhaust(memory, mode, &what);
            for what in what {
                assert!(text.contains(&format!("{what}: signal 9\n")), "{what}: {text}");
            }
            assert_eq!(words.matches("whelk: out of memory: killed process ").count(), what.len(), "{words}");
            assert_eq!(words.matches("(exhaust)").count(), what.len(), "{words}");
        }
    }
}

#[test]
fn the_kernels_own_memory_runs_out_without_harm() {
    for mode in MODES {
        exhaust(
            "8M",
            mode,
            &["pipes", "descriptors", "memory_files", "signals", "timers", "locks", "long_arguments"],
        );
    }
}

#[test]
fn long_lists_ask_for_their_memory() {
    for mode in MODES {
        for memory in ["8M", "16M"] {
            exhaust(memory, mode, &["sockets", "messages", "watches", "many_arguments"]);
        }
    }
}

#[test]
fn all_of_them_at_once_do_no_harm() {
    for mode in MODES {
        for (memory, cpus) in [("--memory=16M", "--cpus=1"), ("--memory=32M", "--cpus=2")] {
            let said = run(&[memory, cpus, mode, &EXHAUST, "--", "storm"]);
            let text = said.text();
            assert_eq!((said.status, text.lines().last()), (0, Some("alive")), "{text}{}", said.stderr);
            assert!(text.contains("storm: afterwards 7\n"), "{text}{}", said.stderr);
        }
    }
}

#[test]
fn bombs_have_bounds() {
    for mode in MODES {
        // Several times: how near to its end the kernel's reserve comes depends on who runs when.
        exhaust("16M", mode, &["threads", "processes", "bomb", "copies", "copies", "copies", "copies"]);
    }
}

#[test]
fn a_full_file_system_says_so() {
    for mode in MODES {
        let (text, _) = exhaust("16M", mode, &["file"]);
        assert!(text.contains("write: No space left on device\nsize as written\n"), "{text}");
        for what in ["names", "directories"] {
            let said = run(&["--memory=8M", mode, &EXHAUST, "--", what]);
            let text = said.text();
            assert_eq!(said.status, 0, "{text}{}", said.stderr);
            assert!(text.contains(": No space left on device\n") && text.ends_with("alive\n"), "{text}");
        }
    }
}

/// The same calls at every run. More of them: `cargo xtask run` with the program that this builds, and another seed.
#[test]
fn random_system_calls_do_no_harm() {
    for mode in MODES {
        for seed in ["1", "2"] {
            let said = run(&["--memory=64M", mode, &FUZZER, "--", seed, "6000"]);
            // The calls may write to the streams as well.
            assert_eq!(said.status, 0, "seed {seed} {mode}: {}{}", said.text(), said.stderr);
            assert!(
                said.text().ends_with("survived\n"),
                "seed {seed} {mode}: {}{}",
                said.text(),
                said.stderr
            );
        }
    }
}
