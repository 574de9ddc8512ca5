//! What nats-server's monitoring says: which certificate a connection presents, and on which port
//! the server listens. What answers is not trusted: time and size are bounded.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use serde::Deserialize;
use tokio::net::TcpStream;

use super::verdict::Answer;
use crate::config::{Address, HttpUrl};
use crate::exchange::exchange;
use crate::words::brief;

/// One connection, or the variables of a server with many options.
const BODY_BYTES: usize = 256 * 1024;

/// The connection that is asked about, as its own side knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) server_id: String,
    pub(super) client_id: u64,
}

/// `/connz`, as far as it is read. Old servers have fewer fields.
#[derive(Debug, Deserialize)]
struct Connz {
    server_id: Option<String>,
    #[serde(default)]
    connections: Vec<Connection>,
}

#[derive(Debug, Deserialize)]
struct Connection {
    cid: u64,
    #[serde(default)]
    tls_peer_certs: Vec<PeerCertificate>,
}

#[derive(Debug, Deserialize)]
struct PeerCertificate {
    cert_sha256: Option<String>,
}

/// `/varz`, as far as it is read.
#[derive(Debug, Deserialize)]
struct Varz {
    port: u16,
}

/// Whether the server shows `fingerprint` for the connection.
pub(super) async fn connection(url: &HttpUrl, known: &Known, fingerprint: &str) -> Answer {
    let path = format!("/connz?auth=1&cid={}", known.client_id);
    match ask(url, &path).await {
        Err(why) => Answer::NotSeen(why),
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(connz) => judge(&connz, known, fingerprint),
            Err(_) => Answer::NotSeen(format!("{url}/connz is not nats-server's monitoring")),
        },
    }
}

fn judge(connz: &Connz, known: &Known, fingerprint: &str) -> Answer {
    let id = known.client_id;
    if connz.server_id.as_ref() != Some(&known.server_id) {
        return Answer::Unsupported(format!(
            "--confirm-url is the monitoring of server {}, and the connection is to {}",
            brief(connz.server_id.as_deref().unwrap_or("without an id")),
            brief(&known.server_id),
        ));
    }
    let Some(connection) = connz
        .connections
        .iter()
        .find(|connection| connection.cid == id)
    else {
        return Answer::NotSeen(format!("nats-server has no connection {id} any more"));
    };
    let leaf = connection.tls_peer_certs.first();
    match leaf.and_then(|leaf| leaf.cert_sha256.as_deref()) {
        None => Answer::Unsupported(
            "nats-server does not show tls_peer_certs: it is older than 2.9, or asks for no client \
             certificate"
                .to_owned(),
        ),
        Some(seen) if seen == fingerprint => Answer::Seen,
        Some(seen) => Answer::NotSeen(format!("connection {id} presents {}", brief(seen))),
    }
}

/// Where the server of this monitoring listens for clients.
pub(super) async fn address(url: &HttpUrl) -> Result<Address, String> {
    let body = ask(url, "/varz").await?;
    let varz: Varz = serde_json::from_slice(&body)
        .map_err(|_| format!("{url}/varz is not nats-server's monitoring"))?;
    Ok(Address {
        host: url.host().to_owned(),
        port: varz.port,
    })
}

async fn ask(url: &HttpUrl, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| format!("cannot connect to {url}: {error}"))?;
    let request = Request::get(path)
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close")
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    match exchange(stream, request, BODY_BYTES).await {
        Ok((StatusCode::OK, body)) => Ok(body),
        Ok((code, _)) => Err(format!("{url} answers {code}")),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Answer {
        let known = Known {
            server_id: "NA".to_owned(),
            client_id: 7,
        };
        judge(&serde_json::from_str(text).unwrap(), &known, "abcd")
    }

    #[test]
    fn only_the_leaf_of_the_very_connection_counts() {
        let connz = |cid: u64, certs: &str| {
            format!(r#"{{"server_id":"NA","connections":[{{"cid":{cid}{certs}}}],"more":1}}"#)
        };
        let new = r#","tls_peer_certs":[{"cert_sha256":"abcd"},{"cert_sha256":"ef"}]"#;
        let old = r#","tls_peer_certs":[{"cert_sha256":"ef"},{"cert_sha256":"abcd"}]"#;
        assert_eq!(judged(&connz(7, new)), Answer::Seen);
        assert!(matches!(judged(&connz(7, old)), Answer::NotSeen(why) if why.contains("ef")));
        assert!(matches!(judged(&connz(8, new)), Answer::NotSeen(_)));
        assert!(matches!(
            judged(r#"{"server_id":"NA"}"#),
            Answer::NotSeen(_)
        ));
    }

    #[test]
    fn a_server_that_cannot_tell_is_unsupported() {
        for text in [
            r#"{"server_id":"NA","connections":[{"cid":7}]}"#,
            r#"{"server_id":"NA","connections":[{"cid":7,"tls_peer_certs":[{"subject":"CN=a"}]}]}"#,
            r#"{"server_id":"NB","connections":[{"cid":7,"tls_peer_certs":[{"cert_sha256":"abcd"}]}]}"#,
            r#"{}"#,
        ] {
            assert!(matches!(judged(text), Answer::Unsupported(_)), "{text}");
        }
    }
}
