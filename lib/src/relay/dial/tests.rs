//! The dialer against servers that keep to a script: what it makes of each, and how long that takes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::nats::{FailureKind, Secret};
use crate::relay::report::HandoverReason;
use crate::relay::testbed::{INFO, Testbed, greet, serve};

const DAY: Duration = Duration::from_secs(86_400);
const CONNECT: &[u8] = br#"{"verbose":true,"name":"legacy","tls_required":true}"#;
const FULL: &[u8] = b"INFO {\"tls_required\":true}\r\n-ERR 'maximum connections exceeded'\r\n";

fn settings() -> ConnectSettings {
    ConnectSettings::new().connect_timeout(Duration::from_secs(4))
}

fn dialer(bed: &Testbed, ports: &[u16], settings: ConnectSettings) -> Dialer {
    let urls = ports.iter().map(|port| format!("tls://localhost:{port}"));
    let urls: Vec<_> = urls.collect();
    Dialer::new(
        Arc::clone(&bed.store),
        ServerList::parse(urls).unwrap(),
        settings,
    )
}

fn connect() -> Connect {
    Connect::parse(CONNECT).unwrap()
}

/// A bed with material, and an acceptor that it can talk to.
fn bed() -> (Testbed, TlsAcceptor) {
    let bed = Testbed::new();
    bed.publish(DAY);
    let acceptor = bed.acceptor("localhost", &bed);
    (bed, acceptor)
}

/// Reads until the client has said `PING`, answers, and says what the client had said.
async fn conversation(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    answer: &'static [u8],
) -> Option<Vec<u8>> {
    let mut stream = greet(stream, acceptor).await?;
    let mut said = Vec::new();
    while !said.ends_with(b"PING\r\n") {
        if stream.read_buf(&mut said).await.ok()? == 0 {
            return None;
        }
    }
    stream.write_all(answer).await.ok()?;
    stream.flush().await.ok()?;
    // Until the client goes: what it has not read yet must not be lost with a reset.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    Some(said)
}

/// A server that answers CONNECT and PING with `answer`.
async fn answering(acceptor: &TlsAcceptor, answer: &'static [u8]) -> u16 {
    let acceptor = acceptor.clone();
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            conversation(stream, acceptor, answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn what_comes_behind_the_pong_is_kept() {
    let (bed, acceptor) = bed();
    let answer = b"+OK\r\nPING\r\nINFO {\"server_id\":\"T\"}\r\nPONG\r\nINFO {\"serv";
    let port = answering(&acceptor, answer).await;
    let dialer = dialer(&bed, &[port], settings());
    let dialed = dialer.join(&Wish::default(), &connect()).await.unwrap();
    assert_eq!(dialed.unread, b"INFO {\"serv");
    assert_eq!(dialed.info.server_id, "T");
    assert_eq!(dialed.info_json, b"{\"server_id\":\"T\"}");
    assert_eq!(dialed.server, format!("localhost:{port}"));
    assert_eq!(dialed.wire.snapshot.generation().number(), 1);
    assert!(dialed.wire.presented && dialed.wire.server.is_some());
}

#[tokio::test]
async fn info_alone_is_enough_to_open_and_the_rest_can_follow() {
    let (bed, acceptor) = bed();
    let port = answering(&acceptor, b"PONG\r\n").await;
    let dialer = dialer(&bed, &[port], settings());
    let opened = dialer.open(&Wish::default()).await.unwrap();
    assert_eq!(opened.info.max_payload, 1024);
    assert!(INFO.contains(std::str::from_utf8(&opened.info_json).unwrap()));
    let dialed = dialer.introduce(opened, &connect()).await.unwrap();
    assert!(dialed.unread.is_empty());
}

#[tokio::test]
async fn tls_first_reads_info_inside() {
    let (bed, acceptor) = bed();
    let port = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            stream.write_all(INFO.as_bytes()).await.ok();
            stream.write_all(b"PING\r\n").await.ok();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    })
    .await;
    let dialer = dialer(&bed, &[port], settings().tls_first(true));
    let opened = dialer.open(&Wish::default()).await.unwrap();
    assert_eq!(opened.info.server_id, "S");
}

