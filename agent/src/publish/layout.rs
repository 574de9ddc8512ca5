//! What lies in a publish directory, and which of it is ours. Pure: names in, a survey out.
//!
//! Laid out as kubelet lays out a mounted secret: `tls.crt -> ..data/tls.crt`, `..data ->` a set. The
//! name of a set says who made it; whatever has another name, another kind or another target was
//! made by somebody else, and is neither replaced nor removed.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nats_mtls::report::timestamp;

/// The link that is the one truth about which set is current.
pub(super) const DATA: &str = "..data";
/// It is renamed onto [`DATA`], and onto [`TOLD`].
pub(super) const DATA_TMP: &str = "..data_tmp";
/// Leads to the set that the other processes were told of last; that set may be gone.
pub(super) const TOLD: &str = "..nats_mtls_told";
/// Everything a set may hold; each has a link of its name beside [`DATA`].
pub(super) const FILE_NAMES: [&str; 5] =
    ["tls.crt", "tls.key", "ca.crt", "tls-combined.pem", "ca.crl"];

const PREFIX: &str = "..nats_mtls_";
/// `2026_11_21_07_05_13.123456789`
const PATTERN: &str = "dddd_dd_dd_dd_dd_dd.ddddddddd";

/// The name of a directory that holds one set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetName(String);

impl SetName {
    /// Told apart to the nanosecond; whoever makes the directory finds out if that was not enough.
    pub(super) fn at(now: SystemTime) -> Self {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since_1970.map_or(0, |since| since.subsec_nanos());
        let seconds = now
            .checked_sub(Duration::from_nanos(nanoseconds.into()))
            .and_then(timestamp)
            .unwrap_or_else(|| "0000-00-00T00:00:00Z".to_owned());
        let date = seconds.trim_end_matches('Z').replace(['-', ':', 'T'], "_");
        Self(format!("{PREFIX}{date}.{nanoseconds:09}"))
    }

    /// None if it is not of our making.
    pub(super) fn parse(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        let rest = name.strip_prefix(PREFIX)?;
        let fits = |(have, want): (u8, u8)| match want {
            b'd' => have.is_ascii_digit(),
            sign => have == sign,
        };
        let is_ours = rest.len() == PATTERN.len() && rest.bytes().zip(PATTERN.bytes()).all(fits);
        is_ours.then(|| Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the link of a file leads.
pub(super) fn target_of(file: &str) -> PathBuf {
    Path::new(DATA).join(file)
}

/// One entry of a directory, without following it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Link(PathBuf),
    Directory,
    File,
    Other,
}

impl Kind {
    fn describe(&self) -> String {
        match self {
            Self::Link(target) => format!("a link to {}", target.display()),
            Self::Directory => "a directory".to_owned(),
            Self::File => "a file".to_owned(),
            Self::Other => "neither file, directory nor link".to_owned(),
        }
    }
}

/// Something of somebody else's is in a place we would need.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) name: OsString,
    pub(super) found: String,
}

/// What is there, as far as it concerns us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The set that readers see.
    pub(super) current: Option<SetName>,
    /// [`DATA`] leads to a set that is gone: readers see none.
    pub(super) is_dangling: bool,
    /// The set that others were told of last.
    pub(super) told: Option<SetName>,
    /// Every set, the current one included, oldest first.
    pub(super) sets: Vec<SetName>,
    /// Files that have their link.
    pub(super) links: Vec<&'static str>,
    /// Where a link leads that was not renamed.
    pub(super) leftover: Option<SetName>,
    /// Not ours, and not in the way.
    pub(super) bystanders: Vec<OsString>,
}

impl Survey {
    pub(super) fn of(entries: Vec<Entry>) -> Result<Self, Foreign> {
        let mut survey = Self::default();
        for Entry { name, kind } in entries {
            survey.add(name, &kind)?;
        }
        let is_gone = |set: &mut SetName| !survey.sets.contains(set);
        survey.is_dangling = survey.current.take_if(is_gone).is_some();
        survey.sets.sort_unstable();
        survey.bystanders.sort_unstable();
        Ok(survey)
    }

    fn add(&mut self, name: OsString, kind: &Kind) -> Result<(), Foreign> {
        let target = match kind {
            Kind::Link(target) => Some(target),
            _ => None,
        };
        let set = target.and_then(|target| SetName::parse(target.as_os_str()));
        let file = FILE_NAMES.into_iter().find(|file| name == *file);
        if name == DATA && set.is_some() {
            self.current = set;
        } else if name == DATA_TMP && set.is_some() {
            self.leftover = set;
        } else if name == TOLD && set.is_some() {
            self.told = set;
        } else if let Some(file) = file
            && target.is_some_and(|target| *target == target_of(file))
        {
            self.links.push(file);
        } else if name == DATA || name == DATA_TMP || name == TOLD || file.is_some() {
            let found = kind.describe();
            return Err(Foreign { name, found });
        } else if let Some(set) = SetName::parse(&name)
            && *kind == Kind::Directory
        {
            self.sets.push(set);
        } else {
            self.bystanders.push(name);
        }
        Ok(())
    }

