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

/// The pair whose quotient is the median: of rounds in which both sides were measured one after the other. A shared
/// machine is now fast and now slow; the halves of a round are neighbours, the medians of all halves may not be.
pub(super) fn middle(pairs: &[(f64, f64)]) -> (f64, f64) {
    let mut pairs = pairs.to_vec();
    // `one.0 / one.1` against `other.0 / other.1`, without a division by what may be nothing.
    pairs.sort_by(|one, other| (one.0 * other.1).total_cmp(&(other.0 * one.1)));
    pairs.get(pairs.len() / 2).copied().unwrap_or_default()
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

    #[test]
    fn the_middle_pair_is_the_one_of_the_median_quotient() {
        assert_eq!(middle(&[(1.0, 2.0), (9.0, 10.0), (30.0, 40.0)]), (30.0, 40.0));
        assert_eq!(middle(&[]), (0.0, 0.0));
    }
}
