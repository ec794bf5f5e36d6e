use crate::{
    Rejection, RejectionKind,
    domain::{Credential, CredentialFault},
};

/// The scheme of bearer tokens (RFC 6750, section 2.1).
const BEARER: &[u8; 6] = b"Bearer";
/// The scheme of API keys, which our own challenge names. As long as the other.
const API_KEY: &[u8; 6] = b"ApiKey";

/// Where a credential can stand in a request.
///
/// ```
/// use key0_auth::{AccessTokens, Validator, auth::Source};
///
/// // Nothing but bearer tokens: an `X-Api-Key` is not looked at.
/// let validator = Validator::builder()
///     .access_tokens(AccessTokens::hs256("a secret that Key0 shares with this backend")?)
///     .sources([Source::Bearer])
///     .build()?;
/// # let _ = validator;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// `Authorization: Bearer …` (RFC 6750, section 2.1): an access token, an API key, or a
    /// credential of the application's own.
    Bearer,
    /// `Authorization: ApiKey …`: always an API key.
    ApiKeyScheme,
    /// `X-Api-Key: …`: always an API key.
    ApiKeyHeader,
}

/// The one credential of a request, and where it stood.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Presented<'a> {
    /// As a bearer token.
    Bearer(Credential<'a>),
    /// In the header for API keys.
    ApiKey(Credential<'a>),
}

impl<'a> Presented<'a> {
    /// Finds the credential in the values of the two headers. `sources` says which are looked at,
    /// and which comes first where both hold the same.
    pub(super) fn read(
        sources: &[Source],
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, Rejection> {
        let (mut bearer, mut scheme_key) = (None, None);
        let [by_bearer, by_scheme] =
            [Source::Bearer, Source::ApiKeyScheme].map(|source| sources.contains(&source));
        if by_bearer || by_scheme {
            let header = single(authorization)?;
            bearer = header.filter(|_| by_bearer).and_then(bearer_value);
            if bearer.is_none() && by_scheme {
                scheme_key = header.and_then(|header| scheme_value(header, API_KEY));
            }
        }
        let mut key = None;
        if sources.contains(&Source::ApiKeyHeader) {
            key = single(api_key)?.map(trim).filter(|value| !value.is_empty());
        }
        if let (Some(by_scheme), Some(by_header)) = (scheme_key, key)
            && by_scheme != by_header
        {
            return Err(two_credentials());
        }
        let key = scheme_key.or(key);
        match (bearer, key) {
            (None, None) => Err(RejectionKind::MissingCredential.into()),
            (Some(bearer), Some(key)) if bearer != key => Err(two_credentials()),
            (Some(bearer), None) => Self::bearer(bearer),
            (None, Some(key)) => Self::api_key(key),
            (Some(value), Some(_)) => {
                let first = sources.iter().find(|source| **source != Source::ApiKeyScheme);
                match first {
                    Some(Source::Bearer) => Self::bearer(value),
                    _ => Self::api_key(value),
                }
            }
        }
    }

    pub(super) fn credential(&self) -> Credential<'a> {
        match self {
            Self::Bearer(credential) | Self::ApiKey(credential) => *credential,
        }
    }

    fn bearer(value: &'a [u8]) -> Result<Self, Rejection> {
        Ok(Self::Bearer(Credential::parse(value)?))
    }

    fn api_key(value: &'a [u8]) -> Result<Self, Rejection> {
        match Credential::parse(value) {
            Ok(credential) => Ok(Self::ApiKey(credential)),
            Err(CredentialFault::TooLong) => Err(RejectionKind::InvalidApiKey.into()),
            Err(fault) => Err(fault.into()),
        }
    }
}

/// What stands after `Bearer`, in whatever case. `None` for another scheme, and for nothing.
pub(super) fn bearer_value(header: &[u8]) -> Option<&[u8]> {
    scheme_value(header, BEARER)
}

fn scheme_value<'a>(header: &'a [u8], wanted: &[u8; 6]) -> Option<&'a [u8]> {
    let (scheme, value) = trim(header).split_first_chunk::<6>()?;
    let value = trim(value.strip_prefix(b" ")?);
    (scheme.eq_ignore_ascii_case(wanted) && !value.is_empty()).then_some(value)
}

fn two_credentials() -> Rejection {
    Rejection::new(RejectionKind::MalformedCredential)
        .detail("The request carries two different credentials")
}

/// The value of a header that must not stand twice.
fn single<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Rejection::new(RejectionKind::MalformedCredential)
            .detail("A header that carries a credential was sent twice"));
    }
    Ok(first)
}

