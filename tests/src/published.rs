//! A program that reads a directory of certificates over and over, as a service beside the agent
//! does, and judges each time whether what it found belongs together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest as _, Sha256};

const DATA: &str = "..data";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const ROOTS: &str = "ca.crt";
const COMBINED: &str = "tls-combined.pem";

/// What a reader found, over all its readings.
#[derive(Debug, Default)]
pub struct Readings {
    /// Sets that belong together.
    pub good: u64,
    /// How often a set differed from the one before.
    pub changes: u64,
    /// `..data` led to another set by the time that a file was not there: the reader tries again.
    pub overtaken: u64,
    /// What was wrong with sets that do not, or that lack a file.
    pub bad: Vec<String>,
}

/// A thread that reads until it is stopped.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Readings>>,
}

impl Reader {
    /// Starts to read what `..data` of `directory` leads to, resolved once for each reading. There
    /// must be a set, now and from now on.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        Self::of(directory, follow)
    }

    /// Starts to read three files of `directory` itself, as a writer without care keeps them.
    #[must_use]
    pub fn start_in_place(directory: &Path) -> Self {
        Self::of(directory, |directory| {
            let files = [CERTIFICATE, KEY, ROOTS].map(|name| fs::read(directory.join(name)));
            let [certificate, key, roots] = files;
            pair(&certificate?, &key?, &roots?).map(Some)
        })
    }

    /// `read` finds a leaf, or none if it has to be called again.
    fn of(
        directory: &Path,
        read: impl Fn(&Path) -> Result<Option<String>> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let directory = directory.to_owned();
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut readings = Readings::default();
            let mut last = None;
            while !ends.load(Ordering::Relaxed) {
                match read(&directory) {
                    Ok(Some(leaf)) => {
                        readings.good += 1;
                        readings.changes += u64::from(last.as_ref().is_some_and(|l| *l != leaf));
                        last = Some(leaf);
                    }
                    Ok(None) => readings.overtaken += 1,
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

/// One reading of what `..data` of `directory` leads to: the fingerprint of its leaf, or nothing if
/// another set took its place meanwhile.
///
/// # Errors
/// When there is no set, or what is there does not belong together; see [`read`].
pub fn follow(directory: &Path) -> Result<Option<String>> {
    let target = || fs::read_link(directory.join(DATA)).context(DATA);
    let before = target()?;
    match read(&directory.join(&before)) {
        Ok(Some(leaf)) => Ok(Some(leaf)),
        // Who reads slowly may find that a set is gone by now.
        _ if target()? != before => Ok(None),
        Ok(None) => bail!("the set is gone and {DATA} still leads to it"),
        Err(error) => Err(error),
    }
}

/// Where a reader finds its files now.
#[must_use]
pub fn current(directory: &Path) -> PathBuf {
    fs::read_link(directory.join(DATA))
        .map_or_else(|_| directory.to_owned(), |set| directory.join(set))
}

/// The fingerprint of the leaf, if the four files in `set` belong together; nothing if there is
/// none of them.
///
/// # Errors
/// When they do not: one is missing or does not parse, the key is not that of the certificate, the
/// CA did not issue it, or the combined file holds another pair.
pub fn read(set: &Path) -> Result<Option<String>> {
    let names = [CERTIFICATE, KEY, ROOTS, COMBINED];
    let files = names.map(|name| fs::read(set.join(name)));
    let is_missing = |file: &io::Result<_>| {
        let error = file.as_ref().err();
        error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if files.iter().all(is_missing) {
        return Ok(None);
    }
    let [certificate, key, roots, combined] = files;
    let roots = roots.context(ROOTS)?;
    let leaf = pair(
        &certificate.context(CERTIFICATE)?,
        &key.context(KEY)?,
        &roots,
    )?;
    let combined = combined.context(COMBINED)?;
    ensure!(
        pair(&combined, &combined, &roots).context(COMBINED)? == leaf,
        "the combined file holds another pair"
    );
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
