//! A JSON object whose members stay as they were written: what we do not know survives byte for byte.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members in their order, values raw.
#[derive(Debug, Clone, Default)]
pub struct RawObject<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, Cow<'de, str>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<BorrowedText<'de>, &'de RawValue>()? {
                    members.push((key.0, Cow::Borrowed(value.get())));
                }
                // Looked for at the end and not member by member: somebody else's object may have hundreds of thousands of them.
                let mut keys: Vec<&str> = members.iter().map(|(key, _)| &**key).collect();
                keys.sort_unstable();
                if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(serde::de::Error::custom("a member is there twice"));
                }
                Ok(RawObject(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> RawObject<'a> {
    /// Reads an object; the error says where it is broken.
    pub fn parse(json: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The value of a member, as JSON.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    /// A member that is a string.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(|json| serde_json::from_str(json).ok())
    }

    /// Is the member there?
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets a member to a value that is JSON already: in its place if it is there, else at the end.
    pub fn set(&mut self, key: &'a str, json: impl Into<Cow<'a, str>>) {
        let json = json.into();
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, value)) => *value = json,
            None => self.0.push((Cow::Borrowed(key), json)),
        }
    }

    /// Sets a member to a string.
    pub fn set_text(&mut self, key: &'a str, text: &str) {
        self.set(key, json_string(text));
    }

    /// Takes a member out, and gives it.
    pub fn remove(&mut self, key: &str) -> Option<Cow<'a, str>> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1)
    }

    /// Members in order: key and JSON.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Without members?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(2 + self.0.iter().map(|(key, value)| key.len() + value.len() + 4).sum::<usize>());
        json.push('{');
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                json.push(',');
            }
            json.push_str(&json_string(key));
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }

    /// With everything owned.
    pub fn into_owned(self) -> RawObject<'static> {
        RawObject(self.0.into_iter().map(|(key, value)| (Cow::Owned(key.into_owned()), Cow::Owned(value.into_owned()))).collect())
    }
}

/// A text as a JSON string.
pub fn json_string(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_with_very_many_members_are_read_at_once() {
        let members: Vec<_> = (0..200_000).map(|i| format!("\"{i}\":0")).collect();
        let json = format!("{{{}}}", members.join(","));
        let began = std::time::Instant::now();
        assert_eq!(RawObject::parse(&json).expect("an object").to_json(), json);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        let twice = json.replace("199999", "77");
        assert!(RawObject::parse(&twice).is_err());
    }

    #[test]
    fn unknown_members_survive_byte_for_byte() {
        let json = r#"{"content":[ {"type":"x-new", "n":1.50} ],"x\"y":{ "a" : 1e400 },"_meta":{"k":"é"}}"#;
        let object = RawObject::parse(json).expect("object");
        assert_eq!(object.to_json(), json);
        assert_eq!(object.get("x\"y"), Some(r#"{ "a" : 1e400 }"#));
    }

    #[test]
    fn members_are_set_in_their_place() {
        let mut object = RawObject::parse(r#"{"a":1,"b":2}"#).expect("object");
        object.set("a", "[]");
        object.set_text("c", "d\"");
        assert_eq!(object.remove("b").as_deref(), Some("2"));
        assert_eq!(object.to_json(), r#"{"a":[],"c":"d\""}"#);
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        for json in ["[]", "1", r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "{", ""] {
            assert!(RawObject::parse(json).is_err(), "{json}");
        }
    }
}
