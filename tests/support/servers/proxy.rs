//! A proxy on loopback that can be told to misbehave.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

/// Hands connections on to a server, until it is told otherwise.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    sockets: Vec<TcpStream>,
    /// How many connections were taken.
    taken: usize,
    /// How many of them, the first ones, are lost for ever.
    lost: usize,
    /// How long each piece is under way.
    delay: Duration,
    ended: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mood {
    #[default]
    Open,
    /// New connections are closed at once.
    Closed,
    /// Connections are taken, and no byte is handed on.
    Stalled,
}

impl Proxy {
    /// Listens on a free port.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: target.into(),
            state: Mutex::default(),
            changed: Condvar::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// New connections lead to another server; those that are there stay.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// Cuts every connection; new ones are handed on.
    pub fn cut(&self) {
        let sockets = std::mem::take(&mut self.shared.state.lock().unwrap().sockets);
        sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
    }

    /// Cuts every connection and refuses new ones.
    pub fn refuse(&self) {
        self.set(Mood::Closed);
        self.cut();
    }

    /// Hands no byte on any more, and closes nothing: what a lost network looks like.
    pub fn stall(&self) {
        self.set(Mood::Stalled);
    }

    /// Hands on again, also what was held back.
    pub fn restore(&self) {
        self.set(Mood::Open);
    }

    /// Hands on what new connections say. Those of before are lost, and nobody tells them.
    pub fn abandon(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.lost = state.taken;
        drop(state);
        self.restore();
    }

    /// From now on every piece takes this long, in either direction.
    pub fn delay(&self, delay: Duration) {
        self.shared.state.lock().unwrap().delay = delay;
    }

    /// How many connections were ever taken.
    pub fn taken(&self) -> usize {
        self.shared.state.lock().unwrap().taken
    }

    fn set(&self, mood: Mood) {
        self.shared.state.lock().unwrap().mood = mood;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().ended = true;
        self.refuse();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.state.lock().unwrap().ended {
                return;
            }
            let Ok(client) = client else { continue };
            if self.state.lock().unwrap().mood == Mood::Closed {
                continue;
            }
            let target = *self.target.lock().unwrap();
            let Ok(server) = TcpStream::connect(target) else { continue };
            for socket in [&client, &server] {
                socket.set_nodelay(true).unwrap();
            }
            let mut state = self.state.lock().unwrap();
            state.taken += 1;
            let number = state.taken;
            state.sockets.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
            drop(state);
            for (from, to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                let shared = Arc::clone(&self);
                thread::spawn(move || shared.hand_on(number, from, to));
            }
        }
    }

    fn hand_on(&self, number: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            thread::sleep(self.state.lock().unwrap().delay);
            let held = |state: &mut State| {
                !state.ended && (state.mood == Mood::Stalled || number <= state.lost)
            };
            drop(self.changed.wait_while(self.state.lock().unwrap(), held).unwrap());
            if to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
