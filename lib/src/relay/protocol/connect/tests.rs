//! CONNECTs as clients send them are in `testdata/relay/connect`; here is what the relay makes of them.

use super::super::{ClientParser, ParseLimits};
use super::*;

const CONNECT: &str = r#"{"verbose":false,"echo":false,"user":"alice","pass":"s3cret","tls_required":true,"name":"orders","protocol":1,"new":{"user": 1}}"#;

fn line(connect: &Connect) -> String {
    String::from_utf8(connect.line().to_vec()).unwrap()
}

#[test]
fn what_is_not_said_is_as_nats_server_takes_it() {
    let connect = Connect::parse(b"{}").unwrap();
    assert!(connect.verbose() && connect.echo());
    assert!(!connect.headers() && !connect.understands_info() && !connect.signed());
    assert_eq!(line(&connect), "CONNECT {}\r\n");
}

#[test]
fn only_tls_required_is_changed() {
    let connect = Connect::parse(CONNECT.as_bytes()).unwrap();
    assert!(!connect.verbose() && !connect.echo() && connect.understands_info());
    let expected = CONNECT.replace("\"tls_required\":true", "\"tls_required\":false");
    assert_eq!(line(&connect), format!("CONNECT {expected}\r\n"));
}

#[test]
fn credentials_are_taken_out_and_put_in() {
    let connect = Connect::parse(CONNECT.as_bytes()).unwrap();
    let (user, password, token) = connect.local_credentials();
    assert_eq!(user.unwrap().as_str(), "alice");
    assert_eq!(password.unwrap().as_str(), "s3cret");
    assert_eq!(token, None);
    let without = connect.without_credentials();
    assert_eq!(
        line(&without),
        "CONNECT {\"verbose\":false,\"echo\":false,\"tls_required\":false,\"name\":\"orders\",\"protocol\":1,\"new\":{\"user\": 1}}\r\n"
    );
    let credentials = Credentials {
        token: Some(Zeroizing::new("t\"\n".to_owned())),
        ..Credentials::default()
    };
    assert!(
        line(&connect.with_credentials(&credentials))
            .ends_with("\"new\":{\"user\": 1},\"auth_token\":\"t\\\"\\n\"}\r\n")
    );
}

#[test]
fn tls_required_is_cleared_however_it_is_spelled() {
    let json = br#"{"TLS_Required" : true,"tl\u0073_required":null,"name":"tls_required"}"#;
    assert_eq!(
        line(&Connect::parse(json).unwrap()),
        "CONNECT {\"TLS_Required\":false,\"tl\\u0073_required\":false,\"name\":\"tls_required\"}\r\n"
    );
}

#[test]
fn credentials_are_taken_out_however_they_are_spelled() {
    for name in [
        "USER",
        "u\u{17f}er",
        "\\u0075ser",
        "Pass",
        "AUTH_TO\u{212a}EN",
        "Jwt",
        "NKey",
        "siG",
        "proxy_Sig",
    ] {
        let json = format!("{{\"a\":1,\"{name}\":\"s3cret\",\"b\":2}}");
        let connect = Connect::parse(json.as_bytes()).unwrap();
        assert!(connect.has_credentials(), "{name}");
        let without = connect.without_credentials();
        assert!(!without.has_credentials(), "{name}");
        assert_eq!(line(&without), "CONNECT {\"a\":1,\"b\":2}\r\n", "{name}");
    }
}

#[test]
fn a_signature_binds_the_connect_to_one_server() {
    let signed = |json: &str| Connect::parse(json.as_bytes()).unwrap().signed();
    assert!(signed(r#"{"sig":"x"}"#) && signed(r#"{"proxy_sig":"x"}"#));
    assert!(!signed(r#"{"sig":"","nkey":"U"}"#) && !signed(r#"{"sig":null}"#));
    let credentials = Credentials {
        signature: Some(Zeroizing::new("x".to_owned())),
        ..Credentials::default()
    };
    let connect = Connect::parse(b"{}").unwrap();
    assert!(connect.with_credentials(&credentials).signed());
}

#[test]
fn an_error_says_where_and_not_what() {
    let error = Connect::parse(br#"{"pass":"s3cret"x}"#).unwrap_err();
    assert_eq!(error, ConnectError::NotJson { column: 17 });
    let error = Connect::parse(br#"{"user":"a","pass":["s3cret"]}"#).unwrap_err();
    assert_eq!(error, ConnectError::WrongType { member: "pass" });
}

/// Whatever is printed of a CONNECT at any level, for each way to give credentials.
#[test]
fn nothing_secret_is_printed() {
    const SECRET: &str = "s3cret-of-the-corpus";
    for member in CREDENTIALS {
        let json = format!("{{\"{member}\":\"{SECRET}\"}}");
        let connect = Connect::parse(json.as_bytes()).unwrap();
        let bytes = format!("CONNECT {json}\r\n");
        let mut parser = ClientParser::new(ParseLimits::client());
        let step = parser.next(bytes.as_bytes()).unwrap();
        let (user, password, token) = connect.local_credentials();
        let credentials = Credentials {
            user,
            password,
            token,
            ..Credentials::default()
        };
        let cut_off = Connect::parse(&json.as_bytes()[..json.len() - 1]).unwrap_err();
        let printed = format!(
            "{connect:?} {connect:#?} {step:?} {step:#?} {parser:?} {credentials:?} {cut_off} {cut_off:?}"
        );
        let number = format!("{}, {}", SECRET.as_bytes()[0], SECRET.as_bytes()[1]);
        assert!(
            !printed.contains(SECRET) && !printed.contains(&number),
            "{printed}"
        );
    }
}
