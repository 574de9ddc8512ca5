//! One side of a session: a stream, what was read and is not judged yet, and what was written and is not sent yet.
//!
//! A stream that ends or breaks is no error here: it is remembered, so that what came before it is judged first.

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

/// Why nothing more can be read.
#[derive(Debug)]
enum End {
    Closed,
    Broke(io::Error),
}

/// What a side of a session may be.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// One side of a session.
pub(crate) struct Port<S> {
    stream: S,
    unread: BytesMut,
    unsent: BytesMut,
    /// Why nothing more can be read.
    read_end: Option<End>,
    /// Why nothing more can be written. What is written then is forgotten.
    write_end: Option<io::Error>,
    /// It has broken since somebody asked.
    is_news: bool,
    /// The stream took bytes that it may not have passed on.
    is_dirty: bool,
}

impl<S: Stream> Port<S> {
    /// `unread` was read from the stream before.
    pub(crate) fn new(stream: S, unread: &[u8]) -> Self {
        Self {
            stream,
            unread: unread.into(),
            unsent: BytesMut::new(),
            read_end: None,
            write_end: None,
            is_news: false,
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

    /// Whether one of its directions has ended. What can still be read of the other one is to be read.
    pub(crate) fn has_ended(&self) -> bool {
        self.read_end.is_some() || self.write_end.is_some()
    }

    /// How it ended; none if the other side just closed it.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        match self.read_end.take() {
            Some(End::Broke(error)) => Some(error),
            Some(End::Closed) | None => self.write_end.take(),
        }
    }

    /// Whether writing has failed since the last call.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Reads once; whether anything came. While nothing comes, no buffer is held.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.read_end.is_some() {
            return Poll::Ready(false);
        }
        if self.unread.capacity() - self.unread.len() < ROOM {
            self.unread.reserve(READ);
        }
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.unread) {
            Poll::Ready(Ok(0)) => {
                self.read_end = Some(End::Closed);
                Poll::Ready(false)
            }
            Poll::Ready(Ok(_)) => Poll::Ready(true),
            Poll::Ready(Err(error)) => {
                self.read_end = Some(End::Broke(error));
                Poll::Ready(false)
            }
            Poll::Pending => {
                if self.unread.is_empty() {
                    self.unread = BytesMut::new();
                }
                Poll::Pending
            }
        }
    }

    /// Writes behind what waits already. What the stream takes at once is not copied.
    pub(crate) fn pass(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) {
        while self.unsent.is_empty() && !bytes.is_empty() && self.write_end.is_none() {
            match self.poll_write(cx, bytes) {
                Poll::Ready(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
        self.append(bytes);
    }

    /// Sends what waits; whether the stream took any of it.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_moved = false;
        while !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let sent = self.poll_write(cx, &unsent);
            self.unsent = unsent;
            match sent {
                Poll::Ready(taken) => self.unsent.advance(taken),
                Poll::Pending => return has_moved,
            }
            if self.write_end.is_some() {
                self.unsent.clear();
            }
            has_moved = true;
        }
        if self.unsent.capacity() > 0 {
            self.unsent = BytesMut::new();
        }
        if self.is_dirty
            && self.write_end.is_none()
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.is_dirty = false;
            if let Err(error) = flushed {
                self.breaks(error);
            }
        }
        has_moved
    }

    /// How much the stream takes; nothing if it breaks.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(taken)) if taken > 0 => {
                self.is_dirty = true;
                Poll::Ready(taken)
            }
            Poll::Ready(Ok(_)) => {
                self.breaks(io::ErrorKind::WriteZero.into());
                Poll::Ready(0)
            }
            Poll::Ready(Err(error)) => {
                self.breaks(error);
                Poll::Ready(0)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn breaks(&mut self, error: io::Error) {
        self.write_end = Some(error);
        self.is_news = true;
    }

    /// Writes behind what waits already, to be sent later.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.write_end.is_none() {
            self.unsent.extend_from_slice(bytes);
        }
    }

    /// Sends what waits, says goodbye, and waits until the other side has heard it: closed with something unread, TCP
    /// throws away what the other side has not read yet. Within the caller's patience.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while !self.unsent.is_empty() {
            let taken = self.stream.write(&self.unsent).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.advance(taken);
        }
        self.stream.flush().await?;
        self.stream.shutdown().await?;
        if self.read_end.is_none() {
            let mut nobody_wants = vec![0; ROOM];
            while self.stream.read(&mut nobody_wants).await? > 0 {}
        }
        Ok(())
    }
}
