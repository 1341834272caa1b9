//! Results as a table, in Markdown that also reads well in a terminal.

use std::collections::BTreeSet;

use crate::results::{Case, Results};
use crate::rival::Rival;
use crate::stats;

/// A number with as many digits as say something.
fn number(value: f64) -> String {
    if value >= 10_000_000.0 {
        return format!("{:.1} M", value / 1e6);
    }
    let rounded = format!("{value:.1}");
    let text = rounded.strip_suffix(".0").unwrap_or(&rounded);
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn ratio(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}×") } else { format!("{value:.1}×") }
}

fn against_gate(case: &Case) -> String {
    match (case.gate, case.moonshot) {
        (Some(gate), moonshot) => {
            let verdict = if moonshot.is_some_and(|moonshot| case.whelk <= moonshot) {
                "moonshot"
            } else if case.whelk <= gate {
                "met"
            } else {
                "MISSED"
            };
            format!("{} {verdict}", number(gate))
        }
        _ => String::new(),
    }
}

/// Lines of cells, each column as wide as its widest cell.
fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            text.push_str(&if column == 0 {
                format!("| {cell}{padding} ")
            } else {
                format!("| {padding}{cell} ")
            });
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                text.push_str(&if column == 0 { format!("|{dashes}-") } else { format!("|{dashes}:") });
            }
            text.push_str("|\n");
        }
    }
    text
}

/// A table of one mode's cases, and the geometric means below it.
fn mode_table(results: &Results, mode: &str) -> String {
    let cases: Vec<&Case> = results.cases.iter().filter(|case| case.mode == mode).collect();
    let measured: BTreeSet<&str> =
        cases.iter().flat_map(|case| case.rivals.keys().map(String::as_str)).collect();
    let rivals: Vec<&str> =
        Rival::ALL.iter().map(|rival| rival.key()).filter(|key| measured.contains(key)).collect();
    let extra: Vec<&str> = measured.into_iter().filter(|key| !rivals.contains(key)).collect();
    let rivals: Vec<&str> = rivals.into_iter().chain(extra).collect();
    let with_gates = cases.iter().any(|case| case.gate.is_some());
    let with_spread = cases.iter().any(|case| case.spread.is_some());
    let mut head = vec!["case".to_owned(), "unit".to_owned(), format!("Whelk, {mode}")];
    if with_spread {
        head.push("spread".to_owned());
    }
    if with_gates {
        head.push("gate".to_owned());
    }
    for rival in &rivals {
        head.push((*rival).to_owned());
        head.push("better".to_owned());
    }
    let mut rows = vec![head];
    for case in &cases {
        let mut row = vec![case.key(), case.unit.clone(), number(case.whelk)];
        if with_spread {
            row.push(case.spread.map_or(String::new(), |spread| format!("{:.0}%", spread * 100.0)));
        }
        if with_gates {
            row.push(against_gate(case));
        }
        for rival in &rivals {
            row.push(case.rivals.get(*rival).map_or(String::new(), |&value| number(value)));
            row.push(case.ratio(rival).map_or(String::new(), ratio));
        }
        rows.push(row);
    }
    let mut text = layout(&rows);
    let means = geometric_means(&cases, &rivals);
    if !means.is_empty() {
        text.push_str(&format!("\nGeometric mean: {means}.\n"));
    }
    if with_gates {
        let gated = cases.iter().filter(|case| case.gate.is_some());
        let met = gated.clone().filter(|case| case.gate.is_some_and(|gate| case.whelk <= gate)).count();
        let moonshots =
            gated.clone().filter(|case| case.moonshot.is_some_and(|moonshot| case.whelk <= moonshot)).count();
        text.push_str(&format!(
            "Gates: {met} of {} met, {moonshots} of them at the moonshot.\n",
            gated.count()
        ));
    }
    text
}

