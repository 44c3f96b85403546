//! The client for http-01 against hosts that answer as they like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::{IpAddr, SocketAddr};

use acme_server::Http01;
use ca_acme::{Host, Kind, ProbeHttp01, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn probe(host: &str) -> ProbeHttp01 {
    let (token, key_authorization) = ("token".to_owned(), "token.thumbprint".to_owned());
    ProbeHttp01 { order: "o".into(), place: 0, host: Host::parse(host).unwrap(), token, key_authorization }
}

/// Looks at a host that says exactly this to its first request; gives what came of it and what it was asked.
async fn looked(answer: &[u8]) -> (Result<(), Problem>, String) {
    looked_at("admin.larder.internal", "127.0.0.1", answer).await
}

/// The same for a host of this name or address, which listens at one.
async fn looked_at(host: &str, at: &str, answer: &[u8]) -> (Result<(), Problem>, String) {
    let listener = TcpListener::bind((at.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = http01(address);
    let answer = answer.to_vec();
    let serving = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        let _ = stream.write_all(&answer).await;
        String::from_utf8_lossy(&asked[..read]).into_owned()
    };
    let probe = probe(host);
    tokio::join!(client.look(&probe), serving)
}

fn http01(address: SocketAddr) -> Http01 {
    let resolve = [("admin.larder.internal".to_owned(), address)].into_iter().collect();
    Http01 { port: address.port(), resolve }
}

#[tokio::test]
async fn the_right_text_is_a_proof_with_or_without_an_end_of_line() {
    for body in ["token.thumbprint", "token.thumbprint\n", "token.thumbprint \r\n"] {
        let (outcome, asked) = looked(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).await;
        assert_eq!(outcome, Ok(()));
        assert!(asked.starts_with("GET /.well-known/acme-challenge/token HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_ascii_lowercase().contains("host: admin.larder.internal\r\n"), "{asked}");
    }
}

#[tokio::test]
async fn an_address_is_asked_where_it_is_by_its_own_name() {
    let proof = b"HTTP/1.1 200 OK\r\n\r\ntoken.thumbprint";
    for (address, host) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.9", "127.0.0.9"), ("::1", "[::1]")] {
        let (outcome, asked) = looked_at(address, address, proof).await;
        assert_eq!(outcome, Ok(()), "{address}");
        assert!(asked.starts_with("GET /.well-known/acme-challenge/token HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_ascii_lowercase().contains(&format!("host: {host}\r\n")), "{asked}");
        let problem = looked_at(address, address, b"HTTP/1.1 200 OK\r\n\r\nother").await.0.unwrap_err();
        let url = format!("http://{host}/.well-known/");
        assert!(problem.kind == Kind::IncorrectResponse && problem.detail.starts_with(&url), "{problem:?}");
    }
}

#[tokio::test]
async fn what_is_said_of_names_does_not_lead_an_address_elsewhere() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = elsewhere.local_addr().unwrap();
    let resolve = [("127.0.0.9".to_owned(), address), ("::1".to_owned(), address)].into_iter().collect();
    let client = Http01 { port: address.port(), resolve };
    for host in ["127.0.0.9", "::1"] {
        let problem = client.look(&probe(host)).await.unwrap_err();
        assert!(problem.kind == Kind::Connection && problem.detail.contains("nobody answers"), "{problem:?}");
    }
}

#[tokio::test]
async fn anything_else_is_none() {
    let long = [b"HTTP/1.1 200 OK\r\n\r\ntoken.thumbprint".as_slice(), &[b' '; 5000]].concat();
    let header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\ntoken.thumbprint", "x".repeat(20_000));
    for (answer, kind, words) in [
        (&b"HTTP/1.1 200 OK\r\n\r\ntoken.other"[..], Kind::IncorrectResponse, "something else"),
        (b"HTTP/1.1 200 OK\r\n\r\n", Kind::IncorrectResponse, "something else"),
        (b"HTTP/1.1 200 OK\r\n\r\n token.thumbprint", Kind::IncorrectResponse, "something else"),
        (b"HTTP/1.1 404 Not Found\r\n\r\ntoken.thumbprint", Kind::IncorrectResponse, "404"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", Kind::IncorrectResponse, "not followed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\ntoken.thumbprint", Kind::IncorrectResponse, "whole"),
        (&long, Kind::IncorrectResponse, "4096 bytes"),
        (header.as_bytes(), Kind::Connection, ""),
        (b"SSH-2.0-x\r\n", Kind::Connection, ""),
        (b"", Kind::Connection, ""),
    ] {
        let problem = looked(answer).await.0.unwrap_err();
        assert_eq!(problem.kind, kind, "{problem:?}");
        assert!(problem.detail.contains(words), "{words:?}: {problem:?}");
        assert!(problem.detail.starts_with("http://admin.larder.internal/.well-known/"), "{problem:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_said_to_be_not_there() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let problem = http01(address).look(&probe("admin.larder.internal")).await.unwrap_err();
    assert!(problem.kind == Kind::Connection && problem.detail.contains("nobody answers"), "{problem:?}");
    let problem = http01(address).look(&probe("nowhere.invalid")).await.unwrap_err();
    assert!(problem.kind == Kind::Connection && problem.detail.contains("no address"), "{problem:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_not_waited_for_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let problem = http01(silent.local_addr().unwrap()).look(&probe("admin.larder.internal")).await.unwrap_err();
    assert!(problem.kind == Kind::Connection && problem.detail.contains("within 10 s"), "{problem:?}");
}
