//! What was measured: each figure beside its limit, as a line for a reader and as an object for a program.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::Fault;

/// What a ratio has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
    /// Nothing; it is told.
    None,
}

impl Bound {
    fn holds(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(ratio >= least),
            Self::AtMost(most) => Some(ratio <= most),
            Self::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
            Self::None => "none".to_owned(),
        }
    }
}

/// A figure beside its limit.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) name: &'static str,
    /// What we do.
    pub(super) ours: f64,
    /// What the raw parts do, in the same run.
    pub(super) limit: f64,
    /// Of both.
    pub(super) unit: &'static str,
    /// What `ours / limit` has to keep to.
    pub(super) bound: Bound,
    /// What else there is to know, for programs.
    pub(super) details: Map<String, Value>,
    /// The same for readers, one line each.
    pub(super) notes: Vec<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    ours: f64,
    limit: f64,
    ratio: f64,
    unit: &'a str,
    bound: String,
    holds: Option<bool>,
    details: &'a Map<String, Value>,
}

impl Figure {
    fn ratio(&self) -> f64 {
        if self.limit > 0.0 { self.ours / self.limit } else { 0.0 }
    }

    fn written(&self) -> Written<'_> {
        Written {
            name: self.name,
            ours: rounded(self.ours),
            limit: rounded(self.limit),
            ratio: rounded(self.ratio()),
            unit: self.unit,
            bound: self.bound.text(),
            holds: self.bound.holds(self.ratio()),
            details: &self.details,
        }
    }
}

/// Three digits behind the point: what is beyond them is noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The figures as a table, each followed by its notes.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "\n{:<10} {:>10} {:>10}  {:<14} {:>6}  {:<7} holds\n",
        "figure", "ours", "limit", "unit", "ratio", "bound"
    );
    for figure in figures {
        let Written { name, ours, limit, ratio, unit, bound, holds, .. } = figure.written();
        let holds = holds.map_or("-", |holds| if holds { "yes" } else { "NO" });
        text.push_str(&format!("{name:<10} {ours:>10.2} {limit:>10.2}  {unit:<14} {ratio:>6.2}  {bound:<7} {holds}\n"));
    }
    for figure in figures {
        text.push_str(&format!("\n{}\n", figure.name));
        for note in &figure.notes {
            text.push_str(&format!("  {note}\n"));
        }
    }
    text
}

/// Writes the figures as an array of objects.
///
/// # Errors
/// [`Fault`] when the file cannot be written.
pub(super) fn write(figures: &[Figure], path: &Path) -> Result<(), Fault> {
    let written: Vec<Written<'_>> = figures.iter().map(Figure::written).collect();
    let mut text = serde_json::to_vec_pretty(&written).map_err(Fault::of("the figures"))?;
    text.push(b'\n');
    std::fs::write(path, text).map_err(Fault::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(ours: f64, bound: Bound) -> Figure {
        let (details, notes) = (Map::new(), vec!["a note".to_owned()]);
        Figure { name: "alarm", ours, limit: 4.0, unit: "ms", bound, details, notes }
    }

    #[test]
    fn a_bound_holds_on_its_edge_and_not_beyond() {
        for (ours, bound, holds) in [
            (8.0, Bound::AtMost(2.0), Some(true)),
            (8.1, Bound::AtMost(2.0), Some(false)),
            (3.6, Bound::AtLeast(0.9), Some(true)),
            (3.5, Bound::AtLeast(0.9), Some(false)),
            (3.5, Bound::None, None),
        ] {
            assert_eq!(figure(ours, bound).written().holds, holds, "{ours} {bound:?}");
        }
    }

    #[test]
    fn the_file_has_the_members_that_are_relied_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("figures.json");
        write(&[figure(6.0, Bound::AtMost(2.0))], &path).expect("written");
        let read: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
        let expected = serde_json::json!([{
            "name": "alarm", "ours": 6.0, "limit": 4.0, "ratio": 1.5, "unit": "ms",
            "bound": "<= 2", "holds": true, "details": {},
        }]);
        assert_eq!(read, expected);
        let table = table(&[figure(9.0, Bound::AtMost(2.0))]);
        assert!(table.contains("2.25") && table.contains("NO") && table.contains("a note"), "{table}");
    }
}
