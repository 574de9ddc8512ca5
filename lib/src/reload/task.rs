//! The shell around `Reload`: reads the source, asks the gate, publishes, and
//! keeps a report of what it saw.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::clock;
use crate::material::{Material, Policy, Reason, Rejection, Warning};
use crate::reload::last_good::LastGood;
use crate::reload::report::{Board, Read, ReloadOutcome, ReloadReport, Verdict};
use crate::reload::{Decision, Now, Reload, Trigger};
use crate::source::{ReadError, Source};
use crate::store::{Candidate, Gate, GateAnswer, Generation, Origin, Snapshot, Store};
use crate::tls::{self, TlsVersions};

/// Intervals of the reload task.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// Between two reads when nothing was noticed.
    pub(crate) poll_interval: Duration,
    /// How long a set may look torn before it is called rejected.
    pub(crate) settle: Duration,
    /// The longest random delay before a candidate is asked about.
    pub(crate) spread: Duration,
}

/// What other tasks tell the reload task.
pub(crate) enum Command {
    /// Judge the files now.
    Reload(oneshot::Sender<ReloadOutcome>),
    /// A connection cannot come up on `generation` for TLS or authorization causes.
    ConnectionRefused {
        generation: Generation,
        reason: RollbackReason,
        detail: String,
    },
    /// A server was registered: somebody new can be asked.
    NewServer,
}

/// Who refuses the connections of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollbackReason {
    /// Certificates are refused, by the server or by us.
    Tls,
    /// The certificate is accepted, the user is not authorized.
    Auth,
}

/// For one read of the source.
const READ_LIMIT: Duration = Duration::from_secs(5);

type Asking = Pin<Box<dyn Future<Output = GateAnswer> + Send>>;

/// The task. Ends when every [`Command`] sender is gone.
pub(crate) struct Reloader {
    source: Box<dyn Source>,
    machine: Reload,
    store: Arc<Store>,
    gate: Arc<dyn Gate>,
    poll_interval: Duration,
    versions: TlsVersions,
    commands: mpsc::Receiver<Command>,
    board: Board,
    replies: Vec<oneshot::Sender<ReloadOutcome>>,
    asking: Option<Asking>,
    /// A server was registered that the question under way leaves out.
    newcomer: bool,
    asked_again: bool,
    /// None as soon as anything was ever active.
    last_good: Option<LastGood>,
}

enum Wake {
    Read(Trigger),
    Answer(GateAnswer),
    Command(Command),
    End,
}

impl Reloader {
    pub(crate) fn new(
        source: Box<dyn Source>,
        policy: Policy,
        timing: &Timing,
        versions: TlsVersions,
        store: Arc<Store>,
        gate: Arc<dyn Gate>,
        commands: mpsc::Receiver<Command>,
    ) -> (Self, watch::Receiver<ReloadReport>) {
        let (board, reports) = Board::new(&*source);
        let reloader = Self {
            source,
            machine: Reload::new(policy, timing, fastrand::f64),
            store,
            gate,
            poll_interval: timing.poll_interval,
            versions,
            commands,
            board,
            replies: Vec::new(),
            asking: None,
            newcomer: false,
            asked_again: false,
            last_good: None,
        };
        (reloader, reports)
    }

    /// What to start from if the source has nothing acceptable.
    pub(crate) fn start_from(&mut self, kept: Box<dyn Source>) {
        self.last_good = Some(LastGood::new(kept));
    }

    pub(crate) async fn run(mut self) {
        let mut wake = Wake::Read(Trigger::Watch);
        loop {
            match wake {
                Wake::Read(trigger) => self.read(trigger).await,
                Wake::Answer(GateAnswer::Accepted) if self.leaves_out_a_newcomer() => {
                    self.machine.handle_asked_again(now(None).instant);
                    self.read(Trigger::Watch).await;
                }
                Wake::Answer(answer) => self.take_answer(answer),
                Wake::Command(command) => self.obey(command).await,
                Wake::End => return,
            }
            wake = self.wait().await;
        }
    }

    /// Whether a server was registered while the question was under way. Asked again once, not
    /// again and again: somebody who keeps connecting must not keep a renewal from being used.
    fn leaves_out_a_newcomer(&mut self) -> bool {
        let leaves_out = self.newcomer && !self.asked_again;
        self.newcomer = false;
        self.asked_again = leaves_out;
        leaves_out
    }

