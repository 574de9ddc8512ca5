//! What must hold for INFO and CONNECT, whatever they say.

use zeroize::Zeroizing;

use super::super::object::Object;
use super::super::{Connect, Credentials, InfoRewrite, ServerInfo, rewrite_info};

type Members = Vec<(String, String)>;

/// The members that `keep` wants, as they are written.
fn members(json: &[u8], keep: impl Fn(&str) -> bool) -> Option<Members> {
    let object = Object::parse(json).ok()?;
    let kept = object.members().filter(|member| keep(member.name()));
    Some(
        kept.map(|member| (member.name().to_owned(), member.text()))
            .collect(),
    )
}

/// A rewritten INFO says nothing of TLS and of other addresses, says what it is told to say, and is
/// otherwise as it was.
pub(crate) fn info(json: &[u8]) {
    let known = ServerInfo::parse(json);
    let plain = InfoRewrite::default();
    let Ok(line) = rewrite_info(json, &plain) else {
        assert!(known.is_err());
        return;
    };
    let rewritten = of_line(&line, b"INFO ");
    let shown = |name: &str| {
        !name.starts_with("tls_") && name != "connect_urls" && name != "ws_connect_urls"
    };
    assert_eq!(members(json, shown), members(rewritten, |_| true));
    assert_eq!(known, ServerInfo::parse(rewritten));
    assert_eq!(rewrite_info(rewritten, &plain).as_ref(), Ok(&line));

    for flag in [true, false] {
        let told = InfoRewrite {
            auth_required: Some(flag),
            drop_nonce: true,
            drop_client: true,
            lame_duck: Some(!flag),
        };
        let line = rewrite_info(json, &told).unwrap_or_default();
        let rewritten = of_line(&line, b"INFO ");
        let rest = |name: &str| {
            !matches!(
                name,
                "auth_required" | "ldm" | "nonce" | "client_id" | "client_ip"
            )
        };
        assert_eq!(
            members(json, |name| shown(name) && rest(name)),
            members(rewritten, rest)
        );
        if let (Ok(known), Ok(told)) = (&known, ServerInfo::parse(rewritten)) {
            assert_eq!((told.auth_required, told.lame_duck), (flag, !flag));
            assert_eq!((told.nonce, &told.server_id), (None, &known.server_id));
        }
    }
}

/// A remembered CONNECT is sent as it came but for TLS, and loses its credentials, all of them and
/// nothing else.
pub(crate) fn connect(json: &[u8]) {
    let Ok(connect) = Connect::parse(json) else {
        return;
    };
    // The same to nats-server.
    let text = String::from_utf8_lossy(json);
    let json = text.as_bytes();
    assert_eq!(format!("{connect:?}"), "Connect(…)");
    let line = connect.line();
    let sent = of_line(&line, b"CONNECT ");
    let but_tls = |name: &str| name != "tls_required";
    assert_eq!(members(json, but_tls), members(sent, but_tls));
    assert!(
        members(sent, |name| !but_tls(name))
            .is_some_and(|members| { members.iter().all(|(_, text)| text.ends_with(":false")) })
    );

    let anonymous = |name: &str| {
        ![
            "user",
            "pass",
            "auth_token",
            "jwt",
            "nkey",
            "sig",
            "proxy_sig",
        ]
        .contains(&name)
    };
    let without = connect.without_credentials();
    assert!(!without.signed());
    assert_eq!(without.local_credentials(), (None, None, None));
    let without = without.line();
    assert_eq!(
        members(sent, anonymous),
        members(of_line(&without, b"CONNECT "), |_| true)
    );

    // Any text can be a password.
    let text = |bytes| Some(Zeroizing::new(String::from_utf8_lossy(bytes).into_owned()));
    let (user, password) = (text(b"relay \"\\\n"), text(json));
    let with = connect.with_credentials(&Credentials {
        user: user.clone(),
        password: password.clone(),
        ..Credentials::default()
    });
    assert_eq!(with.local_credentials(), (user, password, None));
    assert_eq!(
        members(of_line(&with.line(), b"CONNECT "), anonymous),
        members(sent, anonymous)
    );
}

fn of_line<'a>(line: &'a [u8], verb: &[u8]) -> &'a [u8] {
    let json = line
        .strip_prefix(verb)
        .and_then(|json| json.strip_suffix(b"\r\n"));
    assert!(json.is_some());
    json.unwrap_or_default()
}
