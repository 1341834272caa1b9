//! The `app` suite: programs of several languages, each run once and timed from its start to its end.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use launch::Root;

use crate::programs;
use crate::work::Work;

/// How a program is built: the compiler, its arguments before the output's name, and those after the source's.
struct Recipe {
    name: &'static str,
    source: &'static str,
    compiler: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const RECIPES: [Recipe; 5] = [
    Recipe {
        name: "timed",
        source: "timed.c",
        compiler: "musl-gcc",
        before: &["-static", "-O2"],
        after: &[],
    },
    Recipe {
        name: "sqlite",
        source: "app/sqlite.c",
        compiler: "gcc",
        before: &["-static", "-O2"],
        after: &["-lsqlite3", "-lpthread", "-lm", "-ldl"],
    },
    Recipe {
        name: "lua",
        source: "app/lua.c",
        compiler: "gcc",
        before: &["-static", "-O2", "-I/usr/include/lua5.4"],
        after: &["-llua5.4", "-lm", "-ldl"],
    },
    Recipe {
        name: "rust",
        source: "app/rust.rs",
        compiler: "rustc",
        before: &["-Copt-level=2", "-Ctarget-feature=+crt-static", "--edition=2024"],
        after: &[],
    },
    Recipe { name: "go", source: "app/go.go", compiler: "go", before: &["build"], after: &[] },
];

/// A thousand subshells, each of which ends with a status that counts.
const FORKS: &str = "i=0 n=0\nwhile [ $i -lt 1000 ]; do (exit 3) || n=$((n+1)); i=$((i+1)); done\necho $n\n";
const GZIP: &str = "cd /tmp\n/bin/busybox gzip -c /bin/text >z\n/bin/busybox gunzip -c z | /bin/busybox cmp - /bin/text && echo same\n";
const BZIP2: &str = "cd /tmp\n/bin/busybox bzip2 -c /bin/text >z\n/bin/busybox bunzip2 -c z | /bin/busybox cmp - /bin/text && echo same\n";

/// Name, the line that it prints when its work was right, and the command.
const CASES: [(&str, &str, &[&str]); 8] = [
    ("sqlite_insert", "2000", &["/bin/sqlite", "insert"]),
    ("sqlite_query", "8338589", &["/bin/sqlite", "query"]),
    ("sh_1000_forks", "1000", &["/bin/busybox", "sh", "/bin/forks.sh"]),
    ("gzip", "same", &["/bin/busybox", "sh", "/bin/gzip.sh"]),
    ("bzip2", "same", &["/bin/busybox", "sh", "/bin/bzip2.sh"]),
    ("lua", "12627714", &["/bin/lua"]),
    ("rust", "16186612188816014477", &["/bin/rust"]),
    ("go", "16186612188816014477", &["/bin/go"]),
];

/// The programs, built, and what is measured of them.
pub(crate) struct Apps {
    files: Vec<(PathBuf, Contents)>,
    pub(crate) work: Vec<Work>,
}

enum Contents {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Words in an order that compresses as prose does.
fn text() -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "whelk", "shell", "the", "of", "a", "kernel", "runs", "program", "system", "and", "call", "page",
        "in", "to", "memory", "thread",
    ];
    let mut text = Vec::new();
    let mut state = 1u32;
    while text.len() < 256 << 10 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = WORDS.get(usize::try_from(state >> 28).unwrap_or(0)).copied().unwrap_or_default();
        text.extend_from_slice(word.as_bytes());
        text.push(if state >> 8 & 15 == 0 { b'\n' } else { b' ' });
    }
    text
}

impl Apps {
    /// Builds them. What can't be built here, since there is no Go, is left out, and named in `left_out`.
    ///
    /// # Errors
    /// Something else didn't build.
    pub(crate) fn build(project: &Path, target: &Path, left_out: &mut Vec<String>) -> Result<Self> {
        let mut files = Vec::new();
        for recipe in &RECIPES {
            if recipe.compiler == "go" && Command::new("go").arg("version").output().is_err() {
                left_out.push("app/go: there is no Go here".to_owned());
                continue;
            }
            let file = build(project, target, recipe).with_context(|| recipe.source.to_owned())?;
            files.push((Path::new("/bin").join(recipe.name), Contents::File(file)));
        }
        files.push(("/bin/busybox".into(), Contents::File(Path::new("/bin/busybox").canonicalize()?)));
        for (name, script) in [("forks.sh", FORKS), ("gzip.sh", GZIP), ("bzip2.sh", BZIP2)] {
            files.push((Path::new("/bin").join(name), Contents::Bytes(script.as_bytes().to_vec())));
        }
        files.push(("/bin/text".into(), Contents::Bytes(text())));
        let has_go = files.iter().any(|(path, _)| path.ends_with("go"));
        let directory = target.join("bench/root");
        let may_chroot = nix::unistd::geteuid().is_root();
        let mut work = Vec::new();
        for (name, expected, command) in CASES.iter().filter(|(name, ..)| *name != "go" || has_go) {
            let mut words: Vec<String> = ["/bin/timed", "app", name, expected].map(str::to_owned).to_vec();
            words.extend(command.iter().map(|word| (*word).to_owned()));
            let inside = ["chroot".to_owned(), directory.display().to_string()];
            let native = may_chroot.then(|| inside.into_iter().chain(words.clone()).collect());
            work.push(Work { name: (*name).to_owned(), words, native });
        }
        Ok(Self { files, work })
    }

    /// Puts the programs into a guest's root.
    pub(crate) fn add_to(&self, root: &mut Root) -> Result<()> {
        for (path, contents) in &self.files {
            match contents {
                Contents::File(file) => root.add_host_file(path, file)?,
                Contents::Bytes(bytes) => root.add_bytes(path, 0o755, bytes.clone()),
            }
        }
        Ok(())
    }

    /// Puts them into a directory that native runs take as their root.
    pub(crate) fn install(&self, target: &Path) -> Result<()> {
        let directory = target.join("bench/root");
        for name in ["bin", "tmp"] {
            std::fs::create_dir_all(directory.join(name))?;
        }
        for (path, contents) in &self.files {
            let file_here = directory.join(path.strip_prefix("/").unwrap_or(path));
            match contents {
                Contents::File(file) => std::fs::copy(file, file_here).map(drop)?,
                Contents::Bytes(bytes) => std::fs::write(file_here, bytes)?,
            }
        }
        Ok(())
    }
}

fn build(project: &Path, target: &Path, recipe: &Recipe) -> Result<PathBuf> {
    let source = project.join("tests/bench").join(recipe.source);
    let text = std::fs::read_to_string(&source)?;
    let seed = (recipe.compiler, recipe.before, recipe.after, &text);
    programs::cached(target, recipe.name, &seed, |unfinished| {
        let mut command = Command::new(recipe.compiler);
        command.args(recipe.before).arg("-o").args([unfinished, &source]).args(recipe.after);
        // A static program.
        command.env("CGO_ENABLED", "0");
        let output = command.output().with_context(|| recipe.compiler.to_owned())?;
        if !output.status.success() {
            bail!("{} didn't build:\n{}", recipe.name, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    })
}
