//! Names in certificates.

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::error::{Error, Result};

/// Names of one certificate that are looked at.
const MOST: usize = 32;

/// A name with its kind: `dns:…`, `uri:…`, `email:…`, or `subject:…` with the whole distinguished name. Names of different kinds are different.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateName(String);

impl CertificateName {
    /// Reads a form. The error says `certificate_name`.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::invalid("certificate_name", why);
        let (kind, value) =
            text.trim().split_once(':').ok_or_else(|| refuse("expected dns:, uri:, email: or subject:, then the name"))?;
        let value = value.trim();
        if value.is_empty() || value.len() > 1_000 || value.chars().any(char::is_control) || value.contains('*') {
            return Err(refuse("expected a whole name of at most 1000 characters"));
        }
        match kind.trim().to_ascii_lowercase().as_str() {
            "dns" => Ok(Self::dns(value)),
            "uri" => Ok(Self(format!("uri:{value}"))),
            "email" => Ok(Self(format!("email:{value}"))),
            "subject" => Ok(Self(format!("subject:{value}"))),
            _ => Err(refuse("expected dns:, uri:, email: or subject:, then the name")),
        }
    }

    /// As stored and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn dns(value: &str) -> Self {
        Self(format!("dns:{}", value.to_ascii_lowercase()))
    }
}

/// All names of a certificate.
pub(super) fn names_of(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let alternative = general.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(CertificateName::dns(name).0),
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::RFC822Name(email) => Some(format!("email:{email}")),
        _ => None,
    });
    alternative.take(MOST).chain(subject_of(&certificate)).collect()
}

/// The whole distinguished name. It is written without escapes, so that a value with a separator in it could pass for several: such a
/// subject is no name.
fn subject_of(certificate: &X509Certificate<'_>) -> Option<String> {
    let is_plain = |value: &str| {
        !value.is_empty() && !value.contains([',', '+', '=', '"', '\\', '<', '>', ';', '#']) && !value.contains(char::is_control)
    };
    let mut values = certificate.subject().iter_attributes().map(|attribute| attribute.as_str().ok());
    if !values.all(|value| value.is_some_and(is_plain)) {
        return None;
    }
    let subject = certificate.subject().to_string();
    (!subject.is_empty()).then(|| format!("subject:{subject}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_kind() {
        let parse = |text| CertificateName::parse(text).ok().map(|name| name.0);
        assert_eq!(parse(" DNS: CI.Acme.Example ").as_deref(), Some("dns:ci.acme.example"));
        assert_eq!(parse("uri:spiffe://acme/ci").as_deref(), Some("uri:spiffe://acme/ci"));
        assert_eq!(parse("subject:CN=ci, O=Acme").as_deref(), Some("subject:CN=ci, O=Acme"));
        for text in ["", "ci.acme.example", "dns:", "ip:10.0.0.1", "dns:*.acme.example", "uri:a\nb"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