    async fn wait(&mut self) -> Wake {
        let snapshot = self.store.active();
        let now = now(snapshot.as_deref());
        let next = self.machine.poll_timeout(&now);
        let poll = now.instant + self.poll_interval;
        let deadline = next.map_or(poll, |next| next.min(poll));
        let asking = async {
            match self.asking.as_mut() {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = asking => {
                self.asking = None;
                Wake::Answer(answer)
            }
            command = self.commands.recv() => command.map_or(Wake::End, Wake::Command),
            () = self.source.changed() => Wake::Read(Trigger::Watch),
            () = tokio::time::sleep_until(deadline.into()) => Wake::Read(Trigger::Watch),
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reload(reply) => {
                self.replies.push(reply);
                self.read(Trigger::Manual).await;
            }
            Command::ConnectionRefused {
                generation,
                reason,
                detail,
            } => self.roll_back(generation, reason, &detail),
            Command::NewServer => {
                if self.asking.is_some() {
                    self.newcomer = true;
                    return;
                }
                self.machine.handle_new_server(now(None).instant);
                self.read(Trigger::Watch).await;
            }
        }
    }

    async fn read(&mut self, trigger: Trigger) {
        // A hung mount must not keep answers, rollbacks and the end of the process waiting.
        let read = timeout(READ_LIMIT, self.source.read()).await;
        let read = read.unwrap_or_else(|_| Err(ReadError::late(READ_LIMIT)));
        let snapshot = self.store.active();
        let decision = self
            .machine
            .handle_read(&read, trigger, &now(snapshot.as_deref()));
        self.board.came_round(&*self.source);
        if !matches!(decision, Decision::Publish(_)) {
            self.restore().await;
        }
        self.carry_out(decision, Some(&read));
    }

    /// Starts from what was kept. Before a bad set is reported: whoever asked then finds material.
    async fn restore(&mut self) {
        let Some(mut last_good) = self.last_good.take() else {
            return;
        };
        if self.store.active().is_some() {
            return;
        }
        let kept = last_good.read(READ_LIMIT).await;
        let judged = self.machine.judge_last_good(&kept, clock::now());
        let made = judged.and_then(|material| {
            let material = Arc::new(material);
            let client_config = tls::fixed_config(&material, self.versions);
            Ok((material, client_config.map_err(|error| unusable(&error))?))
        });
        match made {
            Ok((material, client_config)) => {
                let snapshot = self
                    .store
                    .publish(material, client_config, Origin::Restored);
                log_restored(&snapshot);
            }
            Err(rejection) => {
                last_good.refuse(rejection);
                self.last_good = Some(last_good);
            }
        }
    }

    fn take_answer(&mut self, answer: GateAnswer) {
        match &answer {
            GateAnswer::Accepted => debug!("preflight accepted the candidate"),
            GateAnswer::NotAsked { why } => debug!(why, "preflight was not asked"),
            GateAnswer::Refused(rejection) => debug!(%rejection, "preflight refused the candidate"),
            GateAnswer::Pending { detail } => {
                warn!(
                    detail,
                    "no server could be asked about the new material; asking again"
                );
                self.reply(&ReloadOutcome::Pending {
                    detail: detail.clone(),
                });
            }
        }
        let snapshot = self.store.active();
        let decision = self
            .machine
            .handle_answer(&answer, &now(snapshot.as_deref()));
        self.board.answered(answer);
        self.carry_out(decision, None);
    }

    fn carry_out(&mut self, decision: Decision, read: Read<'_>) {
        match decision {
            Decision::Unchanged => {
                self.asking = None;
                self.show_in_step(!self.replies.is_empty());
                self.reply(&ReloadOutcome::Unchanged);
            }
            Decision::Settling => {
                self.asking = None;
                self.board.differs(Verdict::Settling, None, read);
            }
            Decision::Waiting { refusal } => self.show_on_trial(refusal, read),
            Decision::Rejected { rejection, fresh } => {
                if read.is_some() {
                    self.asking = None;
                }
                self.reject(rejection, fresh, read);
            }
            Decision::Ask { material, refusal } => {
                self.show_on_trial(refusal, read);
                self.ask(material);
            }
            Decision::Publish(material) => self.publish(material),
        }
    }

    fn ask(&mut self, material: Arc<Material>) {
        let Some(active) = self.store.active() else {
            return self.publish(material);
        };
        match tls::fixed_config(&material, self.versions) {
            Err(error) => self.refuse_config(&material, &error),
            Ok(client_config) => {
                let gate = Arc::clone(&self.gate);
                let candidate = Candidate {
                    material,
                    client_config,
                };
                self.asking = Some(Box::pin(async move { gate.ask(&candidate, &active).await }));
            }
        }
    }

    fn publish(&mut self, material: Arc<Material>) {
        self.asking = None;
        match tls::fixed_config(&material, self.versions) {
            Err(error) => self.refuse_config(&material, &error),
            Ok(client_config) => {
                let origin = Origin::Change {
                    seen: self.machine.change_seen(),
                };
                let snapshot = self.store.publish(material, client_config, origin);
                self.machine.handle_published();
                log_published(&snapshot);
                self.show_published(&snapshot);
            }
        }
    }

    /// The provider cannot make a configuration of material that parsed: our own fault, said as
    /// the nearest reason.
    fn refuse_config(&mut self, material: &Material, error: &rustls::Error) {
        let rejection = unusable(error);
        self.machine
            .handle_unusable(material.digest(), rejection.clone());
        self.reject(rejection, true, None);
    }

    fn roll_back(&mut self, generation: Generation, reason: RollbackReason, detail: &str) {
        let Some(active) = self
            .store
            .active()
            .filter(|active| active.generation() == generation)
        else {
            return; // Already replaced.
        };
        let now_wall = clock::now();
        let last_good = self.store.confirmed_before(active.material(), |material| {
            // A set that failed before is no way back, or two of them would take turns for ever.
            !material.is_expired(now_wall) && !self.machine.is_quarantined(material.digest())
        });
        let Some(last_good) = last_good else {
            error!(
                %generation, detail,
                "connections are refused on this generation and nothing older is left to go back to"
            );
            return;
        };
        let failed = Arc::clone(active.material());
        let quarantined = self
            .machine
            .handle_rolled_back(failed, detail, now(None).instant);
        let snapshot = self.store.publish(
            Arc::clone(last_good.material()),
            last_good.client_config(),
            Origin::Rollback { from: generation },
        );
        error!(
            failed_generation = %generation, generation = %snapshot.generation(), detail,
            "rolled back: connections could not come up on the new material"
        );
        // The files are not in step with this one, so the leaf they hold stays shown.
        self.board.published(snapshot.generation(), Some(reason));
        if quarantined.on_disk {
            self.reject(quarantined.rejection, true, None);
        } else {
            self.board.rejected(&quarantined.rejection);
        }
    }

    fn show_published(&mut self, snapshot: &Snapshot) {
        let generation = snapshot.generation();
        self.board.published(generation, None);
        self.show_in_step(false);
        self.reply(&ReloadOutcome::Published(generation));
    }

    fn reject(&mut self, rejection: Rejection, fresh: bool, read: Read<'_>) {
        let verdict = if matches!(read, Some(Err(_))) {
            Verdict::Unreadable
        } else {
            Verdict::Rejected
        };
        if fresh {
            warn!(
                reason = rejection.reason.as_str(),
                part = rejection.part.map(|part| part.as_str()),
                detail = rejection.detail,
                advice = rejection.reason.advice(),
                "new material rejected; what was active stays active"
            );
            self.board.rejected(&rejection);
        }
        self.board.differs(verdict, Some(rejection.clone()), read);
        self.reply(&ReloadOutcome::Rejected(rejection));
    }

    /// What a server refused stays refused, also while it is asked about again.
    fn show_on_trial(&self, refusal: Option<Rejection>, read: Read<'_>) {
        let verdict = match refusal {
            None => Verdict::Pending,
            Some(_) => Verdict::Rejected,
        };
        self.board.differs(verdict, refusal, read);
    }

    fn show_in_step(&self, asked: bool) {
        let active = self.store.active();
        let material = active.as_ref().map(|active| &**active.material());
        self.board.in_step(material, asked);
    }

    fn reply(&mut self, outcome: &ReloadOutcome) {
        for reply in self.replies.drain(..) {
            // Whoever asked may have gone away.
            reply.send(outcome.clone()).ok();
        }
    }
}

fn now(active: Option<&Snapshot>) -> Now<'_> {
    Now {
        instant: tokio::time::Instant::now().into_std(),
        wall: clock::now(),
        active: active.map(|snapshot| &**snapshot.material()),
    }
}

