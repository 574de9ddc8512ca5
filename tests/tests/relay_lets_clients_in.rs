//! The relay's door: unmodified clients in plain text reach a server that demands mutual TLS, under
//! this process's certificate; who must not, does not, and is told why.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::{ConnectErrorKind, ConnectOptions};
use futures_util::StreamExt as _;
use nats_mtls::nats::{Authentication, Secret};
use nats_mtls::relay::{
    ListenError, LocalCredentials, RelayError, RelayLimits, RelayReport, SessionResult,
};
use nats_mtls::{ConnectSettings, Relay, RelaySettings, StartupPolicy};
use nats_mtls_tests::service::Service;
use nats_mtls_tests::wait::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A free port on loopback.
fn settings() -> RelaySettings {
    RelaySettings::new().listen(([127, 0, 0, 1], 0).into())
}

fn url(relay: &Relay) -> String {
    format!("nats://127.0.0.1:{}", relay.local_addr().port())
}

async fn reports(relay: &Relay, what: &str, holds: impl Fn(&RelayReport) -> bool) -> Result<()> {
    eventually(PATIENCE, what, || async {
        let report = relay.report();
        ensure!(holds(&report), "{report:?}");
        Ok(Some(()))
    })
    .await
}

/// Everything that the relay says to somebody who only connects and says `words`.
async fn answer(relay: &Relay, words: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(relay.local_addr()).await?;
    stream.write_all(words).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
    Ok(String::from_utf8(answer)?)
}

#[tokio::test]
async fn a_client_in_plain_text_speaks_under_our_certificate() -> Result<()> {
    let service = Service::start().await?;
    let relay = service.manager.relay(service.server.url(), settings());
    let relay = relay.await?;
    let options = ConnectOptions::new().name("legacy");
    let client = options.connect(url(&relay)).await?;
    let mut messages = client.subscribe("greetings").await?;
    client.publish("greetings", "hello".into()).await?;
    let message = timeout(PATIENCE, messages.next()).await?;
    ensure!(message.context("no message")?.payload == "hello");

    let seen = service.server.connection("legacy").await?;
    let seen = seen.context("the server does not know it")?;
    ensure!(
        seen.fingerprint() == Some(service.identity.fingerprint()),
        "{seen:?}"
    );
    reports(&relay, "counted", |report| {
        report.sessions == 1
            && report.results_of(SessionResult::Accepted) == 1
            && (report.upstream.messages, report.downstream.messages) == (1, 1)
    })
    .await?;
    drop((client, messages));
    reports(&relay, "gone", |report| report.sessions == 0).await?;
    ensure!(timeout(PATIENCE, relay.drain()).await?);
    Ok(())
}

