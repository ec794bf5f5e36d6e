//! Loyalty points: tiers, accounts that points are minted to, and the orders that did it.

use axum::{
    extract::{RawQuery, Request, State},
    middleware::Next,
    response::Response,
};
use key0_auth::{Rejection, RejectionKind, api::MAX_BODY_BYTES, domain::Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Partner,
    http::{IdPath, Sent, answer, is_id, json, known_id},
    json::{Object, invalid},
    query::Page,
    store::{new_id, terms},
};
use crate::query::Query;

const MAX_NAME: usize = 256;

#[derive(Debug)]
pub(super) struct NewTier {
    pub(super) name: String,
    pub(super) threshold: i64,
}

/// A tier as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tier {
    #[serde(skip)]
    pub(super) arrival: i64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) threshold: i64,
    pub(super) created_at: Timestamp,
}

/// An order as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    #[serde(skip)]
    pub(super) arrival: i64,
    pub(super) id: String,
    pub(super) wallet_id: String,
    pub(super) amount: i64,
    pub(super) status: String,
    pub(super) created_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Orders {
    orders: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tiers {
    reward_tiers: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Lets no request through whose account can't be one, whatever else is wrong with it.
pub(super) async fn known_account(
    account: IdPath,
    request: Request,
    next: Next,
) -> Result<Response, Rejection> {
    known_id(account).ok_or_else(no_account)?;
    Ok(next.run(request).await)
}

pub(super) async fn mint(
    State(partner): State<Partner>,
    account: IdPath,
    request: Request,
) -> Result<Response, Rejection> {
    let account = known_id(account).ok_or_else(no_account)?;
    let Sent { asked, body } = partner.read(request, MAX_BODY_BYTES).await?;
    let amount = Object::parse(&body).and_then(|mut object| {
        let amount = object.integer("amount", 1);
        object.finish(amount)
    });
    let amount = partner.read_or_refuse(asked.as_ref(), amount).await?;
    let minted = partner.store.mint(asked, account, amount, partner.now()).await?;
    Ok(answer(200, minted.whole(|balance| balance.parse().ok().map(terms::minted))))
}

pub(super) async fn orders(
    State(partner): State<Partner>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let query = Query::new(query.as_deref());
    let account = query.get("walletId")?.ok_or_else(|| invalid("walletId is required"))?;
    if !is_id(&account) {
        return Err(invalid("walletId must be 1 to 256 visible ASCII characters"));
    }
    let page = Page::of(&query)?;
    let orders = partner.store.orders(account, page).await?;
    let (orders, next_cursor) = page.lines(&orders, |order| order.arrival);
    let page = Orders { orders, next_cursor };
    Ok(json(200, serde_json::to_string(&page).unwrap_or_default()))
}

pub(super) async fn create_tier(
    State(partner): State<Partner>,
    request: Request,
) -> Result<Response, Rejection> {
    let Sent { asked, body } = partner.read(request, MAX_BODY_BYTES).await?;
    let new = partner.read_or_refuse(asked.as_ref(), NewTier::read(&body)).await?;
    Ok(answer(201, partner.store.create_tier(asked, new, partner.now()).await?))
}

pub(super) async fn tiers(
    State(partner): State<Partner>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejection> {
    let page = Page::of(&Query::new(query.as_deref()))?;
    let reward_tiers = partner.store.tiers(page).await?;
    let (reward_tiers, next_cursor) = page.lines(&reward_tiers, |tier| tier.arrival);
    let page = Tiers { reward_tiers, next_cursor };
    Ok(json(200, serde_json::to_string(&page).unwrap_or_default()))
}

impl NewTier {
    fn read(body: &[u8]) -> Result<Self, Rejection> {
        let mut object = Object::parse(body)?;
        let name = object.text("name", MAX_NAME);
        let threshold = object.integer("threshold", 0);
        object.finish(name.zip(threshold).map(|(name, threshold)| Self { name, threshold }))
    }
}

impl Tier {
    /// A new one, which has not arrived yet.
    pub(super) fn of(new: NewTier, now: Timestamp) -> Self {
        let NewTier { name, threshold } = new;
        Self { arrival: 0, id: new_id(), name, threshold, created_at: now }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn no_account() -> Rejection {
    Rejection::new(RejectionKind::NotFound).detail("Account not found")
}
