//! Deterministic simulation of a host: random histories against the code that counts.
//!
//! Real, and unchanged but for the clock ([`crate::clock`]): the follower with its decoding of D-Bus
//! messages, its call queue, fetches and resyncs; the mirror; the ledger with the reconciliation with
//! the journal; the decisions when to save; the content of the state file. Modeled: PID 1 (`service`,
//! `pid1`), the bus, journald, the reader of journal files, the disk, and the waits of the threads
//! that read the bus and the journal (`world`). A history has one thread and no sleep, and the same
//! seed gives the same history.

mod bus;
mod history;
mod journal;
mod oracle;
mod pid1;
mod service;
mod tests;
mod world;
