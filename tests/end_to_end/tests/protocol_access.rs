//! Who gets a word in at the PCI zone's door, and who does not: by certificate, by role, by version of TLS. Each stranger
//! is told why in the words of TLS or gRPC, leaves nothing behind in anyone's books, and the next customer buys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../mtls-ca/authority/tests/judges/mod.rs"]
mod judges;

use std::sync::Arc;
use std::time::Duration;

use ca_identity::{ServiceName, SpiffeId};
use fridge_agent::proto::{EnrollCardRequest, FridgeMessage, TamperReport};
use http::StatusCode;
use larder_end_to_end::strangers::{ForeignAuthority, plainly, tls12_hello, told_at_the_door, without_a_certificate};
use larder_end_to_end::{BUYER, Cases, End, House, Journal, Line, code, ensure, in_a_house, new_session};
use rustls::ClientConfig;
use single_node::Fault;
use single_node::issuer::Party;
use single_node::stack::{MONITOR, OPERATOR, PURCHASE};
use tokio::time::Instant;

const NOT_YOURS: &str = "your certificate's role may not call this method";
/// The life of the shortest certificate the authority gives.
const SHORTEST_S: u32 = 300;

/// The service says `alert` to this client at the door, and no call of it comes through.
async fn shut_out(house: &House, tls: Arc<ClientConfig>, alert: &str) -> Result<(), Fault> {
    let told = told_at_the_door(house.address(), &tls).await?;
    ensure(told.contains(alert), || format!("it is told {told:?}, not {alert}"))?;
    let called = match Line::connect(house.address(), &tls).await {
        Ok(line) => line.sealing_key().await.map(|_| ()),
        Err(end) => Err(end),
    };
    ensure(matches!(called, Err(End::Lost(_))), || format!("a call came to {called:?}"))
}

fn client(
    house: &House,
    (identity, bundle): (ca_mtls::Identity, ca_mtls::TrustBundle),
) -> Result<Arc<ClientConfig>, Fault> {
    let expected = SpiffeId::service(house.stack().issuer().trust_domain(), ServiceName::PurchaseSession);
    ca_mtls::client_config(&identity, &bundle, &expected, &[b"h2"]).map_err(Fault::of("TLS"))
}

fn foreign(house: &House, id: &str) -> Result<Arc<ClientConfig>, Fault> {
    let (_, bundle) = house.stack().issuer().load(&OPERATOR)?;
    ForeignAuthority::new()?.fridge(id, &bundle, house.stack().issuer().trust_domain())
}

async fn older_tls(house: Arc<House>) -> Result<(), Fault> {
    let answer = plainly(house.address(), &tls12_hello()).await?;
    // A fatal alert (RFC 8446 section 6): protocol_version.
    let alert = answer.first() == Some(&0x15) && answer.ends_with(&[2, 70]);
    ensure(alert, || format!("TLS 1.2 is answered with {answer:02x?}"))
}

/// What others find who try every version, here and at the services that listen beside it.
async fn scanned(house: Arc<House>) -> Result<(), Fault> {
    let Some(sslscan) = judges::named(judges::SSLSCAN) else {
        return Ok(());
    };
    for service in [PURCHASE, "admin", "status", "inventory", "customers", "authority"] {
        let address = house.stack().address(service).unwrap_or_default().to_owned();
        let sslscan = sslscan.clone();
        let scan = tokio::task::spawn_blocking(move || judges::spoken(&sslscan, &address));
        let spoken = scan.await.map_err(Fault::of("a scan"))?;
        ensure(spoken == ["tls 1.3"], || format!("{service} speaks {spoken:?}"))?;
    }
    Ok(())
}

async fn no_tls(house: Arc<House>) -> Result<(), Fault> {
    for words in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00\x00\x00"]
    {
        let answer = plainly(house.address(), words).await?;
        let refused = answer.is_empty() || answer.first() == Some(&0x15);
        ensure(refused, || format!("plain text is answered with {answer:02x?}"))?;
    }
    Ok(())
}

/// Neither calls nor a purchase, and nothing of it is booked.
async fn may_not(house: Arc<House>, party: Party) -> Result<(), Fault> {
    let line = house.line(&party).await?;
    let denied = |what: &str, end: End| {
        let as_wanted = end.says(code::PERMISSION_DENIED, NOT_YOURS);
        ensure(as_wanted, || format!("{} called {what} and got {end:?}", party.name()))
    };
    let enrolment = EnrollCardRequest { enrollment_id: new_session(), card: None, id_token: BUYER.id_token.to_owned() };
    let report = TamperReport { report_id: new_session(), kind: 1, ..TamperReport::default() };
    denied("SealingKey", line.sealing_key().await.expect_err("denied"))?;
    denied("EnrollCard", line.enroll(&enrolment).await.expect_err("denied"))?;
    denied("ReportTamper", line.report_tamper(&report).await.expect_err("denied"))?;
    let mut journal = Journal::new(&new_session());
    let open = journal.open_id_token(BUYER.id_token);
    let mut talk = line.purchase().await?;
    talk.say(&open).await;
    denied("Purchase", talk.end().await)?;
    house.buys().await?;
    ensure(!house.is_booked(journal.session()).await?, || "its session was booked".to_owned())?;
    ensure(house.payments(journal.session()).await?.is_empty(), || "the processor was asked".to_owned())
}

