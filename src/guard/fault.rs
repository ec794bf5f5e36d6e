use std::error::Error;

use crate::{Rejection, RejectionKind};

/// A fault of the program, which whoever writes it must hear of: from the log or, where nothing is
/// logged, from the answer, unless the program is built for release.
pub(crate) fn fault(fault: impl Error + Send + Sync + 'static) -> Rejection {
    let rejection = Rejection::new(RejectionKind::Internal);
    #[cfg(all(debug_assertions, not(feature = "tracing")))]
    let rejection = rejection.detail(fault.to_string());
    rejection.cause(fault)
}
