//! What KVM is good for on this host, found out by trying.
//!
//! Some hosts (virtualisation nested in software) offer a `/dev/kvm` that emulates ring 0 one instruction at a time and knows no vector
//! instructions there, nor others that the kernel likes, while ring 3 runs natively. Guarded mode runs on those with a kernel that is told so
//! (docs/decisions/0012-emulated-ring-0.md), flat mode under QEMU's translator only.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::machine::Mode;
use crate::qemu::{Process, QEMU, STUCK, set_nonblocking};
use crate::temp::TempDir;

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    Kvm,
    /// KVM that emulates ring 0: the kernel is told so, and leaves alone what such emulators lack.
    KvmEmulated,
    /// QEMU's translator: no hardware needed, every instruction slower.
    Tcg,
}

impl Acceleration {
    /// The part of QEMU's command line that asks for it.
    #[must_use]
    pub const fn qemu_arguments(self) -> [&'static str; 4] {
        match self {
            // The thread per CPU of TCG needs no more words: it is the default where it is safe.
            Self::Tcg => ["-accel", "tcg", "-cpu", "max"],
            // Some hosts offer this feature and then refuse a processor that has it.
            Self::Kvm | Self::KvmEmulated => ["-accel", "kvm", "-cpu", "host,-arch-capabilities"],
        }
    }

    /// Why one would rather have the translator, where both would do.
    #[must_use]
    pub const fn drawback(self) -> Option<&'static str> {
        match self {
            Self::KvmEmulated => {
                Some("this host's KVM emulates ring 0 in software, slowly and without saving AVX registers")
            }
            Self::Kvm | Self::Tcg => None,
        }
    }
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
    /// How KVM runs a machine here.
    ///
    /// # Errors
    /// Why it doesn't.
    pub const fn acceleration(self, mode: Mode) -> Result<Acceleration, &'static str> {
        match (self, mode) {
            (Self::Full, _) => Ok(Acceleration::Kvm),
            (Self::Ring0Emulated, Mode::Guarded) => Ok(Acceleration::KvmEmulated),
            (Self::Ring0Emulated, Mode::Flat) => {
                Err("this host's KVM emulates ring 0 in software, without vector instructions")
            }
            (Self::Broken, _) => Err("this host's KVM doesn't get through a simple test"),
            (Self::Absent, _) => Err("there is no /dev/kvm here that may be opened"),
        }
    }

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
/// Sixteen million rounds take about ten milliseconds on a processor, and twenty seconds where they are emulated.
const ROUNDS: u32 = 16 << 20;
const FULL_LIMIT: Duration = Duration::from_millis(2500);
const SIMPLE_LIMIT: Duration = Duration::from_secs(5);

/// A PVH kernel of a few instructions: optionally vector instructions and `ROUNDS` of a loop, then the end.
fn probe_kernel(full: bool) -> Vec<u8> {
    const LOAD_ADDRESS: u32 = 0x10_0000;
    let mut code: Vec<u8> = Vec::new();
    if full {
        code.extend([0x0f, 0x20, 0xe0]); // mov eax, cr4
        code.extend([0x0d, 0x00, 0x06, 0x00, 0x00]); // or eax, OSFXSR | OSXMMEXCPT
        code.extend([0x0f, 0x22, 0xe0]); // mov cr4, eax
        code.extend([0x0f, 0x57, 0xc0]); // xorps xmm0, xmm0
        code.extend([0x0f, 0x28, 0xc8]); // movaps xmm1, xmm0
        code.push(0xb9); // mov ecx, ROUNDS
        code.extend(ROUNDS.to_le_bytes());
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

/// A kernel that ends the machine with its first instructions: what a machine costs without anything in it.
#[must_use]
pub fn floor_kernel() -> Vec<u8> {
    probe_kernel(false)
}

/// Runs a probe: whether it got to its end in time.
///
/// # Errors
/// QEMU could not be started at all.
fn passes(kernel: &[u8], acceleration: Acceleration, limit: Duration) -> Result<bool> {
    let directory = TempDir::new()?;
    let file = directory.path().join("probe");
    std::fs::write(&file, kernel)?;
    let mut command = Command::new(QEMU);
    command
        .args(["-M", "microvm,x-option-roms=off,acpi=off,pit=off,pic=off,rtc=off", "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-no-reboot", "-m", "16M"])
        .args(acceleration.qemu_arguments())
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-kernel"])
        .arg(&file);
    let mut process = Process::spawn(&mut command, &[])?;
    let mut stderr = process.take_stderr();
    if let Some(stderr) = &stderr {
        set_nonblocking(stderr)?;
    }
    let mut message = Vec::new();
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = process.try_wait()? {
            return Ok(status.code() == Some(PASSED));
        }
        if let Some(stderr) = &mut stderr {
            let _ = stderr.read_to_end(&mut message);
        }
        if message.windows(STUCK.len()).any(|window| window == STUCK) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(false)
}

/// Where the verdict is kept.
fn cache_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(base.join("whelk").join("kvm"))
}

/// What a verdict depends on: it holds until the host boots again.
fn host_boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned())
}

