//! A JSON object whose members keep the bytes they came in, read the way nats-server reads one: the
//! names in any case, the last of several members with one name counts, `null` counts for nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Not a JSON object. Says where, never what: the text may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAnObject {
    /// Counted in bytes, from 1.
    pub(super) column: usize,
}

/// A member whose value is not of the type it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongType {
    pub(super) member: &'static str,
}

pub(super) struct Object<'a>(Vec<Member<'a>>);

pub(super) struct Member<'a> {
    /// Without quotes and escapes, folded as Go folds names.
    name: Cow<'a, str>,
    key: &'a str,
    value: &'a str,
}

impl<'a> Object<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, NotAnObject> {
        serde_json::from_slice(json).map_err(|error| NotAnObject {
            column: error.column(),
        })
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member<'a>> {
        self.0.iter()
    }

    /// The value that counts, if there is one.
    pub(super) fn value<T: Deserialize<'a>>(
        &self,
        member: &'static str,
    ) -> Result<Option<T>, WrongType> {
        let mut value = None;
        for found in self.members().filter(|found| found.is(member)) {
            let read: Option<T> =
                serde_json::from_str(found.value).map_err(|_| WrongType { member })?;
            value = read.or(value);
        }
        Ok(value)
    }
}

impl Member<'_> {
    #[cfg(any(test, fuzzing))]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As it is written.
    #[cfg(any(test, fuzzing))]
    pub(super) fn text(&self) -> String {
        format!("{}:{}", self.key, self.value)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.name.starts_with(prefix)
    }

    /// The bytes of the member, with `value` in the place of its own if there is one.
    pub(super) fn write(&self, value: Option<&str>, out: &mut Vec<u8>) {
        separate(out);
        out.extend_from_slice(self.key.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.unwrap_or(self.value).as_bytes());
    }
}

/// A comma, unless an object has just begun.
pub(super) fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

/// Go compares the names of members without case: ASCII letters, and the two others that fold to
/// one (the long s and the Kelvin sign).
fn folded(key: &str) -> Option<Cow<'_, str>> {
    let plain = key.strip_prefix('"')?.strip_suffix('"')?;
    let is_folded = |byte: u8| byte.is_ascii() && byte != b'\\' && !byte.is_ascii_uppercase();
    if plain.bytes().all(is_folded) {
        return Some(Cow::Borrowed(plain));
    }
    let name: String = serde_json::from_str(key).ok()?;
    let fold = |character: char| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    Some(Cow::Owned(name.chars().map(fold).collect()))
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let (key, value) = (key.get(), value.get());
                    let name = folded(key)
                        .ok_or_else(|| serde::de::Error::custom("a name that is no text"))?;
                    members.push(Member { name, key, value });
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_go_does() {
        let json = r#"{"User":"a","\u0075ser":"b","USER":null,"uſer":"c","to\u212Aen":1}"#;
        let object = Object::parse(json.as_bytes()).unwrap();
        assert_eq!(object.value::<String>("user"), Ok(Some("c".into())));
        assert_eq!(object.value::<u8>("token"), Ok(Some(1)));
        assert_eq!(object.value::<u8>("absent"), Ok(None));
        let wrong = WrongType { member: "token" };
        assert_eq!(object.value::<bool>("token"), Err(wrong));
    }

    #[test]
    fn only_a_whole_object_is_one() {
        for json in [
            "",
            "{",
            "[]",
            "null",
            "1",
            "{}x",
            "{\"a\"}",
            "{a:1}",
            "{\"\\ud800\":1}",
        ] {
            assert!(Object::parse(json.as_bytes()).is_err(), "{json}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(Object::parse(b" {} ").is_ok());
    }
}
