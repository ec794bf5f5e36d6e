//! Which connections are open, and which go where there are too many.
//!
//! A connection that waits for the head of a request, or for the rest of its body, costs its client
//! next to nothing, so nobody is kept out by such ones: where all places are taken, those that have
//! waited longest are closed, first of the address that holds the most.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

use super::{metrics, rarely::Rarely};
use crate::config::Proxies;

/// How long a client may take to send the head of a request, and how long a connection may idle.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The same while three quarters of all places are taken, however long ago a connection came.
const SHORT_HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// How often is looked for those that have idled for longer than that.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// This part of all places is made free at a time, so that not every new connection has to look
/// through all others.
const SWEPT_PART: usize = 16;

/// The connections of one listener. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listener: &'static str,
    limit: usize,
    proxies: Proxies,
    /// How many there are, to be read at each request.
    open: AtomicUsize,
    table: Mutex<Table>,
    swept: Rarely,
    refused: Rarely,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
    /// How many each address has.
    held: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    activity: Activity,
    task: AbortHandle,
}

/// What a connection does at the moment.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// Since when a head is waited for, in milliseconds from the beginning, plus one; nothing while
    /// none is.
    waits_since: AtomicU64,
    /// The same of a body. What comes of it in between does not count: it may come byte by byte.
    body_since: AtomicU64,
    /// Whether an answer is not yet taken by the client.
    unsent: AtomicBool,
}

/// A connection's place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Connections,
    number: u64,
}

impl Connections {
    /// None yet, of this many at most. The limit of one address does not hold for these proxies.
    pub(crate) fn new(listener: &'static str, limit: usize, proxies: Proxies) -> Self {
        metrics::connections_limit(listener, limit);
        Self(Arc::new(Shared {
            listener,
            limit,
            proxies,
            open: AtomicUsize::new(0),
            table: Mutex::default(),
            swept: Rarely::default(),
            refused: Rarely::default(),
        }))
    }

    /// Whether three quarters of all places are taken.
    pub(crate) fn are_many(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) >= self.0.limit - self.0.limit / 4
    }

    /// Starts a connection's task, unless there is no place for it. The task keeps its place as
    /// long as it lasts.
    pub(crate) fn start(&self, peer: IpAddr, task: impl FnOnce(Activity, Place) -> AbortHandle) {
        let address = network(peer);
        let mut table = self.table();
        let held = table.held.get(&address).copied().unwrap_or(0);
        let share = if self.is_exempt(peer) { usize::MAX } else { self.0.limit / 4 };
        let has_its_share = self.are_many() && held >= share;
        if !has_its_share && table.entries.len() >= self.0.limit {
            let swept = table.sweep((self.0.limit / SWEPT_PART).max(1), &self.0.proxies);
            metrics::connections_closed(self.0.listener, "idle", swept);
            if let Some(swept) = (swept > 0).then(|| self.0.swept.happened(swept)).flatten() {
                let Shared { listener, limit, .. } = *self.0;
                tracing::warn!(listener, limit, swept, "idle connections were closed for others");
            }
        }
        if has_its_share || table.entries.len() >= self.0.limit {
            drop(table);
            metrics::connections_closed(self.0.listener, "refused", 1);
            if let Some(refused) = self.0.refused.happened(1) {
                let Shared { listener, limit, .. } = *self.0;
                tracing::warn!(listener, limit, refused, "connections were refused: too many");
            }
            return;
        }
        let number = table.next;
        table.next += 1;
        let activity = Activity::new();
        // It may end at once, and then waits for the table to say so.
        let task = task(activity.clone(), Place { connections: self.clone(), number });
        table.entries.insert(number, Entry { address, activity, task });
        *table.held.entry(address).or_default() += 1;
        self.0.opened(table.entries.len());
    }

    /// Closes those that wait for the head of a request, or for the rest of one.
    pub(crate) fn close_waiting(&self) {
        self.close_those_that_waited(Activity::waiting_for_head, Duration::ZERO);
    }

    /// While three quarters of all places are taken, closes those that have waited too long for that.
    pub(crate) fn close_idle(&self) {
        if self.are_many() {
            let closed = self.close_those_that_waited(Activity::waiting_since, SHORT_HEAD_TIMEOUT);
            metrics::connections_closed(self.0.listener, "idle", closed);
        }
    }

    fn close_those_that_waited(
        &self,
        since: impl Fn(&Activity) -> Option<Instant>,
        so_long: Duration,
    ) -> usize {
        let mut table = self.table();
        let waited = table.entries.iter().filter(|(_, entry)| {
            since(&entry.activity).is_some_and(|since| since.elapsed() >= so_long)
        });
        let waited: Vec<_> = waited.map(|(number, _)| *number).collect();
        for number in &waited {
            table.close(*number);
        }
        waited.len()
    }

    /// Whether many clients may have this address: a proxy that is named, or one on this host.
    fn is_exempt(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.0.proxies.contain(peer)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes up to so many that wait for a request, and says how many that were.
    fn sweep(&mut self, wanted: usize, proxies: &Proxies) -> usize {
        let held = |address: &IpAddr| match proxies.contain(*address) {
            true => 1,
            false => self.held.get(address).copied().unwrap_or(0),
        };
        let mut waiting: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(number, entry)| {
                Some((Reverse(held(&entry.address)), entry.activity.waiting_since()?, *number))
            })
            .collect();
        if waiting.len() > wanted {
            waiting.select_nth_unstable(wanted - 1);
            waiting.truncate(wanted);
        }
        for (_, _, number) in &waiting {
            self.close(*number);
        }
        waiting.len()
    }

    fn close(&mut self, number: u64) {
        if let Some(entry) = self.remove(number) {
            entry.task.abort();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if let Some(held) = self.held.get_mut(&entry.address) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&entry.address);
            }
        }
        Some(entry)
    }
}

