//! Makes the process a poor place to look for secrets: no core dumps, and no other unprivileged process may attach or
//! read its memory. Root still can; that is the machine's wall, not ours.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Switches core dumps and attaching off.
///
/// # Errors
/// What the kernel answered. The caller must not go on to hold card data after an error.
pub fn harden() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
