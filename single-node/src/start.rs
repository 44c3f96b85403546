//! How a command finds its folder of state and an environment in which SoftHSM finds its token.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fault;
use crate::cli::Cli;
use crate::layout::{self, Layout};

/// Names the folder of state for the process that is started in place of this one.
const FOLDER: &str = "LARDER_NODE_FOLDER";

/// Runs the command in its folder of state: the one it names, or a temporary one that is removed at its end unless it
/// failed.
///
/// # Errors
/// [`Fault`] says what happened and what to do.
pub fn run(cli: Cli) -> Result<(), Fault> {
    // State holds keys and PINs: it is its owner's alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let made = std::env::var_os(FOLDER).map(PathBuf::from);
    let Some(folder) = cli.folder().cloned().or(made.clone()) else {
        return again(&layout::temporary()?, true);
    };
    let layout = Layout::new(&folder)?;
    if std::env::var_os("SOFTHSM2_CONF").as_deref() != Some(layout.softhsm_conf("ca").as_os_str()) {
        return again(&folder, false);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Fault::of("a runtime"))?;
    let temporary = made.as_deref().and_then(layout::Temporary::adopt);
    runtime.block_on(cli.run(layout)).inspect_err(|_| {
        // The logs in it are what is needed now.
        if let Some(temporary) = temporary {
            std::mem::forget(temporary);
        }
    })
}

/// Starts in place of ourselves: SoftHSM reads its configuration's place from the environment, which a process cannot
/// safely change in itself.
fn again(folder: &Path, temporary: bool) -> Result<(), Fault> {
    let layout = Layout::new(folder)?;
    let own = std::env::current_exe().map_err(Fault::of("our own binary"))?;
    let mut again = Command::new(own);
    again.args(std::env::args_os().skip(1)).env("SOFTHSM2_CONF", layout.softhsm_conf("ca"));
    if temporary {
        again.env(FOLDER, layout.root());
    }
    Err(Fault::of("start again")(again.exec()))
}
