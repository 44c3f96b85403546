//! Medians and percentiles. A shared machine has bad seconds; a median over rounds does not care about them.

/// The middle of `values`; zero when there are none.
pub(super) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest of `values` that at least `percent` of them do not exceed; zero when there are none.
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// `count` as a number to divide by and with.
#[allow(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(super) const fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_the_nearest_one_above() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            [percentile(&values, 99.0), percentile(&values, 50.0), percentile(&values, 100.0)],
            [198.0, 100.0, 200.0]
        );
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[7.0]), median(&[])], [2.0, 7.0, 0.0]);
    }
}
