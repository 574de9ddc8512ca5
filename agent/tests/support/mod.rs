//! A certificate set in a folder of its own, and the built agent as a process.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part; a test may panic"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use tempfile::TempDir;

/// A CA, and a folder that holds what it issued.
pub(crate) struct Set {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Set {
    /// A folder with a CA file and nothing else.
    pub(crate) fn without_leaf() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let set = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: CertifiedIssuer::self_signed(params, key).unwrap(),
        };
        fs::write(set.path("ca.crt"), set.authority.pem()).unwrap();
        set
    }

    /// A complete one.
    pub(crate) fn new() -> Self {
        let set = Self::without_leaf();
        set.issue("orders", 3000);
        set
    }

    /// Writes a new leaf for a client and its key, valid until the first day of `year`.
    pub(crate) fn issue(&self, name: &str, year: i32) {
        self.issue_for(name, year, ExtendedKeyUsagePurpose::ClientAuth);
    }

    pub(crate) fn issue_for(&self, name: &str, year: i32, usage: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.extended_key_usages = vec![usage];
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path("tls.key"), key.serialize_pem()).unwrap();
        fs::write(self.path("tls.crt"), leaf.pem()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The flags that name the set.
    pub(crate) fn flags(&self) -> Vec<String> {
        [
            ("--cert", "tls.crt"),
            ("--key", "tls.key"),
            ("--ca", "ca.crt"),
        ]
        .into_iter()
        .flat_map(|(flag, name)| [flag.to_owned(), text(&self.path(name))])
        .collect()
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The agent without the environment of whoever runs the tests.
pub(crate) fn agent(command: &str) -> Command {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_nats-mtls-agent"));
    agent.arg(command).env_clear().stdin(Stdio::null());
    agent
}

/// Runs to the end.
pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A port on which nobody listens, as far as that can be known.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A running agent; killed when it is dropped.
pub(crate) struct Agent {
    child: Child,
    pub(crate) http: SocketAddr,
}

impl Agent {
    pub(crate) fn run(set: &Set, more: &[&str]) -> Self {
        let http = free_address();
        let child = agent("run")
            .args(set.flags())
            .args(["--http", &http.to_string(), "--spread", "0s"])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let agent = Self { child, http };
        eventually("HTTP is up", || TcpStream::connect(http).ok());
        agent
    }

    /// Another command, which serves no HTTP.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self {
            child: command.stderr(Stdio::piped()).spawn().unwrap(),
            http: free_address(),
        }
    }

    /// Waits until its log says so; what was read is not in the log of [`Agent::end`] any more.
    pub(crate) fn says(&mut self, words: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(words.as_bytes()) {
            assert_eq!(
                stderr.read(&mut byte).unwrap(),
                1,
                "{}",
                String::from_utf8_lossy(&said)
            );
            said.extend(byte);
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end; the log as well.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = eventually("the agent ends", || self.child.try_wait().unwrap());
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (status, log)
    }

    /// Status code and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (code, body.to_owned())
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status").1).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Asks again until there is an answer, for ten seconds at most.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
