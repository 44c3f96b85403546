//! `single-node`: both zones on one machine. `./run` builds it and hands over to it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use single_node::Fault;
use single_node::cli::Cli;
use single_node::layout::Layout;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped: days of trade name cards.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// Names the folder of state for the process that is started in place of this one.
const FOLDER: &str = "LARDER_NODE_FOLDER";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(&fault),
    }
}

fn run(cli: Cli) -> Result<(), Fault> {
    let kept = cli.folder().cloned().or_else(|| std::env::var_os(FOLDER).map(PathBuf::from));
    let temporary =
        if kept.is_none() { Some(tempfile::tempdir().map_err(Fault::of("a temporary folder"))?) } else { None };
    let folder = kept.or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned())).unwrap_or_default();
    let layout = Layout::new(&folder)?;
    // SoftHSM reads its configuration's place from the environment, which a process cannot safely change in itself.
    let conf = layout.softhsm_conf("ca");
    if std::env::var_os("SOFTHSM2_CONF").as_deref() != Some(conf.as_os_str()) {
        let own = std::env::current_exe().map_err(Fault::of("our own binary"))?;
        let mut again = Command::new(own);
        again.args(std::env::args_os().skip(1)).env("SOFTHSM2_CONF", &conf).env(FOLDER, layout.root());
        if temporary.is_none() {
            return Err(Fault::of("start again")(again.exec()));
        }
        // The temporary folder is removed when the child has ended.
        let ended = again.status().map_err(Fault::of("start again"))?;
        return if ended.success() { Ok(()) } else { Err(Fault::new("it ended with the fault above".to_owned())) };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Fault::of("a runtime"))?;
    runtime.block_on(cli.run(layout))
}

#[allow(clippy::print_stderr, reason = "the command's error")]
fn fail(fault: &Fault) -> ExitCode {
    eprintln!("{fault}");
    ExitCode::FAILURE
}
