//! Denied access tokens.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Case,
    samples::{ChangeRecorder, after, at},
};
use crate::{
    domain::ChallengeId,
    store::{
        DenialStore,
        spi::{Change, Denial, TokenDigest},
    },
};

fn token(jti: &str) -> TokenDigest {
    TokenDigest::of(&ChallengeId::new(jti).unwrap())
}

fn denial(jti: &str, until: i64) -> Denial {
    Denial { token: token(jti), until: at(until) }
}

async fn all(store: &Arc<dyn DenialStore>, limit: u32) -> Vec<Denial> {
    let mut all: Vec<Denial> = Vec::new();
    loop {
        let page = store.denials(all.last().map(|last| &last.token), limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        let is_last = page.is_empty();
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

async fn what_is_denied_is_read_page_by_page(store: Arc<dyn DenialStore>) {
    assert_eq!(store.denials(None, 10).await.unwrap(), []);
    let denied: Vec<_> = (0..10).map(|n| denial(&format!("c-{n}"), n)).collect();
    for denial in &denied {
        store.deny(denial).await.unwrap();
    }
    let mut sorted = denied.clone();
    sorted.sort_by_key(|denial| denial.token);
    for limit in [1, 3, 10, 11] {
        assert_eq!(all(&store, limit).await, sorted, "{limit}");
    }
    let exact = Denial { token: token("exact"), until: after(5, 3) };
    store.deny(&exact).await.unwrap();
    assert!(all(&store, 100).await.contains(&exact));
}

async fn denied_twice_it_is_so_until_the_later_end(store: Arc<dyn DenialStore>) {
    for until in [10, 30, 20] {
        store.deny(&denial("c", until)).await.unwrap();
    }
    assert_eq!(store.denials(None, 10).await.unwrap(), [denial("c", 30)]);
}

async fn of_racing_denials_all_count(store: Arc<dyn DenialStore>) {
    let racing: Vec<_> = (0..50)
        .map(|n| {
            let store = store.clone();
            let denial = denial(&format!("c-{}", n % 25), n);
            tokio::spawn(async move { store.deny(&denial).await })
        })
        .collect();
    for denied in racing {
        denied.await.unwrap().unwrap();
    }
    let tokens: BTreeSet<_> = all(&store, 7).await.iter().map(|denial| denial.token).collect();
    assert_eq!(tokens, (0..25).map(|n| token(&format!("c-{n}"))).collect());
}

async fn a_purge_takes_what_is_over_and_no_more_than_asked(store: Arc<dyn DenialStore>) {
    for n in 0..10 {
        store.deny(&denial(&format!("c-{n}"), n)).await.unwrap();
    }
    assert_eq!(store.purge_denials(at(5), 3).await.unwrap(), 3);
    assert_eq!(store.purge_denials(at(5), 3).await.unwrap(), 2);
    assert_eq!(store.purge_denials(at(5), 3).await.unwrap(), 0);
    let left: BTreeSet<_> = all(&store, 100).await.iter().map(|denial| denial.until).collect();
    assert_eq!(left, (5..10).map(at).collect());
    // One that was purged can be denied again.
    store.deny(&denial("c-0", 50)).await.unwrap();
    assert!(all(&store, 100).await.contains(&denial("c-0", 50)));
}

async fn listeners_hear_of_a_denial_before_the_return(store: Arc<dyn DenialStore>) {
    let recorder = ChangeRecorder::on(&*store);
    store.deny(&denial("c", 10)).await.unwrap();
    assert!(recorder.heard(Change::Token(token("c"))));
    assert!(!recorder.heard(Change::Token(token("d"))));
}

pub(super) const CASES: &[Case<Arc<dyn DenialStore>>] = cases!["denials":
    what_is_denied_is_read_page_by_page,
    denied_twice_it_is_so_until_the_later_end,
    of_racing_denials_all_count,
    a_purge_takes_what_is_over_and_no_more_than_asked,
];

pub(super) const NOTIFICATIONS: &[Case<Arc<dyn DenialStore>>] = cases!["denials":
    listeners_hear_of_a_denial_before_the_return,
];