/// Each server misbehaves in its own way; the kind, the reason and a word of the cause are told.
#[tokio::test]
async fn whoever_is_to_blame_is_named() {
    use FailureKind::{Authorization, CertificateRefused, ServerUntrusted, Unavailable};
    let (bed, acceptor) = bed();
    let stranger = Testbed::new();
    let other_name = bed.acceptor("elsewhere", &bed);
    let other_clients = bed.acceptor("localhost", &stranger);
    let other_root = stranger.acceptor("localhost", &bed);
    let plain = |bytes: &'static [u8]| {
        serve(move |mut stream: TcpStream| async move {
            stream.write_all(bytes).await.ok();
            stream.read_to_end(&mut Vec::new()).await.ok();
        })
    };
    let endless = serve(|mut stream: TcpStream| async move {
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let closing = serve(|stream: TcpStream| async move { drop(stream) });
    let chatty = {
        let acceptor = acceptor.clone();
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Some(mut stream) = greet(stream, acceptor).await else {
                    return;
                };
                while stream.write_all(&b"+OK\r\n".repeat(4096)).await.is_ok() {}
            }
        })
    };
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let cases = [
        (
            answering(&acceptor, b"-ERR 'Authorization Violation'\r\n").await,
            Authorization,
            HandoverReason::Auth,
            "Authorization Violation",
        ),
        (
            answering(&acceptor, b"-ERR 'maximum connections exceeded'\r\n").await,
            Unavailable,
            HandoverReason::Refused,
            "maximum connections exceeded",
        ),
        // What nats-server does when it is full: behind INFO, without waiting for TLS.
        (
            plain(FULL).await,
            Unavailable,
            HandoverReason::Refused,
            "maximum connections exceeded",
        ),
        (
            answering(&acceptor, b"MSG a 1 2\r\nhi\r\n").await,
            Unavailable,
            HandoverReason::Dial,
            "before the PONG",
        ),
        (
            answering(&acceptor, b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
            Unavailable,
            HandoverReason::Dial,
            "not the NATS protocol",
        ),
        (
            answering(&acceptor, b"INFO not json\r\n").await,
            Unavailable,
            HandoverReason::Dial,
            "INFO",
        ),
        (
            answering(&acceptor, b"").await,
            Unavailable,
            HandoverReason::Dial,
            "no answer in time",
        ),
        (
            answering(&other_name, b"PONG\r\n").await,
            ServerUntrusted,
            HandoverReason::Tls,
            "name mismatch",
        ),
        (
            answering(&other_root, b"PONG\r\n").await,
            ServerUntrusted,
            HandoverReason::Tls,
            "is not trusted",
        ),
        // TLS 1.3: we believe that the handshake is done; the alert comes with the first read.
        (
            answering(&other_clients, b"PONG\r\n").await,
            CertificateRefused,
            HandoverReason::Tls,
            "refused the client certificate",
        ),
        (
            plain(b"INFO {\"server_id\":").await,
            Unavailable,
            HandoverReason::Dial,
            "no answer in time",
        ),
        (
            plain(b"INFO []\r\n").await,
            Unavailable,
            HandoverReason::Dial,
            "",
        ),
        (
            plain(b"SSH-2.0-OpenSSH_9.2\r\n").await,
            Unavailable,
            HandoverReason::Dial,
            "does not begin with INFO",
        ),
        (
            // Never goes on with TLS.
            plain(INFO.as_bytes()).await,
            Unavailable,
            HandoverReason::Dial,
            "no answer in time",
        ),
        (
            endless.await,
            Unavailable,
            HandoverReason::Dial,
            "does not end",
        ),
        (closing.await, Unavailable, HandoverReason::Dial, ""),
        (
            chatty.await,
            Unavailable,
            HandoverReason::Dial,
            "does not come to the PONG",
        ),
        (dead, Unavailable, HandoverReason::Dial, "refused"),
    ];
    let all = cases.map(async |(port, kind, reason, words)| {
        let dialer = dialer(&bed, &[port], settings());
        let Err(error) = dialer.join(&Wish::default(), &connect()).await else {
            panic!("{words}: accepted");
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.handover_reason(), reason, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        let server = format!("localhost:{port}");
        assert!(error.to_string().contains(&server), "{error}");
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn without_material_nobody_is_dialled() {
    let bed = Testbed::new();
    let dialer = dialer(&bed, &[1], settings());
    let error = dialer.open(&Wish::default()).await.err();
    assert!(matches!(error, Some(DialError::NoMaterial)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_fails_leaves_it_to_the_others() {
    let (bed, acceptor) = bed();
    let bad = answering(&acceptor, b"-ERR 'Authorization Violation'\r\n").await;
    let good = answering(&acceptor, b"PONG\r\n").await;
    let dialer = dialer(&bed, &[bad, good], settings());
    for _ in 0..8 {
        let dialed = dialer.join(&Wish::default(), &connect()).await.unwrap();
        assert_eq!(dialed.peer.port(), good);
    }
}

#[tokio::test]
async fn a_wish_is_followed_but_never_at_the_price_of_a_connection() {
    let (bed, acceptor) = bed();
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push(answering(&acceptor, b"PONG\r\n").await);
    }
    let dialer = dialer(&bed, &ports, settings());
    let join = async |wish: Wish| dialer.join(&wish, &connect()).await.unwrap().peer;
    // Learns all three.
    let mut peers = std::collections::BTreeSet::new();
    while peers.len() < 3 {
        peers.insert(join(Wish::default()).await);
    }
    for peer in &peers {
        let first = Some(*peer);
        for _ in 0..4 {
            assert_eq!(join(Wish { first, avoid: None }).await, *peer);
            let avoided = join(Wish {
                first: None,
                avoid: first,
            })
            .await;
            assert_ne!(avoided, *peer);
        }
    }
    // Nobody listens there any more, and it is nobody's address.
    let gone = Some("127.0.0.1:1".parse().unwrap());
    assert!(
        peers.contains(
            &join(Wish {
                first: gone,
                avoid: None
            })
            .await
        )
    );
    let only = super::tests::dialer(&bed, &ports[..1], settings());
    let peer = only.join(&Wish::default(), &connect()).await.unwrap().peer;
    let wish = Wish {
        first: None,
        avoid: Some(peer),
    };
    assert_eq!(only.join(&wish, &connect()).await.unwrap().peer, peer);
}

#[tokio::test]
async fn held_credentials_are_put_into_the_connect_that_has_none() {
    let (bed, acceptor) = bed();
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let port = serve(move |stream| {
        let (acceptor, said) = (acceptor.clone(), said.clone());
        async move {
            if let Some(words) = conversation(stream, acceptor, b"PONG\r\n").await {
                said.send(String::from_utf8(words).unwrap()).ok();
            }
        }
    })
    .await;
    let seed = nkeys::KeyPair::new_user();
    let held = Authentication::NkeySeed(Secret::new(seed.seed().unwrap()));
    let dialer = dialer(&bed, &[port], settings().authentication(held));
    for (json, expected) in [
        (CONNECT, seed.public_key()),
        (
            br#"{"user":"own","pass":"word"}"#.as_slice(),
            "\"user\":\"own\"".to_owned(),
        ),
    ] {
        let connect = Connect::parse(json).unwrap();
        drop(dialer.join(&Wish::default(), &connect).await.unwrap());
        let words = heard.recv().await.unwrap();
        assert!(words.contains(&expected), "{words}");
        assert_eq!(words.contains("\"sig\":"), json == CONNECT, "{words}");
        assert!(!words.contains("\"tls_required\":true"), "{words}");
    }
}
