//! A plain HTTP GET on loopback, for the monitoring port and the agent.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// An answer of any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, for example 200 or 503.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON of that shape.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.body).with_context(|| format!("not as expected: {}", self.body))
    }
}

/// Asks for `url` on a new connection. Every status is an answer, not an error.
///
/// # Errors
/// When nothing answers within five seconds.
pub async fn get(url: &str) -> Result<Response> {
    ask(url, &[]).await
}

/// The same with parameters, which are encoded here.
///
/// # Errors
/// When nothing answers within five seconds.
pub async fn ask(url: &str, parameters: &[(&str, &str)]) -> Result<Response> {
    let mut request = agent().get(url);
    for (name, value) in parameters {
        request = request.query(name, value);
    }
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut answer = request.call().with_context(|| url.clone())?;
        Ok(Response {
            status: answer.status().as_u16(),
            body: answer.body_mut().read_to_string().context(url)?,
        })
    })
    .await?
}

fn agent() -> &'static ureq::Agent {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            // A pooled connection would outlive the server it leads to.
            .max_idle_connections(0)
            .proxy(None)
            .build()
            .into()
    })
}
