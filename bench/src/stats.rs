//! Medians and percentiles. Never means: one late grace period would paint a whole column.

/// The value below which `part` (0 to 1) of the values lie; `None` of nothing.
pub(crate) fn percentile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // Positions are small whole numbers, so neither cast loses anything.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )]
    let at = (part * last as f64).round() as usize;
    sorted.get(at).copied()
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 0.5)
}

/// The median of `ours[i] / theirs[i]` over the rounds that both have.
pub(crate) fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let pairs = ours.iter().zip(theirs);
    let ratios: Vec<f64> = pairs
        .filter_map(|(a, b)| Some((*a)? / b.filter(|b| *b > 0.0)?))
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends_are_found() {
        let values = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(median(&values), Some(3.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&values, 1.0), Some(5.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_taken_inside_a_round() {
        let (ours, floor) = (
            [Some(10.0), None, Some(30.0)],
            [Some(5.0), Some(1.0), Some(10.0)],
        );
        assert_eq!(ratio(&ours, &floor), Some(3.0));
    }
}
