use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError, Weak},
};

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

    /// Tells every listener, also those after one that panics; then the panic goes on.
    pub(crate) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        // Called without the lock: a listener may ask this store for something.
        let listeners: Vec<Arc<dyn ChangeListener>> = {
            let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().filter_map(Weak::upgrade).collect()
        };
        let mut panicked = None;
        for listener in listeners {
            let hear = || changes.iter().for_each(|change| listener.changed(*change));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(hear)) {
                panicked = Some(panic);
            }
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}
