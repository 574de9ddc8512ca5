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
    echo: bool,
    headers: bool,
    understands_info: bool,
    signed: bool,
}

impl Connect {
    /// Reads the JSON of a CONNECT. What it does not say is as nats-server takes it: verbose,
    /// echo.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConnectError> {
        // Go reads bytes that are no text as U+FFFD, so to the server it is the same CONNECT.
        let text = Zeroizing::new(String::from_utf8_lossy(json).into_owned());
        let json = text.as_bytes();
        let object = Object::parse(json)?;
        let flag = |member, absent| Ok::<bool, WrongType>(object.value(member)?.unwrap_or(absent));
        for member in CREDENTIALS {
            given(&object, member)?;
        }
        for member in ["pedantic", "no_responders", "tls_required"] {
            flag(member, false)?;
        }
        for member in ["name", "lang", "version"] {
            object.value::<String>(member)?;
        }
        let signed = given(&object, "sig")?.is_some() || given(&object, "proxy_sig")?.is_some();
        Ok(Self {
            verbose: flag("verbose", true)?,
            echo: flag("echo", true)?,
            headers: flag("headers", false)?,
            understands_info: object.value::<i64>("protocol")?.unwrap_or(0) >= 1,
            signed,
            json: Zeroizing::new(json.to_vec()),
        })
    }

    /// The client waits for `+OK` after every operation.
    pub(crate) fn verbose(&self) -> bool {
        self.verbose
    }

    /// The client wants its own messages back, if it subscribes to them.
    pub(crate) fn echo(&self) -> bool {
        self.echo
    }

    /// The client understands headers.
    pub(crate) fn headers(&self) -> bool {
        self.headers
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
    let text = object.value::<Zeroizing<String>>(member)?;
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
mod tests;
