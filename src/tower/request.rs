use http::{HeaderMap, HeaderName, header::AUTHORIZATION, request::Parts};

use crate::gate::{Arriving, Treatment, X_API_KEY};

/// Made once: a text would be parsed again for every request.
static API_KEY: HeaderName = HeaderName::from_static(X_API_KEY);

/// Looks at every name, which takes less than to hash the one that is wanted.
fn values<'a>(
    headers: &'a HeaderMap,
    wanted: &'static HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_bytes())
}

impl Arriving for Parts {
    type Head = Self;

    fn head(&self) -> &Self {
        self
    }

    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn authorization(&self) -> impl Iterator<Item = &[u8]> {
        values(&self.headers, &AUTHORIZATION)
    }

    fn api_key(&self) -> impl Iterator<Item = &[u8]> {
        values(&self.headers, &API_KEY)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).into_iter().map(|value| value.as_bytes())
    }

    fn treat_headers(&mut self, treatment: impl Fn(&str) -> Treatment) {
        let mut removed = Vec::new();
        for (name, value) in &mut self.headers {
            match treatment(name.as_str()) {
                Treatment::Keep => {}
                Treatment::Hide => value.set_sensitive(true),
                Treatment::Remove => removed.push(name.clone()),
            }
        }
        for name in removed {
            self.headers.remove(name);
        }
    }

    fn insert<T: Clone + Send + Sync + 'static>(&mut self, proof: T) {
        self.extensions.insert(proof);
    }

    fn remove<T: Clone + Send + Sync + 'static>(&mut self) {
        self.extensions.remove::<T>();
    }
}
