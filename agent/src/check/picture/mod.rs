//! The picture for people: what there is, when it ends, who NATS would take it for, what is wrong
//! and what to do. Plain text without colours; the verdict is the last line.

pub(super) mod words;

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use nats_mtls::material::{CertificateFacts, Usage};

use super::findings::{AnswerResult, Findings, Verdict};
use crate::words::{of_warning, printable, validity, write_table};

/// More roots than anyone reads; `--json` has all of them.
const ROOTS_SHOWN: usize = 20;

/// Draws.
pub(super) fn draw(findings: &Findings) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    draw_into(&mut page, findings).ok();
    page
}

fn draw_into(page: &mut String, findings: &Findings) -> fmt::Result {
    writeln!(page, "Files")?;
    for (word, path) in &findings.paths {
        writeln!(
            page,
            "  {word:<13}{}",
            printable(&path.display().to_string())
        )?;
    }
    draw_chain(page, findings)?;
    if let Some(leaf) = findings.chain.first() {
        draw_leaf(page, leaf)?;
        // A server is nobody's user.
        if findings.usage == Usage::Client {
            draw_users(page, leaf)?;
        }
    }
    draw_roots(page, findings)?;
    draw_warnings(page, findings)?;
    draw_servers(page, findings)?;
    draw_verdict(page, findings)
}

fn ends(facts: &CertificateFacts, now: SystemTime) -> String {
    validity(facts.not_before, facts.not_after, now)
}

/// From the root down, if the certificates do follow from each other; else as they lie there.
fn draw_chain(page: &mut String, findings: &Findings) -> fmt::Result {
    let chain = &findings.chain;
    let Some(top) = chain.last() else {
        return Ok(());
    };
    let row = |facts: &CertificateFacts| (printable(&facts.subject), ends(facts, findings.now));
    let follows = chain
        .iter()
        .zip(chain.iter().skip(1))
        .all(|(lower, upper)| lower.issuer == upper.subject);
    if !follows {
        writeln!(
            page,
            "\nCertificates, in the order of the file; they form no chain"
        )?;
        return write_table(page, &chain.iter().map(row).collect::<Vec<_>>());
    }
    writeln!(page, "\nChain")?;
    let mut rows = Vec::new();
    if !top.is_self_issued {
        let root = findings
            .roots
            .iter()
            .find(|root| root.subject == top.issuer);
        rows.push(match root {
            Some(root) => {
                let (name, validity) = row(root);
                (name, format!("{validity}, a root of the CA file"))
            }
            None => (
                printable(&top.issuer),
                "issuer; not in the CA file, the server must know it".to_owned(),
            ),
        });
    }
    rows.extend(chain.iter().rev().map(row));
    for (depth, (name, _)) in rows.iter_mut().enumerate().skip(1) {
        *name = format!("{}└─ {name}", "   ".repeat(depth - 1));
    }
    write_table(page, &rows)
}

fn draw_leaf(page: &mut String, leaf: &CertificateFacts) -> fmt::Result {
    writeln!(page, "\nLeaf")?;
    let names = if leaf.sans.is_empty() {
        "none".to_owned()
    } else {
        printable(&leaf.sans.join(", "))
    };
    writeln!(page, "  subject      {}", printable(&leaf.subject))?;
    writeln!(page, "  names        {names}")?;
    writeln!(page, "  key          {}", printable(&leaf.key_algorithm))?;
    writeln!(page, "  serial       {}", leaf.serial)?;
    writeln!(page, "  sha256       {}", leaf.fingerprint_sha256)?;
    writeln!(page, "  spki sha256  {}", leaf.spki_sha256)
}

fn draw_users(page: &mut String, leaf: &CertificateFacts) -> fmt::Result {
    writeln!(
        page,
        "\nNATS user with verify_and_map: the first of these that the server knows"
    )?;
    for (position, user) in leaf.nats_users.iter().enumerate() {
        writeln!(page, "  {}. {}", position + 1, printable(user))?;
    }
    if leaf.nats_users.is_empty() {
        writeln!(
            page,
            "  none: the certificate has no name that NATS could map"
        )?;
    }
    Ok(())
}

fn draw_roots(page: &mut String, findings: &Findings) -> fmt::Result {
    if findings.roots.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "\nRoots of the CA file; the server's certificate must lead to one of them"
    )?;
    let rows: Vec<_> = findings
        .roots
        .iter()
        .take(ROOTS_SHOWN)
        .map(|root| (printable(&root.subject), ends(root, findings.now)))
        .collect();
    write_table(page, &rows)?;
    match findings.roots.len().saturating_sub(ROOTS_SHOWN) {
        0 => Ok(()),
        more => writeln!(page, "  … and {more} more; --json lists them"),
    }
}

fn draw_warnings(page: &mut String, findings: &Findings) -> fmt::Result {
    if findings.warnings.is_empty() && findings.source_warnings.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nWarnings")?;
    for warning in &findings.warnings {
        writeln!(page, "  {warning}: {}", of_warning(*warning))?;
    }
    for warning in &findings.source_warnings {
        writeln!(page, "  pinned_mount: {}", printable(&warning.to_string()))?;
    }
    Ok(())
}

fn draw_servers(page: &mut String, findings: &Findings) -> fmt::Result {
    if findings.servers.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nServers")?;
    let rows: Vec<_> = findings
        .servers
        .iter()
        .map(|answer| {
            let result = match answer.result {
                AnswerResult::Accepted => "accepted",
                AnswerResult::Refused(_) => "REFUSED",
                AnswerResult::Unreachable => "no answer",
                AnswerResult::NotAsked => "not asked",
            };
            let detail = answer.detail.as_deref().map(printable);
            let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
            (printable(&answer.server), format!("{result}{detail}"))
        })
        .collect();
    write_table(page, &rows)
}

fn draw_verdict(page: &mut String, findings: &Findings) -> fmt::Result {
    let verdict = findings.verdict();
    if let Some(wrong) = words::wrong(findings) {
        writeln!(page, "\nWhat is wrong\n  {}", printable(&wrong))?;
    }
    if let Some(advice) = words::advice(verdict) {
        writeln!(page, "\nWhat to do\n  {advice}")?;
    }
    match verdict {
        Verdict::Accepted if findings.servers.is_empty() => {
            writeln!(page, "\nACCEPTED: the files are good; no server was asked")
        }
        Verdict::Accepted => {
            let accepted = findings.servers.iter();
            let accepted = accepted.filter(|answer| answer.result == AnswerResult::Accepted);
            let (accepted, all) = (accepted.count(), findings.servers.len());
            writeln!(page, "\nACCEPTED: by {accepted} of {all} servers")
        }
        Verdict::Refused(reason) => writeln!(page, "\nREFUSED: {reason}"),
        Verdict::TooShort => writeln!(page, "\nREFUSED: valid for less than --min-validity"),
        Verdict::NotReachable => {
            writeln!(
                page,
                "\nNOT REACHABLE: the files are good; no server answered"
            )
        }
        Verdict::NotAsked => {
            writeln!(
                page,
                "\nFAILED: the files are good; no server could be asked"
            )
        }
    }
}

#[cfg(test)]
mod tests;
