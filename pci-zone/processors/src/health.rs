//! Health without probes: what the last asks came to. A processor is never asked for its health's sake; the asks that
//! customers cause say enough. It leaves the judgement (breaker, metrics, alarms) to whoever reads the counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::port::AskError;

/// How many asks ended how, since the connector was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Done as asked.
    pub answered: u64,
    /// Declined by the processor.
    pub declined: u64,
    /// Certainly not done.
    pub not_sent: u64,
    /// Perhaps done.
    pub unknown: u64,
    /// Rejected as wrong.
    pub rejected: u64,
    /// Failures (not sent or unknown) since the last answer of any kind.
    pub failures_in_a_row: u64,
}

/// The counters behind [`HealthCounts`], shared by the asks in flight.
#[derive(Debug, Default)]
pub(crate) struct Health {
    answered: AtomicU64,
    declined: AtomicU64,
    not_sent: AtomicU64,
    unknown: AtomicU64,
    rejected: AtomicU64,
    failures_in_a_row: AtomicU64,
}

impl Health {
    /// Takes note of how an ask ended.
    pub(crate) fn note<T>(&self, result: &Result<T, AskError>) {
        let (counter, failed) = match result {
            Ok(_) => (&self.answered, false),
            Err(AskError::Declined(_)) => (&self.declined, false),
            Err(AskError::Rejected { .. }) => (&self.rejected, false),
            Err(AskError::NotSent) => (&self.not_sent, true),
            Err(AskError::Unknown) => (&self.unknown, true),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> HealthCounts {
        HealthCounts {
            answered: self.answered.load(Ordering::Relaxed),
            declined: self.declined.load(Ordering::Relaxed),
            not_sent: self.not_sent.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            failures_in_a_row: self.failures_in_a_row.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pci_contract::ReasonCode;

    #[test]
    fn each_ending_is_counted_once_and_an_answer_ends_a_row_of_failures() {
        let health = Health::default();
        health.note::<()>(&Err(AskError::NotSent));
        health.note::<()>(&Err(AskError::Unknown));
        assert_eq!(health.counts().failures_in_a_row, 2);
        health.note::<()>(&Err(AskError::Declined(ReasonCode::CARD_DECLINED)));
        assert_eq!(health.counts().failures_in_a_row, 0);
        health.note::<()>(&Err(AskError::Rejected { status: 404, code: "resource_missing".to_owned() }));
        health.note(&Ok(()));
        let expected =
            HealthCounts { answered: 1, declined: 1, not_sent: 1, unknown: 1, rejected: 1, failures_in_a_row: 0 };
        assert_eq!(health.counts(), expected);
    }
}
