//! The port to card processors, its connectors, and the PCI zone's one HTTP client.

pub mod http;
