//! The providers by name: which there are, and which one serves an obligation.
//!
//! Asked by `settle` before a choice is recorded, and by `workers`, which open their own.
//!
//! Always holds: the choice follows from the registry alone, and what was recorded is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::SettlementError;
use crate::provision::{LeastIsolation, LocalConfig, LocalProvider, ProvisionError, Provisioner};

/// A provider that one thread uses.
pub type BoxedProvider = Box<dyn Provisioner + Send>;

type Opener = Arc<dyn Fn() -> Result<BoxedProvider, ProvisionError> + Send + Sync>;

/// The name of the built-in provider.
pub const LOCAL: &str = "local";

#[derive(Clone)]
struct Entry {
    priority: u32,
    name: String,
    open: Opener,
}

/// The providers.
#[derive(Clone, Default)]
pub struct Registry {
    /// In the order of choice.
    entries: Vec<Entry>,
}

impl Registry {
    /// No providers.
    #[must_use]
    pub fn new() -> Registry {
        Registry::default()
    }

    /// The built-in provider alone, with its machines in a folder, started from `guest`.
    #[must_use]
    pub fn local(
        machines: PathBuf,
        guest: PathBuf,
        beat_period: Duration,
        least_isolation: LeastIsolation,
    ) -> Registry {
        let mut registry = Registry::new();
        registry.add(LOCAL, 0, move || {
            let mut config = LocalConfig::new(&machines, &guest);
            config.beat_period = beat_period;
            config.least_isolation = least_isolation;
            Ok(Box::new(LocalProvider::open(config)?))
        });
        registry
    }

    /// Adds a provider; of several, the one with the lowest priority number is chosen, and of
    /// those with the same, the first by name.
    pub fn add(
        &mut self,
        name: &str,
        priority: u32,
        open: impl Fn() -> Result<BoxedProvider, ProvisionError> + Send + Sync + 'static,
    ) {
        self.entries.push(Entry {
            priority,
            name: name.to_owned(),
            open: Arc::new(open),
        });
        self.entries
            .sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    }

    /// The provider to choose.
    ///
    /// # Errors
    /// [`SettlementError::NoProvider`].
    pub fn choose(&self) -> Result<&str, SettlementError> {
        let first = self.entries.first();
        first
            .map(|entry| entry.name.as_str())
            .ok_or(SettlementError::NoProvider)
    }

    /// The names of all providers, in the order of choice.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.entries
            .iter()
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// Opens a provider by name; none where it is not registered any more.
    ///
    /// # Errors
    /// The provider's own.
    pub fn open(&self, name: &str) -> Option<Result<BoxedProvider, ProvisionError>> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some((entry.open)())
    }

    /// Opens every provider once, so that a bad one is told at the start.
    ///
    /// # Errors
    /// [`SettlementError::NoProvider`], or the first provider's that cannot be opened.
    pub fn check(&self) -> Result<(), SettlementError> {
        self.choose()?;
        for entry in &self.entries {
            (entry.open)()?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.entries.iter().map(|entry| &entry.name);
        formatter.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_priority_is_chosen_then_the_first_name() {
        let never = || -> Result<BoxedProvider, ProvisionError> {
            Err(ProvisionError::BadSpec {
                field: "none",
                limit: "none",
            })
        };
        let mut registry = Registry::new();
        assert!(registry.choose().is_err());
        for (name, priority) in [("far", 2), ("zebra", 1), ("near", 1)] {
            registry.add(name, priority, never);
        }
        assert_eq!(registry.choose().expect("some"), "near");
        assert!(registry.open("gone").is_none());
        assert!(registry.check().is_err());
    }
}
