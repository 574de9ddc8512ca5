//! The harness of the end-to-end tests: everything a promise needs to be tried for real.
//!
//! | module | gives |
//! |---|---|
//! | [`pki`] | certificate authorities and leaves, made in this process |
//! | [`files`] | the ways certificate files change in the wild |
//! | [`server`] | a real nats-server with mutual TLS, on loopback, killed on drop |
//! | [`connz`] | what that server says about its clients: the oracle |
//! | [`doorman`] | a port that hangs up, and counts who came |
//! | [`fatal`] | a server that a client dies of |
//! | [`service`] | what a Rust service does with the library |
//! | [`file_service`] | the same over ordinary files, and the check that the last good set stays |
//! | [`agent`] | the binary `nats-mtls-agent`, built, run and killed on drop |
//! | [`drill`] | what the drills do, see and judge |
//! | [`published`] | a program that reads a directory of certificates over and over, and judges what it found |
//! | [`load`] | numbered messages under load, raw protocol, and the ledger of what became of them |
//! | [`relay`] | the agent with `--listen`, and where the servers see its sessions |
//! | [`stranger`] | a client that says any bytes, and what it is answered |
//! | [`besieged`] | an agent with a relay among hostile clients, and a neighbour that must not feel them |
//! | [`peers`] | stunnel, haproxy and nginx before a server, for comparison |
//! | [`arena`] | everything that can stand between a client and one server, side by side |
//! | [`jwt`] | an operator, its account and users, for decentralised authentication |
//! | [`impostor`] | a server that keeps to a script instead of the protocol |
//! | [`clients`] | unmodified nats-py and nats.js, run as processes |
//! | [`logs`] | all that this process logs, for the search for secrets |
//! | [`metrics`] | the metrics of one test, as Prometheus would scrape them |
//! | [`boot`] | a start without NATS: good files, and three kinds of servers that will not do |
//! | [`network`] | a network of a test's own, in which every packet can be made to vanish |
//! | [`prometheus`] | a real Prometheus with the shipped rules, in a world where time runs faster |
//! | [`scraped_agent`] | an agent, its server, and the Prometheus that watches it |
//! | [`http_sink`] | an HTTP server that keeps what is POSTed to it |
//! | [`tls`] | rustls pieces for tests that speak TLS themselves |
//! | [`wait`] | waiting for a condition, with a deadline instead of a sleep |
//! | [`mod@bench`] | what the benchmarks share: samples, and the rows of the table |
//!
//! Tests live in `tests/tests/`, one file per promise. The harness panics where only the harness
//! itself can be wrong (a certificate that rcgen cannot make) and returns `anyhow` errors where
//! the system under test may be.

pub mod agent;
pub mod arena;
pub mod bench;
pub mod besieged;
pub mod boot;
pub mod clients;
pub mod connz;
pub mod doorman;
pub mod drill;
pub mod fatal;
pub mod file_service;
pub mod files;
pub mod http;
pub mod http_sink;
pub mod impostor;
pub mod jwt;
pub mod load;
pub mod logs;
pub mod metrics;
pub mod network;
pub mod peers;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod published;
pub mod relay;
pub mod scraped_agent;
pub mod server;
pub mod service;
pub mod stranger;
pub mod tls;
pub mod wait;

/// Whether `scripts/test --long` asked for soak and repetition.
#[must_use]
pub fn long() -> bool {
    std::env::var_os("NATS_MTLS_LONG").is_some_and(|value| value != "0")
}

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
