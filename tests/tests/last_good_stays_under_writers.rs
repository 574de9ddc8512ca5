//! Promise 3, while somebody writes: what is half-written for a moment is not called bad, every
//! kind of writer is understood, and files that go away come back.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use nats_mtls_tests::file_service::{Expected, FileService};
use nats_mtls_tests::files::{Contents, Part};
use nats_mtls_tests::service::{NAME, Service};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};

fn nothing_was_rejected(service: &FileService) -> Result<()> {
    let status = service.manager.status();
    ensure!(
        status.last_rejection.is_none(),
        "{:?}",
        status.last_rejection
    );
    Ok(())
}

/// A set that stays torn for less than this is not bad.
fn patient(manager: nats_mtls::ManagerBuilder) -> nats_mtls::ManagerBuilder {
    manager.settle(Duration::from_secs(5))
}

#[tokio::test]
async fn writers_that_rename_and_writers_that_truncate_are_understood() -> Result<()> {
    let mut service = FileService::start(|m, _| patient(m)).await?;
    for _ in 0..3 {
        service.identity = service.authority.renew(&service.identity);
        service.files.rename_over(&service.contents())?;
        service.arrives().await?;
        service.identity = service.authority.renew(&service.identity);
        service.files.write_in_place(&service.contents())?;
        service.arrives().await?;
    }
    ensure!(service.generation() == 7, "{}", service.generation());
    nothing_was_rejected(&service)
}

#[tokio::test]
async fn a_key_that_follows_its_certificate_later_is_waited_for() -> Result<()> {
    let mut service = FileService::start(|m, _| patient(m)).await?;
    let old = service.identity.fingerprint().to_owned();
    for torn in ["", "the certificate of the next set"] {
        let old = service.identity.fingerprint().to_owned();
        let generation = service.generation();
        service.identity = service.authority.renew(&service.identity);
        let contents = service.contents();
        // Truncated for a moment, then whole, and the key not yet there.
        let certificate = if torn.is_empty() {
            torn
        } else {
            contents.part(Part::Certificate)
        };
        service.files.write(Part::Certificate, certificate)?;
        throughout(
            Duration::from_millis(300),
            "the torn set is waited for",
            || async {
                nothing_was_rejected(&service)?;
                let verdict = service.manager.status().disk.verdict;
                ensure!(matches!(verdict, "active" | "settling"), "{verdict}");
                let seen = service.server.certificate_of(NAME).await?;
                Ok(seen.as_deref() == Some(&old) && service.generation() == generation)
            },
        )
        .await?;
        eventually(PATIENCE, "it was noticed", || async {
            Ok((service.manager.status().disk.verdict == "settling").then_some(()))
        })
        .await?;
        service.files.write_in_place(&contents)?;
        service.arrives().await?;
    }
    ensure!(service.server.certificate_of(NAME).await? != Some(old));
    nothing_was_rejected(&service)
}

/// Size and time of change say nothing: two sets of the same length within the same second, or
/// with a time that a writer set back.
#[tokio::test]
async fn edits_with_the_same_time_and_size_are_all_seen() -> Result<()> {
    let mut service = FileService::start(|m, _| patient(m)).await?;
    let whole_second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for _ in 0..4 {
        service.identity = service.authority.renew(&service.identity);
        let contents = service.contents();
        for part in Part::ALL {
            let path = service.files.path(part);
            let file = fs::File::options().write(true).open(&path)?;
            fs::write(&path, contents.part(part))?;
            file.set_modified(whole_second)?;
        }
        service.arrives().await?;
    }
    ensure!(service.generation() == 5, "{}", service.generation());
    nothing_was_rejected(&service)
}

#[tokio::test]
async fn of_several_sets_at_once_the_last_one_stays() -> Result<()> {
    let mut service = Service::start().await?;
    for _ in 0..3 {
        for _ in 0..4 {
            let next = service.authority.renew(&service.identity);
            service
                .volume
                .update(&Contents::new(&next, &service.authority.root_pem()))?;
            service.identity = next;
        }
        service
            .server
            .sees(NAME, service.identity.fingerprint(), PATIENCE)
            .await?;
    }
    let status = service.manager.status();
    ensure!(status.disk.verdict == "active" && status.last_rejection.is_none());
    Ok(())
}

/// Also twice in a row: whoever watches it has to find the new one.
#[tokio::test]
async fn a_directory_that_vanishes_changes_nothing_until_it_is_back() -> Result<()> {
    let mut service = FileService::start(|m, _| m).await?;
    for _ in 0..2 {
        let gone = Expected {
            reason: "read_error",
            part: "certificate",
            file: "tls.crt",
            says: "No such file",
        };
        service
            .last_good_stays(gone, |s| Ok(fs::remove_dir_all(s.files.directory())?))
            .await?;
    }
    Ok(())
}

/// What other tools write around PEM is no reason to reject anything.
#[tokio::test]
async fn odd_but_harmless_text_is_accepted() -> Result<()> {
    let mut service = FileService::start(|m, _| patient(m)).await?;
    type Shape = fn(&str) -> String;
    let shapes: [(&str, Shape); 4] = [
        ("byte order mark", |pem| format!("\u{feff}{pem}")),
        ("CRLF", |pem| pem.replace('\n', "\r\n")),
        ("text behind it", |pem| {
            format!("{pem}\ntrailing \u{fffd} text\n")
        }),
        ("text before it", |pem| {
            format!("Bag Attributes\n  friendlyName: x\n{pem}")
        }),
    ];
    for (name, shape) in shapes {
        service.identity = service.authority.renew(&service.identity);
        let mut contents = service.contents();
        contents.certificate = shape(&contents.certificate);
        contents.key = shape(&contents.key);
        contents.roots = shape(&contents.roots);
        service.files.rename_over(&contents)?;
        service
            .arrives()
            .await
            .map_err(|error| error.context(name))?;
    }
    let status = service.manager.status();
    ensure!(
        status.last_rejection.is_none(),
        "{:?}",
        status.last_rejection
    );
    Ok(())
}
