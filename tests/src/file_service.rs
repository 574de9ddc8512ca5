//! A service over ordinary files, which a test may replace by anything, and what has to stay as it
//! was while they are bad.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nats_mtls::{CertificateManager, ConnectSettings, Connection, Files, ManagerBuilder};

use crate::files::{Contents, Part, PlainFiles};
use crate::logs::LogCapture;
use crate::pki::{Authority, Identity, LeafSpec};
use crate::server::{NatsServer, ServerSettings};
use crate::service::NAME;
use crate::wait::{PATIENCE, eventually, throughout};

/// The file of revocation lists, beside the others.
pub const REVOCATION_LISTS: &str = "crl.pem";

/// Several polls.
const WINDOW: Duration = Duration::from_millis(600);

/// A service, its files and its server.
pub struct FileService {
    /// Issues the identities; the server trusts it.
    pub authority: Authority,
    /// What the files held last when they were good.
    pub identity: Identity,
    /// The files.
    pub files: PlainFiles,
    /// The server.
    pub server: NatsServer,
    /// The library.
    pub manager: CertificateManager,
    /// The managed connection.
    pub connection: Connection,
}

/// What must be said about a set that is not acceptable.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The reason, by its name in the contract.
    pub reason: &'a str,
    /// The part that is to blame.
    pub part: &'a str,
    /// The name of its file.
    pub file: &'a str,
    /// What the detail must name: position, field, limit.
    pub says: &'a str,
}

impl FileService {
    /// With changed settings of the manager.
    ///
    /// # Errors
    /// When anything does not start.
    pub async fn start(
        manager: impl FnOnce(ManagerBuilder, &PlainFiles) -> ManagerBuilder,
    ) -> Result<Self> {
        let authority = Authority::new("root");
        let server = NatsServer::start(ServerSettings::new(&authority)).await?;
        let identity = authority.issue(&LeafSpec::client(NAME).dns("orders.example.com"));
        let contents = Contents::new(&identity, &authority.root_pem());
        let files = PlainFiles::new(&contents)?;
        let lists = authority.revocation_list(&[], time::Duration::days(1));
        fs::write(files.directory().join(REVOCATION_LISTS), lists)?;
        let manager = manager(builder(&files), &files).build().await?;
        let settings = ConnectSettings::new().component(NAME);
        let connection = manager.connect(server.url(), settings).await?;
        Ok(Self {
            authority,
            identity,
            files,
            server,
            manager,
            connection,
        })
    }

    /// The set that the files held last when they were good.
    #[must_use]
    pub fn contents(&self) -> Contents {
        Contents::new(&self.identity, &self.authority.root_pem())
    }

    /// Writes a renewed set over whatever lies there.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn renew(&mut self) -> Result<()> {
        fs::create_dir_all(self.files.directory())?;
        self.identity = self.authority.renew(&self.identity);
        let lists = self.authority.revocation_list(&[], time::Duration::days(1));
        fs::write(self.files.directory().join(REVOCATION_LISTS), lists)?;
        for part in Part::ALL {
            let path = self.files.path(part);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                fs::remove_dir(path)?;
            }
        }
        self.files.rename_over(&self.contents())
    }

    /// The active generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.manager.snapshot().generation().number()
    }

    /// Waits until the server shows the certificate of the files.
    ///
    /// # Errors
    /// When it does not.
    pub async fn arrives(&self) -> Result<()> {
        self.server
            .sees(NAME, self.identity.fingerprint(), PATIENCE)
            .await
            .map(|_| ())
    }

    /// Does `damage` to the files, and checks promise 3: the reason is said, once; the server sees
    /// the old certificate on the same connection; a renewed set is taken by itself.
    ///
    /// # Errors
    /// Whatever of that is not so.
    pub async fn last_good_stays(
        &mut self,
        expected: Expected<'_>,
        damage: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let before = self.server.connection(NAME).await?.context("connected")?;
        let generation = self.generation();
        let warned = self.rejections_in_log();
        damage(self)?;
        eventually(PATIENCE, "the set is rejected", || async {
            let status = self.manager.status();
            ensure!(self.generation() == generation, "it was published");
            let is_new = self.rejections_in_log() > warned;
            Ok((is_new && matches!(status.disk.verdict, "rejected" | "unreadable")).then_some(()))
        })
        .await?;
        self.is_said(expected)?;
        throughout(WINDOW, "the last good set stays", || async {
            self.is_said(expected)?;
            let now = self.server.connection(NAME).await?.context("connected")?;
            let status = self.manager.status();
            Ok(now.cid == before.cid
                && now.fingerprint() == before.fingerprint()
                && status.ready
                && self.generation() == generation)
        })
        .await?;
        let warnings = self.rejections_in_log() - warned;
        ensure!(warnings == 1, "rejected {warnings} times, not once");

        self.renew()?;
        self.arrives().await?;
        eventually(PATIENCE, "the status says so too", || async {
            Ok((self.manager.status().disk.verdict == "active").then_some(()))
        })
        .await?;
        let status = self.manager.status();
        ensure!(status.disk.reason.is_none() && status.disk.detail.is_none());
        ensure!(self.generation() == generation + 1);
        let kept = status.last_rejection.context("last_rejection is kept")?;
        ensure!(kept.reason == expected.reason, "{}", kept.reason);
        Ok(())
    }

    /// Whether the status names reason, file and field, and last_rejection agrees.
    fn is_said(&self, expected: Expected<'_>) -> Result<()> {
        let status = self.manager.status();
        let last = status.last_rejection.context("no last_rejection")?;
        let detail = status.disk.detail.as_deref().unwrap_or_default();
        ensure!(
            status.disk.reason == Some(expected.reason) && last.reason == expected.reason,
            "{:?}: {detail}; last: {last:?}",
            status.disk.reason
        );
        ensure!(last.part == Some(expected.part), "{last:?}");
        ensure!(detail == last.detail, "{detail:?} is not {last:?}");
        let path = self.files.directory().join(expected.file);
        ensure!(
            detail.contains(&path.display().to_string()) && detail.contains(expected.says),
            "{detail:?} does not name {} and {:?}",
            expected.file,
            expected.says
        );
        Ok(())
    }

    /// How often the log of this process warned about these files.
    fn rejections_in_log(&self) -> usize {
        rejections_in_log(self.files.directory())
    }
}

/// How often the log of this process warned about files below `directory`. Counts from the first
/// call in the process, which turns the log on.
///
/// # Panics
/// When the process already logs to somewhere else.
pub fn rejections_in_log(directory: &Path) -> usize {
    static LOG: OnceLock<LogCapture> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let capture = LogCapture::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(capture.clone())
            .init();
        capture
    });
    let directory = directory.display().to_string();
    log.text()
        .lines()
        .filter(|line| line.contains("new material rejected") && line.contains(&directory))
        .count()
}

/// A manager over `files` that reacts fast.
pub fn builder(files: &PlainFiles) -> ManagerBuilder {
    CertificateManager::builder()
        .files(paths(files))
        .poll_interval(Duration::from_millis(200))
        .settle(Duration::from_millis(500))
        .spread(Duration::ZERO)
}

/// The paths of the three files.
pub fn paths(files: &PlainFiles) -> Files {
    Files::new(
        files.path(Part::Certificate),
        files.path(Part::Key),
        files.path(Part::Roots),
    )
}

/// The same with the file of revocation lists.
pub fn with_revocation_lists(files: &PlainFiles) -> Files {
    paths(files).crls(files.directory().join(REVOCATION_LISTS))
}
