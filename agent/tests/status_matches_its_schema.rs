//! The JSON Schema that lies in the repository, against real status documents of the library in
//! the states it goes through, and against wrong ones.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::time::Duration;

use jsonschema::Validator;
use nats_mtls::material::{Reason, Warning};
use nats_mtls::relay::{HandoverReason, SessionResult};
use nats_mtls::{
    CertificateManager, ConnectSettings, Files, RelaySettings, StartupPolicy, StatusHandle,
};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use support::{Agent, Set, eventually, free_address, text};

fn schema() -> Value {
    serde_json::from_str(include_str!("../status.schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn document(status: &StatusHandle) -> Value {
    serde_json::to_value(status.status()).unwrap()
}

fn assert_valid(document: &Value) {
    let validator = validator();
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

fn files(set: &Set) -> Files {
    Files::new(set.path("tls.crt"), set.path("tls.key"), set.path("ca.crt"))
}

/// From before the start to draining: each state of one process.
#[tokio::test]
async fn every_state_of_a_process_matches() {
    let set = Set::new();
    let builder = CertificateManager::builder()
        .files(files(&set))
        .spread(Duration::ZERO)
        .expect_connection();
    let status = builder.status_handle();
    let unborn = document(&status);
    assert_eq!(unborn["reason"], "no_material");
    assert_valid(&unborn);

    let manager = builder.build().await.unwrap();
    let active = document(&status);
    assert_eq!(active["active"]["leaf"]["sans"], json!(["DNS:orders"]));
    assert_eq!(active["disk"]["verdict"], "active");
    assert!(active["active"]["since"].is_string());
    assert_valid(&active);

    set.issue("invoices", 3000);
    manager.reload().await.unwrap();
    let renewed = document(&status);
    assert_eq!(renewed["generation"], 2);
    assert_eq!(
        renewed["warnings"],
        json!(["identity_changed", "key_changed"])
    );
    assert_eq!(renewed["last_preflight"]["result"], "not_asked");
    assert_valid(&renewed);

    fs::write(set.path("tls.key"), "").unwrap();
    manager.reload().await.unwrap();
    let rejected = document(&status);
    assert_eq!(rejected["last_reload"]["result"], "rejected");
    assert_eq!(rejected["active"]["since"], renewed["active"]["since"]);
    assert_eq!(rejected["last_rejection"]["part"], "key");
    assert_valid(&rejected);

    let connecting = tokio::spawn({
        let manager = manager.clone();
        let settings = ConnectSettings::new().startup(StartupPolicy::RetryForever);
        let server = format!("tls://{}", free_address());
        async move { manager.connect(server, settings).await.map(|_| ()) }
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut trying = document(&status);
    while trying["connections"][0]["last_error"].is_null() {
        assert!(std::time::Instant::now() < deadline, "{trying:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        trying = document(&status);
    }
    assert_eq!(trying["reason"], "connecting");
    assert_valid(&trying);
    connecting.abort();

    assert!(trying["relay"].is_null());
    let listen = RelaySettings::new().listen(([127, 0, 0, 1], 0).into());
    let server = format!("tls://{}", free_address());
    let relay = manager.relay(server, listen).await.unwrap();
    let relaying = document(&status);
    let address = relay.local_addr().to_string();
    assert_eq!(relaying["relay"]["listen"], address.as_str());
    assert_eq!(relaying["relay"]["handovers"]["ok"], 0);
    assert_valid(&relaying);
    drop(relay);
    let ended = document(&status);
    assert!(ended["relay"]["listen"].is_null(), "{ended:#}");
    assert_valid(&ended);

    status.set_draining();
    let draining = document(&status);
    assert_eq!(draining["reason"], "draining");
    assert_valid(&draining);
}

/// The agent's document has keys of its own behind those of the library.
#[test]
fn every_state_of_an_agent_that_publishes_matches() {
    let set = Set::without_leaf();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("published");
    let flags = [
        "--publish-dir",
        &text(&directory),
        "--poll-interval",
        "50ms",
    ];
    let agent = Agent::run(&set, &flags);
    let publish_is = |result: &str| {
        eventually(result, || {
            let status = agent.status();
            assert_valid(&status);
            (status["publish"]["result"] == result).then_some(status)
        })
    };
    let failed = publish_is("failed");
    let error = failed["publish"]["error"].as_str().unwrap();
    assert!(error.contains("Create it"), "{error}");
    fs::create_dir(&directory).unwrap();
    set.issue("orders", 3000);
    let published = publish_is("published");
    assert_eq!(published["publish"]["generation"], 1);
    assert!(published["publish"]["failing_since"].is_null());

    let quiet = Agent::run(&set, &[]);
    assert!(quiet.status()["publish"].is_null());
    assert_valid(&quiet.status());
}

#[test]
fn every_state_of_an_agent_that_tells_others_matches() {
    let set = Set::new();
    let parent = tempfile::tempdir().unwrap();
    let marker = parent.path().join("go");
    let program = format!("/bin/test -e {}", marker.display());
    let address = free_address().to_string();
    let more = ["--on-rotate-exec", &program, "--usage", "server"];
    let confirm = ["--confirm-server", &address, "--confirm-within", "100ms"];
    set.issue_for("nats", 3000, ExtendedKeyUsagePurpose::ServerAuth);
    let poll = ["--poll-interval", "50ms", "--on-rotate-first"];
    let agent = Agent::run(&set, &[&more[..], &confirm, &poll].concat());
    let becomes = |pointer: &str, wanted: &str| {
        eventually(pointer, || {
            let status = agent.status();
            assert_valid(&status);
            (status.pointer(pointer).unwrap_or(&Value::Null) == wanted).then_some(status)
        })
    };
    let failed = becomes("/notify/exec/result", "failed");
    assert_eq!(failed["notify"]["exec"]["generation"], 1);
    assert!(failed["notify"]["signal"].is_null());
    let unseen = becomes("/confirm/result", "not_confirmed");
    assert_eq!(unseen["confirm"]["target"], "server");
    fs::write(&marker, "").unwrap();
    let told = becomes("/notify/exec/result", "ok");
    assert!(told["notify"]["exec"]["reason"].is_null());

    let quiet = Agent::run(&set, &["--usage", "server"]).status();
    assert!(quiet["notify"].is_null() && quiet["confirm"].is_null());
}

#[tokio::test]
async fn wrong_documents_fail() {
    let set = Set::new();
    let manager = CertificateManager::builder().files(files(&set));
    let manager = manager.build().await.unwrap();
    let good = document(&manager.status_handle());
    assert_valid(&good);
    let changes: [(&str, Value); 9] = [
        ("/schema_version", json!(2)),
        ("/generation", json!(-1)),
        ("/ready", json!("yes")),
        ("/reason", json!("tired")),
        ("/warnings", json!(["unheard_of"])),
        ("/disk/verdict", json!("fine")),
        ("/last_reload/at", json!("yesterday")),
        ("/active/leaf/fingerprint_sha256", json!("AB:CD")),
        ("/watcher/mode", json!("kqueue")),
    ];
    for (path, value) in changes {
        let mut wrong = good.clone();
        *wrong.pointer_mut(path).unwrap() = value;
        assert!(!validator().is_valid(&wrong), "{path}");
    }
    for key in good.as_object().unwrap().keys() {
        let mut wrong = good.clone();
        wrong.as_object_mut().unwrap().remove(key);
        assert!(!validator().is_valid(&wrong), "{key} is missing");
    }
    let mut more = good;
    more["added_later"] = json!(true);
    assert_valid(&more);
}

/// A name the library knows and the schema does not would break whoever validates.
#[test]
fn every_reason_and_warning_is_in_the_schema() {
    let schema = schema();
    let names = |definition: &str| schema["$defs"][definition]["enum"].clone();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names("rejection_reason"), json!(reasons));
    let warnings = [
        Warning::EarlierExpiry,
        Warning::IdentityChanged,
        Warning::KeyChanged,
        Warning::IntermediateOrder,
        Warning::ExpiredRoot,
        Warning::ExpiredCrl,
        Warning::PinnedMount,
        Warning::LocalClock,
        Warning::Restored,
    ];
    assert_eq!(names("warning"), json!(warnings.map(Warning::as_str)));
    let reasons = HandoverReason::ALL.map(HandoverReason::as_str);
    let named = &schema["$defs"]["by_handover_reason"]["propertyNames"]["enum"];
    assert_eq!(named, &json!(reasons));
    let results = SessionResult::ALL.map(SessionResult::as_str);
    let named = &schema["properties"]["relay"]["properties"]["sessions_total"]["required"];
    assert_eq!(named, &json!(results));
}
