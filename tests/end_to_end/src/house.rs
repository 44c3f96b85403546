//! A house for one test: the services as processes, a world loaded into them, and what their books say afterwards.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId};
use fridge_agent::proto::SealedCard;
use pci_contract::{FridgeId, SealingContext, SessionId};
use rustls::ClientConfig;
use serde_json::Value;
use single_node::Fault;
use single_node::issuer::Party;
use single_node::layout::Layout;
use single_node::stack::{PURCHASE, Stack};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::trade::{self, PRICE_MINOR, Place, STRANGER};
use crate::{Journal, Line, PATIENCE, ensure, new_session};

/// How often books are read that are waited for: they are other processes' and tell nobody when they change.
const READ_EVERY: Duration = Duration::from_millis(50);

/// The house.
pub struct House {
    stack: Stack,
    places: Mutex<VecDeque<Place>>,
    address: String,
}

impl House {
    /// Starts everything in `folder` and loads the world.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Fault> {
        let stack = Stack::start(Layout::new(folder)?, &|_| ()).await?;
        let places = trade::places();
        single_node::load::load_once(&stack, &trade::world(&places), &|_| ()).await?;
        let address = stack.address(PURCHASE).unwrap_or_default().to_owned();
        Ok(Self { stack, places: Mutex::new(places.into()), address })
    }

    /// Ends every process.
    pub(crate) async fn end(self) {
        self.stack.end().await;
    }

    /// What runs.
    #[must_use]
    pub const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Where purchase-session listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A fridge that no case has used.
    ///
    /// # Errors
    /// [`Fault`] when there is none left.
    pub fn place(&self) -> Result<Place, Fault> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).pop_front().ok_or_else(trade::sold_out)
    }

    /// The client configuration of a party that has an identity, for purchase-session.
    ///
    /// # Errors
    /// [`Fault`] when it has none.
    pub fn tls(&self, party: &Party) -> Result<Arc<ClientConfig>, Fault> {
        let (identity, bundle) = self.stack.issuer().load(party)?;
        let expected = SpiffeId::service(self.stack.issuer().trust_domain(), ServiceName::PurchaseSession);
        ca_mtls::client_config(&identity, &bundle, &expected, &[b"h2"]).map_err(Fault::of("TLS"))
    }

    /// A connection to purchase-session as `party`.
    ///
    /// # Errors
    /// [`Fault`] when there is none.
    pub async fn line(&self, party: &Party) -> Result<Line, Fault> {
        Ok(Line::connect(&self.address, &self.tls(party)?).await?)
    }

    /// A connection to purchase-session as a fridge.
    ///
    /// # Errors
    /// [`Fault`] when there is none.
    pub async fn fridge(&self, fridge: &str) -> Result<Line, Fault> {
        self.line(&Party::Fridge(fridge.to_owned())).await
    }

    /// Seals what a reader read, for `fridge` and `session`, to the key of the moment.
    ///
    /// # Errors
    /// [`Fault`] when there is no key.
    pub async fn seal(&self, line: &Line, fridge: &str, session: &str, track2: &[u8]) -> Result<SealedCard, Fault> {
        let context = SealingContext {
            fridge: FridgeId::parse(fridge).map_err(Fault::of("a fridge"))?,
            session: SessionId::parse(session).map_err(Fault::of("a session"))?,
        };
        let key = line.sealing_key().await?;
        let sealed = fridge_agent::seal(Zeroizing::new(track2.to_vec()), &context, &key);
        Ok((&sealed.map_err(Fault::of("sealing"))?).into())
    }

    /// Seals a card for `fridge` and `session`.
    ///
    /// # Errors
    /// [`Fault`] when there is no key.
    pub async fn card(
        &self,
        line: &Line,
        fridge: &str,
        session: &str,
        (number, expiry): (&str, &str),
    ) -> Result<SealedCard, Fault> {
        self.seal(line, fridge, session, format!("{number}={expiry}").as_bytes()).await
    }

    /// A new session's journal with its Open, for a stranger's card.
    ///
    /// # Errors
    /// [`Fault`] when the card cannot be sealed.
    pub async fn arrival(&self, line: &Line, fridge: &str) -> Result<Journal, Fault> {
        let mut journal = Journal::new(&new_session());
        let card = self.card(line, fridge, journal.session(), STRANGER).await?;
        journal.open_card(card);
        Ok(journal)
    }

    /// A purchase as it should be, at a fridge of its own: what every test does after the worst is over.
    ///
    /// # Errors
    /// [`Fault`] says what did not work.
    pub async fn buys(&self) -> Result<(), Fault> {
        let place = self.place()?;
        let line = self.fridge(&place.fridge).await?;
        let mut journal = self.arrival(&line, &place.fridge).await?;
        let mut talk = line.purchase().await?;
        talk.say_all(journal.messages()).await;
        talk.unlock().await?;
        let meal = place.meals.first().map(String::as_str).unwrap_or_default();
        for message in [journal.door_opened(), journal.taken(meal), journal.door_closed()] {
            talk.say(&message).await;
        }
        let receipt = talk.receipt().await?;
        ensure(receipt.outcome == "charged", || format!("a good purchase ended {}", receipt.outcome))?;
        self.charged(journal.session(), PRICE_MINOR).await.map(|_| ())
    }
}

