use super::variables::Variables;
use crate::token::{OAuthTokens, RemoteKeys};

const ISSUER: &str = "INTERNAL_OAUTH_ISSUER";
const AUDIENCE: &str = "INTERNAL_OAUTH_AUDIENCE";
const CLIENTS: &str = "INTERNAL_OAUTH_CLIENT_IDS";

/// The keys that verify access tokens, if they are published.
pub(super) fn access_token_keys(variables: &mut Variables<'_>) -> Option<RemoteKeys> {
    const NAME: &str = "KEY0_JWKS_URL";
    let url = variables.text(NAME)?;
    variables.keep(RemoteKeys::new(NAME, url.trim()))
}

/// The tokens of the strategy `oauth`.
pub(super) fn oauth(variables: &mut Variables<'_>) -> Option<OAuthTokens> {
    let Some(issuer) = variables.get(ISSUER) else {
        variables.missing(ISSUER, "the strategy oauth takes its tokens alone");
        return None;
    };
    let keys = match variables.get("INTERNAL_OAUTH_JWKS_URL") {
        Some(url) => RemoteKeys::new("INTERNAL_OAUTH_JWKS_URL", url.trim()),
        None => RemoteKeys::of_issuer(ISSUER, issuer.trim()),
    };
    let keys = variables.keep(keys);
    let audience = variables.get(AUDIENCE);
    let list = variables.get(CLIENTS).unwrap_or_default();
    let clients: Vec<_> =
        list.split([',', '\n']).map(str::trim).filter(|client| !client.is_empty()).collect();
    if !list.is_empty() && clients.is_empty() {
        variables.invalid(CLIENTS, "it is given and holds none");
        return None;
    }
    if audience.is_none() && clients.is_empty() {
        let why = format!("without it or {CLIENTS} every client of the issuer could call");
        variables.missing(AUDIENCE, &why);
        return None;
    }
    let mut tokens = OAuthTokens::new(issuer.trim(), keys?);
    if let Some(audience) = audience {
        tokens = tokens.audience(audience.trim());
    }
    for client in clients {
        tokens = tokens.client_id(client);
    }
    if let Some(scope) = variables.get("INTERNAL_OAUTH_SCOPE") {
        tokens = tokens.scope(scope.trim());
    }
    match tokens.build() {
        Ok(tokens) => Some(tokens),
        Err(error) => {
            variables.faults.extend(error.into_faults());
            None
        }
    }
}
