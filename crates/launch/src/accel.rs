//! What KVM is good for on this host, found out by trying.
//!
//! Some hosts (virtualisation nested in software) offer a `/dev/kvm` that emulates ring 0 one instruction at a time and knows no vector
//! instructions there, while ring 3 runs natively. Flat mode is hopeless on those; guarded mode works, slowly where the kernel runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::qemu::QEMU;
use crate::temp::TempDir;

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    Kvm,
    /// QEMU's translator: no hardware needed, every instruction slower.
    Tcg,
}

/// What the probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvmVerdict {
    /// Ring 0 runs at full speed, vector instructions included.
    Full,
    /// KVM answers, but emulates ring 0.
    Ring0Emulated,
    /// KVM is there, but doesn't get through even the simple test.
    Broken,
    /// There is no /dev/kvm that may be opened.
    Absent,
}

impl KvmVerdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Ring0Emulated => "ring0-emulated",
            Self::Broken => "broken",
            Self::Absent => "absent",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Full, Self::Ring0Emulated, Self::Broken].into_iter().find(|verdict| verdict.word() == word)
    }
}

/// QEMU's exit status when a probe wrote this to isa-debug-exit.
const PASSED: i32 = 0x21 << 1 | 1;
/// A million instructions take about a millisecond on a processor, and more than half a second where they are emulated.
const FULL_LIMIT: Duration = Duration::from_millis(2500);
const SIMPLE_LIMIT: Duration = Duration::from_secs(5);

/// A PVH kernel of a few instructions: optionally vector instructions and a million rounds of a loop, then the end.
fn probe_kernel(full: bool) -> Vec<u8> {
    const LOAD_ADDRESS: u32 = 0x10_0000;
    let mut code: Vec<u8> = Vec::new();
    if full {
        code.extend([0x0f, 0x20, 0xe0]); // mov eax, cr4
        code.extend([0x0d, 0x00, 0x06, 0x00, 0x00]); // or eax, OSFXSR | OSXMMEXCPT
        code.extend([0x0f, 0x22, 0xe0]); // mov cr4, eax
        code.extend([0x0f, 0x57, 0xc0]); // xorps xmm0, xmm0
        code.extend([0x0f, 0x28, 0xc8]); // movaps xmm1, xmm0
        code.extend([0xb9, 0x40, 0x42, 0x0f, 0x00]); // mov ecx, 1000000
        code.extend([0x49, 0x75, 0xfd]); // dec ecx; jnz -3
    }
    code.extend([0xb0, 0x21, 0x66, 0xba, 0xf4, 0x00, 0xee, 0xf4]); // mov al, 0x21; mov dx, 0xf4; out dx, al; hlt

    // ELF32: header, a PT_LOAD of the code and a PT_NOTE with the PVH entry.
    let note: Vec<u8> = [4u32, 4, 18]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .chain(*b"Xen\0")
        .chain(LOAD_ADDRESS.to_le_bytes())
        .collect();
    let headers = 52 + 2 * 32;
    let note_offset = u32::try_from(headers).unwrap_or(0);
    let code_offset = 0x1000u32;
    let code_len = u32::try_from(code.len()).unwrap_or(0);
    let note_len = u32::try_from(note.len()).unwrap_or(0);
    let mut elf: Vec<u8> = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2, 0, 3, 0]); // ET_EXEC, EM_386
    for word in [1, LOAD_ADDRESS, 52, 0, 0] {
        elf.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 2, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for word in [1, code_offset, LOAD_ADDRESS, LOAD_ADDRESS, code_len, code_len, 7, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    for word in [4, note_offset, 0, 0, note_len, note_len, 4, 4] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(note);
    elf.resize(0x1000, 0);
    elf.extend(code);
    elf
}

/// Runs a probe; whether it got to its end in time.
fn passes(kernel: &[u8], acceleration: &str, limit: Duration) -> bool {
    let Ok(directory) = TempDir::new() else { return false };
    let file = directory.path().join("probe");
    if std::fs::write(&file, kernel).is_err() {
        return false;
    }
    let child = Command::new(QEMU)
        .args(["-M", "microvm,x-option-roms=off,acpi=off,pit=off,pic=off,rtc=off", "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-no-reboot", "-m", "16M"])
        .args([
            "-accel",
            acceleration,
            "-cpu",
            if acceleration == "kvm" { "host,-arch-capabilities" } else { "max" },
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-kernel"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code() == Some(PASSED),
            Ok(None) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Where the verdict is kept until the next boot of the host.
fn cache_file() -> Option<PathBuf> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(base.join("whelk").join(format!("kvm-{}", boot.trim())))
}

/// Finds out what KVM is good for here, or remembers it.
#[must_use]
pub fn probe_kvm() -> KvmVerdict {
    let may_open = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !may_open {
        return KvmVerdict::Absent;
    }
    let cache = cache_file();
    let remembered = cache.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    if let Some(verdict) = remembered.and_then(|word| KvmVerdict::from_word(word.trim())) {
        return verdict;
    }
    let verdict = if passes(&probe_kernel(true), "kvm", FULL_LIMIT) {
        KvmVerdict::Full
    } else if passes(&probe_kernel(false), "kvm", SIMPLE_LIMIT) {
        KvmVerdict::Ring0Emulated
    } else {
        KvmVerdict::Broken
    };
    if let Some(path) = cache {
        // Without a cache the probe runs again next time, that's all.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(path, verdict.word());
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_itself_runs_under_tcg() {
        assert!(passes(&probe_kernel(true), "tcg", Duration::from_secs(20)));
        assert!(passes(&probe_kernel(false), "tcg", Duration::from_secs(20)));
    }

    #[test]
    fn a_probe_that_hangs_is_ended() {
        let mut kernel = probe_kernel(false);
        let start = 0x1000;
        kernel[start..start + 2].copy_from_slice(&[0xeb, 0xfe]);
        assert!(!passes(&kernel, "tcg", Duration::from_millis(300)));
    }
}
