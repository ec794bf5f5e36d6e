//! Reading the configuration again while requests go on.

use std::sync::{Arc, Mutex, PoisonError};

use key0_auth::{domain::Secret, error::ConfigError};

use super::{metrics, requests::RequestService, routes::App, secret_uses};
use crate::config::{Config, Providers, ServeOptions};

/// What is served by which listener, and from which configuration.
pub(crate) struct Reload {
    options: ServeOptions,
    began_with: Arc<Config>,
    /// Of the configuration that counts.
    current: Mutex<(Providers, Vec<Secret>)>,
    app: App,
    public: RequestService,
    internal: Option<RequestService>,
}

impl Reload {
    pub(crate) fn new(
        options: ServeOptions,
        began_with: Arc<Config>,
        app: App,
        public: RequestService,
        internal: Option<RequestService>,
    ) -> Self {
        let current = Mutex::new((began_with.providers.clone(), began_with.secrets.clone()));
        Self { options, began_with, current, app, public, internal }
    }

    /// Takes the secrets, keys and guards of the configuration as it is now. Requests that have
    /// begun go on with those before; a faulty configuration changes nothing.
    pub(crate) fn now(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (providers, secrets) = &mut *current;
        let config = match Config::load_again(&self.options, providers) {
            Ok(config) => config,
            Err(error) => {
                metrics::reloaded(true);
                return keep(&error);
            }
        };
        for name in self.began_with.fixed_differences(&config) {
            tracing::warn!(name, "it changed, and counts from the next start on");
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let app = self.app.with(&config);
        // First: a use from here on is one of the new ones.
        secret_uses::configured(secrets, &config.secrets);
        match &self.internal {
            Some(internal) => {
                self.public.replace(&app.public());
                internal.replace(&app.internal());
            }
            None => self.public.replace(&app.everything()),
        }
        (*providers, *secrets) = (config.providers, config.secrets);
        metrics::reloaded(false);
        tracing::info!("the configuration was read again, and counts from now on");
    }
}

fn keep(error: &ConfigError) {
    for fault in error.faults() {
        tracing::error!(fault = %fault, "the configuration is faulty; the one before goes on");
    }
}
