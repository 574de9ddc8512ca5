//! `testdata/relay`, and changes to it: what a fuzzer does, without one. It knows nothing of the
//! coverage and runs everywhere; `scripts/fuzz` has one that does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

pub(in super::super) fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder("testdata/relay").join(file)).unwrap()
}

/// The inputs of one target.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(folder("testdata/relay").join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// The words that a fuzzer is given, from its dictionary.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder("lib/fuzz/dictionary")).unwrap();
    let quoted = text
        .lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut rest = text.bytes();
    let mut word = Vec::new();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next() {
                Some(b'x') => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other.unwrap(),
            },
            byte => byte,
        };
        word.push(byte);
    }
    word
}

/// A few changes to one of the inputs, the same for the same seed.
fn changed(inputs: &[Vec<u8>], words: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = random.choice(inputs).cloned().unwrap_or_default();
    // Enough for what a parser can do; more only takes longer.
    bytes.truncate(400);
    for _ in 0..random.u8(1..8) {
        let at = random.usize(0..=bytes.len());
        let end = bytes.len().min(at + random.usize(0..16));
        let put = match random.u8(0..9) {
            0 => vec![],
            1 => vec![random.u8(..)],
            2 => bytes[at..end]
                .iter()
                .map(|byte| byte ^ (1 << random.u8(0..8)))
                .collect(),
            3 => bytes[at..end].repeat(2),
            4 => {
                let other = random.choice(inputs).cloned().unwrap_or_default();
                let from = random.usize(0..=other.len());
                other[from..other.len().min(from + random.usize(0..64))].to_vec()
            }
            5 => random.u64(..).to_string().into_bytes(),
            6 => {
                bytes.truncate(end);
                continue;
            }
            _ => random.choice(words).cloned().unwrap_or_default(),
        };
        let keep = random.bool();
        bytes.splice(at..if keep { at } else { end }, put);
    }
    bytes
}

/// Each input as it is, then changed ones until the time is over. A second, unless
/// `NATS_MTLS_FUZZ_SECONDS` says otherwise.
fn run(name: &str, target: fn(&[u8])) {
    let (inputs, words) = (inputs(name), words());
    assert!(inputs.len() > 10 && words.len() > 40);
    for input in &inputs {
        target(input);
    }
    let seconds = std::env::var("NATS_MTLS_FUZZ_SECONDS");
    let seconds = seconds.map_or(1.0, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    // Other changes in each run; a failure names its seed.
    let first = fastrand::u64(..);
    let mut seed = first;
    while Instant::now() < end || seed == first {
        let bytes = changed(&inputs, &words, seed);
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("{name} with seed {seed}: {}", bytes.escape_ascii());
        }
        seed = seed.wrapping_add(1);
    }
    let executions = seed.wrapping_sub(first);
    eprintln!("{name}: {executions} executions in {seconds} s");
}

#[test]
fn client_parser() {
    run("client_parser", super::client);
}

#[test]
fn server_parser() {
    run("server_parser", super::server);
}

#[test]
fn info() {
    run("info", super::info);
}

#[test]
fn connect() {
    run("connect", super::connect);
}
