//! Carries requests to the protocol and does what it says: rows first, then the signer, then the answer; proofs are looked
//! at meanwhile.
//!
//! One request at a time goes from its rows to its rows, which is what makes a nonce, an order and a binding key good for
//! one use. An order is stored as being processed before it is signed, and its certificate before it is answered: so a
//! crash at any point leaves at worst a second entry in the issuance log, which the next start makes by signing again.

use std::sync::Arc;
use std::time::Duration;

use authority::{Authority, BUNDLE_PATH};
use ca_acme::{
    Acme, Answer, ApprovedOrder, Body, Chance, Context, Effect, Kind, Needs, Order, OrderBy, ProbeHttp01, Problem,
    Profile, Proof, Request, Revoke, Urls, VerifyDeviceAttestation,
};
use http::{HeaderName, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Mutex, Semaphore};

use crate::attestation::{self, Judged};
use crate::bars::Bars;
use crate::bundles::Bundles;
use crate::error::AcmeServerError;
use crate::load::load;
use crate::probe::Http01;
use crate::signer::{revoke, sign};
use crate::store::Store;

/// The most proofs that are looked at at a time; more wait their turn.
const MOST_PROBES: usize = 32;

/// How often the authority's lists are looked at when nobody asks.
const LOOK: Duration = Duration::from_secs(60);

/// The server, shared by all connections.
pub struct AcmeServer {
    authority: Arc<Authority>,
    store: Store,
    acme: Mutex<Acme>,
    http01: Http01,
    bars: Bars,
    bundles: Arc<Bundles>,
    probes: Semaphore,
    now_unix_s: fn() -> i64,
}

impl AcmeServer {
    /// Begins at this origin (`https://<host>:<port>`), and ends what a crash left half done.
    ///
    /// # Errors
    /// [`AcmeServerError`] when the database cannot be read, or the system gives no chance.
    pub async fn start(
        authority: Arc<Authority>,
        store: Store,
        origin: &str,
        http01: Http01,
        now_unix_s: fn() -> i64,
    ) -> Result<Arc<Self>, AcmeServerError> {
        let acme = Mutex::new(Acme::new(Urls::new(origin), random()?));
        let server = Self {
            authority,
            store,
            acme,
            http01,
            bars: Bars::default(),
            bundles: Arc::default(),
            probes: Semaphore::new(MOST_PROBES),
            now_unix_s,
        };
        server.bars.look(&server.authority, &server.store).await?;
        server.resume().await?;
        Ok(Arc::new(server))
    }

    /// Ends what the process before left: what was to be signed is signed, what was being looked at is told to begin again.
    async fn resume(&self) -> Result<(), AcmeServerError> {
        self.store.prune((self.now_unix_s)()).await?;
        self.bars.look(&self.authority, &self.store).await?;
        for order in self.store.orders_in("processing").await? {
            let account = self.store.account(&order.account).await?;
            let eab = match &account {
                Some(account) => self.store.eab(&account.eab_kid).await?,
                None => None,
            };
            let approved = match (&account, &eab) {
                (Some(account), Some(eab)) => ApprovedOrder::approve(&order, account, eab),
                _ => Err(Problem::new(Kind::Unauthorized, "the order's account is not known any more")),
            };
            tracing::info!(order = order.id, "an order was left half done; it is finished now");
            match approved {
                Ok(approved) => drop(self.issue(order, approved).await?),
                Err(problem) => self.store.put(&[Effect::PutOrder(order.failed(&problem))]).await?,
            }
        }
        let restarted = Problem::new(Kind::ServerInternal, "the server was restarted meanwhile; make a new order");
        for mut order in self.store.orders_in("open").await? {
            let looked_at: Vec<usize> = (0_usize..)
                .zip(&order.authorizations)
                .filter_map(|(place, one)| (one.proof == Proof::Processing).then_some(place))
                .collect();
            for place in looked_at {
                order = order.proved(place, Err(restarted.clone()), (self.now_unix_s)());
            }
            self.store.put(&[Effect::PutOrder(order)]).await?;
        }
        Ok(())
    }

