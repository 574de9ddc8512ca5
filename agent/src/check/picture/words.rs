//! Words for verdicts.

use crate::check::findings::{AnswerResult, Findings, Verdict};
use crate::words::{NOT_REACHABLE, rough};

/// What is wrong, in a sentence; none if nothing is.
pub(in crate::check) fn wrong(findings: &Findings) -> Option<String> {
    let details = |result: fn(AnswerResult) -> bool| {
        let answers = findings.servers.iter();
        let answers = answers.filter(|answer| result(answer.result));
        let details = answers.map(|answer| {
            let detail = answer.detail.as_deref().unwrap_or("no detail");
            format!("{}: {detail}", answer.server)
        });
        details.collect::<Vec<_>>().join("; ")
    };
    match findings.verdict() {
        Verdict::Accepted => None,
        Verdict::Refused(_) => match &findings.rejection {
            Some(rejection) => Some(rejection.detail.clone()),
            None => Some(details(|result| matches!(result, AnswerResult::Refused(_)))),
        },
        Verdict::TooShort => {
            let until = findings.valid_until?;
            let remaining = until.duration_since(findings.now).unwrap_or_default();
            Some(format!(
                "the chain is valid for another {}; {} are asked for",
                rough(remaining),
                rough(findings.min_validity.unwrap_or_default())
            ))
        }
        Verdict::NotReachable | Verdict::NotAsked => Some(details(|_| true)),
    }
}

/// What to do about a verdict.
pub(in crate::check) const fn advice(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Accepted => None,
        Verdict::Refused(reason) => Some(reason.advice()),
        Verdict::TooShort => Some("Renew the certificate, or its issuer if that ends first."),
        Verdict::NotReachable => Some(NOT_REACHABLE),
        Verdict::NotAsked => Some("Mend what this machine lacks, as named above, and ask again."),
    }
}
