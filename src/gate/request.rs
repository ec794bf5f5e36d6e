use super::headers::Treatment;

/// A request on its way to a handler, as an adapter holds it.
pub(crate) trait Arriving {
    /// What an application's rules see of it.
    type Head;

    /// Shows the head. Meanwhile the request itself may be without it.
    fn with_head<T>(&mut self, look: impl FnOnce(&Self::Head) -> T) -> T;

    fn method(&self) -> &str;

    /// The values of its `Authorization` headers, in order.
    fn authorization(&self) -> impl Iterator<Item = &[u8]>;

    /// The values of its `X-Api-Key` headers, in order.
    fn api_key(&self) -> impl Iterator<Item = &[u8]>;

    /// The values of a header, in order. The name is in lower case.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// Treats every header as its name, in lower case, asks for.
    fn treat_headers(&mut self, treatment: impl Fn(&str) -> Treatment);

    /// Puts a proof into the extensions, in the place of one that was there.
    fn insert<T: Clone + Send + Sync + 'static>(&mut self, proof: T);

    /// Takes a proof out of the extensions.
    fn remove<T: Clone + Send + Sync + 'static>(&mut self);
}
