use key0_auth::{
    api::{CallerField, VerifyRules},
    auth::{Gateway, Seller},
    domain::SecretSet,
    error::{ConfigError, ConfigFault},
};

use super::variables::{Variables, invalid, missing};

const SECRET: &str = "GATEWAY_SECRET";
const ROUTES: &str = "GATEWAY_ROUTES";
const PAYMENT_HEADERS: &str = "GATEWAY_PAYMENT_HEADERS";
const VERIFY_SECRET: &str = "VERIFY_SECRET";
const VERIFY_ROUTES: &str = "VERIFY_ROUTES";
const VERIFY_HEADERS: &str = "VERIFY_HEADERS";

/// What Key0's gateway opens, where it is configured.
pub(super) fn gateway(
    variables: &Variables,
    secrets: Option<&SecretSet>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Gateway> {
    let trusted = match variables.get(PAYMENT_HEADERS) {
        None | Some("ignored") => false,
        Some("trusted") => true,
        Some(_) => {
            faults.push(invalid(PAYMENT_HEADERS, "it is ignored or trusted"));
            false
        }
    };
    let routes = variables.get(ROUTES);
    if !variables.is_given(SECRET) {
        for name in [ROUTES, PAYMENT_HEADERS] {
            if variables.get(name).is_some() {
                faults.push(missing(SECRET, &format!("{name} is about those who know it")));
            }
        }
        return None;
    }
    let Some(routes) = routes else {
        faults.push(missing(ROUTES, &format!("{SECRET} would open nothing")));
        return None;
    };
    let mut builder = Gateway::builder(secrets?.clone()).routes(routes);
    if trusted {
        builder = builder.trust_payment_headers();
    }
    builder.build().map_err(|error| faults.extend(named(ROUTES, error))).ok()
}

/// What proxies are asked for and told at `/verify`. None where nobody may ask.
pub(super) fn verify(
    variables: &Variables,
    secrets: Option<&SecretSet>,
    has_internal_listener: bool,
    faults: &mut Vec<ConfigFault>,
) -> Option<VerifyRules> {
    let settings = [VERIFY_ROUTES, VERIFY_HEADERS];
    if !has_internal_listener && !variables.is_given(VERIFY_SECRET) {
        for name in settings.into_iter().filter(|name| variables.get(name).is_some()) {
            let why = format!("{name} is for proxies, which need it or INTERNAL_PORT");
            faults.push(missing(VERIFY_SECRET, &why));
        }
        return None;
    }
    let mut rules = VerifyRules::builder();
    if let Some(secrets) = secrets {
        rules = rules.secret(secrets.clone());
    }
    for route in items(variables.get(VERIFY_ROUTES).unwrap_or_default()) {
        match route.rsplit_once(char::is_whitespace) {
            Some((template, asked)) => rules = rules.route(template.trim(), asked),
            None => {
                let what = "it is a list such as GET /api/photos/{id} resource={id}";
                faults.push(invalid(VERIFY_ROUTES, what));
            }
        }
    }
    for item in items(variables.get(VERIFY_HEADERS).unwrap_or_default()) {
        let pair = item.split_once('=');
        match pair.and_then(|(field, name)| Some((caller_field(field.trim())?, name.trim()))) {
            Some((field, name)) => rules = rules.header(field, name),
            None => {
                let what = "it is a list such as caller-id=X-User, of the fields caller-kind, \
                                caller-id, resource-id, plan-id and expires-at";
                faults.push(invalid(VERIFY_HEADERS, what));
            }
        }
    }
    rules.build().map_err(|error| faults.extend(named(VERIFY_ROUTES, error))).ok()
}

fn caller_field(name: &str) -> Option<CallerField> {
    Some(match name {
        "caller-kind" => CallerField::Kind,
        "caller-id" => CallerField::Id,
        "resource-id" => CallerField::ResourceId,
        "plan-id" => CallerField::PlanId,
        "expires-at" => CallerField::ExpiresAt,
        _ => return None,
    })
}

/// The faults of a part of the library, by the name of the variable that they come from.
fn named(name: &str, error: ConfigError) -> impl Iterator<Item = ConfigFault> {
    error.into_faults().into_iter().map(move |fault| match fault {
        ConfigFault::Invalid { reason, .. } => invalid(name, &reason),
        ConfigFault::Missing { why, .. } => missing(name, &why),
        fault => fault,
    })
}

/// What stands between commas or line ends.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty())
}

/// Where Key0 sells what a refusal asks for.
pub(super) fn seller(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Option<Seller> {
    let seller = Seller::at(variables.get("KEY0_URL")?);
    let told = "it is an http or https address without query, fragment and user";
    seller.map_err(|_| faults.push(invalid("KEY0_URL", told))).ok()
}
