//! The service itself: it keeps the protocol, remembers what every session told it, and breaks where it is told to.

use ca_identity::TrustDomain;
use fridge_agent::config::ALPN;
use fridge_agent::proto::purchase_session_server::{PurchaseSession, PurchaseSessionServer};
use fridge_agent::proto::{self, fridge_message, open, service_message};
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem, Serializable};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use pci_contract::{FridgeId, SealingContext, SessionId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{FRIDGE, PATIENCE, Pki, SERVICE};

type Private = <DhP256HkdfSha256 as Kem>::PrivateKey;

/// Where one stream breaks; streams take these in order, and keep the protocol when there are none left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Keeps the protocol.
    No,
    /// Ends before it has taken the n-th message of the stream.
    Before(usize),
    /// Takes the n-th message and ends without answering it.
    After(usize),
    /// Answers the n-th message, then ends.
    Answered(usize),
    /// Takes the n-th message and says nothing any more, with the stream left open.
    SilentAfter(usize),
    /// Drops the n-th message as if it had been lost, and asks for it when the next one shows the gap.
    Lose(usize),
    /// Answers everything twice.
    Twice,
    /// Answers for a session that is not the stream's.
    WrongSession,
    /// Refuses with what is no reason code.
    Malformed,
    /// Asks for the first message again, whatever comes.
    AskForEver,
    /// Ends in good order after the n-th message, without a last word.
    EndAfter(usize),
    /// Does not take the stream at all.
    Status(tonic::Code),
}

#[derive(Default)]
pub struct State {
    /// What every session told, in order, each message once.
    pub told: HashMap<String, Vec<proto::FridgeMessage>>,
    /// Messages that came again.
    pub repeats: usize,
    pub resends: usize,
    pub streams: usize,
    pub keys_asked: usize,
    pub breaks: VecDeque<Break>,
    /// Refuse everyone with this.
    pub refuse: Option<String>,
    pub alarming: HashSet<String>,
    pub limit_after: Option<usize>,
    pub tampers: Vec<proto::TamperReport>,
    pub tamper_calls: usize,
    /// Fail so many tamper reports after having taken them.
    pub tamper_failures: usize,
    /// Do not accept the first so many reports that come, by their ids.
    pub tamper_rejects: Option<usize>,
    pub rejected: HashSet<String>,
    pub enrolled: Vec<proto::EnrollCardRequest>,
    pub enroll_result: String,
    pub open_within_s: u32,
    pub key_id: String,
    /// Fail so many calls for the key.
    pub key_failures: usize,
    pub key_max_age_s: u32,
}

impl State {
    /// What a session told, without Open's content.
    pub fn bodies(&self, session: &SessionId) -> Vec<&'static str> {
        self.told.get(&session.to_string()).into_iter().flatten().map(name).collect()
    }
}

fn name(message: &proto::FridgeMessage) -> &'static str {
    match message.body.as_ref().unwrap() {
        fridge_message::Body::Open(_) => "open",
        fridge_message::Body::DoorOpened(_) => "opened",
        fridge_message::Body::Touch(_) => "touch",
        fridge_message::Body::DoorClosed(_) => "closed",
        fridge_message::Body::DoorStayedShut(_) => "stayed_shut",
    }
}

