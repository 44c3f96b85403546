//! What `handshakes`, `idle` and `revocation` stand on besides the ground: thousands of fridges in a process of their
//! own, a bare server in another, and what purchase-session tells of its connections.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::clients::{self, Done, Files};
use super::ground::Ground;
use super::part::{Kind, Part};
use super::{bare_tls, process, world};
use crate::Fault;
use crate::issuer::Party;
use crate::stack::{PURCHASE, Stack};

/// Connections of fridges that say nothing.
pub(super) const CONNECTIONS: usize = 5_000;
/// Connections that are asked for in one order, so that an order has its answer soon.
const BATCH: usize = 500;
/// Files that the largest process has open: the connections, and what a service has open besides.
const OPEN_FILES: u64 = 5_500;
/// Fridges of the world whose certificates the thousands share; those before them have connections of their own.
const SHARED: std::ops::Range<usize> = world::FRIDGES / 2..world::FRIDGES;
/// How long a service may take to do what is waited for, and how often it is looked whether it has.
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A server whose connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Bare,
}

/// The fridges and the bare server.
pub(super) struct Fleet {
    crowd: Part,
    acceptor: Part,
    ours: SocketAddr,
    bare: SocketAddr,
}

/// Makes sure that the processes that are started from now on can hold the connections.
///
/// # Errors
/// [`Fault`] when the system does not let them.
pub(super) fn room() -> Result<(), Fault> {
    process::open_files(OPEN_FILES)
}

impl Fleet {
    /// Starts both processes beside what runs on `ground`.
    ///
    /// # Errors
    /// [`Fault`] when one does not start.
    pub(super) async fn gather(ground: &Ground) -> Result<Self, Fault> {
        let (stack, root) = (&ground.stack, ground.stack.layout().root());
        let files = |party: &Party| {
            let (certificate, key, bundle) = stack.issuer().files(party);
            Files { certificate, key, bundle }
        };
        let mut acceptor = Part::start(Kind::Acceptor, &root.join("bench-acceptor"))?;
        let serve = bare_tls::Order::Serve(files(&Party::Service(PURCHASE)));
        let serving: bare_tls::Serving = acceptor.ask(&serve).await?;
        let mut crowd = Part::start(Kind::Crowd, &root.join("bench-crowd"))?;
        let fridges = SHARED.map(|n| files(&Party::Fridge(world::fridge(n)))).collect();
        let trust_domain = stack.issuer().trust_domain().as_str().to_owned();
        let _: Done = crowd.ask(&clients::Order::Be { fridges, trust_domain }).await?;
        let ours = stack.address(PURCHASE).unwrap_or_default().parse().map_err(Fault::of("the service's address"))?;
        Ok(Self { crowd, acceptor, ours, bare: serving.address })
    }

    /// Where a side listens.
    pub(super) const fn address(&self, side: Side) -> SocketAddr {
        match side {
            Side::Ours => self.ours,
            Side::Bare => self.bare,
        }
    }

    /// The process id of a side.
    ///
    /// # Errors
    /// [`Fault`] when it does not run.
    pub(super) fn pid(&self, side: Side, stack: &Stack) -> Result<u32, Fault> {
        let pid = match side {
            Side::Ours => stack.pid(PURCHASE).and_then(|pid| *pid.borrow()),
            Side::Bare => self.acceptor.pid(),
        };
        pid.ok_or_else(|| Fault::new("a server that is measured does not run".to_owned()))
    }

    /// Has the fridges do something.
    ///
    /// # Errors
    /// [`Fault`] says what went wrong.
    pub(super) async fn tell(&mut self, order: &clients::Order) -> Result<Done, Fault> {
        self.crowd.ask(order).await
    }

    /// Opens `count` connections to a side: to ours as agents have them, to the bare one with a handshake alone.
    ///
    /// # Errors
    /// [`Fault`] when one is refused.
    pub(super) async fn open(&mut self, side: Side, count: usize) -> Result<(), Fault> {
        let (address, mut left) = (self.address(side), count);
        while left > 0 {
            let count = left.min(BATCH);
            let order = match side {
                Side::Ours => clients::Order::Connect { address, count },
                Side::Bare => clients::Order::Stand { address, count },
            };
            self.tell(&order).await?;
            left -= count;
        }
        Ok(())
    }

    /// How many connections a side has open.
    ///
    /// # Errors
    /// [`Fault`] when it does not tell.
    pub(super) async fn count(&mut self, side: Side, stack: &Stack) -> Result<usize, Fault> {
        match side {
            Side::Ours => metric(stack, "larder_purchase_connections").await,
            Side::Bare => Ok(self.acceptor.ask::<_, bare_tls::Serving>(&bare_tls::Order::Open).await?.open),
        }
    }

    /// Waits until a side has `count` connections open.
    ///
    /// # Errors
    /// [`Fault`] when that takes too long.
    pub(super) async fn until_open(&mut self, side: Side, stack: &Stack, count: usize) -> Result<(), Fault> {
        let until = Instant::now() + WITHIN;
        loop {
            let open = self.count(side, stack).await?;
            if open == count {
                return Ok(());
            }
            late(until, &format!("{open} connections are open instead of {count}"))?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends both processes.
    pub(super) async fn end(self) {
        self.crowd.end().await;
        self.acceptor.end().await;
    }
}

/// Ends purchase-session as a power cut does, and waits until it has come back and is ready.
///
/// # Errors
/// [`Fault`] when that takes too long.
pub(super) async fn restart(stack: &Stack) -> Result<(), Fault> {
    let gone = || Fault::new("purchase-session does not run".to_owned());
    let mut pid = stack.pid(PURCHASE).ok_or_else(gone)?;
    let before = *pid.borrow_and_update();
    let process = before.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).ok_or_else(gone)?;
    kill_process(process, Signal::KILL).map_err(Fault::of("purchase-session cannot be ended"))?;
    let back = pid.wait_for(|now| now.is_some() && *now != before);
    tokio::time::timeout(WITHIN, back).await.map_err(|_| gone())?.map_err(|_| gone())?;
    let until = Instant::now() + WITHIN;
    while let Err(why) = stack.monitor().text("/healthz").await {
        late(until, &why.to_string())?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// A count among purchase-session's metrics.
///
/// # Errors
/// [`Fault`] when there is none of this name.
pub(super) async fn metric(stack: &Stack, name: &str) -> Result<usize, Fault> {
    let text = stack.monitor().text("/metrics").await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).ok_or_else(|| Fault::new(format!("there is no metric {name}")))
}

fn late(until: Instant, what: &str) -> Result<(), Fault> {
    if Instant::now() < until { Ok(()) } else { Err(Fault::new(format!("{what}, after {WITHIN:?}"))) }
}
