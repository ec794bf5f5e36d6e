use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// What the application keeps with a key: the members of a JSON object, as text, which takes a
/// fraction of the memory of the object itself.
///
/// ```
/// use key0_auth::apikey::Metadata;
/// use serde_json::json;
///
/// let metadata = Metadata::parse(r#"{"customer": 7}"#)?;
/// assert_eq!(metadata.to_map()["customer"], 7);
/// # Ok::<(), key0_auth::apikey::InvalidMetadata>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(Option<Box<str>>);

/// A text that is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("metadata is a json object")]
pub struct InvalidMetadata;

impl Metadata {
    /// Reads the text of an object.
    ///
    /// # Errors
    ///
    /// [`InvalidMetadata`] where it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidMetadata> {
        let members: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| InvalidMetadata)?;
        Ok(Self((!members.is_empty()).then(|| text.into())))
    }

    /// The JSON text; `{}` where there is nothing.
    pub fn as_json(&self) -> &str {
        self.0.as_deref().unwrap_or("{}")
    }

    /// The members, read anew.
    pub fn to_map(&self) -> Map<String, Value> {
        // Whatever is kept was read before.
        serde_json::from_str(self.as_json()).unwrap_or_default()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(members: Map<String, Value>) -> Self {
        Self((!members.is_empty()).then(|| Value::Object(members).to_string().into()))
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_map().serialize(serializer)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}
