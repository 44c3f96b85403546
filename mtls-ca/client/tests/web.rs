//! The way to the authority, against its own server over real TLS: one connection for many questions, another one when that
//! was closed, and an end to waiting and reading.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../mtls/tests/pki/mod.rs"]
mod pki;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ca_client::{AcmeError, Web, next_bundle, next_bundle_of_anyone};
use ca_http::{Limits, Request, Response, Server, Tls};
use ca_mtls::{AnyServer, EnrolmentClient, EnrolmentServer, NextBundle};
use http::StatusCode;
use pki::{ADMIN, Ask, Pki, SESSION, id, make};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn now() -> i64 {
    1_800_000_000
}

struct Running {
    pki: Pki,
    address: SocketAddr,
    /// The ports that the connections came from.
    callers: Arc<Mutex<BTreeSet<u16>>>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// A server behind a relay that notes who calls; `limits` are the server's.
async fn start(limits: Limits) -> Running {
    let pki = Pki::new("root");
    let identity = make(&pki.service, &Ask { dns: vec!["localhost".into()], ..Ask::for_id(SESSION) }).identity();
    let tls = Tls::Enrolment(Arc::new(EnrolmentServer::new(&identity, &[b"http/1.1"]).unwrap()));
    let answer = |request: Request| async move {
        match request.path.as_str() {
            "/echo" => Response::with_body(StatusCode::OK, "text/plain", request.body.to_vec()),
            "/long" => Response::with_body(StatusCode::OK, "text/plain", vec![b'x'; 300 * 1024]),
            "/bundle" => match request.header(&http::header::IF_NONE_MATCH) {
                None => Response::with_body(StatusCode::OK, "application/jose", "the last"),
                Some("\"1\"") => Response::with_body(StatusCode::OK, "application/jose", "the second"),
                Some("\"2\"") => Response::empty(StatusCode::NOT_MODIFIED),
                Some(_) => Response::empty(StatusCode::CONFLICT),
            },
            _ => Response::empty(StatusCode::NOT_FOUND),
        }
    };
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = inner.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(Server::new(tls, limits, now, answer).run(inner, async move { drop(stopped.await) }));
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let callers = Arc::<Mutex<BTreeSet<u16>>>::default();
    let noted = Arc::clone(&callers);
    tokio::spawn(async move {
        while let Ok((mut near, from)) = relay.accept().await {
            noted.lock().unwrap().insert(from.port());
            tokio::spawn(async move {
                let mut far = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    Running { pki, address, callers, stop, ended }
}

impl Running {
    fn client(&self, server: &str) -> Web {
        let tls = EnrolmentClient::new(&self.pki.bundle()).config(&id(server), &[b"http/1.1"]).unwrap();
        Web::new(format!("localhost:{}", self.address.port()), tls)
    }

    fn connections(&self) -> usize {
        self.callers.lock().unwrap().len()
    }
}

async fn echo(web: &Web, word: &str) -> Result<String, String> {
    let answer = web.post_json("/echo", word.to_owned()).await.map_err(|why| why.to_string())?;
    assert_eq!(answer.status(), 200);
    Ok(String::from_utf8(answer.into_body().to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_share_a_connection_until_it_is_closed() {
    let running = start(Limits { idle: std::time::Duration::from_millis(300), ..Limits::default() }).await;
    let web = running.client(SESSION);
    for word in ["one", "two", "three"] {
        assert_eq!(echo(&web, word).await, Ok(word.to_owned()));
    }
    assert_eq!(web.post_json("/elsewhere", String::new()).await.unwrap().status(), 404);
    assert_eq!(running.connections(), 1);
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    assert_eq!(echo(&web, "four").await, Ok("four".to_owned()), "the server had closed it");
    assert_eq!(running.connections(), 2);
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_another_server_and_no_server_are_told_in_words() {
    let running = start(Limits::default()).await;
    let web = running.client(SESSION);
    let why = web.post_json("/long", String::new()).await.unwrap_err().to_string();
    assert!(why.contains("length limit"), "{why}");
    assert_eq!(echo(&web, "after").await, Ok("after".to_owned()), "what broke is not used again");
    let why = echo(&running.client(ADMIN), "x").await.unwrap_err();
    assert!(why.contains(SESSION) && why.contains(ADMIN), "{why}");
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tls = EnrolmentClient::new(&running.pki.bundle()).config(&id(SESSION), &[b"http/1.1"]).unwrap();
    let why = echo(&Web::new(free.to_string(), tls), "x").await.unwrap_err();
    assert!(why.contains(&free.to_string()) && why.contains("refused"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trust_bundle_is_asked_for_by_version() {
    let running = start(Limits::default()).await;
    let web = running.client(SESSION);
    for (known, answer) in [(None, Some("the last")), (Some(1), Some("the second")), (Some(2), None)] {
        let expected = answer.map_or(NextBundle::Unchanged, |text| NextBundle::New(text.to_owned()));
        assert_eq!(next_bundle(&web, known).await, Ok(expected), "{known:?}");
    }
    let why = next_bundle(&web, Some(3)).await.unwrap_err();
    assert!(matches!(&why, AcmeError::Failed(why) if why.contains("409")), "{why}");
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trust_bundle_is_asked_of_anyone_by_who_trusts_nobody_any_more() {
    let running = start(Limits::default()).await;
    let address = format!("localhost:{}", running.address.port());
    let tls = EnrolmentClient::new(&Pki::new("another root").bundle()).config(&id(SESSION), &[b"http/1.1"]).unwrap();
    let why = next_bundle(&Web::new(address.clone(), tls), Some(1)).await.unwrap_err();
    assert!(matches!(&why, AcmeError::Failed(why) if why.contains("could not be asked")), "{why}");
    let anyone = AnyServer::new(&[b"http/1.1"]).unwrap();
    let second = NextBundle::New("the second".to_owned());
    assert_eq!(next_bundle_of_anyone(&address, &anyone, Some(1)).await, Ok(second));
    assert_eq!(next_bundle_of_anyone(&address, &anyone, Some(2)).await, Ok(NextBundle::Unchanged));
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
    assert!(next_bundle_of_anyone(&address, &anyone, Some(1)).await.is_err(), "nobody answers");
}