/// The service's shared part; outlives its listener.
pub struct Fake {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    private: Private,
    public: Vec<u8>,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let (private, public) = DhP256HkdfSha256::gen_keypair();
        let state = State {
            open_within_s: 20,
            key_id: "seal-1".to_owned(),
            key_max_age_s: 3_600,
            enroll_result: "enrolled".to_owned(),
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::channel(0).0,
            private,
            public: public.to_bytes().to_vec(),
        })
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let looked = look(&mut self.state.lock().unwrap());
        self.changed.send_modify(|version| *version += 1);
        looked
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, wanted: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !wanted(&self.state.lock().unwrap()) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the service hears what it waits for");
    }

    /// Opens a sealed card as the vault would.
    pub fn open_card(&self, card: &proto::SealedCard, session: SessionId) -> Option<Vec<u8>> {
        let context = SealingContext { fridge: FridgeId::parse(FRIDGE).unwrap(), session };
        let encapsulated = <DhP256HkdfSha256 as Kem>::EncappedKey::from_bytes(&card.encapsulated_key).ok()?;
        hpke::single_shot_open::<hpke::aead::AesGcm128, hpke::kdf::HkdfSha256, DhP256HkdfSha256>(
            &hpke::OpModeR::Base,
            &self.private,
            &encapsulated,
            SealingContext::INFO,
            &card.cipher_text,
            &context.associated_data(),
        )
        .ok()
    }

    /// The card that a session was opened with, as the vault would see it.
    pub fn card_of(&self, session: SessionId) -> Option<Vec<u8>> {
        let opened = self.with(|state| state.told[&session.to_string()][0].clone());
        let Some(fridge_message::Body::Open(opened)) = opened.body else { panic!("the first message is Open") };
        let Some(open::ShownBy::Card(card)) = opened.shown_by else { panic!("opened with a card") };
        self.open_card(&card, session)
    }

    /// Takes a message as the protocol says; what to answer, or where to resend from.
    fn take(&self, message: &proto::FridgeMessage) -> Result<Option<service_message::Body>, u64> {
        self.with(|state| {
            let told = state.told.entry(message.session_id.clone()).or_default();
            let expected = told.len() as u64 + 1;
            if message.sequence > expected {
                state.resends += 1;
                return Err(expected);
            }
            if message.sequence < expected {
                assert_eq!(&told[message.sequence as usize - 1], message, "a repeat says the same");
                state.repeats += 1;
            } else {
                told.push(message.clone());
            }
            Ok(answer(state, message))
        })
    }

    fn acknowledged(&self, session: &str) -> u64 {
        self.with(|state| state.told.get(session).map_or(0, |told| told.len() as u64))
    }
}

fn answer(state: &State, message: &proto::FridgeMessage) -> Option<service_message::Body> {
    use service_message::Body;
    let money = |minor| Some(proto::Money { minor, currency: "USD".to_owned() });
    let told = &state.told[&message.session_id];
    let receipt = |outcome: &str| {
        let (charged, credit_used) = (money(900), money(0));
        Body::Receipt(proto::Receipt { outcome: outcome.to_owned(), charged, credit_used, ..Default::default() })
    };
    match message.body.as_ref().unwrap() {
        fridge_message::Body::Open(_) => Some(match &state.refuse {
            Some(reason) => Body::Refused(proto::Refused { reason: reason.clone() }),
            None => Body::Unlock(proto::Unlock {
                hold: money(2_500),
                credit: money(100),
                own_meals: vec![],
                prices: vec![],
                open_within_s: state.open_within_s,
                open_limit_s: 60,
            }),
        }),
        fridge_message::Body::DoorOpened(_) => None,
        fridge_message::Body::Touch(touch) if state.alarming.contains(&touch.barcode) => {
            let barcode = touch.barcode.clone();
            Some(match touch.kind() {
                proto::touch::Kind::Returned => Body::AlarmCleared(proto::AlarmCleared { barcode }),
                _ => Body::Alarm(proto::Alarm { kind: proto::alarm::Kind::NotYours.into(), barcode }),
            })
        }
        fridge_message::Body::Touch(_) => (state.limit_after.is_some_and(|after| told.len() > after))
            .then(|| Body::LimitReached(proto::LimitReached { limit: money(2_500) })),
        fridge_message::Body::DoorClosed(_) => Some(receipt("charged")),
        fridge_message::Body::DoorStayedShut(_) => Some(receipt("no_purchase")),
    }
}

struct Face(Arc<Fake>);

type Answers = Pin<Box<dyn Stream<Item = Result<proto::ServiceMessage, Status>> + Send>>;

#[tonic::async_trait]
impl PurchaseSession for Face {
    type PurchaseStream = Answers;

    async fn sealing_key(
        &self,
        _: Request<proto::SealingKeyRequest>,
    ) -> Result<Response<proto::SealingKeyResponse>, Status> {
        let (failure, key_id, max_age_s) = self.0.with(|state| {
            state.keys_asked += 1;
            let failure = (state.key_failures > 0).then(|| Status::unavailable("as the test wants it"));
            state.key_failures = state.key_failures.saturating_sub(1);
            (failure, state.key_id.clone(), state.key_max_age_s)
        });
        let public_key = self.0.public.clone();
        failure.map_or(Ok(Response::new(proto::SealingKeyResponse { key_id, public_key, max_age_s })), Err)
    }

