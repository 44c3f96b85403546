//! A fridge with a TPM that is enrolled again and again, step by step as its agent does it; what each step takes of the
//! servers is taken down, what the fridge and its TPM do in between is not.
//!
//! Every enrolment has connections of its own, since in life half a day lies between two of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest_evidence::{HashAlgorithm, PcrSelection};
use ca_client::{Account, Credentials, Identifier, Order, Web};
use ca_identity::{ServiceName, SpiffeId};
use ca_mtls::{EnrolmentClient, TrustBundle};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use fridge_identity::TpmSettings;
use fridge_tpm::{
    Attested, Attesting, Endorsement, Evidence, Message, Reply, StoredKey, Tpm, TpmAddress, TpmSigner,
    attestation_object,
};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::process::Threads;
use crate::Fault;
use crate::enrolment::released;
use crate::services::{ACME, ATTESTATION};
use crate::stack::{AUTHORITY, Stack};

/// How long an agent waits until it looks whether its answer was believed; the server judges it meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// The servers, by the names of their programs and of their services.
const SERVERS: [(&str, &str); 3] = [("larder-acme", ACME), ("larder-attest", ATTESTATION), ("larder-ca", AUTHORITY)];

/// What an enrolment asks of servers, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// The ACME directory, a nonce, the order and its authorization, on a new connection.
    Order,
    /// The TPM's keys and its maker's certificate for a credential, on a new connection.
    Begin,
    /// The evidence for a verdict, and the authority's certificate for the attestation key.
    Finish,
    /// The answer to the challenge, and whether it was believed.
    Challenge,
    /// The certificate request for a certificate.
    Finalize,
}

impl Step {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Order, Self::Begin, Self::Finish, Self::Challenge, Self::Finalize];

    /// Its name in the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Begin => "begin",
            Self::Finish => "finish",
            Self::Challenge => "challenge",
            Self::Finalize => "finalize",
        }
    }
}

/// What steps took, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Cost {
    /// On the clock, until the answers were there; the fridge's side of TLS is in it.
    pub(super) waited: f64,
    /// Of each server's CPU time, by the program's name.
    pub(super) cpu: BTreeMap<&'static str, f64>,
}

impl Cost {
    /// The CPU time of all servers.
    pub(super) fn servers(&self) -> f64 {
        self.cpu.values().sum()
    }
}

