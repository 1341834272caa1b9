//! The measuring programs: built from `tests/bench`, once per change, as static programs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use launch::Root;

use crate::work::Work;

const FLAGS: [&str; 7] = ["-static", "-O2", "-Wall", "-Wextra", "-Wno-clobbered", "-Wno-unused", "-pthread"];
/// Programs that measure operations: each case is a run of one.
const MEASURING: [&str; 3] = ["ops", "more", "scale"];

/// A case of a measuring program.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) suite: String,
    pub(crate) name: String,
    /// The program's name in the guest's `/bin`, and its file here.
    program: &'static str,
    pub(crate) file: PathBuf,
}

impl Operation {
    /// The guest's command line.
    pub(crate) fn words(&self) -> Vec<String> {
        self.words_for(&format!("/bin/{}", self.program), "/bin/hello")
    }

    fn words_for(&self, program: &str, hello: &str) -> Vec<String> {
        [program, "--exec", hello, &self.name].map(str::to_owned).to_vec()
    }

    /// With this host's command line.
    pub(crate) fn work(&self, programs: &Programs) -> Work {
        let native = self.words_for(&self.file.display().to_string(), &programs.hello.display().to_string());
        Work { name: self.name.clone(), words: self.words(), native: Some(native) }
    }
}

/// All programs, built.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    measuring: Vec<(&'static str, PathBuf)>,
    pub(crate) hello: PathBuf,
    pub(crate) first: PathBuf,
    pub(crate) init: PathBuf,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// There is no compiler, or it refuses.
    pub(crate) fn build(project: &Path, target: &Path) -> Result<Self> {
        let built = |name: &str, flags: &[&str]| build(project, target, name, flags);
        let mut measuring = Vec::new();
        for name in MEASURING {
            measuring.push((name, built(name, &[])?));
        }
        let bare = ["-nostdlib"];
        Ok(Self {
            measuring,
            hello: built("hello", &bare)?,
            first: built("first", &bare)?,
            init: built("init", &[])?,
        })
    }

    /// The root that every guest gets.
    ///
    /// # Errors
    /// A program has gone, or busybox isn't installed.
    pub(crate) fn root(&self) -> Result<Root> {
        let mut root = Root::new();
        root.add_directory(Path::new("/tmp"), 0o1777);
        for (name, file) in &self.measuring {
            root.add_host_file(&Path::new("/bin").join(name), file)?;
        }
        root.add_host_file(Path::new("/bin/hello"), &self.hello)?;
        root.add_host_file(Path::new("/bin/busybox"), &Path::new("/bin/busybox").canonicalize()?)?;
        Ok(root)
    }

    /// What they measure, in their order.
    ///
    /// # Errors
    /// One of them can't be run here.
    pub(crate) fn operations(&self) -> Result<Vec<Operation>> {
        let mut operations = Vec::new();
        for (program, file) in &self.measuring {
            let output =
                Command::new(file).arg("--list").output().with_context(|| file.display().to_string())?;
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let Some((suite, name)) = line.split_once(' ') else { continue };
                operations.push(Operation {
                    suite: suite.to_owned(),
                    name: name.to_owned(),
                    program,
                    file: file.clone(),
                });
            }
        }
        Ok(operations)
    }
}

/// A program that is built once for each `seed` (what it is built from): `make` builds it under the name that it is given.
///
/// # Errors
/// Those of `make`, or there is no place for it.
pub(crate) fn cached(
    target: &Path,
    name: &str,
    seed: &impl Hash,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let directory = target.join("bench");
    let path = directory.join(format!("{name}-{:016x}", hasher.finish()));
    if !path.exists() {
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let unfinished = directory.join(format!("{name}.unfinished.{}", std::process::id()));
        make(&unfinished)?;
        std::fs::rename(unfinished, &path)?;
    }
    Ok(path)
}

/// Builds `tests/bench/NAME.c` below `target`.
fn build(project: &Path, target: &Path, name: &str, more_flags: &[&str]) -> Result<PathBuf> {
    let source = project.join("tests/bench").join(format!("{name}.c"));
    let mut text = std::fs::read_to_string(&source).with_context(|| source.display().to_string())?;
    text.push_str(&std::fs::read_to_string(source.with_file_name("measure.h")).context("measure.h")?);
    cached(target, name, &(FLAGS, more_flags, &text), |unfinished| {
        let mut command = Command::new("musl-gcc");
        command.args(FLAGS).args(more_flags).arg("-o").args([unfinished, &source]);
        let output = command.output().context("musl-gcc")?;
        if !output.status.success() {
            bail!("{name} didn't build:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    })
}
