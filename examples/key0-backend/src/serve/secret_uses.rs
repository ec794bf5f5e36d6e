//! Since when each secret is configured, and when it last verified something: whether it may go.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use key0_auth::domain::Secret;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    counter, gauge,
};
use metrics_exporter_prometheus::PrometheusRecorder;

const USES: &str = "key0_secret_uses_total";
const USED: &str = "key0_secret_used_timestamp_seconds";
const CONFIGURED: &str = "key0_secret_configured_timestamp_seconds";

/// Records as Prometheus wants it, and notes the time where a secret is counted.
pub(super) struct Dating(pub(super) PrometheusRecorder);

/// The uses of one secret, and the time of the last.
struct Dated {
    uses: Counter,
    used: Gauge,
}

impl CounterFn for Dated {
    fn increment(&self, value: u64) {
        self.uses.increment(value);
        if value > 0 {
            self.used.set(now());
        }
    }

    fn absolute(&self, value: u64) {
        self.uses.absolute(value);
    }
}

impl Recorder for Dating {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, about: SharedString) {
        self.0.describe_counter(name, unit, about);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, about: SharedString) {
        self.0.describe_gauge(name, unit, about);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, about: SharedString) {
        self.0.describe_histogram(name, unit, about);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let uses = self.0.register_counter(key, metadata);
        if key.name() != USES {
            return uses;
        }
        let used = Key::from_parts(USED, key.labels());
        let used = self.0.register_gauge(&used, metadata);
        Counter::from_arc(Arc::new(Dated { uses, used }))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.register_histogram(key, metadata)
    }
}

/// The secrets of the configuration are these from now on. One that was there under the same name keeps
/// its times.
pub(super) fn configured(before: &[Secret], secrets: &[Secret]) {
    let is = |one: &Secret, other: &Secret| {
        one.name() == other.name() && one.matches(other.expose_bytes())
    };
    for gone in before {
        if !secrets.iter().any(|secret| secret.name() == gone.name()) {
            gauge!(CONFIGURED, "secret" => gone.name().to_owned()).set(0.0);
        }
    }
    for secret in secrets {
        if before.iter().any(|known| is(known, secret)) {
            continue;
        }
        let name = secret.name().to_owned();
        // One that verifies nothing is shown, too.
        counter!(USES, "secret" => name.clone()).increment(0);
        gauge!(USED, "secret" => name.clone()).set(0.0);
        gauge!(CONFIGURED, "secret" => name).set(now());
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn secret(name: &str, text: &str) -> Secret {
        Secret::new(name, format!("{text}, long enough for a secret of these tests")).unwrap()
    }

    #[test]
    fn each_secret_tells_since_when_it_is_there_and_when_it_was_used() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let value = |of: &str, secret: &str| -> Option<f64> {
            let series = format!("{of}{{secret=\"{secret}\"}} ");
            let text = handle.render();
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
        };
        metrics::with_local_recorder(&Dating(recorder), || {
            let (new, old) = (secret("NEW", "new"), secret("OLD", "old"));
            let first = [new.clone(), old.clone()];
            configured(&[], &first);
            assert_eq!((value(USES, "OLD"), value(USED, "OLD")), (Some(0.0), Some(0.0)));
            let since = value(CONFIGURED, "OLD");
            assert!(since > Some(0.0));

            counter!(USES, "secret" => "OLD").increment(1);
            assert_eq!(value(USES, "OLD"), Some(1.0));
            let used = value(USED, "OLD");
            assert!(used >= since && value(USED, "NEW") == Some(0.0));

            configured(&first, &[new.clone(), old]);
            assert_eq!((value(CONFIGURED, "OLD"), value(USED, "OLD")), (since, used));
            configured(&first, &[new.clone(), secret("OLD", "another")]);
            assert_eq!(value(USED, "OLD"), Some(0.0));
            configured(&first, &[new]);
            assert_eq!(value(CONFIGURED, "OLD"), Some(0.0));
        });
    }
}
