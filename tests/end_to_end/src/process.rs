//! A process of its own for each test that starts a house.
//!
//! The authority's SoftHSM finds its token through `SOFTHSM2_CONF`, which belongs to the whole process and which a process
//! cannot safely change in itself. So the test starts its own binary again, for itself alone and in the right
//! environment, and the body runs there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use single_node::Fault;
use single_node::layout::Layout;

use crate::House;

/// Tells the child where its house is to be.
const FOLDER: &str = "LARDER_HOUSE_FOLDER";
/// The child's mark that the body ran to its end; a child that ran no test at all would look like success.
const DONE: &str = "body-ran";

/// Runs the body of a test in a house that was started for it.
///
/// Call it directly from the test function and only once, with everything the test does inside `body`.
///
/// # Panics
/// With the fault, when the house does not start or the body fails.
#[allow(clippy::panic, reason = "how a test fails")]
pub fn in_a_house<F: AsyncFnOnce(Arc<House>) -> Result<(), Fault>>(body: F) {
    let outcome = match std::env::var_os(FOLDER) {
        Some(folder) => live(&PathBuf::from(folder), body),
        None => again(test_name::<F>()),
    };
    if let Err(fault) = outcome {
        panic!("{fault}");
    }
}

fn live<F: AsyncFnOnce(Arc<House>) -> Result<(), Fault>>(folder: &Path, body: F) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Fault::of("a runtime"))?.block_on(async {
        let house = Arc::new(House::start(folder).await?);
        let outcome = body(Arc::clone(&house)).await;
        match Arc::into_inner(house) {
            Some(house) => house.end().await,
            None => return Err(Fault::new("a case still holds the house".to_owned())),
        }
        outcome
    })?;
    std::fs::write(folder.join(DONE), b"").map_err(Fault::io("write in", folder))
}

fn again(test: &str) -> Result<(), Fault> {
    let folder = tempfile::Builder::new().prefix("larder-house-").tempdir().map_err(Fault::of("a folder"))?;
    let layout = Layout::new(folder.path())?;
    let status = Command::new(std::env::current_exe().map_err(Fault::of("our own binary"))?)
        .args([test, "--exact", "--test-threads=1", "--nocapture"])
        .env(FOLDER, layout.root())
        .env("SOFTHSM2_CONF", layout.softhsm_conf("ca"))
        .stdin(Stdio::null())
        .status()
        .map_err(Fault::of("start again"))?;
    if status.success() && layout.root().join(DONE).exists() {
        return Ok(());
    }
    Err(Fault::new(format!("{test}, in its own process, ended with {status}; what it said is above")))
}

/// The name libtest knows the calling test by: the path of its closure without the crate and without `{{closure}}`.
fn test_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_, inside)| inside);
    path.split_once("::{{closure}}").map_or(path, |(test, _)| test)
}

#[cfg(test)]
mod tests {
    use super::test_name;

    fn name_of<F: AsyncFnOnce()>(_: F) -> &'static str {
        test_name::<F>()
    }

    #[test]
    fn a_test_is_found_by_its_closure() {
        assert_eq!(name_of(async || {}), "process::tests::a_test_is_found_by_its_closure");
    }
}
