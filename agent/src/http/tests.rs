//! Real sockets on loopback: what is answered, and what a bad client gets.

use std::time::Instant;

use nats_mtls::{CertificateManager, StatusHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::confirm::Confirmer;
use crate::duties::Duties;
use crate::notify::{Notifier, Paths};

/// Serves a manager that was not built: nothing is known yet.
async fn server(limits: Limits) -> (SocketAddr, StatusHandle) {
    let status = CertificateManager::builder().status_handle();
    let mut server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    server.limits = limits;
    let address = server.address().unwrap();
    let (_notifier, hooks) = Notifier::start(None, Paths::default(), &mut Duties::default());
    let (_confirmer, confirmed) = Confirmer::new(None, status.clone(), hooks.clone());
    let facts = Facts {
        status: status.clone(),
        publish: None,
        hooks,
        confirmed,
    };
    tokio::spawn(server.serve(facts, Exporter::detached()));
    (address, status)
}

/// Everything the server says until it closes. A reset counts as closed.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have hung up on an oversized request before all of it is written.
    stream.write_all(request).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).unwrap()
}

async fn request(address: SocketAddr, method: &str, path: &str) -> String {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    exchange(address, head.as_bytes()).await
}

#[tokio::test]
async fn probes_say_in_one_line_why() {
    let (address, status) = server(LIMITS).await;
    let live = request(address, "GET", "/livez").await;
    assert!(live.starts_with("HTTP/1.1 200 ") && live.ends_with("\r\n\r\nalive\n"));
    for path in ["/readyz", "/startupz"] {
        let answer = request(address, "GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "no_material: the files were not judged yet\n");
    }
    status.set_draining();
    let answer = request(address, "GET", "/readyz").await;
    assert!(answer.ends_with("\r\n\r\ndraining: the process is ending\n"));
}

#[tokio::test]
async fn liveness_says_which_task_ended() {
    let (address, status) = server(LIMITS).await;
    status.set_task_ended("publish");
    let answer = request(address, "GET", "/livez").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let words = "task_ended: the task \"publish\" ended by a bug; only a restart helps\n";
    assert!(answer.ends_with(words), "{answer}");
}

#[tokio::test]
async fn the_status_is_json_also_before_the_start() {
    let (address, _status) = server(LIMITS).await;
    let answer = request(address, "GET", "/status").await;
    assert!(
        answer.contains("content-type: application/json"),
        "{answer}"
    );
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["schema_version"], 1);
    assert_eq!(body["reason"], "no_material");
}

#[tokio::test]
async fn a_scrape_is_prometheus_text_also_before_the_start() {
    let (address, _status) = server(LIMITS).await;
    let answer = request(address, "GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8\r\n";
    assert!(answer.contains(kind), "{answer}");
}

#[tokio::test]
async fn only_known_paths_and_reading_methods_are_served() {
    let (address, _status) = server(LIMITS).await;
    let head = request(address, "HEAD", "/livez").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"));
    for path in ["/", "/livez/", "/status/x", "/../status"] {
        let answer = request(address, "GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let answer = request(address, method, "/status").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
    }
    let http2 = exchange(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!http2.contains("200"), "{http2}");
}

#[tokio::test]
async fn a_slow_client_is_closed() {
    let limits = Limits {
        head: Duration::from_millis(200),
        ..LIMITS
    };
    let (address, _status) = server(limits).await;
    let started = Instant::now();
    // Neither silence nor an unfinished head holds a slot.
    exchange(address, b"").await;
    exchange(address, b"GET /livez HTTP/1.1\r\nhost: ").await;
    assert!(started.elapsed() < LIMITS.head);
}

#[tokio::test]
async fn a_connection_has_a_life_span() {
    let limits = Limits {
        connection: Duration::from_millis(300),
        ..LIMITS
    };
    let (address, _status) = server(limits).await;
    let started = Instant::now();
    exchange(address, b"GET /livez HTTP/1.1\r\ncontent-length: 10\r\n").await;
    assert!(started.elapsed() < LIMITS.head);
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let (address, _status) = server(LIMITS).await;
    let long = format!(
        "GET /livez HTTP/1.1\r\nx: {}\r\n\r\n",
        "a".repeat(64 * 1024)
    );
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "x: a\r\n".repeat(1000));
    for head in [long, many] {
        let answer = exchange(address, head.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let alive = request(address, "GET", "/livez").await;
    assert!(alive.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_crowd_of_silent_clients_keeps_nobody_waiting() {
    let limits = Limits {
        connections: 4,
        ..LIMITS
    };
    let (address, _status) = server(limits).await;
    let started = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = request(address, "GET", "/livez").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut oldest = silent.remove(0);
    assert!(!matches!(oldest.read(&mut [0]).await, Ok(1..)));
    assert!(started.elapsed() < LIMITS.head);
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_way_out() {
    let taken = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = taken.address().unwrap();
    let error = Server::bind(address).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(error.contains("--http"), "{error}");
}
