use key0_auth::{
    error::ConfigFault,
    token::{OAuthTokens, RemoteKeys},
};

use super::variables::{Variables, missing};

const ISSUER: &str = "INTERNAL_OAUTH_ISSUER";
const SET: &str = "INTERNAL_OAUTH_JWKS_URL";
const AUDIENCE: &str = "INTERNAL_OAUTH_AUDIENCE";
const CLIENTS: &str = "INTERNAL_OAUTH_CLIENT_IDS";

/// The keys behind KEY0_JWKS_URL.
pub(super) fn access_token_keys(
    variables: &Variables,
    faults: &mut Vec<ConfigFault>,
) -> Option<RemoteKeys> {
    const NAME: &str = "KEY0_JWKS_URL";
    let url = variables.secret_text(NAME, faults)?;
    RemoteKeys::new(NAME, url.trim()).map_err(|fault| faults.push(fault)).ok()
}

/// The identity provider of the strategy oauth, and its keys.
pub(super) fn oauth(
    variables: &Variables,
    faults: &mut Vec<ConfigFault>,
) -> Option<(OAuthTokens, RemoteKeys)> {
    let Some(issuer) = variables.get(ISSUER) else {
        faults.push(missing(ISSUER, "the strategy oauth takes its tokens alone"));
        return None;
    };
    let keys = match variables.get(SET) {
        Some(url) => RemoteKeys::new(SET, url),
        None => RemoteKeys::of_issuer(ISSUER, issuer),
    };
    let keys = keys.map_err(|fault| faults.push(fault)).ok();
    let clients = variables.get(CLIENTS).unwrap_or_default().split(',').map(str::trim);
    let clients: Vec<_> = clients.filter(|client| !client.is_empty()).collect();
    if variables.get(AUDIENCE).is_none() && clients.is_empty() {
        let why = format!("without it or {CLIENTS} every client of the issuer could call");
        faults.push(missing(AUDIENCE, &why));
        return None;
    }
    let keys = keys?;
    let mut tokens = OAuthTokens::new(issuer, keys.clone());
    if let Some(audience) = variables.get(AUDIENCE) {
        tokens = tokens.audience(audience);
    }
    for client in clients {
        tokens = tokens.client_id(client);
    }
    if let Some(scope) = variables.get("INTERNAL_OAUTH_SCOPE") {
        tokens = tokens.scope(scope);
    }
    let tokens = tokens.build().map_err(|error| faults.extend(error.into_faults())).ok()?;
    Some((tokens, keys))
}
