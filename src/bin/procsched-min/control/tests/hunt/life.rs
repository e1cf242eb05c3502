//! A life: what clients do by chance, and from time to time a comparison.

use std::time::{Duration, Instant};

use procsched::Status;

use super::ask::{Asker, Kind, Order};
use super::book::{Book, Role};
use super::peer::{Answered, Peer};
use super::rng::Rng;
use super::world::{GUESTS, Guest, World};
use crate::clock;
use crate::control::CLIENTS_MAX;

const NAMES: [&str; 6] = ["alpha", "bravo", "coast", "delta", "eagle", "field"];

/// The clients besides the one that follows.
const PEERS_MAX: usize = CLIENTS_MAX - 1;

/// The time in which everything has to come to rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// The age of a life from which the server may close a connection for its time limit.
const YOUTH: Duration = Duration::from_secs(8);

/// The turns in which everything has to come to rest: more are a loop that does not wait.
const TURNS_MAX: usize = 5000;

pub struct Life {
    chance: Rng,
    programs: Vec<(&'static str, Role, bool)>,
    names: Vec<&'static str>,
    world: World,
    book: Book,
    peers: Vec<Peer>,
    connected: usize,
    /// The orders that were written down, and those that the server has taken.
    orders: usize,
    taken: usize,
    acts: Vec<String>,
    began_at: Instant,
}

impl Life {
    pub fn new(seed: u64) -> Self {
        let mut chance = Rng::new(seed);
        let count = 3 + chance.index(4);
        let roles = [
            Role::Sleeper,
            Role::Once,
            Role::Stubborn,
            Role::Sleeper,
            Role::Failing,
        ];
        let program = |index: usize| {
            let role = if index < 3 {
                roles[index]
            } else {
                chance.pick(&roles)
            };
            (NAMES[index], role, !chance.one_in(3))
        };
        let programs: Vec<_> = (0..count).map(program).collect();
        let world = World::new(&programs, chance.one_in(2));
        Self {
            names: programs.iter().map(|program| program.0).collect(),
            book: Book::new(&programs),
            chance,
            programs,
            world,
            peers: Vec::new(),
            connected: 0,
            orders: 0,
            taken: 0,
            acts: Vec::new(),
            began_at: clock::steady(),
        }
    }

    pub fn acts(&self) -> &[String] {
        &self.acts
    }

    pub fn taken(&self) -> usize {
        self.taken
    }

    pub fn turns(&self) -> usize {
        self.world.turns
    }

    pub fn run(&mut self) -> Result<(), String> {
        self.settle()?;
        for _ in 0..1 + self.chance.index(4) {
            for _ in 0..10 + self.chance.index(40) {
                self.act()?;
                for _ in 0..self.chance.pick(&[0, 0, 1, 1, 2, 5]) {
                    self.turn(Duration::ZERO)?;
                }
            }
            self.settle()?;
        }
        if self.chance.one_in(4) {
            self.crowd()?;
        }
        if self.chance.one_in(3) {
            return self.shut_down();
        }
        self.end()
    }

    fn note(&mut self, act: String) {
        self.acts.push(act);
    }

    fn act(&mut self) -> Result<(), String> {
        if self.peers.len() < PEERS_MAX && (self.peers.is_empty() || self.chance.one_in(6)) {
            self.connect();
        }
        let index = self.chance.index(self.peers.len());
        match self.chance.index(30) {
            0..=9 => self.ask(index),
            10..=17 => {
                let most = self.chance.pick(&[1, 2, 10, 100, 5000, 200_000]);
                self.send(index, most);
            }
            18..=19 => self.send_all_but_one(index),
            20 => {
                let peer = &mut self.peers[index];
                peer.reads = !peer.reads;
                let act = format!("client {} reads: {}", peer.number, peer.reads);
                self.note(act);
            }
            21 => {
                self.peers[index].end_input();
                let act = format!("client {} ends its input", self.peers[index].number);
                self.note(act);
            }
            22..=24 => self.vanish(index),
            25 => {
                let is_valid = !self.chance.one_in(3);
                let guests = is_valid.then(|| self.any_guests());
                self.note(format!("the config has these guests: {guests:?}"));
                self.world.rewrite_config(&self.programs, guests);
            }
            _ => {
                let most = self.chance.pick(&[1, 50, 1000]);
                self.read(index, most)?;
            }
        }
        Ok(())
    }

