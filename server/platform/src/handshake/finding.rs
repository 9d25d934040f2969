//! What stopped a client, and what to do about it: the closed list, each from a failure that people have really had.

use super::{Attempt, Fault, Hop};

/// Silence after which a client is not on its way any more, in milliseconds.
const GONE_MS: i64 = 2 * 60 * 1000;

/// What stopped an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finding {
    /// It was sent to log in and never read where.
    DoesNotLogIn,
    /// It read about the endpoint and never about the authorization server.
    ServerNotSought,
    /// It knows the authorization server and neither registered nor asked.
    CannotRegister,
    /// It registered and never opened a browser.
    NoBrowser,
    /// The browser came, and nobody decided.
    NobodyDecided,
    /// The person agreed, and the code was never redeemed.
    CodeNotFetched,
    /// It has tokens and never called.
    NeverCalled,
    /// That hop failed, for that reason.
    Failed(Hop, Fault),
}

impl Finding {
    /// What stopped this attempt, as far as it can be told at that time (milliseconds since 1970).
    pub(super) fn of(attempt: &Attempt, now_ms: i64) -> Option<Self> {
        let last = attempt.steps.last()?;
        // A challenge is how every handshake begins; only what it says of a credential is a failure.
        if let Some(fault) = last.fault {
            return Some(Self::Failed(last.hop, fault));
        }
        if now_ms - last.at_ms < GONE_MS {
            return None;
        }
        match last.hop {
            Hop::Challenge => Some(Self::DoesNotLogIn),
            Hop::ResourceMetadata => Some(Self::ServerNotSought),
            Hop::ServerMetadata => Some(Self::CannotRegister),
            Hop::Registration => Some(Self::NoBrowser),
            Hop::Authorize => Some(Self::NobodyDecided),
            Hop::Consent => Some(Self::CodeNotFetched),
            Hop::Token if !attempt.arrived() => Some(Self::NeverCalled),
            Hop::Token | Hop::Refresh | Hop::Call => None,
        }
    }

    /// What happened, in one sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::DoesNotLogIn => "The client was told to log in and did not try.",
            Self::ServerNotSought => "The client read about the endpoint and did not go on to the authorization server.",
            Self::CannotRegister => "The client found the authorization server and did not register.",
            Self::NoBrowser => "The client registered and never opened a browser.",
            Self::NobodyDecided => "A browser came to the consent page and nobody decided.",
            Self::CodeNotFetched => "Access was granted, and the client never fetched its tokens.",
            Self::NeverCalled => "The client has its tokens and has never called.",
            Self::Failed(_, fault) => of_fault(fault).0,
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::DoesNotLogIn => {
                "It cannot do OAuth, or not for this server. Update it, look for a “log in” action in it, or give it an agent's key as bearer."
            }
            Self::ServerNotSought => {
                "Clients of before June 2025 look elsewhere, and some give up when the address in their settings differs from the one shown \
                 here, even by a slash. Copy the address from this page, update the client, or use a key."
            }
            Self::CannotRegister => {
                "It supports neither metadata documents nor dynamic registration. Add it by hand under Clients and enter the client id in its settings."
            }
            Self::NoBrowser => {
                "It runs where no browser can open, or it wants an answer to its registration that the standard does not have. Start its log-in \
                 by hand, copy the address it prints into a browser, or use a key."
            }
            Self::NobodyDecided => {
                "Open the page again from the client and choose Allow. If the page was closed, start the log-in again."
            }
            Self::CodeNotFetched => {
                "The browser could not bring the code back: the client had stopped listening, or runs on another computer than the browser. \
                 Start it again on the computer with the browser, or forward the port of its redirect address."
            }
            Self::NeverCalled => {
                "The handshake is complete: what stops it is in the client. Restart it, remove and add the server again, and see whether another \
                 version of it lists the tools."
            }
            Self::Failed(_, fault) => of_fault(fault).1,
        }
    }

    /// Names it, for scripts and tests.
    pub fn id(self) -> String {
        match self {
            Self::DoesNotLogIn => "does_not_log_in".to_owned(),
            Self::ServerNotSought => "server_not_sought".to_owned(),
            Self::CannotRegister => "cannot_register".to_owned(),
            Self::NoBrowser => "no_browser".to_owned(),
            Self::NobodyDecided => "nobody_decided".to_owned(),
            Self::CodeNotFetched => "code_not_fetched".to_owned(),
            Self::NeverCalled => "never_called".to_owned(),
            Self::Failed(_, fault) => {
                serde_json::to_value(fault).ok().and_then(|id| Some(id.as_str()?.to_owned())).unwrap_or_default()
            }
        }
    }
}

