//! Files that can never change because they are mount points of their own: a Kubernetes
//! `subPath` or a bind mount of a single file pins the inode that was there at the start.
//!
//! Only warns. The file is read like any other.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::SourceWarning;

/// More than this is not read: about 10,000 mounts. What lies beyond goes without a warning.
const MAX_MOUNTINFO: u64 = 2 << 20;

/// Mounts change rarely and the table of a busy host is long: not read at every poll.
const CHECK_AGAIN: Duration = Duration::from_secs(60);

/// The mount points among the files of a set, looked up now and then.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    checked: Option<(Instant, Vec<PathBuf>)>,
    warnings: Vec<SourceWarning>,
}

impl Mounts {
    /// Warnings for those of `files` (without links in them) that are mount points.
    pub(super) fn check(&mut self, files: Vec<PathBuf>, now: Instant) -> &[SourceWarning] {
        let fresh = self.checked.as_ref().is_some_and(|(at, known)| {
            *known == files && now.saturating_duration_since(*at) < CHECK_AGAIN
        });
        if !fresh {
            self.warnings = pinned(&files, &mount_points(&read_mountinfo()));
            self.checked = Some((now, files));
        }
        &self.warnings
    }
}

fn pinned(files: &[PathBuf], mount_points: &[PathBuf]) -> Vec<SourceWarning> {
    let mut warnings: Vec<SourceWarning> = Vec::new();
    for file in files.iter().filter(|file| mount_points.contains(file)) {
        let warning = SourceWarning::PinnedMount {
            path: file.display().to_string(),
        };
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings
}

/// Where something is mounted, by the text of `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)):
/// the fifth field of each line. Lines that do not have one are passed over.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .filter(|field| field.starts_with(b"/"))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect()
}

/// The kernel writes space, tab, newline and backslash as three octal digits: `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) =
            (first, after)
        {
            plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(target_os = "linux")]
fn read_mountinfo() -> Vec<u8> {
    use std::io::Read as _;

    let mut text = Vec::new();
    // Without the table there is no warning; that is no reason to refuse a certificate.
    if let Ok(file) = std::fs::File::open(Path::new("/proc/self/mountinfo")) {
        let _ = file.take(MAX_MOUNTINFO).read_to_end(&mut text);
    }
    text
}

#[cfg(not(target_os = "linux"))]
fn read_mountinfo() -> Vec<u8> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KUBERNETES: &str = "\
2102 1993 0:455 / / rw,relatime master:512 - overlay overlay rw,lowerdir=/a
2113 2102 253:1 /var/lib/kubelet/pods/7/volumes/kubernetes.io~secret/tls/..2026_01/tls.crt//deleted /etc/nats/tls.crt ro,relatime - ext4 /dev/vda1 rw
2114 2102 0:90 / /var/run/secrets/tls ro,relatime shared:7 - tmpfs tmpfs rw
2115 2102 253:1 /x /etc/my\\040certs/a\\134b\\011.pem ro - ext4 /dev/vda1 rw
";

    fn warned(file: &str) -> bool {
        !pinned(&[PathBuf::from(file)], &mount_points(KUBERNETES.as_bytes())).is_empty()
    }

    #[test]
    fn only_a_file_that_is_itself_a_mount_point_is_pinned() {
        assert!(warned("/etc/nats/tls.crt"));
        assert!(warned("/etc/my certs/a\\b\t.pem"));
        assert!(!warned("/etc/nats/tls.key"));
        assert!(!warned("/var/run/secrets/tls/tls.crt"));
        assert!(!warned("/dev/vda1"));
    }

    #[test]
    fn a_file_named_twice_is_warned_of_once_and_by_name() {
        let file = PathBuf::from("/etc/nats/tls.crt");
        let warnings = pinned(&[file.clone(), file], &mount_points(KUBERNETES.as_bytes()));
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0]
                .to_string()
                .starts_with("/etc/nats/tls.crt is a mount point")
        );
    }

    #[test]
    fn odd_lines_are_passed_over() {
        for text in [
            "",
            "\n\n",
            "1 2 3",
            "1 2 3 4 relative rw",
            "1 2 3 4  rw",
            "\0",
        ] {
            assert_eq!(
                mount_points(text.as_bytes()),
                Vec::<PathBuf>::new(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn escapes_that_are_none_stay_as_they_are() {
        for (field, plain) in [
            (&b"/a\\"[..], &b"/a\\"[..]),
            (b"/a\\04", b"/a\\04"),
            (b"/a\\999", b"/a\\999"),
            (b"/a\\0400", b"/a 0"),
            (b"/\\377", b"/\xff"),
            (b"/\\777", b"/\\777"),
        ] {
            assert_eq!(unescape(field), plain);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_table_of_this_process_names_its_mounts() {
        let points = mount_points(&read_mountinfo());
        assert!(
            points.iter().any(|point| point == Path::new("/proc")),
            "{points:?}"
        );
    }

    #[test]
    fn the_table_is_read_again_after_a_while_or_for_other_files() {
        let start = Instant::now();
        let mut mounts = Mounts::default();
        let proc = vec![PathBuf::from("/proc")];
        assert_eq!(
            mounts.check(proc.clone(), start).len(),
            usize::from(cfg!(target_os = "linux"))
        );
        mounts.warnings.clear();
        assert!(
            mounts
                .check(proc.clone(), start + CHECK_AGAIN / 2)
                .is_empty()
        );
        assert_eq!(
            mounts.check(proc, start + CHECK_AGAIN).len(),
            usize::from(cfg!(target_os = "linux"))
        );
        assert!(
            mounts
                .check(vec![PathBuf::from("/no")], start + CHECK_AGAIN)
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = mount_points(&bytes);
        }

        #[test]
        fn every_path_the_kernel_escapes_is_found(name in proptest::collection::vec(1u8.., 1..40)) {
            let mut field = b"/".to_vec();
            for byte in &name {
                match byte {
                    b' ' | b'\t' | b'\n' | b'\\' => field.extend(format!("\\{byte:03o}").bytes()),
                    _ => field.push(*byte),
                }
            }
            let line = [b"36 35 98:0 / ".as_slice(), &field, b" rw - ext4 /dev/root rw\n"].concat();
            let expected = PathBuf::from(OsString::from_vec([b"/".as_slice(), &name].concat()));
            prop_assert_eq!(mount_points(&line), vec![expected]);
        }
    }
}
