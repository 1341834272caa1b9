//! Guest programs: built from `tests/guest`, once per change.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program that was built.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// File name in `/t/bin`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// A way to build a C program.
struct Flavour {
    suffix: &'static str,
    compiler: &'static str,
    flags: &'static [&'static str],
}

const FLAVOURS: [Flavour; 3] = [
    Flavour { suffix: "", compiler: "musl-gcc", flags: &["-static", "-O2"] },
    Flavour { suffix: "-glibc", compiler: "gcc", flags: &["-static", "-O2"] },
    Flavour { suffix: "-pie", compiler: "gcc", flags: &["-static-pie", "-O1"] },
];
/// Common to all.
const FLAGS: [&str; 5] = ["-Wall", "-Wextra", "-pthread", "-D_GNU_SOURCE", "-fno-strict-aliasing"];

/// Builds every program of `tests/guest`, unless it is there from the same source.
pub(crate) fn build(project: &Path) -> Result<Vec<Program>> {
    let source_directory = project.join("tests/guest");
    let out = project.join("target/guest");
    std::fs::create_dir_all(&out)?;
    link_linux_headers(&out.join("include"))?;
    let mut sources: Vec<PathBuf> = Vec::new();
    let mut common = DefaultHasher::new();
    for entry in
        std::fs::read_dir(&source_directory).with_context(|| source_directory.display().to_string())?
    {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("c" | "rs") => sources.push(path),
            Some("h") => std::fs::read(&path)?.hash(&mut common),
            _ => {}
        }
    }
    sources.sort();
    let common = common.finish();
    let mut programs = Vec::new();
    for source in sources {
        let stem = source.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(&source)?;
        if source.extension().is_some_and(|extension| extension == "rs") {
            let flags = ["-Copt-level=2", "-Ctarget-feature=+crt-static", "--edition=2024"];
            programs.push(compile("rustc", &flags, &source, &text, common, &out, &stem, &[])?);
            continue;
        }
        // A program says in its first line if it is only to be built one way, and which libraries of the system's it needs.
        let first_line = text.lines().next().unwrap_or_default();
        if let Some((links, _)) = first_line.strip_prefix("/* links ").and_then(|rest| rest.split_once(". "))
        {
            let flavour = &FLAVOURS[1];
            let flags: Vec<&str> = FLAGS.iter().chain(flavour.flags).copied().collect();
            let libraries: Vec<&str> = links.split_whitespace().collect();
            programs.push(compile(
                flavour.compiler,
                &flags,
                &source,
                &text,
                common,
                &out,
                &stem,
                &libraries,
            )?);
            continue;
        }
        let musl_only = first_line.contains("musl only");
        for flavour in FLAVOURS.iter().filter(|flavour| !musl_only || flavour.suffix.is_empty()) {
            let flags: Vec<&str> = FLAGS.iter().chain(flavour.flags).copied().collect();
            let name = format!("{stem}{}", flavour.suffix);
            programs.push(compile(flavour.compiler, &flags, &source, &text, common, &out, &name, &[])?);
        }
    }
    Ok(programs)
}

/// musl's compiler sees none of the system's headers: a directory with only the kernel's.
fn link_linux_headers(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for (name, target) in [
        ("linux", "/usr/include/linux"),
        ("asm", "/usr/include/x86_64-linux-gnu/asm"),
        ("asm-generic", "/usr/include/asm-generic"),
    ] {
        let link = directory.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(target, &link).with_context(|| link.display().to_string())?;
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "what a compiler is told")]
fn compile(
    compiler: &str,
    flags: &[&str],
    source: &Path,
    text: &str,
    common: u64,
    out: &Path,
    name: &str,
    libraries: &[&str],
) -> Result<Program> {
    let mut hasher = DefaultHasher::new();
    (compiler, flags, text, common).hash(&mut hasher);
    let path = out.join(format!("{name}-{:016x}", hasher.finish()));
    if !path.exists() {
        let unfinished = out.join(format!("{name}.unfinished"));
        let mut command = Command::new(compiler);
        if compiler == "musl-gcc" {
            command.arg("-idirafter").arg(out.join("include"));
        }
        command.args(flags).arg("-o").arg(&unfinished).arg(source);
        if compiler != "rustc" {
            command.args(libraries).arg("-lm");
        }
        let output = command.output().with_context(|| compiler.to_owned())?;
        if !output.status.success() {
            bail!("{name} didn't build:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::rename(unfinished, &path)?;
    }
    Ok(Program { name: name.to_owned(), path })
}
