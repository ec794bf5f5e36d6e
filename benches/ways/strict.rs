//! The header and the claims as a careful service would read them around `jsonwebtoken::decode`: one
//! pass each, in which a member that stands twice is an error.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Whether nothing in an encoded header asks for more than `decode` does. That `alg` is a known
/// one, and that it, `kid` and `typ` stand there once, `decode` looks after.
pub fn is_harmless_header(encoded: &str) -> bool {
    let json = URL_SAFE_NO_PAD.decode(encoded);
    json.is_ok_and(|json| serde_json::from_slice::<HarmlessHeader>(&json).is_ok())
}

struct HarmlessHeader;

impl<'de> Deserialize<'de> for HarmlessHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = HarmlessHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HarmlessHeader, A::Error> {
        let mut others = BTreeSet::new();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "alg" => drop(map.next_value::<IgnoredAny>()?),
                "kid" => drop(map.next_value::<Text<'de>>()?),
                "typ" => {
                    let Text(typ) = map.next_value()?;
                    if !["JWT", "at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(&typ)) {
                        return Err(Error::custom("of another type"));
                    }
                }
                "crit" | "zip" | "b64" | "jwk" | "jku" | "x5u" | "x5c" => {
                    return Err(Error::custom("refused member"));
                }
                _ => {
                    map.next_value::<StrictValue>()?;
                    if !others.insert(name) {
                        return Err(Error::custom("duplicate member"));
                    }
                }
            }
        }
        Ok(HarmlessHeader)
    }
}

/// The claims, each of the right type.
pub struct StrictClaims {
    pub sub: String,
    pub jti: String,
    pub resource_id: String,
    pub plan_id: String,
    pub tx_hash: String,
    pub exp: f64,
    pub iat: Option<f64>,
    pub nbf: Option<f64>,
    pub iss: Option<String>,
    pub aud: Option<Audience>,
    pub extra: Map<String, Value>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

impl StrictClaims {
    /// Whether a token with these claims opens anything at this time, in seconds.
    pub fn hold_at(&self, now: f64) -> bool {
        let ids = [&self.sub, &self.jti, &self.resource_id, &self.plan_id, &self.tx_hash];
        let is_system =
            self.sub == "key0-service" || self.plan_id == "system" || self.tx_hash == "system-auth";
        now < self.exp
            && self.nbf.is_none_or(|nbf| nbf <= now)
            && !is_system
            && self.aud.is_none()
            && ids.iter().all(|id| {
                (1..=256).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
            })
    }
}

impl<'de> Deserialize<'de> for StrictClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = StrictClaims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrictClaims, A::Error> {
        let (mut sub, mut jti, mut resource_id, mut tx_hash) = (None, None, None, None);
        let (mut plan_id, mut tier_id): (Option<String>, Option<String>) = (None, None);
        let (mut exp, mut iat, mut nbf, mut iss, mut aud) = (None, None, None, None, None);
        let mut extra = Map::new();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "sub" => once(&mut sub, map.next_value()?)?,
                "jti" => once(&mut jti, map.next_value()?)?,
                "resourceId" => once(&mut resource_id, map.next_value()?)?,
                "planId" => once(&mut plan_id, map.next_value()?)?,
                "tierId" => once(&mut tier_id, map.next_value()?)?,
                "txHash" => once(&mut tx_hash, map.next_value()?)?,
                "exp" => once(&mut exp, map.next_value()?)?,
                "iat" => once(&mut iat, map.next_value()?)?,
                "nbf" => once(&mut nbf, map.next_value()?)?,
                "iss" => once(&mut iss, map.next_value()?)?,
                "aud" => once(&mut aud, map.next_value()?)?,
                "cnf" => return Err(Error::custom("bound to its sender")),
                _ => {
                    let StrictValue(value) = map.next_value()?;
                    insert_once(&mut extra, name.into_owned(), value)?;
                }
            }
        }
        let plan_id = match (plan_id, tier_id) {
            (Some(plan), Some(tier)) if plan != tier => {
                return Err(Error::custom("two different plans"));
            }
            (plan, tier) => plan.or(tier),
        };
        Ok(StrictClaims {
            sub: sub.ok_or_else(|| Error::missing_field("sub"))?,
            jti: jti.ok_or_else(|| Error::missing_field("jti"))?,
            resource_id: resource_id.ok_or_else(|| Error::missing_field("resourceId"))?,
            plan_id: plan_id.ok_or_else(|| Error::missing_field("planId"))?,
            tx_hash: tx_hash.ok_or_else(|| Error::missing_field("txHash"))?,
            exp: exp.ok_or_else(|| Error::missing_field("exp"))?,
            iat,
            nbf,
            iss,
            aud,
            extra,
        })
    }
}

/// A text that borrows where it can.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Any value in which no object has a member twice.
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(StrictValue(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, StrictValue(value))) = map.next_entry()? {
            insert_once(&mut object, name, value)?;
        }
        Ok(object.into())
    }
}

fn once<T, E: Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("duplicate member")),
    }
}

fn insert_once<E: Error>(
    object: &mut Map<String, Value>,
    name: String,
    value: Value,
) -> Result<(), E> {
    match object.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(E::custom("duplicate member")),
    }
}
