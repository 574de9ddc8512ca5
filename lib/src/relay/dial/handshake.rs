//! The two conversations with a server: up to INFO, and from CONNECT to PONG.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::socket::RefusedInPlainText;
use super::{Dialed, Refusal, Socket, UpstreamStream, error};
use crate::nats::Failure;
use crate::relay::protocol::{ParseLimits, ServerInfo, ServerOp, ServerParser, Step};

/// More than INFO and everything else that a server says before the PONG.
const MOST_BEFORE_PONG: usize = 256 * 1024;

pub(super) struct Greeted {
    pub(super) stream: UpstreamStream,
    pub(super) info: ServerInfo,
    pub(super) info_json: Vec<u8>,
    pub(super) unread: Vec<u8>,
}

/// TLS and INFO, in the order that the settings say. Bytes behind an INFO in plain text go to TLS,
/// which accepts nothing but a handshake: nobody can put words into the encrypted conversation.
pub(super) async fn greet(
    mut socket: Socket,
    config: ClientConfig,
    name: ServerName<'static>,
    tls_first: bool,
) -> Result<Greeted, Refusal> {
    let connector = TlsConnector::from(Arc::new(config));
    let mut unread = Vec::new();
    let (stream, line) = if tls_first {
        let mut stream = connector.connect(name, socket).await?;
        let line = read_line(&mut stream, &mut unread).await?;
        (stream, line)
    } else {
        let line = socket.read_line(ParseLimits::server().longest_line());
        let line = line.await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => endless(),
            _ => error.into(),
        })?;
        // Before TLS, so that who is no NATS server is called that.
        info_of(&line)?;
        socket.await_tls();
        let stream = connector.connect(name, socket).await;
        (stream.map_err(refused_in_plain_text)?, line.to_vec())
    };
    let (info, info_json) = info_of(&line)?;
    Ok(Greeted {
        stream,
        info,
        info_json,
        unread,
    })
}

/// The server's own words, if it said any in the place of its side of the handshake.
fn refused_in_plain_text(error: io::Error) -> Refusal {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref());
    match said {
        Some(RefusedInPlainText(line)) => match info_of(line) {
            Err(refusal) => refusal,
            Ok(_) => error.into(),
        },
        None => error.into(),
    }
}

/// What a whole line says that should be INFO, and its JSON.
fn info_of(line: &[u8]) -> Result<(ServerInfo, Vec<u8>), Refusal> {
    let mut parser = ServerParser::new(ParseLimits::server());
    match parser.next(line) {
        Ok(Step::Line {
            op: ServerOp::Info(json),
            ..
        }) => Ok((parse(json)?, json.to_vec())),
        Ok(Step::Line {
            op: ServerOp::Error(text),
            ..
        }) => Err(Refusal::Said(error::printable(text))),
        _ => Err(not_nats("it does not begin with INFO; is TLS first?")),
    }
}

async fn read_line(stream: &mut UpstreamStream, unread: &mut Vec<u8>) -> Result<Vec<u8>, Refusal> {
    loop {
        if let Some(position) = memchr::memchr(b'\n', unread) {
            let rest = unread.split_off(position + 1);
            return Ok(std::mem::replace(unread, rest));
        }
        if unread.len() > ParseLimits::server().longest_line() {
            return Err(endless());
        }
        read_more(stream, unread).await?;
    }
}

/// Sends `connect` and PING, and reads until the PONG. What comes behind it is left in `unread`.
pub(super) async fn introduce(mut dialed: Dialed, connect: &[u8]) -> Result<Dialed, Refusal> {
    let sent = async {
        dialed.stream.write_all(connect).await?;
        dialed.stream.write_all(b"PING\r\n").await?;
        dialed.stream.flush().await
    };
    // A server that refused the certificate has closed the connection, and its alert is still to be
    // read: it says more than a broken pipe does.
    let sent = sent.await;
    let mut parser = ServerParser::new(ParseLimits::server());
    let mut parsed = 0;
    loop {
        let unread = dialed.unread.get(parsed..).unwrap_or_default();
        match parser.next(unread) {
            Ok(Step::Line { op, length }) => {
                parsed += length;
                match op {
                    ServerOp::Pong => {
                        dialed.unread.drain(..parsed);
                        return Ok(dialed);
                    }
                    ServerOp::Error(text) => return Err(Refusal::Said(error::printable(text))),
                    ServerOp::Ping => dialed.stream.write_all(b"PONG\r\n").await?,
                    ServerOp::Info(json) => {
                        dialed.info = parse(json)?;
                        dialed.info_json = json.to_vec();
                    }
                    ServerOp::Ok => {}
                    ServerOp::Message { .. } => {
                        return Err(not_nats("it sends messages before the PONG"));
                    }
                }
            }
            Ok(Step::More) if dialed.unread.len() > MOST_BEFORE_PONG => {
                return Err(not_nats("it does not come to the PONG"));
            }
            Ok(Step::More) => match read_more(&mut dialed.stream, &mut dialed.unread).await {
                Ok(()) => {}
                Err(refusal) if !refusal.is_cut_off() => return Err(refusal),
                Err(refusal) => return Err(sent.err().map_or(refusal, Refusal::from)),
            },
            Ok(Step::Payload { .. }) | Err(_) => {
                return Err(not_nats("what it says is not the NATS protocol"));
            }
        }
    }
}

async fn read_more(stream: &mut UpstreamStream, unread: &mut Vec<u8>) -> Result<(), Refusal> {
    match stream.read_buf(unread).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        _ => Ok(()),
    }
}

fn parse(json: &[u8]) -> Result<ServerInfo, Refusal> {
    ServerInfo::parse(json).map_err(|error| not_nats(&error.to_string()))
}

fn endless() -> Refusal {
    not_nats("its first line does not end")
}

fn not_nats(why: &str) -> Refusal {
    Failure::unavailable(format!("the server does not speak NATS: {why}")).into()
}
