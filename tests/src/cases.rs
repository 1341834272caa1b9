//! The list of cases: every program of `tests/guest`, the command lines of `tests/cases/*.txt`, and the scripts of `tests/programs`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::programs::Program;
use crate::{Case, Scope};

/// All cases, in a fixed order.
pub(crate) fn all(project: &Path, programs: &[Program]) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = programs
        .iter()
        .map(|program| Case {
            name: program.name.clone(),
            argv: vec![format!("/t/bin/{}", program.name).into_bytes()],
            stdin: b"first line of input\nsecond line\n".to_vec(),
            scope: if program.name.starts_with("guarded_") { Scope::GuardedOnly } else { Scope::Everywhere },
        })
        .collect();
    for file in files_in(&project.join("tests/programs"))? {
        if file.extension().is_some_and(|extension| extension == "sh") {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            cases.push(Case {
                argv: ["/bin/sh".to_owned(), format!("/t/programs/{name}")].map(String::into_bytes).to_vec(),
                name: format!("programs/{name}"),
                stdin: Vec::new(),
                scope: Scope::Everywhere,
            });
        }
    }
    for file in files_in(&project.join("tests/cases"))? {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let argv = split(line).with_context(|| format!("{}:{}", file.display(), number + 1))?;
            cases.push(Case {
                name: format!("{stem}:{line}"),
                argv,
                stdin: b"pear\napple\nfig\napple\nbanana 10\ncherry 9\n".to_vec(),
                scope: Scope::Everywhere,
            });
        }
    }
    Ok(cases)
}

/// A directory's files, in order.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut files: Vec<_> = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// A line's words: blanks separate, single quotes keep together, as in a shell.
fn split(line: &str) -> Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quoted = false;
    for byte in line.bytes() {
        match byte {
            b'\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    anyhow::ensure!(!quoted, "a quote has no end");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words() {
        let words = split("/bin/busybox sed 's/a b/c/' ''").unwrap();
        assert_eq!(words, [&b"/bin/busybox"[..], b"sed", b"s/a b/c/", b""]);
        assert!(split("'x").is_err());
    }
}
