//! INFO: what the relay needs to know of it, and what the client may see of it. The relay itself is
//! where the client must stay, and speaks plain text; so nothing of TLS and no other address is
//! shown, in the first INFO and in every later one.

use super::ParseLimits;
use super::object::{Member, NotAnObject, Object, WrongType, separate};

/// INFO that cannot be used: an upstream error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InfoError {
    /// Longer than [`ParseLimits::server`] allows a control line to be.
    #[error("the server's INFO has {length} bytes and {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    /// Not a JSON object.
    #[error("the server's INFO is not a JSON object (byte {column})")]
    NotJson { column: usize },
    /// A member of another type than nats-server gives it.
    #[error("{member} in the server's INFO is not of its type")]
    WrongType { member: &'static str },
}

impl From<NotAnObject> for InfoError {
    fn from(NotAnObject { column }: NotAnObject) -> Self {
        Self::NotJson { column }
    }
}

impl From<WrongType> for InfoError {
    fn from(WrongType { member }: WrongType) -> Self {
        Self::WrongType { member }
    }
}

/// What the relay wants to know of a server. Members that are absent are empty, 0, false or None.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    pub(crate) server_id: String,
    pub(crate) server_name: String,
    pub(crate) version: String,
    /// In bytes; what nats-server has by default if INFO does not say, no limit if it says -1.
    pub(crate) max_payload: u64,
    pub(crate) client_id: Option<u64>,
    pub(crate) nonce: Option<String>,
    pub(crate) auth_required: bool,
    pub(crate) headers: bool,
    pub(crate) lame_duck: bool,
}

impl ServerInfo {
    /// Reads the JSON of an INFO.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, InfoError> {
        let object = parse(json)?;
        let text = |member| Ok::<String, WrongType>(object.value(member)?.unwrap_or_default());
        let flag = |member| Ok::<bool, WrongType>(object.value(member)?.unwrap_or_default());
        let max_payload = object
            .value::<i64>("max_payload")?
            .map_or(ParseLimits::client().max_payload, |bytes| {
                u64::try_from(bytes).unwrap_or(u64::MAX)
            });
        Ok(Self {
            server_id: text("server_id")?,
            server_name: text("server_name")?,
            version: text("version")?,
            max_payload,
            client_id: object.value("client_id")?,
            nonce: object.value("nonce")?,
            auth_required: flag("auth_required")?,
            headers: flag("headers")?,
            lame_duck: flag("ldm")?,
        })
    }
}

/// What a client is to be told otherwise than the server said it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InfoRewrite {
    /// Some: what the client is told, whatever the server said.
    pub(crate) auth_required: Option<bool>,
    /// Nothing for the client to sign: it does not speak to the server that made the nonce, or it
    /// has credentials that the server never sees.
    pub(crate) drop_nonce: bool,
    /// Not who the client is to the server: that was said of another connection.
    pub(crate) drop_client: bool,
    /// Some: what the client is told, whatever the server said.
    pub(crate) lame_duck: Option<bool>,
}

/// The whole control line `INFO {…}` for the client, with its end. Without anything of TLS and
/// without other addresses; the rest as the server wrote it, byte for byte and in its order.
pub(crate) fn rewrite_info(json: &[u8], rewrite: &InfoRewrite) -> Result<Vec<u8>, InfoError> {
    let object = parse(json)?;
    let mut told = [
        Told::new("auth_required", rewrite.auth_required),
        Told::new("ldm", rewrite.lame_duck),
    ];
    let mut line = Vec::with_capacity(json.len() + 64);
    line.extend_from_slice(b"INFO {");
    for member in object.members() {
        if is_hidden(member)
            || (rewrite.drop_nonce && member.is("nonce"))
            || (rewrite.drop_client && (member.is("client_id") || member.is("client_ip")))
        {
            continue;
        }
        match told.iter_mut().find(|told| member.is(told.name)) {
            // Once: of several members with one name the last counts.
            Some(Told { written: true, .. }) => {}
            Some(Told {
                value: Some(value),
                written,
                ..
            }) => {
                *written = true;
                member.write(Some(text(*value)), &mut line);
            }
            _ => member.write(None, &mut line),
        }
    }
    // Absent is false.
    for told in told {
        if told.value == Some(true) && !told.written {
            separate(&mut line);
            line.extend_from_slice(format!("\"{}\":true", told.name).as_bytes());
        }
    }
    line.extend_from_slice(b"}\r\n");
    Ok(line)
}

/// A member that a client is told otherwise, if there is a value.
struct Told {
    name: &'static str,
    value: Option<bool>,
    written: bool,
}

impl Told {
    const fn new(name: &'static str, value: Option<bool>) -> Self {
        Self {
            name,
            value,
            written: false,
        }
    }
}

fn is_hidden(member: &Member<'_>) -> bool {
    member.starts_with("tls_") || member.is("connect_urls") || member.is("ws_connect_urls")
}

const fn text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

fn parse(json: &[u8]) -> Result<Object<'_>, InfoError> {
    let limit = ParseLimits::server().control_line;
    if json.len() > limit {
        let length = json.len();
        return Err(InfoError::TooLong { length, limit });
    }
    Ok(Object::parse(json)?)
}

#[cfg(test)]
mod tests;
