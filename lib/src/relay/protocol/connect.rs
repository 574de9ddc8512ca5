//! CONNECT as the client sent it, remembered: the relay sends it again to every upstream that the
//! client is moved to. It holds the client's credentials, so it is zeroised and never printed.

use std::fmt;

use zeroize::Zeroizing;

use super::object::{Member, NotAnObject, Object, WrongType, separate};

/// CONNECT that nats-server would refuse too. Never repeats what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Not a JSON object.
    #[error("the client's CONNECT is not a JSON object (byte {column})")]
    NotJson { column: usize },
    /// A member of another type than the protocol gives it.
    #[error("{member} in the client's CONNECT is not of its type")]
    WrongType { member: &'static str },
}

impl From<NotAnObject> for ConnectError {
    fn from(NotAnObject { column }: NotAnObject) -> Self {
        Self::NotJson { column }
    }
}

impl From<WrongType> for ConnectError {
    fn from(WrongType { member }: WrongType) -> Self {
        Self::WrongType { member }
    }
}

/// A secret text of CONNECT; None if it is absent or empty, which is the same to nats-server.
pub(crate) type Given = Option<Zeroizing<String>>;

/// Who a client says it is to nats-server; what is None is left out.
#[derive(Default)]
pub(crate) struct Credentials {
    pub(crate) user: Given,
    pub(crate) password: Given,
    pub(crate) token: Given,
    pub(crate) jwt: Given,
    /// The public key.
    pub(crate) nkey: Given,
    /// The signature of the server's nonce, in URL-safe base64 without padding.
    pub(crate) signature: Given,
}

/// What makes up the credentials in a CONNECT.
const CREDENTIALS: [&str; 7] = [
    "user",
    "pass",
    "auth_token",
    "jwt",
    "nkey",
    "sig",
    "proxy_sig",
];

/// The client's CONNECT.
pub(crate) struct Connect {
    json: Zeroizing<Vec<u8>>,
    verbose: bool,
    pedantic: bool,
    echo: bool,
    headers: bool,
    no_responders: bool,
    understands_info: bool,
    signed: bool,
    name: Option<String>,
}

