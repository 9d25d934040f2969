//! What a token is bound to (RFC 7800): whoever uses it has to show the same again.

use serde_json::{Map, Value};

/// Keys that a request has shown to have, or that a token wants to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// RFC 7638 thumbprint of the key of a proof (RFC 9449).
    pub key: Option<String>,
    /// SHA-256 of a certificate (RFC 8705).
    pub certificate: Option<String>,
}

const KEY: &str = "jkt";
const CERTIFICATE: &str = "x5t#S256";

impl Binding {
    /// Nothing at all?
    pub fn is_free(&self) -> bool {
        self.key.is_none() && self.certificate.is_none()
    }

    /// Does whoever has shown this satisfy it?
    pub fn is_met_by(&self, shown: &Self) -> bool {
        let met = |wanted: &Option<String>, shown: &Option<String>| wanted.is_none() || wanted == shown;
        met(&self.key, &shown.key) && met(&self.certificate, &shown.certificate)
    }

    /// The claim; `None` if it is bound to nothing.
    pub(super) fn to_claim(&self) -> Option<Value> {
        let pairs = [(KEY, &self.key), (CERTIFICATE, &self.certificate)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value.clone()?))));
        let claim: Map<_, _> = pairs.collect();
        (!claim.is_empty()).then_some(Value::Object(claim))
    }

    /// From a claim. `None` if it wants something that is not understood, and so cannot be checked.
    pub(super) fn of_claim(claim: Option<&Value>) -> Option<Self> {
        let Some(claim) = claim else { return Some(Self::default()) };
        let mut binding = Self::default();
        for (name, value) in claim.as_object()? {
            let value = Some(value.as_str()?.to_owned());
            match name.as_str() {
                KEY => binding.key = value,
                CERTIFICATE => binding.certificate = value,
                _ => return None,
            }
        }
        (!binding.is_free()).then_some(binding)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_binding_that_is_not_understood_is_not_taken() {
        let both = Binding { key: Some("k".to_owned()), certificate: Some("c".to_owned()) };
        assert_eq!(Binding::of_claim(both.to_claim().as_ref()), Some(both.clone()));
        assert_eq!(Binding::of_claim(None), Some(Binding::default()));
        for claim in [json!({}), json!({ "jwk": {} }), json!({ "jkt": 1 }), json!([]), json!({ "jkt": "k", "kid": "x" })] {
            assert_eq!(Binding::of_claim(Some(&claim)), None, "{claim}");
        }
        let key = Binding { key: Some("k".to_owned()), certificate: None };
        assert!(key.is_met_by(&both) && !both.is_met_by(&key) && Binding::default().is_met_by(&key));
    }
}