/// The provider cannot make a configuration of material that parsed: our own fault, said as the
/// nearest reason.
fn unusable(error: &rustls::Error) -> Rejection {
    Rejection::by_server(
        Reason::UnsupportedKey,
        format!("rustls cannot make a configuration of this set: {error}"),
    )
}

fn log_restored(snapshot: &Snapshot) {
    let leaf = snapshot.material().facts().leaf();
    warn!(
        generation = %snapshot.generation(),
        subject = leaf.subject,
        fingerprint_sha256 = %leaf.fingerprint_sha256,
        "the files have nothing acceptable: started from the last good set that was kept; good files \
         replace it at once"
    );
}

fn log_published(snapshot: &Snapshot) {
    let material = snapshot.material();
    let leaf = material.facts().leaf();
    let names = |warnings: &[Warning]| {
        let names: Vec<_> = warnings.iter().map(|warning| warning.as_str()).collect();
        names.join(",")
    };
    info!(
        generation = %snapshot.generation(),
        subject = leaf.subject,
        fingerprint_sha256 = %leaf.fingerprint_sha256,
        warnings = names(material.warnings()),
        "published new material"
    );
    // A new key with each renewal is good practice; only pinned_certs minds.
    let unusual: Vec<_> = material
        .warnings()
        .iter()
        .copied()
        .filter(|warning| *warning != Warning::KeyChanged)
        .collect();
    if !unusual.is_empty() {
        warn!(
            generation = %snapshot.generation(),
            warnings = names(&unusual),
            "published, but somebody should look"
        );
    }
}
