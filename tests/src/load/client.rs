//! A client on a line: CONNECT, subscriptions, and the thread that reads. It never reconnects: a
//! dropped connection is what the tests look for.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};

use super::line::{Endpoint, Line, Reader};
use super::ops::{self, Message, Op};

/// What a client says of itself in CONNECT.
#[derive(Debug, Clone)]
pub struct Hello {
    /// As `/connz` shows it.
    pub name: String,
    /// Whether it gets back what it publishes.
    pub echo: bool,
    /// A bearer JWT, if it says with one who it is.
    pub jwt: Option<String>,
}

impl Hello {
    /// A client of that name, like most: with echo, not verbose.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            echo: true,
            jwt: None,
        }
    }

    fn connect(&self) -> String {
        let json = serde_json::json!({
            "verbose": false, "pedantic": false, "tls_required": false, "lang": "load",
            "version": "1", "protocol": 1, "headers": true, "no_responders": true,
            "name": self.name, "echo": self.echo, "jwt": self.jwt,
        });
        format!("CONNECT {json}\r\n")
    }
}

/// A client that is connected and does not listen yet.
#[derive(Debug)]
pub struct Client {
    reader: Reader,
}

impl Client {
    /// Connects and waits until the server has let it in.
    ///
    /// # Errors
    /// When it does not.
    pub fn connect(endpoint: &Endpoint, hello: &Hello) -> Result<Self> {
        let mut client = Self {
            reader: endpoint.connect()?,
        };
        client.line().send(hello.connect().as_bytes())?;
        client
            .flush()
            .with_context(|| format!("{} at {endpoint:?}", hello.name))?;
        Ok(client)
    }

    /// For writers.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        self.reader.line()
    }

    /// Subscribes; takes effect at the server with the next [`Self::flush`].
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn subscribe(&self, subject: &str, sid: u32) -> Result<()> {
        Ok(self
            .line()
            .send(format!("SUB {subject} {sid}\r\n").as_bytes())?)
    }

    /// Waits until the server has taken everything that was sent. Messages that come meanwhile
    /// are dropped.
    ///
    /// # Errors
    /// When the server refuses something or goes away.
    pub fn flush(&mut self) -> Result<()> {
        let line = self.line();
        line.send(b"PING\r\n")?;
        loop {
            while let Some((op, length)) = ops::next(self.reader.unread())? {
                let done = op == Op::Pong;
                answer(&op, &line)?;
                self.reader.take(length);
                if done {
                    return Ok(());
                }
            }
            if self.reader.fill()? == 0 {
                bail!("closed while waiting for a PONG");
            }
        }
    }

    /// Starts the thread that reads, and hands it every message until [`Listening::close`].
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn listen(
        mut self,
        mut on_message: impl FnMut(&Message<'_>) + Send + 'static,
    ) -> Result<Listening> {
        let line = self.line();
        self.reader.wait_for_ever()?;
        let thread = thread::Builder::new()
            .name("load-reader".to_owned())
            .spawn(move || {
                let line = self.line();
                let outcome = self.read(&line, &mut on_message);
                if line.is_closing() {
                    return Ok(());
                }
                outcome
            })?;
        Ok(Listening {
            line,
            thread: Some(thread),
        })
    }

    fn read(&mut self, line: &Line, on_message: &mut impl FnMut(&Message<'_>)) -> Result<()> {
        loop {
            while let Some((op, length)) = ops::next(self.reader.unread())? {
                match &op {
                    Op::Message(message) => on_message(message),
                    other => answer(other, line)?,
                }
                self.reader.take(length);
            }
            if self.reader.fill()? == 0 {
                bail!("the connection was closed by the other side");
            }
        }
    }
}

fn answer(op: &Op<'_>, line: &Line) -> Result<()> {
    match op {
        Op::Ping => Ok(line.pong()?),
        Op::Error(text) => bail!("-ERR {}", String::from_utf8_lossy(text)),
        Op::Message(_) | Op::Pong | Op::Ok | Op::Info(_) => Ok(()),
    }
}

/// A client whose thread reads. Closed on drop.
#[derive(Debug)]
pub struct Listening {
    line: Arc<Line>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Listening {
    /// For writers.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// Whether the other side still keeps the connection.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Closes it and waits for the thread.
    ///
    /// # Errors
    /// When the connection had ended before: the reason.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // Asked first: a thread that has ended by itself has something to say.
        if thread.is_finished() {
            return joined(thread);
        }
        self.line.close();
        joined(thread)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Whoever wanted to know asked `close`.
        let _ = self.end();
    }
}

pub(super) fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the generator panicked"))?
}
