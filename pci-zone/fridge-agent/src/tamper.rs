//! Reports what happened outside any session until the service has it. Each report is durable before it is sent and
//! leaves the disk when it was acknowledged; its id makes a repeat harmless.
//!
//! How many may wait is bounded, on disk as in memory and over restarts: a shelf whose scanner went mad must not fill
//! the disk that the next purchase needs. What is beyond the bound is logged and lost.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::clock;
use crate::disk::Disk;
use crate::proto::TamperReport;
use crate::service::{Failure, Service};
use crate::words::TamperNote;
use crate::{journal, wire};

/// Where the driver hands its reports in.
pub(crate) struct Reports {
    disk: Arc<dyn Disk>,
    sender: mpsc::Sender<TamperReport>,
    /// How many are not acknowledged yet.
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The driver's end, and the reporter that runs beside it; `found` is what the last run left.
pub(crate) fn start(
    service: Service,
    disk: Arc<dyn Disk>,
    found: Vec<TamperReport>,
    most: usize,
) -> (Reports, impl Future<Output = ()> + Send) {
    let (sender, more) = mpsc::channel(most.max(1));
    let waiting = Arc::new(AtomicUsize::new(found.len()));
    let reports = Reports { disk: Arc::clone(&disk), sender, waiting: Arc::clone(&waiting), most };
    (reports, run(service, disk, found.into(), more, waiting))
}

impl Reports {
    /// Makes a report durable and hands it to the reporter.
    pub(crate) async fn report(&self, note: TamperNote) {
        if self.waiting.load(Ordering::SeqCst) >= self.most {
            tracing::error!(kind = ?note.kind, "too many tamper reports wait for the service; this one is lost");
            return;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let (disk, report) = (Arc::clone(&self.disk), wire::tamper_report(&note));
        let kept = tokio::task::spawn_blocking(move || journal::keep_report(disk.as_ref(), &note)).await;
        if !matches!(kept, Ok(Ok(()))) {
            tracing::error!("a tamper report cannot be written; it is sent from memory");
        }
        // There is room for as many as may wait.
        let _ = self.sender.try_send(report);
    }
}

/// Reports one after the other, oldest first, for as long as the driver lives.
async fn run(
    service: Service,
    disk: Arc<dyn Disk>,
    mut queue: VecDeque<TamperReport>,
    mut more: mpsc::Receiver<TamperReport>,
    waiting: Arc<AtomicUsize>,
) {
    let mut backoff = Backoff::default();
    loop {
        let Some(report) = queue.front().cloned() else {
            match more.recv().await {
                Some(report) => queue.push_back(report),
                None => return,
            }
            continue;
        };
        match service.report_tamper(report.clone()).await {
            Ok(()) => {
                backoff.reset();
                queue.pop_front();
                forget(&disk, report).await;
                waiting.fetch_sub(1, Ordering::SeqCst);
            }
            Err(failure) => {
                let pause = match failure {
                    Failure::Unreachable => backoff.next(clock::chance()),
                    Failure::Superseded | Failure::Rejected => backoff.longest(clock::chance()),
                };
                tokio::time::sleep(pause).await;
                // A report that is not accepted must not hold up the others for ever.
                queue.extend(more.try_recv().ok());
                queue.rotate_left(1);
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
