//! What a program writes, read to its end and into the log: both streams at once, so that neither
//! blocks it, and with an end to both the lines and the bytes.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tracing::info;

use super::output::{Allowance, Lines};

/// Far more than a hook has to say; a program that writes more is out of control.
pub(super) const FLOOD: u64 = 4 * 1024 * 1024;
const CHUNK: usize = 8 * 1024;

/// What was read of both streams.
#[derive(Default)]
pub(super) struct Log {
    stdout: Stream,
    stderr: Stream,
    allowance: Allowance,
    read: u64,
}

#[derive(Default)]
struct Stream {
    lines: Lines,
    has_ended: bool,
}

impl Log {
    /// Resolves only if there is too much of it.
    pub(super) async fn follow(
        &mut self,
        streams: &mut (
            Option<impl AsyncRead + Unpin>,
            Option<impl AsyncRead + Unpin>,
        ),
    ) {
        self.follow_to_end(streams).await;
        if self.read <= FLOOD {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when both streams have ended, or there is too much of them.
    pub(super) async fn follow_to_end(
        &mut self,
        (stdout, stderr): &mut (
            Option<impl AsyncRead + Unpin>,
            Option<impl AsyncRead + Unpin>,
        ),
    ) {
        let (mut out, mut err) = ([0; CHUNK], [0; CHUNK]);
        while self.read <= FLOOD && !(self.stdout.has_ended && self.stderr.has_ended) {
            let (name, stream, bytes) = tokio::select! {
                read = next(stdout, &mut out), if !self.stdout.has_ended => {
                    ("stdout", &mut self.stdout, out.get(..read).unwrap_or_default())
                }
                read = next(stderr, &mut err), if !self.stderr.has_ended => {
                    ("stderr", &mut self.stderr, err.get(..read).unwrap_or_default())
                }
            };
            self.read += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            for line in stream.lines.handle_bytes(bytes, &mut self.allowance) {
                say(name, &line);
            }
            if bytes.is_empty() {
                stream.has_ended = true;
                if let Some(line) = stream.lines.handle_end(&mut self.allowance) {
                    say(name, &line);
                }
            }
        }
    }
}

/// Nothing at the end, or once it cannot be read.
async fn next(stream: &mut Option<impl AsyncRead + Unpin>, chunk: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(chunk).await.unwrap_or_default(),
        None => 0,
    }
}

fn say(stream: &str, line: &str) {
    info!(hook = "exec", stream, "{line}");
}