/// Without the optional white space around a field value (RFC 9110, section 5.5).
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Source; 3] = [Source::Bearer, Source::ApiKeyScheme, Source::ApiKeyHeader];

    fn read(authorization: &[&str], api_key: &[&str]) -> Result<String, RejectionKind> {
        read_from(&BOTH, authorization, api_key)
    }

    fn read_from(
        sources: &[Source],
        authorization: &[&str],
        api_key: &[&str],
    ) -> Result<String, RejectionKind> {
        let bytes = |values: &[&'static str]| -> Vec<&'static [u8]> {
            values.iter().map(|value| value.as_bytes()).collect()
        };
        // The tests' texts are literals; leaking shorter ones keeps the helper simple.
        let leak = |values: &[&str]| -> Vec<&'static str> {
            values.iter().map(|value| &*Box::leak((*value).to_owned().into_boxed_str())).collect()
        };
        match Presented::read(sources, bytes(&leak(authorization)), bytes(&leak(api_key))) {
            Ok(Presented::Bearer(credential)) => Ok(format!("bearer {}", credential.expose())),
            Ok(Presented::ApiKey(credential)) => Ok(format!("key {}", credential.expose())),
            Err(rejection) => Err(rejection.kind()),
        }
    }

    #[test]
    fn one_credential_is_found_wherever_it_stands() {
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(read(&[&format!("{scheme} abc")], &[]).as_deref(), Ok("bearer abc"));
        }
        assert_eq!(read(&["Bearer   abc  "], &[]).as_deref(), Ok("bearer abc"));
        assert_eq!(read(&[], &["abc"]).as_deref(), Ok("key abc"));
        assert_eq!(read(&["Basic dTpw"], &["abc"]).as_deref(), Ok("key abc"));
        assert_eq!(read(&["ApiKey abc"], &[]).as_deref(), Ok("key abc"));
        assert_eq!(read(&["apikey  a.b.c"], &["a.b.c"]).as_deref(), Ok("key a.b.c"));
    }

    #[test]
    fn of_the_sources_that_hold_a_value_the_first_counts() {
        use Source::{ApiKeyHeader, ApiKeyScheme, Bearer};
        for (sources, read_as) in [
            (&[Bearer, ApiKeyHeader][..], "bearer a.b.c"),
            (&[ApiKeyScheme, Bearer, ApiKeyHeader], "bearer a.b.c"),
            (&[ApiKeyScheme, ApiKeyHeader, Bearer], "key a.b.c"),
            (&[ApiKeyHeader, Bearer], "key a.b.c"),
        ] {
            assert_eq!(read_from(sources, &["Bearer a.b.c"], &["a.b.c"]).as_deref(), Ok(read_as));
        }
    }

    #[test]
    fn nothing_and_other_schemes_are_missing() {
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "bearer   ",
            "Basic dTpw",
            "Bearerabc",
            "Digest a b",
            "ApiKey",
            "ApiKey ",
        ] {
            assert_eq!(read(&[header], &[]), Err(RejectionKind::MissingCredential), "{header:?}");
        }
        assert_eq!(read(&[], &[""]), Err(RejectionKind::MissingCredential));
        assert_eq!(read(&[], &[]), Err(RejectionKind::MissingCredential));
    }

    #[test]
    fn ambiguity_and_illegal_bytes_are_malformed() {
        for (authorization, api_key) in [
            (&["Bearer a", "Bearer a"][..], &[][..]),
            (&["Bearer a", "Basic b"], &[]),
            (&[], &["a", "a"]),
            (&["Bearer a"], &["b"]),
            (&["ApiKey a"], &["b"]),
            (&["ApiKey a", "ApiKey a"], &[]),
            (&["ApiKey a b"], &[]),
            (&["Bearer a b"], &[]),
            (&["Bearer a, Bearer b"], &[]),
            (&["Bearer a\tb"], &[]),
            (&["Bearer é"], &[]),
            (&[], &["a b"]),
        ] {
            assert_eq!(
                read(authorization, api_key),
                Err(RejectionKind::MalformedCredential),
                "{authorization:?} {api_key:?}"
            );
        }
    }

    #[test]
    fn the_same_credential_twice_follows_the_order() {
        assert_eq!(read(&["Bearer a"], &["a"]).as_deref(), Ok("bearer a"));
        let reversed = [Source::ApiKeyHeader, Source::Bearer];
        assert_eq!(read_from(&reversed, &["Bearer a"], &["a"]).as_deref(), Ok("key a"));
    }

    #[test]
    fn a_source_that_is_off_is_not_looked_at() {
        assert_eq!(read_from(&[Source::Bearer], &["Bearer a"], &["b"]).as_deref(), Ok("bearer a"));
        assert_eq!(
            read_from(&[Source::ApiKeyHeader], &["Bearer a"], &[]),
            Err(RejectionKind::MissingCredential)
        );
    }

    #[test]
    fn too_long_tells_the_kind_apart() {
        let long = "a".repeat(8 * 1024 + 1);
        assert_eq!(read(&[&format!("Bearer {long}")], &[]), Err(RejectionKind::InvalidToken));
        assert_eq!(read(&[], &[&long]), Err(RejectionKind::InvalidApiKey));
    }
}
