use super::variables::{Variables, renamed};
use crate::{auth::Gateway, domain::SecretSet};

const SECRET: &str = "GATEWAY_SECRET";
const ROUTES: &str = "GATEWAY_ROUTES";
const PAYMENT_HEADERS: &str = "GATEWAY_PAYMENT_HEADERS";

/// What Key0's gateway opens, if it has a secret.
pub(super) fn gateway(
    variables: &mut Variables<'_>,
    secrets: Option<&SecretSet>,
) -> Option<Gateway> {
    let payment_headers = variables.get(PAYMENT_HEADERS);
    let payment_headers = payment_headers.as_deref().map_or("ignored", str::trim);
    if !["ignored", "trusted"].contains(&payment_headers) {
        variables.invalid(PAYMENT_HEADERS, "it is ignored or trusted");
    }
    let routes = variables.get(ROUTES);
    if !variables.is_given(SECRET) {
        for name in [ROUTES, PAYMENT_HEADERS] {
            if variables.get(name).is_some() {
                variables.missing(SECRET, &format!("{name} is about those who know it"));
            }
        }
        return None;
    }
    let Some(routes) = routes else {
        variables.missing(ROUTES, &format!("{SECRET} would open nothing"));
        return None;
    };
    let mut gateway = Gateway::builder(secrets?.clone()).routes(&routes);
    if payment_headers == "trusted" {
        gateway = gateway.trust_payment_headers();
    }
    match gateway.build() {
        Ok(gateway) => Some(gateway),
        Err(error) => {
            let faults = error.into_faults().into_iter();
            variables.faults.extend(faults.map(|fault| renamed(fault, ROUTES)));
            None
        }
    }
}