fn remembered(cache: &Path, boot: &str) -> Option<KvmVerdict> {
    let text = std::fs::read_to_string(cache).ok()?;
    let (of, word) = text.trim().split_once(' ')?;
    KvmVerdict::from_word(word).filter(|_| of == boot)
}

fn remember(cache: &Path, boot: &str, verdict: KvmVerdict) -> Result<()> {
    let directory = cache.parent().unwrap_or(cache);
    std::fs::create_dir_all(directory)?;
    // In one step, since others may be reading.
    let file = directory.join(format!("kvm.{}", std::process::id()));
    std::fs::write(&file, format!("{boot} {}\n", verdict.word()))?;
    Ok(std::fs::rename(file, cache)?)
}

fn probe() -> Result<KvmVerdict> {
    Ok(if passes(&probe_kernel(true), Acceleration::Kvm, FULL_LIMIT)? {
        KvmVerdict::Full
    } else if passes(&probe_kernel(false), Acceleration::Kvm, SIMPLE_LIMIT)? {
        KvmVerdict::Ring0Emulated
    } else {
        KvmVerdict::Broken
    })
}

/// Finds out what KVM is good for here, or remembers it.
///
/// # Errors
/// QEMU isn't installed, or there is no place for a temporary file.
pub fn probe_kvm() -> Result<KvmVerdict> {
    let may_open = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !may_open {
        return Ok(KvmVerdict::Absent);
    }
    let place = cache_file().zip(host_boot());
    if let Some(verdict) = place.as_ref().and_then(|(cache, boot)| remembered(cache, boot)) {
        return Ok(verdict);
    }
    let verdict = probe()?;
    if let Some((cache, boot)) = &place {
        // If that fails, the probe runs again next time.
        let _ = remember(cache, boot, verdict);
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_itself_runs_under_tcg() {
        for full in [true, false] {
            assert!(passes(&probe_kernel(full), Acceleration::Tcg, Duration::from_secs(20)).unwrap());
        }
    }

    #[test]
    fn a_probe_that_hangs_is_ended() {
        let mut kernel = probe_kernel(false);
        let start = 0x1000;
        kernel[start..start + 2].copy_from_slice(&[0xeb, 0xfe]);
        assert!(!passes(&kernel, Acceleration::Tcg, Duration::from_millis(300)).unwrap());
    }

    #[test]
    fn a_verdict_is_remembered_for_one_boot() {
        let directory = TempDir::new().unwrap();
        let cache = directory.path().join("whelk/kvm");
        assert_eq!(remembered(&cache, "boot-1"), None);
        remember(&cache, "boot-1", KvmVerdict::Ring0Emulated).unwrap();
        assert_eq!(remembered(&cache, "boot-1"), Some(KvmVerdict::Ring0Emulated));
        assert_eq!(remembered(&cache, "boot-2"), None);
        std::fs::write(&cache, "boot-1 perhaps").unwrap();
        assert_eq!(remembered(&cache, "boot-1"), None);
    }
}
