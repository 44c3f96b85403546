//! The server over real sockets and real TLS: who gets in, what a caller may take, and how it ends. The client here writes
//! its bytes by hand, so that it can be as rude as the tests need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../mtls/tests/pki/mod.rs"]
mod pki;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ca_http::{Limits, Request, Response, Server, Tls};
use ca_mtls::{EnrolmentServer, Identity, client_config, server_config};
use http::{Method, StatusCode};
use pki::{Ask, FRIDGE, LIMIT, Pki, SESSION, domain, id, make};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

/// A wait that is over long before a test would time out, and long enough for a machine that is busy.
const SHORT: Duration = Duration::from_millis(300);

/// A moment at which the test's certificates live.
fn now() -> i64 {
    1_800_000_000
}

struct Running {
    pki: Pki,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
    /// How often the handler was asked.
    asked: Arc<AtomicUsize>,
    /// Released by the test: a request to `/wait` is answered after it.
    go: Arc<Notify>,
    /// Notified by a request to `/wait` when it has begun.
    begun: Arc<Notify>,
}

enum Kind {
    Mutual,
    Enrolment,
}

async fn start(kind: Kind, limits: Limits) -> Running {
    start_at(kind, limits, now).await
}

async fn start_at(kind: Kind, limits: Limits, clock: fn() -> i64) -> Running {
    let pki = Pki::new("root");
    let identity = make(&pki.service, &Ask { dns: vec!["here".into()], ..Ask::for_id(SESSION) }).identity();
    let tls = match kind {
        Kind::Mutual => Tls::Mutual(server_config(&identity, &pki.bundle(), &domain(), &[b"http/1.1"]).unwrap()),
        Kind::Enrolment => Tls::Enrolment(Arc::new(EnrolmentServer::new(&identity, &[b"http/1.1"]).unwrap())),
    };
    let (asked, go, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let shared = (Arc::clone(&asked), Arc::clone(&go), Arc::clone(&begun));
    let handler = move |request: Request| {
        let (asked, go, begun) = shared.clone();
        async move {
            asked.fetch_add(1, Ordering::SeqCst);
            if request.path == "/wait" {
                begun.notify_one();
                go.notified().await;
            }
            tell(&request)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(tls, limits, clock, handler);
    let ended = tokio::spawn(server.run(listener, async move {
        let _ = stopped.await;
    }));
    Running { pki, address, stop: Some(stop), ended, asked, go, begun }
}

/// Says back what was asked.
fn tell(request: &Request) -> Response {
    let peer = request.peer.as_ref().map(|peer| peer.id.to_string());
    let value = serde_json::json!({
        "method": request.method.as_str(), "path": request.path, "query": request.query,
        "body": request.body.len(), "peer": peer,
    });
    Response::json(if request.method == Method::GET { StatusCode::OK } else { StatusCode::CREATED }, &value)
}

impl Running {
    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_as(&self.pki.leaf(FRIDGE).identity()).await
    }

    async fn connect_as(&self, identity: &Identity) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let config = client_config(identity, &self.pki.bundle(), &id(SESSION), &[b"http/1.1"]).unwrap();
        ca_mtls::connect(config, ServerName::try_from("here").unwrap(), stream, LIMIT).await.unwrap().0
    }

    async fn ask(&self, request: &str) -> String {
        ask(&mut self.connect().await, request).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(LIMIT, self.ended).await.unwrap().unwrap();
    }
}

/// Sends bytes and reads until the server closes, which it does when asked for one request alone.
async fn ask(tls: &mut TlsStream<TcpStream>, request: &str) -> String {
    let _ = tls.write_all(request.as_bytes()).await; // a server that has heard enough may have closed
    read(tls).await
}

async fn read(tls: &mut TlsStream<TcpStream>) -> String {
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(LIMIT, tls.read_to_end(&mut heard)).await.expect("the server closes in time");
    String::from_utf8(heard).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
}

fn post(bytes: usize) -> String {
    let head = format!("POST /post HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n");
    head + &"x".repeat(bytes)
}

fn chunked(bytes: usize) -> String {
    let head = "POST /post HTTP/1.1\r\nhost: here\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes))
}

#[tokio::test]
async fn a_party_is_served_under_its_name() {
    let running = start(Kind::Mutual, Limits::default()).await;
    let heard = running.ask(&get("/a%20b?c=d")).await;
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(heard.contains("content-type: application/json") && heard.contains("content-length: "), "{heard}");
    for part in [format!(r#""peer":"{FRIDGE}""#), r#""path":"/a%20b""#.into(), r#""query":"c=d""#.into()] {
        assert!(heard.contains(&part), "{part}: {heard}");
    }
    let heard = running.ask(&post(5)).await;
    assert!(heard.starts_with("HTTP/1.1 201") && heard.contains(r#""body":5"#), "{heard}");
    running.stop().await;
}

#[tokio::test]
async fn another_authoritys_party_is_not_served_and_on_a_listener_for_enrolment_nobody_has_a_name() {
    let stranger = Pki::new("another root");
    let strange = stranger.leaf(FRIDGE).identity();
    let running = start(Kind::Mutual, Limits::default()).await;
    assert_eq!(ask(&mut running.connect_as(&strange).await, &get("/")).await, "");
    assert_eq!(running.asked(), 0);
    running.stop().await;
    let running = start(Kind::Enrolment, Limits::default()).await;
    for identity in [strange, running.pki.leaf(FRIDGE).identity()] {
        let heard = ask(&mut running.connect_as(&identity).await, &get("/")).await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.contains(r#""peer":null"#), "{heard}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_that_runs_out_during_a_connection_is_noticed() {
    let after = || i64::from(u32::MAX); // in 2106, and the certificates end in 2090
    let running = start_at(Kind::Mutual, Limits::default(), after).await;
    let heard = running.ask(&get("/")).await;
    assert!(heard.starts_with("HTTP/1.1 403") && heard.contains("urn:larder:problem:expired"), "{heard}");
    assert_eq!(running.asked(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_body_at_its_bound_is_taken_and_a_byte_more_is_not() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    for shape in [post, chunked] {
        let heard = running.ask(&shape(1000)).await;
        assert!(heard.starts_with("HTTP/1.1 201") && heard.contains(r#""body":1000"#), "{heard}");
    }
    assert_eq!(running.asked(), 2);
    for shape in [post, chunked] {
        let heard = running.ask(&shape(1001)).await;
        assert!(heard.starts_with("HTTP/1.1 413") && heard.contains("at most 1000 bytes"), "{heard}");
    }
    assert_eq!(running.asked(), 2, "the handler does not hear of it");
    running.stop().await;
}

#[tokio::test]
async fn a_head_is_bounded_in_bytes_and_in_headers() {
    let limits = Limits { headers: 4, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    let with = |more: &str| format!("GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{more}\r\n");
    assert!(running.ask(&with("a: 1\r\nb: 2\r\n")).await.starts_with("HTTP/1.1 200"));
    let heard = running.ask(&with("a: 1\r\nb: 2\r\nc: 3\r\n")).await;
    assert!(heard.starts_with("HTTP/1.1 431"), "{heard}");
    let heard = running.ask(&with(&format!("a: {}\r\n", "x".repeat(9000)))).await;
    assert!(heard.starts_with("HTTP/1.1 431"), "{heard}");
    let heard = running.ask("what is this\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.1 400"), "{heard}");
    let heard = running.ask("OPTIONS * HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.1 400") && heard.contains("bad_target"), "{heard}");
    assert_eq!(running.asked(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_and_an_answer_that_does_not_come_end_in_time() {
    let limits = Limits { request: SHORT, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    let heard = running.ask("POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert!(heard.starts_with("HTTP/1.1 503") && heard.contains("too_slow"), "{heard}");
    assert_eq!(running.asked(), 0);
    let heard = running.ask(&get("/wait")).await;
    assert!(heard.starts_with("HTTP/1.1 503") && heard.contains("too_slow"), "{heard}");
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_more_is_closed() {
    let limits = Limits { idle: SHORT, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    // Nothing at all, half a head, and silence after a whole request.
    assert_eq!(read(&mut running.connect().await).await, "");
    let heard = running.ask("GET / HTTP/1.1\r\nhost:").await;
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408"), "{heard}");
    assert!(running.ask("GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_never_idle_ends_at_its_age() {
    let limits = Limits { age: SHORT, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    let mut tls = running.connect().await;
    let answers = tokio::time::timeout(LIMIT, async {
        let mut answers = 0;
        let mut room = vec![0; 4096];
        while tls.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.is_ok() {
            match tls.read(&mut room).await {
                Ok(bytes) if bytes > 0 => answers += 1,
                _ => break,
            }
        }
        answers
    });
    assert!(answers.await.expect("it ends") > 1, "it was served while it lived");
    running.stop().await;
}

#[tokio::test]
async fn a_caller_who_does_no_handshake_loses_his_place() {
    let limits = Limits { connections: 1, handshake: SHORT, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    let _silent = TcpStream::connect(running.address).await.unwrap();
    assert!(running.ask(&get("/")).await.starts_with("HTTP/1.1 200"), "the next one is served after him");
    running.stop().await;
}

#[tokio::test]
async fn one_connection_more_than_the_bound_waits_for_its_turn() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    let mut first = running.connect().await;
    first.write_all(get("/wait").as_bytes()).await.unwrap();
    running.begun.notified().await;
    let second = get("/");
    let mut second = Box::pin(running.ask(&second));
    assert!(tokio::time::timeout(SHORT, second.as_mut()).await.is_err(), "there is no place for it");
    running.go.notify_one();
    assert!(read(&mut first).await.starts_with("HTTP/1.1 200"));
    assert!(second.await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}

#[tokio::test]
async fn at_its_end_it_finishes_what_is_under_way_and_closes_what_is_idle() {
    let running = start(Kind::Enrolment, Limits::default()).await;
    let (mut idle, mut busy) = (running.connect().await, running.connect().await);
    busy.write_all(b"GET /wait HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    running.begun.notified().await;
    let (go, address) = (Arc::clone(&running.go), running.address);
    let ending = tokio::spawn(running.stop());
    assert_eq!(read(&mut idle).await, "");
    assert!(!ending.is_finished());
    go.notify_one();
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 200"));
    ending.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn at_its_end_it_does_not_wait_for_ever() {
    let limits = Limits { drain: SHORT, ..Limits::default() };
    let running = start(Kind::Enrolment, limits).await;
    let mut stuck = running.connect().await;
    stuck.write_all(get("/wait").as_bytes()).await.unwrap();
    running.begun.notified().await;
    running.stop().await;
    assert_eq!(read(&mut stuck).await, "", "it was cut off");
}
