//! `docs/SYSCALLS.md` from the kernel's table.

use anyhow::{Context, Result, bail};

use crate::build::project;

#[derive(clap::Args)]
pub(crate) struct DocsArgs {
    /// Fail if the file isn't what would be generated
    #[arg(long)]
    check: bool,
}

/// A row of the table.
struct Row {
    number: u32,
    name: String,
    arguments: String,
    /// `None` for full support.
    missing: Option<String>,
}

/// Reads rows like `0 => read(fd: Fd, …) = file::read, Full;`.
fn rows(table: &str) -> Result<Vec<Row>> {
    let body = table.split_once("\nsyscalls! {").context("no syscalls! in the table")?.1;
    let body = body.split_once("\n}").context("syscalls! has no end")?.0;
    let mut rows = Vec::new();
    for row in body.split(";\n").map(str::trim).filter(|row| !row.is_empty()) {
        // A comment may stand above a row.
        let row: String =
            row.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
        let parsed = (|| {
            let (number, rest) = row.trim().split_once(" => ")?;
            let (name, rest) = rest.split_once('(')?;
            let (arguments, rest) = rest.split_once(')')?;
            let names: Vec<&str> = arguments
                .split(',')
                .filter_map(|argument| argument.split(':').next())
                .map(str::trim)
                .collect();
            let missing = rest.split_once("Partial(\"").and_then(|(_, text)| text.rsplit_once("\")"));
            Some(Row {
                number: number.trim().parse().ok()?,
                name: name.trim().to_owned(),
                arguments: names.join(", "),
                missing: missing.map(|(text, _)| text.to_owned()),
            })
        })();
        rows.push(parsed.with_context(|| format!("a row that isn't understood: {row}"))?);
    }
    if !rows.is_sorted_by_key(|row| row.number) {
        bail!("the rows of the table aren't in order");
    }
    Ok(rows)
}

fn render(rows: &[Row]) -> String {
    let partial = rows.iter().filter(|row| row.missing.is_some()).count();
    let mut text = format!(
        "# System calls\n\nGenerated from `kernel/src/syscall/table.rs` by `cargo xtask docs`; don't edit.\n\n\
         {} calls, {} of them partial. Every other number answers `ENOSYS` and is counted in the kernel's log.\n\n\
         | number | call | support |\n|---|---|---|\n",
        rows.len(),
        partial
    );
    for row in rows {
        let support = row
            .missing
            .as_ref()
            .map_or("full".to_owned(), |missing| format!("partial; missing or different: {missing}"));
        text.push_str(&format!("| {} | `{}({})` | {support} |\n", row.number, row.name, row.arguments));
    }
    text
}

/// Whether the file is what would be generated.
pub(crate) fn check() -> Result<()> {
    docs(&DocsArgs { check: true }).map(drop)
}

/// `cargo xtask docs`
pub(crate) fn docs(args: &DocsArgs) -> Result<u8> {
    let table = std::fs::read_to_string(project().join("kernel/src/syscall/table.rs"))?;
    let text = render(&rows(&table)?);
    let path = project().join("docs/SYSCALLS.md");
    if args.check {
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("docs/SYSCALLS.md is out of date; run: cargo xtask docs");
        }
    } else {
        std::fs::write(path, text)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let rows = rows(
            "x\nsyscalls! {\n    0 => read(fd: Fd, buf: UserPtr<u8>) = file::read, Full;\n    // Why\n    \
             9 => mmap(a: [i64; 2]) => stubs::mmap, Partial(\"a; b (c)\");\n}\n",
        )
        .unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].number, &rows[0].name[..], &rows[0].arguments[..]), (0, "read", "fd, buf"));
        assert_eq!(rows[1].missing.as_deref(), Some("a; b (c)"));
    }
}