    async fn purchase(&self, request: Request<Streaming<proto::FridgeMessage>>) -> Result<Response<Answers>, Status> {
        let broken = self.0.with(|state| {
            state.streams += 1;
            state.breaks.pop_front().unwrap_or(Break::No)
        });
        if let Break::Status(code) = broken {
            return Err(Status::new(code, "as the test wants it"));
        }
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(converse(Arc::clone(&self.0), request.into_inner(), sender, broken));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn enroll_card(
        &self,
        request: Request<proto::EnrollCardRequest>,
    ) -> Result<Response<proto::EnrollCardResponse>, Status> {
        let result = self.0.with(|state| {
            state.enrolled.push(request.into_inner());
            state.enroll_result.clone()
        });
        let (brand, last_four) = ("visa".to_owned(), "4242".to_owned());
        Ok(Response::new(proto::EnrollCardResponse { result, brand, last_four }))
    }

    async fn report_tamper(
        &self,
        request: Request<proto::TamperReport>,
    ) -> Result<Response<proto::TamperAcknowledgement>, Status> {
        self.0.with(|state| {
            let report = request.into_inner();
            state.tamper_calls += 1;
            if let Some(most) = state.tamper_rejects
                && (state.rejected.contains(&report.report_id) || state.rejected.len() < most)
            {
                state.rejected.insert(report.report_id);
                return Err(Status::invalid_argument("as the test wants it"));
            }
            if !state.tampers.iter().any(|known| known.report_id == report.report_id) {
                state.tampers.push(report);
            }
            if state.tamper_failures > 0 {
                state.tamper_failures -= 1;
                return Err(Status::unavailable("as the test wants it"));
            }
            Ok(Response::new(proto::TamperAcknowledgement {}))
        })
    }
}

async fn converse(
    fake: Arc<Fake>,
    mut messages: Streaming<proto::FridgeMessage>,
    answers: mpsc::Sender<Result<proto::ServiceMessage, Status>>,
    broken: Break,
) {
    let cut = || async { drop(answers.send(Err(Status::unavailable("as the test wants it"))).await) };
    let (mut count, mut lost) = (0, false);
    while let Ok(Some(message)) = messages.message().await {
        count += 1;
        if broken == Break::Before(count) {
            return cut().await;
        }
        if broken == Break::Lose(count) && !lost {
            lost = true;
            continue;
        }
        let answer = fake.take(&message);
        if broken == Break::After(count) {
            return cut().await;
        }
        if broken == Break::SilentAfter(count) {
            return answers.closed().await;
        }
        let body = match answer {
            Ok(body) => body,
            Err(sequence) => Some(service_message::Body::ResendFrom(proto::ResendFrom { sequence })),
        };
        let is_final = matches!(body, Some(service_message::Body::Receipt(_) | service_message::Body::Refused(_)));
        let acknowledged = fake.acknowledged(&message.session_id);
        let mut answer = proto::ServiceMessage { session_id: message.session_id, acknowledged, body };
        spoil(broken, &mut answer);
        for _ in 0..if broken == Break::Twice { 2 } else { 1 } {
            let _ = answers.send(Ok(answer.clone())).await;
        }
        if is_final || broken == Break::EndAfter(count) {
            return;
        }
        if broken == Break::Answered(count) {
            return cut().await;
        }
    }
}

/// Makes an answer one that no service may give.
fn spoil(broken: Break, answer: &mut proto::ServiceMessage) {
    match broken {
        Break::WrongSession => answer.session_id = "00000000-0000-4000-8000-000000000000".to_owned(),
        Break::Malformed => {
            answer.body = Some(service_message::Body::Refused(proto::Refused { reason: "No way!".to_owned() }));
        }
        Break::AskForEver => {
            answer.body = Some(service_message::Body::ResendFrom(proto::ResendFrom { sequence: 1 }));
        }
        _ => {}
    }
}

/// A listener for the fake service; dropped, it takes its connections with it.
pub struct Listening {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn listen(fake: &Arc<Fake>, pki: &Pki, address: Option<SocketAddr>) -> Listening {
    let listener = TcpListener::bind(address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap())).await.unwrap();
    let address = listener.local_addr().unwrap();
    let domain = TrustDomain::parse("larder.internal").unwrap();
    let tls = ca_mtls::server_config(&pki.identity(SERVICE), &pki.bundle(), &domain, ALPN).unwrap();
    let fake = Arc::clone(fake);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (tls, fake) = (Arc::clone(&tls), Arc::clone(&fake));
            connections.spawn(async move {
                let Ok((stream, _)) = ca_mtls::accept(tls, tcp, PATIENCE).await else { return };
                let service = TowerToHyperService::new(PurchaseSessionServer::new(Face(fake)));
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Listening { address, task }
}
