//! A fridge is stolen while its door stands open: its connection is closed within the two seconds we promise, it does not
//! come back by itself, and nobody else notices. When it is found and given another certificate, what its journal holds is
//! charged as if nothing had happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::time::Duration;

use ca_identity::ServiceName;
use single_node::agents;
use single_node::issuer::Party;
use single_node::ops::Ops;
use single_node::stack::{AUTHORITY, PURCHASE};
use support::house::{eventually, in_house};
use support::stage::Stage;
use support::visit::{Step, walk};
use tokio::time::Instant;

/// From the word to the closed connection.
const BOUND: Duration = Duration::from_secs(2);

/// A figure of purchase-session's metrics.
async fn figure(stage: &Stage, name: &str) -> f64 {
    let text = stage.house.stack.monitor().text("/metrics").await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Whether the status service speaks with who shows the certificate of this party.
async fn let_in(stage: &Stage, party: &Party) -> bool {
    let (issuer, address) = (stage.house.stack.issuer(), stage.house.stack.address("status").unwrap());
    let (identity, bundle) = issuer.load(party).unwrap();
    let client = Ops::new(ServiceName::Status, address, &identity, &bundle, issuer.trust_domain()).unwrap();
    client.text("/healthz").await.map_or_else(|fault| fault.to_string().contains("answered"), |_| true)
}

#[test]
fn a_stolen_fridge_is_out_within_two_seconds_and_comes_back_with_another_certificate() {
    in_house(async |layout| {
        let mut stage = Stage::set(layout, |folder| std::fs::create_dir_all(folder).unwrap()).await;
        let (mut stolen, [open, _, _], _) = stage.fridge();
        let (other, [meanwhile, later, _], _) = stage.fridge();
        walk(&stolen, &open, &[Step::Show, Step::OpenDoor, Step::Touch(0)]).await;
        let party = Party::Fridge(stolen.name.clone());
        let closed = async || figure(&stage, "larder_purchase_revoked_connections_total").await;
        assert_eq!(closed().await, 0.0);
        assert!(let_in(&stage, &party).await);

        let issuer = std::sync::Arc::clone(stage.house.stack.issuer());
        let (begun, revoked) = (Instant::now(), party.clone());
        tokio::task::spawn_blocking(move || issuer.revoke(&revoked)).await.unwrap().unwrap();
        eventually("its connection is closed", async || (closed().await >= 1.0).then_some(())).await;
        let took = begun.elapsed();
        assert!(took < BOUND, "from the word to the closed connection: {took:?}");

        eventually("no other service lets it in", async || (!let_in(&stage, &party).await).then_some(())).await;
        let refused = figure(&stage, "larder_purchase_handshake_failures_total").await;
        eventually("it knocks in vain", async || {
            (figure(&stage, "larder_purchase_handshake_failures_total").await > refused).then_some(())
        })
        .await;
        assert_eq!(other.play(&meanwhile).await, Ok(("charged".to_owned(), 890)), "nobody else notices");
        stage.played(&meanwhile);
        assert!(stolen.controls.close_door().await, "it is open");

        // Neither a restart of the service nor an authority that is away forgets what was revoked.
        stage.house.signal(AUTHORITY, rustix::process::Signal::STOP);
        stage.house.kill(PURCHASE).await;
        stage.house.works(PURCHASE).await;
        let refused = figure(&stage, "larder_purchase_handshake_failures_total").await;
        eventually("it still knocks in vain", async || {
            (figure(&stage, "larder_purchase_handshake_failures_total").await > refused).then_some(())
        })
        .await;
        assert_eq!(other.play(&later).await, Ok(("charged".to_owned(), 890)), "a dead authority is no outage");
        stage.played(&later);
        stage.house.signal(AUTHORITY, rustix::process::Signal::CONT);

        stage.house.stack.issuer().issue(&party).unwrap();
        stolen.cut_power();
        stolen.config = agents::config(&stage.house.stack, &stolen.name).unwrap();
        stolen.power_up();
        assert_eq!(stolen.receipt(&open).await, ("charged".to_owned(), 890));
        stage.played(&open);
        stolen.shut_down().await;
        other.shut_down().await;
        stage.the_books_agree().await;
    });
}
