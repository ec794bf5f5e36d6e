use key0_auth::{
    error::ConfigFault,
    token::{OAuthTokens, RemoteKeys},
};

use super::variables::{Variables, invalid, missing};

const ISSUER: &str = "INTERNAL_OAUTH_ISSUER";
const SET: &str = "INTERNAL_OAUTH_JWKS_URL";
const AUDIENCE: &str = "INTERNAL_OAUTH_AUDIENCE";
const CLIENTS: &str = "INTERNAL_OAUTH_CLIENT_IDS";

/// The keys of identity providers. Those that were known before go on where their settings are the
/// same: a provider may not answer at the moment in which a configuration is read again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Providers {
    before: Vec<RemoteKeys>,
    now: Vec<RemoteKeys>,
}

impl Providers {
    /// None yet, but those of another configuration are known.
    pub(super) fn after(before: &Self) -> Self {
        Self { before: before.now.clone(), now: Vec::new() }
    }

    /// All are read: those that are no longer wanted can go.
    pub(super) fn finish(self) -> Self {
        Self { before: Vec::new(), ..self }
    }

    /// Starts to fetch what is not known.
    pub(crate) fn start(&self) {
        self.now.iter().for_each(RemoteKeys::start);
    }

    fn add(&mut self, new: RemoteKeys) -> RemoteKeys {
        let known = self.before.iter().find(|known| known.is_same_source(&new));
        let keys = known.cloned().unwrap_or(new);
        self.now.push(keys.clone());
        keys
    }
}

/// The keys behind KEY0_JWKS_URL.
pub(super) fn access_token_keys(
    variables: &Variables,
    providers: &mut Providers,
    faults: &mut Vec<ConfigFault>,
) -> Option<RemoteKeys> {
    const NAME: &str = "KEY0_JWKS_URL";
    let url = variables.exact_text(NAME, faults)?;
    let keys = RemoteKeys::new(NAME, url.trim()).map_err(|fault| faults.push(fault)).ok()?;
    Some(providers.add(keys))
}

/// The tokens of the strategy oauth.
pub(super) fn oauth(
    variables: &Variables,
    providers: &mut Providers,
    faults: &mut Vec<ConfigFault>,
) -> Option<OAuthTokens> {
    let Some(issuer) = variables.get(ISSUER) else {
        faults.push(missing(ISSUER, "the strategy oauth takes its tokens alone"));
        return None;
    };
    let keys = match variables.get(SET) {
        Some(url) => RemoteKeys::new(SET, url),
        None => RemoteKeys::of_issuer(ISSUER, issuer),
    };
    let keys = keys.map_err(|fault| faults.push(fault)).ok();
    let list = variables.get(CLIENTS).unwrap_or_default();
    let clients = list.split([',', '\n']).map(str::trim);
    let clients: Vec<_> = clients.filter(|client| !client.is_empty()).collect();
    if !list.is_empty() && clients.is_empty() {
        faults.push(invalid(CLIENTS, "it is given and holds none"));
        return None;
    }
    if variables.get(AUDIENCE).is_none() && clients.is_empty() {
        let why = format!("without it or {CLIENTS} every client of the issuer could call");
        faults.push(missing(AUDIENCE, &why));
        return None;
    }
    let mut tokens = OAuthTokens::new(issuer, providers.add(keys?));
    if let Some(audience) = variables.get(AUDIENCE) {
        tokens = tokens.audience(audience);
    }
    for client in clients {
        tokens = tokens.client_id(client);
    }
    if let Some(scope) = variables.get("INTERNAL_OAUTH_SCOPE") {
        tokens = tokens.scope(scope);
    }
    tokens.build().map_err(|error| faults.extend(error.into_faults())).ok()
}
