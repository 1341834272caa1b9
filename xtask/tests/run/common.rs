//! What the tests of `cargo xtask run` share: the program itself, a guest program, and hand-made kernels.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Once, OnceLock};

pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// Exit status; 128 + N for a signal that ended xtask itself.
    pub(crate) status: i32,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            stdout: output.stdout,
            // A busy host may take long to find that the kernel is up to date.
            stderr: String::from_utf8_lossy(&output.stderr).replace("whelk: building the kernel…\n", ""),
            status: status.unwrap_or(-1),
        }
    }
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails unless it ended like this, with nothing on standard output and these words on standard error.
    #[track_caller]
    pub(crate) fn expect_error(&self, status: i32, words: &[&str]) {
        assert_eq!((self.status, &*self.text()), (status, ""), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} isn't in {:?}", self.stderr);
        }
    }
}

/// `cargo xtask run` with the time limit that every test has.
pub(crate) fn xtask(arguments: &[&str]) -> Command {
    // Once before anything is measured: on a fresh clone that takes minutes.
    static KERNEL: Once = Once::new();
    KERNEL.call_once(|| {
        let build = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["build", "--no-install"]).output();
        assert!(build.unwrap().status.success(), "cargo xtask build");
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["run", "--no-install"]);
    if !arguments.iter().any(|argument| argument.starts_with("--timeout")) {
        command.arg("--timeout=120");
    }
    if !arguments.iter().any(|argument| argument.starts_with("--accel")) {
        command.arg("--accel=tcg");
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Said {
    xtask(arguments).output().unwrap().into()
}

/// Runs with this on standard input, through a pipe.
pub(crate) fn run_with_input(arguments: &[&str], input: Vec<u8>) -> Said {
    let mut child =
        xtask(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // The program need not read all of it.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output.into()
}

/// An empty directory of a test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run").join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The guest program, static.
pub(crate) fn probe() -> &'static str {
    static PROBE: OnceLock<String> = OnceLock::new();
    PROBE.get_or_init(|| guest_program("xtask/tests/run/probe.c"))
}

/// Builds a C program of the project.
pub(crate) fn guest_program(source: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(source);
    let name = source.file_stem().unwrap().to_str().unwrap();
    // Test programs run at the same time: each has its own.
    let path = scratch(&format!("{name}-{}", std::process::id())).join(name);
    let flags = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o"];
    let status = Command::new("musl-gcc").args(flags).arg(&path).arg(source).status();
    assert!(status.expect("musl-gcc, from Debian's package musl-tools").success());
    path.to_str().unwrap().to_owned()
}

/// A PVH kernel of this 32-bit code, as a file of the test's own.
pub(crate) fn kernel(name: &str, code: &[u8]) -> String {
    const LOAD: u32 = 0x10_0000;
    const CODE_OFFSET: u32 = 0x1000;
    let code_len = u32::try_from(code.len()).unwrap();
    let note: Vec<u8> = [4u32, 4, 18]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .chain(*b"Xen\0")
        .chain(LOAD.to_le_bytes())
        .collect();
    let note_len = u32::try_from(note.len()).unwrap();
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0];
    let words = |elf: &mut Vec<u8>, words: &[u32]| elf.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    words(&mut elf, &[1, LOAD, 52, 0, 0]);
    elf.extend([52u16, 32, 2, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    words(&mut elf, &[1, CODE_OFFSET, LOAD, LOAD, code_len, code_len, 7, 0x1000]);
    words(&mut elf, &[4, 52 + 64, 0, 0, note_len, note_len, 4, 4]);
    elf.extend(note);
    elf.resize(usize::try_from(CODE_OFFSET).unwrap(), 0);
    elf.extend(code);
    let path = scratch(name).join("kernel");
    std::fs::write(&path, elf).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Writes a file and gives its path.
pub(crate) fn file(directory: &Path, name: &str, contents: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, contents).unwrap();
    String::from_utf8(path.as_os_str().as_bytes().to_vec()).unwrap()
}
