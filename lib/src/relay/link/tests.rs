//! Sessions over real connections, with servers that say and hear what a test wants.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::nats::{ConnectSettings, Registry, Secret, ServerList};
use crate::relay::admission::{Ending, SessionId, Stage};
use crate::relay::dial::Wish;
use crate::relay::local::LocalCredentials;
use crate::relay::report::{Board, HandoverReason};
use crate::relay::settings::RelaySettings;
use crate::relay::testbed::{INFO, Testbed, greet_with, serve};

/// No step of a test takes as long.
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(86_400);

/// A server's end of one connection. Dropping it is the death of the server.
pub(super) struct Line {
    heard: watch::Receiver<String>,
    says: mpsc::UnboundedSender<Option<Vec<u8>>>,
}

impl Line {
    fn says(&self, words: impl AsRef<[u8]>) {
        // A connection that has ended hears nothing.
        self.says.send(Some(words.as_ref().to_vec())).ok();
    }

    /// From now on the test answers PINGs.
    fn answers_no_more(&self) {
        self.says.send(None).ok();
    }

    /// Waits until the server has heard this, and returns all it has heard.
    async fn hears(&mut self, words: &str) -> String {
        let heard = self.heard.wait_for(|heard| heard.contains(words));
        if let Ok(heard) = timeout(PATIENCE, heard).await {
            return heard.unwrap().clone();
        }
        panic!("no {words:?} in {:?}", self.heard.borrow());
    }
}

/// Takes what comes on one connection line by line, answers PINGs, and says what it is told to.
async fn converse(
    mut stream: tokio_rustls::server::TlsStream<TcpStream>,
    heard: watch::Sender<String>,
    mut words: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
) -> std::io::Result<()> {
    let (mut bytes, mut taken, mut answers) = (Vec::new(), 0, true);
    loop {
        tokio::select! {
            read = stream.read_buf(&mut bytes) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            said = words.recv() => match said {
                Some(Some(said)) => stream.write_all(&said).await?,
                Some(None) => answers = false,
                None => return Ok(()),
            },
        }
        while let Some(end) = memchr::memchr(b'\n', &bytes[taken..]) {
            let line = &bytes[taken..=taken + end];
            taken += end + 1;
            if line == b"PING\r\n" && answers {
                stream.write_all(b"PONG\r\n").await?;
            }
            let line = String::from_utf8_lossy(line);
            heard.send_modify(|heard| heard.push_str(&line));
        }
        stream.flush().await?;
    }
}

/// A relay without its door, and the server behind it.
pub(super) struct Scene {
    pub(super) bed: Testbed,
    pub(super) board: Arc<Board>,
    pub(super) shared: Arc<Shared>,
    stage: watch::Sender<Stage>,
    lines: mpsc::UnboundedReceiver<Line>,
    /// The INFO of the server.
    greeting: watch::Sender<String>,
}

impl Scene {
    pub(super) async fn new(settings: RelaySettings) -> Self {
        let bed = Testbed::new();
        bed.publish(DAY);
        let acceptor = bed.acceptor("localhost", &bed);
        let (announce, lines) = mpsc::unbounded_channel();
        let (greeting, info) = watch::channel(INFO.to_owned());
        let port = serve(move |stream| {
            let (acceptor, announce) = (acceptor.clone(), announce.clone());
            let info = info.borrow().clone();
            async move {
                let Some(stream) = greet_with(&info, stream, acceptor).await else {
                    return;
                };
                let (sender, heard) = watch::channel(String::new());
                let (says, words) = mpsc::unbounded_channel();
                announce.send(Line { heard, says }).ok();
                converse(stream, sender, words).await.ok();
            }
        })
        .await;
        let board = Arc::new(Board::default());
        let upstream = ConnectSettings::new().connect_timeout(Duration::from_secs(10));
        let shared = Shared::new(
            Arc::clone(&bed.store),
            ServerList::parse([format!("tls://localhost:{port}")]).unwrap(),
            settings.spread(Duration::ZERO).upstream(upstream),
            Arc::clone(&board),
            &Arc::new(Registry::default()),
        );
        Self {
            bed,
            board,
            shared: Arc::new(shared),
            stage: watch::Sender::new(Stage::Serving),
            lines,
            greeting,
        }
    }

    /// From now on the server says this of itself.
    fn greets(&self, members: &str) {
        self.greeting
            .send_replace(format!("INFO {{{members}}}\r\n"));
    }

