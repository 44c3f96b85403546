//! The services get their certificates over ACME, each for its own names and addresses, and the next ones when somebody asks;
//! neither an authority that is away nor the end of the program that asks it is an outage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::support;

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use single_node::issuer::Party;
use single_node::services::{ACME, ATTESTATION, MONITORING, OPS, PURCHASE, RENEW};
use support::house::{House, eventually, in_house};

/// Whose certificates there are from the beginning.
fn services() -> impl Iterator<Item = &'static str> {
    OPS.iter().map(|(name, _)| *name).chain([PURCHASE, MONITORING])
}

fn serials(house: &House) -> Vec<String> {
    let serial = |name| house.stack.issuer().load(&Party::Service(name)).unwrap().0.own().serial.clone();
    services().map(serial).collect()
}

/// How often larder-renew said this.
fn said(house: &House, words: &str) -> usize {
    std::fs::read_to_string(house.stack.layout().log(RENEW)).unwrap_or_default().matches(words).count()
}

/// Whether OpenSSL takes a service's certificate for what the service is reached by.
fn is_good_for(house: &House, name: &'static str, what: [&str; 2]) -> bool {
    let (certificate, _, bundle) = house.stack.issuer().files(&Party::Service(name));
    let files: [&Path; 3] = [&bundle, &certificate, &certificate];
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-purpose", "sslserver"]).args(what).arg("-CAfile").arg(files[0]);
    openssl.arg("-untrusted").arg(files[1]).arg(files[2]).output().unwrap().status.success()
}

#[test]
fn certificates_of_services_are_got_over_acme_kept_and_replaced_when_somebody_asks() {
    in_house(async |layout| {
        let mut house = House::empty(layout).await;
        let count = services().count();
        assert_eq!(said(&house, "certificate replaced"), count, "each is asked for once");
        for name in services() {
            for what in [["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"]] {
                assert!(is_good_for(&house, name, what), "{name}: {what:?}");
            }
            assert!(is_good_for(&house, name, ["-verify_hostname", &format!("{name}.larder.internal")]), "{name}");
            assert!(!is_good_for(&house, name, ["-verify_ip", "127.0.0.2"]), "{name}");
        }
        assert!(!is_good_for(&house, "admin", ["-verify_hostname", "status.larder.internal"]), "its own names alone");

        // While the authority is away nothing comes, and nothing ends; afterwards what was asked for comes.
        let before = serials(&house);
        house.signal(ACME, Signal::STOP);
        {
            let mut renewing = std::pin::pin!(house.stack.renew_all());
            let heard =
                eventually("it heard the word", async || (said(&house, "was asked for") == count).then_some(()));
            tokio::select! {
                renewed = &mut renewing => panic!("from whom? {renewed:?}"),
                () = heard => {}
            }
            assert_eq!(serials(&house), before);
            for name in services().filter(|name| *name != MONITORING) {
                house.works(name).await;
            }
            house.signal(ACME, Signal::CONT);
            renewing.await.unwrap();
        }
        let renewed = serials(&house);
        assert!(renewed.iter().zip(&before).all(|(now, before)| now != before), "{renewed:?} after {before:?}");

        // Another process of it keeps what it finds.
        house.kill(RENEW).await;
        eventually("it begins again", async || (said(&house, "ready") == 2).then_some(())).await;
        house.stack.renew_all().await.unwrap();
        assert_eq!(said(&house, "certificate replaced"), 3 * count, "and asks for nothing by itself");
        assert!(serials(&house).iter().zip(&renewed).all(|(now, before)| now != before));

        // A service that comes later is one more, and the others notice nothing.
        let held = serials(&house);
        house.stack.start_enrolment(&|_| ()).await.unwrap();
        assert!(is_good_for(&house, ATTESTATION, ["-verify_ip", "127.0.0.1"]));
        assert_eq!(serials(&house), held);
        for name in services().filter(|name| *name != MONITORING) {
            house.works(name).await;
        }
        house.end().await;
    });
}
