//! An HSM at work, in a part of its own: cards opened through the vault, and the same PKCS#11 calls in a bare loop.
//!
//! A process can have a module initialised once, so the vault and the bare threads cannot share one. Whoever is asked for
//! opens it, finalized by the other first, and keeps it open as long as nobody asks for the other: two parts that are each
//! asked for one of them can take turns every few hundred milliseconds, and a machine that is now fast and now slow is
//! the same to both.

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
/// Cards that a caller of the vault has at hand when he begins: enough for a turn.
const AT_HAND: usize = 256;
/// How long everybody has been at work before it is measured.
const UNDER_WAY: Duration = Duration::from_millis(200);
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
    open: Open,
}

/// Who has the module open.
enum Open {
    Nobody,
    Vault(Arc<Vault>),
    Bare(Bare),
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
    let prepared = prepared.as_mut().ok_or_else(|| Fault::new("the part was not prepared".to_owned()))?;
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
        let mut prepared = Self { token, plan, lock_file, cards: Arc::new([]), open: Open::Nobody };
        let key = prepared.vault()?.sealing_key();
        prepared.cards = (0..CARDS).map(|n| seal(n, &key)).collect::<Result<Vec<_>, Fault>>()?.into();
        Ok(prepared)
    }

    fn pin(&self) -> Result<Zeroizing<String>, Fault> {
        let text = std::fs::read_to_string(&self.token.pin_file).map_err(Fault::io("read", &self.token.pin_file))?;
        Ok(Zeroizing::new(text))
    }

    fn vault(&mut self) -> Result<Arc<Vault>, Fault> {
        if let Open::Vault(vault) = &self.open {
            return Ok(Arc::clone(vault));
        }
        self.close();
        let (module, label) = (self.token.module.clone(), self.token.label.clone());
        let config = VaultConfig::new(module, label, self.pin()?, self.plan.clone(), self.lock_file.clone());
        let vault = Arc::new(Vault::start(config).map_err(Fault::of("the vault"))?);
        self.open = Open::Vault(Arc::clone(&vault));
        Ok(vault)
    }

    fn close(&mut self) {
        // A vault finalizes the module when it is dropped.
        if let Open::Bare(bare) = std::mem::replace(&mut self.open, Open::Nobody) {
            bare.finalize();
        }
    }

    async fn through_the_vault(&mut self, duration: Duration) -> Result<f64, Fault> {
        let vault = self.vault()?;
        let now_unix_s = authority::now_unix_s();
        let count = Arc::new(Count::default());
        let mut callers = JoinSet::new();
        for caller in 0..IN_FLIGHT {
            let (vault, cards, count) = (Arc::clone(&vault), Arc::clone(&self.cards), Arc::clone(&count));
            callers.spawn(async move {
                let mut cards = cards.iter().cycle().skip(caller).cloned();
                let mut at_hand = Vec::with_capacity(AT_HAND);
                while count.goes_on() {
                    if at_hand.is_empty() {
                        at_hand.extend(cards.by_ref().take(AT_HAND));
                    }
                    let Some((card, context)) = at_hand.pop() else { break };
                    vault.open(card, context, now_unix_s).await.map_err(Fault::of("a sealed card"))?;
                    count.one_more();
                }
                Ok::<(), Fault>(())
            });
        }
        tokio::time::sleep(UNDER_WAY).await;
        let first = count.now();
        tokio::time::sleep(duration).await;
        let rate = count.rate_since(first);
        count.stop();
        while let Some(caller) = callers.join_next().await {
            caller.map_err(Fault::of("a caller of the vault"))??;
        }
        Ok(rate)
    }

    fn bare(&mut self, duration: Duration, threads: usize) -> Result<f64, Fault> {
        if !matches!(self.open, Open::Bare(_)) {
            self.close();
            self.open = Open::Bare(Bare::open(&self.token, &self.pin()?, &self.plan)?);
        }
        let Open::Bare(module) = &self.open else { return Err(Fault::new("the bare HSM is not open".to_owned())) };
        self.bare_threads(module, duration, threads.max(1))
    }

    fn bare_threads(&self, module: &Bare, duration: Duration, threads: usize) -> Result<f64, Fault> {
        let cards = &self.cards;
        let benches = (0..threads).map(|_| module.bench()).collect::<Result<Vec<_>, Fault>>()?;
        let count = Count::default();
        let work = |bench: Bench| -> Result<(), Fault> {
            let mut points = cards.iter().cycle().map(|(card, _)| card.encapsulated_key());
            while let Some(point) = points.next().filter(|_| count.goes_on()) {
                bench.round(point)?;
                count.one_more();
            }
            Ok(())
        };
        let work = &work;
        std::thread::scope(|scope| {
            let working: Vec<_> = benches.into_iter().map(|bench| scope.spawn(move || work(bench))).collect();
            std::thread::sleep(UNDER_WAY);
            let first = count.now();
            std::thread::sleep(duration);
            let rate = count.rate_since(first);
            count.stop();
            let mut ended = working.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.try_for_each(|thread| {
                thread.map_err(|_| Fault::new("a thread of the bare loop panicked".to_owned()))?
            })?;
            Ok(rate)
        })
    }
}

/// What was done so far, by whoever does it. Counted while all are at work, so that neither their start nor their end,
/// when not all have work, is part of a rate.
#[derive(Default)]
struct Count {
    done: AtomicU64,
    stopped: AtomicBool,
}

impl Count {
    fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> (Instant, u64) {
        (Instant::now(), self.done.load(Ordering::Relaxed))
    }

    /// How many a second were done since.
    fn rate_since(&self, (began, before): (Instant, u64)) -> f64 {
        let (now, done) = self.now();
        number(usize::try_from(done - before).unwrap_or(usize::MAX)) / (now - began).as_secs_f64()
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
