//! Telling a server that somebody named: JSON by POST, signed as Standard Webhooks has it where there is a secret. Through the guarded way out; what is
//! not taken is tried again by the queue, under the same id.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::Mac as _;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use crate::{
    Platform,
    egress::{EgressError, OutboundRequest},
};

/// Longest wait for the server to take it.
const DEADLINE: Duration = Duration::from_secs(5);
/// What a secret begins with; the rest is base64.
pub(crate) const SECRET_PREFIX: &str = "whsec_";

/// One message to one server. Its URL may be a secret, and is not printed.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Where to.
    pub url: Url,
    /// `whsec_` and base64 of the key that it is signed with; none: it is not signed.
    pub secret: Option<String>,
    /// The same for each attempt, so that who gets it twice can tell.
    pub id: String,
    /// JSON.
    pub body: String,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({})", self.id)
    }
}

/// It was not taken.
#[derive(Debug)]
pub(crate) struct NotTaken {
    /// Why, without the URL.
    pub(crate) why: String,
    /// Is there no use in trying again?
    pub(crate) is_final: bool,
}

/// Sends it once. Taken is what is answered with 2xx; 410 means that nobody wants it any more.
pub(crate) async fn post(platform: &Platform, hook: &Hook) -> Result<(), NotTaken> {
    let headers = headers(hook, platform.clock.now().timestamp())?;
    let request = OutboundRequest {
        method: Method::POST,
        url: hook.url.clone(),
        headers,
        body: Some(hook.body.clone().into()),
        deadline: DEADLINE,
    };
    match platform.egress.send(request).await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(NotTaken {
            why: format!("the server answered {}", answer.status.as_u16()),
            is_final: answer.status == StatusCode::GONE,
        }),
        Err(error) => Err(NotTaken { why: error.to_string(), is_final: error == EgressError::Refused }),
    }
}

fn headers(hook: &Hook, now: i64) -> Result<HeaderMap, NotTaken> {
    let unfit = |_| NotTaken { why: "its id does not fit into a header".to_owned(), is_final: true };
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if let Some(secret) = &hook.secret {
        let signed = signature(secret, &hook.id, now, &hook.body)
            .ok_or_else(|| NotTaken { why: "its secret is not base64".to_owned(), is_final: true })?;
        for (name, value) in
            [("webhook-id", hook.id.clone()), ("webhook-timestamp", now.to_string()), ("webhook-signature", signed)]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).map_err(unfit)?);
        }
    }
    Ok(headers)
}

/// `v1,` and the base64 of HMAC-SHA256 over id, time and body, with dots between them.
fn signature(secret: &str, id: &str, now: i64, body: &str) -> Option<String> {
    let key = BASE64.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{now}.{body}").as_bytes());
    Some(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_signed_as_the_standard_has_it() {
        // The example of the specification's libraries.
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(signature("whsec_!", "msg_1", 1, "{}"), None);
    }

    #[test]
    fn it_does_not_print() {
        let url = Url::parse("https://hooks.example/secret").expect("a URL");
        let hook = Hook { url, secret: Some("whsec_x".to_owned()), id: "msg_1".to_owned(), body: "{}".to_owned() };
        assert_eq!(format!("{hook:?}"), "Hook(msg_1)");
    }
}