    /// Answers one request. A client that goes away meanwhile does not stop what it began half way.
    pub async fn answer(self: Arc<Self>, request: ca_http::Request) -> ca_http::Response {
        let path = request.path.clone();
        let handled = tokio::spawn(async move {
            match request.path.as_str() {
                BUNDLE_PATH => self.bundles.answer(&self.authority, &request).await,
                _ => self.handle(&request).await.map(response),
            }
        });
        let ended = |why| AcmeServerError::system("a request ended", std::io::Error::other(why));
        handled.await.map_err(ended).flatten().unwrap_or_else(|error| {
            tracing::error!(%error, path, "a request could not be served");
            let problem = Problem::new(Kind::ServerInternal, "something of ours failed; ask again in a moment");
            response(Answer { status: 500, headers: Vec::new(), body: Body::Problem(problem) })
        })
    }

    async fn handle(self: &Arc<Self>, request: &ca_http::Request) -> Result<Answer, AcmeServerError> {
        let (now, chance, media_type) = ((self.now_unix_s)(), Chance::new(random()?), request.media_type());
        let asked = Request {
            method: request.method.as_str(),
            path: &request.path,
            media_type: media_type.as_deref(),
            body: &request.body,
        };
        let mut acme = self.acme.lock().await;
        let opened = match acme.open(&asked, now, &chance) {
            Ok(opened) => opened,
            Err(answer) => return Ok(answer),
        };
        let context = self.context(opened.needs(), now).await?;
        let (mut answer, effects) = acme.handle(opened, context, now, &chance);
        for effect in &effects {
            // Taken back first and stored after it: a crash in between leaves a row that the next try mends.
            if let Effect::Revoke(asked) = effect
                && let Err(problem) = self.revoke(asked.clone()).await?
            {
                return Ok(refused(answer, problem));
            }
        }
        self.store.put(&effects).await?;
        for effect in effects {
            match effect {
                Effect::Issue(approved) => {
                    let order = self.store.order(approved.order()).await?;
                    let order = order.ok_or_else(|| AcmeServerError::corrupt(approved.order(), "it is gone"))?;
                    let order = self.issue(order, approved).await?;
                    answer = acme.shown(answer, &order, now);
                }
                Effect::ProbeHttp01(probe) => drop(tokio::spawn(Arc::clone(self).look(probe))),
                Effect::VerifyDeviceAttestation(asked) => drop(tokio::spawn(Arc::clone(self).judge(asked))),
                Effect::PutEab(_) | Effect::PutAccount(_) | Effect::PutOrder(_) | Effect::Revoke(_) => {}
            }
        }
        Ok(answer)
    }

    /// The rows for a request. A fridge's key is looked up after the lists, if those changed.
    async fn context(&self, needs: &Needs, now_unix_s: i64) -> Result<Context, AcmeServerError> {
        let context = load(&self.store, needs, now_unix_s).await?;
        let is_device = context.eab.as_ref().is_some_and(|eab| eab.grant.profile() == Profile::Device);
        if is_device && self.bars.look(&self.authority, &self.store).await? {
            return load(&self.store, needs, now_unix_s).await;
        }
        let order = match needs.order {
            Some(OrderBy::RenewalId(_)) => context.order.map(|order| self.bars.with_lists(order)),
            _ => context.order,
        };
        Ok(Context { order, ..context })
    }