    /// Nobody ever read here. What there is of a first set was interrupted before its swap.
    pub(super) fn is_before_the_first(&self) -> bool {
        let is_told = self.told.is_some() && !self.is_told_too_early();
        self.current.is_none() && !self.is_dangling && !is_told
    }

    /// [`TOLD`] leads to a first set that waits for its swap. It is written before that, so that no
    /// death leaves a first set that readers see and that is not known to be the first.
    pub(super) fn is_told_too_early(&self) -> bool {
        let has_current = self.current.is_some() || self.is_dangling;
        !has_current && self.told.is_some() && self.told == self.leftover
    }

    /// Sets that nobody needs: neither current nor the one before it.
    pub(super) fn superfluous(&self, former: Option<&SetName>) -> Vec<SetName> {
        let is_needed = |set: &SetName| self.current.as_ref() == Some(set) || former == Some(set);
        let superfluous = self.sets.iter().filter(|set| !is_needed(set));
        superfluous.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: Kind) -> Entry {
        Entry {
            name: name.into(),
            kind,
        }
    }

    fn link(name: &str, target: &str) -> Entry {
        entry(name, Kind::Link(target.into()))
    }

    const OLD: &str = "..nats_mtls_2026_11_21_07_05_13.000000001";
    const NEW: &str = "..nats_mtls_2026_11_21_07_05_14.000000000";

    fn set(name: &str) -> SetName {
        SetName::parse(name.as_ref()).unwrap()
    }

    #[test]
    fn a_set_is_named_after_its_time_and_recognised_by_its_name_alone() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_795_244_713, 45);
        let name = SetName::at(at);
        assert_eq!(name.as_str(), "..nats_mtls_2026_11_21_07_05_13.000000045");
        assert_eq!(SetName::parse(name.as_str().as_ref()), Some(name));
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        for odd in [before, SystemTime::UNIX_EPOCH] {
            let name = SetName::at(odd);
            assert_eq!(SetName::parse(name.as_str().as_ref()), Some(name));
        }
        for foreign in [
            "..2026_11_21_07_05_13.000000045",
            "..nats_mtls_",
            "..nats_mtls_2026_11_21_07_05_13.00000004x",
            "..nats_mtls_2026_11_21_07_05_13.0000000455",
            "../..nats_mtls_2026_11_21_07_05_13.000000045",
        ] {
            assert_eq!(SetName::parse(foreign.as_ref()), None, "{foreign}");
        }
    }

    #[test]
    fn what_is_ours_is_found_and_what_is_not_is_left_alone() {
        let survey = Survey::of(vec![
            entry(NEW, Kind::Directory),
            entry(OLD, Kind::Directory),
            link(DATA, OLD),
            link(DATA_TMP, NEW),
            link("tls.crt", "..data/tls.crt"),
            entry("lost+found", Kind::Directory),
            entry("..nats_mtls_2026_11_21_07_05_15.000000000", Kind::File),
            link("..nats_mtls_2026_11_21_07_05_16.000000000", "/etc"),
            link(TOLD, NEW),
            entry("..2026_11_21_07_05_13.000000045", Kind::Directory),
        ])
        .unwrap();
        assert_eq!(survey.current, Some(set(OLD)));
        assert_eq!(survey.sets, [set(OLD), set(NEW)]);
        assert_eq!(survey.told, Some(set(NEW)));
        assert_eq!(survey.links, ["tls.crt"]);
        assert_eq!(survey.leftover, Some(set(NEW)));
        assert_eq!(survey.bystanders.len(), 4);
        assert_eq!(survey.superfluous(None), [set(NEW)]);
        assert_eq!(survey.superfluous(Some(&set(NEW))), []);
    }

    #[test]
    fn a_link_to_a_set_that_is_gone_is_not_a_current_set() {
        let survey = Survey::of(vec![link(DATA, NEW), entry(OLD, Kind::Directory)]).unwrap();
        assert_eq!((survey.current, survey.is_dangling), (None, true));
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let cases = [
            (
                link(DATA, "..2026_11_21_07_05_13.000000045"),
                "a link to ..2026",
            ),
            (entry(DATA, Kind::Directory), "a directory"),
            (link(DATA_TMP, "elsewhere"), "a link to elsewhere"),
            (link(TOLD, "elsewhere"), "a link to elsewhere"),
            (entry("tls.key", Kind::File), "a file"),
            (link("ca.crt", "/etc/ssl/ca.crt"), "a link to /etc/ssl"),
            (link("ca.crt", "..data/tls.crt"), "a link to ..data/tls.crt"),
            (entry("ca.crl", Kind::Other), "neither"),
        ];
        for (entry, words) in cases {
            let name = entry.name.clone();
            let foreign = Survey::of(vec![entry]).unwrap_err();
            assert_eq!(foreign.name, name);
            assert!(foreign.found.starts_with(words), "{foreign:?}");
        }
    }
}
