//! One side of a session: a stream, what was read and is not judged yet, and what was written and is not sent yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// Four full TLS records.
pub(crate) const READ: usize = 64 * 1024;
/// With less room than this there are too many reads.
const ROOM: usize = 16 * 1024;

/// One side of a session.
pub(crate) struct Port<S> {
    stream: S,
    unread: BytesMut,
    unsent: BytesMut,
    has_ended: bool,
    /// The stream took bytes that it may not have passed on.
    is_dirty: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Port<S> {
    /// `unread` was read from the stream before.
    pub(crate) fn new(stream: S, unread: &[u8]) -> Self {
        Self {
            stream,
            unread: unread.into(),
            unsent: BytesMut::new(),
            has_ended: false,
            is_dirty: false,
        }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// The first of the unread bytes were judged.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.unread.advance(bytes.min(self.unread.len()));
    }

    /// How many bytes wait for the stream.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether the stream has nothing more to read.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Reads once; whether anything came. While nothing comes, no buffer is held.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.has_ended {
            return Poll::Ready(Ok(false));
        }
        if self.unread.capacity() - self.unread.len() < ROOM {
            self.unread.reserve(READ);
        }
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.unread) {
            Poll::Ready(Ok(0)) => {
                self.has_ended = true;
                Poll::Ready(Ok(false))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(true)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if self.unread.is_empty() {
                    self.unread = BytesMut::new();
                }
                Poll::Pending
            }
        }
    }

    /// Writes behind what waits already. What the stream takes at once is not copied.
    pub(crate) fn pass(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if self.unsent.is_empty() {
            while !bytes.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(taken)) => {
                        self.is_dirty = true;
                        bytes = bytes.get(taken..).unwrap_or_default();
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what waits; whether the stream took any of it.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut has_moved = false;
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(taken)) => {
                    self.unsent.advance(taken);
                    self.is_dirty = true;
                    has_moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(has_moved),
            }
        }
        if self.unsent.capacity() > 0 {
            self.unsent = BytesMut::new();
        }
        if self.is_dirty
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.is_dirty = false;
        }
        Ok(has_moved)
    }

    /// Writes behind what waits already, to be sent later.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends what waits and says goodbye, within the caller's patience.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        while !self.unsent.is_empty() {
            let taken = self.stream.write(&self.unsent).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.advance(taken);
        }
        self.stream.flush().await?;
        self.stream.shutdown().await
    }
}
