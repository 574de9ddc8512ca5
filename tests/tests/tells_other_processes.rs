//! After a rotation other processes are told, in each way there is: only about sets that were
//! validated, one after the other, the newest only, again after a failure, and never in the way of
//! anything else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nats_mtls_tests::agent::{Agent, AgentCommand};
use nats_mtls_tests::files::{Contents, Part, PlainFiles};
use nats_mtls_tests::http_sink::HttpSink;
use nats_mtls_tests::metrics::Scrape;
use nats_mtls_tests::pki::{Authority, Identity, LeafSpec};
use nats_mtls_tests::process::{Process, Signal};
use nats_mtls_tests::server::{NatsServer, ServerSettings};
use nats_mtls_tests::wait::{PATIENCE, eventually, throughout};
use serde_json::Value;
use tempfile::TempDir;

/// Files, and an agent beside whoever is to be told.
struct Bench {
    authority: Authority,
    identity: Identity,
    files: PlainFiles,
    folder: TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        let authority = Authority::new("root");
        let identity = authority.issue(&LeafSpec::client("orders"));
        let files = PlainFiles::new(&Contents::new(&identity, &authority.root_pem()))?;
        Ok(Self {
            authority,
            identity,
            files,
            folder: tempfile::tempdir()?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Result<AgentCommand> {
        AgentCommand::new("run")
            .plain_files(&self.files)
            .flag("--poll-interval", "100ms")
            .flag("--spread", "0s")
            .http()
    }

    async fn renew(&mut self, agent: &Agent) -> Result<u64> {
        let before = generation(agent).await?;
        self.identity = self.authority.renew(&self.identity);
        self.files
            .rename_over(&Contents::new(&self.identity, &self.authority.root_pem()))?;
        published(agent, before + 1).await
    }

    /// A program of sh that appends each run to `runs`.
    fn script(&self, then: &str) -> String {
        let runs = self.path("runs");
        format!(
            "/bin/sh -c 'echo $NATS_MTLS_GENERATION $NATS_MTLS_FINGERPRINT_SHA256 >> {}; {then}'",
            runs.display()
        )
    }

    fn runs(&self) -> String {
        fs::read_to_string(self.path("runs")).unwrap_or_default()
    }
}

async fn generation(agent: &Agent) -> Result<u64> {
    let status = agent.status().await?;
    status["generation"].as_u64().context("no generation")
}

async fn published(agent: &Agent, wanted: u64) -> Result<u64> {
    eventually(PATIENCE, &format!("generation {wanted}"), || async {
        Ok((generation(agent).await? == wanted).then_some(wanted))
    })
    .await
}

/// Waits until a hook's part of the status is as it should be.
async fn hook(
    agent: &Agent,
    kind: &str,
    wanted: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    eventually(PATIENCE, &format!("{kind}: {wanted}"), || async {
        let status = agent.status().await?;
        let hook = status["notify"][kind].clone();
        ensure!(is(&hook), "{hook}");
        Ok(Some(hook))
    })
    .await
}

async fn told(agent: &Agent, kind: &str, generation: u64) -> Result<Value> {
    hook(agent, kind, "ok", |hook| {
        hook["result"] == "ok" && hook["generation"] == generation
    })
    .await
}

async fn count(agent: &Agent, kind: &str, result: &str) -> Result<u64> {
    let scrape = Scrape(agent.get("/metrics").await?.body);
    scrape.count(
        "nats_mtls_notify_total",
        &[("kind", kind), ("result", result)],
    )
}

/// A process that counts the signals it gets, and says where.
struct Listener {
    process: Process,
    heard: PathBuf,
}

impl Listener {
    /// The real thing: a shell that traps SIGHUP, and writes its pid file as daemons do.
    async fn start(folder: &Path) -> Result<Self> {
        let heard = folder.join("heard");
        let pid_file = folder.join("listener.pid");
        let script = format!(
            "trap 'echo HUP >> {}' HUP; echo $$ > {}; while :; do sleep 0.05; done",
            heard.display(),
            pid_file.display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let process = Process::start("listener", &mut command, folder)?;
        eventually(PATIENCE, "a pid file", || async {
            Ok(fs::read_to_string(&pid_file)
                .ok()
                .filter(|pid| pid.ends_with('\n')))
        })
        .await?;
        Ok(Self { process, heard })
    }

    fn heard(&self) -> usize {
        fs::read_to_string(&self.heard)
            .unwrap_or_default()
            .lines()
            .count()
    }

    async fn has_heard(&self, times: usize) -> Result<()> {
        eventually(PATIENCE, &format!("{times} signals"), || async {
            ensure!(self.heard() == times, "{}", self.heard());
            Ok(Some(()))
        })
        .await
    }
}

#[tokio::test]
async fn every_hook_is_told_once_about_each_valid_set_and_about_no_other() -> Result<()> {
    let mut bench = Bench::new()?;
    let listener = Listener::start(bench.folder.path()).await?;
    let sink = HttpSink::start().await?;
    let agent = bench
        .command()?
        .flag("--settle", "100ms")
        .flag("--on-rotate-signal", "HUP")
        .flag("--pid-file", bench.path("listener.pid"))
        .flag("--on-rotate-exec", bench.script("echo from the hook"))
        .flag("--on-rotate-http", sink.url("/-/reload"))
        .start()
        .await?;
    published(&agent, 1).await?;

    // The first set is what everybody started with.
    bench.files.write(Part::Key, "")?;
    eventually(PATIENCE, "rejected", || async {
        Ok((agent.status().await?["disk"]["verdict"] == "rejected").then_some(()))
    })
    .await?;
    let status = agent.status().await?;
    for kind in ["signal", "exec", "http"] {
        ensure!(status["notify"][kind]["result"].is_null(), "{status}");
        ensure!(count(&agent, kind, "ok").await? + count(&agent, kind, "failed").await? == 0);
    }

    for rotation in 1..=3 {
        let generation = bench.renew(&agent).await?;
        for kind in ["signal", "exec", "http"] {
            let hook = told(&agent, kind, generation).await?;
            ensure!(hook["attempts"] == 1 && hook["reason"].is_null(), "{hook}");
            ensure!(hook["state"] == "idle" && hook["at"].is_string(), "{hook}");
            ensure!(count(&agent, kind, "ok").await? == rotation);
        }
        listener.has_heard(rotation.try_into()?).await?;
        let line = format!("{generation} {}\n", bench.identity.fingerprint());
        ensure!(bench.runs().ends_with(&line), "{}", bench.runs());
        let body: Value = serde_json::from_str(&sink.bodies().pop().context("no POST")?)?;
        ensure!(
            body["fingerprint_sha256"] == bench.identity.fingerprint(),
            "{body}"
        );
        ensure!(body["generation"] == generation, "{body}");
    }
    ensure!(listener.heard() == 3 && bench.runs().lines().count() == 3);
    ensure!(sink.bodies().len() == 3, "{:?}", sink.bodies());
    let log = agent.stderr();
    ensure!(log.contains("from the hook"), "{log}");
    ensure!(log.contains("SIGHUP to process"), "{log}");
    listener.process.kill();
    Ok(())
}

#[tokio::test]
async fn a_hook_that_hangs_holds_up_nobody() -> Result<()> {
    let mut bench = Bench::new()?;
    let server = NatsServer::start(ServerSettings::new(&bench.authority)).await?;
    let listener = Listener::start(bench.folder.path()).await?;
    let agent = bench
        .command()?
        .flag("--server", server.url())
        .flag("--on-rotate-signal", "HUP")
        .flag("--pid-file", bench.path("listener.pid"))
        .flag("--on-rotate-exec", bench.script("sleep 600 & wait"))
        .flag("--on-rotate-timeout", "5s")
        .start()
        .await?;
    server
        .sees("nats-mtls-agent", bench.identity.fingerprint(), PATIENCE)
        .await?;
    let started = Instant::now();
    let mut newest = 0;
    for rotation in 1..=3 {
        newest = bench.renew(&agent).await?;
        server
            .sees("nats-mtls-agent", bench.identity.fingerprint(), PATIENCE)
            .await?;
        listener.has_heard(rotation).await?;
    }
    ensure!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let running = hook(&agent, "exec", "still running", |hook| {
        hook["state"] == "running"
    })
    .await?;
    ensure!(running["result"].is_null(), "{running}");

    let failed = hook(&agent, "exec", "ended", |hook| hook["result"] == "failed").await?;
    let reason = failed["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("took longer than 5s"), "{failed}");
    // Of the two that came meanwhile only the newest is told.
    let next = eventually(PATIENCE, "the next run", || async {
        Ok(bench.runs().lines().nth(1).map(str::to_owned))
    })
    .await?;
    ensure!(next.starts_with(&format!("{newest} ")), "{next}");
    ensure!(count(&agent, "exec", "failed").await? >= 1);
    ensure!(agent.get("/livez").await?.status == 200);
    ensure!(agent.get("/readyz").await?.status == 200);
    agent.terminate()?;
    let status = agent.wait(PATIENCE).await?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_stale_pid_file_signals_nobody_and_is_tried_again_until_it_is_right() -> Result<()> {
    let mut bench = Bench::new()?;
    let listener = Listener::start(bench.folder.path()).await?;
    let right = fs::read_to_string(bench.path("listener.pid"))?;
    // An id that is somebody else's now: alive, of our user, and younger than the file.
    let pid_file = bench.path("stale.pid");
    fs::write(&pid_file, &right)?;
    let file = fs::File::options().write(true).open(&pid_file)?;
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))?;
    let agent = bench
        .command()?
        .flag("--on-rotate-signal", "sighup")
        .flag("--pid-file", &pid_file)
        .start()
        .await?;
    published(&agent, 1).await?;
    let generation = bench.renew(&agent).await?;
    let failed = hook(&agent, "signal", "failed", |hook| {
        hook["attempts"].as_u64() > Some(1)
    })
    .await?;
    let reason = failed["reason"].as_str().unwrap_or_default();
    ensure!(
        failed["result"] == "failed" && failed["state"] == "retrying",
        "{failed}"
    );
    ensure!(
        reason.contains("stale.pid") && reason.contains("stale"),
        "{reason}"
    );
    let scrape = Scrape(agent.get("/metrics").await?.body);
    ensure!(scrape.count("nats_mtls_notify_failing", &[("kind", "signal")])? == 1);
    ensure!(listener.heard() == 0);

    fs::write(&pid_file, &right)?;
    told(&agent, "signal", generation).await?;
    listener.has_heard(1).await?;
    let scrape = Scrape(agent.get("/metrics").await?.body);
    ensure!(scrape.count("nats_mtls_notify_failing", &[("kind", "signal")])? == 0);
    // Told once, not once per attempt.
    throughout(Duration::from_millis(300), "no more signals", || async {
        Ok(listener.heard() == 1)
    })
    .await?;
    ensure!(listener.process.exit_status()?.is_none());
    Ok(())
}

#[tokio::test]
async fn nobody_is_told_before_the_set_is_published() -> Result<()> {
    let mut bench = Bench::new()?;
    let directory = bench.path("published");
    fs::create_dir(&directory)?;
    let agent = bench
        .command()?
        .flag("--publish-dir", &directory)
        .flag(
            "--on-rotate-exec",
            bench.script("cat $NATS_TLS_CERT $NATS_TLS_CA"),
        )
        .start()
        .await?;
    published(&agent, 1).await?;
    eventually(PATIENCE, "published", || async {
        Ok((agent.status().await?["publish"]["generation"] == 1).then_some(()))
    })
    .await?;
    // Who starts after the first publish has read it.
    ensure!(agent.status().await?["notify"]["exec"]["result"].is_null());

    fs::rename(&directory, bench.path("away"))?;
    bench.renew(&agent).await?;
    let generation = bench.renew(&agent).await?;
    eventually(PATIENCE, "not published", || async {
        Ok((agent.status().await?["publish"]["result"] == "failed").then_some(()))
    })
    .await?;
    ensure!(agent.status().await?["notify"]["exec"]["result"].is_null());
    ensure!(bench.runs().is_empty());

    fs::rename(bench.path("away"), &directory)?;
    told(&agent, "exec", generation).await?;
    let line = format!("{generation} {}\n", bench.identity.fingerprint());
    ensure!(bench.runs() == line, "{}", bench.runs());
    Ok(())
}

#[tokio::test]
async fn the_first_set_is_told_only_if_asked_for() -> Result<()> {
    let bench = Bench::new()?;
    let agent = bench
        .command()?
        .flag("--on-rotate-exec", bench.script("true"))
        .argument("--on-rotate-first")
        .start()
        .await?;
    told(&agent, "exec", 1).await?;
    ensure!(bench.runs().starts_with("1 "), "{}", bench.runs());
    Ok(())
}

#[tokio::test]
async fn no_credential_reaches_a_hook_or_the_log() -> Result<()> {
    const PASSWORD: &str = "s3cret-of-the-url";
    const TOKEN: &str = "s3cret-of-the-hook";
    let mut bench = Bench::new()?;
    let settings = ServerSettings::new(&bench.authority).password_user("orders", PASSWORD);
    let server = NatsServer::start(settings).await?;
    let sink = HttpSink::start().await?;
    let environment = bench.path("environment");
    let url = server
        .url()
        .replace("tls://", &format!("tls://orders:{PASSWORD}@"));
    let agent = bench
        .command()?
        .environment("NATS_URL", &url)
        .environment(
            "NATS_MTLS_ON_ROTATE_HTTP",
            sink.url(&format!("/?token={TOKEN}")),
        )
        .flag("--log-level", "trace")
        .flag(
            "--on-rotate-exec",
            format!(
                "/bin/sh -c 'env > {0}.new; mv {0}.new {0}; sed 1d $NATS_TLS_KEY' {TOKEN}",
                environment.display()
            ),
        )
        .start()
        .await?;
    published(&agent, 1).await?;
    let generation = bench.renew(&agent).await?;
    told(&agent, "http", generation).await?;
    let hook = told(&agent, "exec", generation).await?;
    let told = fs::read_to_string(&environment)?;
    ensure!(agent.stderr().contains("a private key is left out"));
    ensure!(
        !told.contains(PASSWORD) && !told.contains("NATS_URL"),
        "{told}"
    );
    let status = agent.get("/status").await?.body;
    for text in [
        agent.stderr(),
        agent.stdout(),
        status,
        sink.bodies().concat(),
        hook.to_string(),
    ] {
        ensure!(!text.contains(PASSWORD) && !text.contains(TOKEN), "{text}");
        // Also if a careless hook prints it.
        ensure!(bench.identity.leak_in(&text).is_none(), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn contradictions_are_wrong_usage_with_a_way_out() -> Result<()> {
    let cases: [(&[&str], &str); 8] = [
        (&["--on-rotate-signal", "HUP"], "--on-rotate-signal"),
        (
            &["--on-rotate-signal", "KILL", "--process-name", "a"],
            "--on-rotate-signal",
        ),
        (
            &[
                "--on-rotate-signal",
                "HUP",
                "--process-name",
                "a",
                "--pid-file",
                "b",
            ],
            "--pid-file",
        ),
        (&["--pid-file", "b"], "--pid-file"),
        (&["--on-rotate-exec", "sh -c 'open"], "--on-rotate-exec"),
        (
            &["--on-rotate-http", "http://10.0.0.1/"],
            "--on-rotate-http",
        ),
        (&["--on-rotate-first"], "--on-rotate-first"),
        (&["--confirm-url", "http://127.0.0.1:8222"], "--confirm-url"),
    ];
    for (arguments, flag) in cases {
        let set = ["--cert", "tls.crt", "--key", "tls.key", "--ca", "ca.crt"];
        let command = set.iter().chain(arguments);
        let command = command.fold(AgentCommand::new("run"), AgentCommand::argument);
        let finished = command.run(PATIENCE).await?;
        ensure!(finished.code == Some(2), "{arguments:?}: {finished:?}");
        let start = format!("error: {flag} ");
        ensure!(
            finished.stderr.starts_with(&start),
            "{arguments:?}: {}",
            finished.stderr
        );
        ensure!(
            finished.stderr.contains("for example: "),
            "{}",
            finished.stderr
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_several_processes_have_signals_none_of_them() -> Result<()> {
    let mut bench = Bench::new()?;
    let program = bench.path("listens-on-hup");
    fs::copy("/bin/sh", &program)?;
    let start = |name: &str| {
        let mut command = Command::new(&program);
        command.args(["-c", "while :; do sleep 0.05; done"]);
        Process::start(name, &mut command, bench.folder.path())
    };
    let first = eventually(PATIENCE, "a first", || async { Ok(Some(start("first")?)) }).await?;
    let second = eventually(PATIENCE, "a second", || async {
        Ok(Some(start("second")?))
    })
    .await?;
    let agent = bench
        .command()?
        .flag("--on-rotate-signal", "HUP")
        .flag("--process-name", "listens-on-hup")
        .start()
        .await?;
    published(&agent, 1).await?;
    let generation = bench.renew(&agent).await?;
    let failed = hook(&agent, "signal", "failed", |hook| {
        hook["result"] == "failed"
    })
    .await?;
    let reason = failed["reason"].as_str().unwrap_or_default();
    for process in [&first, &second] {
        ensure!(reason.contains(&process.pid().to_string()), "{reason}");
        ensure!(process.exit_status()?.is_none());
    }
    second.signal(Signal::TERM)?;
    second.wait(PATIENCE).await?;
    told(&agent, "signal", generation).await?;
    // It does not handle the signal, so it ends by it.
    first.wait(PATIENCE).await?;
    Ok(())
}
