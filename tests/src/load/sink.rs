//! Something that speaks just enough NATS to be flooded, and to flood: takes whatever comes, and gives a subscriber as
//! much as it takes. What the generator reaches with it is the most that it could ever measure.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::Result;

use super::Endpoint;
use super::flood::Batch;

const INFO: &[u8] = b"INFO {\"server_id\":\"sink\",\"max_payload\":1048576}\r\n";
const PING: &[u8] = b"PING\r\n";
const CHUNK: usize = 256 * 1024;

/// Listens in plain text, with a thread for each client, until the process ends.
#[derive(Debug)]
pub struct Sink {
    port: u16,
}

impl Sink {
    /// Gives messages of `size` bytes to whoever subscribes.
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(size: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    // A client that goes away is one that has measured enough.
                    thread::spawn(move || serve(client, size).ok());
                }
            })?;
        Ok(Self { port })
    }

    /// For a raw client.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::plain(self.port)
    }
}

fn serve(mut client: TcpStream, size: usize) -> Result<()> {
    client.set_nodelay(true)?;
    client.write_all(INFO)?;
    let mut chunk = vec![0; CHUNK];
    let mut last = Vec::new();
    let mut is_subscribed = false;
    loop {
        let read = client.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        let said = &chunk[..read];
        is_subscribed |= said.starts_with(b"SUB ");
        last.extend_from_slice(&said[read.saturating_sub(PING.len())..]);
        last.drain(..last.len().saturating_sub(PING.len()));
        // Clients of the generator wait behind a PING before they say anything else.
        if last == PING {
            client.write_all(b"PONG\r\n")?;
            if is_subscribed {
                break;
            }
        }
    }
    let batch = Batch::repeat(&format!("MSG flood.down 1 {size}\r\n"), size);
    loop {
        client.write_all(batch.bytes())?;
    }
}
