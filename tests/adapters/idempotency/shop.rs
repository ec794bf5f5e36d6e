//! What is behind the middlewares: a shop whose every order takes effect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use key0_auth::{
    ApiKeys, MemoryStore, Rejection, RejectionKind, Validator,
    apikey::BootstrapKeys,
    domain::{Clock, Role, Secret, Timestamp},
    idempotency::{Idempotency, IdempotentRequest},
    testing::{FakeClock, FaultyStore},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

pub const ALICE: &str = "the-key-of-alice-s-back-office-32-bytes";
pub const BOB: &str = "the-key-of-bob-s-back-office-of-32-bytes";

/// Goes with the runtime's time, which the cases pause.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        FakeClock::START.plus(self.0.elapsed())
    }
}

pub struct Shop {
    pub store: Arc<FaultyStore<MemoryStore>>,
    pub validator: Validator,
    clock: Arc<RuntimeClock>,
    orders: AtomicUsize,
    gate: Semaphore,
}

/// What a handler answers, in the words of no framework.
pub enum Says {
    Answer(Answered),
    Refuses(Rejection),
}

pub struct Answered {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub chunks: Vec<Bytes>,
    pub breaks_off: bool,
    pub kept: bool,
}

impl Shop {
    pub fn new() -> Arc<Self> {
        let key = |name: &str, key: &str| Secret::new(name, key).unwrap();
        let partners = BootstrapKeys::new()
            .key(Role::Minter, key("alice", ALICE))
            .key(Role::Minter, key("bob", BOB));
        let keys = ApiKeys::new(Arc::new(MemoryStore::new())).bootstrap(partners);
        let validator = Validator::builder().api_keys(keys).realm("shop").build().unwrap();
        Arc::new(Self {
            store: FaultyStore::new(MemoryStore::new()),
            validator,
            clock: Arc::new(RuntimeClock(Instant::now())),
            orders: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        })
    }

    pub fn idempotency(&self) -> Idempotency {
        Idempotency::new(self.store.clone()).clock(self.clock.clone())
    }

    /// How often a handler ran.
    pub fn orders(&self) -> usize {
        self.orders.load(SeqCst)
    }

    /// Lets one waiting handler go on.
    pub fn let_go_on(&self) {
        self.gate.add_permits(1);
    }

    /// The handler of every path.
    pub async fn handle(&self, path: &str, of: Option<IdempotentRequest>) -> Says {
        let number = self.orders.fetch_add(1, SeqCst) + 1;
        let order = format!("{{\"order\":{number}}}");
        let (route, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let mut answered = Answered {
            status: 201,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("location", format!("/orders/{number}")),
                ("set-cookie", format!("cart={number}")),
                ("date", "Tue, 24 Nov 2026 19:00:00 GMT".to_owned()),
                ("x-request-id", format!("request-{number}")),
            ],
            chunks: vec![Bytes::from(order)],
            breaks_off: false,
            kept: true,
        };
        match route {
            "orders" => {}
            "status" => answered.status = rest.parse().unwrap(),
            "waits" => self.gate.acquire().await.unwrap().forget(),
            "sleeps" => sleep(Duration::from_secs(rest.parse().unwrap())).await,
            "panics" if number == 1 => panic!("a handler that panics"),
            "panics" => {}
            "secret" => answered.kept = false,
            "large" => answered.chunks = vec![Bytes::from(vec![b'x'; rest.parse().unwrap()])],
            "streams" => {
                let chunks = rest.parse().unwrap();
                answered.chunks = vec![Bytes::from(vec![b'x'; 1_000]); chunks];
            }
            "breaks" => {
                answered.chunks = vec![Bytes::from("part one, "), Bytes::from("part two")];
                answered.breaks_off = number == 1;
            }
            "whose" => {
                let of = of.map(|of| (of.caller().to_owned(), of.key().to_owned()));
                answered.chunks = vec![Bytes::from(format!("{of:?}"))];
            }
            "conflicts" => return Says::Refuses(RejectionKind::RequestConflict.into()),
            "forbidden" => {
                return Says::Refuses(RejectionKind::InsufficientPermissions.into());
            }
            "fails" if rest == "500" => return Says::Refuses(RejectionKind::Internal.into()),
            "fails" => return Says::Refuses(RejectionKind::RequestConflict.into()),
            "reused" if number == 1 => {
                return Says::Refuses(RejectionKind::IdempotencyKeyReused.into());
            }
            "reused" => {}
            other => panic!("no such route: {other}"),
        }
        Says::Answer(answered)
    }
}