    /// The next connection that a server accepts.
    pub(super) async fn line(&mut self) -> Line {
        let line = timeout(PATIENCE, self.lines.recv()).await;
        line.expect("nobody connects").unwrap()
    }

    /// The relay's end of a client, and the client's.
    pub(super) async fn pair(&self) -> (TcpStream, Admission, TcpStream) {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = door.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), door.accept());
        let (stream, peer) = accepted.unwrap();
        let ending = Ending(self.stage.subscribe());
        let (board, accepted) = (&self.board, &self.shared.accepted);
        let admission = Admission::new(SessionId(1), peer, ending, board, accepted);
        (stream, admission, client.unwrap())
    }

    /// A client that is served.
    async fn client(&mut self) -> (Client, Line) {
        let (stream, admission, client) = self.pair().await;
        let session = tokio::spawn(run(stream, admission, Arc::clone(&self.shared)));
        let mut client = Client {
            stream: client,
            heard: String::new(),
            session,
        };
        client
            .says("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n")
            .await;
        client.hears("PONG\r\n").await;
        (client, self.line().await)
    }
}

struct Client {
    stream: TcpStream,
    heard: String,
    session: JoinHandle<()>,
}

impl Client {
    async fn says(&mut self, words: &str) {
        self.stream.write_all(words.as_bytes()).await.unwrap();
    }

    /// Waits for these words, and returns what came before and with them.
    async fn hears(&mut self, words: &str) -> String {
        let mut heard = Vec::new();
        let reading = async {
            loop {
                if let Some(position) = self.heard.find(words) {
                    let rest = self.heard.split_off(position + words.len());
                    return std::mem::replace(&mut self.heard, rest);
                }
                heard.clear();
                let read = self.stream.read_buf(&mut heard).await.unwrap();
                assert!(read > 0, "closed, not {words:?} but {:?}", self.heard);
                self.heard.push_str(std::str::from_utf8(&heard).unwrap());
            }
        };
        match timeout(PATIENCE, reading).await {
            Ok(heard) => heard,
            Err(_) => panic!("no {words:?}"),
        }
    }