    /// Looks at the authority's lists again and again, for ever: they name what was revoked for a few days only.
    pub async fn keep(self: Arc<Self>) {
        loop {
            if let Err(error) = self.bars.look(&self.authority, &self.store).await {
                tracing::error!(alarm = true, %error, "the authority's revocation lists could not be read");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Signs, and stores what came of it. A refusal by the authority ends the order; a fault leaves it as it is, to be
    /// signed at the next start.
    async fn issue(&self, order: Order, approved: ApprovedOrder) -> Result<Order, AcmeServerError> {
        let (authority, now) = (Arc::clone(&self.authority), (self.now_unix_s)());
        let signed = tokio::task::spawn_blocking(move || sign(&authority, &approved, now)).await;
        let signed = signed.map_err(|why| AcmeServerError::system("the signer ended", std::io::Error::other(why)))?;
        let order = match signed {
            Ok(certificate) => order.issued(certificate),
            Err(AcmeServerError::Authority(authority::AuthorityError::Refused(refusal))) => {
                tracing::error!(%refusal, order = order.id, "the authority refused an approved order");
                order.failed(&Problem::new(Kind::ServerInternal, "the authority refused to sign; its log says why"))
            }
            Err(fault) => return Err(fault),
        };
        self.store.put(&[Effect::PutOrder(order.clone())]).await?;
        Ok(order)
    }

    async fn revoke(&self, asked: Revoke) -> Result<Result<(), Problem>, AcmeServerError> {
        let (authority, now) = (Arc::clone(&self.authority), (self.now_unix_s)());
        let done = tokio::task::spawn_blocking(move || revoke(&authority, &asked, now)).await;
        done.map_err(|why| AcmeServerError::system("revoking ended", std::io::Error::other(why)))?
    }

    /// Looks for a proof and stores what came of it.
    async fn look(self: Arc<Self>, probe: ProbeHttp01) {
        let Ok(_place) = self.probes.acquire().await else { return };
        let outcome = self.http01.look(&probe).await;
        if let Err(problem) = &outcome {
            tracing::info!(host = %probe.host, why = problem.detail, "a name was not proved");
        }
        let _one_at_a_time = self.acme.lock().await;
        let now = (self.now_unix_s)();
        self.told(&probe.order, |order| order.proved(probe.place, outcome.map(|()| None), now)).await;
    }

    /// Has a TPM's statement judged and stores what came of it.
    async fn judge(self: Arc<Self>, asked: VerifyDeviceAttestation) {
        let Ok(_place) = self.probes.acquire().await else { return };
        let (authority, now) = (Arc::clone(&self.authority), (self.now_unix_s)());
        let (order, device, place) = (asked.order.clone(), asked.permanent_identifier.clone(), asked.place);
        let judged = tokio::task::spawn_blocking(move || attestation::judge(&authority, &asked, now)).await;
        let judged = judged.map_err(|why| AcmeServerError::system("judging ended", std::io::Error::other(why)));
        let _one_at_a_time = self.acme.lock().await;
        match judged.flatten() {
            Ok(Judged::Proved { device: proof, quarantine }) => {
                if !quarantine.is_empty() {
                    tracing::warn!(device, order, reasons = ?quarantine, "a device is in quarantine");
                }
                self.told(&order, |order| order.proved(place, Ok(Some(proof)), now)).await;
            }
            Ok(Judged::Refused(problem)) => {
                tracing::warn!(device, order, why = problem.detail, "a device proved nothing");
                self.told(&order, |order| order.proved(place, Err(problem), now)).await;
            }
            Ok(Judged::Undecided(problem)) => {
                tracing::warn!(device, order, why = problem.detail, "a device's statement is not of this time");
                self.told(&order, |order| order.undecided(place, &problem)).await;
            }
            Err(error) => {
                tracing::error!(%error, device, order, "a device's statement could not be judged");
                let problem = Problem::new(Kind::ServerInternal, "something of ours failed; answer again in a moment");
                self.told(&order, |order| order.undecided(place, &problem)).await;
            }
        }
    }

    /// Stores what became of an order, while nobody else changes it.
    async fn told(&self, id: &str, change: impl FnOnce(Order) -> Order) {
        let stored = match self.store.order(id).await {
            Ok(Some(order)) => self.store.put(&[Effect::PutOrder(change(order))]).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            tracing::error!(%error, order = id, "what a proof came to could not be stored");
        }
    }
}

impl std::fmt::Debug for AcmeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcmeServer").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// The same answer, refused: its nonce stays good for the next try.
fn refused(answer: Answer, problem: Problem) -> Answer {
    Answer { status: problem.status, headers: answer.headers, body: Body::Problem(problem) }
}

/// 32 bytes of chance.
fn random() -> Result<[u8; 32], AcmeServerError> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|why| {
        AcmeServerError::system("the system gives no randomness", std::io::Error::other(why.to_string()))
    })?;
    Ok(bytes)
}

fn response(answer: Answer) -> ca_http::Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = match answer.body {
        Body::Empty => ca_http::Response::empty(status),
        Body::Json(value) => ca_http::Response::json(status, &value),
        Body::Problem(problem) => {
            let body = problem.to_json().to_string();
            ca_http::Response::with_body(status, "application/problem+json", body)
        }
        Body::Chain(pem) => ca_http::Response::with_body(status, "application/pem-certificate-chain", pem),
    };
    answer
        .headers
        .into_iter()
        .fold(response, |response, (name, value)| response.header(HeaderName::from_static(name), &value))
}
