//! Status: how each fridge is, whether it is locked for food safety, and what became of each session.
//!
//! Fridges report their health here themselves; an operator locks and releases them; the PCI zone pulls the locks from
//! the feed and tells with its events how sessions ended, what was settled and where somebody tampered. Each session is
//! one row, made of the events that name it in whatever order they come, so that a total over sessions costs nothing.
//!
//! It leaves fridges and their thresholds to admin, meals to inventory, and money that is owed to customers.
