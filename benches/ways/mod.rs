//! What is measured: one list for time, instructions and allocations.
// Each benchmark uses a part of it.
#![allow(dead_code, unreachable_pub)]

mod api_keys;
mod around;
mod hs256;
mod peer;
#[cfg(feature = "aws_lc_rs")]
mod public_keys;
mod refusals;
pub mod rounds;
mod strict;

/// Ways that are compared with one another.
pub struct Group {
    pub name: &'static str,
    pub ways: Vec<Way>,
}

/// One way to validate something, and what is asked of its cost.
pub struct Way {
    pub name: &'static str,
    /// The way of the same group that its cost is divided by.
    pub base: Option<&'static str>,
    pub limit: Option<Limit>,
    /// Whether it must do without any allocation.
    pub asks_for_no_memory: bool,
    inputs: usize,
    validate_next: Box<dyn FnMut() -> bool>,
}

/// A limit of a way's cost divided by that of its base.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// All groups, each with so many different credentials.
pub fn groups(size: usize) -> Vec<Group> {
    NAMES.iter().map(|name| group(name, size)).collect()
}

pub const NAMES: &[&str] = &[
    "HS256",
    #[cfg(feature = "aws_lc_rs")]
    "RS256",
    #[cfg(feature = "aws_lc_rs")]
    "ES256",
    "API key",
    "refused token",
    "refused key",
    "around it",
];

/// The group of this name.
pub fn group(name: &'static str, size: usize) -> Group {
    let ways = match name {
        "HS256" => hs256::ways(size),
        #[cfg(feature = "aws_lc_rs")]
        "RS256" => public_keys::rs256(size),
        #[cfg(feature = "aws_lc_rs")]
        "ES256" => public_keys::es256(size),
        "API key" => api_keys::ways(size),
        "refused token" => refusals::tokens(size),
        "refused key" => refusals::keys(size),
        "around it" => around::ways(size),
        _ => panic!("no group {name}"),
    };
    Group { name, ways }
}

impl Way {
    /// Validates each of the inputs in turn, for ever. `validate` says whether all went as it should.
    fn new<T: 'static>(
        name: &'static str,
        inputs: Vec<T>,
        mut validate: impl FnMut(&T) -> bool + 'static,
    ) -> Self {
        let count = inputs.len();
        let mut next = 0;
        let validate_next = Box::new(move || {
            let input = &inputs[next];
            next = if next + 1 == inputs.len() { 0 } else { next + 1 };
            validate(std::hint::black_box(input))
        });
        Self {
            name,
            base: None,
            limit: None,
            asks_for_no_memory: false,
            inputs: count,
            validate_next,
        }
    }

    /// Shows its cost as a multiple of another one's.
    fn beside(self, base: &'static str) -> Self {
        Self { base: Some(base), ..self }
    }

    /// Asks that it cost so many times as much as another one at most.
    fn at_most(self, times: f64, base: &'static str) -> Self {
        Self { limit: Some(Limit::AtMost(times)), ..self.beside(base) }
    }

    /// Asks that it cost so many times as much as another one at least.
    fn at_least(self, times: f64, base: &'static str) -> Self {
        Self { limit: Some(Limit::AtLeast(times)), ..self.beside(base) }
    }

    /// Asks that it do without any allocation.
    fn without_memory(self) -> Self {
        Self { asks_for_no_memory: true, ..self }
    }

    /// Validates the next input.
    #[inline]
    pub fn validate_next(&mut self) -> bool {
        (self.validate_next)()
    }

    /// Validates every input, and panics where that does not end as it should.
    pub fn assert_good(&mut self) {
        for n in 0..self.inputs {
            assert!(self.validate_next(), "{}: input {n}", self.name);
        }
    }
}

impl Limit {
    pub fn is_kept(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(times) => ratio <= times,
            Self::AtLeast(times) => ratio >= times,
        }
    }
}
