//! How a session begins: INFO of a real server for the client, the client's CONNECT for the server, and for everybody who
//! is not let in the answer nats-server would give.

use std::io;
use std::pin::pin;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::relay::admission::Admission;
use crate::relay::dial::{DialError, Dialed};
use crate::relay::local;
use crate::relay::private;
use crate::relay::protocol::{
    ClientOp, ClientParser, Connect, InfoRewrite, ParseLimits, Step, rewrite_info,
};
use crate::relay::report::SessionResult;
use crate::relay::shared::{Greeting, Shared};

/// A client that was let in, here and by a server.
pub(super) struct Arrived {
    pub(super) stream: TcpStream,
    /// What the client said behind its CONNECT.
    pub(super) unread: Vec<u8>,
    pub(super) connect: Connect,
    pub(super) dialed: Dialed,
}

/// Why a client is not let in.
enum Turned {
    Away(io::Error),
    /// With this answer.
    Down(SessionResult, String),
}

impl From<io::Error> for Turned {
    fn from(error: io::Error) -> Self {
        Self::Away(error)
    }
}

/// Lets a client in, or tells it why not.
///
/// # Errors
/// The client went away.
pub(super) async fn arrive(
    mut stream: TcpStream,
    admission: &mut Admission,
    shared: &Shared,
) -> io::Result<Option<Arrived>> {
    let (connect, unread, dialed) = match welcome(&mut stream, admission, shared).await {
        Ok(welcomed) => welcomed,
        Err(Turned::Away(error)) => return Err(error),
        Err(Turned::Down(result, answer)) => {
            admission.settle(result);
            let line = format!("-ERR '{answer}'\r\n");
            stream.write_all(line.as_bytes()).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
    };
    admission.settle(SessionResult::Accepted);
    if connect.verbose() {
        stream.write_all(b"+OK\r\n").await?;
    }
    Ok(Some(Arrived {
        stream,
        unread,
        connect,
        dialed,
    }))
}

async fn welcome(
    stream: &mut TcpStream,
    admission: &Admission,
    shared: &Shared,
) -> Result<(Connect, Vec<u8>, Dialed), Turned> {
    let refused = |error: DialError| {
        info!(session = %admission.id, peer = %admission.peer, %error, "relay: no upstream");
        shared.board.failed(error.to_string());
        let answer = error.said().unwrap_or("no NATS server is available");
        Turned::Down(error.session_result(), answer.to_owned())
    };
    // Whoever has to say credentials is worth no connection upstream before that.
    let known = match (&shared.private, &shared.settings.local) {
        (Some(_), _) => Some(shared.greeting().unwrap_or_else(private::greeting)),
        (None, Some(_)) => shared.greeting(),
        (None, None) => None,
    };
    let (greeting, opened) = if let Some(greeting) = known {
        (greeting, None)
    } else {
        let dialed = open(stream, shared).await?.map_err(refused)?;
        (Greeting::of(&dialed), Some(dialed))
    };
    let told = InfoRewrite {
        drop_client: opened.is_none(),
        ..shared.info_rewrite()
    };
    let info = rewrite_info(&greeting.json, &told).map_err(io::Error::other)?;
    stream.write_all(&info).await?;

    let limits = shared.settings.limits;
    let parser = ClientParser::new(ParseLimits {
        control_line: limits.control_line,
        max_payload: greeting.max_payload,
    });
    let asked = timeout(limits.connect_time, read_connect(stream, parser));
    let (connect, unread) = asked.await.unwrap_or_else(|_| {
        let answer = "Authentication Timeout".to_owned();
        Err(Turned::Down(SessionResult::Timeout, answer))
    })?;
    let Some(connect) = local::admit(shared.settings.local.as_ref(), connect) else {
        info!(session = %admission.id, peer = %admission.peer, "relay: wrong local credentials");
        sleep(local::WRONG_GUESS_COSTS).await;
        let answer = local::DENIED.to_owned();
        return Err(Turned::Down(SessionResult::Unauthorized, answer));
    };
    if let Some(private) = &shared.private {
        let dialed = private.connect(shared, &connect).await;
        return Ok((connect, unread, dialed.map_err(refused)?));
    }
    let dialed = match opened {
        Some(dialed) => dialed,
        // Should it say otherwise than the last one, the client hears so behind its first PONG: servers say INFO twice.
        None => shared.first_upstream().await.map_err(refused)?,
    };
    let dialed = shared.dialer.introduce(dialed, &connect).await;
    Ok((connect, unread, dialed.map_err(refused)?))
}

/// The first upstream of a client that has said nothing yet.
async fn open(stream: &TcpStream, shared: &Shared) -> io::Result<Result<Dialed, DialError>> {
    let mut opening = pin!(shared.first_upstream());
    let mut first = [0];
    tokio::select! {
        opened = &mut opening => Ok(opened),
        // A client that gives up is not waited for; one that speaks before INFO is heard later.
        said = stream.peek(&mut first) => match said? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(opening.await),
        },
    }
}

async fn read_connect(
    stream: &mut TcpStream,
    mut parser: ClientParser,
) -> Result<(Connect, Vec<u8>), Turned> {
    let wrong = |answer: &str| Turned::Down(SessionResult::Protocol, answer.to_owned());
    let mut unread = Vec::new();
    loop {
        match parser.next(&unread) {
            Ok(Step::Line {
                op: ClientOp::Connect(json),
                length,
            }) => {
                let connect = Connect::parse(json).map_err(|_| wrong("Parser Error"))?;
                unread.drain(..length);
                return Ok((connect, unread));
            }
            Ok(Step::More) => {
                if stream.read_buf(&mut unread).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
            Ok(_) => return Err(wrong(local::DENIED)),
            Err(error) => return Err(wrong(error.answer())),
        }
    }
}
