//! Mints through a proxy that loses a third of the answers, while the server is killed again and
//! again: every mint counts once, whatever its retries.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::process::{Answer, Request, Setup, connect};

const MINTER_KEY: &str = "hush-a-minter-key-of-these-tests-32";
const CLIENTS: usize = 8;
/// How long a client leaves a mint alone whose last try came to nothing.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the whole may take on any machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Stands between the clients and the server, and passes on two answers of three.
struct Proxy {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    answers: AtomicU64,
    dropped: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(SeqCst) {
                    break;
                }
                let (client, counts) = (client.unwrap(), Arc::clone(&shared));
                // Whatever breaks, the client finds its connection closed.
                thread::spawn(move || drop(pass_on(client, server, &counts)));
            }
        });
        Self { address, counts }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.counts.ended.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// One request and its answer, which every third time is read and thrown away.
fn pass_on(mut client: TcpStream, server: SocketAddr, counts: &Counts) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 4_096];
    while !is_whole(&request) {
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    let mut upstream = connect(server)?;
    upstream.write_all(&request)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if !is_whole(&answer) {
        return Ok(());
    }
    if counts.answers.fetch_add(1, SeqCst) % 3 == 2 {
        counts.dropped.fetch_add(1, SeqCst);
        return Ok(());
    }
    client.write_all(&answer)
}

/// Whether the head is there, and a body of the length that it says.
fn is_whole(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

/// The mints that are still to be done, each with the time of its next try.
struct Work {
    mints: u64,
    open: Mutex<VecDeque<(u64, Instant)>>,
    /// By number: the balance that was answered.
    done: Mutex<BTreeMap<u64, i64>>,
    tries: AtomicU64,
    replayed: AtomicU64,
    in_progress: AtomicU64,
    deadline: Instant,
}

impl Work {
    /// Does what there is until nothing is left.
    fn carry_out(&self, address: SocketAddr) {
        loop {
            assert!(Instant::now() < self.deadline, "it comes to no end");
            let next = self.open.lock().unwrap().pop_front();
            let Some((n, from)) = next else {
                if self.done.lock().unwrap().len() as u64 == self.mints {
                    return;
                }
                thread::sleep(PAUSE);
                continue;
            };
            thread::sleep(from.saturating_duration_since(Instant::now()));
            self.tries.fetch_add(1, SeqCst);
            match mint(n).try_send(address) {
                Ok(answer) if answer.status == 200 => {
                    let replayed = answer.header("idempotent-replayed").is_some();
                    self.replayed.fetch_add(u64::from(replayed), SeqCst);
                    let balance = answer.json()["newamount"].as_i64().unwrap();
                    self.done.lock().unwrap().insert(n, balance);
                    continue;
                }
                // The server died in the middle of it: its key is free when the lease ends.
                Ok(answer) if answer.status == 409 => {
                    assert_eq!(answer.member("code"), "idempotency_in_progress", "{answer:?}");
                    assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    self.in_progress.fetch_add(1, SeqCst);
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                Err(_) => {}
            }
            self.open.lock().unwrap().push_back((n, Instant::now() + PAUSE));
        }
    }
}

fn mint(n: u64) -> Request {
    Request::post("/v1/loyalty/account/wallet-1/mint", &json!({ "amount": n }))
        .header("X-Api-Key", MINTER_KEY)
        .header("Idempotency-Key", &format!("mint-{n}"))
}

fn get(path: &str, address: SocketAddr) -> Answer {
    Request::get(path).header("X-Api-Key", MINTER_KEY).send(address)
}

#[test]
fn every_mint_counts_once() {
    storm(100, 2);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_amid_mints_that_count_once_each() {
    storm(1_000, 20);
}

fn storm(mints: u64, kills: u64) {
    let started = Instant::now();
    let setup = Setup::new().set("MINTER_API_KEYS", MINTER_KEY).set("RUST_LOG", "warn");
    let first = setup.start();
    let server = first.public;
    let setup = setup.set("PORT", server.port().to_string());
    let proxy = Proxy::before(server);
    let work = Work {
        mints,
        open: Mutex::new((1..=mints).map(|n| (n, started)).collect()),
        done: Mutex::default(),
        tries: AtomicU64::new(0),
        replayed: AtomicU64::new(0),
        in_progress: AtomicU64::new(0),
        deadline: started + PATIENCE,
    };
    let _last = thread::scope(|scope| {
        let mut backend = first;
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| work.carry_out(proxy.address))).collect();
        for kill in 1..=kills {
            // In the middle of the work each time, and never at its end.
            while (work.done.lock().unwrap().len() as u64) < kill * mints / (kills + 1) {
                assert!(!clients.iter().any(|client| client.is_finished()), "a client broke off");
                thread::sleep(Duration::from_millis(1));
            }
            backend.kill();
            backend = setup.start();
        }
        for client in clients {
            client.join().unwrap();
        }
        backend
    });

    let done = work.done.into_inner().unwrap();
    let total = i64::try_from(mints * (mints + 1) / 2).unwrap();
    let orders = get("/v1/loyalty/orders?walletId=wallet-1", server).json();
    let orders = orders["orders"].as_array().unwrap().clone();
    let mut amounts: Vec<u64> =
        orders.iter().map(|order| order["amount"].as_u64().unwrap()).collect();
    amounts.sort_unstable();
    let sum: u64 = amounts.iter().sum();
    let count = |count: &AtomicU64| count.load(SeqCst);
    println!(
        "{mints} mints in {} tries, {} of {} answers dropped, {kills} kills: {} orders, {sum} \
         points, {total} expected; {} answers replayed, {} tries came while a key was held; {:.1} s",
        count(&work.tries),
        count(&proxy.counts.dropped),
        count(&proxy.counts.answers),
        orders.len(),
        count(&work.replayed),
        count(&work.in_progress),
        started.elapsed().as_secs_f64()
    );
    assert_eq!(amounts, (1..=mints).collect::<Vec<_>>());
    // Every balance was that after one mint and no other, up to the last one.
    assert_eq!(done.values().collect::<BTreeSet<_>>().len() as u64, mints);
    assert_eq!(done.values().max(), Some(&total));
    let last = mint(mints + 1).send(server).json();
    assert_eq!(last, json!({ "newamount": total + i64::try_from(mints + 1).unwrap() }));
    let ids: BTreeSet<_> = orders.iter().map(|order| order["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len() as u64, mints);
    assert!(count(&proxy.counts.dropped) >= mints / 3);

    let settled = |order: &Value| order["status"] == "settled";
    while !get("/v1/loyalty/orders?walletId=wallet-1", server).json()["orders"]
        .as_array()
        .unwrap()
        .iter()
        .all(settled)
    {
        assert!(started.elapsed() < PATIENCE, "some orders stay pending");
        thread::sleep(Duration::from_millis(100));
    }
}
