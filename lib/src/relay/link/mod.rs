//! One session: a client on one side, its upstream on the other, whole operations between them.
//!
//! It passes on, rewrites INFO and CONNECT, and stays on the upstream it has.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::relay::admission::Admission;
use crate::relay::dial::Dialed;
use crate::relay::local;
use crate::relay::protocol::{
    ClientOp, ClientParser, Connect, ParseLimits, ServerOp, ServerParser, Step, rewrite_info,
};
use crate::relay::report::{Meter, SessionResult};
use crate::relay::shared::Shared;

const READ: usize = 64 * 1024;

/// Serves one client until either side ends.
pub(crate) async fn run(mut stream: TcpStream, mut admission: Admission, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let mut ending = admission.ending.clone();
    let id = admission.id;
    tokio::select! {
        outcome = serve(&mut stream, &mut admission, &shared) => match outcome {
            Ok(()) => debug!(session = %id, "relay: session ended"),
            Err(error) => debug!(session = %id, %error, "relay: session ended"),
        },
        () = ending.closing() => debug!(session = %id, "relay: session closed"),
    }
}

async fn serve(
    stream: &mut TcpStream,
    admission: &mut Admission,
    shared: &Shared,
) -> io::Result<()> {
    let opened = tokio::select! {
        opened = shared.first_upstream() => opened,
        left = left(stream) => return left,
    };
    let dialed = match opened {
        Ok(dialed) => dialed,
        Err(error) => {
            admission.settle(error.session_result());
            info!(session = %admission.id, peer = %admission.peer, %error, "relay: no upstream");
            shared.board.failed(error.to_string());
            return answer(
                stream,
                error.said().unwrap_or("no NATS server is available"),
            )
            .await;
        }
    };
    let info = rewrite_info(&dialed.info_json, &shared.info_rewrite()).map_err(io::Error::other)?;
    stream.write_all(&info).await?;

    let limits = shared.settings.limits;
    let mut parser = ClientParser::new(ParseLimits {
        control_line: limits.control_line,
        max_payload: dialed.info.max_payload,
    });
    let mut unread = Vec::new();
    let asked = timeout(
        limits.connect_time,
        read_connect(stream, &mut parser, &mut unread),
    );
    let connect = match asked.await {
        Err(_) => {
            admission.settle(SessionResult::Timeout);
            return answer(stream, "Authentication Timeout").await;
        }
        Ok(Err(Greeting::Io(error))) => return Err(error),
        Ok(Err(Greeting::Wrong(text))) => {
            admission.settle(SessionResult::Protocol);
            return answer(stream, text).await;
        }
        Ok(Ok(connect)) => connect,
    };
    let Some(connect) = local::admit(shared.settings.local.as_ref(), connect) else {
        admission.settle(SessionResult::Unauthorized);
        info!(session = %admission.id, peer = %admission.peer, "relay: wrong local credentials");
        sleep(local::WRONG_GUESS_COSTS).await;
        return answer(stream, local::DENIED).await;
    };
    let dialed = match shared.dialer.introduce(dialed, &connect).await {
        Ok(dialed) => dialed,
        Err(error) => {
            admission.settle(error.session_result());
            info!(session = %admission.id, peer = %admission.peer, %error, "relay: refused upstream");
            shared.board.failed(error.to_string());
            return answer(
                stream,
                error.said().unwrap_or("no NATS server is available"),
            )
            .await;
        }
    };
    admission.settle(SessionResult::Accepted);
    if connect.verbose() {
        stream.write_all(b"+OK\r\n").await?;
    }
    pass_on(stream, parser, unread, dialed, shared).await
}

/// Resolves once the client has closed its side; what it says is left for later.
async fn left(stream: &TcpStream) -> io::Result<()> {
    if stream.peek(&mut [0]).await? > 0 {
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn answer(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    stream
        .write_all(format!("-ERR '{text}'\r\n").as_bytes())
        .await?;
    stream.shutdown().await
}

enum Greeting {
    Io(io::Error),
    Wrong(&'static str),
}

async fn read_connect(
    stream: &mut TcpStream,
    parser: &mut ClientParser,
    unread: &mut Vec<u8>,
) -> Result<Connect, Greeting> {
    loop {
        match parser.next(unread) {
            Ok(Step::Line {
                op: ClientOp::Connect(json),
                length,
            }) => {
                let connect = Connect::parse(json).map_err(|_| Greeting::Wrong("Parser Error"))?;
                unread.drain(..length);
                return Ok(connect);
            }
            Ok(Step::More) => {
                if stream.read_buf(unread).await.map_err(Greeting::Io)? == 0 {
                    return Err(Greeting::Io(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            Ok(_) => return Err(Greeting::Wrong(local::DENIED)),
            Err(error) => return Err(Greeting::Wrong(error.answer())),
        }
    }
}

async fn pass_on(
    stream: &mut TcpStream,
    parser: ClientParser,
    unread: Vec<u8>,
    dialed: Dialed,
    shared: &Shared,
) -> io::Result<()> {
    let (mut client_read, mut client_write) = tokio::io::split(stream);
    let (mut server_read, mut server_write) = tokio::io::split(dialed.stream);
    let mut up = shared.meter();
    let mut down = shared.meter();
    tokio::select! {
        ended = upstream(&mut client_read, &mut server_write, parser, unread, &mut up) => ended,
        ended = downstream(&mut server_read, &mut client_write, dialed.unread, shared, &mut down) => ended,
    }
}

async fn upstream(
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
    mut parser: ClientParser,
    mut unread: Vec<u8>,
    meter: &mut Meter,
) -> io::Result<()> {
    loop {
        let mut whole = 0;
        loop {
            let rest = unread.get(whole..).unwrap_or_default();
            match parser.next(rest).map_err(io::Error::other)? {
                Step::More => break,
                Step::Line { op, length } => {
                    if let ClientOp::Publish { .. } = op {
                        meter.upstream().messages += 1;
                    }
                    whole += length;
                }
                Step::Payload { length, .. } => whole += length,
            }
        }
        server
            .write_all(unread.get(..whole).unwrap_or_default())
            .await?;
        server.flush().await?;
        meter.upstream().bytes += whole as u64;
        meter.flush();
        unread.drain(..whole);
        unread.reserve(READ);
        if client.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
    }
}

async fn downstream(
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    mut unread: Vec<u8>,
    shared: &Shared,
    meter: &mut Meter,
) -> io::Result<()> {
    let mut parser = ServerParser::new(ParseLimits::server());
    loop {
        let (mut whole, mut passed) = (0, 0);
        loop {
            let rest = unread.get(whole..).unwrap_or_default();
            match parser.next(rest).map_err(io::Error::other)? {
                Step::More => break,
                Step::Line {
                    op: ServerOp::Info(json),
                    length,
                } => {
                    let info =
                        rewrite_info(json, &shared.info_rewrite()).map_err(io::Error::other)?;
                    client
                        .write_all(unread.get(passed..whole).unwrap_or_default())
                        .await?;
                    client.write_all(&info).await?;
                    whole += length;
                    passed = whole;
                }
                Step::Line { op, length } => {
                    if let ServerOp::Message { .. } = op {
                        meter.downstream().messages += 1;
                    }
                    whole += length;
                }
                Step::Payload { length, .. } => whole += length,
            }
        }
        client
            .write_all(unread.get(passed..whole).unwrap_or_default())
            .await?;
        meter.downstream().bytes += whole as u64;
        meter.flush();
        unread.drain(..whole);
        unread.reserve(READ);
        if server.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
    }
}
