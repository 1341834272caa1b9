//! `cargo xtask profile`: which kernel functions a case's instructions went to.

use anyhow::{Context, Result};
use launch::{Acceleration, Machine};

use crate::build::{self, project, target_directory};
use crate::install::{self, Need, Policy};
use crate::options::ModeArg;

const NEEDS: &[Need] = &[
    Need { program: "musl-gcc", package: "musl-tools" },
    Need { program: "addr2line", package: "binutils" },
];

#[derive(clap::Args)]
pub(crate) struct ProfileArgs {
    /// What to run: `syscall/stat`, or `boot` for the way to a program's first instruction
    case: String,
    /// Privilege of the program
    #[arg(long, value_enum, default_value = "flat")]
    mode: ModeArg,
    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 30)]
    top: usize,
    /// Look at this kernel, which has symbols, instead of building one
    #[arg(long, value_name = "FILE")]
    kernel: Option<std::path::PathBuf>,
    /// Refuse to install missing packages; say the command instead
    #[arg(long)]
    no_install: bool,
}

/// `cargo xtask profile`
pub(crate) fn profile(args: &ProfileArgs) -> Result<u8> {
    let policy = Policy::new(args.no_install);
    install::ensure(install::RUN_NEEDS, policy)?;
    install::ensure(NEEDS, policy)?;
    if args.case.starts_with("app/") {
        install::ensure(crate::bench::APP_NEEDS, policy)?;
    }
    let kernel = build::given_or_built(args.kernel.as_deref(), policy)?;
    let machine = Machine {
        mode: args.mode.into(),
        acceleration: Acceleration::Tcg,
        memory_bytes: 1 << 30,
        ..Machine::new(kernel.stripped)
    };
    let profile = bench::profile(&machine, &kernel.full, &project(), &target_directory(), &args.case)?;
    print!("{}", profile.table(args.top));
    let directory = target_directory().join("profile");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let mode = match args.mode {
        ModeArg::Flat => "flat",
        ModeArg::Guarded => "guarded",
    };
    let folded = directory.join(format!("{}-{mode}.folded", profile.case.replace('/', "-")));
    std::fs::write(&folded, &profile.folded).with_context(|| folded.display().to_string())?;
    println!("\nstacks for flame-graph tools: {}", folded.display());
    Ok(0)
}