    fn any_guests(&mut self) -> Vec<Guest> {
        let mut guests = Vec::new();
        for name in GUESTS {
            if self.chance.one_in(2) {
                guests.push(Guest {
                    name,
                    version: self.chance.index(3),
                    is_started: !self.chance.one_in(3),
                });
            }
        }
        guests
    }

    fn connect(&mut self) {
        self.connected += 1;
        self.world.arrivals += 1;
        let mut peer = Peer::connect(self.connected, &self.world.socket());
        peer.reads = !self.chance.one_in(4);
        self.note(format!(
            "client {} connects, reads: {}",
            peer.number, peer.reads
        ));
        self.peers.push(peer);
    }

    /// Has a client write down some requests, and send them in one piece or by and by.
    fn ask(&mut self, index: usize) {
        if !self.peers[index].can_ask() {
            return;
        }
        for _ in 0..self.chance.pick(&[1, 1, 1, 2, 5]) {
            let mut asker = Asker {
                chance: &mut self.chance,
                names: &self.names,
                orders: &mut self.orders,
            };
            let ask = asker.any();
            let text = String::from_utf8_lossy(&ask.line);
            let text: String = text.trim_end().chars().take(160).collect();
            let number = self.peers[index].number;
            self.note(format!("client {number} is about to send {text}"));
            self.peers[index].ask(ask);
        }
        if !self.chance.one_in(3) {
            self.send(index, usize::MAX);
        }
    }

    /// Sends up to the last byte of what a client has to send, which is a line feed.
    fn send_all_but_one(&mut self, index: usize) {
        let left = self.peers[index].left();
        self.send(index, left.saturating_sub(1));
    }

    fn send(&mut self, index: usize, most: usize) {
        let peer = &mut self.peers[index];
        let before = peer.left();
        for ask in peer.send(most) {
            if let Kind::Order(order) = &ask.kind {
                self.book.sent(order);
            }
        }
        let (number, left) = (peer.number, peer.left());
        if left < before {
            self.note(format!(
                "client {number} sends {} of {before} bytes",
                before - left
            ));
        }
    }

    fn is_young(&self) -> bool {
        self.began_at + YOUTH > clock::steady()
    }

    fn read(&mut self, index: usize, most: usize) -> Result<(), String> {
        let is_young = self.is_young();
        let peer = &mut self.peers[index];
        for answered in peer.read(most, self.world.was_full)? {
            match answered {
                Answered::Taken(order) => self.book.needs(&order),
                Answered::Refused(order) => self.book.refuse(&order),
            }
        }
        if peer.is_closed && !peer.may_be_closed() && is_young {
            return Err(format!("client {} was closed", peer.number));
        }
        Ok(())
    }

    /// A client goes. Its order stands if it was the next.
    fn vanish(&mut self, index: usize) {
        let peer = self.peers.swap_remove(index);
        let standing = peer.standing().filter(|_| !self.world.was_full);
        let standing: Option<Order> = standing.cloned();
        self.note(format!(
            "client {} goes, its order stands: {standing:?}",
            peer.number
        ));
        if let Some(order) = standing.filter(|order| order.tag.is_some() && self.is_young()) {
            self.book.needs(&order);
        }
    }

    fn turn(&mut self, timeout: Duration) -> Result<(), String> {
        for event in self.world.turn(timeout)? {
            self.note(format!(
                "taken: {} {}",
                event["order"],
                shortened(&event["programs"])
            ));
            self.book.event(&event)?;
            self.taken += 1;
        }
        Ok(())
    }

    /// Has everything come to rest, and compares.
    fn settle(&mut self) -> Result<(), String> {
        self.note("everything comes to rest".to_owned());
        for index in (0..self.peers.len()).rev() {
            match self.peers[index].reads || self.chance.one_in(2) {
                true => self.peers[index].reads = true,
                false => self.vanish(index),
            }
        }
        self.turn_until(Self::unsettled)?;
        self.book.settle(&self.world.scheduler);
        Ok(())
    }

