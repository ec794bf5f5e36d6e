use super::{headers::treatment, request::Arriving};
use crate::{InternalAuth, Rejection, auth::InternalCaller};

/// Lets a request to an internal endpoint in, or says why not.
pub(crate) fn admit_internal(
    internal: &InternalAuth,
    request: &mut impl Arriving,
) -> Result<(), Rejection> {
    let secret = internal.header();
    let judged = internal.judge(request.authorization(), request.values(secret));
    request.treat_headers(|name| treatment(name, secret));
    // Takes the place of what an outer middleware may have put there.
    request.insert::<InternalCaller>(judged?);
    Ok(())
}
