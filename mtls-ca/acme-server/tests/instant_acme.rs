//! instant-acme, which others wrote, orders a fridge's certificate (device-attest-01). It alone speaks to the ACME
//! server and judges its certificate; the fridge's TPM is asked here, and the two exchange lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use crate::fleet;
use crate::house;
use crate::judges;
use crate::world;

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use ca_mtls::Identity;
use fleet::{Fleet, Fridge, attesting, ders};
use fridge_tpm::{Attesting, StoredKey, TpmSigner, attestation_object};
use house::{House, LIMIT, house};
use judges::{INSTANT_ACME, named};
use rustls_pki_types::CertificateDer;
use test_token::in_own_process;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use world::{MAC_KEY, b64, party};

/// The client: what it tells and what it is answered.
struct Client {
    child: Child,
    tells: BufReader<ChildStdout>,
    hears: ChildStdin,
}

impl Client {
    /// For this device, with the external account key of this id.
    fn start(program: &Path, fleet: &Fleet<'_>, kid: &str, device: &[u8; 32]) -> Self {
        let folder = fleet.running.house.database.parent().unwrap();
        let (root, key) = (folder.join("root.pem"), folder.join("mac-key"));
        std::fs::write(&root, fleet.running.house.authority.trust_bundle_pem()).unwrap();
        std::fs::write(&key, b64(MAC_KEY)).unwrap();
        let mut command = Command::new(program);
        command.arg(fleet.running.url("directory")).arg(root).arg(kid).arg(key);
        command.arg(data_encoding::HEXLOWER.encode(device)).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (hears, tells) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, tells, hears }
    }

    /// The next thing that it tells, which is a `what`; or what it said when it ended instead.
    async fn told(&mut self, what: &str) -> Result<String, String> {
        let mut line = String::new();
        timeout(LIMIT, self.tells.read_line(&mut line)).await.expect("it tells in time").unwrap();
        match line.strip_prefix(what).and_then(|rest| rest.strip_prefix(' ')) {
            Some(text) => Ok(text.trim_end().to_owned()),
            None => Err(format!("{line}{}", self.end().await.1)),
        }
    }

    async fn answer(&mut self, bytes: &[u8]) {
        self.hears.write_all(format!("{}\n", b64(bytes)).as_bytes()).await.unwrap();
    }

    /// What else it tells until it ends.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        timeout(LIMIT, self.tells.read_to_string(&mut rest)).await.expect("it ends in time").unwrap();
        rest
    }

    /// How it ended, and why.
    async fn end(&mut self) -> (ExitStatus, String) {
        let mut why = String::new();
        let mut errors = self.child.stderr.take().unwrap();
        timeout(LIMIT, errors.read_to_string(&mut why)).await.expect("it ends in time").unwrap();
        (timeout(LIMIT, self.child.wait()).await.expect("it ends in time").unwrap(), why)
    }

    /// Has the fridge attested for the order that the client made, and answers the challenge with the object.
    async fn attest(
        &mut self,
        fleet: &Fleet<'_>,
        fridge: &Fridge,
        previous: Option<&StoredKey>,
        spoil: &str,
    ) -> Attesting {
        let (account, order) = (self.told("account").await.unwrap(), self.told("order").await.unwrap());
        let authorization = self.told("authorization").await.unwrap();
        let attesting = attesting(fridge, "f1", previous, &account, &order);
        let attested = fleet.attest(fridge, &attesting);
        let authorization = format!("{authorization}{spoil}");
        let object = attestation_object(&fridge.asked, &attesting, &attested, &authorization).unwrap();
        self.answer(&object).await;
        attesting
    }
}

#[test]
fn instant_acme_gets_a_fridge_its_certificate_and_tells_it_why_it_gets_none() {
    let Some(program) = named(INSTANT_ACME) else {
        return;
    };
    in_own_process("instant-acme", |token| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { ordered(&house(token).await, &program).await });
    });
}

async fn ordered(house: &House, program: &Path) {
    let fridge = Fridge::new();
    let fleet = Fleet::serve(house, &[&fridge]).await;
    for kid in ["fridge-1", "fridge-2", "fridge-3"] {
        fleet.account_key(&fridge, kid, "f1").await;
    }
    // A device that its key is not for.
    let mut client = Client::start(program, &fleet, "fridge-1", &[7; 32]);
    let why = client.told("account").await.unwrap_err();
    assert!(why.contains("rejectedIdentifier"), "{why}");
    // Evidence for another challenge than the order's.
    let mut client = Client::start(program, &fleet, "fridge-2", &fridge.identifier());
    let attested = client.attest(&fleet, &fridge, None, "x").await;
    let why = client.told("status").await.unwrap_err();
    assert!(why.contains("badAttestationStatement") && why.contains("for another challenge"), "{why}");
    // What is right.
    let mut client = Client::start(program, &fleet, "fridge-3", &fridge.identifier());
    let attesting = client.attest(&fleet, &fridge, Some(&attested.tls_key), "").await;
    assert_eq!(client.told("status").await.as_deref(), Ok("ready"));
    client.answer(&attesting.request).await;
    assert_eq!(client.told("chain").await.as_deref(), Ok(""));
    let chain = client.rest().await;
    let (ended, why) = client.end().await;
    assert!(ended.success(), "{why}");
    let chain = ders(&chain).into_iter().map(CertificateDer::from).collect();
    let key = TpmSigner::new(fridge.asked.clone(), attesting.tls_key);
    let own = Identity::new(chain, Arc::new(key)).expect("a chain for the key in the TPM");
    assert_eq!(own.id(), &party("spiffe://larder.internal/fridge/f1"));
    fleet.running.stop().await;
}
