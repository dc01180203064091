//! The units, instances and listeners that must exist; a reload replaces them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source::sockets::Expectation;
use crate::systemd::unit::template::ExpectedInstances;

/// The units, instances and listeners that must exist.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Units that must be loaded.
    pub units: Vec<Arc<str>>,
    /// Instances that must be active.
    pub instances: Vec<ExpectedInstances>,
    /// Ports on which units must listen.
    pub listeners: Vec<Arc<Expectation>>,
}

/// The current expectations.
#[derive(Debug, Default)]
pub(super) struct CurrentExpected(Mutex<Expected>);

impl CurrentExpected {
    pub(super) fn new(expected: Expected) -> Self {
        Self(Mutex::new(expected))
    }

    pub(super) fn replace(&self, expected: Expected) {
        *self.lock() = expected;
    }

    pub(super) fn get(&self) -> Expected {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Expected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
