//! The lines that measuring programs print: `suite name ticks rounds`.

/// One measured case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) suite: String,
    pub(crate) name: String,
    /// By the round, in ticks of the TSC.
    pub(crate) ticks: u64,
    /// Of each repetition.
    pub(crate) rounds: u64,
}

/// Reads one line. `None` for any other text.
pub(crate) fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let parsed = Line {
        suite: words.next()?.to_owned(),
        name: words.next()?.to_owned(),
        ticks: words.next()?.parse().ok()?,
        rounds: words.next()?.parse().ok().filter(|&rounds| rounds > 0)?,
    };
    words.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = parse("syscall null_getppid 57 200").unwrap();
        assert_eq!(
            (&line.suite[..], &line.name[..], line.ticks, line.rounds),
            ("syscall", "null_getppid", 57, 200)
        );
        for wrong in ["", "a b 1", "a b 1 0", "a b -1 1", "a b 1 1 1", "a b x 1", "[ 0.1] a kernel line"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