/// What happened, and what to do about it.
fn of_fault(fault: Fault) -> (&'static str, &'static str) {
    match fault {
        Fault::NotACredential => (
            "What the client sent is neither a key nor a token of this installation.",
            "Look for typing errors and for a key of another server: a key begins with tl_. An empty variable in the client's settings is a usual cause.",
        ),
        Fault::ExpiredOrRevoked => (
            "The client's key or token has expired or was revoked.",
            "Log in again from the client, or roll the key on the agent's page. A client that must log in daily does not use its refresh token: update it.",
        ),
        Fault::OtherResource => (
            "The client's token is for another endpoint.",
            "It keeps one log-in for several servers of the same host. Log out in the client and add this server under its own name.",
        ),
        Fault::NotProven => (
            "The client did not show the key or the certificate that its token is bound to.",
            "A token of type DPoP is sent with the scheme DPoP and a fresh proof for each request; one of a certificate over connections with that certificate. Look at the client's clock, and whether a proxy in front changes the address.",
        ),
        Fault::NotCertified => (
            "The client showed no certificate that counts in this tenant.",
            "Under Trust stand the authorities that are believed, and the names that act as agents. Behind a proxy, see http.client_certificate_header.",
        ),
        Fault::OtherOrigin => (
            "The client reached this installation under another address than its public one.",
            "Use the address shown on this page. If it is the same, the proxy in front does not pass on Host or X-Forwarded-Proto: see http.behind_proxy and public_url.",
        ),
        Fault::NoSuchMetadata => (
            "The client looked for metadata where there is none.",
            "It takes another address for the server than the one shown here, or a proxy in front drops /.well-known/. Copy the address; pass /.well-known/ on unchanged.",
        ),
        Fault::RegistrationInvalid => (
            "The client's registration was refused.",
            "The detail says what is wrong with it. Update the client, or add it by hand under Clients.",
        ),
        Fault::TooMany => (
            "Too many registrations or attempts came from there.",
            "Wait an hour. A client that registers at each start does not keep its registration: update it or add it by hand.",
        ),
        Fault::DocumentUnreachable => (
            "The client's metadata document could not be read.",
            "The address that is its client id does not answer us, for instance because of a bot check in front of it. Its maker has to open it; until then add the client by hand.",
        ),
        Fault::DocumentInvalid => (
            "The client's metadata document is not acceptable.",
            "The detail says why. Its maker has to correct it; until then add the client by hand.",
        ),
        Fault::UnknownClient => (
            "The client uses a registration that is not there any more.",
            "Unused registrations end after a day. Clear the client's stored log-in so that it registers again.",
        ),
        Fault::ClientNotAdmitted => (
            "This tenant does not let the client in.",
            "An admin can approve it under Clients, or change which clients are let in.",
        ),
        Fault::ClientAuthentication => (
            "The client did not prove who it is.",
            "Enter its secret or key again. A secret is shown once; make a new one under Clients.",
        ),
        Fault::RedirectMismatch => (
            "The client wants to be answered at an address that it did not register.",
            "Addresses are compared letter by letter; only the port of a loopback address may differ. Correct the registration, or clear the client's stored one.",
        ),
        Fault::NoChallenge => {
            ("The client does not use PKCE with S256.", "There is no way around it. Update the client, or use a key.")
        }
        Fault::UnknownResource => (
            "The client asked for a token for an address that is not an endpoint here.",
            "Copy the address from this page, without a slash at its end.",
        ),
        Fault::NoScope => (
            "None of the scopes that the client asked for can be given.",
            "Raise the agent's ceiling, or correct the scopes in the client's settings.",
        ),
        Fault::Denied => ("The person chose Deny.", "Start the log-in again if that was a mistake."),
        Fault::NotAllowed => (
            "The person may not connect clients in this tenant.",
            "An admin can change the person's role under Members, or connect the client.",
        ),
        Fault::CodeExpired => (
            "The client fetched its tokens too late.",
            "A code is good for one minute. Start the log-in again; a clock that is wrong or a slow proxy is a usual cause.",
        ),
        Fault::CodeUsed => (
            "The client used its code twice, so that everything it had was revoked.",
            "It may send its request twice after a time-out. Log in again; if it happens again, somebody else may have read the code.",
        ),
        Fault::VerifierMismatch => (
            "The client's PKCE verifier does not belong to the code.",
            "Two log-ins of the client ran into each other. Close its other windows and start again.",
        ),
        Fault::RefreshReused => (
            "An old refresh token was used again, so that the log-in was revoked.",
            "Two copies of the client share one stored log-in, or it was restored from a backup. Log in again, each copy by itself.",
        ),
        Fault::GrantEnded => (
            "The client's access was revoked or has ended.",
            "Log in again from the client. The agent's page shows its grants and how they ended.",
        ),
        Fault::ClientUnfit => (
            "The client may not ask for tokens in this way.",
            "The detail says why. Under Clients stand how it proves itself and the agent it acts as.",
        ),
        Fault::AgentStopped => (
            "The agent that the client acts as is suspended or removed.",
            "Resume it under Agents, or choose another one for the client.",
        ),
        Fault::AssertionRefused => (
            "What the client brought in exchange for a token was refused.",
            "The detail says why. Identity providers, and the clients they may speak of, are set under Trust.",
        ),
        Fault::InsufficientScope => (
            "The client's token lacks a scope, and it did not ask for it.",
            "Log in again from the client and choose more scopes on the consent page, or raise the agent's ceiling.",
        ),
        Fault::Malformed => ("The client's request is malformed.", "The detail says how. Update the client."),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Step, attempts},
        *,
    };

    const NOW: i64 = 1_000_000_000;

    /// A step so many seconds ago.
    fn step(ago_s: i64, place: &str, hop: Hop, fault: Option<Fault>) -> Step {
        let at_ms = NOW - ago_s * 1000;
        let (place, program) = (place.to_owned(), "client/1".to_owned());
        Step { at_ms, hop, fault, place, program, client_id: None, grant: None, detail: None, times: 1 }
    }

    fn way(hops: &[Hop], fault: Option<Fault>) -> Option<Finding> {
        let last = hops.len() - 1;
        let ago = |at: usize| 600 - i64::try_from(at).unwrap();
        let steps = hops.iter().enumerate().map(|(at, hop)| step(ago(at), "here", *hop, fault.filter(|_| at == last))).collect();
        let found = attempts(steps, NOW);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].finding
    }

    #[test]
    fn silence_is_named_by_the_hop_it_follows() {
        use Hop as H;
        let hops =
            [H::Challenge, H::ResourceMetadata, H::ServerMetadata, H::Registration, H::Authorize, H::Consent, H::Token, H::Call];
        let found: Vec<_> = (1..=hops.len()).map(|count| way(&hops[..count], None)).collect();
        let expected = [
            Some(Finding::DoesNotLogIn),
            Some(Finding::ServerNotSought),
            Some(Finding::CannotRegister),
            Some(Finding::NoBrowser),
            Some(Finding::NobodyDecided),
            Some(Finding::CodeNotFetched),
            Some(Finding::NeverCalled),
            None,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_failure_is_named_at_once_and_forgotten_when_it_is_overcome() {
        let failed = way(&[Hop::Challenge, Hop::Token], Some(Fault::VerifierMismatch));
        assert_eq!(failed, Some(Finding::Failed(Hop::Token, Fault::VerifierMismatch)));
        let steps = vec![
            step(30, "here", Hop::Token, Some(Fault::CodeExpired)),
            step(20, "here", Hop::Token, None),
            step(10, "here", Hop::Call, None),
        ];
        let found = attempts(steps, NOW);
        assert!(found[0].arrived() && found[0].finding.is_none(), "{found:?}");
    }

    #[test]
    fn a_client_on_its_way_is_left_alone() {
        assert_eq!(attempts(vec![step(5, "here", Hop::Registration, None)], NOW)[0].finding, None);
    }

    #[test]
    fn the_browser_and_the_client_are_one_attempt_and_two_clients_are_two() {
        let of = |step: Step, client: &str, grant: Option<&str>| Step {
            client_id: Some(client.to_owned()),
            grant: grant.map(str::to_owned),
            ..step
        };
        let steps = vec![
            step(50, "cloud", Hop::Challenge, None),
            of(step(49, "cloud", Hop::Registration, None), "one", None),
            of(step(40, "desk", Hop::Authorize, None), "one", Some("g")),
            of(step(30, "cloud", Hop::Token, None), "one", Some("g")),
            of(step(29, "cloud", Hop::Registration, None), "two", None),
        ];
        let found = attempts(steps, NOW);
        let counts: Vec<_> = found.iter().map(|attempt| (attempt.client_id.as_deref().unwrap(), attempt.steps.len())).collect();
        assert_eq!(counts, [("two", 1), ("one", 4)]);
    }

    #[test]
    fn every_finding_has_its_own_words() {
        use Fault as F;
        let faults =
            [F::NotACredential, F::OtherResource, F::OtherOrigin, F::DocumentUnreachable, F::RefreshReused, F::Malformed];
        let all = faults
            .map(|fault| Finding::Failed(Hop::Call, fault))
            .into_iter()
            .chain([Finding::DoesNotLogIn, Finding::NeverCalled]);
        let titles: std::collections::HashSet<_> = all.map(|finding| (finding.title(), finding.remedy(), finding.id())).collect();
        assert_eq!(titles.len(), 8);
    }
}
