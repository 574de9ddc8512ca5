//! Directories that something else than this agent changed since: published into all the same.

use super::*;

/// A set of another user: its files can neither be read nor removed.
struct OfAnother {
    directory: Directory,
    set: SetName,
}

impl OfAnother {
    fn refuse(&self, set: &SetName) -> io::Result<()> {
        if *set == self.set {
            return Err(Errno::ACCESS.into());
        }
        Ok(())
    }
}

impl Storage for OfAnother {
    fn entries(&self) -> io::Result<Vec<Entry>> {
        self.directory.entries()
    }
    fn holds(&self, set: &SetName, file: &File) -> io::Result<bool> {
        self.refuse(set)?;
        self.directory.holds(set, file)
    }
    fn make_set(&self, set: &SetName) -> io::Result<()> {
        self.directory.make_set(set)
    }
    fn write(&self, set: &SetName, file: &File) -> Result<(), WriteError> {
        self.directory.write(set, file)
    }
    fn seal(&self, set: &SetName) -> io::Result<()> {
        self.directory.seal(set)
    }
    fn link(&self, target: &Path, name: &str) -> io::Result<()> {
        self.directory.link(target, name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }
    fn flush(&self) -> io::Result<()> {
        self.directory.flush()
    }
    fn remove_link(&self, name: &str) -> io::Result<()> {
        self.directory.remove_link(name)
    }
    fn entries_of(&self, set: &SetName) -> io::Result<Vec<Entry>> {
        self.directory.entries_of(set)
    }
    fn remove_file(&self, set: &SetName, name: &str) -> io::Result<()> {
        self.refuse(set)?;
        self.directory.remove_file(set, name)
    }
    fn remove_set(&self, set: &SetName) -> io::Result<()> {
        self.refuse(set)?;
        self.directory.remove_set(set)
    }
}

/// By hand, by a cleaner of temporary files, or by a power failure.
#[test]
fn a_current_set_that_is_gone_is_replaced() {
    for again in ["a", "b"] {
        let directory = scratch();
        publish(&directory, "a", 1).unwrap();
        fs::remove_dir_all(directory.path().join(set_name(1).as_str())).unwrap();
        let mut writer = writer(&directory);
        writer.forget_former().unwrap();
        let publication = writer.publish(&contents(again), &set_name(2)).unwrap();
        assert_eq!(publication.published, Published::New);
        assert_eq!(seen(&directory).as_deref(), Some(again));
        writer.forget_former().unwrap();
        assert_eq!(listing(&directory).len(), 6, "{:?}", listing(&directory));
    }
}

#[test]
fn a_current_set_that_lost_a_file_is_replaced() {
    let directory = scratch();
    publish(&directory, "a", 1).unwrap();
    let set = directory.path().join(set_name(1).as_str());
    fs::remove_file(set.join("tls.key")).unwrap();
    assert_eq!(publish(&directory, "a", 2).unwrap(), Published::New);
    assert_eq!(seen(&directory).as_deref(), Some("a"));
}

/// As after `User=` of a unit was changed.
#[test]
fn a_set_of_another_user_is_replaced_and_holds_up_the_removal_of_no_other() {
    let directory = scratch();
    publish(&directory, "a", 1).unwrap();
    let storage = OfAnother {
        directory: open(directory.path()),
        set: set_name(1),
    };
    let mut writer = Writer::new(storage, directory.path().to_owned());
    let publication = writer.publish(&contents("a"), &set_name(2)).unwrap();
    assert_eq!(publication.published, Published::New);
    for second in 3..6 {
        let text = second.to_string();
        writer.publish(&contents(&text), &set_name(second)).unwrap();
        assert_eq!(seen(&directory), Some(text));
    }
    let error = writer.forget_former().unwrap_err().to_string();
    assert!(error.contains(set_name(1).as_str()), "{error}");
    assert_eq!(sets(&directory), 2, "its own old sets went away");
}
