use serde::Serialize;

use crate::error::{ConfigFault, rejection::Purchase};

/// Where what a route sells can be bought: the seller's shop at Key0.
///
/// A refusal that a purchase would cure then names the way there: `Link: <…/discover>;
/// rel="payment"`, and in its body `offers`, as far as the policy that refused knows what to buy.
///
/// ```
/// use key0_auth::{AccessTokens, Policy, RejectionKind, Validator, auth::Seller};
///
/// let validator = Validator::builder()
///     .access_tokens(AccessTokens::hs256("a secret that Key0 shares with this backend")?)
///     .seller(Seller::at("https://shop.example.com")?)
///     .build()?;
/// let refusal = validator.responder().respond(&RejectionKind::MissingCredential.into());
/// let link = ("link", "<https://shop.example.com/discover>; rel=\"payment\"".to_owned());
/// assert!(refusal.headers.contains(&link));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Seller {
    /// Without a slash at its end.
    url: Box<str>,
}

/// One way to buy what was refused.
#[derive(Debug, Serialize)]
pub(super) struct Offer<'a> {
    #[serde(flatten)]
    wanted: Wanted<'a>,
    request: Request<'a>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    method: &'static str,
    url: String,
    body: Wanted<'a>,
}

impl Seller {
    /// The shop at this address, which is an `http` or `https` URL without query and fragment.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::Invalid`] for any other text.
    pub fn at(url: &str) -> Result<Self, ConfigFault> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"<>\"\\^`{|}?#@".contains(&byte);
        match host {
            Some(host) if !host.is_empty() && url.bytes().all(legal) => {
                Ok(Self { url: url.trim_end_matches('/').into() })
            }
            _ => {
                let reason = "it is an http or https address without query, fragment and user";
                Err(ConfigFault::invalid("the seller's url", reason))
            }
        }
    }

    /// The value of the `Link` header (RFC 8288).
    pub(super) fn link(&self) -> String {
        format!("<{}/discover>; rel=\"payment\"", self.url)
    }

    pub(super) fn offers<'a>(&self, purchases: &'a [Purchase]) -> Vec<Offer<'a>> {
        let offers = purchases.iter().map(|purchase| {
            let wanted = Wanted {
                plan_id: purchase.plan_id.as_deref(),
                resource_id: purchase.resource_id.as_deref(),
            };
            let url = format!("{}/x402/access", self.url);
            Offer { wanted, request: Request { method: "POST", url, body: wanted } }
        });
        offers.collect()
    }
}