#[tokio::test]
async fn strangers_are_kept_out_unless_somebody_insists() -> Result<()> {
    let service = Service::start().await?;
    let server = service.server.url();
    let everywhere = || settings().listen(([0, 0, 0, 0], 0).into());
    let refused = service.manager.relay(server.clone(), everywhere()).await;
    let error = refused.err().context("it listens for everybody")?;
    ensure!(
        matches!(error, RelayError::Listen(ListenError::NotLoopback { .. })),
        "{error}"
    );
    let token = LocalCredentials::token(Secret::new("t0ken"));
    for insisting in [
        everywhere().unsafe_listen(true),
        everywhere().local_credentials(token),
    ] {
        service.manager.relay(server.clone(), insisting).await?;
    }
    let taken = service.manager.relay(server.clone(), settings()).await?;
    let same = settings().listen(taken.local_addr());
    let error = service.manager.relay(server, same).await.err();
    let error = error.context("it shares the port")?;
    ensure!(
        matches!(error, RelayError::Listen(ListenError::InUse { .. })),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_the_others_do_not_feel_it() -> Result<()> {
    let service = Service::start().await?;
    let settings = settings().limits(RelayLimits::new().sessions(2));
    let relay = service.manager.relay(service.server.url(), settings);
    let relay = relay.await?;
    let first = async_nats::connect(url(&relay)).await?;
    let second = async_nats::connect(url(&relay)).await?;
    ensure!(answer(&relay, b"").await? == "-ERR 'maximum connections exceeded'\r\n");
    first.flush().await?;
    let report = relay.report();
    ensure!(report.results_of(SessionResult::Limit) == 1, "{report:?}");
    drop(second);
    reports(&relay, "a place is free", |report| report.sessions == 1).await?;
    async_nats::connect(url(&relay)).await?;
    Ok(())
}

/// The user is wrong for the server, so it would be refused there if it were passed on.
#[tokio::test]
async fn local_credentials_open_the_door_and_stay_behind_it() -> Result<()> {
    let agent = Authentication::UserPassword {
        user: "agent".into(),
        password: Secret::new("upstream"),
    };
    let connection = agent.clone();
    let service = Service::start_with(
        |server| server.password_user("agent", "upstream"),
        |manager| manager,
        |connect| connect.authentication(connection),
    )
    .await?;
    let settings = settings()
        .local_credentials(LocalCredentials::user_password(
            "legacy",
            Secret::new("l0cal"),
        ))
        .upstream(ConnectSettings::new().authentication(agent));
    let relay = service.manager.relay(service.server.url(), settings);
    let relay = relay.await?;
    let login = |user: &str, password: &str| {
        ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()).name("legacy")
    };
    let client = login("legacy", "l0cal").connect(url(&relay)).await?;
    let seen = service.server.connection("legacy").await?;
    let seen = seen.context("the server does not know it")?;
    ensure!(seen.authorized_user == "agent", "{seen:?}");
    drop(client);

    let began = Instant::now();
    for options in [
        login("legacy", "guess"),
        login("agent", "upstream"),
        ConnectOptions::new(),
    ] {
        let error = options.connect(url(&relay)).await.err();
        let error = error.context("a wrong guess is let in")?;
        ensure!(
            error.kind() == ConnectErrorKind::AuthorizationViolation,
            "{error}"
        );
    }
    ensure!(
        began.elapsed() > Duration::from_secs(3),
        "guessing is cheap"
    );
    let unauthorized = relay.report().results_of(SessionResult::Unauthorized);
    ensure!(unauthorized == 3, "{unauthorized}");
    Ok(())
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_is_answered_as_by_the_server() -> Result<()> {
    let service = Service::start().await?;
    let settings = settings().limits(RelayLimits::new().connect_time(Duration::from_millis(300)));
    let relay = service.manager.relay(service.server.url(), settings);
    let relay = relay.await?;
    let cases: [(&[u8], &str, SessionResult); 3] = [
        (b"", "Authentication Timeout", SessionResult::Timeout),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "Unknown Protocol Operation",
            SessionResult::Protocol,
        ),
        (
            b"CONNECT {\"verbose\":7}\r\n",
            "Parser Error",
            SessionResult::Protocol,
        ),
    ];
    for (words, expected, result) in cases {
        let before = relay.report().results_of(result);
        let said = answer(&relay, words).await?;
        let (info, error) = said.split_once("\r\n").context("one line")?;
        ensure!(info.starts_with("INFO {"), "{said}");
        ensure!(!info.contains("tls_required"), "{said}");
        ensure!(error.starts_with(&format!("-ERR '{expected}'")), "{said}");
        ensure!(relay.report().results_of(result) == before + 1, "{said}");
    }
    reports(&relay, "all gone", |report| report.sessions == 0).await
}

#[tokio::test]
async fn while_nats_is_down_clients_are_told_after_the_patience() -> Result<()> {
    let mut service = Service::start().await?;
    service.server.stop().await?;
    let upstream = |policy| settings().upstream(ConnectSettings::new().startup(policy));
    let hasty = service
        .manager
        .relay(service.server.url(), upstream(StartupPolicy::FailFast))
        .await?;
    let said = answer(&hasty, b"").await?;
    ensure!(said.starts_with("-ERR '"), "{said}");
    let report = hasty.report();
    ensure!(
        report.results_of(SessionResult::Unavailable) == 1,
        "{report:?}"
    );
    let status = service.manager.status().relay.context("no relay")?;
    let failure = status.last_failure.context("no failure")?.detail;
    ensure!(failure.contains("refused"), "{failure}");

    let patient = StartupPolicy::RetryFor(PATIENCE);
    let patient = service
        .manager
        .relay(service.server.url(), upstream(patient))
        .await?;
    let waiting = TcpStream::connect(patient.local_addr()).await?;
    reports(&patient, "waiting", |report| report.sessions == 1).await?;
    service.server.restart().await?;
    let mut first = [0; 6];
    let mut waiting = waiting;
    timeout(PATIENCE, waiting.read_exact(&mut first)).await??;
    ensure!(&first == b"INFO {");
    Ok(())
}

/// Also if nobody refuses the connection, and a pass over the servers would take longer.
#[tokio::test]
async fn the_patience_is_kept_with_servers_that_stay_silent() -> Result<()> {
    let service = Service::start().await?;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("tls://localhost:{}", silent.local_addr()?.port());
    let patience = Duration::from_secs(1);
    let upstream = ConnectSettings::new()
        .connect_timeout(PATIENCE)
        .startup(StartupPolicy::RetryFor(patience));
    let relay = service.manager.relay(url, settings().upstream(upstream));
    let relay = relay.await?;
    let began = Instant::now();
    let said = answer(&relay, b"").await?;
    let took = began.elapsed();
    ensure!(said.starts_with("-ERR '"), "{said}");
    ensure!(took >= patience && took < PATIENCE / 2, "{took:?}");
    let unavailable = relay.report().results_of(SessionResult::Unavailable);
    ensure!(unavailable == 1, "{unavailable}");
    Ok(())
}

/// What an agent does that was told `--startup retry`: its clients wait as long as it did, and no longer.
#[tokio::test]
async fn while_nats_stays_down_clients_are_told_once_the_patience_is_spent() -> Result<()> {
    let service = Service::start().await?;
    service.server.stop().await?;
    let patience = Duration::from_secs(2);
    let upstream = ConnectSettings::new().startup(StartupPolicy::RetryFor(patience));
    let relay = service
        .manager
        .relay(service.server.url(), settings().upstream(upstream))
        .await?;
    let began = Instant::now();
    let (first, second) = tokio::try_join!(answer(&relay, b""), answer(&relay, b""))?;
    let took = began.elapsed();
    for said in [first, second] {
        ensure!(said == "-ERR 'no NATS server is available'\r\n", "{said}");
    }
    // A pass over servers that refuse at once takes no time: it was tried again. The last pause is not
    // made if the patience would end in it.
    ensure!(took > patience / 4, "{took:?}");
    ensure!(took < patience + PATIENCE / 4, "{took:?}");
    let report = relay.report();
    ensure!(
        report.results_of(SessionResult::Unavailable) == 2,
        "{report:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_drain_gives_clients_their_time_and_then_ends() -> Result<()> {
    let service = Service::start().await?;
    let limit = Duration::from_millis(400);
    let settings = settings().drain_limit(limit);
    let relay = service.manager.relay(service.server.url(), settings);
    let relay = relay.await?;
    let address: SocketAddr = relay.local_addr();
    let (notices, mut noticed) = tokio::sync::mpsc::unbounded_channel();
    let options = ConnectOptions::new().event_callback(move |event| {
        let notices = notices.clone();
        async move {
            if event == async_nats::Event::LameDuckMode {
                notices.send(Instant::now()).ok();
            }
        }
    });
    let stays = options.connect(url(&relay)).await?;
    let began = Instant::now();
    let drain = relay.drain();
    let during = async {
        eventually(PATIENCE, "the port is closed", || async {
            Ok(TcpStream::connect(address).await.is_err().then_some(()))
        })
        .await?;
        // Served until the limit.
        stays.flush().await?;
        anyhow::Ok(())
    };
    let (by_itself, during) = tokio::join!(drain, during);
    during?;
    ensure!(!by_itself, "the client had not left");
    let took = began.elapsed();
    let told = timeout(PATIENCE, noticed.recv()).await?;
    let told = told.context("it was not told")?.duration_since(began);
    ensure!(told < limit, "told {told:?} after the drain began");
    ensure!(
        took >= limit && took < limit + Duration::from_secs(3),
        "{took:?}"
    );
    ensure!(relay.report().sessions == 0);
    ensure!(timeout(PATIENCE, relay.ended()).await.is_ok());
    Ok(())
}
