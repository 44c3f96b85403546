//! Where things are kept: files, the cells of databases, the memory of processes.

pub mod cells;
pub mod files;
pub mod memory;

/// A process of the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its name, for messages.
    pub name: String,
    /// Its id.
    pub pid: u32,
}
