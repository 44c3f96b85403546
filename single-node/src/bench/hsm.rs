//! An HSM at work, in a part of its own: cards opened through the vault, and the same PKCS#11 calls in a bare loop.
//!
//! A process can have a module initialised once, so the two take turns on one token with the same keys: the vault is
//! started, worked and dropped, which finalizes the module; then the bare threads have it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pci_contract::{FridgeId, SealedCard, SealingContext, SealingKey};
use pci_vault::{KeyPlan, Vault, VaultConfig};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::bare_hsm::{Bare, Bench};
use super::session;
use super::statistics::number;
use crate::Fault;
use crate::hsm::Token;
use crate::layout::{self, Layout};

/// Cards in flight at the vault.
pub(super) const IN_FLIGHT: usize = 64;
/// Cards that are sealed before anything is measured, and opened again and again.
const CARDS: usize = 4 * IN_FLIGHT;

/// What the part can be told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Order {
    /// Make the token, its keys and the sealed cards. First.
    Prepare,
    /// Open cards through the vault for so long; answers with cards a second.
    Vault { millis: u64 },
    /// Make the same calls in a bare loop of so many threads; answers with rounds of calls a second.
    Bare { millis: u64, threads: usize },
}

/// A token with its keys, and cards sealed to them.
pub(super) struct Prepared {
    token: Token,
    plan: KeyPlan,
    lock_file: PathBuf,
    cards: Arc<[(SealedCard, SealingContext)]>,
}

/// Does what a line of the part's input says.
///
/// # Errors
/// [`Fault`] when the order or the HSM is no good.
pub(super) async fn obey(prepared: &mut Option<Prepared>, layout: &Layout, order: &str) -> Result<f64, Fault> {
    let order: Order = serde_json::from_str(order).map_err(Fault::of("a command"))?;
    if matches!(order, Order::Prepare) {
        *prepared = Some(Prepared::new(layout)?);
        return Ok(0.0);
    }
    let prepared = prepared.as_ref().ok_or_else(|| Fault::new("the part was not prepared".to_owned()))?;
    match order {
        Order::Prepare => Ok(0.0),
        Order::Vault { millis } => prepared.through_the_vault(Duration::from_millis(millis)).await,
        Order::Bare { millis, threads } => prepared.bare(Duration::from_millis(millis), threads),
    }
}

impl Prepared {
    fn new(layout: &Layout) -> Result<Self, Fault> {
        // The one token that a process started on this folder can see goes by this name.
        let token = Token::prepare(layout, "ca")?;
        let keys = layout::repository()?.join("policies/keys.toml");
        let text = std::fs::read_to_string(&keys).map_err(Fault::io("read", &keys))?;
        let plan = KeyPlan::parse(&text).map_err(Fault::of("policies/keys.toml"))?;
        let lock_file = layout.state("keys.lock");
        let mut prepared = Self { token, plan, lock_file, cards: Arc::new([]) };
        let key = prepared.vault()?.sealing_key();
        prepared.cards = (0..CARDS).map(|n| seal(n, &key)).collect::<Result<Vec<_>, Fault>>()?.into();
        Ok(prepared)
    }

    fn pin(&self) -> Result<Zeroizing<String>, Fault> {
        let text = std::fs::read_to_string(&self.token.pin_file).map_err(Fault::io("read", &self.token.pin_file))?;
        Ok(Zeroizing::new(text))
    }

    fn vault(&self) -> Result<Vault, Fault> {
        let (module, label) = (self.token.module.clone(), self.token.label.clone());
        let config = VaultConfig::new(module, label, self.pin()?, self.plan.clone(), self.lock_file.clone());
        Vault::start(config).map_err(Fault::of("the vault"))
    }

    async fn through_the_vault(&self, duration: Duration) -> Result<f64, Fault> {
        let vault = Arc::new(self.vault()?);
        let now_unix_s = authority::now_unix_s();
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..IN_FLIGHT {
            let (vault, cards) = (Arc::clone(&vault), Arc::clone(&self.cards));
            callers.spawn(async move {
                let mut opened = 0_usize;
                for (card, context) in cards.iter().cycle().skip(caller) {
                    if began.elapsed() >= duration {
                        break;
                    }
                    vault.open(card.clone(), context.clone(), now_unix_s).await.map_err(Fault::of("a sealed card"))?;
                    opened += 1;
                }
                Ok::<usize, Fault>(opened)
            });
        }
        let mut opened = 0;
        while let Some(caller) = callers.join_next().await {
            opened += caller.map_err(Fault::of("a caller of the vault"))??;
        }
        Ok(number(opened) / began.elapsed().as_secs_f64())
    }

    fn bare(&self, duration: Duration, threads: usize) -> Result<f64, Fault> {
        let module = Bare::open(&self.token, &self.pin()?, &self.plan)?;
        let rate = self.bare_threads(&module, duration, threads.max(1));
        module.finalize();
        rate
    }

    fn bare_threads(&self, module: &Bare, duration: Duration, threads: usize) -> Result<f64, Fault> {
        let benches = (0..threads).map(|_| module.bench()).collect::<Result<Vec<_>, Fault>>()?;
        let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let began = Instant::now();
        let work = |bench: Bench| -> Result<(), Fault> {
            let mut points = self.cards.iter().cycle().map(|(card, _)| card.encapsulated_key());
            while let Some(point) = points.next().filter(|_| !stop.load(Ordering::Relaxed)) {
                bench.round(point)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let work = &work;
        let worked = std::thread::scope(|scope| {
            let working: Vec<_> = benches.into_iter().map(|bench| scope.spawn(move || work(bench))).collect();
            std::thread::sleep(duration);
            stop.store(true, Ordering::Relaxed);
            working.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| Fault::new("a thread of the bare loop panicked".to_owned()))?
            })
        });
        worked?;
        let done = usize::try_from(done.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        Ok(number(done) / began.elapsed().as_secs_f64())
    }
}

fn seal(n: usize, key: &SealingKey) -> Result<(SealedCard, SealingContext), Fault> {
    let context = SealingContext {
        fridge: FridgeId::parse(&super::world::fridge(n)).map_err(Fault::of("a fridge's name"))?,
        session: fridge_agent::clock::new_session_id(),
    };
    let card = fridge_agent::seal(session::track2(n), &context, key).map_err(Fault::of("a card"))?;
    Ok((card, context))
}
