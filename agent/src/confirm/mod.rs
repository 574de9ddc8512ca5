//! Finds out whether a rotation took, where the certificate is used: nats-server's monitoring shows
//! it for connections, a handshake for a server's own.
//!
//! Must not tell anybody, repeat a signal or change what is published: a verdict is for people.

mod handshake;
mod monitoring;
mod report;
mod verdict;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nats_mtls::{Backoff, StatusHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

pub(crate) use report::{Board, ConfirmStatus};

use monitoring::Known;
use report::Target;
use verdict::{Answer, Confirmation, Pace, Verdict};

use crate::config::{ConfirmConfig, Subject};
use crate::notify::{self, Feed, News, Tell};

/// One look: connect, ask, answer.
const LOOK: Duration = Duration::from_secs(5);
/// The same for every connection of a server, page by page.
const LOOK_AT_ALL: Duration = Duration::from_secs(60);
/// A reload takes milliseconds, a restart seconds.
const SOON: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
/// A big server works for each look at all its connections.
const SOON_AT_ALL: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// Each look is a line in the server's log.
const LATE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));

type Looking = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Told = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Asks about each generation once it was told.
pub(crate) struct Confirmer {
    subject: Arc<Subject>,
    confirmation: Confirmation,
    status: StatusHandle,
    hooks: notify::Board,
    board: Board,
}

impl Confirmer {
    /// None, and a board that stays empty, if nothing is to be confirmed.
    pub(crate) fn new(
        config: Option<ConfirmConfig>,
        status: StatusHandle,
        hooks: notify::Board,
    ) -> (Option<Self>, Board) {
        let subject = config.as_ref().map(|config| &config.subject);
        let board = Board::new(subject.map(target), subject.and_then(Subject::name));
        let confirmer = config.map(|config| Self {
            confirmation: Confirmation::new(Pace {
                within: config.within,
                soon: match target(&config.subject) {
                    Target::Clients => SOON_AT_ALL,
                    Target::Connection | Target::Server => SOON,
                },
                late: LATE,
            }),
            subject: Arc::new(config.subject),
            status,
            hooks,
            board: board.clone(),
        });
        (confirmer, board)
    }

