//! Reports what happened outside any session until the service has it. Each report is on disk before it comes here and
//! leaves the disk when it was acknowledged; its id makes a repeat harmless.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::clock;
use crate::disk::Disk;
use crate::journal;
use crate::proto::TamperReport;
use crate::service::{Failure, Service};

/// Reports one after the other, oldest first, for as long as the driver lives.
pub(crate) async fn run(
    service: Service,
    disk: Arc<dyn Disk>,
    mut waiting: VecDeque<TamperReport>,
    mut more: mpsc::Receiver<TamperReport>,
) {
    let mut backoff = Backoff::default();
    loop {
        let Some(report) = waiting.front().cloned() else {
            match more.recv().await {
                Some(report) => waiting.push_back(report),
                None => return,
            }
            continue;
        };
        match service.report_tamper(report.clone()).await {
            Ok(()) => {
                backoff.reset();
                waiting.pop_front();
                forget(&disk, report).await;
            }
            Err(failure) => {
                let pause = match failure {
                    Failure::Unreachable => backoff.next(clock::chance()),
                    Failure::Superseded | Failure::Rejected => backoff.longest(clock::chance()),
                };
                tokio::time::sleep(pause).await;
                // A report that is not accepted must not hold up the others for ever.
                waiting.rotate_left(1);
            }
        }
    }
}

async fn forget(disk: &Arc<dyn Disk>, report: TamperReport) {
    let disk = Arc::clone(disk);
    let forgotten = tokio::task::spawn_blocking(move || journal::forget_report(disk.as_ref(), &report)).await;
    if !matches!(forgotten, Ok(Ok(()))) {
        tracing::warn!("a tamper report that was acknowledged could not be deleted; it will be sent once more");
    }
}
