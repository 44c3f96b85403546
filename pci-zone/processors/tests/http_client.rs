//! The HTTP client against a server that keeps no rules: what it reuses, what it bounds, and that "not sent" is only
//! ever said of what no server has seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use pci_processors::http::{Cause, Client, ClientConfig, CloseAfter, Endpoint, HttpError, Request, wiped_body};
use zeroize::Zeroizing;

fn client_config(server: &RawServer) -> ClientConfig {
    ClientConfig {
        request_timeout_ms: 30_000,
        ..ClientConfig::new(server.tls(), Endpoint::parse(&server.url).unwrap())
    }
}

fn client(server: &RawServer) -> Client {
    Client::new(client_config(server))
}

fn post(path: &str, body: &str) -> Request {
    Request::post(path, wiped_body(Zeroizing::new(body.as_bytes().to_vec())))
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = RawServer::start(vec![vec![Step::Answer(ok("{}")); 10]]).await;
    let client = client(&server);
    for n in 0..10 {
        let answer = client.send(post(&format!("/{n}"), "a=1")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (200, b"{}".as_slice()));
    }
    let seen = server.seen();
    assert_eq!((seen.connections, seen.requests.len()), (1, 10));
    assert!(seen.requests[3].starts_with("POST /3 HTTP/1.1\r\n"), "{}", seen.requests[3]);
    assert!(seen.requests[3].ends_with("\r\n\r\na=1"));
}

#[tokio::test]
async fn a_connection_dropped_between_requests_is_replaced_without_a_repeat() {
    let server = RawServer::start(vec![vec![Step::AnswerAndClose(ok("{}"))]]).await;
    let client = client(&server);
    for n in 1..=5 {
        client.send(post("/", "a=1")).await.unwrap();
        server.until(|seen| seen.closed == n).await;
    }
    let seen = server.seen();
    assert_eq!((seen.connections, seen.requests.len()), (5, 5), "each request was seen once");
}

#[tokio::test]
async fn an_idle_connection_grows_old() {
    let server = RawServer::start(vec![vec![Step::Answer(ok("{}")); 2]]).await;
    let client = Client::new(ClientConfig { idle_timeout_ms: 0, ..client_config(&server) });
    client.send(Request::get("/")).await.unwrap();
    client.send(Request::get("/")).await.unwrap();
    assert_eq!(server.seen().connections, 2);
}

#[tokio::test]
async fn a_connection_is_closed_when_its_answer_may_hold_secrets() {
    let bad = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec();
    let server = RawServer::start(vec![vec![Step::Answer(ok("{}")), Step::Answer(bad), Step::Answer(ok("{}"))]]).await;
    let client = client(&server);
    client.send(post("/", "a=1").close_after(CloseAfter::Failure)).await.unwrap();
    assert_eq!(server.seen().closed, 0);
    client.send(post("/", "a=1").close_after(CloseAfter::Failure)).await.unwrap();
    server.until(|seen| seen.closed == 1).await;
    client.send(post("/", "a=1").close_after(CloseAfter::Always)).await.unwrap();
    server.until(|seen| seen.closed == 2).await;
    assert_eq!(server.seen().connections, 2);
}

