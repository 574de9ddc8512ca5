//! A client that says any bytes, and what it is answered: for what no client library would say.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::PATIENCE;

/// What a client says first, if it is like any other.
pub const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"protocol\":1,\"headers\":true,\"name\":\"stranger\"}\r\n";

/// One connection, without any protocol.
#[derive(Debug)]
pub struct Stranger {
    stream: TcpStream,
    heard: Vec<u8>,
    came: Instant,
}

/// What somebody was told until the other side closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Line by line, without INFO, of which no two are alike.
    pub said: Vec<String>,
    /// From the connect to the close.
    pub after: Duration,
}

impl Stranger {
    /// Connects and says nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(port: u16) -> Result<Self> {
        let came = Instant::now();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            heard: Vec::new(),
            came,
        })
    }

    /// Connects, introduces itself like any client, and says `more`; returns once the server has
    /// taken that.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn introduced(port: u16, more: &str) -> Result<Self> {
        let mut stranger = Self::connect(port).await?;
        stranger.say(format!("{CONNECT}{more}PING\r\n")).await?;
        stranger.hear("PONG\r\n").await?;
        Ok(stranger)
    }

    /// Says it all, unless the other side closes before.
    ///
    /// # Errors
    /// When the other side does not take it.
    pub async fn say(&mut self, words: impl AsRef<[u8]>) -> Result<()> {
        let said = timeout(PATIENCE, self.stream.write_all(words.as_ref())).await;
        // Closed in the middle of it: what it was told is still to be read.
        let _ = said.context("nobody takes what is said")?;
        Ok(())
    }

    /// Whether the other side takes all of this within `limit`.
    pub async fn takes(&mut self, words: &str, limit: Duration) -> bool {
        let all = self.stream.write_all(words.as_bytes());
        matches!(timeout(limit, all).await, Ok(Ok(())))
    }

    /// Reads until it was told `words`.
    ///
    /// # Errors
    /// When that does not come.
    pub async fn hear(&mut self, words: &str) -> Result<()> {
        let until = async {
            while memchr::memmem::find(&self.heard, words.as_bytes()).is_none() {
                ensure!(self.read().await? > 0, "closed");
            }
            Ok(())
        };
        let heard = timeout(PATIENCE, until).await;
        heard
            .unwrap_or_else(|_| Err(anyhow::anyhow!("nothing more comes")))
            .with_context(|| format!("no {words:?} in {:?}", self.text()))
    }

    /// Reads until the other side closes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn answer(mut self) -> Result<Answer> {
        let all = async { while self.read().await.unwrap_or(0) > 0 {} };
        let ended = timeout(PATIENCE, all).await;
        ended.with_context(|| format!("not closed after {:?}", self.text()))?;
        let after = self.came.elapsed();
        let lines = self.text();
        let lines = lines.lines().filter(|line| !line.starts_with("INFO {"));
        Ok(Answer {
            said: lines.map(str::to_owned).collect(),
            after,
        })
    }

    async fn read(&mut self) -> Result<usize> {
        // A flood is read, and only its end is kept.
        const KEPT: usize = 256 * 1024;
        if self.heard.len() > KEPT {
            self.heard.drain(..self.heard.len() - KEPT / 4);
        }
        self.heard.reserve(KEPT / 4);
        Ok(self.stream.read_buf(&mut self.heard).await?)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

/// Says `words` to whoever listens there, and reads until it is closed.
///
/// # Errors
/// When it is not.
pub async fn answer(port: u16, words: impl AsRef<[u8]>) -> Result<Answer> {
    let mut stranger = Stranger::connect(port).await?;
    stranger.say(words).await?;
    stranger.answer().await
}
