//! An authority over a throw-away token with the ACME server before it, a client that signs, and a host whose names are
//! proved.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme_server::{AcmeServer, Http01, Store};
use authority::{Authority, AuthorityConfig, Names, Order, Pin, Profile, SubjectKey, now_unix_s};
use ca_http::{Limits, Server, Tls};
use ca_identity::TrustDomain;
use ca_mtls::{EnrolmentServer, Identity, TrustBundle, client_config};
use serde_json::{Value, json};
use test_token::TestToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::world::{HOST, MAC_KEY, OTHER_HOST, SERVICE, Signer, binding, eab, hosts, party, wanted};

pub const OWN: &str = "spiffe://larder.internal/service/authority";
/// The address that the services have besides their names; the test's host is there.
pub const ADDRESS: &str = "127.0.0.1";
pub const LIMIT: Duration = Duration::from_secs(20);

/// What stands below `/.well-known/acme-challenge/` of the test's host; by token.
pub type Files = Arc<Mutex<BTreeMap<String, String>>>;

pub struct House {
    pub authority: Arc<Authority>,
    pub store: Store,
    pub database: PathBuf,
    pub identity: Identity,
    pub files: Files,
    pub host: SocketAddr,
}

/// A server that answers, until it is stopped.
pub struct Running<'a> {
    pub house: &'a House,
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        let found = self.head.lines().filter_map(|line| line.split_once(": ")).find(|(one, _)| *one == name);
        found.unwrap_or_else(|| panic!("no {name}: {}", self.head)).1
    }
}

pub fn config(token: &TestToken) -> AuthorityConfig {
    AuthorityConfig {
        dir: token.directory().join("ca"),
        module: token.module().to_owned(),
        token_label: token.label().to_owned(),
        pin: Pin::Text(Zeroizing::new(token.pin().to_owned())),
        trust_domain: TrustDomain::parse("larder.internal").unwrap(),
    }
}

/// An authority, its server's own identity, two binding keys for a service and one for a fridge.
pub async fn house(token: &TestToken) -> House {
    let authority = Authority::init(&config(token), now_unix_s()).unwrap();
    let (key, pair) = SubjectKey::generate().unwrap();
    let names = Names { dns: vec!["localhost".into()], ip: vec![] };
    let order = Order::new(Profile::Service, &party(OWN), names, key, 24 * 3600).unwrap();
    let chain = authority.issue(&order, now_unix_s()).unwrap();
    let identity = Identity::from_pem(chain.chain_pem.as_bytes(), pair.expose().as_bytes()).unwrap();
    let database = token.directory().join("acme.db");
    let store = Store::open(&database).await.unwrap();
    let service = || ca_acme::Grant::service(party(SERVICE), hosts(&[HOST, OTHER_HOST, ADDRESS])).unwrap();
    for key in [
        eab("service-1", service()),
        eab("service-2", service()),
        eab("device-1", ca_acme::Grant::device(party(crate::world::FRIDGE), crate::world::EK).unwrap()),
    ] {
        store.add_eab(&key).await.unwrap();
    }
    let files = Files::default();
    let host = answer_with(Arc::clone(&files)).await;
    House { authority: Arc::new(authority), store, database, identity, files, host }
}

/// A host that serves these files.
async fn answer_with(files: Files) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let token = asked.split(' ').nth(1).unwrap_or("").rsplit('/').next().unwrap_or("").to_owned();
            let found = files.lock().unwrap().get(&token).cloned();
            let answer = found.map_or_else(
                || "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
                |text| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

impl House {
    pub async fn start(&self) -> Running<'_> {
        self.start_at(now_unix_s).await
    }

    pub async fn start_at(&self, now_unix_s: fn() -> i64) -> Running<'_> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let resolve = [HOST, OTHER_HOST].map(|name| (name.to_owned(), self.host)).into_iter().collect();
        let origin = format!("https://localhost:{}", address.port());
        let (authority, store) = (Arc::clone(&self.authority), self.store.clone());
        let http01 = Http01 { port: self.host.port(), resolve };
        let server = AcmeServer::start(authority, store, &origin, http01, now_unix_s).await.unwrap();
        let tls = Tls::Enrolment(Arc::new(EnrolmentServer::new(&self.identity, &[b"http/1.1"]).unwrap()));
        let (stop, stopped) = oneshot::channel::<()>();
        let answer = move |request| Arc::clone(&server).answer(request);
        let serving = Server::new(tls, Limits::default(), now_unix_s, answer).run(listener, async move {
            let _ = stopped.await;
        });
        Running { house: self, address, stop, ended: tokio::spawn(serving) }
    }

    /// The database past all of our code, for what only a crash or a vandal leaves.
    pub async fn sql(&self, statement: &'static str, values: &[&str]) -> Vec<String> {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.database);
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        let mut query = sqlx::query_scalar::<_, String>(statement);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.fetch_all(&mut connection).await.unwrap()
    }
}

