//! Digital product passports: made as drafts, published, certified by the simulated chain.

use axum::{
    extract::{Request, State},
    response::Response,
};
use key0_auth::{
    Rejection, RejectionKind, api::MAX_BODY_BYTES, domain::Timestamp, error::FieldError,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Partner,
    http::{IdPath, Sent, answer, is_id, json, known_id},
    json::Object,
    store::{is_unknown, new_id, terms::Published},
};

const MAX_NAME: usize = 256;
const MAX_DESCRIPTION: usize = 4_096;
/// The most ids in one request.
const MAX_IDS: usize = 1_000;
/// The most drafts that one request hands over by a filter, so that others can write meanwhile.
pub(super) const MOST_AT_ONCE: u32 = 10_000;
const GRANULARITIES: [&str; 3] = ["model", "batch", "item"];
const STATUSES: [&str; 2] = ["draft", "published"];

/// What a passport is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPassport {
    pub(super) granularity: String,
    pub(super) application: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<String>,
    pub(super) model_number: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
}

/// A passport as it is shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Passport {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) certification_status: String,
    pub(super) granularity: String,
    pub(super) application: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<String>,
    pub(super) model_number: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// Which drafts are to be published.
#[derive(Debug)]
pub(super) enum Wanted {
    Ids(Vec<String>),
    Those(Filter),
}

/// All that agree with what is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) application: Option<String>,
    pub(super) model_number: Option<String>,
    pub(super) status: Option<String>,
}

pub(super) async fn create(
    State(partner): State<Partner>,
    request: Request,
) -> Result<Response, Rejection> {
    let Sent { asked, body } = partner.read(request, MAX_BODY_BYTES).await?;
    let new = partner.read_or_refuse(asked.as_ref(), NewPassport::read(&body)).await?;
    Ok(answer(201, partner.store.create_passport(asked, new, partner.now()).await?))
}

pub(super) async fn show(
    State(partner): State<Partner>,
    id: IdPath,
) -> Result<Response, Rejection> {
    let id = known_id(id).ok_or_else(not_found)?;
    Ok(json(200, partner.store.passport(id).await?.to_json()))
}

pub(super) async fn publish(
    State(partner): State<Partner>,
    request: Request,
) -> Result<Response, Rejection> {
    let Sent { asked, body } = partner.read(request, MAX_BODY_BYTES).await?;
    let wanted = partner.read_or_refuse(asked.as_ref(), Wanted::read(&body)).await?;
    let by_id = matches!(wanted, Wanted::Ids(_));
    let published = partner.store.publish(asked, wanted, MOST_AT_ONCE, partner.now()).await?;
    Ok(answer(
        202,
        published.whole(|accepted| {
            let accepted = accepted.parse().ok()?;
            let published = match by_id {
                true => Published { accepted, more: false },
                false => Published::by_filter(accepted, MOST_AT_ONCE),
            };
            Some(published.to_json())
        }),
    ))
}

pub(super) fn not_found() -> Rejection {
    Rejection::new(RejectionKind::NotFound).detail("Passport not found")
}

impl NewPassport {
    pub(super) fn read(text: &[u8]) -> Result<Self, Rejection> {
        Self::take(Object::parse(text)?)
    }

    /// Reads a row of an import. It may be a passport as it is shown: the members that only the
    /// backend sets are passed over.
    pub(super) fn read_row(row: &[u8]) -> Result<Self, Rejection> {
        let mut object = Object::parse(row)?;
        for shown in ["id", "status", "certificationStatus", "createdAt", "updatedAt"] {
            object.take(shown);
        }
        Self::take(object)
    }

    fn take(mut object: Object) -> Result<Self, Rejection> {
        let granularity = object.word("granularity", &GRANULARITIES);
        let application = object.text("application", MAX_NAME);
        let network = object.optional_text("network", MAX_NAME);
        let model_number = object.text("modelNumber", MAX_NAME);
        let name = object.text("name", MAX_NAME);
        let description = object.optional_prose("description", MAX_DESCRIPTION);
        let new = || {
            Some(Self {
                granularity: granularity?,
                application: application?,
                network,
                model_number: model_number?,
                name: name?,
                description,
            })
        };
        object.finish(new())
    }
}

impl Passport {
    pub(super) fn draft(new: NewPassport, now: Timestamp) -> Self {
        let NewPassport { granularity, application, network, model_number, name, description } =
            new;
        Self {
            id: new_id(),
            status: "draft".to_owned(),
            certification_status: "none".to_owned(),
            granularity,
            application,
            network,
            model_number,
            name,
            description,
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, Rejection> {
        let mut object = Object::parse(body)?;
        let wanted = match (object.take_unless_null("ids"), object.take_unless_null("filter")) {
            (Some(ids), None) => ids_of(&ids).map(Self::Ids).map_err(|wrong| vec![wrong]),
            (None, Some(filter)) => Filter::read(&filter).map(Self::Those),
            (ids, _) => {
                let one = "Exactly one of ids and filter is required";
                Err(vec![match ids {
                    Some(_) => FieldError::invalid("filter", one),
                    None => FieldError::required("ids").with_message(one),
                }])
            }
        };
        let wanted = wanted.map_err(|errors| object.add_errors(errors)).ok();
        match object.finish(wanted)? {
            Self::Ids(ids) => match ids.iter().position(|id| !is_id(id)) {
                Some(place) => Err(is_unknown(place)),
                None => Ok(Self::Ids(ids)),
            },
            filter => Ok(filter),
        }
    }
}

fn ids_of(value: &RawValue) -> Result<Vec<String>, FieldError> {
    let ids: Option<Vec<String>> = serde_json::from_str(value.get()).ok();
    let ids = ids.filter(|ids| (1..=MAX_IDS).contains(&ids.len()));
    ids.ok_or_else(|| {
        FieldError::invalid("ids", format!("ids must be a list of 1 to {MAX_IDS} texts"))
    })
}

impl Filter {
    /// A condition that is misspelt and passed over would publish more than was meant.
    fn read(value: &RawValue) -> Result<Self, Vec<FieldError>> {
        let no_object = |_| vec![FieldError::invalid("filter", "filter must be an object")];
        let mut object = Object::parse(value.get().as_bytes()).map_err(no_object)?;
        let filter = Self {
            application: object.optional_text("application", MAX_NAME),
            model_number: object.optional_text("modelNumber", MAX_NAME),
            status: object.optional_word("status", &STATUSES),
        };
        let within = |error: FieldError| error.within("filter");
        object.close(Some(filter)).map_err(|errors| errors.into_iter().map(within).collect())
    }
}
