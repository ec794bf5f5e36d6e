use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Change, ChangeListener};

/// Who wants to hear of changes; held weakly, so that a cache can go.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<dyn ChangeListener>>>);

impl Listeners {
    pub(crate) fn add(&self, listener: Weak<dyn ChangeListener>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }

    pub(crate) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        // Called without the lock: a listener may ask this store for something.
        let listeners: Vec<Arc<dyn ChangeListener>> = {
            let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().filter_map(Weak::upgrade).collect()
        };
        for listener in listeners {
            for change in changes {
                listener.changed(*change);
            }
        }
    }
}
