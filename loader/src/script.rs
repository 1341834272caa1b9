//! `#!` lines, as Linux's `fs/binfmt_script.c` reads them.

/// How much of a file's beginning is looked at (BINPRM_BUF_SIZE).
pub const HEAD_SIZE: usize = 256;

/// An interpreter and its optional single argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    pub interpreter: &'a [u8],
    pub argument: Option<&'a [u8]>,
}

/// A `#!` line without a usable interpreter: ENOEXEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed #! line")]
pub struct BadScript;

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Reads the first line of a file that begins with `#!`; `None` if it doesn't. `head` is the file's beginning, at most `HEAD_SIZE` bytes.
///
/// # Errors
/// No interpreter on the line, or its path doesn't end within `head`.
pub fn parse(head: &[u8]) -> Option<Result<Script<'_>, BadScript>> {
    let head = head.get(..HEAD_SIZE).unwrap_or(head);
    let line = head.strip_prefix(b"#!")?;
    let is_end = |byte: &u8| *byte == b'\n' || *byte == 0;
    let (line, complete) = match line.iter().position(is_end) {
        Some(end) => (line.get(..end).unwrap_or_default(), true),
        // Linux leaves the last byte of what it read alone.
        None if head.len() == HEAD_SIZE => (line.split_last().map_or(line, |(_, before)| before), false),
        None => (line, true),
    };
    let text = line.trim_ascii_start_blanks();
    let end = text.iter().position(|&byte| is_blank(byte));
    // A line that goes on beyond what was read is cut; a path that does would name another file.
    if text.is_empty() || (end.is_none() && !complete) {
        return Some(Err(BadScript));
    }
    let (interpreter, rest) = text.split_at(end.unwrap_or(text.len()));
    let argument = rest.trim_ascii_start_blanks().trim_ascii_end_blanks();
    Some(Ok(Script { interpreter, argument: (!argument.is_empty()).then_some(argument) }))
}

trait TrimBlanks {
    fn trim_ascii_start_blanks(&self) -> &[u8];
    fn trim_ascii_end_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    fn trim_ascii_start_blanks(&self) -> &[u8] {
        let start = self.iter().position(|&byte| !is_blank(byte)).unwrap_or(self.len());
        self.get(start..).unwrap_or_default()
    }

    fn trim_ascii_end_blanks(&self) -> &[u8] {
        let end = self.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |at| at + 1);
        self.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script<'a>(
        interpreter: &'a [u8],
        argument: Option<&'a [u8]>,
    ) -> Option<Result<Script<'a>, BadScript>> {
        Some(Ok(Script { interpreter, argument }))
    }

    #[test]
    fn lines() {
        assert_eq!(parse(b"#!/bin/sh\necho"), script(b"/bin/sh", None));
        assert_eq!(parse(b"#! \t/bin/sh  -e  x \n"), script(b"/bin/sh", Some(b"-e  x")));
        assert_eq!(parse(b"#!/bin/sh"), script(b"/bin/sh", None));
        assert_eq!(parse(b"#!\n"), Some(Err(BadScript)));
        assert_eq!(parse(b"#!  "), Some(Err(BadScript)));
        assert_eq!(parse(b"echo"), None);
        assert_eq!(parse(b"#"), None);
    }

    #[test]
    fn a_path_that_does_not_end_in_time_is_refused() {
        let mut head = [b'a'; HEAD_SIZE];
        head[..3].copy_from_slice(b"#!/");
        assert_eq!(parse(&head), Some(Err(BadScript)));
        head[100] = b' ';
        assert!(matches!(parse(&head), Some(Ok(Script { argument: Some(_), .. }))));
    }
}
