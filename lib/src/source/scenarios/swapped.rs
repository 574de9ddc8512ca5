//! Writers that exchange a symlink: kubelet, release directories.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::ReadErrorCause;
use super::*;

#[tokio::test]
async fn kubernetes_swaps_are_noticed_one_after_the_other() {
    let mut volume = Volume::new("0");
    let mut source = source_in(volume.path());
    assert_eq!(source.watcher_mode(), WatcherMode::Notified);
    assert_eq!(version(&mut source).await, "0");
    for round in 1..20 {
        let next = round.to_string();
        volume.swap(&next);
        until_version(&mut source, &next).await;
    }
    settles(&mut source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_two_versions_are_never_read() {
    let mut volume = Volume::new("0");
    let mut source = source_in(volume.path());
    let done = AtomicBool::new(false);
    let mut seen = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=500 {
                volume.swap(&round.to_string());
                // Paces the writer: swaps back to back starve the reader, and prove nothing.
                std::thread::sleep(Duration::from_micros(fastrand::u64(..2000)));
            }
            done.store(true, Ordering::Release);
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                while !done.load(Ordering::Acquire) {
                    match source.read().await {
                        Ok(material) => seen.extend([version_of(&material)]),
                        // Swaps can still outrun the reader. That is said, not hidden.
                        Err(error) => assert!(
                            matches!(error.cause, ReadErrorCause::Unstable { .. }),
                            "{error}"
                        ),
                    }
                }
            });
        });
    });
    assert!(
        seen.len() > 10,
        "too few readings to prove anything: {seen:?}"
    );
    assert_eq!(version(&mut source).await, "500");
}

#[tokio::test]
async fn every_link_of_a_chain_is_watched() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for directory in ["app", "mnt/1", "mnt/2", "elsewhere"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    write_set(&at("mnt/1"), "1");
    write_set(&at("mnt/2"), "2");
    write_set(&at("elsewhere"), "3");
    symlink("1/", at("mnt/current")).unwrap();
    symlink(at("mnt/current"), at("app/certs")).unwrap();
    for name in NAMES {
        symlink(Path::new("certs").join(name), at("app").join(name)).unwrap();
    }
    let mut source = source_in(&at("app"));
    assert_eq!(version(&mut source).await, "1");
    settles(&mut source).await;

    let relink = |target: &Path, link: PathBuf| {
        symlink(target, at("new")).unwrap();
        fs::rename(at("new"), link).unwrap();
    };
    relink(Path::new("2/"), at("mnt/current"));
    until_version(&mut source, "2").await;
    settles(&mut source).await;

    relink(&at("elsewhere"), at("app/certs"));
    until_version(&mut source, "3").await;
    settles(&mut source).await;

    write_set(&at("elsewhere"), "4");
    until_version(&mut source, "4").await;
    settles(&mut source).await;
}

#[tokio::test]
async fn a_loop_is_an_error_that_heals() {
    let root = tempfile::tempdir().unwrap();
    write_set(root.path(), "1");
    let certificate = root.path().join("tls.crt");
    fs::remove_file(&certificate).unwrap();
    symlink("tls.crt", &certificate).unwrap();
    let mut source = source_in(root.path());
    let error = source.read().await.unwrap_err();
    assert_eq!(error.origin, certificate.display().to_string());
    assert!(error.to_string().contains("symlink loop"), "{error}");
    settles(&mut source).await;
    fs::remove_file(&certificate).unwrap();
    fs::write(&certificate, "1").unwrap();
    until_version(&mut source, "1").await;
}
