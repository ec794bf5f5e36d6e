use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{bytes::Visible, text::ShortText};

/// The longest id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 256;

/// A text that can't be an id: empty, over 256 bytes, or with other than visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 256 visible ascii characters")]
pub struct InvalidId;

/// A text that is an id, where it was read: to check several before any of them is copied.
#[derive(Clone, Copy)]
pub(crate) struct IdText<'a>(&'a str);

impl<'a> IdText<'a> {
    pub(crate) fn new(text: Visible<'a>) -> Result<Self, InvalidId> {
        let text = text.as_str();
        if (1..=MAX_ID_BYTES).contains(&text.len()) { Ok(Self(text)) } else { Err(InvalidId) }
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Opaque: 1 to 256 visible ASCII characters. Cheap to clone.
        ///
        /// ```
        #[doc = concat!("use key0_auth::domain::", stringify!($name), ";")]
        ///
        #[doc = concat!("let text: ", stringify!($name), " = \"something-1\".parse()?;")]
        /// assert_eq!(text, "something-1");
        /// # Ok::<(), key0_auth::domain::InvalidId>(())
        /// ```
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ShortText);

        impl $name {
            /// Reads an id.
            ///
            /// # Errors
            ///
            /// [`InvalidId`] when it is empty, longer than 256 bytes, or has other than visible
            /// ASCII characters.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                Ok(IdText::new(Visible::new(text).ok_or(InvalidId)?)?.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl From<IdText<'_>> for $name {
            fn from(text: IdText<'_>) -> Self {
                Self(ShortText::new(text.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// The id of an agent's request, made by the agent (`sub` of an access token).
    RequestId
}
id! {
    /// The id of a payment challenge, made by Key0 (`jti` of an access token).
    ChallengeId
}
id! {
    /// What was bought. `default` means every resource of the plan.
    ResourceId
}
id! {
    /// The plan that was bought; older services call it a tier.
    PlanId
}
id! {
    /// The payment on the chain.
    TxHash
}
id! {
    /// The id of an API key. Not a secret: logs show it.
    KeyId
}

id! {
    /// The template of a route, as `/keys/{id}`.
    RouteName
}

id! {
    /// Who changed a key: the id of the master key that asked for it, or one of the names below.
    Actor
}

impl Actor {
    /// Key0, which had a key issued.
    pub fn key0() -> Self {
        Self(ShortText::new("key0"))
    }

    /// Whoever works on the host itself.
    pub fn host() -> Self {
        Self(ShortText::new("host"))
    }

    /// Somebody who is not known, or no key's holder.
    pub fn anonymous() -> Self {
        Self(ShortText::new("anonymous"))
    }

    /// Anybody, where the checks of management keys are off.
    pub fn unchecked() -> Self {
        Self(ShortText::new("unchecked"))
    }
}

impl From<&KeyId> for Actor {
    fn from(id: &KeyId) -> Self {
        Self(id.0.clone())
    }
}

impl ResourceId {
    /// The resource id that stands for every resource of a plan.
    pub const DEFAULT: &'static str = "default";

    /// Whether a credential for this resource opens `wanted`: the very same, or all of them.
    pub fn opens(&self, wanted: &str) -> bool {
        self.as_str() == Self::DEFAULT || self.as_str() == wanted
    }
}

impl TxHash {
    /// The form in which two hashes are compared: case does not count, nor does a leading `0x`
    /// before 64 hex digits.
    pub(crate) fn normalized(&self) -> String {
        let text = self.as_str().to_ascii_lowercase();
        if is_digits_of_a_hash(&text) { format!("0x{text}") } else { text }
    }

    /// The same without `0x`, as it may be stored by a version that told the two apart; empty
    /// where there is no such form.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn without_0x(&self) -> String {
        let text = self.normalized();
        let digits = text.strip_prefix("0x").filter(|digits| is_digits_of_a_hash(digits));
        digits.unwrap_or_default().to_owned()
    }
}

fn is_digits_of_a_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl KeyId {
    /// A fresh id that sorts by the time it was made (UUID version 7).
    pub fn generate() -> Self {
        Self(ShortText::new(&uuid::Uuid::now_v7().hyphenated().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_256_visible_ascii() {
        assert!(PlanId::new("a").is_ok());
        assert!(PlanId::new(&"a".repeat(256)).is_ok());
        for bad in ["", &"a".repeat(257), "a b", "a\n", "é", "a\u{7f}"] {
            assert_eq!(PlanId::new(bad), Err(InvalidId), "{bad:?}");
        }
    }

    #[test]
    fn hashes_are_compared_without_case_and_0x() {
        let normalized = |text: &str| TxHash::new(text).expect("legal").normalized();
        let digits = "aB".repeat(32);
        let expected = format!("0x{}", "ab".repeat(32));
        for same in [digits.clone(), format!("0x{digits}"), format!("0X{digits}")] {
            assert_eq!(normalized(&same), expected);
        }
        // Whatever else a hash may be, on another chain, keeps what it begins with.
        for other in ["0xab", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert_eq!(normalized(other), *other);
        }
    }

    #[test]
    fn default_opens_all_and_others_only_their_own() {
        let id = |text| ResourceId::new(text).expect("legal");
        assert!(id("default").opens("photo-1"));
        assert!(id("photo-1").opens("photo-1"));
        assert!(!id("photo-1").opens("photo-2"));
        assert!(!id("photo-1").opens("default"));
        assert!(!id("Default").opens("photo-1"));
    }
}
