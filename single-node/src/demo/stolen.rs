//! The last story: a fridge is stolen while its door stands open, and comes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attested;
use super::screen::{Screen, Voice};
use super::stories::{STRANGER, Shown, Stage, stranger};
use crate::issuer::Party;
use crate::stack::Stack;
use crate::{Fault, enrolment};

/// From the word of a person to the closed connection, at most; more than the two seconds that are promised is a failure.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether it is closed.
const LOOK: Duration = Duration::from_millis(5);

/// Tells it at this fridge.
pub(super) async fn tell(mut stage: Stage<'_>, stack: &Stack, screen: &Screen) -> Result<(), Fault> {
    screen.title("A fridge is stolen while its door stands open");
    let session = stage.arrive(Shown::Card(stranger(STRANGER)), "a card is swiped at another fridge").await?;
    let meal = stage.free_for_all("Lentil curry")?;
    stage.take(&[&meal]).await;
    let party = Party::Fridge(stage.fridge().to_owned());
    let before = closed(stack).await?;
    let (issuer, whose, word) = (Arc::clone(stack.issuer()), party.clone(), Instant::now());
    tokio::task::spawn_blocking(move || issuer.revoke(&whose)).await.map_err(Fault::of("a revocation"))??;
    while closed(stack).await? == before {
        if word.elapsed() > CLOSED_WITHIN {
            return Err(Fault::new("a revoked fridge was still connected after two seconds".to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let took = word.elapsed().as_millis();
    screen.say(Voice::Outside, &format!("security: larder-ca revoke --party fridge/{} --yes", stage.fridge())).await;
    screen.say(Voice::Pci, &format!("a new revocation list; the fridge's connection is closed after {took} ms")).await;
    screen.say(Voice::Fridge, "it knocks again and is refused; what happens at its door stays in its journal").await;
    stage.stop().await;
    screen.say(Voice::Outside, "it is found: security gives it another account key (larder-acme eab new)").await;
    let fridge = stage.fridge();
    stack.enrolment()?.forget_account(fridge)?;
    let again = attested::certified(stack, screen, fridge, enrolment::released()).await?;
    stage.restart(again)?;
    screen
        .say(Voice::Fridge, "it is attested again, with its own TPM, and goes on where its journal says it was")
        .await;
    let told = stage.leave(session).await;
    stage.close().await;
    told
}

/// How many connections purchase-session has closed because of a revocation.
async fn closed(stack: &Stack) -> Result<u64, Fault> {
    let text = stack.monitor().text("/metrics").await?;
    let figure = text.lines().find_map(|line| line.strip_prefix("larder_purchase_revoked_connections_total "));
    figure
        .and_then(|figure| figure.parse().ok())
        .ok_or_else(|| Fault::new("purchase-session does not count".to_owned()))
}