    /// The rest, up to the end of the connection.
    async fn hears_the_end(mut self) -> String {
        let ending = self.stream.read_to_string(&mut self.heard);
        timeout(PATIENCE, ending).await.expect("no end").unwrap();
        drop(self.stream);
        timeout(PATIENCE, self.session).await.unwrap().unwrap();
        self.heard
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_handover_is_an_outage_that_passes() {
    let mut scene = Scene::new(RelaySettings::new()).await;
    let (mut client, mut old) = scene.client().await;
    client.says("SUB a 1\r\nPING\r\n").await;
    client.hears("PONG\r\n").await;
    old.answers_no_more();
    scene.bed.publish(DAY);
    let mut new = scene.line().await;
    // The mark of a handover.
    old.hears("SUB a 1\r\nPING\r\nPING\r\n").await;
    drop(old);
    new.hears("PING\r\n").await;
    let mut restored = scene.line().await;
    restored.hears("SUB a 1\r\n").await;
    client.says("PUB b 2\r\nhi\r\n").await;
    restored.hears("PUB b 2\r\nhi\r\n").await;
    restored.says("MSG a 1 2\r\nho\r\n");
    client.hears("MSG a 1 2\r\nho\r\n").await;
    let report = scene.board.report_of(None);
    assert_eq!(
        report.failed_for(HandoverReason::UpstreamLost),
        1,
        "{report:?}"
    );
    assert_eq!(
        report.handovers_fallback.iter().sum::<u64>(),
        0,
        "{report:?}"
    );
}

#[tokio::test]
async fn the_end_of_the_relay_is_told_and_nothing_is_cut_in_half() {
    let mut scene = Scene::new(RelaySettings::new()).await;
    let (mut client, mut server) = scene.client().await;
    server.answers_no_more();
    client.says("SUB a 1\r\nPUB b 5\r\nhel").await;
    server.hears("SUB a 1\r\n").await;
    server.says("MSG a 1 5\r\nhel");
    client.hears("hel").await;
    scene.stage.send_replace(Stage::Draining);
    scene.stage.send_replace(Stage::Closing);
    server.says("lo\r\n");
    let notice = client.hears("\"ldm\":true").await;
    assert!(notice.starts_with("lo\r\nINFO {"), "{notice}");
    client.says("lo\r\nPUB late 2\r\nno\r\n").await;
    let last = "PUB b 5\r\nhello\r\nUNSUB 1\r\nPING\r\n";
    let heard = server.hears(last).await;
    assert!(heard.ends_with(last), "{heard}");
    server.says("MSG a 1 2\r\nhi\r\nPONG\r\n");
    let rest = client.hears_the_end().await;
    assert!(rest.ends_with("}\r\nMSG a 1 2\r\nhi\r\n"), "{rest}");
}

#[tokio::test]
async fn a_wrong_guess_costs_no_connection_upstream() {
    let token = LocalCredentials::token(Secret::new("t0ken"));
    let mut scene = Scene::new(RelaySettings::new().local_credentials(token)).await;
    let right = "CONNECT {\"verbose\":false,\"auth_token\":\"t0ken\"}\r\nPING\r\n";
    let mut servers = Vec::new();
    for round in 0..2 {
        let (stream, admission, client) = scene.pair().await;
        let session = tokio::spawn(run(stream, admission, Arc::clone(&scene.shared)));
        let mut client = Client {
            stream: client,
            heard: String::new(),
            session,
        };
        client.says(right).await;
        client.hears("PONG\r\n").await;
        // It lives as long as the test: nobody has to look for another one.
        servers.push(scene.line().await);

        let (stream, admission, mut guesser) = scene.pair().await;
        let guess = run(stream, admission, Arc::clone(&scene.shared));
        let says = guesser.write_all(b"CONNECT {\"verbose\":false,\"auth_token\":\"guess\"}\r\n");
        let ((), said) = tokio::join!(guess, says);
        said.unwrap();
        let mut heard = String::new();
        guesser.read_to_string(&mut heard).await.unwrap();
        assert!(heard.starts_with("INFO {"), "{heard}");
        assert!(
            heard.ends_with("-ERR 'Authorization Violation'\r\n"),
            "{heard}"
        );
        assert!(scene.lines.try_recv().is_err(), "round {round}: dialled");
    }
}

#[tokio::test]
async fn nobody_holds_up_the_end_of_the_relay() {
    for half in ["an operation", "a message"] {
        let mut scene = Scene::new(RelaySettings::new()).await;
        let (mut client, mut server) = scene.client().await;
        server.answers_no_more();
        client.says("SUB a 1\r\nPUB b 5\r\nhel").await;
        server.hears("PUB b 5\r\n").await;
        if half == "a message" {
            client.says("lo\r\n").await;
            server.hears("hello\r\n").await;
            server.says("MSG a 1 5\r\nhel");
            client.hears("MSG a 1 5\r\nhel").await;
        }
        scene.stage.send_replace(Stage::Draining);
        scene.stage.send_replace(Stage::Closing);
        client.hears_the_end().await;
    }
}

/// For whoever connects while the relay knows a server: what that one says last, and not who it once greeted.
#[tokio::test]
async fn the_greeting_is_that_of_the_last_server() {
    let token = LocalCredentials::token(Secret::new("t0ken"));
    let mut scene = Scene::new(RelaySettings::new().local_credentials(token)).await;
    let connect = Connect::parse(b"{\"verbose\":false}").unwrap();
    for greeting in ["\"server_id\":\"A\"", "\"server_id\":\"B\""] {
        scene.greets(&format!(
            "{greeting},\"max_payload\":1000,\"client_id\":7,\"client_ip\":\"10.0.0.1\""
        ));
        let dialed = scene.shared.join(&Wish::default(), &connect).await;
        drop((dialed.unwrap(), scene.line().await));
        let (stream, admission, mut guest) = scene.pair().await;
        let session = tokio::spawn(run(stream, admission, Arc::clone(&scene.shared)));
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n") {
            guest.read_buf(&mut heard).await.unwrap();
        }
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.contains(greeting), "{heard}");
        assert!(!heard.contains("client_"), "{heard}");
        drop(guest);
        timeout(PATIENCE, session).await.unwrap().unwrap();
    }
}

/// A later INFO counts: whoever is told to leave hears no older one again.
#[tokio::test]
async fn word_to_leave_is_in_the_words_the_server_used_last() {
    let mut scene = Scene::new(RelaySettings::new()).await;
    let (mut client, server) = scene.client().await;
    server.says("INFO {\"server_id\":\"T\",\"max_payload\":77}\r\n");
    client.hears("\"max_payload\":77}\r\n").await;
    scene.stage.send_replace(Stage::Draining);
    let notice = client.hears("\"ldm\":true").await;
    assert!(notice.contains("\"max_payload\":77"), "{notice}");
}
