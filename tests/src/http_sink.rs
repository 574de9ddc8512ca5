//! An HTTP server on loopback that keeps what every POST said, and takes it or refuses it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends when it is dropped.
#[derive(Debug)]
pub struct HttpSink {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl HttpSink {
    /// Listens on a free port and answers 204 to everything.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await
    }

    /// Answers 500 with the first line of the request, as frameworks do that explain themselves.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start_refusing_with_an_echo() -> Result<Self> {
        Self::start_with(|head| {
            let line = head.lines().next().unwrap_or_default();
            let length = line.len();
            format!("HTTP/1.1 500 No\r\ncontent-length: {length}\r\n\r\n{line}")
        })
        .await
    }

    /// `answer` makes the answer of the head of the request.
    async fn start_with(answer: fn(&str) -> String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let bodies = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&bodies);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match converse(stream, answer).await {
                    Ok(body) => kept
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(body),
                    Err(error) => println!("http sink: {error:#}"),
                }
            }
        });
        Ok(Self { port, bodies, task })
    }

    /// Where it listens, with that path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The bodies so far, oldest first.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for HttpSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, answer: fn(&str) -> String) -> Result<String> {
    let mut request = Vec::new();
    loop {
        anyhow::ensure!(stream.read_buf(&mut request).await? > 0, "hung up");
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.parse()?;
        if body.len() >= length {
            stream.write_all(answer(head).as_bytes()).await?;
            let body = body.to_owned();
            return Ok(body);
        }
    }
}
