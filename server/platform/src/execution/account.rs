//! Tools that use their caller's own account: the token of that person and of nobody else. A server that refuses it gets a newer one once; if
//! it refuses that too, the person has to connect again.

use serde_json::{Map, Value};

use super::{
    Answer, CONNECTION_NEEDED, ConnectFirst, Run, http,
    operation::{self, Proofs},
    proxy,
};
use crate::{
    Platform,
    call::Outcome,
    catalog::{
        Executor,
        snapshot::{Current, LoadedSource, LoadedTool},
    },
    connections::{self, NoToken, Provider, Token},
    dialogue::Retry,
    egress::OutboundAnswer,
    ids::UserId,
    secret::{Plaintext, Rotating},
};

/// Whose account a call uses, and at which source.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Everything.
    pub platform: &'a Platform,
    /// The tenant.
    pub snapshot: &'a Current,
    /// The source.
    pub source: &'a LoadedSource,
    /// Whom people have their accounts with.
    pub provider: &'a Provider,
    /// The person. `None`: the caller acts for nobody.
    pub user: Option<UserId>,
}

impl<'a> Account<'a> {
    /// `None`: at that source everybody uses the tenant's credential.
    pub fn of(platform: &'a Platform, snapshot: &'a Current, source: &'a LoadedSource, user: Option<UserId>) -> Option<Self> {
        let provider = source.provider.as_ref()?;
        Some(Self { platform, snapshot, source, provider, user })
    }

    /// The person's token.
    pub(super) async fn token(&self, retry: Option<&Retry>) -> Result<Token, Run> {
        let moment = self.snapshot.moment();
        let token = connections::token(self.platform, self.snapshot.tenant, &moment, self.provider, self.user()?).await;
        token.map_err(|why| self.without(why, retry))
    }

    /// A newer one, after the server has refused that.
    pub(super) async fn newer(&self, refused: &Token, retry: Option<&Retry>) -> Result<Token, Run> {
        let (moment, user) = (self.snapshot.moment(), self.user()?);
        let token = connections::renew(self.platform, self.snapshot.tenant, &moment, self.provider, user, refused).await;
        token.map_err(|why| self.without(why, retry))
    }

    /// The server has refused that one too.
    pub(super) async fn give_up(&self, refused: &Token, retry: Option<&Retry>) -> Run {
        let user = match self.user() {
            Ok(user) => user,
            Err(run) => return run,
        };
        match connections::give_up(self.platform, self.snapshot.tenant, self.provider, user, refused).await {
            Ok(()) => self.without(NoToken::Broken, retry),
            Err(why) => self.without(why, retry),
        }
    }

    fn user(&self) -> Result<UserId, Run> {
        self.user.ok_or_else(|| {
            let text = "Each person uses their own account at this tool's server, and this credential acts for no person. Connect with \
                        OAuth, so that somebody logs in, instead of a key.";
            Run::failed(Outcome::ToolError, "connection_needs_person", text)
        })
    }

    fn without(&self, why: NoToken, retry: Option<&Retry>) -> Run {
        let (name, host) = (&self.source.source.name, self.provider.host());
        let message = match why {
            NoToken::NotConnected => format!("{name} needs your own account at {host}, and you have not connected it yet."),
            NoToken::Broken => format!("Your account at {host} does not let {name} in any more. Connect it again."),
            NoToken::Away(why) => {
                let text =
                    format!("Your account's access to {name} has run out, and cannot be refreshed now: {why}. Try again later.");
                return Run::failed(Outcome::UpstreamError, "connection_unavailable", text);
            }
            NoToken::Failed(error) => {
                tracing::error!(source.id = %self.provider.source, error = &error as &dyn std::error::Error, "a connection cannot be read");
                let text = "Your connected account cannot be read at the moment. Try again later.";
                return Run::failed(Outcome::Unknown, "connection_unavailable", text);
            }
        };
        let url = connections::connect_url(self.platform, &self.snapshot.slug, self.provider.source);
        let answer = Answer::Connect(Box::new(ConnectFirst { message, url, retry: retry.cloned() }));
        Run { outcome: Outcome::ToolError, error: Some(CONNECTION_NEEDED.into()), answer, reported_micro: None, status: None }
    }
}

/// Runs an HTTP tool, hand-made or imported, with the account of its caller.
pub(super) async fn run_http(
    account: Account<'_>,
    tool: &LoadedTool,
    arguments: &Map<String, Value>,
    secret: Option<&Rotating>,
) -> Run {
    run_http_twice(account, tool, arguments, secret).await.unwrap_or_else(|run| run)
}

async fn run_http_twice(
    account: Account<'_>,
    tool: &LoadedTool,
    arguments: &Map<String, Value>,
    secret: Option<&Rotating>,
) -> Result<Run, Run> {
    let platform = account.platform;
    let first = account.token(None).await?;
    let answer = exchange(platform, tool, arguments, secret, &first.secret).await?;
    if answer.status != reqwest::StatusCode::UNAUTHORIZED {
        return Ok(super::answer::read(tool, &answer));
    }
    let second = account.newer(&first, None).await?;
    let answer = exchange(platform, tool, arguments, secret, &second.secret).await?;
    if answer.status != reqwest::StatusCode::UNAUTHORIZED {
        return Ok(super::answer::read(tool, &answer));
    }
    Err(account.give_up(&second, None).await)
}

async fn exchange(
    platform: &Platform,
    tool: &LoadedTool,
    arguments: &Map<String, Value>,
    secret: Option<&Rotating>,
    token: &Plaintext,
) -> Result<OutboundAnswer, Run> {
    match &tool.tool.version.executor {
        Executor::Http(http) => http::exchange(&platform.egress, http, arguments, secret, Some(token)).await,
        Executor::Operation(of) => {
            let proofs = Proofs { secrets: secret, tokens: &platform.client_tokens, person: Some(token) };
            operation::exchange(&platform.egress, tool, of, arguments, proofs).await
        }
        Executor::Builtin { .. } | Executor::Function(_) | Executor::Upstream { .. } => Err(proxy::unavailable()),
    }
}
