//! The list of cases: every program of `tests/guest`, and the command lines of `tests/cases/*.txt`.

use std::path::Path;

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
    let directory = project.join("tests/cases");
    let mut files: Vec<_> =
        std::fs::read_dir(&directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
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