/// An account at a running server.
pub struct Client {
    pub signer: Signer,
    pub kid: String,
}

impl Client {
    /// The same account at a server that listens elsewhere now.
    pub fn moved(self, running: &Running<'_>) -> Self {
        let id = self.kid.rsplit('/').next().unwrap();
        Self { kid: running.url(&format!("account/{id}")), signer: self.signer }
    }
}

impl Running<'_> {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.ended).await.unwrap().unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/acme/{path}", self.address.port())
    }

    pub fn path(&self, url: &str) -> String {
        url.strip_prefix(&self.url("")).unwrap_or_else(|| panic!("{url} is not at this server")).to_owned()
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_at(method, &format!("/acme/{path}"), body).await
    }

    pub async fn ask_at(&self, method: &str, path: &str, body: &str) -> Answer {
        let bundle = TrustBundle::from_pem(self.house.authority.trust_bundle_pem().as_bytes()).unwrap();
        let config = client_config(&self.house.identity, &bundle, &party(OWN), &[b"http/1.1"]).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let (mut tls, _) = ca_mtls::connect(config, name, stream, LIMIT).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: \
             application/jose+json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(LIMIT, tls.read_to_end(&mut heard)).await.expect("it answers in time");
        let heard = String::from_utf8(heard).unwrap();
        let (head, text) = heard.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), text: text.to_owned() }
    }

    pub async fn nonce(&self) -> String {
        self.ask("HEAD", "new-nonce", "").await.header("replay-nonce").to_owned()
    }

    pub fn message(&self, client: &Client, nonce: &str, path: &str, payload: &str) -> String {
        let header = json!({"alg": "ES256", "kid": client.kid, "nonce": nonce, "url": self.url(path)});
        client.signer.message(&header, payload).to_string()
    }

    pub async fn post(&self, client: &Client, path: &str, payload: &str) -> Answer {
        let message = self.message(client, &self.nonce().await, path, payload);
        self.ask("POST", path, &message).await
    }

    pub async fn enrol(&self, kid: &str) -> Client {
        let (signer, url) = (Signer::new(), self.url("new-account"));
        let bound = binding(kid, &MAC_KEY, &signer.jwk(), &url);
        let header = json!({"alg": "ES256", "jwk": signer.jwk(), "nonce": self.nonce().await, "url": url});
        let payload = json!({ "externalAccountBinding": bound }).to_string();
        let message = signer.message(&header, &payload).to_string();
        let answer = self.ask("POST", "new-account", &message).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        Client { kid: answer.header("location").to_owned(), signer }
    }

    /// Orders these names; gives the order's path.
    pub async fn order(&self, client: &Client, names: &[&str]) -> String {
        self.order_for(client, &wanted("dns", names)).await
    }

    /// Orders what is wanted; gives the order's path.
    pub async fn order_for(&self, client: &Client, wanted: &Value) -> String {
        let answer = self.post(client, "new-order", &wanted.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        self.path(answer.header("location"))
    }

    /// Puts the proof of one name in place, as a right client does, and begins its challenge.
    pub async fn prove(&self, client: &Client, order: &str, place: usize, spoil: &str) {
        let challenge = order.replace("order/", "challenge/") + &format!("/{place}");
        let shown = self.post(client, &challenge, "").await.json();
        let token = shown["token"].as_str().unwrap().to_owned();
        let thumbprint = ca_acme::Jwk::parse(&client.signer.jwk()).unwrap().thumbprint();
        self.house.files.lock().unwrap().insert(token.clone(), format!("{token}.{thumbprint}{spoil}\n"));
        assert_eq!(self.post(client, &challenge, "{}").await.status, 200);
    }

    /// Looks at an order until it is neither pending nor processing.
    pub async fn settled(&self, client: &Client, order: &str) -> Value {
        for _ in 0..400 {
            let shown = self.post(client, order, "").await.json();
            if !matches!(shown["status"].as_str(), Some("pending" | "processing")) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // as any client polls
        }
        panic!("the order never settled");
    }
}
