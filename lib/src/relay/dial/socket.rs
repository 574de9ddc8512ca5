//! A TCP connection that is read in large pieces, and costs no buffer while nothing comes.
//!
//! rustls asks for 4 KiB at a time, which would be a system call for each.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// Four full TLS records.
const BUFFER: usize = 64 * 1024;
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The TCP side of an upstream connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Empty without an allocation while there is nothing to read.
    unread: BytesMut,
    /// The next bytes should begin TLS.
    awaits_tls: bool,
}

/// What came where TLS should have begun: `-ERR` in plain text, which is what a server says that is
/// full.
#[derive(Debug, thiserror::Error)]
#[error("the server answered in plain text where TLS should begin")]
pub(super) struct RefusedInPlainText(pub(super) Vec<u8>);

impl Socket {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        Ok(Self {
            stream,
            unread: BytesMut::new(),
            awaits_tls: false,
        })
    }

    /// From here on TLS reads, and everything else but a refusal is for it to refuse.
    pub(super) fn await_tls(&mut self) {
        self.awaits_tls = true;
    }

    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Takes one line, its end included. What came behind it stays for the next reader.
    ///
    /// # Errors
    /// `UnexpectedEof`, and `InvalidData` if it is longer than `limit`.
    pub(super) async fn read_line(&mut self, limit: usize) -> io::Result<BytesMut> {
        let mut searched = 0;
        loop {
            let fresh = self.unread.get(searched..).unwrap_or_default();
            if let Some(position) = memchr::memchr(b'\n', fresh) {
                return Ok(self.unread.split_to(searched + position + 1));
            }
            searched = self.unread.len();
            if searched > limit {
                return Err(io::ErrorKind::InvalidData.into());
            }
            std::future::poll_fn(|cx| self.poll_fill(cx)).await?;
            if self.unread.len() == searched {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads once, behind what is unread; nothing new is the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked before there is a buffer: most of the time there is nothing to read.
        let read = match self.stream.poll_read_ready(cx)? {
            Poll::Ready(()) => {
                self.unread.reserve(BUFFER);
                // It knows that a read which leaves room was the last one; `try_read_buf` would ask the system again.
                poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.unread)
            }
            Poll::Pending => Poll::Pending,
        };
        if read.is_pending() && self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        read.map_ok(|_| ())
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        if std::mem::take(&mut self.awaits_tls) && self.unread.starts_with(b"-ERR ") {
            let line = RefusedInPlainText(self.unread.split().to_vec());
            return Poll::Ready(Err(io::Error::other(line)));
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = Socket::connect(listener.local_addr().unwrap());
        let (socket, accepted) = tokio::join!(socket, listener.accept());
        (socket.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn what_comes_behind_a_line_stays_for_the_next_reader() {
        let (mut socket, mut peer) = pair().await;
        peer.write_all(b"INFO {}\r\nbehind").await.unwrap();
        assert_eq!(&socket.read_line(64).await.unwrap()[..], b"INFO {}\r\n");
        let mut rest = [0; 6];
        socket.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"behind");
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_given_up() {
        let (mut socket, mut peer) = pair().await;
        peer.write_all(&[b'x'; 100]).await.unwrap();
        let error = socket.read_line(99).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let (mut socket, mut peer) = pair().await;
        peer.write_all(b"INFO {").await.unwrap();
        drop(peer);
        let error = socket.read_line(99).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn nothing_is_kept_while_nothing_comes() {
        let (mut socket, mut peer) = pair().await;
        peer.write_all(b"12345").await.unwrap();
        let mut five = [0; 5];
        socket.read_exact(&mut five).await.unwrap();
        let mut more = [0; 1];
        tokio::select! {
            biased;
            _ = socket.read(&mut more) => unreachable!("nothing was sent"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(socket.unread.capacity(), 0);
    }
}
