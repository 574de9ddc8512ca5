//! All that this process logs, at TRACE: `tracing` events and the `log` records of rustls and
//! others.
//!
//! A subscriber is global and for life, so a test that captures belongs into a file of its own.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The captured text; clones share it.
#[derive(Debug, Clone, Default)]
pub struct LogCapture {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl LogCapture {
    /// Captures everything from now on.
    ///
    /// # Errors
    /// When this process already has a subscriber or a logger.
    pub fn install() -> Result<Self> {
        let capture = Self::default();
        // `try_init` also routes the `log` facade here, at the same level.
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(capture.clone())
            .try_init()
            .map_err(|error| anyhow!("cannot capture logs: {error}"))?;
        Ok(capture)
    }

    /// What was logged so far.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for LogCapture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut captured = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        captured.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogCapture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
