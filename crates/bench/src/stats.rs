//! Numbers about numbers.

/// The middle one, or the mean of the two in the middle. `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(high);
    }
    let low = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(low, high))
}

/// How far apart the values are: greatest less least, as a part of the median.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let middle = median(values).filter(|&middle| middle > 0.0)?;
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    Some((most - least) / middle)
}

/// The middle of the ratios of values that were measured one after the other, which a noisy machine hurts alike.
pub(crate) fn pairwise_ratio(theirs: &[f64], ours: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = theirs
        .iter()
        .zip(ours)
        .filter(|(_, ours)| **ours > 0.0)
        .map(|(theirs, ours)| theirs / ours)
        .collect();
    median(&ratios)
}

/// The geometric mean of ratios above 0. `None` of nothing.
pub(crate) fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let mut sum = 0.0;
    let mut count = 0.0;
    for ratio in ratios.iter().filter(|ratio| **ratio > 0.0) {
        sum += ratio.ln();
        count += 1.0;
    }
    (count > 0.0).then(|| (sum / count).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn middles() {
        assert_eq!(median(&[]), None);
        assert!(near(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(near(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(near(spread(&[9.0, 10.0, 12.0]), 0.3));
        assert_eq!(spread(&[0.0]), None);
    }

    #[test]
    fn ratios() {
        // The second pair was measured while the machine did something else.
        assert!(near(pairwise_ratio(&[20.0, 90.0, 22.0], &[10.0, 45.0, 10.0]), 2.0));
        assert_eq!(pairwise_ratio(&[1.0], &[0.0]), None);
        assert!(near(geometric_mean(&[2.0, 8.0]), 4.0));
        assert_eq!(geometric_mean(&[]), None);
    }
}
