//! What a check found, and the verdict that follows from it. Pure; printing is elsewhere.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nats_mtls::material::{CertificateFacts, Reason, Rejection, Usage, Warning};
use nats_mtls::nats::{Failure, FailureKind};
use nats_mtls::source::SourceWarning;

use crate::outcome::Outcome;

/// Everything there is to say.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) now: SystemTime,
    /// Word and path of each file.
    pub(super) paths: Vec<(&'static str, PathBuf)>,
    /// What the leaf is for.
    pub(super) usage: Usage,
    /// Leaf first, as far as it is readable.
    pub(super) chain: Vec<CertificateFacts>,
    pub(super) roots: Vec<CertificateFacts>,
    /// What is wrong with the files.
    pub(super) rejection: Option<Rejection>,
    pub(super) warnings: Vec<Warning>,
    pub(super) source_warnings: Vec<SourceWarning>,
    /// Empty if none was asked.
    pub(super) servers: Vec<Answer>,
    /// The earliest end of the chain, if it was accepted.
    pub(super) valid_until: Option<SystemTime>,
    pub(super) min_validity: Option<Duration>,
}

/// What one server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) server: String,
    pub(super) result: AnswerResult,
    /// The true cause, unless accepted.
    pub(super) detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerResult {
    Accepted,
    /// With the reason that `run` would give.
    Refused(Reason),
    /// Nobody answered, or the answer says nothing about the material.
    Unreachable,
    /// This machine cannot even ask.
    NotAsked,
}

impl AnswerResult {
    /// The name in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(_) => "refused",
            Self::Unreachable => "unreachable",
            Self::NotAsked => "not_asked",
        }
    }
}

/// The whole in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// By content or by a server.
    Refused(Reason),
    /// Good, but not for long enough.
    TooShort,
    /// Good, but no server could be asked.
    NotReachable,
    /// Good, but this machine cannot ask.
    NotAsked,
}

impl Answer {
    pub(super) fn of(server: String, failure: Option<Failure>) -> Self {
        let Some(failure) = failure else {
            return Self {
                server,
                result: AnswerResult::Accepted,
                detail: None,
            };
        };
        let result = match failure.kind {
            FailureKind::CertificateRefused | FailureKind::Authorization => {
                AnswerResult::Refused(Reason::ServerRefused)
            }
            FailureKind::ServerUntrusted => AnswerResult::Refused(Reason::ServerUntrusted),
            FailureKind::PlatformRoots => AnswerResult::NotAsked,
            _ => AnswerResult::Unreachable,
        };
        Self {
            server,
            result,
            detail: Some(failure.detail),
        }
    }

    pub(super) const fn local(server: String, detail: String) -> Self {
        Self {
            server,
            result: AnswerResult::NotAsked,
            detail: Some(detail),
        }
    }
}

impl Findings {
    pub(super) const fn new(
        now: SystemTime,
        paths: Vec<(&'static str, PathBuf)>,
        min_validity: Option<Duration>,
    ) -> Self {
        Self {
            now,
            paths,
            usage: Usage::Client,
            chain: Vec::new(),
            roots: Vec::new(),
            rejection: None,
            warnings: Vec::new(),
            source_warnings: Vec::new(),
            servers: Vec::new(),
            valid_until: None,
            min_validity,
        }
    }

    /// The rules of the gate: any refusal counts, otherwise one acceptance is enough.
    pub(super) fn verdict(&self) -> Verdict {
        if let Some(rejection) = &self.rejection {
            return Verdict::Refused(rejection.reason);
        }
        let any = |result| self.servers.iter().any(|answer| answer.result == result);
        if let Some((_, reason)) = self.refusal() {
            Verdict::Refused(reason)
        } else if self.min_validity_ok() == Some(false) {
            Verdict::TooShort
        } else if self.servers.is_empty() || any(AnswerResult::Accepted) {
            Verdict::Accepted
        } else if any(AnswerResult::NotAsked) {
            Verdict::NotAsked
        } else {
            Verdict::NotReachable
        }
    }

    /// The first server that refused.
    pub(super) fn refusal(&self) -> Option<(&Answer, Reason)> {
        self.servers.iter().find_map(|answer| match answer.result {
            AnswerResult::Refused(reason) => Some((answer, reason)),
            _ => None,
        })
    }

    /// Whether the chain lasts long enough; none if nobody asked or nothing is readable.
    pub(super) fn min_validity_ok(&self) -> Option<bool> {
        let required = self.min_validity?;
        let until = self
            .valid_until
            .or_else(|| self.chain.iter().map(|facts| facts.not_after).min())?;
        let remaining = until.duration_since(self.now).unwrap_or_default();
        Some(remaining >= required)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.verdict() {
            Verdict::Accepted => Outcome::Done,
            Verdict::Refused(_) | Verdict::TooShort | Verdict::NotAsked => Outcome::Failed,
            Verdict::NotReachable => Outcome::NotReachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: AnswerResult) -> Answer {
        Answer {
            server: "a:4222".into(),
            result,
            detail: None,
        }
    }

    #[test]
    fn any_refusal_counts_and_one_acceptance_is_enough() {
        use AnswerResult::{Accepted, NotAsked, Refused, Unreachable};
        let refused = Refused(Reason::ServerRefused);
        let cases: &[(&[AnswerResult], Outcome)] = &[
            (&[], Outcome::Done),
            (&[Accepted], Outcome::Done),
            (&[Unreachable, Accepted], Outcome::Done),
            (&[Accepted, refused], Outcome::Failed),
            (&[Unreachable], Outcome::NotReachable),
            (&[Unreachable, refused], Outcome::Failed),
            (&[NotAsked], Outcome::Failed),
        ];
        for (results, outcome) in cases {
            let mut findings = Findings::new(SystemTime::UNIX_EPOCH, Vec::new(), None);
            findings.servers = results.iter().copied().map(answer).collect();
            assert_eq!(findings.outcome(), *outcome, "{results:?}");
        }
    }

    #[test]
    fn a_chain_that_ends_too_soon_is_not_enough() {
        let day = Duration::from_secs(86_400);
        let mut findings = Findings::new(SystemTime::UNIX_EPOCH, Vec::new(), Some(7 * day));
        assert_eq!(findings.min_validity_ok(), None);
        findings.valid_until = Some(findings.now + 7 * day);
        assert_eq!(findings.verdict(), Verdict::Accepted);
        findings.now += Duration::from_secs(1);
        assert_eq!(findings.verdict(), Verdict::TooShort);
        assert_eq!(findings.outcome(), Outcome::Failed);
    }
}
