//! Which set the other processes were told of, over every end of the agent.

use super::*;
use crate::notify::Known;

#[test]
fn a_set_counts_as_told_only_once_that_is_recorded() {
    let directory = scratch();
    let known = |writer: &mut Writer<Directory>, text: &str, second| {
        let set = contents(text);
        writer.publish(&set, &set_name(second)).unwrap().known
    };
    assert_eq!(known(&mut writer(&directory), "a", 1), Known::First);
    // Also where no hook was told: who reads there read this one.
    assert_eq!(known(&mut writer(&directory), "a", 2), Known::Told);
    assert_eq!(known(&mut writer(&directory), "b", 3), Known::Untold);
    // Another life, and nobody was told.
    let mut writer_of_b = writer(&directory);
    assert_eq!(known(&mut writer_of_b, "b", 4), Known::Untold);
    writer_of_b.record_told().unwrap();
    assert_eq!(known(&mut writer_of_b, "b", 5), Known::Told);
    drop(writer_of_b);
    assert_eq!(known(&mut writer(&directory), "b", 6), Known::Told);
    assert_eq!(known(&mut writer(&directory), "c", 7), Known::Untold);
    // Back to what they had: they may have read the other one meanwhile.
    assert_eq!(known(&mut writer(&directory), "b", 8), Known::Untold);
    assert_eq!(seen(&directory).as_deref(), Some("b"));
}

/// Who reads there at all read the first set if there was one, and none if there was not.
#[test]
fn killed_at_any_step_the_first_set_is_the_first_until_it_is_seen_and_told_from_then_on() {
    for fate in [Fate::DiesBefore, Fate::DiesAfter] {
        let mut answers = Vec::new();
        for luck in 0.. {
            let mut died = false;
            for is_tidied_before in [true, false] {
                let directory = scratch();
                died = publish_unluckily(&directory, "a", luck, fate).is_none();
                let was_seen = seen(&directory).is_some();
                let mut writer = writer(&directory);
                if is_tidied_before {
                    writer.tidy_if_possible();
                }
                let publication = writer.publish(&contents("a"), &set_name(59)).unwrap();
                let expected = if was_seen { Known::Told } else { Known::First };
                assert_eq!(publication.known, expected, "{fate:?} {luck}");
                answers.push(publication.known);
            }
            if !died {
                break;
            }
        }
        for known in [Known::First, Known::Told] {
            assert!(answers.contains(&known), "{answers:?}");
        }
    }
}

#[test]
fn a_first_set_that_fails_at_any_step_is_the_first_until_it_is_seen() {
    for luck in 0..40 {
        let directory = scratch();
        let fate = Fate::Fails(Errno::NOSPC);
        let result = publish_unluckily(&directory, "a", luck, fate).unwrap();
        let was_seen = seen(&directory).is_some();
        if result.is_err() && !was_seen {
            let left = fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(left, 0, "{luck}: {:?}", listing(&directory));
        }
        let publication = writer(&directory).publish(&contents("a"), &set_name(59));
        let expected = if was_seen { Known::Told } else { Known::First };
        assert_eq!(publication.unwrap().known, expected, "{luck}");
    }
}

/// Somebody may hold the set that is gone.
#[test]
fn a_set_in_place_of_one_that_is_gone_is_not_the_first() {
    let directory = scratch();
    publish(&directory, "a", 1).unwrap();
    fs::remove_dir_all(directory.path().join(set_name(1).as_str())).unwrap();
    let mut writer = writer(&directory);
    let publication = writer.publish(&contents("b"), &set_name(2)).unwrap();
    assert_eq!(publication.known, Known::Untold);
    writer.record_told().unwrap();
    for name in ["..data", set_name(2).as_str()] {
        let path = directory.path().join(name);
        fs::remove_file(&path)
            .or_else(|_| fs::remove_dir_all(path))
            .unwrap();
    }
    let publication = writer.publish(&contents("c"), &set_name(3)).unwrap();
    assert_eq!(publication.known, Known::Untold);
}

/// A kill before the hooks were run must not make it a set that they know.
#[test]
fn a_set_in_a_directory_that_was_emptied_meanwhile_is_not_the_first() {
    let directory = scratch();
    let mut writer = writer(&directory);
    writer.expect_readers();
    let publication = writer.publish(&contents("a"), &set_name(1)).unwrap();
    assert_eq!(publication.known, Known::Untold);
    drop(writer);
    let again = super::writer(&directory).publish(&contents("a"), &set_name(2));
    assert_eq!(again.unwrap().known, Known::Untold);
}

#[test]
fn killed_while_it_is_recorded_it_was_told_or_it_was_not() {
    for fate in [Fate::DiesBefore, Fate::DiesAfter] {
        let mut answers = Vec::new();
        for luck in 0.. {
            let directory = scratch();
            publish(&directory, "former", 1).unwrap();
            publish(&directory, "a", 2).unwrap();
            let storage = Unlucky {
                directory: open(directory.path()),
                luck: Cell::new(luck),
                fate,
            };
            let unlucky = Writer::new(storage, directory.path().to_owned());
            let record = std::panic::AssertUnwindSafe(|| unlucky.record_told());
            let died = std::panic::catch_unwind(record).is_err();
            drop(unlucky);
            let mut writer = writer(&directory);
            writer.forget_former().unwrap();
            let publication = writer.publish(&contents("a"), &set_name(3)).unwrap();
            assert_eq!(publication.published, Published::Unchanged);
            writer.record_told().unwrap();
            assert_eq!(seen(&directory).as_deref(), Some("a"));
            assert_eq!(listing(&directory).len(), 6, "{:?}", listing(&directory));
            answers.push(publication.known);
            if !died {
                break;
            }
        }
        assert!(answers.len() > 2, "{answers:?}");
        assert_eq!(answers.first(), Some(&Known::Untold));
        assert_eq!(answers.last(), Some(&Known::Told));
    }
}

#[test]
fn what_lies_in_the_place_of_the_record_is_named_and_stays() {
    let directory = scratch();
    let record = directory.path().join("..nats_mtls_told");
    fs::write(&record, "mine").unwrap();
    let error = publish(&directory, "a", 1).unwrap_err().to_string();
    assert!(error.starts_with(record.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(&record).unwrap(), b"mine");
}
