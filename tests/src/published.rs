//! A program that reads a directory of certificates over and over, as a service beside the agent
//! does, and judges each time whether what it found belongs together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest as _, Sha256};

/// What a reader found, over all its readings.
#[derive(Debug, Default)]
pub struct Readings {
    /// Sets that belong together.
    pub good: u64,
    /// How often a set differed from the one before.
    pub changes: u64,
    /// Nothing there, or gone while it was read: the reader tries again.
    pub missing: u64,
    /// What was wrong with sets that do not.
    pub bad: Vec<String>,
}

/// A thread that reads until it is stopped.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Readings>>,
}

impl Reader {
    /// Starts to read `directory`: what `..data` leads to, resolved once for each reading, or the
    /// directory itself if it has none.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let directory = directory.to_owned();
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut readings = Readings::default();
            let mut last = None;
            while !ends.load(Ordering::Relaxed) {
                match read(&current(&directory)) {
                    Ok(Some(leaf)) => {
                        readings.good += 1;
                        readings.changes += u64::from(last.as_ref().is_some_and(|l| *l != leaf));
                        last = Some(leaf);
                    }
                    Ok(None) => readings.missing += 1,
                    Err(error) => readings.bad.push(format!("{error:#}")),
                }
            }
            readings
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the thread panicked.
    pub fn stop(mut self) -> Result<Readings> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped already")?;
        thread.join().map_err(|_| anyhow!("the reader panicked"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Where a reader finds its files now.
#[must_use]
pub fn current(directory: &Path) -> PathBuf {
    fs::read_link(directory.join("..data"))
        .map_or_else(|_| directory.to_owned(), |set| directory.join(set))
}

/// The fingerprint of the leaf, if the files in `set` belong together; nothing if one is missing.
///
/// # Errors
/// When they do not: a file does not parse, the key is not that of the certificate, the CA did not
/// issue it, or the combined file holds another pair.
pub fn read(set: &Path) -> Result<Option<String>> {
    let mut files = Vec::new();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        match fs::read(set.join(name)) {
            Ok(bytes) => files.push(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| name.to_owned()),
        }
    }
    let [certificate, key, roots] = files.as_slice() else {
        unreachable!("three files are read");
    };
    let leaf = pair(certificate, key, roots)?;
    match fs::read(set.join("tls-combined.pem")) {
        Ok(combined) => ensure!(
            pair(&combined, &combined, roots).context("combined")? == leaf,
            "the combined file holds another pair"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("tls-combined.pem"),
    }
    Ok(Some(leaf))
}

fn pair(certificate: &[u8], key: &[u8], roots: &[u8]) -> Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = |pem| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        all.context("certificate")
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).context("key")?;
    let (leaf, intermediates) = chain.split_first().context("no certificate")?;
    CertifiedKey::from_der(chain.clone(), key, &provider).context("certificate and key")?;
    let mut store = RootCertStore::empty();
    for root in certificates(roots)? {
        store.add(root).context("root")?;
    }
    ensure!(!store.is_empty(), "no root");
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .build()?
        .verify_client_cert(leaf, intermediates, UnixTime::now())
        .context("certificate and CA")?;
    let digest = Sha256::digest(leaf);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
