//! Against Debian's cpio program: it reads what we write, and we read what it writes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cpio::{Metadata, Reader, Writer};

fn run(directory: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("cpio")
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("cpio, from Debian's package of that name");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn cpio_reads_ours() {
    let mut writer = Writer::new();
    writer.add(b"d", &Metadata { mode: 0o040_755, ..Metadata::default() }, b"").unwrap();
    writer.add(b"d/file", &Metadata { mode: 0o100_644, ..Metadata::default() }, b"contents\n").unwrap();
    writer.add(b"s", &Metadata { mode: 0o120_777, ..Metadata::default() }, b"d/file").unwrap();
    let directory = scratch("reads");
    run(&directory, &["-i"], &writer.finish());
    assert_eq!(std::fs::read(directory.join("s")).unwrap(), b"contents\n");
}

#[test]
fn we_read_cpios() {
    let directory = scratch("writes");
    std::fs::write(directory.join("one"), b"1").unwrap();
    std::fs::hard_link(directory.join("one"), directory.join("two")).unwrap();
    let archive = run(&directory, &["-o", "-H", "newc"], b"one\ntwo\n");
    let entries: Vec<_> = Reader::new(&archive).map(Result::unwrap).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].ino, entries[0].dev), (entries[1].ino, entries[1].dev));
    assert_eq!(entries[1].nlink, 2);
    assert_eq!(Reader::new(&archive).bytes(entries[1].data.clone()), b"1");
}
