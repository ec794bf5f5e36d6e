//! Purchases that are refunded before, while and after they are issued, by a backend that is killed in
//! the middle of it: nothing of them is alive afterwards.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::{
    cluster::{MASTER, access_token, call, issue, refund, report},
    process::{Answer, Request, Setup},
    servers::wait_until,
};

const CLIENTS: usize = 6;
const MILLISECOND: Duration = Duration::from_millis(1);

/// What the clients know of a purchase.
struct Purchase {
    /// The issued key, where the answer came.
    key: Option<String>,
    /// Whether the refund was answered.
    refunded: bool,
}

type Purchases = BTreeMap<u64, Purchase>;

/// What is alive of a purchase.
#[derive(Debug, PartialEq, Eq)]
struct Alive {
    key: Option<bool>,
    token: bool,
    /// Whether it is issued, at once or again.
    issued: bool,
}

/// Kills the backend so often; what was answered by then has happened, and the rest wholly or not at all.
pub(crate) fn leave_nothing_alive(name: &str, url: &str, kills: u64) {
    let setup = Setup::new()
        .set("DATABASE_URL", url)
        .set("MASTER_API_KEYS", MASTER)
        .set("API_KEY_TTL_SECONDS", "86400")
        .set("RUST_LOG", "warn");
    let (numbers, refunds) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut dead = Purchases::new();
    let (mut cut_off, mut done) = (0, 0);
    for kill in 0..kills {
        let backend = setup.start();
        let address = backend.public;
        let sent = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| scope.spawn(|| trade(address, &numbers, &refunds))).collect();
            // At another point of the work each time.
            let enough = refunds.load(Relaxed) + 1 + kill * 7 % 20;
            while refunds.load(Relaxed) < enough {
                assert!(clients.iter().any(|client| !client.is_finished()), "nothing is refunded");
                thread::sleep(MILLISECOND);
            }
            thread::sleep(Duration::from_micros(kill * 1_310 % 9_000));
            backend.kill();
            let sent = clients.into_iter().flat_map(|client| client.join().unwrap());
            sent.collect::<Purchases>()
        });

        let backend = setup.start();
        for (number, mut purchase) in sent {
            if !purchase.refunded {
                cut_off += 1;
                let whole = || {
                    let alive = alive(backend.public, number, &mut purchase);
                    alive.token == alive.issued && alive.key.is_none_or(|key| key == alive.token)
                };
                // The server may still be at what the backend has sent.
                assert!(wait_until(whole), "half of {number} is alive");
                done += u32::from(!alive(backend.public, number, &mut purchase).token);
                assert_eq!(refund(number).send(backend.public).status, 200);
            }
            is_dead(backend.public, number, &mut purchase);
            // A report that comes late brings nothing back.
            let paid = report(number).send(backend.public);
            assert_eq!(paid.status, 200, "{paid:?}");
            is_dead(backend.public, number, &mut purchase);
            dead.insert(number, purchase);
        }
        backend.kill();
    }
    let backend = setup.start();
    for (number, purchase) in &mut dead {
        is_dead(backend.public, *number, purchase);
    }
    let keys = dead.values().filter(|purchase| purchase.key.is_some()).count();
    println!(
        "{name}: {kills} kills amid {} purchases with {keys} keys, {cut_off} refunds without an \
         answer, {done} of them done: nothing is alive",
        dead.len()
    );
}

/// Buys and refunds in turn, each purchase in another order, until the server is gone.
fn trade(address: SocketAddr, numbers: &AtomicU64, refunds: &AtomicU64) -> Purchases {
    let mut purchases = Purchases::new();
    loop {
        let number = numbers.fetch_add(1, Relaxed);
        let buy = || answered(&issue(number), address);
        let give_back = || answered(&refund(number), address);
        let (bought, refunded) = match number % 3 {
            0 => {
                let refunded = give_back();
                (buy(), refunded)
            }
            1 => {
                let bought = buy();
                (bought, give_back())
            }
            _ => thread::scope(|scope| {
                let bought = scope.spawn(buy);
                thread::sleep(Duration::from_micros(number * 37 % 3_000));
                let refunded = give_back();
                (bought.join().unwrap(), refunded)
            }),
        };
        let key = bought.as_ref().and_then(|answer| match answer.status {
            200 => Some(answer.member("token")),
            409 if is_revoked(answer) => None,
            _ => panic!("{answer:?}"),
        });
        if let Some(answer) = &refunded {
            assert_eq!(answer.status, 200, "{answer:?}");
            refunds.fetch_add(1, Relaxed);
            // It counts from its answer on.
            for credential in key.iter().chain([&access_token(number)]) {
                let used = answered(&call(number, credential), address);
                assert!(used.is_none_or(|used| used.status == 401), "{number} was refunded");
            }
        }
        let gone = bought.is_none() || refunded.is_none();
        purchases.insert(number, Purchase { key, refunded: refunded.is_some() });
        if gone {
            return purchases;
        }
    }
}

/// The answer, unless the server is gone. One whose store is too slow is asked again.
fn answered(request: &Request, address: SocketAddr) -> Option<Answer> {
    loop {
        let answer = request.try_send(address).ok()?;
        if !answer.is_passing() {
            return Some(answer);
        }
    }
}

fn is_revoked(answer: &Answer) -> bool {
    ["purchase_revoked", "credential_revoked"].contains(&&*answer.member("code"))
}

fn alive(address: SocketAddr, number: u64, purchase: &mut Purchase) -> Alive {
    let opens = |credential: &str| match call(number, credential).send(address).status {
        200 => true,
        401 => false,
        status => panic!("{status} for {number}"),
    };
    let token = opens(&access_token(number));
    let answer = issue(number).send(address);
    let issued = match answer.status {
        200 => true,
        409 if is_revoked(&answer) => false,
        _ => panic!("{answer:?}"),
    };
    if issued {
        let key = answer.member("token");
        assert!(purchase.key.as_ref().is_none_or(|known| *known == key), "another key");
        purchase.key = Some(key);
    }
    Alive { key: purchase.key.as_deref().map(opens), token, issued }
}

fn is_dead(address: SocketAddr, number: u64, purchase: &mut Purchase) {
    let alive = alive(address, number, purchase);
    let key = purchase.key.is_some().then_some(false);
    assert_eq!(alive, Alive { key, token: false, issued: false }, "{number} was refunded");
}
