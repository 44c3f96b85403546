//! What `alarm` and `sessions` stand on: the whole machine with its world, fridges with identities, one session played
//! by hand to learn what is said and written in one, and the bare servers that answer by rote what was said in it.

use std::time::Duration;

use fridge_agent::proto::{self, ServiceMessage, fridge_message, touch};
use prost::Message;
use tokio::time::Instant;

use super::fridges::{self, Client, Fridge};
use super::part::{Kind, Part};
use super::rows::{Ledger, Template};
use super::session::{Line, Purchase, touched};
use super::{Progress, bare, world};
use crate::Fault;
use crate::issuer::Party;
use crate::layout::Layout;
use crate::stack::{PURCHASE, Stack};

/// How long a machine may take to finish what it has been given.
const QUIET_WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The machine, its fridges and the bare servers.
pub(super) struct Ground {
    pub(super) stack: Stack,
    pub(super) fridges: Vec<Fridge>,
    /// Each fridge's connection to the service.
    pub(super) ours: Vec<Client>,
    /// Each fridge's connection to the bare server.
    pub(super) bare: Vec<Client>,
    pub(super) listening: bare::Listening,
    pub(super) ledger: Ledger,
    pub(super) template: Template,
    server: Part,
}

impl Ground {
    /// Starts everything; each fridge has `meals` meals for anyone, the first two of the first fridge are sold.
    ///
    /// # Errors
    /// [`Fault`] names the part that did not start.
    pub(super) async fn lay(layout: Layout, meals: usize, progress: &Progress) -> Result<Self, Fault> {
        let told = |what: &str| progress.say(what);
        let stack = Stack::start(layout, &told).await?;
        let laid = Self::lay_on(&stack, meals, progress).await;
        match laid {
            Ok((fridges, ours, bare, listening, ledger, template, server)) => {
                Ok(Self { stack, fridges, ours, bare, listening, ledger, template, server })
            }
            Err(fault) => {
                stack.end().await;
                Err(fault)
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "the fields of the ground, once")]
    async fn lay_on(
        stack: &Stack,
        meals: usize,
        progress: &Progress,
    ) -> Result<(Vec<Fridge>, Vec<Client>, Vec<Client>, bare::Listening, Ledger, Template, Part), Fault> {
        let told = |what: &str| progress.say(what);
        crate::load::load_once(stack, &world::world(meals), &told).await?;
        progress.say("a connection for each fridge");
        let fridges = fridges::issue(stack, world::FRIDGES)?;
        let address = stack.address(PURCHASE).ok_or_else(|| Fault::new("the service has no address".to_owned()))?;
        let ours = fridges::connect(&fridges, address).await?;
        let mut ledger = Ledger::open(&stack.layout().state("purchase-session.sqlite")).await?;
        let (unlock, receipt, template) = probe(&fridges, &ours, &mut ledger).await?;
        let (server, listening) = serve_bare(stack, &unlock, &receipt).await?;
        let bare = fridges::connect(&fridges, &listening.grpc).await?;
        Ok((fridges, ours, bare, listening, ledger, template, server))
    }

    /// Waits until the processor has answered everything; nothing is owed to a customer any more.
    ///
    /// # Errors
    /// [`Fault`] when that takes too long.
    pub(super) async fn settled(&mut self) -> Result<(), Fault> {
        settled(&mut self.ledger).await
    }

    /// Waits until every subscriber has booked every event, so that nothing works in the background any more.
    ///
    /// # Errors
    /// [`Fault`] when that takes too long.
    pub(super) async fn quiet(&mut self) -> Result<(), Fault> {
        let until = Instant::now() + QUIET_WITHIN;
        while self.ledger.unbooked().await? > 0 {
            late(until, "events were not booked")?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Ends everything.
    pub(super) async fn end(self) {
        drop((self.ours, self.bare));
        self.server.end().await;
        self.stack.end().await;
    }
}

fn late(until: Instant, what: &str) -> Result<(), Fault> {
    if Instant::now() < until { Ok(()) } else { Err(Fault::new(format!("{what} within {QUIET_WITHIN:?}"))) }
}

async fn settled(ledger: &mut Ledger) -> Result<(), Fault> {
    let until = Instant::now() + QUIET_WITHIN;
    while ledger.unanswered().await? > 0 {
        late(until, "payments were not settled")?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Plays one session, looking into the database after each acknowledgement.
async fn probe(
    fridges: &[Fridge],
    clients: &[Client],
    ledger: &mut Ledger,
) -> Result<(ServiceMessage, ServiceMessage, Template), Fault> {
    let (Some(fridge), Some(client)) = (fridges.first(), clients.first()) else {
        return Err(Fault::new("there is no fridge".to_owned()));
    };
    let key = fridges::sealing_key(client).await?;
    let purchase = Purchase::seal(fridge, 0, &key)?;
    let session = purchase.session;
    let (mut line, unlock) = Line::open(client, session, purchase.shown).await?;
    let unlocked = ledger.state(session).await?;
    line.tell(fridge_message::Body::DoorOpened(proto::DoorOpened {})).await?;
    let opened = ledger.state(session).await?;
    let [first, second] = purchase.meals;
    line.tell(touched(touch::Kind::Taken, &first)).await?;
    let one = ledger.state(session).await?;
    line.tell(touched(touch::Kind::Taken, &second)).await?;
    let two = ledger.state(session).await?;
    let receipt = line.close().await?;
    let closed = ledger.state(session).await?;
    settled(ledger).await?;
    let last = ledger.state(session).await?;
    // The state before the processor's answer passes too quickly to be read; it is as long as the one after.
    let states = [unlocked.clone(), unlocked, opened, one, two, closed, last];
    let template = ledger.template(session, states).await?;
    Ok((unlock, receipt, template))
}

async fn serve_bare(
    stack: &Stack,
    unlock: &ServiceMessage,
    receipt: &ServiceMessage,
) -> Result<(Part, bare::Listening), Fault> {
    let (certificate, key, bundle) = stack.issuer().files(&Party::Service(PURCHASE));
    let trust_domain = stack.issuer().trust_domain().as_str().to_owned();
    let (unlock, receipt) = (unlock.encode_to_vec(), receipt.encode_to_vec());
    let setup = bare::Setup { certificate, key, bundle, trust_domain, unlock, receipt };
    let mut server = Part::start(Kind::Server, &stack.layout().root().join("bench-server"))?;
    let listening = server.ask(&setup).await?;
    Ok((server, listening))
}
