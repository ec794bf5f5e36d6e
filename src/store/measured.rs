use crate::{error::StoreError, metrics::StoreCall};

/// Measures an operation of a store.
pub(crate) async fn measured<T>(
    engine: &'static str,
    work: &'static str,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let call = StoreCall::begin(engine, work);
    let result = operation.await;
    call.end(result.as_ref().err().map(|error| error.kind().as_str()));
    result
}
