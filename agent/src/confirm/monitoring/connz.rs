//! `/connz` as far as it is read, and what follows from it. Pure. Old servers have fewer fields.

use serde::Deserialize;

use crate::config::HttpUrl;
use crate::confirm::verdict::Answer;
use crate::words::brief;

/// The agent's own connection, as its own side knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::confirm) struct Known {
    pub(in crate::confirm) server_id: String,
    pub(in crate::confirm) client_id: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connz {
    pub(super) server_id: Option<String>,
    #[serde(default)]
    pub(super) connections: Vec<Connection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connection {
    pub(super) cid: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    tls_peer_certs: Vec<PeerCertificate>,
}

#[derive(Debug, Deserialize)]
struct PeerCertificate {
    cert_sha256: Option<String>,
}

const NO_CERTIFICATES: &str = "nats-server does not show tls_peer_certs: it is older than 2.9, or asks \
                               for no client certificate";

impl Connection {
    fn leaf(&self) -> Option<&str> {
        self.tls_peer_certs.first()?.cert_sha256.as_deref()
    }
}

impl Connz {
    pub(super) fn server(&self) -> String {
        brief(self.server_id.as_deref().unwrap_or_default())
    }

    pub(super) fn is_of(&self, known: &Known) -> bool {
        self.server_id.as_ref() == Some(&known.server_id)
    }

    /// What the server of the agent's own connection shows for it.
    pub(super) fn own(&self, known: &Known, fingerprint: &str) -> Answer {
        let id = known.client_id;
        let mut connections = self.connections.iter();
        let Some(connection) = connections.find(|connection| connection.cid == id) else {
            return Answer::NotSeen(format!("nats-server has no connection {id} any more"));
        };
        match connection.leaf() {
            None => Answer::Unsupported(NO_CERTIFICATES.to_owned()),
            Some(seen) if seen == fingerprint => Answer::Seen,
            Some(seen) => Answer::NotSeen(format!(
                "the agent's own connection {id} presents {}",
                brief(seen)
            )),
        }
    }
}

impl Known {
    /// None of the servers that answered is the one.
    pub(super) fn is_elsewhere(&self, others: &[String]) -> Answer {
        Answer::Unsupported(format!(
            "--confirm-url names the monitoring of {}, and the connection is at server {}: name that of \
             each server that it may move to",
            others.join(", "),
            brief(&self.server_id),
        ))
    }
}

/// What one server shows of the connections of a name.
#[derive(Debug, Default)]
pub(super) struct Tally {
    new: usize,
    /// The first that shows another certificate.
    other: Option<String>,
    /// The first that shows none.
    untold: Option<String>,
}

impl Tally {
    pub(super) fn count(
        &mut self,
        url: &HttpUrl,
        connection: &Connection,
        name: &str,
        fingerprint: &str,
    ) {
        if connection.name != name {
            return;
        }
        let who = || {
            format!(
                "connection {} named {} at {url}",
                connection.cid,
                brief(name)
            )
        };
        match connection.leaf() {
            Some(seen) if seen == fingerprint => self.new += 1,
            Some(seen) => {
                let found = || format!("{} presents {}", who(), brief(seen));
                self.other.get_or_insert_with(found);
            }
            None => {
                let found = || format!("{} shows no certificate: {NO_CERTIFICATES}", who());
                self.untold.get_or_insert_with(found);
            }
        }
    }

    pub(super) fn judge(tallies: Vec<Self>, name: &str) -> Answer {
        let (mut new, mut other, mut untold) = (0, None, None);
        for tally in tallies {
            new += tally.new;
            other = other.or(tally.other);
            untold = untold.or(tally.untold);
        }
        match (other, untold) {
            (Some(why), _) => Answer::NotSeen(why),
            (None, Some(why)) => Answer::Unsupported(why),
            (None, None) if new == 0 => Answer::NotSeen(format!(
                "no connection is named {} at the servers of --confirm-url",
                brief(name)
            )),
            (None, None) => Answer::Seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfirmConfig;

    fn parse(text: &str) -> Connz {
        serde_json::from_str(text).unwrap()
    }

    fn own(text: &str) -> Answer {
        let known = Known {
            server_id: "NA".to_owned(),
            client_id: 7,
        };
        let connz = parse(text);
        assert!(connz.is_of(&known), "{text}");
        connz.own(&known, "abcd")
    }

    #[test]
    fn only_the_leaf_of_the_very_connection_counts() {
        let connz = |cid: u64, certs: &str| {
            format!(r#"{{"server_id":"NA","connections":[{{"cid":{cid}{certs}}}],"more":1}}"#)
        };
        let new = r#","tls_peer_certs":[{"cert_sha256":"abcd"},{"cert_sha256":"ef"}]"#;
        let old = r#","tls_peer_certs":[{"cert_sha256":"ef"},{"cert_sha256":"abcd"}]"#;
        assert_eq!(own(&connz(7, new)), Answer::Seen);
        assert!(matches!(own(&connz(7, old)), Answer::NotSeen(why) if why.contains("ef")));
        assert!(matches!(own(&connz(8, new)), Answer::NotSeen(_)));
        assert!(matches!(own(r#"{"server_id":"NA"}"#), Answer::NotSeen(_)));
    }

    #[test]
    fn a_server_that_cannot_tell_is_unsupported_and_another_is_not_asked() {
        for text in [
            r#"{"server_id":"NA","connections":[{"cid":7}]}"#,
            r#"{"server_id":"NA","connections":[{"cid":7,"tls_peer_certs":[{"subject":"CN=a"}]}]}"#,
        ] {
            assert!(matches!(own(text), Answer::Unsupported(_)), "{text}");
        }
        let known = Known {
            server_id: "NA".to_owned(),
            client_id: 7,
        };
        for text in [r#"{"server_id":"NB","connections":[{"cid":7}]}"#, "{}"] {
            assert!(!parse(text).is_of(&known), "{text}");
        }
    }

    #[test]
    fn every_connection_of_the_name_counts_and_no_other() {
        let url = &ConfirmConfig::monitoring(&["http://a:8222".to_owned()]).unwrap()[0];
        let (new, old, none) = (
            r#","tls_peer_certs":[{"cert_sha256":"abcd"}]"#,
            r#","tls_peer_certs":[{"cert_sha256":"ef"}]"#,
            "",
        );
        let judged = |servers: &[&[(&str, &str)]]| {
            let tallies = servers.iter().map(|connections| {
                let mut tally = Tally::default();
                for (cid, (name, certs)) in (1..).zip(*connections) {
                    let text = format!(r#"{{"cid":{cid},"name":"{name}"{certs}}}"#);
                    let connection: Connection = serde_json::from_str(&text).unwrap();
                    tally.count(url, &connection, "orders", "abcd");
                }
                tally
            });
            Tally::judge(tallies.collect(), "orders")
        };
        assert_eq!(
            judged(&[&[("orders", new), ("other", old)], &[]]),
            Answer::Seen
        );
        let answer = judged(&[&[("orders", new), ("orders", new)], &[("orders", old)]]);
        let Answer::NotSeen(why) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(
            why,
            "connection 1 named orders at http://a:8222 presents ef"
        );
        for nobody in [&[][..], &[("order", new)]] {
            let answer = judged(&[nobody, nobody]);
            assert!(matches!(answer, Answer::NotSeen(why) if why.contains("no connection")));
        }
        let answer = judged(&[&[("orders", none), ("orders", new)]]);
        assert!(matches!(answer, Answer::Unsupported(_)), "{answer:?}");
        let answer = judged(&[&[("orders", none), ("orders", old)]]);
        assert!(matches!(answer, Answer::NotSeen(_)), "{answer:?}");
    }
}
