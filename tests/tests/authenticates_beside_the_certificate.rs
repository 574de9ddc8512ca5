//! Authentication beside the certificate takes part in connects, in preflights and in moves.

use anyhow::Result;
use nats_mtls::nats::{Authentication, Secret};
use nats_mtls_tests::server::{HandshakeFirst, ServerSettings};
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::PATIENCE;

/// Rotates once, with the servers asked, and checks who the server thinks it is.
async fn rotate(
    server: impl FnOnce(ServerSettings) -> ServerSettings,
    authentication: Authentication,
    user: &str,
) -> Result<()> {
    let mut service =
        Service::start_with(server, |m| m, |c| c.authentication(authentication)).await?;
    service.renew()?;
    let fingerprint = service.identity.fingerprint().to_owned();
    let seen = service.server.sees(NAME, &fingerprint, PATIENCE).await?;
    assert_eq!(seen.authorized_user, user);
    let preflight = service.manager.status().last_preflight;
    assert_eq!(
        preflight.map(|preflight| preflight.result),
        Some("accepted")
    );
    Ok(())
}

#[tokio::test]
async fn with_user_and_password() -> Result<()> {
    let authentication = Authentication::UserPassword {
        user: "alice".into(),
        password: Secret::new("secret"),
    };
    rotate(
        |server| server.password_user("alice", "secret"),
        authentication,
        "alice",
    )
    .await
}

#[tokio::test]
async fn with_a_token() -> Result<()> {
    let authentication = Authentication::Token(Secret::new("a-token"));
    let line = "authorization { token: \"a-token\" }";
    rotate(|server| server.line(line), authentication, "[REDACTED]").await
}

#[tokio::test]
async fn with_an_nkey_that_signs_every_nonce() -> Result<()> {
    let user = nkeys::KeyPair::new_user();
    let authentication = Authentication::NkeySeed(Secret::new(user.seed()?));
    let line = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        user.public_key()
    );
    rotate(
        |server| server.line(&line),
        authentication,
        &user.public_key(),
    )
    .await
}

/// TLS in its own time: the server waits a moment for the client to begin with it.
#[tokio::test]
async fn with_a_server_that_leaves_the_order_open() -> Result<()> {
    let mut service = Service::start_with(
        |server| server.handshake_first(HandshakeFirst::Auto),
        |m| m,
        |c| c,
    )
    .await?;
    service.renew()?;
    let fingerprint = service.identity.fingerprint().to_owned();
    service.server.sees(NAME, &fingerprint, PATIENCE).await?;
    Ok(())
}