async fn may_watch(house: Arc<House>, party: Party, watches: bool) -> Result<(), Fault> {
    let line = house.line(&party).await?;
    for (path, holds) in [("/metrics", "larder_purchase_connections"), ("/healthz", "ready")] {
        let (status, text) = line.get(path).await?;
        let wanted = if watches { StatusCode::OK } else { StatusCode::FORBIDDEN };
        let tells = text.contains(holds) == watches;
        ensure(status == wanted && tells, || format!("{} reads {path}: {status} {text}", party.name()))?;
    }
    Ok(())
}

async fn not_enrolled(house: Arc<House>) -> Result<(), Fault> {
    let party = Party::Fridge("FR-NOBODY-KNOWS".to_owned());
    house.stack().issuer().issue(&party)?;
    let line = house.line(&party).await?;
    let journal = house.arrival(&line, party.name()).await?;
    let mut talk = line.purchase().await?;
    talk.say_all(journal.messages()).await;
    let reason = talk.refused().await?;
    ensure(reason == "fridge_out_of_service", || format!("it is refused for {reason}"))?;
    house.refused(journal.session(), "fridge_out_of_service").await
}

async fn no_such_call(house: Arc<House>) -> Result<(), Fault> {
    let line = house.fridge(&house.place()?.fridge).await?;
    let called: Result<FridgeMessage, End> = line.call("OpenTheDoor", &FridgeMessage::default()).await;
    let end = called.expect_err("there is no such call");
    ensure(end.code() == Some(code::UNIMPLEMENTED), || format!("{end:?}"))
}

/// A connection outlives the certificate it began with; what is asked over it afterwards is denied.
async fn expires_meanwhile(house: Arc<House>) -> Result<(), Fault> {
    let party = Party::Fridge(house.place()?.fridge);
    let (lives_s, patience) = (8, Duration::from_secs(30));
    let tls =
        client(&house, house.stack().issuer().issue_earlier(&party, SHORTEST_S, i64::from(SHORTEST_S) - lives_s)?)?;
    let line = Line::connect(house.address(), &tls).await?;
    line.sealing_key().await?;
    let until = Instant::now() + patience;
    let end = loop {
        match line.sealing_key().await {
            Err(end) => break end,
            Ok(_) if Instant::now() > until => return Err(Fault::new("it is never denied".to_owned())),
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    // A request in the very last moment is denied; then the connection ends with its certificate.
    let ended = matches!(end, End::Lost(_)) || end.says(code::PERMISSION_DENIED, "expired");
    ensure(ended, || format!("{end:?}"))?;
    shut_out(&house, tls, "CertificateExpired").await
}

/// Says nothing at all: the place is not kept for ever.
async fn silent(house: Arc<House>) -> Result<(), Fault> {
    let answer = plainly(house.address(), b"").await?;
    ensure(answer.is_empty(), || format!("silence is answered with {answer:02x?}"))
}

#[test]
fn only_fridges_get_a_word_in_and_only_the_monitor_and_auditors_watch() {
    in_a_house(async |house| {
        let (auditor, fridge) = (Party::Operator("auditor-eve"), Party::Fridge(house.place()?.fridge));
        let inventory = Party::Service("inventory");
        house.stack().issuer().issue(&auditor)?;
        let (_, _, bundle) = house.stack().issuer().files(&OPERATOR);
        let bundle = std::fs::read(&bundle).expect("the trust bundle");
        let nobody = without_a_certificate(&bundle)?;
        let other_authority = foreign(&house, "spiffe://larder.internal/fridge/FR-E001")?;
        let other_domain = foreign(&house, "spiffe://elsewhere.example/fridge/FR-E001")?;
        let expired = house.stack().issuer().issue_earlier(&fridge, SHORTEST_S, i64::from(SHORTEST_S) + 5)?;
        let expired = client(&house, expired)?;

        let mut cases = Cases::new(&house);
        let strangers = [
            ("no certificate", nobody, "CertificateRequired"),
            ("a certificate of another authority", other_authority, "UnknownCA"),
            ("a certificate of another trust domain", other_domain, "Certificate"),
            ("an expired certificate", expired, "CertificateExpired"),
        ];
        let count = strangers.len();
        for (name, tls, alert) in strangers {
            cases.add(name, |house| async move { shut_out(&house, tls, alert).await });
        }
        cases.add("TLS 1.2", older_tls);
        cases.add("versions of TLS", scanned);
        cases.add("no TLS", no_tls);
        cases.add("silence", silent);
        for party in [OPERATOR, MONITOR, auditor.clone(), inventory.clone(), Party::Service(PURCHASE)] {
            cases.add(format!("{} may not sell", party.name()), |house| may_not(house, party));
        }
        for (party, watches) in
            [(MONITOR, true), (auditor, true), (OPERATOR, false), (inventory, false), (fridge, false)]
        {
            cases.add(format!("{} watches: {watches}", party.name()), move |house| may_watch(house, party, watches));
        }
        cases.add("a fridge that is not enrolled", not_enrolled);
        cases.add("a call that does not exist", no_such_call);
        cases.add("a certificate that expires meanwhile", expires_meanwhile);
        cases.judge().await?;

        let failed = house.metric("larder_purchase_handshake_failures_total").await?;
        ensure(failed >= count as f64, || format!("{failed} failed handshakes were counted"))?;
        house.buys().await?;
        house.nothing_is_held().await?;
        house.blames_itself_for_nothing()
    });
}
