//! The first connection: tries the servers one by one, so that each failure keeps its true cause,
//! until one accepts or the startup policy gives up.

#[cfg(feature = "relay")]
mod through_relay;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ServerAddr};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::nats::authentication::AuthenticationError;
use crate::nats::connection::{Connection, ConnectionReport};
use crate::nats::driver::{Driver, Ends, Shared};
use crate::nats::event::ConnectionState;
use crate::nats::failure::Failure;
use crate::nats::registry::{Registration, Registry};
use crate::nats::servers::{self, ServerList, ServerListError};
use crate::nats::settings::ConnectSettings;
use crate::nats::startup::{ServerAttempts, StartupPolicy};
use crate::nats::way::Way;
use crate::nats::wires::{self, Wires};
use crate::reload::Command;
use crate::tls::SerialConfig;

/// Between two passes over the servers.
const BETWEEN_PASSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
const EVENT_CAPACITY: usize = 64;
/// For the client to tell its pool; it does not answer while it reconnects.
const POOL_LIMIT: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The servers make no sense. Fix the URLs.
    #[error(transparent)]
    Servers(#[from] ServerListError),
    /// The authentication cannot be used. Fix the credentials.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// Another connection of this manager has the same component name. Names tell them apart in
    /// logs, status and metrics.
    #[error("a connection with the component name {0:?} exists already; give each its own")]
    DuplicateComponent(String),
    /// rustls cannot make a configuration with this crypto provider.
    #[error("rustls: {0}")]
    Tls(#[from] rustls::Error),
    /// The platform's root store cannot be loaded. async-nats loads it on every connect, although
    /// only the configured CA is used.
    #[error(
        "the platform's root store cannot be loaded ({0}); async-nats loads it on every connect, so \
         every connect would fail: unset or mend SSL_CERT_FILE and SSL_CERT_DIR"
    )]
    PlatformRoots(String),
    /// The private relay of a connection with `ConnectSettings::handover` cannot listen on
    /// loopback, or there is no randomness for its secret.
    #[error("no private relay: {0}")]
    Relay(String),
    /// No server accepted the connection as long as the startup policy allowed.
    #[error("no NATS connection after {waited:.1?}{}", list(.attempts))]
    NotConnected {
        /// How long it was tried.
        waited: Duration,
        /// Each server, how often it was tried and why it failed.
        attempts: Vec<ServerAttempts>,
    },
}

fn list(attempts: &[ServerAttempts]) -> String {
    attempts.iter().fold(String::new(), |mut text, attempt| {
        // Writing to a String cannot fail.
        write!(text, "; {attempt}").ok();
        text
    })
}

/// Connects, registers and starts the driver.
pub(crate) async fn connect(
    shared: &Shared,
    registry: &Arc<Registry>,
    servers: ServerList,
    settings: ConnectSettings,
    mut way: Way,
) -> Result<Connection, ConnectionError> {
    let policy = settings
        .startup
        .unwrap_or_else(|| StartupPolicy::RetryFor(settings.startup_budget(&servers).total()));
    if !way.is_relayed() {
        check_platform_roots(policy).await?;
    }
    let component = settings.component.clone();
    let mut registration = registry
        .register(servers, settings)
        .ok_or(ConnectionError::DuplicateComponent(component))?;
    // A candidate that waits for a server to ask has one now.
    shared.commands.try_send(Command::NewServer).ok();

    let started = Instant::now();
    let patience = registration.settings.connect_timeout;
    let first = first_client(&registration, &mut way, policy, started).await;
    let First {
        client,
        wires,
        attempts,
    } = first.inspect_err(|_| registration.give_up())?;
    let (request_sender, requests) = mpsc::channel(4);
    let (events, _) = broadcast::channel(EVENT_CAPACITY);
    let epoch = watch::Sender::new(0);
    let epoch_reader = epoch.subscribe();
    let report = registration.subscribe();
    let ends = Ends {
        requests,
        events: events.clone(),
        epoch,
    };
    let mut ready = report.clone();
    let over = Arc::clone(&wires.over);
    let driver = Driver::new(
        client.clone(),
        way,
        registration,
        shared.clone(),
        wires,
        ends,
    );
    let driver = tokio::spawn(driver.run());
    let connection = Connection::new(
        client,
        request_sender,
        events,
        epoch_reader,
        report,
        driver,
        over,
    );
    let limit = match policy {
        StartupPolicy::FailFast => Some(patience),
        other => other
            .budget()
            .map(|budget| budget.saturating_sub(started.elapsed())),
    };
    if stays(&mut ready, limit).await {
        return Ok(connection);
    }
    connection.give_up().await;
    Err(ConnectionError::NotConnected {
        waited: started.elapsed(),
        attempts,
    })
}

/// Waits until the driver has seen the client up, so that report and registry know the connection.
/// A server that accepted may be gone before that: then this tells whether another one comes within `limit`.
async fn stays(report: &mut watch::Receiver<ConnectionReport>, limit: Option<Duration>) -> bool {
    let is_up = |report: &ConnectionReport| report.connects > 0;
    let seen = report.wait_for(|report| is_up(report) || report.state == ConnectionState::Closed);
    let seen = match limit {
        Some(limit) => timeout(limit, seen).await.ok(),
        None => Some(seen.await),
    };
    seen.is_some_and(|seen| seen.is_ok_and(|report| is_up(&report)))
}

impl Way {
    /// The client's own way.
    ///
    /// # Errors
    /// rustls cannot make a configuration, or the credentials cannot be used.
    pub(crate) fn direct(
        shared: &Shared,
        servers: &ServerList,
        settings: &ConnectSettings,
    ) -> Result<Self, ConnectionError> {
        let serial = SerialConfig::new(
            Arc::clone(&shared.store),
            settings.names(servers),
            shared.versions,
        )?;
        settings.options(servers, serial.client_config())?;
        Ok(Self::Direct(serial))
    }
}

