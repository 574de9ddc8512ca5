//! The JSON of `check --json`. Keys are a contract; certificates have the shape of `/status`.

use nats_mtls::material::Warning;
use nats_mtls::report::CertificateStatus;
use serde::Serialize;

use super::findings::{Answer, Findings, Verdict};
use super::picture::words;

/// What is unknown is null.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    /// Whether `run` would use this set.
    accepted: bool,
    /// From the closed list of reasons.
    reason: Option<&'static str>,
    detail: Option<String>,
    advice: Option<&'static str>,
    warnings: Vec<&'static str>,
    leaf: Option<CertificateStatus>,
    chain: Vec<CertificateStatus>,
    roots: Vec<CertificateStatus>,
    servers: Vec<ServerAnswer<'a>>,
    /// Null without `--min-validity`.
    min_validity_ok: Option<bool>,
}

#[derive(Debug, Serialize)]
struct ServerAnswer<'a> {
    server: &'a str,
    result: &'static str,
    detail: Option<&'a str>,
}

impl<'a> Document<'a> {
    pub(super) fn of(findings: &'a Findings) -> Self {
        let verdict = findings.verdict();
        let reason = match verdict {
            Verdict::Refused(reason) => Some(reason),
            _ => None,
        };
        let pinned = findings.source_warnings.first();
        let mut warnings: Vec<_> = findings
            .warnings
            .iter()
            .copied()
            .chain(pinned.map(|_| Warning::PinnedMount))
            .collect();
        warnings.dedup();
        Self {
            accepted: matches!(verdict, Verdict::Accepted),
            reason: reason.map(|reason| reason.as_str()),
            detail: words::wrong(findings),
            advice: words::advice(verdict),
            warnings: warnings.into_iter().map(Warning::as_str).collect(),
            leaf: findings.chain.first().map(CertificateStatus::from),
            chain: findings.chain.iter().map(CertificateStatus::from).collect(),
            roots: findings.roots.iter().map(CertificateStatus::from).collect(),
            servers: findings.servers.iter().map(ServerAnswer::of).collect(),
            min_validity_ok: findings.min_validity_ok(),
        }
    }
}

impl<'a> ServerAnswer<'a> {
    fn of(answer: &'a Answer) -> Self {
        Self {
            server: &answer.server,
            result: answer.result.as_str(),
            detail: answer.detail.as_deref(),
        }
    }
}
