//! Results: what is written as JSON, and the files of figures that are checked in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// One measured case in one mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub suite: String,
    pub name: String,
    pub unit: String,
    pub mode: String,
    pub whelk: f64,
    /// Greatest less least of several runs, as a part of the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// By their keys. What this host takes natively is in ns, also beside instructions.
    pub rivals: BTreeMap<String, f64>,
    /// The middle of the ratios of runs that followed each other, where there were several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pairwise: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moonshot: Option<f64>,
}

impl Case {
    /// `suite/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// How many times better than a rival; below 1 is worse. `None` if that wasn't measured, or in another unit.
    #[must_use]
    pub fn ratio(&self, rival: &str) -> Option<f64> {
        if let Some(&ratio) = self.pairwise.get(rival) {
            return Some(ratio);
        }
        if rival == "native" && self.unit != "ns" {
            return None;
        }
        let theirs = *self.rivals.get(rival)?;
        (self.whelk > 0.0 && theirs > 0.0).then(|| theirs / self.whelk)
    }
}

/// Where and how it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub qemu: String,
    pub accelerator: String,
    pub host_cpu: String,
    pub host_cpus: usize,
    pub runs: u32,
    /// Kernel versions by guest; `native` is this host's.
    pub kernels: BTreeMap<String, String>,
    /// QEMU's command lines by guest.
    pub command_lines: BTreeMap<String, String>,
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub command: String,
    pub environment: Environment,
    pub cases: Vec<Case>,
    /// What doesn't work: guest, case and what it said.
    pub failed: Vec<String>,
}

/// Figures of the Linux guests in the exact machine, which depend on nothing but the versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rivals {
    pub qemu: String,
    pub kernels: BTreeMap<String, String>,
    pub command_lines: BTreeMap<String, String>,
    /// By `suite/name`, then by rival.
    pub cases: BTreeMap<String, BTreeMap<String, f64>>,
}

/// What a case is to cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub gate: f64,
    pub moonshot: f64,
}

/// By `suite/name`.
pub type Targets = BTreeMap<String, Target>;

/// Figures that may not get worse: by `mode/suite/name`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub qemu: String,
    pub cases: BTreeMap<String, f64>,
}

/// What `--check` allows: 3%.
const TOLERANCE: f64 = 1.03;

/// Reads a file of JSON.
///
/// # Errors
/// It isn't there, or isn't what it should be.
pub fn load<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(name)?;
    serde_json::from_str(&text).with_context(name)
}

/// Writes a file of JSON.
///
/// # Errors
/// That fails.
pub fn save<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn baseline_key(case: &Case) -> String {
    format!("{}/{}", case.mode, case.key())
}

impl Baseline {
    /// Takes the figures of a run, for its suites.
    pub fn update(&mut self, results: &Results) {
        let is_measured = |key: &String| {
            let suite = key.split('/').nth(1).unwrap_or_default();
            results.cases.iter().any(|case| case.suite == suite)
        };
        self.cases.retain(|key, _| !is_measured(key));
        self.cases.extend(results.cases.iter().map(|case| (baseline_key(case), case.whelk)));
        self.qemu.clone_from(&results.environment.qemu);
    }

    /// What got worse, or is missing, in a run of these suites and modes; a line each. Also what got better, to be noted.
    ///
    /// # Errors
    /// There is nothing to compare with.
    pub fn compare(
        &self,
        results: &Results,
        suites: &[&str],
        modes: &[&str],
    ) -> Result<(Vec<String>, Vec<String>)> {
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        let wanted = self.cases.iter().filter(|(key, _)| {
            let mut words = key.split('/');
            words.next().is_some_and(|mode| modes.contains(&mode))
                && words.next().is_some_and(|suite| suites.contains(&suite))
        });
        let mut compared = 0;
        for (key, &before) in wanted {
            compared += 1;
            let Some(case) = results.cases.iter().find(|case| baseline_key(case) == *key) else {
                worse.push(format!("{key}: {before} before, and now it doesn't work"));
                continue;
            };
            let percent = (case.whelk / before - 1.0) * 100.0;
            let line = format!("{key}: {before} before, {} now ({percent:+.1}%)", case.whelk);
            if case.whelk > before * TOLERANCE {
                worse.push(line);
            } else if case.whelk * TOLERANCE < before {
                better.push(line);
            }
        }
        if compared == 0 {
            bail!("the baseline has none of these suites; write it with --update-baseline");
        }
        Ok((worse, better))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(figures: &[(&str, f64)]) -> Results {
        let case = |&(name, whelk): &(&str, f64)| Case {
            suite: "syscall".to_owned(),
            name: name.to_owned(),
            unit: "instructions".to_owned(),
            mode: "flat".to_owned(),
            whelk,
            rivals: [("linux".to_owned(), 300.0)].into(),
            ..Case::default()
        };
        Results { cases: figures.iter().map(case).collect(), ..Results::default() }
    }

    #[test]
    fn regressions_are_found() {
        let mut baseline = Baseline::default();
        baseline.cases.insert("flat/syscall/gone".to_owned(), 1.0);
        baseline.cases.insert("flat/process/other".to_owned(), 1.0);
        baseline.update(&results(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0)]));
        assert_eq!(baseline.cases.len(), 5, "what isn't measured any more is dropped, other suites are kept");
        let now = results(&[("a", 103.0), ("b", 104.0), ("c", 50.0), ("e", 9.0)]);
        let (worse, better) = baseline.compare(&now, &["syscall"], &["flat"]).unwrap();
        assert_eq!(worse.len(), 2, "{worse:?}");
        assert!(worse[0].contains("flat/syscall/b") && worse[0].contains("+4.0%"), "{worse:?}");
        assert!(worse[1].contains("flat/syscall/d"));
        assert_eq!(better.len(), 1);
        assert!(baseline.compare(&now, &["file"], &["flat"]).is_err());
        assert!(baseline.compare(&now, &["syscall"], &["guarded"]).is_err());
    }

    #[test]
    fn json_says_what_the_issue_asks_for() {
        let text = serde_json::to_string(&results(&[("a", 57.0)])).unwrap();
        for part in [
            "\"cases\":[{\"suite\":\"syscall\",\"name\":\"a\",\"unit\":\"instructions\",\"mode\":\"flat\",\"whelk\":57.0",
            "\"rivals\":{\"linux\":300.0}",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results(&[("a", 57.0)]));
    }

    #[test]
    fn ratios_need_one_unit() {
        let mut case = results(&[("a", 100.0)]).cases.remove(0);
        case.rivals.insert("native".to_owned(), 50.0);
        assert_eq!(case.ratio("linux"), Some(3.0));
        assert_eq!(case.ratio("native"), None);
        assert_eq!(case.ratio("linux-tiny"), None);
        case.pairwise.insert("linux".to_owned(), 2.5);
        assert_eq!(case.ratio("linux"), Some(2.5));
    }
}
