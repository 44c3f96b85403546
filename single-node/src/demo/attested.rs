//! How fridges get their certificates: one whose firmware is the released one, and one whose firmware somebody changed.

use fridge_agent::AgentConfig;
use fridge_identity::{Certified, Event};
use tokio::time::Instant;
use tpm_sandbox::Boot;

use super::screen::{Screen, Voice};
use crate::agents::{self, Going};
use crate::stack::Stack;
use crate::{Fault, enrolment};

/// A fridge is switched on for the first time.
pub(super) async fn tell(stack: &Stack, screen: &Screen, fridge: &str) -> Result<(AgentConfig, Certified), Fault> {
    screen.title("A fridge is switched on for the first time");
    screen.say(Voice::Fridge, &format!("{fridge} has a TPM; its firmware measures what it starts into it")).await;
    certified(stack, screen, fridge, enrolment::released()).await
}

/// A fridge whose firmware was changed is switched on, and again with the released one.
pub(super) async fn changed(stack: &Stack, screen: &Screen, fridge: &str) -> Result<(AgentConfig, Certified), Fault> {
    screen.title("A fridge is switched on with firmware that nobody released");
    let mut reasons = Vec::new();
    let first = agents::certified(stack, fridge, enrolment::changed(), |event| match event {
        Event::Quarantined(found) => {
            reasons.clone_from(found);
            Going::Stop
        }
        Event::Failed(why) => {
            reasons = vec![why.clone()];
            Going::Stop
        }
        Event::Certified(_) => Going::On,
    });
    if first.await?.is_some() {
        return Err(Fault::new("a fridge with changed firmware may sell; this must never happen".to_owned()));
    }
    screen.say(Voice::Fridge, &format!("{fridge} is started; its TPM is genuine")).await;
    screen.say(Voice::Outside, "the attestation service: quarantine. It may be mended, and may not sell:").await;
    for reason in &reasons {
        screen.say(Voice::Outside, &format!("  {reason}")).await;
    }
    screen.say(Voice::Fridge, "its door stays shut; a technician puts the released firmware back").await;
    certified(stack, screen, fridge, enrolment::released()).await
}

/// A fridge is given power with this firmware, and gets a certificate.
pub(super) async fn certified(
    stack: &Stack,
    screen: &Screen,
    fridge: &str,
    firmware: Boot,
) -> Result<(AgentConfig, Certified), Fault> {
    let (begun, mut serial) = (Instant::now(), String::new());
    let mut failed = None;
    let first = agents::certified(stack, fridge, firmware, |event| match event {
        Event::Certified(identity) => {
            serial.clone_from(&identity.own().serial);
            Going::On
        }
        Event::Quarantined(reasons) => {
            failed = Some(reasons.join("; "));
            Going::Stop
        }
        Event::Failed(why) => {
            failed = Some(why.clone());
            Going::Stop
        }
    });
    let Some(got) = first.await? else {
        return Err(Fault::new(format!("{fridge} got no certificate: {}", failed.unwrap_or_default())));
    };
    let took = begun.elapsed().as_millis();
    screen.say(Voice::Outside, "the attestation service: made by a maker we know, firmware as released").await;
    screen
        .say(Voice::Outside, &format!("the authority: certificate {serial}, for a key that never leaves the TPM"))
        .await;
    screen.say(Voice::Fridge, &format!("it may sell, {took} ms after it was given power")).await;
    Ok(got)
}