    /// Ends when nobody can publish any more.
    pub(crate) async fn run(mut self, mut feed: Feed) {
        self.announce();
        let mut newest: Option<Arc<News>> = None;
        let mut told: Option<Told> = None;
        let mut looking: Option<Looking> = None;
        loop {
            if let Some(news) = newest.clone()
                && self.confirmation.poll_ask(Instant::now()) == Some(news.generation())
            {
                looking = Some(Box::pin(look(
                    Arc::clone(&self.subject),
                    news,
                    self.status.clone(),
                )));
            }
            let due = self.confirmation.poll_timeout();
            tokio::select! {
                changed = feed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    newest.clone_from(&feed.borrow_and_update());
                    told = newest.as_ref().map(|news| self.told(news));
                }
                generation = next(&mut told) => {
                    told = None;
                    self.board.handle_open(generation);
                    self.confirmation.handle_told(generation, Instant::now());
                }
                answer = next(&mut looking) => {
                    looking = None;
                    if let Some(verdict) = self.confirmation.handle_answer(answer, Instant::now()) {
                        self.say(&verdict);
                        self.board.handle_verdict(verdict, SystemTime::now());
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Resolves when everybody was told, or should have been.
    fn told(&self, news: &News) -> Told {
        let (generation, tell) = (news.generation(), news.tell);
        let hooks = self.hooks.clone();
        Box::pin(async move {
            if tell == Tell::Now {
                hooks.tried(generation).await;
            }
            generation
        })
    }

    /// What is looked at, and what is not: a verdict of "confirmed" must not be taken for more.
    fn announce(&self) {
        let (who, name) = (who(&self.subject), self.subject.name());
        info!(
            name,
            "after a rotation it is asked whether {who} the new certificate"
        );
        if matches!(*self.subject, Subject::Own { .. }) && !self.hooks.is_empty() {
            warn!(
                "whoever is told about a rotation has another connection, and that one is not looked at: \
                 --confirm-name says which it is"
            );
        }
    }

    fn say(&self, verdict: &Verdict) {
        let (result, name) = (verdict.as_str(), self.subject.name());
        let who = who(&self.subject);
        match verdict {
            Verdict::Confirmed => info!(result, name, "{who} shows the new certificate"),
            Verdict::NotConfirmed(why) => {
                warn!(
                    result,
                    name, why, "the new certificate is not seen where it should be used"
                );
            }
            Verdict::Unsupported(why) => {
                warn!(
                    result,
                    name, why, "nobody can say whether {who} shows the new certificate"
                );
            }
        }
    }
}

const fn target(subject: &Subject) -> Target {
    match subject {
        Subject::Own { .. } => Target::Connection,
        Subject::Clients { .. } => Target::Clients,
        Subject::Server { .. } | Subject::ServerOf { .. } => Target::Server,
    }
}

const fn who(subject: &Subject) -> &'static str {
    match target(subject) {
        Target::Connection => "the agent's own connection",
        Target::Clients => "every connection of that name",
        Target::Server => "the server",
    }
}

async fn next<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn look(subject: Arc<Subject>, news: Arc<News>, status: StatusHandle) -> Answer {
    let limit = match target(&subject) {
        Target::Clients => LOOK_AT_ALL,
        Target::Connection | Target::Server => LOOK,
    };
    let looked = async {
        match &*subject {
            Subject::Own { monitoring } => match known(&status, news.generation()) {
                Ok(known) => monitoring::own(monitoring, &known, &news.fingerprint()).await,
                Err(answer) => answer,
            },
            Subject::Clients { name, monitoring } => {
                monitoring::clients(monitoring, name, &news.fingerprint()).await
            }
            Subject::Server { address } => handshake::server(address, &news.snapshot).await,
            Subject::ServerOf { monitoring } => match monitoring::address(monitoring).await {
                Ok(address) => handshake::server(&address, &news.snapshot).await,
                Err(why) => Answer::NotSeen(why),
            },
        }
    };
    timeout(limit, looked)
        .await
        .unwrap_or_else(|_| Answer::NotSeen(format!("no answer within {limit:?}")))
}

/// The agent's own connection, once it has moved to this generation.
fn known(status: &StatusHandle, wanted: u64) -> Result<Known, Answer> {
    let status = status.status();
    let connection = status
        .connections
        .first()
        .filter(|connection| connection.state == "connected")
        .ok_or_else(|| Answer::NotSeen("the agent's connection to NATS is down".to_owned()))?;
    has_moved(connection.generation, wanted)?;
    match (&connection.server_id, connection.client_id) {
        (Some(server_id), Some(client_id)) => Ok(Known {
            server_id: server_id.clone(),
            client_id,
        }),
        _ => Err(Answer::Unsupported(
            "nats-server does not say which number the connection has".to_owned(),
        )),
    }
}

/// The leaf alone does not tell: a change of the roots keeps it.
fn has_moved(generation: Option<u64>, wanted: u64) -> Result<(), Answer> {
    match generation {
        Some(generation) if generation >= wanted => Ok(()),
        _ => Err(Answer::NotSeen(format!(
            "the agent's own connection has not moved to generation {wanted} yet"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use axum::Router;
    use axum::http::Uri;
    use axum::routing::get;
    use nats_mtls::{CertificateManager, Files};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ConfirmConfig;
    use crate::notify::testing;

    /// Monitoring of a server with so many connections that all present this leaf, where a page takes its time.
    async fn monitoring(count: usize, leaf: &'static str, pause: Duration) -> String {
        let page = move |uri: Uri| async move {
            tokio::time::sleep(pause).await;
            let query = uri.query().unwrap_or_default().to_owned();
            let number = |key: &str| -> usize {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs
                    .find(|(name, _)| *name == key)
                    .unwrap()
                    .1
                    .parse()
                    .unwrap()
            };
            let (limit, offset) = (number("limit"), number("offset"));
            let mut body = r#"{"server_id":"NA","connections":["#.to_owned();
            for cid in (0..count).skip(offset).take(limit) {
                let comma = if cid == offset { "" } else { "," };
                let certificates = format!(r#"[{{"cert_sha256":"{leaf}"}}]"#);
                write!(
                    body,
                    r#"{comma}{{"cid":{cid},"name":"orders","tls_peer_certs":{certificates}}}"#
                )
                .unwrap();
            }
            body + "]}"
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Router::new().route("/connz", get(page));
        tokio::spawn(async move { axum::serve(listener, service).await });
        url
    }

    #[tokio::test]
    async fn a_big_and_slow_server_is_looked_through() {
        let (news, _folder) = testing::news().await;
        let files = Files::new(&news.paths.certificate, &news.paths.key, &news.paths.roots);
        let manager = CertificateManager::builder()
            .files(files)
            .build()
            .await
            .unwrap();
        // Slower in all than one question may be.
        let pause = Duration::from_millis(1_800);
        let url = monitoring(2_500, news.fingerprint().leak(), pause).await;
        let subject = Subject::Clients {
            name: "orders".to_owned(),
            monitoring: ConfirmConfig::monitoring(&[url]).unwrap(),
        };
        let answer = look(Arc::new(subject), Arc::new(news), manager.status_handle()).await;
        assert_eq!(answer, Answer::Seen);
    }

    #[test]
    fn the_own_connection_is_looked_at_once_it_has_moved() {
        for (generation, is_there) in [
            (None, false),
            (Some(1), false),
            (Some(2), true),
            (Some(3), true),
        ] {
            assert_eq!(has_moved(generation, 2).is_ok(), is_there, "{generation:?}");
        }
    }
}
