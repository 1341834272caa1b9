//! Results as a picture: how many times better each case is than a rival, on a logarithmic axis.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentValue};
use plotters::prelude::*;

use crate::results::{Case, Results};
use crate::rival::Rival;

const WIDTH: u32 = 1000;
const ROW_HEIGHT: u32 = 18;
const MARGINS: u32 = 110;
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(23, 190, 207), RGBColor(214, 39, 40), RGBColor(127, 127, 127)];

/// Writes the picture of one mode's cases.
///
/// # Errors
/// There is nothing to show, or the file can't be written.
pub fn plot(results: &Results, mode: &str, file: &Path) -> Result<()> {
    let shown =
        |case: &&Case| case.mode == mode && Rival::ALL.iter().any(|rival| case.ratio(rival.key()).is_some());
    let cases: Vec<&Case> = results.cases.iter().filter(shown).collect();
    let rivals: Vec<Rival> = Rival::ALL
        .into_iter()
        .filter(|rival| cases.iter().any(|case| case.ratio(rival.key()).is_some()))
        .collect();
    let ratios = || cases.iter().flat_map(|case| rivals.iter().filter_map(|rival| case.ratio(rival.key())));
    let most = ratios().fold(2.0, f64::max);
    let least = ratios().fold(0.5, f64::min);
    if cases.is_empty() {
        return Err(anyhow!("there is nothing to show: no rival was measured"));
    }
    draw(&cases, &rivals, mode, (least, most), file)
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| file.display().to_string())
}

fn draw(
    cases: &[&Case],
    rivals: &[Rival],
    mode: &str,
    (least, most): (f64, f64),
    file: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let count = u32::try_from(cases.len())?;
    let area = SVGBackend::new(file, (WIDTH, MARGINS + count * ROW_HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("Whelk, {mode}: times better (right) or worse (left)"), ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(210)
        .build_cartesian_2d((least * 0.8..most * 1.3).log_scale(), (0..cases.len()).into_segmented())?;
    let name = |position: &SegmentValue<usize>| match position {
        SegmentValue::CenterOf(index) => cases
            .get(cases.len() - 1 - index.min(&(cases.len() - 1)))
            .map_or(String::new(), |case| case.key()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(cases.len())
        .y_label_formatter(&name)
        .x_label_formatter(&|value| format!("{value}×"))
        .x_desc("how many times more the rival takes")
        .label_style(("sans-serif", 11))
        .draw()?;
    let ends = [SegmentValue::Exact(0), SegmentValue::Exact(cases.len())];
    let equal = PathElement::new(ends.map(|end| (1.0, end)).to_vec(), BLACK.stroke_width(2));
    chart.draw_series(std::iter::once(equal))?;
    for (rival, colour) in rivals.iter().zip(COLOURS) {
        let points =
            cases.iter().rev().enumerate().filter_map(|(row, case)| Some((case.ratio(rival.key())?, row)));
        chart
            .draw_series(
                points.map(|(ratio, row)| {
                    Circle::new((ratio, SegmentValue::CenterOf(row)), 4, colour.filled())
                }),
            )?
            .label(rival.key())
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .label_font(("sans-serif", 12))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture() {
        let case = Case {
            suite: "syscall".to_owned(),
            name: "stat".to_owned(),
            mode: "flat".to_owned(),
            whelk: 100.0,
            rivals: [("linux".to_owned(), 1000.0)].into(),
            ..Case::default()
        };
        let results = Results { cases: vec![case], ..Results::default() };
        let directory = launch::TempDir::new().unwrap();
        let file = directory.path().join("picture.svg");
        plot(&results, "flat", &file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("syscall/stat") && text.contains("<circle") && text.contains("linux"),
            "{text}"
        );
        assert!(plot(&results, "guarded", &file).is_err());
    }
}
