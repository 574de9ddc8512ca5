//! What is on the disk before what: a power failure finds no link to a set that it took, and takes
//! no set that a link may still lead to.

use std::cell::RefCell;

use super::*;

thread_local! {
    /// What was done, in order.
    static DONE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn did(what: &str) {
    DONE.with_borrow_mut(|done| done.push(what.to_owned()));
}

fn done() -> Vec<String> {
    DONE.take()
}

/// In place of `File::sync_all`: remembers what would be on the disk.
fn remember(file: &fs::File) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    did(&format!("flush {}", path.display()));
    Ok(())
}

/// Remembers every change that has to be before or after a flush.
struct Witness(Directory);

impl Storage for Witness {
    fn entries(&self) -> io::Result<Vec<Entry>> {
        self.0.entries()
    }
    fn holds(&self, set: &SetName, file: &File) -> io::Result<bool> {
        self.0.holds(set, file)
    }
    fn make_set(&self, set: &SetName) -> io::Result<()> {
        did("make set");
        self.0.make_set(set)
    }
    fn write(&self, set: &SetName, file: &File) -> Result<(), WriteError> {
        did(&format!("write {}", file.name));
        self.0.write(set, file)
    }
    fn seal(&self, set: &SetName) -> io::Result<()> {
        self.0.seal(set)
    }
    fn link(&self, target: &Path, name: &str) -> io::Result<()> {
        did(&format!("link {name}"));
        self.0.link(target, name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        did(&format!("rename {from} {to}"));
        self.0.rename(from, to)
    }
    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
    fn remove_link(&self, name: &str) -> io::Result<()> {
        did(&format!("remove {name}"));
        self.0.remove_link(name)
    }
    fn entries_of(&self, set: &SetName) -> io::Result<Vec<Entry>> {
        self.0.entries_of(set)
    }
    fn remove_file(&self, set: &SetName, name: &str) -> io::Result<()> {
        did(&format!("remove {name}"));
        self.0.remove_file(set, name)
    }
    fn remove_set(&self, set: &SetName) -> io::Result<()> {
        did("remove set");
        self.0.remove_set(set)
    }
}

fn witness(directory: &TempDir) -> Writer<Witness> {
    let storage = open(directory.path());
    let storage = Witness(storage.flushing_with(remember));
    Writer::new(storage, directory.path().to_owned())
}

#[test]
fn everything_is_on_the_disk_before_a_link_leads_to_it_and_the_link_before_it_is_done() {
    let directory = scratch();
    let mut writer = witness(&directory);
    writer.publish(&contents("a"), &set_name(1)).unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    let root = root.display();
    let set = format!("{root}/{}", set_name(1));
    let files = NAMES
        .iter()
        .flat_map(|name| [format!("write {name}"), format!("flush {set}/{name}")]);
    let links = NAMES.iter().map(|name| format!("link {name}"));
    let expected: Vec<_> = ["make set".to_owned()]
        .into_iter()
        .chain(files)
        .chain([format!("flush {set}")])
        .chain(links)
        .chain(["link ..data_tmp", "link ..nats_mtls_told"].map(str::to_owned))
        .chain([format!("flush {root}")])
        .chain(["rename ..data_tmp ..data".to_owned()])
        .chain([format!("flush {root}")])
        .collect();
    assert_eq!(done(), expected);
    // Found again: what an earlier attempt renamed may not be on the disk yet.
    writer.publish(&contents("a"), &set_name(2)).unwrap();
    assert_eq!(done(), [format!("flush {root}")]);
}

/// Also by a next life, which cannot know whether the last one came to its flush.
#[test]
fn the_link_is_on_the_disk_before_an_old_set_goes() {
    let directory = scratch();
    publish(&directory, "a", 1).unwrap();
    publish(&directory, "b", 2).unwrap();
    witness(&directory).forget_former().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    let flush = format!("flush {}", root.display());
    let removals = NAMES.len() + 1;
    let done = done();
    assert_eq!(done.first(), Some(&flush));
    assert_eq!(done.len(), 1 + removals, "{done:?}");
    assert!(done.iter().skip(1).all(|what| what.starts_with("remove ")));
}
