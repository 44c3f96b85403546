//! How the demo looks on a terminal: three voices in three colours, paced so that a person can follow. Colours only on
//! a terminal, and not when `NO_COLOR` is set.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Whose voice a line is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Voice {
    /// What a person sees at the fridge.
    Fridge,
    /// What happens where card data is.
    Pci,
    /// What the services outside, and the processor, know.
    Outside,
}

/// The terminal.
pub(super) struct Screen {
    pace: Duration,
    colour: bool,
}

/// A bar that fills while things start.
pub(super) struct Steps(ProgressBar);

impl Steps {
    /// One more thing has begun.
    pub(super) fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.inc(1);
    }

    /// All have.
    pub(super) fn done(&self) {
        self.0.finish_and_clear();
    }
}

impl Screen {
    /// A screen that rests for `pace` after each line.
    pub(super) fn new(pace: Duration) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { pace, colour }
    }

    /// A heading.
    pub(super) fn title(&self, text: &str) {
        self.print("");
        let rule = "─".repeat(100_usize.saturating_sub(text.chars().count()));
        self.print(&format!("{} {}", self.paint("1", text), self.paint("2", &rule)));
    }

    /// A sentence.
    pub(super) fn text(&self, text: &str) {
        self.print(&format!("  {text}"));
    }

    /// Something to type.
    pub(super) fn command(&self, text: &str) {
        self.print(&format!("    {}", self.paint("1", text)));
    }

    /// A fact with its name.
    pub(super) fn line(&self, name: &str, text: &str) {
        self.print(&format!("  {}{text}", self.paint("2", &format!("{name:<18}"))));
    }

    /// What one of the voices says.
    pub(super) async fn say(&self, voice: Voice, text: &str) {
        let (name, colour) = match voice {
            Voice::Fridge => ("at the fridge", "36"),
            Voice::Pci => ("in the PCI zone", "33"),
            Voice::Outside => ("outside", "32"),
        };
        self.print(&format!("  {}{text}", self.paint(colour, &format!("{name:<18}"))));
        tokio::time::sleep(self.pace).await;
    }

    /// A bar of `steps` steps.
    pub(super) fn progress(&self, steps: u64) -> Steps {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("  {bar:32} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Steps(bar)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    #[allow(clippy::print_stdout, clippy::unused_self, reason = "the demo is its output")]
    fn print(&self, line: &str) {
        println!("{line}");
    }
}
