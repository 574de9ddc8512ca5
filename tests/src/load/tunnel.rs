//! A plain TCP tunnel, which may hold every byte back for a while: a route over a long distance.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

const CHUNK: usize = 64 * 1024;
/// Chunks under way; more than fit into 30 ms of any load here.
const QUEUE: usize = 4096;

/// Listens on a port of its own until it is dropped. Connections end with it.
#[derive(Debug)]
pub struct Tunnel {
    address: SocketAddr,
    /// Of the connections that come now.
    delay: Arc<Mutex<Delay>>,
    task: AbortHandle,
}

impl Tunnel {
    /// Passes each connection on to `target` and holds back what is read, either way, for
    /// `delay`. The order stays.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn open(target: SocketAddr, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let delay = Arc::new(Mutex::new(Delay::of(delay)));
        let newest = Arc::clone(&delay);
        let task = tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let held = newest.lock().unwrap_or_else(PoisonError::into_inner);
                connections.spawn(connect(near, target, held.clone()));
            }
        });
        Ok(Self {
            address,
            delay,
            task: task.abort_handle(),
        })
    }

    /// Holds back what is read from now on for this long, on every connection that has come since
    /// the last [`Self::spare_those_that_are_there`].
    pub fn set_delay(&self, delay: Duration) {
        let current = self.delay.lock().unwrap_or_else(PoisonError::into_inner);
        current.set(delay);
    }

    /// Connections that are there stay as they are, whatever is set from now on.
    pub fn spare_those_that_are_there(&self) {
        let mut current = self.delay.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Delay::of(current.now());
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(near: TcpStream, target: SocketAddr, delay: Delay) {
    // A server that is not there yet: the caller sees the connection close and tries again.
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(
        pass(near_read, far_write, &delay),
        pass(far_read, near_write, &delay)
    );
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: &Delay) {
    let (late, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE);
    let read = async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let at = Instant::now() + delay.now();
            if late.send((at, chunk[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = due.recv().await {
            // The timer is too coarse for no delay at all.
            if at > Instant::now() {
                sleep_until(at).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may already be gone.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// Shared by all connections of a tunnel; microseconds.
#[derive(Debug, Clone)]
struct Delay(Arc<AtomicU64>);

impl Delay {
    fn of(delay: Duration) -> Self {
        let this = Self(Arc::default());
        this.set(delay);
        this
    }

    fn set(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}