    /// Takes turns until nothing is left to wait for.
    fn turn_until(&mut self, left: impl Fn(&Self) -> Option<String>) -> Result<(), String> {
        let until = clock::steady() + PATIENCE;
        for _ in 0..TURNS_MAX {
            for index in (0..self.peers.len()).rev() {
                self.read(index, 65_536)?;
                if self.peers[index].is_closed {
                    self.peers.swap_remove(index);
                }
            }
            let Some(problem) = left(self) else {
                return Ok(());
            };
            let time = clock::until(until);
            if time.is_zero() {
                return Err(problem);
            }
            self.turn(time)?;
        }
        let problem = left(self).unwrap_or_default();
        Err(format!("after {TURNS_MAX} turns: {problem}"))
    }

    fn unsettled(&self) -> Option<String> {
        if let Some(missing) = self.peers.iter().find_map(Peer::missing) {
            return Some(missing);
        }
        let (sessions, peers) = (self.world.server.sessions.len(), self.peers.len() + 1);
        if sessions != peers {
            return Some(format!("{sessions} sessions of {peers} clients"));
        }
        if !self.world.is_followed() {
            return Some("events are queued".to_owned());
        }
        let guest = self.world.unsettled_guest();
        if guest.is_some() {
            return guest;
        }
        self.book.difference(&self.world.scheduler)
    }

    /// Fills the server, after which one client more is refused.
    fn crowd(&mut self) -> Result<(), String> {
        for index in (0..self.peers.len()).rev() {
            // Its connection may be about to be closed.
            if self.peers[index].may_be_closed() {
                self.vanish(index);
            }
        }
        while self.peers.len() < PEERS_MAX {
            self.connect();
        }
        self.peers.iter_mut().for_each(|peer| peer.reads = true);
        self.turn_until(|life| {
            let sessions = life.world.server.sessions.len();
            (sessions != CLIENTS_MAX).then(|| format!("{sessions} sessions"))
        })?;
        self.connect();
        let number = self.connected;
        let last = self.peers.last_mut().expect("the last");
        last.reads = true;
        self.turn_until(|life| {
            let last = life.peers.iter().find(|peer| peer.number == number);
            last.map(|_| "the client that is too many is not closed".to_owned())
        })
    }

    /// A client has everything end, whatever the others do, and gets its answer.
    fn shut_down(&mut self) -> Result<(), String> {
        self.settle()?;
        if self.peers.len() == PEERS_MAX {
            self.vanish(0);
            self.settle()?;
        }
        self.connect();
        let last = self.peers.len() - 1;
        self.peers[last].reads = true;
        self.turn(Duration::ZERO)?;
        for index in 0..last {
            self.ask(index);
        }
        let mut asker = Asker {
            chance: &mut self.chance,
            names: &self.names,
            orders: &mut self.orders,
        };
        let ask = asker.shutdown();
        self.note(format!("the end: {}", String::from_utf8_lossy(&ask.line)));
        self.peers[last].ask(ask);
        self.send(last, usize::MAX);
        let until = clock::steady() + PATIENCE;
        let mut is_over = false;
        while !is_over {
            let (status, events) = self.world.turn_or_end(clock::until(until))?;
            is_over = status == Status::Stopped;
            for event in events {
                self.book.event(&event)?;
            }
            if clock::until(until).is_zero() {
                return Err("it does not end".to_owned());
            }
        }
        self.read(last, 65_536)?;
        if let Some(missing) = self.peers[last].missing() {
            return Err(missing);
        }
        let programs = self.world.scheduler.programs();
        let left = programs.iter().find(|program| program.pid().is_some());
        left.map_or(Ok(()), |left| Err(format!("{left} after the end")))
    }

    /// All clients go, and with them all that the server has for them.
    fn end(&mut self) -> Result<(), String> {
        while !self.peers.is_empty() {
            self.vanish(0);
        }
        self.settle()?;
        self.world.unfollow();
        self.note("the client that follows goes".to_owned());
        self.turn_until(|life| {
            let server = &life.world.server;
            let (sessions, sockets) = (server.sessions.len(), life.world.sockets());
            if sessions > 0 || server.followers() > 0 {
                return Some(format!("{sessions} sessions are left"));
            }
            if let Some(deadline) = server.next_deadline() {
                let time = clock::until(deadline);
                return Some(format!("the server is to be served in {time:?}"));
            }
            (sockets != 1).then(|| format!("{sockets} sockets are left"))
        })
    }
}

fn shortened(value: &serde_json::Value) -> String {
    value.to_string().chars().take(100).collect()
}
