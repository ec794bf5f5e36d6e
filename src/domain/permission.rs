use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeSeq};

/// What can be done with a resource.
///
/// ```
/// use key0_auth::domain::Action;
///
/// assert_eq!("update".parse(), Ok(Action::Update));
/// assert_eq!(Action::Read.as_str(), "read");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Make a new one.
    Create,
    /// Look at it.
    Read,
    /// Change it.
    Update,
    /// Remove it.
    Delete,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Create, Self::Read, Self::Update, Self::Delete];

    /// The action's name: `create`, `read`, `update` or `delete`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Action {
    type Err = InvalidPermissions;

    fn from_str(text: &str) -> Result<Self, InvalidPermissions> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(InvalidPermissions)
    }
}

/// What an integrator's key stands for as a whole.
///
/// ```
/// use key0_auth::domain::{Action, Role};
///
/// assert!(Role::Minter.allows(Action::Update) && !Role::Minter.allows(Action::Delete));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads everywhere.
    Read,
    /// Creates, reads and updates.
    Minter,
    /// Looks at keys and purchases to help their holders, and changes nothing.
    Support,
    /// Does everything, and manages keys.
    Master,
}

impl Role {
    const ALL: [Self; 4] = [Self::Read, Self::Minter, Self::Support, Self::Master];

    /// The role's name: `read`, `minter`, `support` or `master`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Minter => "minter",
            Self::Support => "support",
            Self::Master => "master",
        }
    }

    /// Whether the role implies this action, on whatever resource.
    pub const fn allows(self, action: Action) -> bool {
        match self {
            Self::Read => matches!(action, Action::Read),
            Self::Minter => matches!(action, Action::Create | Action::Read | Action::Update),
            Self::Support => false,
            Self::Master => true,
        }
    }
}

impl FromStr for Role {
    type Err = InvalidPermissions;

    fn from_str(text: &str) -> Result<Self, InvalidPermissions> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(InvalidPermissions)
    }
}

/// A set of permissions, or a role, that can't be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("permissions map a resource to some of create, read, update and delete")]
pub struct InvalidPermissions;

/// Which actions are granted on which resource. Empty grants nothing.
///
/// ```
/// use key0_auth::domain::{Action, Permissions};
///
/// let permissions = Permissions::none().grant("dpp", Action::Read);
/// assert!(permissions.allows("dpp", Action::Read) && !permissions.allows("dpp", Action::Update));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Permissions(BTreeMap<Box<str>, Actions>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Actions(u8);

impl Permissions {
    /// No permission at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one action on one resource.
    #[must_use]
    pub fn grant(mut self, resource: &str, action: Action) -> Self {
        self.0.entry(resource.into()).or_default().0 |= action.bit();
        self
    }

    /// Whether this action on this resource is granted.
    pub fn allows(&self, resource: &str, action: Action) -> bool {
        self.0.get(resource).is_some_and(|actions| actions.0 & action.bit() != 0)
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|actions| actions.0 == 0)
    }

    /// Every resource that is named, also where nothing is granted on it.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|resource| &**resource)
    }

    /// Every granted pair, by resource.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Action)> {
        self.0.iter().flat_map(|(resource, actions)| {
            Action::ALL
                .into_iter()
                .filter(|action| actions.0 & action.bit() != 0)
                .map(|action| (&**resource, action))
        })
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(Action::ALL.into_iter().filter(|action| self.0 & action.bit() != 0))
            .finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl Serialize for Actions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for action in Action::ALL.into_iter().filter(|action| self.0 & action.bit() != 0) {
            seq.serialize_element(action.as_str())?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<Box<str>, Actions>::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().try_fold(Self::default(), |actions, name| {
            let action: Action = name.parse().map_err(de::Error::custom)?;
            Ok(Self(actions.0 | action.bit()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_imply_what_the_contract_says() {
        let implied = |role: Role| Action::ALL.map(|action| role.allows(action));
        assert_eq!(implied(Role::Read), [false, true, false, false]);
        assert_eq!(implied(Role::Minter), [true, true, true, false]);
        assert_eq!(implied(Role::Support), [false; 4]);
        assert_eq!(implied(Role::Master), [true, true, true, true]);
    }

    #[test]
    fn permissions_are_per_resource_and_round_trip() {
        let text = r#"{"dpp":["create","read"],"loyalty":["update"]}"#;
        let permissions: Permissions = serde_json::from_str(text).expect("legal");
        assert!(permissions.allows("dpp", Action::Create));
        assert!(!permissions.allows("dpp", Action::Update));
        assert!(permissions.allows("loyalty", Action::Update));
        assert!(!permissions.allows("Dpp", Action::Create));
        assert_eq!(serde_json::to_string(&permissions).expect("plain"), text);
        assert!(serde_json::from_str::<Permissions>(r#"{"dpp":["write"]}"#).is_err());
    }
}