/// `5.9 times better than linux (46 cases)` for each rival, operations with a gate apart.
fn geometric_means(cases: &[&Case], rivals: &[&str]) -> String {
    let mut parts = Vec::new();
    for rival in rivals {
        let ratios = |gated: bool| -> Vec<f64> {
            let counted = |case: &&&Case| case.suite != "boot" && (!gated || case.gate.is_some());
            cases.iter().filter(counted).filter_map(|case| case.ratio(rival)).collect()
        };
        let (all, gated) = (ratios(false), ratios(true));
        if let Some(mean) = stats::geometric_mean(&gated) {
            parts.push(format!(
                "{mean:.2} times better than {rival} over the {} operations with a gate",
                gated.len()
            ));
        }
        if let Some(mean) = stats::geometric_mean(&all).filter(|_| all.len() > gated.len()) {
            parts.push(format!("{mean:.2} times better than {rival} over all {}", all.len()));
        }
    }
    parts.join("; ")
}

/// What guarded mode costs beside flat mode.
fn guarded_line(results: &Results) -> Option<String> {
    let ratios: Vec<f64> = results
        .cases
        .iter()
        .filter(|case| case.mode == "guarded" && case.suite != "boot" && case.whelk > 0.0)
        .filter_map(|guarded| {
            let flat =
                results.cases.iter().find(|case| case.mode == "flat" && case.key() == guarded.key())?;
            Some(guarded.whelk / flat.whelk)
        })
        .collect();
    let mean = stats::geometric_mean(&ratios)?;
    Some(format!(
        "Guarded mode takes {:+.1}% of flat mode's figures (geometric mean of {}).\n",
        (mean - 1.0) * 100.0,
        ratios.len()
    ))
}

/// All of it.
#[must_use]
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for mode in ["flat", "guarded"] {
        if results.cases.iter().any(|case| case.mode == mode) {
            text.push_str(&mode_table(results, mode));
            text.push('\n');
        }
    }
    if let Some(line) = guarded_line(results) {
        text.push_str(&line);
    }
    if !results.failed.is_empty() {
        text.push_str("\nWhat doesn't work:\n\n");
        for line in &results.failed {
            text.push_str(&format!("* {line}\n"));
        }
    }
    text
}

/// What it was measured with.
#[must_use]
pub fn render_environment(results: &Results) -> String {
    let environment = &results.environment;
    let mut text = format!(
        "QEMU {}, {}, {} × {}, {} run(s)\n",
        environment.qemu,
        environment.accelerator,
        environment.host_cpus,
        environment.host_cpu,
        environment.runs
    );
    for (guest, version) in &environment.kernels {
        text.push_str(&format!("kernel of {guest}: {version}\n"));
    }
    for (guest, line) in &environment.command_lines {
        text.push_str(&format!("{guest}: {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, text) in [
            (57.0, "57"),
            (1234.5, "1,234.5"),
            (1_234_567.0, "1,234,567"),
            (1.375e9, "1375.0 M"),
            (0.04, "0"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table() {
        let case = |name: &str, whelk: f64, gate: Option<f64>| Case {
            suite: "syscall".to_owned(),
            name: name.to_owned(),
            unit: "instructions".to_owned(),
            mode: "flat".to_owned(),
            whelk,
            gate,
            rivals: [("linux".to_owned(), 400.0), ("linux-tiny".to_owned(), 200.0)].into(),
            ..Case::default()
        };
        let mut guarded = case("a", 110.0, None);
        guarded.mode = "guarded".to_owned();
        let results = Results {
            cases: vec![
                case("a", 100.0, Some(120.0)),
                case("b", 50.0, Some(40.0)),
                case("c", 800.0, None),
                guarded,
            ],
            ..Results::default()
        };
        let text = render(&results);
        for part in [
            "| syscall/a | instructions |         100 |   120 met |   400 |   4.0× |        200 |   2.0× |",
            "40 MISSED",
            "5.66 times better than linux over the 2 operations with a gate; 2.52 times better than linux over all 3",
            "Gates: 1 of 2 met, 0 of them",
            "Guarded mode takes +10.0%",
        ] {
            assert!(text.contains(part), "{part} isn't in\n{text}");
        }
    }
}