/// Takes down what servers do for enrolments.
pub(super) struct Watch {
    pids: [(&'static str, u32); 3],
    seen: Vec<Threads>,
    costs: BTreeMap<Step, Cost>,
}

impl Watch {
    /// Of the servers of a machine, from now on.
    ///
    /// # Errors
    /// [`Fault`] when one does not run.
    pub(super) fn new(stack: &Stack) -> Result<Self, Fault> {
        let mut pids = SERVERS.map(|(program, _)| (program, 0));
        for ((program, pid), (_, service)) in pids.iter_mut().zip(SERVERS) {
            let running = stack.pid(service).and_then(|pid| *pid.borrow());
            *pid = running.ok_or_else(|| Fault::new(format!("{program} does not run")))?;
        }
        let mut watch = Self { pids, seen: Vec::new(), costs: BTreeMap::new() };
        watch.look()?;
        Ok(watch)
    }

    /// What each step took since the beginning.
    pub(super) fn costs(self) -> BTreeMap<Step, Cost> {
        self.costs
    }

    /// Forgets what the servers did since the last step: it was for nobody.
    fn look(&mut self) -> Result<(), Fault> {
        self.seen = self.pids.iter().map(|(_, pid)| Threads::of(*pid)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Waits for what a server is asked in a step. What servers did since the question before counts to this one: they
    /// judge the answer to a challenge while nobody waits.
    async fn step<T, E: std::fmt::Display>(
        &mut self,
        step: Step,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault> {
        let began = Instant::now();
        let answer = asked.await.map_err(Fault::of(step.name()))?;
        let waited = began.elapsed().as_secs_f64() * 1_000.0;
        let before = std::mem::take(&mut self.seen);
        self.look()?;
        let cost = self.costs.entry(step).or_default();
        cost.waited += waited;
        for (((program, _), now), before) in self.pids.iter().zip(&self.seen).zip(&before) {
            *cost.cpu.entry(program).or_default() += now.ms_since(before);
        }
        Ok(answer)
    }
}

/// A fridge.
pub(super) struct Device {
    party: SpiffeId,
    tpm: Tpm,
    endorsement: Endorsement,
    intermediates: Vec<Vec<u8>>,
    attestation_key: StoredKey,
    registers: PcrSelection,
    event_log: Vec<u8>,
    credentials: Credentials,
    authority: Way,
    attestation: Way,
    held: Option<StoredKey>,
}

/// Where a server is, and how it is spoken to.
struct Way {
    address: String,
    tls: Arc<ClientConfig>,
}

impl Way {
    fn web(&self) -> Web {
        Web::new(self.address.clone(), Arc::clone(&self.tls))
    }
}

impl Device {
    /// Gives the `n`th fridge's TPM power, and makes its account with the authority.
    ///
    /// # Errors
    /// [`Fault`] when there is no TPM, or the authority refuses.
    pub(super) async fn new(stack: &Stack, n: usize) -> Result<Self, Fault> {
        let (enrolment, domain) = (stack.enrolment()?, stack.issuer().trust_domain());
        let name = format!("FR-E{n:03}");
        let party = SpiffeId::fridge(domain, &name).map_err(Fault::of("a fridge's name"))?;
        let bundle = stack.layout().authority().join("root.pem");
        let bundle = TrustBundle::load(&bundle).map_err(Fault::of("the trust bundle"))?;
        let way = |service, address: &String| {
            let server = SpiffeId::service(domain, service);
            let tls = EnrolmentClient::new(&bundle).config(&server, &[b"http/1.1"]);
            Ok(Way { address: address.clone(), tls: tls.map_err(Fault::of("the trust bundle"))? })
        };
        let (settings, tpm, endorsement, attestation_key) = aside(move || {
            let settings = enrolment.boot(&name, &released())?;
            let address: TpmAddress = settings.address.parse().map_err(Fault::of("a TPM"))?;
            std::fs::create_dir_all(&settings.folder).map_err(Fault::io("make the folder", &settings.folder))?;
            let file = settings.folder.join("attestation.key");
            let why = "a TPM";
            let tpm = Tpm::open(&address).map_err(Fault::of(why))?;
            let endorsement = tpm.endorsement().map_err(Fault::of(why))?;
            let key = tpm.attestation_key(&file).map_err(Fault::of(why))?;
            Ok((settings, tpm, endorsement, key))
        })
        .await?;
        let authority = way(ServiceName::Authority, &settings.authority_address)?;
        let credentials = account(authority.web(), &settings).await?;
        Ok(Self {
            party,
            tpm,
            endorsement,
            intermediates: intermediates(settings.maker_intermediates.as_deref())?,
            attestation_key,
            registers: PcrSelection::of(HashAlgorithm::Sha256, settings.registers),
            event_log: read(&settings.event_log)?,
            credentials,
            authority,
            attestation: way(ServiceName::Attestation, &settings.attestation_address)?,
            held: None,
        })
    }

    /// Gets a certificate for a new key.
    ///
    /// # Errors
    /// [`Fault`] when it is refused.
    pub(super) async fn enrol(&mut self, watch: &mut Watch) -> Result<(), Fault> {
        let (tls_key, request) = self.requested().await?;
        let identifier = self.endorsement.permanent_identifier().map_err(Fault::of("a TPM's key"))?;
        let (authority, attestation) = (self.authority.web(), self.attestation.web());
        watch.look()?;
        let account = watch.step(Step::Order, Account::open(authority, &self.credentials)).await?;
        let wanted = [Identifier::Permanent(HEXLOWER.encode(&identifier))];
        let order = Order::place(&account, "device", &wanted);
        let mut order = watch.step(Step::Order, order).await?;
        let challenges = watch.step(Step::Order, order.challenges("device-attest-01")).await?;
        let attesting = Attesting {
            endorsement: self.endorsement.clone(),
            ek_intermediates: self.intermediates.clone(),
            attestation_key: self.attestation_key.clone(),
            tls_key: tls_key.clone(),
            request,
            previous_tls_key: self.held.clone(),
            acme_account: account.thumbprint(),
            acme_order: order.url().to_owned(),
        };
        let attested = self.attested(&attestation, &attesting, watch).await?;
        for challenge in challenges {
            let (tpm, attesting, attested) = (self.tpm.clone(), attesting.clone(), attested.clone());
            let authorization = challenge.key_authorization.clone();
            let object = aside(move || {
                attestation_object(&tpm, &attesting, &attested, &authorization).map_err(Fault::of("a TPM"))
            });
            let answer = json!({ "attObj": BASE64URL_NOPAD.encode(&object.await?) });
            watch.step(Step::Challenge, order.meet(&challenge, &answer)).await?;
        }
        tokio::time::sleep(PAUSE).await;
        watch.step(Step::Challenge, order.look()).await?;
        watch.step(Step::Finalize, order.certificate(&attesting.request)).await?;
        self.held = Some(tls_key);
        Ok(())
    }

    /// A new key, and the request for its certificate.
    async fn requested(&self) -> Result<(StoredKey, Vec<u8>), Fault> {
        let (tpm, registers, party) = (self.tpm.clone(), self.registers, self.party.clone());
        aside(move || {
            let key = tpm.make_tls_key(registers).map_err(Fault::of("a TPM"))?;
            let request = TpmSigner::new(tpm, key.clone()).certificate_request(party.as_str());
            Ok((key, request.map_err(Fault::of("a TPM"))?))
        })
        .await
    }

    async fn attested(&self, web: &Web, attesting: &Attesting, watch: &mut Watch) -> Result<Attested, Fault> {
        let reply = watch.step(Step::Begin, post(web, &attesting.begin())).await?;
        let challenge = attesting.challenge(&reply).map_err(Fault::of("an attestation"))?;
        let (tpm, asked, of) = (self.tpm.clone(), attesting.clone(), challenge.clone());
        let evidence = aside(move || Evidence::of(&tpm, &asked, &of).map_err(Fault::of("a TPM"))).await?;
        let finish = challenge.finish(&evidence, &self.event_log);
        let reply = watch.step(Step::Finish, post(web, &finish)).await?;
        let attested = Attested::of(&reply).map_err(Fault::of("an attestation"))?;
        // A device in quarantine takes as much work, but then something here is not as it should be.
        match attested.reasons.as_slice() {
            [] => Ok(attested),
            reasons => Err(Fault::new(format!("a fridge was not believed: {}", reasons.join("; ")))),
        }
    }
}

async fn account(web: Web, settings: &TpmSettings) -> Result<Credentials, Fault> {
    let why = "a fridge's account";
    let secret = read(&settings.account_key_file)?;
    let secret = BASE64URL_NOPAD.decode(secret.trim_ascii()).map_err(Fault::of(why))?;
    let made = Account::create(web, &settings.authority_directory, &settings.account_key_id, &secret).await;
    made.map(|(_, credentials)| credentials).map_err(Fault::of(why))
}

fn intermediates(path: Option<&Path>) -> Result<Vec<Vec<u8>>, Fault> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let pem = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    Ok(pem.map_err(Fault::of("a TPM maker's certificates"))?.iter().map(|der| der.to_vec()).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(Fault::io("read", path))
}

async fn post(web: &Web, message: &Message) -> Result<Reply, ca_client::WebError> {
    let answer = web.post_json(&message.path, message.body.clone()).await?;
    Ok(Reply { status: answer.status().as_u16(), body: answer.into_body().to_vec() })
}

/// Does what blocks on a thread that may be blocked.
async fn aside<T: Send + 'static>(what: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    spawn_blocking(what).await.map_err(Fault::of("a TPM's answer"))?
}
