//! Parameters of a request: a query or a form. RFC 6749 §3.1: none may occur twice, and one without a value counts as left out.

use super::error::{OAuthError, invalid_request};

/// Longest query or form that is read.
pub const MAX_LENGTH: usize = 32 * 1024;

/// Names and values, each name once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Parameters {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn parse(text: &str) -> Result<Self, OAuthError> {
        if text.len() > MAX_LENGTH {
            return Err(invalid_request("the request is too long"));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(invalid_request(format!("the parameter {name} occurs twice")));
            }
            if value.contains('\0') {
                return Err(invalid_request(format!("the parameter {name} contains a NUL character")));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    /// The value of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The value of that name.
    pub fn require(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| invalid_request(format!("the parameter {name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o_08_a_repeated_parameter_is_refused() {
        let parameters = Parameters::parse("a=1&b=&c=%C3%A4+x").expect("parameters");
        assert_eq!((parameters.get("a"), parameters.get("b"), parameters.get("c")), (Some("1"), None, Some("ä x")));
        for text in ["a=1&a=1", "a=1&b=2&a=", "a=%00", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(Parameters::parse(text).is_err());
        }
    }
}
