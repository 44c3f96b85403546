//! What is said to the log while a test runs, as whoever watches it gets it: each line's level, its words, and its `alarm`.
#![allow(dead_code, unreachable_pub)]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Seconds since the log was begun.
    pub at_s: u64,
    pub level: Level,
    pub words: String,
    pub alarm: Option<bool>,
    pub error: Option<String>,
}

/// All lines so far of the thread that keeps it.
#[derive(Clone)]
pub struct Log {
    begun: Instant,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Log {
    /// Keeps what this thread says until the guard is dropped.
    pub fn keep() -> (Self, DefaultGuard) {
        let log = Self { begun: Instant::now(), lines: Arc::default() };
        (log.clone(), tracing::subscriber::set_default(log))
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// When an alarm was said, and when that one was over: in the order in which they were.
    pub fn alarms(&self) -> Vec<(u64, bool)> {
        let lines = self.lines();
        for line in lines.iter().filter(|line| line.alarm.is_some()) {
            let level = if line.alarm == Some(true) { Level::ERROR } else { Level::INFO };
            assert_eq!(line.level, level, "{line:?}");
        }
        lines.iter().filter_map(|line| Some((line.at_s, line.alarm?))).collect()
    }

    /// The words of the first alarm.
    pub fn first_alarm(&self) -> Line {
        self.lines().into_iter().find(|line| line.alarm == Some(true)).expect("an alarm")
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let (at_s, level) = (self.begun.elapsed().as_secs(), *event.metadata().level());
        let mut line = Line { at_s, level, words: String::new(), alarm: None, error: None };
        event.record(&mut line);
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "alarm" {
            self.alarm = Some(value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "error" {
            self.error = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.words = format!("{value:?}"),
            "error" => self.error = Some(format!("{value:?}")),
            _ => {}
        }
    }
}