#[tokio::test]
async fn what_is_not_an_answer_leaves_the_outcome_unknown() {
    let garbage: [&[u8]; 7] = [
        b"",
        b"\0\0\0\0",
        b"HELLO\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    let scripts = garbage.iter().map(|bytes| vec![Step::AnswerAndClose(bytes.to_vec())]).collect();
    let server = RawServer::start(scripts).await;
    let client = client(&server);
    for bytes in garbage {
        let answer = client.send(post("/", "a=1")).await;
        let error = answer.err();
        assert!(matches!(error, Some(HttpError::Unknown(Cause::Closed(_)))), "{bytes:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_long_answer_is_not_read_to_its_end() {
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n{".to_vec();
    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend(b"80\r\n".iter().chain(&[b'x'; 128]).chain(b"\r\n").copied().collect::<Vec<u8>>().repeat(20));
    let endless_head = b"HTTP/1.1 200 OK\r\n".iter().copied().chain(b"x: y\r\n".repeat(10_000)).collect();
    let scripts = [announced, chunked, endless_head].map(|bytes| vec![Step::Answer(bytes), Step::Hang]);
    let server = RawServer::start(scripts.to_vec()).await;
    let client = Client::new(ClientConfig { max_body_bytes: 1_024, ..client_config(&server) });
    for _body in 0..2 {
        let error = client.send(Request::get("/")).await.err();
        assert!(matches!(error, Some(HttpError::Unknown(Cause::TooLong { max_bytes: 1_024 }))), "{error:?}");
    }
    let error = client.send(Request::get("/")).await.err();
    assert!(matches!(error, Some(HttpError::Unknown(Cause::Closed(_)))), "{error:?}");
}

#[tokio::test]
async fn an_answer_of_just_the_allowed_length_is_read() {
    let body = "x".repeat(1_024);
    let server = RawServer::start(vec![vec![Step::Answer(ok(&body))]]).await;
    let client = Client::new(ClientConfig { max_body_bytes: 1_024, ..client_config(&server) });
    assert_eq!(client.send(Request::get("/")).await.unwrap().body.len(), 1_024);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_its_connection_closed() {
    let server = RawServer::start(vec![vec![Step::Hang]]).await;
    let client = client(&server);
    let error = client.send(post("/", "a=1").timeout_ms(1_000)).await.err();
    assert!(matches!(error, Some(HttpError::Unknown(Cause::Timeout))), "{error:?}");
    server.until(|seen| seen.closed == 1).await;
    assert_eq!(server.seen().requests.len(), 1);
}

#[tokio::test]
async fn a_server_that_never_greets_was_not_sent_anything() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = RawServer::start(vec![vec![]]).await;
    let endpoint = Endpoint::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let client = Client::new(ClientConfig { connect_timeout_ms: 100, ..ClientConfig::new(server.tls(), endpoint) });
    let error = client.send(Request::get("/")).await.err();
    assert!(matches!(error, Some(HttpError::NotSent(Cause::ConnectTimeout))), "{error:?}");
}

#[tokio::test]
async fn connections_are_bounded_and_waiting_is_too() {
    let server = RawServer::start(vec![vec![Step::Hang]]).await;
    let client = std::sync::Arc::new(Client::new(ClientConfig { max_connections: 2, ..client_config(&server) }));
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let client = std::sync::Arc::clone(&client);
            tokio::spawn(async move { client.send(Request::get("/")).await.is_err() })
        })
        .collect();
    server.until(|seen| seen.requests.len() == 2).await;
    let error = client.send(Request::get("/").timeout_ms(100)).await.err();
    assert!(matches!(error, Some(HttpError::NotSent(Cause::Busy))), "{error:?}");
    assert_eq!(server.seen().connections, 2);
    // A caller who goes away frees his place, and takes the connection with him.
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    server.until(|seen| seen.closed == 2).await;
    let error = client.send(Request::get("/").timeout_ms(1_000)).await.err();
    assert!(matches!(error, Some(HttpError::Unknown(Cause::Timeout))), "{error:?}");
}

#[tokio::test]
async fn many_at_once_share_few_connections() {
    let server = RawServer::start(vec![vec![Step::Answer(ok("{}")); 64]]).await;
    let client = std::sync::Arc::new(Client::new(ClientConfig { max_connections: 4, ..client_config(&server) }));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let client = std::sync::Arc::clone(&client);
        requests.spawn(async move { client.send(post("/", "a=1")).await.unwrap().status });
    }
    assert!(requests.join_all().await.into_iter().all(|status| status.is_success()));
    let seen = server.seen();
    assert_eq!(seen.requests.len(), 64);
    assert!(seen.connections <= 4, "{}", seen.connections);
}

#[tokio::test]
async fn another_root_or_another_name_is_refused() {
    let (server, other) = (RawServer::start(vec![vec![]]).await, RawServer::start(vec![vec![]]).await);
    let wrong_root = ClientConfig::new(other.tls(), Endpoint::parse(&server.url).unwrap());
    let name = rustls_pki_types::ServerName::try_from("processor.example").unwrap();
    let wrong_name = ClientConfig::new(server.tls(), Endpoint::parse(&server.url).unwrap().with_server_name(name));
    for config in [wrong_root, wrong_name] {
        let error = Client::new(config).send(Request::get("/")).await.err();
        assert!(matches!(error, Some(HttpError::NotSent(Cause::Tls(_)))), "{error:?}");
    }
    assert!(server.seen().requests.is_empty());
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: https://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let server = RawServer::start(vec![vec![Step::Answer(elsewhere.to_vec())]]).await;
    let answer = client(&server).send(post("/", "a=1")).await.unwrap();
    assert_eq!(answer.status.as_u16(), 307);
    assert_eq!(server.seen().requests.len(), 1);
}