/// What the books say.
impl House {
    /// What the status service booked of a session, once its payment is settled.
    ///
    /// # Errors
    /// [`Fault`] when it is not booked in time.
    pub async fn booked(&self, session: &str) -> Result<Value, Fault> {
        let ids = [session.to_owned()];
        until(&format!("session {session} to be booked and settled"), async || {
            let rows: Vec<Value> = self.stack.sessions(&ids).await?;
            let settled = |row: &Value| row.get("settlement").and_then(Value::as_str) != Some("pending");
            Ok(rows.into_iter().find(settled))
        })
        .await
    }

    /// Whether the status service knows the session now. To be asked only after something that was said later is
    /// booked: events keep their order.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn is_booked(&self, session: &str) -> Result<bool, Fault> {
        Ok(!self.stack.sessions::<Value>(&[session.to_owned()]).await?.is_empty())
    }

    /// The processor's payments of a session: state and what was taken.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn payments(&self, session: &str) -> Result<Vec<(String, i64)>, Fault> {
        let intents = self.stack.control().intents_of(session).await?;
        let text = |intent: &Value| intent.get("status").and_then(Value::as_str).unwrap_or("?").to_owned();
        let taken = |intent: &Value| intent.get("amount_received").and_then(Value::as_i64).unwrap_or(i64::MIN);
        Ok(intents.iter().map(|intent| (text(intent), taken(intent))).collect())
    }

    /// Checks that a session is booked as `charged` this much, and that the processor took exactly that, once.
    ///
    /// # Errors
    /// [`Fault`] says what the books say instead.
    pub async fn charged(&self, session: &str, minor: i64) -> Result<Value, Fault> {
        self.ended(session, "charged", &[("succeeded", minor)]).await
    }

    /// Checks that a session is booked with this outcome and that the processor has exactly these payments of it.
    ///
    /// # Errors
    /// [`Fault`] says what the books say instead.
    pub async fn ended(&self, session: &str, outcome: &str, payments: &[(&str, i64)]) -> Result<Value, Fault> {
        let booked = self.booked(session).await?;
        let told = booked.get("outcome").and_then(Value::as_str).unwrap_or("?");
        ensure(told == outcome, || format!("session {session} is booked as {booked}, not as {outcome}"))?;
        let charged: i64 = payments.iter().map(|(_, taken)| taken).sum();
        let told = booked.get("charged_minor").and_then(Value::as_i64).unwrap_or(0);
        ensure(told == charged, || format!("session {session} is booked with {told}, not with {charged}"))?;
        let real = self.payments(session).await?;
        let as_wanted = real.iter().map(|(state, taken)| (state.as_str(), *taken)).eq(payments.iter().copied());
        ensure(as_wanted, || format!("the processor has {real:?} of session {session}, not {payments:?}"))?;
        Ok(booked)
    }

    /// Checks that a session is booked as refused for this reason, and that the processor never heard of it.
    ///
    /// # Errors
    /// [`Fault`] says what the books say instead.
    pub async fn refused(&self, session: &str, reason: &str) -> Result<(), Fault> {
        let booked = self.ended(session, "refused", &[]).await?;
        let told = booked.get("reason").and_then(Value::as_str).unwrap_or("?");
        ensure(told == reason, || format!("session {session} is booked as refused for {told}, not for {reason}"))
    }

    /// Checks that the processor holds nothing open.
    ///
    /// # Errors
    /// [`Fault`] when something stays.
    pub async fn nothing_is_held(&self) -> Result<(), Fault> {
        until("every hold to be taken or released", async || {
            let open = self.stack.ledger().await?.pointer("/open/count").and_then(Value::as_u64);
            Ok((open == Some(0)).then_some(()))
        })
        .await
    }

    /// What the inventory service put on its review list for a fridge, once that is `count` things or more: kind and code.
    ///
    /// # Errors
    /// [`Fault`] when it never is.
    pub async fn reviews(&self, fridge: &str, count: usize) -> Result<Vec<(String, String)>, Fault> {
        let path = format!("/reviews?fridge={fridge}&page_size=1000");
        let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        until(&format!("{count} reviews of fridge {fridge}"), async || {
            let page: Value = self.stack.ops("inventory")?.get(&path).await?;
            let rows = page.get("reviews").and_then(Value::as_array).cloned().unwrap_or_default();
            let rows: Vec<_> = rows.iter().map(|row| (text(row, "kind"), text(row, "code"))).collect();
            Ok((rows.len() >= count).then_some(rows))
        })
        .await
    }

    /// The reports of tampering that the status service booked for a fridge, once that is `count` or more: the kinds.
    ///
    /// # Errors
    /// [`Fault`] when it never is.
    pub async fn tampers(&self, fridge: &str, count: usize) -> Result<Vec<String>, Fault> {
        let path = format!("/tampers?fridge={fridge}");
        until(&format!("{count} reports of fridge {fridge}"), async || {
            let page: Value = self.stack.ops("status")?.get(&path).await?;
            let rows = page.get("tampers").and_then(Value::as_array).cloned().unwrap_or_default();
            let kind = |row: &Value| row.get("kind").and_then(Value::as_str).unwrap_or("?").to_owned();
            let rows: Vec<_> = rows.iter().map(kind).collect();
            Ok((rows.len() >= count).then_some(rows))
        })
        .await
    }

    /// Locks or releases a fridge as an operator does, and waits until the PCI zone knows. No two cases of a test may do
    /// this at once.
    ///
    /// # Errors
    /// [`Fault`] when it never knows.
    pub async fn lock(&self, fridge: &str, locked: bool) -> Result<(), Fault> {
        const PULLED: &str = "larder_purchase_feed_rows_total{feed=\"locks\"}";
        let before = self.metric(PULLED).await?;
        let body = serde_json::json!({ "locked": locked, "reason": "a test" });
        self.stack.ops("status")?.put(&format!("/fridges/{fridge}/lock"), &body).await?;
        until("the lock to be pulled", async || Ok((self.metric(PULLED).await? > before).then_some(()))).await
    }

    /// Makes the processor answer so much later, for everybody.
    ///
    /// # Errors
    /// [`Fault`] when it does not hear.
    pub async fn processor_takes(&self, delay_ms: u64) -> Result<(), Fault> {
        let switches = serde_json::json!({ "delay_ms": delay_ms }).to_string();
        self.stack.control().post("/control/switches", switches.into_bytes()).await.map(|_| ())
    }

    /// A counter or gauge of purchase-session, by its whole name with labels; 0 when it was never touched.
    ///
    /// # Errors
    /// [`Fault`] when it does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64, Fault> {
        let text = self.stack.monitor().text("/metrics").await?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        Ok(text.lines().find_map(value).unwrap_or(0.0))
    }

    /// Checks that purchase-session logged no error: what callers do wrong is not its fault.
    ///
    /// # Errors
    /// [`Fault`] with the lines.
    pub fn blames_itself_for_nothing(&self) -> Result<(), Fault> {
        let log = self.stack.layout().log(PURCHASE);
        let text = std::fs::read_to_string(&log).map_err(Fault::io("read", &log))?;
        let errors: Vec<&str> =
            text.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
        ensure(errors.is_empty(), || format!("purchase-session logged errors:\n{}", errors.join("\n")))
    }
}

/// Reads until there is what is waited for.
pub(crate) async fn until<T>(what: &str, mut read: impl AsyncFnMut() -> Result<Option<T>, Fault>) -> Result<T, Fault> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = read().await? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Fault::new(format!("waited {} s in vain for {what}", PATIENCE.as_secs())));
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}