async fn check_platform_roots(policy: StartupPolicy) -> Result<(), ConnectionError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let Ok(loaded) = loaded else {
        return Ok(()); // The runtime shuts down.
    };
    let Some(error) = loaded.errors.first() else {
        return Ok(());
    };
    let error = ConnectionError::PlatformRoots(error.to_string());
    if policy == StartupPolicy::RetryForever {
        warn!(%error, "trying all the same");
        return Ok(());
    }
    Err(error)
}

/// A server accepted.
struct First {
    client: Client,
    wires: Wires,
    /// What became of all of them until then.
    attempts: Vec<ServerAttempts>,
}

async fn first_client(
    registration: &Registration,
    way: &mut Way,
    policy: StartupPolicy,
    started: Instant,
) -> Result<First, ConnectionError> {
    let addresses = registration.servers.addresses();
    let mut attempts: Vec<_> = addresses
        .iter()
        .map(|address| ServerAttempts {
            server: servers::label(address),
            attempts: 0,
            last_failure: None,
        })
        .collect();
    let settings = &registration.settings;
    // Given by the caller it has no arithmetic of ours.
    let computed = settings.startup.is_none();
    let computed = computed.then(|| settings.startup_budget(&registration.servers).to_string());
    info!(
        component = settings.component,
        servers = %registration.servers,
        budget_seconds = policy.budget().map(|budget| budget.as_secs_f64()),
        computed,
        "connecting"
    );
    let trying = try_servers(registration, way, policy, &mut attempts);
    let client = match policy.budget() {
        Some(budget) => timeout(budget, trying).await.ok().flatten(),
        None => trying.await,
    };
    match client {
        Some((client, wires)) => Ok(First {
            client,
            wires,
            attempts,
        }),
        None => Err(ConnectionError::NotConnected {
            waited: started.elapsed(),
            attempts,
        }),
    }
}

/// Passes over the servers until one accepts; none after a single pass if the policy is to fail
/// fast.
async fn try_servers(
    registration: &Registration,
    way: &mut Way,
    policy: StartupPolicy,
    attempts: &mut [ServerAttempts],
) -> Option<(Client, Wires)> {
    let mut passes = 0;
    loop {
        let connected = match way {
            Way::Direct(serial) => try_each(registration, serial, attempts).await,
            #[cfg(feature = "relay")]
            Way::Relayed(hop) => through_relay::try_all(registration, hop, attempts).await,
        };
        if connected.is_some() {
            return connected;
        }
        if policy == StartupPolicy::FailFast {
            return None;
        }
        passes += 1;
        sleep(BETWEEN_PASSES.wait(passes)).await;
    }
}

/// In random order.
async fn try_each(
    registration: &Registration,
    serial: &SerialConfig,
    attempts: &mut [ServerAttempts],
) -> Option<(Client, Wires)> {
    let addresses = registration.servers.addresses();
    let mut order: Vec<_> = addresses.iter().zip(attempts.iter_mut()).collect();
    fastrand::shuffle(&mut order);
    for (address, attempt) in order {
        attempt.attempts += 1;
        match try_server(registration, serial, address).await {
            Ok(connected) => {
                attempt.last_failure = Some(gone());
                return Some(connected);
            }
            Err(failure) => note(registration, attempt, failure),
        }
    }
    None
}

/// Of a server that accepted; told only if the connection does not stay.
fn gone() -> Failure {
    Failure::unavailable("accepted the connection and was gone")
}

fn note(registration: &Registration, attempt: &mut ServerAttempts, failure: Failure) {
    warn!(
        component = registration.settings.component,
        server = attempt.server, attempt = attempt.attempts, cause = %failure,
        "cannot connect"
    );
    registration.update(|report| {
        report.last_error = Some(format!("{}: {failure}", attempt.server));
        report.totals.failed_attempts.count(failure.kind);
    });
    attempt.last_failure = Some(failure);
}

async fn try_server(
    registration: &Registration,
    serial: &SerialConfig,
    address: &ServerAddr,
) -> Result<(Client, Wires), Failure> {
    let settings = &registration.settings;
    let options = settings
        .options(&registration.servers, serial.client_config())
        .map_err(|error| Failure::unavailable(error.to_string()))?
        .name(&settings.component);
    let (options, wires) = wires::attach(options, settings.reconnect_backoff, serial);
    // The client's own limit is per resolved address and leaves out DNS.
    let limit = settings.connect_timeout.saturating_mul(2);
    let client = timeout(limit, options.connect(address))
        .await
        .map_err(|_| Failure::unavailable("no answer in time"))?
        .map_err(|error| Failure::from_connect_error(&error))?;
    wires.handle_client(&client);
    widen_pool(&client, &registration.servers).await;
    Ok((client, wires))
}

/// The first connect was to one server; reconnects may use all that are configured or discovered.
async fn widen_pool(client: &Client, servers: &ServerList) {
    if servers.len() == 1 {
        return;
    }
    let Ok(Ok(pool)) = timeout(POOL_LIMIT, client.server_pool()).await else {
        return;
    };
    let mut addresses = servers.addresses().to_vec();
    let discovered = pool.into_iter().map(|server| server.addr);
    addresses.extend(discovered.filter(|address| !servers.addresses().contains(address)));
    if !matches!(
        timeout(POOL_LIMIT, client.set_server_pool(addresses)).await,
        Ok(Ok(()))
    ) {
        warn!("the client did not take the whole list of servers; it knows one, and those of INFO");
    }
}