impl Connect {
    /// Reads the JSON of a CONNECT. What it does not say is as nats-server takes it: verbose,
    /// pedantic, echo.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConnectError> {
        // Go reads bytes that are no text as U+FFFD, so to the server it is the same CONNECT.
        let text = Zeroizing::new(String::from_utf8_lossy(json).into_owned());
        let json = text.as_bytes();
        let object = Object::parse(json)?;
        let flag = |member, absent| Ok::<bool, WrongType>(object.value(member)?.unwrap_or(absent));
        for member in CREDENTIALS {
            given(&object, member)?;
        }
        flag("tls_required", false)?;
        let signed = given(&object, "sig")?.is_some() || given(&object, "proxy_sig")?.is_some();
        Ok(Self {
            verbose: flag("verbose", true)?,
            pedantic: flag("pedantic", true)?,
            echo: flag("echo", true)?,
            headers: flag("headers", false)?,
            no_responders: flag("no_responders", false)?,
            understands_info: object.value::<i64>("protocol")?.unwrap_or(0) >= 1,
            signed,
            name: object.value("name")?,
            json: Zeroizing::new(json.to_vec()),
        })
    }

    /// The client waits for `+OK` after every operation.
    pub(crate) fn verbose(&self) -> bool {
        self.verbose
    }

    /// The server checks subjects more strictly.
    pub(crate) fn pedantic(&self) -> bool {
        self.pedantic
    }

    /// The client wants its own messages back, if it subscribes to them.
    pub(crate) fn echo(&self) -> bool {
        self.echo
    }

    /// The client understands headers.
    pub(crate) fn headers(&self) -> bool {
        self.headers
    }

    /// The client wants to be told that nobody listens to a request.
    pub(crate) fn no_responders(&self) -> bool {
        self.no_responders
    }

    /// The client understands an INFO at any time (`protocol` 1), not only the first.
    pub(crate) fn understands_info(&self) -> bool {
        self.understands_info
    }

    /// The client signed the nonce of its server: nobody can send this CONNECT to another one.
    pub(crate) fn signed(&self) -> bool {
        self.signed
    }

    /// The client says who it is, besides what its relay's certificate says.
    pub(crate) fn has_credentials(&self) -> bool {
        let Ok(object) = Object::parse(&self.json) else {
            return false;
        };
        let mut members = CREDENTIALS.into_iter();
        members.any(|member| given(&object, member).is_ok_and(|given| given.is_some()))
    }

    /// What the client calls itself.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// User, password and token, to be compared with those that the relay asks for.
    pub(crate) fn local_credentials(&self) -> (Given, Given, Given) {
        let Ok(object) = Object::parse(&self.json) else {
            return (None, None, None);
        };
        let given = |member| given(&object, member).unwrap_or_default();
        (given("user"), given("pass"), given("auth_token"))
    }

    /// The same, without anything that says who the client is.
    pub(crate) fn without_credentials(&self) -> Self {
        self.with_credentials(&Credentials::default())
    }

    /// The same, with these credentials in the place of the client's own.
    pub(crate) fn with_credentials(&self, credentials: &Credentials) -> Self {
        let texts = [
            ("user", &credentials.user),
            ("pass", &credentials.password),
            ("auth_token", &credentials.token),
            ("jwt", &credentials.jwt),
            ("nkey", &credentials.nkey),
            ("sig", &credentials.signature),
        ];
        let room: usize = texts
            .iter()
            .filter_map(|(_, text)| text.as_ref())
            // The longest escape of a byte has six; the rest is the name and its punctuation.
            .map(|text| text.len() * 6 + 32)
            .sum();
        let is_credential = |member: &Member<'_>| CREDENTIALS.iter().any(|name| member.is(name));
        let json = self.edited(room, |member, out| {
            if !is_credential(member) {
                member.write(None, out);
            }
        });
        let mut json = json;
        json.pop();
        for (name, text) in texts {
            if let Some(text) = text {
                separate(&mut json);
                json.extend_from_slice(format!("\"{name}\":").as_bytes());
                // Writing text into memory does not fail.
                let _ = serde_json::to_writer(&mut *json, text.as_str());
            }
        }
        json.push(b'}');
        Self {
            json,
            name: self.name.clone(),
            signed: credentials.signature.is_some(),
            ..*self
        }
    }

    /// The control line for the server, with its end. `tls_required` is false: it is said about the
    /// connection of the client, which has no TLS. Everything else is as the client sent it.
    pub(crate) fn line(&self) -> Zeroizing<Vec<u8>> {
        let json = self.edited(self.json.len(), |member, out| {
            let is_tls = member.is("tls_required");
            member.write(is_tls.then_some("false"), out);
        });
        let mut line = Zeroizing::new(Vec::with_capacity(json.len() + 10));
        line.extend_from_slice(b"CONNECT ");
        line.extend_from_slice(&json);
        line.extend_from_slice(b"\r\n");
        line
    }

    /// The object, each member written by `write`, and `room` bytes more: a buffer that grows leaves
    /// what it held behind.
    fn edited(&self, room: usize, write: impl Fn(&Member<'_>, &mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
        let mut json = Zeroizing::new(Vec::with_capacity(self.json.len() + 2 + room));
        json.push(b'{');
        // It was an object when it was parsed.
        if let Ok(object) = Object::parse(&self.json) {
            for member in object.members() {
                write(member, &mut json);
            }
        }
        json.push(b'}');
        json
    }
}

fn given(object: &Object<'_>, member: &'static str) -> Result<Given, WrongType> {
    let text = object.value::<String>(member)?.map(Zeroizing::new);
    Ok(text.filter(|text| !text.is_empty()))
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect(…)")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: &str = r#"{"verbose":false,"echo":false,"user":"alice","pass":"s3cret","tls_required":true,"name":"orders","protocol":1,"new":{"user": 1}}"#;

    fn line(connect: &Connect) -> String {
        String::from_utf8(connect.line().to_vec()).unwrap()
    }

    #[test]
    fn what_is_not_said_is_as_nats_server_takes_it() {
        let connect = Connect::parse(b"{}").unwrap();
        assert!(connect.verbose() && connect.pedantic() && connect.echo());
        assert!(!connect.headers() && !connect.no_responders() && !connect.signed());
        assert_eq!(connect.name(), None);
        assert_eq!(line(&connect), "CONNECT {}\r\n");
    }

    #[test]
    fn only_tls_required_is_changed() {
        let connect = Connect::parse(CONNECT.as_bytes()).unwrap();
        assert!(!connect.verbose() && !connect.echo() && connect.understands_info());
        assert_eq!(connect.name(), Some("orders"));
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
}
