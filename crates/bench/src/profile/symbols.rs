//! What the kernel's addresses are: functions, inlined functions, and the instructions that change the stack of calls.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What an instruction does to the stack of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Pushes this return address.
    Call {
        next: u64,
    },
    Return,
}

/// Functions by their addresses, and the instructions that matter.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// Start and name, sorted.
    functions: Vec<(u64, String)>,
    pub(crate) flow: HashMap<u64, Flow>,
}

fn output_of(program: &str, arguments: &[&str], file: &Path) -> Result<String> {
    let output =
        Command::new(program).args(arguments).arg(file).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `kernel::fs::pipe::Pipe::read` for a mangled name: no crate name of ours in front, no generic arguments behind.
fn readable(mangled: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(mangled));
    name.strip_prefix("kernel::").map_or(name.clone(), str::to_owned)
}

/// Address and name of a program's functions.
///
/// # Errors
/// `nm` fails.
pub(crate) fn functions(file: &Path) -> Result<Vec<(u64, String)>> {
    let listing = output_of("nm", &["--numeric-sort", "--defined-only"], file)?;
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?;
        let name = words.next()?;
        (matches!(kind, "t" | "T" | "W" | "w") && !name.starts_with('$')).then(|| (address, name.to_owned()))
    };
    Ok(listing.lines().filter_map(parse).collect())
}

impl Symbols {
    /// Reads a kernel with symbols.
    ///
    /// # Errors
    /// `nm` or `objdump` fails.
    pub(crate) fn read(kernel: &Path) -> Result<Self> {
        let mut functions = functions(kernel)?;
        for function in &mut functions {
            function.1 = readable(&function.1);
        }
        let listing = output_of("objdump", &["-d", "--no-show-raw-insn", "-w", "-j", ".text"], kernel)?;
        Ok(Self { functions, flow: flows(&listing) })
    }

    /// Index of the function that an address is in.
    pub(crate) fn function(&self, address: u64) -> Option<usize> {
        self.functions.partition_point(|function| function.0 <= address).checked_sub(1)
    }

    /// Address of a function.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        self.functions.iter().find(|function| function.1 == name).map(|function| function.0)
    }

    pub(crate) fn name(&self, function: usize) -> &str {
        self.functions.get(function).map_or("?", |function| &function.1)
    }
}

fn flows(listing: &str) -> HashMap<u64, Flow> {
    let mut flow = HashMap::new();
    let mut call = None;
    for line in listing.lines() {
        let Some((address, instruction)) = line.split_once(":\t") else { continue };
        let Ok(address) = u64::from_str_radix(address.trim(), 16) else { continue };
        if let Some(call) = call.take() {
            flow.insert(call, Flow::Call { next: address });
        }
        match instruction.split_whitespace().next().unwrap_or_default() {
            "call" | "callq" => call = Some(address),
            "ret" | "retq" => {
                flow.insert(address, Flow::Return);
            }
            _ => {}
        }
    }
    flow
}

/// The functions that were inlined at an address, the outermost first, as `fs::pipe::read`. Those of the standard library are part of their
/// callers.
///
/// # Errors
/// `addr2line` fails.
pub(crate) fn inlined(kernel: &Path, addresses: &[u64]) -> Result<HashMap<u64, Vec<String>>> {
    let mut child = Command::new("addr2line")
        .args(["--inlines", "--functions", "--addresses", "--exe"])
        .arg(kernel)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("addr2line")?;
    let mut stdin = child.stdin.take().context("addr2line takes no input")?;
    let list: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    // From another thread: it answers before it has read everything.
    let feeder = std::thread::spawn(move || stdin.write_all(list.as_bytes()));
    let output = child.wait_with_output().context("addr2line")?;
    if !output.status.success() || feeder.join().is_err() {
        bail!("addr2line failed");
    }
    Ok(parse_inlined(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_inlined(text: &str) -> HashMap<u64, Vec<String>> {
    let mut found: HashMap<u64, Vec<String>> = HashMap::new();
    let mut current = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(address) = line.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            current = Some(address);
            continue;
        }
        let place = lines.next().unwrap_or_default();
        if let (Some(address), Some(name)) = (current, source_name(line, place)) {
            found.entry(address).or_default().push(name);
        }
    }
    for names in found.values_mut() {
        names.reverse();
    }
    found
}

/// `fs::pipe::read` for a function `read` at `…/kernel/src/fs/pipe.rs:12`. `None` for the standard library.
fn source_name(function: &str, place: &str) -> Option<String> {
    let path = place.split(".rs:").next()?;
    if path.contains("/rustc/") || path.contains("/library/core/") || path.contains("/library/alloc/") {
        return None;
    }
    let (before, inner) = path.rsplit_once("/src/")?;
    let package = before.rsplit('/').next()?;
    let mut words: Vec<&str> = Vec::new();
    if package != "kernel" {
        words.push(package);
    }
    words.extend(inner.split('/').filter(|word| !matches!(*word, "mod" | "lib" | "main")));
    // Names come with the path when the function was not inlined, mangled, and without when it was.
    let function = readable(function);
    let function = function.split('<').next().filter(|name| !name.is_empty()).unwrap_or(&function);
    let function = function.rsplit("::").find(|part| !part.starts_with('{')).unwrap_or(function);
    words.push(function);
    Some(words.join("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_returns() {
        let flow = flows(
            "ffffffff80100000 <a>:\nffffffff80100000:\tcall   ffffffff80100010 <b>\nffffffff80100005:\tret\n",
        );
        assert_eq!(flow.get(&0xffff_ffff_8010_0000), Some(&Flow::Call { next: 0xffff_ffff_8010_0005 }));
        assert_eq!(flow.get(&0xffff_ffff_8010_0005), Some(&Flow::Return));
    }

    #[test]
    fn inlined_functions() {
        let found = parse_inlined(
            "0xffffffff80110000\nswap<u64>\n/rustc/59/library/core/src/mem/mod.rs:901\nread<x::Y>\n\
             /w/kernel/src/fs/pipe.rs:1172\nwrapper\n/w/kernel/src/syscall/mod.rs:9\nfind\n/w/crates/namei/src/map.rs:1\n",
        );
        assert_eq!(found[&0xffff_ffff_8011_0000], ["namei::map::find", "syscall::wrapper", "fs::pipe::read"]);
    }
}
