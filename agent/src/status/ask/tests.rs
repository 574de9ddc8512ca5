//! Real sockets on loopback: what something that is no agent, or a hostile one, gets away with.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::args::StatusArgs;
use crate::config::StatusConfig;

const PATIENCE: Duration = Duration::from_millis(500);

fn url(port: u16) -> HttpUrl {
    let args = StatusArgs {
        url: format!("http://127.0.0.1:{port}"),
        json: false,
    };
    StatusConfig::new(&args).unwrap().url
}

/// Says `head`, then `chunk` again and again, to whoever asks.
async fn answer(head: &'static str, chunk: Vec<u8>, times: usize) -> HttpUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(head.as_bytes()).await.ok();
        for _ in 0..times {
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
        if times == 0 {
            std::future::pending::<()>().await;
        }
    });
    url(port)
}

async fn refusal(head: &'static str, chunk: Vec<u8>, times: usize) -> String {
    let url = answer(head, chunk, times).await;
    let started = Instant::now();
    let error = ask_within(&url, PATIENCE).await.unwrap_err().to_string();
    assert!(started.elapsed() < 4 * PATIENCE, "{error}");
    error
}

#[tokio::test]
async fn an_answer_is_taken_with_and_without_a_length() {
    let whole = answer(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        b"{}".to_vec(),
        1,
    )
    .await;
    assert_eq!(ask(&whole).await.unwrap(), "{}");
    let until_close = answer("HTTP/1.1 200 OK\r\n\r\n", b"{}".to_vec(), 1).await;
    assert_eq!(ask(&until_close).await.unwrap(), "{}");
}

#[tokio::test]
async fn silence_is_bounded() {
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
        let error = refusal(head, Vec::new(), 0).await;
        assert!(error.starts_with("no complete answer within"), "{error}");
    }
}

#[tokio::test]
async fn a_flood_is_bounded() {
    let endless = vec![b'x'; 64 * 1024];
    let error = refusal("HTTP/1.1 200 OK\r\n\r\n", endless.clone(), 1000).await;
    assert!(error.contains("larger than 4194304 bytes"), "{error}");
    let head = refusal("HTTP/1.1 200 OK\r\nx: ", endless, 1000).await;
    assert!(head.contains("not HTTP"), "{head}");
}

#[tokio::test]
async fn what_is_no_agent_is_named_as_such() {
    let nats = refusal("INFO {\"server_id\":\"a\"}\r\n", b"x".to_vec(), 1).await;
    assert!(nats.contains("not HTTP"), "{nats}");
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://a/\r\ncontent-length: 0\r\n\r\n";
    let error = refusal(elsewhere, Vec::new(), 1).await;
    assert!(error.contains("302"), "{error}");
    let broken = refusal(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        b"{".to_vec(),
        1,
    )
    .await;
    assert!(broken.contains("breaks off"), "{broken}");
}

#[tokio::test]
async fn nobody_there_is_an_error_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(matches!(ask(&url(port)).await, Err(AskError::Connect(_))));
}
