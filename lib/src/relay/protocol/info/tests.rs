//! INFO of real servers is in `testdata/relay/info`; here is what must come out of it.

use super::super::fuzzing::corpus;
use super::*;

const INFO: &str = r#"{"server_id":"NA","server_name":"n1","version":"2.15.1","proto":1,"headers":true,"auth_required":true,"tls_required":true,"tls_verify":true,"max_payload":1048576,"client_id":7,"nonce":"abc","connect_urls":["10.0.0.1:4222"],"ws_connect_urls":[],"xkey":"X","new":{"tls_required":[1, 2]}}"#;

fn rewritten(json: &str, rewrite: &InfoRewrite) -> String {
    String::from_utf8(rewrite_info(json.as_bytes(), rewrite).unwrap()).unwrap()
}

#[test]
fn the_server_is_known_by_its_info() {
    let expected = ServerInfo {
        server_id: "NA".into(),
        server_name: "n1".into(),
        version: "2.15.1".into(),
        max_payload: 1_048_576,
        client_id: Some(7),
        nonce: Some("abc".into()),
        auth_required: true,
        headers: true,
        lame_duck: false,
    };
    assert_eq!(ServerInfo::parse(INFO.as_bytes()), Ok(expected));
    let unlimited = ServerInfo::parse(br#"{"max_payload":-1,"ldm":true}"#).unwrap();
    assert_eq!(
        (unlimited.max_payload, unlimited.lame_duck),
        (u64::MAX, true)
    );
}

#[test]
fn a_client_sees_neither_tls_nor_other_addresses() {
    assert_eq!(
        rewritten(INFO, &InfoRewrite::default()),
        "INFO {\"server_id\":\"NA\",\"server_name\":\"n1\",\"version\":\"2.15.1\",\"proto\":1,\"headers\":true,\"auth_required\":true,\"max_payload\":1048576,\"client_id\":7,\"nonce\":\"abc\",\"xkey\":\"X\",\"new\":{\"tls_required\":[1, 2]}}\r\n"
    );
}

#[test]
fn a_later_info_is_rewritten_like_the_first() {
    // Sent to clients when a server joins the cluster, and when this one goes.
    for file in ["cluster_2", "lame_duck_2"] {
        let json = corpus::read(&format!("info/{file}"));
        let text = std::str::from_utf8(&json).unwrap();
        assert!(
            text.contains("connect_urls") || text.contains("\"ldm\":true"),
            "{file}"
        );
        let line = rewritten(text, &InfoRewrite::default());
        assert!(
            !line.contains("connect_urls") && !line.contains("tls_"),
            "{line}"
        );
        let known = ServerInfo::parse(&json).unwrap();
        assert_eq!(known.lame_duck, line.contains("\"ldm\":true"));
    }
}

#[test]
fn what_the_relay_decides_is_said_once() {
    let told = InfoRewrite {
        auth_required: Some(false),
        drop_nonce: true,
        drop_client: true,
        lame_duck: Some(true),
    };
    let cases = [
        ("{}", r#"{"ldm":true}"#),
        (
            r#"{"client_id":7,"proto":1,"client_ip":"10.0.0.1"}"#,
            r#"{"proto":1,"ldm":true}"#,
        ),
        (
            r#"{"auth_required":true,"nonce":"n"}"#,
            r#"{"auth_required":false,"ldm":true}"#,
        ),
        (
            r#"{"ldm":false,"a":1,"LDM":false,"Auth_Required":true,"auth_required":true}"#,
            r#"{"ldm":true,"a":1,"Auth_Required":false}"#,
        ),
        (
            r#"{"a" : [ {"nonce":1} ] , "NONCE":"n"}"#,
            r#"{"a":[ {"nonce":1} ],"ldm":true}"#,
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(
            rewritten(json, &told),
            format!("INFO {expected}\r\n"),
            "{json}"
        );
    }
}

#[test]
fn hidden_members_are_hidden_however_they_are_spelled() {
    let hidden = [
        "tls_required",
        "TLS_Available",
        "tls_verify",
        r"\u0074ls_new",
        "tl\u{17f}_x",
        "connect_urls",
        "Connect_URLs",
        "ws_connect_urls",
        r"ws_connect\u005Furls",
    ];
    for name in hidden {
        let json = format!(r#"{{"a":1e400,"{name}":[true],"b":"\ud83d\ude00","{name}":null}}"#);
        let line = rewritten(&json, &InfoRewrite::default());
        assert_eq!(
            line, "INFO {\"a\":1e400,\"b\":\"\\ud83d\\ude00\"}\r\n",
            "{name}"
        );
    }
}

#[test]
fn info_that_cannot_be_used_is_an_error() {
    let limit = ParseLimits::server().control_line;
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(limit));
    let rewrite = |json: &str| rewrite_info(json.as_bytes(), &InfoRewrite::default()).unwrap_err();
    let too_long = InfoError::TooLong {
        length: long.len(),
        limit,
    };
    assert_eq!(rewrite(&long), too_long);
    assert_eq!(rewrite("{\"a\":1,}"), InfoError::NotJson { column: 8 });
    assert_eq!(rewrite("[]"), InfoError::NotJson { column: 0 });
    assert_eq!(rewrite(""), InfoError::NotJson { column: 0 });
    let wrong = ServerInfo::parse(br#"{"max_payload":"1"}"#);
    let member = "max_payload";
    assert_eq!(wrong, Err(InfoError::WrongType { member }));
}

/// As many servers as nobody has: a thousand with two addresses each.
#[test]
fn a_large_cluster_has_room() {
    let urls: Vec<_> = (0..2000)
        .map(|n| format!("\"10.20.{}.{}:4222\"", n / 250, n % 250))
        .collect();
    let json = INFO.replace("\"10.0.0.1:4222\"", &urls.join(","));
    assert!(json.len() > 36_000);
    assert_eq!(
        rewritten(&json, &InfoRewrite::default()),
        rewritten(INFO, &InfoRewrite::default())
    );
}
