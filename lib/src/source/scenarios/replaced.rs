//! Writers that change plain files, and directories that come and go.

use super::super::{PartKind, ReadErrorCause};
use super::*;

fn plain(version: &str) -> (TempDir, FilesSource) {
    let root = tempfile::tempdir().unwrap();
    write_set(root.path(), version);
    let source = source_in(root.path());
    (root, source)
}

#[tokio::test]
async fn writers_in_place_are_noticed() {
    let (root, mut source) = plain("1");
    assert_eq!(version(&mut source).await, "1");
    settles(&mut source).await;
    write_set(root.path(), "2");
    until_version(&mut source, "2").await;
    settles(&mut source).await;
}

#[tokio::test]
async fn writers_that_rename_are_noticed() {
    let (root, mut source) = plain("1");
    assert_eq!(version(&mut source).await, "1");
    for round in ["2", "3", "4"] {
        settles(&mut source).await;
        for name in NAMES {
            fs::write(root.path().join("tmp"), round).unwrap();
            fs::rename(root.path().join("tmp"), root.path().join(name)).unwrap();
        }
        until_version(&mut source, round).await;
    }
}

#[tokio::test]
async fn edits_within_one_tick_of_the_clock_are_seen() {
    let (root, mut source) = plain("000");
    let certificate = root.path().join("tls.crt");
    let modified = fs::metadata(&certificate).unwrap().modified().unwrap();
    for round in 100..200 {
        let text = round.to_string();
        fs::write(&certificate, &text).unwrap();
        fs::File::options()
            .write(true)
            .open(&certificate)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        // Same size, same time: only the bytes differ.
        assert_eq!(
            source.read().await.unwrap().certificate.bytes.as_slice(),
            text.as_bytes()
        );
    }
}

#[tokio::test]
async fn the_same_bytes_again_read_as_the_same_set() {
    let (root, mut source) = plain("1");
    let first = source.read().await.unwrap().digest();
    for _ in 0..100 {
        write_set(root.path(), "1");
    }
    assert_eq!(source.read().await.unwrap().digest(), first);
    settles(&mut source).await;
}

#[tokio::test]
async fn a_file_taken_away_is_named_and_awaited() {
    let (root, mut source) = plain("1");
    let key = root.path().join("tls.key");
    assert_eq!(version(&mut source).await, "1");
    fs::remove_file(&key).unwrap();
    until(&mut source, |read| read.is_err()).await;
    let error = source.read().await.unwrap_err();
    assert_eq!(
        (error.part, &error.origin),
        (PartKind::Key, &key.display().to_string())
    );
    assert!(
        error.to_string().contains("No such file or directory"),
        "{error}"
    );
    settles(&mut source).await;
    fs::write(&key, "1").unwrap();
    until_version(&mut source, "1").await;
}

#[tokio::test]
async fn files_and_directories_that_appear_later_are_noticed() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("not/yet/there");
    let mut source = source_in(&directory);
    assert_eq!(source.watcher_mode(), WatcherMode::Notified);
    assert_eq!(source.read().await.unwrap_err().part, PartKind::Certificate);
    settles(&mut source).await;
    fs::create_dir(root.path().join("not")).unwrap();
    until(&mut source, |read| read.is_err()).await;
    fs::create_dir_all(&directory).unwrap();
    write_set(&directory, "1");
    until_version(&mut source, "1").await;
    write_set(&directory, "2");
    until_version(&mut source, "2").await;
    settles(&mut source).await;
}

#[tokio::test]
async fn a_directory_that_vanishes_and_comes_back_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("certs");
    fs::create_dir(&directory).unwrap();
    write_set(&directory, "0");
    let mut source = source_in(&directory);
    assert_eq!(version(&mut source).await, "0");
    for round in 1..=6 {
        let next = round.to_string();
        fs::remove_dir_all(&directory).unwrap();
        if round % 2 == 0 {
            // Half of the rounds the reader sees the gap, half of them it does not.
            until(&mut source, |read| read.is_err()).await;
        }
        fs::create_dir(&directory).unwrap();
        write_set(&directory, &next);
        until_version(&mut source, &next).await;
    }
    settles(&mut source).await;
}