impl Shared {
    fn opened(&self, count: usize) {
        self.open.store(count, Ordering::Relaxed);
        metrics::connections(self.listener, count);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        table.remove(self.number);
        self.connections.0.opened(table.entries.len());
    }
}

impl Activity {
    pub(crate) fn new() -> Self {
        let [waits_since, body_since] = [const { AtomicU64::new(0) }; 2];
        let unsent = AtomicBool::new(false);
        Self(Arc::new(State { began: Instant::now(), waits_since, body_since, unsent }))
    }

    /// It waits for the head of a request from now on.
    pub(crate) fn waits(&self) {
        self.0.waits_since.store(self.now(), Ordering::Relaxed);
    }

    /// It waits for the rest of a body from now on, unless it does so already.
    pub(crate) fn waits_for_body(&self) {
        if self.0.body_since.load(Ordering::Relaxed) == 0 {
            self.0.body_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// It does not wait for a body any more.
    pub(crate) fn needs_no_body(&self) {
        if self.0.body_since.load(Ordering::Relaxed) != 0 {
            self.0.body_since.store(0, Ordering::Relaxed);
        }
    }

    /// Nothing is left but that the client closes its side.
    pub(crate) fn is_over(&self) {
        self.0.waits_since.store(1, Ordering::Relaxed);
    }

    /// It does not wait for a head any more.
    pub(crate) fn goes_on(&self) {
        self.0.waits_since.store(0, Ordering::Relaxed);
    }

    /// Whether the client has not yet taken what it was answered.
    pub(crate) fn is_unsent(&self, unsent: bool) {
        if self.0.unsent.load(Ordering::Relaxed) != unsent {
            self.0.unsent.store(unsent, Ordering::Relaxed);
        }
    }

    /// Since when it waits for a head, where it does nothing else.
    fn waiting_for_head(&self) -> Option<Instant> {
        self.since(&self.0.waits_since)
    }

    /// Since when it waits for a head or for a body, where it does nothing else.
    fn waiting_since(&self) -> Option<Instant> {
        self.waiting_for_head().or_else(|| self.since(&self.0.body_since))
    }

    fn since(&self, millis: &AtomicU64) -> Option<Instant> {
        let millis = millis.load(Ordering::Relaxed).checked_sub(1)?;
        let sent = !self.0.unsent.load(Ordering::Relaxed);
        sent.then(|| self.0.began + Duration::from_millis(millis))
    }

    /// In milliseconds from the beginning, plus one.
    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

/// What counts as one address: of IPv6 the network that one customer is given.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const AGENT: [u8; 4] = [203, 0, 113, 1];
    const OTHER: [u8; 4] = [198, 51, 100, 1];
    const LOCAL: [u8; 4] = [127, 0, 0, 1];
    const SECOND: Duration = Duration::from_secs(1);

    fn of_sixteen() -> Connections {
        Connections::new("public", 16, Proxies::default())
    }

    /// A connection that does what its activity says, for ever. Nothing where it was refused.
    fn open(connections: &Connections, address: [u8; 4]) -> Option<Activity> {
        let mut opened = None;
        connections.start(address.into(), |activity, place| {
            opened = Some(activity);
            let task = async move {
                std::future::pending::<()>().await;
                drop(place);
            };
            tokio::spawn(task).abort_handle()
        });
        opened
    }

    fn waiting(connections: &Connections, address: [u8; 4]) -> Option<Activity> {
        let opened = open(connections, address);
        opened.inspect(Activity::waits)
    }

    fn held(connections: &Connections, address: [u8; 4]) -> usize {
        connections.table().held.get(&IpAddr::from(address)).copied().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_makes_room_and_of_the_address_with_the_most_first() {
        let connections = of_sixteen();
        for _ in 0..4 {
            waiting(&connections, OTHER).unwrap();
        }
        tokio::time::advance(SECOND).await;
        for _ in 0..12 {
            waiting(&connections, LOCAL).unwrap();
        }
        assert!(connections.are_many());
        for n in 1..=4 {
            assert!(waiting(&connections, AGENT).is_some());
            assert_eq!((held(&connections, LOCAL), held(&connections, OTHER)), (12 - n, 4));
        }
        // It has its share, and nobody else has to go for more.
        assert!(waiting(&connections, AGENT).is_none());
        assert_eq!((held(&connections, LOCAL), held(&connections, OTHER)), (8, 4));
        assert_eq!(connections.table().entries.len(), 16);
        // Those that were closed have gone, and gave nobody else's place away.
        tokio::task::yield_now().await;
        assert_eq!(connections.0.open.load(Ordering::Relaxed), 16);
        connections.close_waiting();
        tokio::task::yield_now().await;
        assert_eq!(connections.0.open.load(Ordering::Relaxed), 0);
        assert!(connections.table().held.is_empty());
    }

    /// Whatever it was when they came, and only as long as so many are there.
    #[tokio::test(start_paused = true)]
    async fn where_they_are_many_nobody_idles_for_long() {
        let connections = of_sixteen();
        let idle = |count: u8| {
            (0..count).map(|n| waiting(&connections, [192, 0, 2, n]).unwrap()).collect::<Vec<_>>()
        };
        let _first = idle(8);
        let answered = open(&connections, LOCAL).unwrap();
        tokio::time::advance(10 * SECOND).await;
        connections.close_idle();
        assert_eq!(connections.table().entries.len(), 9);
        let _second = idle(3);
        connections.close_idle();
        assert_eq!(
            connections.table().entries.len(),
            4,
            "those that came last, and who is answered"
        );
        assert_eq!(held(&connections, LOCAL), 1);
        tokio::task::yield_now().await;
        tokio::time::advance(10 * SECOND).await;
        connections.close_idle();
        assert_eq!(connections.table().entries.len(), 4, "they are few");
        drop(answered);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_answered_keeps_its_place() {
        let connections = of_sixteen();
        let answered: Vec<_> = (0..15).map(|_| open(&connections, LOCAL).unwrap()).collect();
        let unsent = waiting(&connections, LOCAL).unwrap();
        unsent.is_unsent(true);
        assert!(open(&connections, OTHER).is_none());
        unsent.is_unsent(false);
        assert!(open(&connections, OTHER).is_some());
        assert!(open(&connections, OTHER).is_none());
        answered[0].waits();
        assert!(open(&connections, OTHER).is_some());
    }

    /// A body that comes byte by byte is waited for all the while.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_body_makes_room_too() {
        let connections = of_sixteen();
        let trickling: Vec<_> = (0..16).map(|_| open(&connections, LOCAL).unwrap()).collect();
        assert!(open(&connections, OTHER).is_none());
        trickling.iter().for_each(Activity::waits_for_body);
        tokio::time::advance(2 * SECOND).await;
        trickling.iter().for_each(Activity::waits_for_body);
        connections.close_idle();
        assert_eq!(held(&connections, LOCAL), 16);
        assert!(open(&connections, OTHER).is_some());
        assert_eq!(held(&connections, LOCAL), 15);
        trickling[8..].iter().for_each(Activity::needs_no_body);
        // What a stop closes soon are heads alone.
        connections.close_waiting();
        assert_eq!(held(&connections, LOCAL), 15);
        tokio::time::advance(SECOND).await;
        connections.close_idle();
        assert_eq!(held(&connections, LOCAL), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn where_they_are_many_one_address_has_a_quarter() {
        let proxy = "10.0.0.1".parse().unwrap();
        let opened = |address: [u8; 4], proxies: &Proxies| {
            let connections = Connections::new("public", 16, proxies.clone());
            for n in 0..8 {
                open(&connections, [192, 0, 2, n]).unwrap();
            }
            (0..8).filter(|_| open(&connections, address).is_some()).count()
        };
        let proxies = Proxies::of(proxy);
        assert_eq!(opened(AGENT, &proxies), 4);
        assert_eq!(opened([10, 0, 0, 1], &proxies), 8);
        assert_eq!(opened([10, 0, 0, 1], &Proxies::default()), 4);
        assert_eq!(opened(LOCAL, &proxies), 8);
        // Full of one that is exempt, whose idle ones go as all others do.
        let connections = of_sixteen();
        for _ in 0..40 {
            waiting(&connections, LOCAL).unwrap();
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |address: &str| network(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:203.0.113.1"), "203.0.113.1");
    }
}
