//! Real sockets on loopback: what is sent, and what bad answers get away with.

use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::testing::{acceptor, news};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn hook(url: &str, limit: Duration) -> PostHook {
    let url = HookUrl::parse(url).unwrap();
    PostHook::new(PostConfig { url, limit })
}

/// Reads one request, then says `answer` and hangs up; returns what it read.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"Z\"}") {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&request));
        request.extend(&chunk[..read]);
    }
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
    String::from_utf8(request).unwrap()
}

async fn answer(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/-/reload?a=b", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        converse(stream, answer).await
    });
    (url, task)
}

#[tokio::test]
async fn the_document_says_what_is_new() {
    let (news, _folder) = news().await;
    let (url, task) = answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    hook(&url, LIMIT).run(&news).await.unwrap();
    let request = task.await.unwrap();
    assert!(
        request.starts_with("POST /-/reload?a=b HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["event"], "rotated");
    assert_eq!(body["generation"], 1);
    assert_eq!(body["fingerprint_sha256"], news.fingerprint());
    assert_eq!(body["not_after"], "3000-01-01T00:00:00Z");
    assert_eq!(body["files"]["key"], news.paths.key.to_str().unwrap());
}

#[tokio::test]
async fn anything_but_success_is_a_failure() {
    let (news, _folder) = news().await;
    for (reply, says) in [
        (
            // As frameworks do that explain themselves.
            "HTTP/1.1 500 No\r\ncontent-length: 29\r\n\r\nPOST /-/reload?a=b is not here",
            "answers 500 Internal Server Error",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "302",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "404"),
        ("SSH-2.0-x\r\n", "not HTTP"),
        ("", "not HTTP"),
    ] {
        let (url, _task) = answer(reply).await;
        let error = hook(&url, LIMIT).run(&news).await.unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert!(
            !error.contains("/-/reload") && !error.contains("a=b"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn silence_is_bounded_and_absence_is_named() {
    let (news, _folder) = news().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    let limit = Duration::from_millis(200);
    let error = hook(&url, limit).run(&news).await.unwrap_err();
    assert!(matches!(error, PostError::TooSlow { .. }), "{error}");
    assert!(started.elapsed() < LIMIT);
    drop(listener);
    let error = hook(&url, LIMIT).run(&news).await.unwrap_err();
    assert!(matches!(error, PostError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn over_tls_the_other_side_must_be_of_our_ca() {
    let (ours, _folder) = news().await;
    let (stranger, _other_folder) = news().await;
    for (server, trusted) in [(&ours, true), (&stranger, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = acceptor(server, server);
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.ok()?;
            Some(converse(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await)
        });
        let result = hook(&format!("https://localhost:{port}/"), LIMIT)
            .run(&ours)
            .await;
        assert_eq!(result.is_ok(), trusted, "{result:?}");
        assert_eq!(task.await.unwrap().is_some(), trusted);
    }
}
