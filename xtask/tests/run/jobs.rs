//! Interactive shells with job control: the same session on this host and in Whelk, key by key.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::common::{scratch, xtask};
use crate::terminal::Terminal;

/// What the person at the terminal does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Types.
    Keys(&'static str),
    /// Waits for this to appear.
    See(&'static str),
    /// Makes the window this large: rows, columns.
    Size(u16, u16),
}
use Step::{Keys, See, Size};

const PROMPT: &str = "P> ";
const APPLETS: [&str; 9] = ["cat", "echo", "grep", "rm", "sh", "sleep", "stty", "true", "vi"];
const ENVIRONMENT: [(&str, &str); 4] = [("HOME", "/"), ("PATH", "/bin"), ("PS1", PROMPT), ("TERM", "vt100")];

/// Names for longer commands, read by both shells before the first prompt appears. `go` says when it runs; `settled` waits until a job has
/// stopped.
const PROFILE: &str = "\
go() { sh -c 'echo r\"\"uns; exec \"$@\"' go \"$@\"; }
settled() { until jobs > /jobs; grep -q Stopped /jobs; do sleep 0.01; done; }
";

/// Editing, the keys that signal, stopping and continuing, and the terminal's rules for jobs in the background.
const SESSION: &[Step] = &[
    See(PROMPT),
    // Arrows, Ctrl-A, Ctrl-E, Ctrl-U, backspace; and the line before.
    Keys("echo helo\x1b[Dl\x1b[C wrld\x1b[D\x1b[D\x1b[Do\x01\x05!\x7f\r"),
    See("\r\nhello world\r\n"),
    See(PROMPT),
    Keys("rubbish\x15\x1b[A\r"),
    See("\r\nhello world\r\n"),
    See(PROMPT),
    // Ctrl-C ends what runs in front, and nothing else.
    Keys("go cat\r"),
    See("\r\nruns\r\n"),
    Keys("abc\r"),
    See("abc\r\nabc\r\n"),
    Keys("\x03"),
    See("^C"),
    See(PROMPT),
    Keys("echo status $?\r"),
    See("\r\nstatus 130\r\n"),
    See(PROMPT),
    Keys("go cat\r"),
    See("\r\nruns\r\n"),
    Keys("def\r"),
    See("def\r\ndef\r\n"),
    Keys("\x1c"),
    See("^\\"),
    See(PROMPT),
    Keys("echo status $?\r"),
    See("\r\nstatus 131\r\n"),
    See(PROMPT),
    // Ctrl-Z, jobs, bg, fg.
    Keys("sh -c 'echo $((41 + 1)); exec sleep 1000'\r"),
    See("\r\n42\r\n"),
    Keys("\x1a"),
    See("^Z"),
    See("Stopped"),
    See(PROMPT),
    Keys("jobs\r"),
    See("Stopped"),
    See(PROMPT),
    Keys("bg\r"),
    See("sleep 1000"),
    See(PROMPT),
    Keys("jobs\r"),
    See("Running"),
    See(PROMPT),
    Keys("kill %1; wait %1; echo status $?\r"),
    See("\r\nstatus 143\r\n"),
    See(PROMPT),
    Keys("jobs; echo none left\r"),
    See("none left\r\nnone left\r\n"),
    See(PROMPT),
    // Who reads in the background is stopped, and gets its line in front.
    Keys("cat &\r"),
    See(PROMPT),
    Keys("settled; echo stopped $?\r"),
    See("\r\nstopped 0\r\n"),
    See(PROMPT),
    Keys("fg\r"),
    See("fg\r\ncat\r\n"),
    Keys("hello\r"),
    See("hello\r\nhello\r\n"),
    Keys("\x03"),
    See(PROMPT),
    // So is who writes, with tostop; not who doesn't care for SIGTTOU.
    Keys("stty tostop; (echo lin\"\"es)&\r"),
    See(PROMPT),
    Keys("settled; fg\r"),
    See("\r\nlines\r\n"),
    See(PROMPT),
    Keys("(trap '' TTOU; echo all\"\"owed)& wait\r"),
    See("allowed\r\n"),
    See(PROMPT),
    Keys("stty -tostop; (echo fr\"\"ee)& wait\r"),
    See("free\r\n"),
    See(PROMPT),
    // A background process may not take the terminal's settings either, nor be stopped for asking.
    Keys("stty -g > /saved\r"),
    See(PROMPT),
    Keys("stty -echo &\r"),
    See(PROMPT),
    Keys("settled; stty -a | grep -c -- -echo\\ ; fg; stty $(cat /saved)\r"),
    See("\r\n0\r\n"),
    See(PROMPT),
    // The window.
    Keys("stty size\r"),
    See("33 99\r\n"),
    See(PROMPT),
    Size(40, 120),
    Keys("until stty size | grep '40 120'; do sleep 0.01; done\r"),
    See("\r\n40 120\r\n"),
    See(PROMPT),
    // A shell in the shell has the terminal until it gives it back.
    Keys("sh\r"),
    See("sh\r\n"),
    See(PROMPT),
    Keys("go cat\r"),
    See("\r\nruns\r\n"),
    Keys("inner\r"),
    See("inner\r\ninner\r\n"),
    Keys("\x03"),
    See(PROMPT),
    Keys("exit 3\r"),
    See(PROMPT),
    Keys("echo status $?\r"),
    See("\r\nstatus 3\r\n"),
    See(PROMPT),
    // Standard input at its end, by key.
    Keys("sh -c 'echo r\"\"uns; read x; echo end $?'\r"),
    See("\r\nruns\r\n"),
    Keys("\x04"),
    See("end 1\r\n"),
    See(PROMPT),
    // A program that takes the whole screen.
    Keys("vi /text\r"),
    See("- /text 1/1 100%"),
    Keys("i"),
    See("I /text 1/1 100%"),
    Keys("written"),
    See("written"),
    Keys("\x1b"),
    See("- /text"),
    Keys(":wq\r"),
    See(PROMPT),
    Keys("cat /text; rm /text\r"),
    See("rm /text\r\nwritten\r\n"),
    See(PROMPT),
    Keys("exit 7\r"),
    See("exit 7\r\n"),
];

fn play(command: Command) {
    println!("{command:?}");
    let mut terminal = Terminal::start(command);
    for step in SESSION {
        // Shown if the test fails.
        println!("{step:?}");
        match *step {
            Keys(keys) => terminal.type_in(keys.as_bytes()),
            See(text) => terminal.expect(text),
            Size(rows, cols) => terminal.resize(rows, cols),
        }
    }
    assert_eq!(terminal.end(), Some(7));
}

/// A root with the shells, what they call, and their profile.
fn root(name: &str) -> std::path::PathBuf {
    let root = scratch(name);
    std::fs::create_dir(root.join("bin")).unwrap();
    // By a process of its own: a descriptor open for writing here could be inherited by what another test starts.
    for (from, to) in [("/bin/busybox", "bin/busybox"), ("/bin/bash-static", "bin/bash")] {
        assert!(Command::new("cp").arg("-L").arg(from).arg(root.join(to)).status().unwrap().success());
    }
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(root.join("profile"), PROFILE).unwrap();
    root
}

fn native(root: &Path, shell: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg(root).args(shell).env_clear().envs(ENVIRONMENT).env("ENV", "/profile");
    command
}

fn guest(root: &Path, mode: &str, shell: &[&str]) -> Command {
    let root = root.to_str().unwrap();
    let program = format!("{root}{}", shell[0]);
    let mut arguments = vec![mode.to_owned(), format!("--root={root}")];
    arguments.push("--env=ENV=/profile".to_owned());
    arguments.extend(ENVIRONMENT.iter().map(|(name, value)| format!("--env={name}={value}")));
    arguments.extend([program, "--".to_owned()]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(&shell[1..]);
    xtask(&arguments)
}

fn everywhere(name: &str, shell: &[&str]) {
    let root = root(name);
    play(native(&root, shell));
    for mode in ["--mode=flat", "--mode=guarded"] {
        play(guest(&root, mode, shell));
    }
}

#[test]
fn bash_with_job_control() {
    everywhere("jobs-bash", &["/bin/bash", "--noprofile", "--rcfile", "/profile"]);
}

#[test]
fn busybox_shell_with_job_control() {
    everywhere("jobs-busybox", &["/bin/busybox", "sh"]);
}
