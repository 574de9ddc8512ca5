//! Real TLS on loopback: only who has the key of the very certificate is taken for confirmed.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::notify::News;
use crate::notify::testing::{acceptor, news};

/// How a server begins.
#[derive(Clone, Copy)]
enum Opening {
    Info(&'static str),
    TlsFirst,
}

const INFO: Opening = Opening::Info("INFO {\"tls_required\":true}\r\n");

/// Asks a server that shows one certificate and signs with the key of another.
async fn ask(expected: &News, certificate: &News, key: &News, opening: Opening) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address {
        host: "localhost".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let acceptor = acceptor(certificate, key);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        if let Opening::Info(info) = opening {
            stream.write_all(info.as_bytes()).await.unwrap();
        }
        acceptor.accept(stream).await.ok()
    });
    server(&address, &expected.snapshot).await
}

#[tokio::test]
async fn the_expected_certificate_is_seen_with_info_first_and_tls_first() {
    let (ours, _folder) = news().await;
    for opening in [INFO, Opening::TlsFirst] {
        assert_eq!(ask(&ours, &ours, &ours, opening).await, Answer::Seen);
    }
}

#[tokio::test]
async fn another_certificate_is_named() {
    let (ours, _folder) = news().await;
    let (other, _other_folder) = news().await;
    match ask(&ours, &other, &other, INFO).await {
        Answer::NotSeen(why) => assert!(why.contains(&other.fingerprint()), "{why}"),
        answer => panic!("{answer:?}"),
    }
}

/// A certificate is public: showing it proves nothing.
#[tokio::test]
async fn who_shows_the_certificate_without_its_key_confirms_nothing() {
    let (ours, _folder) = news().await;
    let (other, _other_folder) = news().await;
    let answer = ask(&ours, &ours, &other, INFO).await;
    assert!(matches!(answer, Answer::NotSeen(_)), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_nats_server_is_named_as_such() {
    let (ours, _folder) = news().await;
    let endless: &'static str = "INFO x".repeat(100_000).leak();
    for (opening, says) in [("220 smtp\r\n", "no nats-server"), (endless, "no end")] {
        match ask(&ours, &ours, &ours, Opening::Info(opening)).await {
            Answer::NotSeen(why) => assert!(why.contains(says), "{why}"),
            answer => panic!("{answer:?}"),
        }
    }
}
