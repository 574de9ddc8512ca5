//! One connection to a server or to something before it: plain, TLS after INFO, TLS before INFO.
//!
//! Blocking, and full duplex: one thread reads, others write whole operations.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

const CHUNK: usize = 64 * 1024;
const PONG: &[u8] = b"PONG\r\n";

/// No server on loopback takes longer for one step of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where to connect to, and how.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    transport: Transport,
}

#[derive(Clone)]
enum Transport {
    Plain,
    Tls(Arc<ClientConfig>),
    TlsFirst(Arc<ClientConfig>),
}

impl Endpoint {
    /// NATS in plain text, whatever INFO says: a relay or a tunnel.
    #[must_use]
    pub fn plain(port: u16) -> Self {
        Self::new(port, Transport::Plain)
    }

    /// TLS after INFO; the server is `localhost`.
    #[must_use]
    pub fn tls(port: u16, config: ClientConfig) -> Self {
        Self::new(port, Transport::Tls(Arc::new(config)))
    }

    /// TLS before INFO; the server is `localhost`.
    #[must_use]
    pub fn tls_first(port: u16, config: ClientConfig) -> Self {
        Self::new(port, Transport::TlsFirst(Arc::new(config)))
    }

    fn new(port: u16, transport: Transport) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            transport,
        }
    }

    /// Connects, up to and including TLS and INFO.
    ///
    /// # Errors
    /// When that fails or takes too long.
    pub fn connect(&self) -> Result<Reader> {
        let socket = TcpStream::connect_timeout(&self.address, HANDSHAKE)
            .with_context(|| format!("{self:?}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(HANDSHAKE))?;
        let mut reader = Reader::new(socket);
        if let Transport::TlsFirst(config) = &self.transport {
            reader.start_tls(config)?;
        }
        let info = reader.line_text()?;
        if !info.starts_with("INFO ") {
            bail!("no INFO but {info:?}");
        }
        if let Transport::Tls(config) = &self.transport {
            reader.start_tls(config)?;
        }
        Ok(reader)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Plain => "plain",
            Transport::Tls(_) => "tls",
            Transport::TlsFirst(_) => "tls first",
        };
        write!(f, "{} ({transport})", self.address)
    }
}

/// The connection, as its writers and its one reader share it.
#[derive(Debug)]
pub struct Line {
    socket: TcpStream,
    tls: Option<Mutex<ClientConnection>>,
    /// Held while writing; what TLS has made of the bytes.
    records: Mutex<Vec<u8>>,
    pongs_owed: AtomicU32,
    closing: AtomicBool,
}

impl Line {
    /// Writes whole operations. Waits while the other side does not take them.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&self, operations: &[u8]) -> io::Result<()> {
        let mut records = lock(&self.records);
        self.write(operations, &mut records)?;
        for _ in 0..self.pongs_owed.swap(0, Ordering::Relaxed) {
            self.write(PONG, &mut records)?;
        }
        Ok(())
    }

    /// Answers a PING, or leaves that to the writer who is at it: a reader that waited for a
    /// writer would stop reading.
    pub(super) fn pong(&self) -> io::Result<()> {
        match self.records.try_lock() {
            Ok(mut records) => self.write(PONG, &mut records),
            Err(TryLockError::WouldBlock) => {
                self.pongs_owed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TryLockError::Poisoned(_)) => Err(io::Error::other("a writer panicked")),
        }
    }

    /// Ends the connection in both directions; whoever waits on it wakes up.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Whether this side ended it.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn write(&self, operations: &[u8], records: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &self.tls else {
            return (&self.socket).write_all(operations);
        };
        records.clear();
        {
            let mut tls = lock(tls);
            tls.writer().write_all(operations)?;
            while tls.wants_write() {
                tls.write_tls(records)?;
            }
        }
        // Without the session: the reader needs it meanwhile.
        (&self.socket).write_all(records)
    }
}

/// The reading side, and the bytes that were read and not yet taken.
#[derive(Debug)]
pub struct Reader {
    line: Arc<Line>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    records: Vec<u8>,
}

impl Reader {
    fn new(socket: TcpStream) -> Self {
        let line = Line {
            socket,
            tls: None,
            records: Mutex::default(),
            pongs_owed: AtomicU32::new(0),
            closing: AtomicBool::new(false),
        };
        Self {
            line: Arc::new(line),
            buffer: vec![0; 4 * CHUNK],
            start: 0,
            end: 0,
            records: Vec::new(),
        }
    }

    /// For writers.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// What was read and not taken.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes the first `length` bytes of it.
    pub fn take(&mut self, length: usize) {
        self.start += length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// From now on waits as long as it takes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn wait_for_ever(&self) -> io::Result<()> {
        self.line.socket.set_read_timeout(None)
    }

    /// Reads more; 0 at the end of the connection.
    ///
    /// # Errors
    /// When the connection is gone, or TLS is broken.
    pub fn fill(&mut self) -> io::Result<usize> {
        self.make_room(CHUNK);
        let Some(tls) = &self.line.tls else {
            let read = (&self.line.socket).read(&mut self.buffer[self.end..])?;
            self.end += read;
            return Ok(read);
        };
        loop {
            let read = (&self.line.socket).read(&mut self.records)?;
            if read == 0 {
                return Ok(0);
            }
            let mut records = &self.records[..read];
            let before = self.end;
            let mut tls = lock(tls);
            while !records.is_empty() {
                tls.read_tls(&mut records)?;
                tls.process_new_packets().map_err(io::Error::other)?;
                loop {
                    if self.end == self.buffer.len() {
                        self.buffer.resize(self.buffer.len() * 2, 0);
                    }
                    match tls.reader().read(&mut self.buffer[self.end..]) {
                        Ok(0) => return Ok(self.end - before),
                        Ok(more) => self.end += more,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            // A record may be half here, or say nothing (a session ticket).
            if self.end > before {
                return Ok(self.end - before);
            }
        }
    }

    fn make_room(&mut self, room: usize) {
        if self.buffer.len() - self.end >= room {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < room {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn line_text(&mut self) -> Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.unread()) {
                let text = String::from_utf8_lossy(&self.unread()[..end]).into_owned();
                self.take(end + 1);
                return Ok(text);
            }
            if self.fill()? == 0 {
                bail!("closed before INFO");
            }
        }
    }

    fn start_tls(&mut self, config: &Arc<ClientConfig>) -> Result<()> {
        let name = ServerName::try_from("localhost")?;
        let mut tls = ClientConnection::new(Arc::clone(config), name)?;
        tls.set_buffer_limit(None);
        let line = Arc::get_mut(&mut self.line).context("shared before TLS")?;
        tls.complete_io(&mut line.socket)?;
        line.tls = Some(Mutex::new(tls));
        self.records = vec![0; CHUNK];
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
