//! A service that follows an authority: what it knows of the authority's lists and bundle is in its figures, and what it
//! lacks, or cannot use, is an alarm in its log. A failure is one that nobody sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ca_identity::{ServiceName, TrustDomain};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ops_kit::guard::StatusRead;
use ops_kit::{AuthorityConfig, CancellationToken, Config, Fault, Kit, NoSettings, Routes, Step, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing_subscriber::util::SubscriberInitExt;

use support::{DOMAIN, Pki, Running};

const STEPS: &[Step] = &[(1, "kit", include_str!("../../../migrations/status/0001_kit.sql"))];
/// Long enough for a loaded machine; nothing that works waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

async fn bare(config: Config<NoSettings>, ending: CancellationToken) -> Result<(), Fault> {
    let kit = Kit::open(ServiceName::Status, &config, STEPS, ending).await?;
    let routes = Routes::new::<StatusRead>(&kit);
    serve(&config, kit, routes).await
}

/// Plays an authority that has no other bundle, and whose lists cannot be had.
async fn authority(pki: &Pki) -> (SocketAddr, JoinHandle<()>) {
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    let tls = ca_mtls::server_config(&pki.identity("service/authority"), &pki.bundle(), &domain, &[b"http/1.1"]);
    let (tls, listener) = (tls.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    let answer = service_fn(async |request: Request<Incoming>| {
        let status = match request.uri().path() {
            "/bundle" => StatusCode::NOT_MODIFIED,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        Response::builder().status(status).body(Empty::<Bytes>::new())
    });
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = Arc::clone(&tls);
            tokio::spawn(async move {
                let Ok((stream, peer)) = ca_mtls::accept(tls, stream, PATIENCE).await else { return };
                assert_eq!(peer.id, support::party("service/status"));
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (address, task)
}

/// The log as a service writes it: a line is a JSON object.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Keeps what this thread says, on which all of a test runs.
    fn keep() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let kept = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).set_default();
        (log, kept)
    }

    /// The words of the lines that say this about an alarm.
    fn alarms(&self, alarm: bool) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines = lines.filter(|line| line["fields"]["alarm"] == Value::Bool(alarm));
        lines.map(|line| line["fields"]["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for a line that says this about an alarm, in these words.
    async fn says(&self, alarm: bool, words: &str) {
        let said = async {
            while !self.alarms(alarm).iter().any(|line| line.contains(words)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("{words}: {:?}", self.alarms(alarm)));
    }
}

/// A figure of the service.
async fn figure(running: &Running, name: &str) -> i64 {
    let reply = running.client("operator/auditor").get("/metrics").await.unwrap();
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("larder_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

#[tokio::test]
async fn what_is_known_of_the_authority_is_in_the_figures_and_what_is_not_known_an_alarm() {
    let (log, _kept) = Log::keep();
    let mut running = Running::start("status", NoSettings {}, bare).await;
    assert_eq!(figure(&running, "trust_bundle_heard_seconds").await, 0, "nobody is followed");
    assert_eq!(log.alarms(true), [] as [String; 0]);
    running.stop().await;

    let (address, authority) = authority(&running.pki).await;
    let revocations = running.folder.path().join("lists.pem");
    running.authority = Some(AuthorityConfig { address, revocations });
    running.begin(NoSettings {}, bare).await;
    let heard = async {
        while figure(&running, "trust_bundle_heard_seconds").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the authority is heard");
    log.says(true, "there are no revocation lists").await;
    assert!(figure(&running, "revocation_failures").await > 0);
    assert_eq!(figure(&running, "revocation_horizon_seconds").await, 0);
    let (version, failures) =
        (figure(&running, "trust_bundle_version").await, figure(&running, "trust_bundle_failures").await);
    assert_eq!((version, failures), (0, 0));
    assert_eq!(log.alarms(true).len(), 1, "once: {:?}", log.alarms(true));
    authority.abort();
}

#[tokio::test]
async fn replaced_files_that_cannot_be_used_are_an_alarm_and_the_last_good_ones_stay() {
    let (log, _kept) = Log::keep();
    let running = Running::start("status", NoSettings {}, bare).await;
    let certificate = running.folder.path().join("tls.crt");
    let good = std::fs::read(&certificate).unwrap();
    std::fs::write(&certificate, "rubbish").unwrap();
    log.says(true, "replaced files are not usable").await;
    figure(&running, "connections").await;
    std::fs::write(&certificate, good).unwrap();
    log.says(false, "usable again").await;
    assert_eq!((log.alarms(true).len(), log.alarms(false).len()), (1, 1));
}
