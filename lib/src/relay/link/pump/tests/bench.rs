//! A pump between connections that keep to a script, polled by hand.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::relay::link::port::Port;
use crate::relay::link::pump::{Outcome, Patience, Pump};
use crate::relay::protocol::{InfoRewrite, ParseLimits, ServerInfo};
use crate::relay::report::{Board, Meter};
use crate::relay::session::{
    ClientOptions, HandoverTiming, InterestLimits, Move, Session, SessionSettings,
};

pub(super) const INFO: &[u8] = br#"{"server_id":"S","max_payload":1048576,"headers":true}"#;

/// What happens at the other end of a connection.
#[derive(Default)]
pub(super) struct Script {
    said: VecDeque<io::Result<Vec<u8>>>,
    heard: Vec<u8>,
    refuses: Option<io::ErrorKind>,
}

/// One end of a connection; the test has the other.
#[derive(Clone, Default)]
pub(super) struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    /// The other end says so; nothing is its end.
    pub(super) fn says(&self, words: impl AsRef<[u8]>) {
        self.script().said.push_back(Ok(words.as_ref().to_vec()));
    }

    /// The other end is gone; what it said before can still be read.
    pub(super) fn resets(&self) {
        let reset = io::ErrorKind::ConnectionReset;
        self.script().said.push_back(Err(reset.into()));
    }

    /// Takes nothing more.
    pub(super) fn refuses(&self) {
        self.script().refuses = Some(io::ErrorKind::BrokenPipe);
    }

    /// Takes nothing for now.
    pub(super) fn dawdles(&self, does: bool) {
        self.script().refuses = does.then_some(io::ErrorKind::WouldBlock);
    }

    /// What the other end has got since the last call.
    pub(super) fn heard(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.script().heard)).unwrap()
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut script = self.script();
        match script.said.pop_front() {
            None => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(mut words)) => {
                let rest = words.split_off(words.len().min(buffer.remaining()));
                buffer.put_slice(&words);
                if !rest.is_empty() {
                    script.said.push_front(Ok(rest));
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut script = self.script();
        match script.refuses {
            Some(io::ErrorKind::WouldBlock) => Poll::Pending,
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => {
                script.heard.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A session between a client and a server.
pub(super) struct Bench {
    pub(super) pump: Pump<Scripted, Scripted>,
    pub(super) client: Scripted,
    pub(super) server: Scripted,
}

impl Bench {
    pub(super) fn new(patience: Patience) -> Self {
        let (client, server) = (Scripted::default(), Scripted::default());
        let options = ClientOptions {
            verbose: false,
            echo: true,
            understands_info: true,
            headers: true,
        };
        let settings = SessionSettings {
            parse: ParseLimits::client(),
            interest: InterestLimits {
                subscriptions: 1000,
                bytes: 100_000,
            },
            timing: HandoverTiming {
                step: Duration::from_secs(2),
                tail: Duration::from_millis(50),
                route: Duration::from_millis(100),
            },
            info: InfoRewrite::default(),
            pending_bytes: 1024 * 1024,
        };
        let session = Session::new(settings, options, &ServerInfo::parse(INFO).unwrap());
        let pump = Pump::new(
            session,
            Port::new(client.clone(), b""),
            Port::new(server.clone(), b""),
            patience,
            Meter::new(&Arc::new(Board::default())),
        );
        Self {
            pump,
            client,
            server,
        }
    }

    /// What the pump cannot go on without, if there is anything.
    pub(super) fn turn(&mut self) -> Option<Outcome> {
        let mut context = Context::from_waker(Waker::noop());
        match self.pump.poll(&mut context) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    /// The beginning of a handover.
    pub(super) fn begin_handover(&mut self) -> Scripted {
        let next = Scripted::default();
        let move_to = Move {
            info: INFO.to_vec(),
            is_same_server: true,
            is_forced: false,
        };
        let port = Port::new(next.clone(), b"");
        self.pump.begin_handover(port, move_to);
        next
    }

    /// Another server, whose CONNECT was accepted.
    pub(super) fn restore(&mut self) -> Scripted {
        let server = Scripted::default();
        let port = Port::new(server.clone(), b"");
        self.pump.restore(port, INFO).unwrap();
        server
    }
}
