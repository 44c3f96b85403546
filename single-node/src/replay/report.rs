//! The report of a day: `outcomes.jsonl`, `totals.json` and `ledger.json`.
//!
//! Outcomes are what the status service booked from events, not what the fridges saw: a day that adds up has come all
//! the way through the wall.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Fault;

/// How one session ended, as the status service tells it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Booked {
    /// Which.
    pub session: String,
    /// `refused`, `charged`, `free`, `no_purchase` or `abandoned`.
    pub outcome: String,
    /// Why it was refused.
    pub reason: Option<String>,
    /// Who.
    pub customer: Option<String>,
    /// What was charged.
    #[serde(default)]
    pub charged_minor: i64,
    /// What credit paid.
    #[serde(default)]
    pub credit_used_minor: i64,
    /// Meals that sounded an alarm.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Meals stolen.
    #[serde(default)]
    pub thefts: Vec<String>,
    /// Meals kept.
    #[serde(default)]
    pub meals: Vec<String>,
}

/// The sums of a day.
#[derive(Debug, Default, Serialize)]
pub struct Totals {
    sessions: u64,
    refused: u64,
    charged_sessions: u64,
    charged_minor: i64,
    thefts: usize,
    alarms: usize,
    meals_sold: usize,
    credit_used_minor: i64,
    /// Meals left, by fridge.
    pub stock_left: BTreeMap<String, i64>,
}

/// Writes `outcomes.jsonl` and adds up.
pub(super) struct Report {
    folder: PathBuf,
    outcomes: BufWriter<File>,
    totals: Totals,
}

impl Report {
    /// Begins a report in `folder`.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be written.
    pub(super) fn begin(folder: &Path) -> Result<Self, Fault> {
        std::fs::create_dir_all(folder).map_err(Fault::io("make the folder", folder))?;
        let path = folder.join("outcomes.jsonl");
        let file = File::create(&path).map_err(Fault::io("write", &path))?;
        Ok(Self { folder: folder.to_owned(), outcomes: BufWriter::new(file), totals: Totals::default() })
    }

    /// Adds the next session of the day.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be written.
    pub(super) fn add(&mut self, booked: &Booked) -> Result<(), Fault> {
        let totals = &mut self.totals;
        totals.sessions += 1;
        totals.refused += u64::from(booked.outcome == "refused");
        totals.charged_sessions += u64::from(booked.outcome == "charged");
        totals.charged_minor += booked.charged_minor;
        totals.credit_used_minor += booked.credit_used_minor;
        totals.thefts += booked.thefts.len();
        totals.alarms += booked.alarms.len();
        totals.meals_sold += booked.meals.len();
        let line = outcome_line(booked);
        let path = self.folder.join("outcomes.jsonl");
        writeln!(self.outcomes, "{line}").map_err(Fault::io("write", &path))
    }

    /// Ends the report.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be written.
    pub(super) fn finish(
        mut self,
        stock_left: BTreeMap<String, i64>,
        ledger: &serde_json::Value,
    ) -> Result<Totals, Fault> {
        self.outcomes.flush().map_err(Fault::io("write", &self.folder))?;
        self.totals.stock_left = stock_left;
        write_json(&self.folder.join("totals.json"), &self.totals)?;
        write_json(&self.folder.join("ledger.json"), ledger)?;
        Ok(self.totals)
    }
}

impl Totals {
    /// One line for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} sessions: {} charged for {}.{:02}, {} refused, {} alarms, {} thefts, {} meals sold",
            self.sessions,
            self.charged_sessions,
            self.charged_minor / 100,
            self.charged_minor % 100,
            self.refused,
            self.alarms,
            self.thefts,
            self.meals_sold
        )
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// One line in the form of `expected.jsonl`.
fn outcome_line(booked: &Booked) -> String {
    let head = format!("{{\"session\": {}, \"outcome\": {}", quoted(&booked.session), quoted(&booked.outcome));
    if booked.outcome == "refused" {
        return format!("{head}, \"reason\": {}}}", quoted(booked.reason.as_deref().unwrap_or_default()));
    }
    let customer = booked.customer.as_deref().map_or_else(|| "null".to_owned(), quoted);
    format!(
        "{head}, \"customer\": {customer}, \"charged_minor\": {}, \"credit_used_minor\": {}, \"alarms\": {}, \
         \"thefts\": {}, \"meals\": {}}}",
        booked.charged_minor,
        booked.credit_used_minor,
        list(&booked.alarms),
        list(&booked.thefts),
        list(&booked.meals)
    )
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Fault> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).map_err(Fault::of("the report cannot be written as JSON"))?;
    text.push(b'\n');
    std::fs::write(path, text).map_err(Fault::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_of_the_expected_one() {
        let mut booked = Booked {
            session: "s".into(),
            outcome: "charged".into(),
            reason: None,
            customer: None,
            charged_minor: 1090,
            credit_used_minor: 0,
            alarms: vec!["a".into()],
            thefts: vec![],
            meals: vec!["b".into(), "c".into()],
        };
        assert_eq!(
            outcome_line(&booked),
            "{\"session\": \"s\", \"outcome\": \"charged\", \"customer\": null, \"charged_minor\": 1090, \
             \"credit_used_minor\": 0, \"alarms\": [\"a\"], \"thefts\": [], \"meals\": [\"b\", \"c\"]}"
        );
        booked.outcome = "refused".into();
        booked.reason = Some("invalid_card".into());
        assert_eq!(
            outcome_line(&booked),
            "{\"session\": \"s\", \"outcome\": \"refused\", \"reason\": \"invalid_card\"}"
        );
    }
}