#[tokio::test]
async fn a_directory_that_is_exchanged_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("certs");
    fs::create_dir(&directory).unwrap();
    write_set(&directory, "0");
    let mut source = source_in(&directory);
    assert_eq!(version(&mut source).await, "0");
    for round in 1..=3 {
        settles(&mut source).await;
        let next = root.path().join(format!("next{round}"));
        fs::create_dir(&next).unwrap();
        write_set(&next, &round.to_string());
        fs::rename(&directory, root.path().join(format!("old{round}"))).unwrap();
        fs::rename(&next, &directory).unwrap();
        until_version(&mut source, &round.to_string()).await;
    }
    settles(&mut source).await;
    write_set(&directory, "end");
    until_version(&mut source, "end").await;
}

#[tokio::test]
async fn a_bundle_needs_no_key_file() {
    let root = tempfile::tempdir().unwrap();
    write_set(root.path(), "1");
    let mut source = Files::combined(root.path().join("tls.crt"), root.path().join("ca.crt"))
        .crls(root.path().join("crl.pem"))
        .issuer(root.path().join("ca.crt"))
        .into_source();
    assert_eq!(source.read().await.unwrap_err().part, PartKind::Crls);
    fs::write(root.path().join("crl.pem"), "crl").unwrap();
    until_certificate(&mut source, "1").await;
    let material = source.read().await.unwrap();
    assert!(matches!(material.key, RawKey::InCertificate));
    assert_eq!(material.crls.unwrap().bytes.as_slice(), b"crl");
    assert_eq!(material.issuer.unwrap().bytes.as_slice(), b"1");
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_its_replacement_noticed() {
    let (root, mut source) = plain("1");
    let key = root.path().join("tls.key");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    let error = timeout(DEADLINE, source.read()).await.unwrap().unwrap_err();
    assert_eq!(
        error.cause,
        ReadErrorCause::NotAFile {
            found: "a directory"
        }
    );
    settles(&mut source).await;
    fs::remove_dir(&key).unwrap();
    // No silence is expected from here on: /dev is watched, and others write to /dev/null.
    symlink("/dev/zero", &key).unwrap();
    let error = timeout(DEADLINE, source.read()).await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "key {}: is a character device, not a regular file",
            key.display()
        )
    );
    fs::remove_file(&key).unwrap();
    fs::write(&key, "1").unwrap();
    until_version(&mut source, "1").await;
}

#[tokio::test]
async fn a_file_of_ten_mebibytes_is_refused() {
    let (root, mut source) = plain("1");
    fs::write(root.path().join("ca.crt"), vec![b'x'; 10 << 20]).unwrap();
    let error = source.read().await.unwrap_err();
    assert_eq!(error.part, PartKind::Roots);
    assert_eq!(error.cause, ReadErrorCause::TooLarge { limit: 1 << 20 });
}

#[tokio::test]
async fn a_wake_up_that_nobody_waited_for_is_kept() {
    let (root, mut source) = plain("1");
    settles(&mut source).await;
    {
        let mut dropped = source.changed();
        assert!(futures_util::poll!(&mut dropped).is_pending());
    }
    write_set(root.path(), "2");
    drop(futures_util::poll!(source.read()));
    until_version(&mut source, "2").await;
}

#[tokio::test]
async fn a_flood_of_events_is_announced_at_a_bounded_rate() {
    let (root, mut source) = plain("1");
    let noise = root.path().join("agent.log");
    let begin = std::time::Instant::now();
    let mut announced = 0_u32;
    while begin.elapsed() < Duration::from_secs(1) {
        fs::write(&noise, "read again").unwrap();
        timeout(DEADLINE, source.changed()).await.unwrap();
        announced += 1;
    }
    // 50 at once, then 200 a second.
    let bound = 50 + begin.elapsed().as_millis() / 5 + 1;
    assert!(
        u128::from(announced) <= bound,
        "{announced} in {:?}",
        begin.elapsed()
    );
    write_set(root.path(), "2");
    until_version(&mut source, "2").await;
}
