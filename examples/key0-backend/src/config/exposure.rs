use std::net::SocketAddr;

use key0_auth::error::ConfigFault;

use super::{
    IssueTokenAuth, Strategies,
    variables::{Variables, invalid},
};

/// The doors that stand open by configuration, and the listeners they are in.
pub(super) struct Exposure {
    pub(super) public: Option<SocketAddr>,
    pub(super) internal: Option<SocketAddr>,
    pub(super) open: Vec<Exposed>,
}

/// The variable that opens it, who may come in, and on which addresses.
pub(super) struct Exposed {
    name: &'static str,
    what: &'static str,
    addresses: Vec<SocketAddr>,
}

impl Exposure {
    pub(super) fn note(
        &mut self,
        strategies: &Strategies,
        issue_token_auth: IssueTokenAuth,
        key_checks: bool,
    ) {
        let internal: Vec<_> = self.internal.or(self.public).into_iter().collect();
        let all: Vec<_> = self.public.into_iter().chain(self.internal).collect();
        let mut open = |name, what, addresses| self.open.push(Exposed { name, what, addresses });
        if strategies.none {
            let what = "none lets everybody call the internal endpoints";
            open("INTERNAL_AUTH_STRATEGY", what, internal.clone());
        }
        if issue_token_auth == IssueTokenAuth::Body {
            open("ISSUE_TOKEN_AUTH", "body lets everybody have a key issued", internal);
        }
        if !key_checks {
            let what = "everybody can make and revoke keys, and use /v1";
            open("DANGEROUS_DISABLE_KEY_CHECKS", what, all);
        }
    }

    /// Refuses them on an address that others can reach, unless that is asked for by name.
    pub(super) fn guard(
        self,
        variables: &Variables,
        warnings: &mut Vec<String>,
        faults: &mut Vec<ConfigFault>,
    ) {
        let allowed = variables.flag("DANGEROUS_ALLOW_PUBLIC", faults);
        for Exposed { name, what, addresses } in self.open {
            warnings.push(format!("{name}: {what}"));
            let reachable = addresses.iter().find(|address| !address.ip().is_loopback());
            if let (Some(address), false) = (reachable, allowed) {
                let why = format!(
                    "{what}, and {} is not a loopback address \
                     (DANGEROUS_ALLOW_PUBLIC=true allows it)",
                    address.ip()
                );
                faults.push(invalid(name, &why));
            }
        }
        if allowed {
            warnings
                .push("DANGEROUS_ALLOW_PUBLIC: open doors are allowed on public addresses".into());
        }
    }
}
