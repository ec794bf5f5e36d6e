//! What a token says, as it stands, before any rule: each claim may be absent or of the wrong type.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::domain::{Timestamp, bytes::Visible};

/// What the header says of the algorithm, the key and the kind of token.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Header<'a> {
    pub(super) algorithm: Cow<'a, str>,
    pub(super) kid: Option<Cow<'a, str>>,
    pub(super) typ: Option<Cow<'a, str>>,
}

impl Header<'_> {
    /// The header that Key0 writes, told by its encoded form.
    pub(super) fn known(encoded: &str) -> Option<Self> {
        let algorithm = match encoded {
            // {"alg":"HS256"}
            "eyJhbGciOiJIUzI1NiJ9" => "HS256",
            // {"alg":"RS256"}
            "eyJhbGciOiJSUzI1NiJ9" => "RS256",
            _ => return None,
        };
        Some(Self { algorithm: Cow::Borrowed(algorithm), kid: None, typ: None })
    }

    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the token is of a kind that is an access token: `JWT` or `at+jwt` (RFC 9068,
    /// section 2.1), or of no kind at all. Logout tokens and DPoP proofs are not.
    pub(super) fn is_of_access_token(&self) -> bool {
        const PREFIX: &str = "application/";
        let Some(typ) = self.typ.as_deref() else { return true };
        let kind = match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, kind)) if prefix.eq_ignore_ascii_case(PREFIX) => kind,
            _ => typ,
        };
        kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt")
    }
}

macro_rules! names {
    ($($name:ident => $text:literal,)+) => {
        /// The claims that this crate gives a meaning to and that may be of any type.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Name {
            $($name,)+
        }

        /// How many names there are.
        pub(super) const NAMES: usize = [$($text),+].len();

        impl Name {
            pub(super) fn of(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }

            #[cfg(test)]
            pub(super) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            // What a caller is told. Ready, as a refusal is to cost no more than to accept.

            pub(super) const fn is_missing(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("The claim ", $text, " is missing"),)+
                }
            }

            pub(super) const fn is_not_valid(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("The claim ", $text, " is not valid"),)+
                }
            }
        }
    };
}

names! {
    Sub => "sub",
    Jti => "jti",
    ResourceId => "resourceId",
    PlanId => "planId",
    TierId => "tierId",
    TxHash => "txHash",
    Iat => "iat",
    Exp => "exp",
    Nbf => "nbf",
    Iss => "iss",
    Aud => "aud",
}

/// Claims whose texts stand elsewhere: in the decoded payload, or in what the parser has read.
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct RawClaims<'a> {
    pub(super) values: [Option<Claim<'a>>; NAMES],
    /// Whether the token has a claim `cnf`.
    pub(super) is_constrained: bool,
    /// The claims that this crate gives no meaning.
    pub(super) extra: Map<String, Value>,
}

/// A claim's value, sorted by what this crate can do with it.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Claim<'a> {
    Visible(Visible<'a>),
    /// A text with other characters than visible ones, which no id has.
    Text(&'a str),
    Time(Timestamp),
    Texts(&'a [Cow<'a, str>]),
    Other,
}

impl<'a> RawClaims<'a> {
    pub(super) fn get(&self, name: Name) -> Option<Claim<'a>> {
        self.values[name as usize]
    }

    /// Where the claim of this name belongs.
    pub(super) fn slot(&mut self, name: Name) -> &mut Option<Claim<'a>> {
        &mut self.values[name as usize]
    }
}
