use actix_web::{
    HttpMessage, HttpRequest,
    dev::ServiceRequest,
    http::header::{AUTHORIZATION, HeaderName},
};

use crate::guard::{HeaderTreatment, IncomingRequest, X_API_KEY};

/// Made once: a text would be parsed again for every request.
static API_KEY: HeaderName = HeaderName::from_static(X_API_KEY);

impl IncomingRequest for ServiceRequest {
    type Head = HttpRequest;

    fn with_head<T>(&mut self, look: impl FnOnce(&HttpRequest) -> T) -> T {
        look(self.request())
    }

    fn method(&self) -> &str {
        self.request().method().as_str()
    }

    fn authorization(&self) -> impl Iterator<Item = &[u8]> {
        self.headers().get_all(AUTHORIZATION).map(|value| value.as_bytes())
    }

    fn api_key(&self) -> impl Iterator<Item = &[u8]> {
        self.headers().get_all(&API_KEY).map(|value| value.as_bytes())
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().get_all(name).map(|value| value.as_bytes())
    }

    fn treat_headers(&mut self, treatment: impl Fn(&str) -> HeaderTreatment) {
        self.headers_mut().retain(|name, value| match treatment(name.as_str()) {
            HeaderTreatment::Keep => true,
            HeaderTreatment::Hide => {
                value.set_sensitive(true);
                true
            }
            HeaderTreatment::Remove => false,
        });
    }

    fn insert<T: Clone + Send + Sync + 'static>(&mut self, proof: T) {
        self.extensions_mut().insert(proof);
    }

    fn remove<T: Clone + Send + Sync + 'static>(&mut self) {
        self.extensions_mut().remove::<T>();
    }
}
