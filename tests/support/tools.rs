//! Definitions of tools, short enough for a test.

use trunkline_platform::{
    catalog::{
        AnswerShape, Builtin, Executor, HttpMethod, HttpTool, NewVersion, Parameter, ParameterType, Place, Price, SecretChange,
        UrlTemplate,
    },
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

/// Gives its text back.
pub(crate) fn echo() -> NewVersion {
    builtin(Builtin::Echo)
}

/// Tells the time.
pub(crate) fn time() -> NewVersion {
    builtin(Builtin::Time)
}

/// A tool that we bring along.
pub(crate) fn builtin(name: Builtin) -> NewVersion {
    NewVersion {
        title: name.as_str().to_owned(),
        description: "A tool of the suite.".to_owned(),
        effect: Effect::Read,
        executor: Executor::Builtin { name },
        secret: SecretChange::Remove,
        price: Price::default(),
        limits: None,
    }
}

/// A GET without parameters.
pub(crate) fn get(url: &str) -> NewVersion {
    http(HttpMethod::Get, url, &[])
}

/// A request with string parameters, optional unless they go into the path.
pub(crate) fn http(method: HttpMethod, url: &str, parameters: &[(&str, Place)]) -> NewVersion {
    let parameter = |&(name, place): &(&str, Place)| Parameter {
        name: name.to_owned(),
        place,
        kind: ParameterType::String,
        required: place == Place::Path,
        description: String::new(),
        default: None,
    };
    let http = HttpTool {
        method,
        url: UrlTemplate::parse(url).expect("a template"),
        parameters: parameters.iter().map(parameter).collect(),
        secret_header: None,
        timeout_ms: 5_000,
        answer: AnswerShape::default(),
    };
    NewVersion { executor: Executor::Http(http), ..echo() }
}

/// The same with another effect.
pub(crate) fn with_effect(effect: Effect, tool: NewVersion) -> NewVersion {
    NewVersion { effect, ..tool }
}

/// The same with a deadline.
pub(crate) fn within_ms(timeout_ms: u32, mut tool: NewVersion) -> NewVersion {
    if let Executor::Http(http) = &mut tool.executor {
        http.timeout_ms = timeout_ms;
    }
    tool
}

/// The same with a sealed secret in that header.
pub(crate) fn with_secret(header: &str, secret: &str, mut tool: NewVersion) -> NewVersion {
    if let Executor::Http(http) = &mut tool.executor {
        http.secret_header = Some(header.to_owned());
    }
    NewVersion { secret: SecretChange::Set(Plaintext::new(secret.to_owned())), ..tool }
}
