//! `cargo xtask`: what users and developers of Whelk call.

mod bench;
mod build;
mod console;
mod demo;
mod docs;
mod install;
mod options;
mod profile;
mod run;
mod terminal;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Our own exit statuses, beside the program's.
mod status {
    /// Something went wrong before or around the program.
    pub(crate) const LAUNCHER: u8 = 125;
    /// `--timeout` passed, as timeout(1) says it.
    pub(crate) const TIMEOUT: u8 = 124;
    /// The kernel panicked.
    pub(crate) const PANIC: u8 = 121;
    /// The guest could not execute the program; 127 if it isn't there.
    pub(crate) const CANNOT_EXECUTE: u8 = 126;
    pub(crate) const NOT_FOUND: u8 = 127;
}

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, run and test Whelk, the unikernel for unmodified Linux programs"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a Linux program in a virtual machine of its own
    Run(Box<options::RunArgs>),
    /// Build the kernel that boots, and check it
    Build(build::BuildArgs),
    /// Run all tests: on this host, and in the guest against this host
    Test(test::TestArgs),
    /// Measure what programs cost, beside Linux guests
    Bench(bench::BenchArgs),
    /// Say which kernel functions the instructions of a measured case went to
    Profile(profile::ProfileArgs),
    /// Generate docs/SYSCALLS.md from the system call table
    Docs(docs::DocsArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            if error.kind() == ErrorKind::UnknownArgument && std::env::args().nth(1).as_deref() == Some("run")
            {
                terminal::say("The program's own arguments stand behind `--`.\n");
            }
            return ExitCode::from(if error.use_stderr() { status::LAUNCHER } else { 0 });
        }
    };
    let result: Result<u8> = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Build(args) => build::build_command(&args),
        Command::Test(args) => test::test(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Profile(args) => profile::profile(&args),
        Command::Docs(args) => docs::docs(&args),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            terminal::say(&format!("whelk: {error:#}\n"));
            ExitCode::from(status::LAUNCHER)
        }
    }
}
