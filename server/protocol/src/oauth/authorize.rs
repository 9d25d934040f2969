//! The authorization request (RFC 6749 §4.1.1, RFC 7636, RFC 8707) and its answer (RFC 9207).

use super::{
    error::{ErrorCode, OAuthError, invalid_request},
    parameters::Parameters,
    pkce::CodeChallenge,
    scope::Scope,
};

/// Whom the answer goes to, read first: before this is trusted, nothing is redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The client.
    pub client_id: String,
    /// Where it wants the answer, if it says so.
    pub redirect_uri: Option<String>,
    /// What comes back as it is.
    pub state: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// PKCE.
    pub challenge: CodeChallenge,
    /// Scopes of ours, in the order they were written. `None`: nothing was said. Scopes that are not ours are left out.
    pub scopes: Option<Vec<Scope>>,
    /// Audience.
    pub resource: Option<String>,
    /// Whether somebody may be asked.
    pub prompt: Prompt,
}

/// OpenID Connect's `prompt`, which some clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prompt {
    /// When it is needed.
    #[default]
    AsNeeded,
    /// Nobody may be asked anything.
    None,
    /// In any case.
    Always,
}

impl Addressee {
    /// Reads it.
    pub fn parse(parameters: &Parameters) -> Result<Self, OAuthError> {
        let client_id = parameters.require("client_id")?;
        if client_id.len() > 512 {
            return Err(invalid_request("client_id is longer than 512 bytes"));
        }
        let text = |name| parameters.get(name).map(str::to_owned);
        Ok(Self { client_id: client_id.to_owned(), redirect_uri: text("redirect_uri"), state: text("state") })
    }
}

impl Wish {
    /// Reads it.
    pub fn parse(parameters: &Parameters) -> Result<Self, OAuthError> {
        match parameters.require("response_type")? {
            "code" => {}
            _ => return Err(OAuthError::new(ErrorCode::UnsupportedResponseType, "response_type must be code")),
        }
        if parameters.get("request").is_some() || parameters.get("request_uri").is_some() {
            return Err(invalid_request("request objects are not supported: send plain parameters"));
        }
        if !matches!(parameters.get("response_mode"), None | Some("query")) {
            return Err(invalid_request("response_mode must be query"));
        }
        let challenge = CodeChallenge::parse(parameters.get("code_challenge"), parameters.get("code_challenge_method"))?;
        let prompt = match parameters.get("prompt") {
            Some("none") => Prompt::None,
            Some(words) if words.split(' ').any(|word| matches!(word, "consent" | "login" | "select_account")) => Prompt::Always,
            _ => Prompt::AsNeeded,
        };
        let scopes = parameters.get("scope").map(read_scopes).transpose()?;
        Ok(Self { challenge, scopes, resource: parameters.get("resource").map(str::to_owned), prompt })
    }
}

/// Scopes of ours in a text. `offline_access`, `openid` and others are somebody else's and mean nothing here.
pub fn read_scopes(text: &str) -> Result<Vec<Scope>, OAuthError> {
    let is_token = |word: &str| word.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if text.len() > 8_192 || !text.split(' ').all(is_token) {
        return Err(OAuthError::new(ErrorCode::InvalidScope, "scope must be words of RFC 6749 section 3.3"));
    }
    let mut scopes = Vec::new();
    for scope in text.split(' ').filter_map(|word| word.parse::<Scope>().ok()) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

/// Where the answer is sent: the redirect URI with `code` or `error`, `state` as it came, and `iss`.
pub fn answer(redirect_uri: &str, state: Option<&str>, issuer: &str, outcome: Result<&str, &OAuthError>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    match outcome {
        Ok(code) => {
            query.append_pair("code", code);
        }
        Err(error) => {
            query.append_pair("error", error.code.as_str()).append_pair("error_description", &error.description);
        }
    }
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", issuer);
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    format!("{redirect_uri}{separator}{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn wish(more: &str) -> Result<Wish, OAuthError> {
        let text = format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256&{more}");
        Wish::parse(&Parameters::parse(&text).expect("parameters"))
    }

    #[test]
    fn scopes_that_are_not_ours_are_left_out() {
        let texts = |wish: Wish| wish.scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(texts(wish("").expect("a wish")), None);
        assert_eq!(texts(wish("scope=offline_access+tools:read+openid").expect("a wish")), Some(vec!["tools:read".to_owned()]));
        assert_eq!(texts(wish("scope=openid").expect("a wish")), Some(vec![]));
        assert_eq!(wish("scope=%22").expect_err("no scope").code, ErrorCode::InvalidScope);
    }

    #[test]
    fn other_kinds_of_requests_are_refused() {
        for more in ["request=x", "request_uri=https://x", "response_mode=fragment"] {
            assert_eq!(wish(more).expect_err(more).code, ErrorCode::InvalidRequest);
        }
        let token = Parameters::parse("response_type=token").expect("parameters");
        assert_eq!(Wish::parse(&token).expect_err("a token").code, ErrorCode::UnsupportedResponseType);
    }

    #[test]
    fn o_07_state_comes_back_as_it_was_and_iss_with_everything() {
        let state = Some("a b&c=ä/+");
        let location = answer("https://app.example/cb?x=1", state, "https://t.example/oauth", Ok("c"));
        let url = url::Url::parse(&location).expect("a URL");
        let pairs: Vec<_> = url.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["x=1", "code=c", "state=a b&c=ä/+", "iss=https://t.example/oauth"]);
        let error = OAuthError::new(ErrorCode::AccessDenied, "no");
        let location = answer("com.example:/cb", None, "https://t.example/oauth", Err(&error));
        assert_eq!(location, "com.example:/cb?error=access_denied&error_description=no&iss=https%3A%2F%2Ft.example%2Foauth");
    }
}
